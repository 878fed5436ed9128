"""Means, variances, distribution and quantile functions are exact; samples follow them."""

import math
import pickle
from itertools import pairwise

import numpy as np
import pytest
from scipy import integrate, stats

from simtx.errors import ScenarioError
from simtx.scenario import (
    Constant,
    Empirical,
    Erlang,
    Exponential,
    Hyperexponential,
    Lognormal,
    Mixture,
    Shifted,
    ShiftedLognormal,
    Uniform,
)

PAIRS = [
    (Exponential(0.25), stats.expon(scale=0.25)),
    (Lognormal(0.5, 0.5), stats.lognorm(0.5, scale=0.5)),
    (Lognormal(3e-3, 1.2), stats.lognorm(1.2, scale=3e-3)),
    (ShiftedLognormal(2.0, 0.5, 0.7), stats.lognorm(0.7, loc=2.0, scale=0.5)),
    (Uniform(2.0, 5.0), stats.uniform(2.0, 3.0)),
    (Erlang(3, 1.5), stats.gamma(3, scale=0.5)),
    (Erlang(1, 0.5), stats.expon(scale=0.5)),
    (Shifted(Exponential(0.25), 0.75), stats.expon(loc=0.75, scale=0.25)),
]
SMOOTH = [
    *[ours for ours, _ in PAIRS],
    Hyperexponential(2.0, 4.0),
    Mixture((0.9, 0.1), (Exponential(1.0), ShiftedLognormal(5.0, 1.0, 0.5))),
]
ALL = [*SMOOTH, Constant(0.25), Empirical((1.0, 1.0, 2.0, 4.0)), Mixture((0.25, 0.75), (Constant(3.0), Constant(1.0)))]
GRID = [0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999]


@pytest.mark.parametrize(("ours", "reference"), PAIRS, ids=[repr(ours) for ours, _ in PAIRS])
def test_agrees_with_scipy(ours, reference):
    assert ours.mean() == pytest.approx(reference.mean(), rel=1e-12)
    assert ours.variance() == pytest.approx(reference.var(), rel=1e-10)
    for q in GRID:
        assert ours.quantile(q) == pytest.approx(reference.ppf(q), rel=1e-10)
        assert ours.cdf(reference.ppf(q)) == pytest.approx(q, rel=1e-10)


@pytest.mark.parametrize("ours", SMOOTH, ids=repr)
def test_quantile_inverts_the_distribution_function(ours):
    for q in GRID:
        assert ours.cdf(ours.quantile(q)) == pytest.approx(q, rel=1e-10)


@pytest.mark.parametrize("ours", SMOOTH, ids=repr)
def test_mean_is_the_integral_of_the_tail(ours):
    """E[X] of a non-negative variable is the integral of P(X > x)."""
    ends = [0.0, *(ours.quantile(q) for q in (0.01, 0.5, 0.99, 0.9999, 1 - 1e-9, 1 - 1e-13))]
    area = sum(integrate.quad(lambda x: 1 - ours.cdf(x), a, b, limit=200)[0] for a, b in pairwise(ends))
    assert ours.mean() == pytest.approx(area, rel=1e-5)


@pytest.mark.parametrize("ours", SMOOTH, ids=repr)
def test_samples_follow_the_distribution(ours):
    draws = ours.sample(np.random.default_rng(11), 20_000)
    assert draws.shape == (20_000,)
    assert stats.kstest(draws, np.vectorize(ours.cdf)).pvalue > 0.001


@pytest.mark.parametrize("ours", ALL, ids=repr)
def test_samples_have_the_mean(ours):
    draws = ours.sample(np.random.default_rng(5), 40_000)
    error = math.sqrt(ours.variance() / len(draws))
    assert abs(draws.mean() - ours.mean()) <= 4 * error


@pytest.mark.parametrize("ours", ALL, ids=repr)
def test_scaling_scales_mean_deviation_and_quantiles(ours):
    scaled = ours.scaled(3.0)
    assert type(scaled) is type(ours)
    assert scaled.mean() == pytest.approx(3 * ours.mean())
    assert scaled.variance() == pytest.approx(9 * ours.variance())
    assert scaled.quantile(0.9) == pytest.approx(3 * ours.quantile(0.9))


