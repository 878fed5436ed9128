"""The measured window of a simulated run, from the end of the warm-up to the last arrival: what its queues have counted, for `simtx.metrics.laws`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simtx.metrics.stations import Counts, Locks, Stations
from simtx.protocols.names import HUB

if TYPE_CHECKING:
    from simtx.event_log.log import LogRecorder
    from simtx.metrics.ledger import TransactionLedger
    from simtx.simulator.environment import Environment
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


class Window:
    """Reads the counters of a world where the window begins and where it ends.

    Attributes:
        before: Counters at the end of the warm-up.
        after: Counters at the last arrival.
        horizon: Time of the last arrival, in seconds.
    """

    def __init__(
        self,
        env: Environment,
        ledger: TransactionLedger,
        trace: LogRecorder | None,
        nodes: Mapping[str, Node],
        processes: Mapping[str, Process],
        *,
        sample: Callable[[], object],
    ) -> None:
        self._env = env
        self._ledger = ledger
        self._trace = trace
        self._nodes = nodes
        self._processes = processes
        self._sample = sample
        self.before = self.after = Counted({}, {}, {}, {}, {}, {}, {}, {})
        self.horizon = 0.0

    def open(self, _: object = None) -> None:
        """The warm-up is over."""
        self._ledger.open_window(self._env.now)
        if self._trace is not None:
            self._trace.log("open", "", -1)
        self.before = self._counted()

    def close(self) -> None:
        """Close the window: nobody asks for another transaction."""
        self.horizon = self._env.now
        self.after = self._counted()
        self._sample()
        self._ledger.close_window(self.horizon)
        if self._trace is not None:
            self._trace.log("close", "", -1)

    def _counted(self) -> Counted:
        """Counts until now."""
        now, nodes = self._env.now, self._nodes
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
            processes={name: process.account() for name, process in self._processes.items()},
        )

    def stations(self, asked: int, hub: str | None, length: float) -> Stations:
        """Counts in the window.

        Args:
            asked: How many transactions were asked for.
            hub: The node that is the strategy's hub, if it has one.
            length: Of the window, in seconds.
        """
        before, after, nothing, no_locks = self.before, self.after, Counts(), Locks()
        return Stations(
            arrivals=asked,
            queues={name: one.since(before.queues.get(name, nothing)) for name, one in after.queues.items()},
            workers={name: one.since(before.workers.get(name, nothing)) for name, one in after.workers.items()},
            work={name: one - before.work.get(name, 0.0) for name, one in after.work.items()},
            waits={name: one.since(before.waits.get(name, nothing)) for name, one in after.waits.items()},
            locks={name: one.since(before.locks.get(name, no_locks)) for name, one in after.locks.items()},
            logs={
                (HUB if name == hub else name): (one - before.logs.get(name, 0.0)) / length
                for name, one in after.logs.items()
                if length
            },
            processes={
                name: (one - before.processes.get(name, 0.0)) / length
                for name, one in after.processes.items()
                if length
            },
        )
