"""Laws of a store, which the machines rely on, and the check of them on a store of your own."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, Protocol, runtime_checkable

from simtx.protocols import Branch, Execute, Message, Operation, Prepare, Record, Transact
from simtx.protocols.names import TOMBSTONE
from simtx.testing.laws import Law, expect, judge, law_in, same, select
from simtx.testing.outboxes import PATIENCE, Job, Underway

__all__ = ["STORE_LAWS", "MakeStore", "OutcomeUnderTest", "StoreUnderTest", "check_store"]

INITIAL: Final = {"a": 10.0, "b": 10.0, "p*": 5.0, "pp*": 7.0}
"""Values before the first transaction; a key that ends in ``*`` stands for every key with that prefix."""

_SHORT: Final = 0.05  # seconds that a local transaction waits for a lock in vain


class OutcomeUnderTest(Protocol):
    """Result of an operation, as `simtx.reference.stores.base.Result`."""

    @property
    def status(self) -> str:
        """Status, as in `simtx.protocols.Done`."""

    @property
    def value(self) -> Any:
        """Value of the idempotency row if ``duplicate``, else None."""

    @property
    def in_doubt(self) -> float:
        """Seconds since the branch of a second phase was prepared; below zero if there was none."""


class StoreUnderTest(Protocol):
    """A store with a log, as `simtx.reference.stores.base.Store`; a call returns when what it says is true.

    A store that cannot be called from several threads is a `TimedStore`, too.
    """

    def transact(self, tx: int, effect: Transact, /) -> OutcomeUnderTest:
        """Run one local transaction."""

    def execute(self, tx: int, effect: Execute, /) -> OutcomeUnderTest:
        """Run operations in the open local transaction of this transaction."""

    def prepare(self, tx: int, effect: Prepare, /) -> OutcomeUnderTest:
        """Run operations, and prepare the branch."""

    def commit(self, tx: int, /) -> OutcomeUnderTest:
        """Commit the prepared branch."""

    def rollback(self, tx: int, /, *, forced: bool) -> OutcomeUnderTest:
        """Roll back the prepared or open branch."""

    def append(self, tx: int, record: Record, /, *, forced: bool) -> None:
        """Append a record to the log."""

    def records(self) -> dict[int, list[Record]]:
        """Records that recovery starts from."""

    def read_outbox(self, limit: int, /) -> Sequence[tuple[Any, ...]]:
        """Outbox rows that are not marked: number and message first."""

    def mark_outbox(self, ids: Sequence[int], /) -> None:
        """Mark rows as published."""

    def values(self) -> dict[str, float]:
        """Committed values of all keys that the store has."""

    def close(self) -> None:
        """The node's process ends; what is not durable may be gone."""


@runtime_checkable
class TimedStore(Protocol):
    """A store with a clock of its own, which one thread calls."""

    def begin(self, tx: int, effect: Transact, /) -> Underway:
        """Begin on a local transaction, and return at once."""

    def sleep(self, seconds: float, /) -> None:
        """Let its time pass."""


MakeStore = Callable[..., StoreUnderTest]
"""Opens a store: of the ``service`` of this name, with ``initial`` values by key, ``serializable`` or read committed, and a ``lock_timeout`` in seconds.
Opened again after it was closed, a service has the same database."""

_Body = Callable[[MakeStore], None]
_LAWS: list[Law] = []


def _law(**options: Any) -> Callable[[_Body], _Body]:
    return law_in(_LAWS, {"initial": INITIAL, "serializable": False, "lock_timeout": _SHORT, **options})


