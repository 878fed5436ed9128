"""The disk of a node by its event log: records, prepared branches, idempotency rows, outbox rows that it must hold, and may hold.

The contract leaves room: a lazy record may or may not survive a crash. An effect that was under way at a crash may or may not have happened. The
records of a machine that is forgotten are garbage that may or may not be there. Everything else is certain.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from simtx.protocols import Branch, Effect, OutboxRow, Prepare, Transact
from simtx.protocols.codec import dumps
from simtx.protocols.names import TOMBSTONE


def identity(value: Any) -> Hashable:
    """A value as something that can be compared and looked up: itself, or its encoded form if it holds a list, dict or set."""
    try:
        hash(value)
    except TypeError:
        return dumps(value)
    result: Hashable = value
    return result


@dataclass(slots=True)
class Item:
    """One record of a transaction on a node.

    Attributes:
        record: The record, as `identity` gives it.
        name: Its first word, for findings.
        certain: Whether it must be there after a crash.
        entry: Id of the entry that wrote it; -1: none did, it was under way at a crash.
    """

    record: Hashable
    name: str
    certain: bool
    entry: int


@dataclass(slots=True)
class Row:
    """Rows that one local transaction leaves, or may leave, under an idempotency key.

    Attributes:
        execution: Number of the local transaction.
        values: Values that the row may have.
        written: When it was certainly written, in seconds; None: perhaps never.
    """

    execution: int
    values: set[Hashable]
    written: float | None = None


@dataclass(slots=True)
class Disk:
    """The disk of one node.

    Attributes:
        records: Log records by transaction, oldest first.
        branches: Records of prepared branches by transaction.
        rows: Idempotency rows by key.
        outbox: For each message, numbers of the local transactions that have, or may have, written it.
        numbers: Messages by the row number under which they were read.
        marked: Messages by row number that the present relay has marked as published.
        executions: How many local transactions were begun.
    """

    records: defaultdict[int, list[Item]] = field(default_factory=lambda: defaultdict(list))
    branches: dict[int, Item] = field(default_factory=dict)
    rows: defaultdict[Hashable, list[Row]] = field(default_factory=lambda: defaultdict(list))
    outbox: defaultdict[Hashable, set[int]] = field(default_factory=lambda: defaultdict(set))
    numbers: dict[int, Hashable] = field(default_factory=dict)
    marked: dict[int, Hashable] = field(default_factory=dict)
    executions: int = 0
    _ghosts: dict[int, Item] = field(default_factory=dict)

    # --- records and branches ---------------------------------------------------------------------------------------------------

    def appended(self, tx: int, record: Sequence[Any], entry: int, *, certain: bool) -> None:
        """A record was written; `certain` if it was forced, and known to be durable."""
        self.records[tx].append(Item(identity(tuple(record)), str(record[0]), certain, entry))

    def prepared(self, tx: int, record: Sequence[Any], entry: int, *, certain: bool) -> None:
        """A branch was prepared."""
        self.branches[tx] = Item(identity(tuple(record)), str(record[0]), certain, entry)

    def doubt(self, tx: int) -> None:
        """The branch, if there is one, is perhaps gone."""
        if tx in self.branches:
            self.branches[tx].certain = False

    def finished(self, tx: int, *, forced: bool) -> bool:
        """A prepared branch was committed or rolled back, and a lazy end may be lost in a crash; False if there was no branch."""
        branch = self.branches.pop(tx, None)
        if branch is not None and not forced:
            branch.certain = False
            self._ghosts[tx] = branch
        return branch is not None

    def crashed(self) -> None:
        """The node has crashed: branches that were rolled back lazily may be back."""
        self.branches = {**self._ghosts, **self.branches}
        self._ghosts = {}

    def forgotten(self, tx: int) -> None:
        """The records are garbage from here on."""
        for item in self.records.get(tx, ()):
            item.certain = False

    def due(self) -> set[int]:
        """Transactions that have to be recovered after a crash."""
        found = {tx for tx, items in self.records.items() if any(item.certain for item in items)}
        return found | {tx for tx, item in self.branches.items() if item.certain}

    def recovered(self, tx: int, given: Sequence[Any]) -> list[str]:
        """Compare the records that a machine was given with those that it must be given; from here on these are what there is.

        Args:
            tx: The transaction.
            given: Records, oldest first.

        Returns:
            One line for each difference.
        """
        branch = self.branches.get(tx)
        expected = [*self.records.get(tx, ()), *([branch] if branch is not None else [])]
        found = [identity(record) for record in given]
        problems = [] if _agree(expected, found) else _differences(expected, found)
        left = list(found)
        if branch is not None:
            if left and left[-1] == branch.record:
                left.pop()
                branch.certain = True
            else:
                del self.branches[tx]
        known = {item.record: item for item in expected}
        self.records[tx] = [
            Item(record, known[record].name, known[record].certain, known[record].entry)
            if record in known
            else Item(record, "", False, -1)
            for record in left
        ]
        return problems

    # --- idempotency rows and outbox ---------------------------------------------------------------------------------------------

    def begun(self, effect: Effect) -> int:
        """A local transaction is under way: from here on its row and its outbox messages may be there; returns its number."""
        self.executions += 1
        number = self.executions
        if isinstance(effect, Transact):
            for text in {*_outbox(effect.accepted), *_outbox(effect.refused)}:
                self.outbox[text].add(number)
            if effect.key is not None:
                values = {_value(effect.accepted, "done")}
                if effect.refused is not None:
                    values.add(_value(effect.refused, "refused"))
                self.rows[_key(effect.key)].append(Row(number, values))
            if effect.undoes is not None:
                self.rows[_key(effect.undoes)].append(Row(number, {TOMBSTONE}))
        elif isinstance(effect, Prepare) and effect.key is not None:
            self.rows[_key(effect.key)].append(Row(number, {"done"}))
        return number

    def ended(self, effect: Effect, execution: int, status: str, time: float, retention: float | None) -> str | None:
        """A local transaction has ended; one line if it was done although its key was there already.

        Args:
            effect: What it was.
            execution: Its number.
            status: As in `Done`.
            time: When.
            retention: For how long rows are kept at least; None: not known.
        """
        if status == "done":
            branch = effect.accepted if isinstance(effect, Transact) else None
        elif status == "refused" and isinstance(effect, Transact) and effect.refused is not None:
            branch = effect.refused
        else:
            self._withdraw(effect, execution)
            return None
        if not isinstance(effect, Transact):
            return None
        for text in {*_outbox(effect.accepted), *_outbox(effect.refused)}.difference(_outbox(branch)):
            self.outbox[text].discard(execution)
        if effect.key is None:
            return None
        rows = self.rows[_key(effect.key)]
        before = [row.written for row in rows if row.written is not None and row.execution != execution]
        for row in rows:
            if row.execution == execution:
                row.written = time
                row.values = {_value(branch, status)}
        if retention is None or not before or time - max(before) >= retention:
            return None
        return f"it was {status} although its key {effect.key!r} had been written less than {retention:g} s before"

    def _withdraw(self, effect: Effect, execution: int) -> None:
        """A local transaction has written nothing."""
        if isinstance(effect, Transact):
            for text in {*_outbox(effect.accepted), *_outbox(effect.refused)}:
                self.outbox[text].discard(execution)
        if isinstance(effect, Transact | Prepare):
            for key in (effect.key, effect.undoes if isinstance(effect, Transact) else None):
                if key is not None:
                    rows = self.rows[_key(key)]
                    rows[:] = [row for row in rows if row.execution != execution]

    def duplicate(self, effect: Effect, execution: int, value: Any) -> str | None:
        """A local transaction found its key there, with this value; one line if nothing can have written that."""
        key = effect.key if isinstance(effect, Transact | Prepare) else None
        if key is None:
            return "a duplicate was found, but it has no idempotency key"
        others = [row for row in self.rows.get(_key(key), ()) if row.execution != execution]
        if not others:
            return f"the key {key!r} was found, which nothing has written"
        if not any(identity(value) in row.values for row in others):
            return f"the key {key!r} was found with the value {value!r}, which nothing has written"
        return None

    def read(self, rows: Iterable[OutboxRow]) -> list[str]:
        """The outbox was read; one line for each row that cannot be there."""
        problems = []
        for number, message, *_ in rows:
            text = identity(message)
            if not self.outbox.get(text):
                problems.append(f"outbox row {number} holds '{message.kind}', which no local transaction has written")
            elif self.marked.get(number) == text:
                problems.append(f"outbox row {number} was read again after it had been marked")
            elif self.numbers.setdefault(number, text) != text:
                problems.append(f"outbox row {number} holds '{message.kind}', but held another message before")
        return problems

    def mark(self, numbers: Iterable[int]) -> None:
        """Rows were marked as published: until the relay crashes it does not see them again."""
        for number in numbers:
            if number in self.numbers:
                self.marked[number] = self.numbers.pop(number)

    def unmark(self) -> None:
        """The relay has crashed: marks may be lost."""
        self.marked.clear()


def _agree(expected: Sequence[Item], found: Sequence[Hashable]) -> bool:
    """Return whether what was found is what is expected, in order, with or without what is not certain."""
    reached = {0}
    for item in expected:
        onward = {here + 1 for here in reached if here < len(found) and found[here] == item.record}
        reached = onward if item.certain else onward | reached
    return len(found) in reached


def _differences(expected: Sequence[Item], found: Sequence[Hashable]) -> list[str]:
    problems = []
    left = list(found)
    for item in expected:
        if item.record in left:
            left.remove(item.record)
        elif item.certain:
            problems.append(f"the record '{item.name}', forced by entry {item.entry}, is missing")
    for record in left:
        name = record[0] if isinstance(record, tuple) and record else record
        problems.append(f"the record {name!r} is there, which nothing has written")
    return problems or ["the records are not in the order in which they were written"]


def _value(branch: Branch | None, default: str) -> Hashable:
    return default if branch is None or branch.value is None else identity(branch.value)


def _outbox(branch: Branch | None) -> list[Hashable]:
    return [] if branch is None else [identity(message) for message in branch.outbox]


def _key(key: Sequence[Any]) -> Hashable:
    return identity(tuple(key))
