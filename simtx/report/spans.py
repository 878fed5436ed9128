"""The event log as spans: stretches of time with a cause, as tracing tools know them.

One trace for each business transaction. Its root is the client's request, until the answer. Below it:

- a span for each *handler*: what a machine does from the arrival of an event (a request, a message, a delivery, a timer, a recovery) to
  the last effect that it leads to;
- a span for each *message* between nodes, as long as it is under way, and for each *publication*, until the broker has confirmed it;
- a span for each local transaction, log record and second phase, from the moment at which its machine asks for it; so it contains the
  wait for a worker, for locks and for the disk;
- a span for each prepared branch that is *in doubt*, until its machine asks for the commit or the rollback;
- a span without length for each *redelivery* of the broker, which may come long after the publication was confirmed.

Decisions, answers, alerts, waits for locks, changed values and effects that a crash has swallowed are events on the span that they
belong to. What concerns the whole run (nodes that are down, faults) is a trace of its own.

`simtx.report.otlp` and `simtx.report.chrome` write spans in the formats of OpenTelemetry and of Chrome.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from simtx.event_log.entries import (
    AT_ONCE,
    Applied,
    BranchEnded,
    Dropped,
    Durability,
    Process,
    Seconds,
    Stuck,
    Worked,
    kind_of,
)
from simtx.event_log.log import LogEntry
from simtx.protocols.names import CLIENT

Kind: TypeAlias = Literal[
    "transaction", "handler", "message", "publication", "store", "log", "in-doubt", "run", "down", "redelivery"
]
Value: TypeAlias = str | int | float | bool

RUN: Final = -1
"""Number of the transaction of spans that concern the whole run."""

_ARRIVALS: Final = frozenset({"request", "receive", "deliver", "timer", "recover"})
_WORK: Final = frozenset({"transact", "execute", "prepare", "commit", "rollback"})
_MARKS: Final = frozenset({"lost", "reject", "logged", *(effect.__name__.lower() for effect in AT_ONCE)})
_OF_STORE: Final = frozenset({"apply", "query", "read", "wait", "serve", "free", "unlock"})
_UNSEEN: Final = frozenset(
    {"handle", "call", "refuse", "stop", "lag", "stored-again", "ask", "give-up", "suppress", "expire", "healed"}
    | {"open", "close", "level", "doubt", "held", "unpublished", "used", "end"}
)
"""Kinds of entries that no span shows."""


@dataclass(slots=True)
class Mark:
    """Something at one moment of a span.

    Attributes:
        time: Seconds since the start of the run.
        name: What.
        attributes: More about it.
    """

    time: float
    name: str
    attributes: dict[str, Value]


@dataclass(slots=True)
class Span:
    """A stretch of time on one node.

    Attributes:
        kind: What it stands for.
        entry: Id of the entry of the log that it was made from; with `kind` it is unique.
        tx: Business transaction, or `RUN`.
        node: Where.
        name: What, in a few words.
        start: Seconds since the start of the run.
        end: Likewise.
        parent: The span that caused it, or None for the root of a trace.
        peer: The other node, if there is one.
        subject: Kind of the message, tag of the local transaction, name of the record.
        attributes: More about it.
        marks: What happened meanwhile, in order.
        error: What went wrong; empty: nothing.
        succeeded: Whether it is known to have succeeded.
        received: How often a message has arrived.
    """

    kind: Kind
    entry: int
    tx: int
    node: str
    name: str
    start: float
    end: float
    parent: Span | None = None
    peer: str = ""
    subject: str = ""
    attributes: dict[str, Value] = field(default_factory=dict)
    marks: list[Mark] = field(default_factory=list)
    error: str = ""
    succeeded: bool = False
    received: int = 0

    def mark(self, time: float, name: str, /, **attributes: Value) -> None:
        """Note what happens at a moment."""
        self.end = max(self.end, time)
        self.marks.append(Mark(time, name, {key: value for key, value in attributes.items() if value != ""}))


def spans_of(trace: Iterable[LogEntry]) -> list[Span]:
    """The spans of an event log, in the order of their starts; a cause always comes before its effects.

    Args:
        trace: The log of a run, or of one transaction (``run.trace.of(tx)``), simulated or real.
    """
    return _Reader().read(trace)


class _Reader:
    """Makes spans from entries."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.roots: dict[int, Span] = {}
        self.by_entry: dict[int, Span] = {}
        self.recovered: dict[tuple[str, int], Span] = {}  # effects without a cause: of a recovery
        self.current: dict[tuple[str, int], Span] = {}  # last local transaction by node and transaction
        self.begun: dict[tuple[str, int], list[Mark]] = {}  # what its local transaction did before it ended
        self.doubts: dict[tuple[str, int], Span] = {}
        self.down: dict[tuple[str, str], Span] = {}
        self.reached: dict[int, float] = {}  # by handler: when its last effect was done
        self.readers: dict[str, Callable[[LogEntry], None] | None] = {
            **dict.fromkeys(_UNSEEN),
            **dict.fromkeys(_ARRIVALS, self._arrival),
            **dict.fromkeys(_WORK, self._work),
            **dict.fromkeys(_MARKS, self._mark),
            **dict.fromkeys(_OF_STORE, self._of_store),
            "arrive": self._arrive,
            "reply": self._reply,
            "send": self._send,
            "drop": self._drop,
            "publish": self._publish,
            "confirm": self._confirm,
            "redeliver": self._redeliver,
            "append": self._append,
            "crash": self._crash,
            "restart": self._restart,
            "fault": self._fault,
            "unfinished": self._unfinished,
        }

    def read(self, trace: Iterable[LogEntry]) -> list[Span]:
        """Read the whole log."""
        last: float | None = None
        for entry in trace:
            reader = self.readers[kind_of(entry)]
            if reader is not None:
                reader(entry)
            last = entry.time
        for span in (*self.doubts.values(), *self.down.values()):
            span.end = max(span.start, last if last is not None else span.start)
            span.attributes["simtx.open"] = True
        for span in self.spans:
            if span.kind == "message" and not span.received and not span.error:
                span.error = "never arrived"
            root = self.roots[span.tx]
            if "simtx.answer" not in root.attributes:  # nobody was told anything: until the last effect
                root.end = max(root.end, span.end)
        for root in self.roots.values():
            if root.tx != RUN and "simtx.answer" not in root.attributes:
                root.error = "no answer"
        return self.spans

    def _add(self, span: Span) -> Span:
        self.spans.append(span)
        return span

    def _new(self, kind: Kind, entry: LogEntry, name: str, parent: Span) -> Span:
        """A span that begins with an entry about a message or an event, and ends with it as long as no more is known."""
        at = (max(entry.tx, RUN), entry.node, name, entry.time, entry.time)
        return self._add(Span(kind, entry.id, *at, parent, peer=entry.peer, subject=entry.name))

    def _cause(self, entry: LogEntry) -> Span | None:
        """The span that caused an entry, if it is known."""
        return self.by_entry.get(entry.cause) if entry.cause is not None else None

    # --- roots --------------------------------------------------------------------------------------------------------------------

    def _root(self, entry: LogEntry) -> Span:
        """The root of the trace that an entry belongs to; it is made when it is first needed."""
        tx = max(entry.tx, RUN)
        root = self.roots.get(tx)
        if root is None:
            if tx == RUN:
                root = Span("run", entry.id, RUN, "run", "run", entry.time, entry.time)
            else:
                root = Span("transaction", entry.id, tx, CLIENT, f"transaction {tx}", entry.time, entry.time)
            self.roots[tx] = self._add(root)
        return root

    def _arrive(self, entry: LogEntry) -> None:
        root = self._root(entry)
        root.peer = entry.peer
        self.by_entry[entry.id] = root

    def _reply(self, entry: LogEntry) -> None:
        root = self._root(entry)
        self._answered(root, entry)
        root.end = entry.time

    def _answered(self, root: Span, entry: LogEntry) -> None:
        if "simtx.answer" not in root.attributes:
            root.attributes["simtx.answer"] = entry.name
            root.end = max(root.end, entry.time)
            root.succeeded = entry.name != "aborted"
            root.error = "" if root.succeeded else (entry.detail or "aborted")

    def _unfinished(self, entry: LogEntry) -> None:
        self._root(entry).attributes["simtx.unfinished"] = entry.name

    # --- handlers -----------------------------------------------------------------------------------------------------------------

    def _arrival(self, entry: LogEntry) -> None:
        sender = self._cause(entry)
        name = entry.kind if entry.kind == "recover" else f"{entry.kind} {entry.name}"
        self.by_entry[entry.id] = span = self._new("handler", entry, name, sender or self._root(entry))
        span.attributes["simtx.event"] = entry.kind
        self.reached[entry.id] = entry.time
        if sender is not None and sender.kind == "message":
            sender.received += 1
            if sender.received == 1:
                sender.end = entry.time
                sender.error = ""
            else:
                sender.attributes["simtx.copies"] = sender.received
        elif sender is not None and sender.kind == "publication":
            sender.attributes["messaging.destination.name"] = entry.node

    def _handler(self, entry: LogEntry) -> Span:
        """The handler that an effect belongs to."""
        cause = self._cause(entry)
        if cause is None:
            key = (entry.node, entry.tx)
            cause = self.recovered.get(key)
            if cause is None:
                root = self._root(entry)
                name = "recover" if entry.tx >= 0 else entry.actor
                cause = Span("handler", entry.id, max(entry.tx, RUN), entry.node, name, entry.time, entry.time, root)
                cause.attributes["simtx.event"] = name
                self.recovered[key] = self._add(cause)
                self.reached[cause.entry] = entry.time
        cause.end = max(cause.end, entry.time)
        return cause

    def _mark(self, entry: LogEntry) -> None:
        handler = self._handler(entry)
        handler.mark(entry.time, entry.kind, name=entry.name, detail=entry.detail, peer=entry.peer)
        self.reached[handler.entry] = entry.time
        if entry.tx == RUN:
            return
        root = self._root(entry)
        if entry.kind == "answer":
            self._answered(root, entry)
        elif entry.kind == "decided":
            root.attributes.setdefault("simtx.outcome", entry.name)
        elif entry.kind == "alert" and Stuck.read(entry).stuck:
            handler.error = entry.name

    # --- messages -----------------------------------------------------------------------------------------------------------------

    def _send(self, entry: LogEntry) -> None:
        handler = self._handler(entry)
        self.by_entry[entry.id] = self._new("message", entry, f"send {entry.name}", handler)
        self.reached[handler.entry] = entry.time

    def _drop(self, entry: LogEntry) -> None:
        span = self._cause(entry)
        if span is None or span.kind not in ("message", "publication", "transaction"):
            return
        reason = f"{entry.peer} was down" if Dropped.read(entry).down else "lost on the network"
        span.mark(entry.time, "drop", reason=reason)
        if span.kind == "message" and not span.received:
            span.error = reason

    def _publish(self, entry: LogEntry) -> None:
        parent = self._root(entry) if entry.cause is None else self._handler(entry)
        self.by_entry[entry.id] = span = self._new("publication", entry, f"publish {entry.name}", parent)
        span.attributes["simtx.role"] = entry.actor
        if parent.kind == "handler":
            self.reached[parent.entry] = entry.time

    def _confirm(self, entry: LogEntry) -> None:
        span = self._cause(entry)
        if span is not None:
            span.end = max(span.end, entry.time)
            span.succeeded = True

    def _redeliver(self, entry: LogEntry) -> None:
        span = self._cause(entry)
        if span is not None:
            self._new("redelivery", entry, f"redeliver {entry.name}", span)

    # --- stores and logs ------------------------------------------------------------------------------------------------------------

    def _span_of(self, entry: LogEntry, kind: Kind, subject: str) -> Span:
        """The span of something that takes time, since the last effect of the same handler."""
        handler = self._handler(entry)
        start = min(self.reached.get(handler.entry, handler.start), entry.time)
        name = entry.kind if subject in ("", entry.kind) else f"{entry.kind} {subject}"
        span = Span(kind, entry.id, max(entry.tx, RUN), entry.node, name, start, entry.time, handler, subject=subject)
        self.reached[handler.entry] = entry.time
        return self._add(span)

    def _append(self, entry: LogEntry) -> None:
        span = self._span_of(entry, "log", entry.name)
        span.attributes["simtx.durability"] = Durability.read(entry).text()

    def _work(self, entry: LogEntry) -> None:
        span = self._span_of(entry, "store", entry.name)
        key = (entry.node, entry.tx)
        span.marks = self.begun.pop(key, [])
        self.current[key] = span
        if entry.kind in ("commit", "rollback"):
            span.attributes["simtx.durability"] = BranchEnded.read(entry).durability
            doubt = self.doubts.pop(key, None)
            if doubt is not None:
                doubt.end = max(doubt.start, span.start)  # the decision is known there, and on its way to the disk
                doubt.attributes["simtx.outcome"] = entry.kind
            return
        worked = Worked.read(entry)
        status = worked.status
        span.attributes["simtx.durability"] = Durability(worked.forced).text()
        span.attributes["simtx.phase"] = worked.phase
        span.attributes["simtx.status"] = status
        if status in ("refused", "failed"):
            span.error = status
        if entry.kind == "prepare" and status == "done":
            span = Span("in-doubt", entry.id, entry.tx, entry.node, "in doubt", entry.time, entry.time, span.parent)
            self.doubts[key] = self._add(span)

    def _of_store(self, entry: LogEntry) -> None:
        """Add what a store has done for a transaction: an event of its local transaction, which ends at the same time, or has ended."""
        key = (entry.node, entry.tx)
        if entry.kind in ("free", "unlock"):
            span = self.current.get(key)
            if entry.kind == "unlock":
                unlocked = Mark(entry.time, "unlock", {"name": entry.name})
                over = (
                    span is None or span.end < entry.time
                )  # then it is the rollback that lets go, and its entry comes next
                (self.begun.setdefault(key, []) if span is None or over else span.marks).append(unlocked)
            return
        mark = Mark(entry.time, entry.kind, _about(entry))
        span = self.current.get(key)
        if span is not None and span.end == entry.time and entry.kind != "serve":
            span.marks.append(mark)
        else:
            self.begun.setdefault(key, []).append(mark)

    # --- the run ------------------------------------------------------------------------------------------------------------------

    def _crash(self, entry: LogEntry) -> None:
        what = Process.read(entry).name or entry.node
        span = Span("down", entry.id, RUN, entry.node, f"{what} down", entry.time, entry.time, self._root(entry))
        self.down[entry.node, what] = self._add(span)
        for key in [key for key in (*self.recovered, *self.begun) if key[0] == entry.node]:
            self.recovered.pop(key, None)
            self.begun.pop(key, None)

    def _restart(self, entry: LogEntry) -> None:
        span = self.down.pop((entry.node, Process.read(entry).name or entry.node), None)
        if span is not None:
            span.end = entry.time

    def _fault(self, entry: LogEntry) -> None:
        self._root(entry).mark(entry.time, f"fault: {entry.name}", node=entry.node)


def _about(entry: LogEntry) -> dict[str, Value]:
    """Attributes of a span, from the entry of a store."""
    if entry.kind == "apply":
        applied = Applied.read(entry)
        keys = ", ".join(f"{key}: {old:g} to {new:g}" for key, (old, new) in applied.values.items())
        steps = ", ".join(str(step) for step in applied.steps)
        return {"phase": entry.name, "steps": steps, "values": keys}
    if entry.kind == "query":
        reads = ", ".join(f"{read[0]}: {read[1]:g}" for read in Applied.read(entry).reads or ())
        return {"phase": entry.name, "reads": reads}
    if entry.kind == "wait":
        return {"end": entry.name, "seconds": Seconds.read(entry).seconds}
    return {name: value for name, value in (("name", entry.name), ("detail", entry.detail)) if value}
