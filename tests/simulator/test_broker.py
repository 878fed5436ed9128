"""Laws of the broker: at least once, in order per transaction, redelivery, retention, deduplication, and what its delays add up to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

import simtx
from simtx.metrics.replay import summary_from_trace
from simtx.metrics.run import Run
from simtx.metrics.waiting import waiting
from simtx.protocols import (
    Acknowledge,
    Answer,
    Delivery,
    Done,
    Effect,
    Machine,
    Message,
    Plan,
    Publish,
    Request,
    Transition,
)
from simtx.scenario import Scenario
from simtx.scenario.distributions import Exponential
from tests.simulator.worlds import chain

D, W = 2.0**-10, 2.0**-8


class Talker(Machine):
    """Publishes a number of events to the next service; there each delivery is acknowledged, or not."""

    __slots__ = ("acknowledges", "burst", "number")

    role = "talker"
    initial = "idle"
    transitions = (
        Transition("idle", "begin", "begin", ("busy",)),
        Transition("busy", "published", "published", ("busy",)),
        *(
            Transition(state, f"event-{number}", "heard", ("busy",))
            for state in ("idle", "busy")
            for number in range(20)
        ),
    )

    def __init__(self, node: str, tx: int, burst: int, acknowledges: bool) -> None:
        super().__init__(node, tx)
        self.burst = burst
        self.acknowledges = acknowledges
        self.number = 0

    def begin(self, request: Request) -> list[Effect]:
        self.state = "busy"
        assert request.plan is not None
        to = request.plan.steps[1].service
        events: list[Effect] = [
            Publish("published", Message(f"event-{number}", self.tx, self.node, to)) for number in range(self.burst)
        ]
        return [*events, Answer("accepted")]

    def published(self, done: Done) -> list[Effect]:
        return []

    def heard(self, delivery: Delivery) -> list[Effect]:
        self.state = "busy"
        return [Acknowledge(delivery.id)] if self.acknowledges else []


@dataclass(frozen=True)
class Talk:
    """A strategy that only talks."""

    burst: int = 1
    acknowledges: bool = True

    name: ClassVar[str] = "talk"
    promise: ClassVar[str] = "accepted"
    uses_broker: ClassVar[bool] = True
    hub: ClassVar[str | None] = None

    def entry(self, plan: Plan) -> str:
        return plan.steps[0].service

    def machine(self, node: str, tx: int) -> Machine:
        return Talker(node, tx, self.burst, self.acknowledges)

    def daemons(self, node: str) -> Iterable[Machine]:
        return ()

    def check(self, plan: Plan) -> str | None:
        return None


def apart(**broker: Any) -> Scenario:
    """Producer, broker and consumer in three zones; from the producer to the broker it is constant, on to the consumer random."""
    links = [
        {"between": ["here", "broker"], "latency": D},
        {"between": ["here", "there"], "latency": D},
        {"between": ["broker", "there"], "latency": Exponential(0.01)},
    ]
    return chain(
        2,
        delay=D,
        services={"s1": {"zone": "there"}},
        network={"zones": ["here", "broker", "there"], "links": links},
        broker={"zone": "broker", "redelivery": 5.0, **broker},
        transactions=5,
        run={"drain": 30.0},
    )


def deliveries(run: Run, tx: int) -> list[str]:
    return [event.name for event in run.trace.of(tx) if event.kind == "deliver"]


def test_events_of_one_transaction_come_in_order_and_one_at_a_time() -> None:
    """The next one is delivered when the one before is acknowledged, however much the network delays either."""
    run = simtx.simulate(apart(), Talk(burst=12), trace=True)
    for tx in range(5):
        assert deliveries(run, tx) == [f"event-{number}" for number in range(12)]


def test_without_order_they_overtake_each_other() -> None:
    """`ordered = false`: all are delivered at once; the network decides who is first. Nothing is lost or doubled."""
    run = simtx.simulate(apart(ordered=False), Talk(burst=12), trace=True)
    straight = [f"event-{number}" for number in range(12)]
    for tx in range(5):
        assert sorted(deliveries(run, tx)) == sorted(straight)
    assert any(deliveries(run, tx) != straight for tx in range(5))


def test_transactions_do_not_wait_for_each_other() -> None:
    """Order is kept per transaction: one whose event is not acknowledged holds up none of the others."""

    @dataclass(frozen=True)
    class Moody(Talk):
        def machine(self, node: str, tx: int) -> Machine:
            return Talker(node, tx, 2, acknowledges=tx != 1)

    run = simtx.simulate(apart(), Moody(), trace=True)
    assert deliveries(run, 0) == deliveries(run, 2) == ["event-0", "event-1"]
    assert set(deliveries(run, 1)) == {"event-0"}


def test_a_delivery_comes_again_until_it_is_acknowledged() -> None:
    """At least once: every `redelivery` seconds, the same delivery."""
    run = simtx.simulate(
        chain(2, delay=D, transactions=1, broker={"redelivery": 2.0}, run={"drain": 21.0}),
        Talk(acknowledges=False),
        trace=True,
    )
    times = [event.time for event in run.trace.of(0) if event.kind == "deliver"]
    assert np.diff(times).tolist() == [2.0] * 10
    assert run.transactions.retries.iloc[0] == 10
    assert run.transactions.broker_messages.iloc[0] == 1


def test_retention_drops_what_nobody_acknowledges() -> None:
    """Older than `retention`: gone, and delivered no more."""
    broker = {"redelivery": 2.0, "retention": 7.0}
    run = simtx.simulate(
        chain(2, delay=D, transactions=1, broker=broker, run={"drain": 60.0}), Talk(acknowledges=False), trace=True
    )
    assert len(deliveries(run, 0)) == 4  # at 0, 2, 4 and 6 s


def test_a_lost_acknowledgement_means_another_delivery() -> None:
    """The consumer's word gets lost in a one-way partition; afterwards it is asked again, with the same event."""
    fault = {"kind": "partition", "a": ["s1"], "b": ["broker"], "one_way": True, "at": 0.5, "duration": 3.0}
    run = simtx.simulate(
        chain(2, delay=D, transactions=1, faults=[fault], broker={"redelivery": 2.0}), Talk(), trace=True
    )
    times = [event.time for event in run.trace.of(0) if event.kind == "deliver"]
    assert len(times) == 3  # at 1 and 3 s its word was lost


