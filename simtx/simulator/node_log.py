"""The log of one node: which records are durable, and which of them a crash may still lose.

A forced record takes the earlier records of its transaction along. A lazy one, and that a transaction was forgotten, may be lost as long as the background
flush has not reached it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from simtx.protocols import Record

if TYPE_CHECKING:
    from simtx.simulator.environment import Environment

_MANY: Final = 256
"""Entries from which on those are dropped that no crash can lose any more."""


class NodeLog:
    """Records by transaction.

    Args:
        env: The clock.
        flush: Period of the background flush, in seconds.

    Attributes:
        durable: What recovery starts from. The dictionary stays the same object: nodes look into it.
    """

    __slots__ = ("_endings", "_env", "_flush", "_lazy", "durable")

    def __init__(self, env: Environment, flush: float) -> None:
        self._env = env
        self._flush = flush
        self.durable: dict[int, list[Record]] = {}
        self._lazy: deque[tuple[float, int, Record]] = deque()
        self._endings: deque[tuple[float, int, list[Record]]] = deque()

    def buffered(self, since: float) -> bool:
        """Return whether what was written lazily at this time may still be in the memory of a process."""
        return self._env.now - since <= self._flush

    def write(self, tx: int, record: Record) -> None:
        """Append a record lazily."""
        self.durable.setdefault(tx, []).append(record)
        self._lazy.append((self._env.now, tx, record))
        while len(self._lazy) > _MANY and not self.buffered(self._lazy[0][0]):
            self._lazy.popleft()

    def force(self, tx: int, record: Record, *, after_lazy: bool) -> None:
        """Append a record that is durable now; `after_lazy`: the transaction has written lazily before."""
        records = self.durable.get(tx)
        if records is None:
            self.durable[tx] = [record]
        else:
            records.append(record)
        if after_lazy and self._lazy:  # it takes the earlier records of its transaction along
            self._lazy = deque(entry for entry in self._lazy if entry[1] != tx)

    def forget(self, tx: int) -> None:
        """The records of a transaction are garbage. That they are is written lazily, too."""
        records = self.durable.pop(tx, None)
        if records:
            self._endings.append((self._env.now, tx, records))
            while len(self._endings) > _MANY and not self.buffered(self._endings[0][0]):
                self._endings.popleft()

    def crash(self) -> None:
        """Lose what is lazy and not yet flushed."""
        durable = self.durable
        # By transaction, too: machines share the records that are the same for all transactions of a kind.
        gone = {(tx, id(record)) for since, tx, record in self._lazy if self.buffered(since)}
        if gone:
            left = {
                tx: [record for record in records if (tx, id(record)) not in gone] for tx, records in durable.items()
            }
            durable.clear()
            durable.update({tx: records for tx, records in left.items() if records})
        for since, tx, records in self._endings:
            kept = [record for record in records if (tx, id(record)) not in gone]
            if kept and self.buffered(since) and tx not in durable:
                # That it was forgotten is lost, and perhaps the record that ended it: it is there again.
                durable[tx] = kept
        self._lazy.clear()
        self._endings.clear()
