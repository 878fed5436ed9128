"""The start of a run, beside the stated warm-up and the cut of MSER-5."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from simtx.metrics.warmup import BATCH, batch_means, mser5
from simtx.report import style
from simtx.report.footer import footed
from simtx.report.pictures import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simtx.metrics.run import Run

_SMOOTH = 20  # batches in a moving average


@footed
def start(run: Run, *, ax: Axes | None = None, figsize: tuple[float, float] | None = None) -> Axes:
    """Time to the outcome by arrival: batch means and their moving average, the warm-up shaded, and what MSER-5 would cut off."""
    rows = run.transactions
    times = rows["decision_ms"].to_numpy(dtype=float)
    kept = np.isfinite(times)
    times, arrivals = times[kept], rows["arrival_s"].to_numpy(dtype=float)[kept]
    means = batch_means(times)
    places = arrivals[: len(means) * BATCH : BATCH]
    cut = mser5(times)
    with style.context():
        ax = canvas.axes(ax, figsize, (7.2, 3.4))
        look = style.look(run.strategy.name)
        ax.plot(places, means, ".", color=style.theme().muted, markersize=2.5, label=f"means of {BATCH} transactions")
        if len(means) >= _SMOOTH:
            smooth = np.convolve(means, np.ones(_SMOOTH) / _SMOOTH, mode="valid")
            ax.plot(
                places[_SMOOTH // 2 :][: len(smooth)],
                smooth,
                color=look.colour,
                label=f"average over {_SMOOTH} of them",
            )
        warmup = run.data.warmup
        if warmup:
            ax.axvspan(0, warmup, color=style.theme().shade, zorder=0, label=f"warm-up, {warmup:g} s")
        title = "Too few transactions to judge the start of the run"
        if cut is not None:
            until = float(arrivals[cut.observations]) if cut.observations else 0.0
            ax.axvline(until, ymax=0.75, color=style.theme().fault, linestyle="--", label=f"MSER-5 cuts {until:.3g} s")
            if cut.settled:
                ax.axhline(
                    cut.after,
                    color=style.theme().fault,
                    linewidth=0.8,
                    label=f"mean behind the cut, {cut.after:,.4g} ms",
                )
            covered = until <= warmup
            title = (
                "The warm-up covers the start of the run"
                if covered
                else f"MSER-5 would cut {until:.3g} s, the warm-up is {warmup:g} s"
                if cut.settled
                else "No steady state was found in the first half of the run"
            )
        ax.set_xlim(left=0)
        ax.set_ylim(bottom=0, top=float(np.quantile(means, 0.995)) * 1.5 if len(means) else None)
        ax.set_xlabel("arrival [s]")
        ax.set_ylabel("request to final outcome [ms]")
        canvas.titled(ax, title, canvas.about_runs([run]))
        canvas.legend(ax)
    return ax
