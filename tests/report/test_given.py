"""Whatever is given to a picture: it is drawn, or there is one clear line."""

from __future__ import annotations

import inspect
import math
from typing import Any

import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt
import pytest

import simtx
from simtx.experiments.frontier import Frontier, Plan, search
from simtx.report.pictures import accessors
from tests.experiments.surfaces import World
from tests.report.test_accessors import CLASSES, methods
from tests.report.test_frontier_pictures import RATE, TORNADO, _study

WRONG: dict[str, list[Any]] = {
    "ax": [5, "axes", object(), plt],
    "figsize": [5, "ab", (1, 2, 3), (0, 3), (math.nan, 4), (-3, -2), (1e9, 4), ("8", "4"), {8, 4}, (2, 2)],
    "confidence": [0, 1, 95, "high", math.nan, None],
    "metrics": ["latency_p99_ms", [], [5], 5, ["latency_p99_s"]],
    "metric": [5, "", None, "latency_p99_s"],
    "column": [5, "", None, "latency_s"],
    "replication": [-1, "a", 1.5, 99],
    "baseline": [5, "sage"],
    "strategies": ["saga", [], [5], ["sage"]],
    "x": [5, "rte"],
    "y": [5, "rte"],
    "panels": [5, "rte"],
    "rate": [5, "rte"],
    "at": [5, ["rate"], {"rte": 1}],
    "role": [5, "cordinator"],
    "which": [5, "tornedo"],
    "name": [5, "nobody"],
    "service": [5, "nobody"],
}


@pytest.fixture(scope="module")
def owners(small: simtx.Scenario, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """An object of each kind that has pictures."""
    tiny = small.replace(**{"run.transactions": 30, "run.warmup": "0s"})
    folder = tmp_path_factory.mktemp("runs")
    over = {"workload.rate": [50, 100]}
    state, surfaces = search(World(lambda p: p[:, 0] - 0.5), dimensions=1, strategies=2, plan=Plan(20, 0.9))
    sweep = simtx.sweep(tiny, over, ["2pc", "saga"], replications=1, workers=1, store=folder, progress=False)
    return {
        "RunPlots": simtx.simulate(tiny, "2pc"),
        "ComparisonPlots": simtx.compare(tiny, ["2pc", "saga"], replications=2, workers=1, progress=False),
        "SweepPlots": sweep,
        "ScenarioPlots": tiny,
        "FrontierPlots": Frontier((RATE,), ("2pc", "saga"), "latency_p99_ms", state, surfaces),
        "SensitivityPlots": _study("tornado", TORNADO),
    }


@pytest.mark.parametrize("cls", CLASSES, ids=lambda one: one.__name__)
def test_a_wrong_argument_of_a_picture_is_one_clear_line(cls: type[accessors.Pictures], owners: dict[str, Any]) -> None:
    plots = owners[cls.__name__].plot
    before = plt.get_fignums()  # of tests before this one
    for name, method in methods(cls):
        draw = plots if name == "__call__" else getattr(plots, name)
        for parameter in list(inspect.signature(method).parameters)[1:]:
            for value in WRONG[parameter]:
                with pytest.raises(simtx.SimtxError) as caught:
                    draw(**{parameter: value})
                assert "\n" not in str(caught.value), (name, parameter, value)
    assert plt.get_fignums() == before


def test_a_size_is_for_a_new_figure(owners: dict[str, Any]) -> None:
    figure, axes = plt.subplots()
    with pytest.raises(simtx.ScenarioError, match="figsize: is for a new figure"):
        owners["RunPlots"].plot.latency(ax=axes, figsize=(8, 4))
    plt.close(figure)


@pytest.mark.parametrize("value", [None, 5, "run", [], [5], object])
def test_what_is_drawn_must_be_what_a_picture_is_of(value: Any) -> None:
    from simtx.report import plots, runs

    for draw, name in ((plots.distribution, "runs"), (runs.timeline, "run"), (plots.latency, "comparison")):
        with pytest.raises(simtx.ScenarioError, match=f"^{name}: must be "):
            draw(value)  # type: ignore[operator]
