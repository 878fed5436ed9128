"""Exact costs of the protocols in the simulated world, for 1 to 8 participants or steps, and latencies to the last digit.

Convention: N remote participants, a separate hub, all update. Only messages between different processes count; the client's request and
answer do not, acknowledgements do and are shown apart. Forced writes are durable before the next send; lazy ones count apart.
Sources: Mohan, Lindsay, Obermarck, TODS 1986, and Lampson, Lomet, VLDB 1993 (two-phase commit with presumed abort: 4N messages, N of them
acknowledgements, 2N + 1 forced writes); the figures of the others are derived in docs/protocols.

Times are sums of powers of two, so that floating point adds them without rounding, and equality can be asked for.
"""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

import simtx
from simtx.metrics.run import Run
from simtx.protocols import DualWrite, Outbox, Policies, Saga, Strategy, TwoPhaseCommit
from simtx.scenario import Scenario
from simtx.scenario.distributions import Constant
from tests.simulator.worlds import STRATEGIES, chain

SIZES = range(1, 9)
D = 2.0**-10
W = 2.0**-8
MS = 1000.0


def play(scenario: Scenario, strategy: Strategy, *, trace: bool = False) -> Run:
    run = simtx.simulate(scenario, strategy, trace=trace)
    assert len(run.transactions) == scenario.run.transactions
    return run


def only(run: Run, column: str) -> float:
    """The value that all transactions of the run have in this column, exactly."""
    values = set(run.transactions[column].tolist())
    assert len(values) == 1, values
    return values.pop()


def sent(run: Run, tx: int = 0) -> Counter[str]:
    """Messages of one transaction by kind, from the event log."""
    return Counter(event.name for event in run.trace.of(tx) if event.kind == "send")


def costs(run: Run) -> tuple[float, float, float]:
    return only(run, "messages"), only(run, "broker_messages"), only(run, "forced_writes")


# --- how many messages and forced writes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.sample(4)
def test_two_phase_commit_costs_4n_messages_and_2n_plus_1_forced_writes(n: int) -> None:
    """Presumed abort, all commit (Mohan et al. 1986): 4N messages with the N acknowledgements, 2N + 1 forced writes."""
    run = play(chain(n), TwoPhaseCommit(), trace=True)
    assert costs(run) == (4 * n, 0, 2 * n + 1)
    assert sent(run) == {"prepare": n, "yes": n, "commit": n, "ack": n}
    assert run.summary.committed_share == 1


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.sample(4)
def test_two_phase_commit_refused_by_k_of_n_costs_3n_minus_k_messages_and_n_minus_k_forced_writes(n: int) -> None:
    """Presumed abort, K of N vote no: 3N - K messages, N - K forced writes, no acknowledgement, nothing forced at the coordinator."""
    for k in range(1, n + 1):
        for refusing in (set(range(k)), set(range(n - k, n))):
            run = play(chain(n, refusing=refusing), TwoPhaseCommit(), trace=True)
            assert costs(run) == (3 * n - k, 0, n - k), refusing
            assert sent(run)["ack"] == 0
            forced = [e.node for e in run.trace.of(0) if e.detail.endswith("forced")]
            assert "coordinator" not in forced
            assert run.summary.aborted_share == 1


def test_two_phase_commit_refused_by_any_subset_costs_the_same() -> None:
    """Only the number of those who vote no counts, not who they are: all 15 subsets of four participants."""
    for k in range(1, 5):
        for refusing in combinations(range(4), k):
            assert costs(play(chain(4, refusing=refusing), TwoPhaseCommit())) == (12 - k, 0, 4 - k)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.sample(4)
def test_saga_costs_2n_messages_and_2n_plus_1_forced_writes(n: int) -> None:
    """Orchestrated, n sequential steps: 2n messages, n local transactions, n + 1 records of the orchestrator."""
    run = play(chain(n), Saga(), trace=True)
    assert costs(run) == (2 * n, 0, n + (n + 1))
    own = [e for e in run.trace.of(0) if e.node == "orchestrator" and e.kind == "append"]
    assert len(own) == n + 1
    assert run.summary.committed_share == 1


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.sample(4)
def test_saga_refused_at_step_k_costs_4k_minus_2_messages_and_4k_minus_1_forced_writes(n: int) -> None:
    """4k - 2 messages; 4k - 2 forced writes and one more, because the refusal is stored under its idempotency key."""
    for k in range(1, n + 1):
        run = play(chain(n, refusing={k - 1}), Saga(), trace=True)
        assert costs(run) == (4 * k - 2, 0, 4 * k - 2 + 1)
        undone = [e.node for e in run.trace.of(0) if e.kind == "transact" and e.detail.startswith("compensation")]
        assert undone == [f"s{index}" for index in reversed(range(k - 1))]  # in reverse order
        assert run.summary[["aborted_share", "compensated_share"]].tolist() == ([1, 0] if k == 1 else [0, 1])


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.sample(4)
def test_outbox_costs_n_minus_1_events_and_n_forced_writes(n: int) -> None:
    """Choreographed, n steps: n - 1 events, n local transactions, no message beside the broker."""
    assert costs(play(chain(n), Outbox())) == (0, n - 1, n)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.sample(4)
