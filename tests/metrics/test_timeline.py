"""A run over time until it is drained: what is sampled, how close, how faults and their recovery show, in every world."""

from __future__ import annotations

import math
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

mpl.use("agg")

import matplotlib.pyplot as plt

import simtx
from simtx.metrics import recovery, timeline
from simtx.metrics.run import Run
from simtx.metrics.rundata import Struck
from simtx.report import plots, tables
from tests.simulator.test_faults import FAULTS, world
from tests.simulator.worlds import STRATEGIES, chain


@pytest.fixture(scope="module")
def healed() -> dict[str, Run]:
    """`checkout` with payments away from 10 s to 20 s: what a user sees first of an outage."""
    fault = {"kind": "crash", "node": "payments", "at": "10s", "duration": "10s"}
    checkout = simtx.load("checkout").replace(faults=[fault])
    return {name: simtx.simulate(checkout, name, seed=1) for name in ("saga", "outbox")}


@pytest.mark.parametrize("name", ["saga", "outbox"])
@pytest.mark.sample(2)
def test_damage_that_heals_is_seen_to_heal(healed: dict[str, Run], name: str) -> None:
    """Tens of thousands of EUR are out of balance when the last transaction arrives; nothing is when the run is drained."""
    run = healed[name]
    samples = run.timeline
    last = samples[samples.time_s <= run.data.horizon].iloc[-1]
    assert last.drift_gross > 15_000
    assert samples.time_s.iloc[-1] == run.data.end > run.data.horizon + 5
    assert samples.drift_gross.iloc[-1] == samples.drift_net.iloc[-1] == run.summary.residual_divergence == 0
    assert (samples[["in_flight", "undecided", "in_doubt"]].iloc[-1] == 0).all()
    assert timeline.backlog(samples)[-1] == 0


def test_backlogs_of_relays_and_consumers_are_in_the_timeline(healed: dict[str, Run]) -> None:
    """The outbox's messages wait at the broker for a service that is away; a saga has neither relay nor broker."""
    samples = healed["outbox"].timeline
    away = samples[(samples.time_s > 11) & (samples.time_s < 20)]
    assert away.broker_payments.is_monotonic_increasing
    assert away.broker_payments.max() > 700
    assert samples.relay_orders.max() > 0
    assert not any(column.startswith(("relay_", "broker_")) for column in healed["saga"].timeline)


def test_a_message_that_waits_for_a_worker_waits_once(healed: dict[str, Run]) -> None:
    """The broker holds it until it is acknowledged, and the service has it in its queue: no more waits than is in flight, and nothing twice."""
    samples = healed["outbox"].timeline
    both = samples.broker_payments.to_numpy() + samples.queue_payments.to_numpy()
    assert both.max() > 1.5 * samples.in_flight.max()
    waiting = timeline.backlog(samples)
    assert waiting.max() < 1.2 * samples.in_flight.max()
    assert (waiting >= samples[["broker_payments", "queue_payments"]].max(axis=1)).all()
    one = pd.DataFrame(
        {
            "time_s": [0.0],
            "queue_a": [3.0],
            "lock_queue_a": [1.0],
            "broker_a": [5.0],
            "relay_a": [2.0],
            "queue_b": [7.0],
        }
    )
    assert timeline.backlog(one).tolist() == [5 + 2 + 7]


def test_recovery_is_counted_from_the_end_of_the_fault(healed: dict[str, Run]) -> None:
    """A consumer that is back works off what the broker has kept for it; the level before is that of normal operation."""
    for name, shortest in (("saga", 10), ("outbox", 5)):
        run = healed[name]
        (row,) = run.recovery.itertuples()
        assert (row.fault, row.kind, row.target, row.begin_s, row.end_s) == (0, "crash", "payments", 10, 20)
        assert row.watched_s == pytest.approx(run.data.end - 20)
        assert shortest < row.recovery_s < row.watched_s
        assert row.backlog_peak > 700 > 10 * row.backlog_before / 2
        assert row.drift_peak > 40_000
        assert run.summary.recovery_s == row.recovery_s
        assert run.summary.backlog_peak >= row.backlog_peak
        behind = run.timeline[run.timeline.time_s >= 20 + row.recovery_s]
        assert (behind.in_flight <= row.in_flight_before).iloc[0]
    assert "recovery after the worst fault" in tables.run_text(healed["saga"])


