"""Reasons why the loop in C cannot play a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, Final

from simtx.engine import layout
from simtx.metrics.counters import COUNTERS
from simtx.protocols import Machine, Strategy
from simtx.protocols.extras import extras
from simtx.protocols.relay import Relay
from simtx.simulator.remembered import memory

if TYPE_CHECKING:
    from simtx.scenario import Scenario

_HANDING: Final = ("handle", "unexpected", "ask", "publish", "published", "_to_poller", "_to_courier")
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
    "HostSpec": "cores speed nodes neighbours parallel event effect transaction forced_write quantum restart event_aside "
    "transaction_aside forced_write_aside mark_aside",
    "Trigger": "transaction effect when occurrence",
    "OperationSpec": "key kind amount parameter low high",
    "CommonMode": "links writes memory shared_flush shared_flush_within",
    "Parameter": "population popularity exponent prefix values integer",
}
"""Fields that the loop knows: a scenario with another one is interpreted until somebody has looked."""


#: Counters of a run, by the field in which the loop counts them; faults strike in Python.
COUNTED: Final = {
    "alerts": "alerts",
    "deadlocks": "victims",
    "lock_timeouts": "timeouts",
    "breaker_rejections": "held_back",
    "requests_repeated": "repeated",
}


def why_interpreted(scenario: Scenario, strategy: Strategy) -> str:
    """Reason why a run of this cannot be compiled, as the rest of a sentence; empty if it can, as far as one sees before it is played."""
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
    if uncounted := COUNTERS.keys() - COUNTED.keys() - {"faults"}:
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
    """Return whether a daemon hands rows to couriers as `Relay` does, so that its parts are all that has to be learned."""
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
