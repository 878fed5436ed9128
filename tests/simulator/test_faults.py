"""Under every kind of fault: what the strategies promise, they keep, and what the dual write loses is what theory says.

Two-phase commit, saga and outbox end every run with nothing lost, nothing doubled, nobody stuck, every invariant restored, and no answer that
contradicts the outcome. Each test goes through many random seeds, and makes sure that the faults did hit something.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from scipy import stats

import simtx
from simtx.metrics.run import Run
from simtx.protocols import DualWrite, Policies, Saga, Strategy, TwoPhaseCommit
from simtx.scenario import Scenario
from simtx.scenario.distributions import Exponential, Uniform
from tests.amounts import many
from tests.simulator.worlds import SAFE, STRATEGIES, chain


def random(kind: str, **options: Any) -> dict[str, Any]:
    """A fault that strikes again and again, a second after its last end on average, for up to two seconds."""
    return {"kind": kind, "every": Exponential(1.0), "duration": Uniform(0.05, 2.0), **options}


FAULTS: dict[str, dict[str, Any]] = {
    "crash of the first service": random("crash", node="s0"),
    "crash of a service": random("crash", node="s1"),
    "crash of the hub": random("crash", node="hub"),
    "pause of a service": random("pause", node="s1"),
    "pause of the hub": random("pause", node="hub"),
    "slow service": random("slow", node="s2", factor=20.0),
    "partition of a service": random("partition", a=["s1"]),
    "one-way partition": random("partition", a=["hub"], b=["s2"], one_way=True),
    "loss": random("loss", probability=0.2),
    "duplication": random("duplication", probability=0.3),
    "reorder": random("reorder", probability=0.3),
    "store outage": random("store-outage", node="s2"),
    "broker outage": random("broker-outage"),
    "clock drift": random("clock-drift", node="hub", factor=0.3),
}
WITH_LOSS = {"clock drift"}  # timers matter only where messages get lost
HUB_ONLY = {"crash of the hub", "pause of the hub", "one-way partition", "clock drift"}
BROKER_ONLY = {"broker outage"}


def world(faults: Iterable[dict[str, Any]], *, transactions: int = 80, loss: float = 0.0, **options: Any) -> Scenario:
    """Three services under Poisson arrivals at 20/s, one in five refused, with these faults."""
    return chain(
        3,
        delay=Exponential(0.002),
        service_time=Exponential(0.003),
        workers=4,
        refusals={1: 0.1, 2: 0.1},
        transactions=transactions,
        network={"loss": loss},
        **{"workload": {"kind": "poisson", "rate": 20.0}, "faults": list(faults), **options},
    )


def assert_sound(run: Run) -> None:
    """Nothing lost, nothing doubled, nobody stuck, every invariant restored, no answer that contradicts the outcome."""
    data = run.data
    cells = data.columns
    outcomes = list(zip(cells["outcome"], cells["answer"], strict=True))
    where = f"{run.strategy.name}, seed {run.seed}: {Counter(outcomes)}"
    assert len(outcomes) == run.scenario.run.transactions, where
    # Lost is what had no effect and left no record, such as a request to a node that is down; nobody was told anything.
    fair = {("committed", a) for a in ("committed", "accepted", "")} | {("lost", "")}
    fair |= {(o, a) for o in ("aborted", "compensated") for a in ("aborted", "accepted", "")}
    assert set(outcomes) <= fair, where
    assert data.residual == 0, where
    assert not any(cells["duplicate_effects"]), where
    assert not any(cells["missing_effects"]), where
    assert all(abs(quantity.final) < 1e-6 for quantity in data.quantities), where
    assert data.bounds_violated == [], where


def cases() -> list[Any]:
    return [
        pytest.param(strategy, fault, id=f"{strategy.name}-{fault}")
        for strategy in SAFE
        for fault in FAULTS
        if not (strategy.hub is None and fault in HUB_ONLY) and not (not strategy.uses_broker and fault in BROKER_ONLY)
    ]


@pytest.mark.parametrize(("strategy", "fault"), cases())
@pytest.mark.more
@pytest.mark.sample(5)
def test_every_kind_of_fault_leaves_nothing_lost_and_nothing_doubled(strategy: Strategy, fault: str) -> None:
    """Random schedules of each fault; together with the other cases, hundreds."""
    loss = 0.1 if fault in WITH_LOSS else 0.0
    scenario, quiet = (world(faults, loss=loss) for faults in ([FAULTS[fault]], []))
    struck = disturbed = 0
    schedules = many(8, 20)
    for seed in range(schedules):
        run = simtx.simulate(scenario, strategy, seed=seed)
        assert_sound(run)
        struck += run.data.counts["faults"]
        disturbed += seed < 3 and run.digest != simtx.simulate(quiet, strategy, seed=seed).digest
    assert struck > schedules
    assert disturbed > 0, "the fault changed nothing"


@pytest.mark.parametrize("schedules", [15, pytest.param(150, marks=pytest.mark.heavy)])
@pytest.mark.parametrize("strategy", SAFE, ids=lambda s: s.name)
def test_all_faults_together_leave_nothing_lost_and_nothing_doubled(strategy: Strategy, schedules: int) -> None:
    """Random schedules of everything at once."""
    scenario = world(FAULTS.values())
    lost = retries = 0
    for seed in range(schedules):
        run = simtx.simulate(scenario, strategy, seed=1000 + seed)
        assert_sound(run)
        lost += sum(map(math.isnan, run.data.columns["answered_s"]))  # their requests: a crash has swallowed them
        retries += sum(run.data.columns["retries"])
    assert lost > 0
    assert retries > 6 * schedules


def test_the_same_faults_ruin_a_dual_write() -> None:
    """The baseline drifts under the schedules that the other strategies survive."""
    runs = [simtx.simulate(world(FAULTS.values()), "dual-write", seed=1000 + seed) for seed in range(10)]
    assert sum(run.summary.residual_divergence > 0 for run in runs) >= 8
    assert sum(run.summary.missing_effects for run in runs) > 0
    assert sum(run.summary.duplicate_effects for run in runs) > 0
    assert sum(run.summary.incomplete_count for run in runs) > 0


# --- a crash at every place of the protocols ------------------------------------------------------------------------------------

EFFECTS = (
    "Append",
    "Message",
    "Transact",
    "Prepare",
    "Commit",
    "Rollback",
    "Publish",
    "MarkOutbox",
    "Acknowledge",
    "SetTimer",
    "CancelTimer",
    "Decided",
    "Answer",
    "Forget",
)


@pytest.mark.parametrize("refusing", [(), (2,)], ids=["committed", "refused"])
@pytest.mark.parametrize("strategy", SAFE, ids=lambda s: s.name)
@pytest.mark.sample(4)
@pytest.mark.more
def test_a_crash_before_or_after_any_effect_leaves_nothing_lost_and_nothing_doubled(
    strategy: Strategy, refusing: tuple[int, ...]
) -> None:
    """Rule 2 of the contract: a node may crash between any two effects. Every place in the second of three transactions."""
    nodes = ["s0", "s1", "s2", *(["hub"] if strategy.hub else [])]
    base = chain(3, refusing=refusing)
    hits = 0
    for node in nodes:
        for effect in EFFECTS:
            for when in ("before", "after"):
                for occurrence in range(1, many(3, 6)):
                    trigger = {"transaction": 1, "effect": effect, "when": when, "occurrence": occurrence}
                    fault = {"kind": "crash", "node": node, "trigger": trigger, "duration": "0.5s"}
                    run = simtx.simulate(base.replace(faults=[fault]), strategy)
                    assert_sound(run)
                    if not run.data.counts["faults"]:
                        break
                    hits += 1
    assert hits >= (many(30, 40) if strategy.hub else many(15, 20))


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("effect", "strategies"),
    [
        ("Publish", ["dual-write", "outbox"]),
        ("Publish:step-done", ["dual-write", "outbox"]),
        ("MarkOutbox", ["outbox"]),
        ("MarkOutbox:step-done", ["outbox"]),
    ],
)
def test_a_trigger_finds_the_event_of_its_transaction_in_the_relay_as_in_the_service(
    effect: str, strategies: list[str], when: str
) -> None:
    """Equal conditions: whoever publishes the event of transaction 10 crashes there, and nobody at another transaction's event."""
    base = chain(3, transactions=20)
    for strategy in strategies:
        trigger = {"transaction": 10, "effect": effect, "when": when}
        fault = {"kind": "crash", "node": "s1", "duration": "0.5s", "trigger": trigger}
        run = simtx.simulate(base.replace(faults=[fault]), strategy, trace=True)
        assert run.data.counts["faults"] == 1, strategy
        crash = next(event for event in run.trace if event.kind == "crash")
        gone = [
            event for event in run.trace if event.kind == "publish" and event.time <= crash.time and event.node == "s1"
        ]
        assert (10 in [event.tx for event in gone]) == (when == "after" or effect.startswith("Mark"))
        other = base.replace(faults=[{**fault, "trigger": {**trigger, "effect": "Publish:step-refused"}}])
        assert simtx.simulate(other, strategy).data.counts["faults"] == 0


