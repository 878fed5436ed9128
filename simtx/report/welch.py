"""Welch's picture: does what is measured begin before the steady state?

Several replications are averaged transaction by transaction, and smoothed by a moving average (P. D. Welch, "The statistical analysis of simulation
results", in *Computer Performance Modeling Handbook*, 1983; Law, 5th ed., 9.5.1). Where the curve is flat the start is over. The stated warm-up
and the cut of MSER-5 on the averaged series stand beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from simtx.errors import ScenarioError
from simtx.metrics.warmup import Cut, mser5
from simtx.report import style
from simtx.report.footer import footed
from simtx.report.pictures import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simtx.metrics.run import Run

_COLUMNS: Final = {
    "latency_ms": "time until the client's answer [ms]",
    "decision_ms": "time until the outcome is final [ms]",
    "settle_ms": "time until the last effect [ms]",
    "window_ms": "inconsistency window [ms]",
}
_WINDOWS: Final = 40  # so many windows of the moving average are one picture

Floats = NDArray[np.float64]


def averaged(runs: Sequence[Run], column: str) -> tuple[Floats, Floats]:
    """Mean arrival in seconds, and mean of a duration, of the first, second, ... transaction over the runs; as many as the shortest run has.

    A transaction that had not ended with its run is left out of its mean.
    """
    frames = [run.transactions for run in runs]
    shortest = min(len(frame) for frame in frames)
    arrivals = np.array([frame["arrival_s"].to_numpy(dtype=float)[:shortest] for frame in frames])
    durations = np.array([frame[column].to_numpy(dtype=float)[:shortest] for frame in frames])
    ended = np.isfinite(durations)
    counts = ended.sum(axis=0)
    known = counts > 0
    means = np.where(ended, durations, 0.0).sum(axis=0)[known] / counts[known]
    return arrivals.mean(axis=0)[known], means


def moving_average(values: Floats, reach: int) -> Floats:
    """Mean of each value with its `reach` neighbours on both sides; of as many as there are on each side near the ends."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    at = np.arange(len(values))
    near = np.minimum(np.minimum(at, len(values) - 1 - at), reach)
    found: Floats = (sums[at + near + 1] - sums[at - near]) / (2 * near + 1)
    return found


@footed
def welch(
    runs: Run | Sequence[Run],
    *,
    column: str = "decision_ms",
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
) -> Axes:
    """Draw the start of one run, or better of several replications of one strategy.

    Raises:
        ScenarioError: There is no such column, or the runs are not of one strategy.
    """
    if column not in _COLUMNS:
        raise ScenarioError(f"'{column}' is no duration; there are {', '.join(_COLUMNS)}", "column")
    each = list(runs) if isinstance(runs, Sequence) else [runs]
    if not each or len({one.strategy.name for one in each}) > 1:
        raise ScenarioError("give one or several runs of one strategy", "runs")
    times, values = averaged(each, column)
    cut = mser5(values)
    warmup = each[0].data.warmup
    with style.context():
        ax = canvas.axes(ax, figsize, (7.2, 3.4))
        look = style.looks([each[0].strategy.name])[each[0].strategy.name]
        ax.plot(times, values, ".", color=style.theme().muted, alpha=0.25, markersize=2.5, markeredgewidth=0)
        smooth = moving_average(values, max(1, len(values) // _WINDOWS))
        ax.plot(times, smooth, color=look.colour, label=f"{each[0].strategy.name}, moving average")
        if warmup:
            ax.axvspan(0, warmup, color=style.theme().shade, zorder=0, label=f"stated warm-up, {warmup:g} s")
        if cut is not None and cut.settled:
            ax.axvline(
                _time(times, cut),
                color=style.theme().ink,
                linestyle=(0, (2, 1.5)),
                label=f"MSER-5 cuts {_time(times, cut):.3g} s",
            )
        ax.set_xlim(left=0)
        if len(values):
            ax.set_ylim(0, max(1.15 * float(smooth.max()), float(np.quantile(values, 0.98))))
        ax.set_xlabel("arrival of the transaction [s]")
        ax.set_ylabel(_COLUMNS[column])
        count = canvas.replications(len(each))
        canvas.titled(ax, f"{finding(times, cut, warmup)} (mean of {count})", canvas.about_runs(each))
        ax.legend(loc="best")
    return ax


def finding(times: Floats, cut: Cut | None, warmup: float) -> str:
    """Finding of the picture, as its title."""
    if cut is None:
        return "Too few transactions to see a start"
    if not cut.settled:
        return "No steady state: the run is too short, or its load changes"
    if _time(times, cut) > warmup:
        return "The start is not over when the measurement begins"
    return "The start is over when the measurement begins"


def _time(times: Floats, cut: Cut) -> float:
    return float(times[min(cut.observations, len(times) - 1)]) if cut.observations else 0.0
