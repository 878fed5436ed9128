"""Checks what is given to the functions that draw: an argument that is wrong is one clear line in every picture."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from simtx.arguments import Check, has, instance, listed, number, optional, text

SMALLEST: Final = (3.0, 2.0)
"""Inches of the smallest figure in which a picture can be read."""
_LARGEST: Final = 100.0


def inches(value: Any) -> str:
    """Width and height of a figure."""
    least, most = SMALLEST, _LARGEST
    said = (
        f"must be a width of {least[0]:g} to {most:g} and a height of {least[1]:g} to {most:g} inches, such as (8, 4.5)"
    )
    try:
        width, height = value
        good = not isinstance(value, str | bytes | Mapping | set) and all(
            not isinstance(one, bool | str | bytes) and math.isfinite(one) for one in (width, height)
        )
        return "" if good and least[0] <= width <= most and least[1] <= height <= most else said
    except (TypeError, ValueError):
        return said


def _one_or_several(check: Check, what: str) -> Check:
    several = listed(check, what, least=1)

    def found(value: Any) -> str:
        return "" if not check(value) or not several(value) else f"must be one of {what}, or a list of them"

    return found


_RUN: Final = has("transactions", "timeline", "provenance", said="a run, as `simtx.simulate` returns it")
_RUNS: Final = _one_or_several(_RUN, "the runs that `simtx.simulate` returns")
_COMPARISON: Final = has("interval", "strategies", "frame", "pairs", said="a comparison, as `simtx.compare` returns it")
_NAME: Final = optional(text)
_LEVEL: Final = number(above=0, below=1)

CHECKS: Final[dict[str, Check]] = {
    "run": _RUNS,
    "runs": _RUNS,
    "comparison": _COMPARISON,
    "result": lambda value: (
        "" if not _COMPARISON(value) or not _RUNS(value) else "must be a comparison or a run, or a list of runs"
    ),
    "sweep": has("cells", "interval", "strategies", said="a sweep, as `simtx.sweep` returns it"),
    "frontier": has("axes", "sites", said="a frontier, as `sweep.frontier` returns it"),
    "found": has("question", "method", said="a study, as `simtx.sensitivity` returns it"),
    "scenario": has("transaction", "services", said="a scenario, as `simtx.load` returns it"),
    "trace": has("of", "frame", said="an event log, as `run.trace` is"),
    "ax": optional(has("transAxes", "get_figure", said="Axes of matplotlib"), "None for a new figure"),
    "figsize": optional(inches, "None for the usual size"),
    "confidence": _LEVEL,
    "column": text,
    "metric": text,
    "metrics": optional(listed(text, "names of metrics", least=1), "None for the usual ones"),
    "strategies": optional(listed(text, "labels of strategies", least=1), "None for all"),
    "baseline": _NAME,
    "role": _NAME,
    "x": _NAME,
    "y": _NAME,
    "panels": _NAME,
    "rate": _NAME,
    "at": optional(instance(Mapping, "values by parameter, such as {'workload.rate': 100}"), "None"),
}
"""By the name of a parameter: what it must be."""


def checks_of(function: Callable[..., Any]) -> dict[str, Check]:
    """The checks of the arguments of a function that draws."""
    return {name: CHECKS[name] for name in inspect.signature(function).parameters if name in CHECKS}
