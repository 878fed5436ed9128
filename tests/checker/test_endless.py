"""Machines that never come to rest: found, within the limits, also if every state on the way is another one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import simtx
from simtx.checker.explorer.quiescence import Termination
from simtx.checker.protocols.properties import PROPERTIES
from simtx.protocols.two_phase_participant import Participant

from .mutants.catalogue import Commit2


class AnswersItself(Participant):
    """Takes a message for its timer of the same name, as tables without sorts of events do, and has itself for a coordinator after a restart."""

    __slots__ = ()
    transitions = tuple(replace(row, of=None) for row in Participant.transitions)

    def recover(self, records: Any) -> Any:
        effects = super().recover(records)
        if not records:
            return effects
        self.coordinator = self.node
        return [replace(effects[0], to=self.node), *effects[1:]]


def test_a_machine_that_answers_itself_and_counts_is_a_violation() -> None:
    """It goes round in no circle: its counter makes every state another one."""
    strategy = Commit2(participant=AnswersItself)
    verdict = simtx.verify(
        strategy, participants=1, crashes=1, duplicates=0, timeouts=0, refusals=False, max_states=40, progress=False
    )
    assert "termination" in verdict.violations
    assert "termination" in PROPERTIES


def at_rest(state: Any) -> bool:
    return bool(state[5])


def test_a_way_to_the_end_that_is_not_the_first_is_found() -> None:
    """Beside a counter that goes on for ever, an end that random ways come to."""

    def successors(state: Any) -> Any:
        number = state[0]
        yield "count", (number + 1, 0, 0, 0, 0, 0)
        if number % 7 == 3:
            yield "rest", (number, 0, 0, 0, 0, 1 << 16)

    start = (0, 0, 0, 0, 0, 0)
    assert Termination(successors, at_rest)(start)
    assert not Termination(lambda state: [("count", (state[0] + 1, 0, 0, 0, 0, 0))], at_rest)(start)


def test_the_search_for_an_end_keeps_the_limit_of_time() -> None:
    """What is not looked at in time is not held against anybody: the search that asks is over then, too, and incomplete."""
    looked = []

    def successors(state: Any) -> Any:
        looked.append(state)
        return [("count", (state[0] + 1, 0, 0, 0, 0, 0))]

    assert Termination(successors, at_rest, deadline=0.0)((0, 0, 0, 0, 0, 0))
    assert not looked
