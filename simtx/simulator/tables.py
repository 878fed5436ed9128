"""What a store holds: values with their versions, idempotency rows, outbox rows."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from simtx.metrics.stations import Station
from simtx.protocols import Key, Transact
from simtx.protocols.operations import FirstValues, writes
from simtx.simulator.outbox import OutboxTable
from simtx.simulator.replica import Replica
from simtx.simulator.work import Work

if TYPE_CHECKING:
    from simtx.simulator.locks import Deadlocks
    from simtx.simulator.node import Node


class Tables:
    """The part of a `Store` that holds data and tells the ledger of changes.

    Args:
        node: The service's node, which owns the clock, the log device and the metrics.
        initial: First values by key; a key that ends in ``*`` stands for every key with that prefix.
        serializable: Whether reads lock.
        lock_timeout: Seconds after which a waiting local transaction gives up.
        weights: Conserved quantities: (key prefix, weight in each of them).
        deadlocks: The rule that finds or prevents rings of waiting transactions.
        retention: How long idempotency rows are kept at least, in seconds.
        outbox_at_commit: Whether outbox rows are numbered when they are committed, and not when they are inserted.
        replica: Where reads go, or None: to the store itself.
    """

    __slots__ = (
        "_deadlocks",
        "_lazy_rollbacks",
        "_lock_timeout",
        "_node",
        "_older_rows",
        "_retention",
        "_rotate_at",
        "_serializable",
        "_versions",
        "_weights",
        "first",
        "lock_waits",
        "locks_held",
        "locks_taken",
        "open",
        "outbox",
        "owners",
        "prepared",
        "replica",
        "rows",
        "values",
        "waiters",
    )

    def __init__(
        self,
        node: Node,
        initial: dict[str, float],
        *,
        serializable: bool,
        lock_timeout: float,
        weights: Sequence[tuple[str, tuple[float, ...]]],
        deadlocks: Deadlocks,
        retention: float,
        outbox_at_commit: bool = False,
        replica: Replica | None = None,
    ) -> None:
        self._node = node
        self.first = FirstValues(initial, 0)
        self._serializable = serializable
        self._lock_timeout = lock_timeout
        self._weights = tuple(weights)
        self._deadlocks = deadlocks
        self._retention = retention
        self.replica = replica
        self._rotate_at = retention
        self.values: dict[str, float] = dict(self.first.exact)
        self._versions: dict[str, int] = {}  # how often each key was changed; counted only for the event log
        self.owners: dict[str, Work] = {}
        self.waiters: dict[str, deque[Work]] = {}
        self.lock_waits = Station()
        self.locks_taken = 0
        self.locks_held = 0.0  # lock-seconds of locks that were let go
        self.rows: dict[Key, Any] = {}
        self._older_rows: dict[Key, Any] = {}
        self.outbox = OutboxTable(at_commit=outbox_at_commit, buffered=node.buffered)
        self.prepared: dict[int, Work] = {}
        self.open: dict[int, Work] = {}
        self._lazy_rollbacks: deque[tuple[float, Work]] = deque()

    def read(self, key: str) -> float:
        """Last committed value of a key; keys that nobody wrote yet have their initial value, 0 if none is given."""
        value = self.values.get(key)
        return self.first(key) if value is None else value

    def weights_of(self, key: str) -> list[tuple[float, ...]]:
        """What a key counts in each conserved quantity, once for every prefix that it has."""
        return [weight for prefix, weight in self._weights if key.startswith(prefix)]

    def alike(self, text: str) -> tuple[float, list[tuple[float, ...]]] | None:
        """First value and weights of every key that begins with this text and is no single key; None if they differ."""
        first = self.first.alike(text)
        if first is None or any(prefix.startswith(text) and prefix != text for prefix, _ in self._weights):
            return None
        return first, self.weights_of(text)

    def row(self, key: Key) -> Any:
        """Value of an idempotency row, or None."""
        value = self.rows.get(key)
        return self._older_rows.get(key) if value is None else value

    def _rotate(self) -> None:
        """Start a new generation of idempotency rows: a row lives for at least one retention, at most for two."""
        now = self._node.env.now
        self._older_rows = self.rows if now < self._rotate_at + self._retention else {}
        self.rows = {}
        self._rotate_at = now + self._retention

    def forget_rows(self) -> None:
        """Drop the idempotency rows, of which there are several for each transaction: the run is over, and nobody comes again."""
        self.rows.clear()
        self._older_rows.clear()

    def _apply(self, work: Work, steps: Sequence[int], compensation: bool) -> None:
        """Make the changes visible, and tell the ledger."""
        changes = work.changes
        if not changes:
            return
        node = self._node
        shifts = self._shifts(changes) if self._weights else None
        if node.journal is not None:
            audit = {key: (self.read(key), new) for key, new in changes.items()}
            node.journal.applied(work.actor, steps, audit, compensation=compensation, reads=work.reads or ())
            versions = {key: self._versions.get(key, 0) + 1 for key in changes}
            self._versions.update(versions)
        else:
            versions = {}
        self.values.update(changes)
        if self.replica is not None:
            self.replica.ship(work.tx, changes, versions)
        record = work.actor.record
        if record is not None:
            if len(steps) > 1:
                plan = record.plan.steps
                steps = [index for index in steps if writes(plan[index].operations)]
            node.ledger.effect(record, steps, compensation, shifts, node.env.now)

    def _queried(self, work: Work) -> None:
        """A local transaction that changes nothing is over: the event log hears what it has read."""
        journal = self._node.journal
        if journal is not None and work.reads:
            effect = work.effect
            compensation = type(effect) is Transact and effect.compensation
            refused = work.status == "refused"
            journal.applied(work.actor, work.steps, {}, compensation=compensation, reads=work.reads, refused=refused)

    def _shifts(self, changes: dict[str, float]) -> list[float] | None:
        """By how much these changes move every conserved quantity, or None if by nothing."""
        shifts: list[float] | None = None
        for key, new in changes.items():
            for prefix, weight in self._weights:
                if key.startswith(prefix):
                    old = self.values.get(key)
                    change = new - (self.first(key) if old is None else old)
                    if shifts is None:
                        shifts = [0.0] * len(weight)
                    for index, factor in enumerate(weight):
                        shifts[index] += factor * change
        return shifts
