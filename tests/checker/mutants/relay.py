"""Defects of the relay of a transactional outbox."""

from __future__ import annotations

from typing import Any

from simtx.protocols import Courier, Done, MarkOutbox, Poller, Relay
from simtx.protocols.relay import Tell

from .catalogue import Mutant, Outbox2
from .outbox import Chatty


class MarksFirst(Courier):
    """Marks its row, then publishes."""

    __slots__ = ()

    def go(self, event: Any) -> Any:
        return [MarkOutbox((self.number,)), *super().go(event)]


class MarksAtOnce(Courier):
    """Marks its row when it is published, and does not wait for the broker's ack."""

    __slots__ = ()

    def go(self, event: Any) -> Any:
        return [*super().go(event), MarkOutbox((self.number,))]


class MarksAnyway(Courier):
    """Takes a failed publication for a good one."""

    __slots__ = ()

    def published(self, event: Any) -> Any:
        return super().published(Done(event.kind, "done"))


class DropsHeld(Courier):
    """Never comes back to a publication that failed."""

    __slots__ = ()

    def published(self, event: Any) -> Any:
        return super().published(event) if event.status == "done" else []


class BelongsToNobody(Courier):
    """Says that its row belongs to a transaction of its own, so that it goes side by side with the others."""

    __slots__ = ()

    def __init__(self, node: str, row: Any) -> None:
        super().__init__(node, row)
        self.tx = self.number


class Stops(Poller):
    """Does not set its timer again."""

    __slots__ = ()

    def poll(self, event: Any) -> Any:
        return super().poll(event)[1:]


class TellsNobody(Poller):
    """Does not tell the couriers that its back-off is over."""

    __slots__ = ()

    def again(self, event: Any) -> Any:
        return [one for one in super().again(event) if not isinstance(one, Tell)]


class MarksFirstRelay(Relay):
    __slots__ = ()
    courier_type = MarksFirst


class MarksAtOnceRelay(Relay):
    __slots__ = ()
    courier_type = MarksAtOnce


class MarksAnywayRelay(Relay):
    __slots__ = ()
    courier_type = MarksAnyway


class DropsHeldRelay(Relay):
    __slots__ = ()
    courier_type = DropsHeld


class SideBySideRelay(Relay):
    __slots__ = ()
    courier_type = BelongsToNobody


class StopsRelay(Relay):
    __slots__ = ()
    poller_type = Stops


class TellsNobodyRelay(Relay):
    __slots__ = ()
    poller_type = TellsNobody


class MarksBatch(Relay):
    """Marks all that it has read of a transaction once the first ack is there."""

    __slots__ = ()

    def published(self, event: Any) -> Any:
        if event.status != "done":
            return super().published(event)
        chain = self.couriers.pop(int(event.kind.partition(":")[2]), ())
        return [MarkOutbox(tuple(one.number for one in chain))]


class LosesTheChain(Relay):
    """Drops the rows behind the one that was acknowledged: it thinks that they are on their way."""

    __slots__ = ("taken",)

    def __init__(self, node: str, policies: Any) -> None:
        super().__init__(node, policies)
        self.taken: tuple[int, ...] = ()

    def publish(self, event: Any) -> Any:
        new = tuple(row for row in event.value or () if row[0] not in self.taken)
        self.taken = (*self.taken, *(row[0] for row in new))
        return super().publish(Done(event.kind, event.status, new))

    def published(self, event: Any) -> Any:
        tx = int(event.kind.partition(":")[2])
        if event.status == "done" and tx in self.couriers:
            self.couriers[tx] = self.couriers[tx][:1]
        return super().published(event)


MUTANTS = (
    Mutant(
        "mark-before-publish",
        "The relay marks before it publishes.",
        Outbox2(relay=MarksFirstRelay),
        "no-loss",
        {"participants": 2, "crashes": 1},
    ),
    Mutant(
        "mark-without-ack",
        "The relay marks without waiting for the broker's ack.",
        Outbox2(relay=MarksAtOnceRelay),
        "no-loss",
        {"participants": 2, "crashes": 1},
    ),
    Mutant(
        "mark-after-failure",
        "The relay takes a failed publication for a good one.",
        Outbox2(relay=MarksAnywayRelay),
        "no-loss",
        {"participants": 2, "losses": 1},
    ),
    Mutant(
        "failed-row-dropped",
        "The relay never comes back to a publication that failed.",
        Outbox2(relay=DropsHeldRelay),
        "no-loss",
        {"participants": 2, "losses": 1},
    ),
    Mutant(
        "no-wait-for-ack",
        "The relay publishes a transaction's rows side by side.",
        Outbox2(relay=SideBySideRelay, service=Chatty),
        "order",
        {"participants": 2},
        Outbox2(service=Chatty),
    ),
    Mutant(
        "relay-stops",
        "The relay does not set its timer again.",
        Outbox2(relay=StopsRelay),
        "non-blocking",
        {"participants": 2},
    ),
    Mutant(
        "marks-the-batch",
        "The relay marks all rows of a transaction upon the first ack.",
        Outbox2(relay=MarksBatch, service=Chatty),
        "no-loss",
        {"participants": 2},
        Outbox2(service=Chatty),
    ),
    Mutant(
        "poller-tells-nobody",
        "The relay's back-off ends, and what has failed is not published again.",
        Outbox2(relay=TellsNobodyRelay),
        "no-loss",
        {"participants": 2, "losses": 1},
    ),
    Mutant(
        "rows-behind-lost",
        "The relay drops the rows behind the one that is acknowledged, and never takes them up again.",
        Outbox2(relay=LosesTheChain, service=Chatty),
        "no-loss",
        {"participants": 2},
        Outbox2(service=Chatty),
    ),
)
