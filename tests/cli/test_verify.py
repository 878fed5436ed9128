"""``simtx verify``: exit codes, text, JSON, limits, interruption; each test is a process of its own."""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import subprocess
from pathlib import Path

import pytest

import simtx
from simtx.cli import main
from simtx.cli.verify import verify
from tests.children import command


def run(*arguments: str, code: str = "") -> subprocess.CompletedProcess[str]:
    """Run `simtx verify` with these arguments; `code` is Python that is run before, in a process of their own."""
    if not code:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            done = main(["verify", *arguments])
        return subprocess.CompletedProcess(arguments, done, out.getvalue(), err.getvalue())
    return command(("verify", *arguments), Path.cwd(), code)


def without_seconds(text: str) -> list[str]:
    return [line.rpartition(",")[0] if line.startswith("  scope:") else line for line in text.splitlines()]


def test_what_holds_ends_with_0_and_is_the_verdict_of_the_library() -> None:
    result = run("saga", "--duplicates", "0")
    assert (result.returncode, result.stderr) == (0, "")
    verdict = simtx.verify("saga", duplicates=0)
    assert result.stdout.startswith("saga: holds\n")
    assert without_seconds(result.stdout) == without_seconds(verdict.text)


def test_what_is_refuted_ends_with_1_and_a_story() -> None:
    result = run("dual-write", "--duplicates", "0", "--timeouts", "0")
    assert result.returncode == 1
    assert result.stdout.startswith("dual-write: REFUTED on atomicity")
    assert "\n2. the request reaches s1: transact 'action' of step 0: done, CRASH, never: publish" in result.stdout


def test_a_scope_without_crashes_is_another_one() -> None:
    """The dual write fails because of crashes and copies; without both nothing is violated."""
    result = run("dual-write", "--crashes", "0", "--duplicates", "0", "--timeouts", "0")
    assert (result.returncode, result.stdout.splitlines()[0]) == (0, "dual-write: holds")


def test_symmetry_and_workers_change_nothing_but_the_number_of_states() -> None:
    plain = simtx.verify("2pc", participants=3, duplicates=0, timeouts=0)
    result = run(
        "2pc", "--participants", "3", "--duplicates", "0", "--timeouts", "0", "--symmetry", "--workers", "2", "--json"
    )
    assert (result.returncode, result.stderr) == (0, "")
    found = json.loads(result.stdout)
    assert found["symmetry"] == "s1, s2, s3 are alike"
    assert found["properties"] == dict.fromkeys(plain.checked, True)
    assert 0 < found["states"] < plain.states


def test_who_is_searched_in_python_is_told_why() -> None:
    quiet = ("2pc", "--crashes", "0", "--duplicates", "0", "--timeouts", "0")
    assert "engine" not in run(*quiet).stdout
    result = run(*quiet, "--engine", "interpreted")
    assert (result.returncode, result.stderr) == (0, "")
    assert "  engine: interpreted, since it was asked for" in result.stdout.splitlines()
    result = run(*quiet, "--engine", "fast", "--workers", "2")
    assert result.returncode == 2
    assert result.stderr.startswith("simtx: error: verify: engine: the fast engine cannot search this: 2 processes")


def test_participants_that_are_not_alike_after_all_end_with_2_and_one_line() -> None:
    undeclared = "from simtx.protocols.saga import Orchestrator; Orchestrator.by_step = ()"
    result = run("saga", "--parallel", "--symmetry", code=undeclared)
    assert result.returncode == 2
    assert result.stderr.startswith("simtx: error: verify: symmetry: s1, s2 are not alike:")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("limit", [("--max-states", "50"), ("--max-seconds", "0.001"), ("--max-memory", "1B")])
def test_what_a_limit_stops_is_no_proof_and_ends_with_1(limit: tuple[str, str]) -> None:
    result = run("2pc", *limit)
    assert result.returncode == 1
    head = result.stdout.splitlines()[0]
    assert head.startswith("2pc: no violation found, INCOMPLETE (")
    assert "    holds" not in result.stdout
    assert result.stderr.startswith("simtx: warning: INCOMPLETE (max_")
    assert len(result.stderr.splitlines()) == 1


def test_what_is_refuted_before_a_limit_says_that_more_may_be_found() -> None:
    result = run("dual-write", "--max-states", "300", "--json")
    assert result.returncode == 1
    found = json.loads(result.stdout)
    assert (found["complete"], found["properties"]["atomicity"]) == (False, False)
    assert found["properties"]["agreement"] is None
    warning = (
        "INCOMPLETE (max_states=300 reached): what was found until then is shown; what is not violated is not proved"
    )
    assert result.stderr == f"simtx: warning: {warning}\n"


def test_a_goal_out_of_reach_ends_with_1() -> None:
    """Nothing is violated where nothing is ever recovered, but that is not what was asked for; a single service publishes nothing."""
    result = run("outbox", "--participants", "1", "--duplicates", "0", "--timeouts", "0")
    assert result.returncode == 1
    assert result.stdout.splitlines()[0] == "outbox: nothing violated, but out of reach: recovery"


