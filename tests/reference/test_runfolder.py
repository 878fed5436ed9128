"""The folder of a run: used by one process at a time, trusted by its own user only, and never read half-written."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simtx.errors import SimtxError
from simtx.protocols import Saga
from simtx.reference.addresses import without_password
from simtx.reference.run_folder.audit import AuditError, AuditLog
from simtx.reference.run_folder.folder import RunFolder, RunFolderError
from simtx.reference.run_folder.record import LAYOUT, RunRecord, replace_file
from simtx.scenario import Scenario, from_dict, load


def made(path: Path, scenario: Scenario | None = None, **options: Any) -> RunFolder:
    """The folder of a new run."""
    chosen: dict[str, Any] = {"seed": 3, "store": "sqlite", "broker": "embedded", **options}
    return RunFolder.create(path, scenario or load("checkout"), Saga(), **chosen)


def child(code: str, path: Path) -> subprocess.Popen[str]:
    """A process that runs this code with `folder`, and has said that it has come to its end."""
    lines = (
        "import sys, time",
        "from simtx.reference.run_folder.folder import RunFolder",
        "folder = RunFolder(sys.argv[1])",
        code,
        "print('there', flush=True); time.sleep(600)",
    )
    process = subprocess.Popen([sys.executable, "-c", "\n".join(lines), str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "there\n"
    except BaseException:
        ended(process)
        raise
    return process


def ended(process: subprocess.Popen[str]) -> None:
    """It is killed, and its end was waited for."""
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


HOLD = "holding = folder.locked()\nholding.__enter__()"


# --- making and opening -------------------------------------------------------------------------------------------------------


def test_a_new_folder_says_what_is_played(tmp_path: Path) -> None:
    """Everything that is needed to know the run again, as plain JSON; names of runs do not repeat."""
    scenario = load("checkout")
    folder = made(tmp_path / "deep" / "run", scenario)
    record = RunFolder.open(folder.path).read()
    assert record.scenario == scenario.to_dict()
    assert (record.scenario_name, record.scenario_fingerprint) == ("checkout", scenario.fingerprint)
    assert (record.strategy, record.strategy_options) == ("saga", repr(Saga()))
    assert (record.seed, record.store, record.broker, record.status) == (3, "sqlite", "embedded", "created")
    assert set(record.versions) == {"simtx", "events", "store", "python"}
    assert json.loads((folder.path / "run.json").read_text())["layout"] == LAYOUT
    assert folder.run == RunFolder(folder.path).run == record.run
    assert folder.run.isalnum()
    assert made(tmp_path / "other").run != folder.run
    assert folder.scenario().fingerprint == scenario.fingerprint


def test_a_folder_and_its_secret_are_private(tmp_path: Path) -> None:
    """Whatever the umask and whatever the mode of an empty folder was."""
    path = tmp_path / "run"
    path.mkdir(mode=0o777)
    before = os.umask(0)
    try:
        folder = made(path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o700
    for name in ("secret", "run.json"):
        assert (path / name).stat().st_mode & 0o777 == 0o600
    assert len(folder.secret()) == 32
    assert folder.secret() == RunFolder(path).secret() != made(tmp_path / "other").secret()


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda path: (path / "secret").chmod(0o640), "others may read the run's secret"),
        (lambda path: path.chmod(0o770), "others may write into"),
        (lambda path: (path / "secret").write_bytes(b"short"), "is damaged: it should have 32 bytes"),
        (lambda path: (path / "secret").unlink(), r"secret' cannot be read: No such file"),
        (lambda path: (path / "run.json").unlink(), "holds no run: there is no run.json in it"),
        (lambda path: (path / "run.json").write_text("{"), "run.json' is damaged: it is no record of a run"),
        (lambda path: (path / "run.json").write_text("[]"), "run.json' is damaged: it is no record of a run"),
        (
            lambda path: (path / "run.json").write_text('{"layout": 2}'),
            "has version 2 of the run folder's layout; this simtx reads version 1 only",
        ),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused(tmp_path: Path, spoil: Callable[[Path], Any], problem: str) -> None:
    """One clear line each, which names the folder."""
    folder = made(tmp_path / "run")
    spoil(folder.path)
    with pytest.raises(RunFolderError, match=problem) as caught:
        RunFolder.open(folder.path)
    assert str(folder.path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_run_is_not_put_on_top_of_anything(tmp_path: Path) -> None:
    """A folder that holds a run, other files, or cannot be made is refused, and left as it is."""
    run = made(tmp_path / "run")
    before = run.read()
    with pytest.raises(RunFolderError, match="holds a run already; choose a new or empty folder"):
        made(run.path)
    assert run.read() == before
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "thesis.tex").write_text("42")
    with pytest.raises(RunFolderError, match="is not empty; choose a new or empty folder"):
        made(tmp_path / "papers")
    assert [file.name for file in (tmp_path / "papers").iterdir()] == ["thesis.tex"]
    with pytest.raises(RunFolderError, match=r"cannot make a run folder at .*: Not a directory"):
        made(tmp_path / "papers" / "thesis.tex" / "run")
    with run.locked(), pytest.raises(RunFolderError, match=f"is in use by process {os.getpid()}"):
        made(run.path)


def test_a_scenario_with_objects_is_written_and_not_taken_for_the_same(tmp_path: Path) -> None:
    """What no file can hold is shown, and the run is still played; but it is not made anew from it."""
    from simtx.scenario.distributions import Exponential

    raw = load("checkout").to_dict()
    raw["network"] = {**raw.get("network", {}), "latency": Exponential(0.003)}
    folder = made(tmp_path / "run", from_dict(raw, name="mine"))
    assert "Exponential" in folder.read().scenario["network"]["latency"]
    with pytest.raises(SimtxError):
        folder.scenario()


def test_a_scenario_that_was_edited_is_noticed(tmp_path: Path) -> None:
    """The fingerprint is that of what was played."""
    folder = made(tmp_path / "run")
    scenario = folder.read().scenario
    scenario["services"]["orders"]["workers"] = 77
    folder.update(scenario=scenario)
    with pytest.raises(RunFolderError, match="is not the one that was played: its fingerprint differs"):
        folder.scenario()


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("sqlite", "sqlite"),
        ("postgresql://ada:s3cret@db.example:5433/shop", "postgresql://ada:***@db.example:5433/shop"),
        (
            "postgres://ada@db/shop?password=s3cret&sslmode=require",
            "postgres://ada@db/shop?password=***&sslmode=require",
        ),
        ("postgresql://db/shop?sslpassword=s3cret", "postgresql://db/shop?sslpassword=***"),
        ("postgresql:///shop", "postgresql:///shop"),
        ("nats://s3cret@broker:4222", "nats://***@broker:4222"),
        ("nats://ada:s3cret@broker:4222", "nats://ada:***@broker:4222"),
        ("nats://broker:4222", "nats://broker:4222"),
        ("nats://[s3cret", "nats://***"),
        ("postgresql+psycopg://ada:s3cret@db/shop", "postgresql+psycopg://ada:***@db/shop"),
        ("postgresql://ada:s3/cret@db/shop", "postgresql://***"),
        ("postgresql://ada:s3?cret@db/shop", "postgresql://***"),
        ("postgresql://ada:s3#cret@db/shop", "postgresql://***"),
        ("postgresql://ada:s3cret@one:5432,two:5432/shop", "postgresql://ada:***@one:5432,two:5432/shop"),
        ("nats://ada:s3cret", "nats://***"),
        ("nats://ada:s3cret@broker:port", "nats://***"),
        ("http://ada:s3cret@broker", "http://ada:***@broker"),
        ("host=db user=ada password=s3cret dbname=shop", "host=db user=ada password=*** dbname=shop"),
        ("host=db password = 's3 cret' user=ada", "host=db password = *** user=ada"),
    ],
)
def test_passwords_are_not_written_down(tmp_path: Path, address: str, shown: str) -> None:
    """An address is recorded without what lets others in."""
    assert without_password(address) == shown
    folder = made(tmp_path / "run", store=address, broker=address)
    assert "s3cret" not in (folder.path / "run.json").read_text()


def test_unknown_fields_of_the_record_are_ignored_and_wrong_ones_refused(tmp_path: Path) -> None:
    """The record of a later release with the same layout can be read; a typing error of ours cannot be written."""
    folder = made(tmp_path / "run")
    raw = json.loads((folder.path / "run.json").read_text())
    (folder.path / "run.json").write_text(json.dumps({**raw, "colour": "blue", "mac": ""}))
    assert folder.read().seed == 3
    with pytest.raises(TypeError, match="no field 'statu'"):
        folder.update(statu="running")


# --- processes ----------------------------------------------------------------------------------------------------------------


def test_a_process_is_found_where_it_has_announced_itself(tmp_path: Path) -> None:
    """Until it has ended or says so; a file that is no announcement is none."""
    folder = made(tmp_path / "run")
    assert folder.locate("stock") is None
    folder.announce("stock", ("127.0.0.1", 4711))
    folder.announce("orders@stock", "/tmp/simtx-a b/7.1")  # noqa: S108 - nothing is there
    assert RunFolder(folder.path).locate("stock") == ("127.0.0.1", 4711)
    assert folder.locate("orders@stock") == "/tmp/simtx-a b/7.1"  # noqa: S108
    folder.withdraw("stock")
    folder.withdraw("stock")
    assert folder.locate("stock") is None
    for junk in ("", "127.0.0.1", "[]", "{}", '{"place": 1, "process": 1}', '{"place": ["a", "b"], "process": 1}'):
        (folder.path / "ports" / "stock").write_text(junk)
        assert folder.locate("stock") is None


def test_a_process_that_was_killed_is_not_found(tmp_path: Path) -> None:
    """Nobody connects to a port that may be another's by now."""
    folder = made(tmp_path / "run")
    process = child("folder.announce('stock', ('127.0.0.1', 4711))", folder.path)
    try:
        assert folder.locate("stock") == ("127.0.0.1", 4711)
    finally:
        ended(process)
    assert folder.locate("stock") is None


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc/passwd", "../../x", ".hidden", "a\0b", "x" * 201])
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    """A name that cannot be that of a file is refused in one line."""
    folder = made(tmp_path / "run")
    for use in (folder.node, folder.locate, folder.withdraw, lambda name: folder.announce(name, ("127.0.0.1", 1))):
        with pytest.raises(RunFolderError, match="cannot be the name of a process"):
            use(name)


