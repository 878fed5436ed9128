"""Rare faults: a run for each of them and one for the quiet time, weighted by their share of the time (stratified sampling).

An outage of an hour a week takes 168 hours to simulate once, and 167 of them say nothing new. With ``run.stratify`` the time is divided into
strata. In the *quiet* stratum no fault with `every` strikes. Each such fault has a stratum of its own: some quiet time, the fault, and the
time of recovery behind it. Each stratum is one scenario, which is simulated by itself. Its weight is the share of the time that it covers
in the long run: its length over the mean time from one beginning of the fault to the next. The quiet stratum has the rest.

What is left out: two rare faults at the same time. If they are independent, the share of the time in which that happens is about the
product of their weights; `Strata.overlap` says it.

Source: A. B. Owen, Monte Carlo theory, methods and examples (2013), section 8.4 (stratification).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, Final

from simtx.arguments import named
from simtx.errors import ScenarioError
from simtx.scenario import build
from simtx.scenario.changes import replaced
from simtx.scenario.fault_kinds import FAULT_KINDS
from simtx.scenario.units import duration_text

if TYPE_CHECKING:
    from simtx.scenario.model import Fault, Scenario

QUIET: Final = "quiet"
LARGEST: Final = 0.5  # of the time; a fault that fills more than this is not rare
_LEAD: Final = 60.0  # seconds of quiet time before a fault, at most: enough to see the level that it starts from
_LEAST_RECOVERY: Final = 60.0
_ALMOST_ALL: Final = 0.99  # a fault of random length is watched for as long as this quantile of it
_STEADY: Final = ("poisson", "deterministic", "bursty", "closed")


@dataclass(frozen=True, slots=True)
class Stratum:
    """A part of the time.

    Attributes:
        name: ``quiet``, or the fault in words.
        scenario: What is simulated for it.
        weight: Its share of the time in the long run; the weights of all strata are 1 together.
        length: Measured seconds of its run: from the end of the warm-up to the last arrival.
        period: Mean time from one beginning of the fault to the next, in seconds; infinite for the quiet stratum.
    """

    name: str
    scenario: Scenario
    weight: float
    length: float
    period: float


@dataclass(frozen=True, slots=True)
class Strata:
    """The parts of the time of one scenario.

    Attributes:
        scenario: The scenario that was divided.
        parts: The quiet stratum first, then the faults in their order.
    """

    scenario: Scenario
    parts: tuple[Stratum, ...]

    @property
    def overlap(self) -> float:
        """Share of the time in which two rare faults are under way at once, which no stratum shows; as if they were independent."""
        return sum(a.weight * b.weight for a, b in combinations(self.parts[1:], 2))

    def note(self) -> str:
        """Text beside the weighted figures: the weights, what counts are per, and what is left out."""
        shares = ", ".join(f"{one.name} {100 * one.weight:.4g} %" for one in self.parts)
        text = f"stratified: the figures are weighted by share of the time ({shares}); counts per run are for {self.parts[0].length:g} s of average time"
        if self.overlap:
            text += f"; two of these faults at once are left out ({100 * self.overlap:.2g} % of the time, if they are independent)"
        return text

    def __iter__(self) -> Iterator[Stratum]:
        return iter(self.parts)

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, name: str) -> Stratum:
        """The stratum of this name.

        Raises:
            ScenarioError: There is none.
        """
        for part in self.parts:
            if part.name == name:
                return part
        raise ScenarioError(
            f"there is no stratum '{name}'; there are {', '.join(one.name for one in self.parts)}", "strata"
        )

    def __repr__(self) -> str:
        shown = ", ".join(f"{one.name} {100 * one.weight:.4g} %" for one in self.parts)
        return f"<Strata of {self.scenario.name}: {shown}>"


@named
def strata(scenario: Scenario) -> Strata:
    """Divide the time of a scenario with rare faults; see the head of this module.

    Args:
        scenario: One with ``run.stratify``, at least one fault with ``every``, and a ``run.duration``.

    Returns:
        A quiet scenario, and one for each random fault, each with its weight: the share of the time from 0 to 1.

    Raises:
        ScenarioError: It cannot be divided.
    """
    from simtx.scenario.load import load

    scenario = load(scenario)
    plan, where = scenario.run, f"{scenario.name}: run.stratify"
    if plan.duration is None:
        raise ScenarioError(
            "needs run.duration, the length of the quiet run; run.transactions says nothing of time", where
        )
    if scenario.workload.kind not in _STEADY:
        raise ScenarioError(f"needs a load that is the same at all times, not a {scenario.workload.kind}", where)
    if all(fault.every is None for fault in scenario.faults):
        raise ScenarioError("there is no fault with 'every' to play by itself", where)
    raw = scenario.to_dict().get("faults", [])
    others = [entry for entry in raw if "every" not in entry]
    length = plan.duration - plan.warmup
    quiet = replaced(scenario, {"run.stratify": False, "run.recovery": None, "faults": others}, units_needed=False)
    parts: list[Stratum] = []
    entries = iter(_entries(raw, scenario))
    for fault, entry in zip(scenario.faults, entries, strict=True):
        if fault.every is not None:
            parts.append(_stratum(scenario, fault, entry, others, _name(fault, parts)))
    weight = 1.0 - sum(one.weight for one in parts)
    if weight < 1 - LARGEST:
        raise ScenarioError(
            f"the faults with 'every' and their recovery fill {100 * (1 - weight):.0f} % of the time, which is not rare; "
            "simulate a longer run.duration without run.stratify instead",
            where,
        )
    return Strata(scenario, (Stratum(QUIET, quiet, weight, length, float("inf")), *parts))


def refuse(scenario: Scenario, verb: str) -> None:
    """Say what to do instead, where one run is asked for and the scenario is several.

    Raises:
        ScenarioError: The scenario is stratified.
    """
    if scenario.run.stratify:
        raise ScenarioError(
            f"is true, so that this scenario is several runs, which compare and sweep play and weight; to {verb} one of them, take it "
            "from simtx.strata(scenario)",
            f"{scenario.name}: run.stratify",
        )


def _entries(raw: list[dict[str, Any]], scenario: Scenario) -> Iterator[dict[str, Any]]:
    """The entry of the file for each fault of the scenario: ``node = "*"`` stands for several."""
    placed = {name: service.zone for name, service in scenario.services.items()}
    placed |= {"hub": scenario.hub.zone, "broker": scenario.broker.zone, "vote-store": scenario.vote_store.zone}
    for entry in raw:
        for node in build.targets(entry["kind"], entry.get("node"), placed):
            yield {**entry, "node": node} if entry.get("node") == "*" else entry


def _name(fault: Fault, before: list[Stratum]) -> str:
    """The fault in words, with a number where two are called the same."""
    place = fault.node or " and ".join(filter(None, (",".join(fault.a), ",".join(fault.b)))) or "all links"
    name = fault.kind if FAULT_KINDS[fault.kind].place in ("broker", "vote-store") else f"{fault.kind} of {place}"
    same = sum(one.name == name or one.name.startswith(f"{name} #") for one in before)
    return f"{name} #{same + 1}" if same else name


def _stratum(
    scenario: Scenario, fault: Fault, entry: dict[str, Any], others: list[dict[str, Any]], name: str
) -> Stratum:
    plan = scenario.run
    if fault.every is None or plan.duration is None:
        raise AssertionError("only a fault with 'every', in a run with a duration, has a stratum")
    lasts = fault.duration.quantile(_ALMOST_ALL)
    lead = min(_LEAD, plan.duration - plan.warmup)
    recovery = plan.recovery if plan.recovery is not None else max(_LEAST_RECOVERY, lasts)
    length = lead + lasts + recovery
    period = fault.every.mean() + fault.duration.mean()
    once = {key: value for key, value in entry.items() if key not in ("every", "until")}
    once["at"] = f"{plan.warmup + lead:.9g}s"
    changed = replaced(
        scenario,
        {
            "run.stratify": False,
            "run.recovery": None,
            "run.duration": f"{plan.warmup + length:.9g}s",
            "faults": [*others, once],
        },
        units_needed=False,
    )
    if length > period:
        raise ScenarioError(
            f"the {name} comes every {duration_text(period)} and is watched for {duration_text(length)}: it is not rare",
            f"{scenario.name}: run.stratify",
        )
    return Stratum(name, changed, length / period, length, period)
