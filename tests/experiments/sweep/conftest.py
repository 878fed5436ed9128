from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import simtx

OVER = {"workload.rate": [100, 200]}


class Counted:
    """Counts the runs that are really played; `then` is called with how many they are."""

    def __init__(self, then: Callable[[int], object] = lambda _: None) -> None:
        self.rows: list[tuple[int, str, int]] = []
        self.then = then

    def __call__(self, row: Any, _outcome: Any) -> None:
        self.rows.append((row.cell, row.strategy, row.replication))
        self.then(len(self.rows))


@pytest.fixture(scope="session")
def tiny() -> simtx.Scenario:
    """Few enough transactions for a run in a twentieth of a second."""
    return simtx.load("transfer").replace(**{"run.transactions": 60, "run.warmup": "0.05s"})


@pytest.fixture(scope="session")
def counted() -> type[Counted]:
    return Counted


@pytest.fixture(scope="session")
def play() -> Callable[..., simtx.Sweep]:
    """A sweep of eight runs in this process, unless told otherwise."""

    def played(scenario: simtx.Scenario, store: Path, on_result: Any = None, **options: Any) -> simtx.Sweep:
        given: dict[str, Any] = {"over": OVER, "strategies": ["2pc", "outbox"], "replications": 2, "executor": "serial"}
        return simtx.sweep(scenario, store=store, on_result=on_result, **{**given, **options})

    return played


@pytest.fixture(scope="session")
def whole(
    tiny: simtx.Scenario, play: Callable[..., simtx.Sweep], tmp_path_factory: pytest.TempPathFactory
) -> simtx.Sweep:
    """The sweep of eight runs, uninterrupted."""
    return play(tiny, tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="session")
def same() -> Callable[[simtx.Sweep, simtx.Sweep], None]:
    """Equal to the last byte."""

    def check(ours: simtx.Sweep, theirs: simtx.Sweep) -> None:
        assert ours.frame.to_csv(index=False) == theirs.frame.to_csv(index=False)
        assert ours.frame.to_parquet() == theirs.frame.to_parquet()

    return check