def test_paths(tmp_path: Path) -> None:
    """Every file of a process is in the folder of its name, and the logs are found again."""
    folder = made(tmp_path / "run")
    node = folder.node("stock.relay")
    assert node == folder.path / "nodes" / "stock.relay"
    assert {folder.store("a").name, folder.audit("a").name, folder.config("a").name} == {
        "store.sqlite",
        "audit.jsonl",
        "config.json",
    }
    node.mkdir()
    for number in (2, 1):
        folder.log("stock.relay", number).touch()
    (folder.path / "launcher.jsonl").touch()
    assert folder.logs() == [folder.path / "launcher.jsonl", node / "log.1.jsonl", node / "log.2.jsonl"]


def test_a_kill_point_says_once_how_long_its_process_stays_away(tmp_path: Path) -> None:
    """The points in a process's configuration are its own; those that came later belong to whoever has died."""
    folder = made(tmp_path / "run")
    for name, points in (("stock", ["p1", "p2"]), ("orders", ["q1"])):
        folder.node(name).mkdir()
        folder.config(name).write_text(json.dumps({"kills": [{"id": point} for point in points]}))
    assert folder.downtime("stock") is None
    (folder.kills / "q1").write_text("0.25 ")
    assert folder.downtime("stock") is None
    assert folder.downtime("orders") == (0.25, False)
    assert folder.downtime("orders") is None
    (folder.kills / "p2").write_text("")
    assert folder.downtime("stock") == (0.0, False)
    (folder.kills / "armed-later").write_text("1.5 twin")
    assert folder.downtime("orders") == (1.5, True)
    assert folder.downtime("stock") is None


