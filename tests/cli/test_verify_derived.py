"""``simtx verify-derived``: exit codes, text, JSON and one line for what is wrong."""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import subprocess

import pytest

import simtx
from simtx.cli import main
from simtx.cli.verify import verify_derived
from simtx.protocols.derived import AggregateRule, CopyRule
from simtx.protocols.derived.named import RULES, rule_named


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        done = main(["verify-derived", *arguments])
    return subprocess.CompletedProcess(arguments, done, out.getvalue(), err.getvalue())


def test_what_holds_ends_with_0_and_says_its_scope() -> None:
    result = run("copy:check=version", "--scope", "writes=1", "--scope", "reads=1")
    assert (result.returncode, result.stderr) == (0, "")
    head, scope, *rest = result.stdout.splitlines()
    assert head == "copy:check=version: holds"
    assert scope.startswith("  scope: writes=1, reads=1, crashes=0,")
    assert scope.endswith("deleted=false")
    found = simtx.verify_derived("copy:check=version", {"writes": 1, "reads": 1})
    assert f", {found.states:,} states, " in rest[0]


def test_what_is_refuted_ends_with_1_and_a_story() -> None:
    result = run("aggregate:append=any")
    assert result.returncode == 1
    assert result.stdout.startswith("aggregate:append=any: REFUTED on guard\n")
    assert "\n1. initially" in result.stdout


def test_json_is_one_document_and_is_what_the_library_finds() -> None:
    result = run("group:guard=none", "--scope", "events=2", "--json")
    assert (result.returncode, result.stderr) == (1, "")
    document = json.loads(result.stdout)
    found = simtx.verify_derived("group:guard=none", {"events": 2})
    assert document["rule"] == "group:guard=none"
    assert document["scope"] == {"events": 2, "rebalances": 2, "crashes": 1}
    assert document["ok"] is False
    assert document["complete"] is True
    assert document["states"] == found.states
    assert {name for name, holds in document["properties"].items() if not holds} == set(document["violations"])
    assert document["violations"]["once"][0].startswith("initially: ")
    assert all(document["goals"].values())


def test_what_a_limit_stops_is_no_proof_and_ends_with_1() -> None:
    result = run("join", "--max-states", "20", "--json")
    assert result.returncode == 1
    assert "simtx: warning: INCOMPLETE" in result.stderr
    document = json.loads(result.stdout)
    assert (document["ok"], document["complete"]) == (False, False)
    assert True not in document["properties"].values()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "Missing argument"),
        (("copies",), "verify-derived: there is no rule 'copies'; did you mean 'copy'?"),
        (("cache",), "verify-derived: there is no rule 'cache'; one of 'copy', 'projection', 'group'"),
        (("copy:chek=version",), "'copy' has no option 'chek' (did you mean 'check'?)"),
        (("copy:check=versions",), "copy: option 'check' is 'versions', but must be 'none', 'version' or 'lease'"),
        (("copy:fill=perhaps",), "copy: option 'fill' is 'perhaps', but must be 'true' or 'false'"),
        (("copy:check",), "'check' in 'copy:check' is not of the form option=value"),
        (("copy:fill=false",), "copy: fill: nobody would ever put a copy"),
        (("copy", "--scope", "write=1"), "scope: write: there is no such number; did you mean 'writes'?"),
        (("copy", "--scope", "writes"), "--scope: 'writes' is no change; write it as writes=3"),
        (("copy", "--scope", "writes=many"), "scope: writes: must be a whole number of at least 0, got 'many'"),
        (("copy", "--max-states", "0"), "--max-states"),
        (("copy", "--max-seconds", "0"), "max_seconds: must be a positive number of seconds"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments: tuple[str, ...], problem: str) -> None:
    result = run(*arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("simtx: error: ")
    assert problem in result.stderr


def test_every_argument_of_the_library_has_an_option() -> None:
    assert set(inspect.signature(simtx.verify_derived).parameters) == set(
        inspect.signature(verify_derived).parameters
    ) - {"json"}


def test_a_rule_by_name_is_the_object() -> None:
    assert rule_named("copy: check = version, by=writer", "x") == CopyRule(check="version", by="writer")
    assert rule_named("aggregate:recognises=no", "x") == AggregateRule(recognises=False)
    for name, kind in RULES.items():
        assert rule_named(name, "x") == kind()
