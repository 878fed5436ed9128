"""The protocol model without its boldest reduction: every effect of every program is a step of its own.

Between two effects of one machine anything may happen: another machine of the node plays effects of its own, messages arrive elsewhere,
timers fire, the node crashes. A machine in the middle of its program hears nothing, as in the contract. Recoveries are as in the model,
with crash points behind each effect. The first effect of a client's request comes with it: a request is not lost, here as in the model.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any

from simtx.checker.protocols.layout import CRASH, ENDED, HALTED, MASK, REPEAT, REQUESTS, TIMEOUT, State
from simtx.checker.protocols.local import RUNS, UNDER_WAY, FrozenMachine, Locals, LocalState, Reaction
from simtx.checker.protocols.local_store import Output, Store, _collected
from simtx.checker.protocols.program import Node, Play, RunningMachine
from simtx.checker.protocols.protocol import ProtocolModel
from simtx.checker.protocols.reactions import Action
from simtx.checker.protocols.scope import Scope
from simtx.protocols import Request, Strategy, Transact


class StepwiseLocals(Locals):
    """Local states in which a machine's program may be half done: `running` then holds the effects and answers that are left."""

    def freeze(self, node: Node) -> int:
        actors = tuple(
            FrozenMachine(tx, self.machine(actor.machine), tuple(sorted(actor.timers)), left(actor))
            for tx, actor in sorted(node.actors.items())
        )
        state = LocalState(node.name, node.up, actors, node.store.freeze(ordered_rows=self.retained is not None))
        return self.states.number(state, state)

    def thaw(self, number: int) -> Node:
        name, up, actors, store = self.states.values[number]
        thawed: dict[int, RunningMachine] = {}
        for tx, machine, timers, running, _ in actors:
            pending, done = running or ((), ())
            actor = RunningMachine(
                self.machines.values[machine].clone(), dict.fromkeys(timers), list(done), running=list(pending)
            )
            thawed[tx] = actor
        return Node(name, up, thawed, Store.thaw(store))

    def calm(self, number: int) -> int:
        return number

    def _compute(self, number: int, event: Any, play: Play) -> Iterator[Reaction]:
        if event[0] in ("crash", "restart"):
            yield from super()._compute(number, event, play)
            return
        at_once = next(super()._compute(number, event, Play())) if event[0] == "event" else None
        if at_once is not None and at_once.local == number and not at_once.outputs:
            yield at_once  # such as a poll that finds nothing
            return
        node = self.thaw(number)
        tx = event[1]
        try:
            if event[0] == "event":
                actor = self.player.addressee(node, tx, event[2])
                actor.running = list(self.player.handle(actor, event[2], play))
            else:
                actor = node.actors[tx]
            if event[0] == "continue" or isinstance(event[2], Request):
                effect = actor.running.pop(0)
                status = self.player.effect(node, tx, actor, effect, play)
                play.program.append((effect, status))
            while not actor.running and actor.done and node.actors.get(tx) is actor:
                actor.running = self.player.handle(actor, actor.done.pop(0), play)
            if not actor.running:
                self.player.end(node, tx, actor)
        except Exception as error:  # noqa: BLE001 - as in Locals
            yield Reaction(number, (Output("fault", f"{type(error).__name__}: {error}"),), RUNS, tuple(play.program))
            return
        yield Reaction(self.freeze(node), tuple(play.outputs), RUNS, tuple(play.program))
        if self.overtakes and play.program:
            yield from self._under_way(number, event, play.program[0][0])

    def _under_way(self, number: int, event: Any, effect: Any) -> Iterator[Reaction]:
        """The same, but that a local transaction numbers its outbox rows in this step, and does all else in a later one."""
        node = self.thaw(number)
        tx = event[1]
        if not isinstance(effect, Transact) or not effect.outbox_rows() or tx in node.store.under_way:
            return
        if event[0] == "event":
            actor = self.player.addressee(node, tx, event[2])
            actor.running = list(self.player.handle(actor, event[2], Play()))
        if node.store.begin(tx, effect):
            yield Reaction(self.freeze(node), (), UNDER_WAY, ())


