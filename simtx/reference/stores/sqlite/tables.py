"""The tables of one service's SQLite file: how a file is opened and checked, and the statements that write.

Write-ahead log with ``synchronous=FULL``: a COMMIT has returned when the log is on disk. Times in the tables are in seconds of `time.monotonic`,
whose zero is the start of the machine. So no correction of the clock can make an idempotency row older than it is. The file says
which start that was; after another one all times are moved, by the difference that the clock on the wall shows.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from simtx.protocols.operations import FirstValues
from simtx.reference.stores.base import RESTORE, STORE_VERSION, Change, StoreDamaged, StoreFailed

BUSY_PATIENCE: Final = 60.0
"""Seconds for which the service waits until another process lets go of the file."""

PRUNE_SLACK: Final = 10.0
"""Seconds beyond the retention: an idempotency row bears the time before its COMMIT, and lives from its end."""

PRUNE_BATCH: Final = 256
_ROWS: Final = 32  # in a statement; there is a prepared one for every number of rows
_STATEMENTS: Final = 400  # prepared ones that a connection keeps
_CHECKPOINT_FRAMES: Final = 16_000  # a safety net: the writer makes checkpoints of its own

# Those tables that the books of a provider have, too.
DATA: Final = "data (key TEXT PRIMARY KEY, value REAL NOT NULL) WITHOUT ROWID"
HISTORY: Final = (
    "history (number INTEGER PRIMARY KEY, tx INTEGER NOT NULL, steps TEXT NOT NULL, compensation INTEGER NOT NULL,"
    " changes TEXT NOT NULL, time REAL NOT NULL)"
)
_CREATE: Final = (
    f"CREATE TABLE {DATA}",
    "CREATE TABLE inbox (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, value TEXT NOT NULL, written REAL NOT NULL)",
    "CREATE TABLE log (tx INTEGER, number INTEGER, record TEXT NOT NULL, PRIMARY KEY (tx, number)) WITHOUT ROWID",
    "CREATE TABLE outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, tx INTEGER NOT NULL, message TEXT NOT NULL)",
    (
        "CREATE TABLE branches (tx INTEGER PRIMARY KEY, inbox TEXT, locks TEXT NOT NULL, changes TEXT NOT NULL,"
        " reads TEXT NOT NULL, record TEXT NOT NULL, steps TEXT NOT NULL, prepared REAL NOT NULL)"
    ),
    f"CREATE TABLE {HISTORY}",
    "CREATE TABLE meta (version INTEGER NOT NULL, run TEXT NOT NULL, service TEXT NOT NULL, boot TEXT NOT NULL, epoch REAL NOT NULL)",
)


def connect(path: Path, *, forced: bool, busy: float) -> sqlite3.Connection:
    """A connection in autocommit mode, for any thread.

    Args:
        path: The file; it may not exist yet.
        forced: Whether a COMMIT returns only when it is on disk.
        busy: Seconds to wait for another process.
    """
    db = sqlite3.connect(
        path, timeout=busy, isolation_level=None, check_same_thread=False, cached_statements=_STATEMENTS
    )
    try:
        db.execute(f"PRAGMA synchronous={'FULL' if forced else 'NORMAL'}")
        db.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_FRAMES}")
    except BaseException:
        db.close()
        raise
    return db


def refuse_empty(path: Path) -> None:
    """Refuse a file that has worked here and is gone, before SQLite makes a new one in its place.

    Raises:
        StoreDamaged: It is missing or empty.
    """
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise StoreDamaged(f"{path}: the database is missing; {RESTORE}") from None
    if not size:
        raise StoreDamaged(f"{path}: the database is empty (0 bytes); {RESTORE}")


def prepare_file(path: Path, *, run: str, service: str, initial: Mapping[str, float], create: bool = True) -> None:
    """Create the tables if there are none, or check that they are this service's of this run.

    Args:
        path: The file.
        run: Identity of the run.
        service: Name of the service.
        initial: First values by key, without patterns.
        create: Whether tables may be created.

    Raises:
        StoreDamaged: The file is of another version, run or service, or has no tables and none may be created.
        sqlite3.Error: It cannot be read or written.
    """
    db = connect(path, forced=True, busy=BUSY_PATIENCE)
    try:
        if not create and not _tables(db):  # before anything is written
            raise StoreDamaged(f"{path}: the database has no tables; {RESTORE}")
        _use_log(db)
        db.execute("BEGIN IMMEDIATE")
        tables = _tables(db)
        if not tables:
            _create(db, run, service, initial)
            db.execute("COMMIT")
            _sync_folder(path.parent)
        else:
            _check(db, path, tables, run, service)
            _follow_clock(db)
            db.execute("COMMIT")
    finally:
        db.close()


def _tables(db: sqlite3.Connection) -> set[str]:
    return {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def _use_log(db: sqlite3.Connection) -> None:
    """Switch to the write-ahead log; two processes that try at once exclude each other without waiting, so that we have to."""
    end = time.monotonic() + BUSY_PATIENCE
    while True:
        try:
            db.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(0.005)
        else:
            return


def _create(db: sqlite3.Connection, run: str, service: str, initial: Mapping[str, float]) -> None:
    for statement in _CREATE:
        db.execute(statement)
    db.execute("INSERT INTO meta VALUES (?, ?, ?, ?, ?)", (STORE_VERSION, run, service, _boot(), _epoch()))
    db.executemany("INSERT INTO data VALUES (?, ?)", ((key, float(value)) for key, value in initial.items()))


def _check(db: sqlite3.Connection, path: Path, tables: set[str], run: str, service: str) -> None:
    row = db.execute("SELECT * FROM meta").fetchone() if "meta" in tables else None
    if row is None:
        raise StoreDamaged(f"{path}: an SQLite database, but none of simtx; name a file that does not exist yet")
    if row[0] != STORE_VERSION:
        raise StoreDamaged(
            f"{path}: a store of version {row[0]}, and this simtx has version {STORE_VERSION}; use the simtx that wrote it, or a new folder"
        )
    if (row[1], row[2]) != (run, service):
        raise StoreDamaged(
            f"{path}: belongs to service '{row[2]}' of run {row[1]}, not to service '{service}' of run {run}; use a new folder"
        )


def _sync_folder(folder: Path) -> None:
    """Make the new file's name durable."""
    if os.name != "posix":
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


