"""Student-t intervals: the textbook's numbers, scipy's, and their coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from simtx import ScenarioError
from simtx.experiments import interval, paired


def test_by_hand() -> None:
    """Four values 1 to 4: mean 2.5, s = sqrt(5/3), t(0.975, 3) = 3.18245 (any table)."""
    one = interval([1, 2, 3, 4])
    assert one.mean == 2.5
    assert one.half_width == pytest.approx(3.1824463 * math.sqrt(5 / 3) / 2, rel=1e-7)
    assert (one.low, one.high, one.n) == (2.5 - one.half_width, 2.5 + one.half_width, 4)


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.999])
@pytest.mark.parametrize("n", [2, 5, 40])
def test_equals_scipy(n: int, confidence: float) -> None:
    values = np.random.default_rng(n).lognormal(size=n)
    expected = stats.t.interval(confidence, n - 1, loc=values.mean(), scale=stats.sem(values))
    one = interval(values, confidence)
    assert (one.low, one.high) == pytest.approx(expected, rel=1e-12)


def test_covers_as_often_as_it_says() -> None:
    """Of 2,000 intervals over five normal values 95 % contain the mean: 1,900, with a standard deviation of 9.7."""
    rng = np.random.default_rng(7)
    hits = sum(abs(one.mean - 3) <= one.half_width for one in (interval(rng.normal(3, 2, size=5)) for _ in range(2000)))
    assert abs(hits - 1900) < 4 * math.sqrt(2000 * 0.95 * 0.05)


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
    assert interval([0.1, 0.1, 0.1]) == (0.1, 0.0, 3)


@pytest.mark.parametrize("confidence", [0, 1, 95, -0.1, math.nan])
def test_impossible_confidence_is_refused(confidence: float) -> None:
    with pytest.raises(ScenarioError, match="strictly between 0 and 1"):
        interval([1, 2], confidence)


def test_unequal_sides_are_no_pairs() -> None:
    with pytest.raises(ScenarioError, match="same replications"):
        paired([1, 2, 3], [1, 2])
