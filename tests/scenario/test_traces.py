"""Arrivals from files as they are found: nothing of a file is guessed, and nothing in it is left out without a word.

The samples have the column layouts of published traces; their rows are made up.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import simtx
from simtx.errors import ScenarioError
from simtx.scenario import Scenario, from_dict

AZURE_2023 = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
2023-11-16 18:15:51.2225670,879,55
"""
AZURE_2024 = """TIMESTAMP,ContextTokens,GeneratedTokens
2024-05-10 00:00:00.009930+00:00,2162,5
2024-05-10 00:00:00.017335+00:00,2399,6
2024-05-10 00:00:02.009930+00:00,76,15
"""
BURSTGPT = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45,ChatGPT,1087,230,1317,Conversation log
118,GPT-4,417,276,693,API log
"""
BURSTGPT_SESSIONS = """Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type
5,,2.5,ChatGPT,472,18,490,Conversation log
118,a-7,9.25,GPT-4,417,276,693,API log
"""
COMMON = """192.0.2.7 - frank [10/Oct/2025:13:55:38 -0700] "GET /cart HTTP/1.0" 200 2326
192.0.2.9 - - [10/Oct/2025:13:55:36 -0700] "POST /pay?a=\\"b\\" HTTP/1.1" 302 -

198.51.100.3 - - [10/Oct/2025:20:55:40 +0000] "-" 408 0
"""
COMBINED = """192.0.2.7 - - [10/Oct/2025:13:55:36 +0000] "GET /cart HTTP/1.1" 200 2326 "https://example.org/" "Mozilla/5.0 (X11)"
192.0.2.7 - two words [10/Oct/2025:13:55:36 +0000] "GET /pay HTTP/1.1" 200 12 "-" "curl/8.5"
192.0.2.7 - - [10/Oct/2025:13:55:39 +0000] "GET /done HTTP/1.1" 200 12 "-" "-"
"""


@pytest.fixture
def arrivals(tmp_path: Path, purchase: dict[str, Any]) -> Any:
    """Load a file of arrivals with these keys."""

    def loaded(text: str, **keys: Any) -> Scenario:
        (tmp_path / "day.csv").write_text(text, encoding="utf-8")
        purchase["workload"] = {"kind": "trace", "trace": "day.csv", **keys}
        purchase["run"] = {}
        return from_dict(purchase, folder=tmp_path)

    return loaded


def test_the_layout_of_the_azure_llm_inference_traces(arrivals: Any) -> None:
    """Date-times with seven digits of a second, or with a time zone; a column of tokens is the number that a parameter wants."""
    keys = {
        "column": {"time": "TIMESTAMP", "price": "ContextTokens"},
        "ignore": ["GeneratedTokens"],
        "unit": "datetime",
    }
    scenario = arrivals(AZURE_2023, **keys, origin="first")
    assert scenario.workload.trace_times == pytest.approx((0, 4.314579, 4.541977), abs=2e-6)
    assert scenario.workload.trace_parameters == {"price": (374.0, 396.0, 879.0)}
    scenario = arrivals(AZURE_2023, **keys, origin="2023-11-16 18:15:00")
    assert scenario.workload.trace_times[0] == pytest.approx(46.68059)
    scenario = arrivals(AZURE_2024, **keys, origin="2024-05-10 02:00:00+02:00")
    assert scenario.workload.trace_times == pytest.approx((0.00993, 0.017335, 2.00993))


def test_the_layouts_of_burstgpt(arrivals: Any) -> None:
    """Seconds since its start; names with spaces; columns that nobody needs."""
    keys = {"column": {"time": "Timestamp", "price": "Request tokens"}, "ignore": ["*"]}
    scenario = arrivals(BURSTGPT, **keys)
    assert scenario.workload.trace_times == (5, 45, 118)
    assert scenario.workload.trace_parameters == {"price": (472, 1087, 417)}
    keys["column"] = {"time": "Timestamp", "customer": "Session ID", "price": "Elapsed time"}
    scenario = arrivals(BURSTGPT_SESSIONS, **keys)
    assert scenario.workload.trace_parameters == {"customer": ("", "a-7"), "price": (2.5, 9.25)}


def test_access_logs_of_web_servers(arrivals: Any) -> None:
    """Lines are written when a request ends and sorted by when it began; the first request is time zero; no field has to be used."""
    scenario = arrivals(COMMON, format="common", column={"customer": "host"})
    assert scenario.workload.trace_times == (0, 2, 4)
    assert scenario.workload.trace_parameters == {"customer": ("192.0.2.9", "192.0.2.7", "198.51.100.3")}
    scenario = arrivals(COMBINED, format="combined", column={"price": "size"}, origin="10/Oct/2025:13:55:00 +0000")
    assert scenario.workload.trace_times == (36, 36, 39)
    assert scenario.workload.trace_parameters == {"price": (2326, 12, 12)}
    with pytest.raises(
        ScenarioError,
        match=r"workload\.format: 'day\.csv' line 1 is not in the 'combined' log format: .*; write format = 'common'$",
    ):
        arrivals(COMMON, format="combined")
    with pytest.raises(ScenarioError, match=r"'day\.csv' line 1 is not in the 'common' log format: 'time'$"):
        arrivals("time\n1\n", format="common")
    with pytest.raises(ScenarioError, match=r"has no column 'agnet' for 'customer'; did you mean 'agent'\?"):
        arrivals(COMBINED, format="combined", column={"customer": "agnet"})


def test_a_clock_that_ticks_in_seconds_is_said_and_can_be_spread(arrivals: Any) -> None:
    """A second's requests arrive all at once otherwise, which is a burst that nobody has measured."""
    scenario = arrivals(COMBINED, format="combined")
    assert any("33% of the arrivals have the same time" in line for line in scenario.warnings)
    scenario = arrivals(COMBINED, format="combined", spread="1s")
    assert scenario.workload.trace_times == (0.25, 0.75, 3.5)
    assert not any("the same time" in line for line in scenario.warnings)
    scenario = arrivals("time\n0\n0\n0.5\n", spread="1s")
    assert scenario.workload.trace_times == (0.125, 0.375, 1.0), "nothing overtakes the next tick"


