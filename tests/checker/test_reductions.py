"""What keeps the number of states down loses nothing: the same ends, the same violations as without it."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import pytest

from simtx.checker import explore, verify
from simtx.checker.protocols.layout import ENDED
from simtx.checker.protocols.local import PAUSED, Locals
from simtx.checker.protocols.protocol import ProtocolModel
from simtx.checker.protocols.scope import BUDGETS, Scope
from simtx.protocols import DualWrite, Outbox, Saga, Strategy, TwoPhaseCommit
from tests.cursor import CursorOutbox

from .interleaved import InterleavedModel, content
from .mutants import (
    dual_write,
    operator,
    outbox,
    relay,
    saga,
    saga_participants,
    second_faults_outbox,
    second_faults_saga,
    second_faults_two_phase,
    two_phase,
    two_phase_participants,
)
from .mutants.catalogue import Mutant

QUIET: dict[str, Any] = dict.fromkeys(BUDGETS, 0)


@pytest.fixture
def uncalm(monkeypatch: pytest.MonkeyPatch) -> None:
    """What only a recovery would read is not dropped."""
    monkeypatch.setattr(Locals, "calm", lambda self, number: number)


def ends(model: ProtocolModel) -> tuple[set[Hashable], set[str], int]:
    """Everything that a model can come to, the properties that fail on the way, and the number of states."""
    predicates = {**model.judge.always(), **model.judge.at_rest()}
    found: set[Hashable] = set()
    violated: set[str] = set()
    seen = dict.fromkeys(model.initial())
    todo = list(seen)
    while todo:
        state = todo.pop()
        violated |= {name for name, holds in predicates.items() if name not in violated and not holds(state)}
        if state[5] & ENDED:
            found.add(content(model, state))
        for _, after in model.successors(state):
            if after not in seen:
                seen[after] = None
                todo.append(after)
    return found, violated, len(seen)


def nothing(model: ProtocolModel) -> Hashable:
    """The end of a request that was lost in a crash before anything came of it; the model's requests wait until the node is up."""
    return content(model, model.initial()[0])


SCOPES: list[Any] = [
    (Outbox(), {"crashes": 1}),
    pytest.param(Outbox(), {"crashes": 1, "duplicates": 1}, marks=pytest.mark.heavy),
    (Outbox(), {"crashes": 1, "losses": 1}),
    (Outbox(), {"crashes": 2}),
    pytest.param(Outbox(closing=True), {"crashes": 1, "timeouts": 1}, marks=pytest.mark.heavy),
    pytest.param(Outbox(wake=True), {"crashes": 1}, marks=pytest.mark.heavy),
    pytest.param(Outbox(), {"messages": 2, "contention": True}, marks=pytest.mark.heavy),
    (CursorOutbox(), {"messages": 2, "overtakes": 1, "refusals": False}),
    pytest.param(Outbox(reader="horizon"), {"messages": 2, "overtakes": 1, "refusals": False}, marks=pytest.mark.heavy),
    pytest.param(Outbox(reader="lock"), {"messages": 2, "overtakes": 1, "refusals": False}, marks=pytest.mark.heavy),
    (Outbox(), {"participants": 1, "messages": 2, "crashes": 1}),
    pytest.param(TwoPhaseCommit(), {"participants": 1, "messages": 2, "crashes": 1}, marks=pytest.mark.heavy),
    pytest.param(Saga(), {"participants": 1, "messages": 2, "crashes": 1}, marks=pytest.mark.heavy),
    (DualWrite(), {"crashes": 1}),
    (DualWrite(order="broker-first"), {"crashes": 1, "losses": 1}),
    pytest.param(TwoPhaseCommit(), {"crashes": 1, "duplicates": 1}, marks=pytest.mark.heavy),
    (TwoPhaseCommit(), {"crashes": 1, "timeouts": 1, "participants": 1}),
    (TwoPhaseCommit(), {"messages": 2, "contention": True, "participants": 1}),
    (TwoPhaseCommit(work="before"), {"crashes": 1}),
    (Saga(), {"crashes": 1, "timeouts": 1}),
    pytest.param(Saga(completion="lazy"), {"crashes": 1, "participants": 3, "parallel": True}, marks=pytest.mark.heavy),
]


