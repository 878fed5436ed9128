"""Pictures for a page whose colours are not known when they are drawn: SVG that takes ink and paper from the page, in light and in dark."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from html import escape
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure

from simtx.report import style

INK: Final = "#010203"
"""Stands for the colour of words while a picture is drawn."""
_PAPER: Final = "#fefefd"
_INK_TEXT: Final = "var(--jp-content-font-color1, currentColor)"
_MUTED: Final = "var(--jp-content-font-color2, currentColor)"
_LINES: Final = "var(--jp-border-color2, #9996)"
_SHADE: Final = "var(--jp-layout-color2, #9993)"
_BEHIND: Final = "var(--jp-layout-color1, transparent)"
_GREY: Final = 6
"""Largest distance between red, green and blue of a grey, of 255."""
_FAULT: Final = f"var(--jp-error-color1, {style.FAULT})"


def svg(draw: Callable[[], Figure], title: str) -> str:
    """A picture as SVG, as wide as the page allows.

    Args:
        draw: Draws it; it is called with settings that let all that is no data take the colours of the page.
        title: What it shows, for who cannot see it.
    """
    looks: Any = {
        **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
        "axes.facecolor": _PAPER,
        "figure.facecolor": _PAPER,
        "savefig.facecolor": "auto",
        "svg.fonttype": "none",
    }
    with mpl.rc_context(looks):
        drawn = draw()
        written = io.StringIO()
        drawn.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    text = written.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub("#[0-9a-fA-F]{6}", _on_page, text)
    head, rest = text[: text.index(">")], text[text.index(">") + 1 :]
    head = re.sub(r'\s(?:width|height)="[^"]*"', "", head)
    return f'{head} role="img" style="width:100%;height:auto"><title>{escape(title)}</title>{rest}'


def _on_page(found: re.Match[str]) -> str:
    """Substitute for a colour: of greys, what the page has for words, lines, shades and paper; any other stays."""
    colour = found[0].lower()
    if colour in (INK, _PAPER):
        return _INK_TEXT if colour == INK else "transparent"
    if colour == style.FAULT.lower():
        return _FAULT
    parts = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
    if max(parts) - min(parts) > _GREY:
        return colour
    ranks = ((60, _INK_TEXT), (180, _MUTED), (230, _LINES), (253, _SHADE))
    return next((instead for most, instead in ranks if max(parts) <= most), _BEHIND)
