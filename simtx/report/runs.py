"""Plots of single runs: how durations are distributed, and what happens over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import FuncFormatter

from simtx.metrics import timeline as samples_of
from simtx.metrics.figures import unknown
from simtx.metrics.recovery import Struck
from simtx.report import catalogue, style
from simtx.report.axes import short
from simtx.report.footer import footed

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from simtx.metrics.run import Run

_DURATIONS: Final = {
    "latency_ms": "time until the client's answer [ms]",
    "decision_ms": "time until the outcome is final [ms]",
    "settle_ms": "time until the last effect [ms]",
    "window_ms": "inconsistency window [ms]",
}
_LEVELS: Final = {
    "drift_gross": "gross drift",
    "drift_net": "net drift",
    "in_flight": "transactions in flight",
    "undecided": "undecided transactions",
    "in_doubt": "branches in doubt",
    "backlog": "all that waits",
}
_SHORT: Final = 1e-3  # ms; where a logarithmic axis begins
_ROOM: Final = 0.2  # of the width of a timeline, for the words in the part behind the last arrival
_NAMED: Final = 8  # faults that get their name into the picture


@footed
def timeline(run: Run | Sequence[Run], *, column: str = "drift_gross", ax: Axes | None = None) -> Axes:
    """One column of the timeline, of one run or of several on the same scenario, from the start until everything is drained.

    Faults are shaded and named, and so is the part behind the last arrival; at the end of each line is what is left then.

    Args:
        run: The run, or several.
        column: A column of `Run.timeline`, or ``backlog``: all that waits.
        ax: Where to draw; None: in a new figure.
    """
    runs = [run] if not isinstance(run, Sequence) else list(run)
    with style.context():
        ax = ax if ax is not None else plt.subplots(figsize=(7.6, 3.4), layout="constrained")[1]
        names = [one.strategy.name for one in runs]
        unit = (runs[0].drift_unit or "units") if column.startswith("drift") else ""
        ends: list[tuple[float, float, str]] = []
        for position, one in enumerate(runs):
            look = style.looks(names)[one.strategy.name]
            samples = one.timeline
            time, values = samples["time_s"].to_numpy(), _values(samples, column)
            width = max(1.0, 2.0 - 0.3 * position)  # who lies exactly below another one shows beside it
            ax.plot(time, values, color=look.colour, linestyle=look.dashes, linewidth=width, label=one.strategy.name)
            if len(time):
                ends.append((float(time[-1]), float(values[-1]), look.colour))
        last = max(one.data.horizon for one in runs)
        end = max([last, *(x for x, _, _ in ends)])
        ax.set_xlim(0, end * 1.02)
        ax.set_ylim(bottom=0 if column != "drift_net" else None)
        _shade(ax, runs, last, end)
        _residuals(ax, ends, unit)
        ax.set_xlabel("simulated time [s]" if runs[0].data.origin is None else "time [s]")
        ax.set_ylabel(f"{_LEVELS.get(column, column.replace('_', ' '))} [{unit or 'count'}]")
        ax.yaxis.set_major_formatter(FuncFormatter(short))
        ax.set_title(_title(runs, column, unit))
        for line in ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.3).get_lines():
            line.set_linewidth(3)  # a line as thin as the curves is nowhere free of the white around it
    return ax


def _values(samples: pd.DataFrame, column: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    if column == "backlog":
        return samples_of.backlog(samples)
    if column not in samples:
        raise unknown(column, ["backlog", *samples.columns[1:]], "column")
    return samples[column].to_numpy(dtype=float)


def _title(runs: Sequence[Run], column: str, unit: str) -> str:
    """What the picture shows: whether the drift heals."""
    if not column.startswith("drift"):
        label = _LEVELS.get(column, column.replace("_", " "))
        return f"{label[0].upper()}{label[1:]} over time"
    left = {one.strategy.name: abs(float(one.timeline["drift_gross"].iloc[-1])) for one in runs if len(one.timeline)}
    wrong = {name: value for name, value in left.items() if value > 1e-6}
    if not wrong:
        flying = {one.strategy.name: int(one.timeline["in_flight"].iloc[-1]) for one in runs if len(one.timeline)}
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
        ax.axvspan(0, warmup, color="#EEEEEE", zorder=0)
    if warmup > 0.1 * end:
        ax.text(warmup / 2, 0.99, "warm-up", transform=high, ha="center", va="top", fontsize=8, clip_on=True)
    if end > last:
        ax.axvspan(last, end, facecolor="#F3F3F3", edgecolor="#DDDDDD", hatch="//", linewidth=0, zorder=0)
        middle, side = ((last + end) / 2, "center") if end - last > _ROOM * end else (end, "right")
        ax.text(middle, 0.99, "no more arrivals", transform=high, ha=side, va="top", fontsize=8)
    spans = _merged([one for run in runs for one in run.data.struck])
    near: list[float] = []  # where names stand already; one beside them begins further down
    for number, one in enumerate(spans):
        until = min(one.end, end)
        ax.axvspan(one.begin, until, color=style.FAULT, alpha=0.10, linewidth=0, zorder=0)
        ax.axvline(one.begin, color=style.FAULT, alpha=0.5, linewidth=0.7, zorder=0)
        if number < _NAMED:
            row = sum(abs(one.begin - place) < 0.03 * end for place in near) % 3
            near.append(one.begin)
            ax.text(
                one.begin,
                0.92 - 0.3 * row,
                f" {one.name}",
                transform=high,
                rotation=90,
                ha="left",
                va="top",
                fontsize=7.5,
                color=style.FAULT,
            )


def _merged(struck: Sequence[Struck]) -> list[Struck]:
    """Each fault once: under every strategy the same ones strike at the same times, but for those that are aimed at a place."""
    found: dict[tuple[str, float], Struck] = {}
    for one in sorted(struck, key=lambda each: each.begin):
        known = found.setdefault((one.name, round(one.begin, 6)), one)
        if math.isfinite(known.end):
            known.end = max(known.end, one.end)
    return list(found.values())


def _residuals(ax: Axes, ends: Sequence[tuple[float, float, str]], unit: str) -> None:
    """What is left at the end of each line, in its colour; those that end beside each other stand one above the other."""
    width, height = ax.get_xlim()[1], ax.get_ylim()[1] - ax.get_ylim()[0]
    placed: list[tuple[float, float]] = []
    for x, y, colour in sorted(ends):
        below = sum(abs(x - a) < 0.14 * width and abs(y - b) < 0.1 * height for a, b in placed)
        placed.append((x, y))
        ax.annotate(
            f"{catalogue.number(round(y, 9))} {unit}".strip(),
            (x, y),
            xytext=(-3, 4 + 10 * below),
            textcoords="offset points",
            ha="right",
            fontsize=8,
            fontweight="bold",
            color=colour,
        )
        ax.plot(x, y, marker="o", markersize=3.5, color=colour, clip_on=False, linestyle="none")