@pytest.mark.parametrize(
    ("unit", "size"), [("ns", 1e-9), ("us", 1e-6), ("ms", 1e-3), ("s", 1), ("min", 60), ("h", 3600)]
)
def test_units(unit: str, size: float, arrivals: Any) -> None:
    scenario = arrivals("time\n1\n2.5\n4\n", unit=unit, origin=1)
    assert scenario.workload.trace_times == pytest.approx((0, 1.5 * size, 3 * size))


def test_no_digit_of_a_large_number_is_lost(arrivals: Any) -> None:
    """Nanoseconds since 1970 have more digits than a float."""
    scenario = arrivals("time\n1190146243000000001\n1190146243000000003\n", unit="ns", origin="first")
    assert scenario.workload.trace_times == (0, 2e-9)


@pytest.mark.parametrize("strategy", ["outbox", "2pc"])
def test_epoch_times_are_refused_without_an_origin_and_play_with_one(strategy: str, arrivals: Any) -> None:
    """They used to give a throughput of 0.000000, and a run of 37 years with a relay that polls."""
    text = "time\n" + "".join(f"{1190146243 + n / 10}\n" for n in range(100))
    with pytest.raises(ScenarioError) as caught:
        arrivals(text)
    assert str(caught.value) == (
        "scenario: workload.origin: 'day.csv': 1190146243.0 s is more than 30 years after the origin; write origin = 'first'"
    )
    run = simtx.simulate(arrivals(text, origin="first"), strategy)
    assert run.summary["throughput_per_s"] == pytest.approx(10, rel=0.05)


def test_an_excerpt_from_the_middle_of_a_day_needs_an_origin(arrivals: Any) -> None:
    noon = "time\n43200\n43260\n43320\n"
    with pytest.raises(
        ScenarioError,
        match=r"begins 12 h after time 0 and lasts 2 min; write origin = 'first', or the moment .* such as 43200",
    ):
        arrivals(noon)
    assert arrivals(noon, origin="first").workload.trace_times == (0, 60, 120)
    assert arrivals(noon, origin=43100).workload.trace_times == (100, 160, 220)
    assert arrivals(noon, origin=0).workload.trace_times == (43200, 43260, 43320), "said so, and so meant"
    assert arrivals("time\n50\n52\n").workload.trace_times == (50, 52), "less than a minute needs no word"


def test_a_moment_of_toml_is_one_too(tmp_path: Path) -> None:
    (tmp_path / "day.csv").write_text(AZURE_2023)
    file = tmp_path / "shop.toml"
    file.write_text(
        'extends = "transfer"\n[workload]\nkind = "trace"\ntrace = "day.csv"\nunit = "datetime"\norigin = 2023-11-16 18:15:40\n'
        'ignore = ["ContextTokens", "GeneratedTokens"]\ncolumn = { time = "TIMESTAMP" }\n[run]\ntransactions = 3\nwarmup = "0s"\n'
    )
    assert simtx.load(file).workload.trace_times[0] == pytest.approx(6.68059)


