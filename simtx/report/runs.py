"""Pictures of the timeline: one column, of one run or of several in one axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.ticker import FuncFormatter

from simtx.metrics import timeline as samples_of
from simtx.metrics.figures import unknown
from simtx.report import catalogue, style
from simtx.report.footer import footed
from simtx.report.pictures import canvas, faults

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from simtx.metrics.run import Run

_LEVELS: Final = {
    "drift_gross": "gross drift",
    "drift_net": "net drift",
    "in_flight": "transactions in flight",
    "undecided": "undecided transactions",
    "in_doubt": "branches in doubt",
    "backlog": "all that waits",
}
_ROOM: Final = 0.2  # of the width of a timeline, for the words in the part behind the last arrival
_RESIDUALS: Final = 6  # ends of lines that are labelled
_NAMED: Final = 8  # faults that get their name into the picture


@footed
def timeline(
    run: Run | Sequence[Run],
    *,
    column: str = "drift_gross",
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
) -> Axes:
    """One column of the timeline, of one run or of several on the same scenario, from the start until everything is drained.

    Faults are shaded and named, and so is the part behind the last arrival; at the end of each line is what is left then.

    Args:
        run: The run, or several.
        column: A column of `Run.timeline`, or ``backlog``: all that waits.
        ax: Where to draw; None: in a new figure.
        figsize: Inches of a new figure.
    """
    runs = [run] if not isinstance(run, Sequence) else list(run)
    with style.context():
        ax = canvas.axes(ax, figsize, (7.6, 3.6))
        names = canvas.labels(runs)
        unit = (runs[0].drift_unit or "units") if column.startswith("drift") else ""
        ends: list[tuple[float, float, str]] = []
        looks = style.looks(names)
        for position, (one, name) in enumerate(zip(runs, names, strict=True)):
            look = looks[name]
            samples = one.timeline
            time, values = samples["time_s"].to_numpy(), _values(samples, column)
            width = max(1.0, 2.0 - 0.3 * position)  # who lies exactly below another one shows beside it
            ax.plot(time, values, color=look.colour, linestyle=look.dashes, linewidth=width, label=name)
            if len(time):
                ends.append((float(time[-1]), float(values[-1]), look.colour))
        last = max(one.data.horizon for one in runs)
        end = max([last, *(x for x, _, _ in ends)])
        ax.set_xlim(0, end * 1.02)
        ax.set_ylim(bottom=0 if column != "drift_net" else None)
        _shade(ax, runs, last, end)
        _residuals(ax, ends, unit)
        ax.set_xlabel(faults.time_label(runs))
        ax.set_ylabel(f"{_LEVELS.get(column, column.replace('_', ' '))} [{unit or 'count'}]")
        ax.yaxis.set_major_formatter(FuncFormatter(canvas.tick))
        canvas.titled(ax, _title(runs, names, column, unit), canvas.about_runs(runs))
        canvas.legend(ax)
        legend = ax.get_legend()
        for line in legend.get_lines() if legend is not None else []:
            line.set_linewidth(3)  # a line as thin as the curves is nowhere free of the white around it
    return ax


def _values(samples: pd.DataFrame, column: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    if column == "backlog":
        return samples_of.backlog(samples)
    if column not in samples:
        raise unknown(column, ["backlog", *samples.columns[1:]], "column")
    return samples[column].to_numpy(dtype=float)


def _title(runs: Sequence[Run], names: Sequence[str], column: str, unit: str) -> str:
    """Finding of the picture: whether the drift heals."""
    if not column.startswith("drift"):
        label = _LEVELS.get(column, column.replace("_", " "))
        peaks = {
            name: float(_values(one.timeline, column).max(initial=0.0)) for one, name in zip(runs, names, strict=True)
        }
        said = canvas.listed(
            f"{name} {canvas.tick(value)}" for name, value in sorted(peaks.items(), key=lambda pair: -pair[1])
        )
        return f"{label[0].upper()}{label[1:]} at most: {said}"
    left = {
        name: abs(float(one.timeline["drift_gross"].iloc[-1]))
        for one, name in zip(runs, names, strict=True)
        if len(one.timeline)
    }
    wrong = {name: value for name, value in left.items() if value > 1e-6}
    if not wrong:
        flying = {
            name: int(one.timeline["in_flight"].iloc[-1])
            for one, name in zip(runs, names, strict=True)
            if len(one.timeline)
        }
        still = ", ".join(f"{name} {count:,}" for name, count in flying.items() if count)
        if still:
            return f"Consistency drift over time: none at the end, but transactions in flight: {still}"
        return "Consistency drift over time: nothing is left at the end"
    told = ", ".join(f"{name} {catalogue.number(value)} {unit}" for name, value in wrong.items())
    return f"Consistency drift over time; left at the end: {told}"


def _shade(ax: Axes, runs: Sequence[Run], last: float, end: float) -> None:
    """The warm-up, the part behind the last arrival, and every fault of any of the runs."""
    warmup = max(one.data.warmup for one in runs)
    high = ax.get_xaxis_transform()
    if warmup:
        ax.axvspan(0, warmup, color=style.theme().shade, zorder=0)
    if warmup > 0.1 * end:
        ax.text(
            warmup / 2,
            0.99,
            "warm-up",
            transform=high,
            ha="center",
            va="top",
            fontsize=style.size(style.SMALL),
            clip_on=True,
        )
    if end > last:
        faults.shade_rest(ax, last, end)
        middle, side = ((last + end) / 2, "center") if end - last > _ROOM * end else (end, "right")
        ax.text(middle, 0.99, "no more arrivals", transform=high, ha=side, va="top", fontsize=style.size(style.SMALL))
    theme, small = style.theme(), style.size(style.SMALL)
    wide, tall = canvas.points(ax)
    scale = wide / (1.02 * end)
    taken = -math.inf  # points at which the last name stands: one beside it stands further to the right
    for number, one in enumerate(faults.blows(runs)):
        until = min(one.end, end)
        ax.axvspan(one.begin, until, color=theme.fault, alpha=0.28 if theme.dark else 0.10, linewidth=0, zorder=0)
        ax.axvline(one.begin, color=theme.fault, alpha=0.5, linewidth=0.7, zorder=0)
        place = max(one.begin * scale, taken + 1.6 * small)
        if number < _NAMED and one.begin < end and place < wide - 1.6 * small:
            taken = place
            at, shift = ("data", "axes fraction"), (place - one.begin * scale + 2, 0)
            said, looks = canvas.short(one.name, 0.75 * tall, small), {"ha": "left", "va": "top", "color": theme.fault}
            canvas.beside(ax, said, (one.begin, 0.9), shift, at=at, rotation=90, **looks)


def _residuals(ax: Axes, ends: Sequence[tuple[float, float, str]], unit: str) -> None:
    """Mark what is left at the end of each line, in its colour; those that end beside each other stand one above the other."""
    width, height = ax.get_xlim()[1], ax.get_ylim()[1] - ax.get_ylim()[0]
    placed: list[tuple[float, float]] = []
    for x, y, colour in sorted(ends):
        ax.plot(x, y, marker="o", markersize=3.5, color=colour, clip_on=False, linestyle="none")
    ink = style.theme().ink
    seen: dict[tuple[float, float], str] = {}
    for x, y, colour in ends:  # what ends alike is said once
        key = (round(x, 3), round(y, 9))
        seen[key] = ink if key in seen else colour
    for (x, y), colour in sorted(seen.items())[:_RESIDUALS]:
        below = sum(abs(x - a) < 0.2 * width and abs(y - b) < 0.12 * height for a, b in placed)
        placed.append((x, y))
        said, up = f"{catalogue.number(round(y, 9))} {unit}".strip(), 4 + 1.25 * style.size(style.SMALL) * below
        canvas.beside(ax, said, (x, y), (-3, up), ha="right", fontweight="bold", color=colour)
