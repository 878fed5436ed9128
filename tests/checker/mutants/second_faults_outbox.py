"""Defects of the second attempt, of the outbox: what was made good once is not made good again. Most take two faults, and some three."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from simtx.protocols import (
    Acknowledge,
    Courier,
    Delivery,
    Done,
    MarkOutbox,
    Outbox,
    Poller,
    Relay,
    SetTimer,
    Timer,
)
from simtx.protocols.outbox import OutboxService

from .catalogue import Mutant, Outbox2
from .outbox import Chatty


class RetriesOnce(Poller):
    """Takes its back-off for still running when it is over."""

    __slots__ = ()

    def again(self, event: Any) -> Any:
        effects = super().again(event)
        self.backing_off = True
        return effects


class RetriesOnceRelay(Relay):
    __slots__ = ()
    poller_type = RetriesOnce


class PutsBehind(Relay):
    """Puts a row whose publication has failed behind the others of its transaction."""

    __slots__ = ()

    def published(self, event: Any) -> Any:
        tx = int(event.kind.partition(":")[2])
        first, *behind = self.couriers[tx]
        if event.status == "done" or not behind:
            return super().published(event)
        first.state = "queued"
        self.couriers[tx] = (*behind, first)
        effects: list[Any] = []
        self._to_courier(tx, Timer("go"), effects)
        return effects


class PutsBehindSecond(PutsBehind):
    """Puts a row whose publication has failed twice behind the others."""

    __slots__ = ()

    def published(self, event: Any) -> Any:
        return super().published(event) if self.poller.rounds else Relay.published(self, event)


class DropsSecond(Courier):
    """Marks a row whose publication has failed twice."""

    __slots__ = ("failed",)

    def __init__(self, node: str, row: Any) -> None:
        super().__init__(node, row)
        self.failed = False

    def published(self, event: Any) -> Any:
        failed, self.failed = self.failed, event.status != "done"
        return super().published(Done(event.kind, "done") if failed else event)


class DropsSecondRelay(Relay):
    __slots__ = ()
    courier_type = DropsSecond


class MarksUpTo(Courier):
    """Marks everything up to the acknowledged row, whatever transaction it is of."""

    __slots__ = ()

    def published(self, event: Any) -> Any:
        return [
            MarkOutbox(tuple(range(one.ids[0] + 1))) if isinstance(one, MarkOutbox) else one
            for one in super().published(event)
        ]


class MarksUpToRelay(Relay):
    __slots__ = ()
    courier_type = MarksUpTo


class SecondFailureIsRefusal(OutboxService):
    """Takes a second transient failure for a refusal, and acknowledges."""

    __slots__ = ()

    def acted(self, done: Any) -> Any:
        return self._conclude("refused") if self.attempt and done.status == "failed" else super().acted(done)


class SecondFailureIsUndone(OutboxService):
    """Takes a compensation that has failed twice for done."""

    __slots__ = ()

    def undone(self, done: Any) -> Any:
        return super().undone(replace(done, status="done") if self.attempt and done.status == "failed" else done)


class BacksOffOnce(OutboxService):
    """Sets its timer after the first failure only."""

    __slots__ = ()

    def _back_off(self) -> Any:
        effects = super()._back_off()
        return [one for one in effects if not isinstance(one, SetTimer)] if self.attempt > 1 else effects


class AcksWhileWaiting(OutboxService):
    """Acknowledges a copy of what it is about to repeat."""

    __slots__ = ()

    def later(self, event: Any) -> Any:
        return [Acknowledge(event.id)] if isinstance(event, Delivery) else []


MUTANTS = (
    Mutant(
        "relay-retries-once",
        "The relay publishes again what has failed once, and never what has failed again.",
        Outbox2(relay=RetriesOnceRelay),
        "no-loss",
        {"participants": 2, "losses": 2},
    ),
    Mutant(
        "failed-row-put-behind",
        "The relay puts a row whose publication has failed behind the others of its transaction.",
        Outbox2(relay=PutsBehind, service=Chatty),
        "order",
        {"participants": 2, "losses": 1},
        Outbox2(service=Chatty),
    ),
    Mutant(
        "row-put-behind-at-the-second-failure",
        "The relay puts a row whose publication has failed twice behind the others of its transaction.",
        Outbox2(relay=PutsBehindSecond, service=Chatty),
        "order",
        {"participants": 2, "losses": 2},
        Outbox2(service=Chatty),
    ),
    Mutant(
        "row-dropped-at-the-second-failure",
        "The relay marks a row whose publication has failed twice.",
        Outbox2(relay=DropsSecondRelay),
        "no-loss",
        {"participants": 2, "losses": 2},
    ),
    Mutant(
        "marks-up-to-the-ack",
        "The relay marks all rows up to the acknowledged one, those of other transactions that are still on their way included.",
        Outbox2(relay=MarksUpToRelay),
        "no-loss",
        {"participants": 2, "messages": 2, "crashes": 1, "refusals": False},
    ),
    Mutant(
        "second-failure-is-refusal",
        "A consumer takes a second transient failure for a refusal, and acknowledges.",
        Outbox2(service=SecondFailureIsRefusal),
        "atomicity",
        {"participants": 2, "failures": 2},
    ),
    Mutant(
        "second-failure-is-undone",
        "A compensation that has failed twice is taken for done.",
        Outbox2(service=SecondFailureIsUndone),
        "atomicity",
        {"participants": 2, "failures": 2},
    ),
    Mutant(
        "backs-off-once",
        "The timer of a repetition is set after the first failure only.",
        Outbox2(service=BacksOffOnce),
        "non-blocking",
        {"participants": 1, "failures": 2},
    ),
    Mutant(
        "copy-acknowledged-while-waiting",
        "A consumer whose local transaction has failed acknowledges when the event comes again, before it has repeated it.",
        Outbox2(service=AcksWhileWaiting),
        "atomicity",
        {"participants": 2, "failures": 1, "crashes": 1},
    ),
    Mutant(
        "last-event-only",
        "A consumer recognises a copy of the last event that it has worked on, and of no other.",
        Outbox(),
        "effect-once",
        {"participants": 2, "messages": 2, "duplicates": 1, "refusals": False, "retained": 1},
    ),
)
