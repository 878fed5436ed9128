"""A counterexample reads, draws, replays, shrinks and exports."""

from __future__ import annotations

import importlib
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import simtx.checker
from simtx.checker import Story, verify
from simtx.checker.protocols.scope import BUDGETS, Scope
from simtx.checker.protocols.story import _constructor, find, replay
from simtx.errors import ScenarioError
from simtx.protocols import DualWrite, Policies
from simtx.report.sequence import build

from .mutants.catalogue import Mutant
from .mutants.outbox import MUTANTS as OUTBOX
from .mutants.relay import MUTANTS as RELAY
from .mutants.saga import MUTANTS as SAGA
from .mutants.two_phase import MUTANTS
from .mutants.two_phase_participants import MUTANTS as PARTICIPANTS

FORGETS = next(one.strategy for one in MUTANTS if one.name == "forget-after-first-ack")


@pytest.fixture(scope="module")
def doubled() -> Story:
    return verify("dual-write", crashes=1, duplicates=0, timeouts=0).violations["effect-once"]


def test_a_story_has_one_line_a_step_and_tells_crashes_inside_a_handler(doubled: Story) -> None:
    assert doubled.text.splitlines() == [
        "1. 2 services; nothing is refused",
        "2. the request reaches s1: transact 'action' of step 0: done, publish step-done (step 1) for s2",
        "3. the broker stores step-done (step 1) from s1 to s2",
        (
            "4. the broker delivers step-done (step 1) to s2: transact 'action' of step 1: done, CRASH, "
            "never: decide committed, acknowledge; it restarts"
        ),
        "5. the broker delivers step-done (step 1) to s2: transact 'action' of step 1: done, decide committed, acknowledge",
    ]
    assert all("\n" not in step for step in doubled.steps)
    assert "'effect-once' is violated" in str(doubled)


def test_a_story_is_a_trace_like_one_of_the_simulator(doubled: Story) -> None:
    kinds = [(event.kind, event.node, round(event.time * 1000)) for event in doubled.trace]
    assert ("request", "s1", 2) in kinds
    assert ("publish", "s1", 2) in kinds
    assert ("crash", "s2", 4) in kinds
    assert ("restart", "s2", 4) in kinds
    assert [step for kind, node, step in kinds if (kind, node) == ("transact", "s2")] == [4, 5]
    published = next(event for event in doubled.trace if event.kind == "publish")
    assert [event.cause for event in doubled.trace if event.kind == "deliver"] == [published.id, published.id]
    assert [event.name for event in doubled.trace if event.kind == "lost"] == ["decide committed", "acknowledge"]


def test_a_story_draws(doubled: Story) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    axes = doubled.diagram()
    labels = " ".join(text.get_text() for text in axes.texts)
    assert "step-done" in labels
    assert axes.get_title(loc="left") == "dual-write: 'effect-once' is violated"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["2", "3", "4", "5"]


def _arrows(story: Story) -> list[tuple[str, str, bool, bool]]:
    """(kind, label, lost, under way) of what goes over the network."""
    arrows = build(story.trace, 0).arrows
    return [(a.kind, a.label, a.lost, a.under_way) for a in arrows if a.kind not in ("request", "answer")]


def _found(mutants: tuple[Mutant, ...], name: str) -> Story:
    mutant = next(one for one in mutants if one.name == name)
    story = find(mutant.strategy, Scope(**{**dict.fromkeys(BUDGETS, 0), **mutant.scope}), mutant.invariant)
    assert story is not None
    return story


def test_a_message_that_is_still_under_way_is_not_drawn_as_lost() -> None:
    """The decision is on its way when the impatient participant rolls back."""
    assert _arrows(_found(PARTICIPANTS, "impatient-participant"))[-1] == ("message", "commit", False, True)


def test_a_publication_that_a_crash_cuts_off_is_drawn_as_lost() -> None:
    assert _arrows(_found(RELAY, "mark-without-ack")) == [("publish", "step-done", True, False)]


def test_of_equal_messages_the_one_sent_first_arrives_first() -> None:
    """The command is sent, arrives, and is sent again: what is under way is the second."""
    story = _found(SAGA, "lazy-turn")
    assert [arrow[1:] for arrow in _arrows(story) if arrow[1] == "do"] == [("do", False, False), ("do", False, True)]
    sent = [event for event in story.trace if event.kind == "send" and event.name == "do"]
    arrived = [event for event in story.trace if event.kind == "receive" and event.name == "do"]
    assert [event.cause for event in arrived] == [sent[0].id]


def test_a_replay_comes_to_the_same_end(doubled: Story) -> None:
    assert doubled.replay() == doubled.replay()
    assert doubled.replay().complete
    assert doubled.replay().violated == ("effect-once",)


