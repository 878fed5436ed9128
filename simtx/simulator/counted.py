"""Counts of the queues of all nodes until a moment, and between two of them: the figures for `simtx.metrics.laws`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simtx.metrics.stations import Counts, Locks, Stations
from simtx.protocols.names import HUB

if TYPE_CHECKING:
    from simtx.simulator.host import Process
    from simtx.simulator.node import Node


@dataclass(frozen=True, slots=True)
class Counted:
    """Totals since the start of the run, by node; `busy` and `work` in worker-seconds, `logs` and `processes` in seconds."""

    busy: dict[str, float]
    work: dict[str, float]
    queues: dict[str, Counts]
    workers: dict[str, Counts]
    waits: dict[str, Counts]
    locks: dict[str, Locks]
    logs: dict[str, float]
    processes: dict[str, float]


def counted(nodes: Mapping[str, Node], processes: Mapping[str, Process], now: float) -> Counted:
    """Counts until now."""
    pools = {name: node.pool for name, node in nodes.items() if node.pool is not None}
    stores = {name: node.store for name, node in nodes.items() if node.store is not None}
    for pool in pools.values():
        pool.account()
    return Counted(
        busy={name: pool.busy_time for name, pool in pools.items()},
        work={name: pool.work for name, pool in pools.items()},
        queues={name: pool.waiting.until(now) for name, pool in pools.items()},
        workers={name: pool.served.until(now) for name, pool in pools.items()},
        waits={name: store.locks.waits.until(now) for name, store in stores.items()},
        locks={name: Locks(store.locks.taken, store.locks.held) for name, store in stores.items()},
        logs={name: node.disk.busy_time for name, node in nodes.items() if node.disk.flush == "serial"},
        processes={name: process.account() for name, process in processes.items()},
    )


def stations(asked: int, hub: str | None, before: Counted, after: Counted, window: float) -> Stations:
    """Counts in the measured window.

    Args:
        asked: How many transactions were asked for.
        hub: The node that is the strategy's hub, if it has one.
        before: What was counted when the window was opened.
        after: What was counted when it was closed.
        window: Its length in seconds.
    """
    nothing, no_locks = Counts(), Locks()
    return Stations(
        arrivals=asked,
        queues={name: one.since(before.queues.get(name, nothing)) for name, one in after.queues.items()},
        workers={name: one.since(before.workers.get(name, nothing)) for name, one in after.workers.items()},
        work={name: one - before.work.get(name, 0.0) for name, one in after.work.items()},
        waits={name: one.since(before.waits.get(name, nothing)) for name, one in after.waits.items()},
        locks={name: one.since(before.locks.get(name, no_locks)) for name, one in after.locks.items()},
        logs={
            (HUB if name == hub else name): (one - before.logs.get(name, 0.0)) / window
            for name, one in after.logs.items()
            if window
        },
        processes={
            name: (one - before.processes.get(name, 0.0)) / window for name, one in after.processes.items() if window
        },
    )
