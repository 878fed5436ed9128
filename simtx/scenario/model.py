"""What a scenario is, as plain immutable data: durations in seconds, rates per second, probabilities between 0 and 1.

These classes hold what `simtx.scenario.load` has checked; hosts read them and never check again. They hold no open files, functions
or generators, so that a scenario travels to worker processes.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from simtx.protocols.contract import StepKind
from simtx.protocols.policies import Policies
from simtx.scenario.distributions import Distribution

if TYPE_CHECKING:
    import networkx as nx

Flush: TypeAlias = Literal["group", "serial", "parallel"]
Isolation: TypeAlias = Literal["read-committed", "serializable"]
Acknowledgement: TypeAlias = Literal["memory", "quorum", "fsync"]
Popularity: TypeAlias = Literal["uniform", "zipf"]
WorkloadKind: TypeAlias = Literal["poisson", "deterministic", "bursty", "profile", "trace", "closed"]
DeadlockRule: TypeAlias = Literal["timeout", "detect", "wait-die"]
FaultKind: TypeAlias = Literal[
    "crash",
    "pause",
    "slow",
    "partition",
    "loss",
    "duplication",
    "reorder",
    "store-outage",
    "broker-outage",
    "clock-drift",
]

HUB = "hub"
BROKER = "broker"
CLIENT = "client"

# --- nodes --------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Log:
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
class Store:
    """The database of one service.

    Attributes:
        isolation: ``read-committed``: reads take no locks; ``serializable``: reads lock the row as writes do.
        log: Its redo log.
        lock_timeout: How long a local transaction waits for a row lock before it fails.
        initial: Value at the start by key, or by prefix if the name ends in ``*``; every other key starts at 0.
        replica_lag: Delay after which a read replica shows a commit, or None if there is no replica.
    """

    isolation: Isolation
    log: Log
    lock_timeout: float
    initial: Mapping[str, float]
    replica_lag: Distribution | None

    def initial_value(self, key: str) -> float:
        """The value of this key at the start: its own entry, else that of the longest prefix pattern that fits, else 0."""
        if key in self.initial:
            return self.initial[key]
        patterns = [name for name in self.initial if name.endswith("*") and key.startswith(name[:-1])]
        return self.initial[max(patterns, key=len)] if patterns else 0.0


@dataclass(frozen=True, slots=True)
class Service:
    """A node with workers and one store.

    Attributes:
        name: Its name, also that of the node.
        zone: Where it runs.
        workers: Local transactions that it can work on at once.
        service_time: Work that one step costs a worker, beside waiting for locks and disks.
        compensation_time: The same for a compensation; None: as `service_time`.
        queue_limit: Requests that may wait for a worker; those beyond are dropped, as if lost. None: no limit.
        store: Its database.
    """

    name: str
    zone: str
    workers: int
    service_time: Distribution
    compensation_time: Distribution | None
    queue_limit: int | None
    store: Store


@dataclass(frozen=True, slots=True)
class Hub:
    """The node of the strategy beside the services: a 2PC coordinator or a saga orchestrator.

    Attributes:
        zone: Where it runs.
        log: Its durable log.
    """

    zone: str
    log: Log


# --- network and broker -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Link:
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
class Network:
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
    links: Mapping[tuple[str, str], Link]
    loss: float
    duplication: float
    reorder: float
    reorder_delay: Distribution
    client_zone: str | None

    def link(self, a: str, b: str) -> Link:
        """The path from zone `a` to zone `b`."""
        return self.links[a, b]

    def latency(self, a: str, b: str) -> Distribution:
        """One-way delay from zone `a` to zone `b`."""
        return self.links[a, b].latency


@dataclass(frozen=True, slots=True)
class Broker:
    """A message broker: at least once, with acknowledgements.

    Attributes:
        zone: Where it runs.
        ack: What its ack says: the message is in memory, on a quorum of replicas, or forced to disk. A broker that acks from memory
            loses what it holds when it crashes.
        ack_latency: Time that it takes to ack, beside the network.
        linger: How long a producer holds a message back to fill a batch; a crash of the producer loses the batch.
        redelivery: Time after which an unacknowledged delivery comes again.
        deduplication_window: How long the broker remembers message ids to drop duplicates of a producer; 0: it does not.
        ordered: Whether messages of one transaction to one consumer are delivered in order, one at a time.
        retention: Age at which an undelivered message is dropped; None: never.
    """

    zone: str
    ack: Acknowledgement
    ack_latency: Distribution
    linger: Distribution
    redelivery: float
    deduplication_window: float
    ordered: bool
    retention: float | None


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


# --- the business transaction -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Parameter:
    """Something that is drawn once for each transaction: a key, or a number.

    Attributes:
        population: Number of keys; None for a number.
        popularity: ``uniform``, or ``zipf``: the key of rank r, from 1, is drawn with probability proportional to r ** -exponent.
        exponent: Exponent of the Zipf law.
        prefix: Text before the key's rank, counted from 0.
        values: Distribution of a number; None for a key.
        integer: Whether the number is rounded to a whole one.
    """

    population: int | None = None
    popularity: Popularity = "uniform"
    exponent: float = 0.99
    prefix: str = ""
    values: Distribution | None = None
    integer: bool = False


@dataclass(frozen=True, slots=True)
class OperationSpec:
    """An operation of a step before keys and amounts are filled in.

    Attributes:
        key: Template: ``{name}`` stands for a key parameter, ``{tx}`` for the transaction's number.
        kind: ``add``, ``set`` or ``read``.
        amount: The change or the new value; multiplied with the parameter's draw if there is one.
        parameter: A number parameter, or None.
        low: Guard: the step is refused if the value would fall below.
        high: Guard: the step is refused if the value would rise above.
    """

    key: str
    kind: Literal["add", "set", "read"] = "add"
    amount: float = 0.0
    parameter: str | None = None
    low: float | None = None
    high: float | None = None

    @property
    def writes(self) -> bool:
        """Whether it may change the value."""
        return self.kind != "read"

    @property
    def guarded(self) -> bool:
        """Whether it can be refused."""
        return self.low is not None or self.high is not None


@dataclass(frozen=True, slots=True)
class StepSpec:
    """A step of the business transaction before keys and amounts are filled in.

    Attributes:
        index: Position in topological order.
        name: Unique name.
        service: The service that does it.
        kind: ``compensatable``, ``pivot`` or ``retriable``.
        after: Indexes of the steps that come directly before it.
        operations: The local transaction of the action.
        compensation: The local transaction that undoes it.
        refusal: Probability that the business says no.
        service_time: Work of the action; None: the service's.
        compensation_time: Work of the compensation; None: the service's, and if that is None too, that of the action.
    """

    index: int
    name: str
    service: str
    kind: StepKind
    after: tuple[int, ...]
    operations: tuple[OperationSpec, ...]
    compensation: tuple[OperationSpec, ...]
    refusal: float
    service_time: Distribution | None
    compensation_time: Distribution | None


@dataclass(frozen=True, slots=True)
class Transaction:
    """The business transaction: a directed acyclic graph of steps.

    Attributes:
        name: What it is called.
        steps: In a topological order.
        parameters: What is drawn for each transaction, by name.
    """

    name: str
    steps: tuple[StepSpec, ...]
    parameters: Mapping[str, Parameter]


# --- load, trouble, and what has to hold --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Workload:
    """When transactions arrive.

    Attributes:
        kind: ``poisson``, ``deterministic`` (equal gaps), ``bursty`` (a Poisson process that switches between two rates),
            ``profile`` (a Poisson process with a piecewise constant rate), ``trace`` (times from a file), or ``closed`` (a fixed
            number of users who think, ask and wait for the answer).
        rate: Transactions a second; of a bursty workload, outside bursts.
        burst_rate: Rate inside a burst.
        burst_on: Average length of a burst.
        burst_off: Average time between bursts.
        profile: Pairs of (time, rate from then on); the last rate holds for ever.
        trace: Path of the CSV file.
        trace_times: Arrival times from the file, ascending.
        trace_parameters: Columns of the file that give parameters: a text for a key, a number otherwise.
        users: Number of users of a closed workload.
        think_time: Time between an answer and the same user's next request.
    """

    kind: WorkloadKind
    rate: float = 0.0
    burst_rate: float = 0.0
    burst_on: float = 0.0
    burst_off: float = 0.0
    profile: tuple[tuple[float, float], ...] = ()
    trace: str | None = None
    trace_times: tuple[float, ...] = ()
    trace_parameters: Mapping[str, tuple[str, ...] | tuple[float, ...]] = field(default_factory=dict)
    users: int = 0
    think_time: Distribution | None = None

    def mean_rate(self) -> float | None:
        """Transactions a second in the long run (of a profile: the highest), or None for a closed workload."""
        if self.kind == "closed":
            return None
        if self.kind == "bursty":
            whole = self.burst_on + self.burst_off
            return (self.burst_rate * self.burst_on + self.rate * self.burst_off) / whole
        if self.kind == "profile":
            return max(rate for _, rate in self.profile)
        if self.kind == "trace":
            span = self.trace_times[-1] - self.trace_times[0]
            return (len(self.trace_times) - 1) / span if span > 0 else 0.0
        return self.rate


@dataclass(frozen=True, slots=True)
class Trigger:
    """A place in a protocol: the moment at which a crash is injected.

    Attributes:
        transaction: Number of the transaction, from 0.
        effect: Name of the effect, such as ``Append`` or ``Commit``; with a colon, of one with this name inside, such as
            ``Message:prepare`` or ``Append:commit``.
        when: Just before the effect or just after it.
        occurrence: The first such effect, the second, ...
    """

    transaction: int
    effect: str
    when: Literal["before", "after"]
    occurrence: int = 1


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong, at a time, at random times, or at a place in a protocol.

    Attributes:
        kind: What happens.
        duration: How long it lasts.
        node: The service, or ``hub``, that it happens to; ``broker`` for a broker outage; empty for faults of links.
        at: When it begins, or None.
        every: Time from its end to its next beginning, or None.
        until: It does not begin after this time any more.
        factor: Service times are multiplied by it (slow), or durations of timers (clock-drift).
        probability: Of a loss, a duplicate or a delay, on top of the link's own.
        a: Nodes on one side of the links that are hit; empty: all links.
        b: Nodes on the other side; empty with `a` given: all other nodes.
        one_way: Only from `a` to `b`.
        trigger: The place in a protocol, or None.
    """

    kind: FaultKind
    duration: Distribution
    node: str = ""
    at: float | None = None
    every: Distribution | None = None
    until: float | None = None
    factor: float = 1.0
    probability: float = 0.0
    a: tuple[str, ...] = ()
    b: tuple[str, ...] = ()
    one_way: bool = False
    trigger: Trigger | None = None


