"""Specs of what a scenario's transactions run on, as plain immutable data: nodes, stores, network, broker; units as in `simtx.scenario.model`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
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
        flush: ``group``: records that arrive during a flush share the next; ``serial``: one flush a record, one after the other; ``parallel``: every record
            takes its own time without queueing.
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
        replica_lag: Delay after which a read replica shows a commit; None: no replica.
        outbox_order: Order of the numbers of outbox rows. ``insert``: a row is numbered when it is inserted, as from a sequence (PostgreSQL); a local
            transaction inserts its rows when a worker begins on it, so that they may appear behind rows with higher numbers. ``commit``: in the order
            of commits, as with one writer (SQLite).
        locks: For how long a local transaction has its row locks. ``write``: the service works first, then locks the rows for the forced write alone.
            ``work``: it locks the rows first, and works inside the transaction of the database: a hot key is locked for the service time, too.
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
        timeouts: Share of requests that get no answer, so that nobody knows whether they were done.
        timeouts_done: Of those, the share that was done nevertheless.
        timeout: How long the service waits for an answer; a later one is ignored.
        rate_limit: Requests a second that it takes; those beyond get a 429; None: any number.
        burst: Requests that it takes at once before the limit holds.
        retry_after: How long a request over the limit waits before it is sent again.
        idempotency: How long it remembers the key of a request, and answers a repetition without doing it again; None: it knows no keys.
        status_query: Whether it can be asked how a request has ended. The service then forces a note before each request, and asks before it repeats one.
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
        queue_limit: Requests that may wait for a worker; those beyond are dropped, as if lost; None: no limit.
        store: Its database.
        provider: The party outside that does its steps; None: its own database does them.
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
    """Pattern of the keys of a template with parameters: those of ``stock:{product}`` begin with ``stock:``."""
    parts = re.split(r"({\w+})", template)
    return re.compile("".join(".+" if one.startswith("{") else re.escape(one) for one in parts))


@dataclass(frozen=True, slots=True)
class DerivedSpec:
    """A derived store: copies of some values of a service, which others read; a cache, a search index.

    Attributes:
        name: Its name.
        service: The service whose values it copies.
        key: Which of them: a template as in an operation, such as ``stock:{product}``. A read draws its parameters as a transaction does.
        rule: How it keeps up.
        ttl: Time to live of a copy; None: it has none.
        lag: Time from a commit until its update arrives.
        ordered: Whether updates by ``event`` arrive in the order of the commits; those of writers do not.
        loss: Probability that an update is lost.
        reads: Reads a second.
        fill_time: Time from a reader's read of the service's store until its copy is there.
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
        log: Its durable log: a first vote is forced before the answer, and a further one for the same row only reads.
    """

    zone: str
    log: LogSpec


@dataclass(frozen=True, slots=True)
class GroupSpec:
    """A consumer group: instances that share the partitions of the events of a service.

    Attributes:
        name: Its name.
        service: The service whose commits are the events.
        key: Which of its keys: a template as in an operation. A key is in one partition.
        rule: How the owners of a partition take turns.
        partitions: How many there are.
        instances: How many share them.
        service_time: Time that an instance takes for an event.
        lag: Time from a commit until its event reaches the broker.
        commit_time: ``after``: time that it takes to write a checkpoint.
        session: Time without a heartbeat after which the broker takes an instance for dead.
        pause_every: Time from the end of a pause of an instance (a garbage collector) to its next one; None: it is never paused.
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
    """Event-sourced aggregates of one kind, and the commands that come for them; each takes 1 from its aggregate.

    Attributes:
        name: Of the kind.
        key: Which aggregate a command is for: a template, whose parameters are drawn as a transaction draws them.
        rule: How commands are worked off.
        commands: Commands, over all aggregates, in a Poisson stream.
        load_time: Time to load an aggregate, without its events.
        event_time: Time that each event takes that is folded.
        snapshot_every: A snapshot is written after so many events; None: never.
        decide_time: Time from the state to the decision, of a program or of a person.
        append_time: Time that the store takes to write an append.
        retry_after: Time from a conflict to the next attempt.
        attempts: Attempts after which a command is given up; None: never.
        loss: Probability that the answer to an append is lost.
        timeout: Time after which who has no answer asks again.
        balance: What each aggregate has at the start.
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
        reorder_delay: How long it is held up.
    """

    latency: Distribution
    loss: float
    duplication: float
    reorder: float
    reorder_delay: Distribution


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """Zones and the paths between them; loss, duplication and delay are those of links that do not say otherwise.

    Attributes:
        zones: Every zone that a node, or the client, is in.
        links: Path by (from, to), complete for `zones`, a zone with itself included.
        loss: Probability that a message is lost.
        duplication: Probability that a message arrives twice.
        reorder: Probability that a message is held up, so that later ones overtake it.
        reorder_delay: How long it is held up.
        client_zone: Where the clients are; None: beside the entry node, without delay.
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
        ack: What an ack says: the message is in ``memory`` (a crash of the broker loses it), on a ``quorum`` of replicas, or forced to disk (``fsync``).
        ack_latency: Time until it acks, beside the network.
        linger: How long a producer holds a message back to fill a batch; its crash loses the batch.
        redelivery: Time after which an unacknowledged delivery comes again.
        deduplication_window: How long it remembers message ids to drop a producer's duplicates; 0: not.
        deduplication_after_restart: Which of these ids it still knows after a crash: those of messages that it still holds (``stored``, as a JetStream
            work queue), ``all`` (as a JetStream limits stream), or ``none``. A broker that acks from ``memory`` knows none.
        ordered: Whether messages of one transaction to one consumer come in order, one at a time.
        retention: Age at which an undelivered message is dropped; None: never.
        kind: Which product it is like (`simtx.scenario.broker_kinds`); the mechanisms below are those of the kind, unless the scenario says otherwise.
        partitions: A log with so many partitions for each consumer, read in order, with offsets; 0: a queue, where each message is acknowledged by itself.
        fetch: Events of a partition that a consumer gets at once; it handles them one after the other.
        commit_every: How often a consumer commits its offset in a partition; after its crash all later events are delivered again. 0: after each event.
        delivery_limit: Deliveries after which an unacknowledged message becomes a dead letter; None: no limit.
        backoff: Time until the second, third, ... delivery, in place of `redelivery`; the last one holds for all further.
        nack: Whether a consumer that cannot handle a message sends a negative acknowledgement; else it sends nothing.
        nack_delay: Time from a negative acknowledgement to the next attempt; 0: at once (1 ms).
        deduplication_by: ``message``: a repetition is known whoever sends it; ``producer``: only if the process that has published it repeats it, and has not
            been started anew in between.
        poison: Share of events that their consumer can never handle: every attempt fails, before anything has happened.
        poison_transactions: Transactions, counted from 0, of which every event is poison, beside that share.
        poison_until: When consumers that can handle it are in place: from then on nothing is poison any more; None: never.
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
        """Difference from a plain broker, as the subject of a sentence; empty: none."""
        if self.kind != "plain":
            return f"a broker of the kind '{self.kind}'"
        plain = {one.name: one.default for one in fields(self) if one.default is not MISSING}
        changed = [name for name, value in plain.items() if getattr(self, name) != value]
        return f"a broker with {', '.join(changed)}" if changed else ""

    @property
    def poisoned(self) -> bool:
        """Return whether any event may be poison."""
        return self.poison > 0 or bool(self.poison_transactions)

    def overdue(self, deliveries: int) -> float:
        """Seconds until a message comes again that was delivered so many times and was not acknowledged."""
        return self.backoff[min(deliveries, len(self.backoff)) - 1] if self.backoff else self.redelivery


AT_ONCE: Final = 0.001
"""Seconds between two attempts at an event that comes again at once: nobody fails in no time."""


@dataclass(frozen=True, slots=True)
class HostSpec:
    """A machine whose cores the processes of some nodes share.

    A node is one process. What it has to do is done in the order in which it comes in, and the next event waits until the last effect has left. The cores go to
    the processes that have something to do, in the order in which they came, each for a time slice (`simtx.simulator.host`). On Linux that is some milliseconds.
    A node that is on no host has a processor of its own that takes no time. What the end of a forced write causes is in the time of the forced write.

    Attributes:
        cores: How many it has.
        speed: Divisor of the processor times: 2 is a machine twice as fast.
        nodes: Which processes are on it: services, ``hub``, ``broker``, ``client``.
        neighbours: Processes of others that never rest: noisy neighbours.
        parallel: Whether a process can use several cores at once; False: one at most, as with an interpreter's lock.
        event: Processor time to handle a message, a timer, a delivery or a request.
        effect: Likewise, for each message, event, ack or answer that it sends, one after the other.
        transaction: Likewise, for a local transaction, beside its service time.
        forced_write: Likewise, for a forced write outside of local transactions: a record of the coordinator, the end of a prepared branch.
        quantum: Time slice: a process that has had a core for so long goes to the end of the queue, after what it is doing.
        restart: Processor time to start a process anew, after a crash or for an upgrade, behind the downtime of the fault, one time slice after the other. A
            node comes back when it has had it. A service with a relay beside it starts two processes at once.
        event_aside: Processor time that an event costs other processes of the node when it has been handled, and for which nobody waits.
        transaction_aside: Likewise, a local transaction: what its database server does.
        forced_write_aside: Likewise, a forced write outside of local transactions.
        mark_aside: Likewise, an event of the outbox that is marked as published.
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
    restart: float = field(default=0.0, metadata={"later": True})
    event_aside: float = field(default=0.0, metadata={"later": True})
    transaction_aside: float = field(default=0.0, metadata={"later": True})
    forced_write_aside: float = field(default=0.0, metadata={"later": True})
    mark_aside: float = field(default=0.0, metadata={"later": True})


@dataclass(frozen=True, slots=True)
class CommonMode:
    """Degree to which nodes are slow at the same time: on one machine, behind one storage system, beside one noisy neighbour.

    Every latency keeps its distribution; what is drawn at the same time is correlated through a common factor (a Gaussian copula with one
    factor; R. B. Nelsen, An Introduction to Copulas, 2006), and the factor forgets (an Ornstein-Uhlenbeck process).

    Attributes:
        links: Rank correlation of two latencies of messages drawn at the same time, 0 to 1; the broker's acknowledgement is one.
        writes: Likewise, of two forced writes.
        memory: Time after which e times less of the correlation is left.
        shared_flush: Probability that a forced write ends together with that of another node which began just before, as one commit of a file
            system's journal makes both durable.
        shared_flush_within: How long before at most.
    """

    links: float
    writes: float
    memory: float
    shared_flush: float = field(default=0.0, metadata={"later": True})
    shared_flush_within: float = field(default=0.0004, metadata={"later": True})
