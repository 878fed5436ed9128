"""The orchestrated saga under faults: every crash point, lost, doubled, late and reordered messages, and random schedules of it all."""

from __future__ import annotations

import random
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simtx.protocols.contract import (
    Answer,
    Append,
    Decided,
    Effect,
    Forget,
    Message,
    Operation,
    Plan,
    Record,
    Step,
    StepKind,
)
from simtx.protocols.names import ORCHESTRATOR as HUB
from simtx.protocols.policies import Policies
from simtx.protocols.saga import Saga
from tests.amounts import many
from tests.protocols.helpers import Node, Witness, World
from tests.protocols.saga_scripts import DIAMOND, FEW, PIVOTED, Lossy, Script, plan_of, sequence, wave

C, P, R = "compensatable", "pivot", "retriable"
#: Gives up soon, but never on a compensation, so that every saga ends by itself.
SOON = Policies(attempts=2)


def settled(world: World) -> str:
    """The outcome of the one saga of a world at rest, after all its laws were checked; ``lost`` if it was never recorded."""
    net = set(world.net(1).values())
    assert len(net) == 1, f"all or nothing: {world.net(1)}; {world.history}"
    assert net <= {0, 1}, f"exactly once or net zero: {world.net(1)}; {world.history}"
    for step in world.plans[1].steps:
        assert {world.store(step.service).values.get("k", 0)} == net, "the stores say the same"
    answers = set(world.answers.get(1, ()))
    outcome = "committed" if net == {1} else "aborted"
    assert answers <= {outcome}, f"the client was told {answers}, but it is {outcome}; {world.history}"
    assert set(world.decided.get(1, ())) <= {outcome}
    assert not world.left_over()
    assert not [alert for _, _, alert in world.alerts if alert.stuck]
    return outcome if answers else "lost"


# --- crashes ------------------------------------------------------------------------------------------------------------------

SMALL: dict[str, Plan] = {
    "2 steps": sequence(2),
    "2 steps, first refused": sequence(2, refused=0),
    "2 steps, second refused": sequence(2, refused=1),
    "3 steps": sequence(3),
    "3 steps, second refused": sequence(3, refused=1),
    "3 steps, third refused": sequence(3, refused=2),
    "wave of 2": wave(2),
    "wave of 3, one refused": wave(3, refused=(1,)),
    "pivot and retriable": plan_of(C, P, R),
    "pivot refused": plan_of(C, P, R, refused=(1,)),
    "diamond, last refused": plan_of(C, C, C, C, after=DIAMOND, refused=(3,)),
}


@pytest.mark.parametrize("completion", ["forced", "lazy"])
@pytest.mark.parametrize("restart", ["idle", "now"])
@pytest.mark.parametrize("lazies", ["lost", "kept"])
@pytest.mark.parametrize("name", SMALL)
@pytest.mark.sample(6)
def test_a_crash_between_any_two_effects_leaves_all_or_nothing(
    name: str, lazies: str, restart: str, completion: str
) -> None:
    saga = Saga(policies=SOON, completion=completion)  # type: ignore[arg-type]
    plan = SMALL[name]
    points = World(saga, plan).run().points
    outcomes = [
        settled(World(saga, plan).run(crashes=(point,), restart=restart, lazies=lazies)) for point in range(points)
    ]
    assert outcomes[0] == "lost", "a crash before anything is durable loses the request"
    assert outcomes[-1] == settled(World(saga, plan).run())
    assert outcomes.count("lost") <= 2


@pytest.mark.parametrize("restart", ["idle", "now"])
@pytest.mark.parametrize("completion", ["forced", "lazy"])
@pytest.mark.parametrize("name", ["2 steps", "2 steps, second refused", "wave of 2", "pivot and retriable"])
@pytest.mark.sample(6)
def test_two_crashes_anywhere_leave_all_or_nothing(name: str, completion: str, restart: str) -> None:
    """The second may hit the recovery from the first, or the other node."""
    saga = Saga(policies=SOON, completion=completion)  # type: ignore[arg-type]
    plan = SMALL[name]
    points = World(saga, plan).run().points + 8
    for crashes in combinations(range(points), 2):
        settled(World(saga, plan).run(crashes=crashes, restart=restart))


