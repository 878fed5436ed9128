"""The log of a real run, with a process killed on the way, exports like that of a simulated one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

import simtx
from simtx.event_log.log import EventLog
from simtx.report.chrome import to_chrome
from simtx.report.otlp import to_otlp
from simtx.report.spans import spans_of
from simtx.scenario import Scenario
from tests.reference.test_execute import lab
from tests.report.test_spans import NEEDED, of, parsed


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    """Service s1 is killed right after its first local transaction, and comes back."""
    trigger = {"transaction": 3, "effect": "Transact", "when": "after"}
    return lab(transactions=12, faults=[{"kind": "crash", "node": "s1", "trigger": trigger, "duration": 0.2}])


@pytest.mark.parametrize("strategy", ["saga", "outbox"])
@pytest.mark.sample(2)
def test_a_real_run_with_a_kill_exports(scenario: Scenario, strategy: str) -> None:
    """Valid OTLP; complete trace events; the node is down between its crash and its restart; messages take time."""
    run = simtx.execute(scenario, strategy)
    spans = spans_of(run.trace)
    data = parsed(to_otlp(run.trace))
    assert len(spans) == sum(len(s.spans) for r in data.resource_spans for s in r.scope_spans)
    events = to_chrome(run.trace)["traceEvents"]
    assert all(set(event) >= NEEDED[event["ph"]] for event in events)
    arrows = Counter(event["ph"] for event in events)
    assert arrows["s"] == arrows["f"] > 12
    down = of(spans, "down")
    assert {span.node for span in down} == {"s1"}
    assert all(span.end - span.start > 0.05 for span in down)
    roots = {span.tx: span for span in of(spans, "transaction")}
    for row in run.transactions.itertuples():
        assert 1e3 * (roots[row.tx].end - roots[row.tx].start) == pytest.approx(row.latency_ms, nan_ok=True) or (
            roots[row.tx].error == "no answer"
        )
    messages = of(spans, "message")
    assert all(span.end > span.start for span in messages if span.received)
    assert all(span.error for span in messages if not span.received)
    assert bool(messages) == (strategy == "saga")


@pytest.mark.heavy
def test_every_view_of_a_run_on_postgresql_and_nats_works(tmp_path: Path) -> None:
    run = simtx.execute(lab(transactions=6), "outbox", store="postgres", broker="nats")
    assert simtx.check_history(run).valid
    assert run.plot().lines
    assert run.timeline["busy_s0"].notna().all()
    assert run.trace.diagram(0).texts
    run.trace.save(tmp_path / "run.jsonl")
    again = EventLog.load(tmp_path / "run.jsonl")
    assert list(again) == list(run.trace)
    spans = spans_of(again)
    assert {span.tx for span in of(spans, "transaction")} == set(range(6))
    assert len(spans) == sum(len(s.spans) for r in parsed(to_otlp(again)).resource_spans for s in r.scope_spans)
