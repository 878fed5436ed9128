"""Nodes that are slow at the same time: latencies that keep their distributions and are correlated through one common factor."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from simtx.scenario.distributions import Constant, Distribution, Empirical

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from simtx.scenario.infrastructure import CommonMode
    from simtx.simulator.environment import Environment
    from simtx.workload.streams import Streams

_CELLS: Final = 1000
_ROOT_HALF: Final = math.sqrt(0.5)


class _Normal:
    """The standard normal distribution, as a stream draws from it."""

    def sample(self, rng: np.random.Generator, n: int) -> NDArray[np.float64]:
        return rng.standard_normal(n)


class CommonFactor:
    """The common factor of a run, and draws that follow it.

    The factor is a standard normal process whose autocorrelation falls as exp(-t / memory). A draw adds a normal variate of its own to its share of
    the factor and takes the quantile that the sum stands at, so that its distribution is what it was, whatever the share. A rank correlation r of
    two such draws needs a correlation of 2 sin(pi r / 6) of the normals (W. H. Kruskal, JASA 53, 1958, p. 828).

    Args:
        env: The clock.
        spec: Rank correlations and memory.
        streams: Random numbers.
    """

    __slots__ = ("_env", "_factor", "_last", "_memory", "_normal", "_streams")

    def __init__(self, env: Environment, spec: CommonMode, streams: Streams) -> None:
        self._env = env
        self._streams = streams
        self._memory = spec.memory
        self._normal = streams.draws(_Normal(), "world", "common-mode")
        self._factor = self._normal()
        self._last = env.now

    def factor(self) -> float:
        """The common factor now."""
        now = self._env.now
        if now > self._last:
            kept = math.exp((self._last - now) / self._memory)
            self._factor = kept * self._factor + math.sqrt(1.0 - kept * kept) * self._normal()
            self._last = now
        return self._factor

    def draws(
        self, distribution: Distribution, correlation: float, component: str, purpose: str
    ) -> Callable[[], float]:
        """As `Streams.draws`, with this rank correlation (0 to 1) between draws at the same time."""
        if correlation == 0 or isinstance(distribution, Constant):
            return self._streams.draws(distribution, component, purpose)
        pearson = 2 * math.sin(math.pi * correlation / 6)
        share, rest = math.sqrt(pearson), math.sqrt(max(1.0 - pearson, 0.0))
        own, factor = self._streams.draws(_Normal(), component, purpose), self.factor
        table = _table(distribution)
        cells, last = len(table), len(table) - 1
        exact = not isinstance(distribution, Empirical)

        def draw() -> float:
            u = 0.5 * math.erfc(-(share * factor() + rest * own()) * _ROOT_HALF)
            cell = int(u * cells)
            if cell >= last:  # the tail has no end that a table could hold
                return distribution.quantile(u) if exact else table[last]
            return table[cell]

        return draw


@lru_cache(maxsize=256)
def _table(distribution: Distribution) -> tuple[float, ...]:
    """Quantiles in the middle of equally likely cells, ascending; of listed values these themselves."""
    if isinstance(distribution, Empirical):
        return tuple(sorted(distribution.values))
    return tuple(distribution.quantile((cell + 0.5) / _CELLS) for cell in range(_CELLS))
