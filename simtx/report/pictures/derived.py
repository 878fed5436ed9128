"""Picture of derived stores: how many reads are stale, how old what they get is, and which copies nothing will put right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from matplotlib.ticker import FuncFormatter

from simtx.errors import ScenarioError
from simtx.report import catalogue, style
from simtx.report.footer import footed
from simtx.report.pictures import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simtx.metrics.run import Run

_ROW: Final = 0.42  # inches of a store under one strategy


@footed
def derived(runs: Run | Sequence[Run], *, ax: Axes | None = None, figsize: tuple[float, float] | None = None) -> Axes:
    """Stale reads of each derived store, and their age: median, 99 % and the oldest. A cross says how many copies are wrong at the end and stay so.

    Raises:
        ScenarioError: The scenario has no derived stores.
    """
    each = [runs] if not isinstance(runs, Sequence) else list(runs)
    stores = list(each[0].scenario.derived)
    if not stores:
        raise ScenarioError("the scenario has no derived stores; give it a table such as [derived.cache]", "derived")
    names = canvas.labels(each)
    with style.context():
        looks = style.looks(names)
        ax = canvas.axes(ax, figsize, (9.2, 2.0 + _ROW * 0.6 * len(stores) * len(each)))
        shares, ages = canvas.panels(ax, 1, 2, across=26)[0]
        step = 0.7 / len(each)
        shown: list[float] = []
        for row, store in enumerate(stores):
            for place, (run, name) in enumerate(zip(each, names, strict=True)):
                at = row + (place - (len(each) - 1) / 2) * step
                look = looks[name]
                figure = {key: float(run.summary[f"derived_{store}_{key}"]) for key in catalogue.OF_DERIVED}
                share = 100 * figure["stale_share"]
                shares.plot([0, share], [at, at], color=look.colour, linewidth=1.4, alpha=0.6)
                shares.plot([share], [at], look.marker, color=look.colour, label=name if not row else None)
                p50, p99, oldest = (figure[f"stale_{key}_ms"] / 1e3 for key in ("p50", "p99", "max"))
                if not math.isnan(p50):
                    shown += [p50, oldest]
                    ages.plot([p50, oldest], [at, at], color=look.colour, linewidth=1.0, alpha=0.6)
                    ages.plot([p50, p99], [at, at], color=look.colour, linewidth=3.2, solid_capstyle="butt")
                    ages.plot([p50], [at], look.marker, color=look.colour)
                wrong = round(figure["wrong_for_ever"])
                if wrong:
                    end = oldest if not math.isnan(oldest) else 0.0
                    said, colour = f"× {wrong:,} wrong for ever", style.theme().fault
                    canvas.beside(ages, said, (end, at), (5, 0), va="center", color=colour)
        for panel in (shares, ages):
            panel.set_ylim(len(stores) - 0.45, -0.55)
            panel.grid(visible=False, axis="y")
        shares.set_yticks(range(len(stores)), stores)
        ages.set_yticks([])
        shares.set_xlim(left=0)
        shares.set_xlabel("stale reads [% of all reads]")
        ages.set_xlabel("age of what they got [s]: median, bar to 99 %, line to the oldest")
        canvas.logarithmic(ages, shown, "x")
        if shown and ages.get_xscale() == "log":
            ages.set_xlim(min(shown) / 1.5, max(shown) * 12)  # room for the words behind the longest line
        ages.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        if len(each) > 1:
            canvas.legend(ages, shares.get_legend_handles_labels()[0])
        left = max(canvas.width(one, style.size()) for one in stores) + 16
        canvas.titled(ax, _finding(each, names, stores), canvas.about_runs(each), left=left)
    return ax


def _finding(runs: Sequence[Run], names: Sequence[str], stores: Sequence[str]) -> str:
    """Say what the picture shows, in a sentence."""
    wrong = {
        (store, name): round(float(run.summary[f"derived_{store}_wrong_for_ever"]))
        for store in stores
        for run, name in zip(runs, names, strict=True)
    }
    worst = max(wrong, key=lambda one: wrong[one])
    bad = [store for store in stores if any(wrong[store, name] for name in names)]
    if not wrong[worst]:
        return "Every copy is that of the last commit in the end, or gone; until then readers see old values"
    under = f" under {worst[1]}" if len(runs) > 1 else ""
    copies = "copy stays" if wrong[worst] == 1 else "copies stay"
    if len(bad) == 1:
        rest = "; all others are right in the end" if len(stores) > 1 else ""
        return f"'{worst[0]}': {wrong[worst]:,} {copies} wrong for ever{under}{rest}"
    return f"{len(bad)} of {len(stores)} derived stores have copies that stay wrong for ever; '{worst[0]}'{under} has most, {wrong[worst]:,}"
