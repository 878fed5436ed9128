"""What a local transaction does to values: its locks, its guards, its changes. Plain arithmetic, for stores that do it themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from simtx.protocols import Operation


class FirstValues:
    """Values of keys before the run.

    Args:
        initial: By key; a key that ends in ``*`` stands for every key with that prefix, the longest prefix counts. All others are 0.
    """

    def __init__(self, initial: Mapping[str, float]) -> None:
        self.exact = {key: float(value) for key, value in initial.items() if not key.endswith("*")}
        self._prefixes = sorted(
            ((key[:-1], float(value)) for key, value in initial.items() if key.endswith("*")),
            key=lambda item: -len(item[0]),
        )

    def __call__(self, key: str) -> float:
        """The first value of a key."""
        value = self.exact.get(key)
        if value is not None:
            return value
        for prefix, first in self._prefixes:
            if key.startswith(prefix):
                return first
        return 0.0


def lockable(operations: Iterable[Operation], serializable: bool) -> list[str]:
    """Keys whose rows these operations lock, in the order in which they do.

    Args:
        operations: What a local transaction does.
        serializable: Whether reads lock.
    """
    kinds = ("add", "set", "read") if serializable else ("add", "set")
    return sorted({operation.key for operation in operations if operation.kind in kinds})


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
        if kind == "add":
            value += operation.amount
        elif kind == "set":
            value = float(operation.amount)
        if (operation.low is not None and value < operation.low) or (
            operation.high is not None and value > operation.high
        ):
            return False
        if kind != "read":
            changes[key] = (old, value)
    return True
