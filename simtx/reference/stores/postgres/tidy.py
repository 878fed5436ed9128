"""Tidies a store, in a thread of its own and without forcing the log.

It writes lazy records, deletes forgotten ones and published outbox rows, and prunes idempotency rows.

Order: the records of one transaction reach the log in the order in which they were appended. So a forced append takes the lazy records of its transaction
along, waiting for a round that is just writing them; and a transaction that appends after it was forgotten waits for the deletion.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from typing import Final

from simtx.reference.stores.base import StoreFailed
from simtx.reference.stores.postgres.driver import psycopg
from simtx.reference.stores.postgres.link import Links, failed
from simtx.reference.stores.postgres.sql import TIDY

PERIOD: Final = 0.1
"""Seconds between two rounds, and so the longest that a lazy record waits before the server has it."""

LONGEST_PRUNING: Final = 60.0
"""Seconds between two prunings of idempotency rows, at most."""


class Tidier:
    """Collects what can wait, and does it together.

    Args:
        links: Where.
        retention: Seconds for which idempotency rows are kept at least; None: they are somebody else's business.
    """

    def __init__(self, links: Links, retention: float | None) -> None:
        self._links = links
        self._retention = None if retention is None or math.isinf(retention) else retention
        self._mutex = threading.Lock()  # of the four collections
        self._round = threading.Lock()  # held by whoever does a round
        self._lazy: list[tuple[int, str, int]] = []  # transaction, record, token
        self._writing: frozenset[int] = frozenset()  # transactions whose records the present round writes
        self._forgotten: set[int] = set()
        self._marked: dict[int, None] = {}
        self._prune_at = time.monotonic() + (self._retention or 0.0)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work, name="simtx tidier", daemon=True)
        self._thread.start()

    def append(self, tx: int, record: str, token: int) -> None:
        """Have a lazy record written."""
        self._remember(tx)
        with self._mutex:
            self._lazy.append((tx, record, token))

    def take(self, tx: int) -> list[str]:
        """Lazy records of a transaction that no round will write any more: the caller does."""
        self._remember(tx)
        with self._mutex:
            if tx not in self._writing:
                return self._drop(tx)
        with self._round, self._mutex:
            return self._drop(tx)

    def forget(self, tx: int) -> None:
        """Have the records of a transaction deleted."""
        with self._mutex:
            self._drop(tx)
            self._forgotten.add(tx)

    def mark(self, ids: Sequence[int]) -> None:
        """Have outbox rows deleted."""
        with self._mutex:
            self._marked.update(dict.fromkeys(ids))

    def marked(self) -> list[int]:
        """Outbox rows that are not deleted yet."""
        with self._mutex:
            return list(self._marked)

    def flush(self) -> None:
        """Do everything that was asked for so far.

        Raises:
            StoreFailed: The server does not.
        """
        with self._round:
            self._do()

    def close(self) -> None:
        """Do what is left, and end."""
        self._end.set()
        self._thread.join()

    def _drop(self, tx: int) -> list[str]:
        if not self._lazy:
            return []
        records = [record for number, record, _ in self._lazy if number == tx]
        if records:
            self._lazy = [item for item in self._lazy if item[0] != tx]
        return records

    def _remember(self, tx: int) -> None:
        """A transaction that was forgotten comes again: what was deleted must not be the new records."""
        with self._mutex:
            forgotten = tx in self._forgotten
        if forgotten:
            self.flush()

    def _work(self) -> None:
        ended = False
        while not ended:
            ended = self._end.wait(PERIOD)
            try:
                self.flush()
            except StoreFailed:  # the next round tries again; all of this may be lost
                continue

    def _do(self) -> None:
        """One round: everything in one local transaction."""
        now = time.monotonic()
        prune = self._retention is not None and now >= self._prune_at
        with self._mutex:
            lazy, forgotten, marked = self._lazy, list(self._forgotten), list(self._marked)
            if not (lazy or forgotten or marked or prune):
                return
            self._lazy = []
            self._writing = frozenset(tx for tx, _, _ in lazy)
        written = False
        try:
            self._write(lazy, forgotten, marked, self._retention if prune else None)
            written = True
        finally:
            with self._mutex:
                self._writing = frozenset()
                if written:
                    self._forgotten.difference_update(forgotten)
                    for number in marked:
                        del self._marked[number]
                else:
                    self._lazy = [item for item in lazy if item[0] not in self._forgotten] + self._lazy
        if prune and self._retention is not None:
            self._prune_at = now + min(self._retention / 2, LONGEST_PRUNING)

    def _write(
        self, lazy: list[tuple[int, str, int]], forgotten: list[int], marked: list[int], retention: float | None
    ) -> None:
        arguments = [
            [tx for tx, _, _ in lazy],
            [record for _, record, _ in lazy],
            [token for _, _, token in lazy],
            False,  # whether it may have been written already
            forgotten,
            marked,
            None if retention is None else f"{retention} seconds",
        ]
        with self._links.lent() as link:
            try:
                link.execute(TIDY, arguments)
            except psycopg.Error as error:
                if not link.lost:
                    raise failed(error) from error
                arguments[3] = True
                self._links.settle(link.title, lambda other: other.execute(TIDY, arguments))
