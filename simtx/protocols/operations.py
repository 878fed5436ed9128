"""Arithmetic of a local transaction: its locks, its guards, its changes, and the values of keys before the run.

All worlds and stores ask here. A store whose own way is faster (the simulated one, the stored functions of PostgreSQL) is held to the same
by the laws of `simtx.testing`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import assert_never

from simtx.protocols.contract import Operation


class FirstValues:
    """Values of keys before the run.

    Args:
        initial: By key; a key that ends in ``*`` stands for every key with that prefix, the longest prefix counts.
        otherwise: The value of all other keys.

    Attributes:
        exact: Those of single keys.
    """

    __slots__ = ("_otherwise", "_prefixes", "exact")

    def __init__(self, initial: Mapping[str, float], otherwise: float = 0.0) -> None:
        self.exact = {key: value for key, value in initial.items() if not key.endswith("*")}
        prefixes = ((key[:-1], value) for key, value in initial.items() if key.endswith("*"))
        self._prefixes = sorted(prefixes, key=lambda item: -len(item[0]))
        self._otherwise = otherwise

    def __call__(self, key: str) -> float:
        """The first value of a key."""
        value = self.exact.get(key)
        if value is not None:
            return value
        for prefix, first in self._prefixes:
            if key.startswith(prefix):
                return first
        return self._otherwise

    def each(self, keys: Iterable[str]) -> Iterator[tuple[str, float]]:
        """Keys with their first values, without a call for each."""
        exact, prefixes, otherwise = self.exact, self._prefixes, self._otherwise
        for key in keys:
            value = exact.get(key)
            if value is None:
                value = otherwise
                for prefix, first in prefixes:
                    if key.startswith(prefix):
                        value = first
                        break
            yield key, value

    def alike(self, text: str) -> float | None:
        """The first value of every key that begins with this text and is no single key; None if they differ."""
        if any(prefix.startswith(text) and prefix != text for prefix, _ in self._prefixes):
            return None
        return next((first for prefix, first in self._prefixes if text.startswith(prefix)), self._otherwise)


def writes(operations: Iterable[Operation]) -> bool:
    """Return whether any of the operations changes a value."""
    for operation in operations:  # noqa: SIM110 - a generator takes three times as long
        if operation.kind == "add" or operation.kind == "set":
            return True
    return False


def locking(serializable: bool) -> tuple[str, ...]:
    """Kinds of operations that take a row lock: what changes a row does, and what reads it if the store is serializable."""
    return ("add", "set", "read") if serializable else ("add", "set")


def locks(operation: Operation, serializable: bool) -> bool:
    """Return whether an operation takes a row lock."""
    return operation.kind in locking(serializable)


def locked(operations: Iterable[Operation], serializable: bool) -> set[str]:
    """Keys whose rows these operations lock."""
    kinds = locking(serializable)
    return {operation.key for operation in operations if operation.kind in kinds}


def allows(operation: Operation, value: float) -> bool:
    """Return whether the guard of an operation accepts this value, the one behind it."""
    return not (
        (operation.low is not None and value < operation.low) or (operation.high is not None and value > operation.high)
    )


def after(operation: Operation, value: float) -> float | None:
    """The value that an operation makes of one; None if it is refused."""
    if operation.kind == "refuse":
        return None
    if operation.kind == "add":
        value += operation.amount
    elif operation.kind == "set":
        value = operation.amount
    elif operation.kind != "read":
        assert_never(operation.kind)
    return value if allows(operation, value) else None


def play(
    operations: Iterable[Operation],
    committed: Mapping[str, float],
    changes: dict[str, tuple[float, float]],
    reads: dict[str, float],
) -> bool:
    """Play operations one after the other; False if one of them is refused, at which the rest is not played.

    Args:
        operations: What to do.
        committed: Committed values of all keys that `changes` does not have.
        changes: (committed, new) by key, of what the local transaction has changed before; extended.
        reads: Gets what was read of committed values; what it has changed itself is not read from the store.
    """
    for operation in operations:
        kind = operation.kind
        if kind == "refuse":
            return False
        key = operation.key
        own = changes.get(key)
        old, value = own or (committed[key], committed[key])
        if own is None and kind != "set":
            reads[key] = value
        new = after(operation, value)
        if new is None:
            return False
        if kind != "read":
            changes[key] = (old, float(new) if kind == "set" else new)
    return True
