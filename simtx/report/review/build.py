"""All that a report says, put together from a comparison or a sweep: what the templates are given."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from simtx.errors import ScenarioError
from simtx.metrics.figures import ranking, unknown
from simtx.report import catalogue, style
from simtx.report.decision import remarks
from simtx.report.pictures import canvas
from simtx.report.review import background, pictures, sentence, since, stories, table

if TYPE_CHECKING:
    from simtx.experiments import Comparison, Decision
    from simtx.experiments.frontier import Frontier
    from simtx.experiments.sensitivity import Sensitivity
    from simtx.experiments.sweep import Sweep
    from simtx.metrics.run import Run

BY: Final = "decision_p99_ms"
"""Metric that ranks unless another one is given: the time to the final outcome means the same under every strategy."""
WHERE: Final = ("missing_effects == 0", "duplicate_effects == 0")
"""Thresholds unless told otherwise: no effect is missing or doubled when the run is over."""

SECTIONS: Final = (
    ("decision", "Decision"),
    ("since", "What changed since the report before"),
    ("picture", "Where which strategy wins"),
    ("table", "Strategies beside each other"),
    ("distributions", "Distributions, and drift over time"),
    ("stories", "Failure stories"),
    ("assumptions", "Which assumption flips the answer"),
    ("trust", "Trust"),
    ("left-out", "What the model leaves out"),
    ("again", "How to run it again"),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """Question of a report.

    Attributes:
        by: The metric that ranks.
        where: Thresholds, as for `Comparison.best`.
        confidence: With which all statements hold together.
        runs: Whether one run of each strategy is played again; None: if that takes some seconds at most.
        verdicts: Of the model checker, each with the label of its strategy, or nothing.
        validations: Predicted beside measured.
        frontier: Where the winner changes.
        sensitivity: Which factor flips the answer.
        at: Of a sweep: the cell that is shown in detail.
        known: Runs that need not be played again.
    """

    by: str = BY
    where: Any = WHERE
    confidence: float = 0.95
    runs: bool | None = None
    verdicts: Sequence[tuple[str, Any]] = ()
    validations: Sequence[Any] = ()
    frontier: Frontier | None = None
    sensitivity: Sensitivity | None = None
    at: Any = None
    known: Sequence[Run] = ()


@dataclass(frozen=True, slots=True)
class Section:
    """A heading: its number, its id, its words, and whether it says something else than the report before."""

    number: int
    id: str
    title: str
    changed: bool = False


@dataclass(frozen=True, slots=True)
class Factors:
    """Findings of a sensitivity study: a line, a picture, and a row a factor."""

    caption: str
    picture: pictures.Picture
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(slots=True)
class Review:
    """Data of a template, as `review`.

    Attributes:
        title: Title of the scenario.
        subtitle: Scenario, changes, seed, replications.
        made: The day.
        statement: The decision in words.
        remarks: What else has to be said of it.
        strategies: Names, with a colour and a mark each.
        metric: Label of the metric that ranks.
        cell: Of a sweep: the cell that the table, the pictures of runs and the stories are of.
        caption: The frontier in one line; empty without one.
        key: The pictures of section 3.
        cells: Of a sweep: one row a cell: its values, who is supported, who else may be.
        measures: The table.
        curves: The pictures of section 5.
        outages: What was down, and how each strategy came back.
        stories: Section 6.
        untold: What section 6 leaves out, or why it is empty.
        factors: A sensitivity study; None: there is none.
        assumptions: All figures of the scenario.
        checks: Section 8.
        left_out: Section 9.
        stress: The table after STRESS-DES.
        commands: What to do again, with the line that does it.
        foot: Where all of it comes from.
        warnings: What a reader should know.
        sections: The headings.
        since: What changed; None: no earlier report was given.
        state: The same for machines, for the next report.
        block: The state as text that may stand in a page.
    """

    title: str
    subtitle: str
    made: str
    statement: sentence.Statement
    remarks: tuple[str, ...]
    strategies: tuple[tuple[str, str], ...]
    metric: str
    cell: str
    caption: str
    key: tuple[pictures.Picture, ...]
    cells: tuple[tuple[str, ...], ...]
    measures: table.Measures
    curves: tuple[pictures.Picture, ...]
    outages: tuple[pictures.Picture, ...]
    stories: tuple[stories.Story, ...]
    untold: tuple[str, ...]
    factors: Factors | None
    assumptions: tuple[background.Assumed, ...]
    checks: tuple[background.Check, ...]
    left_out: tuple[background.Missing, ...]
    stress: tuple[background.Item, ...]
    commands: tuple[tuple[str, str], ...]
    foot: tuple[str, ...]
    warnings: tuple[str, ...]
    sections: tuple[Section, ...]
    state: dict[str, Any]
    since: since.Since | None = None
    block: str = ""
    heads: tuple[str, ...] = field(default=())


def review(result: Any, asked: Asked, before: Mapping[str, Any] | None = None, source: str = "") -> Review:
    """A comparison or a sweep as a report.

    Args:
        result: A `simtx.Comparison` or a `simtx.Sweep`.
        asked: What is asked for.
        before: The state of an earlier report.
        source: What that is called.

    Raises:
        ScenarioError: There is no such metric, threshold or cell, or no run is finished.
    """
    if not len(result.frame) or not result.metrics:
        other = ", or they were made by a simtx that describes the scenario otherwise: play the sweep again"
        raise ScenarioError(
            f"there is nothing to report: no run of it is finished{other if hasattr(result, 'cells') else ''}", "report"
        )
    ranking(asked.by, "by")
    if asked.by not in result.metrics:
        raise unknown(asked.by, result.metrics)
    is_sweep = hasattr(result, "cells")
    decisions: dict[int, Decision] = {}
    number = 0
    if is_sweep:
        level = 1 - (1 - asked.confidence) / max(1, len(result.cells))
        number = _shown_cell(result, asked.at)
        compared = {int(one): result.compare(int(one)) for one in result.cells.index}
        decisions = {n: one.best(asked.by, asked.where, confidence=level) for n, one in compared.items()}
        comparison, decision = compared[number], decisions[number]
        scenarios = [one.scenario for one in compared.values()]
        results = [run for one in compared.values() for run in one.results]
        statement = sentence.of_sweep(result, decisions, asked.by, asked.confidence, asked.frontier, scenarios)
    else:
        if asked.at is not None:
            raise ScenarioError("a comparison has no cells", "at")
        comparison, results = result, result.results
        decision = result.best(asked.by, asked.where, confidence=asked.confidence)
        statement = sentence.of_comparison(comparison, decision, asked.frontier)
    statement = sentence.broken(sentence.refuted(statement, asked.verdicts), results)
    cell = table.cell_texts(result)[number] if is_sweep else ""
    measures = table.measures(comparison, decision, asked.confidence)
    found = stories.played(comparison, asked.known, asked.runs)
    shown = list(found.runs.values())
    told, left = stories.stories(found)
    origin = result.provenance
    checks = background.checks(comparison, found, asked.verdicts, asked.validations, not is_sweep)
    made = Review(
        title=comparison.scenario.title or comparison.scenario.name,
        subtitle=f"{origin.title}; seed {origin.seed}; {_times(origin, result)}",
        made=datetime.now(tz=UTC).date().isoformat(),
        statement=statement,
        remarks=tuple(remarks(decision)) if not is_sweep else (),
        strategies=tuple((name, look.colour) for name, look in style.looks(comparison.strategies).items()),
        metric=catalogue.metric(asked.by).label,
        cell=cell,
        caption=f"{asked.frontier.caption}" if asked.frontier is not None else "",
        key=_key(result, comparison, decisions, asked, measures.baseline),
        cells=_cells(result, decisions) if is_sweep else (),
        measures=measures,
        curves=(*pictures.distributions(shown), *pictures.over(shown)) if shown else (),
        outages=tuple(pictures.outages(shown)),
        stories=told,
        untold=(*left, *found.why),
        factors=_factors(asked.sensitivity) if asked.sensitivity is not None else None,
        assumptions=background.assumptions(comparison.scenario),
        checks=checks,
        left_out=background.LEFT_OUT,
        stress=background.stress(result, comparison, decision, cell),
        commands=_commands(result, asked),
        foot=tuple(origin.lines()),
        warnings=_warnings(result, comparison, checks),
        sections=(),
        state={},
        heads=tuple(result.parameters) if is_sweep else (),
    )
    made.state = _state(result, comparison, made, decisions, asked)
    if before is not None:
        made.since = since.compared(made.state, before, source)
    changed = made.since.sections if made.since is not None else frozenset()
    made.sections = tuple(Section(i, name, title, name in changed) for i, (name, title) in enumerate(SECTIONS, 1))
    made.block = since.block(made.state)
    return made


def _warnings(result: Any, comparison: Comparison, checks: Sequence[background.Check]) -> tuple[str, ...]:
    """Warnings that a reader should know, but for what the section on trust says already."""
    if not hasattr(result, "cells"):
        return tuple(comparison.scenario.warnings)  # the section on trust has the others
    said = {line for one in checks for line in one.says}
    both = dict.fromkeys([*result.warnings, *comparison.warnings])
    return tuple(line for line in both if line not in said)


def _times(origin: Any, result: Any) -> str:
    if hasattr(result, "cells"):
        return f"{len(result.cells)} cells, up to {origin.replications} replications"
    return canvas.replications(origin.replications if origin.replications is not None else 1)


def _shown_cell(sweep: Sweep, at: Any) -> int:
    """The cell that is shown in detail: the one that is asked for, the scenario as it is, or the one in the middle."""
    if at is not None:
        return sweep.cell(at)
    numbers = [int(one) for one in sweep.cells.index]
    own = sweep.scenario.fingerprint
    prints = sweep.study.known(numbers, sweep.store.ledger)
    plain = [one for one in numbers if prints[one][0] == own]
    return plain[0] if plain else numbers[len(numbers) // 2]


def _key(
    result: Any, comparison: Comparison, decisions: Mapping[int, Decision], asked: Asked, baseline: str
) -> tuple[pictures.Picture, ...]:
    found: list[pictures.Picture] = [pictures.frontier(asked.frontier)] if asked.frontier is not None else []
    if decisions:
        found += pictures.winners(result, decisions) if asked.frontier is None else []
        found += pictures.figures(result, asked.by)
    return tuple(found or pictures.key(comparison, baseline))


def _cells(sweep: Sweep, decisions: Mapping[int, Decision]) -> tuple[tuple[str, ...], ...]:
    """One row a cell, for a table, unless a picture shows all of them."""
    values = table.cell_values(sweep)
    rows = []
    for number, one in decisions.items():
        who = str(one.strategy) if sentence.supports(one) else "nobody" if not one.candidates else "undecided"
        rows.append((*values[number], who, ", ".join(one.candidates) if who == "undecided" else ""))
    return tuple(rows)


def _factors(found: Sensitivity) -> Factors:
    frame = found.flips if found.flips is not None else found.table
    head = tuple(str(name).replace("_", " ") for name in frame.columns)
    rows = tuple(tuple(_plain(value) for value in row) for row in frame.itertuples(index=False))
    return Factors(found.caption, pictures.sensitivity(found), head, rows)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "–" if math.isnan(value) else "none" if math.isinf(value) else f"{value:.3g}"
    return str(value)


def _commands(result: Any, asked: Asked) -> tuple[tuple[str, str], ...]:
    """Commands that do something again: what they do, and the line."""
    found = [("all runs of this report", result.provenance.command)]
    if not hasattr(result, "cells"):
        if result.provenance.command.startswith("simtx compare "):
            limits = (
                [asked.where]
                if isinstance(asked.where, str)
                else asked.where
                if isinstance(asked.where, list | tuple)
                else []
            )
            words = ["--best", asked.by, *(word for one in limits for word in ("--where", str(one)))]
            found.append(("the decision", f"{result.provenance.command} {shlex.join(words)}"))
        found += [("a run that failed", str(row.repeat_with)) for row in result.failures.head(3).itertuples()]
    return tuple(found)


def _state(
    result: Any, comparison: Comparison, made: Review, decisions: Mapping[int, Decision], asked: Asked
) -> dict[str, Any]:
    """Data that the next report compares itself with."""
    statement = made.statement
    figures: dict[str, Any] = {}
    if decisions:
        places = table.cell_texts(result)
        for (number, strategy), one in result.intervals(asked.by).items():
            figures[f"{places[number]}: {strategy} {asked.by}"] = one._asdict()
    else:
        for strategy in comparison.strategies:
            for metric in table.METRICS:
                if metric in comparison.metrics:
                    figures[f"{strategy} {metric}"] = comparison.interval(strategy, metric)._asdict()
    winners = [[number, one.strategy, sentence.supports(one)] for number, one in decisions.items()]
    contents = {
        "decision": [statement.kind, statement.strategy, statement.sentence, statement.reasons],
        "picture": [made.caption, winners, figures],
        "table": made.measures,
        "distributions": [run.digest for run in asked.known] or _digests(comparison),
        "stories": [[one.title, one.when, one.effects] for one in made.stories],
        "assumptions": [made.assumptions, made.factors.rows if made.factors else []],
        "trust": made.checks,
        "left-out": made.left_out,
        "again": [made.stress, made.commands],
    }
    limits = [asked.where] if isinstance(asked.where, str) else asked.where
    origin = result.provenance.to_dict()
    return {
        "format": since.FORMAT,
        "made": made.made,
        "provenance": origin,
        "question": {"by": asked.by, "where": _json(limits), "strategies": ", ".join(comparison.strategies)},
        "scenario": _json(comparison.scenario.to_dict()),
        "verdict": {"kind": statement.kind, "strategy": statement.strategy, "sentence": statement.sentence},
        "figures": _json(figures),
        "sections": {name: _digest(value) for name, value in contents.items()},
    }


def _digests(comparison: Comparison) -> list[str]:
    return [str(one) for one in comparison.frame["digest"].tolist()]


def _json(value: Any) -> Any:
    """A value as JSON can hold it; infinities and what is not a number as texts."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: _json(getattr(value, one.name)) for one in dataclasses.fields(value) if one.name != "picture"}
    if isinstance(value, Mapping):
        return {str(key): _json(one) for key, one in value.items()}
    if isinstance(value, list | tuple | frozenset):
        return [_json(one) for one in value]
    if hasattr(value, "item") and hasattr(value, "dtype"):
        return _json(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _digest(value: Any) -> str:
    text = json.dumps(_json(value), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
