"""Durations, rates and probabilities mean what is written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simtx.scenario import units


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5ms", 0.005),
        ("3ms", 0.003),
        ("200us", 0.0002),
        ("200µs", 0.0002),
        ("15 ns", 1.5e-8),
        ("30s", 30.0),
        ("2 min", 120.0),
        ("1h", 3600.0),
        ("7d", 604800.0),
        ("1.5e2 ms", 0.15),
        (".5s", 0.5),
        ("0", 0.0),
        (0, 0.0),
    ],
)
def test_duration(text, seconds):
    assert units.duration(text) == seconds


@given(st.integers(0, 10**9))
def test_a_duration_is_the_float_nearest_to_what_is_written(number):
    assert units.duration(f"{number}ms") == number / 1000
    assert units.duration(f"{number}us") == number / 10**6


def test_a_plain_number_is_seconds_where_it_is_allowed():
    assert units.duration(0.25, unit_needed=False) == 0.25
    with pytest.raises(ValueError, match="has no unit"):
        units.duration(0.25)


@pytest.mark.parametrize("value", ["5 parsecs", "ms", "", "-1s", "nan s", "inf s", float("nan"), True, None, [1]])
def test_what_is_no_duration_is_refused(value):
    with pytest.raises(ValueError, match=r"no duration|unknown unit|negative|not finite"):
        units.duration(value, unit_needed=False)


@pytest.mark.parametrize(
    ("text", "rate"), [("300/s", 300), ("20/min", 1 / 3), ("7.2 / h", 0.002), (5, 5), ("86400/d", 1)]
)
def test_rate(text, rate):
    assert units.rate(text) == pytest.approx(rate)


@pytest.mark.parametrize(("text", "chance"), [(0, 0), (1, 1), (0.25, 0.25), ("0.5%", 0.005), ("100 %", 1)])
def test_probability(text, chance):
    assert units.probability(text) == chance


@pytest.mark.parametrize("value", [-0.1, 1.1, "101%", "0.5", True, float("nan")])
def test_what_is_no_probability_is_refused(value):
    with pytest.raises(ValueError, match="is no probability"):
        units.probability(value)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0"),
        (2e-9, "2 ns"),
        (5e-5, "50 us"),
        (0.0025, "2.5 ms"),
        (1, "1 s"),
        (90, "90 s"),
        (120, "2 min"),
        (7200, "2 h"),
    ],
)
def test_durations_are_shown_in_the_unit_that_reads_best(seconds, text):
    assert units.duration_text(seconds) == text
