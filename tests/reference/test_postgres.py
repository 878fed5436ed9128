"""The PostgreSQL store: real row locks, native two-phase commit, and the truth about a connection that was lost at the commit."""

import contextlib
import itertools
import math
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from simtx.protocols import Branch, Execute, Message, Operation, Prepare, Transact
from simtx.reference.stores import StoreFailed
from simtx.reference.stores.postgres.branches import GID_LIMIT, branch_name, parse_branch
from simtx.reference.stores.postgres.schema import NAME_LIMIT, check_dsn, drop_run, schema_name
from simtx.reference.stores.postgres.server import PostgresServer
from simtx.reference.stores.postgres.store import PostgresStore

RUNS = itertools.count(1)


@pytest.fixture(scope="module")
def server():
    with PostgresServer() as one:
        yield one


@pytest.fixture
def run():
    return f"run{next(RUNS)}"


@pytest.fixture
def opened(server, run):
    """Opens stores of one run, and closes them."""
    stores = []

    def open_store(dsn=None, **options):
        options = {
            "run": run,
            "service": "stock",
            "initial": {"a": 10, "b": 10, "c": 10, "x:*": 5},
            "serializable": True,
            "lock_timeout": 60.0,  # no wait that somebody ends ends by itself
            "dedup_retention": math.inf,
            "connections": 8,
            "patience": 120.0,
        } | options
        store = PostgresStore(server.dsn() if dsn is None else dsn, **options)
        stores.append(store)
        return store

    yield open_store
    for store in stores:
        store.close()
    drop_run(server.dsn(), run)


@pytest.fixture
def store(opened):
    return opened()


def add(key, amount=1, **guards):
    return Operation(key, "add", amount, **guards)


def action(tx, *operations, index=0, **options):
    return Transact("t", operations, key=(tx, index, "action"), accepted=Branch("done"), steps=(index,), **options)


def prepare(tx, *operations, steps=(0,), coordinator="hub"):
    return Prepare("p", operations, ("prepared", coordinator), key=(tx, "branch"), steps=steps)


@contextlib.contextmanager
def background(function, *arguments):
    """Runs something in a thread; yields the list that its result is appended to."""
    results = []
    thread = threading.Thread(target=lambda: results.append(function(*arguments)))
    thread.start()
    try:
        yield results
    finally:
        thread.join(180)
        assert not thread.is_alive()


def eventually(condition, seconds=180.0):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def waiting(server):
    """How many sessions wait for a lock."""
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        row = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'").fetchone()
        return row[0]


# --- row locks --------------------------------------------------------------------------------------------------------------------------


def test_a_waiting_transaction_goes_on_when_the_lock_is_let_go_and_knows_how_long_it_waited(server, store):
    store.execute(1, Execute("e", (add("a", -1),)))
    with background(store.transact, 2, action(2, add("a", -2))) as results:
        assert eventually(lambda: waiting(server) == 1)
        time.sleep(0.2)
        assert results == []
        store.rollback(1, forced=False)
    assert results[0].status == "done"
    assert results[0].changes == {"a": (10, 8)}
    assert results[0].wait_end == "granted"
    assert results[0].waited >= 0.2


def test_without_contention_nothing_has_waited(store):
    result = store.transact(1, action(1, add("a"), add("b"), add("x:7")))
    assert (result.waited, result.wait_end) == (0, "")
    assert result.unlocked == ("a", "b", "x:7")


def test_a_wait_ends_with_its_timeout_and_nothing_is_applied(opened):
    store = opened(lock_timeout=0.2)
    store.execute(1, Execute("e", (add("b"),)))
    result = store.transact(2, action(2, add("a"), add("b")))
    assert (result.status, result.wait_end) == ("failed", "timeout")
    assert 0.2 <= result.waited < 60
    assert store.transact(3, Transact("t", (Operation("a", "read", low=10, high=10),))).status == "done"
    store.rollback(1, forced=False)
    assert store.transact(2, action(2, add("a"), add("b"))).status == "done"


def test_the_timeout_counts_for_all_waits_of_a_transaction_together(server, opened):
    seen = False
    for timeout in (0.6, 6.0, 60.0):  # more, if the machine is so busy that the time is up before anybody looks
        store = opened(lock_timeout=timeout)
        store.execute(1, Execute("e", (add("a"),)))
        store.execute(2, Execute("e", (add("b"),)))
        with background(store.transact, 3, action(3, add("a"), add("b"))) as results:
            assert eventually(lambda: results or waiting(server) == 1)
            time.sleep(0.4)
            seen = not results
            store.rollback(1, forced=False)
        assert (results[0].status, results[0].wait_end) == ("failed", "timeout")
        assert results[0].waited >= timeout - 0.01  # the two clocks agree to a millisecond or so
        store.close()
        if seen:
            break
    assert seen


