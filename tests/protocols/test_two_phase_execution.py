"""Two-phase commit with an execution phase before the vote; what it shares with the default is in test_two_phase_commit.py."""

from __future__ import annotations

from typing import Any

import pytest

from simtx.protocols.contract import (
    Answer,
    CancelTimer,
    Done,
    Effect,
    Execute,
    Forget,
    Message,
    Operation,
    Plan,
    Prepare,
    Request,
    Rollback,
    SetTimer,
    Step,
    Suspect,
    Timer,
)
from simtx.protocols.policies import Policies
from simtx.protocols.two_phase_commit import ExecutingCoordinator, ExecutingParticipant, TwoPhaseCommit
from tests.protocols.helpers import World

ADD = (Operation("k", "add", 1),)
READ = (Operation("k", "read"),)
REFUSE = (Operation("k", "refuse"),)
POLICIES = Policies(attempts=3)
BEFORE = TwoPhaseCommit(work="before", policies=POLICIES)


def to_coordinator(kind: str, sender: str, body: Any = None) -> Message:
    return Message(kind, 1, sender, "coordinator", body)


def command(kind: str, to: str, body: Any = None) -> Message:
    return Message(kind, 1, "coordinator", to, body)


def sent(effects: list[Effect]) -> list[str]:
    return [f"{one.kind} {one.to}" for one in effects if isinstance(one, Message)]


def begun(*after: tuple[int, ...], services: tuple[str, ...] = ()) -> tuple[ExecutingCoordinator, list[Effect]]:
    """A coordinator with one step per argument, each after the steps given."""
    names = services or tuple(f"s{index}" for index in range(len(after)))
    steps = tuple(Step(index, f"step {index}", names[index], ADD, after=before) for index, before in enumerate(after))
    coordinator = ExecutingCoordinator("coordinator", 1, POLICIES)
    return coordinator, coordinator.handle(Request(1, Plan(1, steps)))


def active(*indexes: int, operations: tuple[Operation, ...] = ADD) -> ExecutingParticipant:
    """A participant that has executed these steps, in this order."""
    participant = ExecutingParticipant("s0", 1, POLICIES)
    for index in indexes:
        participant.handle(command("execute", "s0", (index, operations)))
        participant.handle(Done("worked", "done"))
    assert participant.state == "active"
    return participant


# --- coordinator ------------------------------------------------------------------------------------------------------------------


def test_execution_follows_the_graph_of_the_steps() -> None:
    """A diamond: the middle steps run in parallel, the last waits for both; a copy of an answer starts nothing."""
    coordinator, effects = begun((), (0,), (0,), (1, 2))

    def executed(index: int) -> list[str]:
        return sent(coordinator.handle(to_coordinator("executed", f"s{index}", index)))

    assert sent(effects) == ["execute s0"]
    assert executed(0) == ["execute s1", "execute s2"]
    assert executed(2) == []
    assert executed(2) == []
    assert executed(1) == ["execute s3"]
    assert executed(3) == ["prepare s0", "prepare s1", "prepare s2", "prepare s3"]


def test_the_vote_begins_when_the_last_step_is_executed() -> None:
    """PREPARE names the steps that it is about; the timer of the execution makes way for that of the vote."""
    coordinator, _ = begun((), (), (), services=("s0", "s1", "s0"))
    coordinator.handle(to_coordinator("executed", "s0", 2))
    coordinator.handle(to_coordinator("executed", "s1", 1))
    assert coordinator.handle(to_coordinator("executed", "s0", 0)) == [
        CancelTimer("execution"),
        command("prepare", "s0", (0, 2)),
        command("prepare", "s1", (1,)),
        SetTimer("vote", POLICIES.vote_timeout),
    ]
    assert coordinator.state == "voting"


def test_a_refusal_aborts_everybody_who_may_have_begun_but_not_the_refuser() -> None:
    """Those that were not asked to execute anything have nothing to undo."""
    coordinator, _ = begun((), (), (1,))
    effects = coordinator.handle(to_coordinator("refused", "s1", (1, "refused")))
    assert sent(effects) == ["abort s0"]
    assert Answer("aborted", "refused by s1") in effects
    assert effects[-1] == Forget()


def test_a_refusal_of_a_step_that_was_executed_is_a_late_copy() -> None:
    """A copy of EXECUTE may fail where the first succeeded; PREPARE will show whether the work is still there."""
    coordinator, _ = begun((), ())
    coordinator.handle(to_coordinator("executed", "s0", 0))
    assert coordinator.handle(to_coordinator("refused", "s0", (0, "failed"))) == []
    assert coordinator.state == "executing"


