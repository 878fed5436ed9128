"""The first line of a verdict: what is wrong shows at first sight, by colour, weight and a mark that a print in grey keeps."""

from __future__ import annotations

from html import escape
from typing import Final

_LOOKS: Final = {True: ("#00704E", "✓"), False: ("#B00020", "✗"), None: ("#9A4A00", "?")}
_TERMINAL: Final = {True: "green", False: "red", None: "yellow"}


def banner(good: bool | None, text: str) -> str:
    """The line as HTML: green and a tick, red and a cross, or brown and a question mark where it is open."""
    colour, mark = _LOOKS[good]
    return (
        f'<p style="border-left:6px solid {colour};padding:3px 10px;margin:4px 0">'
        f'<b style="color:{colour}">{mark} {escape(text)}</b></p>'
    )


def marked(good: bool | None, text: str) -> str:
    """A few words as HTML, in the colour of what they say, bold if it is bad."""
    colour, _ = _LOOKS[good]
    weight = ";font-weight:bold" if good is False else ""
    return f'<span style="color:{colour}{weight}">{escape(text)}</span>'


def terminal_colour(good: bool | None) -> str:
    """The colour of the line in a terminal."""
    return _TERMINAL[good]
