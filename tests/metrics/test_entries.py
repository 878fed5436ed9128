"""Details of entries: what is written is what is read, for every kind of entry, and nothing else is accepted."""

from __future__ import annotations

from typing import Any, get_args

import pytest

import simtx
from simtx.event_log import entries
from simtx.event_log.entries import (
    DETAILS,
    Applied,
    Arrived,
    BranchEnded,
    Detail,
    Dropped,
    Durability,
    EntryError,
    EntryKind,
    Handled,
    Levels,
    Number,
    Process,
    Recovered,
    Seconds,
    Staleness,
    Stuck,
    Text,
    Vote,
    Worked,
    kind_of,
)
from simtx.event_log.log import LogEntry
from tests.simulator.test_faults import FAULTS, world

SAMPLES: list[Any] = [
    Text("why"),
    Durability(forced=True),
    Durability(forced=False),
    Worked(compensation=True, status="refused", forced=True),
    Worked(compensation=False, status="done", forced=False),
    BranchEnded(forced=False, in_doubt=0.1 + 0.2),
    BranchEnded(forced=True),
    Applied([1], {"k": [1, 2]}, [["k", 1, 0]], 7),
    Applied([], {}),
    Handled("saga", "running", {"x": "é"}, [1]),
    Recovered("saga", [["begun"]], []),
    Seconds(1 / 3),
    Seconds(),
    Arrived([["s0", [["k", "add", 1]]]]),
    Number(3),
    Number(),
    Process("s0.relay"),
    Process(),
    Levels({"queue_s0": 2}),
    Stuck(stuck=True),
    Stuck(stuck=False),
    Staleness(stale=True),
    Vote("yes", written=True),
    Vote("no"),
    Dropped("down"),
    Dropped(),
]


def entry(kind: str, detail: str) -> LogEntry:
    return LogEntry(0, 0.0, kind, "s0", 1, None, "", "", "", detail)


def test_every_kind_of_entry_has_a_detail_and_every_detail_a_kind() -> None:
    assert set(DETAILS) == set(get_args(EntryKind))
    classes = {one for one in vars(entries).values() if isinstance(one, type) and issubclass(one, Detail)}
    written = {one for one in classes if "form" in vars(one)}
    assert set(DETAILS.values()) == written == {type(one) for one in SAMPLES}


@pytest.mark.parametrize("sample", SAMPLES, ids=repr)
def test_a_detail_is_read_as_it_was_written(sample: Any) -> None:
    for kind, form in DETAILS.items():
        if form is type(sample):
            assert form.read(entry(kind, sample.text())) == sample


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (Seconds, "soon"),
        (Number, "1.5"),
        (BranchEnded, "forced in-doubt=x"),
        (Applied, "[]"),
        (Handled, "{}"),
        (Recovered, "x"),
        (Arrived, "["),
        (Levels, "3"),
    ],
)
def test_another_form_is_refused_in_one_line(form: Any, text: str) -> None:
    with pytest.raises(EntryError, match=r"^the detail of a 'x' entry of s0 has to be .*, not '"):
        form.read(entry("x", text))


def test_a_kind_that_is_not_listed_is_refused() -> None:
    with pytest.raises(
        EntryError, match=r"^entry 0, of s0, has a kind that no event log has: 'sends'; did you mean 'send'\?$"
    ):
        kind_of(entry("sends", ""))
    assert kind_of(entry("send", "")) == "send"


def test_all_that_a_stormy_run_logs_is_known() -> None:
    """Under all faults together, and what is read and written again is the same text."""
    trace = simtx.simulate(world(FAULTS.values(), transactions=40), "outbox", trace="full").trace
    for one in trace:
        detail = DETAILS[kind_of(one)].read(one)
        assert detail.text() == one.detail or (detail, one.detail) == (Seconds(), "")
