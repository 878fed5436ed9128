"""A store of your own: all tables in memory, and one file that every change is appended to.

The file holds a line a change. When the store is opened, it plays the lines again. Three ideas of a real database are kept, since the
machines rely on them: row locks (those of the SQLite store are used), a line that is forced to disk before the answer, and branches that
keep their locks over a restart. There is no group commit, and the file grows for ever.

The relay is a process of its own. It reads the same file behind the place that it has read, and notes what it has published in a second
file, so that each file has one writer.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from simtx.protocols import Branch, Execute, Message, Operation, OutboxRow, Prepare, Record, Status, Transact
from simtx.protocols.codec import decode_as, dumps, encode, loads
from simtx.protocols.names import TOMBSTONE
from simtx.protocols.operations import FirstValues, locked, play
from simtx.reference.stores.base import Change, PreparedBranch, Result, Store, StoreDamaged, StoreFailed
from simtx.reference.stores.sqlite.locks import Holder, RowLocks, inbox_lock
from simtx.reference.stores.sqlite.ownership import Ownership


class _Branch(Holder):
    """A local transaction that outlives one operation; `record` is empty until it is prepared."""

    def __init__(self, tx: int) -> None:
        super().__init__()
        self.tx = tx
        self.changes: dict[str, tuple[float, float]] = {}
        self.reads: dict[str, float] = {}
        self.steps: tuple[int, ...] = ()
        self.inbox: str | None = None
        self.record = ""
        self.since = 0.0  # when it was prepared, in seconds of time.monotonic
        self.restored = False  # it is one of before a restart


class _Outbox:
    """The outbox rows of a journal, read behind the place that was read before; for the service and for its relay."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._marks = journal.with_name(f"{journal.name}.marks")
        self._place = self._number = 0
        self._rows: dict[int, Message] = {}
        self._mutex = threading.Lock()

    def rows(self) -> list[tuple[int, Message]]:
        """Those that are committed and not marked, by their numbers."""
        with self._mutex, suppress(FileNotFoundError), self._journal.open("rb") as file:
            # A line can be read before its writer has forced it. An event of a change that a power cut takes back must not go out.
            os.fsync(file.fileno())
            file.seek(self._place)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # still being written
                self._place += len(line)
                for coded in json.loads(line).get("outbox", ()):
                    self._rows[self._number] = decode_as(Message, coded)
                    self._number += 1
        with self._mutex:
            marked = self._marks.read_text().split() if self._marks.exists() else []
            for number in map(int, marked):
                self._rows.pop(number, None)
            return sorted(self._rows.items())

    def mark(self, ids: Sequence[int]) -> None:
        """They are published. Nothing is forced: a mark that is lost costs a second publication."""
        with self._mutex, self._marks.open("a") as file:
            file.write("".join(f"{number}\n" for number in ids))


