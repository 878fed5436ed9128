"""Whatever ends a sweep half-way, and whenever: called again it plays only what is missing, and the result is that of one uninterrupted call."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

import simtx
from simtx import RunFailed, ScenarioError
from simtx.experiments import executors
from simtx.experiments.sweep import leases
from simtx.experiments.sweep.ledger import RunLedger
from simtx.experiments.sweep.store import Store
from simtx.protocols import Saga
from tests.children import SERVER, command, ended, started

Play = Callable[..., simtx.Sweep]

PROGRAM = """
import os, signal, sys
import simtx
scenario = simtx.load("transfer").replace(**{{"run.transactions": 60, "run.warmup": "0.05s"}})
played = []
def told(row, outcome):
    played.append(row)
    {then}
simtx.sweep(
    scenario, {{"workload.rate": [100, 200]}}, ["2pc", "outbox"], replications=2, store={store!r}, on_result=told, {options}
)
open({store!r} + ".played", "a").write("1" * len(played))
"""
"""The sweep of eight runs in a process of its own."""


def child(store: Path, then: str = "pass", options: str = 'executor="serial"', before: str = "") -> Any:
    """Start a process that plays it."""
    return started(before + PROGRAM.format(then=then, options=options, store=str(store)))


def executions(store: Path) -> list[int]:
    with sqlite3.connect(store / "ledger.sqlite") as db:
        return [count for (count,) in db.execute("SELECT executions FROM runs ORDER BY key")]


# --- killed -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", ['executor="serial"', "workers=2", 'executor="loky", workers=2'])
@pytest.mark.sample(2)
def test_a_parent_that_is_killed_loses_what_was_under_way_and_nothing_else(
    tiny: simtx.Scenario, tmp_path: Path, whole: simtx.Sweep, play: Play, counted: Any, same: Any, options: str
) -> None:
    """SIGKILL right after the third run was entered: three are found again, at once, though their owner could say nothing."""
    killed = child(tmp_path, "if len(played) == 3: os.kill(os.getpid(), signal.SIGKILL)", options)
    assert ended(killed) == -signal.SIGKILL
    rest = counted()
    same(play(tiny, tmp_path, rest), whole)
    assert len(rest.rows) == 5


@pytest.mark.parametrize("moment", ["write_table", "replace", "end_part"])
@pytest.mark.sample(3)
def test_a_parent_that_is_killed_while_it_writes_figures_leaves_no_half_file(
    tiny: simtx.Scenario, tmp_path: Path, whole: simtx.Sweep, play: Play, counted: Any, same: Any, moment: str
) -> None:
    """In the middle of a file; when it is written and not yet renamed; when it is renamed and the ledger does not know of it yet."""
    program = f"""
import os, signal
import pyarrow.parquet
from pathlib import Path
from simtx.experiments.sweep.ledger import RunLedger
owner, name = {{"write_table": (pyarrow.parquet, "write_table"), "replace": (Path, "replace"), "end_part": (RunLedger, "end_part")}}["{moment}"]
def die(*arguments, **_):
    if "{moment}" == "write_table":
        arguments[1].write(b"PAR1 and no more")
        arguments[1].flush()
    os.kill(os.getpid(), signal.SIGKILL)
