"""The workers of a service: a FIFO queue before c servers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from simtx.simulator.environment import Environment
from simtx.simulator.journal import Journal
from simtx.simulator.store import Work


class Pool:
    """Workers that each serve one local transaction at a time, until it is durable.

    Args:
        env: The clock.
        workers: How many.
        limit: How many may wait; None: any number.
        served: Called with the work when its service time is over; the worker stays with it until `release`.
    """

    __slots__ = (
        "_env",
        "_free",
        "_served",
        "_since",
        "busy_time",
        "epoch",
        "factor",
        "journal",
        "limit",
        "queue",
        "workers",
    )

    def __init__(
        self, env: Environment, workers: int, limit: int | None, served: Callable[[tuple[int, Work]], None]
    ) -> None:
        self._env = env
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

    @property
    def busy(self) -> int:
        """Workers at work right now."""
        return self.workers - self._free

    def submit(self, work: Work, demand: float) -> bool:
        """Start the work or queue it; False if the queue is full."""
        if self._free:
            self._start(work, demand)
            return True
        if self.limit is not None and len(self.queue) >= self.limit:
            return False
        self.queue.append((work, demand))
        return True

    def _start(self, work: Work, demand: float) -> None:
        now = self._env.now
        self.busy_time += (self.workers - self._free) * (now - self._since)
        self._since = now
        self._free -= 1
        work.served = True
        if self.journal is not None:
            self.journal.serving(work.tx, "serve")
        if demand > 0:
            self._env.call_in(demand * self.factor, self._served, (self.epoch, work))
        else:
            self._served((self.epoch, work))

    def release(self, work: Work) -> None:
        """The worker of this local transaction has finished; the next in the queue gets it."""
        if self.journal is not None:
            self.journal.serving(work.tx, "free")
        if self.queue:
            following, demand = self.queue.popleft()
            following.served = True  # by the heap even if it takes no time: a long queue would be a deep recursion
            if self.journal is not None:
                self.journal.serving(following.tx, "serve")
            self._env.call_in(demand * self.factor, self._served, (self.epoch, following))
            return
        self.account()
        self._free += 1

    def account(self) -> None:
        """Bring `busy_time` (worker-seconds) up to now."""
        now = self._env.now
        self.busy_time += (self.workers - self._free) * (now - self._since)
        self._since = now

    def crash(self) -> None:
        """All workers are free again, nothing waits."""
        self.account()
        self.epoch += 1
        self.queue.clear()
        self._free = self.workers
