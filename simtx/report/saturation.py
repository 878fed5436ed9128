"""The highest sustained throughput, as text and as a picture."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

from matplotlib.ticker import FixedLocator, NullLocator

from simtx.listing import aligned
from simtx.report import style
from simtx.report.footer import footed
from simtx.report.pictures import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simtx.experiments.saturation import Saturation


def text(found: Saturation) -> str:
    """The throughput of each strategy with its interval, the highest first."""
    ranked = sorted(found.strategies, key=lambda name: -found.interval(name).mean)
    first = ranked[0]
    rows = [("strategy", "transactions/s", f"{found.confidence:.0%} interval", "users", f"times {first}")]
    for name in ranked:
        one = found.interval(name)
        times = found.ratio(name, first)
        share = "1" if name == first else f"{times.mean:.3g} [{times.low:.3g}, {times.high:.3g}]"
        rows.append((name, f"{one.mean:.4g}", f"[{one.low:.4g}, {one.high:.4g}]", f"{found.best[name].users:,}", share))
    count = len(found.best[first].throughput)
    lines = [finding(found), ""]
    lines += aligned(rows, indent="  ")
    return "\n".join(
        [
            *lines,
            "",
            f"scenario {found.scenario.name}, users who never think, no faults; {count} replications of seed {found.seed}",
        ]
    )


def finding(found: Saturation) -> str:
    """Name the strategy that sustains most, and say whether the runs support it."""
    ranked = sorted(found.strategies, key=lambda name: -found.interval(name).mean)
    first = ranked[0]
    most = f"{found.interval(first).mean:.3g} transactions a second"
    if len(ranked) == 1:
        return f"{first} sustains {most}"
    tied = [name for name in ranked[1:] if found.ratio(name, first).high >= 1]
    if tied:
        return f"Not told apart: {', '.join([first, *tied])} sustain about {most}"
    second = found.ratio(first, ranked[1])
    return f"{first} sustains most, {most}: {second.mean:.3g} times {ranked[1]}"


@footed
def plot(saturation: Saturation, *, ax: Axes | None = None, figsize: tuple[float, float] | None = None) -> Axes:
    """Throughput over the number of users, a line with intervals for each strategy; the best number of users is ringed."""
    frame = saturation.frame
    with style.context():
        ax = canvas.axes(ax, figsize, (7.2, 4.0))
        looks = style.looks(saturation.strategies)
        for name in saturation.strategies:
            rows, look = frame[frame["strategy"] == name], looks[name]
            below, above = rows["mean"] - rows["low"], rows["high"] - rows["mean"]
            ax.errorbar(
                rows["users"],
                rows["mean"],
                yerr=[below.clip(lower=0), above.clip(lower=0)],
                color=look.colour,
                marker=look.marker,
                linestyle=look.dashes,
                capsize=2,
                label=name,
            )
            top = rows[rows["best"]]
            ax.plot(top["users"], top["mean"], "o", markersize=12, fillstyle="none", color=style.theme().ink)
        ax.set_xscale("log", base=2)
        ticks = sorted({int(users) for users in frame["users"]})
        ax.xaxis.set_major_locator(FixedLocator(ticks))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xticklabels([f"{one:,}" for one in ticks])
        ax.set_ylim(bottom=0)
        ax.set_xlabel("users who never think")
        ax.set_ylabel("decisions a second")
        about = canvas.about(saturation.scenario, seed=saturation.seed, varied=["workload.rate"])
        count = len(saturation.searched[0].throughput)
        canvas.titled(
            ax,
            finding(saturation),
            f"{about} · mean and {saturation.confidence:.0%} interval of {count} replications · ringed: the best, played anew for the title",
        )
        ax.legend(loc="best")
    return ax


def drawing(found: Saturation) -> Callable[..., Axes]:
    """Make what `saturation.plot` is."""
    return functools.partial(plot, found)
