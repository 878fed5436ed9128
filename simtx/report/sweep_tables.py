"""A sweep as a table: a line a cell, a column a strategy, one metric with its intervals."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from html import escape
from typing import Any, Final

from simtx.banner import banner
from simtx.listing import aligned
from simtx.metrics.figures import COMMITTED, MUCH_LESS, of_all
from simtx.metrics.laws import BEYOND, thin
from simtx.report import catalogue
from simtx.report.tables import FEW_RUNS, MEANS, RELIABLE, clients

_NAMED: Final = 3
"""Cells with violations that are named; the table marks all."""
MOST: Final = 40
"""Cells that are shown unless more are asked for."""
METRICS: Final = ("latency_p99_ms",)
NOTHING: Final = "no run has figures"
_SIGNS: Final = {
    "_timeout": "= or ≈ a name: the figure is that configured timeout, and says nothing about speed",
    "redelivery": "= or ≈ redelivery: the figure is the broker's time until it brings a message again, and says nothing about speed",
    "≤": "[≤ k in n runs]: seen in no run; no more than k of n runs can be expected to have any",
    "≥": "[≥ k in n runs]: all of it in every run; so it can be expected to be in at least k of n runs",
    "VIOLATED": "VIOLATED: runs of this cell have violated what the strategy guarantees; sweep.violations has what tells their stories",
    "> ": "> t: had not ended when the run ended, in so many of the runs; it may lie above larger figures of others",
}


def text(sweep: Any, *, metrics: Sequence[str] = METRICS, confidence: float = 0.95, most: int = MOST) -> str:
    """Table for a terminal.

    Args:
        sweep: A `simtx.Sweep`.
        metrics: Names of metrics, a table each.
        confidence: Coverage of the intervals.
        most: Number of cells that are shown.
    """
    out = _violated(sweep)
    out += [""] if out else []
    shown: list[list[str]] = []
    if not sweep.metrics:
        return "\n".join([*out, NOTHING, "", *_notes(sweep, (), confidence, most, shown)])
    for metric in metrics:
        title, head, lines = _rows(sweep, metric, confidence, most)
        shown += lines
        out.append(title)
        out += aligned([head, *lines], indent="  ", right=0)
        out.append("")
    return "\n".join(out + _notes(sweep, metrics, confidence, most, shown))


def html(sweep: Any, *, metrics: Sequence[str] = METRICS, confidence: float = 0.95, most: int = MOST) -> str:
    """Table for a notebook; see `text`."""
    out = [banner(False, line) for line in _violated(sweep)]
    shown: list[list[str]] = []
    if not sweep.metrics:
        out.append(f"<p>{NOTHING}</p>")
        metrics = ()
    for metric in metrics:
        title, head, lines = _rows(sweep, metric, confidence, most)
        shown += lines
        cells = "".join(f"<th>{escape(cell)}</th>" for cell in head)
        body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in line)}</tr>" for line in lines)
        out.append(f"<p>{escape(title)}</p><table><tr>{cells}</tr>{body}</table>")
    return "".join(out) + "".join(f"<p>{escape(note)}</p>" for note in _notes(sweep, metrics, confidence, most, shown))


def displayed(sweep: Any, parameter: str) -> tuple[float, str]:
    """Factor by which values of a parameter are multiplied where people read them, and the unit they have then: short durations in milliseconds."""
    unit = sweep.units.get(parameter, "")
    values = [one for one in sweep.cells[parameter] if isinstance(one, int | float)]
    return (1e3, "ms") if unit == "s" and values and max(values) < 1 else (1.0, unit)


def quantity(sweep: Any, parameter: str, value: Any) -> str:
    """A value of a parameter, without its unit."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return plain(value * displayed(sweep, parameter)[0])


def plain(value: float, _position: object = None) -> str:
    """A number in full, thousands apart, as at the ticks of an axis: ``1,500``, ``0.25``."""
    return f"{value:,.0f}" if value == round(value) and abs(value) < 1e12 else f"{value:,.6g}"


def with_unit(sweep: Any, parameter: str, value: Any) -> str:
    """A value of a parameter with its unit: ``20/s``, ``5 ms``."""
    unit = displayed(sweep, parameter)[1]
    return f"{quantity(sweep, parameter, value)}{unit[1:] if unit.startswith('1/') else f' {unit}' if unit else ''}"


def heading(sweep: Any, parameter: str) -> str:
    """A parameter with its unit."""
    unit = displayed(sweep, parameter)[1]
    return f"{parameter} [{unit}]" if unit else parameter


def held(sweep: Any, parameter: str, value: Any) -> str:
    """A parameter with its value and unit."""
    return f"{parameter} = {with_unit(sweep, parameter, value)}"


