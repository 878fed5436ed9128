"""Each anomaly by its textbook example, and beside it a history that differs in one place and is fine."""

import re
from typing import Any

import pytest

from simtx.histories import check_history, proof

Transaction = dict[str, Any]


def ops(text: str) -> list[list[Any]]:
    """`ax1 rx12 ry wx3`: append 1 to x, read x = [1, 2], read y = [], write x = 3 (for registers `gx3` reads 3 and `gx` nothing)."""
    result: list[list[Any]] = []
    for kind, key, value in re.findall(r"([arwg])([a-z])(\d*)", text):
        if kind == "r":
            result.append(["r", key, [int(digit) for digit in value]])
        elif kind == "g":
            result.append(["r", key, int(value) if value else None])
        else:
            result.append(["append" if kind == "a" else "w", key, int(value)])
    return result


def history(*texts: str) -> list[Transaction]:
    """One transaction a text, optionally with `fail:` or `info:` before it and `@process start end` behind it."""
    result = []
    for number, text in enumerate(texts):
        status, _, rest = text.rpartition(":")
        body, _, where = rest.partition("@")
        process, start, end = (int(v) for v in where.split()) if where else (number, 0, 100)
        entry = {"id": f"t{number}", "process": process, "status": status or "ok", "start": start, "end": end}
        result.append({**entry, "ops": ops(body)})
    return result


# name, level, anomalous history, near miss that is fine
LISTS = [
    ("G0", "read-uncommitted", ["ax1 ay1", "ax2 ay2", "rx12 ry21"], ["ax1 ay1", "ax2 ay2", "rx12 ry12"]),
    ("G1a", "read-committed", ["fail:ax1", "rx1"], ["fail:ax1", "rx"]),
    ("G1a", "read-committed", ["fail:ax1", "rx1"], ["info:ax1", "rx1"]),
    ("G1b", "read-committed", ["ax1 ax2", "rx1"], ["ax1 ax2", "rx12"]),
    ("G1c", "read-committed", ["ax1 ry1", "ay1 rx1"], ["ax1 ry1", "ay1 rx"]),
    ("G-single-item", "snapshot-isolation", ["ax1 ay1", "rx1 ry"], ["ax1 ay1", "rx1 ry1"]),
    ("G-single-item", "repeatable-read", ["ax1", "rx rx1"], ["ax1", "rx rx"]),
    (
        "G-nonadjacent-item",
        "snapshot-isolation",
        ["ax1", "rx1 ry", "ay1", "ry1 rx"],
        ["ax1", "rx1 ry", "ay1", "ry1 rx1"],
    ),
    ("G2-item", "serializable", ["rx ay1", "ry ax1"], ["rx ay1", "ry1 ax1"]),
    ("G2-item", "repeatable-read", ["rx ay1", "ry ax1"], ["rx ay1", "ry1 ax1"]),
    ("lost-update", "snapshot-isolation", ["ax1", "rx1 ax2", "rx1 ax3"], ["ax1", "rx1 ax2", "rx12 ax3"]),
    ("lost-update", "repeatable-read", ["ax1", "rx1 ax2", "rx1 ax3"], ["ax1", "rx1 ax2", "fail:rx1 ax3"]),
    ("internal", "snapshot-isolation", ["ax1 rx"], ["ax1 rx1"]),
    ("internal", "serializable", ["rx ax1 rx21", "ax2"], ["rx2 ax1 rx21", "ax2"]),
    ("dirty-update", "read-committed", ["fail:ax1", "ax2", "rx12"], ["info:ax1", "ax2", "rx12"]),
    (
        "dirty-update",
        "read-committed",
        ["fail:ax1", "info:ax2", "ax3", "rx123"],
        ["fail:ax1", "info:ax2", "ax3", "rx23"],
    ),
    ("future-read", "read-committed", ["rx1 ax1"], ["rx ax1"]),
    ("duplicate-elements", "read-uncommitted", ["ax1", "rx11"], ["ax1", "rx1"]),
    ("incompatible-order", "read-committed", ["ax1", "ax2", "rx12", "rx21"], ["ax1", "ax2", "rx12", "rx1"]),
    ("incompatible-order", "read-committed", ["ax1 ax2", "rx21"], ["ax1 ax2", "rx12"]),
    # session order: the same transactions, in one process and in two
    (
        "G0-process",
        "strong-session-read-uncommitted",
        ["ax2 @0 0 1", "ax1 @0 2 3", "rx12"],
        ["ax2 @0 0 1", "ax1 @1 2 3", "rx12"],
    ),
    ("G1c-process", "strong-session-read-committed", ["rx1 @0 0 1", "ax1 @0 2 3"], ["rx1 @0 0 1", "ax1 @1 2 3"]),
    (
        "G-single-item-process",
        "strong-session-snapshot-isolation",
        ["ax1 @0 0 1", "rx @0 2 3"],
        ["ax1 @0 0 1", "rx @1 2 3"],
    ),
    (
        "G-nonadjacent-item-process",
        "strong-session-snapshot-isolation",
        ["rx rz1 @0 0 1", "ax1 @1 2 3", "rz @1 4 5", "az1 @2 6 7"],
        ["rx rz1 @0 0 1", "ax1 @1 2 3", "rz @3 4 5", "az1 @2 6 7"],
    ),
    (
        "G2-item-process",
        "strong-session-serializable",
        ["ax1 @0 0 1", "ry @0 2 3", "ay1 rx @1 0 9"],
        ["ax1 @0 0 1", "ry @2 2 3", "ay1 rx @1 0 9"],
    ),
    # real time: the same transactions, one after the other and at the same time
    ("G0-realtime", "strict-serializable", ["ax2 @0 0 1", "ax1 @1 2 3", "rx12"], ["ax2 @0 0 2", "ax1 @1 2 3", "rx12"]),
    ("G1c-realtime", "strict-serializable", ["rx1 @0 0 1", "ax1 @1 2 3"], ["rx1 @0 0 3", "ax1 @1 2 3"]),
    ("G-single-item-realtime", "strict-serializable", ["ax1 @0 0 1", "rx @1 2 3"], ["ax1 @0 0 2", "rx @1 2 3"]),
    (
        "G-nonadjacent-item-realtime",
        "strict-serializable",
        ["rx rz1 @0 0 9", "ax1 @1 2 3", "rz @2 4 5", "az1 @3 0 9"],
        ["rx rz1 @0 0 9", "ax1 @1 2 4", "rz @2 4 5", "az1 @3 0 9"],
    ),
    (
        "G2-item-realtime",
        "strict-serializable",
        ["ax1 @0 0 1", "ry @2 2 3", "ay1 rx @1 0 9"],
        ["ax1 @0 0 2", "ry @2 2 3", "ay1 rx @1 0 9"],
    ),
]


