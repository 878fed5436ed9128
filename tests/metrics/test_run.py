"""What a run shows: the numbers by their definitions in docs/metrics.md, tables, the event log, and itself in a notebook."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import simtx
from simtx.metrics import drift
from simtx.metrics.run import Run
from simtx.metrics.summary import OUTCOMES
from simtx.scenario import Scenario
from simtx.scenario.distributions import Exponential
from simtx.views import view
from tests.simulator.worlds import STRATEGIES, chain

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"


@pytest.fixture(scope="module")
def run() -> Run:
    scenario = chain(
        3,
        delay=Exponential(0.002),
        service_time=Exponential(0.003),
        refusals={0: 0.1, 2: 0.2},
        key="k{tx}",
        workload={"kind": "poisson", "rate": 50.0},
        transactions=300,
        run={"warmup": 1.0},
    )
    return simtx.simulate(scenario, "saga", seed=4, trace=True)


def test_the_summary_is_computed_from_the_measured_transactions(run: Run) -> None:
    """Averages, shares and quantiles over what arrived after the warm-up."""
    measured = run.transactions[run.transactions.arrival_s >= 1.0]
    assert measured.index.equals(run.transactions[run.transactions.measured].index)
    summary = run.summary
    assert summary.transactions == len(measured) < 300
    assert summary.latency_mean_ms == measured.latency_ms.mean()
    for level in (50, 90, 99):
        assert summary[f"latency_p{level}_ms"] == np.quantile(measured.latency_ms, level / 100)
    assert summary.messages_per_transaction == measured.messages.mean()
    assert summary.forced_writes_per_transaction == measured.forced_writes.mean()
    assert summary.lock_hold_seconds == pytest.approx(measured.lock_hold_ms.sum() / 1e3)
    shares = measured.outcome.value_counts(normalize=True)
    assert summary.committed_share == pytest.approx(shares["committed"])
    assert summary.compensated_share == pytest.approx(shares["compensated"])
    assert summary.committed_share + summary.aborted_share + summary.compensated_share == pytest.approx(1)


def test_throughput_counts_decisions_in_the_window_over_its_length(run: Run) -> None:
    """Also decisions of transactions that arrived in the warm-up; not those behind the last arrival."""
    table = run.transactions
    decided = table.arrival_s + table.decision_ms / 1e3
    end = table.arrival_s.max()
    inside = (decided >= 1.0) & (decided <= end)
    assert run.summary.throughput_per_s == pytest.approx(inside.sum() / (end - 1.0))
    assert run.summary.goodput_per_s == pytest.approx((inside & (table.outcome == "committed")).sum() / (end - 1.0))


def test_every_number_of_the_summary_is_defined_in_the_documentation(run: Run) -> None:
    """And nothing is defined there that the summary lacks, but for what only runs with replicas, hosts, providers, clients that ask again, or a broker that is not plain have."""
    before, _, behind = DOCUMENT.read_text().partition("## The run over time")
    metrics = before + behind.partition("\n## ")[2]
    named = set(re.findall(r"`([a-z0-9_]+)`", "".join(re.findall(r"^\| (`.*?) \|", metrics, re.MULTILINE))))
    assert set(run.summary.index) - named == {"transactions"}
    special = {
        "redeliveries",
        "failed_deliveries",
        "dead_letters",
        "events_dropped",
        "stored_again",
        "partition_lag_max",
        "provider_requests",
        "rate_limited",
        "request_amplification",
        "requests_suppressed",
        "steps_expired",
        "unknown_outcomes",
        "lanes_stopped",
        "lanes_stopped_s",
        "messages_unread",
    }
    assert named - set(run.summary.index) == {"stale_reads_per_million", "process_utilisation_max", *special}


def test_times_are_ordered(run: Run) -> None:
    """A window ends when the transaction settles; the saga answers when it has decided, or later."""
    table = run.transactions
    assert (table.window_ms <= table.settle_ms + 1e-9).where(table.settle_ms.notna(), True).all()
    assert (table.decision_ms <= table.latency_ms + 1e-9).all()
    assert table.tx.tolist() == list(range(300))
    assert table.arrival_s.is_monotonic_increasing
    assert set(table.outcome.cat.categories) == set(OUTCOMES)


def test_the_timeline_goes_on_until_the_run_is_drained(run: Run) -> None:
    """Samples from the start to the end, one of them at the last arrival, with queue and busy workers of every service."""
    timeline = run.timeline
    assert timeline.time_s.is_monotonic_increasing
    assert (timeline.time_s.iloc[0], timeline.time_s.iloc[-1]) == (0, run.data.end)
    assert run.transactions.arrival_s.max() in set(timeline.time_s)
    assert (timeline[["in_flight", "undecided", "in_doubt", "queue_s0", "lock_queue_s0"]].iloc[-1] == 0).all()
    assert {"drift_net", "drift_gross", "in_flight", "queue_s0", "busy_s2"} <= set(timeline.columns)
    assert (timeline.drift_net.abs() <= timeline.drift_gross + 1e-9).all()
    assert timeline.in_flight.max() >= 1


def test_a_warm_up_that_nobody_survives_gives_no_numbers() -> None:
    """No measured transaction: not a number, not zero, and no error."""
    scenario = chain(2, transactions=3)
    object.__setattr__(scenario.run, "warmup", 100.0)  # refused by the checks of a scenario, which expect this
    summary = simtx.simulate(scenario, "saga").summary
    assert summary.transactions == 0
    assert np.isnan(summary.latency_mean_ms)
    assert np.isnan(summary.throughput_per_s)


def test_a_run_shows_itself(run: Run) -> None:
    """One line in a console, a table in a notebook, the promise in words."""
    assert re.fullmatch(r"<Run of saga on chain: 300 transactions, seed 4/0, digest [0-9a-f]{12}>", repr(run))
    html = run._repr_html_()
    assert "an answer to the client means: decided" in html
    assert "request to answer, 99 %" in html
    assert "only accepted" in simtx.simulate(chain(2), "outbox")._repr_html_()


def test_a_scenario_with_a_script_in_its_title_shows_as_text() -> None:
    """What comes from files is escaped in a notebook."""
    shown = simtx.simulate(chain(2, title="<script>alert(1)</script>"), "saga")._repr_html_()
    assert "<script>" not in shown


def test_what_a_strategy_promises_is_with_the_numbers() -> None:
    """Decided or accepted: so that like is compared with like."""
    promises = {s.name: simtx.simulate(chain(2), s).promise for s in STRATEGIES}
    assert promises == {"2pc": "decided", "saga": "decided", "outbox": "accepted", "dual-write": "accepted"}


# --- the event log ----------------------------------------------------------------------------------------------------------------


def test_the_log_is_in_order_and_every_cause_comes_before_its_effect(run: Run) -> None:
    """Numbers ascend, times do not descend, and causes are earlier entries of the same transaction."""
    events = list(run.trace)
    assert [event.id for event in events] == list(range(len(events)))
    assert all(a.time <= b.time for a, b in itertools.pairwise(events))
    for event in events:
        if event.cause is not None:
            assert event.cause < event.id
            assert events[event.cause].tx == event.tx


def test_every_message_that_arrives_was_sent(run: Run) -> None:
    """The cause of a receipt is the sending, from the node that is named, to this node, with the same name."""
    events = list(run.trace)
    receipts = [event for event in events if event.kind == "receive"]
    assert receipts
    for event in receipts:
        assert event.cause is not None
        sent = events[event.cause]
        assert (sent.kind, sent.node, sent.peer, sent.name) == ("send", event.peer, event.node, event.name)


def test_a_trace_is_read_as_a_sequence_a_table_or_by_transaction(run: Run) -> None:
    """Slices are traces; the frame has a column a field; what is unknown is an error."""
    trace = run.trace
    assert len(trace[:5]) == 5
    assert trace[2] == list(trace)[2]
    assert {event.tx for event in trace.of(7)} == {7}
    assert trace.transactions == list(range(300))
    frame = trace.frame()
    assert len(frame) == len(trace)
    assert frame.loc[frame.kind == "decided", "name"].isin(["committed", "aborted"]).all()
    with pytest.raises(KeyError, match="no transaction 999"):
        trace.of(999)
    assert "300 transactions" in repr(trace)
    assert "<table" in trace._repr_html_()


def test_crashes_in_a_transactions_time_are_part_of_its_log() -> None:
    """The log of one transaction has the crashes and restarts that fell into it, and no others."""
    faults = [{"kind": "crash", "node": "s1", "at": at, "duration": 0.5} for at in (1.001, 5.5)]
    run = simtx.simulate(chain(3, transactions=6, faults=faults), "saga", trace=True)
    assert [event.kind for event in run.trace.of(0) if event.tx == -1] == ["crash", "restart"]
    assert [event.kind for event in run.trace.of(1) if event.tx == -1] == []


def test_an_unknown_view_says_what_to_do() -> None:
    """Views are registered by upper layers; without them there is one clear line."""
    with pytest.raises(LookupError, match="no view 'hologram' is registered; import simtx first"):
        view("hologram")


# --- what the data say at the end -------------------------------------------------------------------------------------------------


def shop() -> Scenario:
    steps = [
        {
            "name": "order",
            "service": "s0",
            "operations": [{"key": "status:{tx}", "kind": "set", "amount": 2}, {"key": "n", "amount": 1}],
            "compensation": [{"key": "status:{tx}", "kind": "set", "amount": 0}, {"key": "n", "amount": -1}],
        },
    ]
    stock = [{"name": "stock", "kind": "bounds", "service": "s0", "prefix": "n", "low": 0, "high": 2}]
    return chain(1, transaction={"steps": steps}, invariants=stock, services={"s0": {"store": {"initial": {"n": 1}}}})


def test_the_residual_is_the_distance_to_what_the_outcomes_call_for() -> None:
    """By key, over all stores; keys that are overwritten have no sum that says what they should be."""
    scenario = shop()
    expected = {"s0": {"n": 3.0}}
    assert drift.residual(scenario, {"s0": {"n": 4.0, "status:1": 7.0}}, expected) == 0
    assert drift.residual(scenario, {"s0": {"n": 2.5}}, expected) == 1.5
    assert drift.residual(scenario, {}, expected) == 3.0
    assert drift.residual(scenario, {"s0": {"n": 4.0, "m": -2.0}}, expected) == 2.0


def test_broken_bounds_are_named() -> None:
    """One line a value, with the invariant, the key and the value; also among the warnings of a run."""
    assert drift.bounds_violated(shop(), {"s0": {"n": 2.0, "other": 9.0}}) == []
    assert drift.bounds_violated(shop(), {"s0": {"n": -1.0}}) == ["stock: s0.n = -1"]
    run = simtx.simulate(shop(), "saga")  # three orders on top of one, and nothing guards
    assert "stock: s0.n = 4" in run.warnings


def test_conserved_sums_see_prefixes_and_weights() -> None:
    """A key counts under every prefix that it begins with."""
    weighted = [("a", (1.0, 0.0)), ("ab", (0.0, -2.0))]
    assert drift.shifts({"abc": (1.0, 4.0)}, weighted) == [3.0, -6.0]
    assert drift.shifts({"ax": (1.0, 4.0)}, weighted) == [3.0, 0.0]
    assert drift.shifts({"z": (1.0, 4.0)}, weighted) is None


def test_tables_have_the_types_that_their_names_promise(run: Run) -> None:
    """Counts are whole numbers, times are floats, `measured` is a truth value."""
    types = run.transactions.dtypes
    for name in ("tx", "messages", "forced_writes", "retries", "duplicate_effects"):
        assert pd.api.types.is_integer_dtype(types[name]), name
    for name in ("arrival_s", "latency_ms", "window_ms", "in_doubt_ms"):
        assert pd.api.types.is_float_dtype(types[name]), name
    assert pd.api.types.is_bool_dtype(types["measured"])