setattr(owner, name, die)
"""
    assert ended(child(tmp_path, before=program)) == -signal.SIGKILL
    assert any((tmp_path / "figures").iterdir())
    rest = counted()
    same(play(tiny, tmp_path, rest), whole)
    assert rest.rows == []
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["part-000002.parquet"]


class KillsOnce(Saga):
    """The first run that it plays in this sweep kills its worker process, as a lack of memory does; after that it is a saga.

    Args:
        flag: A file that says that it has happened.
    """

    flag = ""

    @property
    def name(self) -> str:
        return "kills-once"

    def machine(self, node: str, tx: int) -> Any:
        if self.flag and not os.path.exists(self.flag):  # noqa: PTH110
            with open(self.flag, "w"):  # noqa: PTH123
                os.kill(os.getpid(), signal.SIGKILL)
        return super().machine(node, tx)


class KillsAlways(Saga):
    """Kills whatever worker process plays it."""

    @property
    def name(self) -> str:
        return "kills-always"

    def machine(self, node: str, tx: int) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("unreachable")


@pytest.fixture(autouse=True)
def _by_value() -> None:
    """Workers cannot import this file: what it defines travels by value, as from a notebook."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are copies of this process, although pytest may have a thread that waits for the end of a test."""
    monkeypatch.setattr(executors, "copyable", lambda: sys.platform == "linux")
    monkeypatch.setattr(executors.Loky, "_kept", None)


@pytest.mark.parametrize("executor", [None, pytest.param("loky", marks=pytest.mark.heavy)])
def test_a_worker_that_dies_breaks_nothing(
    tiny: simtx.Scenario,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    play: Play,
    counted: Any,
    executor: Any,
    copies: None,
) -> None:
    """What was under way is played again; a run that kills its worker twice while it is alone with it is quarantined.

    It has a name and a row, and the next call leaves it alone. The others are what they would have been.
    """
    monkeypatch.setattr(KillsOnce, "flag", str(tmp_path / "flag"))
    options: dict[str, Any] = {"over": {"workload.rate": [100]}, "executor": executor, "workers": 2}
    strategies = [KillsOnce(), "2pc", KillsAlways(), "outbox"]
    disturbed = play(tiny, tmp_path / "disturbed", strategies=strategies, **options, replications=1)
    assert (tmp_path / "flag").exists()
    assert list(disturbed.frame["state"]) == ["done", "done", "quarantined", "done"]
    assert list(disturbed.failures["stage"]) == ["worker"]
    assert disturbed.failures["message"].iloc[0].startswith("its worker process died 2 times with this run alone in it")
    calm = play(tiny, tmp_path / "calm", over={"workload.rate": [100]}, strategies=[KillsOnce(), "2pc", "outbox"])
    expected = calm.frame[calm.frame["replication"] == 0]
    assert disturbed.frame[disturbed.frame["error"] == ""].to_csv(index=False) == expected.to_csv(index=False)
    assert sum(executions(tmp_path / "disturbed")) >= 4 + 1 + 2
    rest = counted()
    play(tiny, tmp_path / "disturbed", rest, strategies=strategies, **options, replications=1)
    assert rest.rows == []


# --- interrupted --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"executor": None, "workers": 2}, {"executor": "loky", "workers": 2}])
@pytest.mark.sample(2)
def test_ctrl_c_keeps_what_is_finished_and_says_how_to_go_on(
    tiny: simtx.Scenario,
    tmp_path: Path,
    whole: simtx.Sweep,
    play: Play,
    counted: Any,
    same: Any,
    options: dict[str, Any],
    copies: None,
) -> None:
    stop = counted(lambda count: count == 3 and os.kill(os.getpid(), signal.SIGINT))
    half = play(tiny, tmp_path, stop, **options)
    assert half.stopped == f"interrupted; what is finished is kept in {tmp_path}: do the same again to go on"
    assert 3 <= len(half.frame) == len(stop.rows) < 8
    assert len(half.missing) == 8 - len(half.frame)
    with pytest.raises(ScenarioError, match=r"runs are missing \(the first: .*, interrupted; what is finished is kept"):
        half.values("events")
    assert not half.best("latency_p99_ms")["supported"].any()  # of a cell without a run as well
    rest = counted()
    same(play(tiny, tmp_path, rest), whole)
    assert len(rest.rows) == 8 - len(half.frame)


