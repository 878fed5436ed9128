"""Canvas that all pictures share: axes, their title with what it is about, panels, legends, words that do not collide."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from simtx.errors import ScenarioError
from simtx.metrics.censored import longer_than
from simtx.report import style
from simtx.scenario.provenance import strategy_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from simtx.metrics.run import Run
    from simtx.scenario import Scenario

PANEL: Final = "simtx-panel"
"""Name of axes of a picture that says once, for all of its panels, what it is about."""
OWN: Final = "simtx-own"
"""Name of axes in a figure of our own: words may be as wide as that."""
SUBTITLE: Final = "simtx-subtitle"
"""Name of the line below a title among the texts of an Axes."""
TITLE: Final = "simtx-title"
"""Name of the title of a figure of several axes among its texts."""
_GAP: Final = 4.0  # points between the axes and the lines above
_BRIEF: Final = 28  # characters
_LEADING: Final = 1.25
_WIDER: Final = 1.1  # from 50 dots an inch on, 9 of 10 texts are no wider than that
_SHARE: Final = (0.7, 0.85)  # of the usual width and height of a picture, in which its words still have room
_ENOUGH: Final = (13.3, 7.5)  # inches: a slide is enough for any picture
_UNIT: Final = re.compile(r"(?<=\d) (?=(?:%|ms|s|EUR)(?:\b|\W|$))")
Size = tuple[float, float]
_LEAST: Final = 0.3  # of the room of axes, that are left for the data
_origin: ContextVar[str] = ContextVar("origin", default="")


def axes(ax: Axes | None, figsize: Size | None, default: Size) -> Axes:
    """The axes to draw on: the caller's, or those of a new figure.

    Args:
        ax: The caller's; None: new ones.
        figsize: Inches of a new figure; None: the user's ``figure.figsize`` if that was changed, else `default`.
        default: What suits this picture.
    """
    if ax is not None:
        return ax
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    asked: Any = mpl.rcParams["figure.figsize"]
    usual: Any = mpl.rcParamsDefault["figure.figsize"]
    chosen = roomy(figsize, default) or (default if list(asked) == list(usual) else tuple(asked))
    made: Axes = plt.subplots(figsize=chosen, layout="constrained")[1]
    made.set_gid(OWN)
    return made


def roomy(figsize: Size | None, default: Size) -> Size | None:
    """A size that was asked for, if the words of the picture have room in it.

    Raises:
        ScenarioError: They have not.
    """
    least = [min(share * one, enough) for share, one, enough in zip(_SHARE, default, _ENOUGH, strict=True)]
    if figsize is not None and any(one < needed - 0.05 for one, needed in zip(figsize, least, strict=True)):
        words = " by ".join(f"{needed:.1f}" for needed in least)
        raise ScenarioError(
            f"the words of this picture need {words} inches at least, not {figsize[0]:g} by {figsize[1]:g}", "figsize"
        )
    return figsize


@contextmanager
def origin(said: str) -> Iterator[None]:
    """Within this block the line below a title ends with where the figures come from: for axes of a caller's, which have no foot."""
    token = _origin.set(said)
    try:
        yield
    finally:
        _origin.reset(token)


def within(ax: Axes) -> None:
    """Make axes of a caller's smaller, so that their words and legends stay in the place that they have; a layout engine does this by itself.

    The place of axes in a grid goes to the middle between them and their neighbours.
    """
    figure: Any = ax.get_figure(root=True)
    if figure.get_layout_engine() is not None or ax not in figure.axes:
        return
    room = _place(ax, figure)
    for _ in range(2):  # the second time, for numbers at the axes that have become others
        box = ax.get_tightbbox(figure._get_renderer())  # noqa: SLF001 - public in backends only
        if box is None:
            return
        box = box.transformed(figure.transFigure.inverted())
        at = ax.get_position()
        left = max(0.0, room.x0 - at.x0 + _WIDER * (at.x0 - box.x0))
        right = max(0.0, at.x1 + _WIDER * (box.x1 - at.x1) - room.x1)
        bottom, top = max(0.0, room.y0 - box.y0), max(0.0, box.y1 - room.y1)
        if max(left, bottom, right, top) < 1e-4:
            return
        wide = max(at.width - left - right, _LEAST * room.width)
        high = max(at.height - bottom - top, _LEAST * room.height)
        ax.set_position((at.x0 + left, at.y0 + bottom, wide, high))