def check_store(make_store: MakeStore, *, only: Collection[str] | str | None = None) -> None:
    """Check that a store keeps what the machines rely on; each law has a service, and so a database, of its own.

    Args:
        make_store: Opens one.
        only: Names of laws, or one name; None: all of `STORE_LAWS`.

    Raises:
        LawBroken: It does not; the text names the laws and what was seen.
        ScenarioError: There is no such law.
    """
    opened: list[StoreUnderTest] = []

    def attempt(law: Law) -> None:
        number = next(place for place, other in enumerate(STORE_LAWS) if other is law)

        def make(**options: Any) -> StoreUnderTest:
            store = make_store(f"law{number}", **{**law.options, **options})
            opened.append(store)
            return store

        try:
            law.check(make)
        finally:
            while opened:
                opened.pop().close()

    judge(select(STORE_LAWS, only), attempt)


# --- short names ----------------------------------------------------------------------------------------------------------------


def add(key: str, amount: float = 1, low: float | None = None, high: float | None = None) -> Operation:
    """Change a value."""
    return Operation(key, "add", amount, low, high)


def read(key: str, low: float | None = None, high: float | None = None) -> Operation:
    """Look at a value."""
    return Operation(key, "read", 0, low, high)


REFUSE: Final = Operation("any", "refuse")


def message(tx: int, text: str) -> Message:
    """A message of a transaction."""
    return Message(text, tx, "stock", "other", ("body", 1))


def action(tx: int, *operations: Operation) -> Transact:
    """The action of step 0, with its idempotency row and an event; a refusal has them, too."""
    accepted, refused = (Branch(text, (message(tx, text),)) for text in ("done", "refused"))
    return Transact("t", operations, (tx, 0, "action"), accepted, refused, steps=(0,))


def compensation(tx: int, *operations: Operation) -> Transact:
    """Compensation of that action."""
    key = (tx, 0, "compensation")
    return Transact("c", operations, key, Branch("undone"), None, (tx, 0, "action"), "done", (0,), True)


def prepare(tx: int, *operations: Operation) -> Prepare:
    """A branch of a transaction."""
    return Prepare("p", operations, ("prepared", "hub"), (tx, "branch"), (0,))


def _begin(store: StoreUnderTest, tx: int, effect: Transact) -> Underway:
    return store.begin(tx, effect) if isinstance(store, TimedStore) else Job(lambda: store.transact(tx, effect))


def _sleep(store: StoreUnderTest, seconds: float) -> None:
    sleep = store.sleep if isinstance(store, TimedStore) else time.sleep
    sleep(seconds)


def _events(store: StoreUnderTest) -> list[tuple[int, str]]:
    """Transaction and kind of every outbox row, in its order."""
    return [(row[1].tx, row[1].kind) for row in store.read_outbox(1000)]


# --- local transactions ---------------------------------------------------------------------------------------------------------


@_law()
def a_local_transaction_is_committed_with_all_that_belongs_to_it(make: MakeStore) -> None:
    """Changes, idempotency row and outbox rows are there together, and survive a restart."""
    store = make()
    done = store.transact(1, action(1, add("a", -3, low=0), Operation("b", "set", 4), add("new", 2)))
    same((done.status, done.value), ("done", None), "what it answers")
    store.close()
    store = make()
    same(store.values(), {"a": 7, "b": 4, "new": 2}, "values after a restart")
    same(_events(store), [(1, "done")], "outbox rows after a restart")
    again = store.transact(1, action(1, add("a")))
    same((again.status, again.value), ("duplicate", "done"), "the same once more")


@_law()
def a_key_that_nobody_has_written_has_its_initial_value(make: MakeStore) -> None:
    """Every key starts with its own value, else with that of the longest prefix that fits, else with zero."""
    store = make()
    store.transact(1, Transact("t", (add("px"), add("ppx"), add("q"))))
    same(store.values(), {"a": 10, "b": 10, "px": 6, "ppx": 8, "q": 1}, "values")


@_law()
def operations_build_on_each_other(make: MakeStore) -> None:
    """A later operation of a local transaction, guards included, sees what an earlier one has done to its key."""
    store = make()
    operations = (add("a", -4), read("a", low=6, high=6), Operation("a", "set", 20), add("a", 1, high=21))
    same(store.transact(1, Transact("t", operations)).status, "done", "what it answers")
    same(store.values()["a"], 21, "the value")


