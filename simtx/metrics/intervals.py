"""Confidence intervals over independent replications.

Each replication of a simulation gives one independent number for a metric, whatever correlation there is inside the run; so intervals
are taken over replications (Law, *Simulation Modeling and Analysis*, 5th ed., sections 9.4.1 and 10.2). What kind of number it is
decides how:

- a **real** number, such as a difference: Student's t with n - 1 degrees of freedom;
- a **positive** one, such as a latency: skewed to the right as a rule, and then Student's t is too short above and too long below. P. Hall's
  transformation of the t statistic ("On the removal of skewness by transformation", J. R. Statist. Soc. B 54, 1992, 221-228) corrects for the
  skewness of the sample. That of 10 to 50 values is too small on average, so it is taken times `_STRENGTH`, which was chosen by coverage;
- a **share** or a **count**: the same, uncorrected, towards the middle of its range. Shares vary from run to run by more than chance (one crash aborts
  many transactions together). So an interval over the pooled transactions, such as Wilson's, would be too short;
- what was **never seen** (a count of 0, a share of 0 or 1 in every run): an exact one-sided bound on the share of the runs that have any.

An interval never leaves the range of its quantity. How often each contains the truth is measured by ``python benchmarks/coverage.py``
and stands in docs/statistics.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from simtx.errors import ScenarioError
from simtx.metrics import asking, delivery
from simtx.metrics.counters import COUNTERS
from simtx.metrics.providers import FIGURES

Kind = Literal["real", "positive", "share", "count"]
Floats = NDArray[np.float64]

KINDS: Final = ("real", "positive", "share", "count")
T: Final = "Student t"
SKEWED: Final = "Student t, corrected for skewness"
RATIO: Final = "Student t of the logarithms"
EQUAL: Final = "the same in every run"
NEVER: Final = "never seen: bound on the share of runs that have any"
SINGLE: Final = "one run"
NONE: Final = "no run has a value"
INFINITE: Final = "beyond all bounds in some runs"

_STRENGTH: Final = {"real": 0.0, "positive": 1.5, "share": 1.0, "count": 1.0}
_RANGE: Final = {
    "real": (-math.inf, math.inf),
    "positive": (0.0, math.inf),
    "share": (0.0, 1.0),
    "count": (0.0, math.inf),
}


class Interval(NamedTuple):
    """A mean with its confidence interval, which need not be symmetric.

    Attributes:
        mean: Mean over the replications that have a value; NaN if none has, infinite if one of them is.
        low: Lower end; NaN with fewer than two values.
        high: Upper end; NaN with fewer than two values. For a count that was never seen: the most that the share of runs with any can be.
        n: Number of replications that have a value.
        method: How it was computed, in a few words.
        infinite: Number of replications whose value is infinite: a quantile among transactions that had not ended when the run ended.
    """

    mean: float
    low: float
    high: float
    n: int
    method: str = T
    infinite: int = 0

    @property
    def half_width(self) -> float:
        """Half the distance of the ends; NaN if there is no interval."""
        return (self.high - self.low) / 2 if math.isfinite(self.low) and math.isfinite(self.high) else math.nan

    @property
    def never(self) -> bool:
        """Return whether it is about something that was never seen, or always: the ends are exact and bound the share of runs."""
        return self.method == NEVER


def check_confidence(confidence: object) -> float:
    """The confidence level itself, if it is one.

    Raises:
        ScenarioError: It is not strictly between 0 and 1.
    """
    if isinstance(confidence, bool) or not isinstance(confidence, int | float) or not 0 < confidence < 1:
        shown = f"{confidence:g}" if isinstance(confidence, int | float) else repr(confidence)
        raise ScenarioError(f"confidence is {shown}; a number strictly between 0 and 1 is needed, 0.95 for example")
    return confidence


def interval(
    values: Iterable[float], confidence: float = 0.95, *, kind: Kind = "real", cap: float = math.inf
) -> Interval:
    """Mean and interval of independent values; those that are NaN do not count.

    Args:
        values: One number a replication.
        confidence: Coverage of the interval, between 0 and 1.
        kind: ``real``, ``positive``, ``share`` or ``count``; see above.
        cap: What the mean cannot exceed, such as the offered rate for a throughput. A mean of the sample above it is kept, an end is not.

    Raises:
        ScenarioError: The confidence or the kind is none.
    """
    check_confidence(confidence)
    if kind not in KINDS:
        raise ScenarioError(f"'{kind}' is no kind of number; there are {', '.join(KINDS)}", "kind")
    numbers = np.sort(np.asarray(list(values), dtype=float))  # sorted: the order of replications changes no digit
    numbers = numbers[~np.isnan(numbers)]
    n = len(numbers)
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0, NONE)
    infinite = int(np.isinf(numbers).sum())
    if infinite:
        return _infinite(numbers, infinite)
    if n == 1:
        return Interval(float(numbers[0]), math.nan, math.nan, 1, SINGLE)
    if numbers[0] == numbers[-1]:
        return _equal(float(numbers[0]), n, confidence, kind)
    mean, low, high = (float(one) for one in bounds(numbers, confidence, kind))
    bottom, top = _RANGE[kind]
    top = max(min(top, cap), mean)
    return Interval(mean, max(low, bottom), min(high, top), n, T if kind == "real" else SKEWED)


def intervals(groups: Sequence[Iterable[float]], confidence: float = 0.95, *, kind: Kind = "real") -> list[Interval]:
    """Intervals, as `interval` gives them, of each of these groups of values; much sooner where they are many.

    Raises:
        ScenarioError: The confidence or the kind is none.
    """
    check_confidence(confidence)
    arrays = [np.sort(np.asarray(list(one), dtype=float)) for one in groups]
    usual: dict[int, list[int]] = {}
    found: list[Interval | None] = [None] * len(arrays)
    for place, one in enumerate(arrays):
        if kind in KINDS and len(one) >= 2 and np.isfinite(one).all() and one[0] != one[-1]:
            usual.setdefault(len(one), []).append(place)
        else:
            found[place] = interval(one, confidence, kind=kind)
    for n, places in usual.items():
        bottom, top = _RANGE[kind]
        mean, low, high = bounds(np.array([arrays[place] for place in places]), confidence, kind)
        for place, middle, below, above in zip(places, mean.tolist(), low.tolist(), high.tolist(), strict=True):
            ends = max(below, bottom), min(above, max(top, middle))
            found[place] = Interval(middle, *ends, n, T if kind == "real" else SKEWED)
    return [one for one in found if one is not None]


def t_quantile(degrees: float, share: float) -> float:
    """Quantile of Student's t; scipy is loaded when one is asked for first: processes that only play runs need none."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, share))


