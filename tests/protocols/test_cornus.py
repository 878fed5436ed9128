"""Log-once votes: exact costs, what the store decides, what is written before it is said, faults."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

import simtx
from simtx.errors import PeerFault, ScenarioError
from simtx.protocols import (
    Answer,
    Append,
    Decided,
    Done,
    Forget,
    LogOnce,
    Message,
    Plan,
    Prepare,
    Request,
    Rollback,
    Timer,
)
from simtx.protocols.cornus import Cornus, CornusCoordinator, CornusParticipant
from simtx.protocols.names import VOTE_STORE
from tests.amounts import many
from tests.protocols.helpers import World
from tests.protocols.two_phase_scripts import ADD, POLICIES, READ, REFUSE, check, plan, updating
from tests.simulator.worlds import chain

SIZES = range(1, 9)
NAMES = ("s0", "s1")


def quiet(shape: Plan, seed: str) -> World:
    """Any order of delivery, and no fault."""
    world = World(Cornus(), shape)
    return world.chaos(random.Random(seed), steps=1000, crashes=0, loss=0, duplication=0, early_timers=0, failures=0)


# --- costs ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", SIZES)
def test_a_commit_takes_one_request_a_participant_and_nothing_forced_at_the_coordinator(count: int) -> None:
    """The paper: N vote requests, N log writes, N votes, and the decision; no record of a coordinator. The branches are forced beside it here."""
    world = World(Cornus(), updating(count)).run()
    assert check(world) == "committed"
    assert world.sent == {"prepare": count, "logonce": count, "yes": count, "commit": count}
    assert world.forced[VOTE_STORE] == count
    assert world.forced["coordinator"] == world.lazy["coordinator"] == 0
    assert world.forced.total() == 3 * count
    assert world.votes == {(1, f"s{index}"): "yes" for index in range(count)}


@pytest.mark.parametrize("count", SIZES)
def test_refused_by_k_of_n(count: int) -> None:
    """In every order: each participant votes in the store, those that said YES are told, and nobody acknowledges."""
    for refusing in range(1, count + 1):
        for branches in (
            [REFUSE] * refusing + [ADD] * (count - refusing),
            [ADD] * (count - refusing) + [REFUSE] * refusing,
        ):
            world = quiet(plan(*branches), f"{count} {refusing}")
            assert check(world) == "aborted"
            kept = count - refusing
            wanted = {"prepare": count, "logonce": count, "yes": kept, "no": refusing, "abort": kept}
            assert world.sent == {name: number for name, number in wanted.items() if number}
            assert world.forced[VOTE_STORE] == count
            assert world.forced.total() == count + kept


@pytest.mark.parametrize("count", SIZES)
def test_without_its_coordinator_one_participant_asks_about_all_others_at_once(count: int) -> None:
    """The coordinator crashes with all votes in: N - 1 requests, one forced record and two messages, and the client has its answer."""
    machine, effects = in_doubt("s0", tuple(f"s{index}" for index in range(count)))
    effects = machine.handle(Timer("inquiry"))
    asked = [one for one in effects if isinstance(one, LogOnce)]
    assert [(one.voter, one.vote) for one in asked] == [(f"s{index}", "no") for index in range(1, count)]
    for one in asked:
        effects = machine.handle(Done("logged", "done", (one.voter, "yes")))
    assert machine.state == "telling"
    assert [type(one).__name__ for one in effects if type(one).__name__ in ("Append", "Message")] == [
        "Append",
        "Message",
    ]
    assert machine.handle(Message("heard", 1, "coordinator", "s0")) == [Forget()]


def test_the_simulated_world_has_the_same_costs() -> None:
    """And the client is answered after 4d + 2w, to the last digit: a round trip to the store, and its forced write in place of the coordinator's record."""
    d, w = 2.0**-10, 2.0**-8
    for n in (1, 3, 5):
        scenario = chain(n, delay=d, write=w).replace(
            **{"vote_store.log": {"forced_write": f"{1000 * w}ms", "flush": "parallel"}}
        )
        run = simtx.simulate(scenario, "cornus")
        assert set(run.transactions["messages"]) == {5 * n}
        assert set(run.transactions["forced_writes"]) == {3 * n}
        assert set(run.transactions["latency_ms"]) == {1000 * (4 * d + 2 * w)}


