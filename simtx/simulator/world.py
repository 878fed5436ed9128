"""The simulated world of one run: nodes, links, broker, workload and faults around the machines of one strategy. A `RunLoop` plays it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from simtx.errors import RunFailed, ScenarioError
from simtx.event_log.log import LogRecorder
from simtx.metrics import drift
from simtx.metrics.guarantees import behind
from simtx.metrics.ledger import TransactionLedger, TransactionRecord
from simtx.metrics.rundata import Struck
from simtx.protocols import Policies, Strategy
from simtx.protocols.breaker import CircuitBreaker
from simtx.protocols.codec import register
from simtx.protocols.extras import extras, own_nodes, policies_in_force
from simtx.protocols.names import BROKER, CLIENT, HUB, VOTE_STORE
from simtx.scenario.distributions import Constant, Distribution
from simtx.simulator.aggregates import Aggregates
from simtx.simulator.broker import Broker
from simtx.simulator.clients import Clients
from simtx.simulator.common_mode import CommonFactor
from simtx.simulator.deadlocks import Deadlocks
from simtx.simulator.derived import DerivedStore
from simtx.simulator.disk import Disk
from simtx.simulator.environment import Environment
from simtx.simulator.faults import injectors
from simtx.simulator.group import ConsumerGroup
from simtx.simulator.host import Host, Process
from simtx.simulator.hosted import HostedNode
from simtx.simulator.network import Link
from simtx.simulator.node import Node
from simtx.simulator.provider import Provider
from simtx.simulator.replica import Replica
from simtx.simulator.sampler import Sampler
from simtx.simulator.store import Store
from simtx.simulator.timers import Timers
from simtx.simulator.upgrades import Versions
from simtx.simulator.vote_store import VoteStore
from simtx.simulator.window import Window
from simtx.simulator.work import Work
from simtx.simulator.workers import Workers
from simtx.workload.by_transaction import Draw, TransactionStreams
from simtx.workload.faults import Nesting
from simtx.workload.planner import Planner
from simtx.workload.provider import Behaviour
from simtx.workload.streams import Streams

if TYPE_CHECKING:
    from simtx.scenario import DerivedSpec, GroupSpec, LogSpec, Scenario
    from simtx.scenario.infrastructure import LinkSpec


def _nothing(_: Work) -> None:
    """Do nothing: nobody wants to know."""


class World:
    """Everything that takes part in one run, built and connected.

    Args:
        scenario: What to play.
        strategy: How to keep it consistent, with its policies filled in.
        seed: First part of the key of all random streams.
        replication: Second part; replications are independent of each other.
        traced: Whether to record the event log; ``full``: with all that a replay of the machines needs.
        kind_of_node: Class of all nodes; None: `Node`, or `HostedNode` where a node is on a host.

    Raises:
        ScenarioError: The strategy cannot play this scenario.
    """

    def __init__(
        self,
        scenario: Scenario,
        strategy: Strategy,
        *,
        seed: int,
        replication: int,
        traced: bool | Literal["full"],
        kind_of_node: type[Node] | None = None,
    ) -> None:
        self._kind_of_node = kind_of_node
        self.scenario = scenario
        self.strategy = strategy
        self.extras = extras(strategy)
        self.policies: Policies = policies_in_force(strategy, scenario.policies)
        self.env = Environment()
        self.streams = Streams(seed, replication)
        self.timers = Timers(self.env)
        self.trace = LogRecorder(lambda: self.env.now) if traced else None
        self.full_log = traced == "full"
        if self.full_log:
            register(*self.extras.wire_types)
        grace = max(60.0, 4 * scenario.broker.redelivery, 4 * self.policies.backoff.cap)
        self.ledger = TransactionLedger(len(drift.conserved(scenario)), grace, behind(scenario.transaction.steps))
        self.by_transaction = TransactionStreams(self.streams, self.ledger.young)
        self.deadline = scenario.clients.deadline
        self.deadlocks = Deadlocks(scenario.deadlocks, self.ledger.counts)
        self.wake_on_commit = self.extras.wake_on_commit
        common = scenario.common_mode
        self.common = CommonFactor(self.env, common, self.streams, self.by_transaction) if common is not None else None
        self.zones = {name: service.zone for name, service in scenario.services.items()}
        self.planner = Planner(scenario, self.streams, self.by_transaction)
        self.links: dict[tuple[str, str], Link] = {}
        self.nodes: dict[str, Node] = {}
        self.processes = self._processes()
        self._build_nodes()
        self.derived = {name: self._derived(spec) for name, spec in scenario.derived.items()}
        self.groups = {name: self._group(spec) for name, spec in scenario.groups.items()}
        aggregates = [Aggregates(self, spec) for spec in scenario.aggregates.values()]
        self.beside: tuple[DerivedStore | ConsumerGroup | Aggregates, ...] = (
            *self.derived.values(),
            *self.groups.values(),
            *aggregates,
        )
        self.broker: Broker | None = None
        if strategy.uses_broker:
            self.zones[BROKER] = scenario.broker.zone
            linger = self.by_transaction.draws(scenario.broker.linger, BROKER, "linger")
            acknowledgement = self.latencies(scenario.broker.ack_latency, BROKER, "ack")
            self.broker = Broker(self, scenario.broker, linger, acknowledgement)
        self.vote_store: VoteStore | None = None
        if self.extras.uses_vote_store:
            self.zones[VOTE_STORE] = scenario.vote_store.zone
            self.vote_store = VoteStore(self, self._disk(scenario.vote_store.log, VOTE_STORE))
        self.nesting = Nesting()
        self.struck: list[Struck] = []
        self.versions = Versions(self) if scenario.upgrades else None
        if self.versions is not None:
            for node in self.nodes.values():
                node.versions, node.unusual = self.versions, True
        self.injectors = injectors(self)
        self.sampler = Sampler(self)
        sample = lambda: self.sampler.take()  # noqa: E731, PLW0108 - the compiled loop puts a sampler of its own here
        self.window = Window(self.env, self.ledger, self.trace, self.nodes, self.processes, sample=sample)
        self.clients = Clients(self)

    def _build_nodes(self) -> None:
        scenario = self.scenario
        for name, service in scenario.services.items():
            node = self._node(name, service.store.log)
            node.undo_draws = self.planner.undo_draws
            node.store = Store(
                node,
                dict(service.store.initial),
                serializable=service.store.isolation == "serializable",
                lock_timeout=service.store.lock_timeout,
                weights=drift.weights(scenario, name),
                deadlocks=self.deadlocks,
                retention=self.policies.dedup_retention,
                outbox_at_commit=service.store.outbox_order == "commit",
                replica=self._replica(name),
                works_inside=service.store.locks == "work" and service.provider is None,
            )
            begun: Callable[[Work], object] = node.store.outbox.begin
            if service.provider is not None:
                begun = _nothing  # its own local transaction begins when the provider has answered
                behaviour = Behaviour.of(service.provider, name, self.by_transaction)
                node.provider = Provider(node, node.store, service.provider, behaviour)
            wanted = node.wanted if scenario.clients.deadline_travels else None
            node.pool = Workers(self.env, service.workers, service.queue_limit, node.served, begun=begun, wanted=wanted)
            node.pool.journal = node.journal
        for own in own_nodes(self.strategy):
            if own in self.nodes:
                what = "hub" if own == self.strategy.hub else "nodes"
                raise ScenarioError(
                    f"'{own}' is the name of the {self.strategy.name} {what}; call the service something else",
                    "services",
                )
            self.zones[own] = scenario.hub.zone
            self._node(own, scenario.hub.log)
        if self.policies.breaker is not None:
            for name, node in self.nodes.items():
                node.unusual = node.watched = True
                node.breakers = {other: CircuitBreaker(self.policies.breaker) for other in self.nodes if other != name}

    def _derived(self, spec: DerivedSpec) -> DerivedStore:
        node = self.nodes[spec.service]
        made = DerivedStore(self, spec, node)
        if node.store is not None:
            node.store.followers.append(made)
            if spec.rule.by == "writer-before":
                node.store.beginnings.append(made.begins)
        return made

    def _group(self, spec: GroupSpec) -> ConsumerGroup:
        node = self.nodes[spec.service]
        made = ConsumerGroup(self, spec)
        if node.store is not None:
            node.store.followers.append(made)
        return made

    def _replica(self, name: str) -> Replica | None:
        lag = self.scenario.services[name].store.replica_lag
        return None if lag is None else Replica(self.env, self.by_transaction.draws(lag, name, "replica-lag"))

    def _node(self, name: str, log: LogSpec) -> Node:
        role = self.role(name)
        disk = self._disk(log, role)
        process = self.processes.get(role)
        kind = self._kind_of_node or (Node if process is None else HostedNode)
        node = self.nodes[name] = kind(
            self, name, disk, self.by_transaction.uniform(role, "backoff-jitter"), log.lazy_flush
        )
        if process is not None and isinstance(node, HostedNode):
            node.process = process
        return node

    def _disk(self, log: LogSpec, role: str) -> Disk:
        instant = isinstance(log.forced_write, Constant) and log.forced_write.value == 0
        return Disk(self.env, self.latencies(log.forced_write, role, "forced-write"), log.flush, instant)

    def _processes(self) -> dict[str, Process]:
        """The processes of nodes that are on hosts, by the node's role."""
        processes: dict[str, Process] = {}
        for spec in self.scenario.hosts.values():
            host = Host(self.env, spec)
            processes |= {node: Process(host, spec) for node in spec.nodes}
        return processes

    def role(self, name: str) -> str:
        """Name of a node in random streams: a hub is a hub, whatever the strategy calls it, so that all of them draw the same."""
        return HUB if name == self.strategy.hub else name

    def latencies(self, distribution: Distribution, component: str, purpose: str) -> Draw:
        """Draws of a link's or a disk's latency, with what all nodes have in common."""
        if self.common is None:
            return self.by_transaction.draws(distribution, component, purpose)
        return self.common.draws(distribution, component, purpose)

    def link(self, source: str, destination: str) -> Link:
        """The link from one node to another; links are made when they are first needed, each with streams of its own."""
        link = self.links.get((source, destination))
        if link is None:
            component, latency, spec = self.path(source, destination)
            link = Link(
                self.env,
                source,
                destination,
                self.latencies(latency, component, "latency"),
                spec,
                self.by_transaction,
                component,
                instant=isinstance(latency, Constant) and latency.value == 0,
            )
            link.trace = self.trace
            self.links[source, destination] = link
        return link

    def path(self, source: str, destination: str) -> tuple[str, Distribution, LinkSpec]:
        """Path from one node to another: how its streams are called, its latency, and what the scenario says of it."""
        spec = self.scenario.network.link(self._zone(source), self._zone(destination))
        ends = (self.role(source), self.role(destination))
        if CLIENT in ends:  # every strategy has an entry, whatever it is called
            ends = (CLIENT, "entry") if source == CLIENT else ("entry", CLIENT)
        return "link:{}>{}".format(*ends), Constant(0.0) if source == destination else spec.latency, spec

    def _zone(self, name: str) -> str:
        if name == CLIENT:
            return self.scenario.network.client_zone or ""
        return self.zones[name]

    def broker_or_refuse(self) -> Broker:
        """The broker.

        Raises:
            RunFailed: A machine publishes although its strategy says that it uses no broker.
        """
        if self.broker is None:
            raise RunFailed(f"a machine of '{self.strategy.name}' publishes, but the strategy says uses_broker=False")
        return self.broker

    def vote_store_or_refuse(self) -> VoteStore:
        """The vote store.

        Raises:
            RunFailed: A machine asks for it although its strategy does not say that it uses one.
        """
        if self.vote_store is None:
            raise RunFailed(
                f"a machine of '{self.strategy.name}' votes in a store, but the strategy has no uses_vote_store=True"
            )
        return self.vote_store

    @property
    def arrivals_over(self) -> bool:
        """Return whether nobody asks for another transaction any more."""
        return self.clients.over

    @property
    def asked_again(self) -> bool:
        """Return whether clients ask again for what a node has received and lost."""
        return self.clients.insists

    def answered(self, record: TransactionRecord, outcome: str) -> None:
        """A machine answers the client."""
        self.clients.answered(record, outcome)
