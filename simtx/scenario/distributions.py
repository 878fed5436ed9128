"""Probability distributions of durations and amounts, by their names in the field.

Each one is an immutable value with an exact mean, variance, distribution function and quantile function, and draws variates in blocks.
They are unit-agnostic: a duration is in seconds, an amount in whatever the amount is counted in. Parameters are checked when a
distribution is built, never when it is drawn from.
"""

# ruff: noqa: D102 - the methods are documented once, on the base class

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import TYPE_CHECKING, Self, TypeAlias

from simtx.errors import ScenarioError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

_NORMAL = NormalDist()
_WIDEST = 10.0  # sigma of a lognormal: beyond, its mean is not a number that means anything
_BISECTIONS = 200  # far more than the 64 bits of a float can tell apart


class Distribution(ABC):
    """Base of all distributions: non-negative in every use that simtx makes of them, although `Uniform` does not insist."""

    __slots__ = ()

    @abstractmethod
    def mean(self) -> float:
        """Expected value, exact."""

    @abstractmethod
    def variance(self) -> float:
        """Variance, exact."""

    @abstractmethod
    def cdf(self, x: float) -> float:
        """Probability of a value of at most `x`."""

    @abstractmethod
    def quantile(self, q: float) -> float:
        """The smallest value that is exceeded with probability of at most 1 - q.

        Raises:
            ScenarioError: `q` is not between 0 and 1.
        """

    @abstractmethod
    def sample(self, rng: np.random.Generator, n: int) -> Floats:
        """Draw `n` independent variates from the given stream."""

    @abstractmethod
    def scaled(self, factor: float) -> Distribution:
        """The distribution of `factor` times the variable; `factor` is positive."""

    @abstractmethod
    def describe(self, unit: str = "s") -> str:
        """A few words for a table; with unit ``s`` values are shown as durations, otherwise as numbers followed by the unit."""

    def support(self) -> tuple[float, float]:
        """Lower and upper end of the values."""
        return self.quantile(0.0), self.quantile(1.0)


def _positive(name: str, value: float, *, zero: bool = False) -> None:
    if not math.isfinite(value) or value < 0 or (value == 0 and not zero):
        raise ScenarioError(f"{name} must be a finite number {'of at least' if zero else 'above'} 0, not {value:g}")


def _spread(sigma: float) -> None:
    if not 0 <= sigma <= _WIDEST:
        raise ScenarioError(f"sigma must be a number from 0 to {_WIDEST:g}, not {sigma:g}")


def _probability(q: float) -> None:
    if not 0.0 <= q <= 1.0:
        raise ScenarioError(f"a quantile is asked for at a probability between 0 and 1, not {q:g}")


