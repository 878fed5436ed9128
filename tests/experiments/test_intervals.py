"""Intervals: the textbook's numbers, scipy's, and what must hold of every kind of quantity. Coverage is in test_coverage.py."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

import simtx
from simtx import ScenarioError
from simtx.experiments import interval, paired, ratio
from simtx.metrics import intervals
from simtx.metrics.intervals import kind_of
from simtx.report import catalogue


def test_by_hand() -> None:
    """Four values 1 to 4: mean 2.5, s = sqrt(5/3), t(0.975, 3) = 3.18245 (any table)."""
    one = interval([1, 2, 3, 4])
    assert one.mean == 2.5
    assert one.half_width == pytest.approx(3.1824463 * math.sqrt(5 / 3) / 2, rel=1e-7)
    assert (one.low, one.high) == pytest.approx((2.5 - one.half_width, 2.5 + one.half_width), abs=1e-15)
    assert one.n == 4


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.999])
@pytest.mark.parametrize("n", [2, 5, 40])
def test_equals_scipy(n: int, confidence: float) -> None:
    values = np.random.default_rng(n).lognormal(size=n)
    expected = stats.t.interval(confidence, n - 1, loc=values.mean(), scale=stats.sem(values))
    one = interval(values, confidence)
    assert (one.low, one.high) == pytest.approx(expected, rel=1e-12)


def test_pairing_removes_what_both_sides_share() -> None:
    """The difference of two strategies that met the same trouble is known better than either of them."""
    rng = np.random.default_rng(3)
    shared = rng.normal(100, 30, size=20)
    ours, theirs = shared + rng.normal(5, 1, size=20), shared + rng.normal(0, 1, size=20)
    difference = paired(ours, theirs)
    assert abs(difference.mean - 5) < difference.half_width
    assert difference.half_width < interval(ours).half_width / 10
    assert difference == interval(ours - theirs)


def test_what_cannot_be_known_is_not_a_number() -> None:
    empty, single, gaps = interval([]), interval([7.0]), interval([1.0, math.nan, 3.0])
    assert math.isnan(empty.mean)
    assert math.isnan(empty.half_width)
    assert empty.n == 0
    assert single.mean == 7.0
    assert math.isnan(single.half_width)
    assert (gaps.mean, gaps.n) == (2.0, 2)


def test_equal_values_have_no_width() -> None:
    """0.1 three times: a naive mean differs from it in the last digit."""
    assert interval([0.1, 0.1, 0.1])[:4] == (0.1, 0.1, 0.1, 3)


SAMPLES = st.lists(st.floats(0, 1, width=32), min_size=2, max_size=30)


@given(SAMPLES, st.sampled_from(["real", "positive", "share", "count"]), st.floats(0.5, 0.99))
def test_an_interval_holds_its_mean_and_stays_in_the_range_of_its_quantity(values, kind, confidence):
    one = interval(values, confidence, kind=kind)
    assert one.low <= one.mean <= one.high
    if kind != "real":
        assert one.low >= 0
    if kind == "share":
        assert one.high <= 1


@given(SAMPLES, st.sampled_from(["real", "positive", "share", "count"]), st.randoms())
def test_the_order_of_replications_changes_no_digit(values, kind, random):
    shuffled = list(values)
    random.shuffle(shuffled)
    assert interval(shuffled, kind=kind) == interval(values, kind=kind)


@given(SAMPLES, st.sampled_from([2.0**-10, 8.0, 2.0**20]))
def test_the_unit_does_not_matter(values, factor):
    """Milliseconds or seconds: the same interval. Powers of two, so that nothing is rounded."""
    assume(max(values) - min(values) > 1e-6)
    one, other = (interval([scale * v for v in values], kind="positive") for scale in (1.0, factor))
    assert other[:3] == pytest.approx([factor * end for end in one[:3]], rel=1e-9)


@given(st.lists(st.floats(-100, 100, width=32), min_size=2, max_size=30), st.floats(-1000, 1000, width=32))
def test_shift_and_sign_of_a_real_number_move_the_interval_and_nothing_else(values, shift):
    assume(max(values) - min(values) > 1e-3)
    one = interval(values)
    moved = interval([v + shift for v in values])
    turned = interval([-v for v in values])
    assert moved[:3] == pytest.approx([end + shift for end in one[:3]], abs=1e-6)
    assert turned[:3] == pytest.approx((-one.mean, -one.high, -one.low), abs=1e-9)


def test_skewed_positive_values_reach_further_up_than_down() -> None:
    values = [1.0] * 8 + [2.0, 6.0]
    t, one = interval(values), interval(values, kind="positive")
    assert one.mean == t.mean
    assert one.high - one.mean > t.half_width > one.mean - one.low
    assert one.low > 0 > t.mean - 2 * t.half_width


def test_what_was_never_seen_has_an_exact_bound() -> None:
    """None in 30 runs: 1 - 0.05 ** (1 / 30) = 0.0950 (the rule of three: 3 / 30); scipy's Clopper and Pearson, one-sided, says the same."""
    one = interval([0.0] * 30, kind="count")
    assert (one.mean, one.low, one.n, one.never) == (0, 0, 30, True)
    expected = stats.binomtest(0, 30, alternative="less").proportion_ci(0.95, method="exact").high
    assert one.high == pytest.approx(expected, rel=1e-12)
    always = interval([1.0] * 30, kind="share")
    assert (always.mean, always.high) == (1, 1)
    assert always.low == pytest.approx(1 - expected)


