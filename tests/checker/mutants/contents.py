"""Defects of content: everything happens in the right order and under the right name, and what is done or told is something else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from simtx.protocols import Branch, Courier, Message, Prepare, Relay, Transact
from simtx.protocols.dual_write import DualWriteService
from simtx.protocols.outbox import OutboxService
from simtx.protocols.saga import DONE, UNKNOWN, Orchestrator
from simtx.protocols.saga_participant import Participant as SagaParticipant
from simtx.protocols.two_phase_coordinator import Coordinator
from simtx.protocols.two_phase_participant import Participant

from .catalogue import Commit2, Dual2, Mutant, Outbox2, Saga2
from .saga import UndoesAtOnce


def _half(operations: Any) -> Any:
    return operations[: len(operations) // 2]


class AnothersWork(Coordinator):
    """PREPARE carries the work of the next service, under the steps of the one that it goes to."""

    __slots__ = ()

    def begin(self, event: Any) -> Any:
        effects = super().begin(event)
        orders = [one for one in effects if isinstance(one, Message)]
        work = [one.body[0] for one in orders]
        turned = [
            replace(one, body=(other, one.body[1])) for one, other in zip(orders, work[1:] + work[:1], strict=True)
        ]
        return [*turned, *(one for one in effects if not isinstance(one, Message))]


class HalfTheWork(Coordinator):
    __slots__ = ()

    def begin(self, event: Any) -> Any:
        return [
            replace(one, body=(_half(one.body[0]), one.body[1])) if isinstance(one, Message) else one
            for one in super().begin(event)
        ]


class FirstStepOnly(Coordinator):
    """Of several steps on one service, PREPARE carries the work of the first and the names of all."""

    __slots__ = ()

    def begin(self, event: Any) -> Any:
        first: dict[str, Any] = {}
        for step in event.plan.steps:
            first.setdefault(step.service, step.operations)
        return [
            replace(one, body=(first[one.to], one.body[1])) if isinstance(one, Message) else one
            for one in super().begin(event)
        ]


class EverybodysWork(Coordinator):
    __slots__ = ()

    def begin(self, event: Any) -> Any:
        work = tuple(one for step in event.plan.steps for one in step.operations)
        return [
            replace(one, body=(work, one.body[1])) if isinstance(one, Message) else one for one in super().begin(event)
        ]


class OneOfEach(Participant):
    """Every change is a change by one."""

    __slots__ = ()

    def prepare(self, event: Any) -> Any:
        return [
            replace(one, operations=tuple(replace(o, amount=1) for o in one.operations))
            if isinstance(one, Prepare)
            else one
            for one in super().prepare(event)
        ]


class _Changed(SagaParticipant):
    """A participant whose local transactions are changed."""

    __slots__ = ()

    def _transaction(self, command: Any) -> Any:
        one = super()._transaction(command)
        return self._changed(one, command.body) if one.tag in ("action", "compensation") else one

    def _changed(self, one: Transact, step: Any) -> Transact:
        raise NotImplementedError


class ActsBackwards(_Changed):
    __slots__ = ()

    def _changed(self, one: Any, step: Any) -> Any:
        return replace(one, operations=step.compensation) if one.tag == "action" else one


class UndoesTwiceInOne(_Changed):
    __slots__ = ()

    def _changed(self, one: Any, step: Any) -> Any:
        return replace(one, operations=one.operations * 2) if one.compensation else one


class UndoesHalf(_Changed):
    __slots__ = ()

    def _changed(self, one: Any, step: Any) -> Any:
        return replace(one, operations=_half(one.operations)) if one.compensation else one


class NeverRefuses(_Changed):
    """Leaves out the operations that say no."""

    __slots__ = ()

    def _changed(self, one: Any, step: Any) -> Any:
        return replace(one, operations=tuple(o for o in one.operations if o.kind != "refuse"))


class SetsBack(_Changed):
    """A compensation that sets the values to what they were once, whatever others have done to them since."""

    __slots__ = ()

    def _changed(self, one: Any, step: Any) -> Any:
        if not one.compensation:
            return one
        return replace(one, operations=tuple(replace(o, kind="set", amount=0) for o in one.operations))


class WrongStep(Orchestrator):
    """Commands the step before once more in place of the next one, under the next one's index."""

    __slots__ = ()

    def _command(self, index: int) -> Any:
        order = super()._command(index)
        if not index:
            return order
        return replace(order, body=replace(order.body, operations=self.steps[index - 1].operations))


class UndoesFromTheFirst(Orchestrator):
    """Compensates step 0, then step 1, and so on."""

    __slots__ = ()

    def _compensate(self) -> Any:
        effects = super()._compensate()
        if self.state != "compensating":
            return effects
        for index, one in enumerate(self.status):
            if one > UNKNOWN:
                self.status[index] = DONE
        return [self._undo(next(i for i, one in enumerate(self.status) if one >= DONE)), self.saga.wait]

    def _precede(self, index: int, effects: Any) -> None:
        following = next((i for i, one in enumerate(self.status) if one in (DONE, UNKNOWN)), -1)
        if following >= 0:
            effects += [self._undo(following), self.saga.wait]


