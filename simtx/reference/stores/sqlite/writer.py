"""The one thread that writes a service's SQLite file, with group commit.

Whoever has something to write hands it over and, if it is to be durable, waits. The thread takes what has come together meanwhile, writes all of it
in one transaction of the database, and answers after the COMMIT. What need not be durable yet waits in memory for the next COMMIT, or for
`lazy_flush` seconds at most. Everything is written in the order in which it was handed over.
"""

from __future__ import annotations

import itertools
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from simtx.reference.stores.base import StoreFailed
from simtx.reference.stores.sqlite.tables import BUSY_PATIENCE, Tables, Writes, connect, failure

GROUP: Final = 256
"""Forced tasks that share a COMMIT at most."""

_BATCH: Final = 10_000  # tasks of both kinds, so that those that nobody waits for do not pile up

_CHECKPOINT_PAGES: Final = 4000  # 16 MB of log: about 10 ms to read at a restart
_PAGES_A_GROUP: Final = 2
_PAGES_A_TASK: Final = 3
_TASK_ERRORS: Final = (sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH)


class Task:
    """One operation's writes.

    Args:
        writes: What; None: nothing, which waits for what was handed over before.
        settle: Called in the writer's thread after the COMMIT, before any of the group is answered.
        forced: Whether somebody waits for it.
    """

    __slots__ = ("_gate", "error", "forced", "settle", "since", "writes")

    def __init__(self, writes: Writes | None, settle: Callable[[], None] | None = None, *, forced: bool) -> None:
        self.writes = writes
        self.settle = settle
        self.forced = forced
        self.since = 0.0
        self.error: BaseException | None = None
        self._gate = threading.Lock()
        self._gate.acquire()

    def wait(self) -> None:
        """Return after the COMMIT.

        Raises:
            StoreFailed: There was none; whether the writes are there will be known at the next start.
        """
        self._gate.acquire()
        if self.error is not None:
            raise self.error

    def answer(self) -> None:
        """Let `wait` return."""
        self._gate.release()


