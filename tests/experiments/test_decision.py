"""Decisions: thresholds first, then the metric; nothing is called the best that the runs do not support."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest

import simtx
from simtx import ScenarioError
from simtx.experiments import Comparison, Result
from simtx.experiments.agenda import Agenda
from simtx.experiments.pairs import compared, replications_to_tell
from simtx.experiments.stopping import Best, Rule
from simtx.experiments.thresholds import Threshold, thresholds
from simtx.metrics.figures import BOOKKEEPING
from simtx.metrics.intervals import interval
from simtx.protocols import DualWrite, Outbox, Saga, TwoPhaseCommit

OBJECTS = {"2pc": TwoPhaseCommit(), "saga": Saga(), "outbox": Outbox(), "dual-write": DualWrite()}
Columns = Mapping[str, Mapping[str, Sequence[float]]]


def made(columns: Columns, rule: Rule | None = None, cap: int = 200, **options: object) -> Comparison:
    """A comparison with these values: by strategy and metric, one a replication; a summary that is None failed."""
    scenario = simtx.load("transfer")
    results = []
    n = len(next(iter(next(iter(columns.values())).values())))
    agenda = Agenda(list(columns), n if rule is None else cap, rule)
    while (job := agenda.next()) is not None:
        name, number = job
        summary = {metric: float(values[number]) for metric, values in columns[name].items()}
        results.append(Result(name, number, summary, "", ""))
        agenda.landed(name, number, summary)
    objects = {name: OBJECTS[name] for name in columns}
    return Comparison(
        scenario,
        objects,
        results,
        seed=1,
        replications=agenda.replications,
        stopping=agenda.stopping,
        **options,  # type: ignore[arg-type]
    )


def noise(seed: int, n: int = 20, spread: float = 0.1) -> Callable[[float], list[float]]:
    """Values around a mean, all with the same trouble in each replication and a little of their own."""
    rng = np.random.default_rng(seed)
    shared = rng.lognormal(0, spread, n)
    return lambda mean: [float(v) for v in mean * shared * rng.lognormal(0, spread / 5, n)]


def test_the_best_is_named_where_the_runs_support_it() -> None:
    draw = noise(1)
    decision = made(
        {name: {"decision_p99_ms": draw(mean)} for name, mean in (("saga", 120), ("2pc", 100), ("outbox", 300))}
    ).best("decision_p99_ms")
    assert decision.strategy == "2pc"
    assert decision.supported
    assert decision.guaranteed
    assert bool(decision)
    assert decision.more == 0
    assert list(decision.ranking["standing"]) == ["worse", "best", "worse"]
    row = decision.ranking.loc["saga"]
    assert row.effect_low < 1.2 < row.effect_high
    assert (row.wins, row.losses) == (0, 20)
    assert decision.text.startswith(
        "✓ 2pc is the best, by the time from request to final outcome (99 %; lower is better)"
    )
    assert "✓" in decision._repr_html_()


def test_what_the_runs_do_not_support_is_said_with_what_would_settle_it() -> None:
    """Two strategies 3 % apart with a spread of 14 % in the ratio: 12 replications do not tell, 400 do."""
    rng = np.random.default_rng(2)
    draws = rng.lognormal(0, 0.1, 400), 1.03 * rng.lognormal(0, 0.1, 400)

    def first(n: int) -> Comparison:
        return made({"2pc": {"decision_p99_ms": draws[0][:n]}, "saga": {"decision_p99_ms": draws[1][:n]}})

    decision = first(12).best("decision_p99_ms")
    assert not decision.supported
    assert decision.candidates == ["2pc", "saga"]
    assert decision.text.startswith(f"? {decision.strategy} looks best")
    assert decision.more > 12
    assert re.search(r"about [\d,]+ more replications of each would settle it|may well be equal", decision.text)
    assert first(400).best("decision_p99_ms").supported


def test_a_mean_has_the_interval_that_tables_give_it() -> None:
    """What decides holds together and is wider: the text says how sure each is."""
    draw = noise(1)
    columns = {name: {"decision_p99_ms": draw(mean)} for name, mean in (("saga", 120), ("2pc", 100), ("outbox", 300))}
    comparison = made(columns)
    decision = comparison.best("decision_p99_ms", "decision_p99_ms < 110")
    table = comparison.table(["decision_p99_ms"])["decision_p99_ms"]
    for name in columns:
        assert list(decision.ranking.loc[name, ["mean", "low", "high"]]) == list(
            table.loc[name, ["mean", "low", "high"]]
        )
    assert decision.each == pytest.approx(1 - 0.05 / 6)
    assert "95 % of each mean, as in tables; 99.17 % of comparisons and thresholds" in decision.text
    threshold = decision.thresholds.iloc[1]
    assert threshold["high"] - threshold["low"] > table.loc["2pc", "high"] - table.loc["2pc", "low"]
    two = made({name: columns[name] for name in ("saga", "2pc")}).best("decision_p99_ms")
    assert two.text.endswith("intervals: 95 %"), "one statement needs no share of the error"


def pair(ratio: float, spread: float, n: int = 20, **beside: float) -> Comparison:
    """Two strategies whose ratio has this mean and this spread in its logarithm, exactly; `beside`: other metrics, the same in every run."""
    logs = np.random.default_rng(14).normal(0, 1, n)
    logs = math.log(ratio) + spread * (logs - logs.mean()) / logs.std(ddof=1)
    others = {name: [value] * n for name, value in beside.items()}
    values = {"2pc": [100.0] * n, "saga": list(100 * np.exp(logs))}
    return made({name: {"decision_p99_ms": column, **others} for name, column in values.items()})


def test_advice_is_a_number_only_where_a_number_is_worth_it() -> None:
    near = pair(1.15, 0.5).best("decision_p99_ms")
    assert near.at_stake == pytest.approx(1 - 1.15 * math.exp(-2.093 * 0.5 / math.sqrt(20)), rel=1e-3)
    settles, stake = near.advice
    assert re.fullmatch(
        r"about \d+ more replications of each would settle it, if means and spreads are as they are now", settles
    )
    assert stake == "another one is better than 2pc by 9 % at most"
    far = pair(1.05, 0.5).best("decision_p99_ms")
    assert far.more > 200
    assert re.fullmatch(
        r"about \d+ more replications of each would settle it, \d+ times those that were played", far.advice[0]
    )
    assert far.advice[0] in far.text
    small = pair(1.01, 0.05).best("decision_p99_ms")
    assert small.more > 20
    assert small.little_open
    assert small.advice == [
        "another one is better than 2pc by 1.3 % at most, and more replications are hardly worth it"
    ]
    assert pair(1.5, 0.1).best("decision_p99_ms").advice == []


def test_nobody_knows_what_is_at_stake_beside_runs_that_have_failed() -> None:
    good = pair(1.2, 0.5)
    results = [*good._results[:-1], Result("saga", 19, {}, "", "RunFailed: no memory")]
    decision = Comparison(good.scenario, good.objects, results, seed=1, replications=20).best("decision_p99_ms")
    assert math.isnan(decision.at_stake)
    assert not decision.little_open


def test_runs_too_short_for_a_quantile_are_to_be_made_longer_first() -> None:
    said = "; make the runs longer first, which have too few transactions for 99 %"
    assert pair(1.05, 0.5, transactions=80).best("decision_p99_ms").advice[0].endswith(said)
    assert said not in pair(1.05, 0.5, transactions=1000).best("decision_p99_ms").text


def test_thresholds_decide_before_the_metric() -> None:
    draw = noise(3)
    comparison = made(
        {
            "2pc": {"decision_p99_ms": draw(100), "missing_effects": [0] * 20, "settle_p99_ms": draw(300)},
            "saga": {"decision_p99_ms": draw(120), "missing_effects": [0] * 20, "settle_p99_ms": draw(100)},
            "dual-write": {"decision_p99_ms": draw(50), "missing_effects": [0] * 19 + [3], "settle_p99_ms": draw(60)},
        }
    )
    decision = comparison.best("decision_p99_ms", {"missing_effects": "== 0", "settle_p99_ms": "< 200"})
    assert decision.strategy == "saga"
    assert decision.supported
    assert dict(decision.ranking["standing"]) == {
        "2pc": "not admissible",
        "saga": "best",
        "dual-write": "not admissible",
    }
    assert "saga is the only one that keeps to the thresholds" in decision.text
    assert "in each of 20 runs; in as many others it may fail in" in decision.text
    assert not comparison.best("decision_p99_ms", "settle_p99_ms < 10").candidates
    assert comparison.best("decision_p99_ms", "settle_p99_ms < 10").text.startswith("✗ no strategy keeps to")


def test_a_threshold_near_the_mean_is_undecided() -> None:
    draw = noise(4)
    columns = {"2pc": {"decision_p99_ms": draw(100)}, "saga": {"decision_p99_ms": draw(150)}}
    decision = made(columns).best("decision_p99_ms", "decision_p99_ms < 101")
    assert decision.strategy == "2pc"
    assert not decision.supported
    assert decision.more > 20
    assert "open: 2pc and decision_p99_ms < 101" in decision.text


def test_answers_with_different_promises_are_not_ranked() -> None:
    draw = noise(5)
    columns = {
        name: {"latency_p99_ms": draw(mean), "decision_p99_ms": draw(mean)}
        for name, mean in (("2pc", 100), ("outbox", 10))
    }
    decision = made(columns).best("latency_p99_ms")
    assert decision.strategy is None
    assert not decision.supported
    assert "decided by 2pc; accepted by outbox" in decision.text
    assert "ask for 'decision_p99_ms'" in decision.text
    assert made(columns).best("decision_p99_ms").strategy == "outbox"
    out = made(columns).best("latency_p99_ms", "decision_p99_ms > 50")
    assert out.strategy == "2pc", "the other promise is out by the threshold: nothing unlike is left"


@pytest.mark.parametrize("metric", ["decision_p99_ms", "decision_committed_p99_ms", "drift_gross_mean"])
def test_times_of_all_transactions_do_not_name_who_aborts_most_of_them(metric: str) -> None:
    """2PC commits one in five, and is the fastest since it gives up: only what leaves out who was aborted ranks it."""
    draw = noise(5)
    columns = {
        "2pc": {metric: draw(100), "committed_share": [0.19, 0.2, 0.21, 0.2] * 5},
        "saga": {metric: draw(200), "committed_share": [0.97, 0.96, 0.97, 0.95] * 5},
    }
    decision = made(columns).best(metric)
    of_all = metric == "decision_p99_ms"
    assert decision.strategy == (None if of_all else "2pc")
    assert decision.supported is not of_all
    assert decision.aborting == ("2pc" if of_all else "")
    if of_all:
        assert decision.candidates == ["2pc", "saga"]
        assert "2pc commits 20 % of the transactions, and saga 96.2 %" in decision.text
    asked = made(columns).best(metric, "committed_share > 0.1")  # somebody has said how much is enough
    assert asked.strategy == "2pc"
    assert asked.supported


def test_a_few_that_are_not_committed_are_a_price() -> None:
    draw = noise(6)
    columns = {
        "2pc": {"decision_p99_ms": draw(100), "committed_share": [0.94, 0.95] * 10},
        "saga": {"decision_p99_ms": draw(200), "committed_share": [0.97, 0.96] * 10},
    }
    assert made(columns).best("decision_p99_ms").strategy == "2pc"


def test_failed_runs_support_nothing() -> None:
    draw = noise(6)
    columns = {"2pc": {"decision_p99_ms": draw(100)}, "saga": {"decision_p99_ms": draw(300)}}
    good = made(columns)
    results = [*good._results[:-1], Result("saga", 19, {}, "", "RunFailed: no memory")]
    decision = Comparison(good.scenario, good.objects, results, seed=1, replications=20).best("decision_p99_ms")
    assert decision.strategy == "2pc"
    assert not decision.supported
    assert not decision.guaranteed
    assert "saga: 1 of 20 runs failed" in decision.text
    assert decision.ranking.loc["saga", "standing"] == "not known"


def test_infinite_quantiles_are_counted_not_averaged() -> None:
    draw = noise(7)
    columns = {"2pc": {"decision_p99_ms": [*draw(50)[:15], *[math.inf] * 5]}, "saga": {"decision_p99_ms": draw(100)}}
    decision = made(columns).best("decision_p99_ms")
    assert decision.strategy == "saga", "a mean that is infinite is no best one, in however many runs it is lower"
    assert not decision.supported, "2pc is lower in 15 of 20 runs: the sign test does not say that saga is"
    assert decision.ranking.loc["2pc", "infinite"] == 5
    limited = made(columns).best("decision_p99_ms", "decision_p99_ms < 200")
    assert limited.supported
    assert limited.ranking.loc["2pc", "standing"] == "not admissible"


def test_an_interrupted_comparison_is_not_guaranteed() -> None:
    draw = noise(8)
    columns = {"2pc": {"decision_p99_ms": draw(100)}, "saga": {"decision_p99_ms": draw(300)}}
    decision = made(columns, stopped="interrupted").best("decision_p99_ms")
    assert decision.supported
    assert not decision.guaranteed
    assert "the runs ended early: interrupted" in decision.text


def test_the_decision_says_what_the_rule_of_stopping_found() -> None:
    draw = noise(9, 200)
    columns = {name: {"decision_p99_ms": draw(mean)} for name, mean in (("saga", 103), ("2pc", 100), ("outbox", 300))}
    comparison = made(columns, Best("decision_p99_ms"))
    assert comparison.stopping is not None
    assert comparison.stopping.guaranteed
    decision = comparison.best("decision_p99_ms")
    assert (decision.strategy, decision.supported, decision.guaranteed) == ("2pc", True, True)
    capped = made(columns, Best("decision_p99_ms", minimum=2), cap=2)
    assert not capped.best("decision_p99_ms").guaranteed


def test_higher_may_be_better() -> None:
    draw = noise(10)
    columns = {"2pc": {"goodput_per_s": draw(100)}, "saga": {"goodput_per_s": draw(90)}}
    assert made(columns).best("goodput_per_s").strategy == "2pc"
    assert made(columns).best("goodput_per_s", better="lower").strategy == "saga"


def test_of_equal_strategies_a_best_one_is_supported_in_at_most_five_of_a_hundred_studies() -> None:
    """Four equal strategies with unequal spreads. The expected number of studies is at most 5 of 100; more than 10 has a chance of 1 %."""
    rng = np.random.default_rng(11)
    spreads = dict(zip(OBJECTS, (0.05, 0.1, 0.3, 0.1), strict=True))
    supported = 0
    for _ in range(100):
        shared = rng.normal(0, 0.2, 20)
        columns = {n: {"decision_p99_ms": np.exp(shared + rng.normal(0, s, 20))} for n, s in spreads.items()}
        supported += made(columns).best("decision_p99_ms").supported
    assert supported <= 10


def test_the_number_of_replications_to_tell_is_enough() -> None:
    """By Student's t: with the same mean and spread, an interval over so many ends at the distance."""
    values = np.random.default_rng(12).normal(1.0, 4.0, 20)
    one = interval(values)
    total = one.n + replications_to_tell(one, abs(one.mean), 0.05)
    spread = float(values.std(ddof=1))
    from scipy import stats

    assert stats.t.ppf(0.975, total - 1) * spread / math.sqrt(total) <= abs(one.mean)
    assert stats.t.ppf(0.975, total - 3) * spread / math.sqrt(total - 2) > abs(one.mean) * 0.99


