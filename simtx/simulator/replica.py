"""A read replica: the store's values as they were a while ago. A follower of a store gets each of its commits, and shows it after a lag."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Protocol

from simtx.simulator.environment import Environment
from simtx.workload.by_transaction import Draw


class Follower(Protocol):
    """Follower of a store."""

    def ship(self, tx: int, changes: Mapping[str, float], versions: Mapping[str, int]) -> None:
        """A commit of a transaction leaves the store, with versions if these are recorded."""


class Lag:
    """The times at which commits show elsewhere.

    Args:
        env: The clock.
        draw: Draws the seconds that the commit of a transaction takes.
        ordered: Whether none shows before an earlier one.
    """

    __slots__ = ("_draw", "_env", "_last", "_ordered")

    def __init__(self, env: Environment, draw: Draw, *, ordered: bool = True) -> None:
        self._env = env
        self._draw = draw
        self._ordered = ordered
        self._last = 0.0

    def due(self, tx: int) -> float:
        """Time at which a commit of this transaction, which is now, shows."""
        time = self._env.now + self._draw(tx)
        if self._ordered:
            time = self._last = max(time, self._last)
        return time


class Replica:
    """Shows every commit of its primary after a lag, in the order of the commits.

    Args:
        env: The clock.
        lag: Draws the seconds until a commit of a transaction is visible here.

    Attributes:
        reads: How often it was read.
        stale_reads: How often that gave another value than the primary has.
        versions: Versions of the values that are visible as of the last read, where versions are recorded.
    """

    __slots__ = ("_env", "_lag", "_pending", "_values", "reads", "stale_reads", "versions")

    def __init__(self, env: Environment, lag: Draw) -> None:
        self._env = env
        self._lag = Lag(env, lag)
        self._values: dict[str, float] = {}
        self.versions: dict[str, int] = {}
        self._pending: deque[tuple[float, Mapping[str, float], Mapping[str, int]]] = deque()
        self.reads = 0
        self.stale_reads = 0

    def ship(self, tx: int, changes: Mapping[str, float], versions: Mapping[str, int]) -> None:
        """A commit of a transaction leaves the primary, with versions if these are recorded; it never becomes visible before an earlier one."""
        self._pending.append((self._lag.due(tx), dict(changes), versions))

    def read(self, key: str, current: float, first: float) -> float:
        """The value that a reader gets here; `current` is the primary's, `first` the one before the run."""
        now = self._env.now
        pending = self._pending
        while pending and pending[0][0] <= now:
            _, changes, versions = pending.popleft()
            self._values.update(changes)
            self.versions.update(versions)
        value = self._values.get(key, first)
        self.reads += 1
        if value != current:
            self.stale_reads += 1
        return value