def test_outbox_refused_at_step_k_costs_2k_minus_2_events_and_2k_minus_1_forced_writes(n: int) -> None:
    """The chain goes back step by step; the refusal event is committed."""
    for k in range(1, n + 1):
        assert costs(play(chain(n, refusing={k - 1}), Outbox())) == (0, 2 * k - 2, 2 * k - 1)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.sample(4)
def test_dual_write_costs_one_forced_write_and_one_publication_a_hop(n: int) -> None:
    """As many as the outbox: n forced writes, n - 1 events. Refused at step k one write less, as the refusal is stored nowhere."""
    assert costs(play(chain(n), DualWrite())) == (0, n - 1, n)
    for k in range(1, n + 1):
        assert costs(play(chain(n, refusing={k - 1}), DualWrite())) == (0, 2 * k - 2, 2 * k - 2)


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: s.name)
def test_costs_do_not_depend_on_latencies_or_load(strategy: Strategy) -> None:
    """Without faults the counts are those of the protocol, at any delay, flush rule and arrival rate."""
    reference = costs(play(chain(4), strategy))
    for flush in ("group", "serial", "parallel"):
        for delay, write in ((0.0, 0.0), (0.0, 0.003), (0.02, 0.0001)):
            run = play(
                chain(4, delay=delay, write=write, flush=flush, rate=100.0, transactions=40, key="k{tx}"), strategy
            )
            assert costs(run) == reference


# --- how long, with constant delay d and forced write w -----------------------------------------------------------------------


@pytest.mark.parametrize("n", SIZES)
def test_two_phase_commit_takes_2d_2w(n: int) -> None:
    """Prepare and vote, forced at the participant and at the coordinator: the client hears after 2d + 2w, whatever N is."""
    run = play(chain(n, delay=D, write=W), TwoPhaseCommit())
    assert only(run, "latency_ms") == (2 * D + 2 * W) * MS
    assert only(run, "decision_ms") == (2 * D + 2 * W) * MS
    assert only(run, "settle_ms") == (3 * D + 3 * W) * MS
    assert only(run, "window_ms") == 0  # all branches commit at the same moment


@pytest.mark.parametrize("n", SIZES)
def test_two_phase_commit_is_in_doubt_for_2d_w_and_holds_locks_for_2d_2w_after_prepare(n: int) -> None:
    """From a yes to the decision: there d, forced at the coordinator w, back d. Locks wait for the forced commit record, too."""
    run = play(chain(n, delay=D, write=W), TwoPhaseCommit(), trace=True)
    assert only(run, "in_doubt_ms") == n * (2 * D + W) * MS
    assert run.summary.in_doubt_mean_ms == (2 * D + W) * MS
    assert only(run, "lock_hold_ms") == n * (W + 2 * D + 2 * W) * MS  # the first w is the prepare record
    for node in (f"s{index}" for index in range(n)):
        prepared, committed = (
            next(e.time for e in run.trace.of(0) if e.node == node and e.kind == kind) for kind in ("prepare", "commit")
        )
        assert committed - prepared == 2 * D + 2 * W


@pytest.mark.parametrize("n", SIZES)
def test_two_phase_commit_refused_answers_after_2d(n: int) -> None:
    """A no is not forced anywhere under presumed abort."""
    run = play(chain(n, delay=D, write=W, refusing={n - 1}), TwoPhaseCommit())
    assert only(run, "latency_ms") == 2 * D * MS


@pytest.mark.parametrize("n", SIZES)
def test_saga_takes_w_plus_n_times_2d_2w(n: int) -> None:
    """One forced record before the first command; a command, a local transaction, a reply and a record for each step."""
    run = play(chain(n, delay=D, write=W), Saga())
    assert only(run, "latency_ms") == (W + n * (2 * D + 2 * W)) * MS
    assert only(run, "window_ms") == (n - 1) * (2 * D + 2 * W) * MS
    assert only(run, "lock_hold_ms") == n * W * MS


