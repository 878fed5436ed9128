"""Rules of stopping: they keep their promise although they look several times, and no change of sign, scale or order moves the answer."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import special

import simtx
from simtx import ScenarioError
from simtx.experiments import Apart, Best, Precision, interval
from simtx.experiments.agenda import Agenda
from simtx.experiments.stopping import CAP, Rule, Stopping, looks, parsed, spent, written
from simtx.metrics.intervals import kind_of
from tests.amounts import many

Floats = NDArray[np.float64]
TRIALS = many(500, 1000)  # the same with more of them: python benchmarks/coverage.py stopping


def play(rule: Rule, columns: dict[str, Floats], cap: int = CAP) -> Stopping:
    """What the rule says of runs that cost nothing: the values of all replications are there already."""
    numbers = looks(rule.minimum, cap)
    stopping = Stopping(rule, numbers)
    running, seen = tuple(columns), dict.fromkeys(columns, 0)
    for k, number in enumerate(numbers):
        seen |= dict.fromkeys(running, number)
        stopping.looks.append(rule.look({name: column[: seen[name]] for name, column in columns.items()}, numbers, k))
        if stopping.looks[-1].done:
            break
        running = stopping.looks[-1].strategies
    return stopping


def test_a_comparison_plays_what_the_rule_wants_to_see() -> None:
    """The agenda of a comparison, with runs that come back in any order, stops where the rule by itself does."""
    rng = np.random.default_rng(9)
    for _ in range(20):
        columns = {name: mean + rng.normal(size=60) for name, mean in zip("abc", rng.normal(0, 0.5, 3), strict=True)}
        agenda = Agenda(list(columns), 60, Best("difference"))
        made: list[tuple[str, int]] = []
        while (job := agenda.next()) is not None:
            batch = [job]
            while (job := agenda.next()) is not None:
                batch.append(job)
            rng.shuffle(batch)
            made += [(str(name), int(number)) for name, number in batch]
            for name, number in made[-len(batch) :]:
                agenda.landed(name, number, {"difference": float(columns[name][number])})
        assert agenda.finished
        assert agenda.stopping is not None
        assert agenda.stopping.looks == play(Best("difference"), columns, 60).looks
        assert len(made) == len(set(made))


# --- the promises, at the shipped defaults -------------------------------------------------------------------------------------------


def _equal(shape: str, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Two strategies with the same law (or the same median), half of whose variance is shared."""
    shared, one, other = rng.normal(size=(3, CAP))
    if shape == "unequal variances":
        return np.exp(shared + one), np.exp(shared + 0.05 * other)
    draw: dict[str, Callable[[Floats], Floats]] = {
        "normal": lambda z: 5 + z,
        "exponential": lambda z: -special.log_ndtr(z),
        "lognormal": np.exp,
    }
    return draw[shape]((shared + one) / math.sqrt(2)), draw[shape]((shared + other) / math.sqrt(2))


@pytest.mark.parametrize(
    ("shape", "metric"),
    [
        ("normal", "difference"),
        ("exponential", "difference"),
        ("lognormal", "difference"),
        ("lognormal", "latency_p99_ms"),
        ("unequal variances", "latency_p99_ms"),  # equal medians, so that the ratios are compared
    ],
)
@pytest.mark.more
@pytest.mark.sample(3)
def test_equal_strategies_are_told_apart_in_at_most_five_of_a_hundred_studies(shape: str, metric: str) -> None:
    """Where the textbook's loop finds a difference in 13 to 22 of a hundred."""
    rng = np.random.default_rng(11)
    found = sum(play(Apart(metric), dict(zip("ab", _equal(shape, rng), strict=True))).guaranteed for _ in range(TRIALS))
    assert found <= 0.05 * TRIALS


OUTPUTS: dict[str, tuple[Callable[[np.random.Generator, int], Floats], float]] = {
    "normal": (lambda rng, n: rng.normal(5, 1, n), 5),
    "exponential": (lambda rng, n: 2 + rng.exponential(1, n), 3),
    "lognormal": (lambda rng, n: 5 - math.exp(0.5) + rng.lognormal(0, 1, n), 5),
}


