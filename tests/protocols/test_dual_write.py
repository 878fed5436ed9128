"""The dual write: right without crashes, and wrong exactly where theory says so, with every crash point counted."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simtx.errors import PeerFault, ScenarioError
from simtx.protocols.choreography import StepEvent
from simtx.protocols.contract import (
    Acknowledge,
    Alert,
    Answer,
    Decided,
    Delivery,
    Done,
    Effect,
    Forget,
    Message,
    Operation,
    Plan,
    Publish,
    Request,
    SetTimer,
    Strategy,
    Timer,
    Transact,
)
from simtx.protocols.diagrams import to_mermaid
from simtx.protocols.dual_write import AcknowledgeWhen, DualWrite, DualWriteService, Order
from simtx.protocols.policies import Policies
from tests.protocols.helpers import Witness, World, chain

REFUSE: tuple[Operation, ...] = (Operation("k", "add", 1), Operation("k", "refuse"))
NAMES = "abcdefgh"
ORDERS = get_args(Order)
MOMENTS = get_args(AcknowledgeWhen)
EVERY = [(order, acknowledge) for order in ORDERS for acknowledge in MOMENTS]


def plan_of(n: int, refused: int | None = None, tx: int = 1) -> Plan:
    """A chain of n steps on n services; step number `refused` (from 1) says no."""
    return chain(*NAMES[:n], tx=tx, operations={NAMES[refused - 1]: REFUSE} if refused else None)


# --- without faults ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", range(1, 9))
@pytest.mark.parametrize(("order", "acknowledge"), EVERY)
def test_commit_costs_n_forced_writes_and_n_minus_1_events(n: int, order: Order, acknowledge: AcknowledgeWhen) -> None:
    world = World(DualWrite(order=order, acknowledge=acknowledge), plan_of(n)).run()
    assert dict(world.forced) == dict.fromkeys(NAMES[:n], 1)
    assert world.sent == ({"publish": n - 1} if n > 1 else {})
    assert world.answers == {1: ["accepted"]}
    assert world.decided == {1: ["committed"]}
    assert world.net(1) == dict.fromkeys(range(n), 1)
    assert world.left_over() == []
    assert world.alerts == []


@pytest.mark.parametrize(("n", "k"), [(n, k) for n in range(1, 9) for k in range(1, n + 1)])
@pytest.mark.parametrize("acknowledge", MOMENTS)
def test_refused_at_step_k_costs_2k_minus_2_of_either(n: int, k: int, acknowledge: AcknowledgeWhen) -> None:
    """The refusal itself is stored nowhere; else as under the outbox."""
    world = World(DualWrite(acknowledge=acknowledge), plan_of(n, refused=k)).run()
    assert sum(world.forced.values()) == 2 * k - 2
    assert sum(world.sent.values()) == 2 * k - 2
    assert world.answers == {1: ["accepted" if k > 1 else "aborted"]}
    assert world.decided == {1: ["aborted"]}
    assert world.net(1) == dict.fromkeys(range(n), 0)
    assert world.left_over() == []


@pytest.mark.parametrize(("n", "k"), [(2, 1), (3, 1), (3, 2), (4, 2)])
def test_broker_first_leaves_a_ghost_whenever_a_step_with_a_successor_is_refused(n: int, k: int) -> None:
    """The steps behind the refused one hear that it was done, and act; no crash is needed."""
    world = World(DualWrite(order="broker-first"), plan_of(n, refused=k)).run()
    assert world.net(1) == {index: int(index >= k) for index in range(n)}


def test_broker_first_with_a_refusal_at_the_last_step_is_right() -> None:
    assert World(DualWrite(order="broker-first"), plan_of(3, refused=3)).run().net(1) == {0: 0, 1: 0, 2: 0}


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32), n=st.integers(1, 4), refused=st.integers(0, 4), acknowledge=st.sampled_from(MOMENTS))
def test_db_first_without_crashes_and_losses_ends_consistent(
    seed: int, n: int, refused: int, acknowledge: AcknowledgeWhen
) -> None:
    """Any order of events, early redelivery, and local transactions that fail."""
    plans = [plan_of(n, refused if refused <= n else None), plan_of(n, tx=2)]
    world = World(DualWrite(acknowledge=acknowledge), *plans)
    world.chaos(random.Random(seed), crashes=0, loss=0, duplication=0, failures=0.3)
    for tx in (1, 2):
        assert set(world.net(tx).values()) in ({0}, {1})
    assert world.left_over() == []


# --- every crash point, counted -----------------------------------------------------------------------------------------------------


def outcomes(strategy: DualWrite, n: int, refused: int | None = None) -> Counter[str]:
    """What one crash at each point, between any two effects, leads to."""
    count: Counter[str] = Counter()
    for point in range(World(strategy, plan_of(n, refused)).run().points):
        world = World(strategy, plan_of(n, refused)).run(crashes=[point])
        net = world.net(1)
        if any(value > 1 or value < 0 for value in net.values()):
            count["doubled"] += 1
        elif set(net.values()) == {1}:
            count["done"] += 1
        elif set(net.values()) == {0}:
            count["nothing"] += 1
        elif any(net[index] < net[index + 1] for index in range(n - 1)):
            count["ghost"] += 1  # a step is in effect and one before it is not
        else:
            count["omitted"] += 1
    return count


# The points of db-first, acknowledge after, n = 2. Service a: . Transact . | . Publish . | . Answer . Forget .
# Service b: . Transact . | . Decided . Acknowledge . Forget .   (a dot is a point, a bar the end of a handler)
EXPECTED = {
    # a: 1 before the commit; 2 behind it and before the publication; b: 1 behind the commit and 2 before the acknowledgement.
    ("db-first", "after", 2): {"nothing": 1, "omitted": 2, "doubled": 3, "done": 7},
    # One service more in the middle: . Transact . | . Publish . | . Acknowledge . Forget . : 1 behind the commit, 1 before the publication,
    # 1 behind it, and 1 before the acknowledgement double it.
    ("db-first", "after", 3): {"nothing": 1, "omitted": 2, "doubled": 3 + 4, "done": 7 + 3},
    # b: . Acknowledge . Transact . | . Decided . Forget . : the 1 point between acknowledgement and commit omits, none doubles.
    ("db-first", "before", 2): {"nothing": 1, "omitted": 2 + 1, "done": 9},
    # The middle: . Acknowledge . Transact . | . Publish . | . Forget . : 1 before the commit, 1 behind it, 1 before the publication omit.
    ("db-first", "before", 3): {"nothing": 1, "omitted": 2 + 1 + 3, "done": 9 + 4},
    # a: . Publish . | . Transact . | . Answer . Forget . : 2 points between publication and commit.
    ("broker-first", "after", 2): {"nothing": 1, "ghost": 2, "doubled": 3, "done": 7},
    ("broker-first", "before", 2): {"nothing": 1, "ghost": 2, "omitted": 1, "done": 9},
    # The middle: . Publish . | . Transact . | . Acknowledge . Forget . : 2 points between publication and commit make a copy of the event, 2
    # between commit and acknowledgement double the step as well.
    ("broker-first", "after", 3): {"nothing": 1, "ghost": 2, "doubled": 3 + 4, "done": 7 + 3},
    # The middle: . Acknowledge . Publish . | . Transact . | . Forget . : 1 point before the publication, 2 between publication and commit.
    ("broker-first", "before", 3): {"nothing": 1, "ghost": 2 + 2, "omitted": 1 + 1, "done": 9 + 4},
}


@pytest.mark.parametrize(("order", "acknowledge", "n"), EXPECTED)
def test_one_crash_at_every_point_goes_wrong_exactly_in_the_gaps(
    order: Order, acknowledge: AcknowledgeWhen, n: int
) -> None:
    assert outcomes(DualWrite(order=order, acknowledge=acknowledge), n) == EXPECTED[order, acknowledge, n]


def test_a_crash_on_the_way_back_undoes_twice_or_not_at_all() -> None:
    """Two steps, the second refused: compensations are as unguarded as actions."""
    # a: 1 nothing, 2 omitted. b: . Transact . | . Publish . | . Decided . Acknowledge . Forget . : a refusal writes nothing, so that repeating it
    # is harmless until it is published: then (3 points up to the acknowledgement) the event back comes twice, and a undoes twice.
    # a again: . Transact . | . Acknowledge . Forget . : 1 behind the commit and 1 before the acknowledgement undo twice.
    assert outcomes(DualWrite(), 2, refused=2)["doubled"] == 3 + 2
    # Acknowledged on arrival nothing doubles: a's gap and b's 3 points from the acknowledgement to the publication, and a's 1, lose the way back.
    before = outcomes(DualWrite(acknowledge="before"), 2, refused=2)
    assert before["doubled"] == 0
    assert before["omitted"] == 2 + 3 + 1


# --- the broker is away, or its word is lost ----------------------------------------------------------------------------------------


def started(**options: object) -> tuple[DualWriteService, list[Effect]]:
    """The entry service of three, and what it does on the request."""
    machine = DualWriteService("a", 1, **options)  # type: ignore[arg-type]
    return machine, machine.handle(Request(1, plan_of(3)))


def delivered(kind: str, step: int, id_: int = 7, hops: int = 1) -> Delivery:
    """An event as the broker delivers it."""
    return Delivery(Message(kind, 1, "x", NAMES[step], StepEvent(step, hops, (1, 0, "action"), plan_of(3))), id_)


def test_the_entry_service_commits_publishes_and_only_then_answers() -> None:
    machine, effects = started()
    assert [type(one) for one in effects] == [Transact]
    assert [type(one) for one in machine.handle(Done("action", "done"))] == [Publish]
    assert machine.handle(Done("published", "done")) == [Answer("accepted"), Forget()]


def test_after_the_last_attempt_to_publish_it_goes_on_as_if_nothing_had_happened() -> None:
    machine, _ = started(policies=Policies(publish_attempts=3))
    machine.handle(Done("action", "done"))
    for attempt in range(2):
        (timer,) = machine.handle(Done("published", "failed"))
        assert timer == SetTimer("republish", 0.0, Policies().backoff.bound(attempt))
        (again,) = machine.handle(Timer("republish"))
        assert isinstance(again, Publish)
    alert, answer, forget = machine.handle(Done("published", "failed"))
    assert isinstance(alert, Alert)
    assert "omitted" in alert.reason
    assert not alert.stuck, "nobody knows that it is half done"
    assert (answer, forget) == (Answer("accepted"), Forget())


def test_an_unpublished_refusal_decides_nothing() -> None:
    machine = DualWriteService("b", 1, Policies(publish_attempts=1))
    machine.handle(delivered("step-done", 1))
    machine.handle(Done("action", "refused"))
    effects = machine.handle(Done("published", "failed"))
    assert [type(one) for one in effects] == [Alert, Acknowledge, Forget]


def test_a_lost_confirmation_makes_a_copy_and_all_that_follows_happens_twice() -> None:
    world = World(DualWrite(), plan_of(3))
    while not world.publications:
        world._advance()
    world._accept(0, acked=False)
    world.drain()
    assert world.net(1) == {0: 1, 1: 2, 2: 2}


def test_broker_first_does_nothing_if_the_broker_is_away() -> None:
    policies = Policies(publish_attempts=1)
    machine, effects = started(policies=policies, order="broker-first")
    assert [type(one) for one in effects] == [Publish]
    effects = machine.handle(Done("published", "failed"))
    assert [type(one) for one in effects] == [Alert, Decided, Answer, Forget]
    assert effects[2].outcome == "aborted"  # type: ignore[union-attr]
    machine = DualWriteService("b", 1, policies, "broker-first")
    machine.handle(delivered("step-done", 1))
    effects = machine.handle(Done("published", "failed"))
    assert [type(one) for one in effects] == [Alert, Forget], "without acknowledgement the broker brings it again"


# --- copies and queues ----------------------------------------------------------------------------------------------------------------


def test_a_copy_of_the_request_runs_again() -> None:
    world = World(DualWrite(), plan_of(2))
    world.requests *= 2
    assert world.run().net(1) == {0: 2, 1: 2}


@pytest.mark.parametrize("acknowledge", MOMENTS)
def test_an_event_that_arrives_during_a_publication_waits_its_turn(acknowledge: AcknowledgeWhen) -> None:
    """Two adjacent steps on one service: the event can overtake the broker's confirmation."""
    world = World(DualWrite(acknowledge=acknowledge), chain("a", "a", "b"))
    while not world.publications:
        world._advance()
    publication = world.publications[0]
    world.published += 1
    world.broker[world.published] = publication.message
    world._deliver(world.published)
    if acknowledge == "before":
        world._step(world.nodes["a"], 1)
    assert world.nodes["a"].machines[1].queue != ()  # type: ignore[attr-defined]
    assert (world.published in world.broker) == (acknowledge == "after")
    world.publications.pop()
    world._reply(publication, Done(publication.tag, "done"))
    world.drain()
    assert world.net(1) == {0: 1, 1: 1, 2: 1}
    assert world.left_over() == []