class RefusesAndCompletes(OutboxService):
    """A service that refuses its step commits the event of a chain that is done as well."""

    __slots__ = ()

    def _act(self) -> Any:
        (one,) = super()._act()
        if one.refused is None or not self.closing:
            return [one]
        refused = Branch(one.refused.value, (*one.refused.outbox, self._event("completed", 0)))
        return [replace(one, refused=refused)]


class CompletesEarly(OutboxService):
    """The first service says that the chain is done, beside the event that starts it."""

    __slots__ = ()

    def _onward(self) -> Any:
        events = super()._onward()
        return (*events, self._event("completed", 0)) if self.closing and not self.index else events


class AltersWhatItPublishes(Courier):
    """Counts the hops of its event anew."""

    __slots__ = ()

    def go(self, event: Any) -> Any:
        (one,) = super().go(event)
        return [replace(one, message=replace(one.message, body=one.message.body._replace(hops=1)))]


class AlteringRelay(Relay):
    __slots__ = ()
    courier_type = AltersWhatItPublishes


class HalfAChain(OutboxService):
    __slots__ = ()

    def _act(self) -> Any:
        (one,) = super()._act()
        return [replace(one, operations=_half(one.operations))] if self.index else [one]


class RefusesInWordsOnly(OutboxService):
    """Sends the chain back, and does its own step all the same."""

    __slots__ = ()

    def _act(self) -> Any:
        (one,) = super()._act()
        return [replace(one, accepted=one.refused)] if self.index and one.refused else [one]


class HalfADualWrite(DualWriteService):
    __slots__ = ()

    def handle(self, event: Any) -> Any:
        return [
            replace(one, operations=_half(one.operations)) if isinstance(one, Transact) and one.operations else one
            for one in super().handle(event)
        ]


_ONE = {"participants": 1}
MUTANTS = (
    Mutant(
        "anothers-work",
        "2PC: PREPARE carries the work of another service.",
        Commit2(coordinator=AnothersWork),
        "values",
        {},
    ),
    Mutant(
        "half-the-operations",
        "2PC: PREPARE carries half of the operations and names all steps.",
        Commit2(coordinator=HalfTheWork),
        "values",
        _ONE,
    ),
    Mutant(
        "first-step-only",
        "2PC: Of several steps on a service only the first is done.",
        Commit2(coordinator=FirstStepOnly),
        "values",
        {"revisit": True},
    ),
    Mutant(
        "everybodys-work", "2PC: Everybody does all of the work.", Commit2(coordinator=EverybodysWork), "values", {}
    ),
    Mutant("by-one", "2PC: Amounts are not what was asked for.", Commit2(participant=OneOfEach), "values", _ONE),
    Mutant(
        "acts-backwards",
        "Saga: An action runs the operations of its compensation.",
        Saga2(participant=ActsBackwards),
        "values",
        _ONE,
    ),
    Mutant(
        "undoes-twice-in-one",
        "Saga: The operations of a compensation stand twice in its local transaction.",
        Saga2(participant=UndoesTwiceInOne),
        "values",
        {},
    ),
    Mutant("undoes-half", "Saga: Half of a compensation.", Saga2(participant=UndoesHalf), "values", {}),
    Mutant(
        "never-refuses",
        "Saga: A business rule that says no is left out.",
        Saga2(participant=NeverRefuses),
        "values",
        _ONE,
    ),
    Mutant(
        "sets-back",
        "Saga: A compensation overwrites what others have changed.",
        Saga2(participant=SetsBack),
        "values",
        {"messages": 2, "contention": True},
    ),
    Mutant("wrong-step", "Saga: A command carries another step's work.", Saga2(orchestrator=WrongStep), "values", {}),
    Mutant(
        "undoes-at-once",
        "Saga: All compensations are sent at once.",
        Saga2(orchestrator=UndoesAtOnce),
        "undo-order",
        {"participants": 3},
    ),
    Mutant(
        "undoes-from-the-first",
        "Saga: Compensations are sent in the order of the actions.",
        Saga2(orchestrator=UndoesFromTheFirst),
        "undo-order",
        {"participants": 3},
    ),
    Mutant(
        "refuses-and-completes",
        "Outbox: A service that refuses commits `completed`, too.",
        Outbox2(service=RefusesAndCompletes, closing=True),
        "no-ghost",
        _ONE,
        correct=Outbox2(closing=True),
    ),
    Mutant(
        "completes-early",
        "Outbox: `completed` is committed with the first step.",
        Outbox2(service=CompletesEarly, closing=True),
        "no-ghost",
        {},
        correct=Outbox2(closing=True),
    ),
    Mutant(
        "alters-what-it-publishes",
        "Outbox: The relay publishes something else than what was committed.",
        Outbox2(relay=AlteringRelay),
        "no-ghost",
        {},
    ),
    Mutant("half-a-chain", "Outbox: Half of a step's operations.", Outbox2(service=HalfAChain), "values", {}),
    Mutant(
        "refuses-in-words-only",
        "Outbox: The chain is sent back by a step that was done.",
        Outbox2(service=RefusesInWordsOnly),
        "no-ghost",
        {},
    ),
    Mutant("half-a-dual-write", "Dual write: Half of the operations.", Dual2(service=HalfADualWrite), "values", _ONE),
)
