"""The scenario's faults, for real: SIGKILL and restart, SIGSTOP, slow workers, cut links, stopped databases and brokers."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, assert_never

from simtx.event_log.entries import Number
from simtx.protocols.names import BROKER
from simtx.reference.node.crash_points import CrashPoint
from simtx.reference.processes.preflight import provider_of
from simtx.scenario.fault_kinds import LINK_FAULTS, FaultKind
from simtx.workload import Streams
from simtx.workload.faults import Nesting, PlannedFault, fault_plan
from simtx.workload.provider import ANSWERING, SLOW, UNREACHABLE

if TYPE_CHECKING:
    from simtx.protocols import Strategy
    from simtx.reference.processes.backends import Backends
    from simtx.reference.processes.supervisor import Child
    from simtx.reference.run_folder.event_log import LogFile
    from simtx.scenario import Fault, Scenario


def link_chances(scenario: Scenario) -> bool:
    """Return whether links of the scenario lose, copy or hold up messages by themselves."""
    network = scenario.network
    chances = [network.loss, network.duplication, network.reorder]
    for link in network.links.values():
        chances += [link.loss, link.duplication, link.reorder]
    return any(chances)


def link_faults(scenario: Scenario) -> bool:
    """Return whether the scenario has anything that needs a proxy on the links."""
    return link_chances(scenario) or any(fault.kind in LINK_FAULTS for fault in scenario.faults)


def proxied_links(nodes: Sequence[str], *, broker: bool) -> list[tuple[str, str]]:
    """Directions (from, to) that a proxy stands in: between any two nodes, and between each node and the broker if that is the embedded one."""
    links = [(a, b) for a in nodes for b in nodes if a != b]
    return [*links, *((a, BROKER) for a in nodes), *((BROKER, a) for a in nodes)] if broker else links


def triggered(scenario: Scenario, strategy: Strategy) -> dict[str, list[CrashPoint]]:
    """The scenario's crashes that are aimed at a place in a protocol, as crash points by process.

    The place may be in the service or in the relay beside it, and a crash of the node takes both, as in the simulator.
    """
    points: dict[str, list[CrashPoint]] = {}
    for planned in fault_plan(scenario, strategy):
        fault, node = planned.fault, planned.node
        trigger = fault.trigger
        if trigger is None or node is None:
            continue
        here, beside = f"scenario-{planned.number}", f"scenario-{planned.number}.relay"
        for process, own, other in ((node, here, beside), (f"{node}.relay", beside, here)):
            point = CrashPoint(
                own,
                tx=trigger.transaction,
                effect=trigger.effect,
                before=trigger.when == "before",
                occurrence=trigger.occurrence,
                downtime=fault.duration.mean(),
                twin=other,
            )
            points.setdefault(process, []).append(point)
    return points


class Seeded(Protocol):
    """The options of a run, as far as faults need them."""

    @property
    def seed(self) -> int:
        """Seed of the random streams."""


class Stage(Protocol):
    """Stage of faults, the part of the launcher that they need (`simtx.reference.processes.launcher.Launcher`)."""

    scenario: Scenario
    strategy: Strategy
    children: dict[str, Child]
    backends: Backends
    log: LogFile
    links: list[tuple[str, str]]

    @property
    def options(self) -> Seeded:
        """The options of the run."""

    def done(self, task: asyncio.Task[None]) -> None:
        """A task has ended; an error of it ends the run."""

    def scale(self, name: str, what: str, factor: float) -> None:
        """Make service times (``slow``) or timers (``clock``) of a process longer."""

    def tell(self, name: str, **frame: Any) -> None:
        """Send a frame to a process."""


class Injectors:
    """Plays the faults of a scenario on the processes of a launcher; the times are drawn as the simulator draws them."""

    def __init__(self, launcher: Stage) -> None:
        self._launcher = launcher
        self._streams = Streams(launcher.options.seed)
        self._tasks: list[asyncio.Task[None]] = []
        self._away: dict[str, float] = {}
        self._nesting = Nesting()
        self._factors: dict[tuple[str, str], list[float]] = {}
        self._active = 0
        self._over = False

    @property
    def idle(self) -> bool:
        """Return whether no fault is in force right now."""
        return self._active == 0

    def away(self, name: str) -> float | None:
        """Seconds for which a process that was killed by a fault stays away; None: no fault has killed it."""
        until = self._away.pop(name, None)
        return None if until is None else max(until - time.monotonic(), 0.0)

    def kill(self, name: str, seconds: float) -> None:
        """Kill a process, if it is running, and keep it away for so long."""
        child = self._launcher.children.get(name)
        if child is not None:
            self._away[name] = time.monotonic() + seconds
            if not child.kill():
                self._away.pop(name, None)

    def start(self, origin: float) -> None:
        """Schedule them; the clock of the run is at zero at this time of `time.monotonic`."""
        for planned in fault_plan(self._launcher.scenario, self._launcher.strategy):
            if planned.fault.trigger is None:
                task = asyncio.create_task(self._play(planned, origin))
                task.add_done_callback(self._launcher.done)  # a run without it would not be what was asked for
                self._tasks.append(task)

    def arrivals_over(self) -> None:
        """The last transaction has arrived: random faults stop."""
        self._over = True

    async def stop(self) -> None:
        """The run is over: nothing is injected any more, and what is in force is taken back."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _play(self, planned: PlannedFault, origin: float) -> None:
        number, fault, stream = planned.number, planned.fault, planned.stream
        duration = self._streams.draws(fault.duration, stream, "duration", block=64)
        gap = self._streams.draws(fault.every, stream, "gap", block=64) if fault.every is not None else None
        if fault.at is not None:
            await asyncio.sleep(max(origin + fault.at - time.monotonic(), 0.0))
        elif gap is not None:
            await asyncio.sleep(max(origin + gap() - time.monotonic(), 0.0))
        while True:
            if fault.at is None and (
                self._over or (fault.until is not None and time.monotonic() - origin > fault.until)
            ):
                return
            self._log("fault", number, fault)
            seconds = duration()
            self._active += 1
            try:
                undo = self._strike(planned, seconds)
                try:
                    await asyncio.sleep(seconds)
                finally:  # also if the run ends before
                    undo()
                self._log("healed", number, fault)
            finally:
                self._active -= 1
            if gap is None:
                return
            await asyncio.sleep(gap())

    def _log(self, kind: str, number: int, fault: Fault) -> None:
        self._launcher.log.log(kind, fault.node, -1, actor="fault", name=fault.kind, detail=Number(number).text())

    def _strike(self, planned: PlannedFault, seconds: float) -> Callable[[], None]:
        launcher, fault, name = self._launcher, planned.fault, planned.node
        kind = fault.kind
        if name is not None and name == BROKER:
            return self._broker(kind, seconds)
        processes = [one for one in (name, f"{name}.relay") if name is not None and one in launcher.children]
        match kind:
            case "partition" | "loss" | "duplication" | "reorder":
                return self._links(planned)
            case "broker-outage":
                return _nothing  # under a strategy without a broker
            case _ if name is None:
                return _nothing  # a fault of the hub or of the vote store, under a strategy without one
            case "crash":
                for one in processes:
                    self.kill(one, seconds)
                return _nothing
            case "pause":
                return self._nesting.begin(
                    kind, name, lambda: self._each(processes, "pause"), lambda: self._each(processes, "resume")
                )
            case "store-outage" | "vote-store-outage":
                stop, resume = launcher.backends.pause_store, launcher.backends.resume_store
                return self._nesting.begin(kind, name, lambda: stop(name), lambda: resume(name))
            case "slow":
                return self._scaled("slow", processes, fault.factor)
            case "provider-outage":
                process, scale = provider_of(name), launcher.scale
                return self._nesting.begin(
                    kind, name, lambda: scale(process, UNREACHABLE, 1.0), lambda: scale(process, UNREACHABLE, 0.0)
                )
            case "provider-degraded":
                return self._degraded(provider_of(name), fault)
            case "clock-drift":
                return self._scaled("clock", processes, fault.factor)
            case _:
                assert_never(kind)

    def _scaled(self, what: str, processes: list[str], factor: float) -> Callable[[], None]:
        """Make something longer, by the product of all such faults that are in force."""
        factors = self._factors.setdefault((what, processes[0]), [])

        def tell() -> None:
            for one in processes:
                self._launcher.scale(one, what, math.prod(factors))

        def undo() -> None:
            factors.remove(factor)
            tell()

        factors.append(factor)
        tell()
        return undo

    def _degraded(self, process: str, fault: Fault) -> Callable[[], None]:
        """Make a provider slower, and have it leave out more answers."""
        slow = self._scaled(SLOW, [process], fault.factor)
        silent = self._scaled(ANSWERING, [process], 1 - fault.probability)

        def undo() -> None:
            slow()
            silent()

        return undo

    def _each(self, processes: list[str], act: str) -> None:
        for one in processes:
            getattr(self._launcher.children[one], act)()

    def _broker(self, kind: FaultKind, seconds: float) -> Callable[[], None]:
        launcher = self._launcher
        child = launcher.children.get(BROKER)
        if child is not None:
            self._away[BROKER] = time.monotonic() + seconds
            child.kill()
            return _nothing
        return self._nesting.begin(kind, BROKER, launcher.backends.kill_broker, launcher.backends.restart_broker)

    def _links(self, planned: PlannedFault) -> Callable[[], None]:
        launcher, fault = self._launcher, planned.fault
        pairs = [list(ends) for ends in planned.links if ends in launcher.links]
        frame = {"type": "control", "kind": fault.kind, "probability": fault.probability, "links": pairs}
        launcher.tell("proxy", do="fault", **frame)
        return lambda: launcher.tell("proxy", do="clear", **frame)


def _nothing() -> None:
    """Undo a fault that hit nothing, or that ends by itself."""
