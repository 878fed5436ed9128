"""Schema of a scenario file: keys, types and defaults. Everything that spans more than one entry is in `checks`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from simtx.protocols.derived.aggregate import Append, Conflict
from simtx.protocols.derived.copies import Check, Update, Updater
from simtx.protocols.derived.group import Begin, Guard
from simtx.protocols.policies import BreakerPolicy, Policies
from simtx.scenario.broker_kinds import BrokerKind, KnownBy
from simtx.scenario.business import Popularity
from simtx.scenario.catalog import brokers, forced_writes
from simtx.scenario.distributions import Constant, Exponential
from simtx.scenario.fault_kinds import FaultKind
from simtx.scenario.fields import (
    AckLatency,
    Chance,
    Counts,
    Factor,
    ForcedWrite,
    Latency,
    MaybeChance,
    MaybeFactor,
    MaybeLatency,
    MaybeMoment,
    MaybeNumber,
    MaybeNumbers,
    MaybePeriod,
    MaybePositive,
    MaybeRate,
    MaybeSeconds,
    MaybeWhole,
    Name,
    Number,
    Period,
    Positive,
    Profile,
    Rate,
    Seconds,
    Waits,
    Whole,
)
from simtx.scenario.infrastructure import Acknowledgement, Flush, Isolation, Locks, OutboxOrder, Remembered
from simtx.scenario.model import AskAgain, ClientsSpec, DeadlockRule, WorkloadKind
from simtx.scenario.versions import CURRENT, EventVersion, Unread

_DEFAULTS = Policies()
_CLIENTS = ClientsSpec()


def _field(description: str, default: Any = ..., **options: Any) -> Any:
    return Field(default, description=description, **options)


class Table(BaseModel):
    """Base of all tables of a file: unknown keys are refused, texts are not taken for numbers."""

    model_config = ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True, frozen=True)


class LogFile(Table):
    """A durable log."""

    forced_write: ForcedWrite = _field(
        "Time until a forced record is on disk.", default_factory=lambda: forced_writes()["ebs-gp3"].latency
    )
    flush: Flush = _field(
        "`group`: records that arrive during a flush share the next; `serial`: one flush a record, one after the other; "
        "`parallel`: every record takes its own time without queueing.",
        "group",
    )
    lazy_flush: Period = _field("Period of the background flush of records that are not forced.", 0.2)


class StoreFile(Table):
    """The database of a service."""

    isolation: Isolation = _field(
        "`read-committed`: reads take no locks; `serializable`: reads lock the row as writes do.", "read-committed"
    )
    lock_timeout: Period = _field("How long a local transaction waits for a row lock before it fails.", 1.0)
    initial: dict[str, Number] = _field(
        "Value at the start by key, or by prefix if the name ends in `*`; every other key starts at 0.",
        default_factory=dict,
    )
    replica_lag: MaybeLatency = _field("Delay after which a read replica shows a commit; absent: no replica.", None)
    outbox_order: OutboxOrder = _field(
        "Order of the numbers of outbox rows. `insert`: a row is numbered when it is inserted, as from a sequence (PostgreSQL); a local "
        "transaction inserts its rows when a worker begins on it, so that they may appear behind rows with higher numbers. `commit`: in the order "
        "of commits, as with one writer (SQLite).",
        "insert",
    )
    locks: Locks = _field(
        "For how long a local transaction has its row locks. `write`: the service works first, then locks the rows for the forced write alone. `work`: "
        "it locks the rows first, and works inside the transaction of the database: a hot key is locked for the service time, too.",
        "write",
    )
    log: LogFile = _field("Its redo log.", default_factory=LogFile)


class ProviderFile(Table):
    """A party outside that does the steps of this service: a card processor, a mail gateway. The service calls it; it cannot prepare."""

    latency: Latency = _field(
        'From the request to its answer; quantiles are enough: `{ p50 = "250ms", p99 = "900ms" }`.'
    )
    timeouts: Chance = _field("Share of requests that get no answer, so that nobody knows whether they were done.", 0.0)
    timeouts_done: Chance = _field("Of those, the share that was done nevertheless.", 0.5)
    timeout: Period = _field("How long the service waits for an answer; a later one is ignored.", 5.0)
    rate_limit: MaybeRate = _field("Requests a second that it takes; those beyond get a 429; absent: any number.", None)
    burst: MaybePositive = _field(
        "Requests that it takes at once; absent: as many as `rate_limit` has in a second.", None
    )
    retry_after: Period = _field("How long a request over the limit waits before it is sent again.", 1.0)
    idempotency: MaybePeriod = _field(
        "How long it remembers the key of a request, and answers a repetition without doing it again; absent: it knows no keys.",
        None,
    )
    status_query: bool = _field(
        "Whether it can be asked how a request has ended. The service then forces a note before each request, and asks before it repeats one.",
        False,
    )


class ServiceFile(Table):
    """A node with workers and one store. Keys that a service does not give are taken from `[defaults]`."""

    zone: str | None = _field(
        "Region, region and availability zone (`frankfurt/b`), `local`, or a zone of `network.zones`; absent: where the first "
        "service runs, and for that one `local`.",
        None,
    )
    workers: Positive = _field("Local transactions that it can work on at once.", 1)
    service_time: Latency = _field("Work that one step costs a worker, beside waiting for locks and disks.")
    compensation_time: MaybeLatency = _field("The same for a compensation; absent: as `service_time`.", None)
    queue_limit: MaybeWhole = _field(
        "Requests that may wait for a worker; those beyond are dropped, as if lost; absent: no limit.", None
    )
    store: StoreFile = _field("Its database.", default_factory=StoreFile)
    provider: ProviderFile | None = _field(
        "The party outside that does its steps; absent: its own database does them.", None
    )


class DerivedFile(Table):
    """A derived store: copies of some values of a service, which others read; a cache, a search index. It changes no transaction."""

    service: str = _field("The service whose values it copies.")
    key: str = _field(
        "Which of them: a template as in an operation, such as `stock:{product}`. A read draws its parameters as a transaction does."
    )
    update: Update = _field(
        "What a commit does to the copy: `invalidate` removes it, `copy` puts the new value, `none`: nothing.",
        "invalidate",
    )
    by: Updater = _field(
        "How the update comes: by an `event` that follows the commit; by the `writer`, whose crash between the commit and the update loses it; "
        "by `writer-before`: the writer invalidates when it begins, before it commits.",
        "event",
    )
    fill: bool = _field(
        "Whether a reader that finds no copy fills in what it reads from the service's store. Without it, all values are there at the start.",
        True,
    )
    check: Check = _field(
        "What is checked before a copy is taken: `none`; the `version`: nothing older than the newest update; the `lease`: no filling by a reader "
        "that has missed before the last invalidation.",
        "none",
    )
    ttl: MaybePeriod = _field("Time to live of a copy; absent: it has none.", None)
    lag: Latency = _field("Time from a commit until its update arrives.", Exponential(0.02))
    ordered: bool = _field(
        "Whether updates by `event` arrive in the order of the commits; those of writers do not.", True
    )
    loss: Chance = _field("Probability that an update is lost.", 0.0)
    reads: Rate = _field("Reads a second.")
    fill_time: Latency = _field(
        "Time from a reader's read of the service's store until its copy is there.", Exponential(0.005)
    )


class GroupFile(Table):
    """A consumer group: instances that share the partitions of the events of a service, in the log of the broker. It changes no transaction."""

    service: str = _field("The service whose commits are the events.")
    key: str = _field("Which of its keys: a template as in an operation. A key is in one partition.")
    partitions: MaybePositive = _field(
        "How many there are; absent: as many as `broker.partitions`, or 8 if that says none.", None
    )
    instances: Positive = _field("How many share them.", 2)
    checkpoint: Literal["with", "after"] = _field(
        "`with`: the checkpoint is written in the local transaction of the effect; `after`: behind it, every `broker.commit_every`.",
        "with",
    )
    guard: Guard = _field(
        "What is checked where something is written: the `epoch` of the assignment, the `checkpoint` (an offset is taken in its turn), or `none`.",
        "epoch",
    )
    begin: Begin = _field("Where a new owner begins: at the `checkpoint`, or at the `end` of the log.", "checkpoint")
    service_time: Latency = _field("Time that an instance takes for an event.", Exponential(0.005))
    lag: Latency = _field("Time from a commit until its event reaches the broker.", Exponential(0.01))
    commit_time: Latency = _field("`after`: time that it takes to write a checkpoint.", Exponential(0.02))
    session: Period = _field("Time without a heartbeat after which the broker takes an instance for dead.", 10.0)
    pause_every: MaybeLatency = _field(
        "Time from the end of a pause of an instance (a garbage collector) to its next one; absent: it is never paused.",
        None,
    )
    pause: Latency = _field("How long a pause is.", Exponential(1.0))


class AggregateFile(Table):
    """Event-sourced aggregates, and the commands that come for them; each takes 1 from its aggregate. They change no transaction."""

    key: str = _field(
        "Which aggregate a command is for: a template, whose parameters are drawn as a transaction draws them."
    )
    commands: Rate = _field("Commands, over all aggregates, in a Poisson stream.")
    append: Append = _field(
        "`expected`: an append says which version it has seen, and meets a conflict if that is not the version any more; `any`: it does not.",
        "expected",
    )
    conflict: Conflict = _field(
        "What becomes of a command that met a conflict: `decide`: it is decided again; `append`: its events are appended again; `give-up`.",
        "decide",
    )
    recognises: bool = _field("Whether an aggregate knows the commands that it has worked off.", True)
    attempts: MaybePositive = _field("Attempts after which a command is given up; absent: never.", None)
    load_time: Latency = _field("Time to load an aggregate, without its events.", Exponential(0.002))
    event_time: Seconds = _field("Time that each event takes that is folded.", 0.0)
    snapshot_every: MaybePositive = _field("A snapshot is written after so many events; absent: never.", None)
    decide_time: Latency = _field(
        "Time from the state to the decision, of a program or of a person.", Exponential(0.005)
    )
    append_time: Latency = _field("Time that the store takes to write an append.", Exponential(0.002))
    retry_after: Latency = _field("Time from a conflict to the next attempt.", Exponential(0.005))
    loss: Chance = _field("Probability that the answer to an append is lost.", 0.0)
    timeout: Period = _field("Time after which who has no answer asks again.", 1.0)
    balance: Whole = _field("What each aggregate has at the start.", 1_000_000)


class HubFile(Table):
    """The node of the strategy beside the services: a 2PC coordinator or a saga orchestrator."""

    zone: str | None = _field("Where it runs; absent: where the first service runs.", None)
    log: LogFile = _field("Its durable log.", default_factory=LogFile)


class VoteStoreFile(Table):
    """The store that the participants of a transaction share for their votes, under `cornus`; other strategies have none."""

    zone: str | None = _field("Where it runs; absent: where the first service runs.", None)
    log: LogFile = _field(
        "Its durable log: a first vote is forced before the answer, and a further one for the same row only reads.",
        default_factory=LogFile,
    )


class LinkFile(Table):
    """Exceptions for the links between two zones; of several entries that fit, the last one that gives a value wins."""

    between: list[str] | None = _field("Two zones or regions, both directions. Either this, or `from` and `to`.", None)
    from_: str | None = _field("Zone or region where the direction begins.", None, alias="from")
    to: str | None = _field("Zone or region where it ends.", None)
    latency: MaybeLatency = _field("One-way delay; absent: from regions.toml, or `network.latency`.", None)
    loss: MaybeChance = _field("Probability that a message is lost; absent: `network.loss`.", None)
    duplication: MaybeChance = _field("Probability that it arrives twice; absent: `network.duplication`.", None)
    reorder: MaybeChance = _field("Probability that it is held up; absent: `network.reorder`.", None)
    reorder_delay: MaybeLatency = _field("How long it is held up; absent: `network.reorder_delay`.", None)


class NetworkFile(Table):
    """Links between the zones. Their latency is that of regions.toml by default."""

    zones: list[str] = _field(
        "Further zones, of your own; give their latencies in `links` or `latency`.", default_factory=list
    )
    latency: MaybeLatency = _field("One-way delay of all links, also inside a zone, instead of regions.toml.", None)
    tail: bool = _field("Whether latencies from regions.toml get their assumed tail, or are constants.", True)
    loss: Chance = _field("Probability that a message is lost.", 0.0)
    duplication: Chance = _field("Probability that a message arrives twice.", 0.0)
    reorder: Chance = _field("Probability that a message is held up, so that later ones overtake it.", 0.0)
    reorder_delay: Latency = _field("How long it is held up.", Exponential(0.01))
    client_zone: str | None = _field("Where the clients are; absent: beside the entry node, without delay.", None)
    links: list[LinkFile] = _field("Exceptions, one `[[network.links]]` table each.", default_factory=list)


class BrokerFile(Table):
    """The message broker: at least once, with acknowledgements."""

    zone: str | None = _field("Where it runs; absent: where the first service runs.", None)
    ack: Acknowledgement = _field(
        "What an ack says: the message is in `memory` (a crash of the broker loses it), on a `quorum` of replicas, or forced to disk "
        "(`fsync`).",
        "quorum",
    )
    ack_latency: AckLatency = _field(
        "Time until it acks, beside the network.", default_factory=lambda: brokers()["kafka"].latency
    )
    linger: Latency = _field(
        "How long a producer holds a message back to fill a batch; its crash loses the batch.", Constant(0.0)
    )
    redelivery: Period = _field("Time after which an unacknowledged delivery comes again.", 30.0)
    deduplication_window: Seconds = _field(
        "How long it remembers message ids to drop a producer's duplicates; 0: not.", 0.0
    )
    deduplication_after_restart: Remembered = _field(
        "Which of these ids it still knows after a crash: those of messages that it still holds (`stored`, as a JetStream work queue), `all` (as a "
        "JetStream limits stream), or `none`. A broker that acks from `memory` knows none.",
        "stored",
    )
    ordered: bool = _field("Whether messages of one transaction to one consumer come in order, one at a time.", True)
    retention: MaybePeriod = _field("Age at which an undelivered message is dropped; absent: never.", None)
    kind: BrokerKind = _field(
        "The product that it is like ([Brokers](brokers.md)), whose defaults replace those of this table; keys of the file override them.",
        "plain",
    )
    partitions: Whole = _field(
        "A log with so many partitions for each consumer, read in order, with offsets; 0: a queue, where each message is acknowledged by itself.",
        0,
    )
    fetch: Positive = _field(
        "Events of a partition that a consumer gets at once; it handles them one after the other.", 1
    )
    commit_every: Seconds = _field(
        "How often a consumer commits its offset in a partition; after its crash all later events are delivered again. 0: after each event.",
        0.0,
    )
    delivery_limit: MaybePositive = _field(
        "Deliveries after which an unacknowledged message becomes a dead letter; absent: no limit.", None
    )
    backoff: Waits = _field(
        "Time until the second, third, ... delivery, in place of `redelivery`; the last one holds for all further.", ()
    )
    nack: bool = _field(
        "Whether a consumer that cannot handle a message sends a negative acknowledgement; else it sends nothing.",
        False,
    )
    nack_delay: Seconds = _field("Time from a negative acknowledgement to the next attempt; 0: at once (1 ms).", 0.0)
    deduplication_by: KnownBy = _field(
        "`message`: a repetition is known whoever sends it; `producer`: only if the process that has published it repeats it, and has not been "
        "started anew in between.",
        "message",
    )
    poison: Chance = _field(
        "Share of events that their consumer can never handle: every attempt fails, before anything has happened.", 0.0
    )
    poison_transactions: Counts = _field(
        "Transactions, counted from 0, of which every event is poison, beside that share.", ()
    )
    poison_until: MaybeSeconds = _field(
        "When consumers that can handle it are in place: from then on nothing is poison any more; absent: never.", None
    )


class ParameterFile(Table):
    """Something that is drawn once for each transaction: a key (`population`) or a number (`values`)."""

    population: MaybePositive = _field("Number of keys.", None)
    popularity: Popularity = _field(
        "`uniform`, or `zipf`: the key of rank r, from 1, is drawn with probability proportional to r^-exponent.",
        "uniform",
    )
    exponent: Factor = _field("Exponent of the Zipf law; 0.99 is that of the YCSB benchmark.", 0.99)
    prefix: str = _field("Text before the key's rank, counted from 0.", "")
    values: MaybeNumbers = _field("Distribution of a number.", None)
    integer: bool = _field("Whether the number is rounded to a whole one.", False)


class OperationFile(Table):
    """One operation on one key."""

    key: str = _field("Template: `{name}` stands for a key parameter, `{tx}` for the transaction's number.")
    kind: Literal["add", "set", "read"] = _field("`add` to the value, `set` it, or `read` it.", "add")
    amount: MaybeNumber = _field(
        "The change or the new value; with a `parameter`, what its draw is multiplied with.", None
    )
    parameter: str | None = _field("A number parameter.", None)
    low: MaybeNumber = _field("Guard: the step is refused if the value would fall below.", None)
    high: MaybeNumber = _field("Guard: the step is refused if the value would rise above.", None)


class StepFile(Table):
    """A step of the business transaction, on one service."""

    name: Name = _field("Unique name.")
    service: str = _field("The service that does it.")
    kind: Literal["compensatable", "pivot", "retriable"] = _field(
        "`compensatable`: can be undone; `pivot`: the point of no return, at most one; `retriable`: after it, cannot be refused.",
        "compensatable",
    )
    after: list[str] | None = _field("Steps that have to be done before; absent: the step before it in the file.", None)
    operations: list[OperationFile] = _field("What it does: one local transaction.", default_factory=list)
    compensation: list[OperationFile] = _field("What undoes it: one local transaction.", default_factory=list)
    refusal: Chance = _field("Probability that the business says no, whatever the data.", 0.0)
    service_time: MaybeLatency = _field("Work that it costs; absent: the service's `service_time`.", None)
    compensation_time: MaybeLatency = _field(
        "Work of the compensation; absent: the service's, and without that too, that of the action.", None
    )


class TransactionFile(Table):
    """The business transaction: a directed acyclic graph of steps."""

    name: str = _field("What it is called.", "transaction")
    parameters: dict[str, ParameterFile] = _field("What is drawn for each transaction, by name.", default_factory=dict)
    steps: list[StepFile] = _field("Its steps, one `[[transaction.steps]]` table each.", min_length=1)


class WorkloadFile(Table):
    """When transactions arrive."""

    kind: WorkloadKind = _field(
        "`poisson`; `deterministic`: equal gaps; `bursty`: Poisson that switches between two rates; `profile`: Poisson with a "
        "piecewise constant rate; `trace`: times from a file; `closed`: users who think, ask and wait for the answer.",
        "poisson",
    )
    rate: MaybeRate = _field("Transactions a second; of a bursty workload, outside bursts (absent: 0).", None)
    burst_rate: MaybeRate = _field("bursty: rate inside a burst.", None)
    burst_on: MaybePeriod = _field("bursty: average length of a burst.", None)
    burst_off: MaybePeriod = _field("bursty: average time between bursts.", None)
    profile: Profile = _field("profile: the rate from each time on; the last one holds for ever.", ())
    trace: str | None = _field(
        "trace: a CSV file with a column `time` in seconds; columns named as parameters give those.", None
    )
    format: Literal["csv", "common", "combined"] = _field(
        "trace: `csv`: a table with a header; `common`, `combined`: an access log of Apache or nginx, sorted by the time of the request.",
        "csv",
    )
    column: dict[str, str] = _field(
        'trace: columns by what they give, where the names differ: `{ time = "TIMESTAMP", amount = "Total" }`.',
        default_factory=dict,
    )
    ignore: list[str] = _field(
        "trace: columns that are not needed; `*`: all that are not. Any other column that nothing uses is an error.",
        default_factory=list,
    )
    unit: str | None = _field(
        "trace: `ns`, `us`, `ms`, `s`, `min`, `h`, `d`; `datetime`: date-times in ISO 8601; or their format, such as `%d.%m.%Y %H:%M:%S`; "
        "absent: `s`, in an access log its own format.",
        None,
    )
    origin: MaybeMoment = _field(
        "trace: the moment that is the run's time zero: `first`: that of the first arrival; or a moment, written as in the file; absent: 0, "
        "in an access log `first`.",
        None,
    )
    sort: bool = _field(
        "trace: whether rows are brought into the order of their times; without it, one out of order is an error.",
        False,
    )
    spread: MaybePeriod = _field(
        "trace: the tick of the file's clock, over which arrivals with the same time are spread evenly; absent: they arrive at once.",
        None,
    )
    users: MaybePositive = _field("closed: number of users.", None)
    think_time: MaybeLatency = _field("closed: time between an answer and the same user's next request.", None)


class ClientBackoffFile(Table):
    """How long a client waits before it asks again: uniform between 0 and min(cap, base * factor^attempt)."""

    base: Period = _field("Bound of the first wait.", _CLIENTS.backoff.base)
    factor: Factor = _field("Growth per attempt.", _CLIENTS.backoff.factor)
    cap: Period = _field("No wait is longer.", _CLIENTS.backoff.cap)


class ClientBudgetFile(Table):
    """A limit of the further requests of all clients together. A client that finds it spent does not ask again, and waits for its answer until its deadline."""

    ratio: Chance = _field(
        "Further requests that each first request earns: `10%` lets one in ten through in the long run."
    )
    burst: Positive = _field(
        "Further requests that may be saved up, and that are there at the start.", _CLIENTS.budget_burst
    )


class ClientsFile(Table):
    """What clients do when no answer comes. Latencies count from a client's first request."""

    ask_again: AskAgain = _field(
        "`never`: a client asks once; `unreached`: it asks again, with the same id, when its request has reached nobody (the entry node was "
        "down, or the request was lost on the way); `unanswered`: also when the request was received and no answer has come for "
        "`timeout`, under strategies that recognise a request that comes again.",
        _CLIENTS.ask_again,
    )
    deadline: Period = _field(
        "Time after its first request at which a client gives up; the transaction then counts as unanswered.",
        _CLIENTS.deadline,
    )
    timeout: Period = _field("`unanswered`: how long it waits for an answer before it asks again.", _CLIENTS.timeout)
    backoff: ClientBackoffFile = _field("Wait before each further request.", default_factory=ClientBackoffFile)
    budget: ClientBudgetFile | None = _field("A limit of further requests; absent: none.", None)
    deadline_travels: bool = _field(
        "Whether the deadline goes with the transaction. A service then begins no step behind it that may still be refused, and refuses it instead, "
        "until the client has its answer.",
        False,
    )


