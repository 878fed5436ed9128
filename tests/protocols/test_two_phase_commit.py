"""Two-phase commit, presumed abort: exact costs, every crash point, random schedules, every row of the tables."""

from __future__ import annotations

import itertools
import pickle
import random
from dataclasses import dataclass, replace
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simtx.errors import PeerFault, ProtocolViolation, ScenarioError
from simtx.protocols.contract import (
    Answer,
    Append,
    Commit,
    Decided,
    Done,
    Effect,
    Forget,
    Machine,
    Message,
    Operation,
    Plan,
    Prepare,
    Request,
    Rollback,
    SetTimer,
    Step,
    Strategy,
    Suspect,
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
from tests.protocols.helpers import Witness, World, chain

ADD = (Operation("k", "add", 1),)
READ = (Operation("k", "read"),)
REFUSE = (Operation("k", "add", 1), Operation("k", "refuse"))
WORKS = get_args(Work)
POLICIES = Policies()


def plan(*branches: tuple[Operation, ...], tx: int = 1) -> Plan:
    """One service per branch, s0, s1, ..., without an order between them."""
    steps = tuple(Step(index, f"step {index}", f"s{index}", operations) for index, operations in enumerate(branches))
    return Plan(tx, steps)


def updating(count: int, tx: int = 1) -> Plan:
    return plan(*[ADD] * count, tx=tx)


def check(world: World) -> str:
    """All-or-nothing, agreement with the client, nothing left over; the outcome of the first transaction."""
    assert world.left_over() == []
    for tx in world.plans:
        effects = set(world.net(tx).values())
        told = {*world.answers.get(tx, []), *world.decided.get(tx, [])}
        assert len(told) <= 1, f"the client and the world are told different outcomes: {told}"
        assert effects <= {0} or effects <= {1}, f"not all or nothing: {world.net(tx)}"
        if "committed" in told:
            assert effects <= {1}, f"told committed: {world.net(tx)}"
        else:
            assert effects <= {0}, f"not told committed: {world.net(tx)}"
    for name, node in world.nodes.items():
        committed = [tx for tx in world.plans if "committed" in world.decided.get(tx, [])]
        steps = [step for tx in committed for step in world.plans[tx].steps if step.service == name]
        expected = sum(one.amount for step in steps for one in step.operations if one.kind == "add")
        assert node.store.values.get("k", 0) == expected
    return next(iter(world.decided.get(1, ["unknown"])))


# --- costs ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", range(1, 9))
def test_commit_costs_4n_messages_n_of_them_acks_and_2n_plus_1_forced_writes(count: int) -> None:
    """Mohan, Lindsay, Obermarck 1986; messages between processes, acks included, request and reply excluded."""
    world = World(TwoPhaseCommit(), updating(count)).run()
    assert check(world) == "committed"
    assert world.sent == {"prepare": count, "yes": count, "commit": count, "ack": count}
    assert world.sent.total() == 4 * count
    assert world.forced == {"coordinator": 1} | {f"s{index}": 2 for index in range(count)}
    assert world.forced.total() == 2 * count + 1
    assert world.suspects == []
    assert world.alerts == []


@pytest.mark.parametrize(("count", "refusing"), [(n, k) for n in range(1, 9) for k in range(1, n + 1)])
def test_refused_by_k_of_n_costs_3n_minus_k_messages_and_n_minus_k_forced_writes(count: int, refusing: int) -> None:
    """Whatever the order of delivery, and whoever refuses; no acks, no forced abort."""
    for seed in range(10):
        choose = random.Random(f"{count} {refusing} {seed}")
        branches = [REFUSE] * refusing + [ADD] * (count - refusing)
        choose.shuffle(branches)
        world = World(TwoPhaseCommit(), plan(*branches))
        world.chaos(choose, steps=1000, crashes=0, loss=0, duplication=0, early_timers=0, failures=0)
        assert check(world) == "aborted"
        assert world.sent.total() == 3 * count - refusing
        assert world.sent["ack"] == 0
        assert world.sent["abort"] == count - refusing
        assert world.forced.total() == count - refusing
        assert world.forced["coordinator"] == 0


@pytest.mark.parametrize(("updaters", "readers"), [(1, 1), (2, 1), (1, 4), (3, 3)])
def test_a_read_only_participant_costs_two_messages_and_no_write(updaters: int, readers: int) -> None:
    world = World(TwoPhaseCommit(), plan(*[READ] * readers, *[ADD] * updaters)).run()
    assert check(world) == "committed"
    assert world.sent.total() == 4 * updaters + 2 * readers
    assert world.sent["read"] == readers
    assert world.forced.total() == 2 * updaters + 1
    assert all(world.forced[f"s{index}"] == world.lazy[f"s{index}"] == 0 for index in range(readers))


@pytest.mark.parametrize("count", range(1, 9))
def test_a_transaction_that_only_reads_logs_nothing_at_all(count: int) -> None:
    world = World(TwoPhaseCommit(), plan(*[READ] * count)).run()
    assert check(world) == "committed"
    assert world.sent == {"prepare": count, "read": count}
    assert world.forced.total() == world.lazy.total() == 0


@pytest.mark.parametrize("count", range(1, 9))
def test_execution_before_the_vote_costs_two_more_messages_a_step_and_no_write(count: int) -> None:
    world = World(TwoPhaseCommit(work="before"), chain(*[f"s{index}" for index in range(count)])).run()
    assert check(world) == "committed"
    assert world.sent.total() == 6 * count
    assert world.forced.total() == 2 * count + 1


def test_all_steps_of_a_service_travel_in_one_prepare() -> None:
    """N counts participants, not steps."""
    steps = tuple(Step(index, f"step {index}", f"s{index % 2}", ADD) for index in range(6))
    world = World(TwoPhaseCommit(), Plan(1, steps)).run()
    assert check(world) == "committed"
    assert world.sent.total() == 8
    assert world.net(1) == dict.fromkeys(range(6), 1)
    assert world.store("s0").values == {"k": 3}


def test_execution_follows_the_graph_of_the_steps() -> None:
    """A diamond: the middle steps run in parallel, the last waits for both."""
    steps = tuple(
        Step(index, f"step {index}", f"s{index}", ADD, after=after)
        for index, after in enumerate([(), (0,), (0,), (1, 2)])
    )
    coordinator = ExecutingCoordinator("coordinator", 1, POLICIES)

    def sent(effects: list[Effect]) -> list[str]:
        return [f"{one.kind} {one.to}" for one in effects if isinstance(one, Message)]

    def executed(index: int) -> list[str]:
        return sent(coordinator.handle(Message("executed", 1, f"s{index}", "coordinator", index)))

    assert sent(coordinator.handle(Request(1, Plan(1, steps)))) == ["execute s0"]
    assert executed(0) == ["execute s1", "execute s2"]
    assert executed(2) == []
    assert executed(2) == []
    assert executed(1) == ["execute s3"]
    assert executed(3) == ["prepare s0", "prepare s1", "prepare s2", "prepare s3"]


# --- order ----------------------------------------------------------------------------------------------------------------------


def test_nobody_hears_of_a_commit_before_its_record_is_forced() -> None:
    coordinator = voting("s0", "s1")
    assert coordinator.handle(vote("yes", "s1")) == []
    effects = coordinator.handle(vote("yes", "s0"))
    assert effects[:5] == [
        Append(("commit", "s0", "s1"), forced=True),
        Decided("committed"),
        Answer("committed"),
        command("commit", "s0"),
        command("commit", "s1"),
    ]


def test_a_participant_votes_yes_only_when_its_branch_is_durably_prepared() -> None:
    participant = Participant("s0", 1, POLICIES)
    effects = participant.handle(command("prepare", "s0", (ADD, (0,))))
    assert effects == [Prepare("prepared", ADD, ("prepared", "coordinator"), (1, "branch"), (0,))]
    assert participant.handle(Done("prepared", "done"))[0] == vote("yes", "s0")


def test_a_participant_acknowledges_only_after_it_has_committed() -> None:
    assert in_doubt().handle(command("commit", "s0")) == [Commit(), vote("ack", "s0"), Forget()]


@pytest.mark.parametrize("status", ["refused", "failed"])
def test_a_branch_that_cannot_be_prepared_votes_no_and_leaves_nothing(status: Any) -> None:
    participant = Participant("s0", 1, POLICIES)
    participant.handle(command("prepare", "s0", (ADD, (0,))))
    assert participant.handle(Done("prepared", status)) == [vote("no", "s0", status), Forget()]


def test_the_client_learns_who_refused_and_who_was_silent() -> None:
    effects = voting("s0", "s1").handle(vote("no", "s1", "refused"))
    assert Answer("aborted", "refused by s1") in effects
    effects = voting("s0", "s1").handle(Timer("vote"))
    assert Answer("aborted", "no vote of s0, s1") in effects
    assert [one for one in effects if isinstance(one, Suspect)] == [Suspect("s0"), Suspect("s1")]


# --- copies, late messages, inquiries ---------------------------------------------------------------------------------------------


def vote(kind: str, sender: str, body: Any = None) -> Message:
    return Message(kind, 1, sender, "coordinator", body)


def command(kind: str, to: str, body: Any = None) -> Message:
    return Message(kind, 1, "coordinator", to, body)


def voting(*services: str) -> Coordinator:
    coordinator = Coordinator("coordinator", 1, POLICIES)
    coordinator.handle(Request(1, Plan(1, tuple(Step(i, name, name, ADD) for i, name in enumerate(services)))))
    assert coordinator.state == "voting"
    return coordinator


def committing(*services: str) -> Coordinator:
    coordinator = voting(*services)
    for service in services:
        coordinator.handle(vote("yes", service))
    assert coordinator.state == "committing"
    return coordinator


def in_doubt() -> Participant:
    participant = Participant("s0", 1, POLICIES)
    participant.handle(command("prepare", "s0", (ADD, (0,))))
    participant.handle(Done("prepared", "done"))
    assert participant.state == "in-doubt"
    return participant


def test_votes_are_counted_by_participant() -> None:
    """Two YES of one participant are not a YES of two."""
    coordinator = voting("s0", "s1")
    assert coordinator.handle(vote("yes", "s0")) == []
    assert coordinator.handle(vote("yes", "s0")) == []
    assert coordinator.state == "voting"


def test_acknowledgements_are_counted_by_participant() -> None:
    coordinator = committing("s0", "s1")
    assert coordinator.handle(vote("ack", "s0")) == []
    assert coordinator.handle(vote("ack", "s0")) == []
    assert coordinator.state == "committing"
    assert coordinator.handle(vote("ack", "s1")) == [Append(("end",), forced=False), Forget()]


@pytest.mark.parametrize("first", ["yes", "read"])
def test_the_first_vote_of_a_participant_counts(first: str) -> None:
    """A copy of PREPARE may find the store changed; what the participant said first stays true."""
    coordinator = voting("s0", "s1")
    coordinator.handle(vote(first, "s0"))
    assert coordinator.handle(vote("no", "s0", "failed")) == []
    coordinator.handle(vote("yes", "s1"))
    assert coordinator.state == "committing"


@pytest.mark.parametrize("kind", ["yes", "inquiry"])
def test_a_transaction_that_the_coordinator_does_not_know_is_aborted(kind: str) -> None:
    assert Coordinator("coordinator", 1, POLICIES).handle(vote(kind, "s0")) == [command("abort", "s0"), Forget()]


def test_an_inquiry_is_answered_when_and_only_when_the_outcome_is_known() -> None:
    coordinator = voting("s0", "s1")
    coordinator.handle(vote("yes", "s0"))
    assert coordinator.handle(vote("inquiry", "s0")) == []
    coordinator.handle(vote("yes", "s1"))
    assert coordinator.handle(vote("inquiry", "s0")) == [command("commit", "s0")]
    coordinator.handle(vote("ack", "s0"))
    assert coordinator.handle(vote("inquiry", "s0")) == []


def test_a_participant_without_a_branch_acknowledges_a_commit_and_ignores_an_abort() -> None:
    assert Participant("s0", 1, POLICIES).handle(command("commit", "s0")) == [vote("ack", "s0"), Forget()]
    assert Participant("s0", 1, POLICIES).handle(command("abort", "s0")) == [Forget()]


def test_a_copy_of_prepare_is_answered_with_the_same_vote() -> None:
    participant = in_doubt()
    assert participant.handle(command("prepare", "s0", (ADD, (0,)))) == [vote("yes", "s0")]
    assert participant.state == "in-doubt"


def test_a_late_copy_of_prepare_does_not_apply_the_work_twice() -> None:
    """The coordinator still collects acknowledgements, so without the branch's key it would tell the copy COMMIT."""
    world = World(TwoPhaseCommit(), updating(1))
    while not world.store("s0").rows:
        world._advance()
    assert world.nodes["coordinator"].machines[1].state == "committing"
    world.network.insert(0, command("prepare", "s0", (ADD, (0,))))
    world.drain()
    assert check(world) == "committed"
    assert world.store("s0").values == {"k": 1}
    assert world.sent["yes"] == 1, "the copy is not voted on"


STALE = {"idle": ["no", "read", "ack"], "voting": ["inquiry"], "committing": ["yes", "no", "read"]}


@pytest.mark.parametrize(("state", "kind"), [(state, kind) for state, kinds in STALE.items() for kind in kinds])
def test_late_copies_do_nothing_to_a_coordinator(state: str, kind: str) -> None:
    blank = Coordinator("coordinator", 1, POLICIES)
    coordinator = {"idle": blank, "voting": voting("s0", "s1"), "committing": committing("s0", "s1")}[state]
    before = coordinator.key()
    assert coordinator.handle(vote(kind, "s0")) == ([Forget()] if state == "idle" else [])
    assert coordinator.key() == before


@pytest.mark.parametrize("kind", ["prepare", "commit", "abort"])
@pytest.mark.parametrize("operations", [ADD, READ])
def test_late_copies_do_nothing_to_a_participant_that_waits_for_its_store(
    kind: str, operations: tuple[Operation, ...]
) -> None:
    participant = Participant("s0", 1, POLICIES)
    participant.handle(command("prepare", "s0", (operations, (0,))))
    before = participant.key()
    assert participant.handle(command(kind, "s0", (operations, (0,)))) == []
    assert participant.key() == before


def test_a_request_that_is_repeated_while_it_is_played_changes_nothing() -> None:
    for coordinator in (voting("s0"), committing("s0")):
        before = coordinator.key()
        assert coordinator.handle(Request(1, updating(1))) == []
        assert coordinator.key() == before


TIMERS = {"coordinator": ["vote", "acknowledgement", "execution"], "s0": ["inquiry", "idle"]}


@pytest.mark.parametrize("work", WORKS)
@pytest.mark.parametrize(("node", "kind"), [(node, kind) for node, kinds in TIMERS.items() for kind in kinds])
def test_a_timer_that_outlives_its_machine_changes_nothing(node: str, kind: str, work: Work) -> None:
    machine = TwoPhaseCommit(work=work).machine(node, 1)
    before = machine.key()
    assert machine.handle(Timer(kind)) == [Forget()]
    assert machine.key() == before


def test_a_timer_that_fired_while_it_was_cancelled_changes_nothing() -> None:
    assert committing("s0").handle(Timer("vote")) == []


@pytest.mark.parametrize(
    ("machine", "event"),
    [
        (voting("s0"), vote("ack", "s0")),
        (voting("s0"), vote("yes", "stranger")),
        (voting("s0"), vote("no", "stranger")),
        (voting("s0"), vote("prepare", "s0")),
        (committing("s0"), vote("ack", "stranger")),
        (committing("s0"), vote("commit", "s0")),
        (Coordinator("coordinator", 1, POLICIES), vote("nonsense", "s0")),
        (Participant("s0", 1, POLICIES), command("ack", "s0")),
        (Participant("s0", 1, POLICIES), command("execute", "s0")),
        (in_doubt(), command("yes", "s0")),
    ],
)
def test_what_no_correct_peer_sends_is_a_peer_fault_and_changes_nothing(machine: Machine, event: Message) -> None:
    before = machine.key()
    with pytest.raises(PeerFault, match="transaction 1"):
        machine.handle(event)
    assert machine.key() == before


@pytest.mark.parametrize(
    ("machine", "event"),
    [
        (Coordinator("coordinator", 1, POLICIES), Request(1, None)),
        (ExecutingCoordinator("coordinator", 1, POLICIES), Request(1, None)),
        (voting("s0"), Request(1, kind="skip")),
        (in_doubt(), Done("prepared", "done")),
    ],
)
def test_what_no_correct_host_does_is_a_violation_of_the_protocol(machine: Machine, event: Any) -> None:
    with pytest.raises(ProtocolViolation, match="transaction 1"):
        machine.handle(event)


# --- waiting ----------------------------------------------------------------------------------------------------------------------


def test_commit_is_repeated_for_ever_to_those_that_did_not_acknowledge() -> None:
    """With back-off up to the cap, the peer suspected each time, and one alert."""
    coordinator = committing("s0", "s1")
    coordinator.handle(vote("ack", "s0"))
    bounds, alerts = [], 0
    for _ in range(100):
        effects = coordinator.handle(Timer("acknowledgement"))
        assert [one for one in effects if isinstance(one, Message)] == [command("commit", "s1")]
        assert effects[0] == Suspect("s1")
        timer = effects[-1]
        assert isinstance(timer, SetTimer)
        assert timer.delay == POLICIES.acknowledgement_timeout
        bounds.append(timer.jitter)
        alerts += len(effects) - 3
    assert bounds[:4] == [0.1, 0.2, 0.4, 0.8]
    assert bounds[-1] == POLICIES.backoff.cap
    assert alerts == 1


def test_a_participant_in_doubt_inquires_for_ever_and_never_decides_alone() -> None:
    """The known weakness: while the coordinator is down, it is blocked and keeps its locks."""
    world = World(TwoPhaseCommit(), updating(1))
    while world.nodes["s0"].machines.get(1) is None or world.nodes["s0"].machines[1].state != "in-doubt":
        world._advance()
    world.crash("coordinator")
    world.network.clear()
    node = world.nodes["s0"]
    while node.programs:
        world._step(node, 1)
    for _ in range(50):
        world._fire(node, (1, "inquiry"))
        while node.programs:
            world._step(node, 1)
    assert node.machines[1].state == "in-doubt"
    assert world.store("s0").prepared
    assert world.sent["inquiry"] == 50
    assert world.suspects == [("s0", "coordinator")] * 50
    assert len(world.alerts) == 1
    world.drain()  # the coordinator comes back without a record: presumed abort
    assert check(world) == "unknown"
    assert world.store("s0").values == {}


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


@pytest.mark.parametrize("records", [[("commit", "s0"), ("end",)], [("abort",)]])
def test_a_coordinator_that_was_through_stays_through(records: list[tuple[str, ...]]) -> None:
    assert Coordinator("coordinator", 1, POLICIES).recover(records) == [Forget()]


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
@settings(max_examples=300, deadline=None)
def test_random_schedules_are_atomic(work: Work, branches: list[Any], faults: dict[str, Any], seed: int) -> None:
    """Loss, duplication, reordering, early timers, failing stores and crashes, in any order."""
    check(World(TwoPhaseCommit(work=work), plan(*branches)).chaos(random.Random(seed), **faults))


@pytest.mark.parametrize("work", WORKS)
@given(count=st.integers(2, 4), faults=faults, seed=st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
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


@pytest.fixture(scope="module")
def witness() -> Witness:
    """What happened in some thousands of random schedules of both strategies, up to the first that leaves nothing unseen."""
    seen: Witness = set()
    missing = set().union(*map(wanted, MACHINES))
    several_steps = Plan(
        1, tuple(Step(i, f"step {i}", f"s{i % 2}", ADD, after=(i - 1,) if i else ()) for i in range(4))
    )
    shapes = [
        plan(ADD, ADD),
        plan(ADD, READ),
        plan(READ, READ),
        plan(ADD, REFUSE),
        plan(READ, REFUSE),
        several_steps,
        Plan(1, ()),
    ]
    for seed in range(10_000):
        choose = random.Random(seed)
        strategy = TwoPhaseCommit(work=WORKS[seed % 2], policies=Policies(attempts=2))
        world = World(strategy, choose.choice(shapes), witness=seen)
        duplication, early_timers, failures = choose.choice([(0.05, 0.02, 0.02), (0.2, 0.1, 0.02), (0.3, 0.0, 0.2)])
        world.chaos(choose, loss=early_timers, duplication=duplication, early_timers=early_timers, failures=failures)
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


# --- the strategy -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("work", WORKS)
def test_the_strategy_keeps_the_contract(work: Work) -> None:
    strategy: Strategy = TwoPhaseCommit(work=work)
    assert isinstance(strategy, Strategy)
    assert (strategy.name, strategy.promise, strategy.uses_broker, strategy.hub) == (
        "2pc",
        "decided",
        False,
        "coordinator",
    )
    assert strategy.entry(updating(1)) == "coordinator"
    assert list(strategy.daemons("s0")) == []
    assert pickle.loads(pickle.dumps(strategy)) == strategy  # noqa: S301 - our own bytes
    assert repr(strategy) == f"TwoPhaseCommit(presumption='abort', work='{work}', policies=None)"


def test_options_that_are_not_there_are_refused_in_one_line() -> None:
    with pytest.raises(
        ScenarioError, match=r"^TwoPhaseCommit: presumption = 'commit' is not available: use \"abort\"$"
    ):
        TwoPhaseCommit(presumption="commit")  # type: ignore[arg-type]
    with pytest.raises(ScenarioError, match=r"work = 'later' is not available: use \"with-prepare\" or \"before\""):
        TwoPhaseCommit(work="later")  # type: ignore[arg-type]


def test_policies_of_the_strategy_win_over_those_of_the_scenario() -> None:
    scenario, own = Policies(vote_timeout=7), Policies(vote_timeout=3)
    assert TwoPhaseCommit().configured(scenario).policies == scenario
    assert TwoPhaseCommit(policies=own).configured(scenario).policies == own
    effects = TwoPhaseCommit().configured(scenario).machine("coordinator", 1).handle(Request(1, updating(1)))
    assert effects[-1] == SetTimer("vote", 7)


def test_a_service_must_not_be_named_like_the_coordinator() -> None:
    assert TwoPhaseCommit().check(updating(2)) is None
    problem = TwoPhaseCommit().check(chain("coordinator", "stock"))
    assert problem is not None
    assert "give the service another name" in problem


@pytest.mark.parametrize("work", WORKS)
def test_a_transaction_without_steps_is_committed_at_once(work: Work) -> None:
    effects = TwoPhaseCommit(work=work).machine("coordinator", 1).handle(Request(1, Plan(1, ())))
    assert effects == [Decided("committed"), Answer("committed"), Forget()]
