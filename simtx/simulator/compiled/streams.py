"""Random numbers of C: the streams of an interpreted run, by number."""

from __future__ import annotations

import ctypes
from typing import Any, Final

import numpy as np

from simtx.engine import NotCompiled
from simtx.engine.generators import as_source
from simtx.engine.plans import pointer
from simtx.scenario.distributions import Constant, Distribution, Empirical
from simtx.simulator.common_mode import NORMAL, level, quantiles, shares, thresholds
from simtx.simulator.compiled.binding import Binding
from simtx.workload.by_transaction import recipe, uniform_numbers
from simtx.workload.streams import Sampled

_MOST_CELLS: Final = 10_000  # values of a distribution that follows the common factor


class StreamNumbers:
    """Gives each random stream that C draws from its number.

    Args:
        bound: The engine.
        fills: Takes, for each stream, what fills a block of its numbers; None: C needs nobody for them.
    """

    def __init__(self, bound: Binding, fills: list[Any]) -> None:
        self._bound, self._fills = bound, fills
        self._tails: dict[int, Distribution] = {}

    def stream(self, distribution: Sampled, component: str, purpose: str) -> int:
        """Number of a stream."""
        library, engine, draws = self._bound.library, self._bound.engine, self._bound.world.by_transaction
        block = None
        if isinstance(distribution, Constant):
            number = library.engine_stream(engine, 1, float(distribution.value))
        else:
            number = library.engine_stream(engine, 0, 0.0)
            made = recipe(distribution) if self._bound.generators is not None else None
            if made is None:
                block = draws.fill(distribution, component, purpose)
            elif number >= 0:
                library.engine_draws(engine, number, ctypes.byref(as_source(made, draws.key(component, purpose))))
        if number < 0:
            raise NotCompiled("it has too many links")
        self._fills.append(block)
        return int(number)

    def latency(self, distribution: Distribution, component: str, purpose: str) -> int:
        """Number of the stream of a link's or a disk's latency, with what all nodes have in common: as `World` draws them."""
        common, factor = self._bound.world.scenario.common_mode, self._bound.world.common
        if common is None or factor is None:
            return self.stream(distribution, component, purpose)
        writes = purpose == "forced-write"
        correlation, shared = (common.writes, common.shared_flush) if writes else (common.links, 0.0)
        if (correlation == 0 and shared == 0) or isinstance(distribution, Constant):
            return self.stream(distribution, component, purpose)
        own = self.stream(NORMAL, component, purpose)
        number = self.stream(uniform_numbers(), component, purpose)
        table = np.array(quantiles(distribution))
        if len(table) > _MOST_CELLS:
            raise NotCompiled(f"a common mode of more than {_MOST_CELLS:,} listed values")
        places = np.array([*thresholds(len(table)), 0.0])
        exact = not isinstance(distribution, Empirical)
        self._tails[number] = distribution
        self._bound.library.engine_together(
            self._bound.engine,
            number,
            own,
            *shares(correlation),
            len(table),
            pointer(table),
            pointer(places),
            int(exact),
            shared,
            common.shared_flush_within,
        )
        self._bound.head.factor_step = factor.step
        return number

    def fill_together(self, stream: int, major: int, minor: int, target: int, numbers: Any) -> None:
        """Fill in what follows the common factor, or belongs to no transaction."""
        if stream < 0:
            common = self._bound.world.common
            if common is None:
                raise AssertionError("the scenario has a common mode")
            numbers[:] = common.made(major)
        elif minor < 0:  # the tail of a distribution that follows the common factor
            numbers[0] = self._tails[stream].quantile(level(ctypes.c_double.from_address(target).value))
        else:
            self._fills[stream](major, minor, numbers, 1)
