"""The loop in C: `World` builds, this module hands the world over to `simtx.engine`, and reads it back when the run is over.

All that a run offers is made from it by the same code as from an interpreted one. What is rare (faults, the ends of warm-up and arrivals)
stays Python's, in a heap of its own; the loop returns when its turn has come. Both count the order of scheduling together.
"""

from __future__ import annotations

import ctypes
import math
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from heapq import heappop
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from simtx.engine import NotCompiled, layout, load_library
from simtx.engine.generators import as_source, generators
from simtx.engine.learn import OUTCOMES, SAYINGS, Learner
from simtx.engine.plans import Plans, pointer
from simtx.engine.signals import HeldSignals
from simtx.metrics.counters import COUNTERS
from simtx.metrics.guarantees import REFUSING, Seen, Watch, behind
from simtx.metrics.ledger import Columns
from simtx.metrics.still_open import StillOpen
from simtx.metrics.texts import Texts
from simtx.protocols import Machine, Strategy
from simtx.protocols.extras import extras
from simtx.protocols.names import BROKER, CLIENT, TOMBSTONE, VOTE_STORE
from simtx.protocols.relay import Relay
from simtx.scenario.distributions import Constant, Empirical
from simtx.simulator.broker import Broker
from simtx.simulator.common_mode import NORMAL, level, quantiles, shares, thresholds
from simtx.simulator.disk import Disk
from simtx.simulator.environment import URGENT
from simtx.simulator.host import Process
from simtx.simulator.last_values import CompiledValues, LastValues
from simtx.simulator.network import spared
from simtx.simulator.node import AimedCrash, Node
from simtx.simulator.remembered import memory
from simtx.simulator.run_loop import RunLoop
from simtx.simulator.sampler import Sampler
from simtx.simulator.vote_store import VoteStore
from simtx.simulator.world import World
from simtx.workload.by_transaction import recipe, uniform_numbers
from simtx.workload.planner import arrival_pages
from simtx.workload.streams import Sampled

if TYPE_CHECKING:
    from simtx.scenario import BrokerSpec, Scenario
    from simtx.scenario.distributions import Distribution
    from simtx.scenario.infrastructure import ProviderSpec

_ENDINGS: Final = ("", "committed", "aborted", "compensated", "stuck", "in-flight", "incomplete", "lost")
_ANSWERS: Final = tuple(OUTCOMES)
_RULES: Final = ("timeout", "detect", "wait-die")
_FLUSHES: Final = ("parallel", "serial", "group")
_MOST_CELLS: Final = 10_000  # values of a distribution that follows the common factor
_FOLLOWED: Final = 16  # first transactions that the real machines play, too, beside every 4,096th
_FOLLOWED_AGAIN: Final = 1  # likewise, where the machines are known from an earlier run

_HANDING: Final = ("handle", "unexpected", "ask", "publish", "published", "_to_poller", "_to_courier")

_COLUMNS: Final = {
    "arrival_s": "arrival",
    "answered_s": "answered",
    "decided_s": "decided",
    "first_effect_s": "first_effect",
    "last_effect_s": "last_effect",
    "messages": "messages",
    "broker_messages": "broker_messages",
    "forced_writes": "forced",
    "lazy_writes": "lazy",
    "retries": "retries",
    "lock_wait_s": "lock_wait",
    "lock_hold_s": "lock_hold",
    "in_doubt_s": "in_doubt",
    "prepared_branches": "prepared",
    "duplicate_effects": "duplicates",
    "missing_effects": "missing",
    "measured": "measured",
    "decision": "decision",
}

_FAULTS: Final = (
    "partition",
    "loss",
    "duplication",
    "reorder",
    "slow",
    "clock-drift",
    "broker-outage",
    "vote-store-outage",
    "provider-outage",
    "provider-degraded",
    "crash",
    "pause",
    "store-outage",
)
_KNOWN: Final[Mapping[str, str]] = {
    "Scenario": "name title description services hub network broker transaction workload faults policies invariants run deadlocks common_mode hosts derived groups aggregates vote_store events upgrades "
    "clients sources assumptions uncertainty path overrides _raw",
    "RunPlan": "transactions duration warmup drain stratify recovery timeline_every",
    "Workload": "kind rate burst_rate burst_on burst_off profile trace trace_times trace_parameters users think_time",
    "ClientsSpec": "ask_again deadline timeout backoff budget budget_burst deadline_travels",
    "ServiceSpec": "name zone workers service_time compensation_time queue_limit store provider",
    "ProviderSpec": "latency timeouts timeouts_done timeout rate_limit burst retry_after idempotency status_query",
    "StoreSpec": "isolation log lock_timeout initial replica_lag outbox_order locks",
    "LogSpec": "forced_write flush lazy_flush",
    "HubSpec": "zone log",
    "VoteStoreSpec": "zone log",
    "NetworkSpec": "zones links loss duplication reorder reorder_delay client_zone",
    "LinkSpec": "latency loss duplication reorder reorder_delay",
    "Transaction": "name parameters steps",
    "StepSpec": "index name service operations compensation kind after refusal service_time compensation_time",
    "BrokerSpec": "zone ack ack_latency linger redelivery deduplication_window deduplication_after_restart ordered retention "
    "kind partitions fetch commit_every delivery_limit backoff nack nack_delay deduplication_by poison poison_transactions poison_until",
    "EventsSpec": "version unread",
    "Fault": "kind duration node at every until factor probability a b one_way trigger",
    "HostSpec": "cores speed nodes neighbours parallel event effect transaction forced_write quantum",
    "Trigger": "transaction effect when occurrence",
    "OperationSpec": "key kind amount parameter low high",
    "CommonMode": "links writes memory",
    "Parameter": "population popularity exponent prefix values integer",
}
"""Fields that this module knows: a scenario with another one is interpreted until somebody has looked."""


#: Counters of a run, by the field in which the loop counts them; faults strike in Python.
_COUNTED: Final = {
    "alerts": "alerts",
    "deadlocks": "victims",
    "lock_timeouts": "timeouts",
    "breaker_rejections": "held_back",
    "requests_repeated": "repeated",
}