def bounds(numbers: Floats, confidence: float, kind: Kind = "real") -> tuple[Floats, Floats, Floats]:
    """Means and ends along the last axis of an array of finite numbers, not yet cut at the limits of a range.

    Args:
        numbers: Shape (..., n) with n of at least 2.
        confidence: Coverage, between 0 and 1.
        kind: As in `interval`.
    """
    n = numbers.shape[-1]
    mean = numbers.mean(axis=-1)
    centred = numbers - mean[..., None]
    variance = np.mean(centred**2, axis=-1)
    spread = np.sqrt(variance * n / (n - 1))
    quantile = t_quantile(n - 1, 0.5 + confidence / 2)
    strength = _STRENGTH[kind]
    if n < 3 or not strength:
        half = quantile * spread / math.sqrt(n)
        return mean, mean - half, mean + half
    with np.errstate(divide="ignore", invalid="ignore"):
        skewness = np.mean(centred**3, axis=-1) / variance**1.5 * math.sqrt(n * (n - 1)) / (n - 2)
    skewness = np.nan_to_num(skewness, nan=0.0, posinf=0.0, neginf=0.0)
    towards = np.where(mean > 0.5, -1.0, 1.0) if kind == "share" else 1.0
    skewness = strength * towards * np.maximum(skewness * towards, 0.0)  # away from the nearest limit; never against it
    return mean, mean - spread * _hall(quantile, skewness, n), mean - spread * _hall(-quantile, skewness, n)


def _hall(t: float, skewness: Floats, n: int) -> Floats:
    """Hall's transformation inverted: (sample mean - mean) / standard deviation at which the transformed statistic is t."""
    small = np.abs(skewness) < 1e-6  # the limit; the formula would divide nothing by nothing
    g = np.where(small, 1.0, skewness)
    found = 3 * (np.cbrt(1 + g * (t / math.sqrt(n) - g / (6 * n))) - 1) / g
    return np.where(small, t / math.sqrt(n), found)


def at_most(n: int, confidence: float = 0.95) -> float:
    """The most that a probability can be, at this confidence, of what happened in none of n independent runs.

    Exact (Clopper and Pearson, one-sided, as the lower end is known): about 3 / n at 95 %.
    """
    return float(1 - (1 - check_confidence(confidence)) ** (1 / n)) if n else 1.0


def _equal(value: float, n: int, confidence: float, kind: Kind) -> Interval:
    """The same value in every run: of what is never (or always) so, the share of runs that are different has a bound."""
    if kind in ("share", "count") and value == 0:
        return Interval(0.0, 0.0, at_most(n, confidence), n, NEVER)
    if kind == "share" and value == 1:
        return Interval(1.0, 1.0 - at_most(n, confidence), 1.0, n, NEVER)
    return Interval(value, value, value, n, EQUAL)