class Recording(World):
    """A world that keeps what the orchestrator appends."""

    def __init__(self, saga: Saga, plan: Plan) -> None:
        self.records: list[Record] = []
        super().__init__(saga, plan)

    def _append(self, node: Node, tx: int, effect: Append) -> None:
        if node.name == HUB:
            self.records.append(effect.record)
        super()._append(node, tx, effect)


@pytest.mark.parametrize("name", SMALL)
def test_recovery_at_every_point_is_idempotent(name: str) -> None:
    """Recovering twice from the same records asks for the same: it writes nothing that the second would miss."""
    world = Recording(Saga(), SMALL[name])
    world.run()
    assert len(world.records) >= 2
    for length in range(1, len(world.records) + 1):
        first, second = (world.strategy.machine(HUB, 1) for _ in range(2))
        effects = first.recover(world.records[:length])
        assert effects
        assert effects == second.recover(world.records[:length])
        assert first.key() == second.key()
        assert not any(isinstance(effect, Append) for effect in effects)


def test_an_answer_given_before_a_lazy_completion_was_durable_is_kept_even_if_the_last_step_falls_silent() -> None:
    """Without the rule that the last step is resolved, never given up, the recovered saga would turn back after ``committed``."""
    saga = Saga(policies=FEW, completion="lazy")
    machine = saga.machine(HUB, 1)
    plan = sequence(2)
    machine.recover([("begin", plan), ("done", 0)])
    script = Script(plan, saga)
    script.machine = machine
    for expected in ("do", "resolve", "resolve", "resolve"):
        script.play("reply")
        assert script.sent() == [(expected, 1)]
    assert machine.state == "running"


@pytest.mark.parametrize(
    ("events", "records"),
    [
        ("begin; done 0; done 1; refused 2; reply; reply; skip x", [("refused", 2), ("skip", 1, "x")]),
        ("begin; done 0; done 1; refused 2; undone 1", [("refused", 2), ("undone", 1)]),
        ("begin; done 0; done 1; reply; reply; undone 2; undone 1", [("unknown", 2), ("undone", 2), ("undone", 1)]),
    ],
)
def test_a_saga_recovered_on_its_way_back_undoes_just_what_is_left(
    events: str, records: list[tuple[object, ...]]
) -> None:
    plan = sequence(3)
    script = Script(plan)
    script.play(*events.split("; "))
    recovered = Script(plan, script.saga)
    effects = recovered.machine.recover([("begin", plan), ("done", 0), ("done", 1), *records])
    commands = [(one.kind, one.body.index) for one in effects if isinstance(one, Message)]
    assert commands == [("undo", 0)]
    assert recovered.orchestrator.left == script.orchestrator.left == 1


def test_a_saga_recovered_after_its_last_record_decides_and_answers() -> None:
    machine = Saga().machine(HUB, 1)
    records = [("begin", sequence(2)), ("done", 0), ("done", 1)]
    assert machine.recover(records) == [Decided("committed"), Answer("committed"), Forget()]
    machine = Saga().machine(HUB, 1)
    records = [("begin", sequence(2)), ("done", 0), ("refused", 1), ("undone", 0)]
    assert machine.recover(records) == [Decided("aborted"), Answer("aborted", "step 'step 1' was refused"), Forget()]


def test_an_operators_resolution_survives_a_crash() -> None:
    for turned, outcome in (([("refused", 1)], "aborted"), ([("done", 1)], "committed")):
        machine = Saga().machine(HUB, 1)
        answer, forget = machine.recover([("begin", PIVOTED), ("done", 0), *turned, ("resolve", "by hand")])
        assert (answer.outcome, type(forget).__name__) == (outcome, "Forget")  # type: ignore[union-attr]


