"""Failure stories as text, table and picture. The text takes its figures from the runs, and is not written if they do not show it."""

from __future__ import annotations

import math
import re
import textwrap
from html import escape
from typing import TYPE_CHECKING, Any, Final

import matplotlib.pyplot as plt
import numpy as np

from simtx.listing import aligned
from simtx.metrics.censored import longer_than
from simtx.metrics.recovery import target
from simtx.metrics.waiting import waiting
from simtx.report import catalogue, footer, style
from simtx.report.pictures import canvas, faults
from simtx.report.pictures import waiting as lags
from simtx.report.pictures.over_time import level
from simtx.report.tables import MEANS
from simtx.report.tables import figure as shown_figure
from simtx.scenario.fault_kinds import NOUNS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from simtx.metrics.run import Run

_PLACE: Final = re.compile(r"\{([^{}/]+)/([a-z_0-9]+)\}")
_WIDTH: Final = 110  # characters of a line on a terminal
_LONGEST: Final = 22  # characters of the names of the nodes that a fault hits that have room above a panel
_NAMES: Final = {
    "drift_gross": "gross drift",
    "in_flight": "transactions in flight",
    "in_doubt": "branches in doubt",
    "backlog": "all that waits",
}
_WAITING: Final = "waiting_"
_LEADING, _AFTER = 1.4, 0.3  # of a line, and of the gap behind a paragraph, in font sizes
_COUNTED: Final = ("per run", "per tx", "count", "lock-s per run")  # units that the words around a figure say


def sentence(telling: Any) -> str:
    """Findings of the runs of a story, with their figures; or the checks that failed."""
    failed = telling.failed
    if failed:
        wrong = "; ".join(_said(telling, one) for one in failed)
        return f"These runs do not show it: {wrong}."
    return _PLACE.sub(lambda found: number(telling, found[1], found[2]), telling.story.sentence)


def _said(telling: Any, check: Any) -> str:
    label, _, name = check.figure.rpartition("/")
    return f"{check} is not so ({number(telling, label, name)})"


def number(telling: Any, label: str, name: str) -> str:
    """A figure of one case, as words say it."""
    value = telling.figure(label, name)
    run = telling.runs[label]
    shown = catalogue.metric(name)
    if shown.unit:
        if math.isinf(value) and shown.unit == "ms":
            return longer_than(float(run.summary["watched_ms"]))
        if math.isinf(value) and shown.endless:
            return shown.endless
        unit = catalogue.unit(shown, run.scenario)
        unit = run.drift_unit if name == "residual_divergence" else unit
        if unit == "ms" and abs(value) >= 1000:
            return f"{_rounded(value / 1000)} s"
        return f"{_rounded(value * shown.scale)} {'' if unit in _COUNTED else unit.removesuffix(' per run')}".strip()
    unit = "s" if name.endswith("_s") else run.drift_unit if "drift" in name else ""
    return f"{_rounded(value)} {unit}".strip()


def _rounded(value: float) -> str:
    """Three digits are enough in a sentence."""
    if not math.isfinite(value) or abs(value) >= 1000:
        return catalogue.number(round(value) if math.isfinite(value) else value)
    return f"{value:.3g}" if abs(value) >= 0.001 or not value else catalogue.number(value)


def _cells(telling: Any) -> list[tuple[str, list[str]]]:
    """The lines of the table: label with unit, and the figure of each case."""
    lines = []
    for name in telling.story.shows:
        shown = catalogue.metric(name)
        unit = catalogue.unit(shown, telling.story.scenario)
        cells = []
        for run in telling.runs.values():
            value, beside = shown_figure(run, shown)
            extra = beside.removeprefix(unit).strip()
            cells.append(f"{value} {extra}".strip())
        lines.append((f"{shown.label} [{unit}]" if unit else shown.label, cells))
    return lines


def _promises(telling: Any) -> list[str]:
    return [catalogue.ANSWER_MEANS[run.promise] for run in telling.runs.values()]


def _foot(telling: Any, *, omits: bool = True) -> list[str]:
    """Say below the picture what the model leaves out, what it is about, that it is one run, and how to play it again."""
    scenario = telling.story.scenario
    said = [f"not in the model: {telling.story.omits}"] if telling.story.omits and omits else []
    return [
        *said,
        f"scenario {scenario.name}, {canvas.load(scenario)}; one run of each case, seed {telling.seed}: no intervals; simtx.compare gives them",
        f"again: {telling.command}",
    ]


def text(telling: Any) -> str:
    """A story for a terminal: its lesson, what its runs show, and the table."""
    rows = [("", list(telling.runs)), (MEANS, _promises(telling)), *_cells(telling)]
    return "\n".join(
        [
            f"{telling.story.title} ({telling.story.name})",
            "",
            *([textwrap.fill(telling.lesson, _WIDTH)] if telling.holds else []),
            textwrap.fill(telling.finding, _WIDTH),
            "",
            *aligned([[label, *cells] for label, cells in rows], right=1),
            "",
            *(part for one in _foot(telling) for part in textwrap.wrap(one, _WIDTH, subsequent_indent="  ")),
        ]
    )


