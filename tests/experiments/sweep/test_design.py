"""Designs: grids, tables, ranges; what cells change; and that a typing error is found before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from scipy.stats import qmc

import simtx
from simtx import Range, ScenarioError
from simtx.experiments.sweep.axes import column, parameters
from simtx.experiments.sweep.cells import cells
from simtx.experiments.sweep.design import design


def made(scenario: simtx.Scenario, over: Any, named: Mapping[str, Any] | None = None, **options: Any) -> list[Any]:
    names, listed = design(over)
    return cells(
        scenario, listed, parameters(names, named or {}, ["2pc", "outbox"]), options.get("window", "duration")
    )[0]


# --- designs ----------------------------------------------------------------------------------------------------------------------


def test_a_grid_has_every_combination_in_order() -> None:
    names, listed = design({"workload.rate": [50, 100], "network.latency": ["1ms", "5ms", "9ms"]})
    assert names == ["workload.rate", "network.latency"]
    assert [tuple(cell.values()) for cell in listed] == [(r, t) for r in (50, 100) for t in ("1ms", "5ms", "9ms")]


def test_a_table_is_taken_row_by_row(tmp_path: Path) -> None:
    """As a list of cells, a DataFrame, a CSV file: the same cells, with plain numbers."""
    rows = [{"workload.rate": 50, "network.latency": "1ms"}, {"workload.rate": 90, "network.latency": "7ms"}]
    pd.DataFrame(rows).to_csv(tmp_path / "cells.csv", index=False)
    assert design(rows) == design(pd.DataFrame(rows)) == design(tmp_path / "cells.csv") == (list(rows[0]), rows)
    assert all(type(cell["workload.rate"]) is int for cell in design(pd.DataFrame(rows))[1])


def test_the_first_points_of_a_sobol_design_stay_when_more_are_added() -> None:
    over = {"workload.rate": Range(50, 300), "network.latency": Range("1ms", "40ms", scale="log")}
    few, many = design(over, "sobol", 8)[1], design(over, "sobol", 21)[1]
    assert len(many) == 21
    assert many[:8] == few
    assert design(over, "sobol", 8, seed=2)[1] != few
    assert all(50 <= one["workload.rate"] <= 300 and 0.001 <= one["network.latency"] <= 0.04 for one in many)


@pytest.mark.parametrize("kind", ["sobol", "latin-hypercube"])
def test_a_design_fills_the_space_more_evenly_than_chance(kind: Any) -> None:
    """Discrepancy of 64 points in two dimensions: below a third of that of random points, which is about 0.01."""
    listed = design({"a": Range(0, 1), "b": Range(0, 1)}, kind, 64)[1]
    assert qmc.discrepancy([[cell["a"], cell["b"]] for cell in listed]) < 0.0035


def test_a_latin_hypercube_has_one_point_in_each_stratum() -> None:
    listed = design({"a": Range(0, 1), "b": Range(0, 1)}, "latin-hypercube", 16)[1]
    for name in ("a", "b"):
        assert sorted(int(16 * cell[name]) for cell in listed) == list(range(16))


def test_lists_and_whole_numbers_are_axes_of_any_design() -> None:
    listed = design({"a": ["x", "y"], "b": Range(1, 3, integer=True)}, "sobol", 64)[1]
    assert {(cell["a"], cell["b"]) for cell in listed} == {(a, b) for a in "xy" for b in (1, 2, 3)}
    assert len(listed) == 6  # each cell once


# --- what cells change --------------------------------------------------------------------------------------------------------------


def test_a_parameter_of_ones_own_sets_several_fields_by_factors(small: simtx.Scenario) -> None:
    named = {"rtt": {"network.latency": 0.5, "network.reorder_delay": 2}}
    cell = made(small, {"rtt": ["10ms"]}, named)[0]
    assert cell.changes == {"network.latency": 0.005, "network.reorder_delay": 0.02}
    assert cell.scenario(small) == small.replace(**{"network.latency": "5ms", "network.reorder_delay": "20ms"})


def test_a_higher_rate_does_not_shorten_the_measured_time(small: simtx.Scenario) -> None:
    """150 transactions at 150/s take a second: so long do they arrive at 600/s, too. On request their number stays."""
    held = [one.scenario(small) for one in made(small, {"workload.rate": [150, 600]})]
    assert [one.run.duration for one in held] == [1.0, 1.0]
    counted = [one.scenario(small) for one in made(small, {"workload.rate": [150, 600]}, window="transactions")]
    assert [one.run.transactions for one in counted] == [150, 150]
    by_time = small.replace(**{"run.duration": "3s"})
    assert [one.changes for one in made(by_time, {"workload.rate": [600]})] == [{"workload.rate": 600}]


def test_options_of_strategies_are_axes(small: simtx.Scenario) -> None:
    """Fields of the class and policies; every other strategy stays what it is."""
    cell = made(small, {"outbox:closing": [True], "outbox:poll_interval": ["7ms"], "outbox:backoff.base": ["3ms"]})[0]
    outbox = cell.strategy("outbox", simtx.Outbox(), small)
    assert outbox.closing is True
    assert outbox.policies.poll_interval == 0.007
    assert outbox.policies.backoff.base == 0.003
    assert outbox.policies.attempts == small.policies.attempts
    assert cell.strategy("2pc", simtx.TwoPhaseCommit(), small) == simtx.TwoPhaseCommit()


def test_values_become_numbers_in_units() -> None:
    assert column(["5ms", "2s"]) == ([0.005, 2.0], "s")
    assert column(["300/s", 20]) == ([300.0, 20.0], "1/s")
    assert column(["2%", 0]) == ([0.02, 0.0], "")
    assert column([1, 2]) == ([1, 2], "")
    assert column(["group", "serial"]) == (["group", "serial"], "")


# --- wrong input --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("over", "options", "problem"),
    [
        ({"workload.rat": [5]}, {}, "workload.rat: unknown key; did you mean 'rate'?"),
        ({"wrkload.rate": [5]}, {}, "over: wrkload.rate: is neither the path of a field"),
        ({"transaction.steps.debt.refusal": [0.1]}, {}, "there is no entry 'debt'; did you mean 'debit'?"),
        ({"workload.rate": [50, -1]}, {}, "cell workload.rate=-1: transfer.toml: workload.rate: -1 is negative"),
        ({"workload.rate": [50, 50]}, {}, "over: workload.rate: 50 is there twice"),
        ({"workload.rate": []}, {}, "over: workload.rate: has no values"),
        ({"workload.rate": 50}, {}, "over: workload.rate: 50 is no list of values, such as [50, 100]"),
        ({"workload.rate": iter([50])}, {}, "can be read only once; give a list"),
        ({"workload.rate": Range(5, 9)}, {}, "over: workload.rate: a grid needs a list of values"),
        (
            {"outbx:closing": [True]},
            {},
            "over: outbx:closing: there is no strategy 'outbx' in this sweep; did you mean 'outbox'?",
        ),
        (
            {"outbox:closng": [True]},
            {},
            "outbox:closng: strategy outbox has no option 'closng'; did you mean 'closing'?",
        ),
        ({"outbox:closing": ["maybe"]}, {}, "outbox:closing is 'maybe', but must be 'true' or 'false'"),
        ({"outbox:poll_interval": ["5 parsecs"]}, {}, "poll_interval: '5 parsecs' has an unknown unit 'parsecs'"),
        (
            {"rtt": [1]},
            {"parameters": {"rt": ["network.latency"]}},
            "parameters: 'rt' gets no values; did you mean 'rtt'?",
        ),
        ({"rtt": [1]}, {"parameters": {"rtt": {"network.latency": -1}}}, "the factor of 'network.latency' is -1"),
        ({"rtt": ["x"]}, {"parameters": {"rtt": {"network.latency": 2}}}, "over: rtt: 'x' cannot be multiplied with 2"),
        (
            {"rtt": [1], "network.latency": [1]},
            {"parameters": {"rtt": ["network.latency"]}},
            "over: 'rtt' and 'network.latency' both set network.latency",
        ),
        ({"strategy": [1]}, {"parameters": {"strategy": ["workload.rate"]}}, "a parameter cannot be called 'strategy'"),
        ([{"workload.rate": 5}, {"workload.rat": 5}], {}, "every cell must have a value for the same parameters"),
        ([{"workload.rate": 5}, {"workload.rate": 5}], {}, "over: a cell is there twice"),
        ("no/such.csv", {}, "no/such.csv: there is no such file"),
        ({}, {"design": "sobo"}, "design: there is no design 'sobo'; did you mean 'sobol'?"),
        ({"workload.rate": Range(5, 9)}, {"design": "sobol"}, "points: must be a whole number from 1, not None"),
        ({"workload.rate": [5]}, {"points": 3}, "points: a grid has as many cells as its values make"),
        ({"workload.rate": [50]}, {"window": "time"}, "window: 'time' is neither 'duration' nor 'transactions'"),
        ({"run.warmup": ["2s"]}, {}, "cell run.warmup=2s: transfer.toml: run.warmup: 2 s is not shorter than the run"),
        ({}, {"replications": 0}, "replications: must be a whole number from 1, not 0"),
        ({}, {"seed": -1}, "seed"),
        ({}, {"strategies": ["sagas"]}, "did you mean 'saga'"),
        ({}, {"executor": "dask"}, "executor: 'dask' is neither 'serial' nor 'loky' nor the address of a scheduler"),
        ({}, {"name": "../up"}, "name: '../up' cannot be a part of names of files"),
        ({}, {"store": __file__}, "is a file, and no folder"),
        ({}, {"store": f"{__file__}/results", "dry_run": True}, "is a file, and no folder"),
        ({}, {"executor": "dask", "dry_run": True}, "executor: 'dask' is neither"),
        ({}, {"executor": 3}, "executor: a int is no concurrent.futures.Executor"),
    ],
)
def test_wrong_input_is_refused_before_anything_runs(
    small: simtx.Scenario, tmp_path: Path, over: Any, options: dict[str, Any], problem: str
) -> None:
    played: list[Any] = []
    given: dict[str, Any] = {
        "strategies": ["2pc", "outbox"],
        "replications": 1,
        "workers": 1,
        "store": tmp_path / "results",
        "on_result": lambda *one: played.append(one),
        **options,
    }
    with pytest.raises(ScenarioError) as caught:
        simtx.sweep(small, over, **given)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not played


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("workload.rate\n50,60\n", "a row has more values than there are columns"),
        ("workload.rate,workload.rate\n50,60\n", "a column is there twice"),
    ],
)
def test_a_table_is_read_as_it_stands_or_not_at_all(tmp_path: Path, text: str, problem: str) -> None:
    """Pandas takes the first value of a row that is too long for its name, and gives a second column of a name another one."""
    (tmp_path / "cells.csv").write_text(text)
    with pytest.raises(ScenarioError, match=problem):
        design(tmp_path / "cells.csv")
    (tmp_path / "cells.csv").write_text("workload.rate , network.latency\n50 , 1ms\n")
    assert design(tmp_path / "cells.csv")[0] == ["workload.rate", "network.latency"]


def test_too_many_cells_and_runs_are_refused_at_once(small: simtx.Scenario) -> None:
    with pytest.raises(ScenarioError, match="the grid has 2,000,000 cells"):
        simtx.sweep(small, {"workload.rate": range(1, 2001), "network.latency": range(1000)}, store=None)
    with pytest.raises(ScenarioError, match="2,000,000,000 runs are asked for; 10,000,000 is the most"):
        simtx.sweep(small, {"workload.rate": [50, 60]}, ["saga"], replications=10**9, store=None)


def test_a_range_needs_two_ends_of_one_kind() -> None:
    for low, high, problem in ((5, 5, "must be less"), ("5ms", 9, "same kind"), ("a", "b", "same kind")):
        with pytest.raises(ScenarioError, match=problem):
            Range(low, high)
    with pytest.raises(ScenarioError, match="ends above 0"):
        Range(0, 9, scale="log")
