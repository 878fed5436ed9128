"""The SQLite store: what is on disk and when, group commit, locks, a full disk, files that are not ours."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from simtx.protocols import Branch, Execute, Transact
from simtx.protocols.operations import FirstValues
from simtx.reference.stores import StoreFailed
from simtx.reference.stores.sqlite import tables as sqlite_tables
from simtx.reference.stores.sqlite import writer as sqlite_writer
from simtx.reference.stores.sqlite.locks import Holder, RowLocks, inbox_lock
from simtx.reference.stores.sqlite.store import SqliteStore
from tests.amounts import many
from tests.reference.doing import SQLITE, Job, action, add, message, prepare, read, until

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.sqlite"


@pytest.fixture
def opened(path):
    with contextlib.ExitStack() as stack:

        def open_store(where=path, **options):
            store = SqliteStore(where, **SQLITE | options)
            stack.callback(store.close)
            return store

        yield open_store


@contextlib.contextmanager
def raw(path):
    """The file as anybody else sees it."""
    db = sqlite3.connect(path, isolation_level=None)
    try:
        yield db
    finally:
        db.close()


@contextlib.contextmanager
def locked(path):
    """Another process writes, so that the store's writer has to wait."""
    with raw(path) as db:
        db.execute("BEGIN IMMEDIATE")
        yield
        db.execute("ROLLBACK")


def count(path, table):
    with raw(path) as db:
        return db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 - a name of ours


def statements(store):
    """Statements of the writer's connection from now on."""
    seen: list[str] = []
    store._writer.db.set_trace_callback(seen.append)
    return seen


