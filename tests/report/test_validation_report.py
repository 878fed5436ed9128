"""Validations for people: every figure with both intervals and its unit, misses by name, and what the model leaves out."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from html import escape
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

mpl.use("agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

import simtx
from simtx import ScenarioError
from simtx.protocols import strategy
from simtx.report import style
from simtx.report import validation as report
from simtx.scenario.calibration import Calibration
from simtx.validation.validate import LEFT_OUT, METRICS, Validation


@pytest.fixture(autouse=True)
def _no_figures_left() -> Iterator[None]:
    yield
    plt.close("all")


def _row(point: str, rate: float, metric: str, predicted: float, measured: float, **more: Any) -> dict[str, Any]:
    row = {
        "point": point,
        "rate": rate,
        "metric": metric,
        "predicted": predicted,
        "predicted_low": predicted - 2,
        "predicted_high": predicted + 2,
        "measured": measured,
        "measured_low": measured - 4,
        "measured_high": measured + 4,
        "error": predicted / measured - 1 if measured else math.inf if predicted else 0.0,
        "error_low": math.nan,
        "error_high": math.nan,
        "target": None,
        "met": None,
    }
    return row | more


ROWS = [
    _row("0.25", 17.0, "latency_mean_ms", 40, 50, target=0.05, met=False),
    _row("0.25", 17.0, "latency_p95_ms", 90, 92, target=0.1, met=True),
    _row("0.25", 17.0, "latency_p99_ms", 118, 120, target=0.1, met=True),
    _row("0.5", 34.0, "latency_mean_ms", 55, 54, target=0.05, met=True),
    _row("0.5", 34.0, "latency_p95_ms", 110, 100, target=0.1, met=True),
    _row("0.5", 34.0, "latency_p99_ms", 140, 141, target=0.1, met=True),
    _row("0.5", 34.0, "undone_share", 0.02, 0.01, predicted_low=0.01, measured_low=0.005, target="inside", met=False),
    _row("0.5", 34.0, "drift_gross_mean", 3, 0, target="inside", met=False),
    _row("failure", 27.0, "latency_mean_ms", 500, 480),
    _row("saturation", math.nan, "throughput_per_s", 68, 66, target=0.1, met=True),
]


def a_validation(rows: list[dict[str, Any]] = ROWS, name: str = "2pc", broker: str = "embedded") -> Validation:
    calibration = Calibration("a machine", "2026-01-01T00:00:00+00:00", machine={}, subject={}, blocks={})
    return Validation(
        simtx.load("transfer-lab"), strategy(name), "sqlite", broker, calibration, frame=pd.DataFrame(rows)
    )


# --- in letters ---------------------------------------------------------------------------------------------------------------


def test_text_has_each_figure_with_both_intervals_its_error_and_its_target() -> None:
    lines = [" ".join(line.split()) for line in a_validation().table().splitlines()]
    assert lines[0] == "predicted beside measured: two-phase commit on transfer-lab, sqlite"
    assert "latency, mean [ms] 40 ± 2 50 ± 4 −20.0 % 5 % MISSED" in lines
    assert "latency, p95 [ms] 110.0 ± 2 100.0 ± 4 +10.0 % 10 % met" in lines
    assert "aborted or compensated [%] 2 ± 1 1 ± 0.5 +100.0 % inside MISSED" in lines
    assert "latency, mean [ms] 500.0 ± 2 480.0 ± 4 +4.2 %" in lines
    assert "drift in flight, mean 3 ± 2 0 ± 4 - inside MISSED" in lines  # nothing measured: no relative error


def test_columns_stand_below_each_other_in_all_points() -> None:
    rows = [line for line in a_validation().table().splitlines() if "±" in line and not line.startswith(("mean", "-"))]
    assert len(rows) == len(ROWS)
    assert len({line.index("±", line.index("±") + 1) for line in rows if line.count("± 4") == 1}) == 1


def test_points_say_what_was_played() -> None:
    text = a_validation().table()
    assert "25 % of saturation: 17 transactions a second" in text
    assert "one node killed for a second, at 27 transactions a second" in text
    assert "saturation: as many transactions as its users can ask for" in text


def test_misses_are_listed_by_name_and_size_below_the_table() -> None:
    text = a_validation().table()
    _, _, closing = text.partition("3 targets missed:\n")
    assert closing.splitlines()[:3] == [
        "- 25 % of saturation: 17 transactions a second: latency, mean [ms]: 40 ± 2 against 50 ± 4, −20.0 % off, not within 5 %",
        "- 50 % of saturation: 34 transactions a second: aborted or compensated [%]: 2 ± 1 against 1 ± 0.5, +100.0 % off, not inside the measured interval",
        "- 50 % of saturation: 34 transactions a second: drift in flight, mean: 3 ± 2 against 0 ± 4, not inside the measured interval",
    ]
    assert "1 target missed:" in a_validation(ROWS[:1]).table()
    assert "every target is met" in a_validation(ROWS[1:3]).table()


def test_what_the_model_leaves_out_is_always_said() -> None:
    for rows in (ROWS, ROWS[1:3]):
        below = a_validation(rows).table().partition("the model leaves out:\n")[2].splitlines()
        assert below == [f"- {one}" for one in LEFT_OUT]


def test_the_broker_is_named_where_there_is_one() -> None:
    assert "outbox on transfer-lab, sqlite, nats" in a_validation(name="outbox", broker="nats").table()
    assert "nats" not in a_validation(name="saga", broker="nats").table()


def test_every_compared_figure_has_a_name_with_its_unit() -> None:
    assert set(report.LABELS) == set(METRICS)
    assert all(("[ms]" in name) == key.endswith("_ms") for key, name in report.LABELS.items())


def test_html_says_the_same_and_marks_what_was_missed() -> None:
    validation = a_validation()
    page = validation._repr_html_()
    assert page.count("<tr>") == len(ROWS) + 4  # a head for each point
    assert page.count("<b>MISSED</b>") == 3
    for line in (*report.missed(validation), *LEFT_OUT):
        assert f"<li>{escape(line)}</li>" in page
    assert "<td>40 ± 2</td><td>50 ± 4</td><td>−20.0 %</td>" in page


def test_html_escapes_names() -> None:
    validation = a_validation()
    validation.scenario = dataclasses.replace(validation.scenario, name="<script>")
    assert "<script>" not in validation._repr_html_()
    assert "&lt;script&gt;" in validation._repr_html_()


# --- as a picture -------------------------------------------------------------------------------------------------------------


def _measured(ax: Axes) -> ErrorbarContainer:
    (bars,) = (one for one in ax.containers if isinstance(one, ErrorbarContainer))
    return bars


def _loads(metric: str) -> list[dict[str, Any]]:
    return [row for row in ROWS if row["metric"] == metric and row["point"] in ("0.25", "0.5")]


def test_one_panel_a_figure_with_units_and_one_legend() -> None:
    figure = a_validation().plot()
    assert isinstance(figure, Figure)
    assert [ax.get_title(loc="left") for ax in figure.axes] == [
        "latency, mean [ms]",
        "latency, p95 [ms]",
        "latency, p99 [ms]",
    ]
    assert [ax.get_xlabel() for ax in figure.axes if ax.get_xlabel()] == [
        "transactions a second, and their share of the predicted saturation"
    ]
    assert figure.get_suptitle() == "Predicted and measured: two-phase commit on transfer-lab, sqlite"
    assert len(figure.legends) == 1


def test_panels_show_what_was_asked_for() -> None:
    figure = a_validation().plot(metrics=["latency_p99_ms"])
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["latency, p99 [ms]"]
    with pytest.raises(ScenarioError, match="there is no figure 'latency'; there are latency_mean_ms, "):
        a_validation().plot(metrics=["latency"])


@pytest.mark.parametrize("metric", ["latency_mean_ms", "latency_p95_ms", "latency_p99_ms"])
def test_points_and_bars_are_what_was_measured(metric: str) -> None:
    """One point a load, from the lower end of its interval to the upper one; failure and saturation are no loads."""
    points, _, (bars,) = _measured(report.panel(a_validation(), metric)).lines
    rows = _loads(metric)
    assert np.column_stack(points.get_data()).tolist() == [[row["rate"], row["measured"]] for row in rows]
    ends = [segment[:, 1].tolist() for segment in bars.get_segments()]
    assert ends == [[row["measured_low"], row["measured_high"]] for row in rows]


@pytest.mark.parametrize("metric", ["latency_mean_ms", "latency_p95_ms", "latency_p99_ms"])
def test_line_and_band_are_what_was_predicted(metric: str) -> None:
    ax = report.panel(a_validation(), metric)
    (line,) = (one for one in ax.lines if one.get_linestyle() == "-" and one.get_marker() == "None")
    rows = _loads(metric)
    drawn = dict(zip(*line.get_data(), strict=True))
    assert [drawn[row["rate"]] for row in rows] == [row["predicted"] for row in rows]
    assert to_hex(line.get_color()) == style.look("2pc").colour.lower()
    (band,) = (one for one in ax.collections if isinstance(one, PolyCollection))
    corners = {(float(x), float(y)) for x, y in band.get_paths()[0].vertices}
    assert {(row["rate"], row[f"predicted_{end}"]) for row in rows for end in ("low", "high")} <= corners


def test_loads_are_told_as_rates_and_as_shares_of_saturation() -> None:
    ax = report.panel(a_validation(), "latency_mean_ms")
    assert [text.get_text() for text in ax.get_xticklabels()] == ["17\n25 %", "34\n50 %"]


def test_errors_stand_at_their_loads_and_misses_do_not_depend_on_colour() -> None:
    texts = report.panel(a_validation(), "latency_mean_ms").texts
    assert [text.get_text() for text in texts] == ["−20.0 % ✗", "+1.9 %"]
    assert [text.xy[0] for text in texts] == [17.0, 34.0]
    assert [text.get_color() for text in texts] == [style.FAULT, style.FORCED]


def test_errors_stand_above_the_panel_and_below_its_title() -> None:
    """No bar reaches there, however wide its interval: here some go beyond both ends of the axis."""
    rows = [
        _row(point, rate, "latency_mean_ms", 50, 52, measured_low=-90, measured_high=900)
        for point, rate in (("0.3", 20.0), ("0.7", 47.0))
    ]
    ax = report.panel(a_validation(rows), "latency_mean_ms")
    ax.figure.canvas.draw()
    panel, title = ax.get_window_extent(), ax._left_title.get_window_extent()
    for text in ax.texts:
        place = text.get_window_extent()
        assert panel.y1 < place.y0 < place.y1 < title.y0


def test_shares_are_drawn_in_per_cent() -> None:
    points = _measured(report.panel(a_validation(), "undone_share")).lines[0]
    assert points.get_ydata().tolist() == [1.0]


def test_wide_intervals_do_not_flatten_the_rest() -> None:
    """Two runs can give an interval of ten times the mean; it runs out of the picture, and the points stay apart."""
    wide = [row | {"measured_low": -5000.0, "measured_high": 5000.0} for row in ROWS]
    bottom, top = report.panel(a_validation(wide), "latency_p95_ms").get_ylim()
    assert bottom == 0
    assert 110 < top <= 2 * 110


def test_a_single_load_shows_a_line_too() -> None:
    ax = report.panel(a_validation(ROWS[:3]), "latency_mean_ms")
    (line,) = (one for one in ax.lines if one.get_linestyle() == "-" and one.get_marker() == "None")
    first, *_, last = line.get_xdata()
    assert first < 17 < last


def test_without_loads_there_is_nothing_to_draw() -> None:
    with pytest.raises(ScenarioError, match="nothing to draw: the validation has no loads"):
        a_validation(ROWS[-2:]).plot()


def test_draws_into_given_axes_and_leaves_no_style_behind() -> None:
    before = dict(mpl.rcParams)
    _, ax = plt.subplots()
    assert report.panel(a_validation(), "latency_mean_ms", ax=ax) is ax
    a_validation().plot()
    assert dict(mpl.rcParams) == before
