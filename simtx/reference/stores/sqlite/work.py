"""Local transactions on an SQLite file: one at a time, open ones, prepared ones; in the threads of those who ask for them.

A local transaction takes its row locks, reads what is committed, plays its operations, and hands what it writes to the thread that writes; its
locks go when that is on disk. Idempotency rows have locks of their own, so that of two local transactions with one key the
second one finds the first one's row. Open branches are in memory alone; a prepared one is a row of the file, with its redo and its
locks, which are taken again at a restart before anybody else can have them.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from simtx.protocols import Branch, Execute, Operation, Prepare, Status, Transact
from simtx.protocols.codec import dumps, loads
from simtx.protocols.names import TOMBSTONE
from simtx.protocols.operations import FirstValues, locked, play
from simtx.reference.stores.base import Result, StoreFailed
from simtx.reference.stores.sqlite.locks import Holder, RowLocks, inbox_lock
from simtx.reference.stores.sqlite.tables import (
    BranchRow,
    Readers,
    Writes,
    branch_rows,
    changes_of,
    to_json,
    values_of,
)
from simtx.reference.stores.sqlite.writer import Task, Writer

_DONE: Final = dumps("done")
_TOMBSTONE: Final = dumps(TOMBSTONE)


class _Branch(Holder):
    """A local transaction that outlives one operation: open, then prepared."""

    __slots__ = ("changes", "ended", "inbox", "prepared", "reads", "record", "restored", "steps", "tx")

    def __init__(self, tx: int) -> None:
        super().__init__()
        self.tx = tx
        self.changes: dict[str, tuple[float, float]] = {}
        self.reads: dict[str, float] = {}
        self.steps: tuple[int, ...] = ()
        self.inbox: str | None = None
        self.record = ""
        self.prepared = 0.0  # monotonic seconds
        self.restored = False  # it is one of before a restart
        self.ended: threading.Event | None = None  # of the second phase that has begun


class LocalTransactions:
    """Local transactions of one store. The methods are those of `simtx.reference.stores.base.Store`.

    Args:
        writer: What writes the file.
        readers: What reads it.
        locks: The row locks.
        first: First values of keys.
        serializable: Whether reads lock.

    Raises:
        StoreFailed: The prepared branches cannot be read.
    """

    def __init__(
        self, writer: Writer, readers: Readers, locks: RowLocks, first: FirstValues, *, serializable: bool
    ) -> None:
        self._writer = writer
        self._readers = readers
        self._locks = locks
        self._first = first
        self._serializable = serializable
        self._open: dict[int, _Branch] = {}
        self._prepared: dict[int, _Branch] = {}
        self._mutex = threading.Lock()  # of the claims on prepared branches
        with readers.one() as db:
            rows = list(branch_rows(db))
        for row, since in rows:
            self._restore(row, since)

    def _restore(self, row: BranchRow, since: float) -> None:
        """Take the locks of a prepared branch again."""
        branch = self._prepared[row.tx] = _Branch(row.tx)
        branch.inbox, branch.record, branch.prepared, branch.restored = row.inbox, row.record, since, True
        try:
            branch.changes = changes_of(row.changes)
            branch.reads = json.loads(row.reads)
            branch.steps = tuple(json.loads(row.steps))
            keys = json.loads(row.locks)
        except (ValueError, TypeError, AttributeError) as error:
            raise StoreFailed(
                f"{self._writer.path}: the prepared branch of transaction {row.tx} is damaged ({error}); restore the file"
            ) from error
        # Before the node listens, so nobody can be in the way.
        self._locks.acquire(branch, [*([] if row.inbox is None else [inbox_lock(row.inbox)]), *keys])

    # --- one at a time ------------------------------------------------------------------------------------------------------------

    def transact(self, tx: int, effect: Transact, work: float) -> Result:
        """As `Store.transact`."""
        holder = Holder()
        try:
            return self._transact(tx, effect, holder, work)
        except Exception:  # what interrupts this thread alone leaves the locks to the writer
            self._locks.release(holder)
            raise

    def _transact(self, tx: int, effect: Transact, holder: Holder, work: float) -> Result:
        key = None if effect.key is None else dumps(effect.key)
        undoes = None if effect.undoes is None else dumps(effect.undoes)
        operations = effect.operations
        inbox: list[tuple[str, str]] = []
        names = [one for one in (key, undoes) if one is not None]
        if names:
            # Rows that need not exist yet have locks, too: of two local transactions with one key, the second finds the row of the first.
            if not self._locks.acquire(holder, map(inbox_lock, names)):
                return self._end(holder, Result("failed"))
            known = self._inbox(names)
            if key is not None and key in known:
                return self._end(holder, Result("duplicate", loads(known[key])))
            if undoes is not None and (undoes not in known or loads(known[undoes]) != effect.undone_if):
                operations = ()
                if undoes not in known:
                    inbox.append((undoes, _TOMBSTONE))
        changes: dict[str, tuple[float, float]] = {}
        reads: dict[str, float] = {}
        status = self._play(holder, operations, changes, reads, work)
        row = effect.accepted
        if status == "refused":
            row = effect.refused
            changes = {}
        if status == "failed" or (status == "refused" and row is None):
            return self._end(holder, Result(status, reads=reads))
        if key is not None:
            inbox.append((key, dumps(status if row is None or row.value is None else row.value)))
        outbox = _texts(row)
        result = Result(
            status, reads=reads, changes=changes, steps=effect.steps if changes else (), outbox=bool(outbox)
        )
        if changes or inbox or outbox:
            # A refusal changes no data, so its row locks go before the write; its name stays locked until its row is there.
            if status == "refused":
                self._locks.release(holder, names=False)
            writes = Writes(tx, tuple(inbox), changes, effect.steps, effect.compensation, outbox)
            self._writer.force(Task(writes, partial(self._locks.release, holder), forced=True))
            result.forced, result.history = True, writes.history
        return self._end(holder, result)

    def _play(
        self,
        holder: Holder,
        operations: Sequence[Operation],
        changes: dict[str, tuple[float, float]],
        reads: dict[str, float],
        work: float,
    ) -> Status:
        """Lock what these operations need, work for so many seconds, and play them on what is committed and on earlier changes."""
        refuses = bool(operations) and operations[0].kind == "refuse"
        if not refuses and not self._locks.acquire(holder, sorted(locked(operations, self._serializable))):
            return "failed"
        if work > 0:
            time.sleep(work)
        if refuses or not operations:
            return "refused" if refuses else "done"
        needed = {operation.key for operation in operations if operation.kind != "refuse"}
        committed = self._values(tuple(needed.difference(changes)))
        return "done" if play(operations, committed, changes, reads) else "refused"

    def _values(self, keys: tuple[str, ...]) -> dict[str, float]:
        """Committed values of these keys, all as of one moment."""
        if not keys:
            return {}
        with self._readers.one() as db:
            return values_of(db, keys, self._first)

    def _inbox(self, keys: Sequence[str]) -> dict[str, str]:
        """Values of those of these idempotency rows that are there."""
        marks = ",".join("?" * len(keys))
        with self._readers.one() as db:
            return dict(db.execute(f"SELECT key, value FROM inbox WHERE key IN ({marks})", keys).fetchall())  # noqa: S608

    def _end(self, holder: Holder, result: Result) -> Result:
        """A local transaction is over: its locks go, if the writer has not released them, and the result says so."""
        self._locks.release(holder)
        return _told(holder, result)

    # --- branches -----------------------------------------------------------------------------------------------------------------

    def execute(self, tx: int, effect: Execute, work: float) -> Result:
        """As `Store.execute`."""

        def extend(branch: _Branch) -> Result:
            result = self._extend(branch, effect, work)
            if result.status == "done":
                self._open[tx] = branch
            return result

        return self._joined(tx, extend)

    def prepare(self, tx: int, effect: Prepare, work: float) -> Result:
        """As `Store.prepare`; a transaction that has a prepared branch cannot have a second one: ``failed``."""
        return self._joined(tx, lambda branch: self._prepare(branch, effect, work))

    def _joined(self, tx: int, operate: Callable[[_Branch], Result]) -> Result:
        """Play something in the open branch, or in a new one; nothing is left of a branch in which it was not done."""
        if tx in self._prepared:
            return Result("failed")
        branch = self._open.get(tx) or _Branch(tx)
        branch.waited, branch.wait_end = 0.0, ""
        try:
            result = operate(branch)
        except Exception:
            self._forsake(branch)
            raise
        if result.status != "done":
            self._forsake(branch)
        return _told(branch, result)

    def _prepare(self, branch: _Branch, effect: Prepare, work: float) -> Result:
        if effect.key is not None:
            branch.inbox = dumps(effect.key)
            if not self._locks.acquire(branch, [inbox_lock(branch.inbox)]):
                return Result("failed")
            known = self._inbox([branch.inbox])
            if known:
                return Result("duplicate", loads(known[branch.inbox]))
        result = self._extend(branch, effect, work)
        if result.status != "done":
            return result
        # From here on it is the writer's: who ends it meanwhile finds nothing, and neither its rows nor its locks are touched.
        self._open.pop(branch.tx, None)
        branch.record = dumps(effect.record)
        row = BranchRow(
            branch.tx,
            branch.inbox,
            to_json(branch.rows()),
            to_json(branch.changes),
            to_json(branch.reads),
            branch.record,
            to_json(branch.steps),
        )
        self._writer.force(Task(Writes(branch.tx, branch=row), partial(self._promote, branch), forced=True))
        return Result("done", forced=True, reads=dict(branch.reads), steps=branch.steps)

    def _extend(self, branch: _Branch, effect: Execute | Prepare, work: float) -> Result:
        """Play further operations of a branch."""
        # A copy, since a refusal in the middle must not leave half of the operations.
        changes = dict(branch.changes)
        reads: dict[str, float] = {}
        status = self._play(branch, effect.operations, changes, reads, work)
        if status == "done":
            branch.changes = changes
            branch.reads.update(reads)
            branch.steps = tuple(dict.fromkeys((*branch.steps, *effect.steps)))
        return Result(status, reads=reads)

    def _forsake(self, branch: _Branch) -> None:
        """Leave nothing of an open branch."""
        self._open.pop(branch.tx, None)
        self._locks.release(branch)

    def _promote(self, branch: _Branch) -> None:
        """Count a branch as prepared from here on: it is on disk."""
        branch.prepared = time.monotonic()
        self._open.pop(branch.tx, None)
        self._prepared[branch.tx] = branch

    # --- second phase -------------------------------------------------------------------------------------------------------------

    def commit(self, tx: int) -> Result:
        """As `Store.commit`."""
        branch = self._claim(tx)
        if branch is None:
            return Result()
        inbox = () if branch.inbox is None else ((branch.inbox, _DONE),)
        writes = Writes(tx, inbox, branch.changes, branch.steps, ended=True)
        result = self._second_phase(branch, writes, forced=True)
        result.reads, result.changes, result.history = branch.reads, branch.changes, writes.history
        return result

    def rollback(self, tx: int, *, forced: bool) -> Result:
        """As `Store.rollback`; of an open branch that has changed nothing the result says what it has read."""
        branch = self._open.get(tx)
        if branch is not None:
            self._forsake(branch)
            reads = {} if branch.changes else branch.reads
            return _told(branch, Result(reads=reads, steps=branch.steps))
        branch = self._claim(tx)
        return Result() if branch is None else self._second_phase(branch, Writes(tx, ended=True), forced=forced)

    def _claim(self, tx: int) -> _Branch | None:
        """The prepared branch, for the caller alone to end; None if there is none, or no more."""
        with self._mutex:
            branch = self._prepared.get(tx)
            if branch is None:
                return None
            # A second request for the same branch waits for the first one's write: its answer says that the branch has ended, so that has to be
            # durable.
            ended = branch.ended
            if ended is None:
                branch.ended = threading.Event()
                return branch
        ended.wait()
        if self._writer.failure is not None:
            raise self._writer.failure
        return None

    def _second_phase(self, branch: _Branch, writes: Writes, *, forced: bool) -> Result:
        since = time.monotonic()
        task = Task(writes, partial(self._finish, branch), forced=forced)
        try:
            if forced:
                self._writer.force(task)
                since = time.monotonic()
            else:  # whoever locks these rows next is written behind it
                task.settle = None
                self._writer.defer(task)
                self._finish(branch)
        finally:
            if branch.ended is not None:
                branch.ended.set()
        result = Result(forced=forced, steps=branch.steps, in_doubt=max(0.0, since - branch.prepared))
        branch.waited, branch.wait_end = 0.0, ""
        _told(branch, result)
        if branch.restored:
            result.held = 0.0
        return result

    def _finish(self, branch: _Branch) -> None:
        """Count a branch as prepared no more."""
        del self._prepared[branch.tx]
        self._locks.release(branch)


def _texts(row: Branch | None) -> tuple[tuple[int, str], ...]:
    return () if row is None else tuple((message.tx, dumps(message)) for message in row.outbox)


def _told(holder: Holder, result: Result) -> Result:
    """Add to a result what it says of locks."""
    result.waited, result.wait_end = holder.waited, holder.wait_end
    result.unlocked, result.held = holder.unlocked, holder.held
    return result
