"""Two-phase commit, presumed abort: exact costs, what may be said when, copies and late messages, waiting, options."""

from __future__ import annotations

import pickle
import random
from typing import Any

import pytest

from simtx.errors import PeerFault, ProtocolViolation, ScenarioError
from simtx.protocols.contract import (
    Answer,
    Append,
    CancelTimer,
    Commit,
    Decided,
    Done,
    Forget,
    Machine,
    Message,
    Operation,
    Plan,
    Prepare,
    Request,
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
    Participant,
    TwoPhaseCommit,
    Work,
)
from tests.protocols.helpers import World, chain
from tests.protocols.two_phase_scripts import ADD, POLICIES, READ, REFUSE, WORKS, check, command, plan, updating, vote

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
    assert effects[5:] == [
        SetTimer("acknowledgement", POLICIES.acknowledgement_timeout, POLICIES.backoff.base),
        CancelTimer("vote"),
    ]


def test_a_participant_votes_yes_only_when_its_branch_is_durably_prepared() -> None:
    participant = Participant("s0", 1, POLICIES)
    effects = participant.handle(command("prepare", "s0", (ADD, (0,))))
    assert effects == [Prepare("prepared", ADD, ("prepared", "coordinator"), (1, "branch"), (0,))]
    assert participant.handle(Done("prepared", "done"))[0] == vote("yes", "s0")


def test_a_participant_acknowledges_only_after_it_has_committed() -> None:
    assert in_doubt().handle(command("commit", "s0")) == [Commit(), vote("ack", "s0"), Forget()]


def test_a_copy_of_prepare_that_finds_its_branch_committed_is_dropped_in_silence() -> None:
    """A YES would promise what is long done, a NO would be a lie."""
    participant = Participant("s0", 1, POLICIES)
    participant.handle(command("prepare", "s0", (ADD, (0,))))
    assert participant.handle(Done("prepared", "duplicate")) == [Forget()]


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
    rest = "termination='coordinator', one_phase=False, last_resource=None, policies=None"
    assert repr(strategy) == f"TwoPhaseCommit(presumption='abort', work='{work}', {rest})"


def test_options_that_are_not_there_are_refused_in_one_line() -> None:
    with pytest.raises(
        ScenarioError, match=r"^TwoPhaseCommit: presumption = 'nothing' is not available: use \"abort\" or \"commit\"$"
    ):
        TwoPhaseCommit(presumption="nothing")  # type: ignore[arg-type]
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