def why_interpreted(scenario: Scenario, strategy: Strategy) -> str:
    """Why a run of this cannot be compiled, as the rest of a sentence; empty if it can, as far as one sees before it is played."""
    for node in (*scenario.services, strategy.hub):
        daemons = tuple(strategy.daemons(node)) if node is not None else ()
        if len(daemons) > 1 or any(not _is_relay(daemon) for daemon in daemons):
            return f"'{strategy.name}' has daemons that are not relays of a poller and couriers"
    if scenario.upgrades:
        return "it has a rolling upgrade"
    if strategy.uses_broker and scenario.broker.special:
        return f"it has {scenario.broker.special}"
    if extras(strategy).further_nodes:
        return f"'{strategy.name}' has acceptors on nodes of their own, which the loop does not have"
    for fault in scenario.faults:
        if fault.kind not in _FAULTS:
            return f"it has a fault of the kind '{fault.kind}'"
    if scenario.derived:
        return "it has derived stores (caches, search indexes)"
    if scenario.groups:
        return "it has consumer groups"
    if scenario.aggregates:
        return "it has event-sourced aggregates"
    if len({fault.trigger.effect for fault in scenario.faults if fault.trigger is not None}) > layout.PATTERNS:
        return f"its crashes are aimed at more than {layout.PATTERNS} kinds of effects"
    if uncounted := COUNTERS.keys() - _COUNTED.keys() - {"faults"}:
        return f"the loop does not count {', '.join(sorted(uncounted))}"
    room = layout.NODES - 4 if extras(strategy).uses_vote_store else layout.NODES - 2
    if len(scenario.services) > room:
        return f"it has more than {room} services"
    if len(scenario.transaction.steps) > layout.STEPS:
        return f"it has more than {layout.STEPS} steps"
    if sum(invariant.kind == "conserved" for invariant in scenario.invariants) > layout.QUANTITIES:
        return f"it has more than {layout.QUANTITIES} conserved quantities"
    kept = memory(scenario)
    if kept.unknown is None:
        kept.unknown = _unknown(scenario)
    return kept.unknown


def _is_relay(daemon: Machine) -> bool:
    """Whether a daemon hands rows to couriers as `Relay` does, so that its parts are all that has to be learned."""
    kind = type(daemon)
    return isinstance(daemon, Relay) and all(getattr(kind, name) is getattr(Relay, name) for name in _HANDING)


def _unknown(scenario: Scenario) -> str:
    """Fields of a scenario that this module does not know."""
    parts: list[Any] = [
        scenario,
        scenario.run,
        scenario.workload,
        scenario.clients,
        scenario.hub,
        scenario.hub.log,
        scenario.broker,
        scenario.vote_store,
        scenario.vote_store.log,
    ]
    parts += [scenario.network, *scenario.network.links.values(), scenario.transaction]
    for service in scenario.services.values():
        parts += [
            service,
            service.store,
            service.store.log,
            *([service.provider] if service.provider is not None else []),
        ]
    for step in scenario.transaction.steps:
        parts += [step, *step.operations, *step.compensation]
    parts += scenario.transaction.parameters.values()
    parts += scenario.faults
    parts += scenario.hosts.values()
    parts += [fault.trigger for fault in scenario.faults if fault.trigger is not None]
    parts += [scenario.common_mode] if scenario.common_mode is not None else []
    for part in parts:
        known = _KNOWN.get(type(part).__name__, "").split()
        for field in fields(part) if is_dataclass(part) else ():
            if field.name not in known:
                return f"the compiled engine does not know {type(part).__name__}.{field.name}"
    return ""


