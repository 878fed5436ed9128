"""Votes in one SQLite file that the processes of all nodes open."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Final

from simtx.reference.stores.base import StoreFailed

_CREATE: Final = "CREATE TABLE IF NOT EXISTS votes (tx INTEGER, voter TEXT, vote TEXT NOT NULL, PRIMARY KEY (tx, voter)) WITHOUT ROWID"
_READ: Final = "SELECT vote FROM votes WHERE tx = ? AND voter = ?"
_INSERT: Final = "INSERT INTO votes VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
_PATIENCE: Final = 5.0
"""Seconds for which a process waits until another one has written."""


class SqliteVotes:
    """The votes in a file; the lock of the file makes one insert after the other, whichever process they come from.

    Args:
        path: The file.

    Raises:
        StoreFailed: It cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mutex = threading.Lock()
        try:
            self._link = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
            self._link.execute("PRAGMA journal_mode = WAL")
            self._link.execute("PRAGMA synchronous = FULL")
            self._link.execute(_CREATE)
        except sqlite3.Error as error:
            raise self._failed(error) from None

    def log_once(self, tx: int, voter: str, vote: str) -> tuple[str, bool]:
        """Write a vote, unless there is one; see `simtx.reference.stores.votes.VoteStore`.

        Raises:
            StoreFailed: The file cannot be written, or others wrote for too long.
        """
        with self._mutex:
            try:
                # What a reader sees is on disk: a commit is synced before it shows. So a vote that is there needs no write lock.
                found = self._link.execute(_READ, (tx, voter)).fetchone()
                if found is None:
                    written = self._link.execute(_INSERT, (tx, voter, vote)).rowcount > 0
                    return self._link.execute(_READ, (tx, voter)).fetchone()[0], written
            except sqlite3.Error as error:
                raise self._failed(error) from None
            return found[0], False

    def close(self) -> None:
        """Close the file."""
        with self._mutex:
            self._link.close()

    def _failed(self, error: sqlite3.Error) -> StoreFailed:
        return StoreFailed(f"{self._path}: the vote store cannot be used: {error}")