class Writer:
    """The thread and its queue.

    Args:
        path: The file, with its tables.
        forced: Whether a COMMIT forces the log to disk.
        group: Whether tasks share COMMITs.
        lazy_flush: Seconds after which what nobody waits for is written.
        retention: Seconds for which idempotency rows are kept at least.
        flushes: Seconds that COMMITs take at least, one after the other and then from the first again: a slower disk than the one at hand. Empty: what they take.
        on_failure: Called once, in the thread, when the database cannot go on.

    Raises:
        sqlite3.Error: The file cannot be used.
    """

    def __init__(
        self,
        path: Path,
        *,
        forced: bool,
        group: bool,
        lazy_flush: float,
        retention: float,
        flushes: Sequence[float] = (),
        on_failure: Callable[[StoreFailed], None],
    ) -> None:
        self.path = path
        self.failure: StoreFailed | None = None
        self._limit = GROUP if group else 1
        self._lazy_flush = lazy_flush
        self._flushes = itertools.cycle(flushes or (0.0,))
        self._prunes = forced
        self._on_failure = on_failure
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._gate = threading.Lock()  # nothing is handed over behind the end of the queue
        self.closed = False
        self._pages = 0
        self.db = connect(path, forced=forced, busy=BUSY_PATIENCE)
        try:
            self._tables = Tables(self.db, retention)
        except BaseException:
            self.db.close()
            raise
        self._thread = threading.Thread(target=self._work, name=f"writer of {path.name}", daemon=True)
        self._thread.start()

    def force(self, task: Task) -> None:
        """Hand over a task and wait for its COMMIT.

        Raises:
            StoreFailed: There was none.
        """
        with self._gate:
            if self.failure is not None:
                raise self.failure
            if self.closed:
                raise StoreFailed(f"{self.path}: the store is closed")
            self._tasks.put(task)
        task.wait()

    def defer(self, task: Task) -> None:
        """Hand over a task that nobody waits for; it is lost if the database cannot go on, or the process ends, before it is written."""
        task.since = time.monotonic()
        with self._gate:
            if self.failure is None and not self.closed:
                self._tasks.put(task)

    def flush(self) -> None:
        """Return when everything that was handed over is written.

        Raises:
            StoreFailed: It cannot be.
        """
        self.force(Task(None, forced=True))

    def close(self) -> None:
        """Write what is left and let the file go. Idempotent."""
        with self._gate:
            if not self.closed:
                self.closed = True
                self._tasks.put(None)
        self._thread.join()

    # --- the thread -------------------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        batch: list[Task] = []
        more = True
        try:
            while more:
                batch, more = self._take()
                if batch:
                    self._commit(batch)
        except BaseException as error:  # noqa: BLE001 - whatever it is, those who wait have to get it
            self._fail(failure(self.path, error), batch)
        finally:
            try:
                self.db.close()
            except sqlite3.Error as error:
                self._fail(failure(self.path, error), [])

    def _take(self) -> tuple[list[Task], bool]:
        """Wait for the next group, in order; False with it if it is the last."""
        batch: list[Task] = []
        forced = 0
        while forced < self._limit and len(batch) < _BATCH:
            try:
                # Somebody waits for this group: it takes what is there and does not wait for more. Those who come during the COMMIT are the next group.
                if forced:
                    task = self._tasks.get_nowait()
                # Only tasks that nobody waits for so far: they may wait for company until the first of them is due.
                elif batch:
                    left = batch[0].since + self._lazy_flush - time.monotonic()
                    task = self._tasks.get(timeout=min(max(0.0, left), threading.TIMEOUT_MAX))
                else:
                    task = self._tasks.get()
            except queue.Empty:
                break
            if task is None:
                return batch, False
            batch.append(task)
            forced += task.forced
        return batch, True

    def _commit(self, batch: list[Task]) -> None:
        if any(task.writes is not None for task in batch):
            self._write(batch)
        # All of the group settle before any is answered: whoever is told first must find the locks and rows of the others as the COMMIT left them.
        for task in batch:
            if task.settle is not None and task.error is None:
                task.settle()
        for task in batch:
            task.answer()
        batch.clear()
        if self._pages >= _CHECKPOINT_PAGES:
            self._checkpoint()

    def _write(self, batch: list[Task]) -> None:
        execute = self.db.execute
        execute("BEGIN IMMEDIATE")
        now = time.monotonic()
        try:
            self._tables.write([task.writes for task in batch if task.writes is not None], now)
        except Exception as error:
            if _fatal(error):
                raise
            # One task's values may not fit. The others of the group have done nothing wrong, and are written one by one.
            execute("ROLLBACK")
            execute("BEGIN IMMEDIATE")
            self._write_each(batch, now)
        if self._prunes:
            self._tables.prune(now)
        begin = time.monotonic()
        execute("COMMIT")
        left = begin + next(self._flushes) - time.monotonic()
        if left > 0:
            time.sleep(left)
        self._pages += _PAGES_A_GROUP + _PAGES_A_TASK * len(batch)

    def _write_each(self, batch: list[Task], now: float) -> None:
        """Find out what in the group cannot be written, so that the others do not suffer."""
        for task in batch:
            if task.writes is None:
                continue
            self.db.execute("SAVEPOINT task")
            try:
                self._tables.write([task.writes], now)
            except Exception as error:
                if _fatal(error):
                    raise
                self.db.execute("ROLLBACK TO task")
                task.error = error
            self.db.execute("RELEASE task")

    def _checkpoint(self) -> None:
        """Bring the log back into the file, after the answers; what another process still reads of it stays for the next time."""
        _, pages, done = self.db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        self._pages = max(0, pages - done)

    def _fail(self, error: StoreFailed, batch: list[Task]) -> None:
        """End for good: after an error of the disk nobody knows what is in the file until it is opened anew."""
        with self._gate:
            self.failure = error
        lost = batch
        while not self._tasks.empty():
            task = self._tasks.get()
            if task is not None:
                lost.append(task)
        self._on_failure(error)
        for task in lost:
            task.error = error
            task.answer()


def _fatal(error: Exception) -> bool:
    """Return whether it is the database that cannot go on, and not one task's values that do not fit (a number beyond 64 bits, a broken string)."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF not in _TASK_ERRORS
