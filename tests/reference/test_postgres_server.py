"""The driver of a PostgreSQL server: it finds one, crashes and pauses it, and leaves nothing behind whatever happens to its parent."""

import contextlib
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import psycopg
import pytest

from simtx.reference.stores import StoreFailed
from simtx.reference.stores.postgres import server as driver
from simtx.reference.stores.postgres.postmaster import Postmaster
from simtx.reference.stores.postgres.server import PostgresServer, find_bin


@pytest.fixture(scope="module")
def server():
    with PostgresServer() as one:
        yield one


def query(server, statement, database="postgres"):
    with psycopg.connect(server.dsn(database), autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else None


def private_folder(server):
    return Path(psycopg.conninfo.conninfo_to_dict(server.dsn())["host"])


def process_ids(server):
    backends = [pid for (pid,) in query(server, "SELECT pid FROM pg_stat_activity")]
    return [int(Path(query(server, "SHOW data_directory")[0][0], "postmaster.pid").read_text().split()[0]), *backends]


def runs(pid):
    """Whether a process runs; a zombie that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def eventually(condition, seconds=180.0):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


# --- finding one --------------------------------------------------------------------------------------------------------------------


def test_an_explicit_folder_comes_first(tmp_path):
    for name in ("postgres", "initdb"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    assert find_bin(tmp_path) == tmp_path.resolve()


def test_an_explicit_folder_without_programs_is_one_clear_line(tmp_path):
    with pytest.raises(StoreFailed, match=r"holds no programs 'postgres' and 'initdb'") as caught:
        find_bin(tmp_path)
    assert "\n" not in str(caught.value)


def test_without_any_postgresql_the_error_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(driver.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(driver, "DEBIAN", tmp_path)
    with pytest.raises(StoreFailed, match=r"pip install 'simtx\[reference\]'") as caught:
        find_bin()
    assert "\n" not in str(caught.value)


def test_wheels_come_before_the_search_path(monkeypatch, tmp_path):
    wheel, path = tmp_path / "wheel", tmp_path / "path"
    for folder in (wheel / "pginstall" / "bin", path):
        folder.mkdir(parents=True)
        for name in ("postgres", "initdb"):
            (folder / name).write_text("#!/bin/sh\n")
            (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(path))
    spec = driver.importlib.util.spec_from_file_location("x", wheel / "x.py", submodule_search_locations=[str(wheel)])
    monkeypatch.setattr(driver.importlib.util, "find_spec", lambda name: spec if "pixeltable" in name else None)
    assert find_bin() == (wheel / "pginstall" / "bin").resolve()
    monkeypatch.setattr(driver.importlib.util, "find_spec", lambda name: None)
    assert find_bin() == path.resolve()


# --- what it is ---------------------------------------------------------------------------------------------------------------------


def test_it_listens_on_a_private_socket_alone(server):
    assert query(server, "SHOW listen_addresses") == [("",)]
    assert stat.S_IMODE(private_folder(server).stat().st_mode) == 0o700


def test_every_forced_write_is_forced_and_two_phase_commit_is_on(server):
    names = ("fsync", "synchronous_commit", "full_page_writes", "max_prepared_transactions", "track_commit_timestamp")
    assert [query(server, f"SHOW {name}")[0][0] for name in names] == ["on", "on", "on", "200", "on"]


@pytest.mark.skipif(os.geteuid() != 0, reason="the server runs as who has started it")
def test_who_is_nobody_is_not_its_superuser(server):
    """A server that root has started runs as `nobody`, and so may others: none of them is let in, under whatever name."""
    nobody = pwd.getpwnam("nobody").pw_uid
    for role in ("postgres", "nobody"):
        os.seteuid(nobody)
        try:
            with pytest.raises(psycopg.OperationalError, match=r"[Pp]eer authentication failed|no pg_hba.conf entry"):
                psycopg.connect(f"host={private_folder(server)} user={role} dbname=postgres")
        finally:
            os.seteuid(0)
    assert query(server, "SELECT current_user") == [("postgres",)]


def test_it_does_not_run_as_root(server):
    owners = {Path(f"/proc/{pid}").stat().st_uid for pid in process_ids(server)[:1]}
    assert owners
    assert 0 not in owners


def test_databases_are_created_once(server):
    assert server.create_database("twice") == server.create_database("twice") == server.dsn("twice")
    assert query(server, "SELECT current_database()", "twice") == [("twice",)]


def test_a_setting_that_makes_no_sense_is_told_with_the_servers_own_words():
    one = PostgresServer(settings={"max_connections": "many"})
    with pytest.raises(StoreFailed, match=r"max_connections.*many") as caught:
        one.start()
    assert "\n" not in str(caught.value)
    one.stop()


def test_it_has_to_be_started_first():
    with pytest.raises(StoreFailed, match="not started"):
        PostgresServer().kill()


# --- crash, pause, restart ------------------------------------------------------------------------------------------------------------


def test_after_a_crash_what_was_committed_or_prepared_is_there_and_nothing_else():
    with PostgresServer() as server:
        query(server, "CREATE TABLE t (name text)")
        query(server, "INSERT INTO t VALUES ('committed')")
        query(server, "BEGIN; INSERT INTO t VALUES ('prepared'); PREPARE TRANSACTION 'mine'")
        half = psycopg.connect(server.dsn())
        half.execute("INSERT INTO t VALUES ('open')")
        before = process_ids(server)
        server.kill()
        assert not [pid for pid in before if runs(pid)]
        server.start()
        assert query(server, "SELECT name FROM t") == [("committed",)]
        assert query(server, "SELECT gid FROM pg_prepared_xacts") == [("mine",)]
        query(server, "COMMIT PREPARED 'mine'")
        assert query(server, "SELECT name FROM t ORDER BY name") == [("committed",), ("prepared",)]
        half.close()


def test_a_paused_server_answers_nobody_until_it_is_resumed(server):
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        answers = []
        thread = threading.Thread(target=lambda: answers.append(connection.execute("SELECT 7").fetchone()))
        server.pause()
        try:
            thread.start()
            thread.join(0.3)
            assert answers == []
        finally:
            server.resume()
        thread.join(180)
        assert answers == [(7,)]


def test_a_restart_keeps_the_databases(server):
    server.create_database("kept")
    server.restart()
    assert query(server, "SELECT 1", "kept") == [(1,)]


# --- folders --------------------------------------------------------------------------------------------------------------------------


def test_without_a_folder_nothing_stays_on_disk():
    with PostgresServer() as server:
        folder, pids = private_folder(server), process_ids(server)
    assert not folder.exists()
    assert not [pid for pid in pids if runs(pid)]


def test_a_folder_keeps_the_databases_for_the_next_server(tmp_path):
    with PostgresServer(tmp_path / "pg") as first:
        first.create_database("kept")
        folder = private_folder(first)
    assert not folder.exists()
    with PostgresServer(tmp_path / "pg") as second:
        assert query(second, "SELECT 1", "kept") == [(1,)]


def test_a_folder_has_one_server_at_a_time(tmp_path):
    with PostgresServer(tmp_path), pytest.raises(StoreFailed, match="another server works on"):
        PostgresServer(tmp_path).start()


def test_the_modes_of_foreign_folders_stay_as_they_are(tmp_path):
    """Programs and data below a folder of mode 0700: a server that is another user than we reaches neither."""
    programs = find_bin()
    top = programs.parents[2] if programs.parent.name.startswith("pginstall") else programs.parent
    closed = tmp_path / "home"
    shutil.copytree(
        programs.parent,
        closed / programs.parent.relative_to(top),
        symlinks=True,
        ignore=shutil.ignore_patterns("include", "*.a"),
    )
    libraries = top / f"{programs.parent.relative_to(top).parts[0]}.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, closed / libraries.name)
    closed.chmod(0o700)
    moved = closed / programs.relative_to(top)
    with PostgresServer(closed / "data", bin_folder=moved) as server:
        query(server, "CREATE TABLE t ()")
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    with PostgresServer(closed / "data", bin_folder=moved) as server:
        assert query(server, "SELECT count(*) FROM t") == [(0,)]


def test_a_second_server_starts_from_a_copy_of_the_first_ones_cluster(monkeypatch):
    with PostgresServer() as first:
        query(first, "CREATE TABLE mine ()")
        ran = []
        ask = PostgresServer._ask
        monkeypatch.setattr(PostgresServer, "_ask", lambda self, *words: ran.append(words) or ask(self, *words))
        with PostgresServer() as second:
            assert query(second, "SELECT to_regclass('mine')") == [(None,)]
        assert not [words for words in ran if words[0] == "run" and "initdb" in words[1][0]]


# --- the end of the parent --------------------------------------------------------------------------------------------------------------


PARENT = """
    import os, sys, time
    import psycopg
    from simtx.reference.stores.postgres.server import PostgresServer
    with PostgresServer(*sys.argv[2:]) as server:
        with psycopg.connect(server.dsn()) as connection:
            pids = [str(pid) for (pid,) in connection.execute("SELECT pid FROM pg_stat_activity")]
            with open(connection.execute("SHOW data_directory").fetchone()[0] + "/postmaster.pid") as file:
                pids.append(file.readline().strip())
            connection.execute("CREATE TABLE IF NOT EXISTS t (n int)")
            connection.execute("INSERT INTO t VALUES (1)")
        if sys.argv[1] == "pause":
            server.pause()
        if sys.argv[1] == "fork" and os.fork() == 0:
            os.close(1)
            os.close(2)
            time.sleep(600)  # with a copy of every open file
            os._exit(0)
        print(server.dsn().split()[0].removeprefix("host="), *pids, flush=True)
        if sys.argv[1] == "raise":
            raise RuntimeError("on purpose")
        time.sleep(600)
"""


@contextlib.contextmanager
def parent(*arguments):
    """A process that owns a server: the process, the server's private folder, the server's process ids."""
    program = [sys.executable, "-c", textwrap.dedent(PARENT), *arguments]
    process = subprocess.Popen(
        program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        folder, *pids = process.stdout.readline().split()
        assert Path(folder).is_dir()
        yield process, Path(folder), [int(pid) for pid in pids]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with what it has forked
        process.communicate()


def segments(pids):
    """The segments of shared memory that these processes have made; other servers on the machine have theirs."""
    table = Path("/proc/sysvipc/shm")
    rows = [line.split() for line in table.read_text().splitlines()] if table.exists() else [[]]
    if not rows[0]:
        return set()
    number, maker = rows[0].index("shmid"), rows[0].index("cpid")
    return {row[number] for row in rows[1:] if int(row[maker]) in pids}


@pytest.mark.parametrize("state", ["run", "pause", "fork"])
@pytest.mark.sample(3)
def test_a_parent_that_is_killed_leaves_nothing(state):
    with parent(state) as (process, folder, pids):
        process.kill()
        assert eventually(lambda: not folder.exists() and not [pid for pid in pids if runs(pid)])
    assert eventually(lambda: not segments(pids))


def test_ctrl_c_leaves_nothing():
    with parent("run") as (process, folder, pids):
        os.killpg(process.pid, signal.SIGINT)
        _, error = process.communicate(timeout=300)
        assert "KeyboardInterrupt" in error
        assert not folder.exists()
        assert not [pid for pid in pids if runs(pid)]


def test_an_exception_leaves_nothing():
    with parent("raise") as (process, folder, pids):
        _, error = process.communicate(timeout=300)
        assert "on purpose" in error
        assert not folder.exists()
        assert not [pid for pid in pids if runs(pid)]


def test_a_parent_that_is_killed_keeps_the_folder_that_it_was_given(tmp_path):
    with parent("run", str(tmp_path)) as (process, folder, pids):
        process.kill()
        assert eventually(lambda: not folder.exists() and not [pid for pid in pids if runs(pid)])
    with PostgresServer(tmp_path) as server:
        assert query(server, "SELECT n FROM t") == [(1,)]


def test_a_server_whose_owner_process_is_killed_ends():
    """The one thing that the owner cannot clean up after is its own SIGKILL; the kernel tells the server (Linux)."""
    with PostgresServer() as server:
        folder, pids = private_folder(server), process_ids(server)
        server._owner.kill()
        assert eventually(lambda: not [pid for pid in pids if runs(pid)])
        with pytest.raises(StoreFailed, match="is gone"):
            server.kill()
    shutil.rmtree(folder)


# --- a disk that is full ----------------------------------------------------------------------------------------------------------


def test_data_that_cannot_be_put_back_stay_where_they_are(tmp_path: Path) -> None:
    """The copy at the end fails; the original is what is left, and one line says where."""
    owner = Postmaster(None, None, str(tmp_path), None)
    data = Path(owner.folder) / "data"
    (data / "base").mkdir(parents=True)
    for number in range(50):
        (data / "base" / str(number)).write_text("money")
    (tmp_path / "no-folder").write_text("")
    owner.put_back(str(data), str(tmp_path / "no-folder" / "data"))
    said = owner.close()
    assert "Not a directory" in said
    assert len(said) < 500
    place = Path(said.partition("they are whole in '")[2].partition("'")[0])
    assert len(list((place / "base").iterdir())) == 50
    assert place.parent.name.startswith("simtx-kept-")


def test_the_parent_hears_where_the_data_are(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    server = PostgresServer(tmp_path / "kept")
    server._spawn(None, None)
    (server._private / "data").mkdir()
    (tmp_path / "no-folder").write_text("")
    server._ask("put_back", str(server._private / "data"), str(tmp_path / "no-folder" / "data"))
    with pytest.raises(StoreFailed, match="they are whole in '") as caught:
        server.stop()
    shutil.rmtree(Path(str(caught.value).partition("they are whole in '")[2].partition("'")[0]).parent)
