"""What is drawn of a frontier and of a sensitivity study: the finding, the zones, the noise as its own bar."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

import simtx
from simtx.errors import ScenarioError
from simtx.experiments.frontier import Axis, Frontier, Plan, search
from simtx.experiments.sensitivity import InputUncertainty, Sensitivity
from simtx.experiments.sensitivity.question import Question
from simtx.metrics.intervals import Interval
from simtx.report import frontier as pictures
from simtx.report import sensitivity as bars
from simtx.report.pictures import canvas
from tests.experiments.surfaces import World, wave

mpl.use("agg")
RTT, RATE = Axis("rtt", 1.0, 64.0, "ms", "log"), Axis("workload.rate", 0.0, 100.0, "/s")


@pytest.fixture(scope="module")
def found() -> Frontier:
    state, surfaces = search(World(wave), dimensions=2, strategies=2, plan=Plan(60, 0.02))
    return Frontier((RTT, RATE), ("2pc", "saga"), "latency_p99_ms", state, surfaces)


def test_a_map_says_its_finding_and_names_zones_axes_and_sites(found: Frontier) -> None:
    ax = pictures.plot(found)
    title = ax.get_title(loc="left").replace("\n", " ")
    assert title == f"Request to answer, 99 %: {found.caption}"
    assert ax.get_xlabel() == "rtt [ms]"
    assert ax.get_ylabel() == "workload.rate [1/s]"
    assert ax.get_xscale() == "log"
    (legend,) = ax.get_figure(root=True).legends  # type: ignore[union-attr]
    said = [text.get_text() for text in legend.get_texts()]
    assert said[:2] == ["2pc wins", "saga wins"]
    assert any(text.startswith("undecided (") for text in said)
    assert {text.get_text() for text in ax.texts} == {"2pc", "saga"}
    points = max((len(one.get_offsets()) for one in ax.collections), default=0)
    assert points == len(found.sites)


def test_one_axis_is_a_curve_with_the_interval_of_its_crossing() -> None:
    state, surfaces = search(World(lambda p: p[:, 0] - 0.5), dimensions=1, strategies=2, plan=Plan(100, 0.1))
    one = Frontier((RATE,), ("2pc", "saga"), "latency_p99_ms", state, surfaces)
    ax = pictures.plot(one)
    assert ax.get_title(loc="left").replace("\n", " ") == one.caption
    assert ax.get_ylabel() == "Request to answer, 99 %: ratio"
    assert len(ax.patches) == len(one.crossings) == 1


SWEEP = SimpleNamespace(  # as much of one as pictures look at
    study=SimpleNamespace(strategies={"2pc": simtx.TwoPhaseCommit(), "saga": simtx.Saga()}),
    scenario=simtx.load("transfer"),
    seed=1,
)


def _study(method: str, table: pd.DataFrame, **more: Any) -> Sensitivity:
    given: dict[str, Any] = {
        "answer": Interval(-0.2, -0.3, -0.1, 10),
        "noise": 0.05,
        "flips": None,
        "inputs": None,
        "notations": {"workload.rate": "rate"},
        **more,
    }
    return Sensitivity(
        Question("latency_p99_ms", ("2pc", "saga")), method, "log", given["answer"], table, given["noise"],  # type: ignore[arg-type]
        given["flips"], given["inputs"], 0.95, 10, SWEEP, given["notations"],  # type: ignore[arg-type]
    )  # fmt: skip


TORNADO = pd.DataFrame(
    {
        "factor": ["workload.rate", "hub.log.forced_write"],
        "low_value": [80.0, 0.001], "high_value": [120.0, 0.003],
        "low": [-0.2, 0.0], "low_from": [-0.25, -0.05], "low_to": [-0.15, 0.05],
        "high": [0.5, 0.1], "high_from": [0.4, 0.0], "high_to": [0.6, 0.2],
        "swing": [0.7, 0.1],
    }
)  # fmt: skip
FLIPS = pd.DataFrame(
    {
        "factor": ["workload.rate", "hub.log.forced_write"],
        "distance": [0.4, np.inf], "nearest": [0.3, 2.0], "furthest": [0.6, np.inf],
        "value": [108.0, np.nan], "change": [0.08, np.nan], "simulated": [True, False],
    }
)  # fmt: skip

SOBOL = pd.DataFrame(
    {"factor": ["a", "b"], "first": [0.7, 0.2], "first_low": [0.6, 0.1], "first_high": [0.8, 0.3], "total": [0.8, 0.3],
     "total_low": [0.7, 0.2], "total_high": [0.9, 0.4]}
)  # fmt: skip
MORRIS = pd.DataFrame(
    {
        "factor": ["a", "b"],
        "mu_star": [0.7, 0.2],
        "mu_star_half_width": [0.1, 0.1],
        "mu": [0.7, -0.2],
        "sigma": [0.1, 0.1],
    }
)


def test_a_tornado_has_noise_and_inputs_as_bars_of_their_own() -> None:
    inputs = InputUncertainty(0.02, 0.025, 20, "workstation", ("forced", 400))
    ax = bars.plot(_study("tornado", TORNADO, inputs=inputs), "tornado")
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels[0] == "workload.rate\n80/s to 120/s"
    assert labels[-2:] == ["noise between\nreplications", "calibration\n'workstation'"]
    assert ax.get_xlabel() == "change of request to answer, 99 % (2pc / saga) [%]"


def test_flips_are_ranked_and_the_title_names_the_assumption() -> None:
    study = _study("tornado", TORNADO, flips=FLIPS)
    assert study.caption == "2pc wins, unless workload.rate is +8 % off (108/s)"
    ax = bars.plot(study, "flips")
    assert ax.get_title(loc="left").replace("\n", " ") == study.caption
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "workload.rate\nflips at 108/s",
        "hub.log.forced_write",
    ]
    assert [one.get_text() for one in ax.texts if one.get_gid() != canvas.SUBTITLE] == [
        "+8 %",
        "no flip within 3 times",
    ]


def test_indices_and_effects_have_the_noise_below() -> None:
    ax = bars.plot(_study("sobol", SOBOL, answer=None), "sobol")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b", "noise between\nreplications"]
    assert ax.get_title(loc="left").replace("\n", " ") == "a explains 80 % of the variance, interactions included"
    ax = bars.plot(_study("morris", MORRIS, answer=None), "morris")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b", "noise between\nreplications"]


def test_a_picture_that_a_study_does_not_have_is_refused() -> None:
    with pytest.raises(ScenarioError, match="has no flips: they need two strategies"):
        bars.plot(_study("tornado", TORNADO), "flips")
    with pytest.raises(ScenarioError, match="has no picture 'sobol'; its method is 'tornado'"):
        bars.plot(_study("tornado", TORNADO), "sobol")