# --- contention: deadlocks across services --------------------------------------------------------------------------------------


def contended(rule: str, **options: Any) -> Scenario:
    """Transactions that change two hot keys in each of three services, in no common order, over few keys."""
    steps = [
        {
            "name": f"step{index}",
            "service": f"s{index}",
            "after": [],
            "operations": [{"key": "k:{" + key + "}", "amount": 1} for key in keys],
            "compensation": [{"key": "k:{" + key + "}", "amount": -1} for key in keys],
        }
        for index, keys in enumerate((("one", "two"), ("two", "one"), ("one", "three")))
    ]
    popular = {"population": 6, "popularity": "zipf", "exponent": 1.0}
    return chain(
        3,
        delay=Exponential(0.003),
        service_time=Exponential(0.002),
        workers=1000,  # or branches that wait for locks would keep all workers from those that hold them
        lock_timeout=0.5,
        transaction={"parameters": dict.fromkeys(("one", "two", "three"), popular), "steps": steps},
        workload={"kind": "poisson", "rate": 40.0},
        transactions=80,
        deadlocks=rule,
        **options,
    )


@pytest.mark.parametrize("rule", ["timeout", "detect", "wait-die"])
@pytest.mark.parametrize("strategy", SAFE, ids=lambda s: s.name)
@pytest.mark.more
@pytest.mark.sample(2)
def test_contention_is_resolved_by_every_deadlock_rule(strategy: Strategy, rule: str) -> None:
    """With and without faults: locks are waited for, rings are found, prevented or timed out, and nothing is lost or doubled."""
    waits, victims, timeouts = 0.0, 0, 0
    for seed in range(many(3, 8)):
        for faults in ([], [FAULTS["crash of a service"], FAULTS["loss"], FAULTS["duplication"]]):
            run = simtx.simulate(contended(rule, faults=faults), strategy, seed=seed)
            assert_sound(run)
            waits += sum(run.data.columns["lock_wait_s"])
            if not faults:
                victims += run.data.counts["deadlocks"]
                timeouts += run.data.counts["lock_timeouts"]
    assert waits > 0
    if strategy.name == "2pc":
        assert (victims > 0) == (rule != "timeout")
        assert (timeouts > 0) == (rule == "timeout"), "a ring that the rule should have found or prevented"
    else:
        assert victims == timeouts == 0  # a local transaction locks in one order, and holds nothing elsewhere


