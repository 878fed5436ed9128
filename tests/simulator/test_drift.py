"""Drift oracles: what a run measures of its conserved quantity is what theory says of an M/G/infinity queue.

A transfer takes an amount in one service and gives it in another a while later; arrivals are Poisson at rate L, windows W and amounts a do not
depend on each other. Then the mean gross drift is L E[a] E[W] (Little), the mean net drift is the same, and the drift is not zero for a
share 1 - exp(-L E[W]) of the time (an M/G/infinity queue is busy). Amounts of random sign cancel: the net drift is the modulus of a
Skellam variable. The definitions are in docs/metrics.md.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import simtx
from simtx.metrics.run import Run
from simtx.protocols import DualWrite, Saga, Strategy
from simtx.scenario import Scenario
from simtx.scenario.distributions import Distribution, Empirical, Exponential, Lognormal
from tests.amounts import many
from tests.simulator.worlds import STRATEGIES, chain

RATE = 20.0
DELAY = 0.03
REPLICATIONS = 20
PRICES = Empirical((1.0, 2.0, 2.0, 5.0))
SIGNS = Empirical((-1.0, 1.0))


def transfer(
    amounts: Distribution, *, refusal: float = 0.0, transactions: int = 1000, rate: float = RATE, warmup: float = 5.0
) -> Scenario:
    """Take from one account, give to another; nobody waits for anybody, so that windows are independent."""
    operation = {"key": "account:{tx}", "parameter": "amount"}
    steps = [
        {"name": "take", "service": "s0", "operations": [{**operation, "amount": -1}], "compensation": [operation]},
        {
            "name": "give",
            "service": "s1",
            "operations": [operation],
            "compensation": [{**operation, "amount": -1}],
            "refusal": refusal,
        },
    ]
    return chain(
        2,
        delay=Exponential(DELAY),
        write=0.0,
        transaction={"parameters": {"amount": {"values": amounts}}, "steps": steps},
        invariants=[
            {
                "name": "money",
                "kind": "conserved",
                "unit": "EUR",
                "terms": [{"service": name, "prefix": "account:"} for name in ("s0", "s1")],
            }
        ],
        workload={"kind": "poisson", "rate": rate},
        run={"transactions": transactions, "warmup": warmup},
    )


def estimates(scenario: Scenario, strategy: Strategy) -> pd.DataFrame:
    """Means over replications with the half-widths of their 95 % intervals, and the runs' own means of amounts and windows."""
    runs = [simtx.simulate(scenario, strategy, replication=number) for number in range(REPLICATIONS)]
    names = ["drift_net_mean", "drift_gross_mean", "violation_time_share"]
    table = pd.DataFrame([run.summary[names] for run in runs]).astype(float)
    half = stats.t.ppf(0.975, REPLICATIONS - 1) * table.std(ddof=1) / np.sqrt(REPLICATIONS)
    return pd.DataFrame({"mean": table.mean(), "half": half})


def assert_is(oracle: float, row: pd.Series, precision: float = 0.02) -> None:
    assert row["half"] < precision * oracle, "the interval is too wide to see such an error"
    assert abs(row["mean"] - oracle) <= row["half"]


# Seconds from the first effect to the last: the saga's reply and the next command, or the dual write's event to the broker and on.
WINDOW = 2 * DELAY


@pytest.mark.parametrize("strategy", [Saga(), DualWrite()], ids=lambda s: s.name)
@pytest.mark.sample(2)
def test_mean_drift_is_rate_times_amount_times_window(strategy: Strategy) -> None:
    """Little's law: gross = L E[a] E[W]; net the same, since every transaction takes first and gives later; M/G/infinity for the share."""
    table = estimates(transfer(PRICES, transactions=1600), strategy)
    mean = RATE * PRICES.mean() * WINDOW
    assert_is(mean, table.loc["drift_gross_mean"])
    assert_is(mean, table.loc["drift_net_mean"])
    assert_is(1 - np.exp(-RATE * WINDOW), table.loc["violation_time_share"])


