"""From an event log to a history: what compensation means, which version a read saw, what is left open."""

from __future__ import annotations

from typing import Any

import pytest

import simtx
from simtx.errors import ScenarioError
from simtx.event_log.log import EventLog, LogEntry
from simtx.histories import HistoryReport, from_trace
from tests.histories.logs import Log


def check(log: Log, consistency: str = "strict-serializable", transactions: Any = None) -> HistoryReport:
    return simtx.check_history(log.trace(), consistency, transactions=transactions)


def ops(log: Log, name: str, transactions: Any = "business") -> list[Any]:
    (found,) = [entry["ops"] for entry in from_trace(log.trace(), transactions) if entry["id"] == name]
    return list(found)


# --- compensation ---------------------------------------------------------------------------------------------------------------


def test_who_reads_between_action_and_compensation_has_a_dirty_read() -> None:
    log = Log({"x": 10})
    log.arrive(0, 1)
    log.add(0, "x", 5)
    log.look(1, "x")
    log.undo(0, "x", -5)
    log.abort(0)
    log.commit(1)
    report = check(log)
    assert report.anomalies == {"G1a"}
    assert "t1 read 15 (#1) from s/x, which t0 wrote, and t0 failed." in report.explain()


@pytest.mark.parametrize("between", [False, True])
def test_who_reads_after_the_compensation_has_not(between: bool) -> None:
    """It sees what others have left: the compensation commutes with what they have added meanwhile."""
    log = Log({"x": 10})
    log.arrive(0, 1, 2)
    log.add(0, "x", 5)
    if between:
        log.change(1, {"x": 18}, None)  # added 3; that it has seen the dirty value is another matter, and left out here
    log.undo(0, "x", -5)
    log.abort(0)
    log.commit(1)
    log.look(2, "x")
    log.commit(2)
    report = check(log)
    assert (report.valid, report.anomalies) == (True, set())
    assert ops(log, "t2") == [["r", "s/x", "18 (#2)" if between else None]]


def test_the_compensation_itself_reads_for_itself() -> None:
    """It has to read what is to be undone: no dirty read, and no change of its own."""
    log = Log()
    log.arrive(0)
    log.add(0, "x", 5)
    log.undo(0, "x", -5)
    log.abort(0)
    assert ops(log, "t0") == [["r", "s/x", None], ["w", "s/x", "5 (#1)"]]
    assert from_trace(log.trace()).version_order == {"s/x": ["5 (#1)"]}


def test_undone_in_part_is_not_undone() -> None:
    """Two changes of one key, undone one by one: dirty until the second is undone, and clean from then on."""
    log = Log()
    log.arrive(0, 1, 2)
    log.add(0, "x", 1)
    log.add(0, "x", 2)
    log.undo(0, "x", -2)
    log.look(1, "x")
    log.undo(0, "x", -1)
    log.look(2, "x")
    log.abort(0)
    log.commit(1, 2)
    assert ops(log, "t1") == [["r", "s/x", "1 (#3)"]]
    assert ops(log, "t2") == [["r", "s/x", None]]
    assert check(log).anomalies == {"G1a"}


def test_two_sagas_on_one_key_are_undone_independently() -> None:
    """Behind the first compensation the other saga is still in place; behind both nobody is."""
    log = Log()
    log.arrive(0, 1, 2, 3)
    log.add(0, "x", 1)
    log.add(1, "x", 2)
    log.undo(0, "x", -1)
    log.look(2, "x")
    log.undo(1, "x", -2)
    log.look(3, "x")
    log.abort(0, 1)
    log.commit(2, 3)
    assert ops(log, "t2") == [["r", "s/x", "3 (#2)"]]
    assert ops(log, "t3") == [["r", "s/x", None]]
    assert "which t1 wrote, and t1 failed" in check(log).explain("G1a")


def test_a_compensation_that_overwrites_takes_the_changes_of_others_with_it() -> None:
    """The before-image comes back, so that a committed change is lost; whoever reads afterwards cannot come after it."""
    log = Log({"x": 3})
    log.arrive(0, 1)
    log.put(0, "x", 7)
    log.put(1, "x", 9)
    log.commit(1)
    log.put(0, "x", 3, name="compensation")
    log.abort(0)
    log.arrive(2)
    log.look(2, "x")
    log.commit(2)
    assert ops(log, "t2") == [["r", "s/x", None]]
    report = check(log)
    assert report.anomalies == {"G-single-item-realtime"}
    assert check(log, "serializable").valid is True


def test_what_was_overwritten_is_not_undone_a_second_time() -> None:
    """The compensation of t1 finds its change gone already; what others have put in its place stays."""
    log = Log()
    log.arrive(0, 1, 2, 3, 4)
    log.put(0, "x", 5)
    log.add(1, "x", 3)
    log.put(0, "x", 0, name="compensation")
    log.add(2, "x", 10)
    log.add(3, "x", 20)
    log.undo(1, "x", -3)
    log.look(4, "x")
    assert ops(log, "t4") == [["r", "s/x", "30 (#5)"]]