def test_a_command_that_is_interrupted_goes_on_when_it_is_called_again(tmp_path: Path, whole: simtx.Sweep) -> None:
    """``simtx sweep`` hears SIGINT after some runs; the same command plays the rest; the table is that of the Python call."""
    (tmp_path / "experiment.toml").write_text(
        'scenario = "transfer"\nstrategies = ["2pc", "outbox"]\nreplications = 2\n'
        '[changes]\n"run.transactions" = 60\n"run.warmup" = "0.05s"\n[over]\n"workload.rate" = [100, 200]\n'
    )
    interrupted_at = tmp_path / "interrupted"
    slow = f"""
import os, time
import simtx.experiments.sweep.runner as runner
play, begun = runner.play, []
def waiting(*one):
    begun.append(one)
    while len(begun) > 3 and not os.path.exists({str(interrupted_at)!r}):
        time.sleep(0.01)
    return play(*one)
runner.play = waiting
"""
    words = ["sweep", "experiment.toml", "--workers", "1"]
    ledger = tmp_path / "results" / "ledger.sqlite"

    def interrupt(process: int) -> None:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            if ledger.exists():
                with sqlite3.connect(ledger) as db:
                    tables = db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'runs'").fetchone()[0]
                    if tables and db.execute("SELECT count(*) FROM runs WHERE state = 'done'").fetchone()[0] >= 2:
                        break
            time.sleep(0.05)
        os.kill(process, signal.SIGINT)
        interrupted_at.touch()

    interrupted = command(words, tmp_path, slow, interrupt)
    assert interrupted.returncode == 130
    assert "runs are missing; go on with: simtx sweep experiment.toml --workers 1" in interrupted.stderr
    assert "Traceback" not in interrupted.stderr
    again = command(words, tmp_path, "")
    assert again.returncode == 0, again.stderr
    assert " of 8 runs found, playing " in again.stderr
    assert sum(executions(tmp_path / "results")) <= 9  # one may have been under way
    import pandas as pd

    table = pd.read_parquet(tmp_path / "results" / "frames" / "experiment.parquet")
    assert table.to_csv(index=False) == whole.frame.to_csv(index=False)


COMMAND = """
import os, signal, sys
import simtx.experiments.executors as executors
import simtx.experiments.sweep.runner as runner
from simtx.cli import main
executors.processors = lambda: 1  # here, not in a worker
play, count = runner.play, 0
def counted(*one):
    global count
    count += 1
    if count == {after}:
        os.kill(os.getpid(), signal.{signal})
    return play(*one)
runner.play = counted
os.chdir({folder!r})
sys.argv[1:] = {arguments!r}
sys.exit(main(sys.argv[1:]))
"""
SHORT = ["--set", "run.transactions=40", "--set", "run.warmup=0s", "--workers", "1", "--store", "results"]
FLIP = [
    "frontier",
    "rates.toml",
    "--x",
    "workload.rate",
    "--budget",
    "40",
    "--undecided",
    "99%",
    "--replications",
    "2",
    *SHORT,
]
REPORT = ["report", "results", "--frontier", "workload.rate", "--by", "latency_p99_ms", "--no-runs", "--budget", "40"]
TORNADO = ["sensitivity", "transfer", "2pc", "saga", "--factor", "workload.rate=20%", "--replications", "2", *SHORT]