def test_the_same_delivery_again_while_it_is_worked_on_is_no_news() -> None:
    machine = DualWriteService("b", 1)
    machine.handle(delivered("step-done", 1))
    machine.handle(Done("action", "done"))
    for _ in range(3):
        assert machine.handle(delivered("step-done", 1)) == []
        assert machine.handle(delivered("step-done", 1, id_=8)) == []
    assert len(machine.queue) == 1
    effects = machine.handle(Done("published", "done"))
    assert [type(one) for one in effects] == [Acknowledge, Transact], "the copy with another id runs: there is no inbox"


def test_no_queue_outlives_the_machine() -> None:
    machine = DualWriteService("b", 1)
    machine.handle(delivered("step-done", 1))
    machine.handle(Done("action", "failed"))
    machine.handle(delivered("step-refused", 1, id_=8))
    machine.handle(Timer("backoff"))
    machine.handle(Done("action", "done"))
    machine.handle(Done("published", "done"))
    machine.handle(Done("compensation", "done"))
    assert machine.handle(Done("published", "done")) == [Acknowledge(8), Forget()]
    assert machine.queue == ()


# --- local transactions that fail, steps that must not be refused --------------------------------------------------------------------


@pytest.mark.parametrize(("node", "outcome"), [("a", 1), ("b", 1), ("c", 1)])
@pytest.mark.parametrize(("order", "acknowledge"), EVERY)
def test_a_failed_local_transaction_is_repeated(
    node: str, outcome: int, order: Order, acknowledge: AcknowledgeWhen
) -> None:
    left = [3]

    def fail(name: str, effect: Effect) -> bool:
        left[0] -= name == node and isinstance(effect, Transact)
        return name == node and left[0] >= 0

    world = World(DualWrite(order=order, acknowledge=acknowledge), plan_of(3), fail=fail).run()
    assert set(world.net(1).values()) == {outcome}
    assert world.left_over() == []


