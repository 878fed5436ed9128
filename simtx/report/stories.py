"""Failure stories as sentence, table and picture. The sentence takes its figures from the runs, and is not written if they do not show it."""

from __future__ import annotations

import math
import re
import textwrap
from html import escape
from typing import TYPE_CHECKING, Any, Final

import matplotlib.pyplot as plt

from simtx.metrics.censored import longer_than
from simtx.report import catalogue, footer, style
from simtx.report.runs import timeline
from simtx.report.tables import figure as shown_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from simtx.metrics.run import Run

_PLACE: Final = re.compile(r"\{([^{}/]+)/([a-z_0-9]+)\}")
_WIDTH: Final = 110  # characters of a line on a terminal
_TITLE, _BODY = 12.0, 9.0  # points
_NAME: Final = 26  # characters of a fault's name that have room in a panel
_COUNTED: Final = ("per run", "per tx", "count", "lock-s per run")  # units that the words around a figure say


def sentence(telling: Any) -> str:
    """What a story teaches, with the figures of its runs; or what did not come about."""
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
    if name in catalogue.METRICS:
        shown = catalogue.metric(name)
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


_MEANS: Final = "an answer to the client means"


def _promises(telling: Any) -> list[str]:
    return [catalogue.ANSWER_MEANS[run.promise] for run in telling.runs.values()]


def _foot(telling: Any) -> list[str]:
    """What is to be said below: what the model leaves out, that it is one run, how to play it again."""
    omits = [f"not in the model: {telling.story.omits}"] if telling.story.omits else []
    return [
        *omits,
        f"one run of each case, seed {telling.seed}: no intervals; simtx.compare gives them",
        f"again: {telling.command}",
    ]


def text(telling: Any) -> str:
    """A story for a terminal: what it teaches, and the table."""
    heads = list(telling.runs)
    lines = [(_MEANS, _promises(telling)), *_cells(telling)]
    first = max(len(label) for label, _ in lines)
    widths = [max(len(heads[i]), *(len(cells[i]) for _, cells in lines)) for i in range(len(heads))]

    def line(label: str, cells: list[str]) -> str:
        return "  ".join(
            [f"{label:<{first}}", *(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))]
        ).rstrip()

    return "\n".join(
        [
            f"{telling.story.title} ({telling.story.name})",
            "",
            textwrap.fill(telling.teaches, _WIDTH),
            "",
            line("", heads),
            *(line(label, cells) for label, cells in lines),
            "",
            *(part for one in _foot(telling) for part in textwrap.wrap(one, _WIDTH, subsequent_indent="  ")),
        ]
    )


def html(telling: Any) -> str:
    """A story for a notebook: what it teaches, and the table."""
    right, left = (f"text-align:{side};padding:1px 12px 1px 0;white-space:nowrap" for side in ("right", "left"))
    colours = _colours(telling)
    heads = "".join(
        f"<th style='{right}'><span style='color:{colours[label]}'>&#9632;</span> {escape(label)}</th>"
        for label in telling.runs
    )
    body = "".join(
        f"<tr><td style='{left}'>{escape(label)}</td>"
        + "".join(f"<td style='{right}'>{escape(cell)}</td>" for cell in cells)
        + "</tr>"
        for label, cells in [(_MEANS, _promises(telling)), *_cells(telling)]
    )
    said = f"<p style='max-width:60em'>{escape(telling.teaches)}</p>"
    if not telling.holds:
        said = f"<p style='color:{style.FAULT};font-weight:bold;max-width:60em'>{escape(telling.teaches)}</p>"
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
        ("scenario", f"{scenario.name}: {scenario.title}"),
        ("faults", "; ".join(dict.fromkeys(_fault(one) for one in scenario.faults)) or "none"),
        ("cases", ", ".join(cases)),
        *([("not in the model", story.omits)] if story.omits else []),
        ("play it", f'simtx.story("{story.name}").run(), or: {story.command}'),
    ]


def _fault(fault: Any) -> str:
    from simtx.metrics.recovery import target

    return f"{fault.kind} of {target(fault)}"


def _colours(telling: Any) -> dict[str, str]:
    """The colour of each case: that of its strategy, where no other case has it."""
    names = [run.strategy.name for run in telling.runs.values()]
    keys = [name if names.count(name) == 1 else label for name, label in zip(names, telling.runs, strict=True)]
    looks = style.looks(keys)
    return {label: looks[key].colour for label, key in zip(telling.runs, keys, strict=True)}


def plot(telling: Any, *, figsize: tuple[float, float] | None = None) -> Figure:
    """What a story looks at over time, one panel a case, all on the same scale, with the faults shaded and named.

    Args:
        telling: The runs of a story.
        figsize: Inches; None: by the number of cases.
    """
    count = len(telling.runs)
    column = telling.story.look
    with style.context():
        figure, axes = plt.subplots(
            count, 1, figsize=figsize or (8.8, 0.9 + 1.7 * count), sharex=True, squeeze=False, layout="constrained"
        )
        colours = _colours(telling)
        panels = list(zip(axes[:, 0], telling.runs.items(), strict=True))
        for ax, (case, run) in panels:
            _panel(ax, run, column, case, colours[case])
        highest = max(telling.figure(case, f"peak_{column}") for case in telling.runs)
        for ax, _ in panels:
            ax.set_ylim(0, 1.12 * highest if highest > 0 else 1)
        for ax in axes[:-1, 0]:
            ax.set_xlabel("")
        footer.stamp(figure, _foot(telling))
        _head(figure, telling)
    return figure


def _head(figure: Figure, telling: Any) -> None:
    """What happens, and below it what it teaches, above everything else in a figure, which grows by as much."""
    wide = figure.get_figwidth() * 72
    said = textwrap.wrap(telling.teaches, int(wide / (_BODY * 0.5)))
    title, body, pad = _TITLE * 1.5, len(said) * _BODY * 1.3, 6.0
    height = (title + body + 2 * pad) / 72
    engine: Any = figure.get_layout_engine()
    before = figure.get_figheight()
    x, y, width, tall = engine.get()["rect"]
    figure.set_figheight(before + height)
    shrunk = before / (before + height)
    engine.set(rect=(x, y * shrunk, width, tall * shrunk))
    for one in figure.texts:  # the foot stands at a height in inches
        one.set_y(one.get_position()[1] * shrunk)
    top = figure.get_figheight() * 72
    figure.text(0.01, 1 - pad / top, telling.story.title, va="top", fontsize=_TITLE, fontweight="bold")
    colour = "#222222" if telling.holds else style.FAULT
    text = figure.text(0.01, 1 - (pad + title) / top, "\n".join(said), va="top", fontsize=_BODY, color=colour)
    text.set_linespacing(1.3)


def _panel(ax: Axes, run: Run, column: str, label: str, colour: str) -> None:
    """One case: the timeline of its run."""
    timeline(run, column=column, ax=ax)
    legend = ax.get_legend()
    if legend is not None:
        legend.remove()
    drawn = style.look(run.strategy.name).colour
    parts: list[Any] = [*ax.get_lines(), *ax.texts]
    for part in parts:
        if part.get_color() == drawn:
            part.set_color(colour)
    for text in ax.texts:
        if text.get_rotation() and len(text.get_text()) > _NAME:  # the title says what it is about
            text.set_text(f" {text.get_text().split()[0]}")
    ax.set_ylabel(textwrap.fill(ax.get_ylabel(), 16))
    ax.set_title(label, fontsize=10, color=colour)
