"""Schema of a scenario file: keys, types and defaults. Everything that spans more than one entry is in `checks`.

A table is no spec. It knows which of its keys a file states (`model_fields_set`), and a key that is not stated may depend on others; a spec is plain data, in
which everything is decided. What a key means is said once (`meaning`): by the docstring of the spec, or here, where it is about files. The fields are written out,
and not made of those of the spec, so that type checkers know them; a test compares the defaults that both state.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from simtx.protocols.contract import StepKind
from simtx.protocols.derived.aggregate import Append, Conflict
from simtx.protocols.derived.copies import Check, Update, Updater
from simtx.protocols.derived.group import Begin, Guard
from simtx.protocols.policies import Backoff, BreakerPolicy, Policies
from simtx.scenario import business, infrastructure, model, versions
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
    Maybe,
    Moment,
    Name,
    Number,
    Numbers,
    Period,
    Positive,
    Profile,
    Rate,
    Seconds,
    Waits,
    Whole,
)
from simtx.scenario.infrastructure import Acknowledgement, Flush, Isolation, Locks, OutboxOrder, Remembered
from simtx.scenario.model import AskAgain, DeadlockRule, WorkloadKind
from simtx.scenario.versions import CURRENT, EventVersion, Unread

_DEFAULTS = Policies()
_CLIENTS = model.ClientsSpec()


def _field(description: str, default: Any = ..., **options: Any) -> Any:
    return Field(default, description=description, **options)


class Table(BaseModel):
    """Base of all tables of a file: unknown keys are refused, texts are not taken for numbers."""

    model_config = ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True, frozen=True)

    spec: ClassVar[Any]
    """The class of what is made of the table; its docstring says what the keys of the same names mean."""


def meaning(table: type[Table], name: str) -> str:
    """Meaning of a key, in Markdown: its own description, or else what the docstring of the spec says of it."""
    said = table.model_fields[name].description
    return said if said is not None else _attributes(table.spec)[name]


@cache
def _attributes(spec: type) -> Mapping[str, str]:
    """Descriptions of the attributes of a class, from its docstring, as one says them of a file: there, None is to leave a key out."""
    section = (inspect.getdoc(spec) or "").partition("\nAttributes:\n")[2].partition("\n\n")[0]
    found = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", section, re.MULTILINE)
    return {name: " ".join(text.split()).replace("``", "`").replace("None: ", "absent: ") for name, text in found}


class LogFile(Table):
    """A durable log."""

    spec = infrastructure.LogSpec
    forced_write: ForcedWrite = Field(default_factory=lambda: forced_writes()["ebs-gp3"].latency)
    flush: Flush = "group"
    lazy_flush: Period = 0.2


class StoreFile(Table):
    """The database of a service."""

    spec = infrastructure.StoreSpec
    isolation: Isolation = "read-committed"
    lock_timeout: Period = 1.0
    initial: dict[str, Number] = Field(default_factory=dict)
    replica_lag: Maybe[Latency] = None
    outbox_order: OutboxOrder = "insert"
    locks: Locks = "write"
    log: LogFile = Field(default_factory=LogFile)


class ProviderFile(Table):
    """A party outside that does the steps of this service: a card processor, a mail gateway. The service calls it; it cannot prepare."""

    spec = infrastructure.ProviderSpec
    latency: Latency = _field(
        'From the request to its answer; quantiles are enough: `{ p50 = "250ms", p99 = "900ms" }`.'
    )
    timeouts: Chance = 0.0
    timeouts_done: Chance = 0.5
    timeout: Period = 5.0
    rate_limit: Maybe[Rate] = None
    burst: Maybe[Positive] = _field(
        "Requests that it takes at once; absent: as many as `rate_limit` has in a second.", None
    )
    retry_after: Period = 1.0
    idempotency: Maybe[Period] = None
    status_query: bool = False


class ServiceFile(Table):
    """A node with workers and one store. Keys that a service does not give are taken from `[defaults]`."""

    spec = infrastructure.ServiceSpec
    zone: str | None = _field(
        "Region, region and availability zone (`frankfurt/b`), `local`, or a zone of `network.zones`; absent: where the first "
        "service runs, and for that one `local`.",
        None,
    )
    workers: Positive = 1
    service_time: Latency
    compensation_time: Maybe[Latency] = None
    queue_limit: Maybe[Whole] = None
    store: StoreFile = Field(default_factory=StoreFile)
    provider: ProviderFile | None = None


class DerivedFile(Table):
    """A derived store: copies of some values of a service, which others read; a cache, a search index. It changes no transaction."""

    spec = infrastructure.DerivedSpec
    service: str
    key: str
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
    ttl: Maybe[Period] = None
    lag: Latency = Exponential(0.02)
    ordered: bool = True
    loss: Chance = 0.0
    reads: Rate
    fill_time: Latency = Exponential(0.005)


class GroupFile(Table):
    """A consumer group: instances that share the partitions of the events of a service, in the log of the broker. It changes no transaction."""

    spec = infrastructure.GroupSpec
    service: str
    key: str
    partitions: Maybe[Positive] = _field(
        "How many there are; absent: as many as `broker.partitions`, or 8 if that says none.", None
    )
    instances: Positive = 2
    checkpoint: Literal["with", "after"] = _field(
        "`with`: the checkpoint is written in the local transaction of the effect; `after`: behind it, every `broker.commit_every`.",
        "with",
    )
    guard: Guard = _field(
        "What is checked where something is written: the `epoch` of the assignment, the `checkpoint` (an offset is taken in its turn), or `none`.",
        "epoch",
    )
    begin: Begin = _field("Where a new owner begins: at the `checkpoint`, or at the `end` of the log.", "checkpoint")
    service_time: Latency = Exponential(0.005)
    lag: Latency = Exponential(0.01)
    commit_time: Latency = Exponential(0.02)
    session: Period = 10.0
    pause_every: Maybe[Latency] = None
    pause: Latency = Exponential(1.0)


class AggregateFile(Table):
    """Event-sourced aggregates, and the commands that come for them; each takes 1 from its aggregate. They change no transaction."""

    spec = infrastructure.AggregateSpec
    key: str
    commands: Rate
    append: Append = _field(
        "`expected`: an append says which version it has seen, and meets a conflict if that is not the version any more; `any`: it does not.",
        "expected",
    )
    conflict: Conflict = _field(
        "What becomes of a command that met a conflict: `decide`: it is decided again; `append`: its events are appended again; `give-up`.",
        "decide",
    )
    recognises: bool = _field("Whether an aggregate knows the commands that it has worked off.", True)
    attempts: Maybe[Positive] = None
    load_time: Latency = Exponential(0.002)
    event_time: Seconds = 0.0
    snapshot_every: Maybe[Positive] = None
    decide_time: Latency = Exponential(0.005)
    append_time: Latency = Exponential(0.002)
    retry_after: Latency = Exponential(0.005)
    loss: Chance = 0.0
    timeout: Period = 1.0
    balance: Whole = 1_000_000


class HubFile(Table):
    """The node of the strategy beside the services: a 2PC coordinator or a saga orchestrator."""

    spec = infrastructure.HubSpec
    zone: str | None = _field("Where it runs; absent: where the first service runs.", None)
    log: LogFile = Field(default_factory=LogFile)


class VoteStoreFile(Table):
    """The store that the participants of a transaction share for their votes, under `cornus`; other strategies have none."""

    spec = infrastructure.VoteStoreSpec
    zone: str | None = _field("Where it runs; absent: where the first service runs.", None)
    log: LogFile = Field(default_factory=LogFile)


class LinkFile(Table):
    """Exceptions for the links between two zones; of several entries that fit, the last one that gives a value wins."""

    between: list[str] | None = _field("Two zones or regions, both directions. Either this, or `from` and `to`.", None)
    from_: str | None = _field("Zone or region where the direction begins.", None, alias="from")
    to: str | None = _field("Zone or region where it ends.", None)
    latency: Maybe[Latency] = _field("One-way delay; absent: from regions.toml, or `network.latency`.", None)
    loss: Maybe[Chance] = _field("Probability that a message is lost; absent: `network.loss`.", None)
    duplication: Maybe[Chance] = _field("Probability that it arrives twice; absent: `network.duplication`.", None)
    reorder: Maybe[Chance] = _field("Probability that it is held up; absent: `network.reorder`.", None)
    reorder_delay: Maybe[Latency] = _field("How long it is held up; absent: `network.reorder_delay`.", None)


class NetworkFile(Table):
    """Links between the zones. Their latency is that of regions.toml by default."""

    spec = infrastructure.NetworkSpec
    zones: list[str] = _field(
        "Further zones, of your own; give their latencies in `links` or `latency`.", default_factory=list
    )
    latency: Maybe[Latency] = _field("One-way delay of all links, also inside a zone, instead of regions.toml.", None)
    tail: bool = _field("Whether latencies from regions.toml get their assumed tail, or are constants.", True)
    loss: Chance = 0.0
    duplication: Chance = 0.0
    reorder: Chance = 0.0
    reorder_delay: Latency = Exponential(0.01)
    client_zone: str | None = None
    links: list[LinkFile] = _field("Exceptions, one `[[network.links]]` table each.", default_factory=list)


class BrokerFile(Table):
    """The message broker: at least once, with acknowledgements."""

    spec = infrastructure.BrokerSpec
    zone: str | None = _field("Where it runs; absent: where the first service runs.", None)
    ack: Acknowledgement = "quorum"
    ack_latency: AckLatency = Field(default_factory=lambda: brokers()["kafka"].latency)
    linger: Latency = Constant(0.0)
    redelivery: Period = 30.0
    deduplication_window: Seconds = 0.0
    deduplication_after_restart: Remembered = "stored"
    ordered: bool = True
    retention: Maybe[Period] = None
    kind: BrokerKind = _field(
        "The product that it is like ([Brokers](brokers.md)), whose defaults replace those of this table; keys of the file override them.",
        "plain",
    )
    partitions: Whole = 0
    fetch: Positive = 1
    commit_every: Seconds = 0.0
    delivery_limit: Maybe[Positive] = None
    backoff: Waits = ()
    nack: bool = False
    nack_delay: Seconds = 0.0
    deduplication_by: KnownBy = "message"
    poison: Chance = 0.0
    poison_transactions: Counts = ()
    poison_until: Maybe[Seconds] = None


class ParameterFile(Table):
    """Something that is drawn once for each transaction: a key (`population`) or a number (`values`)."""

    spec = business.Parameter
    population: Maybe[Positive] = None
    popularity: Popularity = "uniform"
    exponent: Factor = 0.99
    prefix: str = ""
    values: Maybe[Numbers] = None
    integer: bool = False


class OperationFile(Table):
    """One operation on one key."""

    spec = business.OperationSpec
    key: str
    kind: Literal["add", "set", "read"] = "add"
    amount: Maybe[Number] = None
    parameter: str | None = None
    low: Maybe[Number] = None
    high: Maybe[Number] = None


class StepFile(Table):
    """A step of the business transaction, on one service."""

    spec = business.StepSpec
    name: Name
    service: str
    kind: StepKind = "compensatable"
    after: list[str] | None = _field("Steps that have to be done before; absent: the step before it in the file.", None)
    operations: list[OperationFile] = Field(default_factory=list)
    compensation: list[OperationFile] = Field(default_factory=list)
    refusal: Chance = 0.0
    service_time: Maybe[Latency] = None
    compensation_time: Maybe[Latency] = None


class TransactionFile(Table):
    """The business transaction: a directed acyclic graph of steps."""

    spec = business.Transaction
    name: str = "transaction"
    parameters: dict[str, ParameterFile] = Field(default_factory=dict)
    steps: list[StepFile] = _field("Its steps, one `[[transaction.steps]]` table each.", min_length=1)


class WorkloadFile(Table):
    """Arrivals of transactions."""

    spec = model.Workload
    kind: WorkloadKind = "poisson"
    rate: Maybe[Rate] = _field("Transactions a second; of a bursty workload, outside bursts (absent: 0).", None)
    burst_rate: Maybe[Rate] = None
    burst_on: Maybe[Period] = None
    burst_off: Maybe[Period] = None
    profile: Profile = ()
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
    origin: Maybe[Moment] = _field(
        "trace: the moment that is the run's time zero: `first`: that of the first arrival; or a moment, written as in the file; absent: 0, "
        "in an access log `first`.",
        None,
    )
    sort: bool = _field(
        "trace: whether rows are brought into the order of their times; without it, one out of order is an error.",
        False,
    )
    spread: Maybe[Period] = _field(
        "trace: the tick of the file's clock, over which arrivals with the same time are spread evenly; absent: they arrive at once.",
        None,
    )
    users: Maybe[Positive] = None
    think_time: Maybe[Latency] = None


class ClientBackoffFile(Table):
    """Time that a client waits before it asks again: uniform between 0 and min(cap, base * factor^attempt)."""

    spec = Backoff
    base: Period = _CLIENTS.backoff.base
    factor: Factor = _CLIENTS.backoff.factor
    cap: Period = _CLIENTS.backoff.cap


class ClientBudgetFile(Table):
    """A limit of the further requests of all clients together. A client that finds it spent does not ask again, and waits for its answer until its deadline."""

    ratio: Chance = _field(
        "Further requests that each first request earns: `10%` lets one in ten through in the long run."
    )
    burst: Positive = _field(
        "Further requests that may be saved up, and that are there at the start.", _CLIENTS.budget_burst
    )


class ClientsFile(Table):
    """Behaviour of clients when no answer comes. Latencies count from a client's first request."""

    spec = model.ClientsSpec
    ask_again: AskAgain = _CLIENTS.ask_again
    deadline: Period = _CLIENTS.deadline
    timeout: Period = _CLIENTS.timeout
    backoff: ClientBackoffFile = Field(default_factory=ClientBackoffFile)
    budget: ClientBudgetFile | None = _field("A limit of further requests; absent: none.", None)
    deadline_travels: bool = _CLIENTS.deadline_travels


