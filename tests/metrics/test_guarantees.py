"""Every run is held against what its strategy guarantees: what is seeded shows, by both engines alike, and what is sound says nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import simtx
from simtx.engine import Unavailable, load_library
from simtx.engine.library import compiler
from simtx.errors import ScenarioError
from simtx.metrics.guarantees import PROPERTIES, examined, guaranteed
from simtx.metrics.replay import data_from_trace
from simtx.protocols import Answer, DualWrite
from simtx.protocols import strategy as resolve
from simtx.protocols.saga import Orchestrator
from simtx.scenario import Scenario
from tests.checker.mutants import ALL
from tests.checker.mutants.catalogue import Saga2

MUTANTS = {one.name: one.strategy for one in ALL}
#: Seeded defects and the property that a simulated run must show violated, without any fault.
SHOWN = {
    "half-the-operations": "values",
    "anothers-work": "values",
    "by-one": "values",
    "undoes-half": "values",
    "never-refuses": "values",
    "half-a-chain": "values",
    "half-a-dual-write": "values",
    "undoes-from-the-first": "undo-order",
    "presumed-wrong": "truth",
    "only-the-failed": "atomicity",
    "refuses-and-completes": "no-ghost",
    "event-before-effect": "agreement",
}
TABLES: dict[str, Any] = {
    "name": "watched",
    "workload": {"kind": "poisson", "rate": 50.0},
    "run": {"transactions": 80, "warmup": 0},
    "services": {name: {"workers": 4, "service_time": "2 ms"} for name in "abc"},
    "transaction": {
        "steps": [
            {
                "name": f"step-{number}",
                "service": service,
                "operations": [{"key": "x{tx}", "amount": amount}, *[{"key": "all", "amount": amount / 2}] * 2],
                "compensation": [{"key": "x{tx}", "amount": -amount}, *[{"key": "all", "amount": -amount / 2}] * 2],
                "refusal": refusal,
            }
            for number, (service, amount, refusal) in enumerate((("a", 2, 0.1), ("b", 5, 0.0), ("c", 11, 0.1)))
        ]
    },
}


#: What the compiled engine refuses to play: work that is not in the plan, or is another service's.
NOT_COMPILED = {"by-one", "anothers-work"}


def played(scenario: Scenario, strategy: Any, engine: Any) -> simtx.Run:
    """A run by this engine; skips where there is no compiled one, or it refuses what it must."""
    if engine == "fast":
        try:
            load_library()
        except Unavailable as error:
            if compiler():
                raise
            pytest.skip(f"no compiled engine: {error}")
        if any(strategy is MUTANTS[name] for name in NOT_COMPILED):
            with pytest.raises(ScenarioError, match="a machine makes an operation"):
                simtx.simulate(scenario, strategy, engine="fast")
            pytest.skip("the compiled engine refuses it")
    run = simtx.simulate(scenario, strategy, engine=engine)
    assert run.engine == engine
    return run


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return simtx.scenario.from_dict(TABLES)


@pytest.mark.parametrize("name", SHOWN)
@pytest.mark.parametrize("engine", ["interpreted", "fast"])
def test_a_seeded_defect_shows_in_a_simulated_run(scenario: Scenario, name: str, engine: Any) -> None:
    run = played(scenario, MUTANTS[name], engine)
    found = [one for one in run.violations if one.property == SHOWN[name]]
    assert found, f"{name} shows {run.data.broken_counts}"
    assert "VIOLATED" in run.warnings[0]
    assert "VIOLATED" in repr(run)
    assert {one.property for one in run.violations} <= set(run.watched)


@pytest.mark.parametrize("name", [*SHOWN, "2pc", "saga", "outbox", "dual-write"])
def test_both_engines_find_the_same(scenario: Scenario, name: str) -> None:
    strategy = MUTANTS.get(name, name)
    runs = [played(scenario, strategy, engine) for engine in ("interpreted", "fast")]
    assert [str(one) for one in runs[0].violations] == [str(one) for one in runs[1].violations]
    assert runs[0].data.broken_counts == runs[1].data.broken_counts


@pytest.mark.parametrize("strategy", ["2pc", "saga", "outbox", "dual-write"])
def test_a_sound_run_has_none(scenario: Scenario, strategy: str) -> None:
    run = simtx.simulate(scenario, strategy)
    assert run.violations == ()
    assert "values" in run.watched
    assert "VIOLATED" not in repr(run)


class ToldTheOpposite(Orchestrator):
    """Tells every client the opposite of what was decided."""

    __slots__ = ()

    def handle(self, event: Any) -> Any:
        other = {"committed": "aborted", "aborted": "committed"}
        return [
            replace(one, outcome=other[one.outcome]) if isinstance(one, Answer) else one
            for one in super().handle(event)
        ]


@pytest.mark.parametrize("engine", ["interpreted", "fast"])
def test_a_false_word_to_the_client_shows(scenario: Scenario, engine: Any) -> None:
    run = played(scenario, Saga2(orchestrator=ToldTheOpposite), engine)
    told = [one for one in run.violations if one.property == "truth"]
    assert len(told) == len(run.transactions)
    assert "the client was told 'aborted'" in told[0].text


def test_a_violation_tells_its_story(scenario: Scenario) -> None:
    """A value names the transactions that have changed it by something else than their plans; each has its diagram in letters."""
    run = simtx.simulate(scenario, MUTANTS["half-the-operations"])
    value = run.violations[0]
    assert value.transaction == -1
    assert value.text.startswith("a.all is 0, and what is in force amounts to ")
    assert value.transactions()[0] == 0
    assert "prepare" in value.story().lower()
    early = simtx.simulate(scenario, MUTANTS["undoes-from-the-first"]).violations[0]
    assert str(early.transaction) in str(early)
    assert "undo" in early.story() or "compensat" in early.story()


def test_what_a_strategy_does_not_promise_is_no_violation(scenario: Scenario) -> None:
    """A dual write that forgets the event: counted in the tables, and no violation; a wrong value is one."""
    run = simtx.simulate(scenario, MUTANTS["dual-write-silent-refusal"])
    assert run.data.broken_counts["atomicity"] > 0
    assert run.violations == ()
    assert "atomicity" not in run.watched
    assert guaranteed(DualWrite()) == frozenset({"values"})
    assert "undo-order" not in guaranteed(resolve("tcc"))  # nobody builds on a reservation
    assert guaranteed(simtx.Saga()) == frozenset(PROPERTIES) - {"no-ghost"}


@pytest.mark.parametrize("name", ["half-the-operations", "undoes-from-the-first", "event-before-effect", "saga"])
def test_the_event_log_says_the_same(scenario: Scenario, name: str) -> None:
    """What is made of the log alone, as of a real run, finds what was found while the run went on; events' words are not in a plain log."""
    run = simtx.simulate(scenario, MUTANTS.get(name, name), trace=True)
    again = data_from_trace(run.trace, scenario)
    assert [one for one in again.broken if one.property != "no-ghost"] == [
        one for one in run.data.broken if one.property != "no-ghost"
    ]


