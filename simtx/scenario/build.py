"""From the checked tables of a file to the plain immutable data of `model`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar, assert_never, cast

from simtx.protocols.derived.aggregate import AggregateRule
from simtx.protocols.derived.copies import CopyRule
from simtx.protocols.derived.group import GroupRule
from simtx.protocols.names import BROKER, CLIENT, HUB, VOTE_STORE
from simtx.scenario import schema
from simtx.scenario.broker_kinds import in_force
from simtx.scenario.business import OperationSpec, Parameter, StepSpec, Transaction
from simtx.scenario.catalog import LOCAL, canonical, region, regions
from simtx.scenario.distributions import Distribution
from simtx.scenario.fault_kinds import FAULT_KINDS, FaultKind
from simtx.scenario.infrastructure import (
    AggregateSpec,
    BrokerSpec,
    DerivedSpec,
    GroupSpec,
    HostSpec,
    LinkSpec,
    NetworkSpec,
    ProviderSpec,
    ServiceSpec,
)
from simtx.scenario.model import ClientsSpec, Fault, Invariant, Workload
from simtx.scenario.versions import Upgrade

T = TypeVar("T")
PARTITIONS: Final = 8
"""Number of partitions of the events of a consumer group, if neither it nor the broker says how many."""

Zones = Mapping[str, str]
"""Zone by node: services, ``hub``, ``broker``, ``vote-store``, and ``client`` if the clients are somewhere."""


def spec(kind: Callable[..., T], file: schema.Table, **others: Any) -> T:
    """The spec of a table: fields of the same name are the same, and tables inside are specs, too; `others` are those that are not."""
    same = type(file).model_fields.keys() & {one.name for one in dataclasses.fields(cast("Any", kind))} - others.keys()
    return kind(**{name: _decided(getattr(file, name)) for name in same}, **others)


def _decided(value: Any) -> Any:
    return spec(value.spec, value) if isinstance(value, schema.Table) else value


def services(files: Mapping[str, schema.ServiceFile], placed: Zones) -> dict[str, ServiceSpec]:
    """All services, by name."""
    return {
        name: spec(
            ServiceSpec,
            file,
            name=name,
            zone=placed[name],
            provider=None if file.provider is None else provider(file.provider),
        )
        for name, file in files.items()
    }


def provider(file: schema.ProviderFile) -> ProviderSpec:
    """A party outside."""
    return spec(ProviderSpec, file, burst=file.burst or max(1, math.ceil(file.rate_limit or 1)))


# --- zones and links ----------------------------------------------------------------------------------------------------------


def zones(file: schema.ScenarioFile) -> dict[str, str]:
    """The zone of each node; what is not said is where the first service is."""
    first = next(iter(file.services.values())).zone or LOCAL
    placed = {name: service.zone or first for name, service in file.services.items()}
    placed[HUB] = file.hub.zone or first
    placed[BROKER] = file.broker.zone or first
    placed[VOTE_STORE] = file.vote_store.zone or first
    if file.network.client_zone is not None:
        placed[CLIENT] = file.network.client_zone
    return placed


def covers(place: str, zone: str) -> bool:
    """Return whether a place that a file names (a zone, or a whole region) holds this zone."""
    return place == region(zone) or canonical(place) == canonical(zone)


def latency(file: schema.NetworkFile, a: str, b: str) -> Distribution | None:
    """One-way delay from zone `a` to zone `b`, or None if nothing says it."""
    for link in reversed(file.links):
        if link.latency is not None and _fits(link, a, b):
            return link.latency
    if file.latency is not None:
        return file.latency
    if canonical(a) == canonical(b):
        return regions().latency(LOCAL, LOCAL, tail=file.tail)
    return regions().latency(a, b, tail=file.tail)


def _fits(link: schema.LinkFile, a: str, b: str) -> bool:
    if link.between is not None:
        one, other = link.between
        return (covers(one, a) and covers(other, b)) or (covers(one, b) and covers(other, a))
    return link.from_ is not None and link.to is not None and covers(link.from_, a) and covers(link.to, b)


def network(file: schema.NetworkFile, placed: Zones) -> NetworkSpec:
    """Zones and all links between them; every latency is known by now."""
    used = tuple(dict.fromkeys(placed.values()))
    links: dict[tuple[str, str], LinkSpec] = {}
    for a in used:
        for b in used:
            delay = latency(file, a, b)
            if delay is None:
                raise ValueError(f"no latency from {a} to {b}: the checks have to find this")
            link = spec(LinkSpec, file, latency=delay)
            for entry in file.links:
                if _fits(entry, a, b):
                    given = {name: getattr(entry, name) for name in ("loss", "duplication", "reorder", "reorder_delay")}
                    link = dataclasses.replace(
                        link, **{name: value for name, value in given.items() if value is not None}
                    )
            links[a, b] = link
    return spec(NetworkSpec, file, zones=used, links=links)


def hosts(files: Mapping[str, schema.HostFile], placed: Zones) -> dict[str, HostSpec]:
    """Machines by name, with ``*`` resolved to the nodes that are on no other one."""
    named = {node for file in files.values() for node in file.nodes}
    rest = tuple(node for node in (*placed, CLIENT) if node not in named and node != VOTE_STORE)
    return {
        name: spec(
            HostSpec,
            file,
            nodes=tuple(dict.fromkeys(one for node in file.nodes for one in (rest if node == "*" else (node,)))),
        )
        for name, file in files.items()
    }


def partitions(group: schema.GroupFile, broker: schema.BrokerFile) -> int:
    """Number of partitions that the events of a group have."""
    count: int = group.partitions or in_force(broker)["partitions"] or PARTITIONS
    return count


def groups(files: Mapping[str, schema.GroupFile], broker: schema.BrokerFile) -> dict[str, GroupSpec]:
    """Consumer groups by name."""
    return {
        name: spec(
            GroupSpec,
            file,
            name=name,
            rule=GroupRule(file.checkpoint, file.guard, begin=file.begin),
            partitions=partitions(file, broker),
        )
        for name, file in files.items()
    }


def aggregates(files: Mapping[str, schema.AggregateFile]) -> dict[str, AggregateSpec]:
    """Kinds of aggregates by name."""
    return {
        name: spec(
            AggregateSpec,
            file,
            name=name,
            rule=AggregateRule(
                file.append, file.conflict, file.recognises, "none" if file.snapshot_every is None else "own"
            ),
        )
        for name, file in files.items()
    }


def derived(files: Mapping[str, schema.DerivedFile]) -> dict[str, DerivedSpec]:
    """Derived stores by name."""
    return {
        name: spec(
            DerivedSpec,
            file,
            name=name,
            rule=CopyRule(file.update, file.by, file.fill, file.check, file.ttl is not None),
            ordered=file.ordered and file.by == "event",
        )
        for name, file in files.items()
    }


def broker(file: schema.BrokerFile, zone: str) -> BrokerSpec:
    """The message broker: the mechanisms of its kind, but for what the file says itself."""
    return BrokerSpec(**{**in_force(file), "zone": zone})


# --- the business transaction -------------------------------------------------------------------------------------------------


def predecessors(steps: Sequence[schema.StepFile]) -> list[list[str]]:
    """Names of the steps directly before each step: as it says, or the one before it in the file."""
    return [
        list(step.after) if step.after is not None else [steps[position - 1].name] if position else []
        for position, step in enumerate(steps)
    ]


def topological(names: Sequence[str], before: Sequence[Iterable[str]]) -> list[int] | None:
    """Positions in an order in which nothing comes before its predecessors, as near to the file's as can be; None on a cycle."""
    order: list[int] = []
    done: set[str] = set()
    while len(order) < len(names):
        ready = next(
            (p for p, name in enumerate(names) if name not in done and all(other in done for other in before[p])), None
        )
        if ready is None:
            return None
        order.append(ready)
        done.add(names[ready])
    return order