@pytest.mark.parametrize(("window", "copies"), [(0.0, 2), (10.0, 1)])
def test_a_deduplication_window_drops_a_producers_repetitions(window: float, copies: int) -> None:
    """The broker's ack is lost, the producer publishes again: the broker stores a second copy unless it remembers the first."""
    fault = {"kind": "partition", "a": ["broker"], "b": ["s0"], "one_way": True, "at": 0.5, "duration": 1.2}
    scenario = chain(2, transactions=1, faults=[fault], broker={"deduplication_window": window})
    run = simtx.simulate(scenario, "dual-write", trace=True)
    assert run.transactions.broker_messages.iloc[0] == 2
    assert len(deliveries(run, 0)) == copies
    assert run.summary.duplicate_effects == copies - 1
    outbox = simtx.simulate(scenario, "outbox")
    assert outbox.summary.duplicate_effects == 0  # its inbox recognises the copy


def test_a_hop_is_linger_publish_store_and_delivery() -> None:
    """Producer's linger, two ways through the network, and the broker's own time: each of them once."""
    linger, ack = 2.0**-5, 2.0**-6
    base = {"write": W, "delay": D}
    run = simtx.simulate(chain(3, **base, broker={"linger": linger, "ack_latency": ack}), "dual-write")
    assert set(run.transactions.decision_ms) == {(3 * W + 2 * (linger + D + ack + D)) * 1e3}
    # The client's answer waits for the confirmation, which takes the same way back.
    assert set(run.transactions.latency_ms) == {(W + linger + D + ack + D) * 1e3}


def test_an_outage_of_the_broker_delays_and_loses_nothing() -> None:
    """Down from 0.5 to 3 s: the producer's publications fail, are repeated, and arrive."""
    fault = {"kind": "broker-outage", "at": 0.5, "duration": 2.5}
    run = simtx.simulate(chain(3, transactions=3, faults=[fault]), "outbox")
    assert run.summary.committed_share == 1
    assert run.summary.residual_divergence == 0
    assert run.transactions.decision_ms.iloc[0] > 2000
    assert run.transactions.broker_messages.iloc[0] > 2


def test_what_was_stored_survives_an_outage_with_a_quorum() -> None:
    """The consumer is down, the broker restarts: the event is still there, and is delivered."""
    faults = [
        {"kind": "crash", "node": "s1", "at": 0.5, "duration": 2.0},
        {"kind": "broker-outage", "at": 1.5, "duration": 0.5},
    ]
    run = simtx.simulate(chain(2, transactions=1, faults=faults), "outbox")
    assert run.transactions.outcome.tolist() == ["committed"]