def _rows(sweep: Any, metric: str, confidence: float, most: int) -> tuple[str, list[str], list[list[str]]]:
    shown = catalogue.metric(metric)
    head = [*(heading(sweep, name) for name in sweep.parameters), *sweep.strategies]
    lines = []
    sits = sweep.timeouts(metric)
    broken = sweep.violated()
    for number, values in list(sweep.cells.iterrows())[:most]:
        line = [quantity(sweep, name, values[name]) for name in sweep.parameters]
        for strategy in sweep.strategies:
            one = sweep.interval(int(number), strategy, metric, confidence)
            watched = math.nan
            if one.infinite and "watched_ms" in sweep.metrics:
                watched = _watched_ms(sweep, values, strategy)
            said = [
                *catalogue.estimate(one, shown.scale, watched, shown.endless),
                sits.get((int(number), strategy), ""),
                f"VIOLATED in {broken[int(number), strategy]} runs" if (int(number), strategy) in broken else "",
            ]
            line.append(" ".join(part for part in said if part).strip() if one.n else "–")
        lines.append(line)
    return catalogue.axis_label(metric, sweep.scenario), head, lines


def _violated(sweep: Any) -> list[str]:
    """Name cells with runs that have violated what their strategy guarantees, in a line for each strategy: before any figure."""
    cells: dict[str, list[int]] = {}
    runs: Counter[str] = Counter()
    for (cell, label), count in sweep.violated().items():
        cells.setdefault(label, []).append(cell)
        runs[label] += count
    said = []
    for label, where in cells.items():
        at = [", ".join(held(sweep, name, sweep.cells.at[cell, name]) for name in sweep.parameters) for cell in where]
        named = "; ".join(at[:_NAMED]) + (f"; and {len(at) - _NAMED} more cells" if len(at) > _NAMED else "")
        first = sweep.violations[sweep.violations["strategy"] == label].iloc[0]
        said.append(
            f"VIOLATED, although {label} guarantees it: {', '.join(dict.fromkeys(sweep.violations.loc[sweep.violations['strategy'] == label, 'property']))}, "
            f"in {runs[label]} runs{f' at {named}' if named else ''}; the first story: {first['see_with']}"
        )
    return said


def _watched_ms(sweep: Any, values: Any, strategy: str) -> float:
    """Time for which every measured transaction was watched, in milliseconds, in the runs of one cell and strategy."""
    frame = sweep.frame[sweep.frame["strategy"] == strategy]
    for name in sweep.parameters:
        frame = frame[frame[name].map(str) == str(values[name])]
    return float(frame["watched_ms"].min())


def _notes(
    sweep: Any, metrics: Sequence[str], confidence: float, most: int, lines: Sequence[Sequence[str]]
) -> list[str]:
    frame = sweep.frame
    done = frame[frame["error"] == ""]
    counts = sorted(set(done.groupby([*sweep.parameters, "strategy"]).size())) if len(done) else [0]
    runs = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    notes = [f"mean [{100 * confidence:g} % confidence interval] over {runs} runs of each strategy in each cell"]
    if counts[0] < RELIABLE:
        notes.append(FEW_RUNS)
    fewest = float(done["transactions"].min()) if "transactions" in done and len(done) else math.inf
    beyond = list(dict.fromkeys(filter(None, (thin(one, fewest) for one in metrics))))
    if beyond:
        notes.append(
            f"runs of {fewest:,.0f} measured transactions have fewer than {BEYOND} beyond {' and '.join(beyond)}: "
            "a few slow ones make the figure"
        )
    if len(sweep.cells) > most:
        notes.append(f"the first {most} of {len(sweep.cells)} cells; all of them are in sweep.table() and sweep.frame")
    notes += [note for sign, note in _SIGNS.items() if any(sign in cell for line in lines for cell in line)]
    strategies = sweep.study.strategies
    promises = {name: catalogue.ANSWER_MEANS[one.promise] for name, one in strategies.items()}
    if len(set(promises.values())) > 1:
        notes.append(f"{MEANS}: {', '.join(f'{name} {promise}' for name, promise in promises.items())}")
    notes += _aborting(sweep, metrics)
    unanswered = sweep.frame.get("unanswered_share", ())
    notes.append(clients(sweep.scenario, strategies, unanswered))
    return [*notes, *sweep.warnings, *sweep.provenance.lines()]


def _aborting(sweep: Any, metrics: Sequence[str]) -> list[str]:
    """Name strategies that commit much less than another one in a cell, if the table has times of all transactions. What is aborted early also ends early."""
    if COMMITTED not in sweep.frame or not any(of_all(one) for one in metrics):
        return []
    done = sweep.frame[sweep.frame["error"] == ""]
    shares = done.groupby([*sweep.parameters, "strategy"], sort=False)[COMMITTED].mean().unstack("strategy")
    behind = shares.rsub(shares.max(axis=1), axis=0)
    told = []
    for name in shares.columns:
        if behind[name].max() > MUCH_LESS:
            worst = behind[name].idxmax()
            cell = worst if isinstance(worst, tuple) else (worst,)
            where = ", ".join(f"{key} = {value}" for key, value in zip(sweep.parameters, cell, strict=True))
            most = shares.loc[worst].idxmax()
            told.append(
                f"{name} commits {100 * shares.loc[worst, name]:.3g} % at {where}, where {most} commits {100 * shares.loc[worst, most]:.3g} %: "
                f"what is aborted early also ends early (--metric {COMMITTED})"
            )
    return told
