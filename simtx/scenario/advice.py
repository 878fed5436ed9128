"""Warnings: things that may be meant so, but rarely are."""

from __future__ import annotations

from collections.abc import Iterator

from simtx.scenario.infrastructure import Log
from simtx.scenario.model import Scenario
from simtx.scenario.traces import coarse
from simtx.scenario.units import duration_text

_COARSE = 0.1  # share of arrivals at the same time as another one that is said


_DELAYING = ("crash", "pause", "partition", "store-outage", "broker-outage")  # messages wait for their end


def warnings(scenario: Scenario) -> list[str]:
    """One line for each thing that looks wrong but can be simulated."""
    return [*_ticks(scenario), *_saturation(scenario), *_unused(scenario), *_idle(scenario)]


def _ticks(scenario: Scenario) -> Iterator[str]:
    share = coarse(scenario.workload.trace_times)
    if share > _COARSE:
        yield (
            f"workload.trace: {share:.0%} of the arrivals have the same time as another one and arrive at once: the clock of the file ticks too "
            "slowly; give its tick as workload.spread, such as '1s'"
        )


def _saturation(scenario: Scenario) -> Iterator[str]:
    rate = scenario.workload.mean_rate()
    if rate is None:
        return
    for name, utilisation in scenario.utilisation().items():
        if utilisation >= 1:
            workers = scenario.services[name].workers
            yield (
                f"services.{name}: saturated, utilisation {utilisation:.2f} at {rate:g}/s with {workers} worker"
                f"{'s' if workers > 1 else ''}: its queue grows as long as the run lasts; "
                f"it takes {rate / utilisation:.4g}/s at most"
            )
    logs: list[tuple[str, Log, int]] = []
    for name, service in scenario.services.items():
        writes = sum(any(o.writes for o in s.operations) for s in scenario.transaction.steps if s.service == name)
        logs.append((f"services.{name}.store.log", service.store.log, writes))
    logs.append(("hub.log", scenario.hub.log, 1))
    for path, log, writes in logs:
        busy = rate * writes * log.forced_write.mean()
        if log.flush == "serial" and busy >= 1:
            yield (
                f"{path}: saturated, at least {writes} forced write{'s' if writes > 1 else ''} a transaction, one after the other, "
                f"keep it busy {busy:.2f} of the time at {rate:g}/s; use flush = 'group'"
            )


def _unused(scenario: Scenario) -> Iterator[str]:
    operations = [o for step in scenario.transaction.steps for o in (*step.operations, *step.compensation)]
    for name in scenario.transaction.parameters:
        if not any(o.parameter == name or "{" + name + "}" in o.key for o in operations):
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
    retention = scenario.broker.retention
    if retention is not None and retention <= scenario.broker.redelivery:
        yield "broker.retention: not longer than broker.redelivery, so a message that fails once is lost"
    remembered = scenario.policies.dedup_retention
    late = [f for f in scenario.faults if f.kind in _DELAYING and f.duration.quantile(0.99) >= remembered]
    if late:
        lasts = max(f.duration.quantile(0.99) for f in late)
        yield (
            f"policies.dedup_retention: {duration_text(remembered)}, but a {late[0].kind} lasts {duration_text(lasts)}: what is repeated or "
            "undone after it may not be recognised any more, and takes effect twice or is not undone"
        )
    last = scenario.run.duration
    for index, fault in enumerate(scenario.faults):
        if last is not None and fault.at is not None and fault.at >= last + scenario.run.drain:
            yield f"faults[{index}]: begins after the run has ended"
