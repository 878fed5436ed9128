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
from simtx.simulator.common_mode import CommonFactor, digits
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
    one, other = (common.draws(distribution, name, "latency") for name in ("one", "other"))
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


def ends(shared: float, within: float, *, apart: float, same: bool = False, n: int = 4000) -> np.ndarray:
    """Ends of pairs of forced writes that begin `apart` seconds from each other, on two nodes or on the `same` one."""
    env = Environment()
    streams = Streams(7)
    common = CommonFactor(env, CommonMode(0.0, 0.0, 1000.0, shared, within), streams, TransactionStreams(streams))
    write = Lognormal(0.02, 0.3)
    one = common.draws(write, "one", "forced-write")
    other = one if same else common.draws(write, "other", "forced-write")
    found = []
    for number in range(n):
        env.run(until=number + 1.0)
        first = env.now + one(2 * number)
        env.run(until=env.now + apart)
        found.append((first, env.now + other(2 * number + 1)))
    return np.array(found)


def test_forced_writes_of_two_nodes_share_a_flush_as_often_as_asked() -> None:
    drawn = ends(0.6, 0.001, apart=0.0005)
    together = np.isclose(drawn[:, 0], drawn[:, 1], rtol=0, atol=1e-9)
    assert together.mean() == pytest.approx(0.6, abs=5 * math.sqrt(0.6 * 0.4 / len(drawn)))
    alone = drawn[~together]
    taken = alone - np.floor(alone) - [0.0, 0.0005]
    assert (
        stats.kstest(np.log(taken[:, 1]), "norm", (np.log(taken[:, 1]).mean(), 0.29)).pvalue > 1e-4
    )  # still a draw of its own
    assert abs(stats.spearmanr(*taken.T).statistic) < 0.1


@pytest.mark.parametrize(
    ("within", "same"), [(0.0002, False), (0.001, True)], ids=["too long after it", "one process after itself"]
)
def test_other_forced_writes_share_none(within: float, same: bool) -> None:
    drawn = ends(1.0, within, apart=0.0005, same=same, n=200)
    assert not np.isclose(drawn[:, 0], drawn[:, 1], rtol=0, atol=1e-9).any()


def test_a_write_that_is_over_takes_nobody_along() -> None:
    drawn = ends(1.0, 0.5, apart=0.4, n=200)
    assert (drawn[:, 1] > np.floor(drawn[:, 1]) + 0.4).all()


def test_the_second_digits_of_a_draw_are_uniform_and_independent_of_it() -> None:
    normals = np.random.default_rng(5).standard_normal(20_000)
    uniform = np.array([digits(one) for one in normals])
    assert stats.kstest(uniform, "uniform").pvalue > 1e-3
    assert abs(stats.spearmanr(normals, uniform).statistic) < 0.03
    assert abs(stats.spearmanr(np.abs(normals), uniform).statistic) < 0.03


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


def test_participants_that_share_a_flush_disagree_for_a_shorter_time() -> None:
    lab = simtx.load("transfer-lab").replace(run={"transactions": 300})
    apart, shared = (
        simtx.simulate(lab.replace(common_mode={"shared_flush": share, "shared_flush_within": "2ms"}), "2pc", seed=3)
        for share in (0.0, 0.6)
    )
    assert shared.summary["window_mean_ms"] < 0.7 * apart.summary["window_mean_ms"]


def test_the_scenario_says_so() -> None:
    scenario = slow(links=0.4, writes="30%", memory="50ms")
    assert scenario.common_mode == CommonMode(0.4, 0.3, 0.05)
    assert "rank correlation 0.4 of links, 0.3 of forced writes, memory 50 ms" in scenario.describe()
    assert "end together" not in scenario.describe()
    sharing = slow(shared_flush="55%", shared_flush_within="500us")
    assert "55 % of forced writes that begin within 500 us end together" in sharing.describe()
    assert slow().common_mode is None
    assert scenario.fingerprint != slow().fingerprint


@pytest.mark.parametrize(("key", "value"), [("links", 1.2), ("writes", -0.1), ("memory", "0s"), ("link", 0.5)])
def test_nonsense_is_refused_by_name(key: str, value: object) -> None:
    with pytest.raises(ScenarioError, match=f"common_mode.{key}"):
        slow(**{key: value})
