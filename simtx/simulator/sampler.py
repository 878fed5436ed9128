"""Takes the samples of a run's timeline, and writes into the event log what the log would not hold without them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from simtx.event_log.entries import Levels
from simtx.metrics.timeline import LAG, LEVELS, Clock, Timeline
from simtx.simulator.environment import URGENT

if TYPE_CHECKING:
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
            derived=world.scenario.derived,
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
        levels = self._levels()
        if world.trace is not None:
            changed = {name: value for name, value in levels.items() if self._logged.get(name) != value}
            if changed:
                self._logged.update(changed)
                world.trace.log("level", "", -1, detail=Levels(changed).text())
        busy = {f"busy_{name}": node.pool.busy for name, node in world.nodes.items() if node.pool is not None}
        self.timeline.add(world.env.now, world.ledger, self._in_doubt(), {**levels, **busy}, whole=whole)

    def _in_doubt(self) -> int:
        return sum(len(node.store.prepared) for node in self._world.nodes.values() if node.store is not None)

    def _levels(self) -> dict[str, float]:
        queue, lock_queue, relay, broker = LEVELS
        found: dict[str, float] = {}
        held = Counter(self._world.broker.waiting()) if self._world.broker is not None else Counter()
        for name in self._world.scenario.services:
            node = self._world.nodes[name]
            if node.pool is None or node.store is None:
                continue
            found[f"{queue}_{name}"] = len(node.pool.queue)
            found[f"{lock_queue}_{name}"] = sum(len(waiting) for waiting in node.store.locks.waiters.values())
            if self._world.broker is not None:
                found[f"{relay}_{name}"] = len(node.store.outbox.rows)
                found[f"{broker}_{name}"] = held[name]
                lag = self._world.broker.lag(name)
                if lag is not None:
                    found[f"{LAG}_{name}"] = lag
        found.update((f"wrong_{name}", store.wrong()) for name, store in self._world.derived.items())
        return found
