"""The orchestrated saga without faults: exact costs, order of the steps, turning back, stuck, and the transition tables."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from simtx.errors import PeerFault, ScenarioError
from simtx.protocols.contract import (
    Alert,
    Answer,
    Append,
    CancelTimer,
    Decided,
    Done,
    Forget,
    Message,
    Operation,
    Plan,
    Request,
    SetTimer,
    Step,
    Strategy,
    Suspect,
    Transact,
)
from simtx.protocols.diagrams import to_mermaid
from simtx.protocols.names import ORCHESTRATOR as HUB
from simtx.protocols.policies import Backoff, Policies
from simtx.protocols.saga import PAUSED, RESTING, RUNNING, UNDOING, Orchestrator, Saga
from simtx.protocols.saga_participant import Participant
from simtx.protocols.saga_shape import shape_of
from tests.protocols.helpers import Witness, World
from tests.protocols.saga_scripts import DIAMOND, FEW, PIVOTED, Script, plan_of, sequence, wave

# --- exact costs --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", range(1, 9))
def test_committed_costs_2n_messages_and_n_plus_n_plus_1_forced_writes(n: int) -> None:
    world = World(Saga(), sequence(n)).run()
    assert world.answers == {1: ["committed"]}
    assert world.decided == {1: ["committed"]}
    assert sum(world.sent.values()) == 2 * n
    assert world.forced[HUB] == n + 1
    assert sum(world.forced.values()) - world.forced[HUB] == n
    assert not world.lazy
    assert not world.left_over()
    assert set(world.net(1).values()) == {1}


@pytest.mark.parametrize("n", range(1, 9))
def test_committed_latency_is_w_plus_n_times_2d_plus_2w(n: int) -> None:
    """A sequential saga is one causal chain: what was sent and forced before the answer is its latency in d and w."""
    script = Script(sequence(n))
    messages, forced = 0, 0
    effects = script.play("begin")
    for index in range(n):
        for one in effects:
            messages += isinstance(one, Message)
            forced += isinstance(one, Append) and one.forced
        messages, forced = messages + 1, forced + 1  # the participant's local transaction and its reply
        effects = script.play(f"done {index}")
    before_answer = effects[: effects.index(Answer("committed"))]
    forced += sum(isinstance(one, Append) and one.forced for one in before_answer)
    assert (messages, forced) == (2 * n, 1 + 2 * n)


@pytest.mark.parametrize("n", range(1, 9))
def test_refused_at_k_costs_4k_minus_2_messages_and_4k_minus_2_forced_writes_plus_the_stored_refusal(n: int) -> None:
    for k in range(1, n + 1):
        world = World(Saga(), sequence(n, refused=k - 1)).run()
        assert world.answers == {1: ["aborted"]}
        assert world.decided == {1: ["aborted"]}
        assert sum(world.sent.values()) == 4 * k - 2
        assert sum(world.forced.values()) == 4 * k - 2 + 1
        assert world.forced[f"s{k - 1}"] == 1, "the stored refusal"
        assert not world.lazy
        assert not world.left_over()
        assert set(world.net(1).values()) == {0}


@pytest.mark.parametrize("refused", [None, 0, 2])
def test_lazy_completion_saves_exactly_the_last_forced_write(refused: int | None) -> None:
    forced = World(Saga(), sequence(3, refused)).run()
    lazy = World(Saga(completion="lazy"), sequence(3, refused)).run()
    assert lazy.answers == forced.answers
    assert lazy.sent == forced.sent
    assert lazy.forced[HUB] == forced.forced[HUB] - 1
    assert lazy.lazy[HUB] == 1


# --- the way forward ----------------------------------------------------------------------------------------------------------


def test_nothing_leaves_before_the_plan_is_recorded() -> None:
    effects = Script(sequence(2)).play("begin")
    assert effects[0] == Append(("begin", sequence(2)))
    assert [type(one) for one in effects] == [Append, Message, SetTimer]


def test_a_step_starts_when_all_that_it_comes_after_are_done() -> None:
    script = Script(plan_of(*["compensatable"] * 4, after=DIAMOND))
    script.play("begin")
    assert script.sent() == [("do", 0)]
    script.play("done 0")
    assert script.sent() == [("do", 1), ("do", 2)]
    assert script.play("done 2") == [Append(("done", 2))]
    script.play("done 1")
    assert script.sent() == [("do", 3)]
    assert Answer("committed") in script.play("done 3")


def test_a_wave_of_parallel_steps_waits_for_one_round_trip_only() -> None:
    script = Script(wave(5))
    script.play("begin")
    assert script.sent() == [("do", index) for index in range(5)]


def test_the_outcome_is_decided_when_the_pivot_is_recorded() -> None:
    script = Script(PIVOTED)
    assert Decided("committed") not in script.play("begin", "done 0")
    effects = script.play("done 1")
    assert effects[:2] == [Append(("done", 1)), Decided("committed")]
    script.play("done 2")
    assert script.play("done 3")[-3:] == [Append(("done", 3)), Answer("committed"), Forget()]


def test_duplicates_change_nothing() -> None:
    script = Script(sequence(3))
    script.play("begin", "done 0")
    key = script.machine.key()
    assert script.play("done 0") == script.play("refused 0") == script.play("begin") == script.play("error 0 do") == []
    assert script.machine.key() == key


def test_a_stray_reply_of_a_forgotten_saga_leaves_no_machine_behind() -> None:
    for text in ("done 0", "refused 0", "undone 0", "error 0 do", "reply", "backoff", "retry x", "skip x", "resolve x"):
        script = Script(sequence(1))
        assert script.play(text) == [Forget()]
        assert script.machine.key() == Script(sequence(1), script.saga).machine.key()


def test_a_reply_that_no_correct_participant_sends_is_a_peer_fault() -> None:
    script = Script(sequence(2))
    script.play("begin")
    with pytest.raises(PeerFault, match="no 'undone' is expected in state 'running'"):
        script.play("undone 0")


# --- the way back -------------------------------------------------------------------------------------------------------------


def test_compensations_go_in_reverse_order_of_dependency_and_side_by_side_where_independent() -> None:
    script = Script(plan_of(*["compensatable"] * 5, after={**DIAMOND, 4: (3,)}))
    effects = script.play("begin", "done 0", "done 1", "done 2", "done 3", "refused 4")
    assert effects[1:3] == [Append(("refused", 4)), Decided("aborted")]
    assert script.sent() == [("undo", 3)]
    script.play("undone 3")
    assert script.sent() == [("undo", 1), ("undo", 2)]
    assert script.play("undone 2") == [Append(("undone", 2))]
    script.play("undone 1")
    assert script.sent() == [("undo", 0)]
    assert script.play("undone 0")[-2:] == [Answer("aborted", "step 'step 4' was refused"), Forget()]


def test_after_a_refusal_nothing_new_starts_and_the_running_branches_are_awaited() -> None:
    plan = plan_of(*["compensatable"] * 5, after={0: (), 1: (), 2: (), 3: (0,), 4: (1,)})
    script = Script(plan)
    assert script.play("begin", "refused 2") == [Append(("refused", 2)), Decided("aborted")]
    assert script.play("done 0") == [Append(("done", 0), forced=False)], "step 3 does not start"
    script.play("done 1")
    assert sorted(script.sent()) == [("undo", 0), ("undo", 1)]


def test_the_other_branches_of_a_halted_saga_are_given_up_after_one_timeout_and_compensated() -> None:
    script = Script(wave(3))
    effects = script.play("begin", "refused 0", "refused 1", "reply")
    assert Suspect("s2") in effects
    assert script.sent() == [("undo", 2)]


def test_branches_in_back_off_when_the_saga_turns_back_count_as_done() -> None:
    script = Script(wave(2))
    effects = script.play("begin", "error 0 do", "refused 1")
    assert CancelTimer("backoff") in effects
    assert script.sent() == [("undo", 0)]


def test_an_unknown_outcome_before_the_pivot_counts_as_done() -> None:
    script = Script(sequence(3))
    effects = script.play("begin", "done 0", "reply")
    assert effects[0] == Suspect("s1")
    assert script.sent() == [("do", 1)]
    effects = script.play("reply")
    assert Append(("unknown", 1)) in effects
    assert script.sent() == [("undo", 1)], "including the step whose effect is unknown"
    script.play("undone 1")
    assert script.sent() == [("undo", 0)]
    assert Answer("aborted", "step 'step 1' gave no answer in time") in script.play("undone 0")


def test_a_silent_pivot_is_asked_for_its_status_and_never_compensated() -> None:
    script = Script(PIVOTED)
    script.play("begin", "done 0", "reply")
    assert script.sent() == [("do", 1)]
    for _ in range(20):
        script.play("reply")
        assert script.sent() == [("resolve", 1)]
    script.play("refused 1")
    assert script.sent() == [("undo", 0)]


def test_a_pivot_that_turns_out_done_leads_forward() -> None:
    script = Script(PIVOTED)
    effects = script.play("begin", "done 0", "reply", "reply", "done 1")
    assert Decided("committed") in effects
    assert script.sent() == [("do", 2), ("do", 3)]


def test_a_silent_step_after_the_pivot_is_commanded_for_ever_with_one_alert() -> None:
    script = Script(PIVOTED)
    script.play("begin", "done 0", "done 1", "done 2")
    alerts = []
    for _ in range(20):
        alerts += [one for one in script.play("reply") if isinstance(one, Alert)]
        assert script.sent() == [("do", 3)]
    assert len(alerts) == 1
    assert not alerts[0].stuck


def test_a_step_that_will_be_given_up_anyway_raises_no_alert_before() -> None:
    script = Script(sequence(1), Saga(policies=Policies(attempts=9, alert_after=3)))
    script.play("begin")
    for _ in range(8):
        assert not any(isinstance(one, Alert) for one in script.play("reply"))
        assert script.sent() == [("do", 0)]


# --- retries ------------------------------------------------------------------------------------------------------------------


def test_retries_wait_for_the_timeout_plus_capped_exponential_back_off_with_full_jitter() -> None:
    policies = Policies(call_timeout=3, attempts=9, backoff=Backoff(base=0.1, factor=2, cap=0.5))
    script = Script(sequence(1), Saga(policies=policies))
    waits = [script.play("begin")[-1]] + [script.play("reply")[-1] for _ in range(4)]
    assert waits == [SetTimer("reply", 3, bound) for bound in (0.1, 0.2, 0.4, 0.5, 0.5)]


def test_an_error_is_retried_after_the_back_off_alone_and_is_no_suspicion() -> None:
    script = Script(sequence(2))
    pause = SetTimer("backoff", 0.0, FEW.backoff.bound(0))
    assert script.play("begin", "error 0 do") == [CancelTimer("reply"), pause]
    effects = script.play("backoff")
    assert script.sent() == [("do", 0)]
    assert not any(isinstance(one, Suspect) for one in effects)
    script.play("error 0 do")
    assert script.sent() == [("undo", 0)], "attempts are spent"


def test_a_retry_after_an_error_leaves_the_timer_of_the_other_commands_alone() -> None:
    """Otherwise a command that meets errors again and again would keep another, lost one from being sent again."""
    script = Script(wave(2))
    script.play("begin", "error 0 do")
    assert [type(one) for one in script.play("backoff")] == [Message]
    assert script.play("reply")[:2] == [Suspect("s0"), Suspect("s1")]


def test_the_late_reply_of_an_action_in_back_off_is_taken() -> None:
    script = Script(sequence(2))
    script.play("begin", "error 0 do", "done 0")
    assert script.sent() == [("do", 1)]
    assert script.play("backoff") == []


def test_a_late_error_of_an_action_does_not_pass_for_one_of_its_compensation() -> None:
    script = Script(sequence(2))
    script.play("begin", "done 0", "refused 1")
    assert script.play("error 0 do") == []
    assert script.play("error 0 undo")[-1] == SetTimer("backoff", 0.0, FEW.backoff.bound(0))


# --- stuck --------------------------------------------------------------------------------------------------------------------

BACKWARD = ("begin", "done 0", "refused 1", "error 0 undo", "backoff", "error 0 undo")
FORWARD = ("begin", "done 0", "done 1", "refused 2")


def test_a_saga_that_cannot_go_back_is_stuck_with_an_alert() -> None:
    script = Script(sequence(2))
    effects = script.play(*BACKWARD)
    alert = effects[-1]
    assert isinstance(alert, Alert)
    assert alert.stuck
    assert "'step 0' on s0" in alert.reason
    assert script.machine.state == "stuck"


def test_a_silent_compensation_gets_stuck_as_well_and_without_a_limit_never() -> None:
    assert Script(sequence(2)).play("begin", "done 0", "refused 1", "reply", "reply")[-1] == Alert(
        "transaction 1: step 'step 0' on s0: its compensation was given up after 2 attempts", stuck=True
    )
    endless = Script(sequence(2), Saga(policies=Policies(alert_after=3)))
    effects = endless.play("begin", "done 0", "refused 1")
    alerts = 0
    for _ in range(50):
        effects = endless.play("reply")
        alerts += sum(isinstance(one, Alert) for one in effects)
        assert endless.sent() == [("undo", 0)]
    assert alerts == 1


def test_a_refusal_after_the_pivot_is_stuck_while_the_other_branches_go_on() -> None:
    script = Script(PIVOTED)
    effects = script.play(*FORWARD)
    assert [type(one) for one in effects] == [Alert]
    assert script.machine.state == "stuck"
    script.play("reply")
    assert script.sent() == [("do", 3)]
    script.play("done 3")
    assert script.machine.state == "stuck"
    script.play("retry the stock is there again")
    assert script.sent() == [("do", 2)]
    assert Answer("committed") in script.play("done 2")


@pytest.mark.parametrize(
    ("plan", "events", "outcome"), [(sequence(2), BACKWARD, "aborted"), (PIVOTED, (*FORWARD, "done 3"), "committed")]
)
def test_the_operator_skips_with_a_recorded_reason(plan: Plan, events: tuple[str, ...], outcome: str) -> None:
    script = Script(plan)
    script.play(*events)
    effects = script.play("skip")
    assert len(effects) == 1
    assert isinstance(effects[0], Alert), "a skip without a reason is not done"
    assert script.machine.state == "stuck"
    effects = script.play("skip refunded by hand")
    record = effects[0]
    assert isinstance(record, Append)
    assert record.forced
    assert record.record[0] == "skip"
    assert record.record[2] == "refunded by hand"
    answer = effects[-2]
    assert isinstance(answer, Answer)
    assert answer.outcome == outcome


@pytest.mark.parametrize(
    ("plan", "events", "outcome"), [(sequence(2), BACKWARD, "aborted"), (PIVOTED, FORWARD, "committed")]
)
def test_the_operator_resolves_with_a_recorded_reason(plan: Plan, events: tuple[str, ...], outcome: str) -> None:
    script = Script(plan)
    script.play(*events)
    effects = script.play("resolve done by hand")
    assert Append(("resolve", "done by hand")) in effects
    assert effects[-2:] == [Answer(outcome, "resolved by an operator: done by hand"), Forget()]  # type: ignore[arg-type]


def test_after_a_skip_the_rest_is_compensated() -> None:
    script = Script(sequence(3))
    script.play("begin", "done 0", "done 1", "refused 2", "reply", "reply", "skip gone anyway")
    assert script.sent() == [("undo", 0)]
    assert script.machine.state == "compensating"


def test_two_steps_skipped_at_once_start_their_common_successor_once() -> None:
    script = Script(plan_of("pivot", "retriable", "retriable", "retriable", after={1: (0,), 2: (0,), 3: (1, 2)}))
    script.play("begin", "done 0", "refused 1", "refused 2", "skip shipped by hand")
    assert script.sent() == [("do", 3)]
    assert Answer("committed") in script.play("done 3")


def test_a_late_reply_frees_a_stuck_saga() -> None:
    script = Script(sequence(2))
    assert Answer("aborted", "step 'step 1' was refused") in script.play(*BACKWARD, "undone 0")
    script = Script(PIVOTED)
    assert Answer("committed") in script.play(*FORWARD, "done 3", "done 2")


def test_a_late_reply_of_an_action_does_not_pass_for_one_of_the_stuck_compensation() -> None:
    script = Script(sequence(2))
    assert script.play(*BACKWARD, "done 0") == []
    assert script.machine.state == "stuck"


def test_the_late_reply_of_a_compensation_in_back_off_is_taken() -> None:
    script = Script(sequence(2))
    effects = script.play("begin", "done 0", "refused 1", "error 0 undo", "undone 0")
    assert Append(("undone", 0)) in effects
    assert script.machine.state == "aborted"


def test_a_retry_after_stuck_has_all_attempts_again() -> None:
    script = Script(sequence(2))
    script.play(*BACKWARD, "retry the account is open again")
    assert script.sent() == [("undo", 0)]
    script.play("reply")
    assert script.machine.state == "compensating"


# --- participant --------------------------------------------------------------------------------------------------------------


def _message(kind: str, step: Step) -> Message:
    return Message(kind, 1, HUB, step.service, step)


def test_commands_that_arrive_while_one_is_under_way_wait_in_order() -> None:
    """No host that keeps the contract does this to a machine; one that overlaps events gets the same replies."""
    steps = wave(3).steps
    machine = Participant("s0", 1)
    (first,) = machine.handle(_message("do", steps[0]))
    assert isinstance(first, Transact)
    assert machine.handle(_message("undo", steps[1])) == []
    assert machine.handle(_message("resolve", steps[2])) == []
    reply, second = machine.handle(Done("action", "done"))
    assert (reply, second.tag) == (Message("done", 1, "s0", HUB, 0), "compensation")  # type: ignore[union-attr]
    reply, third = machine.handle(Done("compensation", "refused"))
    assert (reply, third.tag) == (Message("error", 1, "s0", HUB, (1, "undo")), "resolution")  # type: ignore[union-attr]
    assert machine.handle(Done("resolution", "done")) == [Message("refused", 1, "s0", HUB, 2), Forget()]
    assert machine.key() == Participant("s0", 1).key()


@pytest.mark.parametrize(
    ("command", "tag", "done", "reply"),
    [
        ("do", "action", Done("action", "done"), "done"),
        ("do", "action", Done("action", "refused"), "refused"),
        ("do", "action", Done("action", "duplicate", "done"), "done"),
        ("do", "action", Done("action", "duplicate", "refused"), "refused"),
        ("do", "action", Done("action", "duplicate", "tombstone"), "refused"),
        ("do", "action", Done("action", "failed"), "error"),
        ("undo", "compensation", Done("compensation", "done"), "undone"),
        ("undo", "compensation", Done("compensation", "duplicate", "undone"), "undone"),
        ("undo", "compensation", Done("compensation", "refused"), "error"),
        ("undo", "compensation", Done("compensation", "failed"), "error"),
        ("resolve", "resolution", Done("resolution", "done"), "refused"),
        ("resolve", "resolution", Done("resolution", "duplicate", "done"), "done"),
        ("resolve", "resolution", Done("resolution", "duplicate", "refused"), "refused"),
        ("resolve", "resolution", Done("resolution", "duplicate", "tombstone"), "refused"),
        ("resolve", "resolution", Done("resolution", "failed"), "error"),
    ],
)
def test_every_answer_of_the_store_has_one_reply(command: str, tag: str, done: Done, reply: str) -> None:
    step = sequence(1).steps[0]
    machine = Participant("s0", 1)
    (transaction,) = machine.handle(_message(command, step))
    assert isinstance(transaction, Transact)
    assert transaction.tag == tag
    message, forget = machine.handle(done)
    assert isinstance(message, Message)
    assert (message.kind, message.to, forget) == (reply, HUB, Forget())
    assert message.body == ((0, command) if reply == "error" else 0)


def test_a_refusal_is_stored_unless_the_step_is_retriable() -> None:
    for step in PIVOTED.steps:
        (transaction,) = Participant(step.service, 1).handle(_message("do", step))
        assert isinstance(transaction, Transact)
        assert (transaction.refused is None) == (step.kind == "retriable")


# --- strategy -----------------------------------------------------------------------------------------------------------------


def test_the_strategy_keeps_the_protocol_of_strategies_and_survives_pickling() -> None:
    saga = Saga(completion="lazy")
    assert isinstance(saga, Strategy)
    assert pickle.loads(pickle.dumps(saga)) == saga  # noqa: S301 - our own bytes
    assert repr(saga) == "Saga(policies=None, completion='lazy')"
    assert saga.configured(FEW).policies == FEW
    assert saga.configured(FEW).completion == "lazy"
    assert Saga(policies=FEW).configured(Policies()).policies == FEW


def test_a_pickled_machine_equals_the_original() -> None:
    script = Script(PIVOTED)
    script.play("begin", "done 0")
    twin = pickle.loads(pickle.dumps(script.machine))  # noqa: S301 - our own bytes
    assert twin.key() == script.machine.key()


def test_plans_of_one_form_share_one_shape() -> None:
    assert shape_of(sequence(3).steps) is shape_of(sequence(3, refused=1).steps)
    assert shape_of(sequence(3).steps) is not shape_of(wave(3).steps)


def test_an_unknown_completion_is_refused() -> None:
    with pytest.raises(ScenarioError, match="'sloppy'; it is 'forced' or 'lazy'"):
        Saga(completion="sloppy")  # type: ignore[arg-type]


def test_a_request_without_a_plan_is_refused() -> None:
    with pytest.raises(ScenarioError, match="transaction 1 has no steps"):
        Saga().machine(HUB, 1).handle(Request(1))


C, P, R = "compensatable", "pivot", "retriable"


@pytest.mark.parametrize(
    ("plan", "problem"),
    [
        (Plan(1, ()), "has no steps"),
        (Plan(1, (Step(0, "x", HUB, ()),)), "'orchestrator', which is the name of the saga's own node"),
        (Plan(1, (Step(0, "x", "a", (), after=(0,)),)), "not in a topological order"),
        (Plan(1, (Step(1, "x", "a", ()),)), "not in a topological order"),
        (Plan(1, (Step(0, "x", "a", (Operation("k"),)),)), "'x' changes data and has no compensation"),
        (plan_of(C, R), "'step 1' is retriable, but the transaction has no pivot"),
        (plan_of(P, P), "'step 0', 'step 1' are all pivots"),
        (plan_of(P, C), "'step 1' is compensatable, but the pivot 'step 0' does not come after it"),
        (plan_of(C, P, after={1: ()}), "'step 0' is compensatable, but the pivot 'step 1' does not come after it"),
        (plan_of(C, R, P), "'step 1' is retriable, but does not come after the pivot 'step 2'"),
    ],
)
def test_a_plan_that_cannot_be_a_saga_is_refused_in_one_line(plan: Plan, problem: str) -> None:
    answer = Saga().check(plan)
    assert answer is not None
    assert problem in answer
    assert "\n" not in answer


@pytest.mark.parametrize(
    "plan",
    [
        sequence(1),
        wave(3),
        PIVOTED,
        plan_of(P),
        plan_of(C, C, P, after={1: (), 2: (0, 1)}),
        Plan(1, (Step(0, "x", "a", (Operation("k", "read"),)),)),
    ],
)
def test_a_sound_plan_passes(plan: Plan) -> None:
    assert Saga().check(plan) is None


# --- tables -------------------------------------------------------------------------------------------------------------------

#: Plan and events that together take every row of the orchestrator's table to every state that it names.
TOUR: tuple[tuple[Plan, str], ...] = (
    (sequence(2), "begin; begin; retry x; skip x; resolve x; reply; error 0 do; backoff; done 0; done 1"),
    (
        sequence(2),
        "begin; done 0; refused 0; refused 1; begin; done 0; refused 0; retry x; skip x; resolve x; undone 0",
    ),
    (sequence(2), "begin; reply; reply; reply; error 0 undo; backoff; undone 0"),
    (sequence(2), "begin; error 0 do; backoff; error 0 do; undone 0"),
    (sequence(3), "begin; done 0; done 1; refused 2; undone 1; undone 0"),
    (sequence(1), "begin; refused 0"),
    (wave(3), "begin; refused 0; begin; backoff; retry x; skip x; resolve x; done 1; reply; undone 1; undone 2"),
    (wave(3), "begin; refused 0; refused 1; refused 2"),
    (wave(3), "begin; refused 0; refused 1; done 2; undone 2"),
    (wave(3), "begin; refused 0; done 2; refused 1; undone 2"),
    (wave(3), "begin; refused 0; error 1 do; error 2 do"),
    (wave(2), "begin; error 0 do; backoff; error 0 do"),
    (wave(2), "begin; error 0 do; done 1; backoff; done 0"),
    (wave(3), "begin; done 0; done 1; refused 2; error 0 undo; undone 1; backoff; undone 0"),
    (wave(3), "begin; done 0; done 1; refused 2; reply; error 0 undo; undone 1; undone 0"),
    (PIVOTED, "begin; done 0; done 1; refused 2; done 3; done 2"),
    (PIVOTED, "begin; done 0; done 1; refused 2; refused 3; begin; retry x; done 2; done 3"),
    (PIVOTED, "begin; done 0; done 1; refused 2; done 2; done 3"),
    (PIVOTED, "begin; done 0; done 1; refused 2; error 3 do; backoff; reply; skip; skip x; done 3"),
    (PIVOTED, "begin; done 0; done 1; refused 2; refused 3; skip x"),
    (PIVOTED, "begin; done 0; done 1; refused 2; resolve x"),
    (sequence(2), "begin; done 0; refused 1; reply; reply; retry x; error 0 undo; backoff; error 0 undo; undone 0"),
    (sequence(2), "begin; done 0; refused 1; reply; reply; skip x"),
    (sequence(2), "begin; done 0; refused 1; reply; reply; resolve x"),
    (sequence(3), "begin; done 0; done 1; refused 2; reply; reply; skip x; undone 0"),
    (sequence(3), "begin; done 0; done 1; refused 2; reply; reply; undone 1; undone 0"),
    (wave(3), "begin; done 0; done 1; refused 2; error 0 undo; undone 1"),
    (wave(3), "begin; done 0; done 1; refused 2; reply; error 0 undo; reply; undone 1; undone 0"),
)


def _tour() -> Witness:
    witness: Witness = set()
    for stray in (
        "done 0",
        "refused 0",
        "error 0 do",
        "undone 0",
        "reply",
        "backoff",
        "retry x",
        "skip x",
        "resolve x",
    ):
        Script(sequence(1), witness=witness).play(stray)
    for plan, events in TOUR:
        Script(plan, witness=witness).play(*events.split("; "))
    return witness


def test_every_row_of_the_orchestrators_table_is_reached_in_every_way_and_no_other() -> None:
    reached = {(before, event, after) for _, before, event, after in _tour()}
    table = {(row.state, row.event, to) for row in Orchestrator.transitions for to in row.to}
    assert table - reached == set(), "no event of the tour does this"
    assert reached - table == set(), "the table does not allow this"


def test_a_command_without_a_reply_always_has_its_timer_and_nothing_else_has() -> None:
    """Without the one direction a saga could wait for ever; without the other an idle saga would be woken in vain."""
    for plan, events in TOUR:
        script = Script(plan)
        timers: set[str] = set()
        for text in events.split("; "):
            timers.discard(text)  # it has fired
            for one in script.play(text):
                if isinstance(one, SetTimer):
                    timers.add(one.kind)
                elif isinstance(one, CancelTimer):
                    timers.discard(one.kind)
            status = script.orchestrator.status
            if script.effects[-1:] != [Forget()]:
                assert ("reply" in timers) == (RUNNING in status or UNDOING in status), (events, text)
                assert "backoff" in timers or not (PAUSED in status or RESTING in status), (events, text)


def test_no_row_of_a_table_is_there_twice() -> None:
    for machine in (Orchestrator, Participant):
        rows = [(row.state, row.event) for row in machine.transitions]
        assert len(rows) == len(set(rows))


def test_both_machines_are_drawn_in_the_documentation() -> None:
    """That the drawings are fresh is tested for all pages at once; that test would not notice a page that lost its marks."""
    page = (Path(__file__).parents[2] / "docs" / "protocols" / "saga.md").read_text(encoding="utf-8")
    for machine in (Orchestrator, Participant):
        assert (
            f"<!-- machine: {machine.__module__}.{machine.__name__} -->\n```mermaid\n{to_mermaid(machine)}\n```" in page
        )
