"""The broker: durable topics, one a consuming service; at least once, in order per transaction, redelivered until acknowledged.

A broker that is down is a process that has ended on a machine that has not: the machine refuses what comes for it, so that a producer knows after a round trip, and does
not wait for its timeout. A machine that is away answers nothing: that is a partition.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from simtx.protocols import Delivery, Done, Message, Publish
from simtx.protocols.names import BROKER
from simtx.simulator.network import Link
from simtx.simulator.timers import Token
from simtx.workload.by_transaction import Draw

if TYPE_CHECKING:
    from simtx.scenario import BrokerSpec
    from simtx.simulator.node import Node
    from simtx.simulator.running_machine import RunningMachine
    from simtx.simulator.surroundings import Surroundings


class _Publication:
    """A publication on its way, until the broker's ack or the producer's timeout."""

    __slots__ = ("actor", "effect", "epoch", "node", "open", "timeout")

    def __init__(self, node: Node, actor: RunningMachine, effect: Publish) -> None:
        self.node = node
        self.actor = actor
        self.effect = effect
        self.epoch = node.disk.epoch  # a crash begins another one
        self.open = True
        self.timeout: Token | None = None


class _Parcel:
    """A stored message of one consumer, until that consumer acknowledges it."""

    __slots__ = ("delivery", "lane", "message", "sent", "stored", "timer")

    def __init__(self, number: int, message: Message, stored: float, lane: tuple[str, int]) -> None:
        self.message = message
        self.delivery = Delivery(message, number)
        self.stored = stored
        self.lane = lane
        self.sent = False
        self.timer: Token | None = None


class Broker:
    """The simulated broker.

    Args:
        world: What it lives in.
        spec: The scenario's broker.
        linger: Draws the seconds that a producer's client collects messages before the bytes leave the producer, for a message's transaction.
        acknowledgement: Likewise, the seconds that storing takes before the broker acks and delivers.
    """

    def __init__(self, world: Surroundings, spec: BrokerSpec, linger: Draw, acknowledgement: Draw) -> None:
        self._world = world
        self._env = world.env
        self._spec = spec
        self._linger = linger
        self._acknowledgement = acknowledgement
        self._links: dict[tuple[str, str], Link] = {}
        self._parcels: dict[int, _Parcel] = {}
        self._lanes: dict[tuple[str, int], deque[_Parcel]] = {}
        self._seen: dict[Message, float] = {}
        self._next = 0
        self._process = world.processes.get(BROKER)
        self.up = True
        self.published = 0
        self.redelivered = 0
        self.lost = 0

    def _link(self, source: str, destination: str) -> Link:
        link = self._links.get((source, destination))
        if link is None:
            link = self._links[source, destination] = self._world.link(source, destination)
        return link

    # --- producers --------------------------------------------------------------------------------------------------------------

    def publish(self, node: Node, actor: RunningMachine, effect: Publish) -> None:
        """Take a message from a producer's hands: the bytes leave after the linger time, if the producer lives so long."""
        record = self._world.ledger.active.get(effect.message.tx)
        if record is not None:
            record.broker_messages += 1
        publication = _Publication(node, actor, effect)
        publication.timeout = Token(publication, "publish", self._time_out)
        self._world.timers.start(publication.timeout, self._world.policies.publish_timeout)
        linger = self._linger(effect.message.tx)
        if linger > 0:
            self._env.call_in(linger, self._leave, publication)
        else:
            self._leave(publication)

    def _leave(self, publication: _Publication) -> None:
        node = publication.node
        # Otherwise the producer has crashed during the linger time, and its batch was in its memory.
        if publication.epoch == node.disk.epoch:
            if node.paused:
                node.backlog.append((self._leave, publication))
                return
            message = publication.effect.message
            self._link(node.name, BROKER).transmit(self._receive, publication, message.tx, message)

    def _time_out(self, token: Token) -> None:
        publication, token.owner = token.owner, None
        if isinstance(publication, _Publication) and publication.open:
            publication.open = False
            publication.node.confirm((publication.actor, Done(publication.effect.tag, "failed")))

    def _receive(self, publication: _Publication) -> None:
        if self.up and self._process is not None:
            self._process.run(self._process.spec.event, self._taken, publication)
        else:
            self._taken(publication)

    def _taken(self, publication: _Publication) -> None:
        if self.up:
            self._env.call_in(self._acknowledgement(publication.effect.message.tx), self._store, publication)
        else:
            self._turn_away(publication)

    def _turn_away(self, publication: _Publication) -> None:
        self._link(BROKER, publication.node.name).transmit(
            self._turned_away, publication, publication.effect.message.tx
        )

    def _turned_away(self, publication: _Publication) -> None:
        if publication.open:
            self._close(publication)
            publication.node.confirm((publication.actor, Done(publication.effect.tag, "failed")))

    @staticmethod
    def _close(publication: _Publication) -> None:
        publication.open = False
        if publication.timeout is not None:
            publication.timeout.owner = None

    def _store(self, publication: _Publication) -> None:
        if not self.up:
            self._turn_away(publication)
            return
        message = publication.effect.message
        if not self._duplicate(message):
            self.published += 1
            # A broker without order is one whose every message has a lane of its own.
            lane = (message.to, message.tx if self._spec.ordered else self._next)
            parcel = _Parcel(self._next, message, self._env.now, lane)
            self._next += 1
            self._parcels[parcel.delivery.id] = parcel
            queue = self._lanes.get(lane)
            if queue is None:
                self._lanes[lane] = deque((parcel,))
                self._deliver(parcel)
            else:
                queue.append(parcel)
        # A duplicate is acknowledged as well: its producer repeats because it has no ack of the first.
        self._link(BROKER, publication.node.name).transmit(self._confirm, publication, message.tx)

    def _duplicate(self, message: Message) -> bool:
        window = self._spec.deduplication_window
        if window <= 0:
            return False
        now = self._env.now
        seen = self._seen
        while seen:
            # A dict keeps the order of insertion, so the oldest ids come first, and those behind the first young one need no look.
            first = next(iter(seen))
            if seen[first] >= now - window:
                break
            del seen[first]
        if message in seen:
            return True
        seen[message] = now
        return False

    def _confirm(self, publication: _Publication) -> None:
        if publication.open:
            self._close(publication)
            node, message = publication.node, publication.effect.message
            if node.journal is not None and publication.actor.alive:
                node.journal.confirmed(message)
            node.confirm((publication.actor, Done(publication.effect.tag, "done")))

    # --- consumers --------------------------------------------------------------------------------------------------------------

    def _deliver(self, parcel: _Parcel) -> None:
        """Deliver the first message of a lane, for the first time or again; nothing leaves for a consumer whose connection is gone."""
        message = parcel.message
        consumer = self._world.nodes[message.to]
        # A consumer that is down has no connection. The timer runs all the same, and `connected` does not wait for it.
        if consumer.up:
            if parcel.sent:
                self._again(message)
            parcel.sent = True
            if self._process is None:
                self._pass_on(parcel)
            else:
                self._process.go_on_with(self._process.spec.effect, self._pass_on, parcel)
        parcel.timer = Token(parcel, "redelivery", self._redeliver)
        self._world.timers.start(parcel.timer, self._spec.redelivery)

    def _pass_on(self, parcel: _Parcel) -> None:
        message, consumer = parcel.message, self._world.nodes[parcel.message.to]
        self._link(BROKER, consumer.name).transmit(consumer.deliver, parcel.delivery, message.tx, message)

    def _again(self, message: Message) -> None:
        """A message is delivered again: it is counted."""
        self.redelivered += 1
        trace = self._world.trace
        if trace is not None:
            trace.log("redeliver", BROKER, message.tx, trace.origin(message), peer=message.to, name=message.kind)
        record = self._world.ledger.active.get(message.tx)
        if record is not None:
            record.retries += 1

    def _redeliver(self, token: Token) -> None:
        parcel = token.owner
        if isinstance(parcel, _Parcel) and parcel.delivery.id in self._parcels and self.up:
            self._deliver_or_drop(parcel)

    def _deliver_or_drop(self, parcel: _Parcel) -> None:
        """Deliver a message again, unless it is older than the retention."""
        retention = self._spec.retention
        if retention is not None and self._env.now - parcel.stored > retention:
            self.lost += 1
            self._remove(parcel)
        else:
            self._deliver(parcel)

    def connected(self, consumer: str) -> None:
        """A consumer has come back: what waits for it is delivered at once, what it had not acknowledged included."""
        if not self.up:
            return
        for (node, _), queue in list(self._lanes.items()):
            if node == consumer and queue:
                parcel = queue[0]
                if parcel.timer is not None:
                    parcel.timer.owner = None
                self._deliver_or_drop(parcel)

    def acknowledge(self, node: Node, tx: int, number: int) -> None:
        """A consumer says that this delivery needs not come again; its word may get lost."""
        self._link(node.name, BROKER).transmit(self._acknowledged, number, tx)

    def _acknowledged(self, number: int) -> None:
        parcel = self._parcels.get(number)
        if self.up and parcel is not None:
            self._remove(parcel)

    def _remove(self, parcel: _Parcel) -> None:
        del self._parcels[parcel.delivery.id]
        if parcel.timer is not None:
            parcel.timer.owner = None
        queue = self._lanes[parcel.lane]
        first = queue[0] is parcel
        queue.remove(parcel)
        if not queue:
            del self._lanes[parcel.lane]
        elif first:
            self._deliver(queue[0])

    # --- outage -----------------------------------------------------------------------------------------------------------------

    def crash(self) -> None:
        """Stop answering. Acked in memory only means: lost now, and so are the ids by which repetitions are known."""
        self.up = False
        if self._process is not None:
            self._process.crash()
        for parcel in list(self._parcels.values()):
            # A broker that restarts does not know which deliveries it had made.
            parcel.sent = False  # who had it before is not remembered
            if parcel.timer is not None:
                parcel.timer.owner = None
        if self._spec.ack == "memory":
            self.lost += len(self._parcels)
            self._parcels.clear()
            self._lanes.clear()
        if self._spec.deduplication_after_restart != "all":
            kept = {parcel.message for parcel in self._parcels.values()}
            if self._spec.deduplication_after_restart == "none":
                kept.clear()
            self._seen = {message: since for message, since in self._seen.items() if message in kept}

    def restart(self) -> None:
        """Answer again, and deliver what waits."""
        self.up = True
        for queue in list(self._lanes.values()):
            if queue:
                self._deliver(queue[0])

    def waiting(self) -> Iterator[str]:
        """For each message that is stored and not yet acknowledged, its consumer."""
        return (parcel.message.to for parcel in self._parcels.values())

    def working(self) -> set[int]:
        """Transactions with messages that wait for their consumer."""
        return {parcel.message.tx for parcel in self._parcels.values()}
