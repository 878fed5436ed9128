"""``simtx transactions`` and ``simtx audit`` on the folder of a real run: text, JSON, exit codes."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import simtx
from simtx.cli import main
from simtx.reference.node.crash_points import CrashPoint
from simtx.reference.run_folder.audit import AuditLog, read_head
from simtx.reference.run_folder.folder import RunFolder

ANN = ("--operator", "ann")


class Result(NamedTuple):
    code: int
    out: str
    err: str


Command = Callable[..., Result]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    def run(*arguments: object) -> Result:
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two transfers; the coordinator of the second died with its decision on disk, and nobody has heard of it."""
    changes = {"workload.rate": 4, "run.transactions": 2, "run.warmup": "0s", "policies.vote_timeout": "60s"}
    kills = {"coordinator": [CrashPoint("away", tx=1, effect="Decided:committed", downtime=1000.0)]}
    for drain in (1, 10, 60):  # on a busy machine it takes longer until that one dies
        folder = tmp_path_factory.mktemp("played") / "run"
        scenario = simtx.load("transfer").replace(**changes, **{"run.drain": f"{drain}s"})
        run = simtx.execute(scenario, "2pc", folder=folder, kills=kills, service_times=False)
        if any(entry.kind == "crash" for entry in run.trace):
            break
    assert list(run.transactions["outcome"]) == ["committed", "in-flight"]
    return folder


@pytest.fixture
def folder(played: Path, tmp_path: Path) -> Path:
    """A copy of that run's folder, for one test."""
    copy = tmp_path / "run"
    shutil.copytree(played, copy)
    for file in (*copy.glob("nodes/*/config.json"),):
        file.write_text(file.read_text().replace(str(played), str(copy)))
    return copy


@pytest.mark.parametrize(
    ("kind", "extra", "more"),
    [
        ("retry", (), {}),
        ("skip", (), {}),
        ("resolve", ("--outcome", "abort", "--heuristic"), {"outcome": "abort", "heuristic": True}),
    ],
)
def test_every_option_of_an_act_reaches_it(
    command: Command, monkeypatch: pytest.MonkeyPatch, kind: str, extra: tuple[str, ...], more: dict[str, Any]
) -> None:
    """Each has a value that is not its default, and nothing else comes along."""
    found: list[Any] = []

    def intervene(*arguments: Any, **options: Any) -> None:
        found.extend((arguments, options))
        raise simtx.ScenarioError("seen")

    monkeypatch.setattr("simtx.reference.operate.intervene", intervene)
    given = {"reason": "why", "operator": "ann", "node": "s1", "store": "lite", "broker": "nats"}
    words = [word for name, value in given.items() for word in (f"--{name}", value)]
    command("transactions", kind, "RUN", 7, *words, "--trust", "--patience", 5, *extra)
    assert found == [(Path("RUN"), 7, kind), {**given, "trust": True, "patience": 5.0, **more}]


def test_a_branch_in_doubt_is_listed_asked_for_and_settled(command: Command, folder: Path) -> None:
    listed = command("transactions", "list", folder)
    assert (listed.code, listed.err) == (0, "")
    head, *rows = listed.out.splitlines()
    assert head.split() == ["tx", "node", "problem", "state", "age", "why"]
    assert rows[0].startswith("1   receiver     in doubt   in-doubt")
    assert rows[0].endswith("'coordinator' is committing and has recorded 'commit sender receiver'")
    assert rows[1].strip().startswith("locks balance:")
    assert rows[2].strip() == "prepared as 'branch 1'"
    assert sum("in doubt" in row for row in rows) == 2
    assert sum("in flight" in row for row in rows) == 1

    done = command("transactions", "retry", folder, "1", "--reason", "the coordinator is back", *ANN)
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert "receiver: started again from its store" in lines
    assert lines[-1] == "settled"
    assert any(
        f"operator:ann (uid {os.getuid()}): retry restart because: the coordinator is back" in line for line in lines
    )
    assert command("transactions", "list", folder).out == "nothing is open\n"


def test_json_holds_the_same(command: Command, folder: Path) -> None:
    rows = json.loads(command("transactions", "list", folder, "--json").out)
    assert [(row["transaction"], row["node"], row["problem"]) for row in rows] == [
        (1, "receiver", "in doubt"),
        (1, "sender", "in doubt"),
        (1, "coordinator", "in flight"),
    ]
    assert rows[0]["age_s"] > 0
    result = command(
        "transactions", "resolve", folder, 1, "--reason", "now", "--outcome", "commit", "--heuristic",
        "--node", "sender", "--json", *ANN,
    )  # fmt: skip
    assert result.code == 0
    found = json.loads(result.out)
    assert (found["transaction"], found["kind"], found["settled"]) == (1, "resolve", True)
    assert [row["problem"] for row in found["left"]] == ["heuristic"]
    assert [(line["actor"], line["act"]) for line in found["audit"]] == [
        ("operator:ann", "request"),
        ("operator:ann", "resolve"),
        ("operator:ann", "apply"),
    ]