def _infinite(numbers: Floats, infinite: int) -> Interval:
    """Some values have no bound: then neither has the mean, whatever the others are."""
    ends = {float(one) for one in numbers[np.isinf(numbers)]}
    value = ends.pop() if len(ends) == 1 else math.nan
    return Interval(value, value, value, len(numbers), INFINITE, infinite)


def paired(values: Iterable[float], baseline: Iterable[float], confidence: float = 0.95) -> Interval:
    """Mean and interval of the differences, value minus baseline, replication by replication.

    A replication in which both are infinite says nothing about the difference, and does not count.

    Raises:
        ScenarioError: The two are not equally long.
    """
    ours, theirs = _pairs(values, baseline)
    with np.errstate(invalid="ignore"):  # infinite minus infinite
        return interval(ours - theirs, confidence)


def ratio(values: Iterable[float], baseline: Iterable[float], confidence: float = 0.95) -> Interval:
    """Geometric mean and interval of the ratios, value over baseline, replication by replication; 1 means no difference.

    The interval is Student's t on the logarithms, which makes it the same, turned over, when the two sides change places. It is for positive
    quantities: where both are zero they are equal, where one is the ratio is zero or infinite, and negative ones have none.

    Raises:
        ScenarioError: The two are not equally long.
    """
    ours, theirs = _pairs(values, baseline)
    one = interval(log_ratios(ours, theirs), confidence)
    # exp(+-inf) is right, and so is exp(nan)
    mean, low, high = (float(np.exp(end)) for end in (one.mean, one.low, one.high))
    return Interval(mean, low, high, one.n, RATIO if one.method == T else one.method, one.infinite)


def ratio_of_means(values: Iterable[float], baseline: Iterable[float], confidence: float = 0.95) -> Interval:
    """Mean of the values over the mean of the baseline, and its interval; 1 means no difference.

    What the two share (the same seed: the same keys, arrivals and service times) does not widen the interval: it is Student's t on what is left of each
    value when the ratio times its baseline is taken away (the ratio estimator of W. G. Cochran, *Sampling Techniques*, 3rd ed., section 6.4). NaN where the
    baseline's mean is zero, and without ends where a value is not finite.

    Raises:
        ScenarioError: The two are not equally long.
    """
    ours, theirs = _pairs(values, baseline)
    known = ~(np.isnan(ours) | np.isnan(theirs))
    ours, theirs = ours[known], theirs[known]
    below = float(theirs.mean()) if len(theirs) else 0.0
    if not below:
        return Interval(math.nan, math.nan, math.nan, len(ours), NONE)
    quotient = float(ours.mean()) / below
    if not math.isfinite(quotient) or not math.isfinite(below):
        return Interval(quotient, math.nan, math.nan, len(ours), INFINITE)
    half = interval(ours - quotient * theirs, confidence).half_width / below
    return Interval(quotient, quotient - half, quotient + half, len(ours))


def log_ratios(ours: Floats, theirs: Floats) -> Floats:
    """Logarithms of the ratios; 0 where both are zero, NaN where one is negative or both are infinite."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logs: Floats = np.log(ours) - np.log(theirs)
    return np.where((ours == 0) & (theirs == 0), 0.0, logs)


def _pairs(values: Iterable[float], baseline: Iterable[float]) -> tuple[Floats, Floats]:
    ours, theirs = (np.asarray(list(numbers), dtype=float) for numbers in (values, baseline))
    if len(ours) != len(theirs):
        raise ScenarioError(
            f"paired differences need the same replications on both sides, got {len(ours)} and {len(theirs)}"
        )
    return ours, theirs


_COUNTS: Final = frozenset(
    {
        "duplicate_effects",
        "missing_effects",
        "residual_divergence",
        *COUNTERS,
        *FIGURES,
        *asking.COUNTED,
        *delivery.FIGURES,
        "events",
        "transactions",
        "in_doubt_open",
        "locks_open",
        "unpublished_open",
        "violations",
    }
)


HIGHER_IS_BETTER: Final = frozenset({"throughput_per_s", "goodput_per_s", "committed_share"})
"""Metrics of which more is better; of all others less is."""


def kind_of(metric: str) -> Kind:
    """Kind of number that a metric is, by the unit at the end of its name; a name without a known unit counts as a real number."""
    if metric in _COUNTS or metric.endswith("_count"):
        return "count"
    if metric.endswith("_share") or metric in ("utilisation_max", "process_utilisation_max"):
        return "share"
    endings = ("_ms", "_s", "_seconds", "_transaction", "_million", "_mean", "_peak", "_max", "_amplification")
    return "positive" if metric.endswith(endings) else "real"


def as_json(one: Interval) -> dict[str, Any]:
    """Fields for machines, with ``half_width``."""
    return {**one._asdict(), "half_width": one.half_width}
