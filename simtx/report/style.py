"""One look for every picture: a colour-blind-safe colour, marker and dash for each strategy, and no global state.

The colours are those of Okabe and Ito (2008, "Color Universal Design"), told apart under the common colour vision deficiencies;
marker and dash say the same thing once more for a print in grey.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Look:
    """Look of one strategy in every picture.

    Attributes:
        colour: Hex colour.
        marker: Matplotlib marker.
        dashes: Matplotlib line style.
    """

    colour: str
    marker: str
    dashes: str | tuple[int, tuple[float, ...]]


LOOKS: Final[dict[str, Look]] = {
    "2pc": Look("#0072B2", "o", "-"),
    "paxos-commit": Look("#17345C", "p", (0, (8, 1.5, 1.5, 1.5))),
    "cornus": Look("#56B4E9", "v", (0, (2, 1, 6, 1))),
    "saga": Look("#009E73", "s", (0, (6, 1.5))),
    "tcc": Look("#7E57C2", "h", (0, (10, 1.5, 1, 1.5, 1, 1.5))),
    "outbox": Look("#E69F00", "^", (0, (4, 1.5, 1, 1.5))),
    "choreography": Look("#882255", "P", (0, (3, 1.2, 3, 1.2, 1, 1.2))),
    "dual-write": Look("#D55E00", "D", (0, (1.5, 1.2))),
}
"""Looks of the built-in strategies."""

_OTHERS: Final = (
    Look("#CC79A7", "v", "-"),
    Look("#56B4E9", "P", (0, (6, 1.5))),
    Look("#444444", "X", (0, (4, 1.5, 1, 1.5))),
    Look("#8C6D00", "p", (0, (1.5, 1.2))),
    Look("#A05A2C", "<", (0, (6, 1.5))),
)
_AGAIN: Final = tuple(
    Look(one.colour, marker, dashes)
    for one, marker, dashes in zip(
        (
            Look("#0072B2", "", "-"),
            Look("#009E73", "", "-"),
            Look("#E69F00", "", "-"),
            Look("#D55E00", "", "-"),
            *_OTHERS[:4],
            Look("#7E57C2", "", "-"),
            *_OTHERS[4:],
        ),
        (">", "*", "d", "H", "8", "1", "2", "3", "4", "x"),
        ((0, (8, 2, 2, 2)), (0, (2, 1)), (0, (10, 2)), (0, (1, 2)), *((0, (3, 1, 1, 1, 1, 1)),) * 6),
        strict=True,
    )
)
_ALL: Final = (*_OTHERS, *LOOKS.values(), *_AGAIN)

_SERIES: Final = ("#4477AA", "#AA3377", "#228833", "#EE6677", "#66CCEE", "#999933", "#777777")
_DASHES: Final = ("-", (0, (5, 1.5)), (0, (2, 1.2)), (0, (6, 1.5, 1.5, 1.5)), (0, (1, 1)))

FORCED: Final = "#1A1A1A"
FAULT: Final = "#B00020"
GOOD: Final = "#00704E"
REFUSED: Final = "#9A4A00"
IN_DOUBT: Final = "#F5C55A"

_RC: Final[dict[str, Any]] = {
    "text.parse_math": False,  # a dollar sign in a title is one
    "figure.dpi": 110,
    "savefig.dpi": 160,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.7,
    "lines.markersize": 6,
    "errorbar.capsize": 3,
    "svg.hashsalt": "simtx",  # the same data gives the same bytes
}
_SIZES: Final = {
    "axes.titlesize": 1.1,
    "axes.labelsize": 1.0,
    "legend.fontsize": 0.9,
    "xtick.labelsize": 0.9,
    "ytick.labelsize": 0.9,
}
_COLOURS: Final = {"axes.edgecolor": "edge", "grid.color": "grid", "xtick.color": "ink", "ytick.color": "ink"}
SMALL: Final = 0.9
"""Share of the base size for words inside a picture: 9 points, unless the user's ``font.size`` says otherwise."""


