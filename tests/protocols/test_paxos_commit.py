"""Paxos Commit: exact costs, F = 0 as two-phase commit, ballots, what is told when, faults, options."""

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
    Branch,
    Done,
    Forget,
    Message,
    Plan,
    Prepare,
    Request,
    Rollback,
    Step,
    Timer,
    Transact,
)
from simtx.protocols.contract import Machine
from simtx.protocols.names import TOMBSTONE
from simtx.protocols.paxos_commit import (
    ApartLeader,
    ApartParticipant,
    LeadingParticipant,
    PaxosAcceptor,
    PaxosCommit,
    PaxosLeader,
    PaxosParticipant,
)
from simtx.protocols.registry import strategy
from simtx.protocols.two_phase_commit import TwoPhaseCommit
from tests.amounts import many
from tests.protocols.helpers import World
from tests.protocols.two_phase_scripts import ADD, POLICIES, READ, REFUSE, check, plan, updating
from tests.simulator.worlds import chain

SIZES = range(1, 9)
FAULTS = range(3)
CASES = [
    (leader, faults, count)
    for leader in ("own", "participant")
    for faults in FAULTS
    for count in SIZES
    if PaxosCommit(faults=faults, leader=leader).check(updating(count)) is None  # type: ignore[arg-type]
]


def quiet(chosen: Any, shape: Plan, seed: str) -> World:
    """Any order of delivery, and no fault."""
    world = World(chosen, shape)
    return world.chaos(random.Random(seed), steps=1000, crashes=0, loss=0, duplication=0, early_timers=0, failures=0)


# --- costs ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("leader", "faults", "count"), CASES)
def test_a_commit_costs_what_gray_and_lamport_count(leader: Any, faults: int, count: int) -> None:
    """Theirs: N(F + 3) - 3 messages with the leader on a participant's node, N + F + 1 forced writes; no acknowledgements, no commit records of participants."""
    world = World(PaxosCommit(faults=faults, leader=leader), updating(count)).run()
    assert check(world) == "committed"
    others = count - (leader == "participant")
    acks = world.sent["ack"]
    assert acks == others
    assert world.sent.total() - acks == count * (faults + 3) - (3 if leader == "participant" else 0)
    assert world.forced.total() - count == count + faults + 1


def test_five_participants_and_one_fault_take_seventeen_messages() -> None:
    """The figure of the paper's example, with the leader and the acceptors on participants' nodes."""
    world = World(PaxosCommit(leader="participant"), updating(5)).run()
    assert world.sent == {"prepare": 4, "yes": 8, "accepted": 1, "commit": 4, "ack": 4}
    assert world.sent.total() - world.sent["ack"] == 17


@pytest.mark.parametrize("count", SIZES)
def test_without_faults_to_survive_it_is_two_phase_commit(count: int) -> None:
    """With F = 0: kinds and numbers of messages, forced writes by node, for a commit and for every number of refusals."""
    shapes = [updating(count), *(plan(*[REFUSE] * k, *[ADD] * (count - k)) for k in range(1, count + 1))]
    for number, shape in enumerate(shapes):
        ours = quiet(PaxosCommit(faults=0), shape, f"{count} {number}")
        theirs = quiet(TwoPhaseCommit(), shape, f"{count} {number}")
        assert check(ours) == check(theirs)
        assert ours.sent == theirs.sent
        assert ours.forced == theirs.forced


@pytest.mark.parametrize("count", range(4, 9))
def test_refused_by_k_of_n(count: int) -> None:
    """Each YES goes to F + 1 acceptors, but not to oneself; a refusal is one message and one forced write; the abort is acknowledged."""
    for faults, refusing in itertools.product((1, 2), range(1, count + 1)):
        for first in (True, False):
            branches = [*[REFUSE] * refusing, *[ADD] * (count - refusing)]
            world = quiet(PaxosCommit(faults=faults), plan(*(branches if first else branches[::-1])), f"{count}")
            assert check(world) == "aborted"
            active = (
                0 if first and refusing >= faults else faults - refusing if first else min(faults, count - refusing)
            )
            yes = (count - refusing) * (faults + 1) - active
            assert world.sent == {
                name: number
                for name, number in {
                    "prepare": count,
                    "yes": yes,
                    "no": refusing,
                    "abort": count - refusing,
                    "ack": count - refusing,
                }.items()
                if number
            }
            assert world.forced.total() == count


