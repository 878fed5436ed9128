"""Try-Confirm-Cancel: exact costs, what is reserved how, the fence, faults; in a simulation the same costs, and a log that replays."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

import simtx
from simtx.conformance.check import check_log
from simtx.errors import PeerFault, ProtocolViolation
from simtx.metrics.run import Run
from simtx.protocols.contract import (
    Answer,
    Append,
    Branch,
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
    Timer,
    Transact,
)
from simtx.protocols.tcc import TccCoordinator, TccParticipant, TryConfirmCancel
from simtx.protocols.tcc_participant import reservation
from simtx.scenario import Scenario
from tests.protocols.helpers import World
from tests.protocols.two_phase_scripts import ADD, POLICIES, READ, REFUSE, check, command, plan, updating, vote
from tests.simulator.worlds import chain

TCC = TryConfirmCancel()
SIZES = range(1, 9)
TAKE = (Operation("k", "add", -1, low=0),)
GIVE = (Operation("k", "add", 1),)


def quiet(shape: Plan, seed: str) -> World:
    """Any order of delivery, and no fault."""
    world = World(TCC, shape)
    return world.chaos(random.Random(seed), steps=1000, crashes=0, loss=0, duplication=0, early_timers=0, failures=0)


# --- costs ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", SIZES)
def test_commit_costs_4n_messages_n_of_them_acks_and_2n_plus_2_forced_writes(count: int) -> None:
    world = quiet(updating(count), str(count))
    assert check(world) == "committed"
    assert world.sent == {"try": count, "tried": count, "confirm": count, "confirmed": count}
    assert world.forced == {"coordinator": 2} | {f"s{index}": 2 for index in range(count)}
    assert world.alerts == world.suspects == []


@pytest.mark.parametrize("count", SIZES)
def test_refused_by_k_of_n_costs_4n_minus_2k_messages_and_2n_minus_k_plus_1_forced_writes(count: int) -> None:
    """Whatever the order of delivery, and whoever refuses; the refusal is stored."""
    for refusing, seed in itertools.product(range(1, count + 1), range(3)):
        branches = [REFUSE] * refusing + [ADD] * (count - refusing)
        random.Random(f"{count} {refusing} {seed}").shuffle(branches)
        world = quiet(plan(*branches), f"{count} {refusing} {seed}")
        assert check(world) == "aborted"
        assert world.sent.total() == 4 * count - 2 * refusing
        assert world.forced.total() == 2 * count - refusing + 1


@pytest.mark.parametrize(("updaters", "readers"), [(1, 1), (3, 2), (0, 3)])
def test_a_branch_that_only_reads_costs_two_messages_and_no_write(updaters: int, readers: int) -> None:
    """If all do, nothing is logged at all."""
    world = World(TCC, plan(*[READ] * readers, *[ADD] * updaters)).run()
    assert check(world) == "committed"
    assert world.sent.total() == 4 * updaters + 2 * readers
    assert world.forced.total() == (2 * updaters + 2 if updaters else 0)


def costs(scenario: Scenario) -> tuple[set[tuple[float, ...]], Run]:
    run = simtx.simulate(scenario, "tcc", trace=True)
    columns = run.transactions[["messages", "broker_messages", "forced_writes"]]
    return {tuple(row) for row in columns.to_numpy().tolist()}, run


@pytest.mark.parametrize("n", SIZES)
def test_the_simulated_world_has_the_same_costs(n: int) -> None:
    """And the client is answered after 2d + 3w, to the last digit."""
    d, w = 2.0**-10, 2.0**-8
    found, run = costs(chain(n, delay=d, write=w))
    assert found == {(4 * n, 0, 2 * n + 2)}
    assert set(run.transactions["latency_ms"]) == {1000 * (2 * d + 3 * w)}
    for k in {1, n}:
        found, _ = costs(chain(n, refusing=set(range(k))))
        assert found == {(4 * n - 2 * k, 0, 2 * n - k + 1)}


# --- what is reserved -------------------------------------------------------------------------------------------------------------


def test_what_is_taken_is_held_under_its_guard() -> None:
    parts = reservation(TAKE)
    assert parts.attempt == (*TAKE, Operation("k~held", "add", 1))
    assert parts.confirm == (Operation("k~held", "add", -1),)
    assert parts.cancel == (Operation("k", "add", 1), Operation("k~held", "add", -1))


def test_what_is_given_is_announced_where_nobody_can_spend_it() -> None:
    parts = reservation(GIVE)
    assert parts.attempt == (Operation("incoming~k", "add", 1),)
    assert parts.confirm == (*GIVE, Operation("incoming~k", "add", -1))
    assert parts.cancel == (Operation("incoming~k", "add", -1),)


def test_room_up_to_a_limit_is_taken_at_once() -> None:
    limited = (Operation("k", "add", 2, high=5),)
    assert reservation(limited) == (limited, (), (Operation("k", "add", -2),))


@pytest.mark.parametrize(
    "operations", [TAKE, GIVE, (Operation("k", "add", 2, high=5),), (*TAKE, *GIVE), (*READ, *GIVE)]
)
def test_confirm_and_cancel_have_no_guard_and_leave_nothing_aside(operations: tuple[Operation, ...]) -> None:
    """Try and Confirm together do what the step says; Try and Cancel together do nothing."""
    parts = reservation(operations)
    assert all(one.low is None and one.high is None and one.kind == "add" for one in (*parts.confirm, *parts.cancel))

    def total(*done: Operation) -> dict[str, float]:
        sums: dict[str, float] = {}
        for one in done:
            if one.kind == "add":
                sums[one.key] = sums.get(one.key, 0) + one.amount
        return {key: value for key, value in sums.items() if value}

    assert total(*parts.attempt, *parts.confirm) == total(*operations)
    assert total(*parts.attempt, *parts.cancel) == {}


def test_two_cannot_have_the_same_amount() -> None:
    """The second Try is refused while the first one only holds; and nobody can spend what is announced."""
    first = Plan(1, (Step(0, "take", "s0", (Operation("k", "add", -1, low=0),)), Step(1, "give", "s1", GIVE)))
    second = Plan(2, first.steps)
    world = World(TCC, first, second, initial={"s0": {"k": 1}})
    world.run()
    assert sorted(world.decided[tx][0] for tx in (1, 2)) == ["aborted", "committed"]
    assert world.store("s0").values["k"] == 0
    assert {key: value for key, value in world.store("s1").values.items() if value} == {"k": 1}


# --- order ------------------------------------------------------------------------------------------------------------------------


def work(step: int = 0) -> tuple[Any, ...]:
    return (ADD, (step,))


def trying() -> TccCoordinator:
    coordinator = TccCoordinator("coordinator", 1, POLICIES)
    effects = coordinator.handle(Request(1, updating(2)))
    assert effects == [
        Append(("begin", (("s0", *work()), ("s1", *work(1)))), forced=True),
        command("try", "s0", work()),
        command("try", "s1", work(1)),
        SetTimer("tries", POLICIES.vote_timeout),
    ]
    return coordinator


def test_nobody_hears_of_a_confirm_before_its_record_is_forced() -> None:
    coordinator = trying()
    assert coordinator.handle(vote("tried", "s0")) == []
    assert coordinator.handle(vote("tried", "s0")) == []  # a copy is no second answer
    effects = coordinator.handle(vote("tried", "s1"))
    assert effects[:5] == [
        Append(("confirm",), forced=True),
        Decided("committed"),
        Answer("committed"),
        command("confirm", "s0", work()),
        command("confirm", "s1", work(1)),
    ]
    assert CancelTimer("tries") in effects


def test_silence_is_cancelled_everywhere_and_for_ever() -> None:
    """Also where nobody has answered: the reservation may be there, and its TRIED on the way."""
    coordinator = trying()
    coordinator.handle(vote("tried", "s0"))
    cancels = [command("cancel", "s0", work()), command("cancel", "s1", work(1))]
    effects = coordinator.handle(Timer("tries"))
    assert [one for one in effects if isinstance(one, Message)] == cancels
    alerts = 0
    for _ in range(2 * POLICIES.alert_after):
        effects = coordinator.handle(Timer("acknowledgement"))
        assert [one for one in effects if isinstance(one, Message)] == cancels
        alerts += sum(type(one).__name__ == "Alert" for one in effects)
    assert alerts == 1
    assert coordinator.handle(vote("tried", "s1")) == []  # its CANCEL is under way
    coordinator.handle(vote("cancelled", "s0"))
    assert coordinator.handle(vote("cancelled", "s1"))[-1] == Forget()


def test_after_a_refusal_the_others_are_cancelled_as_they_answer() -> None:
    coordinator = trying()
    effects = coordinator.handle(vote("refused", "s0"))
    assert Decided("aborted") in effects
    assert not [one for one in effects if isinstance(one, Message)]
    assert coordinator.handle(vote("tried", "s1")) == [command("cancel", "s1", work(1))]
    assert coordinator.handle(vote("cancelled", "s1"))[-1] == Forget()


def test_a_restart_confirms_what_was_decided_and_cancels_all_else() -> None:
    begin = ("begin", (("s0", *work()),))
    for records, kind in [((begin,), "cancel"), ((begin, ("cancel",)), "cancel"), ((begin, ("confirm",)), "confirm")]:
        coordinator = TccCoordinator("coordinator", 1, POLICIES)
        assert command(kind, "s0", work()) in coordinator.recover(records)
    assert TccCoordinator("coordinator", 1, POLICIES).recover([begin, ("confirm",), ("end",)]) == [Forget()]
    assert TccCoordinator("coordinator", 1, POLICIES).recover([]) == []


def test_who_has_no_part_is_refused() -> None:
    with pytest.raises(PeerFault, match="'s7' answers in transaction 1"):
        trying().handle(vote("tried", "s7"))
    with pytest.raises(PeerFault):
        trying().handle(vote("confirmed", "s0"))
    with pytest.raises(ProtocolViolation):
        trying().handle(Done("tried", "done"))


# --- the fence --------------------------------------------------------------------------------------------------------------------


def test_the_rows_of_the_fence_are_written_with_the_work() -> None:
    parts = reservation(ADD)
    expected = {
        "try": Transact("tried", parts.attempt, (1, "try"), Branch("tried"), Branch("refused"), steps=(0,)),
        "confirm": Transact("confirmed", parts.confirm, (1, "confirm"), Branch("confirmed"), finishes=True),
        "cancel": Transact(
            "cancelled",
            parts.cancel,
            (1, "cancel"),
            Branch("cancelled"),
            undoes=(1, "try"),
            undone_if="tried",
            steps=(0,),
            compensation=True,
        ),
    }
    for kind, effect in expected.items():
        assert TccParticipant("s0", 1).handle(command(kind, "s0", work())) == [effect]


@pytest.mark.parametrize(
    ("kind", "done", "answer"),
    [
        ("try", Done("tried", "done"), "tried"),
        ("try", Done("tried", "refused"), "refused"),
        ("try", Done("tried", "failed"), "failed"),
        ("try", Done("tried", "duplicate", "tried"), "tried"),
        ("try", Done("tried", "duplicate", "refused"), "refused"),
        ("try", Done("tried", "duplicate", "tombstone"), "refused"),
        ("confirm", Done("confirmed", "done"), "confirmed"),
        ("confirm", Done("confirmed", "duplicate", "confirmed"), "confirmed"),
        ("confirm", Done("confirmed", "failed"), None),
        ("cancel", Done("cancelled", "done"), "cancelled"),
        ("cancel", Done("cancelled", "duplicate", "cancelled"), "cancelled"),
        ("cancel", Done("cancelled", "failed"), None),
    ],
)
def test_what_a_participant_answers(kind: str, done: Done, answer: str | None) -> None:
    participant = TccParticipant("s0", 1)
    participant.handle(command(kind, "s0", work()))
    assert participant.handle(done) == ([vote(answer, "s0")] if answer else []) + [Forget()]


@pytest.mark.parametrize("order", list(itertools.permutations(["try", "cancel", "try"])))
def test_an_empty_cancel_suspends_the_late_try(order: tuple[str, ...]) -> None:
    """Whatever the order of a Try, its copy and its Cancel: in the end nothing is reserved."""
    world = World(TCC, updating(1))
    world.requests.clear()
    for kind in order:
        world.network.append(command(kind, "s0", work()))
        world.deliver(kind, "s0")
        while world._work():
            pass
    assert not any(world.store("s0").values.values())
    assert world.net(1) == {0: 0}
    answers = [one.kind for one in world.network]
    assert answers.count("cancelled") == 1
    assert ("refused" in answers) == (order[0] == "cancel")


def test_commands_wait_for_each_other() -> None:
    participant = TccParticipant("s0", 1)
    participant.handle(command("try", "s0", work()))
    assert participant.handle(command("cancel", "s0", work())) == []
    first, second = participant.handle(Done("tried", "done"))
    assert first == vote("tried", "s0")
    assert isinstance(second, Transact)
    assert second.tag == "cancelled"


# --- faults -----------------------------------------------------------------------------------------------------------------------

SHAPES = {"one": updating(1), "commit": plan(ADD, ADD), "refused": plan(ADD, REFUSE), "one reads": plan(READ, ADD)}
MODES = list(itertools.product(["idle", "now"], ["lost", "kept"]))


@pytest.mark.parametrize("shape", SHAPES)
def test_every_crash_point(shape: str) -> None:
    """Between any two effects of any node: all or nothing, the client told the truth, nothing left over at the end."""
    points = World(TCC, SHAPES[shape]).run().points
    outcomes = set()
    for point, (restart, lazies) in itertools.product(range(points), MODES):
        outcomes.add(check(World(TCC, SHAPES[shape]).run(crashes=[point], restart=restart, lazies=lazies)))
    assert outcomes == ({"aborted", "unknown"} if shape == "refused" else {"committed", "aborted", "unknown"})


def test_random_schedules() -> None:
    """Losses, copies, early timers, failures and crashes, of one transaction or of two."""
    for seed in range(200):
        choose = random.Random(f"tcc {seed}")
        sizes = [choose.choice([ADD, ADD, READ, REFUSE]) for _ in range(choose.randint(1, 3))]
        plans = [plan(*sizes, tx=tx) for tx in range(1, choose.randint(2, 3))]
        check(World(TCC, *plans).chaos(choose, crashes=choose.randint(0, 3)))


@pytest.mark.parametrize("name", ["transfer", "travel", "checkout"])
@pytest.mark.sample(3)
def test_built_in_scenarios_end_well_and_their_logs_replay(name: str) -> None:
    scenario = simtx.load(name)
    faults = [
        {"kind": "crash", "node": node, "at": "0.5s", "duration": "1s"}
        for node in ("hub", next(iter(scenario.services)))
    ]
    scenario = scenario.replace(faults=faults, **{"run.transactions": 100, "run.warmup": "0s"})
    run = simtx.simulate(scenario, "tcc", trace="full")
    assert run.data.counts["faults"] == 2
    assert not run.transactions["missing_effects"].any()
    assert not run.transactions["duplicate_effects"].any()
    assert abs(run.summary.residual_divergence) < 1e-9
    assert run.summary.in_flight_count == run.summary.incomplete_count == run.summary.stuck_count == 0
    conformance = check_log(run.trace, run.strategy)
    assert conformance.ok, conformance.problems[:3]


# --- plans ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        (Plan(1, ()), "the transaction has no steps"),
        (Plan(1, (Step(0, "s", "coordinator", ADD),)), "a service is named 'coordinator'"),
        (plan((Operation("k", "set", 1),)), "step 'step 0' overwrites a value, which cannot be reserved"),
    ],
)
def test_a_plan_that_does_not_fit_gets_one_line(shape: Plan, reason: str) -> None:
    problem = TCC.check(shape)
    assert problem is not None
    assert problem.startswith(reason)
    assert "\n" not in problem
