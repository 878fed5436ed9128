"""Tables: figures rounded by what is known, units, promises, and reasons for gaps."""

from __future__ import annotations

import math
import re

import pytest

import simtx
from simtx.metrics.intervals import Interval, interval
from simtx.report import catalogue, tables


@pytest.fixture(scope="module")
def comparison(small: simtx.Scenario) -> simtx.Comparison:
    return simtx.compare(small, replications=3, workers=1)


@pytest.mark.parametrize(
    ("mean", "half", "shown"),
    [
        (123.456, 0.789, ("123.46", "[122.67, 124.25]")),
        (123.456, 12.3, ("123", "[111, 136]")),
        (1234567.0, 8900.0, ("1,234,567", "[1,225,667, 1,243,467]")),
        (0.0123456, 0.00042, ("0.01235", "[0.01193, 0.01277]")),
        (8.0, 0.0, ("8", "")),
        (0.3333333, 0.0, ("0.3333", "")),
        (5.5, math.nan, ("5.500", "")),
        (math.nan, math.nan, ("–", "")),
    ],
)
def test_as_many_digits_as_the_interval_allows(mean: float, half: float, shown: tuple[str, str]) -> None:
    """Two significant digits of half the interval, and the mean to the same place."""
    assert catalogue.estimate(Interval(mean, mean - half, mean + half, 3)) == shown


def test_never_and_infinite_are_said_in_runs() -> None:
    """No anomaly in 30 runs is "at most 3 in 30", not 0 ± 0."""
    assert catalogue.estimate(interval([0] * 30, kind="count")) == ("0", "[≤ 3 in 30 runs]")
    assert catalogue.estimate(interval([1.0] * 20, kind="share"), 100) == ("100", "[≥ 17 in 20 runs]")
    censored = interval([5.0] * 17 + [math.inf] * 3, kind="positive")
    assert catalogue.estimate(censored, watched_ms=30_000) == ("> 30 s", "[in 3 of 20 runs]")
    assert catalogue.estimate(censored) == ("∞", "[in 3 of 20 runs]")


def test_every_metric_of_a_run_is_in_the_catalogue_or_a_mere_count(small: simtx.Scenario) -> None:
    names = set(simtx.simulate(small, "2pc").summary.index)
    uncounted = {"transactions", "events", "lazy_writes_per_transaction", "in_doubt_seconds"}
    assert names - set(catalogue.METRICS) - uncounted == {name for name in names if name.startswith("stale")}
    # Some need a provider, a broker with mechanisms of its own, and so on: they are in no other run.
    assert not [name for name, one in catalogue.METRICS.items() if name not in names and one.always]


def test_says_what_an_answer_promises(comparison: simtx.Comparison) -> None:
    line = next(line for line in str(comparison).splitlines() if line.startswith("an answer"))
    assert re.split(r"\s{2,}", line) == [tables.MEANS, "decided", "decided", "only accepted", "only accepted"]
    assert "only accept answer before the outcome is known" in str(comparison)
    assert comparison._repr_html_().count("<i>only accepted</i>") == 2


def test_columns_are_aligned(comparison: simtx.Comparison) -> None:
    """Every bracket of one strategy stands below the other."""
    places = [
        tuple(match.start() for match in re.finditer(r"(?<=[\d ]) \[(?=[\d≤≥-])", line))
        for line in str(comparison).splitlines()
        if line.startswith("  ")
    ]
    full = [one for one in places if len(one) == 4]
    assert len(full) > 15
    assert len(set(full)) == 1


def test_every_number_is_that_of_the_table(comparison: simtx.Comparison) -> None:
    one = comparison.interval("saga", "latency_p99_ms")
    row = next(row for row in tables.rows(comparison) if row.metric.name == "latency_p99_ms")
    assert row.cells[1] == (*catalogue.estimate(one), one)
    assert row.label == "request to answer, 99 % [ms]"


def test_drift_is_counted_in_the_unit_of_the_scenario(comparison: simtx.Comparison) -> None:
    assert "gross drift, time average [EUR]" in str(comparison)


def test_a_gap_has_a_reason(small: simtx.Scenario) -> None:
    """Without a conserved quantity there is no drift to show, and the table says why."""
    from dataclasses import replace

    without = replace(small, invariants=())
    text = str(simtx.compare(without, ["2pc", "saga"], replications=2, workers=1))
    assert re.search(r"gross drift, time average \[value\] +– +–", text)
    assert "–: the scenario declares no conserved quantity: net drift, time average; gross drift" in text