def test_what_is_still_open_afterwards_ends_with_1(command: Command, folder: Path) -> None:
    """Heuristic damage does not go away by itself; that somebody has repaired it has to be said."""
    wish = ("--outcome", "abort", "--heuristic", "--node", "sender", "--reason", "now")
    assert command("transactions", "resolve", folder, 1, *wish, *ANN).code == 0
    late = command("transactions", "retry", folder, 1, "--reason", "the coordinator is back", *ANN)
    assert late.code == 1
    assert late.out.splitlines()[-2].startswith("tx  node    problem")
    assert "damage" in late.out.splitlines()[-1]
    closed = command("transactions", "resolve", folder, 1, "--reason", "booked by hand", *ANN)
    assert (closed.code, closed.out.splitlines()[-1]) == (0, "settled")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["retry", "RUN", "7", "--reason", "x"], "transaction 7 is not open; 'simtx transactions list' shows what is"),
        (["retry", "RUN", "1"], "Missing option '--reason'"),
        (["retry", "RUN", "1", "--reason", " "], "an act needs a reason: it goes into the audit log"),
        (["skip", "RUN", "1", "--reason", "x"], "transaction 1 cannot be skipped at 'receiver'"),
        (["resolve", "RUN", "1", "--reason", "x", "--outcome", "abort"], "say which of receiver, sender with --node"),
        (
            ["resolve", "RUN", "1", "--reason", "x", "--outcome", "abort", "--node", "sender"],
            "is a heuristic decision, which may leave the data inconsistent for good",
        ),
        (["list", "RUN/nowhere"], "holds no run: there is no run.json in it"),
    ],
)
def test_bad_input_is_one_line_and_ends_with_2(command: Command, played: Path, arguments: list[str], text: str) -> None:
    result = command("transactions", *(argument.replace("RUN", str(played)) for argument in arguments))
    assert result.code == 2
    assert text in result.err
    assert len(result.err.splitlines()) == 1
    assert result.out == ""


# --- damage -----------------------------------------------------------------------------------------------------------------------


def remove(file: Path) -> None:
    file.unlink()


def empty(file: Path) -> None:
    file.write_bytes(b"")


def overwrite(file: Path) -> None:
    file.write_bytes(b"no database" * 1000)


def without_tables(file: Path) -> None:
    file.unlink()
    with contextlib.closing(sqlite3.connect(file)) as db:
        db.execute("PRAGMA user_version = 1")


def forget_changes(file: Path) -> None:
    with contextlib.closing(sqlite3.connect(file)) as db, db:
        db.execute("DELETE FROM history")


def of_another_run(file: Path) -> None:
    with contextlib.closing(sqlite3.connect(file)) as db, db:
        db.execute("UPDATE meta SET run = 'other'")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (remove, "the database is missing"),
        (empty, "the database is empty (0 bytes)"),
        (overwrite, "this is no SQLite database"),
        (without_tables, "the database has no tables"),
        (forget_changes, "the store of 'sender' lacks the change that its audit log has as number 0"),
        (of_another_run, "belongs to service 'sender' of run other"),
    ],
)
def test_a_store_that_is_not_what_it_was_is_damage_and_no_act_is_done(
    command: Command, folder: Path, damage: Callable[[Path], None], reason: str
) -> None:
    """Whoever starts a new, empty store in its place makes money from nothing."""
    file = RunFolder(folder).store("sender")
    damage(file)
    left = file.read_bytes() if file.exists() else None
    listed = command("transactions", "list", folder)
    assert (listed.code, listed.err) == (1, "")
    first = listed.out.splitlines()[1]
    assert first.startswith("-   sender       damaged")
    assert reason in first
    act = command("transactions", "retry", folder, 1, "--reason", "x")
    assert (act.code, act.out) == (1, "")
    assert "simtx: error: 'sender' is damaged (" in act.err
    assert "nothing was done" in act.err
    assert (file.read_bytes() if file.exists() else None) == left
    assert "retry" not in RunFolder(folder).audit("receiver").read_text()