@_law()
def a_refusal_applies_nothing_and_writes_its_branch(make: MakeStore) -> None:
    """Of a refused local transaction only what its refused branch says is there: a row and events; its locks are free."""
    store = make()
    refused: Sequence[tuple[Operation, ...]] = (
        (add("a", -1), add("b", -11, low=0)),
        (add("a", -1), add("b", 1, high=10)),
        (add("a", -1), read("b", low=11)),
        (add("a", -1), read("b", high=9)),
        (add("a", -1), REFUSE),
        (REFUSE, add("a", -1)),
    )
    for tx, operations in enumerate(refused):
        same(store.transact(tx, action(tx, *operations)).status, "refused", f"what {operations} answers")
        again = store.transact(tx, action(tx, add("a")))
        same((again.status, again.value), ("duplicate", "refused"), "the same once more")
    same(store.values(), {"a": 10, "b": 10}, "values")
    same(_events(store), [(tx, "refused") for tx in range(len(refused))], "outbox rows")
    same(store.transact(99, action(99, add("a"), add("b"))).status, "done", "another one on the same keys")


@_law()
def a_refusal_without_a_branch_leaves_nothing(make: MakeStore) -> None:
    """If nothing is to be written on a refusal, the same key may be tried again."""
    store = make()
    refused = Transact("t", (add("a", -11, low=0),), (1, 0, "action"), Branch("done", (message(1, "done"),)), None)
    same(store.transact(1, refused).status, "refused", "what it answers")
    same(_events(store), [], "outbox rows")
    same(store.transact(1, action(1, add("a"))).status, "done", "the same key with a change that fits")


@_law()
def an_idempotency_row_comes_back_as_it_was(make: MakeStore) -> None:
    """A row can be written alone; its value is that of the first one, over a restart; keys that look alike are different."""
    store = make()
    rows = {("text",): "x", (7,): 7, ("7",): 1.5, ((1, 2),): ("a", (1, None)), (1, 2): True}
    for tx, (key, value) in enumerate(rows.items()):
        same(store.transact(tx, Transact("t", (), key, Branch(value))).status, "done", f"a row under {key}")
    store.close()
    store = make()
    for tx, (key, value) in enumerate(rows.items()):
        found = store.transact(100 + tx, Transact("t", (add("a"),), key, Branch("other")))
        same((found.status, found.value, type(found.value)), ("duplicate", value, type(value)), f"the row under {key}")
    same(store.values()["a"], 10, "the value that a duplicate would have changed")


@_law()
def a_duplicate_is_found_before_any_lock(make: MakeStore) -> None:
    """A local transaction that is done already is answered at once, also while somebody holds its keys."""
    store = make()
    store.transact(1, action(1, add("a")))
    store.prepare(2, prepare(2, add("a")))
    same(store.transact(1, action(1, add("a"))).status, "duplicate", "the same once more, under a lock")


@_law()
def outbox_rows_are_read_in_their_order_until_they_are_marked(make: MakeStore) -> None:
    """Rows of one local transaction come in its order, of one that begins later afterwards; what is marked does not come again."""
    store = make()
    for tx in range(6):
        store.transact(tx, Transact("t", (), None, Branch(None, (message(tx, "first"), message(tx, "second")))))
    expected = [(tx, kind) for tx in range(6) for kind in ("first", "second")]
    same(_events(store), expected, "rows")
    rows = store.read_outbox(5)
    same([(row[1].tx, row[1].kind) for row in rows], expected[:5], "the first five rows")
    store.mark_outbox([row[0] for row in rows[:4]])
    same(_events(store), expected[4:], "rows that are left")


# --- compensations --------------------------------------------------------------------------------------------------------------


