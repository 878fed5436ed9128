"""Wrong input and brutal ends: one clear line, exit code 2 or 1, nothing lost, nothing left running, nothing heard beyond loopback."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import simtx
from simtx.cli import main
from simtx.errors import SimtxError
from simtx.reference.run_folder.folder import RunFolder

SCENARIO = """
title = "Two services"
[services.a]
service_time = "1ms"
[services.b]
service_time = "1ms"
[transaction]
name = "t"
[[transaction.steps]]
name = "one"
service = "a"
operations = [{ key = "x", amount = 1 }]
compensation = [{ key = "x", amount = -1 }]
[[transaction.steps]]
name = "two"
service = "b"
kind = "pivot"
operations = [{ key = "y", amount = 1 }]
[workload]
kind = "deterministic"
rate = "20/s"
[policies]
call_timeout = "60s"
vote_timeout = "60s"
[run]
transactions = TRANSACTIONS
"""
ENDLESS = 3000


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "two.toml"
    path.write_text(SCENARIO.replace("TRANSACTIONS", "10"))
    return path


def command(scenario: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "simtx.cli", "execute", str(scenario), *more]


def children_of(folder: Path) -> list[int]:
    """Processes of this machine that have the folder in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if any(str(folder).encode() in word for word in words) and b"execute" not in words:
            found.append(int(path.parent.name))
    return found


def gone(folder: Path, seconds: float = 180.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not children_of(folder):
            return True
        time.sleep(0.05)
    return False


@contextmanager
def running(scenario: Path, folder: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    """An execution that does not end by itself, all of whose processes listen."""
    scenario.write_text(SCENARIO.replace("TRANSACTIONS", str(ENDLESS)))
    process = subprocess.Popen(
        command(scenario, *more, "--keep", str(folder)), text=True, stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        end = time.monotonic() + 300
        while not (folder / "ports" / "client").exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.communicate()
        assert gone(folder)


# --- ends ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(
    "options", [["saga"], ["outbox", "--store", "postgres", "--broker", "nats"]], ids=["embedded", "servers"]
)
@pytest.mark.sample(6)
def test_ctrl_c_ends_every_process_and_says_so(
    scenario: Path, tmp_path: Path, options: list[str], number: signal.Signals
) -> None:
    folder = tmp_path / "run"
    with running(scenario, folder, *options) as process:
        assert len(children_of(folder)) >= 4
        process.send_signal(number)
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 130
        assert errors.strip().endswith("simtx: error: interrupted")
        assert gone(folder)
    assert RunFolder.open(folder).read().status == "interrupted"


def test_a_launcher_that_is_killed_takes_its_processes_with_it(scenario: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with running(scenario, folder, "2pc", "--store", "postgres") as process:
        assert len(children_of(folder)) >= 5
        process.kill()
        process.communicate()
        assert gone(folder)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["2pc"], set()),  # Unix sockets alone
        (["2pc", "--host", "127.0.0.1"], {"0100007F"}),  # 127.0.0.1, as the kernel writes it
        (["outbox", "--broker", "nats"], {"0100007F"}),  # its server knows no other kind of socket
    ],
)
@pytest.mark.sample(3)
def test_nothing_listens_beyond_what_is_said(
    scenario: Path, tmp_path: Path, options: list[str], expected: set[str]
) -> None:
    folder = tmp_path / "run"
    with running(scenario, folder, *options):
        listening = set()
        inodes = {}
        for table in ("/proc/net/tcp", "/proc/net/tcp6"):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A":
                    inodes[fields[9]] = fields[1].split(":")[0]
        for pid in children_of(folder):
            for link in Path(f"/proc/{pid}/fd").iterdir():
                try:
                    target = link.readlink()
                except OSError:
                    continue
                inode = str(target).removeprefix("socket:[").removesuffix("]")
                if inode in inodes:
                    listening.add(inodes[inode])
        assert listening == expected


# --- wrong input --------------------------------------------------------------------------------------------------------------


@contextmanager
def taken() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["saga", "--store", "oracle"], 2, "there is no store 'oracle'"),
        (["outbox", "--broker", "kafka"], 2, "there is no broker 'kafka'"),
        (["saga", "--store", "postgresql://nobody@127.0.0.1:1/none"], 2, "127.0.0.1"),
        (["outbox", "--broker", "nats://127.0.0.1:1"], 2, "127.0.0.1:1"),
        (["sagas"], 2, "did you mean 'saga'"),
        (["saga", "--network", "carrier-pigeon"], 2, "'loopback' or 'scenario'"),
        (["saga", "--disk", "floppy"], 2, "'machine' or 'scenario'"),
        (["saga", "--disk", "scenario", "--store", "postgres"], 2, "only SQLite imitates the scenario's disks"),
        (["saga", "--set", "workload.rate=fast"], 2, "workload.rate"),
        (["saga", "--keep", "/proc/run"], 2, "/proc/run"),
        (["saga", "--host", "203.0.113.7"], 2, "127.0.0.1 is always there"),
        (["saga", "--port", "4711"], 2, "say host as well"),
    ],
)
def test_wrong_input_gets_one_clear_line(
    scenario: Path, options: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["execute", str(scenario), *options]) == code
    errors = capsys.readouterr().err
    lines = [line for line in errors.splitlines() if "warning" not in line]
    assert len(lines) == 1, errors
    assert lines[0].startswith("simtx: error: ")
    assert words in lines[0]
    assert "Traceback" not in errors


