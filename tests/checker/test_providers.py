"""A provider outside does the work: what a strategy keeps then, explored completely."""

from __future__ import annotations

from typing import Any

import pytest

import simtx
from simtx.errors import ScenarioError

SCOPE: dict[str, Any] = {"failures": 1, "duplicates": 0, "timeouts": 0}


@pytest.mark.parametrize("strategy", ["2pc:last_resource=s2", "saga", "outbox", "tcc"])
def test_a_provider_that_remembers_keeps_every_promise(strategy: str) -> None:
    """Answers get lost, the service crashes: nothing is done twice, nothing stays that was undone."""
    verdict = simtx.verify(strategy, provider="keys", provider_at=1, **SCOPE)
    assert verdict.ok


@pytest.mark.parametrize("strategy", ["2pc:last_resource=s2", "saga", "outbox", "tcc"])
def test_one_that_remembers_nothing_does_it_twice(strategy: str) -> None:
    """With one lost answer."""
    verdict = simtx.verify(strategy, provider="nothing", provider_at=1, **SCOPE)
    assert "effect-once" in verdict.violations


def test_an_outbox_must_not_begin_at_a_provider() -> None:
    """The request of the client is forgotten in a crash, and the charge is not."""
    verdict = simtx.verify("outbox", provider="keys", provider_at=0, **SCOPE)
    assert set(verdict.violations) == {"atomicity"}


def test_a_lost_answer_is_no_failure_of_a_store() -> None:
    """Without a provider, the same budget changes nothing."""
    assert simtx.verify("saga", **SCOPE).ok
    assert simtx.verify("saga", **SCOPE).states < simtx.verify("saga", provider="nothing", **SCOPE).states


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"provider": "memory"}, "provider = 'memory'; it must be 'keys', 'nothing', or None"),
        ({"provider": "keys", "provider_at": 2}, "provider_at = 2; it must be the index of a step, 0 to 1"),
        ({"provider_at": 1}, "say what it remembers, too"),
    ],
)
def test_what_makes_no_sense_is_refused(given: dict[str, Any], text: str) -> None:
    """One line."""
    with pytest.raises(ScenarioError, match=text):
        simtx.verify("saga", **given)
