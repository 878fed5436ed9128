"""The contract of a store, kept by every product: local transactions, branches, log, outbox, history."""

from __future__ import annotations

import itertools
import random
import time
from collections import Counter

import pytest

from simtx.protocols import Branch, Execute, Prepare, Transact
from simtx.protocols.codec import CodecError
from simtx.reference.stores import StoreFailed
from simtx.reference.stores.registry import PRODUCTS, OwnServer, ServerTools, StoreProduct, kind_of
from simtx.testing import OUTBOX_LAWS, STORE_LAWS, Threaded, check_outbox, check_store
from tests.reference.conftest import STORES
from tests.reference.doing import REFUSE, Job, action, add, compensation, message, prepare, put, read, until

pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")


@pytest.fixture
def store(make_store):
    return make_store()


# --- the laws of every store ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("law", [law.name for law in STORE_LAWS])
def test_it_keeps_the_laws_of_a_store(make_store, law):
    """The same that the simulated store keeps, in `tests/testing`; what follows is more than a machine hears of."""
    check_store(make_store, only=law)


# --- local transactions ---------------------------------------------------------------------------------------------------------


def test_a_local_transaction_is_committed_with_all_that_belongs_to_it(make_store):
    store = make_store()
    result = store.transact(1, action(1, add("a", -3, low=0), put("b", 4), add("new", 2)))
    changes = {"a": (10, 7), "b": (10, 4), "new": (0, 2)}
    assert (result.status, result.value, result.changes, result.steps) == ("done", None, changes, (0,))
    assert result.forced
    assert result.outbox
    assert result.reads == {"a": 10, "new": 0}  # a value that is overwritten unseen was not read
    assert set(result.unlocked) == {"a", "b", "new"}
    assert result.held > 0
    assert (result.waited, result.wait_end) == (0, "")
    store.close()

    store = make_store()
    assert store.values() == {"a": 7, "b": 4, "new": 2}
    assert [row for _, row in store.read_outbox(10)] == [message(1, "done")]
    assert store.transact(1, action(1, add("a"))).value == "done"
    (change,) = store.history()
    assert (change.number, change.tx, change.steps, change.compensation) == (result.history, 1, (0,), False)
    assert change.changes == changes


def test_every_other_key_starts_with_the_value_of_the_longest_pattern_that_fits(store):
    result = store.transact(1, Transact("t", (add("px"), add("ppx"), add("q"))))
    assert result.changes == {"px": (5, 6), "ppx": (7, 8), "q": (0, 1)}
    assert store.values() == {"a": 10, "b": 10, "px": 6, "ppx": 8, "q": 1}


def test_operations_on_one_key_build_on_each_other(store):
    result = store.transact(
        1, Transact("t", (add("a", -4), read("a", low=6, high=6), put("a", 20), add("a", 1, high=21)))
    )
    assert (result.status, result.changes, result.reads) == ("done", {"a": (10, 21)}, {"a": 10})


@pytest.mark.parametrize(
    "operations",
    [
        (add("a", -1), add("b", -11, low=0)),
        (add("a", -1), add("b", 1, high=10)),
        (add("a", -1), read("b", low=11)),
        (add("a", -1), read("b", high=9)),
        (add("a", -1), REFUSE),
        (REFUSE, add("a", -1)),
    ],
)
def test_a_refused_local_transaction_applies_nothing_and_writes_its_refusal(store, operations):
    result = store.transact(1, action(1, *operations))
    assert (result.status, result.changes, result.forced, result.outbox, result.history) == (
        "refused",
        {},
        True,
        True,
        -1,
    )
    assert store.values() == {"a": 10, "b": 10}
    assert [row for _, row in store.read_outbox(10)] == [message(1, "refused")]
    again = store.transact(1, action(1, add("a")))
    assert (again.status, again.value, again.forced) == ("duplicate", "refused", False)
    assert list(store.history()) == []


def test_only_reading_forces_nothing(store):
    result = store.transact(1, Transact("t", (read("a", low=1), read("none"))))
    assert (result.status, result.forced, result.reads) == ("done", False, {"a": 10, "none": 0})
    assert store.transact(1, Transact("t", (read("a", low=11),))).status == "refused"
    assert list(store.history()) == []


