"""``simtx frontier`` and ``simtx sensitivity``: what is printed and written, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from simtx.cli import main

FILE = """
scenario = "transfer"
strategies = ["2pc", "saga"]
window = "transactions"
[changes]
"run.transactions" = 40
"run.warmup" = 0
[parameters]
rtt = { "network.latency" = 0.5 }
[over]
rtt = ["500us", "20ms"]
"""


def test_a_flip_point_from_an_experiment_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "costs.toml"
    path.write_text(FILE)
    line = ["frontier", str(path), "--x", "rtt", "--replications", "2", "--budget", "40", "--workers", "1"]
    code = main([*line, "--undecided", "99%"])
    output = capsys.readouterr().out
    assert code == 0
    assert "paired replications at" in output
    picture = tmp_path / "results" / "pictures" / "costs-frontier-latency_p99_ms.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main([*line, "--undecided", "0.99", "--json", "--between", "2pc,saga"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["guaranteed"] is True
    assert document["axes"][0]["name"] == "rtt"
    assert (tmp_path / "results" / "frames" / "costs-frontier.parquet").exists()
    assert main([*line, "--between", "2pc,sage"]) == 2
    assert "--between: 'sage' is no strategy of the experiment; did you mean 'saga'?" in capsys.readouterr().err
    assert main([*line, "--undecided", "much"]) == 2
    assert "simtx: error: --undecided: 'much' is no share; write 0.05 or 5%" in capsys.readouterr().err
    assert main(["frontier", str(path), "--x", "rt"]) == 2
    assert "--x: 'rt' is no parameter of the experiment; did you mean 'rtt'?" in capsys.readouterr().err


def test_a_tornado_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--set", "run.transactions=40", "--set", "run.warmup=0"]
    store = ["--store", str(tmp_path), "--workers", "1", "--replications", "2"]
    assert main(["sensitivity", "transfer", "2pc", "saga", "--factor", "workload.rate=20%", *small, *store]) == 0
    output = capsys.readouterr().out
    assert "distance to the flip, in units of the stated uncertainty" in output
    assert (tmp_path / "pictures" / "transfer-tornado-latency_p99_ms.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "pictures" / "transfer-flips-latency_p99_ms.png").exists()
    assert main(["sensitivity", "transfer", "2pc", *small, *store]) == 2
    assert "states no uncertainty" in capsys.readouterr().err
    assert main(["sensitivity", "transfer", "2pc", *small, *store, "--factor", "workload.rat=20%"]) == 2
    assert "simtx: error: --factor workload.rat: there is no figure at this path" in capsys.readouterr().err
    assert main(["sensitivity", "transfer", "2pc", *small, *store, "--factor", "workload.rate"]) == 2
    assert "--factor: 'workload.rate' is no change; write it as workload.rate=20%" in capsys.readouterr().err


def test_strategies_whose_answers_mean_different_things_are_compared_by_the_outcome(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in a sweep: the outbox answers that it has accepted, so that the time until the answer is not like with like."""
    path = tmp_path / "costs.toml"
    path.write_text(FILE.replace("saga", "outbox"))
    few = ["--replications", "2", "--workers", "1", "--json"]
    assert main(["frontier", str(path), "--x", "rtt", *few, "--budget", "40", "--undecided", "99%"]) == 0
    assert json.loads(capsys.readouterr().out)["metric"] == "decision_p99_ms"
    small = ["--set", "run.transactions=40", "--set", "run.warmup=0", "--store", str(tmp_path)]
    assert main(["sensitivity", "transfer", "2pc", "outbox", "--factor", "workload.rate=20%", *small, *few]) == 0
    assert json.loads(capsys.readouterr().out)["files"][0].endswith("tornado-decision_p99_ms.png")