@pytest.mark.parametrize(
    ("arguments", "ends", "after"),
    [
        (FLIP, "SIGINT", 3),
        (FLIP, "SIGTERM", 12),
        (FLIP, "SIGKILL", 14),
        (REPORT, "SIGINT", 5),
        (REPORT, "SIGKILL", 5),
        (TORNADO, "SIGINT", 7),
        (TORNADO, "SIGKILL", 7),
    ],
)
@pytest.mark.sample(4)
def test_a_frontier_a_report_and_a_study_that_are_interrupted_go_on_when_they_are_called_again(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    ends: str,
    after: int,
) -> None:
    """By Ctrl-C or SIGKILL, in the cells of the file or in those that the search adds: what is finished is played once."""
    from simtx.cli import main

    (tmp_path / "rates.toml").write_text(
        'scenario = "transfer"\nstrategies = ["2pc", "saga"]\nwindow = "transactions"\n[over]\n"workload.rate" = [60, 200]\n'
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("simtx.experiments.executors.processors", lambda: 1)
    had = 0
    if arguments is REPORT:
        assert main(["sweep", "rates.toml", "--replications", "2", *SHORT]) == 0
        had = 8
    program = COMMAND.format(after=after, signal=ends, folder=str(tmp_path), arguments=arguments)
    assert ended(started(program)) == (-signal.SIGKILL if ends == "SIGKILL" else 130)
    states = "SELECT state, count(*) FROM runs GROUP BY state"
    ledger = tmp_path / "results" / "ledger.sqlite"
    with sqlite3.connect(ledger) as db:
        before = dict(db.execute(states).fetchall())
        finished = db.execute("SELECT key, finished FROM runs WHERE state = 'done'").fetchall()
    assert after - 1 <= before["done"] - had <= after
    assert not (tmp_path / "review.html").exists()
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert any(one in said for one in ("paired replications at", "changes of latency_p99_ms", "written: review.html"))
    with sqlite3.connect(ledger) as db:
        assert set(dict(db.execute(states).fetchall())) == {"done"}
        assert set(finished) <= set(db.execute("SELECT key, finished FROM runs").fetchall())
    assert sorted(executions(tmp_path / "results"))[-2:] in ([1, 1], [1, 2])  # one was under way


def test_figures_that_are_damaged_are_one_line_and_removing_them_plays_their_runs_again(
    tiny: simtx.Scenario, tmp_path: Path, whole: simtx.Sweep, play: Play, counted: Any, same: Any
) -> None:
    """Of a file that is cut off nobody takes a figure; the ledger knows the other runs, and which ones to play."""
    play(tiny, tmp_path, counted())
    part = next((tmp_path / "figures").glob("*.parquet"))
    part.write_bytes(part.read_bytes()[:-40])
    for look in (lambda: play(tiny, tmp_path, counted()), lambda: simtx.read(tmp_path).frame):
        with pytest.raises(
            ScenarioError, match=r"part-000001.parquet: is damaged \(.*restore it, or remove it"
        ) as caught:
            look()
        assert len(str(caught.value).splitlines()) == 1
    part.unlink()
    with pytest.raises(ScenarioError, match=r"part-000001.parquet: is gone"):
        simtx.read(tmp_path).frame  # noqa: B018 - nothing is played by reading
    rest = counted()
    again = play(tiny, tmp_path, rest)
    same(again, whole)
    assert len(rest.rows) == 8
    assert any("their file of figures is gone" in note for note in again.notes)
    shutil.rmtree(tmp_path / "figures")
    with pytest.raises(
        ScenarioError, match="figures: is gone"
    ):  # a folder that is not there may be a disk that is not there
        play(tiny, tmp_path, counted()).frame  # noqa: B018


# --- full disks ---------------------------------------------------------------------------------------------------------------------


def test_a_full_ledger_ends_it_with_a_line_and_keeps_what_is_finished(
    tiny: simtx.Scenario,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    whole: simtx.Sweep,
    play: Play,
    counted: Any,
    same: Any,
) -> None:
    """SQLite itself says that it is full, in the middle of the sweep."""
    once = counted()
    original = RunLedger._prepare

    def small(ledger: RunLedger, folder: Path) -> None:
        original(ledger, folder)
        ledger._db.execute("PRAGMA max_page_count = 22")

    monkeypatch.setattr(RunLedger, "_prepare", small)
    with pytest.raises(
        ScenarioError, match="full; every run that was finished is kept: make room, and do the same again"
    ):
        play(tiny, tmp_path, once, replications=12)
    assert 1 <= len(once.rows) < 48
    monkeypatch.setattr(RunLedger, "_prepare", original)
    rest = counted()
    play(tiny, tmp_path, rest, replications=12)
    assert len(rest.rows) == 48 - len(once.rows)
    same(play(tiny, tmp_path), whole)


def test_a_full_disk_ends_it_with_a_line_and_keeps_what_is_finished(
    tiny: simtx.Scenario, tmp_path: Path, whole: simtx.Sweep, play: Play, counted: Any, same: Any
) -> None:
    """A file system of 300 kB, in a name space of its own, is full when figures move to a file, or before; copied to a larger one it goes on."""
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-Urm", "true"], check=False).returncode:
        pytest.skip("no file system can be mounted here; a full ledger is tested above")
    program = PROGRAM.format(then="pass", options='executor="serial"', store=str(tmp_path / "small" / "results"))
    script = (
        'mount -t tmpfs -o size=300k tmpfs "$1/small" && mkdir "$1/small/results" && dd if=/dev/zero of="$1/small/ballast" bs=1k count=120 status=none '
        '&& python -c "$2"; code=$?; cp -r "$1/small/results" "$1/large"; exit $code'
    )
    (tmp_path / "small").mkdir()
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    full = subprocess.run(
        [unshare, "-Urm", "sh", "-c", script, "sh", str(tmp_path), program],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "PATH": path},
    )
    assert full.returncode != 0
    assert "every run that was finished is kept: make room, and do the same again" in full.stderr
    done = sum(one is not None for one in _digests(tmp_path / "large"))
    assert done >= 1
    rest = counted()
    same(play(tiny, tmp_path / "large", rest), whole)
    assert len(rest.rows) == 8 - done