# --- what the store decides -----------------------------------------------------------------------------------------------------


def participant(
    name: str = "s0", names: tuple[str, ...] = NAMES, status: Any = "done"
) -> tuple[CornusParticipant, list[Any]]:
    """One that has done its work."""
    machine = CornusParticipant(name, 1, POLICIES)
    place = names.index(name)
    effects = machine.handle(Message("prepare", 1, "coordinator", name, (ADD, (place,), names)))
    assert effects == [Prepare("prepared", ADD, ("prepared", "coordinator", *names), (1, "branch"), (place,))]
    return machine, machine.handle(Done("prepared", status))


def in_doubt(name: str = "s0", names: tuple[str, ...] = NAMES) -> tuple[CornusParticipant, list[Any]]:
    """One whose yes is in the store."""
    machine, effects = participant(name, names)
    assert effects[0] == LogOnce("logged", name, "yes")
    return machine, machine.handle(Done("logged", "done", (name, "yes")))


def test_a_yes_is_said_when_it_is_written() -> None:
    machine, effects = participant()
    assert not any(isinstance(one, Message) for one in effects)
    assert machine.handle(Done("logged", "failed")) == []  # whether it is there is not known
    assert machine.handle(Timer("inquiry"))[0] == LogOnce("logged", "s0", "yes")
    assert machine.handle(Done("logged", "done", ("s0", "yes")))[0] == Message("yes", 1, "s0", "coordinator")


def test_who_finds_a_no_in_its_own_row_has_aborted() -> None:
    machine, _ = participant()
    effects = machine.handle(Done("logged", "done", ("s0", "no")))
    assert effects == [Rollback(), Message("no", 1, "s0", "coordinator", "too late"), Forget()]


def test_a_refusal_is_written_before_it_is_said() -> None:
    machine, effects = participant(status="refused")
    assert effects[0] == LogOnce("logged", "s0", "no")
    assert machine.handle(Done("logged", "done", ("s0", "no"))) == [
        Message("no", 1, "s0", "coordinator", "refused"),
        Forget(),
    ]


@pytest.mark.parametrize(("stored", "outcome"), [("yes", "committed"), ("no", "aborted")])
def test_what_is_in_the_store_ends_it_also_after_a_crash(stored: str, outcome: str) -> None:
    """It records that it has to tell the coordinator before it ends its branch; with the record it goes on telling."""
    machine, _ = in_doubt()
    machine.handle(Timer("inquiry"))
    effects = machine.handle(Done("logged", "done", ("s1", stored)))
    record = ("telling", outcome, "coordinator")
    assert effects[0] == Append(record)
    assert Decided(outcome) in effects  # type: ignore[arg-type]
    assert Message("outcome", 1, "s0", "coordinator", outcome) in effects
    twin = CornusParticipant("s0", 1, POLICIES)
    effects = twin.recover([("prepared", "coordinator", *NAMES), record])
    assert type(effects[0]).__name__ == ("Commit" if outcome == "committed" else "Rollback")
    assert Message("outcome", 1, "s0", "coordinator", outcome) in effects
    assert Message("outcome", 1, "s0", "coordinator", outcome) in twin.handle(Timer("acknowledgement"))


def test_a_restart_in_doubt_votes_again_and_so_learns_what_is_there() -> None:
    machine = CornusParticipant("s0", 1, POLICIES)
    assert machine.recover([("prepared", "coordinator", *NAMES)])[0] == LogOnce("logged", "s0", "yes")
    assert machine.handle(Done("logged", "done", ("s0", "no")))[0] == Rollback()