def test_a_coordinator_without_the_decision_that_its_audit_log_knows_is_damaged(command: Command, folder: Path) -> None:
    """Otherwise abort would be presumed of what was committed."""
    with AuditLog(RunFolder(folder).audit("coordinator"), "coordinator") as log:
        log.append("decide", tx=1, actor="coordinator", name="committed")
    assert command("transactions", "list", folder).code == 0
    with contextlib.closing(sqlite3.connect(RunFolder(folder).store("coordinator"))) as db, db:
        db.execute("DELETE FROM log")
    listed = command("transactions", "list", folder)
    assert listed.code == 1
    assert "damaged" in listed.out.splitlines()[1]
    assert "it has decided to commit transaction 1, and its store has no record of that" in listed.out
    assert command("transactions", "retry", folder, 1, "--reason", "x").code == 1


def test_all_stores_gone_is_not_nothing_open(command: Command, folder: Path) -> None:
    for file in folder.glob("nodes/*/store.sqlite*"):
        file.unlink()
    listed = command("transactions", "list", folder)
    assert listed.code == 1
    assert listed.out.count("the database is missing") == 3
    assert not list(folder.glob("nodes/*/store.sqlite*"))


# --- folders of others ------------------------------------------------------------------------------------------------------------


class Bomb:
    """Unpickling it leaves a trace."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


def change(folder: Path, **fields: Any) -> None:
    file = folder / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def test_what_is_in_a_folder_runs_only_if_it_is_trusted(command: Command, folder: Path, tmp_path: Path) -> None:
    trace = tmp_path / "it-has-run"
    (folder / "strategy.pickle").write_bytes(pickle.dumps(Bomb(trace)))
    assert (
        command("transactions", "list", folder).code == 0
    )  # a strategy of simtx is made by its name, also in the nodes
    assert command("transactions", "retry", folder, 1, "--reason", "x").code == 0
    assert not trace.exists()
    change(folder, strategy_made={})
    for arguments in (["list", folder], ["retry", folder, 1, "--reason", "x"]):
        refused = command("transactions", *arguments)
        assert (refused.code, refused.out) == (2, "")
        assert "loading it runs a program that is in the folder; say --trust" in refused.err
    assert not trace.exists()
    command("transactions", "list", folder, "--trust")
    assert trace.exists()


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"store": "postgresql://ann:secret@evil.example/shop"}, "give its address: --store ADDRESS"),
        (
            {"store": "postgres"},
            "a server (postgres) has to be started on them, and does what is written there; say --trust",
        ),
        ({"strategy_made": {"$": "Wish"}}, "is damaged: no strategy of simtx: 'Wish' is not one of them"),
        ({"strategy_made": {"$": "Saga", "policies": 3}}, "is damaged: no strategy of simtx"),
    ],
)
def test_a_folder_names_no_server_that_is_connected_to_and_no_class_that_is_made(
    command: Command, folder: Path, fields: dict[str, Any], text: str
) -> None:
    change(folder, **fields)
    refused = command("transactions", "list", folder)
    assert (refused.code, refused.out) == (2, "")
    assert text in refused.err
    assert len(refused.err.splitlines()) == 1
    assert "secret" not in refused.err


# --- audit ----------------------------------------------------------------------------------------------------------------------


def audit_lines(command: Command, folder: Path, *arguments: Any) -> list[str]:
    result = command("audit", folder, *arguments)
    assert (result.code, result.err) == (0, "")
    return result.out.splitlines()


def test_the_audit_log_says_who_asked_what_changed_and_that_it_is_sound(command: Command, folder: Path) -> None:
    lines = audit_lines(command, folder)
    times = [line.split("  ")[0] for line in lines[:-1]]
    assert times == sorted(times)
    assert any("coordinator    client: request begin" in line for line in lines)
    assert any("coordinator: decide committed" in line for line in lines)
    assert any("participant: apply step 0 [balance:" in line for line in lines)
    count = len(lines) - 1
    assert lines[-1] == f"{count} lines of 3 nodes: the chain of checksums holds and seals, under your key"
    own = audit_lines(command, folder, "--transaction", 1)
    assert 0 < len(own) < len(lines)
    assert all("tx 1 " in line for line in own[:-1])
    assert own[-1] == lines[-1]
    document = json.loads(command("audit", folder, "--json").out)
    assert len(document["lines"]) == count
    assert document["findings"] == {}
    assert sum(document["sealed"].values()) == count


@pytest.mark.parametrize(
    ("tamper", "finding"),
    [
        (lambda lines: [lines[0].replace('"tx":0', '"tx":5'), *lines[1:]], "line 1 was changed"),
        (lambda lines: [lines[0], *lines[2:]], "removed, inserted or moved lines"),
        (lambda lines: lines[:-1], "the end is missing"),
        (lambda lines: [*lines[:-1], lines[-2]], "removed, inserted or moved lines"),
    ],
    ids=["changed", "removed", "cut off", "replaced"],
)
def test_an_audit_log_that_was_tampered_with_ends_with_1(
    command: Command, folder: Path, tamper: Callable[[list[str]], list[str]], finding: str
) -> None:
    path = RunFolder(folder).audit("sender")
    path.write_text("".join(tamper(path.read_text().splitlines(keepends=True))))
    result = command("audit", folder)
    assert result.code == 1
    last = result.out.splitlines()[-1]
    assert last.startswith("TAMPERED: sender: ")
    assert finding in "\n".join(line for line in result.out.splitlines() if line.startswith("TAMPERED"))
    act = command("transactions", "retry", folder, 1, "--reason", "x")
    assert (act.code, act.out) == (1, "")
    assert "the audit log of 'sender' is not as it was written" in act.err


def test_a_folder_without_a_run_ends_with_2(command: Command, tmp_path: Path) -> None:
    result = command("audit", tmp_path)
    assert (result.code, result.out) == (2, "")
    assert "holds no run" in result.err


def appended(folder: Path) -> str:
    with AuditLog(RunFolder(folder).audit("sender"), "sender") as log:
        log.append("resolve", tx=0, actor="operator:eve", name="closed")
    return "sender: 1 line behind the seal"


def of_nobody(folder: Path) -> str:
    (folder / "nodes" / "ghost").mkdir()
    with AuditLog(RunFolder(folder).audit("ghost"), "ghost") as log:
        log.append("apply", tx=0, actor="client")
    return "ghost: there is no such node in this run"


def without_seals(folder: Path) -> str:
    change(folder, audit={})
    path = RunFolder(folder).audit("sender")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    return "sender: its log has no seal"


def sealed_anew(folder: Path) -> str:
    path = RunFolder(folder).audit("sender")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    run = RunFolder(folder)
    change(folder, audit={node: list(read_head(file)) for node, file in run.audits().items()})
    return "run.json: it was changed since it was written"


def without_its_log(folder: Path) -> str:
    RunFolder(folder).audit("sender").unlink()
    change(folder, audit={node: head for node, head in RunFolder(folder).read().audit.items() if node != "sender"})
    return "sender: its log has no seal"


@pytest.mark.parametrize("tamper", [appended, of_nobody, without_seals, sealed_anew, without_its_log])
def test_what_no_chain_shows_is_found_by_seals_and_key(
    command: Command, folder: Path, tamper: Callable[[Path], str]
) -> None:
    """A run that has ended has a seal for each of its nodes and nothing behind it; the record with the seals has a code under a key elsewhere."""
    finding = tamper(folder)
    result = command("audit", folder)
    assert result.code == 1
    assert f"TAMPERED: {finding}" in result.out
    act = command("transactions", "retry", folder, 1, "--reason", "x")
    assert (act.code, act.out) == (1, "")
    assert "nothing was done" in act.err


def test_without_the_key_the_verdict_says_what_the_seals_are_worth(
    command: Command, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "elsewhere"))
    assert audit_lines(command, folder)[-1].endswith(
        "the seals are under a key that is not yours, so whoever has that one has to say whether they are right"
    )
    change(folder, mac="", seal_key="")
    assert audit_lines(command, folder)[-1].endswith("so whoever can write the folder can have made them anew")


def test_an_act_that_was_killed_is_no_tampering(command: Command, folder: Path) -> None:
    RunFolder(folder).update(acting="operator:ann in process 1")
    appended(folder)
    assert command("audit", folder).code == 0
    assert command("transactions", "list", folder).code == 0


def test_nobody_forges_a_line_or_moves_the_cursor(command: Command, folder: Path) -> None:
    """Not by his name or his reason, and not by what he writes into a log."""
    for option, text in (("--operator", "ann\n51 lines"), ("--operator", "\x1b[2J"), ("--reason", "a\x1b]0;x\x07")):
        refused = command("transactions", "retry", folder, 1, "--reason", "x", option, text)
        assert (refused.code, refused.out) == (2, "")
        assert len(refused.err.splitlines()) == 1
        assert refused.err.rstrip("\n").isprintable()
    with AuditLog(RunFolder(folder).audit("sender"), "sender") as log:
        log.append(
            "alert", tx=1, actor="operator:eve\x1b[1A", reason="fine\n51 lines of 3 nodes: the chain of checksums holds"
        )
    RunFolder(folder).seal()
    lines = audit_lines(command, folder, "--transaction", 1)
    assert all(line.isprintable() for line in lines)
    assert sum("the chain of checksums holds" in line for line in lines) == 2
    assert any(f"operator:eve\\x1b[1A (uid {os.getuid()}): alert because: fine\\n51 lines" in line for line in lines)
    assert all(line.isprintable() for line in command("transactions", "list", folder).out.splitlines())
