"""Clients with a budget for asking again, and deadlines that travel with their transactions."""

from __future__ import annotations

from typing import Any

import pytest

import simtx
from simtx.engine import Unavailable, load_library
from simtx.engine.choices import Engine
from simtx.errors import ScenarioError
from simtx.event_log.entries import Worked
from simtx.metrics.replay import summary_from_trace
from simtx.metrics.run import Run
from simtx.protocols.policies import RetryBudget
from simtx.scenario import Scenario
from tests.simulator.worlds import chain

ALL = ("2pc", "2pc:work=before", "paxos-commit", "saga", "tcc", "outbox", "dual-write")


def busy(*, travels: bool = True, **clients: Any) -> Scenario:
    """Twice as many transactions as the second service can do, for two seconds; clients wait for half a second."""
    return chain(
        3,
        rate=40.0,
        transactions=80,
        service_time=0.05,
        workers=1,
        key="k:{tx}",
        clients={"deadline": 0.5, "deadline_travels": travels, **clients},
    )


def replayed(run: Run) -> None:
    """Its log leads to the same figures: but for the last digit of a share of busy time, which is added up in another order."""
    theirs = summary_from_trace(run.trace, run.scenario, run.strategy)
    assert theirs.drop("utilisation_max").equals(run.summary.drop("utilisation_max"))


def test_a_budget_lets_through_its_share() -> None:
    """Ten at the start, then one for ten, never more than ten at once."""
    budget = RetryBudget(0.1, 10)
    assert [budget.spend() for _ in range(11)] == [True] * 10 + [False]
    for _ in range(10):
        budget.earn()
    assert [budget.spend(), budget.spend()] == [True, False]
    for _ in range(1000):
        budget.earn()
    assert [budget.spend() for _ in range(11)] == [True] * 10 + [False]


@pytest.mark.parametrize("strategy", ALL)
def test_no_service_begins_a_step_whose_deadline_is_over(strategy: str) -> None:
    """What it has refused so was refused in the log, behind the deadline; the run keeps all that its strategy guarantees, and its machines their contract."""
    run = simtx.simulate(busy(), strategy, trace="full")
    arrived = run.transactions.set_index("tx").arrival_s
    expired = [entry for entry in run.trace if entry.kind == "expire"]
    assert run.summary.steps_expired == len(expired) > 0
    for entry in expired:
        assert entry.time > arrived[entry.tx] + 0.5
        ends = [
            one
            for one in run.trace
            if one.id > entry.id and (one.node, one.tx, one.name) == (entry.node, entry.tx, entry.name)
        ]
        worked = next(one for one in ends if one.kind in ("transact", "prepare", "execute"))
        assert Worked.read(worked).status == "refused"
    assert run.summary.violations == 0
    assert simtx.check_log(run.trace, run.strategy).ok
    replayed(run)


def test_who_does_not_work_for_those_who_have_gone_answers_more_of_the_others() -> None:
    """The second service stands still for two seconds. What has waited for so long is worked on in vain, or not at all."""
    fault = {"kind": "pause", "node": "s1", "at": "1s", "duration": "2s"}
    changes = {"workload.rate": "15/s", "run.transactions": 100, "faults": [fault]}
    tireless = simtx.simulate(busy(travels=False).replace(**changes), "2pc")
    careful = simtx.simulate(busy().replace(**changes), "2pc")
    assert careful.summary.unanswered_share < 0.8 * tireless.summary.unanswered_share
    assert "steps_expired" not in tireless.summary


def test_what_must_not_be_refused_is_begun_all_the_same() -> None:
    """Retriable steps and compensations: a saga that is over its pivot ends, and one that turns back is undone."""
    scenario = busy()
    steps = [dict(one) for one in scenario.to_dict()["transaction"]["steps"]]
    for step, kind in zip(steps, ("compensatable", "pivot", "retriable"), strict=True):
        step["kind"] = kind
        if kind != "compensatable":
            step.pop("compensation", None)
    run = simtx.simulate(scenario.replace(**{"transaction.steps": steps}), "saga", trace=True)
    expired = [(entry.node, entry.name) for entry in run.trace if entry.kind == "expire"]
    assert expired
    assert not [one for one in expired if one[0] == "s2" or one[1] == "compensation"]
    assert run.summary.stuck_count == run.summary.violations == 0


def test_an_answered_client_has_no_deadline_any_more_and_neither_has_an_event() -> None:
    """Under an outbox: the first step is refused behind the deadline, the others are done however long they take."""
    run = simtx.simulate(busy(), "outbox", trace=True)
    answered = set(run.transactions.tx[run.transactions.answer == "accepted"])
    expired = {entry.tx for entry in run.trace if entry.kind == "expire"}
    assert answered
    assert expired
    assert not answered & expired
    assert {entry.node for entry in run.trace if entry.kind == "expire"} == {"s0"}


def test_a_budget_bounds_what_clients_ask_again() -> None:
    """Everybody asks again after 100 ms, and most are let through without a budget."""
    asking = {"ask_again": "unanswered", "timeout": 0.1, "backoff": {"base": 0.01, "cap": 0.05}, "deadline": 5.0}
    free = simtx.simulate(busy(travels=False, **asking), "outbox")
    bound = simtx.simulate(busy(travels=False, budget={"ratio": 0.1, "burst": 5}, **asking), "outbox", trace="full")
    assert free.summary.request_amplification > 2
    assert bound.summary.requests_repeated <= 5 + 0.1 * 80
    assert bound.summary.request_amplification == 1 + bound.summary.requests_repeated / 80
    assert bound.summary.requests_suppressed > 0
    assert bound.summary.violations == 0
    replayed(bound)


def test_who_has_reached_nobody_and_has_no_budget_gives_up_at_the_deadline() -> None:
    """The entry node is down for five requests, and there is budget for one."""
    fault = {"kind": "crash", "node": "s0", "at": 0.5, "duration": 4.8}
    clients = {"budget": {"ratio": 0.0, "burst": 1}, "deadline": 6.0, "backoff": {"base": 0.1, "cap": 0.2}}
    run = simtx.simulate(chain(3, transactions=8, faults=[fault], clients=clients), "outbox", trace=True)
    assert run.summary.requests_repeated == 1
    assert run.summary.requests_suppressed >= 4
    assert sum(entry.kind == "give-up" for entry in run.trace) >= 4


@pytest.mark.parametrize("strategy", ["2pc:work=before", "saga", "outbox"])
def test_the_fast_engine_plays_both_alike(strategy: str) -> None:
    """To the last bit; where there is none, nothing is compared."""
    asking = {"ask_again": "unanswered", "timeout": 0.1, "deadline": 3.0, "budget": {"ratio": 0.1, "burst": 2}}
    left_out = 0.0
    for scenario in (busy(), busy(travels=False, **asking)):
        slow, other = (simtx.simulate(scenario, strategy, engine=engine) for engine in ("interpreted", _compiled()))
        assert slow.digest == other.digest
        assert slow.summary.equals(other.summary)
        left_out += slow.summary.get("steps_expired", 0) + slow.summary.get("requests_suppressed", 0)
    assert left_out > 0


def _compiled() -> Engine:
    try:
        load_library()
    except Unavailable:
        return "interpreted"
    return "fast"


def test_a_budget_of_those_who_never_ask_again_is_refused() -> None:
    """One line."""
    with pytest.raises(ScenarioError, match=r"clients\.budget: is for clients who ask again"):
        busy(ask_again="never", budget={"ratio": 0.1})
