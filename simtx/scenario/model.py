"""The scenario, as plain immutable data: durations in seconds, rates per second, probabilities between 0 and 1.

These classes, and those of `simtx.scenario.infrastructure` and `simtx.scenario.business`, hold what `simtx.scenario.load` has checked; hosts
read them and never check again. They hold no open files, functions or generators, so that a scenario travels to worker processes.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from simtx.protocols.names import BROKER, CLIENT, HUB, VOTE_STORE
from simtx.protocols.policies import Backoff, Policies
from simtx.scenario.business import StepSpec, Transaction
from simtx.scenario.distributions import Distribution, duration_text
from simtx.scenario.fault_kinds import FaultKind
from simtx.scenario.infrastructure import (
    AggregateSpec,
    BrokerSpec,
    CommonMode,
    DerivedSpec,
    GroupSpec,
    HostSpec,
    HubSpec,
    NetworkSpec,
    ServiceSpec,
    VoteStoreSpec,
)
from simtx.scenario.versions import EventsSpec, Upgrade
from simtx.views import View, view

if TYPE_CHECKING:
    import networkx as nx

    from simtx.report.pictures.accessors import ScenarioPlots
    from simtx.scenario.uncertain import Uncertainty

WorkloadKind: TypeAlias = Literal["poisson", "deterministic", "bursty", "profile", "trace", "closed"]
AskAgain: TypeAlias = Literal["never", "unreached", "unanswered"]
DeadlockRule: TypeAlias = Literal["timeout", "detect", "wait-die"]

# --- load, trouble, and what has to hold --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Workload:
    """Arrivals of transactions.

    Attributes:
        kind: ``poisson``; ``deterministic``: equal gaps; ``bursty``: Poisson that switches between two rates; ``profile``: Poisson with a piecewise constant
            rate; ``trace``: times from a file; ``closed``: users who think, ask and wait for the answer.
        rate: Transactions a second; of a bursty workload, outside bursts.
        burst_rate: bursty: rate inside a burst.
        burst_on: bursty: average length of a burst.
        burst_off: bursty: average time between bursts.
        profile: profile: the rate from each time on; the last one holds for ever.
        trace: Path of the CSV file.
        trace_times: Arrival times from the file, ascending.
        trace_parameters: Columns of the file that give parameters: a text for a key, a number otherwise.
        users: closed: number of users.
        think_time: closed: time between an answer and the same user's next request.
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
class ClientsSpec:
    """Behaviour of clients when no answer comes.

    Attributes:
        ask_again: ``never``: a client asks once; ``unreached``: it asks again, with the same id, when its request has reached nobody (the entry node was
            down, or the request was lost on the way); ``unanswered``: also when the request was received and no answer has come for `timeout`, under
            strategies that recognise a request that comes again.
        deadline: Time after its first request at which a client gives up; the transaction then counts as unanswered.
        timeout: ``unanswered``: how long it waits for an answer before it asks again.
        backoff: Wait before each further request.
        budget: Further requests that all clients together may make for each first one; None: any number.
        budget_burst: Further requests that they may save up.
        deadline_travels: Whether the deadline goes with the transaction. A service then begins no step behind it that may still be refused, and refuses it
            instead, until the client has its answer.
    """

    ask_again: AskAgain = "unreached"
    deadline: float = 60.0
    timeout: float = 5.0
    backoff: Backoff = field(default_factory=lambda: Backoff(base=0.1, factor=2.0, cap=1.0))
    budget: float | None = None
    budget_burst: int = 10
    deadline_travels: bool = False

    def describe(self) -> str:
        """One line: what clients do, for tables and the texts of runs."""
        deadline = f"give up {duration_text(self.deadline)} after their first request"
        if self.deadline_travels:
            deadline += ", which services know"
        if self.ask_again == "never":
            return f"clients ask once, and {deadline}"
        when = "their request has reached nobody"
        if self.ask_again == "unanswered":
            when += f" or no answer comes in {duration_text(self.timeout)}"
        if self.budget is not None:
            when += f", {100 * self.budget:g} % of them at most"
        return f"clients ask again when {when}, and {deadline}"


