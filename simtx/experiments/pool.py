"""Many independent calls in parallel processes; what is finished survives an interruption and the death of a worker.

Processes come from loky: functions and classes that were defined in a notebook reach them. They are new ones for every comparison, so
that code which was edited and reloaded in between is the code that runs. Ctrl-C is for the parent alone: workers are started with that
signal blocked, else each of them would print a traceback of its own.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")


class WorkerDied(Exception):
    """A worker process ended in the middle of its work."""


def processors() -> int:
    """Number of processors that this process may use, container limits included."""
    from loky import cpu_count

    return int(cpu_count())


@contextmanager
def results(function: Callable[..., T], calls: Sequence[tuple[object, ...]], processes: int) -> Iterator[Iterator[T]]:
    """Results of ``function(*call)`` as they are finished; leaving the block ends all processes.

    Args:
        function: Importable, or picklable by value.
        calls: Arguments of each call.
        processes: With 1, everything runs in this process, in order.

    Raises:
        WorkerDied: While iterating; what came before is valid.
    """
    if processes == 1:
        yield (function(*call) for call in calls)
        return
    from loky import ProcessPoolExecutor

    executor = ProcessPoolExecutor(max_workers=processes)
    complete = False
    try:
        with _interrupts_held_back():
            futures = [executor.submit(function, *call) for call in calls]
        yield _as_they_come(futures)
        complete = all(future.done() for future in futures)
    finally:
        executor.shutdown(wait=True, kill_workers=not complete)


def _as_they_come(futures: Sequence[Future[T]]) -> Iterator[T]:
    from concurrent.futures import as_completed
    from concurrent.futures.process import BrokenProcessPool

    died = False
    for future in as_completed(futures):
        try:
            result = future.result()
        except BrokenProcessPool:
            died = True  # there may be finished ones among the rest
            continue
        yield result
    if died:
        raise WorkerDied("a worker process died: killed, out of memory, or a crash of an extension module")


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Hold back Ctrl-C; processes that are started meanwhile never see it, and this one gets it afterwards."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