def test_an_idempotency_row_alone_is_written(make_store):
    store = make_store()
    result = store.transact(1, Transact("t", (), (1, "mine")))
    assert (result.status, result.forced, result.changes, result.history) == ("done", True, {}, -1)
    store.close()
    result = make_store().transact(1, Transact("t", (add("a"),), (1, "mine")))
    assert (result.status, result.value) == ("duplicate", "done")


@pytest.mark.parametrize("value", ["x", 7, 1.5, ("a", (1, None)), True, "ünï\U0001f642"])
def test_the_value_of_an_idempotency_row_comes_back_as_it_was(make_store, value):
    store = make_store()
    store.transact(1, Transact("t", (), (1, "mine"), Branch(value)))
    store.close()
    result = make_store().transact(1, Transact("t", (add("a"),), (1, "mine"), Branch(value)))
    assert (result.status, result.value, result.changes) == ("duplicate", value, {})
    assert type(result.value) is type(value)


def test_outbox_rows_of_local_transactions_that_do_not_overlap_have_the_order_of_their_commits(store):
    for tx in range(20):
        store.transact(tx, Transact("t", (), None, Branch(None, (message(tx, "first"), message(tx, "second")))))
    rows = store.read_outbox(100)
    assert [(row.tx, row.kind) for _, row in rows] == [(tx, kind) for tx in range(20) for kind in ("first", "second")]
    assert store.read_outbox(3) == rows[:3]


# --- compensations --------------------------------------------------------------------------------------------------------------


def test_a_compensation_runs_if_its_action_took_effect(store):
    store.transact(1, action(1, add("a", -3)))
    result = store.transact(1, compensation(1, add("a", 3)))
    assert (result.status, result.changes) == ("done", {"a": (7, 10)})
    assert [change.compensation for change in store.history()] == [False, True]
    assert store.transact(1, compensation(1, add("a", 3))).status == "duplicate"
    assert store.values()["a"] == 10


# --- branches -------------------------------------------------------------------------------------------------------------------


def test_a_prepared_branch_is_durable_invisible_and_keeps_its_locks(make_store):
    store = make_store()
    result = store.prepare(1, prepare(1, add("a", -3, low=0), steps=(0, 2)))
    assert (result.status, result.forced, result.changes, result.reads) == ("done", True, {}, {"a": 10})
    for _ in range(2):  # before and after a restart
        assert store.values()["a"] == 10
        assert store.records() == {1: [("prepared", "hub")]}
        (branch,) = store.branches()
        assert (branch.tx, branch.record) == (1, ("prepared", "hub"))
        assert 0 <= branch.age < 60
        assert branch.name
        blocked = store.transact(2, action(2, add("b"), add("a")))
        assert (blocked.status, blocked.wait_end, blocked.forced) == ("failed", "timeout", False)
        assert blocked.waited >= 0.04
        assert store.transact(3, Transact("t", (read("a"),))).reads == {"a": 10}
        store.close()
        store = make_store()
    done = store.commit(1)
    assert (done.status, done.changes, done.steps, done.reads) == ("done", {"a": (10, 7)}, (0, 2), {"a": 10})
    assert (done.forced, done.unlocked, done.held) == (True, ("a",), 0)
    assert done.in_doubt >= 0
    assert [(change.number, change.tx, change.steps, change.changes) for change in store.history()] == [
        (done.history, 1, (0, 2), {"a": (10, 7)})
    ]
    assert store.records() == {}
    assert store.branches() == []
    assert store.transact(2, action(2, add("a"))).changes == {"a": (7, 8)}


def test_a_branch_can_be_committed_once(make_store):
    store = make_store()
    store.prepare(1, prepare(1, add("a", -3)))
    first = store.commit(1)
    assert first.in_doubt >= 0
    assert first.held > 0
    for again in (store.commit(1), store.rollback(1, forced=True)):
        assert (again.in_doubt, again.changes, again.unlocked) == (-1, {}, ())
    store.close()
    store = make_store()
    assert store.commit(1).in_doubt == -1
    assert store.values()["a"] == 7
    assert len(list(store.history())) == 1


