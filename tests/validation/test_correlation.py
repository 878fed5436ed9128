"""Correlations are found again in legs that were made with them, and a machine that stands still is noticed."""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import simtx
from simtx.errors import ScenarioError
from simtx.event_log.log import EventLog, LogEntry
from simtx.protocols import TwoPhaseCommit
from simtx.scenario import CommonMode
from simtx.scenario.calibration import Block, Calibration
from simtx.validation import validate as validation
from simtx.validation.blocks import Leg, legs
from simtx.validation.calibrate import measured
from simtx.validation.correlation import LEAST, common_mode
from simtx.validation.stalls import Stall, Watcher


def made(correlation: float, memory: float, n: int = 3000) -> dict[str, list[Leg]]:
    """Two commits at the same time and two a tenth of a second later, on two nodes, over and over."""
    rng = np.random.default_rng(5)
    share = 2 * math.sin(math.pi * correlation / 6)
    kept = math.exp(-0.1 / memory)
    found = []
    for number in range(n):
        factor = rng.standard_normal()
        for after in (0.0, 0.1):
            if after:
                factor = kept * factor + math.sqrt(1 - kept**2) * rng.standard_normal()
            for node in ("a", "b"):
                normal = math.sqrt(share) * factor + math.sqrt(1 - share) * rng.standard_normal()
                found.append(Leg(number + after, node, math.exp(normal)))
    return {"second-phase": found}


@pytest.mark.parametrize(("correlation", "memory"), [(0.5, 0.1), (0.3, 0.3)])
def test_what_was_put_in_is_found(correlation: float, memory: float) -> None:
    found = common_mode([made(correlation, memory)])
    assert found is not None
    assert found.links == 0.0
    assert found.writes == pytest.approx(correlation, abs=0.05)
    assert found.memory == pytest.approx(memory, rel=0.3)


def sharing(share: float, within: float, n: int = 1500) -> dict[str, list[Leg]]:
    """Pairs of commits of two nodes that begin up to a millisecond apart; a share of those within some time ends together, the others by themselves."""
    rng = np.random.default_rng(6)
    found = []
    for number in range(n):
        apart = 0.001 * rng.random()
        first, second = 0.005 * np.exp(0.5 * rng.standard_normal(2))
        if apart <= within and rng.random() < share:
            second = first - apart + 0.00005 * rng.random()
        found += [Leg(float(number), "a", first), Leg(number + apart, "b", second)]
    return {"second-phase": found}


def test_flushes_that_are_shared_are_found_by_their_ends() -> None:
    found = common_mode([sharing(0.6, 0.0004)])
    assert found is not None
    assert found.shared_flush == pytest.approx(0.6, abs=0.08)
    assert found.shared_flush_within == pytest.approx(0.0004, abs=0.00006)
    assert found.writes < 0.15  # what ends together counts for that, and not for the correlation
    independent = common_mode([sharing(0.0, 0.0004)])
    assert independent is None or independent.shared_flush < 0.05


