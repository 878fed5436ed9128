"""What is saved is read back equal, in a form that others read too, and never in place of something else."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

import simtx
from simtx import ScenarioError
from simtx.experiments import saved
from simtx.experiments.saved import StoredStrategy, decoded, encoded
from simtx.protocols import Backoff, Policies, Saga
from simtx.scenario import Empirical, Lognormal

SMALL = {"run.transactions": 60, "run.warmup": "0.1s", "workload.rate": 30}


class Mine(Saga):
    """A strategy of the user's."""

    name = "mine"


@pytest.fixture(scope="module")
def scenario() -> simtx.Scenario:
    return simtx.load("transfer").replace(**SMALL)


def same_run(one: simtx.Run, other: simtx.Run) -> None:
    pd.testing.assert_series_equal(one.summary, other.summary, check_exact=True)
    pd.testing.assert_frame_equal(one.transactions, other.transactions, check_exact=True)
    pd.testing.assert_frame_equal(one.timeline, other.timeline, check_exact=True)
    pd.testing.assert_frame_equal(one.quantities, other.quantities, check_exact=True)
    pd.testing.assert_frame_equal(one.recovery, other.recovery, check_exact=True)
    assert one.warnings == other.warnings
    assert one.provenance == other.provenance
    assert one.scenario == other.scenario
    assert (one.scenario.overrides, one.scenario.path) == (other.scenario.overrides, other.scenario.path)
    assert (one.digest, one.seed, one.replication, one.promise) == (
        other.digest,
        other.seed,
        other.replication,
        other.promise,
    )
    assert repr(one) == repr(other)


@pytest.mark.parametrize(
    "strategy",
    [
        "saga",
        "outbox:wake=true",
        Saga(policies=Policies(call_timeout=0.4, backoff=Backoff(cap=2.0))),
        Mine(completion="lazy"),
    ],
    ids=["saga", "outbox", "policies", "mine"],
)
def test_a_run_is_read_back_equal(strategy: Any, scenario: simtx.Scenario, tmp_path: Path) -> None:
    run = simtx.simulate(scenario, strategy, seed=3, replication=1)
    assert run.save(tmp_path / "run") == tmp_path / "run"
    again = simtx.read(tmp_path / "run")
    assert isinstance(again, simtx.Run)
    same_run(run, again)
    again.save(tmp_path / "copy")
    same_run(run, simtx.read(tmp_path / "copy"))  # type: ignore[arg-type]
    if isinstance(strategy, Mine):
        assert isinstance(again.strategy, StoredStrategy)
        assert "orchestrator" not in again.strategy.sources
        with pytest.raises(ScenarioError, match="was read from a file"):
            simtx.simulate(scenario, again.strategy)
    else:
        assert again.strategy == run.strategy
        assert list(again.trace) == list(run.trace), "played again: the same seed, the same run"


def test_a_users_strategy_comes_back_by_name_and_source_text(scenario: simtx.Scenario, tmp_path: Path) -> None:
    class Own(Saga):
        name = "own"

        def check(self, plan: Any) -> str | None:
            return helper(plan)

    simtx.simulate(scenario, Own()).save(tmp_path / "own")
    strategy: Any = simtx.read(tmp_path / "own").strategy  # type: ignore[union-attr]
    assert (strategy.name, strategy.promise) == ("own", "decided")
    assert any("return helper(plan)" in text for text in strategy.sources.values())
    assert any("def helper" in text for text in strategy.sources.values())


def helper(plan: Any) -> str | None:
    return None


def test_the_event_log_is_kept_if_it_was_recorded(scenario: simtx.Scenario, tmp_path: Path) -> None:
    run = simtx.simulate(scenario, "outbox", trace="full")
    run.save(tmp_path / "run")
    again = simtx.read(tmp_path / "run")
    assert isinstance(again, simtx.Run)
    assert list(again.trace) == list(run.trace)
    assert again.trace.provenance == run.provenance
    assert simtx.check_log(again.trace, again.strategy)