class TriggerFile(Table):
    """A place in a protocol at which a node crashes."""

    transaction: Whole = _field("Number of the transaction, from 0.")
    effect: str = _field(
        "Name of the effect, such as `Append`, or with what is inside, such as `Append:commit`, `Message:prepare`. `Publish` and "
        "`MarkOutbox` are also found where a relay works off the transaction's events."
    )
    when: Literal["before", "after"] = _field("Just before it or just after it.", "after")
    occurrence: Positive = _field("The first such effect, the second, ...", 1)


class FaultFile(Table):
    """Something that goes wrong: at a time (`at`), at random times (`every`), or at a place in a protocol (`trigger`)."""

    kind: FaultKind = _field(
        'What happens. In a `broker-outage` the broker\'s process is gone and its machine is not: publications are refused after a round trip. If the machine should not answer at all, use `partition` with `a = ["broker"]`. In a `provider-outage` nobody reaches the provider of a service, and none of its answers arrives; a provider that is `provider-degraded` is slower, and leaves more requests without an answer.'
    )
    node: str | None = _field(
        "The service, or `hub`, that it happens to, or whose provider, or `acceptor-1` and so on under a strategy that has such nodes; `*`: each service and the hub, independently. "
        "Not for links and the broker.",
        None,
    )
    at: MaybeSeconds = _field("When it begins.", None)
    every: MaybeLatency = _field("Time from its end (at first, from 0) to its next beginning.", None)
    until: MaybeSeconds = _field("With `every`: it does not begin after this time any more.", None)
    trigger: TriggerFile | None = _field("crash only: the place in a protocol.", None)
    duration: Latency = _field("How long it lasts.")
    factor: MaybeFactor = _field(
        "slow: service times are multiplied by it; clock-drift: durations of timers; provider-degraded: times until an answer.",
        None,
    )
    probability: MaybeChance = _field(
        "loss, duplication, reorder: on top of the link's own; provider-degraded: share of requests without an answer, on top of the provider's own.",
        None,
    )
    a: list[str] = _field("Links only: nodes, zones or regions on one side; empty: all links.", default_factory=list)
    b: list[str] = _field("Links only: the other side; empty: everything else.", default_factory=list)
    one_way: bool = _field("Links only: only messages from `a` to `b` are hit.", False)