def test_an_addition_that_happens_to_lead_to_the_first_value_overwrites_nothing() -> None:
    """A compensation with a fee: the value is again that of before, but what another has added is still in it."""
    log = Log({"x": 10})
    log.arrive(0, 1)
    log.add(0, "x", 5)
    log.change(1, {"x": 12}, None)  # took 3 away
    log.commit(1)
    log.undo(0, "x", -2)
    log.abort(0)
    log.arrive(2)
    log.look(2, "x")
    log.commit(2)
    assert ops(log, "t2") == [["r", "s/x", "10 (#3)"]]
    assert check(log).valid is True


def test_what_a_compensation_leaves_for_good_is_no_dirty_read() -> None:
    """A counter of cancellations is written by an aborted saga, and everybody may read it."""
    log = Log()
    log.arrive(0)
    log.add(0, "x", 5)
    log.change(0, {"x": 0, "cancelled": 1}, [log.seen("x"), log.seen("cancelled")], name="compensation")
    log.abort(0)
    log.arrive(1)
    log.look(1, "cancelled", "x")
    log.commit(1)
    assert check(log).valid is True
    assert ops(log, "t0 undo") == [["w", "s/cancelled", "1 (#1)"]]
    assert ops(log, "t1") == [["r", "s/cancelled", "1 (#1)"], ["r", "s/x", None]]


def test_without_business_transactions_a_compensation_is_a_change_like_others() -> None:
    log = Log()
    log.arrive(0, 1)
    log.add(0, "x", 5)
    log.undo(0, "x", -5)
    log.look(1, "x")
    log.abort(0)
    assert ops(log, "t0@s undo", "local") == [["r", "s/x", "5 (#1)"], ["w", "s/x", "0 (#2)"]]
    assert ops(log, "t1@s", "local") == [["r", "s/x", "0 (#2)"]]
    assert check(log, transactions="local").valid is True


# --- outcomes and times -----------------------------------------------------------------------------------------------------------


def test_a_transaction_without_an_outcome_is_unknown_and_counts_once_it_was_seen() -> None:
    log = Log()
    log.arrive(0, 1, 2)
    log.add(0, "x", 1)
    log.look(1, "x")
    log.look(2, ["y", 0, 0])
    log.commit(1, 2)
    assert [entry["status"] for entry in from_trace(log.trace())] == ["info", "ok", "ok"]
    assert check(log).valid is True


def test_an_answer_is_an_outcome_where_nothing_else_is_said() -> None:
    log = Log()
    log.arrive(0, 1)
    log.event("answer", 0, name="aborted")
    log.event("answer", 1, name="committed")
    assert [entry["status"] for entry in from_trace(log.trace())] == ["fail", "ok"]


@pytest.mark.parametrize(
    ("entries", "end"),
    [
        ([("decided", "committed"), ("answer", "committed")], 2.0),
        ([("answer", "accepted"), ("decided", "committed")], 2.0),
        ([("decided", "committed"), ("answer", "accepted")], 2.0),
        ([("decided", "committed"), ("answer", "committed"), ("reply", "committed")], 3.0),
        ([("decided", "committed"), ("timer", ""), ("timer", "")], 3.0),
        ([("decided", "committed"), ("answer", "committed"), ("answer", "committed")], 2.0),
        ([("decided", "committed"), ("answer", "accepted"), ("decided", "committed")], 2.0),
    ],
    ids=["told", "accepted first", "accepted last", "far away", "never told", "told again", "decided again"],
)
def test_a_transaction_ends_when_its_client_can_know(entries: list[tuple[str, str]], end: float) -> None:
    log = Log()
    log.arrive(0)
    for kind, name in entries:
        log.event(kind, 0, name=name)
    (only,) = from_trace(log.trace())
    assert (only["start"], only["end"]) == (0.0, end)


def test_a_stale_read_after_the_answer_is_found_in_real_time_only() -> None:
    log = Log()
    log.arrive(0)
    log.add(0, "x", 1)
    log.commit(0)
    log.arrive(1)
    log.look(1, ["x", 0, 0])
    log.commit(1)
    assert check(log).anomalies == {"G-single-item-realtime"}
    assert check(log, "serializable").valid is True


def test_a_local_transaction_begins_with_the_message_that_asks_for_it() -> None:
    """A branch begins with its first work, not with the message that commits it."""
    log = Log()
    log.arrive(0)
    first = log.event("receive", 0)
    log.event("execute", 0, cause=first)
    log.event("prepare", 0, cause=log.event("receive", 0))
    last = log.event("receive", 0)
    log.change(0, {"x": 1}, [["x", 0, 0]], cause=last)
    (only,) = from_trace(log.trace(), "local")
    assert (only["start"], only["end"]) == (float(first), float(last + 1))


