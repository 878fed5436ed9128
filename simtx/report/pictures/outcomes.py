"""Outcomes of transactions: shares of the outcomes, those without an answer among them, with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from simtx.report import style
from simtx.report.footer import footed
from simtx.report.pictures import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simtx.experiments import Comparison
    from simtx.metrics.run import Run

_OUTCOMES: Final = (
    ("committed", "committed"),
    ("aborted", "aborted,\nnothing to undo"),
    ("compensated", "compensated"),
    ("stuck", "stuck, waits\nfor an operator"),
    ("in-flight", "in flight\nat the end"),
    ("incomplete", "ended\nhalf done"),
    ("lost", "nobody knows\nof it"),
)
_UNANSWERED: Final = ("unanswered", "no answer until\nthe run ended")
_METRICS: Final = {
    "committed": "committed_share",
    "aborted": "aborted_share",
    "compensated": "compensated_share",
    "unanswered": "unanswered_share",
}
_COUNTS: Final = {"stuck": "stuck_count", "in-flight": "in_flight_count", "incomplete": "incomplete_count"}


class _Share(NamedTuple):
    """A share with the ends of its interval; not a number: there is none."""

    value: float
    low: float
    high: float


@footed
def outcomes(
    result: Comparison | Run | Sequence[Run],
    *,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
    confidence: float = 0.95,
) -> Axes:
    """Share of each outcome among the measured transactions, a row of marks for each; at the bottom, the share that got no answer.

    Of single runs the intervals are Wilson's, which take transactions for independent of each other. Of a comparison they are over its
    replications, which also holds when one fault hits many transactions; with one replication they are Wilson's.
    """
    with style.context():
        shares, said, how = (
            _of_comparison(result, confidence)
            if hasattr(result, "interval") and hasattr(result, "strategies")
            else _of_runs(result, confidence)
        )
        names = list(shares)
        kinds = [
            (key, title)
            for key, title in (*_OUTCOMES, _UNANSWERED)
            if any(shares[name].get(key, _NONE).value > 0 for name in names)
        ]
        rows = len(kinds) * (len(names) + 1.0)
        ax = canvas.axes(ax, figsize, (7.6, max(2.6, 1.6 + 0.2 * rows)))
        _draw(ax, shares, kinds)
        ax.set_xlabel(
            f"share of the measured transactions [%]\n{how}" if how else "share of the measured transactions [%]"
        )
        canvas.titled(ax, _finding(shares), said, left=9 * style.size())
    return ax


_NONE: Final = _Share(math.nan, math.nan, math.nan)


def _draw(ax: Axes, shares: dict[str, dict[str, _Share]], kinds: Sequence[tuple[str, str]]) -> None:
    names, theme = list(shares), style.theme()
    looks = style.looks(names)
    if not kinds:
        canvas.empty(ax, "nothing was measured")
        return
    pitch = len(names) + 1.0
    ax.set_ylim(pitch * len(kinds) - 0.5, -1.0)
    ax.set_xlim(0, 100)
    small = style.size(style.SMALL)
    told = (canvas.points(ax)[1] - 7 * small) / (pitch * len(kinds)) >= 1.1 * small  # title and legend take some
    for group, (key, _) in enumerate(kinds):
        if group % 2:
            ax.axhspan(group * pitch - 0.75, (group + 1) * pitch - 0.75, color=theme.shade, zorder=0, linewidth=0)
        for position, name in enumerate(names):
            one, look, y = shares[name].get(key, _NONE), looks[name], group * pitch + position
            if math.isnan(one.value):
                continue
            if not math.isnan(one.low):
                ax.plot(
                    [100 * one.low, 100 * one.high],
                    [y, y],
                    color=look.colour,
                    linewidth=2.2,
                    solid_capstyle="butt",
                    clip_on=False,
                )
            ax.plot(
                [100 * one.value],
                [y],
                marker=look.marker,
                color=look.colour,
                markersize=5.5,
                linestyle="none",
                clip_on=False,
                zorder=3,
            )
            if told:
                ends = "" if math.isnan(one.low) else f"  [{_plain(one.low)}, {_plain(one.high)}]"
                said, at = f"{canvas.percent(one.value)}{ends}", ("axes fraction", "data")
                canvas.beside(ax, said, (1, y), (6, 0), at=at, va="center", annotation_clip=False)
    ax.set_yticks([group * pitch + (len(names) - 1) / 2 for group in range(len(kinds))], [title for _, title in kinds])
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=False, axis="y")
    ax.spines["left"].set_visible(False)
    _names_below(ax, looks)


def _names_below(ax: Axes, looks: dict[str, style.Look]) -> None:
    from matplotlib.lines import Line2D

    room = canvas.points(ax)[0]
    small = style.size(style.SMALL)
    labels = [canvas.short(name, room * 0.9, small) for name in looks]
    widest = max(canvas.width(label, small) for label in labels) + 40
    handles = [
        Line2D([], [], color=look.colour, marker=look.marker, linestyle="none", markersize=5.5, label=label)
        for look, label in zip(looks.values(), labels, strict=True)
    ]
    columns = max(1, min(len(labels), int(room // widest)))
    if ax.get_gid() == canvas.OWN:
        canvas.figure_of(ax).legend(handles=handles, loc="outside lower center", ncols=columns)
    else:
        ax.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=columns)


def _plain(share: float) -> str:
    value = 100 * share
    return f"{value:.2g}" if value < 10 else f"{value:.3g}"


def _wilson(count: float, total: int, confidence: float) -> _Share:
    if not total:
        return _NONE
    from scipy.stats import binomtest  # most of a second to import, and a picture of a comparison does without

    found = binomtest(round(count), total).proportion_ci(confidence, method="wilson")
    return _Share(count / total, float(found.low), float(found.high))


def _of_runs(result: Any, confidence: float) -> tuple[dict[str, dict[str, _Share]], str, str]:
    runs = [result] if not isinstance(result, Sequence) else list(result)
    found: dict[str, dict[str, _Share]] = {}
    for name, run in zip(canvas.labels(runs), runs, strict=True):
        rows = run.transactions
        measured = rows[rows["measured"]]
        counts = measured["outcome"].value_counts()
        found[name] = {key: _wilson(int(counts.get(key, 0)), len(measured), confidence) for key, _ in _OUTCOMES}
        found[name]["unanswered"] = _wilson(int(measured["latency_ms"].isna().sum()), len(measured), confidence)
    return found, canvas.about_runs(runs), f"bars: {100 * confidence:g} % intervals (Wilson)"


def _of_comparison(comparison: Any, confidence: float) -> tuple[dict[str, dict[str, _Share]], str, str]:
    found: dict[str, dict[str, _Share]] = {}
    single = comparison.frame["strategy"].value_counts().max() < 2 if len(comparison.frame) else True
    for name in comparison.strategies:
        count = comparison.interval(name, "transactions", confidence).mean if len(comparison.frame) else 0.0
        found[name] = {}
        for key, metric in (*_METRICS.items(), *_COUNTS.items()):
            if not len(comparison.frame) or not count > 0:
                continue
            one = comparison.interval(name, metric, confidence)
            scale = 1.0 if metric.endswith("_share") else 1 / count
            if single:
                found[name][key] = _wilson(one.mean * scale * count, round(count), confidence)
            else:
                known = math.isfinite(one.half_width) and not one.never
                low, high = (max(0.0, one.low * scale), min(1.0, one.high * scale)) if known else (math.nan, math.nan)
                found[name][key] = _Share(one.mean * scale, low, high)
    how = f"bars: {100 * confidence:g} % intervals ({'Wilson, one run' if single else 'over replications'})"
    return found, canvas.about_comparison(comparison, (*_METRICS.values(), *_COUNTS.values())), how


def _finding(shares: dict[str, dict[str, _Share]]) -> str:
    known = {name: one for name, one in shares.items() if not math.isnan(one.get("committed", _NONE).value)}
    if not known:
        return "What becomes of transactions: nothing was measured"
    order = sorted(known, key=lambda name: -known[name]["committed"].value)
    shown = order if len(order) <= 4 else [order[0], order[-1]]
    said = "Committed: " + ", ".join(f"{name} {canvas.percent(known[name]['committed'].value)}" for name in shown)
    for key, words in (("unanswered", "without an answer"), ("stuck", "left to an operator")):
        left = {name: known[name].get(key, _NONE).value for name in known}
        some = sorted((name for name in known if left[name] > 0), key=lambda name: -left[name])
        if some:
            said += f"; {words}: {canvas.listed(f'{name} {canvas.percent(left[name])}' for name in some)}"
    return said
