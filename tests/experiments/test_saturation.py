"""The highest sustained throughput: where it is known in closed form, that more servers help, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


def test_a_search_that_was_interrupted_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The probes that were finished are not played again, and the figures are those of a search that nobody has interrupted."""
    from simtx.experiments import saturation as module

    played: list[int] = []
    throughput = module._throughput

    def play(scenario: Scenario, *rest: Any) -> tuple[float, ...]:
        if len(played) == 3:
            raise KeyboardInterrupt
        played.append(scenario.workload.users or 0)
        return throughput(scenario, *rest)

    call: dict[str, Any] = {"strategies": ["saga"], "replications": 2, "transactions": 100}
    store = tmp_path / "probes.jsonl"
    monkeypatch.setattr(module, "_throughput", play)
    with pytest.raises(KeyboardInterrupt):
        saturation(busy(2), **call, store=store)
    with store.open("a") as file:
        file.write('{"key": "cut o')  # the process has ended here
    first = list(played)
    monkeypatch.setattr(
        module, "_throughput", lambda *given: (played.append(given[0].workload.users), throughput(*given))[1]
    )
    again = saturation(busy(2), **call, store=store)
    assert first == [1, 2, 4]
    assert played[3:] == [one.users for one in again.searched[3:]] + [again.best["saga"].users]
    monkeypatch.setattr(module, "_throughput", None)  # all is there
    assert saturation(busy(2), **call, store=store).to_dict() == again.to_dict()
    assert "cut o" not in store.read_text()


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("milk\n")
    with pytest.raises(ScenarioError, match=r"notes.txt: is no file of a saturation's probes"):
        saturation(busy(2), ["saga"], store=tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "milk\n"


def test_nonsense_is_refused(found: Saturation) -> None:
    with pytest.raises(ScenarioError, match="replications"):
        simtx.saturation("transfer", replications=1)
    with pytest.raises(ScenarioError, match="there is no strategy"):
        simtx.saturation("transfer", ["sagga"])
    with pytest.raises(ScenarioError, match="'outbox' was not measured; there are saga, 2pc"):
        found.interval("outbox")