def test_transactions_that_name_their_keys_in_opposite_order_never_block_each_other_for_ever(store):
    def loop(first, second, base):
        return [store.transact(base + n, action(base + n, add(first), add(second))).status for n in range(60)]

    with background(loop, "a", "b", 1000) as one, background(loop, "b", "a", 2000) as other:
        pass
    assert one[0] + other[0] == ["done"] * 120
    assert store.values()["a"] == store.values()["b"] == 130


def test_keys_are_locked_in_their_order_whatever_the_order_of_the_operations(server, opened):
    store, hasty = opened(), opened(lock_timeout=0.1)
    store.execute(1, Execute("e", (add("b"),)))
    with background(store.transact, 2, action(2, add("b"), add("a"))) as results:
        assert eventually(lambda: waiting(server) == 1)
        assert hasty.transact(3, action(3, add("a"))).status == "failed"
        store.rollback(1, forced=False)
    assert results[0].status == "done"


def test_what_a_branch_has_read_is_told_with_its_commit_even_after_a_restart(opened):
    store = opened()
    assert store.execute(1, Execute("e", (Operation("a", "read"), add("b")), steps=(0,))).reads == {"a": 10, "b": 10}
    assert store.execute(1, Execute("e", (Operation("b", "read"), Operation("c", "read")), steps=(1,))).reads == {
        "c": 10
    }
    assert store.prepare(1, prepare(1, Operation("x:1", "set", 3), steps=(2,))).reads == {"a": 10, "b": 10, "c": 10}
    store.close()
    assert opened().commit(1).reads == {"a": 10, "b": 10, "c": 10}


def test_a_ring_of_open_branches_fails_one_of_them_as_a_deadlock(server, store):
    store.execute(1, Execute("e", (add("a"),)))
    store.execute(2, Execute("e", (add("b"),)))
    with background(store.execute, 1, Execute("e", (add("b"),))) as first:
        assert eventually(lambda: waiting(server) == 1)
        with background(store.execute, 2, Execute("e", (add("a"),))) as second:
            pass
    outcomes = sorted([first[0].status, second[0].status])
    assert outcomes == ["done", "failed"]
    loser = first[0] if first[0].status == "failed" else second[0]
    assert loser.wait_end == "deadlock"
    assert set(loser.unlocked) == ({"a"} if loser is first[0] else {"b"})


def test_a_key_that_nobody_has_written_is_created_once_by_many_at_a_time(store):
    def loop(base):
        return [store.transact(base + n, action(base + n, add("x:new"))).status for n in range(25)]

    with contextlib.ExitStack() as stack:
        results = [stack.enter_context(background(loop, 1000 * thread)) for thread in range(4)]
    assert [status for result in results for status in result[0]] == ["done"] * 100
    assert store.values()["x:new"] == 5 + 100


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_a_key_that_is_being_created_is_waited_for(server, store, end):
    store.prepare(1, prepare(1, add("x:new", 1)))
    with background(store.transact, 2, action(2, add("x:new", 10))) as results:
        assert eventually(lambda: waiting(server) == 1)
        if end == "commit":
            store.commit(1)
        else:
            store.rollback(1, forced=True)
    assert results[0].wait_end == "granted"
    assert results[0].waited > 0
    assert results[0].changes == {"x:new": (6, 16) if end == "commit" else (5, 15)}


def test_a_locking_read_of_a_key_without_a_value_keeps_others_from_creating_it(server, store):
    assert store.execute(1, Execute("e", (Operation("x:new", "read"),))).reads == {"x:new": 5}
    with background(store.transact, 2, action(2, add("x:new"))) as results:
        assert eventually(lambda: waiting(server) == 1)
        store.rollback(1, forced=False)
    assert results[0].status == "done"
    assert "x:new" in store.values()


@pytest.mark.parametrize("serializable", [True, False])
def test_a_read_waits_under_serializable_alone(opened, serializable):
    store = opened(serializable=serializable, lock_timeout=0.2)
    store.prepare(1, prepare(1, add("a")))
    result = store.transact(2, Transact("t", (Operation("a", "read"),)))
    if serializable:
        assert (result.status, result.wait_end) == ("failed", "timeout")
    else:
        assert (result.status, result.reads, result.unlocked) == ("done", {"a": 10}, ())


def test_a_transaction_that_changes_nothing_forces_nothing(store):
    result = store.transact(1, Transact("t", (Operation("a", "read"),)))
    assert (result.forced, result.history) == (False, -1)
    assert result.unlocked == ("a",)


# --- idempotency rows -------------------------------------------------------------------------------------------------------------------


def test_of_two_at_a_time_with_one_key_one_runs_and_the_other_is_a_duplicate(server, store):
    store.execute(9, Execute("e", (add("a"),)))
    with (
        background(store.transact, 1, action(1, add("a"))) as one,
        background(store.transact, 1, action(1, add("a"))) as other,
    ):
        assert eventually(lambda: waiting(server) == 2)
        store.rollback(9, forced=False)
    assert sorted([one[0].status, other[0].status]) == ["done", "duplicate"]
    assert store.values()["a"] == 11


