"""Pictures over time of each strategy: drift, transactions in flight and answers, with faults shaded and named, until all is drained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from simtx.metrics import timeline as samples_of
from simtx.report import catalogue, style
from simtx.report.footer import footed
from simtx.report.pictures import canvas, faults

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simtx.metrics.run import Run

_BINS: Final = 60
Floats = NDArray[np.float64]


@footed
def over_time(
    runs: Run | Sequence[Run],
    *,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
) -> Axes:
    """Drift, transactions in flight and answers a second over the whole run, a row of panels for each strategy.

    Panels of one quantity have the same axes, so that strategies can be compared by eye. Faults are shaded in red, numbered above the panels and
    named below them; the warm-up is grey; the part behind the last arrival, in which the system drains, is hatched.
    """
    each = [runs] if not isinstance(runs, Sequence) else list(runs)
    names = canvas.labels(each)
    looks = style.looks(names)
    unit = each[0].drift_unit
    columns: list[tuple[str, Callable[[Run], tuple[Floats, Floats]]]] = [
        ("transactions in flight", lambda run: _sampled(run, "in_flight")),
        ("answers a second [1/s]", answers),
    ]
    if any(run.data.quantities for run in each):
        columns.insert(0, (f"gross drift [{unit or 'units'}]", lambda run: _sampled(run, "drift_gross")))
    with style.context():
        ax = canvas.axes(ax, figsize, (11.0, 1.9 + 1.15 * len(each)))
        frames = canvas.panels(ax, len(each), len(columns), across=46, down=14)
        end = faults.end_of(each)
        _fill(frames, each, looks, columns)
        for line, name in zip(frames, names, strict=True):
            _name(line[0], name)
        for position, (title, _) in enumerate(columns):
            top = frames[0][position]
            faults.shade(top, each, numbers=True)
            above = style.size(style.SMALL) * 1.25 + 2 if faults.blows(each) else 2.0
            canvas.panel_title(top, title, above)
            for line in frames[1:]:
                faults.shade(line[position], each)
            frames[-1][position].set_xlabel(faults.time_label(each))
            for line in frames:
                line[position].set_xlim(0, end)
        over = style.size(style.SMALL) * (2.6 if faults.blows(each) else 1.3) + 4
        if said := faults.names(each):
            faults.below(frames[-1][0], said, canvas.points(ax)[0] * (1.0 if ax.get_gid() == canvas.OWN else 0.98), 3.6)
        canvas.titled(ax, finding(each, names), canvas.about_runs(each), above=over, left=150)
    return ax


def answers(run: Run) -> tuple[Floats, Floats]:
    """Ends of equal parts of a run, in seconds, and how many clients were answered a second in each of them."""
    rows = run.transactions
    at = (rows["arrival_s"] + rows["latency_ms"] / 1e3).dropna().to_numpy(dtype=float)
    end = faults.end_of([run])
    edges = np.linspace(0, end, _BINS + 1)
    counts: Floats = np.histogram(at, edges)[0] / np.diff(edges)
    return edges, np.concatenate([counts, counts[-1:]])


def _sampled(run: Run, column: str) -> tuple[Floats, Floats]:
    samples = run.timeline
    return samples["time_s"].to_numpy(dtype=float), level(samples, column)


def level(samples: pd.DataFrame, column: str) -> Floats:
    """A column of a timeline; ``backlog`` is all that waits."""
    found: Floats = samples_of.backlog(samples) if column == "backlog" else samples[column].to_numpy(dtype=float)
    return found


def _fill(
    frames: list[list[Axes]],
    runs: Sequence[Run],
    looks: dict[str, style.Look],
    columns: Sequence[tuple[str, Callable[[Run], tuple[Floats, Floats]]]],
) -> None:
    for position, (_, data) in enumerate(columns):
        top = 0.0
        for line, run, look in zip(frames, runs, looks.values(), strict=True):
            panel = line[position]
            times, values = data(run)
            if len(times):
                panel.fill_between(times, values, step="post", color=look.colour, alpha=0.25, linewidth=0)
                panel.plot(times, values, drawstyle="steps-post", color=look.colour, linewidth=1.3)
                top = max(top, float(np.nanmax(values)))
        for number, line in enumerate(frames):
            panel = line[position]
            panel.set_ylim(0, 1.12 * top if top > 0 else 1)
            canvas.ticks(panel.yaxis, 3)
            panel.xaxis.set_major_locator(MaxNLocator(5))
            if number < len(frames) - 1:
                panel.tick_params(labelbottom=False)


def _name(panel: Axes, name: str) -> None:
    """The strategy left of its panels."""
    small = style.size(style.SMALL)
    looks = {"ha": "right", "va": "center", "fontweight": "bold", "annotation_clip": False}
    canvas.beside(panel, canvas.wrapped(name, 92, small), (0, 0.5), (-52, 0), at="axes fraction", **looks)


def finding(runs: Sequence[Run], names: Sequence[str]) -> str:
    """Say whether what went wrong heals: what is left in the end, else the highest drift."""
    if not any(run.data.quantities for run in runs):
        peaks = sorted(
            (
                (float(run.timeline["in_flight"].max()) if len(run.timeline) else 0.0, name)
                for run, name in zip(runs, names, strict=True)
            ),
            reverse=True,
        )
        return f"At most {peaks[0][0]:,.0f} transactions in flight at once ({peaks[0][1]})"
    unit = runs[0].drift_unit
    left, peak, flying = {}, {}, {}
    for run, name in zip(runs, names, strict=True):
        drift = run.timeline["drift_gross"].to_numpy(dtype=float) if len(run.timeline) else np.zeros(1)
        left[name], peak[name] = float(drift[-1]), float(drift.max())
        flying[name] = int(run.timeline["in_flight"].iloc[-1]) if len(run.timeline) else 0
    wrong = [
        f"{name} {catalogue.number(round(value, 2))} {unit}".rstrip() for name, value in left.items() if value > 1e-6
    ]
    if wrong:
        return f"Drift that is left at the end: {canvas.listed(wrong)}"
    still = [f"{name} {count:,}" for name, count in flying.items() if count]
    if still:
        return f"No drift is left, but transactions are in flight at the end: {canvas.listed(still)}"
    worst = max(peak, key=lambda name: peak[name])
    if not peak[worst]:
        return "No drift at any time"
    others = [
        f"{name} {catalogue.number(round(value))}" for name, value in sorted(peak.items(), key=lambda one: -one[1])
    ]
    return f"All drift heals; highest samples: {canvas.listed(others)} {unit}".rstrip()