def test_what_did_not_recover_is_infinite_and_says_so() -> None:
    """A fault in force at the end, and one whose damage is for good."""
    for_ever = chain(
        3, faults=[{"kind": "crash", "node": "s1", "at": "1.5s", "duration": "5000.0s"}], run={"drain": 20.0}
    )
    run = simtx.simulate(for_ever, "saga")
    assert run.recovery.recovery_s.tolist() == run.recovery.end_s.tolist() == [math.inf]
    assert run.recovery.watched_s.tolist() == [0]
    assert run.summary.recovery_s == math.inf
    assert "not over" in tables.run_text(run)
    comparison = simtx.compare(for_ever, ["saga"], replications=2, workers=1)
    assert "not over [in 2 of 2 runs]" in str(comparison)
    quiet = simtx.simulate(chain(3), "saga")
    assert math.isnan(quiet.summary.recovery_s)
    assert quiet.recovery.empty


def test_recovery_of_a_hand_made_timeline() -> None:
    """Back when all three are; the level before is the highest of the samples before."""
    time = np.arange(10.0)
    samples = pd.DataFrame({"time_s": time, "drift_gross": 0.0, "in_flight": 1.0, "queue_a": 0.0, "relay_a": np.nan})
    samples.loc[1, "queue_a"] = 2
    samples.loc[3:6, "queue_a"] = [5, 9, 4, 2]
    samples.loc[4:7, "drift_gross"] = 30.0
    found = recovery.frame([Struck(0, "crash", "a", 2.5, 4.5), Struck(1, "crash", "b", 8.5)], samples, 9.0)
    first, second = found.itertuples()
    assert (first.backlog_before, first.backlog_peak, first.drift_peak) == (2, 9, 30)
    assert first.recovery_s == 8 - 4.5
    assert second.recovery_s == math.inf


def test_the_step_can_be_chosen() -> None:
    """Then it holds until the end; else it widens in a long drain."""
    scenario = chain(
        3, transactions=20, rate=10.0, faults=[{"kind": "partition", "a": ["s0"], "at": "0.5s", "duration": "1.0s"}]
    )
    fine = simtx.simulate(scenario.replace(**{"run.timeline_every": "50ms"}), "saga").timeline
    assert np.allclose(np.diff(fine.time_s)[:20], 0.05)
    coarse = simtx.simulate(scenario.replace(**{"run.timeline_every": "1s"}), "saga").timeline
    assert len(coarse) < len(fine) / 5
    with pytest.raises(simtx.ScenarioError, match=r"run\.timeline_every"):
        scenario.replace(**{"run.timeline_every": "0s"})
    long = chain(2, transactions=20, rate=10.0, run={"drain": 86400.0})
    stuck = [{"kind": "crash", "node": "s1", "at": "0.5s", "duration": "1000000.0s"}]
    day = simtx.simulate(long.replace(faults=stuck, **{"policies.backoff.cap": "3600.0s"}), "saga")
    assert day.data.end > 86400
    assert len(day.timeline) < 4000  # 86,400 s in steps of 10 ms would be 8.6 million
    assert day.summary.unsettled_share > 0.5


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: s.name)
def test_how_close_the_samples_are_changes_nothing_else(strategy: simtx.protocols.Strategy) -> None:
    scenario = world(FAULTS.values(), transactions=40)
    every = [simtx.simulate(scenario.replace(**{"run.timeline_every": step}), strategy) for step in ("10ms", "700ms")]
    assert every[0].digest == every[1].digest == simtx.simulate(scenario, strategy).digest


def test_what_nobody_remembers_is_not_in_flight() -> None:
    """A request that reached a dead node is lost: nobody works on it, so that it does not spoil the recovery."""
    sample = timeline.Timeline(["a"], broker=False)
    ledger: Any = type("L", (), {"gauges": [], "unsettled": 2, "undecided": 2})
    for now in (0.0, 1.0, 2.0):
        sample.add(now, ledger, 0, {}, whole=now == 2.0)
    assert sample.without([1.0, 2.0])[:, 3].tolist() == [2, 2, 0]
    assert sample.without([])[:, 4].tolist() == [2, 2, 2]


# --- pictures -----------------------------------------------------------------------------------------------------------------------


def test_the_picture_shows_faults_the_drain_and_what_is_left(healed: dict[str, Run]) -> None:
    ax = plots.timeline(list(healed.values()))
    texts = [text.get_text().strip() for text in ax.texts]
    assert {"crash of payments", "no more arrivals"} <= set(texts)
    assert texts.count("crash of payments") == 1
    assert texts.count("0 EUR") in (1, 2)  # said once of lines that end at one time
    assert ax.get_title(loc="left") == "Consistency drift over time: nothing is left at the end"
    assert ax.get_xlim()[1] >= max(run.data.end for run in healed.values())
    waiting = healed["outbox"].plot(column="backlog")
    assert waiting.get_title(loc="left").startswith("All that waits")
    with pytest.raises(KeyError, match="'drift' is no column; did you mean 'drift_net'"):
        plots.timeline(healed["saga"], column="drift")
    plt.close("all")


