"""Experiments: many runs, compared with intervals.

Names are imported when they are first used: a process that plays runs for others needs none of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simtx.experiments.comparison import Comparison, Result
    from simtx.experiments.decision import Decision
    from simtx.experiments.stopping import Apart, Best, Precision
    from simtx.metrics.intervals import Interval, interval, paired, ratio

__all__ = [
    "Apart",
    "Best",
    "Comparison",
    "Decision",
    "Interval",
    "Precision",
    "Result",
    "interval",
    "paired",
    "ratio",
]

_HOMES = {
    "simtx.experiments.comparison": ("Comparison", "Result"),
    "simtx.experiments.decision": ("Decision",),
    "simtx.experiments.stopping": ("Apart", "Best", "Precision"),
    "simtx.metrics.intervals": ("Interval", "interval", "paired", "ratio"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            found = getattr(import_module(home), name)
            globals()[name] = found
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
