"""The broker in the checker: for each consumer and transaction a queue whose head is delivered until it is acknowledged.

A broker is a tuple of queues ``(consumer, transaction, number of messages so far, entries)``, sorted; an entry is ``(id, item, delivered)``.
All functions are pure.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

Entry: TypeAlias = tuple[int, int, bool]
Queue: TypeAlias = tuple[int, int, int, tuple[Entry, ...]]
Broker: TypeAlias = tuple[Queue, ...]

_STRIDE = 64


class Head(NamedTuple):
    """The message that a queue would deliver next.

    Attributes:
        consumer: Index of the node.
        tx: The transaction.
        id: The delivery's id, unique at this consumer.
        item: Number of the message.
        delivered: Whether it was delivered before and is not acknowledged.
    """

    consumer: int
    tx: int
    id: int
    item: int
    delivered: bool


def store(broker: Broker, consumer: int, tx: int, item: int) -> Broker:
    """Append a message to its queue."""
    queues = {queue[:2]: queue for queue in broker}
    _, _, count, entries = queues.get((consumer, tx), (consumer, tx, 0, ()))
    queues[consumer, tx] = (consumer, tx, count + 1, (*entries, (tx * _STRIDE + count, item, False)))
    return tuple(sorted(queues.values()))


def heads(broker: Broker) -> list[Head]:
    """The first message of each queue that has one."""
    return [Head(consumer, tx, *entries[0]) for consumer, tx, _, entries in broker if entries]


def mark(broker: Broker, consumer: int, identity: int, *, delivered: bool) -> Broker:
    """Remember that a message was delivered, or is to be delivered again."""
    return tuple(
        (node, tx, count, tuple((i, item, delivered if i == identity else d) for i, item, d in entries))
        if node == consumer
        else (node, tx, count, entries)
        for node, tx, count, entries in broker
    )


def acknowledge(broker: Broker, consumer: int, identity: int) -> Broker:
    """A message needs not come again."""
    return tuple(
        (node, tx, count, tuple(entry for entry in entries if entry[0] != identity))
        if node == consumer
        else (node, tx, count, entries)
        for node, tx, count, entries in broker
    )


def reset(broker: Broker, consumer: int) -> Broker:
    """The consumer is down: what it has not acknowledged is delivered again."""
    return tuple(
        (node, tx, count, tuple((i, item, False) for i, item, _ in entries))
        if node == consumer
        else (node, tx, count, entries)
        for node, tx, count, entries in broker
    )


def is_empty(broker: Broker) -> bool:
    """Return whether no message is left."""
    return not any(entries for *_, entries in broker)
