"""Alerts: what signals a log gives, when rules fire, which fault an alert belongs to, and the same rules for Prometheus."""

from __future__ import annotations

import math
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import simtx
from simtx.alerts import (
    SIGNALS,
    AlertRule,
    Alerts,
    BurnRate,
    Change,
    Rate,
    Signals,
    Threshold,
    default_rules,
    prometheus,
    read_rules,
    signals,
    watch,
)
from simtx.alerts.watching import _firing
from simtx.errors import ScenarioError
from simtx.metrics.run import Run
from tests.amounts import many


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    plt.close("all")


def seen(every: float = 1.0, **values: list[float]) -> Signals:
    """Signals made by hand; what is not given is zero."""
    length = len(next(iter(values.values())))
    return Signals(
        every,
        np.arange(length) * every,
        {name: np.array(values.get(name, [0.0] * length), dtype=float) for name in SIGNALS},
        length * every,
        (),
    )


@pytest.fixture(scope="module")
def dead_hub() -> Run:
    """Two-phase commit whose coordinator dies in doubt, and is away for four seconds."""
    return simtx.story("coordinator-dies").run(1).runs["2pc"]


# --- rules --------------------------------------------------------------------------------------------------------------------


def fires(rule: AlertRule, looked: Signals) -> list[int]:
    return [int(at) for at in np.flatnonzero(rule.holds(looked))]


def test_a_threshold_is_above_and_not_at_its_level() -> None:
    assert fires(Threshold(name="T", signal="drift", above=2), seen(drift=[1, 2, 3, 2])) == [2]


def test_a_rate_is_a_second_or_for_each_and_says_nothing_of_few() -> None:
    grown: list[float] = [0, 0, 4, 8, 8, 8]
    asked: list[float] = [0, 10, 20, 30, 40, 50]
    assert fires(Rate(name="R", signal="retries", above=1.5, window=2), seen(retries=grown)) == [2, 3, 4]
    assert fires(
        Rate(name="R", signal="retries", per="requests", above=0.3, window=1), seen(retries=grown, requests=asked)
    ) == [2, 3]
    assert not fires(Rate(name="R", signal="retries", above=0.1, window=1, least=5), seen(retries=grown))
    # Retries without any request: PromQL divides by zero, and infinity is above everything.
    assert fires(Rate(name="R", signal="retries", per="requests", above=0.3, window=1), seen(retries=grown)) == [2, 3]


def test_a_change_compares_a_share_with_its_own_past() -> None:
    """One abort in ten for long, then five in ten: the rise counts, and soon the past is no better."""
    decided = [10.0 * k for k in range(12)]
    aborted = [1.0 * k for k in range(8)] + [12.0, 17.0, 22.0, 27.0]
    rule = Change(name="C", signal="aborts", per="decisions", times=3, above=0.2, window=1, baseline=4)
    assert fires(rule, seen(aborts=aborted, decisions=decided)) == [8]


def test_a_burn_rate_needs_both_windows() -> None:
    """A burst that is over fires no more, although the long window still sees it."""
    asked = [10.0 * k for k in range(12)]
    slow: list[float] = [0, 0, 0, 10, 20, 20, 20, 20, 20, 20, 20, 20]
    rule = BurnRate(name="B", objective=0.9, factor=2, long=6, short=1)
    assert fires(rule, seen(slow=slow, requests=asked)) == [3, 4]


@given(
    holds=st.lists(st.booleans(), min_size=1, max_size=40),
    hold=st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.5]),
    every=st.sampled_from([0.5, 1.0, 15.0]),
)
@settings(max_examples=many(100, 1_000), deadline=None)
@pytest.mark.more
def test_an_alert_fires_when_its_condition_has_held_long_enough_and_ends_when_it_does_not(
    holds: list[bool], hold: float, every: float
) -> None:
    """Against a state machine that goes from scrape to scrape, as Prometheus does."""
    looked = seen(every, drift=[0.0] * len(holds))
    expected: list[tuple[float, float]] = []
    since: float | None = None
    firing = False
    for now, held in zip(looked.times, holds, strict=True):
        if not held:
            if firing:
                expected[-1] = (expected[-1][0], float(now))
            since, firing = None, False
            continue
        since = float(now) if since is None else since
        if not firing and now - since >= hold - 1e-9:
            firing = True
            expected.append((float(now), math.inf))
    assert _firing(looked, np.array(holds), hold) == expected


# --- signals ------------------------------------------------------------------------------------------------------------------