def test_a_request_that_fails_too_often_is_refused() -> None:
    tried = []
    world = World(DualWrite(), plan_of(2), fail=lambda name, effect: name == "a" and not tried.append(effect)).run()  # type: ignore[func-returns-value]
    assert len(tried) == Policies().attempts
    assert world.answers == {1: ["aborted"]}
    assert world.decided == {1: ["aborted"]}
    assert world.left_over() == []


def test_attempts_are_counted_anew_for_each_thing_that_is_tried() -> None:
    """Local transaction, publication, and the next event in the queue have attempts of their own."""
    policies = Policies(attempts=3, publish_attempts=2, compensation_attempts=2)
    for order in ORDERS:
        machine = DualWriteService("a", 1, policies, order)
        machine.handle(Request(1, plan_of(3)))
        if order == "broker-first":
            machine.handle(Done("published", "failed"))
            machine.handle(delivered("step-refused", 0, id_=8))
            machine.handle(Timer("republish"))
            machine.handle(Done("published", "done"))
        for attempt in range(2):
            assert machine.handle(Done("action", "failed")) == [
                SetTimer("backoff", 0.0, policies.backoff.bound(attempt))
            ]
            machine.handle(Timer("backoff"))
        if order == "db-first":
            machine.handle(Done("action", "done"))
            machine.handle(delivered("step-refused", 0, id_=8))
            assert machine.handle(Done("published", "failed")) == [
                SetTimer("republish", 0.0, policies.backoff.bound(0))
            ]
            machine.handle(Timer("republish"))
            effects = machine.handle(Done("published", "done"))
            assert effects[0] == Answer("accepted")
        else:
            effects = machine.handle(Done("action", "failed"))
            assert effects[:2] == [Decided("aborted"), Answer("aborted", "step 'step 0' was refused")]
        assert machine.handle(Done("compensation", "failed")) == [SetTimer("backoff", 0.0, policies.backoff.bound(0))]
        machine.handle(Timer("backoff"))
        assert machine.handle(Done("compensation", "done")) == [Acknowledge(8), Forget()], "not decided once more"