# --- the lock -----------------------------------------------------------------------------------------------------------------


def test_one_process_at_a_time(tmp_path: Path) -> None:
    """The second is told who the first is; a folder that was let go is free, also within one process."""
    folder = made(tmp_path / "run")
    process = child(HOLD, folder.path)
    try:
        with (
            pytest.raises(RunFolderError, match=f"is in use by process {process.pid}; wait for its end"),
            folder.locked(),
        ):
            pass
        with pytest.raises(RunFolderError, match=f"is in use by process {process.pid}"):
            made(folder.path)
        assert folder.read().status == "running"
    finally:
        ended(process)
    with (
        folder.locked(),
        pytest.raises(RunFolderError, match=f"process {os.getpid()}"),
        RunFolder(folder.path).locked(),
    ):
        pass
    with folder.locked():
        pass


def test_the_lock_of_a_killed_process_is_stale(tmp_path: Path) -> None:
    """The next one gets it at once, and the run of the killed one is marked as interrupted."""
    folder = made(tmp_path / "run")
    process = child(HOLD, folder.path)
    ended(process)
    assert folder.read().status == "running"
    with folder.locked(playing=False):
        record = folder.read()
        assert record.status == "interrupted"
        assert record.reason == f"process {process.pid} ended without completing the run"
        assert record.ended > record.started
    with folder.locked(playing=False):
        assert folder.read() == record