def test_signals_agree_with_the_figures_of_the_run(dead_hub: Run) -> None:
    looked = signals(dead_hub.trace, dead_hub.scenario, objective=1.0)
    table = dead_hub.transactions
    last = {name: values[-1] for name, values in looked.values.items()}
    assert last["requests"] == len(table)
    assert last["aborts"] == (table["outcome"] == "aborted").sum()
    assert last["retries"] == table["retries"].sum()
    late = table["latency_ms"].isna() | (table["latency_ms"] > 1000)
    assert last["slow"] == late.sum() > 0
    assert looked.values["in_doubt_age"].max() == pytest.approx(
        table["in_doubt_ms"].max() / 2 / 1000, abs=1.0
    )  # two branches
    assert last["half_done_age"] == last["drift"] == 0
    for name, one in SIGNALS.items():
        if one.kind == "counter":
            assert (np.diff(looked.values[name]) >= 0).all()


def test_what_a_breaker_holds_back_is_a_rejection() -> None:
    scenario = simtx.load("transfer").replace(
        **{
            "workload.rate": "40/s",
            "run.transactions": 200,
            "run.warmup": "0s",
            "policies.breaker": {"threshold": 3, "cooldown": "500ms"},
            "policies.call_timeout": "200ms",
            "faults": [{"kind": "crash", "node": "receiver", "at": "1s", "duration": "2s"}],
        }
    )
    run = simtx.simulate(scenario, "saga", seed=1, trace=True)
    found = watch(run)
    assert found.signals.values["rejections"][-1] == run.summary["breaker_rejections"] > 0
    assert "Rejections" in found.noticed[0].rules


def test_what_a_dual_write_has_lost_gets_older_when_the_run_is_over() -> None:
    told = simtx.story("broker-outage").run(1)
    found = watch(told.runs["dual-write"], every=0.5, after=20.0)
    ages = found.signals.values["half_done_age"]
    assert ages[-1] - ages[-3] == pytest.approx(1.0)
    assert found.signals.values["drift"][-1] > 0
    assert any(one.rule.name == "HalfDone" and math.isinf(one.end) for one in found.fired)
    assert watch(told.runs["outbox"], every=0.5).signals.values["drift"][-1] == 0


# --- whole runs ---------------------------------------------------------------------------------------------------------------


def test_a_dead_coordinator_is_noticed_by_branches_in_doubt(dead_hub: Run) -> None:
    found = watch(dead_hub)
    (fault,) = found.noticed
    assert fault.rules[0] == "InDoubt"
    assert 2.0 <= fault.after <= 4.0
    assert not found.false
    assert not found.unnoticed
    assert found.faults.iloc[0]["noticed"]
    assert set(found.frame["fault"]) == {"crash of hub"}
    assert "is noticed after" in str(found)


def test_who_scrapes_rarely_sees_less(dead_hub: Run) -> None:
    rare = watch(dead_hub, [Threshold(name="InDoubt", signal="in_doubt_age", above=2)], every=15.0)
    assert rare.unnoticed == ["crash of hub"]
    assert "nobody would have noticed the crash of hub" in str(rare)


def test_what_fires_without_a_fault_is_a_false_alarm(dead_hub: Run) -> None:
    always = Rate(name="Busy", signal="requests", above=0.1, window=1)
    early = watch(dead_hub, [always])
    assert [one.fault for one in early.fired] == [None]
    assert early.false[0].begin < 2.0
    late = Threshold(name="Old", signal="in_doubt_age", above=2)
    assert watch(dead_hub, [late], grace=0.0).false == ()


def test_a_quiet_run_raises_nothing() -> None:
    scenario = simtx.load("transfer").replace(**{"workload.rate": "20/s", "run.transactions": 200})
    for strategy in ("2pc", "saga", "outbox", "dual-write"):
        found = watch(simtx.simulate(scenario, strategy, seed=3, trace=True))
        assert not found.fired, found


def test_a_comparison_says_which_faults_nobody_would_have_noticed(dead_hub: Run) -> None:
    comparison = simtx.compare(dead_hub.scenario, ["2pc", "outbox"], replications=2, seed=1, workers=1)
    found = comparison.alerts()
    assert found["2pc"].faults.equals(watch(dead_hub).faults)
    assert found["outbox"].struck == ()  # it has no coordinator
    with pytest.raises(ScenarioError, match="did you mean 'every'"):
        comparison.alerts(evry=3)


