"""Messages of the embedded broker: in a SQLite file, or, at the level ``memory``, nowhere.

Whoever calls holds the order: one call at a time, from whichever thread. Times are seconds of the wall clock, since they have to mean
something to a later incarnation.
"""

from __future__ import annotations

import mmap
import os
import sqlite3
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from simtx.reference.brokers.base import BrokerFailed

_EPOCH: Final = 1 << 32  # ids of one incarnation; their order is that of storing, and none is ever used again
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS message (
    id INTEGER PRIMARY KEY, node TEXT NOT NULL, tx INTEGER NOT NULL, stored REAL NOT NULL, origin INTEGER, body TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS delivered (id INTEGER PRIMARY KEY, times INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS seen (identity BLOB PRIMARY KEY, stored REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT OR IGNORE INTO counter VALUES ('incarnation', 0), ('dropped', 0);
"""


class Row(NamedTuple):
    """A stored message.

    Attributes:
        id: Of its delivery; ascending in the order of storing, over all incarnations.
        node: The consumer.
        tx: The business transaction.
        stored: When, in seconds of the wall clock.
        origin: The event log's entry that published it.
        body: The encoded message, as JSON text.
        identity: Digest of producer and message, if a deduplication window is kept; not recovered.
    """

    id: int
    node: str
    tx: int
    stored: float
    origin: int | None
    body: str
    identity: bytes | None = None


@dataclass(slots=True)
class Batch:
    """Entries that are written at once.

    Attributes:
        rows: Messages to store.
        removed: Ids of those that need not be kept.
        dropped: How many of these nobody has acknowledged.
        forgotten: Identities that are older than the deduplication window.
        delivered: How often messages were delivered until now, where there is a limit.
    """

    rows: list[Row] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)
    dropped: int = 0
    forgotten: list[bytes] = field(default_factory=list)
    delivered: dict[int, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Return whether there is anything to write."""
        return bool(self.rows or self.removed or self.delivered)


class MessageLog(Protocol):
    """Log of the broker, as far as the broker needs it."""

    first: int
    """Id for the first message of this incarnation."""
    lost: int
    """Messages that the crash of earlier incarnations has cost, or retention has."""

    def recover(self) -> list[Row]:
        """Messages that were not acknowledged yet, in the order of their ids."""

    def seen(self, since: float) -> dict[bytes, float]:
        """Identities stored since then, by age; older ones are forgotten."""

    def delivered(self) -> dict[int, int]:
        """Number of deliveries of each message, by its id, as far as it was written down."""

    def write(self, batch: Batch, *, forced: bool) -> None:
        """Write all of it or nothing; forced: on the disk when this returns, else with the operating system.

        Raises:
            BrokerFailed: It cannot be written.
        """

    def close(self) -> None:
        """Close the file."""


class DiskLog:
    """A log in a SQLite file with write-ahead logging; survives SIGKILL of the process, and a power failure where it was forced.

    Args:
        path: The file, made if it does not exist.

    Raises:
        BrokerFailed: It cannot be opened, or is not ours.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._forced = True
            self._db.executescript(_SCHEMA)
            self._db.execute("UPDATE counter SET value = value + 1 WHERE name = 'incarnation'")
            counters: dict[str, int] = dict(self._db.execute("SELECT name, value FROM counter"))
        except sqlite3.Error as error:
            raise BrokerFailed(f"the broker's file {path} cannot be used: {error}") from None
        self.first = counters["incarnation"] * _EPOCH
        self.lost = counters["dropped"]
        self._counting = False

    def recover(self) -> list[Row]:
        """Messages that were not acknowledged yet, in the order of their ids."""
        return [
            Row(*values)
            for values in self._db.execute("SELECT id, node, tx, stored, origin, body FROM message ORDER BY id")
        ]

    def seen(self, since: float) -> dict[bytes, float]:
        """Identities stored since then, by age; older ones are forgotten."""
        self._db.execute("DELETE FROM seen WHERE stored < ?", (since,))
        return dict(self._db.execute("SELECT identity, stored FROM seen ORDER BY stored"))

    def delivered(self) -> dict[int, int]:
        """Number of deliveries of each message, by its id, as far as it was written down."""
        found = dict(self._db.execute("SELECT id, times FROM delivered"))
        self._counting = bool(found)
        return found

    def write(self, batch: Batch, *, forced: bool) -> None:
        """Write all of it in one transaction, or nothing; forced: on the disk when this returns, else with the operating system.

        Raises:
            BrokerFailed: The disk is full, or broken.
        """
        db = self._db
        try:
            if forced != self._forced:
                db.execute("PRAGMA synchronous = FULL" if forced else "PRAGMA synchronous = NORMAL")
                self._forced = forced
            db.execute("BEGIN IMMEDIATE")
            if batch.rows:
                db.executemany("INSERT INTO message VALUES (?, ?, ?, ?, ?, ?)", (row[:6] for row in batch.rows))
                identities = [(row.identity, row.stored) for row in batch.rows if row.identity is not None]
                db.executemany("INSERT OR REPLACE INTO seen VALUES (?, ?)", identities)
            if batch.delivered:
                self._counting = True
                db.executemany("INSERT OR REPLACE INTO delivered VALUES (?, ?)", batch.delivered.items())
            if batch.removed:
                db.executemany("DELETE FROM message WHERE id = ?", ((number,) for number in batch.removed))
                if self._counting:
                    db.executemany("DELETE FROM delivered WHERE id = ?", ((number,) for number in batch.removed))
            if batch.forgotten:
                db.executemany("DELETE FROM seen WHERE identity = ?", ((identity,) for identity in batch.forgotten))
            if batch.dropped:
                db.execute("UPDATE counter SET value = value + ? WHERE name = 'dropped'", (batch.dropped,))
            db.execute("COMMIT")
        except sqlite3.Error as error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise BrokerFailed(f"the broker cannot write its file {self._path}: {error}") from None

    def close(self) -> None:
        """Close the file."""
        self._db.close()


class MemoryLog:
    """No log: what it would hold dies with the process. Only numbers of messages live on, in a mapped file, so that losses are counted.

    Args:
        path: File of the three numbers: incarnations, messages that were ever stored, and those that are no longer.

    Raises:
        BrokerFailed: It cannot be opened.
    """

    _FORM: Final = struct.Struct("=QQQ")

    def __init__(self, path: Path) -> None:
        try:
            number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.ftruncate(number, self._FORM.size)
                self._map = mmap.mmap(number, self._FORM.size)
            finally:
                os.close(number)
        except OSError as error:
            raise BrokerFailed(f"the broker's file {path} cannot be used: {error.strerror}") from None
        self._incarnation, self._stored, self._gone = self._FORM.unpack_from(self._map)
        self._incarnation += 1
        self._save()
        self.first = self._incarnation * _EPOCH
        self.lost = self._stored - self._gone

    def _save(self) -> None:
        self._FORM.pack_into(self._map, 0, self._incarnation, self._stored, self._gone)

    def recover(self) -> list[Row]:
        """Nothing."""
        return []

    def seen(self, since: float) -> dict[bytes, float]:  # noqa: ARG002 - as any log's
        """Nothing."""
        return {}

    def delivered(self) -> dict[int, int]:
        """Nothing."""
        return {}

    def write(self, batch: Batch, *, forced: bool) -> None:  # noqa: ARG002
        """Count. What was dropped stays among the lost, as what a crash has cost does."""
        self._stored += len(batch.rows)
        self._gone += len(batch.removed) - batch.dropped
        self._save()

    def close(self) -> None:
        """Unmap the file."""
        self._map.close()
