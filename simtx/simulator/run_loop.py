"""Plays the run of a world: arrivals, then until nothing is left to do. Each engine has a loop of its own."""

from __future__ import annotations

import gc
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

from simtx.event_log import journal
from simtx.metrics.guarantees import Watch
from simtx.simulator.last_values import KnownValues, LastValues
from simtx.simulator.world import World

_PARTS: Final = 20  # in which the arrivals are played
_SETTLE: Final = 5.0  # seconds without work before a run counts as drained: longer than any message is under way


class RunLoop(ABC):
    """Plays one world, once.

    Args:
        world: What to play.

    Attributes:
        world: The world.
        events: How many events were scheduled, when the run is over.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.events = 0

    def play(self, report: Callable[[float], object] | None = None) -> None:
        """Run to the end: arrivals, then until nothing is left to do, or until the drain limit of the scenario.

        Args:
            report: Called with the simulated time now and then while transactions arrive.
        """
        self.world.sampler.report = report
        # Objects of the model are in no reference cycles when they die. The cyclic collector would find nothing and take a tenth of the time.
        collecting = gc.isenabled()
        gc.disable()
        try:
            self._start()
            self._play()
            self.close()
            for node in self.world.nodes.values():
                if node.store is not None:
                    node.store.forget_rows()
        finally:
            if collecting:
                gc.enable()

    def _start(self) -> None:
        """Schedule the faults, the first arrivals, the warm-up's end and the samples: in this order, which decides between events at one time."""
        world = self.world
        for injector in world.injectors:
            injector.arm()
        self.start_daemons()
        world.env.call_at(world.scenario.run.warmup, world.window.open)
        self.start_arrivals()
        world.sampler.start()

    def _play(self) -> None:
        world, env, plan = self.world, self.world.env, self.world.scenario.run
        part = max(world.scenario.expected_length() / (10 * _PARTS) * 10, 1.0)
        while not world.arrivals_over:
            self.advance(env.now + part)
        limit = world.window.horizon + plan.drain
        quiet_since: float | None = None
        while env.now < limit:
            if not self.quiet():
                quiet_since = None
            elif quiet_since is None:
                quiet_since = env.now
            elif env.now - quiet_since >= _SETTLE:
                break
            self.advance(min(limit, env.now + 1.0))
        self.events = env.sequence()
        world.sampler.take()

    @abstractmethod
    def start_daemons(self) -> None:
        """Start the machines that every node has for all transactions."""

    @abstractmethod
    def start_arrivals(self) -> None:
        """Schedule the first arrivals."""

    @abstractmethod
    def advance(self, until: float) -> None:
        """Play all that happens before a time, in seconds."""

    @abstractmethod
    def quiet(self) -> bool:
        """Return whether every node is up, and nothing is left to do but what is stuck."""

    @abstractmethod
    def close(self) -> None:
        """The run is over: what is open counts up to now, and every record is closed."""

    @abstractmethod
    def last_values(self) -> LastValues:
        """The last values of the stores, when the run is over."""

    @abstractmethod
    def watched(self) -> Watch:
        """Violations of the run, with the last values of the stores."""


class InterpretedLoop(RunLoop):
    """Plays a world event by event in Python."""

    def start_daemons(self) -> None:
        """As `RunLoop` says."""
        for node in self.world.nodes.values():
            node.start_daemons()

    def start_arrivals(self) -> None:
        """As `RunLoop` says."""
        self.world.clients.start()
        for follower in self.world.beside:
            follower.start()

    def advance(self, until: float) -> None:
        """As `RunLoop` says."""
        self.world.env.run(until=until)

    def quiet(self) -> bool:
        """As `RunLoop` says."""
        world = self.world
        if not all(node.up and not node.paused and not node.outage for node in world.nodes.values()):
            return False
        if world.clients.asking or not all(one.idle for one in world.beside):
            return False
        active = world.ledger.active
        for tx in self._working():
            record = active.get(tx)
            if record is None or not record.stuck:
                return False
        return world.broker is None or world.broker.up

    def close(self) -> None:
        """As `RunLoop` says."""
        world, working = self.world, self._working()
        for node in world.nodes.values():
            if node.store is not None:
                node.store.close_books(node.ledger)
        if world.trace is not None:
            journal.ended(world.trace, self.events, world.ledger.active.values(), working)
        world.ledger.finish(working)

    def last_values(self) -> LastValues:
        """As `RunLoop` says."""
        return KnownValues(self._values(), self.world.ledger.expected)

    def watched(self) -> Watch:
        """As `RunLoop` says."""
        ledger = self.world.ledger
        return ledger.watch.final(self.world.scenario, self._values(), ledger.in_force())

    def _values(self) -> dict[str, dict[str, float]]:
        return {name: node.store.values for name, node in self.world.nodes.items() if node.store is not None}

    def _working(self) -> set[int]:
        """The transactions for which a node or the broker still holds something."""
        working: set[int] = set()
        for node in self.world.nodes.values():
            working.update(node.actors, node.durable)
            if node.store is not None:
                working.update(row.tx for row in node.store.outbox.rows.values())
                working.update(node.store.prepared)
            if node.provider is not None:
                working.update(node.provider.under_way)
        if self.world.broker is not None:
            working |= self.world.broker.working()
        return working
