"""The foot of every picture: where its figures come from, and what repeats them, so that a picture that is passed on can be checked."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

from simtx.arguments import checked
from simtx.errors import ScenarioError, SimtxError
from simtx.report import style
from simtx.report.given import checks_of, told
from simtx.report.pictures import canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SIZE: Final = 0.65  # of the base size
_SLIDE: Final = (
    12.0  # inches; a figure as wide as this is shown from far away, where nothing smaller than the rest can be read
)
_NARROW: Final = 8.0  # inches; a narrower picture is no slide, whatever its shape
_SHAPE: Final = 0.06  # a slide's width is 16/9 of its height, about
_MOST: Final = 0.12  # of the height of a figure whose size was asked for: a longer foot makes it larger
_MOST_OF_SLIDE: Final = 0.25
_LEADING: Final = 1.25  # height of a line, in font sizes
_PAD: Final = 3.0  # points
_LONGEST: Final = 600  # letters of a line: a sweep of many cells would fill a page
_SEVERAL: Final = 2  # commands; more of them are shortened
GID: Final = "simtx-foot"
"""Name of the foot among the texts of a figure."""
P = ParamSpec("P")
R = TypeVar("R")


def lines(result: Any) -> list[str]:
    """Text in the foot of a picture of this: a run, a comparison, an event log, or several runs; empty if it does not know."""
    results = list(result) if isinstance(result, Sequence) and not hasattr(result, "provenance") else [result]
    known = [one for one in map(_provenance, results) if one is not None]
    found = [one.lines() for one in known]
    columns = [
        list(dict.fromkeys(column)) for column in zip(*found, strict=True)
    ]  # what is the same in all is said once
    told = [line for column in columns for line in (_likewise(known, column) if len(column) > _SEVERAL else column)]
    return [line if len(line) <= _LONGEST else f"{line[:_LONGEST]}… (all of it: provenance.command)" for line in told]


def _provenance(result: Any) -> Any:
    """Provenance of the result, or of the sweep that it comes from."""
    own = getattr(result, "provenance", None)
    return own if own is not None else getattr(getattr(result, "sweep", None), "provenance", None)


def _likewise(known: Sequence[Any], commands: list[str]) -> list[str]:
    """Commands that differ by the strategy alone: the first, and the other strategies."""
    names = [next(iter(one.strategies), "") for one in known]
    same = {one.command.replace(f" {name} ", " ", 1) for one, name in zip(known, names, strict=True)}
    if len(same) > 1 or len(set(names)) != len(names):
        return commands
    return [f"{commands[0]} (likewise: {', '.join(names[1:])})"]


def stamp(figure: Figure, said: Sequence[str], *, grow: bool = True) -> None:
    """Write these lines below everything else in a figure; long ones are broken.

    Args:
        figure: The figure, with a layout engine if it is to make room.
        said: The lines.
        grow: Whether the figure grows by as much. Otherwise it keeps its size, and what is in it gets smaller.
    """
    if not said:
        return
    large = _shown_large(figure)
    size = style.size(style.SMALL if large else _SIZE)
    room = 0.96 * 72 * figure.get_figwidth()
    broken = [part for line in said for part in _broken(line, room, size)]
    height = (len(broken) * size * _LEADING + 2 * _PAD) / 72
    engine: Any = figure.get_layout_engine()
    before, top = figure.get_figheight(), sum(engine.get()["rect"][1::2]) if engine is not None else 1.0
    if grow or height > (_MOST_OF_SLIDE if large else _MOST) * figure.get_figheight():
        figure.set_figheight(figure.get_figheight() + height)
    share = height / figure.get_figheight()
    if engine is not None:  # what is kept for a title stays as high as it is
        above = (1.0 - top) * before / figure.get_figheight()
        engine.set(rect=(0.0, share, 1.0, 1.0 - share - above))
    legends: list[Any] = figure.legends  # whose size of the font is private
    for legend in legends:  # moved by their padding: the engine makes no room for one that is anchored elsewhere
        legend.borderaxespad += height * 72 / legend._fontsize  # noqa: SLF001
    bottom = _PAD / 72 / figure.get_figheight()
    foot = figure.text(
        0.008,
        bottom,
        "\n".join(broken),
        va="bottom",
        ha="left",
        fontsize=size,
        color=style.theme().muted,
        parse_math=False,
    )
    foot.set_linespacing(_LEADING)
    foot.set_gid(GID)


def _shown_large(figure: Figure) -> bool:
    """Return whether it is a slide, by its width or by its shape: it is looked at from far away, and nothing may be smaller than the rest."""
    width, height = figure.get_size_inches()
    return bool(width >= _SLIDE or (width >= _NARROW and abs(width / height - 16 / 9) < _SHAPE))


def _broken(line: str, room: float, size: float) -> list[str]:
    first, *others = canvas.wrapped(line, room, size).split("\n")
    rest = " ".join(others)
    indent = "    "
    return [
        first,
        *(f"{indent}{part}" for part in canvas.wrapped(rest, room - 4 * size * 0.3, size).split("\n") if part),
    ]


def footed(function: Callable[P, R]) -> Callable[P, R]:
    """A function that draws its first argument, or what is asked `of` it: what it is given is checked, and the picture says where it comes from.

    In a figure of its own (`ax` is not given) that is the foot. On axes of the caller's it stands in the line below the title, in short: the figure is the caller's, and
    `lines` and `stamp` write all of it there. What is drawn there stays within the place that the axes have.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def drawn(*args: P.args, **options: P.kwargs) -> R:
        given = signature.bind(*args, **options).arguments
        ax = given.get("ax")
        if ax is not None and given.get("figsize") is not None:
            raise ScenarioError("is for a new figure, and ax= names one that is there", "figsize")
        first = given["of"] if given.get("of") is not None else next(iter(given.values()))
        if ax is None:
            with _nothing_left():
                result = function(*args, **options)
            made: Any = result  # a figure, or axes
            stamp(
                made if hasattr(made, "savefig") else made.get_figure(root=True),
                lines(first),
                grow=given.get("figsize") is None,
            )
        elif ax.get_gid() in (canvas.PANEL, canvas.OWN):
            result = function(*args, **options)
        else:
            with canvas.origin(_short(first)):
                result = function(*args, **options)
            canvas.within(ax)
        return result

    drawn.__doc__ = told(function)
    return checked(**checks_of(function))(drawn)


@contextmanager
def _nothing_left() -> Iterator[None]:
    """Leave no empty figure behind of what cannot be drawn: a notebook would show it."""
    import matplotlib.pyplot as plt

    before = set(plt.get_fignums())
    try:
        yield
    except SimtxError:
        for number in set(plt.get_fignums()) - before:
            plt.close(number)
        raise


def _short(result: Any) -> str:
    """Version and fingerprints of a result: what tells whether two pictures are of the same runs."""
    results = list(result) if isinstance(result, Sequence) and not hasattr(result, "provenance") else [result]
    known = [one for one in map(_provenance, results) if one is not None]
    return known[0].prints if known else ""
