"""Branches in doubt, row locks and unpublished messages that outlive the run count up to its end, in every world."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

import simtx
from simtx.metrics.replay import data_from_trace, summary_from_trace
from simtx.metrics.still_open import StillOpen
from simtx.reference.run_folder.collect import Left, still_open
from simtx.report import tables
from tests.metrics.test_replay import assert_same
from tests.simulator.worlds import chain


def hub_away(duration: str) -> simtx.Scenario:
    """`transfer` with 110 transactions; the coordinator crashes before the decision on number 100 is durable."""
    trigger = {"transaction": 100, "effect": "Append:commit", "when": "before"}
    fault = {"kind": "crash", "node": "hub", "duration": duration, "trigger": trigger}
    changes = {
        "run.duration": None,
        "run.transactions": 110,
        "run.warmup": "0s",
        "run.drain": "30s",
        "workload.rate": 50.0,
    }
    return simtx.load("transfer").replace(**changes, faults=[fault])


def test_the_longer_the_coordinator_is_away_the_longer_branches_are_in_doubt() -> None:
    """From 20 s, after which it comes back, to 30 days, of which nobody sees the end."""
    seen = [simtx.simulate(hub_away(duration), "2pc") for duration in ("20s", "25s", "1h", "30d")]
    doubt = [run.summary.in_doubt_seconds for run in seen]
    locks = [run.summary.lock_hold_seconds for run in seen]
    assert doubt == sorted(doubt)
    assert locks == sorted(locks)
    assert 80 < doubt[0] < 95  # four branches and a half, for 20 s
    assert doubt[-1] > 1.3 * doubt[0]
    assert [run.summary.in_doubt_open for run in seen[:2]] == [0, 0]
    last = seen[-1]
    assert last.summary.in_doubt_open == last.summary.locks_open > 0
    expected = f"{last.summary.in_doubt_open:.0f} branches in doubt, {last.summary.locks_open:.0f} row locks held"
    assert any(expected in line for line in last.warnings)
    assert "branches in doubt at the end" in tables.run_text(last)


def test_an_outbox_that_nobody_reads_is_unpublished() -> None:
    """The broker is away until the end: every row that was written is still there."""
    outage = {"kind": "broker-outage", "at": "0.5s", "duration": "5000.0s"}
    run = simtx.simulate(chain(3, key="k{tx}", transactions=10, faults=[outage], run={"drain": 30.0}), "outbox")
    assert run.summary.unpublished_open == 10
    assert any("10 messages unpublished" in line for line in run.warnings)
    assert simtx.simulate(chain(3), "outbox").summary.unpublished_open == 0


def test_an_event_log_tells_the_same() -> None:
    """Also of those who wait for a lock that is never let go."""
    scenario = hub_away("30d").replace(**{"run.drain": "3s"})
    run = simtx.simulate(scenario, "2pc", trace=True)
    assert_same(run)
    assert data_from_trace(run.trace, scenario).still_open == run.data.still_open != StillOpen()
    hot = chain(2, transactions=3, rate=770.0, lock_timeout=50.0, run={"drain": 5.0}, faults=_away(scenario, 0))
    waiting = simtx.simulate(hot, "2pc", trace=True)
    assert waiting.summary.lock_wait_mean_ms > 1000
    assert_same(waiting)


def _away(scenario: simtx.Scenario, tx: int) -> list[dict[str, Any]]:
    trigger = {"transaction": tx, "effect": "Append:commit", "when": "before"}
    return [{"kind": "crash", "node": "hub", "duration": "1000000.0s", "trigger": trigger}]


def test_a_comparison_says_it_for_each_strategy() -> None:
    comparison = simtx.compare(hub_away("30d"), ["2pc", "saga"], replications=2, workers=1)
    lines = [line for line in comparison.warnings if line.startswith("still open")]
    assert len(lines) == 1
    assert "the runs of 2pc, and counted up to there" in lines[0]
    assert "branches in doubt at the end [per run]" in str(comparison)


def test_the_line_is_in_words() -> None:
    assert str(StillOpen(2, 1, 0)) == "2 branches in doubt, 1 row lock held"
    assert str(StillOpen(1, 1234, 1)) == "1 branch in doubt, 1,234 row locks held, 1 message unpublished"
    assert StillOpen().warning() == str(StillOpen()) == ""


# --- executed for real ------------------------------------------------------------------------------------------------------------


def test_a_real_run_counts_what_its_stores_hold() -> None:
    """A branch that was prepared 2 s before the end, of a transaction that changes two rows there; a row that was not marked."""
    plan = [["s0", [["a", "add", -1], ["b", "set", 1], ["a", "add", 2]]], ["s1", [["c", "add", 1]]]]
    rows = [[None, 1.0, "arrive", "client", 7, None, "client", "s0", "", json.dumps(plan)]]
    left = {"s0": Left(((7, 3.0),), ((7, "event"),)), "s1": Left()}
    found = still_open(rows, left, 5.0)
    assert [(row[2], row[3], row[4], row[8], row[9]) for row in found] == [
        ("doubt", "s0", 7, "", "2.0"),
        ("held", "s0", 7, "a,b", "4.0"),
        ("unpublished", "s0", 7, "event", ""),
    ]
    assert math.isclose(found[0][1], 5.0)


@pytest.mark.slow
def test_a_real_coordinator_that_never_comes_back_leaves_branches_in_doubt(tmp_path: Any) -> None:
    """SIGKILL before the decision is durable: the stores hold the branch when the run ends."""
    lab = simtx.load("transfer-lab").replace(**{"run.duration": None, "run.warmup": "0s", "run.drain": "2s"})
    scenario = lab.replace(**{"run.transactions": 4}, faults=_away(lab, 3))
    run = simtx.execute(scenario, "2pc", folder=tmp_path / "run")
    summary = run.summary
    assert 2 <= summary.in_doubt_open <= 8
    assert summary.in_doubt_seconds > 2 * summary.in_doubt_open - 1  # the drain limit, of all of them
    assert summary.locks_open >= summary.in_doubt_open
    assert summary_from_trace(run.trace, scenario).in_doubt_open == summary.in_doubt_open


def test_locks_that_a_crash_destroys_count_up_to_the_crash() -> None:
    """A local transaction waits for its log for 5 s, with its row locked; the node crashes after 2 s of that. Another one waits for the row."""
    crash = {"kind": "crash", "node": "sender", "at": "3s", "duration": "1s"}
    alone = simtx.load("transfer").replace(
        **{
            "services.sender.store.log.forced_write": "5s",
            "transaction.parameters.payer.population": 1,
            "workload.rate": 1.0,
            "workload.kind": "deterministic",
            "run.transactions": 2,
            "run.warmup": "0s",
            "run.drain": "60s",
            "services.sender.store.lock_timeout": "9s",
            "faults": [crash],
        }
    )
    run = simtx.simulate(alone, "saga", trace=True)
    table = run.transactions.set_index("tx")
    lost = [one for one in run.trace if one.kind == "unlock" and one.time == 3.0]
    assert [one.tx for one in lost] == [0]
    assert 1.5 < float(lost[0].detail) < 3.0
    assert table.lock_hold_ms[0] >= 1e3 * float(lost[0].detail)
    waited = [one for one in run.trace if one.kind == "wait" and one.name == "lost"]
    assert [(one.tx, one.time) for one in waited] == [(1, 3.0)]
    assert 0.5 < float(waited[0].detail) < 1.0
    replayed = summary_from_trace(run.trace, alone)
    assert replayed["lock_hold_seconds"] == pytest.approx(run.summary.lock_hold_seconds)