@_law()
def a_compensation_runs_once_and_only_if_its_action_took_effect(make: MakeStore) -> None:
    """The value of the action's row says so, as the compensation wants it."""
    store = make()
    store.transact(1, action(1, add("a", -3)))
    same(store.transact(1, compensation(1, add("a", 3))).status, "done", "a compensation")
    same(store.transact(1, compensation(1, add("a", 3))).status, "duplicate", "the same once more")
    same(store.values()["a"], 10, "the value")
    store.transact(2, action(2, add("a", -11, low=0)))
    same(store.transact(2, compensation(2, add("a", 11))).status, "done", "the compensation of a refused action")
    same(store.values()["a"], 10, "the value")
    store.transact(3, Transact("t", (add("a", -3),), (3, "action"), Branch(("sold", 3))))
    for key, wanted, value in (("c", ("sold", 2), 7), ("d", ("sold", 3), 10)):
        store.transact(3, Transact("c", (add("a", 3),), (3, key), None, None, (3, "action"), wanted))
        same(store.values()["a"], value, f"the value after a compensation that undoes {wanted}")


@_law()
def a_compensation_that_comes_first_stops_the_late_action(make: MakeStore) -> None:
    """It leaves a tombstone under the action's key, which survives a restart."""
    store = make()
    store.transact(1, compensation(1, add("a", 3)))
    store.close()
    store = make()
    late = store.transact(1, action(1, add("a", -3)))
    same((late.status, late.value), ("duplicate", TOMBSTONE), "the late action")
    same(store.values()["a"], 10, "the value")


# --- branches -------------------------------------------------------------------------------------------------------------------


@_law()
def a_prepared_branch_is_durable_invisible_and_keeps_its_locks(make: MakeStore) -> None:
    """Before and after a restart: its record is there, nobody sees its changes or can change the same keys, and it can be committed."""
    store = make()
    same(store.prepare(1, prepare(1, add("a", -3, low=0))).status, "done", "the vote")
    for when in ("before", "after"):
        same(store.values()["a"], 10, f"the value {when} the restart")
        same(store.records(), {1: [("prepared", "hub")]}, f"records {when} the restart")
        same(store.transact(2, action(2, add("b"), add("a"))).status, "failed", f"a writer {when} the restart")
        same(store.transact(3, Transact("t", (read("a", 10, 10),))).status, "done", f"a reader {when} the restart")
        store.close()
        store = make()
    expect(store.commit(1).in_doubt >= 0, "there was no branch to commit after the restart")
    same((store.values()["a"], store.records()), (7, {}), "value and records after the commit")
    same(store.transact(2, action(2, add("a"))).status, "done", "the writer after the commit")


@_law()
def a_branch_ends_once(make: MakeStore) -> None:
    """A second end of a branch finds none, over a restart, and changes nothing."""
    store = make()
    store.prepare(1, prepare(1, add("a", -3)))
    expect(store.commit(1).in_doubt >= 0, "there was no branch to commit")
    expect(store.commit(1).in_doubt < 0, "it was committed twice")
    expect(store.rollback(1, forced=True).in_doubt < 0, "what was committed was rolled back")
    store.close()
    store = make()
    expect(store.commit(1).in_doubt < 0, "it was committed again after a restart")
    same(store.values()["a"], 7, "the value")


@_law()
def the_idempotency_row_of_a_branch_commits_with_it(make: MakeStore) -> None:
    """A branch that was rolled back can be prepared again, one that was committed is a duplicate that locks nothing."""
    store = make()
    store.prepare(1, prepare(1, add("a", -3)))
    store.rollback(1, forced=True)
    same(store.prepare(1, prepare(1, add("a", -3))).status, "done", "the vote after a rollback")
    store.commit(1)
    again = store.prepare(1, prepare(1, add("a", -3)))
    same((again.status, again.value), ("duplicate", "done"), "the vote after a commit")
    same(store.transact(2, action(2, add("a"))).status, "done", "another one on the same key")
    same(store.values()["a"], 8, "the value")


