"""Random walks: what they find is real, the same seed takes the same way, and what is right is left alone."""

from __future__ import annotations

from typing import Any

import pytest

import simtx
from simtx.errors import ScenarioError

from .mutants import ALL

SCOPE = {"participants": 3, "crashes": 2, "losses": 1, "duplicates": 1, "timeouts": 1}
STRATEGIES = ["2pc", "2pc:work=before", "saga", "saga:completion=lazy", "outbox", "outbox:closing=true"]


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
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_twenty_thousand_walks(strategy: str) -> None:
    """Over all strategies together, in a scope that no search of some minutes exhausts."""
    verdict = simtx.verify(
        strategy, **{**SCOPE, "losses": 2, "duplicates": 2, "failures": 1}, walks=3_400, progress=False
    )
    assert not verdict.violations, verdict.text