def test_a_timeout_of_the_coordinator_decides_nothing() -> None:
    machine = CornusCoordinator("coordinator", 1, POLICIES)
    machine.handle(Request(1, updating(2)))
    machine.handle(Message("yes", 1, "s0", "coordinator"))
    effects = machine.handle(Timer("vote"))
    assert [one for one in effects if isinstance(one, LogOnce)] == [LogOnce("logged", "s1", "no")]
    assert not any(isinstance(one, Answer) for one in effects)
    effects = machine.handle(Done("logged", "done", ("s1", "yes")))
    assert effects[:2] == [Decided("committed"), Answer("committed")]


def test_a_coordinator_that_knows_nothing_presumes_nothing() -> None:
    machine = CornusCoordinator("coordinator", 1, POLICIES)
    assert machine.handle(Message("yes", 1, "s0", "coordinator")) == [Message("look", 1, "coordinator", "s0"), Forget()]
    participant_, _ = in_doubt()
    assert LogOnce("logged", "s1", "no") in participant_.handle(Message("look", 1, "coordinator", "s0"))


def test_the_coordinator_answers_the_client_before_it_lets_a_participant_forget() -> None:
    for begun in (False, True):
        machine = CornusCoordinator("coordinator", 1, POLICIES)
        if begun:
            machine.handle(Request(1, updating(2)))
        effects = machine.handle(Message("outcome", 1, "s0", "coordinator", "committed"))
        assert effects[1:3] == [Answer("committed"), Message("heard", 1, "coordinator", "s0")]
        assert [one.to for one in effects if isinstance(one, Message) and one.kind == "commit"] == ["s1"] * begun


def test_only_participants_vote() -> None:
    machine = CornusCoordinator("coordinator", 1, POLICIES)
    machine.handle(Request(1, updating(2)))
    with pytest.raises(PeerFault, match="'s7' votes in transaction 1, in which it has no part"):
        machine.handle(Message("yes", 1, "s7", "coordinator"))


def test_an_alert_when_the_vote_store_is_silent_for_long() -> None:
    machine, _ = in_doubt()
    machine.handle(Timer("inquiry"))
    alerts = [
        one
        for _ in range(POLICIES.alert_after)
        for one in machine.handle(Timer("inquiry"))
        if type(one).__name__ == "Alert"
    ]
    assert [one.reason for one in alerts] == ["the vote store has not answered 10 requests"]


def test_a_plan_that_cannot_be_played() -> None:
    problem = Cornus().check(Plan(1, ()))
    assert problem is not None
    assert "no steps" in problem
    with pytest.raises(ScenarioError, match="Cornus"):
        Cornus(policies="x")  # type: ignore[arg-type]


# --- faults -----------------------------------------------------------------------------------------------------------------------

SHAPES = {"commit": updating(3), "refused": plan(ADD, READ, REFUSE)}
MODES = [("idle", "lost"), ("now", "kept")]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_crash_point(shape: str) -> None:
    """Between any two effects of any node: all or nothing, the client told the truth, nothing left over at the end."""
    points = World(Cornus(), SHAPES[shape]).run().points
    assert points >= 8
    outcomes = set()
    for point, (restart, lazies) in itertools.product(range(points), MODES):
        world = World(Cornus(), SHAPES[shape]).run(crashes=[point], restart=restart, lazies=lazies)  # type: ignore[arg-type]
        outcomes.add(check(world))
    assert shape != "refused" or "committed" not in outcomes


@pytest.mark.more
def test_random_schedules() -> None:
    """Losses, copies, early timers, failures and crashes, of one transaction or of two."""
    for seed in range(many(25, 400)):
        choose = random.Random(f"cornus {seed}")
        sizes = [choose.choice([ADD, ADD, READ, REFUSE]) for _ in range(choose.randint(1, 4))]
        plans = [plan(*sizes, tx=tx) for tx in range(1, choose.randint(2, 3))]
        check(World(Cornus(), *plans).chaos(choose, crashes=choose.randint(0, 3)))
