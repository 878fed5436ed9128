"""Executors of runs: this process, worker processes (copies of this one, or new ones of loky), a Dask cluster, or any executor of the standard interface.

An executor of `concurrent.futures` takes calls and returns futures. What it cannot say is here: how many calls to give it at once, and
whether it can be made anew after a worker process has died with it.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
import warnings
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, Final, TypeAlias, TypeVar

from simtx.errors import RunFailed, ScenarioError
from simtx.experiments.interrupts import blocked

T = TypeVar("T")

ExecutorLike: TypeAlias = Executor | Callable[[], Executor] | str | None
"""Executors that `simtx.sweep` and `simtx.compare` accept: see `backend`."""
_IDLE: Final = 20.0  # seconds after which worker processes end that nobody has given anything to do
_CONNECT: Final = "5s"
_WORTH: Final = 6.0  # seconds of a processor that must be left before new worker processes are started for it
_WORTH_COPIES: Final = 0.5  # the same of copies of this process, which take some hundredths of a second to make
_SEEN: Final = 4  # last calls by which the time of the others is judged
_LONG: Final = 1.0  # seconds of a call that is judged at once
_OURS: Final = "simtx-"  # names of our threads begin with it
_LOOK: Final = 2.0  # seconds between two looks at how many workers a cluster has


def processors() -> int:
    """Number of processors that this process may use, container limits included."""
    from loky import cpu_count

    return int(cpu_count())


def is_death(error: BaseException) -> bool:
    """Return whether an error says that a worker process has died, and nothing about the call itself."""
    return isinstance(error, BrokenExecutor) or type(error).__name__ == "KilledWorker"  # the latter is Dask's


def is_drop(error: BaseException) -> bool:
    """Return whether an error says that the executor has dropped a call, as a scheduler does that has lost its clients or its memory."""
    return isinstance(error, CancelledError) or type(error).__name__ == "FutureCancelledError"


class Backend(ABC):
    """An executor, with what a pool has to know about it."""

    inline = False
    """True if a call is over when `submit` returns."""

    @abstractmethod
    def submit(self, function: Callable[..., T], *arguments: object) -> Future[T]:
        """Start a call."""

    @abstractmethod
    def capacity(self) -> int:
        """Number of calls that it should have at once, so that no worker waits for the next one."""

    @abstractmethod
    def rebuild(self) -> None:
        """Make it work again after the death of a worker.

        Raises:
            RunFailed: It cannot be.
        """

    def close(self, *, kill: bool) -> None:  # noqa: B027 - there may be nothing to let go of
        """Let go of it.

        Args:
            kill: End calls that are under way, where that is possible.
        """


class Serial(Backend):
    """Everything in this process, one call after the other: for debugging, and where processes cannot be started."""

    inline = True

    def submit(self, function: Callable[..., T], *arguments: object) -> Future[T]:
        """Make the call."""
        future: Future[T] = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:  # noqa: BLE001 - as every executor does
            future.set_exception(error)
        return future

    def capacity(self) -> int:
        """One at a time."""
        return 1

    def rebuild(self) -> None:
        """Do nothing: nothing can break."""


class Loky(Backend):
    """Worker processes of loky: functions and classes that were defined in a notebook reach them.

    The processes of the last call stay for some seconds, so that many short sweeps do not start new ones each; they are used again only
    by calls for the same code (`version`), so that code that was edited and loaded again in between is the code that runs.

    Args:
        processes: How many.
        version: Stands for the code that the calls will run.
        idle: Seconds after which processes end that nobody has given anything to do.
    """

    _kept: tuple[int, str, float, Any] | None = None

    def __init__(self, processes: int, version: str = "", idle: float = _IDLE) -> None:
        self.processes = processes
        self.version = version
        self.idle = idle
        kept, Loky._kept = Loky._kept, None
        self._executor: Any = None
        if kept is not None and kept[:3] == (processes, version, idle):
            self._executor = kept[3]
        elif kept is not None:
            kept[3].shutdown(wait=False, kill_workers=True)

    @classmethod
    def running(cls, processes: int, version: str) -> bool:
        """Return whether so many are there already, for this code."""
        return cls._kept is not None and cls._kept[:2] == (processes, version)

    def submit(self, function: Callable[..., T], *arguments: object) -> Future[T]:
        """Start a call; worker processes are started with the first one."""
        with blocked():
            if self._executor is None:
                from loky import ProcessPoolExecutor

                self._executor = ProcessPoolExecutor(self.processes, timeout=self.idle, initializer=_end_with_parent)
            future: Future[T] = self._executor.submit(function, *arguments)
        return future

    def capacity(self) -> int:
        """One under way and one waiting for each process."""
        return 2 * self.processes

    def rebuild(self) -> None:
        """New processes with the next call."""
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=True, kill_workers=True)

    def close(self, *, kill: bool) -> None:
        """Keep the processes for the next one, or end them at once."""
        executor, self._executor = self._executor, None
        if executor is None:
            return
        if kill:
            executor.shutdown(wait=True, kill_workers=True)
        else:
            Loky._kept = (self.processes, self.version, self.idle, executor)


def _end_with_parent() -> None:
    _end_with(os.getppid())


def _end_with(parent: int) -> None:
    """Let a worker process end soon after its parent, also if that was killed and could say nothing."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, name=f"{_OURS}parent", daemon=True).start()


