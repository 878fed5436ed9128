"""The broker: durable topics, one a consuming service; at least once, in order per transaction, redelivered until acknowledged.

This is a queue. With partitions it is a log, whose consumers read in order (`simtx.simulator.partitioned_log`). A consumer that can never handle an event (poison)
fails before its machine has seen it; with a limit of deliveries such an event becomes a dead letter, and what should have followed from it never happens.

A broker that is down is a process that has ended on a machine that has not: the machine refuses what comes for it, so that a producer knows after a round trip, and does
not wait for its timeout. A machine that is away answers nothing: that is a partition.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from simtx.event_log.entries import DEAD_LETTER, POISON, RETENTION, Number
from simtx.event_log.journal import of_message
from simtx.protocols import Done, Message, Publish
from simtx.protocols.names import BROKER
from simtx.scenario.distributions import Constant
from simtx.scenario.infrastructure import AT_ONCE
from simtx.scenario.versions import CURRENT, Unread
from simtx.simulator.network import Link
from simtx.simulator.partitioned_log import Parcel, PartitionedLog
from simtx.simulator.timers import Token
from simtx.workload.by_transaction import Draw
from simtx.workload.poison import poisonous

if TYPE_CHECKING:
    from simtx.scenario import BrokerSpec
    from simtx.simulator.host import Process
    from simtx.simulator.node import Node
    from simtx.simulator.running_machine import RunningMachine
    from simtx.simulator.surroundings import Surroundings


class _Publication:
    """A publication on its way, until the broker's ack or the producer's timeout."""

    __slots__ = ("actor", "effect", "epoch", "node", "open", "timeout", "version")

    def __init__(self, node: Node, actor: RunningMachine, effect: Publish) -> None:
        self.node = node
        self.actor = actor
        self.effect = effect
        self.epoch = node.disk.epoch  # a crash begins another one
        self.open = True
        self.version = CURRENT
        self.timeout: Token | None = None


class _Links(dict[str, Link]):
    """Links by the node at their other end, made when they are first needed."""

    def __init__(self, link: Callable[[str], Link]) -> None:
        self._link = link

    def __missing__(self, node: str) -> Link:
        link = self[node] = self._link(node)
        return link


class Broker:
    """The simulated broker.

    Args:
        world: What it lives in.
        spec: The scenario's broker.
        linger: Draws the seconds that a producer's client collects messages before the bytes leave the producer, for a message's transaction.
        acknowledgement: Likewise, the seconds that storing takes before the broker acks and delivers.

    Attributes:
        up: Whether it answers.
        published: Messages that were stored.
        redelivered: Deliveries of a message that was delivered before.
        lost: Messages that retention, or a crash of its memory, has cost.
        dead_letters: Messages that were given up after the last delivery.
        failed: Deliveries that their consumer could not handle.
        stored_again: Messages that were stored although the same had been stored before: their id was not known any more, or never.
        log: Its partitions, if it has any.
    """

    def __init__(self, world: Surroundings, spec: BrokerSpec, linger: Draw, acknowledgement: Draw) -> None:
        self.world = world
        self.spec = spec
        self._env = world.env
        self._links_in = _Links(lambda node: world.link(node, BROKER))
        self._links_out = _Links(lambda node: world.link(BROKER, node))
        self._linger = linger
        self._lingers = spec.linger != Constant(0.0)
        self._acknowledgement = acknowledgement
        self._parcels: dict[int, Parcel] = {}
        self._lanes: dict[tuple[str, int], deque[Parcel]] = {}
        self._seen: dict[Message | tuple[Message, str, int], float] = {}
        self._stored: set[Message] | None = set() if spec.special else None
        self._fallible = spec.poisoned or bool(
            world.scenario.upgrades
        )  # whether a consumer may fail over an event, or not be able to read it
        self._poisonous = poisonous(spec.poison, world.streams, spec.poison_transactions)
        self._cured = math.inf if spec.poison_until is None else spec.poison_until
        self._next = 0
        self._process = process = world.processes.get(BROKER)
        self._received = self._taken if process is None else partial(self._received_by_process, process)
        self.up = True
        self.published = 0
        self.redelivered = 0
        self.lost = 0
        self.dead_letters = 0
        self.failed = 0
        self.stored_again = 0
        self.log = PartitionedLog(self) if spec.partitions else None
        if spec.special and world.trace is not None:  # from here on it is written down what it stores
            world.trace.log("lag", BROKER, -1, actor=BROKER, detail=Number(0).text())

    # --- producers --------------------------------------------------------------------------------------------------------------

    def publish(self, node: Node, actor: RunningMachine, effect: Publish) -> None:
        """Take a message from a producer's hands: the bytes leave after the linger time, if the producer lives so long."""
        record = self.world.ledger.active.get(effect.message.tx)
        if record is not None:
            record.broker_messages += 1
        publication = _Publication(node, actor, effect)
        if self.world.versions is not None:
            publication.version = self.world.versions.of(node.name)
        publication.timeout = Token(publication, "publish", self._time_out)
        self.world.timers.start(publication.timeout, self.world.policies.publish_timeout)
        linger = self._linger(effect.message.tx) if self._lingers else 0.0
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
            self._links_in[node.name].transmit(self._received, publication, message.tx, message)

    def _time_out(self, token: Token) -> None:
        publication, token.owner = token.owner, None
        if isinstance(publication, _Publication) and publication.open:
            publication.open = False
            publication.node.confirm((publication.actor, Done(publication.effect.tag, "failed")))

    def _received_by_process(self, process: Process, publication: _Publication) -> None:
        """Take the time of the broker's process first, on a host."""
        if self.up:
            process.handle(self._taken, publication)
        else:
            self._taken(publication)

    def _taken(self, publication: _Publication) -> None:
        if self.up:
            self._env.call_in(self._acknowledgement(publication.effect.message.tx), self._store, publication)
        else:
            self._turn_away(publication)

    def _turn_away(self, publication: _Publication) -> None:
        self._links_out[publication.node.name].transmit(self._turned_away, publication, publication.effect.message.tx)

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
        if not self._duplicate(publication):
            self.published += 1
            if self._stored is not None:
                count = len(self._stored)
                self._stored.add(message)
                if len(self._stored) == count:
                    self._again_stored(message)
            # A broker without order is one whose every message has a lane of its own.
            lane = (message.to, message.tx if self.spec.ordered else self._next)
            parcel = Parcel(self._next, message, self._env.now, lane)
            self._next += 1
            parcel.version = publication.version
            self._parcels[parcel.delivery.id] = parcel
            queue = self._lanes.get(lane)
            if self.log is not None:
                self.log.store(parcel)
            elif queue is None:
                self._lanes[lane] = deque((parcel,))
                self._deliver(parcel)
            else:
                queue.append(parcel)
        # A duplicate is acknowledged as well: its producer repeats because it has no ack of the first.
        self._links_out[publication.node.name].transmit(self._confirm, publication, message.tx)

    def _again_stored(self, message: Message) -> None:
        """A repetition was taken for new: it is counted and written down."""
        self.stored_again += 1
        of_message(self.world.trace, "stored-again", BROKER, message, actor=BROKER, peer=message.to)

    def _duplicate(self, publication: _Publication) -> bool:
        window, now, seen = self.spec.deduplication_window, self._env.now, self._seen
        if window <= 0:
            return False
        while seen:
            # A dict keeps the order of insertion, so the oldest ids come first, and those behind the first young one need no look.
            first, since = next(iter(seen.items()))
            if since >= now - window:
                break
            del seen[first]
        message = publication.effect.message
        by_producer = self.spec.deduplication_by == "producer"
        known = (message, publication.node.name, publication.epoch) if by_producer else message
        count = len(seen)
        seen.setdefault(known, now)  # one look-up: the hash of a message is made of its whole plan
        return len(seen) == count

    def _confirm(self, publication: _Publication) -> None:
        if publication.open:
            self._close(publication)
            node, message = publication.node, publication.effect.message
            if node.journal is not None and publication.actor.alive:
                node.journal.confirmed(message)
            node.confirm((publication.actor, Done(publication.effect.tag, "done")))

    # --- consumers --------------------------------------------------------------------------------------------------------------

    def _deliver(self, parcel: Parcel) -> None:
        """Deliver the first message of a lane, for the first time or again; nothing leaves for a consumer whose connection is gone."""
        message = parcel.message
        consumer = self.world.nodes[message.to]
        # A consumer that is down has no connection. The timer runs all the same, and `connected` does not wait for it.
        if consumer.up:
            if parcel.sent:
                self.again(message)
            parcel.sent = True
            parcel.deliveries += 1
            if self._process is None:
                self._pass_on(parcel)
            else:
                self._process.go_on_with(self._process.spec.effect, self._pass_on, parcel)
        parcel.timer = Token(parcel, "redelivery", self._redeliver)
        self.world.timers.start(parcel.timer, self.spec.overdue(parcel.deliveries))

    def _pass_on(self, parcel: Parcel) -> None:
        message, consumer = parcel.message, self.world.nodes[parcel.message.to]
        if self._fallible:
            self._links_out[consumer.name].transmit(self._attempt, parcel, message.tx, message)
        else:
            self._links_out[consumer.name].transmit(consumer.deliver, parcel.delivery, message.tx, message)

    def _attempt(self, parcel: Parcel) -> None:
        """A consumer takes a delivery, and its machine sees it unless that fails before."""
        consumer = self.world.nodes[parcel.message.to]
        unread = consumer.up and self.unread(parcel, parcel.message.tx)
        if unread == "dead-letter":
            self.dead(parcel)
            self.acknowledge(consumer, parcel.message.tx, parcel.delivery.id)
        elif unread:
            return  # nothing is acknowledged
        elif not consumer.up or not self.fails(parcel):
            consumer.deliver(parcel.delivery)
        elif self.spec.nack:
            self._links_in[consumer.name].transmit(self._refused, parcel, parcel.message.tx)

    def unread(self, parcel: Parcel, lane: int) -> Unread | None:
        """Return what a consumer does with an event that it cannot read; None: it can."""
        versions, message = self.world.versions, parcel.message
        if versions is None or versions.reads(parcel.version, message.to):
            return None
        unread = self.world.scenario.events.unread
        if unread == "stop":
            versions.stop(message, lane, parcel.version)
        return unread

    def fails(self, parcel: Parcel) -> bool:
        """Return whether a consumer cannot handle an event; it is counted and written down."""
        message = parcel.message
        if self._env.now >= self._cured or not self._poisonous(message):
            return False
        self.failed += 1
        of_message(self.world.trace, "refuse", message.to, message, actor="host", peer=BROKER, detail=POISON)
        return True

    def _refused(self, parcel: Parcel) -> None:
        """A consumer says that it cannot handle a delivery: it comes again, after a while."""
        if self.up and parcel.delivery.id in self._parcels and parcel.timer is not None:
            parcel.timer.owner = None
            parcel.timer = Token(parcel, "redelivery", self._redeliver)
            self.world.timers.start(parcel.timer, max(self.spec.nack_delay, AT_ONCE))

    def dead(self, parcel: Parcel) -> None:
        """A message was delivered as often as it may be, and becomes a dead letter."""
        self.dead_letters += 1
        self._dropped(parcel.message, DEAD_LETTER)

    def expired(self, parcel: Parcel) -> None:
        """A message of a partition was older than the retention."""
        self.lost += 1
        self._dropped(parcel.message, RETENTION)
        self.forget(parcel)

    def forget(self, parcel: Parcel) -> None:
        """A message of a partition is not held any more."""
        self._parcels.pop(parcel.delivery.id, None)

    def _dropped(self, message: Message, why: str) -> None:
        of_message(self.world.trace, "drop", BROKER, message, actor=BROKER, peer=message.to, detail=why)

    def again(self, message: Message) -> None:
        """A message is delivered again: it is counted."""
        self.redelivered += 1
        of_message(self.world.trace, "redeliver", BROKER, message, peer=message.to)
        record = self.world.ledger.active.get(message.tx)
        if record is not None:
            record.retries += 1

    def _redeliver(self, token: Token) -> None:
        parcel = token.owner
        if isinstance(parcel, Parcel) and parcel.delivery.id in self._parcels and self.up:
            self._deliver_or_drop(parcel)

    def _deliver_or_drop(self, parcel: Parcel) -> None:
        """Deliver a message again, unless it is older than the retention, or was delivered as often as it may be."""
        retention, limit = self.spec.retention, self.spec.delivery_limit
        if retention is not None and self._env.now - parcel.stored > retention:
            self.lost += 1
            self._dropped(parcel.message, RETENTION)
            self._remove(parcel)
        elif limit is not None and parcel.deliveries >= limit:
            self.dead(parcel)
            self._remove(parcel)
        else:
            self._deliver(parcel)

    def connected(self, consumer: str) -> None:
        """A consumer has come back: what waits for it is delivered at once, what it had not acknowledged included."""
        if not self.up:
            return
        if self.log is not None:
            self.log.connected(consumer)
        for (node, _), queue in list(self._lanes.items()):
            if node == consumer and queue:
                parcel = queue[0]
                if parcel.timer is not None:
                    parcel.timer.owner = None
                self._deliver_or_drop(parcel)

    def acknowledge(self, node: Node, tx: int, number: int) -> None:
        """A consumer says that this delivery needs not come again; its word may get lost."""
        if self.log is not None:
            self.log.acknowledge(node, tx, number)
        else:
            self._links_in[node.name].transmit(self._acknowledged, number, tx)

    def _acknowledged(self, number: int) -> None:
        parcel = self._parcels.get(number)
        if self.up and parcel is not None:
            self._remove(parcel)

    def _remove(self, parcel: Parcel) -> None:
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
        in_memory = self.spec.ack == "memory"
        if self.log is not None:
            self.log.crash(forget=in_memory)
        if in_memory:
            self.lost += len(self._parcels)
            self._parcels.clear()
            self._lanes.clear()
        if self.spec.deduplication_after_restart != "all":
            kept = {parcel.message for parcel in self._parcels.values()}
            if self.spec.deduplication_after_restart == "none":
                kept.clear()
            self._seen = {
                known: since
                for known, since in self._seen.items()
                if (known if isinstance(known, Message) else known[0]) in kept
            }

    def restart(self) -> None:
        """Answer again, and deliver what waits."""
        self.up = True
        if self.log is not None:
            self.log.restart()
        for queue in list(self._lanes.values()):
            if queue:
                self._deliver(queue[0])

    def waiting(self) -> Iterator[str]:
        """Consumer of each message that is stored and not yet acknowledged."""
        return (parcel.message.to for parcel in self._parcels.values())

    def lag(self, consumer: str) -> int | None:
        """The most events that wait in one partition of a consumer; None if there are no partitions."""
        return self.log.longest(consumer) if self.log is not None else None

    def working(self) -> set[int]:
        """Transactions with messages that wait for their consumer."""
        return {parcel.message.tx for parcel in self._parcels.values()}