# --- time ---------------------------------------------------------------------------------------------------------------------


def _boot() -> str:
    """Name of this start of the machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return f"about {round(_epoch() / 60)}"  # two that differ by a correction of the clock do no harm


def _epoch() -> float:
    """The clock on the wall when the monotonic one was zero, in seconds."""
    return time.time() - time.monotonic()


def _follow_clock(db: sqlite3.Connection) -> None:
    """Move the times of before a start of the machine to where they are as seen from the new zero."""
    boot, epoch = db.execute("SELECT boot, epoch FROM meta").fetchone()
    if boot == _boot():
        return
    move, now = epoch - _epoch(), time.monotonic()
    for table, column in (("inbox", "written"), ("branches", "prepared"), ("history", "time")):
        db.execute(f"UPDATE {table} SET {column} = min({column} + ?, ?)", (move, now))  # noqa: S608 - our own names
    db.execute("UPDATE meta SET boot = ?, epoch = ?", (_boot(), _epoch()))


# --- what goes wrong ----------------------------------------------------------------------------------------------------------

_BROKEN: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_HELP: Final = {
    sqlite3.SQLITE_FULL: "the disk is full; nothing that was acknowledged is lost: make room and start again",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; restore it, or use a new folder",
    sqlite3.SQLITE_NOTADB: "this is no SQLite database, or a damaged one; restore it, or use a new folder",
    sqlite3.SQLITE_READONLY: "the file and its folder cannot be written; give this user the right to, or use another folder",
    sqlite3.SQLITE_PERM: "the file cannot be written; give this user the right to, or use another folder",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened; its folder must exist, and this user must be allowed to write there",
    sqlite3.SQLITE_BUSY: f"another process has kept the file locked for {BUSY_PATIENCE:g} s; end it",
    sqlite3.SQLITE_IOERR: "reading or writing failed; see to the disk and start again: nothing that was acknowledged is lost",
}


def failure(path: Path, error: BaseException) -> StoreFailed:
    """Text about an error of the database, in one line."""
    if isinstance(error, StoreFailed):
        return error
    code = getattr(error, "sqlite_errorcode", None)
    said = " ".join(str(error).split()) or type(error).__name__
    text = _HELP.get(code & 0xFF) if isinstance(code, int) else None
    kind = StoreDamaged if isinstance(code, int) and code & 0xFF in _BROKEN else StoreFailed
    return kind(f"{path}: {text} ({said})" if text else f"{path}: the database cannot go on: {said}")


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Errors of SQLite in here are told as those of this file.

    Raises:
        StoreFailed: There was one.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise failure(path, error) from error


class Readers:
    """Connections that read, one for each thread that does so at a time; every statement sees what is committed when it begins.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: list[sqlite3.Connection] = []
        self._closed = False

    @contextmanager
    def one(self) -> Iterator[sqlite3.Connection]:
        """A connection for a statement or two, whose rows are all fetched.

        Raises:
            StoreFailed: The file cannot be read.
        """
        db: sqlite3.Connection | None = None
        try:
            try:
                db = self._idle.pop()
            except IndexError:
                db = connect(self._path, forced=True, busy=BUSY_PATIENCE)
            yield db
        except BaseException as error:
            if db is not None:
                db.close()
            if isinstance(error, sqlite3.Error):
                raise failure(self._path, error) from error
            raise
        self._idle.append(db)
        if self._closed:
            self.close()

    def close(self) -> None:
        """Close those that nobody uses now, and the others when they come back."""
        self._closed = True
        while self._idle:
            with suppress(sqlite3.Error, IndexError):
                self._idle.pop().close()


