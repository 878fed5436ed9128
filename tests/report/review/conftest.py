from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

import simtx
from simtx.experiments import Comparison, Result
from simtx.protocols import DualWrite, Outbox, Saga, TwoPhaseCommit

OBJECTS = {"2pc": TwoPhaseCommit(), "saga": Saga(), "outbox": Outbox(), "dual-write": DualWrite()}
Columns = Mapping[str, Mapping[str, Sequence[float]]]
REST = {"missing_effects": 0.0, "duplicate_effects": 0.0, "watched_ms": 30_000.0}


@pytest.fixture(scope="session")
def made() -> Callable[..., Comparison]:
    """Makes a comparison with these values: by strategy and metric, one a replication; what is not given is harmless."""

    def comparison(columns: Columns, **options: object) -> Comparison:
        results = []
        for name, metrics in columns.items():
            for number in range(len(next(iter(metrics.values())))):
                summary = REST | {metric: float(values[number]) for metric, values in metrics.items()}
                results.append(Result(name, number, summary, "", ""))
        objects = {name: OBJECTS[name] for name in columns}
        count = max(len(next(iter(metrics.values()))) for metrics in columns.values())
        scenario = simtx.load("transfer")
        return Comparison(scenario, objects, results, seed=1, replications=count, **options)  # type: ignore[arg-type]

    return comparison


@pytest.fixture
def draw() -> Callable[[float], list[float]]:
    """Twenty values around a mean, which have most of their noise in common."""
    rng = np.random.default_rng(1)
    shared = rng.lognormal(0, 0.1, 20)
    return lambda mean: [float(v) for v in mean * shared * rng.lognormal(0, 0.02, 20)]


@pytest.fixture(scope="session")
def crashed() -> Comparison:
    """A checkout of which a crash hits some; small, and real; two of the strategies are of one name."""
    fault = {"kind": "crash", "node": "payments", "at": "0.3s", "duration": "0.3s"}
    changes = {"run.transactions": 60, "run.warmup": "0.1s"}
    scenario = simtx.load("checkout").replace(**changes).replace(faults=[fault])
    strategies = ["2pc", "2pc:work=before", "saga", "outbox"]
    return simtx.compare(scenario, strategies, replications=3, workers=1, progress=False)


@pytest.fixture(scope="session")
def page(crashed: Comparison, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of it, with all pictures."""
    return crashed.report(tmp_path_factory.mktemp("report") / "review.html")
