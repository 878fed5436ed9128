"""Workloads: when transactions arrive, for whom, and the laws that follow from it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

import simtx
from simtx.scenario import Scenario, from_dict
from simtx.scenario.distributions import Distribution, Exponential, Lognormal
from simtx.simulator import World
from tests.simulator.worlds import STRATEGIES, chain


def arrivals(scenario: Scenario, seed: int = 1) -> np.ndarray:
    return simtx.simulate(scenario, "outbox", seed=seed).transactions.arrival_s.to_numpy()


def workload(transactions: int = 4000, **table: Any) -> Scenario:
    return chain(1, delay=0.0, write=0.0, key="k{tx}", workload=table, transactions=transactions)


# --- open ------------------------------------------------------------------------------------------------------------------------


def test_poisson_gaps_are_exponential_and_independent() -> None:
    """Kolmogorov and Smirnov's test of the gaps, and no correlation between neighbours."""
    gaps = np.diff(arrivals(workload(kind="poisson", rate=50.0)), prepend=0.0)
    assert stats.kstest(gaps, stats.expon(scale=1 / 50).cdf).pvalue > 0.01
    assert stats.kstest(gaps * 1.05, stats.expon(scale=1 / 50).cdf).pvalue < 0.05  # an error of 5 % would show
    assert abs(np.corrcoef(gaps[:-1], gaps[1:])[0, 1]) < 3 / np.sqrt(len(gaps))


def test_deterministic_arrivals_are_equally_spaced() -> None:
    """Arrival k, from 1, comes at k / rate, without accumulated rounding."""
    assert arrivals(workload(kind="deterministic", rate=8.0)).tolist() == [k / 8 for k in range(1, 4001)]