def _digests(store: Path) -> list[str | None]:
    with sqlite3.connect(store / "ledger.sqlite") as db:
        return [digest for (digest,) in db.execute("SELECT digest FROM runs")]


# --- together -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("journal", ["wal", "rollback"])
def test_several_processes_work_on_one_folder_and_play_each_run_once(
    tiny: simtx.Scenario, tmp_path: Path, whole: simtx.Sweep, play: Play, same: Any, journal: str
) -> None:
    """Also with the journal that network file systems need."""
    patch = (
        "import simtx.experiments.sweep.ledger as l; l.on_network = lambda _: True\n" if journal == "rollback" else ""
    )
    both = [child(tmp_path, before=patch) for _ in range(2)]
    assert [ended(one) for one in both] == [0, 0]
    assert len(Path(f"{tmp_path}.played").read_text()) == 8
    with sqlite3.connect(tmp_path / "ledger.sqlite") as db:
        assert db.execute("PRAGMA journal_mode").fetchone()[0] == ("wal" if journal == "wal" else "delete")
    assert executions(tmp_path) == [1] * 8
    same(play(tiny, tmp_path), whole)


def test_the_leases_of_the_dead_are_void(tiny: simtx.Scenario, tmp_path: Path, play: Play) -> None:
    """At once if their owner was a process of this machine; when their time is over if he is on another one; never while he beats."""
    play(tiny, tmp_path)
    ledger = RunLedger(tmp_path)
    keys = [row[0] for row in ledger.table()[1]]
    with ProcessPoolExecutor(1, mp_context=SERVER) as pool:
        dead = pool.submit(leases.owner).result()
    elsewhere = "far-away/12345678/4026531836|7|123|abcdef01"
    living = leases.owner()
    assert (leases.is_dead(dead), leases.is_dead(elsewhere)) == (True, False)
    with ledger._transaction() as db:
        db.execute("UPDATE runs SET state = 'pending', digest = NULL, part = NULL")
    for key, owner in zip(keys, (dead, elsewhere, living), strict=False):
        assert ledger.lease(key, owner)
        assert not ledger.lease(key, "somebody else")
    with leases.active(living):
        assert ledger.reclaim() == 1
        with ledger._transaction() as db:
            db.execute("UPDATE runs SET until = 0 WHERE owner IN (?, ?)", (elsewhere, living))
        ledger.beat(living)
        assert ledger.reclaim() == 1
        assert [entry.owner for entry in ledger.entries(keys) if entry.state == "leased"] == [living]
    assert ledger.reclaim() == 1  # its work is over


