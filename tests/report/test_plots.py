"""Plots: axes with units, the mean and the interval where they belong, one look a strategy, no global state."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import matplotlib as mpl
import numpy as np
import pytest

mpl.use("agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.container import ErrorbarContainer

import simtx
from simtx.report import plots, style
from simtx.report.pictures import canvas
from tests.report.test_sweeps import headed


@pytest.fixture(scope="module")
def comparison(small: simtx.Scenario) -> simtx.Comparison:
    return simtx.compare(small, replications=3, workers=1)


@pytest.fixture(scope="module")
def runs(small: simtx.Scenario) -> list[simtx.Run]:
    return [simtx.simulate(small, name) for name in ("2pc", "outbox")]


@pytest.fixture(autouse=True)
def _no_figures_left() -> Iterator[None]:
    yield
    plt.close("all")


def _bars(ax: Axes) -> list[ErrorbarContainer]:
    return [one for one in ax.containers if isinstance(one, ErrorbarContainer)]


def _points(ax: Axes) -> list[tuple[float, float, str]]:
    """(x, y, colour) of every mark with an error bar."""
    lines = [one.lines[0] for one in _bars(ax)]
    return [
        (float(x), float(y), to_hex(line.get_color())) for line in lines for x, y in zip(*line.get_data(), strict=True)
    ]


def test_latency_shows_mean_and_interval_of_each_quantile(comparison: simtx.Comparison) -> None:
    ax = plots.latency(comparison)
    assert ax.get_ylabel() == "time since the request [ms]"
    drawn = {(round(y, 9), colour) for _, y, colour in _points(ax)}
    for name in comparison.strategies:
        for moment in ("latency", "decision", "settle"):
            for level in ("p50", "p99"):
                one = comparison.interval(name, f"{moment}_{level}_ms")
                assert (round(one.mean, 9), style.look(name).colour.lower()) in drawn
    segments = [segment for bar in _bars(ax) for line in bar.lines[2] for segment in line.get_segments()]
    one = comparison.interval("saga", "latency_p99_ms")
    assert any(np.allclose(segment[:, 1], [one.low, one.high]) for segment in segments)


def test_median_and_tail_stand_side_by_side_with_their_replications(comparison: simtx.Comparison) -> None:
    """So that no bar hides another; each replication is a dot."""
    ax = plots.latency(comparison)
    places = [x for x, _, _ in _points(ax)]
    assert len(places) == len({round(x, 6) for x in places})
    dots = [line for line in ax.get_lines() if line.get_marker() == "."]
    frame = comparison.frame
    values = frame.loc[frame["strategy"] == "saga", "latency_p99_ms"]
    assert any(np.array_equal(line.get_ydata(), values) for line in dots)
    assert "bars are 95 % intervals of the mean, dots are replications" in ax.get_xlabel()


def test_one_run_has_no_bars_no_dots_and_says_so(small: simtx.Scenario) -> None:
    figure = simtx.compare(small, ["2pc", "saga"], replications=1, workers=1).plot()
    assert "one run of each strategy: no intervals" in headed(figure)
    assert "bars" not in headed(figure)
    for ax in figure.axes:
        assert not [line for line in ax.get_lines() if line.get_marker() == "."]
        segments = [segment for bar in _bars(ax) for line in bar.lines[2] for segment in line.get_segments()]
        assert not any(np.isfinite(segment).all() and len(segment) for segment in segments)


def test_legend_says_what_an_answer_promises(comparison: simtx.Comparison) -> None:
    legend = plots.latency(comparison).get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [
        "2pc (answer = decided)",
        "saga (answer = decided)",
        "outbox (answer = only accepted)",
        "dual-write (answer = only accepted)",
    ]


def test_trade_off_places_each_strategy(comparison: simtx.Comparison) -> None:
    ax = plots.trade_off(comparison)
    assert ax.get_xlabel() == "median time until the outcome is final [ms]"
    assert ax.get_ylabel() == "median inconsistency window [ms]"
    expected = [
        (
            comparison.interval(name, "decision_p50_ms").mean,
            comparison.interval(name, "window_p50_ms").mean,
            style.look(name).colour.lower(),
        )
        for name in comparison.strategies
    ]
    assert _points(ax) == expected
    assert [text.get_text() for text in ax.texts if text.get_gid() != canvas.SUBTITLE] == comparison.strategies


def test_drift_is_in_the_unit_of_the_scenario(comparison: simtx.Comparison) -> None:
    ax = plots.drift(comparison)
    assert ax.get_ylabel() == "mean gross drift [EUR]"
    assert [y for _, y, _ in _points(ax)] == [
        comparison.interval(n, "drift_gross_mean").mean for n in comparison.strategies
    ]


def test_values_far_apart_get_a_logarithmic_axis(comparison: simtx.Comparison) -> None:
    """2PC and outbox differ by more than a factor of five in their windows; throughputs do not."""
    assert plots.trade_off(comparison).get_yscale() == "log"
    assert plots.throughput(comparison).get_yscale() == "linear"


def test_throughput_and_goodput_are_bars_from_zero(comparison: simtx.Comparison) -> None:
    ax = plots.throughput(comparison)
    assert ax.get_ylabel() == "transactions a second [1/s]"
    heights = {round(patch.get_height(), 9) for patch in ax.patches}
    for name in comparison.strategies:
        for metric in ("throughput_per_s", "goodput_per_s"):
            assert round(comparison.interval(name, metric).mean, 9) in heights
    assert ax.get_ylim()[0] == 0


def test_an_interval_that_reaches_below_zero_does_not_stretch_a_time_axis(small: simtx.Scenario) -> None:
    """Two replications have a factor of 12.7 for the interval; with one strategy the axis is linear."""
    ax = plots.latency(simtx.compare(small, ["2pc"], replications=2, workers=1))
    assert ax.get_yscale() == "linear"
    assert ax.get_ylim()[0] == 0


def test_without_a_conserved_quantity_the_drift_plot_says_so(small: simtx.Scenario) -> None:
    ax = plots.drift(simtx.compare(small.replace(invariants=[]), ["2pc", "saga"], replications=2, workers=1))
    assert "nothing to show: the scenario declares no conserved quantity" in [text.get_text() for text in ax.texts]
    assert list(ax.get_yticks()) == []


def test_no_name_is_printed_over_another_point() -> None:
    """Two points so near that the name of the left one would cover the right one: it goes to another side."""
    figure, ax = plt.subplots(figsize=(6, 4))
    xs, ys = [1.0, 1.1, 2.0], [1.0, 1.03, 2.0]
    ax.scatter(xs, ys)
    plots._name_points(ax, ["first strategy", "second", "third"], xs, ys)
    figure.canvas.draw()
    centres = ax.transData.transform(np.column_stack([xs, ys]))
    for text in ax.texts:
        box = text.get_window_extent()
        assert not any(box.contains(x, y) for x, y in centres), text.get_text()
    first, _, third = (text.get_window_extent() for text in ax.texts)
    assert first.y1 < centres[0][1]
    assert third.y0 > centres[2][1]


def test_overview_has_four_titled_plots_with_units(comparison: simtx.Comparison) -> None:
    figure = comparison.plot()
    assert len(figure.axes) == 4
    assert all(ax.get_title(loc="left") for ax in figure.axes)
    assert all("[" in ax.get_ylabel() or "per" in ax.get_ylabel() for ax in figure.axes)
    assert "seed 1, 3 replications" in headed(figure)


def test_distribution_is_that_of_the_measured_transactions(runs: list[simtx.Run]) -> None:
    """At each height of the curve as many nines of the transactions are quicker."""
    ax = plots.distribution(runs, column="decision_ms")
    assert ax.get_xlabel() == "time until the outcome is final [ms]"
    rows = runs[1].transactions
    values = np.sort(rows.loc[rows["measured"], "decision_ms"].to_numpy())
    line = max(
        (one for one in ax.get_lines() if one.get_color() == style.look("outbox").colour),
        key=lambda one: len(one.get_xdata()),
    )
    x, y = line.get_data()
    for level in (0.5, 0.9, 0.99):
        assert np.interp(-np.log10(1 - level), y, x) == pytest.approx(np.quantile(values, level), rel=0.02)
    assert {"50 %", "90 %", "99 %"} <= {ax.yaxis.get_major_formatter()(place) for place in ax.get_yticks()}


def test_answers_that_promise_different_things_have_an_axis_each(runs: list[simtx.Run]) -> None:
    ax = plots.distribution(runs, column="latency_ms")
    assert [part.get_title(loc="left") for part in ax.child_axes] == ["answer = decided", "answer = only accepted"]
    assert len(plots.distribution(runs, column="decision_ms").child_axes) == 0


def test_timeline_draws_the_samples_of_each_run(runs: list[simtx.Run]) -> None:
    ax = plots.timeline(runs)
    assert ax.get_xlabel() == "simulated time [s]"
    assert ax.get_ylabel() == "gross drift [EUR]"
    lines = {line.get_label(): line for line in ax.get_lines()}
    for run in runs:
        assert np.array_equal(lines[run.strategy.name].get_ydata(), run.timeline["drift_gross"])
        assert lines[run.strategy.name].get_color() == style.look(run.strategy.name).colour
    assert runs[0].plot().get_title(loc="left") == "Consistency drift over time: nothing is left at the end"


def test_the_legend_of_a_timeline_shows_the_very_colours(runs: list[simtx.Run]) -> None:
    """Also of a strategy whose curve lies on the axis, below the others."""
    legend = plots.timeline(runs).get_legend()
    assert legend is not None
    canvas = legend.figure.canvas
    canvas.draw()
    drawn = np.asarray(canvas.buffer_rgba())[::-1, :, :3]
    box = legend.get_window_extent()
    pixels = {tuple(pixel) for pixel in drawn[int(box.y0) : int(box.y1), int(box.x0) :].reshape(-1, 3)}
    for run in runs:
        colour = style.look(run.strategy.name).colour
        assert tuple(bytes.fromhex(colour[1:])) in pixels


@pytest.mark.parametrize("function", [plots.latency, plots.throughput, plots.drift, plots.damage, plots.trade_off])
def test_draws_into_given_axes_and_leaves_no_style_behind(function: object, comparison: simtx.Comparison) -> None:
    _, ax = plt.subplots()
    before = dict(mpl.rcParams)
    assert function(comparison, ax=ax) is ax  # type: ignore[operator]
    assert dict(mpl.rcParams) == before


def test_looks_are_all_different_and_the_same_in_every_process() -> None:
    names = ["2pc", "saga", "outbox", "dual-write", "mine", "yours", "theirs"]
    chosen = style.looks(names)
    assert len({(look.colour, look.marker) for look in chosen.values()}) == len(names)
    code = "from simtx.report import style; print(style.look('mine').colour)"
    for seed in ("1", "2"):
        printed = subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        )
        assert printed.stdout.strip() == style.look("mine").colour


def test_built_in_colours_are_okabe_and_itos() -> None:
    """Okabe and Ito 2008: blue, bluish green, orange, vermillion; far apart for every kind of colour vision."""
    assert [style.look(name).colour for name in ("2pc", "saga", "outbox", "dual-write")] == [
        "#0072B2",
        "#009E73",
        "#E69F00",
        "#D55E00",
    ]
