"""The laws of a host: the simulator and the real execution keep them, and each of them is broken by a host that breaks it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import simtx
from simtx.metrics.run import Run
from simtx.protocols import Strategy
from simtx.scenario import Scenario
from simtx.simulator.faults import CrashPoint
from simtx.simulator.node import Node
from simtx.simulator.store import Store
from simtx.testing import HOST_LAWS, LawBroken, check_host

NAMES = [law.name for law in HOST_LAWS]
QUICK = {"nothing-behind-a-forced-record-happens-before-it-is-durable"}  # the real execution; the simulator keeps all


def simulated(scenario: Scenario, strategy: Strategy) -> Run:
    return simtx.simulate(scenario, strategy, trace="full")


def executed(scenario: Scenario, strategy: Strategy) -> Run:
    return simtx.execute(scenario, strategy, progress=False)


@pytest.mark.parametrize("law", NAMES)
def test_the_simulator_keeps_the_law(law: str) -> None:
    check_host(simulated, only=law)


@pytest.mark.parametrize("law", [pytest.param(law, marks=() if law in QUICK else pytest.mark.heavy) for law in NAMES])
def test_the_real_execution_keeps_the_law(law: str) -> None:
    check_host(executed, only=law)


# --- broken hosts ---------------------------------------------------------------------------------------------------------------


Patch = pytest.MonkeyPatch


def plays_programs_backwards(patch: Patch) -> None:
    handled = Node._handled
    patch.setattr(Node, "_handled", lambda self, actor, event: handled(self, actor, event)[::-1])


def sends_before_the_disk_has_answered(patch: Patch) -> None:
    """A crash before the record finds it written, and what comes behind it sent."""
    patch.setattr(
        CrashPoint, "strike", lambda self, node: node.world.env.call_in(0.02, lambda _: self._injector.crash_now(node))
    )


def loses_forced_records(patch: Patch) -> None:
    hardened = Node._hardened

    def forgetful(self: Node, actor: Any, effect: Any) -> None:
        hardened(self, actor, effect)
        self.durable[actor.tx].pop()

    patch.setattr(Node, "_hardened", forgetful)


def forgets_branches(patch: Patch) -> None:
    crash = Store.crash

    def crashed(self: Store) -> None:
        crash(self)
        self.prepared.clear()
        self.owners.clear()

    patch.setattr(Store, "crash", crashed)


def recovers_nothing(patch: Patch) -> None:
    restart = Node.restart

    def careless(self: Node) -> None:
        self.durable.clear()
        restart(self)

    patch.setattr(Node, "restart", careless)


def forgets_what_was_done(patch: Patch) -> None:
    patch.setattr(Store, "row", lambda self, key: None)
    run = Store.run

    def careless(self: Store, work: Any) -> None:
        self.rows.clear()
        run(self, work)

    patch.setattr(Store, "run", careless)


def ignores_refusals(patch: Patch) -> None:
    play = Store._play

    def careless(self: Store, work: Any) -> bool:
        work.operations = tuple(one for one in work.operations if one.kind != "refuse")
        return play(self, work)

    patch.setattr(Store, "_play", careless)
    lockless = Store.run

    def run(self: Store, work: Any) -> None:
        work.operations = tuple(one for one in work.operations if one.kind != "refuse")
        lockless(self, work)

    patch.setattr(Store, "run", run)


def loses_outbox_rows(patch: Patch) -> None:
    crash = Store.crash

    def crashed(self: Store) -> None:
        crash(self)
        self.outbox.rows.clear()

    patch.setattr(Store, "crash", crashed)


BROKEN: dict[Callable[[Patch], None], set[str]] = {
    plays_programs_backwards: {"programs-are-played-in-their-order"},
    sends_before_the_disk_has_answered: {
        "nothing-behind-a-forced-record-happens-before-it-is-durable",
        "a-forced-record-survives-and-the-rest-of-the-program-does-not",
    },
    loses_forced_records: {"a-forced-record-survives-and-the-rest-of-the-program-does-not"},
    forgets_branches: {"a-prepared-branch-waits-for-its-decision-over-a-crash"},
    recovers_nothing: {"an-orchestrator-goes-on-where-its-log-ends"},
    forgets_what_was_done: {
        "what-a-local-transaction-has-committed-is-repeated-by-nobody",
        "copies-and-losses-change-no-effect",
    },
    ignores_refusals: {"a-refusal-is-undone"},
    loses_outbox_rows: {"an-outbox-row-outlives-the-crash-of-its-service"},
}


@pytest.mark.parametrize("sabotage", BROKEN, ids=lambda one: one.__name__)
def test_a_host_that_breaks_a_law_is_found_by_its_name(sabotage: Callable[[Patch], None], monkeypatch: Patch) -> None:
    sabotage(monkeypatch)
    for name in BROKEN[sabotage]:
        with pytest.raises(LawBroken, match=f"1 broken:\n{name}: "):
            check_host(simulated, only=name)


def test_every_law_can_be_broken() -> None:
    assert {name for names in BROKEN.values() for name in names} == set(NAMES)
