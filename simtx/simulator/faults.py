"""Fault injection: the scenario's faults, scheduled or random, carried out on nodes, links and the broker."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, assert_never

from simtx.event_log.entries import Number
from simtx.metrics.recovery import target
from simtx.metrics.rundata import Struck
from simtx.protocols import Effect
from simtx.protocols.names import BROKER, VOTE_STORE
from simtx.protocols.subjects import Row, aims_at
from simtx.workload.faults import PlannedFault, fault_plan

if TYPE_CHECKING:
    from simtx.scenario import Fault
    from simtx.simulator.network import Link
    from simtx.simulator.node import Node
    from simtx.simulator.running_machine import RunningMachine
    from simtx.simulator.surroundings import Surroundings
    from simtx.simulator.workers import Workers


def injectors(world: Surroundings) -> list[Injector]:
    """One for each fault of the scenario."""
    return [Injector(world, planned) for planned in fault_plan(world.scenario, world.strategy)]


class Injector:
    """Plays one fault of the scenario. Random ones stop with the last arrival, so that every run can drain.

    The times come from a stream of the fault's own, so that every strategy meets the same ones.

    Args:
        world: Where it strikes.
        planned: What it is, and whom it hits.
    """

    def __init__(self, world: Surroundings, planned: PlannedFault) -> None:
        self._world = world
        self._planned = planned
        fault = self.fault = planned.fault
        self._number = planned.number
        self._duration = world.streams.draws(fault.duration, planned.stream, "duration", block=64)
        self._gap: Callable[[], float] | None = None
        if fault.every is not None:
            self._gap = world.streams.draws(fault.every, planned.stream, "gap", block=64)
        self._last = -1

    def arm(self) -> None:
        """Schedule the first blow."""
        fault, env = self.fault, self._world.env
        if fault.trigger is not None:
            node = self._node()
            if node is not None:
                node.arm(CrashPoint(self, fault))
        elif fault.at is not None:
            env.call_at(fault.at, self._begin)
        elif self._gap is not None:
            env.call_in(self._gap(), self._begin)

    def _begin(self, _: object) -> None:
        world, fault = self._world, self.fault
        if fault.at is None and (world.arrivals_over or (fault.until is not None and world.env.now > fault.until)):
            return
        if self._hits():
            self._count()
        undo = self._strike()
        world.env.call_in(self._duration(), self._end, undo)

    def _hits(self) -> bool:
        """Return whether there is anything that this fault could strike: a hub, a broker, or workers may be missing under a strategy."""
        node = self._node()
        return self._planned.hits and not (self.fault.kind == "slow" and node is not None and node.pool is None)

    def _node(self) -> Node | None:
        """The node that it hits, if it hits a node."""
        name = self._planned.node
        return None if name is None or name in (BROKER, VOTE_STORE) else self._world.nodes[name]

    def _end(self, undo: Callable[[], None]) -> None:
        undo()
        if self._last >= 0:
            self._world.struck[self._last].end = self._world.env.now
        if self._last >= 0 and self._world.trace is not None:
            self._world.trace.log(
                "healed", self.fault.node, -1, actor="fault", name=self.fault.kind, detail=Number(self._number).text()
            )
        if self._gap is not None:
            self._world.env.call_in(self._gap(), self._begin)

    def _count(self) -> None:
        fault, world = self.fault, self._world
        world.ledger.counts["faults"] += 1
        self._last = len(world.struck)
        whom = target(fault, votes=world.vote_store is not None)
        world.struck.append(Struck(self._number, fault.kind, whom, world.env.now))
        if world.trace is not None:
            world.trace.log("fault", fault.node, -1, actor="fault", name=fault.kind, detail=Number(self._number).text())

    def crash_now(self, node: Node) -> None:
        """Crash this node at this very effect, and bring it back after the fault's duration."""
        self._count()
        undo = self._nested(node.name, node.crash, node.restart)
        self._world.env.call_in(self._duration(), self._end, undo)

    def _strike(self) -> Callable[[], None]:
        fault, broker, node = self.fault, self._world.broker, self._node()
        if self._planned.node == BROKER and broker is not None:
            return self._nested(BROKER, broker.crash, broker.restart)
        votes = self._world.vote_store
        if self._planned.node == VOTE_STORE and votes is not None:
            return self._nested(VOTE_STORE, votes.crash, votes.restart)
        match fault.kind:
            case "partition" | "loss" | "duplication" | "reorder" as kind:
                return self._links(kind)
            case "crash":
                return _nothing if node is None else self._nested(node.name, node.crash, node.restart)
            case "pause":
                return _nothing if node is None else self._nested(node.name, node.pause, node.unpause)
            case "store-outage":
                return _nothing if node is None else self._nested(node.name, node.begin_outage, node.end_outage)
            case "slow":
                return _nothing if node is None or node.pool is None else self._slow(node.pool)
            case "provider-outage" | "provider-degraded" as kind:
                return self._provider(kind, node)
            case "clock-drift":
                return _nothing if node is None else self._drift(node)
            case "broker-outage" | "vote-store-outage":
                return _nothing  # under a strategy without one
            case _:
                assert_never(fault.kind)

    def _slow(self, pool: Workers) -> Callable[[], None]:
        pool.factor *= self.fault.factor

        def recover() -> None:
            pool.factor /= self.fault.factor

        return recover

    def _drift(self, node: Node) -> Callable[[], None]:
        node.timer_factor *= self.fault.factor

        def adjust() -> None:
            node.timer_factor /= self.fault.factor

        return adjust

    def _provider(self, kind: Literal["provider-outage", "provider-degraded"], node: Node | None) -> Callable[[], None]:
        provider = None if node is None else node.provider
        if node is None or provider is None:
            return _nothing
        if kind == "provider-outage":
            return self._nested(node.name, provider.cut, provider.reconnect)
        return provider.behaviour.degrade(self.fault.factor, self.fault.probability)

    def _nested(self, node: str, begin: Callable[[], None], end: Callable[[], None]) -> Callable[[], None]:
        return self._world.nesting.begin(self.fault.kind, node, begin, end)

    def _links(self, kind: Literal["partition", "loss", "duplication", "reorder"]) -> Callable[[], None]:
        chance = self.fault.probability
        links = [self._world.link(*ends) for ends in self._planned.links]

        def change(link: Link, sign: int) -> None:
            if kind == "partition":
                link.blocked += sign
            else:
                chances: list[float] = getattr(link, kind)
                if sign > 0:
                    chances.append(chance)
                else:
                    chances.remove(chance)
            link.changed()

        for link in links:
            change(link, 1)

        def heal() -> None:
            for link in links:
                change(link, -1)

        return heal


def _nothing() -> None:
    """Undo a fault that hit nothing."""


class CrashPoint:
    """A crash aimed at one effect of one transaction: before it or right after it."""

    __slots__ = ("_before", "_effect", "_injector", "_remaining", "_tx")

    def __init__(self, injector: Injector, fault: Fault) -> None:
        if fault.trigger is None:
            raise ValueError("only a fault with a trigger can be armed")
        trigger = fault.trigger
        self._injector = injector
        self._tx = trigger.transaction
        self._effect = trigger.effect
        self._before = trigger.when == "before"
        self._remaining = trigger.occurrence

    def hits(self, actor: RunningMachine, effect: Effect, row: Row, *, before: bool) -> bool:
        """Return whether this is the place; `row` tells whose outbox rows a relay marks."""
        if before != self._before or not aims_at(self._effect, self._tx, effect, actor.tx, row):
            return False
        self._remaining -= 1
        return self._remaining == 0

    @property
    def place(self) -> tuple[int, str, bool, int]:
        """Number of the transaction, the effect, whether before it, and the how many-th of them."""
        return self._tx, self._effect, self._before, self._remaining

    def strike(self, node: Node) -> None:
        """Crash the node."""
        self._injector.crash_now(node)
