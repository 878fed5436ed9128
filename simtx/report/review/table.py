"""The one table of a report: strategies beside each other, with intervals, numbers of runs, paired differences, and thresholds."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from simtx.metrics.intervals import HIGHER_IS_BETTER, Interval
from simtx.report import catalogue, tables
from simtx.report.review.sentence import limit_text
from simtx.report.sweep_tables import with_unit

if TYPE_CHECKING:
    from pathlib import Path

    from simtx.experiments import Comparison, Decision
    from simtx.experiments.sweep import Sweep

METRICS: Final = (
    "latency_p50_ms",
    "latency_p99_ms",
    "decision_p50_ms",
    "decision_p99_ms",
    "latency_committed_p50_ms",
    "latency_committed_p99_ms",
    "goodput_per_s",
    "committed_share",
    "unanswered_share",
    "undecided_share",
    "aborted_share",
    "compensated_share",
    "drift_gross_mean",
    "drift_peak",
    "in_doubt_seconds",
    "in_doubt_open",
    "recovery_s",
    "missing_effects",
    "duplicate_effects",
)
_MARKS: Final = {"met": "✓", "not met": "✗", "undecided": "?"}
PANEL: Final = 5
"""Strategies beside each other; more of them go into a further table."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One figure.

    Attributes:
        mean: Mean over the runs.
        ends: Its interval, in brackets; or nothing.
        mark: The timeout that it sits on; or nothing.
        n: Number of runs behind it, if it is not that of the column.
        against: The paired difference from the baseline, with its interval; or nothing.
        told: Whether that interval leaves out zero.
        side: ``better`` or ``worse`` than the baseline, if it is told and like with like; else nothing.
        sentence: Metric, figure and interval with the unit; with the difference, if there is a side.
    """

    mean: str
    ends: str
    mark: str
    n: str
    against: str
    told: bool
    side: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Line:
    """One row: a metric under each strategy of its table."""

    label: str
    group: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Panel:
    """A table of a few strategies.

    Attributes:
        heads: Their names.
        positions: Their places among all strategies, for their colours.
        promises: What an answer means.
        runs: Finished runs of each.
        lines: One row a metric.
    """

    heads: tuple[str, ...]
    positions: tuple[int, ...]
    promises: tuple[str, ...]
    runs: tuple[int, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Limit:
    """One threshold under each strategy: a mark, a word, and the figure."""

    text: str
    cells: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class Measures:
    """The section of the table.

    Attributes:
        baseline: Against whom differences are; empty with one strategy.
        panels: One or more tables.
        limits: Thresholds.
        strategies: In their order.
        notes: What has to be said below.
        sure: Confidence of each interval, ``95 %``.
    """

    baseline: str
    panels: tuple[Panel, ...]
    limits: tuple[Limit, ...]
    strategies: tuple[str, ...]
    notes: tuple[str, ...]
    sure: str


def measures(comparison: Comparison, decision: Decision, confidence: float = 0.95) -> Measures:
    """The table of a comparison, with its decision; `confidence` is that of each interval."""
    judged = [str(one).split(" ", 1)[0] for one in decision.thresholds["threshold"]] if len(decision.thresholds) else []
    wanted = [name for name in dict.fromkeys([*METRICS, decision.metric, *judged]) if name in comparison.metrics]
    order = list(catalogue.METRICS)
    wanted.sort(key=lambda name: order.index(name) if name in order else len(order))
    strategies = comparison.strategies
    baseline = decision.strategy or strategies[0] if len(strategies) > 1 else ""
    rows = tables.rows(comparison, wanted, confidence)
    shown = [row for row in rows if any(one.n for _, _, one in row.cells)]
    kept = [row for row in shown if row.metric.always or any(one.mean for _, _, one in row.cells)]
    finished = {name: int((comparison.frame["strategy"] == name).sum()) for name in strategies}
    against = _differences(comparison, baseline, [row.metric.name for row in kept], confidence)
    units = [catalogue.unit(row.metric, comparison.scenario) for row in kept]
    panels = []
    for start in range(0, len(strategies), PANEL):
        places = range(start, min(start + PANEL, len(strategies)))
        lines = [
            Line(
                row.label,
                row.metric.group,
                tuple(
                    _cell(row, i, unit, finished[strategies[i]], against.get((strategies[i], row.metric.name), _NONE))
                    for i in places
                ),
            )
            for row, unit in zip(kept, units, strict=True)
        ]
        names = tuple(strategies[i] for i in places)
        promises = tuple(catalogue.ANSWER_MEANS[comparison.promises[name]] for name in names)
        panels.append(Panel(names, tuple(places), promises, tuple(finished[name] for name in names), tuple(lines)))
    said = tables.notes(comparison, kept, confidence)[: -len(comparison.provenance.lines())]
    absent = [row.metric.label for row in rows if row not in shown]
    zero = [row.metric.label for row in shown if row not in kept]
    said += [f"not measured in any run: {'; '.join(absent)}"] if absent else []
    said += [f"zero in every run: {'; '.join(zero)}"] if zero else []
    limits = _limits(decision, strategies)
    return Measures(baseline, tuple(panels), limits, tuple(strategies), tuple(said), f"{100 * confidence:g} %")


@dataclass(frozen=True, slots=True)
class _Difference:
    """A paired difference from the baseline: in the table, whether its interval leaves out zero, on which side it is, and the clause of a sentence if it is on one."""

    text: str
    told: bool = False
    side: str = ""
    clause: str = ""


_NONE: Final = _Difference("")


def _cell(row: tables.Row, place: int, unit: str, finished: int, difference: _Difference) -> Cell:
    mean, ends, one = row.cells[place]
    n = f"n = {one.n}" if one.n not in (finished, 0) else ""
    figure = _figure(mean, "" if one.infinite else unit, ends) if one.n else "not known"
    sentence = f"the {row.metric.words} is {figure}{difference.clause}"
    return Cell(mean, ends, row.marks[place], n, difference.text, difference.told, difference.side, sentence)


def _figure(size: str, unit: str, ends: str) -> str:
    """A figure of a sentence: ``12 ms [11, 13]``; what is empty takes no room."""
    return " ".join(part for part in (size, unit, ends) if part)


def _differences(
    comparison: Comparison, baseline: str, metrics: Sequence[str], confidence: float
) -> dict[tuple[str, str], _Difference]:
    """The paired difference from the baseline, by strategy and metric."""
    if not baseline or not metrics:
        return {}
    table = comparison.differences(baseline, metrics, confidence)
    found = {}
    for name in comparison.strategies:
        if name == baseline:
            continue
        row = f"{name} - {baseline}"
        for metric in metrics:
            mean, low, high, n = (float(table[metric, part][row]) for part in ("mean", "low", "high", "n"))
            shown = catalogue.metric(metric)
            if not math.isfinite(mean):
                continue
            if not math.isfinite(low) or low == high == 0:
                found[name, metric] = _Difference("no difference in any run" if n > 1 and mean == 0 else "")
                continue
            size, ends = catalogue.estimate(Interval(mean, low, high, int(n)), shown.scale)
            size, ends = f"{'+' if mean > 0 else ''}{size}".replace("-", "−"), ends.replace("-", "−")
            told = not low <= 0 <= high
            alike = not metric.startswith("latency_") or comparison.promises[name] == comparison.promises[baseline]
            side = ("better" if (mean > 0) == (metric in HIGHER_IS_BETTER) else "worse") if told and alike else ""
            unit = catalogue.unit(shown, comparison.scenario)
            apart = _figure(size, "points" if unit == "%" else unit, ends)
            clause = f"; the difference from {baseline} is {apart}" if side else ""
            found[name, metric] = _Difference(f"{size} {ends}".strip(), told, side, clause)
    return found


def _limits(decision: Decision, strategies: Sequence[str]) -> tuple[Limit, ...]:
    if not len(decision.thresholds):
        return ()
    found = []
    for threshold in dict.fromkeys(decision.thresholds["threshold"]):
        rows = decision.thresholds[decision.thresholds["threshold"] == threshold].set_index("strategy")
        scale = catalogue.metric(str(threshold).split(" ", 1)[0]).scale
        cells = []
        for name in strategies:
            row = rows.loc[name]
            figure = catalogue.number(float(row["mean"]) * scale)
            note = f"{figure}; {row['note']}" if row["note"] else figure
            cells.append((_MARKS[row["standing"]], str(row["standing"]), note))
        found.append(Limit(limit_text(str(threshold)), tuple(cells)))
    return tuple(found)


# --- for machines -------------------------------------------------------------------------------------------------------------------

COLUMNS: Final = ("strategy", "metric", "label", "unit", "mean", "low", "high", "n", "infinite", "method", "confidence")


def write_csv(path: Path, result: Any, confidence: float = 0.95) -> None:
    """One row a strategy and metric (of a sweep: a cell, too), with its interval, the number of runs and the unit.

    Figures are as in summaries: shares are from 0 to 1, durations are in the unit of the metric's name.

    Args:
        path: The file.
        result: A comparison or a sweep.
        confidence: Coverage of the intervals.
    """
    is_sweep = hasattr(result, "cells")
    origin = result.provenance.columns()
    parameters = list(result.parameters) if is_sweep else []
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*(_column(result, name) for name in parameters), *COLUMNS, *origin])
        source = _sweep_rows(result, confidence) if is_sweep else _rows(result, confidence)
        for first, strategy, metric, one in source:
            shown = catalogue.metric(metric)
            unit = "share" if shown.unit == "%" else catalogue.unit(shown, result.scenario) or "1"
            figures = ["" if math.isnan(value) else repr(float(value)) for value in one[:3]]
            rest = [one.n, one.infinite, one.method, confidence]
            writer.writerow([*first, strategy, metric, shown.label, unit, *figures, *rest, *origin.values()])


def _column(sweep: Sweep, parameter: str) -> str:
    unit = sweep.units.get(parameter, "")
    return f"{parameter} [{unit}]" if unit else parameter


def _rows(comparison: Comparison, confidence: float) -> Iterator[tuple[list[Any], str, str, Interval]]:
    for strategy in comparison.strategies:
        for metric in comparison.metrics:
            yield [], strategy, metric, comparison.interval(strategy, metric, confidence)


def _sweep_rows(sweep: Sweep, confidence: float) -> Iterator[tuple[list[Any], str, str, Interval]]:
    cells = sweep.cells[sweep.parameters]
    places = dict(zip(cells.index, cells.to_numpy(dtype=object).tolist(), strict=True))
    for metric in sweep.metrics:
        for (cell, strategy), one in sweep.intervals(metric, confidence).items():
            yield places[cell], strategy, metric, one


def cell_texts(sweep: Sweep) -> dict[int, str]:
    """Every cell in words, by its number: ``workload.rate = 80/s, rtt = 10 ms``."""
    return {
        number: ", ".join(f"{name} = {value}" for name, value in zip(sweep.parameters, values, strict=True))
        or "the only cell"
        for number, values in cell_values(sweep).items()
    }


def cell_values(sweep: Sweep) -> dict[int, list[str]]:
    """The values of every cell with their units, by its number."""
    cells = sweep.cells
    columns = [with_unit_of(sweep, name, cells[name].tolist()) for name in sweep.parameters]
    return {int(number): [column[i] for column in columns] for i, number in enumerate(cells.index)}


def with_unit_of(sweep: Sweep, parameter: str, values: Sequence[Any]) -> list[str]:
    """Values of one parameter with their unit; equal ones are written once."""
    known = {value: with_unit(sweep, parameter, value) for value in dict.fromkeys(map(_key, values))}
    return [known[_key(value)] for value in values]


def _key(value: Any) -> Any:
    """A value that can be looked up; what cannot, such as a table, by its text."""
    return value if isinstance(value, str | int | float) else str(value)