@pytest.mark.parametrize(("name", "level", "bad", "fine"), LISTS)
def test_a_textbook_example_is_found_and_its_near_miss_is_not(
    name: str, level: str, bad: list[str], fine: list[str]
) -> None:
    report = check_history(history(*bad), level)
    assert name in report.anomalies
    assert report.valid is False
    near_miss = check_history(history(*fine), level)
    assert near_miss.anomalies == set(), near_miss.explain()
    assert near_miss.valid is True


@pytest.mark.parametrize(("name", "level", "bad", "fine"), [case for case in LISTS if case[1].startswith("str")])
def test_orders_outside_the_data_count_only_where_the_level_says_so(
    name: str, level: str, bad: list[str], fine: list[str]
) -> None:
    assert name in check_history(history(*bad), level).anomalies
    assert check_history(history(*bad), "serializable").valid is True


WITH_WFR = {"wfr_keys": True}
REGISTERS = [
    ("G1a", "read-committed", {}, ["fail:wx1", "gx1"], ["fail:wx1", "gx"]),
    ("G1b", "read-committed", {}, ["wx1 wx2", "gx1"], ["wx1 wx2", "gx2"]),
    ("G1c", "read-committed", {}, ["wx1 gy1", "wy1 gx1"], ["wx1 gy1", "wy1 gx"]),
    ("G0", "read-uncommitted", WITH_WFR, ["gx1 wx2 gy2 wy1", "gx3 wx1 gy1 wy3"], ["gx1 wx2 gy1 wy2", "gx wx1 gy wy1"]),
    ("G-single-item", "snapshot-isolation", {}, ["wx1 wy1", "gx1 gy"], ["wx1 wy1", "gx1 gy1"]),
    (
        "G-nonadjacent-item",
        "snapshot-isolation",
        {},
        ["wx1", "gx1 gy", "wy1", "gy1 gx"],
        ["wx1", "gx1 gy", "wy1", "gy1 gx1"],
    ),
    ("G2-item", "serializable", WITH_WFR, ["gx gy wx1", "gx gy wy1"], ["gx gy wx1", "gx1 gy wy1"]),
    ("lost-update", "snapshot-isolation", {}, ["wx1", "gx1 wx2", "gx1 wx3"], ["wx1", "gx1 wx2", "gx2 wx3"]),
    ("internal", "serializable", {}, ["wx1 gx"], ["wx1 gx1"]),
    ("internal", "serializable", {}, ["gx1 gx2", "wx1", "wx2"], ["gx1 gx1", "wx1", "wx2"]),
    ("future-read", "read-committed", {}, ["gx1 wx1"], ["gx wx1"]),
    ("cyclic-versions", "read-uncommitted", WITH_WFR, ["gx2 wx1", "gx1 wx2"], ["gx wx1", "gx1 wx2"]),
    (
        "cyclic-versions",
        "read-uncommitted",
        {"sequential_keys": True},
        ["wx1", "wx2", "gx1 @7 0 1", "gx2 @7 2 3", "gx2 @8 0 1", "gx1 @8 2 3"],
        ["wx1", "wx2", "gx1 @7 0 1", "gx2 @7 2 3", "gx2 @8 0 1", "gx2 @8 2 3"],
    ),
    (
        "cyclic-versions",
        "read-uncommitted",
        {"linearizable_keys": True},
        ["wx1 @0 0 1", "wx2 @1 2 3", "gx1 @2 4 5"],
        ["wx1 @0 0 1", "wx2 @1 2 4", "gx1 @2 4 5"],
    ),
    (
        "cyclic-versions",
        "read-uncommitted",
        {"sequential_keys": True},
        ["wx1 @0 0 1", "gx @0 2 3"],
        ["wx1 @0 0 1", "gx @1 2 3"],
    ),
]


