"""Durations, rates and probabilities as people write them in files; each error says what would be right."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable
from typing import Any, Final

from simtx.scenario.distributions import duration_text

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_PERIODS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST = 30 * 366 * 86400.0
_NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
_QUANTITY = re.compile(rf"\s*({_NUMBER}|[+-]?nan|[+-]?inf)\s*([^\d\s]*)\s*", re.IGNORECASE)
_RATE = re.compile(rf"\s*({_NUMBER})\s*/\s*(\w+)\s*")
_PERCENTAGE = re.compile(rf"\s*({_NUMBER})\s*%\s*")


def shown(value: Any) -> str:
    """A value as it would be quoted in an error: text in quotes, everything else bare, never long."""
    text = repr(value) if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else f"{value}"
    return text if len(text) <= 60 else text[:57] + "..."


def hint(name: str, known: Iterable[str], *, otherwise: str = "one of ") -> str:
    """``did you mean 'payments'?``, or the list of what there is."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f"did you mean '{near[0]}'?"
    return otherwise + ", ".join(f"'{n}'" for n in names) if names else "there is none"


def is_quantity(text: str) -> bool:
    """Return whether a text looks like a number with something behind it, rather than a name."""
    return _QUANTITY.fullmatch(text) is not None


class Bare:
    """A number that somebody has written where units are asked for: it is none of a duration, unless it is zero."""


class BareInt(Bare, int):
    """A whole one."""


class BareFloat(Bare, float):
    """Any other."""


def bare(value: Any) -> Any:
    """The value with each number in it marked as `Bare`."""
    if isinstance(value, dict):
        return {key: bare(one) for key, one in value.items()}
    if isinstance(value, list):
        return [bare(one) for one in value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return BareInt(value) if isinstance(value, int) else BareFloat(value)


def unmarked(value: Any) -> Any:
    """The value with plain numbers again, its tables and lists copied."""
    kind = type(value)
    if kind is dict:
        return {key: unmarked(one) for key, one in value.items()}
    if kind is list:
        return [unmarked(one) for one in value]
    return int(value) if kind is BareInt else float(value) if kind is BareFloat else value


def duration(value: Any, *, unit_needed: bool = True, zero: bool = True) -> float:
    """Seconds of a duration such as ``"5ms"``, ``"2 min"``, ``"200us"``.

    Args:
        value: Text with a unit; or a number, which is seconds where `unit_needed` is off and it is not `Bare` (0 needs no unit).
        unit_needed: Whether a plain number is refused.
        zero: Whether a duration of zero is allowed.

    Raises:
        ValueError: It is none, is negative, or is not finite.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{shown(value)} is no duration; write one with a unit, such as '5ms'")
    if isinstance(value, str):
        match = _QUANTITY.fullmatch(value)
        if match is None:
            raise ValueError(f"{shown(value)} is no duration; write one with a unit, such as '5ms'")
        number, unit = float(match[1]), match[2]
        if unit not in _UNITS:
            if not unit and number != 0:
                raise ValueError(f"{shown(value)} has no unit; write '{match[1]}ms' or '{match[1]}s'")
            if unit:
                raise ValueError(f"{shown(value)} has an unknown unit '{unit}'; the units are us, ms, s, min, h, d")
        # Divided, not multiplied, below a second: 3 / 1000 is the float nearest to 0.003, 3 * 0.001 is not always.
        factor = _UNITS.get(unit, 1.0)
        seconds = number / round(1 / factor) if factor < 1 else number * factor
    else:
        if (unit_needed or isinstance(value, Bare)) and value != 0 and math.isfinite(value):
            raise ValueError(f"{shown(value)} has no unit; write '{value:g}ms' or '{value:g}s'")
        seconds = float(value)
    if not math.isfinite(seconds):
        raise ValueError(f"{shown(value)} is not finite; write a duration such as '5ms'")
    if seconds < 0:
        raise ValueError(f"{shown(value)} is negative; a duration is at least 0")
    if seconds > _LONGEST:
        raise ValueError(f"{shown(value)} is too long; a duration is at most 30 years")
    if seconds == 0 and not zero:
        raise ValueError(f"{shown(value)} is too short; it must be above 0")
    return seconds


def rate(value: Any, *, zero: bool = False) -> float:
    """Events a second: a number, or text such as ``"300/s"``, ``"20/min"``.

    Raises:
        ValueError: It is none, is negative or zero (unless `zero`), or is not finite.
    """
    if isinstance(value, str):
        match = _RATE.fullmatch(value)
        if match is None:
            raise ValueError(f"{shown(value)} is no rate; write a number a second, or '300/s', '20/min'")
        if match[2] not in _PERIODS:
            raise ValueError(f"{shown(value)} has an unknown unit '{match[2]}'; the units are /s, /min, /h, /d")
        number = float(match[1]) / _PERIODS[match[2]]
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{shown(value)} is no rate; write a number a second, or '300/s', '20/min'")
    else:
        number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{shown(value)} is not finite; write a rate such as '300/s'")
    if number < 0 or (number == 0 and not zero):
        raise ValueError(
            f"{shown(value)} is {'negative' if number < 0 else 'zero'}; a rate is {'at least' if zero else 'above'} 0"
        )
    return number


def probability(value: Any) -> float:
    """A probability: a number from 0 to 1, or a percentage such as ``"0.5%"``.

    Raises:
        ValueError: It is none, or outside of 0 to 1.
    """
    match = _PERCENTAGE.fullmatch(value) if isinstance(value, str) else None
    if match is None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise ValueError(
            f"{shown(value)} is no probability; write a number from 0 to 1, or a percentage such as '0.5%'"
        )
    chance = float(match[1]) / 100 if match is not None else float(value)
    if not 0 <= chance <= 1:
        raise ValueError(f"{shown(value)} is no probability; it must be from 0 to 1")
    return chance


def number(value: Any) -> float:
    """A finite number.

    Raises:
        ValueError: It is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{shown(value)} is no number")
    if not math.isfinite(value):
        raise ValueError(f"{shown(value)} is not finite")
    return float(value)


MOST: Final = 10**12
"""Largest whole number of a scenario: far beyond what a run can hold, and exact in floating point."""


def count(value: Any, *, least: int = 0) -> int:
    """A whole number of at least `least`, and at most `MOST`.

    Raises:
        ValueError: It is none.
    """
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or value != value
        or math.isinf(value)
        or value != int(value)
    ):
        raise ValueError(f"{shown(value)} is no whole number")
    if value < least:
        raise ValueError(f"{shown(value)} is too small; it must be at least {least}")
    if value > MOST:
        raise ValueError(f"{shown(value)} is too large; it must be at most {MOST:.0e}")
    return int(value)


__all__ = [
    "MOST",
    "Bare",
    "bare",
    "count",
    "duration",
    "duration_text",
    "hint",
    "is_quantity",
    "number",
    "probability",
    "rate",
    "shown",
    "unmarked",
]