def left(actor: RunningMachine) -> Any:
    """What is left of a machine's program: nothing (False), or its effects and the answers that it has not handled.

    In a recovery, which runs in one go, only the store matters, for the crashes that may come between its effects.
    """
    if actor.running is True:
        return ((), ())
    return (tuple(actor.running), tuple(actor.done)) if actor.running else False


class InterleavedModel(ProtocolModel):
    """The model in which each effect is a step."""

    def __init__(self, strategy: Strategy, scope: Scope) -> None:
        super().__init__(strategy, scope, fused=False)
        self.locals = StepwiseLocals(
            self.strategy,
            scope.retained,
            serializable=scope.isolation == "serializable",
            overtakes=scope.overtakes > 0,
        )
        self.reactions.locals = self.locals
        self.judge.locals = self.locals

    def successors(self, state: State) -> Iterator[tuple[Action, State]]:
        nodes, net, broker, seen, budget, rest = state
        if rest & (ENDED | HALTED):
            return
        busy = False
        for step in self._arrivals(state):
            busy = True
            yield step
        if rest & REQUESTS:
            busy = True
            yield from self._asked(state)
        if budget & REPEAT * MASK:
            yield from self._asked(state, again=True)
        for node, local in enumerate(nodes):
            if not self._up(local):
                busy = True
                yield from self._react(state, Action("restart", node, ("restart",)))
                continue
            for tx in self._running(local):
                busy = True
                yield from self._react(state, Action("continue", node, ("continue", tx)))
            for _, event, free in self._set_timers(local):
                if free:
                    busy = True
                    yield from self._react(state, Action("timer", node, event))
        if busy and budget & TIMEOUT * MASK:
            cheaper = (nodes, net, broker, seen, budget - TIMEOUT, rest)
            for node, local in enumerate(nodes):
                for _, event, free in self._set_timers(local):
                    if not free:
                        yield from self._react(cheaper, Action("timer", node, event))
        if budget & CRASH * MASK:
            cheaper = (nodes, net, broker, seen, budget - CRASH, rest)
            for node, local in enumerate(nodes):
                if self._up(local):
                    yield from self._react(cheaper, Action("crash", node, ("crash",)))
        if not busy:
            yield from self._time_passes(state)


def content(model: ProtocolModel, state: State) -> Hashable:
    """A state in which nothing more can happen, without the numbers that differ from model to model.

    Nor with what is left of the budgets (a timer that has fired in vain, because the node crashed before the first effect, is spent here,
    and has not fired there), nor with what of a log, of marks of an outbox and of rollbacks is durable by now, and how records of
    different transactions are mixed: two programs that take turns may do this in other ways than one after the other, and nobody can
    tell but a later crash, whose ends are among those compared.
    """
    nodes, net, broker, seen, _, _ = state
    locals_ = model.locals
    machines = {number: key for key, number in locals_.machines.numbers.items()}
    told = []
    for local in nodes:
        name, up, actors, frozen = locals_.states.values[local]
        store = Store.thaw(frozen)
        flushed = _collected([(tx, record, True) for tx, record, _ in store.log])
        log = tuple((tx, record) for tx, record, _ in sorted(flushed, key=lambda entry: entry[0]))
        store.log.clear()
        store.rolled_back.clear()
        store.marks.clear()
        actor = tuple((tx, machines[machine], timers) for tx, machine, timers, *_ in actors)
        told.append((name, up, actor, log, store.freeze(ordered_rows=False)))
    queues = tuple((node, tx, count, len(entries)) for node, tx, count, entries in broker)
    return tuple(told), tuple(model.items[one] for one in net), queues, model.observations[seen]