# --- what is written ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BranchRow:
    """A prepared branch as it lies in the file; all but the first and the last are text of the codec or of JSON."""

    tx: int
    inbox: str | None
    locks: str
    changes: str
    reads: str
    record: str
    steps: str


@dataclass(slots=True)
class Writes:
    """Writes of one operation, in full or not at all.

    Attributes:
        tx: Business transaction.
        inbox: Idempotency rows: key and value.
        changes: (old, new) by key, now committed.
        steps: Steps whose work that was.
        compensation: Whether it undid them.
        outbox: Messages: transaction and text.
        branch: A branch that is prepared now.
        ended: Whether the transaction's branch is prepared no more.
        record: A record of the log.
        forgotten: Whether the records of the transaction go.
        marked: Outbox rows that go.
        history: Set when it is written: number of the row of history.
    """

    tx: int = -1
    inbox: tuple[tuple[str, str], ...] = ()
    changes: Mapping[str, tuple[float, float]] | None = None
    steps: tuple[int, ...] = ()
    compensation: bool = False
    outbox: tuple[tuple[int, str], ...] = ()
    branch: BranchRow | None = None
    ended: bool = False
    record: str | None = None
    forgotten: bool = False
    marked: tuple[int, ...] = ()
    history: int = -1


class Tables:
    """The statements that write, on the writer's connection and inside its transaction.

    Args:
        db: The connection.
        retention: Seconds for which idempotency rows are kept at least.
    """

    def __init__(self, db: sqlite3.Connection, retention: float) -> None:
        self._db = db
        self._retention = retention + PRUNE_SLACK
        self._next_record = self._after("SELECT max(number) FROM log")
        self._next_change = self._after("SELECT max(number) FROM history")
        self._prune_at = time.monotonic()

    def _after(self, query: str) -> int:
        last: int | None = self._db.execute(query).fetchone()[0]
        return 0 if last is None else last + 1

    def write(self, group: Sequence[Writes], now: float) -> None:
        """Write all of it, in few statements: each of them lets other threads of the process go first.

        Args:
            group: What, in order. No two of them have an idempotency row or a key of data in common.
            now: Monotonic seconds.
        """
        inbox: list[tuple[Any, ...]] = []
        data: list[tuple[Any, ...]] = []
        history: list[tuple[Any, ...]] = []
        outbox: list[tuple[Any, ...]] = []
        branches: list[tuple[Any, ...]] = []
        ended: list[int] = []
        records: dict[int, list[tuple[Any, ...]]] = {}
        forgotten: list[int] = []
        marked: list[int] = []
        for one in group:
            tx = one.tx
            inbox += [(key, value, now) for key, value in one.inbox]
            outbox += one.outbox
            marked += one.marked
            if one.changes:
                data += [(key, new) for key, (_, new) in one.changes.items()]
                one.history = self._next_change
                self._next_change += 1
                history.append((one.history, tx, to_json(one.steps), one.compensation, to_json(one.changes), now))
            if one.ended:
                ended.append(tx)
            if one.branch is not None:
                row = one.branch
                branches.append((tx, row.inbox, row.locks, row.changes, row.reads, row.record, row.steps, now))
            if one.forgotten:
                forgotten.append(tx)
                records.pop(tx, None)
            if one.record is not None:
                records.setdefault(tx, []).append((tx, self._next_record, one.record))
                self._next_record += 1
        self._delete("branches WHERE tx", ended)
        self._delete("log WHERE tx", forgotten)
        self._delete("outbox WHERE id", marked)
        self._insert("inbox (key, value, written)", inbox)
        self._insert("data", data, " ON CONFLICT (key) DO UPDATE SET value = excluded.value")
        self._insert("history", history)
        self._insert("outbox (tx, message)", outbox)
        self._insert("branches", branches)
        self._insert("log", [row for rows in records.values() for row in rows])

    def _insert(self, into: str, rows: Sequence[tuple[Any, ...]], rest: str = "") -> None:
        for start in range(0, len(rows), _ROWS):
            some = rows[start : start + _ROWS]
            marks = "(" + ",".join("?" * len(some[0])) + ")"
            statement = f"INSERT INTO {into} VALUES {','.join([marks] * len(some))}{rest}"  # noqa: S608 - our own names
            self._db.execute(statement, [field for row in some for field in row])

    def _delete(self, what: str, numbers: Sequence[int]) -> None:
        for start in range(0, len(numbers), _ROWS):
            some = numbers[start : start + _ROWS]
            self._db.execute(f"DELETE FROM {what} IN ({','.join('?' * len(some))})", some)  # noqa: S608 - our own names

    def prune(self, now: float) -> None:
        """Delete some idempotency rows whose time is over, if it may be time for that; they lie in the order of their age."""
        if now < self._prune_at:
            return
        limit = now - self._retention
        first = self._db.execute("SELECT id, written FROM inbox ORDER BY id LIMIT 1").fetchone()
        if first is None or first[1] >= limit:
            self._prune_at = (now if first is None else first[1]) + self._retention
            return
        self._db.execute("DELETE FROM inbox WHERE id < ? AND written < ?", (first[0] + PRUNE_BATCH, limit))