def duration_text(seconds: float) -> str:
    """A duration in the unit that reads best: ``2.5 ms``, ``30 s``, ``2 min``."""
    if seconds == 0:
        return "0"
    for size, unit in ((3600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if abs(seconds) >= size and (size < 60 or seconds % size == 0):
            return f"{seconds / size:.4g} {unit}"
    return f"{seconds / 1e-9:.4g} ns"


def _text(value: float, unit: str) -> str:
    if unit == "s":
        return duration_text(value)
    return f"{value:.6g} {unit}".rstrip()


@dataclass(frozen=True, slots=True)
class Constant(Distribution):
    """Always the same value."""

    value: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ScenarioError(f"value must be a finite number, not {self.value}")

    def mean(self) -> float:
        return self.value

    def variance(self) -> float:
        return 0.0

    def cdf(self, x: float) -> float:
        return 1.0 if x >= self.value else 0.0

    def quantile(self, q: float) -> float:
        _probability(q)
        return self.value

    def sample(self, rng: np.random.Generator, n: int) -> Floats:  # noqa: ARG002 - nothing is random here
        import numpy as np

        return np.full(n, self.value)

    def scaled(self, factor: float) -> Constant:
        return Constant(self.value * factor)

    def describe(self, unit: str = "s") -> str:
        return _text(self.value, unit)


@dataclass(frozen=True, slots=True)
class Exponential(Distribution):
    """Memoryless, with the given average."""

    average: float

    def __post_init__(self) -> None:
        _positive("average", self.average)

    def mean(self) -> float:
        return self.average

    def variance(self) -> float:
        return self.average**2

    def cdf(self, x: float) -> float:
        return -math.expm1(-x / self.average) if x > 0 else 0.0

    def quantile(self, q: float) -> float:
        _probability(q)
        return math.inf if q == 1 else -self.average * math.log1p(-q)

    def sample(self, rng: np.random.Generator, n: int) -> Floats:
        return rng.standard_exponential(n) * self.average

    def scaled(self, factor: float) -> Exponential:
        return Exponential(self.average * factor)

    def describe(self, unit: str = "s") -> str:
        return f"exponential, average {_text(self.average, unit)}"


@dataclass(frozen=True, slots=True)
class Lognormal(Distribution):
    """exp of a normal variable: given by its median and by `sigma`, the standard deviation of the logarithm."""

    median: float
    sigma: float

    def __post_init__(self) -> None:
        _positive("median", self.median)
        _spread(self.sigma)

    @classmethod
    def of_mean(cls, mean: float, sigma: float) -> Self:
        """The lognormal distribution with this mean."""
        _spread(sigma)
        return cls(mean / math.exp(sigma**2 / 2), sigma)

    @classmethod
    def of_quantile(cls, q: float, value: float, sigma: float) -> Self:
        """The lognormal distribution whose `q` quantile is `value`."""
        _spread(sigma)
        return cls(value / math.exp(sigma * _NORMAL.inv_cdf(q)), sigma)

    @classmethod
    def of_quantiles(cls, p50: float, p99: float) -> Self:
        """The lognormal distribution with this median and this 99 % quantile."""
        _positive("p50", p50)
        if not p99 >= p50:
            raise ScenarioError(f"p99 = {p99!r} must not be below p50 = {p50!r}")
        return cls(p50, math.log(p99 / p50) / _NORMAL.inv_cdf(0.99))

    def mean(self) -> float:
        return self.median * math.exp(self.sigma**2 / 2)

    def variance(self) -> float:
        return self.median**2 * math.exp(self.sigma**2) * math.expm1(self.sigma**2)

    def cdf(self, x: float) -> float:
        if x <= 0:
            return 0.0
        if self.sigma == 0:
            return 1.0 if x >= self.median else 0.0
        return 0.5 * math.erfc(-math.log(x / self.median) / (self.sigma * math.sqrt(2)))

    def quantile(self, q: float) -> float:
        _probability(q)
        if self.sigma == 0:
            return self.median
        if q in (0.0, 1.0):
            return 0.0 if q == 0 else math.inf
        return self.median * math.exp(self.sigma * _NORMAL.inv_cdf(q))

    def sample(self, rng: np.random.Generator, n: int) -> Floats:
        import numpy as np

        draws: Floats = np.exp(rng.standard_normal(n) * self.sigma) * self.median
        return draws

    def scaled(self, factor: float) -> Lognormal:
        return Lognormal(self.median * factor, self.sigma)

    def describe(self, unit: str = "s") -> str:
        return f"lognormal, median {_text(self.median, unit)}, sigma {self.sigma:g}"


@dataclass(frozen=True, slots=True)
class ShiftedLognormal(Distribution):
    """A floor plus a lognormal tail: what a network path looks like."""

    shift: float
    median: float
    sigma: float

    def __post_init__(self) -> None:
        _positive("shift", self.shift, zero=True)
        _positive("median", self.median)
        _spread(self.sigma)

    @classmethod
    def of_mean(cls, mean: float, sigma: float, floor: float) -> Self:
        """The one with this mean whose floor is the share `floor` of the mean."""
        _spread(sigma)
        return cls(mean * floor, mean * (1 - floor) / math.exp(sigma**2 / 2), sigma)

    def _tail(self) -> Lognormal:
        return Lognormal(self.median, self.sigma)

    def mean(self) -> float:
        return self.shift + self._tail().mean()

    def variance(self) -> float:
        return self._tail().variance()

    def cdf(self, x: float) -> float:
        return self._tail().cdf(x - self.shift)

    def quantile(self, q: float) -> float:
        return self.shift + self._tail().quantile(q)

    def sample(self, rng: np.random.Generator, n: int) -> Floats:
        return self._tail().sample(rng, n) + self.shift

    def scaled(self, factor: float) -> ShiftedLognormal:
        return ShiftedLognormal(self.shift * factor, self.median * factor, self.sigma)

    def describe(self, unit: str = "s") -> str:
        return f"{_text(self.shift, unit)} + lognormal, median {_text(self.median, unit)}, sigma {self.sigma:g}"


@dataclass(frozen=True, slots=True)
class Uniform(Distribution):
    """Equally likely everywhere between two ends."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low <= self.high):
            raise ScenarioError(f"low must be finite and not above high, not low = {self.low:g}, high = {self.high:g}")

    def mean(self) -> float:
        return (self.low + self.high) / 2

    def variance(self) -> float:
        return (self.high - self.low) ** 2 / 12

    def cdf(self, x: float) -> float:
        if x >= self.high:
            return 1.0
        return 0.0 if x <= self.low else (x - self.low) / (self.high - self.low)

    def quantile(self, q: float) -> float:
        _probability(q)
        return self.low + q * (self.high - self.low)

    def sample(self, rng: np.random.Generator, n: int) -> Floats:
        return rng.random(n) * (self.high - self.low) + self.low

    def scaled(self, factor: float) -> Uniform:
        return Uniform(self.low * factor, self.high * factor)

    def describe(self, unit: str = "s") -> str:
        return f"uniform, {_text(self.low, unit)} to {_text(self.high, unit)}"


@dataclass(frozen=True, slots=True)
class Erlang(Distribution):
    """Sum of `shape` equal exponential phases, with the given average of the whole."""

    shape: int
    average: float

    def __post_init__(self) -> None:
        if self.shape < 1 or self.shape != int(self.shape):
            raise ScenarioError(f"shape must be a whole number of at least 1, not {self.shape:g}")
        _positive("average", self.average)

    def mean(self) -> float:
        return self.average

    def variance(self) -> float:
        return self.average**2 / self.shape

    def cdf(self, x: float) -> float:
        from scipy.special import gammainc

        return float(gammainc(self.shape, self.shape * x / self.average)) if x > 0 else 0.0

    def quantile(self, q: float) -> float:
        _probability(q)
        from scipy.special import gammaincinv

        return float(gammaincinv(self.shape, q)) * self.average / self.shape

    def sample(self, rng: np.random.Generator, n: int) -> Floats:
        return rng.standard_gamma(self.shape, n) * (self.average / self.shape)

    def scaled(self, factor: float) -> Erlang:
        return Erlang(self.shape, self.average * factor)

    def describe(self, unit: str = "s") -> str:
        return f"Erlang-{self.shape}, average {_text(self.average, unit)}"


@dataclass(frozen=True, slots=True)
class Hyperexponential(Distribution):
    """Two exponential branches with balanced means: given by its average and its squared coefficient of variation (at least 1)."""

    average: float
    scv: float

    def __post_init__(self) -> None:
        _positive("average", self.average)
        if not (math.isfinite(self.scv) and self.scv >= 1):
            raise ScenarioError(f"scv, the squared coefficient of variation, must be at least 1, not {self.scv:g}")

    def branches(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Probability and average of either branch."""
        p = 0.5 * (1 + math.sqrt((self.scv - 1) / (self.scv + 1)))
        return (p, self.average / (2 * p)), (1 - p, self.average / (2 * (1 - p)))

    def mean(self) -> float:
        return self.average

    def variance(self) -> float:
        return self.scv * self.average**2

    def cdf(self, x: float) -> float:
        return sum(-p * math.expm1(-x / average) for p, average in self.branches()) if x > 0 else 0.0

    def quantile(self, q: float) -> float:
        _probability(q)
        if q == 1:
            return math.inf
        (_, fast), (_, slow) = self.branches()
        return _invert(self.cdf, q, Exponential(fast).quantile(q), Exponential(slow).quantile(q))

    def sample(self, rng: np.random.Generator, n: int) -> Floats:
        import numpy as np

        (p, fast), (_, slow) = self.branches()
        draws: Floats = rng.standard_exponential(n) * np.where(rng.random(n) < p, fast, slow)
        return draws

    def scaled(self, factor: float) -> Hyperexponential:
        return Hyperexponential(self.average * factor, self.scv)

    def describe(self, unit: str = "s") -> str:
        return f"hyperexponential, average {_text(self.average, unit)}, scv {self.scv:g}"


@dataclass(frozen=True, slots=True)
class Empirical(Distribution):
    """The listed values, equally likely; repeat a value to give it more weight."""

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise ScenarioError("values must hold at least one number")
        if not all(math.isfinite(value) for value in self.values):
            raise ScenarioError("values must be finite numbers")

    def mean(self) -> float:
        return math.fsum(self.values) / len(self.values)

    def variance(self) -> float:
        mean = self.mean()
        return math.fsum((value - mean) ** 2 for value in self.values) / len(self.values)

    def cdf(self, x: float) -> float:
        return sum(value <= x for value in self.values) / len(self.values)

    def quantile(self, q: float) -> float:
        _probability(q)
        ordered = sorted(self.values)
        return ordered[max(0, math.ceil(q * len(ordered) - 1e-9) - 1)]

    def sample(self, rng: np.random.Generator, n: int) -> Floats:
        return _array(self.values)[rng.integers(0, len(self.values), n)]

    def scaled(self, factor: float) -> Empirical:
        return Empirical(tuple(value * factor for value in self.values))

    def describe(self, unit: str = "s") -> str:
        return f"{len(self.values)} listed values, average {_text(self.mean(), unit)}"


@dataclass(frozen=True, slots=True)
class Shifted(Distribution):
    """Another distribution, later by a fixed time: a service time with an overhead that every call has."""

    base: Distribution
    shift: float

    def __post_init__(self) -> None:
        _positive("shift", self.shift, zero=True)

    def mean(self) -> float:
        return self.base.mean() + self.shift

    def variance(self) -> float:
        return self.base.variance()

    def cdf(self, x: float) -> float:
        return self.base.cdf(x - self.shift)

    def quantile(self, q: float) -> float:
        return self.base.quantile(q) + self.shift

    def support(self) -> tuple[float, float]:
        low, high = self.base.support()
        return low + self.shift, high + self.shift

    def sample(self, rng: np.random.Generator, n: int) -> Floats:
        return self.base.sample(rng, n) + self.shift

    def scaled(self, factor: float) -> Shifted:
        return Shifted(self.base.scaled(factor), self.shift * factor)

    def describe(self, unit: str = "s") -> str:
        return f"{_text(self.shift, unit)} + {self.base.describe(unit)}"


@dataclass(frozen=True, slots=True)
class Mixture(Distribution):
    """One of the parts, each with its probability: a fast path and a slow one, for example."""

    weights: tuple[float, ...]
    parts: tuple[Distribution, ...]

    def __post_init__(self) -> None:
        if not self.parts or len(self.weights) != len(self.parts):
            raise ScenarioError(f"weights and parts must be as many, not {len(self.weights)} and {len(self.parts)}")
        for weight in self.weights:
            _positive("every weight", weight, zero=True)
        if abs(math.fsum(self.weights) - 1) > 1e-9:
            raise ScenarioError(f"weights must add up to 1, not {math.fsum(self.weights):g}")

    def mean(self) -> float:
        return math.fsum(weight * part.mean() for weight, part in zip(self.weights, self.parts, strict=True))

    def variance(self) -> float:
        mean = self.mean()
        pairs = zip(self.weights, self.parts, strict=True)
        return math.fsum(weight * (part.variance() + (part.mean() - mean) ** 2) for weight, part in pairs)

    def cdf(self, x: float) -> float:
        return math.fsum(weight * part.cdf(x) for weight, part in zip(self.weights, self.parts, strict=True))

    def quantile(self, q: float) -> float:
        _probability(q)
        ends = [part.quantile(q) for weight, part in zip(self.weights, self.parts, strict=True) if weight > 0]
        low, high = min(ends), max(ends)
        if q in (0.0, 1.0):
            return low if q == 0 else high
        return _invert(self.cdf, q, low, high)

    def sample(self, rng: np.random.Generator, n: int) -> Floats:
        import numpy as np

        # Every part is drawn in full, so that the stream moves on by the same amount whatever the choice was.
        choice = np.searchsorted(np.cumsum(self.weights[:-1]), rng.random(n), side="right")
        drawn = np.stack([part.sample(rng, n) for part in self.parts])
        picked: Floats = drawn[choice, np.arange(n)]
        return picked

    def scaled(self, factor: float) -> Mixture:
        return Mixture(self.weights, tuple(part.scaled(factor) for part in self.parts))

    def describe(self, unit: str = "s") -> str:
        shares = zip(self.weights, self.parts, strict=True)
        return "; ".join(f"{weight:.3g}: {part.describe(unit)}" for weight, part in shares)


@lru_cache(maxsize=64)
def _array(values: tuple[float, ...]) -> Floats:
    import numpy as np

    return np.array(values, dtype=np.float64)


def _invert(cdf: Callable[[float], float], q: float, low: float, high: float) -> float:
    """Smallest x in [low, high] with cdf(x) >= q, by bisection to the last bit."""
    for _ in range(_BISECTIONS):
        middle = low + (high - low) / 2
        if middle in (low, high):
            break
        if cdf(middle) >= q:
            high = middle
        else:
            low = middle
    return low if cdf(low) >= q else high
