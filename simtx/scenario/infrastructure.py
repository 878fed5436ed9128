"""Specs of what a scenario's transactions run on, as plain immutable data: nodes, stores, network, broker."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Final, Literal, TypeAlias

from simtx.protocols.derived.aggregate import AggregateRule
from simtx.protocols.derived.copies import CopyRule
from simtx.protocols.derived.group import GroupRule
from simtx.protocols.operations import FirstValues
from simtx.scenario.broker_kinds import BrokerKind, KnownBy
from simtx.scenario.distributions import Distribution

Flush: TypeAlias = Literal["group", "serial", "parallel"]
OutboxOrder: TypeAlias = Literal["insert", "commit"]
Locks: TypeAlias = Literal["write", "work"]
Isolation: TypeAlias = Literal["read-committed", "serializable"]
Acknowledgement: TypeAlias = Literal["memory", "quorum", "fsync"]
Remembered: TypeAlias = Literal["stored", "all", "none"]


# --- nodes --------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LogSpec:
    """A durable log.

    Attributes:
        forced_write: Time until a forced record is on disk.
        flush: ``group``: records that arrive during a flush share the next one; ``serial``: one flush a record, one after the other;
            ``parallel``: every record takes its own time, without queueing.
        lazy_flush: Period of the background flush of records that are not forced.
    """

    forced_write: Distribution
    flush: Flush
    lazy_flush: float


@dataclass(frozen=True, slots=True)
class StoreSpec:
    """The database of one service.

    Attributes:
        isolation: ``read-committed``: reads take no locks; ``serializable``: reads lock the row as writes do.
        log: Its redo log.
        lock_timeout: How long a local transaction waits for a row lock before it fails.
        initial: Value at the start by key, or by prefix if the name ends in ``*``; every other key starts at 0.
        replica_lag: Delay after which a read replica shows a commit, or None if there is no replica.
        outbox_order: When outbox rows are numbered: ``insert``: when their local transaction begins; ``commit``: when it commits.
        locks: For how long a local transaction has its row locks: ``write``: it locks when its service time is over, for the forced write; ``work``: it
            locks first, and keeps them for its service time and the forced write.
    """

    isolation: Isolation
    log: LogSpec
    lock_timeout: float
    initial: Mapping[str, float]
    replica_lag: Distribution | None
    outbox_order: OutboxOrder = "insert"
    locks: Locks = "write"

    def initial_value(self, key: str) -> float:
        """The value of this key at the start: its own entry, else that of the longest prefix pattern that fits, else 0."""
        return FirstValues(self.initial)(key)


@dataclass(frozen=True, slots=True)
class ProviderSpec:
    """A party outside that does the steps of a service: a card processor, a mail gateway, somebody else's system. It cannot prepare.

    Attributes:
        latency: From the request to its answer; halfway the provider does what it was asked for.
        timeouts: Share of requests that get no answer.
        timeouts_done: Of those, the share that the provider carries out all the same.
        timeout: Seconds for which the service waits for an answer; what comes later is none.
        rate_limit: Requests a second that it takes; None: any number.
        burst: Requests that it takes at once before the limit holds.
        retry_after: Seconds that it tells a request to wait that is over the limit.
        idempotency: Seconds for which it remembers the key of a request, and does nothing when the key comes again; None: it knows no keys.
        status_query: Whether it can be asked how a request has ended.
    """

    latency: Distribution
    timeouts: float = 0.0
    timeouts_done: float = 0.5
    timeout: float = 5.0
    rate_limit: float | None = None
    burst: int = 1
    retry_after: float = 1.0
    idempotency: float | None = None
    status_query: bool = False

    def mean(self) -> float:
        """Seconds for which a request keeps a worker waiting, on average, without the rate limit."""
        return (1 - self.timeouts) * min(self.latency.mean(), self.timeout) + self.timeouts * self.timeout


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """A node with workers and one store.

    Attributes:
        name: Its name, also that of the node.
        zone: Where it runs.
        workers: Local transactions that it can work on at once.
        service_time: Work that one step costs a worker, beside waiting for locks and disks.
        compensation_time: The same for a compensation; None: as `service_time`.
        queue_limit: Requests that may wait for a worker; those beyond are dropped, as if lost. None: no limit.
        store: Its database.
        provider: Who does its steps outside; None: its own database does.
    """

    name: str
    zone: str
    workers: int
    service_time: Distribution
    compensation_time: Distribution | None
    queue_limit: int | None
    store: StoreSpec
    provider: ProviderSpec | None = None


@dataclass(frozen=True, slots=True)
class HubSpec:
    """The node of the strategy beside the services: a 2PC coordinator or a saga orchestrator.

    Attributes:
        zone: Where it runs.
        log: Its durable log.
    """

    zone: str
    log: LogSpec


def pattern_of(template: str) -> re.Pattern[str]:
    """What the keys of a template with parameters look like: those of ``stock:{product}`` begin with ``stock:``."""
    parts = re.split(r"({\w+})", template)
    return re.compile("".join(".+" if one.startswith("{") else re.escape(one) for one in parts))


@dataclass(frozen=True, slots=True)
class DerivedSpec:
    """A derived store: copies of some values of a service, which others read; a cache, a search index.

    Attributes:
        name: Its name.
        service: The service whose values it copies.
        key: Which of them, as a template of key parameters, which are drawn for a read as they are for a transaction.
        rule: How it keeps up.
        ttl: Seconds for which a copy may be read, or None: for ever.
        lag: Time from a commit until its update arrives.
        ordered: Whether updates by event arrive in the order of the commits.
        loss: Probability that an update is lost.
        reads: Reads a second.
        fill_time: Time from a reader's read of the source until its copy is there.
    """

    name: str
    service: str
    key: str
    rule: CopyRule
    ttl: float | None
    lag: Distribution
    ordered: bool
    loss: float
    reads: float
    fill_time: Distribution


@dataclass(frozen=True, slots=True)
class VoteStoreSpec:
    """The store that the participants of a transaction share for their votes.

    Attributes:
        zone: Where it runs.
        log: Its durable log.
    """

    zone: str
    log: LogSpec


@dataclass(frozen=True, slots=True)
class GroupSpec:
    """A consumer group: instances that share the partitions of the events of a service.

    Attributes:
        name: Its name.
        service: The service whose commits are the events.
        key: Which of its keys, as a template.
        rule: How the owners of a partition take turns.
        partitions: How many there are.
        instances: How many share them.
        service_time: Time that an instance takes for an event.
        lag: Time from a commit until its event is in its partition.
        commit_time: Time from an effect until its checkpoint is written, where that comes after it.
        session: Seconds without a heartbeat after which an instance is taken for dead.
        pause_every: Time from the end of a pause of an instance to its next one, or None: there are none.
        pause: How long a pause is.
    """

    name: str
    service: str
    key: str
    rule: GroupRule
    partitions: int
    instances: int
    service_time: Distribution
    lag: Distribution
    commit_time: Distribution
    session: float
    pause_every: Distribution | None
    pause: Distribution


@dataclass(frozen=True, slots=True)
class AggregateSpec:
    """Event-sourced aggregates of one kind, and the commands that come for them.

    Attributes:
        name: Of the kind.
        key: Which aggregate a command is for, as a template of key parameters.
        rule: How commands are worked off.
        commands: Commands a second, over all aggregates.
        load_time: Time to load an aggregate, without its events.
        event_time: Seconds that each event takes that is folded.
        snapshot_every: A snapshot is written after so many events; None: never.
        decide_time: Time from the state to the decision: of a program, or of a person who looks at a form.
        append_time: Time that the store takes to write an append.
        retry_after: Time from a conflict to the next attempt.
        attempts: Attempts after which a command is given up; None: never.
        loss: Probability that the answer to an append is lost.
        timeout: Seconds after which who has no answer asks again.
        balance: What each aggregate has at the start; a command takes 1.
    """

    name: str
    key: str
    rule: AggregateRule
    commands: float
    load_time: Distribution
    event_time: float
    snapshot_every: int | None
    decide_time: Distribution
    append_time: Distribution
    retry_after: Distribution
    attempts: int | None
    loss: float
    timeout: float
    balance: int


# --- network and broker -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LinkSpec:
    """One direction of a path between two zones.

    Attributes:
        latency: One-way delay.
        loss: Probability that a message is lost.
        duplication: Probability that a message arrives twice.
        reorder: Probability that a message is held up, so that later ones overtake it.
        reorder_delay: How much longer a message takes that is held up.
    """

    latency: Distribution
    loss: float
    duplication: float
    reorder: float
    reorder_delay: Distribution


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """Zones and the paths between them.

    Attributes:
        zones: Every zone that a node, or the client, is in.
        links: Path by (from, to), complete for `zones`, a zone with itself included.
        loss: Probability of loss on links that do not say otherwise.
        duplication: Likewise, of duplication.
        reorder: Likewise, of an extra delay.
        reorder_delay: Likewise, that extra delay.
        client_zone: Where the clients are; None: beside the entry node, without any delay.
    """

    zones: tuple[str, ...]
    links: Mapping[tuple[str, str], LinkSpec]
    loss: float
    duplication: float
    reorder: float
    reorder_delay: Distribution
    client_zone: str | None

    def link(self, a: str, b: str) -> LinkSpec:
        """The path from zone `a` to zone `b`."""
        return self.links[a, b]

    def latency(self, a: str, b: str) -> Distribution:
        """One-way delay from zone `a` to zone `b`."""
        return self.links[a, b].latency


@dataclass(frozen=True, slots=True)
class BrokerSpec:
    """A message broker: at least once, with acknowledgements.

    Attributes:
        zone: Where it runs.
        ack: What its ack says: the message is in memory, on a quorum of replicas, or forced to disk. A broker that acks from memory
            loses what it holds when it crashes.
        ack_latency: Time that it takes to ack, beside the network.
        linger: How long a producer holds a message back to fill a batch; a crash of the producer loses the batch.
        redelivery: Time after which an unacknowledged delivery comes again.
        deduplication_window: How long the broker remembers message ids to drop duplicates of a producer; 0: it does not.
        deduplication_after_restart: Which of these ids it still knows after a crash: those of messages that it still holds (``stored``, a JetStream
            work queue), ``all`` of them (a JetStream limits stream, a table of ids), or ``none``. With acks from memory there are none.
        ordered: Whether messages of one transaction to one consumer are delivered in order, one at a time.
        retention: Age at which an undelivered message is dropped; None: never.
        kind: Which product it is like (`simtx.scenario.broker_kinds`); the mechanisms below are those of the kind, unless the scenario says otherwise.
        partitions: Partitions of each consumer's topic, for a log that is read in order and up to an offset; 0: a queue.
        fetch: Events of a partition that a consumer gets at once, and handles one after the other.
        commit_every: How often a consumer of a partition tells the broker how far it is; 0: after each event.
        delivery_limit: Deliveries after which a message that is still not acknowledged becomes a dead letter; None: no limit.
        backoff: Times until the second, third, ... delivery, in place of `redelivery`; the last one holds for all further; empty: none.
        nack: Whether a consumer that cannot handle a message says so, and does not only keep silent.
        nack_delay: How long it then takes until the next attempt; 0: at once, which is `simtx.scenario.infrastructure.AT_ONCE`.
        deduplication_by: By what a producer's repetition is known: by the ``message``, whoever repeats it, or only to the ``producer`` that has published it
            before, as long as its process lives.
        poison: Share of events that a consumer can never handle: every attempt fails before its machine has seen it.
        poison_transactions: Transactions, counted from 0, of which every event is poison, beside that share.
        poison_until: When consumers are in place that can handle it, in seconds: from then on nothing is poison any more; None: never.
    """

    zone: str
    ack: Acknowledgement
    ack_latency: Distribution
    linger: Distribution
    redelivery: float
    deduplication_window: float
    deduplication_after_restart: Remembered
    ordered: bool
    retention: float | None
    kind: BrokerKind = "plain"
    partitions: int = 0
    fetch: int = 1
    commit_every: float = 0.0
    delivery_limit: int | None = None
    backoff: tuple[float, ...] = ()
    nack: bool = False
    nack_delay: float = 0.0
    deduplication_by: KnownBy = "message"
    poison: float = 0.0
    poison_transactions: tuple[int, ...] = ()
    poison_until: float | None = None

    @property
    def special(self) -> str:
        """What it has that a plain broker has not, as the subject of a sentence; empty: nothing."""
        if self.kind != "plain":
            return f"a broker of the kind '{self.kind}'"
        plain = {one.name: one.default for one in fields(self) if one.default is not MISSING}
        changed = [name for name, value in plain.items() if getattr(self, name) != value]
        return f"a broker with {', '.join(changed)}" if changed else ""

    @property
    def poisoned(self) -> bool:
        """Whether any event may be poison."""
        return self.poison > 0 or bool(self.poison_transactions)

    def overdue(self, deliveries: int) -> float:
        """Seconds until a message comes again that was delivered so many times and was not acknowledged."""
        return self.backoff[min(deliveries, len(self.backoff)) - 1] if self.backoff else self.redelivery


AT_ONCE: Final = 0.001
"""Seconds between two attempts at an event that comes again at once: nobody fails in no time."""


@dataclass(frozen=True, slots=True)
class HostSpec:
    """A machine whose cores the processes of some nodes share.

    A node is one process. What it has to do is done in the order in which it comes in; the cores go to the processes that have something to do in the order
    in which they came, each for a time slice (`simtx.simulator.host`). A node that is on no host has a processor of its own that takes no time.

    Attributes:
        cores: How many.
        speed: What one second of processor time is divided by: 2 is a machine twice as fast.
        nodes: Which processes are on it: services, ``hub``, ``broker``, ``client``.
        neighbours: Processes of others that never rest; each competes as one of ours does.
        parallel: Whether a process can use several cores at once; False: one at most, as with an interpreter's lock.
        event: Processor time in seconds to handle a message, a timer, a delivery or a request.
        effect: Likewise, for each message, event, ack or answer that it sends: they leave one after the other, and the next event waits for the last.
        transaction: Likewise, for a local transaction, beside its service time.
        forced_write: Likewise, for a forced write that is none of a local transaction: a record of the coordinator, the end of a prepared branch. What its end causes
            is in it.
        quantum: Time slice in seconds: a process that has had a core for so long goes to the end of the queue after what it is doing. That of Linux is some milliseconds.
    """

    cores: int
    speed: float
    nodes: tuple[str, ...]
    neighbours: int
    parallel: bool
    event: float
    effect: float
    transaction: float
    forced_write: float
    quantum: float = 0.003


@dataclass(frozen=True, slots=True)
class CommonMode:
    """How far nodes are slow at the same time: on one machine, behind one storage system, beside one noisy neighbour.

    Every latency keeps its distribution; what is drawn at the same time is correlated through a common factor (a Gaussian copula with one
    factor; R. B. Nelsen, An Introduction to Copulas, 2006), and the factor forgets (an Ornstein-Uhlenbeck process).

    Attributes:
        links: Rank correlation of two latencies of messages drawn at the same time, 0 to 1; the broker's acknowledgement is one.
        writes: Likewise, of two forced writes.
        memory: Time in seconds after which e times less of the correlation is left.
    """

    links: float
    writes: float
    memory: float