@pytest.mark.parametrize("limit", [None, 3])
def test_a_refused_compensation_is_dropped_after_its_attempts_or_tried_for_ever(limit: int | None) -> None:
    machine = DualWriteService("b", 1, Policies(compensation_attempts=limit, alert_after=5))
    machine.handle(delivered("step-refused", 1))
    alerts: list[Alert] = []
    for _ in range(2 if limit else 50):
        effects = machine.handle(Done("compensation", "refused"))
        assert isinstance(effects[0], SetTimer)
        alerts += [one for one in effects if isinstance(one, Alert)]
        machine.handle(Timer("backoff"))
    if limit is None:
        assert [one.stuck for one in alerts] == [False]
    else:
        effects = machine.handle(Done("compensation", "refused"))
        assert [type(one) for one in effects] == [Alert, Acknowledge, Forget]
        assert effects[0].stuck  # type: ignore[union-attr]


def test_a_refused_retriable_step_raises_an_alert_and_the_rest_is_lost() -> None:
    plan = plan_of(3, refused=2)
    kinds = ("pivot", "retriable", "retriable")
    plan = Plan(1, tuple(replace(step, kind=kind) for step, kind in zip(plan.steps, kinds, strict=True)))  # type: ignore[arg-type]
    world = World(DualWrite(), plan).run()
    assert world.net(1) == {0: 1, 1: 0, 2: 0}
    assert [(name, alert.stuck) for name, _, alert in world.alerts] == [("b", True)]
    assert world.decided == {1: ["committed"]}


