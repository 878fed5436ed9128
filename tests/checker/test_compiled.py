"""The loop in C searches as the loop in Python does: the same states in the same order, the same counts, the same shortest paths."""

from __future__ import annotations

from typing import Any

import pytest

from simtx.checker import Exploration, Model, explore, verify
from simtx.checker.protocols import compiled
from simtx.checker.protocols import verify as verifying
from simtx.checker.protocols.local import Locals
from simtx.checker.protocols.protocol import ProtocolModel
from simtx.checker.protocols.scope import BUDGETS, Scope
from simtx.engine import Unavailable, load_library
from simtx.engine.library import compiler
from simtx.errors import ScenarioError
from simtx.protocols import Strategy
from simtx.protocols import strategy as strategy_of
from tests.cursor import CursorOutbox

from .mutants import ALL
from .mutants.catalogue import Mutant

QUIET = dict.fromkeys(BUDGETS, 0)
NONE = "there is none"

try:
    load_library()
except Unavailable as error:
    if compiler():  # a loop that cannot be compiled or loaded where there is a compiler is a fault
        raise
    pytest.skip(f"no compiled engine: {error}", allow_module_level=True)


def test_what_c_and_python_say_of_each_other_agrees() -> None:
    """Otherwise all searches would be in Python, and only the verdicts would say so."""
    assert not isinstance(compiled._library(), str)


def told(model: ProtocolModel, exploration: Exploration) -> dict[str, Any]:
    """Everything that a search says, and the numbers that it has given on its way."""
    return {
        "counts": (exploration.states, exploration.transitions, exploration.levels, exploration.terminal),
        "end": (exploration.complete, exploration.stopped, exploration.unexpanded),
        "violations": [(one.name, [step.state for step in one.path]) for one in exploration.violations],
        "goals": {name: one and [step.state for step in one.path] for name, one in exploration.goals.items()},
        # A search that is cut off has looked a little further than the states that it counts.
        "covered": exploration.complete and frozenset(model.locals.covered.numbers),
        "recovered": exploration.complete and frozenset(model.locals.recovered.numbers),
        "items": exploration.complete and tuple(map(repr, model.items)),
    }


