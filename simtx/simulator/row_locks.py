"""Exclusive row locks with queues of those who wait.

Locks of one local transaction are taken in the order of their keys, so that two local transactions never wait for each other in a ring;
across stores that is the business of the scenario's deadlock rule (`simtx.simulator.locks`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from simtx.protocols import Status, Transact
from simtx.protocols.operations import locked
from simtx.simulator.tables import Tables
from simtx.simulator.work import Work

OUTBOX_LOCK: Final = "~outbox"
"""Name of the lock that stands for the whole outbox (`Transact.serial_outbox`); it comes behind most keys, so that it is taken last."""


class RowLocks(Tables):
    """The part of a `Store` that gives out locks."""

    __slots__ = ()

    def _evaluate(self, work: Work) -> None:
        raise NotImplementedError

    def drop(self, work: Work, status: Status) -> None:
        """End a local transaction that was refused or has failed."""
        raise NotImplementedError

    def _lockable(self, work: Work) -> list[str]:
        keys = locked(work.operations, self._serializable)
        effect = work.effect
        if type(effect) is Transact and effect.serial_outbox and effect.outbox_rows():
            keys.add(OUTBOX_LOCK)
        branch = self.open.get(work.tx)
        if branch is not None:
            keys.difference_update(branch.keys)
        return sorted(keys)

    def _acquire(self, work: Work) -> None:
        owners = self.owners
        for position, key in enumerate(work.keys):
            if owners.get(key, work) is not work:
                for free in work.keys[:position]:
                    self._own(work, free)
                self._wait(work, key)
                return
        if work.wait_since >= 0:
            self._end_wait(work, "granted")
        self._evaluate(work)

    def _own(self, work: Work, key: str) -> None:
        if self.owners.get(key) is not work:
            self.owners[key] = work
            work.locked_from += self._node.env.now

    def _hold(self, work: Work) -> None:
        if not work.keys:
            work.keys = self._lockable(work)
        for key in work.keys:
            self._own(work, key)

    def _wait(self, work: Work, key: str) -> None:
        env = self._node.env
        if work.wait_since < 0:
            work.wait_since = env.now
            self.lock_waits.enter(env.now)
            env.call_in(self._lock_timeout, self._give_up, work)
        self.waiters.setdefault(key, deque()).append(work)
        self._deadlocks.begin(work, self, key)
        if not self._deadlocks.may_wait(work):
            self._leave(work, "deadlock")
            self.drop(work, "failed")

    def _give_up(self, work: Work) -> None:
        if work.wait_since >= 0 and work.actor.alive:
            self._leave(work, "timeout")
            self._deadlocks.timeouts += 1
            self.drop(work, "failed")

    def _leave(self, work: Work, end: str) -> None:
        """Stop waiting, without the lock."""
        for key, queue in list(self.waiters.items()):
            if work in queue:
                queue.remove(work)
                if not queue:
                    del self.waiters[key]
        self._end_wait(work, end)
        self._release(work)

    def _end_wait(self, work: Work, end: str) -> None:
        node, record = self._node, work.actor.record
        seconds = node.env.now - work.wait_since
        self.lock_waits.leave(node.env.now, work.wait_since)
        work.wait_since = -1.0
        self._deadlocks.end(work)
        if record is not None:
            record.lock_wait += seconds
        if node.journal is not None:
            node.journal.waited(work.tx, seconds, end)

    def _count(self, work: Work, freed: Sequence[str]) -> None:
        """These locks end now, released or lost in a crash: for how long they were held."""
        if not freed:
            return
        node, record = self._node, work.actor.record
        seconds = node.env.now * len(freed) - work.locked_from
        work.locked_from = 0.0
        self.locks_taken += len(freed)
        self.locks_held += seconds
        if record is not None:
            record.lock_hold += seconds
        if node.journal is not None:
            node.journal.unlocked(work.tx, freed, seconds)

    def _release(self, work: Work) -> None:
        if not work.keys:
            return
        owners = self.owners
        freed = [key for key in work.keys if owners.get(key) is work]
        if not freed:
            return
        self._count(work, freed)
        followers = []
        for key in freed:
            del owners[key]
            queue = self.waiters.get(key)
            if queue:
                follower = queue.popleft()
                self._deadlocks.end(follower)
                if not queue:
                    del self.waiters[key]
                self._own(follower, key)
                followers.append((key, follower))
        for key, follower in followers:  # only now, so that none of them takes a key that another one waits for
            if self.owners.get(key) is follower:
                self._acquire(follower)
