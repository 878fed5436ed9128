"""Every seeded defect is found, on the property that it violates, in the smallest scope; and what only looks like a defect is not."""

from __future__ import annotations

from typing import Any

import pytest

from simtx.checker.scope import BUDGETS, Scope
from simtx.checker.story import find
from simtx.checker.verify import verify_scope
from simtx.protocols import Strategy

from .mutants import ALL, HARMLESS, three_phase
from .mutants.catalogue import Harmless, Mutant

#: The protocol itself is the defect; what it needs in order to hold has a test of its own.
ASYNCHRONOUS = {one.name for one in three_phase.MUTANTS}
QUIET = dict.fromkeys(BUDGETS, 0)


@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.name)
def test_the_defect_is_found_on_the_named_invariant(mutant: Mutant) -> None:
    scope = Scope(**{**QUIET, **mutant.scope})
    story = find(mutant.strategy, scope, mutant.invariant)
    assert story is not None, f"{mutant.name} survives in the scope {scope}"
    assert mutant.invariant in story.replay().violated


@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.name)
def test_the_scope_is_the_smallest(mutant: Mutant) -> None:
    """With one participant, transaction or fault less the defect does not show."""
    scope = {**QUIET, "participants": 2, "messages": 1, **mutant.scope}
    for name in ("participants", "messages", *BUDGETS):
        least = 1 if name in ("participants", "messages") else 0
        if scope[name] > least:
            smaller = Scope(**{**scope, name: scope[name] - 1})
            assert find(mutant.strategy, smaller, mutant.invariant) is None, f"{mutant.name} shows in {smaller}"


CORRECT = {
    f"{strategy!r} {scope}": (strategy, scope)
    for strategy, scope in (mutant.without() for mutant in ALL if mutant.name not in ASYNCHRONOUS)
}


@pytest.mark.parametrize("case", CORRECT.values(), ids=CORRECT)
def test_without_the_defect_everything_holds_in_the_same_scope(case: tuple[Strategy, dict[str, Any]]) -> None:
    strategy, scope = case
    verdict = verify_scope(strategy, Scope(**{**QUIET, **scope}))
    assert verdict.complete
    assert not verdict.violations, verdict.text


@pytest.mark.parametrize("change", HARMLESS, ids=lambda change: change.name)
def test_what_only_looks_like_a_defect_holds(change: Harmless) -> None:
    taken: set[tuple[str, str, str]] = set()
    for scope in change.scopes:
        verdict = verify_scope(change.strategy, Scope(**{**QUIET, **scope}))
        assert verdict.complete
        assert not verdict.violations, verdict.text
        assert verdict.goals["commit"]
        taken |= {row[:3] for row in verdict.covered}
    assert change.witness is None or change.witness in taken


def test_names_are_unique() -> None:
    names = [one.name for one in (*ALL, *HARMLESS)]
    assert len(names) == len(set(names))
