"""Intervals from sections of one long run, or of several: for figures such as a 99 % quantile.

A run is cut into ten sections of equal length. The estimate is the figure of the whole run, which has less bias than the mean over sections. Its
error comes from the spread of the figure over the sections (sectioning: Asmussen and Glynn, *Stochastic Simulation*, 2007, III.5a;
S. Nakayama, "Confidence intervals for quantiles using sectioning when applying variance-reduction techniques", ACM TOMACS 24(4), 2014).

That needs sections that know little of each other, and something to see in each. Observations beyond a quantile come in clusters (one jam delays
many); what counts is how many clusters there are. With fewer than ten a section, no interval is given: with about three, those of M/M/1 contain the
quantile in 90 of 100 runs instead of 95 (``python benchmarks/coverage.py sections``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from simtx.errors import ScenarioError
from simtx.metrics.censored import mean as censored_mean
from simtx.metrics.censored import quantile as censored_quantile
from simtx.metrics.intervals import Floats, Interval, check_confidence, t_quantile

SECTIONS: Final = 10
CLUSTERS: Final = 100
"""Times that a run must go beyond a quantile, and come back, for an interval: ten times a section."""
METHOD: Final = "ten sections of one run"
TOO_SHORT: Final = "too short for an interval"
POOLED: Final = "sections of replications"


def clusters(values: Floats, level: float) -> int:
    """Number of times that a series goes beyond its own quantile and comes back."""
    limit = censored_quantile(values, level)
    above = ~(values <= limit)  # not a number is beyond everything
    starts = np.flatnonzero(above[1:] & ~above[:-1])
    return int(len(starts) + bool(len(above) and above[0]))


def section_interval(
    values: Sequence[float] | Floats, level: float | None = None, confidence: float = 0.95
) -> Interval:
    """Interval of a quantile, or of the mean, of the observations of one run in the order in which they were made.

    Args:
        values: One an observation; not a number: it had not ended with the run, and stands above all that had.
        level: Of the quantile, between 0 and 1; None: the mean of those that ended.
        confidence: Coverage, between 0 and 1.

    Returns:
        The estimate of the whole run. Its ends are NaN if the run is too short, and `n` is the number of sections.

    Raises:
        ScenarioError: The level is not strictly between 0 and 1.
    """
    check_confidence(confidence)
    if level is not None and not 0 < level < 1:
        raise ScenarioError(f"must be strictly between 0 and 1, not {level!r}", "level")
    series = np.asarray(values, dtype=float)

    def figure(part: Floats) -> float:
        return censored_mean(part) if level is None else censored_quantile(part, level)

    whole = figure(series) if len(series) else math.nan
    short = len(series) < 20 * SECTIONS or (level is not None and clusters(series, _outer(level)) < CLUSTERS)
    if short or not math.isfinite(whole):
        return Interval(whole, math.nan, math.nan, SECTIONS, TOO_SHORT, int(math.isinf(whole)))
    parts = np.array([figure(part) for part in np.array_split(series, SECTIONS)])
    if not np.isfinite(parts).all():
        return Interval(whole, math.nan, math.nan, SECTIONS, TOO_SHORT, int(np.isinf(parts).sum()))
    error = math.sqrt(float(np.sum((parts - whole) ** 2)) / (SECTIONS - 1) / SECTIONS)
    half = t_quantile(SECTIONS - 1, 0.5 + confidence / 2) * error
    return Interval(whole, whole - half, whole + half, SECTIONS, METHOD)


def _outer(level: float) -> float:
    """The quantile that is looked at for clusters: that of a low level is as rare below as a high one is above."""
    return max(level, 1 - level)


def pooled_ratio(
    ours: Sequence[Sequence[float] | Floats],
    theirs: Sequence[Sequence[float] | Floats],
    level: float,
    confidence: float = 0.95,
) -> Interval:
    """Ratio of a quantile of two strategies over all their observations together, with sections of paired replications.

    A quantile of one short replication is biased: the 99 % quantile of 100 transactions is about the mean of the last two. That of all replications
    together is not, so this is what ratios replication by replication (`simtx.Comparison.ratios`) can be checked against. (The jackknife
    over replications is no alternative: it is known to fail for quantiles, and contained the ratio in 59 of 100 cases.)

    Args:
        ours: Observations of each replication; not a number: had not ended with the run.
        theirs: The same of the other strategy, in the same replications.
        level: Of the quantile, between 0 and 1.
        confidence: Coverage, between 0 and 1.

    Returns:
        The ratio of the pooled quantiles; its ends are NaN if a section has an infinite quantile, and `n` is the number of sections.

    Raises:
        ScenarioError: There are not the same replications on both sides, or fewer than two.
    """
    check_confidence(confidence)
    if len(ours) != len(theirs) or len(ours) < 2:
        raise ScenarioError(f"two or more replications on both sides are needed, got {len(ours)} and {len(theirs)}")
    sides = [[np.asarray(one, dtype=float) for one in side] for side in (ours, theirs)]

    def log_ratio(numbers: Sequence[int]) -> float:
        first, second = (censored_quantile(np.concatenate([side[k] for k in numbers]), level) for side in sides)
        known = math.isfinite(first) and math.isfinite(second) and first > 0 and second > 0
        return math.log(first) - math.log(second) if known else math.nan

    groups = [[int(k) for k in group] for group in np.array_split(np.arange(len(ours)), min(SECTIONS, len(ours)))]
    whole = log_ratio(range(len(ours)))
    parts = np.array([log_ratio(group) for group in groups])
    n = len(groups)
    error = math.sqrt(float(np.sum((parts - whole) ** 2)) / (n - 1) / n)  # NaN if one of them is
    half = t_quantile(n - 1, 0.5 + confidence / 2) * error
    return Interval(math.exp(whole), math.exp(whole - half), math.exp(whole + half), n, POOLED)