def _place(ax: Axes, figure: Any) -> Any:
    """The part of a figure that axes may fill, with their words."""
    from matplotlib.transforms import Bbox

    edge = 2 / (72 * figure.get_size_inches())
    spec = ax.get_subplotspec()
    if spec is None:
        return Bbox.from_extents(edge[0], edge[1], 1 - edge[0], 1 - edge[1])
    bottoms, tops, lefts, rights = spec.get_gridspec().get_grid_positions(figure)
    rows, columns = spec.rowspan, spec.colspan
    west = (rights[columns.start - 1] + lefts[columns.start]) / 2 if columns.start else edge[0]
    east = (rights[columns.stop - 1] + lefts[columns.stop]) / 2 if columns.stop < len(lefts) else 1 - edge[0]
    north = (bottoms[rows.start - 1] + tops[rows.start]) / 2 if rows.start else 1 - edge[1]
    south = (bottoms[rows.stop - 1] + tops[rows.stop]) / 2 if rows.stop < len(tops) else edge[1]
    return Bbox.from_extents(west, south, east, north)


# --- words ------------------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=4096)
def width(text: str, points: float, weight: str = "normal") -> float:
    """Width of one line of text, in points, with some room: letters are drawn in whole dots, which makes them wider at some resolutions."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    found: float = text_to_path.get_text_width_height_descent(
        text, FontProperties(size=points, weight=weight), ismath=False
    )[0]
    return _WIDER * found


def wrapped(text: str, room: float, points: float, weight: str = "normal") -> str:
    """A text in lines that are no wider than so many points; a word that is longer is cut, and a number stays with its unit."""
    lines: list[str] = []
    text = _UNIT.sub("\u00a0", text)
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split(" "):
            longer = f"{line} {word}" if line else word
            if line and width(longer, points, weight) > room:
                lines.append(line)
                longer = word
            while width(longer, points, weight) > room and len(longer) > 4:
                keep = max(4, int(len(longer) * room / width(longer, points, weight)) - 1)
                lines.append(longer[:keep])
                longer = longer[keep:]
            line = longer
        lines.append(line)
    return "\n".join(lines).replace("\u00a0", " ")


def short(text: str, room: float, points: float) -> str:
    """A text cut so that it is no wider than so many points; three dots say that it was cut."""
    if width(text, points) <= room:
        return text
    while len(text) > 1 and width(f"{text}…", points) > room:
        text = text[:-1]
    return f"{text}…"


def brief(name: str) -> str:
    """A name for a sentence: the whole of it is in the legend."""
    return name if len(name) <= _BRIEF else f"{name[: _BRIEF - 1].rstrip()}…"


def beside(ax: Axes, said: str, place: Size, shift: Size, *, at: Any = "data", **looks: Any) -> None:
    """Write small words some points beside a place.

    Args:
        ax: The axes.
        said: The words.
        place: Where.
        shift: How many points from there to the right, and up.
        at: What `place` is in: ``data``, ``axes fraction``, or one of them for each direction.
        looks: Colours, alignment and others, as matplotlib has them.
    """
    looks = {"fontsize": style.size(style.SMALL), **looks}
    ax.annotate(said, place, xycoords=at, xytext=shift, textcoords="offset points", **looks)


def panel_title(ax: Axes, said: str, pad: float = 3.0) -> None:
    """Write what a panel shows above it, small: the title of the picture stands higher."""
    ax.set_title(said, loc="left", fontsize=style.size(style.SMALL), fontweight="normal", pad=pad)


def titled(ax: Axes, title: str, said: str, *, above: float = 0.0, left: float | None = None) -> None:
    """Write what the picture shows above it, and below that what it is about: scenario, changes, load, seed, replications.

    Args:
        ax: The axes.
        title: The finding.
        said: What it is about.
        above: Points above the axes that are taken already, by titles of panels.
        left: Points left of the axes, for numbers and names; None: as many as numbers take.
    """
    said = "" if ax.get_gid() == PANEL else " · ".join(one for one in (said, _origin.get()) if one)
    large, small = style.size(1.1), style.size(style.SMALL)
    room = _room(ax, 6.5 * style.size() if left is None else left)
    below = wrapped(said, room, small)
    height = (below.count("\n") + 1) * small * _LEADING if said else 0.0
    ax.set_title(wrapped(title, room, large, "bold"), loc="left", pad=2 * _GAP + height + above, fontsize=large)
    if said:
        looks = {"color": style.theme().muted, "linespacing": _LEADING, "annotation_clip": False, "gid": SUBTITLE}
        beside(ax, below, (0, 1), (0, _GAP + above), at="axes fraction", va="bottom", ha="left", **looks)


def headed(figure: Any, title: str, said: str) -> None:
    """Write above a figure of several axes what it shows, and below that what it is about; its layout engine leaves the room.

    Args:
        figure: The figure, with a layout engine.
        title: The finding.
        said: What it is about.
    """
    from matplotlib.transforms import offset_copy

    large, small, room = style.size(1.15), style.size(style.SMALL), 0.96 * 72 * figure.get_figwidth()
    top = _GAP
    for text, size, weight in ((title, large, "bold"), (said, small, "normal")):
        words = wrapped(text, room, size, weight)
        line = figure.text(
            0.008,
            1.0,
            words,
            va="top",
            ha="left",
            fontsize=size,
            fontweight=weight,
            color=style.theme().muted if weight == "normal" else style.theme().ink,
            linespacing=_LEADING,
            parse_math=False,
        )
        line.set_transform(offset_copy(figure.transFigure, figure, 0.0, -top, units="points"))
        line.set_gid(TITLE if weight == "bold" else SUBTITLE)
        top += size * _LEADING * (words.count("\n") + 1) + _GAP
    figure.get_layout_engine().set(rect=(0.0, 0.0, 1.0, 1.0 - top / 72 / figure.get_figheight()))


def _room(ax: Axes, left: float) -> float:
    """Points that a title may be wide: to the edge of a figure of ours or of its column, as wide as the axes in a figure of the caller's."""
    inches = figure_of(ax).get_figwidth()
    if ax.get_gid() == OWN:
        return max(150.0, 72 * inches - left - 12)
    spec = ax.get_subplotspec()
    if ax.get_gid() == PANEL and spec is not None:
        return max(150.0, 72 * inches * len(spec.colspan) / spec.get_gridspec().ncols - left - 12)
    return 72 * inches * float(ax.get_position().width) * 0.9


