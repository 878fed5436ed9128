"""The building blocks of a real run, taken from its event log: how long each leg of every transaction took.

A leg goes from a cause to its consequence, so that the legs of a transaction's critical path add up to its latency. The time that the processes
need in between (encoding, threads, the event loop, their own logs) is inside the legs. A message's leg begins with the event that made its
sender send it, and ends when its receiver handles it. If the receiver then runs a local transaction, it ends when a worker begins with that.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from simtx.event_log.entries import Durability, Process, Seconds
from simtx.protocols.names import BROKER, CLIENT, HUB
from simtx.scenario.calibration import SERVICE

if TYPE_CHECKING:
    from simtx.event_log.log import EventLog, LogEntry


class Leg(NamedTuple):
    """One sample of a building block: when it began, in seconds of the run; the node where it ended; what it took, in seconds."""

    begin: float
    node: str
    seconds: float


_LOCAL: Final = frozenset({"transact", "execute", "prepare"})
_TRIGGERS: Final = frozenset(
    {"request", "receive", "deliver", "timer", "append", "free", "commit", "rollback", "confirm", "recover"}
    | {"send", "publish", "acknowledge", "answer"}  # what leaves next, leaves after it
)
_ASIDE: Final = frozenset({"apply", "query", "unlock", "wait", "handle"})
_RELAY: Final = -1


def legs(
    trace: EventLog, hub: str | None, *, since: float = 0.0, workers: Mapping[str, int] | None = None
) -> dict[str, list[Leg]]:
    """Take a log apart.

    Args:
        trace: Event log of a real run.
        hub: Name of the coordinator's or orchestrator's node, if there is one.
        since: Leave out what began before, in seconds of the run (a warm-up).
        workers: Of each service: a leg to a worker is left out if they were all at work when the message came, as it also has to wait for
            one of them. None: no leg is left out.

    Returns:
        Legs by the names of `simtx.scenario.calibration.BLOCKS`.
    """
    walker = _Walker(hub, since, workers or {})
    for event in trace:
        walker.take(event)
    walker.finish()
    return dict(walker.samples)


def blocks(trace: EventLog, hub: str | None, *, since: float = 0.0) -> dict[str, list[float]]:
    """As `legs`, but only what each leg took, in seconds."""
    return {name: [leg.seconds for leg in found] for name, found in legs(trace, hub, since=since).items()}


class _Walker:
    """Goes through a log once, with what it has to remember of the entries before."""

    def __init__(self, hub: str | None, since: float, workers: Mapping[str, int]) -> None:
        self.samples: dict[str, list[Leg]] = defaultdict(list)
        self._hub = hub
        self._since = since
        self._workers = workers
        self._working: dict[str, int] = defaultdict(int)  # by node: workers that are at work
        self._queued: set[tuple[str, int]] = set()  # what came when no worker was free
        self._begun: dict[
            int, tuple[float, str]
        ] = {}  # of messages and events under way: begin of the leg, role of the sender
        self._trigger: dict[tuple[str, int], float] = {}  # by node and transaction
        self._leg: dict[tuple[str, int], tuple[str, float, float]] = {}  # that ended here last: block, begin, end
        self._arrived: dict[int, float] = {}
        self._answered: dict[int, tuple[float, str]] = {}
        self._served: dict[tuple[str, int], float] = {}  # when the service time is over
        self._struck: dict[
            str, float
        ] = {}  # by node: when a fault has killed it, some milliseconds before the launcher sees that it has ended
        self._crashed: dict[str, float] = {}  # by process
        self._polled: dict[str, float] = {}  # by node: when its relay began to read
        self._reading: dict[str, float] = {}  # by node: what its relay's last reading took

    def take(self, event: LogEntry) -> None:
        """One entry, in order."""
        if event.kind not in _ASIDE:
            leg = self._leg.pop((event.node, event.tx), None)
            queued = (event.node, event.tx) in self._queued
            self._queued.discard((event.node, event.tx))
            if leg is not None and not (queued and event.kind == "serve"):  # this is the next thing that happens there
                self._add(event.node, leg[0], leg[1], event.time if event.kind == "serve" else leg[2])
        handler = getattr(self, f"_{event.kind}", None)
        if handler is not None:
            handler(event)
        elif event.kind in _LOCAL:
            self._worked(event)
        if event.kind in _TRIGGERS:
            self._trigger[event.node, event.tx] = event.time

    def finish(self) -> None:
        """The log is over: what ended last has no successor."""
        for (node, _), (block, begun, ended) in self._leg.items():
            self._add(node, block, begun, ended)

    def _role(self, node: str) -> str:
        return CLIENT if node == CLIENT else HUB if node == self._hub else SERVICE

    def _add(self, node: str, block: str, begun: float, ended: float) -> None:
        if begun >= self._since:
            self.samples[block].append(Leg(begun, node, max(ended - begun, 0.0)))

    # --- the process ------------------------------------------------------------------------------------------------------------

    def _fault(self, event: LogEntry) -> None:
        self._struck[self._killed(event)] = event.time

    def _healed(self, event: LogEntry) -> None:
        self._struck.pop(self._killed(event), None)

    def _killed(self, event: LogEntry) -> str:
        """The process that a fault kills; empty: none."""
        if event.name == "broker-outage":
            return BROKER
        if event.name != "crash":
            return ""
        return self._hub or HUB if event.node == HUB else event.node

    def _crash(self, event: LogEntry) -> None:
        process = Process.read(event).name
        self._crashed[process] = self._struck.get(process, event.time)
        self._working.pop(process, None)

    def _restart(self, event: LogEntry) -> None:
        process = Process.read(event).name
        begun = self._crashed.pop(process, None)
        if begun is not None and not process.endswith((".relay", ".provider")):
            block = "restart" if process == self._hub else "restart.broker" if process == BROKER else "restart.service"
            self._add(process, block, begun, event.time)

    def _used(self, event: LogEntry) -> None:
        if event.actor == "fault" and event.name != BROKER:  # by a start after a crash, not by a process that has ended
            seconds = Seconds.read(event).seconds
            self._add(event.name, "restart.processor", event.time - seconds, event.time)

    # --- legs between nodes -----------------------------------------------------------------------------------------------------

    def _arrive(self, event: LogEntry) -> None:
        self._arrived[event.tx] = event.time

    def _request(self, event: LogEntry) -> None:
        begun = self._arrived.get(event.tx)
        if begun is not None:
            self._came(event, f"link.{CLIENT}>{self._role(event.node)}", begun)

    def _answer(self, event: LogEntry) -> None:
        begun = self._trigger.get((event.node, event.tx), event.time)
        self._answered.setdefault(event.tx, (begun, self._role(event.node)))

    def _reply(self, event: LogEntry) -> None:
        leg = self._answered.get(event.tx)
        if leg is not None:
            self._add(CLIENT, f"link.{leg[1]}>{CLIENT}", leg[0], event.time)

    def _send(self, event: LogEntry) -> None:
        begun = self._trigger.get((event.node, event.tx), event.time)
        self._begun[event.id] = (begun, self._role(event.node))

    def _receive(self, event: LogEntry) -> None:
        leg = self._begun.get(event.cause) if event.cause is not None else None
        if leg is not None:
            block = f"link.{leg[1]}>{self._role(event.node)}"
            self._came(event, block, leg[0])

    def _publish(self, event: LogEntry) -> None:
        if event.actor == "relay":  # its rows are ready when it begins to read them
            begun = event.time - self._reading.get(event.node, 0.0)
        else:
            begun = self._trigger.get((event.node, event.tx), event.time)
        self._begun[event.id] = (begun, SERVICE)

    def _deliver(self, event: LogEntry) -> None:
        leg = self._begun.get(event.cause) if event.cause is not None else None
        if leg is not None:
            self._came(event, "publish", leg[0])

    def _handle(self, event: LogEntry) -> None:
        if event.tx == _RELAY:
            if event.name in ("start", "poll", "wake"):
                self._polled[event.node] = event.time
            elif event.name == "rows":
                self._reading[event.node] = event.time - self._polled.get(event.node, event.time)

    # --- legs inside a node -----------------------------------------------------------------------------------------------------

    def _came(self, event: LogEntry, block: str, begun: float) -> None:
        self._leg[event.node, event.tx] = (block, begun, event.time)
        if self._working[event.node] >= self._workers.get(event.node, math.inf):
            self._queued.add((event.node, event.tx))

    def _free(self, event: LogEntry) -> None:
        self._working[event.node] -= 1

    def _serve(self, event: LogEntry) -> None:
        self._working[event.node] += 1
        self._served[event.node, event.tx] = event.time + Seconds.read(event).seconds

    def _worked(self, event: LogEntry) -> None:
        begun = self._served.pop((event.node, event.tx), None)
        if begun is not None:
            self._add(event.node, "local", begun, event.time)

    def _call(self, event: LogEntry) -> None:
        """A provider outside has answered, or has not: what is left of the local transaction is the service's own."""
        if event.name == "unknown":
            self._served.pop((event.node, event.tx), None)
        elif (event.node, event.tx) in self._served:
            self._served[event.node, event.tx] = event.time

    def _commit(self, event: LogEntry) -> None:
        begun = self._trigger.get((event.node, event.tx))
        if begun is not None:
            self._add(event.node, "second-phase", begun, event.time)

    def _append(self, event: LogEntry) -> None:
        begun = self._trigger.get((event.node, event.tx))
        if begun is not None and Durability.read(event).forced and event.node == self._hub:
            self._add(event.node, "forced", begun, event.time)