def child(code, *arguments, **options):
    """Run a program; its own errors are those of the test."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=False, **options)


# --- what is on disk, and when --------------------------------------------------------------------------------------------------


def test_a_commit_returns_when_the_log_is_on_disk(opened):
    store = opened()
    assert store._writer.db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert store._writer.db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_the_relay_forces_nothing(opened):
    opened()
    relay = opened(relay=True)
    assert relay._writer.db.execute("PRAGMA synchronous").fetchone() == (1,)  # NORMAL


def test_nobody_is_answered_before_the_commit(opened, path):
    store = opened()
    with locked(path):
        jobs = [
            Job(store.transact, 1, action(1, add("a"))),
            Job(store.prepare, 2, prepare(2, add("b"))),
            Job(lambda: store.append(3, ("x",), forced=True)),
        ]
        until(lambda: len(store._locks._owners) == 4)  # two rows, two idempotency rows
        jobs[0].join(0.05)
        assert all(job.is_alive() for job in jobs)
        assert store.values() == {"a": 10, "b": 10}
    for job in jobs:
        job.result()
    assert store.values() == {"a": 11, "b": 10}


def test_what_nobody_waits_for_is_in_memory_until_the_next_forced_write(opened, path):
    store = opened()
    store.transact(9, action(9))
    store.prepare(8, prepare(8, add("b")))
    ((row, _),) = store.read_outbox(1)
    store.append(1, ("lazy",), forced=False)
    store.mark_outbox([row])
    store.rollback(8, forced=False)
    assert [count(path, table) for table in ("log", "outbox", "branches")] == [0, 1, 1]
    store.append(2, ("forced",), forced=True)
    assert [count(path, table) for table in ("log", "outbox", "branches")] == [2, 0, 0]
    store.forget(1)
    assert count(path, "log") == 2
    store.transact(3, action(3))
    assert count(path, "log") == 1


def test_what_nobody_waits_for_is_written_after_a_while(opened, path):
    store = opened(lazy_flush=0.01)
    store.append(1, ("lazy",), forced=False)
    until(lambda: count(path, "log") == 1)


def test_records_that_are_forgotten_before_they_are_written_never_are(opened, path):
    store = opened()
    seen = statements(store)
    store.append(1, ("lazy",), forced=False)
    store.forget(1)
    store.append(1, ("next",), forced=False)
    store.append(2, ("forced",), forced=True)
    assert store.records() == {1: [("next",)], 2: [("forced",)]}
    assert not any('"lazy"' in statement for statement in seen)


def test_a_lazy_rollback_is_written_before_what_its_locks_had_kept_waiting(opened, path):
    store = opened()
    store.prepare(1, prepare(1, add("a", 5)))
    store.rollback(1, forced=False)
    assert count(path, "branches") == 1
    store.transact(2, action(2, add("a")))
    assert count(path, "branches") == 0


def test_buffered_calls_do_no_input_or_output(opened, path):
    store = opened()
    with locked(path):
        store.append(1, ("lazy",), forced=False)
        store.forget(1)
        store.mark_outbox([1, 2])
    assert store.buffers


# --- group commit ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("group", "commits"), [(True, 2), (False, 9)])
def test_what_has_come_together_shares_a_commit(opened, path, group, commits):
    store = opened(group=group, initial={"k*": 10})
    seen = statements(store)
    with locked(path):
        jobs = [Job(store.transact, 0, action(0, add("k0")))]
        until(lambda: "BEGIN IMMEDIATE" in seen)
        jobs += [Job(store.transact, tx, action(tx, add(f"k{tx}"))) for tx in range(1, 9)]
        until(lambda: store._writer._tasks.qsize() == 8)
    assert {job.result().status for job in jobs} == {"done"}
    assert seen.count("COMMIT") == commits
    assert len({change.number for change in store.history()}) == 9


def test_a_group_has_a_limit(opened, path, monkeypatch):
    monkeypatch.setattr(sqlite_writer, "GROUP", 3)
    store = opened(initial={"k*": 10})
    seen = statements(store)
    with locked(path):
        jobs = [Job(store.transact, 0, action(0, add("k0")))]
        until(lambda: "BEGIN IMMEDIATE" in seen)
        jobs += [Job(store.transact, tx, action(tx, add(f"k{tx}"))) for tx in range(1, 7)]
        until(lambda: store._writer._tasks.qsize() == 6)
    for job in jobs:
        job.result()
    assert seen.count("COMMIT") == 3


def test_one_that_cannot_be_written_does_not_harm_the_others_of_its_group(opened, path):
    store = opened(initial={"k*": 10})
    seen = statements(store)
    with locked(path):
        jobs = [Job(store.transact, 0, action(0, add("k0")))]
        until(lambda: "BEGIN IMMEDIATE" in seen)
        jobs += [Job(store.transact, tx, action(tx, add(f"k{tx}"))) for tx in range(1, 5)]
        bad = Job(store.transact, 2**63, action(2**63, add("bad")))
        until(lambda: store._writer._tasks.qsize() == 5)
    assert [job.result().status for job in jobs] == ["done"] * 5
    with pytest.raises(OverflowError):
        bad.result()
    assert "bad" not in store.values()
    assert store.transact(9, action(9, add("bad"))).status == "done"  # its lock is free


def test_the_log_is_brought_back_into_the_file(opened, path, monkeypatch):
    monkeypatch.setattr(sqlite_writer, "_CHECKPOINT_PAGES", 50)
    store = opened()
    seen = statements(store)
    for tx in range(40):
        store.transact(tx, action(tx, add("a")))
    assert sum("wal_checkpoint" in statement for statement in seen) >= 3
    assert path.with_name("store.sqlite-wal").stat().st_size < 120 * 4200


# --- locks ----------------------------------------------------------------------------------------------------------------------


def test_whoever_waits_longest_is_next(opened):
    store = opened()
    store.prepare(1, prepare(1, add("a")))
    jobs = []
    for tx in range(10, 16):
        jobs.append(Job(store.transact, tx, action(tx, add("a"))))
        until(lambda: len(store._locks._queues.get("a", ())) == len(jobs))
    store.commit(1)
    for job in jobs:
        job.result()
    assert [change.tx for change in store.history()] == [1, *range(10, 16)]


def test_locks_are_taken_in_the_order_of_keys_and_kept_while_waiting():
    locks = RowLocks(20.0)
    first, second = Holder(), Holder()
    assert locks.acquire(first, ["b"])
    job = Job(locks.acquire, second, [inbox_lock("x"), "a", "b", "c"])
    until(lambda: "b" in locks._queues)
    assert second.rows() == ["a"]
    locks.release(first)
    assert job.result()
    assert second.rows() == ["a", "b", "c"]
    assert (second.wait_end, first.unlocked) == ("granted", ("b",))
    locks.release(second, names=False)
    assert second.unlocked == ("a", "b", "c")
    assert list(second.keys) == [inbox_lock("x")]
    locks.release(second)
    assert second.unlocked == ("a", "b", "c")
    assert not locks._owners
    assert not locks._queues


def test_a_wait_that_is_over_leaves_the_queue_to_the_others():
    locks = RowLocks(0.01)
    first, second, third = Holder(), Holder(), Holder()
    locks.acquire(first, ["a"])
    assert not locks.acquire(second, ["a"])
    assert second.wait_end == "timeout"
    assert not locks._queues
    locks.release(first)
    assert locks.acquire(third, ["a"])


def test_the_timeout_counts_for_all_waits_of_an_operation_together():
    locks = RowLocks(60.0)
    one, other, waiting = Holder(), Holder(), Holder()
    waiting.waited = 59.8  # for other locks
    locks.acquire(one, ["a"])
    locks.acquire(other, ["b"])
    job = Job(locks.acquire, waiting, ["a", "b"])
    until(lambda: "a" in locks._queues)
    job.join(0.1)
    locks.release(one)
    assert job.result() is False
    assert 60.0 <= waiting.waited < 100.0  # had the last wait had sixty seconds of its own, it would be two minutes


def test_transactions_that_lock_all_at_once_never_wait_in_a_ring(opened):
    store = opened(initial={"k*": 1000}, lock_timeout=5.0)

    def work(seed):
        draw = random.Random(seed)
        for index in range(40):
            tx = seed * 1000 + index
            keys = draw.sample([f"k{number}" for number in range(4)], 3)
            assert store.transact(tx, action(tx, *(add(key, 1) for key in keys))).status == "done"

    for job in [Job(work, seed) for seed in range(4)]:
        job.result()


def test_closing_ends_every_wait(opened):
    store = opened()
    store.prepare(1, prepare(1, add("a")))
    job = Job(store.transact, 2, action(2, add("a")))
    until(lambda: "a" in store._locks._queues)
    store.close()
    with pytest.raises(StoreFailed, match="is closed"):
        job.result()
    with pytest.raises(StoreFailed, match="is closed"):
        store.transact(3, action(3))
    with pytest.raises(StoreFailed, match="is closed"):
        store.values()
    store.close()


def test_a_row_is_locked_until_its_change_is_on_disk(opened, path):
    store = opened()
    seen = statements(store)
    with locked(path):
        first = Job(store.transact, 1, action(1, add("a")))
        until(lambda: "BEGIN IMMEDIATE" in seen)
        second = Job(store.transact, 2, action(2, add("a")))
        until(lambda: "a" in store._locks._queues)
        assert store.transact(3, Transact("t", (read("a"),))).reads == {"a": 10}  # reading does not wait for the disk
    assert first.result().changes == {"a": (10, 11)}
    assert second.result().changes == {"a": (11, 12)}


def test_rows_of_a_refused_transaction_are_free_before_its_refusal_is_on_disk(opened, path):
    store = opened()
    seen = statements(store)
    with locked(path):
        refused = Job(store.transact, 1, action(1, add("a", -11, low=0)))
        until(lambda: "BEGIN IMMEDIATE" in seen)
        assert store.execute(2, Execute("e", (add("a"),))).wait_end == ""
    assert refused.result().unlocked == ("a",)


def test_a_second_commit_returns_when_the_first_is_on_disk(opened, path):
    store = opened()
    store.prepare(1, prepare(1, add("a")))
    seen = statements(store)
    with locked(path):
        first = Job(store.commit, 1)
        until(lambda: "BEGIN IMMEDIATE" in seen)
        second = Job(store.commit, 1)
        second.join(0.05)
        assert second.is_alive()
    assert first.result().changes == {"a": (10, 11)}
    assert second.result().in_doubt == -1


def test_a_wait_belongs_to_the_operation_that_waited(opened):
    store = opened()

    def after_a_wait(tx, function, effect):
        store.prepare(tx, prepare(tx, add("a")))
        job = Job(function, tx + 1, effect)
        until(lambda: "a" in store._locks._queues)
        store.rollback(tx, forced=True)
        return job.result()

    assert after_a_wait(1, store.execute, Execute("e", (add("a"),))).wait_end == "granted"
    second = store.prepare(2, prepare(2, add("b")))
    assert (second.status, second.waited, second.wait_end) == ("done", 0, "")
    store.commit(2)
    assert after_a_wait(3, store.prepare, prepare(4, add("a"))).wait_end == "granted"
    last = store.commit(4)
    assert (last.changes, last.waited, last.wait_end) == ({"a": (11, 12)}, 0, "")


@pytest.mark.parametrize("executed", [False, True])
def test_a_branch_whose_preparation_is_on_its_way_to_the_disk_is_not_open(opened, path, executed):
    """A rollback that comes meanwhile finds nothing to end: else the branch would be prepared in the end, and its rows free."""
    store = opened()
    if executed:
        store.execute(1, Execute("e", (add("b"),), (0,)))
    seen = statements(store)
    with locked(path):
        job = Job(store.prepare, 1, prepare(1, add("a")))
        until(lambda: "BEGIN IMMEDIATE" in seen)
        assert store.rollback(1, forced=False).unlocked == ()
    assert job.result().status == "done"
    assert store.commit(1).changes == {"a": (10, 11)} | ({"b": (10, 11)} if executed else {})


def test_an_open_branch_that_only_reads_says_so_when_it_ends(opened):
    store = opened(serializable=True)
    store.execute(1, Execute("e", (read("a"),), (0,)))
    result = store.rollback(1, forced=False)
    assert (result.reads, result.unlocked) == ({"a": 10}, ("a",))


def test_first_values():
    first = FirstValues({"a": 1, "p*": 2, "pq*": 3, "pqr": 4, "*": 5})
    assert [first(key) for key in ("a", "p", "px", "pq", "pqx", "pqr", "z")] == [1, 2, 2, 3, 3, 4, 5]
    assert FirstValues({})("a") == 0
    assert first.exact == {"a": 1, "pqr": 4}


# --- time -----------------------------------------------------------------------------------------------------------------------


def test_idempotency_rows_are_pruned_after_their_retention_and_not_before(opened, path, monkeypatch):
    monkeypatch.setattr(sqlite_tables, "PRUNE_BATCH", 10)
    store = opened(dedup_retention=100.0)
    for tx in range(30):
        store.transact(tx, action(tx))
    store.close()
    monkeypatch.setattr(sqlite_tables, "PRUNE_SLACK", 1000.0)
    with raw(path) as db:  # 25 of them are older than the retention by more than the slack, one by less
        db.execute("UPDATE inbox SET written = written - 1200 WHERE id <= 25")
        db.execute("UPDATE inbox SET written = written - 500 WHERE id = 26")
    store = opened(dedup_retention=100.0)
    for tx in range(100, 106):
        store.transact(tx, action(tx))
    with raw(path) as db:
        left = [json.loads(key)[0] for (key,) in db.execute("SELECT key FROM inbox ORDER BY id")]
    assert left == [*range(25, 30), *range(100, 106)]
    assert store.transact(0, action(0)).status == "done"
    assert store.transact(25, action(25)).status == "duplicate"


def test_pruning_costs_a_batch_a_commit_at_most(opened, path, monkeypatch):
    monkeypatch.setattr(sqlite_tables, "PRUNE_BATCH", 10)
    store = opened(dedup_retention=100.0)
    for tx in range(30):
        store.transact(tx, action(tx))
    store.close()
    with raw(path) as db:
        db.execute("UPDATE inbox SET written = written - 1000")
    store = opened(dedup_retention=100.0)
    left = []
    for tx in range(100, 104):
        store.transact(tx, action(tx))
        left.append(count(path, "inbox"))
    assert left == [21, 12, 3, 4]


def test_without_a_limit_idempotency_rows_stay(opened, path):
    store = opened(dedup_retention=float("inf"))
    store.transact(1, action(1))
    store.close()
    with raw(path) as db:
        db.execute("UPDATE inbox SET written = written - 1e9")
    store = opened(dedup_retention=float("inf"))
    store.transact(2, action(2))
    assert count(path, "inbox") == 2


def test_after_a_start_of_the_machine_times_are_where_they_were(opened, path, monkeypatch):
    store = opened()
    store.transact(1, action(1, add("a")))
    store.prepare(2, prepare(2, add("b")))
    (before,) = store.history()
    (branch,) = store.branches()
    store.close()
    with raw(path) as db:  # as if the machine had started 500 s earlier then, and the file were from there
        db.execute("UPDATE meta SET boot = 'another', epoch = epoch - 500")
        db.execute("UPDATE history SET time = time + 500")
        db.execute("UPDATE branches SET prepared = prepared + 500")
        db.execute("UPDATE inbox SET written = written + 500")
    store = opened()
    (after,) = store.history()
    assert after.time == pytest.approx(before.time, abs=0.1)
    assert branch.age <= store.branches()[0].age < branch.age + 60
    with raw(path) as db:
        assert db.execute("SELECT written FROM inbox").fetchone()[0] <= time.monotonic()
    store.close()
    store = opened()  # once is enough
    assert list(store.history()) == [after]


# --- one process owns the file --------------------------------------------------------------------------------------------------


def test_a_file_that_is_in_use_is_not_opened_twice(opened, path):
    store = opened()
    with pytest.raises(StoreFailed, match=r"store\.sqlite: is in use by another process"):
        opened()
    assert opened(relay=True).read_outbox(1) == ()
    store.close()
    opened().close()


def test_a_killed_process_lets_the_file_go(opened, path):
    code = """if True:
        import os, signal, sys
        from pathlib import Path
        from simtx.reference.stores.sqlite.store import SqliteStore
        from tests.reference.doing import SQLITE
        store = SqliteStore(Path(sys.argv[1]), **SQLITE)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    assert child(code, path).returncode == -signal.SIGKILL
    assert opened().values() == {"a": 10, "b": 10}


