"""The row locks of one store: exclusive, with a queue for each key.

A local transaction takes its locks in the order of the keys and holds them until it is durable. Across stores, rings of waiting transactions are the business of
`simtx.simulator.deadlocks`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from simtx.metrics.stations import Station
from simtx.protocols import Status
from simtx.simulator.work import Work

if TYPE_CHECKING:
    from simtx.event_log.journal import Journal
    from simtx.simulator.deadlocks import Deadlocks
    from simtx.simulator.environment import Environment

_NONE: Final[list[str]] = []


class Owner(Protocol):
    """The node of a store, as its locks know it."""

    env: Environment
    journal: Journal | None


class RowLocks:
    """Row locks of a store: their holders, and the queues for them.

    Args:
        node: The node, which owns the clock and the event log.
        timeout: Seconds after which a waiting local transaction gives up.
        deadlocks: The rule that finds or prevents rings of waiting transactions.
        granted: Called with a local transaction that has all of its locks.
        failed: Called with one that has given up, and the status that it ends with.

    Attributes:
        owners: By key, who has its lock. The dictionary stays the same object: a store looks into it before all else.
        waiters: By key, who queues for it.
        waits: What the queues have counted.
        taken: Locks that were let go so far.
        held: For how many lock-seconds they were held.
    """

    __slots__ = (
        "_deadlocks",
        "_failed",
        "_granted",
        "_node",
        "_timeout",
        "held",
        "owners",
        "taken",
        "waiters",
        "waits",
    )

    def __init__(
        self,
        node: Owner,
        timeout: float,
        deadlocks: Deadlocks,
        granted: Callable[[Work], None],
        failed: Callable[[Work, Status], None],
    ) -> None:
        self._node = node
        self._timeout = timeout
        self._deadlocks = deadlocks
        self._granted = granted
        self._failed = failed
        self.owners: dict[str, Work] = {}
        self.waiters: dict[str, deque[Work]] = {}
        self.waits = Station()
        self.taken = 0
        self.held = 0.0

    def acquire(self, work: Work) -> None:
        """Take all locks that a local transaction needs, in the order of their keys, or queue for the first that is not free."""
        owners = self.owners
        for position, key in enumerate(work.keys):
            # It keeps the locks that it has while it waits, as in a database. Keys are in order, so that no ring forms within one store.
            if owners.get(key, work) is not work:
                for free in work.keys[:position]:
                    self.own(work, free)
                self._wait(work, key)
                return
        # Free locks are not noted here: most local transactions end inside of this call. `Store._hold` notes those of one that lasts.
        if work.wait_since >= 0:
            self._end_wait(work, "granted")
        self._granted(work)

    def own(self, work: Work, key: str) -> None:
        """Give a lock that is free to a local transaction."""
        if self.owners.get(key) is not work:
            self.owners[key] = work
            work.locked_from += self._node.env.now

    def release(self, work: Work) -> None:
        """Let all locks of a local transaction go; who is first in their queues goes on."""
        if not work.keys:
            return
        owners = self.owners
        # Some may never have been noted, see `acquire`.
        keys = work.keys
        if len(keys) == 1:  # most have one
            freed = keys if owners.get(keys[0]) is work else _NONE
        else:
            freed = [key for key in keys if owners.get(key) is work]
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
                # Handed over at once, so that nobody who comes at this instant can overtake the queue.
                self.own(follower, key)
                followers.append((key, follower))
        for key, follower in followers:  # only now, so that none of them takes a key that another one waits for
            if self.owners.get(key) is follower:
                self.acquire(follower)

    def _wait(self, work: Work, key: str) -> None:
        env = self._node.env
        if work.wait_since < 0:
            work.wait_since = env.now
            self.waits.enter(env.now)
            # One timeout for all of its locks, as `lock_timeout` of a scenario is one for the local transaction.
            env.call_in(self._timeout, self._give_up, work)
        self.waiters.setdefault(key, deque()).append(work)
        self._deadlocks.begin(work, self, key)
        if not self._deadlocks.may_wait(work):
            self._leave(work, "deadlock")
            self._failed(work, "failed")

    def _give_up(self, work: Work) -> None:
        # A local transaction that works with its locks may wait a second time, for the lock of the outbox: that wait has a timeout of its own.
        if work.wait_since >= 0 and work.wait_since + self._timeout <= self._node.env.now and work.actor.alive:
            self._leave(work, "timeout")
            self._deadlocks.gave_up()
            self._failed(work, "failed")

    def _leave(self, work: Work, end: str) -> None:
        """Stop waiting, without the lock."""
        for key, queue in list(self.waiters.items()):
            if work in queue:
                queue.remove(work)
                if not queue:
                    del self.waiters[key]
        self._end_wait(work, end)
        self.release(work)

    def _end_wait(self, work: Work, end: str) -> None:
        node, record = self._node, work.actor.record
        seconds = node.env.now - work.wait_since
        self.waits.leave(node.env.now, work.wait_since)
        work.wait_since = -1.0
        self._deadlocks.end(work)
        if record is not None:
            record.lock_wait += seconds
        if node.journal is not None:
            node.journal.waited(work.tx, seconds, end)

    def _count(self, work: Work, freed: Sequence[str]) -> None:
        """Count for how long these locks were held, which end now, released or lost in a crash."""
        if not freed:
            return
        node, record = self._node, work.actor.record
        seconds = node.env.now * len(freed) - work.locked_from
        work.locked_from = 0.0
        self.taken += len(freed)
        self.held += seconds
        if record is not None:
            record.lock_hold += seconds
        if node.journal is not None:
            node.journal.unlocked(work.tx, freed, seconds)

    def crash(self, prepared: Collection[Work]) -> None:
        """End all waits, and all locks but those of branches that are prepared; what is lost is counted."""
        kept = {id(branch) for branch in prepared}
        for work in {id(one): one for queue in self.waiters.values() for one in queue}.values():
            self._end_wait(work, "lost")
        for work in {id(owner): owner for owner in self.owners.values() if id(owner) not in kept}.values():
            self._count(work, [key for key in work.keys if self.owners.get(key) is work])
        self.waiters.clear()
        self.waits.clear(self._node.env.now)

    def restore(self, prepared: Collection[Work]) -> None:
        """Give branches that a crash has left the locks that they had."""
        self.owners.clear()
        self.owners.update({key: branch for branch in prepared for key in branch.keys})

    def held_at_the_end(self) -> Iterator[tuple[Work, list[str]]]:
        """Work that still has locks when a run is over, and its keys."""
        for work in {id(owner): owner for owner in self.owners.values()}.values():
            yield work, [key for key, owner in self.owners.items() if owner is work]

    def end_of_run(self) -> None:
        """End all waits when a run is over: whoever waits has waited until now."""
        for queue in list(self.waiters.values()):
            for work in queue:
                self._end_wait(work, "open")