@pytest.mark.parametrize(("name", "level", "assume", "bad", "fine"), REGISTERS)
def test_a_textbook_example_on_registers_is_found_and_its_near_miss_is_not(
    name: str, level: str, assume: dict[str, bool], bad: list[str], fine: list[str]
) -> None:
    report = check_history(history(*bad), level, assume=assume)
    assert name in report.anomalies
    assert report.valid is False
    near_miss = check_history(history(*fine), level, assume=assume)
    assert near_miss.anomalies == set(), near_miss.explain()
    assert near_miss.valid is True


def test_the_order_of_commits_decides_which_write_was_overwritten() -> None:
    bad = history("wx1", "wx2 wy1", "gx1 gy1")
    assert check_history(bad, assume={"commit_order": ["t0", "t1"]}).anomalies == {"G-single-item"}
    assert check_history(bad, assume={"commit_order": ["t1", "t0"]}).valid is True


def test_a_level_grants_that_writes_follow_reads() -> None:
    """A write skew on registers: a cycle only if writes follow the reads of their transaction, as they do from read committed on."""
    skew = history("wx1 wy1", "gx1 gy1 wx2", "gx1 gy1 wy2")
    for assume in ({}, {"wfr_keys": True}, {"wfr_keys": False}):
        report = check_history(skew, assume=assume)
        assert report.anomalies == {"G2-item"}
        assert "(wfr_keys)" in report.explain()
    assert check_history(skew).granted == ()


HALF_OF_EACH = history("wx1 wy1", "wx2 wy2", "gy2 gx1")

ALL_COMBINATIONS = history("wx1", "wx2", "wy1", "wy2", "gx1 gy1", "gx1 gy2", "gx2 gy1", "gx2 gy2")


@pytest.mark.parametrize("level", ["repeatable-read", "snapshot-isolation", "serializable", "strict-serializable"])
def test_what_was_seen_orders_the_versions_of_registers(level: str) -> None:
    """Whoever of the first two came first, the third has seen one of them and missed the other: no pair of writes is granted."""
    timed = [{**t, "start": 0, "end": 9} for t in HALF_OF_EACH]
    report = check_history(timed, level)
    (finding,) = report.findings
    assert finding.name == "fractured-read"
    assert finding.forbidden_by == (level,)
    assert finding.is_cycle
    assert "t2 read y = 2, which t1 wrote, and had seen t0, which wrote y = 1 (t2 read x = 1, which t0 wrote)" in str(
        report
    )
    for xs in ([1, 2], [2, 1]):
        for ys in ([1, 2], [2, 1]):
            assert check_history(timed, level, assume={"version_order": {"x": xs, "y": ys}}).valid is False
    assert check_history(timed, "read-committed").valid is True


