"""Sweeps: what is finished is found again, what is missing is played, and the result is that of one uninterrupted call."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import simtx
from simtx import ScenarioError
from simtx.experiments.sweep.ledger import Wanted
from simtx.experiments.sweep.runner import Runner
from simtx.experiments.sweep.store import Store
from simtx.experiments.sweep.study import Row
from simtx.progress import progress_bar
from simtx.protocols import Saga

OVER = {"workload.rate": [100, 200]}
Play = Callable[..., simtx.Sweep]


# --- the frame ----------------------------------------------------------------------------------------------------------------------


def test_one_row_a_cell_strategy_and_replication(tiny: simtx.Scenario, whole: simtx.Sweep) -> None:
    frame = whole.frame
    order = [(rate, name, n) for rate in (100, 200) for name in ("2pc", "outbox") for n in (0, 1)]
    assert list(zip(frame["workload.rate"], frame["strategy"], frame["replication"], strict=True)) == order
    assert set(frame["state"]) == {"done"}
    row = frame.iloc[5]
    scenario = tiny.replace(**{"workload.rate": 200, "run.duration": "400ms"})
    run = simtx.simulate(scenario, "2pc", seed=1, replication=1)
    assert row["digest"] == run.digest
    for metric in ("latency_p99_ms", "events", "drift_gross_mean"):
        assert row[metric] == run.summary[metric]


def test_the_same_call_plays_nothing(
    tiny: simtx.Scenario, whole: simtx.Sweep, play: Play, counted: Any, same: Any
) -> None:
    once = counted()
    same(play(tiny, whole.store.folder, once), whole)
    assert once.rows == []


def test_more_replications_and_values_add_to_it(
    tiny: simtx.Scenario, tmp_path: Path, whole: simtx.Sweep, play: Play, counted: Any
) -> None:
    """The unit is the run: 2 to 3 replications, a third rate, another strategy: only those that are new are played."""
    once = counted()
    play(tiny, tmp_path, over={"workload.rate": [100]}, replications=1)
    play(tiny, tmp_path, once)
    assert (0, "2pc", 0) not in once.rows
    assert len(once.rows) == 6
    more = counted()
    wider = play(tiny, tmp_path, more, over={"workload.rate": [50, 100, 200]}, strategies=["saga", "2pc", "outbox"])
    assert len(more.rows) == 2 * 3 + 2 * 2  # saga everywhere, the others at 50/s
    part = wider.frame[wider.frame["workload.rate"].isin([100, 200]) & (wider.frame["strategy"] != "saga")]
    assert part.to_csv(index=False) == whole.frame.to_csv(index=False)


def test_cells_meet_the_same_random_numbers(tiny: simtx.Scenario, tmp_path: Path, play: Play) -> None:
    """A field that changes nothing about a strategy changes no digit of its runs (common random numbers across cells)."""
    result = play(tiny, tmp_path, over={"hub.log.lazy_flush": ["0.2s", "0.3s"]}, strategies=["outbox"])
    assert result.frame["digest"].nunique() == 2  # one a replication, though there are four rows


def test_runs_that_cells_have_in_common_are_played_once(
    tiny: simtx.Scenario, tmp_path: Path, play: Play, counted: Any
) -> None:
    once = counted()
    result = play(tiny, tmp_path, once, over={"outbox:poll_interval": ["10ms", "50ms", "90ms"]}, replications=1)
    assert len(once.rows) == 4  # 2pc once, outbox three times
    assert len(result.frame) == 6
    assert result.frame.groupby("strategy")["digest"].nunique().to_dict() == {"2pc": 1, "outbox": 3}


def test_figures_can_be_read_without_simtx(whole: simtx.Sweep) -> None:
    """The table of the sweep, and all runs of the store: any reader of Parquet finds the same numbers."""
    frames = list((whole.store.folder / "frames").glob("*.parquet"))
    assert len(frames) == 1
    pd.testing.assert_frame_equal(pd.read_parquet(frames[0]), whole.frame)
    parts = pd.read_parquet(whole.store.folder / "figures")
    assert len(parts) == 8
    assert sorted(parts["digest"]) == sorted(whole.frame["digest"])
    assert {"key", "scenario", "changes", "strategy", "seed", "replication"} <= set(parts)


def test_a_dry_run_counts_and_plays_nothing(tiny: simtx.Scenario, tmp_path: Path, play: Play, counted: Any) -> None:
    once = counted()
    empty = simtx.sweep(tiny, OVER, ["2pc", "saga"], replications=3, store=tmp_path, dry_run=True, on_result=once)
    assert (empty.rows, empty.new, empty.cached) == (12, 12, 0)
    assert math.isnan(empty.seconds)
    assert "time unknown: no run is finished yet" in str(empty)
    play(tiny, tmp_path, strategies=["2pc", "saga"])
    plan = simtx.sweep(tiny, OVER, ["2pc", "saga"], replications=3, store=tmp_path, dry_run=True, workers=2)
    assert (plan.runs, plan.new, plan.cached, plan.stale, plan.failed) == (12, 4, 8, 0, 0)
    assert 0 < plan.seconds < 100
    assert "by 8 finished runs of the same size, on 2 processes" in str(plan)
    assert once.rows == []


def test_extend_plays_the_given_cells_and_keeps_the_others(
    tiny: simtx.Scenario, tmp_path: Path, play: Play, counted: Any
) -> None:
    """More replications of one cell, a cell that is new, a cell for one strategy only; values in the units of the frame."""
    first = play(tiny, tmp_path, over={"network.latency": ["1ms", "3ms"]})
    once = counted()
    cells = pd.DataFrame({"network.latency": [0.003, 0.005], "strategy": ["2pc", "outbox"]})
    wider = first.extend(cells, 3, on_result=once)
    assert sorted(once.rows) == [(1, "2pc", 2), (2, "outbox", 0), (2, "outbox", 1), (2, "outbox", 2)]
    values = wider.values("latency_p50_ms")
    assert list(values.columns) == ["network.latency", "strategy", "replication", "value"]
    assert values.groupby(["network.latency", "strategy"]).size().to_dict() == {
        (0.001, "2pc"): 2,
        (0.001, "outbox"): 2,
        (0.003, "2pc"): 3,
        (0.003, "outbox"): 2,
        (0.005, "outbox"): 3,
    }
    assert len(first.frame) == 8  # what was there is what it was
    with pytest.raises(ScenarioError, match=r"must have the columns network.latency, not rate"):
        first.extend([{"rate": 5}], 1)
    with pytest.raises(ScenarioError, match="'sagas' is no strategy of this sweep"):
        first.extend([{"network.latency": 0.1, "strategy": "sagas"}], 1)


def test_a_cell_is_compared_as_compare_would(tiny: simtx.Scenario, whole: simtx.Sweep) -> None:
    scenario = tiny.replace(**{"workload.rate": 200, "run.duration": "400ms"})
    expected = simtx.compare(scenario, ["2pc", "outbox"], replications=2, workers=1)
    comparison = whole.compare({"workload.rate": "200/s"})
    assert comparison.frame.to_csv(index=False) == expected.frame.to_csv(index=False)
    assert comparison.promises == {"2pc": "decided", "outbox": "accepted"}
    assert whole.interval(1, "2pc", "latency_p50_ms") == comparison.interval("2pc", "latency_p50_ms")
    for wrong, problem in (({"workload.rate": 7}, "no cell has workload.rate=7"), ({}, "2 cells have no values")):
        with pytest.raises(ScenarioError, match=problem):
            whole.compare(wrong)


def test_a_new_seed_shares_nothing(tiny: simtx.Scenario, tmp_path: Path, whole: simtx.Sweep, play: Play) -> None:
    other = play(tiny, tmp_path, seed=2)
    assert not set(other.frame["digest"]) & set(whole.frame["digest"])


# --- failures -----------------------------------------------------------------------------------------------------------------------


class Broken(Saga):
    """Has a bug that only shows at higher rates."""

    @property
    def name(self) -> str:
        return "broken"

    def check(self, plan: Any) -> str | None:
        return None

    def machine(self, node: str, tx: int) -> Any:
        if tx > 30:
            raise ZeroDivisionError(f"a bug\nin transaction {tx}")
        return super().machine(node, tx)


def test_a_failed_run_is_a_row_and_analysis_says_so(
    tiny: simtx.Scenario, tmp_path: Path, play: Play, counted: Any
) -> None:
    short = tiny.replace(**{"run.transactions": 25})
    over = {"run.transactions": [25, 60]}
    result = play(short, tmp_path, over=over, strategies=["2pc", Broken()])
    frame = result.frame
    assert len(frame) == 8
    failed = frame[frame["state"] == "failed"]
    assert list(failed["error"]) == ["ZeroDivisionError: a bug"] * 2
    assert failed["latency_p99_ms"].isna().all()
    row = result.failures.iloc[0]
    assert (row["run.transactions"], row["stage"], row["type"], row["message"]) == (
        60,
        "simulating",
        "ZeroDivisionError",
        "a bug",
    )
    assert "seed=1, replication=0" in row["repeat_with"]
    with pytest.raises(
        ScenarioError,
        match=r"2 of 8 runs have failed .the first: run.transactions=60, broken, replication 0, ZeroDivisionError: a bug",
    ):
        result.values("latency_p99_ms")
    assert len(result.values("latency_p99_ms", incomplete="drop")) == 6
    assert any("2 of 8 runs have failed" in one for one in result.warnings)
    once = counted()
    play(short, tmp_path, once, over=over, strategies=["2pc", Broken()])
    assert once.rows == []  # a failure is a result, too
    play(short, tmp_path, once, over=over, strategies=["2pc", Broken()], retry_failed=True)
    assert len(once.rows) == 2


def test_after_equal_failures_a_cell_is_given_up_and_the_others_go_on(
    tiny: simtx.Scenario, tmp_path: Path, play: Play, counted: Any
) -> None:
    once = counted()
    over = {"run.transactions": [25, 60]}
    result = play(tiny, tmp_path, once, over=over, strategies=[Broken()], replications=6)
    assert len(once.rows) == 6 + 3
    assert list(result.missing["replication"]) == [3, 4, 5]
    assert set(result.missing["reason"]) == {"3 runs have failed with ZeroDivisionError: a bug"}
    again = counted()
    play(tiny, tmp_path, again, over=over, strategies=[Broken()], replications=6)
    assert again.rows == []


def test_the_command_that_repeats_a_failed_run_can_be_typed(
    tiny: simtx.Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, play: Play
) -> None:
    """With the values of its cell; a policy of the strategy is one of the scenario, when it plays alone."""
    import simtx.simulator

    def fail(*_: Any, **__: Any) -> simtx.Run:
        raise simtx.RunFailed("no memory")

    monkeypatch.setattr(simtx.simulator, "simulate", fail)
    result = play(tiny, tmp_path, over={"workload.rate": [50], "outbox:poll_interval": ["10ms"]}, strategies=["outbox"])
    assert result.failures["repeat_with"].iloc[1] == (
        "simtx simulate transfer outbox --seed 1 --replication 1 --set run.warmup=0.05s "
        "--set workload.rate=50 --set run.duration=0.4s --set policies.poll_interval=10ms"
    )


# --- other code ---------------------------------------------------------------------------------------------------------------------


def test_a_stale_run_says_what_changed_and_is_kept_on_request(
    tiny: simtx.Scenario, tmp_path: Path, play: Play, counted: Any, same: Any
) -> None:
    """As if the store had been filled before `simtx.protocols.saga` was changed."""
    old = play(tiny, tmp_path)
    store = Store(tmp_path)
    now = store.ledger.modules(old.study.variant(old.study.cells[0], "2pc")[2].text)
    store.ledger.remember({}, {"older": {**now, "simtx.protocols.saga": "00000000"}})
    with store.ledger._transaction() as db:
        db.execute("UPDATE runs SET key = 'old-' || key, code = 'older' WHERE strategy = '2pc'")
        db.execute(
            "UPDATE runs SET digest = 'of before', part = NULL, figures = '[' || (SELECT group_concat('1.0') FROM json_each((SELECT names FROM metrics))) || ']' WHERE strategy = '2pc'"
        )
    plan = simtx.sweep(tiny, OVER, ["2pc", "outbox"], replications=2, store=tmp_path, dry_run=True)
    assert (plan.cached, plan.stale, plan.new, plan.changed) == (4, 4, 0, ["simtx.protocols.saga"])
    assert "4 stale, to be played again: simtx.protocols.saga changed" in str(plan)
    once = counted()
    accepted = play(tiny, tmp_path, once, accept_stale=True)
    assert once.rows == []
    assert list(accepted.frame["state"]) == ["stale", "stale", "done", "done"] * 2
    assert set(accepted.frame.query("state == 'stale'")["digest"]) == {"of before"}
    assert any("4 of 8 runs are of other code" in one for one in accepted.warnings)
    fresh = play(tiny, tmp_path, once)
    assert len(once.rows) == 4
    same(fresh, old)


def test_runs_that_were_never_played_under_other_code_do_not_wait_for_ever(
    tiny: simtx.Scenario, tmp_path: Path, play: Play, counted: Any, same: Any
) -> None:
    """Interrupted, then the code changes: what was still to be played is played under the code of today, and nothing stays pending.

    A process of the other code that is still at work takes its runs up again.
    """
    stop = counted(lambda count: count == 3 and os.kill(os.getpid(), signal.SIGINT))
    play(tiny, tmp_path, stop)
    store = Store(tmp_path)
    with store.ledger._transaction() as db:
        db.execute("UPDATE runs SET key = 'old-' || key, code = 'older'")
    counts = "SELECT state, count(*) FROM runs GROUP BY state ORDER BY state"
    with store.ledger._transaction() as db:
        assert dict(db.execute(counts).fetchall()) == {"done": 3, "pending": 5}
        fields = ", ".join(Wanted._fields)
        rows = db.execute(f"SELECT {fields} FROM runs WHERE state = 'pending'")  # noqa: S608 - our own names
        waiting = [Wanted._make(row) for row in rows]
    rest = counted()
    fresh = play(tiny, tmp_path, rest)
    assert len(rest.rows) == 8
    with store.ledger._transaction() as db:
        assert dict(db.execute(counts).fetchall()) == {"done": 8, "stale": 3}
    runner = Runner(fresh.study, store, [], fresh.settings)
    runner._elsewhere = {one.key: (one, Row(0, "2pc", 0)) for one in waiting}
    with progress_bar(1, "runs", wanted=False) as bar:
        assert runner._look(bar)
    assert sorted(one.key for one, _ in runner._queue) == sorted(one.key for one in waiting)
    assert all(store.ledger.lease(one.key, "me") for one in waiting)


# --- decisions ----------------------------------------------------------------------------------------------------------------------


def test_a_figure_has_the_interval_that_the_comparison_of_its_cell_gives_it(whole: simtx.Sweep) -> None:
    """Also where nothing can be above the offered rate."""
    for metric in ("latency_p99_ms", "goodput_per_s", "throughput_per_s", "committed_share"):
        for number in whole.cells.index:
            one = whole.compare(int(number))
            for name in one.strategies:
                assert whole.interval(int(number), name, metric)[:4] == one.interval(name, metric)[:4]
    one = whole.interval(0, "2pc", "goodput_per_s")
    assert one.high == max(100, one.mean)


def test_the_best_of_each_cell_is_that_of_its_comparison_and_all_cells_hold_together(
    tiny: simtx.Scenario, tmp_path: Path, play: Play
) -> None:
    """Two cells: each is decided at 97.5 % so that both hold at 95 %; by itself at 95 %."""
    sweep = play(tiny, tmp_path, replications=6)
    for jointly, level in ((True, 0.975), (False, 0.95)):
        best = sweep.best("messages_per_transaction", jointly=jointly)
        for number, row in best.iterrows():
            one = sweep.compare(int(number)).best("messages_per_transaction", confidence=level)
            assert (row["strategy"], row["supported"], row["candidates"]) == (
                one.strategy,
                one.supported,
                one.candidates,
            )
    assert list(best["workload.rate"]) == [100, 200]
    assert list(best["strategy"]) == ["outbox", "outbox"]
    assert best["supported"].all()
    assert best["guaranteed"].all()
