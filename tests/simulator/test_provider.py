"""A provider outside: answers that never come, repetitions, and what they do to whom."""

from __future__ import annotations

from typing import Any

import pytest

import simtx
from simtx.engine import Unavailable, load_library
from simtx.errors import ScenarioError
from simtx.metrics.replay import summary_from_trace
from simtx.metrics.run import Run
from simtx.protocols import TwoPhaseCommit
from simtx.scenario import Scenario
from tests.simulator.worlds import chain

LAST = "2pc:last_resource=s1"
KEEPING = (LAST, "saga", "outbox", "tcc")
MEMORIES: dict[str, dict[str, Any]] = {"key": {"idempotency": 86400.0}, "query": {"status_query": True}, "nothing": {}}


def scenario(transactions: int = 40, at: int = 1, faults: Any = (), attempts: int = 5, **provider: Any) -> Scenario:
    """A chain of three services, of which one has a provider that answers in 100 ms."""
    behaviour = {"latency": 0.1, "timeout": 0.5, **provider}
    return chain(
        3,
        rate=20.0 if transactions > 20 else 1.0,
        transactions=transactions,
        key="k:{tx}",
        services={f"s{at}": {"provider": behaviour}},
        faults=list(faults),
        run={"drain": 100},
        policies={"attempts": attempts},
    )


@pytest.mark.parametrize("strategy", KEEPING)
def test_a_call_costs_its_latency_once_a_step(strategy: str) -> None:
    """Nothing goes wrong: one request a transaction (under TCC one to reserve and one to capture), and 100 ms in its latency."""
    run = simtx.simulate(scenario(10), strategy)
    own = simtx.simulate(chain(3, transactions=10, key="k:{tx}"), strategy)
    requests = 20 if strategy == "tcc" else 10
    assert run.summary.provider_requests == requests
    assert run.summary.unknown_outcomes == run.summary.rate_limited == 0
    assert (run.transactions.outcome == "committed").all()
    assert run.summary.decision_p50_ms - own.summary.decision_p50_ms == pytest.approx(100, abs=0.01)


@pytest.mark.parametrize("strategy", KEEPING)
@pytest.mark.parametrize("memory", MEMORIES)
def test_what_is_not_answered_is_done_once_if_somebody_remembers(strategy: str, memory: str) -> None:
    """A fifth of the calls gets no answer. The log leads to the same figures, and the machines have kept their contract."""
    run = simtx.simulate(scenario(timeouts=0.2, **MEMORIES[memory]), strategy, trace="full")
    summary = run.summary
    assert summary.unknown_outcomes > 5
    if memory == "nothing":
        assert summary.duplicate_effects > 0
        assert summary.violations > 0
    else:
        assert summary.duplicate_effects == summary.missing_effects == summary.violations == 0
    assert summary_from_trace(run.trace, run.scenario, run.strategy).equals(summary)
    assert simtx.check_log(run.trace, run.strategy).ok


@pytest.mark.parametrize("memory", ["key", "query"])
@pytest.mark.parametrize("strategy", KEEPING)
def test_a_crash_while_the_provider_works_does_nothing_twice(strategy: str, memory: str) -> None:
    """The service is down from 40 ms to 340 ms after a request has left; the provider acts at 50 ms."""
    fault = {"kind": "crash", "node": "s1", "at": 1.05, "duration": 0.3}
    run = simtx.simulate(scenario(3, faults=[fault], **MEMORIES[memory]), strategy)
    assert run.summary.duplicate_effects == run.summary.missing_effects == run.summary.violations == 0
    assert set(run.transactions.outcome) <= {"committed", "compensated", "aborted"}


def test_a_compensation_finds_what_was_done_behind_a_lost_answer() -> None:
    """The saga gives up and undoes: with a key it finds the charge, without one the charge stays."""
    changes: dict[str, Any] = {"timeouts": 0.3, "timeouts_done": 1.0, "attempts": 1}
    for memory in ("key", "query"):
        remembered = simtx.simulate(scenario(**MEMORIES[memory], **changes), "saga")
        assert (remembered.transactions.outcome == "compensated").any()
        assert remembered.summary.duplicate_effects == remembered.summary.violations == 0
    forgotten = simtx.simulate(scenario(**changes), "saga")
    assert forgotten.summary.duplicate_effects > 0


