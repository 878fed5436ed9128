"""What `[uncertainty]` may say, what it comes to, and that it changes no run."""

from __future__ import annotations

from typing import Any

import pytest

import simtx
from simtx.errors import ScenarioError
from simtx.scenario.distributions import Distribution


def _stated(**uncertainty: Any) -> simtx.Scenario:
    return simtx.load("checkout").replace(uncertainty=uncertainty)


def test_a_percentage_moves_every_figure_that_the_path_fits_together() -> None:
    one = _stated(**{"services.*.service_time": "20%"}).uncertainty["services.*.service_time"]
    assert [figure.path for figure in one.figures] == [
        f"services.{name}.service_time" for name in ("orders", "inventory", "payments", "shipping")
    ]
    assert one.describe() == "±20 %"
    base = simtx.load("checkout")
    for position, factor in ((-1.0, 0.8), (0.0, 1.0), (0.5, 1.1), (1.0, 1.2)):
        changed = base.replace(**one.changes(position))
        for name, service in base.services.items():
            assert changed.services[name].service_time.mean() == pytest.approx(factor * service.service_time.mean())


def test_two_ends_need_not_be_equally_far() -> None:
    one = _stated(**{"workload.rate": ["50/s", "200/s"]}).uncertainty["workload.rate"]
    assert one.describe() == "-50 % to +100 %"
    assert [one.mean(position) for position in (-1, 0, 1)] == [50, 100, 200]


def test_of_a_distribution_the_ends_are_means() -> None:
    one = _stated(**{"services.orders.service_time": ["4ms", "10ms"]}).uncertainty["services.orders.service_time"]
    changed: Any = one.changes(1.0)["services.orders.service_time"]
    assert isinstance(changed, Distribution)
    assert changed.mean() == pytest.approx(0.010)


def test_whole_numbers_stay_whole_and_probabilities_stay_below_one() -> None:
    workers = _stated(**{"services.payments.workers": "40%"}).uncertainty["services.payments.workers"]
    assert workers.changes(1.0) == {"services.payments.workers": 6}
    risky = simtx.load("checkout").replace(**{"network.loss": 0.7, "uncertainty": {"network.loss": "60%"}})
    assert risky.uncertainty["network.loss"].changes(1.0) == {"network.loss": 1.0}


def test_it_takes_no_part_in_a_run() -> None:
    assert _stated(**{"workload.rate": "20%"}).fingerprint == simtx.load("checkout").fingerprint


def test_it_is_shown_with_the_scenario() -> None:
    assert "workload.rate  ±20 %" in _stated(**{"workload.rate": "20%"}).describe()


def test_a_figure_that_is_changed_may_leave_the_ends_that_were_stated() -> None:
    changed = _stated(**{"workload.rate": ["50/s", "150/s"]}).replace(**{"workload.rate": 200})
    assert changed.uncertainty["workload.rate"].low == 0.25
    assert changed.uncertainty["workload.rate"].high == 1.0


@pytest.mark.parametrize(
    ("stated", "error"),
    [
        ({"network.loss": "10%"}, "uncertainty.network.loss: is 0 here, and a share of 0 is 0; state a value of 'network.loss' that is above 0, and vary that"),
        ({"workload.rat": "10%"}, "uncertainty.workload.rat: there is no figure at this path; did you mean 'workload.rate'?"),
        ({"workload.rate": "10"}, "uncertainty.workload.rate: '10' is no percentage; write '20%', or both ends in a list"),
        ({"workload.rate": "120%"}, "uncertainty.workload.rate: '120%' is not between 0% and 95%; for more, give both ends in a list"),
        ({"workload.rate": ["5/s"]}, "uncertainty.workload.rate: ['5/s'] does not have two ends"),
        ({"workload.rate": ["9/s", "5/s"]}, "uncertainty.workload.rate: the ends '9/s' and '5/s' do not have the figure, 100, between them"),
        ({"services.*.workers": [1, 9]}, "uncertainty.services.*.workers: two ends are for one figure, and it fits 4; give a percentage"),
        ({"services.*.workers": "10%", "services.orders": "10%"}, "uncertainty.services.orders: 'services.*.workers' is about services.orders.workers, too"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_in_one_line(stated: dict[str, Any], error: str) -> None:
    with pytest.raises(ScenarioError) as refused:
        simtx.load("checkout").replace(uncertainty=stated)
    assert str(refused.value) == f"checkout.toml: {error}"


def test_a_file_whose_ends_do_not_hold_the_figure_is_refused(tmp_path: Any) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('extends = "checkout"\n[uncertainty]\n"workload.rate" = ["120/s", "150/s"]\n')
    with pytest.raises(ScenarioError, match="do not have the figure, 100, between them"):
        simtx.load(str(file))