def test_the_relay_does_nothing_else(opened):
    relay = opened(relay=True)
    for call in (
        lambda: relay.transact(1, action(1)),
        lambda: relay.execute(1, Execute("e", ())),
        lambda: relay.prepare(1, prepare(1)),
        lambda: relay.commit(1),
        lambda: relay.rollback(1, forced=True),
        lambda: relay.append(1, ("x",), forced=True),
        relay.records,
        relay.values,
        relay.history,
        relay.branches,
        relay.pending_outbox,
    ):
        with pytest.raises(StoreFailed, match="was opened for the relay"):
            call()


def test_a_relay_that_is_paused_while_it_writes_delays_the_service_and_nothing_else(opened, path):
    store = opened()
    with locked(path):
        job = Job(store.transact, 1, action(1, add("a")))
        job.join(0.1)
        assert job.is_alive()
    assert job.result().status == "done"


def test_who_keeps_the_file_locked_for_too_long_is_named(opened, path, monkeypatch):
    monkeypatch.setattr(sqlite_writer, "BUSY_PATIENCE", 0.05)
    store = opened()
    with locked(path), pytest.raises(StoreFailed, match="another process has kept the file locked"):
        store.transact(1, action(1))


def test_whatever_waits_for_the_writer_hears_that_it_has_failed(opened, path, monkeypatch):
    waited = False
    for patience in (0.2, 2.0, 20.0):  # more, if the machine is so busy that the time is up before all of them wait
        monkeypatch.setattr(sqlite_writer, "BUSY_PATIENCE", patience)
        store = opened(group=False, initial={"k*": 10})
        writer, seen = store._writer, statements(store)
        with locked(path):
            jobs = [Job(store.transact, tx, action(tx, add(f"k{tx}"))) for tx in range(4)]
            until(lambda: writer.failure is not None or ("BEGIN IMMEDIATE" in seen and writer._tasks.qsize() == 3))  # noqa: B023
            waited = writer.failure is None
            for job in jobs:
                with pytest.raises(StoreFailed, match="another process has kept the file locked"):
                    job.result()
        store.close()
        if waited:
            break
    assert waited


