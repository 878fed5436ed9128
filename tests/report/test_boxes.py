"""Pictures of sweeps, frontiers and studies, whatever came of the runs: no text lies over another one, and none leaves the canvas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import matplotlib as mpl

mpl.use("agg")

import numpy as np
import pandas as pd
import pytest

import simtx
from simtx.experiments.frontier import Axis, Frontier, Plan, search
from tests.experiments.surfaces import World, wave
from tests.report.test_frontier_pictures import FLIPS, MORRIS, SOBOL, TORNADO, _study
from tests.report.test_pictures import CUT, FAULTS, LongName, checked, twelve

METRIC = "decision_p99_ms"
CASES = ("quiet", "faults", "one strategy", "one replication", "twelve", "nothing", "censored", "long")
PICTURES: dict[str, Callable[[simtx.Sweep], Any]] = {
    "lines": lambda sweep: sweep.plot.lines(METRIC, "workload.rate", at={"rtt": "2ms"}),
    "line": lambda sweep: sweep.plot(METRIC, at={"rtt": "2ms"}),
    "panels": lambda sweep: sweep.plot(METRIC, "workload.rate"),
    "heat maps": lambda sweep: sweep.plot(METRIC),
    "load": lambda sweep: sweep.plot.load(METRIC, at={"rtt": "2ms"}),
}


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], simtx.Sweep]:
    """A sweep for each case, made when it is asked for; of two of them the figures are put in."""
    folder, made = tmp_path_factory.mktemp("runs"), {}

    def play(case: str) -> simtx.Sweep:
        faults: list[dict[str, Any]] = FAULTS if case == "faults" else CUT if case == "censored" else []
        own = (
            [LongName(), "outbox"]
            if case == "long"
            else ["2pc"]
            if case == "one strategy"
            else ["2pc", "saga", "outbox"]
        )
        changes: dict[str, Any] = {"run.transactions": 24, "run.warmup": "0s", "run.drain": "1s", "faults": faults}
        sweep = simtx.sweep(
            simtx.load("checkout").replace(**changes),
            {"workload.rate": [40, 80], "rtt": ["2ms", "20ms"]},
            twelve() if case == "twelve" else own,
            parameters={"rtt": {"network.latency": 0.5}},
            replications=1 if case in ("one replication", "twelve") else 2,
            executor="serial",
            store=folder / case.replace(" ", "-"),
            progress=False,
        )
        if case == "nothing":
            figures = [name for name in sweep.metrics if name.endswith(("_ms", "_per_s", "_share"))]
            frame = sweep.frame  # a copy, so that nobody else changes a sweep
            frame[figures] = np.nan
            sweep._frame = frame
        return sweep

    def found(case: str) -> simtx.Sweep:
        if case not in made:
            made[case] = play(case)
        return made[case]

    return found


def some() -> list[Any]:
    """All pictures of all cases; in the quick suite the hard ones."""
    quick = {("lines", "long"), ("panels", "long"), ("heat maps", "long"), ("load", "long")}
    quick |= {("heat maps", "censored"), ("lines", "nothing"), ("line", "one strategy")}
    found = [(name, case) for name in PICTURES for case in CASES]
    return [pytest.param(*one, marks=() if one in quick else pytest.mark.heavy) for one in found]


@pytest.mark.parametrize(("name", "case"), some())
@pytest.mark.sample(2)
def test_texts_of_a_picture_of_a_sweep_neither_overlap_nor_leave_the_canvas(
    name: str, case: str, swept: Callable[[str], simtx.Sweep]
) -> None:
    checked(PICTURES[name](swept(case)))


WORLDS: dict[str, tuple[Any, tuple[Axis, ...]]] = {
    "map": (wave, (Axis("rtt", 1.0, 64.0, "ms", "log"), Axis("workload.rate", 0.0, 100.0, "/s"))),
    "curve": (lambda p: p[:, 0] - 0.5, (Axis("workload.rate", 0.0, 100.0, "/s"),)),
    "nobody wins": (lambda p: 0.0 * p[:, 0], (Axis("workload.rate", 0.0, 100.0, "/s"),)),
}


@pytest.mark.parametrize("name", ["map", "curve", pytest.param("nobody wins", marks=pytest.mark.heavy)])
def test_texts_of_a_frontier_neither_overlap_nor_leave_the_canvas(name: str) -> None:
    world, axes = WORLDS[name]
    state, surfaces = search(World(world), dimensions=len(axes), strategies=2, plan=Plan(60, 0.5))
    for first in ("2pc", LongName.name):
        checked(Frontier(axes, (first, "saga"), METRIC, state, surfaces).plot())


def test_texts_of_a_study_neither_overlap_nor_leave_the_canvas() -> None:
    many = pd.concat([TORNADO] * 6, ignore_index=True)
    many["factor"] = [
        f"{name}, number {place}, of a service with a long name" for place, name in enumerate(many["factor"])
    ]
    for method, table in (("tornado", TORNADO), ("tornado", many), ("morris", MORRIS), ("sobol", SOBOL)):
        more: dict[str, Any] = {} if method == "tornado" else {"answer": None}
        checked(_study(method, table, **more).plot())
    checked(_study("tornado", TORNADO, flips=FLIPS).plot.flips())
