"""Histories of other tools: what they hold becomes transactions, and what is not read is said in one line."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from simtx.cli import main
from simtx.errors import ScenarioError
from simtx.histories import check_history
from simtx.histories.parsing import read_file, read_history

EDN = """; Elle's own way: several maps in one file
{:type :invoke, :f :txn, :value [[:append 9 1] [:r 9 nil]], :process 0, :time 10, :index 0}
{:type :invoke :f :txn :value [[:append 9 2] [:r 8 nil]] :process 1 :time 11 :index 1}
{:type :info, :f :start, :process :nemesis, :value {:n1 #{"a" "b"}}, :time 12, :index 2}
#jepsen.history.Op{:type :ok, :f :txn, :value [[:append 9 1] [:r 9 [1]]], :process 0, :time 13, :index 3}
{:type :fail, :f :txn, :value [[:append 9 2] [:r 8 nil]], :process 1, :error [:timeout "a\\nb"], :index 4}
#_ {:type :nonsense}
{:type :invoke, :f :txn, :value [[:w :x 1] [:r "x" nil]], :process 2, :index 5}
{:type :info, :f :txn, :process 2, :index 6, :error #object[java.lang.Exception 0x12 "e"]}
{:type :invoke, :f :txn, :value [[:w :x 2]], :process 3, :index 7}
"""

FROM_EDN: list[dict[str, Any]] = [
    {"id": 3, "process": 0, "status": "ok", "ops": [["append", 9, 1], ["r", 9, [1]]], "start": 0, "end": 3},
    {"id": 4, "process": 1, "status": "fail", "ops": [["append", 9, 2], ["r", 8]], "start": 1, "end": 4},
    {"id": 6, "process": 2, "status": "info", "ops": [["w", ":x", 1], ["r", "x"]], "start": 5, "end": 6},
    {"id": "7 (no answer)", "process": 3, "status": "info", "ops": [["w", ":x", 2]], "start": 7},
]


def read(tmp_path: Path, content: str | bytes, name: str = "history.any") -> list[Any]:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    entries = read_file(path)
    assert isinstance(entries, list)
    read_history(entries)
    return list(entries)


def test_jepsen_in_edn(tmp_path: Path) -> None:
    pytest.importorskip("edn_format")
    assert read(tmp_path, EDN) == FROM_EDN
    assert read(tmp_path, f"[{EDN}]") == FROM_EDN


def test_jepsen_in_json(tmp_path: Path) -> None:
    operations = [
        {"type": "invoke", "f": "txn", "value": [["append", 9, 1], ["r", 9, None]], "process": 0, "index": 0},
        {"type": "info", "f": "kill", "process": "nemesis", "value": None, "index": 1},
        {"type": "ok", "f": "txn", "value": [["append", 9, 1], ["r", 9, [1]]], "process": 0, "index": 2},
    ]
    expected = [{"id": 2, "process": 0, "status": "ok", "ops": [["append", 9, 1], ["r", 9, [1]]], "start": 0, "end": 2}]
    assert read(tmp_path, json.dumps(operations)) == expected
    assert read(tmp_path, "\n".join(map(json.dumps, operations))) == expected
    (alone,) = read(tmp_path, json.dumps(operations[2:]))  # completions alone say nothing of time
    assert "start" not in alone


def test_the_form_of_lines(tmp_path: Path) -> None:
    assert read(tmp_path, "w(1,5,0,0)\nr(1,5,1,1)\nr(2,0,1,1)\n\nw(2,7,0,2)\n") == [
        {"id": 0, "process": 0, "status": "ok", "ops": [["w", 1, 5]]},
        {"id": 1, "process": 1, "status": "ok", "ops": [["r", 1, 5], ["r", 2, None]]},
        {"id": 2, "process": 0, "status": "ok", "ops": [["w", 2, 7]]},
    ]


def dbcop(sessions: list[list[tuple[list[tuple[bool, int, int, bool]], bool]]]) -> bytes:
    """The bytes that dbcop writes."""
    parts = [struct.pack("<5Q", 0, len(sessions), 2, 3, 2)]
    for text in (b"a history", b"2020-01-01T00:00:00+00:00", b"2020-01-01T00:00:01+00:00"):
        parts += [struct.pack("<Q", len(text)), text]
    parts.append(struct.pack("<Q", len(sessions)))
    for session in sessions:
        parts.append(struct.pack("<Q", len(session)))
        for events, success in session:
            parts.append(struct.pack("<Q", len(events)))
            parts += [struct.pack("<?QQ?", *event) for event in events]
            parts.append(struct.pack("<?", success))
    return b"".join(parts)


BINARY = dbcop(
    [
        [([(True, 0, 1, True), (True, 1, 2, False)], True), ([(True, 0, 3, True)], False)],
        [([(False, 0, 1, True), (False, 1, 0, True)], True)],
    ]
)


def test_the_binary_form_of_dbcop(tmp_path: Path) -> None:
    assert read(tmp_path, BINARY) == [
        {"id": "0.0", "process": 0, "status": "ok", "ops": [["w", 0, 1]]},
        {"id": "0.1", "process": 0, "status": "fail", "ops": [["w", 0, 3]]},
        {"id": "1.0", "process": 1, "status": "ok", "ops": [["r", 0, 1], ["r", 1, None]]},
    ]
    for cut in range(40, len(BINARY)):
        with pytest.raises(ScenarioError, match="looks like a history of dbcop"):
            read(tmp_path, BINARY[:cut])
    with pytest.raises(ScenarioError, match="goes on for 1 bytes behind its end"):
        read(tmp_path, BINARY + b"\0")


OK_OP = '"type": "ok", "process": 0'


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("w(1,5,0,0)\nw(1,6,0)\n", "line 2: expected r(key,value,session,transaction)"),
        ("w(1,5,0,0)\nw(1,6,1,0)\n", "line 2: transaction 0 runs in session 0 and in session 1"),
        ("{:type :ok", "is not valid EDN"),
        ("(1 2 3)", "expected maps of operations"),
        (
            "{:type :ok :process 0 :f :add :value 3}",
            "f is 'add', and the value is no list of operations; sets and counters",
        ),
        ("{:type :invoke :process 0 :f :transfer :value {:from 1}}", "bank totals: a total does not say"),
        ("{:type :invoke :process 0 :f :read :value nil}", "such a read does not say which writes it has seen"),
        ("{:type :ok :process 0 :f :txn :value [[:rp :x 1]]}", "'rp' with 3 parts; reads by a predicate are not read"),
        ("{:type :maybe :process 0}", "expected invoke, ok, fail or info, got 'maybe'"),
        (f'[{{{OK_OP}, "f": "cas", "value": [1, 2]}}]', "compare-and-set"),
        (f'[{{{OK_OP}, "f": "txn", "value": [["w", 1, 1]]}}, 3]', "position 1: expected a map with type"),
        (
            "\n".join(['{"type": "invoke", "process": 0, "f": "txn", "value": []}'] * 2),
            "process 0 is still busy with an earlier operation",
        ),
        ("INFO  jepsen.util - 0\t:invoke\t:read\tnil\n", "is a log of Jepsen's, of operations on single objects"),
    ],
)
def test_what_is_not_read_is_said_in_one_line(tmp_path: Path, content: str, problem: str) -> None:
    if content.startswith(("{:", "(")):
        pytest.importorskip("edn_format")
    with pytest.raises(ScenarioError) as raised:
        read(tmp_path, content)
    assert problem in str(raised.value)
    assert "\n" not in str(raised.value)


def test_tags_of_a_history_are_not_kept_in_the_library(tmp_path: Path) -> None:
    edn_format = pytest.importorskip("edn_format")
    read(tmp_path, EDN)
    with pytest.raises(NotImplementedError):
        edn_format.loads("#jepsen.history.Op{:index 0}")


def test_convert_writes_what_check_history_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = tmp_path / "a.txt", tmp_path / "b.jsonl"
    source.write_text("w(1,1,0,0)\nw(2,1,0,0)\nw(1,2,1,1)\nw(2,2,1,1)\nr(2,2,2,2)\nr(1,1,2,2)\n")
    assert main(["convert", str(source), str(target)]) == 0
    assert capsys.readouterr().out == f"written: {target} (3 transactions)\n"
    assert len(target.read_text().splitlines()) == 3
    assert check_history(target).anomalies == check_history(source).anomalies == {"fractured-read"}
    source.write_text("w(1,1,0,0)\nw(1,1,1,1)\n")
    assert main(["convert", str(source), str(target)]) == 2
    assert "every write to a key needs a value of its own" in capsys.readouterr().err
    assert len(target.read_text().splitlines()) == 3  # the file of before stays