def test_row_numbers_of_the_outbox_are_never_used_again(opened):
    store = opened()
    seen = set()
    for tx in range(5):
        store.transact(tx, action(tx))
        ((number, _),) = store.read_outbox(10)
        assert number not in seen
        seen.add(number)
        store.mark_outbox([number])
        store.close()
        store = opened()


# --- files that are not ours ----------------------------------------------------------------------------------------------------


def one_line(error, *parts):
    text = str(error.value)
    assert "\n" not in text
    for part in parts:
        assert part in text


def test_a_store_of_another_version_is_refused_and_left_alone(opened, path):
    opened().close()
    with raw(path) as db:
        db.execute("UPDATE meta SET version = 99")
    before = path.read_bytes()
    with pytest.raises(StoreFailed) as error:
        opened()
    one_line(error, str(path), "a store of version 99", "this simtx has version 1", "use the simtx that wrote it")
    assert path.read_bytes() == before


@pytest.mark.parametrize("options", [{"run": "other"}, {"service": "other"}])
def test_a_store_of_another_run_or_service_is_refused(opened, path, options):
    opened().close()
    with pytest.raises(StoreFailed) as error:
        opened(**options)
    one_line(error, str(path), "belongs to service 'stock' of run run-1", "use a new folder")


def test_a_database_of_somebody_else_is_refused(opened, path):
    with raw(path) as db:
        db.execute("CREATE TABLE users (name)")
    with pytest.raises(StoreFailed) as error:
        opened()
    one_line(error, str(path), "an SQLite database, but none of simtx")


