"""Effects of the contract in a scripted world."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Any, assert_never

from simtx.protocols import contract as c
from simtx.protocols.names import TOMBSTONE, VOTE_STORE
from simtx.testing.laws import expect
from simtx.testing.scripted.parts import Applied, Asked, Node, Publication, Row, Workspace


class Effects:
    """Nodes with their stores, network and broker, changed by effects only; and what a test wants to know of them."""

    def __init__(self, nodes: dict[str, Node], fail: Callable[[str, c.Effect], bool] | None) -> None:
        self.nodes = nodes
        self.fail = fail
        self.failing = False  # whether the next store operation fails
        self.now = 0.0
        self.network: list[c.Message] = []
        self.publications: list[Publication] = []
        self.asked: list[Asked] = []
        self.votes: dict[tuple[int, str], str] = {}  # in the vote store, by transaction and voter
        self.broker: dict[int, c.Message] = {}  # published and not acknowledged
        self.outstanding: dict[int, float] = {}  # delivered once; when it is due to come again
        self.published = 0
        # What happened, for the assertions of tests.
        self.answers: dict[int, list[str]] = {}
        self.decided: dict[int, list[str]] = {}
        self.applied: list[Applied] = []
        self.sent: Counter[str] = Counter()
        self.forced: Counter[str] = Counter()
        self.lazy: Counter[str] = Counter()
        self.suspects: list[tuple[str, str]] = []
        self.alerts: list[tuple[str, int, c.Alert]] = []

    def _perform(self, node: Node, tx: int, effect: c.Effect) -> None:
        """Let one effect of a machine happen."""
        match effect:
            case c.Message():
                expect(effect.sender == node.name, f"{node.name} sends in the name of {effect.sender}")
                expect(effect.to in self.nodes, f"no node {effect.to}")
                self.sent[effect.kind] += 1
                self.network.append(effect)
            case c.Append():
                self._append(node, tx, effect)
            case c.Transact():
                self._answer(node, tx, effect.tag, *self._transact(node, tx, effect, self._fails(node, tx, effect)))
            case c.Execute():
                status = self._execute(node, tx, effect, self._fails(node, tx, effect))
                self._answer(node, tx, effect.tag, status, None)
            case c.Prepare():
                status = self._prepare(node, tx, effect, self._fails(node, tx, effect))
                self._answer(node, tx, effect.tag, status, None)
            case c.Commit():
                self._commit(node, tx)
            case c.Rollback():
                self._rollback(node, tx, effect.forced)
            case c.SetTimer():
                node.timers[tx, effect.kind] = self.now + effect.delay + effect.jitter
            case c.CancelTimer():
                node.timers.pop((tx, effect.kind), None)
            case c.Publish():
                self.sent["publish"] += 1
                self.publications.append(Publication(node.name, node.epoch, tx, effect.tag, effect.message))
            case c.LogOnce():
                self.sent["logonce"] += 1
                self.asked.append(Asked(node.name, node.epoch, tx, effect))
            case c.Acknowledge():
                self.broker.pop(effect.id, None)
                self.outstanding.pop(effect.id, None)
            case c.ReadOutbox():
                rows = [(row.id, row.message) for row in node.store.outbox if not row.marked][: effect.limit]
                self._answer(node, tx, effect.tag, "done", tuple(rows))
            case c.MarkOutbox():
                self._mark(node, effect.ids)
            case c.Answer():
                self.answers.setdefault(tx, []).append(effect.outcome)
            case c.Decided():
                self.decided.setdefault(tx, []).append(effect.outcome)
            case c.Suspect():
                self.suspects.append((node.name, effect.node))
            case c.Alert():
                self.alerts.append((node.name, tx, effect))
            case c.Forget():
                self._forget(node, tx)
            case _:
                assert_never(effect)

    def _fails(self, node: Node, tx: int, effect: c.Transact | c.Execute | c.Prepare) -> bool:
        """Return whether a store operation fails transiently; one that has to wait for a lock times out when it is played."""
        if self.failing or (self.fail is not None and self.fail(node.name, effect)):
            return True
        return self.waits(node, tx, effect)

    def waits(self, node: Node, tx: int, effect: c.Transact | c.Execute | c.Prepare) -> bool:
        """Return whether a store operation has to wait for a lock; a duplicate does not."""
        if isinstance(effect, c.Transact | c.Prepare) and effect.key is not None and effect.key in node.store.rows:
            return False
        return node.store.locked(tx, (one.key for one in effect.operations))

    def _answer(self, node: Node, tx: int, tag: str, status: c.Status, value: Any) -> None:
        # The end of a store operation is handled before anything that waits.
        node.inbox.setdefault(tx, deque()).appendleft(c.Done(tag, status, value))

    def log_once(self, tx: int, voter: str, vote: str) -> str:
        """A request reaches the vote store: the vote that is there now."""
        if (tx, voter) not in self.votes:
            self.votes[tx, voter] = vote
            self.forced[VOTE_STORE] += 1
        return self.votes[tx, voter]

    def _force(self, node: Node) -> None:
        """A forced write: whatever was written before it is durable too."""
        self.forced[node.name] += 1
        node.lazies.clear()

    def _lazily(self, node: Node, undo: Callable[[], None]) -> None:
        self.lazy[node.name] += 1
        node.lazies.append(undo)

    def _append(self, node: Node, tx: int, effect: c.Append) -> None:
        records = node.log.setdefault(tx, [])
        records.append(effect.record)
        if effect.forced:
            self._force(node)
        else:
            self._lazily(node, lambda: node.log[tx].remove(effect.record))

    def _transact(self, node: Node, tx: int, effect: c.Transact, failed: bool) -> tuple[c.Status, Any]:
        store = node.store
        if failed:
            return "failed", None
        if effect.key is not None and effect.key in store.rows:
            return "duplicate", store.rows[effect.key]
        operations, tombstone = effect.operations, False
        if effect.undoes is not None:
            tombstone = effect.undoes not in store.rows
            if tombstone or store.rows[effect.undoes] != effect.undone_if:
                operations = ()
        new = store.play(operations)
        branch = effect.accepted if new is not None else effect.refused
        if new is None and branch is None:
            return "refused", None
        if tombstone and effect.undoes is not None:
            store.rows[effect.undoes] = TOMBSTONE
        branch = branch or c.Branch()
        if effect.key is not None:
            store.rows[effect.key] = branch.value
        for message in branch.outbox:
            store.outbox.append(Row(len(store.outbox) + 1, message))
        if new is not None:
            store.values.update(new)
            if effect.steps and (operations or not effect.undoes):
                self.applied.append(Applied(node.name, tx, effect.steps, effect.compensation))
        if new or tombstone or branch.outbox or effect.key is not None:
            self._force(node)
        return "done" if new is not None else "refused", None

    def _execute(self, node: Node, tx: int, effect: c.Execute, failed: bool) -> c.Status:
        store = node.store
        expect(tx not in store.prepared, f"{node.name}: transaction {tx} is already prepared")
        branch = store.open.pop(tx, None) or Workspace({}, set(), ())
        if failed:
            return "failed"
        new = store.play(effect.operations, branch.values)
        if new is None:
            return "refused"
        keys = branch.keys | {one.key for one in effect.operations}
        store.open[tx] = Workspace(new, keys, (*branch.steps, *effect.steps))
        return "done"

    def _prepare(self, node: Node, tx: int, effect: c.Prepare, failed: bool) -> c.Status:
        store = node.store
        expect(tx not in store.prepared, f"{node.name}: transaction {tx} is already prepared")
        if effect.key is not None and effect.key in store.rows:
            store.open.pop(tx, None)
            return "duplicate"
        status = self._execute(node, tx, c.Execute(effect.tag, effect.operations, effect.steps), failed)
        if status == "done":
            branch = store.open.pop(tx)
            branch.key, branch.record = effect.key, effect.record
            store.prepared[tx] = branch
            node.log.setdefault(tx, []).append(effect.record)
            self._force(node)
        return status

    def _commit(self, node: Node, tx: int) -> None:
        branch = node.store.prepared.pop(tx, None)
        if branch is None:
            return
        node.store.values.update(branch.values)
        if branch.key is not None:
            node.store.rows[branch.key] = None
        if branch.record is not None:
            node.log[tx].remove(branch.record)
        self.applied.append(Applied(node.name, tx, branch.steps, compensation=False))
        self._force(node)

    def _rollback(self, node: Node, tx: int, forced: bool) -> None:
        node.store.open.pop(tx, None)
        branch = node.store.prepared.pop(tx, None)
        if branch is None or branch.record is None:
            return
        record = branch.record
        index = node.log[tx].index(record)
        node.log[tx].pop(index)
        if forced:
            self._force(node)
            return

        def undo() -> None:
            node.store.prepared[tx] = branch
            node.log.setdefault(tx, []).insert(index, record)

        self._lazily(node, undo)

    def _mark(self, node: Node, ids: tuple[int, ...]) -> None:
        rows = [row for row in node.store.outbox if row.id in ids and not row.marked]
        for row in rows:
            row.marked = True

        def undo() -> None:
            for row in rows:
                row.marked = False

        self._lazily(node, undo)

    def _forget(self, node: Node, tx: int) -> None:
        expect(tx not in node.store.prepared, f"{node.name} forgets transaction {tx} with a prepared branch")
        expect(tx not in node.store.open, f"{node.name} forgets transaction {tx} with an open branch")
        node.machines.pop(tx, None)
        node.inbox.pop(tx, None)
        for key in [key for key in node.timers if key[0] == tx]:
            del node.timers[key]
        records = node.log.pop(tx, None)
        if records:  # a crash may bring them back: forgetting is not a durable write
            node.lazies.append(lambda: node.log.update({tx: records}))