def figure_of(ax: Axes) -> Figure:
    """The figure in which the axes are, and no part of it."""
    figure = ax.get_figure(root=True)
    assert figure is not None  # noqa: S101 - axes have a figure
    return figure


def points(ax: Axes) -> Size:
    """Width and height of the axes, in points, as far as they are known before the layout is made."""
    figure = figure_of(ax)
    box = ax.get_position()
    return 72 * figure.get_figwidth() * float(box.width), 72 * figure.get_figheight() * float(box.height)


def legend(ax: Axes, handles: Sequence[Any] | None = None, *, title: str = "") -> None:
    """A legend right of the axes, where it covers no data; long names are broken."""
    found = list(handles) if handles is not None else ax.get_legend_handles_labels()[0]
    if not found:
        return
    labels = [wrapped(str(one.get_label()), 190, style.size(style.SMALL)) for one in found]
    made = ax.legend(
        found,
        labels,
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        borderaxespad=0.0,
        title=title or None,
        alignment="left",
    )
    made.get_title().set_fontsize(style.size(style.SMALL))


def handle(look: style.Look, label: str) -> Line2D:
    """The line and mark of a strategy, for a legend."""
    from matplotlib.lines import Line2D

    dashes: Any = look.dashes  # matplotlib's stubs want each of them as a literal
    return Line2D([], [], color=look.colour, linestyle=dashes, marker=look.marker, markersize=5, label=label)


