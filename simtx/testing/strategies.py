"""Laws of a strategy, which the hosts rely on, and the check of them on a strategy of your own.

Each law is small, so that a defect shows in seconds: a scripted world of one or two transactions, a search of a small scope, a short simulated run.
What a strategy says that it does not promise (`simtx.protocols.extras.Extras`) is not held against it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from simtx.checker.protocols.verify import verify
from simtx.conformance.check import check_log
from simtx.engine import NotCompiled, Unavailable
from simtx.errors import ScenarioError
from simtx.protocols import Policies, Strategy
from simtx.protocols.codec import dumps, loads, register
from simtx.protocols.extras import configured, extras
from simtx.simulator import simulate
from simtx.simulator.engines import difference
from simtx.testing.hosts import scenario
from simtx.testing.laws import Law, expect, judge, law_in, same, select
from simtx.testing.scripted import ScriptedWorld, chain

if TYPE_CHECKING:
    from simtx.metrics.run import Run

__all__ = ["STRATEGY_LAWS", "check_strategy"]

_STEPS: Final = 3
_SECONDS: Final = 60.0
"""Seconds for which the search of a small scope may go on."""


@dataclass(frozen=True)
class _Subject:
    """A strategy under test, with the number of steps that its transactions have."""

    strategy: Strategy
    steps: int

    def world(self) -> ScriptedWorld:
        """A scripted world with two transactions, with policies filled in."""
        names = [f"s{number}" for number in range(self.steps)]
        return ScriptedWorld(configured(self.strategy, Policies()), chain(*names), chain(*names, tx=2))

    def played(self, **options: Any) -> Run:
        """A short run."""
        return simulate(scenario(steps=self.steps), self.strategy, seed=7, **options)


_LAWS: list[Law] = []
_law = law_in(_LAWS)


def check_strategy(strategy: Strategy, *, steps: int = _STEPS, only: Collection[str] | str | None = None) -> None:
    """Check that a strategy can be simulated, verified, executed and compiled, and that its machines keep the contract.

    Args:
        strategy: The strategy.
        steps: How many steps the transactions have that it is tried with, one a service.
        only: Names of laws, or one name; None: all of `STRATEGY_LAWS`.

    Raises:
        LawBroken: It breaks a law; the text names the laws and what was seen.
        ScenarioError: It plays no transactions of so many steps, or there is no such law.
    """
    laws = select(STRATEGY_LAWS, only)
    _complete(strategy)
    reason = strategy.check(chain(*(f"s{number}" for number in range(steps))))
    if reason is not None:
        raise ScenarioError(
            f"'{strategy.name}' plays no transaction of {steps} steps: {reason}; give another number", "steps"
        )
    register(*extras(strategy).wire_types)
    subject = _Subject(strategy, steps)
    judge(laws, lambda law: law.check(subject))


def _complete(strategy: object) -> None:
    """Refuse an object that lacks a member of a strategy."""
    needed = ("name", "promise", "uses_broker", "hub", "entry", "machine", "daemons", "check")
    absent = [name for name in needed if not hasattr(strategy, name)]
    if absent:
        raise ScenarioError(f"{type(strategy).__name__} is no strategy: it lacks {', '.join(absent)}", "strategy")


def _whole(world: ScriptedWorld, strategy: Strategy) -> None:
    """Each transaction has all of its effects or none, unless the strategy does not promise that."""
    if extras(strategy).may_lose_effects or extras(strategy).weaknesses:
        return
    for tx in world.plans:
        counts = set(world.net(tx).values())
        expect(counts in ({0}, {1}), f"transaction {tx}: effects in force by step: {world.net(tx)}")


# --- laws -----------------------------------------------------------------------------------------------------------------------


@_law
def machines_keep_to_their_tables_and_come_to_rest(subject: _Subject) -> None:
    """Without faults every step is in the transition table, a clone of a machine does as the machine does, and nothing is left over."""
    world = subject.world().run()
    same(world.left_over(), [], "left over")
    same(sorted(world.answers), sorted(world.plans), "transactions with an answer")
    _whole(world, subject.strategy)


@_law
def a_crash_anywhere_is_recovered_from(subject: _Subject) -> None:
    """A crash of the node at any one place, with and without its lazy writes, leaves nothing over once it is back."""
    places = subject.world().run().points
    for lazies in ("lost", "kept"):
        for place in range(places):
            world = subject.world().run(crashes=(place,), lazies=lazies)
            left = world.left_over()
            expect(not left, f"after a crash at place {place} (lazy writes {lazies}): {'; '.join(left[:3])}")
            _whole(world, subject.strategy)


@_law
def what_travels_and_what_is_recorded_can_be_written_as_json(subject: _Subject) -> None:
    """Messages and records are the same after a round through the codec; classes of one's own are in `wire_types`."""
    values: list[Any] = []

    class Noting(ScriptedWorld):
        def _perform(self, node: Any, tx: int, effect: Any) -> None:
            values.append(effect)
            super()._perform(node, tx, effect)

    made = subject.world()
    Noting(made.strategy, *made.plans.values()).run()
    for effect in values:
        same(loads(dumps(effect)), effect, f"{type(effect).__name__} after a round through JSON")


@_law
def a_small_scope_has_no_undeclared_violation(subject: _Subject) -> None:
    """`simtx.verify` with one crash finds no violation that the strategy does not declare, and its messages are declared."""
    verdict = verify(
        subject.strategy,
        participants=subject.steps if subject.strategy.check(chain("a", "b")) else 2,
        max_seconds=_SECONDS,
        progress=False,
    )
    found = [name for name in verdict.violations if name not in verdict.expected]
    expect(not found, f"{', '.join(found)}:\n{verdict.text}")


@_law
def a_seed_gives_one_run(subject: _Subject) -> None:
    """Two runs of one seed have the same digest, and the log of a third replays through the machines."""
    first, second = subject.played(), subject.played()
    same(second.digest, first.digest, "digest of the second run")
    logged = subject.played(trace="full")
    same(logged.digest, first.digest, "digest of a run with its log")
    log = check_log(logged.trace, logged.strategy)
    expect(log.ok, f"the log does not replay: {'; '.join(log.problems[:3])}")


@_law
def the_compiled_engine_agrees(subject: _Subject) -> None:
    """A run of the compiled engine has the figures of the interpreted one, to the last bit; a strategy that is not compiled is left alone."""
    try:
        fast = subject.played(engine="fast")
    except (ScenarioError, NotCompiled, Unavailable):
        return
    part = difference(subject.played(engine="interpreted").data, fast.data)
    expect(not part, f"they differ in {part}")


STRATEGY_LAWS: Final = tuple(_LAWS)
"""All laws of a strategy."""
