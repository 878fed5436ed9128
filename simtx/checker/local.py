"""One node in the checker: what it can do with one event, crash points included, as a function of interned local states.

A local state holds everything that one node is: its machines, timers, log, store, and how often each step took effect there. What the
node can do with an event depends on nothing else, so it is computed once for each (local state, event) and remembered; the global
search then only combines integers. That is what makes every crash point between any two effects affordable.

The semantics are those of `simtx.protocols.contract`. A crash may come after each effect of a program (before the first it is a crash
between two events, which the global model has anyway). Lazy records survive as any prefix of what was written since the last forced
write; a prepared branch keeps its locks.

A service and its outbox relay are separate steps on one database: the relay may publish a row that was committed by a program that has not
come to its end. Only a crash in between tells that from a program that runs through, so `PAUSED` outcomes matter only while a crash is to
come. Nothing else that another machine of the node does in between can be told from its coming earlier or later.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from simtx.checker.local_store import Output, Store
from simtx.errors import ProtocolViolation, ScenarioError
from simtx.protocols import (
    Acknowledge,
    Alert,
    Answer,
    Append,
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
    Prepare,
    Publish,
    ReadOutbox,
    Request,
    Rollback,
    SetTimer,
    Strategy,
    Suspect,
    Timer,
    Transact,
)

DAEMON: Final = -1
RUNS: Final = -1  # in place of the number of effects that were done before a crash: there was none
PAUSED: Final = -2  # the program has come as far as a committed outbox row, and will get no further before a crash
_ANSWERING: Final = (Transact, Execute, Prepare, ReadOutbox)


class HiddenStateError(ScenarioError):
    """A machine has fields outside its slots, which a copy and a comparison would miss: no verdict on it would be worth anything."""


class Outcome(NamedTuple):
    """One thing that may come of an event.

    Attributes:
        local: Number of the local state afterwards.
        outputs: What left the node, in order.
        crashed: Number of effects that were done before the node crashed, or `RUNS` or `PAUSED`.
        program: The effects, each with the status of its answer or an empty text; those that a crash swallowed included.
        note: What the crash left of lazy writes, in words.
    """

    local: int
    outputs: tuple[Output, ...]
    crashed: int
    program: tuple[tuple[Effect, str], ...]
    note: str = ""


@dataclass(slots=True)
class _Actor:
    machine: Machine
    timers: dict[str, None] = field(default_factory=dict)
    done: list[Done] = field(default_factory=list)
    running: bool = False


@dataclass(slots=True)
class _Node:
    """A local state, thawed."""

    up: bool
    actors: dict[int, _Actor]
    store: Store


class _Play:
    """A program under way: what it has put out, and the state before each effect, where a crash may come."""

    __slots__ = ("fail", "operations", "outputs", "pause", "pauses", "points", "program")

    def __init__(self, fail: int = -1, pause: int = -1) -> None:
        self.fail = fail
        self.pause = pause
        self.operations = 0
        self.pauses = 0
        self.outputs: list[Output] = []
        self.program: list[tuple[Effect, str]] = []
        self.points: list[tuple[int, tuple[Output, ...], int]] = []


class Locals:
    """The local states of all nodes of one scope, and what they can do.

    Args:
        strategy: The strategy under test.
        retained: How many idempotency rows a store keeps; None: all.
    """

    def __init__(self, strategy: Strategy, retained: int | None = None) -> None:
        self.strategy = strategy
        self.retained = retained
        self.machines: dict[Hashable, Machine] = {}
        self.states: list[tuple[str, bool, tuple[Any, ...], tuple[Any, ...]]] = []
        self.covered: set[tuple[type[Machine], str, str, str]] = set()
        self.recovered: set[tuple[type[Machine], str]] = set()
        self._rows: set[tuple[type[Machine], str, str, str]] = set()
        self._taken: dict[tuple[int, Hashable, int], set[tuple[type[Machine], str, str, str]]] = {}
        self._numbers: dict[Hashable, int] = {}
        self._cache: dict[tuple[int, Hashable, int], tuple[Outcome, ...]] = {}
        self._crashed: dict[int, tuple[tuple[int, str], ...]] = {}
        self._calm: dict[int, int] = {}
        self._wakes = bool(getattr(strategy, "wake_on_commit", False))

    # --- freezing and thawing -----------------------------------------------------------------------------------------------

    def first(self, name: str) -> int:
        """The local state of a node before anything happened; its daemons have started.

        Raises:
            ProtocolViolation: A daemon puts something out when it starts on an empty node.
        """
        node = _Node(True, {}, Store())
        play = _Play()
        self._start_daemons(name, node, play)
        self.covered |= self._rows
        if play.outputs:
            raise ProtocolViolation(f"the daemons of {name} put out {play.outputs[0]} before anything has happened")
        return self._freeze(name, node)

    def _start_daemons(self, name: str, node: _Node, play: _Play) -> None:
        for machine in self.strategy.daemons(name):
            actor = node.actors[DAEMON] = _Actor(machine)
            self._play_on(name, node, DAEMON, actor, self._handle(actor, Timer("start")), play)

    def _freeze(self, name: str, node: _Node) -> int:
        actors = []
        for tx, actor in sorted(node.actors.items()):
            machine = actor.machine
            if getattr(machine, "__dict__", None):
                fields = ", ".join(machine.__dict__)
                raise HiddenStateError(
                    f"{type(machine).__name__} has fields that are not in __slots__: {fields}; declare them", "verify"
                )
            key = (machine.node, machine.key())
            if key not in self.machines:
                self.machines[key] = machine.clone()  # the one at hand goes on changing
            actors.append((tx, key, tuple(sorted(actor.timers)), actor.running))
        state = (name, node.up, tuple(actors), node.store.freeze(ordered_rows=self.retained is not None))
        number = self._numbers.get(state)
        if number is None:
            number = self._numbers[state] = len(self.states)
            self.states.append(state)
        return number

    def _thaw(self, number: int) -> tuple[str, _Node]:
        name, up, actors, store = self.states[number]
        thawed = {
            tx: _Actor(self.machines[key].clone(), dict.fromkeys(timers), [], running)
            for tx, key, timers, running in actors
        }
        return name, _Node(up, thawed, Store.thaw(store))

    # --- what others may look at ----------------------------------------------------------------------------------------------

    def up(self, number: int) -> bool:
        """Whether the node is up."""
        return self.states[number][1]

    def timers(self, number: int) -> tuple[tuple[int, str], ...]:
        """Timers that are set: (transaction, name); a machine in the middle of a program hears none."""
        return tuple((actor[0], name) for actor in self.states[number][2] if not actor[3] for name in actor[2])

    def running(self, number: int) -> tuple[int, ...]:
        """Transactions whose machine is in the middle of a program."""
        return tuple(actor[0] for actor in self.states[number][2] if actor[3])

    def busy(self, number: int) -> list[tuple[int, Machine]]:
        """Machines of transactions, which at the end should be none, by transaction."""
        return [(actor[0], self.machines[actor[1]]) for actor in self.states[number][2] if actor[0] != DAEMON]

    def hears(self, number: int, tx: int, kinds: Iterable[str]) -> list[str]:
        """Those kinds of events that the transaction's machine has a row for, as it stands."""
        name, _, actors, _ = self.states[number]
        machine = next((self.machines[key] for owner, key, *_ in actors if owner == tx), None)
        machine = machine or self.strategy.machine(name, tx)
        rows = {row.event for row in machine.transitions if row.state == machine.state}
        return [kind for kind in kinds if kind in rows]

    def store(self, number: int) -> Store:
        """A copy of the node's store and log."""
        return Store.thaw(self.states[number][3])

    def calm(self, number: int) -> int:
        """The same node when no crash is to come: what only a recovery would read is dropped, so that more states are one.

        A node that is down, or in the middle of a program, stays as it is.
        """
        known = self._calm.get(number)
        if known is None:
            name, node = self._thaw(number)
            if node.up and not any(actor.running for actor in node.actors.values()):
                node.store.log.clear()
                node.store.marks.clear()
                node.store.rolled_back.clear()
            known = self._calm[number] = self._freeze(name, node)
        return known

    # --- what a node can do -----------------------------------------------------------------------------------------------------

    def outcomes(self, number: int, event: Hashable, fail: int = -1) -> tuple[Outcome, ...]:
        """Everything that may come of this event; the first outcome is the one without a crash.

        Args:
            number: The local state.
            event: ``("event", transaction, event)``, ``("restart",)`` or ``("crash",)``.
            fail: The store operation of the program that fails for a passing reason (from 0), or -1. Without such an
                operation nothing comes of it.
        """
        key = (number, event, fail)
        known = self._cache.get(key)
        if known is None:
            self._rows = self._taken[key] = set()
            known = self._cache[key] = tuple(self._distinct(number, event, fail))
        return known

    def take(self, number: int, event: Hashable, fail: int = -1) -> tuple[Outcome, ...]:
        """As `outcomes`, of something that does happen: the rows of transition tables that it takes count as covered."""
        outcomes = self.outcomes(number, event, fail)
        self.covered |= self._taken[number, event, fail]
        return outcomes

    def _distinct(self, number: int, event: Any, fail: int) -> Iterator[Outcome]:
        """Outcomes that differ; a crash that leaves what a crash before the program leaves is not told again."""
        seen: set[Hashable] = {(number, (), True)}
        if event[0] == "event":
            seen.update((local, (), True) for local, _ in self._crashes(number))
        for outcome in self._compute(number, event, fail):
            key = (outcome.local, outcome.outputs, outcome.crashed >= 0)
            if key not in seen:
                seen.add(key)
                yield outcome

    def _compute(self, number: int, event: Any, fail: int) -> Iterator[Outcome]:
        kind = event[0]
        if kind == "crash":
            for local, note in self._crashes(number):
                yield Outcome(local, (), 0, (), note)
            return
        name, node = self._thaw(number)
        play = _Play(fail)
        try:
            if kind == "restart":
                node.up = True
                self._recover(name, node, play)
            else:
                self._react(name, node, event, play)
        except HiddenStateError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a machine raises is a finding, and its story is wanted
            text = f"{type(error).__name__}: {error}"
            yield Outcome(number, (Output("fault", text),), RUNS, tuple(play.program), text)
            return
        if fail >= 0 and play.operations <= fail:
            return
        program = tuple(play.program)
        yield Outcome(self._freeze(name, node), tuple(play.outputs), RUNS, program)
        for pause in range(play.pauses if kind != "restart" and fail < 0 else 0):
            name, node = self._thaw(number)
            half = _Play(pause=pause)
            self._react(name, node, event, half)
            yield Outcome(self._freeze(name, node), tuple(half.outputs), PAUSED, tuple(half.program))
        if play.points and play.points[-1][2] == len(program):
            play.points.pop()  # a crash behind the last effect is one between two events
        for point, outputs, count in play.points:
            for local, note in self._crashes(point):
                yield Outcome(local, outputs, count, program, note)

    def _crashes(self, number: int) -> tuple[tuple[int, str], ...]:
        """The local states that a crash now may leave, each with a few words."""
        known = self._crashed.get(number)
        if known is None:
            name, _, _, frozen = self.states[number]
            found: dict[int, str] = {}
            for store, note in Store.thaw(frozen).after_crash():
                found.setdefault(self._freeze(name, _Node(False, {}, store)), note)
            known = self._crashed[number] = tuple(found.items())
        return known

    # --- programs ---------------------------------------------------------------------------------------------------------------

    def _handle(self, actor: _Actor, event: Event) -> list[Effect]:
        machine = actor.machine
        before = machine.state
        effects = machine.handle(event)
        self._rows.add((type(machine), before, event.kind, machine.state))
        return effects

    def _react(self, name: str, node: _Node, event: Any, play: _Play) -> None:
        """Handle an event."""
        tx = event[1]
        actor = node.actors.get(tx)
        if actor is None:
            actor = node.actors[tx] = _Actor(self.strategy.machine(name, tx))
        if isinstance(event[2], Timer):
            actor.timers.pop(event[2].kind, None)
        self._play_on(name, node, tx, actor, self._handle(actor, event[2]), play)

    def _play_on(self, name: str, node: _Node, tx: int, actor: _Actor, pending: list[Effect], play: _Play) -> None:
        """Play a program to its end, or to the pause that is asked for."""
        actor.running = True
        pending = list(pending)
        while True:
            while pending:
                effect = pending.pop(0)
                rows = node.store.next_row
                status = self._effect(node, tx, actor, effect, play)
                play.program.append((effect, status))
                play.points.append((self._freeze(name, node), tuple(play.outputs), len(play.program)))
                if node.store.next_row > rows and DAEMON in node.actors and (pending or actor.done):
                    play.pauses += 1
                    if play.pauses - 1 == play.pause:
                        actor.done.clear()
                        return
            if node.actors.get(tx) is not actor or not actor.done:
                break
            pending = self._handle(actor, actor.done.pop(0))
        actor.running = False
        if (
            node.actors.get(tx) is actor
            and tx != DAEMON
            and not actor.timers
            and actor.machine.state == actor.machine.initial
        ):
            del node.actors[tx]  # it is as blank as the one that the next event would get

    def _recover(self, name: str, node: _Node, play: _Play) -> None:
        """A restart: every machine with records is recovered, then the daemons start."""
        for tx in node.store.known():
            actor = node.actors[tx] = _Actor(self.strategy.machine(name, tx))
            records = node.store.records(tx)
            effects = actor.machine.recover(records)
            self.recovered.add((type(actor.machine), actor.machine.state))
            self._play_on(name, node, tx, actor, effects, play)
        self._start_daemons(name, node, play)
        if node.store.known() or play.outputs:
            play.outputs.append(Output("recovered", name))

    def _effect(self, node: _Node, tx: int, actor: _Actor, effect: Effect, play: _Play) -> str:
        """Play one effect; returns the status of its answer, if it has one."""
        store, outputs = node.store, play.outputs
        if isinstance(effect, _ANSWERING):
            play.operations += 1
            if play.operations - 1 == play.fail:
                if isinstance(effect, Execute | Prepare):
                    store.open.pop(tx, None)
                actor.done.append(Done(effect.tag, "failed"))
                return "failed"
        if isinstance(effect, Message):
            outputs.append(Output("send", effect))
        elif isinstance(effect, SetTimer):
            actor.timers[effect.kind] = None
        elif isinstance(effect, CancelTimer):
            actor.timers.pop(effect.kind, None)
        elif isinstance(effect, Append):
            store.append(tx, effect.record, forced=effect.forced)
        elif isinstance(effect, Transact):
            rows = store.next_row
            actor.done.append(store.transact(tx, effect, outputs, self.retained))
            if self._wakes and store.next_row > rows and DAEMON in node.actors:
                node.actors[DAEMON].timers["wake"] = None
        elif isinstance(effect, Execute | Prepare):
            actor.done.append(store.branch(tx, effect))
        elif isinstance(effect, Commit):
            store.commit(tx, outputs, self.retained)
        elif isinstance(effect, Rollback):
            store.roll_back(tx, effect, outputs)
        elif isinstance(effect, Publish):
            outputs.append(Output("publish", (tx, effect.tag, effect.message)))
        elif isinstance(effect, Acknowledge):
            outputs.append(Output("acknowledge", effect.id))
        elif isinstance(effect, ReadOutbox):
            actor.done.append(Done(effect.tag, "done", tuple(store.outbox.items())[: effect.limit]))
        elif isinstance(effect, MarkOutbox):
            for number in effect.ids:
                if number in store.outbox:
                    store.marks.append((number, store.outbox.pop(number)))
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
            store.end(tx)
        elif not isinstance(effect, Suspect):
            raise ProtocolViolation(f"{actor.machine!r} asked for {effect!r}, which is no effect")
        return actor.done[-1].status if isinstance(effect, _ANSWERING) else ""