@dataclass(frozen=True, slots=True)
class Invariant:
    """Something that has to hold over committed values. All-or-nothing per transaction is checked without being asked for.

    Attributes:
        name: What it is called.
        kind: ``conserved``: the weighted sum of all values under the terms' prefixes is what it was at the start; ``bounds``: every
            value under the prefix is between low and high.
        unit: What the values count: ``EUR``, ``pieces``.
        terms: (service, key prefix, weight) of a conserved sum.
        service: Service of bounds.
        prefix: Key prefix of bounds.
        low: Lower bound, or None.
        high: Upper bound, or None.
    """

    name: str
    kind: Literal["conserved", "bounds"]
    unit: str = ""
    terms: tuple[tuple[str, str, float], ...] = ()
    service: str = ""
    prefix: str = ""
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class RunPlan:
    """How long a run is.

    Attributes:
        transactions: Number of transactions that arrive, or None.
        duration: Time during which they arrive, or None; exactly one of the two is given.
        warmup: Transactions that arrive before this time are left out of the statistics.
        drain: The run ends at the latest this long after the last arrival.
    """

    transactions: int | None
    duration: float | None
    warmup: float
    drain: float


# --- the whole ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Scenario:
    """Services, network, workload, business transaction and faults: everything but the strategy.

    Made by `simtx.load` or `simtx.scenario.from_dict`, changed by `replace`; all of them check it.

    Attributes:
        name: Its name, from the file.
        title: One line that says what it is about.
        description: A paragraph.
        services: By name, in the order of the file.
        hub: Where a coordinator or an orchestrator runs.
        network: Zones and links.
        broker: The message broker.
        transaction: The business transaction.
        workload: When transactions arrive.
        faults: What goes wrong.
        policies: Timeouts and retries.
        invariants: What has to hold.
        run: How long a run is.
        common_mode: How far nodes are slow at the same time; None: each by itself.
        deadlocks: ``timeout`` (a lock wait ends by its timeout), ``detect`` (a cycle fails the one who closes it), ``wait-die`` (a
            younger transaction never waits for an older one).
        sources: Where a parameter's value comes from, by its path in the file.
        assumptions: Parameters without a source, by path: why this value.
        path: The file that it was read from, or None.
        overrides: What `replace` has changed since.
    """

    name: str
    title: str
    description: str
    services: Mapping[str, Service]
    hub: Hub
    network: Network
    broker: Broker
    transaction: Transaction
    workload: Workload
    faults: tuple[Fault, ...]
    policies: Policies
    invariants: tuple[Invariant, ...]
    run: RunPlan
    deadlocks: DeadlockRule
    common_mode: CommonMode | None = None
    sources: Mapping[str, str] = field(default_factory=dict)
    assumptions: Mapping[str, str] = field(default_factory=dict)
    path: str | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    _raw: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def replace(self, **changes: Any) -> Scenario:
        """A changed copy, checked like a file.

        Args:
            changes: New values by dotted path, as in the file: ``replace(**{"workload.rate": 200, "network.loss": "1%"})``. Members of
                a list are named or counted: ``transaction.steps.charge.refusal``, ``faults[0].every``. Plain numbers are
                seconds; None removes the entry, so that its default holds again.

        Raises:
            ScenarioError: A path or a value is wrong.
        """
        from simtx.scenario.changes import replaced

        return replaced(self, changes)

    def to_dict(self) -> dict[str, Any]:
        """The scenario as it would be written in a file; `simtx.scenario.from_dict` reads it again."""
        return copy.deepcopy(dict(self._raw))

    @property
    def fingerprint(self) -> str:
        """Hex digest of everything that a run depends on: equal for equal scenarios, wherever they were read from."""
        parts = (
            dict(self.services),
            self.hub,
            self.network,
            self.broker,
            self.transaction,
            dataclasses.replace(self.workload, trace=None),
            self.faults,
            self.policies,
            self.invariants,
            self.run,
            self.deadlocks,
            *((self.common_mode,) if self.common_mode is not None else ()),
        )
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    def node_zone(self, node: str) -> str | None:
        """The zone of a service, of ``hub``, ``broker`` or ``client``; None for a client beside the entry node."""
        if node in self.services:
            return self.services[node].zone
        return {HUB: self.hub.zone, BROKER: self.broker.zone, CLIENT: self.network.client_zone}[node]

    def service_time(self, step: StepSpec) -> Distribution:
        """Work of a step's action."""
        return step.service_time or self.services[step.service].service_time

    def compensation_time(self, step: StepSpec) -> Distribution:
        """Work of a step's compensation."""
        return step.compensation_time or self.services[step.service].compensation_time or self.service_time(step)

    def utilisation(self) -> dict[str, float]:
        """Offered load by service: worker-seconds a second, over workers; refused steps counted as if done. Empty if closed."""
        rate = self.workload.mean_rate()
        if rate is None:
            return {}
        work = dict.fromkeys(self.services, 0.0)
        for step in self.transaction.steps:
            work[step.service] += self.service_time(step).mean()
        return {name: rate * work[name] / service.workers for name, service in self.services.items()}

    def expected_length(self) -> float:
        """About how long transactions arrive, in seconds; of a closed workload as if an answer took a tenth of a second."""
        plan, workload = self.run, self.workload
        if plan.duration is not None:
            return plan.duration
        count = plan.transactions or 1
        if workload.think_time is not None:
            return count * (workload.think_time.mean() + 0.1) / workload.users
        if workload.kind == "trace":
            times = workload.trace_times
            return times[min(count, len(times)) - 1] if times else 1.0
        return count / (workload.mean_rate() or 1.0)

    def warnings(self) -> list[str]:
        """Things that may be intended but rarely are, one line each: saturation, invariants that nothing touches, ..."""
        from simtx.scenario.advice import warnings

        return warnings(self)

    def graph(self) -> nx.DiGraph[str]:
        """Nodes (services, hub, broker, clients) with their zone, and the links between them with mean latency and loss."""
        from simtx.scenario.show import graph

        return graph(self)

    def describe(self) -> str:
        """The scenario in plain text, for a terminal."""
        from simtx.scenario.show import text

        return text(self)

    def _repr_html_(self) -> str:
        from simtx.scenario.show import html

        return html(self)

    def __repr__(self) -> str:
        changed = f", changed: {', '.join(self.overrides)}" if self.overrides else ""
        return f"<Scenario {self.name}: {len(self.services)} services, {len(self.transaction.steps)} steps{changed}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scenario) and self.name == other.name and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash((self.name, self.fingerprint))