# --- scenarios with branches and with a point of no return ----------------------------------------------------------------------

SHOP = [
    random("crash", node="payments"),
    random("crash", node="hub"),
    random("partition", a=["inventory"]),
    random("loss", probability=0.1),
    random("duplication", probability=0.1),
    random("broker-outage"),
]
TRIP = [
    random("crash", node="flights"),
    random("crash", node="agency"),
    random("crash", node="hub"),
    random("pause", node="hotels"),
    random("loss", probability=0.1),
    random("reorder", probability=0.3),
]


@pytest.mark.parametrize(("name", "faults"), [("checkout", SHOP), ("travel", TRIP)])
@pytest.mark.parametrize("strategy", SAFE, ids=lambda s: s.name)
@pytest.mark.more
@pytest.mark.sample(3)
def test_built_in_scenarios_survive_faults(strategy: Strategy, name: str, faults: list[dict[str, Any]]) -> None:
    """A pivot with retriable steps behind it, and branches side by side, with data that refuse: money and goods add up again."""
    scenario = simtx.load(name).replace(
        **{"run.transactions": 120, "run.warmup": 0, "run.drain": "600s", "workload.rate": 20, "faults": faults}
    )
    for seed in range(many(2, 6)):
        run = simtx.simulate(scenario, strategy, seed=seed)
        assert_sound(run)
        assert run.data.counts["faults"] > 0


# --- dual write: what crashes cost ------------------------------------------------------------------------------------------------