def test_the_idempotency_row_of_a_branch_commits_with_it(store):
    store.prepare(1, prepare(1, add("a", -3)))
    store.rollback(1, forced=True)
    assert store.prepare(1, prepare(1, add("a", -3))).status == "done"
    store.commit(1)
    again = store.prepare(1, prepare(1, add("a", -3)))
    assert (again.status, again.value, again.forced) == ("duplicate", "done", False)
    assert store.records() == {}
    assert store.transact(2, action(2, add("a"))).changes == {"a": (7, 8)}


@pytest.mark.parametrize("forced", [True, False])
def test_a_rolled_back_branch_leaves_nothing_but_free_locks(make_store, forced):
    store = make_store()
    store.prepare(1, prepare(1, add("a", -3), add("b", 1)))
    result = store.rollback(1, forced=forced)
    assert (result.status, result.changes, result.history) == ("done", {}, -1)
    assert result.in_doubt >= 0
    assert set(result.unlocked) == {"a", "b"}
    assert store.transact(2, action(2, add("a"))).changes == {"a": (10, 11)}
    assert store.rollback(1, forced=forced).in_doubt == -1
    store.close()
    store = make_store()
    assert store.branches() == []
    assert store.values() == {"a": 11, "b": 10}


def test_a_branch_that_waits_in_vain_leaves_nothing(store):
    store.prepare(1, prepare(1, add("b")))
    result = store.prepare(2, prepare(2, add("a"), add("b")))
    assert (result.status, result.wait_end) == ("failed", "timeout")
    assert set(result.unlocked) == {"a"}
    assert [branch.tx for branch in store.branches()] == [1]
    assert store.transact(3, action(3, add("a"))).status == "done"


def test_operations_of_an_open_branch_and_of_its_prepare_are_one_change(store):
    assert store.execute(1, Execute("e", (add("a", -3), read("b")), (0,))).reads == {"a": 10, "b": 10}
    result = store.execute(1, Execute("e", (add("a", -3, low=4, high=4), add("c", 1)), (1,)))
    assert (result.status, result.changes, result.forced, result.reads) == ("done", {}, False, {"c": 0})
    assert store.values() == {"a": 10, "b": 10}
    assert store.records() == {}
    result = store.prepare(1, prepare(1, add("b", 6), steps=(1, 2)))
    assert result.status == "done"
    done = store.commit(1)
    assert done.changes == {"a": (10, 4), "b": (10, 16), "c": (0, 1)}
    assert done.steps == (0, 1, 2)
    assert done.reads == {"a": 10, "b": 10, "c": 0}
    assert set(done.unlocked) == {"a", "b", "c"}
    assert store.values() == {"a": 4, "b": 16, "c": 1}


def test_an_open_branch_can_be_rolled_back(store):
    store.execute(1, Execute("e", (add("a"),), (0,)))
    result = store.rollback(1, forced=False)
    assert (result.in_doubt, result.changes, result.unlocked) == (-1, {}, ("a",))
    assert result.held > 0
    assert store.transact(2, action(2, add("a"))).changes == {"a": (10, 11)}


@pytest.mark.parametrize(
    "end", [Execute("e", (add("b", -11, low=0),)), prepare(1, add("b", -11, low=0)), prepare(1, REFUSE)]
)
def test_a_refused_operation_ends_the_open_branch(store, end):
    store.execute(1, Execute("e", (add("a"),)))
    result = store.execute(1, end) if isinstance(end, Execute) else store.prepare(1, end)
    assert result.status == "refused"
    assert "a" in result.unlocked
    assert store.transact(2, action(2, add("a"), add("b"))).status == "done"
    assert store.branches() == []


def test_an_operation_that_waits_in_vain_ends_the_open_branch(store):
    store.execute(1, Execute("e", (add("a"),)))
    store.execute(2, Execute("e", (add("b"),)))
    result = store.execute(1, Execute("e", (add("b"),)))
    assert (result.status, result.unlocked) == ("failed", ("a",))
    assert store.transact(3, action(3, add("a"))).status == "done"


