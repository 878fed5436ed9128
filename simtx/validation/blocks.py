"""The building blocks of a run, taken from its event log: how long each leg of every transaction took.

A leg is the time between two entries of the log, so that the legs of a transaction's critical path add up to its latency, with whatever
the processes needed in between (encoding, threads, the event loop) inside them and not lost.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from simtx.metrics.trace import Trace, TraceEvent

BLOCKS: Final[Mapping[str, str]] = {
    "request": "the client asks, until the entry node has the request",
    "reply": "the entry node answers, until the client has the answer",
    "hop": "a message leaves, until the next node has it",
    "publish": "a message goes to the broker, until the broker's acknowledgement",
    "deliver": "a message goes to the broker, until its consumer has it",
    "dispatch": "a local transaction is asked for, until a worker begins with it",
    "local": "a local transaction without its service time: database, forced write",
    "return": "a worker is done, until the machine goes on",
    "forced": "a record is appended, until it is durable",
    "second-phase": "commit or rollback of a prepared branch, until it is durable",
}
"""Names of the blocks and what they are."""

_LOCAL: Final = frozenset({"transact", "execute", "prepare"})


@dataclass(slots=True)
class Blocks:
    """Samples in seconds, by block and then by node (``""`` for all of them)."""

    samples: dict[str, dict[str, list[float]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))

    def add(self, block: str, node: str, seconds: float) -> None:
        """One more sample."""
        self.samples[block][node].append(max(seconds, 0.0))

    def of(self, block: str, node: str | None = None) -> list[float]:
        """All samples of a block, or those of one node."""
        nodes = self.samples.get(block, {})
        return nodes.get(node, []) if node is not None else [one for samples in nodes.values() for one in samples]


def blocks(trace: Trace, *, since: float = 0.0) -> Blocks:
    """Take a log apart.

    Args:
        trace: Event log of a real run.
        since: Leave out what began before, in seconds of the run (a warm-up).
    """
    found = Blocks()
    walker = _Walker(found, since)
    for event in trace:
        walker.take(event)
    return found


class _Walker:
    """Goes through a log once, with what it has to remember of the entries before."""

    def __init__(self, found: Blocks, since: float) -> None:
        self._found = found
        self._since = since
        self._times: dict[int, float] = {}  # of the entries that others have as their cause
        self._last: dict[tuple[str, int], TraceEvent] = {}  # by node and transaction
        self._arrived: dict[int, float] = {}
        self._answered: dict[int, float] = {}
        self._serving: dict[tuple[str, int], float] = {}  # when the service time is over

    def take(self, event: TraceEvent) -> None:
        """One entry, in order."""
        kind, place = event.kind, (event.node, event.tx)
        before = self._last.get(place)
        handler = getattr(self, f"_{kind}", None)
        if event.time >= self._since:
            if handler is not None:
                handler(event, before)
            elif kind in _LOCAL:
                self._worked(event)
            if before is not None and before.kind == "free" and kind != "serve":
                self._found.add("return", event.node, event.time - before.time)
        if kind in ("send", "publish"):
            self._times[event.id] = event.time
        if kind not in ("apply", "unlock", "wait") and event.tx >= 0:
            self._last[place] = event

    # --- legs between nodes -----------------------------------------------------------------------------------------------------

    def _arrive(self, event: TraceEvent, _: TraceEvent | None) -> None:
        self._arrived[event.tx] = event.time

    def _request(self, event: TraceEvent, _: TraceEvent | None) -> None:
        begun = self._arrived.get(event.tx)
        if begun is not None:
            self._found.add("request", event.node, event.time - begun)

    def _answer(self, event: TraceEvent, _: TraceEvent | None) -> None:
        self._answered.setdefault(event.tx, event.time)

    def _reply(self, event: TraceEvent, _: TraceEvent | None) -> None:
        begun = self._answered.get(event.tx)
        if begun is not None:
            self._found.add("reply", event.node, event.time - begun)

    def _leg(self, block: str, event: TraceEvent) -> None:
        begun = self._times.get(event.cause) if event.cause is not None else None
        if begun is not None:
            self._found.add(block, event.node, event.time - begun)

    def _receive(self, event: TraceEvent, _: TraceEvent | None) -> None:
        self._leg("hop", event)

    def _deliver(self, event: TraceEvent, _: TraceEvent | None) -> None:
        self._leg("deliver", event)

    def _confirm(self, event: TraceEvent, _: TraceEvent | None) -> None:
        self._leg("publish", event)

    # --- legs inside a node -----------------------------------------------------------------------------------------------------

    def _serve(self, event: TraceEvent, before: TraceEvent | None) -> None:
        self._serving[event.node, event.tx] = event.time + float(event.detail or 0.0)
        if before is not None:
            self._found.add("dispatch", event.node, event.time - before.time)

    def _worked(self, event: TraceEvent) -> None:
        begun = self._serving.pop((event.node, event.tx), None)
        if begun is not None:
            self._found.add("local", event.node, event.time - begun)

    def _append(self, event: TraceEvent, before: TraceEvent | None) -> None:
        if before is not None and event.detail == "forced":
            self._found.add("forced", event.node, event.time - before.time)

    def _commit(self, event: TraceEvent, before: TraceEvent | None) -> None:
        if before is not None:
            self._found.add("second-phase", event.node, event.time - before.time)