@pytest.mark.parametrize(("end", "status"), [("commit", "duplicate"), ("rollback", "done"), ("", "failed")])
def test_a_key_of_a_prepared_branch_is_waited_for(server, opened, end, status):
    store = opened(lock_timeout=120.0 if end else 1.0)
    store.prepare(1, prepare(1, add("a")))
    other = Transact("t", (add("b"),), key=(1, "branch"))
    with background(store.transact, 1, other) as results:
        assert not end or eventually(lambda: waiting(server) == 1)
        if end == "commit":
            store.commit(1)
        elif end == "rollback":
            store.rollback(1, forced=True)
    assert results[0].status == status
    assert results[0].wait_end == ("timeout" if status == "failed" else "")
    assert store.values()["b"] == (11 if status == "done" else 10)


def test_a_compensation_waits_for_the_action_that_is_under_way_and_then_undoes_it(server, store):
    store.execute(9, Execute("e", (add("a", 0),)))
    undo = Transact(
        "u", (add("a", 3),), key=(1, 0, "undo"), accepted=Branch("undone"), undoes=(1, 0, "action"), compensation=True
    )
    with background(store.transact, 1, action(1, add("a", -3))) as acted:
        assert eventually(lambda: waiting(server) == 1)
        with background(store.transact, 1, undo) as undone:
            assert eventually(lambda: waiting(server) == 2)
            store.rollback(9, forced=False)
    assert acted[0].changes == {"a": (10, 7)}
    assert undone[0].changes == {"a": (7, 10)}


def test_a_compensation_that_comes_first_leaves_a_tombstone_for_the_action(store):
    undo = Transact("u", (add("a", 3),), key=(1, 0, "undo"), accepted=Branch("undone"), undoes=(1, 0, "action"))
    assert store.transact(1, undo).changes == {}
    late = store.transact(1, action(1, add("a", -3)))
    assert (late.status, late.value) == ("duplicate", "tombstone")
    assert store.values()["a"] == 10


def test_idempotency_rows_are_pruned_after_their_retention_and_not_before(opened):
    store = opened(dedup_retention=0.6)
    started = time.monotonic()
    assert store.transact(1, action(1, add("a"))).status == "done"
    while (status := store.transact(1, action(1, add("a"))).status) == "duplicate":
        time.sleep(0.05)
        assert time.monotonic() < started + 60
    assert status == "done"
    assert time.monotonic() - started > 0.6


# --- branches -----------------------------------------------------------------------------------------------------------------------------


def test_a_branch_is_a_prepared_transaction_whose_name_carries_the_record(server, store, run):
    store.prepare(7, prepare(7, add("a")))
    with psycopg.connect(server.dsn()) as connection:
        names = [str(xid) for xid in connection.tpc_recover()]
    assert [tuple(parse_branch(name)) for name in names] == [(run, "stock", 7, ("prepared", "hub"))]


def test_a_branch_survives_the_process_and_a_crash_of_the_server(opened, run):
    with PostgresServer() as server:
        store = opened(server.dsn())
        store.append(7, ("begun", 1), forced=True)
        store.prepare(7, prepare(7, add("a", -4, low=0), add("x:7"), steps=(2, 3)))
        server.kill()
        server.start()
        store.close()
        again = opened(server.dsn())
        assert again.records() == {7: [("begun", 1), ("prepared", "hub")]}
        assert again.values()["a"] == 10
        result = again.commit(7)
        assert result.changes == {"a": (10, 6), "x:7": (5, 6)}
        assert result.steps == (2, 3)
        assert set(result.unlocked) == {"a", "x:7"}
        assert result.held == 0
        assert result.in_doubt > 0
        assert [change.number for change in again.history()] == [result.history]
        assert again.values()["a"] == 6
        assert again.commit(7).in_doubt == -1
        again.close()


def test_operations_of_an_open_branch_and_of_its_prepare_are_one_change(store):
    store.execute(1, Execute("e", (add("a", -1), add("b", 1)), steps=(0,)))
    store.execute(1, Execute("e", (add("a", -1),), steps=(1,)))
    assert store.prepare(1, prepare(1, add("a", -1), add("c", 5), steps=(2,))).status == "done"
    assert store.values() == {"a": 10, "b": 10, "c": 10}
    result = store.commit(1)
    assert result.changes == {"a": (10, 7), "b": (10, 11), "c": (10, 15)}
    assert result.steps == (0, 1, 2)
    assert set(result.unlocked) == {"a", "b", "c"}
    (change,) = store.history()
    assert dict(change.changes) == result.changes
    assert (change.tx, change.steps, change.number) == (1, (0, 1, 2), result.history)


def test_a_refused_operation_of_an_open_branch_ends_it(store):
    store.execute(1, Execute("e", (add("a", -1),)))
    result = store.execute(1, Execute("e", (add("b", -11, low=0),)))
    assert result.status == "refused"
    assert set(result.unlocked) == {"a", "b"}
    assert store.transact(2, action(2, add("a"), add("b"))).waited == 0