@pytest.mark.parametrize("name", ["refuses-and-completes", "outbox"])
def test_a_full_log_tells_of_events_that_are_not_true(scenario: Scenario, name: str) -> None:
    """A full log, which every real run writes, has the words of events, too."""
    run = simtx.simulate(scenario, MUTANTS.get(name, name), trace="full")
    again = data_from_trace(run.trace, scenario)
    assert set(again.watched) == set(PROPERTIES)
    assert again.broken == run.data.broken
    assert ("no-ghost" in again.broken_counts) == (name != "outbox")


@pytest.mark.parametrize("engine", ["interpreted", "fast"])
def test_what_is_not_at_rest_is_not_judged(scenario: Scenario, engine: Any) -> None:
    """A run that ends while the hub is down has half-done transactions, and has violated nothing."""
    crash = {"kind": "crash", "node": "hub", "at": "1 s", "duration": "20 s"}
    cut = scenario.replace(**{"run.drain": "100 ms", "faults": [crash]})
    run = played(cut, "saga", engine)
    assert run.data.unfinished > 0
    assert run.violations == ()
    assert guaranteed(resolve("tcc"), unfinished=1) == guaranteed(resolve("tcc")) - {
        "values"
    }  # reservations are no steps in force


def test_a_saved_run_keeps_its_violations(scenario: Scenario, tmp_path: Path) -> None:
    run = simtx.simulate(scenario, "saga")
    run.data.broken_counts, run.data.broken = {"values": 1}, [*_one()]
    run.save(tmp_path / "run")
    again = simtx.read(tmp_path / "run")
    assert isinstance(again, simtx.Run)
    assert [str(one) for one in again.violations] == ["values: a.all is 1, and what is in force amounts to 2"]


def _one() -> list[Any]:
    from simtx.metrics.guarantees import Broken

    return [Broken("values", -1, "a.all is 1, and what is in force amounts to 2", "a", "all")]


def test_a_comparison_says_it_first(scenario: Scenario) -> None:
    compared = simtx.compare(scenario, ["2pc", MUTANTS["undoes-from-the-first"]], replications=2, workers=1)
    first = compared.warnings[0]
    assert first.startswith("saga (2 of 2 runs)")
    assert "VIOLATED" in first
    assert "undo-order" in first


def test_of_a_transaction_whose_steps_are_all_in_force_only_a_refusal_that_was_told_needs_a_look() -> None:
    done, refused = ("step-done", 0, "action"), ("step-refused", 1, "action")
    assert not examined("accepted", "committed", committed=True, watch=0, claims=(done,))
    assert examined("accepted", "committed", committed=True, watch=0, claims=(done, refused))
    assert examined("accepted", "compensated", committed=False, watch=0, claims=(done,))