def html(telling: Any) -> str:
    """A story for a notebook: its lesson, what its runs show, and the table."""
    right, left = (f"text-align:{side};padding:1px 12px 1px 0;white-space:nowrap" for side in ("right", "left"))
    looks = _looks(telling)
    heads = "".join(
        f"<th style='{right}'><span style='color:{looks[label].colour}'>&#9632;</span> {escape(label)}</th>"
        for label in telling.runs
    )
    body = "".join(
        f"<tr><td style='{left}'>{escape(label)}</td>"
        + "".join(f"<td style='{right}'>{escape(cell)}</td>" for cell in cells)
        + "</tr>"
        for label, cells in [(MEANS, _promises(telling)), *_cells(telling)]
    )
    said = f"<p style='max-width:60em'><b>{escape(telling.lesson)}</b><br>{escape(telling.finding)}</p>"
    if not telling.holds:
        said = f"<p style='color:{style.FAULT};font-weight:bold;max-width:60em'>{escape(telling.finding)}</p>"
    foot = "<br>".join(escape(one) for one in _foot(telling))
    return (
        f"<h4>{escape(telling.story.title)}</h4>{said}"
        f"<table style='border-collapse:collapse'><thead><tr><th></th>{heads}</tr></thead><tbody>{body}</tbody></table>"
        f"<p style='opacity:.75;font-size:smaller'>{foot}</p>"
    )


def story_text(story: Any) -> str:
    """A story that has not been run, for a terminal."""
    return "\n".join([f"{story.title} ({story.name})", *(f"  {label}: {value}" for label, value in _about(story))])


def story_html(story: Any) -> str:
    """A story that has not been run, for a notebook."""
    cell = "text-align:left;padding:1px 14px 1px 0;vertical-align:top"
    rows = "".join(
        f"<tr><td style='{cell}'>{escape(label)}</td><td style='{cell}'>{escape(value)}</td></tr>"
        for label, value in _about(story)
    )
    return f"<h4>{escape(story.title)}</h4><table style='border-collapse:collapse'>{rows}</table>"


def _about(story: Any) -> list[tuple[str, str]]:
    scenario = story.scenario
    cases = [label if label == one.strategy else f"{label} ({one.strategy})" for label, one in story.cases.items()]
    return [
        ("lesson", story.lesson),
        ("scenario", f"{scenario.name}: {scenario.title}"),
        (
            "faults",
            "; ".join(dict.fromkeys(_named(one.kind, target(one, votes=False)) for one in scenario.faults)) or "none",
        ),
        ("cases", ", ".join(cases)),
        *([("not in the model", story.omits)] if story.omits else []),
        ("play it", f'simtx.story("{story.name}").run(), or: {story.command}'),
    ]


def _named(kind: str, whom: str) -> str:
    """A fault in a few words; names of many nodes are left out."""
    what = NOUNS.get(kind, kind)
    return f"{what} of {whom}" if whom and len(whom) <= _LONGEST else what


def _looks(telling: Any) -> dict[str, style.Look]:
    """The look of each case: that of its strategy, where no other case has it."""
    names = [run.strategy.name for run in telling.runs.values()]
    keys = [name if names.count(name) == 1 else label for name, label in zip(names, telling.runs, strict=True)]
    looks = style.looks(keys)
    return {label: looks[key] for label, key in zip(telling.runs, keys, strict=True)}


def plot(telling: Any, *, figsize: tuple[float, float] | None = None) -> Figure:
    """Draws the columns of a story over time, one panel a case, all on the same scale, with the faults shaded and named.

    Args:
        telling: The runs of a story.
        figsize: Inches of the panels, to which title and foot are added; None: by the number of cases.
    """
    count = len(telling.runs)
    runs = list(telling.runs.values())
    with style.context():
        figure, axes = plt.subplots(
            count, 1, figsize=figsize or (8.8, 0.6 + 1.6 * count), sharex=True, squeeze=False, layout="constrained"
        )
        looks = _looks(telling)
        column = telling.story.look
        for ax, (label, run) in zip(axes[:, 0], telling.runs.items(), strict=True):
            _panel(ax, run, column, label, looks[label])
        highest = max(telling.figure(label, f"peak_{column}") for label in telling.runs)
        for ax in axes[:, 0]:
            ax.set_ylim(0, 1.15 * highest if highest > 0 else 1)
            ax.set_xlim(0, lags.BEHIND * max(faults.end_of([run]) for run in runs))
        axes[-1, 0].set_xlabel("simulated time [s]")
        footer.stamp(figure, [*_marks(runs), *_foot(telling, omits=False)])
        _head(figure, telling)
    return figure


def _marks(runs: list[Run]) -> list[str]:
    """Say what is shaded."""
    struck = any(run.data.struck or run.scenario.broker.poisoned for run in runs)
    return ["red: while a fault is in force; hatched: no more arrivals" if struck else "hatched: no more arrivals"]


