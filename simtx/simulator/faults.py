"""Fault injection: the scenario's faults, scheduled or random, carried out on nodes, links and the broker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from simtx.metrics.recovery import Struck, target
from simtx.protocols import Effect
from simtx.protocols.subjects import Row, aims_at
from simtx.simulator.broker import NAME as BROKER

if TYPE_CHECKING:
    from simtx.scenario import Fault
    from simtx.simulator.actor import Actor
    from simtx.simulator.network import Link
    from simtx.simulator.node import Node
    from simtx.simulator.world import World


def injectors(world: World) -> list[Injector]:
    """One for each fault of the scenario. Their streams are named by what they hit, so that a fault more shifts none of the others."""
    found = []
    numbers: Counter[str] = Counter()
    for number, fault in enumerate(world.scenario.faults):
        name = f"fault:{fault.kind}:{fault.node}:{','.join(fault.a)}>{','.join(fault.b)}"
        found.append(Injector(world, fault, f"{name}#{numbers[name]}", number))
        numbers[name] += 1
    return found


class Injector:
    """Plays one fault of the scenario. Random ones stop with the last arrival, so that every run can drain.

    The times come from a stream of the fault's own, so that every strategy meets the same ones.

    Args:
        world: Where it strikes.
        fault: What it is.
        name: Name of its stream.
        number: Its number in the scenario.
    """

    def __init__(self, world: World, fault: Fault, name: str, number: int) -> None:
        self._world = world
        self.fault = fault
        self._number = number
        self._duration = world.streams.draws(fault.duration, name, "duration", block=64)
        self._gap: Callable[[], float] | None = None
        if fault.every is not None:
            self._gap = world.streams.draws(fault.every, name, "gap", block=64)
        self.struck = 0
        self._last = -1

    def arm(self) -> None:
        """Schedule the first blow."""
        fault, env = self.fault, self._world.env
        if fault.trigger is not None:
            node = self._world.node(fault.node)
            if node is not None:
                node.arm(Armed(self, fault))
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
        """Whether there is anything that this fault could strike: a hub, a broker, or workers may be missing under a strategy."""
        world, fault = self._world, self.fault
        if fault.kind == "broker-outage" or (fault.kind == "crash" and fault.node == BROKER):
            return world.broker is not None
        if fault.kind in ("partition", "loss", "duplication", "reorder"):
            return True
        node = world.node(fault.node)
        return node is not None and (fault.kind != "slow" or node.pool is not None)

    def _end(self, undo: Callable[[], None]) -> None:
        undo()
        if self._last >= 0:
            self._world.struck[self._last].end = self._world.env.now
        if self._last >= 0 and self._world.trace is not None:
            self._world.trace.log(
                "healed", self.fault.node, -1, actor="fault", name=self.fault.kind, detail=str(self._number)
            )
        if self._gap is not None:
            self._world.env.call_in(self._gap(), self._begin)

    def _count(self) -> None:
        self.struck += 1
        fault, world = self.fault, self._world
        self._last = len(world.struck)
        world.struck.append(Struck(self._number, fault.kind, target(fault), world.env.now))
        if world.trace is not None:
            world.trace.log("fault", fault.node, -1, actor="fault", name=fault.kind, detail=str(self._number))

    def crash_now(self, node: Node) -> None:
        """Crash this node at this very effect, and bring it back after the fault's duration."""
        self._count()
        undo = self._nested(node.name, node.crash, node.restart)
        self._world.env.call_in(self._duration(), self._end, undo)

    def _strike(self) -> Callable[[], None]:
        fault, world = self.fault, self._world
        kind = fault.kind
        if kind == "broker-outage" or (kind == "crash" and fault.node == BROKER):
            return self._broker_outage()
        if kind in ("partition", "loss", "duplication", "reorder"):
            return self._links(kind)
        node = world.node(fault.node)
        if node is None:
            return _nothing  # a hub's fault, under a strategy without a hub
        if kind == "crash":
            return self._nested(node.name, node.crash, node.restart)
        if kind == "pause":
            return self._nested(node.name, node.pause, node.unpause)
        if kind == "slow":
            if node.pool is None:
                return _nothing
            pool = node.pool
            pool.factor *= fault.factor

            def recover() -> None:
                pool.factor /= fault.factor

            return recover
        if kind == "clock-drift":
            node.timer_factor *= fault.factor

            def adjust() -> None:
                node.timer_factor /= fault.factor

            return adjust
        return self._nested(node.name, node.begin_outage, node.end_outage)

    def _nested(self, node: str, begin: Callable[[], None], end: Callable[[], None]) -> Callable[[], None]:
        """Begin something that lasts until the last of the faults that overlap on a node is over."""
        depths, key = self._world.fault_depths, (self.fault.kind, node)
        depths[key] = depths.get(key, 0) + 1
        begin()

        def undo() -> None:
            depths[key] -= 1
            if not depths[key]:
                end()

        return undo

    def _broker_outage(self) -> Callable[[], None]:
        broker = self._world.broker
        if broker is None:
            return _nothing
        return self._nested(BROKER, broker.crash, broker.restart)

    def _links(self, kind: str) -> Callable[[], None]:
        fault = self.fault
        chance = fault.probability
        links = self._world.links_between(fault.a, fault.b, one_way=fault.one_way)

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


class Armed:
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

    def hits(self, actor: Actor, effect: Effect, row: Row, *, before: bool) -> bool:
        """Whether this is the place; `row` tells whose outbox rows a relay marks."""
        if before != self._before or not aims_at(self._effect, self._tx, effect, actor.tx, row):
            return False
        self._remaining -= 1
        return self._remaining == 0

    def strike(self, node: Node) -> None:
        """Crash the node."""
        self._injector.crash_now(node)
