"""Random walks: what they find is real, the same seed takes the same way, and what is right is left alone."""

from __future__ import annotations

from typing import Any

import pytest

import simtx
from simtx.checker.protocols.scope import BUDGETS
from simtx.errors import ScenarioError
from simtx.protocols import strategy as resolve
from simtx.protocols.extras import extras

from .mutants import ALL

QUIET = dict.fromkeys(BUDGETS, 0)

SCOPE = {"participants": 3, "crashes": 2, "losses": 1, "duplicates": 1, "timeouts": 1}
DUAL = ["dual-write", "dual-write:order=broker-first"]
STRATEGIES = ["2pc", "2pc:work=before", "saga", "saga:completion=lazy", "outbox", "outbox:closing=true", "tcc"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_walks_leave_alone_what_is_right(strategy: str) -> None:
    verdict = simtx.verify(strategy, **SCOPE, walks=60, progress=False)
    assert not verdict.violations, verdict.text
    assert not verdict.complete
    assert verdict.holds == ()
    assert any(verdict.goals.values())
    assert verdict.stopped == "60 random walks from seed 1"


@pytest.mark.parametrize("name", ["anothers-work", "undoes-half", "undoes-at-once", "refuses-and-completes"])
def test_walks_find_defects_and_their_seed_finds_them_again(name: str) -> None:
    (mutant,) = (one for one in ALL if one.name == name)
    scope: dict[str, Any] = {**SCOPE, "crashes": 1, "losses": 0, **mutant.scope}
    verdict = simtx.verify(mutant.strategy, **scope, walks=60, progress=False)
    story = verdict.violations[mutant.invariant]
    assert mutant.invariant in story.replay().violated
    marks = verdict.stopped.partition("; again: ")[2].split(", ")
    (again,) = (mark for mark in marks if mark.endswith(f"({mutant.invariant})"))
    seed = int(again.split()[3])
    assert (
        simtx.verify(mutant.strategy, **scope, walks=1, seed=seed, progress=False).violations[mutant.invariant] == story
    )


@pytest.mark.parametrize("strategy", DUAL)
def test_walks_of_a_dual_write_violate_only_what_it_does_not_promise(strategy: str) -> None:
    verdict = simtx.verify(strategy, **SCOPE, walks=60, progress=False)
    assert verdict.violations
    assert set(verdict.violations) <= set(extras(resolve(strategy)).weaknesses)


def test_walks_that_come_to_no_rest_are_asked_whether_they_can() -> None:
    mutant = next(one for one in ALL if one.invariant == "termination")
    verdict = simtx.verify(mutant.strategy, **{**QUIET, **mutant.scope}, walks=30, progress=False)
    assert "termination" in verdict.violations, verdict.text


def test_what_has_to_happen_is_looked_at_beside_walks() -> None:
    mutant = next(one for one in ALL if one.invariant == "validity")
    verdict = simtx.verify(mutant.strategy, **{**QUIET, **mutant.scope}, walks=5, progress=False)
    assert "validity" in verdict.violations


def test_time_is_a_limit_of_walks_too() -> None:
    verdict = simtx.verify("saga", walks=1_000_000_000, max_seconds=0.05, progress=False)
    assert verdict.stopped.endswith("of 1,000,000,000")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"walks": 0}, "verify: walks: must be a whole number of at least 1, got 0"),
        ({"walks": 1, "seed": -1}, "verify: seed: must be a whole number of at least 0, got -1"),
    ],
)
def test_a_wrong_number_gets_one_line(arguments: dict[str, Any], part: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        simtx.verify("saga", **arguments)
    assert part in str(caught.value)


@pytest.mark.heavy
@pytest.mark.parametrize("strategy", [*STRATEGIES, *DUAL])
def test_twenty_thousand_walks(strategy: str) -> None:
    """Over all strategies together, in a scope that no search of some minutes exhausts."""
    verdict = simtx.verify(
        strategy, **{**SCOPE, "losses": 2, "duplicates": 2, "failures": 1}, walks=2_250, progress=False
    )
    assert set(verdict.violations) <= set(extras(resolve(strategy)).weaknesses), verdict.text
