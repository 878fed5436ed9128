"""What happens at the same time is correlated as asked, forgets as asked, and keeps its distribution."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

import simtx
from simtx.errors import ScenarioError
from simtx.scenario import CommonMode, Scenario, from_dict
from simtx.scenario.distributions import Constant, Distribution, Empirical, Exponential, Lognormal
from simtx.simulator.common_mode import CommonFactor
from simtx.simulator.environment import Environment
from simtx.workload import Streams, TransactionStreams
from tests.simulator.worlds import chain


def pairs(
    distribution: Distribution, correlation: float, *, apart: float = 0.0, memory: float = 1.0, n: int = 4000
) -> np.ndarray:
    """Pairs of draws of two links, `apart` seconds from each other; the pairs themselves are far from each other."""
    env = Environment()
    streams = Streams(7)
    common = CommonFactor(env, CommonMode(correlation, correlation, memory), streams, TransactionStreams(streams))
    one, other = (common.draws(distribution, correlation, name, "latency") for name in ("one", "other"))
    found = []
    for number in range(n):
        env.run(until=(number + 1) * 100 * memory)
        first = one(number)
        if apart:
            env.run(until=env.now + apart)
        found.append((first, other(number)))
    return np.array(found)


@pytest.mark.parametrize("distribution", [Exponential(0.01), Lognormal(0.02, 0.8), Empirical((1.0, 2.0, 2.0, 9.0))])
@pytest.mark.parametrize("correlation", [0.3, 1.0])
@pytest.mark.sample(5)
def test_a_draw_keeps_its_distribution(distribution: Distribution, correlation: float) -> None:
    drawn = pairs(distribution, correlation)
    for values in drawn.T:
        assert values.mean() == pytest.approx(
            distribution.mean(), abs=5 * math.sqrt(distribution.variance() / len(values))
        )
    if not isinstance(distribution, Empirical):
        assert stats.kstest(drawn[:, 0], np.vectorize(distribution.cdf)).statistic < 0.03


@pytest.mark.parametrize("correlation", [0.0, 0.2, 0.5, 0.9])
@pytest.mark.sample(3)
def test_two_draws_at_the_same_time_have_the_rank_correlation_asked_for(correlation: float) -> None:
    drawn = pairs(Exponential(0.01), correlation)
    assert stats.spearmanr(*drawn.T).statistic == pytest.approx(correlation, abs=0.05)


def test_the_correlation_is_forgotten() -> None:
    """After one memory, e times less of the correlation of the underlying normals is left."""
    drawn = pairs(Exponential(0.01), 0.9, apart=1.0)
    left = 2 * math.sin(math.pi * 0.9 / 6) / math.e
    assert stats.spearmanr(*drawn.T).statistic == pytest.approx(6 / math.pi * math.asin(left / 2), abs=0.05)


def test_equal_draws_under_full_correlation() -> None:
    one, other = pairs(Exponential(0.01), 1.0, n=200).T
    assert one.tolist() == other.tolist()
    assert len(set(one.tolist())) > 100


def test_a_constant_stays_one() -> None:
    assert set(pairs(Constant(0.01), 0.5, n=10).ravel()) == {0.01}


def slow(**common: object) -> Scenario:
    link = {"distribution": "exponential", "average": 0.01}
    tables = chain(2, transactions=800, rate=20.0).to_dict()
    tables["network"] = {**tables.get("network", {}), "latency": link}
    if common:
        tables["common_mode"] = common
    return from_dict(tables, name="slow")


def test_participants_that_are_slow_together_disagree_for_a_shorter_time() -> None:
    alone, together = (simtx.simulate(one, "2pc", seed=3) for one in (slow(), slow(links=0.9, memory=0.001)))
    windows = [float(run.transactions["window_ms"].mean()) for run in (alone, together)]
    assert windows[1] < 0.7 * windows[0]
    assert together.summary["latency_mean_ms"] != alone.summary["latency_mean_ms"]
    assert together.digest == simtx.simulate(slow(links=0.9, memory=0.001), "2pc", seed=3).digest


def test_the_scenario_says_so() -> None:
    scenario = slow(links=0.4, writes="30%", memory="50ms")
    assert scenario.common_mode == CommonMode(0.4, 0.3, 0.05)
    assert "rank correlation 0.4 of links, 0.3 of forced writes, memory 50 ms" in scenario.describe()
    assert slow().common_mode is None
    assert scenario.fingerprint != slow().fingerprint


@pytest.mark.parametrize(("key", "value"), [("links", 1.2), ("writes", -0.1), ("memory", "0s"), ("link", 0.5)])
def test_nonsense_is_refused_by_name(key: str, value: object) -> None:
    with pytest.raises(ScenarioError, match=f"common_mode.{key}"):
        slow(**{key: value})