# --- waiting --------------------------------------------------------------------------------------------------------------------


def test_who_waits_goes_on_when_the_lock_is_let_go_and_knows_how_long_it_waited(make_store):
    store = make_store(lock_timeout=20.0)
    store.prepare(1, prepare(1, add("a", -3)))
    job = Job(store.transact, 2, action(2, add("a", -3, low=5)))
    until(lambda: make_store.waiting(store) == 1)
    job.join(0.05)
    assert job.is_alive()
    store.commit(1)
    result = job.result()
    assert (result.status, result.wait_end) == ("refused", "granted")  # it sees what was committed meanwhile
    assert 0.04 < result.waited < 20
    assert result.reads == {"a": 7}


def test_a_compensation_waits_for_its_action_that_is_under_way(make_store):
    store = make_store(lock_timeout=20.0)
    store.prepare(1, prepare(1, add("a")))
    late = Job(store.transact, 2, action(2, add("a", -5)))
    until(lambda: make_store.waiting(store) == 1)
    undo = Job(store.transact, 2, compensation(2, add("a", 5)))
    until(lambda: make_store.waiting(store) == 2)
    store.commit(1)
    assert (late.result().status, undo.result().changes) == ("done", {"a": (6, 11)})


def test_work_that_waits_does_not_hold_up_the_others(make_store):
    store = make_store(lock_timeout=20.0)
    store.prepare(1, prepare(1, add("a")))
    jobs = [Job(store.transact, tx, action(tx, add("a"))) for tx in range(10, 14)]
    for tx in range(20, 30):
        assert store.transact(tx, action(tx, add("b"))).status == "done"
    store.commit(1)
    assert {job.result().status for job in jobs} == {"done"}
    assert store.values() == {"a": 15, "b": 20}


# --- the log --------------------------------------------------------------------------------------------------------------------


def test_records_come_back_by_transaction_oldest_first_and_that_of_a_branch_last(make_store):
    store = make_store()
    store.append(1, ("begin", (1, "x")), forced=True)
    store.append(2, ("other", None), forced=False)
    store.append(1, ("vote", "b", 1.5), forced=False)
    store.prepare(1, prepare(1, add("a")))
    store.append(1, ("late",), forced=True)
    store.close()
    assert make_store().records() == {
        1: [("begin", (1, "x")), ("vote", "b", 1.5), ("late",), ("prepared", "hub")],
        2: [("other", None)],
    }


def test_a_forced_record_takes_with_it_what_was_appended_before(make_store):
    store = make_store(lazy_flush=3600.0) if make_store.kind == "sqlite" else make_store()
    store.append(1, ("lazy", 1), forced=False)
    store.append(1, ("lazy", 2), forced=False)
    store.append(1, ("forced",), forced=True)
    assert store.records() == {1: [("lazy", 1), ("lazy", 2), ("forced",)]}


def test_forgotten_records_are_gone_and_later_ones_are_not(make_store):
    store = make_store()
    store.append(1, ("old",), forced=True)
    store.append(2, ("kept",), forced=True)
    store.forget(1)
    store.append(1, ("new",), forced=False)
    store.append(1, ("newer",), forced=True)
    store.close()
    assert make_store().records() == {1: [("new",), ("newer",)], 2: [("kept",)]}


def test_what_cannot_be_written_down_is_refused_and_leaves_the_store_as_it_was(store):
    with pytest.raises(CodecError, match="cannot travel"):
        store.append(1, ("x", object()), forced=True)
    with pytest.raises(CodecError, match="cannot travel"):
        store.transact(1, Transact("t", (add("a"),), (1, object())))
    with pytest.raises(CodecError, match="cannot travel"):
        store.prepare(1, Prepare("p", (add("b"),), ("x", object())))
    assert store.transact(2, action(2, add("a"), add("b"))).status == "done"
    assert store.values() == {"a": 11, "b": 11}