def test_a_strategy_that_does_nothing_is_refuted() -> None:
    """No step of a transaction that is always aborted is ever in force alone; that is no success."""
    code = """
from simtx.protocols.two_phase_coordinator import Coordinator
Coordinator.close_vote = lambda self: self.abort("never")
"""
    result = run("2pc", "--crashes", "0", "--duplicates", "0", "--timeouts", "0", code=code)
    assert result.returncode == 1
    assert result.stdout.splitlines()[0] == "2pc: REFUTED on validity"
    assert "  possible: commit NOT REACHED, abort" in result.stdout.splitlines()


def test_every_option_reaches_the_scope() -> None:
    """Each has a value that is not its default; the first state is enough to see it."""
    values = {
        "participants": 3,
        "messages": 2,
        "crashes": 2,
        "losses": 1,
        "duplicates": 2,
        "timeouts": 3,
        "failures": 4,
        "interventions": 5,
        "pivot": 1,
        "reads": 2,
        "retained": 1,
    }
    switches = ("lasting", "parallel", "revisit", "contention", "unruly")
    arguments = [text for name, value in values.items() for text in (f"--{name}", str(value))]
    arguments += [f"--{name}" for name in switches]
    result = run("2pc", *arguments, "--max-states", "1", "--json")
    assert result.returncode == 1
    assert json.loads(result.stdout)["scope"] == {**values, **dict.fromkeys(switches, True)}


def test_every_argument_of_the_library_has_an_option() -> None:
    """Apart from what the command line decides itself."""
    arguments = set(inspect.signature(simtx.verify).parameters) - {"progress"}
    assert arguments == set(inspect.signature(verify).parameters) - {"json"}


def test_json_is_one_document() -> None:
    result = run("dual-write", "--json")
    assert (result.returncode, result.stderr) == (1, "")
    document = json.loads(result.stdout)
    assert document["ok"] is False
    assert document["complete"] is True
    assert document["properties"]["agreement"] is True
    assert document["properties"]["atomicity"] is False
    assert document["violations"]["atomicity"][-1] == "nothing more can happen"
    assert document["expected"]["atomicity"]
    assert document["states"] > 1000


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "Missing argument"),
        (("sage",), "did you mean 'saga'"),
        (("2pc:colour=red",), "has no option 'colour'"),
        (("2pc", "--participants", "9"), "participants = 9; it must be a whole number from 1 to 8"),
        (("2pc", "--crashes", "-1"), "crashes = -1; it must be a whole number from 0 to 15"),
        (("2pc", "--losses", "some"), "--losses"),
        (("2pc", "--pivot", "2"), "pivot = 2; it must be the index of a step, 0 to 1"),
        (("2pc", "--max-states", "0"), "--max-states"),
        (("2pc", "--max-seconds", "0"), "verify: max_seconds: must be a positive number of seconds, got 0"),
        (("2pc", "--workers", "0"), "--workers"),
        (("2pc", "--workers", "1000"), "--workers"),
        (("2pc", "--max-memory", "0GB"), "--max-memory: '0GB' is no size; write a number and a unit, such as 500MB"),
        (("2pc", "--max-memory", "100"), "--max-memory: '100' is no size"),
        (("2pc", "--max-memory", "much"), "--max-memory: 'much' is no size"),
        (("2pc", "--max-memory", "nanGB"), "--max-memory: 'nanGB' is no size"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments: tuple[str, ...], problem: str) -> None:
    result = run(*arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("simtx: error: ")
    assert problem in lines[0]


INTERRUPT = """
import os, signal
from simtx.checker.protocols.protocol import ProtocolModel
successors, seen = ProtocolModel.successors, []
def interrupting(self, state):
    seen.append(state)
    if len(seen) == 500:
        os.kill(os.getpid(), signal.{how})
    return successors(self, state)
ProtocolModel.successors = interrupting
"""


@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM"])
def test_interrupted_exploration_shows_what_it_found(how: str) -> None:
    """A signal at the 500th state: exit code 130, a verdict that says so, no traceback."""
    result = run("2pc", "--participants", "4", "--crashes", "2", code=INTERRUPT.format(how=how))
    assert result.returncode == 130
    warning = "INCOMPLETE (interrupted): what was found until then is shown; what is not violated is not proved"
    assert result.stderr == f"simtx: warning: {warning}\n"
    assert result.stdout.startswith("2pc: no violation found, INCOMPLETE (interrupted)\n")
    assert "only" in result.stdout.splitlines()[1]


def test_the_verdict_of_a_refuted_strategy_survives_the_interruption() -> None:
    result = run("dual-write", "--crashes", "3", "--timeouts", "3", code=INTERRUPT.format(how="SIGINT"))
    assert result.returncode == 130
    assert "dual-write: REFUTED on" in result.stdout
    assert result.stderr.startswith("simtx: warning: INCOMPLETE (interrupted)")