class EventsFile(Table):
    """Versions of the form of events, before any upgrade."""

    version: EventVersion = _field("What every process reads and writes at the start.", CURRENT)
    unread: Unread = _field(
        "What a consumer does with an event that it cannot read: `stop` its lane (a transaction, or a partition) until it is upgraded, or take it for a "
        "`dead-letter` and go on.",
        "stop",
    )


class UpgradeFile(Table):
    """A node is stopped in order and started again with another version of the events: a step of a rolling upgrade."""

    node: str = _field("The service, or `hub`; `*`: all, one after the other in their order in the file, the hub last.")
    at: Seconds = _field("When.")
    to: EventVersion = _field("The version that it reads from then on, with all older ones.")
    writes: EventVersion | None = _field("The version that it writes from then on; absent: the same.", None)
    duration: Seconds = _field("For how long it is away meanwhile, when it is simulated.", 1.0)
    gap: Seconds = _field("With `*`: time from when one is back to when the next one goes.", 0.0)


class TermFile(Table):
    """A part of a conserved sum."""

    service: str = _field("The service.")
    prefix: str = _field("All keys of its store that begin so.")
    weight: Number = _field("Weight of their values in the sum.", 1.0)


class InvariantFile(Table):
    """Something that has to hold over committed values. All-or-nothing per transaction is always checked."""

    name: str = _field("What it is called.")
    kind: Literal["conserved", "bounds"] = _field("`conserved`: a weighted sum is what it was at the start; `bounds`.")
    unit: str = _field("Unit of the values: `EUR`, `pieces`.", "")
    terms: list[TermFile] = _field("conserved: the terms of the sum.", default_factory=list)
    service: str | None = _field("bounds: the service.", None)
    prefix: str | None = _field("bounds: all keys that begin so.", None)
    low: MaybeNumber = _field("bounds: lower bound.", None)
    high: MaybeNumber = _field("bounds: upper bound.", None)