# --- the outbox -----------------------------------------------------------------------------------------------------------------


def test_marked_rows_are_never_read_again(make_store):
    store = make_store()
    for tx in range(6):
        store.transact(tx, action(tx))
    rows = store.read_outbox(100)
    store.mark_outbox([rows[0][0], rows[3][0]])
    left = [rows[index] for index in (1, 2, 4, 5)]
    assert list(store.read_outbox(100)) == left
    assert list(store.read_outbox(3)) == left[:3]
    assert store.pending_outbox() == {1, 2, 4, 5}
    store.mark_outbox([number for number, _ in left])
    assert store.read_outbox(100) == ()
    assert store.pending_outbox() == set()
    store.close()
    store = make_store()
    assert store.read_outbox(100) == ()
    store.transact(9, action(9))
    ((number, row),) = store.read_outbox(100)
    assert row.tx == 9
    assert number not in dict(rows)  # a relay that runs on would take it for one that it has marked


def test_the_relay_sees_what_is_committed_and_what_it_has_marked_is_gone_for_the_service_too(make_store):
    store = make_store()
    relay = make_store(relay=True)
    for tx in range(5):
        store.transact(tx, action(tx))
        assert [row.tx for _, row in relay.read_outbox(100)] == list(range(tx + 1))  # at once
    rows = relay.read_outbox(100)
    relay.mark_outbox([number for number, _ in rows[:3]])
    assert relay.read_outbox(100) == rows[3:]
    relay.close()
    assert store.pending_outbox() == {3, 4}
    assert make_store(relay=True).read_outbox(100) == rows[3:]


def test_whoever_comes_first_makes_the_tables(make_store):
    relay = make_store(relay=True)
    assert relay.read_outbox(10) == ()
    store = make_store()
    store.transact(1, action(1, add("a")))
    assert len(relay.read_outbox(10)) == 1


def test_an_outbox_that_is_written_and_read_at_once_passes_every_row_on(make_store):
    store = make_store()
    relay = make_store(relay=True)
    count = 120
    job = Job(lambda: [store.transact(tx, action(tx)) for tx in range(count)])
    seen: list[int] = []
    while len(seen) < count:
        rows = relay.read_outbox(7)
        seen += [row.tx for _, row in rows]
        relay.mark_outbox([number for number, _ in rows])
    job.result()
    assert seen == list(range(count))


@pytest.mark.parametrize("law", [law.name for law in OUTBOX_LAWS])
def test_the_outbox_of_a_real_store_keeps_the_law(make_store, law):
    check_outbox(lambda **options: Threaded(make_store(initial={}, **options)), only=law)


def test_a_row_appears_at_its_commit_under_the_number_that_it_was_inserted_with(make_store):
    """The contract's rule 5: a store with several writers numbers rows when a local transaction begins, one with one writer when it commits."""
    store = make_store()
    slow = action(1, add("a"))
    rows = store.reserve(slow)
    assert len(rows) == (1 if make_store.kind == "postgres" else 0)
    store.transact(2, action(2, add("b")), store.reserve(action(2)))
    assert [row.tx for _, row in store.read_outbox(9)] == [2]
    store.transact(1, slow, rows)
    found = store.read_outbox(9)
    assert [row.tx for _, row in found] == ([1, 2] if rows else [2, 1])
    assert [number for number, _ in found] == sorted(number for number, _ in found)
    assert not rows or found[0][0] == rows[0]
    below = store.read_outbox(9, below_horizon=True)
    assert [row[1].tx for row in below] == [
        2,
        1,
    ]  # in the order of local transactions, which nothing can come before any more
    assert sorted(row[2] for row in below) == [row[2] for row in below]
    assert store.reserve(action(3, serial_outbox=True)) == ()  # its numbers are drawn under the lock
    assert store.reserve(Transact("t", (add("a"),))) == ()