def crashing(node: str, **options: Any) -> Scenario:
    """One transaction in the gap at a time; crashes of one service at a constant rate, each of them short."""
    return chain(
        3,
        delay=0.0,
        write=0.0,
        rate=5.0,
        transactions=3000,
        broker={"linger": GAP, "redelivery": 5.07},
        faults=[{"kind": "crash", "node": node, "every": Exponential(1 / CRASHES), "duration": "0.001s"}],
        policies={"publish_timeout": 3.0},
        **options,
    )


GAP = 0.05
CRASHES = 1.0
LOST = 1 - np.exp(-CRASHES * GAP)


def assert_binomial(hits: int, trials: int, probability: float) -> None:
    assert stats.binomtest(hits, trials, probability).pvalue > 0.01, (hits, trials, probability)
    assert trials * probability > 100, "too few to tell anything"


@pytest.mark.parametrize("acknowledge", ["before", "after"])
def test_omissions_at_the_entry_are_those_of_the_gap(acknowledge: Any) -> None:
    """P(crash between the commit and the broker's receipt) = 1 - exp(-rate * gap), whatever is acknowledged when: nobody asks again."""
    run = simtx.simulate(crashing("s0"), DualWrite(acknowledge=acknowledge))
    table = run.transactions
    reached = table[table.outcome != "lost"]
    omitted = reached.outcome == "incomplete"
    assert_binomial(int(omitted.sum()), len(reached), LOST)
    assert (reached.missing_effects[omitted] == 2).all()
    assert run.summary.duplicate_effects == 0
    assert run.summary.residual_divergence == 2 * omitted.sum()  # of two keys, what is missing


def test_omissions_further_on_are_those_of_the_gap_if_acknowledged_on_arrival() -> None:
    """The broker has been told that the event is done with: the rest of the transaction never comes."""
    run = simtx.simulate(crashing("s1"), DualWrite(acknowledge="before"))
    omitted = run.transactions.outcome == "incomplete"
    assert_binomial(int(omitted.sum()), len(omitted), LOST)
    assert run.summary.duplicate_effects == 0


def test_duplicates_further_on_are_those_of_the_gap_if_acknowledged_after_the_work() -> None:
    """Each attempt fails with that probability and is delivered again: a geometric number of repeated effects, and nothing is omitted."""
    run = simtx.simulate(crashing("s1"), DualWrite(acknowledge="after"))
    table = run.transactions
    assert run.summary.missing_effects == 0
    assert (table.outcome == "committed").all()
    again = table.duplicate_effects.sum()
    assert_binomial(int(again), int(len(table) + again), LOST)  # failures among all attempts


def test_the_outbox_loses_nothing_under_the_same_crashes() -> None:
    """The event commits with the change."""
    for node in ("s0", "s1"):
        assert_sound(simtx.simulate(crashing(node), "outbox"))


def test_a_broker_that_acks_from_memory_loses_what_it_holds() -> None:
    """An event waits for a consumer that is down when the broker restarts: with `ack = "memory"` even an outbox loses it."""
    down = {"kind": "crash", "node": "s1", "at": "0.9s", "duration": "4.0s"}
    restart = {"kind": "broker-outage", "at": "2.0s", "duration": "0.1s"}
    kept, lost = (
        simtx.simulate(chain(3, transactions=1, faults=[down, restart], broker={"ack": ack}), "outbox")
        for ack in ("quorum", "memory")
    )
    assert_sound(kept)
    assert lost.transactions.outcome.tolist() == ["incomplete"]
    assert lost.summary.missing_effects == 2


# --- what single faults do --------------------------------------------------------------------------------------------------------


def test_a_pause_delays_and_loses_nothing() -> None:
    """The entry is paused from 3.5 to 6.2 s: requests wait that long, nothing is volatile."""
    for strategy in STRATEGIES:
        node = "hub" if strategy.hub else "s0"
        scenario = chain(3, transactions=10, faults=[{"kind": "pause", "node": node, "at": "3.5s", "duration": "2.7s"}])
        run = simtx.simulate(scenario, strategy)
        assert_sound(run)
        latency = run.transactions.latency_ms
        usual = latency.iloc[0]
        assert latency.iloc[3:6].tolist() == pytest.approx([usual + 2200, usual + 1200, usual + 200], abs=20)
        assert latency.drop([3, 4, 5]).tolist() == pytest.approx([usual] * 7)