class BackoffFile(Table):
    """Capped exponential back-off with full jitter: a wait is uniform between 0 and min(cap, base * factor^attempt)."""

    base: Period = _field("Bound of the first wait.", _DEFAULTS.backoff.base)
    factor: Factor = _field("Growth per attempt.", _DEFAULTS.backoff.factor)
    cap: Period = _field("No wait is longer.", _DEFAULTS.backoff.cap)


class BreakerFile(Table):
    """A circuit breaker. One trial goes through in a cooldown, and calls do not wait for each other.

    Libraries differ: circuitbreaker 2.1.3, aiobreaker 1.2.0 and purgatory 3.0.1 let every caller through once the cooldown is over, and pybreaker 1.4.1 makes the
    calls of all threads one after the other (scripts in `findings/` show it).
    """

    threshold: Positive = _field("Consecutive failed calls that open it.", BreakerPolicy().threshold)
    cooldown: Period = _field("Time until one trial call is let through.", BreakerPolicy().cooldown)


class CommonModeFile(Table):
    """How far nodes are slow at the same time: on one machine, beside one noisy neighbour. Every latency keeps its distribution."""

    links: Chance = _field(
        "Rank correlation of two latencies of messages drawn at the same time, 0 to 1; the broker's acknowledgement is one.",
        0.0,
    )
    writes: Chance = _field("Likewise, of two forced writes.", 0.0)
    memory: Period = _field("Time after which e times less of the correlation is left.", 0.2)