def test_a_sound_strategy_does_not_replay_the_defect(doubled: Story) -> None:
    again = replay(DualWrite(acknowledge="before"), doubled.scope, doubled.steps)
    assert not again.complete
    assert "effect-once" not in again.violated


def test_shrinking_finds_a_smallest_scope_that_still_fails() -> None:
    story = verify(FORGETS, participants=3, crashes=1, losses=0, duplicates=0, timeouts=1).violations["agreement"]
    small = story.shrink()
    assert small.name == "agreement"
    scope = small.scope
    assert (scope.participants, scope.crashes + scope.losses + scope.timeouts) == (2, 1)
    assert small.replay().violated[:1] == ("agreement",)


def test_an_exported_test_fails_as_long_as_the_defect_is_there(tmp_path: Path) -> None:
    story = verify(DualWrite(policies=Policies(attempts=1)), crashes=1, duplicates=0, timeouts=0).violations[
        "effect-once"
    ]
    path = story.to_pytest(tmp_path / "test_found.py")
    source = path.read_text(encoding="utf-8")
    with pytest.raises(AssertionError):
        found_in(path)[0]()
    assert 'assert "effect-once" not in again.violated' in source
    mended = tmp_path / "test_mended.py"
    mended.write_text(source.replace("DualWrite(", 'DualWrite(acknowledge="before", '), encoding="utf-8")
    found_in(mended)[0]()


def found_in(path: Path) -> list[Callable[[], None]]:
    """The tests of a file, as pytest finds them."""
    found = runpy.run_path(str(path))
    return [value for name, value in found.items() if name.startswith("test_")]


def test_a_strategy_that_no_file_can_name_is_refused(tmp_path: Path) -> None:
    class Local(DualWrite):
        pass

    story = verify(Local(), crashes=1, duplicates=0, timeouts=0).violations["effect-once"]
    with pytest.raises(ScenarioError, match="put it into a module"):
        story.to_pytest(tmp_path / "test_local.py")


class Plain:
    """Says nothing of how to make another one."""


def test_a_strategy_that_does_not_say_how_to_make_it_again_is_refused() -> None:
    with pytest.raises(ScenarioError, match="make Plain a dataclass"):
        _constructor(Plain())  # type: ignore[arg-type]


def test_a_refutation_that_is_not_complete_says_so() -> None:
    verdict = verify("dual-write", max_states=200)
    assert verdict.violations
    assert verdict.headline.endswith("; INCOMPLETE (max_states=200 reached): more may be violated")


def test_the_slider_steps_through_the_story(doubled: Story) -> None:
    shown = doubled.slider()
    assert [text for _, text in shown.steps] == list(doubled.steps)
    assert shown.step == len(doubled.steps)
    rows = [row for row, _ in shown.steps]
    assert rows == sorted(rows)
    picture = shown.svg
    shown.step = 1
    assert shown.svg == picture  # a step draws nothing again


def test_without_widgets_the_slider_is_a_page(doubled: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anywidget", None)
    monkeypatch.setattr("simtx.lab.timeline._made", [])
    page = doubled.slider()._repr_html_()
    assert "<ol>" in page
    assert "<svg" in page
    assert "pip install" in page


def test_a_story_without_an_end_goes_round_once() -> None:
    strategy = next(one.strategy for one in PARTICIPANTS if one.name == "endless-inquiry")
    story = verify(strategy, participants=1, duplicates=0, timeouts=0).violations["termination"]
    assert story.steps[-2:] == (
        "inquiry from s1 to coordinator arrives: send wait to s1",
        "wait from coordinator to s1 arrives: send inquiry to coordinator",
    )
    assert story.replay().complete
    assert story.replay().violated == ("termination",)


def test_the_diagram_shows_a_crash_that_nothing_comes_after() -> None:
    lazy = next(one for one in OUTBOX if one.name == "lazy-parking")
    story = verify(lazy.strategy, **lazy.scope, duplicates=0, timeouts=0).violations["parked"]
    assert story.steps[-2].startswith("s2 crashes")
    assert [event.kind for event in story.trace.of(0)][-3:-1] == ["crash", "restart"]


def test_a_smallest_scope_may_lose_the_second_step_of_a_service() -> None:
    story = verify(FORGETS, participants=3, revisit=True, crashes=0, duplicates=0, timeouts=1).violations["agreement"]
    assert story.steps[0] == "2 services, 3 steps; nothing is refused"
    small = story.shrink().scope
    assert (small.participants, small.revisit) == (2, False)


def test_the_old_places_of_modules_work_for_one_release() -> None:
    """Tests that an earlier version exported import them."""
    old = {name: importlib.import_module(f"simtx.checker.{name}") for name in ("explore", "scope", "story", "verify")}
    assert (old["scope"].Scope, old["story"].replay) == (Scope, replay)
    assert (old["explore"].explore, old["verify"].verify) == (simtx.checker.explore, simtx.checker.verify)
