"""Welch's picture: the average of replications, the stated warm-up, and where MSER-5 cuts."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib as mpl
import numpy as np
import pytest

mpl.use("agg")

import matplotlib.pyplot as plt

import simtx
from simtx import ScenarioError
from simtx.metrics.warmup import mser5
from simtx.report.welch import averaged, finding, moving_average, welch


@pytest.fixture(scope="module")
def runs(small: simtx.Scenario) -> list[simtx.Run]:
    return [simtx.simulate(small, "2pc", replication=number) for number in range(3)]


@pytest.fixture(autouse=True)
def _no_figures_left() -> Iterator[None]:
    yield
    plt.close("all")


def test_the_average_is_taken_transaction_by_transaction(runs: list[simtx.Run]) -> None:
    times, values = averaged(runs, "decision_ms")
    fifth = [run.transactions.loc[5, "decision_ms"] for run in runs]
    assert values[5] == pytest.approx(np.mean(fifth))
    assert len(times) == len(values) == min(len(run.transactions) for run in runs)


def test_a_moving_average_keeps_a_line_and_shrinks_at_the_ends() -> None:
    line = np.arange(20.0)
    assert moving_average(line, 4) == pytest.approx(line)
    assert moving_average(np.array([0.0, 3.0, 0.0]), 4) == pytest.approx([0, 1, 0])


def test_the_picture_names_its_finding(runs: list[simtx.Run]) -> None:
    ax = welch(runs)
    assert ax.get_ylabel() == "time until the outcome is final [ms]"
    labels = [text.get_text() for text in ax.get_legend().get_texts()]  # type: ignore[union-attr]
    assert labels[:2] == ["2pc, moving average", "stated warm-up, 0.1 s"]
    assert "mean of 3 replications" in ax.get_title(loc="left").replace("\n", " ")


def test_a_start_that_is_not_over_is_seen() -> None:
    """A series that rises for its first fifth: the cut lies there, after a warm-up of a tenth and before one of a half."""
    rng = np.random.default_rng(1)
    values = np.minimum(np.linspace(0, 50, 1_000), 10) + rng.normal(0, 0.5, 1_000)
    times = np.linspace(0, 10, 1_000)
    cut = mser5(values)
    assert finding(times, cut, 1.0) == "The start is not over when the measurement begins"
    assert finding(times, cut, 5.0) == "The start is over when the measurement begins"
    assert finding(times, mser5(np.linspace(0, 50, 1_000)), 5.0).startswith("No steady state")
    assert finding(times, None, 1.0) == "Too few transactions to see a start"


def test_wrong_input_is_refused(runs: list[simtx.Run], small: simtx.Scenario) -> None:
    with pytest.raises(ScenarioError, match="'p99' is no duration"):
        welch(runs, column="p99")
    with pytest.raises(ScenarioError, match="runs of one strategy"):
        welch([*runs, simtx.simulate(small, "saga")])
    with pytest.raises(ScenarioError, match=r"^runs: must be"):
        welch([])
