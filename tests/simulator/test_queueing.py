"""Queueing oracles through the public API: a transaction of one step, no network, no disk, is a customer of a queue.

Two kinds of evidence. Each single customer has to leave when the recursions of Lindley (1952) and of Kiefer and Wolfowitz (1955) say, for the
arrivals and demands that were drawn: that proves the queue. And the averages have to agree with the closed forms: that proves the draws.
The closed forms are tested with intervals over independent replications, sharpened by the utilisation as a control variate (its expectation
is known; Lavenberg and Welch, Management Science 27, 1981). The half-width is asked to be below 2 %, so an error of 2 % would show.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import factorial

import numpy as np
import pytest
from scipy import stats

import simtx
from simtx.protocols import Strategy
from simtx.scenario import Scenario
from simtx.scenario.distributions import Distribution, Erlang, Exponential, Hyperexponential, Lognormal
from simtx.simulator import World
from tests.simulator.worlds import STRATEGIES, chain

MEAN = 0.01
REPLICATIONS = 20


def queue(service_time: Distribution, *, workers: int, load: float, customers: int, warmup: float = 1.0) -> Scenario:
    """A service with Poisson arrivals; `load` is the utilisation of each worker."""
    return chain(
        1,
        delay=0.0,
        write=0.0,
        service_time=service_time,
        workers=workers,
        key="k{tx}",
        workload={"kind": "poisson", "rate": load * workers / MEAN},
        run={"transactions": customers, "warmup": warmup},
    )


def mean_latency(scenario: Scenario, load: float) -> tuple[float, float]:
    """Mean latency in ms with the half-width of its 95 % interval, from replications, with the utilisation as control variate."""
    runs = [simtx.simulate(scenario, "outbox", replication=number).summary for number in range(REPLICATIONS)]
    latency = np.array([run.latency_mean_ms for run in runs])
    surplus = np.array([run.utilisation_max - load for run in runs])
    fit = stats.linregress(surplus, latency)
    half = stats.t.ppf(0.975, REPLICATIONS - 2) * fit.intercept_stderr
    return float(fit.intercept), float(half)


def erlang_c(servers: int, load: float) -> float:
    """Probability that a customer of M/M/c has to wait (Erlang, 1917)."""
    offered = servers * load
    waiting = offered**servers / factorial(servers) / (1 - load)
    return waiting / (sum(offered**k / factorial(k) for k in range(servers)) + waiting)


def assert_is(oracle_ms: float, estimate: tuple[float, float]) -> None:
    mean, half = estimate
    assert half < 0.02 * oracle_ms, "the interval is too wide to see an error of 2 %"
    assert abs(mean - oracle_ms) <= half


def test_m_m_1() -> None:
    """Mean time in the system 1 / (mu - lambda)."""
    load = 0.4
    estimate = mean_latency(queue(Exponential(MEAN), workers=1, load=load, customers=2000), load)
    assert_is(1e3 * MEAN / (1 - load), estimate)


def test_m_m_c() -> None:
    """Erlang C: mean wait C(c, a) / (c mu - lambda)."""
    load, workers = 0.6, 3
    estimate = mean_latency(queue(Exponential(MEAN), workers=workers, load=load, customers=2000), load)
    assert_is(1e3 * MEAN * (1 + erlang_c(workers, load) / (workers * (1 - load))), estimate)


@pytest.mark.parametrize(
    "service_time",
    [Erlang(2, MEAN), Lognormal(MEAN * np.exp(-(0.5**2) / 2), 0.5), Hyperexponential(MEAN, 1.5)],
    ids=lambda d: type(d).__name__,
)
@pytest.mark.sample(3)
def test_m_g_1(service_time: Distribution) -> None:
    """Pollaczek and Khinchine: mean wait lambda E[S^2] / 2(1 - rho), for less and for more variation than exponential."""
    load = 0.4
    assert service_time.mean() == pytest.approx(MEAN)
    square = second_moment(service_time)
    estimate = mean_latency(queue(service_time, workers=1, load=load, customers=2000), load)
    assert_is(1e3 * (MEAN + load / MEAN * square / (2 * (1 - load))), estimate)


def second_moment(service_time: Distribution) -> float:
    """E[S^2], from textbooks."""
    if isinstance(service_time, Erlang):
        return MEAN**2 * (1 + 1 / service_time.shape)
    if isinstance(service_time, Lognormal):
        return MEAN**2 * float(np.exp(service_time.sigma**2))
    assert isinstance(service_time, Hyperexponential)
    return MEAN**2 * (1 + service_time.scv)


# --- customer by customer -----------------------------------------------------------------------------------------------------


def drawn(scenario: Scenario, strategy: Strategy) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Arrivals, demands and latencies in seconds of every transaction; demands as a SimPy process beside the model sees them."""
    demands: dict[int, float] = {}

    def watch(world: World) -> Iterator[object]:
        while True:
            demands.update((tx, record.demands[0]) for tx, record in world.ledger.active.items() if tx not in demands)
            yield world.env.timeout(1.0)

    run = simtx.simulate(scenario, strategy, processes=[watch])
    table = run.transactions
    return table.arrival_s.to_numpy(), np.array([demands[tx] for tx in table.tx]), table.latency_ms.to_numpy() / 1e3


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: s.name)
def test_every_customer_leaves_when_the_recursion_says(strategy: Strategy, workers: int) -> None:
    """First come, first served by c servers (Kiefer and Wolfowitz; Lindley for c = 1): customer by customer, under every strategy."""
    arrivals, demands, latency = drawn(queue(Exponential(MEAN), workers=workers, load=0.9, customers=1500), strategy)
    free = [0.0] * workers
    for arrival, demand, measured in zip(arrivals, demands, latency, strict=True):
        first = min(range(workers), key=free.__getitem__)
        free[first] = max(free[first], arrival) + demand
        assert measured == pytest.approx(free[first] - arrival, abs=1e-9)