def test_an_infinite_value_is_named_and_makes_the_mean_infinite() -> None:
    one = interval([3.0, math.inf, 4.0, math.inf, math.nan], kind="positive")
    assert (one.mean, one.infinite, one.n) == (math.inf, 2, 4)
    assert math.isnan(one.half_width)
    assert paired([math.inf, 2, math.inf], [1, 1, math.inf])[:2] == (math.inf, math.inf)
    both = interval([math.inf, -math.inf])
    assert math.isnan(both.mean)
    assert both.infinite == 2


def test_no_end_is_beyond_what_is_possible() -> None:
    """A throughput does not exceed the offered rate, and the mean of the sample is what it is."""
    assert interval([98.0, 101.0, 99.0], kind="positive", cap=100).high == 100
    above = interval([101.0, 102.0, 103.0], kind="positive", cap=100)
    assert (above.mean, above.high) == (102, 102)


def test_ratios_turn_over_with_their_sides() -> None:
    rng = np.random.default_rng(5)
    ours, theirs = rng.lognormal(0, 1, 12), rng.lognormal(0, 1, 12)
    one, other = ratio(ours, theirs), ratio(theirs, ours)
    assert one[:3] == pytest.approx((1 / other.mean, 1 / other.high, 1 / other.low))
    logs = interval(np.log(ours / theirs))
    assert one[:3] == pytest.approx([math.exp(end) for end in logs[:3]])


def test_ratios_of_zeros_and_infinities() -> None:
    assert ratio([0, 0], [0, 0])[:3] == (1, 1, 1)
    assert ratio([0, 1], [2, 2]).mean == 0
    assert ratio([math.inf, 1], [2, 2]).mean == math.inf
    assert ratio([math.inf, 4.0, 2.0], [math.inf, 2.0, 2.0]).n == 2
    assert ratio([-1.0, 4.0], [1.0, 2.0]).n == 1


def test_the_kind_of_a_metric_is_told_by_its_unit() -> None:
    names = {
        "latency_committed_p99_ms": "positive",
        "recovery_s": "positive",
        "goodput_per_s": "positive",
        "unanswered_share": "share",
        "stuck_count": "count",
        "missing_effects": "count",
        "fractured_reads_per_million": "positive",
        "something": "real",
    }
    assert {name: kind_of(name) for name in names} == names


def test_every_metric_of_the_tables_has_a_kind_with_a_range() -> None:
    """An interval of a number of requests, or of anything else that is counted, must not reach below zero."""
    short = simtx.load("transfer").replace(**{"run.duration": "1s", "run.warmup": "0s"})
    names = [*catalogue.METRICS, *simtx.simulate(short, "2pc").summary.index]
    assert [name for name in names if kind_of(name) == "real"] == []
    assert interval([0.0, 0.0, 1065.0], kind=kind_of("requests_repeated")).low == 0.0


@pytest.mark.parametrize("confidence", ["95%", None, True])
def test_confidence_is_a_number(confidence: object) -> None:
    with pytest.raises(ScenarioError, match="strictly between 0 and 1"):
        interval([1, 2], confidence)  # type: ignore[arg-type]


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ScenarioError, match="'ratio' is no kind of number"):
        interval([1, 2], kind="ratio")  # type: ignore[arg-type]


@pytest.mark.parametrize("confidence", [0, 1, 95, -0.1, math.nan])
def test_impossible_confidence_is_refused(confidence: float) -> None:
    with pytest.raises(ScenarioError, match="strictly between 0 and 1"):
        interval([1, 2], confidence)


def test_unequal_sides_are_no_pairs() -> None:
    with pytest.raises(ScenarioError, match="same replications"):
        paired([1, 2, 3], [1, 2])


def test_the_ratio_of_means_keeps_apart_what_both_sides_share() -> None:
    shared = [10.0, 200.0, 35.0, 90.0]
    exact = intervals.ratio_of_means([1.1 * one for one in shared], shared)
    assert exact[:3] == pytest.approx((1.1, 1.1, 1.1))
    assert intervals.ratio_of_means([1.0, 2.0], [0.0, 0.0]).method == intervals.NONE
    endless = intervals.ratio_of_means([1.0, math.inf], [1.0, 2.0])
    assert endless.mean == math.inf
    assert math.isnan(endless.half_width)


def test_the_interval_of_a_ratio_of_means_holds_the_true_one_in_about_95_of_100_samples() -> None:
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(400):
        theirs = rng.lognormal(3.0, 0.5, 6)
        found = intervals.ratio_of_means(theirs * rng.normal(0.9, 0.05, 6), theirs)
        held += found.low <= 0.9 <= found.high
    assert 360 <= held <= 395