_ARROWS: Final = {
    "message": ("#333333", "#D8D8D8"),
    "publish": ("#7B4FA3", "#C9A8E6"),
    "delivery": ("#7B4FA3", "#C9A8E6"),
    "confirmation": ("#A68DC0", "#9F8AB5"),
    "request": ("#0072B2", "#7CC4F0"),
    "answer": ("#0072B2", "#7CC4F0"),
}
"""Colours of the messages of a diagram, by their kind: on light and on dark paper."""


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours of what is not data, on the paper that the user has chosen (`matplotlib.rcParams`): light or dark.

    Attributes:
        dark: Whether the paper is dark.
        paper: Behind the data.
        ink: Words, marks of intervals.
        muted: What is said by the way.
        edge: Frames of axes.
        grid: Lines of a grid.
        shade: Parts of a picture that do not count, such as the warm-up.
        fault: Faults, and what they swallow.
        good: What ended well.
    """

    dark: bool
    paper: str
    ink: str
    muted: str
    edge: str
    grid: str
    shade: str
    fault: str
    good: str


def theme() -> Theme:
    """The colours that fit to the paper of the moment."""
    import matplotlib as mpl
    from matplotlib.colors import to_hex, to_rgb

    paper = mpl.rcParams["axes.facecolor"]
    red, green, blue = to_rgb(paper)
    if 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.4:
        ink = to_hex(mpl.rcParams["text.color"])
        return Theme(True, to_hex(paper), ink, "#A8A8A8", "#A0A0A0", "#454545", "#2A2A2A", "#FF7B8A", "#4CC9A0")
    return Theme(False, to_hex(paper), "#222222", "#666666", "#555555", "#DDDDDD", "#EEEEEE", FAULT, GOOD)


def arrow_colour(kind: str) -> str:
    """The colour of a kind of message, on light or dark paper."""
    return _ARROWS[kind][theme().dark]


def size(share: float = 1.0) -> float:
    """A font size in points, relative to the user's base size."""
    import matplotlib as mpl

    return float(share * mpl.rcParams["font.size"])


def look(name: str) -> Look:
    """The look of a strategy; a user's own strategy gets one by its name, the same in every process."""
    known = LOOKS.get(name)
    return _on_paper(known if known is not None else _OTHERS[zlib.crc32(name.encode()) % len(_OTHERS)])


def looks(names: Iterable[str]) -> dict[str, Look]:
    """Looks for the strategies of one picture, all different.

    A strategy with options (``2pc:work=before``) keeps the colour of its family as long as nobody else of the family is there. When colours are
    used up they come again with another marker and another dash.
    """
    chosen: dict[str, Look] = {}
    names = list(dict.fromkeys(names))
    free = [one for one in _ALL if one not in {LOOKS[name] for name in names if name in LOOKS}]
    for name in names:
        family = LOOKS.get(re.split("[:,]", name, maxsplit=1)[0])
        if name in LOOKS:
            wanted = LOOKS[name]
        elif family is not None and family in free:
            wanted = family
        else:
            position = zlib.crc32(name.encode()) % len(_OTHERS)
            turns = [_OTHERS[(position + step) % len(_OTHERS)] for step in range(len(_OTHERS))]
            wanted = next((one for one in (*turns, *_ALL) if one in free), _OTHERS[position])
        if wanted in free:
            free.remove(wanted)
        chosen[name] = wanted
    return {name: _on_paper(one) for name, one in chosen.items()}


def series(names: Iterable[str]) -> dict[str, Look]:
    """Looks for what is no strategy, such as the services: other colours, so that nobody takes one for the other (P. Tol's "bright")."""
    made = {}
    for position, name in enumerate(names):
        colour, dashes = _SERIES[position % len(_SERIES)], _DASHES[position % len(_DASHES)]
        made[name] = _on_paper(Look(colour, "o", dashes))
    return made


def _on_paper(one: Look) -> Look:
    """The same look, lightened where it would drown in dark paper."""
    if not theme().dark:
        return one
    from matplotlib.colors import to_hex, to_rgb

    red, green, blue = (0.55 * part + 0.45 for part in to_rgb(one.colour))
    return replace(one, colour=to_hex((red, green, blue)))


@contextmanager
def context() -> Iterator[None]:
    """A ``with`` block in which matplotlib draws in the style of simtx; nothing stays changed behind it.

    What the user has set (`plt.style.use`, `rcParams`) stays as it is; sizes follow the user's ``font.size``. But for one thing: a notebook's
    backend turns interactive mode on when the first figure of a kernel is made, and that has to stay.
    """
    import matplotlib as mpl

    colours = theme()
    wanted: dict[str, Any] = {
        **_RC,
        **{key: round(size(share), 3) for key, share in _SIZES.items()},
        **{key: getattr(colours, name) for key, name in _COLOURS.items()},
    }
    settings: Any = {key: value for key, value in wanted.items() if _untouched(key)}
    with mpl.rc_context(settings):
        yield
        interactive = mpl.is_interactive()
    mpl.interactive(interactive)


def _untouched(key: str) -> bool:
    """Return whether a setting has the value that matplotlib comes with: the user's own choice wins."""
    import matplotlib as mpl

    present: Any = mpl.rcParams
    default: Any = mpl.rcParamsDefault
    return bool(present[key] == default[key])
