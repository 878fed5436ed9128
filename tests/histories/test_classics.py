"""Histories that everybody knows: Adya's phenomena, the cases of Hermitage and of Elle, forks, skews, and what sessions rule out."""

import re
from typing import Any

import pytest

from simtx.histories import check_history

RU, RC, RR, SI, S = "read-uncommitted", "read-committed", "repeatable-read", "snapshot-isolation", "serializable"
RA, CC, PC = "read-atomic", "causal-consistency", "prefix-consistency"
SESSION, STRICT = "strong-session-", "strict-serializable"


def history(texts: list[str]) -> list[dict[str, Any]]:
    """Transactions one after the other, such as `fail: ax1 rx12 wu3 ru_ @2`: appends, writes, reads (`_`: nothing), the process.

    The keys from `u` to `w` are registers, the others lists. A `~` before a transaction: it runs until the end.
    """
    result = []
    for number, text in enumerate(texts):
        status = next((s for s in ("fail", "info") if s in text), "ok")
        process = re.search(r"@(\d)", text)
        ops: list[list[Any]] = []
        for kind, key, value in re.findall(r"\b([arw])([a-z])(\d*|_)(?= |$)", text):
            if kind != "r":
                ops.append(["append" if kind == "a" else "w", key, int(value)])
            elif key in "uvw":
                ops.append(["r", key, None if value == "_" else int(value)])
            else:
                ops.append(["r", key, [int(digit) for digit in value]])
        start, end = 2 * number, 99 if "~" in text else 2 * number + 1
        who = int(process[1]) if process else 10 + number
        result.append({"id": number, "process": who, "status": status, "start": start, "end": end, "ops": ops})
    return result


