"""Background of a report: assumptions, trust, what the model leaves out, and how to run it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from simtx.metrics.guarantees import GUARANTEE
from simtx.scenario.show import fault_text, operation_text, workload_text
from simtx.scenario.units import duration_text

if TYPE_CHECKING:
    from simtx.experiments import Comparison
    from simtx.report.review.stories import Played
    from simtx.scenario import Scenario

_BROKEN: Final = frozenset({"flow", GUARANTEE})
"""Laws whose violation is a mistake of the program, and not a property of the load."""
_LINES: Final = 8
_NEAR: Final = 0.1
"""Share of the offered load by which workers may be busier, or less busy, to count as equal to it."""
NO_SOURCE: Final = "no source given"

COVERAGE: Final = {5: (83.0, 98.5), 10: (93.2, 96.8), 20: (93.2, 98.4), 50: (93.8, 96.8)}
"""Least and most, in percent, of trials in which a 95 % interval over so many runs contained the truth: the table of docs/statistics.md."""


@dataclass(frozen=True, slots=True)
class Assumed:
    """Figures of the scenario that have one source, or one reason.

    Attributes:
        source: Where they come from, ``assumed: ...``, or ``no source``.
        kind: ``yes`` with a source, ``open`` if assumed, ``no`` without either.
        figures: Each with its path, its value, and by how much it may be off.
    """

    source: str
    kind: str
    figures: tuple[str, ...]


def assumptions(scenario: Scenario) -> tuple[Assumed, ...]:
    """All figures of a scenario: those without a source first, then what is assumed, then what has a source."""
    uncertain = {path: one.describe() for path, one in scenario.uncertainty.items()}
    groups: dict[tuple[str, str], list[str]] = {}
    for path, one in scenario.assumptions.items():
        bare = one.why == NO_SOURCE
        label = ("no", "no source") if bare else ("open", f"assumed: {one.why}")
        groups.setdefault(label, []).append(_figure(path, one.value, uncertain.pop(path, "")))
    for path, source in scenario.sources.items():
        if path not in scenario.assumptions:
            groups.setdefault(("yes", source), []).append(_figure(path, "", uncertain.pop(path, "")))
    if uncertain:
        groups["open", "stated uncertainty"] = [_figure(path, "", off) for path, off in uncertain.items()]
    order = ["no", "open", "yes"]
    found = [Assumed(source, kind, tuple(figures)) for (kind, source), figures in groups.items()]
    return tuple(sorted(found, key=lambda one: order.index(one.kind)))


def _figure(path: str, value: str, off: str) -> str:
    shown = f"{path} = {value}" if value else path
    return f"{shown} (may be off by {off})" if off else shown


@dataclass(frozen=True, slots=True)
class Check:
    """One row of the section on trust.

    Attributes:
        what: What was checked.
        kind: ``yes``, ``open`` (not done, or not known) or ``no``.
        says: What came out, one line each.
    """

    what: str
    kind: str
    says: tuple[str, ...]


def checks(
    comparison: Comparison,
    found: Played,
    verdicts: Sequence[tuple[str, Any]],
    validations: Sequence[Any],
    recorded: bool,
) -> tuple[Check, ...]:
    """Evidence for the figures, and what was not done.

    Args:
        comparison: The runs.
        found: One run of each strategy, played again.
        verdicts: Of the model checker, each with the label of its strategy, or nothing.
        validations: Predicted beside measured.
        recorded: Whether the result holds what the laws of operation have said.
    """
    return (
        _laws(comparison, recorded),
        _forms(comparison.scenario, found),
        _digests(found),
        *_verdicts(comparison.strategies, verdicts),
        *_validations(validations),
        _intervals(comparison),
    )


def _laws(comparison: Comparison, recorded: bool) -> Check:
    what = "Laws of operation (utilisation, Little, flow, censoring, capacity)"
    finished = [one for one in comparison.results if not one.error]
    if not recorded:
        return Check(what, "open", ("not recorded in this result",))
    said = [line for line in comparison.warnings if line not in comparison.scenario.warnings]
    if not any(one.findings for one in finished):
        rest = tuple(said)
        return Check(what, "yes" if not rest else "open", (f"nothing to say about any of {len(finished)} runs", *rest))
    if len(said) > _LINES:
        said = [*said[:_LINES], f"and {len(said) - _LINES} more, which comparison.warnings lists"]
    violated = any(one.law in _BROKEN for run in finished for one in run.findings)
    return Check(what, "open" if not violated else "no", tuple(said))


def _forms(scenario: Scenario, found: Played) -> Check:
    what = "Closed form: offered load of each service (rate × work / workers) beside how busy its workers were"
    offered = scenario.utilisation()
    if not offered or not found.runs:
        return Check(what, "open", ("not compared: the load is closed, or no run was played again",))
    lines = []
    near = True
    for name, load in offered.items():
        near = near and all(abs(run.data.utilisation[name] - load) <= _NEAR * load for run in found.runs.values())
        busy = ", ".join(f"{strategy} {run.data.utilisation[name]:.0%}" for strategy, run in found.runs.items())
        lines.append(f"{name}: offered {load:.0%}; busy {busy}")
    lines.append(
        "more than offered is waiting for row locks and disks with a worker; less is work that was refused or never begun"
    )
    return Check(what, "yes" if near else "open", tuple(lines))


def _digests(found: Played) -> Check:
    what = "The same again: runs that were played for this report have the digest of the result"
    if not found.equal:
        return Check(what, "open", found.why or ("no run was played again",))
    good = [name for name, same in found.equal.items() if same]
    said = (f"equal to the last bit: {', '.join(good)}",) if good else ()
    return Check(what, "yes" if all(found.equal.values()) and not found.why else "open", (*said, *found.why))


def _verdicts(strategies: Sequence[str], verdicts: Sequence[tuple[str, Any]]) -> tuple[Check, ...]:
    rows = []
    absent = []
    for name in strategies:
        # one by name alone may be of other options: it is that of the strategy without any
        mine = [one for label, one in verdicts if (label or one.strategy) == name]
        if not mine:
            absent.append(name)
        for one in mine:
            kind = {True: "yes", False: "no", None: "open"}[one.verdict]
            rows.append(
                Check(f"Model checker: {name}", kind, (one.headline, f"in these bounds, and no further: {one.bounds}"))
            )
    if absent:
        lines = [f"simtx verify {name}" for name in absent if "(" not in name]
        would = f"; {', '.join(lines)} would do it" if lines else ""
        said = f"not verified in this scope: {', '.join(absent)}{would}"
        rows.append(Check("Model checker", "open", (said,)))
    return tuple(rows)


def _validations(validations: Sequence[Any]) -> tuple[Check, ...]:
    what = "Predicted beside measured"
    if not validations:
        return (Check(what, "open", ("not measured for this scenario; simtx validate does it",)),)
    rows = []
    for one in validations:
        targets = int(one.frame["met"].notna().sum())
        missed = one.missed
        errors = one.frame[one.frame["metric"] == "latency_mean_ms"]["error"].dropna()
        far = (
            f"; error of the mean answer {100 * errors.min():+.1f} % to {100 * errors.max():+.1f} %"
            if len(errors)
            else ""
        )
        lines = [
            f"{one.strategy.name} on {one.scenario.name}, {one.store}: {targets - len(missed)} of {targets} targets met{far}"
        ]
        lines += [f"missed: {row.metric} at {row.point}: {100 * row.error:+.1f} %" for row in missed.itertuples()]
        rows.append(Check(what, "yes" if one.ok else "no", tuple(lines)))
    return tuple(rows)


def _intervals(comparison: Comparison) -> Check:
    what = "Coverage of the intervals"
    counts = comparison.frame["strategy"].value_counts()
    least = int(counts.min()) if len(counts) else 0
    if least < 2:
        return Check(what, "open", ("one run: there is no interval",))
    known = [n for n in COVERAGE if n <= least]
    if not known:
        return Check(what, "open", (f"{least} runs are fewer than were tested; ten or more are needed",))
    low, high = COVERAGE[max(known)]
    line = f"95 % intervals over {max(known)} runs contained the truth in {low:g} to {high:g} % of the trials, by the kind of figure"
    return Check(
        what, "yes" if least >= 10 else "open", (line, f"here: {least} runs of each strategy; see docs/statistics.md")
    )


# --- what is left out ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Missing:
    """Something that the model leaves out, and where that pushes the figures."""

    what: str
    sign: str


LEFT_OUT: Final = (
    Missing(
        "Processes that share the cores of one machine, unless the scenario has hosts: then a node waits for nothing but its own workers.",
        "Real latency is higher near saturation, most where services are quick.",
    ),
    Missing(
        "Building blocks that get slower under load (or faster with warm caches): each has one distribution at every load.",
        "Real tails are longer at high load.",
    ),
    Missing(
        "The scheduler of the operating system, pauses of garbage collectors.",
        "Real tails are longer; a strategy that waits for several nodes feels it more.",
    ),
    Missing(
        "Forced writes of several processes on one disk that end together as a group.",
        "Real inconsistency windows of 2pc are shorter at low load.",
    ),
    Missing(
        "The size of messages and the bandwidth of links.",
        "Real latency is higher where payloads are large; a strategy with more messages feels it more.",
    ),
    Missing(
        "Query planners, indexes, gaps between keys: a store is values under keys with exclusive row locks.",
        "Real lock waits may be longer; 2pc, which holds locks longest, feels it most.",
    ),
    Missing(
        "A replicated coordinator or orchestrator: there is one, and a crash of it lasts as long as the scenario says.",
        "With replication 2pc and sagas would be in doubt, or stand still, for a shorter time.",
    ),
    Missing(
        "Steps of an outbox or a dual write that run side by side: they run one after the other.",
        "Real outcomes of both may come earlier.",
    ),
)
"""Omissions of the model that docs/validation.md and the README name, with the likely sign."""


# --- STRESS-DES ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Item:
    """One item of STRESS-DES: its number, what it asks for, and the answer; an empty one has to be written by a person."""

    number: str
    asks: str
    says: str


def stress(result: Any, comparison: Comparison, decision: Any, cell: str = "") -> tuple[Item, ...]:
    """The 20 items of STRESS-DES (T. Monks et al., "Strengthening the reporting of empirical simulation studies", J. Simulation 13(1), 2019), filled in.

    Args:
        result: The comparison, or the sweep that it is a cell of.
        comparison: The runs.
        decision: Of it.
        cell: Of a sweep: the cell in words.
    """
    scenario, origin = comparison.scenario, result.provenance
    is_sweep = hasattr(result, "cells")
    run = scenario.run
    length = f"{run.transactions:,} transactions" if run.transactions is not None else duration_text(run.duration or 0)
    known, assumed = len(scenario.sources), len(scenario.assumptions)
    objects = [f"{name} ({promise})" for name, promise in comparison.promises.items()]
    faults = "; ".join(fault_text(one) for one in scenario.faults) or "none"
    steps = "; ".join(
        f"{step.name} at {step.service}: {', '.join(operation_text(one) for one in step.operations)}"
        for step in scenario.transaction.steps
    )
    counts = comparison.frame["strategy"].value_counts()
    runs = (
        f"{int(counts.min())} to {int(counts.max())}"
        if len(counts) and counts.min() < counts.max()
        else f"{int(counts.max()) if len(counts) else 0}"
    )
    aims = f"strategies: {', '.join(objects)}"
    if is_sweep:
        aims += f"; {len(result.cells)} cells over {', '.join(result.parameters)}; sections 4 to 6 show {cell}"
    limits = [str(one) for one in dict.fromkeys(decision.thresholds["threshold"])] if len(decision.thresholds) else []
    stopping = "" if comparison.stopping is None else f"; stopped by a rule: {comparison.stopping}"
    return (
        Item(
            "1.1",
            "Purpose of the model",
            f"Which strategy keeps this data consistent, and what does it cost: {scenario.title}",
        ),
        Item(
            "1.2",
            "Outputs",
            f"decided by {decision.metric}{', with ' + ', '.join(limits) if limits else ''}; all metrics are in the CSV file, defined in docs/metrics.md",
        ),
        Item("1.3", "Aims of experimentation", aims),
        Item(
            "2.1",
            "Overview of the base model",
            f"{len(scenario.services)} services ({', '.join(scenario.services)}), hub in {scenario.hub.zone}, broker in {scenario.broker.zone}",
        ),
        Item("2.2", "Logic of the base model", steps),
        Item("2.3", "Logic of scenarios", origin.changed or "the scenario as it is"),
        Item(
            "2.4",
            "Algorithms",
            "the state machines of the protocols, the same that are verified and executed (ARCHITECTURE.md)",
        ),
        Item(
            "2.5",
            "Components",
            f"entities: transactions; resources: workers, row locks, log devices; queues: of workers and locks; arrivals: {workload_text(scenario.workload)}; faults: {faults}",
        ),
        Item("3.1", "Sources of data", f"{known} figures with a source, {assumed} assumed; section 7"),
        Item("3.2", "Pre-processing of data", "a calibration" if "calibration" in scenario.to_dict() else "none"),
        Item("3.3", "Input parameters", f"section 7; fingerprint of the scenario {origin.scenario_fingerprint}"),
        Item("3.4", "Assumptions", "sections 7 and 9"),
        Item("4.1", "Initialisation", f"warm-up {duration_text(run.warmup)}, left out of the figures"),
        Item("4.2", "Run length", f"{length} arrive, then at most {duration_text(run.drain)} to drain"),
        Item(
            "4.3",
            "Estimation",
            f"{runs} independent runs of each strategy on common random numbers; 95 % intervals, paired differences{stopping}",
        ),
        Item("5.1", "Software", f"simtx {origin.version}, Python {origin.python}; code {origin.code_fingerprint}"),
        Item("5.2", "Random sampling", f"PCG64 and Philox streams by purpose and transaction; seed {origin.seed}"),
        Item(
            "5.3",
            "Execution of the model",
            "events in the order of their times, those of one time in the order in which they were made; the same seed gives the same run, bit for bit",
        ),
        Item("5.4", "System", "any; figures depend on the version of NumPy and not on the machine"),
        Item("6.1", "Access to the code", origin.command),
    )