def test_a_file_that_is_no_database_is_refused_and_left_alone(opened, path):
    path.write_bytes(b"The quick brown fox jumps over the lazy dog. " * 100)
    with pytest.raises(StoreFailed) as error:
        opened()
    one_line(error, str(path), "no SQLite database, or a damaged one")
    assert path.read_bytes().startswith(b"The quick brown fox")


def test_a_damaged_file_is_one_line(opened, path):
    store = opened(initial={f"key {index}": 1 for index in range(2000)})
    store.close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (path.stat().st_size - 4096))
    with pytest.raises(StoreFailed) as error:
        opened().transact(1, action(1, *(add(f"key {index}") for index in range(2000))))
    one_line(error, str(path), "damaged")


def test_a_prepared_branch_that_cannot_be_read_is_one_line_and_leaves_nothing_open(opened, path):
    store = opened()
    store.prepare(1, prepare(1, add("a")))
    store.close()
    before = threading.active_count()
    for locks in ("nonsense", '["a"]'):
        with raw(path) as db:
            db.execute("UPDATE branches SET locks = ?", (locks,))
        if locks == "nonsense":
            with pytest.raises(StoreFailed) as error:
                opened()
            one_line(error, str(path), "prepared branch of transaction 1")
            until(lambda: threading.active_count() <= before)
    assert opened().commit(1).changes == {"a": (10, 11)}


