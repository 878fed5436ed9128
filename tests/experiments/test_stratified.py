"""Rare faults: the figures of the strata, weighted, are those of average time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import simtx
from simtx.errors import ScenarioError
from simtx.experiments.stratified import simulate_strata
from simtx.metrics import censored
from simtx.scenario import Scenario

DURATIONS = st.lists(st.floats(0, 1e6) | st.just(math.inf), min_size=1, max_size=20)


def rare(**changes: object) -> Scenario:
    fault = {"kind": "crash", "node": "receiver", "every": "10min", "duration": "5s"}
    return simtx.load("transfer").replace(
        **{
            "run.transactions": None,
            "run.duration": "22s",
            "run.warmup": "2s",
            "run.stratify": True,
            "run.recovery": "20s",
            "workload.rate": "5/s",
            "faults": [fault],
            **changes,
        }
    )


@given(values=DURATIONS, level=st.floats(0.01, 0.99), data=st.data())
def test_a_weight_of_n_is_n_transactions(values, level, data):
    weights = data.draw(st.lists(st.integers(1, 5), min_size=len(values), max_size=len(values)))
    repeated = np.repeat(values, weights)
    assert censored.quantile(values, level, weights) == np.quantile(repeated, level, method="inverted_cdf")
    assert censored.share(values, weights) == pytest.approx(censored.share(repeated))
    assert censored.mean(values, weights) == pytest.approx(censored.mean(repeated), nan_ok=True)


def test_one_part_that_is_all_of_the_time_changes_nothing_but_the_kind_of_quantile():
    from simtx.experiments.stratified import weighted
    from simtx.scenario.strata import strata

    whole = strata(rare()).parts[0]
    run = simtx.simulate(whole.scenario, "saga")
    figures = weighted([whole], [run])
    plain = run.summary
    quantiles = [name for name in plain.index if "_p50_" in name or "_p90_" in name or "_p99_" in name]
    rest = plain.drop(quantiles)
    length = whole.weight
    for name, value in rest.items():
        scaled = (
            figures[name] if name in ("transactions", "events") or not _by_time(str(name)) else figures[name] / length
        )
        assert scaled == pytest.approx(value, nan_ok=True), name


def _by_time(name: str) -> bool:
    from simtx.experiments.stratified import COUNTED, TIME

    return name in TIME or name in COUNTED


@pytest.mark.heavy
@pytest.mark.slow
def test_weighted_figures_are_those_of_a_long_run_with_the_same_fault():
    """The long run takes 40 periods of the fault; its own scatter is estimated from the periods."""
    every = {"kind": "crash", "node": "receiver", "every": "195s", "duration": "5s"}
    long = rare(
        **{"run.stratify": None, "run.recovery": None, "run.duration": "8000s", "run.warmup": "0s", "faults": [every]}
    )
    short = rare(faults=[every])
    direct = simtx.simulate(long, "2pc")
    figures = [simulate_strata(short, "2pc", replication=number).summary for number in range(30)]
    periods = direct.transactions.groupby((direct.transactions["arrival_s"] // 200).astype(int))
    for name, scale, by_period in (
        ("latency_mean_ms", 1, periods["latency_ms"].mean()),
        ("retries_per_transaction", 1, periods["retries"].mean()),
        (
            "in_doubt_seconds",
            200 / 20,
            periods["in_doubt_ms"].sum() / 1e3,
        ),  # a period of 200 s, and the quiet run of 20 s
    ):
        ours = scale * np.array([one[name] for one in figures])
        error = math.hypot(ours.std(ddof=1) / math.sqrt(len(ours)), by_period.std(ddof=1) / math.sqrt(len(by_period)))
        assert abs(ours.mean() - by_period.mean()) < 3.5 * error, name
        assert error < 0.15 * by_period.mean(), f"{name}: the test would not see a wrong weight"


def test_every_metric_of_every_strategy_has_a_rule():
    """A metric that nobody has said how to weight is an error, so that a new one cannot be weighted wrongly in silence."""
    for strategy in ("2pc", "saga", "outbox", "dual-write"):
        result = simulate_strata(rare(), strategy)
        assert list(result.summary.index) == list(result.runs[0].summary.index)
        assert result.table.loc["weight", "crash of receiver"] == result.strata["crash of receiver"].weight


def test_a_comparison_plays_the_strata_and_says_the_weights():
    comparison = simtx.compare(rare(), ["2pc", "saga"], replications=2, workers=1)
    assert list(comparison.frame.groupby("strategy").size()) == [2, 2]
    assert comparison.frame["faults"].between(0, 1).all()
    (line,) = [note for note in comparison.warnings if "stratified" in note]
    assert "crash of receiver 7.438 %" in line
    assert "quiet 92.56 %" in line
    alone = simulate_strata(comparison.scenario, "saga", replication=1)
    row = comparison.frame.query("strategy == 'saga' and replication == 1").iloc[0]
    assert row["digest"] == alone.digest
    assert row["latency_p99_ms"] == alone.summary["latency_p99_ms"]


def test_what_is_not_stratified_is_refused():
    with pytest.raises(ScenarioError, match=r"simtx\.simulate plays"):
        simulate_strata("transfer", "saga")
