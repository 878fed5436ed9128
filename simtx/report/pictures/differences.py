"""Forest plot: how strategies differ from one of them, paired by replication, with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from simtx.errors import ScenarioError
from simtx.metrics.intervals import HIGHER_IS_BETTER, Interval
from simtx.report import catalogue, style
from simtx.report.footer import footed
from simtx.report.pictures import canvas

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from simtx.experiments import Comparison

_METRICS: Final = ("decision_p50_ms", "decision_p99_ms", "goodput_per_s", "drift_gross_mean")


@footed
def differences(
    comparison: Comparison,
    baseline: str | None = None,
    *,
    metrics: Sequence[str] | None = None,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
    confidence: float = 0.95,
) -> Axes:
    """Strategy minus baseline, paired by replication: a panel a metric, a row a strategy. An open mark: the interval holds 0, so that they are not told apart.

    Args:
        comparison: At least two strategies.
        baseline: What is subtracted; None: the first strategy.
        metrics: Names of metrics; None: time to the outcome, goodput and drift.
        ax: Where to draw; None: in a new figure.
        figsize: Inches of a new figure.
        confidence: Coverage of each interval, between 0 and 1.

    Raises:
        ScenarioError: The baseline was not compared, there is nothing to compare it with, or there is no such metric.
    """
    if len(comparison.strategies) < 2:
        raise ScenarioError(
            f"only {', '.join(comparison.strategies)} was run; a difference needs two strategies", "differences"
        )
    baseline = baseline or comparison.strategies[0]
    known = comparison.metrics
    chosen = list(metrics) if metrics is not None else [one for one in _METRICS if one in known]
    found = comparison.differences(baseline, chosen, confidence)
    others = [name for name in comparison.strategies if name != baseline]
    looks = style.looks(comparison.strategies)
    with style.context():
        ax = canvas.axes(ax, figsize, (7.8, 1.2 + len(chosen) * (0.62 + 0.22 * len(others))))
        told = {metric: [_interval(found, metric, row) for row in range(len(others))] for metric in chosen}
        if not chosen:
            canvas.empty(ax, "nothing was measured")
        frames = canvas.panels(ax, len(chosen), 1, down=3.8 * style.size(style.SMALL)) if chosen else []
        for (panel,), metric in zip(frames, chosen, strict=True):
            _panel(panel, comparison, metric, told[metric], others, looks)
        canvas.titled(
            ax,
            _finding(comparison, baseline, told, others),
            _about(comparison, found, chosen, confidence),
            above=style.size(style.SMALL) * 1.3 + 2,
            left=_left(others),
        )
    return ax


def _interval(found: pd.DataFrame, metric: str, row: int) -> Interval:
    """One cell of a table of differences."""
    mean, low, high = (float(found[metric, part].iloc[row]) for part in ("mean", "low", "high"))
    return Interval(mean, low, high, int(found[metric, "n"].iloc[row]))


def _left(names: Sequence[str]) -> float:
    """Points that the names of the rows take."""
    return min(150.0, max(canvas.width(name, style.size(style.SMALL)) for name in names)) + 16


def _about(comparison: Any, found: pd.DataFrame, metrics: Sequence[str], confidence: float) -> str:
    """Subject of the picture, with the number of pairs of runs that have the metrics."""
    single = not len(comparison.frame) or comparison.frame["strategy"].value_counts().max() < 2
    how = (
        "one replication has no intervals"
        if single
        else f"bars: {100 * confidence:g} % intervals of the paired difference"
    )
    pairs = [float(n) for metric in metrics for n in found[metric, "n"]]
    times = canvas.times(pairs, [comparison.replications] * len(pairs), pairs=True)
    return f"{canvas.about(comparison.scenario, seed=comparison.seed, times=times)} · {how}"


def _panel(
    ax: Axes,
    comparison: Any,
    metric: str,
    found: Sequence[Interval],
    names: Sequence[str],
    looks: dict[str, style.Look],
) -> None:
    theme, shown = style.theme(), catalogue.metric(metric)
    unit = catalogue.unit(shown, comparison.scenario)
    small = style.size(style.SMALL)
    better = "more" if metric in HIGHER_IS_BETTER else "less"
    title = f"{shown.label} [{unit}], {better} is better" if unit else f"{shown.label}, {better} is better"
    canvas.panel_title(ax, canvas.short(title, 72 * 5, small), 2)
    ax.axvline(0, color=theme.ink, linewidth=1)
    ax.set_ylim(len(names) - 0.4, -0.6)
    reach = [0.0]
    for row, (one, name) in enumerate(zip(found, names, strict=True)):
        look, apart = looks[name], _apart(one)
        mean, low, high = (shown.scale * end for end in one[:3])
        if not math.isfinite(mean):
            words = "no pair of runs has a value" if math.isnan(mean) else "without bound: had not ended with the run"
            canvas.beside(ax, words, (0, row), (5, 0), va="center", color=theme.muted)
            continue
        reach += [mean, *(end for end in (low, high) if math.isfinite(end))]
        if math.isfinite(low) and math.isfinite(high):
            ax.plot([low, high], [row, row], color=look.colour, linewidth=2.2, solid_capstyle="butt")
        ax.plot(
            [mean],
            [row],
            marker=look.marker,
            color=look.colour,
            markerfacecolor=look.colour if apart else theme.paper,
            markersize=6,
            linestyle="none",
        )
        words, ends = catalogue.estimate(one, shown.scale)
        signed = f"{'+' if mean > 0 else ''}{words} {ends}".strip()
        canvas.beside(ax, signed, (1, row), (6, 0), at=("axes fraction", "data"), va="center", annotation_clip=False)
    low, high = min(reach), max(reach)
    margin = 0.06 * (high - low) or 1.0
    ax.set_xlim(low - margin, high + margin)
    ax.set_yticks(range(len(names)), [canvas.short(name, 150, small) for name in names])
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=False, axis="y")
    canvas.ticks(ax.xaxis, 6)


def _apart(one: Interval) -> bool:
    return math.isfinite(one.low) and math.isfinite(one.high) and not one.low <= 0 <= one.high


def _finding(comparison: Any, baseline: str, told: dict[str, list[Interval]], names: Sequence[str]) -> str:
    """The first metric in words: by how much each differs, and who is not told apart."""
    if not told:
        return f"Against {baseline}: nothing was measured"
    metric, found = next(iter(told.items()))
    shown = catalogue.metric(metric)
    unit = catalogue.unit(shown, comparison.scenario)
    apart, same = [], []
    for one, name in zip(found, names, strict=True):
        if _apart(one) or (one.n == 1 and math.isfinite(one.mean)):
            apart.append(f"{name} {canvas.signed(shown.scale * one.mean)} {unit}".rstrip())
        else:
            same.append(name)
    words = [canvas.listed(apart)] if apart else []
    if same:
        words.append(f"{canvas.listed(same, 3)} not told apart")
    return f"{catalogue.beginning(metric)}, against {baseline}: {'; '.join(words)}"