def test_the_picture_names_the_fault_and_what_never_fired(dead_hub: Run) -> None:
    ax = watch(dead_hub).plot()
    assert "InDoubt" in [label.get_text() for label in ax.get_yticklabels()]
    text = " ".join(one.get_text() for one in [*ax.texts, ax.title, *ax.figure.texts])
    assert "crash of hub" in text.replace("\n", " ")
    assert "never fired: " in text.replace("\n", " ")
    assert watch(dead_hub, [Threshold(name="Never", signal="drift", above=1e9)]).plot(ax=plt.subplots()[1])


# --- files --------------------------------------------------------------------------------------------------------------------


def test_rules_for_prometheus_are_yaml_that_names_exported_metrics_only() -> None:
    written = yaml.safe_load(prometheus(default_rules()))
    rules = written["groups"][0]["rules"]
    assert [one["alert"] for one in rules] == [one.name for one in default_rules()]
    assert rules[0]["expr"] == "max(simtx_oldest_in_doubt_seconds) > 2"
    burn = next(one for one in rules if one["alert"] == "SlowAnswers")["expr"]
    assert burn == (
        "sum(increase(simtx_slow_requests_total[60s])) / sum(increase(simtx_requests_total[60s])) > 14.4 * 0.01 and "
        "sum(increase(simtx_slow_requests_total[5s])) / sum(increase(simtx_requests_total[5s])) > 14.4 * 0.01"
    )


RULES = """
[[rules]]
kind = "threshold"
name = "Drift"
signal = "drift"
above = 100
hold = "5s"

[[rules]]
kind = "rate"
name = "Undone"
signal = "compensations"
above = 2
window = "10s"
severity = "ticket"
"""


def test_rules_are_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "rules.toml"
    file.write_text(RULES)
    assert read_rules(file) == (
        Threshold(name="Drift", signal="drift", above=100, hold=5.0),
        Rate(name="Undone", signal="compensations", above=2, window=10.0, severity="ticket"),
    )


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('signal = "drift"', 'signal = "drif"', "'drif' is no gauge; did you mean 'drift'"),
        ('signal = "drift"', 'signal = "retries"', "'retries' is no gauge"),
        ('kind = "rate"', 'kind = "rates"', "rates"),
        ("above = 100", 'above = "much"', "above"),
        ('hold = "5s"', 'hold = "-5s"', "hold"),
        ('window = "10s"', 'window = "0s"', "window"),
        ('severity = "ticket"', 'severty = "ticket"', "did you mean 'severity'"),
        ('name = "Undone"', 'name = "Drift"', "two rules are called 'Drift'"),
        ('name = "Undone"', 'name = "no name"', "is no name of a rule"),
        ('severity = "ticket"', 'severity = "loud"', "severity"),
        (RULES, "", "rules"),
        (RULES, "rules = 3", "rules"),
        (RULES, RULES + "\n[other]\na = 1", "nothing else"),
        (RULES, "[[", "TOML"),
    ],
)
def test_a_wrong_rule_is_one_line(tmp_path: Path, before: str, after: str, said: str) -> None:
    file = tmp_path / "rules.toml"
    assert before in RULES
    file.write_text(RULES.replace(before, after))
    with pytest.raises(ScenarioError, match=said) as caught:
        read_rules(file)
    assert "rules.toml" in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(ScenarioError, match="there is no such file"):
        read_rules(tmp_path / "none.toml")


@pytest.mark.parametrize(
    "options",
    [
        {
            "kind": "change",
            "times": 2,
            "above": 0.1,
            "window": 5,
            "baseline": 5,
            "signal": "aborts",
            "per": "decisions",
        },
        {"kind": "burn-rate", "objective": 0.5, "factor": 2, "long": 60, "short": 5},
        {"kind": "burn-rate", "objective": 0.99, "factor": 2, "long": 5, "short": 5},
    ],
)
def test_a_rule_that_could_never_fire_or_compares_with_itself_is_refused(options: dict[str, Any]) -> None:
    kinds: dict[str, Any] = {"change": Change, "burn-rate": BurnRate}
    with pytest.raises(ValueError, match=r"must be|never fire"):
        kinds[options["kind"]](name="R", **options)


def test_nonsense_is_refused(dead_hub: Run) -> None:
    with pytest.raises(ScenarioError, match="at least one rule"):
        watch(dead_hub, [])
    with pytest.raises(ScenarioError, match="every"):
        watch(dead_hub, every=0)
    assert isinstance(watch(dead_hub), Alerts)


@pytest.mark.heavy
def test_the_page_shows_what_the_rules_say_of_every_story() -> None:
    page = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text(encoding="utf-8")
    made = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "make_alerts.py"))
    assert "\n".join(made["rows"]()) in page
