"""Deadlocks across stores: found, prevented or left to the lock timeout."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, Protocol

from simtx.protocols import Transact

if TYPE_CHECKING:
    from simtx.simulator.work import Work


class LockTable(Protocol):
    """The row locks of a store, as far as deadlocks are a matter of them."""

    @property
    def owners(self) -> dict[str, Work]:
        """Owners of the lock of a key."""

    @property
    def waiters(self) -> dict[str, deque[Work]]:
        """Local transactions that queue for it."""


class Deadlocks:
    """The scenario's rule for a local transaction that would have to wait for a lock.

    ``timeout``: wait, the store's lock timeout resolves what has become a ring. ``detect``: look for a ring in the waits-for graph of
    all stores and fail the one that closes it. ``wait-die``: a branch of a distributed transaction never waits for an older business
    transaction (Rosenkrantz, Stearns, Lewis, TODS 1978), so that no ring can form. Who queues for a lock waits for its owner and for
    everybody before it in the queue. Local transactions on their own, as those of a saga, never form a ring: they take their locks in
    the order of the keys and hold none elsewhere.

    Args:
        rule: The rule.
        counts: Where to count, as `simtx.metrics.counters` names it.
    """

    def __init__(self, rule: Literal["timeout", "detect", "wait-die"], counts: dict[str, int]) -> None:
        self.rule = rule
        self._counts = counts
        self._waiting: dict[Work, tuple[LockTable, str]] = {}  # who waits, and where
        self._branches: dict[int, list[Work]] = {}  # branches that wait, by their business transaction

    def begin(self, work: Work, store: LockTable, key: str) -> None:
        """A local transaction queues for a lock."""
        # A branch may wait on several services at once, and all of its locks hang on the slowest: rings are looked for by business transaction.
        self._waiting[work] = store, key
        if _is_branch(work):
            self._branches.setdefault(work.tx, []).append(work)

    def end(self, work: Work) -> None:
        """Take it out of the queue."""
        if self._waiting.pop(work, None) is not None and _is_branch(work):
            branches = self._branches[work.tx]
            branches.remove(work)
            if not branches:
                del self._branches[work.tx]

    def may_wait(self, work: Work) -> bool:
        """Return whether this local transaction, just queued for a lock, may go on waiting."""
        if self.rule == "timeout":
            return True
        if self.rule == "wait-die":
            # No ring can form if waits lead to younger ones only, so those before it in the queue count like the owner.
            refused = any(_younger(work, other) for other in self._before(work))
        else:
            refused = self._ring(work)
        if refused:
            self._counts["deadlocks"] += 1
        return not refused

    def gave_up(self) -> None:
        """Count that somebody has waited for a lock as long as the store allows."""
        self._counts["lock_timeouts"] += 1

    def _before(self, work: Work) -> Iterator[Work]:
        """Local transactions for which it waits: the owner of the lock, and who is before it in the queue."""
        store, key = self._waiting[work]
        yield store.owners[key]
        for other in store.waiters[key]:
            if other is work:
                return
            yield other

    def _ring(self, work: Work) -> bool:
        """Return whether somebody for whom this one waits waits for it in turn.

        Who was met in a queue needs not be looked at there again: those before it have been met, too. So a queue is walked once.
        """
        seen: set[int] = set()
        walked: set[int] = set()
        stack = [work]
        while stack:
            other = stack.pop()
            for waiting in self._branches.get(other.tx, ()) if _is_branch(other) else (other,):
                if waiting not in self._waiting or id(waiting) in walked:
                    continue
                place = self._waiting[waiting]
                for blocker in self._before(waiting):
                    if _one(blocker, work):
                        return True
                    if self._waiting.get(blocker) == place:
                        walked.add(id(blocker))
                    if id(blocker) not in seen:
                        seen.add(id(blocker))
                        stack.append(blocker)
        return False


def _is_branch(work: Work) -> bool:
    """Return whether its locks are held until all branches of a distributed transaction are done, not just until it is durable itself."""
    return type(work.effect) is not Transact


def _younger(work: Work, other: Work) -> bool:
    return _is_branch(work) and work.tx > other.tx


def _one(work: Work, other: Work) -> bool:
    """Return whether they are the same, or branches of the same distributed transaction: then each ends only when both can."""
    return work is other or (work.tx == other.tx and _is_branch(work) and _is_branch(other))