def test_a_port_in_use_is_named(scenario: Path) -> None:
    with taken() as port:
        done = subprocess.run(
            command(scenario, "saga", "--host", "127.0.0.1", "--port", str(port)),
            text=True,
            check=False,
            capture_output=True,
            timeout=300,
        )
    assert done.returncode == 2
    assert str(port) in done.stderr
    assert "another program uses that port" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_folder_that_holds_something_is_not_touched(scenario: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "letter").write_text("dear")
    done = subprocess.run(
        command(scenario, "saga", "--keep", str(folder)), text=True, check=False, capture_output=True, timeout=300
    )
    assert done.returncode == 2
    assert "is not empty" in done.stderr
    assert [path.name for path in folder.iterdir()] == ["letter"]


def test_a_full_disk_ends_the_run_with_one_line(scenario: Path, tmp_path: Path) -> None:
    """A service comes back after a kill and finds no room, every time: the run ends, says so, and leaves nothing running."""
    folder = tmp_path / "run"
    with running(scenario, folder, "2pc") as process:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (20_000, 20_000))  # of what is started from now on
        os.kill(json.loads((folder / "ports" / "a").read_text())["process"], signal.SIGKILL)
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 1, errors
        lines = errors.strip().splitlines()
        assert len(lines) == 1, errors
        assert lines[0].startswith("simtx: error: process 'a' cannot go on: ")
        assert any(word in lines[0] for word in ("full", "File too large", "no space")), lines[0]
        assert gone(folder)
    assert RunFolder.open(folder).read().status == "failed"


@pytest.mark.heavy
def test_a_disk_that_fills_up_anywhere_costs_nothing_that_was_finished() -> None:
    """`benchmarks/full_disk.py` in short."""
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-Urm", "true"], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    program = Path(__file__).parents[2] / "benchmarks" / "full_disk.py"
    done = subprocess.run(
        [sys.executable, program, "--saves", "10", "--runs", "6", "--seed", "5"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.heavy
def test_a_broker_that_is_killed_from_outside_is_started_again_and_the_run_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    killed: list[int] = []

    def kill() -> None:
        end = time.monotonic() + 300
        while time.monotonic() < end and not (folder / "ports" / "client").exists():
            time.sleep(0.05)
        time.sleep(1.0)
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (process / "cmdline").read_bytes().decode().split("\0")
                if "nats-server" in words[0] and str(folder / "nats") in words:
                    os.kill(int(process.name), signal.SIGKILL)
                    killed.append(int(process.name))

    thread = threading.Thread(target=kill)
    thread.start()
    changes = {"workload.rate": 10, "run.transactions": 40, "run.warmup": 0, "run.drain": "30s"}
    run = simtx.execute(simtx.load("transfer").replace(**changes), "outbox", broker="nats", folder=folder)
    thread.join()
    assert len(killed) == 1
    assert run.summary.in_flight_count == 0
    assert "the NATS server ended by itself or was killed from outside, and was started again" in run.warnings


# --- hostile peers --------------------------------------------------------------------------------------------------------------


def test_hostile_bytes_at_every_port_change_nothing(scenario: Path, tmp_path: Path) -> None:
    """Oversized, truncated, unauthenticated and malformed bytes at all ports of a run: refused, noted, and every transaction commits."""
    found: list[str] = []

    def attack(folder: Path) -> None:
        hostile = [
            b"",
            b"\0\0\0\5hello",
            b"\xff\xff\xff\xff" + b"x" * 5000,
            b"GET / HTTP/1.1\r\n\r\n",
            b"\0\0\0\2{}",
            os.urandom(3000),
        ]
        end = time.monotonic() + 300
        while time.monotonic() < end and not (folder / "ports" / "client").exists():
            time.sleep(0.02)
        for name in ("a", "b", "orchestrator", "client"):
            port = json.loads((folder / "ports" / name).read_text())["place"][1]
            for payload in hostile:
                try:
                    with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
                        sock.sendall(payload)
                        sock.shutdown(socket.SHUT_WR)
                        while sock.recv(4096):
                            pass
                except ConnectionError:
                    if (folder / "ports" / name).exists() and RunFolder(folder).read().status == "running":
                        raise
                    return  # the run is over
            found.append(name)

    for transactions in (30, 200, 2000):  # more, if the machine is so busy that the run is over before all are attacked
        found.clear()
        folder = tmp_path / f"run{transactions}"
        thread = threading.Thread(target=attack, args=(folder,))
        thread.start()
        scenario.write_text(SCENARIO.replace("TRANSACTIONS", str(transactions)))
        run = simtx.execute(str(scenario), "saga", folder=folder, host="127.0.0.1")
        thread.join()
        if len(found) == 4:
            break
    assert found == ["a", "b", "orchestrator", "client"]
    assert set(run.transactions["outcome"]) == {"committed"}
    refusals = [event for event in run.trace if event.kind == "refuse"]
    assert {event.node for event in refusals} == {"a", "b", "orchestrator", "client"}
    assert len(refusals) >= 16
    assert all("\n" not in event.detail for event in refusals)


def test_another_runs_secret_is_not_let_in(tmp_path: Path, scenario: Path) -> None:
    """A peer with the right protocol and a wrong secret gets no further than the handshake."""
    import asyncio
    import secrets

    from simtx.reference.wire.connection import Connection

    folder = tmp_path / "run"

    async def intrude() -> str:
        where = RunFolder(folder).locate("orchestrator")
        link = Connection("client", secrets.token_bytes(32), lambda: where, lambda frame: None)
        try:
            await link.connected(0.5)
        except SimtxError as error:
            return str(error)
        finally:
            await link.close()
        return "let in"

    with running(scenario, folder, "saga", "--host", "127.0.0.1"):
        assert asyncio.run(intrude()) != "let in"
