"""Random numbers that belong to a transaction: a function of seed, replication, component, purpose, transaction and occurrence alone."""

from __future__ import annotations

import itertools
import os
import random
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from simtx.scenario.distributions import Constant, Exponential, Lognormal, Mixture
from simtx.workload import Streams, TransactionStreams
from simtx.workload.by_transaction import Draw

DELAY = Lognormal(0.001, 0.5)

PRINT_A_STREAM = """
from simtx.scenario.distributions import Lognormal
from simtx.workload import Streams, TransactionStreams

draw = TransactionStreams(Streams(7, replication=3)).draws(Lognormal(0.001, 0.5), "link:a>b", "latency")
print(repr([draw(tx) for tx in (0, 5, 5, 1000, 0, *[77] * 50)]))
"""


def drawing(seed: int = 7, replication: int = 3, component: str = "link:a>b", purpose: str = "latency") -> Draw:
    return TransactionStreams(Streams(seed, replication)).draws(DELAY, component, purpose)


def table(order: list[int], draw: Draw) -> dict[tuple[int, int], float]:
    """What each transaction got as its first number, its second, ..."""
    found: dict[tuple[int, int], float] = {}
    counts: dict[int, int] = {}
    for tx in order:
        found[tx, counts.get(tx, 0)] = draw(tx)
        counts[tx] = counts.get(tx, 0) + 1
    return found


def test_a_number_does_not_depend_on_what_other_transactions_draw_nor_on_the_order() -> None:
    """Few and many draws, near and far transactions, and more blocks than are kept."""
    chance = random.Random(1)
    order = [tx for tx in (-1, 0, 1, 255, 256, 70_000) for _ in range(90)] + list(range(0, 60_000, 97))
    whole = table(order, drawing())
    mixed = list(order)
    chance.shuffle(mixed)
    assert table(mixed, drawing()) == whole
    assert table([256] * 90, drawing()) == {key: value for key, value in whole.items() if key[0] == 256}


def test_no_two_numbers_are_the_same() -> None:
    """Not of neighbours, not of one transaction, not across the two kinds of blocks, not those of no transaction."""
    whole = table([tx for tx in (-2, -1, *range(600), 2**40) for _ in range(80)], drawing())
    assert len(set(whole.values())) == len(whole) == 603 * 80


def test_each_part_of_the_key_matters() -> None:
    keys = itertools.product((0, 1, 2**70), (0, 1), ("a", "ab"), ("c", "bc", ""))
    first = [drawing(*key)(0) for key in keys]
    assert len(set(first)) == len(first) == 36


@pytest.mark.parametrize("hash_seed", ["0", "random"])
def test_numbers_do_not_depend_on_the_process_or_its_hash_seed(hash_seed: str) -> None:
    environment = os.environ | {"PYTHONHASHSEED": hash_seed}
    printed = subprocess.run(
        [sys.executable, "-c", PRINT_A_STREAM], env=environment, capture_output=True, text=True, check=True
    ).stdout
    draw = drawing()
    assert printed.strip() == repr([draw(tx) for tx in (0, 5, 5, 1000, 0, *[77] * 50)])


def test_the_mapping_to_the_generator_is_pinned() -> None:
    """Philox and `random` are stable over NumPy releases, so a change here is a change of ours: it would change every digest."""
    draw = TransactionStreams(Streams(7, 3)).uniform("payments", "loss")
    got = [draw(tx) for tx in (0, 0, 300, -1)] + [draw(5) for _ in range(9)][-1:]
    assert [round(number, 9) for number in got] == [0.164855286, 0.424544973, 0.907892078, 0.079580722, 0.082449079]


@pytest.mark.parametrize("distribution", [DELAY, Exponential(0.01), Mixture((0.5, 0.5), (DELAY, Exponential(1.0)))])
def test_first_draws_and_repeated_draws_have_the_distribution(distribution: Lognormal | Exponential | Mixture) -> None:
    """Over transactions, over the occurrences of one, and both are independent of each other."""
    streams = TransactionStreams(Streams(5))
    draw = streams.draws(distribution, "a", "b")
    first = [draw(tx) for tx in range(5000)]
    second = [draw(tx) for tx in range(5000)]
    many = [draw(9) for _ in range(5000)]
    for values in (first, second, many):
        assert stats.kstest(values, np.vectorize(distribution.cdf)).pvalue > 1e-4
    for one, other in itertools.combinations((first, second, many), 2):
        assert abs(stats.spearmanr(one, other).statistic) < 5 / np.sqrt(5000)
    assert abs(stats.spearmanr(first[1:], first[:-1]).statistic) < 5 / np.sqrt(5000)


def test_a_stream_that_is_made_later_shifts_nothing() -> None:
    """A link is made when the first message needs it; transactions that are under way then draw from it like all others."""
    late, early = TransactionStreams(Streams(1)), TransactionStreams(Streams(1))
    one = late.draws(DELAY, "a", "x")
    started = [one(tx) for tx in range(3)]
    other = late.draws(DELAY, "b", "x")
    got = [other(tx) for tx in range(3)]

    alone = early.draws(DELAY, "b", "x")
    again = early.draws(DELAY, "a", "x")
    assert [alone(tx) for tx in range(3)] == got
    assert [again(tx) for tx in range(3)] == started


def test_a_transaction_that_is_over_is_forgotten_and_draws_other_numbers_if_it_comes_back() -> None:
    """Memory holds the active transactions only; a late duplicate does not meet the delays of the first time again."""
    active = set(range(5000))
    streams = TransactionStreams(Streams(1), active)
    draw, other = streams.draws(DELAY, "a", "b"), streams.draws(DELAY, "a", "c")
    first = [draw(tx) for tx in range(3000)]
    active -= set(range(3000))
    for tx in range(3000, 5000):
        draw(tx)
    assert len(streams._taken) <= 2000
    back = [draw(tx) for tx in range(3000)]
    assert not set(first) & set(back)
    assert other(2999) != other(2999)
    younger = streams.draws(DELAY, "a", "d")
    assert younger(2999) != TransactionStreams(Streams(1)).draws(DELAY, "a", "d")(2999)


def test_a_constant_draws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_key(*_: object) -> None:
        raise AssertionError("a constant needs no generator")

    monkeypatch.setattr(Streams, "key", no_key)
    draw = TransactionStreams(Streams(1)).draws(Constant(0.25), "a", "b")
    assert [draw(tx) for tx in (0, 0, 7)] == [0.25, 0.25, 0.25]


def test_numbers_are_plain_floats() -> None:
    streams = TransactionStreams(Streams(1))
    for draw in (streams.uniform("a", "b"), streams.draws(DELAY, "a", "b"), streams.draws(Constant(2.0), "a", "b")):
        assert type(draw(0)) is float
