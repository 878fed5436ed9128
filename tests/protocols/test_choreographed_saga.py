"""Choreographed sagas with joins: exact costs, all or nothing in the right order, and a monitor that sees what stands still."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import simtx
from simtx.errors import PeerFault, ScenarioError
from simtx.protocols.choreographed_plan import BranchEvent, graph_of, plan_problem
from simtx.protocols.choreographed_saga import Choreography
from simtx.protocols.choreographed_service import ChoreographedService
from simtx.protocols.contract import (
    Acknowledge,
    Alert,
    Append,
    CancelTimer,
    Delivery,
    Done,
    Forget,
    Message,
    Operation,
    Plan,
    Request,
    SetTimer,
    Step,
    Timer,
    Transact,
)
from simtx.protocols.names import TOMBSTONE
from simtx.protocols.outbox import Outbox
from simtx.protocols.policies import Policies
from simtx.protocols.registry import strategy
from simtx.protocols.saga_monitor import SagaMonitor
from tests.amounts import many
from tests.protocols.helpers import World, chain

REFUSE: tuple[Operation, ...] = (Operation("k", "add", 1), Operation("k", "refuse"))
NAMES = "abcdefgh"


def graph(*after: tuple[int, ...], refused: Any = (), services: str = NAMES, tx: int = 1) -> Plan:
    """A plan with these dependencies, a service for each step, of which some refuse."""
    steps = []
    for index, before in enumerate(after):
        work = REFUSE if index in refused else (Operation("k", "add", 1),)
        undo = (Operation("k", "add", -1),)
        steps.append(Step(index, f"step {index}", services[index], work, undo, "compensatable", before))
    return Plan(tx, tuple(steps))


def diamond(width: int = 2, refused: Any = (), tx: int = 1) -> Plan:
    """A first step, branches, and a join."""
    branches = range(1, width + 1)
    return graph((), *((0,) for _ in branches), tuple(branches), refused=refused, tx=tx)


def assert_sound(world: World, tx: int = 1) -> set[int]:
    """Every step is in effect once, or none is, none was undone before what came after it, and nothing is left over."""
    plan = world.plans[tx]
    net = dict.fromkeys(range(len(plan.steps)), 0)
    behind = {
        step.index: {one.index for one in plan.steps if step.index in ancestors(plan, one.index)} for step in plan.steps
    }
    for one in world.applied:
        if one.tx == tx:
            for index in one.steps:
                net[index] += -1 if one.compensation else 1
                assert net[index] in (0, 1), world.history
                assert not one.compensation or not any(net[later] for later in behind[index]), world.history
    assert set(net.values()) in ({0}, {1}), (net, world.history)
    assert world.left_over() == []
    decided = set(world.decided.get(tx, []))
    assert decided <= ({"committed"} if set(net.values()) == {1} else {"aborted"})
    return set(net.values())


def ancestors(plan: Plan, index: int) -> set[int]:
    found = set(plan.steps[index].after)
    return found.union(*(ancestors(plan, one) for one in found))


# --- the graph --------------------------------------------------------------------------------------------------------------------


def test_a_step_that_comes_after_none_waits_for_the_first_and_the_last_waits_for_all_ends() -> None:
    assert graph_of(graph((), (), ()).steps).before == ((), (0,), (0, 1))
    assert graph_of(graph((), (0,), (0,), (1,)).steps).before == ((), (0,), (0,), (1, 2))
    assert graph_of(diamond().steps).before == ((), (0,), (0,), (1, 2))
    assert graph_of(diamond().steps).ends == (3,)


def test_the_pivot_waits_for_all_that_could_be_undone() -> None:
    plan = graph((), (0,), (0,), (2,))
    kinds = ("compensatable", "compensatable", "pivot", "retriable")
    steps = tuple(replace(step, kind=kind) for step, kind in zip(plan.steps, kinds, strict=True))  # type: ignore[arg-type]
    assert plan_problem(Plan(1, steps)) is None
    assert graph_of(steps).before == ((), (0,), (0, 1), (2,))


@pytest.mark.parametrize(
    ("plan", "problem"),
    [
        (Plan(1, ()), "no steps"),
        (graph((), (2,), ()), "topological order"),
        (Plan(1, (replace(chain("a").steps[0], kind="retriable"),)), "does not come after a pivot"),
        (Plan(1, tuple(replace(one, kind="pivot") for one in chain("a", "b").steps)), "are all pivots"),
        (
            Plan(1, (replace(chain("a", "b").steps[0], kind="pivot"), chain("a", "b").steps[1])),
            "the pivot 'step 0' does not come after it",
        ),
        (Plan(1, (replace(chain("a", "b").steps[0], compensation=()), chain("a", "b").steps[1])), "no compensation"),
    ],
)
def test_a_plan_that_cannot_be_played_is_refused_in_one_line(plan: Plan, problem: str) -> None:
    said = Choreography().check(plan)
    assert said is not None
    assert problem in said
    assert "\n" not in said


def test_no_service_is_called_like_the_monitor() -> None:
    assert Choreography().check(chain("monitor", "b")) is None
    assert "is the name of the monitor" in str(Choreography(monitor=True).check(chain("monitor", "b")))


def test_the_built_in_scenarios_can_be_played() -> None:
    from simtx.workload.planner import template

    for name in simtx.scenarios():
        assert Choreography(monitor=True).check(template(simtx.load(name))) is None


# --- exact costs ------------------------------------------------------------------------------------------------------------------


def costs(world: World) -> tuple[int, int]:
    return sum(world.sent.values()), sum(world.forced.values())


@pytest.mark.parametrize("n", range(1, 7))
def test_on_a_chain_it_costs_what_the_outbox_costs(n: int) -> None:
    for k in (None, *range(n)):
        plan = chain(*NAMES[:n], operations={} if k is None else {NAMES[k]: REFUSE})
        here, there = World(Choreography(), plan).run(), World(Outbox(), plan).run()
        assert costs(here) == costs(there) == ((n - 1, n) if k is None else (2 * k, 2 * k + 1))
        assert assert_sound(here) == ({1} if k is None else {0})
        assert here.answers == there.answers
        assert here.decided == there.decided


@pytest.mark.parametrize("width", range(1, 6))
def test_a_diamond_costs_an_event_an_edge_and_a_row_for_each_report_at_the_join_but_the_last(width: int) -> None:
    world = World(Choreography(), diamond(width)).run()
    assert costs(world) == (2 * width, width + 2 + width - 1)
    assert assert_sound(world) == {1}
    assert world.decided == {1: ["committed"]}
    back = World(Choreography(), diamond(width, {width + 1})).run()
    assert costs(back) == (4 * width, 4 * width + 1)
    assert assert_sound(back) == {0}


@pytest.mark.parametrize("width", range(2, 5))
def test_what_refusals_of_k_branches_cost(width: int) -> None:
    """K < w: 6w - 1 - 2K events, 5w + 2 - 3K forced writes, whoever refuses; all: 3w - 1, 2w + 1."""
    for k in range(1, width + 1):
        for refused in combinations(range(1, width + 1), k):
            world = World(Choreography(), diamond(width, refused)).run()
            expected = (6 * width - 1 - 2 * k, 5 * width + 2 - 3 * k) if k < width else (3 * width - 1, 2 * width + 1)
            assert costs(world) == expected, refused
            assert assert_sound(world) == {0}
            assert set(world.decided[1]) == {"aborted"}


@pytest.mark.parametrize("refused", [(), (3,), (1,), (0,)])
def test_the_monitor_takes_one_event_for_each_step_that_is_done_refused_undone_or_fenced(
    refused: tuple[int, ...],
) -> None:
    plain = World(Choreography(), diamond(refused=refused)).run()
    world = World(Choreography(monitor=True), diamond(refused=refused)).run()
    ended = sum(len(one.steps) for one in world.applied) + len(refused)
    fenced = sum(value == TOMBSTONE for name in NAMES[:4] for value in world.store(name).rows.values())
    own = 0 if 0 in refused else 2  # its start and its end are forced to the monitor's log
    assert costs(world) == (costs(plain)[0] + ended + fenced, costs(plain)[1] + own)
    assert world.forced["monitor"] == own
    assert assert_sound(world) == assert_sound(plain)
    assert not [alert for _, _, alert in world.alerts]


# --- crashes, copies, orders ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("refused", [(), (1,), (2,), (3,), (1, 2)], ids=str)
@pytest.mark.sample(2)
def test_a_crash_between_any_two_effects_loses_nothing_and_doubles_nothing(refused: tuple[int, ...]) -> None:
    for monitor in (False, True):
        chosen = Choreography(monitor=monitor)
        points = World(chosen, diamond(refused=refused)).run().points
        for point in range(0, points, 11 if monitor else 3):
            world = World(chosen, diamond(refused=refused)).run(crashes=[point])
            outcome = assert_sound(world)
            if world.answers.get(1) == ["accepted"]:
                assert outcome == ({0} if refused else {1}), "what was accepted must not be lost"


def test_copies_of_the_request_and_of_every_event_change_nothing() -> None:
    for refused in ((), (3,), (1,)):
        plan = diamond(refused=refused)
        world = World(Choreography(), plan).run()
        before = (dict(world.forced), list(world.applied))
        for name in NAMES[:4]:
            for row in list(world.store(name).outbox):
                world.published += 1
                world.broker[world.published] = row.message
        world.requests.append(("a", Request(1, plan)))
        world.drain()
        assert (dict(world.forced), list(world.applied)) == before
        assert_sound(world)


PLANS = st.integers(2, 6).flatmap(
    lambda n: st.tuples(
        *(st.sets(st.integers(0, index - 1), max_size=3) if index else st.just(set()) for index in range(n))
    )
)


@pytest.mark.more
@settings(max_examples=many(40, 400), deadline=None)
@given(
    seed=st.integers(0, 2**32),
    after=PLANS,
    refused=st.sets(st.integers(0, 5), max_size=2),
    ordered=st.booleans(),
    shared=st.booleans(),
    monitor=st.booleans(),
)
def test_random_graphs_under_random_faults_end_all_or_nothing_and_are_undone_in_order(
    seed: int, after: tuple[set[int], ...], refused: set[int], ordered: bool, shared: bool, monitor: bool
) -> None:
    """Crashes, losses, copies, reordering, failing stores and early timers, also with few services."""
    services = "abaabb" if shared else NAMES
    plan = graph(*(tuple(sorted(one)) for one in after), refused=refused, services=services)
    world = World(Choreography(monitor=monitor, policies=Policies(attempts=2)), plan, ordered=ordered)
    world.chaos(random.Random(seed), failures=0.1)
    outcome = assert_sound(world)
    refuses = any(index < len(plan.steps) for index in refused)
    if world.answers.get(1) == ["accepted"]:
        assert outcome == ({0} if refuses else {1})


# --- by hand ----------------------------------------------------------------------------------------------------------------------


def event(
    kind: str, step: int, source: int, *, refused: int = -1, ran: bool = True, plan: Plan | None = None
) -> Message:
    plan = plan or diamond()
    body = BranchEvent(step, source, refused, ran, (1, source, "action"), plan)
    return Message(kind, 1, plan.steps[source].service, plan.steps[step].service, body)


def service(name: str) -> ChoreographedService:
    return ChoreographedService(name, 1)


def worked(effects: list[Any]) -> Transact:
    (one,) = effects
    assert isinstance(one, Transact)
    return one


def test_a_join_counts_branches_and_not_messages() -> None:
    machine = service("d")
    row = worked(machine.handle(Delivery(event("step-done", 3, 1), 7)))
    assert (row.key, row.accepted and row.accepted.value) == ((1, 3, "done", 0), 1)
    assert machine.handle(Done("count", "done")) == [Acknowledge(7), Forget()]
    again = service("d")
    again.handle(Delivery(event("step-done", 3, 1), 8))
    assert again.handle(Done("count", "duplicate", 1)) == [Acknowledge(8), Forget()]
    last = service("d")
    last.handle(Delivery(event("step-done", 3, 2), 9))
    assert worked(last.handle(Done("count", "duplicate", 1))).tag == "action"
    assert last.state == "acting"


def test_a_branch_that_has_not_begun_is_fenced_and_says_so() -> None:
    machine = service("d")
    fence = worked(machine.handle(Delivery(event("step-cancelled", 3, 2, refused=1), 7)))
    assert fence.key == (1, 3, "action")
    assert fence.accepted is not None
    assert fence.accepted.value == TOMBSTONE
    told = [(one.kind, one.to, one.body.ran, one.body.refused) for one in fence.accepted.outbox]
    assert told == [("step-refused", "b", False, 1), ("step-refused", "c", False, 1)]
    assert machine.handle(Done("fence", "done")) == [Acknowledge(7), Forget()]


def test_who_was_done_before_the_fence_withdraws_what_is_behind_it() -> None:
    machine = service("c")
    machine.handle(Delivery(event("step-cancelled", 2, 0, refused=1), 7))
    row = worked(machine.handle(Done("fence", "duplicate", "done")))
    assert row.key == (1, 2, "undone", 0)
    assert row.accepted is not None
    assert [(one.kind, one.to) for one in row.accepted.outbox] == [("step-cancelled", "d")]


def test_a_refusal_withdraws_none_of_those_that_it_comes_after() -> None:
    machine = service("a")
    row = worked(machine.handle(Delivery(event("step-refused", 0, 1, refused=3), 7)))
    assert row.accepted is not None
    assert row.accepted.outbox == ()
    other = service("a")
    row = worked(other.handle(Delivery(event("step-refused", 0, 1, refused=1), 7)))
    assert row.accepted is not None
    assert [(one.kind, one.to) for one in row.accepted.outbox] == [("step-cancelled", "c")]


@pytest.mark.parametrize("tag", ["count", "fence"])
def test_a_row_that_cannot_be_written_is_tried_again_and_never_parked(tag: str) -> None:
    machine = ChoreographedService("d", 1, Policies(compensation_attempts=1, alert_after=2))
    kind = "step-done" if tag == "count" else "step-cancelled"
    machine.handle(Delivery(event(kind, 3, 1), 7))
    alerts: list[str] = []
    for _ in range(4):
        effects = machine.handle(Done(tag, "failed"))
        assert isinstance(effects[0], SetTimer)
        assert machine.state == "waiting"
        alerts += [one.reason for one in effects if isinstance(one, Alert)]
        assert machine.handle(Delivery(event("step-done", 3, 2), 8)) == []
        assert worked(machine.handle(Timer("backoff"))).tag == tag
    assert len(alerts) == 1
    assert alerts[0].endswith(f"failed 2 times to {tag}, goes on trying")


def test_every_row_of_the_outbox_is_written_under_its_lock_if_the_relay_counts_on_that() -> None:
    """Of a request that is given up, too: the monitor is told of it."""
    locked: set[str] = set()
    never = (1, 0, "action")

    def fails(_: str, effect: Any) -> bool:
        if isinstance(effect, Transact) and effect.outbox_rows():
            assert effect.serial_outbox, effect
            locked.add(effect.tag)
        return isinstance(effect, Transact) and effect.tag == "action" and effect.key == never

    chosen = Choreography(reader="lock", monitor=True, policies=Policies(attempts=2))
    assert_sound(World(chosen, diamond(), fail=fails).run())
    never = (0, 0, "")
    for refused in (1, 3):
        assert_sound(World(chosen, diamond(refused={refused}), fail=fails).run())
    assert locked == {"action", "give-up", "count", "fence", "compensation"}


@pytest.mark.parametrize(
    "wrong",
    [
        event("step-done", 3, 0),  # no neighbour
        event("step-refused", 3, 1),  # from before, and not from behind
        Message("step-done", 1, "b", "a", event("step-done", 3, 1).body),  # of another service
        Message("step-done", 1, "b", "d", None),
    ],
    ids=str,
)
def test_an_event_of_no_neighbour_is_refused(wrong: Message) -> None:
    with pytest.raises(PeerFault):
        service(wrong.to).handle(Delivery(wrong, 7))


# --- parked -----------------------------------------------------------------------------------------------------------------------


def compensation_refused() -> World:
    """The compensation of a branch would take what others have spent."""
    plan = diamond(refused={3})
    undo = (Operation("k", "add", -1, low=5),)
    steps = tuple(replace(one, compensation=undo) if one.index == 1 else one for one in plan.steps)
    return World(
        Choreography(monitor=True, patience=0.2, policies=Policies(compensation_attempts=3)), Plan(1, steps)
    ).run()


def test_a_compensation_that_is_refused_is_parked_and_the_monitor_says_where_the_saga_stands() -> None:
    world = compensation_refused()
    assert [name for name, _, alert in world.alerts if alert.stuck] == ["b"]
    (said,) = [alert.reason for name, _, alert in world.alerts if name == "monitor"]
    assert said == (
        "saga 1 is stuck: no report for 0.2 s; done: step 0, step 1; refused or undone: step 2, step 3; still to undo: step 0, step 1"
    )
    world.crash("b")
    world.drain()
    assert world.nodes["b"].machines[1].state == "parked"
    world.event("b", 1, Request(1, None, "skip", "paid back by hand"))
    world.drain()
    assert world.store("b").rows[1, 1, "compensation"] == "skipped"
    assert world.net(1) == {0: 0, 1: 1, 2: 0, 3: 0}
    assert world.left_over() == []


# --- the monitor ------------------------------------------------------------------------------------------------------------------


def report(kind: str, step: int, plan: Plan | None = None) -> Delivery:
    body = BranchEvent(step, step, -1, True, (1, step, "action"), plan or diamond())
    return Delivery(Message(kind, 1, "x", "monitor", body), step)


def test_the_monitor_watches_from_the_first_step_to_the_end() -> None:
    machine = SagaMonitor("monitor", 1, 5.0)
    assert machine.handle(report("saga-done", 1)) == [Acknowledge(1)]
    assert machine.state == "idle", "it knows a saga from its start"
    assert SetTimer("patience", 5.0) in machine.handle(report("saga-done", 0))
    for step in (2, 1):
        machine.handle(report("saga-done", step))
        assert machine.state == "watching"
    end = Append(("seen", "saga-done", 3, diamond()))
    assert machine.handle(report("saga-done", 3)) == [CancelTimer("patience"), end, Acknowledge(3), Forget()]


def test_a_decision_to_undo_is_no_end_for_the_monitor() -> None:
    machine = SagaMonitor("monitor", 1, 5.0)
    for kind, step in (("saga-done", 0), ("saga-done", 1), ("saga-refused", 2), ("saga-undone", 1)):
        machine.handle(report(kind, step))
        assert machine.state == "watching"
    complaint = machine.handle(Timer("patience"))[0]
    assert isinstance(complaint, Alert)
    assert "still to undo: step 0" in complaint.reason
    assert machine.handle(report("saga-undone", 0))[-1] == Forget()


def test_what_was_slow_is_not_stuck_any_more_and_what_nobody_helps_is_given_up() -> None:
    machine = SagaMonitor("monitor", 1, 5.0)
    machine.handle(report("saga-done", 0))
    assert [type(one) for one in machine.handle(Timer("patience"))] == [Alert, SetTimer]
    assert CancelTimer("silence") in machine.handle(report("saga-done", 1))
    assert machine.state == "watching"
    machine.handle(Timer("patience"))
    assert machine.handle(Timer("silence")) == [Forget()]


def test_a_monitor_that_comes_back_goes_on_with_what_its_log_has_kept() -> None:
    machine = SagaMonitor("monitor", 1, 5.0)
    records = [("seen", "saga-done", step, diamond()) for step in (0, 1)]
    assert machine.recover(records) == [SetTimer("patience", 5.0)]
    assert machine.done == (0, 1)
    over = SagaMonitor("monitor", 1, 5.0)
    assert over.recover([*records, ("seen", "saga-undone", 0, diamond())]) == [Forget()]


def two_ends() -> Plan:
    """A step, the pivot, and two steps behind it that nothing comes after."""
    kinds = ("compensatable", "pivot", "retriable", "retriable")
    plan = graph((), (0,), (1,), (1,))
    return Plan(1, tuple(replace(step, kind=kind) for step, kind in zip(plan.steps, kinds, strict=True)))  # type: ignore[arg-type]


def test_a_crash_of_the_monitor_between_two_ends_makes_no_saga_stuck_that_is_over() -> None:
    chosen = Choreography(monitor=True, patience=0.2)
    calm = World(chosen, two_ends()).run()
    assert calm.forced["monitor"] == 3, "its start and both ends"
    for point in range(calm.points):
        world = World(chosen, two_ends()).run(crashes=[point])
        assert_sound(world)
        assert not [alert for name, _, alert in world.alerts if name == "monitor"], point


def test_what_was_done_before_a_step_that_is_done_is_not_waited_for() -> None:
    machine = SagaMonitor("monitor", 1, 5.0)
    machine.recover([("seen", "saga-done", 0, two_ends())])  # the report of the pivot was lost with a crash
    machine.handle(report("saga-done", 2, two_ends()))
    (said, _) = machine.handle(Timer("patience"))
    assert said == Alert("saga 1 is stuck: no report for 5 s; done: step 0, step 1, step 2; waits for: step 3")


@pytest.mark.parametrize("refused", [(), (1,)], ids=str)
def test_the_monitor_sees_every_saga_that_an_event_was_lost_of(refused: tuple[int, ...]) -> None:
    """Whichever event of a service never comes, as after a dead letter: the saga stands still or is over, and one that stands still is called stuck, also by a monitor that crashes."""
    chosen = Choreography(monitor=True, patience=0.2)
    stuck = 0
    for lost in range(12):
        for crash in (False, True):
            world = World(chosen, diamond(refused=refused))
            seen: set[int] = set()
            while world._advance():
                for number, message in list(world.broker.items()):
                    if message.to != "monitor" and number not in seen:
                        seen.add(number)
                        if len(seen) - 1 == lost:
                            del world.broker[number]
                            if crash:
                                world.crash("monitor")
            net = set(world.net(1).values())
            over = net == {1} or (net == {0} and world.store("a").rows.get((1, 0, "compensation")) == "undone")
            said = any("is stuck" in alert.reason for name, _, alert in world.alerts if name == "monitor")
            assert said is not over, (lost, crash, world.history)
            stuck += said
    assert stuck >= 8


# --- the strategy -----------------------------------------------------------------------------------------------------------------


def test_what_it_says_of_itself() -> None:
    plain, watched = Choreography(), strategy("choreography:monitor=true,patience=2,reader=lock")
    assert (plain.name, plain.promise, plain.uses_broker, plain.hub) == ("choreography", "accepted", True, None)
    assert isinstance(watched, Choreography)
    assert (watched.hub, watched.patience) == ("monitor", 2.0)
    assert list(watched.daemons("monitor")) == []
    assert isinstance(watched.machine("monitor", 1), SagaMonitor)
    assert plain.configured(Policies(attempts=3)).policies == Policies(attempts=3)


@pytest.mark.parametrize(
    "options", [{"monitor": 1}, {"patience": 0}, {"patience": "5s"}, {"reader": "all"}, {"wake": "no"}]
)
def test_an_option_that_makes_no_sense_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ScenarioError):
        Choreography(**options)
