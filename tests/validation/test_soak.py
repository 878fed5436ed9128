"""The soak: nothing is violated while processes are killed and paused at random, and nothing is left running."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import simtx
from simtx.errors import ScenarioError
from simtx.metrics.run import Run
from simtx.validation.soak import Soak, settling, soak
from simtx.validation.transfers import busy
from tests.checker.mutants import ALL

PATIENCE = 300.0


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["2pc", pytest.param("outbox", marks=pytest.mark.heavy)])
def test_nothing_is_violated(strategy: str) -> None:
    for minutes in (1 / 20, 1 / 4, 1.0):  # longer, if the machine is so busy that hardly anything happens in the time
        result = soak(strategy, minutes=minutes, every=0.3, seed=3)
        assert result.ok, result.text
        if result.kinds["kill"] and result.kinds["pause"] and result.listening and result.outcomes["committed"]:
            break
    assert result.rounds >= 1
    assert result.transactions == sum(result.outcomes.values()) > 0
    assert result.outcomes["committed"] > 0, result.text
    assert result.kinds["kill"] >= 1, result.text
    assert sum(result.kinds.values()) >= 2, result.text
    assert 0 < len(result.listening) <= result.kinds["kill"]
    assert not any(result.losses.values())
    assert not result.interrupted
    assert "no violations" in result.text


@pytest.mark.slow
@pytest.mark.heavy
def test_a_seeded_defect_is_found() -> None:
    """A participant that rolls its prepared branch back when it is started again."""
    mutant = next(one for one in ALL if one.name == "rollback-on-recovery")
    for seed in range(2, 12):  # whether a kill strikes a prepared branch in one soak is chance
        result = soak(mutant.strategy, minutes=1 / 5, rate=40.0, every=0.2, seed=seed)
        if result.violations:
            break
    assert any(line.partition(": ")[2].startswith("effects") for line in result.violations), result.text


@pytest.mark.slow
def test_ctrl_c_shows_what_was_found_until_then_and_leaves_nothing_running() -> None:
    command = [sys.executable, "-m", "simtx", "soak", "outbox", "--minutes", "5", "--json"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        deadline = time.monotonic() + PATIENCE
        while len(children := descendants(process.pid)) < 7 and time.monotonic() < deadline:
            assert process.poll() is None, process.communicate()
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 130
    result = json.loads(out)
    assert result["interrupted"] is True
    assert result["violations"] == []
    assert len(children) >= 7
    deadline = time.monotonic() + PATIENCE
    while left := [pid for pid in children if Path(f"/proc/{pid}/stat").exists()]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def descendants(parent: int) -> set[int]:
    """Processes that this one has started."""
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has ended
            if int(fields[1]) == parent:
                found.add(int(folder.name))
    return found


@pytest.mark.parametrize("bad", [{"minutes": 0.0}, {"minutes": -1.0}, {"minutes": 1.0, "rate": 0.0}])
def test_a_soak_of_nothing_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ScenarioError, match="give more than 0"):
        soak("2pc", **bad)


def with_times(run: Run, **columns: list[float]) -> Run:
    return Run(run.scenario, run.strategy, 1, 0, replace(run.data, columns={**run.data.columns, **columns}), run.trace)


def test_a_kill_is_over_when_the_last_transaction_that_was_open_is_settled() -> None:
    nan = float("nan")
    run = with_times(
        simtx.simulate(busy(20.0, 1.0), "2pc"),
        arrival_s=[0.0, 1.0, 1.5, 3.0],
        answered_s=[0.5, 2.5, nan, 3.5],
        last_effect_s=[0.6, 2.0, 2.25, nan],
    )
    assert settling(run, [0.55]) == pytest.approx([0.05])
    assert settling(run, [1.75]) == pytest.approx([0.75])  # the answer of the second, later than all effects
    assert settling(run, [2.75, 4.0]) == []  # nothing was open
    assert settling(run, [3.25]) == pytest.approx([0.25])


def test_the_summary_tells_faults_by_kind_and_process() -> None:
    result = Soak(
        "2pc",
        "sqlite",
        "",
        1,
        rounds=2,
        transactions=10,
        outcomes=Counter(committed=9, lost=1),
        faults=Counter({("kill", "payer"): 2, ("kill", "fees"): 1, ("pause", "payer"): 1}),
        listening=[0.1, 0.2, 0.3],
        interrupted=True,
    )
    assert result.kinds == {"kill": 3, "pause": 1}
    assert "faults: kill 3 (fees 1, payer 2); pause 1 (payer 1)" in result.text
    assert "transactions: 10 (9 committed, 1 lost)" in result.text
    assert "p50 200 ms" in result.text
    assert "interrupted" in result.text
    assert result.as_dict()["faults"] == {"kill": {"fees": 1, "payer": 2}, "pause": {"payer": 1}}
