"""Variants of two-phase commit: presumed commit, cooperative termination, last resource, one phase. Exact costs, what may be said when, faults, options."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from simtx.errors import PeerFault, ScenarioError
from simtx.protocols.contract import (
    Append,
    Branch,
    Done,
    Forget,
    Machine,
    Message,
    Plan,
    Prepare,
    Request,
    SetTimer,
    Suspect,
    Timer,
    Transact,
)
from simtx.protocols.registry import strategy
from simtx.protocols.two_phase_commit import (
    CooperativeParticipant,
    LastResourceCoordinator,
    LastResourceParticipant,
    NamingCoordinator,
    PresumedParticipant,
    PresumingCoordinator,
    TwoPhaseCommit,
)
from tests.protocols.helpers import World
from tests.protocols.two_phase_scripts import ADD, POLICIES, READ, REFUSE, check, command, plan, updating, vote

COOPERATIVE = TwoPhaseCommit(termination="cooperative")
PRESUMED = TwoPhaseCommit(presumption="commit")
ONE_PHASE = TwoPhaseCommit(one_phase=True)
SIZES = range(1, 9)


def last(name: str) -> TwoPhaseCommit:
    return TwoPhaseCommit(last_resource=name)


def quiet(strategy: TwoPhaseCommit, shape: Plan, seed: str) -> World:
    """Any order of delivery, and no fault."""
    world = World(strategy, shape)
    return world.chaos(random.Random(seed), steps=1000, crashes=0, loss=0, duplication=0, early_timers=0, failures=0)


# --- costs ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", SIZES)
def test_without_faults_cooperative_termination_costs_what_two_phase_commit_costs(count: int) -> None:
    world = World(COOPERATIVE, updating(count)).run()
    assert check(world) == "committed"
    assert world.sent == {"prepare": count, "yes": count, "commit": count, "ack": count}
    assert world.forced.total() == 2 * count + 1
    for refusing in range(1, count + 1):
        world = quiet(COOPERATIVE, plan(*[REFUSE] * refusing, *[ADD] * (count - refusing)), f"{count} {refusing}")
        assert check(world) == "aborted"
        assert (world.sent.total(), world.forced.total()) == (3 * count - refusing, count - refusing)


@pytest.mark.parametrize("count", SIZES)
def test_presumed_commit_costs_3n_messages_and_2n_plus_2_forced_writes(count: int) -> None:
    """No acknowledgement, and one record more at the coordinator; Mohan, Lindsay, Obermarck 1986, but for the forced commits of participants."""
    world = World(PRESUMED, updating(count)).run()
    assert check(world) == "committed"
    assert world.sent == {"prepare": count, "yes": count, "commit": count}
    assert world.forced == {"coordinator": 2} | {f"s{index}": 2 for index in range(count)}


@pytest.mark.parametrize(("count", "refusing"), [(n, k) for n in SIZES for k in range(1, n + 1)])
def test_presumed_commit_refused_by_k_of_n_costs_4n_minus_2k_messages_and_2n_minus_k_plus_1_forced_writes(
    count: int, refusing: int
) -> None:
    """Whatever the order of delivery: an abort is acknowledged, and a refusal leaves a tombstone."""
    for seed in range(10):
        branches = [REFUSE] * refusing + [ADD] * (count - refusing)
        random.Random(f"{count} {refusing} {seed}").shuffle(branches)
        world = quiet(PRESUMED, plan(*branches), f"{count} {refusing} {seed}")
        assert check(world) == "aborted"
        assert world.sent["ack"] == world.sent["abort"] == count - refusing
        assert (world.sent.total(), world.forced.total()) == (4 * count - 2 * refusing, 2 * count - refusing + 1)


@pytest.mark.parametrize("count", SIZES)
def test_under_presumed_commit_a_reader_costs_two_messages_and_the_coordinator_forces_two_records(count: int) -> None:
    for updaters in (0, 2):
        world = World(PRESUMED, plan(*[READ] * count, *[ADD] * updaters)).run()
        assert check(world) == "committed"
        assert (world.sent.total(), world.forced.total()) == (2 * count + 3 * updaters, 2 + 2 * updaters)
        assert world.forced["coordinator"] == 2


@pytest.mark.parametrize("count", SIZES)
def test_a_last_resource_costs_4n_minus_2_messages_and_2n_forced_writes(count: int) -> None:
    """Of the messages N - 1 are acknowledgements; whoever of the participants it is."""
    for name in {"s0", f"s{count - 1}"}:
        world = World(last(name), updating(count)).run()
        assert check(world) == "committed"
        assert world.sent.total() == 4 * count - 2
        assert world.sent["ack"] == count - 1
        assert world.forced == {"coordinator": 1} | {
            f"s{index}": 1 if name == f"s{index}" else 2 for index in range(count)
        }


@pytest.mark.parametrize("count", SIZES)
def test_refused_by_the_last_resource_costs_3n_minus_1_messages_and_n_plus_1_forced_writes(count: int) -> None:
    world = quiet(last("s0"), plan(REFUSE, *[ADD] * (count - 1)), str(count))
    assert check(world) == "aborted"
    assert (world.sent.total(), world.forced.total()) == (3 * count - 1, count + 1)


@pytest.mark.parametrize("count", range(2, 9))
def test_refused_by_k_of_the_others_the_last_resource_is_never_asked(count: int) -> None:
    """3(N - 1) - K messages and N - 1 - K forced writes: what two-phase commit takes without it."""
    for refusing in range(1, count):
        shape = plan(ADD, *[REFUSE] * refusing, *[ADD] * (count - 1 - refusing))
        world = quiet(last("s0"), shape, f"{count} {refusing}")
        assert check(world) == "aborted"
        assert world.sent["perform"] == 0
        assert (world.sent.total(), world.forced.total()) == (3 * (count - 1) - refusing, count - 1 - refusing)


def test_one_phase_costs_two_messages_and_two_forced_writes() -> None:
    """Where two-phase commit takes four and three; a refusal is stored, which two-phase commit does not need."""
    world = World(ONE_PHASE, updating(1)).run()
    assert check(world) == "committed"
    assert world.sent == {"perform": 1, "performed": 1}
    assert world.forced == {"coordinator": 1, "s0": 1}
    world = World(ONE_PHASE, plan(REFUSE)).run()
    assert check(world) == "aborted"
    assert world.sent == {"perform": 1, "refused": 1}
    assert world.forced == {"coordinator": 1, "s0": 1}


@pytest.mark.parametrize("count", range(2, 5))
def test_one_phase_is_for_one_service_only(count: int) -> None:
    world = World(ONE_PHASE, updating(count)).run()
    assert (world.sent.total(), world.forced.total()) == (4 * count, 2 * count + 1)


def test_several_steps_of_one_service_are_one_participant() -> None:
    from dataclasses import replace

    steps = tuple(replace(step, service="s0") for step in updating(3).steps)
    world = World(ONE_PHASE, Plan(1, steps)).run()
    assert world.sent == {"perform": 1, "performed": 1}
    assert world.store("s0").values == {"k": 3}


# --- what may be said when --------------------------------------------------------------------------------------------------------


def test_the_last_resource_is_asked_behind_a_forced_record_that_says_so() -> None:
    coordinator = LastResourceCoordinator("coordinator", 1, POLICIES, "s1", one_phase=False)
    effects = coordinator.handle(Request(1, updating(2)))
    assert effects == [command("prepare", "s0", (ADD, (0,))), SetTimer("vote", POLICIES.vote_timeout)]
    effects = coordinator.handle(vote("yes", "s0"))
    work = (ADD, (1,))
    assert effects[:2] == [Append(("last", "s1", work, ("s0",)), forced=True), command("perform", "s1", work)]
    assert coordinator.state == "deciding"
    assert coordinator.handle(vote("inquiry", "s0")) == []  # not decided yet
    twin = LastResourceCoordinator("coordinator", 1, POLICIES, "s1", one_phase=False)
    assert twin.recover([("last", "s1", work, ("s0",))])[0] == command("perform", "s1", work)
    for one in (coordinator, twin):
        told = one.handle(vote("performed", "s1"))
        assert Append(("commit", "s0"), forced=False) in told
        assert command("commit", "s0") in told


def test_only_the_last_resource_answers_for_itself() -> None:
    coordinator = LastResourceCoordinator("coordinator", 1, POLICIES, "s1", one_phase=False)
    coordinator.recover([("last", "s1", (ADD, (1,)), ("s0",))])
    for kind in ("performed", "refused", "failed"):
        with pytest.raises(PeerFault, match="'s0' answers for 's1'"):
            coordinator.handle(vote(kind, "s0"))


def test_a_last_resource_that_does_not_answer_is_asked_for_ever() -> None:
    coordinator = LastResourceCoordinator("coordinator", 1, POLICIES, "s1", one_phase=False)
    coordinator.recover([("last", "s1", (ADD, (1,)), ("s0",))])
    alerts = 0
    for _ in range(2 * POLICIES.alert_after):
        effects = coordinator.handle(Timer("reply"))
        assert effects[0] == Suspect("s1")
        assert command("perform", "s1", (ADD, (1,))) in effects
        alerts += sum(type(one).__name__ == "Alert" for one in effects)
    assert alerts == 1


@pytest.mark.parametrize(
    ("done", "answer"),
    [
        (Done("performed", "done"), "performed"),
        (Done("performed", "refused"), "refused"),
        (Done("performed", "failed"), "failed"),
        (Done("performed", "duplicate", "done"), "performed"),
        (Done("performed", "duplicate", "refused"), "refused"),
    ],
)
def test_a_last_resource_says_what_stands_in_its_row(done: Done, answer: str) -> None:
    participant = LastResourceParticipant("s0", 1, POLICIES)
    (work,) = participant.handle(command("perform", "s0", (ADD, (0,))))
    assert work == Transact("performed", ADD, (1, "branch"), Branch("done"), Branch("refused"), steps=(0,))
    assert participant.handle(done) == [vote(answer, "s0"), Forget()]


def test_prepare_names_the_others_that_write() -> None:
    """Not those that only read, which keep nothing that they could answer from."""
    coordinator = NamingCoordinator("coordinator", 1, POLICIES)
    effects = coordinator.handle(Request(1, plan(ADD, READ, ADD)))
    assert [one.body[2] for one in effects if isinstance(one, Message)] == [("s2",), ("s0", "s2"), ("s0",)]


def test_who_is_in_doubt_asks_the_coordinator_and_its_peers() -> None:
    participant = in_doubt("s1", "s2")
    effects = participant.handle(Timer("inquiry"))
    assert [one for one in effects if isinstance(one, Message)] == [
        vote("inquiry", "s0"),
        Message("ask", 1, "s0", "s1"),
        Message("ask", 1, "s0", "s2"),
    ]
    assert in_doubt("s1").handle(Message("ask", 1, "s1", "s0")) == []
    restarted = CooperativeParticipant("s0", 1, POLICIES)
    effects = restarted.recover([("prepared", "coordinator", "s1")])
    assert [one for one in effects if isinstance(one, Message)] == [
        vote("inquiry", "s0"),
        Message("ask", 1, "s0", "s1"),
    ]


def test_who_is_told_by_a_peer_acknowledges_to_the_coordinator() -> None:
    effects = in_doubt("s1").handle(Message("committed", 1, "s1", "s0"))
    assert vote("ack", "s0") in effects


@pytest.mark.parametrize(
    ("done", "answer"),
    [
        (Done("looked-up", "done"), "aborted"),
        (Done("looked-up", "duplicate", "tombstone"), "aborted"),
        (Done("looked-up", "duplicate", "done"), "committed"),
        (Done("looked-up", "failed"), None),
    ],
)
def test_a_peer_answers_from_its_store_and_never_votes_yes_afterwards(done: Done, answer: str | None) -> None:
    peer = CooperativeParticipant("s1", 1, POLICIES)
    assert peer.handle(Message("ask", 1, "s0", "s1")) == [Transact("looked-up", (), (1, "branch"), Branch("tombstone"))]
    told = peer.handle(done)
    assert told == ([Message(answer, 1, "s1", "s0")] if answer else []) + [Forget()]
    late = CooperativeParticipant("s1", 1, POLICIES)
    late.handle(command("prepare", "s1", (ADD, (0,), ("s0",))))
    assert late.handle(Done("prepared", "duplicate", "tombstone"))[0] == vote("no", "s1", "a peer was told so")


def in_doubt(*peers: str) -> Machine:
    participant = CooperativeParticipant("s0", 1, POLICIES)
    effects = participant.handle(command("prepare", "s0", (ADD, (0,), peers)))
    assert effects == [Prepare("prepared", ADD, ("prepared", "coordinator", *peers), (1, "branch"), (0,))]
    participant.handle(Done("prepared", "done"))
    return participant


# --- presumed commit ---------------------------------------------------------------------------------------------------------------


def presuming(*services: str) -> Machine:
    coordinator = PresumingCoordinator("coordinator", 1, POLICIES)
    effects = coordinator.handle(Request(1, updating(len(services))))
    assert effects[0] == Append(("collecting", *services))
    assert [one.to for one in effects if isinstance(one, Message)] == list(services)
    return coordinator


def test_an_abort_is_remembered_until_everybody_that_writes_has_acknowledged_it() -> None:
    """Also those that have not voted: whoever asked afterwards would be told COMMIT."""
    coordinator = presuming("s0", "s1", "s2")
    assert coordinator.handle(vote("yes", "s0")) == []
    told = coordinator.handle(vote("no", "s1", "refused"))
    assert [one for one in told if isinstance(one, Message)] == [command("abort", "s0")]
    assert coordinator.handle(vote("yes", "s2")) == [command("abort", "s2")]
    assert coordinator.handle(vote("ack", "s2")) == []
    assert coordinator.handle(vote("ack", "s2")) == []
    assert coordinator.handle(vote("inquiry", "s0")) == [command("abort", "s0")]
    assert coordinator.handle(vote("ack", "s0")) == [Append(("end",), forced=False), Forget()]
    unknown = PresumingCoordinator("coordinator", 1, POLICIES)
    assert unknown.handle(vote("inquiry", "s0")) == [command("commit", "s0"), Forget()]


def test_a_restarted_coordinator_aborts_what_it_has_begun_and_not_decided() -> None:
    coordinator = PresumingCoordinator("coordinator", 1, POLICIES)
    effects = coordinator.recover([("collecting", "s0", "s1")])
    assert [one for one in effects if isinstance(one, Message)] == [command("abort", "s0"), command("abort", "s1")]
    assert coordinator.state == "aborting"
    coordinator = PresumingCoordinator("coordinator", 1, POLICIES)
    effects = coordinator.recover([("collecting", "s0"), ("commit",)])
    assert [one for one in effects if isinstance(one, Message)] == [command("commit", "s0")]


def test_no_and_ack_are_said_behind_a_tombstone() -> None:
    tombstone = Transact("fenced", (), (1, "branch"), Branch("tombstone"))
    participant = PresumedParticipant("s0", 1, POLICIES)
    participant.handle(command("prepare", "s0", (ADD, (0,))))
    assert participant.handle(Done("prepared", "refused")) == [tombstone]
    assert participant.handle(Done("fenced", "done")) == [vote("no", "s0", "refused"), Forget()]
    unheard = PresumedParticipant("s0", 1, POLICIES)
    assert unheard.handle(command("abort", "s0")) == [tombstone]
    assert unheard.handle(Done("fenced", "duplicate", "tombstone")) == [vote("ack", "s0"), Forget()]
    late = PresumedParticipant("s0", 1, POLICIES)
    late.handle(command("prepare", "s0", (ADD, (0,))))
    assert late.handle(Done("prepared", "duplicate", "tombstone")) == [vote("no", "s0", "aborted before"), Forget()]


# --- a coordinator that dies ------------------------------------------------------------------------------------------------------


def until_in_doubt(strategy: TwoPhaseCommit, told: int) -> World:
    """Three participants have voted YES; the coordinator has told so many of them, and is dead."""
    world = World(strategy, updating(3))
    world.restart = lambda _name: None  # type: ignore[method-assign]
    for _ in range(200):
        if world.sent["commit"] == 3 or (told == 0 and world.sent["yes"] == 3):
            break
        assert world._advance()
    world.network[:] = [one for one in world.network if one.kind == "commit"][:told]
    world.crash("coordinator")
    for _ in range(200):
        if not world._work() and not any(action() or True for action in world._actions(programs=False)[:1]):
            ready = [(node, key) for node in world.nodes.values() for key in node.timers if node.up]
            if not ready or world.history.count("end") > 3:
                break
            world.history.append("end")
            for node, key in ready:
                if key in node.timers:
                    world._fire(node, key)
    return world


@pytest.mark.parametrize(("told", "blocked"), [(0, 3), (1, 0), (2, 0), (3, 0)])
def test_one_peer_that_knows_is_enough_and_none_is_not(told: int, blocked: int) -> None:
    """The coordinator never comes back. Under plain two-phase commit all who were not told are blocked."""
    world = until_in_doubt(COOPERATIVE, told)
    assert sum(bool(world.store(f"s{index}").prepared) for index in range(3)) == blocked
    world = until_in_doubt(TwoPhaseCommit(), told)
    assert sum(bool(world.store(f"s{index}").prepared) for index in range(3)) == 3 - told


# --- faults -----------------------------------------------------------------------------------------------------------------------

VARIANTS = {
    "presumed commit": PRESUMED,
    "cooperative": COOPERATIVE,
    "one phase": ONE_PHASE,
    "last resource": last("s0"),
}
SHAPES = {"one": updating(1), "commit": plan(ADD, ADD), "refused": plan(ADD, REFUSE), "one reads": plan(READ, ADD)}
MODES = list(itertools.product(["idle", "now"], ["lost", "kept"]))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_crash_point(variant: str, shape: str) -> None:
    """Between any two effects of any node: all or nothing, the client told the truth, nothing left over at the end."""
    chosen = VARIANTS[variant]
    points = World(chosen, SHAPES[shape]).run().points
    assert points >= 8
    outcomes = set()
    for point, (restart, lazies) in itertools.product(range(points), MODES):
        world = World(chosen, SHAPES[shape]).run(crashes=[point], restart=restart, lazies=lazies)
        outcomes.add(check(world))
    assert outcomes == ({"aborted", "unknown"} if shape == "refused" else {"committed", "aborted", "unknown"}) - (
        {"aborted"} if shape == "one" and variant in ("one phase", "last resource") else set()
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_random_schedules(variant: str) -> None:
    """Losses, copies, early timers, failures and crashes, of one transaction or of two."""
    for seed in range(120):
        choose = random.Random(f"{variant} {seed}")
        sizes = [choose.choice([ADD, ADD, READ, REFUSE]) for _ in range(choose.randint(1, 3))]
        plans = [plan(*sizes, tx=tx) for tx in range(1, choose.randint(2, 3))]
        world = World(VARIANTS[variant], *plans)
        check(world.chaos(choose, crashes=choose.randint(0, 3)))


# --- options ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("2pc:termination=cooperative", COOPERATIVE),
        ("2pc:one_phase=true", ONE_PHASE),
        ("2pc:presumption=commit", PRESUMED),
        ("2pc:last_resource=s1", last("s1")),
        ("2pc:last_resource=none", TwoPhaseCommit()),
    ],
)
def test_options_as_text(text: str, chosen: TwoPhaseCommit) -> None:
    assert strategy(text) == chosen


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"termination": "mutual"}, "termination = 'mutual' is not available"),
        ({"one_phase": 1}, "one_phase = 1: use true or false"),
        ({"last_resource": ""}, "last_resource = '': use the name of a service, or None"),
        ({"termination": "cooperative", "work": "before"}, "exclude each other"),
        ({"termination": "cooperative", "last_resource": "s1"}, "exclude each other"),
        ({"one_phase": True, "work": "before"}, "exclude each other"),
        ({"presumption": "commit", "termination": "cooperative"}, "exclude each other"),
    ],
)
def test_options_that_do_not_fit_get_one_line(options: dict[str, Any], part: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        TwoPhaseCommit(**options)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_last_resource_has_to_have_a_step() -> None:
    assert last("s1").check(updating(2)) is None
    assert last("s7").check(updating(2)) == "no step is on the last resource 's7': use one of the services s0, s1"
