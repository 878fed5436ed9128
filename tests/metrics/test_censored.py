"""What had not ended when the run ended counts as longer than everything that had: quantiles, means, shares, and how they are shown."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import simtx
from simtx.cli.app import app
from simtx.metrics import censored
from simtx.metrics.intervals import interval, paired
from simtx.metrics.plain import plain
from simtx.metrics.run import Run
from simtx.metrics.timeouts import mark, marked, timeouts
from simtx.report import plots, tables
from simtx.scenario import Scenario
from tests.simulator.worlds import STRATEGIES, chain

DURATIONS = st.lists(st.floats(0, 1e6), max_size=40)


# --- the definition -----------------------------------------------------------------------------------------------------------------


@given(DURATIONS, st.integers(0, 20), st.floats(0, 1))
def test_a_quantile_is_that_of_numpy_or_infinite(ended: list[float], others: int, level: float) -> None:
    """Infinite exactly if one of its two neighbours had not ended; the order of the durations does not matter."""
    values = np.array([*ended, *[math.nan] * others])
    np.random.default_rng(1).shuffle(values)
    found = censored.quantile(values, level)
    if not len(values):
        assert math.isnan(found)
        return
    last = max(ended, default=0)
    low, high = (float(np.quantile([*ended, *[last + more] * others], level)) for more in (1e9, 2e9))
    if math.isclose(low, high, rel_tol=1e-9):  # what lies above does not matter
        assert found == pytest.approx(low, rel=1e-9, abs=1e-9)
    else:
        assert found == math.inf or (high - low) < 1e-3 * 1e9


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=40), st.floats(0, 1), st.data())
def test_what_takes_longer_or_does_not_end_never_makes_a_quantile_smaller(
    ended: list[float], level: float, data: st.DataObject
) -> None:
    """The reason for the whole definition."""
    worse = [data.draw(st.sampled_from([one, one + 1, math.nan])) for one in ended]
    assert censored.quantile(worse, level) >= censored.quantile(ended, level) - 1e-6


def test_means_are_those_of_what_ended_and_shares_say_how_much_did_not() -> None:
    values = [1.0, 3.0, math.nan, math.inf]
    assert (censored.mean(values), censored.share(values)) == (2.0, 0.5)
    assert math.isnan(censored.mean([math.nan]))
    assert math.isnan(censored.mean([]))
    assert math.isnan(censored.share([]))


@pytest.mark.parametrize(
    ("watched", "text"),
    [
        (30_000.0, "> 30 s"),
        (30_021.784, "> 30 s"),
        (29_999.0, "> 29.9 s"),
        (6_021.0, "> 6.02 s"),
        (2_592_000_000.0, "> 2,592,000 s"),
        (870.4, "> 870 ms"),
        (math.nan, "∞"),
        (0.0, "> 0 s"),
    ],
)
def test_in_print_it_is_longer_than_it_was_watched(watched: float, text: str) -> None:
    """Rounded down, so that it is true."""
    assert censored.longer_than(watched) == text


# --- runs ---------------------------------------------------------------------------------------------------------------------------


def parted(duration: str) -> Scenario:
    return simtx.load("transfer").replace(
        **{"workload.rate": 50.0, "run.duration": "20s", "run.warmup": "0s", "run.drain": "30s"},
        faults=[{"kind": "partition", "at": "10s", "duration": duration, "a": ["hub"], "b": ["receiver"]}],
    )


@pytest.fixture(scope="module")
def cut() -> Run:
    return simtx.simulate(parted("1h"), "saga")


def test_a_partition_that_outlives_the_run_gives_infinite_quantiles(cut: Run) -> None:
    """503 of 999 transactions are never answered: the median falls among them."""
    summary = cut.summary
    assert summary.transactions == 999
    assert summary.unanswered_share == pytest.approx(503 / 999)
    assert cut.transactions.latency_ms.isna().sum() == 503
    for name in ("latency", "latency_committed", "decision", "decision_committed", "settle", "window"):
        assert summary[f"{name}_p50_ms"] == summary[f"{name}_p99_ms"] == math.inf, name
        assert 0 < summary[f"{name}_mean_ms"] < 60, name
    assert 30_000 <= summary.watched_ms < 30_050
    healed = simtx.simulate(parted("15s"), "saga").summary
    assert healed.unanswered_share == healed.undecided_share == healed.unsettled_share == 0
    assert 15_000 < healed.latency_p99_ms < 20_000  # the partition, and one pause between two attempts


def test_a_run_prints_how_long_it_has_watched(cut: Run) -> None:
    """In its text, in its notebook form, on the command line; the share that did not end is there, too."""
    text = tables.run_text(cut)
    assert re.search(r"request to answer, 99 % +> 30 s\n", text)
    assert re.search(r"not answered when the run ended +50\.35 %", text)
    assert "mean of those answered" in text
    assert re.search(r"&gt; 30</td><td[^>]*>s<", cut._repr_html_())
    assert "not answered" not in tables.run_text(simtx.simulate(chain(2), "saga"))


def test_json_has_the_text_infinity_and_csv_inf(tmp_path: pytest.TempPathFactory) -> None:
    assert plain({"a": math.inf, "b": -math.inf, "c": math.nan, "d": np.float64(2)}) == {
        "a": "Infinity",
        "b": "-Infinity",
        "c": None,
        "d": 2.0,
    }
    assert float(plain(math.inf)) == math.inf
    file = f"{tmp_path}/cut.toml"
    changes = [
        "--set",
        "run.drain=2s",
        "--set",
        "run.duration=2s",
        "--set",
        "run.warmup=0s",
        "--set",
        f"faults={FAULT}",
    ]
    result = CliRunner().invoke(app, ["simulate", "transfer", "saga", "--json", *changes, "--out", file])
    document = json.loads(result.stdout, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert document["summary"]["latency_p99_ms"] == "Infinity"
    result = CliRunner().invoke(
        app, ["compare", "transfer", "saga", "--replications", "2", "--workers", "1", *changes, "--out", file]
    )
    assert result.exit_code == 0, result.output
    with open(f"{file}/comparison.csv", encoding="utf-8") as csv:  # noqa: PTH123
        import pandas as pd

        assert (pd.read_csv(csv)["latency_p99_ms"] == math.inf).all()


FAULT = '[{kind="partition",at="1s",duration="1h",a=["hub"],b=["receiver"]}]'


def test_a_table_prints_it_and_a_picture_points_upwards() -> None:
    """The shortest watch of all runs of the strategy, a note that explains it, an arrow for what is higher than the picture."""
    short = parted("1h").replace(**{"run.duration": "11s", "workload.rate": 10.0})
    comparison = simtx.compare(short, ["2pc", "saga"], replications=2, workers=1)
    row = next(row for row in tables.rows(comparison) if row.metric.name == "latency_p99_ms")
    watched = comparison.frame.groupby("strategy").watched_ms.min()
    assert watched["2pc"] < watched["saga"]
    assert row.cells[1][:2] == (censored.longer_than(watched["saga"]), "[in 2 of 2 runs]")
    assert "> t: had not ended" in str(comparison)
    assert f">{row.cells[1][0].replace('>', '&gt;')}" in comparison._repr_html_()
    assert comparison.interval("saga", "latency_p99_ms").mean == math.inf
    below = plots.latency(comparison).get_xlabel()
    assert "had not ended" in below
    assert "a timeout, not speed: 2pc, 99 % = vote_timeout" in below
    assert plots.trade_off(simtx.compare(short, ["2pc"], replications=2, workers=1)).get_xlim()[1] < math.inf


def test_no_strategy_is_named_by_a_mean_that_leaves_something_out() -> None:
    """Under the saga half of the transactions never get an answer, and the mean of the others is forty times lower than that of 2pc."""
    short = parted("1h").replace(**{"run.duration": "11s", "workload.rate": 10.0})
    comparison = simtx.compare(short, ["2pc", "saga"], replications=2, workers=1)
    means = comparison.frame.groupby("strategy").latency_mean_ms.mean()
    assert means["saga"] < means["2pc"]
    for metric in ("latency_mean_ms", "latency_committed_mean_ms", "settle_mean_ms", "window_mean_ms"):
        decision = comparison.best(metric)
        assert decision.strategy is None
        assert not decision.supported
        assert f"ask for '{metric.replace('_mean_', '_p99_')}'" in decision.text
    stopped = simtx.compare(short, ["2pc", "saga"], replications=40, workers=1, until="best latency_mean_ms")
    assert stopped.stopping is not None
    assert not stopped.stopping.guaranteed
    assert len(stopped.frame) == 20  # more of them would not help
    assert "leaves out what had not ended (unanswered_share of saga)" in str(stopped.stopping)
    assert not stopped.best("latency_mean_ms").guaranteed
    single = str(simtx.compare(short, ["2pc", "saga"], replications=1, workers=1))
    for sentence in ("one run of each strategy", "[in 1 of 1 runs]"):
        assert (sentence in single) is (sentence == "one run of each strategy")
    decision = comparison.best("latency_p99_ms")
    assert decision.ranking.loc["2pc", "timeout"] == "= vote_timeout"
    assert "the figure is a timeout of the configuration (2pc = vote_timeout)" in decision.text
    assert censored.longer_than(decision.ranking.loc["saga", "watched_ms"]) in decision.text
    assert "∞" not in decision.text
    whole = simtx.compare(short.replace(faults=[]), ["2pc", "saga"], replications=4, workers=1)
    assert whole.best("latency_mean_ms").strategy is not None


def test_infinite_values_are_neither_dropped_nor_a_crash() -> None:
    """A mean over runs of which one is infinite is infinite; two that are infinite have no difference."""
    assert interval([1.0, 2.0, math.inf]).mean == math.inf
    assert paired([math.inf, 3.0], [1.0, 1.0]).mean == math.inf
    assert paired([math.inf, 3.0], [math.inf, 1.0]).n == 1


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: s.name)
def test_all_durations_have_one_population(strategy: simtx.protocols.Strategy) -> None:
    """What has no effect settles with its decision; so the last effect comes before the outcome only where it really does."""
    loss = [{"kind": "loss", "at": 0.0, "duration": 1000.0, "probability": 0.05}]
    scenario = chain(3, rate=50.0, transactions=200, refusals={0: 0.2, 1: 0.3}, key="k{tx}", faults=loss)
    table = simtx.simulate(scenario, strategy, seed=3).transactions
    assert table.settle_ms.notna().equals(table.window_ms.notna())
    assert not (table.settle_ms.notna() & table.decision_ms.isna()).any()
    untouched = table[(table.decision == "aborted") & (table.outcome == "aborted")]
    assert len(untouched)
    assert (untouched.settle_ms == untouched.decision_ms).all()
    assert (untouched.window_ms == 0).all()


def test_two_phase_commit_has_no_last_effect_before_its_outcome() -> None:
    """Its effects come after the decision, so that every quantile of the last effect is at least that of the outcome."""
    run = simtx.simulate(simtx.load("checkout-outages").replace(**{"run.transactions": 1500}), "2pc")
    for level in ("p50", "p90", "p99"):
        assert run.summary[f"settle_{level}_ms"] >= run.summary[f"decision_{level}_ms"]


# --- committed transactions, and timeouts -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lossy() -> Run:
    """A vote timeout of 3 s, and two in a hundred messages lost."""
    loss = [{"kind": "loss", "at": "0s", "duration": "1h", "probability": 0.02}]
    scenario = simtx.load("transfer").replace(
        **{"policies.vote_timeout": "3s", "workload.rate": 20.0, "run.duration": "60s", "run.warmup": "0s"}, faults=loss
    )
    return simtx.simulate(scenario, "2pc")


def test_committed_transactions_have_a_latency_of_their_own(lossy: Run) -> None:
    """The vote timeout decides the tail of all, and says nothing about those that committed."""
    summary, table = lossy.summary, lossy.transactions
    assert summary.latency_p99_ms == pytest.approx(3000, abs=1e-6)
    committed = table[table.outcome == "committed"]
    assert summary.latency_committed_p99_ms == np.quantile(committed.latency_ms, 0.99) < 2000
    assert summary.latency_committed_mean_ms == pytest.approx(committed.latency_ms.mean())
    assert summary.decision_committed_p50_ms == np.quantile(committed.decision_ms, 0.5)


def test_what_may_still_commit_is_among_the_committed(cut: Run) -> None:
    """Else a longer outage would improve their figures: those that wait for its end would be left out."""
    summary = cut.summary
    assert summary.latency_committed_p99_ms == math.inf
    aborts = simtx.simulate(parted("1h"), "2pc").summary
    assert aborts.aborted_share > 0.5
    assert aborts.latency_committed_p99_ms < 100


def test_a_quantile_on_a_timeout_has_its_name(lossy: Run) -> None:
    text = tables.run_text(lossy)
    assert re.search(r"request to answer, 99 % +3,000 ms = vote_timeout\n", text)
    assert not re.search(r"committed: request to answer, 99 % .*timeout", text)
    comparison = simtx.compare(lossy.scenario, ["2pc"], replications=2, workers=1)
    assert re.search(r"request to answer, 99 % \[ms\] +3,000 += vote_timeout", str(comparison))
    assert "<i>= vote_timeout</i>" in comparison._repr_html_()
    assert "this timeout of the configuration" in str(comparison)


def test_marks_of_timeouts() -> None:
    """Equal, a little above, shared by two, in some of the runs; never for what is no quantile of a duration."""
    known = {"vote_timeout": 2.0, "call_timeout": 1.0, "inquiry_timeout": 1.0}
    assert mark(2000.0, known) == "= vote_timeout"
    assert mark(2030.0, known) == "≈ vote_timeout"
    assert mark(1000.0, known) == "= call_timeout or inquiry_timeout"
    assert mark(1950.0, known) == mark(2060.0, known) == mark(math.inf, known) == mark(math.nan, known) == ""
    assert marked("latency_p99_ms", [2000.0, 2000.0, 50.0], known) == "= vote_timeout in 2 of 3 runs"
    assert marked("latency_p99_ms", [2000.0, 40.0, 50.0], known) == ""
    assert marked("latency_mean_ms", [2000.0], known) == marked("latency_p99_ms", [], known) == ""


def test_only_timeouts_that_the_strategy_has_are_named() -> None:
    scenario = simtx.load("transfer")
    found = {name: set(timeouts(scenario, simtx.protocols.strategy(name))) for name in ("2pc", "saga", "outbox")}
    assert "vote_timeout" in found["2pc"]
    assert "vote_timeout" not in found["saga"]
    assert found["outbox"] == {"publish_timeout", "redelivery", "lock_timeout"}


def test_a_title_says_of_each_strategy_how_long_its_own_runs_were_watched() -> None:
    """2pc is through soon after the last arrival; the saga goes on until the drain limit, and is watched for longer."""
    fault = {"kind": "partition", "at": "1s", "duration": "1h", "a": ["hub"], "b": ["receiver"]}
    scenario = simtx.load("transfer").replace(
        **{"workload.rate": "40/s", "run.transactions": 80, "run.warmup": "0s", "run.drain": "30s", "faults": [fault]}
    )
    comparison = simtx.compare(scenario, ["2pc", "saga"], replications=1, workers=1)
    watched = comparison.frame.set_index("strategy")["watched_ms"]
    assert watched["2pc"] < 29_000 < watched["saga"]
    title = plots.latency(comparison).get_title(loc="left").replace("\n", " ")
    assert f"saga {censored.longer_than(watched['saga'])}" in title