# --- lost, doubled and late messages ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("completion", ["forced", "lazy"])
@pytest.mark.parametrize("name", SMALL)
def test_any_one_message_may_be_lost_and_arrive_after_the_saga_is_forgotten(name: str, completion: str) -> None:
    saga = Saga(policies=SOON, completion=completion)  # type: ignore[arg-type]
    plan = SMALL[name]
    total = sum(World(saga, plan).run().sent.values())
    for victim in range(total):
        for copies in (1, 10):  # 10: lost again and again, so that the orchestrator gives up
            seen: list[Message] = []

            def lose(message: Message, victim: int = victim, copies: int = copies, seen: list[Message] = seen) -> bool:
                seen.append(message)
                first = seen[victim] if len(seen) > victim else None
                if first is None or (first.kind, first.to) != (message.kind, message.to):
                    return False
                return seen[victim:].count(first) <= copies

            world = Lossy(saga, plan, lose)
            world.run()
            before = settled(world)
            assert world.held
            assert settled(world.release()) == before


def test_an_action_that_arrives_after_its_compensation_finds_the_tombstone() -> None:
    world = Lossy(Saga(policies=SOON), sequence(2), lambda message: message.kind == "do" and message.to == "s1")
    world.run()
    assert world.answers == {1: ["aborted"]}
    assert world.store("s1").rows == {(1, 1, "action"): "tombstone", (1, 1, "compensation"): "undone"}
    assert len(world.held) == 2
    assert settled(world.release()) == "aborted"
    assert world.store("s1").values.get("k", 0) == 0


def test_without_the_tombstone_the_late_action_would_take_effect() -> None:
    """The witness that the test above can fail."""
    world = Lossy(Saga(policies=SOON), sequence(2), lambda message: message.kind == "do" and message.to == "s1")
    world.run()
    world.store("s1").rows.clear()
    world.release()
    assert world.net(1) == {0: 0, 1: 1}


def test_a_lost_reply_of_a_done_action_leads_to_its_compensation() -> None:
    world = Lossy(Saga(policies=SOON), sequence(2), lambda message: message.kind == "done" and message.sender == "s1")
    world.run()
    assert [one.steps for one in world.applied] == [(0,), (1,), (1,), (0,)], (
        "unknown counts as done, and here it was done"
    )
    assert settled(world.release()) == "aborted"


@pytest.mark.parametrize("stored", [True, False])
def test_a_late_duplicate_of_a_refused_action_stays_refused_because_the_refusal_is_stored(stored: bool) -> None:
    withdrawal = Step(1, "withdraw", "b", (Operation("k", "add", -5, low=0),), (Operation("k", "add", 5),), after=(0,))
    plan = Plan(1, (sequence(1).steps[0], withdrawal))
    world = World(Saga(), plan, initial={"b": {"k": 3}}).run()
    assert world.answers == {1: ["aborted"]}
    world.store("b").values["k"] = 10  # now the guard would say yes
    if not stored:
        world.store("b").rows.clear()
    world.network.append(Message("do", 1, HUB, "b", withdrawal))
    world.drain()
    assert world.store("b").values["k"] == (10 if stored else 5)
    assert world.net(1) == {0: 0, 1: 0 if stored else 1}


def test_a_pivot_whose_command_is_lost_is_fenced_and_the_saga_goes_back() -> None:
    world = Lossy(Saga(policies=SOON), plan_of(C, P, R), lambda message: message.kind == "do" and message.to == "s1")
    world.run()
    assert world.sent["resolve"] == 1
    assert world.answers == {1: ["aborted"]}
    assert settled(world.release()) == "aborted"


def test_a_pivot_whose_replies_are_lost_is_found_to_be_done_and_the_saga_goes_on() -> None:
    lost: list[Message] = []

    def lose(message: Message) -> bool:
        if message.sender == "s1" and len(lost) < 2:
            lost.append(message)
            return True
        return False

    world = Lossy(Saga(policies=SOON), plan_of(C, P, R), lose)
    world.run()
    assert world.sent["resolve"] == 1
    assert world.answers == {1: ["committed"]}
    assert settled(world.release()) == "committed"


def test_every_command_and_reply_may_come_twice() -> None:
    class Twice(World):
        def _perform(self, node: Node, tx: int, effect: Effect) -> None:
            super()._perform(node, tx, effect)
            if isinstance(effect, Message):
                self.network.append(effect)

    for plan in SMALL.values():
        settled(Twice(Saga(policies=SOON), plan).run())