class HostFile(Table):
    """A machine whose cores the processes of some nodes share. A node that is on no host has a processor of its own that takes no time."""

    cores: Positive = _field("How many it has.", 1)
    speed: Factor = _field("Divisor of the processor times: 2 is a machine twice as fast.", 1.0)
    nodes: list[str] = _field(
        "The nodes that run on it: services, `hub`, `broker`, `client`; `*`: all that are on no other host.",
        min_length=1,
    )
    neighbours: Whole = _field("Processes of others that never rest: noisy neighbours.", 0)
    parallel: bool = _field(
        "Whether a process can use several cores at once; `false`: one at most, as with an interpreter's lock.", False
    )
    event: Seconds = _field("Processor time to handle a message, a timer, a delivery or a request.", 0.0)
    effect: Seconds = _field(
        "Likewise, for each message, event, ack or answer that it sends, one after the other.", 0.0
    )
    transaction: Seconds = _field("Likewise, for a local transaction, beside its service time.", 0.0)
    forced_write: Seconds = _field(
        "Likewise, for a forced write outside of local transactions: a record of the coordinator, the end of a prepared branch.",
        0.0,
    )
    quantum: Period = _field(
        "Time slice: a process that has had a core for so long goes to the end of the queue, after what it is doing.",
        0.003,
    )