def test_what_is_independent_or_rare_has_no_correlation() -> None:
    independent = common_mode([made(0.0, 0.1)])
    assert independent is None or independent.writes < 0.05
    assert common_mode([made(0.9, 0.1, n=LEAST // 2 - 1)]) is None
    assert common_mode([]) is None


def entry(
    number: int, at: float, kind: str, node: str, tx: int, cause: int | None = None, detail: str = ""
) -> LogEntry:
    return LogEntry(number, at, kind, node, tx, cause, "", "", "", detail)


def test_a_leg_that_had_to_wait_for_a_worker_is_left_out() -> None:
    """Two messages to a service with one worker: the second is begun when the first is done, which is no property of the link."""
    log = EventLog(
        [
            entry(0, 1.0, "send", "hub", 1),
            entry(1, 1.0, "send", "hub", 2),
            entry(2, 1.1, "receive", "a", 1, 0),
            entry(3, 1.1, "serve", "a", 1, None, "0.5"),
            entry(4, 1.2, "receive", "a", 2, 1),
            entry(5, 1.6, "free", "a", 1),
            entry(6, 1.6, "serve", "a", 2, None, "0.5"),
        ]
    )
    assert [leg.seconds for leg in legs(log, "hub")["link.hub>service"]] == pytest.approx([0.1, 0.6])
    assert [leg.seconds for leg in legs(log, "hub", workers={"a": 1})["link.hub>service"]] == pytest.approx([0.1])
    assert len(legs(log, "hub", workers={"a": 2})["link.hub>service"]) == 2


def test_legs_under_way_while_the_machine_stood_still_are_left_out() -> None:
    run = simtx.simulate("transfer-lab", "2pc", trace=True, seed=1)
    whole = measured(run)
    assert whole == legs(run.trace, "coordinator", since=2.0, workers={"sender": 2, "receiver": 2})
    spared = measured(run, [Stall(5.0, 0.5), Stall(7.0, 0.1)])
    for block, found in whole.items():
        apart = [
            leg
            for leg in found
            if (leg.begin >= 5.5 or leg.begin + leg.seconds <= 5.0)
            and (leg.begin >= 7.1 or leg.begin + leg.seconds <= 7.0)
        ]
        assert spared[block] == apart
        assert 0 < len(apart) < len(found)


def test_a_calibration_keeps_it_in_its_file_and_gives_it_to_a_scenario() -> None:
    common = CommonMode(0.25, 0.5, 0.08, 0.55, 0.0005)
    calibration = Calibration("c", "2026-11-23", {}, {}, {"forced": Block(1, (0.001,))}, common_mode=common)
    read = Calibration.parse(calibration.toml(), "c.toml")
    assert read == calibration
    assert read.apply(simtx.load("transfer-lab")).common_mode == common
    damaged = calibration.toml().replace("writes = 0.5", "writes = 5")
    with pytest.raises(ScenarioError, match=r"c\.toml: 'common_mode'.*from 0 to 1"):
        Calibration.parse(damaged, "c.toml")


def sleeps(process: int) -> int:
    """How often a process has gone to sleep by itself."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])


def target(link: Path) -> str:
    """What a link leads to; empty if it has gone since it was listed, as those of a process do that is just starting."""
    try:
        return str(link.readlink())
    except FileNotFoundError:
        return ""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGSTOP")
def test_a_machine_that_stands_still_is_noticed() -> None:
    with Watcher() as watcher:
        process = watcher._process
        assert process is not None
        files = Path(f"/proc/{process.pid}/fd")
        patience = time.monotonic() + 300
        while not any(int(file.name) > 2 and target(file).endswith("(deleted)") for file in files.iterdir()):
            assert time.monotonic() < patience  # it watches as soon as it has its file
            time.sleep(0.01)
        begin = time.monotonic()
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(0.3)
        os.kill(process.pid, signal.SIGCONT)
        slept = sleeps(process.pid)
        while sleeps(process.pid) < slept + 3:  # it has gone on, and written the stall down
            assert time.monotonic() < patience
            time.sleep(0.01)
        end = time.monotonic()
    assert watcher.longest(begin - 0.2, end) > 0.25
    assert watcher.forced_write(begin - 1000, begin - 900) != watcher.forced_write(begin - 1000, begin - 900)  # none
    assert watcher.longest(begin - 1000, begin - 900) == 0.0


def test_a_disturbed_run_is_repeated_and_the_least_disturbed_one_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    """The stalls are made up here; the runs are simulated ones, told apart by how many times there was one before."""
    stalls = iter([0.5, 0.2, 0.3, 0.01, 0.15, 0.02])
    runs: list[object] = []

    def execute(scenario: object, strategy: object, **options: object) -> object:
        runs.append(SimpleNamespace(data=SimpleNamespace(origin=10.0, horizon=5.0)))
        return runs[-1]

    class Made(Watcher):
        def __enter__(self) -> Made:
            return self

        def __exit__(self, *error: object) -> None:
            self.stalls = [Stall(9.0, 3.0), Stall(12.0, next(stalls))]  # the first one was before the run began

    monkeypatch.setattr(validation, "execute", execute)
    monkeypatch.setattr(validation, "Watcher", Made)
    monkeypatch.setattr(validation.Pace, "rest", lambda self: None)
    work = validation.Work(TwoPhaseCommit(), "sqlite", "embedded", None, lambda what, share: None)
    scenario = simtx.load("transfer-lab")
    first = work.execute(scenario, "x", 1)
    assert first.run is runs[1]
    assert first.stalls == [Stall(-1.0, 3.0), Stall(2.0, 0.2)]
    assert work.execute(scenario, "y", 1).run is runs[3]
    assert work.execute(scenario, "z", 1).run is runs[5]
    rows = [row[:2] + row[3:] for row in work.disturbed]
    assert rows == [("x", 0.5, True), ("x-again-1", 0.2, True), ("x-again-2", 0.3, False), ("z", 0.15, True)]


def test_runs_with_a_slow_disk_are_repeated_and_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the watcher's forced writes take is made up here: the second seed has a slow disk once, the third one always."""
    watched = {7: [1.0], 8: [2.0, 1.2], 9: [1.7, 1.8, 1.6], 10: [1.1]}
    asked: list[str] = []

    def execute(self: object, scenario: object, name: str, seed: int) -> validation.Executed:
        asked.append(name)
        taken = watched[seed].pop(0)
        return validation.Executed((seed, taken), name, 0.0, taken)  # type: ignore[arg-type]

    monkeypatch.setattr(validation.Work, "execute", execute)
    monkeypatch.setattr(validation, "figures", lambda run: {"seed": run[0], "taken": run[1]})
    monkeypatch.setattr(validation, "decisive", lambda predicted, measured: True)
    work = validation.Work(TwoPhaseCommit(), "sqlite", "embedded", None, lambda what, share: None)
    found = work.measure(simtx.load("transfer-lab"), "x", 7, 3, 0.0, lambda seed: {})
    assert asked == ["x-0", "x-1", "x-1-slow-1", "x-2", "x-2-slow-1", "x-2-slow-2", "x-3"]
    assert found.seeds == [7, 8, 10]
    assert [one["taken"] for one in found.figures] == [1.0, 1.2, 1.1]
    assert not found.disturbed
    assert [(run, round(slower, 2), again) for run, _, slower, again in work.disturbed] == [
        ("x-1", 2.0, True),
        ("x-2", 1.7, True),
        ("x-2", 1.7, True),
        ("x-2-slow-2", 1.6, False),
    ]


def test_a_run_that_stood_still_each_time_gives_its_place_to_another_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    stalls = iter([0.0, 0.5, 0.0, 0.0])
    monkeypatch.setattr(
        validation.Work,
        "execute",
        lambda self, scenario, name, seed: validation.Executed(seed, name, next(stalls), 1.0),
    )
    monkeypatch.setattr(validation, "figures", lambda run: {})
    monkeypatch.setattr(validation, "decisive", lambda predicted, measured: True)
    work = validation.Work(TwoPhaseCommit(), "sqlite", "embedded", None, lambda what, share: None)
    found = work.measure(simtx.load("transfer-lab"), "x", 4, 3, 0.0, lambda seed: {})
    assert (found.seeds, found.disturbed) == ([4, 6, 7], False)


def test_a_point_that_is_slow_but_for_one_run_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = iter([1.0] + [9.0] * 50)
    monkeypatch.setattr(
        validation.Work,
        "execute",
        lambda self, scenario, name, seed: validation.Executed(seed, name, 0.0, next(taken)),
    )
    monkeypatch.setattr(validation, "figures", lambda run: {})
    monkeypatch.setattr(validation, "decisive", lambda predicted, measured: True)
    work = validation.Work(TwoPhaseCommit(), "sqlite", "embedded", None, lambda what, share: None)
    found = work.measure(simtx.load("transfer-lab"), "x", 0, 3, 0.0, lambda seed: {})
    assert found.disturbed
    assert found.seeds == list(range(6))  # all of them: none is better than another


def test_a_run_waits_for_a_disk_that_is_as_fast_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = iter([1.0, 1.4, 2.0, 1.6, 1.2, 0.5, 1.0])
    slept: list[float] = []
    monkeypatch.setattr(validation, "idle_forced_write", lambda: next(taken))
    monkeypatch.setattr(time, "sleep", slept.append)
    pace = validation.Pace()
    for sleeps in (0, 0, 2, 2):
        pace.rest()
        assert len(slept) == sleeps
    assert pace.best == 0.5
    monkeypatch.setattr(validation, "_REST", 0.0)
    pace.rest()  # twice as slow as at its best, and no time is left
    assert next(taken, None) is None
