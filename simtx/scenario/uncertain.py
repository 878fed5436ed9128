"""A figure of a scenario that nobody knows exactly, and how far off it may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from simtx.scenario.distributions import Distribution


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a scenario.

    Attributes:
        path: Where it is, as `Scenario.replace` takes it.
        value: As it is: a number in seconds, a second or without unit, or a distribution.
        notation: How it is written.
    """

    path: str
    value: Any
    notation: str

    @property
    def mean(self) -> float:
        """The number, or the mean of the distribution."""
        return self.value.mean() if isinstance(self.value, Distribution) else float(self.value)

    def times(self, factor: float) -> Any:
        """The figure times a factor: a whole number stays one, a probability does not exceed 1."""
        if isinstance(self.value, Distribution):
            return self.value.scaled(factor)
        value = float(self.value) * factor
        if self.notation.startswith("whole"):
            return max(round(value), 1 if "1" in self.notation else 0)
        return min(value, 1.0) if self.notation == "probability" else value


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """Uncertainty of some figures, which are off together.

    Attributes:
        path: Path or pattern, as it was written.
        figures: The figures that it fits.
        low: Factor at the low end, below 1.
        high: Factor at the high end, above 1.
    """

    path: str
    figures: tuple[Figure, ...]
    low: float
    high: float

    def factor(self, position: float) -> float:
        """Factor of the figures: at -1 the low end, at 0 nothing changes, at 1 the high end; further out, at least a hundredth."""
        distance = (self.high - 1) if position >= 0 else (1 - self.low)
        return max(1 + position * distance, 0.01)

    def possible(self, position: float) -> bool:
        """Return whether the figures can be there: above 0, a whole number from 1 not below 1, a probability not above 1."""
        if not abs(position) < float("inf"):
            return False
        distance = (self.high - 1) if position >= 0 else (1 - self.low)
        factor = 1 + position * distance
        least = 1.0 if self.notation.startswith("whole") else 0.0
        most = 1.0 if self.notation == "probability" else float("inf")
        return factor > 0.01 and all(least <= one.mean * factor <= most for one in self.figures)

    def changes(self, position: float) -> dict[str, Any]:
        """The changes for `Scenario.replace` at a position between the ends."""
        factor = self.factor(position)
        return {one.path: one.times(factor) for one in self.figures}

    def mean(self, position: float) -> float:
        """The first figure (of a distribution: its mean) at a position."""
        return self.figures[0].mean * self.factor(position)

    @property
    def notation(self) -> str:
        """Notation of the first figure."""
        return self.figures[0].notation

    def describe(self) -> str:
        """Both ends as shares: ``±20 %``, ``-50 % to +200 %``."""
        down, up = 100 * (1 - self.low), 100 * (self.high - 1)
        return f"±{up:.3g} %" if abs(down - up) < 1e-9 else f"-{down:.3g} % to +{up:.3g} %"
