"""The outbox of one store: rows that are numbered when they are inserted, and appear when their local transaction commits.

A database with several writers takes the numbers from a sequence, while the local transaction is under way. Two that overlap may commit the other
way round, and then a row appears behind one with a higher number. Here a local transaction inserts its rows when a worker begins on it, which
leaves the longest time between number and commit that a real one can have: all that can go wrong with numbers goes wrong here, too. With one
writer (SQLite), or under a lock that writers hold until they have committed, numbers are in the order of commits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from simtx.protocols import Message, OutboxRow, Prepare, Transact
from simtx.protocols.operations import writes
from simtx.simulator.work import Work

_KEPT = 256


class OutboxTable:
    """The rows of one outbox, and the local transactions that are under way beside it.

    Args:
        at_commit: Whether rows are numbered when they are committed, and not when they are inserted.
        buffered: Whether what the relay has marked at this time may still be in its memory: it is a process of its own, and what the service
            forces takes nothing of it along.

    Attributes:
        rows: Visible rows that are not marked, by number.
        under_way: Local transactions between their beginning and their end, or until they are branches; who ends one takes it out.
    """

    __slots__ = ("_at_commit", "_buffered", "_highest", "_marks", "_next", "_sorted", "_writers", "rows", "under_way")

    def __init__(self, *, at_commit: bool, buffered: Callable[[float], bool]) -> None:
        self.rows: dict[int, Message] = {}
        self._at_commit = at_commit
        self._buffered = buffered
        self._next = 0
        self._highest = -1
        self._sorted = True
        self._writers: dict[int, int] = {}  # rows of local transactions that wrote several: row to first row
        self.under_way: dict[Work, None] = {}
        self._marks: deque[tuple[float, int, Message]] = deque()

    # --- local transactions -------------------------------------------------------------------------------------------------------

    def begin(self, work: Work) -> None:
        """A local transaction begins, and its rows, if it will have any, are numbered."""
        effect = work.effect
        work.ticket = self._next
        self.under_way[work] = None
        if type(effect) is Transact and not self._at_commit and not effect.serial_outbox:
            count = effect.outbox_rows()
            if count:
                work.number = self._next
                self._next += count

    def commit(self, work: Work, messages: Sequence[Message]) -> None:
        """The rows of a local transaction appear."""
        number = work.number
        if number < 0:
            number = self._next
            self._next += len(messages)
        if number < self._highest:
            self._sorted = False
        for position, message in enumerate(messages):
            self.rows[number + position] = message
            if position:
                self._writers[number + position] = number
        self._highest = max(self._highest, number + len(messages) - 1)

    def crash(self) -> None:
        """Local transactions under way are gone, with their numbers; marks that had not reached the disk are lost."""
        self.under_way.clear()
        lost = {number: message for since, number, message in self._marks if self._buffered(since)}
        if lost:
            self.rows.update(lost)
            self._sorted = False
        self._marks.clear()

    # --- the relay ----------------------------------------------------------------------------------------------------------------

    def read(self, limit: int) -> tuple[OutboxRow, ...]:
        """Up to `limit` visible rows in the order of their numbers."""
        if not self._sorted:
            self.rows = dict(sorted(self.rows.items()))
            self._sorted = True
        return tuple(islice(self.rows.items(), limit))

    def read_below(self, limit: int, branches: Iterable[Work]) -> tuple[OutboxRow, ...]:
        """Up to `limit` visible rows of local transactions that began before all that are under way, in the order in which they began.

        Args:
            limit: Rows at most.
            branches: Prepared and open branches, which are under way, too.
        """
        horizon = self._next
        if not self._at_commit:  # with one writer nothing is under way beside a commit
            horizon = min(
                (work.ticket for work in (*self.under_way, *branches) if _writes(work)),
                default=horizon,
            )
        writers = self._writers
        below = []
        for row in self.read(limit):
            number, writer = row[0], writers.get(row[0], row[0])
            if writer >= horizon:
                break
            below.append((number, row[1], writer))
        return tuple(below)

    def row(self, number: int) -> Message | None:
        """The message of a row, also of one that was marked lately; None if there is none."""
        message = self.rows.get(number)
        if message is None:
            message = next((marked for _, known, marked in reversed(self._marks) if known == number), None)
        return message

    def mark(self, numbers: Sequence[int], now: float) -> None:
        """Mark rows as published; a crash of the relay may forget it until its own background flush."""
        for number in numbers:
            message = self.rows.pop(number, None)
            if message is not None:
                self._marks.append((now, number, message))
        while len(self._marks) > _KEPT and not self._buffered(self._marks[0][0]):
            _, number, _ = self._marks.popleft()
            self._writers.pop(number, None)


def _writes(work: Work) -> bool:
    """Return whether a local transaction gets a number of its own from the database: not if it only reads, unless it is a branch that is prepared."""
    effect = work.effect
    if type(effect) is Prepare or (type(effect) is Transact and (effect.key is not None or effect.outbox_rows())):
        return True
    return writes(effect.operations)