def test_an_orphan_of_another_run_is_listed_without_a_record_and_can_be_ended(server, opened, run):
    other = f"{run}orphan"
    try:
        orphan = opened(run=other, service="till")
        orphan.prepare(5, prepare(5, add("a", -1)))
        mine = opened()
        mine.prepare(6, prepare(6, add("a", -1)))
        found = {branch.tx: branch for branch in mine.branches()}
        assert found[5].record is None
        assert found[6].record == ("prepared", "hub")
        assert found[5].age >= found[6].age >= 0
        assert mine.records() == {6: [("prepared", "hub")]}
        assert mine.resolve(found[5].name, commit=True)
        assert orphan.values()["a"] == 9
        assert not mine.resolve(found[5].name, commit=True)
        assert mine.resolve(found[6].name, commit=False)
        assert mine.branches() == []
        assert mine.values()["a"] == 10
    finally:
        drop_run(server.dsn(), other)


def test_prepared_transactions_of_other_programs_are_listed_too(server, store):
    with psycopg.connect(server.dsn()) as connection:
        connection.tpc_begin("someone else's")
        connection.execute("SELECT pg_current_xact_id()")
        connection.tpc_prepare()
        try:
            assert [(branch.tx, branch.record, branch.name) for branch in store.branches()] == [
                (-1, None, "someone else's")
            ]
        finally:
            connection.tpc_rollback()


def test_branches_of_other_services_of_the_run_are_their_own_business(opened):
    one, other = opened(service="stock"), opened(service="till")
    one.prepare(1, prepare(1, add("a")))
    assert other.branches() == []
    assert other.records() == {}


def test_an_identifier_that_postgresql_would_not_take_is_refused_before():
    fits = branch_name("r" * 100, "s", 1, ("prepared", "hub"))
    assert len(fits) <= GID_LIMIT
    with pytest.raises(StoreFailed, match=r"PostgreSQL allows 199.*shorter names") as caught:
        branch_name("r" * 200, "s", 1, ("prepared", "hub"))
    assert "\n" not in str(caught.value)


def test_names_with_any_characters_come_back_from_an_identifier():
    assert parse_branch(branch_name("a:b", "c d/é", -3, ("x", (1, None)))) == ("a:b", "c d/é", -3, ("x", (1, None)))


def test_when_no_prepared_transaction_fits_any_more_prepare_fails_and_leaves_nothing(opened):
    with PostgresServer(settings={"max_prepared_transactions": "1"}) as server:
        store = opened(server.dsn())
        assert store.prepare(1, prepare(1, add("a"))).status == "done"
        assert store.prepare(2, prepare(2, add("b"))).status == "failed"
        assert store.commit(1).in_doubt >= 0
        assert store.prepare(2, prepare(2, add("b"))).status == "done"
        store.close()


# --- the history --------------------------------------------------------------------------------------------------------------------------


def test_a_branch_counts_from_its_commit_not_from_its_preparation(store):
    store.prepare(1, prepare(1, add("a")))
    time.sleep(0.1)
    first = store.transact(2, action(2, add("b")))
    begin = time.monotonic()
    store.commit(1)
    end = time.monotonic()
    changes = list(store.history())
    assert [change.tx for change in changes] == [2, 1]
    assert changes[0].number == first.history
    assert begin - 0.005 <= changes[1].time <= end + 0.005  # the clocks of two programs, and the way between them


def test_without_commit_timestamps_the_times_are_those_of_the_rows(opened):
    with PostgresServer(settings={"track_commit_timestamp": "off"}) as server:
        store = opened(server.dsn(), dedup_retention=0.3)
        begin = time.monotonic()
        store.transact(1, action(1, add("a")))
        end = time.monotonic()
        (change,) = store.history()
        assert begin - 0.005 <= change.time <= end + 0.005
        assert eventually(lambda: store.transact(1, action(1, add("a"))).status == "done")
        store.close()


# --- log and outbox -----------------------------------------------------------------------------------------------------------------------


def test_records_of_a_transaction_keep_their_order_forced_or_not(store):
    for number in range(12):
        store.append(1, ("record", number), forced=number % 3 == 2)
        if number % 4 == 0:
            time.sleep(0.06)
    assert store.records()[1] == [("record", number) for number in range(12)]


def test_a_transaction_that_comes_again_after_it_was_forgotten_has_its_new_records_alone(store):
    store.append(1, ("old",), forced=True)
    store.append(1, ("older",), forced=False)
    store.forget(1)
    store.append(1, ("new",), forced=False)
    store.append(1, ("newer",), forced=True)
    assert store.records() == {1: [("new",), ("newer",)]}


def test_what_is_buffered_is_written_when_the_store_is_closed(opened):
    store = opened()
    store.append(1, ("lazy",), forced=False)
    store.append(2, ("forgotten",), forced=True)
    store.forget(2)
    store.close()
    assert opened().records() == {1: [("lazy",)]}


