"""An event log as spans: right times and causes, valid OTLP by the protocol's own schema, valid trace events of Chrome."""

from __future__ import annotations

import base64
import json
import math
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

import simtx
from simtx.errors import ScenarioError
from simtx.metrics.run import Run
from simtx.protocols import Strategy, TwoPhaseCommit
from simtx.report import otlp
from simtx.report.chrome import LEAST, to_chrome
from simtx.report.otlp import to_otlp
from simtx.report.spans import RUN, Span, spans_of

ROOT = str(Path(__file__).parents[2])
if ROOT not in sys.path:
    sys.path.append(ROOT)

from tests.simulator.test_faults import FAULTS, world  # noqa: E402
from tests.simulator.worlds import STRATEGIES, chain  # noqa: E402

DELAY, WRITE = 0.001, 0.002
EPOCH = 946_684_800.0
TROUBLE = [FAULTS[name] for name in ("crash of a service", "crash of the hub", "duplication", "loss")]


@pytest.fixture(scope="module", params=[*STRATEGIES, TwoPhaseCommit(work="before")], ids=str)
def troubled(request: pytest.FixtureRequest) -> Run:
    """Crashes, losses and copies; in a full log, which real runs write."""
    strategy: Strategy = request.param
    return simtx.simulate(world(TROUBLE, transactions=40), strategy, seed=17, trace="full")


@pytest.fixture(scope="module")
def quiet() -> list[Span]:
    """One committed transaction of two services under two-phase commit; delays of 1 ms, forced writes of 2 ms."""
    run = simtx.simulate(chain(2, delay=DELAY, write=WRITE, transactions=1), "2pc", trace=True)
    return spans_of(run.trace)


def of(spans: list[Span], kind: str, name: str = "") -> list[Span]:
    return [span for span in spans if span.kind == kind and (not name or span.name == name)]


def milliseconds(span: Span) -> tuple[float, float]:
    root = span
    while root.parent is not None:
        root = root.parent
    return pytest.approx((1e3 * (span.start - root.start), 1e3 * (span.end - root.start)))  # type: ignore[return-value]


# --- spans ----------------------------------------------------------------------------------------------------------------------


def test_the_root_lasts_from_the_request_to_the_answer(quiet: list[Span]) -> None:
    """Two delays and two forced writes."""
    (root,) = of(quiet, "transaction")
    assert (root.parent, root.node, root.tx) == (None, "client", 0)
    assert milliseconds(root) == (0.0, 2 * 1 + 2 * 2)
    assert root.attributes == {"simtx.outcome": "committed", "simtx.answer": "committed"}
    assert root.succeeded
    assert not root.error


def test_messages_last_as_long_as_they_are_under_way(quiet: list[Span]) -> None:
    """And what they cause begins when they arrive."""
    prepare, yes, commit, ack = (of(quiet, "message", f"send {kind}") for kind in ("prepare", "yes", "commit", "ack"))
    assert [len(kind) for kind in (prepare, yes, commit, ack)] == [2, 2, 2, 2]
    for spans, start in ((prepare, 0), (yes, 3), (commit, 6), (ack, 9)):
        assert all((start, start + 1) == milliseconds(span) for span in spans)
    for handler in of(quiet, "handler", "receive yes"):
        assert handler.parent in yes
        assert handler.parent.end == handler.start
        assert handler.node == handler.parent.peer == "coordinator"


def test_writes_and_doubt_last_as_long_as_they_do(quiet: list[Span]) -> None:
    """A branch is in doubt from the end of its prepare until the decision arrives."""
    assert all(milliseconds(span) == (1, 3) for span in of(quiet, "store", "prepare prepared"))
    (decision,) = of(quiet, "log", "append commit")
    assert milliseconds(decision) == (4, 6)
    assert decision.attributes["simtx.durability"] == "forced"
    assert all(milliseconds(span) == (7, 9) for span in of(quiet, "store", "commit"))
    assert all(milliseconds(span) == (3, 7) for span in of(quiet, "in-doubt"))
    assert len(of(quiet, "in-doubt")) == 2