@pytest.mark.more
def test_opposite_signs_cancel_in_the_net_drift() -> None:
    """Amounts of +1 and -1: gross stays L E|a| E[W]; net is E|X - Y| of two independent Poisson variables (Skellam, 1946)."""
    table = estimates(transfer(SIGNS, transactions=many(800, 1600)), Saga())
    precision = many(3, 2) / 100
    half = RATE * WINDOW / 2
    values = np.arange(-30, 31)
    probabilities = stats.skellam.pmf(values, half, half)
    assert_is(RATE * WINDOW, table.loc["drift_gross_mean"], precision)
    assert_is(float(np.sum(np.abs(values) * probabilities)), table.loc["drift_net_mean"], precision)
    assert_is(float(1 - stats.skellam.pmf(0, half, half)), table.loc["violation_time_share"], precision)


@pytest.mark.heavy
def test_compensated_transfers_drift_as_well() -> None:
    """What is refused drifts from its action to its compensation: the window is longer by nothing, as both take two messages here."""
    table = estimates(transfer(PRICES, refusal=0.3, transactions=1600), Saga())
    # Taken, told, commanded: d + d. Refused: taken, told, commanded, refused, commanded to undo: 4 d.
    window = 0.7 * 2 * DELAY + 0.3 * 4 * DELAY
    assert_is(RATE * PRICES.mean() * window, table.loc["drift_gross_mean"], precision=0.025)
    assert_is(1 - np.exp(-RATE * window), table.loc["violation_time_share"])


# --- to the last digit: from the windows of the single transactions -------------------------------------------------------------


def steps_of(intervals: Iterable[tuple[float, float, float]], start: float, end: float) -> list[tuple[float, float]]:
    """(duration, sum of the weights) of every stretch between `start` and `end` that the intervals (from, to, weight) cut out."""
    changes = sorted((time, sign * weight) for low, high, weight in intervals for time, sign in ((low, 1), (high, -1)))
    stretches, level, last = [], 0.0, start
    for time, change in [*changes, (end, 0.0)]:
        clipped = min(max(time, start), end)
        if clipped > last:
            stretches.append((clipped - last, level))
            last = clipped
        level += change
    return stretches


def intervals_of(run: Run, amount: float) -> list[tuple[float, float, float]]:
    """(first effect, last effect, drift in between) of every transaction that drifts; its sign tells who was first, taker or giver."""
    first = {}
    for event in run.trace:
        if event.kind == "apply":
            first.setdefault(event.tx, event.node)
    table = run.transactions[run.transactions.window_ms > 0]
    last = table.arrival_s + table.settle_ms / 1e3
    signs = [-amount if first[tx] == "s0" else amount for tx in table.tx]
    return list(zip(last - table.window_ms / 1e3, last, signs, strict=True))


@pytest.mark.parametrize("refusal", [0.0, 0.5])
@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: s.name)
def test_integrals_over_the_window_are_those_of_the_single_transactions(strategy: Strategy, refusal: float) -> None:
    """M2, M3 and M5 add up what every transaction does between its first and last effect, clipped to the measured window."""
    scenario = transfer(Empirical((3.0,)), refusal=refusal, transactions=400)
    run = simtx.simulate(scenario, strategy, trace=True)
    intervals = intervals_of(run, 3.0)
    begin, end = scenario.run.warmup, float(run.transactions.arrival_s.max())
    length = end - begin
    signed = steps_of(intervals, begin, end)
    absolute = steps_of([(low, high, abs(weight)) for low, high, weight in intervals], begin, end)
    assert sum(duration for duration, _ in signed) == pytest.approx(length)
    summary = run.summary
    assert summary.drift_gross_mean == pytest.approx(sum(d * level for d, level in absolute) / length, rel=1e-9)
    assert summary.drift_net_mean == pytest.approx(sum(d * abs(level) for d, level in signed) / length, rel=1e-9)
    assert summary.drift_peak == pytest.approx(max(abs(level) for _, level in signed), rel=1e-9)
    wrong = sum(d for d, level in signed if abs(level) > 1e-6) / length
    partial = sum(d for d, level in absolute if level > 1e-6) / length
    assert summary.violation_time_share == pytest.approx(wrong, rel=1e-9)
    assert summary.fractured_reads_per_million == pytest.approx(1e6 * partial, rel=1e-9)
    if strategy.name != "2pc":  # its branches commit in any order; the others take first and give later
        assert summary.drift_net_mean == pytest.approx(summary.drift_gross_mean)