def test_the_relay_has_its_own_view_of_the_outbox(opened):
    store = opened()
    messages = [Message("event", tx, "stock", "till", {"text": 'a "quoted" \\ {brace}, ü\n'}) for tx in (1, 2, 3)]
    for message in messages:
        assert store.transact(
            message.tx,
            Transact("t", (add("a"),), key=(message.tx, "k"), accepted=Branch("done", (message, message))),
        ).outbox
    relay = opened(relay=True)
    rows = relay.read_outbox(10)
    assert [message for _, message in rows] == [message for message in messages for _ in range(2)]
    assert [number for number, _ in relay.read_outbox(3)] == [number for number, _ in rows[:3]]
    relay.mark_outbox([number for number, _ in rows[:3]])
    assert relay.read_outbox(10) == rows[3:]
    assert relay.pending_outbox() == {2, 3}
    assert eventually(lambda: store.pending_outbox() == {2, 3} and len(store.read_outbox(10)) == 3)


# --- the unknown result ---------------------------------------------------------------------------------------------------------------------


class Proxy:
    """Stands between a store and its server, and cuts the first connection on which `marker` is sent.

    Args:
        target: Socket of the server.
        moment: ``before`` the marked bytes reach the server, ``after`` its reply has been read, or ``half``: the client's side when they
            have reached it; the server's side stays open.
    """

    def __init__(self, target, moment, marker):
        self.target, self.moment, self.marker = target, moment, marker
        self.cuts = 0
        self.folder = tempfile.mkdtemp(prefix="px-")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(f"{self.folder}/.s.PGSQL.5432")
        self.listener.listen(64)
        self.sockets = []
        self.ended = False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            upstream = socket.socket(socket.AF_UNIX)
            upstream.connect(self.target)
            self.sockets += [client, upstream]
            cut = threading.Event()
            threading.Thread(target=self._requests, args=(client, upstream, cut), daemon=True).start()
            threading.Thread(target=self._replies, args=(client, upstream, cut), daemon=True).start()

    def _requests(self, client, upstream, cut):
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                if self.marker in data and not self.cuts:
                    self.cuts += 1
                    cut.set()
                    if self.moment != "before":
                        upstream.sendall(data)
                    if self.moment == "half":
                        time.sleep(0.2)
                    if self.moment != "after":
                        client.shutdown(socket.SHUT_RDWR)
                        if self.moment == "half":
                            return
                        break
                    return
                upstream.sendall(data)
        with contextlib.suppress(OSError):
            upstream.shutdown(socket.SHUT_RDWR)

    def _replies(self, client, upstream, cut):
        with contextlib.suppress(OSError):
            while data := upstream.recv(65536):
                if cut.is_set():
                    break
                client.sendall(data)
        if self.moment != "half" or not cut.is_set():
            for end in (client, upstream):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.listener.close()
        for one in self.sockets:
            one.close()
        Path(self.folder, ".s.PGSQL.5432").unlink()
        Path(self.folder).rmdir()


@pytest.fixture
def through(server, opened):
    """Opens a store behind a proxy."""
    proxies = []

    def open_store(moment, marker, **options):
        proxy = Proxy(f"{psycopg.conninfo.conninfo_to_dict(server.dsn())['host']}/.s.PGSQL.5432", moment, marker)
        proxies.append(proxy)
        return proxy, opened(f"host={proxy.folder} user=postgres dbname=postgres", **options)

    yield open_store
    for proxy in proxies:
        proxy.close()


@pytest.mark.parametrize(("moment", "status"), [("before", "failed"), ("after", "done")])
def test_a_connection_that_is_cut_at_the_commit_is_answered_with_the_truth(through, moment, status):
    proxy, store = through(moment, b'[77,0,"action"]')
    message = Message("event", 77, "stock", "till")
    effect = Transact(
        "t", (add("a", -3, low=0),), key=(77, 0, "action"), accepted=Branch("done", (message,)), steps=(4,)
    )
    result = store.transact(77, effect)
    assert proxy.cuts == 1
    assert result.status == status
    if status == "done":
        assert result.changes == {"a": (10, 7)}
        assert result.reads == {"a": 10}
        assert (result.steps, result.forced, result.outbox) == ((4,), True, True)
        assert [change.number for change in store.history()] == [result.history]
        assert store.transact(77, effect).status == "duplicate"
    else:
        assert store.values()["a"] == 10
        assert store.pending_outbox() == set()
        assert store.transact(77, effect).status == "done"
    assert store.values()["a"] == 7


def test_a_refusal_that_was_committed_and_not_heard_is_a_refusal(through):
    proxy, store = through("after", b'[77,0,"action"]')
    effect = action(77, add("a", -30, low=0), refused=Branch("refused"))
    assert store.transact(77, effect).status == "refused"
    assert proxy.cuts == 1
    again = store.transact(77, effect)
    assert (again.status, again.value) == ("duplicate", "refused")


