"""A report with a map and a study that were really searched for: the sections that other tests fill with stand-ins."""

from __future__ import annotations

from pathlib import Path

import pytest

import simtx
from simtx.cli import main

EXPERIMENT = """
scenario = "transfer"
strategies = ["2pc", "saga"]
replications = 3
window = "transactions"
[changes]
"run.transactions" = 60
"run.warmup" = 0
[over]
"network.latency" = ["100us", "10ms"]
"workload.rate" = [60, 200]
"""


@pytest.mark.heavy
def test_a_report_with_a_real_frontier_and_a_real_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the command line, which plays the runs of the map; and from Python, with the study beside it."""
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text(EXPERIMENT)
    assert main(["sweep", "tiny.toml", "--workers", "1"]) == 0
    capsys.readouterr()
    axes = ["--frontier", "network.latency,workload.rate", "--budget", "50"]
    by = "latency_p50_ms"
    assert main(["report", "results", "--out", "one.html", "--by", by, "--no-runs", *axes]) == 0
    said, page = capsys.readouterr().out, Path("one.html").read_text(encoding="utf-8")
    assert "95 % at each point" in said
    sweep = simtx.read("results/frames/tiny")
    assert isinstance(sweep, simtx.Sweep)
    found = sweep.frontier("network.latency", "workload.rate", by, budget=50)
    assert found.caption in page.replace("&lt;", "<")
    study = simtx.sensitivity(
        sweep.study.scenario, ["2pc", "saga"], by, factors={"workload.rate": "20%"}, replications=3, workers=1
    )
    sweep.report("two.html", by=by, frontier=found, sensitivity=study, runs=False)
    page = Path("two.html").read_text(encoding="utf-8")
    assert study.caption in page
    for drawn in ("workload.rate", "distance", "nearest"):
        assert drawn in page
    assert page.count("<img") + page.count("<svg") >= 3
    with pytest.raises(simtx.ScenarioError, match="frontier: must be what"):
        sweep.report("three.html", frontier=study)
    assert (
        main(["report", "results/frames/tiny", "--out", "four.html", "--frontier", "network.latenc", "--no-runs"]) == 2
    )
    assert "did you mean 'network.latency'?" in capsys.readouterr().err