def test_overlapping_pauses_outages_and_partitions_last_until_the_last_one_ends() -> None:
    """Two faults of the same kind on one node: the end of the first does not end the second."""
    for kind in ("pause", "store-outage", "broker-outage", "crash"):
        where = {} if kind == "broker-outage" else {"node": "s1"}
        faults = [
            {"kind": kind, "at": 0.5, "duration": 2.0, **where},
            {"kind": kind, "at": 1.5, "duration": 5.0, **where},
        ]
        run = simtx.simulate(chain(3, transactions=1, faults=faults), "outbox")
        assert_sound(run)
        assert run.transactions.settle_ms.iloc[0] > 5500, kind


def test_a_slow_service_multiplies_service_times() -> None:
    """Factor 20 while the fault lasts, then none."""
    fault = {"kind": "slow", "node": "s1", "factor": 20.0, "at": "1.5s", "duration": "1.0s"}
    scenario = chain(2, delay=0.0, write=0.0, service_time=0.01, transactions=3, faults=[fault])
    assert simtx.simulate(scenario, "saga").transactions.latency_ms.tolist() == pytest.approx([20, 210, 20])


def test_a_partition_holds_until_it_heals() -> None:
    """Messages into a partition are lost, and sent again after the call timeout."""
    fault = {"kind": "partition", "a": ["s1"], "at": "0.9s", "duration": "2.0s"}
    run = simtx.simulate(chain(3, rate=1.0, transactions=1, faults=[fault]), "saga", trace=True)
    assert_sound(run)
    assert {(e.node, e.peer) for e in run.trace if e.kind == "drop"} == {("orchestrator", "s1")}
    assert run.transactions.latency_ms.iloc[0] > 1900
    assert run.transactions.retries.iloc[0] >= 1


def test_a_one_way_partition_lets_the_other_direction_through() -> None:
    """From the service to the hub nothing arrives: its local transaction commits, and the reply is lost."""
    fault = {"kind": "partition", "a": ["s1"], "b": ["hub"], "one_way": True, "at": "0.9s", "duration": "2.0s"}
    run = simtx.simulate(chain(3, transactions=1, faults=[fault]), "saga", trace=True)
    assert_sound(run)
    assert {(e.node, e.peer) for e in run.trace if e.kind == "drop"} == {("s1", "orchestrator")}


def test_a_coordinator_that_is_down_blocks_prepared_participants() -> None:
    """The weakness of two-phase commit: locks of a prepared branch are held for as long as the coordinator is down."""
    trigger = {"transaction": 0, "effect": "Append:commit", "when": "before"}
    fault = {"kind": "crash", "node": "hub", "trigger": trigger, "duration": "30.0s"}
    run = simtx.simulate(chain(3, transactions=1, faults=[fault]), TwoPhaseCommit())
    assert_sound(run)
    assert run.transactions.in_doubt_ms.iloc[0] > 3 * 30e3
    assert run.summary.lock_hold_seconds > 90
    assert run.transactions.answer.iloc[0] == ""  # nothing was recorded: the abort is presumed, the client never hears


def test_a_circuit_breaker_holds_calls_back_from_a_node_that_is_down() -> None:
    """After the threshold of failed calls no message goes out until the cooldown is over, and then one trial."""
    fault = {"kind": "crash", "node": "s1", "at": "0.5s", "duration": "20.0s"}
    plain = chain(3, rate=5.0, transactions=60, faults=[fault], policies={"attempts": 2})
    guarded = plain.replace(**{"policies.breaker": {"threshold": 3, "cooldown": "2s"}})
    without, with_one = (simtx.simulate(scenario, "saga") for scenario in (plain, guarded))
    assert_sound(without)
    assert_sound(with_one)
    assert without.summary.breaker_rejections == 0
    assert with_one.summary.breaker_rejections > 20
    assert with_one.summary.messages_per_transaction < without.summary.messages_per_transaction


def test_random_faults_end_with_the_arrivals_so_that_every_run_drains() -> None:
    """The last blow of a random fault begins before the last arrival, or before `until`."""
    fault = random("crash", node="s1", until=2.0)
    run = simtx.simulate(world([fault], transactions=200), Saga(), trace=True)
    crashes = [e.time for e in run.trace if e.kind == "crash"]
    assert crashes
    assert max(crashes) <= 2.0
    endless = simtx.simulate(world([random("crash", node="s1")]), Saga(policies=Policies()), trace=True)
    assert max(e.time for e in endless.trace if e.kind == "crash") <= endless.transactions.arrival_s.max()