def test_a_transaction_without_any_key_gets_the_truth_as_well(through):
    proxy, store = through("after", b"x:secret")
    result = store.transact(5, Transact("t", (add("x:secret", 2),), steps=(0,)))
    assert proxy.cuts == 1
    assert (result.status, result.changes) == ("done", {"x:secret": (5, 7)})


def test_a_session_that_still_waits_behind_a_lost_connection_is_ended_before_anything_is_said(server, opened, through):
    holder = opened()
    holder.execute(9, Execute("e", (add("a"),)))
    proxy, store = through("half", b'[77,0,"action"]')
    result = store.transact(77, action(77, add("a", -3)))
    assert proxy.cuts == 1
    assert result.status == "failed"
    assert waiting(server) == 0
    holder.rollback(9, forced=False)
    time.sleep(0.1)
    assert store.values()["a"] == 10


@pytest.mark.parametrize(("moment", "status"), [("before", "failed"), ("after", "done")])
@pytest.mark.parametrize("opened_before", [False, True])
def test_a_connection_that_is_cut_at_the_preparation(through, moment, status, opened_before):
    proxy, store = through(moment, b"PREPARE TRANSACTION")
    if opened_before:
        store.execute(5, Execute("e", (add("a", -3),), steps=(0,)))
    result = store.prepare(5, prepare(5, add("b") if opened_before else add("a", -3), steps=(1,)))
    assert proxy.cuts == 1
    assert result.status == status
    if status == "done":
        assert [branch.tx for branch in store.branches()] == [5]
        committed = store.commit(5)
        assert committed.changes["a"] == (10, 7)
        assert committed.history == next(iter(store.history())).number
    else:
        assert store.branches() == []
        assert store.transact(6, action(6, add("a", -3))).status == "done"
    assert store.values()["a"] == 7


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_a_connection_that_is_cut_in_the_second_phase(through, moment, end):
    proxy, store = through(moment, f"{end} PREPARED".encode())
    store.prepare(5, prepare(5, add("a", -3)))
    result = store.commit(5) if end == "COMMIT" else store.rollback(5, forced=True)
    assert proxy.cuts == 1
    assert result.in_doubt >= 0
    assert store.branches() == []
    assert store.values()["a"] == (7 if end == "COMMIT" else 10)
    assert result.changes == ({"a": (10, 7)} if end == "COMMIT" else {})


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("forced", [True, False])
def test_a_record_is_written_once_whatever_happens_to_the_connection(through, moment, forced):
    proxy, store = through(moment, b"unmistakable")
    store.append(1, ("unmistakable",), forced=forced)
    assert eventually(lambda: proxy.cuts == 1)
    assert store.records() == {1: [("unmistakable",)]}


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_branches_in_doubt_are_found_in_a_database_of_another_encoding(server, opened, run, encoding):
    """A cluster made under LC_ALL=C is SQL_ASCII; asked in that encoding, the driver gives the names of branches as bytes."""
    name = f"of_{run}"
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(
            f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'"
        )
    store = opened(server.dsn(name))
    store.execute(1, Execute("e", (add("a", -3),), steps=(0,)))
    assert store.prepare(1, prepare(1, add("b"), steps=(1,))).status == "done"
    assert [branch.tx for branch in store.branches()] == [1]
    store.close()
    assert len(drop_run(server.dsn(name), run)) == 2  # the branch and the schema


def test_the_connection_of_an_open_branch_is_lost_with_the_branch(server, store):
    store.execute(1, Execute("e", (add("a", -3),), steps=(0,)))
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction'")
    result = store.prepare(1, prepare(1, add("b"), steps=(1,)))
    assert result.status == "failed"
    assert result.unlocked == ("a",)
    assert store.branches() == []
    assert store.values() == {"a": 10, "b": 10, "c": 10}


@pytest.mark.parametrize("committed", [True, False])
def test_a_session_that_is_terminated_at_its_commit(server, opened, run, committed):
    """A trigger that runs at the commit waits there until the session is terminated, or is let go."""
    store = opened(serializable=False)  # the trigger sees the gate open
    schema = schema_name(run, "stock")
    sleepers = []
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(f"SET search_path = {schema}")
        connection.execute("CREATE TABLE gate (free int)")
        connection.execute(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            f" WHILE NEW.tx = 77 AND NOT EXISTS (SELECT FROM {schema}.gate) LOOP PERFORM pg_sleep(0.1); END LOOP;"
            " RETURN NULL; END $$"
        )
        connection.execute(
            "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON history DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW EXECUTE FUNCTION slow()"
        )
        with background(store.transact, 77, action(77, add("a", -3))) as results:
            assert eventually(
                lambda: (
                    sleepers.extend(
                        connection.execute("SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'").fetchall()
                    )
                    or sleepers
                )
            )
            if committed:
                connection.execute("INSERT INTO gate VALUES (1)")
            else:
                connection.execute("SELECT pg_terminate_backend(%s)", sleepers[0])
    assert results[0].status == ("done" if committed else "failed")
    assert store.values()["a"] == (7 if committed else 10)