def test_a_tandem_of_queues_is_a_jackson_network() -> None:
    """Two exponential servers in a row: each customer leaves the second as Lindley's recursion says for the departures of the first."""
    scenario = chain(
        2,
        delay=0.0,
        write=0.0,
        service_time=Exponential(MEAN),
        workers=1,
        key="k{tx}",
        workload={"kind": "poisson", "rate": 80.0},
        run={"transactions": 1500},
    )
    demands: dict[int, list[float]] = {}

    def watch(world: World) -> Iterator[object]:
        while True:
            demands.update(
                (tx, list(record.demands)) for tx, record in world.ledger.active.items() if tx not in demands
            )
            yield world.env.timeout(1.0)

    table = simtx.simulate(scenario, "saga", processes=[watch]).transactions
    first = second = 0.0
    for row in table.itertuples():
        one, two = demands[row.tx]
        first = max(first, row.arrival_s) + one
        second = max(second, first) + two
        assert row.latency_ms == pytest.approx((second - row.arrival_s) * 1e3, abs=1e-6)


def test_little_law_holds_between_queue_and_latency() -> None:
    """L = lambda W, with L from the timeline's samples of queue and busy workers, and W from the transactions."""
    run = simtx.simulate(queue(Exponential(MEAN), workers=1, load=0.6, customers=20000, warmup=0.0), "outbox")
    samples = run.timeline[run.timeline.time_s <= run.data.horizon]
    inside = (samples.queue_s0 + samples.busy_s0).iloc[1:]
    expected = run.summary.throughput_per_s * run.summary.latency_mean_ms / 1e3
    half = stats.t.ppf(0.995, len(inside) - 1) * inside.std() / np.sqrt(len(inside))
    assert abs(inside.mean() - expected) < half


def test_a_full_queue_drops_what_comes() -> None:
    """`queue_limit` = 0 makes M/M/c/c of the service: Erlang B. What finds no worker is dropped as if lost; here nobody asks again."""
    workers, load = 2, 0.5
    offered = workers * load
    blocked = (offered**2 / 2) / (1 + offered + offered**2 / 2)
    scenario = queue(Exponential(MEAN), workers=workers, load=load, customers=8000).replace(
        **{"services.s0.queue_limit": 0, "policies.attempts": 1}
    )
    aborted = float((simtx.simulate(scenario, "2pc").transactions.outcome != "committed").mean())
    assert abs(aborted - blocked) < 3 * np.sqrt(blocked * (1 - blocked) / 8000) * np.sqrt(2)
