"""Outcome of a simulated run: its numbers, and the digest of everything that came out of it."""

from __future__ import annotations

import hashlib
import struct
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from simtx.metrics import asking, drift, providers
from simtx.metrics.guarantees import PROPERTIES
from simtx.metrics.rundata import RunData
from simtx.simulator.last_values import LastValues

if TYPE_CHECKING:
    from simtx.simulator.run_loop import RunLoop
    from simtx.simulator.world import World

_TEXTS: Final = 1 << 16  # texts of a column that are hashed at once


def outcome(loop: RunLoop) -> RunData:
    """All numbers of the finished run."""
    world = loop.world
    ledger, plan, scenario = world.ledger, world.scenario.run, world.scenario
    window = max(world.window.horizon - plan.warmup, 0.0)
    last = loop.last_values()
    watch = loop.watched()
    return RunData(
        columns=ledger.rows.cells(),
        quantities=drift.quantities(scenario, ledger, window),
        warmup=plan.warmup,
        horizon=world.window.horizon,
        end=world.env.now,
        partial_share=ledger.partial_time / window if window else float("nan"),
        residual=last.residual(scenario),
        bounds_violated=last.bounds_violated(scenario),
        events=loop.events,
        counts=ledger.counts,
        client_deadline=scenario.clients.deadline,
        utilisation={
            name: (busy - world.window.before.busy.get(name, 0.0)) / (world.scenario.services[name].workers * window)
            if window
            else float("nan")
            for name, busy in world.window.after.busy.items()
        },
        stations=world.window.stations(world.clients.asked, world.strategy.hub, window),
        timeline=world.sampler.timeline,
        struck=world.struck,
        services=list(world.scenario.services),
        digest=_digest(world, last),
        extra=_extra(world),
        still_open=ledger.still_open,
        broken=watch.found,
        broken_counts=dict(watch.counts),
        unfinished=watch.unfinished,
        watched=tuple(PROPERTIES),
        groups={name: group.record for name, group in world.groups.items()},
    )


def _extra(world: World) -> dict[str, float]:
    derived = {name: value for one in world.beside for name, value in one.figures().items()}
    return _stale(world) | _busiest(world) | _delivered(world) | derived | _providers(world) | _asking(world)


def _delivered(world: World) -> dict[str, float]:
    versions, broker = world.versions, world.broker
    if versions is not None:
        upgraded = {"lanes_stopped": float(versions.stopped), "lanes_stopped_s": versions.seconds()}
        if broker is not None and not world.scenario.broker.special:
            upgraded["dead_letters"] = broker.dead_letters
        return upgraded | {"messages_unread": versions.refused} | _brokered(world)
    return _brokered(world)


def _brokered(world: World) -> dict[str, float]:
    broker = world.broker
    if broker is None or not world.scenario.broker.special:
        return {}
    found: dict[str, float] = {
        "redeliveries": broker.redelivered,
        "failed_deliveries": broker.failed,
        "dead_letters": broker.dead_letters,
        "events_dropped": broker.lost,
        "stored_again": broker.stored_again,
    }
    return found if broker.log is None else found | {"partition_lag_max": broker.log.lag}


def _asking(world: World) -> dict[str, float]:
    clients, expired = world.clients, sum(node.expired for node in world.nodes.values())
    repeated = world.ledger.counts["requests_repeated"]
    return asking.figures(world.scenario.clients, clients.asked, repeated, clients.suppressed, expired)


def _providers(world: World) -> dict[str, float]:
    counts = [node.provider.counts for node in world.nodes.values() if node.provider is not None]
    return providers.figures(sum(map(Counter, counts), Counter())) if counts else {}


def _busiest(world: World) -> dict[str, float]:
    window = world.window.horizon - world.scenario.run.warmup
    if not world.processes or window <= 0:
        return {}
    before = world.window.before.processes
    return {
        "process_utilisation_max": max(
            (busy - before.get(name, 0.0)) / window for name, busy in world.window.after.processes.items()
        )
    }


def _stale(world: World) -> dict[str, float]:
    replicas = [node.store.replica for node in world.nodes.values() if node.store is not None and node.store.replica]
    if not replicas:
        return {}
    reads = sum(replica.reads for replica in replicas)
    stale = sum(replica.stale_reads for replica in replicas)
    return {"stale_reads_per_million": 1e6 * stale / reads if reads else float("nan")}


def _digest(world: World, last: LastValues) -> str:
    digest = hashlib.blake2b(digest_size=16)
    cells: dict[str, Any] = dict(world.ledger.rows.cells())
    del cells["decision"]  # the time of the decision and the outcome say it, too
    for name, column in cells.items():
        digest.update(name.encode())
        if not isinstance(column, list):
            digest.update(column)
            continue
        for start in range(0, len(column), _TEXTS):
            digest.update((("\x1f" if start else "") + "\x1f".join(column[start : start + _TEXTS])).encode())
    for name, node in sorted(world.nodes.items()):
        digest.update(name.encode())
        if node.store is not None:
            digest.update(last.packed(name))
    digest.update(struct.pack("<d", world.env.now))
    return digest.hexdigest()
