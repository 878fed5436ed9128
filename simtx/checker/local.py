"""One node in the checker: what it can do with one event, crash points included, as a function of interned local states.

A local state holds everything that one node is: its machines, timers, log, store, and how often each step took effect there. What the
node can do with an event depends on nothing else, so it is computed once for each (local state, event) and remembered; the global
search then only combines integers. That is what makes every crash point between any two effects affordable.

The semantics are those of `simtx.protocols.contract`. A crash may come before the first effect of a program and after each; lazy
records survive as any prefix of what was written since the last forced write; a prepared branch keeps its locks.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from simtx.errors import ProtocolViolation
from simtx.protocols import (
    Acknowledge,
    Alert,
    Answer,
    Append,
    Branch,
    CancelTimer,
    Commit,
    Decided,
    Done,
    Effect,
    Event,
    Execute,
    Forget,
    Machine,
    MarkOutbox,
    Message,
    Operation,
    Prepare,
    Publish,
    ReadOutbox,
    Record,
    Rollback,
    SetTimer,
    Strategy,
    Suspect,
    Timer,
    Transact,
)

DAEMON: Final = -1
TOMBSTONE: Final = "tombstone"


class Output(NamedTuple):
    """Something that leaves a node: ``send``, ``publish``, ``ack``, ``answer``, ``decided``, ``alert``, ``applied``."""

    kind: str
    value: Any


class Outcome(NamedTuple):
    """One thing that may come of an event.

    Attributes:
        local: Number of the local state afterwards.
        outputs: What left the node, in order.
        crashed: Number of effects that were done before the node crashed, or -1 if it did not.
        effects: All effects of the program, in words, for the story.
    """

    local: int
    outputs: tuple[Output, ...]
    crashed: int
    effects: tuple[str, ...]


@dataclass(slots=True)
class _Actor:
    machine: Machine
    timers: dict[str, None] = field(default_factory=dict)
    rest: tuple[Effect, ...] = ()
    done: Done | None = None
    mail: tuple[Event, ...] = ()
    running: bool = False


@dataclass(slots=True)
class _Prepared:
    changes: tuple[tuple[str, float], ...]
    steps: tuple[int, ...]
    record: Record | None
    key: Hashable


@dataclass(slots=True)
class _Node:
    """A local state, thawed."""

    up: bool
    actors: dict[int, _Actor]
    log: list[tuple[int, Record, bool]]  # (transaction, record, durable): the tail that is not durable is lazy
    values: dict[str, float]
    rows: dict[Any, Any]
    outbox: dict[int, Message]
    marks: list[tuple[int, Message]]  # marked since the last forced write
    prepared: dict[int, _Prepared]
    rolled_back: list[tuple[int, _Prepared]]  # lazily, since the last forced write
    open: dict[int, _Prepared]
    next_row: int
    counts: dict[tuple[int, int], tuple[int, int]]  # (transaction, step) -> (times done, times undone)


class Locals:
    """The local states of all nodes of one scope, and what they can do.

    Args:
        strategy: The strategy under test.
    """

    def __init__(self, strategy: Strategy) -> None:
        self.strategy = strategy
        self.machines: dict[Hashable, Machine] = {}
        self.states: list[tuple[str, tuple[Any, ...]]] = []
        self.covered: set[tuple[type[Machine], str, str, str]] = set()
        self.recovered: set[tuple[type[Machine], str]] = set()
        self._numbers: dict[tuple[str, tuple[Any, ...]], int] = {}
        self._cache: dict[tuple[int, Hashable], tuple[Outcome, ...]] = {}
        self._alone: dict[str, bool] = {}

    # --- freezing and thawing -----------------------------------------------------------------------------------------------

    def first(self, name: str) -> int:
        """The local state of a node before anything happened; its daemons have started."""
        node = _Node(True, {}, [], {}, {}, {}, [], {}, [], {}, 0, {})
        self._start_daemons(name, node)
        return self._freeze(name, node)

    def _start_daemons(self, name: str, node: _Node) -> list[Output]:
        outputs: list[Output] = []
        for machine in self.strategy.daemons(name):
            actor = node.actors[DAEMON] = _Actor(machine)
            for effect in machine.handle(Timer("start")):
                self._play(name, node, DAEMON, actor, effect, outputs)
            while actor.done is not None:
                done, actor.done = actor.done, None
                for effect in machine.handle(done):
                    self._play(name, node, DAEMON, actor, effect, outputs)
        return outputs

    def _machine(self, machine: Machine) -> Hashable:
        key = (machine.node, machine.tx, machine.key())
        if key not in self.machines:
            self.machines[key] = machine
        return key

    def _freeze(self, name: str, node: _Node) -> int:
        actors = tuple(
            (tx, self._machine(a.machine), tuple(sorted(a.timers)), a.rest, a.done, a.mail, a.running)
            for tx, a in sorted(node.actors.items())
        )
        state = (
            node.up,
            actors,
            tuple(node.log),
            tuple(sorted(node.values.items())),
            tuple(sorted(node.rows.items(), key=repr)),
            tuple(node.outbox.items()),
            tuple(node.marks),
            tuple((tx, p.changes, p.steps, p.record, p.key) for tx, p in sorted(node.prepared.items())),
            tuple((tx, p.changes, p.steps, p.record, p.key) for tx, p in node.rolled_back),
            tuple((tx, p.changes, p.steps, p.record, p.key) for tx, p in sorted(node.open.items())),
            node.next_row,
            tuple(sorted(node.counts.items())),
        )
        key = (name, state)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.states)
            self.states.append(key)
        return number

    def _thaw(self, number: int) -> tuple[str, _Node]:
        name, state = self.states[number]
        up, actors, log, values, rows, outbox, marks, prepared, rolled_back, opened, next_row, counts = state
        return name, _Node(
            up,
            {
                tx: _Actor(self.machines[key].clone(), dict.fromkeys(timers), rest, done, mail, running)
                for tx, key, timers, rest, done, mail, running in actors
            },
            list(log),
            dict(values),
            dict(rows),
            dict(outbox),
            list(marks),
            {tx: _Prepared(*branch) for tx, *branch in prepared},
            [(tx, _Prepared(*branch)) for tx, *branch in rolled_back],
            {tx: _Prepared(*branch) for tx, *branch in opened},
            next_row,
            dict(counts),
        )

    # --- what others may look at ----------------------------------------------------------------------------------------------

    def up(self, number: int) -> bool:
        """Whether the node is up."""
        return bool(self.states[number][1][0])

    def timers(self, number: int) -> tuple[tuple[int, str], ...]:
        """Timers that are set: (transaction, name); a machine in the middle of a program hears none."""
        return tuple((actor[0], name) for actor in self.states[number][1][1] if not actor[6] for name in actor[2])

    def running(self, number: int) -> tuple[int, ...]:
        """Transactions whose machine is in the middle of a program."""
        return tuple(actor[0] for actor in self.states[number][1][1] if actor[6])

    def incarnation(self, number: int, tx: int) -> bool:
        """Whether this node has a machine for the transaction."""
        return any(actor[0] == tx for actor in self.states[number][1][1])

    def busy_machines(self, number: int) -> list[Machine]:
        """Machines of transactions that are not in their initial state."""
        return [
            machine
            for tx, key, *_ in self.states[number][1][1]
            if tx != DAEMON and (machine := self.machines[key]).state != machine.initial
        ]

    def effects(self, number: int) -> dict[tuple[int, int], tuple[int, int]]:
        """How often each (transaction, step) was done and undone here."""
        return dict(self.states[number][1][11])

    def prepared(self, number: int) -> dict[int, tuple[int, ...]]:
        """Steps of the prepared branches by transaction."""
        return {branch[0]: branch[2] for branch in self.states[number][1][7]}

    def outbox_rows(self, number: int) -> int:
        """Unmarked outbox rows."""
        return len(self.states[number][1][5])

    # --- what a node can do -----------------------------------------------------------------------------------------------------

    def outcomes(self, number: int, event: Hashable) -> tuple[Outcome, ...]:
        """Everything that may come of this event; the first outcome is the one without a crash.

        Events are ``("event", transaction, event)``, ``("continue", transaction)``, ``("restart",)``, ``("crash",)``.
        """
        key = (number, event)
        known = self._cache.get(key)
        if known is None:
            known = self._cache[key] = tuple(dict.fromkeys(self._compute(number, event)))
        return known

    def _compute(self, number: int, event: Any) -> Iterator[Outcome]:
        kind = event[0]
        if kind == "crash":
            name, _ = self.states[number]
            yield from self._crashes(name, number, (), -2, ())
            return
        if kind == "restart":
            yield from self._restart(number)
            return
        name, node = self._thaw(number)
        tx = event[1]
        actor = node.actors.get(tx)
        program: list[Effect] = []
        if kind == "event":
            if actor is None:
                actor = node.actors[tx] = _Actor(self.strategy.machine(name, tx))
            if actor.running:
                actor.mail += (event[2],)
                yield Outcome(self._freeze(name, node), (), -1, ())
                return
            if isinstance(event[2], Timer):
                actor.timers.pop(event[2].kind, None)
            program = self._handle(actor, event[2])
        elif actor is None:
            return
        yield from self._run(name, node, tx, actor, program)

    def _handle(self, actor: _Actor, event: Event) -> list[Effect]:
        machine = actor.machine
        before = machine.state
        effects = machine.handle(event)
        self.covered.add((type(machine), before, event.kind, machine.state))
        return effects

    def _alone_on(self, name: str) -> bool:
        """Whether no other machine shares this node's store with a transaction's, so that nobody sees it half-way."""
        known = self._alone.get(name)
        if known is None:
            known = self._alone[name] = not list(self.strategy.daemons(name))
        return known

    def _run(self, name: str, node: _Node, tx: int, actor: _Actor, program: list[Effect]) -> Iterator[Outcome]:
        """Play a program to its end, or to the next operation that another machine of this node might come behind."""
        outputs: list[Output] = []
        words: list[str] = []
        snapshots: list[tuple[int, tuple[Output, ...], int]] = []
        pending = [*actor.rest, *program]
        actor.rest, actor.running = (), True
        done = 0
        pause = False
        while True:
            while pending and not pause:
                snapshots.append((self._freeze(name, node), tuple(outputs), done))
                effect = pending.pop(0)
                words.append(describe(effect))
                self._play(name, node, tx, actor, effect, outputs)
                done += 1
                pause = type(effect) in _STORE_EFFECTS and not (self._alone_on(name) and len(node.actors) <= 1)
            if pause:
                actor.rest = tuple(pending)
                break
            if node.actors.get(tx) is not actor:  # it forgot itself
                if actor.mail:
                    mail, actor.mail = actor.mail, ()
                    fresh = _Actor(self.strategy.machine(name, tx))
                    node.actors[tx] = actor = fresh
                    actor.mail, actor.running = mail, True
                    continue
                break
            event: Event
            if actor.done is not None:
                event, actor.done = actor.done, None
            elif actor.mail:
                event, actor.mail = actor.mail[0], actor.mail[1:]
            else:
                actor.running = False
                machine = actor.machine
                if tx != DAEMON and machine.state == machine.initial and not actor.timers:
                    del node.actors[tx]
                break
            snapshots.append((self._freeze(name, node), tuple(outputs), done))
            pending = self._handle(actor, event)
        story = tuple(words)
        yield Outcome(self._freeze(name, node), tuple(outputs), -1, story)
        for snapshot, left, count in snapshots:
            yield from self._crashes(name, snapshot, left, count, story)
        if snapshots:
            yield from self._crashes(name, self._freeze(name, node), tuple(outputs), done, story)

    def _restart(self, number: int) -> Iterator[Outcome]:
        name, node = self._thaw(number)
        node.up = True
        outputs: list[Output] = []
        words: list[str] = []
        snapshots: list[tuple[int, tuple[Output, ...], int]] = []
        known = {tx for tx, _, _ in node.log} | set(node.prepared)
        for tx in sorted(known):
            actor = node.actors[tx] = _Actor(self.strategy.machine(name, tx))
            records = [record for owner, record, _ in node.log if owner == tx]
            branch = node.prepared.get(tx)
            if branch is not None and branch.record is not None:
                records.append(branch.record)
            pending = actor.machine.recover(records)
            self.recovered.add((type(actor.machine), actor.machine.state))
            while True:
                for effect in pending:
                    snapshots.append((self._freeze(name, node), tuple(outputs), len(words)))
                    words.append(describe(effect))
                    self._play(name, node, tx, actor, effect, outputs)
                if actor.done is None:
                    break
                done, actor.done = actor.done, None
                pending = self._handle(actor, done)
        self_outputs = self._start_daemons(name, node)
        outputs += self_outputs
        yield Outcome(self._freeze(name, node), tuple(outputs), -1, tuple(words))
        for snapshot, left, count in snapshots:
            yield from self._crashes(name, snapshot, left, count, tuple(words))

    def _crashes(
        self, name: str, number: int, outputs: tuple[Output, ...], count: int, words: tuple[str, ...]
    ) -> Iterator[Outcome]:
        """The node goes down here: everything volatile is gone, lazy records survive as any prefix."""
        _, state = self.states[number]
        log = state[2]
        firm = sum(1 for *_, durable in log if durable)
        for kept in range(firm, len(log) + 1):
            _, node = self._thaw(number)
            node.up = False
            node.actors.clear()
            node.open.clear()
            node.log = [(tx, record, True) for tx, record, _ in log[:kept]]
            node.log = _without_ended(node.log)
            yield Outcome(self._lose(name, node, marks=False), outputs, count, words)
            if node.marks or node.rolled_back:
                _, other = self._thaw(number)
                other.up = False
                other.actors.clear()
                other.open.clear()
                other.log = list(node.log)
                yield Outcome(self._lose(name, other, marks=True), outputs, count, words)

    def _lose(self, name: str, node: _Node, *, marks: bool) -> int:
        """Bring lazily marked rows and lazily rolled back branches back, if their marks are lost."""
        if marks:
            node.outbox = dict(sorted({**node.outbox, **dict(node.marks)}.items()))
            for tx, branch in node.rolled_back:
                node.prepared.setdefault(tx, branch)
        kept = _Node(
            False, {}, node.log, node.values, node.rows, node.outbox, [], node.prepared, [], {}, node.next_row, node.counts
        )
        return self._freeze(name, kept)

    # --- effects ----------------------------------------------------------------------------------------------------------------

    def _play(self, name: str, node: _Node, tx: int, actor: _Actor, effect: Effect, outputs: list[Output]) -> None:
        if isinstance(effect, Message):
            outputs.append(Output("send", effect))
        elif isinstance(effect, SetTimer):
            actor.timers[effect.kind] = None
        elif isinstance(effect, CancelTimer):
            actor.timers.pop(effect.kind, None)
        elif isinstance(effect, Append):
            node.log.append((tx, effect.record, effect.forced))
            if effect.forced:
                _flush(node)
        elif isinstance(effect, Transact):
            actor.done = _transact(node, tx, effect, outputs)
        elif isinstance(effect, Execute | Prepare):
            actor.done = _branch(node, tx, effect)
        elif isinstance(effect, Commit):
            _commit(node, tx, outputs)
        elif isinstance(effect, Rollback):
            _roll_back(node, tx, effect)
        elif isinstance(effect, Publish):
            outputs.append(Output("publish", (tx, effect.tag, effect.message)))
        elif isinstance(effect, Acknowledge):
            outputs.append(Output("ack", effect.id))
        elif isinstance(effect, ReadOutbox):
            actor.done = Done(effect.tag, "done", tuple(list(node.outbox.items())[: effect.limit]))
        elif isinstance(effect, MarkOutbox):
            for number in effect.ids:
                message = node.outbox.pop(number, None)
                if message is not None:
                    node.marks.append((number, message))
        elif isinstance(effect, Answer):
            outputs.append(Output("answer", (tx, effect.outcome)))
        elif isinstance(effect, Decided):
            outputs.append(Output("decided", (tx, effect.outcome)))
        elif isinstance(effect, Alert):
            if effect.stuck:
                outputs.append(Output("stuck", tx))
        elif isinstance(effect, Forget):
            if node.actors.get(tx) is actor:
                del node.actors[tx]
            node.log = [
                entry for entry in node.log if entry[0] != tx
            ] if all(durable for owner, _, durable in node.log if owner == tx) else _ended(node.log, tx)
        elif not isinstance(effect, Suspect):
            raise ProtocolViolation(f"{actor.machine!r} on {name} asked for {effect!r}, which is no effect")


_STORE_EFFECTS: Final = (Transact, Execute, Prepare, Commit, Rollback, ReadOutbox, MarkOutbox)
_END: Final = ("\0end",)


def _ended(log: list[tuple[int, Record, bool]], tx: int) -> list[tuple[int, Record, bool]]:
    """A machine that forgot itself behind a lazy record: if that record is lost, the machine comes back."""
    return [*log, (tx, _END, False)]


def _without_ended(log: list[tuple[int, Record, bool]]) -> list[tuple[int, Record, bool]]:
    ended = {tx for tx, record, _ in log if record == _END}
    return [entry for entry in log if entry[0] not in ended]


def _flush(node: _Node) -> None:
    """A forced write: everything written before is durable with it."""
    node.log = _without_ended([(tx, record, True) for tx, record, _ in node.log])
    node.marks.clear()
    node.rolled_back.clear()


def _evaluate(node: _Node, operations: Iterable[Operation], base: dict[str, float]) -> dict[str, float] | None:
    """Changes of these operations, or None if they are refused."""
    changes = dict(base)
    for operation in operations:
        if operation.kind == "refuse":
            return None
        old = changes.get(operation.key, node.values.get(operation.key, 0))
        new = old if operation.kind == "read" else old + operation.amount if operation.kind == "add" else operation.amount
        if (operation.low is not None and new < operation.low) or (operation.high is not None and new > operation.high):
            return None
        if operation.kind != "read":
            changes[operation.key] = new
    return changes


def _count(node: _Node, tx: int, steps: Iterable[int], outputs: list[Output], *, undo: bool) -> None:
    for step in steps:
        did, undid = node.counts.get((tx, step), (0, 0))
        node.counts[tx, step] = (did, undid + 1) if undo else (did + 1, undid)
        outputs.append(Output("applied", (tx, step, "undone" if undo else "done")))


def _transact(node: _Node, tx: int, effect: Transact, outputs: list[Output]) -> Done:
    if effect.key is not None and effect.key in node.rows:
        return Done(effect.tag, "duplicate", node.rows[effect.key])
    operations = effect.operations
    tombstone = None
    effective = True
    if effect.undoes is not None:
        action = node.rows.get(effect.undoes)
        effective = action == effect.undone_if
        if not effective:
            operations = ()
        if action is None:
            tombstone = effect.undoes
    changes = _evaluate(node, operations, {})
    if changes is None:
        branch, status = effect.refused, "refused"
        if branch is None:
            return Done(effect.tag, "refused")
        changes = {}
    else:
        branch, status = effect.accepted, "done"
    if not changes and effect.key is None and not (branch and branch.outbox):
        return Done(effect.tag, "done" if status == "done" else "refused")
    node.values.update(changes)
    if effect.key is not None:
        node.rows[effect.key] = status if branch is None or branch.value is None else branch.value
    if tombstone is not None:
        node.rows[tombstone] = TOMBSTONE
    if branch is not None:
        _post(node, branch)
    if status == "done" and changes:
        _count(node, tx, effect.steps, outputs, undo=effect.compensation)
    _flush(node)
    return Done(effect.tag, "done" if status == "done" else "refused")


def _post(node: _Node, branch: Branch) -> None:
    for message in branch.outbox:
        node.outbox[node.next_row] = message
        node.next_row += 1


def _branch(node: _Node, tx: int, effect: Execute | Prepare) -> Done:
    if isinstance(effect, Prepare) and effect.key is not None and effect.key in node.rows:
        return Done(effect.tag, "duplicate", node.rows[effect.key])
    before = node.open.pop(tx, None)
    changes = _evaluate(node, effect.operations, dict(before.changes) if before else {})
    if changes is None:
        return Done(effect.tag, "refused")
    steps = (*(before.steps if before else ()), *effect.steps)
    if isinstance(effect, Execute):
        node.open[tx] = _Prepared(tuple(sorted(changes.items())), steps, None, None)
    else:
        node.prepared[tx] = _Prepared(tuple(sorted(changes.items())), tuple(dict.fromkeys(steps)), effect.record, effect.key)
        _flush(node)
    return Done(effect.tag, "done")


def _commit(node: _Node, tx: int, outputs: list[Output]) -> None:
    branch = node.prepared.pop(tx, None)
    if branch is None:
        return
    node.values.update(dict(branch.changes))
    if branch.key is not None:
        node.rows[branch.key] = "done"
    if branch.changes:
        _count(node, tx, branch.steps, outputs, undo=False)
    _flush(node)


def _roll_back(node: _Node, tx: int, effect: Rollback) -> None:
    node.open.pop(tx, None)
    branch = node.prepared.pop(tx, None)
    if branch is None:
        return
    if effect.forced:
        _flush(node)
    else:
        node.rolled_back.append((tx, branch))


def describe(effect: Effect) -> str:
    """An effect in a few words, for stories."""
    if isinstance(effect, Message):
        return f"send {effect.kind} to {effect.to}"
    if isinstance(effect, Append):
        return f"{'force' if effect.forced else 'write lazily'} record '{effect.record[0]}'"
    if isinstance(effect, Transact | Execute | Prepare):
        return f"{type(effect).__name__.lower()} '{effect.tag}'"
    if isinstance(effect, Publish):
        return f"publish {effect.message.kind} for {effect.message.to}"
    if isinstance(effect, Answer | Decided):
        return f"{'answer' if isinstance(effect, Answer) else 'decide'} {effect.outcome}"
    if isinstance(effect, SetTimer | CancelTimer):
        return f"{'set' if isinstance(effect, SetTimer) else 'cancel'} timer '{effect.kind}'"
    if isinstance(effect, Commit | Rollback):
        return f"{type(effect).__name__.lower()} the branch"
    return type(effect).__name__.lower()