class JournalStore(Store):
    """The store of one service in a file of lines.

    Args:
        path: The file; made if need be, in a folder that exists.
        run: Identity of the run that it belongs to.
        service: Name of the service.
        initial: First values by key; a key that ends in ``*`` stands for every key with that prefix.
        serializable: Whether reads lock.
        lock_timeout: Seconds for which an operation waits for row locks before it fails.
        create: Whether the file may be new.
        relay: Whether it is the relay's, which reads and marks outbox rows and nothing else.
        **_: Options of other stores: there is nothing to flush, to group, or to delete after a time.

    Raises:
        StoreDamaged: The file is missing, or another service's.
        StoreFailed: Another process owns it.
    """

    def __init__(
        self,
        path: Path,
        *,
        run: str,
        service: str,
        initial: Mapping[str, float],
        serializable: bool,
        lock_timeout: float,
        create: bool = True,
        relay: bool = False,
        **_: object,
    ) -> None:
        self._outbox = _Outbox(path)
        self._relay = relay
        if relay:
            return
        self._first = FirstValues({key: float(value) for key, value in initial.items()})
        self._serializable = serializable
        self._locks = RowLocks(lock_timeout)
        self._mutex = threading.Lock()  # of the file and of the tables below
        self._values = dict(self._first.exact)
        self._inbox: dict[str, str] = {}
        self._log: dict[int, list[Record]] = {}
        self._history: list[Change] = []
        self._open: dict[int, _Branch] = {}
        self._prepared: dict[int, _Branch] = {}
        if not create and not path.exists():
            raise StoreDamaged(f"{path}: the journal is missing; restore it from a backup")
        self._owner = Ownership(path)
        self._file = path.open("a+b")
        self._replay({"run": run, "service": service})

    # --- the journal --------------------------------------------------------------------------------------------------------------

    def _replay(self, identity: dict[str, str]) -> None:
        """Make the tables from the lines, and lock again what prepared branches had locked."""
        in_doubt: dict[int, Any] = {}
        end = 0
        self._file.seek(0)
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            entry = json.loads(line)
            if end == 0 and entry != identity:
                self.close()
                raise StoreDamaged(f"{self._file.name}: is the journal of {entry}, not of {identity}")
            end += len(line)
            self._apply(entry)
            if "branch" in entry:
                in_doubt[entry["tx"]] = entry["branch"]
            if entry.get("ended"):
                in_doubt.pop(entry["tx"], None)
        self._file.truncate(end)  # nobody was answered for a line that a crash has cut short
        if end == 0:
            self._write(identity, forced=True)
        for tx, row in in_doubt.items():
            branch = self._prepared[tx] = _Branch(tx)
            branch.changes, branch.reads, branch.steps = _pairs(row["changes"]), row["reads"], tuple(row["steps"])
            branch.inbox, branch.record, branch.since = row["inbox"], row["record"], row["since"]
            branch.restored = True
            self._locks.acquire(branch, [*([] if branch.inbox is None else [inbox_lock(branch.inbox)]), *row["locks"]])

    def _write(self, entry: dict[str, Any], *, forced: bool) -> None:
        """Append a line, and change the tables when it is as durable as it has to be."""
        with self._mutex:
            self._append(entry, forced=forced)

    def _append(self, entry: dict[str, Any], *, forced: bool) -> None:
        if self._file.closed:
            raise StoreFailed(f"{self._file.name}: the store is closed")
        self._file.write(json.dumps(entry).encode() + b"\n")
        self._file.flush()
        if forced:
            os.fsync(self._file.fileno())
        self._apply(entry)

    def _apply(self, entry: dict[str, Any]) -> None:
        """Do to the tables what a line says."""
        tx = entry.get("tx", -1)
        self._inbox.update(entry.get("inbox", {}))
        if "record" in entry:
            self._log.setdefault(tx, []).append(loads(entry["record"]))
        if "forgotten" in entry:
            self._log.pop(tx, None)
        changes = _pairs(entry.get("changes", {}))
        if changes:
            self._values.update({key: new for key, (_, new) in changes.items()})
            steps, undo, when = tuple(entry["steps"]), entry["compensation"], entry["when"]
            self._history.append(Change(len(self._history), tx, steps, undo, changes, when))

    # --- local transactions -------------------------------------------------------------------------------------------------------

    def transact(
        self,
        tx: int,
        effect: Transact,
        rows: Sequence[int] = (),  # noqa: ARG002 - numbered by the file
        work: float = 0.0,
    ) -> Result:
        """As `Store.transact`."""
        holder = Holder()
        try:
            result = self._transact(tx, effect, holder, work)
        finally:
            self._locks.release(holder)
        return _with_locks(result, holder)

    def _transact(self, tx: int, effect: Transact, holder: Holder, work: float) -> Result:
        key, undoes = (None if one is None else dumps(one) for one in (effect.key, effect.undoes))
        # Rows have locks of their own: of two that come with one key at once, the second one finds the row of the first.
        if not self._locks.acquire(holder, [inbox_lock(one) for one in (key, undoes) if one is not None]):
            return Result("failed")
        if key in self._inbox:
            return Result("duplicate", loads(self._inbox[key]))
        operations = effect.operations
        inbox: dict[str, str] = {}
        if undoes is not None and (undoes not in self._inbox or loads(self._inbox[undoes]) != effect.undone_if):
            operations = ()  # its action took no effect, and never will if it has not come yet
            if undoes not in self._inbox:
                inbox[undoes] = dumps(TOMBSTONE)
        changes: dict[str, tuple[float, float]] = {}
        reads: dict[str, float] = {}
        status = self._play(holder, operations, changes, reads, work)
        branch: Branch | None = effect.accepted
        if status == "refused":
            branch, changes = effect.refused, {}
        if status == "failed" or (status == "refused" and branch is None):
            return Result(status, reads=reads)
        if key is not None:
            inbox[key] = dumps(status if branch is None or branch.value is None else branch.value)
        outbox = [encode(message) for message in branch.outbox] if branch is not None else []
        steps = effect.steps if changes else ()
        result = Result(status, reads=reads, changes=changes, steps=steps, outbox=bool(outbox))
        if changes or inbox or outbox:
            entry = {"tx": tx, "inbox": inbox, "outbox": outbox, **_changed(changes, steps, undo=effect.compensation)}
            result.forced, result.history = True, self._commit(entry, changes)
        return result

    def _commit(self, entry: dict[str, Any], changes: object) -> int:
        """Force a line that may have changes; the number of its row in the history."""
        with self._mutex:
            self._append(entry, forced=True)
            return len(self._history) - 1 if changes else -1

    def _play(
        self,
        holder: Holder,
        operations: Sequence[Operation],
        changes: dict[str, tuple[float, float]],
        reads: dict[str, float],
        work: float,
    ) -> Status:
        """Lock rows in the order of their keys, so that no two wait for each other, work, and play the operations."""
        refuses = bool(operations) and operations[0].kind == "refuse"
        if not refuses and not self._locks.acquire(holder, sorted(locked(operations, self._serializable))):
            return "failed"
        if work > 0:
            time.sleep(work)
        if refuses:
            return "refused"
        with self._mutex:
            committed = {one.key: self._values.get(one.key, self._first(one.key)) for one in operations}
        return "done" if play(operations, committed, changes, reads) else "refused"

    # --- branches -----------------------------------------------------------------------------------------------------------------

    def execute(self, tx: int, effect: Execute, work: float = 0.0) -> Result:
        """As `Store.execute`."""
        branch = self._begin(tx)
        return self._done(branch, self._extend(branch, effect, work))

    def prepare(self, tx: int, effect: Prepare, work: float = 0.0) -> Result:
        """As `Store.prepare`."""
        branch = self._begin(tx)
        return self._done(branch, self._prepare(branch, effect, work))

    def _begin(self, tx: int) -> _Branch:
        branch = self._open.setdefault(tx, _Branch(tx))
        branch.waited, branch.wait_end = 0.0, ""
        return branch

    def _extend(self, branch: _Branch, effect: Execute | Prepare, work: float) -> Result:
        if branch.tx in self._prepared:
            return Result("failed")
        changes = dict(branch.changes)
        reads: dict[str, float] = {}
        status = self._play(branch, effect.operations, changes, reads, work)
        if status == "done":
            branch.changes = changes
            branch.reads |= reads
            branch.steps = tuple(dict.fromkeys((*branch.steps, *effect.steps)))
        return Result(status, reads=reads)

    def _prepare(self, branch: _Branch, effect: Prepare, work: float) -> Result:
        if effect.key is not None:
            branch.inbox = dumps(effect.key)
            if not self._locks.acquire(branch, [inbox_lock(branch.inbox)]):
                return Result("failed")
            if branch.inbox in self._inbox:
                return Result("duplicate", loads(self._inbox[branch.inbox]))
        result = self._extend(branch, effect, work)
        if result.status != "done":
            return result
        branch.record, branch.since = dumps(effect.record), time.monotonic()
        row = {"changes": branch.changes, "reads": branch.reads, "steps": branch.steps, "inbox": branch.inbox}
        row |= {"record": branch.record, "since": branch.since, "locks": branch.rows()}
        self._write({"tx": branch.tx, "branch": row}, forced=True)
        self._prepared[branch.tx] = self._open.pop(branch.tx)
        return Result("done", forced=True, reads=dict(branch.reads), steps=branch.steps)

    def _done(self, branch: _Branch, result: Result) -> Result:
        """Of an open branch that could not go on nothing is left."""
        if result.status != "done":
            self._open.pop(branch.tx, None)
            self._locks.release(branch)
        return _with_locks(result, branch)

    def commit(self, tx: int) -> Result:
        """As `Store.commit`."""
        return self._second_phase(tx, committed=True, forced=True)

    def rollback(self, tx: int, *, forced: bool) -> Result:
        """As `Store.rollback`."""
        branch = self._open.pop(tx, None)
        if branch is None:
            return self._second_phase(tx, committed=False, forced=forced)
        self._locks.release(branch)
        reads = {} if branch.changes else branch.reads
        return _with_locks(Result(reads=reads, steps=branch.steps), branch)

    def _second_phase(self, tx: int, *, committed: bool, forced: bool) -> Result:
        with self._mutex:  # a second one for the same branch comes when the first is durable, and finds no branch
            branch = self._prepared.get(tx)
            if branch is None:
                return Result()
            result = Result(forced=forced, steps=branch.steps, in_doubt=max(0.0, time.monotonic() - branch.since))
            entry: dict[str, Any] = {"tx": tx, "ended": True}
            if committed:
                inbox = {} if branch.inbox is None else {branch.inbox: dumps("done")}
                entry |= {"inbox": inbox, **_changed(branch.changes, branch.steps)}
                result.reads, result.changes = branch.reads, branch.changes
                result.history = len(self._history) if branch.changes else -1
            self._append(entry, forced=forced)
            del self._prepared[tx]
        self._locks.release(branch)
        branch.waited, branch.wait_end = 0.0, ""
        _with_locks(result, branch)
        if branch.restored:
            result.held = 0.0  # this process does not know since when
        return result

    def branches(self) -> list[PreparedBranch]:
        """As `Store.branches`."""
        now = time.monotonic()
        found = sorted(self._prepared.items())
        return [PreparedBranch(tx, loads(one.record), max(0.0, now - one.since), f"branch {tx}") for tx, one in found]

    # --- log, outbox, data --------------------------------------------------------------------------------------------------------

    def append(self, tx: int, record: Record, *, forced: bool) -> None:
        """As `Store.append`."""
        self._write({"tx": tx, "record": dumps(record)}, forced=forced)

    def forget(self, tx: int) -> None:
        """As `Store.forget`."""
        self._write({"tx": tx, "forgotten": True}, forced=False)

    def records(self) -> dict[int, list[Record]]:
        """As `Store.records`."""
        with self._mutex:
            found = {tx: list(records) for tx, records in sorted(self._log.items())}
            for tx, branch in self._prepared.items():
                found.setdefault(tx, []).append(loads(branch.record))
        return found

    def read_outbox(self, limit: int, *, below_horizon: bool = False) -> tuple[OutboxRow, ...]:
        """As `Store.read_outbox`; numbers are in the order of commits, so that a row is its own horizon."""
        rows = self._outbox.rows()[:limit]
        return tuple((*row, row[0]) for row in rows) if below_horizon else tuple(rows)

    def mark_outbox(self, ids: Sequence[int]) -> None:
        """As `Store.mark_outbox`."""
        self._outbox.mark(ids)

    def pending_outbox(self) -> set[int]:
        """As `Store.pending_outbox`."""
        return {message.tx for _, message in self._outbox.rows()}

    def values(self) -> dict[str, float]:
        """As `Store.values`."""
        with self._mutex:
            return dict(self._values)

    def history(self) -> Iterable[Change]:
        """As `Store.history`."""
        with self._mutex:
            return list(self._history)

    def close(self) -> None:
        """As `Store.close`."""
        if self._relay or self._file.closed:
            return
        self._locks.close(StoreFailed(f"{self._file.name}: the store is closed"))
        with self._mutex:
            self._file.close()
        self._owner.release()


def _changed(
    changes: Mapping[str, tuple[float, float]], steps: tuple[int, ...], *, undo: bool = False
) -> dict[str, Any]:
    return {"changes": changes, "steps": steps, "compensation": undo, "when": time.monotonic()}


def _pairs(changes: Mapping[str, Sequence[float]]) -> dict[str, tuple[float, float]]:
    return {key: (old, new) for key, (old, new) in changes.items()}


def _with_locks(result: Result, holder: Holder) -> Result:
    """The result, with what it says of row locks."""
    result.waited, result.wait_end = holder.waited, holder.wait_end
    result.unlocked, result.held = holder.unlocked, holder.held
    return result
