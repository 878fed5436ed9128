"""The laws of a store: the simulated one keeps them all, and each of them is broken by a store that breaks it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from simtx.simulator.store import Store
from simtx.testing import STORE_LAWS, LawBroken, check_store, simulated_stores
from simtx.testing.simulated import SimulatedStore


@pytest.mark.parametrize("law", [law.name for law in STORE_LAWS])
def test_the_simulated_store_keeps_the_law(law: str) -> None:
    check_store(simulated_stores(), only=law)


def test_all_laws_can_be_checked_in_one_go_and_have_a_sentence() -> None:
    check_store(simulated_stores())
    assert all(law.text.endswith(".") for law in STORE_LAWS)
    assert len({law.name for law in STORE_LAWS}) == len(STORE_LAWS)


def test_an_error_of_a_product_names_the_law_that_was_checked() -> None:
    """A store that lacks a method, for example: the traceback alone would not say what was asked of it."""
    with pytest.raises(AttributeError) as raised:
        check_store(lambda service, **options: object(), only="a-branch-ends-once")
    assert raised.value.__notes__ == [
        "while the law a-branch-ends-once was checked: A second end of a branch finds none, over a restart, and changes nothing."
    ]


# --- broken stores --------------------------------------------------------------------------------------------------------------


Patch = pytest.MonkeyPatch


def forgets_locks_of_prepared_branches(patch: Patch) -> None:
    crash = Store.crash

    def crashed(self: Store) -> None:
        crash(self)
        self.owners.clear()

    patch.setattr(Store, "crash", crashed)


def forgets_prepared_branches(patch: Patch) -> None:
    crash = Store.crash

    def crashed(self: Store) -> None:
        crash(self)
        self.prepared.clear()
        self.owners.clear()

    patch.setattr(Store, "crash", crashed)


def keeps_open_branches(patch: Patch) -> None:
    crash = Store.crash

    def crashed(self: Store) -> None:
        opened, owners = dict(self.open), dict(self.owners)
        crash(self)
        self.open.update(opened)
        self.owners.update(owners)

    patch.setattr(Store, "crash", crashed)


def reads_lock_nothing(patch: Patch) -> None:
    lockable = Store._lockable

    def fewer(self: Store, work: Any) -> list[str]:
        self._serializable = False
        return lockable(self, work)

    patch.setattr(Store, "_lockable", fewer)


def reads_always_lock(patch: Patch) -> None:
    lockable = Store._lockable

    def more(self: Store, work: Any) -> list[str]:
        self._serializable = True
        return lockable(self, work)

    patch.setattr(Store, "_lockable", more)


def nobody_locks(patch: Patch) -> None:
    patch.setattr(Store, "_lockable", lambda self, work: [])


def no_idempotency_rows(patch: Patch) -> None:
    patch.setattr(Store, "_rotate", lambda self: None)
    commit = Store._commit

    def forgetful(self: Store, work: Any, effect: Any) -> None:
        commit(self, work, effect)
        if effect.key is not None:
            self.rows.pop(effect.key, None)

    patch.setattr(Store, "_commit", forgetful)


def branches_leave_no_row(patch: Patch) -> None:
    commit = Store.commit_prepared

    def forgetful(self: Store, branch: Any) -> None:
        commit(self, branch)
        self.rows.pop(branch.effect.key, None)

    patch.setattr(Store, "commit_prepared", forgetful)


def guards_are_not_looked_at(patch: Patch) -> None:
    play = Store._play

    def careless(self: Store, work: Any) -> bool:
        play(self, work)
        return True

    patch.setattr(Store, "_play", careless)


def values_are_lost(patch: Patch) -> None:
    crash = Store.crash

    def crashed(self: Store) -> None:
        crash(self)
        self.values = dict(self.first.exact)

    patch.setattr(Store, "crash", crashed)


def no_tombstones(patch: Patch) -> None:
    commit = Store._commit

    def careless(self: Store, work: Any, effect: Any) -> None:
        work.tombstone = None
        commit(self, work, effect)

    patch.setattr(Store, "_commit", careless)


def a_commit_applies_nothing(patch: Patch) -> None:
    patch.setattr(Store, "_apply", lambda self, work, steps, compensation: None)


def marks_do_nothing(patch: Patch) -> None:
    patch.setattr(SimulatedStore, "mark_outbox", lambda self, ids: None)


def records_are_lost(patch: Patch) -> None:
    close = SimulatedStore.close

    def crashed(self: SimulatedStore) -> None:
        close(self)
        self.node.durable.clear()

    patch.setattr(SimulatedStore, "close", crashed)


BROKEN: dict[Callable[[Patch], None], set[str]] = {
    forgets_locks_of_prepared_branches: {
        "a-prepared-branch-is-durable-invisible-and-keeps-its-locks",
        "reads-lock-under-serializable",
    },
    forgets_prepared_branches: {"a-prepared-branch-is-durable-invisible-and-keeps-its-locks"},
    keeps_open_branches: {"an-open-branch-keeps-its-locks-and-dies-with-its-process"},
    reads_lock_nothing: {"reads-lock-under-serializable"},
    reads_always_lock: {"reads-do-not-lock-under-read-committed"},
    nobody_locks: {
        "who-waits-goes-on-with-what-is-committed-then",
        "an-open-branch-keeps-its-locks-and-dies-with-its-process",
    },
    no_idempotency_rows: {
        "an-idempotency-row-comes-back-as-it-was",
        "a-duplicate-is-found-before-any-lock",
        "of-several-with-one-key-one-runs",
        "a-compensation-runs-once-and-only-if-its-action-took-effect",
    },
    branches_leave_no_row: {"the-idempotency-row-of-a-branch-commits-with-it"},
    guards_are_not_looked_at: {
        "a-refusal-applies-nothing-and-writes-its-branch",
        "a-refusal-without-a-branch-leaves-nothing",
        "a-branch-that-is-refused-or-waits-in-vain-leaves-nothing",
    },
    values_are_lost: {"a-local-transaction-is-committed-with-all-that-belongs-to-it", "a-branch-ends-once"},
    no_tombstones: {"a-compensation-that-comes-first-stops-the-late-action"},
    a_commit_applies_nothing: {
        "a-key-that-nobody-has-written-has-its-initial-value",
        "operations-build-on-each-other",
        "operations-of-an-open-branch-and-its-prepare-are-one-change",
        "a-compensation-undoes-or-stops-its-action-that-is-under-way",
        "a-branch-that-is-rolled-back-leaves-nothing",
    },
    marks_do_nothing: {"outbox-rows-are-read-in-their-order-until-they-are-marked"},
    records_are_lost: {"a-forced-record-takes-along-the-earlier-ones-of-its-transaction"},
}


@pytest.mark.parametrize("sabotage", BROKEN, ids=lambda one: one.__name__)
def test_a_store_that_breaks_a_law_is_found_by_its_name(sabotage: Callable[[Patch], None], monkeypatch: Patch) -> None:
    sabotage(monkeypatch)
    for name in BROKEN[sabotage]:
        with pytest.raises(LawBroken, match=f"1 broken:\n{name}: "):
            check_store(simulated_stores(), only=name)


def test_every_law_can_be_broken() -> None:
    assert {name for names in BROKEN.values() for name in names} == {law.name for law in STORE_LAWS}