def test_what_a_producer_repeats_after_a_crash_of_a_broker_in_memory_is_no_duplicate() -> None:
    """The broker stores the event, loses its ack on the way and then itself: the relay publishes again, and nothing is lost."""
    faults = [
        {"kind": "crash", "node": "s1", "at": 0.5, "duration": 2.5},
        {"kind": "partition", "a": ["broker"], "b": ["s0"], "one_way": True, "at": 0.5, "duration": 1.2},
        {"kind": "broker-outage", "at": 1.5, "duration": 0.2},
    ]
    broker = {"ack": "memory", "deduplication_window": 60.0}
    run = simtx.simulate(chain(2, transactions=1, faults=faults, broker=broker), "outbox")
    assert run.transactions.outcome.tolist() == ["committed"]
    assert run.transactions.broker_messages.iloc[0] > 1
    assert run.summary.missing_effects == 0


# --- kinds of brokers -----------------------------------------------------------------------------------------------------------


def talked(**broker: Any) -> Run:
    """Twenty transactions, an event each, one after the other, a third of which is poison."""
    run = {"drain": 30.0}
    scenario = chain(2, delay=D, transactions=20, broker={"redelivery": 2.0, "poison": 0.3, **broker}, run=run)
    return simtx.simulate(scenario, Talk(), trace=True)


def poison_of(run: Run) -> set[int]:
    return {event.tx for event in run.trace if event.kind == "refuse" and event.detail == "poison"}


def test_a_poison_event_becomes_a_dead_letter_after_the_last_delivery() -> None:
    """`delivery_limit` attempts, each `redelivery` after the one before, and then no more; others are not touched."""
    run = talked(delivery_limit=3)
    poison = poison_of(run)
    assert 0 < len(poison) < 20
    for tx in poison:
        times = [event.time for event in run.trace.of(tx) if event.kind == "refuse"]
        assert np.diff(times).tolist() == [2.0, 2.0]
        assert [event.detail for event in run.trace.of(tx) if event.kind == "drop"] == ["dead letter"]
    assert run.summary.dead_letters == len(poison)
    assert run.summary.failed_deliveries == 3 * len(poison)
    assert run.summary.redeliveries == 2 * len(poison)
    assert {tx for tx in range(20) if deliveries(run, tx)} == set(range(20)) - poison
    assert any("dead letter" in line for line in run.warnings)


def test_which_events_are_poison_is_the_same_whatever_the_broker_makes_of_them() -> None:
    """Common random numbers: a change of the broker leaves the business as it was."""
    runs = [talked(delivery_limit=2), talked(nack=True, nack_delay=0.5, delivery_limit=2)]
    assert len({frozenset(poison_of(run)) for run in runs}) == 1
    assert poison_of(talked(partitions=4)) < poison_of(runs[0])  # what is behind one of them is never tried


def test_a_negative_acknowledgement_brings_it_back_without_the_long_wait() -> None:
    """A round trip and `nack_delay` instead of `redelivery`; the list of `backoff` is for those that keep silent."""
    run = talked(nack=True, nack_delay=0.5, delivery_limit=3, backoff=[7.0])
    times = [event.time for event in run.trace.of(min(poison_of(run))) if event.kind == "refuse"]
    assert np.diff(times).tolist() == [0.5 + 2 * D, 0.5 + 2 * D]
    silent = talked(backoff=[1.0, 3.0], delivery_limit=4)
    times = [event.time for event in silent.trace.of(min(poison_of(silent))) if event.kind == "refuse"]
    assert np.diff(times).tolist() == [1.0, 3.0, 3.0]


def test_a_consumer_that_dies_uses_up_deliveries_of_what_it_had_in_hand() -> None:
    """As in a RabbitMQ quorum queue: nobody has ever tried to handle it, and it is a dead letter all the same."""
    faults = [{"kind": "crash", "node": "s1", "at": 1.5 + n, "duration": 0.25} for n in range(2)]
    scenario = chain(2, transactions=1, faults=faults, broker={"redelivery": 60.0, "delivery_limit": 2})
    run = simtx.simulate(scenario, Talk(acknowledges=False))
    assert (run.summary.dead_letters, run.summary.failed_deliveries) == (1, 0)


def test_a_poison_event_holds_up_its_partition_and_no_other() -> None:
    """In a log nothing behind it is delivered; in a queue with order per transaction, all others are."""
    from simtx.scenario.broker_kinds import partition_of

    run = talked(partitions=4, nack=True, nack_delay=1.0)
    poison = poison_of(run)
    stopped: dict[int, int] = {}
    for tx in sorted(poison):
        stopped.setdefault(partition_of(tx, 4), tx)
    for tx in range(20):
        behind = tx >= stopped.get(partition_of(tx, 4), 20)
        assert bool(deliveries(run, tx)) is not behind
    longest = max(sum(partition_of(tx, 4) == n and tx >= stopped[n] for tx in range(20)) for n in stopped)
    assert run.summary.partition_lag_max == run.timeline.lag_s1.max() == longest