@pytest.mark.parametrize("commit", [True, False])
def test_a_prepared_branch_stops_the_horizon_where_the_database_has_one(make_store, commit):
    """PostgreSQL: any transaction with an id that is under way, a prepared one through restarts, too. SQLite: nothing is under way beside a commit."""
    stops = make_store.kind == "postgres"
    store = make_store()
    store.prepare(7, prepare(7, add("a")))
    store.transact(1, action(1, add("b")))
    store.close()
    store = make_store()
    assert [row[1].tx for row in store.read_outbox(9)] == [1]
    assert [row[1].tx for row in store.read_outbox(9, below_horizon=True)] == ([] if stops else [1])
    if commit:
        store.commit(7)
    else:
        store.rollback(7, forced=True)
    assert [row[1].tx for row in store.read_outbox(9, below_horizon=True)] == [1]


@pytest.mark.parametrize("reader", ["horizon", "lock"])
def test_a_reader_that_keeps_its_place_misses_no_row_of_many_writers(make_store, reader):
    """Below the horizon, or where writers lock the outbox: whatever was read, nothing appears before it any more."""
    store = make_store(lock_timeout=20.0)
    relay = make_store(relay=True)
    writers, each = 6, 25

    def write(writer):
        for tx in range(writer * each, (writer + 1) * each):
            effect = action(tx, add(f"k{writer}"), serial_outbox=reader == "lock")
            rows = store.reserve(effect)
            if rows:
                time.sleep(0.0005 * (tx % 3))
            assert store.transact(tx, effect, rows).status == "done"

    jobs = [Job(write, writer) for writer in range(writers)]
    place, seen = (-1, -1), []
    while any(job.is_alive() for job in jobs) or len(seen) < writers * each:
        over = not any(job.is_alive() for job in jobs)
        for row in relay.read_outbox(10_000, below_horizon=reader == "horizon"):
            here = (row[2] if reader == "horizon" else 0, row[0])
            if here > place:
                place = here
                seen.append(row[1].tx)
        if over:
            break
    for job in jobs:
        job.result()
    assert sorted(seen) == list(range(writers * each))


# --- history --------------------------------------------------------------------------------------------------------------------


def test_history_is_in_commit_order_with_the_times_of_the_commits(make_store):
    begun = time.monotonic()
    store = make_store()
    store.transact(1, action(1, add("a")))
    store.prepare(2, prepare(2, add("b")))
    store.transact(3, action(3, add("a")))
    between = time.monotonic()
    store.commit(2)
    ended = time.monotonic()
    changes = list(store.history())
    assert [change.tx for change in changes] == [1, 3, 2]
    assert begun < changes[0].time <= changes[1].time <= between + 0.01
    assert between - 0.01 <= changes[2].time <= ended + 0.01
    assert len({change.number for change in changes}) == 3
    store.close()
    assert list(make_store().history()) == changes


# --- identity -------------------------------------------------------------------------------------------------------------------


def test_a_store_of_another_run_is_not_taken(make_store):
    make_store().close()
    if make_store.kind == "sqlite":  # elsewhere every run has tables of its own
        with pytest.raises(
            StoreFailed, match="belongs to service 'stock' of run run-1, not to service 'stock' of run other"
        ):
            make_store(run="other")
    else:
        assert make_store(run="other").values() == {"a": 10, "b": 10}


# --- many at a time -------------------------------------------------------------------------------------------------------------


def _check_chain(store, initial):
    """Every change continues where the one before has left the key: no update is lost, none is applied twice."""
    values = dict(initial)
    for change in store.history():
        for key, (old, new) in change.changes.items():
            assert old == values.get(key, 0), (change, key)
            values[key] = new
    assert values == store.values()