def test_the_status_follows_the_run(tmp_path: Path) -> None:
    """Running, then finished, failed with the reason, or interrupted; the error comes through as it is."""
    folder = made(tmp_path / "run")
    with folder.locked() as same:
        assert same is folder
        assert folder.read().status == "running"
    record = folder.read()
    assert (record.status, record.reason) == ("finished", "")
    assert record.created <= record.started <= record.ended
    with pytest.raises(ZeroDivisionError), folder.locked():
        raise ZeroDivisionError("two\nlines")
    assert (folder.read().status, folder.read().reason) == ("failed", "two lines")
    with pytest.raises(KeyboardInterrupt), folder.locked():
        raise KeyboardInterrupt
    assert (folder.read().status, folder.read().reason) == ("interrupted", "KeyboardInterrupt")
    with folder.locked():
        assert folder.read().reason == ""


def test_what_is_no_run_folder_is_not_locked(tmp_path: Path) -> None:
    """And no file is left there."""
    with pytest.raises(RunFolderError, match="holds no run"), RunFolder(tmp_path).locked():
        pass
    assert list(tmp_path.iterdir()) == []


# --- audit logs ---------------------------------------------------------------------------------------------------------------


def test_audit_logs_are_sealed_at_the_end_and_verified_later(tmp_path: Path) -> None:
    """A line that is missing at the end, a whole log that is missing, a changed line: each is found, with its node."""
    folder = made(tmp_path / "run")
    folder.update(nodes=["a", "b", "c"])
    with folder.locked():
        for node in ("a", "b", "c"):
            folder.node(node).mkdir()
            with AuditLog(folder.audit(node), node) as log:
                for tx in range(3):
                    log.append("decide", tx=tx, actor="coordinator")
    assert {node: head[0] for node, head in folder.read().audit.items()} == {"a": 3, "b": 3, "c": 3}
    assert folder.verify_audits() == {}
    lines = folder.audit("a").read_bytes().splitlines(keepends=True)
    folder.audit("a").write_bytes(b"".join(lines[:2]))
    folder.audit("b").unlink()
    folder.audit("c").write_bytes(folder.audit("c").read_bytes().replace(b'"tx":1', b'"tx":2'))
    found = folder.verify_audits()
    assert found["a"] == ["the end is missing: line 3 was sealed, and there are 2 lines"]
    assert "cannot be read" in found["b"][0]
    assert found["c"] == ["line 2 was changed: its checksum is not that of its text"]


