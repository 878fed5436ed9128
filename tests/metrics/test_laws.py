"""Laws of operation: each is kept by a run that it is true of, and each is broken once, and said with the figures."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import simtx
from simtx.experiments.said import lines
from simtx.metrics import laws
from simtx.metrics.replay import data_from_trace
from simtx.metrics.run import Run
from simtx.metrics.rundata import Struck
from simtx.metrics.stations import Counts, Station
from simtx.scenario import Scenario
from simtx.scenario.distributions import Exponential
from tests.simulator.worlds import STRATEGIES, chain


def busy(
    rate: float = 50.0, *, transactions: int = 2000, service: float = 0.008, workers: int = 1, **more: Any
) -> Scenario:
    """Two services with exponential service times; at 50/s and 8 ms their one worker works for 0.4 of the time."""
    return chain(
        2,
        delay=0.0,
        write=0.0,
        service_time=Exponential(service),
        workers=workers,
        key="k{tx}",
        transactions=transactions,
        workload={"kind": "poisson", "rate": rate},
        run={"warmup": 2.0, "drain": 600.0},
        **more,
    )


def said(run: Run, law: str) -> list[str]:
    return [one.text for one in run.findings if one.law == law]


@pytest.fixture(scope="module")
def steady() -> Run:
    return simtx.simulate(busy(), "saga")


# --- all laws hold ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda one: one.name)
def test_a_run_in_a_steady_state_that_is_long_enough_keeps_all_laws(strategy: Any) -> None:
    run = simtx.simulate(busy(), strategy)
    assert run.findings == []
    assert run.warnings == []


def test_both_ways_of_counting_agree_in_a_crash_and_with_locks_and_in_a_replay() -> None:
    """Little's law is exact where all have left again; who is there at the end, or was swept away by a crash, has been there as well."""
    fault = {"kind": "crash", "node": "s1", "every": Exponential(2.0), "duration": 0.5}
    scenario = chain(2, transactions=300, rate=40.0, service_time=0.005, workers=2, key="k", faults=[fault])
    run = simtx.simulate(scenario, "2pc", trace=True)
    stations = run.data.stations
    assert stations is not None
    assert laws.strikes(scenario, run.data) == {"crash of s1": run.summary.faults}
    assert stations.waits["s0"].departures > 20
    for counts in (*stations.queues.values(), *stations.workers.values(), *stations.waits.values()):
        all_left = counts.arrivals == counts.departures
        assert counts.presence == pytest.approx(counts.stayed) if all_left else counts.presence > counts.stayed
    data = data_from_trace(run.trace, scenario)
    replayed = data.stations
    assert replayed is not None
    assert replayed.workers == stations.workers
    assert laws.strikes(scenario, data) == laws.strikes(scenario, run.data)
    assert replayed.arrivals == stations.arrivals == 300
    assert replayed.locks["s0"].taken == stations.locks["s0"].taken


def test_a_station_counts_what_a_hand_counts() -> None:
    """Three come at 0, 1, 2 s and two leave at 3 and 5 s: 3 + 4 s were stayed, 3 + 4 + 4 s were spent until 6 s."""
    station = Station()
    for now in (0.0, 1.0, 2.0):
        station.enter(now)
    station.leave(3.0, 0.0)
    station.leave(5.0, 1.0)
    assert station.until(6.0) == Counts(arrivals=3, departures=2, present=1, presence=11.0, stayed=7.0)
    station.clear(6.0)
    assert station.until(9.0) == Counts(arrivals=3, departures=2, present=0, presence=11.0, stayed=7.0)


# --- each law, broken ---------------------------------------------------------------------------------------------------------------


def test_a_queue_that_grows_is_not_in_a_steady_state() -> None:
    """At 1.3 times what the workers can do, throughput x time is far below the mean number."""
    run = simtx.simulate(busy(160.0, transactions=1500), "saga")
    lines = said(run, "little")
    assert any(line.startswith("system: no steady state: on average ") for line in lines)
    assert any(line.startswith("queue of s0: no steady state") and " at its end" in line for line in lines)
    assert all(line in run.warnings for line in lines)


def test_waits_for_one_row_lock_that_grow_are_said_by_the_laws_of_locks() -> None:
    """One key, locked for a write of 20 ms at 60/s: a load of 1.2, with all workers idle otherwise."""
    hot = {"transactions": 600, "rate": 60.0, "write": 0.02, "flush": "parallel", "lock_timeout": 1000.0, "delay": 0.0}
    run = simtx.simulate(chain(2, **hot), "outbox")
    assert any(line.startswith("row locks of s0: no steady state") for line in said(run, "little"))
    (line,) = (one.text for one in run.findings if one.place == "hottest key of s0")
    assert line.startswith("near capacity: the most popular key 'k' of s0 is wanted 60")
    assert "is locked for 20 ms each time, 120% of the time" in line
    assert said(simtx.simulate(chain(2, **{**hot, "rate": 20.0}), "outbox"), "capacity") == []


