"""Confidence intervals over independent replications.

Each replication of a simulation gives one independent number for a metric, whatever correlation there is inside the run; so the
mean over replications has a Student-t interval with n - 1 degrees of freedom (Law, *Simulation Modeling and Analysis*, 5th ed.,
sections 9.4.1 and 10.2.1; 10.2.1 for paired differences under common random numbers).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from scipy import special

from simtx.errors import ScenarioError


class Interval(NamedTuple):
    """A mean with its confidence interval.

    Attributes:
        mean: Mean over the replications that have a value; NaN if none has.
        half_width: Half the width of the interval; NaN with fewer than two values.
        n: Number of replications that have a value.
    """

    mean: float
    half_width: float
    n: int

    @property
    def low(self) -> float:
        """Lower end."""
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        """Upper end."""
        return self.mean + self.half_width


def check_confidence(confidence: float) -> float:
    """The confidence level itself, if it is one.

    Raises:
        ScenarioError: It is not strictly between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise ScenarioError(
            f"confidence is {confidence:g}; a number strictly between 0 and 1 is needed, 0.95 for example"
        )
    return confidence


def interval(values: Iterable[float], confidence: float = 0.95) -> Interval:
    """Mean and Student-t interval of independent values; those that are NaN do not count.

    Args:
        values: One number a replication.
        confidence: Coverage of the interval, between 0 and 1.
    """
    check_confidence(confidence)
    numbers = np.asarray(list(values), dtype=float)
    numbers = numbers[~np.isnan(numbers)]
    n = len(numbers)
    if n == 0:
        return Interval(math.nan, math.nan, 0)
    mean = float(numbers.mean())
    if n == 1:
        return Interval(mean, math.nan, 1)
    if np.all(numbers == numbers[0]):  # the mean of equal floats may differ from them in the last digit
        return Interval(float(numbers[0]), 0.0, n)
    quantile = float(special.stdtrit(n - 1, 0.5 + confidence / 2))
    return Interval(mean, quantile * float(numbers.std(ddof=1)) / math.sqrt(n), n)


def paired(values: Iterable[float], baseline: Iterable[float], confidence: float = 0.95) -> Interval:
    """Mean and interval of the differences, value minus baseline, replication by replication.

    Raises:
        ScenarioError: The two are not equally long.
    """
    ours, theirs = (np.asarray(list(numbers), dtype=float) for numbers in (values, baseline))
    if len(ours) != len(theirs):
        raise ScenarioError(
            f"paired differences need the same replications on both sides, got {len(ours)} and {len(theirs)}"
        )
    return interval(ours - theirs, confidence)