@pytest.mark.parametrize("ours", ALL, ids=repr)
def test_is_a_value_that_travels(ours):
    assert pickle.loads(pickle.dumps(ours)) == ours  # noqa: S301
    assert hash(pickle.loads(pickle.dumps(ours))) == hash(ours)  # noqa: S301


@pytest.mark.parametrize("ours", ALL, ids=repr)
def test_the_same_stream_gives_the_same_block(ours):
    one, two = (ours.sample(np.random.default_rng(3), 50) for _ in range(2))
    assert one.tolist() == two.tolist()


def test_hyperexponential_has_its_average_and_variation_from_two_branches():
    ours = Hyperexponential(2.0, 4.0)
    (p, fast), (q, slow) = ours.branches()
    assert p + q == pytest.approx(1)
    assert p * fast == pytest.approx(q * slow)  # balanced means
    assert p * fast + q * slow == pytest.approx(2.0)
    second = 2 * (p * fast**2 + q * slow**2)
    assert second / 2.0**2 - 1 == pytest.approx(4.0)
    assert Hyperexponential(2.0, 1.0).quantile(0.7) == pytest.approx(Exponential(2.0).quantile(0.7))


def test_discrete_quantiles_are_the_smallest_value_that_is_enough():
    four = Empirical((4.0, 1.0, 2.0, 1.0))
    assert [four.quantile(q) for q in (0, 0.25, 0.5, 0.51, 0.75, 0.76, 1)] == [1, 1, 1, 2, 2, 4, 4]
    assert Empirical(tuple(range(10))).quantile(0.7) == 6
    coin = Mixture((0.25, 0.75), (Constant(3.0), Constant(1.0)))
    assert [coin.quantile(q) for q in (0, 0.5, 0.75, 0.76, 1)] == pytest.approx([1, 1, 1, 3, 3])


def test_named_by_mean_or_quantile():
    assert Lognormal.of_mean(1.8e-3, 0.3).mean() == pytest.approx(1.8e-3)
    assert Lognormal.of_quantile(0.99, 5e-3, 0.5).quantile(0.99) == pytest.approx(5e-3)
    path = ShiftedLognormal.of_mean(0.043, 1.0, 0.95)
    assert path.mean() == pytest.approx(0.043)
    assert path.quantile(0) == pytest.approx(0.95 * 0.043)


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: Exponential(0), "average must be a finite number above 0, not 0"),
        (lambda: Exponential(math.inf), "average must be a finite number above 0, not inf"),
        (lambda: Lognormal(1, -1), "sigma must be a number from 0 to 10, not -1"),
        (lambda: Constant(math.nan), "value must be a finite number, not nan"),
        (lambda: Uniform(2, 1), "low must be finite and not above high, not low = 2, high = 1"),
        (lambda: Erlang(0, 1), "shape must be a whole number of at least 1, not 0"),
        (lambda: Hyperexponential(1, 0.5), "scv, the squared coefficient of variation, must be at least 1, not 0.5"),
        (lambda: Empirical(()), "values must hold at least one number"),
        (lambda: Mixture((0.5, 0.6), (Constant(1), Constant(2))), "weights must add up to 1, not 1.1"),
        (lambda: Mixture((1.0,), ()), "weights and parts must be as many, not 1 and 0"),
        (lambda: Constant(1).quantile(1.5), "a quantile is asked for at a probability between 0 and 1, not 1.5"),
    ],
)
def test_impossible_parameters_are_refused(make, line):
    with pytest.raises(ScenarioError) as caught:
        make()
    assert str(caught.value) == line


@pytest.mark.parametrize(
    ("ours", "text"),
    [
        (Constant(0.005), "5 ms"),
        (Exponential(120.0), "exponential, average 2 min"),
        (Lognormal(2e-4, 0.5), "lognormal, median 200 us, sigma 0.5"),
        (Uniform(0.5, 2), "uniform, 500 ms to 2 s"),
        (Erlang(3, 90), "Erlang-3, average 90 s"),
        (Mixture((0.9, 0.1), (Constant(1e-3), Exponential(1))), "0.9: 1 ms; 0.1: exponential, average 1 s"),
    ],
)
def test_describes_itself_in_readable_units(ours, text):
    assert ours.describe() == text