def test_a_pair_turned_over_is_the_same_pair() -> None:
    rng = np.random.default_rng(13)
    ours, theirs = rng.lognormal(0, 1, 15), rng.lognormal(0.5, 1, 15)
    one, other = compared(ours, theirs, "positive", 0.05), compared(theirs, ours, "positive", 0.05)
    assert one.effect[:3] == pytest.approx((1 / other.effect.mean, 1 / other.effect.high, 1 / other.effect.low))
    assert (one.wins, one.more) == (other.losses, other.more)


def test_thresholds_are_read_in_every_form() -> None:
    expected = [Threshold("a_ms", "<", 200), Threshold("b_share", ">=", 0.95)]
    assert thresholds({"a_ms": "< 200", "b_share": ">= 95%"}) == expected
    assert thresholds(["a_ms < 200", "b_share ≥ 95 %"]) == expected
    assert thresholds("a_ms<200") == expected[:1]
    assert thresholds(None) == []


@pytest.mark.parametrize("where", ["a_ms", "a_ms < fast", {"a_ms": "200"}, ["< 200"], "a_ms =< 2", "a_ms < 1.2.3"])
def test_what_is_no_threshold_is_refused(where: object) -> None:
    with pytest.raises(ScenarioError, match="is no threshold; write"):
        thresholds(where)  # type: ignore[arg-type]


