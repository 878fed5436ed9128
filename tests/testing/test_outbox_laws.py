"""The laws of an outbox: the simulated one keeps them all, and each of them is broken by an outbox that breaks it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from simtx.simulator.outbox import OutboxTable
from simtx.testing import OUTBOX_LAWS, LawBroken, check_outbox, simulated_stores
from simtx.testing.simulated import SimulatedStore


def simulated(**options: Any) -> SimulatedStore:
    return simulated_stores()(**options)


@pytest.mark.parametrize("law", [law.name for law in OUTBOX_LAWS])
def test_the_simulated_outbox_keeps_the_law(law: str) -> None:
    check_outbox(simulated, only=law)


def numbered_backwards(patch: pytest.MonkeyPatch) -> None:
    def commit(self: OutboxTable, work: Any, messages: Any) -> None:
        for message in reversed(messages):
            self.rows[-len(self.rows)] = message
        self._sorted = False

    patch.setattr(OutboxTable, "commit", commit)


def written_backwards(patch: pytest.MonkeyPatch) -> None:
    commit = OutboxTable.commit
    patch.setattr(OutboxTable, "commit", lambda self, work, messages: commit(self, work, tuple(reversed(messages))))


def visible_when_inserted(patch: pytest.MonkeyPatch) -> None:
    begin = OutboxTable.begin

    def eager(self: OutboxTable, work: Any) -> None:
        begin(self, work)
        if work.number >= 0:
            self.commit(work, work.effect.accepted.outbox)

    patch.setattr(OutboxTable, "begin", eager)


def marks_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(OutboxTable, "mark", lambda self, numbers, now: None)


def no_horizon(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        OutboxTable, "read_below", lambda self, limit, branches: tuple((*row, row[0]) for row in self.read(limit))
    )


def no_lock(patch: pytest.MonkeyPatch) -> None:
    """Rows are numbered at the beginning, whatever was asked for."""
    begin = OutboxTable.begin

    def early(self: OutboxTable, work: Any) -> None:
        begin(self, work)
        effect = work.effect
        if work.number < 0 and hasattr(effect, "outbox_rows") and effect.outbox_rows():
            work.number = self._next
            self._next += effect.outbox_rows()

    patch.setattr(OutboxTable, "begin", early)


BROKEN = [
    (written_backwards, "rows-of-one-local-transaction-ascend"),
    (numbered_backwards, "who-begins-after-a-commit-has-higher-numbers"),
    (visible_when_inserted, "a-row-under-way-is-invisible"),
    (visible_when_inserted, "what-fails-leaves-no-row"),
    (marks_nothing, "a-marked-row-is-not-read-again"),
    (no_horizon, "below-the-horizon-nothing-appears-before-what-was-read"),
    (no_lock, "under-the-lock-numbers-are-in-the-order-of-commits"),
]


@pytest.mark.parametrize(("broken", "law"), BROKEN, ids=[f"{broken.__name__}-{law}" for broken, law in BROKEN])
def test_an_outbox_that_breaks_a_law_is_found(
    broken: Callable[[pytest.MonkeyPatch], None], law: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch)
    with pytest.raises(LawBroken, match=law):
        check_outbox(simulated, only=law)


def test_every_law_is_broken_by_something() -> None:
    assert {law for _, law in BROKEN} == {law.name for law in OUTBOX_LAWS}
    assert all(law.text.endswith(".") for law in OUTBOX_LAWS)
