"""Outbox rows are numbered when they are inserted and appear when they are committed: every interleaving of two writers and a relay."""

from __future__ import annotations

from typing import Any

import pytest

from simtx.checker import verify
from simtx.checker.protocols.local_store import Output, Store
from simtx.protocols import Branch, Execute, Message, Operation, Outbox, Prepare, ReadOutbox, Rollback, Transact
from simtx.protocols.outbox import OutboxService
from simtx.protocols.relay import Poller, Relay
from tests.cursor import CursorOutbox

READERS = ("marks", "horizon", "lock")
QUIET: dict[str, Any] = {"crashes": 0, "duplicates": 0, "timeouts": 0, "refusals": False}


def writes(tx: int, rows: int = 1, *, serial: bool = False) -> Transact:
    messages = tuple(Message("step-done", tx, "a", "b", number) for number in range(rows))
    return Transact("t", (), (tx,), Branch("done", messages), serial_outbox=serial)


def seen(store: Store, *, below_horizon: bool = False) -> list[int]:
    return [row[0] for row in store.read_outbox(ReadOutbox("rows", 10, below_horizon))]


# --- the store --------------------------------------------------------------------------------------------------------------------


def test_a_row_appears_under_the_number_that_it_was_inserted_with() -> None:
    store = Store()
    assert store.begin(0, writes(0, 2))
    store.transact(1, writes(1), [])
    assert seen(store) == [2]
    assert seen(store, below_horizon=True) == []
    store.transact(0, writes(0, 2), [])
    assert seen(store) == seen(store, below_horizon=True) == [0, 1, 2]


def test_a_crash_leaves_a_gap_and_frees_the_horizon() -> None:
    store = Store()
    store.begin(0, writes(0))
    store.transact(1, writes(1), [])
    (after, _), *_ = store.after_crash()
    assert seen(after) == seen(after, below_horizon=True) == [1]
    after.transact(2, writes(2), [])
    assert seen(after) == [1, 2]


def test_a_prepared_branch_stops_the_horizon_also_through_a_crash_until_it_ends() -> None:
    store = Store()
    store.transact(0, writes(0), [])
    store.branch(7, Execute("e", (Operation("x", "add", 1),), (0,)))
    store.transact(1, writes(1), [])
    store.branch(7, Prepare("p", (), ("prepared",)))
    assert seen(store, below_horizon=True) == [0]  # what was there before the branch began is not held up
    (after, _), *_ = store.after_crash()
    assert seen(after, below_horizon=True) == [0]
    outputs: list[Output] = []
    after.roll_back(7, Rollback(forced=True), outputs)
    assert seen(after, below_horizon=True) == [0, 1]


def test_under_the_lock_nobody_else_numbers_rows() -> None:
    store = Store()
    assert store.begin(0, writes(0, serial=True))
    assert not store.begin(1, writes(1, serial=True))
    assert store.transact(1, writes(1, serial=True), []).status == "failed"
    assert store.transact(0, writes(0, serial=True), []).status == "done"
    assert store.transact(1, writes(1, serial=True), []).status == "done"
    assert seen(store) == [0, 1]


# --- strategies -------------------------------------------------------------------------------------------------------------------


def test_a_relay_that_looks_behind_the_highest_number_is_refuted_with_the_story() -> None:
    """In any scope: two writers that commit the other way round are explored beside."""
    verdict = verify(CursorOutbox(), duplicates=0, timeouts=0, refusals=False)
    assert not verdict.ok
    assert {"no-loss", "atomicity"} <= set(verdict.violations)
    story = verdict.violations["no-loss"]
    assert story.scope.overtakes == 1
    assert "found beside, in: participants 2, messages 2" in verdict.text
    assert story.steps[1:5] == (
        "the request of transaction 0 reaches s1: transact 'action' of step 0: under way, outbox row 0 not yet visible",
        "the request of transaction 1 reaches s1: transact 'action' of step 0: done, answer accepted",
        "timer 'poll' fires on s1: read the outbox: row 1, publish step-done (step 1) for s2",
        "the broker stores step-done (step 1) of transaction 1 from s1 to s2",
    )
    assert (
        "the local transaction of transaction 0 that was under way on s1 goes on: transact 'action' of step 0: done, answer accepted"
        in story.steps
    )
    assert story.replay().violated == ("atomicity", "non-blocking", "no-loss")
    assert verify(CursorOutbox(), **QUIET, participants=1).violations == {}  # no events, nothing to lose


@pytest.mark.parametrize(
    ("reader", "faults"),
    [
        *((reader, {"overtakes": 2}) for reader in READERS),
        ("horizon", {"crashes": 1, "overtakes": 1}),
        pytest.param("marks", {"crashes": 1, "overtakes": 2}, marks=pytest.mark.heavy),
        pytest.param("horizon", {"crashes": 1, "overtakes": 2}, marks=pytest.mark.heavy),
        pytest.param("lock", {"crashes": 1, "overtakes": 2}, marks=pytest.mark.heavy),
    ],
)
def test_every_reader_of_ours_keeps_all_properties_in_any_order_of_commits(reader: str, faults: dict[str, int]) -> None:
    verdict = verify(f"outbox:reader={reader}", **{**QUIET, **faults}, messages=2)
    assert verdict.complete
    assert not verdict.violations, verdict.text
    assert verdict.goals["commit"]


@pytest.mark.heavy
@pytest.mark.parametrize("reader", READERS[1:])
def test_every_reader_of_ours_holds_in_the_default_scope(reader: str) -> None:
    verdict = verify(f"outbox:reader={reader}")
    assert verdict.ok, verdict.text


def test_the_lock_reader_needs_the_lock() -> None:
    """Defect: the relay trusts the numbers, and the writers do not lock the outbox."""

    class Unlocked(Outbox):
        def machine(self, node: str, tx: int) -> OutboxService:
            return OutboxService(node, tx, self.policies, self.closing)  # type: ignore[arg-type]

    assert "no-loss" in verify(Unlocked(reader="lock"), **QUIET, messages=2, overtakes=1).violations


def test_the_horizon_reader_needs_the_horizon() -> None:
    """Defect: the relay keeps its place, and reads what is above the horizon, too."""

    class HastyPoller(Poller):
        __slots__ = ()

        def read(self) -> ReadOutbox:
            return ReadOutbox("rows", self.batch)

    class Hasty(Relay):
        __slots__ = ()
        poller_type = HastyPoller

    class HastyOutbox(Outbox):
        def daemons(self, node: str) -> tuple[Relay, ...]:
            return (Hasty(node, self.policies, "horizon"),)  # type: ignore[arg-type]

    assert "no-loss" in verify(HastyOutbox(reader="horizon"), **QUIET, messages=2, overtakes=1).violations