def to_json(value: object) -> str:
    """Plain numbers, strings and their sequences and mappings, in one spelling."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def changes_of(text: str) -> dict[str, tuple[float, float]]:
    """(old, new) by key, of what `to_json` has written."""
    return {key: (old, new) for key, (old, new) in json.loads(text).items()}


# --- what is read -------------------------------------------------------------------------------------------------------------


def values_of(db: sqlite3.Connection, keys: Sequence[str], first: FirstValues) -> dict[str, float]:
    """Committed values of these keys, all as of one moment; the first ones of those that nobody has written."""
    values = {key: first(key) for key in keys}
    marks = ",".join("?" * len(keys))
    values.update(db.execute(f"SELECT key, value FROM data WHERE key IN ({marks})", keys).fetchall())  # noqa: S608
    return values


def all_values(db: sqlite3.Connection) -> dict[str, float]:
    """Committed values of all keys that there are."""
    return dict(db.execute("SELECT key, value FROM data ORDER BY key").fetchall())


def all_changes(db: sqlite3.Connection) -> list[Change]:
    """The history, in the order of its commits."""
    return [
        Change(number, tx, tuple(json.loads(steps)), bool(compensation), changes_of(changes), moment)
        for number, tx, steps, compensation, changes, moment in db.execute("SELECT * FROM history ORDER BY number")
    ]


def branch_rows(db: sqlite3.Connection) -> Iterable[tuple[BranchRow, float]]:
    """Prepared branches, with the times at which they were prepared."""
    for row in db.execute("SELECT * FROM branches ORDER BY tx").fetchall():
        yield BranchRow(*row[:7]), row[7]
