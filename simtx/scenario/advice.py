"""Warnings: things that may be meant so, but rarely are."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from simtx.protocols import STRATEGIES
from simtx.protocols.extras import extras
from simtx.protocols.names import HUB
from simtx.scenario.fault_kinds import FAULT_KINDS
from simtx.scenario.infrastructure import LogSpec
from simtx.scenario.model import Scenario
from simtx.scenario.popularity import hottest
from simtx.scenario.traces import coarse, looks_like, mean_gap
from simtx.scenario.units import duration_text

FULL = 0.9  # share of a capacity from which on it is said
_OF_STORES = ("Transact", "Execute", "Prepare", "Commit", "Rollback", "ReadOutbox", "MarkOutbox")
_OF_BROKERS = ("Publish", "Acknowledge")
_ASKED_BY_SOME = (*_OF_STORES, *_OF_BROKERS, "LogOnce")
_BYTES = 1000.0  # of memory for each transaction of a long run, by either engine (benchmarks/memory.py)
_SECONDS_STEP = 1e-4  # of time for a step of a transaction: messages, writes, a local transaction
_SHARE = 0.8  # of the free memory that a run may take
_PATIENCE = 600.0  # seconds for one run
_SPARSE = 5.0  # seconds between the arrivals of a file that are said, if nobody has said that they are seconds
_COARSE = 0.1  # share of arrivals at the same time as another one that is said


def warnings(scenario: Scenario) -> list[str]:
    """One line for each thing that looks wrong but can be simulated."""
    return [
        *_ticks(scenario),
        *_seconds(scenario),
        *_saturation(scenario),
        *_unused(scenario),
        *_idle(scenario),
        *_faults(scenario),
        *_providers(scenario),
        *_network(scenario),
        *size(scenario),
    ]


def _ticks(scenario: Scenario) -> Iterator[str]:
    share = coarse(scenario.workload.trace_times)
    if share > _COARSE:
        yield (
            f"workload.trace: {share:.0%} of the arrivals have the same time as another one and arrive at once: the clock of the file ticks too "
            "slowly; give its tick as workload.spread, such as '1s'"
        )


def _seconds(scenario: Scenario) -> Iterator[str]:
    """Whole numbers that were taken for seconds, and that come so seldom that they may be something else."""
    times = scenario.workload.trace_times
    gap = mean_gap(times)
    stated = scenario._raw.get("workload", {}).get("unit")  # noqa: SLF001 - the model has seconds, whatever the file had
    if gap > _SPARSE and stated is None and all(time.is_integer() for time in times):
        yield (
            f"workload.trace: its times are taken for seconds: {len(times):,} arrivals, one in {duration_text(gap)}; if they are "
            f"{looks_like(gap)} write unit = '{looks_like(gap)}', if that is right, unit = 's'"
        )


def _saturation(scenario: Scenario) -> Iterator[str]:
    rate = scenario.workload.mean_rate()
    if rate is None:
        return
    for name, utilisation in scenario.utilisation().items():
        workers = scenario.services[name].workers
        if utilisation < FULL:
            continue
        load = f"utilisation {utilisation:.2f} at {rate:g}/s with {workers} worker{'s' if workers > 1 else ''}"
        most = f"it takes {rate / utilisation:.4g}/s at most"
        if utilisation < 1:
            yield f"services.{name}: nearly saturated, {load} by service times alone; {most}"
        else:
            yield f"services.{name}: saturated, {load}: its queue grows as long as the run lasts; {most}"
    for name, (template, share) in hottest(scenario).items():
        service = scenario.services[name]
        held, what = service.store.log.forced_write.mean(), "a forced write"
        if service.store.locks == "work":
            works = [scenario.service_time(s).mean() for s in scenario.transaction.steps if s.service == name]
            held, what = held + min(works, default=0.0), "the work and a forced write, together"
        if rate * share * held >= FULL:
            yield (
                f"services.{name}: the most popular key '{template}' is wanted {rate * share:.4g} times a second, and its lock is held for {what} "
                f"of {duration_text(held)} at least: {rate * share * held:.2f} of the time"
            )
    logs: list[tuple[str, LogSpec, int]] = []
    for name, service in scenario.services.items():
        writes = sum(any(o.writes for o in s.operations) for s in scenario.transaction.steps if s.service == name)
        logs.append((f"services.{name}.store.log", service.store.log, writes))
    logs.append(("hub.log", scenario.hub.log, 1))
    for path, log, writes in logs:
        busy = rate * writes * log.forced_write.mean()
        if log.flush == "serial" and busy >= FULL:
            yield (
                f"{path}: {'saturated' if busy >= 1 else 'nearly saturated'}, at least {writes} forced write{'s' if writes > 1 else ''} a transaction, one after the other, "
                f"keep it busy {busy:.2f} of the time at {rate:g}/s; use flush = 'group'"
            )


def _unused(scenario: Scenario) -> Iterator[str]:
    operations = [o for step in scenario.transaction.steps for o in (*step.operations, *step.compensation)]
    for name in scenario.transaction.parameters:
        if not any(one.uses(name) for one in operations):
            yield f"transaction.parameters.{name}: no operation uses it"
    used = {step.service for step in scenario.transaction.steps}
    for name in scenario.services:
        if name not in used:
            yield f"services.{name}: no step runs on it"
    for step in scenario.transaction.steps:
        if step.kind != "compensatable" and step.compensation:
            yield f"transaction.steps.{step.name}.compensation: never runs, since the step is {step.kind}"
    for invariant in scenario.invariants:
        parts = invariant.terms or ((invariant.service, invariant.prefix, 1.0),)
        for service, prefix, _ in parts:
            fixed = [
                o.key.partition("{")[0]
                for s in scenario.transaction.steps
                if s.service == service
                for o in s.operations
            ]
            if not any(key.startswith(prefix) or prefix.startswith(key) for key in fixed):
                yield f"invariants.{invariant.name}: no operation on '{service}' touches a key that begins with '{prefix}'"


def _idle(scenario: Scenario) -> Iterator[str]:
    window = scenario.broker.deduplication_window
    if 0 < window < scenario.policies.publish_timeout:
        yield "broker.deduplication_window: shorter than policies.publish_timeout, so a repeated publication is not recognised"
    held = scenario.broker.linger.mean() + scenario.broker.ack_latency.mean()
    if scenario.policies.publish_timeout <= held:
        yield "policies.publish_timeout: not longer than broker.linger and broker.ack_latency together, so publications are repeated without need"
    if scenario.upgrades and scenario.events.unread == "stop" and scenario.broker.delivery_limit is not None:
        yield "broker.delivery_limit: an event that waits for the upgrade of its consumer is delivered again and again, and becomes a dead letter"
    retention = scenario.broker.retention
    if retention is not None and retention <= scenario.broker.redelivery:
        yield "broker.retention: not longer than broker.redelivery, so a message that fails once is lost"
    remembered = scenario.policies.dedup_retention
    late = [f for f in scenario.faults if FAULT_KINDS[f.kind].delays and f.duration.quantile(0.99) >= remembered]
    if late:
        lasts = max(f.duration.quantile(0.99) for f in late)
        yield (
            f"policies.dedup_retention: {duration_text(remembered)}, but a {late[0].kind} lasts {duration_text(lasts)}: what is repeated or "
            "undone after it may not be recognised any more, and takes effect twice or is not undone"
        )


def _providers(scenario: Scenario) -> Iterator[str]:
    rate = scenario.workload.mean_rate()
    for name in scenario.providers:
        provider = scenario.services[name].provider
        calls = sum(step.service == name for step in scenario.transaction.steps)
        if provider is None or not calls:
            continue
        if provider.rate_limit is not None and rate is not None and rate * calls > provider.rate_limit:
            yield (
                f"services.{name}.provider.rate_limit: {provider.rate_limit:g}/s, and {rate * calls:g} requests a second come: those beyond are told to wait, and "
                "their workers with them"
            )
        if provider.latency.quantile(0.5) > provider.timeout:
            yield (
                f"services.{name}.provider.timeout: {duration_text(provider.timeout)}, and half of the answers take longer than "
                f"{duration_text(provider.latency.quantile(0.5))}: their outcome stays unknown"
            )


def _faults(scenario: Scenario) -> Iterator[str]:
    """Faults that come too late, and triggers that cannot strike."""
    exact = scenario.run.duration is not None or scenario.workload.kind in ("deterministic", "trace")
    last, slack = scenario.expected_length(), 1.0 if exact else 1.5  # random arrivals may take longer
    lasts = f"the last arrival, {'at' if exact else 'expected at'} {duration_text(last)}"
    asked = (scenario.workload.mean_rate() or 0.0) * last
    for index, fault in enumerate(scenario.faults):
        begins = fault.at
        if begins is not None and begins >= last * slack + scenario.run.drain:
            yield f"faults[{index}]: begins at {duration_text(begins)}, after the run has ended ({lasts}, and run.drain)"
        elif begins is not None and begins >= last * slack:
            yield f"faults[{index}]: begins at {duration_text(begins)}, after {lasts}: only what is still open then meets it"
        trigger = fault.trigger
        if trigger is None:
            continue
        effect = trigger.effect.partition(":")[0]
        if fault.node == HUB and effect in _OF_STORES:
            yield f"faults[{index}].trigger: can never strike: a hub has no store and no outbox, so none of its machines asks for '{effect}'"
        elif fault.node == HUB and effect == "Publish":  # a monitor acknowledges what it is told
            yield f"faults[{index}].trigger: can never strike under a built-in strategy: only services ask for '{effect}', no hub does"
        elif fault.node in scenario.services and all(s.service != fault.node for s in scenario.transaction.steps):
            yield f"faults[{index}].trigger: can never strike: no step runs on '{fault.node}'"
        if scenario.run.transactions is None and asked and trigger.transaction > 2 * asked:
            yield (
                f"faults[{index}].trigger: transaction {trigger.transaction} is not expected to arrive: "
                f"about {asked:,.0f} do in {duration_text(last)}"
            )


def unreachable(scenario: Scenario, strategies: Mapping[str, Any]) -> list[str]:
    """One line for each trigger that can never strike under some of these strategies, as far as it shows before the run.

    There is also one for what some of them do not keep whole, as far as that shows then.
    What a strategy of a user's own asks for is not known; of the built-in ones it is.

    Args:
        scenario: With its faults.
        strategies: Strategies by label.
    """
    lines = []
    first = scenario.transaction.steps[0].service
    told = [label for label, one in strategies.items() if one.uses_broker]
    if first in scenario.providers and told:
        lines.append(
            f"services.{first}.provider: it does the first step; under {', '.join(told)} a crash between the provider's answer and the service's own "
            "commit leaves the step done and the request forgotten: put a step of your own before it"
        )
    for index, fault in enumerate(scenario.faults):
        if fault.trigger is None:
            continue
        effect = fault.trigger.effect.partition(":")[0]
        reasons: dict[str, list[str]] = {}
        for label, one in strategies.items():
            asked = extras(one).asks if type(one) is STRATEGIES.get(one.name) else _ASKED_BY_SOME
            if fault.node == HUB and one.hub is None:
                reasons.setdefault("which has no hub", []).append(label)
            elif effect in _ASKED_BY_SOME and effect not in asked:
                reasons.setdefault(f"no machine of which asks for '{effect}'", []).append(label)
        for reason, labels in reasons.items():
            lines.append(f"faults[{index}].trigger: can never strike under {', '.join(labels)}, {reason}")
    return lines


def _network(scenario: Scenario) -> Iterator[str]:
    """Links that lose everything."""
    for (a, b), link in scenario.network.links.items():
        if link.loss == 1:
            yield f"network: every message from '{a}' to '{b}' is lost: nothing between them can ever end; a partition that heals is a fault"


def size(scenario: Scenario, memory: float | None = None) -> Iterator[str]:
    """A run that is larger than this machine's memory, or anybody's patience; with the estimate.

    Args:
        scenario: What is to be played.
        memory: Bytes that may be used; None: what is free on this machine.
    """
    count = scenario.expected_transactions()
    steps = len(scenario.transaction.steps)
    needed = count * _BYTES
    free = _free() if memory is None else memory
    if free and needed > _SHARE * free:
        yield (
            f"run: about {count:,.0f} transactions need about {needed / 1e9:,.1f} GB of memory, of {free / 1e9:,.1f} GB that are free; "
            "play several shorter replications"
        )
    seconds = count * steps * _SECONDS_STEP
    if seconds > _PATIENCE:
        yield f"run: about {count:,.0f} transactions take about {seconds / 60:,.0f} min for each strategy and replication in the interpreted engine, a tenth of it in the fast one"


def _free() -> float:
    """Memory that is free on this machine, in bytes; 0 if it does not say."""
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, OSError, ValueError):
        return 0.0