@_law()
def a_branch_that_is_rolled_back_leaves_nothing(make: MakeStore) -> None:
    """Forced or not, its changes are gone and its locks are free at once; if it was forced, a restart does not bring it back."""
    store = make()
    for tx, forced in ((1, False), (2, True)):
        store.prepare(tx, prepare(tx, add("a", -3), add("b", 1)))
        expect(store.rollback(tx, forced=forced).in_doubt >= 0, "there was no branch to roll back")
        same(
            store.transact(10 + tx, action(10 + tx, add("a"), add("b"))).status, "done", "another one on the same keys"
        )
        expect(store.rollback(tx, forced=forced).in_doubt < 0, "it was rolled back twice")
    store.close()
    store = make()
    expect(2 not in store.records(), "a branch that was rolled back for good is in doubt after a restart")
    same(store.values(), {"a": 12, "b": 12}, "values")


@_law()
def a_branch_that_is_refused_or_waits_in_vain_leaves_nothing(make: MakeStore) -> None:
    """Its vote is no, and no lock and no record is left of it."""
    store = make()
    same(
        store.prepare(1, prepare(1, add("b"), add("a", -11, low=0))).status, "refused", "a vote that the guard refuses"
    )
    store.prepare(2, prepare(2, add("b")))
    same(store.prepare(3, prepare(3, add("a"), add("b"))).status, "failed", "a vote that waits for a lock in vain")
    same(sorted(store.records()), [2], "transactions with records")
    same(store.transact(4, action(4, add("a"))).status, "done", "another one on the key that is free")


@_law()
def operations_of_an_open_branch_and_its_prepare_are_one_change(make: MakeStore) -> None:
    """They build on each other, are invisible until the commit, and are all there then."""
    store = make()
    same(store.execute(1, Execute("e", (add("a", -3),))).status, "done", "the first operation")
    same(store.execute(1, Execute("e", (add("a", -3, low=4, high=4),))).status, "done", "one that builds on it")
    same((store.values(), store.records()), ({"a": 10, "b": 10}, {}), "values and records meanwhile")
    same(store.prepare(1, prepare(1, add("b", 6))).status, "done", "the vote")
    store.commit(1)
    same(store.values(), {"a": 4, "b": 16}, "values")


@_law()
def an_open_branch_keeps_its_locks_and_dies_with_its_process(make: MakeStore) -> None:
    """Nothing of it is durable; a rollback, a refusal or a lock that it waits for in vain ends it, too."""
    store = make()
    store.execute(1, Execute("e", (add("a"),)))
    same(store.transact(2, action(2, add("a"))).status, "failed", "another one on its key")
    store.close()
    store = make()
    same(store.transact(2, action(2, add("a"))).status, "done", "another one after a restart")
    store.execute(3, Execute("e", (add("a"),)))
    store.rollback(3, forced=False)
    same(store.transact(4, action(4, add("a"))).status, "done", "another one after a rollback")
    store.execute(5, Execute("e", (add("a"),)))
    same(
        store.execute(5, Execute("e", (add("b", -11, low=0),))).status, "refused", "an operation that the guard refuses"
    )
    same(store.transact(6, action(6, add("a"))).status, "done", "another one after a refusal")
    store.execute(7, Execute("e", (add("a"),)))
    store.execute(8, Execute("e", (add("b"),)))
    same(store.execute(7, Execute("e", (add("b"),))).status, "failed", "an operation that waits in vain")
    same(store.transact(9, action(9, add("a"))).status, "done", "another one after that")


