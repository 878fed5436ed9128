"""Parameters of the functions that draw: what they mean, and that an argument that is wrong is one clear line in every picture."""

from __future__ import annotations

import inspect
import math
import re
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
"""Checks by the name of a parameter: what it must be."""

WORDS: Final[dict[str, str]] = {
    "runs": "One run, or several on the same scenario.",
    "column": "``decision_ms``, ``latency_ms``, ``settle_ms``, ``window_ms`` or another duration of `Run.transactions`.",
    "replication": "Which one is played again.",
    "ax": "Where to draw; of several panels the frame, which has them as `child_axes`; None: in a new figure.",
    "figsize": "Inches of a new figure.",
    "confidence": "Coverage of the intervals, between 0 and 1.",
}
"""Meanings by the name of a parameter, unless the documentation of a picture says otherwise."""


def checks_of(function: Callable[..., Any]) -> dict[str, Check]:
    """The checks of the arguments of a function that draws."""
    return {name: CHECKS[name] for name in inspect.signature(function).parameters if name in CHECKS}


def told(function: Callable[..., Any]) -> str:
    """Documentation of a function that draws, completed by what is known of its parameters."""
    text = inspect.getdoc(function) or ""
    head, *sections = re.split(r"\n\n(?=(?:Args|Returns|Raises):\n)", text)
    given = sections.pop(0) if sections and sections[0].startswith("Args:") else "Args:"
    missing = [name for name in inspect.signature(function).parameters if f"\n    {name}: " not in given]
    lines = [f"    {name}: {WORDS[name]}" for name in missing if name in WORDS]
    return "\n\n".join([head, "\n".join([given, *lines]), *sections]) if lines else text
