"""The books of a provider outside, in one SQLite file: the values that it changes, their history, and what it knows of each request.

What a request has done and what is remembered of it are one transaction of the file, forced before anybody is answered. So a provider that is killed has done a
request in full, with its key, or not at all.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from simtx.protocols.operations import FirstValues, play
from simtx.reference.stores.base import Change
from simtx.reference.stores.sqlite.tables import (
    BUSY_PATIENCE,
    DATA,
    HISTORY,
    all_changes,
    all_values,
    connect,
    explained,
    refuse_empty,
    to_json,
    values_of,
)

if TYPE_CHECKING:
    from simtx.protocols import Operation
    from simtx.scenario.infrastructure import ServiceSpec

_REQUEST: Final = "request (key TEXT PRIMARY KEY, answer TEXT NOT NULL, branch TEXT, since REAL NOT NULL) WITHOUT ROWID"

BOOKS: Final = "provider.sqlite"
"""Name of the file, in the folder of the provider's process."""
PENDING: Final = "pending"
"""Word in place of an answer: the provider is just working on it."""

Verdict = Literal["done", "refused"]


class Remembered(NamedTuple):
    """Entry of a request in the books.

    Attributes:
        answer: ``done`` or ``refused``.
        branch: What the service writes down upon this answer, as it was sent with the request; None: nothing.
        since: When the request came, in seconds of `time.monotonic`.
    """

    answer: Verdict
    branch: str | None
    since: float


@dataclass(frozen=True, slots=True)
class Order:
    """A request, as far as the books need it.

    Attributes:
        tx: The business transaction.
        key: Its idempotency key, as text; None: it has none.
        operations: What to do, all or nothing.
        steps: Steps whose work it is.
        compensation: Whether it undoes them.
        accepted: What the service writes down if it is done, as text.
        refused: Likewise, if it is refused.
        since: When it came, in seconds of `time.monotonic`.
    """

    tx: int
    key: str | None
    operations: tuple[Operation, ...]
    steps: tuple[int, ...]
    compensation: bool
    accepted: str | None
    refused: str | None
    since: float


@dataclass(slots=True)
class Settled:
    """End of a request.

    Attributes:
        answer: ``done`` or ``refused``.
        changes: (old, new) by key; empty if it was refused, or if the books knew its key.
        reads: What it has read, by key.
        history: Number of its changes in the history; -1 without changes.
        time: When they were committed, in seconds of `time.monotonic`.
    """

    answer: Verdict
    changes: dict[str, tuple[float, float]] = field(default_factory=dict)
    reads: dict[str, float] = field(default_factory=dict)
    history: int = -1
    time: float = 0.0


class ProviderBooks:
    """One file; its methods block, and one thread at a time gets through.

    Args:
        path: The file.
        initial: First values by key; a key that ends in ``*`` stands for every key with that prefix.
        keeps: Seconds for which a key is remembered; None: it knows no keys.
        asked: Whether it can be asked about requests, for ever.
        create: Whether the file may be new.

    Raises:
        StoreFailed: It cannot be used, or is gone.
    """

    def __init__(
        self, path: Path, *, initial: Mapping[str, float], keeps: float | None, asked: bool, create: bool
    ) -> None:
        self._path = path
        self._first = FirstValues({key: float(value) for key, value in initial.items()})
        self._keeps = keeps
        self._asked = asked
        self._mutex = threading.Lock()
        if not create:
            refuse_empty(path)
        with explained(path):
            self._db = connect(path, forced=True, busy=BUSY_PATIENCE)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("BEGIN IMMEDIATE")
            for table in (DATA, _REQUEST, HISTORY):
                self._db.execute(f"CREATE TABLE IF NOT EXISTS {table}")
            rows = ((key, float(value)) for key, value in self._first.exact.items())
            self._db.executemany("INSERT INTO data VALUES (?, ?) ON CONFLICT DO NOTHING", rows)
            self._db.execute("COMMIT")

    @classmethod
    def of(cls, path: Path, service: ServiceSpec, *, create: bool) -> ProviderBooks:
        """Books of the provider of a service.

        Raises:
            ValueError: It has none.
            StoreFailed: The file cannot be used, or is gone.
        """
        spec = service.provider
        if spec is None:
            raise ValueError(f"'{service.name}' has no provider outside")
        return cls(path, initial=service.store.initial, keeps=spec.idempotency, asked=spec.status_query, create=create)

    def recall(self, key: str, now: float) -> Remembered | None:
        """Its answer about an earlier request: about any, if it can be asked; otherwise about one whose key it still keeps.

        Args:
            key: Of the request.
            now: In seconds of `time.monotonic`.
        """
        with self._mutex:
            return self._recall(key, now)

    def _recall(self, key: str, now: float) -> Remembered | None:
        row = self._db.execute("SELECT answer, branch, since FROM request WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        known = Remembered(*row)
        return known if self._asked or (self._keeps is not None and now - known.since <= self._keeps) else None

    def perform(self, order: Order) -> Settled:
        """Do what is asked for, unless the key is remembered; it is on disk when this returns.

        Raises:
            StoreFailed: The file cannot be written.
        """
        with explained(self._path), self._mutex:
            return self._perform(order)

    def _perform(self, order: Order) -> Settled:
        db, key = self._db, order.key
        if key is not None and self._keeps is not None:
            known = self._recall(key, time.monotonic())
            if known is not None:
                return Settled(known.answer, time=time.monotonic())
        settled = Settled("done")
        keys = [one.key for one in order.operations if one.kind != "refuse"]
        if not play(order.operations, values_of(db, keys, self._first), settled.changes, settled.reads):
            settled.answer = "refused"
            settled.changes.clear()
        db.execute("BEGIN IMMEDIATE")
        try:
            settled.time = time.monotonic()
            if settled.changes:
                self._write(order, settled)
            if key is not None:
                branch = order.accepted if settled.answer == "done" else order.refused
                row = (key, settled.answer, branch, order.since)
                db.execute("INSERT OR REPLACE INTO request VALUES (?, ?, ?, ?)", row)
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        return settled

    def _write(self, order: Order, settled: Settled) -> None:
        rows = [(key, new) for key, (_, new) in settled.changes.items()]
        self._db.executemany(
            "INSERT INTO data VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", rows
        )
        settled.history = self._db.execute(
            "INSERT INTO history (tx, steps, compensation, changes, time) VALUES (?, ?, ?, ?, ?) RETURNING number",
            (order.tx, to_json(order.steps), order.compensation, to_json(settled.changes), settled.time),
        ).fetchone()[0]

    def values(self) -> dict[str, float]:
        """Values of all keys that it has."""
        with self._mutex:
            return all_values(self._db)

    def history(self) -> list[Change]:
        """Changes that it has made, in the order of its commits."""
        with self._mutex:
            return all_changes(self._db)

    def close(self) -> None:
        """Let the file go."""
        with self._mutex:
            self._db.close()