def test_bursts_come_at_both_rates() -> None:
    """A Markov-modulated Poisson process: the mean rate is that of both phases, weighted by their lengths."""
    scenario = workload(20000, kind="bursty", rate=20.0, burst_rate=200.0, burst_on=0.5, burst_off=1.5)
    times = arrivals(scenario)
    mean = (200 * 0.5 + 20 * 1.5) / 2
    assert scenario.workload.mean_rate() == mean
    # Counts in windows are over-dispersed: index of dispersion of counts of a two-phase MMPP in the long run.
    a, b = 1 / 1.5, 1 / 0.5
    limit = 1 + 2 * a * b * (200 - 20) ** 2 / ((a + b) ** 3 * mean)
    counts = np.bincount((times // 20.0).astype(int))[:-1]
    assert abs(counts.mean() - mean * 20) < 3 * np.sqrt(limit * mean * 20 / len(counts))
    assert 0.3 * limit < counts.var() / counts.mean() < 3 * limit
    gaps = np.diff(times)
    assert stats.kstest(gaps, stats.expon(scale=gaps.mean()).cdf).pvalue < 1e-6


def test_an_interrupted_poisson_process_is_silent_between_bursts() -> None:
    """Without a rate of its own there is nothing between bursts; inside, gaps are exponential."""
    times = arrivals(workload(3000, kind="bursty", burst_rate=100.0, burst_on=1.0, burst_off=10.0))
    gaps = np.diff(times)
    inside = gaps[gaps < 0.05]
    assert (gaps > 1.0).sum() > 10
    truncated = stats.truncexpon(b=0.05 * 101, scale=1 / 101)  # a gap ends with an arrival before the burst does
    assert stats.kstest(inside, truncated.cdf).pvalue > 0.01


def test_a_profile_has_its_rate_in_every_piece() -> None:
    """Piecewise constant: counts in each piece are Poisson with the rate of that piece."""
    profile = [[0, 50], [10, 200], [20, 0], [30, 100]]
    times = arrivals(workload(5000, kind="profile", profile=profile))
    for low, high, rate in ((0, 10, 50), (10, 20, 200), (30, 40, 100)):
        inside = times[(times >= low) & (times < high)]
        assert abs(len(inside) - rate * 10) < 3.5 * np.sqrt(rate * 10)
        assert stats.kstest((inside - low) / 10, "uniform").pvalue > 0.01
    assert not ((times >= 20) & (times < 30)).any()
    assert times.max() > 40  # the last rate holds for ever


def test_a_trace_file_is_played_as_it_is(tmp_path: Path) -> None:
    """Arrival times and parameters come from the rows of the file; the run ends with it."""
    rows = [(0.5, "alice", 3.0), (0.5, "bob", 1.0), (2.25, "alice", 2.0)]
    text = "time,who,amount\n" + "".join(f"{time},{who},{amount}\n" for time, who, amount in rows)
    (tmp_path / "trace.csv").write_text(text)
    raw = chain(2).to_dict()
    raw["workload"] = {"kind": "trace", "trace": "trace.csv"}
    raw["transaction"]["parameters"] = {"who": {"population": 5}, "amount": {"values": 1.0}}
    for step in raw["transaction"]["steps"]:
        step["operations"] = [{"key": "k{who}", "parameter": "amount"}]
        step["compensation"] = [{"key": "k{who}", "parameter": "amount", "amount": -1}]
    scenario = from_dict(raw, folder=tmp_path)
    kept: list[World] = []

    def keep(world: World) -> Iterator[Any]:
        kept.append(world)
        yield world.env.timeout(0)

    for strategy in STRATEGIES:
        run = simtx.simulate(scenario, strategy, processes=[keep])
        assert run.transactions.arrival_s.tolist() == [0.5, 0.5, 2.25]
        store = kept[-1].nodes["s1"].store
        assert store is not None
        assert (store.read("kalice"), store.read("kbob")) == (5.0, 1.0)


def test_a_duration_ends_the_arrivals() -> None:
    """`run.duration` instead of a number of transactions: as many as come in that time."""
    scenario = workload(kind="deterministic", rate=10.0).replace(**{"run.duration": "2.05s"})
    assert arrivals(scenario).tolist() == [k / 10 for k in range(1, 21)]


def test_the_warm_up_is_left_out_of_every_figure() -> None:
    """Slow transactions at the start, in the warm-up, do not count; they are simulated all the same."""
    slow = {"kind": "slow", "node": "s0", "at": 0.0, "duration": 4.5, "factor": 100.0}
    scenario = chain(1, delay=0.0, write=0.0, service_time=0.001, rate=1.0, transactions=10, faults=[slow]).replace(
        **{"run.warmup": "4.75s"}
    )
    run = simtx.simulate(scenario, "outbox")
    assert run.transactions.latency_ms.tolist() == pytest.approx([100.0] * 4 + [1.0] * 6)
    assert run.summary.latency_mean_ms == pytest.approx(1.0)
    assert run.summary.transactions == 6
    assert run.summary.throughput_per_s == pytest.approx(
        5 / 5.25
    )  # decisions between 4.75 s and the last arrival at 10 s


# --- closed ----------------------------------------------------------------------------------------------------------------------


def closed(users: int, think: Distribution, service: Distribution, *, transactions: int = 6000) -> Scenario:
    return chain(
        2,
        delay=0.001,
        write=0.0,
        service_time=service,
        workers=1,
        key="k{tx}",
        workload={"kind": "closed", "users": users, "think_time": think},
        transactions=transactions,
    )


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: s.name)
@pytest.mark.sample(2)
def test_closed_users_obey_the_interactive_response_time_law(strategy: Any) -> None:
    """N = X (R + Z): users, throughput, response time, think time (Denning and Buzen, 1978)."""
    users, think = 8, 0.05
    run = simtx.simulate(closed(users, Exponential(think), Lognormal(0.004, 0.5), transactions=4000), strategy)
    table = run.transactions
    length = table.arrival_s.max()
    throughput = len(table) / length
    assert throughput * (table.latency_ms.mean() / 1e3 + think) == pytest.approx(users, rel=0.03)


def test_closed_users_are_never_more_than_they_are() -> None:
    """A user who waits for an answer asks for nothing else: at no time are more than N requests open."""
    table = simtx.simulate(closed(5, Exponential(0.002), Exponential(0.01), transactions=1000), "saga").transactions
    starts = [(time, 1) for time in table.arrival_s]
    ends = [(time, -1) for time in table.arrival_s + table.latency_ms / 1e3]
    opened = np.cumsum([change for _, change in sorted([*starts, *ends])])
    assert opened.max() == 5


def test_a_closed_queue_is_the_machine_repairman() -> None:
    """N users, exponential think and service times, one server: the closed form of the M/M/1//N queue."""
    users, think, service = 4, 0.03, 0.01
    scenario = chain(
        1,
        delay=0.0,
        write=0.0,
        service_time=Exponential(service),
        workers=1,
        key="k{tx}",
        workload={"kind": "closed", "users": users, "think_time": Exponential(think)},
        transactions=30000,
    )
    run = simtx.simulate(scenario, "outbox")
    load = service / think
    weights = [1.0]
    for n in range(users):
        weights.append(weights[-1] * (users - n) * load)
    busy = 1 - weights[0] / sum(weights)
    assert run.summary.utilisation_max == pytest.approx(busy, rel=0.02)
    assert run.summary.throughput_per_s == pytest.approx(busy / service, rel=0.02)


def test_users_lose_patience_when_no_answer_comes() -> None:
    """Whoever has waited for `clients.deadline` goes on without an answer: the loop does not stop with the entry node."""
    scenario = closed(3, Exponential(0.5), Exponential(0.001), transactions=40).replace(
        faults=[{"kind": "crash", "node": "s0", "at": "1.0s", "duration": "70.0s"}]
    )
    run = simtx.simulate(scenario, "outbox")
    assert len(run.transactions) == 40
    assert (run.transactions.outcome == "lost").sum() >= 3
    assert run.transactions.arrival_s.max() > 61


# --- keys and amounts -----------------------------------------------------------------------------------------------------------


def drawn(popularity: str, *, exponent: float = 0.99, population: int = 20, transactions: int = 8000) -> Counter[str]:
    parameter = {"population": population, "popularity": popularity, "exponent": exponent, "prefix": "item-"}
    scenario = chain(
        1,
        delay=0.0,
        write=0.0,
        transaction={
            "parameters": {"item": parameter},
            "steps": [
                {
                    "name": "sell",
                    "service": "s0",
                    "operations": [{"key": "k:{item}", "amount": 1}],
                    "compensation": [{"key": "k:{item}", "amount": -1}],
                }
            ],
        },
        rate=1000.0,
        transactions=transactions,
    )
    kept: list[World] = []

    def keep(world: World) -> Iterator[Any]:
        kept.append(world)
        yield world.env.timeout(0)

    simtx.simulate(scenario, "outbox", processes=[keep])
    store = kept[0].nodes["s0"].store
    assert store is not None
    return Counter({key: int(value) for key, value in store.values.items()})


@pytest.mark.parametrize("exponent", [0.5, 0.99, 1.5])
def test_zipf_keys_have_the_frequencies_of_their_ranks(exponent: float) -> None:
    """Rank r is drawn with probability proportional to r^-s: chi-square over all ranks."""
    counts = drawn("zipf", exponent=exponent)
    weights = np.arange(1, 21, dtype=float) ** -exponent
    observed = [counts[f"k:item-{rank}"] for rank in range(20)]
    assert stats.chisquare(observed, 8000 * weights / weights.sum()).pvalue > 0.01
    other = np.arange(1, 21, dtype=float) ** -(exponent + 0.1)
    assert stats.chisquare(observed, 8000 * other / other.sum()).pvalue < 0.01


def test_uniform_keys_are_uniform() -> None:
    """Chi-square over all keys, and every key of the population occurs."""
    counts = drawn("uniform")
    assert len(counts) == 20
    assert stats.chisquare(list(counts.values())).pvalue > 0.01


def test_amounts_follow_their_distribution_and_are_the_same_in_all_steps() -> None:
    """One draw a transaction: what one service takes is what the other gives, to the last digit."""
    prices = Lognormal(20.0, 0.5)
    steps = [
        {
            "name": name,
            "service": name,
            "operations": [{"key": "k{tx}", "parameter": "price", "amount": sign}],
            "compensation": [{"key": "k{tx}", "parameter": "price", "amount": -sign}],
        }
        for name, sign in (("s0", -1), ("s1", 1))
    ]
    terms = [{"service": name, "prefix": "k"} for name in ("s0", "s1")]
    scenario = chain(
        2,
        transaction={"parameters": {"price": {"values": prices}}, "steps": steps},
        invariants=[{"name": "money", "kind": "conserved", "terms": terms}],
        rate=100.0,
        transactions=1000,
    )
    amounts: dict[int, list[float]] = {}

    def watch(world: World) -> Iterator[Any]:
        while True:
            for tx, record in world.ledger.young.items():
                amounts[tx] = [step.operations[0].amount for step in record.plan.steps]
            yield world.env.timeout(1.0)

    simtx.simulate(scenario, "saga", processes=[watch])
    assert all(take == -give for take, give in amounts.values())
    assert (
        stats.kstest([give for _, give in amounts.values()], lambda x: stats.lognorm(0.5, scale=20.0).cdf(x)).pvalue
        > 0.01
    )


def test_whole_amounts_are_whole() -> None:
    """`integer = true` rounds to a whole number."""
    scenario = chain(2).to_dict()
    scenario["transaction"]["parameters"] = {"pieces": {"values": Exponential(3.0), "integer": True}}
    for step in scenario["transaction"]["steps"]:
        step["operations"] = [{"key": "k", "parameter": "pieces"}]
        step["compensation"] = [{"key": "k", "parameter": "pieces", "amount": -1}]
    scenario["run"] = {"transactions": 200}
    run = simtx.simulate(from_dict(scenario), "saga", trace=True)
    values = [json.loads(e.detail)["values"]["k"][1] for e in run.trace if e.kind == "apply"]
    assert len(values) == 400
    assert all(value == int(value) for value in values)


def test_refusals_have_their_probabilities_and_are_independent() -> None:
    """Steps refuse with the probability they are given; the first that refuses ends the transaction."""
    scenario = chain(3, refusals={0: 0.1, 2: 0.3}, key="k{tx}", rate=100.0, transactions=4000)
    table = simtx.simulate(scenario, "saga").transactions
    aborted, compensated = ((table.outcome == name).sum() for name in ("aborted", "compensated"))
    assert stats.binomtest(int(aborted), 4000, 0.1).pvalue > 0.01
    assert stats.binomtest(int(compensated), int(4000 - aborted), 0.3).pvalue > 0.01
