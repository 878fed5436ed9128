"""A figure that is asked for by a wrong name says which one was meant."""

from __future__ import annotations

import pickle

import pandas as pd
import pytest

import simtx
from simtx.metrics.figures import UnknownMetric


@pytest.fixture(scope="module")
def run() -> simtx.Run:
    return simtx.simulate(simtx.load("transfer").replace(**{"run.transactions": 20, "run.warmup": "0s"}), "saga")


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("p99", "metric: 'p99' is no metric; did you mean 'latency_p99_ms', "),
        ("latency_p99", "metric: 'latency_p99' is no metric; did you mean 'latency_p99_ms'?"),
        ("throughput", "metric: 'throughput' is no metric; did you mean 'throughput_per_s'"),
        ("colour", "metric: 'colour' is no metric; there are transactions, "),
    ],
)
def test_a_wrong_name_gets_the_nearest_one(run: simtx.Run, name: str, line: str) -> None:
    for error in (simtx.ScenarioError, KeyError, UnknownMetric):
        with pytest.raises(error) as caught:
            run.summary[name]
        assert str(caught.value).startswith(line)


def test_it_is_a_series_in_every_other_way(run: simtx.Run) -> None:
    summary = run.summary
    assert summary["latency_p50_ms"] == summary.loc["latency_p50_ms"] == dict(summary)["latency_p50_ms"]
    assert list(summary[["alerts", "events"]].index) == ["alerts", "events"]
    assert summary.get("p99") is None
    assert summary.get("p99", 7.0) == 7.0
    assert "p99" not in summary
    assert type(summary * 2) is pd.Series
    pd.testing.assert_series_equal(pickle.loads(pickle.dumps(summary)), summary)  # noqa: S301