def test_what_does_not_answer_is_asked_again_and_then_given_up() -> None:
    coordinator, _ = begun((), ())
    coordinator.handle(to_coordinator("executed", "s0", 0))
    for attempt in (1, 2):
        effects = coordinator.handle(Timer("execution"))
        assert effects == [
            Suspect("s1"),
            command("execute", "s1", (1, ADD)),
            SetTimer("execution", POLICIES.call_timeout, POLICIES.backoff.bound(attempt)),
        ]
    effects = coordinator.handle(Timer("execution"))
    assert effects[0] == Suspect("s1")
    assert sent(effects) == ["abort s0", "abort s1"]
    assert Answer("aborted", "no execution by s1") in effects


def test_work_for_a_transaction_that_the_coordinator_does_not_know_is_aborted() -> None:
    coordinator = ExecutingCoordinator("coordinator", 1, POLICIES)
    assert coordinator.handle(to_coordinator("executed", "s0", 0)) == [command("abort", "s0"), Forget()]


# --- participant ------------------------------------------------------------------------------------------------------------------


def test_a_step_is_executed_once_however_often_it_is_asked_for() -> None:
    participant = active(0)
    assert participant.handle(command("execute", "s0", (0, ADD))) == [to_coordinator("executed", "s0", 0)]
    assert participant.handle(command("execute", "s0", (1, ADD))) == [CancelTimer("idle"), Execute("worked", ADD, (1,))]


def test_locks_are_kept_between_the_steps_but_not_for_ever() -> None:
    """Until it is prepared, a participant is free to abort."""
    participant = ExecutingParticipant("s0", 1, POLICIES)
    participant.handle(command("execute", "s0", (0, ADD)))
    effects = participant.handle(Done("worked", "done"))
    assert effects == [to_coordinator("executed", "s0", 0), SetTimer("idle", POLICIES.idle_timeout)]
    assert participant.handle(Timer("idle")) == [Rollback(), Forget()]


@pytest.mark.parametrize("status", ["refused", "failed"])
def test_a_step_that_cannot_be_executed_is_refused_and_nothing_is_left(status: Any) -> None:
    participant = active(0)
    participant.handle(command("execute", "s0", (1, ADD)))
    assert participant.handle(Done("worked", status)) == [to_coordinator("refused", "s0", (1, status)), Forget()]


@pytest.mark.parametrize("executed", [(0,), (1,), (0, 1, 2)])
def test_a_participant_that_lacks_a_part_of_the_work_votes_no(executed: tuple[int, ...]) -> None:
    """It crashed, and got only a part again through a repeated EXECUTE."""
    effects = active(*executed).handle(command("prepare", "s0", (0, 2)))
    assert effects == [Rollback(), to_coordinator("no", "s0", "work lost"), Forget()]


def test_a_participant_that_has_lost_all_work_votes_no() -> None:
    effects = ExecutingParticipant("s0", 1, POLICIES).handle(command("prepare", "s0", (0,)))
    assert effects == [to_coordinator("no", "s0", "work lost"), Forget()]


def test_the_order_in_which_parallel_steps_were_executed_does_not_matter() -> None:
    effects = active(2, 0).handle(command("prepare", "s0", (0, 2)))
    assert effects == [CancelTimer("idle"), Prepare("prepared", (), ("prepared", "coordinator"), (1, "branch"))]


def test_a_participant_that_only_read_releases_its_locks_and_drops_out() -> None:
    effects = active(0, operations=READ).handle(command("prepare", "s0", (0,)))
    assert effects == [Rollback(), to_coordinator("read", "s0"), Forget()]


def test_a_branch_that_a_late_copy_has_reopened_is_not_what_a_commit_means() -> None:
    """The real branch was committed before, so its COMMIT is acknowledged; the new one has to go, or its locks stay."""
    assert active(0).handle(command("commit", "s0")) == [Rollback(), to_coordinator("ack", "s0"), Forget()]


@pytest.mark.parametrize(("readers", "updaters"), [(1, 1), (3, 2), (2, 0)])
def test_a_read_only_participant_costs_its_execution_and_two_messages(readers: int, updaters: int) -> None:
    branches = [READ] * readers + [ADD] * updaters
    plan = Plan(1, tuple(Step(i, f"step {i}", f"s{i}", operations) for i, operations in enumerate(branches)))
    world = World(BEFORE, plan).run()
    assert world.decided == {1: ["committed"]}
    assert world.sent.total() == 4 * readers + 6 * updaters
    assert world.forced.total() == (2 * updaters + 1 if updaters else 0)
    assert world.left_over() == []


def test_a_refused_execution_writes_nothing_by_force() -> None:
    """The first step runs, the second is refused: two messages each, and one ABORT."""
    steps = (
        Step(0, "first", "s0", ADD),
        Step(1, "second", "s1", REFUSE, after=(0,)),
        Step(2, "third", "s2", ADD, after=(1,)),
    )
    world = World(BEFORE, Plan(1, steps)).run()
    assert world.answers == {1: ["aborted"]}
    assert world.sent == {"execute": 2, "executed": 1, "refused": 1, "abort": 1}
    assert world.forced.total() == 0
    assert world.left_over() == []
