"""Event-sourced aggregates in a simulated world: a closed form of conflicts, what each rule does, and that they change no transaction."""

from __future__ import annotations

import math
from typing import Any

import pytest

import simtx
from simtx.errors import ScenarioError

ACCOUNT: dict[str, Any] = {"key": "account", "commands": "40/s", "load_time": "0s", "decide_time": "20ms"}


def bank(kinds: dict[str, dict[str, Any]], **changes: Any) -> simtx.Scenario:
    """A transfer of few transactions, with aggregates beside."""
    few = {"run.transactions": 60, "run.warmup": "0s", "workload.rate": "4/s", **changes}
    return simtx.load("transfer").replace(aggregates={name: {**ACCOUNT, **one} for name, one in kinds.items()}, **few)


def figures(run: simtx.Run, kind: str) -> dict[str, float]:
    """The metrics of a kind of aggregates."""
    prefix = f"aggregate_{kind}_"
    return {name.removeprefix(prefix): value for name, value in run.summary.items() if str(name).startswith(prefix)}


@pytest.mark.parametrize("rate", [10, 50, 120])
def test_the_share_of_conflicts_is_that_of_theory(rate: int) -> None:
    """Of one aggregate whose commands give up: an append succeeds T after the first load behind the one before, so L·T / (1 + L·T) are lost."""
    one = {"commands": f"{rate}/s", "append_time": "0s", "conflict": "give-up"}
    found = figures(simtx.simulate(bank({"once": one}), "saga"), "once")
    expected = rate * 0.02 / (1 + rate * 0.02)
    spread = math.sqrt(expected * (1 - expected) / found["commands"])
    assert found["conflict_share"] == pytest.approx(expected, abs=4 * spread)
    assert found["attempts_mean"] == 1
    assert found["given_up"] == round(found["conflict_share"] * found["commands"])
    assert found["latency_p99_ms"] == pytest.approx(20)


def test_what_the_checker_refutes_overdraws_and_does_twice_and_the_rule_does_neither() -> None:
    """The same commands for all: an account with less money than commands, and answers that get lost."""
    poor = {"balance": 100, "loss": "5%", "timeout": "100ms"}
    kinds = {
        "rule": poor,
        "any": {**poor, "append": "any"},
        "again": {**poor, "conflict": "append"},
        "forgetful": {**poor, "recognises": False, "balance": 1_000_000},
    }
    run = simtx.simulate(bank(kinds), "saga")
    found = {name: figures(run, name) for name in kinds}
    assert len({one["commands"] for one in found.values()}) == 1
    assert found["rule"]["commands"] > 200
    assert (found["rule"]["overdrawn"], found["rule"]["twice"], found["rule"]["unfinished"]) == (0, 0, 0)
    assert found["rule"]["longest_stream"] == 100
    assert found["any"]["overdrawn"] == found["again"]["overdrawn"] == 1
    assert found["any"]["conflict_share"] == 0 < found["rule"]["conflict_share"]
    assert found["forgetful"]["twice"] > 0
    assert found["any"]["twice"] == 0


def test_one_aggregate_takes_no_more_than_one_command_in_the_time_from_its_state_to_its_append() -> None:
    """Ten times as many aggregates, ten times as few commands for each: hardly a conflict."""
    one = {"commands": "45/s", "append_time": "0s", "retry_after": "1ms"}
    kinds = {"hot": one, "spread": {**one, "key": "account:{payer}"}}
    changes = {"transaction.parameters.payer.population": 400, "transaction.parameters.payer.popularity": "uniform"}
    run = simtx.simulate(bank(kinds, **changes), "saga")
    hot, spread = figures(run, "hot"), figures(run, "spread")
    assert hot["attempts_mean"] > 1.5 > 1.05 > spread["attempts_mean"] >= 1
    assert hot["latency_p99_ms"] > 5 * spread["latency_p99_ms"]
    assert hot["unfinished"] == 0


def test_snapshots_make_long_streams_quick_to_load() -> None:
    long = {"event_time": "100us", "commands": "20/s", "decide_time": "1ms"}
    run = simtx.simulate(bank({"whole": long, "snapshots": {**long, "snapshot_every": 20}}), "saga")
    whole, snapshots = figures(run, "whole"), figures(run, "snapshots")
    assert whole["longest_stream"] == snapshots["longest_stream"] > 100
    assert whole["latency_p99_ms"] > 2 * snapshots["latency_p99_ms"]


def test_aggregates_change_no_transaction() -> None:
    with_them = simtx.simulate(bank({"a": {}}), "2pc")
    assert with_them.transactions.equals(simtx.simulate(bank({}), "2pc").transactions)
    with pytest.raises(ScenarioError, match="it has event-sourced aggregates"):
        simtx.simulate(bank({"a": {}}), "2pc", engine="fast")


@pytest.mark.parametrize(
    ("one", "line"),
    [
        ({"key": "account:{payr}"}, "aggregates.a.key: '{payr}' is no key parameter; did you mean 'payer'?"),
        ({"append": "expectd"}, "aggregates.a.append: "),
        ({"commands": None}, "aggregates.a.commands"),
    ],
)
def test_what_makes_no_sense_is_one_line(one: dict[str, Any], line: str) -> None:
    with pytest.raises(ScenarioError) as refused:
        bank({"a": one})
    assert line in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