def both(
    strategy: Strategy, scope: dict[str, Any], monkeypatch: pytest.MonkeyPatch, only: str | None = None, **limits: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What both loops say."""
    found = []
    for library in (compiled._library, lambda: NONE):
        monkeypatch.setattr(compiled, "_library", library)
        model = ProtocolModel(strategy, Scope(**scope))
        found.append(told(model, explore(model.model(only), **limits)))
    monkeypatch.undo()
    return found[0], found[1]


SCOPES: list[tuple[str, dict[str, Any]]] = [
    ("2pc", {"participants": 1}),
    ("2pc", {"participants": 1, "crashes": 0, "losses": 1, "failures": 1}),
    ("2pc:work=before", {"participants": 1, "duplicates": 0}),
    ("2pc", {"participants": 1, "duplicates": 0, "timeouts": 0, "interventions": 1, "repeats": 1}),
    ("2pc", {"participants": 1, "crashes": 2, "lasting": True}),
    ("saga", {"participants": 1, "messages": 2, "contention": True, "duplicates": 0, "timeouts": 0}),
    ("saga", {"duplicates": 0, "timeouts": 0, "unruly": True, "pivot": 0, "interventions": 1}),
    ("saga", {"duplicates": 0, "reads": 1, "retained": 1, "isolation": "read-committed"}),
    ("outbox", {"timeouts": 0, "duplicates": 0, "losses": 1}),
    ("outbox", {"crashes": 0, "failures": 1}),
    ("choreography", {"participants": 3, "parallel": True, "crashes": 0, "duplicates": 0, "timeouts": 0}),
    ("dual-write", {"losses": 1, "duplicates": 0}),
    ("dual-write:order=broker-first", {}),
    ("tcc", {"participants": 1, "failures": 1}),
    ("paxos-commit", {"crashes": 0, "duplicates": 0, "timeouts": 0, "refusals": False}),
    ("cornus", {"participants": 1, "losses": 1, "failures": 1, "duplicates": 0}),
    ("cornus", {"participants": 1, "crashes": 2, "lasting": True}),
    ("outbox", {"crashes": 0, "timeouts": 0, "dead_letters": 2}),
    ("outbox", {"duplicates": 0, "timeouts": 0, "upgrade": "stop"}),
    ("outbox", {"crashes": 0, "losses": 1, "timeouts": 0, "upgrade": "skip", "dead_letters": 1}),
]


@pytest.mark.parametrize(("name", "scope"), SCOPES, ids=str)
@pytest.mark.sample(6)
def test_both_loops_say_the_same(name: str, scope: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    fast, slow = both(strategy_of(name), scope, monkeypatch)
    assert fast == slow
    assert fast["counts"][0] > 20


def test_rows_that_overtake_others_are_searched_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    scope = {**QUIET, "messages": 2, "overtakes": 1, "refusals": False}
    fast, slow = both(CursorOutbox(), scope, monkeypatch)
    assert fast == slow
    assert fast["violations"]


@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.name)
@pytest.mark.sample(12)
def test_both_loops_find_the_same_defects(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Violations of all properties, with the same shortest stories; what goes on for ever is cut off at the same state."""
    fast, slow = both(mutant.strategy, {**QUIET, **mutant.scope}, monkeypatch, max_states=5_000)
    assert fast == slow


@pytest.mark.parametrize("limits", [{"max_states": 1}, {"max_states": 700}, {"stop_at_violation": True}], ids=str)
def test_limits_end_both_loops_at_the_same_state(limits: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    fast, slow = both(strategy_of("dual-write"), {}, monkeypatch, **limits)
    assert fast == slow
    assert not fast["end"][0] or fast["violations"]


@pytest.mark.parametrize(("above", "words"), [(3, "in the state"), (40, "by a property")])
def test_a_mistake_in_a_machine_is_raised_alike(above: int, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also through C, with the state in which it happened; nothing is swallowed."""

    def broken(self: Locals, number: int) -> int:
        if number > above:
            raise ZeroDivisionError("on purpose")
        return number

    monkeypatch.setattr(Locals, "calm", broken)
    notes = []
    for library in (compiled._library, lambda: NONE):
        with monkeypatch.context() as patch:
            patch.setattr(compiled, "_library", library)
            with pytest.raises(ZeroDivisionError, match="on purpose") as raised:
                verify("2pc", crashes=int(above > 3))
        notes.append(raised.value.__notes__)
    assert notes[0] == notes[1]
    assert words in notes[0][0]


def test_whoever_changes_the_steps_is_not_searched_in_c(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = ProtocolModel.successors

    def watched(self: ProtocolModel, state: Any) -> Any:
        seen.append(state)
        return real(self, state)

    monkeypatch.setattr(ProtocolModel, "successors", watched)
    assert verify("2pc", participants=1, crashes=0).states <= len(seen)


SMALL: dict[str, Any] = {"crashes": 0, "duplicates": 0, "timeouts": 0}


def test_a_search_in_c_says_so_and_warns_of_nothing() -> None:
    found = verify("2pc", **SMALL)
    assert (found.engine, found.engine_reason, found.warnings) == ("fast", "", [])
    assert "engine" not in found.text


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"symmetry": True}, "it explores participants that are alike once"),
        ({"workers": 2}, "2 processes share it"),
        ({"engine": "interpreted"}, "it was asked for"),
        ({}, NONE),
    ],
)
def test_a_search_in_python_says_why(options: dict[str, Any], reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small ones in the verdict, large ones also as a warning; what was asked for is no surprise."""
    if not options:
        monkeypatch.setattr(compiled, "_library", lambda: NONE)
    found = verify("2pc", **SMALL, **options)
    assert (found.engine, found.engine_reason, found.warnings) == ("interpreted", reason, [])
    assert f"  engine: interpreted, since {reason}" in found.text.splitlines()
    assert (found.as_dict()["engine"], found.as_dict()["engine_reason"]) == ("interpreted", reason)
    monkeypatch.setattr(verifying, "MATTERS", 1)
    assert [line.rpartition(": ")[2] for line in found.warnings] == ([] if "engine" in options else [reason])


@pytest.mark.parametrize("options", [{"symmetry": True}, {"workers": 2}, {"walks": 1}])
def test_who_asks_for_the_fast_engine_gets_it_or_one_line(options: dict[str, Any]) -> None:
    with pytest.raises(ScenarioError, match="the fast engine "):
        verify("2pc", engine="fast", **SMALL, **options)
    assert verify("2pc", engine="fast", **SMALL).engine == "fast"


def test_the_default_engine_is_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMTX_ENGINE", "interpreted")
    assert verify("2pc", **SMALL).engine == "interpreted"
    assert verify("2pc", engine="auto", **SMALL).engine == "fast"


def test_a_model_without_a_faster_search_has_no_fast_engine() -> None:
    model = Model(initial=[0], successors=lambda state: [("on", state + 1)] if state < 9 else [], name="counter")
    found = explore(model)
    assert (found.states, found.engine, found.engine_reason) == (10, "interpreted", "")
    with pytest.raises(ScenarioError, match="the model 'counter' has no faster search"):
        explore(model, engine="fast")
