"""The crash matrix: no protocol of ours breaks wherever a process is killed, and one with a seeded defect does."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from simtx.errors import ScenarioError
from simtx.protocols import Append, Message, Publish, Transact
from simtx.reference.node.crash_points import CrashPoint, program
from simtx.validation import crash_matrix as module
from simtx.validation.crash_matrix import CrashMatrix, crash_matrix
from simtx.validation.places import Place, crash_points, described
from tests.checker.mutants import ALL

PROMISING = [
    ("2pc", 7),  # of the saga, the page of the matrix has a line that tests/docs runs
    pytest.param("outbox", 4, marks=pytest.mark.heavy),
    *[pytest.param(name, 16, marks=pytest.mark.heavy) for name in ("2pc", "2pc:work=before", "saga", "outbox")],
    *[
        pytest.param(name, 10, marks=pytest.mark.heavy)
        for name in ("tcc", "paxos-commit", "2pc:termination=cooperative", "2pc:presumption=commit")
    ],
]
SEEDED = [
    ("vote-before-prepared", "payee"),
    pytest.param("rollback-on-recovery", "payee", marks=pytest.mark.heavy),
    ("effect-before-row", "payee"),
    ("ack-before-commit-at-consumer", "fees"),
]


def enough(matrix: CrashMatrix) -> bool:
    return len(matrix.struck) >= (0.75 if matrix.chosen > 10 else 0.5) * matrix.chosen


def check_struck(matrix: CrashMatrix) -> None:
    """Nearly all chosen places were struck: of those that hang on the order of messages, some may not come about."""
    assert matrix.chosen > 0
    assert len(matrix.struck) + len(matrix.unreached) == matrix.chosen
    assert enough(matrix), matrix.text
    assert matrix.kills >= len(matrix.struck)


@pytest.mark.slow
@pytest.mark.parametrize(("strategy", "limit"), PROMISING)
def test_nothing_is_violated_wherever_a_process_is_killed(strategy: str, limit: int) -> None:
    for _ in range(5):  # on a loaded machine votes come too late, and fewer places are reached
        matrix = crash_matrix(strategy, limit=limit, depth=2 if limit >= 7 else 1)
        assert matrix.ok, matrix.text
        assert not any(matrix.losses.values()), matrix.text
        if enough(matrix) and (limit < 7 or any(len(recipe) == 2 for recipe in matrix.struck)):
            break
    check_struck(matrix)
    assert limit < 7 or any(len(recipe) == 2 for recipe in matrix.struck), (
        "no place was struck that only a crash leads to"
    )
    assert len(matrix.by_process) >= 3


@pytest.mark.slow
@pytest.mark.heavy
def test_the_losses_of_a_dual_write_are_counted_and_are_no_violations() -> None:
    matrix = crash_matrix("dual-write", limit=10, depth=1)
    check_struck(matrix)
    assert matrix.ok, matrix.text
    assert matrix.losses["transactions with missing effects"] > 0, matrix.text
    assert matrix.losses["transactions with duplicate effects"] > 0, matrix.text


@pytest.mark.heavy
@pytest.mark.slow
def test_the_complete_matrix_strikes_every_place_that_it_has_found() -> None:
    """On the command line, as the documentation shows it; of the dual write, since that one is the shortest."""
    words = ["crash-matrix", "dual-write", "--complete", "--json"]
    done = subprocess.run([sys.executable, "-m", "simtx.cli", *words], capture_output=True, text=True, check=True)
    matrix = json.loads(done.stdout)
    assert matrix["complete"]
    assert 100 < matrix["struck"] == matrix["chosen"] == matrix["places"]
    assert matrix["kills"] >= matrix["struck"]
    assert matrix["violations"] == matrix["unreached"] == []
    assert matrix["losses"]["transactions with missing effects"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(("strategy", "broker"), [("2pc", "embedded"), ("outbox", "nats")])
@pytest.mark.heavy
def test_nothing_is_violated_on_servers(strategy: str, broker: str) -> None:
    pytest.importorskip("psycopg")
    matrix = crash_matrix(strategy, store="postgres", broker=broker, limit=8)
    check_struck(matrix)
    assert matrix.ok, matrix.text


@pytest.mark.slow
@pytest.mark.parametrize(("name", "process"), SEEDED)
@pytest.mark.sample(4)
def test_a_seeded_defect_is_found(name: str, process: str) -> None:
    """Each shows in a transaction that would have succeeded, by a kill and not without one."""
    mutant = next(mutant for mutant in ALL if mutant.name == name)
    for _ in range(10):  # on a loaded machine votes come too late, and the transactions that would show it are aborted
        matrix = crash_matrix(mutant.strategy, process=process, limit=14, depth=1)
        found = any(
            line.startswith("effects") and f"[{process}: " in line and "transaction that succeeds" in line
            for line in matrix.violations
        )
        if found:
            break
    assert found, matrix.text
    assert not matrix.ok
    assert "violation: effects" in matrix.text


def test_a_process_that_there_is_not_is_refused() -> None:
    with pytest.raises(
        ScenarioError, match=r"there is no process 'payer\.relay'; there are payer, payee, fees, coordinator"
    ):
        crash_matrix("2pc", process="payer.relay")


def test_ctrl_c_shows_what_was_found_until_then(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "played", interrupted)
    matrix = crash_matrix("2pc")
    assert matrix.interrupted
    assert matrix.launches == 0
    assert "interrupted" in matrix.text
    assert matrix.as_dict()["interrupted"] is True


# --- places ---------------------------------------------------------------------------------------------------------------------


def test_a_program_is_written_without_what_differs_between_transactions() -> None:
    def effects(tx: int) -> list[object]:
        message = Message("step-done", tx, "payer", "payee", {"tx": tx})
        return [
            Append(("commit", tx)),
            Message("prepare", tx, "hub", "payer"),
            Publish(f"published:{tx}", message),
            Transact("action", ()),
        ]

    assert program(effects(1)) == program(effects(2))  # type: ignore[arg-type]
    assert program(effects(1)) == "Append:commit Message:prepare>payer Publish:step-done>payee Transact:action"  # type: ignore[arg-type]


def test_the_second_kill_of_a_transaction_waits_for_the_first() -> None:
    first = Place("payer", "participant", "idle", "prepare", "Prepare:prepared", 1, "that succeeds")
    second = Place("payer", "participant", "", "recover", "Message:inquiry>hub SetTimer:inquiry", 0, "that succeeds")
    points = dict(crash_points(7, (first, second)))
    assert points["payer"] == CrashPoint(
        "7-1", tx=7, event="recover", role="participant", index=0, program=second.program, after="7-0"
    )
    assert described((first, second)) == (
        "payer: participant, 'prepare' in state idle, behind the last of 1 effects, transaction that succeeds; then "
        "payer: participant, recovery, before Message:inquiry>hub (1 of 2), transaction that succeeds"
    )


def test_a_handler_of_a_relay_without_publications_belongs_to_any_transaction() -> None:
    poll = Place("payer.relay", "relay", "running", "poll", "SetTimer:poll ReadOutbox:rows", 1)
    rows = Place("payer.relay", "relay", "running", "rows", "Publish:step-done>payee", 1)
    confirmed = Place("payer.relay", "relay", "running", "published", "MarkOutbox:", 0)
    assert [point.tx for place in (poll, rows, confirmed) for _, point in crash_points(3, (place,))] == [None, 3, 3]
