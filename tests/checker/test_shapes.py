"""Plans of the checker are like those of scenarios: their steps, and how many of them may refuse."""

from __future__ import annotations

from typing import Any

import pytest

import simtx
from simtx.checker.protocols.scope import BUDGETS, Scope, steps_of
from simtx.checker.protocols.story import find
from simtx.errors import ScenarioError
from simtx.protocols import Operation
from simtx.protocols.saga import DONE, RUNNING, WAITING, Orchestrator
from simtx.workload.by_transaction import TransactionStreams
from simtx.workload.planner import Planner
from simtx.workload.streams import Streams

from .mutants.catalogue import Saga2

QUIET = dict.fromkeys(BUDGETS, 0)
CHECKOUT = steps_of(simtx.load("checkout"))


class JoinsEarly(Orchestrator):
    """Commands a step when the first of those that it comes after is done."""

    __slots__ = ()

    def _follow(self, index: int, effects: Any) -> None:
        for successor in self.shape.next[index]:
            if self.status[successor] == WAITING:
                effects.append(self._command(successor))
        super()._follow(index, effects)
        if DONE in self.status and RUNNING in self.status:
            effects.append(self.saga.wait)


def test_a_plan_has_the_steps_of_its_scenario() -> None:
    """Services that are used twice, branches in parallel, the pivot; nothing but compensatable steps has a way back."""
    plan = Scope(steps=CHECKOUT).variants()[0][1][0]
    spec = simtx.load("checkout").transaction.steps
    assert [(one.name, one.service, one.kind, one.after) for one in plan.steps] == [
        (one.name, one.service, one.kind, tuple(one.after)) for one in spec
    ]
    assert [bool(one.compensation) for one in plan.steps] == [one.kind == "compensatable" for one in plan.steps]
    assert Scope(steps=CHECKOUT).services() == tuple(dict.fromkeys(one.service for one in spec))


@pytest.mark.parametrize("strategy", ["2pc", "saga", "outbox"])
def test_our_strategies_hold_on_the_steps_of_a_scenario(strategy: str) -> None:
    verdict = simtx.verify(strategy, scenario="checkout", crashes=0, duplicates=0, timeouts=0, progress=False)
    assert verdict.ok, verdict.text
    assert "steps order@orders reserve@inventory" in verdict.bounds


def test_a_defect_that_shows_where_branches_meet_is_found() -> None:
    """In a chain nothing waits for two steps: the same defect holds there."""
    defect = Saga2(orchestrator=JoinsEarly)
    story = find(defect, Scope(**QUIET, steps=CHECKOUT), "agreement")
    assert story is not None
    assert "agreement" in story.replay().violated
    assert len(story.shrink().scope.steps or ()) < len(CHECKOUT)
    assert find(defect, Scope(**QUIET, participants=3, pivot=2), "agreement") is None


def test_so_many_steps_refuse_as_the_scope_says() -> None:
    def refused(scope: Scope) -> list[tuple[int, ...]]:
        return [
            tuple(step.index for step in plans[0].steps if step.operations[0].kind == "refuse")
            for _, plans in scope.variants()
        ]

    assert refused(Scope(participants=3, refusals=2)) == [(), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2)]
    assert refused(Scope(participants=3, parallel=True)) == [(), (0,), (1,), (2,), (0, 1)]
    assert refused(Scope(participants=4, parallel=True))[-4:] == [(0, 1), (0, 2), (1, 2), (0, 1, 2)]
    assert refused(Scope(participants=3, refusals=False)) == [()]
    verdict = simtx.verify("2pc", participants=3, refusals=3, crashes=0, duplicates=0, timeouts=0, progress=False)
    assert verdict.ok, verdict.text


def test_steps_of_a_scenario_refuse_independently_of_each_other() -> None:
    """As in the scopes of the checker: the first that refuses does not silence the others."""
    scenario = simtx.load("checkout").replace(
        **{"transaction.steps.dispatch.refusal": 0.5, "transaction.steps.charge.refusal": 0.5}
    )
    planner = Planner(scenario, Streams(1, 0), TransactionStreams(Streams(1, 0)))
    refusing = [
        sum(any(one.kind == "refuse" for one in step.operations) for step in planner.plan(tx)[0].steps)
        for tx in range(200)
    ]
    assert {0, 1, 2} <= set(refusing)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"scenario": "checkout", "participants": 3}, "participants = 3; the scenario says which steps there are"),
        ({"scenario": "checkout", "pivot": 1}, "pivot = 1; the steps of the plan say that already"),
        ({"scenario": "checkout", "parallel": True}, "parallel = True; the steps of the plan say that already"),
        ({"scenario": "checkout", "symmetry": True}, "verify: symmetry: is for plans of participants that are alike"),
        ({"scenario": "chekout"}, "did you mean 'checkout'"),
        ({"refusals": 3}, "refusals = 3; it must be True, False, or a number of steps, 0 to 2"),
        ({"refusals": "no"}, "refusals = 'no'; it must be True, False, or a number of steps, 0 to 2"),
    ],
)
def test_a_wrong_argument_gets_one_line(arguments: dict[str, Any], part: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        simtx.verify("saga", **arguments)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_refused_step_that_takes_effect_leaves_a_wrong_value() -> None:
    """It would change its keys by an amount that no plan without a refusal has."""
    plans = dict(Scope(participants=1).variants())
    (normal,), (refused,) = (plans[name][0].steps[0].operations[-1:] for name in plans)
    assert isinstance(normal, Operation)
    assert (normal.key, normal.kind) == (refused.key, refused.kind)
    assert normal.amount != refused.amount
