"""Distributions of durations, with the tail to be seen: the axis goes by 90, 99 and 99.9 %."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import NDArray

from simtx.metrics import censored
from simtx.metrics.figures import unknown
from simtx.report import catalogue, style
from simtx.report.footer import footed
from simtx.report.pictures import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simtx.metrics.run import Run

DURATIONS: Final = {
    "latency_ms": "time until the client is answered [ms]",
    "decision_ms": "time until the outcome is final [ms]",
    "settle_ms": "time until the last effect [ms]",
    "window_ms": "inconsistency window [ms]",
    "lock_wait_ms": "wait for row locks [ms]",
    "lock_hold_ms": "row locks held [ms]",
    "in_doubt_ms": "time in doubt [ms]",
}
_SAID: Final = {
    "latency_ms": "Answered",
    "decision_ms": "Outcome final",
    "settle_ms": "Last effect in",
    "window_ms": "Inconsistent for",
}
_TICKS: Final = (0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999)
_LINES: Final = (0.5, 0.9, 0.99)
Floats = NDArray[np.float64]


@footed
def distribution(
    runs: Run | Sequence[Run],
    *,
    column: str = "decision_ms",
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
) -> Axes:
    """Share of the measured transactions that a duration does not exceed, of one run or several, with the tail spread out.

    The vertical axis counts nines: 90, 99 and 99.9 % are equally far apart, so that the slow ones get as much room as the others. Marks stand at
    50, 90 and 99 %. A curve that ends in an arrow goes on: so many had not ended when the run ended. Durations of zero have no place on a
    logarithmic axis, and the legend says how many there are. What a client is told by its answer differs between strategies; of ``latency_ms`` those
    that are told the outcome and those that are only told "accepted" have a panel each.

    Args:
        runs: One run or several.
        column: ``decision_ms`` (until the outcome is final), ``latency_ms`` (until the answer), ``settle_ms`` (until the last effect), ``window_ms``
            (the inconsistency window), or another duration of `Run.transactions`.
        ax: Where to draw; None: in a new figure.
        figsize: Inches of a new figure.

    Raises:
        ScenarioError: There is no such duration.
    """
    each = having(runs, column)
    with style.context():
        promises = list(dict.fromkeys(one.promise for one in each)) if column == "latency_ms" else []
        names = canvas.labels(each)
        looks = style.looks(names)
        apart = len(promises) > 1
        ax = canvas.axes(ax, figsize, (7.6, 6.2 if apart else 4.0))
        parts = [line[0] for line in canvas.panels(ax, 2, 1, down=46)] if apart else [ax]
        lines = []
        for number, part in enumerate(parts):
            chosen = [
                (one, name)
                for one, name in zip(each, names, strict=True)
                if not apart or one.promise == promises[number]
            ]
            lines += _curves(part, chosen, looks, column)
            if apart:
                canvas.panel_title(part, f"answer = {catalogue.ANSWER_MEANS[promises[number]]}")
        if apart:
            low, high = zip(*(part.get_xlim() for part in parts), strict=True)
            for part in parts:
                part.set_xlim(min(low), max(high))
        parts[-1].set_xlabel(DURATIONS.get(column, f"{column.removesuffix('_ms').replace('_', ' ')} [ms]"))
        canvas.legend(ax, lines)
        above = style.size(style.SMALL) * 1.3 + 3 if apart else 0.0
        canvas.titled(ax, _finding(each, names, column), canvas.about_runs(each), above=above)
    return ax


def having(runs: Run | Sequence[Run], column: str) -> list[Run]:
    """The runs as a list, if they have such a duration.

    Raises:
        ScenarioError: They have not.
    """
    each = [runs] if not isinstance(runs, Sequence) else list(runs)
    known = [name for name in each[0].transactions.columns if name.endswith("_ms")]
    if column not in known:
        raise unknown(column, known, "column")
    return each


def values_of(run: Run, column: str) -> Floats:
    """A duration of the measured transactions of a run; not a number: it had not ended."""
    rows = run.transactions
    found: Floats = rows.loc[rows["measured"], column].to_numpy(dtype=float)
    return found


def _curves(ax: Axes, runs: Sequence[tuple[Run, str]], looks: dict[str, style.Look], column: str) -> list[object]:
    theme = style.theme()
    shown: list[float] = []
    lines: list[object] = []
    open_ends: list[tuple[float, float, str, str]] = []
    top = 0.0
    for run, name in runs:
        look, values = looks[name], values_of(run, column)
        ended = np.sort(values[np.isfinite(values)])
        zeros = int((ended <= 0).sum())
        positive = ended[zeros:]
        notes = []
        if zeros:
            notes.append(f"{canvas.percent(zeros / len(values))} none")
        if not len(values):
            notes.append("nothing measured")
        elif not len(positive) and not zeros:
            notes.append("none had ended")
        label = f"{name} ({', '.join(notes)})" if notes else name
        whole = max(1, len(values))
        levels = np.minimum(np.arange(len(ended)) / max(1, whole - 1), 1 - 0.5 / whole)[zeros:]
        ax.plot(positive, _nines(levels), drawstyle="steps-post", color=look.colour, linestyle=look.dashes, label=label)
        lines.append(canvas.handle(look, label))
        if len(positive):
            shown += [float(positive[0]), float(positive[-1])]
            top = max(top, float(_nines(levels[-1:])[0]))
            for level in _LINES:
                value = censored.quantile(values, level)
                if np.isfinite(value) and value > 0:
                    ax.plot(
                        [value],
                        _nines(np.array([level])),
                        marker=look.marker,
                        color=look.colour,
                        markersize=5,
                        linestyle="none",
                    )
            if len(ended) < len(values):
                said = f"{canvas.percent(1 - len(ended) / len(values))} had not ended"
                open_ends.append((float(positive[-1]), float(_nines(levels[-1:])[0]), look.colour, said))
    canvas.logarithmic(ax, shown, axis="x")
    if not shown:
        canvas.empty(
            ax,
            "no transaction had ended when the run ended"
            if any(len(values_of(one, column)) for one, _ in runs)
            else "nothing was measured",
        )
        return lines
    _axis(ax, max(top, float(_nines(np.array([0.99]))[0])))
    _open(ax, open_ends)
    for level in _LINES:
        ax.axhline(
            float(_nines(np.array([level]))[0]), color=theme.muted, linewidth=0.8, linestyle=(0, (3, 2)), zorder=0.8
        )
    return lines


def _nines(levels: Floats) -> Floats:
    """Place of a share on the axis: the logarithm of what is left of 1."""
    found: Floats = -np.log10(np.maximum(1 - levels, 1e-12))
    return found


def _axis(ax: Axes, top: float) -> None:
    ax.set_ylim(0, top * 1.06)
    ticks = [level for level in _TICKS if float(_nines(np.array([level]))[0]) <= top * 1.06]
    ax.yaxis.set_major_locator(FixedLocator([float(_nines(np.array([level]))[0]) for level in ticks]))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda place, _: f"{100 * (1 - 10**-place):.6g} %"))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.set_ylabel("share of transactions")
    ax.grid(visible=False, axis="y")


def _open(ax: Axes, ends: list[tuple[float, float, str, str]]) -> None:
    """Curves that go on beyond what was watched: a dotted line with an arrow to the edge, and how many those are."""
    if not ends:
        return
    low, high = ax.get_xlim()
    log = ax.get_xscale() == "log"
    right = high * (high / low) ** 0.14 if log else high + 0.16 * (high - low)
    ax.set_xlim(low, right)
    for x, y, colour, _ in ends:
        ax.plot([x, right], [y, y], color=colour, linestyle=":", linewidth=1.4)
        ax.plot([right], [y], marker=">", color=colour, clip_on=False, markersize=6, linestyle="none")
    step = style.size(style.SMALL) * 1.3 / canvas.points(ax)[1] * (ax.get_ylim()[1] - ax.get_ylim()[0])
    below = -np.inf
    for _, y, _, said in sorted(ends, key=lambda one: one[1]):
        below = max(y, below + step)
        box = {"facecolor": style.theme().paper, "edgecolor": "none", "alpha": 0.8, "pad": 0.5}
        canvas.beside(ax, said, (right, below), (-8, 3), ha="right", va="bottom", bbox=box)


def _finding(runs: Sequence[Run], names: Sequence[str], column: str) -> str:
    """Medians and 99 % quantiles in words, the lowest first."""
    parts = []
    for level, title in ((0.5, "median"), (0.99, "99 %")):
        found = []
        for run, name in zip(runs, names, strict=True):
            values = values_of(run, column)
            if len(values):
                found.append((censored.quantile(values, level), name, float(run.summary["watched_ms"])))
        found.sort(key=lambda one: one[0])
        if len(found) > 4:
            found = [found[0], found[-1]]
        if found:
            parts.append(
                f"{title}: {', '.join(f'{name} {canvas.duration(value, watched)}' for value, name, watched in found)}"
            )
    said = _SAID.get(column, column.removesuffix("_ms").replace("_", " ").capitalize())
    return f"{said}, {'; '.join(parts)}" if parts else f"{said}: nothing was measured"
