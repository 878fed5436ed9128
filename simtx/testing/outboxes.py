"""Laws of an outbox: when a row can be seen, and in which order; and the check of them on a store of your own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, Protocol

from simtx.protocols import Branch, Message, Operation, OutboxRow, Prepare, Transact
from simtx.testing.laws import Law, expect, judge, law_in, same, select

__all__ = ["OUTBOX_LAWS", "MakeStore", "OutboxUnderTest", "Threaded", "Underway", "check_outbox"]

PATIENCE: Final = 20.0
"""Seconds for which a local transaction waits for a row lock, where no law wants it otherwise."""

_HOLDER: Final = 9  # the transaction whose branch holds the row that others wait for


class Underway(Protocol):
    """A local transaction that was begun."""

    def is_alive(self) -> bool:
        """Return whether it has not ended."""

    def result(self) -> Any:
        """Wait for its end; what has come out of it, with a `status` as in `simtx.protocols.Done`."""


class OutboxUnderTest(Protocol):
    """A store that is its own relay."""

    def begin(self, tx: int, effect: Transact) -> Underway:
        """Have a worker begin on a local transaction, which numbers its outbox rows if that is when it does; do not wait for its end."""

    def transact(self, tx: int, effect: Transact) -> Any:
        """Run a local transaction; what has come out of it, with a `status`."""

    def prepare(self, tx: int, effect: Prepare) -> Any:
        """Prepare a branch."""

    def rollback(self, tx: int, *, forced: bool) -> Any:
        """Roll a branch back."""

    def read_outbox(self, limit: int, *, below_horizon: bool = False) -> Sequence[OutboxRow]:
        """Read rows, as `simtx.protocols.ReadOutbox` says."""

    def mark_outbox(self, ids: Sequence[int]) -> None:
        """Mark rows, as `simtx.protocols.MarkOutbox` says."""


MakeStore = Callable[..., OutboxUnderTest]
"""Opens a new store with these keyword arguments: ``lock_timeout`` (seconds)."""


class Threaded:
    """A store whose calls block, as those of `simtx.reference.stores` do, as one on which local transactions can be begun.

    Args:
        store: The store; `reserve` numbers the rows of a local transaction that begins, and `transact` takes these numbers.
    """

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def begin(self, tx: int, effect: Transact) -> Underway:
        """Number the rows here and now, and do the rest in a thread."""
        rows = self._store.reserve(effect)
        return Job(lambda: self._store.transact(tx, effect, rows))


class Job(threading.Thread):
    """A local transaction under way in a thread.

    Args:
        call: Runs it; what it raises is raised by `result`.
    """

    def __init__(self, call: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._call = call
        self._result: Any = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        """Run it; `start` has this called."""
        try:
            self._result = self._call()
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            self._error = error

    def result(self) -> Any:
        """Wait for its end; what has come out of it."""
        self.join(2 * PATIENCE)
        expect(not self.is_alive(), "a local transaction has not ended")
        if self._error is not None:
            raise self._error
        return self._result


# --- what the laws are made of ------------------------------------------------------------------------------------------------


def message(tx: int, text: str = "event") -> Message:
    """An event of a transaction."""
    return Message(text, tx, "stock", "orders", ("body", 1))


def action(tx: int, key: str, *texts: str, guard: bool = False, serial: bool = False) -> Transact:
    """A local transaction that adds 1 to a key and writes events; with a guard it is refused, and says so in an event."""
    operations = (Operation(key, "add", 1, None, 0 if guard else None),)
    accepted = Branch("done", tuple(message(tx, text) for text in texts or ("event",)))
    refused = Branch("refused", (message(tx, "refused"),))
    return Transact("t", operations, (tx, 0, "action"), accepted, refused, steps=(0,), serial_outbox=serial)


def _hold(store: OutboxUnderTest) -> None:
    """Have a prepared branch hold the key ``held``."""
    store.prepare(_HOLDER, Prepare("p", (Operation("held", "add", 1),), ("prepared", "hub"), (_HOLDER, "branch"), (0,)))


def _let_go(store: OutboxUnderTest) -> None:
    store.rollback(_HOLDER, forced=True)


def _seen(store: OutboxUnderTest, *, below_horizon: bool = False) -> list[int]:
    return [row[1].tx for row in store.read_outbox(100, below_horizon=below_horizon)]


class _Reader:
    """Reads what is behind the last place that it has read, as the relays ``horizon`` and ``lock`` do."""

    def __init__(self, store: OutboxUnderTest, *, below_horizon: bool) -> None:
        self._store = store
        self._below = below_horizon
        self._place = (-1, -1)
        self.seen: list[int] = []

    def read(self) -> None:
        for row in self._store.read_outbox(100, below_horizon=self._below):
            place = (row[2] if len(row) > 2 else 0, row[0])
            if place > self._place:
                self._place = place
                self.seen.append(row[1].tx)


_Body = Callable[[OutboxUnderTest], None]
_LAWS: list[Law] = []


def _law(*, lock_timeout: float = PATIENCE) -> Callable[[_Body], _Body]:
    return law_in(_LAWS, {"lock_timeout": lock_timeout})


# --- the laws -------------------------------------------------------------------------------------------------------------------


@_law()
def rows_of_one_local_transaction_ascend(store: OutboxUnderTest) -> None:
    """The rows of a local transaction appear together, their numbers in the order in which it wrote them."""
    store.transact(1, action(1, "a", "first", "second", "third"))
    rows = store.read_outbox(100)
    same([row[1].kind for row in rows], ["first", "second", "third"], "events")
    same(sorted(row[0] for row in rows), [row[0] for row in rows], "their numbers")


@_law()
def who_begins_after_a_commit_has_higher_numbers(store: OutboxUnderTest) -> None:
    """A local transaction that begins when another one has committed has higher numbers."""
    for tx in range(5):
        store.transact(tx, action(tx, "a"))
    same(_seen(store), [0, 1, 2, 3, 4], "events by number")


@_law()
def a_row_under_way_is_invisible(store: OutboxUnderTest) -> None:
    """A row can be seen when its local transaction has committed, and not before."""
    _hold(store)
    begun = store.begin(1, action(1, "held"))
    store.transact(2, action(2, "free"))
    same(_seen(store), [2], "events while transaction 1 waits for a lock")
    _let_go(store)
    same(begun.result().status, "done", "transaction 1")
    same(sorted(_seen(store)), [1, 2], "events afterwards")


@_law(lock_timeout=0.05)
def what_fails_leaves_no_row(store: OutboxUnderTest) -> None:
    """A local transaction that fails leaves no row, and one that is refused those of its refusal."""
    _hold(store)
    same(store.transact(1, action(1, "held")).status, "failed", "a wait in vain")
    same(store.transact(2, action(2, "free", guard=True)).status, "refused", "a refusal")
    same([row[1].kind for row in store.read_outbox(100)], ["refused"], "events")
    _let_go(store)


@_law()
def a_marked_row_is_not_read_again(store: OutboxUnderTest) -> None:
    """A relay that has marked a row does not read it again, and reads all others."""
    for tx in range(4):
        store.transact(tx, action(tx, "a"))
    rows = store.read_outbox(100)
    store.mark_outbox([rows[1][0]])
    same(_seen(store), [0, 2, 3], "events that are left")
    same(_seen(store, below_horizon=True), [0, 2, 3], "events that are left below the horizon")


@_law()
def below_the_horizon_nothing_appears_before_what_was_read(store: OutboxUnderTest) -> None:
    """A reader below the horizon that keeps its place misses nothing, in whatever order local transactions commit."""
    reader = _Reader(store, below_horizon=True)
    _hold(store)
    begun = store.begin(1, action(1, "held"))
    store.transact(2, action(2, "free"))
    reader.read()
    _let_go(store)
    begun.result()
    reader.read()
    store.transact(3, action(3, "free"))
    reader.read()
    same(sorted(reader.seen), [1, 2, 3], "what it has read")


@_law()
def under_the_lock_numbers_are_in_the_order_of_commits(store: OutboxUnderTest) -> None:
    """A reader that looks behind the highest number misses nothing where writers lock the outbox."""
    reader = _Reader(store, below_horizon=False)
    _hold(store)
    begun = store.begin(1, action(1, "held", serial=True))
    store.transact(2, action(2, "free", serial=True))
    reader.read()
    _let_go(store)
    begun.result()
    reader.read()
    same(reader.seen, [2, 1], "what it has read")


OUTBOX_LAWS: Final = tuple(_LAWS)
"""All laws of an outbox."""


def check_outbox(make_store: MakeStore, *, only: Collection[str] | str | None = None) -> None:
    """Check the laws of an outbox on new stores.

    Args:
        make_store: Opens a new store for each law; `Threaded` makes one of a store whose calls block.
        only: Names of the laws to check; None: all.

    Raises:
        LawBroken: A law is broken; the text says which, and what was seen.
        ScenarioError: There is no law of a name in `only`.
    """
    judge(select(OUTBOX_LAWS, only), lambda law: law.check(make_store(**law.options)))
