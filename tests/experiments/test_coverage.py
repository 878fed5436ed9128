"""Intervals contain the truth as often as they say: 93 to 97 of 100 are accepted at 95 %, with the default of 20 replications.

The same with more trials, other numbers of replications, and for decisions and rules of stopping: python benchmarks/coverage.py.
"""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from simtx.experiments.compare import REPLICATIONS
from simtx.metrics.intervals import at_most, bounds, interval, log_ratios

TRIALS = 20_000  # a coverage of 95 % is known to 0.15


def _benchmark() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "coverage.py"
    spec = importlib.util.spec_from_file_location("coverage_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


COVERAGE = _benchmark()
CONTINUOUS = [name for name, (kind, _, _) in COVERAGE.OUTPUTS.items() if kind in ("positive", "real")]
DISCRETE = [name for name in COVERAGE.OUTPUTS if name not in CONTINUOUS]


@pytest.mark.parametrize("name", CONTINUOUS)
def test_coverage_of_means(name: str) -> None:
    kind, draw, truth = COVERAGE.OUTPUTS[name]
    assert 93 <= COVERAGE.covered(draw, truth, REPLICATIONS, kind, TRIALS, 31) <= 97


@pytest.mark.parametrize("name", DISCRETE)
def test_coverage_of_shares_and_counts(name: str) -> None:
    """A count takes few values: its coverage may be higher than 97 and must not be lower than 93."""
    kind, draw, truth = COVERAGE.OUTPUTS[name]
    assert 93 <= COVERAGE.covered(draw, truth, REPLICATIONS, kind, 5_000, 32) <= 99


def test_the_interval_of_a_comparison_is_the_one_that_is_measured_here() -> None:
    """`bounds` for many samples at once, `interval` for one."""
    values = np.random.default_rng(33).lognormal(0, 1, (50, REPLICATIONS))
    mean, low, high = bounds(np.sort(values, axis=1), 0.95, "positive")
    for row, sample in enumerate(values):
        assert interval(sample, kind="positive")[:3] == pytest.approx((mean[row], max(low[row], 0), high[row]))


def test_coverage_of_the_tail_of_a_queue() -> None:
    """99 % quantile of the sojourn time in M/M/1 with load 0.5: ln(100) / 0.5, each replication with 3,000 customers."""
    outputs = COVERAGE.pool(2_000, 3_000, 0.5, seed=34)
    _, low, high = bounds(COVERAGE.resampled(outputs, REPLICATIONS, TRIALS, 35), 0.95, "positive")
    truth = math.log(100) / 0.5
    assert 0.93 <= np.mean((low <= truth) & (truth <= high)) <= 0.97


def test_coverage_of_two_equal_strategies_under_common_random_numbers() -> None:
    """The 99 % quantiles of two queues with the same arrivals and half of the services in common: difference 0, ratio 1."""
    pair = COVERAGE.crn_quantiles(1_000, 1_500, 0.6, seed=36)
    first, second = (np.quantile(side, 0.99, axis=1) for side in pair)
    pick = np.random.default_rng(37).integers(0, len(first), (TRIALS, REPLICATIONS))
    centre = first.mean() - second.mean(), np.mean(np.log(first / second))  # of the pool from which studies are drawn
    for values, truth in zip((first - second, log_ratios(first, second)), centre, strict=True):
        assert abs(truth) < 4 * values.std() / math.sqrt(len(values)), "the two are equal"
        _, low, high = bounds(values[pick], 0.95)
        assert 0.93 <= np.mean((low <= truth) & (truth <= high)) <= 0.97


@pytest.mark.parametrize("share", [0.02, 0.05, 0.095, 0.12])
def test_the_bound_of_what_was_never_seen_holds(share: float) -> None:
    """It is wrong only if nothing was seen and the share is above it: that has a probability of at most 5 %."""
    wrong = (1 - share) ** 30 if share > at_most(30) else 0.0
    assert wrong <= 0.05