def operation(file: schema.OperationFile) -> OperationSpec:
    """One operation of a step."""
    amount = file.amount if file.amount is not None else 1.0 if file.parameter is not None else 0.0
    return spec(OperationSpec, file, amount=amount)


def transaction(file: schema.TransactionFile) -> Transaction:
    """The business transaction, its steps in a topological order."""
    before = predecessors(file.steps)
    order = topological([step.name for step in file.steps], before)
    if order is None:
        raise ValueError("the steps have a cycle: the checks have to find this")
    position = {file.steps[old].name: new for new, old in enumerate(order)}
    steps = []
    for new, old in enumerate(order):
        step = file.steps[old]
        steps.append(
            spec(
                StepSpec,
                step,
                index=new,
                after=tuple(sorted(position[name] for name in set(before[old]))),
                operations=tuple(operation(entry) for entry in step.operations),
                compensation=tuple(operation(entry) for entry in step.compensation),
            )
        )
    parameters = {name: spec(Parameter, one) for name, one in file.parameters.items()}
    return Transaction(file.name, tuple(steps), parameters)


# --- load, trouble, and what has to hold --------------------------------------------------------------------------------------


def workload(
    file: schema.WorkloadFile, path: str | None, times: tuple[float, ...], columns: Mapping[str, Any]
) -> Workload:
    """Arrivals of transactions; the trace file has been read."""
    return spec(
        Workload,
        file,
        rate=file.rate or 0.0,
        burst_rate=file.burst_rate or 0.0,
        burst_on=file.burst_on or 0.0,
        burst_off=file.burst_off or 0.0,
        trace=path,
        trace_times=times,
        trace_parameters=dict(columns),
        users=file.users or 0,
    )