@pytest.mark.parametrize(
    ("output", "relative"), [("normal", 0.05), ("exponential", 0.05), ("lognormal", 0.05), ("lognormal", 0.1)]
)
@pytest.mark.more
@pytest.mark.sample(4)
def test_precision_keeps_its_coverage(output: str, relative: float) -> None:
    """93 to 97 % of the intervals that it stops with contain the mean, where the textbook's loop has 71 to 91 % (half-width, start 3)."""
    rng = np.random.default_rng(12)
    draw, mean = OUTPUTS[output]
    hits = met = 0
    for _ in range(TRIALS):
        column = draw(rng, 1500)
        stopping = play(Precision("latency_p99_ms", relative), {"a": column}, cap=1500)
        met += stopping.guaranteed
        n = stopping.looks[-1].replications
        level = 1 - 0.05 * stopping.share(n)
        one = interval(column[:n], level, kind=kind_of("latency_p99_ms"))
        hits += one.low <= mean <= one.high
    assert 0.93 <= hits / TRIALS <= 0.97
    assert met >= 0.99 * TRIALS


@pytest.mark.parametrize("order", ["abcd", "dcba", "badc"])
@pytest.mark.more
@pytest.mark.sample(3)
def test_the_best_is_found_with_its_probability_whatever_variances_and_order_are(order: str) -> None:
    """Four systems under common random numbers; the best has the greatest variance, or the smallest. 95 of 100 is the promise."""
    rng = np.random.default_rng(13)
    means, spreads = {"a": 1.0, "b": 1.15, "c": 1.15, "d": 1.3}, {"a": 0.6, "b": 0.1, "c": 0.5, "d": 0.3}
    studies = many(200, 400)
    right = 0
    for _ in range(studies):
        shared = rng.normal(size=CAP * 5)
        columns = {name: means[name] + spreads[name] * (shared + rng.normal(size=CAP * 5)) / 2 for name in order}
        stopping = play(Best("difference"), columns, cap=CAP * 5)
        right += "a" in stopping.looks[-1].strategies
    assert right >= 0.95 * studies


def test_alpha_is_spent_and_no_more() -> None:
    for cap in (10, 37, 200, 1000):
        numbers = looks(10, cap)
        assert numbers[-1] == cap
        assert sum(spent(numbers, k) for k in range(len(numbers))) == pytest.approx(1)
        assert all(later > earlier for earlier, later in itertools.pairwise(numbers))
    assert looks(10, 5) == [5]


# --- what must not change the answer -----------------------------------------------------------------------------------------------


def _columns(seed: int) -> dict[str, Floats]:
    rng = np.random.default_rng(seed)
    return {name: mean + rng.normal(size=CAP) for name, mean in zip("abc", (3.0, 3.4, 4.2), strict=True)}


def _ends(stopping: Stopping) -> tuple[list[int], set[str], bool]:
    return [one.replications for one in stopping.looks], set(stopping.looks[-1].strategies), stopping.guaranteed


@given(st.integers(0, 10_000))
def test_sign_shift_scale_and_order_change_nothing(seed: int) -> None:
    columns = _columns(seed)
    expected = _ends(play(Best("difference", better="lower"), columns))
    turned = {name: -column for name, column in columns.items()}
    assert _ends(play(Best("difference", better="higher"), turned)) == expected
    moved = {name: 8 * column + 1024 for name, column in columns.items()}
    assert _ends(play(Best("difference", better="lower"), moved)) == expected
    backwards = dict(reversed(columns.items()))
    assert _ends(play(Best("difference", better="lower"), backwards)) == expected


@given(st.integers(0, 10_000))
def test_precision_goes_by_the_size_of_the_mean(seed: int) -> None:
    """A negative mean needs as many replications as a positive one."""
    column = np.random.default_rng(seed).normal(5, 1, CAP)
    one, other = (play(Precision("difference"), {"a": sign * column}) for sign in (1, -1))
    assert _ends(one) == _ends(other)


def test_near_zero_an_absolute_precision_counts() -> None:
    column = np.random.default_rng(1).normal(0, 1, CAP)
    assert not play(Precision("difference", 0.05), {"a": column}).guaranteed
    assert play(Precision("difference", 0.05, absolute=0.2), {"a": column}).guaranteed


def test_rare_events_and_great_offsets_do_not_stop_it() -> None:
    """The first thirty runs show nothing: that is no precision, as one in ten runs may still have it; and 1e9 ± 1 has a spread."""
    rare = np.zeros(CAP)
    rare[50] = 1.0
    assert not play(Precision("missing_effects"), {"a": rare}).guaranteed
    offset = 1e9 + np.random.default_rng(2).normal(0, 1, CAP)
    stopping = play(Precision("difference", None, absolute=0.2), {"a": offset})
    assert stopping.guaranteed
    assert stopping.looks[-1].replications > 60


