"""What results show of themselves in a notebook: labels, units, groups, what is wrong first, and where to go on."""

from __future__ import annotations

import re

import matplotlib as mpl
import pytest

import simtx
from simtx.event_log.log import EventLog

mpl.use("agg")
CHANGES = {"run.transactions": 120, "run.warmup": "0s", "workload.rate": "60/s", "run.drain": "5s"}
OUTAGE = [{"kind": "broker-outage", "at": "500ms", "duration": "4s"}]


@pytest.fixture(scope="module")
def quiet() -> simtx.Run:
    return simtx.simulate(simtx.load("transfer").replace(**CHANGES), "saga", trace=True)


@pytest.fixture(scope="module")
def broken() -> simtx.Run:
    return simtx.simulate(simtx.load("transfer").replace(**CHANGES, faults=OUTAGE), "dual-write", trace=True)


def test_a_run_shows_labels_units_and_groups(quiet: simtx.Run) -> None:
    page = quiet._repr_html_()
    for words in (
        "Latency of a transaction",
        "Consistency drift",
        "request to answer, median",
        ">ms<",
        ">EUR<",
        "decided",
    ):
        assert words in page
    assert "latency_p50_ms" not in page
    assert "wrong at the end" not in page
    assert quiet.provenance.command.split()[-1] in page


def test_what_is_wrong_comes_first_and_in_red(broken: simtx.Run) -> None:
    page = broken._repr_html_()
    missing = int(broken.summary["missing_effects"])
    assert missing > 0
    assert f"wrong at the end: effects missing: {missing}" in page
    assert page.index("wrong at the end") < page.index("Latency of a transaction")
    assert re.search(rf'color:#B00020;font-weight:bold">{missing}</span>', page)


def test_the_slowest_are_those_that_are_undecided_then_by_time(quiet: simtx.Run, broken: simtx.Run) -> None:
    slow = quiet.slowest(5)
    assert slow["decision_ms"].tolist() == quiet.transactions["decision_ms"].nlargest(5).tolist()
    stuck = broken.slowest(3)
    assert stuck["decision_ms"].isna().all()
    assert stuck["arrival_s"].is_monotonic_increasing
    assert quiet.trace.slowest() == slow["tx"][0]
    assert broken.trace.slowest() == stuck["tx"][0]
    with pytest.raises(simtx.ScenarioError, match="whole number from 1"):
        quiet.slowest(0)


def test_a_trace_shows_transactions_and_how_to_draw_one(broken: simtx.Run) -> None:
    page = broken.trace._repr_html_()
    undecided = int(broken.transactions["decision_ms"].isna().sum())
    assert f"the {undecided} undecided first, then the slowest" in page
    assert f"<code>.diagram({broken.trace.slowest()})</code>" in page
    table = broken.trace.overview()
    assert len(table) == 120
    assert (table["outcome"] == "").sum() == undecided
    row = table.set_index("tx").loc[5]
    log = broken.trace.of(5)
    assert row["messages"] == sum(event.kind in ("send", "publish") for event in log)
    assert row["decision_ms"] == pytest.approx(broken.transactions.set_index("tx").loc[5, "decision_ms"])
    assert "no transaction" in EventLog([])._repr_html_()
    assert EventLog([]).overview().empty


def test_the_slowest_can_be_drawn_by_that_name(quiet: simtx.Run) -> None:
    title = quiet.trace.diagram("slowest").get_title(loc="left")
    assert str(quiet.trace.slowest()) in title
    assert quiet.trace.text("slowest") == quiet.trace.text(quiet.trace.slowest())
    with pytest.raises(simtx.ScenarioError, match="the number of a transaction, or 'slowest', not 'fastest'"):
        quiet.trace.diagram("fastest")  # type: ignore[arg-type]
    with pytest.raises(simtx.ScenarioError, match="knows no transaction"):
        EventLog([]).diagram("slowest")
    mpl.pyplot.close("all")


def test_some_rows_of_a_comparison_show_as_the_whole_table_does() -> None:
    small = simtx.load("transfer").replace(**{"run.transactions": 30, "run.warmup": "0s"})
    comparison = simtx.compare(small, ["2pc", "outbox"], replications=2, workers=1)
    shown = comparison.show("latency_p50_ms", "missing_effects")
    for page in (str(shown), shown._repr_html_()):
        assert "request to answer, median [ms]" in page
        assert "effects missing at the end" in page
        assert "request to answer, 99 %" not in page
        assert "only accepted" in page
    with pytest.raises(simtx.ScenarioError, match="did you mean 'latency_p50_ms'"):
        comparison.show("latency_p5_ms")
    with pytest.raises(simtx.ScenarioError, match="at least one metric"):
        comparison.show()


def test_a_verdict_says_first_what_is_violated() -> None:
    page = simtx.verify("dual-write")._repr_html_()
    assert page.index("VIOLATED") < page.index("holds")
    assert page.count("VIOLATED") == 2
