"""One node in the checker, thawed, and how it plays the programs of its machines.

The semantics are those of `simtx.protocols.contract`; the store's part of them is in `simtx.checker.protocols.local_store`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, get_args

from simtx.checker.protocols.local_store import Output, Store
from simtx.checker.protocols.scope import Remembers
from simtx.errors import ProtocolViolation
from simtx.protocols import contract as c
from simtx.protocols.extras import extras
from simtx.protocols.names import DAEMON
from simtx.protocols.naming import unknown_effect
from simtx.protocols.operations import writes

_ANSWERING: Final = (c.Transact, c.Execute, c.Prepare, c.ReadOutbox)
_LONGEST: Final = 500
"""Effects upon one event. More than this is a machine that repeats what the store answers in the same way again, for ever."""
_SHOWN: Final = 5
OUTCOMES: Final = get_args(c.Outcome)


@dataclass(slots=True)
class RunningMachine:
    """A machine with its timers.

    Attributes:
        machine: The machine.
        timers: Names of the timers that are set.
        done: Answers of the store that it has not handled.
        running: Whether it is in the middle of a program.
        rest: What is left of a program whose local transaction is under way, that local transaction first.
    """

    machine: c.Machine
    timers: dict[str, None] = field(default_factory=dict)
    done: list[c.Done] = field(default_factory=list)
    running: bool = False
    rest: tuple[c.Effect, ...] = ()


@dataclass(slots=True)
class Node:
    """Everything that one node is.

    Attributes:
        name: Its name.
        up: Whether it is up.
        actors: Transaction, or `DAEMON`, to machine.
        store: Store and log.
    """

    name: str
    up: bool
    actors: dict[int, RunningMachine]
    store: Store


@dataclass(slots=True, eq=False)
class Play:
    """A program under way: what it has put out, and where a crash may come.

    Attributes:
        fail: The store operation that fails for a passing reason (from 0), or -1.
        pause: The pause at which the program stops (from 0), or -1.
        begin: Leave the first local transaction with outbox rows under way.
        operations: Store operations so far.
        pauses: Points at which somebody else on the node could tell that the program has not come to its end.
        outputs: What has left the node.
        program: The effects so far, each with the status of its answer or an empty text.
        points: Behind each effect: the local state, the outputs until then, and how many effects there were.
        taken: Rows of transition tables: (class, state, event, state afterwards).
        recovered: What a restart has found: (class, kind of the last record, state afterwards).
    """

    fail: int = -1
    pause: int = -1
    begin: bool = False
    operations: int = 0
    pauses: int = 0
    outputs: list[Output] = field(default_factory=list)
    program: list[tuple[c.Effect, str]] = field(default_factory=list)
    points: list[tuple[int, tuple[Output, ...], int]] = field(default_factory=list)
    taken: set[tuple[type[c.Machine], str, str, str]] = field(default_factory=set)
    recovered: set[tuple[type[c.Machine], str, str]] = field(default_factory=set)


class EffectPlayer:
    """Plays the programs of a strategy's machines.

    Args:
        strategy: The strategy.
        retained: How many idempotency rows a store keeps; None: all.
        freeze: Gives the number of a node's local state, behind each effect.
        several: Whether a node may be in the middle of several programs, so that one may pause behind every effect.
        serializable: Whether reads lock.
        providers: What providers outside remember that do the work of local transactions, by the node's name.
    """

    def __init__(
        self,
        strategy: c.Strategy,
        retained: int | None,
        freeze: Callable[[Node], int],
        *,
        several: bool = False,
        serializable: bool = True,
        providers: Mapping[str, Remembers] | None = None,
    ) -> None:
        self.strategy = strategy
        self._providers = dict(providers or {})
        self.retained = retained
        self._serializable = serializable
        self._freeze = freeze
        self._several = several
        self._wakes = extras(strategy).wake_on_commit

    def start_daemons(self, node: Node, play: Play) -> None:
        """Start what runs beside the transactions."""
        for machine in self.strategy.daemons(node.name):
            actor = node.actors[DAEMON] = RunningMachine(machine)
            self._program(node, DAEMON, actor, self.handle(actor, c.Timer("start"), play), play)

    def react(self, node: Node, tx: int, event: c.Event, play: Play) -> None:
        """A machine, a new one if need be, handles an event."""
        actor = self.addressee(node, tx, event)
        self._program(node, tx, actor, self.handle(actor, event, play), play)

    def go_on(self, node: Node, tx: int, play: Play) -> None:
        """A local transaction that was under way commits, and its program goes on."""
        actor = node.actors[tx]
        rest, actor.rest = actor.rest, ()
        self._program(node, tx, actor, list(rest), play)

    def addressee(self, node: Node, tx: int, event: c.Event) -> RunningMachine:
        """The machine that an event is for; a timer that fires is no longer set."""
        actor = node.actors.get(tx)
        if actor is None:
            actor = node.actors[tx] = RunningMachine(self.strategy.machine(node.name, tx))
        if isinstance(event, c.Timer):
            actor.timers.pop(event.kind, None)
        return actor

    def handle(self, actor: RunningMachine, event: c.Event, play: Play) -> list[c.Effect]:
        """The effects that a machine asks for."""
        machine = actor.machine
        before = machine.state
        effects = _listed(machine, f"'{event.kind}' in state '{before}'", machine.handle(event))
        play.taken.add((type(machine), before, event.kind, machine.state))
        return effects

    def recover(self, node: Node, play: Play) -> None:
        """A restart: every machine with records is recovered, then the daemons start."""
        for tx in node.store.known():
            actor = node.actors[tx] = RunningMachine(self.strategy.machine(node.name, tx))
            records = node.store.records(tx)
            effects = _listed(actor.machine, "recover", actor.machine.recover(records))
            play.recovered.add((type(actor.machine), str(records[-1][0]) if records else "", actor.machine.state))
            self._program(node, tx, actor, effects, play)
        self.start_daemons(node, play)
        if node.store.known() or play.outputs:
            play.outputs.append(Output("recovered", node.name))

    def _program(self, node: Node, tx: int, actor: RunningMachine, pending: list[c.Effect], play: Play) -> None:
        """Play a program to its end, or to the pause that is asked for."""
        actor.running = True
        pending = list(pending)
        while True:
            while pending:
                if play.begin and self._begins(node, tx, actor, pending, play):
                    return
                effect = pending.pop(0)
                status = self.effect(node, tx, actor, effect, play)
                play.program.append((effect, status))
                # Frozen behind every effect: each of these is a place where a crash may come.
                play.points.append((self._freeze(node), tuple(play.outputs), len(play.program)))
                if len(play.program) > _LONGEST:
                    del play.program[_SHOWN:]  # a story shows how it begins
                    raise ProtocolViolation(
                        f"{actor.machine.role} of {node.name} asks for more than {_LONGEST} effects upon one event, "
                        "and has not come to an end: wait for a timer before trying again"
                    )
                # At the very end of a program a pause would be no other state than the end.
                if self._several and (pending or actor.done):
                    play.pauses += 1
                    if play.pauses - 1 == play.pause:
                        actor.done.clear()
                        return
            # Forgotten in the middle of its own program, or nothing left to answer.
            if node.actors.get(tx) is not actor or not actor.done:
                break
            pending = self.handle(actor, actor.done.pop(0), play)
        self.end(node, tx, actor)

    @staticmethod
    def _begins(node: Node, tx: int, actor: RunningMachine, pending: list[c.Effect], play: Play) -> bool:
        """Return whether the next effect is a local transaction that is under way from here on: its outbox rows have numbers and are not visible."""
        effect = pending[0]
        if not isinstance(effect, c.Transact) or not effect.outbox_rows() or not node.store.begin(tx, effect):
            return False
        rows = effect.outbox_rows()
        first = node.store.under_way[tx]
        numbers = ", ".join(str(first + position) for position in range(rows))
        play.program.append((effect, f"under way, outbox row{'s' * (rows > 1)} {numbers} not yet visible"))
        actor.rest, actor.running = tuple(pending), False
        return True

    def end(self, node: Node, tx: int, actor: RunningMachine) -> None:
        """A program has come to its end; a machine that is as blank as the one that the next event would get is gone."""
        actor.running = False
        blank = tx != DAEMON and not actor.timers and actor.machine.state == actor.machine.initial
        if blank and node.actors.get(tx) is actor:
            del node.actors[tx]

    def effect(self, node: Node, tx: int, actor: RunningMachine, effect: c.Effect, play: Play) -> str:
        """Play one effect; returns the status of its answer, if it has one."""
        store, outputs = node.store, play.outputs
        # The failure that the budget `failures` pays for: nothing is applied, and an open branch is gone with it.
        if isinstance(effect, _ANSWERING):
            play.operations += 1
            if play.operations - 1 == play.fail:
                if isinstance(effect, c.Execute | c.Prepare):
                    store.open.pop(tx, None)
                actor.done.append(c.Done(effect.tag, "failed"))
                return "failed"
        finishes = isinstance(effect, c.Transact) and effect.finishes
        if (
            isinstance(effect, c.Transact | c.Execute | c.Prepare)
            and not (effect.steps or finishes)
            and writes(effect.operations)
        ):
            raise ProtocolViolation(
                f"{type(actor.machine).__name__} changes data in '{effect.tag}' and does not say of which step: give it `steps`"
            )
        if isinstance(effect, c.Message):
            outputs.append(Output("send", effect))
        elif isinstance(effect, c.SetTimer):
            actor.timers[effect.kind] = None
        elif isinstance(effect, c.CancelTimer):
            actor.timers.pop(effect.kind, None)
        elif isinstance(effect, c.Append):
            store.append(tx, effect.record, forced=effect.forced)
        elif isinstance(effect, c.Transact):
            rows = len(store.outbox)
            if node.name not in self._providers:
                done = store.transact(tx, effect, outputs, self.retained, serializable=self._serializable)
            else:
                # Two failures are possible: the one above, of a request that was lost, and this one, of an answer that was.
                play.operations += 1
                heard = play.operations - 1 != play.fail
                done = store.call(
                    tx, effect, outputs, self.retained, remembers=self._providers[node.name] == "keys", heard=heard
                )
            actor.done.append(done)
            # A wake-up is a timer that fires at once: it may still be overtaken by anything else, as in a real process.
            if self._wakes and len(store.outbox) > rows and DAEMON in node.actors:
                node.actors[DAEMON].timers["wake"] = None
        elif isinstance(effect, c.Execute | c.Prepare):
            actor.done.append(store.branch(tx, effect, serializable=self._serializable))
        elif isinstance(effect, c.Commit):
            store.commit(tx, outputs, self.retained)
        elif isinstance(effect, c.Rollback):
            store.roll_back(tx, effect, outputs)
        elif isinstance(effect, c.Publish):
            outputs.append(Output("publish", (tx, effect.tag, effect.message)))
        elif isinstance(effect, c.LogOnce):
            outputs.append(Output("log", (tx, effect)))
        elif isinstance(effect, c.Acknowledge):
            outputs.append(Output("acknowledge", effect.id))
        elif isinstance(effect, c.ReadOutbox):
            actor.done.append(c.Done(effect.tag, "done", store.read_outbox(effect)))
        elif isinstance(effect, c.MarkOutbox):
            for number in effect.ids:
                if number in store.outbox:
                    store.marks.append((number, store.outbox.pop(number)))
        elif isinstance(effect, c.Answer | c.Decided):
            if effect.outcome not in OUTCOMES:
                raise ProtocolViolation(f"{effect!r}: the outcome has to be one of {', '.join(OUTCOMES)}")
            outputs.append(Output("answer" if isinstance(effect, c.Answer) else "decided", (tx, effect.outcome)))
        elif isinstance(effect, c.Alert):
            if effect.stuck:
                outputs.append(Output("stuck", tx))
        elif isinstance(effect, c.Forget):
            if node.actors.get(tx) is actor:
                del node.actors[tx]
            store.end(tx)
        elif not isinstance(effect, c.Suspect):
            raise unknown_effect(effect, f"{type(actor.machine).__name__} asks for")
        if not isinstance(effect, _ANSWERING):
            return ""
        done = actor.done[-1]
        if isinstance(effect, c.ReadOutbox):
            seen = ", ".join(str(row[0]) for row in done.value)
            return f"row{'s' * (len(done.value) > 1)} {seen}" if seen else done.status
        # A step that only reads leaves no trace in a store, so that its refusal is noted as an observation.
        if done.status == "refused" and effect.steps and not writes(effect.operations):
            outputs.append(Output("refused", tx))
        return done.status


def _listed(machine: c.Machine, what: str, effects: object) -> list[c.Effect]:
    """The effects that a machine asks for, if it does so in a list."""
    if isinstance(effects, list | tuple):
        return [*effects]
    kind = "None" if effects is None else f"a {type(effects).__name__}"
    raise ProtocolViolation(f"{type(machine).__name__}: {what} gives {kind}, and not a list of effects")
