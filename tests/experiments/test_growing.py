"""Worker processes are started only for work that is worth it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest

from simtx.experiments import executors
from simtx.experiments.executors import Forked, Growing, Serial, copyable


class _Workers(Serial):
    """Stands for worker processes."""

    inline = False
    started = 0

    def __init__(self, processes: int, version: str) -> None:
        type(self).started += 1

    @classmethod
    def running(cls, processes: int, version: str) -> bool:
        return False

    def capacity(self) -> int:
        return 4


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes calls that take so many seconds each, and says after how many of them there were workers."""

    def made(count: int, seconds: float, *, copies: bool = False) -> list[bool]:
        ticks = iter(range(10 * count))
        monkeypatch.setattr(executors, "time", SimpleNamespace(thread_time=lambda: next(ticks) * seconds))
        monkeypatch.setattr(executors, "Loky", _Workers)
        monkeypatch.setattr(executors, "copyable", lambda: copies)
        monkeypatch.setattr(executors, "Forked", lambda processes: _Workers(processes, ""))
        monkeypatch.setattr(_Workers, "started", 0)
        backend = Growing(count, 2)
        seen = []
        for number in range(count):
            future: Future[int] = backend.submit(lambda number=number: number)
            assert future.result() == number
            seen.append(not backend.inline)
        assert _Workers.started == int(any(seen))
        assert backend.capacity() == (4 if any(seen) else 1)
        return seen

    return made


def test_little_work_stays_in_this_process(calls: Any) -> None:
    assert not any(calls(80, 0.05))


def test_workers_come_once_it_is_seen_that_much_is_left(calls: Any) -> None:
    seen = calls(80, 0.2)
    assert seen.index(True) == 7  # the first ones also learn, so that they say little
    assert all(seen[7:])


def test_copies_of_this_process_come_sooner(calls: Any) -> None:
    assert calls(80, 0.05, copies=True).index(True) == 7


def test_long_runs_get_workers_behind_the_first_one(calls: Any) -> None:
    assert calls(10, 5.0)[0]


def test_nobody_is_started_for_the_last_run(calls: Any) -> None:
    assert not any(calls(1, 60.0))


def test_a_process_with_a_thread_of_somebody_elses_is_not_copied() -> None:
    over = threading.Event()
    thread = threading.Thread(target=over.wait, name="notebook")
    thread.start()
    try:
        assert not copyable()
    finally:
        over.set()
        thread.join()


def _probe() -> tuple[int, bool, int]:
    return os.getppid(), signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, len(_LEARNED)


_LEARNED: list[int] = []


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have libraries that do not stand copies")
def test_a_copy_has_what_was_learned_and_none_of_its_parents_handlers() -> None:
    """A handler of the parent's, as that of the command line, would keep a worker from ending when it is told to."""
    _LEARNED.append(1)
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    backend = Forked(1)
    try:
        assert backend.submit(_probe).result(60) == (os.getpid(), True, len(_LEARNED))
    finally:
        signal.signal(signal.SIGTERM, before)
        backend.close(kill=False)
