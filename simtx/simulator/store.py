"""A little database: values, row locks with wait queues, guarded local transactions, prepared branches, inbox and outbox rows.

It holds data, so that invariants are checked on values. Row locks are exclusive and held until the local transaction is durable; under
``serializable`` reads lock too, under ``read-committed`` a read sees the last committed value and never waits. Locks of one local transaction are
taken in the order of their keys, so that two never wait for each other in a ring; across stores that is the business of the scenario's
deadlock rule (`simtx.simulator.deadlocks`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from simtx.metrics.ledger import TransactionLedger
from simtx.protocols import Execute, Key, Operation, OutboxRow, Prepare, ReadOutbox, Record, Status, Transact
from simtx.protocols.names import TOMBSTONE
from simtx.protocols.operations import FirstValues, allows, locked, locking, writes
from simtx.simulator.outbox import OutboxTable
from simtx.simulator.replica import Follower, Replica
from simtx.simulator.row_locks import RowLocks
from simtx.simulator.work import Work

if TYPE_CHECKING:
    from simtx.event_log.journal import Journal
    from simtx.simulator.deadlocks import Deadlocks
    from simtx.simulator.disk import Disk
    from simtx.simulator.environment import Environment

OUTBOX_LOCK: Final = "~outbox"
"""Name of the lock that stands for the whole outbox (`Transact.serial_outbox`); it comes behind most keys, so that it is taken last."""


class Owner(Protocol):
    """The node of a store, as the store knows it."""

    name: str
    env: Environment
    ledger: TransactionLedger
    journal: Journal | None
    disk: Disk

    def finish(self, work: Work, status: Status, value: Any) -> None:
        """A local transaction has ended."""

    def work_inside(self, work: Work) -> None:
        """A local transaction that works with its locks in hand has them: spend its service time, then call `Store.worked`."""

    def outbox_written(self) -> None:
        """A local transaction with outbox rows has committed."""

    def buffered(self, since: float) -> bool:
        """Return whether what was written lazily at this time may still be in the memory of a process."""

    def survives(self, since: float) -> bool:
        """Return whether a lazy rollback of this time has reached the store's log by now."""