class TriggerFile(Table):
    """A place in a protocol at which a node crashes."""

    spec = model.Trigger
    transaction: Whole
    effect: str
    when: Literal["before", "after"] = "after"
    occurrence: Positive = 1


class FaultFile(Table):
    """Something that goes wrong: at a time (`at`), at random times (`every`), or at a place in a protocol (`trigger`)."""

    spec = model.Fault
    kind: FaultKind = _field(
        'What happens. In a `broker-outage` the broker\'s process is gone and its machine is not: publications are refused after a round trip. If the machine should not answer at all, use `partition` with `a = ["broker"]`. In a `provider-outage` nobody reaches the provider of a service, and none of its answers arrives; a provider that is `provider-degraded` is slower, and leaves more requests without an answer.'
    )
    node: str | None = _field(
        "The service, or `hub`, that it happens to, or whose provider, or `acceptor-1` and so on under a strategy that has such nodes; `*`: each service and the hub, independently. "
        "Not for links and the broker.",
        None,
    )
    at: Maybe[Seconds] = None
    every: Maybe[Latency] = None
    until: Maybe[Seconds] = None
    trigger: TriggerFile | None = None
    duration: Latency
    factor: Maybe[Factor] = None
    probability: Maybe[Chance] = None
    a: list[str] = _field("Links only: nodes, zones or regions on one side; empty: all links.", default_factory=list)
    b: list[str] = _field("Links only: the other side; empty: everything else.", default_factory=list)
    one_way: bool = False


