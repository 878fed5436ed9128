"""Every seeded defect is found, on the property that it violates, in the smallest scope; and what only looks like a defect is not."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from simtx.checker import explore
from simtx.checker.protocols.protocol import ProtocolModel
from simtx.checker.protocols.scope import BUDGETS, Scope
from simtx.checker.protocols.story import find
from simtx.checker.protocols.verify import verify_scope
from simtx.protocols import Policies, Strategy
from simtx.protocols.extras import extras
from simtx.protocols.saga import Orchestrator

from .mutants import ALL, HARMLESS, paxos, saga, three_phase
from .mutants.catalogue import Harmless, Mutant, Paxos2, Saga2

#: The protocol itself is the defect; what it needs in order to hold has a test of its own.
ASYNCHRONOUS = {one.name for one in three_phase.MUTANTS}
#: What a plan that breaks the rules comes to, with no defect: it waits for an operator, half done.
UNRULY = {"atomicity", "non-blocking"}
QUIET = dict.fromkeys(BUDGETS, 0)


@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.name)
@pytest.mark.sample(2)
def test_the_defect_is_found_on_the_named_invariant(mutant: Mutant) -> None:
    scope = Scope(**{**QUIET, **mutant.scope})
    story = find(mutant.strategy, scope, mutant.invariant)
    assert story is not None, f"{mutant.name} survives in the scope {scope}"
    assert mutant.invariant in story.replay().violated
    if mutant.scope.get("unruly"):  # where something is violated without a defect, too
        correct, _ = mutant.without()
        assert find(correct, scope, mutant.invariant) is None


@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.name)
@pytest.mark.sample(3)
def test_the_scope_is_the_smallest(mutant: Mutant) -> None:
    """With one participant, transaction or fault less the defect does not show; nor with a service for each step.

    Where a plan that breaks the rules violates the same without any defect, nothing shows.
    """
    scope = {**QUIET, "participants": 2, "messages": 1, **mutant.scope}
    for name in ("participants", "messages", *BUDGETS):
        least = 1 if name in ("participants", "messages") else 0
        if scope[name] > least:
            less = scope[name] - 1
            revisit = scope.get("revisit", False) and (name != "participants" or less > 1)
            smaller = Scope(**{**scope, name: less, "revisit": revisit})
            if mutant.strategy.check(smaller.variants()[0][1][0]):
                continue  # it takes more participants
            if find(mutant.strategy, smaller, mutant.invariant) is not None:
                assert smaller.unruly, f"{mutant.name} shows in {smaller}"
                correct, _ = mutant.without()
                assert find(correct, smaller, mutant.invariant) is not None, f"{mutant.name} shows in {smaller}"
    if scope.get("revisit"):
        assert find(mutant.strategy, Scope(**{**scope, "revisit": False}), mutant.invariant) is None


CORRECT = {
    f"{strategy!r} {scope} {sorted(mutant.besides) or ''}".strip(): (strategy, scope, mutant.besides)
    for mutant in ALL
    if mutant.name not in ASYNCHRONOUS
    for strategy, scope in [mutant.without()]
}


@pytest.mark.parametrize("case", CORRECT.values(), ids=CORRECT)
@pytest.mark.sample(3)
def test_without_the_defect_everything_holds_in_the_same_scope(
    case: tuple[Strategy, dict[str, Any], frozenset[str]],
) -> None:
    """But for what a dual write is known to lack; that is never what a defect on top of it is found on."""
    strategy, scope, besides = case
    verdict = verify_scope(strategy, Scope(**{**QUIET, **scope}))
    assert verdict.complete
    assert set(verdict.violations) <= besides | (UNRULY if scope.get("unruly") else set()), verdict.text


def test_only_a_dual_write_violates_anything_besides() -> None:
    for mutant in ALL:
        known = extras(mutant.strategy).weaknesses
        assert mutant.besides <= set(known) - {mutant.invariant}


@pytest.mark.parametrize("change", HARMLESS, ids=lambda change: change.name)
@pytest.mark.sample(16)
def test_what_only_looks_like_a_defect_holds(change: Harmless) -> None:
    taken: set[tuple[str, str, str]] = set()
    for scope in change.scopes:
        verdict = verify_scope(change.strategy, Scope(**{**QUIET, **scope}))
        assert verdict.complete
        assert not verdict.violations, verdict.text
        assert verdict.goals["commit"]
        taken |= {row[:3] for row in verdict.covered}
    assert change.witness is None or change.witness in taken


@pytest.mark.parametrize("participants", [1, 2, 3])
def test_three_phase_commit_holds_when_every_message_arrives_before_its_timer(participants: int) -> None:
    verdict = verify_scope(three_phase.ThreePhaseCommit(), Scope(**{**QUIET, "participants": participants}))
    assert verdict.ok, verdict.text


@pytest.mark.parametrize("orchestrator", [Orchestrator, saga.UndoesAtOnce])
def test_a_property_of_ones_own_sees_what_the_others_do_not(orchestrator: type[Orchestrator]) -> None:
    """What is in force is always a beginning of the plan: stricter than ours, which let independent steps end as they like."""
    checker = ProtocolModel(Saga2(orchestrator=orchestrator), Scope(**{**QUIET, "participants": 3, "crashes": 1}))

    def in_sequence(state: Any) -> bool:
        force = checker.judge.in_force(state, 0)
        return all(before or not after for before, after in pairwise(force))

    model = checker.model()
    exploration = explore(replace(model, invariants={**model.invariants, "in sequence": in_sequence}))
    assert exploration.complete
    expected = {"in sequence", "undo-order"} if orchestrator is saga.UndoesAtOnce else set()
    assert {violation.name for violation in exploration.violations} == expected


def test_an_operator_sees_to_what_is_stuck() -> None:
    """So plans that break the rules come to an end, unless it is not said that somebody has to look."""
    hasty = Policies(attempts=1, compensation_attempts=1)
    scope = Scope(**{**QUIET, "pivot": 0, "unruly": True, "interventions": 1, "crashes": 1})
    assert verify_scope(Saga2(policies=hasty), scope).ok
    silent = verify_scope(Saga2(orchestrator=saga.StuckInSilence, policies=hasty), scope)
    assert "non-blocking" in silent.violations


def test_names_are_unique() -> None:
    names = [one.name for one in (*ALL, *HARMLESS)]
    assert len(names) == len(set(names))


@pytest.mark.heavy
def test_a_crash_between_the_rollback_and_the_tombstone_of_an_acceptor() -> None:
    """Half a minute: it takes a crash, a copy and an early timer, and no such scope is explored to its end in so few states."""
    scope = Scope(**{**QUIET, "crashes": 1, "duplicates": 1, "timeouts": 1, "refusals": False})
    story = find(Paxos2(participant=paxos.LosesItsTombstone), scope, "agreement", max_states=14_000_000)
    assert story is not None
    assert "agreement" in story.replay().violated
    assert find(Paxos2(), scope, "agreement", max_states=14_000_000) is None
