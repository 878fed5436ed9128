"""The start of a run: MSER-5 beside the stated warm-up.

A run starts with empty queues, so its first transactions are too fast. MSER-5 cuts off as many of the first observations as make the confidence
interval of the mean of the rest narrowest: with batch means Y(1..n) of five observations each, it cuts the d for which

    z(d) = sum over i > d of (Y(i) - mean of Y(d+1..n))^2 / (n - d)^2

is least. A cut beyond the middle says that no steady state was found.

Sources: K. P. White, "An effective truncation heuristic for bias reduction in simulation output", Simulation 69(6), 1997; K. P. White, M. J. Cobb,
S. C. Spratt, "A comparison of five steady-state truncation heuristics for simulation", Winter Simulation Conference, 2000.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

BATCH: Final = 5
_LONG: Final = 20


@dataclass(frozen=True, slots=True)
class Cut:
    """The cut of MSER-5.

    Attributes:
        observations: How many of the first observations are cut off; a multiple of five.
        settled: False if the cut lies beyond the middle: then no steady state was found.
        before: Mean of what is cut off; not a number if nothing is.
        after: Mean of the rest.
        error: Standard error of the mean of the rest, from twenty long batches of it, since neighbours are alike.
    """

    observations: int
    settled: bool
    before: float
    after: float
    error: float


def batch_means(values: ArrayLike) -> NDArray[np.float64]:
    """Means of five successive observations each; what is left over at the end is dropped."""
    series = np.asarray(values, dtype=float)
    count = len(series) // BATCH
    means: NDArray[np.float64] = series[: count * BATCH].reshape(count, BATCH).mean(axis=1)
    return means


def mser5(values: ArrayLike) -> Cut | None:
    """Find where to cut a series of observations, in the order in which they were made.

    Args:
        values: Finite numbers, such as latencies by arrival.

    Returns:
        The cut; None: there are fewer than ten batches, of which nothing can be said.
    """
    means = batch_means(values)
    n = len(means)
    if n < 2 * BATCH:
        return None
    left = np.arange(n, 0, -1)  # batches that are left, for each number of those that are cut off
    sums = np.cumsum(means[::-1])[::-1]
    squares = np.cumsum((means**2)[::-1])[::-1]
    spread = np.maximum(squares - sums**2 / left, 0.0)
    statistic = spread / left.astype(float) ** 2
    d = int(np.argmin(statistic[: n - BATCH]))  # of the last few batches the variance says nothing
    rest = means[d:]
    long = np.array([part.mean() for part in np.array_split(rest, min(_LONG, len(rest)))])
    return Cut(
        observations=d * BATCH,
        settled=d <= n // 2,
        before=float(means[:d].mean()) if d else float("nan"),
        after=float(rest.mean()),
        error=float(long.std(ddof=1) / np.sqrt(len(long))),
    )