@pytest.mark.parametrize(("faults", "count"), list(itertools.product((1, 2), SIZES)))
def test_acceptors_on_nodes_of_their_own_cost_what_gray_and_lamport_count(faults: int, count: int) -> None:
    """Theirs: (N + 1)(F + 3) - 2 messages, N + F + 1 forced writes. Beside acknowledgements, each active acceptor is told that it may forget."""
    world = World(PaxosCommit(faults=faults, acceptors="nodes"), updating(count)).run()
    assert check(world) == "committed"
    active = faults + 1
    assert world.sent == {
        "prepare": count,
        "yes": count * active,
        "accepted": active,
        "commit": count,
        "ack": count,
        "forget": active,
    }
    assert world.sent.total() - count - active == (count + 1) * (faults + 3) - 2
    assert world.forced.total() - count == count + faults + 1
    assert {name: number for name, number in world.forced.items() if not name.startswith("s")} == {
        f"acceptor-{number}": 1 for number in range(1, active + 1)
    }


@pytest.mark.parametrize("count", range(2, 6))
def test_a_refusal_with_acceptors_apart(count: int) -> None:
    """The last of N refuses: the leader has no votes, so that it tells all others; acceptors have nothing on disk, and are told nothing."""
    for faults in (1, 2):
        shape = plan(*[ADD] * (count - 1), REFUSE)
        world = World(PaxosCommit(faults=faults, acceptors="nodes"), shape).run()
        assert check(world) == "aborted"
        others = count - 1
        assert world.sent["prepare"] == count
        assert world.sent["no"] == 1
        assert world.sent["abort"] == world.sent["ack"] == others
        assert world.sent["yes"] <= others * (faults + 1)
        assert "forget" not in world.sent


@pytest.mark.parametrize("options", [{}, {"leader": "participant"}, {"acceptors": "nodes"}])
def test_the_simulated_world_has_the_same_costs(options: Any) -> None:
    """And the client is answered after 3d + 2w, to the last digit: one delay more than under two-phase commit, for the acceptors' word."""
    d, w = 2.0**-10, 2.0**-8
    for n in (3, 5):
        run = simtx.simulate(chain(n, delay=d, write=w), PaxosCommit(**options))
        others = n - ("leader" in options)
        messages = 4 * n - (3 if "leader" in options else 0) + others
        messages += 2 + 2 if "acceptors" in options else 0  # 4(N + 1) - 2, and two words that an acceptor may forget
        assert set(run.transactions["messages"]) == {messages}
        assert set(run.transactions["forced_writes"]) == {2 * n + 2}
        assert set(run.transactions["latency_ms"]) == {1000 * (3 * d + 2 * w)}


# --- ballots ----------------------------------------------------------------------------------------------------------------------


def participant(name: str = "s0", count: int = 2) -> PaxosParticipant:
    """In doubt, with F = 1; s0 is an active acceptor beside the leader, s1 the third one."""
    names = tuple(f"s{index}" for index in range(count))
    machine = PaxosParticipant(name, 1, POLICIES, 1)
    place = names.index(name)
    effects = machine.handle(Message("prepare", 1, "leader", name, (ADD, (place,), names, place)))
    assert effects == [Prepare("prepared", ADD, ("prepared", "leader", names), (1, "branch"), (place,))]
    machine.handle(Done("prepared", "done"))
    return machine


def sent(effects: list[Any], kind: str) -> list[Message]:
    return [one for one in effects if isinstance(one, Message) and one.kind == kind]


def records(effects: list[Any]) -> list[Any]:
    return [one.record for one in effects if isinstance(one, Append)]


def join(machine: Machine, number: int, sender: str = "s1") -> list[Any]:
    return machine.handle(Message("join", 1, sender, machine.node, (number, "leader", ("s0", "s1"))))


def propose(machine: Machine, number: int, value: str, sender: str = "s1") -> list[Any]:
    return machine.handle(Message("propose", 1, sender, machine.node, (number, value, "leader", ("s0", "s1"))))


def test_a_bundle_is_accepted_by_one_record_with_the_last_vote() -> None:
    acceptor = participant("s0", 3)
    assert acceptor.handle(Message("yes", 1, "s1", "s0")) == []
    effects = acceptor.handle(Message("yes", 1, "s2", "s0"))
    assert records(effects) == [("acceptor", 0, 0, "committed", "leader", ("s0", "s1", "s2"))]
    assert sent(effects, "accepted") == [Message("accepted", 1, "s0", "leader", 0)]
    assert acceptor.handle(Message("yes", 1, "s2", "s0")) == []