class PoliciesFile(Table):
    """Timeouts and retries, for strategies without policies of their own."""

    call_timeout: Period = _field(
        "How long a saga waits for a reply before it sends the command again.", _DEFAULTS.call_timeout
    )
    attempts: Positive = _field(
        "How often a command before the pivot is sent before its step is compensated.", _DEFAULTS.attempts
    )
    compensation_attempts: MaybePositive = _field(
        "How often a compensation is sent before the saga is stuck; absent: for ever, with an alert.", None
    )
    alert_after: Positive = _field(
        "Attempts at an operation that is repeated for ever, after which an alert is raised.", _DEFAULTS.alert_after
    )
    vote_timeout: Period = _field("How long a 2PC coordinator waits for votes.", _DEFAULTS.vote_timeout)
    acknowledgement_timeout: Period = _field(
        "How long it waits for acknowledgements before it sends the decision again.", _DEFAULTS.acknowledgement_timeout
    )
    inquiry_timeout: Period = _field(
        "How long a prepared participant waits before it inquires.", _DEFAULTS.inquiry_timeout
    )
    idle_timeout: Period = _field("How long a participant keeps an unprepared branch open.", _DEFAULTS.idle_timeout)
    backoff: BackoffFile = _field(
        "Wait on top of the timeout before every further attempt.", default_factory=BackoffFile
    )
    publish_timeout: Period = _field("How long a producer waits for the broker's ack.", _DEFAULTS.publish_timeout)
    publish_attempts: Positive = _field("How often a dual write tries to publish.", _DEFAULTS.publish_attempts)
    poll_interval: Period = _field("Period of the polling outbox relay.", _DEFAULTS.poll_interval)
    dedup_retention: Period = _field(
        "How long stores keep the rows by which they recognise what was done before; safe only if nothing is delivered or undone later than that.",
        _DEFAULTS.dedup_retention,
    )
    poll_batch: Positive = _field("Rows that the relay reads at once.", _DEFAULTS.poll_batch)
    maximum_hops: Positive = _field(
        "Choreographed events with more hops than this are refused as a cycle.", _DEFAULTS.maximum_hops
    )
    breaker: BreakerFile | None = _field("Circuit breaker of every caller towards every node; absent: none.", None)