def test_a_key_that_is_forgotten_is_no_key() -> None:
    """It is kept for a millisecond, and a repetition comes after half a second."""
    run = simtx.simulate(scenario(timeouts=0.2, timeouts_done=1.0, idempotency=0.001), "saga")
    assert run.summary.duplicate_effects > 0


def test_a_rate_limit_delays_and_loses_nothing() -> None:
    """Two requests a second at most, and one comes each second beside a burst at once."""
    limited = scenario(20, rate_limit=2.0, burst=1, retry_after=0.1).replace(**{"workload.rate": "4/s"})
    assert any("rate_limit: 2/s, and 4 requests a second come" in line for line in limited.warnings)
    run = simtx.simulate(limited, "saga", trace="full")
    assert run.summary.rate_limited > 0
    assert run.summary.duplicate_effects == run.summary.missing_effects == 0
    assert summary_from_trace(run.trace, run.scenario, run.strategy).equals(run.summary)


def test_who_cannot_prepare_is_the_last_resource_or_nothing() -> None:
    """One line with the reason."""
    for strategy in ("2pc", "paxos-commit", TwoPhaseCommit(last_resource="s0")):
        with pytest.raises(
            ScenarioError, match=r"'s1' is a provider outside, which cannot prepare: make it the last resource"
        ):
            simtx.simulate(scenario(3), strategy)
    two = chain(3, transactions=3, services={name: {"provider": {"latency": 0.1}} for name in ("s0", "s1")})
    with pytest.raises(ScenarioError, match="only one service can be the last resource"):
        simtx.compare(two, [LAST, "saga"], replications=2, workers=1)


def test_an_outbox_that_begins_at_a_provider_is_warned_of() -> None:
    """The client's request is in memory alone."""
    run = simtx.simulate(scenario(3, at=0), "outbox")
    assert any("services.s0.provider: it does the first step" in line for line in run.warnings)
    assert not any("first step" in line for line in simtx.simulate(scenario(3), "outbox").warnings)


@pytest.mark.parametrize("strategy", [LAST, "saga", "outbox"])
@pytest.mark.parametrize(
    "fault",
    [
        {},
        {"kind": "crash", "node": "s1", "every": 0.3, "duration": 0.2},
        {"kind": "pause", "node": "s1", "every": 0.3, "duration": 0.2},
        {"kind": "slow", "node": "s1", "at": 0.5, "duration": 1.0, "factor": 6},
        {"kind": "provider-outage", "node": "s1", "every": 0.4, "duration": 0.2},
        {"kind": "provider-degraded", "node": "s1", "at": 0.5, "duration": 1.0, "factor": 3, "probability": 0.5},
    ],
    ids=lambda fault: fault.get("kind", "none"),
)
def test_the_fast_engine_plays_it_alike(strategy: str, fault: dict[str, Any]) -> None:
    """To the last bit, whatever the provider remembers; where there is no such engine, nothing is compared."""
    try:
        load_library()
    except Unavailable:
        pytest.skip("no compiled engine")
    faults = [fault] if fault else []
    for memory in MEMORIES.values():
        limits = {"rate_limit": 12.0, "burst": 3, "retry_after": 0.15} if memory else {}
        played = scenario(30, faults=faults, timeouts=0.2, **memory, **limits)
        slow, fast = (simtx.simulate(played, strategy, engine=engine) for engine in ("interpreted", "fast"))
        assert slow.digest == fast.digest
        assert slow.summary.equals(fast.summary)
        assert fast.summary.provider_requests > 20


def test_what_a_provider_does_long_after_its_transaction_is_over_still_counts() -> None:
    """It charges 80 s after the saga has given up, when all else of the transaction is long closed: each charge is one too many, in either engine and in the log."""
    played = scenario(150, attempts=1, latency=160.0).replace(**{"workload.rate": "1/s"})
    run = simtx.simulate(played, "saga", trace="full")
    assert run.summary.duplicate_effects == run.summary.provider_requests == 150
    assert summary_from_trace(run.trace, run.scenario, run.strategy).equals(run.summary)
    try:
        fast = simtx.simulate(played, "saga", engine="fast")
    except ScenarioError:
        pytest.skip("no compiled engine")
    assert fast.digest == run.digest
    assert fast.summary.equals(run.summary)


def test_a_slow_provider_is_slow_through_its_service() -> None:
    """The fault that makes the service slow."""
    faults = [{"kind": "slow", "node": "s1", "at": 0.5, "duration": 20, "factor": 3}]
    run = simtx.simulate(scenario(3, faults=faults), "saga")
    usual = simtx.simulate(scenario(3), "saga")
    assert run.summary.latency_p50_ms - usual.summary.latency_p50_ms == pytest.approx(200, abs=0.01)


