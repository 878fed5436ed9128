"""One node in the checker: its local transactions, its crash points, what survives a crash."""

from __future__ import annotations

from typing import Any

import pytest

from simtx.checker.protocols.local import PAUSED, RUNS, Locals, Reaction
from simtx.checker.protocols.local_store import Output, Store
from simtx.protocols import (
    Answer,
    Append,
    Branch,
    Done,
    Execute,
    Message,
    Operation,
    Outbox,
    Plan,
    Prepare,
    Request,
    Rollback,
    Step,
    Transact,
    TwoPhaseCommit,
)

ADD = (Operation("x", "add", 1),)
SUBTRACT = (Operation("x", "add", -1),)


def transact(store: Store, effect: Transact, retained: int | None = None) -> tuple[str, Any]:
    done = store.transact(0, effect, [], retained)
    return done.status, done.value


def test_a_key_makes_a_local_transaction_idempotent() -> None:
    store = Store()
    effect = Transact("t", ADD, ("k",), Branch("done"), steps=(0,))
    assert transact(store, effect) == ("done", None)
    assert transact(store, effect) == ("duplicate", "done")
    assert store.values == {"x": 1}
    assert store.counts == {(0, 0): (1, 0)}


def test_a_refusal_writes_its_branch_or_nothing_at_all() -> None:
    store = Store()
    no = (*ADD, Operation("", "refuse"))
    assert transact(store, Transact("t", no, ("k",), Branch("done"))) == ("refused", None)
    assert not store.rows
    assert transact(store, Transact("t", no, ("k",), Branch("done"), Branch("refused"))) == ("refused", None)
    assert store.rows == {("k",): "refused"}
    assert not store.values


def test_a_guard_refuses() -> None:
    store = Store(values={"x": 1})
    assert transact(store, Transact("t", (Operation("x", "add", -2, low=0),)))[0] == "refused"
    assert transact(store, Transact("t", (Operation("x", "add", -1, low=0),)))[0] == "done"
    assert transact(store, Transact("t", (Operation("x", "read", low=1),)))[0] == "refused"


@pytest.mark.parametrize(("row", "value"), [("done", -1), ("refused", 0), (None, 0)])
def test_a_compensation_undoes_only_what_was_done_and_fences_what_was_not(row: str | None, value: float) -> None:
    store = Store(rows={} if row is None else {("a",): row})
    undo = Transact("c", SUBTRACT, ("c",), Branch("undone"), None, ("a",), "done", (0,), True)
    assert transact(store, undo) == ("done", None)
    assert store.values.get("x", 0) == value
    assert store.rows[("a",)] == (row or "tombstone")
    assert transact(store, Transact("a", ADD, ("a",), Branch("done"))) == ("duplicate", row or "tombstone")


def test_a_prepared_branch_holds_its_locks_and_counts_when_it_commits() -> None:
    store = Store()
    out: list[Output] = []
    assert store.branch(0, Prepare("p", ADD, ("prepared",), ("k",), (0,))).status == "done"
    assert store.branch(1, Prepare("p", ADD, ("prepared",))).status == "failed"
    assert store.transact(1, Transact("t", ADD), out).status == "failed"
    assert not store.values
    store.commit(0, out)
    assert store.values == {"x": 1}
    assert store.counts == {(0, 0): (1, 0)}
    assert store.branch(0, Prepare("p", ADD, ("prepared",), ("k",))).status == "duplicate"
    assert out == [Output("branch", (0, "committed"))]


def test_executed_work_joins_the_prepared_branch_and_dies_in_a_crash() -> None:
    store = Store()
    store.branch(0, Execute("e", ADD, (0,)))
    assert [survivor.open for survivor, _ in store.after_crash()] == [{}]
    store.branch(0, Execute("e", ADD, (1,)))
    store.branch(0, Prepare("p", (), ("prepared",)))
    store.commit(0, [])
    assert store.values == {"x": 2}
    assert store.counts == {(0, 0): (1, 0), (0, 1): (1, 0)}


def test_lazy_records_survive_as_any_prefix() -> None:
    store = Store()
    store.append(0, ("a",), forced=True)
    store.append(0, ("b",), forced=False)
    store.append(0, ("c",), forced=False)
    assert [survivor.records(0) for survivor, _ in store.after_crash()] == [
        [("a",)],
        [("a",), ("b",)],
        [("a",), ("b",), ("c",)],
    ]


