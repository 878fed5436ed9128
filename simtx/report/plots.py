"""Plots of comparisons and runs: one idea each, with units, intervals, and one colour a strategy.

Functions take the data first and return the matplotlib Axes that they drew on; `overview` returns a Figure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.text import Annotation

from simtx.metrics.figures import COMMITTED
from simtx.metrics.timeouts import marked, timeouts
from simtx.report import catalogue, style
from simtx.report.footer import footed
from simtx.report.pictures import canvas
from simtx.report.pictures.distribution import distribution
from simtx.report.pictures.outcomes import outcomes
from simtx.report.runs import timeline
from simtx.report.tables import watched_ms

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from simtx.experiments import Comparison
    from simtx.metrics.intervals import Interval

__all__ = ["damage", "distribution", "drift", "latency", "outcomes", "overview", "throughput", "timeline", "trade_off"]

_SIDE: Final = 0.035  # of the median to the left, of the 99 % quantile to the right
_PAGE: Final = (11.5, 7.6)  # inches
_ROOM: Final = (15.0, 8.3)  # of which a share is the least that four pictures beside each other need
_NAMED: Final = 6  # points that have room for their names


@footed
def latency(
    comparison: Comparison,
    *,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
    confidence: float = 0.95,
) -> Axes:
    """Draw when the client is answered, when the outcome is final, when the last effect is in: medians, and 99 % quantiles as open marks."""
    with style.context():
        ax = canvas.axes(ax, figsize, (9.6, 4.2))
        names = comparison.strategies
        moments = _moments(comparison, short=ax.get_gid() == canvas.PANEL)
        means: list[float] = []
        for name, offset in zip(names, _offsets(len(names)), strict=True):
            look = style.looks(names)[name]
            for level, filled, side in (("p50", True, -_SIDE), ("p99", False, _SIDE)):
                own = [
                    position for position, one in enumerate(moments) if one.promise in ("", comparison.promises[name])
                ]
                metrics = [f"{moments[position].name}_{level}_ms" for position in own]
                estimates = [comparison.interval(name, metric, confidence) for metric in metrics]
                means += [one.mean for one in estimates if math.isfinite(one.mean)]
                places = [position + offset + side for position in own]
                for place, metric in zip(places, metrics, strict=True):
                    _dots(ax, place, _values(comparison, name, metric), look)
                endless = [place for place, one in zip(places, estimates, strict=True) if math.isinf(one.mean)]
                _beyond(ax, endless, look, filled=filled)
                ax.errorbar(
                    places,
                    [one.mean for one in estimates],
                    yerr=_ends(*estimates),
                    fmt=look.marker,
                    color=look.colour,
                    markerfacecolor=look.colour if filled else style.theme().paper,
                    label=_legend(comparison, name) if filled else None,
                )
        _name_moments(ax, [one.title for one in moments])
        ax.set_xlim(-0.5, len(moments) - 0.5)
        told = _on_timeouts(comparison, list(dict.fromkeys(one.name for one in moments)))
        if any(isinstance(one, Annotation) for one in ax.texts):
            ax.margins(y=0.12)  # room for the arrows
            told = ["arrow: had not ended when the run ended", *told]
        ax.set_xlabel(
            "\n".join(canvas.wrapped(line, 0.6 * canvas.points(ax)[0], style.size(style.SMALL)) for line in told),
            fontsize=style.size(style.SMALL),
        )
        ax.grid(visible=False, axis="x")
        canvas.logarithmic(ax, means)
        if ax.get_yscale() == "linear":  # an interval may reach below zero, a time cannot
            ax.set_ylim(bottom=0)
        ax.set_ylabel("time since the request [ms]")
        _say_what_bars_are(ax, comparison, confidence)
        canvas.legend(ax)
        drawn = [f"{one.name}_{level}_ms" for one in moments for level in ("p50", "p99")]
        _titled(ax, _quickest(comparison), comparison, drawn, "filled: median, open: 99 %")
    return ax


@footed
def throughput(
    comparison: Comparison,
    *,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
    confidence: float = 0.95,
) -> Axes:
    """Committed transactions a second, beside those decided in any way."""
    with style.context():
        ax = canvas.axes(ax, figsize, (6.4, 3.6))
        names = comparison.strategies
        for position, name in enumerate(names):
            look = style.looks(names)[name]
            good = comparison.interval(name, "goodput_per_s", confidence)
            decided = comparison.interval(name, "throughput_per_s", confidence)
            ax.bar(position, decided.mean, width=0.62, color=style.theme().paper, edgecolor=look.colour, linewidth=1.2)
            ax.bar(position, good.mean, width=0.62, color=look.colour, alpha=0.85)
            _dots(ax, position + 0.2, _values(comparison, name, "goodput_per_s"), look, dark=True)
            ax.errorbar(position, good.mean, yerr=_ends(good), color=style.theme().ink, fmt="none")
        _name_ticks(ax, names)
        ax.set_ylabel("transactions a second [1/s]")
        _offered(ax, comparison)
        _titled(
            ax,
            _most(comparison),
            comparison,
            ("goodput_per_s", "throughput_per_s"),
            "filled: committed, outline: all decided",
        )
    return ax


@footed
def drift(
    comparison: Comparison,
    *,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
    confidence: float = 0.95,
) -> Axes:
    """Mean gross drift of the conserved quantity: what is out of balance at an average moment."""
    with style.context():
        ax = canvas.axes(ax, figsize, (6.4, 3.6))
        names = comparison.strategies
        means: list[float] = []
        for position, name in enumerate(names):
            look = style.looks(names)[name]
            one = comparison.interval(name, "drift_gross_mean", confidence)
            means.append(one.mean)
            _dots(ax, position - 0.12, _values(comparison, name, "drift_gross_mean"), look)
            ax.errorbar(position, one.mean, yerr=_ends(one), fmt=look.marker, color=look.colour)
            canvas.beside(ax, canvas.tick(one.mean), (position, one.mean), (8, 0), va="center")
        _name_ticks(ax, names)
        ax.set_xlim(-0.5, len(names) - 0.35)
        canvas.logarithmic(ax, means)
        if all(math.isnan(value) for value in means):
            ax.set_yticks([])
            ax.text(
                0.5,
                0.5,
                "nothing to show: the scenario declares no conserved quantity",
                transform=ax.transAxes,
                ha="center",
                va="center",
                color=style.theme().muted,
            )
        ax.set_ylabel(f"mean gross drift [{_drift_unit(comparison)}]")
        _titled(ax, _least_drift(comparison), comparison, ("drift_gross_mean",))
    return ax


@footed
def damage(
    comparison: Comparison,
    *,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
    confidence: float = 0.95,
) -> Axes:
    """Draws effects missing and effects doubled at the end of the run, per 1,000 transactions."""
    with style.context():
        ax = canvas.axes(ax, figsize, (6.4, 3.6))
        names = comparison.strategies
        top = 0.0
        for position, name in enumerate(names):
            look = style.looks(names)[name]
            count = comparison.interval(name, "transactions", confidence).mean or math.nan
            for metric, offset, hatch in (("missing_effects", -0.19, ""), ("duplicate_effects", 0.19, "////")):
                one = comparison.interval(name, metric, confidence)
                value, ends = 1000 * one.mean / count, 1000 * _ends(one) / count
                top = max(top, value + float(np.nan_to_num(ends[1, 0])))
                ax.bar(
                    position + offset,
                    value,
                    width=0.34,
                    color=look.colour if not hatch else style.theme().paper,
                    edgecolor=look.colour,
                    hatch=hatch,
                )
                if value:
                    each = 1000 * _values(comparison, name, metric) / count
                    _dots(ax, position + offset + 0.1, each, look, dark=True)
                    top = max(top, float(each.max()))
                    ax.errorbar(position + offset, value, yerr=ends, color=style.theme().ink, fmt="none")
                else:
                    canvas.beside(ax, "0", (position + offset, 0), (0, 2), ha="center")
        _name_ticks(ax, names)
        ax.set_ylim(0, top * 1.15 if top else 1)
        ax.set_ylabel("effects per 1,000 transactions")
        wrong = ("missing_effects", "duplicate_effects")
        _titled(ax, _worst_damage(comparison), comparison, wrong, "filled: missing, hatched: doubled")
    return ax


@footed
def trade_off(
    comparison: Comparison,
    *,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
    confidence: float = 0.95,
) -> Axes:
    """Time until the outcome is final against the inconsistency window: both are costs, the lower left corner is the best."""
    with style.context():
        ax = canvas.axes(ax, figsize, (6.4, 4.2))
        means: dict[str, list[float]] = {"x": [], "y": []}
        names: list[str] = []
        nowhere: list[str] = []
        for name in comparison.strategies:
            look = style.looks(comparison.strategies)[name]
            x = comparison.interval(name, "decision_p50_ms", confidence)
            y = comparison.interval(name, "window_p50_ms", confidence)
            if not (math.isfinite(x.mean) and math.isfinite(y.mean)):
                nowhere.append(name)
                continue
            names.append(name)
            means["x"].append(x.mean)
            means["y"].append(y.mean)
            ax.errorbar(
                x.mean,
                y.mean,
                xerr=_ends(x),
                yerr=_ends(y),
                fmt=look.marker,
                markersize=9,
                label=name,
                color=look.colour,
            )
        ax.margins(x=0.16, y=0.12)
        for axis, values in means.items():
            canvas.logarithmic(ax, values, axis)
        if len(names) > _NAMED or any(canvas.width(one, style.size()) > 0.3 * canvas.points(ax)[0] for one in names):
            if (
                ax.get_gid() != canvas.PANEL
            ):  # else the legend of the page names them, and a second one takes the room of titles
                canvas.legend(ax)
        elif names:
            _name_points(ax, names, means["x"], means["y"])
        ax.set_xlabel(
            "median time until the outcome is final [ms]"
            + (f"\nnot shown, the median had not ended with the run: {', '.join(nowhere)}" if nowhere else "")
        )
        ax.set_ylabel("median inconsistency window [ms]")
        _titled(ax, _best_trade(comparison), comparison, ("decision_p50_ms", "window_p50_ms"))
    return ax


@footed
def overview(comparison: Comparison, *, confidence: float = 0.95, figsize: tuple[float, float] | None = None) -> Figure:
    """The comparison on one page: how long, how much, how inconsistent, and what it leaves behind."""
    with style.context():
        figure, axes = plt.subplots(2, 2, figsize=canvas.roomy(figsize, _ROOM) or _PAGE, layout="constrained")
        for ax in axes.flat:
            ax.set_gid(canvas.PANEL)
        latency(comparison, ax=axes[0, 0], confidence=confidence)
        throughput(comparison, ax=axes[0, 1], confidence=confidence)
        drift(comparison, ax=axes[1, 0], confidence=confidence)
        _legend_on_top(figure, axes[0, 0])
        wrong = comparison.frame[["missing_effects", "duplicate_effects"]].to_numpy().any()
        (damage if wrong else trade_off)(comparison, ax=axes[1, 1], confidence=confidence)
        drawn = ("decision_p50_ms", "decision_p99_ms", "goodput_per_s", "drift_gross_mean")
        said = f"{canvas.about_comparison(comparison, drawn)} · {_bars(comparison, confidence)}"
        canvas.headed(figure, _best_trade(comparison), f"{comparison.scenario.title} · {said}")
    return figure


class _Moment(NamedTuple):
    """One moment of a transaction: a group of marks.

    Attributes:
        name: Of the metrics.
        title: Below the marks.
        promise: Of the strategies that it is about; empty: of all.
    """

    name: str
    title: str
    promise: str


def _moments(comparison: Comparison, *, short: bool) -> list[_Moment]:
    """Answers that promise different things have places of their own: nobody shall take one for the other."""
    promises = list(dict.fromkeys(comparison.promises.values()))
    means = [(one, f":\n{one}" if len(promises) > 1 else "") for one in promises]
    found = [_Moment("latency", f"answered{words}", one if words else "") for one, words in means]
    if not short:
        found += [
            _Moment("latency_committed", f"committed:\nanswered{words}", one if words else "") for one, words in means
        ]
    return [*found, _Moment("decision", "outcome\nfinal", ""), _Moment("settle", "last\neffect", "")]


def _titled(ax: Axes, finding: str, comparison: Comparison, metrics: Sequence[str], key: str = "") -> None:
    """The finding, and what it is about, with how many runs have the metrics that are drawn; what marks mean stands with it, also in a panel."""
    if ax.get_gid() == canvas.PANEL:
        canvas.titled(ax, f"{finding}\n({key})" if key else finding, "")
    else:
        about = canvas.about_comparison(comparison, metrics)
        canvas.titled(ax, finding, f"{about} · {key}" if key else about)


def _name_moments(ax: Axes, titles: Sequence[str]) -> None:
    """Names of moments below the axes: in a few lines, or leaning in one where there is no room."""
    small = style.size(style.SMALL)
    room = 0.8 * canvas.points(ax)[0] / len(titles)  # the legend beside it will take some
    widest = max(canvas.width(line, small) for title in titles for line in title.split("\n"))
    if widest <= room:
        ax.set_xticks(range(len(titles)), list(titles))
    else:
        words = [title.replace("\n", " ") for title in titles]
        ax.set_xticks(range(len(titles)), words, rotation=30, ha="right", rotation_mode="anchor")


def _name_ticks(ax: Axes, names: Sequence[str]) -> None:
    """Names of strategies below the axes, upright where there is room, else leaning; they are no places of a grid."""
    ax.grid(visible=False, axis="x")
    small = style.size(style.SMALL)
    room = canvas.points(ax)[0] / max(1, len(names))
    if max(canvas.width(name, small) for name in names) < 0.92 * room:
        ax.set_xticks(range(len(names)), list(names))
        return
    ax.set_xticks(
        range(len(names)),
        [canvas.short(name, 150, small) for name in names],
        rotation=30,
        ha="right",
        rotation_mode="anchor",
    )


def _offered(ax: Axes, comparison: Comparison) -> None:
    """The line of what is asked for."""
    rate = comparison.scenario.workload.mean_rate() if comparison.scenario.workload.think_time is None else None
    if rate:
        ax.axhline(rate, color=style.theme().ink, linewidth=1, linestyle=(0, (5, 3)))
        ax.set_ylim(0, max(ax.get_ylim()[1], 1.12 * rate))
        canvas.beside(ax, f"offered: {rate:,.4g}/s", (0, rate), (3, 2), at=("axes fraction", "data"))


def _ranked(comparison: Comparison, metric: str) -> list[tuple[float, str]]:
    """Means of a metric, lowest first; strategies without one are left out."""
    means = [(comparison.interval(name, metric).mean, canvas.brief(name)) for name in comparison.strategies]
    return sorted(one for one in means if not math.isnan(one[0]))


def _quickest(comparison: Comparison) -> str:
    parts = []
    watched = {canvas.brief(name): watched_ms(comparison, name) for name in comparison.strategies}
    for metric, title in (("decision_p50_ms", "median"), ("decision_p99_ms", "99 %")):
        ranked = _ranked(comparison, metric)
        shown = ranked if len(ranked) <= 3 else [ranked[0], ranked[-1]]
        if shown:
            parts.append(
                f"{title} {', '.join(f'{name} {canvas.duration(value, watched[name])}' for value, name in shown)}"
            )
    return f"Outcome final: {'; '.join(parts)}" if parts else "How long it takes: nothing was measured"


def _most(comparison: Comparison) -> str:
    ranked = _ranked(comparison, "goodput_per_s")[::-1]
    shown = ranked if len(ranked) <= 4 else [ranked[0], ranked[-1]]
    equal = {f"{value:,.3g}" for value, _ in ranked}
    if len(ranked) > 1 and len(equal) == 1:  # an order of what reads the same would look like a ranking
        return f"Committed a second: {equal.pop()} under each"
    return (
        f"Committed a second: {', '.join(f'{name} {value:,.3g}' for value, name in shown)}"
        if shown
        else "Nothing was measured"
    )


def _least_drift(comparison: Comparison) -> str:
    ranked = _ranked(comparison, "drift_gross_mean")
    shown = ranked if len(ranked) <= 4 else [ranked[0], ranked[-1]]
    unit = _drift_unit(comparison)
    said = ", ".join(f"{name} {canvas.tick(value)}" for value, name in shown)
    return f"Out of balance at an average moment: {said} {unit}" if shown else "Consistency drift: nothing to show"


def _worst_damage(comparison: Comparison) -> str:
    said = []
    for name in comparison.strategies:
        count = comparison.interval(name, "transactions").mean or math.nan
        parts = [
            (1000 * comparison.interval(name, metric).mean / count, word)
            for metric, word in (("missing_effects", "missing"), ("duplicate_effects", "doubled"))
        ]
        wrong = [f"{canvas.tick(value)} {word}" for value, word in parts if value > 0]
        said += [f"{canvas.brief(name)} {' and '.join(wrong)}"] if wrong else []
    return f"Wrong at the end, per 1,000: {canvas.listed(said)}" if said else "Nothing is wrong at the end"


def _best_trade(comparison: Comparison) -> str:
    """Name the best strategy on each axis, as far as the runs support it."""
    if not _ranked(comparison, "decision_p50_ms") or not _ranked(comparison, "window_p50_ms"):
        return "Slow to decide, or long inconsistent: nothing was measured"
    if uneven := _commits_less(comparison):
        return uneven
    quick, short = _supported(comparison, "decision_p50_ms"), _supported(comparison, "window_p50_ms")
    if not quick and not short:
        return "Slow to decide, or long inconsistent: the runs tell nobody apart from all others"
    if quick == short:
        return f"{quick} decides soonest and is inconsistent for the shortest time"
    said = [f"{quick} decides soonest"] if quick else []
    said += [f"{short} is inconsistent for the shortest time"] if short else []
    return ", ".join(said)


def _commits_less(comparison: Comparison) -> str:
    """Name strategies that commit much less than another one, as far as the runs show it: beside that, times say little."""
    less = comparison.committing_less()
    if not less:
        return ""
    ranked = sorted((comparison.interval(name, COMMITTED).mean, name) for name in {*less, *less.values()})
    said = canvas.listed([f"{canvas.brief(name)} {100 * share:.3g} %" for share, name in ranked])
    return f"Committed: {said}"


def _supported(comparison: Comparison, metric: str) -> str:
    """The best strategy by a metric, if the runs support it and its figure is finite; else nothing."""
    if len(comparison.strategies) < 2:
        return ""
    found = comparison.best(metric)
    if not found.supported or found.strategy is None or math.isinf(found.ranking["mean"].to_dict()[found.strategy]):
        return ""
    return canvas.brief(found.strategy)


def _on_timeouts(comparison: Comparison, moments: Sequence[str]) -> list[str]:
    """Name marks that are a configured timeout, and say nothing about speed: one line a strategy."""
    found = []
    for name in comparison.strategies:
        known = timeouts(comparison.scenario, comparison.objects[name])
        rows = comparison.frame[comparison.frame["strategy"] == name]
        marks: dict[str, list[str]] = {}
        for level, title in (("p50", "median"), ("p99", "99 %")):
            for moment in moments:
                column = f"{moment}_{level}_ms"
                mark = marked(column, rows[column], known).split(" in ")[0]  # in how many runs: see the table
                if mark and title not in marks.setdefault(mark, []):
                    marks[mark].append(title)
        found += [f"a timeout, not speed: {name}, {' and '.join(titles)} {mark}" for mark, titles in marks.items()]
    return found


def _values(comparison: Comparison, strategy: str, metric: str) -> NDArray[np.float64]:
    """The finite values of a metric, one a replication."""
    frame = comparison.frame
    found: NDArray[np.float64] = frame.loc[frame["strategy"] == strategy, metric].to_numpy(dtype=float)
    return found[np.isfinite(found)]


def _dots(ax: Axes, place: float, values: NDArray[np.float64], look: style.Look, *, dark: bool = False) -> None:
    """The replications behind a mean, as dots beside each other so that equal ones can be seen; a single one is the mean itself."""
    if len(values) < 2:
        return
    across = place + 0.035 * np.sin(2.4 * np.arange(len(values)))  # spread evenly, the same in every picture
    colour = style.theme().ink if dark else look.colour
    ax.plot(across, values, ".", color=colour, alpha=0.5, markersize=4.5, markeredgewidth=0, zorder=1.5)


def _bars(comparison: Comparison, confidence: float) -> str:
    """Legend of bars and dots, if there are any."""
    if comparison.frame["strategy"].value_counts().max() < 2:
        return "one run of each strategy: no intervals"
    return f"bars are {100 * confidence:g} % intervals of the mean, dots are replications"


def _say_what_bars_are(ax: Axes, comparison: Comparison, confidence: float) -> None:
    """Below an axes that stands alone; a figure with several says it once."""
    if len(canvas.figure_of(ax).axes) == 1:
        label = ax.get_xlabel()
        ax.set_xlabel(f"{label}\n{_bars(comparison, confidence)}".strip(), fontsize=style.size(style.SMALL))


def _beyond(ax: Axes, places: Sequence[float], look: style.Look, *, filled: bool) -> None:
    """An arrow at the upper edge for each quantile that had not ended with the run: it is higher than anything in the picture."""
    for place in places:
        ax.annotate(
            "",
            (place, 1.0),
            xytext=(place, 0.9),
            xycoords=("data", "axes fraction"),
            arrowprops={
                "arrowstyle": "-|>",
                "color": look.colour,
                "fc": look.colour if filled else style.theme().paper,
                "lw": 1.4,
            },
        )


def _name_points(ax: Axes, names: Sequence[str], xs: Sequence[float], ys: Sequence[float]) -> None:
    """A name beside each point, on the first side where it prints over no other point."""
    scale = canvas.figure_of(ax).dpi / 72  # pixels in a typographic point
    places = ax.transData.transform(np.column_stack([xs, ys])) / scale
    for index, (name, x, y) in enumerate(zip(names, xs, ys, strict=True)):
        others = np.delete(places, index, axis=0) - places[index]
        width = 5.5 * len(name)
        for side, up in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            across, along = side * others[:, 0], up * others[:, 1]
            if not ((across > 0) & (across < width + 14) & (along > 0) & (along < 23)).any():
                break
        else:
            side, up = 1, 1
        ha, va = "left" if side > 0 else "right", "baseline" if up > 0 else "top"
        canvas.beside(ax, name, (x, y), (9 * side, 7 * up), ha=ha, va=va, color=style.theme().ink)


def _legend_on_top(figure: Figure, ax: Axes) -> None:
    """One legend for the whole figure in place of that of one of its axes."""
    handles, labels = ax.get_legend_handles_labels()
    legend = ax.get_legend()
    if legend is not None:
        legend.remove()
    canvas.legend_below(figure, handles, labels)


def _legend(comparison: Comparison, name: str) -> str:
    return f"{name} (answer = {catalogue.ANSWER_MEANS[comparison.promises[name]]})"


def _drift_unit(comparison: Comparison) -> str:
    units = [one.unit for one in comparison.scenario.invariants if one.kind == "conserved"]
    return units[0] if units and units[0] else "units"


def _offsets(count: int) -> list[float]:
    return [min(0.2, 0.8 / count) * (position - (count - 1) / 2) for position in range(count)]


def _ends(*estimates: Interval) -> NDArray[np.float64]:
    """Reach of intervals below and above their means, as `errorbar` wants it; NaN, which draws nothing, where there is no interval."""
    known = [math.isfinite(one.half_width) and not one.never for one in estimates]
    reach = [
        (one.mean - one.low, one.high - one.mean) if drawn else (math.nan, math.nan)
        for one, drawn in zip(estimates, known, strict=True)
    ]
    ends: NDArray[np.float64] = np.maximum(np.asarray(reach, dtype=float).T, 0.0)
    return ends