class RunFile(Table):
    """How long a run is: `transactions` or `duration`."""

    transactions: MaybePositive = _field("Number of transactions that arrive.", None)
    duration: MaybePeriod = _field("Time during which they arrive.", None)
    warmup: Seconds = _field("Transactions that arrive before this time are left out of the statistics.", 0.0)
    drain: Seconds = _field("The run ends at the latest this long after the last arrival.", 60.0)
    timeline_every: MaybePeriod = _field(
        "Time between two samples of the timeline; absent: 200 of them while transactions arrive; after that the distance doubles after every 200.",
        None,
    )
    stratify: bool = _field(
        "For rare faults: each fault with `every` is played in a run of its own, and the runs are weighted by their share of the time, so "
        "that the quiet time between two faults is not simulated.",
        False,
    )
    recovery: MaybePeriod = _field(
        "stratify: how long each fault is watched after its end; absent: as long as the fault lasts, and at least a minute.",
        None,
    )


class ScenarioFile(Table):
    """A scenario."""

    name: str | None = _field("Its name; absent: that of the file.", None)
    title: str = _field("One line that says what it is about.", "")
    description: str = _field("A paragraph.", "")
    services: dict[str, ServiceFile] = _field("By name, one `[services.NAME]` table each.", min_length=1)
    transaction: TransactionFile = _field("The business transaction.")
    workload: WorkloadFile = _field("When transactions arrive.")
    clients: ClientsFile = _field("What clients do when no answer comes.", default_factory=ClientsFile)
    run: RunFile = _field("How long a run is.")
    hub: HubFile = _field("Where a coordinator or an orchestrator runs.", default_factory=HubFile)
    network: NetworkFile = _field("Zones and links.", default_factory=NetworkFile)
    broker: BrokerFile = _field("The message broker.", default_factory=BrokerFile)
    vote_store: VoteStoreFile = _field("The shared store of votes.", default_factory=VoteStoreFile)
    common_mode: CommonModeFile | None = _field(
        "How far nodes are slow at the same time; absent: each by itself.", None
    )
    hosts: dict[str, HostFile] = _field(
        "Machines whose cores nodes share, one `[hosts.NAME]` table each; absent: every node has a processor of its own that takes no time.",
        default_factory=dict,
    )
    derived: dict[str, DerivedFile] = _field(
        "Caches and search indexes, one `[derived.NAME]` table each.", default_factory=dict
    )
    groups: dict[str, GroupFile] = _field("Consumer groups, one `[groups.NAME]` table each.", default_factory=dict)
    aggregates: dict[str, AggregateFile] = _field(
        "Event-sourced aggregates, one `[aggregates.NAME]` table a kind.", default_factory=dict
    )
    events: EventsFile = _field("Versions of events.", default_factory=EventsFile)
    upgrades: list[UpgradeFile] = _field("A rolling upgrade, one `[[upgrades]]` table a step.", default_factory=list)
    faults: list[FaultFile] = _field("What goes wrong, one `[[faults]]` table each.", default_factory=list)
    policies: PoliciesFile = _field("Timeouts and retries.", default_factory=PoliciesFile)
    invariants: list[InvariantFile] = _field("What has to hold, one `[[invariants]]` table each.", default_factory=list)
    deadlocks: DeadlockRule = _field(
        "`timeout`: a lock wait ends by the store's `lock_timeout`; `detect`: a cycle fails the one who closes it; `wait-die`: a younger "
        "transaction never waits for an older one.",
        "timeout",
    )
    sources: dict[str, str] = _field("Where values come from, by path (`*` fits any part of it).", default_factory=dict)
    assumptions: dict[str, str] = _field("Values without a source, by path: why this value.", default_factory=dict)
    uncertainty: dict[str, Any] = _field(
        'How far values may be off, by path: `"20%"`, for all that a path with `*` fits together, or both ends: `["5ms", "30ms"]`. Of a distribution, '
        "its mean. It changes no run; `simtx sensitivity` varies these.",
        default_factory=dict,
    )


#: Keys of a workload by kind: those that it needs, and those that it may have.
WORKLOAD_KEYS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "poisson": (("rate",), ()),
    "deterministic": (("rate",), ()),
    "bursty": (("burst_rate", "burst_on", "burst_off"), ("rate",)),
    "profile": (("profile",), ()),
    "trace": (("trace",), ("format", "column", "ignore", "unit", "origin", "sort", "spread")),
    "closed": (("users", "think_time"), ()),
}

#: Keys at the top of a file that are resolved before the rest is read.
MERGED: Mapping[str, str] = {
    "extends": "A built-in scenario or a file, relative to this one: its tables are taken over, and changed by those of this file. "
    "Lists are replaced as a whole.",
    "calibration": "Measured building blocks of a machine, by the name of their file (`simtx calibrate` makes it) or its path: they take the "
    "place of link latencies, forced writes and the broker's acknowledgement.",
    "defaults": "Values for all services that have none of their own: the keys of a service, `[defaults.store.log]` included.",
}
