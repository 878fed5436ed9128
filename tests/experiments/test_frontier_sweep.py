"""The frontier of a sweep: real runs, few of them, of which none is played twice; and inputs that are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simtx
from simtx.errors import ScenarioError
from simtx.experiments.sweep import Sweep, sweep


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """Four corners of round trip and rate, three replications of short runs."""
    scenario = simtx.load("transfer").replace(**{"run.transactions": 60, "run.warmup": "0.05s"})
    return sweep(
        scenario,
        {"rtt": ["200us", "20ms"], "workload.rate": [60, 200], "hub.log.flush": ["group"]},
        ["2pc", "saga", "outbox"],
        parameters={"rtt": {"network.latency": 0.5}},
        replications=3,
        store=tmp_path_factory.mktemp("store"),
        executor="serial",
        progress=False,
        window="transactions",
    )


def test_the_search_goes_on_from_the_runs_of_the_store_and_asking_again_plays_nothing(tiny: Sweep) -> None:
    found = tiny.frontier("rtt", "workload.rate", between=("2pc", "saga"), budget=80, undecided_area=0.0)
    assert 0 < found.spent <= 80
    assert found.sweep is not None
    assert len(found.sweep) == len(tiny) + found.spent
    assert [axis.unit for axis in found.axes] == ["ms", "/s"]
    assert found.axes[0].scale == "log"
    corners = found.sites[(found.sites["workload.rate"] == 60) & np.isclose(found.sites["rtt"], 0.2)]
    assert len(corners) == 1
    played: list[Any] = []
    again = found.sweep.frontier(
        "rtt",
        "workload.rate",
        between=("2pc", "saga"),
        budget=80,
        undecided_area=1 - 1e-9,
        on_result=lambda row, outcome: played.append(row),
    )
    assert not played
    assert again.spent == 0
    assert again.caption == found.caption
    assert found.as_dict()["runs_added"] == found.spent
    assert found.provenance is not None
    call = ".frontier('rtt', 'workload.rate', between=('2pc', 'saga'), budget=80, undecided_area=0.0)"
    assert found.provenance.command == tiny.provenance.command + call


def test_only_the_strategies_that_are_compared_are_played(tiny: Sweep) -> None:
    found = tiny.frontier("rtt", between=("2pc", "outbox"), at={"workload.rate": 60}, budget=40, undecided_area=0.02)
    assert found.sweep is not None
    new = found.sweep.frame.merge(tiny.frame, how="left", indicator=True)
    assert set(new.loc[new["_merge"] == "left_only", "strategy"]) == {"2pc", "outbox"}
    assert set(new["workload.rate"]) == {60.0, 200.0}


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"x": "rt", "y": "workload.rate"}, "axis: 'rt' is no parameter of this sweep; did you mean 'rtt'?"),
        ({"x": "rtt", "y": "rtt"}, "y: both axes are 'rtt'"),
        ({"x": "rtt"}, "at: 'workload.rate' has several values (60, 200); hold one with at={'workload.rate': ...}"),
        ({"x": "hub.log.flush", "y": "rtt"}, "hub.log.flush: its values are no numbers, so that nothing is between them"),
        ({"x": "rtt", "y": "workload.rate", "between": ["2pc", "sage"]}, "between: 'sage' is no strategy of this sweep; did you mean 'saga'?"),
        ({"x": "rtt", "y": "workload.rate", "between": ["2pc"]}, "between: give two or more different strategies"),
        ({"x": "rtt", "y": "workload.rate", "metric": "latency"}, "metric: 'latency' is no metric"),
        ({"x": "rtt", "y": "workload.rate", "budget": 10}, "frontier: the first 6 sites need"),
        ({"x": "rtt", "y": "workload.rate", "budget": 0}, "budget: must be a whole number from 1, not 0"),
        ({"x": "rtt", "y": "workload.rate", "undecided_area": 1.5}, "undecided_area: must be a share from 0 to below 1, not 1.5"),
        ({"x": "rtt", "y": "workload.rate", "better": "less"}, "better: 'less' is neither 'lower' nor 'higher'"),
        ({"x": "rtt", "y": "workload.rate", "scales": {"rate": "log"}}, "scales: 'rate' is no axis of this map"),
        ({"x": "rtt", "y": "workload.rate", "at": {"rtt": 3}}, "at: 'rtt' is no parameter that could be held"),
    ],
)  # fmt: skip
def test_wrong_inputs_are_one_line(tiny: Sweep, arguments: dict[str, Any], error: str) -> None:
    with pytest.raises(ScenarioError) as refused:
        tiny.frontier(**{"between": ["2pc", "saga"], **arguments})
    assert str(refused.value).startswith(error)


def test_whole_numbers_stay_whole(tmp_path: Path) -> None:
    scenario = simtx.load("transfer").replace(**{"run.transactions": 40, "run.warmup": "0.05s"})
    workers = f"services.{next(iter(scenario.services))}.workers"
    over = {workers: [1, 6]}
    runs = sweep(scenario, over, ["2pc", "saga"], replications=2, store=tmp_path, executor="serial", progress=False)
    found = runs.frontier(workers, budget=60, undecided_area=0.0)
    assert (found.sites[workers] % 1 == 0).all()
    assert 2 < len(found.sites) <= 6


def test_a_mean_that_leaves_out_what_had_not_ended_draws_no_frontier_and_names_nobody(tmp_path: Path) -> None:
    """Behind a partition half of the transactions never end: the mean of the others says nothing about a strategy."""
    fault = {"kind": "partition", "at": "0.2s", "duration": "1h", "a": ["hub"], "b": ["receiver"]}
    changes = {"run.transactions": 40, "run.warmup": "0s", "run.drain": "1s", "faults": [fault]}
    scenario = simtx.load("transfer").replace(**changes)
    options: Any = {"replications": 3, "store": tmp_path, "executor": "serial", "progress": False}
    runs = sweep(scenario, {"network.latency": ["1ms", "2ms", "3ms"]}, ["2pc", "saga"], **options)
    assert set(runs.leading("latency_mean_ms")) == {("2pc", "saga")}
    assert runs.leaving_out("latency_p99_ms") == set()
    with pytest.raises(
        ScenarioError, match=r"latency_mean_ms leaves out what had not ended .* ask for 'latency_p99_ms'"
    ):
        runs.frontier("network.latency", metric="latency_mean_ms", budget=40)
    with pytest.raises(ScenarioError, match="latency_mean_ms of 2pc leaves out what had not ended in cell 0"):
        runs.sensitivity("latency_mean_ms")


def test_by_a_time_of_all_transactions_nobody_wins_where_who_leads_commits_much_less(
    tiny: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2PC is lower everywhere; at 200/s it is so since it aborts four in five. By what is committed alone it wins everywhere."""
    options: Any = {"between": ("2pc", "saga"), "at": {"rtt": "20ms"}}
    first = tiny.frontier("workload.rate", budget=60, undecided_area=0.0, **options)
    assert isinstance(first.sweep, Sweep)
    frame = first.sweep.frame
    two, high = frame["strategy"] == "2pc", frame["workload.rate"] > 190
    frame["committed_share"] = np.where(two & high, 0.2, 0.95) + 0.001 * (frame["replication"] % 2)
    for metric in ("decision_p99_ms", "decision_committed_p99_ms"):
        frame[metric] = np.where(two, 10.0, 20.0) + 0.01 * frame["replication"]
    monkeypatch.setattr(first.sweep, "_frame", frame)
    found = first.sweep.frontier("workload.rate", metric="decision_p99_ms", undecided_area=1 - 1e-9, **options)
    assert found.spent == 0
    assert found.winner(**{"workload.rate": 70.0})[0] == "2pc"
    assert found.winner(**{"workload.rate": 199.0})[0] == ""
    assert found.caption.endswith("; nobody where 2pc ends early by aborting")
    assert "warning: decision_p99_ms ranks nobody at " in str(found)
    assert "2pc commits much less than saga" in str(found)
    assert "ask for 'decision_committed_p99_ms'" in str(found)
    assert found.as_dict()["aborting"] == ["2pc"]
    alone = first.sweep.frontier(
        "workload.rate", metric="decision_committed_p99_ms", undecided_area=1 - 1e-9, **options
    )
    assert alone.areas["2pc"] == 1
    assert not alone.aborting
    frame.loc[two, "decision_p99_ms"] = 30.0 + 0.01 * frame["replication"]  # who aborts is behind: that is no artefact
    assert (
        first.sweep.frontier("workload.rate", metric="decision_p99_ms", undecided_area=1 - 1e-9, **options).areas[
            "saga"
        ]
        == 1
    )


def test_answers_that_mean_different_things_are_not_compared_without_a_word(tiny: Sweep, tmp_path: Path) -> None:
    """The outbox answers that it has accepted, two-phase commit that all is decided."""
    both = ["2pc", "outbox"]
    found = tiny.frontier("rtt", between=both, at={"workload.rate": 60}, budget=40, undecided_area=0.9)
    said = "times until the answer are not like with like: an answer means decided by 2pc; accepted by outbox"
    assert f"warning: {said}" in str(found)
    assert found.caption.startswith("not like with like: ")
    options: Any = {"factors": {"workload.rate": "20%"}, "replications": 2, "store": tmp_path, "executor": "serial"}
    study = simtx.sensitivity(tiny.scenario, both, "latency_p50_ms", **options)
    assert study.support.startswith(f"not supported: {said}")
    assert study.winner == ""
    assert "their answers mean different things" in study.caption
    assert simtx.sensitivity(tiny.scenario, both, "decision_p50_ms", **options).unlike == ""