def _readers(make: MakeStore, meets: str) -> None:
    store = make()
    store.execute(1, Execute("e", (read("a"),)))
    same(store.transact(2, Transact("t", (add("a"),))).status, meets, "a writer of what an open branch has read")
    store.rollback(1, forced=False)
    store.prepare(3, prepare(3, read("a"), add("b")))
    for when in ("before", "after"):
        same(
            store.transact(4, Transact("t", (add("a"),))).status,
            meets,
            f"a writer of what a prepared branch has read, {when} a restart",
        )
        same(
            store.transact(5, Transact("t", (read("b"),))).status,
            meets,
            f"a reader of what a prepared branch has changed, {when} a restart",
        )
        store.close()
        store = make()
    store.commit(3)
    same(store.transact(6, Transact("t", (read("a"), add("b")))).status, "done", "both after its end")


@_law(serializable=True)
def reads_lock_under_serializable(make: MakeStore) -> None:
    """Keys that a branch has read are locked until it ends, over a restart if it is prepared; what it has changed cannot be read."""
    _readers(make, "failed")


@_law()
def reads_do_not_lock_under_read_committed(make: MakeStore) -> None:
    """A read waits for nobody and keeps nobody waiting."""
    _readers(make, "done")


# --- waiting --------------------------------------------------------------------------------------------------------------------


@_law(lock_timeout=PATIENCE)
def who_waits_goes_on_with_what_is_committed_then(make: MakeStore) -> None:
    """A local transaction that waits for a lock runs when it is free, on the values of that time; others are not held up."""
    store = make()
    store.prepare(1, prepare(1, add("a", -3)))
    job = _begin(store, 2, action(2, add("a", -3, low=5)))
    _sleep(store, 0.05)
    expect(job.is_alive(), "it did not wait for the lock of a prepared branch")
    same(store.transact(3, action(3, add("b"))).status, "done", "one on another key meanwhile")
    store.commit(1)
    same(job.result().status, "refused", "what it answers")


@_law(lock_timeout=PATIENCE)
def of_several_with_one_key_one_runs(make: MakeStore) -> None:
    """Those that come while the first is under way are duplicates of it."""
    store = make()
    store.prepare(1, prepare(1, add("a")))
    jobs = [_begin(store, tx, Transact("t", (add("a"),), ("same",), Branch("done"))) for tx in (2, 3, 4)]
    _sleep(store, 0.05)
    store.commit(1)
    same(sorted(job.result().status for job in jobs), ["done", "duplicate", "duplicate"], "what they answer")
    same(store.values()["a"], 12, "the value")


@_law(lock_timeout=PATIENCE)
def a_compensation_undoes_or_stops_its_action_that_is_under_way(make: MakeStore) -> None:
    """It waits for the action and undoes it, or comes first and stops it: in the end nothing is left of the action."""
    store = make()
    store.prepare(1, prepare(1, add("a")))
    late = _begin(store, 2, action(7, add("a", -5)))
    _sleep(store, 0.05)
    undo = _begin(store, 3, compensation(7, add("a", 5)))
    _sleep(store, 0.05)
    store.commit(1)
    both = (late.result().status, undo.result().status)
    expect(both in (("done", "done"), ("duplicate", "done")), f"action and compensation answer {both}")
    same(store.values()["a"], 11, "the value")


# --- the log --------------------------------------------------------------------------------------------------------------------


@_law()
def a_forced_record_takes_along_the_earlier_ones_of_its_transaction(make: MakeStore) -> None:
    """After a restart they are there by transaction, oldest first, and that of a prepared branch comes last."""
    store = make()
    store.append(1, ("begin", (1, "x")), forced=True)
    store.append(1, ("vote", "b", 1.5), forced=False)
    store.prepare(1, prepare(1, add("a")))
    store.append(2, ("other", None), forced=True)
    store.append(1, ("late",), forced=True)
    store.close()
    expected = {1: [("begin", (1, "x")), ("vote", "b", 1.5), ("late",), ("prepared", "hub")], 2: [("other", None)]}
    same(make().records(), expected, "records after a restart")


STORE_LAWS: Final = tuple(_LAWS)
"""All laws of a store."""