def test_sessions_that_were_ended_while_idle_are_replaced_without_anybody_noticing(server, store):
    store.transact(1, action(1, add("a")))
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'simtx stock%'"
        )
        left = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'simtx stock%'"
        assert eventually(lambda: connection.execute(left).fetchone() == (0,))
    assert store.transact(2, action(2, add("a"))).status == "done"


def test_a_server_that_crashes_under_load_neither_loses_nor_repeats_anything(opened):
    """Each thread asks again until it is done, as machines do; what is answered "done" and what is in the database agree."""
    with PostgresServer() as server:
        store = opened(server.dsn(), connections=4)
        stop = threading.Event()
        finished = dict.fromkeys((10_000, 20_000, 30_000), 0)
        failures = []

        def local(base):
            done = 0
            for n in itertools.count():
                if stop.is_set():
                    return done
                tx = base + n
                while (status := store.transact(tx, action(tx, add("a"))).status) != "done":
                    assert status == "failed"  # a duplicate would be a commit that was reported as failed
                    failures.append(tx)
                done += 1
                finished[base] = done
            return done

        def distributed(base):
            done = 0
            for n in itertools.count():
                if stop.is_set():
                    return done
                tx = base + n
                while (status := store.prepare(tx, prepare(tx, add("b"))).status) != "done":
                    assert status == "failed"
                assert store.commit(tx).changes["b"][1] == 11 + done
                done += 1
                finished[base] = done
            return done

        with (
            background(local, 10_000) as first,
            background(local, 20_000) as second,
            background(distributed, 30_000) as third,
        ):
            try:
                for crash in range(100):
                    if crash >= 3 and failures:
                        break  # some crash has met somebody
                    before = dict(finished)
                    assert eventually(lambda: all(finished[base] > before[base] for base in finished))  # noqa: B023
                    time.sleep(0.1)
                    server.kill()
                    time.sleep(0.1)
                    server.start()
            finally:
                stop.set()
        values = store.values()
        assert values["a"] == 10 + first[0] + second[0]
        assert values["b"] == 10 + third[0]
        assert len(list(store.history())) == first[0] + second[0] + third[0]
        assert store.branches() == []
        assert first[0] + second[0] > 0
        assert third[0] > 0
        assert failures  # else the crashes met nobody
        store.close()


def test_a_server_that_does_not_come_back_is_one_clear_line(opened):
    with PostgresServer() as server:
        store = opened(server.dsn(), patience=0.5)
        server.kill()
        with pytest.raises(StoreFailed, match="cannot be used") as caught:
            store.transact(1, action(1, add("a")))
        assert "\n" not in str(caught.value)
        store.close()


# --- what is refused ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dsn", "text"),
    [
        ("host=/nowhere dbname=x", r"PostgreSQL server \(host=/nowhere dbname=x\) cannot be used"),
        ("postgresql://someone:secret@localhost:1/x", r"port=1 user=someone dbname=x\) cannot be used"),
        ("this is no dsn", "no DSN of PostgreSQL"),
    ],
)
def test_a_wrong_dsn_is_one_clear_line_without_the_password(opened, dsn, text):
    for attempt in (opened, check_dsn):
        started = time.monotonic()
        with pytest.raises(StoreFailed, match=text) as caught:
            attempt(dsn)
        assert "\n" not in str(caught.value)
        assert "secret" not in str(caught.value)
        assert time.monotonic() - started < 60


def test_a_database_that_is_not_there_is_named(server, opened):
    with pytest.raises(StoreFailed, match='database "nowhere" does not exist'):
        opened(server.dsn("nowhere"))


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ({"max_prepared_transactions": "0"}, "set max_prepared_transactions = 200 in postgresql.conf"),
        ({"fsync": "off"}, "set fsync = on in postgresql.conf"),
    ],
)
def test_a_server_that_cannot_do_it_is_refused_with_what_to_set(opened, setting, text):
    with PostgresServer(settings=setting) as server:
        for attempt in (opened, check_dsn):
            with pytest.raises(StoreFailed, match=text) as caught:
                attempt(server.dsn())
            assert "\n" not in str(caught.value)


def test_a_server_that_can_do_it_passes_the_check(server):
    check_dsn(server.dsn())


