"""Tells the loop in C what the world of a run is made of."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Final

from simtx.engine import layout
from simtx.metrics.guarantees import behind
from simtx.protocols.names import BROKER, CLIENT, VOTE_STORE
from simtx.simulator.compiled.binding import Binding
from simtx.simulator.compiled.parts import CompiledBroker, CompiledProcess, CompiledVoteStore
from simtx.simulator.compiled.streams import StreamNumbers
from simtx.workload.by_transaction import uniform_numbers

if TYPE_CHECKING:
    from simtx.scenario import LogSpec, ServiceSpec
    from simtx.scenario.infrastructure import ProviderSpec
    from simtx.simulator.disk import Disk

_RULES: Final = ("timeout", "detect", "wait-die")
_FLUSHES: Final = ("parallel", "serial", "group")


def describe(bound: Binding, streams: StreamNumbers) -> None:
    """Tell C all that is known before the first transaction, but for plans and machines."""
    world, scenario, head = bound.world, bound.world.scenario, bound.head
    _describe_run(bound)
    for number, name in enumerate(bound.names):
        service = scenario.services.get(name)
        log = service.store.log if service is not None else scenario.hub.log
        _describe_node(bound, streams, number, log)
        if service is not None:
            _describe_store(bound, streams, number, service)
    _describe_hosts(bound)
    for index, later in enumerate(behind(scenario.transaction.steps)):
        head.behind[index] = sum(1 << one for one in later)
    for spec in scenario.transaction.steps:
        head.undo[spec.index] = streams.stream(
            scenario.compensation_time(spec), f"step:{spec.name}", "compensation-time"
        )
        head.writes[spec.index] = int(any(operation.kind in ("add", "set") for operation in spec.operations))
        head.retriable |= int(spec.kind == "retriable") << spec.index
    head.client_jitter = streams.stream(uniform_numbers(), CLIENT, "backoff-jitter")
    if scenario.workload.think_time is not None:
        head.closed_workload = 1
        head.thinking = streams.stream(scenario.workload.think_time, "workload", "think-time")
    if world.broker is not None:
        _describe_broker(bound, streams)
    if world.vote_store is not None:
        _describe_votes(bound, streams, world.vote_store.disk)
    bounds = [scenario.clients.backoff.bound(attempt) for attempt in range(66)]
    bound.library.engine_bounds(bound.engine, (ctypes.c_double * len(bounds))(*bounds), len(bounds))


def _describe_run(bound: Binding) -> None:
    world, scenario, head = bound.world, bound.world.scenario, bound.head
    plan, clients, ledger = scenario.run, scenario.clients, world.ledger
    head.nodes, head.steps = len(bound.names), len(scenario.transaction.steps)
    head.quantities, head.writing = len(ledger.gauges), world.planner.writing
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
    head.insists, head.again = int(world.clients.insists), int(clients.ask_again != "never")
    head.crashes = int(any(fault.kind == "crash" for fault in scenario.faults))
    presumes = world.extras.presumption == "abort" and world.strategy.hub is not None
    head.presumes = bound.index[world.strategy.hub or ""] if presumes else -1
    head.deadlocks = _RULES.index(scenario.deadlocks)
    breaker = world.policies.breaker
    if breaker is not None:
        head.has_breakers, head.threshold, head.cooldown = 1, breaker.threshold, breaker.cooldown


def _describe_node(bound: Binding, streams: StreamNumbers, number: int, log: LogSpec) -> None:
    name = bound.names[number]
    role = bound.world.role(name)
    forced = streams.latency(log.forced_write, role, "forced-write")
    jitter = streams.stream(uniform_numbers(), role, "backoff-jitter")
    instant = int(bound.world.nodes[name].disk.instant)
    flush = _FLUSHES.index(log.flush)
    bound.library.engine_node(bound.engine, number, forced, flush, instant, jitter, log.lazy_flush)


def _describe_store(bound: Binding, streams: StreamNumbers, number: int, service: ServiceSpec) -> None:
    store = service.store
    bound.library.engine_store(
        bound.engine,
        number,
        int(store.isolation == "serializable"),
        store.lock_timeout,
        bound.world.policies.dedup_retention,
        service.workers,
        -1 if service.queue_limit is None else service.queue_limit,
        int(store.outbox_order == "commit"),
        int(store.locks == "work" and service.provider is None),
    )
    if service.provider is not None:
        _describe_provider(bound, streams, number, service.provider)
    if store.replica_lag is not None:
        lag = streams.stream(store.replica_lag, bound.names[number], "replica-lag")
        bound.library.engine_replica(bound.engine, number, lag)


def _describe_provider(bound: Binding, streams: StreamNumbers, number: int, spec: ProviderSpec) -> None:
    name, made = bound.names[number], layout.Provider()
    made.exists, made.up, made.factor, made.status_query = 1, 1, 1.0, int(spec.status_query)
    made.latency = streams.stream(spec.latency, name, "provider")
    made.chance = streams.stream(uniform_numbers(), name, "provider-chance")
    made.silent, made.timeouts_done, made.timeout = spec.timeouts, spec.timeouts_done, spec.timeout
    made.limited, made.rate = int(spec.rate_limit is not None), spec.rate_limit or 0.0
    made.burst, made.tokens, made.retry_after = spec.burst, spec.burst, spec.retry_after
    made.remembers, made.idempotency = int(spec.idempotency is not None), spec.idempotency or 0.0
    bound.library.engine_provider(bound.engine, number, ctypes.byref(made))


def _describe_hosts(bound: Binding) -> None:
    processes = bound.world.processes
    numbers = {bound.world.role(name): number for name, number in bound.index.items()}
    for number, spec in enumerate(bound.world.scenario.hosts.values()):
        bound.library.engine_host(bound.engine, number, spec.cores, spec.neighbours, spec.speed, spec.quantum)
        for role in spec.nodes:
            if role not in numbers:
                continue
            width = spec.cores if spec.parallel else 1
            times = (spec.event, spec.effect, spec.transaction, spec.forced_write)
            asides = (spec.event_aside, spec.transaction_aside, spec.forced_write_aside, spec.mark_aside)
            told = (ctypes.c_double * 9)(*times, *asides, spec.restart)
            bound.library.engine_process(bound.engine, numbers[role], number, width, told)
            processes[role] = CompiledProcess(processes[role], bound, numbers[role])


def _describe_broker(bound: Binding, streams: StreamNumbers) -> None:
    head, spec, world = bound.head, bound.world.scenario.broker, bound.world
    world.broker = CompiledBroker(bound, spec)
    head.has_broker, head.in_order, head.broker_up = 1, int(spec.ordered), 1
    head.linger = streams.stream(spec.linger, BROKER, "linger")
    head.acknowledgement = streams.latency(spec.ack_latency, BROKER, "ack")
    head.wake_on_commit = int(world.wake_on_commit)
    head.has_retention, head.retention = int(spec.retention is not None), spec.retention or 0.0
    head.redelivery, head.deduplication = spec.redelivery, spec.deduplication_window
    head.publish_timeout = world.policies.publish_timeout


def _describe_votes(bound: Binding, streams: StreamNumbers, disk: Disk) -> None:
    log = bound.world.scenario.vote_store.log
    forced = streams.latency(log.forced_write, VOTE_STORE, "forced-write")
    flush = _FLUSHES.index(log.flush)
    bound.library.engine_node(bound.engine, layout.VOTES, forced, flush, int(disk.instant), 0, log.lazy_flush)
    bound.world.vote_store = CompiledVoteStore(bound, disk)
    bound.world.vote_store.restart()


def describe_link(bound: Binding, streams: StreamNumbers, source: str, destination: str) -> int:
    """Tell C of a link when it is first needed.

    Returns:
        Its number.
    """
    component, latency, spec = bound.world.path(source, destination)
    link = layout.Link()
    link.draw = streams.latency(latency, component, "latency")
    link.plain = int(not (spec.loss or spec.duplication or spec.reorder))
    if not link.plain or bound.world.injectors:
        uniform = uniform_numbers()
        link.reorders, link.duplicates, link.loses = (
            int(bool(chance)) for chance in (spec.reorder, spec.duplication, spec.loss)
        )
        link.reorder, link.duplication, link.loss = 1.0 - spec.reorder, 1.0 - spec.duplication, 1.0 - spec.loss
        link.reorder_stream = streams.stream(uniform, component, "reorder")
        link.duplication_stream = streams.stream(uniform, component, "duplication")
        link.loss_stream = streams.stream(uniform, component, "loss")
        link.delay_stream = streams.stream(spec.reorder_delay, component, "reorder-delay")
        link.copy_latency_stream = streams.stream(spec.latency, component, "copy-latency")
        link.copy_delay_stream = streams.stream(spec.reorder_delay, component, "copy-delay")
    return int(bound.library.engine_link(bound.engine, ctypes.byref(link)))