def test_unknown_metrics_are_refused() -> None:
    comparison = made({"2pc": {"decision_p99_ms": [1.0, 2.0]}})
    with pytest.raises(ScenarioError, match="'decision' is no metric"):
        comparison.best("decision")
    with pytest.raises(ScenarioError, match="'drift' is no metric"):
        comparison.best("decision_p99_ms", "drift < 1")
    with pytest.raises(ScenarioError, match="better: must be 'lower' or 'higher'"):
        comparison.best("decision_p99_ms", better="less")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("where", "said"),
    [
        (
            "committed_share > 99",
            "'committed_share > 99' says nothing: committed_share is a share from 0 to 1; write 'committed_share > 99 %'",
        ),
        ("committed_share > 1", "a share from 0 to 1"),
        ("utilisation_max <= 101 %", "a share from 0 to 1"),
        ("missing_effects < 0", "missing_effects is never below 0"),
        ({"decision_p99_ms": "> -1"}, "decision_p99_ms is never below 0"),
        ("goodput_per_s >= -5", "goodput_per_s is never below 0"),
        ("fractured_reads_per_million < 2e6", "from 0 to 1e+06"),
    ],
)
def test_a_threshold_that_every_run_meets_or_none_can_is_refused(where: object, said: str) -> None:
    with pytest.raises(ScenarioError, match=re.escape(said)) as caught:
        thresholds(where)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_thresholds_at_the_ends_of_the_range_are_taken() -> None:
    assert thresholds(
        ["committed_share == 100 %", "missing_effects == 0", "committed_share >= 99.9 %", "aborted_share <= 0"]
    )