def test_an_acceptor_accepts_nothing_below_what_it_has_joined_also_after_a_crash() -> None:
    acceptor = participant()
    effects = join(acceptor, 5)
    assert records(effects) == [("acceptor", 5, -1, "", "leader", ("s0", "s1"))]
    assert sent(effects, "joined")[0].body == (5, -1, "")
    assert acceptor.handle(Message("yes", 1, "s1", "s0")) == []  # ballot 0 is over here
    twin = PaxosParticipant("s0", 1, POLICIES, 1)
    twin.recover([*records(effects), ("prepared", "leader", ("s0", "s1"))])
    for one in (acceptor, twin):
        assert sent(propose(one, 4, "aborted"), "outbid")[0].body == 5
        assert sent(join(one, 4), "outbid")[0].body == 5
        assert records(join(one, 5)) == []  # a copy: it is durable
        assert records(propose(one, 5, "aborted")) == [("acceptor", 5, 5, "aborted", "leader", ("s0", "s1"))]
        assert sent(join(one, 7), "joined")[0].body == (7, 5, "aborted")


@pytest.mark.parametrize(
    ("reported", "proposed"),
    [
        ((-1, ""), "aborted"),
        ((0, "committed"), "committed"),
        ((4, "aborted"), "aborted"),
        ((4, "committed"), "committed"),
    ],
)
def test_a_leader_proposes_what_was_accepted_in_the_highest_ballot(reported: tuple[int, str], proposed: str) -> None:
    leader = participant("s1")
    effects = leader.handle(Timer("inquiry"))
    assert leader.state == "joining"
    assert [one.to for one in sent(effects, "join")] == ["leader", "s0"]
    own = leader.own
    effects = leader.handle(Message("joined", 1, "s0", "s1", (own, *reported)))
    assert {one.body[:2] for one in sent(effects, "propose")} == {(own, proposed)}
    assert ("acceptor", own, own, proposed, "leader", ("s0", "s1")) in records(effects)
    assert not any(type(one).__name__ == "Decided" for one in effects)
    effects = leader.handle(Message("accepted", 1, "s0", "s1", own))
    if proposed == "committed":
        assert sent(effects, "commit")[0].to == "s0"
        assert sent(effects, "outcome")[0].body == ("committed", ("s0", "s1"))
        assert ("outcome", "leader", ("s0", "s1")) in records(effects)
    else:  # no store says so yet: first the tombstone, then the word
        assert sent(effects, "abort") == []
        assert effects[-1] == Transact("fenced", (), (1, "branch"), Branch(TOMBSTONE))
        assert sent(leader.handle(Done("fenced", "done")), "abort")[0].to == "s0"


def test_ballots_of_members_are_never_the_same() -> None:
    own = set()
    for name in ("s0", "s1", "s2"):
        leader = participant(name, 3)
        leader.handle(Timer("inquiry"))
        for outbid in (leader.own + 1, leader.own + 17):
            assert leader.own not in own
            own.add(leader.own)
            leader.handle(Message("outbid", 1, "s0", name, outbid))
            leader.handle(Timer("lead"))
            assert leader.own > outbid
    assert all(number % 4 for number in own)  # those of the leader on its own node
    machine = PaxosLeader("leader", 1, POLICIES, 1)
    machine.handle(Request(1, updating(3)))
    machine.handle(Timer("vote"))
    assert machine.own % 4 == 0


def test_a_leader_that_waits_asks_again_in_the_same_ballot() -> None:
    leader = participant("s1")
    leader.handle(Timer("inquiry"))
    own = leader.own
    assert {one.body[0] for one in sent(leader.handle(Timer("lead")), "join")} == {own}
    leader.handle(Message("joined", 1, "s0", "s1", (own, -1, "")))
    assert {one.body[:2] for one in sent(leader.handle(Timer("lead")), "propose")} == {(own, "aborted")}