def _head(figure: Figure, telling: Any) -> None:
    """Write its lesson, what its runs show, and what the model has not, above everything else in a figure, which grows by as much."""
    large, plain, small = style.size(1.25), style.size(), style.size(style.SMALL)
    theme = style.theme()
    room = 0.97 * 72 * figure.get_figwidth()
    omits = f"Not in the model: {telling.story.omits}" if telling.story.omits else ""
    parts = [
        (canvas.wrapped(telling.lesson, room, large, "bold"), large, "bold", theme.ink),
        (canvas.wrapped(telling.finding, room, plain), plain, "normal", theme.ink if telling.holds else theme.fault),
        *([(canvas.wrapped(omits, room, small), small, "normal", theme.muted)] if omits else []),
    ]
    heights = [size * (_LEADING * (words.count("\n") + 1) + _AFTER) for words, size, _, _ in parts]
    engine: Any = figure.get_layout_engine()
    before = figure.get_figheight()
    height = before + (sum(heights) + small) / 72
    left, bottom, wide, high = engine.get()["rect"]
    figure.set_figheight(height)
    engine.set(rect=(left, bottom * before / height, wide, high * before / height))
    for one in figure.texts:  # the foot stands at a height in inches
        one.set_y(one.get_position()[1] * before / height)
    down = 0.6 * small
    for (words, size, weight, colour), tall in zip(parts, heights, strict=True):
        top = 1 - down / (72 * height)
        figure.text(0.01, top, words, va="top", fontsize=size, fontweight=weight, color=colour, linespacing=_LEADING)
        down += tall


def _panel(ax: Axes, run: Run, column: str, label: str, look: style.Look) -> None:
    """One case: a column of its timeline, with its faults; what is left in the end stands at the end of the line."""
    theme, small = style.theme(), style.size(style.SMALL)
    if column.startswith(_WAITING) and column not in run.timeline:  # that of a consumer group is there
        _waits(ax, run, column.removeprefix(_WAITING), label, look)
        return
    samples = run.timeline
    end = faults.end_of([run])
    time, values = samples["time_s"].to_numpy(dtype=float), level(samples, column)
    until = int(np.searchsorted(time, end, side="right"))
    time, values = time[:until], values[:until]
    ax.fill_between(time, values, step="post", color=look.colour, alpha=0.2, linewidth=0)
    ax.plot(time, values, drawstyle="steps-post", color=look.colour, linestyle=look.dashes, linewidth=1.5, label=label)
    faults.shade(ax, [run])
    plain = column.replace("_", " ")
    for prefix, words in (("wrong_", "wrong copies"), ("waiting_", "events that wait")):
        plain = f"{words}: {column.removeprefix(prefix)}" if column.startswith(prefix) else plain
    name, unit = _NAMES.get(column, plain), run.drift_unit if column.startswith("drift") else "count"
    left = f"{catalogue.number(round(float(values[-1]), 9))} {run.drift_unit if column.startswith('drift') else ''}".strip()
    looks = {"ha": "left", "va": "bottom", "fontweight": "bold", "color": look.colour}
    canvas.beside(ax, left, (time[-1], values[-1]), (4, 0), **looks)
    ax.set_title(label, loc="left", color=look.colour)
    ax.set_title(_struck(run), loc="right", fontsize=small, fontweight="normal", color=theme.fault)
    ax.set_ylabel(f"{name}\n[{unit}]", fontsize=small)
    canvas.ticks(ax.yaxis, 4)


def _waits(ax: Axes, run: Run, service: str, label: str, look: style.Look) -> None:
    """One case: the events that wait for a service, a line a partition or one for the queue, with faults and poison."""
    small = style.size(style.SMALL)
    lanes = waiting(run.trace, service, run.scenario.broker.partitions)
    lags.draw(ax, run, lanes, look.colour)
    faults.shade(ax, [run])
    lags.shade_poison(ax, run)
    ax.set_title(label, loc="left", color=look.colour)
    dead = int(run.summary.get("dead_letters", 0))
    lost = f"{dead:,} dead letter{'' if dead == 1 else 's'}" if dead else ""
    words = "; ".join(one for one in (_struck(run), lags.poison_words(run), lost) if one)
    ax.set_title(words, loc="right", fontsize=small, fontweight="normal", color=style.theme().fault)
    ax.set_ylabel(f"events for\n{service} [count]", fontsize=small)
    canvas.ticks(ax.yaxis, 4, whole=True)
    canvas.legend(ax)


def _struck(run: Run) -> str:
    """The faults that struck, in a few words."""
    blows: dict[str, list[Any]] = {}
    for one in run.data.struck:
        blows.setdefault(_named(one.kind, one.target), []).append(one)
    return ", ".join(
        f"{f'{len(each)} x ' if len(each) > 1 else ''}{name}, {each[0].begin:.3g} to {each[-1].end:.3g} s"
        for name, each in blows.items()
    )