# what it is called, the transactions, what each level finds (nothing: possible at this level)
LISTS: list[tuple[str, list[str], dict[str, str]]] = [
    ("serializable, Adya's third figure", ["az1 ax1 ay1", "rx1 ay2", "ry12 az3", "rz13"], {S: "", STRICT: ""}),
    ("dirty write", ["ax1 ay1", "ax2 ay2", "rx12 ry21"], {RU: "G0", S: "G0"}),
    ("aborted read", ["fail: ax1", "rx1"], {RU: "", RC: "G1a", RR: "G1a", S: "G1a"}),
    ("aborted read by a writer", ["rx1 ax2", "rx12 ry", "fail: ax1"], {RC: "dirty-update", S: "dirty-update"}),
    ("intermediate read", ["ax1 ax2", "rx1"], {RU: "", RC: "G1b", S: "G1b G-single-item"}),
    ("its own intermediate state", ["ax1 rx1 ax2"], {RC: "", S: ""}),
    ("circular information flow", ["ax1 ry1", "ax2 ay1", "rx12 ry1"], {RU: "", RC: "G1c", S: "G1c"}),
    ("observed transaction vanishes", ["ax1 ay1", "ax2 ay2", "rx1 ry12", "rx12 ry12"], {RC: "", RR: "G-single-item"}),
    ("lost update", ["ax1", "rx1 ax2", "rx1 ax3"], {RC: "", SI: "lost-update", RR: "lost-update", S: "lost-update"}),
    ("two appends after one read", ["rx ax1 ax2", "rx12"], {S: ""}),
    ("read skew", ["ax1 ay1", "rx1 ry"], {RC: "", SI: "G-single-item", RR: "G-single-item"}),
    ("read skew behind an overwrite", ["ax1 ay1", "ax2 ry", "rx12"], {RC: "", SI: "G-single-item"}),
    ("read skew by a third", ["ax1 ay1", "ax2", "rx12 ay2", "rx1 ry12"], {RC: "", SI: "G-single-item"}),
    ("write skew", ["rx ry ax1", "rx ry ay1"], {RC: "", SI: "", RR: "G2-item", S: "G2-item"}),
    ("write skew of three", ["rx ay1", "ry az1", "rz ax1"], {SI: "", S: "G2-item"}),
    ("a reader makes the skew", ["rx ry ax1", "ay1", "rx ry1"], {SI: "", S: "G2-item"}),
    ("long fork", ["ax1", "ay1", "rx1 ry", "rx ry1"], {RC: "", SI: "G-nonadjacent-item", S: "G-nonadjacent-item"}),
    ("anti-dependencies in a row", ["rd5 ry", "ay1 rz", "az2 at3", "rt3 rb", "ab4 ad5"], {SI: "", S: "G2-item"}),
    ("dirty update behind an unknown one", ["fail: ax1", "info: ax2", "ax3", "rx123"], {RC: "dirty-update"}),
    ("duplicates", ["ax1 ry1", "ax2 ay1", "rx121"], {RC: "G1c duplicate-elements", RU: "duplicate-elements"}),
    ("reads that contradict", ["ax1 ry1", "ax2", "ax3 ay1", "rx13", "rx123"], {RC: "G1c incompatible-order"}),
    ("another one in between", ["ax1 ax2 ax4", "ax3 rx1234"], {S: "G0 internal"}),
    ("unread appends", ["ax1 ay1", "ax2 ay2", "ax3 ay3", "rx12 ry2"], {S: "G0 G-single-item"}),
    ("a read of what comes later", ["rx1 ax1"], {RU: "", RC: "future-read", S: "future-read"}),
    ("forgotten", ["ax1 rx"], {RC: "", RR: "", SI: "internal", S: "internal"}),
    ("stale", ["ax1", "ax2", "rx1", "rx12"], {S: "", SESSION + S: "", STRICT: "G-single-item-realtime"}),
    ("causal reverse", ["~ rx ry1", "ax1", "ay1"], {S: "", STRICT: "G-single-item-realtime"}),
    ("own write forgotten", ["ax1 @0", "rx @0"], {S: "", SESSION + RC: "", SESSION + SI: "G-single-item-process"}),
    ("reads go back", ["ax1", "rx1 @1", "rx @1"], {S: "", SESSION + S: "G-single-item-process"}),
    ("own writes out of order", ["ax1 @0", "ay1 @0", "ry1 rx"], {S: "", SESSION + SI: "G-single-item-process"}),
    ("a write before what it followed", ["ax1", "rx1 @1", "ay1 @1", "ry1 rx"], {SESSION + SI: "G-single-item-process"}),
    ("from the session's future", ["rx1 ay1 @1", "ry1 @2", "ax1 @2"], {S: "", SESSION + SI: "G1c-process"}),
    (
        "a fork across a session",
        ["rx rz1 @0", "ax1 @1", "rz @1", "az1 @2"],
        {SI: "", SESSION + SI: "G-nonadjacent-item-process"},
    ),
    ("half of a transaction", ["ax1 ay1 @0", "rx1 ry @1"], {RC: "", RA: "fractured-read", CC: "fractured-read"}),
    ("half, behind another append", ["ax1 ay1 @0", "ax2 @1", "rx12 ry @2"], {RC: "", RA: "fractured-read"}),
    (
        "half, by an append of one's own",
        ["ax1 ay1 @0", "ax2 rx12 ry @1"],
        {RA: "fractured-read", PC: "prefix-violation"},
    ),
    (
        "an answer without its question",
        ["ax1 @0", "rx1 ay1 @1", "ry1 rx @2"],
        {RA: "", CC: "causality-violation", SI: "G-single-item"},
    ),
    ("a fork is causal", ["ax1 @0", "ay1 @1", "rx1 ry @2", "rx ry1 @3"], {CC: "", PC: "prefix-violation"}),
    (
        "a lost update has a prefix",
        ["rx ax1 @0", "rx ax2 @1", "rx12 @2"],
        {CC: "", PC: "", SI: "lost-update G-single-item"},
    ),
    (
        "own write forgotten, causally",
        ["ax1 @0", "rx @0"],
        {RA: "", SESSION + RA: "fractured-read-process", CC: "causality-violation"},
    ),
]