def clients(file: schema.ClientsFile) -> ClientsSpec:
    """Behaviour of clients when no answer comes."""
    return spec(
        ClientsSpec,
        file,
        budget=None if file.budget is None else file.budget.ratio,
        budget_burst=ClientsSpec().budget_burst if file.budget is None else file.budget.burst,
    )


def nodes_at(place: str, placed: Zones) -> list[str]:
    """The nodes that a fault names: a node, or all nodes in a zone or region."""
    if place in placed:
        return [place]
    return [node for node, zone in placed.items() if covers(place, zone)]


def _all_nodes(places: Iterable[str], placed: Zones) -> tuple[str, ...]:
    return tuple(dict.fromkeys(node for place in places for node in nodes_at(place, placed)))


def upgrades(files: Iterable[schema.UpgradeFile], services: Iterable[str]) -> tuple[Upgrade, ...]:
    """All steps of a rolling upgrade in the order of time, with ``*`` resolved to one service after the other."""
    made = [
        Upgrade(node, file.at + place * (file.duration + file.gap), file.to, file.writes or file.to, file.duration)
        for file in files
        for place, node in enumerate((*services, HUB) if file.node == "*" else (file.node,))
    ]
    return tuple(sorted(made, key=lambda one: one.at))


def faults(files: Iterable[schema.FaultFile], placed: Zones) -> tuple[Fault, ...]:
    """All faults, with zones and ``*`` resolved to nodes."""
    made: list[Fault] = []
    for file in files:
        made += [
            spec(
                Fault,
                file,
                node=node,
                factor=file.factor if file.factor is not None else 1.0,
                probability=file.probability or 0.0,
                a=_all_nodes(file.a, placed),
                b=_all_nodes(file.b, placed),
            )
            for node in targets(file.kind, file.node, placed)
        ]
    return tuple(made)


def targets(kind: FaultKind, node: str | None, placed: Zones) -> list[str]:
    """The nodes that one entry of the faults happens to, each by itself; an empty name for faults of links."""
    nodes = [name for name in placed if name not in (BROKER, VOTE_STORE, CLIENT)]
    match FAULT_KINDS[kind].place:
        case "broker":
            return [BROKER]
        case "vote-store":
            return [VOTE_STORE]
        case "links":
            return [""]
        case "node":
            return nodes if node == "*" else [node or ""]
        case "service" | "provider":
            return [name for name in nodes if name != HUB] if node == "*" else [node or ""]
        case place:
            assert_never(place)


def invariants(files: Iterable[schema.InvariantFile]) -> tuple[Invariant, ...]:
    """Invariants of a scenario."""
    return tuple(
        spec(
            Invariant,
            file,
            terms=tuple((term.service, term.prefix, term.weight) for term in file.terms),
            service=file.service or "",
            prefix=file.prefix or "",
        )
        for file in files
    )
