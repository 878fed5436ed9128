"""Defects of the relay of a transactional outbox."""

from __future__ import annotations

from typing import Any

from simtx.protocols import Done, MarkOutbox, Publish, Relay

from .catalogue import Mutant, Outbox2
from .outbox import Chatty


class MarksFirst(Relay):
    __slots__ = ()

    def publish(self, event: Any) -> Any:
        rows = {row[1]: row[0] for row in event.value or ()}
        effects: list[Any] = []
        for one in super().publish(event):
            effects += [MarkOutbox((rows[one.message],)), one] if isinstance(one, Publish) else [one]
        return effects


class MarksAtOnce(Relay):
    """Marks a row when it is published, and does not wait for the broker's ack."""

    __slots__ = ()

    def publish(self, event: Any) -> Any:
        rows = {row[1]: row[0] for row in event.value or ()}
        effects: list[Any] = []
        for one in super().publish(event):
            effects += [one, MarkOutbox((rows[one.message],))] if isinstance(one, Publish) else [one]
        return effects


class MarksAnyway(Relay):
    """Takes a failed publication for a good one."""

    __slots__ = ()

    def published(self, event: Any) -> Any:
        return super().published(Done(event.kind, "done"))


class DropsHeld(Relay):
    """Never comes back to a publication that failed."""

    __slots__ = ()

    def published(self, event: Any) -> Any:
        return super().published(event) if event.status == "done" else []


class DoesNotWait(Relay):
    """Publishes the rows of a transaction side by side."""

    __slots__ = ()

    def publish(self, event: Any) -> Any:
        effects: list[Any] = []
        for row in event.value or ():
            if row[0] not in self.known:
                self.known.add(row[0])
                effects.append(Publish(f"published:{row[0]}", row[1]))
        return effects

    def published(self, event: Any) -> Any:
        row = int(event.kind.partition(":")[2])
        self.known.discard(row)
        return [MarkOutbox((row,))] if event.status == "done" else []


class Stops(Relay):
    """Does not set its timer again."""

    __slots__ = ()

    def poll(self, event: Any) -> Any:
        return super().poll(event)[1:]


class MarksBatch(Relay):
    """Marks all that it has read once the first ack of a transaction is there."""

    __slots__ = ()

    def published(self, event: Any) -> Any:
        if event.status != "done":
            return super().published(event)
        rows = self.flying.pop(int(event.kind.partition(":")[2]), ())
        self.known.difference_update(row[0] for row in rows)
        return [MarkOutbox(tuple(row[0] for row in rows))]


MUTANTS = (
    Mutant(
        "mark-before-publish",
        "The relay marks before it publishes.",
        Outbox2(relay=MarksFirst),
        "no-loss",
        {"participants": 2, "crashes": 1},
    ),
    Mutant(
        "mark-without-ack",
        "The relay marks without waiting for the broker's ack.",
        Outbox2(relay=MarksAtOnce),
        "no-loss",
        {"participants": 2, "crashes": 1},
    ),
    Mutant(
        "mark-after-failure",
        "The relay takes a failed publication for a good one.",
        Outbox2(relay=MarksAnyway),
        "no-loss",
        {"participants": 2, "losses": 1},
    ),
    Mutant(
        "failed-row-dropped",
        "The relay never comes back to a publication that failed.",
        Outbox2(relay=DropsHeld),
        "no-loss",
        {"participants": 2, "losses": 1},
    ),
    Mutant(
        "no-wait-for-ack",
        "The relay publishes a transaction's rows side by side.",
        Outbox2(relay=DoesNotWait, service=Chatty),
        "order",
        {"participants": 2},
        Outbox2(service=Chatty),
    ),
    Mutant(
        "relay-stops",
        "The relay does not set its timer again.",
        Outbox2(relay=Stops),
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
)
