"""Choreographed sagas in the simulated world: exact costs and times, the same in both engines, and a monitor that may be away."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest

import simtx
from simtx.metrics.run import Run
from simtx.protocols import Choreography, Outbox, Saga
from simtx.scenario import Scenario
from tests.simulator.worlds import chain

D = 2.0**-10
W = 2.0**-8
MS = 1000.0


def diamond(width: int = 2, refusing: Any = (), **more: Any) -> Scenario:
    """A first step, branches, and a join, each on a service of its own."""
    base = chain(width + 2, refusing=refusing, **more)
    names = [step.name for step in base.transaction.steps]
    middle = names[1:-1]
    return base.replace(
        **{f"transaction.steps.{name}.after": [names[0]] for name in middle},
        **{f"transaction.steps.{names[-1]}.after": middle},
    )


def only(run: Run, column: str) -> float:
    (value,) = set(run.transactions[column].tolist())
    return float(value)


def costs(run: Run) -> tuple[float, float, float]:
    return only(run, "messages"), only(run, "broker_messages"), only(run, "forced_writes")


@pytest.mark.parametrize("n", [1, 2, 5])
def test_on_a_chain_it_costs_what_the_outbox_costs(n: int) -> None:
    for refusing in ((), *({k} for k in range(n))):
        run, other = (simtx.simulate(chain(n, refusing=refusing), one) for one in (Choreography(), Outbox()))
        assert costs(run) == costs(other)


@pytest.mark.parametrize("width", [2, 4])
def test_costs_of_a_diamond(width: int) -> None:
    """2w events and 2w + 1 forced writes; its join refuses: 4w, 4w + 1; K < w branches: 6w - 1 - 2K, 5w + 2 - 3K; all: 3w - 1, 2w + 1."""
    quick = {"delay": 0.0, "write": 0.0}
    assert costs(simtx.simulate(diamond(width, **quick), Choreography())) == (0, 2 * width, 2 * width + 1)
    assert costs(simtx.simulate(diamond(width, {width + 1}, **quick), Choreography())) == (0, 4 * width, 4 * width + 1)
    for k in range(1, width + 1):
        expected = (0, 6 * width - 1 - 2 * k, 5 * width + 2 - 3 * k)
        if k == width:
            expected = (0, 3 * width - 1, 2 * width + 1)
        for refusing in list(combinations(range(1, width + 1), k))[:2]:
            run = simtx.simulate(diamond(width, refusing, **quick), Choreography(wake=True))
            assert costs(run) == expected, refusing
            assert run.summary.committed_share == 0


@pytest.mark.parametrize("width", [1, 2, 3])
def test_a_diamond_takes_2w_plus_2_delays_and_w_plus_2_forced_writes(width: int) -> None:
    """A woken relay publishes one event of a transaction after the other, and the broker brings a join one report after the other, each with its forced write."""
    run = simtx.simulate(diamond(width, delay=D, write=W, key="k{tx}"), Choreography(wake=True))
    assert only(run, "decision_ms") == ((2 * width + 2) * D + (width + 2) * W) * MS
    assert only(run, "latency_ms") == W * MS


def test_a_saga_is_asked_for_the_same_diamond() -> None:
    run = simtx.simulate(diamond(), Saga())
    assert costs(run) == (8, 0, 9)


@pytest.mark.parametrize("spec", ["choreography", "choreography:monitor=true,wake=true", "choreography:reader=horizon"])
def test_both_engines_play_the_same_run(spec: str) -> None:
    crash = {"kind": "crash", "node": "payments", "at": "500ms", "duration": "300ms"}
    scenario = simtx.load("checkout").replace(**{"run.transactions": 150, "run.warmup": "0s"}, faults=[crash])
    fast, slow = (simtx.simulate(scenario, spec, engine=engine) for engine in ("fast", "interpreted"))
    assert fast.digest == slow.digest
    assert slow.summary.missing_effects == slow.summary.duplicate_effects == slow.summary.violations == 0
    assert (
        set(slow.transactions["outcome"]) == {"committed", "aborted", "compensated"} or slow.summary.committed_share > 0
    )


def test_the_monitor_may_be_away_without_harm() -> None:
    scenario = simtx.load("checkout").replace(**{"run.transactions": 80, "run.warmup": "0s"})
    away = scenario.replace(faults=[{"kind": "crash", "node": "hub", "at": "0s", "duration": "60s"}])
    there, lost = (simtx.simulate(one, "choreography:monitor=true") for one in (scenario, away))
    for column in ("outcome", "answer", "latency_ms", "decision_ms", "window_ms", "forced_writes"):
        assert there.transactions[column].tolist() == lost.transactions[column].tolist()


def test_a_branch_that_is_away_is_called_stuck_and_the_alert_says_which() -> None:
    fault = {"kind": "partition", "a": ["payments"], "b": ["broker"], "at": "1s", "duration": "6s"}
    scenario = simtx.load("checkout").replace(
        faults=[fault],
        **{"run.transactions": 60, "run.warmup": "0s", "workload.rate": "20/s", "broker.redelivery": "1s"},
    )
    run = simtx.simulate(scenario, "choreography:monitor=true,patience=2", trace=True)
    said = [one.name for one in run.trace if one.kind == "alert" and one.node == "monitor"]
    assert said
    assert any("waits for: charge" in one for one in said)
    found = simtx.watch(run)
    (noticed,) = found.noticed
    assert "StoodStill" in noticed.rules
    (first,) = [one.begin for one in found.fired if one.rule.name == "StoodStill"][:1]
    assert 3.0 <= first <= 6.0
    quiet = simtx.simulate(scenario.replace(faults=[]), "choreography:monitor=true,patience=2", trace=True)
    assert not [one for one in quiet.trace if one.kind == "alert"]