@pytest.mark.parametrize(
    ("text", "keys", "line"),
    [
        ("time,custmer\n1,a\n", {}, "trace: 'day.csv': nothing uses column 'custmer'; did you mean 'customer'? (a column is given to a"),
        ("time,x,y\n1,a,b\n", {}, "trace: 'day.csv': nothing uses columns 'x', 'y' (a column is given to a parameter by `column`, or named"),
        ("time,x\n1,a\n", {"ignore": ["y"]}, "ignore: 'day.csv' has no column 'y'; one of 'time', 'x'"),
        ("when\n1\n", {"column": {"time": "wen"}}, "column: 'day.csv' has no column 'wen' for 'time'; did you mean 'when'?"),
        ("time\n1\n", {"column": {"custmer": "time"}}, "column: 'custmer' is no parameter; did you mean 'customer'?"),
        ("time\n1\n", {"unit": "sec"}, "unit: 'sec' is no unit of time; one of 'ns', 'us', 'ms', 's', 'min', 'h', 'd', 'datetime'; or give"),
        (AZURE_2023, {"column": {"time": "TIMESTAMP"}, "ignore": ["*"]}, "trace: 'day.csv' line 2: '2023-11-16 18:15:46.6805900' in column 'TIMESTAMP' is no number; for date-times write unit = 'datetime', or"),
        (AZURE_2023, {"column": {"time": "TIMESTAMP"}, "ignore": ["*"], "unit": "datetime"}, "origin: is missing: at which moment does the run"),
        ("time\n1\n2\n", {"unit": "datetime", "origin": "first"}, "trace: 'day.csv' line 2: '1' in column 'time' is no date-time in ISO 8601"),
        ("time\n1\n2\n", {"unit": "%H", "origin": "first"}, None),
        ("time\nx\n", {"unit": "%H", "origin": "first"}, "trace: 'day.csv' line 2: 'x' in column 'time' is no date-time of the format '%H'"),
        ("time\n1\n2\n", {"origin": "frist"}, "origin: 'frist' is no moment of this file; write 'first', or a moment as in the file, such as '1'"),
        ("time\n1\n2\n", {"origin": 1.5}, "trace: 'day.csv' line 2: time -0.5 is negative: before the origin"),
        ("time\n1\n2\n", {"origin": True}, "origin: true is no moment; write 'first', or a time as in the file"),
        ("time\n2024-01-01\n2024-01-02T00:00:00Z\n", {"unit": "datetime", "origin": "first"}, "trace: 'day.csv' has date-times with a time zone"),
        ("time\n2024-01-01\n", {"unit": "datetime", "origin": "2024-01-01T00:00:00Z"}, "origin: '2024-01-01T00:00:00Z' has a time zone, unlike"),
        ("time\n2\n1\n", {}, "trace: 'day.csv' line 3: time 1 is before that of the line above, 2; write sort = true if that is meant"),
        ("time\n2\n1\n", {"sort": True}, None),
        ("time\nnan\n", {}, "trace: 'day.csv' line 2: 'nan' in column 'time' is no number"),
        ("time,price\n1\n", {}, "trace: 'day.csv' line 2: none in column 'price' is no number"),
    ],
)  # fmt: skip
def test_every_flaw_is_one_line(text: str, keys: dict[str, Any], line: str | None, arrivals: Any) -> None:
    if line is None:
        arrivals(text, **keys)
        return
    with pytest.raises(ScenarioError) as caught:
        arrivals(text, **keys)
    assert str(caught.value).lower().startswith(f"scenario: workload.{line}".lower())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("step", "start", "looks"),
    [
        (90, 0, "one in 90 s. Write unit = 'ms'"),
        (200_000, 0, "unit = 'us'"),
        (20, 1_190_146_243_000, "look like ms since 1970; write unit = 'ms'"),
        (20, 1_190_146_243_000_000, "look like us since 1970; write unit = 'us'"),
    ],
)
def test_times_that_can_hardly_be_seconds_take_a_unit(step: int, start: int, looks: str, arrivals: Any) -> None:
    text = "time\n" + "".join(f"{start + step * n}\n" for n in range(20))
    with pytest.raises(ScenarioError) as caught:
        arrivals(text, origin="first")
    assert str(caught.value).startswith("scenario: workload.unit: is missing: 'day.csv' has ")
    assert looks in str(caught.value)
    assert "unit" not in " ".join(arrivals(text, origin="first", unit="s").warnings)


def test_times_that_may_be_milliseconds_are_warned_of(arrivals: Any) -> None:
    text = "time\n" + "".join(f"{20 * n}\n" for n in range(20))
    said = [line for line in arrivals(text).warnings if "unit" in line]
    assert said == [
        "workload.trace: its times are taken for seconds: 20 arrivals, one in 20 s; if they are ms write unit = 'ms', if that is right, unit = 's'"
    ]
    for quiet in (arrivals(text, unit="s"), arrivals(text, unit="ms"), arrivals(text.replace("0\n", "0.5\n"))):
        assert not [line for line in quiet.warnings if "unit" in line]


def test_keys_of_a_trace_belong_to_a_trace(purchase: dict[str, Any]) -> None:
    purchase["workload"] = {"rate": 5, "origin": "first"}
    with pytest.raises(ScenarioError, match=r"workload\.origin: does not belong to a poisson workload"):
        from_dict(purchase)
