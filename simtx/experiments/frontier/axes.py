"""Axes of a map: what they are called, where they begin and end, and how a place on them is written."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from simtx.errors import ScenarioError
from simtx.experiments.frontier.gp import Floats


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis.

    Attributes:
        name: Of the parameter or path that varies along it.
        low: Where it begins, in its unit.
        high: Where it ends.
        unit: Such as ``ms`` or ``/s``; empty: none.
        scale: ``linear``, or ``log``: equal distances are equal ratios.
        whole: Whether only whole numbers can be simulated.
        factor: What a value is multiplied with to become that of a scenario: 0.001 for an axis in milliseconds.
    """

    name: str
    low: float
    high: float
    unit: str = ""
    scale: Literal["linear", "log"] = "linear"
    whole: bool = False
    factor: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ScenarioError(f"it goes from {self.low:g} to {self.high:g}; it needs two different ends", self.name)
        if self.scale == "log" and self.low <= 0:
            raise ScenarioError(f"it begins at {self.low:g}; a logarithmic axis begins above 0", self.name)

    def value(self, place: Floats) -> Floats:
        """Values at places between 0 and 1."""
        place = np.asarray(place, dtype=float)
        if self.scale == "log":
            result: Floats = self.low * (self.high / self.low) ** place
        else:
            result = self.low + (self.high - self.low) * place
        return result

    def place(self, value: Floats) -> Floats:
        """Places between 0 and 1 of values."""
        value = np.asarray(value, dtype=float)
        if self.scale == "log":
            result: Floats = np.log(value / self.low) / math.log(self.high / self.low)
        else:
            result = (value - self.low) / (self.high - self.low)
        return result

    def snap(self, place: Floats) -> Floats:
        """The nearest places whose values are whole, or round: a hundredth of the axis, or three significant digits if it is logarithmic."""
        values = np.clip(self.value(place), self.low, self.high)
        if self.whole:
            step = np.ones_like(values)
        elif self.scale == "log":
            step = 10.0 ** (np.floor(np.log10(values)) - 2)
        else:
            step = np.full_like(values, 10.0 ** (math.floor(math.log10(self.high - self.low)) - 2))
        rounded = np.clip(np.rint(values / step) * step, self.low, self.high)
        return np.clip(self.place(rounded), 0.0, 1.0)

    def text(self, value: float, digits: int = 3) -> str:
        """A value with its unit: ``20 ms``, ``60/s``."""
        number = f"{value:.{digits}g}" if abs(value) < 10**digits else f"{value:,.0f}"
        return f"{number}{self.unit}" if self.unit.startswith("/") else f"{number} {self.unit}".rstrip()

    @property
    def label(self) -> str:
        """Label of the axis in a picture: ``rtt [ms]``."""
        unit = f"1{self.unit}" if self.unit.startswith("/") else self.unit
        return f"{self.name} [{unit}]" if unit else self.name


def snap_all(axes: tuple[Axis, ...], points: Floats) -> Floats:
    """The nearest points of the unit cube that can be simulated."""
    points = np.atleast_2d(points)
    return np.column_stack([axis.snap(points[:, position]) for position, axis in enumerate(axes)])