@pytest.mark.parametrize("kind", ["step-done", "step-refused"])
def test_an_event_with_too_many_hops_goes_no_further(kind: str) -> None:
    effects = DualWriteService("b", 1, Policies(maximum_hops=5)).handle(delivered(kind, 1, hops=6))
    assert [type(one) for one in effects] == [Alert, Acknowledge, Forget]
    effects = DualWriteService("b", 1, Policies(maximum_hops=5)).handle(delivered(kind, 1, hops=5))
    assert [type(one) for one in effects] == [Transact]


@pytest.mark.parametrize("state", ["idle", "publishing"])
def test_what_no_correct_peer_sends_is_refused_and_changes_nothing(state: str) -> None:
    for wrong in (
        delivered("step-done", 2),
        Delivery(Message("step-done", 1, "a", "b", None), 1),
        delivered("unheard-of", 1),
    ):
        machine = DualWriteService("b", 1)
        if state == "publishing":
            machine.handle(delivered("step-done", 1))
            machine.handle(Done("action", "done"))
        before = machine.key()
        with pytest.raises(PeerFault, match="b"):
            machine.handle(wrong)
        assert machine.key() == before


# --- the table and the options ----------------------------------------------------------------------------------------------------


def failing(choose: random.Random) -> Callable[[str, Effect], bool]:
    """Local transactions that fail now and then."""
    return lambda _name, _effect: choose.random() < 0.4