def test_a_run_with_a_damaged_audit_log_does_not_end_well(tmp_path: Path) -> None:
    """It is an error; but it never hides the error that ended the run."""
    folder = made(tmp_path / "run")
    folder.node("a").mkdir()
    folder.audit("a").write_bytes(b"not ours\n")
    with pytest.raises(AuditError, match="the last line of this audit log was changed"), folder.locked():
        pass
    assert folder.read().status == "failed"
    with pytest.raises(ZeroDivisionError), folder.locked():
        raise ZeroDivisionError
    assert folder.read().status == "failed"


# --- files that are replaced as a whole ---------------------------------------------------------------------------------------


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    """One writer, one reader, no lock: each read gives one of the contents, whole."""
    path = tmp_path / "file"
    replace_file(path, b"a" * 100_000, durable=False)
    over = threading.Event()

    def write() -> None:
        while not over.is_set():
            for letter in (b"a", b"b"):
                replace_file(path, letter * 100_000, durable=False)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        until = time.monotonic() + 0.3
        while time.monotonic() < until:
            content = path.read_bytes()
            assert len(content) == 100_000
            assert content in (b"a" * 100_000, b"b" * 100_000)
    finally:
        over.set()
        writer.join()
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_write_that_fails_leaves_the_old_content(tmp_path: Path) -> None:
    """And no other file; the record survives a kill at any moment, since it is never changed in place."""
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "x").touch()
    with pytest.raises(OSError, match="taken"):
        replace_file(tmp_path / "taken", b"new", durable=True)
    assert [file.name for file in tmp_path.iterdir()] == ["taken"]
    folder = made(tmp_path / "run")
    process = child(
        "import threading\nthreading.Thread(target=lambda: [folder.update(seed=n) for n in range(10**9)], daemon=True).start()",
        folder.path,
    )
    try:
        time.sleep(0.1)
    finally:
        ended(process)
    assert isinstance(folder.read(), RunRecord)


def test_a_node_process_imports_nothing_heavy() -> None:
    """A restart is quick: no scenario, no tables, no statistics in what a node imports."""
    code = "import sys, simtx.reference.run_folder.folder, simtx.protocols.event_schema, simtx.reference.run_folder.audit; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"numpy", "pandas", "pydantic", "scipy", "networkx", "simpy", "matplotlib", "simtx.scenario"}
    assert not heavy & set(loaded)


def test_a_disk_that_is_full_leaves_no_half_folder_and_a_failed_run_has_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("simtx.reference.run_folder.folder.replace_file", full)
        with pytest.raises(RunFolderError, match="No space left on device; choose another one"):
            made(tmp_path / "run")
    assert not (tmp_path / "run").exists()
    folder = made(tmp_path / "run")
    assert (folder.path / "reserve").stat().st_size > 2 * (folder.path / "run.json").stat().st_size
    write = replace_file

    def full_but_for_the_reserve(path: Path, content: bytes, **options: Any) -> None:
        if (folder.path / "reserve").exists():
            full()
        write(path, content, **options)

    with monkeypatch.context() as patch:
        patch.setattr("simtx.reference.run_folder.folder.replace_file", full_but_for_the_reserve)
        with pytest.raises(OSError, match="No space left"), folder.locked():
            pass
    assert folder.read().status == "failed"
    assert "No space left" in folder.read().reason


def test_a_run_that_nobody_plays_any_more_is_interrupted(tmp_path: Path) -> None:
    """Also if its last words could not be written."""
    folder = made(tmp_path / "run")
    folder.update(status="running")
    with folder.locked(playing=False):
        assert folder.read().status == "interrupted"
