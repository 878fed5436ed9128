"""Deadlocks across stores: found, prevented or left to the lock timeout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from simtx.protocols import Transact

if TYPE_CHECKING:
    from simtx.simulator.store import Store
    from simtx.simulator.work import Work


class Deadlocks:
    """The scenario's rule for a local transaction that would have to wait for a lock.

    ``timeout``: wait, the store's lock timeout resolves what has become a ring. ``detect``: look for a ring in the waits-for graph of
    all stores and fail the one that closes it. ``wait-die``: a branch of a distributed transaction never waits for an older business
    transaction (Rosenkrantz, Stearns, Lewis, TODS 1978), so that no ring can form. Who queues for a lock waits for its owner and for
    everybody before it in the queue. Local transactions on their own, as those of a saga, never form a ring: they take their locks in
    the order of the keys and hold none elsewhere.
    """

    def __init__(self, rule: Literal["timeout", "detect", "wait-die"]) -> None:
        self.rule = rule
        self.stores: list[Store] = []
        self.victims = 0
        self.timeouts = 0

    def may_wait(self, work: Work) -> bool:
        """Whether this local transaction, just queued for a lock, may go on waiting."""
        if self.rule == "timeout":
            return True
        waits = {id(waiting): (waiting, before) for one in self.stores for waiting, before in one.waits()}
        if self.rule == "wait-die":
            refused = any(_younger(work, other) for other in waits[id(work)][1])
        else:
            refused = _ring(work, list(waits.values()))
        if refused:
            self.victims += 1
        return not refused


def _is_branch(work: Work) -> bool:
    """Whether its locks are held until all branches of a distributed transaction are done, not just until it is durable itself."""
    return type(work.effect) is not Transact


def _younger(work: Work, other: Work) -> bool:
    return _is_branch(work) and work.tx > other.tx


def _ring(work: Work, waits: list[tuple[Work, list[Work]]]) -> bool:
    """Whether somebody for whom this one waits waits for it in turn."""
    seen: set[int] = set()
    stack = [work]
    while stack:
        other = stack.pop()
        for waiting, before in waits:
            if not _one(waiting, other):
                continue
            for blocker in before:
                if _one(blocker, work):
                    return True
                if id(blocker) not in seen:
                    seen.add(id(blocker))
                    stack.append(blocker)
    return False


def _one(work: Work, other: Work) -> bool:
    """Whether they are the same, or branches of the same distributed transaction: then each ends only when both can."""
    return work is other or (work.tx == other.tx and _is_branch(work) and _is_branch(other))