class EventsFile(Table):
    """Versions of the form of events, before any upgrade."""

    spec = versions.EventsSpec
    version: EventVersion = CURRENT
    unread: Unread = "stop"


class UpgradeFile(Table):
    """A node is stopped in order and started again with another version of the events: a step of a rolling upgrade."""

    spec = versions.Upgrade
    node: str = _field("The service, or `hub`; `*`: all, one after the other in their order in the file, the hub last.")
    at: Seconds
    to: EventVersion
    writes: EventVersion | None = _field("The version that it writes from then on; absent: the same.", None)
    duration: Seconds = 1.0
    gap: Seconds = _field("With `*`: time from when one is back to when the next one goes.", 0.0)


class TermFile(Table):
    """A part of a conserved sum."""

    service: str = _field("The service.")
    prefix: str = _field("All keys of its store that begin so.")
    weight: Number = _field("Weight of their values in the sum.", 1.0)


class InvariantFile(Table):
    """Something that has to hold over committed values. All-or-nothing per transaction is always checked."""

    spec = model.Invariant
    name: str
    kind: Literal["conserved", "bounds"] = _field("`conserved`: a weighted sum is what it was at the start; `bounds`.")
    unit: str = ""
    terms: list[TermFile] = _field("conserved: the terms of the sum.", default_factory=list)
    service: str | None = None
    prefix: str | None = None
    low: Maybe[Number] = None
    high: Maybe[Number] = None


