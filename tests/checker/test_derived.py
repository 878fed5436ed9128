"""Rules for derived data: each race of the literature is found, with its shortest story, and each remedy holds in the whole scope."""

from __future__ import annotations

import pytest

import simtx
from simtx.errors import ScenarioError
from simtx.protocols.derived import Copy, CopyRule

ASIDE, INDEX = CopyRule(), CopyRule(update="copy", fill=False)
THROUGH = CopyRule(update="copy", by="writer")

COPIES: list[tuple[CopyRule, dict[str, int], set[str]]] = [
    # A reader that has missed fills an old value in, after the invalidation.
    (ASIDE, {}, {"fresh-at-rest", "never-back"}),
    (CopyRule(check="version"), {}, set()),
    (CopyRule(check="lease"), {}, set()),
    # A store that forgets tombstones forgets that it has heard of a later version.
    (CopyRule(check="version", tombstones=False), {}, {"fresh-at-rest", "never-back"}),
    # A lease says when a reader has missed, and nothing of how old its source is.
    (CopyRule(check="version"), {"lags": 1}, set()),
    (CopyRule(check="lease"), {"lags": 1}, {"fresh-at-rest", "never-back"}),
    # A time to live ends every race, and prevents none.
    (CopyRule(expires=True), {}, {"never-back"}),
    (CopyRule(update="none", expires=True), {}, {"never-back"}),
    # What no rule for the copy can make up for: an update that never comes.
    (CopyRule(check="version"), {"losses": 1}, {"fresh-at-rest"}),
    (CopyRule(check="version", by="writer"), {"crashes": 1}, {"fresh-at-rest"}),
    (CopyRule(check="version", by="writer", expires=True), {"crashes": 1}, set()),
    # Before the commit, everybody fills the old value in.
    (CopyRule(by="writer-before"), {}, {"fresh-at-rest", "never-back"}),
    (CopyRule(by="writer-before", check="lease"), {}, {"fresh-at-rest"}),
    # Two writers arrive in the other order.
    (THROUGH, {}, {"fresh-at-rest", "never-back"}),
    (CopyRule(update="copy", by="writer", check="version"), {}, set()),
    # Events overtake each other; one that comes again in its place does no harm.
    (INDEX, {}, {"fresh-at-rest", "never-back"}),
    (INDEX, {"overtakes": 0}, set()),
    (INDEX, {"losses": 1, "overtakes": 0}, {"fresh-at-rest"}),
    (CopyRule(update="copy", fill=False, check="version"), {}, set()),
    # A deletion leaves a tombstone, or an older event brings back what was deleted.
    (CopyRule(update="copy", fill=False, check="version"), {"deleted": True}, set()),
    (CopyRule(update="copy", fill=False, check="version", tombstones=False), {"deleted": True}, {"fresh-at-rest"}),
]


@pytest.mark.parametrize(("rule", "scope", "violated"), COPIES, ids=lambda one: None)
def test_a_rule_for_copies_holds_or_is_refuted(rule: CopyRule, scope: dict[str, int], violated: set[str]) -> None:
    found = simtx.verify_derived(rule, scope)
    assert found.complete
    assert {one.name for one in found.violations} == violated
    assert not found.unreached
    assert found.passed == (not violated)


def test_the_story_of_the_stale_filling_is_the_one_of_the_literature() -> None:
    """Miss, read, commit, invalidation, filling: nothing that could put it right is on its way any more."""
    found = simtx.verify_derived(ASIDE, {"reads": 1, "overtakes": 0, "duplicates": 0})
    story = next(one for one in found.violations if one.name == "fresh-at-rest")
    assert [str(step.action) for step in story.path[-5:]] == [
        "a reader misses",
        "the reader reads version 1",
        "version 2 is committed",
        "the event of version 2 arrives",
        "a reader fills version 1 in",
    ]
    assert story.state.copy == Copy(1)
    assert not story.state.events


def test_more_of_everything_changes_no_verdict() -> None:
    """Three commits: what holds with two holds with them, too."""
    more = {"writes": 3, "overtakes": 2, "duplicates": 0}
    assert simtx.verify_derived(CopyRule(check="version"), more).passed
    assert simtx.verify_derived(CopyRule(check="lease"), more).passed


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"update": "copies"}, "copy: update: must be one of invalidate, copy, none, not 'copies'"),
        ({"fill": False}, "copy: fill: nobody would ever put a copy"),
        ({"update": "none"}, "copy: update: nothing would ever remove an old copy"),
        ({"update": "copy", "by": "writer-before"}, "copy: by: a copy put before the commit"),
        ({"check": "version", "by": "writer-before"}, "copy: check: before the commit nobody knows its version"),
        ({"check": "lease", "update": "copy"}, "copy: check: a lease is voided by invalidations"),
    ],
)
def test_a_rule_that_contradicts_itself_is_refused(options: dict[str, object], line: str) -> None:
    with pytest.raises(ScenarioError) as refused:
        CopyRule(**options)  # type: ignore[arg-type]
    assert str(refused.value).startswith(line)


@pytest.mark.parametrize(
    ("scope", "line"),
    [
        ({"write": 1}, "verify_derived: scope: write: there is no such number; did you mean 'writes'?"),
        ({"writes": -1}, "verify_derived: scope: writes: must be a whole number of at least 0, got -1"),
        ({"deleted": 1}, "verify_derived: scope: deleted: must be True or False, got 1"),
    ],
)
def test_a_wrong_scope_is_one_line(scope: dict[str, int], line: str) -> None:
    with pytest.raises(ScenarioError) as refused:
        simtx.verify_derived(ASIDE, scope)
    assert str(refused.value) == line
