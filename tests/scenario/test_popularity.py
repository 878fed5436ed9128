"""How often the most popular key is wanted: the sum over the ranks, whatever population a file states."""

import math

import pytest

from simtx.errors import ScenarioError
from simtx.scenario import load
from simtx.scenario.popularity import hottest


def share(population: float, exponent: float) -> float:
    changes = {
        "transaction.parameters.payer.population": population,
        "transaction.parameters.payer.popularity": "zipf",
        "transaction.parameters.payer.exponent": exponent,
    }
    _, share = hottest(load("transfer").replace(**changes))["sender"]
    return share


@pytest.mark.parametrize("exponent", [0.01, 0.5, 1.0, 1.0000001, 1.2, 4.0])
@pytest.mark.parametrize("population", [1, 10, 1001, 50_000])
def test_the_share_of_the_first_rank_is_that_of_the_sum_over_all_ranks(population: int, exponent: float) -> None:
    total = math.fsum(rank**-exponent for rank in range(1, population + 1))
    assert share(population, exponent) == pytest.approx(1 / total, rel=1e-12)


def test_a_population_of_any_size_takes_no_time() -> None:
    assert share(10**12, 2.0) == pytest.approx(6 / math.pi**2, rel=1e-11)
    with pytest.raises(ScenarioError, match=r"1000000000000000.0 is too large; it must be at most 1e\+12"):
        share(1e15, 2.0)