# --- who has ended ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("done", "answer"),
    [
        (Done("looked-up", "done"), "aborted"),
        (Done("looked-up", "duplicate", TOMBSTONE), "aborted"),
        (Done("looked-up", "duplicate", "refused"), "aborted"),
        (Done("looked-up", "duplicate", None), "committed"),
        (Done("looked-up", "failed"), None),
    ],
)
def test_who_has_no_branch_answers_from_its_row(done: Done, answer: str | None) -> None:
    machine = PaxosParticipant("s0", 1, POLICIES, 1)
    assert join(machine, 3) == [Transact("looked-up", (), (1, "branch"), Branch(TOMBSTONE))]
    assert machine.handle(done) == ([Message(answer, 1, "s0", "s1")] if answer else []) + [Forget()]


def test_an_acceptor_that_has_promised_forces_its_rollback_before_it_forgets() -> None:
    """Else a crash could keep the forgetting and lose the rollback: in doubt again, with its ballot forgotten."""
    machine = participant()
    assert machine.handle(Message("abort", 1, "leader", "s0"))[0] == Rollback(forced=False)
    machine = participant()
    join(machine, 5)
    assert machine.handle(Message("abort", 1, "s1", "s0"))[0] == Rollback(forced=True)
    leader = participant("s1")
    leader.handle(Timer("inquiry"))
    assert leader.handle(Message("aborted", 1, "s0", "s1"))[0] == Rollback(forced=True)


def test_a_refusal_is_written_down_before_it_is_said() -> None:
    machine = PaxosParticipant("s0", 1, POLICIES, 1)
    machine.handle(Message("prepare", 1, "leader", "s0", (REFUSE, (0,), ("s0", "s1"), 0)))
    assert machine.handle(Done("prepared", "refused")) == [Transact("refused", (), (1, "branch"), Branch("refused"))]
    assert machine.handle(Done("refused", "done")) == [Message("no", 1, "s0", "leader", "refused"), Forget()]


@pytest.mark.parametrize("faults", [0, 1])
def test_a_leader_that_knows_nothing_says_nothing_unless_it_is_the_only_acceptor(faults: int) -> None:
    machine = PaxosLeader("leader", 1, POLICIES, faults)
    told = machine.handle(Message("yes", 1, "s0", "leader"))
    assert told == ([] if faults else [Message("abort", 1, "leader", "s0")]) + [Forget()]


def test_the_leader_answers_the_client_for_another_leader() -> None:
    machine = PaxosLeader("leader", 1, POLICIES, 1)
    effects = machine.handle(Message("outcome", 1, "s1", "leader", ("committed", ("s0", "s1"))))
    assert Answer("committed") in effects
    assert sent(effects, "ack")[0].to == "s1"
    assert [one.to for one in sent(machine.handle(Timer("acknowledgement")), "commit")] == ["s0"]


def test_only_participants_vote() -> None:
    machine = PaxosLeader("leader", 1, POLICIES, 1)
    machine.handle(Request(1, updating(2)))
    for kind in ("yes", "no"):
        with pytest.raises(PeerFault, match="'s7' votes in transaction 1, in which it has no part"):
            machine.handle(Message(kind, 1, "s7", "leader"))


# --- faults -----------------------------------------------------------------------------------------------------------------------

VARIANTS = {
    "F = 0": PaxosCommit(faults=0),
    "F = 1": PaxosCommit(),
    "F = 1, participant leads": PaxosCommit(leader="participant"),
    "F = 1, acceptors apart": PaxosCommit(acceptors="nodes"),
}
SHAPES = {"commit": updating(3), "refused": plan(ADD, READ, REFUSE)}
MODES = [("idle", "lost"), ("now", "kept")]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.sample(3)
def test_every_crash_point(variant: str, shape: str) -> None:
    """Between any two effects of any node: all or nothing, the client told the truth, nothing left over at the end."""
    chosen = VARIANTS[variant]
    points = World(chosen, SHAPES[shape]).run().points
    assert points >= 8
    outcomes = set()
    for point, (restart, lazies) in itertools.product(range(points), MODES):
        world = World(chosen, SHAPES[shape]).run(crashes=[point], restart=restart, lazies=lazies)
        outcomes.add(check(world))
    assert outcomes >= ({"aborted"} if shape == "refused" else {"committed", "aborted"})
    assert shape != "refused" or "committed" not in outcomes


