"""The sentence of a decision: it names a strategy only where `best` supports one, and says what is open where it does not."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import simtx
from simtx.experiments import Comparison
from simtx.metrics.laws import Finding
from simtx.report.review.build import WHERE
from simtx.report.review.sentence import Statement, limit_text, of_comparison, of_sweep, refuted

Made = Callable[..., Comparison]
Draw = Callable[[float], list[float]]


def said(comparison: Comparison, where: Any = WHERE, by: str = "decision_p99_ms", frontier: Any = None) -> Statement:
    return of_comparison(comparison, comparison.best(by, where), frontier)


def test_a_supported_strategy_is_named_with_its_figure(made: Made, draw: Draw) -> None:
    found = said(made({"saga": {"decision_p99_ms": draw(120)}, "2pc": {"decision_p99_ms": draw(100)}}))
    assert (found.kind, found.strategy) == ("yes", "2pc")
    assert re.fullmatch(
        r"2pc: the lowest time from request to final outcome \(99 %\), [\d.]+ ms \[[\d.]+, [\d.]+\], among strategies without effects missing at the end or effects "
        r"doubled at the end\.",
        found.sentence,
    )
    untested = "no fault was played: what happens in crashes and outages is not tested"
    assert (
        found.certainty == f"supported by the runs; 95 % for all statements together; all runs are complete; {untested}"
    )
    assert len(found.reasons) <= 3
    assert "saga" in found.reasons[0]
    assert "lower in 0 of 20 runs" in found.reasons[0]


def test_what_is_not_supported_names_nobody_and_says_what_would_settle_it(made: Made) -> None:
    rng = np.random.default_rng(2)
    found = said(
        made(
            {
                "2pc": {"decision_p99_ms": rng.lognormal(0, 0.1, 12)},
                "saga": {"decision_p99_ms": rng.lognormal(0.03, 0.1, 12)},
            }
        )
    )
    assert (found.kind, found.strategy) == ("open", "")
    assert found.sentence.startswith("Undecided between ")
    assert "2pc" in found.sentence
    assert "saga" in found.sentence
    assert found.certainty.startswith("not supported by the runs")
    assert "guaranteed" not in found.certainty
    assert not found.gains
    assert not found.costs


def test_equal_strategies_are_a_tie(made: Made) -> None:
    values = [100.0 + i for i in range(20)]
    found = said(made({"2pc": {"decision_p99_ms": values}, "saga": {"decision_p99_ms": values}}))
    assert found.kind == "open"
    assert "2pc and saga" in found.sentence
    assert "may well be equal" in found.sentence


def test_thresholds_decide_before_the_metric(made: Made, draw: Draw) -> None:
    comparison = made(
        {
            "2pc": {"decision_p99_ms": draw(100)},
            "dual-write": {"decision_p99_ms": draw(20), "missing_effects": [3.0] * 20},
        }
    )
    found = said(comparison)
    assert found.strategy == "2pc"
    assert found.sentence.startswith(
        "2pc: the only one without effects missing at the end or effects doubled at the end"
    )
    assert "dual-write has effects missing at the end" in found.reasons[1]
    assert said(comparison, where=[]).strategy == "dual-write"


def test_a_threshold_that_nobody_keeps_to_leaves_nobody(made: Made, draw: Draw) -> None:
    comparison = made({"2pc": {"decision_p99_ms": draw(100)}, "saga": {"decision_p99_ms": draw(120)}})
    found = said(comparison, where=["decision_p99_ms < 10"])
    assert (found.kind, found.strategy) == ("no", "")
    assert (
        found.sentence
        == "None of them: no strategy keeps to all thresholds (time from request to final outcome (99 %) < 10 ms)."
    )
    assert "2pc misses" in found.reasons[1]


def test_a_threshold_that_is_open_is_said_to_be(made: Made, draw: Draw) -> None:
    comparison = made({"2pc": {"decision_p99_ms": draw(100)}, "saga": {"decision_p99_ms": draw(300)}})
    limit = float(np.mean(comparison.frame.query("strategy == '2pc'")["decision_p99_ms"]))
    found = said(comparison, where=[f"decision_p99_ms < {limit:.2f}"])
    assert found.kind == "open"
    assert "whether 2pc keeps to time from request to final outcome (99 %) <" in found.sentence


def test_one_strategy_is_no_choice(made: Made, draw: Draw) -> None:
    found = said(made({"2pc": {"decision_p99_ms": draw(100)}}))
    assert (found.kind, found.strategy) == ("open", "")
    assert found.sentence == "No choice: 2pc alone was looked at, and it keeps to the thresholds."


def test_one_replication_decides_nothing(made: Made) -> None:
    found = said(made({"2pc": {"decision_p99_ms": [100.0]}, "saga": {"decision_p99_ms": [900.0]}}))
    assert found.kind == "open"
    assert "one run of each strategy decides nothing" in found.sentence


def test_what_never_ended_prints_how_long_it_was_watched(made: Made, draw: Draw) -> None:
    endless = [float("inf")] * 20
    found = said(made({"2pc": {"decision_p99_ms": draw(100)}, "saga": {"decision_p99_ms": endless}}))
    assert found.strategy == "2pc"
    assert "saga > 30 s" in found.reasons[0]
    both = said(made({"2pc": {"decision_p99_ms": endless}, "saga": {"decision_p99_ms": endless}}))
    assert both.kind == "open"


def test_a_timeout_is_no_speed(made: Made, draw: Draw) -> None:
    """All of 2pc end at its vote timeout of 2 s: who gives up soonest is not the fastest."""
    found = said(made({"2pc": {"decision_p99_ms": [2000.0] * 20}, "saga": {"decision_p99_ms": draw(9000)}}))
    assert (found.kind, found.strategy) == ("open", "")
    assert "vote_timeout" in found.sentence
    assert "says nothing about speed" in found.sentence


def test_a_timeout_of_another_one_ranks_settings_as_well(made: Made, draw: Draw) -> None:
    """2pc ends at its vote timeout, and the saga is told apart below it: a longer timeout would be as bad, and says as little."""
    comparison = made({"2pc": {"decision_p99_ms": [2000.0] * 20}, "saga": {"decision_p99_ms": draw(1100)}})
    found = said(comparison)
    assert (found.kind, found.strategy) == ("open", "")
    assert "the figure of 2pc (vote_timeout" in found.sentence
    decision = comparison.best("decision_p99_ms")
    assert decision.supported  # by the runs; but settings are what they rank
    first = decision.text.splitlines()[0]
    assert first.startswith(
        "? by the time from request to final outcome (99 %; lower is better) saga would be the best, but the"
    )
    assert "the figure of 2pc (vote_timeout) is a timeout of the configuration" in first


def test_an_infinite_figure_is_no_choice(made: Made) -> None:
    """The others are turned away, and of the one that is left too much had not ended when the runs ended."""
    found = said(
        made(
            {
                "2pc": {"decision_p99_ms": [math.inf] * 20},
                "saga": {"decision_p99_ms": [math.inf] * 20, "missing_effects": [9.0] * 20},
            }
        )
    )
    assert (found.kind, found.strategy) == ("open", "")
    assert "too much had not ended under 2pc when the runs ended" in found.sentence


def test_few_runs_are_not_called_guaranteed(made: Made) -> None:
    found = said(made({"2pc": {"decision_p99_ms": [10.0, 11, 10]}, "saga": {"decision_p99_ms": [100.0, 101, 100]}}))
    assert found.strategy == "2pc"
    assert "guaranteed" not in found.certainty
    assert "only 3 runs of each" in found.certainty


def test_a_quantile_of_few_transactions_says_so(made: Made, draw: Draw) -> None:
    few = {
        name: {"decision_p99_ms": draw(mean), "transactions": [300.0] * 20}
        for name, mean in (("2pc", 100), ("saga", 200))
    }
    found = said(made(few))
    assert found.strategy == "2pc"
    assert "runs of 300 measured transactions have fewer than 10 beyond 99 %" in found.certainty
    many = {name: columns | {"transactions": [1000.0] * 20} for name, columns in few.items()}
    assert "beyond" not in said(made(many)).certainty


def test_who_refuses_before_there_is_anything_to_undo_pays_nothing_for_it(made: Made, draw: Draw) -> None:
    """Refused transactions are aborted by one and compensated by the other; as many are committed."""
    rng = np.random.default_rng(3)
    refused = rng.normal(0.05, 0.002, 20)
    same = {"committed_share": 1 - refused}
    found = said(
        made(
            {
                "2pc": {"decision_p99_ms": draw(100), "aborted_share": refused, "compensated_share": 0 * refused}
                | same,
                "saga": {"decision_p99_ms": draw(200), "aborted_share": 0 * refused, "compensated_share": refused}
                | same,
            }
        )
    )
    assert found.strategy == "2pc"
    assert not found.costs
    assert any("compensated" in gain for gain in found.gains)


def test_whom_the_model_checker_refutes_is_not_named(made: Made, draw: Draw) -> None:
    found = said(made({"dual-write": {"decision_p99_ms": draw(10)}, "outbox": {"decision_p99_ms": draw(100)}}))
    assert found.strategy == "dual-write"
    verdict = simtx.verify("dual-write", duplicates=0, timeouts=0)
    after = refuted(found, [("dual-write", verdict)])
    assert (after.kind, after.strategy) == ("open", "")
    assert "the model checker refutes it on atomicity" in after.sentence
    assert refuted(found, [("outbox", verdict)]) == found


def test_answers_that_promise_different_things_are_not_ranked(made: Made, draw: Draw) -> None:
    comparison = made({"2pc": {"latency_p99_ms": draw(100)}, "outbox": {"latency_p99_ms": draw(10)}})
    found = said(comparison, by="latency_p99_ms")
    assert (found.kind, found.strategy) == ("open", "")
    assert "not like with like" in found.sentence


def test_runs_that_ended_early_are_not_guaranteed(made: Made, draw: Draw) -> None:
    columns = {"2pc": {"decision_p99_ms": draw(100)}, "saga": {"decision_p99_ms": draw(300)}}
    found = said(made(columns, stopped="interrupted"))
    assert found.sentence.endswith("not guaranteed, since the runs ended early.")
    assert "; not guaranteed; " in found.certainty


def test_what_a_choice_is_paid_with_is_told_apart_or_not_said(made: Made, draw: Draw) -> None:
    comparison = made(
        {
            "2pc": {"decision_p99_ms": draw(100), "drift_gross_mean": draw(50), "goodput_per_s": draw(90)},
            "saga": {"decision_p99_ms": draw(300), "drift_gross_mean": draw(10), "goodput_per_s": draw(60)},
        }
    )
    found = said(comparison)
    assert found.reasons[2].startswith("It is paid for: the gross drift (time average) is 40")
    assert "higher than that of saga" in found.reasons[2]
    assert any("goodput" in one for one in found.gains)


def _frontier(**changed: Any) -> Any:
    crossing = SimpleNamespace(below="2pc", above="saga", at=18.0, low=15.0, high=22.0)
    base = {
        "metric": "decision_p99_ms",
        "better": "lower",
        "strategies": ("2pc", "saga"),
        "guaranteed": True,
        "support": "120 paired replications at 9 sites; the undecided area is as small as was asked for",
        "axes": (SimpleNamespace(name="rtt", low=1.0, high=40.0),),
        "crossings": [crossing],
        "caption": "2pc, unless rtt exceeds 18 [15, 22] ms; above that, saga",
    }
    return SimpleNamespace(**{**base, **changed})


def test_the_flip_point_stands_in_the_sentence(made: Made, draw: Draw) -> None:
    comparison = made({"saga": {"decision_p99_ms": draw(120)}, "2pc": {"decision_p99_ms": draw(100)}})
    assert said(comparison, frontier=_frontier()).sentence.endswith(
        ", unless rtt exceeds 18 [15, 22] ms; above that, saga."
    )
    assert "(not guaranteed)" in said(comparison, frontier=_frontier(guaranteed=False)).sentence


@pytest.mark.parametrize(
    "other",
    [
        {"metric": "drift_peak"},
        {"better": "higher"},
        {"strategies": ("outbox", "saga")},
        {"strategies": ("2pc", "dual-write")},
    ],
)
def test_a_frontier_of_another_question_is_left_out(made: Made, draw: Draw, other: dict[str, Any]) -> None:
    comparison = made(
        {
            "saga": {"decision_p99_ms": draw(120)},
            "2pc": {"decision_p99_ms": draw(100)},
            "dual-write": {"decision_p99_ms": draw(90), "duplicate_effects": [2.0] * 20},
        }
    )
    assert "unless" not in said(comparison, frontier=_frontier(**other)).sentence


@pytest.mark.parametrize(
    ("threshold", "text"),
    [
        ("missing_effects == 0", "no effects missing at the end"),
        ("latency_p99_ms < 200", "time from request to answer (99 %) < 200 ms"),
        ("aborted_share <= 0.02", "share of aborted transactions (nothing to undo) <= 2 %"),
    ],
)
def test_thresholds_in_words(threshold: str, text: str) -> None:
    assert limit_text(threshold) == text


def _sweep(values: list[float], comparisons: list[Comparison]) -> tuple[Any, dict[int, Any]]:
    import pandas as pd

    first = comparisons[0]
    cells = pd.DataFrame({"workload.rate": values})
    sweep = SimpleNamespace(
        parameters=["workload.rate"],
        units={"workload.rate": "1/s"},
        cells=cells,
        strategies=first.strategies,
        scenario=first.scenario,
        frame=pd.concat([one.frame for one in comparisons]),
        study=SimpleNamespace(strategies=first.objects),
    )
    return sweep, {i: one.best("decision_p99_ms", WHERE) for i, one in enumerate(comparisons)}


def test_over_one_parameter_the_cells_say_between_which_values_it_changes(made: Made, draw: Draw) -> None:
    def cell(saga: float) -> Comparison:
        return made({"2pc": {"decision_p99_ms": draw(100)}, "saga": {"decision_p99_ms": draw(saga)}})

    sweep, decisions = _sweep([20.0, 40.0, 60.0, 80.0], [cell(300), cell(200), cell(100), cell(50)])
    found = of_sweep(sweep, decisions, "decision_p99_ms", 0.95)
    assert found.sentence.startswith("2pc up to 40/s, undecided at 60/s, saga at 80/s of workload.rate")
    assert found.reasons[0] == "Of 4 cells: 2pc is supported in 2; saga is supported in 1; 1 is undecided."
    same = of_sweep(*_sweep([20.0, 40.0], [cell(300), cell(200)]), "decision_p99_ms", 0.95)
    assert (same.kind, same.strategy) == ("yes", "2pc")
    assert same.sentence.startswith("2pc, in all 2 cells: the lowest time from request to final outcome (99 %)")


def test_a_sweep_in_which_nothing_is_told_apart_names_nobody(made: Made) -> None:
    values = [100.0 + i for i in range(20)]
    one = made({"2pc": {"decision_p99_ms": values}, "saga": {"decision_p99_ms": values}})
    found = of_sweep(*_sweep([20.0, 40.0], [one, one]), "decision_p99_ms", 0.95)
    assert (found.kind, found.strategy) == ("open", "")
    assert found.sentence == "Undecided in all 2 cells, by the time from request to final outcome (99 %)."


def test_a_sweep_says_what_its_statement_rests_on(made: Made, draw: Draw) -> None:
    columns = {name: {"decision_p99_ms": [100.0, 130.0, 90.0], "transactions": [80.0] * 3} for name in ("2pc", "saga")}
    columns["saga"] = columns["saga"] | {"decision_p99_ms": [140.0, 131.0, 120.0]}
    one = made(columns)
    found = of_sweep(*_sweep([20.0, 40.0], [one, one]), "decision_p99_ms", 0.95, scenarios=[one.scenario])
    assert "only 3 runs of each" in found.certainty
    assert "runs of 80 measured transactions" in found.certainty
    assert found.certainty.endswith("no fault was played: what happens in crashes and outages is not tested")
    assert any(re.match(r"About ([7-9]|\d\d+) more replications", reason) for reason in found.reasons)
    crash = one.scenario.replace(faults=[{"kind": "crash", "node": "sender", "at": "3s", "duration": "1s"}])
    faulty = of_sweep(*_sweep([20.0, 40.0], [one, one]), "decision_p99_ms", 0.95, scenarios=[one.scenario, crash])
    assert "no fault was played" not in faulty.certainty


def test_a_frontier_yields_to_thresholds_that_turn_one_of_its_strategies_away(made: Made, draw: Draw) -> None:
    bad = made(
        {"2pc": {"decision_p99_ms": draw(100)}, "saga": {"decision_p99_ms": draw(50), "missing_effects": [1.0] * 20}}
    )
    frontier = _frontier(confidence=0.95, undecided=0.01, areas={"2pc": 0.5, "saga": 0.49})
    sweep, decisions = _sweep([20.0, 40.0], [bad, bad])
    found = of_sweep(sweep, decisions, "decision_p99_ms", 0.95, frontier)
    assert "unless" not in found.sentence
    assert found.strategy == "2pc"
    assert any("thresholds turn some of its strategies away" in one for one in found.reasons)
    good = made({"2pc": {"decision_p99_ms": draw(100)}, "saga": {"decision_p99_ms": draw(50)}})
    kept = of_sweep(*_sweep([20.0, 40.0], [good, good]), "decision_p99_ms", 0.95, frontier)
    assert kept.sentence.startswith("2pc, unless rtt exceeds 18 [15, 22] ms; above that, saga")
    rests_on = "95 % at each point; 120 paired replications at 9 sites; the undecided area is as small as was asked for"
    assert kept.certainty.startswith(rests_on)


def test_runs_that_are_not_steady_are_named_in_the_first_lines(made: Made, draw: Draw) -> None:
    quiet = made({"saga": {"decision_p99_ms": draw(120)}, "2pc": {"decision_p99_ms": draw(100)}})
    grows, late = Finding("little", "system", "a queue grew"), Finding("start", "decision", "too early")
    results = [
        one._replace(findings=(grows, late) if one.replication == 0 else (grows,)) if one.strategy == "saga" else one
        for one in quiet.results
    ]
    found = said(simtx.Comparison(quiet.scenario, quiet.objects, results, seed=1, replications=20))
    assert "no steady state, so that figures depend on how long a run is," in found.certainty
    assert "in 20 of 20 runs of saga; the warm-up is too short in 1 of 20 runs of saga" in found.certainty
    assert "steady" not in said(quiet).certainty


def test_a_comparison_of_simtx_gives_a_sentence(crashed: simtx.Comparison) -> None:
    assert said(crashed).sentence
