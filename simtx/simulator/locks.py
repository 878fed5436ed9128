"""Deadlocks across stores: found, prevented or left to the lock timeout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from simtx.simulator.store import Store, Work


class Deadlocks:
    """The scenario's rule for a local transaction that would have to wait for a lock.

    ``timeout``: wait, the store's lock timeout resolves what has become a ring. ``detect``: look for a ring in the waits-for graph of
    all stores and fail the one that closes it. ``wait-die``: a younger business transaction never waits for an older one's lock if it
    holds something elsewhere (Rosenkrantz, Stearns, Lewis, TODS 1978), so that no ring can form.
    """

    def __init__(self, rule: Literal["timeout", "detect", "wait-die"]) -> None:
        self.rule = rule
        self.stores: list[Store] = []
        self.victims = 0
        self.timeouts = 0

    def may_wait(self, work: Work, store: Store, key: str) -> bool:
        """Whether this local transaction, just queued for `key`, may go on waiting."""
        if self.rule == "timeout":
            return True
        owner = store.owners[key]
        refused = self._younger(work, owner) if self.rule == "wait-die" else self._ring(work.tx, owner.tx)
        if refused:
            self.victims += 1
        return not refused

    def _younger(self, work: Work, owner: Work) -> bool:
        holds = any(w.tx == work.tx for store in self.stores for w in (*store.prepared.values(), *store.open.values()))
        spans = holds or type(work.effect).__name__ != "Transact"  # a branch of a distributed transaction
        return spans and work.tx > owner.tx

    def _ring(self, start: int, first: int) -> bool:
        seen: set[int] = set()
        stack = [first]
        while stack:
            tx = stack.pop()
            if tx == start:
                return True
            if tx in seen:
                continue
            seen.add(tx)
            stack.extend(owner.tx for store in self.stores for owner in store.waiting_for(tx))
        return False