def test_an_order_that_follows_from_what_was_seen_is_told_with_its_reason() -> None:
    """A write skew between t0 and t3, which has read x before t0 overwrote it; that t0 came later is known by t2 alone."""
    skew = history("gk wx1", "wx2 wz1", "gz1 gx1", "gx2 wk1")
    report = check_history(skew)
    assert report.anomalies == {"G2-item"}
    assert report.finding().forbidden_by == ("serializable",)
    assert (
        "t3 read x = 2 and t0 wrote x = 1, which came later "
        "(t2 read x = 1, which t0 wrote, and had seen t1, which wrote x = 2 (t2 read z = 1, which t1 wrote))."
    ) in report.explain()
    assert check_history(skew, "snapshot-isolation").valid is True


@pytest.mark.parametrize("level", ["repeatable-read", "snapshot-isolation", "serializable", "strict-serializable"])
def test_registers_that_no_order_of_versions_explains(level: str) -> None:
    """X changes once and y changes once, so that of the four combinations that were read one cannot have been there."""
    timed = [{**t, "start": 0, "end": 9} for t in ALL_COMBINATIONS]
    report = check_history(timed, level)
    (finding,) = report.findings
    assert finding.name == "no-version-order"
    assert finding.forbidden_by == (level,)
    assert not finding.is_cycle
    assert all(step.sentence.startswith("If t") for step in finding.steps)
    for xs in ([1, 2], [2, 1]):
        for ys in ([1, 2], [2, 1]):
            assert check_history(timed, level, assume={"version_order": {"x": xs, "y": ys}}).valid is False
    assert check_history(timed, "read-atomic").valid is True


def test_beyond_its_budget_the_search_says_that_it_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "BUDGET", 0)
    monkeypatch.setattr(proof, "solver_available", lambda: False)
    report = check_history(ALL_COMBINATIONS)
    assert report.valid is None
    assert (
        "The order of the writes to x, y is not known. Orders tried until the budget was used up: 1;"
        in report.explain()
    )
    assert "simtx[solver]" in report.explain()
    assert check_history(history("wx1", "wx2", "gx1", "gx2")).valid is True  # the first order is tried at any price


@pytest.mark.parametrize("level", ["snapshot-isolation", "repeatable-read", "serializable"])
def test_strong_session_levels_grant_that_a_session_sees_each_key_move_forward(level: str) -> None:
    """The second session has overwritten x = 2, and the third saw what it wrote to y before it read x = 2."""
    back = history("wx2", "gx2", "wx1 wy1", "gy1", "gx2")
    for entry, process in zip(back, (0, 1, 1, 2, 2), strict=True):
        entry.update(process=process, start=None, end=None)
    report = check_history(back, f"strong-session-{level}")
    assert report.anomalies == {"G-single-item-process"}
    assert report.finding().forbidden_by == (f"strong-session-{level}",)
    assert "(sequential_keys)" in report.explain()
    assert check_history(back, level).valid is True
    assert check_history(back, "strong-session-read-committed").valid is True


def test_strict_serializability_grants_that_each_key_moves_forward_in_real_time() -> None:
    back = history("wx2 @0 0 1", "gx2 @1 2 3", "wx1 wy1 @2 4 12", "gy1 @3 5 6", "gx2 @4 8 9")
    report = check_history(back, "strict-serializable")
    assert report.anomalies == {"G-single-item-realtime"}
    assert "(linearizable_keys)" in report.explain()
    assert check_history(back).valid is True


def test_where_some_version_order_explains_everything_none_has_to_be_granted() -> None:
    report = check_history(history("wx1", "wx2", "gx1", "gx2"))
    assert report.valid is True
    assert report.granted == ()


def test_an_anomaly_that_another_one_implies_is_not_repeated() -> None:
    """A dirty write is circular information flow too, a lost update is an anti-dependency cycle too."""
    assert check_history(history("ax1 ay1", "ax2 ay2", "rx12 ry21")).anomalies == {"G0"}
    assert check_history(history("ax1", "rx1 ax2", "rx1 ax3")).anomalies == {"lost-update"}
    assert check_history(history("fail:ax1", "ax2", "rx12")).anomalies == {"dirty-update"}
    assert check_history(history("rx1 ax1", "ay1 rz1", "az1 ry1")).anomalies == {"future-read"}
    assert check_history(history("ax1 @0 0 1", "rx rx1 @1 2 3"), "strict-serializable").anomalies == {
        "internal",
        "G-single-item",
    }


def test_an_intermediate_read_is_an_anti_dependency_cycle_too() -> None:
    """Elle reports both names for it, as neither implies the other."""
    assert check_history(history("ax1 ax2", "rx1")).anomalies == {"G1b", "G-single-item"}
    assert check_history(history("ax1 ax2", "rx1"), "read-committed").anomalies == {"G1b"}


