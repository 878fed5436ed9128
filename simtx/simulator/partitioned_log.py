"""A partitioned log: each consumer's topic has partitions, which are read in order and up to an offset.

The broker gives a consumer the next events of a partition at once, as many as it fetches. The consumer has them in its memory and handles them **one after the
other**: an event that takes long, or that it can never handle, holds up all that come behind it in its partition, whoever's they are. What it has done it
commits as an offset, from time to time; a consumer that crashes begins behind the last offset that has reached the broker, so that it gets again what it had
done since. Nothing is delivered again as long as it lives, but for a fetch that got lost.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

from simtx.event_log.entries import Number
from simtx.protocols import Delivery, Message
from simtx.protocols.names import BROKER
from simtx.scenario.broker_kinds import partition_of
from simtx.scenario.infrastructure import AT_ONCE
from simtx.scenario.versions import CURRENT, EventVersion, Unread
from simtx.simulator.timers import Token

if TYPE_CHECKING:
    from simtx.scenario import BrokerSpec
    from simtx.simulator.node import Node
    from simtx.simulator.surroundings import Surroundings


class Parcel:
    """A message that the broker holds for one consumer, until that acknowledges it."""

    __slots__ = ("deliveries", "delivery", "lane", "message", "sent", "stored", "timer", "version")

    def __init__(self, number: int, message: Message, stored: float, lane: tuple[str, int]) -> None:
        self.message = message
        self.delivery = Delivery(message, number)
        self.stored = stored
        self.lane = lane
        self.sent = False
        self.deliveries = 0
        self.version: EventVersion = CURRENT  # of its form
        self.timer: Token | None = None


class Owner(Protocol):
    """The broker, as its partitions know it."""

    up: bool

    @property
    def world(self) -> Surroundings:
        """The world that it lives in."""

    @property
    def spec(self) -> BrokerSpec:
        """The scenario's broker."""

    def unread(self, parcel: Parcel, lane: int) -> Unread | None:
        """Return what a consumer does with an event that it cannot read; None: it can."""

    def fails(self, parcel: Parcel) -> bool:
        """Return whether a consumer cannot handle an event."""

    def dead(self, parcel: Parcel) -> None:
        """A message becomes a dead letter."""

    def expired(self, parcel: Parcel) -> None:
        """A message was older than the retention."""

    def forget(self, parcel: Parcel) -> None:
        """A message is not held any more."""

    def again(self, message: Message) -> None:
        """A message is delivered again."""


class Reader:
    """The consumer's side of one partition: what it has fetched, in the memory of its process.

    Attributes:
        node: The consumer.
        attempts: How often it has tried the first one.
        queue: Events that were fetched and are not done; the first one is in the hands of its machine, if `busy`.
        position: Id of the last event that was fetched.
        done: Id of the last event that was done.
    """

    __slots__ = ("attempts", "busy", "committing", "done", "epoch", "node", "position", "queue")

    def __init__(self, node: Node) -> None:
        self.node = node
        self.epoch = node.disk.epoch
        self.queue: deque[Parcel] = deque()
        self.busy = False
        self.attempts = 0
        self.position = self.done = -1
        self.committing = False

    @property
    def alive(self) -> bool:
        """Return whether the process that has fetched this still runs."""
        return self.node.up and self.epoch == self.node.disk.epoch


class Partition:
    """The broker's side of one partition of a consumer's topic.

    Attributes:
        consumer: Whose topic it is.
        number: Which of its partitions.
        parcels: Events that are not committed yet, in their order.
        sent: Id of the last event that was given to the consumer.
        waiting: Whether the consumer waits for the next event: what is stored is sent at once.
        reader: The consumer's side, as long as its process lives.
        timer: Runs while the broker waits for a word of the consumer.
    """

    __slots__ = ("consumer", "number", "parcels", "reader", "sent", "timer", "waiting")

    def __init__(self, consumer: Node, number: int) -> None:
        self.consumer = consumer
        self.number = number
        self.parcels: deque[Parcel] = deque()
        self.sent = -1
        self.waiting = True
        self.reader = Reader(consumer)
        self.timer: Token | None = None