def test_what_another_process_is_playing_is_waited_for_and_taken_over_if_that_dies(
    tiny: simtx.Scenario, tmp_path: Path, whole: simtx.Sweep, play: Play, counted: Any, same: Any
) -> None:
    """A process leases the first run and is killed a while later."""
    play(tiny, tmp_path, over={"workload.rate": [200]})
    stuck = "import time, simtx.experiments.sweep.runner as r; r.play = lambda *_: time.sleep(800)\n"
    other = child(tmp_path, before=stuck)
    while not any(row[6] == "leased" for row in RunLedger(tmp_path).table()[1]):
        time.sleep(0.02)
    once = counted(lambda count: count == 3 and other.kill())
    same(play(tiny, tmp_path, once), whole)
    assert ended(other) == -signal.SIGKILL
    assert len(once.rows) == 4


# --- executors ----------------------------------------------------------------------------------------------------------------------


def test_any_executor_of_the_standard_interface_will_do(
    tiny: simtx.Scenario, tmp_path: Path, whole: simtx.Sweep, play: Play, same: Any
) -> None:
    with ThreadPoolExecutor(2) as threads:
        same(play(tiny, tmp_path / "threads", executor=threads), whole)
    same(play(tiny, tmp_path / "made", executor=lambda: ThreadPoolExecutor(1)), whole)


def test_a_broken_executor_of_the_users_is_made_anew_or_ends_it(
    tiny: simtx.Scenario, tmp_path: Path, play: Play, counted: Any
) -> None:
    """A pool that was given cannot be made again: what is finished is kept. A function that makes one is called again."""
    options = {"strategies": ["2pc", KillsAlways()], "over": {"workload.rate": [100]}, "replications": 1}
    with (
        ProcessPoolExecutor(1) as pool,
        pytest.raises(RunFailed, match=r"a worker process died, and the ProcessPoolExecutor with it; give a function"),
    ):
        play(tiny, tmp_path, executor=pool, workers=1, **options)
    made: list[int] = []

    def make() -> ProcessPoolExecutor:
        made.append(1)
        return ProcessPoolExecutor(1)

    result = play(tiny, tmp_path, executor=make, workers=1, **options)
    assert list(result.frame["state"]) == ["done", "quarantined"]
    assert len(made) >= 2


def test_workers_with_other_code_are_refused(
    tiny: simtx.Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, play: Play
) -> None:
    """As of a cluster that was started before the sources were edited: nobody could say what the figures are of."""
    import simtx.experiments.work as work

    monkeypatch.setattr(work, "loaded_code", lambda: "0123456789abcdef")
    with pytest.raises(RunFailed, match="the sources of simtx on disk are not those that this process has loaded"):
        play(tiny, tmp_path)
    store = Store(tmp_path)
    assert not any(row[6] == "done" for row in store.ledger.table()[1])


def test_a_folder_that_cannot_be_used_is_one_line(tiny: simtx.Scenario, tmp_path: Path, play: Play) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "ledger.sqlite").write_text(
        "this is no database, but a text that is long enough to be looked at" * 9
    )
    with sqlite3.connect(tmp_path / "ledger.sqlite") as db:
        db.execute("CREATE TABLE things (name TEXT)")
    for folder, problem in (
        ("file", "is a file, and no folder"),
        ("other", "file is not a database; choose another folder for the results"),
        (".", "is a database of something else; choose another folder for the results"),
    ):
        with pytest.raises(ScenarioError) as caught:
            play(tiny, tmp_path / folder)
        assert problem in str(caught.value)
        assert "\n" not in str(caught.value)