@dataclass(frozen=True, slots=True)
class Trigger:
    """A place in a protocol: the moment at which a crash is injected.

    Attributes:
        transaction: Number of the transaction, from 0.
        effect: Name of the effect, such as ``Append``, or with what is inside, such as ``Append:commit``, ``Message:prepare``. ``Publish`` and
            ``MarkOutbox`` are also found where a relay works off the transaction's events.
        when: Just before it or just after it.
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
        node: The service, or ``hub``, that it happens to, or whose provider; ``broker`` for a broker outage; empty for faults of links.
        at: When it begins.
        every: Time from its end (at first, from 0) to its next beginning.
        until: With `every`: it does not begin after this time any more.
        factor: slow: service times are multiplied by it; clock-drift: durations of timers; provider-degraded: times until an answer.
        probability: loss, duplication, reorder: on top of the link's own; provider-degraded: share of requests without an answer, on top of the provider's own.
        a: Nodes on one side of the links that are hit; empty: all links.
        b: Nodes on the other side; empty with `a` given: all other nodes.
        one_way: Links only: only messages from `a` to `b` are hit.
        trigger: crash only: the place in a protocol.
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
        unit: Unit of the values: ``EUR``, ``pieces``.
        terms: (service, key prefix, weight) of a conserved sum.
        service: bounds: the service.
        prefix: bounds: all keys that begin so.
        low: bounds: lower bound.
        high: bounds: upper bound.
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
    """Length of a run: `transactions` or `duration`. `simtx.scenario.strata` says how a run with `stratify` is divided.

    Attributes:
        transactions: Number of transactions that arrive.
        duration: Time during which they arrive.
        warmup: Transactions that arrive before this time are left out of the statistics.
        drain: The run ends at the latest this long after the last arrival.
        stratify: For rare faults: each fault with `every` is played in a run of its own, and the runs are weighted by their share of the time, so that the
            quiet time between two faults is not simulated.
        recovery: stratify: how long each fault is watched after its end; None: as long as the fault lasts, and at least a minute.
        timeline_every: Time between two samples of the timeline; None: 200 of them while transactions arrive; after that the distance doubles after every
            200.
    """

    transactions: int | None
    duration: float | None
    warmup: float
    drain: float
    stratify: bool = False
    recovery: float | None = None
    timeline_every: float | None = None


class Assumption(str):
    """Reason why a figure without a source is what it is, as a text, with the figure beside it.

    Attributes:
        value: The figure as people read it: ``60/s``, ``lognormal, median 2 ms``; of several figures, each with what it belongs to.
    """

    __slots__ = ("value",)
    value: str

    def __new__(cls, why: str, value: str = "") -> Assumption:
        """The reason, and the figure."""
        made = super().__new__(cls, why)
        made.value = value
        return made

    @property
    def why(self) -> str:
        """The reason as a plain text."""
        return str.__str__(self)

    def __repr__(self) -> str:
        return f"Assumption(value={self.value!r}, why={str.__repr__(self)})"

    def __reduce__(self) -> tuple[type[Assumption], tuple[str, str]]:
        """Pickle both parts."""
        return Assumption, (str.__str__(self), self.value)


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
        vote_store: The shared store of votes.
        transaction: The business transaction.
        workload: When transactions arrive.
        faults: What goes wrong.
        policies: Timeouts and retries.
        invariants: What has to hold.
        run: How long a run is.
        common_mode: How far nodes are slow at the same time; None: each by itself.
        hosts: Machines whose cores nodes share, by name; a node on none has a processor of its own that takes no time.
        derived: Caches and search indexes, by name.
        groups: Consumer groups, by name.
        aggregates: Kinds of event-sourced aggregates, by name.
        clients: What clients do when no answer comes.
        events: Versions of events before any upgrade.
        upgrades: A rolling upgrade, in the order of time.
        deadlocks: ``timeout``: a lock wait ends by the store's `lock_timeout`; ``detect``: a cycle fails the one who closes it; ``wait-die``: a younger
            transaction never waits for an older one.
        sources: Where a parameter's value comes from, by its path in the file.
        assumptions: Every figure without a source, by its path: its value, and why it was chosen.
        uncertainty: How far figures may be off, by their paths; `simtx.sensitivity` varies them.
        path: The file that it was read from, or None.
        overrides: What `replace` has changed since.
    """

    name: str
    title: str
    description: str
    services: Mapping[str, ServiceSpec]
    hub: HubSpec
    network: NetworkSpec
    broker: BrokerSpec
    transaction: Transaction
    workload: Workload
    faults: tuple[Fault, ...]
    policies: Policies
    invariants: tuple[Invariant, ...]
    run: RunPlan
    deadlocks: DeadlockRule
    vote_store: VoteStoreSpec
    common_mode: CommonMode | None = None
    hosts: Mapping[str, HostSpec] = field(default_factory=dict)
    derived: Mapping[str, DerivedSpec] = field(default_factory=dict)
    groups: Mapping[str, GroupSpec] = field(default_factory=dict)
    aggregates: Mapping[str, AggregateSpec] = field(default_factory=dict)
    clients: ClientsSpec = field(default_factory=ClientsSpec)
    events: EventsSpec = field(default_factory=EventsSpec)
    upgrades: tuple[Upgrade, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    assumptions: Mapping[str, Assumption] = field(default_factory=dict)
    uncertainty: Mapping[str, Uncertainty] = field(default_factory=dict)
    path: str | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    _raw: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def replace(self, **changes: Any) -> Scenario:
        """Return a changed copy, checked like a file.

        Args:
            changes: New values by dotted path, as in the file: ``replace(**{"workload.rate": 200, "network.loss": "1%"})``. Members of
                a list are named or counted: ``transaction.steps.charge.refusal``, ``faults[0].every``. Durations have a unit, as in a file;
                None removes the entry, so that its default holds again.

        Raises:
            ScenarioError: A path or a value is wrong.
        """
        changed: Scenario = view("scenario-replaced")(self, changes)
        return changed

    def to_dict(self) -> dict[str, Any]:
        """The scenario as it would be written in a file; `simtx.scenario.from_dict` reads it again."""
        return copy.deepcopy(dict(self._raw))

    @property
    def fingerprint(self) -> str:
        """Hex digest of everything that a run depends on: equal for equal scenarios, wherever they were read from."""
        return str(view("scenario-fingerprint")(self))

    @property
    def providers(self) -> tuple[str, ...]:
        """Services whose steps are done by a provider outside."""
        return tuple(name for name, service in self.services.items() if service.provider is not None)

    def node_zone(self, node: str) -> str | None:
        """The zone of a service, of ``hub``, ``broker``, ``vote-store`` or ``client``; None for a client beside the entry node."""
        if node in self.services:
            return self.services[node].zone
        return {
            HUB: self.hub.zone,
            BROKER: self.broker.zone,
            VOTE_STORE: self.vote_store.zone,
            CLIENT: self.network.client_zone,
        }[node]

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
            provider = self.services[step.service].provider
            work[step.service] += self.service_time(step).mean() + (provider.mean() if provider is not None else 0.0)
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

    def expected_transactions(self) -> float:
        """About how many transactions arrive."""
        plan, workload = self.run, self.workload
        if plan.transactions is not None:
            return plan.transactions
        if workload.think_time is not None:
            return self.expected_length() * workload.users / (workload.think_time.mean() + 0.1)
        if workload.kind == "trace":
            length = math.inf if plan.duration is None else plan.duration
            return sum(time < length for time in workload.trace_times)
        return self.expected_length() * (workload.mean_rate() or 0.0)

    @property
    def warnings(self) -> list[str]:
        """Things that may be intended but rarely are, one line each: saturation, invariants that nothing touches, ..."""
        return list(view("scenario-warnings")(self))

    def graph(self) -> nx.DiGraph[str]:
        """Nodes (services, hub, broker, clients) with their zone, and the links between them with mean latency and loss."""
        drawn: nx.DiGraph[str] = view("scenario-graph")(self)
        return drawn

    plot: ClassVar[View[ScenarioPlots]] = View(
        "scenario", "Pictures of the scenario: `scenario.plot()` draws services in their zones, and the links."
    )

    def describe(self) -> str:
        """The scenario in plain text, for a terminal."""
        return str(view("scenario-text")(self))

    def _repr_html_(self) -> str:
        return str(view("scenario-html")(self))

    def __repr__(self) -> str:
        changed = f", changed: {', '.join(self.overrides)}" if self.overrides else ""
        return f"<Scenario {self.name}: {len(self.services)} services, {len(self.transaction.steps)} steps{changed}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scenario) and self.name == other.name and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash((self.name, self.fingerprint))
