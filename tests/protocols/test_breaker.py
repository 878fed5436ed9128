"""The circuit breaker: a call after the threshold waits for the cooldown, then one trial decides; and it never touches safety."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simtx.errors import ScenarioError
from simtx.protocols.breaker import TRANSITIONS, CircuitBreaker
from simtx.protocols.policies import BreakerPolicy

POLICY = BreakerPolicy(threshold=3, cooldown=2.0)


def opened() -> CircuitBreaker:
    """A breaker that opened at time 10."""
    breaker = CircuitBreaker(POLICY)
    for _ in range(3):
        breaker.failure(10.0)
    return breaker


def test_it_opens_after_that_many_consecutive_failures_and_not_before() -> None:
    breaker = CircuitBreaker(POLICY)
    for _ in range(2):
        breaker.failure(0.0)
        assert breaker.allow(0.0)
    breaker.failure(0.0)
    assert breaker.state == "open"
    assert not breaker.allow(0.0)


def test_a_success_in_between_starts_the_count_anew() -> None:
    breaker = CircuitBreaker(POLICY)
    for _ in range(10):
        breaker.failure(0.0)
        breaker.failure(0.0)
        breaker.success()
    assert breaker.state == "closed"


def test_no_call_passes_during_the_cooldown_and_exactly_one_at_its_end() -> None:
    breaker = opened()
    assert not breaker.allow(10.0)
    assert not breaker.allow(11.999)
    assert breaker.allow(12.0)
    assert breaker.state == "half-open"
    assert not breaker.allow(12.0)
    assert not breaker.allow(13.999)


def test_the_trial_decides() -> None:
    breaker = opened()
    assert breaker.allow(12.0)
    breaker.success()
    assert breaker.state == "closed"
    for _ in range(2):  # the count starts at 0 again
        breaker.failure(12.5)
    assert breaker.allow(12.5)

    breaker = opened()
    assert breaker.allow(12.0)
    breaker.failure(13.0)
    assert breaker.state == "open", "one failure is enough"
    assert not breaker.allow(14.999), "the cooldown starts at the trial's failure"
    assert breaker.allow(15.0)


def test_a_trial_that_is_never_reported_does_not_close_the_way_for_ever() -> None:
    breaker = opened()
    assert breaker.allow(12.0)
    assert breaker.allow(14.0)


def test_late_reports_of_earlier_calls_change_nothing_while_it_is_open() -> None:
    breaker = opened()
    breaker.success()
    breaker.failure(11.5)
    assert not breaker.allow(11.999)
    assert breaker.allow(12.0), "the cooldown was not prolonged"


@pytest.mark.parametrize("options", [{"threshold": 0}, {"cooldown": -1}, {"cooldown": float("nan")}])
def test_a_policy_without_sense_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(ScenarioError, match=f"^BreakerPolicy: {next(iter(options))}: must be "):
        BreakerPolicy(**options)


reports = st.lists(
    st.tuples(st.sampled_from(["allow", "success", "failure"]), st.integers(0, 12).map(lambda quarters: quarters / 4)),
    max_size=40,
)


@given(reports)
def test_calls_that_pass_while_it_is_not_closed_are_a_cooldown_apart(events: list[tuple[str, float]]) -> None:
    breaker = CircuitBreaker(POLICY)
    now, earliest = 0.0, 0.0
    for event, pause in events:
        now += pause
        before = breaker.state
        if event == "allow":
            passed = breaker.allow(now)
            assert passed == (before == "closed" or now >= earliest)
            if passed and before != "closed":
                earliest = now + POLICY.cooldown
        elif event == "success":
            breaker.success()
        else:
            breaker.failure(now)
            if before != "open" and breaker.state == "open":
                earliest = now + POLICY.cooldown


@given(reports)
def test_it_is_closed_while_fewer_failures_than_the_threshold_came_in_a_row(events: list[tuple[str, float]]) -> None:
    breaker = CircuitBreaker(POLICY)
    now, row = 0.0, 0
    for event, pause in events:
        now += pause
        before = breaker.state
        if event == "allow":
            breaker.allow(now)
        elif event == "success":
            breaker.success()
            row = 0
        else:
            breaker.failure(now)
            row += 1
        if before == "closed":
            assert breaker.state == ("open" if row >= POLICY.threshold else "closed")
        if breaker.state != "closed":
            row = 0
        targets = [to for state, kind, to in TRANSITIONS if (state, kind) == (before, event)]
        assert len(targets) == 1
        assert breaker.state in targets[0], f"{before} --{event}--> {breaker.state} is not in the table"


def test_every_row_of_the_table_happens() -> None:
    seen = set()
    for state, prepare in (("closed", CircuitBreaker(POLICY)), ("open", opened()), ("half-open", opened())):
        for event in ("allow", "success", "failure"):
            for repeat, when in ((1, 10.5), (3, 10.5), (1, 20.0)):
                breaker = CircuitBreaker(POLICY)
                breaker.state, breaker.since = prepare.state, prepare.since
                if state == "half-open":
                    assert breaker.allow(12.0)
                for _ in range(repeat):
                    before = breaker.state
                    if event == "allow":
                        breaker.allow(when)
                    elif event == "success":
                        breaker.success()
                    else:
                        breaker.failure(when)
                    seen.add((before, event, breaker.state))
    assert seen == {(state, event, to) for state, event, targets in TRANSITIONS for to in targets}
