"""What a broker may cost that gives messages up, and a rolling upgrade with two versions of events in flight."""

from __future__ import annotations

from typing import Any

import pytest

import simtx

QUIET: dict[str, Any] = {"crashes": 0, "duplicates": 0, "timeouts": 0, "progress": False}


@pytest.mark.parametrize("strategy", ["outbox", "outbox:reader=horizon"])
def test_a_limit_of_deliveries_costs_an_outbox_its_atomicity(strategy: str) -> None:
    """A dead letter is a step that never happens; without the limit the same scope holds."""
    assert simtx.verify(strategy, **QUIET).ok
    verdict = simtx.verify(strategy, dead_letters=1, **QUIET)
    assert list(verdict.violations) == ["atomicity"]
    story = str(verdict.violations["atomicity"])
    assert "the broker gives up step-done (step 1) from s1 to s2: a dead letter" in story
    drops = [entry for entry in verdict.violations["atomicity"].trace if entry.kind == "drop"]
    assert [(entry.node, entry.detail) for entry in drops] == [("broker", "dead letter")]


def test_a_strategy_without_a_broker_has_no_dead_letters() -> None:
    """The budget is never spent: the same states."""
    plain, limited = (simtx.verify("2pc", dead_letters=number, **QUIET) for number in (0, 1))
    assert limited.ok
    assert (limited.states, limited.transitions) == (plain.states, plain.transitions)


@pytest.mark.parametrize("faults", [{"crashes": 1}, {"losses": 1, "duplicates": 1}])
def test_a_rolling_upgrade_holds_where_the_reader_stops(faults: dict[str, int]) -> None:
    """Two versions in flight, nodes upgraded in any order and at any time, faults beside."""
    assert simtx.verify("outbox", upgrade="stop", **{**QUIET, **faults}).ok


def test_a_reader_that_leaves_out_what_it_cannot_read_is_refuted() -> None:
    verdict = simtx.verify("outbox", upgrade="skip", **QUIET)
    assert list(verdict.violations) == ["atomicity"]
    story = verdict.violations["atomicity"]
    assert "s2 cannot read step-done (step 1) of the new version from s1 to s2, and leaves it out" in str(story)
    assert story.replay().violated


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"upgrade": "drop"}, "upgrade = 'drop'; it must be 'stop', 'skip', 'gated', or None"),
        ({"upgrade": "stop", "symmetry": True}, "tells nodes apart by their names"),
        ({"dead_letters": 16}, "dead_letters = 16; it must be a whole number from 0 to 15"),
    ],
)
def test_nonsense_is_one_line(options: dict[str, Any], line: str) -> None:
    with pytest.raises(simtx.ScenarioError, match=line):
        simtx.verify("outbox", **options)
