"""Comparisons: independent of workers and order, paired by common random numbers, and nothing finished is lost."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import pytest

import simtx
from simtx import RunFailed, ScenarioError
from simtx.experiments import Result, interval, paired, ratio
from simtx.experiments.compare import labelled
from simtx.protocols import Saga, strategy


@pytest.fixture(scope="module")
def comparison(small: simtx.Scenario) -> simtx.Comparison:
    return simtx.compare(small, replications=3, seed=5, workers=1)


def test_one_row_a_strategy_and_replication(comparison: simtx.Comparison) -> None:
    frame = comparison.frame
    expected = [(name, n) for name in ("2pc", "saga", "outbox", "dual-write") for n in range(3)]
    assert list(zip(frame["strategy"], frame["replication"], strict=True)) == expected
    assert not comparison.interrupted
    assert comparison.failures.empty


def test_each_row_is_the_run_of_that_replication(small: simtx.Scenario, comparison: simtx.Comparison) -> None:
    row = comparison.frame.iloc[4]
    run = simtx.simulate(small, "saga", seed=5, replication=1)
    assert row["digest"] == run.digest
    assert row["latency_p99_ms"] == run.summary["latency_p99_ms"]


def test_result_does_not_depend_on_workers_nor_on_order(small: simtx.Scenario, comparison: simtx.Comparison) -> None:
    """Two processes, the strategies given backwards: the same numbers to the last digit."""
    parallel = simtx.compare(small, ["dual-write", "outbox", "saga", "2pc"], replications=3, seed=5, workers=2)
    order = ["strategy", "replication"]
    expected = comparison.frame.sort_values(order, ignore_index=True)
    pd.testing.assert_frame_equal(parallel.frame.sort_values(order, ignore_index=True), expected, check_exact=True)


def test_table_is_the_interval_over_replications(comparison: simtx.Comparison) -> None:
    table = comparison.table(["latency_p50_ms", "messages_per_transaction"], confidence=0.9)
    values = comparison.frame.query("strategy == 'saga'")["latency_p50_ms"]
    one = interval(values, 0.9, kind="positive")
    assert tuple(table.loc["saga", "latency_p50_ms"]) == (one.mean, one.low, one.high, one.half_width, 3)
    assert list(table["promise"]) == ["decided", "decided", "accepted", "accepted"]


def test_differences_are_paired_by_replication(comparison: simtx.Comparison) -> None:
    frame = comparison.frame.pivot_table(index="replication", columns="strategy", values="latency_p50_ms")
    differences = comparison.differences("2pc", ["latency_p50_ms"])
    assert list(differences.index) == ["saga - 2pc", "outbox - 2pc", "dual-write - 2pc"]
    one = paired(frame["saga"], frame["2pc"])
    assert tuple(differences.loc["saga - 2pc", "latency_p50_ms"]) == (one.mean, one.low, one.high, one.half_width, 3)


def test_ratios_are_paired_by_replication_and_only_of_what_cannot_be_negative(comparison: simtx.Comparison) -> None:
    frame = comparison.frame.pivot_table(index="replication", columns="strategy", values="latency_p99_ms")
    ratios = comparison.ratios("2pc")
    assert list(ratios.index) == ["saga / 2pc", "outbox / 2pc", "dual-write / 2pc"]
    one = ratio(frame["saga"], frame["2pc"])
    assert tuple(ratios.loc["saga / 2pc", "latency_p99_ms"]) == (one.mean, one.low, one.high, one.half_width, 3)
    assert "committed_share" not in ratios


def test_no_throughput_interval_is_above_the_offered_rate(comparison: simtx.Comparison) -> None:
    rate = comparison.scenario.workload.rate
    for name in comparison.strategies:
        one = comparison.interval(name, "throughput_per_s", confidence=0.999)
        assert one.low < one.mean < rate == one.high


def test_promises_say_what_an_answer_means(comparison: simtx.Comparison) -> None:
    assert comparison.promises == {"2pc": "decided", "saga": "decided", "outbox": "accepted", "dual-write": "accepted"}


def test_two_variants_of_one_strategy_are_told_apart(small: simtx.Scenario) -> None:
    both = simtx.compare(small, ["2pc", "2pc:work=before"], replications=1, workers=1)
    assert both.strategies == ["2pc", "2pc:work=before"]
    assert len(set(both.frame["digest"])) == 2


def test_every_result_is_reported_once(small: simtx.Scenario) -> None:
    seen: list[Result] = []
    simtx.compare(small, ["saga", "2pc"], replications=2, workers=1, on_result=seen.append)
    assert sorted((one.strategy, one.replication) for one in seen) == [("2pc", 0), ("2pc", 1), ("saga", 0), ("saga", 1)]


# --- trouble ------------------------------------------------------------------------------------------------------------------


class Broken(Saga):
    """A strategy with a bug."""

    @property
    def name(self) -> str:
        return "broken"

    def machine(self, node: str, tx: int) -> Any:
        raise ZeroDivisionError("a bug of the author's")


def test_a_failed_run_is_a_row_with_its_repetition(small: simtx.Scenario) -> None:
    result = simtx.compare(small, ["2pc", Broken()], replications=2, seed=9, workers=1)
    assert list(result.frame["strategy"]) == ["2pc", "2pc"]
    assert list(result.failures["replication"]) == [0, 1]
    assert list(result.failures["error"]) == ["ZeroDivisionError: a bug of the author's"] * 2
    assert "seed=9, replication=1" in result.failures["repeat_with"].iloc[1]
    assert "broken, replication 0 failed: ZeroDivisionError: a bug of the author's" in result.warnings


def test_the_command_that_repeats_a_run_can_be_typed(small: simtx.Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    """Built-in scenario, changes and the strategy's options are all in it."""
    import simtx.simulator

    original = simtx.simulator.simulate

    def fail_once(scenario: Any, strategy: Any, *, replication: int, **more: Any) -> simtx.Run:
        if replication == 1:
            raise RunFailed("no memory")
        return original(scenario, strategy, replication=replication, **more)

    monkeypatch.setattr(simtx.simulator, "simulate", fail_once)
    result = simtx.compare(small, ["2pc:work=before"], replications=2, seed=3, workers=1)
    assert result.strategies == ["2pc"]
    assert list(result.failures["repeat_with"]) == [
        "simtx simulate transfer 2pc:work=before --seed 3 --replication 1 --set run.transactions=150 --set run.warmup=0.1s"
    ]


