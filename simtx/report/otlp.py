"""Spans as OpenTelemetry data: JSON by the protobuf mapping of OTLP, which Jaeger, the OpenTelemetry Collector and others read.

The mapping is that of the OTLP specification: ids in hexadecimal, times in nanoseconds and integers as text, enumerations as numbers,
field names in lower camel case. Attributes have the names of the semantic conventions (``service.name``, ``messaging.*``, ``db.*``,
``server.address``) where these have one, and the prefix ``simtx.`` elsewhere.

A run has no calendar. Its zero is now, where tracing tools look first, unless another time is given: with the same one, the same log gives
the same file.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from simtx.arguments import checked, number, optional
from simtx.event_log.log import LogEntry
from simtx.metrics.plain import plain
from simtx.report.spans import Span, Value, spans_of
from simtx.scenario.provenance import version

INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER = 1, 2, 3, 4, 5  # SpanKind of opentelemetry.proto.trace.v1
UNSET, OK, ERROR = 0, 1, 2  # Status.StatusCode

_KINDS: Final = {
    "transaction": CLIENT,
    "message": PRODUCER,
    "publication": PRODUCER,
    "redelivery": PRODUCER,
    "store": CLIENT,
}
_SENT: Final = {"publication": "publish", "redelivery": "redeliver"}
_OF_EVENTS: Final = {"request": SERVER, "receive": CONSUMER, "deliver": CONSUMER}


@checked(start=optional(number(above=0, zero=True), "None for now"))
def to_otlp(trace: Iterable[LogEntry], *, start: float | None = None) -> dict[str, Any]:
    """An event log as OTLP JSON: a ``TracesData`` message, one trace a business transaction.

    Args:
        trace: The log of a run, or of one transaction.
        start: Unix time of the run's zero, in seconds; None: now.

    Raises:
        ScenarioError: `start` is no such time.
    """
    zero = time.time() if start is None else start
    entries = list(trace)
    spans = spans_of(entries)
    ids = _Ids(entries)
    nodes: dict[str, list[Span]] = {}
    for span in spans:
        nodes.setdefault(span.node, []).append(span)
    return {
        "resourceSpans": [
            {
                "resource": {
                    "attributes": _attributes({"service.name": node, "service.namespace": "simtx"}),
                },
                "scopeSpans": [
                    {
                        "scope": {"name": "simtx", "version": version()},
                        "spans": [_span(span, ids, zero) for span in of_node],
                    }
                ],
            }
            for node, of_node in nodes.items()
        ]
    }


def save_otlp(trace: Iterable[LogEntry], path: str | Path, *, start: float | None = None) -> Path:
    """Write an event log as OTLP JSON; returns the path. Arguments as of `to_otlp`.

    Raises:
        OSError: The file cannot be written.
    """
    path = Path(path)
    with path.open("w", encoding="utf-8") as file:
        json.dump(to_otlp(trace, start=start), file, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return path


class _Ids:
    """Ids of traces and spans: the same for the same log, different for different logs."""

    def __init__(self, entries: list[LogEntry]) -> None:
        digest = hashlib.blake2b(digest_size=16)
        for entry in entries:
            digest.update(f"{entry.time!r} {entry.kind} {entry.node} {entry.tx} {entry.name}\n".encode())
        self._key = digest.digest()

    def trace(self, span: Span) -> str:
        return self._hash(16, f"trace {span.tx}")

    def span(self, span: Span) -> str:
        return self._hash(8, f"span {span.kind} {span.entry}")

    def _hash(self, size: int, text: str) -> str:
        return hashlib.blake2b(text.encode(), digest_size=size, key=self._key).hexdigest()


def _span(span: Span, ids: _Ids, start: float) -> dict[str, Any]:
    event = str(span.attributes.get("simtx.event", ""))
    coded: dict[str, Any] = {
        "traceId": ids.trace(span),
        "spanId": ids.span(span),
        "name": span.name,
        "kind": _KINDS.get(span.kind, _OF_EVENTS.get(event, INTERNAL)),
        "startTimeUnixNano": _nanoseconds(start, span.start),
        "endTimeUnixNano": _nanoseconds(start, span.end),
        "attributes": _attributes(_described(span, event)),
        "status": _status(span),
    }
    parent = span.parent
    if parent is not None and parent.tx == span.tx:
        coded["parentSpanId"] = ids.span(parent)
    elif parent is not None:
        coded["links"] = [{"traceId": ids.trace(parent), "spanId": ids.span(parent)}]
    if span.marks:
        coded["events"] = [
            {
                "timeUnixNano": _nanoseconds(start, mark.time),
                "name": mark.name,
                "attributes": _attributes({f"simtx.{name}": value for name, value in mark.attributes.items()}),
            }
            for mark in span.marks
        ]
    return coded


def _described(span: Span, event: str) -> dict[str, Value]:
    """The attributes of a span, by the names of the semantic conventions where they have one."""
    found: dict[str, Value] = {"simtx.span": span.kind, "simtx.entry": span.entry}
    if span.tx >= 0:
        found["simtx.transaction"] = span.tx
    if span.kind in ("message", "publication", "redelivery") or event in ("receive", "deliver"):
        found["messaging.system"] = "simtx"
        found["messaging.operation.type"] = "process" if event else "send"
        found["messaging.operation.name"] = event or _SENT.get(span.kind, "send")
        found["messaging.destination.name"] = span.node if event else span.peer
        found["simtx.message"] = span.subject
    elif span.kind == "store":
        found["db.system.name"] = "other_sql"
        found["db.namespace"] = span.node
        found["db.operation.name"] = span.name.split(maxsplit=1)[0]
    elif span.kind == "log":
        found["simtx.record"] = span.subject
    if span.peer and span.kind in ("message", "transaction"):
        found["server.address"] = span.peer
    found.update(span.attributes)
    if span.error:
        found["error.type"] = span.error if span.kind == "store" else span.kind
    return found


def _status(span: Span) -> dict[str, Any]:
    if span.error:
        return {"code": ERROR, "message": span.error}
    return {"code": OK if span.succeeded else UNSET}


def _nanoseconds(start: float, seconds: float) -> str:
    """Nanoseconds as text; the parts are added as integers, for a double has no room for them together."""
    return str(int(start // 1) * 10**9 + round(start % 1 * 1e9) + round(seconds * 1e9))


def _attributes(values: dict[str, Value]) -> list[dict[str, Any]]:
    return [{"key": name, "value": _value(value)} for name, value in values.items()]


def _value(value: Value) -> dict[str, Any]:
    """A value as ``AnyValue``."""
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        # what is no number of JSON is a text in the mapping
        return {"doubleValue": value if math.isfinite(value) else "NaN" if math.isnan(value) else plain(value)}
    return {"stringValue": value}
