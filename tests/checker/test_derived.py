"""Rules for derived data: each race of the literature is found, with its shortest story, and each remedy holds in the whole scope."""

from __future__ import annotations

import dataclasses

import pytest

import simtx
from simtx.errors import ScenarioError
from simtx.protocols.derived import AggregateRule, Copy, CopyRule, GroupRule, JoinRule, ProjectionRule, assigned

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


PROJECTIONS: list[tuple[ProjectionRule, dict[str, int], set[str]]] = [
    (ProjectionRule(), {}, set()),
    (ProjectionRule(), {"events": 2, "rebuilds": 2}, set()),
    # At least once: a crash between the effect and the checkpoint.
    (
        ProjectionRule(checkpoint="after"),
        {},
        {"once", "replay-sends-nothing", "replay-gives-the-same", "all-is-sent"},
    ),
    (ProjectionRule(checkpoint="after", keyed=True), {"rebuilds": 0}, set()),
    (ProjectionRule(checkpoint="after"), {"crashes": 0}, set()),
    # What the old table has recognised, the new one has to know, too: one event is behind the checkpoint and sent.
    (ProjectionRule(checkpoint="after", keyed=True), {}, {"replay-sends-nothing", "all-is-sent"}),
    # At most once: it says that it has done what it has not.
    (
        ProjectionRule(checkpoint="before", keyed=True),
        {},
        {"checkpointed-is-done", "replay-gives-the-same", "all-is-sent"},
    ),
    # A replay that sends, readers that are switched too soon, a table that is emptied, a shadow ahead of its table.
    (ProjectionRule(muted=False), {}, {"replay-sends-nothing", "all-is-sent"}),
    (ProjectionRule(rebuild="early"), {}, {"never-back"}),
    (ProjectionRule(rebuild="in-place"), {}, {"never-back"}),
    (ProjectionRule(follows=False), {}, {"replay-sends-nothing", "all-is-sent"}),
]
GROUPS: list[tuple[GroupRule, dict[str, int], set[str]]] = [
    (GroupRule(), {}, set()),
    (GroupRule(guard="checkpoint"), {}, set()),
    # A zombie goes on, and its checkpoint sets that of the new owner back.
    (GroupRule(guard="none"), {}, {"once", "in-order", "checkpoint-never-back"}),
    (GroupRule(guard="none"), {"rebalances": 0, "crashes": 0}, set()),
    # It writes between the new owner's look at the checkpoint and its fence.
    (GroupRule(raised=False), {}, {"once", "in-order", "checkpoint-never-back"}),
    # A fence at the checkpoint alone takes nothing back that was done elsewhere.
    (GroupRule(checkpoint="after"), {"events": 2}, {"once", "in-order"}),
    (GroupRule(checkpoint="after", guard="none"), {"events": 2}, {"once", "in-order", "checkpoint-never-back"}),
    # A new owner that begins with what is new.
    (GroupRule(begin="end"), {}, {"no-skip", "checkpointed-is-done", "nothing-is-left"}),
]
AGGREGATES: list[tuple[AggregateRule, dict[str, int], set[str]]] = [
    (AggregateRule(), {}, set()),
    (AggregateRule(), {"commands": 3, "balance": 2, "losses": 2}, set()),
    (AggregateRule(conflict="give-up"), {}, set()),
    (AggregateRule(append="any"), {}, {"guard"}),
    (AggregateRule(conflict="append"), {}, {"guard"}),
    # An answer that is lost: it is asked again, and refused although it was done, or done twice.
    (AggregateRule(recognises=False), {}, {"told-is-true"}),
    (AggregateRule(recognises=False), {"balance": 3}, {"once"}),
    (AggregateRule(recognises=False), {"losses": 0}, set()),
    (AggregateRule(snapshots="own"), {"snapshots": 2}, set()),
    (AggregateRule(snapshots="latest"), {"snapshots": 2}, {"snapshot-is-a-fold", "guard"}),
]
JOINS: list[tuple[JoinRule, dict[str, int], set[str]]] = [
    (JoinRule(), {}, set()),
    (JoinRule(), {"losses": 2}, set()),
    (JoinRule(deadline=False), {}, set()),
    # One branch that reports twice is taken for two.
    (JoinRule(counts="messages"), {}, {"complete-is-complete", "stuck-is-seen", "all-or-nothing"}),
    # A crash loses a report that nobody repeats: only a deadline ends that, by undoing.
    (JoinRule(keeps="memory", deadline=False), {}, {"all-or-nothing"}),
    (JoinRule(keeps="memory"), {}, set()),
    # A branch that reports behind the decision is told nothing; one that starts behind its undo does not know.
    (JoinRule(undoes="reported"), {}, {"all-or-nothing"}),
    (JoinRule(tombstones=False), {}, {"stuck-is-seen", "all-or-nothing"}),
    # What a monitor takes for the end, and what it never learns of.
    (JoinRule(ends="decided"), {}, set()),
    (JoinRule(ends="decided"), {"losses": 1}, {"stuck-is-seen"}),
    (JoinRule(knows="join"), {"losses": 2}, {"stuck-is-seen"}),
]


@pytest.mark.parametrize(
    ("rule", "scope", "violated"), [*PROJECTIONS, *GROUPS, *AGGREGATES, *JOINS], ids=lambda one: None
)
def test_a_rule_for_events_holds_or_is_refuted(
    rule: ProjectionRule | GroupRule | AggregateRule | JoinRule, scope: dict[str, int], violated: set[str]
) -> None:
    found = simtx.verify_derived(rule, scope)
    assert found.complete
    assert {one.name for one in found.violations} == violated
    assert not found.unreached


def test_each_default_rule_has_all_its_properties() -> None:
    assert set(simtx.verify_derived(ProjectionRule()).invariants) == {
        "checkpointed-is-done",
        "once",
        "replay-sends-nothing",
        "never-back",
        "replay-gives-the-same",
        "all-is-sent",
    }
    assert {"no-skip", "once", "in-order"} <= set(simtx.verify_derived(GroupRule(), {"events": 1}).invariants)


@pytest.mark.parametrize("kind", [ProjectionRule, GroupRule, AggregateRule, JoinRule])
def test_a_choice_that_there_is_not_is_refused(kind: type[ProjectionRule]) -> None:
    for field in dataclasses.fields(kind):
        if "bool" not in str(field.type):
            with pytest.raises(ScenarioError, match=f"{field.name}: must be one of .*, not 'nonsense'"):
                kind(**{field.name: "nonsense"})  # type: ignore[arg-type]


def test_a_rebalance_gives_every_partition_one_owner_and_moves_few() -> None:
    """As even as can be, whoever comes and goes; who stays loses no partition that it could keep."""
    owners: dict[int, str] = {}
    for members in (["a"], ["a", "b"], ["a", "b", "c"], ["b", "c"], ["c", "d", "e", "f", "g"], ["g"], []):
        before, owners = owners, assigned(owners, 8, members)
        assert sorted(owners) == (list(range(8)) if members else [])
        counts = [list(owners.values()).count(member) for member in members]
        assert not counts or max(counts) - min(counts) <= 1
        moved = [number for number in owners if before.get(number) != owners[number]]
        gone = [number for number in owners if before.get(number) not in members]
        room = [member for member in members if member not in before.values()]
        assert len(moved) <= len(gone) + len(room) * -(-8 // max(len(members), 1))
