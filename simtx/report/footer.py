"""The foot of every picture: where its figures come from, and what repeats them, so that a picture that is passed on can be checked."""

from __future__ import annotations

import functools
import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

from simtx.report import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SIZE: Final = 0.65  # of the base size
_SLIDE: Final = (
    12.0  # inches; a figure as wide as this is shown from far away, where nothing smaller than the rest can be read
)
_LEADING: Final = 1.25  # height of a line, in font sizes
_PAD: Final = 3.0  # points
_LONGEST: Final = 600  # letters of a line: a sweep of many cells would fill a page
_SEVERAL: Final = 2  # commands; more of them are shortened
GID: Final = "simtx-foot"
"""Name of the foot among the texts of a figure."""
_WIDTH: Final = 0.56  # of an average character, in font sizes
P = ParamSpec("P")
R = TypeVar("R")


def lines(result: Any) -> list[str]:
    """What stands in the foot of a picture of this: a run, a comparison, an event log, or several runs; empty if it does not know."""
    results = list(result) if isinstance(result, Sequence) and not hasattr(result, "provenance") else [result]
    known = [one for one in map(_provenance, results) if one is not None]
    found = [one.lines() for one in known]
    columns = [
        list(dict.fromkeys(column)) for column in zip(*found, strict=True)
    ]  # what is the same in all is said once
    told = [line for column in columns for line in (_likewise(known, column) if len(column) > _SEVERAL else column)]
    return [line if len(line) <= _LONGEST else f"{line[:_LONGEST]}… (all of it: provenance.command)" for line in told]


def _provenance(result: Any) -> Any:
    """That of the result, or of the sweep that it comes from."""
    own = getattr(result, "provenance", None)
    return own if own is not None else getattr(getattr(result, "sweep", None), "provenance", None)


def _likewise(known: Sequence[Any], commands: list[str]) -> list[str]:
    """Commands that differ by the strategy alone: the first, and the other strategies."""
    names = [next(iter(one.strategies), "") for one in known]
    same = {one.command.replace(f" {name} ", " ", 1) for one, name in zip(known, names, strict=True)}
    if len(same) > 1 or len(set(names)) != len(names):
        return commands
    return [f"{commands[0]} (likewise: {', '.join(names[1:])})"]


def stamp(figure: Figure, said: Sequence[str]) -> None:
    """Write these lines below everything else in a figure, which grows by as much; long ones are broken."""
    if not said:
        return
    size = style.size(style.SMALL if figure.get_figwidth() >= _SLIDE else _SIZE)
    room = max(30, int(figure.get_figwidth() * 72 * 0.97 / (size * _WIDTH)))
    broken = [part for line in said for part in textwrap.wrap(line, room, subsequent_indent="    ")]
    height = (len(broken) * size * _LEADING + 2 * _PAD) / 72
    figure.set_figheight(figure.get_figheight() + height)
    share = height / figure.get_figheight()
    engine: Any = figure.get_layout_engine()
    if engine is not None:
        engine.set(rect=(0.0, share, 1.0, 1.0 - share))
    for legend in figure.legends:  # moved by their padding: the engine makes no room for one that is anchored elsewhere
        legend.borderaxespad += height * 72 / legend._fontsize  # type: ignore[attr-defined]  # noqa: SLF001
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


def footed(function: Callable[P, R]) -> Callable[P, R]:
    """A function that draws its first argument, and that writes the foot if the figure is its own (`ax` is not given).

    A figure of the caller's is the caller's: `lines` and `stamp` write the same there.
    """

    @functools.wraps(function)
    def drawn(*args: P.args, **options: P.kwargs) -> R:
        result: Any = function(*args, **options)
        if options.get("ax") is None:
            figure = result if hasattr(result, "savefig") else result.get_figure(root=True)
            stamp(figure, lines(args[0]))
        return result  # type: ignore[no-any-return]

    return drawn
