"""A scenario as a graph, as plain text and as a table for notebooks."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from html import escape
from itertools import zip_longest
from typing import TYPE_CHECKING

from simtx.listing import aligned
from simtx.protocols.names import BROKER, CLIENT, HUB
from simtx.scenario.business import OperationSpec
from simtx.scenario.fault_kinds import FAULT_KINDS
from simtx.scenario.infrastructure import HostSpec, ProviderSpec
from simtx.scenario.model import Fault, Scenario, Workload
from simtx.scenario.units import duration_text

if TYPE_CHECKING:
    import networkx as nx


def graph(scenario: Scenario) -> nx.DiGraph[str]:
    """A directed graph of all nodes.

    Node attributes: ``zone``, ``kind`` (service, hub, broker, client). Edge attributes: ``latency_ms`` (mean, one way), ``loss``.
    """
    import networkx as nx

    result: nx.DiGraph[str] = nx.DiGraph(name=scenario.name)
    nodes = [*scenario.services, HUB, BROKER]
    if scenario.network.client_zone is not None:
        nodes.append(CLIENT)
    for node in nodes:
        result.add_node(node, zone=scenario.node_zone(node), kind=node if node not in scenario.services else "service")
    for a in nodes:
        for b in nodes:
            zones = scenario.node_zone(a), scenario.node_zone(b)
            if a != b and zones[0] is not None and zones[1] is not None:
                link = scenario.network.link(zones[0], zones[1])
                result.add_edge(a, b, latency_ms=link.latency.mean() * 1000, loss=link.loss)
    return result


_WIDE = 80
"""Characters of a cell in a terminal; a longer one goes on in the next line."""
Section = tuple[str, tuple[str, ...], list[tuple[str, ...]]]


def sections(scenario: Scenario) -> list[Section]:
    """The parts of the description: a heading, the names of columns, and rows."""
    utilisation = scenario.utilisation()
    services: list[tuple[str, ...]] = [
        (
            service.name,
            service.zone,
            str(service.workers),
            service.service_time.describe(),
            f"{utilisation[service.name]:.0%}" if service.name in utilisation else "",
            f"{service.store.log.forced_write.describe()} ({service.store.log.flush})",
            service.store.isolation,
        )
        for service in scenario.services.values()
    ]
    steps: list[tuple[str, ...]] = [
        (
            step.name,
            step.service,
            step.kind,
            ", ".join(scenario.transaction.steps[index].name for index in step.after),
            ", ".join(operation_text(o) for o in step.operations),
            ", ".join(operation_text(o) for o in step.compensation),
            f"{step.refusal:.3g}" if step.refusal else "",
        )
        for step in scenario.transaction.steps
    ]
    others = [
        ("workload", workload_text(scenario.workload)),
        ("clients", scenario.clients.describe().removeprefix("clients ")),
        ("hub", f"{scenario.hub.zone}, forced write {scenario.hub.log.forced_write.describe()}"),
        ("broker", _broker_text(scenario)),
        ("network", _network_text(scenario)),
        *(
            ("provider", f"of {one.name}: {_provider_text(one.name, one.provider)}")
            for one in scenario.services.values()
            if one.provider is not None
        ),
        *_common_mode(scenario),
        *(("host", f"{name}: {_host_text(host)}") for name, host in scenario.hosts.items()),
        ("deadlocks", scenario.deadlocks),
        *(("fault", fault_text(fault)) for fault in scenario.faults),
        *(("invariant", f"{i.name}: {i.kind}{f' ({i.unit})' if i.unit else ''}") for i in scenario.invariants),
        ("run", _run_text(scenario)),
        *(("changed", f"{path} = {value}") for path, value in scenario.overrides.items()),
        *(("warning", line) for line in scenario.warnings),
    ]
    return [
        (
            "Services",
            ("service", "zone", "workers", "service time", "utilisation", "forced write", "isolation"),
            services,
        ),
        ("Transaction", ("step", "service", "kind", "after", "does", "undone by", "refusal"), steps),
        ("Around it", ("", ""), [(a, b) for a, b in others]),
        (
            "Assumptions",
            ("parameter", "value", "why"),
            [(path, one.value, one.why) for path, one in scenario.assumptions.items()],
        ),
        ("Sources", ("parameter", "source"), list(scenario.sources.items())),
        (
            "Uncertainty",
            ("parameter", "may be off by"),
            [(k, one.describe()) for k, one in scenario.uncertainty.items()],
        ),
    ]


def text(scenario: Scenario) -> str:
    """Plain text with aligned columns."""
    lines = [f"{scenario.name}: {scenario.title}" if scenario.title else scenario.name]
    if scenario.description:
        lines += ["", scenario.description]
    for heading, columns, rows in sections(scenario):
        if not rows:
            continue
        table = [columns, *rows] if any(columns) else rows
        shown = [part for row in table for part in _folded(row)] if any(columns) else table
        lines += ["", heading, *aligned(shown, indent="  ")]
    return "\n".join(lines)


def _folded(row: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """A row in as many lines as its longest cell takes; the last cell may be as long as it likes."""
    cells = [textwrap.wrap(cell, _WIDE, break_long_words=False, break_on_hyphens=False) or [""] for cell in row[:-1]]
    return zip_longest(*cells, [row[-1]], fillvalue="")


def html(scenario: Scenario) -> str:
    """Tables for a notebook; long ones are folded."""
    parts = [f"<h3>{escape(scenario.name)}</h3>", f"<p><b>{_code(scenario.title)}</b></p>" if scenario.title else ""]
    if scenario.description:
        parts.append(f"<p>{_code(scenario.description)}</p>")
    for heading, columns, rows in sections(scenario):
        if not rows:
            continue
        folded = heading in ("Assumptions", "Sources")
        head = "".join(f"<th style='text-align:left'>{escape(column)}</th>" for column in columns)
        body = "".join(
            "<tr>" + "".join(f"<td style='text-align:left'>{_code(cell)}</td>" for cell in row) + "</tr>"
            for row in rows
        )
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        title = f"{escape(heading)} ({len(rows)})" if folded else escape(heading)
        parts.append(f"<details{'' if folded else ' open'}><summary><b>{title}</b></summary>{table}</details>")
    return "\n".join(part for part in parts if part)


def _code(text: str) -> str:
    """Mark as code what scenario files put between backticks."""
    return re.sub(r"`([^`\n]+)`", r"<code>\1</code>", escape(text))


def operation_text(operation: OperationSpec) -> str:
    """One operation in short: ``stock:{sku} -1 (at least 0)``."""
    if operation.kind == "read":
        return f"read {operation.key}"
    if operation.parameter is None:
        amount = f"{operation.amount:+g}" if operation.kind == "add" else f"{operation.amount:g}"
    else:
        sign = "-" if operation.amount < 0 else "+" if operation.kind == "add" else ""
        factor = f"{abs(operation.amount):g} " if abs(operation.amount) != 1 else ""
        amount = f"{sign}{factor}{operation.parameter}"
    guards = [f"at least {operation.low:g}"] if operation.low is not None else []
    guards += [f"at most {operation.high:g}"] if operation.high is not None else []
    change = f"{operation.key} {amount}" if operation.kind == "add" else f"{operation.key} = {amount}"
    return change + (f" ({', '.join(guards)})" if guards else "")


def workload_text(workload: Workload) -> str:
    """One line on the workload."""
    kind = workload.kind
    if kind == "closed" and workload.think_time is not None:
        return f"closed, {workload.users} users, think time {workload.think_time.describe()}"
    if kind == "bursty":
        return (
            f"bursty, {workload.burst_rate:g}/s for {duration_text(workload.burst_on)}, "
            f"{workload.rate:g}/s for {duration_text(workload.burst_off)} (averages)"
        )
    if kind == "profile":
        return "profile, " + ", ".join(f"{rate:g}/s from {duration_text(time)}" for time, rate in workload.profile)
    if kind == "trace":
        return f"trace of {len(workload.trace_times)} arrivals"
    return f"{kind}, {workload.rate:g}/s"


def fault_text(fault: Fault) -> str:
    """One line on a fault."""
    words: list[str] = [fault.kind]
    if fault.node:
        words.append(f"of {fault.node}")
    if fault.a:
        words.append(f"{'from' if fault.one_way else 'between'} {', '.join(fault.a)}")
        words.append(f"{'to' if fault.one_way else 'and'} {', '.join(fault.b) or 'all others'}")
    if FAULT_KINDS[fault.kind].strength == "factor":
        words.append(f"by a factor of {fault.factor:g}")
    if fault.probability:
        words.append(f"with probability {fault.probability:g}")
    if fault.at is not None:
        words.append(f"at {duration_text(fault.at)}")
    if fault.every is not None:
        words.append(f"every {fault.every.describe()}")
    if fault.trigger is not None:
        trigger = fault.trigger
        words.append(
            f"{trigger.when} {trigger.effect} number {trigger.occurrence} of transaction {trigger.transaction}"
        )
    return " ".join(words) + f", for {fault.duration.describe()}"


def _broker_text(scenario: Scenario) -> str:
    broker = scenario.broker
    acks = f"acks from {broker.ack} after {broker.ack_latency.describe()}"
    kind = f", {broker.special.removeprefix('a broker ')}" if broker.special else ""
    return f"{broker.zone}, {acks}, redelivers after {duration_text(broker.redelivery)}{kind}"


def _network_text(scenario: Scenario) -> str:
    network = scenario.network
    means = [link.latency.mean() for link in network.links.values()]
    ends = list(dict.fromkeys(duration_text(end) for end in (min(means), max(means))))
    shown = f"one-way latency {' to '.join(ends)} on average"
    chances = [(name, getattr(network, name)) for name in ("loss", "duplication", "reorder") if getattr(network, name)]
    return ", ".join([shown, *(f"{name} {chance:g}" for name, chance in chances)])


def _provider_text(name: str, provider: ProviderSpec) -> str:
    told = [f"answers after {provider.latency.describe()}"]
    if provider.timeouts:
        told.append(f"{100 * provider.timeouts:g} % never, and {name} waits {duration_text(provider.timeout)}")
    if provider.rate_limit is not None:
        told.append(f"at most {provider.rate_limit:g}/s")
    known = provider.idempotency
    told.append("knows no keys" if known is None else f"knows keys for {duration_text(known)}")
    return ", ".join([*told, *(["can be asked"] if provider.status_query else [])])


def _host_text(host: HostSpec) -> str:
    cores = f"{host.cores} core{'s' if host.cores > 1 else ''}"
    shared = f", {host.neighbours} neighbour{'s' if host.neighbours > 1 else ''}" if host.neighbours else ""
    speed = f" of speed {host.speed:g}" if host.speed != 1 else ""
    times = [
        f"{duration_text(seconds)} {what}"
        for seconds, what in (
            (host.event, "an event"),
            (host.effect, "an effect"),
            (host.transaction, "a local transaction"),
            (host.forced_write, "a forced write"),
            (host.restart, "a restart"),
            (host.event_aside, "aside for an event"),
            (host.transaction_aside, "aside for a local transaction"),
            (host.forced_write_aside, "aside for a forced write"),
            (host.mark_aside, "aside for an event that is marked as published"),
        )
        if seconds
    ]
    return f"{cores}{speed} for {', '.join(host.nodes)}{shared}; processor time {', '.join(times)}"


def _common_mode(scenario: Scenario) -> list[tuple[str, str]]:
    common = scenario.common_mode
    if common is None:
        return []
    shown = f"rank correlation {common.links:g} of links, {common.writes:g} of forced writes, memory {duration_text(common.memory)}"
    if common.shared_flush:
        within = duration_text(common.shared_flush_within)
        shown += f"; {100 * common.shared_flush:.3g} % of forced writes that begin within {within} end together"
    return [("common mode", shown)]


def _run_text(scenario: Scenario) -> str:
    run = scenario.run
    length = (
        f"{run.transactions} transactions" if run.transactions is not None else f"{duration_text(run.duration or 0)}"
    )
    return f"{length}, warm-up {duration_text(run.warmup)}, at most {duration_text(run.drain)} to drain"