def test_drift_that_begins_in_the_warm_up_counts_from_its_end() -> None:
    """A window that spans the end of the warm-up counts with what lies behind it."""
    scenario = transfer(Empirical((7.0,)), transactions=2, rate=1.0, warmup=1.5).replace(
        **{"network.latency": "0.4s", "workload": {"kind": "deterministic", "rate": 1.0}}
    )
    run = simtx.simulate(scenario, "saga")  # arrivals at 1 s and 2 s; drift from 1.4 s to 2.2 s and from 2.4 s on
    assert run.summary.drift_net_mean == pytest.approx(7.0)
    assert run.summary.violation_time_share == pytest.approx(1.0)
    assert run.summary.drift_peak == 7.0
    assert run.transactions.measured.tolist() == [False, True]


def test_the_timeline_shows_what_the_integrals_sum() -> None:
    """Samples at regular moments average to the integral: as PASTA has it, up to the error of sampling."""
    run = simtx.simulate(transfer(PRICES, transactions=4000, warmup=0.0), "saga")
    sampled = run.timeline[run.timeline.time_s <= run.data.horizon].drift_gross.iloc[1:]
    assert abs(sampled.mean() - run.summary.drift_gross_mean) < 4 * sampled.std() / np.sqrt(len(sampled))


def test_several_quantities_are_measured_apart() -> None:
    """The summary shows the first conserved quantity; `run.quantities` has all, with their units."""
    scenario = transfer(PRICES, transactions=200)
    invariants = scenario.to_dict()["invariants"]
    double = {
        "name": "cents",
        "kind": "conserved",
        "unit": "cent",
        "terms": [{**term, "weight": 100} for term in invariants[0]["terms"]],
    }
    run = simtx.simulate(scenario.replace(invariants=[*invariants, double]), "saga")
    table = run.quantities
    assert table.index.tolist() == ["money", "cents"]
    assert run.summary.drift_gross_mean == table.loc["money", "drift_gross_mean"]
    assert table.loc["cents", "drift_gross_mean"] == pytest.approx(100 * table.loc["money", "drift_gross_mean"])
    assert table.loc["cents", "violation_time_share"] == table.loc["money", "violation_time_share"]
    assert (table.final_residual == 0).all()


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: s.name)
def test_nothing_is_left_without_faults(strategy: Strategy) -> None:
    """Residual divergence is zero at the end: also for the dual write, and also after refusals."""
    run = simtx.simulate(transfer(Lognormal(20.0, 1.0), refusal=0.3, transactions=600), strategy)
    counts = ["residual_divergence", "duplicate_effects", "missing_effects", "stuck_count", "in_flight_count"]
    assert run.summary[[*counts, "incomplete_count"]].tolist() == [0] * 6
    assert 0.6 < run.summary.committed_share < 0.8


def test_the_peak_is_one_of_the_window_and_lasts() -> None:
    """What drains after the last arrival is not in the peak, nor is the instant between two effects at the same time."""
    scenario = transfer(Empirical((7.0,)), transactions=2, rate=1.0, warmup=0.0).replace(
        **{"network.latency": "0.1s", "workload": {"kind": "deterministic", "rate": 1.0}}
    )
    assert simtx.simulate(scenario, "saga").summary.drift_peak == 7.0
    assert simtx.simulate(scenario.replace(**{"run.transactions": 1}), "saga").summary.drift_peak == 0.0
    assert simtx.simulate(scenario, "2pc").summary.drift_peak == 0.0  # both branches commit at the same time