# --- faults -------------------------------------------------------------------------------------------------------------------


def away(at: float, duration: float, **options: Any) -> dict[str, Any]:
    return {"kind": "provider-outage", "node": "s1", "at": at, "duration": duration, **options}


def calls(run: Run, name: str) -> list[float]:
    return [entry.time for entry in run.trace if entry.kind == "call" and entry.name == name]


def test_a_request_in_an_outage_reaches_nobody_and_one_before_it_loses_its_answer() -> None:
    """It waits for the half second that it has for an answer. With a key the repetition is told what the first request has done."""
    for begin, done in ((1.0, False), (1.03, True), (1.07, True)):
        run = simtx.simulate(scenario(2, faults=[away(begin, 0.2)], idempotency=86400.0), "saga", trace="full")
        (unknown,) = calls(run, "unknown")
        applied = next(entry.time for entry in run.trace if entry.kind == "apply" and entry.node == "s1")
        assert 1.5 < unknown < 1.51
        assert (applied < unknown) == done
        assert run.summary.duplicate_effects == run.summary.missing_effects == run.summary.violations == 0
        assert summary_from_trace(run.trace, run.scenario, run.strategy).equals(run.summary)
        assert simtx.check_log(run.trace, run.strategy).ok


@pytest.mark.parametrize("memory", MEMORIES)
def test_an_outage_does_what_lost_answers_do(memory: str) -> None:
    """Nothing twice where somebody remembers; where nobody does, what was done before the outage is done again behind it."""
    faults = [away(0.5, 0.6), away(1.8, 0.7)]
    run = simtx.simulate(scenario(60, faults=faults, **MEMORIES[memory]), "saga", trace="full")
    assert run.summary.unknown_outcomes > 5
    assert (run.summary.duplicate_effects > 0) == (memory == "nothing")
    assert (run.summary.violations > 0) == (memory == "nothing")
    assert summary_from_trace(run.trace, run.scenario, run.strategy).equals(run.summary)


def test_a_compensation_cannot_look_into_a_provider_that_is_away() -> None:
    """The saga gives the charge up and undoes it: it does not know what there is to undo before it can ask again."""
    run = simtx.simulate(scenario(3, faults=[away(1.07, 3.0)], attempts=1, idempotency=86400.0), "saga", trace="full")
    assert len(calls(run, "unknown")) > 3
    assert run.summary.duplicate_effects == run.summary.missing_effects == run.summary.violations == 0
    assert "compensated" in set(run.transactions.outcome)


def test_a_degraded_provider_is_slower_and_answers_less_and_then_as_before() -> None:
    """The first transaction meets it so: three times as slow, or without any answer; the next ones do not."""
    degraded = {"kind": "provider-degraded", "node": "s1", "at": 0.9, "duration": 0.9}
    usual = simtx.simulate(scenario(3), "saga")
    slow = simtx.simulate(scenario(3, faults=[{**degraded, "factor": 3.0}]), "saga")
    delays = (slow.transactions.latency_ms - usual.transactions.latency_ms).round(2).tolist()
    assert delays == [200.0, 0.0, 0.0]
    silent = simtx.simulate(scenario(3, faults=[{**degraded, "factor": 1.0, "probability": 1.0}]), "saga")
    assert silent.summary.unknown_outcomes >= 1
    assert silent.transactions.latency_ms[1] == usual.transactions.latency_ms[1]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (away(1, 1, node="s0"), "'s0' is no node that a provider-outage can happen to"),
        (away(1, 1, node="*"), r"'\*' is no node that a provider-outage can happen to"),
        ({"kind": "provider-outage", "at": 1, "duration": 1}, "is missing: a service with a provider"),
        (away(1, 1, probability=0.1), "does not belong to a provider-outage"),
        (away(1, 1, kind="provider-degraded"), "is missing: a provider-degraded needs it"),
    ],
)
def test_a_fault_of_a_provider_names_a_service_that_has_one(fault: dict[str, Any], message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        scenario(3, faults=[fault])


def test_where_nobody_has_a_provider_none_has_an_outage() -> None:
    with pytest.raises(
        ScenarioError, match="a provider-outage happens to the provider of a service, and no service has one"
    ):
        chain(3, faults=[away(1, 1)])
