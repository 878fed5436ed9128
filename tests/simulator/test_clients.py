"""What clients do when no answer comes: they ask again or give up, as the scenario says; latencies count from the first request."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest

import simtx
from simtx.metrics.replay import summary_from_trace
from simtx.metrics.run import Run
from simtx.protocols import Saga, Strategy, TwoPhaseCommit
from simtx.scenario import Scenario
from tests.simulator.worlds import STRATEGIES, chain

AWAY = {
    "network": {"client_zone": "home", "zones": ["here", "home"]}
}  # clients of another zone, on a link of their own


def outage(strategy: Strategy, duration: float = 2.7, transactions: int = 10, **tables: Any) -> Scenario:
    """Requests at 1, 2, ... s; the entry node is down from 3.5 s on."""
    node = "hub" if strategy.hub else "s0"
    fault = {"kind": "crash", "node": node, "at": 3.5, "duration": duration}
    return chain(3, transactions=transactions, faults=[fault], **tables)


def requests(run: Run) -> Counter[int]:
    """How often a request for each transaction was handled by a machine."""
    return Counter(event.tx for event in run.trace if event.kind == "request")


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda one: one.name)
@pytest.mark.parametrize("away", [False, True], ids=["beside", "away"])
def test_requests_that_reach_nobody_are_answered_late_by_the_rest_of_the_outage(strategy: Strategy, away: bool) -> None:
    """Those at 4, 5 and 6 s meet nobody until 6.2 s; the back-off adds less than its cap of a second. All others are as fast as ever."""
    run = simtx.simulate(outage(strategy, **(AWAY if away else {})), strategy, trace="full")
    latency = run.transactions.latency_ms
    usual = latency.iloc[0]
    for tx, rest in ((3, 2200), (4, 1200), (5, 200)):
        assert usual + rest - 5 <= latency[tx] <= usual + rest + 1000
    assert latency.drop([3, 4, 5]).tolist() == pytest.approx([usual] * 7)
    assert (run.transactions.outcome == "committed").all()
    assert run.summary.aborted_share == 0
    assert run.summary.requests_repeated >= 3
    assert set(requests(run).values()) == {1}  # no machine has met a second request
    assert summary_from_trace(run.trace, run.scenario, run.strategy).equals(run.summary)
    assert simtx.check_log(run.trace, run.strategy).ok


def test_the_log_tells_who_asked_again_and_why() -> None:
    """Each further request has the one before as its cause, and each that met nobody a drop."""
    run = simtx.simulate(outage(Saga()), "saga", trace=True)
    own = [event for event in run.trace.of(3) if event.node == "client"]
    assert [event.kind for event in own] == ["arrive", *["drop", "ask"] * ((len(own) - 1) // 2)]
    assert [event.cause for event in own[2::2]] == [event.id for event in own[0:-1:2]]
    assert [event.detail for event in own[2::2]] == [str(number) for number in range(1, len(own) // 2 + 1)]
    assert {event.detail for event in own[1::2]} == {"down"}
    assert run.summary.requests_repeated == sum(event.kind == "ask" for event in run.trace)


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda one: one.name)
def test_clients_that_ask_once_leave_their_requests_unanswered_and_not_aborted(strategy: Strategy) -> None:
    run = simtx.simulate(outage(strategy, clients={"ask_again": "never"}), strategy, trace=True)
    table = run.transactions
    assert table.arrival_s[table.outcome == "lost"].tolist() == [4.0, 5.0, 6.0]
    assert table.arrival_s[table.latency_ms.isna()].tolist() == [4.0, 5.0, 6.0]
    assert run.summary.aborted_share == 0
    assert run.summary.requests_repeated == 0
    assert summary_from_trace(run.trace, run.scenario, run.strategy).equals(run.summary)


def test_clients_give_up_at_their_deadline() -> None:
    """The outage lasts for 9 s and a client for 5: who asks in its first 4 s gives up, who asks later is answered."""
    clients = {"deadline": 5.0, "backoff": {"cap": 0.4}}
    run = simtx.simulate(outage(Saga(), 9.0, 14, clients=clients), "saga", trace=True)
    table = run.transactions
    assert table.arrival_s[table.latency_ms.isna()].tolist() == [4.0, 5.0, 6.0, 7.0]
    assert table.latency_ms.max() <= 5000
    given_up = {event.tx: event.time for event in run.trace if event.kind == "give-up"}
    assert given_up == pytest.approx({tx: tx + 6.0 for tx in (3, 4, 5, 6)})
    assert summary_from_trace(run.trace, run.scenario, run.strategy).equals(run.summary)


def test_an_answer_after_the_deadline_is_none() -> None:
    """The hub crashes after the decision and is back 8 s later; a client that waits for 5 s is gone by then."""
    place = {"transaction": 2, "effect": "Append:commit", "when": "after"}
    fault = {"kind": "crash", "node": "hub", "duration": 8.0, "trigger": place}
    for deadline, answered in ((5.0, False), (9.0, True)):
        scenario = chain(2, transactions=3, faults=[fault], clients={"deadline": deadline})
        run = simtx.simulate(scenario, "2pc", trace=True)
        assert bool(run.transactions.latency_ms[2] > 8000) is answered
        assert run.transactions.outcome[2] == "committed"
        assert summary_from_trace(run.trace, scenario, run.strategy).equals(run.summary)


def test_requests_that_are_lost_on_the_way_are_asked_again_and_those_that_are_doubled_arrive_once() -> None:
    """Half of all messages of clients are lost, or doubled: every transaction is begun once, and decided."""
    network = {**AWAY["network"], "links": [{"from": "home", "to": "here", "loss": 0.5, "duplication": 0.5}]}
    for strategy in STRATEGIES:
        run = simtx.simulate(chain(2, transactions=40, network=network), strategy, trace="full")
        assert requests(run) == Counter(range(40))
        assert (run.transactions.outcome == "committed").all()
        assert run.summary.requests_repeated == sum(event.kind == "drop" for event in run.trace) > 10
        assert simtx.check_log(run.trace, run.strategy).ok


def test_a_closed_users_next_request_waits_for_the_answer_to_the_repeated_one() -> None:
    """One user who does not think: while the entry is down it waits, and goes on a second after the end at the latest."""
    users = {"kind": "closed", "users": 1, "think_time": 0.5}
    fault = {"kind": "crash", "node": "hub", "at": 3.0, "duration": 10.0}
    scenario = chain(2, transactions=20, workload=users, faults=[fault])
    table = simtx.simulate(scenario, "saga").transactions
    gaps = table.arrival_s.diff()
    assert (gaps > 2).sum() == 1
    assert 9 < gaps.max() < 11.6
    assert (table.outcome == "committed").all()


# --- requests that were received ----------------------------------------------------------------------------------------------------


def cut_off(strategy: str, **clients: Any) -> Run:
    """The entry node crashes with transaction 2 before it has answered, and is back a second later."""
    node, effect = ("s0", "Transact") if strategy in ("outbox", "dual-write") else ("hub", "Message")
    place = {"transaction": 2, "effect": effect, "when": "after"}
    fault = {"kind": "crash", "node": node, "duration": 1.0, "trigger": place}
    scenario = chain(2, transactions=4, faults=[fault], clients={"ask_again": "unanswered", "timeout": 3.0, **clients})
    return simtx.simulate(scenario, strategy, trace="full")


def test_a_received_request_is_asked_again_under_a_strategy_that_recognises_it() -> None:
    """The outbox finds the row of the first request, does nothing a second time, and answers."""
    run = cut_off("outbox")
    assert requests(run) == Counter({0: 1, 1: 1, 2: 2, 3: 1})
    assert 3000 <= run.transactions.latency_ms[2] <= 3200
    assert run.summary.duplicate_effects == run.summary.missing_effects == 0
    assert (run.transactions.outcome == "committed").all()
    assert simtx.check_log(run.trace, run.strategy).ok
    assert summary_from_trace(run.trace, run.scenario, run.strategy).equals(run.summary)


@pytest.mark.parametrize("strategy", ["2pc", "dual-write"])
def test_a_received_request_is_not_asked_again_where_that_would_not_be_safe(strategy: str) -> None:
    run = cut_off(strategy)
    assert requests(run) == Counter(range(4))
    assert math.isnan(run.transactions.latency_ms[2])


def test_the_checker_says_which_strategies_recognise_a_request_that_comes_again() -> None:
    """What a strategy claims is explored with every interleaving and crash point; of the others, a story shows why not."""
    assert simtx.verify("outbox", repeats=1, duplicates=0).ok
    assert not getattr(TwoPhaseCommit(), "recognises_requests", False)
    refuted = simtx.verify("2pc", repeats=1, crashes=0, duplicates=0, timeouts=0)
    assert set(refuted.violations) == {"agreement", "atomicity"}
    doubled = simtx.verify("dual-write", repeats=1, crashes=0, duplicates=0, timeouts=0)
    assert set(doubled.violations) == {"effect-once"}


# --- what is said about it ------------------------------------------------------------------------------------------------------------


def test_tables_and_texts_say_what_clients_do() -> None:
    scenario = chain(2, clients={"ask_again": "unanswered"})
    comparison = simtx.compare(scenario, ["2pc", "outbox"], replications=2, workers=1)
    said = "clients ask again when their request has reached nobody or no answer comes in 5 s, and give up 1 min after their first request"
    careful = "; under 2pc, which may start a transaction again, only when their request has reached nobody"
    assert said + careful in str(comparison)
    assert said + careful in comparison._repr_html_()
    assert said in simtx.simulate(scenario, "outbox")._repr_html_()
    assert (
        "clients ask once, and give up 1 min after"
        in scenario.replace(**{"clients.ask_again": "never"}).clients.describe()
    )


@pytest.mark.parametrize("strategy", ["2pc", "saga"])
def test_a_text_says_that_what_was_received_and_lost_in_a_crash_stays_unanswered(strategy: str) -> None:
    """Only where something has stayed so."""
    crash = {"kind": "crash", "node": "hub", "at": 0.3, "duration": 0.5}
    busy = chain(2, faults=[crash], hub_write=0.05, rate=100, transactions=60)
    said = "a request that a node has received, and lost in a crash, stays unanswered"
    run = simtx.simulate(busy, strategy)
    assert run.summary.unanswered_share > 0
    assert said in run._repr_html_()
    assert said not in simtx.simulate(chain(2), strategy)._repr_html_()
