"""The workers of a real service: threads that sleep the service time and then run the local transaction."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

Job = Callable[[], Any]
Report = Callable[[Any, BaseException | None, float, float], None]
Begin = Callable[[], float]


def perform(job: Job, report: Report, begin: Begin | None = None) -> None:
    """Begin, serve for as long as that says, do the job, and report."""
    begun = time.monotonic()
    result, error = None, None
    try:
        demand = 0.0 if begin is None else begin()
        if demand > 0:
            time.sleep(demand)
        result = job()
    except Exception as problem:  # noqa: BLE001 - it is reported to the loop, which decides
        error = problem
    report(result, error, begun, time.monotonic())


class Workers:
    """A FIFO queue before a few threads.

    Args:
        name: For the threads.
        count: How many work at once.
        limit: How many jobs may wait; None: any number.
    """

    def __init__(self, name: str, count: int, limit: int | None = None) -> None:
        self._jobs: queue.SimpleQueue[tuple[Job, Report, Begin | None] | None] = queue.SimpleQueue()
        self._limit = limit
        self.count = count
        self.busy = 0  # jobs taken in and not reported, on the loop's side
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True) for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, job: Job, report: Report, begin: Begin | None = None) -> bool:
        """Have a job done after a service time; False if the queue is full.

        Args:
            job: Called in a worker's thread.
            report: Called there afterwards with the result, the error, and the times at which the worker began and ended.
            begin: Called when the worker begins; returns the seconds for which it is busy before the job.
        """
        if self._limit is not None and self.busy >= self.count + self._limit:
            return False
        self.busy += 1
        self._jobs.put((job, report, begin))
        return True

    def _work(self) -> None:
        while (item := self._jobs.get()) is not None:
            perform(*item)

    def stop(self) -> None:
        """End the threads after what they have begun; nothing of what waits is begun any more."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._jobs.get_nowait()
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(timeout=5)
