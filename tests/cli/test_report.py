"""``simtx report``: what it takes, what it writes, how it ends; and ``simtx compare --save``, which keeps what it takes."""

from __future__ import annotations

from pathlib import Path

import pytest

import simtx
from simtx.cli import main
from simtx.report.review import pictures

SMALL = ["--set", "run.transactions=40", "--set", "run.warmup=0"]


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pictures, which take most of the time of a report; the tests of `report/review` draw them."""
    nothing = pictures.Picture("data:,", "nothing")
    for name in ("drawn", "of_figure", "story"):
        monkeypatch.setattr(pictures, name, lambda *_, **__: nothing)


def test_a_comparison_that_is_saved_becomes_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    line = ["compare", "transfer", "2pc", "saga", "--replications", "2", "--workers", "1", *SMALL, "--save", "runs"]
    assert main(line) == 0
    assert "saved in runs; simtx report runs makes a report of it" in capsys.readouterr().out
    assert main(["report", "runs", "--by", "decision_p50_ms", "--where", "none"]) == 0
    output = capsys.readouterr()
    assert output.out.endswith("written: review.html, review.adr.md, review.csv\n")
    assert output.err == ""
    assert "request to final outcome (median)" in output.out.split("\n")[0]
    assert main(["report", "runs", "--since", "review.html", "--out", "again.html", "--no-runs"]) == 0
    capsys.readouterr()
    assert main(line) == 2
    assert "--save: 'runs' holds something; choose a new folder" in capsys.readouterr().err


def test_a_folder_of_compare_out_names_the_option_that_keeps_the_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    line = ["compare", "transfer", "2pc", "--replications", "1", "--workers", "1", *SMALL, "--out", str(out)]
    assert main(line) == 0
    capsys.readouterr()
    assert main(["report", str(out)]) == 2
    told = capsys.readouterr().err
    assert "the table of 'simtx compare --out', without the runs; play them again with --save" in told
    assert "simtx compare transfer 2pc" in told
    assert told.endswith("--save FOLDER\n")


def test_a_run_that_is_saved_is_no_choice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scenario = simtx.load("transfer").replace(**{"run.transactions": 40, "run.warmup": 0})
    simtx.simulate(scenario, "2pc").save(tmp_path / "run")
    assert main(["report", str(tmp_path / "run"), "--out", str(tmp_path / "one.html")]) == 0
    assert capsys.readouterr().out.startswith("No choice: 2pc alone was looked at")


def test_the_results_folder_of_a_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is read as it is: nothing is played, whatever the processes do; one cell is shown in detail."""
    scenario = simtx.load("transfer").replace(**{"run.transactions": 40, "run.warmup": 0})
    store = tmp_path / "results"
    played = simtx.sweep(
        scenario,
        {"workload.rate": [50, "100/s"], "outbox:poll_interval": ["10ms", "50ms"]},
        ["2pc", "outbox"],
        replications=2,
        store=store,
        executor="serial",
        name="one",
    )
    read = simtx.read(store)
    assert isinstance(read, simtx.Sweep)
    assert read.plan.to_play == 0
    assert read.frame.equals(played.frame)
    assert read.units == played.units
    assert read.provenance.command == played.provenance.command
    page = tmp_path / "review.html"
    line = ["report", str(store), "--out", str(page), "--at", "workload.rate=50", "--at", "outbox:poll_interval=10ms"]
    assert main(line) == 0
    assert "workload.rate = 50/s, outbox:poll_interval = 10 ms" in page.read_text(encoding="utf-8")
    assert len(page.with_suffix(".csv").read_text(encoding="utf-8").split("\n")) > 8 * 40
    assert main([*line[:4], "--at", "workload.rate=51"]) == 2
    assert "no cell has workload.rate=51" in capsys.readouterr().err
    simtx.sweep(scenario, None, ["2pc"], replications=1, store=store, executor="serial", name="two")
    assert main(line[:4]) == 2
    assert "holds 2 sweeps; name one of" in capsys.readouterr().err
    assert main(["report", str(store / "frames" / "one"), *line[2:4]]) == 0


def test_a_description_that_is_damaged_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scenario = simtx.load("transfer").replace(**{"run.transactions": 20, "run.warmup": 0})
    store = tmp_path / "results"
    simtx.sweep(scenario, None, ["2pc"], replications=1, store=store, executor="serial", name="one")
    file = store / "frames" / "one" / "sweep.json"
    whole = file.read_text(encoding="utf-8")
    for text, said in (
        ("{", "is damaged"),
        ('{"kind": "simtx run"}', "is not written by simtx.sweep"),
        (whole.replace('"format": 1', '"format": 99'), "a later version of simtx"),
        (whole.replace('"parameters": []', '"parameters": [{"$": "os:system", "is": {}}]'), "is no class"),
    ):
        file.write_text(text, encoding="utf-8")
        assert main(["report", str(store), "--out", str(tmp_path / "review.html")]) == 2
        assert said in capsys.readouterr().err
    file.unlink()
    assert main(["report", str(store), "--out", str(tmp_path / "review.html")]) == 2
    assert "no description of a sweep" in capsys.readouterr().err


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    scenario = simtx.load("transfer").replace(**{"run.transactions": 20, "run.warmup": 0})
    comparison = simtx.compare(scenario, ["2pc", "saga"], replications=2, workers=1, progress=False)
    folder = tmp_path_factory.mktemp("saved")
    (folder / "costs.toml").write_text("scenario = 'transfer'")
    return comparison.save(folder / "runs")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["nowhere"], "nowhere: there is no such folder"),
        (["costs.toml"], "costs.toml: is a file; give a folder: of a run or comparison that was saved"),
        (["runs/runs.parquet"], "runs/runs.parquet: is a file; give the folder that it is in, 'runs'"),
        (["."], "holds no run, comparison or sweep that was saved"),
        (["runs", "--frontier", "workload.rate"], "--frontier: is for the results folder of a sweep"),
        (["runs", "--at", "workload.rate=3"], "--at: is for the results folder of a sweep"),
        (["runs", "--by", "latency"], "latency"),
        (["runs", "--where", "latency"], "is no threshold"),
        (["runs", "--since", "old.html"], "old.html: cannot be read"),
        (["runs", "--template", "own.j2"], "own.j2: there is no such template"),
        (["runs", "--out", "review.txt"], "write review.html"),
        (["runs", "--out", "some/new/dir/review.html"], "there is no folder 'some/new/dir' for 'review.html'; make it"),
    ],
)
def test_bad_input_is_one_line(
    saved: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: list[str], said: str
) -> None:
    monkeypatch.chdir(saved.parent)
    assert main(["report", *line]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert error.count("\n") == 0
    assert not (saved.parent / "review.html").exists()
