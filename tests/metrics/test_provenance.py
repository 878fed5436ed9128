"""A result says where it comes from, and the line that it gives for a repetition gives the same result."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

import simtx
from simtx.cli import main
from simtx.protocols import Backoff, Outbox, Policies, Saga, TwoPhaseCommit
from simtx.scenario import Constant, from_dict
from simtx.scenario.provenance import Provenance, command, strategy_text

SMALL = {"run.transactions": 60, "run.warmup": "0.1s"}
AWKWARD = {
    "workload.rate": 30,
    "network.loss": "1%",
    "services.sender.service_time": {"distribution": "lognormal", "median": "2ms", "sigma": 0.5},
    "policies.breaker": {"threshold": 5, "cooldown": "1s"},
    "title": "it's 5 o'clock = \"now\"",
    "description": "1979-05-27",
    "broker.ordered": False,
}


def repeated(line: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What the command line prints for this line, with `--json`."""
    program, *words = shlex.split(line)
    assert program == "simtx"
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("strategy", ["saga", "2pc:work=before", Saga(completion="lazy")], ids=str)
def test_the_command_of_a_run_repeats_it(strategy: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run = simtx.simulate(simtx.load("transfer").replace(**SMALL, **AWKWARD), strategy, seed=5, replication=2)
    again = repeated(run.provenance.command, capsys)
    assert again["digest"] == run.digest
    assert again["provenance"]["command"] == run.provenance.command
    assert again["provenance"]["scenario_fingerprint"] == run.provenance.scenario_fingerprint


def test_the_command_of_a_scenario_of_ones_own_repeats_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where the file's name has a space in it, and it lies beside the reader."""
    file = tmp_path / "my scenario.toml"
    file.write_text('extends = "transfer"\n[run]\ntransactions = 50\nwarmup = "0s"\n', encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    run = simtx.simulate(simtx.load(file), "saga")
    assert "'my scenario.toml'" in run.provenance.command
    assert repeated(run.provenance.command, capsys)["digest"] == run.digest


def test_where_a_shell_has_no_words_the_line_is_python() -> None:
    """Objects, taken-out entries, policies of a strategy's own, a strategy of the user's own."""
    base = simtx.load("transfer").replace(**SMALL)
    changed = base.replace(**{"services.sender.service_time": Constant(0.004), "network.loss": None})
    space = {"simtx": simtx, "Constant": Constant, "Saga": Saga, "Policies": Policies, "Backoff": Backoff}
    for strategy in ("saga", Saga(policies=Policies(call_timeout=0.4))):
        run = simtx.simulate(changed, strategy, seed=3)
        assert run.provenance.command.startswith("simtx.simulate(simtx.load('transfer').replace(")
        assert eval(run.provenance.command, space).digest == run.digest  # noqa: S307

    class Mine(Saga):
        name = "mine"

    line = simtx.simulate(base, Mine()).provenance.command
    assert line.startswith("simtx.simulate(simtx.load('transfer').replace(")
    assert "Mine(" in line
    made = from_dict({**base.to_dict(), "name": "made"})
    assert simtx.simulate(made, "saga").provenance.command == "simtx.simulate(scenario, 'saga', seed=1, replication=0)"


def test_a_comparison_says_what_was_changed_and_repeats_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    scenario = simtx.load("transfer").replace(**SMALL).replace(**{"workload.rate": 30})
    comparison = simtx.compare(scenario, ["saga", "2pc"], replications=2, seed=7, workers=1)
    origin = comparison.provenance
    assert origin.title == "transfer with run.transactions = 60, run.warmup = 0.1s, workload.rate = 30"
    assert (origin.seed, origin.replications, origin.version) == (7, 2, simtx.__version__)
    again = repeated(f"{origin.command} --workers 1", capsys)
    for name in ("saga", "2pc"):
        for metric in comparison.metrics:
            mean = comparison.interval(name, metric).mean
            if mean == mean and abs(mean) != float("inf"):
                assert again["strategies"][name][metric]["mean"] == pytest.approx(mean, rel=1e-12), metric


def test_everything_that_differs_shows() -> None:
    scenario = simtx.load("transfer").replace(**SMALL)

    def origin(*, changes: dict[str, Any] | None = None, strategy: Any = "saga", **options: Any) -> Provenance:
        return simtx.simulate(scenario.replace(**(changes or {})), strategy, **options).provenance

    first = origin()
    assert first.same_question(origin())
    others = [
        origin(seed=2),
        origin(replication=1),
        origin(strategy="2pc"),
        origin(strategy=Saga(completion="lazy")),
        origin(changes={"workload.rate": 30}),
        origin(processes=[_idle]),
    ]
    for number, one in enumerate(others):
        assert not first.same_question(one), number
        assert all(not one.same_question(other) for other in others[:number])
    assert "processes=[_idle]" in others[-1].command


def _idle(world: Any) -> Any:
    yield world.env.timeout(1.0)


def test_it_goes_through_json_unchanged() -> None:
    scenario = simtx.load("transfer").replace(**SMALL, **AWKWARD)
    origin = simtx.simulate(scenario, "outbox").provenance
    assert Provenance.from_dict(json.loads(json.dumps(origin.to_dict()))) == origin
    assert "modules" not in origin.to_dict(modules=False)


def test_columns_of_a_file_are_whole_and_have_the_line_that_repeats_it() -> None:
    """A long change is cut short in print, and never in a file."""
    fault = {"kind": "partition", "at": "1s", "duration": "2s", "a": ["hub"], "b": ["receiver"]}
    origin = simtx.simulate(simtx.load("transfer").replace(**SMALL, faults=[fault]), "saga").provenance
    columns = origin.columns()
    assert "..." in origin.changed
    assert json.dumps(fault) in columns["changes"]
    assert columns["repeat_with"] == origin.command


def test_what_is_no_provenance_is_refused() -> None:
    with pytest.raises(simtx.ScenarioError, match="provenance: 'seed' is missing"):
        Provenance.from_dict({"verb": "simulate", "scenario": "x", "changes": {}, "strategies": {}})


def test_a_strategy_has_a_name_for_the_shell_if_its_options_have() -> None:
    mine = Policies(call_timeout=3.0)
    assert strategy_text(TwoPhaseCommit()) == "2pc"
    assert strategy_text(TwoPhaseCommit(work="before")) == "2pc:work=before"
    assert strategy_text(Outbox(policies=mine)) is None
    assert strategy_text(Outbox(policies=mine), mine) == "outbox", "it would take them from the scenario"


def test_a_change_that_looks_like_another_type_keeps_its_own() -> None:
    """A text such as 1979-05-27 would be read as a date if it were not quoted."""
    scenario = simtx.load("transfer").replace(title="30", description="true", **{"workload.rate": "20/min"})
    words = shlex.split(command("simulate", scenario, [Saga()], {"seed": 1}))
    assert words[-6:] == [
        "--set",
        'title="30"',
        "--set",
        'description="true"',
        "--set",
        "workload.rate=20/min",
    ]
