"""The picture of an explorer: how long, with what outcome, and how that changes with what was moved last.

What was played is filled, what is interpolated is open with a dashed band and says so. The SVG takes the colour of its letters from the page that
it stands in, so that it can be read in a dark notebook.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, Protocol

from matplotlib.figure import Figure

from simtx.lab import page
from simtx.lab.answer import OUTCOMES, TIMES, Answer, Estimate
from simtx.report import style
from simtx.report.catalogue import axis_label, metric
from simtx.report.catalogue import number as shown
from simtx.report.pictures import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simtx.scenario import Scenario

_SIZE: Final = (9.2, 4.3)
_TITLE: Final = 95
"""Letters of the title that fit into a line."""
_DENSE: Final = 100
"""Over a larger ratio an axis has labels at its decades alone."""
_SHADES: Final = {
    "committed_share": ("committed", 1.0, ""),
    "compensated_share": ("compensated", 0.45, "////"),
    "aborted_share": ("aborted", 0.2, ""),
    "undecided_share": ("open", 0.0, "xxxx"),
}


class Shown(Protocol):
    """Lines of a picture about its explorer."""

    scenario: Scenario
    strategies: list[str]
    seed: int


def figure(answer: Answer, explorer: Shown) -> Figure:
    """The picture as a matplotlib Figure, on white."""
    with style.context():
        return _drawn(answer, explorer)


def svg(answer: Answer, explorer: Shown) -> str:
    """The picture as SVG for a page."""
    return page.svg(lambda: figure(answer, explorer), f"{finding(answer, explorer)}. {answer.status}")


def finding(answer: Answer, explorer: Shown) -> str:
    """Finding of the picture, in a sentence."""
    if answer.problem:
        return "This cannot be played"
    times = {
        label: answer.estimates[label][TIMES[0]]
        for label in explorer.strategies
        if answer.estimates[label][TIMES[0]].origin != "nothing"
    }
    if not times:
        return "Nothing is known here yet"
    order = sorted(times, key=lambda label: times[label].mean)
    parts = ", ".join(
        f"{label} {_time(times[label])}{' (a timeout)' if label in answer.timeouts else ''}" for label in order
    )
    tails = {label: answer.estimates[label][TIMES[1]] for label in order}
    slow = sorted(order, key=lambda label: tails[label].mean)
    if slow != order and all(one.origin != "nothing" for one in tails.values()):
        # medians alone would name a winner whose slow ones are the slowest, or have not ended
        parts += f"; 99\u00a0%: {', '.join(f'{label} {_time(tails[label])}' for label in slow)}"
    interpolated = answer.origin == "interpolated"
    return f"{'Interpolated, final outcome after (median) about' if interpolated else 'Final outcome after (median)'}: {parts}"


def _time(one: Estimate) -> str:
    """A duration as people say it."""
    ms, more = (one.watched, "> ") if math.isinf(one.mean) else (one.mean, "")
    if math.isnan(ms):
        return "unknown"
    return f"{more}{ms / 1000:.3g} s" if ms >= 10_000 else f"{more}{float(f'{ms:.3g}'):,.4g} ms"


def subtitle(answer: Answer, explorer: Shown) -> str:
    """Runs that were played, in a line."""
    runs = f"about {answer.transactions:,} transactions a run, seed {explorer.seed}"
    waits = "".join(f"; a timeout, not speed: {label}, {one}" for label, one in answer.timeouts.items())
    return f"{explorer.scenario.name}: {answer.said or 'as it is'}; {runs}; {answer.status}{waits}"


def lines(answer: Answer, explorer: Shown) -> list[str]:
    """The same in letters, for a terminal."""
    found = [finding(answer, explorer), subtitle(answer, explorer)]
    for label in explorer.strategies if answer.estimates else ():
        figures = []
        for name in dict.fromkeys((*TIMES, "committed_share", answer.state.metric)):
            one, what = answer.estimates[label][name], metric(name)
            if one.origin != "nothing":
                value = _time(one) if name.endswith("_ms") else f"{shown(what.scale * one.mean)} {what.unit}".strip()
                figures.append(f"{what.label} {value}{' (interpolated)' if one.origin == 'interpolated' else ''}")
        found.append(f"  {label}: {'; '.join(figures) or answer.errors.get(label, 'nothing known')}")
    return found


# --- drawing --------------------------------------------------------------------------------------------------------------------


def _drawn(answer: Answer, explorer: Shown) -> Figure:
    drawn = Figure(figsize=_SIZE)
    title = _folded(finding(answer, explorer), _TITLE)
    drawn.text(0.008, 0.995, title, ha="left", va="top", fontsize=11, fontweight="bold", linespacing=1.05)
    if answer.problem:
        drawn.text(0.008, 0.8, answer.problem, ha="left", va="top", wrap=True)
        return drawn
    drawn.text(0.008, 0.015, _folded(subtitle(answer, explorer)), ha="left", va="bottom", fontsize=9)
    # Places are said here: a layout that is worked out takes as long as all the rest of the drawing, and the reader waits for it.
    names = min(0.02 + 0.0095 * max(map(len, explorer.strategies)), 0.25)
    bottom, height = 0.29, 0.56
    left = drawn.add_axes((names, bottom, 0.37 - names, height))
    middle = drawn.add_axes((0.385, bottom, 0.19, height))
    right = drawn.add_axes((0.655, bottom, 0.32, height))
    times(answer, explorer, ax=left)
    outcomes(answer, explorer, ax=middle)
    curve(answer, explorer, ax=right)
    return drawn


def _folded(line: str, width: int = 125) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(line, width))


def times(answer: Answer, explorer: Shown, *, ax: Axes) -> Axes:
    """Median and 99 % quantile of the time until the outcome is final."""
    names = explorer.strategies
    known = []
    for row, label in enumerate(names):
        look = style.looks(names)[label]
        median, tail = (answer.estimates[label][name] for name in TIMES)
        ends = [one.mean if math.isfinite(one.mean) else one.watched for one in (median, tail)]
        known += [one for one in ends if math.isfinite(one)]
        if all(math.isfinite(one) for one in ends):
            ax.plot(ends, [row, row], "-", color=look.colour, linewidth=0.9, zorder=1)
        for one, place, filled in ((median, ends[0], True), (tail, ends[1], False)):
            if one.origin == "nothing" or not math.isfinite(place):
                continue
            if math.isfinite(one.low) and math.isfinite(one.high):
                dashes = ":" if one.origin == "interpolated" else "-"
                ax.plot([one.low, one.high], [row, row], dashes, color=look.colour, linewidth=4.5, alpha=0.4, zorder=2)
            face = look.colour if filled and one.origin != "interpolated" else "none"
            marker: Any = ">" if math.isinf(one.mean) else look.marker
            ax.plot([place], [row], marker=marker, color=look.colour, markerfacecolor=face, linestyle="none", zorder=3)
        if median.origin == "nothing":
            ax.text(
                0.02,
                row,
                "failed" if label in answer.errors else "not known yet",
                transform=ax.get_yaxis_transform(),
                va="center",
                fontsize=9,
            )
    canvas.logarithmic(ax, known, "x")
    if ax.get_xscale() == "linear":
        ax.xaxis.set_major_formatter(canvas.tick)
        ax.locator_params(axis="x", nbins=4)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.grid(visible=False, axis="y")
    ax.set_xlabel("until the outcome is final [ms]")
    ax.set_title("Median (first mark) and 99 %", fontsize=9.5)
    return ax


def outcomes(answer: Answer, explorer: Shown, *, ax: Axes) -> Axes:
    """Shares of the outcomes."""
    names = explorer.strategies
    for row, label in enumerate(names):
        look, left = style.looks(names)[label], 0.0
        for name in OUTCOMES:
            one = answer.estimates[label][name]
            if one.origin == "nothing" or not math.isfinite(one.mean):
                continue
            _, alpha, hatch = _SHADES[name]
            width = 100 * min(one.mean, 1 - left / 100) if left < 100 else 0.0
            dashes = "--" if one.origin == "interpolated" else "-"
            ax.barh(
                row,
                width,
                left=left,
                height=0.55,
                color="none",
                edgecolor=look.colour,
                hatch=hatch,
                linewidth=0.8,
                linestyle=dashes,
            )
            ax.barh(row, width, left=left, height=0.55, color=look.colour, alpha=alpha, linewidth=0)
            left += width
    ax.set_yticks(range(len(names)), [])
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.set_xlim(0, 100)
    ax.grid(visible=False, axis="y")
    ax.set_xlabel("filled: committed,\nhatched: compensated,\npale: aborted, crossed: open")
    ax.set_title("Outcomes [%]", fontsize=9.5)
    return ax


def curve(answer: Answer, explorer: Shown, *, ax: Axes) -> Axes:
    """One metric over the control that was moved last: points that were played, and the surface between them."""
    control, name = answer.control, answer.state.metric
    if control is None:
        ax.set_axis_off()
        return ax
    scale = metric(name).scale
    seen: list[float] = []
    for label in explorer.strategies:
        look, found = style.looks(explorer.strategies)[label], answer.curves[label]
        xs = [x for x, _ in found.line]
        if xs:
            ax.plot(xs, [scale * one.mean for _, one in found.line], "--", color=look.colour, linewidth=1.1)
            ax.fill_between(
                xs,
                [scale * one.low for _, one in found.line],
                [scale * one.high for _, one in found.line],
                color=look.colour,
                alpha=0.12,
                linewidth=0,
            )
            seen += [scale * one.mean for _, one in found.line]
        for x, one in found.played:
            open_end = math.isinf(one.mean)
            y = scale * (one.watched if open_end else one.mean)
            if math.isfinite(y):
                ax.plot(
                    [x],
                    [y],
                    marker="^" if open_end else look.marker,
                    color=look.colour,
                    markersize=5,
                    markerfacecolor="none" if open_end else look.colour,
                )
                seen.append(y)
        here = answer.estimates[label][name]
        if here.origin == "interpolated":
            x = float(answer.state.values.get(control.name, control.base))
            ax.plot(
                [x], [scale * here.mean], marker=look.marker, color=look.colour, markersize=8, markerfacecolor="none"
            )
    canvas.logarithmic(ax, seen)
    ax.margins(y=0.08)
    ratio = control.values[-1] / control.values[0] if control.values[0] > 0 else 0.0
    if ratio > 5:
        canvas.logarithmic(ax, control.values, "x")
    ax.set_xlim(control.values[0], control.values[-1])
    ax.axvline(
        float(answer.state.values.get(control.name, control.base)),
        color=style.theme().muted,
        linewidth=0.8,
        linestyle=":",
    )
    ax.xaxis.set_major_formatter(lambda value, _: control.text(value) if value else "0")
    between = "25" if ratio <= _DENSE else ""  # over more decades labels between them would lie upon each other
    ax.xaxis.set_minor_formatter(lambda value, _: control.text(value) if value and f"{value:e}"[0] in between else "")
    ax.tick_params(axis="x", which="both", labelsize=style.size(0.85))
    if not seen:
        ax.text(0.5, 0.5, "not known yet", transform=ax.transAxes, ha="center", fontsize=9)
    ax.set_xlabel(f"{control.label}\nmarks: played, dashed: interpolated")
    ax.set_title(_folded(axis_label(name, explorer.scenario), 42), fontsize=9.5)
    if ax.get_yscale() == "linear":
        ax.yaxis.set_major_formatter(canvas.tick)
    return ax