def test_infinite_values_are_never_precise_and_are_told_apart_by_signs() -> None:
    column = np.random.default_rng(3).lognormal(0, 1, CAP)
    censored = np.where(np.arange(CAP) % 3 == 0, math.inf, column + 1)
    assert not play(Precision("latency_p99_ms"), {"a": censored}).guaranteed
    assert play(Apart("latency_p99_ms"), {"a": column, "b": censored}).guaranteed
    assert not play(Apart("latency_p99_ms"), {"a": censored, "b": censored}).guaranteed


def test_those_that_are_nearly_equal_stop_it_if_that_is_asked_for() -> None:
    rng = np.random.default_rng(4)
    shared = rng.lognormal(0, 0.3, CAP)
    columns = {name: shared * np.exp(rng.normal(0, 0.01, CAP)) for name in "ab"}
    assert not play(Best("latency_p99_ms"), columns).guaranteed
    stopping = play(Best("latency_p99_ms", within=0.05), columns)
    assert stopping.guaranteed
    assert "within 5 % of each other" in stopping.looks[-1].found


# --- in a comparison ----------------------------------------------------------------------------------------------------------------


def test_a_comparison_stops_when_the_best_is_known(small: simtx.Scenario) -> None:
    """Outbox and 2PC answer sooner than the saga; who dropped out does not run on, and the runs are those of the fixed plan."""
    result = simtx.compare(small, ["saga", "2pc"], until="best latency_p50_ms", seed=5, workers=1)
    assert result.stopping is not None
    assert result.stopping.guaranteed
    assert result.stopping.looks[-1].strategies == ("2pc",)
    assert result.replications == 10
    assert result.executions == len(result.frame) == 20
    fixed = simtx.compare(small, ["saga", "2pc"], replications=2, seed=5, workers=1)
    first = result.frame[result.frame["replication"] < 2].reset_index(drop=True)
    assert first.equals(fixed.frame)
    narrow = interval(result.frame.query("strategy == 'saga'")["latency_p99_ms"], kind="positive")
    assert result.interval("saga", "latency_p99_ms").half_width > narrow.half_width


def test_the_cap_is_no_guarantee(small: simtx.Scenario) -> None:
    result = simtx.compare(small, ["2pc"], replications=3, until=Precision("latency_p99_ms", 0.001), workers=1)
    assert result.stopping is not None
    assert not result.stopping.guaranteed
    assert "ended before the rule was met; at most 3 replications" in str(result.stopping)


@pytest.mark.parametrize(
    ("until", "problem"),
    [
        ("fast", "'fast' is no rule; write 'best METRIC'"),
        ("latency_p99_ms within -5%", "is no rule"),
        ("best latency_p9_ms", "'latency_p9_ms' is no metric; did you mean 'latency_p99_ms'?"),
    ],
)
def test_wrong_rules_are_refused(small: simtx.Scenario, until: str, problem: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        simtx.compare(small, ["2pc"], until=until, workers=1)
    assert problem in str(caught.value)
    with pytest.raises(ScenarioError, match=r"answers mean different things .* write 'best decision_p99_ms'"):
        simtx.compare(small, ["2pc", "outbox"], until="best latency_p99_ms", workers=1)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Precision("x", 0),
        lambda: Precision("x", None),
        lambda: Precision("x", minimum=1),
        lambda: Apart("x", confidence=95),
        lambda: Best("x", better="less"),  # type: ignore[arg-type]
        lambda: Best("x", within=-0.1),
    ],
)
def test_wrong_arguments_are_refused(make: Callable[[], Rule]) -> None:
    with pytest.raises(ScenarioError):
        make()


def test_rules_can_be_written_as_text() -> None:
    assert parsed("latency_p99_ms within 5%") == Precision("latency_p99_ms", 0.05)
    assert parsed("drift_net_mean within 2.5") == Precision("drift_net_mean", None, 2.5)
    rules: Sequence[Rule] = (parsed("apart x"), parsed("best x"))
    assert rules == (Apart("x"), Best("x"))
    texts = ("best x", "apart x", "x within 5%", "x within 2.5")
    assert [written(parsed(text)) for text in texts] == list(texts)
    special = Best("x", within=0.02)
    assert written(special) is special
