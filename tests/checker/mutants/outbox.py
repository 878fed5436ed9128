"""Defects of the services of a transactional outbox, as producers and as consumers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from simtx.protocols import Acknowledge, Answer, Append, Branch, Forget, Outbox, Publish, Transact, Transition
from simtx.protocols.choreography import FROM_CLIENT
from simtx.protocols.outbox import OutboxService

from .catalogue import Mutant, Outbox2


class AcksFirst(OutboxService):
    __slots__ = ()

    def _take(self, delivery: Any, *, undoing: bool) -> Any:
        return [Acknowledge(delivery.id), *super()._take(delivery, undoing=undoing)]


class NoInbox(OutboxService):
    __slots__ = ()

    def _act(self) -> Any:
        (one,) = super()._act()
        return [Transact(one.tag, one.operations, None, one.accepted, one.refused, None, "done", one.steps)]


class EventApart(OutboxService):
    """Effect and outgoing event in two local transactions."""

    __slots__ = ()
    transitions = (*OutboxService.transitions, Transition("acting", "event", "_told", ("finished",)))

    def _act(self) -> Any:
        (one,) = super()._act()
        return [Transact(one.tag, one.operations, one.key, Branch("done"), one.refused, None, "done", one.steps)]

    def acted(self, done: Any) -> Any:
        if done.status != "done":
            return super().acted(done)
        return [Transact("event", (), None, Branch(None, self._onward()))]

    def _told(self, done: Any) -> Any:
        return self._conclude("done")


class RowLast(OutboxService):
    """Effect first, inbox row in a local transaction of its own."""

    __slots__ = ()
    transitions = (*OutboxService.transitions, Transition("acting", "row", "_rowed", ("finished",)))

    def _act(self) -> Any:
        (one,) = super()._act()
        return [Transact(one.tag, one.operations, None, one.accepted, one.refused, None, "done", one.steps)]

    def acted(self, done: Any) -> Any:
        if done.status != "done":
            return super().acted(done)
        return [Transact("row", (), (self.tx, self.index, "action"), Branch("done"))]

    def _rowed(self, done: Any) -> Any:
        return self._conclude("done")


class FirstStepWithoutRow(OutboxService):
    """The step that the client's request runs has no row: hosts were trusted to bring the request once."""

    __slots__ = ()

    def _act(self) -> Any:
        (one,) = super()._act()
        return [one if self.index else replace(one, key=None)]


class GivesUpUnstored(OutboxService):
    """Refuses a request that could not be worked on, without a row that says so."""

    __slots__ = ()

    def again(self, timer: Any) -> Any:
        given_up = self.origin == FROM_CLIENT and self.attempt >= self.policies.attempts
        return self._conclude("refused") if given_up else super().again(timer)


class RowFirst(OutboxService):
    """Inbox row first, in a local transaction of its own, then the effect."""

    __slots__ = ()
    transitions = (*OutboxService.transitions, Transition("acting", "row", "_rowed", ("acting", "finished")))

    def _act(self) -> Any:
        self.state = "acting"
        return [Transact("row", (), (self.tx, self.index, "action"), Branch("done"))]

    def _rowed(self, done: Any) -> Any:
        if done.status == "duplicate":
            return self._conclude(done.value)
        (one,) = super()._act()
        return [replace(one, key=None)]


class PublishesPastCommit(OutboxService):
    """Stores the effect and no event; the event goes straight to the broker afterwards."""

    __slots__ = ()
    transitions = (*OutboxService.transitions, Transition("acting", "told", "_told", ("finished",)))

    def _act(self) -> Any:
        (one,) = super()._act()
        return [replace(one, accepted=Branch("done"))]

    def acted(self, done: Any) -> Any:
        events = self._onward() if done.status == "done" else ()
        return [Publish("told", events[0])] if events else super().acted(done)

    def _told(self, done: Any) -> Any:
        return self._conclude("done")


class EventBeforeCommit(OutboxService):
    """The outgoing event is committed before the effect, which may still be refused."""

    __slots__ = ()
    transitions = (*OutboxService.transitions, Transition("acting", "event", "_told", ("acting",)))

    def _act(self) -> Any:
        self.state = "acting"
        return [Transact("event", (), (self.tx, self.index, "event"), Branch("done", self._onward()))]

    def _told(self, done: Any) -> Any:
        (one,) = super()._act()
        return [replace(one, accepted=Branch("done"))]