@pytest.mark.parametrize("n", SIZES)
def test_parallel_saga_takes_one_round_trip_and_all_its_records(n: int) -> None:
    """Independent steps share the delays and the writes of one; their records follow one another, for a machine handles one event at a time."""
    run = play(chain(n, delay=D, write=W, parallel=True, flush="parallel", invariants=[]), Saga())
    assert only(run, "latency_ms") == (W + 2 * D + W + n * W) * MS
    assert only(run, "window_ms") == 0  # all local transactions commit at the same moment


@pytest.mark.parametrize("n", SIZES)
def test_dual_write_takes_n_minus_1_hops_and_n_writes(n: int) -> None:
    """Choreographed: (n - 1)d + nw; d is publish plus delivery, the broker's own time in between included."""
    broker = 2.0**-7
    run = play(chain(n, delay=D, write=W, broker={"ack_latency": broker}), DualWrite())
    hop = D + broker + D
    assert only(run, "decision_ms") == ((n - 1) * hop + n * W) * MS
    # The client waits for the local transaction and, if there is somebody to tell, for the broker's confirmation.
    assert only(run, "latency_ms") == (W + (hop if n > 1 else 0)) * MS


def relay_lags(run: Run) -> list[float]:
    """Seconds between the commit of an outbox row and its publication, in the event log."""
    committed: dict[tuple[int, str], float] = {}
    lags = []
    for event in run.trace:
        if event.kind == "transact" and event.detail.startswith("action done"):
            committed[event.tx, event.node] = event.time
        elif event.kind == "publish":
            lags.append(event.time - committed[event.tx, event.node])
    return lags


def test_outbox_takes_the_hops_the_writes_and_the_lags_of_its_relays() -> None:
    """(n - 1)d + nw, and at each of the n - 1 hops the relay's lag. The client waits for the first write only: w."""
    n, transactions = 5, 20
    run = play(chain(n, delay=D, write=W, transactions=transactions), Outbox(), trace=True)
    assert only(run, "latency_ms") == W * MS
    lags = np.reshape(relay_lags(run), (transactions, n - 1)).sum(axis=1)
    expected = (n - 1) * 2 * D + n * W + lags
    np.testing.assert_allclose(run.transactions.decision_ms, expected * MS, rtol=0, atol=1e-9)


def test_a_polling_relay_lags_uniformly_up_to_its_period() -> None:
    """Arrivals at random moments wait for the rest of a poll period: uniform on (0, P). Kolmogorov and Smirnov's test."""
    period = 0.05
    scenario = chain(
        2,
        transactions=1000,
        workload={"kind": "poisson", "rate": 40.0},
        key="k{tx}",
        policies={"poll_interval": period},
    )
    lags = relay_lags(simtx.simulate(scenario, "outbox", trace=True))
    assert len(lags) == 1000
    assert max(lags) <= period
    assert stats.kstest(lags, stats.uniform(0, period).cdf).pvalue > 0.01
    # The test has the power to see a lag that is off by a tenth of the period.
    assert stats.kstest([0.9 * lag for lag in lags], stats.uniform(0, period).cdf).pvalue < 1e-3


def test_a_strategy_brings_its_own_policies() -> None:
    """Options of the strategy win over the scenario's: a relay that polls four times as often lags a quarter as long."""
    scenario = chain(2, transactions=300, workload={"kind": "poisson", "rate": 40.0}, key="k{tx}")
    lags = relay_lags(simtx.simulate(scenario, Outbox(policies=Policies(poll_interval=0.0125)), trace=True))
    assert max(lags) <= 0.0125
    assert np.mean(lags) == pytest.approx(0.0125 / 2, abs=3 * 0.0125 / np.sqrt(12 * 300))


def test_a_client_in_another_zone_waits_for_both_ways() -> None:
    """`network.client_zone` adds one delay before the request and one behind the answer; nothing else changes."""
    scenario = chain(
        3,
        delay=D,
        write=W,
        network={
            "zones": ["here", "there"],
            "client_zone": "there",
            "links": [{"between": ["here", "there"], "latency": Constant(16 * D)}],
        },
    )
    for strategy in STRATEGIES:
        near, far = play(chain(3, delay=D, write=W), strategy), play(scenario, strategy)
        if strategy.name != "outbox":  # its relay polls at its own times
            assert only(far, "decision_ms") == only(near, "decision_ms") + 16 * D * MS
        assert only(far, "latency_ms") == only(near, "latency_ms") + 32 * D * MS
        assert costs(far) == costs(near)
