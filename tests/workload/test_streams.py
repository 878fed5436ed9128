"""Random streams: a function of seed, replication, component and purpose, and of nothing else."""

import itertools
import os
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from simtx.errors import ScenarioError
from simtx.scenario.distributions import Constant, Exponential, Lognormal, Uniform
from simtx.workload.streams import BLOCK, Sampled, Streams

SERVICE = Exponential(0.002)

# The first variates of the stream (seed 7, replication 3, component "payments", purpose "service time"), as a fresh process prints them.
PRINT_A_STREAM = """
from simtx.scenario.distributions import Exponential
from simtx.workload.streams import Streams

draw = Streams(7, replication=3).draws(Exponential(0.002), "payments", "service time")
print(repr([draw() for _ in range(5)]))
"""


def take(draw: Callable[[], float], n: int) -> list[float]:
    return [draw() for _ in range(n)]


def test_the_same_key_gives_the_same_numbers() -> None:
    one, other = (Streams(7, 3).draws(SERVICE, "payments", "service time") for _ in range(2))
    assert take(one, 3000) == take(other, 3000)


def test_each_part_of_the_key_matters() -> None:
    keys = itertools.product((0, 1, 2**70), (0, 1), ("a", "b", "ab", ""), ("c", "bc", ""))
    first = [Streams(seed, replication).uniform(component, purpose)() for seed, replication, component, purpose in keys]
    assert len(set(first)) == len(first) == 72


def test_neighbouring_parts_do_not_run_into_each_other() -> None:
    assert Streams(1).uniform("a", "bc")() != Streams(1).uniform("ab", "c")()
    assert Streams(1, 12).uniform("a", "b")() != Streams(11, 2).uniform("a", "b")()


def test_another_component_or_purpose_shifts_no_stream() -> None:
    alone = take(Streams(1).draws(SERVICE, "payments", "service time"), 2000)

    streams = Streams(1)
    newcomer = streams.draws(SERVICE, "audit", "service time")
    more = streams.uniform("payments", "refusal")
    draw = streams.draws(SERVICE, "payments", "service time")
    among_others = []
    for _ in range(2000):
        newcomer()
        among_others.append(draw())
        more()
    assert among_others == alone


@pytest.mark.parametrize("hash_seed", ["0", "1", "random"])
def test_streams_do_not_depend_on_the_process_or_its_hash_seed(hash_seed: str) -> None:
    environment = os.environ | {"PYTHONHASHSEED": hash_seed}
    printed = subprocess.run(
        [sys.executable, "-c", PRINT_A_STREAM], env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert printed.strip() == repr(take(Streams(7, 3).draws(SERVICE, "payments", "service time"), 5))


def test_the_key_to_entropy_mapping_is_pinned() -> None:
    """Raw PCG64 output is stable over NumPy releases, so a change here is a change of ours: it would change every digest."""
    raw = Streams(7, 3).generator("payments", "service time").bit_generator.random_raw(2)
    assert raw.tolist() == [13743610541670045102, 6613387880596466896]


@pytest.mark.parametrize(
    "distribution", [SERVICE, Lognormal(0.0005, 0.5), Uniform(1.0, 2.0)], ids=lambda d: type(d).__name__
)
@pytest.mark.parametrize("block", [1, 7, BLOCK + 1])
def test_the_block_size_does_not_change_the_numbers(distribution: Sampled, block: int) -> None:
    """True of one call of a Generator method a block, as these three make."""
    streams = Streams(5)
    n = 2 * BLOCK + 50
    assert take(streams.draws(distribution, "a", "b", block=block), n) == take(streams.draws(distribution, "a", "b"), n)


def test_uniform_is_the_generators_own_sequence() -> None:
    streams = Streams(5)
    assert take(streams.uniform("a", "b", block=10), 100) == streams.generator("a", "b").random(100).tolist()


def test_variates_are_plain_floats() -> None:
    streams = Streams(1)
    for draw in (streams.uniform("a", "b"), streams.draws(SERVICE, "a", "b"), streams.draws(Constant(2.0), "a", "b")):
        assert type(draw()) is float


def test_a_constant_draws_nothing_from_the_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_generator(*_: object) -> None:
        raise AssertionError("a constant needs no generator")

    monkeypatch.setattr(Streams, "generator", no_generator)
    assert take(Streams(1).draws(Constant(0.25), "a", "b"), 3) == [0.25, 0.25, 0.25]


def test_a_users_distribution_needs_only_sample_and_is_asked_block_by_block() -> None:
    asked: list[int] = []

    class Counting:
        def sample(self, rng: np.random.Generator, n: int, /) -> NDArray[np.float64]:
            asked.append(n)
            return np.arange(n, dtype=float)

    draw = Streams(1).draws(Counting(), "a", "b", block=4)
    assert asked == []
    assert take(draw, 5) == [0.0, 1.0, 2.0, 3.0, 0.0]
    assert asked == [4, 4]


def test_streams_are_uncorrelated() -> None:
    """Of 200 pairs of streams with 10,000 numbers each, the correlation stays within 5 standard errors."""
    n = 10_000
    streams = Streams(11)
    table = np.array([streams.generator(f"service-{i}", "service time").random(n) for i in range(21)])
    correlation = np.corrcoef(table)[np.triu_indices(21, 1)][:200]
    assert np.abs(correlation).max() < 5 / np.sqrt(n)
    assert abs(correlation.mean()) < 5 / np.sqrt(n * 200)


def test_neighbouring_seeds_share_nothing() -> None:
    """Studies with seeds s and s + 1: no replication of one is one of the other, nor shifted, and their numbers are uncorrelated."""
    n = 2_000
    one, other = (
        np.array([Streams(seed, replication).generator("arrivals", "gap").random(n) for replication in range(20)])
        for seed in (7, 8)
    )
    assert not np.intersect1d(one, other).size
    correlation = np.corrcoef(one, other)[:20, 20:]
    assert np.abs(correlation).max() < 5 / np.sqrt(n)


@pytest.mark.parametrize(
    "wrong", [-1, 1.5, "1", None, True, np.random.default_rng(1), np.random.SeedSequence(1), np.random.RandomState(1)]
)
def test_a_seed_or_replication_that_is_no_natural_number_is_refused(wrong: int) -> None:
    with pytest.raises(ScenarioError, match="seed: must be an integer of at least 0, not"):
        Streams(wrong)
    with pytest.raises(ScenarioError, match="replication: must be an integer of at least 0, not"):
        Streams(1, wrong)


@pytest.mark.parametrize("wrong", [0, -5, 2.0])
def test_a_block_that_is_no_positive_integer_is_refused(wrong: int) -> None:
    with pytest.raises(ScenarioError, match="block: must be an integer of at least 1, not"):
        Streams(1).draws(SERVICE, "a", "b", block=wrong)


def test_numpy_integers_are_integers() -> None:
    assert Streams(int(np.int64(3))).uniform("a", "b")() == Streams(np.int64(3)).uniform("a", "b")()  # type: ignore[arg-type]