def test_a_forced_record_takes_the_lazy_ones_of_its_transaction_along_and_nothing_else_does() -> None:
    """Records may be buffered apart from local transactions, and by transaction, as in the real stores."""
    store = Store()
    store.append(0, ("a",), forced=False)
    store.transact(0, Transact("t", ADD), [])
    store.append(1, ("x",), forced=False)
    store.append(1, ("y",), forced=True)
    assert [survivor.records(0) for survivor, _ in store.after_crash()] == [[], [("a",)]]
    assert [survivor.records(1) for survivor, _ in store.after_crash()] == [[("x",), ("y",)]] * 2
    store.append(0, ("b",), forced=True)
    assert [survivor.records(0) for survivor, _ in store.after_crash()] == [[("a",), ("b",)]]


def test_lazy_records_of_several_transactions_survive_independently() -> None:
    store = Store()
    for tx in (0, 1):
        store.append(tx, ("a",), forced=False)
    assert sorted(survivor.known() for survivor, _ in store.after_crash()) == [[], [0], [0, 1], [1]]


def test_marks_of_a_relay_may_be_lost_the_last_ones_first_whatever_the_service_forces() -> None:
    store = Store()
    for number in range(2):
        store.outbox[number] = Message("step-done", 0, "a", "b", number)
        store.marks.append((number, store.outbox.pop(number)))
    store.transact(1, Transact("t", ADD), [])
    assert [sorted(survivor.outbox) for survivor, _ in store.after_crash()] == [[], [1], [0, 1]]


def test_a_lazy_rollback_may_be_undone_by_a_crash() -> None:
    store = Store()
    store.branch(0, Prepare("p", ADD, ("prepared",)))
    store.roll_back(0, Rollback(), [])
    assert [sorted(survivor.prepared) for survivor, _ in store.after_crash()] == [[], [0]]
    store.branch(0, Prepare("p", ADD, ("prepared",)))
    store.roll_back(0, Rollback(forced=True), [])
    assert [sorted(survivor.prepared) for survivor, _ in store.after_crash()] == [[]]


def test_the_end_of_a_machine_is_lazy_too() -> None:
    store = Store()
    store.append(0, ("a",), forced=True)
    store.end(0)
    assert [survivor.known() for survivor, _ in store.after_crash()] == [[0], []]
    store.append(1, ("b",), forced=True)
    assert [survivor.known() for survivor, _ in store.after_crash()] == [[0, 1], [1]]
    store.append(0, ("c",), forced=True)  # it came again
    assert [survivor.records(0) for survivor, _ in store.after_crash()] == [[("c",)]]


def test_pruned_rows_no_longer_recognise_copies() -> None:
    store = Store()
    for number in range(3):
        store.transact(0, Transact("t", ADD, (number,)), [], 2)
    assert list(store.rows) == [(1,), (2,)]


def test_freezing_and_thawing_is_faithful() -> None:
    store = Store()
    store.append(0, ("a",), forced=False)
    store.branch(1, Prepare("p", ADD, ("prepared",), ("k",), (0,)))
    store.transact(2, Transact("t", (Operation("y", "set", 3),), ("r",), Branch("v", (Message("m", 2, "a", "b"),))), [])
    assert Store.thaw(store.freeze(ordered_rows=False)) == store


# --- programs ------------------------------------------------------------------------------------------------------------------


def plan(*services: str) -> Plan:
    return Plan(0, tuple(Step(i, f"s{i}", name, ADD, SUBTRACT) for i, name in enumerate(services)))


def request(locals_: Locals, node: str, the_plan: Plan) -> tuple[Reaction, ...]:
    return locals_.outcomes(locals_.first(node), ("event", 0, Request(0, the_plan)))


def test_a_crash_may_come_behind_every_effect_but_the_last() -> None:
    """Three messages and a timer: crashes behind the first, second and third effect leave that many messages."""
    locals_ = Locals(TwoPhaseCommit())
    outcomes = request(locals_, "coordinator", plan("a", "b", "c"))
    assert outcomes[0].crashed == RUNS
    assert [(one.crashed, len(one.outputs)) for one in outcomes] == [(RUNS, 3), (1, 1), (2, 2), (3, 3)]
    assert all(not locals_.up(one.local) for one in outcomes[1:])


def test_nothing_behind_a_forced_record_leaves_before_it_is_durable() -> None:
    locals_ = Locals(TwoPhaseCommit())
    number = request(locals_, "coordinator", plan("a"))[0].local
    yes = ("event", 0, Message("yes", 0, "a", "coordinator"))
    for outcome in locals_.outcomes(number, yes):
        told = [one for one in outcome.outputs if one.kind in ("answer", "send")]
        effects = [effect for effect, _ in outcome.program]
        assert isinstance(effects[0], Append)
        assert not told or outcome.crashed != 0
        if told and outcome.crashed > 0:
            assert locals_.store(outcome.local).records(0) == [("commit", "a")]
    assert any(isinstance(effect, Answer) for effect, _ in outcome.program)


