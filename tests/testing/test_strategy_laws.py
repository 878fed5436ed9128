"""The laws of a strategy: the built-in ones keep them, and each law is broken by a strategy that breaks it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from simtx.errors import ScenarioError
from simtx.protocols import STRATEGIES, Answer, Forget, Machine, Saga, Strategy, Transact, Transition, TwoPhaseCommit
from simtx.testing import STRATEGY_LAWS, LawBroken, ScriptedWorld, chain, check_strategy

NAMES = [law.name for law in STRATEGY_LAWS]


@pytest.mark.parametrize("strategy", [kind() for kind in STRATEGIES.values()], ids=lambda one: one.name)
@pytest.mark.sample(3)
def test_built_in_strategies_keep_the_laws(strategy: Strategy) -> None:
    check_strategy(strategy)


# --- broken strategies ----------------------------------------------------------------------------------------------------------


class Local(Machine):
    """Does the one step of its transaction by itself."""

    __slots__ = ("plan",)

    role = "local"
    initial = "idle"
    transitions = (
        Transition("idle", "begin", "begin", ("working",)),
        Transition("working", "work", "worked", ("finished",)),
    )

    def __init__(self, node: str, tx: int) -> None:
        super().__init__(node, tx)
        self.plan: Any = None

    def begin(self, request: Any) -> list[Any]:
        self.plan, self.state = request.plan, "working"
        return [Transact("work", self.plan.steps[0].operations, key=("work", self.tx), steps=(0,))]

    def worked(self, done: Any) -> list[Any]:
        self.state = "finished"
        return [Answer("committed" if done.status == "done" else "aborted"), Forget()]


@dataclass(frozen=True)
class Alone:
    """Plays transactions of one step by machines of a class."""

    role: type[Machine] = Local
    name = "alone"
    promise = "decided"
    uses_broker = False
    hub = None
    may_lose_effects = True
    weaknesses: ClassVar[dict[str, str]] = {
        "termination": "nobody asks again",
        "decision": "it says none",
        "validity": "it decides nothing",
    }

    def entry(self, plan: Any) -> str:
        return str(plan.steps[0].service)

    def machine(self, node: str, tx: int) -> Machine:
        return self.role(node, tx)

    def daemons(self, node: str) -> tuple[Machine, ...]:
        return ()

    def check(self, plan: Any) -> str | None:
        return None if len(plan.steps) == 1 else "it plays one step"


class OffTheTable(Local):
    """Says that it goes elsewhere than it goes."""

    __slots__ = ()
    transitions = (
        Transition("idle", "begin", "begin", ("waiting",)),
        Transition("working", "work", "worked", ("finished",)),
    )


class NeverForgets(Local):
    """Stays for ever."""

    __slots__ = ()

    def worked(self, done: Any) -> list[Any]:
        return super().worked(done)[:-1]


class SharedMemory(Local):
    """Knows what other machines of its class have done, which no copy of it does."""

    __slots__ = ()
    seen: ClassVar[list[int]] = []

    def worked(self, done: Any) -> list[Any]:
        self.seen.append(self.tx)
        return [*super().worked(done)[:-1], Transact(f"again{len(self.seen)}", ()), Forget()]


class Odd:
    """Nothing that a codec knows."""


class OddRecords(Local):
    """Keeps under its key what nobody can write down."""

    __slots__ = ()

    def begin(self, request: Any) -> list[Any]:
        effects = super().begin(request)
        effects[0].key = ("work", Odd())
        return effects


@pytest.mark.parametrize(
    ("role", "law"),
    [
        (OffTheTable, "machines-keep-to-their-tables-and-come-to-rest"),
        (NeverForgets, "machines-keep-to-their-tables-and-come-to-rest"),
        (SharedMemory, "machines-keep-to-their-tables-and-come-to-rest"),
        (OddRecords, "what-travels-and-what-is-recorded-can-be-written-as-json"),
    ],
)
def test_a_broken_machine_breaks_its_law(role: type[Machine], law: str) -> None:
    with pytest.raises(LawBroken, match=law):
        check_strategy(Alone(role), steps=1, only=law)


def test_a_violation_that_is_not_declared_breaks_a_law() -> None:
    """What is done for good is forgotten by a crash right behind it, and nobody asks again."""

    @dataclass(frozen=True)
    class Silent(Alone):
        weaknesses: ClassVar[dict[str, str]] = {}

    law = "a-small-scope-has-no-undeclared-violation"
    with pytest.raises(LawBroken, match=law):
        check_strategy(Silent(), steps=1, only=law)


def test_a_plan_that_it_does_not_play_is_one_line() -> None:
    with pytest.raises(ScenarioError, match="steps: 'alone' plays no transaction of 3 steps: it plays one step"):
        check_strategy(Alone())


def test_what_is_no_strategy_is_one_line() -> None:
    with pytest.raises(ScenarioError, match="strategy: str is no strategy: it lacks name, promise"):
        check_strategy("2pc")  # type: ignore[arg-type]


# --- by hand --------------------------------------------------------------------------------------------------------------------


def test_a_participant_that_was_prepared_asks_after_a_crash() -> None:
    world = ScriptedWorld(TwoPhaseCommit(), chain("a", "b"))
    world.request().work().deliver("prepare", to="b").work()
    assert "b" in {node for node in world.nodes if world.store(node).prepared}
    world.crash("b")
    assert world.machine("b") is None
    world.restart("b")
    recovered = world.machine("b")
    assert recovered is not None
    assert recovered.state == "in-doubt"
    world.drain()
    assert world.answers == {1: ["committed"]}
    assert world.left_over() == []


def test_what_is_not_in_flight_is_named_with_what_is() -> None:
    world = ScriptedWorld(Saga(), chain("a", "b"))
    world.request().work()
    with pytest.raises(AssertionError, match="no 'prepare' to b is in flight; there is do to a"):
        world.deliver("prepare", to="b")