@pytest.mark.usefixtures("uncalm")
@pytest.mark.parametrize(("strategy", "scope"), SCOPES, ids=str)
@pytest.mark.sample(5)
def test_every_effect_a_step_of_its_own_comes_to_the_same_ends(strategy: Strategy, scope: dict[str, Any]) -> None:
    """Programs that run through or crash, and pause only where a relay can tell, come to all that half-done programs come to."""
    bounds = Scope(**{**QUIET, **scope})
    reduced, violated, states = ends(ProtocolModel(strategy, bounds, fused=False))
    full, also_violated, more = ends(InterleavedModel(strategy, bounds))
    assert full - {nothing(InterleavedModel(strategy, bounds))} == reduced - {nothing(ProtocolModel(strategy, bounds))}
    assert also_violated == violated
    assert more > states


@pytest.mark.usefixtures("uncalm")
def test_the_pause_at_an_outbox_row_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, ends are missing: the comparison above can tell."""
    bounds = Scope(**{**QUIET, "crashes": 1})
    full, *_ = ends(InterleavedModel(Outbox(), bounds))
    compute = Locals._compute

    def unpaused(self: Locals, *arguments: Any) -> Any:
        return (one for one in compute(self, *arguments) if one.crashed != PAUSED)

    monkeypatch.setattr(Locals, "_compute", unpaused)
    fewer, *_ = ends(ProtocolModel(Outbox(), bounds, fused=False))
    assert fewer < full


#: They go on for ever, and so does a search in which every effect is a step, or nothing that only a recovery reads is dropped.
ENDLESS = ("again-at-once", "endless-inquiry")
#: Every effect a step makes hundreds of thousands of states of their scopes.
LARGE = (
    "refusal-not-stored",
    "marks-up-to-the-ack",
    "row-put-behind-at-the-second-failure",
    "last-event-only",
    "halts-for-one",
    "forgets-branches",
)
# Defects with an effect behind `Forget`. The model of this file keeps a program with its actor, and drops what is left of it when the actor is forgotten: both
# models violate the same, and come to other ends.
BEHIND_FORGETTING = {"answers-after-forgetting"}
DEFECTS = [
    pytest.param(one, id=one.name, marks=[pytest.mark.heavy] if one.name in LARGE else [])
    for module in (
        two_phase,
        two_phase_participants,
        saga,
        saga_participants,
        outbox,
        relay,
        second_faults_two_phase,
        second_faults_saga,
        second_faults_outbox,
        dual_write,
        operator,
    )
    for one in module.MUTANTS
    if not one.scope.get("failures") and not one.scope.get("interventions") and one.name not in ENDLESS
]


@pytest.mark.usefixtures("uncalm")
@pytest.mark.parametrize("mutant", DEFECTS)
@pytest.mark.sample(5)
def test_defects_violate_the_same_when_every_effect_is_a_step(mutant: Mutant) -> None:
    bounds = Scope(**{**QUIET, **mutant.scope})
    reduced, violated, _ = ends(ProtocolModel(mutant.strategy, bounds, fused=False))
    full, also_violated, _ = ends(InterleavedModel(mutant.strategy, bounds))
    assert mutant.invariant in violated
    assert also_violated == violated
    if mutant.name in BEHIND_FORGETTING:
        return
    assert full - {nothing(InterleavedModel(mutant.strategy, bounds))} == (
        reduced - {nothing(ProtocolModel(mutant.strategy, bounds))}
    )


@pytest.mark.parametrize(
    ("strategy", "scope"),
    [
        (Outbox(), {"timeouts": 0}),
        pytest.param(Outbox(closing=True), {"duplicates": 0, "losses": 1}, marks=pytest.mark.heavy),
        (DualWrite(), {}),
        (DualWrite(order="broker-first"), {"losses": 1, "duplicates": 0}),
        (TwoPhaseCommit(), {"duplicates": 0}),
        (Saga(completion="lazy"), {"losses": 1}),
    ],
)
@pytest.mark.sample(3)
def test_without_reductions_the_verdict_is_the_same(
    strategy: Any, scope: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the merging of a last crash with its restart nor dropping what only a recovery reads hides anything."""
    reduced = verify(strategy, **scope)
    monkeypatch.setattr(Locals, "calm", lambda self, number: number)
    model = ProtocolModel(strategy, Scope(**scope), fused=False)
    full = explore(model.model())
    assert full.complete
    assert {violation.name for violation in full.violations} == set(reduced.violations)
    assert {name: witness is not None for name, witness in full.goals.items()} == reduced.goals
    assert full.states > reduced.states
