"""``simtx sweep``: experiment files, what is printed and written, exit codes; an interruption is tested beside those of `simtx.sweep`."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

import simtx
from simtx.cli import main

FILE = """
scenario = "transfer"
strategies = ["2pc", "outbox"]
replications = 2
[changes]
"run.transactions" = 40
"run.warmup" = 0
[parameters]
rtt = { "network.latency" = 0.5 }
[over]
"workload.rate" = [50, 100]
rtt = ["2ms", "20ms"]
"""
COMMON = ["--workers", "1"]


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    path = tmp_path / "costs.toml"
    path.write_text(FILE)
    return path


def test_a_sweep_from_a_file(experiment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A dry run says what there is to do and leaves nothing; the sweep prints a table and writes figures and a picture; once more it plays nothing."""
    assert main(["sweep", str(experiment), "--dry-run"]) == 0
    assert "16 runs in 4 cells" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["costs.toml"]
    assert main(["sweep", str(experiment), *COMMON, "--metric", "decision_p50_ms"]) == 0
    output = capsys.readouterr()
    assert output.out.startswith("Request to final outcome, median [ms]\n  workload.rate [1/s]  rtt [ms]")
    assert "simtx: 0 of 16 runs found, playing 16" in output.err
    results = tmp_path / "results"
    assert len(pd.read_parquet(results / "frames" / "costs.parquet")) == 16
    assert (results / "pictures" / "costs-decision_p50_ms.png").read_bytes().startswith(b"\x89PNG")
    assert main(["sweep", str(experiment), *COMMON, "--json", "--replications", "3"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["plan"]["cached"], document["plan"]["new"]) == (16, 8)
    assert document["units"] == {"workload.rate": "1/s", "rtt": "s"}
    assert document["cells"][0]["decision_p99_ms_n"] == 3  # 2pc and outbox promise different things


def test_store_and_changes_of_the_command_line_win(experiment: Path, tmp_path: Path) -> None:
    arguments = ["--store", str(tmp_path / "other"), "--set", "run.transactions=20", "--replications", "1"]
    assert main(["sweep", str(experiment), *COMMON, *arguments]) == 0
    frame = pd.read_parquet(tmp_path / "other" / "frames" / "costs.parquet")
    assert (len(frame), frame["transactions"].max() < 40) == (8, True)
    assert not (tmp_path / "results").exists()


def test_a_table_of_cells_lies_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "cells.csv").write_text("workload.rate, network.latency\n50, 1ms\n90, 5ms\n")
    kept = FILE.partition("[parameters]")[0]
    (tmp_path / "costs.toml").write_text(f'table = "cells.csv"\n{kept}')
    assert main(["sweep", str(tmp_path / "costs.toml"), *COMMON]) == 0
    frame = pd.read_parquet(tmp_path / "results" / "frames" / "costs.parquet")
    assert sorted(set(zip(frame["workload.rate"], frame["network.latency"], strict=True))) == [(50, 0.001), (90, 0.005)]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("scenario = 'transfr'", "there is no scenario 'transfr'; did you mean 'transfer'?"),
        (
            "scenario = 'transfer'\nreplication = 3",
            "costs.toml: replication: unknown key; did you mean 'replications'?",
        ),
        ("scenario = 'transfer'\nreplications = 'many'", "costs.toml: replications: 'many' is no whole number"),
        ("scenario = 'transfer'\nstrategies = ['sagas']", "did you mean 'saga'"),
        ("replications = 3", "costs.toml: scenario: is missing"),
        ("scenario = ", "costs.toml: this is not TOML"),
        (
            "title = 'A transfer'\n[services.sender]\nworkers = 2",
            'costs.toml: is a scenario; give an experiment: a TOML file that says scenario = "costs.toml"',
        ),
        (
            "scenario = 'transfer'\ntable = 'a.csv'\n[over]\n'workload.rate' = [1]",
            "costs.toml: give either 'table' or 'over'",
        ),
        ("scenario = 'transfer'\n[over]\n'workload.rat' = [1]", "did you mean 'rate'?"),
        (
            "scenario = 'transfer'\n[over]\n'workload.rate' = { low = 1, high = 'x' }",
            "over: workload.rate: 1 and 'x' are no two quantities",
        ),
    ],
)
def test_a_wrong_file_is_one_line_and_exit_code_2(
    experiment: Path, text: str, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment.write_text(text)
    assert main(["sweep", str(experiment)]) == 2
    errors = capsys.readouterr().err
    assert problem in errors
    assert "Traceback" not in errors


def test_a_missing_file_and_a_missing_scheduler_are_one_line(
    experiment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", str(tmp_path / "none.toml")]) == 2
    assert "none.toml: there is no such file" in capsys.readouterr().err
    assert main(["sweep", "checkout"]) == 2
    assert "checkout: is a scenario; give an experiment: " in capsys.readouterr().err
    assert main(["sweep", str(experiment), "--scheduler", "nowhere"]) == 2
    assert (
        "'nowhere' is neither 'serial' nor 'loky' nor the address of a scheduler (tcp://...)" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--metric", "latency_p99"], "--metric: 'latency_p99' is no metric; did you mean 'latency_p99_ms'?"),
        (["--scheduler", "nowhere"], "executor: 'nowhere' is neither"),
    ],
)
def test_a_dry_run_refuses_what_the_sweep_would_refuse(
    experiment: Path, options: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(experiment.parent.iterdir())
    assert main(["sweep", str(experiment), "--dry-run", *options]) == 2
    assert problem in capsys.readouterr().err
    assert sorted(experiment.parent.iterdir()) == before


def test_a_sweep_of_which_no_run_has_figures_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All have failed, or it was interrupted before the first one ended: that is said, and nothing about metrics."""
    from simtx.experiments.work import failed

    monkeypatch.setattr("simtx.experiments.sweep.runner.play", lambda *_: failed("simulating", ValueError("broken")))
    file = tmp_path / "one.toml"
    file.write_text(
        'scenario = "transfer"\nstrategies = ["saga"]\nreplications = 2\n[over]\n"workload.rate" = [60, 80]\n'
    )
    assert main(["sweep", str(file), "--workers", "1"]) == 1
    said = capsys.readouterr()
    assert said.out.startswith("no run has figures\n")
    assert "simtx: repeat the failed run with: simtx simulate " in said.err
    assert main(["sweep", str(file), "--workers", "1", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["cells"] == []
    assert str(simtx.read(tmp_path / "results")).startswith("no run has figures\n")


def test_a_metric_that_there_is_not_ends_it_before_anything_is_played(
    experiment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", str(experiment), "--metric", "latncy_p99_ms", "--workers", "1"]) == 2
    assert "--metric: 'latncy_p99_ms' is no metric; did you mean 'latency_p99_ms'?" in capsys.readouterr().err
    assert not list(tmp_path.rglob("ledger.sqlite"))