def describe(effect: Effect, status: str = "") -> str:
    """An effect in a few words, for stories."""
    return _words(effect) + (f": {status}" if status else "")


def _words(effect: Effect) -> str:
    if isinstance(effect, Message):
        return f"send {describe_event(effect)} to {effect.to}"
    if isinstance(effect, Append):
        return f"{'force' if effect.forced else 'lazily write'} record '{effect.record[0]}'"
    if isinstance(effect, Transact | Execute | Prepare):
        steps = f" of step {', '.join(map(str, effect.steps))}" if effect.steps else ""
        return f"{type(effect).__name__.lower()} '{effect.tag}'{steps}"
    if isinstance(effect, Publish):
        return f"publish {describe_event(effect.message)} for {effect.message.to}"
    if isinstance(effect, Answer | Decided):
        return f"{'answer' if isinstance(effect, Answer) else 'decide'} {effect.outcome}"
    if isinstance(effect, SetTimer | CancelTimer):
        return f"{'set' if isinstance(effect, SetTimer) else 'cancel'} timer '{effect.kind}'"
    if isinstance(effect, Commit | Rollback):
        return "commit the branch" if isinstance(effect, Commit) else "roll the branch back"
    if isinstance(effect, ReadOutbox):
        return "read the outbox"
    if isinstance(effect, MarkOutbox):
        return f"mark outbox row {', '.join(map(str, effect.ids))}"
    if isinstance(effect, Suspect):
        return f"suspect {effect.node}"
    if isinstance(effect, Alert):
        return f"alert: {effect.reason}"
    return type(effect).__name__.lower()


def describe_event(event: Any) -> str:
    """An event or a message in a few words; a step that it is about is named."""
    if isinstance(event, Request):
        return "the client's request" if event.kind == "begin" else f"the operator's '{event.kind}'"
    if isinstance(event, Timer):
        return f"timer '{event.kind}'"
    if isinstance(event, Done):
        return f"{event.kind}: {event.status}"
    message = event if isinstance(event, Message) else event.message
    body = message.body
    step = getattr(body, "index", None) if hasattr(body, "operations") else getattr(body, "step", None)
    if isinstance(body, int):
        step = body
    elif isinstance(body, tuple) and len(body) == 2 and isinstance(body[0], int):
        step = body[0]
    return f"{message.kind}{'' if step is None else f' (step {step})'}"