def test_what_happens_meanwhile_is_marked(quiet: list[Span]) -> None:
    """The decision and the answer on the handler that made them; changed values on the commit."""
    decided = [span for span in quiet if any(mark.name == "decided" for mark in span.marks)]
    assert [(span.node, span.name) for span in decided] == [("coordinator", "receive yes")]
    assert [mark.name for mark in decided[0].marks] == ["decided", "answer"]
    changed = [mark for span in of(quiet, "store", "commit") for mark in span.marks if mark.name == "apply"]
    assert [mark.attributes["values"] for mark in changed] == ["k: 0 to 1", "k: 0 to 1"]


def test_durations_agree_with_what_was_measured(troubled: Run) -> None:
    """Messages, local transactions and log writes are as many, and branches as long in doubt, as the run has counted."""
    spans = spans_of(troubled.trace)
    table = troubled.transactions.set_index("tx")
    sent = Counter(span.tx for span in of(spans, "message"))
    published = Counter(span.tx for span in of(spans, "publication"))
    doubt: Counter[int] = Counter()
    for span in of(spans, "in-doubt"):
        doubt[span.tx] += span.end - span.start  # type: ignore[assignment]
    for tx, row in table.iterrows():
        assert sent[tx] == row.messages
        assert published[tx] == row.broker_messages
        assert 1e3 * doubt[tx] == pytest.approx(row.in_doubt_ms, abs=1e-6)
    roots = {span.tx: span for span in of(spans, "transaction")}
    answered = table[table.latency_ms.notna()]
    for tx, row in answered.iterrows():
        assert 1e3 * (roots[tx].end - roots[tx].start) == pytest.approx(row.latency_ms)
    assert {tx for tx, root in roots.items() if root.error == "no answer"} == set(table.index) - set(answered.index)


def test_what_is_lost_doubled_and_down_is_shown(troubled: Run) -> None:
    """Lost messages are errors that say why; copies are counted; a node that is down is a span of the run."""
    spans, log = spans_of(troubled.trace), list(troubled.trace)
    received = Counter(entry.cause for entry in log if entry.kind == "receive")
    for span in of(spans, "message"):
        assert span.received == received[span.entry]
        dropped = any(entry.kind == "drop" and entry.cause == span.entry for entry in log)
        assert bool(span.error) == (dropped and not span.received)
    down = of(spans, "down")
    assert len(down) == sum(entry.kind == "crash" for entry in log) > 0
    restarts = sorted(entry.time for entry in log if entry.kind == "restart")
    assert sorted(span.end for span in down) == restarts
    assert all(span.tx == RUN and span.parent is not None and span.parent.kind == "run" for span in down)


def test_a_cause_comes_before_its_effects(troubled: Run) -> None:
    """In time and in the list; and the spans of a transaction are one tree."""
    spans = spans_of(troubled.trace)
    before: set[int] = set()
    for span in spans:
        assert span.start <= span.end
        if span.parent is None:
            assert span.kind in ("transaction", "run")
        else:
            assert id(span.parent) in before
            assert span.parent.start <= span.start
            assert span.parent.tx == span.tx
        before.add(id(span))
    assert len({(span.kind, span.entry) for span in spans}) == len(spans)


def test_one_transaction_alone_gives_its_own_spans(troubled: Run) -> None:
    """The log of one transaction leads to the same spans as the whole log."""
    tx = troubled.trace.transactions[-1]
    whole = [(s.kind, s.entry, s.start, s.end, s.name) for s in spans_of(troubled.trace) if s.tx == tx]
    alone = [(s.kind, s.entry, s.start, s.end, s.name) for s in spans_of(troubled.trace.of(tx)) if s.tx == tx]
    assert alone == whole


def test_a_usual_log_gives_the_spans_of_a_full_one() -> None:
    """But for the causes of what a recovery leads to, which only a full log knows."""
    scenario = world([FAULTS["loss"]], transactions=20)
    for strategy in STRATEGIES:
        full, usual = (simtx.simulate(scenario, strategy, trace=how) for how in ("full", True))
        assert [(s.kind, s.start, s.end, s.node, s.name) for s in spans_of(full.trace)] == [
            (s.kind, s.start, s.end, s.node, s.name) for s in spans_of(usual.trace)
        ]