@pytest.mark.parametrize("strategies", [["saga", "2pc", "2pc:work=before"], ["saga", Mine()]], ids=["ours", "mine"])
def test_a_comparison_is_read_back_equal(strategies: Any, scenario: simtx.Scenario, tmp_path: Path) -> None:
    comparison = simtx.compare(scenario, strategies, replications=2, seed=4, workers=1)
    comparison.save(tmp_path / "c")
    again = simtx.read(tmp_path / "c")
    assert isinstance(again, simtx.Comparison)
    pd.testing.assert_frame_equal(comparison.frame, again.frame, check_exact=True)
    pd.testing.assert_frame_equal(comparison.table(), again.table(), check_exact=True)
    assert comparison.warnings == again.warnings
    assert comparison.provenance == again.provenance
    assert str(comparison) == str(again)
    assert (comparison.strategies, comparison.promises, comparison.stopped) == (
        again.strategies,
        again.promises,
        again.stopped,
    )


def test_failed_runs_and_a_rule_of_stopping_come_back(
    scenario: simtx.Scenario, tmp_path: Path, monkeypatch: Any
) -> None:
    comparison = simtx.compare(scenario, ["saga", "2pc"], until="best latency_p50_ms", replications=12, workers=1)
    comparison.save(tmp_path / "c")
    again = simtx.read(tmp_path / "c")
    assert again.stopping == comparison.stopping  # type: ignore[union-attr]
    broken = simtx.Comparison(
        scenario,
        comparison.objects,
        [*comparison.results[:2], simtx.experiments.Result("2pc", 0, {}, "", "RunFailed: out of luck", 2)],
        seed=1,
        replications=2,
        stopped="interrupted",
        notes=["said"],
    )
    broken.save(tmp_path / "b")
    again = simtx.read(tmp_path / "b")
    assert again.failures.equals(broken.failures)  # type: ignore[union-attr]
    assert again.warnings == broken.warnings


def test_others_read_it_without_simtx(scenario: simtx.Scenario, tmp_path: Path) -> None:
    """Plain columns, and the provenance in the metadata of each file."""
    run = simtx.simulate(scenario, "saga")
    run.save(tmp_path / "run")
    for name in ("summary", "transactions", "timeline", "quantities", "ledger"):
        table = pq.read_table(tmp_path / "run" / f"{name}.parquet")
        assert json.loads(table.schema.metadata[b"simtx"])["command"] == run.provenance.command
        assert all("extension" not in str(field.type) for field in table.schema), "nothing that only pandas knows"
    plain = pq.read_table(tmp_path / "run" / "summary.parquet").to_pydict()
    assert dict(zip(plain["metric"], plain["value"], strict=True))["transactions"] == run.summary["transactions"]


def test_what_a_scenario_refers_to_is_saved_with_it(tmp_path: Path) -> None:
    """The file of arrivals may be gone, and so may the calibration."""
    (tmp_path / "day.csv").write_text("when,amount\n10,5\n10.25,7\n11.5,2\n")
    workload = {"kind": "trace", "trace": "day.csv", "column": {"time": "when"}, "origin": 10}
    tables = {**simtx.load("transfer").to_dict(), "workload": workload, "run": {"transactions": 3}}
    scenario = simtx.scenario.from_dict(tables, name="day", folder=tmp_path)
    simtx.simulate(scenario, "saga").save(tmp_path / "run")
    (tmp_path / "day.csv").unlink()
    again = simtx.read(tmp_path / "run")
    assert again.warnings == simtx.simulate(scenario, "saga").warnings
    assert again.scenario.fingerprint == scenario.fingerprint
    assert again.scenario.workload.trace_parameters == {"amount": (5, 7, 2)}


def test_distributions_that_were_given_as_objects_come_back(scenario: simtx.Scenario, tmp_path: Path) -> None:
    changed = scenario.replace(
        **{"services.sender.service_time": Lognormal(0.002, 0.5), "hub.log.forced_write": Empirical((0.001, 0.002))}
    )
    simtx.simulate(changed, "saga").save(tmp_path / "run")
    assert simtx.read(tmp_path / "run").scenario == changed

    class Own(Lognormal):
        pass

    odd = scenario.replace(**{"services.sender.service_time": Own(0.002, 0.5)})
    with pytest.raises(ScenarioError, match="the scenario holds an object of type Own, which no file can hold"):
        simtx.simulate(odd, "saga").save(tmp_path / "odd")
    assert not (tmp_path / "odd").exists()


