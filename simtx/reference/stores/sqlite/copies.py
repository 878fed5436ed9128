"""A derived store on SQLite: its own file of copies, and the file of the service that it follows, of which it reads alone.

The copies and the place up to which the feed of changes was worked off are in one file: both are written in one local transaction. Nothing is
forced: a copy that a power failure takes is one more miss. What a killed process had committed stays.

A **position** is the number of a row in the service's history, plus one; 0 stands for what was there before the run. It serves as the version of a copy: a reader
learns it with the value, in one statement, which sees one state of the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from simtx.protocols.derived.copies import Copy
from simtx.reference.stores.sqlite.tables import BUSY_PATIENCE, changes_of, connect, explained

FILE: Final = "copies.sqlite"
"""Name of the file in the folder of its process."""
_CREATE: Final = """
CREATE TABLE IF NOT EXISTS copies (
    key TEXT PRIMARY KEY, version INTEGER, floor INTEGER NOT NULL, voided INTEGER NOT NULL, value REAL NOT NULL, since REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS feed (position INTEGER NOT NULL);
INSERT INTO feed SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM feed);
"""


class Kept(NamedTuple):
    """A copy as it lies in the file.

    Attributes:
        copy: What the rule knows of it.
        value: The value that readers see.
        since: When it was put, in seconds of `time.monotonic`.
    """

    copy: Copy
    value: float
    since: float


class CopyFile:
    """The file of copies; for one process, on one thread.

    Args:
        path: The file; it is made if it is not there.

    Raises:
        StoreFailed: It cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with explained(path):
            self._db = connect(path, forced=False, busy=BUSY_PATIENCE)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.executescript(_CREATE)

    def get(self, key: str) -> Kept | None:
        """Copy of a key, if there is one."""
        query = "SELECT version, floor, voided, value, since FROM copies WHERE key = ?"
        row = self._db.execute(query, (key,)).fetchone()
        return None if row is None else Kept(Copy(*row[:3]), row[3], row[4])

    def all(self) -> Iterator[tuple[str, Kept]]:
        """Everything, by key."""
        rows = self._db.execute("SELECT key, version, floor, voided, value, since FROM copies ORDER BY key").fetchall()
        return ((row[0], Kept(Copy(*row[1:4]), row[4], row[5])) for row in rows)

    @property
    def position(self) -> int:
        """Position up to which the feed of changes was worked off."""
        return int(self._db.execute("SELECT position FROM feed").fetchone()[0])

    def write(self, key: str, kept: Kept | None, position: int | None = None) -> None:
        """Put a copy, and say how far the feed was worked off, in one local transaction.

        Args:
            key: Whose copy.
            kept: The copy; None: it stays as it is.
            position: Up to where; None: as far as before.

        Raises:
            StoreFailed: It cannot be written.
        """
        db = self._db
        with explained(self._path):
            db.execute("BEGIN IMMEDIATE")
            if kept is not None:
                row = (key, *kept.copy, kept.value, kept.since)
                db.execute("INSERT OR REPLACE INTO copies VALUES (?, ?, ?, ?, ?, ?)", row)
            if position is not None:
                db.execute("UPDATE feed SET position = ?", (position,))
            db.execute("COMMIT")

    def close(self) -> None:
        """Let the file go."""
        self._db.close()


class Changed(NamedTuple):
    """A row of the service's history.

    Attributes:
        position: Of it.
        tx: Business transaction.
        values: New values by key.
    """

    position: int
    tx: int
    values: dict[str, float]


class Source:
    """The file of a service, of which a derived store reads.

    Args:
        path: The file, which the service has made.

    Raises:
        StoreFailed: It cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with explained(path):
            self._db = connect(path, forced=True, busy=BUSY_PATIENCE)
            self._db.execute("PRAGMA query_only = ON")

    def after(self, position: int) -> list[Changed]:
        """Commits behind a position, in their order."""
        query = "SELECT number, tx, changes FROM history WHERE number >= ? ORDER BY number"
        with explained(self._path):
            rows = self._db.execute(query, (position,)).fetchall()
        return [
            Changed(number + 1, tx, {key: new for key, (_, new) in changes_of(changes).items()})
            for number, tx, changes in rows
        ]

    def read(self, key: str) -> tuple[float | None, int]:
        """The committed value of a key, None if nobody has written it yet, and the position of this state of the file."""
        query = "SELECT (SELECT value FROM data WHERE key = ?), (SELECT max(number) FROM history)"
        with explained(self._path):
            value, number = self._db.execute(query, (key,)).fetchone()
        return value, 0 if number is None else number + 1

    def close(self) -> None:
        """Let the file go."""
        self._db.close()