def legend_below(figure: Any, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """One legend for a figure of several axes, below them; the figure grows with the lines that it takes.

    Args:
        figure: The figure, with a layout engine.
        handles: The marks.
        labels: What they are; a long one is cut.
    """
    if not labels:
        return
    small, room = style.size(style.SMALL), 72 * figure.get_figwidth()
    shown = [short(label, (0.4 if len(labels) > 1 else 0.8) * room, small) for label in labels]
    columns = max(1, min(4, int(room // (max(width(label, small) for label in shown) + 52))))
    lines = -(-len(shown) // columns)
    columns = -(-len(shown) // lines)  # four names in two lines of two, and not of three and one
    figure.set_figheight(figure.get_figheight() + max(0, lines - 1) * 1.7 * small / 72)
    figure.legend(handles, shown, loc="outside lower center", ncols=columns)


def empty(ax: Axes, why: str) -> None:
    """Say in the middle of the axes why there is nothing to see."""
    ax.set_xticks([])
    ax.set_yticks([])
    ax.grid(visible=False)
    text = wrapped(why, points(ax)[0] * 0.9, style.size())
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color=style.theme().muted)


# --- panels -----------------------------------------------------------------------------------------------------------------


def panels(ax: Axes, rows: int, columns: int, *, across: float = 40.0, down: float = 8.0) -> list[list[Axes]]:
    """Panels inside axes, which become their empty frame: so that a picture of several panels fits wherever one axes fits.

    Args:
        ax: The frame; the panels are its `child_axes`.
        rows: How many above each other.
        columns: How many beside each other.
        across: Gap between two columns, in points.
        down: Gap between two rows, in points.
    """
    ax.set_axis_off()
    width_of, height_of = points(ax)
    across, down = min(across / width_of, 0.5 / columns), min(down / height_of, 0.7 / rows)
    wide = (1 - across * (columns - 1)) / columns
    high = (1 - down * (rows - 1)) / rows
    made: list[list[Axes]] = []
    for row in range(rows):
        line = []
        for column in range(columns):
            left, bottom = column * (wide + across), 1 - high - row * (high + down)
            line.append(ax.inset_axes((left, bottom, wide, high)))
        made.append(line)
    return made


# --- what a picture is about ------------------------------------------------------------------------------------------------


def about(scenario: Scenario, *, seed: int | None = None, times: str = "", varied: Iterable[str] = ()) -> str:
    """Scenario, what was changed, load, seed and replications, in one line.

    Args:
        scenario: What was played.
        seed: Of the runs.
        times: How many replications, in words.
        varied: Paths that the picture varies: if the load is among them, its value in the scenario says nothing.
    """
    changed = ", ".join(f"{path} = {value(one)}" for path, one in scenario.overrides.items())
    words = [f"{scenario.name} with {changed}" if changed else scenario.name]
    if not any(path.startswith("workload.") for path in varied):
        words.append(load(scenario))
    drawn = ", ".join(word for word in (f"seed {seed}" if seed is not None else "", times) if word)
    return " · ".join(word for word in [*words, drawn] if word)


def load(scenario: Scenario) -> str:
    """The offered load: ``100/s offered``, ``40 users``."""
    workload = scenario.workload
    if workload.think_time is not None:
        return f"{workload.users:,} users"
    rate = workload.mean_rate()
    return f"{rate:,.4g}/s offered" if rate else ""


def about_runs(runs: Sequence[Run]) -> str:
    """Facts that several runs have in common; where they differ, that they do."""
    first = runs[0]
    same = all(one.scenario == first.scenario for one in runs)
    seeds = {one.seed for one in runs}
    replications = sorted({one.replication for one in runs})
    count = (
        "replication " + ", ".join(str(one) for one in replications)
        if len(replications) <= 3
        else f"{len(replications)} replications"
    )
    seed = f"seed {first.seed}" if len(seeds) == 1 else f"{len(seeds)} seeds"
    if same:
        return about(first.scenario, seed=None, times=f"{seed}, {count}")
    common = _common([one.scenario for one in runs])
    names = " and ".join(dict.fromkeys(one.scenario.name for one in runs))
    if common:
        names += f" with {', '.join(f'{path} = {value(one)}' for path, one in first.scenario.overrides.items() if path in common)}"
    loads = list(dict.fromkeys(load(one.scenario) for one in runs))
    return " · ".join(word for word in (names, loads[0] if len(loads) == 1 else "", f"{seed}, {count}") if word)


def about_comparison(comparison: Any, metrics: Iterable[str] = (), strategies: Iterable[str] | None = None) -> str:
    """Scenario, changes, load, seed and replications of a comparison.

    Args:
        comparison: The runs.
        metrics: What is drawn of them: where only some of the runs have it, that is said.
        strategies: Of which; None: all.
    """
    names = comparison.strategies if strategies is None else list(strategies)
    known = [one for one in metrics if one in comparison.metrics]
    seen = [comparison.interval(name, one).n for name in names for one in known]
    said = times(seen, [comparison.replications] * len(seen)) if seen else replications(comparison.replications)
    return about(comparison.scenario, seed=comparison.seed, times=said)


def replications(count: int) -> str:
    """A number of replications in words."""
    return f"{count:,} replication{'s' if count != 1 else ''}"


def times(seen: Iterable[float], asked: Iterable[float], within: str = "", *, pairs: bool = False) -> str:
    """Number of replications behind figures: ``3 replications``, or ``2 of 3 runs`` where only some have a figure.

    Args:
        seen: Runs that have one, for each figure. A figure that no run has is not drawn and does not count.
        asked: Runs that there are to be, for each figure.
        within: Of what each figure is: ``cell``; empty: it goes without saying.
        pairs: Whether a figure is that of a pair of runs.
    """
    known = {(int(n), int(of)) for n, of in zip(seen, asked, strict=True) if n}
    what = "pairs of runs" if pairs else "runs"
    if not known:
        return f"none of the {what} has a figure"
    if all(n == of for n, of in known):
        least = min(known)[0]
        return f"{least:,} to {replications(max(known)[0])}" if len(known) > 1 else replications(least)
    some, all_of = (_from_to([pair[place] for pair in known]) for place in (0, 1))
    return f"figures of {some} of {all_of} {what}{f' in each {within}' if within else ''}"


def _from_to(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def labels(runs: Sequence[Run]) -> list[str]:
    """A name for each run that no other has: its strategy; its options, where two strategies have one name; what else differs, where two have both."""
    found = [strategy_text(one.strategy, one.scenario.policies) or one.strategy.name for one in runs]
    plain = [one.strategy.name for one in runs]
    found = [name if plain.count(name) == 1 else text for name, text in zip(plain, found, strict=True)]
    common = _common([one.scenario for one in runs])
    said: Callable[[Run], str]
    for said in (
        lambda one: _changes(one, common),
        lambda one: f"seed {one.seed}",
        lambda one: f"replication {one.replication}",
    ):
        for name in {name for name in found if found.count(name) > 1}:
            places = [position for position, one in enumerate(found) if one == name]
            words = [said(runs[position]) for position in places]
            if len(set(words)) > 1:
                for position, word in zip(places, words, strict=True):
                    found[position] = f"{name}, {word}"
    for name in {name for name in found if found.count(name) > 1}:  # nothing is different
        places = [position for position, one in enumerate(found) if one == name]
        for number, position in enumerate(places, 1):
            found[position] = f"{name}, {number}"
    return found


def _common(scenarios: Sequence[Scenario]) -> set[str]:
    """Changes that all of these scenarios have in common, by path."""
    first = scenarios[0].overrides
    return {
        path
        for path, one in first.items()
        if all(path in other.overrides and other.overrides[path] == one for other in scenarios)
    }


def _changes(run: Run, common: set[str]) -> str:
    """Changes of the scenario of a run that not all others have."""
    scenario = run.scenario
    own = [f"{path} = {value(one)}" for path, one in scenario.overrides.items() if path not in common]
    return ", ".join(own) if own else f"{scenario.name} as it is"


def value(value: Any) -> str:
    """A changed value in a line of text: short."""
    if isinstance(value, list | tuple | dict):
        return f"{len(value)} entr{'y' if len(value) == 1 else 'ies'}"
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


# --- numbers ----------------------------------------------------------------------------------------------------------------


def duration(milliseconds: float, watched_ms: float = math.nan) -> str:
    """A duration for a sentence: ``31 ms``, ``2.04 s``; one that had not ended: ``> 30 s``."""
    if math.isnan(milliseconds):
        return "no value"
    if math.isinf(milliseconds):
        return longer_than(watched_ms)
    if milliseconds >= 60_000:
        return f"{milliseconds / 1000:,.0f} s"
    if milliseconds >= 1000:
        return f"{milliseconds / 1000:.3g} s"
    return f"{milliseconds:.3g} ms" if milliseconds < 100 else f"{milliseconds:.0f} ms"


def tick(value: float, _position: object = None) -> str:
    """A number at a tick or beside a point: ``12``, ``0.125``, ``3,400``."""
    if value == 0 or math.isnan(value):
        return "0" if value == 0 else ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def ticks(axis: Axis, most: int, *, whole: bool = False) -> None:
    """Let an axis have plain numbers at so many places at most; `whole`: no fractions."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(most, integer=whole))
    axis.set_major_formatter(FuncFormatter(tick))


def logarithmic(ax: Axes, values: Iterable[float], axis: str = "y") -> None:
    """A logarithmic axis with plain numbers if the values differ much; linear around zero if one of them is zero."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    known = [value for value in values if math.isfinite(value)]
    positive = [value for value in known if value > 0]
    if not positive or max(positive) < 5 * min(positive):
        return
    set_scale = ax.set_yscale if axis == "y" else ax.set_xscale
    if len(positive) == len(known):
        set_scale("log")
    else:
        set_scale("symlog", linthresh=min(positive))
    chosen = ax.yaxis if axis == "y" else ax.xaxis
    chosen.set_major_formatter(FuncFormatter(tick))
    if max(positive) > 50 * min(positive):
        chosen.set_minor_formatter(NullFormatter())
    else:
        chosen.set_minor_formatter(FuncFormatter(lambda value, _: tick(value) if f"{value:e}"[0] in "25" else ""))


def signed(value: float) -> str:
    """A difference with its sign, three significant digits, thousands apart."""
    if not math.isfinite(value):
        return "without bound" if math.isinf(value) else "no value"
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:+,.{min(digits, 6)}f}"


def percent(share: float) -> str:
    """A share: ``0.25 %``, ``99.9 %``; never 100 % where one is missing, never 0 % where there is one."""
    if math.isnan(share):
        return "–"
    value = 100 * share
    if value in (0, 100):
        return f"{value:.0f} %"
    if value > 99.9:
        return "> 99.9 %"
    if value < 0.01:
        return "< 0.01 %"
    return f"{value:.2g} %" if value < 10 else f"{value:.3g} %"


def listed(parts: Iterable[str], most: int = 4) -> str:
    """Some of these, and how many more there are."""
    found = list(parts)
    return (
        ", ".join(found) if len(found) <= most else f"{', '.join(found[: most - 1])} and {len(found) - most + 1} more"
    )