def test_a_folder_that_is_not_there_is_named(opened, tmp_path):
    with pytest.raises(StoreFailed) as error:
        opened(tmp_path / "missing" / "store.sqlite")
    one_line(error, str(tmp_path / "missing" / "store.sqlite"), "its folder must exist")


def test_a_folder_that_cannot_be_written_is_named(opened, tmp_path):
    if os.geteuid() == 0:
        folder = Path("/proc")  # where not even root can
    else:
        folder = tmp_path / "closed"
        folder.mkdir()
        folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(StoreFailed) as error:
        opened(folder / "store.sqlite")
    one_line(error, str(folder / "store.sqlite"), "must be allowed to write there")


def test_a_failed_start_leaves_nothing_open(opened, path):
    opened().close()
    with pytest.raises(StoreFailed):
        opened(run="other")
    before = threading.active_count()
    opened().close()
    until(lambda: threading.active_count() <= before)


# --- a full disk ----------------------------------------------------------------------------------------------------------------


def fill(store):
    """Transactions until the disk is full; those that were acknowledged, and the error."""
    acknowledged: list[int] = []

    def forever():
        for tx in itertools.count():
            text = message(tx, "x" * 2000)
            store.transact(tx, Transact("t", (add("a", 1),), (tx, 0, "action"), Branch("done", (text,)), steps=(0,)))
            acknowledged.append(tx)

    with pytest.raises(StoreFailed) as error:
        forever()
    return acknowledged, error


