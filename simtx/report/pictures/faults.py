"""Faults in pictures over time: shaded, numbered where they strike, named below."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from simtx.metrics import timeline
from simtx.report import style
from simtx.report.pictures import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simtx.metrics.run import Run
    from simtx.metrics.rundata import Struck


_NOTHING: Final = 1e-9


def blows(runs: Sequence[Run]) -> list[Struck]:
    """Each blow of a fault once, by its beginning: under every strategy the same ones strike at the same times, but for those aimed at a place."""
    found: dict[tuple[str, float], Struck] = {}
    for one in sorted((one for run in runs for one in run.data.struck), key=lambda each: each.begin):
        key = (one.name, round(one.begin, 6))
        known = found.get(key)
        if known is None:
            found[key] = replace(one)
        elif math.isfinite(known.end):
            known.end = max(known.end, one.end)
    return list(found.values())


def last_arrival(runs: Sequence[Run]) -> float:
    """Time at which the last transaction of any of the runs arrived, in seconds."""
    return max(run.data.horizon for run in runs)


def end_of(runs: Sequence[Run]) -> float:
    """Time at which the last of the runs was drained, in seconds.

    Behind that nothing is in flight, out of balance or waiting, no copy changes, and no fault is in force.
    """
    ends = [last_arrival(runs), 1e-9]
    for run in runs:
        samples = run.timeline
        if not len(samples):
            continue
        times = samples["time_s"].to_numpy(dtype=float)
        busy = (samples[["drift_gross", "in_flight", "in_doubt"]].to_numpy(dtype=float) > _NOTHING).any(axis=1) | (
            timeline.backlog(samples) > 0
        )
        copies = samples[[name for name in samples if str(name).startswith(("wrong_", "waiting_"))]].to_numpy(
            dtype=float
        )
        busy |= (copies != copies[-1]).any(axis=1)  # some may stay wrong, or wait, for ever
        last = int(np.flatnonzero(busy)[-1]) if busy.any() else 0
        ends.append(float(times[min(last + 1, len(times) - 1)]))
        ends += [min(one.end, float(times[-1])) for one in run.data.struck]
    return max(ends)


def shade(ax: Axes, runs: Sequence[Run], *, numbers: bool = False) -> None:
    """Shade warm-up, faults and the part behind the last arrival; with numbers, those of `names` stand above the axes."""
    theme = style.theme()
    last, end = last_arrival(runs), end_of(runs)
    warmup = max(run.data.warmup for run in runs)
    if warmup:
        ax.axvspan(0, warmup, color=theme.shade, zorder=0, linewidth=0)
    shade_rest(ax, last, end)
    for one in blows(runs):
        shade_fault(ax, one.begin, min(one.end, end))
    if numbers:
        numbered(ax, runs, end)


def shade_fault(ax: Axes, begin: float, end: float) -> None:
    """Shade the time of one fault, with a line where it strikes."""
    theme = style.theme()
    ax.axvspan(begin, end, color=theme.fault, alpha=0.28 if theme.dark else 0.13, linewidth=0, zorder=0)
    ax.axvline(begin, color=theme.fault, alpha=0.6, linewidth=0.8, zorder=0)


def shade_rest(ax: Axes, last: float, end: float) -> None:
    """Hatch the part behind the last arrival, if there is any."""
    theme = style.theme()
    if end > last:
        ax.axvspan(last, end, facecolor=theme.shade, edgecolor=theme.grid, hatch="//", linewidth=0, zorder=0)


def numbered(ax: Axes, runs: Sequence[Run], end: float) -> None:
    """Above the axes, the number of each fault, as far as there is room: those of `names`."""
    size = style.size(style.SMALL)
    room = canvas.points(ax)[0] if ax.axison else 300.0
    taken = -math.inf
    for number, one in enumerate(blows(runs), 1):
        if one.begin >= end:
            continue
        half = 0.75 * canvas.width(str(number), size, "bold") * end / room
        place = min(max((one.begin + min(one.end, end)) / 2, half), end - half)
        if place - half >= taken:
            taken = place + half
            ax.text(
                place,
                1.0,
                str(number),
                transform=ax.get_xaxis_transform(),
                ha="center",
                va="bottom",
                fontsize=size,
                fontweight="bold",
                color=style.theme().fault,
            )


def names(runs: Sequence[Run], most: int = 12, *, shaded: bool = True) -> str:
    """Words about the shaded parts: faults by number with their times, warm-up, and the part without arrivals; empty if nothing is."""
    found = blows(runs)
    end = end_of(runs)
    words = [
        f"{number} {one.name} {one.begin:.3g}–{min(one.end, end):.3g} s" for number, one in enumerate(found[:most], 1)
    ]
    if len(found) > most:
        words.append(f"and {len(found) - most:,} more faults")
    if shaded and max(run.data.warmup for run in runs):
        words.append("plain grey: warm-up")
    if shaded and end > last_arrival(runs) * (1 + 1e-9):
        words.append("hatched: no more arrivals")
    return " · ".join(words)


def time_label(runs: Sequence[Run]) -> str:
    """Label of an axis of time: that of the model, or of real runs."""
    return "simulated time [s]" if runs[0].data.origin is None else "time [s]"


def below(panel: Axes, said: str, room: float, down: float) -> None:
    """Say below the lowest panel what is shaded.

    Args:
        panel: The panel.
        said: Words, as of `names`.
        room: Points that they may be wide.
        down: How far below, in sizes of the font.
    """
    small = style.size(style.SMALL)
    looks = {"va": "top", "ha": "left", "color": style.theme().muted, "annotation_clip": False}
    canvas.beside(panel, canvas.wrapped(said, room, small), (0, 0), (0, -down * small), at="axes fraction", **looks)
