"""One look for every picture: a colour-blind-safe colour, marker and dash for each strategy, and no global state.

The colours are those of Okabe and Ito (2008, "Color Universal Design"), told apart under the common colour vision deficiencies;
marker and dash say the same thing once more for a print in grey.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Look:
    """How one strategy looks in every picture.

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
    "saga": Look("#009E73", "s", (0, (6, 1.5))),
    "outbox": Look("#E69F00", "^", (0, (4, 1.5, 1, 1.5))),
    "dual-write": Look("#D55E00", "D", (0, (1.5, 1.2))),
}
"""Looks of the built-in strategies."""

_OTHERS: Final = (
    Look("#CC79A7", "v", "-"),
    Look("#56B4E9", "P", (0, (6, 1.5))),
    Look("#444444", "X", (0, (4, 1.5, 1, 1.5))),
    Look("#8C6D00", "p", (0, (1.5, 1.2))),
    Look("#7E57C2", "h", "-"),
    Look("#A05A2C", "<", (0, (6, 1.5))),
)

FORCED: Final = "#1A1A1A"
FAULT: Final = "#B00020"
GOOD: Final = "#00704E"
REFUSED: Final = "#9A4A00"
MUTED: Final = "#7A7A7A"
IN_DOUBT: Final = "#F5C55A"

_RC: Final[dict[str, Any]] = {
    "figure.dpi": 110,
    "savefig.dpi": 160,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.labelsize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.7,
    "lines.markersize": 6,
    "errorbar.capsize": 3,
    "svg.hashsalt": "simtx",  # the same data gives the same bytes
}


def look(name: str) -> Look:
    """The look of a strategy; a user's own strategy gets one by its name, the same in every process."""
    known = LOOKS.get(name)
    return known if known is not None else _OTHERS[zlib.crc32(name.encode()) % len(_OTHERS)]


def looks(names: Iterable[str]) -> dict[str, Look]:
    """Looks for the strategies of one picture, all different as long as there are enough of them."""
    chosen: dict[str, Look] = {}
    for name in names:
        wanted = look(name)
        if name not in LOOKS:
            position = _OTHERS.index(wanted)
            turns = [_OTHERS[(position + step) % len(_OTHERS)] for step in range(len(_OTHERS))]
            wanted = next((candidate for candidate in turns if candidate not in chosen.values()), wanted)
        chosen[name] = wanted
    return chosen


@contextmanager
def context() -> Iterator[None]:
    """A ``with`` block in which matplotlib draws in the style of simtx; nothing stays changed behind it.

    But for one thing: a notebook's backend turns interactive mode on when the first figure of a kernel is made, and that has to stay.
    """
    import matplotlib as mpl

    settings: Any = _RC  # matplotlib's stubs want each key as a literal
    with mpl.rc_context(settings):
        yield
        interactive = mpl.is_interactive()
    mpl.interactive(interactive)
