"""Drawn scenarios are wide and repeatable, a study goes on where it was interrupted, and its targets are judged as they are meant."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import simtx
from simtx.errors import ScenarioError
from simtx.event_log.log import EventLog, LogEntry
from simtx.protocols import strategy
from simtx.scenario.calibration import Block, Calibration, ProcessorTimes
from simtx.validation import validate_random as studied
from simtx.validation.calibrate import processor_times, within_legs
from simtx.validation.drawn import FAILURES, STRATEGIES, drawn, fault
from simtx.validation.validate import Executed, Work, decisive, error_of, restarts, to_kill, with_kills


def test_what_is_drawn_is_wide_repeatable_and_can_be_played() -> None:
    many = [drawn(number, 5) for number in range(30)]
    assert {one.strategy.name for one in many} == set(STRATEGIES)
    assert {one.failure for one in many} == {None, *FAILURES} - {"store-outage"}
    assert "store-outage" in {drawn(number, 5, "postgres").failure for number in range(30)}
    for number in range(17, 120, 20):
        assert (drawn(number, 5).failure == "broker-outage") == (number % 3 == 2)
    assert {len(one.scenario.services) for one in many} == {2, 3, 4, 5}
    loads = sorted(one.load for one in many)
    assert loads[0] < 0.3
    assert loads[-1] > 0.8
    assert all(0.2 <= load <= 0.97 for load in loads)
    for word in ("chain", "diamond", "hot keys", "refusing", "a pivot"):
        assert any(word in one.shape for one in many), word
    again = [drawn(number, 5) for number in range(30)]
    assert [one.scenario.fingerprint for one in again] == [one.scenario.fingerprint for one in many]
    assert drawn(3, 6).scenario.fingerprint != drawn(3, 5).scenario.fingerprint
    run = simtx.simulate(many[1].scenario, many[1].strategy, seed=1)
    assert float(run.summary["committed_share"]) > 0.5


@pytest.mark.parametrize("kind", FAILURES)
def test_each_failure_strikes(kind: str) -> None:
    one = drawn(2, 5)  # an outbox: the only one of the three that a broker's outage hits
    struck = one.scenario.replace(
        **{"faults": [fault(kind, one.scenario, 1.0, 3)], "run.duration": "4s", "run.transactions": None}
    )
    run = simtx.simulate(struck, one.strategy, seed=2)
    assert float(run.summary["faults"]) == 1


def calibration() -> Calibration:
    block = Block(100, (0.001, 0.002))
    names = ("link.client>hub", "link.hub>service", "link.service>hub", "local", "second-phase", "forced")
    return Calibration(
        "c", "2026-11-29", {"cores": "2"}, {}, dict.fromkeys(names, block), processor=ProcessorTimes(1e-4, 1e-4, 3e-4)
    )


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Real runs are replaced by simulated ones with other seeds; the names of those that were asked for."""
    asked: list[str] = []

    def execute(self: Work, scenario: Any, name: str, seed: int) -> Executed:
        asked.append(name)
        return Executed(simtx.simulate(calibration().apply(scenario), self.strategy, seed=seed + 500), name)

    monkeypatch.setattr(Work, "execute", execute)
    monkeypatch.setattr("simtx.validation.validate._SATURATED", 2.0)
    monkeypatch.setattr("simtx.validation.validate._WARMUP", 0.5)
    monkeypatch.setattr(studied, "_calibration", lambda study: calibration())
    return asked