def test_a_refused_transaction_is_an_error_with_its_reason() -> None:
    """On the client's span, and on the local transaction that was refused."""
    spans = spans_of(simtx.simulate(chain(2, transactions=1, refusing=[1]), "saga", trace=True).trace)
    (root,) = of(spans, "transaction")
    assert root.error == "step 'step1' was refused"
    assert [span.error for span in of(spans, "store")] == ["", "refused", ""]


# --- OpenTelemetry --------------------------------------------------------------------------------------------------------------


def parsed(document: dict[str, Any]) -> trace_pb2.TracesData:
    """The document as the protocol's own schema reads it; ids are hexadecimal in OTLP, where protobuf's JSON has base64."""
    text = json.loads(json.dumps(document))
    for resource in text["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                for holder in (span, *span.get("links", [])):
                    for name in ("traceId", "spanId", "parentSpanId"):
                        if name in holder:
                            holder[name] = base64.b64encode(bytes.fromhex(holder[name])).decode()
    return json_format.ParseDict(text, trace_pb2.TracesData())


@pytest.mark.sample(3)
def test_otlp_is_valid_by_the_schema_of_the_protocol(troubled: Run) -> None:
    """Every field is known there; ids have their lengths; every parent is a span of the same trace."""
    data = parsed(to_otlp(troubled.trace, start=EPOCH))
    spans = [span for r in data.resource_spans for scope in r.scope_spans for span in scope.spans]
    assert len(spans) == len(spans_of(troubled.trace))
    assert len({span.span_id for span in spans}) == len(spans)
    known = {(span.trace_id, span.span_id): span for span in spans}
    for span in spans:
        assert (len(span.trace_id), len(span.span_id)) == (16, 8)
        assert EPOCH * 1e9 <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.kind != trace_pb2.Span.SPAN_KIND_UNSPECIFIED
        if span.parent_span_id:
            assert known[span.trace_id, span.parent_span_id].start_time_unix_nano <= span.start_time_unix_nano
        for event in span.events:
            assert span.start_time_unix_nano <= event.time_unix_nano <= span.end_time_unix_nano
    roots = [span for span in spans if not span.parent_span_id]
    assert len({span.trace_id for span in roots}) == len(roots) == len({span.trace_id for span in spans})
    services = [
        {a.key: a.value.string_value for a in r.resource.attributes}["service.name"] for r in data.resource_spans
    ]
    assert len(set(services)) == len(services)
    assert {entry.node for entry in troubled.trace if entry.kind == "receive" or entry.kind == "deliver"} <= set(
        services
    )


def test_otlp_follows_the_mapping_to_json() -> None:
    """Times and integers as text, enumerations as numbers, ids in lower-case hexadecimal; names of the semantic conventions."""
    run = simtx.simulate(chain(2, delay=DELAY, write=WRITE, transactions=1), "2pc", trace=True)
    document = to_otlp(run.trace, start=1_700_000_000.5)
    resources = {r["resource"]["attributes"][0]["value"]["stringValue"]: r for r in document["resourceSpans"]}
    assert set(resources) == {"client", "coordinator", "s0", "s1"}
    assert resources["s0"]["resource"]["attributes"][0]["key"] == "service.name"
    (root,) = resources["client"]["scopeSpans"][0]["spans"]
    arrival = round(run.trace[0].time * 1e9) if run.trace[0].kind == "arrive" else 10**9
    assert root["startTimeUnixNano"] == str(1_700_000_000_500_000_000 + arrival)
    assert int(root["endTimeUnixNano"]) - int(root["startTimeUnixNano"]) == 6_000_000
    assert (root["kind"], root["status"]) == (3, {"code": 1})
    assert "parentSpanId" not in root
    assert root["traceId"] == root["traceId"].lower()
    sends = [s for s in resources["coordinator"]["scopeSpans"][0]["spans"] if s["name"] == "send prepare"]
    attributes = {a["key"]: a["value"] for a in sends[0]["attributes"]}
    assert sends[0]["kind"] == 4
    assert attributes["messaging.operation.type"] == {"stringValue": "send"}
    assert attributes["messaging.destination.name"] == {"stringValue": "s0"}
    assert attributes["simtx.transaction"] == {"intValue": "0"}
    commits = [s for s in resources["s0"]["scopeSpans"][0]["spans"] if s["name"] == "commit"]
    attributes = {a["key"]: a["value"] for a in commits[0]["attributes"]}
    assert attributes["db.operation.name"] == {"stringValue": "commit"}
    assert "apply" in [event["name"] for event in commits[0]["events"]]


def test_ids_are_those_of_the_log() -> None:
    """The same log gives the same file; another seed gives other traces, which can lie in one Jaeger beside them."""
    documents = [
        to_otlp(simtx.simulate(world([]), "saga", seed=seed, trace=True).trace, start=EPOCH) for seed in (1, 1, 2)
    ]
    assert documents[0] == documents[1]
    traces = [
        {s["traceId"] for r in document["resourceSpans"] for s in r["scopeSpans"][0]["spans"]} for document in documents
    ]
    assert not traces[0] & traces[2]


def test_a_run_begins_now_unless_told_otherwise() -> None:
    """Tracing tools look at the last hour first."""
    run = simtx.simulate(chain(2, transactions=1), "2pc", trace=True)

    def first(**options: float) -> float:
        document = to_otlp(run.trace, **options)
        spans = [span for r in document["resourceSpans"] for span in r["scopeSpans"][0]["spans"]]
        return min(int(span["startTimeUnixNano"]) for span in spans) / 1e9

    before = time.time()
    zero = first() - (first(start=EPOCH) - EPOCH)
    assert before - 0.01 <= zero <= time.time() + 60
    with pytest.raises(ScenarioError, match="start: must be a number of at least 0, or None for now, not nan"):
        to_otlp(run.trace, start=math.nan)


def test_what_is_no_number_is_the_text_of_the_mapping() -> None:
    """`json_format` of protobuf reads these three texts, and no others."""
    span = Span("store", 1, 0, "s0", "transact", 0.0, 1.0)
    span.attributes = {"a": math.nan, "b": math.inf, "c": -math.inf, "d": 1.5}
    coded = [one["value"]["doubleValue"] for one in otlp._attributes(span.attributes)]
    assert coded == ["NaN", "Infinity", "-Infinity", 1.5]
    for value, expected in zip(coded, (math.nan, math.inf, -math.inf, 1.5), strict=True):
        read = json_format.ParseDict({"doubleValue": value}, common_pb2.AnyValue()).double_value
        assert read == expected or (math.isnan(read) and math.isnan(expected))


def test_a_redelivery_stands_at_its_time() -> None:
    """It may come seconds after the publication was confirmed, and no span has events outside of it."""
    scenario = simtx.load("checkout-outages").replace(
        **{"run.duration": None, "run.transactions": 400, "run.warmup": "0s"}
    )
    run = simtx.simulate(scenario, "outbox", trace=True)
    times = sorted(entry.time for entry in run.trace if entry.kind == "redeliver")
    assert times
    spans = spans_of(run.trace)
    assert all(span.start <= mark.time <= span.end for span in spans for mark in span.marks)
    events = to_chrome(run.trace)["traceEvents"]
    shown = sorted(
        event["ts"] / 1e6 for event in events if event["ph"] == "i" and event["name"].startswith("redeliver")
    )
    assert shown == pytest.approx(times)
    broker = next(e["pid"] for e in events if e["name"] == "process_name" and e["args"]["name"] == "broker")
    assert {e["pid"] for e in events if e["ph"] == "i" and e["name"].startswith("redeliver")} == {broker}


# --- Chrome ---------------------------------------------------------------------------------------------------------------------

NEEDED = {
    "X": {"name", "cat", "pid", "tid", "ts", "dur"},
    "i": {"name", "pid", "tid", "ts", "s"},
    "s": {"name", "cat", "id", "pid", "tid", "ts"},
    "f": {"name", "cat", "id", "pid", "tid", "ts", "bp"},
    "b": {"name", "cat", "id", "pid", "tid", "ts"},
    "e": {"name", "cat", "id", "pid", "tid", "ts"},
    "M": {"name", "pid", "tid", "args"},
}


def test_chrome_events_have_what_their_phase_needs(troubled: Run) -> None:
    """One process a node, all of them named; arrows and asynchronous slices in pairs."""
    document = json.loads(json.dumps(to_chrome(troubled.trace), allow_nan=False))
    events = document["traceEvents"]
    for event in events:
        assert set(event) >= NEEDED[event["ph"]], event
        assert event.get("ts", 0) >= 0
        assert event.get("dur", 0) >= 0
    assert document["displayTimeUnit"] == "ms"
    names = {e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name"}
    assert {e["pid"] for e in events} == set(names)
    assert len(set(names.values())) == len(names)
    rows = {(e["pid"], e["tid"]) for e in events if e["name"] == "thread_name"}
    assert {(e["pid"], e["tid"]) for e in events if e["ph"] in "Xisf"} <= rows
    for first, second in ("sf", "be"):
        starts = {(e["cat"], e["id"]): e for e in events if e["ph"] == first}
        ends = {(e["cat"], e["id"]): e for e in events if e["ph"] == second}
        assert starts.keys() == ends.keys()
        assert all(starts[key]["ts"] <= ends[key]["ts"] for key in starts)
        assert len(starts) == sum(e["ph"] == first for e in events)


def test_slices_of_a_row_nest_and_hold_the_ends_of_arrows(troubled: Run) -> None:
    """A viewer draws what overlaps on one row without nesting wrongly, and drops arrows that end in no slice."""
    events = to_chrome(troubled.trace)["traceEvents"]
    rows: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for event in events:
        if event["ph"] == "X":
            rows.setdefault((event["pid"], event["tid"]), []).append((event["ts"], event["ts"] + event["dur"]))
    slack = 1e-6  # microseconds: sums of doubles
    for slices in rows.values():
        open_until: list[float] = []
        for begin, end in sorted(slices, key=lambda one: (one[0], -one[1])):
            while open_until and open_until[-1] <= begin + slack:
                open_until.pop()
            assert not open_until or end <= open_until[-1] + slack
            open_until.append(end)
    arrows = [event for event in events if event["ph"] in "sf"]
    assert arrows
    for arrow in arrows:
        slices = rows[arrow["pid"], arrow["tid"]]
        assert any(begin - slack <= arrow["ts"] < end for begin, end in slices), arrow


def test_every_message_that_arrived_is_an_arrow(troubled: Run) -> None:
    """Also each of its copies; what was lost is an instant at its sender."""
    events, log = to_chrome(troubled.trace)["traceEvents"], list(troubled.trace)
    arrows = Counter(event["cat"] for event in events if event["ph"] == "f")
    assert arrows["message"] == sum(entry.kind == "receive" for entry in log)
    assert arrows["publication"] == sum(entry.kind == "deliver" for entry in log)
    assert arrows["transaction"] == sum(entry.kind == "request" for entry in log)
    lost = sum(event["ph"] == "i" and event["name"].startswith("lost: ") for event in events)
    assert lost == sum(bool(span.error) for span in of(spans_of(troubled.trace), "message"))


def test_times_of_chrome_are_microseconds() -> None:
    """With the least length for what takes no time."""
    run = simtx.simulate(chain(2, delay=DELAY, write=WRITE, transactions=1), "2pc", trace=True)
    slices = {(e["pid"], e["name"]): e["dur"] for e in to_chrome(run.trace)["traceEvents"] if e["ph"] == "X"}
    assert sorted(dur for (_, name), dur in slices.items() if name == "transaction 0") == pytest.approx([6000.0])
    assert sorted(dur for (_, name), dur in slices.items() if name == "receive prepare (0)") == pytest.approx(
        [2000.0] * 2
    )
    assert slices[2, "request begin (0)"] == pytest.approx(LEAST)


# --- files ----------------------------------------------------------------------------------------------------------------------


def test_a_trace_saves_itself(tmp_path: Path) -> None:
    """In both formats."""
    run = simtx.simulate(chain(2), "outbox", trace=True)
    otlp, chrome = run.trace.save_otlp(tmp_path / "a.json", start=5.0), run.trace.save_chrome(tmp_path / "b.json")
    assert json.loads(otlp.read_text()) == to_otlp(run.trace, start=5.0)
    assert json.loads(chrome.read_text()) == to_chrome(run.trace)
