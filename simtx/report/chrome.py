"""Spans in the trace event format of Chrome, for ``chrome://tracing`` and https://ui.perfetto.dev.

One process for each node, with as many rows ("threads") as it needs so that slices on a row nest and never overlap otherwise: handlers,
with local transactions and log writes inside them. Messages are flow arrows from slice to slice; branches in doubt are asynchronous
slices; decisions, answers, lost messages and crashes are instants. Times are in microseconds since the start of the run.

The format is that of "Trace Event Format" (Google, 2016): complete events ``X``, instants ``i``, flows ``s`` and ``f`` (bound to the
enclosing slice), asynchronous ``b`` and ``e``, metadata ``M``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from simtx.event_log.log import LogEntry
from simtx.metrics.plain import plain
from simtx.protocols.names import CLIENT
from simtx.report.spans import Mark, Span, Value, spans_of

LEAST: Final = 0.5
"""Length of a slice that takes no time, in microseconds: without any it could not be seen, nor hold the end of an arrow."""

_SHOWN: Final = frozenset({"decided", "answer", "alert", "lost", "reject", "drop"})
_BACK: Final = "node"  # row of what concerns the node itself


def to_chrome(trace: Iterable[LogEntry]) -> dict[str, Any]:
    """An event log as a JSON object of Chrome's trace event format.

    Args:
        trace: The log of a run, or of one transaction.
    """
    document: dict[str, Any] = plain(_Writer(spans_of(trace)).write())
    return document


def save_chrome(trace: Iterable[LogEntry], path: str | Path) -> Path:
    """Write an event log in Chrome's trace event format; returns the path.

    Raises:
        OSError: The file cannot be written.
    """
    path = Path(path)
    with path.open("w", encoding="utf-8") as file:
        json.dump(to_chrome(trace), file, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return path


class _Writer:
    """Places spans on rows and writes their events."""

    def __init__(self, spans: list[Span]) -> None:
        self.spans = spans
        self.events: list[dict[str, Any]] = []
        self.pids: dict[str, int] = {}
        self.rows: dict[str, list[float]] = {}  # by node: when each row is free again
        self.last: dict[tuple[str, int], int] = {}  # by node and transaction: the row it was on
        self.places: dict[int, tuple[int, int, float, float]] = {}  # by span: process, row, begin and end of its slice

    def write(self) -> dict[str, Any]:
        """All events, metadata first."""
        for node in sorted({span.node for span in self.spans}, key=self._rank):
            self.pids[node] = len(self.pids) + 1
        for span in sorted(self.spans, key=lambda span: span.start):
            if self._is_slice(span):
                self._place(span)
        for span in self.spans:
            self._events_of(span)
        return {
            "traceEvents": [*self._metadata(), *sorted(self.events, key=lambda event: event["ts"])],
            "displayTimeUnit": "ms",
            "otherData": {"source": "simtx"},
        }

    def _rank(self, node: str) -> tuple[bool, float, str]:
        """The run and the client first, then the nodes in the order in which they come into play."""
        first = min(span.start for span in self.spans if span.node == node)
        return (node not in ("run", CLIENT), first, node)

    @staticmethod
    def _is_slice(span: Span) -> bool:
        """Return whether a span has a row to itself; what is inside a handler is drawn on the row of that."""
        inside = span.parent is not None and span.parent.kind == "handler" and span.parent.node == span.node
        return span.kind in ("transaction", "handler", "down") or (span.kind == "publication" and not inside)

    def _place(self, span: Span) -> None:
        begin = span.start * 1e6
        end = max(span.end * 1e6, begin + LEAST)
        if span.kind == "down":
            self.places[id(span)] = (self.pids[span.node], 0, begin, end)
            return
        rows = self.rows.setdefault(span.node, [])
        key = (span.node, span.tx)
        row = self.last.get(key, -1)
        if row < 0 or rows[row] > begin:
            row = next((number for number, free in enumerate(rows) if free <= begin), len(rows))
            if row == len(rows):
                rows.append(0.0)
        rows[row] = end
        self.last[key] = row
        self.places[id(span)] = (self.pids[span.node], row + 1, begin, end)

    # --- events -------------------------------------------------------------------------------------------------------------------

    def _events_of(self, span: Span) -> None:
        place = self.places.get(id(span))
        if place is not None:
            self._slice(span, *place)
            self._marks(span, *place)
        elif span.kind in ("store", "log", "publication") and span.parent is not None:
            self._inside(span, span.parent)
        elif span.kind == "in-doubt":
            self._doubt(span)
        elif span.kind == "redelivery":  # of the broker, at its own time: what was published has long been confirmed
            words: dict[str, Value] = {"name": span.subject, "transaction": span.tx, "to": span.peer}
            self._instant(Mark(span.start, "redeliver", words), self.pids[span.node], 0, span.start * 1e6)
        if span.kind == "message":
            self._lost(span)
        elif span.kind == "handler" and span.parent is not None:
            self._arrow(span, span.parent)

    def _slice(self, span: Span, pid: int, row: int, begin: float, end: float) -> None:
        arguments: dict[str, Any] = {name.removeprefix("simtx."): value for name, value in span.attributes.items()}
        if span.tx >= 0:
            arguments["transaction"] = span.tx
        if span.error:
            arguments["error"] = span.error
        name = span.name if span.tx < 0 or span.kind == "transaction" else f"{span.name} ({span.tx})"
        self.events.append(
            {
                "ph": "X",
                "name": name,
                "cat": span.kind,
                "pid": pid,
                "tid": row,
                "ts": begin,
                "dur": end - begin,
                "args": arguments,
            }
        )

    def _inside(self, span: Span, handler: Span) -> None:
        """A slice inside that of its handler."""
        place = self.places.get(id(handler))
        if place is None:
            return
        pid, row, first, last = place
        begin = min(max(span.start * 1e6, first), last)
        end = min(max(span.end * 1e6, begin), last)
        self._slice(span, pid, row, begin, end)
        self._marks(span, pid, row, begin, end)

    def _marks(self, span: Span, pid: int, row: int, begin: float, end: float) -> None:
        for mark in span.marks:
            if mark.name in _SHOWN or span.kind == "run":
                self._instant(mark, pid, row, min(max(mark.time * 1e6, begin), end))
        if span.kind == "down":
            self._instant(Mark(span.start, "crash", {}), pid, row, begin, scope="p")

    def _instant(self, mark: Mark, pid: int, row: int, time: float, scope: str = "t") -> None:
        words = (mark.name, str(mark.attributes.get("name", "")))
        self.events.append(
            {
                "ph": "i",
                "name": " ".join(word for word in words if word),
                "cat": "mark",
                "pid": pid,
                "tid": row,
                "ts": time,
                "s": scope,
                "args": dict(mark.attributes),
            }
        )

    def _doubt(self, span: Span) -> None:
        """A branch in doubt: it lasts longer than the handler that has prepared it."""
        common = {
            "name": f"in doubt ({span.tx})",
            "cat": "in-doubt",
            "id": span.entry,
            "pid": self.pids[span.node],
            "tid": 0,
        }
        self.events.append({"ph": "b", "ts": span.start * 1e6, "args": {"transaction": span.tx}, **common})
        self.events.append({"ph": "e", "ts": span.end * 1e6, "args": {}, **common})

    # --- arrows -------------------------------------------------------------------------------------------------------------------

    def _source(self, span: Span) -> tuple[int, int, float] | None:
        """Place on a slice at which a message leaves."""
        holder: Span | None = span
        while holder is not None and id(holder) not in self.places:
            holder = holder.parent
        if holder is None:
            return None
        pid, row, begin, end = self.places[id(holder)]
        return (
            pid,
            row,
            min(max(span.start * 1e6, begin), end - LEAST / 2),
        )  # inside: where a slice ends another may begin

    def _arrow(self, handler: Span, message: Span) -> None:
        """Draw what made a handler start: an arrow from the slice that sent it."""
        if message.kind not in ("message", "publication", "transaction") or id(handler) not in self.places:
            return
        source = self._source(message)
        if source is None or (message.kind == "transaction" and handler.attributes.get("simtx.event") != "request"):
            return
        pid, row, left = source
        to_pid, to_row, begin, _ = self.places[id(handler)]
        common = {"name": message.subject or "request", "cat": message.kind, "id": handler.entry}
        self.events.append({"ph": "s", "pid": pid, "tid": row, "ts": min(left, begin), **common})
        self.events.append({"ph": "f", "bp": "e", "pid": to_pid, "tid": to_row, "ts": begin, **common})

    def _lost(self, span: Span) -> None:
        """A message that never arrived is an instant where it left."""
        source = self._source(span)
        if span.error and source is not None:
            pid, row, left = source
            words = {"to": span.peer, "reason": span.error}
            self._instant(Mark(span.start, f"lost: {span.subject}", dict(words)), pid, row, left)

    def _metadata(self) -> Iterable[dict[str, Any]]:
        for node, pid in self.pids.items():
            yield {"ph": "M", "name": "process_name", "pid": pid, "tid": 0, "args": {"name": node}}
            yield {"ph": "M", "name": "process_sort_index", "pid": pid, "tid": 0, "args": {"sort_index": pid}}
            yield {"ph": "M", "name": "thread_name", "pid": pid, "tid": 0, "args": {"name": _BACK}}
            for row in range(len(self.rows.get(node, []))):
                name = {"name": f"row {row + 1}"}
                yield {"ph": "M", "name": "thread_name", "pid": pid, "tid": row + 1, "args": name}
