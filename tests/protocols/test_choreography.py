"""The chain of events under the transactional outbox: nothing lost, nothing doubled, all or nothing, at exact costs."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simtx.errors import PeerFault
from simtx.protocols.choreography import StepEvent, chain_problem, is_point_of_no_return
from simtx.protocols.contract import (
    Acknowledge,
    Alert,
    Append,
    Decided,
    Delivery,
    Done,
    Effect,
    Message,
    Operation,
    Plan,
    Request,
    SetTimer,
    Step,
    Strategy,
    Timer,
    Transact,
)
from simtx.protocols.diagrams import to_mermaid
from simtx.protocols.outbox import Outbox, OutboxService
from simtx.protocols.policies import Policies
from simtx.protocols.relay import Courier, Poller, Relay
from tests.amounts import many
from tests.protocols.helpers import Witness, World, chain

REFUSE: tuple[Operation, ...] = (Operation("k", "add", 1), Operation("k", "refuse"))
NAMES = "abcdefgh"


def plan_of(n: int, refused: int | None = None, tx: int = 1) -> Plan:
    """A chain of n steps on n services; step number `refused` (from 1) says no."""
    operations = {NAMES[refused - 1]: REFUSE} if refused else None
    return chain(*NAMES[:n], tx=tx, operations=operations)


def with_kinds(plan: Plan, *kinds: str) -> Plan:
    """The same plan with these kinds of steps."""
    return Plan(plan.tx, tuple(replace(step, kind=kind) for step, kind in zip(plan.steps, kinds, strict=True)))  # type: ignore[arg-type]


def assert_all_or_nothing(world: World, tx: int = 1) -> set[int]:
    """Every step is in effect once, or none is; each action and each compensation took effect at most once."""
    net = world.net(tx)
    assert set(net.values()) in ({0}, {1}), net
    for compensation in (False, True):
        done = [one.steps for one in world.applied if one.tx == tx and one.compensation == compensation]
        assert len(done) == len(set(done)), done
    assert world.left_over() == []
    decided = set(world.decided.get(tx, []))
    assert decided <= ({"committed"} if set(net.values()) == {1} else {"aborted"})
    return set(net.values())


# --- exact costs ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", range(1, 9))
def test_commit_costs_n_forced_writes_and_n_minus_1_events(n: int) -> None:
    world = World(Outbox(), plan_of(n)).run()
    assert dict(world.forced) == dict.fromkeys(NAMES[:n], 1)
    assert world.sent == ({"publish": n - 1} if n > 1 else {})
    assert sum(world.lazy.values()) == n - 1  # the relay's marks
    assert world.answers == {1: ["accepted"]}
    assert world.decided == {1: ["committed"]}
    assert world.net(1) == dict.fromkeys(range(n), 1)
    assert world.left_over() == []
    assert world.alerts == []


@pytest.mark.parametrize("n", range(1, 9))
def test_a_closing_event_makes_it_n_events_and_no_further_forced_write(n: int) -> None:
    world = World(Outbox(closing=True), plan_of(n)).run()
    assert sum(world.forced.values()) == n
    assert world.sent == {"publish": n}
    assert world.left_over() == []


@pytest.mark.parametrize(("n", "k"), [(n, k) for n in range(1, 9) for k in range(1, n + 1)])
def test_refused_at_step_k_costs_2k_minus_1_forced_writes_and_2k_minus_2_events(n: int, k: int) -> None:
    world = World(Outbox(), plan_of(n, refused=k)).run()
    assert sum(world.forced.values()) == 2 * k - 1
    assert sum(world.sent.values()) == 2 * k - 2
    assert world.answers == {1: ["accepted" if k > 1 else "aborted"]}
    assert world.decided == {1: ["aborted"]}
    assert world.net(1) == dict.fromkeys(range(n), 0)
    assert [(one.steps, one.compensation) for one in world.applied] == [((i,), False) for i in range(k - 1)] + [
        ((i,), True) for i in reversed(range(k - 1))
    ]
    assert world.left_over() == []


def test_the_outcome_is_final_at_the_pivot_and_not_before() -> None:
    plan = with_kinds(plan_of(4), "compensatable", "pivot", "retriable", "retriable")
    world = World(Outbox(), plan).run()
    pivot = next(i for i, line in enumerate(world.history) if "Decided(" in line)
    applied = [line for line in world.history[:pivot] if line.startswith(tuple(NAMES)) and " Transact(" in line]
    assert len(applied) == 2
    assert world.decided == {1: ["committed"]}


def test_steps_that_could_run_in_parallel_are_visited_one_after_the_other() -> None:
    steps = tuple(replace(step, after=(0,) if step.index else ()) for step in plan_of(4).steps)
    world = World(Outbox(), Plan(1, steps)).run()
    assert [one.steps for one in world.applied] == [(0,), (1,), (2,), (3,)]
    assert world.sent == {"publish": 3}


def test_adjacent_steps_on_one_service_go_through_the_outbox_too() -> None:
    world = World(Outbox(), chain("a", "a", "b", "a")).run()
    assert world.sent == {"publish": 3}
    assert sum(world.forced.values()) == 4
    assert assert_all_or_nothing(world) == {1}


# --- crashes ----------------------------------------------------------------------------------------------------------------------


def crash_cases() -> list[tuple[int, int | None, bool]]:
    """All small chains: (steps, refusing step, closing event)."""
    return [(n, k, closing) for n in (1, 2, 3) for k in (None, *range(1, n + 1)) for closing in (False, True)]


@pytest.mark.parametrize(("n", "refused", "closing"), crash_cases())
@pytest.mark.parametrize("restart", ["idle", "now"])
@pytest.mark.parametrize("lazies", ["lost", "kept"])
@pytest.mark.sample(6)
def test_a_crash_between_any_two_effects_loses_nothing_and_doubles_nothing(
    n: int, refused: int | None, closing: bool, restart: str, lazies: str
) -> None:
    points = World(Outbox(closing=closing), plan_of(n, refused)).run().points
    assert points > 5
    outcomes = set()
    for point in range(points):
        world = World(Outbox(closing=closing), plan_of(n, refused)).run(crashes=[point], restart=restart, lazies=lazies)
        outcome = assert_all_or_nothing(world)
        answer = world.answers.get(1)
        if answer == ["accepted"]:
            assert outcome == ({0} if refused else {1}), "what was accepted must not be lost"
        elif answer is None and not refused:
            outcomes.add("nothing" if outcome == {0} else "done without answer")
    assert refused or outcomes == {"nothing", "done without answer"}, (
        "the crash points must cover both sides of the first commit"
    )


@pytest.mark.parametrize("refused", [None, 1, 2])
@pytest.mark.sample(3)
def test_two_crashes_at_any_two_points_lose_nothing_and_double_nothing(refused: int | None) -> None:
    points = World(Outbox(), plan_of(2, refused)).run().points
    for first in range(points):
        for second in range(first + 1, points + 20):
            world = World(Outbox(), plan_of(2, refused)).run(crashes=[first, second])
            assert_all_or_nothing(world)


def test_a_crash_between_acknowledgement_and_mark_publishes_again_and_the_inbox_row_answers() -> None:
    plan = plan_of(2)
    copies = 0
    for point in range(World(Outbox(), plan).run().points):
        world = World(Outbox(), plan).run(crashes=[point])
        if world.sent["publish"] > 1:
            copies += 1
            assert world.net(1) == {0: 1, 1: 1}
            assert sum(world.forced.values()) == 2
    assert copies > 0


@pytest.mark.more
@settings(max_examples=many(70, 200), deadline=None)
@given(
    seed=st.integers(0, 2**32),
    n=st.integers(1, 4),
    refused=st.integers(0, 4),
    ordered=st.booleans(),
    closing=st.booleans(),
    shared=st.booleans(),
)
def test_random_schedules_with_faults_end_all_or_nothing(
    seed: int, n: int, refused: int, ordered: bool, closing: bool, shared: bool
) -> None:
    """Crashes, loss, copies, reordering, failing stores and early timers, two transactions at once, also with few services."""
    services = ["a", "b", "a", "a"][:n] if shared else list(NAMES[:n])
    plans = []
    for tx in (1, 2):
        steps = list(chain(*services, tx=tx).steps)
        if tx == 1 and 0 < refused <= n:
            steps[refused - 1] = replace(steps[refused - 1], operations=REFUSE)
        plans.append(Plan(tx, tuple(steps)))
    world = World(Outbox(closing=closing, policies=Policies(attempts=2)), *plans, ordered=ordered)
    world.chaos(random.Random(seed), failures=0.1)
    for tx in (1, 2):
        outcome = assert_all_or_nothing(world, tx)
        if world.answers.get(tx, [""])[0] == "accepted" and not (tx == 1 and 0 < refused <= n):
            assert outcome == {1}
        if world.answers.get(tx, [""])[0] == "aborted":
            assert outcome == {0}


def test_copies_of_the_request_and_of_every_event_change_nothing() -> None:
    plan = plan_of(3, refused=3)
    world = World(Outbox(), plan).run()
    before = (dict(world.forced), list(world.applied))
    for name in "abc":
        for row in list(world.store(name).outbox):
            world.published += 1
            world.broker[world.published] = row.message
    world.requests.append(("a", Request(1, plan)))
    world.drain()
    assert (dict(world.forced), list(world.applied)) == before
    assert world.left_over() == []
    assert set(world.decided[1]) == {"aborted"}


# --- local transactions that fail ---------------------------------------------------------------------------------------------------


def failing(node: str, times: int, tag: str = "") -> World:
    """A world in which the first so many local transactions of a node fail."""
    left = [times]

    def fail(name: str, effect: Effect) -> bool:
        if name != node or not isinstance(effect, Transact) or (tag and effect.tag != tag) or not left[0]:
            return False
        left[0] -= 1
        return True

    return World(Outbox(), plan_of(3, refused=3 if tag == "compensation" else None), fail=fail)


@pytest.mark.parametrize("node", ["a", "b", "c"])
def test_a_failed_local_transaction_is_repeated_until_it_is_done(node: str) -> None:
    world = failing(node, 3).run()
    assert assert_all_or_nothing(world) == {1}
    assert world.answers == {1: ["accepted"]}


def test_a_failed_compensation_is_repeated_until_it_is_done() -> None:
    world = failing("b", 7, "compensation").run()
    assert assert_all_or_nothing(world) == {0}


def test_a_request_that_fails_too_often_is_refused_for_good() -> None:
    world = failing("a", Policies().attempts).run()
    assert world.answers == {1: ["aborted"]}
    world.requests.append(("a", Request(1, plan_of(3))))
    world.drain()
    assert assert_all_or_nothing(world) == {0}
    assert world.answers == {1: ["aborted", "aborted"]}


def test_if_not_even_the_refusal_can_be_stored_the_entry_service_keeps_trying() -> None:
    world = failing("a", Policies().attempts + 3).run()
    assert world.answers == {1: ["aborted"]}
    assert world.store("a").rows == {(1, 0, "action"): "refused"}


def test_back_off_is_capped_exponential_with_full_jitter_and_alerts_once() -> None:
    policies = Policies(alert_after=4)
    machine = OutboxService("b", 1, policies)
    machine.handle(Delivery(event("step-done", 1), 7))
    bounds, alerts = [], 0
    for _ in range(10):
        effects = machine.handle(Done("action", "failed"))
        timer = effects[0]
        assert isinstance(timer, SetTimer)
        assert timer.delay == 0
        bounds.append(timer.jitter)
        alerts += sum(isinstance(one, Alert) for one in effects)
        assert machine.handle(Delivery(event("step-done", 1), 7)) == [], "what is being worked on is not acknowledged"
        machine.handle(Timer("backoff"))
    assert bounds == [policies.backoff.bound(i) for i in range(10)]
    assert alerts == 1
    assert machine.handle(Done("action", "done"))[0] == Acknowledge(7)


# --- parked -------------------------------------------------------------------------------------------------------------------------


def refusing_retriable() -> World:
    """The step behind the pivot needs one piece, and there is none."""
    plan = with_kinds(
        chain("a", "b", "c", operations={"b": (Operation("stock", "add", -1, low=0),)}),
        "pivot",
        "retriable",
        "retriable",
    )
    return World(Outbox(), plan).run()


def compensation_refused() -> World:
    """The compensation of step 1 would take what others have spent."""
    plan = chain("a", "b", "c", operations={"c": REFUSE})
    undo = (Operation("k", "add", -1, low=5),)
    steps = (plan.steps[0], replace(plan.steps[1], compensation=undo), plan.steps[2])
    return World(Outbox(policies=Policies(compensation_attempts=3)), Plan(1, steps)).run()


def stuck_alerts(world: World) -> list[str]:
    return [name for name, _, alert in world.alerts if alert.stuck]


@pytest.mark.parametrize("make", [refusing_retriable, compensation_refused])
def test_what_repetition_cannot_solve_is_parked_durably_with_an_alert(make: object) -> None:
    world: World = make()  # type: ignore[operator]
    assert stuck_alerts(world) == ["b"]
    assert world.broker == {}, "a parked event is acknowledged"
    world.crash("b")
    world.drain()
    assert stuck_alerts(world) == ["b", "b"], "it is still stuck after a restart, and says so"
    assert world.nodes["b"].machines[1].state == "parked"


@pytest.mark.parametrize("make", [refusing_retriable, compensation_refused])
def test_a_copy_of_a_parked_event_is_acknowledged(make: object) -> None:
    world: World = make()  # type: ignore[operator]
    sender = "a" if make is refusing_retriable else "c"
    world.broker[99] = world.store(sender).outbox[-1].message
    world.drain()
    assert world.broker == {}
    assert stuck_alerts(world) == ["b"]


def test_an_operator_retries_a_retriable_step_once_there_is_stock() -> None:
    world = refusing_retriable()
    world.event("b", 1, Request(1, kind="retry"))
    world.drain()
    assert stuck_alerts(world) == ["b", "b"]
    world.store("b").values["stock"] = 1
    world.event("b", 1, Request(1, kind="retry"))
    world.drain()
    assert assert_all_or_nothing(world) == {1}


def test_a_parked_event_is_not_mixed_up_with_others_and_has_one_record() -> None:
    world = compensation_refused()
    machine = world.nodes["b"].machines[1]
    (record,) = world.nodes["b"].log[1]
    assert machine.handle(Delivery(event("step-done", 1), 50)) == [], "not what is parked: it has to come again"
    world.event("b", 1, Request(1, kind="retry"))
    world.drain()
    assert machine.state == "parked"
    assert world.nodes["b"].log[1] == [record]


def test_an_operators_retry_gives_a_compensation_all_its_attempts_again() -> None:
    machine = OutboxService("b", 1, Policies(compensation_attempts=3))
    effects = machine.handle(Delivery(event("step-refused", 1), 7))
    for _ in range(2):
        for _ in range(2):
            assert isinstance(machine.handle(Done("compensation", "refused"))[0], SetTimer)
            machine.handle(Timer("backoff"))
        effects = machine.handle(Done("compensation", "refused"))
        assert isinstance(effects[-1], Alert)
        assert machine.state == "parked"
        machine.handle(Request(1, kind="retry"))


def test_a_compensation_without_its_action_refuses_the_late_action() -> None:
    """No correct chain does that; a broker that loses and operators who send again might."""
    late, early = event("step-done", 1), event("step-refused", 1)
    world = World(Outbox(), plan_of(3))
    world.requests.clear()
    world.broker[1] = early
    world.drain()
    world.broker[2] = late
    world.drain()
    assert world.store("b").values.get("k", 0) == 0
    assert world.store("b").rows[1, 1, "action"] == "tombstone"


def test_an_operator_skips_a_compensation_and_the_chain_goes_back_further() -> None:
    world = compensation_refused()
    world.event("b", 1, Request(1, kind="skip", body="refunded by hand"))
    world.drain()
    assert world.net(1) == {0: 0, 1: 1, 2: 0}
    assert world.left_over() == []


def test_an_operator_skips_a_step_and_the_chain_goes_on() -> None:
    world = refusing_retriable()
    world.event("b", 1, Request(1, kind="skip"))
    world.drain()
    assert world.net(1) == {0: 1, 1: 0, 2: 1}
    assert world.left_over() == []


@pytest.mark.parametrize("make", [refusing_retriable, compensation_refused])
def test_an_operator_resolves_a_transaction_and_nothing_more_happens(make: object) -> None:
    world: World = make()  # type: ignore[operator]
    before = world.net(1)
    world.event("b", 1, Request(1, kind="resolve"))
    world.drain()
    assert world.net(1) == before
    assert world.left_over() == []


def test_an_operators_decision_that_cannot_be_stored_leaves_it_parked() -> None:
    world = refusing_retriable()
    world.fail = lambda _name, effect: isinstance(effect, Transact) and effect.tag == "settled"
    world.event("b", 1, Request(1, kind="resolve"))
    world.drain()
    assert stuck_alerts(world) == ["b", "b"]
    world.fail = None
    world.event("b", 1, Request(1, kind="resolve"))
    world.drain()
    assert world.left_over() == []


@pytest.mark.parametrize("kind", ["retry", "skip", "resolve"])
def test_an_operator_who_is_late_gets_an_alert_and_changes_nothing(kind: str) -> None:
    world = World(Outbox(), plan_of(2)).run()
    world.event("b", 1, Request(1, kind=kind))
    world.drain()
    assert assert_all_or_nothing(world) == {1}
    assert [name for name, _, _ in world.alerts] == ["b"]


def test_without_a_limit_a_refused_compensation_is_tried_for_ever() -> None:
    machine = OutboxService("b", 1, Policies(compensation_attempts=None))
    machine.handle(Delivery(event("step-refused", 1), 7))
    for _ in range(200):
        assert isinstance(machine.handle(Done("compensation", "refused"))[0], SetTimer)
        machine.handle(Timer("backoff"))
    assert machine.handle(Done("compensation", "done"))[0] == Acknowledge(7)


# --- hops, causes, faults of peers ----------------------------------------------------------------------------------------------------


def event(kind: str, step: int, hops: int = 1, n: int = 3) -> Message:
    """An event as a peer sends it."""
    return Message(kind, 1, "x", NAMES[step], StepEvent(step, hops, (1, 0, "action"), plan_of(n)))


def test_every_event_counts_hops_and_names_the_local_transaction_that_caused_it() -> None:
    world = World(Outbox(), plan_of(3, refused=3)).run()
    bodies = [row.message.body for name in "abcba" for row in world.store(name).outbox]
    chain_of = sorted({body.hops: (body.step, body.cause) for body in bodies}.items())
    assert chain_of == [
        (1, (1, (1, 0, "action"))),
        (2, (2, (1, 1, "action"))),
        (3, (1, (1, 2, "action"))),
        (4, (0, (1, 1, "compensation"))),
    ]


@pytest.mark.parametrize("kind", ["step-done", "step-refused"])
def test_an_event_with_too_many_hops_is_parked_and_no_cycle_is_endless(kind: str) -> None:
    policies = Policies(maximum_hops=5)
    assert OutboxService("b", 1, policies).handle(Delivery(event(kind, 1, hops=5), 3))[0].__class__ is Transact
    effects = OutboxService("b", 1, policies).handle(Delivery(event(kind, 1, hops=6), 3))
    assert [type(one) for one in effects] == [Append, Acknowledge, Alert]
    alert = effects[-1]
    assert isinstance(alert, Alert)
    assert alert.stuck
    assert "maximum_hops is 5" in alert.reason


@pytest.mark.parametrize(
    "wrong",
    [
        Delivery(Message("step-done", 1, "a", "b", StepEvent(0, 1, (1, 0, "action"), plan_of(2))), 1),
        Delivery(Message("step-done", 1, "a", "b", StepEvent(2, 1, (1, 0, "action"), plan_of(2))), 1),
        Delivery(Message("step-done", 1, "a", "b", StepEvent(-1, 1, (1, 0, "action"), plan_of(2))), 1),
        Delivery(Message("step-refused", 1, "a", "b", None), 1),
        Delivery(Message("unheard-of", 1, "a", "b", None), 1),
        Request(1, plan_of(2)),
        Request(1, None),
    ],
)
def test_what_no_correct_peer_sends_is_refused_and_changes_nothing(wrong: Delivery | Request) -> None:
    machine = OutboxService("b", 1)
    blank = machine.key()
    with pytest.raises(PeerFault, match="b"):
        machine.handle(wrong)
    assert machine.key() == blank


# --- the table, and legal plans -------------------------------------------------------------------------------------------------------


def operators_anywhere(witness: Witness) -> None:
    """Requests of operators and copies of everything, in every state that lasts."""
    for kind in ("retry", "skip", "resolve"):
        world = World(Outbox(), plan_of(2), witness=witness).run()
        world.event("b", 1, Request(1, kind=kind))
    for make in (refusing_retriable, compensation_refused):
        for kind in ("retry", "skip", "resolve"):
            for fails in (False, True):
                world = make()
                world.witness = witness
                if fails:
                    world.fail = lambda _name, effect: isinstance(effect, Transact) and effect.tag == "settled"
                for stray in (Request(1, world.plans[1]), Delivery(replace_kind("completed"), 98)):
                    world.event("b", 1, stray)
                world.event("b", 1, Delivery(event("step-done", 1), 97))
                world.event("b", 1, Delivery(event("step-refused", 1), 96))
                world.event("b", 1, Request(1, kind=kind))
                world.drain()
    hopping = World(Outbox(policies=Policies(maximum_hops=1)), plan_of(3, refused=3), witness=witness)
    hopping.run()
    hopping = World(Outbox(policies=Policies(maximum_hops=2)), plan_of(3, refused=3), witness=witness)
    hopping.run()


def replace_kind(kind: str) -> Message:
    return Message(kind, 1, "c", "b", StepEvent(1, 3, (1, 2, "action"), plan_of(3)))


def test_every_row_of_the_table_happens() -> None:
    """What no play reaches would be dead or untested code."""
    witness: Witness = set()
    operators_anywhere(witness)
    for tag in ("action", "compensation"):
        machine_world = World(
            Outbox(closing=True),
            plan_of(3, refused=3 if tag == "compensation" else None),
            witness=witness,
            fail=lambda name, effect, tag=tag: name == "b" and isinstance(effect, Transact) and effect.tag == tag,  # type: ignore[misc]
        )
        for _ in range(10_000):
            machine_world._advance()
            machine = machine_world.nodes["b"].machines.get(1)
            if machine is not None and machine.state == "waiting":
                break
        for kind in ("step-done", "step-refused"):
            machine_world.event("b", 1, Delivery(event(kind, 1), 50))
        machine_world.event("b", 1, Delivery(replace_kind("completed"), 51))
        machine_world.event("b", 1, Request(1, machine_world.plans[1]))
        for kind in ("retry", "skip", "resolve"):
            machine_world.event("b", 1, Request(1, kind=kind))
        machine_world.fail = None
        machine_world.drain()
    for times in (1, Policies().attempts + 1):
        world = failing("a", times)
        world.witness = witness
        world.run()
    seen = {(state, kind, to) for name, state, kind, to in witness if name == "OutboxService"}
    missing = [
        (row.state, row.event, to)
        for row in OutboxService.transitions
        for to in row.to
        if (row.state, row.event, to) not in seen
    ]
    assert missing == []


@pytest.mark.parametrize(
    ("plan", "problem"),
    [
        (Plan(1, ()), "no steps"),
        (with_kinds(plan_of(3), "compensatable", "pivot", "compensatable"), "step 'step 2' is compensatable, but"),
        (with_kinds(plan_of(3), "pivot", "pivot", "retriable"), "step 'step 1' is pivot, but"),
        (with_kinds(plan_of(2), "compensatable", "retriable"), "does not come after a pivot"),
        (
            Plan(1, (replace(plan_of(2).steps[0], compensation=()), plan_of(2).steps[1])),
            "'step 0' changes data and has no compensation",
        ),
        (Plan(1, plan_of(2).steps[::-1]), "not in a topological order"),
        (Plan(1, (replace(plan_of(2).steps[0], after=(1,)), plan_of(2).steps[1])), "not in a topological order"),
    ],
)
def test_a_plan_that_cannot_be_a_chain_is_refused_with_the_reason(plan: Plan, problem: str) -> None:
    reason = Outbox().check(plan)
    assert reason is not None
    assert problem in reason
    assert "\n" not in reason


@pytest.mark.parametrize(
    "plan",
    [
        plan_of(1),
        plan_of(8),
        with_kinds(plan_of(4), "compensatable", "compensatable", "pivot", "retriable"),
        with_kinds(plan_of(2), "pivot", "retriable"),
        Plan(1, (Step(0, "look", "a", (Operation("k", "read"),)), plan_of(2).steps[1])),
    ],
)
def test_a_legal_plan_is_accepted_and_has_exactly_one_point_of_no_return(plan: Plan) -> None:
    assert Outbox().check(plan) is None
    assert sum(is_point_of_no_return(plan.steps, index) for index in range(len(plan.steps))) == 1


@pytest.mark.parametrize("n", range(1, 9))
def test_the_limit_of_hops_that_check_asks_for_is_the_longest_way_forth_and_back(n: int) -> None:
    needed = max(2 * (n - 1), 0)
    assert chain_problem(plan_of(n), Policies(maximum_hops=needed)) is None
    world = World(Outbox(policies=Policies(maximum_hops=needed)), plan_of(n, refused=n)).run()
    assert assert_all_or_nothing(world) == {0}
    if needed:
        reason = chain_problem(plan_of(n), Policies(maximum_hops=needed - 1))
        assert reason is not None
        assert f"up to {needed} events" in reason
        world = World(Outbox(policies=Policies(maximum_hops=needed - 1)), plan_of(n, refused=n)).run()
        assert len(stuck_alerts(world)) == 1


def test_the_strategy_takes_the_scenarios_policies_only_if_it_has_none() -> None:
    ours, theirs = Policies(attempts=1), Policies(attempts=2)
    assert Outbox(closing=True).configured(theirs) == Outbox(closing=True, policies=theirs)
    assert Outbox(policies=ours).configured(theirs).policies == ours


def test_all_machines_are_drawn_in_the_documentation() -> None:
    """That the drawings are fresh is tested for all pages at once; that test would not notice a page that lost its marks."""
    page = (Path(__file__).parents[2] / "docs" / "protocols" / "outbox.md").read_text(encoding="utf-8")
    assert to_mermaid(OutboxService) in page
    for part in (Relay, Poller, Courier):
        assert to_mermaid(part) in page


def test_the_strategy_says_what_it_is() -> None:
    strategy: Strategy = Outbox()
    assert (strategy.name, strategy.promise, strategy.uses_broker, strategy.hub) == ("outbox", "accepted", True, None)
    assert strategy.entry(plan_of(3)) == "a"
    assert len(list(strategy.daemons("a"))) == 1
    assert Outbox(wake=True).wake_on_commit
    assert not Outbox().wake_on_commit


def test_a_decision_is_reported_before_anything_that_a_crash_could_cut_off() -> None:
    machine = OutboxService("c", 1)
    machine.handle(Delivery(event("step-done", 2), 7))
    assert machine.handle(Done("action", "done"))[:2] == [Decided("committed"), Acknowledge(7)]