def survived(store, acknowledged):
    assert [change.tx for change in store.history()] == acknowledged
    assert store.values()["a"] == 10 + len(acknowledged)
    assert store.pending_outbox() == set(acknowledged)
    assert store.transact(acknowledged[-1], action(acknowledged[-1], add("a"))).status == "duplicate"


def test_a_full_database_is_one_line_and_loses_nothing(opened, path):
    store = opened()
    store._writer.db.execute("PRAGMA max_page_count = 60")
    acknowledged, error = fill(store)
    one_line(error, str(path), "the disk is full; nothing that was acknowledged is lost")
    for call in (
        lambda: store.transact(1, action(1)),
        store.values,
        lambda: store.commit(1),
        lambda: store.read_outbox(1),
    ):
        with pytest.raises(StoreFailed, match="the disk is full"):
            call()
    store.append(1, ("x",), forced=False)  # what nobody waits for needs no answer
    store.close()
    assert len(acknowledged) > 10
    survived(opened(), acknowledged)


def test_those_who_wait_for_locks_hear_of_a_full_disk_too(opened, path):
    store = opened()
    store.prepare(1, prepare(1, add("b")))
    jobs = [Job(store.transact, tx, action(tx, add("b"))) for tx in (200_000, 200_001)]
    until(lambda: len(store._locks._queues.get("b", ())) == 2)
    store._writer.db.execute("PRAGMA max_page_count = 60")
    fill(store)
    for job in jobs:
        with pytest.raises(StoreFailed, match="the disk is full"):
            job.result()


LIMITED = """if True:
    import json, resource, signal, sys
    from pathlib import Path
    from simtx.protocols import Branch, Transact
    from simtx.reference.stores import StoreFailed
    from simtx.reference.stores.sqlite.store import SqliteStore
    from tests.reference.doing import SQLITE, add, message
    store = SqliteStore(Path(sys.argv[1]), **SQLITE)
    if len(sys.argv) > 2:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
    done = []
    try:
        for tx in range(100_000):
            branch = Branch("done", (message(tx, "x" * 2000),))
            store.transact(tx, Transact("t", (add("a", 1),), (tx, 0, "action"), branch, steps=(0,)))
            done.append(tx)
    except StoreFailed as error:
        print(json.dumps([done, str(error)]))
"""