class Forked(Backend):
    """Worker processes that are copies of this one, as `copyable` allows them: they have loaded all that it has, and all that it has learned.

    They end with the calls that they were made for, so that they never run code that was edited since.

    Args:
        processes: How many.
    """

    def __init__(self, processes: int) -> None:
        self.processes = processes
        self._executor: ProcessPoolExecutor | None = None

    def submit(self, function: Callable[..., T], *arguments: object) -> Future[T]:
        """Start a call; the copies are made with the first one, all at once."""
        with blocked():
            if self._executor is not None:
                return self._executor.submit(function, *arguments)
            self._executor = ProcessPoolExecutor(
                self.processes, mp_context=get_context("fork"), initializer=_copied, initargs=(os.getpid(),)
            )
            with warnings.catch_warnings():
                # Python 3.12 warns of copies of a process with threads; a run touches no lock that one of ours may hold.
                warnings.simplefilter("ignore", DeprecationWarning)
                try:
                    return self._executor.submit(function, *arguments)
                except OSError as error:
                    raise RunFailed(f"no worker processes can be made: {error}; workers=1 needs none") from None

    def capacity(self) -> int:
        """One under way and one waiting for each process."""
        return 2 * self.processes

    def rebuild(self) -> None:
        """New copies with the next call."""
        self.close(kill=True)

    def close(self, *, kill: bool) -> None:
        """End the copies; with `kill` at once."""
        executor, self._executor = self._executor, None
        if executor is None:
            return
        if kill:
            for process in list((executor._processes or {}).values()):  # noqa: SLF001 - Python 3.14 has kill_workers for it
                process.kill()
        executor.shutdown(wait=True, cancel_futures=True)


def copyable() -> bool:
    """Return whether worker processes can be copies of this one.

    A copy has one thread, and of what the others were about it has what they have left half-way, locks included. So there must be none but those that
    are known to hold no lock that a run needs: that rules out notebooks. Of the systems, macOS has libraries that do not stand it.
    """
    known = all(
        one is threading.main_thread() or one.name.startswith(_OURS) or type(one).__name__ == "TMonitor"  # tqdm's
        for one in threading.enumerate()
    )
    # before 3.11.5 the standard pool may hang when a worker dies that has much to read (gh-94777)
    return sys.platform == "linux" and sys.version_info >= (3, 11, 5) and known


def _copied(parent: int) -> None:
    """Make a copy of a process a worker: signals that its parent has handlers for do to it what they usually do, and it ends soon after its parent."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    gc.freeze()  # what was thrown away before is for the parent to clear away, with what that does
    _end_with(parent)


class Growing(Backend):
    """Executor in this process, until it is seen that what is left takes longer than worker processes are worth.

    To start a new one costs more than a second.

    Args:
        calls: How many there will be at most.
        processes: How many worker processes there may be.
        version: Stands for the code that the calls will run.
    """

    def __init__(self, calls: int, processes: int, version: str = "") -> None:
        self._left, self._made = calls, 0
        self._processes, self._version = processes, version
        self._took: deque[float] = deque(maxlen=_SEEN)
        self._here = Serial()
        self._workers: Backend | None = None
        self.inline = True
        self._worth = _WORTH_COPIES if copyable() else _WORTH
        if Loky.running(processes, version):
            self._grow()

    def _grow(self) -> None:
        self._workers = _processes(self._processes, self._version)
        self.inline = False

    def submit(self, function: Callable[..., T], *arguments: object) -> Future[T]:
        """Make the call here, or start it in a worker process."""
        if self._workers is not None:
            return self._workers.submit(function, *arguments)
        start = time.thread_time()
        future = self._here.submit(function, *arguments)
        self._left -= 1
        self._took.append(time.thread_time() - start)
        self._made += 1
        seen = self._made >= 2 * _SEEN or self._took[-1] > _LONG  # the first ones also learn
        if seen and self._left * sum(self._took) / len(self._took) > self._worth:
            self._grow()
        return future

    def capacity(self) -> int:
        """One at a time, here; else as its worker processes have it."""
        return 1 if self._workers is None else self._workers.capacity()

    def rebuild(self) -> None:
        """New processes with the next call."""
        if self._workers is not None:
            self._workers.rebuild()

    def close(self, *, kill: bool) -> None:
        """Close it as its worker processes do."""
        if self._workers is not None:
            self._workers.close(kill=kill)


class Given(Backend):
    """An executor of the user's, who made it and will shut it down; or a function that makes one, which can then be made anew.

    Args:
        executor: The executor, or the function.
        workers: How many calls it can work on at once; None: as it says itself, or one a processor.
    """

    def __init__(self, executor: Executor | Callable[[], Executor], workers: int | None = None) -> None:
        self._make = None if isinstance(executor, Executor) else executor
        self._executor = executor if isinstance(executor, Executor) else None
        self._workers = workers
        self._seen = (-_LOOK, 0)

    @property
    def executor(self) -> Executor:
        """The executor; made now if it is to be made."""
        if self._executor is None:
            if self._make is None:
                raise AssertionError("an executor was given, or a function that makes one")
            with blocked():
                made: Any = self._make()
            if not isinstance(made, Executor):
                raise ScenarioError(
                    f"the function returned {type(made).__name__}, which is no concurrent.futures.Executor", "executor"
                )
            self._executor = made
        return self._executor

    def submit(self, function: Callable[..., T], *arguments: object) -> Future[T]:
        """Start a call."""
        with blocked():
            return self.executor.submit(function, *arguments)

    def capacity(self) -> int:
        """Two for each of its workers."""
        return 2 * max(self._workers or self._count(), 1)

    def _count(self) -> int:
        """Workers of the executor: of a Dask cluster all threads that it has at present."""
        executor: Any = self.executor
        client = getattr(executor, "_client", None)
        if client is None or not hasattr(client, "nthreads"):
            return int(getattr(executor, "_max_workers", None) or processors())
        when, count = self._seen
        if time.monotonic() - when > _LOOK:
            count = sum(client.nthreads().values())
            self._seen = (time.monotonic(), count)
        return count

    def rebuild(self) -> None:
        """Make it anew, if we know how. An executor without processes of its own here, as Dask's, needs nothing."""
        executor: Any = self._executor
        if executor is None or hasattr(executor, "_client"):
            return
        if self._make is None:
            raise RunFailed(
                f"a worker process died, and the {type(executor).__name__} with it; give a function that makes a new one, as in "
                "executor=lambda: ProcessPoolExecutor(4), or executor=None"
            )
        executor.shutdown(wait=False, cancel_futures=True)
        self._executor = None

    def close(self, *, kill: bool) -> None:
        """Shut down what was made here; leave what was given."""
        if self._make is not None and self._executor is not None:
            self._executor.shutdown(wait=not kill, cancel_futures=True)
            self._executor = None