class RefusalApart(OutboxService):
    """A refusal is stored without its event, which follows in a local transaction of its own."""

    __slots__ = ()
    transitions = (*OutboxService.transitions, Transition("acting", "event", "_told", ("finished",)))

    def _act(self) -> Any:
        (one,) = super()._act()
        return [replace(one, refused=Branch("refused"))]

    def acted(self, done: Any) -> Any:
        if done.status != "refused":
            return super().acted(done)
        return [Transact("event", (), None, Branch(None, self._back()))]

    def _told(self, done: Any) -> Any:
        return self._conclude("refused")


class StopsUndoing(OutboxService):
    """A compensation does not tell the step before."""

    __slots__ = ()

    def _back(self) -> Any:
        return () if self.undoing else super()._back()


class FailureIsRefusal(OutboxService):
    """Takes a transient failure for a refusal, and acknowledges."""

    __slots__ = ()

    def acted(self, done: Any) -> Any:
        return self._conclude("refused") if done.status == "failed" else super().acted(done)


class AcksWhatWaits(OutboxService):
    """Acknowledges an event when its local transaction has failed, and repeats from memory."""

    __slots__ = ()

    def _back_off(self) -> Any:
        effects = super()._back_off()
        origin, self.origin = self.origin, -2
        return [*effects, *([Acknowledge(origin)] if origin >= 0 else [])]


class SilentRefusal(OutboxService):
    """A refusal is stored, and nobody is told."""

    __slots__ = ()

    def _back(self) -> Any:
        return () if not self.undoing else super()._back()


class BlindCompensation(OutboxService):
    __slots__ = ()

    def _undo(self) -> Any:
        (one,) = super()._undo()
        return [Transact(one.tag, one.operations, None, one.accepted, None, None, "done", one.steps, True)]


class AnswersFirst(OutboxService):
    """Tells the client "accepted" before anything is durable."""

    __slots__ = ()

    def begin(self, request: Any) -> Any:
        return [Answer("accepted"), *super().begin(request)]


class NeverAcknowledges(OutboxService):
    __slots__ = ()

    def _conclude(self, verdict: Any) -> Any:
        return [one for one in super()._conclude(verdict) if not isinstance(one, Acknowledge)]


class Chatty(OutboxService):
    """Sound: a step commits two events to the next service, of which the second is only taken note of."""

    __slots__ = ()
    transitions = (
        *OutboxService.transitions,
        *(replace(row, event="noted") for row in OutboxService.transitions if row.event == "completed"),
    )

    def _onward(self) -> Any:
        events = super()._onward()
        return (*events, self._event("noted", self.index + 1)) if events else ()


class OneRow(OutboxService):
    """Knows an event by its transaction, as if every service had one step."""

    __slots__ = ()

    def _act(self) -> Any:
        (one,) = super()._act()
        return [replace(one, key=(self.tx, "action"))]

    def _undo(self) -> Any:
        (one,) = super()._undo()
        return [replace(one, key=(self.tx, "compensation"), undoes=(self.tx, "action"))]


class ParksLazily(OutboxService):
    """Records lazily what waits for an operator, and acknowledges."""

    __slots__ = ()

    def _park(self, reason: str) -> Any:
        return [replace(one, forced=False) if isinstance(one, Append) else one for one in super()._park(reason)]


class ParksInMemory(OutboxService):
    """Comes back from a crash without what waits for an operator."""

    __slots__ = ()

    def recover(self, records: Any) -> Any:
        super().recover(records)
        return [Forget()]


