"""Intervals from one long run, ratios of pooled quantiles, control variates: known answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

import simtx
from simtx import ScenarioError
from simtx.metrics.controls import controlled
from simtx.metrics.intervals import interval
from simtx.metrics.sections import TOO_SHORT, clusters, pooled_ratio, section_interval


def test_independent_observations_are_covered() -> None:
    """The 99 % quantile of an exponential law is ln(100): the intervals contain it. Here 20,000 observations a run."""
    rng = np.random.default_rng(1)
    hits = sum(
        one.low <= math.log(100) <= one.high
        for one in (section_interval(rng.exponential(size=20_000), 0.99) for _ in range(600))
    )
    assert 0.92 <= hits / 600 <= 0.98


def test_correlated_observations_are_covered_if_the_run_is_long_enough() -> None:
    """An autoregressive series with 100 and more visits beyond its 95 % quantile: mean and quantile are known."""
    from scipy import signal

    rng = np.random.default_rng(2)
    noise = rng.normal(0, math.sqrt(1 - 0.9**2), (300, 20_000))
    series = signal.lfilter([1.0], [1.0, -0.9], noise, axis=1)[:, 1_000:]
    for level, truth in ((None, 0.0), (0.95, float(stats.norm.ppf(0.95)))):
        found = [section_interval(row, level) for row in series]
        assert all(one.method != TOO_SHORT for one in found)
        assert 0.92 <= np.mean([one.low <= truth <= one.high for one in found]) <= 0.98


def test_a_run_that_is_too_short_has_no_interval() -> None:
    """300 observations see a 99 % quantile three times; and a jam of 30 in 3,000 is one visit, not thirty."""
    short = section_interval(np.random.default_rng(3).exponential(size=300), 0.99)
    assert short.method == TOO_SHORT
    assert math.isnan(short.half_width)
    assert math.isfinite(short.mean)
    jam = np.concatenate([np.random.default_rng(4).random(2_970), 9 + np.random.default_rng(5).random(30)])
    assert clusters(jam, 0.985) < 20
    assert section_interval(jam, 0.99).method == TOO_SHORT


def test_what_had_not_ended_is_above_everything() -> None:
    values = np.random.default_rng(6).exponential(size=5_000)
    values[::50] = math.nan
    one = section_interval(values, 0.99)
    assert one.mean == math.inf
    assert section_interval(values, 0.5).mean < math.inf


def test_a_run_has_intervals_of_its_durations() -> None:
    """Of the measured transactions, in the order of their arrival; a tail that is seen too seldom has none."""
    run = simtx.simulate(simtx.load("transfer").replace(**{"run.transactions": 1_500, "run.warmup": "0.5s"}), "2pc")
    rows = run.transactions
    values = rows.loc[rows["measured"], "latency_ms"].to_numpy()
    median = run.interval("latency_p50_ms")
    assert median == section_interval(values, 0.5)
    assert median.mean == pytest.approx(run.summary["latency_p50_ms"])
    assert median.low < median.mean < median.high
    assert run.interval("latency_p99_ms").method == TOO_SHORT
    with pytest.raises(ScenarioError, match="'throughput_per_s' has no interval within one run"):
        run.interval("throughput_per_s")


def test_a_level_is_a_share() -> None:
    with pytest.raises(ScenarioError, match="level: must be strictly between 0 and 1, not 99"):
        section_interval([1.0, 2.0], 99)


def test_the_ratio_of_pooled_quantiles_has_less_bias_than_that_of_short_replications() -> None:
    """Exponential laws with means 2 and 1, of which 20 replications see 60 transactions each: the ratio of the 99 % quantiles is 2."""
    rng = np.random.default_rng(7)
    hits, pooled = 0, []
    for _ in range(300):
        ours, theirs = 2 * rng.exponential(size=(20, 60)), rng.exponential(size=(20, 60))
        one = pooled_ratio(list(ours), list(theirs), 0.99)
        hits += one.low <= 2 <= one.high
        pooled.append(math.log(one.mean / 2))
    assert 0.92 <= hits / 300 <= 0.98
    assert abs(np.mean(pooled)) < 0.05


def test_the_ratio_of_pooled_quantiles_turns_over_with_its_sides() -> None:
    rng = np.random.default_rng(8)
    ours, theirs = list(rng.exponential(size=(10, 200))), list(rng.exponential(size=(10, 200)))
    one, other = pooled_ratio(ours, theirs, 0.9), pooled_ratio(theirs, ours, 0.9)
    assert one[:3] == pytest.approx((1 / other.mean, 1 / other.high, 1 / other.low))
    with pytest.raises(ScenarioError, match="two or more replications on both sides"):
        pooled_ratio(ours, theirs[:5], 0.9)


def test_control_variates_take_out_what_they_explain() -> None:
    """Of a variance of 5, a control of variance 4 leaves 1: the interval is shorter by sqrt(5), and covers."""
    rng = np.random.default_rng(9)
    hits, widths = 0, []
    for _ in range(1_500):
        control = rng.normal(10, 2, 20)
        values = 3 + (control - 10) + rng.normal(0, 1, 20)
        one = controlled(values, [control], [10.0])
        hits += one.low <= 3 <= one.high
        widths.append(one.half_width / interval(values).half_width)
    assert 0.93 <= hits / 1_500 <= 0.97
    assert np.median(widths) == pytest.approx(1 / math.sqrt(5), rel=0.1)


def test_without_controls_it_is_students_t() -> None:
    values = np.random.default_rng(10).normal(size=12)
    assert controlled(values, [], [])[:3] == pytest.approx(interval(values)[:3])


@pytest.mark.parametrize(
    ("controls", "expected", "problem"),
    [
        ([[1.0, 2.0]], [1.0], "each control needs a value for each replication"),
        ([[1.0] * 5], [], "each control needs a value for each replication"),
        ([[1.0] * 5], [1.0], "the same in every replication"),
        ([[1.0, 2.0, 3.0, 4.0, math.inf]], [1.0], "infinite or not a number"),
        (
            [[1.0, 2, 3, 4, 5], [5.0, 3, 4, 1, 2], [2.0, 1, 5, 3, 4]],
            [3.0, 3, 3],
            "3 controls need at least 6 replications",
        ),
    ],
)
def test_wrong_controls_are_refused(controls: list[list[float]], expected: list[float], problem: str) -> None:
    with pytest.raises(ScenarioError, match=problem):
        controlled([1.0, 2.0, 4.0, 3.0, 5.0], controls, expected)
