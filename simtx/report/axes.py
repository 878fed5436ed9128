"""Axes with plain numbers, logarithmic where values differ much."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from matplotlib.ticker import FuncFormatter, NullFormatter

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def short(value: float, _position: object = None) -> str:
    """A number beside a point or at a tick."""
    if value == 0 or math.isnan(value):
        return "0" if value == 0 else ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def logarithmic(ax: Axes, values: Iterable[float], axis: str = "y") -> None:
    """A logarithmic axis with plain numbers if the values differ much; linear around zero if one of them is zero."""
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
    chosen.set_major_formatter(FuncFormatter(short))
    if max(positive) > 50 * min(positive):
        chosen.set_minor_formatter(NullFormatter())
    else:
        chosen.set_minor_formatter(FuncFormatter(lambda value, _: short(value) if f"{value:e}"[0] in "25" else ""))
