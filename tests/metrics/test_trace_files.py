"""An event log is a file: written, read again, and refused with one line where it is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import simtx
from simtx.errors import ScenarioError
from simtx.event_log.log import EventLog, LogEntry

EVENT = LogEntry(0, 0.5, "send", "a", 1, None, "role", "b", "go", "käse \u2028 \n")


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    """Bit for bit, with text of any kind."""
    run = simtx.simulate(
        simtx.load("transfer").replace(**{"run.transactions": 50, "run.warmup": 0}), "saga", trace=True
    )
    path = tmp_path / "log.jsonl"
    run.trace.save(path)
    assert list(EventLog.load(path)) == list(run.trace)
    assert len(path.read_text().splitlines()) == len(run.trace) + 1
    EventLog([EVENT]).save(str(path))
    assert list(EventLog.load(str(path))) == [EVENT]


def test_the_first_line_says_the_version_and_names_the_fields_and_may_be_missing(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    EventLog([EVENT]).save(path)
    first, rest = path.read_text(encoding="utf-8").split("\n", 1)
    assert json.loads(first) == ["simtx-event-log", 1, *LogEntry._fields]
    assert list(EventLog.parse(rest)) == [EVENT]
    before = json.dumps(LogEntry._fields)  # as it was when the format had no version
    assert list(EventLog.parse(f"{before}\n{rest}")) == [EVENT]
    with pytest.raises(
        ScenarioError, match=r"^event log, line 1: is version \[2\] of an event log; this simtx reads version 1$"
    ):
        EventLog.parse(f"{first.replace('1', '2', 1)}\n{rest}")
    assert len(EventLog.parse("")) == 0


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"id": "0"}, "field 'id': expected a whole number, got '0'"),
        ({"id": True}, "field 'id': expected a whole number, got True"),
        ({"time": None}, "field 'time': expected a number, got None"),
        ({"cause": 1.5}, "field 'cause': expected a whole number or null, got 1.5"),
        ({"detail": {}}, "field 'detail': expected text, got {}"),
    ],
)
def test_a_wrong_field_is_named_with_its_line(change: dict[str, object], problem: str) -> None:
    row = list({**EVENT._asdict(), **change}.values())
    with pytest.raises(ScenarioError) as caught:
        EventLog.parse(f"{json.dumps(EVENT)}\n{json.dumps(row)}\n", "mine.jsonl")
    assert str(caught.value) == f"mine.jsonl, line 2: {problem}"


@pytest.mark.parametrize("text", ["{}", "[1, 2]", "nonsense", '"id"', "[1"])
def test_what_is_no_event_log_is_refused(text: str) -> None:
    with pytest.raises(ScenarioError, match=r"^event log, line 1: is n.* (event log|array)"):
        EventLog.parse(text)


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"none\.jsonl: No such file or directory$"):
        EventLog.load(tmp_path / "none.jsonl")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ScenarioError, match=r"binary: cannot be read: it is not UTF-8 text$"):
        EventLog.load(tmp_path / "binary")
