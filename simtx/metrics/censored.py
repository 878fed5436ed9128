"""Figures over durations of which some had not ended when the run ended (right-censored observations).

Such a duration is not missing: it is longer than all the time for which its transaction was watched. So quantiles are taken over all
transactions, and those that had not ended stand above every one that had. A quantile that falls among them is infinite. A mean can only be
that of those that ended, and stands beside the share that did not.

In data, not a number marks a duration that had not ended; quantiles of it are infinite.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Durations = npt.NDArray[np.float64] | Sequence[float]


def quantile(durations: Durations | Any, level: float, weights: Durations | None = None) -> float:
    """The quantile of all durations, linear between neighbours as that of numpy.

    Args:
        durations: One a transaction; not a number or infinite: it had not ended.
        level: From 0 to 1.
        weights: How many transactions each of them stands for; None: itself alone. With weights, it is the smallest duration that at least so
            large a share of the weight does not exceed.

    Returns:
        The quantile; infinite if it falls among those that had not ended, not a number if there is no transaction at all.
    """
    return quantiles(durations, [level], weights)[0]


def quantiles(durations: Durations | Any, levels: Sequence[float], weights: Durations | None = None) -> list[float]:
    """Several quantiles of the same durations, each as `quantile` has it."""
    values = np.asarray(durations, dtype=float)
    if not len(values):
        return [math.nan] * len(levels)
    if weights is not None:
        above = np.where(np.isfinite(values), values, math.inf)
        found = np.quantile(above, levels, weights=np.asarray(weights, dtype=float), method="inverted_cdf")
        return [float(one) for one in found]
    ended = np.sort(values if _all_ended(values) else values[np.isfinite(values)])
    last = len(values) - 1
    return [_between(ended, last * level) if _upper(len(values), level) < len(ended) else math.inf for level in levels]


def _all_ended(values: npt.NDArray[np.float64]) -> bool:
    """Return whether all of them are finite: of many, by their sum."""
    return math.isfinite(values.sum())


def _between(ended: npt.NDArray[np.float64], place: float) -> float:
    """Value at a place among sorted values, linear between two of them, by the arithmetic of `numpy.quantile`."""
    before = math.floor(place)
    share = place - before
    low, high = float(ended[before]), float(ended[min(before + 1, len(ended) - 1)])
    return high - (high - low) * (1 - share) if share >= 0.5 else low + (high - low) * share


def _upper(count: int, level: float) -> int:
    """Position of the larger one of the two neighbours of a quantile."""
    position = (count - 1) * level
    return round(position) if math.isclose(position, round(position), abs_tol=1e-9) else math.ceil(position)


def mean(durations: Durations | Any, weights: Durations | None = None) -> float:
    """Mean of those that ended; not a number if none has."""
    values = np.asarray(durations, dtype=float)
    if weights is None and len(values) and _all_ended(values):
        return float(values.mean())
    ended = np.isfinite(values)
    if not ended.any():
        return math.nan
    return float(np.average(values[ended], weights=None if weights is None else np.asarray(weights)[ended]))


def share(durations: Durations | Any, weights: Durations | None = None) -> float:
    """Share of those that had not ended; not a number if there is no transaction at all."""
    values = np.asarray(durations, dtype=float)
    if not len(values):
        return math.nan
    return 0.0 if _all_ended(values) else float(1 - np.average(np.isfinite(values), weights=weights))


def longer_than(watched_ms: float) -> str:
    """A duration that had not ended when the run ended, in print: ``> 30 s``.

    Args:
        watched_ms: For how long every measured transaction was watched at least, in milliseconds; three digits of it, rounded down. If that
            is not known, it is just infinite.
    """
    if not math.isfinite(watched_ms):
        return "∞"
    if watched_ms <= 0:
        return "> 0 s"
    value, unit = (watched_ms / 1e3, "s") if watched_ms >= 1e3 else (watched_ms, "ms")
    digits = max(0, 2 - math.floor(math.log10(value)))
    floor = math.floor(value * 10**digits * (1 + 1e-12)) / 10**digits
    return f"> {floor:,.{digits}f}".rstrip("0").rstrip(".") + f" {unit}" if digits else f"> {floor:,.0f} {unit}"


_MEANS: Final = {
    "latency_mean_ms": "unanswered_share",
    "latency_committed_mean_ms": "unanswered_share",
    "decision_mean_ms": "undecided_share",
    "decision_committed_mean_ms": "undecided_share",
    "settle_mean_ms": "unsettled_share",
    "window_mean_ms": "unsettled_share",
}


def left_out(metric: str) -> str | None:
    """The metric that says which share of the transactions a mean leaves out, as they had not ended; None: this metric leaves out none."""
    return _MEANS.get(metric)


def instead(metric: str) -> str:
    """Advice in place of a mean that leaves out what had not ended."""
    return f"ask for '{metric.replace('_mean_', '_p99_')}', which counts it, or give the runs more time (run.drain)"
