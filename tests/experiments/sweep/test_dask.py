"""Sweeps on a Dask cluster: a real scheduler and two real worker processes, of which one is killed half-way."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import distributed
import pytest

import simtx
from simtx import ScenarioError
from simtx.protocols import Saga

Play = Callable[..., simtx.Sweep]


class Kills(Saga):
    """Kills whatever worker process plays it."""

    @property
    def name(self) -> str:
        return "kills"

    def machine(self, node: str, tx: int) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("unreachable")


class Notebook(Saga):
    """A strategy that no worker could import: it travels by value."""

    @property
    def name(self) -> str:
        return "notebook"


@pytest.fixture(scope="module")
def cluster() -> Iterator[distributed.LocalCluster]:
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    options = {"processes": True, "threads_per_worker": 1, "dashboard_address": ":0", "memory_limit": 0}
    with distributed.LocalCluster(n_workers=2, silence_logs=50, **options) as started:
        yield started


def test_a_worker_that_is_killed_half_way_changes_nothing(
    tiny: simtx.Scenario, tmp_path: Path, play: Play, counted: Any, same: Any, cluster: distributed.LocalCluster
) -> None:
    """The sweep goes on with the other one; every run is entered once; the frame is that of one process."""
    strategies = ["2pc", Notebook(), "outbox"]
    with distributed.Client(cluster) as client:
        workers = client.run(os.getpid)
        assert len(workers) == 2
        once = counted(lambda count: count == 4 and os.kill(next(iter(workers.values())), signal.SIGKILL))
        executor = client.get_executor()  # pure, as it is by default: equal calls would be computed once
        disturbed = play(tiny, tmp_path / "dask", once, strategies=strategies, executor=executor)
    assert not disturbed.stopped
    assert len(once.rows) == len(set(once.rows)) == 12
    same(disturbed, play(tiny, tmp_path / "serial", strategies=strategies))


@pytest.mark.heavy
def test_a_run_that_kills_its_workers_is_found_among_innocent_ones(
    tiny: simtx.Scenario, tmp_path: Path, play: Play
) -> None:
    """With no allowed failures Dask blames everything that a dying worker had; only the culprit is quarantined."""
    import dask

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    options = {"processes": True, "threads_per_worker": 1, "dashboard_address": ":0", "memory_limit": 0}
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        distributed.LocalCluster(n_workers=2, silence_logs=50, **options) as cluster,
    ):
        strategies = ["2pc", Kills(), "outbox"]
        address = cluster.scheduler_address
        result = play(
            tiny, tmp_path, strategies=strategies, executor=address, over={"workload.rate": [100]}, replications=1
        )
    assert list(result.frame["state"]) == ["done", "quarantined", "done"]


def test_a_scheduler_that_does_not_answer_is_one_line(tiny: simtx.Scenario, tmp_path: Path, play: Play) -> None:
    with pytest.raises(ScenarioError, match=r"tcp://127.0.0.1:9: no Dask scheduler answers there"):
        play(tiny, tmp_path, executor="tcp://127.0.0.1:9")