def test_nothing_is_written_over_without_being_asked(scenario: simtx.Scenario, tmp_path: Path) -> None:
    run = simtx.simulate(scenario, "saga")
    (tmp_path / "empty").mkdir()
    run.save(tmp_path / "empty")
    with pytest.raises(ScenarioError, match="is not empty; choose another folder, or overwrite=True"):
        run.save(tmp_path / "empty")
    simtx.simulate(scenario, "2pc").save(tmp_path / "empty", overwrite=True)
    assert simtx.read(tmp_path / "empty").provenance.strategies.keys() == {"2pc"}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    with pytest.raises(ScenarioError, match="holds something else than a result of simtx, and is not overwritten"):
        run.save(tmp_path / "mine", overwrite=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(ScenarioError, match="is a file; choose a folder"):
        run.save(tmp_path / "file")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["empty", "file", "mine"]


def test_a_full_disk_leaves_the_earlier_result_and_nothing_half(
    scenario: simtx.Scenario, tmp_path: Path, monkeypatch: Any
) -> None:
    run = simtx.simulate(scenario, "saga")
    run.save(tmp_path / "run")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(saved, "_json", full)
    for target in (tmp_path / "run", tmp_path / "new"):
        with pytest.raises(ScenarioError, match=rf"cannot write '{target}': No space left on device"):
            run.save(target, overwrite=True)
    assert [one.name for one in tmp_path.iterdir()] == ["run"]
    same_run(run, simtx.read(tmp_path / "run"))  # type: ignore[arg-type]


def test_what_is_no_result_is_refused_in_one_line(scenario: simtx.Scenario, tmp_path: Path) -> None:
    simtx.simulate(scenario, "saga").save(tmp_path / "run")
    file = tmp_path / "run" / "run.json"
    good = json.loads(file.read_text())

    def refused(match: str, folder: Path = tmp_path / "run") -> None:
        with pytest.raises(ScenarioError, match=match) as caught:
            simtx.read(folder)
        assert len(str(caught.value).splitlines()) == 1

    refused("there is no such folder", tmp_path / "nowhere")
    refused("holds no run, comparison or sweep", tmp_path)
    file.write_text(json.dumps({**good, "format": 99}))
    refused("it has the format 99 of a later version of simtx")
    file.write_text(json.dumps({**good, "kind": "other"}))
    refused(r"it is not written by Run\.save")
    file.write_text("{")
    refused("is damaged")
    file.write_text(json.dumps({**good, "strategy": {"object": {"$": "os:system", "is": {}}}}))
    refused("'os:system' is no class of simtx")
    file.write_text(json.dumps({**good, "strategy": {"object": {"$": "simtx.cli:main", "is": {}}}}))
    refused("'simtx.cli:main' is no class of simtx")
    file.write_text(json.dumps(good))
    (tmp_path / "run" / "summary.parquet").write_text("x")
    refused(r"summary\.parquet: is no Parquet file")
    (tmp_path / "run" / "summary.parquet").unlink()
    refused(r"summary\.parquet: is missing$")


def test_figures_of_another_version_are_kept_and_it_is_said(scenario: simtx.Scenario, tmp_path: Path) -> None:
    run = simtx.simulate(scenario, "saga")
    run.save(tmp_path / "run")
    file = tmp_path / "run" / "run.json"
    document = json.loads(file.read_text())
    document["provenance"] |= {"scenario_fingerprint": "0" * 16, "version": "0.0.9"}
    file.write_text(json.dumps(document))
    again = simtx.read(tmp_path / "run")
    assert (
        "this version of simtx reads the scenario otherwise than simtx 0.0.9, which made these figures"
        in again.warnings
    )
    pd.testing.assert_series_equal(again.summary, run.summary, check_exact=True)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "value",
    [
        None,
        1,
        1.5,
        float("inf"),
        "x",
        [1, [2]],
        (1, (2.5,)),
        {"a": 1},
        {"$": 1},
        {1: "a", (2, 3): "b"},
        Policies(),
        Lognormal(1.0, 0.5),
    ],
    ids=str,
)
def test_values_go_through_json_unchanged(value: Any) -> None:
    again = decoded(json.loads(json.dumps(encoded(value, "it"), allow_nan=False)))
    assert again == value
    assert type(again) is type(value)