def test_a_change_that_nobody_lived_to_log_may_have_begun_with_its_transaction() -> None:
    log = Log()
    log.arrive(0)
    log.event("timer", 0)
    log.event("apply", 0, name="action", detail={"steps": [0], "values": {"x": [0, 1]}})
    (only,) = from_trace(log.trace(), "local")
    assert (only["start"], only["end"], only["ops"]) == (0.0, 2.0, [["w", "s/x", "1 (#1)"]])


# --- which version ------------------------------------------------------------------------------------------------------------------


def test_a_value_that_only_one_version_has_tells_the_version() -> None:
    log = Log({"x": 10}, versions=False)
    log.arrive(0, 1, 2)
    log.add(0, "x", 1)
    log.add(1, "x", 1)
    log.look(2, "x", ["x", 10])
    assert ops(log, "t1")[0] == ["r", "s/x", "11 (#1)"]
    assert ops(log, "t2") == [["r", "s/x", "12 (#2)"], ["r", "s/x", None]]


def repeated(versions: bool) -> Log:
    """The value 0 three times; a reader of an old state of two keys."""
    log = Log(versions=versions)
    log.arrive(0, 1, 2, 3)
    stale = log.seen("x")
    log.change(0, {"x": 1, "y": 1}, [log.seen("x"), log.seen("y")])
    log.add(1, "x", -1)
    log.look(3, "y", stale)
    log.commit(0, 1, 2, 3)
    return log


def test_a_read_that_fits_several_versions_accuses_nobody_and_proves_nothing() -> None:
    """With y = 1 and x = 0 it may have read the last x or the first one: with the last, the likeliest, all is well."""
    log = repeated(versions=False)
    history = from_trace(log.trace())
    assert history.ambiguous == 1
    assert ops(log, "t3") == [["r", "s/y", "1 (#1)"]]
    assert history.likely[3]["ops"] == [["r", "s/y", "1 (#1)"], ["r", "s/x", "0 (#2)"]]
    assert check(log).valid is True


def test_versions_that_show_the_same_need_not_be_told_apart() -> None:
    """Before the action and behind the compensation a reader sees the same."""
    log = Log(versions=False)
    log.arrive(0, 1)
    log.add(0, "x", 1)
    log.undo(0, "x", -1)
    log.look(1, "x")
    assert from_trace(log.trace()).ambiguous == 0
    assert ops(log, "t1") == [["r", "s/x", None]]
    assert from_trace(log.trace(), "local").ambiguous == 1


def test_nobody_has_read_what_it_was_about_to_write() -> None:
    """The value read is also the one written: it can only be that of before, and so an update is lost."""
    log = Log({"x": 10}, versions=False)
    log.arrive(0, 1)
    log.change(0, {"x": 9}, [["x", 10]])
    log.change(1, {"x": 10}, [["x", 10]])
    log.commit(0, 1)
    assert from_trace(log.trace()).ambiguous == 0
    assert "lost-update" in check(log, "serializable").anomalies


def test_the_number_of_the_version_tells_them_apart() -> None:
    log = repeated(versions=True)
    assert from_trace(log.trace()).ambiguous == 0
    assert check(log, "serializable").anomalies == {"G-single-item"}


def test_where_the_likeliest_versions_are_forbidden_the_verdict_is_open() -> None:
    log = Log(versions=False)
    log.arrive(0, 1, 3)
    stale = [log.seen("y")]
    log.change(0, {"x": 1, "y": 1}, [log.seen("x"), log.seen("y")])
    log.add(1, "x", -1)
    log.look(3, "x", *stale)
    log.commit(0, 1, 3)
    report = check(log, "serializable")
    assert (report.valid, report.anomalies) == (None, set())
    assert report.notes[-1].startswith("1 reads fit several versions of equal value.")


def test_a_version_that_does_not_fit_its_value_is_not_believed() -> None:
    log = Log()
    log.arrive(0, 1)
    log.add(0, "x", 1)
    log.look(1, ["x", 1, 7], ["x", 1, 0])
    assert ops(log, "t1") == [["r", "s/x", "1 (#1)"], ["r", "s/x", "1 (#1)"]]


def test_nobody_reads_what_is_written_after_it_has_ended() -> None:
    """The value occurs again later; the reader was gone by then."""
    log = Log(versions=False)
    log.arrive(0, 1, 2)
    log.add(0, "x", 5)
    log.look(2, "x")
    log.add(1, "x", 1)
    log.add(1, "x", -1)
    assert from_trace(log.trace()).ambiguous == 0
    assert ops(log, "t2") == [["r", "s/x", "5 (#1)"]]