MUTANTS = (
    Mutant(
        "ack-before-commit-at-consumer",
        "A consumer acknowledges before it commits.",
        Outbox2(service=AcksFirst),
        "atomicity",
        {"participants": 2, "crashes": 1},
    ),
    Mutant(
        "consumer-without-inbox",
        "A consumer does the work of a copy again.",
        Outbox2(service=NoInbox),
        "effect-once",
        {"participants": 2, "duplicates": 1},
    ),
    Mutant(
        "short-deduplication",
        "Idempotency rows are pruned while copies may still arrive.",
        Outbox(),
        "effect-once",
        {"participants": 2, "duplicates": 1, "retained": 0},
    ),
    Mutant(
        "event-apart",
        "Effect and event are two local transactions.",
        Outbox2(service=EventApart),
        "atomicity",
        {"participants": 2, "crashes": 1},
    ),
    Mutant(
        "row-apart",
        "Effect and inbox row are two local transactions.",
        Outbox2(service=RowLast),
        "effect-once",
        {"participants": 2, "crashes": 1},
    ),
    Mutant(
        "silent-refusal",
        "A refusal is stored, and nobody is told.",
        Outbox2(service=SilentRefusal),
        "atomicity",
        {"participants": 2},
    ),
    Mutant(
        "blind-compensation-of-event",
        "A compensation has neither an inbox row nor a look at its action.",
        Outbox2(service=BlindCompensation),
        "effect-once",
        {"participants": 2, "duplicates": 1},
    ),
    Mutant(
        "accepted-too-early",
        "The client is told 'accepted' before anything is durable.",
        Outbox2(service=AnswersFirst),
        "truth",
        {"participants": 1, "crashes": 1, "refusals": False},
    ),
    Mutant(
        "never-acknowledges",
        "A consumer never acknowledges.",
        Outbox2(service=NeverAcknowledges),
        "non-blocking",
        {"participants": 2},
    ),
    Mutant(
        "row-apart-and-first",
        "Inbox row and effect are two local transactions, the row first.",
        Outbox2(service=RowFirst),
        "atomicity",
        {"participants": 2, "crashes": 1},
    ),
    Mutant(
        "publishes-past-the-outbox",
        "A service commits, and then hands its event to the broker itself.",
        Outbox2(service=PublishesPastCommit),
        "atomicity",
        {"participants": 2, "crashes": 1},
    ),
    Mutant(
        "event-before-effect",
        "The event is committed before the effect, which may then be refused.",
        Outbox2(service=EventBeforeCommit),
        "no-ghost",
        {"participants": 2},
    ),
    Mutant(
        "refusal-apart",
        "A refusal and the event that tells of it are two local transactions.",
        Outbox2(service=RefusalApart),
        "atomicity",
        {"participants": 2, "crashes": 1},
    ),
    Mutant(
        "compensation-tells-nobody",
        "A compensated step does not send the event to the step before.",
        Outbox2(service=StopsUndoing),
        "atomicity",
        {"participants": 3},
    ),
    Mutant(
        "failed-is-refused",
        "A consumer takes a transient failure for a refusal, and acknowledges.",
        Outbox2(service=FailureIsRefusal),
        "atomicity",
        {"participants": 2, "failures": 1},
    ),
    Mutant(
        "ack-and-repeat-from-memory",
        "A consumer acknowledges an event whose local transaction has failed, and repeats it from memory.",
        Outbox2(service=AcksWhatWaits),
        "atomicity",
        {"participants": 2, "failures": 1, "crashes": 1},
    ),
    Mutant(
        "inbox-row-without-step",
        "The inbox row names the transaction and not the step, so that a service's second step passes for a copy.",
        Outbox2(service=OneRow),
        "durable-votes",
        {"participants": 2, "revisit": True},
    ),
    Mutant(
        "lazy-parking",
        "An event that waits for an operator is acknowledged before it is durable that it waits.",
        Outbox2(service=ParksLazily),
        "parked",
        {"participants": 2, "pivot": 0, "unruly": True, "crashes": 1},
    ),
    Mutant(
        "parked-in-memory",
        "A restarted service does not know any more what waits for an operator.",
        Outbox2(service=ParksInMemory),
        "parked",
        {"participants": 2, "pivot": 0, "unruly": True, "crashes": 1},
    ),
    Mutant(
        "first-step-without-row",
        "The step that the client's request runs has no idempotency row.",
        Outbox2(service=FirstStepWithoutRow),
        "effect-once",
        {"participants": 1, "repeats": 1},
    ),
    Mutant(
        "given-up-unstored",
        "A request that could not be worked on is refused without a row that says so, and a request that comes again starts it.",
        Outbox2(service=GivesUpUnstored),
        "truth",
        {"participants": 1, "failures": 1, "repeats": 1},
    ),
)