class BackoffFile(Table):
    """Capped exponential back-off with full jitter: a wait is uniform between 0 and min(cap, base * factor^attempt)."""

    spec = Backoff
    base: Period = _DEFAULTS.backoff.base
    factor: Factor = _DEFAULTS.backoff.factor
    cap: Period = _DEFAULTS.backoff.cap


class BreakerFile(Table):
    """A circuit breaker. One trial goes through in a cooldown, and calls do not wait for each other.

    Libraries differ: circuitbreaker 2.1.3, aiobreaker 1.2.0 and purgatory 3.0.1 let every caller through once the cooldown is over. And pybreaker 1.4.1 makes the
    calls of all threads one after the other (scripts in `findings/` show it).
    """

    spec = BreakerPolicy
    threshold: Positive = BreakerPolicy().threshold
    cooldown: Period = BreakerPolicy().cooldown


class CommonModeFile(Table):
    """Degree to which nodes are slow at the same time: on one machine, beside one noisy neighbour. Every latency keeps its distribution."""

    spec = infrastructure.CommonMode
    links: Chance = 0.0
    writes: Chance = 0.0
    memory: Period = 0.2
    shared_flush: Chance = 0.0
    shared_flush_within: Period = 0.0004


class HostFile(Table):
    """A machine whose cores the processes of some nodes share. A node that is on no host has a processor of its own that takes no time."""

    spec = infrastructure.HostSpec
    cores: Positive = 1
    speed: Factor = 1.0
    nodes: list[str] = _field(
        "The nodes that run on it: services, `hub`, `broker`, `client`; `*`: all that are on no other host.",
        min_length=1,
    )
    neighbours: Whole = 0
    parallel: bool = _field(
        "Whether a process can use several cores at once; `false`: one at most, as with an interpreter's lock.", False
    )
    event: Seconds = 0.0
    effect: Seconds = 0.0
    transaction: Seconds = 0.0
    forced_write: Seconds = 0.0
    quantum: Period = 0.003
    restart: Seconds = 0.0
    event_aside: Seconds = 0.0
    transaction_aside: Seconds = 0.0
    forced_write_aside: Seconds = 0.0
    mark_aside: Seconds = 0.0


