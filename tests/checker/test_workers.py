"""Protocols explored by several processes: the numbers of their states mean the same in all of them."""

from __future__ import annotations

from typing import Any

import pytest

from simtx.checker import explore as explorer_function
from simtx.checker import verify
from simtx.checker.explorer.interning import InternTable, NotShareableError, SharedInternLog
from simtx.errors import ScenarioError
from simtx.protocols import DualWrite, Outbox, Saga, TwoPhaseCommit
from simtx.protocols.two_phase_coordinator import Coordinator

from .mutants.catalogue import Commit2
from .mutants.two_phase import MUTANTS


@pytest.fixture
def fork_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small searches are shared as well."""
    import sys

    explorer = sys.modules[explorer_function.__module__]
    monkeypatch.setattr(explorer, "FORK_AFTER_S", 0)
    monkeypatch.setattr(explorer, "FORK_STATES", 0)


@pytest.mark.usefixtures("fork_at_once")
@pytest.mark.parametrize("workers", [2, 3])
@pytest.mark.parametrize(
    ("strategy", "scope"),
    [
        (TwoPhaseCommit(), {}),
        pytest.param(TwoPhaseCommit(), {"symmetry": True, "participants": 3, "duplicates": 0}, marks=pytest.mark.heavy),
        pytest.param(Saga(), {"crashes": 2}, marks=pytest.mark.heavy),
        (Saga(), {}),
        (Outbox(), {"timeouts": 0}),
        (DualWrite(), {}),
        (DualWrite(order="broker-first"), {"crashes": 0, "losses": 1}),
        (MUTANTS[0].strategy, {"losses": 1, "duplicates": 0}),
    ],
    ids=str,
)
@pytest.mark.sample(8)
def test_the_verdict_does_not_depend_on_the_number_of_processes(
    strategy: Any, scope: dict[str, Any], workers: int
) -> None:
    alone, together = verify(strategy, **scope), verify(strategy, **scope, workers=workers)
    assert together.complete
    for part in ("states", "transitions", "depth", "goals", "covered", "recovered", "not_covered", "symmetry"):
        assert getattr(together, part) == getattr(alone, part), part
    assert {name: len(story.steps) for name, story in together.violations.items()} == {
        name: len(story.steps) for name, story in alone.violations.items()
    }
    for name, story in together.violations.items():
        assert name in story.replay().violated


def test_several_processes_share_the_numbers_of_what_each_has_met() -> None:
    """Two readers of one book: each learns from it what the other has entered, under the same number."""
    import os

    book = SharedInternLog()
    table: InternTable[str, str] = InternTable(book)
    assert [table.number("a", "A"), table.number("b", "B")] == [0, 1]
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - the other process
        os.write(writer, bytes([table.number("c", "C"), table.number("a", "A")]))
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 2) == bytes([2, 0])
    os.close(reader)
    os.close(writer)
    assert table.number("d", "D") == 3, "what others have entered comes first"
    assert table.values == ["A", "B", "C", "D"]


def test_an_entry_that_was_cut_off_is_ignored() -> None:
    import os

    book = SharedInternLog()
    table: InternTable[str, None] = InternTable(book)
    table.number("a", None)
    file = book._file.fileno()
    os.pwrite(file, b"\xff\x00\x00", os.fstat(file).st_size)
    book.catch_up()
    assert table.number("b", None) == 1
    size = os.fstat(file).st_size
    book.catch_up()
    assert (table.number("c", None), os.fstat(file).st_size > size) == (2, True)


def test_machines_that_cannot_travel_are_refused_in_one_line() -> None:
    class Local(Coordinator):
        __slots__ = ()

    with pytest.raises(NotShareableError, match="must survive pickling") as caught:
        verify(Commit2(coordinator=Local), workers=2)
    assert isinstance(caught.value, ScenarioError)
    assert "\n" not in str(caught.value)
    assert verify(Commit2(coordinator=Local), duplicates=0, timeouts=0).ok