class Dask(Given):
    """A Dask cluster that exists already, by the address of its scheduler.

    Args:
        address: As in ``tcp://10.0.0.1:8786``.

    Raises:
        ScenarioError: `distributed` is not installed, or nobody answers there.
    """

    def __init__(self, address: str) -> None:
        try:
            import distributed
        except ImportError:
            raise ScenarioError(
                "a Dask scheduler needs the extra 'cluster': pip install 'simtx[cluster]'", address
            ) from None
        try:
            client: Any = distributed.Client
            self._client = client(address, timeout=_CONNECT, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            raise ScenarioError(f"no Dask scheduler answers there: {type(error).__name__}", address) from None
        super().__init__(self._client.get_executor(pure=False))

    def close(self, *, kill: bool) -> None:  # noqa: ARG002 - the futures were cancelled
        """Leave the cluster to others."""
        self._client.close()


def _processes(count: int, version: str) -> Backend:
    """Worker processes of this machine: copies of this process where they can be made and no others wait already."""
    return Forked(count) if copyable() and not Loky.running(count, version) else Loky(count, version)


def check(executor: ExecutorLike, workers: int | None) -> None:
    """Refuse what is no executor, and no number of workers; whether somebody answers at an address is not tried.

    Raises:
        ScenarioError: It is none.
    """
    if workers is not None and (isinstance(workers, bool) or workers != int(workers) or workers < 1):
        raise ScenarioError(f"must be a whole number from 1, or None for one a processor, not {workers!r}", "workers")
    if isinstance(executor, str):
        if executor not in ("serial", "loky") and "://" not in executor:
            raise ScenarioError(
                f"{executor!r} is neither 'serial' nor 'loky' nor the address of a scheduler (tcp://...)", "executor"
            )
        return
    other: Any = executor
    if not (other is None or isinstance(other, Executor) or (callable(other) and not isinstance(other, type))):
        raise ScenarioError(
            f"a {type(executor).__name__} is no concurrent.futures.Executor, nor a function that makes one", "executor"
        )


def backend(
    executor: ExecutorLike, workers: int | None, calls: int, version: str = "", *, growing: bool = False
) -> Backend:
    """The backend that is meant.

    Args:
        executor: None: worker processes of this machine, or this process if one is enough; ``loky``: worker processes that start anew, also where
            copies of this one can be made; ``serial``: this process; the address of a Dask scheduler (``tcp://...``); an executor; or a function that makes one.
        workers: Processes; None: one a processor. Of an executor: how many calls it can work on at once.
        calls: How many there will be.
        version: Stands for the code that they run.
        growing: Whether this process may begin, where nothing is said of executor and workers.

    Raises:
        ScenarioError: It is none of these.
    """
    check(executor, workers)
    processes = min(workers or processors(), max(calls, 1))
    if executor is None:
        if processes > 1 and workers is None and growing:
            return Growing(calls, processes, version)
        return Serial() if processes == 1 else _processes(processes, version)
    if isinstance(executor, str):
        if executor == "serial":
            return Serial()
        if executor == "loky":
            return Loky(processes, version)
        return Dask(executor)
    return Given(executor, workers)