def test_steps_of_one_saga_may_share_a_service() -> None:
    for refused in ((), (2,)):
        steps = tuple(
            Step(one.index, one.name, "shared", one.operations, one.compensation, one.kind, one.after)
            for one in wave(3, refused).steps
        )
        world = World(Saga(), Plan(1, steps)).run()
        assert world.net(1) == dict.fromkeys(range(3), 0 if refused else 1)
        assert not world.left_over()


def test_a_compensation_that_the_data_refuse_is_stuck_until_an_operator_comes() -> None:
    """What the saga has put there was taken by somebody else meanwhile: the price of no isolation."""
    deposit = Step(0, "deposit", "a", (Operation("k", "add", 5),), (Operation("k", "add", -5, low=0),))
    refusal = Step(1, "refuse", "b", (Operation("k", "refuse"),), after=(0,))

    class Stolen(World):
        def _perform(self, node: Node, tx: int, effect: Effect) -> None:
            if effect == Message("undo", 1, HUB, "a", deposit):
                self.store("a").values["k"] = 1
            super()._perform(node, tx, effect)

    world = Stolen(Saga(policies=FEW), Plan(1, (deposit, refusal))).run()
    assert [alert.stuck for _, _, alert in world.alerts] == [True]
    assert world.answers == {}, "nobody is told what is not true"
    assert world.decided == {1: ["aborted"]}
    world.crash(HUB)
    world.restart(HUB)
    world.drain()
    assert [alert.stuck for _, _, alert in world.alerts] == [True, True], "stuck again after a restart"


# --- random schedules ---------------------------------------------------------------------------------------------------------


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Any sound plan of one to four steps."""
    count = draw(st.integers(1, 4))
    pivot = draw(st.one_of(st.none(), st.integers(0, count - 1)))
    kinds: list[StepKind] = ["compensatable"] * count
    after: dict[int, tuple[int, ...]] = {}
    for index in range(count):
        if pivot is not None and index == pivot:
            kinds[index] = "pivot"
            after[index] = tuple(range(index))
        elif pivot is not None and index > pivot:
            kinds[index] = "retriable"
            after[index] = tuple(sorted({pivot} | draw(st.sets(st.integers(pivot, index - 1)))))
        else:
            after[index] = tuple(sorted(draw(st.sets(st.integers(0, index - 1))))) if index else ()
    last = count - 1 if pivot is None else pivot
    return plan_of(*kinds, after=after, refused=tuple(draw(st.sets(st.integers(0, last), max_size=2))))


@pytest.mark.more
@settings(max_examples=many(120, 400), deadline=None)
@given(
    plan=plans(),
    completion=st.sampled_from(["forced", "lazy"]),
    attempts=st.integers(1, 3),
    crashes=st.integers(0, 4),
    seed=st.integers(0, 2**32),
)
def test_any_schedule_with_faults_leaves_all_or_nothing(
    plan: Plan, completion: str, attempts: int, crashes: int, seed: int
) -> None:
    assert Saga().check(plan) is None
    saga = Saga(policies=Policies(attempts=attempts), completion=completion)  # type: ignore[arg-type]
    settled(World(saga, plan).chaos(random.Random(seed), crashes=crashes))


def test_random_schedules_meet_commit_abort_halt_recovery_and_every_kind_of_retry() -> None:
    """The witness that the schedules above are not tame."""
    witness: Witness = set()
    plan = plan_of(C, C, C, P, R, R, after={0: (), 1: (), 2: (0,), 3: (1, 2), 4: (3,), 5: (3,)})
    outcomes = set()
    for seed in range(60):
        refused = plan if seed % 2 else wave(3, refused=(0,))
        world = World(Saga(policies=SOON), refused, witness=witness).chaos(random.Random(seed), failures=0.1)
        outcomes.add(settled(world))
    assert {"committed", "aborted"} <= outcomes
    met = {(state, event) for name, state, event, _ in witness if name == "Orchestrator"}
    assert {
        ("running", "reply"),
        ("running", "error"),
        ("running", "backoff"),
        ("halting", "done"),
        ("halting", "reply"),
        ("compensating", "done"),
        ("compensating", "error"),
        ("compensating", "reply"),
        ("compensating", "backoff"),
        ("idle", "done"),
        ("idle", "undone"),
        ("recover", "begin"),
        ("recover", "done"),
        ("recover", "refused"),
        ("recover", "undone"),
    } <= met
