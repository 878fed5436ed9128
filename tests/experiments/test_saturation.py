"""The highest sustained throughput: where it is known in closed form, that more servers help, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib.pyplot as plt
import pytest

import simtx
from simtx.errors import ScenarioError
from simtx.experiments.saturation import Saturation, saturation
from simtx.scenario import Scenario, from_dict
from tests.simulator.worlds import chain


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    plt.close("all")


def busy(workers: int) -> Scenario:
    """One service whose steps take 10 ms of a worker each, and nothing else takes any time."""
    tables = chain(1, transactions=100, rate=1.0).to_dict()
    (name,) = tables["services"]
    tables["services"][name]["workers"] = workers
    for step in tables["transaction"]["steps"]:
        step["service_time"] = "10ms"
    made = from_dict(tables, name="busy")
    return made.replace(**{f"services.{name}.store.log.forced_write": "0s"})


@pytest.fixture(scope="module")
def found() -> Saturation:
    return saturation(busy(2), ["saga", "2pc"], replications=3, transactions=200)


def test_a_constant_service_time_and_two_workers_sustain_two_hundred_a_second(found: Saturation) -> None:
    """Workers over service time: the first resource that is full says how much goes through."""
    steps = len(busy(2).transaction.steps)
    for strategy in found.strategies:
        assert found.interval(strategy).mean == pytest.approx(200.0 / steps, rel=0.02)
    assert found.ratio("saga", "saga").mean == 1.0


def test_the_search_doubles_the_users_and_ends_when_they_bring_nothing(found: Saturation) -> None:
    frame = found.frame
    tried = frame[frame["strategy"] == "saga"]
    assert list(tried["users"]) == [2**k for k in range(len(tried))]
    assert len(tried) < 8
    assert tried["best"].sum() == 1
    assert tried["mean"].max() <= 1.02 * found.interval("saga").mean


def test_four_workers_sustain_twice_as_much(found: Saturation) -> None:
    more = saturation(busy(4), ["saga"], replications=2, transactions=200)
    assert more.interval("saga").mean == pytest.approx(2 * found.interval("saga").mean, rel=0.05)


def test_text_picture_and_data(found: Saturation) -> None:
    assert "transactions/s" in str(found)
    ax = found.plot()
    assert ax.get_xlabel() == "users who never think"
    assert "['saga', '2pc']" in found.provenance.command
    assert set(found.to_dict()["strategies"]) == {"saga", "2pc"}


def test_nonsense_is_refused(found: Saturation) -> None:
    with pytest.raises(ScenarioError, match="replications"):
        simtx.saturation("transfer", replications=1)
    with pytest.raises(ScenarioError, match="there is no strategy"):
        simtx.saturation("transfer", ["sagga"])
    with pytest.raises(ScenarioError, match="'outbox' was not measured; there are saga, 2pc"):
        found.interval("outbox")