class CompiledLoop(RunLoop):
    """Plays a world in C. It builds the world itself, since its nodes and its broker are those of C.

    Args:
        scenario: What to play.
        strategy: How to keep it consistent, with its policies filled in.
        seed: First part of the key of all random streams.
        replication: Second part.
        runs: How many runs of this kind there are, which all go on with what one has learned: so long may learning take. Without, as long as it likes.

    Raises:
        ScenarioError: The strategy cannot play this scenario.
        NotCompiled: It has to be interpreted.
        Unavailable: There is no compiled loop here.
    """

    def __init__(
        self, scenario: Scenario, strategy: Strategy, *, seed: int, replication: int, runs: float = math.inf
    ) -> None:
        self.runs = runs
        reason = why_interpreted(scenario, strategy)
        if reason:
            raise NotCompiled(reason)
        self._library = layout.bind(load_library())
        world = World(scenario, strategy, seed=seed, replication=replication, traced=False, kind_of_node=_Node)
        super().__init__(world)
        self.scenario, self.strategy, self.env, self.ledger = world.scenario, world.strategy, world.env, world.ledger
        self._failure: BaseException | None = None
        self._fills: list[Any] = []
        self._complete = False
        self._armed: list[tuple[str, AimedCrash]] = []
        self._signals = HeldSignals()
        self._calls = layout.Calls(
            layout.LEARN(self._answering(self._learn)),
            layout.LEARN(self._answering(self._duplicate)),
            layout.FILL(self._filling()),
            layout.PLAN(self._answering(self._plan)),
            layout.ARRIVALS(self._answering(self._more_arrivals)),
            layout.ENDED(self._answering(self._ended)),
            layout.LEARN(self._answering(self._link)),
            layout.LEARN(self._answering(self._delivery)),
            layout.LEARN(self._answering(self._courier)),
            layout.RECOVER(self._answering(self._recover)),
            layout.REPLAY(self._answering(self._replay)),
            layout.AIMED(self._answering(self._strike)),
            layout.LEARN(self._answering(self._vote)),
        )
        engine = self._library.engine_new(ctypes.byref(self._calls))
        if not engine:
            raise MemoryError("no memory for the compiled engine")
        self._engine: int = engine
        self._head = self._library.engine_head(engine).contents
        self._generators = generators(self._library)
        if self._generators is not None:
            self._library.engine_generators(engine, ctypes.byref(self._generators.functions))
        self._tails: dict[int, Distribution] = {}
        self._keys: dict[str, dict[str, int]] = {}
        self._weights: dict[tuple[tuple[float, ...], ...], Any] = {}
        self._names = list(self.world.nodes)
        self._index = {name: number for number, name in enumerate(self._names)} | {
            CLIENT: layout.CLIENT,
            BROKER: layout.BROKER,
            VOTE_STORE: layout.VOTES,
        }
        self._times = arrival_pages(scenario.workload, self.world.streams)
        self._arrived = 0  # times that C was given
        self.world.sampler = _Sampler(self)
        self.env.sequence = self._sequence
        for node in world.nodes.values():
            if not isinstance(node, _Node):
                raise AssertionError("the nodes are those of C")
            node.loop = self
        self._describe()

    def release(self) -> None:
        """Give the memory of the compiled loop back; the world's results stay, and what was learned is kept for the next run."""
        engine, self._engine = getattr(self, "_engine", 0), 0
        if engine:
            if self._complete:
                self._learner.detach()
                if self._learner.detached:
                    memory(self.scenario).give_back(self.strategy, self._learner)
            self._library.engine_free(engine)

    def __del__(self) -> None:
        self.release()

    @property
    def memory(self) -> int:
        """Bytes that C has taken."""
        return int(self._head.memory)

    def limit_memory(self, most: int) -> None:
        """Let C take no more than so many bytes: a run that needs more ends with a `MemoryError`."""
        self._head.memory_limit = most

    # --- handing over -------------------------------------------------------------------------------------------------------------

    def _describe(self) -> None:
        head, scenario, library, engine = self._head, self.scenario, self._library, self._engine
        plan, clients = scenario.run, scenario.clients
        ledger = self.ledger
        head.nodes, head.steps = len(self._names), len(scenario.transaction.steps)
        head.quantities, head.writing = len(ledger.gauges), self.world.planner.writing
        head.grace, head.next_sweep, head.soon, head.next_lighten = ledger.times()
        head.measuring = 1
        head.transactions = -1 if plan.transactions is None else plan.transactions
        head.has_duration, head.duration = int(plan.duration is not None), plan.duration or 0.0
        head.warmup, head.deadline, head.client_timeout = plan.warmup, clients.deadline, clients.timeout
        head.remote = int(scenario.network.client_zone is not None)
        if clients.budget is not None:
            head.has_budget, head.budget_ratio = 1, clients.budget
            head.budget_burst = head.budget_saved = clients.budget_burst
        head.deadline_travels = int(clients.deadline_travels)
        head.insists, head.again = int(self.world.clients.insists), int(clients.ask_again != "never")
        head.crashes = int(any(fault.kind == "crash" for fault in scenario.faults))
        presumes = self.world.extras.presumption == "abort" and self.strategy.hub is not None
        head.presumes = self._index[self.strategy.hub or ""] if presumes else -1
        head.deadlocks = _RULES.index(scenario.deadlocks)
        breaker = self.world.policies.breaker
        if breaker is not None:
            head.has_breakers, head.threshold, head.cooldown = 1, breaker.threshold, breaker.cooldown
        uniform = uniform_numbers()
        for number, name in enumerate(self._names):
            role = self.world.role(name)
            service = scenario.services.get(name)
            log = service.store.log if service is not None else scenario.hub.log
            forced = self._latency(log.forced_write, role, "forced-write")
            jitter = self._stream(uniform, role, "backoff-jitter")
            library.engine_node(
                engine,
                number,
                forced,
                _FLUSHES.index(log.flush),
                int(self.world.nodes[name].disk.instant),
                jitter,
                log.lazy_flush,
            )
            if service is not None:
                library.engine_store(
                    engine,
                    number,
                    int(service.store.isolation == "serializable"),
                    service.store.lock_timeout,
                    self.world.policies.dedup_retention,
                    service.workers,
                    -1 if service.queue_limit is None else service.queue_limit,
                    int(service.store.outbox_order == "commit"),
                    int(service.store.locks == "work" and service.provider is None),
                )
                if service.provider is not None:
                    self._describe_provider(number, name, service.provider)
                if service.store.replica_lag is not None:
                    library.engine_replica(engine, number, self._stream(service.store.replica_lag, name, "replica-lag"))
        self._describe_hosts()
        for index, later in enumerate(behind(scenario.transaction.steps)):
            head.behind[index] = sum(1 << one for one in later)
        for spec in scenario.transaction.steps:
            head.undo[spec.index] = self._stream(
                scenario.compensation_time(spec), f"step:{spec.name}", "compensation-time"
            )
            head.writes[spec.index] = int(any(operation.kind in ("add", "set") for operation in spec.operations))
            head.retriable |= int(spec.kind == "retriable") << spec.index
        head.client_jitter = self._stream(uniform, CLIENT, "backoff-jitter")
        if scenario.workload.think_time is not None:
            head.closed_workload = 1
            head.thinking = self._stream(scenario.workload.think_time, "workload", "think-time")
        self._describe_broker()
        self._describe_votes()
        bounds = [clients.backoff.bound(attempt) for attempt in range(66)]
        library.engine_bounds(engine, (ctypes.c_double * len(bounds))(*bounds), len(bounds))
        self._plans = Plans(scenario, self.world.streams, self._key, self._new_keys, self._numbered_keys)
        head.slots, head.shared_slots = len(self._plans.slots), int(self._plans.shared)
        for slot in self._plans.booked:
            if library.engine_book(engine, slot) < 0:
                raise NotCompiled("its steps have too many operations")
        self._learner = self._learning()
        head.request[: len(self._learner.requests)] = self._learner.requests
        head.done_value, head.refused_value = self._learner.value("done"), self._learner.value("refused")
        head.tombstone_value = self._learner.value(TOMBSTONE)
        entries = self._learner.entry()
        if len(entries) != 1:
            raise NotCompiled("the entry node differs between transactions")
        head.entry = self._index[entries.pop()]

    def _describe_provider(self, number: int, name: str, spec: ProviderSpec) -> None:
        made = layout.Provider()
        made.exists, made.up, made.factor, made.status_query = 1, 1, 1.0, int(spec.status_query)
        made.latency = self._stream(spec.latency, name, "provider")
        made.chance = self._stream(uniform_numbers(), name, "provider-chance")
        made.silent, made.timeouts_done, made.timeout = spec.timeouts, spec.timeouts_done, spec.timeout
        made.limited, made.rate = int(spec.rate_limit is not None), spec.rate_limit or 0.0
        made.burst, made.tokens, made.retry_after = spec.burst, spec.burst, spec.retry_after
        made.remembers, made.idempotency = int(spec.idempotency is not None), spec.idempotency or 0.0
        self._library.engine_provider(self._engine, number, ctypes.byref(made))

    def _describe_hosts(self) -> None:
        numbers = {self.world.role(name): number for name, number in self._index.items()}
        for number, spec in enumerate(self.scenario.hosts.values()):
            self._library.engine_host(self._engine, number, spec.cores, spec.neighbours, spec.speed, spec.quantum)
            for role in spec.nodes:
                if role not in numbers:
                    continue
                width = spec.cores if spec.parallel else 1
                times = (spec.event, spec.effect, spec.transaction, spec.forced_write)
                self._library.engine_process(self._engine, numbers[role], number, width, *times)
                self.world.processes[role] = _Process(
                    self.world.processes[role], self._library, self._engine, numbers[role]
                )

    def _learning(self) -> Learner:
        """A learner that knows these machines from an earlier run, or a new one."""
        learner = self._learner_of_this()
        learner.expect(self.scenario.expected_transactions() * self.runs)
        return learner

    def _learner_of_this(self) -> Learner:
        known = memory(self.scenario).learner(self.strategy)
        self._head.followed = _FOLLOWED if known is None else _FOLLOWED_AGAIN
        if known is not None:
            known.attach(self._engine)
            return known
        stores = [name for name, node in self.world.nodes.items() if node.store is not None]
        return Learner(
            self._library,
            self._engine,
            self.strategy,
            self._names,
            stores,
            self._plans.shapes,
            self._plans.opaque,
            [service for service, _ in self._plans.slots],
            self._aims(),
        )

    def _describe_broker(self) -> None:
        if self.world.broker is None:
            return
        head, spec = self._head, self.scenario.broker
        self.world.broker = _Broker(self.world, spec, self._library, self._engine)
        head.has_broker, head.in_order, head.broker_up = 1, int(spec.ordered), 1
        head.linger = self._stream(spec.linger, BROKER, "linger")
        head.acknowledgement = self._latency(spec.ack_latency, BROKER, "ack")
        head.wake_on_commit = int(self.world.wake_on_commit)
        head.has_retention, head.retention = int(spec.retention is not None), spec.retention or 0.0
        head.redelivery, head.deduplication = spec.redelivery, spec.deduplication_window
        head.publish_timeout = self.world.policies.publish_timeout

    def _describe_votes(self) -> None:
        if self.world.vote_store is None:
            return
        log = self.scenario.vote_store.log
        forced = self._latency(log.forced_write, VOTE_STORE, "forced-write")
        disk = self.world.vote_store.disk
        self._library.engine_node(
            self._engine, layout.VOTES, forced, _FLUSHES.index(log.flush), int(disk.instant), 0, log.lazy_flush
        )
        self.world.vote_store = _VoteStore(self.world, disk, self._library, self._engine)
        self.world.vote_store.restart()

    def start_relays(self, names: Iterable[str]) -> None:
        """Start the relays of these nodes."""
        for name in names:
            number = self._index[name]
            for relay in self.strategy.daemons(name):
                if not isinstance(relay, Relay):
                    raise NotCompiled("it has a daemon that is no relay")
                state, events = self._learner.relay(relay)
                ordered = int(relay.reader != "marks")
                self._library.engine_start_relay(
                    self._engine, number, state, ordered, (ctypes.c_int32 * len(events))(*events)
                )

    def _stream(self, distribution: Sampled, component: str, purpose: str) -> int:
        """Number of a stream in the engine."""
        block = None
        if isinstance(distribution, Constant):
            number = self._library.engine_stream(self._engine, 1, float(distribution.value))
        else:
            number = self._library.engine_stream(self._engine, 0, 0.0)
            made = recipe(distribution) if self._generators is not None else None
            if made is None:
                block = self.world.by_transaction.fill(distribution, component, purpose)
            elif number >= 0:
                by_key = as_source(made, self.world.by_transaction.key(component, purpose))
                self._library.engine_draws(self._engine, number, ctypes.byref(by_key))
        if number < 0:
            raise NotCompiled("it has too many links")
        self._fills.append(block)
        return int(number)

    def _latency(self, distribution: Distribution, component: str, purpose: str) -> int:
        """Number of the stream of a link's or a disk's latency, with what all nodes have in common: as `World` draws them."""
        common, factor = self.scenario.common_mode, self.world.common
        if common is None or factor is None:
            return self._stream(distribution, component, purpose)
        correlation = common.writes if purpose == "forced-write" else common.links
        if correlation == 0 or isinstance(distribution, Constant):
            return self._stream(distribution, component, purpose)
        own = self._stream(NORMAL, component, purpose)
        number = self._stream(uniform_numbers(), component, purpose)
        table = np.array(quantiles(distribution))
        if len(table) > _MOST_CELLS:
            raise NotCompiled(f"a common mode of more than {_MOST_CELLS:,} listed values")
        places = np.array([*thresholds(len(table)), 0.0])
        exact = not isinstance(distribution, Empirical)
        self._tails[number] = distribution
        self._library.engine_together(
            self._engine, number, own, *shares(correlation), len(table), pointer(table), pointer(places), int(exact)
        )
        self._head.factor_step = factor.step
        return number

    def _key(self, service: str, name: str) -> int:
        """Number of a key of a store."""
        of_service = self._keys.setdefault(service, {})
        known = of_service.get(name)
        if known is None:
            store = self.world.nodes[service].store
            if store is None:
                raise NotCompiled(f"{service} has no store")
            if "\0" in name:
                raise NotCompiled("a key holds a null character")
            factors = tuple(store.weights_of(name))
            known = self._library.engine_key(
                self._engine,
                self._index[service],
                name.encode("utf-8", "surrogatepass"),
                store.read(name),
                name in store.values,
                len(factors),
                self._weighing(factors),
            )
            of_service[name] = known
        return known

    def _new_keys(self, service: str, literal: str, names: list[str]) -> list[int]:
        """Numbers of keys whose names begin with the same text and go on differently: most of them are alike, and are made at once."""
        store, known = self.world.nodes[service].store, self._keys.setdefault(service, {})
        alike = None if store is None or "\0" in names[0] else store.alike(literal)
        if store is None or alike is None:
            return [self._key(service, name) for name in names]
        first, factors = alike
        fresh = [name for name in names if name not in known and name not in store.values]
        text = "\0".join(fresh).encode("utf-8", "surrogatepass") + b"\0"
        start = self._library.engine_keys(
            self._engine,
            self._index[service],
            len(fresh),
            text,
            len(text),
            first,
            len(factors),
            self._weighing(tuple(factors)),
        )
        numbers = range(start, start + len(fresh))
        known.update(zip(fresh, numbers, strict=True))
        return list(numbers) if len(fresh) == len(names) else [self._key(service, name) for name in names]

    def _numbered_keys(self, service: str, before: str, numbers: Any, behind: str) -> int:
        """The number of the first of many keys whose names are one text with a number in it; -1 if they may differ in more, or are known by another name.

        Nobody but C makes these names.
        """
        store = self.world.nodes[service].store
        if store is None or "\0" in before + behind or any(name.startswith(before) for name in store.first.exact):
            return -1
        alike = store.alike(before)
        if alike is None:
            return -1
        first, factors = alike
        return int(
            self._library.engine_numbered_keys(
                self._engine,
                self._index[service],
                len(numbers),
                before.encode("utf-8", "surrogatepass"),
                pointer(numbers),
                behind.encode("utf-8", "surrogatepass"),
                first,
                len(factors),
                self._weighing(tuple(factors)),
            )
        )

    def _weighing(self, factors: tuple[tuple[float, ...], ...]) -> Any:
        """What a key counts in each conserved quantity, as C takes it."""
        weights = self._weights.get(factors)
        if weights is None:
            flat = [factor for one in factors for factor in one]
            weights = self._weights[factors] = (ctypes.c_double * len(flat))(*flat)
        return weights

    # --- what C calls -------------------------------------------------------------------------------------------------------------

    def _answering(self, function: Callable[..., int]) -> Callable[..., int]:
        """A function as C calls it: C cannot raise, so what it raises is kept for `_raise`, and C stops."""

        def answer(*arguments: Any) -> int:
            try:
                result = function(*arguments)
            except BaseException as error:  # noqa: BLE001 - `_raise` raises it
                self._failure = self._failure or error
                result = -1
            self._head.answered = 1
            return result

        return answer

    def _learn(self, state: int, event: int) -> int:
        return self._learner.learn(state, event)

    def _duplicate(self, template: int, value: int) -> int:
        return self._learner.duplicate(template, value)

    def _recover(self, node: int, count: int, records: Any) -> int:
        return self._learner.recover(node, tuple(records[:count]))

    def _replay(self, tx: int, transition: int, state: int, event: int) -> int:
        return self._learner.replay(tx, transition, state, event)

    def _courier(self, node: int, message: int) -> int:
        return self._learner.courier(node, message)

    def _vote(self, request: int, vote: int) -> int:
        return self._learner.vote(request, vote)

    def _delivery(self, message: int, which: int) -> int:
        return self._learner.delivery(message, which)

    def _filling(self) -> Callable[[int, int, int, int, int, int], int]:
        """The function that gives C random numbers, as it calls it: `_answering` in one piece, as no other is called so often."""
        fills = self._fills
        pages: dict[int, tuple[Any, int]] = {}
        move = ctypes.memmove

        def fill(stream: int, major: int, minor: int, size: int, blocks: int, target: int) -> int:
            result = 0
            try:
                page = pages.get(size)
                if page is None:
                    numbers = np.empty(size)
                    page = pages[size] = numbers, pointer(numbers)
                if stream >= 0 and major >= 0:
                    fills[stream](major, minor, page[0], blocks)
                else:
                    self._fill_together(stream, major, minor, target, page[0])
                move(target, page[1], 8 * size)
            except BaseException as error:  # noqa: BLE001 - `_raise` raises it
                self._failure = self._failure or error
                result = -1
            self._head.answered = 1
            return result

        return fill

    def _fill_together(self, stream: int, major: int, minor: int, target: int, numbers: Any) -> None:
        """What follows the common factor, or belongs to no transaction."""
        if stream < 0:
            if self.world.common is None:
                raise AssertionError("the scenario has a common mode")
            numbers[:] = self.world.common.made(major)
        elif minor < 0:  # the tail of a distribution that follows the common factor
            numbers[0] = self._tails[stream].quantile(level(ctypes.c_double.from_address(target).value))
        else:
            self._fills[stream](major, minor, numbers, 1)

    def _plan(self, page: int) -> int:
        for number in range(page, page + self._ahead(page * layout.PAGE)):
            demands, amounts, keys, shapes = self._plans.page(number)
            self._library.engine_page(self._engine, pointer(demands), pointer(amounts), pointer(keys), pointer(shapes))
        return 0

    def _ahead(self, transactions: int) -> int:
        """How many pages to make when there are plans or arrivals of so many transactions: several, if they will be wanted.

        While C has them it needs no Python, which another thread may be in.
        """
        missing = int(self._head.transactions) - transactions
        return min(max(-(-missing // layout.PAGE), 1), layout.AHEAD)

    def _more_arrivals(self, target: int, count: int) -> int:
        pages = list(islice(self._times, self._ahead(self._arrived)))
        times = np.concatenate(pages) if pages else np.zeros(0)
        if len(times) > count:
            raise AssertionError(f"C has room for {count} arrivals, and gets {len(times)}")
        ctypes.memmove(target, pointer(times), 8 * len(times))
        self._arrived += len(times)
        return len(times)

    def aim(self, name: str, armed: AimedCrash) -> None:
        """Aim a crash at one effect of one transaction: C says when it comes to it."""
        tx, effect, before, occurrence = armed.place
        which, pattern = len(self._armed), self._aims().index(effect)
        self._armed.append((name, armed))
        found = self._library.engine_aim(self._engine, self._index[name], which, pattern, tx, int(before), occurrence)
        if found < 0:
            raise NotCompiled(f"more than {layout.AIMS} crashes are aimed at one node")

    def _aims(self) -> list[str]:
        """Names of the effects that crashes are aimed at."""
        return sorted({fault.trigger.effect for fault in self.scenario.faults if fault.trigger is not None})

    def _strike(self, number: int) -> int:
        name, armed = self._armed[number]
        self.env.now = self._head.now
        armed.strike(self.world.nodes[name])
        self._announce()
        return 0

    def _ended(self) -> int:
        self.env.now = self._head.now
        self.world.clients.over = True
        self.pull()
        self.world.window.close()
        self._push()
        return 0

    def _link(self, source: int, destination: int) -> int:
        return self._made_link(self._name(source), self._name(destination))

    def _name(self, number: int) -> str:
        return {layout.CLIENT: CLIENT, layout.BROKER: BROKER, layout.VOTES: VOTE_STORE}.get(number) or self._names[
            number
        ]

    def _made_link(self, source: str, destination: str) -> int:
        component, latency, spec = self.world.path(source, destination)
        link = layout.Link()
        link.draw = self._latency(latency, component, "latency")
        link.plain = int(not (spec.loss or spec.duplication or spec.reorder))
        if not link.plain or self.world.injectors:
            uniform = uniform_numbers()
            link.reorders, link.duplicates, link.loses = (
                int(bool(chance)) for chance in (spec.reorder, spec.duplication, spec.loss)
            )
            link.reorder, link.duplication, link.loss = 1.0 - spec.reorder, 1.0 - spec.duplication, 1.0 - spec.loss
            link.reorder_stream = self._stream(uniform, component, "reorder")
            link.duplication_stream = self._stream(uniform, component, "duplication")
            link.loss_stream = self._stream(uniform, component, "loss")
            link.delay_stream = self._stream(spec.reorder_delay, component, "reorder-delay")
            link.copy_latency_stream = self._stream(spec.latency, component, "copy-latency")
            link.copy_delay_stream = self._stream(spec.reorder_delay, component, "copy-delay")
        return int(self._library.engine_link(self._engine, ctypes.byref(link)))

    def _sequence(self) -> int:
        number = self._head.seq
        self._head.seq = number + 1
        return int(number)

    # --- the run ------------------------------------------------------------------------------------------------------------------

    def start_daemons(self) -> None:
        """As `RunLoop` says."""
        self.start_relays(self._names)

    def start_arrivals(self) -> None:
        """As `RunLoop` says."""
        duration = self.scenario.run.duration
        if duration is not None:
            self.env.call_at(duration, self._time_is_over)
        for _ in range(self.scenario.workload.users if self._head.closed_workload else 1):
            self._library.engine_arrivals(self._engine)
        self._raise()

    def _time_is_over(self, _: object) -> None:
        if not self.world.clients.over:
            self.world.clients.over = True
            self._head.over = 1
            self.world.window.close()

    def play(self, report: Callable[[float], object] | None = None) -> None:
        """As `RunLoop.play`. Handlers of signals wait until the loop has come back, which it does often."""
        with self._signals:
            super().play(report)

    def _announce(self) -> None:
        """Say when it is Python's turn."""
        head, queue = self._head, self.env.queue
        if queue:
            time, priority, sequence, _, _ = queue[0]
            head.python_time, head.python_key = time, priority << 62 | sequence << 6
        else:
            head.python_time = math.inf

    def advance(self, until: float) -> None:
        """As `RunLoop` says."""
        head, env, library, sampler = self._head, self.env, self._library, self.world.sampler
        library.engine_push(self._engine, until, URGENT, layout.STOP)
        while True:
            self._announce()
            what = library.engine_run(self._engine)
            self._raise()
            self._signals.strike()
            if sampler.report is not None:
                sampler.report(head.now)
            if what == layout.LOOK:
                continue
            if what != layout.PYTHON:
                env.now = head.now
                return
            env.now, _, _, callback, argument = heappop(env.queue)
            head.now = env.now
            self.pull()
            callback(argument)
            self._push()

    def _raise(self) -> None:
        """Raise what has failed in a call of C's.

        Raises:
            NotCompiled: The run has to be interpreted.
            MemoryError: There is too little for this run; interpreted it would take more.
        """
        if self._head.error == layout.NO_MEMORY:
            raise MemoryError(
                f"no memory for more than {self._head.asked:,} transactions; {self._head.memory / 1e6:,.0f} MB are taken"
            )
        failure = self._failure
        if failure is not None:
            if isinstance(failure, NotCompiled | MemoryError) or not isinstance(failure, Exception):
                raise failure
            raise NotCompiled(f"learning its machines failed: {failure}") from failure
        if self._head.error:
            raise NotCompiled(f"the compiled loop gave up (reason {self._head.error})")

    def strike(self, function: str, name: str) -> None:
        """A fault begins or ends at a node: C has a function for it."""
        getattr(self._library, function)(self._engine, self._index[name])
        self.pull()

    def crash(self, name: str) -> None:
        """A node loses everything volatile."""
        self.strike("engine_crash", name)

    def restart(self, name: str) -> None:
        """A node comes back with what is on disk."""
        self._library.engine_restart(self._engine, self._index[name])
        if not self._library.engine_is_up(self._engine, self._index[name]):
            return  # an aimed crash
        self.start_relays([name])
        if self.world.broker is not None:
            self._library.engine_connected(self._engine, self._index[name])
        self.pull()

    def pull(self) -> None:
        """Copies the state of C to the parts that Python reads."""
        head, ledger = self._head, self.ledger
        gauges = self._library.engine_gauges(self._engine)
        for number, gauge in enumerate(ledger.gauges):
            for name in layout.GAUGE:
                setattr(gauge, name, getattr(gauges[number], name))
        ledger.undecided, ledger.unsettled, ledger.partial = head.undecided, head.unsettled, head.partial
        ledger.partial_time, ledger.partial_since = head.partial_time, head.partial_since
        figures = layout.Figures()
        for number, node in enumerate(self.world.nodes.values()):
            self._library.engine_figures(self._engine, number, ctypes.byref(figures))
            node.disk.busy_time = figures.disk_busy
            node.expired = figures.expired
            if node.pool is None or node.store is None:
                continue
            node.pool.restore(figures.busy_time, figures.busy, figures.since, figures.work)
            node.store.locks.taken, node.store.locks.held = figures.locks_taken, figures.locks_held
            for station, counted in (
                (node.pool.waiting, figures.waiting),
                (node.pool.served, figures.served),
                (node.store.locks.waits, figures.waits),
            ):
                station.restore(
                    counted.arrivals,
                    counted.departures,
                    counted.present,
                    counted.stayed,
                    counted.entries,
                    counted.exits,
                )

    def _push(self) -> None:
        """Writes the changes of Python's part to the state of C."""
        head, ledger = self._head, self.ledger
        gauges = self._library.engine_gauges(self._engine)
        for number, gauge in enumerate(ledger.gauges):
            for name in layout.GAUGE:
                setattr(gauges[number], name, getattr(gauge, name))
        head.partial_time, head.partial_since, head.measuring = (
            ledger.partial_time,
            ledger.partial_since,
            int(ledger.measuring),
        )
        for number, node in enumerate(self.world.nodes.values()):
            if node.pool is not None:
                self._library.engine_account(self._engine, number, *node.pool.accounted())
            factor = node.pool.factor if node.pool is not None else 1.0
            self._library.engine_factors(self._engine, number, factor, node.timer_factor)
            provider = node.provider
            if provider is not None:
                behaviour = provider.behaviour
                self._library.engine_set_provider(self._engine, number, provider.up, behaviour.factor, behaviour.silent)
        for (source, destination), link in self.world.links.items():  # those that a fault has touched
            chances = ((bool(one), spared(one)) for one in (link.reorder, link.duplication, link.loss))
            flat = [value for chance in chances for value in chance]
            place = self._library.engine_link_number(self._engine, self._index[source], self._index[destination])
            self._library.engine_set_link(self._engine, place, link.blocked, *flat)

    def quiet(self) -> bool:
        """As `RunLoop` says."""
        return (self.world.broker is None or self.world.broker.up) and bool(self._library.engine_quiet(self._engine))

    def close(self) -> None:
        """Close every record, and hand the results to the parts of the world that know how to tell them."""
        head, ledger = self._head, self.ledger
        self.pull()
        self._library.engine_finish(self._engine)
        ledger.counts |= {counter: getattr(head, name) for counter, name in _COUNTED.items()}
        ledger.still_open = StillOpen(head.in_doubt_open, head.locks_open, head.unpublished)
        for number, node in enumerate(self.world.nodes.values()):
            if node.provider is not None:
                for which, name in enumerate(layout.COUNTS):
                    node.provider.counts[name] = self._library.engine_provider_count(self._engine, number, which)
            replica = node.store.replica if node.store is not None else None
            if replica is not None:
                replica.reads = self._library.engine_replica_reads(self._engine, number, 0)
                replica.stale_reads = self._library.engine_replica_reads(self._engine, number, 1)
        self.world.clients.asked, self.world.clients.suppressed = head.asked, head.suppressed
        for name, node in self.world.nodes.items():
            for key in node.store.first.exact if node.store is not None else ():
                self._key(name, key)  # those that no transaction has asked for
        self._last = CompiledValues(self._library, self._engine, self._names)
        self._wrong = self._last.wrong(*self._forces())
        self._watch()
        self._library.engine_forget_effects(self._engine)
        self._columns(ledger.rows)
        self._complete = True

    def last_values(self) -> LastValues:
        """As `RunLoop` says; C has them."""
        return self._last

    def watched(self) -> Watch:
        """As `RunLoop` says; C has compared the values, so that only those that are off are looked at here."""
        return self.ledger.watch.final(self.scenario, *self._wrong)

    def _forces(self) -> tuple[Any, Any]:
        """What the steps in force have added to each key, and by how much its value is off that."""
        steps = np.array([self._plans.steps_of[slot] for slot in self._plans.booked], dtype=np.int32)
        force, off = np.zeros(self._last.count), np.zeros(self._last.count)
        self._library.engine_force(self._engine, pointer(steps), pointer(force), pointer(off))
        return force, off

    def _watch(self) -> None:
        """Hold every transaction that needs a look against what the strategy guarantees (`simtx.metrics.guarantees`)."""
        head, steps = self._head, self._head.steps
        count = head.asked
        if not count or not head.ordered:
            return
        kind = np.dtype(layout.Transaction)
        records = _view(self._library.engine_transactions(self._engine), kind.itemsize * count).view(kind)
        actions, undone = (
            _view(address, 2 * count * steps).view(np.int16).reshape(count, steps)
            for address in (self._library.engine_actions(self._engine), self._library.engine_undone(self._engine))
        )
        claims = self._claims(count)
        odd, force, unfinished = np.empty(count, dtype=np.int64), np.empty(count, dtype=bool), ctypes.c_int64()
        found = self._library.engine_odd(self._engine, pointer(odd), pointer(force), ctypes.byref(unfinished))
        self.ledger.watch.unfinished = unfinished.value
        places = [spec.service if head.writes[spec.index] else None for spec in self.scenario.transaction.steps]
        for tx, forced in zip(odd[:found].tolist(), force[:found].tolist(), strict=True):
            record = records[tx]
            watch, shape = int(record["watch"]), int(record["shape"])
            if forced:
                watch |= sum(1 << (REFUSING + index) for index in self._plans.refusing(shape))
            self.ledger.watch.judge(
                Seen(
                    tx,
                    str(_ENDINGS[record["outcome"]]),
                    str(_ANSWERS[record["answer"]]),
                    forced,
                    bool(record["decision"]),
                    actions[tx].tolist(),
                    undone[tx].tolist(),
                    places,
                    watch,
                    bool(record["resting"]),
                    () if claims is None else _said(claims[tx].tolist()),
                )
            )

    def _claims(self, count: int) -> Any:
        """Statements of events about each transaction: a mask of steps for each of `SAYINGS`; None: there is no broker."""
        address = self._library.engine_claims(self._engine)
        width = len(SAYINGS)
        return _view(address, 8 * width * count).view(np.uint64).reshape(count, width) if address else None

    def _columns(self, columns: Columns) -> None:
        count = self._head.ordered
        if not count:
            return
        kinds: Any = np.dtype(layout.Transaction).fields
        order = _view(self._library.engine_order(self._engine), 8 * count).view(np.int64)

        def field(name: str) -> npt.NDArray[Any]:
            kind, offset = kinds[name][:2]
            values = np.empty(count, dtype=kind)
            self._library.engine_column(self._engine, offset, kind.itemsize, pointer(values))
            return values

        def column(name: str) -> Any:
            match name:
                case "tx":
                    return order
                case "outcome":
                    return Texts(field("outcome"), _ENDINGS)
                case "answer":
                    return Texts(field("answer"), _ANSWERS)
                case _:
                    return field(_COLUMNS[name])

        columns.fill(column)

    @property
    def learned(self) -> list[tuple[str, str, str, str, int]]:
        """Every pair of the automata: role, state, event, state afterwards, how often it was taken."""
        return self._learner.described()

    def start_samples(self, step: float, doubling: int) -> None:
        """Let C take samples at this distance, which doubles behind the last arrival after so many of them; 0: never."""
        self._library.engine_start_samples(self._engine, step, doubling)

    def samples(self) -> memoryview:
        """The rows that C has sampled since this was asked last."""
        cells = ctypes.c_int64()
        address = self._library.engine_samples(self._engine, ctypes.byref(cells))
        view: memoryview = _view(address, 8 * cells.value).data if cells.value else memoryview(b"")
        return view

    def sample(self, row: array[float]) -> None:
        """Fill a row of the timeline with what is counted now."""
        count = self._library.engine_sample(self._engine, (ctypes.c_double * len(row)).from_buffer(row))
        if count != len(row):
            raise AssertionError(f"C has {count} figures for the {len(row)} columns of the timeline")


class _Broker(Broker):
    """The broker as faults see it."""

    def __init__(self, world: World, spec: BrokerSpec, library: ctypes.CDLL, engine: int) -> None:
        super().__init__(world, spec, _nothing, _nothing)
        self._described = spec
        self._library, self._engine = library, engine

    def crash(self) -> None:
        """Stop answering."""
        self.up = False
        spec = self._described
        kept = spec.deduplication_after_restart
        self._library.engine_broker_crash(
            self._engine, int(spec.ack == "memory"), int(kept == "all"), int(kept == "stored")
        )

    def restart(self) -> None:
        """Answer again, and deliver what waits."""
        self.up = True
        self._library.engine_broker_restart(self._engine)


class _VoteStore(VoteStore):
    """The vote store as faults see it."""

    def __init__(self, world: World, disk: Disk, library: ctypes.CDLL, engine: int) -> None:
        super().__init__(world, disk)
        self._library, self._engine = library, engine

    def crash(self) -> None:
        """Stop answering."""
        self.up = False
        self._library.engine_votes_crash(self._engine)

    def restart(self) -> None:
        """Answer again."""
        self.up = True
        self._library.engine_votes_restart(self._engine)


class _Process(Process):
    """A process on a host, as what it counts is asked for."""

    __slots__ = ("_engine", "_library", "_number")

    def __init__(self, process: Process, library: ctypes.CDLL, engine: int, number: int) -> None:
        super().__init__(process.host, process.spec)
        self._library, self._engine, self._number = library, engine, number

    def account(self) -> float:
        """Seconds in which there was something to do, until now."""
        return float(self._library.engine_process_busy(self._engine, self._number))


class _Node(Node):
    """A node as faults see it."""

    __slots__ = ("loop",)
    loop: CompiledLoop

    def crash(self) -> None:
        """Lose everything volatile."""
        self.loop.crash(self.name)

    def restart(self) -> None:
        """Come back with what is on disk."""
        self.loop.restart(self.name)

    def arm(self, armed: AimedCrash) -> None:
        """Aim a crash at one effect of one transaction."""
        self.loop.aim(self.name, armed)

    def pause(self) -> None:
        """Stop handling anything."""
        self.loop.strike("engine_pause", self.name)

    def unpause(self) -> None:
        """Handle what came in meanwhile."""
        self.loop.strike("engine_unpause", self.name)

    def begin_outage(self) -> None:
        """The store and the log stop answering."""
        self.loop.strike("engine_begin_outage", self.name)

    def end_outage(self) -> None:
        """The store answers again."""
        self.loop.strike("engine_end_outage", self.name)


def _nothing(_: int) -> float:
    return 0.0


class _Sampler(Sampler):
    """Samples the levels that C counts, which takes those by the clock itself."""

    def __init__(self, loop: CompiledLoop) -> None:
        super().__init__(loop.world)
        self._loop = loop
        self._row = array("d", [0.0] * len(self.timeline.names))

    def start(self) -> None:
        """Begin at once, and go on by the clock."""
        self._loop.start_samples(*self._clock.pace)

    def take(self, *, whole: bool = True) -> None:
        """Take a sample now; `whole`: all that happens at this time has happened."""
        self.timeline.add_rows(self._loop.samples())
        self._loop.sample(self._row)
        self.timeline.add_row(self._row, whole=whole)


def _said(masks: Sequence[int]) -> list[tuple[str, int, str]]:
    """Statements of events about one transaction, from the masks of its steps."""
    found = []
    for name, mask in zip(SAYINGS, masks, strict=True):
        kind, what = (name, "action") if name != SAYINGS[3] else (SAYINGS[2], "compensation")
        found += [(kind, index, what) for index in range(layout.STEPS) if mask >> index & 1]
    return found


def _view(address: int, size: int) -> Any:
    """Memory of C's as bytes, without a copy."""
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))