def test_a_study_goes_on_where_it_was_interrupted(
    simulated: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: dict[str, Any] = {"transactions": 60, "replications": 2, "patience": 0, "seed": 9, "progress": False}
    whole = simtx.validate_random(2, folder=tmp_path / "whole", **given)
    execute, after = Work.execute, len(simulated) // 2

    def interrupted(self: Work, scenario: Any, name: str, seed: int) -> Any:
        if len(simulated) >= 3 * after:
            raise KeyboardInterrupt
        return execute(self, scenario, name, seed)

    monkeypatch.setattr(Work, "execute", interrupted)
    with pytest.raises(KeyboardInterrupt):
        simtx.validate_random(2, folder=tmp_path / "parts", **given)
    monkeypatch.setattr(Work, "execute", execute)
    before = len(simulated)
    parts = simtx.validate_random(2, folder=tmp_path / "parts", **given)
    assert len(simulated) - before < 2 * after  # the first scenario is not executed again
    pd.testing.assert_frame_equal(parts.frame, whole.frame)
    assert (tmp_path / "parts" / "random.csv").exists()
    assert "the scenarios, the worst first" in parts.table()
    with pytest.raises(ScenarioError, match=r"other settings \(seed = 9\)"):
        simtx.validate_random(2, folder=tmp_path / "parts", **(given | {"seed": 10}))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(ScenarioError, match="holds something else"):
        simtx.validate_random(2, folder=tmp_path / "other", **given)


def rows(
    number: int, error: float, *, disturbed: bool = False, metric: str = "latency_mean_ms", point: str = "load"
) -> dict[str, Any]:
    return {
        "number": number, "strategy": "2pc", "shape": "", "load": 0.5, "failure": "", "runs": 3, "disturbed": disturbed, "point": point,
        "metric": metric, "predicted": 1 + error, "measured": 1.0, "measured_low": 0.9, "measured_high": 1.1, "error": error,
        "error_low": error - 0.01, "error_high": error + 0.01,
    }  # fmt: skip


def validated(found: list[dict[str, Any]]) -> simtx.RandomValidation:
    return simtx.RandomValidation(pd.DataFrame(found), calibration(), 1, "sqlite", "embedded")


def judged(found: list[dict[str, Any]]) -> pd.Series[Any]:
    return validated(found).targets.iloc[0]


@pytest.mark.parametrize("worst", [0.5, 40.0])
def test_one_that_is_far_off_leaves_the_others_their_room(worst: float) -> None:
    """Errors of 3 and 10 % can be told apart in the picture, whatever the worst one is; the worst one is in it."""
    every = [
        rows(number, error, metric=metric, point=point)
        for metric, point in [(target.metric, target.where) for target in studied.TARGETS]
        for number, error in enumerate((0.03, -0.1, worst))
    ]
    ax = validated(every).plot()
    height = np.ptp(ax.get_window_extent().intervaly)
    small, large = (ax.transData.transform((0, 100 * error))[1] for error in (0.0, 0.1))
    assert large - small > 0.1 * height
    assert ax.get_ylim()[1] > 100 * worst
    plt.close(ax.figure)


def test_targets_are_met_in_nine_of_ten_and_never_far_off() -> None:
    good = [rows(number, 0.03 * (-1) ** number) for number in range(9)]
    one = judged([*good, rows(9, 0.12)])
    assert (one["met"], one["of"], one["ok"], one["worst_number"]) == (9, 10, True, 9)
    assert one["worst"] == pytest.approx(0.12)
    assert not judged([*good, rows(9, -0.16)])["ok"]  # beyond what may never be
    assert not judged([*good[:8], rows(8, 0.06), rows(9, 0.06)])["ok"]  # eight of ten
    apart = judged([*good, rows(9, 0.5, disturbed=True)])
    assert (apart["met"], apart["of"], apart["ok"]) == (9, 9, True)
    assert not judged([rows(0, 0.5, disturbed=True)])["ok"]  # nothing was shown


JUDGED = ("latency_mean_ms", "latency_p95_ms", "latency_p99_ms")


def test_more_runs_are_made_while_they_decide_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn_figures = iter([90.0, 110.0] * 30)
    monkeypatch.setattr(Work, "execute", lambda *_: Executed(None, ""))  # type: ignore[arg-type]
    monkeypatch.setattr("simtx.validation.validate.figures", lambda _: dict.fromkeys(JUDGED, next(drawn_figures)))
    work = Work(simtx.Saga(), "sqlite", "embedded", None, lambda *_: None)  # type: ignore[arg-type]
    scenario = simtx.load("transfer")

    def predict(seed: int) -> dict[str, float]:
        return dict.fromkeys(JUDGED, 100.0)

    found = work.measure(scenario, "x", 1, 2, 1000.0, predict)
    assert decisive(found.predicted, found.figures)
    assert not decisive(found.predicted[:-1], found.figures[:-1])
    assert len(found.figures) > 10
    assert work.measure(scenario, "x", 1, 3, 0.0, predict).seeds == [1, 2, 3]


def test_what_both_sides_share_decides_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seeds differ by a factor of three, and each prediction is 2 % off: three runs are enough."""
    lengths = {1: 40.0, 2: 90.0, 3: 120.0}
    monkeypatch.setattr(Work, "execute", lambda self, scenario, name, seed: Executed(seed, name))  # type: ignore[arg-type]
    monkeypatch.setattr("simtx.validation.validate.figures", lambda seed: dict.fromkeys(JUDGED, lengths[seed]))
    work = Work(simtx.Saga(), "sqlite", "embedded", None, lambda *_: None)  # type: ignore[arg-type]
    found = work.measure(
        simtx.load("transfer"), "x", 1, 3, 1000.0, lambda seed: dict.fromkeys(JUDGED, 1.02 * lengths[seed])
    )
    assert found.seeds == [1, 2, 3]
    off = error_of(found.predicted, found.figures, "latency_mean_ms")
    assert tuple(off[:3]) == pytest.approx((0.02, 0.02, 0.02))


def test_an_error_whose_interval_reaches_across_its_target_is_undecided() -> None:
    found = [
        rows(number, error) | {"error_low": error - half, "error_high": error + half}
        for number, (error, half) in enumerate(
            [(0.02, 0.02), (0.04, 0.02), (0.06, 0.02), (-0.06, 0.005), (-0.04, 0.2), (0.0, math.nan)]
        )
    ]
    one = judged(found)
    assert (one["met"], one["of"], one["undecided"]) == (4, 6, 4)


def test_processor_times_are_found_from_what_processes_have_used() -> None:
    entries: list[LogEntry] = []

    def add(kind: str, node: str, detail: str = "", count: int = 1, name: str = "") -> None:
        entries.extend(
            LogEntry(len(entries) + k, 1.0 + k * 5e-5, kind, node, k, None, "", "", name or node, detail)
            for k in range(count)
        )

    for node, events, sent, work, forced in (("hub", 200, 300, 0, 100), ("s0", 50, 60, 50, 0), ("s1", 65, 70, 50, 50)):
        add("receive", node, count=events)
        add("send", node, count=sent)
        add("transact", node, "action done", count=work)
        add("append", node, "forced", count=forced)
        add("append", node, "lazy", count=7)
        add("used", node, repr(2e-4 * events + 5e-5 * sent + 1.5e-3 * work + 4e-4 * forced))
    add("arrive", "client", count=40)
    add("used", "client", repr(40 * 2e-4))
    two_phase = SimpleNamespace(name="2pc", hub="hub")
    run: Any = SimpleNamespace(trace=EventLog(entries), strategy=two_phase)
    times = processor_times([run])
    assert times is not None
    assert dataclasses.astuple(times) == pytest.approx((2e-4, 5e-5, 1.5e-3, 4e-4, 0.0, 0.0, 0.0, 0.0))
    empty: Any = SimpleNamespace(trace=EventLog([]), strategy=two_phase)
    assert processor_times([empty]) is None

    length = max(entry.time for entry in entries)
    for node, work, forced in (("hub", 0, 100), ("s0", 50, 0), ("s1", 50, 50)):  # database servers
        add("used", node, repr(6e-4 * work + 3e-4 * forced + 0.02 * length), name=f"{node}.store")
    idle: Any = SimpleNamespace(trace=EventLog(entries), strategy=two_phase)
    times = processor_times([idle])
    assert times is not None
    assert times.transaction_aside > 6e-4  # too few kinds of servers to tell what they use all the time
    # Beside it an outbox with relays that poll and mark. Enough kinds of processes tell apart what is used all the time.
    entries = []
    for node, count in (("s0", 100), ("s1", 0)):
        add("deliver", node, count=50)
        add("transact", node, "action done", count=50)
        add("used", node, repr(50 * (2e-4 + 1.5e-3)))
        for _ in range(70):
            entries.append(LogEntry(len(entries), 2.0, "handle", node, -1, None, "", "", "poll", ""))
        add("publish", node, count=count)
        add("confirm", node, count=count)
        add("used", node, repr((70 + count) * 2e-4 + count * (7e-4 + 5e-5)), name=f"{node}.relay")
        add("used", node, repr(50 * 6e-4 + count * 9e-4 + 10 * 0.02), name=f"{node}.store")
    add("arrive", "client", count=60)
    add("used", "client", repr(60 * 2e-4))
    add("used", "broker", repr(100 * (2e-4 + 5e-5)))
    entries.append(LogEntry(len(entries), 10.0, "end", "", -1, None, "", "", "", ""))
    outbox: Any = SimpleNamespace(trace=EventLog(entries), strategy=SimpleNamespace(name="outbox", hub=None))
    times = processor_times([idle, outbox])
    assert times is not None
    assert dataclasses.astuple(times) == pytest.approx((2e-4, 5e-5, 1.5e-3, 4e-4, 0.0, 6e-4, 3e-4, 1.6e-3))


def test_no_processor_time_is_longer_than_its_leg() -> None:
    """A process also works for its own log, which a fit takes for work on the way."""
    known = {
        "link.hub>service": Block(50, (0.0005,)),
        "link.service>hub": Block(50, (0.0004,)),
        "local": Block(50, (0.0013,)),
        "second-phase": Block(50, (0.0012,)),
        "forced": Block(50, (0.001,)),
    }
    cut = within_legs(ProcessorTimes(6e-4, 1e-4, 2e-3, 5e-4), known)
    assert dataclasses.astuple(cut) == pytest.approx((3e-4, 1e-4, 6e-4, 5e-4, 3e-4, 1.4e-3, 0.0, 0.0))
    short = ProcessorTimes(1e-4, 1e-4, 1e-4, 1e-4)
    assert within_legs(short, known) == short
    assert within_legs(ProcessorTimes(6e-4, 1e-4, 2e-3, 5e-4), {}) == ProcessorTimes(6e-4, 1e-4, 2e-3, 5e-4)


def test_restarts_are_measured_by_role_and_applied_by_role() -> None:
    low = simtx.load("transfer-lab").replace(workload={"kind": "poisson", "rate": 10.0})
    assert to_kill(low, strategy("outbox"), "nats") == ["sender", "receiver"]
    assert to_kill(low, strategy("outbox"), "embedded") == ["sender", "receiver", "broker"]
    (first, second) = with_kills(low, ["broker"]).faults
    assert (first.kind, first.at, second.at) == ("broker-outage", 2.0, 6.0)
    killed = with_kills(low, to_kill(low, strategy("2pc"), "embedded"))
    assert [fault.node for fault in killed.faults] == 2 * ["hub", "sender", "receiver"]
    entries = []
    for at, kind, process, name, used in [
        (1.9, "fault", "hub", "crash", ""), (2.0, "crash", "coordinator", "", ""), (3.5, "restart", "coordinator", "", ""), (3.5, "used", "coordinator", "", "0.5"),
        (6.0, "crash", "sender", "", ""), (7.75, "restart", "sender", "", ""), (7.75, "used", "sender", "", "0.4"),
        (10.0, "crash", "receiver", "", ""), (11.65, "restart", "receiver", "", ""), (11.65, "used", "receiver", "", "0.4"),
        (10.0, "crash", "receiver.relay", "", ""), (13.0, "restart", "receiver.relay", "", ""), (13.0, "used", "receiver.relay", "", "0.3"),
        (14.0, "fault", "", "broker-outage", ""), (14.1, "crash", "broker", "", ""), (15.5, "restart", "broker", "", ""), (15.5, "used", "broker", "", "9"),
    ]:  # fmt: skip
        name = process if used else name  # noqa: PLW2901
        entries.append(LogEntry(len(entries), at, kind, process, -1, None, "fault", "", name, used or process))
    found = restarts(Executed(SimpleNamespace(trace=EventLog(entries)), "x"), strategy("2pc"))  # type: ignore[arg-type]
    assert {name: (block.samples, round(block.mean, 6)) for name, block in found.items()} == {
        "restart": (1, 0.625),  # from the blow on; and half of the pause between two attempts of the others to connect
        "restart.service": (2, 0.725),
        "restart.broker": (1, 0.525),
        "restart.processor": (4, 0.4),
    }
    known = dataclasses.replace(calibration(), blocks={**calibration().blocks, **found})
    assert Calibration.parse(known.toml(), "c.toml").blocks["restart.service"].samples == 2
    applied = known.apply(killed)
    (host,) = applied.hosts.values()
    assert host.restart == pytest.approx(0.4)  # which is no part of the downtime
    assert [round(one.duration.mean(), 6) for one in applied.faults] == 2 * [1.225, 1.325, 1.325]
    elsewhere = killed.replace(hosts={"m": {"nodes": ["hub"], "event": "1ms"}})
    assert [round(one.duration.mean(), 6) for one in known.apply(elsewhere).faults] == 2 * [1.225, 1.725, 1.725]
    (outage, _) = known.apply(with_kills(low, ["broker"])).faults
    assert round(outage.duration.mean(), 6) == 1.525
    old = dataclasses.replace(known, blocks={"restart": found["restart"]})
    assert [round(one.duration.mean(), 6) for one in old.apply(killed).faults] == 6 * [1.625]


def test_a_calibration_keeps_its_processor_times_and_takes_them_out_of_its_legs() -> None:
    kept = Calibration.parse(calibration().toml(), "c.toml")
    assert kept.processor == ProcessorTimes(1e-4, 1e-4, 3e-4)
    applied = kept.apply(simtx.load("transfer-lab"))
    (host,) = applied.hosts.values()
    assert (host.cores, host.event, host.transaction) == (2, 1e-4, 3e-4)
    assert set(host.nodes) == {"sender", "receiver", "hub", "broker", "client"}
    assert applied.hub.log.forced_write.mean() == pytest.approx(0.0015)
    own = simtx.load("transfer-lab").replace(hosts={"m": {"nodes": ["hub"], "event": "9ms", "cores": 4}})
    (host,) = kept.apply(own).hosts.values()
    assert (host.cores, host.event) == (4, 1e-4)
    broken = calibration().toml().replace('event = "100 us"', 'event = "fast"')
    with pytest.raises(ScenarioError, match=r"c\.toml: 'processor'"):
        Calibration.parse(broken, "c.toml")
    assert math.isfinite(applied.hub.log.forced_write.mean())