@pytest.mark.parametrize("serializable", [False, True])
def test_transfers_of_many_threads_lose_nothing_and_break_no_guard(make_store, serializable):
    accounts = [f"k{index}" for index in range(5)]
    initial = dict.fromkeys(accounts, 20.0)
    store = make_store(initial=initial, lock_timeout=0.3, serializable=serializable)
    numbers = itertools.count(1)
    statuses: Counter[str] = Counter()

    def work(seed):
        draw = random.Random(seed)
        for done in itertools.count():
            if done >= 40 and (done >= 1000 or (statuses["done"] > 30 and statuses["refused"] > 10)):
                break  # how many of them wait in vain, the machine decides: enough must not
            tx, amount = next(numbers), draw.randint(1, 15)
            source, target = draw.sample(accounts, 2)
            operations = (add(source, -amount, low=0), add(target, amount, high=70))
            way = draw.random()
            if way < 0.6:
                status = store.transact(tx, action(tx, *operations)).status
                again = store.transact(tx, action(tx, *operations))
                assert status == "failed" or (again.status, again.value) == ("duplicate", status)
            elif way < 0.7:
                status = store.execute(tx, Execute("e", operations[:1], (0,))).status
                if status == "done":
                    status = store.prepare(tx, prepare(tx, operations[1])).status
            else:
                status = store.prepare(tx, prepare(tx, *operations)).status
            statuses[status] += 1
            if way >= 0.6 and status == "done":
                if draw.random() < 0.7:
                    assert store.commit(tx).changes
                else:
                    assert store.rollback(tx, forced=draw.random() < 0.5).in_doubt >= 0

    jobs = [Job(work, seed) for seed in range(6)]
    for job in jobs:
        job.result(90)
    assert statuses["done"] > 30
    assert statuses["refused"] > 10
    values = store.values()
    assert sum(values.values()) == 100
    assert all(0 <= value <= 70 for value in values.values())
    assert store.branches() == []
    _check_chain(store, initial)
    _check_chain_of_rows(store)


def _check_chain_of_rows(store):
    """The rows of one transaction are in the outbox once."""
    rows = Counter(row.tx for _, row in store.read_outbox(10_000))
    assert set(rows.values()) <= {1}


def test_every_store_of_the_registry_is_checked_here() -> None:
    assert set(STORES) == set(PRODUCTS)
    assert {product.opened_by().__name__ for product in PRODUCTS.values()} == {"SqliteStore", "PostgresStore"}
    assert (kind_of("postgresql://me@host/db"), kind_of("sqlite"), kind_of("mysql")) == ("postgres", "sqlite", None)


# --- work with the locks in hand -----------------------------------------------------------------------------------------------


def test_a_local_transaction_that_works_inside_has_its_locks_meanwhile(store):
    worked = store.transact(1, action(1, add("a")), work=0.02)
    assert (worked.status, worked.unlocked) == ("done", ("a",))
    assert worked.held >= 0.02
    assert store.prepare(2, prepare(2, add("a"), add("b")), work=0.02).status == "done"
    assert store.commit(2).held >= 0.04  # two rows
    assert store.execute(3, Execute("e", (add("a"),)), work=0.02).status == "done"
    assert store.rollback(3, forced=True).held >= 0.02
    assert store.values() == {"a": 12, "b": 11}


def test_one_that_refuses_or_has_been_done_before_works_with_no_locks(store):
    begun = time.monotonic()
    assert store.transact(1, action(1, REFUSE, add("a")), work=0.02).unlocked == ()
    assert time.monotonic() - begun >= 0.02
    begun = time.monotonic()
    assert store.transact(1, action(1, add("a")), work=60).status == "duplicate"
    assert time.monotonic() - begun < 30


def test_a_row_of_the_registry_is_of_a_file_or_of_a_server() -> None:
    """Otherwise a server would silently not be started."""
    for places in ({}, {"file": "x", "tools": "y"}):
        with pytest.raises(ValueError, match="give one of 'file' and 'tools'"):
            StoreProduct("module", "Class", **places)


@pytest.mark.parametrize("product", [one for one in PRODUCTS.values() if one.server], ids=lambda one: one.cls)
def test_tools_of_a_server_are_complete(product: StoreProduct) -> None:
    tools = product.server_tools()
    needed = [name for name in vars(ServerTools) if not name.startswith("_")]
    assert len(needed) == 5
    assert [name for name in needed if not callable(getattr(tools, name, None))] == []
    server = tools.own_server(None)
    needed = [name for name in vars(OwnServer) if not name.startswith("_") and name != "alive"]
    assert [name for name in needed if not callable(getattr(server, name, None))] == []