def test_a_value_that_nobody_wrote_leaves_the_verdict_open() -> None:
    """A dirty read of a branch that was rolled back: no committed change explains it."""
    log = Log()
    log.arrive(0, 1)
    log.add(0, "x", 1)
    log.look(1, ["x", 99])
    log.commit(0, 1)
    report = check(log)
    assert report.valid is None
    assert "t1 read 99 (of no known change) from s/x, which no transaction of the history wrote." in report.notes[0]


def test_a_key_that_nobody_changes_is_in_its_initial_state() -> None:
    log = Log({"x": 4})
    log.arrive(0, 1)
    log.look(0, "x")
    log.look(1, "x")
    log.commit(0, 1)
    assert ops(log, "t1") == [["r", "s/x", None]]
    assert check(log).valid is True


def test_an_update_that_overwrote_another_is_a_lost_update() -> None:
    """Both have read 10; what the store had when the second one was committed does not excuse it."""
    log = Log({"x": 10}, versions=False)
    log.arrive(0, 1)
    log.change(0, {"x": 9}, [["x", 10]])
    log.change(1, {"x": 8}, [["x", 10]])
    log.commit(0, 1)
    for transactions in ("business", "local"):
        assert "lost-update" in check(log, "serializable", transactions).anomalies


def test_the_stores_own_history_goes_before_the_order_of_the_log() -> None:
    """Two threads write down their commits in the wrong order."""
    log = Log(versions=False)
    log.arrive(0, 1)
    log.change(1, {"x": 3}, [["x", 1]], history=8)
    log.values["x"] = 0
    log.change(0, {"x": 1}, [["x", 0]], history=7)
    log.commit(0, 1)
    assert from_trace(log.trace()).version_order == {"s/x": ["1 (#1)", "3 (#2)"]}
    assert check(log).valid is True
    for number, event in enumerate(log.events):
        log.events[number] = event._replace(detail=event.detail.replace("history", "another"))
    assert check(log).valid is not True


# --- repeated work ------------------------------------------------------------------------------------------------------------------


def test_of_several_evaluations_only_what_all_of_them_read_counts() -> None:
    """A late copy of PREPARE has a branch evaluated again; the vote rests on one of them."""
    log = Log()
    log.arrive(0, 1)
    log.look(1, "x", "y")
    log.add(0, "x", 1)
    log.look(1, "x", "y")
    log.commit(0, 1)
    assert ops(log, "t1") == [["r", "s/y", None]]
    assert check(log).valid is True


def test_a_refused_look_that_was_repeated_does_not_count() -> None:
    log = Log()
    log.arrive(0, 1)
    log.look(1, "x", name="refused")
    log.add(0, "x", 1)
    log.look(1, "x")
    assert ops(log, "t1") == [["r", "s/x", "1 (#1)"]]


@pytest.mark.parametrize("name", ["refused", "action"])
def test_an_attempt_without_effect_that_was_repeated_does_not_count(name: str) -> None:
    log = Log()
    log.arrive(0, 1)
    log.look(1, "x", name=name)
    log.add(0, "x", 1)
    log.add(1, "x", 1)
    log.commit(0, 1)
    assert ops(log, "t1") == [["r", "s/x", "1 (#1)"], ["w", "s/x", "2 (#2)"]]
    assert [entry["id"] for entry in from_trace(log.trace(), "local")] == ["t1@s", "t0@s", "t1@s #2"]


# --- bad input ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "detail",
    ["", "[]", '{"steps": [0]}', '{"steps": [0], "values": {"x": 1}}', '{"steps": [0], "values": {"x": ["a", 1]}}',
     '{"steps": [0], "values": {}, "reads": [["x"]]}', '{"steps": [0], "values": {}, "reads": {"x": 1}}',
     '{"steps": [0], "values": {}, "reads": [["x", null]]}', '{"steps": "a", "values": {}}'],
)  # fmt: skip
def test_a_malformed_detail_is_one_line_that_names_the_entry(detail: str) -> None:
    event = LogEntry(4, 0.5, "apply", "bank", 3, None, "", "", "action", detail)
    with pytest.raises(
        ScenarioError, match=r"event log, entry 4 \('apply' of transaction 3 on bank\): expected"
    ) as caught:
        from_trace(EventLog([event]))
    assert "\n" not in str(caught.value)


def test_what_counts_as_a_transaction_is_one_of_two() -> None:
    wrong: Any = "both"
    with pytest.raises(ScenarioError, match="transactions: expected 'business' or 'local', got 'both'"):
        from_trace(EventLog([]), wrong)
    with pytest.raises(ScenarioError, match="applies to runs and their event logs only"):
        simtx.check_history([], transactions="local")


def test_an_empty_log_has_an_empty_history() -> None:
    assert from_trace(EventLog([])) == []
    assert simtx.check_history(EventLog([])).valid is None