def stray(choose: random.Random, name: str, step: int, plan: Plan) -> Request | Delivery:
    """Something that arrives out of turn."""
    kind = choose.choice(("retry", "skip", "resolve", "begin", "step-done", "step-refused"))
    if kind == "begin" and step == 0:
        return Request(1, plan)
    if kind.startswith("step"):
        body = StepEvent(step, choose.choice((1, 3)), (1, 0, "action"), plan)
        return Delivery(Message(kind, 1, "x", name, body), choose.randrange(1000, 2000))
    return Request(1, None, kind if kind != "begin" else "retry")


def test_every_row_of_the_table_happens() -> None:
    """What no play reaches would be dead or untested code: operators and copies in every state that lasts, a poor broker and store."""
    witness: Witness = set()
    for order, acknowledge in EVERY:
        for refused in range(4):
            for seed in range(25):
                choose = random.Random(seed)
                hops = choose.choice((0, 1, 2, 64))
                policies = Policies(publish_attempts=2, attempts=2, compensation_attempts=3, maximum_hops=hops)
                steps = list(chain("a", "b", "a").steps)
                if refused:
                    steps[refused - 1] = replace(steps[refused - 1], operations=REFUSE)
                plan = Plan(1, tuple(steps))
                strategy = DualWrite(order=order, acknowledge=acknowledge, policies=policies)
                world = World(strategy, plan, witness=witness, fail=failing(choose))
                for _ in range(60):
                    if not world._advance():
                        break
                    if choose.random() < 0.5 and world.publications:
                        world._lose(choose)
                    for name, step in (("a", 0), ("b", 1)):
                        if world.nodes[name].idle(1) and choose.random() < 0.2 and 1 in world.nodes[name].machines:
                            world.event(name, 1, stray(choose, name, step, plan))
                world.drain()
                world.event("b", 1, Request(1, None, choose.choice(("retry", "skip", "resolve"))))
                world.drain()
    seen = {(state, kind, to) for name, state, kind, to in witness if name == "DualWriteService"}
    missing = [
        (row.state, row.event, to)
        for row in DualWriteService.transitions
        for to in row.to
        if (row.state, row.event, to) not in seen
    ]
    assert missing == []


def test_an_operator_gets_an_alert_since_nothing_is_ever_parked() -> None:
    machine = DualWriteService("b", 1)
    alert, forget = machine.handle(Request(1, kind="retry"))
    assert isinstance(alert, Alert)
    assert forget == Forget()


@pytest.mark.parametrize("options", [{"order": "db"}, {"acknowledge": "never"}])
def test_an_unknown_option_value_is_refused_with_what_would_be_right(options: dict[str, str]) -> None:
    with pytest.raises(ScenarioError, match=r"must be '.*' or '.*'"):
        DualWrite(**options)  # type: ignore[arg-type]


def test_the_machine_is_drawn_in_the_documentation() -> None:
    """That the drawings are fresh is tested for all pages at once; that test would not notice a page that lost its marks."""
    page = (Path(__file__).parents[2] / "docs" / "protocols" / "dual-write.md").read_text(encoding="utf-8")
    assert to_mermaid(DualWriteService) in page


def test_the_strategy_says_what_it_is() -> None:
    strategy: Strategy = DualWrite()
    assert (strategy.name, strategy.promise, strategy.uses_broker, strategy.hub) == (
        "dual-write",
        "accepted",
        True,
        None,
    )
    assert strategy.entry(plan_of(3)) == "a"
    assert list(strategy.daemons("a")) == []
    assert strategy.check(plan_of(3)) is None
    assert strategy.check(Plan(1, ())) is not None
