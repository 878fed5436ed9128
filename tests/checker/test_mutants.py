"""Every seeded defect is found, on the property that it violates, in the smallest scope; and what only looks like a defect is not."""

from __future__ import annotations

import pytest

from simtx.checker.scope import BUDGETS, Scope
from simtx.checker.story import find
from simtx.checker.verify import verify_scope

from .mutants import ALL, HARMLESS
from .mutants.catalogue import Harmless, Mutant

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


@pytest.mark.parametrize("change", HARMLESS, ids=lambda change: change.name)
def test_what_only_looks_like_a_defect_holds(change: Harmless) -> None:
    for scope in change.scopes:
        verdict = verify_scope(change.strategy, Scope(**{**QUIET, **scope}))
        assert verdict.complete
        assert not verdict.violations, verdict.text


def test_names_are_unique() -> None:
    names = [one.name for one in (*ALL, *HARMLESS)]
    assert len(names) == len(set(names))
