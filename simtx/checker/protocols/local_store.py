"""The store and the log of one node in the checker: what a local transaction does, and what a crash leaves of it.

The semantics are those of `simtx.protocols.contract.Transact` and its relatives, without time: an operation that meets another
transaction's lock fails at once, as after a lock timeout.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, Final, NamedTuple

from simtx.protocols import contract as c
from simtx.protocols.names import TOMBSTONE
from simtx.protocols.operations import after, locks

_CALL: Final = "call"
"""Word that stands, with the key of a local transaction, for the row of the provider that has done its work."""
_REFUSE: Final = c.Operation("", "refuse")
_END: Final = ("\0end",)
"""Record of a machine that forgot itself: it is as lazy as any other, so a crash may bring the machine back."""


class Output(NamedTuple):
    """Something that leaves a node, or that the observer sees there.

    Attributes:
        kind: ``send``, ``publish``, ``acknowledge``, ``answer``, ``decided``, ``branch`` (a prepared branch ended), ``row`` (an outbox row
            committed), ``refused`` (a step that only reads), ``stuck``, ``fault`` (a machine met what it has no answer for), ``recovered``.
        value: Depends on the kind.
    """

    kind: str
    value: Any


class Held(NamedTuple):
    """An open or prepared branch.

    Attributes:
        changes: What it changes, under locks.
        steps: Whose work that is.
        record: What was forced with it, once it is prepared.
        key: Its idempotency row.
        since: The number that an outbox row would have got when it began.
        reads: Keys that it has only read, and locked; none unless reads lock.
    """

    changes: tuple[tuple[str, float], ...]
    steps: tuple[int, ...]
    record: c.Record | None
    key: Hashable
    since: int
    reads: tuple[str, ...] = ()


@dataclass(slots=True)
class Store:
    """Store and log of one node, thawed.

    Attributes:
        log: (transaction, record, durable); the tail that is not durable is lazy.
        values: What is committed.
        rows: Idempotency rows, oldest first.
        outbox: Unmarked outbox rows.
        marks: Rows that were marked: what the relay has not written yet, nobody takes to the disk for it.
        prepared: Prepared branches by transaction.
        rolled_back: Branches rolled back lazily since the last forced write.
        open: Branches with nothing durable.
        next_row: Number of the next outbox row.
        under_way: Local transactions that have numbered their outbox rows and not committed: transaction to first number.
        counts: (transaction, step) -> (times done, times undone).
    """

    log: list[tuple[int, c.Record, bool]] = field(default_factory=list)
    values: dict[str, float] = field(default_factory=dict)
    rows: dict[Any, Any] = field(default_factory=dict)
    outbox: dict[int, c.Message] = field(default_factory=dict)
    marks: list[tuple[int, c.Message]] = field(default_factory=list)
    prepared: dict[int, Held] = field(default_factory=dict)
    rolled_back: list[tuple[int, Held]] = field(default_factory=list)
    open: dict[int, Held] = field(default_factory=dict)
    next_row: int = 0
    counts: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)
    under_way: dict[int, int] = field(default_factory=dict)

    def freeze(self, *, ordered_rows: bool) -> tuple[Any, ...]:
        """All of it as one hashable value; the order of idempotency rows counts only where old ones are pruned."""
        return (
            tuple(self.log),
            tuple(sorted(self.values.items())),
            tuple(self.rows.items()) if ordered_rows else tuple(sorted(self.rows.items(), key=repr)),
            tuple(self.outbox.items()),
            tuple(self.marks),
            tuple(sorted(self.prepared.items())),
            tuple(self.rolled_back),
            tuple(sorted(self.open.items())),
            self.next_row,
            tuple(sorted(self.counts.items())),
            tuple(sorted(self.under_way.items())),
        )

    @classmethod
    def thaw(cls, frozen: tuple[Any, ...]) -> Store:
        """The opposite of `freeze`."""
        log, values, rows, outbox, marks, prepared, rolled_back, opened, next_row, counts, under_way = frozen
        return cls(
            list(log),
            dict(values),
            dict(rows),
            dict(outbox),
            list(marks),
            dict(prepared),
            list(rolled_back),
            dict(opened),
            next_row,
            dict(counts),
            dict(under_way),
        )

    # --- log --------------------------------------------------------------------------------------------------------------------

    def append(self, tx: int, record: c.Record, *, forced: bool) -> None:
        """Append a record; a forced one takes the earlier ones of its transaction to disk, and no others: logs may be buffered apart."""
        self.log.append((tx, record, forced))
        if forced:
            self.log = _collected([(owner, one, durable or owner == tx) for owner, one, durable in self.log])
            self.rolled_back.clear()

    def end(self, tx: int) -> None:
        """The machine of this transaction forgot itself: its records are garbage, once that is durable."""
        if any(owner == tx for owner, *_ in self.log):
            self.log.append((tx, _END, False))

    def after_crash(self) -> list[tuple[Store, str]]:
        """Stores that a crash may leave now, with a few words: of each transaction any prefix of its lazy records, and of marks and rollbacks some.

        Marks are the relay's, which is a process of its own: no forced write of the service takes them along.
        """
        lazy: dict[int, int] = {}
        for tx, _, durable in self.log:
            if not durable:
                lazy[tx] = lazy.get(tx, 0) + 1
        found: list[tuple[Store, str]] = []
        for kept in product(*(range(count + 1) for count in lazy.values())):
            left = dict(zip(lazy, kept, strict=True))
            note = f"{sum(kept)} of {sum(lazy.values())} lazy records survive" if lazy else ""
            log = _collected(_surviving(self.log, left))
            found.append((self._survivor(log, self.outbox, self.prepared), note))
            for lost, back in self._undoings():
                outbox = dict(sorted({**self.outbox, **dict(lost)}.items()))
                text = ", ".join(filter(None, (note, _undone(lost, back))))
                found.append((self._survivor(log, outbox, {**dict(back), **self.prepared}), text))
        return found

    def _undoings(self) -> Iterator[tuple[list[tuple[int, c.Message]], list[tuple[int, Held]]]]:
        """Lazy marks, the last ones first, and lazy rollbacks that a crash may undo; at least something."""
        for back in ([], self.rolled_back) if self.rolled_back else ([],):
            for kept in range(len(self.marks), -1, -1):
                if back or kept < len(self.marks):
                    yield self.marks[kept:], back

    def _survivor(
        self, log: list[tuple[int, c.Record, bool]], outbox: dict[int, c.Message], prepared: dict[int, Held]
    ) -> Store:
        return Store(log, self.values, self.rows, outbox, [], prepared, [], {}, self.next_row, self.counts)

    def known(self) -> list[int]:
        """Transactions that a restart has to recover."""
        return sorted({tx for tx, *_ in self.log} | set(self.prepared))

    def records(self, tx: int) -> list[c.Record]:
        """Records of a transaction on the disk."""
        records = [record for owner, record, _ in self.log if owner == tx]
        branch = self.prepared.get(tx)
        if branch is not None and branch.record is not None:
            records.append(branch.record)
        return records

    # --- local transactions -------------------------------------------------------------------------------------------------------

    def _locked(self, tx: int, operations: Iterable[c.Operation], serializable: bool) -> bool:
        """Return whether a branch of another transaction holds a key that these operations lock."""
        if not self.open and not self.prepared:
            return False
        held = {
            key
            for branches in (self.open, self.prepared)
            for owner, b in branches.items()
            if owner != tx
            for key in (*(key for key, _ in b.changes), *b.reads)
        }
        return any(operation.key in held for operation in operations if locks(operation, serializable))

    def _evaluate(self, operations: Iterable[c.Operation], base: dict[str, float]) -> dict[str, float] | None:
        """Changes of these operations, or None if they are refused."""
        changes = base
        for operation in operations:
            new = after(operation, changes.get(operation.key, self.values.get(operation.key, 0)))
            if new is None:
                return None
            if operation.kind != "read":
                changes[operation.key] = new
        return changes

    def _count(self, tx: int, steps: Iterable[int], *, undo: bool) -> None:
        for step in steps:
            did, undid = self.counts.get((tx, step), (0, 0))
            self.counts[tx, step] = (did, undid + 1) if undo else (did + 1, undid)

    def _insert(self, key: Hashable, value: Any, retained: int | None) -> None:
        self.rows[key] = value
        while retained is not None and len(self.rows) > retained:
            del self.rows[next(iter(self.rows))]

    def transact(
        self,
        tx: int,
        effect: c.Transact,
        outputs: list[Output],
        retained: int | None = None,
        *,
        serializable: bool = True,
    ) -> c.Done:
        """One local transaction; of one that was under way the rows appear under the numbers that they have."""
        first = self.under_way.pop(tx, None)
        if effect.key is not None and effect.key in self.rows:
            return c.Done(effect.tag, "duplicate", self.rows[effect.key])
        locked = self._locked(tx, effect.operations, serializable)
        if locked or (effect.serial_outbox and self.under_way and effect.outbox_rows()):
            return c.Done(effect.tag, "failed")
        operations = effect.operations
        tombstone = None
        if effect.undoes is not None:
            action = self.rows.get(effect.undoes)
            if action != effect.undone_if:
                operations = ()
            if action is None:
                tombstone = effect.undoes
        changes = self._evaluate(operations, {})
        branch = effect.refused if changes is None else effect.accepted
        done = c.Done(effect.tag, "refused" if changes is None else "done")
        if changes is None and branch is None:
            return done
        if not changes and effect.key is None and tombstone is None and not (branch and branch.outbox):
            return done
        if changes:
            self.values.update(changes)
            self._count(tx, effect.steps, undo=effect.compensation)
        if effect.key is not None:
            self._insert(effect.key, done.status if branch is None else branch.value, retained)
        if tombstone is not None:
            self._insert(tombstone, TOMBSTONE, retained)
        if branch is not None:
            self._post(branch, first, outputs)
        self.rolled_back.clear()
        return done

    def call(
        self,
        tx: int,
        effect: c.Transact,
        outputs: list[Output],
        retained: int | None = None,
        *,
        remembers: bool,
        heard: bool,
    ) -> c.Done:
        """A local transaction of which a provider outside does the work: first the request, then, if its answer is heard, what the service writes down.

        Args:
            tx: The transaction.
            effect: The local transaction.
            outputs: What leaves the node.
            retained: Rows that are kept, those of the provider included.
            remembers: Whether the provider knows the keys of its requests.
            heard: Whether its answer arrives.
        """
        about = effect.undoes if effect.undoes is not None else effect.key if not effect.operations else None
        if about is not None and about not in self.rows and (about, _CALL) in self.rows:
            ended, told = self.rows[about, _CALL]
            self._insert(about, ended if told is None else told.value, retained)
            if told is not None:
                self._post(told, None, outputs)
        known = effect.key is not None and effect.key in self.rows
        idle = effect.undoes is not None and self.rows.get(effect.undoes) != effect.undone_if
        if known or idle or not effect.operations:
            return self.transact(tx, effect, outputs, retained)
        status, _ = self.rows.get((effect.key, _CALL), ("", None))
        if not status:
            changes = self._evaluate(effect.operations, {})
            status = "refused" if changes is None else "done"
            if changes:
                self.values.update(changes)
                self._count(tx, effect.steps, undo=effect.compensation)
            if remembers and effect.key is not None:
                branch = effect.refused if changes is None else effect.accepted
                self._insert((effect.key, _CALL), (status, branch), retained)
        if not heard:
            self.under_way.pop(tx, None)
            return c.Done(effect.tag, "failed")
        own = replace(effect, operations=() if status == "done" else (_REFUSE,))
        return self.transact(tx, own, outputs, retained)

    def begin(self, tx: int, effect: c.Transact) -> bool:
        """A local transaction numbers its outbox rows, and is under way from here on; False if it may not, as the outbox is locked."""
        if effect.serial_outbox and self.under_way:
            return False
        self.under_way[tx] = self.next_row
        self.next_row += effect.outbox_rows()
        return True

    def _post(self, branch: c.Branch, first: int | None, outputs: list[Output]) -> None:
        number = self.next_row if first is None else first
        for position, message in enumerate(branch.outbox):
            self.outbox[number + position] = message
            outputs.append(Output("row", message))
        if first is None:
            self.next_row += len(branch.outbox)
        else:
            self.outbox = dict(sorted(self.outbox.items()))

    def read_outbox(self, effect: c.ReadOutbox) -> tuple[c.OutboxRow, ...]:
        """Rows that a relay sees: all visible ones, or those that none can come before any more."""
        rows = list(self.outbox.items())
        if not effect.below_horizon:
            return tuple(rows[: effect.limit])
        branches = (branch.since for held in (self.open, self.prepared) for branch in held.values())
        horizon = min((*self.under_way.values(), *branches), default=self.next_row)
        return tuple((number, message, number) for number, message in rows[: effect.limit] if number < horizon)

    def branch(self, tx: int, effect: c.Execute | c.Prepare, *, serializable: bool = True) -> c.Done:
        """Open a branch, or prepare it; what it has read stays locked until its end if reads lock."""
        if isinstance(effect, c.Prepare) and effect.key is not None and effect.key in self.rows:
            return c.Done(effect.tag, "duplicate", self.rows[effect.key])
        if self._locked(tx, effect.operations, serializable):
            self.open.pop(tx, None)
            return c.Done(effect.tag, "failed")
        before = self.open.pop(tx, None)
        changes = self._evaluate(effect.operations, dict(before.changes) if before else {})
        if changes is None:
            return c.Done(effect.tag, "refused")
        steps = (*(before.steps if before else ()), *effect.steps)  # a step that is executed twice counts twice
        held = tuple(sorted(changes.items()))
        seen = {o.key for o in effect.operations if o.kind == "read" and locks(o, serializable)}
        reads = tuple(sorted(seen.union(before.reads if before else ()) - changes.keys()))
        since = before.since if before else self.next_row
        if isinstance(effect, c.Prepare):
            self.prepared[tx] = Held(held, steps, effect.record, effect.key, since, reads)
            self.rolled_back.clear()
        else:
            self.open[tx] = Held(held, steps, None, None, since, reads)
        return c.Done(effect.tag, "done")

    def commit(self, tx: int, outputs: list[Output], retained: int | None = None) -> None:
        """Commit a prepared branch, if there is one."""
        branch = self.prepared.pop(tx, None)
        if branch is None:
            return
        self.values.update(dict(branch.changes))
        if branch.key is not None:
            self._insert(branch.key, "done", retained)
        if branch.changes:
            self._count(tx, branch.steps, undo=False)
        outputs.append(Output("branch", (tx, "committed")))
        self.rolled_back.clear()

    def roll_back(self, tx: int, effect: c.Rollback, outputs: list[Output]) -> None:
        """Roll back an open or a prepared branch, if there is one."""
        self.open.pop(tx, None)
        branch = self.prepared.pop(tx, None)
        if branch is None:
            return
        outputs.append(Output("branch", (tx, "aborted")))
        if effect.forced:
            self.rolled_back.clear()
        else:
            self.rolled_back.append((tx, branch))


def _undone(marks: list[tuple[int, c.Message]], rollbacks: list[tuple[int, Held]]) -> str:
    return " and ".join(
        name for name, lost in (("marks of the outbox are lost", marks), ("the rollback is lost", rollbacks)) if lost
    )


def _surviving(log: list[tuple[int, c.Record, bool]], left: dict[int, int]) -> list[tuple[int, c.Record, bool]]:
    """Records of a log that are found after a crash: those that are durable, and the first so many lazy records of each transaction."""
    found = []
    for tx, record, durable in log:
        if not durable:
            if not left[tx]:
                continue
            left[tx] -= 1
        found.append((tx, record, True))
    return found


def _collected(log: list[tuple[int, c.Record, bool]]) -> list[tuple[int, c.Record, bool]]:
    """A log without the records of machines that durably forgot themselves afterwards."""
    ends = {entry[0]: position for position, entry in enumerate(log) if entry[1] == _END and entry[2]}
    if not ends:
        return log
    return [entry for position, entry in enumerate(log) if position > ends.get(entry[0], -1)]
