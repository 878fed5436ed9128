"""Pictures and tables of sweeps: what is drawn, where, with which words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

import simtx
from simtx import ScenarioError
from simtx.report import sweep_tables
from simtx.report.pictures import canvas

METRIC = "latency_p50_ms"


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> simtx.Sweep:
    scenario = simtx.load("transfer").replace(**{"run.transactions": 40, "run.warmup": 0})
    return simtx.sweep(
        scenario,
        {"workload.rate": [50, 100, 150], "rtt": ["2ms", "20ms"], "hub.log.flush": ["group", "serial"]},
        ["2pc", "outbox"],
        parameters={"rtt": {"network.latency": 0.5}},
        replications=2,
        executor="serial",
        store=tmp_path_factory.mktemp("results"),
    )


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    mpl.use("agg")
    yield
    plt.close("all")


def held(sweep: simtx.Sweep, **values: Any) -> dict[str, Any]:
    return {"rtt": "2ms", "hub.log.flush": "group", **values}


def test_lines_over_one_parameter_with_an_interval_at_each_point(sweep: simtx.Sweep) -> None:
    figure = sweep.plot(METRIC, at={"rtt": "2ms", "hub.log.flush": "group"})
    (ax,) = figure.axes
    assert ax.get_xlabel() == "workload.rate [1/s]"
    assert ax.get_ylabel() == "Request to answer, median [ms]"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["2pc", "outbox"]
    cells = [{"workload.rate": rate, "rtt": "2ms", "hub.log.flush": "group"} for rate in (50, 100, 150)]
    for container, strategy in zip(ax.containers, sweep.strategies, strict=True):
        line, _, (bars,) = container.lines
        intervals = [sweep.interval(cell, strategy, METRIC) for cell in cells]
        assert list(line.get_ydata()) == pytest.approx([one.mean for one in intervals])
        drawn = [(segment[0][1], segment[1][1]) for segment in bars.get_segments()]
        assert [end for pair in drawn for end in pair] == pytest.approx([end for one in intervals for end in one[1:3]])


def played(sweep: simtx.Sweep, monkeypatch: pytest.MonkeyPatch, ahead: dict[int, str]) -> None:
    """Figures in place of those of the runs: either strategy is lower in every other replication, and where one is ahead by far in all of them."""
    frame = sweep.frame
    turns = (frame["replication"] + (frame["strategy"] == "2pc")) % 2
    behind = [
        ahead.get(one.rate, one.strategy) != one.strategy
        for one in frame.rename(columns={"workload.rate": "rate"}).itertuples()
    ]
    frame[METRIC] = 10_000.0 + 100 * turns + 10_000 * np.array(behind)
    monkeypatch.setattr(sweep, "_frame", frame)


def headed(figure: Any) -> str:
    """What stands above a picture of several panels."""
    return " ".join(one.get_text() for one in figure.texts if one.get_gid() in (canvas.TITLE, canvas.SUBTITLE)).replace(
        "\n", " "
    )


def title(sweep: simtx.Sweep, metric: str = METRIC, **options: Any) -> str:
    return headed(sweep.plot(metric, **options))


@pytest.mark.parametrize(
    ("ahead", "finding"),
    [
        ({50: "2pc", 100: "2pc", 150: "2pc"}, "lowest with 2pc "),
        ({}, "not told apart "),
        ({50: "2pc", 150: "outbox"}, "lowest with 2pc at 50/s; not told apart at 100/s; lowest with outbox at 150/s "),
        ({50: "2pc", 100: "2pc"}, "lowest with 2pc up to 100/s; not told apart at 150/s "),
        ({50: "outbox", 100: "2pc", 150: "2pc"}, "lowest with outbox at 50/s, with 2pc from 100/s "),
    ],
)
def test_the_title_names_a_strategy_only_where_the_paired_runs_tell_it_from_the_others(
    sweep: simtx.Sweep, monkeypatch: pytest.MonkeyPatch, ahead: dict[int, str], finding: str
) -> None:
    more = sweep.extend([{"workload.rate": rate, "rtt": 0.02, "hub.log.flush": "group"} for rate in (50, 100, 150)], 6)
    played(more, monkeypatch, ahead)
    said = title(more, at=held(more, rtt="20ms"))
    assert said.startswith(f"Request to answer, median: {finding}")
    assert (
        "seed 1, 6 replications · bars are 95 % intervals · told apart by pairs of runs, 95 % for all 3 cells" in said
    )
    assert said.endswith("an answer means decided with 2pc, accepted with outbox")


def test_who_leads_in_each_cell_is_who_may_be_the_best(sweep: simtx.Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is shared among the cells and pairs, as in `best`; with one cell in the picture it has all of it."""
    metric = "decision_p50_ms"
    assert [list(one) for one in sweep.leading(metric)] == list(sweep.best(metric)["candidates"])
    frame = sweep.frame
    frame.loc[frame["strategy"] == "2pc", metric] = 1.0 + 0.001 * frame["replication"]
    frame.loc[frame["strategy"] == "outbox", metric] = 1.05  # two pairs: told apart at 95 %, and not at 99.6 %
    monkeypatch.setattr(sweep, "_frame", frame)
    assert list(sweep.leading(metric, [3])) == [("2pc",)]
    assert set(sweep.leading(metric)) == {("2pc", "outbox")}
    assert list(sweep.leading(metric, [3], better="higher")) == [("outbox",)]
    frame.loc[(frame["strategy"] == "outbox") & (frame["replication"] == 0), metric] = float("nan")
    assert list(sweep.leading(metric, [3])) == [("2pc", "outbox")]  # nobody knows what that run would have shown
    with pytest.raises(ScenarioError, match="did you mean 'decision_p50_ms'"):
        sweep.leading("decision_p5_ms")


