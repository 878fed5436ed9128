"""``locks = "work"``: a local transaction has its row locks while it works."""

from __future__ import annotations

import pytest

import simtx
from simtx.protocols import Strategy, TwoPhaseCommit
from simtx.scenario import Scenario
from tests.simulator.worlds import STRATEGIES, chain

WORK, WRITE = 0.010, 0.002


def one_key(locks: str, **given: object) -> Scenario:
    """Eight users who never think all change one row of one service."""
    return chain(
        1,
        delay=0.0,
        write=WRITE,
        hub_write=0.0,
        service_time=WORK,
        workers=8,
        flush="parallel",
        key="hot",
        services={"s0": {"store": {"locks": locks, **given}}},
        workload={"kind": "closed", "users": 8, "think_time": "0s"},
        run={"transactions": 200, "warmup": 0.1},
    )


def throughput(scenario: Scenario, strategy: Strategy) -> float:
    return float(simtx.simulate(scenario, strategy).summary["throughput_per_s"])


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda one: one.name)
def test_a_hot_key_is_free_once_in_a_work_and_a_forced_write(strategy: Strategy) -> None:
    """Without messages and a write of the hub, that is all for which anybody has its lock; 2PC writes twice, for its vote and for the decision."""
    writes = 2 * WRITE if isinstance(strategy, TwoPhaseCommit) and strategy.name == "2pc" else WRITE
    assert throughput(one_key("work"), strategy) == pytest.approx(1 / (WORK + writes), rel=0.02)
    assert throughput(one_key("write"), strategy) == pytest.approx(1 / writes, rel=0.02)


def test_different_keys_do_not_wait_for_each_other() -> None:
    scenario = one_key("work").replace(**{"transaction.steps.step0.operations": [{"key": "own:{tx}", "amount": 1}]})
    assert throughput(scenario, TwoPhaseCommit()) == pytest.approx(8 / (WORK + WRITE), rel=0.03)


def test_locks_are_counted_from_the_moment_at_which_the_work_begins() -> None:
    run = simtx.simulate(one_key("work").replace(**{"run.warmup": "0s", "run.transactions": 60}), "saga")
    assert run.summary["lock_hold_seconds"] == pytest.approx(60 * (WORK + WRITE))


def test_who_waits_too_long_has_not_worked() -> None:
    """The worker does not spend the service time of those who give up."""
    run = simtx.simulate(one_key("work", lock_timeout=0.004).replace(**{"run.warmup": "0s"}), TwoPhaseCommit())
    committed = int((run.transactions["outcome"] == "committed").sum())
    assert run.summary["lock_timeouts"] > 0
    assert run.summary["lock_hold_seconds"] == pytest.approx(committed * (WORK + 2 * WRITE))


@pytest.mark.parametrize("strategy", STRATEGIES[:3], ids=lambda one: one.name)
def test_nothing_is_lost_or_doubled_when_those_who_work_with_locks_crash(strategy: Strategy) -> None:
    scenario = simtx.load("checkout-outages")
    changed = {f"services.{name}.store.locks": "work" for name in scenario.services}
    run = simtx.simulate(
        scenario.replace(**changed, **{"run.transactions": 60, "run.warmup": "0s"}), strategy, trace="full"
    )
    assert simtx.check_log(run.trace, run.strategy).ok
    assert (run.summary["duplicate_effects"], run.summary["missing_effects"]) == (0, 0)


@pytest.mark.parametrize(("strategy", "events"), [("2pc", 5), ("saga", 3)])
def test_calls_to_the_hub_take_its_processor(strategy: str, events: int) -> None:
    """A request, two votes and two acknowledgements, or a request and two replies, of a millisecond each."""
    scenario = chain(
        2,
        delay=0.0,
        write=0.0,
        key="own:{tx}",
        parallel=True,
        hosts={"coordinator": {"nodes": ["hub"], "event": "1ms"}},
        workload={"kind": "closed", "users": 8, "think_time": "0s"},
        run={"transactions": 200, "warmup": 0.1},
    )
    assert float(simtx.simulate(scenario, strategy).summary["throughput_per_s"]) == pytest.approx(
        1000 / events, rel=0.03
    )