class Store:
    """The store of one service: it runs local transactions and branches, gives out row locks, and survives crashes.

    Args:
        node: The service's node, which owns the clock, the log device and the metrics.
        initial: First values by key; a key that ends in ``*`` stands for every key with that prefix.
        serializable: Whether reads lock.
        lock_timeout: Seconds after which a waiting local transaction gives up.
        weights: Conserved quantities: (key prefix, weight in each of them).
        deadlocks: The rule that finds or prevents rings of waiting transactions.
        retention: How long idempotency rows are kept at least, in seconds.
        outbox_at_commit: Whether outbox rows are numbered when they are committed, and not when they are inserted.
        replica: Where reads go, or None: to the store itself.
        works_inside: Whether a local transaction has its row locks while it works, too (``locks = "work"``).
    """

    __slots__ = (
        "_lazy_rollbacks",
        "_locking",
        "_node",
        "_older_rows",
        "_retention",
        "_rotate_at",
        "_serializable",
        "_versions",
        "_weights",
        "beginnings",
        "first",
        "followers",
        "locks",
        "open",
        "outbox",
        "owners",
        "prepared",
        "replica",
        "rows",
        "values",
        "works_inside",
    )

    def __init__(
        self,
        node: Owner,
        initial: dict[str, float],
        *,
        serializable: bool,
        lock_timeout: float,
        weights: Sequence[tuple[str, tuple[float, ...]]],
        deadlocks: Deadlocks,
        retention: float,
        outbox_at_commit: bool = False,
        replica: Replica | None = None,
        works_inside: bool = False,
    ) -> None:
        self._node = node
        self.first = FirstValues(initial, 0)
        self._serializable = serializable
        self._locking = locking(serializable)
        self._weights = tuple(weights)
        self._retention = retention
        self.replica = replica
        self.beginnings: list[Callable[[Iterable[str]], None]] = []
        self.followers: list[Follower] = [] if replica is None else [replica]
        self._rotate_at = retention
        self.values: dict[str, float] = dict(self.first.exact)
        self._versions: dict[str, int] = {}  # how often each key was changed; counted only for the event log
        self.works_inside = works_inside
        granted = self._granted if works_inside else self._evaluate
        self.locks = RowLocks(node, lock_timeout, deadlocks, granted, self.drop)
        self.owners = self.locks.owners
        self.rows: dict[Key, Any] = {}
        self._older_rows: dict[Key, Any] = {}
        self.outbox = OutboxTable(at_commit=outbox_at_commit, buffered=node.buffered)
        self.prepared: dict[int, Work] = {}
        self.open: dict[int, Work] = {}
        self._lazy_rollbacks: deque[tuple[float, Work]] = deque()

    def read(self, key: str) -> float:
        """Last committed value of a key; keys that nobody wrote yet have their initial value, 0 if none is given."""
        value = self.values.get(key)
        return self.first(key) if value is None else value

    def weights_of(self, key: str) -> list[tuple[float, ...]]:
        """Weights of a key in each conserved quantity, once for every prefix that it has."""
        return [weight for prefix, weight in self._weights if key.startswith(prefix)]

    def alike(self, text: str) -> tuple[float, list[tuple[float, ...]]] | None:
        """First value and weights of every key that begins with this text and is no single key; None if they differ."""
        first = self.first.alike(text)
        if first is None or any(prefix.startswith(text) and prefix != text for prefix, _ in self._weights):
            return None
        return first, self.weights_of(text)

    def row(self, key: Key) -> Any:
        """Value of an idempotency row, or None."""
        value = self.rows.get(key)
        return self._older_rows.get(key) if value is None else value

    def _rotate(self) -> None:
        """Start a new generation of idempotency rows: a row lives for at least one retention, at most for two."""
        # No time is kept with a row: to forget a generation is one assignment, however many rows it has (decision 8).
        now = self._node.env.now
        self._older_rows = self.rows if now < self._rotate_at + self._retention else {}
        self.rows = {}
        self._rotate_at = now + self._retention

    def forget_rows(self) -> None:
        """Drop the idempotency rows, of which there are several for each transaction: the run is over, and nobody comes again."""
        self.rows.clear()
        self._older_rows.clear()

    def _apply(self, work: Work, steps: Sequence[int], compensation: bool) -> None:
        """Make the changes visible, and enter them into the ledger."""
        changes = work.changes
        if not changes:
            return
        node = self._node
        shifts = self._shifts(changes) if self._weights else None
        if node.journal is not None:
            audit = {key: (self.read(key), new) for key, new in changes.items()}
            node.journal.applied(work.actor, steps, audit, compensation=compensation, reads=work.reads or ())
            versions = {key: self._versions.get(key, 0) + 1 for key in changes}
            self._versions.update(versions)
        else:
            versions = {}
        record = work.actor.record
        if record is None or record.light:
            node.ledger.late(node.name, {key: new - self.read(key) for key, new in changes.items()})
        self.values.update(changes)
        for follower in self.followers:
            follower.ship(work.tx, changes, versions)
        if record is not None:
            if len(steps) > 1:
                plan = record.plan.steps
                # A step that only reads has no effect that could be missing or doubled.
                steps = [index for index in steps if writes(plan[index].operations)]
            node.ledger.effect(record, steps, compensation, shifts, node.env.now)

    def _queried(self, work: Work) -> None:
        """A local transaction that changes nothing is over: what it has read goes to the event log."""
        journal = self._node.journal
        if journal is not None and work.reads:
            effect = work.effect
            compensation = type(effect) is Transact and effect.compensation
            refused = work.status == "refused"
            journal.applied(work.actor, work.steps, {}, compensation=compensation, reads=work.reads, refused=refused)

    def _shifts(self, changes: dict[str, float]) -> list[float] | None:
        """Amounts by which these changes move every conserved quantity, or None if by nothing."""
        shifts: list[float] | None = None
        for key, new in changes.items():
            for prefix, weight in self._weights:
                if key.startswith(prefix):
                    old = self.values.get(key)
                    change = new - (self.first(key) if old is None else old)
                    if shifts is None:
                        shifts = [0.0] * len(weight)
                    for index, factor in enumerate(weight):
                        shifts[index] += factor * change
        return shifts

    # --- a local transaction, from its start to its end -------------------------------------------------------------------------

    def run(self, work: Work) -> None:
        """Run a local transaction whose service time is over, or is to be spent with its locks; the node's `finish` is called at its end."""
        if self._node.journal is not None:
            work.reads = []
        for begin in self.beginnings:
            begin(one.key for one in work.operations if one.kind in ("add", "set"))
        effect = work.effect
        if type(effect) is Transact:
            key = effect.key
            undoes = effect.undoes
        else:
            key = effect.key if type(effect) is Prepare else None
            undoes = None
        # Before any lock: a repeated command must not queue for an answer that is there already.
        if key is not None:
            known = self.rows.get(key)
            if known is None and self._older_rows:
                known = self._older_rows.get(key)
            if known is not None:
                self._node.finish(work, "duplicate", known)
                return
        if undoes is not None and type(effect) is Transact:
            action = self.row(undoes)
            # The action took no effect, so there is nothing to undo. If it has not come yet, its row is taken, and it will do nothing when it comes.
            if action != effect.undone_if:
                work.operations = ()
                if action is None:
                    work.tombstone = undoes
        if work.inside >= 0:
            # The lock of the outbox comes when the work is done, with the rows that it is for.
            work.keys = [] if _refuses(work) else self._lockable(work, outbox=False)
            self.locks.acquire(work)
        elif not (self.owners or self.open):  # nobody holds a lock: nothing to wait for
            disk = self._node.disk
            if disk.instant and type(effect) is Transact and not disk.stalled:
                self._run_at_once(work, effect)
            else:
                self._evaluate(work)
        else:
            if _refuses(work):
                self._refuse(work)
                return
            work.keys = self._lockable(work)
            self.locks.acquire(work)

    def _granted(self, work: Work) -> None:
        """Go on when it has its locks: work first, if it is to work with them."""
        if work.inside < 0:
            self._evaluate(work)
            return
        for key in work.keys:
            self.locks.own(work, key)
        self._node.work_inside(work)

    def worked(self, work: Work) -> None:
        """A local transaction has spent its service time with its locks: play it."""
        if _has_outbox(work.effect):
            work.keys = [*work.keys, OUTBOX_LOCK]
            self.locks.acquire(work)
        else:
            self._evaluate(work)

    def _run_at_once(self, work: Work, effect: Transact) -> None:
        """Evaluate and commit in one go: there are no locks to respect, and the log takes no time."""
        changes = work.changes
        node = self._node
        if self._play(work):
            row = effect.accepted
            if not changes and effect.key is None and not (row is not None and row.outbox):
                self._queried(work)
                node.finish(work, "done", None)  # read-only: nothing to force
                return
        else:
            work.status = "refused"
            changes.clear()
            self._queried(work)
            row = effect.refused
            if row is None:
                node.finish(work, "refused", None)
                return
        work.row = row
        work.forced = True
        node.disk.note_instant()
        self._commit(work, effect)

    def _evaluate(self, work: Work) -> None:
        """Play the operations on what is committed, with all locks in hand: changes, or a refusal."""
        changes = work.changes
        branch = self.open.get(work.tx) if self.open else None
        if branch is not None:
            changes.update(branch.changes)
        if not self._play(work):
            self._refuse(work)
            return
        effect = work.effect
        if type(effect) is Transact:
            row = work.row = effect.accepted
            if not changes and effect.key is None and not (row is not None and row.outbox):
                self._queried(work)
                self.locks.release(work)
                self._node.finish(work, "done", None)  # read-only: nothing to force
                return
        elif branch is not None:
            self._merge(branch, work)
            if type(effect) is Execute:
                self._node.finish(work, "done", None)
                return
        elif type(effect) is Execute:
            self._hold(work)
            self.open[work.tx] = work
            self._node.finish(work, "done", None)
            return
        self._harden(work)

    def _play(self, work: Work) -> bool:
        """Play the operations on what is committed and on earlier changes, and add theirs; False if one is refused."""
        changes = work.changes
        values = self.values
        reads = work.reads
        for operation in work.operations:
            kind = operation.kind
            if kind == "read":
                if not self._allows(operation, work):
                    return False
                continue
            if kind == "refuse":
                return False
            key = operation.key
            if kind == "add":
                old = changes.get(key)
                if old is None:
                    old = values.get(key)
                    if old is None:
                        old = self.first(key)
                    if reads is not None:
                        reads.append((key, old, self._versions.get(key, 0)))
                new = old + operation.amount
            else:
                new = operation.amount
            low = operation.low
            high = operation.high
            if (low is not None and new < low) or (high is not None and new > high):
                return False
            changes[key] = new
        return True

    def _allows(self, operation: Operation, work: Work) -> bool:
        """Return whether the guard of a read holds: on this transaction's own change, else on the replica if there is one, else here."""
        key = operation.key
        value = work.changes.get(key)
        if value is None:
            value = self.read(key)
            versions = self._versions
            if self.replica is not None:
                current = value
                value = self.replica.read(key, current, self.first(key))
                versions = self.replica.versions
                if self._node.journal is not None:
                    self._node.journal.read_replica(work.tx, key, stale=value != current)
            if work.reads is not None:
                work.reads.append((key, value, versions.get(key, 0)))
        return allows(operation, value)

    def _merge(self, branch: Work, work: Work) -> None:
        """A further operation of an open branch: its locks and changes join those that the branch holds."""
        work.ticket = branch.ticket
        # These were played on top of the changes of the branch, see `_evaluate`.
        branch.changes = dict(work.changes)
        for key in work.keys:
            self.locks.own(work, key)
            self.owners[key] = branch
        branch.keys = [*branch.keys, *work.keys]
        branch.locked_from += work.locked_from
        branch.operations += work.operations
        branch.steps = tuple(dict.fromkeys((*branch.steps, *work.steps)))
        if branch.reads is not None and work.reads is not None:
            branch.reads += work.reads
        if type(work.effect) is Prepare:
            work.keys, work.locked_from = branch.keys, branch.locked_from
            work.operations, work.steps, work.reads = branch.operations, branch.steps, branch.reads
            for key in work.keys:
                self.owners[key] = work
            del self.open[work.tx]

    def _refuse(self, work: Work) -> None:
        work.status = "refused"
        work.changes.clear()
        self._queried(work)
        effect = work.effect
        if type(effect) is Transact and effect.refused is not None:
            if not effect.serial_outbox:  # else it keeps the lock of the outbox until its event is visible
                self.locks.release(work)
            work.row = effect.refused
            self._harden(work)
            return
        self.locks.release(work)
        self.drop(work, "refused")

    def drop(self, work: Work, status: Status) -> None:
        """End a local transaction that was refused or has failed; a branch that earlier operations of it have opened ends with it."""
        if self.open and type(work.effect) is not Transact:
            branch = self.open.pop(work.tx, None)
            if branch is not None:
                self.locks.release(branch)
        self._node.finish(work, status, None)

    def _harden(self, work: Work) -> None:
        """Force what the local transaction writes, then make it visible."""
        disk = self._node.disk
        work.forced = True
        if disk.instant and not disk.stalled:
            disk.note_instant()
            if type(work.effect) is Prepare:
                self._hold(work)
            self._durable(work)
            return
        effect = work.effect
        # Others must not change these rows before it is durable: the new values were computed from the old ones.
        if work.status == "done" or (type(effect) is Transact and effect.serial_outbox):
            self._hold(work)
        disk.force(self._durable, work, work.tx)

    def _durable(self, work: Work) -> None:
        """Ends a local transaction whose writes have reached the disk."""
        effect = work.effect
        if type(effect) is not Transact:
            self._prepared(work)
        # The row was not there when this one began. While it waited for locks and the disk, a copy of it may have committed.
        elif (known := None if effect.key is None else self.row(effect.key)) is None:
            self._commit(work, effect)
        else:  # another one with this key was faster
            node = self._node
            if work.actor.record is not None:
                work.actor.record.forced += 1
            if node.journal is not None:
                node.journal.worked(work.actor, effect, "duplicate", forced=True)
            self.locks.release(work)
            node.finish(work, "duplicate", known)

    def _prepared(self, work: Work) -> None:
        """The branch of a distributed transaction is prepared: it can only be committed or rolled back now."""
        node = self._node
        record = work.actor.record
        work.prepared_since = node.env.now
        self.prepared[work.tx] = work
        if record is not None:
            record.forced += 1
            record.prepared += 1
        if node.journal is not None:
            node.journal.worked(work.actor, work.effect, "done", forced=True)
        node.finish(work, "done", None)

    def _commit(self, work: Work, effect: Transact) -> None:
        """Make visible what a local transaction has written: its idempotency row, its changes, its outbox rows."""
        node = self._node
        journal = node.journal
        record = work.actor.record
        if record is not None:
            record.forced += 1
        status = work.status
        row = work.row
        if effect.key is not None:
            if node.env.now >= self._rotate_at:
                self._rotate()
            # A refusal has a row, too, if its branch is stored: a late copy of the command must not run (decision 5).
            self.rows[effect.key] = status if row is None or row.value is None else row.value
        if work.tombstone is not None:
            self.rows[work.tombstone] = TOMBSTONE
        if work.changes and status == "done":
            self._apply(work, effect.steps, effect.compensation)
        elif status == "done":
            self._queried(work)
        if row is not None and row.outbox:
            self.outbox.commit(work, row.outbox)
            if record is not None:
                node.ledger.told(record, row.outbox)
            node.outbox_written()
        if journal is not None:
            journal.worked(work.actor, effect, status, forced=True)
        if work.keys:
            self.locks.release(work)
        node.finish(work, status, None)

    def perform(self, work: Work) -> Literal["done", "refused"]:
        """Do the work of a local transaction as a provider outside does: at once, with no row of ours, whatever becomes of the answer."""
        if self._node.journal is not None:
            work.reads = []
        if not self._play(work):
            work.status = "refused"
            work.changes.clear()
        effect = work.effect
        if work.changes:
            self._apply(work, effect.steps, type(effect) is Transact and effect.compensation)
        else:
            self._queried(work)
        return "refused" if work.status == "refused" else "done"

    # --- second phase -----------------------------------------------------------------------------------------------------------

    def commit_prepared(self, branch: Work) -> None:
        """The commit of a prepared branch is durable: make it visible and let its locks go."""
        effect = branch.effect
        del self.prepared[branch.tx]
        if type(effect) is Prepare:
            if effect.key is not None:
                if self._node.env.now >= self._rotate_at:
                    self._rotate()
                self.rows[effect.key] = "done"
            self._apply(branch, branch.steps, False)
        self.locks.release(branch)

    def roll_back(self, branch: Work, lazy: bool) -> None:
        """Drop a prepared or open branch and let its locks go; a lazy abort may be forgotten by a crash."""
        if self.open.pop(branch.tx, None) is not None and not branch.changes:
            self._queried(branch)  # it only read, so that this is how it ends, whatever the outcome
        if self.prepared.pop(branch.tx, None) is not None and lazy:
            self._lazy_rollbacks.append((self._node.env.now, branch))
            # Only those that may still be lost matter after a crash. A few dozen may stay, so that most rollbacks ask nothing.
            while len(self._lazy_rollbacks) > 64 and self._node.survives(self._lazy_rollbacks[0][0]):
                self._lazy_rollbacks.popleft()
        self.locks.release(branch)

    # --- the relay ----------------------------------------------------------------------------------------------------------------

    def read_outbox(self, effect: ReadOutbox) -> tuple[OutboxRow, ...]:
        """Rows that a relay sees."""
        if effect.below_horizon:
            return self.outbox.read_below(effect.limit, (*self.prepared.values(), *self.open.values()))
        return self.outbox.read(effect.limit)

    # --- crash ------------------------------------------------------------------------------------------------------------------

    def crash(self) -> None:
        """Keep what is durable: values, rows, prepared branches with their locks. All else is gone."""
        node = self._node
        self.locks.crash(self.prepared.values())
        self.open.clear()
        for since, branch in self._lazy_rollbacks:
            # The rollback never reached the disk. The locks that it had let go are counted already, so their time starts anew.
            if not node.survives(since):
                self.prepared[branch.tx] = branch
                branch.locked_from = node.env.now * len(branch.keys)
                branch.prepared_since = node.env.now
                if node.journal is not None:
                    node.journal.in_doubt_again(branch.tx)
        self._lazy_rollbacks.clear()
        self.outbox.crash()
        self.locks.restore(self.prepared.values())

    def close_books(self, ledger: TransactionLedger) -> None:
        """The run is over: what is in doubt, locked or unpublished here counts up to now."""
        node = self._node
        now, journal = node.env.now, node.journal
        for tx, branch in self.prepared.items():
            in_doubt = now - branch.prepared_since
            ledger.still_in_doubt(tx, in_doubt)
            if journal is not None:
                journal.still_in_doubt(tx, in_doubt)
        for work, keys in self.locks.held_at_the_end():
            seconds = now * len(keys) - work.locked_from
            ledger.still_locked(work.tx, len(keys), seconds)
            if journal is not None:
                journal.still_locked(work.tx, keys, seconds)
        self.locks.end_of_run()
        for message in self.outbox.rows.values():
            ledger.still_unpublished()
            if journal is not None:
                journal.still_unpublished(message.tx, message.kind)

    def record_of(self, tx: int) -> Record | None:
        """The record that was forced with the prepared branch of this transaction."""
        branch = self.prepared.get(tx)
        return branch.effect.record if branch is not None and type(branch.effect) is Prepare else None

    # --- row locks ------------------------------------------------------------------------------------------------------------------

    def _lockable(self, work: Work, *, outbox: bool = True) -> list[str]:
        operations, effect = work.operations, work.effect
        if len(operations) == 1 and not self.open and not (type(effect) is Transact and effect.serial_outbox):
            return [operations[0].key] if operations[0].kind in self._locking else []
        keys = locked(operations, self._serializable)
        if outbox and _has_outbox(effect):
            keys.add(OUTBOX_LOCK)
        branch = self.open.get(work.tx)
        if branch is not None:
            keys.difference_update(branch.keys)
        return sorted(keys)

    def _hold(self, work: Work) -> None:
        if not work.keys:
            work.keys = self._lockable(work)
        for key in work.keys:
            self.locks.own(work, key)


def _has_outbox(effect: Transact | Execute | Prepare) -> bool:
    """Return whether it takes the lock of the outbox."""
    return type(effect) is Transact and effect.serial_outbox and effect.outbox_rows() > 0


def _refuses(work: Work) -> bool:
    """Return whether it refuses before it looks at any row, so that it needs no lock."""
    operations, effect = work.operations, work.effect
    return (
        bool(operations) and operations[0].kind == "refuse" and not (type(effect) is Transact and effect.serial_outbox)
    )