def test_without_the_client_library_one_clear_line_says_what_to_install():
    program = (
        "import sys\n"
        "sys.modules['psycopg'] = None\n"
        "from simtx.reference.stores import StoreFailed, open_store\n"
        "try:\n"
        "    open_store({'kind': 'postgres', 'dsn': 'host=x'})\n"
        "except StoreFailed as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"PostgreSQL needs psycopg \(.*\): pip install 'simtx\[reference\]'\n", done.stdout)


def test_a_schema_of_another_version_is_refused(server, opened, run):
    opened().close()
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(sql.SQL("UPDATE {}.meta SET version = 99").format(sql.Identifier(schema_name(run, "stock"))))
    with pytest.raises(StoreFailed, match="is of version 99; this simtx reads version 1"):
        opened()


def test_every_run_and_service_has_a_schema_of_its_own(opened, run):
    one, other = opened(service="stock"), opened(service="till")
    one.transact(1, action(1, add("a")))
    assert one.values()["a"] == 11
    assert other.values()["a"] == 10


def test_names_of_schemas_are_plain_short_and_different():
    pairs = [
        ("a", "b_c"),
        ("a_b", "c"),
        ("A", "b"),
        ("a", "b"),
        ("a-", "b"),
        ("a", "é"),
        ("r" * 80, "s"),
        ("r" * 80, "t"),
    ]
    names = [schema_name(*pair) for pair in pairs]
    assert len(set(names)) == len(names)
    assert all(len(name) <= NAME_LIMIT and name.replace("_", "").isalnum() and name.isascii() for name in names)
    assert schema_name("run", "stock") == "simtx_run_stock"


def test_a_run_that_is_at_work_cannot_be_removed(server, store, run):
    store.execute(1, Execute("e", (add("a"),)))
    with pytest.raises(StoreFailed, match=f"run '{run}' cannot be removed from PostgreSQL: .*lock timeout") as caught:
        drop_run(server.dsn(), run)
    assert "\n" not in str(caught.value)
    store.rollback(1, forced=False)
    assert store.transact(2, action(2, add("a"))).status == "done"


def test_a_run_can_be_removed_with_its_branches_and_nothing_else(server, opened, run):
    other = f"{run}other"
    try:
        store, kept = opened(), opened(run=other)
        store.prepare(1, prepare(1, add("a")))
        kept.prepare(1, prepare(1, add("a")))
        store.close()
        gone = drop_run(server.dsn(), run)
        assert schema_name(run, "stock") in gone
        assert [branch.tx for branch in kept.branches()] == [1]
        assert kept.commit(1).changes == {"a": (10, 11)}
    finally:
        drop_run(server.dsn(), other)


# --- a vote is what the server says -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("opened_before", [False, True])
def test_a_prepare_that_the_server_answers_with_rollback_is_no_vote(server, store, monkeypatch, opened_before):
    """PREPARE TRANSACTION in a failed transaction raises nothing: its command tag alone says that nothing was prepared."""
    if opened_before:
        store.execute(1, Execute("e", (add("b"),)))
    execute = psycopg.Connection.execute
    tags = []

    def fail_before(link, query, *arguments, **options):
        is_prepare = isinstance(query, psycopg.sql.Composed) and "PREPARE TRANSACTION" in query.as_string(link)
        if is_prepare:
            with contextlib.suppress(psycopg.errors.DivisionByZero):
                execute(link, "SELECT 1 / 0")
        cursor = execute(link, query, *arguments, **options)
        if is_prepare:
            tags.append(cursor.statusmessage)
        return cursor

    monkeypatch.setattr(psycopg.Connection, "execute", fail_before)
    result = store.prepare(1, prepare(1, add("a", -1)))
    assert tags == ["ROLLBACK"]
    assert (result.status, result.forced, result.changes) == ("failed", False, {})
    assert "a" in result.unlocked
    monkeypatch.undo()
    assert store.branches() == []
    assert store.commit(1).in_doubt == -1
    assert store.transact(2, action(2, add("a"), add("b"))).status == "done"
    assert store.prepare(1, prepare(1, add("a", -1))).status == "done"  # and it may be asked for again


@pytest.mark.parametrize("recovered", [False, True])
@pytest.mark.parametrize(("theirs", "ours"), list(itertools.product(("commit", "rollback"), repeat=2)))
def test_a_branch_that_somebody_else_has_ended_is_damage_unless_our_own_history_has_it(
    server, opened, theirs, ours, recovered
):
    """42704 alone says nothing: the branch may be committed and all is well, or be rolled back behind its vote."""
    store = opened()
    store.prepare(1, prepare(1, add("a", -3), steps=(0, 2)))
    if recovered:
        store.close()
        store = opened()
    (branch,) = store.branches()
    with psycopg.connect(server.dsn(), autocommit=True) as other:
        other.execute(psycopg.sql.SQL(f"{theirs.upper()} PREPARED {{}}").format(branch.name))
    result = store.commit(1) if ours == "commit" else store.rollback(1, forced=True)
    if theirs == ours:
        assert (result.broken, result.in_doubt >= 0) == ("", True)
        assert result.changes == ({"a": (10, 7)} if ours == "commit" else {})
        assert result.steps == ((0, 2) if ours == "commit" else ())
    else:
        assert (result.broken, result.in_doubt, result.changes) == (theirs, -1, {})
    assert store.values()["a"] == (7 if theirs == "commit" else 10)
    again = store.commit(1)
    assert (again.broken, again.in_doubt) == ("", -1)  # told once