def test_a_disk_that_takes_no_more_is_one_line_and_loses_nothing(opened, path):
    ended = child(LIMITED, path, 600_000)
    assert ended.returncode == 0, ended.stderr
    acknowledged, error = json.loads(ended.stdout)
    assert str(path) in error
    assert "nothing that was acknowledged is lost" in error
    assert len(acknowledged) > 10
    store = opened()
    assert [change.tx for change in store.history()][: len(acknowledged)] == acknowledged
    survived(store, [change.tx for change in store.history()])  # the last one was written perhaps, and not acknowledged


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte; None if this user must not make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        yield None
        return
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_file_system_is_one_line_and_loses_nothing(opened, small_disk):
    if small_disk is None:
        pytest.skip("only root may mount a file system; a limit on the size of files stands for it above")
    path = small_disk / "store.sqlite"
    ended = child(LIMITED, path)
    assert ended.returncode == 0, ended.stderr
    acknowledged, error = json.loads(ended.stdout)
    assert f"{path}: the disk is full; nothing that was acknowledged is lost" in error
    assert len(acknowledged) > 10
    subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
    store = opened(path)
    survived(store, acknowledged)
    store.close()


# --- kill -9 at every statement -------------------------------------------------------------------------------------------------


SCENE = """if True:
    import json, os, signal, sys
    from pathlib import Path
    from simtx.reference.stores.sqlite.store import SqliteStore
    from tests.reference.doing import SQLITE, action, add, compensation, prepare
    store = SqliteStore(Path(sys.argv[1]), **SQLITE)
    left = int(sys.argv[2])
    def count(statement):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    store._writer.db.set_trace_callback(count)
    def tell(what):
        os.write(1, (what + "\\n").encode())
    store.append(9, ("lazy",), forced=False)
    store.transact(1, action(1, add("a", -1), add("b", 1)))
    tell("transact")
    store.prepare(2, prepare(2, add("a", -2), add("b", 2)))
    tell("prepare")
    store.commit(2)
    tell("commit")
    store.append(9, ("forced",), forced=True)
    tell("append")
    store.transact(1, compensation(1, add("a", 1), add("b", -1)))
    tell("compensation")
"""


@pytest.mark.slow
@pytest.mark.more
def test_a_kill_at_any_statement_leaves_all_of_an_operation_or_nothing(opened, tmp_path):
    stages = set()
    for number in itertools.count(1, many(3, 1)):
        path = tmp_path / f"store {number}.sqlite"
        ended = child(SCENE, path, number)
        told = ended.stdout.split()
        store = opened(path)
        values = store.values()
        records = store.records()
        history = [(change.tx, change.compensation) for change in store.history()]
        events = store.pending_outbox()
        prepared = [branch.tx for branch in store.branches()]
        stage = (tuple(history), tuple(prepared))
        stages.add(stage)
        assert values["a"] + values["b"] == 20
        assert (values["a"], history) in [
            (10, []),
            (9, [(1, False)]),
            (7, [(1, False), (2, False)]),
            (8, [(1, False), (2, False), (1, True)]),
        ]
        assert (1 in events) == ((1, False) in history) == (store.transact(1, action(1)).status == "duplicate")
        assert not (prepared and (2, False) in history)
        assert records.get(2, []) == ([("prepared", "hub")] if prepared else [])
        assert records.get(9, []) in ([], [("lazy",)], [("lazy",), ("forced",)])
        assert ("transact" not in told) or ((1, False) in history and records[9][:1] == [("lazy",)])
        assert ("prepare" not in told) or prepared or (2, False) in history
        assert ("commit" not in told) or (2, False) in history
        assert ("append" not in told) or len(records[9]) == 2
        assert ("compensation" not in told) or (1, True) in history
        store.close()
        if ended.returncode == 0:
            break
        assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert number > 20
    assert len(stages) == 5
