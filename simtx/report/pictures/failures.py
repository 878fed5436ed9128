"""A Gantt of failures: what was down and when, and under each strategy how long it took until all was as before."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from simtx.report import style
from simtx.report.footer import footed
from simtx.report.pictures import canvas, faults
from simtx.scenario.fault_kinds import DOWN_FAULTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simtx.metrics.run import Run
    from simtx.metrics.rundata import Struck

_LANES: Final = 4
_UNENDED: Final = "not seen, the run ends in a fault"


@footed
def failures(
    runs: Run | Sequence[Run],
    *,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
) -> Axes:
    """Draw when nodes, links and the broker were down or disturbed, and below how each strategy came back.

    The upper rows show each target of a fault: filled where it was down, hatched where it was only slow or lost messages. Under each strategy there
    are up to three rows: *recovering*, from the end of a fault until backlog, drift and transactions in flight are back at their level before it, with the
    time of each; *in doubt*, when branches were prepared and waited for a decision (darker: more of them); *stuck*, from when the transactions
    that wait for an operator at the end have arrived.
    """
    each = [runs] if not isinstance(runs, Sequence) else list(runs)
    names = canvas.labels(each)
    blows = faults.blows(each)
    end = faults.end_of(each)
    with style.context():
        targets = list(dict.fromkeys(one.target or one.kind for one in blows))
        doubtful = [any(run.timeline["in_doubt"].to_numpy() > 0) if len(run.timeline) else False for run in each]
        stuck = [
            run.transactions.loc[run.transactions["outcome"] == "stuck", "arrival_s"].to_numpy(dtype=float)
            for run in each
        ]
        lanes = [_lanes(run, end) for run in each]
        rows = len(targets) + sum(
            len(back) + doubt + bool(len(lost)) for doubt, lost, back in zip(doubtful, stuck, lanes, strict=True)
        )
        ax = canvas.axes(ax, figsize, (9.6, 1.9 + 0.27 * rows))
        if not blows:
            canvas.empty(ax, "no fault struck in this run" if len(each) == 1 else "no fault struck in these runs")
            canvas.titled(ax, "Nothing failed", canvas.about_runs(each))
            return ax
        ticks: list[tuple[float, str]] = []
        ax.set_xlim(0, end)
        for row, target in enumerate(targets):
            ticks.append((row, target))
            _bars(ax, row, [one for one in blows if (one.target or one.kind) == target], end)
        row = len(targets)
        looks = style.looks(names)
        for run, name, doubt, lost, back in zip(each, names, doubtful, stuck, lanes, strict=True):
            ax.axhline(row - 0.5, color=style.theme().edge, linewidth=0.7)
            ticks.append((row, f"{name}: recovering"))
            for lane in back:
                _recovering(ax, row, lane, looks[name], end)
                row += 1
            if doubt:
                ticks.append((row, "in doubt"))
                _levels(ax, row, run)
                row += 1
            if len(lost):
                ticks.append((row, "stuck"))
                _stuck(ax, row, lost, end)
                row += 1
        _finish(ax, each, ticks, row, end)
        canvas.titled(ax, finding(each, names), canvas.about_runs(each), left=_left(ticks))
    return ax


def _left(ticks: Sequence[tuple[float, str]]) -> float:
    """Points that the names of the rows take."""
    small = style.size(style.SMALL)
    return min(190.0, max(canvas.width(name, small) for _, name in ticks)) + 16


def _finish(ax: Axes, runs: Sequence[Run], ticks: Sequence[tuple[float, str]], rows: int, end: float) -> None:
    theme, small = style.theme(), style.size(style.SMALL)
    last = faults.last_arrival(runs)
    if end > last:
        ax.axvspan(last, end, facecolor=theme.shade, linewidth=0, zorder=0)
    ax.set_ylim(rows - 0.4, -0.6)
    ax.set_yticks([place for place, _ in ticks], [canvas.short(name, 190, small) for _, name in ticks])
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=False, axis="y")
    ax.xaxis.set_major_locator(MaxNLocator(9))
    ax.set_xlabel(faults.time_label(runs))
    handles = [
        Patch(facecolor=theme.fault, label="down"),
        Patch(facecolor="none", edgecolor=theme.fault, hatch="////", label="disturbed"),
        Patch(facecolor=theme.muted, alpha=0.55, label="until all is as before"),
        Patch(facecolor=style.IN_DOUBT, label="in doubt"),
        *([Patch(facecolor=theme.shade, label="no more arrivals")] if end > last else []),
    ]
    ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0)


def _bars(ax: Axes, row: float, blows: Sequence[Struck], end: float) -> None:
    """The blows on one target, each with its kind as far as there is room until the next."""
    theme, small = style.theme(), style.size(style.SMALL)
    scale = canvas.points(ax)[0] * 0.8 / end
    for number, one in enumerate(blows):
        begin, until, kind = one.begin, min(one.end, end), one.kind
        down = kind in DOWN_FAULTS
        wide = max(until - begin, 0.003 * end)
        ax.barh(
            row,
            wide,
            left=begin,
            height=0.62,
            facecolor=theme.fault if down else "none",
            edgecolor=theme.fault,
            hatch="" if down else "////",
            linewidth=0.8,
        )
        following = blows[number + 1].begin if number + 1 < len(blows) else end
        if canvas.width(kind, small) + 8 < (following - begin - wide) * scale:
            canvas.beside(ax, kind, (begin + wide, row), (3, 0), va="center")


def _lanes(run: Run, end: float) -> list[list[tuple[float, float, str]]]:
    """Recoveries as (begin, end, words), so that those of one lane do not overlap; the last of the lanes takes all that would need more."""
    lanes: list[list[tuple[float, float, str]]] = []
    for one in run.recovery.to_dict("records"):
        begin, took = float(one["end_s"]), float(one["recovery_s"])
        if not math.isfinite(begin):
            continue
        never = math.isinf(took)
        watched = float(one["watched_s"])
        said = (f"not back in {watched:.3g} s" if watched > 0 else "the run ends") if never else f"{took:.3g} s"
        bar = (begin, end if never else begin + took, said)
        free = next((lane for lane in lanes if lane[-1][1] <= begin), None)
        if free is not None:
            free.append(bar)
        elif len(lanes) < _LANES:
            lanes.append([bar])
        else:
            lanes[-1].append(bar)
    return lanes or [[]]


def _recovering(ax: Axes, row: float, bars: Sequence[tuple[float, float, str]], look: style.Look, end: float) -> None:
    theme, small = style.theme(), style.size(style.SMALL)
    scale = canvas.points(ax)[0] * 0.8 / end
    for number, (begin, until, said) in enumerate(bars):
        ax.barh(
            row, max(until - begin, 0.002 * end), left=begin, height=0.5, color=look.colour, alpha=0.55, linewidth=0
        )
        following = bars[number + 1][0] if number + 1 < len(bars) else end
        wide = canvas.width(said, small) + 8
        if wide < (following - until) * scale:
            canvas.beside(ax, said, (until, row), (3, 0), va="center")
        elif wide < (until - begin) * scale:
            box = {"facecolor": theme.paper, "edgecolor": "none", "alpha": 0.75, "pad": 0.5}
            canvas.beside(ax, said, (until, row), (-4, 0), ha="right", va="center", bbox=box)


def _levels(ax: Axes, row: float, run: Run) -> None:
    samples = run.timeline
    times, values = samples["time_s"].to_numpy(dtype=float), samples["in_doubt"].to_numpy(dtype=float)
    top = float(values.max())
    edges = np.append(times, times[-1:])
    for left, right, value in zip(edges[:-1], edges[1:], values, strict=True):
        if value > 0:
            ax.barh(
                row,
                right - left,
                left=left,
                height=0.62,
                color=style.IN_DOUBT,
                alpha=0.25 + 0.75 * value / top,
                linewidth=0,
            )


def _stuck(ax: Axes, row: float, arrivals: np.ndarray[tuple[int], np.dtype[np.float64]], end: float) -> None:
    theme = style.theme()
    first = float(arrivals.min())
    ax.barh(
        row, end - first, left=first, height=0.5, facecolor="none", edgecolor=theme.fault, hatch="xx", linewidth=0.8
    )
    said = f"{len(arrivals):,} wait for an operator"
    box = {"facecolor": theme.paper, "edgecolor": "none", "pad": 1.0}
    canvas.beside(ax, said, (end, row), (-4, 0), ha="right", va="center", bbox=box)


def finding(runs: Sequence[Run], names: Sequence[str]) -> str:
    """Say how long the worst recovery took, the quickest strategy first; of a fault that is in force when the run ends, only that."""
    worst = []
    for run, name in zip(runs, names, strict=True):
        table = run.recovery
        if not len(table):
            worst.append((math.inf, name, "is struck by nothing"))
            continue
        row = max(table.to_dict("records"), key=lambda one: (float(one["recovery_s"]), float(one["end_s"])))
        took, watched = float(row["recovery_s"]), float(row["watched_s"])
        said = f"{took:.3g} s" if math.isfinite(took) else f"not within {watched:.3g} s" if watched > 0 else _UNENDED
        worst.append((took, name, said))
    if all(said == _UNENDED for _, _, said in worst):
        return "A fault is in force when the run ends: how long it takes until all is as before cannot be seen"
    worst.sort(key=lambda one: one[0])
    shown = worst if len(worst) <= 4 else [worst[0], worst[-1]]
    return f"As before again after the worst fault: {', '.join(f'{name} {said}' for _, name, said in shown)}"
