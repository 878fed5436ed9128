"""Any sequence of operations has the results and leaves the data that a model of a few lines says."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simtx.protocols import Branch, Execute, Message, Operation, Prepare, Transact
from tests.amounts import many
from tests.reference.doing import message

FIRST = {"a": 3, "b": 3, "p*": 2}
SERVICES = itertools.count()
Steps = tuple[int, ...]


@dataclass
class Draft:
    """A local transaction that is not committed: its changes, what it has read, the rows that it has locked."""

    changes: dict[str, tuple[float, float]] = field(default_factory=dict)
    reads: dict[str, float] = field(default_factory=dict)
    locked: set[str] = field(default_factory=set)
    steps: Steps = ()
    record: Any = None
    key: Any = None


class Model:
    """What a store is, without time, threads and disks."""

    def __init__(self, serializable: bool) -> None:
        self.serializable = serializable
        self.values: dict[str, float] = {"a": 3, "b": 3}
        self.rows: dict[Any, Any] = {}
        self.log: dict[int, list[Any]] = {}
        self.outbox: list[Message] = []
        self.open: dict[int, Draft] = {}
        self.prepared: dict[int, Draft] = {}
        self.history: list[tuple[int, Steps, bool, dict[str, tuple[float, float]]]] = []

    def value(self, key: str) -> float:
        return self.values.get(key, 2 if key.startswith("p") else 0)

    def play(self, draft: Draft, operations: tuple[Operation, ...]) -> str:
        if operations and operations[0].kind == "refuse":
            return "refused"
        locking = {"add", "set", "read"} if self.serializable else {"add", "set"}
        wanted = {operation.key for operation in operations if operation.kind in locking}
        for other in (*self.open.values(), *self.prepared.values()):
            if other is not draft and other.locked & wanted:
                return "failed"
        draft.locked |= wanted
        for operation in operations:
            if operation.kind == "refuse":
                return "refused"
            own = draft.changes.get(operation.key)
            old, value = own or (self.value(operation.key),) * 2
            if own is None and operation.kind != "set":
                draft.reads[operation.key] = old
            value = {"add": value + operation.amount, "set": operation.amount, "read": value}[operation.kind]
            if not (operation.low is None or value >= operation.low) or not (
                operation.high is None or value <= operation.high
            ):
                return "refused"
            if operation.kind != "read":
                draft.changes[operation.key] = (old, value)
        return "done"

    def apply(self, tx: int, draft: Draft, steps: Steps, compensation: bool) -> None:
        if draft.changes:
            self.values.update({key: new for key, (_, new) in draft.changes.items()})
            self.history.append((tx, steps, compensation, dict(draft.changes)))

    def transact(self, tx: int, effect: Transact) -> dict[str, Any]:
        if effect.key in self.rows:
            return {"status": "duplicate", "value": self.rows[effect.key]}
        operations = effect.operations
        tombstone = effect.undoes is not None and effect.undoes not in self.rows
        if effect.undoes is not None and self.rows.get(effect.undoes) != effect.undone_if:
            operations = ()
        draft = Draft()
        status = self.play(draft, operations)
        branch = {"done": effect.accepted, "refused": effect.refused}.get(status)
        if status == "refused":
            draft.changes = {}
        if status == "failed" or (status == "refused" and branch is None):
            return {"status": status, "reads": draft.reads if status == "refused" else {}}
        self.apply(tx, draft, effect.steps, effect.compensation)
        if tombstone:
            self.rows[effect.undoes] = "tombstone"
        if effect.key is not None:
            self.rows[effect.key] = status if branch is None or branch.value is None else branch.value
        messages = branch.outbox if branch else ()
        self.outbox += messages
        wrote = bool(draft.changes or effect.key is not None or messages or tombstone)
        return {
            "status": status,
            "changes": draft.changes,
            "reads": draft.reads,
            "outbox": bool(messages),
            "forced": wrote,
        }

    def extend(self, tx: int, effect: Execute | Prepare) -> tuple[str, Draft]:
        draft = self.open.get(tx) or Draft()
        self.open[tx] = draft
        status = self.play(draft, effect.operations)
        if status != "done":
            del self.open[tx]
        draft.steps = tuple(dict.fromkeys((*draft.steps, *effect.steps)))
        return status, draft

    def execute(self, tx: int, effect: Execute) -> dict[str, Any]:
        return {"status": self.extend(tx, effect)[0], "forced": False}

    def prepare(self, tx: int, effect: Prepare) -> dict[str, Any]:
        if effect.key in self.rows:
            self.open.pop(tx, None)
            return {"status": "duplicate", "value": self.rows[effect.key]}
        status, draft = self.extend(tx, effect)
        if status != "done":
            return {"status": status, "forced": False}
        del self.open[tx]
        draft.record, draft.key = effect.record, effect.key
        self.prepared[tx] = draft
        return {"status": "done", "forced": True, "reads": draft.reads, "changes": {}}

    def commit(self, tx: int) -> dict[str, Any]:
        draft = self.prepared.pop(tx, None)
        if draft is None:
            return {"status": "done", "changes": {}, "forced": False}
        self.apply(tx, draft, draft.steps, False)
        self.rows[draft.key] = "done"
        return {"changes": draft.changes, "steps": draft.steps, "reads": draft.reads, "forced": True}

    def roll_back(self, tx: int) -> dict[str, Any]:
        self.open.pop(tx, None)
        self.prepared.pop(tx, None)
        return {"status": "done", "changes": {}}

    def records(self) -> dict[int, list[Any]]:
        return {
            tx: [*self.log.get(tx, []), *([self.prepared[tx].record] if tx in self.prepared else [])]
            for tx in {*self.log, *self.prepared}
        }


bounds = st.none() | st.integers(0, 6)
operations = st.lists(
    st.builds(
        Operation,
        st.sampled_from(["a", "b", "p1", "z"]),
        st.sampled_from(["add", "add", "add", "set", "read", "refuse"]),
        st.integers(-3, 3),
        low=st.none() | st.integers(0, 3),
        high=st.none() | st.integers(3, 6),
    ),
    max_size=3,
).map(tuple)
numbers = st.integers(0, 2)
values = st.sampled_from([None, "done", "undone"])


@st.composite
def transacts(draw: Any) -> tuple[str, int, Transact]:
    tx = draw(numbers)
    events = st.sampled_from([(), (message(tx, "x"),), (message(tx, "y"), message(tx, "z"))])
    branches = st.none() | st.builds(Branch, values, events)
    part = draw(st.sampled_from(["nothing", "action", "compensation"]))
    key = None if part == "nothing" else (tx, 0, part)
    undoes = (tx, 0, "action") if part == "compensation" else None
    steps = tuple(draw(st.sets(st.integers(0, 2))))
    effect = Transact(
        "t", draw(operations), key, draw(branches), draw(branches), undoes, "done", steps, part == "compensation"
    )
    return "transact", tx, effect


@st.composite
def executes(draw: Any) -> tuple[str, int, Execute]:
    return "execute", draw(numbers), Execute("e", draw(operations), (draw(numbers),))


@st.composite
def prepares(draw: Any) -> tuple[str, int, Prepare]:
    tx = draw(numbers)
    return "prepare", tx, Prepare("p", draw(operations), ("prepared", tx), (tx, "branch"), (draw(numbers),))


def plain(*names: str) -> Any:
    return st.tuples(st.sampled_from(names), numbers, st.integers(0, 3))


commands = st.lists(
    transacts() | executes() | prepares() | plain("commit", "rollback", "append", "forget", "mark", "restart"),
    max_size=20,
)


class Play:
    """Has a store and the model do the same, and compares."""

    def __init__(self, make_store: Any, serializable: bool) -> None:
        self.make_store = make_store
        self.options = {"initial": FIRST, "serializable": serializable, "lock_timeout": 0.002}
        self.service = f"s{next(SERVICES)}"
        self.model = Model(serializable)
        self.store = make_store(self.service, **self.options)

    def do(self, name: str, tx: int, what: Any) -> None:
        store, model = self.store, self.model
        if name in ("execute", "prepare") and tx in model.prepared:
            return  # no machine does so
        if name == "transact":
            self.compare(store.transact(tx, what), model.transact(tx, what))
        elif name == "execute":
            self.compare(store.execute(tx, what), model.execute(tx, what))
        elif name == "prepare":
            self.compare(store.prepare(tx, what), model.prepare(tx, what))
        elif name == "commit":
            was = tx in model.prepared
            result = store.commit(tx)
            assert (result.in_doubt >= 0) == was
            self.compare(result, model.commit(tx))
        elif name == "rollback":
            was = tx in model.prepared
            result = store.rollback(tx, forced=bool(what % 2))
            assert (result.in_doubt >= 0) == was
            self.compare(result, model.roll_back(tx))
        elif name == "append":
            model.log.setdefault(tx, []).append(("r", what))
            store.append(tx, ("r", what), forced=bool(what % 2))
        elif name == "forget":
            model.log.pop(tx, None)
            store.forget(tx)
        elif name == "mark":
            rows = store.read_outbox(what)
            assert [row for _, row in rows] == model.outbox[:what]
            store.mark_outbox([number for number, _ in rows])
            del model.outbox[:what]
        else:
            self.restart()

    def compare(self, result: Any, expected: dict[str, Any]) -> None:
        assert {name: getattr(result, name) for name in expected} == expected
        assert (result.history >= 0) == bool(result.changes)

    def restart(self) -> None:
        self.store.close()
        self.store = self.make_store(self.service, **self.options)
        self.model.open.clear()

    def check(self) -> None:
        store, model = self.store, self.model
        assert store.values() == model.values
        assert store.records() == model.records()
        assert [row for _, row in store.read_outbox(1000)] == model.outbox
        assert store.pending_outbox() == {row.tx for row in model.outbox}
        assert {branch.tx: branch.record for branch in store.branches()} == {
            tx: draft.record for tx, draft in model.prepared.items()
        }
        history = list(store.history())
        assert [(one.tx, one.steps, one.compensation, one.changes) for one in history] == model.history
        assert [one.number for one in history] == sorted({one.number for one in history})


@pytest.mark.more
@pytest.mark.parametrize("serializable", [False, True])
def test_a_store_does_what_the_model_does(make_store, serializable):
    @settings(max_examples=many(10, 100), deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(commands)
    def run(sequence: list[tuple[str, int, Any]]) -> None:
        play = Play(make_store, serializable)
        try:
            for command in sequence:
                play.do(*command)
            play.check()
            play.restart()
            play.check()
        finally:
            play.store.close()

    run()
