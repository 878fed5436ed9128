"""Nodes that are slow at the same time: latencies that keep their distributions and are correlated through one common factor."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from simtx.scenario.distributions import Constant, Distribution, Empirical

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simtx.scenario.infrastructure import CommonMode
    from simtx.simulator.environment import Environment
    from simtx.workload.by_transaction import Draw, TransactionStreams
    from simtx.workload.streams import Streams

_CELLS: Final = 1000
_ROOT_HALF: Final = math.sqrt(0.5)
_STEPS: Final = 32  # values of the common factor within one memory
_PIECE: Final = 1024  # values that are made at once
_REACH: Final = 12 * _STEPS  # values back to which one remembers: a correlation of 6e-6 is left there
_KEPT: Final = 8  # pieces


class _Normal:
    """The standard normal distribution, as a stream draws from it."""

    def sample(self, rng: np.random.Generator, n: int) -> NDArray[np.float64]:
        return rng.standard_normal(n)


NORMAL: Final = _Normal()


class CommonFactor:
    """The common factor of a run, and draws that follow it.

    The factor is a standard normal process whose autocorrelation falls as exp(-t / memory). It is a function of seed, replication and time, so that
    every strategy meets the same slow moments; it keeps each value for a 32nd of the memory. A draw adds a normal variate of its own to its
    share of the factor, and takes the quantile at which the sum stands. So its distribution stays as it was, whatever the share. A rank
    correlation r of two such draws needs a correlation of 2 sin(pi r / 6) of the normals (W. H. Kruskal, JASA 53, 1958, p. 828).

    Args:
        env: The clock.
        spec: Rank correlations and memory.
        streams: Random numbers.
        own: Random numbers by transaction.
    """

    __slots__ = ("_begun", "_ends", "_env", "_own", "_pieces", "_spec", "_step", "_streams", "_writer")

    def __init__(self, env: Environment, spec: CommonMode, streams: Streams, own: TransactionStreams) -> None:
        self._env = env
        self._streams = streams
        self._own = own
        self._spec = spec
        self._step = spec.memory / _STEPS
        self._pieces: dict[int, list[float]] = {}
        self._writer, self._begun, self._ends = (
            "",
            -math.inf,
            0.0,
        )  # of the last forced write: whose, since when, until when

    def factor(self) -> float:
        """The common factor now."""
        piece, place = divmod(int(self._env.now / self._step), _PIECE)
        values = self._pieces.get(piece)
        if values is None:
            if len(self._pieces) >= _KEPT:
                del self._pieces[next(iter(self._pieces))]
            values = self._pieces[piece] = self.made(piece)
        return values[place]

    @property
    def step(self) -> float:
        """Seconds for which the factor keeps a value."""
        return self._step

    def made(self, piece: int) -> list[float]:
        """A piece of the process: x(n) = kept x(n - 1) + sqrt(1 - kept^2) z(n), as the sum over z(n), z(n - 1), ..."""
        before, noise = (
            self._streams.generator("world", f"common-mode:{number}").standard_normal(_PIECE)
            for number in (piece - 1, piece)
        )
        weights = np.exp(-np.arange(_REACH) / _STEPS)
        made = np.convolve(np.concatenate([before[1 - _REACH :], noise]), weights / np.linalg.norm(weights), "valid")
        values: list[float] = made.tolist()
        return values

    def draws(self, distribution: Distribution, component: str, purpose: str) -> Draw:
        """Draw as `TransactionStreams.draws`, for a latency of a link or of a disk (purpose ``forced-write``)."""
        writes = purpose == "forced-write"
        correlation, shared = (self._spec.writes, self._spec.shared_flush) if writes else (self._spec.links, 0.0)
        if (correlation == 0 and shared == 0) or isinstance(distribution, Constant):
            return self._own.draws(distribution, component, purpose)
        share, rest = shares(correlation)
        own, factor = self._own.draws(NORMAL, component, purpose), self.factor
        table = quantiles(distribution)
        cells, last = len(table), len(table) - 1
        exact = not isinstance(distribution, Empirical)

        def at(normal: float) -> float:
            u = level(share * factor() + rest * normal)
            cell = int(u * cells)
            if cell >= last:  # the tail has no end that a table could hold
                return distribution.quantile(u) if exact else table[last]
            return table[cell]

        if shared == 0:
            return lambda tx: at(own(tx))
        env, within = self._env, self._spec.shared_flush_within

        def write(tx: int) -> float:
            normal, now = own(tx), env.now
            beside = self._writer != component and now - self._begun <= within and self._ends >= now
            took = self._ends - now if beside and digits(normal) < shared else at(normal)
            self._writer, self._begun, self._ends = component, now, now + took
            return took

        return write


def shares(correlation: float) -> tuple[float, float]:
    """Weights of the common factor and a draw's own normal variate in draws with this rank correlation."""
    pearson = 2 * math.sin(math.pi * correlation / 6)
    return math.sqrt(pearson), math.sqrt(max(1.0 - pearson, 0.0))


def digits(normal: float) -> float:
    """A second random number from the same draw, uniform from 0 to 1: the digits of a normal value behind the sixth are independent of those before."""
    return math.fabs(normal) * 2**20 % 1.0


def level(normal: float) -> float:
    """Quantile at which a standard normal value stands."""
    return 0.5 * math.erfc(-normal * _ROOT_HALF)


@lru_cache(maxsize=16)
def thresholds(cells: int) -> tuple[float, ...]:
    """The least normal value of each of so many equally likely cells, but for the first, which has none."""
    found = []
    for cell in range(1, cells):
        below, above = -40.0, 40.0
        while True:
            middle = (below + above) / 2
            if middle in (below, above):
                break
            if int(level(middle) * cells) >= cell:
                above = middle
            else:
                below = middle
        found.append(above)
    return tuple(found)


@lru_cache(maxsize=256)
def quantiles(distribution: Distribution) -> tuple[float, ...]:
    """Quantiles in the middle of equally likely cells, ascending; of listed values these themselves."""
    if isinstance(distribution, Empirical):
        return tuple(sorted(distribution.values))
    return tuple(distribution.quantile((cell + 0.5) / _CELLS) for cell in range(_CELLS))
