"""Symmetry over participants that are alike loses nothing; and who is alike is not believed but checked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from simtx.checker import explore, verify
from simtx.checker.protocols.layout import State
from simtx.checker.protocols.protocol import ProtocolModel
from simtx.checker.protocols.scope import BUDGETS, Scope
from simtx.checker.protocols.symmetry import NotAlikeError
from simtx.checker.protocols.verify import verify_scope
from simtx.protocols import Message, Outbox, Policies, Saga, Strategy, Suspect, TwoPhaseCommit
from simtx.protocols.saga import DONE, UNDONE, UNKNOWN, Orchestrator
from simtx.protocols.two_phase_coordinator import Coordinator
from simtx.protocols.two_phase_participant import Participant

from .mutants import (
    saga,
    saga_participants,
    second_faults_saga,
    second_faults_two_phase,
    three_phase,
    two_phase,
    two_phase_participants,
)
from .mutants.catalogue import Commit2, Mutant, Saga2

QUIET = dict.fromkeys(BUDGETS, 0)
HASTY = Policies(attempts=1, compensation_attempts=1)


def large(strategy: Strategy, scope: dict[str, Any]) -> Any:
    """A case of hundreds of thousands of states."""
    return pytest.param((strategy, scope), marks=pytest.mark.heavy)


CASES: list[Any] = [
    (TwoPhaseCommit(), {"crashes": 0, "duplicates": 0}),
    large(TwoPhaseCommit(), {}),
    (TwoPhaseCommit(), {"crashes": 0, "participants": 3}),
    (TwoPhaseCommit(), {"crashes": 0, "participants": 3, "losses": 1, "duplicates": 0}),
    (TwoPhaseCommit(), {"crashes": 0, "participants": 4, "duplicates": 0}),
    (TwoPhaseCommit(), {"participants": 3, "duplicates": 0, "timeouts": 0}),
    (TwoPhaseCommit(), {"participants": 3, "reads": 1, "duplicates": 0}),
    (TwoPhaseCommit(), {"failures": 1, "duplicates": 0}),
    large(TwoPhaseCommit(), {"crashes": 2, "duplicates": 0}),
    (TwoPhaseCommit(), {"messages": 2, "crashes": 0, "duplicates": 0, "timeouts": 0}),
    (TwoPhaseCommit(), {"messages": 2, "crashes": 0, "duplicates": 0, "timeouts": 0, "contention": True}),
    large(TwoPhaseCommit(work="before"), {"parallel": True}),
    (TwoPhaseCommit(policies=Policies(attempts=2)), {"crashes": 0, "timeouts": 2}),
    (three_phase.ThreePhaseCommit(), {"participants": 3, "crashes": 0, "duplicates": 0}),
    (three_phase.ThreePhaseCommit(), {"duplicates": 0}),
    (Saga(), {"parallel": True, "crashes": 0}),
    large(Saga(), {"parallel": True, "participants": 3, "duplicates": 0}),
    (Saga(), {"parallel": True, "participants": 4, "crashes": 0, "timeouts": 0}),
    (Saga(), {"parallel": True, "participants": 4, "crashes": 0, "duplicates": 0, "losses": 1, "refusals": False}),
    (Saga(), {"parallel": True, "participants": 3, "pivot": 2, "crashes": 0, "losses": 1, "duplicates": 0}),
    (Saga(), {"parallel": True, "crashes": 2, "duplicates": 0, "timeouts": 0}),
    (Saga(), {"parallel": True, "messages": 2, "crashes": 0, "timeouts": 0, "refusals": False}),
    (Saga(completion="lazy"), {"parallel": True, "losses": 1, "duplicates": 0, "timeouts": 0}),
    large(Saga(policies=Policies(attempts=2)), {"parallel": True, "crashes": 0, "duplicates": 0, "failures": 2}),
    (Saga(policies=HASTY), {**QUIET, "parallel": True, "failures": 2, "interventions": 1}),
]


def reachable(model: ProtocolModel) -> Iterator[State]:
    """Every state, one by one, without a thought of symmetry."""
    seen = dict.fromkeys(model.initial())
    todo = list(seen)
    while todo:
        yield (state := todo.pop())
        for _, after in model.successors(state):
            if after not in seen:
                seen[after] = None
                todo.append(after)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.sample(9)
def test_representatives_are_those_of_the_full_search(case: tuple[Strategy, dict[str, Any]]) -> None:
    """There are as many states up to symmetry as the states of the full search have representatives, and each is its own."""
    strategy, scope = case
    model = ProtocolModel(strategy, Scope(**scope), symmetry=True)
    assert model.symmetry is not None
    canonical = model.symmetry.canonical
    full = set(reachable(model))
    representatives = {canonical(state) for state in full}
    assert all(canonical(state) == state for state in representatives)
    quotient = ProtocolModel(strategy, Scope(**scope), symmetry=True)
    exploration = explore(quotient.model(), symmetry=True)
    assert exploration.complete
    assert exploration.states == len(representatives) < len(full)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.sample(9)
def test_the_verdict_is_that_of_the_full_search(case: tuple[Strategy, dict[str, Any]]) -> None:
    strategy, scope = case
    full, quotient = verify(strategy, **scope), verify(strategy, **scope, symmetry=True)
    assert quotient.symmetry.startswith("s1, s2")
    assert quotient.states < full.states
    assert full.complete
    assert quotient.complete
    lengths = [{name: len(story.steps) for name, story in one.violations.items()} for one in (full, quotient)]
    assert lengths[0] == lengths[1]
    for part in ("goals", "depth", "covered", "recovered", "not_covered", "checked"):
        assert getattr(quotient, part) == getattr(full, part)


DEFECTS = [
    one
    for module in (two_phase, two_phase_participants, three_phase)
    for one in (*module.MUTANTS, *(second_faults_two_phase.MUTANTS if module is two_phase else ()))
    if one.scope.get("participants", 2) > 1
]
#: In a saga with independent steps.
SAGA_DEFECTS = [
    one
    for one in (*saga.MUTANTS, *saga_participants.MUTANTS, *second_faults_saga.MUTANTS)
    if one.scope.get("participants", 2) > 1 and not {"pivot", "revisit"} & one.scope.keys()
]

#: They take something for that of the first of a list, or of the last, whoever it comes from, and so treat those in front otherwise than
#: those behind; or expect it in the order in which they have asked for it.
BY_POSITION = ("votes-counted", "acks-counted", "replies-counted", "undone-counted")
IN_ORDER = "votes-in-order"
#: Where no step comes after another, the record that is not durable is that of a branch.
CHAINS_ONLY = ("lazy-done",)


def compared(strategy: Strategy, scope: Scope) -> set[str]:
    """What is violated, as the full search says it and the one up to symmetry does, in stories as long."""
    full, quotient = verify_scope(strategy, scope), verify_scope(strategy, scope, symmetry=True)
    assert {name: len(story.steps) for name, story in quotient.violations.items()} == {
        name: len(story.steps) for name, story in full.violations.items()
    }
    for name, story in quotient.violations.items():
        assert name in story.replay().violated, "the story is no real run"
    return set(quotient.violations)


@pytest.mark.parametrize(
    "mutant", [one for one in DEFECTS if one.name not in (*BY_POSITION, IN_ORDER)], ids=lambda mutant: mutant.name
)
def test_a_defect_is_found_up_to_symmetry_as_well(mutant: Mutant) -> None:
    assert mutant.invariant in compared(mutant.strategy, Scope(**{**QUIET, **mutant.scope}))


@pytest.mark.parametrize(
    "mutant", [one for one in SAGA_DEFECTS if one.name not in BY_POSITION], ids=lambda mutant: mutant.name
)
@pytest.mark.sample(5)
def test_a_defect_of_a_saga_with_independent_steps_is_found_as_well(mutant: Mutant) -> None:
    violated = compared(mutant.strategy, Scope(**{**QUIET, **mutant.scope, "parallel": True}))
    assert (mutant.invariant in violated) != (mutant.name in CHAINS_ONLY)


@pytest.mark.parametrize(
    "strategy", [Saga(), Saga(completion="lazy"), Outbox(), TwoPhaseCommit(work="before")], ids=repr
)
def test_participants_whose_steps_are_ordered_are_not_alike(strategy: Strategy) -> None:
    verdict = verify(strategy, duplicates=0, timeouts=0, symmetry=True)
    plain = verify(strategy, duplicates=0, timeouts=0)
    assert verdict.symmetry == "no two participants are alike"
    assert "no two participants are alike" in verdict.bounds
    assert (verdict.states, verdict.transitions) == (plain.states, plain.transitions)
    assert plain.symmetry == ""


def test_only_those_with_equal_parts_are_alike() -> None:
    assert verify("2pc", participants=4, reads=2, crashes=0, duplicates=0, symmetry=True).symmetry == (
        "s1, s2; s3, s4 are alike"
    )


class Partial(Coordinator):
    """Does not wait for the vote of s2."""

    __slots__ = ()

    def take_yes(self, event: Any) -> Any:
        if event.sender == "s2":
            return super().take_yes(event)
        if "s2" in self.pending:
            self.pending.remove("s2")
        return super().take_yes(event)


class InOrder(Coordinator):
    """Repeats COMMIT only to the first whose acknowledgement is missing."""

    __slots__ = ()

    def repeat_commit(self, event: Any) -> Any:
        effects = super().repeat_commit(event)
        first = next(one for one in effects if isinstance(one, Message))
        return [one for one in effects if not isinstance(one, Message | Suspect) or one == first]


class Undeclared(Orchestrator):
    """Does not say what it keeps by step."""

    __slots__ = ()
    by_step = ()


class Ascending(Orchestrator):
    """Undoes what stands before the step that has turned it back, and takes the rest for never begun."""

    __slots__ = ()

    def _compensate(self) -> Any:
        later = range(self.cause + 1, len(self.status))
        self.status[:] = [UNDONE if one == DONE and index in later else one for index, one in enumerate(self.status)]
        return super()._compensate()


class Forgiving(Orchestrator):
    """Does not undo the step that has turned it back by its silence, whichever that is."""

    __slots__ = ()

    def _compensate(self) -> Any:
        if self.status[self.cause] == UNKNOWN:
            self.status[self.cause] = UNDONE
        return super()._compensate()


class Special(Participant):
    """One of them never inquires."""

    __slots__ = ()

    def inquire(self, event: Any) -> Any:
        return [self.wait()] if self.node == "s2" else super().inquire(event)


@pytest.mark.parametrize(
    ("strategy", "who"),
    [
        *(
            pytest.param(one.strategy, "coordinator|orchestrator", id=one.name)
            for one in (*DEFECTS, *SAGA_DEFECTS)
            if one.name in (*BY_POSITION, IN_ORDER)
        ),
        pytest.param(Commit2(coordinator=Partial), "coordinator", id="one-is-not-counted"),
        pytest.param(Commit2(coordinator=InOrder), "coordinator", id="their-order-counts"),
        pytest.param(Commit2(participant=Special), "s[12]", id="one-behaves-otherwise"),
        pytest.param(Saga2(orchestrator=Undeclared), "orchestrator", id="a-list-by-position"),
        pytest.param(Saga2(orchestrator=Ascending), "orchestrator", id="what-stands-before-counts"),
        pytest.param(Saga2(orchestrator=Forgiving), "orchestrator", id="who-turned-it-back-counts"),
    ],
)
def test_who_is_not_alike_after_all_is_refused_in_one_line(strategy: Strategy, who: str) -> None:
    with pytest.raises(
        NotAlikeError, match=rf"s1, s2 are not alike: when they change places, ({who}) reacts to"
    ) as caught:
        verify(strategy, parallel=True, crashes=0, symmetry=True)
    assert "\n" not in str(caught.value)
    assert verify(strategy, parallel=True, crashes=0).complete, "without symmetry it is explored"