@pytest.mark.parametrize("metric", sorted(BOOKKEEPING))
def test_what_only_says_what_a_run_was_ranks_nobody(metric: str) -> None:
    """Neither more nor fewer events are better."""
    comparison = made({name: {metric: [1.0, 2.0], "decision_p99_ms": [1.0, 2.0]} for name in ("2pc", "saga")})
    with pytest.raises(ScenarioError, match=f"'{metric}' says .* and ranks no strategy; .* such as decision_p99_ms"):
        comparison.best(metric)
    with pytest.raises(ScenarioError, match="ranks no strategy"):
        Best(metric)
    with pytest.raises(ScenarioError, match=r"by: .*ranks no strategy"):
        comparison.report("review.html", by=metric)
    assert comparison.interval("2pc", metric).mean == 1.5
    assert len(comparison.best("decision_p99_ms", f"{metric} >= 1").thresholds) == 2


def test_what_is_the_same_in_every_run_makes_nobody_look_best() -> None:
    """Nothing was ever missing under either: the text names no best one."""
    decision = made({name: {"missing_effects": [0.0] * 6} for name in ("2pc", "saga")}).best("missing_effects")
    assert decision.text.startswith("? nothing tells 2pc and saga apart by")
    assert "looks best" not in decision.text


def test_the_one_that_is_left_is_not_said_to_look_best_while_its_own_threshold_is_open() -> None:
    draw = noise(1, 6, 0.4)
    columns = {"2pc": {"decision_p99_ms": draw(100)}, "saga": {"decision_p99_ms": draw(900)}}
    decision = made(columns).best("decision_p99_ms", "decision_p99_ms < 105")
    assert not decision.supported
    assert decision.text.startswith("? 2pc alone may keep to the thresholds, and the runs do not say whether it does")


def test_a_ratio_of_which_two_runs_know_nothing_has_no_thirty_digits() -> None:
    comparison = made({"2pc": {"decision_p99_ms": [2.0, 900.0]}, "saga": {"decision_p99_ms": [400.0, 3.0]}})
    text = comparison.best("decision_p99_ms").text
    assert "more than 1,000] times" in text
    assert not re.search(r"\d,\d{3},\d{3},\d{3}", text)
