"""Keys of C: every key of every store by number."""

from __future__ import annotations

import ctypes
from typing import Any

from simtx.engine import NotCompiled
from simtx.engine.plans import pointer
from simtx.simulator.compiled.binding import Binding


class KeyNumbers:
    """Gives each key that a transaction asks for its number.

    Args:
        bound: The engine.
    """

    def __init__(self, bound: Binding) -> None:
        self._bound = bound
        self._keys: dict[str, dict[str, int]] = {}
        self._weights: dict[tuple[tuple[float, ...], ...], Any] = {}

    def number(self, service: str, name: str) -> int:
        """Number of a key of a store."""
        of_service = self._keys.setdefault(service, {})
        known = of_service.get(name)
        if known is None:
            store = self._bound.world.nodes[service].store
            if store is None:
                raise NotCompiled(f"{service} has no store")
            if "\0" in name:
                raise NotCompiled("a key holds a null character")
            factors = tuple(store.weights_of(name))
            known = self._bound.library.engine_key(
                self._bound.engine,
                self._bound.index[service],
                name.encode("utf-8", "surrogatepass"),
                store.read(name),
                name in store.values,
                len(factors),
                self._weighing(factors),
            )
            of_service[name] = known
        return known

    def numbers(self, service: str, literal: str, names: list[str]) -> list[int]:
        """Numbers of keys whose names begin with the same text and go on differently: most of them are alike, and are made at once."""
        store, known = self._bound.world.nodes[service].store, self._keys.setdefault(service, {})
        alike = None if store is None or "\0" in names[0] else store.alike(literal)
        if store is None or alike is None:
            return [self.number(service, name) for name in names]
        first, factors = alike
        fresh = [name for name in names if name not in known and name not in store.values]
        text = "\0".join(fresh).encode("utf-8", "surrogatepass") + b"\0"
        start = self._bound.library.engine_keys(
            self._bound.engine,
            self._bound.index[service],
            len(fresh),
            text,
            len(text),
            first,
            len(factors),
            self._weighing(tuple(factors)),
        )
        numbers = range(start, start + len(fresh))
        known.update(zip(fresh, numbers, strict=True))
        return list(numbers) if len(fresh) == len(names) else [self.number(service, name) for name in names]

    def numbered(self, service: str, before: str, numbers: Any, behind: str) -> int:
        """The number of the first of many keys whose names are one text with a number in it; -1 if they may differ in more, or are known by another name.

        Nobody but C makes these names.
        """
        store = self._bound.world.nodes[service].store
        if store is None or "\0" in before + behind or any(name.startswith(before) for name in store.first.exact):
            return -1
        alike = store.alike(before)
        if alike is None:
            return -1
        first, factors = alike
        return int(
            self._bound.library.engine_numbered_keys(
                self._bound.engine,
                self._bound.index[service],
                len(numbers),
                before.encode("utf-8", "surrogatepass"),
                pointer(numbers),
                behind.encode("utf-8", "surrogatepass"),
                first,
                len(factors),
                self._weighing(tuple(factors)),
            )
        )

    def _weighing(self, factors: tuple[tuple[float, ...], ...]) -> Any:
        """Weights of a key in the conserved quantities, as C takes them."""
        weights = self._weights.get(factors)
        if weights is None:
            flat = [factor for one in factors for factor in one]
            weights = self._weights[factors] = (ctypes.c_double * len(flat))(*flat)
        return weights
