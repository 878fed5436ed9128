"""Two-phase commit under faults: every crash point, random schedules, every row of the tables, and defects that must be found."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simtx.errors import PeerFault
from simtx.protocols.contract import (
    Answer,
    Append,
    Decided,
    Effect,
    Forget,
    Machine,
    Message,
    Plan,
    Prepare,
    Rollback,
    Step,
    Timer,
)
from simtx.protocols.policies import Policies
from simtx.protocols.two_phase_commit import (
    Coordinator,
    ExecutingCoordinator,
    ExecutingParticipant,
    Participant,
    TwoPhaseCommit,
    Work,
)
from tests.amounts import many
from tests.protocols.helpers import Witness, World
from tests.protocols.two_phase_scripts import ADD, POLICIES, READ, REFUSE, WORKS, check, command, plan, updating, vote

# --- crashes ----------------------------------------------------------------------------------------------------------------------

SHAPES = {
    "commit": plan(ADD, ADD),
    "refused": plan(ADD, REFUSE),
    "one reads": plan(READ, ADD),
    "all read": plan(READ, READ),
}
MODES = list(itertools.product(["idle", "now"], ["lost", "kept"]))


@pytest.mark.parametrize("work", WORKS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.sample(3)
def test_every_crash_point_of_two_participants(shape: str, work: Work) -> None:
    """Between any two effects of any node: all or nothing, the client told the truth, nothing in doubt at the end."""
    strategy = TwoPhaseCommit(work=work)
    points = World(strategy, SHAPES[shape]).run().points
    assert points > 10
    outcomes = set()
    for point, (restart, lazies) in itertools.product(range(points), MODES):
        outcomes.add(check(World(strategy, SHAPES[shape]).run(crashes=[point], restart=restart, lazies=lazies)))
    assert outcomes == ({"aborted", "unknown"} if shape == "refused" else {"committed", "aborted", "unknown"})


@pytest.mark.parametrize("restart", ["idle", "now"])
@pytest.mark.sample(2)
def test_every_pair_of_crash_points_so_that_recovery_crashes_too(restart: str) -> None:
    points = World(TwoPhaseCommit(), SHAPES["commit"]).run().points
    pairs = 0
    for first in range(points):
        total = World(TwoPhaseCommit(), SHAPES["commit"]).run(crashes=[first], restart=restart).points
        for second in range(first + 1, total):
            check(World(TwoPhaseCommit(), SHAPES["commit"]).run(crashes=[first, second], restart=restart))
            pairs += 1
    assert pairs > 500


def test_a_decision_survives_a_crash_before_anybody_heard_of_it() -> None:
    """The record is durable, so the restarted coordinator answers the client and finishes."""
    coordinator = Coordinator("coordinator", 1, POLICIES)
    effects = coordinator.recover([("commit", "s0", "s1")])
    assert effects[:4] == [Decided("committed"), Answer("committed"), command("commit", "s0"), command("commit", "s1")]
    assert coordinator.state == "committing"


def test_a_coordinator_that_was_through_stays_through() -> None:
    """After an abort the client may not have been answered; after the end of a commit it has."""
    assert Coordinator("coordinator", 1, POLICIES).recover([("commit", "s0"), ("end",)]) == [Forget()]
    assert Coordinator("coordinator", 1, POLICIES).recover([("abort",)]) == [
        Decided("aborted"),
        Answer("aborted"),
        Forget(),
    ]


def test_a_restarted_participant_asks_at_once() -> None:
    participant = Participant("s0", 1, POLICIES)
    assert participant.recover([("prepared", "coordinator")])[0] == vote("inquiry", "s0")
    assert participant.state == "in-doubt"


@pytest.mark.parametrize("node", ["coordinator", "s0"])
@pytest.mark.parametrize("work", WORKS)
def test_without_records_there_is_nothing_to_recover(node: str, work: Work) -> None:
    machine = TwoPhaseCommit(work=work).machine(node, 1)
    assert machine.recover([]) == []
    assert machine.state == "idle"


# --- random schedules ---------------------------------------------------------------------------------------------------------------

branches = st.lists(st.sampled_from([ADD, ADD, ADD, READ, REFUSE]), min_size=1, max_size=4)
faults = st.fixed_dictionaries(
    {
        "crashes": st.integers(0, 4),
        "loss": st.sampled_from([0, 0.02, 0.1]),
        "duplication": st.sampled_from([0, 0.05, 0.2]),
        "early_timers": st.sampled_from([0, 0.01, 0.1]),
        "failures": st.sampled_from([0, 0.05]),
    }
)


@pytest.mark.parametrize("work", WORKS)
@given(branches=branches, faults=faults, seed=st.integers(0, 2**32))
@settings(max_examples=many(100, 300), deadline=None)
@pytest.mark.more
def test_random_schedules_are_atomic(work: Work, branches: list[Any], faults: dict[str, Any], seed: int) -> None:
    """Loss, duplication, reordering, early timers, failing stores and crashes, in any order."""
    check(World(TwoPhaseCommit(work=work), plan(*branches)).chaos(random.Random(seed), **faults))


@pytest.mark.parametrize("work", WORKS)
@given(count=st.integers(2, 4), faults=faults, seed=st.integers(0, 2**32))
@settings(max_examples=many(40, 100), deadline=None)
@pytest.mark.more
def test_transactions_that_want_the_same_rows_are_atomic_each(
    work: Work, count: int, faults: dict[str, Any], seed: int
) -> None:
    """They wait for locks, time out and vote NO; a branch in doubt keeps its locks through crashes."""
    plans = [updating(2, tx=tx) for tx in range(1, count + 1)]
    check(World(TwoPhaseCommit(work=work), *plans).chaos(random.Random(seed), **faults))


# --- coverage of the tables -----------------------------------------------------------------------------------------------------


MACHINES = [Coordinator, Participant, ExecutingCoordinator, ExecutingParticipant]


def wanted(machine: type[Machine]) -> Witness:
    """Every transition and every way to recover, as a world writes them down."""
    name = machine.__name__
    rows = {(name, row.state, row.event, to) for row in machine.transitions for to in row.to}
    if machine.role == "participant":
        return rows | {(name, "recover", "prepared", "in-doubt")}
    return rows | {
        (name, "recover", last, to)
        for last, to in [("commit", "committing"), ("end", "finished"), ("abort", "finished")]
    }


def vote_after_vote(work: Work, seen: Witness) -> World:
    """A copy of PREPARE reaches a reader after its vote, while another vote is out, and the reader says NO this time."""
    world = World(TwoPhaseCommit(work=work), plan(READ, ADD), witness=seen)
    while not any(one.kind == "prepare" for one in world.network):
        world._advance()
    world.work()
    copy = world.network[0]
    world.deliver("prepare", "s0")
    world.work().deliver("read")
    world.network.append(copy)
    world.fail = lambda node, effect: True
    world.deliver("prepare", "s0")
    world.work().deliver("no")
    world.fail = None
    return world.drain()


def refusal_after_execution(work: Work, seen: Witness) -> World:
    """The first EXECUTE runs into a lock timeout, its copy succeeds, and the answers overtake each other."""
    world = World(TwoPhaseCommit(work="before"), updating(2), witness=seen)
    world._request(0)
    world.work()
    world.network.append(world.network[0])
    world.fail = lambda node, effect: True
    world.deliver("execute", "s0")
    world.work()
    world.fail = None
    world.deliver("execute", "s0")
    world.work().deliver("executed")
    world.deliver("refused")
    return world.drain()


def execution_after_commit(work: Work, seen: Witness) -> World:
    """A copy of EXECUTE opens a branch of a committed transaction, and a copy of COMMIT finds it."""
    world = World(TwoPhaseCommit(work="before"), updating(1), witness=seen)
    while not world.store("s0").rows:
        world._advance()
    world.network[:0] = [command("execute", "s0", (0, ADD)), command("commit", "s0")]
    return world.drain()


SCRIPTS: dict[str, tuple[Callable[[Work, Witness], World], Work]] = {
    "vote after vote": (vote_after_vote, "with-prepare"),
    "vote after vote, executed before": (vote_after_vote, "before"),
    "refusal after execution": (refusal_after_execution, "before"),
    "execution after commit": (execution_after_commit, "before"),
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_late_copy_does_not_change_the_outcome(script: str) -> None:
    play, work = SCRIPTS[script]
    assert check(play(work, set())) == "committed"


@pytest.fixture(scope="module")
def witness() -> Witness:
    """What happened at every crash point, in the scripts above, and in random schedules up to the first that leaves nothing unseen."""
    seen: Witness = set()
    missing = set().union(*map(wanted, MACHINES))
    for work, shape, (restart, lazies) in itertools.product(WORKS, SHAPES.values(), MODES):
        for point in range(World(TwoPhaseCommit(work=work), shape).run().points):
            World(TwoPhaseCommit(work=work), shape, witness=seen).run(crashes=[point], restart=restart, lazies=lazies)
    for play, work in SCRIPTS.values():
        play(work, seen)
    several_steps = Plan(
        1, tuple(Step(i, f"step {i}", f"s{i % 2}", ADD, after=(i - 1,) if i else ()) for i in range(4))
    )
    shapes = [*SHAPES.values(), plan(READ, REFUSE), several_steps, Plan(1, ())]
    for seed in range(2000):
        choose = random.Random(seed)
        strategy = TwoPhaseCommit(work=WORKS[seed % 2], policies=Policies(attempts=2))
        world = World(strategy, choose.choice(shapes), witness=seen)
        rate = choose.choice([0, 0.02, 0.1])
        world.chaos(choose, loss=rate, duplication=0.1 + rate, early_timers=rate, failures=0.02)
        missing -= seen
        if not missing:
            break
    return seen


@pytest.mark.parametrize("machine", MACHINES)
def test_every_transition_and_every_recovery_has_a_witness(machine: type[Machine], witness: Witness) -> None:
    missing = wanted(machine) - witness
    assert not missing


# --- the tests have teeth ---------------------------------------------------------------------------------------------------------


class VotesTooEarly(Participant):
    """Votes before its branch is prepared."""

    __slots__ = ()
    transitions = Participant.transitions

    def prepare(self, event: Message) -> list[Effect]:
        return [Message("yes", self.tx, self.node, event.sender), *super().prepare(event)]


class DecidesAlone(Participant):
    """Rolls back when it has been in doubt for too long."""

    __slots__ = ()
    transitions = tuple(replace(row, to=("in-doubt", "finished")) for row in Participant.transitions)

    def inquire(self, _event: Timer) -> list[Effect]:
        self.state = "finished"
        return [Rollback(), Forget()]


class PreparesTwice(Participant):
    """Has no key for its branch."""

    __slots__ = ()
    transitions = Participant.transitions

    def prepare(self, event: Message) -> list[Effect]:
        return [replace(one, key=None) if isinstance(one, Prepare) else one for one in super().prepare(event)]


class AcknowledgesTooEarly(Participant):
    """Acknowledges before it has committed."""

    __slots__ = ()
    transitions = Participant.transitions

    def commit(self, event: Message) -> list[Effect]:
        commit, acknowledgement, forget = super().commit(event)
        return [acknowledgement, commit, forget]


class AnswersTooEarly(Coordinator):
    """Answers the client before the decision is durable."""

    __slots__ = ()
    transitions = Coordinator.transitions

    def close_vote(self) -> list[Effect]:
        effects = super().close_vote()
        return sorted(effects, key=lambda one: not isinstance(one, Answer))


class DecidesLazily(Coordinator):
    """Does not force its decision."""

    __slots__ = ()
    transitions = Coordinator.transitions

    def close_vote(self) -> list[Effect]:
        return [replace(one, forced=False) if isinstance(one, Append) else one for one in super().close_vote()]


class CountsOnly(Coordinator):
    """Counts votes without looking whose they are."""

    __slots__ = ()
    transitions = Coordinator.transitions

    def first_vote(self, sender: str) -> bool:
        if self.pending:
            self.pending.pop()
        return True


class ForgetsAtFirst(Coordinator):
    """Forgets after the first acknowledgement."""

    __slots__ = ()
    transitions = Coordinator.transitions

    def take_acknowledgement(self, event: Message) -> list[Effect]:
        self.pending = [event.sender]
        return super().take_acknowledgement(event)


@dataclass(frozen=True, kw_only=True)
class Defective(TwoPhaseCommit):
    """Two-phase commit with one machine replaced."""

    replacement: type[Coordinator] | type[Participant]

    def machine(self, node: str, tx: int) -> Machine:
        machine = super().machine(node, tx)
        return self.replacement(node, tx, POLICIES) if type(machine) is self.replacement.__mro__[1] else machine


@pytest.mark.parametrize(
    "machine",
    [
        VotesTooEarly,
        DecidesAlone,
        PreparesTwice,
        AcknowledgesTooEarly,
        AnswersTooEarly,
        DecidesLazily,
        CountsOnly,
        ForgetsAtFirst,
    ],
)
def test_a_classic_defect_is_found_by_the_random_schedules(machine: type[Coordinator] | type[Participant]) -> None:
    """The checks of this file fail on machines that are known to be wrong."""

    def play() -> None:
        for seed in range(4000):
            choose = random.Random(seed)
            world = World(Defective(replacement=machine), plan(ADD, choose.choice([ADD, REFUSE])))
            check(world.chaos(choose, crashes=3, loss=0.02, duplication=0.15, early_timers=0.02))

    with pytest.raises((AssertionError, PeerFault)):
        play()
