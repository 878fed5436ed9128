"""The last values of all stores, as what comes out of a run looks at them: from the stores of a world, or from the arrays of the compiled loop."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from simtx.metrics import drift
from simtx.metrics.drift import Values

if TYPE_CHECKING:
    from simtx.scenario import Scenario

_NEAR: Final = 1e-7  # by what a value may be off and is not looked at
_PACK: Final = struct.Struct("<d").pack


class KnownValues:
    """Values that are at hand.

    Args:
        values: By service and key.
        expected: What the transactions whose effects ought to be there have added.
    """

    def __init__(self, values: Values, expected: Values) -> None:
        self._values, self._expected = values, expected

    def residual(self, scenario: Scenario) -> float:
        """Residual, as `simtx.metrics.drift.residual`."""
        return drift.residual(scenario, self._values, self._expected)

    def bounds_violated(self, scenario: Scenario) -> list[str]:
        """Bounds that are violated, as `simtx.metrics.drift.bounds_violated`."""
        return drift.bounds_violated(scenario, self._values)

    def packed(self, node: str) -> bytes:
        """Keys of one store with their values, in the order of their names."""
        values = self._values.get(node, {})
        return b"".join([key.encode() + _PACK(value) for key, value in sorted(values.items())])


class CompiledValues:
    """Values in the compiled loop: an array for all keys. Names are asked for where something is wrong only, as a run has many keys.

    Args:
        library: The compiled loop.
        engine: One engine of it, whose run is over.
        names: Names of its nodes, in the order of their numbers.
    """

    def __init__(self, library: ctypes.CDLL, engine: int, names: Sequence[str]) -> None:
        self._library, self._engine = library, engine
        self._index = {name: number for number, name in enumerate(names)}
        self.count = count = int(library.engine_key_count(engine))
        self._node = np.zeros(count, dtype=np.int32)
        self._first, self._value, self._expected = np.zeros(count), np.zeros(count), np.zeros(count)
        has = np.zeros(count, dtype=np.uint8)
        arrays = (self._node, self._first, self._value, self._expected, has)
        library.engine_values(engine, *(array.ctypes.data for array in arrays))
        self._has = has & 1 != 0
        self._wanted = has & 2 != 0

    def residual(self, scenario: Scenario) -> float:
        """Residual, as `simtx.metrics.drift.residual`, of the keys that are off."""
        last = np.where(self._has, self._value, self._first)
        off = np.abs(last - self._first - np.where(self._wanted, self._expected, 0.0)) > _NEAR
        if not off.any():
            return 0.0
        return drift.residual(scenario, self.of(off & self._has), self._named(off & self._wanted, self._expected))

    def bounds_violated(self, scenario: Scenario) -> list[str]:
        """Bounds that are violated, as `simtx.metrics.drift.bounds_violated`, of the keys that are outside of any bounds."""
        outside = np.zeros(self.count, dtype=bool)
        for invariant in scenario.invariants:
            if invariant.kind == "bounds" and invariant.service in self._index:
                low = -np.inf if invariant.low is None else invariant.low
                high = np.inf if invariant.high is None else invariant.high
                beyond = (self._value < low) | (self._value > high)
                outside |= beyond & (self._node == self._index[invariant.service])
        return drift.bounds_violated(scenario, self.of(outside & self._has))

    def packed(self, node: str) -> memoryview:
        """Keys of one store with their values, in the order of their names."""
        number = self._index[node]
        size = int(self._library.engine_packed(self._engine, number, None))
        target = np.zeros(size, dtype=np.uint8)
        if self._library.engine_packed(self._engine, number, target.ctypes.data) != size:
            raise MemoryError("no memory to put the keys of a store in order")
        return target.data

    def of(self, chosen: npt.NDArray[np.bool_]) -> dict[str, dict[str, float]]:
        """Values of the keys that are chosen, by service and name."""
        return self._named(chosen, self._value)

    def wrong(self, force: npt.NDArray[np.float64], off: npt.NDArray[np.float64]) -> tuple[Values, Mapping[str, Any]]:
        """Values of the keys that are off what the steps in force have added, and what was added."""
        chosen = np.abs(off) > _NEAR
        return self.of(chosen & self._has), self._named(chosen, force)

    def _named(self, chosen: npt.NDArray[np.bool_], numbers: npt.NDArray[np.float64]) -> dict[str, dict[str, float]]:
        found: dict[str, dict[str, float]] = {name: {} for name in self._index}
        services = list(found)
        for key in np.flatnonzero(chosen).tolist():
            name = self._library.engine_key_name(self._engine, key).decode("utf-8", "surrogatepass")
            found[services[int(self._node[key])]][name] = float(numbers[key])
        return found


LastValues: TypeAlias = KnownValues | CompiledValues
"""Last values, as a run looks at them when it is over."""