def test_workers_that_are_busy_with_waiting_are_near_capacity_although_their_work_is_not() -> None:
    run = simtx.simulate(
        chain(2, transactions=500, rate=48.0, write=0.02, flush="parallel", workers=1, key="k{tx}"), "outbox"
    )
    assert run.scenario.warnings == []
    lines = said(run, "capacity")
    assert any("the workers of s0 are busy 96% of the time; service times alone make 0%" in line for line in lines)


def test_a_serial_log_device_from_ninety_per_cent_on() -> None:
    scenario = chain(2, transactions=300, rate=47.0, write=0.02, flush="serial", key="k{tx}")
    assert any("log of s0" in one.place for one in simtx.simulate(scenario, "outbox").findings)
    assert any(line.startswith("services.s0.store.log: nearly saturated") for line in scenario.warnings)
    less = scenario.replace(**{"workload.rate": 40.0})
    assert [one for one in simtx.simulate(less, "outbox").findings if one.law == "capacity"] == []
    assert less.warnings == []


@pytest.mark.parametrize(
    ("change", "words"), [("lost", "1,999 open"), ("twice", "1 are there twice"), ("undecided", "1 have an outcome")]
)
def test_what_is_lost_or_doubled_on_the_way_into_the_columns_violates_the_conservation_of_flow(
    steady: Run, change: str, words: str
) -> None:
    columns = {name: list(column) for name, column in steady.data.columns.items()}
    assert list(laws.flow(steady.data)) == []
    for column in columns.values():
        if change == "lost":
            column.pop()
        elif change == "twice":
            column.append(column[0])
    if change == "undecided":
        columns["decided_s"][5] = math.nan
    (found,) = laws.flow(replace(steady.data, columns=columns))
    assert found.text.startswith("conservation of flow is violated: clients have asked for 2,000 transactions")
    assert (words if change != "lost" else "1,999 are decided") in found.text


def test_busy_workers_that_nobody_was_with_violate_the_utilisation_law(steady: Run) -> None:
    wrong = replace(steady.data, utilisation={name: value + 0.2 for name, value in steady.data.utilisation.items()})
    run = Run(steady.scenario, steady.strategy, 1, 0, wrong, lambda: steady.trace)
    assert any(
        line.startswith("workers of s0: busy 6") and line.endswith("(utilisation law)")
        for line in said(run, "utilisation")
    )


def test_workers_that_outlast_the_window_are_no_wrong_count() -> None:
    """The same in both engines: the figures of the law are those of work that has ended."""
    scenario = busy().replace(**{"services.s0.service_time": "30s", "services.s0.workers": 400})
    lines = said(simtx.simulate(scenario, "saga"), "utilisation")
    assert [line.partition("(utilisation law)")[2] for line in lines] == [
        "; the rest began or ended outside the measured window, or died in a crash"
    ]


def test_more_than_one_per_cent_without_an_answer_is_said() -> None:
    """Half of the run is without its hub."""
    fault = {"kind": "crash", "node": "hub", "at": 20.0, "duration": "1h"}
    run = simtx.simulate(busy(faults=[fault]).replace(**{"run.drain": "10s"}), "2pc")
    assert any(
        "of the measured transactions have no answer: quantiles above 4" in line for line in said(run, "censored")
    )
    rare = run.summary.copy()
    rare[["unanswered_share", "undecided_share", "unsettled_share"]] = 0.009
    assert list(laws.censored(rare)) == []


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (1000, ""),
        (999, "the quantile 99%; 1,000 are needed"),
        (99, "the quantiles 90%, 99%"),
        (19, "the quantiles 50%, 90%, 99%"),
    ],
)
def test_fewer_than_ten_observations_beyond_a_quantile_are_said(steady: Run, count: int, words: str) -> None:
    summary = steady.summary.copy()
    summary["transactions"] = count
    lines = [one.text for one in laws.few(summary)]
    assert len(lines) == bool(words)
    assert all(words in line for line in lines)


def test_a_start_that_is_too_fast_is_said_and_a_sufficient_warm_up_is_not() -> None:
    """At 92 % load a queue takes seconds to fill; MSER-5 finds it, and nothing to cut once these seconds are warm-up."""
    scenario = busy(115.0, transactions=6000)
    cold = simtx.simulate(scenario.replace(**{"run.warmup": "0s"}), "saga")
    lines = [one.text for one in laws.start(_filling(cold), 0.0)]
    assert len(lines) == 1
    assert lines[0].startswith("initial bias: the mean time to the outcome is ")
    assert "set run.warmup to" in lines[0]
    assert list(laws.start(_filling(cold), 10.0)) == []


