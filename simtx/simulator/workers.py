"""The workers of a service: a FIFO queue before c servers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heappush

from simtx.event_log.journal import Journal
from simtx.metrics.stations import Station
from simtx.simulator.environment import NORMAL, Environment
from simtx.simulator.work import Work


class Workers:
    """Workers that each serve one local transaction at a time, until it is durable.

    `waiting` and `served` count those in the queue and at the workers, `work` the service time that was begun, in worker-seconds.

    Args:
        env: The clock.
        workers: How many.
        limit: How many may wait; None: any number.
        served: Called with the work when its service time is over; the worker stays with it until `release`.
        begun: Called with the work when a worker begins on it.
        wanted: Says whether it is still to be done; what is not takes no service time. None: all is.
    """

    __slots__ = (
        "_begun",
        "_env",
        "_free",
        "_served",
        "_since",
        "_wanted",
        "busy_time",
        "epoch",
        "factor",
        "journal",
        "limit",
        "queue",
        "served",
        "waiting",
        "work",
        "workers",
    )

    def __init__(
        self,
        env: Environment,
        workers: int,
        limit: int | None,
        served: Callable[[Work], None],
        begun: Callable[[Work], object],
        wanted: Callable[[Work], bool] | None = None,
    ) -> None:
        self._env = env
        self._begun = begun
        self._wanted = wanted
        self._free = workers
        self._served = served
        self._since = 0.0
        self.workers = workers
        self.limit = limit
        self.queue: deque[tuple[Work, float]] = deque()
        self.busy_time = 0.0
        self.factor = 1.0
        self.epoch = 0
        self.journal: Journal | None = None
        self.waiting = Station()
        self.served = Station()
        self.work = 0.0

    @property
    def busy(self) -> int:
        """Workers at work right now."""
        return self.workers - self._free

    def submit(self, work: Work, demand: float) -> bool:
        """Start the work or queue it; False if the queue is full."""
        free = self._free
        if free:
            env = self._env
            now = env.now
            self.busy_time += (self.workers - free) * (now - self._since)
            self._since = now
            self._free = free - 1
            work.epoch = self.epoch
            self._begun(work)
            if self._wanted is not None and not self._wanted(work):
                demand = 0.0
            work.since = now
            served = self.served  # `Station.enter` without a call, as for `leave` below
            served.arrivals += 1
            served.present += 1
            served.entries += now
            self.work += demand * self.factor
            if self.journal is not None:
                self.journal.serving(work.tx, "serve")
            if demand > 0:
                sequence = env.sequence
                heappush(env.queue, (now + demand * self.factor, NORMAL, sequence(), self._served, work))
            else:
                self._served(work)
            return True
        if self.limit is not None and len(self.queue) >= self.limit:
            return False
        work.since = self._env.now
        self.waiting.enter(work.since)
        self.queue.append((work, demand))
        return True

    def spend(self, work: Work, demand: float, then: Callable[[Work], None]) -> None:
        """The worker of a local transaction spends service time only now, with the locks in hand; call back at its end."""
        self.work += demand * self.factor
        if demand > 0:
            env = self._env
            heappush(env.queue, (env.now + demand * self.factor, NORMAL, env.sequence(), then, work))
        else:
            then(work)

    def release(self, work: Work) -> None:
        """The worker of this local transaction has finished; the next in the queue gets it."""
        env = self._env
        now = env.now
        if self.journal is not None:
            self.journal.serving(work.tx, "free")
        served, since = self.served, work.since
        served.departures += 1
        served.present -= 1
        served.exits += now
        served.stayed += now - since
        if self.queue:
            following, demand = self.queue.popleft()
            following.epoch = self.epoch
            self._begun(following)
            if self._wanted is not None and not self._wanted(following):
                demand = 0.0
            self.waiting.leave(now, following.since)
            following.since = now
            self.served.enter(now)
            self.work += demand * self.factor
            if self.journal is not None:
                self.journal.serving(following.tx, "serve")
            # By the heap even if it takes no time: a long queue would be a deep recursion.
            heappush(env.queue, (now + demand * self.factor, NORMAL, env.sequence(), self._served, following))
            return
        free = self._free
        self.busy_time += (self.workers - free) * (now - self._since)
        self._since = now
        self._free = free + 1

    def account(self) -> None:
        """Bring `busy_time` (worker-seconds) up to now."""
        now = self._env.now
        self.busy_time += (self.workers - self._free) * (now - self._since)
        self._since = now

    def accounted(self) -> tuple[float, float]:
        """`busy_time` in worker-seconds, and up to when."""
        return self.busy_time, self._since

    def restore(self, busy_time: float, busy: int, since: float, work: float) -> None:
        """Take what somebody else has counted, who played this pool."""
        self.busy_time, self._since, self.work = busy_time, since, work
        self._free = self.workers - busy

    def crash(self) -> None:
        """All workers are free again, nothing waits."""
        self.account()
        self.waiting.clear(self._env.now)
        self.served.clear(self._env.now)
        self.epoch += 1
        self.queue.clear()
        self._free = self.workers