def test_named_poison_stops_its_partition_until_somebody_can_handle_it() -> None:
    """Tried once a second until a fixed consumer is there; then it is handled, and so is all that waited behind it. The log says as much as the run."""
    broker = {"partitions": 2, "nack": True, "nack_delay": 1.0, "poison": 0.0, "poison_transactions": [4]}
    run = talked(**broker, poison_until=12.5)
    assert poison_of(run) == {4}
    assert all(deliveries(run, tx) for tx in range(20))
    assert run.summary.failed_deliveries == sum(event.kind == "refuse" for event in run.trace) >= 7
    assert max(event.time for event in run.trace if event.kind == "refuse") < 12.5
    replayed = summary_from_trace(run.trace, run.scenario)
    for name in ("partition_lag_max", "stored_again", "failed_deliveries"):
        assert replayed[name] == run.summary[name]
    lanes = waiting(run.trace, "s1", 2)
    assert max(lane.most for lane in lanes.values()) == run.summary.partition_lag_max
    assert [lane.counts[-1] for lane in lanes.values()] == [0, 0]


def test_without_poison_there_is_no_time_until_which_it_is_one() -> None:
    with pytest.raises(simtx.ScenarioError, match="poison_until: means nothing without 'poison'"):
        talked(poison=0.0, poison_until=3.0)


def test_events_of_a_partition_are_handled_one_after_the_other_across_transactions() -> None:
    """Fetched together, handed on in their order, and committed up to the last."""
    broker = {"redelivery": 60.0, "partitions": 1, "fetch": 500, "commit_every": 0.25}
    run = simtx.simulate(chain(2, delay=D, rate=1e4, transactions=30, broker=broker), Talk(burst=3), trace=True)
    order = [(event.tx, event.name) for event in run.trace if event.kind == "deliver"]
    stored = [(event.tx, event.name) for event in run.trace if event.kind == "publish"]
    assert order == stored
    assert run.summary.redeliveries == 0


@pytest.mark.parametrize(("every", "again"), [(0.0, 0), (1e3, 8)])
def test_a_consumer_begins_behind_its_last_commit(every: float, again: int) -> None:
    """What it had done since comes again after a crash: with a commit after each event, nothing."""
    faults = [{"kind": "crash", "node": "s1", "at": 9.5, "duration": 0.25}]
    broker = {"redelivery": 60.0, "partitions": 1, "commit_every": every}
    run = simtx.simulate(chain(2, transactions=8, faults=faults, broker=broker, run={"drain": 5.0}), Talk())
    assert run.summary.redeliveries == again


def test_a_lost_fetch_is_made_up_for() -> None:
    """Nothing gets through for three seconds, in either direction; then all comes, in order, once."""
    faults = [{"kind": "partition", "a": ["s1"], "b": ["broker"], "at": 2.5, "duration": 3.0}]
    broker = {"redelivery": 2.0, "partitions": 2}
    run = simtx.simulate(chain(2, transactions=10, faults=faults, broker=broker), Talk(), trace=True)
    assert all(deliveries(run, tx) == ["event-0"] for tx in range(10))


@pytest.mark.parametrize(("by", "again"), [("message", 0), ("producer", 1)])
def test_a_producer_that_was_started_anew_is_another_one(by: str, again: int) -> None:
    """Its relay has no ack of the first publication; the broker knows the repetition by its id, or only as that of the same process."""
    faults = [
        {"kind": "partition", "a": ["broker"], "b": ["s0"], "one_way": True, "at": 0.9, "duration": 1.0},
        {"kind": "crash", "node": "s0", "at": 1.5, "duration": 0.25},
    ]
    broker = {"deduplication_window": 60.0, "deduplication_by": by, "deduplication_after_restart": "all"}
    run = simtx.simulate(chain(2, transactions=1, faults=faults, broker=broker | {"nack": True}), "outbox", trace=True)
    assert run.summary.stored_again == again
    assert summary_from_trace(run.trace, run.scenario)["stored_again"] == again
    assert run.summary.duplicate_effects == 0


def test_every_kind_of_broker_plays_the_built_in_checkout_and_says_so() -> None:
    """Each is simulated, and the fast engine gives its reason."""
    from simtx.scenario.broker_kinds import KINDS
    from simtx.simulator.compiled import why_interpreted

    for kind in KINDS:
        small = {"run.transactions": 60, "run.warmup": "0s"}
        scenario = simtx.load("checkout").replace(**small, **{"broker.kind": kind})
        run = simtx.simulate(scenario, "outbox")
        assert run.summary.committed_share + run.summary.compensated_share + run.summary.aborted_share == 1
        assert ("dead_letters" in run.summary) is (kind != "plain")
        assert (kind in why_interpreted(scenario, run.strategy)) is (kind != "plain")