class PartitionedLog:
    """The partitions of all consumers.

    Args:
        broker: What they are part of.

    Attributes:
        lag: The most events that were waiting in one partition at any time.
    """

    def __init__(self, broker: Owner) -> None:
        self._broker = broker
        self._world = broker.world
        self._spec = broker.spec
        self._partitions: dict[tuple[str, int], Partition] = {}
        self.lag = 0

    def partition(self, consumer: str, number: int) -> Partition:
        """A partition of a consumer's topic."""
        found = self._partitions.get((consumer, number))
        if found is None:
            found = self._partitions[consumer, number] = Partition(self._world.nodes[consumer], number)
        return found

    def partitions(self, consumer: str) -> list[Partition]:
        """The partitions of a consumer's topic that were ever written to, by number."""
        return [one for (name, _), one in sorted(self._partitions.items()) if name == consumer]

    def longest(self, consumer: str) -> int:
        """The most events that wait in one partition of a consumer's topic now."""
        return max((len(one.parcels) for one in self.partitions(consumer)), default=0)

    # --- the broker's side ------------------------------------------------------------------------------------------------------

    def store(self, parcel: Parcel) -> None:
        """Append an event to its partition."""
        message = parcel.message
        partition = self.partition(message.to, partition_of(message.tx, self._spec.partitions))
        partition.parcels.append(parcel)
        if len(partition.parcels) > self.lag:
            self.lag = len(partition.parcels)
            self._note(partition)
        if partition.waiting:
            self._send(partition)

    def _note(self, partition: Partition) -> None:
        """Write down that no partition has had so many events before."""
        trace = self._world.trace
        if trace is not None:
            peer, name = partition.consumer.name, str(partition.number)
            trace.log("lag", BROKER, -1, actor=BROKER, peer=peer, name=name, detail=Number(self.lag).text())

    def _send(self, partition: Partition, *, again: bool = False) -> None:
        """Give the consumer what comes next, or let it wait for it."""
        if not partition.consumer.up:
            partition.waiting = False  # its connection is gone; `connected` begins anew
            return
        self._expire(partition)
        batch = [one for one in partition.parcels if one.delivery.id > partition.sent][: self._spec.fetch]
        partition.waiting = not batch
        if not batch:
            self._stop(partition)
            return
        partition.sent = batch[-1].delivery.id
        first = batch[0].message
        link = self._world.link(BROKER, partition.consumer.name)
        link.transmit(self._fetched, (partition, partition.reader, batch, again), first.tx, first)
        self._wait(partition)

    def _expire(self, partition: Partition) -> None:
        """Drop what is older than the retention, whoever has not read it yet."""
        retention = self._spec.retention
        while retention is not None and partition.parcels:
            oldest = partition.parcels[0]
            held = oldest.delivery.id <= partition.reader.position and partition.reader.alive
            if held or self._world.env.now - oldest.stored <= retention:
                return
            partition.parcels.popleft()
            self._broker.expired(oldest)

    def _wait(self, partition: Partition) -> None:
        self._stop(partition)
        partition.timer = Token(partition, "redelivery", self._silent)
        self._world.timers.start(partition.timer, self._spec.redelivery)

    @staticmethod
    def _stop(partition: Partition) -> None:
        if partition.timer is not None:
            partition.timer.owner = None
            partition.timer = None

    def _silent(self, token: Token) -> None:
        """The consumer has said nothing for long: its request, or what it got, was lost; it is given all again from the last offset."""
        partition = token.owner
        if isinstance(partition, Partition) and self._broker.up:
            partition.timer = None
            self._rewind(partition)
            self._send(partition, again=True)

    @staticmethod
    def _rewind(partition: Partition) -> None:
        """Go back, so that what was given and not committed is given again."""
        partition.sent = partition.parcels[0].delivery.id - 1 if partition.parcels else partition.sent

    def _asked(self, partition: Partition) -> None:
        """The consumer has done all that it had, and asks for more."""
        if self._broker.up:
            self._send(partition)

    def _committed(self, word: tuple[Partition, int]) -> None:
        """An offset arrives: all up to it is done."""
        partition, offset = word
        if not self._broker.up:
            return
        while partition.parcels and partition.parcels[0].delivery.id <= offset:
            self._broker.forget(partition.parcels.popleft())
        if partition.timer is not None:
            self._wait(partition)

    def connected(self, consumer: str) -> None:
        """A consumer has come back with an empty memory: it begins behind the last offset."""
        for partition in self.partitions(consumer):
            partition.reader = Reader(partition.consumer)
            self._rewind(partition)
            self._send(partition)

    def crash(self, *, forget: bool) -> None:
        """The broker's process is gone, and, unless it had stored them, its events."""
        for partition in self._partitions.values():
            partition.waiting = False
            self._stop(partition)
            if forget:
                partition.parcels.clear()

    def restart(self) -> None:
        """Connections are made anew: consumers ask from where they are."""
        for partition in self._partitions.values():
            if partition.reader.alive:
                partition.sent = max(partition.sent, partition.reader.position)
            else:
                partition.reader = Reader(partition.consumer)
                self._rewind(partition)
            if not partition.reader.queue:
                self._send(partition)
            else:
                self._wait(partition)

    # --- the consumer's side ----------------------------------------------------------------------------------------------------

    def _fetched(self, given: tuple[Partition, Reader, list[Parcel], bool]) -> None:
        """Events arrive at the consumer, in their order."""
        _, reader, batch, again = given
        node = reader.node
        if not reader.alive:
            node.dropped(batch[0].message)
            return
        if node.paused:
            node.backlog.append((self._fetched, given))
            return
        for parcel in batch:
            if parcel.delivery.id > reader.position:
                reader.position = parcel.delivery.id
                reader.queue.append(parcel)
        if again and reader.busy:
            self._attempt((given[0], reader, reader.queue[0]))  # it may have been parked
        self._go_on(given[0], reader)

    def _go_on(self, partition: Partition, reader: Reader) -> None:
        """Begin with the next event, if none is under way."""
        if reader.busy or not reader.alive:
            return
        if not reader.queue:
            link = self._world.link(reader.node.name, BROKER)
            link.transmit(self._asked, partition, -1)
            return
        reader.busy, reader.attempts = True, 0
        self._attempt((partition, reader, reader.queue[0]))

    def _attempt(self, tried: tuple[Partition, Reader, Parcel]) -> None:
        partition, reader, parcel = tried
        node = reader.node
        if not reader.alive or not reader.busy or reader.queue[0] is not parcel:
            return
        if node.paused:
            node.backlog.append((self._attempt, tried))
            return
        reader.attempts += 1
        parcel.deliveries += 1
        if parcel.deliveries > 1:
            self._broker.again(parcel.message)
        unread = self._broker.unread(parcel, partition.number)
        if unread == "dead-letter":
            self._broker.dead(parcel)
            self._end(partition, reader, parcel)
        if unread:
            return  # nothing is committed: all that is behind it waits until this process is replaced
        if not self._broker.fails(parcel):
            node.deliver(parcel.delivery)
            return
        limit = self._spec.delivery_limit
        if limit is not None and reader.attempts >= limit:
            self._broker.dead(parcel)
            self._end(partition, reader, parcel)
        elif self._spec.nack:
            backoff = self._spec.backoff
            pause = self._spec.overdue(reader.attempts) if backoff else self._spec.nack_delay
            self._world.env.call_in(max(pause, AT_ONCE), self._attempt, tried)
        # Else it keeps silent, and all that is behind it waits.

    def acknowledge(self, node: Node, tx: int, number: int) -> None:
        """The consumer has done an event: it goes on with the next, and commits."""
        partition = self.partition(node.name, partition_of(tx, self._spec.partitions))
        reader = partition.reader
        if reader.busy and reader.queue[0].delivery.id == number:
            self._end(partition, reader, reader.queue[0])

    def _end(self, partition: Partition, reader: Reader, parcel: Parcel) -> None:
        reader.queue.popleft()
        reader.busy = False
        reader.done = parcel.delivery.id
        if not self._spec.commit_every:
            self._commit((partition, reader))
        elif not reader.committing:
            reader.committing = True
            self._world.env.call_in(self._spec.commit_every, self._commit, (partition, reader))
        # A machine may acknowledge as soon as it is told, and so may the next: not inside each other.
        self._world.env.call_in(0.0, self._next, (partition, reader))

    def _next(self, side: tuple[Partition, Reader]) -> None:
        self._go_on(*side)

    def _commit(self, side: tuple[Partition, Reader]) -> None:
        partition, reader = side
        reader.committing = False
        if reader.alive:
            link = self._world.link(reader.node.name, BROKER)
            link.transmit(self._committed, (partition, reader.done), -1)