def test_a_picture_with_work_left_does_not_say_that_nothing_is_left() -> None:
    """No drift, since nothing was ever applied; yet every transaction is still under way."""
    fault = {"kind": "partition", "at": "0s", "duration": "1h", "a": ["hub"], "b": ["sender", "receiver"]}
    cut = simtx.load("transfer").replace(
        **{"run.duration": "1s", "run.warmup": "0s", "run.drain": "1s"}, faults=[fault]
    )
    run = simtx.simulate(cut, "saga")
    assert not run.timeline.drift_gross.any()
    title = plots.timeline(run).get_title(loc="left").replace("\n", " ")
    assert title.endswith(f"none at the end, but transactions in flight: saga {run.summary.in_flight_count:,.0f}")
    nobody = plots.distribution([run], column="latency_ms")
    assert "no transaction had ended when the run ended" in [
        text.get_text().replace("\n", " ") for text in nobody.texts
    ]
    with pytest.raises(simtx.ScenarioError, match="'latency' is no column; did you mean 'latency_ms'"):
        plots.distribution([run], column="latency")
    plt.close("all")


@pytest.mark.parametrize("drain", [0.1, 3.0])
def test_the_words_behind_the_last_arrival_stay_inside_the_picture(
    healed: dict[str, Run], drain: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However short that part is: they must not run into the legend beside it."""
    run = healed["saga"]
    monkeypatch.setattr(run.data, "horizon", run.data.end - drain)
    ax = plots.timeline(run)
    ax.figure.canvas.draw()
    words = next(text for text in ax.texts if text.get_text() == "no more arrivals")
    legend = ax.get_legend()
    assert legend is not None
    assert words.get_window_extent().x1 <= ax.get_window_extent().x1
    assert not words.get_window_extent().overlaps(legend.get_window_extent())
    plt.close("all")


def test_the_names_of_axes_fit() -> None:
    """The longest label of a timeline is no longer than its axis."""
    ax = plots.timeline(
        simtx.simulate(simtx.load("transfer").replace(**{"run.duration": "3s"}), "saga"), column="backlog"
    )
    ax.figure.canvas.draw()
    assert ax.yaxis.label.get_window_extent().y1 <= ax.figure.bbox.y1
    assert ax.yaxis.label.get_window_extent().y0 >= ax.get_window_extent().y0 - 20
    plt.close("all")


def test_damage_that_stays_is_in_the_title() -> None:
    fault = {"kind": "crash", "node": "receiver", "at": "0.5s", "duration": "1h"}
    cut = simtx.load("transfer").replace(
        **{"run.duration": "1s", "run.warmup": "0s", "run.drain": "2s"}, faults=[fault]
    )
    run = simtx.simulate(cut, "outbox")
    left = run.timeline.drift_gross.iloc[-1]
    assert left > 0
    assert f"left at the end: outbox {left:,.0f} EUR" in plots.timeline(run).get_title(loc="left").replace("\n", " ")
    plt.close("all")


def test_a_distribution_ends_below_one_where_something_has_not_ended() -> None:
    fault = {"kind": "partition", "at": "1s", "duration": "1h", "a": ["hub"], "b": ["receiver"]}
    cut = simtx.load("transfer").replace(
        **{"run.duration": "2s", "run.warmup": "0s", "run.drain": "3s"}, faults=[fault]
    )
    run = simtx.simulate(cut, "saga")
    ax = plots.distribution([run], column="latency_ms")
    highest = 1 - 10 ** -np.asarray(ax.get_lines()[0].get_ydata())[-1]
    assert highest == pytest.approx(1 - run.summary.unanswered_share, abs=2 / len(run.transactions))
    assert 0.2 < highest < 0.8
    assert any("had not ended" in text.get_text() for text in ax.texts)
    plt.close("all")


# --- executed for real ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_real_run_has_the_same_timeline() -> None:
    """Until it is drained, with its faults, the queues that its processes have seen, and recovery."""
    lab = simtx.load("transfer-lab").replace(**{"run.duration": None, "run.warmup": "0s", "run.transactions": 30})
    fault = {"kind": "crash", "node": "receiver", "at": "300ms", "duration": "500ms"}
    run = simtx.execute(lab.replace(faults=[fault]), "outbox")
    samples = run.timeline
    assert samples.time_s.iloc[-1] == run.data.end
    assert samples.in_flight.max() > 0
    assert samples.in_flight.iloc[-1] == samples.drift_gross.iloc[-1] == 0
    assert samples.relay_sender.max() > 0
    assert samples.queue_sender.notna().any()
    (row,) = run.recovery.itertuples()
    assert (row.kind, row.target) == ("crash", "receiver")
    assert row.end_s - row.begin_s > 0.4
    assert row.recovery_s < math.inf
