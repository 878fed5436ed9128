"""A little database: values, row locks with wait queues, guarded local transactions, prepared branches, inbox and outbox rows.

It holds data, so that invariants are checked on values. Row locks are exclusive and held until the local transaction is durable; under
``serializable`` reads lock too, under ``read-committed`` a read sees the last committed value and never waits.
"""

from __future__ import annotations

from simtx.metrics.ledger import Ledger
from simtx.protocols import Execute, Operation, OutboxRow, Prepare, ReadOutbox, Record, Status, Transact
from simtx.protocols.names import TOMBSTONE
from simtx.simulator.row_locks import RowLocks
from simtx.simulator.work import Work


class Store(RowLocks):
    """The store of one service: it runs local transactions and branches, and survives crashes."""

    __slots__ = ()

    # --- a local transaction, from its start to its end -------------------------------------------------------------------------

    def run(self, work: Work) -> None:
        """Run a local transaction whose service time is over; the node's `finish` hears of the end."""
        if self._node.journal is not None:
            work.reads = []
        effect = work.effect
        if type(effect) is Transact:
            key = effect.key
            undoes = effect.undoes
        else:
            key = effect.key if type(effect) is Prepare else None
            undoes = None
        if key is not None:
            known = self.rows.get(key)
            if known is None and self._older_rows:
                known = self._older_rows.get(key)
            if known is not None:
                self._node.finish(work, "duplicate", known)
                return
        if undoes is not None and type(effect) is Transact:
            action = self.row(undoes)
            if action != effect.undone_if:
                work.operations = ()
                if action is None:
                    work.tombstone = undoes
        if not (self.owners or self.open):  # nobody holds a lock: nothing to wait for
            disk = self._node.disk
            if disk.instant and type(effect) is Transact and not disk.stalled:
                self._run_at_once(work, effect)
            else:
                self._evaluate(work)
        else:
            operations = work.operations
            if (
                operations
                and operations[0].kind == "refuse"
                and not (type(effect) is Transact and effect.serial_outbox)
            ):
                self._refuse(work)
                return
            work.keys = self._lockable(work)
            self._acquire(work)

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
                self._release(work)
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
        """Whether the guard of a read holds: on this transaction's own change, else on the replica if there is one, else here."""
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
        return not (
            (operation.low is not None and value < operation.low)
            or (operation.high is not None and value > operation.high)
        )

    def _merge(self, branch: Work, work: Work) -> None:
        """A further operation of an open branch: its locks and changes join those that the branch holds."""
        work.ticket = branch.ticket
        branch.changes = dict(work.changes)
        for key in work.keys:
            self._own(work, key)
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
                self._release(work)
            work.row = effect.refused
            self._harden(work)
            return
        self._release(work)
        self.drop(work, "refused")

    def drop(self, work: Work, status: Status) -> None:
        """End a local transaction that was refused or has failed; a branch that earlier operations of it have opened ends with it."""
        if self.open and type(work.effect) is not Transact:
            branch = self.open.pop(work.tx, None)
            if branch is not None:
                self._release(branch)
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
        if work.status == "done" or (type(effect) is Transact and effect.serial_outbox):
            self._hold(work)
        disk.force(self._durable, work, work.tx)

    def _durable(self, work: Work) -> None:
        """What a local transaction writes has reached the disk."""
        effect = work.effect
        if type(effect) is not Transact:
            self._prepared(work)
        elif (known := None if effect.key is None else self.row(effect.key)) is None:
            self._commit(work, effect)
        else:  # another one with this key was faster
            node = self._node
            if work.actor.record is not None:
                work.actor.record.forced += 1
            if node.journal is not None:
                node.journal.worked(work.actor, effect, "duplicate", forced=True)
            self._release(work)
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
            self.rows[effect.key] = status if row is None or row.value is None else row.value
        if work.tombstone is not None:
            self.rows[work.tombstone] = TOMBSTONE
        if work.changes and status == "done":
            self._apply(work, effect.steps, effect.compensation)
        elif status == "done":
            self._queried(work)
        if row is not None and row.outbox:
            self.outbox.commit(work, row.outbox)
            node.outbox_written()
        if journal is not None:
            journal.worked(work.actor, effect, status, forced=True)
        if work.keys:
            self._release(work)
        node.finish(work, status, None)

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
        self._release(branch)

    def roll_back(self, branch: Work, lazy: bool) -> None:
        """Drop a prepared or open branch and let its locks go; a lazy abort may be forgotten by a crash."""
        if self.open.pop(branch.tx, None) is not None and not branch.changes:
            self._queried(branch)  # it only read, so that this is how it ends, whatever the outcome
        if self.prepared.pop(branch.tx, None) is not None and lazy:
            self._lazy_rollbacks.append((self._node.env.now, branch))
            while len(self._lazy_rollbacks) > 64 and self._node.survives(self._lazy_rollbacks[0][0]):
                self._lazy_rollbacks.popleft()
        self._release(branch)

    # --- the relay ----------------------------------------------------------------------------------------------------------------

    def read_outbox(self, effect: ReadOutbox) -> tuple[OutboxRow, ...]:
        """What a relay sees."""
        if effect.below_horizon:
            return self.outbox.read_below(effect.limit, (*self.prepared.values(), *self.open.values()))
        return self.outbox.read(effect.limit)

    # --- crash ------------------------------------------------------------------------------------------------------------------

    def crash(self) -> None:
        """Keep what is durable: values, rows, prepared branches with their locks. All else is gone."""
        node = self._node
        kept = {id(branch) for branch in self.prepared.values()}
        for work in {id(one): one for queue in self.waiters.values() for one in queue}.values():
            self._end_wait(work, "lost")
        for work in {id(owner): owner for owner in self.owners.values() if id(owner) not in kept}.values():
            self._count(work, [key for key in work.keys if self.owners.get(key) is work])
        self.open.clear()
        self.waiters.clear()
        self.lock_waits.clear(node.env.now)
        for since, branch in self._lazy_rollbacks:
            if not node.survives(since):
                self.prepared[branch.tx] = branch
                branch.locked_from = node.env.now * len(branch.keys)
                branch.prepared_since = node.env.now
                if node.journal is not None:
                    node.journal.in_doubt_again(branch.tx)
        self._lazy_rollbacks.clear()
        self.outbox.crash()
        self.owners = {key: branch for branch in self.prepared.values() for key in branch.keys}

    def close_books(self, ledger: Ledger) -> None:
        """The run is over: what is in doubt, locked or unpublished here counts up to now."""
        node = self._node
        now, journal = node.env.now, node.journal
        for tx, branch in self.prepared.items():
            in_doubt = now - branch.prepared_since
            ledger.still_in_doubt(tx, in_doubt)
            if journal is not None:
                journal.still_in_doubt(tx, in_doubt)
        for work in {id(owner): owner for owner in self.owners.values()}.values():
            keys = [key for key, owner in self.owners.items() if owner is work]
            seconds = now * len(keys) - work.locked_from
            ledger.still_locked(work.tx, len(keys), seconds)
            if journal is not None:
                journal.still_locked(work.tx, keys, seconds)
        for queue in list(self.waiters.values()):
            for work in queue:
                self._end_wait(work, "open")
        for message in self.outbox.rows.values():
            ledger.still_unpublished()
            if journal is not None:
                journal.still_unpublished(message.tx, message.kind)

    def record_of(self, tx: int) -> Record | None:
        """The record that was forced with the prepared branch of this transaction."""
        branch = self.prepared.get(tx)
        return branch.effect.record if branch is not None and type(branch.effect) is Prepare else None
