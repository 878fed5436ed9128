"""Thresholds such as ``latency_p99_ms < 200``: met, not met, or not known yet."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from simtx.errors import ScenarioError
from simtx.experiments.pairs import replications_to_tell
from simtx.metrics.intervals import kind_of

if TYPE_CHECKING:
    from simtx.metrics.intervals import Interval

NO_THRESHOLD: Final = "none"
Standing = Literal["met", "not met", "undecided"]

_FORM: Final = re.compile(r"^\s*(<=|>=|==|<|>|≤|≥|=)\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*(%?)\s*$")
_SIGNS: Final = {"≤": "<=", "≥": ">=", "=": "=="}


@dataclass(frozen=True, slots=True)
class Threshold:
    """A limit of the mean of a metric over all runs that there could be.

    Attributes:
        metric: Its name.
        sign: ``<``, ``<=``, ``==``, ``>=`` or ``>``.
        limit: In the unit of the metric.
    """

    metric: str
    sign: str
    limit: float

    def __str__(self) -> str:
        return f"{self.metric} {self.sign} {self.limit:g}"

    def holds(self, value: float) -> bool:
        """Return whether a value is on the right side."""
        if self.sign == "==":
            return value == self.limit
        low = value < self.limit if self.sign == "<" else value <= self.limit
        high = value > self.limit if self.sign == ">" else value >= self.limit
        return low if self.sign.startswith("<") else high

    @property
    def possible(self) -> bool:
        """Return whether there are values on both sides of the limit, or at it: else every run meets it, or none can."""
        low, high = possible(self.metric)
        never = (self.sign == "<" and self.limit == low) or (self.sign == ">" and self.limit == high)
        return low <= self.limit <= high and not never

    def judged(self, one: Interval, alpha: float) -> tuple[Standing, float, str]:
        """Verdict of an interval about it.

        Args:
            one: Interval of the mean.
            alpha: One minus its confidence.

        Returns:
            The standing; the replications in addition that would settle it if it is undecided; and what has to be said with it, or nothing.
        """
        if one.n == 0 or math.isnan(one.mean):
            return "undecided", math.inf, "no value"
        if one.infinite:
            standing: Standing = "met" if self.holds(one.mean) else "not met"
            return standing, 0.0, f"beyond all bounds in {one.infinite} of {one.n} runs"
        if one.never:
            return self._never(one)
        if one.n < 2:
            return "undecided", math.inf, "one run"
        if self.sign == "==":
            same = one.low == one.high == self.limit
            return ("met", 0.0, "in every run") if same else self._unequal(one)
        sides = self.holds(one.low), self.holds(one.high)
        if all(sides):
            return "met", 0.0, ""
        if not any(sides):
            return "not met", 0.0, ""
        return "undecided", replications_to_tell(one, abs(one.mean - self.limit), alpha), ""

    def _never(self, one: Interval) -> tuple[Standing, float, str]:
        """Judge what was seen in no run, or in every one: it has a bound on the share of runs, and no mean of its own beside the one that was seen."""
        if not self.holds(one.mean):
            return "not met", 0.0, f"in each of {one.n} runs"
        others = math.ceil(one.n * (one.high if not one.mean else 1 - one.low) - 1e-9)
        return "met", 0.0, f"in each of {one.n} runs; in as many others it may fail in {others} at most"

    def _unequal(self, one: Interval) -> tuple[Standing, float, str]:
        """Equality is refuted by a single run of a count, and by an interval of anything else."""
        if self.limit in (0.0, 1.0) and one.mean != self.limit:
            return "not met", 0.0, "not in every run"
        outside = not one.low <= self.limit <= one.high
        return ("not met", 0.0, "") if outside else ("undecided", math.inf, "a mean is never exactly this")


Where = Mapping[str, str] | Sequence[str] | str


def thresholds(where: Where | None) -> list[Threshold]:
    """Thresholds as they are written: ``{"latency_p99_ms": "< 200"}``, ``["latency_p99_ms < 200", ...]`` or one text; ``none`` is none.

    Raises:
        ScenarioError: One of them is none.
    """
    if where is None:
        return []
    if isinstance(where, Mapping):
        return [_threshold(str(metric), str(limit), f"{metric} {limit}") for metric, limit in where.items()]
    found = []
    for text in [where] if isinstance(where, str) else where:
        if text == NO_THRESHOLD:
            continue
        metric, _, limit = str(text).strip().partition(" ")
        match = re.match(r"^(\w+)\s*(.*)$", str(text).strip())
        found.append(_threshold(match[1], match[2], str(text)) if match else _threshold(metric, limit, str(text)))
    return found


def _threshold(metric: str, limit: str, text: str) -> Threshold:
    match = _FORM.match(limit)
    try:
        number = float(match[2]) if match else math.nan
    except ValueError:
        number = math.nan
    if match is None or math.isnan(number):
        raise ScenarioError(
            f"'{text}' is no threshold; write 'latency_p99_ms < 200' or 'missing_effects == 0'", "where"
        )
    found = Threshold(metric, _SIGNS.get(match[1], match[1]), number / 100 if match[3] else number)
    if not found.possible:
        low, high = possible(metric)
        said = f"{metric} is {'a share ' if high == 1 else ''}{f'from {low:g} to {high:g}' if high < math.inf else f'never below {low:g}'}"
        meant = f"; write '{metric} {found.sign} {number:g} %'" if high == 1 < number <= 100 and not match[3] else ""
        raise ScenarioError(f"'{text}' says nothing: {said}{meant}", "where")
    return found


def possible(metric: str) -> tuple[float, float]:
    """The least and the most that a metric can be."""
    if metric.endswith("_per_million"):
        return 0.0, 1e6
    kind = kind_of(metric)
    if kind == "share":
        return 0.0, 1.0
    return (0.0 if kind != "real" or metric.endswith("_per_s") else -math.inf), math.inf
