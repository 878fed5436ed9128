"""``simtx check-history``: exit codes, text, JSON, pictures, bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import simtx
from simtx.cli import main

SKEW: list[dict[str, Any]] = [
    {"id": "a", "status": "ok", "ops": [["r", "x", []], ["append", "y", 1]]},
    {"id": "b", "status": "ok", "ops": [["r", "y", []], ["append", "x", 1]]},
    {"id": "c", "status": "ok", "ops": [["r", "x", [1]], ["r", "y", [1]]]},
]
REGISTERS: list[dict[str, Any]] = [
    {"id": "a", "status": "ok", "ops": [["w", "x", 1], ["w", "y", 1]]},
    {"id": "b", "status": "ok", "ops": [["r", "x", 1], ["w", "x", 2], ["r", "y", 1], ["w", "y", 2]]},
    {"id": "c", "status": "ok", "ops": [["r", "x", 2], ["w", "x", 3]]},
    {"id": "d", "status": "ok", "ops": [["r", "x", 3], ["r", "y", 1]]},
]


ONE = '{"id": 1, "status": "ok", "ops": []}'
FIELDS = '["id", "time", "kind", "node", "tx", "cause", "actor", "peer", "name", "detail"]\n'
EMPTY = "history.json: holds no transactions, so that there is nothing to check\n"


@pytest.fixture
def skew(tmp_path: Path) -> str:
    path = tmp_path / "skew.json"
    path.write_text(json.dumps(SKEW))
    return str(path)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The event log of a saga run in which somebody sees what is undone later."""
    scenario = simtx.load("travel").replace(**{"run.transactions": 300})
    path = tmp_path_factory.mktemp("log") / "events.jsonl"
    simtx.simulate(scenario, "saga", trace=True).trace.save(path)
    return path


def test_a_history_that_is_possible_ends_with_0(skew: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-history", skew, "--consistency", "snapshot-isolation"]) == 0
    assert capsys.readouterr() == ("snapshot-isolation: valid (3 ok)\n", "")


def test_an_anomaly_ends_with_1_and_its_sentences(skew: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-history", skew]) == 1
    out, err = capsys.readouterr()
    assert (out, err) == (simtx.check_history(skew).explain() + "\n", "")
    assert "  1. a comes before b: a read x = [], without the 1 that b appended.\n" in out


def test_what_is_not_known_ends_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "registers.jsonl"
    path.write_text('{"id": "a", "status": "ok", "ops": [["r", "x", 1]]}\n')
    assert main(["check-history", str(path)]) == 1
    said = "serializable: unknown (1 ok)\na read 1 from x, which no transaction of the history wrote."
    assert capsys.readouterr().out.startswith(said)


def test_assumptions_may_be_repeated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "registers.json"
    path.write_text(json.dumps([{**entry, "start": at, "end": at} for at, entry in enumerate(REGISTERS)]))
    assert main(["check-history", str(path), "--assume", "wfr_keys", "--assume", "linearizable_keys"]) == 1
    head = "serializable: not valid: cyclic-versions, G-single-item (4 ok; assumed wfr_keys, linearizable_keys)"
    assert capsys.readouterr().out.splitlines()[0] == head
    assert main(["check-history", str(path), "--assume", "wfr_keys"]) == 1
    assert "not valid: G-single-item (4 ok; assumed wfr_keys)" in capsys.readouterr().out


def test_json_is_the_report_as_plain_data(skew: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-history", skew, "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == simtx.check_history(skew).to_dict()


def test_an_event_log_is_checked_as_a_run_is(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its business transactions, or the local ones of its stores."""
    assert main(["check-history", str(log)]) == 1
    assert capsys.readouterr().out == simtx.check_history(log).explain() + "\n"
    assert main(["check-history", str(log), "--transactions", "local", "--consistency", "strict-serializable"]) == 0
    assert capsys.readouterr().out.startswith("strict-serializable: valid (1204 ok")


def test_a_picture_is_drawn_where_it_is_wanted(skew: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "cycle.svg"
    assert main(["check-history", skew, "--plot", str(picture)]) == 1
    assert capsys.readouterr().out.endswith(f"written: {picture}\n")
    assert "G2-item against serializable" in picture.read_text()


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("", [], EMPTY),
        ("[]", [], EMPTY),
        ("\n\n", ["--consistency", "snapshot-isolation"], EMPTY),
        (FIELDS, ["--transactions", "local"], EMPTY),
        ("[1", [], "history.json, line 1: is not valid JSON"),
        ('[{"id": 1}]', [], "history.json, transaction 1, field 'status': expected 'ok', 'fail' or 'info', got None"),
        (ONE, ["--consistency", "strong"], "consistency: 'strong' is no level; allowed are read-uncommitted,"),
        (
            ONE,
            ["--consistency", "snapshot"],
            "consistency: 'snapshot' is no level; did you mean 'snapshot-isolation'? Allowed are read-",
        ),
        (ONE, ["--assume", "luck"], "assume: 'luck' is no assumption; allowed are wfr_keys,"),
        (ONE, ["--assume", "commit_order"], "--assume: 'commit_order' is a list; grant it in Python"),
        (ONE, ["--transactions", "local"], "transactions: applies to runs and their event logs only"),
        (ONE, ["--transactions", "all"], "Invalid value for '--transactions'"),
        (ONE, ["--plot", "nowhere/x.png"], "--plot: cannot draw into 'nowhere/x.png': there is no folder 'nowhere'"),
        ("[1", ["--plot", "x.abc"], "--plot: cannot draw into 'x.abc': its name has to end in a kind of picture"),
        (ONE, ["--plot", "picture"], "--plot: cannot draw into 'picture': its name has to end in a kind of picture"),
        (ONE, ["--plot", "."], "--plot: cannot draw into '.': it is a folder"),
        (
            '["id", "time"]',
            [],
            "history.json, line 1: is no entry of an event log; expected an array of id, time, kind",
        ),
    ],
)
def test_bad_input_ends_with_2_and_one_line(
    text: str,
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("history.json").write_text(text)
    assert main(["check-history", "history.json", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"simtx: error: {message}")
    assert err.count("\n") == 1


def test_a_picture_that_cannot_be_written(skew: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Where it turns out only when it is drawn, it is one line as well, and the verdict does not go out without its picture."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    full = Path(skew).with_name("full.png")
    full.symlink_to("/dev/full")
    assert main(["check-history", skew, "--plot", str(full)]) == 2
    assert capsys.readouterr() == (
        "",
        f"simtx: error: --plot: cannot draw into '{full}': No space left on device\n",
    )


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-history", "nowhere.json"]) == 2
    assert capsys.readouterr().err == "simtx: error: nowhere.json: there is no such file\n"


def test_the_installed_command_knows_it(skew: str) -> None:
    """In a process of its own, and without the plotting library."""
    program = (
        "import sys; from simtx.cli import main; code = main(sys.argv[1:]); print('matplotlib' in sys.modules, code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "check-history", skew], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "False 1"
    listed = subprocess.run([sys.executable, "-m", "simtx", "--help"], capture_output=True, text=True, check=True)
    assert "\n  check-history " in listed.stdout