def test_appends_that_nobody_read_come_after_all_that_were_read() -> None:
    """Elle's unobserved-write example."""
    report = check_history(history("ax1 ay1", "ax2 ay2", "ax3 ay3", "rx12", "ry2"))
    assert report.anomalies == {"G0", "G-single-item"}


def test_adjacent_anti_dependencies_do_not_break_snapshot_isolation() -> None:
    adjacent = history("ru1 ry", "ay1 rz", "az1 at1", "rt1 rv", "av1 au1")
    assert check_history(adjacent, "snapshot-isolation").valid is True
    assert check_history(adjacent, "serializable").anomalies == {"G2-item"}


def test_an_unknown_transaction_that_nobody_saw_proves_nothing() -> None:
    """It may not have taken effect; then its reads do not matter and its append is not there."""
    assert check_history(history("ax1", "info:rx1 ay1", "rx ry"), "serializable").valid is True
    assert check_history(history("rx ay1", "info:ry ax1")).valid is True


def test_an_unknown_transaction_that_was_seen_has_committed() -> None:
    assert check_history(history("rx ay1", "info:ry ax1", "rx1")).anomalies == {"G2-item"}


def test_an_unknown_transaction_is_committed_if_another_such_one_that_was_seen_saw_it() -> None:
    assert check_history(history("info:ax1 ry", "info:rx1 ay1 az1", "rz1", "rx ry1")).valid is False
    assert check_history(history("info:ax1 ry", "info:rx1 ay1 az1", "rz", "rx ry")).valid is True


def test_an_unknown_transaction_may_take_effect_long_after_its_session_and_the_clock_went_on() -> None:
    late = history("info:ax1 @0 0 1", "rx @0 2 3", "rx1 @1 4 5")
    assert check_history(late, "strict-serializable").valid is True
    assert check_history(late, "strong-session-serializable").valid is True


def test_a_history_in_which_nothing_is_known_to_have_committed_is_not_judged() -> None:
    for nothing in ([], history("fail:ax1"), history("info:ax1")):
        report = check_history(nothing)
        assert report.valid is None
        assert "nothing to judge" in report.explain()


def test_a_read_of_what_nobody_wrote_leaves_the_verdict_open() -> None:
    for strange in (history("ax1", "rx19"), history("wx1", "gx9")):
        report = check_history(strange)
        assert report.valid is None
        assert "t1 read 9 from x, which no transaction of the history wrote" in report.explain()


def test_a_dirty_read_of_an_unknown_transaction_tells_nothing_at_read_uncommitted() -> None:
    """There it may have been rolled back afterwards."""
    crossed = history("info:ax1 ay2", "ax2 ay1", "rx12 ry12")
    assert check_history(crossed, "read-uncommitted").valid is True
    assert check_history(crossed, "read-committed").anomalies == {"G0"}


def test_a_transaction_that_reads_its_own_append_does_not_miss_what_came_after() -> None:
    """The order of the appends says all; an anti-dependency on top of it would add a name that the history does not earn."""
    assert check_history(history("ax1 rx1 ay2", "ax2 ay1", "rx12 ry12")).anomalies == {"G0"}


def test_reads_that_disagree_do_not_order_the_appends() -> None:
    """The longest of them would give a dirty write here that nothing proves."""
    report = check_history(history("ax1 ay1", "ax2 ay2", "rx12", "rx21", "ry21"), "read-uncommitted")
    assert report.anomalies == set()


def test_a_walk_through_one_transaction_twice_is_not_a_cycle() -> None:
    """A cycle of reads and one of anti-dependencies meet in t0; together they would pass for anti-dependencies that are apart."""
    crossing = history("ap1 rq1 rx az1", "rp1 aq1", "ax1 ay1", "ry1 rz")
    assert check_history(crossing).anomalies == {"G1c", "G2-item"}
    assert check_history(crossing, "snapshot-isolation").anomalies == {"G1c"}


def test_in_real_time_every_write_that_had_ended_comes_before_a_later_read() -> None:
    """Two writes at the same time, then two reads one after the other that each return another of them."""
    flip = history("wx1 @0 0 10", "wx2 @1 1 9", "gx1 @2 20 21", "gx2 @3 30 31")
    assert check_history(flip, assume={"linearizable_keys": True}).anomalies == {"cyclic-versions"}
    assert check_history(flip[:3], assume={"linearizable_keys": True}).valid is True