def _filling(run: Run) -> Any:
    """The run's transactions, the first 800 of which take from a tenth of their time up to all of it."""
    rows = run.transactions.copy()
    rng = np.random.default_rng(1)
    rows["arrival_s"] = np.arange(len(rows)) / 100.0
    growing = np.minimum(0.1 + 0.9 * np.arange(len(rows)) / 800, 1.0)
    rows["decision_ms"] = 100.0 * growing * rng.gamma(4.0, 0.25, len(rows))
    return rows


def test_a_fault_that_never_struck_is_said() -> None:
    """A hub's fault under a strategy without a hub strikes nothing, and is not counted."""
    fault = {"kind": "crash", "node": "hub", "at": 1.0, "duration": 0.5}
    run = simtx.simulate(busy(transactions=1100, faults=[fault]), "outbox")
    assert said(run, "fault") == ["never struck in this run: crash of hub"]
    assert run.summary.faults == 0
    assert said(simtx.simulate(busy(transactions=1100, faults=[fault]), "saga"), "fault") == []


def test_a_hub_that_ended_at_a_trigger_of_a_real_run_is_the_hub_whatever_its_strategy_calls_it() -> None:
    trigger = {"transaction": 3, "effect": "Decided", "when": "before"}
    faults = [{"kind": "crash", "node": node, "duration": 1.0, "trigger": trigger} for node in ("hub", "s0")]
    scenario = chain(2, transactions=9, faults=faults)
    data = simtx.simulate(scenario, "2pc").data
    counts = list(laws.strikes(scenario, replace(data, struck=[Struck(-1, "crash", "coordinator", 1.0)])).values())
    assert counts == [1, 0]
    counts = list(laws.strikes(scenario, replace(data, struck=[Struck(-1, "crash", "s0", 1.0)])).values())
    assert counts == [0, 1]


def test_faults_have_names_that_tell_them_apart() -> None:
    trigger = {"transaction": 3, "effect": "Publish", "when": "after"}
    faults = [
        {"kind": "crash", "node": "s0", "duration": 1.0, "trigger": trigger},
        {"kind": "partition", "at": 1.0, "duration": 1.0, "a": ["hub"], "b": ["s1"]},
        {"kind": "loss", "probability": 0.1, "at": 1.0, "duration": 1.0},
    ]
    assert [laws.fault_label(one) for one in chain(2, transactions=9, faults=faults).faults] == [
        "crash of s0 after Publish of transaction 3",
        "partition of hub - s1",
        "loss of all links",
    ]


# --- comparisons --------------------------------------------------------------------------------------------------------------------


def test_a_figure_in_a_warning_about_several_strategies_says_whose_it_is() -> None:
    """77 % of the transactions of one and 0.7 % of those of the other: neither number is that of both."""
    many, few = (laws.Finding("censored", "settle", f"censored: {share}% are not settled") for share in (76.8, 0.7))
    assert lines([("saga", [many]), ("saga", []), ("2pc", [few])]) == [
        "saga (1 of 2 runs), 2pc (1 of 1 runs); figures of the first of them, of saga: censored: 76.8% are not settled"
    ]
    assert lines([("saga", [few]), ("2pc", [few])]) == [
        "saga (1 of 1 runs), 2pc (1 of 1 runs): censored: 0.7% are not settled"
    ]


def test_a_comparison_says_under_which_strategies_in_how_many_runs_and_who_has_not_met_a_fault() -> None:
    trigger = {"transaction": 10, "effect": "Prepare", "when": "after"}
    fault = {"kind": "crash", "node": "s0", "duration": 0.1, "trigger": trigger}
    scenario = busy(160.0, transactions=1500, faults=[fault])
    comparison = simtx.compare(scenario, ["2pc", "outbox"], replications=2, workers=1)
    told = comparison.warnings
    assert any(
        line.startswith(
            "2pc (2 of 2 runs), outbox (2 of 2 runs); figures of the first of them, of 2pc: queue of s0: no steady state"
        )
        for line in told
    )
    met = "not all strategies have met this fault: crash of s0 after Prepare of transaction 10 struck 2 times under 2pc, 0 under outbox"
    assert met in told
    assert "few replications (2 of each strategy): intervals are tested for 10 and more" in told
    assert all(line in comparison._repr_html_().replace("&#x27;", "'") for line in (met,))
