"""A validation says what was predicted and what was measured, keeps the raw runs, and judges by its targets."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pytest

import simtx
from simtx.errors import ScenarioError
from simtx.event_log.log import EventLog
from simtx.validation.validate import FAILURE, INSIDE, METRICS, SATURATION, validate


def every_figure_is_there_with_both_intervals(small: simtx.Validation) -> None:
    frame = small.frame
    assert list(dict.fromkeys(frame["point"])) == ["0.3", FAILURE]
    for _, rows in frame.groupby("point"):
        assert list(rows["metric"]) == list(METRICS)
    assert frame[["predicted", "measured"]].notna().all().all()
    assert (frame["predicted_low"] <= frame["predicted"]).all()
    assert (frame["measured_high"] >= frame["measured"]).all()
    errors = frame["predicted"] / frame["measured"] - 1
    finite = frame["measured"] != 0
    assert frame["error"][finite].tolist() == pytest.approx(
        errors[finite].tolist(), nan_ok=True
    )  # infinite on both sides


def predictions_are_of_the_size_of_what_is_measured(small: simtx.Validation) -> None:
    """Whatever this machine is busy with: a latency that is predicted 25 ms of work, twice, in parallel is not off by half."""
    rows = small.frame[(small.frame["point"] == "0.3") & (small.frame["metric"] == "latency_mean_ms")]
    assert rows["measured"].item() > 25
    assert abs(rows["error"].item()) < 0.5


def both_sides_have_met_the_same_transactions(small: simtx.Validation) -> None:
    """The same refusals on both sides where nothing fails, up to one transaction at the very edge of the warm-up."""
    rows = small.frame[(small.frame["point"] == "0.3") & (small.frame["metric"] == "undone_share")]
    assert rows["predicted"].item() == pytest.approx(rows["measured"].item(), abs=1.01 / 60)


def a_killed_coordinator_shows_on_both_sides(small: simtx.Validation) -> None:
    """What is under way when the coordinator dies is aborted by presumption, predicted and measured."""
    undone = small.frame[small.frame["metric"] == "undone_share"].set_index("point")
    for side in ("predicted", "measured"):
        assert undone[side][FAILURE] > undone[side]["0.3"]


def targets_are_judged_as_they_are_meant(small: simtx.Validation) -> None:
    for row in small.frame.itertuples():
        if row.metric in INSIDE:
            inside = row.measured_low - 1e-9 <= row.predicted <= row.measured_high + 1e-9
            assert (row.target, row.met) == ("inside", inside)
        elif row.point == "0.3" and METRICS[row.metric][1] is not None:
            assert row.met == (abs(row.error) <= METRICS[row.metric][1])
        else:
            assert row.met is None or math.isnan(row.met)
    assert len(small.missed) == (small.frame["met"] == False).sum()  # noqa: E712
    assert small.ok == small.missed.empty


def raw_runs_are_kept(small: simtx.Validation) -> None:
    folder = small.folder
    assert folder is not None
    assert {path.name for path in folder.iterdir()} >= {
        "calibration.toml",
        "validation.csv",
        "0.3-0",
        "0.3-1",
        "failure-1",
        "calibration-0",
        "calibration-1",
        "calibration-2",
        "calibration-restart",
        "calibration-0.3.toml",
    }
    first, both = small.calibrations["0.3"].blocks["forced"], small.calibration.blocks["forced"]
    assert 2 * first.samples == pytest.approx(4 / 3 * both.samples, rel=0.1)  # two of three calibrations
    kept = pd.read_csv(folder / "validation.csv")
    assert kept["predicted"].tolist() == pytest.approx(small.frame["predicted"].tolist())
    assert small.provenance is not None
    assert set(kept["repeat_with"]) == {small.provenance.command}
    trace = EventLog.load(folder / "0.3-0" / "events.jsonl")
    summary = json.loads((folder / "0.3-0" / "summary.json").read_text())
    assert sum(event.kind == "reply" for event in trace) >= summary["transactions"]


def what_was_missed_and_what_is_left_out_is_said(small: simtx.Validation) -> None:
    text = small.table()
    assert "predicted beside measured: two-phase commit on transfer-lab, sqlite" in text
    assert "the model leaves out:" in text
    assert text.count("MISSED") == len(small.missed)


@pytest.mark.heavy
def test_one_load_and_a_failure_on_sqlite(tmp_path: Path, subtests: pytest.Subtests) -> None:
    """Laws of one short validation: a minute of real runs, and so made once."""
    small = validate(
        "transfer-lab", "2pc", loads=(0.3,), transactions=60, replications=2, saturation=False, folder=tmp_path
    )
    with pytest.raises(ScenarioError, match="holds a validation already; choose a new or empty folder"):
        validate("transfer-lab", "2pc", folder=tmp_path)
    for law in (
        every_figure_is_there_with_both_intervals,
        predictions_are_of_the_size_of_what_is_measured,
        both_sides_have_met_the_same_transactions,
        a_killed_coordinator_shows_on_both_sides,
        targets_are_judged_as_they_are_meant,
        raw_runs_are_kept,
        what_was_missed_and_what_is_left_out_is_said,
    ):
        with subtests.test(law.__name__):
            law(small)


def test_points_of_a_validation_are_loads_a_failure_and_saturation() -> None:
    from simtx.validation.validate import _points

    scenario = simtx.load("transfer-lab")
    points = dict(_points(scenario, simtx.Outbox(), (0.2, 0.6), 50.0, 100, failure=True, saturation=True))
    assert list(points) == ["0.2", "0.6", FAILURE, SATURATION]
    assert points["0.6"].workload.mean_rate() == pytest.approx(0.6 * 50)
    assert points[FAILURE].faults[0].node == "sender"  # an outbox has no hub to kill
    assert points[SATURATION].workload.users > 2 * 2


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (
            {"loads": (1.2,)},
            r"loads: must be a list of shares of saturation, numbers strictly between 0 and 1, not \(1.2,\)",
        ),
        ({"replications": 1}, "replications: must be a whole number from 2, not 1"),
        ({"store": "db2"}, "no store 'db2'"),
        ({"broker": "pigeon"}, "no broker 'pigeon'"),
        ({"folder": "/proc/nowhere"}, "cannot write"),
    ],
)
def test_wrong_input_is_refused_before_anything_runs(options: dict[str, object], problem: str) -> None:
    with pytest.raises(ScenarioError, match=problem):
        validate("transfer-lab", "saga", **options)  # type: ignore[arg-type]