def test_equal_failures_stop_it_early(small: simtx.Scenario) -> None:
    """Three times the same error of one strategy: the other 37 runs would say nothing new."""
    result = simtx.compare(small, ["2pc", Broken()], replications=20, workers=1)
    assert len(result.failures) == 3
    assert result.interrupted
    assert result.stopped == "stopped after 3 equal failures of broken"


def test_nothing_finished_is_an_error(small: simtx.Scenario) -> None:
    with pytest.raises(
        RunFailed, match="broken, replication 0: ZeroDivisionError: a bug of the author's; repeat with: "
    ):
        simtx.compare(small, [Broken()], replications=4, workers=1)


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_keeps_what_is_finished(small: simtx.Scenario, workers: int) -> None:
    """The signal comes after the fifth result; all that is finished is kept, with the numbers that it would have had anyway."""
    results: list[Result] = []

    def interrupt(result: Result) -> None:
        results.append(result)
        if len(results) == 5:
            os.kill(os.getpid(), signal.SIGINT)

    comparison = simtx.compare(small, replications=10, seed=5, workers=workers, on_result=interrupt)
    assert comparison.interrupted
    assert comparison.stopped == "interrupted"
    assert 5 <= len(comparison.frame) == len(results) < 40
    assert f"interrupted; {len(results)} of 40 runs are finished" in comparison.warnings
    one = results[0]
    assert simtx.simulate(small, one.strategy, seed=5, replication=one.replication).digest == one.digest


class Killed(Saga):
    """Kills its worker, as a lack of memory does."""

    @property
    def name(self) -> str:
        return "killed"

    def machine(self, node: str, tx: int) -> Any:
        os._exit(9)


def by_value() -> None:
    """Workers cannot import this file: what it defines travels by value, as from a notebook."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.mark.heavy  # in short: test_pool.py, and a sweep's in sweep/test_interruptions.py
def test_a_dying_worker_ends_nothing(small: simtx.Scenario, comparison: simtx.Comparison) -> None:
    """What was under way with it is played again; the runs that kill whatever worker plays them are failures with a name."""
    by_value()
    killed = simtx.compare(small, ["2pc", Killed(), "saga"], replications=2, seed=5, workers=2)
    assert not killed.stopped
    expected = comparison.frame.query("strategy in ('2pc', 'saga') and replication < 2").reset_index(drop=True)
    pd.testing.assert_frame_equal(killed.frame, expected, check_exact=True)
    assert list(killed.failures["strategy"]) == ["killed", "killed"]
    assert set(killed.failures["error"]) == {
        "WorkerDied: its worker process died 2 times with this run alone in it: killed, out of memory, or a crash of an extension module"
    }


# --- wrong input --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"replications": 0}, "replications: must be a whole number from 1, or None, not 0"),
        ({"replications": 2.5}, "replications: must be a whole number from 1, or None, not 2.5"),
        ({"workers": 0}, "workers: must be a whole number from 1"),
        ({"seed": np.random.default_rng(1)}, "seed: must be a whole number from 0, not Generator(PCG64)"),
        ({"seed": -1}, "seed: must be a whole number from 0, not -1"),
        ({"strategies": []}, "strategies: must be a list of strategies, names or objects, at least 1, not []"),
        ({"strategies": "saga"}, "strategies: must be a list of strategies, names or objects, at least 1, not 'saga'"),
        ({"strategies": ["saga", "saga"]}, "strategies: saga is there twice"),
        ({"strategies": ["sagas"]}, "did you mean 'saga'"),
    ],
)
def test_wrong_input_is_refused(small: simtx.Scenario, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        simtx.compare(small, **options)
    assert problem in str(caught.value)


def test_strategies_of_one_name_are_told_apart_by_their_options_alone(small: simtx.Scenario) -> None:
    """Also if they have the scenario's policies already, which need no word."""
    given = ["outbox", "outbox:reader=lock"]
    filled = [strategy(one, small.policies) for one in given]
    assert list(labelled(given, small)) == list(labelled(filled, small)) == given


def test_unknown_names_are_refused(comparison: simtx.Comparison) -> None:
    with pytest.raises(ScenarioError, match="'latency' is no metric"):
        comparison.table(["latency"])
    with pytest.raises(ScenarioError, match="'latency' is no metric"):
        comparison.differences("2pc", ["latency"])
    with pytest.raises(ScenarioError, match="'3pc' was not compared"):
        comparison.differences("3pc")
    with pytest.raises(ScenarioError, match="strictly between 0 and 1"):
        comparison.table(confidence=95)