def test_a_program_may_stop_where_its_relay_can_tell_and_a_crash_is_to_come() -> None:
    """The row is committed, so the relay may publish it; the client is not answered."""
    locals_ = Locals(Outbox(), several=True)
    outcomes = request(locals_, "a", plan("a", "b"))
    paused = [one for one in outcomes if one.crashed == PAUSED]
    assert len(paused) == 1
    assert locals_.running(paused[0].local) == (0,)
    assert len(locals_.store(paused[0].local).outbox) == 1
    assert not any(output.kind == "answer" for output in paused[0].outputs)


def test_where_nobody_else_could_tell_programs_do_not_stop() -> None:
    assert all(one.crashed != PAUSED for one in request(Locals(Outbox()), "a", plan("a", "b")))
    alone = request(Locals(TwoPhaseCommit(), several=True), "coordinator", plan("a"))
    assert [one.crashed for one in alone] == [RUNS, 1], "behind its only message nothing leaves or is stored any more"
    three = request(Locals(TwoPhaseCommit(), several=True), "coordinator", plan("a", "b", "c"))
    assert [len(one.outputs) for one in three if one.crashed == PAUSED] == [1, 2]


def test_a_store_operation_may_fail() -> None:
    locals_ = Locals(Outbox())
    first = locals_.first("a")
    event = ("event", 0, Request(0, plan("a", "b")))
    (failed,) = (one for one in locals_.outcomes(first, event, 0) if one.crashed == RUNS)
    assert [status for _, status in failed.program] == ["failed", ""]
    assert not locals_.store(failed.local).outbox
    assert locals_.outcomes(first, event, 1) == ()


def test_what_a_machine_raises_is_a_finding() -> None:
    locals_ = Locals(TwoPhaseCommit())
    (outcome,) = locals_.outcomes(locals_.first("coordinator"), ("event", 0, Request(0, None)))
    assert outcome.outputs[0].kind == "fault"
    assert "carries no plan" in outcome.outputs[0].value


def test_snapshots_do_not_change_while_the_machine_goes_on() -> None:
    """The frozen machine of each crash point is the one of that point."""
    locals_ = Locals(TwoPhaseCommit())
    number = request(locals_, "coordinator", plan("a"))[0].local
    locals_.outcomes(number, ("event", 0, Message("yes", 0, "a", "coordinator")))
    assert locals_.machines.numbers
    for (_, key), number in locals_.machines.numbers.items():
        assert locals_.machines.values[number].key() == key


def test_without_a_crash_to_come_the_log_does_not_tell_states_apart() -> None:
    locals_ = Locals(TwoPhaseCommit())
    number = request(locals_, "coordinator", plan("a"))[0].local
    after = locals_.outcomes(number, ("event", 0, Message("yes", 0, "a", "coordinator")))[0].local
    assert locals_.store(after).log
    calm = locals_.calm(after)
    assert not locals_.store(calm).log
    assert locals_.busy(calm)[0][1].state == "committing"


READ = (Operation("x", "read"),)


@pytest.mark.parametrize("kind", ["prepared", "open"])
@pytest.mark.parametrize("isolation", ["serializable", "read-committed"])
def test_what_a_branch_has_read_is_locked_under_serializable_until_its_end(kind: str, isolation: str) -> None:
    """As in the simulator and in PostgreSQL: nobody writes what a prepared branch has read, a restart in between or not."""
    serializable = isolation == "serializable"
    store = Store()
    store.branch(1, Execute("e", READ), serializable=serializable)
    if kind == "prepared":
        store.branch(1, Prepare("p", (Operation("y", "add", 1),), ("prepared",)), serializable=serializable)
        ((store, _),) = store.after_crash()
    write = Transact("t", ADD)
    assert store.transact(2, write, [], serializable=serializable).status == ("failed" if serializable else "done")
    store.commit(1, [])
    store.open.pop(1, None)
    assert store.transact(2, write, [], serializable=serializable).status == "done"


def test_a_read_waits_for_a_writer_under_serializable_alone() -> None:
    store = Store(values={"x": 5})
    store.branch(1, Prepare("p", ADD, ("prepared",)))
    guarded = Transact("t", (Operation("x", "read", low=5, high=5),))  # what is committed, and not what is prepared
    assert store.transact(2, guarded, []).status == "failed"
    assert store.transact(2, guarded, [], serializable=False).status == "done"


def test_a_duplicate_is_found_before_any_lock() -> None:
    """The contract's order, and what the simulated and the real stores do: a row that is committed answers at once."""
    store = Store()
    done = Transact("t", ADD, ("k",), Branch("done"))
    store.transact(1, done, [])
    store.branch(2, Prepare("p", ADD, ("prepared",)))
    assert store.transact(1, done, []) == Done("t", "duplicate", "done")
    assert store.branch(3, Prepare("p", ADD, ("prepared",), ("k",))) == Done("p", "duplicate", "done")