def test_one_run_has_no_interval(small: simtx.Scenario) -> None:
    text = str(simtx.compare(small, ["2pc"], replications=1, workers=1))
    assert not re.search(r"\d \[", text)
    assert "one run of each strategy: no intervals" in text
    assert "confidence interval]" not in text


def test_failed_and_missing_runs_are_not_hidden(comparison: simtx.Comparison) -> None:
    results = [one for one in comparison._results if (one.strategy, one.replication) != ("saga", 2)]
    partial = simtx.Comparison(
        comparison.scenario, comparison.objects, results, seed=1, replications=3, stopped="interrupted"
    )
    assert "2pc 3, saga 2, outbox 3, dual-write 3 runs" in str(partial)
    assert "interrupted; 11 of 12 runs are finished" in partial._repr_html_()


def test_html_escapes_what_users_name(comparison: simtx.Comparison) -> None:
    from dataclasses import replace

    scenario = replace(comparison.scenario, title="<b>A & B</b>")
    html = simtx.Comparison(scenario, comparison.objects, comparison._results, seed=1, replications=3)._repr_html_()
    assert "&lt;b&gt;A &amp; B&lt;/b&gt;" in html


def test_summary_of_one_run(small: simtx.Scenario) -> None:
    run = simtx.simulate(small, "outbox", seed=4, replication=2)
    text = tables.run_text(run)
    assert "under outbox, seed 4, replication 2" in text
    assert "an answer to the client means: only accepted" in text
    assert re.search(r"request to answer, median +[\d.,]+ ms", text)
    assert text.endswith("\n".join([f"digest {run.digest}", *run.provenance.lines()]))


def test_runs_that_measured_nothing_are_said_so_and_give_no_other_reason() -> None:
    """Most of them end within the warm-up: no figure lacks a value for a reason of its own."""
    scenario = simtx.load("transfer").replace(**{"run.transactions": 150, "run.warmup": "0.99s"})
    comparison = simtx.compare(scenario, ["2pc", "saga"], replications=3, workers=1, progress=False)
    empty = [
        int((comparison.frame[comparison.frame["strategy"] == name]["transactions"] == 0).sum())
        for name in comparison.strategies
    ]
    assert empty == [2, 2]
    shown = tables.text(comparison)
    assert "2 of 3 runs of saga measured no transaction: its figures are those of the others" in shown
    assert "declares no conserved quantity" not in shown
    assert "in the others)" not in shown


def test_a_real_run_says_that_killed_processes_told_nobody_of_their_locks(small: simtx.Scenario) -> None:
    """A simulated crash counts them up to the crash; a process that was killed cannot."""
    fault = {"kind": "crash", "node": "receiver", "at": "200ms", "duration": "100ms"}
    run = simtx.simulate(small.replace(faults=[fault], **{"run.transactions": 40}), "2pc")
    said = "row locks held: without those of a process that was killed"
    assert said not in tables.run_text(run)
    run.data.origin = 1.7e9  # as if it had been executed
    assert said in tables.run_text(run)
    assert said in tables.run_html(run)


def test_every_metric_has_words_for_a_sentence() -> None:
    """Behind an article: no comma, which would be taken for one of the sentence; nothing in the plural; and no two metrics are called the same."""
    beside = {"derived": catalogue.OF_DERIVED, "group": catalogue._OF_GROUP, "aggregate": catalogue._OF_AGGREGATE}
    names = [*catalogue.METRICS, *(f"{kind}_shop_{name}" for kind, known in beside.items() for name in known)]
    words = {name: catalogue.metric(name).words for name in names}
    assert [one for one in words.values() if ", " in one.partition(" (")[0] or one.count("(") > 1] == []
    singular = {
        "number",
        "share",
        "time",
        "age",
        "length",
        "throughput",
        "goodput",
        "inconsistency window",
        "net drift",
        "gross drift",
    }
    singular |= {"divergence", "wait", "utilisation", "lag", "drift"}
    assert [one for one in words.values() if not one.startswith(tuple(singular))] == []
    assert len(set(words.values())) == len(words)
    assert words["in_doubt_seconds"] == "time in doubt of all branches together"
    assert words["derived_shop_stale_p99_ms"] == "age of stale reads (shop, 99 %)"