@pytest.mark.more
@pytest.mark.parametrize("variant", VARIANTS)
def test_random_schedules(variant: str) -> None:
    """Losses, copies, early timers, failures and crashes, of one transaction or of two."""
    for seed in range(many(25, 200)):
        choose = random.Random(f"{variant} {seed}")
        sizes = [choose.choice([ADD, ADD, READ, REFUSE]) for _ in range(choose.randint(3, 4))]
        plans = [plan(*sizes, tx=tx) for tx in range(1, choose.randint(2, 3))]
        world = World(VARIANTS[variant], *plans)
        check(world.chaos(choose, crashes=choose.randint(0, 3)))


# --- options ----------------------------------------------------------------------------------------------------------------------


def test_options_as_text() -> None:
    assert strategy("paxos-commit") == PaxosCommit(faults=1, leader="own")
    assert strategy("paxos-commit:faults=2,leader=participant") == PaxosCommit(faults=2, leader="participant")
    assert (strategy("paxos-commit").hub, strategy("paxos-commit:leader=participant").hub) == ("coordinator", None)
    assert isinstance(strategy("paxos-commit:leader=participant").machine("s0", 1), LeadingParticipant)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"faults": -1}, "faults = -1: use a whole number from 0 to 10"),
        ({"faults": True}, "faults = True"),
        ({"acceptors": "hub"}, 'acceptors = \'hub\' is not available: use "members" or "nodes"'),
        ({"acceptors": "nodes", "leader": "participant"}, "takes a leader on a node of its own, too"),
        ({"acceptors": "nodes", "faults": 0}, "is two-phase commit with one node more: use faults = 1 or more"),
        ({"leader": "hub"}, 'leader = \'hub\' is not available: use "own" or "participant"'),
    ],
)
def test_options_that_do_not_fit_get_one_line(options: dict[str, Any], part: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        PaxosCommit(**options)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_transaction_has_to_have_enough_acceptors() -> None:
    assert PaxosCommit().check(updating(2)) is None
    problem = PaxosCommit(faults=2).check(updating(3))
    assert (
        problem
        == "faults = 2 takes 5 acceptors, and the transaction has 4, the leader included: use faults = 1 or less"
    )
    assert "the transaction has 2" in str(PaxosCommit(leader="participant").check(updating(2)))
    assert PaxosCommit(faults=2, acceptors="nodes").check(updating(1)) is None
    taken = Plan(1, (Step(0, "t", "acceptor-1", ADD),))
    assert "a service is named 'acceptor-1'" in str(PaxosCommit(acceptors="nodes").check(taken))


def test_an_acceptor_forgets_its_promise_behind_a_tombstone_only() -> None:
    """Told of an abort, or after a crash behind the rollback: a late copy of PREPARE must find a row, or the vote would be accepted in ballot 0."""
    told = participant()
    joined = join(told, 5)
    effects = told.handle(Message("abort", 1, "s1", "s0"))
    assert [type(effect).__name__ for effect in effects] == ["Rollback", "Transact"]
    twin = PaxosParticipant("s0", 1, POLICIES, 1)
    (again,) = twin.recover(records(joined))  # its branch is gone
    for machine, effect in ((told, effects[1]), (twin, again)):
        assert effect.key == (1, "branch")
        assert effect.accepted.value == TOMBSTONE
        assert machine.handle(Message("prepare", 1, "leader", "s0", ((), (), ("s0", "s1"), 0))) == []  # not yet
    assert twin.handle(Done("looked-up", "failed")) == [again]
    assert twin.handle(Done("looked-up", "done")) == [Forget()]
    assert told.handle(Done("fenced", "done")) == [Message("ack", 1, "s0", "s1"), Forget()]
    unbound = participant()
    assert [type(one).__name__ for one in unbound.handle(Message("abort", 1, "leader", "s0"))] == [
        "Rollback",
        "Message",
        "Forget",
    ]


# --- acceptors on nodes of their own ------------------------------------------------------------------------------------------------

NAMES = ("s0", "s1")


def acceptor() -> PaxosAcceptor:
    return PaxosAcceptor("acceptor-1", 1, POLICIES, 1)


def yes(sender: str) -> Message:
    return Message("yes", 1, sender, "acceptor-1", ("coordinator", NAMES))


def word(kind: str, sender: str) -> Message:
    return Message(kind, 1, sender, "acceptor-1")


def test_which_node_plays_what() -> None:
    chosen = strategy("paxos-commit:acceptors=nodes,faults=2")
    assert chosen.further_nodes == tuple(f"acceptor-{number}" for number in range(1, 6))  # type: ignore[attr-defined]
    kinds = {name: type(chosen.machine(name, 1)) for name in ("coordinator", "s0", "acceptor-5")}
    assert kinds == {"coordinator": ApartLeader, "s0": ApartParticipant, "acceptor-5": PaxosAcceptor}


def test_an_acceptor_keeps_what_it_has_accepted_until_it_is_told_or_all_say_that_they_have_ended() -> None:
    told, asking = acceptor(), acceptor()
    for machine in (told, asking):
        assert records(machine.handle(yes("s0"))) == []
        effects = machine.handle(yes("s1"))
        assert records(effects) == [("acceptor", 0, 0, "committed", "coordinator", NAMES)]
        assert sent(effects, "accepted") == [Message("accepted", 1, "acceptor-1", "coordinator", 0)]
    assert told.handle(word("forget", "coordinator")) == [Forget()]
    assert asking.handle(word("ended", "coordinator")) == []  # it was not asked
    for expected in (["coordinator", "s0", "s1"], ["coordinator", "s1"]):
        assert [one.to for one in sent(asking.handle(Timer("idle")), "ask")] == expected
        assert asking.handle(word("committed", "s0")) == []
    assert asking.handle(word("ended", "coordinator")) == []
    assert asking.handle(word("committed", "s1")) == [Forget()]


def test_an_acceptor_forgets_votes_that_nothing_came_of_and_no_record_without_asking() -> None:
    machine = acceptor()
    machine.handle(yes("s0"))
    assert machine.handle(Timer("idle")) == [Forget()]
    machine = acceptor()
    effects = machine.handle(Message("join", 1, "s1", "acceptor-1", (5, "coordinator", NAMES)))
    assert sent(effects, "joined")[0].body == (5, -1, "")
    twin = acceptor()
    twin.recover(records(effects))
    for one in (machine, twin):
        assert [each.to for each in sent(one.handle(Timer("idle")), "ask")] == ["coordinator", "s0", "s1"]
        assert one.handle(yes("s0")) == []  # ballot 0 is over here


def test_who_is_asked_by_an_acceptor_answers_only_when_it_has_ended_for_good() -> None:
    """A participant that was never asked leaves a tombstone first; one in doubt says nothing, nor does a leader that is at work."""
    ask = Message("ask", 1, "acceptor-1", "s0")
    never = ApartParticipant("s0", 1, POLICIES, 1)
    assert never.handle(ask) == [Transact("looked-up", (), (1, "branch"), Branch(TOMBSTONE))]
    assert sent(never.handle(Done("looked-up", "done")), "aborted")
    doubting = ApartParticipant("s0", 1, POLICIES, 1)
    doubting.handle(Message("prepare", 1, "coordinator", "s0", (ADD, (0,), NAMES, 0)))
    assert {one.to for one in sent(doubting.handle(Done("prepared", "done")), "yes")} == {"acceptor-1", "acceptor-2"}
    assert doubting.handle(ask) == []
    leader = ApartLeader("coordinator", 1, POLICIES, 1)
    asked = Message("ask", 1, "acceptor-1", "coordinator")
    assert ApartLeader("coordinator", 1, POLICIES, 1).handle(asked) == [
        Message("ended", 1, "coordinator", "acceptor-1"),
        Forget(),
    ]
    leader.handle(Request(1, updating(2)))
    assert leader.handle(asked) == []


def test_an_abort_that_overtakes_the_work_is_remembered_behind_a_tombstone() -> None:
    machine = ApartParticipant("s0", 1, POLICIES, 1)
    machine.handle(Message("prepare", 1, "coordinator", "s0", (ADD, (0,), NAMES, 0)))
    assert machine.handle(Message("abort", 1, "coordinator", "s0")) == []
    effects = machine.handle(Done("prepared", "done"))
    assert effects == [Rollback(forced=False), Transact("fenced", (), (1, "branch"), Branch(TOMBSTONE))]
    assert machine.handle(Done("fenced", "done")) == [Message("ack", 1, "s0", "coordinator"), Forget()]


def test_a_leader_without_a_disk_leads_nothing_again_after_a_crash() -> None:
    leader = ApartLeader("coordinator", 1, POLICIES, 1)
    leader.handle(Request(1, updating(2)))
    left = records(leader.handle(Timer("vote")))
    twin = ApartLeader("coordinator", 1, POLICIES, 1)
    assert twin.recover(left) == [Forget()]
