"""SQLite as the database of a service: one file, one process that writes it, and the relay's process beside it.

What a server would do is done here: row locks (`locks`), local transactions and prepared branches, for which SQLite has no PREPARE TRANSACTION
(`work`), group commit (`writer`), tables and checks of the file (`tables`). A second process that wants to own the
file is refused (`ownership`).
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from simtx.protocols import Execute, Message, OutboxRow, Prepare, Record, Transact
from simtx.protocols.codec import decode_as, dumps, loads
from simtx.protocols.operations import FirstValues
from simtx.reference.stores.base import Change, PreparedBranch, Result, Store, StoreFailed
from simtx.reference.stores.sqlite.locks import RowLocks
from simtx.reference.stores.sqlite.ownership import Ownership
from simtx.reference.stores.sqlite.tables import (
    Readers,
    Writes,
    all_changes,
    all_values,
    branch_rows,
    failure,
    prepare_file,
    refuse_empty,
)
from simtx.reference.stores.sqlite.work import LocalTransactions
from simtx.reference.stores.sqlite.writer import Task, Writer


class SqliteStore(Store):
    """One SQLite file.

    Args:
        path: The file; it is created if need be, in a folder that exists.
        run: Identity of the run that it belongs to.
        service: Name of the service.
        initial: First values by key; a key that ends in ``*`` stands for every key with that prefix.
        serializable: Whether reads lock.
        lock_timeout: Seconds for which an operation waits for row locks before it fails.
        dedup_retention: Seconds for which idempotency rows are kept at least.
        lazy_flush: Seconds after which what is not forced is written.
        group: Whether local transactions share a forced write.
        flushes: Seconds that forced writes take at least, in turn; empty: what they take on this disk.
        create: Whether the file may be new. Otherwise one that is missing or empty is refused, and nothing is made in its place.
        relay: Whether it is the relay's: it reads and marks outbox rows, and nothing else.

    Raises:
        StoreDamaged: The file is missing, empty, broken or another one's.
        StoreFailed: It cannot be used.
    """

    buffers = True

    def __init__(
        self,
        path: Path,
        *,
        run: str,
        service: str,
        initial: Mapping[str, float],
        serializable: bool,
        lock_timeout: float,
        dedup_retention: float,
        lazy_flush: float = 0.2,
        group: bool = True,
        flushes: Sequence[float] = (),
        create: bool = True,
        relay: bool = False,
    ) -> None:
        self.path = path
        self._locks = RowLocks(lock_timeout)
        self._readers = Readers(path)
        self._marked: set[int] = set()
        self._deleted: deque[tuple[int, ...]] = deque()  # marked rows that are gone by now
        self._outbox_mutex = threading.Lock()
        if not create:
            refuse_empty(path)
        self._owner = None if relay else Ownership(path)
        writer: Writer | None = None
        try:
            first = FirstValues({key: float(value) for key, value in initial.items()})
            prepare_file(path, run=run, service=service, initial=first.exact, create=create)
            writer = self._writer = Writer(
                path,
                forced=not relay,
                group=group,
                lazy_flush=lazy_flush,
                retention=dedup_retention,
                flushes=() if relay else flushes,
                on_failure=self._locks.close,
            )
            self._work = (
                None
                if relay
                else LocalTransactions(writer, self._readers, self._locks, first, serializable=serializable)
            )
        except BaseException as error:
            if writer is not None:
                writer.close()
            self._readers.close()
            if self._owner is not None:
                self._owner.release()
            if isinstance(error, sqlite3.Error | OSError):
                raise failure(path, error) from error
            raise

    def _working(self) -> LocalTransactions:
        """Local transactions of an open store."""
        if self._writer.failure is not None:
            raise self._writer.failure
        if self._writer.closed:
            raise StoreFailed(f"{self.path}: the store is closed")
        if self._work is None:
            raise StoreFailed(f"{self.path}: was opened for the relay, which only reads and marks outbox rows")
        return self._work

    # --- local transactions -------------------------------------------------------------------------------------------------------

    def transact(self, tx: int, effect: Transact, rows: Sequence[int] = (), work: float = 0.0) -> Result:  # noqa: ARG002 - one writer
        """As `Store.transact`; the one writer numbers outbox rows when it commits them."""
        return self._working().transact(tx, effect, work)

    def execute(self, tx: int, effect: Execute, work: float = 0.0) -> Result:
        """As `Store.execute`."""
        return self._working().execute(tx, effect, work)

    def prepare(self, tx: int, effect: Prepare, work: float = 0.0) -> Result:
        """As `Store.prepare`; a transaction that has a prepared branch cannot have a second one: ``failed``."""
        return self._working().prepare(tx, effect, work)

    def commit(self, tx: int) -> Result:
        """As `Store.commit`."""
        return self._working().commit(tx)

    def rollback(self, tx: int, *, forced: bool) -> Result:
        """As `Store.rollback`; of an open branch that has changed nothing the result says what it has read."""
        return self._working().rollback(tx, forced=forced)

    def branches(self) -> list[PreparedBranch]:
        """As `Store.branches`; the file belongs to one run, so that there are no orphans of others."""
        self._flush()
        now = time.monotonic()
        with self._readers.one() as db:
            return [
                PreparedBranch(row.tx, loads(row.record), max(0.0, now - since), f"branch {row.tx}")
                for row, since in branch_rows(db)
            ]

    # --- log ----------------------------------------------------------------------------------------------------------------------

    def append(self, tx: int, record: Record, *, forced: bool) -> None:
        """As `Store.append`."""
        if forced:
            self._working()
            self._writer.force(Task(Writes(tx, record=dumps(record)), forced=True))
        else:
            self._writer.defer(Task(Writes(tx, record=dumps(record)), forced=False))

    def forget(self, tx: int) -> None:
        """As `Store.forget`."""
        self._writer.defer(Task(Writes(tx, forgotten=True), forced=False))

    def records(self) -> dict[int, list[Record]]:
        """As `Store.records`."""
        self._flush()
        found: dict[int, list[Record]] = {}
        with self._readers.one() as db:
            rows = db.execute("SELECT tx, record FROM log ORDER BY tx, number").fetchall()
            branches = [(row.tx, row.record) for row, _ in branch_rows(db)]
        for tx, record in (*rows, *branches):
            found.setdefault(tx, []).append(loads(record))
        return found

    def _flush(self) -> None:
        """Have everything written that was handed over, so that a query finds it."""
        self._working()
        self._writer.flush()

    # --- outbox -------------------------------------------------------------------------------------------------------------------

    def read_outbox(self, limit: int, *, below_horizon: bool = False) -> tuple[OutboxRow, ...]:
        """As `Store.read_outbox`; there is one writer, so that numbers are in the order of commits, and the horizon is never below a row."""
        if self._writer.failure is not None:
            raise self._writer.failure
        with self._outbox_mutex:
            while self._deleted:  # they are gone for any reader that begins now
                self._marked.difference_update(self._deleted.popleft())
            query = "SELECT id, message FROM outbox ORDER BY id LIMIT ?"
            with self._readers.one() as db:
                rows = db.execute(query, (limit + len(self._marked),)).fetchall()
            fresh = [row for row in rows if row[0] not in self._marked][:limit]
        found = [(number, decode_as(Message, json.loads(text))) for number, text in fresh]
        return tuple((*row, row[0]) for row in found) if below_horizon else tuple(found)

    def mark_outbox(self, ids: Sequence[int]) -> None:
        """As `Store.mark_outbox`."""
        marked = tuple(ids)
        self._marked.update(marked)
        self._writer.defer(Task(Writes(marked=marked), partial(self._deleted.append, marked), forced=False))

    def pending_outbox(self) -> set[int]:
        """As `Store.pending_outbox`."""
        self._flush()
        with self._readers.one() as db:
            return {tx for (tx,) in db.execute("SELECT DISTINCT tx FROM outbox").fetchall()}

    # --- the data -----------------------------------------------------------------------------------------------------------------

    def values(self) -> dict[str, float]:
        """As `Store.values`."""
        self._working()
        with self._readers.one() as db:
            return all_values(db)

    def history(self) -> list[Change]:
        """As `Store.history`."""
        self._working()
        with self._readers.one() as db:
            return all_changes(db)

    def close(self) -> None:
        """As `Store.close`; what was not forced is written, and whoever waits for a lock gets an error."""
        if not self._writer.closed:
            self._locks.close(StoreFailed(f"{self.path}: the store is closed"))
            self._readers.close()
            self._writer.close()
            if self._owner is not None:
                self._owner.release()
