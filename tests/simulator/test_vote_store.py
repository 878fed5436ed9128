"""The simulated vote store: what it costs, what is there when several ask at once, what an outage and a slow log do; and its log."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

import simtx
from simtx.event_log.entries import EntryError, Vote
from simtx.event_log.log import EventLog
from simtx.metrics.replay import data_from_trace
from simtx.protocols.names import VOTE_STORE
from simtx.scenario import Scenario
from tests.simulator.worlds import chain

D, W = 2.0**-10, 2.0**-8


def scenario(count: int = 2, **changes: Any) -> Scenario:
    """A chain without chance; the vote store forces as the services do."""
    log = {"forced_write": f"{1000 * W}ms", "flush": "parallel"}
    return chain(count, delay=D, write=W).replace(**{"vote_store.log": log, **changes})


def test_a_slow_store_makes_everybody_wait_longer() -> None:
    usual = simtx.simulate(scenario(), "cornus")
    slow = simtx.simulate(scenario(**{"vote_store.log.forced_write": f"{1000 * (W + 0.25)}ms"}), "cornus")
    more = slow.transactions["latency_ms"] - usual.transactions["latency_ms"]
    assert set(more.round(9)) == {250.0}


def test_one_log_forces_the_votes_that_came_meanwhile_together() -> None:
    """The first of three takes one write, the other two share the next one."""
    run = simtx.simulate(scenario(3, **{"vote_store.log.flush": "group"}), "cornus")
    assert set(run.transactions["latency_ms"]) == {1000 * (4 * D + 3 * W)}


def test_while_it_is_down_nobody_votes_and_then_all_go_on() -> None:
    """Branches wait with their locks, and nothing is lost: requests that met nobody are made again."""
    faults = [{"kind": "vote-store-outage", "at": "20ms", "duration": "2s"}]
    shorter = {"policies.inquiry_timeout": "100ms", "policies.vote_timeout": "200ms"}
    run = simtx.simulate(scenario(faults=faults, **shorter), "cornus", trace="full")
    assert run.data.counts["faults"] == 1
    assert set(run.transactions["outcome"]) <= {"committed", "aborted"}
    assert run.transactions["latency_ms"].max() > 1000
    assert run.summary["missing_effects"] == run.summary["residual_divergence"] == 0
    assert simtx.check_log(run.trace, run.strategy).ok
    votes = [entry for entry in run.trace if entry.kind == "logged"]
    assert not any(0.02 + 4 * D + W < entry.time < 2.02 for entry in votes)


def test_under_a_strategy_without_one_its_outage_strikes_nobody() -> None:
    faults = [{"kind": "vote-store-outage", "at": "20ms", "duration": "2s"}]
    run = simtx.simulate(scenario(faults=faults), "2pc")
    assert run.data.counts["faults"] == 0
    assert any("never struck" in line for line in run.warnings)


def crashing() -> Any:
    """Crashes of all nodes, so that others write a no for who is away."""
    faults = [{"kind": "crash", "node": "*", "every": "1s", "duration": "300ms"}]
    shorter = {"policies.inquiry_timeout": "100ms", "policies.vote_timeout": "200ms"}
    return simtx.simulate(scenario(faults=faults, **shorter), "cornus", trace="full")


def test_a_log_with_crashes_conforms_and_counts_the_same() -> None:
    run = crashing()
    assert simtx.check_log(run.trace, run.strategy).ok
    columns = data_from_trace(run.trace, run.scenario, {}).columns
    for name in ("messages", "forced_writes"):
        assert list(columns[name]) == list(run.data.columns[name])
    kinds = Counter(entry.kind for entry in run.trace)
    assert kinds["logonce"] >= kinds["logged"] > 0
    assert all(entry.peer == VOTE_STORE for entry in run.trace if entry.kind in ("logonce", "logged"))


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (lambda entry: entry._replace(detail="no"), "is said to be 'no', which nobody has asked to write"),
        (lambda entry: entry._replace(detail="maybe"), "has to be 'yes' or 'no'"),
        (lambda entry: None, "is handled, but the vote store has not given it"),
    ],
)
def test_an_answer_that_the_store_cannot_have_given_is_found(change: Any, finding: str) -> None:
    run = simtx.simulate(scenario(**{"run.transactions": 3}), "cornus", trace="full")
    entries = list(run.trace)
    place = next(index for index, entry in enumerate(entries) if entry.kind == "logged")
    changed = change(entries[place])
    entries[place : place + 1] = [] if changed is None else [changed]
    assert any(finding in one for one in simtx.check_log(EventLog(entries), run.strategy).problems)


def test_a_vote_that_changes_is_found() -> None:
    """Without the coordinator participants ask for a no of each other, and find a yes."""
    trigger = {"transaction": 1, "effect": "Answer", "when": "before"}
    faults = [{"kind": "crash", "node": "hub", "duration": "3s", "trigger": trigger}]
    run = simtx.simulate(scenario(faults=faults), "cornus", trace="full")
    entries = list(run.trace)
    asked = {(one.tx, one.name) for one in entries if one.kind == "logonce" and one.detail == "no"}
    told = [one for one in entries if one.kind == "logged" and (one.tx, one.name) in asked]
    assert {Vote.read(one).vote for one in told} == {"yes"}
    entries.append(told[0]._replace(id=entries[-1].id + 1, time=entries[-1].time, detail="no"))
    assert any("a vote never changes" in one for one in simtx.check_log(EventLog(entries), run.strategy).problems)


def test_the_detail_of_an_entry_is_read_or_refused() -> None:
    entry = next(one for one in simtx.simulate(scenario(), "cornus", trace="full").trace if one.kind == "logged")
    assert Vote.read(entry) == Vote("yes", written=True)
    with pytest.raises(EntryError, match="has to be 'yes' or 'no'"):
        Vote.read(entry._replace(detail="yes, twice"))
