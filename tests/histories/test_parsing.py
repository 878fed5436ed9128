"""A wrong history gets one line that names the transaction and the field; all three forms of input give the same report."""

import json
from pathlib import Path
from typing import Any

import pytest

from simtx.cli import main
from simtx.errors import ScenarioError
from simtx.histories import LEVELS, check_history

SKEW: list[dict[str, Any]] = [
    {"id": "a", "process": 0, "status": "ok", "start": 0.5, "end": 1, "ops": [["r", "x", []], ["append", "y", 1]]},
    {"id": "b", "process": 1, "status": "ok", "start": 0.5, "end": 1, "ops": [["r", "y", []], ["append", "x", 1]]},
]


def entry(**changes: Any) -> dict[str, Any]:
    return {"id": "a", "process": 0, "status": "ok", "start": 0, "end": 1, "ops": [["append", "x", 1]], **changes}


def test_python_json_and_json_lines_give_the_same_report(tmp_path: Path) -> None:
    array, lines = tmp_path / "history.json", tmp_path / "history.jsonl"
    array.write_text(json.dumps(SKEW, indent=1))
    lines.write_text("\n".join(json.dumps(t) for t in SKEW) + "\n\n")
    expected = check_history(SKEW).explain()
    assert "G2-item" in expected
    assert check_history(array).explain() == expected
    assert check_history(str(lines)).explain() == expected
    assert check_history(iter(SKEW)).explain() == expected


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"id": None}, "transaction at position 0, field 'id'"),
        ({"id": [1]}, "transaction at position 0, field 'id'"),
        ({"status": "committed"}, "transaction 'a', field 'status': expected 'ok', 'fail' or 'info', got 'committed'"),
        ({"process": [0]}, "transaction 'a', field 'process'"),
        ({"start": "noon"}, "transaction 'a', field 'start': expected a finite number, got 'noon'"),
        ({"start": float("nan")}, "transaction 'a', field 'start'"),
        ({"end": True}, "transaction 'a', field 'end'"),
        ({"start": 2}, "transaction 'a', field 'end': 1 is before the start, 2"),
        ({"end": float("inf")}, "transaction 'a', field 'end': expected a finite number, got inf"),
        ({"start": 10**5001, "end": 10**5000}, "transaction 'a', field 'end': a number of too many digits is before"),
        ({"id": 10**5000}, "transaction at position 0, field 'id'"),
        ({"process": 10**5000}, "field 'process': expected a text or a number, got a number of too many digits"),
        ({"status": "o" * 1000}, f"field 'status': expected 'ok', 'fail' or 'info', got '{'o' * 199}…"),
        ({"ops": None}, "transaction 'a', field 'ops'"),
        ({"ops": ["r x"]}, "transaction 'a', field 'ops[0]': expected [operation, key, value]"),
        (
            {"ops": [["append", "x", 1], ["delete", "x", 1]]},
            "field 'ops[1]': expected 'append', 'r' or 'w', got 'delete'",
        ),
        ({"ops": [["r", "x"]]}, "field 'ops[0]': the read of 'x' has no value"),
        ({"ops": [["r", ["x"], [1]]]}, "field 'ops[0]': the key ['x']"),
        ({"ops": [["r", "x", [[1]]]]}, "field 'ops[0]': the read of 'x' holds an element"),
        ({"ops": [["r", "x", [1.0, float("nan")]]]}, "field 'ops[0]': the read of 'x' holds an element"),
        (
            {"ops": [["append", "x", 10**5000]]},
            "field 'ops[0]': expected a text or a number as the value of 'x', got a n",
        ),
        ({"ops": [["append", "x"]]}, "field 'ops[0]': expected a text or a number as the value of 'x', got nothing"),
        ({"ops": [["w", "x", None]]}, "field 'ops[0]': expected a text or a number as the value of 'x', got None"),
        ({"ops": [["w", "x", [1]]]}, "field 'ops[0]': expected a text or a number"),
        ({"ops": [["append", "x", 1], ["w", "x", 2]]}, "field 'ops[1]': key 'x' is used as a list and as a register"),
        ({"ops": [["append", "x", 1], ["r", "x", 1]]}, "field 'ops[1]': key 'x' is used as a list and as a register"),
        (
            {"ops": [["append", "x", 1], ["append", "x", 1]]},
            "field 'ops[1]': 1 was written to 'x' by transaction 'a' too",
        ),
    ],
)
def test_a_malformed_transaction_is_named_with_its_field_on_one_line(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        check_history([entry(**changes)])
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_transactions_may_not_share_an_id_nor_write_the_same_value() -> None:
    with pytest.raises(ScenarioError, match=r"transaction 'a', field 'id': is the id of an earlier transaction"):
        check_history([entry(), entry(ops=[])])
    with pytest.raises(
        ScenarioError, match=r"transaction 'b', field 'ops\[0\]': 1 was written to 'x' by transaction 'a' too"
    ):
        check_history([entry(), entry(id="b")])


@pytest.mark.parametrize("wrong", [None, 7, {"id": "a"}, b"[]", ["a"]])
def test_something_that_is_no_history_is_refused(wrong: Any) -> None:
    with pytest.raises(ScenarioError, match="expected"):
        check_history(wrong)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"absent\.json: there is no such file"):
        check_history(tmp_path / "absent.json")
    array = tmp_path / "broken.json"
    array.write_text('[{"id": 1},\n{]')
    with pytest.raises(ScenarioError, match=r"broken\.json, line 2: is not valid JSON"):
        check_history(array)
    lines = tmp_path / "broken.jsonl"
    lines.write_text('{"id": 1, "status": "ok", "ops": []}\n{"id"\n')
    with pytest.raises(ScenarioError, match=r"broken\.jsonl, line 2: is not valid JSON"):
        check_history(lines)
    binary = tmp_path / "binary.json"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ScenarioError, match="UTF-8"):
        check_history(binary)
    lines.write_text('{"id": "z", "status": "OK", "ops": []}\n')
    with pytest.raises(ScenarioError, match=r"broken\.jsonl, transaction 'z', field 'status'"):
        check_history(lines)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[{"id": 1, "status": "ok", "ops": [], "ops": []}]', "h.json, transaction 1, field 'ops': stands twice"),
        ('{"id": 1}\n{"status": "ok", "status": "ok"}', "h.json, line 2, field 'status': stands twice in one object"),
        ('[{"id": ' + "9" * 5000 + "}]", "h.json: holds a number of too many digits"),
        ('{"id": 1}\n{"id": ' + "9" * 5000 + "}", "h.json, line 2: holds a number of too many digits"),
        ("[" * 100_000, "h.json: is nested too deeply"),
        ('{"id": ' + "[" * 100_000, "h.json, line 1: is nested too deeply"),
        ('[{"id": "\\ud83d"}]', "h.json: holds half a character (a lone surrogate), which is no text"),
    ],
)
def test_what_json_allows_and_a_history_does_not_is_one_line(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "h.json"
    file.write_text(text)
    with pytest.raises(ScenarioError) as caught:
        check_history(file)
    assert str(caught.value).startswith(says)
    assert "\n" not in str(caught.value)
    assert main(["check-history", str(file)]) == 2


def test_a_name_that_no_file_can_have_is_refused() -> None:
    with pytest.raises(ScenarioError, match="cannot be read: embedded null"):
        check_history("a\0b")


def test_line_separators_of_unicode_may_stand_in_a_text(tmp_path: Path) -> None:
    """JSON allows them there, and only a line feed ends a line of JSON Lines; a byte order mark is no text either."""
    lines = tmp_path / "separators.jsonl"
    values = ["a\u2028b", "a\u0085b", "\U0001f600"]
    lines.write_text(
        "\ufeff"
        + "\r\n".join(json.dumps(entry(id=v, ops=[["append", "x", v]]), ensure_ascii=v < "b") for v in values)
        + "\n",
        encoding="utf-8",
    )
    report = check_history(lines)
    assert report.valid is True
    assert report.counts["ok"] == 3


def test_huge_times_are_compared_exactly() -> None:
    """Also beyond the range of floating-point numbers."""
    late = entry(id="late", start=10**400 + 2, end=10**400 + 3, ops=[["r", "x", []]])
    assert check_history([entry(end=10**400), late], "strict-serializable").anomalies == {"G-single-item-realtime"}
    assert check_history([entry(end=10**400 + 2), late], "strict-serializable").valid is True


def test_identifiers_that_look_alike_are_told_apart() -> None:
    skew = [{**SKEW[0], "id": 1}, {**SKEW[1], "id": "1"}]
    report = check_history(skew)
    assert "1 comes before '1'" in report.explain()
    assert list(report.operations) == ["1", "'1'"]


@pytest.mark.parametrize("wrong", ["strict", "linearizable", "strong-session-", "", None, 3])
def test_an_unknown_level_is_refused_with_the_levels_that_exist(wrong: Any) -> None:
    with pytest.raises(ScenarioError, match=r"consistency: .*read-uncommitted.*strict-serializable"):
        check_history(SKEW, wrong)


@pytest.mark.parametrize("level", LEVELS)
def test_every_level_is_accepted(level: str) -> None:
    assert check_history(SKEW, level).consistency == level


@pytest.mark.parametrize(
    ("assume", "says"),
    [
        ({"wfr": True}, "'wfr' is no assumption; allowed are wfr_keys"),
        ({"wfr_keys": 1}, "field 'wfr_keys': expected true or false, got 1"),
        ("wfr_keys", "expected a mapping"),
        ([["wfr_keys"]], "['wfr_keys'] is no assumption"),
        (3, "expected a mapping"),
        ({"commit_order": "ab"}, "field 'commit_order': expected a list"),
        ({"commit_order": ["a", "c"]}, "'c' is not the id of a transaction"),
        ({"commit_order": [["a"]]}, "is not the id of a transaction"),
        ({"commit_order": ["a", "a"]}, "'a' stands there twice"),
        ({"commit_order": ["f"]}, "'f' failed and cannot have committed"),
    ],
)
def test_a_malformed_assumption_is_refused(assume: Any, says: str) -> None:
    with pytest.raises(ScenarioError, match="assume") as caught:
        check_history([*SKEW, entry(id="f", status="fail", ops=[])], assume=assume)
    assert says in str(caught.value)


def test_the_names_of_assumptions_may_be_given_as_a_set() -> None:
    assert check_history(SKEW, assume={"wfr_keys"}).granted == ("wfr_keys",)


def test_process_and_times_are_needed_only_where_they_count() -> None:
    bare = [{"id": t["id"], "status": "ok", "ops": t["ops"]} for t in SKEW]
    assert check_history(bare).anomalies == {"G2-item"}
    with pytest.raises(
        ScenarioError, match="transaction 'a', field 'process': is missing; 'strong-session-serializable' needs it"
    ):
        check_history(bare, "strong-session-serializable")
    with pytest.raises(
        ScenarioError, match="transaction 'a', field 'start': is missing; 'strict-serializable' needs it"
    ):
        check_history(bare, "strict-serializable")
    with pytest.raises(ScenarioError, match="transaction 'a', field 'end': is missing"):
        check_history([{**bare[0], "start": 0}], "strict-serializable")
    with pytest.raises(ScenarioError, match="field 'process': is missing; 'sequential_keys' needs it"):
        check_history([{"id": 1, "status": "ok", "ops": [["w", "x", 1]]}], assume={"sequential_keys": True})
    unknown = [{**bare[0], "status": "info", "start": 0}, {**bare[1], "start": 0, "end": 1}]
    assert check_history(unknown, "strict-serializable").valid is True


def test_a_process_runs_one_transaction_at_a_time() -> None:
    busy = [entry(start=0, end=5), entry(id="b", start=3, end=9, ops=[["append", "x", 2]])]
    with pytest.raises(
        ScenarioError, match="transaction 'b', field 'start': process 0 is still busy with transaction 'a'"
    ):
        check_history(busy, "strong-session-serializable")
    assert check_history(busy, "strict-serializable").valid is True


def test_sessions_without_times_follow_the_order_of_the_history() -> None:
    stale = [
        {"id": "w", "process": 1, "status": "ok", "ops": [["append", "x", 1]]},
        {"id": "r", "process": 1, "status": "ok", "ops": [["r", "x", []]]},
    ]
    assert check_history(stale, "strong-session-serializable").anomalies == {"G-single-item-process"}
    assert check_history(stale[::-1], "strong-session-serializable").valid is True


def test_times_in_nanoseconds_are_compared_exactly() -> None:
    """Neighbours near 2**60 are the same number as floats."""
    base = 1 << 60
    stale = [
        {"id": "w", "status": "ok", "start": base, "end": base + 1, "ops": [["append", "x", 1]]},
        {"id": "r", "status": "ok", "start": base + 2, "end": base + 3, "ops": [["r", "x", []]]},
    ]
    assert check_history(stale, "strict-serializable").anomalies == {"G-single-item-realtime"}
    stale[1]["start"] = base + 1
    assert check_history(stale, "strict-serializable").valid is True


def test_the_history_is_not_changed() -> None:
    before = json.dumps(SKEW)
    check_history(SKEW)
    assert json.dumps(SKEW) == before
