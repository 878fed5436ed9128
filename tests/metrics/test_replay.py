"""Metrics are streamed while a run goes on, or computed from its event log: either gives the same numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

import simtx
from simtx.event_log.log import LogEntry
from simtx.metrics import timeline
from simtx.metrics.recovery import target
from simtx.metrics.replay import data_from_trace, summary_from_trace
from simtx.metrics.run import Run
from simtx.metrics.summary import transactions_frame
from simtx.protocols import DualWrite, Outbox, Policies, Saga, Strategy, TwoPhaseCommit
from simtx.scenario import Scenario
from simtx.scenario.distributions import Constant, Exponential
from simtx.scenario.model import Fault
from tests.simulator.test_faults import FAULTS, contended, world
from tests.simulator.worlds import STRATEGIES, chain

VARIANTS: tuple[Strategy, ...] = (
    *STRATEGIES,
    TwoPhaseCommit(work="before"),
    Saga(completion="lazy"),
    Outbox(wake=True),
    DualWrite(order="broker-first", acknowledge="before"),
)


def assert_same(run: Run) -> None:
    """The summary, every transaction, every conserved quantity, bounds and utilisation."""
    replayed = summary_from_trace(run.trace, run.scenario, run.strategy)
    pd.testing.assert_series_equal(replayed, run.summary, check_exact=False, rtol=1e-12, atol=1e-12)
    data = data_from_trace(run.trace, run.scenario, broker=run.strategy.uses_broker)
    table = transactions_frame(data)
    pd.testing.assert_frame_equal(table, run.transactions, check_exact=True)
    assert data.quantities == run.data.quantities
    assert data.bounds_violated == run.data.bounds_violated
    assert data.utilisation == pytest.approx(run.data.utilisation, rel=1e-9, nan_ok=True)
    assert (data.horizon, data.warmup) == (run.data.horizon, run.data.warmup)
    pd.testing.assert_frame_equal(timeline.frame(data), run.timeline, check_exact=True)
    assert data.struck == run.data.struck


@pytest.mark.parametrize("strategy", VARIANTS, ids=str)
@pytest.mark.sample(3)
def test_without_faults(strategy: Strategy) -> None:
    """Refusals, queues and row locks included."""
    scenario = chain(
        3,
        delay=Exponential(0.002),
        service_time=Exponential(0.005),
        workers=1,
        refusals={0: 0.05, 1: 0.1, 2: 0.2},
        workload={"kind": "poisson", "rate": 60.0},
        transactions=200,
        run={"warmup": 0.5},
    )
    assert_same(simtx.simulate(scenario, strategy, trace=True))


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: s.name)
@pytest.mark.sample(6)
def test_under_each_fault(strategy: Strategy, fault: str) -> None:
    """Crashes with what they swallow, redeliveries, duplicates, timeouts."""
    assert_same(simtx.simulate(world([FAULTS[fault]], run={"warmup": 0.3}), strategy, trace=True))


@pytest.mark.parametrize("strategy", VARIANTS, ids=str)
@pytest.mark.sample(3)
def test_under_all_faults_together(strategy: Strategy) -> None:
    """With a circuit breaker, short timeouts and a lossy network as well."""
    policies = {"breaker": {"threshold": 3, "cooldown": 0.5}, "call_timeout": 0.05, "vote_timeout": 0.1}
    for seed in range(4):
        scenario = world(FAULTS.values(), loss=0.05, policies=policies, broker={"redelivery": 0.3})
        run = simtx.simulate(scenario, strategy, seed=seed, trace=True)
        assert_same(run)
        assert run.data.counts["faults"] > 0


@pytest.mark.parametrize("rule", ["timeout", "detect", "wait-die"])
@pytest.mark.parametrize("strategy", [TwoPhaseCommit(), TwoPhaseCommit(work="before"), Saga()], ids=str)
@pytest.mark.sample(3)
def test_under_contention(strategy: Strategy, rule: str) -> None:
    """Lock waits and holds, deadlocks and lock timeouts."""
    run = simtx.simulate(contended(rule, faults=[FAULTS["crash of a service"]]), strategy, trace=True)
    assert_same(run)
    assert run.summary.lock_wait_mean_ms > 0


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: s.name)
@pytest.mark.parametrize(
    "scenario",
    [
        simtx.load("checkout").replace(**{"run.transactions": 150, "run.warmup": "500ms"}),
        simtx.load("travel").replace(**{"run.transactions": 150, "run.warmup": "500ms"}),
        simtx.load("transfer").replace(**{"run.duration": "2s", "run.warmup": "500ms"}),
    ],
    ids=lambda s: s.name,
)
@pytest.mark.sample(5)
def test_of_built_in_scenarios(scenario: Scenario, strategy: Strategy) -> None:
    """Branches, a pivot, several quantities, bounds, and keys drawn from distributions."""
    assert_same(simtx.simulate(scenario, strategy, trace=True))


def test_of_a_closed_workload_with_clients_far_away() -> None:
    """Answers that travel, and users who wait for them."""
    scenario = chain(
        2,
        workload={"kind": "closed", "users": 5, "think_time": Exponential(0.02)},
        transactions=100,
        network={
            "zones": ["here", "there"],
            "client_zone": "there",
            "links": [{"between": ["here", "there"], "latency": 0.03}],
        },
    )
    for strategy in STRATEGIES:
        assert_same(simtx.simulate(scenario, strategy, trace=True))


def test_of_read_replicas() -> None:
    """Reads that a replica answers, stale ones among them."""
    raw: dict[str, Any] = chain(2, transactions=60, rate=100.0).to_dict()
    raw["services"]["s1"]["store"]["replica_lag"] = 0.05
    raw["transaction"]["steps"][1]["operations"].insert(0, {"key": "k", "kind": "read", "high": 1e9})
    run = simtx.simulate(simtx.scenario.from_dict(raw), "saga", trace=True)
    assert 0 < run.summary.stale_reads_per_million < 1e6
    assert_same(run)


def test_of_a_run_that_is_not_finished() -> None:
    """What is still being worked on, or waits for an operator, when the drain limit is reached."""
    down = {"kind": "crash", "node": "s1", "at": 1.5, "duration": 500.0}
    scenario = chain(3, transactions=4, faults=[down], run={"drain": 20.0})
    for strategy in (*STRATEGIES[1:], TwoPhaseCommit(policies=Policies(vote_timeout=90.0))):
        run = simtx.simulate(scenario, strategy, trace=True)
        assert run.summary[["in_flight_count", "incomplete_count", "stuck_count"]].sum() > 0
        assert_same(run)
    stuck = simtx.simulate(scenario.replace(**{"policies.compensation_attempts": 2}), "saga", trace=True)
    assert_same(stuck)


# --- the log has what it takes, and nothing that does not count -------------------------------------------------------------------


ENTRIES = ["arrive", "send", "append", "transact", "apply", "unlock", "serve", "free", "decided", "answer"]


@pytest.mark.parametrize("kind", [*ENTRIES, "wait", "prepare", "commit", "publish", "redeliver", "suspect", "fault"])
def test_every_entry_counts(kind: str) -> None:
    """A log from which one entry is missing gives other numbers: the equality above is not empty."""
    fault = {"kind": "loss", "at": 0.9, "duration": 1.6, "probability": 0.5}
    scenario = chain(3, key="k{tx}", service_time=0.001, transactions=30, rate=12.0, faults=[fault])
    if kind == "wait":
        scenario = contended("timeout")
    strategy = {"publish": "outbox", "redeliver": "outbox", "transact": "saga", "suspect": "saga"}.get(kind, "2pc")
    run = simtx.simulate(scenario, strategy, trace=True)
    assert_same(run)
    first: dict[int, int] = {}
    for event in run.trace:
        if event.kind == kind:
            first.setdefault(event.tx, event.id)
    hidden = min(first.values()) if first else -1
    data = data_from_trace((event for event in run.trace if event.id != hidden), scenario)
    same = transactions_frame(data).equals(run.transactions) and all(
        data.utilisation[name] == pytest.approx(share) for name, share in run.data.utilisation.items()
    )
    assert not (same and (data.counts["faults"], data.residual) == (run.data.counts["faults"], run.data.residual)), kind


def test_a_log_that_went_through_a_table_gives_the_same() -> None:
    """`EventLog.frame` loses nothing: a log can be stored as a table, and measured later."""
    run = simtx.simulate(chain(3, transactions=20, rate=50.0), "outbox", trace=True)
    frame = run.trace.frame()
    events = [
        LogEntry(*(None if pd.isna(cell) else cell for cell in row)) for row in frame.itertuples(index=False, name=None)
    ]
    pd.testing.assert_series_equal(summary_from_trace(events, run.scenario, run.strategy), run.summary, rtol=1e-12)


@pytest.mark.parametrize(("strategy", "whom"), [("2pc", "hub+broker - s1"), ("cornus", "hub+broker+vote-store - s1")])
def test_a_cut_off_region_names_the_vote_store_only_where_there_is_one(strategy: str, whom: str) -> None:
    """In a run, and in what is read from its log."""
    places = ("hub", "broker", "vote-store")
    cut = Fault("partition", Constant(0.1), at=0.3, a=places, b=("s1",))
    run = simtx.simulate(replace(chain(2, rate=20, transactions=20), faults=(cut,)), strategy, trace=True)
    assert [one.target for one in run.data.struck] == [whom]
    assert data_from_trace(run.trace, run.scenario).struck == run.data.struck
    assert target(replace(cut, a=places[2:]), votes=False) == "vote-store - s1"
