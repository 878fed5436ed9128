"""Takes the samples of a run's timeline, and writes into the event log what the log would not hold without them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from simtx.event_log.entries import Levels
from simtx.metrics.timeline import OF_RUN, Clock, Timeline, beside, of_whole_run
from simtx.simulator.environment import URGENT

if TYPE_CHECKING:
    from simtx.event_log.log import LogRecorder
    from simtx.simulator.surroundings import Surroundings


class Sampler:
    """Samples a world.

    A sample is taken before anything else that happens at its time; those at the last arrival and at the end of the run, behind it.

    Args:
        world: What to sample.

    Attributes:
        report: Called with the simulated time at each sample; None: nobody wants to know.
        timeline: The samples.
    """

    def __init__(self, world: Surroundings) -> None:
        self._world = world
        self._clock = Clock(world.scenario)
        self._logged: dict[str, float] = {}
        self.report: Callable[[float], object] | None = None
        self.timeline = Timeline(
            list(world.scenario.services),
            broker=world.broker is not None,
            partitions=world.scenario.broker.partitions > 0,
            beside=beside(world.scenario),
        )

    def start(self) -> None:
        """Begin at once, and go on by the clock."""
        self._world.env.call_at(self._clock.due, self.due, priority=URGENT)

    def due(self, _: object) -> None:
        """Take the sample whose time has come, and schedule the next one."""
        self.take(whole=False)
        self._clock.tick(draining=self._world.arrivals_over)
        self._world.env.call_at(self._clock.due, self.due, priority=URGENT)

    def take(self, *, whole: bool = True) -> None:
        """Take a sample now; `whole`: all that happens at this time has happened."""
        world = self._world
        if self.report is not None:
            self.report(world.env.now)
        row = self._figures()
        if world.trace is not None:
            self._log(world.trace, row)
        self.timeline.add_row(row, whole=whole)

    def _figures(self) -> list[float]:
        """Figures in the order of the timeline's columns."""
        world = self._world
        broker = world.broker
        held: Mapping[str, int] = Counter(broker.waiting()) if broker is not None else {}
        stores = [node.store for node in world.nodes.values() if node.store is not None]
        row = of_whole_run(world.env.now, world.ledger, sum([len(store.prepared) for store in stores]))
        for name in world.scenario.services:
            node = world.nodes[name]
            if node.pool is None or node.store is None:
                raise AssertionError("a service has workers and a store")
            waiting = node.store.locks.waiters
            row += (len(node.pool.queue), node.pool.busy, sum(map(len, waiting.values())) if waiting else 0)
            if broker is not None:
                row += (len(node.store.outbox.rows), held[name])
                lag = broker.lag(name)
                if lag is not None:
                    row.append(lag)
        row += [store.wrong() for store in world.derived.values()]
        row += [group.waiting for group in world.groups.values()]
        return row

    def _log(self, trace: LogRecorder, row: Sequence[float]) -> None:
        """Write down which levels have changed; how many workers are busy the log says itself."""
        levels = zip(self.timeline.names[OF_RUN:], row[OF_RUN:], strict=True)
        changed = {
            name: value for name, value in levels if not name.startswith("busy_") and self._logged.get(name) != value
        }
        if changed:
            self._logged.update(changed)
            trace.log("level", "", -1, detail=Levels(changed).text())