WFR, SEQUENTIAL, LINEARIZABLE = {"wfr_keys": True}, {"sequential_keys": True}, {"linearizable_keys": True}
REGISTERS: list[tuple[str, list[str], dict[str, bool], dict[str, str]]] = [
    ("its own last write", ["ru2 wu3 ru3 wu1 ru1", "wu2"], {}, {S: ""}),
    ("aborted read", ["ru2", "fail: wu2"], {}, {RU: "", RC: "G1a"}),
    ("intermediate read", ["ru2", "wu2 wu1"], {}, {RU: "", RC: "G1b"}),
    ("chain on one key", ["ru3 wu1", "ru1 wu3"], {}, {RC: "G1c"}),
    ("chain on two keys", ["ru3 wv1", "rv1 wu3"], {}, {RC: "G1c"}),
    ("blind writes", ["wu1 wv2", "wu2 wv1"], {}, {RU: "", S: ""}),
    ("blind writes and their end", ["wu1 wv2 @0", "wu2 wv1 @1", "ru2 @0", "rv2 @1"], SEQUENTIAL, {RU: "G0"}),
    ("a later read of an earlier value", ["wu1 @0", "wu2 @0", "ru1 @0"], SEQUENTIAL, {RU: "cyclic-versions"}),
    ("write skew", ["wu1 wv1", "~ ru1 wv2", "~ rv1 wu2"], LINEARIZABLE, {RC: "", SI: "", RR: "G2-item"}),
    ("read skew of the initial state", ["ru_ rv1", "wv1 wu2"], {}, {RC: "", SI: "G-single-item"}),
    ("read skew behind an update", ["rv1 wu1 wv2", "ru1 rv1", "wv1"], WFR, {S: "G-single-item"}),
    ("lost update", ["wu3", "ru3 wu1", "ru3 wu2"], {}, {RC: "", PC: "", SI: "lost-update", S: "lost-update"}),
    (
        "half of each",
        ["wu1 wv1 @0", "wu2 wv2 @1", "rv2 ru1 @2"],
        {},
        {RC: "", RA: "fractured-read", PC: "fractured-read"},
    ),
    ("half of what was overwritten", ["wu1", "ru1 wu2 wv2", "rv2 ru1"], {}, {RC: "", RA: "fractured-read"}),
    (
        "forgotten by a session",
        ["wu1 @0", "wu2 @0", "ru1 @0"],
        {},
        {SESSION + RA: "fractured-read-process", CC: "causality-violation"},
    ),
    (
        "an answer to what was overwritten",
        ["wu3 @3", "ru3 wu1 @0", "ru1 wv1 @1", "rv1 ru3 @2"],
        {},
        {RA: "", SESSION + RA: "", CC: "causality-violation", PC: "prefix-violation"},
    ),
    (
        "two sides, each to its own",
        ["wu1 @0", "wu2 @1", "ru1 @2", "ru2 @2", "ru2 @3", "ru1 @3"],
        {},
        {SESSION + RA: "", CC: "causality-violation"},
    ),
]


@pytest.mark.parametrize(("texts", "found"), [case[1:] for case in LISTS], ids=[case[0] for case in LISTS])
def test_a_classic_on_lists(texts: list[str], found: dict[str, str]) -> None:
    for level, names in found.items():
        report = check_history(history(texts), level)
        assert report.anomalies == set(names.split()), level
        assert report.valid is (not names), level


@pytest.mark.parametrize(("texts", "assume", "found"), [case[1:] for case in REGISTERS], ids=[c[0] for c in REGISTERS])
def test_a_classic_on_registers(texts: list[str], assume: dict[str, bool], found: dict[str, str]) -> None:
    for level, names in found.items():
        report = check_history(history(texts), level, assume=assume)
        assert report.anomalies == set(names.split()), level
        assert report.valid is (not names), level