def test_by_a_time_of_all_transactions_nobody_leads_who_commits_much_less(
    sweep: simtx.Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2PC is lowest everywhere, and at 150/s it is so since it aborts four in five."""
    more = sweep.extend([{"workload.rate": rate, "rtt": 0.02, "hub.log.flush": "group"} for rate in (50, 100, 150)], 6)
    frame = more.frame
    many = (frame["workload.rate"] == 150) & (frame["strategy"] == "2pc")
    frame["committed_share"] = np.where(many, 0.2, 0.95) + 0.001 * frame["replication"]
    for metric in ("decision_p99_ms", "decision_committed_p99_ms"):
        frame[metric] = np.where(frame["strategy"] == "2pc", 10.0, 20.0) + 0.01 * frame["replication"]
    monkeypatch.setattr(more, "_frame", frame)
    options = {"at": held(more, rtt="20ms")}
    said = title(more, "decision_p99_ms", **options)
    assert "lowest with 2pc up to 100/s; nobody ranked at 150/s" in said
    assert "ends early by aborting: 2pc in 1 of 3 cells" in said
    line = more.plot.lines("decision_p99_ms", **options).get_title(loc="left").replace("\n", " ")
    assert line.endswith("2pc in 1 of 3 cells")
    assert "99 %: lowest with 2pc transfer" in title(more, "decision_committed_p99_ms", **options)
    assert "lowest with 2pc in 8 of 12 cells; nobody ranked in 4; ends early by aborting: 2pc in 4 of" in title(
        more, "decision_p99_ms"
    )
    frame.loc[many, "committed_share"] = 0.94 + 0.02 * (frame["replication"] % 2)  # about as much as the other
    assert "nobody" not in title(more, "decision_p99_ms", **options)


def test_what_is_better_high_is_called_highest(sweep: simtx.Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = sweep.frame
    frame["throughput_per_s"] = np.where(frame["strategy"] == "outbox", 90.0, 80.0)
    monkeypatch.setattr(sweep, "_frame", frame)
    assert title(sweep, "throughput_per_s").partition(": ")[2].startswith("highest with outbox in all 12 cells")


def test_titles_fit_their_panels_and_ticks_are_numbers_in_full(
    sweep: simtx.Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    played(sweep, monkeypatch, {50: "2pc", 150: "outbox"})
    figure = sweep.plot(METRIC, x="rtt", panels="workload.rate", at={"hub.log.flush": "group"})
    figure.draw_without_rendering()
    for ax in figure.axes:
        words = ax._left_title.get_window_extent()
        assert words.x1 <= ax.get_window_extent().x1 + 0.2 * figure.dpi
    assert "10,000" in [text.get_text() for text in figure.axes[0].get_yticklabels()]


def test_heat_maps_over_two_parameters_one_a_strategy(sweep: simtx.Sweep) -> None:
    figure = sweep.plot(METRIC, at={"hub.log.flush": "serial"})
    maps = figure.axes[:2]
    assert [ax.get_title(loc="left") for ax in maps] == ["2pc", "outbox"]
    for ax, strategy in zip(maps, sweep.strategies, strict=True):
        shown = ax.images[0].get_array()
        for row, rtt in enumerate(("2ms", "20ms")):
            for column, rate in enumerate((50, 100, 150)):
                cell = {"workload.rate": rate, "rtt": rtt, "hub.log.flush": "serial"}
                assert shown[row, column] == pytest.approx(sweep.interval(cell, strategy, METRIC).mean)
        assert [text.get_text() for text in ax.get_xticklabels()] == ["50", "100", "150"]
    assert [text.get_text() for text in maps[0].get_yticklabels()] == ["2", "20"]  # in milliseconds
    assert maps[0].get_ylabel() == "rtt [ms]"


def test_small_multiples_over_three(sweep: simtx.Sweep) -> None:
    """Two rows of two maps; or, with an axis given, a panel of lines for each value of another parameter."""
    assert len([ax for ax in sweep.plot(METRIC).axes if ax.images]) == 4
    figure = sweep.plot(METRIC, x="rtt", panels="workload.rate", at={"hub.log.flush": "group"})
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    shown = [title.replace("\n", " ").partition(":")[0] for title in titles]
    assert shown == [f"workload.rate = {rate}/s" for rate in (50, 100, 150)]


def test_infinite_means_are_arrows_and_gaps_are_grey(sweep: simtx.Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = sweep.frame
    frame.loc[(frame["workload.rate"] == 150) & (frame["strategy"] == "2pc"), METRIC] = float("inf")
    monkeypatch.setattr(sweep, "_frame", frame)
    (ax,) = sweep.plot(METRIC, at={"rtt": "2ms", "hub.log.flush": "group"}).axes
    assert any(line.get_marker() == "$\\uparrow$" and len(line.get_xdata()) == 1 for line in ax.lines)
    maps = sweep.plot(METRIC, at={"hub.log.flush": "group"}).axes
    assert "∞" in [text.get_text() for text in maps[0].texts]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"metric": "latency"}, "'latency' is no metric; did you mean 'latency_p"),
        ({"x": "rate"}, "'rate' is no parameter"),
        ({"at": {"rtt": "3ms"}}, "no cell has rtt=3ms; there are 2, 20"),
        ({"at": {"rt": "3ms"}}, "'rt' is no parameter; did you mean 'rtt'?"),
        ({"strategies": ["outbo"]}, "'outbo' is no strategy of this sweep; did you mean 'outbox'?"),
    ],
)
def test_wrong_names_are_refused(sweep: simtx.Sweep, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        sweep.plot(**options)
    assert problem in str(caught.value)


def test_the_table_has_a_line_a_cell_with_units_and_intervals(sweep: simtx.Sweep, tmp_path: Path) -> None:
    text = sweep_tables.text(sweep, metrics=[METRIC])
    lines = text.splitlines()
    assert lines[0] == "Request to answer, median [ms]"
    assert lines[1].split() == ["workload.rate", "[1/s]", "rtt", "[ms]", "hub.log.flush", "2pc", "outbox"]
    assert len([line for line in lines if line.split()[:2] == ["50", "2"]]) == 2
    assert "mean [95 % confidence interval] over 2 runs of each strategy in each cell" in text
    assert "the first 3 of 12 cells" in sweep_tables.text(sweep, metrics=[METRIC], most=3)
    assert "<table>" in sweep._repr_html_()
    assert str(sweep).startswith("Request to answer, 99 % [ms]")


def test_a_censored_cell_says_how_long_its_own_runs_were_watched(
    sweep: simtx.Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = sweep.frame
    ours = (frame["workload.rate"] == 150) & (frame["strategy"] == "2pc")
    frame.loc[ours, METRIC] = float("inf")
    frame.loc[ours, "watched_ms"] = 7000.0
    frame.loc[~ours, "watched_ms"] = 1000.0
    monkeypatch.setattr(sweep, "_frame", frame)
    text = sweep_tables.text(sweep, metrics=[METRIC])
    assert "> 7 s [in 2 of 2 runs]" in text
    assert "> t: had not ended when the run ended" in text
    frame.loc[ours, "recovery_s"] = float("inf")
    assert "not over" in sweep_tables.text(sweep, metrics=["recovery_s"])
    assert "> t:" not in sweep_tables.text(sweep, metrics=["throughput_per_s"])


def test_a_sweep_says_where_it_comes_from_and_its_line_asks_for_the_same_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scenario = simtx.load("transfer").replace(**{"run.transactions": None, "run.duration": "5s", "run.warmup": "0s"})
    over = {"rtt": ["1ms", "9ms"], "workload.rate": [4, 8]}
    named = {"rtt": {"network.latency": 0.5}}
    sweep = simtx.sweep(scenario, over, ["2pc", "outbox"], parameters=named, replications=2, workers=1)
    shown = str(sweep)
    assert "an answer to the client means: 2pc decided, outbox only accepted" in shown
    assert "transfer with run.duration = 5s" in shown
    assert f"repeat with: {sweep.provenance.command}" in shown
    again = eval(sweep.provenance.command, {"simtx": simtx})  # noqa: S307 - the line of the table
    assert again.plan.new == 0
    assert again.frame.equals(sweep.frame)


def test_a_figure_that_is_a_configured_timeout_is_marked_in_title_table_and_decision(
    sweep: simtx.Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two-phase commit that waits for lost votes is as fast as its vote timeout, whatever the network does."""
    frame = sweep.frame
    waits = (frame["strategy"] == "2pc") & (frame["workload.rate"] == 100)
    timeout = 1e3 * sweep.scenario.policies.vote_timeout
    frame["latency_p99_ms"] = frame["latency_p99_ms"].mask(waits, timeout)
    monkeypatch.setattr(sweep, "_frame", frame)
    places = {(cell, "2pc"): "= vote_timeout" for cell in sweep.cells.index[sweep.cells["workload.rate"] == 100]}
    assert sweep.timeouts("latency_p99_ms") == places
    assert sweep.timeouts("latency_mean_ms") == {}
    said = title(sweep, "latency_p99_ms", x="workload.rate", at={"rtt": "2ms", "hub.log.flush": "group"})
    assert "a timeout, not speed: 2pc = vote_timeout in 1 of 3 cells" in said
    text = str(sweep)
    assert f"{timeout:,.0f} = vote_timeout" in text
    assert "the figure is that configured timeout" in text
