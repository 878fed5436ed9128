"""Comparisons, sweeps and the command line can ask for an engine, and figures do not depend on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import simtx
from simtx.cli.app import app
from simtx.engine import Unavailable, load_library
from simtx.engine.library import compiler
from simtx.errors import ScenarioError
from simtx.scenario import Scenario

try:
    load_library()
except Unavailable as error:
    if compiler():  # a loop that cannot be compiled or loaded where there is a compiler is a fault
        raise
    pytest.skip(f"no compiled engine: {error}", allow_module_level=True)


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The engine of each run that is played here."""
    import simtx.simulator

    engines: list[Any] = []
    before = simtx.simulator.simulate

    def simulate(*arguments: Any, **options: Any) -> Any:
        run = before(*arguments, **options)
        engines.append(run.engine)
        return run

    monkeypatch.setattr(simtx.simulator, "simulate", simulate)
    return engines


def _scenario() -> Scenario:
    return simtx.load("transfer").replace(**{"run.transactions": 40, "run.warmup": "0s"})


def test_a_comparison_is_the_same_by_either_engine(played: list[Any]) -> None:
    options: dict[str, Any] = {"replications": 2, "workers": 1, "progress": False}
    fast = simtx.compare(_scenario(), ["saga", "2pc"], engine="fast", **options)
    assert played == ["fast"] * 4
    slow = simtx.compare(_scenario(), ["saga", "2pc"], engine="interpreted", **options)
    assert played[4:] == ["interpreted"] * 4
    assert fast.frame.equals(slow.frame)
    with pytest.raises(ScenarioError, match="fast"):
        simtx.compare(_scenario(), ["saga"], engine="quick", **options)  # type: ignore[arg-type]


def test_a_sweep_plays_nothing_again_for_another_engine(played: list[Any], tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "replications": 1,
        "store": tmp_path / "results",
        "executor": "serial",
        "progress": False,
    }
    over = {"workload.rate": [20, 40]}
    fast = simtx.sweep(_scenario(), over, ["saga"], engine="fast", **options)
    again = simtx.sweep(_scenario(), over, ["saga"], engine="interpreted", **options)
    assert played == ["fast"] * 2
    assert fast.frame.equals(again.frame)


def test_the_command_line_names_an_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = [
        "simulate",
        "transfer",
        "saga",
        "--set",
        "run.transactions=40",
        "--set",
        "run.warmup=0s",
        "--json",
        "--engine",
    ]
    found = [json.loads(CliRunner().invoke(app, [*arguments, name]).stdout) for name in ("fast", "interpreted")]
    assert [one["engine"] for one in found] == ["fast", "interpreted"]
    assert found[0]["digest"] == found[1]["digest"]
    wrong = CliRunner().invoke(app, [*arguments, "fsat"])
    assert wrong.exit_code != 0
    assert "did you mean 'fast'" in wrong.output + str(wrong.exception)