class PoliciesFile(Table):
    """Timeouts and retries, for strategies without policies of their own."""

    spec = Policies
    call_timeout: Period = _DEFAULTS.call_timeout
    attempts: Positive = _DEFAULTS.attempts
    compensation_attempts: Maybe[Positive] = None
    alert_after: Positive = _DEFAULTS.alert_after
    vote_timeout: Period = _DEFAULTS.vote_timeout
    acknowledgement_timeout: Period = _DEFAULTS.acknowledgement_timeout
    inquiry_timeout: Period = _DEFAULTS.inquiry_timeout
    idle_timeout: Period = _DEFAULTS.idle_timeout
    backoff: BackoffFile = Field(default_factory=BackoffFile)
    publish_timeout: Period = _DEFAULTS.publish_timeout
    publish_attempts: Positive = _DEFAULTS.publish_attempts
    poll_interval: Period = _DEFAULTS.poll_interval
    dedup_retention: Period = _DEFAULTS.dedup_retention
    poll_batch: Positive = _DEFAULTS.poll_batch
    maximum_hops: Positive = _DEFAULTS.maximum_hops
    breaker: BreakerFile | None = None


class RunFile(Table):
    """Length of a run: `transactions` or `duration`."""

    spec = model.RunPlan
    transactions: Maybe[Positive] = None
    duration: Maybe[Period] = None
    warmup: Seconds = 0.0
    drain: Seconds = 60.0
    timeline_every: Maybe[Period] = None
    stratify: bool = False
    recovery: Maybe[Period] = None


class ScenarioFile(Table):
    """A scenario."""

    spec = model.Scenario
    name: str | None = _field("Its name; absent: that of the file.", None)
    title: str = ""
    description: str = ""
    services: dict[str, ServiceFile] = _field("By name, one `[services.NAME]` table each.", min_length=1)
    transaction: TransactionFile
    workload: WorkloadFile
    clients: ClientsFile = Field(default_factory=ClientsFile)
    run: RunFile
    hub: HubFile = Field(default_factory=HubFile)
    network: NetworkFile = Field(default_factory=NetworkFile)
    broker: BrokerFile = Field(default_factory=BrokerFile)
    vote_store: VoteStoreFile = Field(default_factory=VoteStoreFile)
    common_mode: CommonModeFile | None = None
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
    policies: PoliciesFile = Field(default_factory=PoliciesFile)
    invariants: list[InvariantFile] = _field("What has to hold, one `[[invariants]]` table each.", default_factory=list)
    deadlocks: DeadlockRule = "timeout"
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
