"""Strategies of a user's own, and SimPy processes of a user's own: both plug in without touching the package."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import simpy

import simtx
from simtx.errors import ScenarioError
from simtx.protocols import (
    Answer,
    Decided,
    Done,
    Effect,
    Forget,
    Machine,
    Message,
    Plan,
    Publish,
    Request,
    Transact,
    Transition,
)
from simtx.simulator import World
from tests.simulator.worlds import STRATEGIES, chain

# --- a strategy: commit one service after the other, and hope ---------------------------------------------------------------------


class Conductor(Machine):
    """Asks one service after the other; keeps no log, undoes nothing."""

    __slots__ = ("plan", "position")

    role = "conductor"
    initial = "idle"
    transitions = (
        Transition("idle", "begin", "begin", ("asking",)),
        Transition("asking", "done", "done", ("asking", "finished")),
        Transition("asking", "refused", "refused", ("finished",)),
    )

    def __init__(self, node: str, tx: int) -> None:
        super().__init__(node, tx)
        self.plan: Plan | None = None
        self.position = 0

    def begin(self, request: Request) -> list[Effect]:
        self.plan = request.plan
        self.state = "asking"
        return [self._ask()]

    def _ask(self) -> Message:
        assert self.plan is not None
        step = self.plan.steps[self.position]
        return Message("do", self.tx, self.node, step.service, step)

    def done(self, message: Message) -> list[Effect]:
        assert self.plan is not None
        self.position += 1
        if self.position < len(self.plan.steps):
            return [self._ask()]
        self.state = "finished"
        return [Decided("committed"), Answer("committed"), Forget()]

    def refused(self, message: Message) -> list[Effect]:
        self.state = "finished"
        return [Decided("aborted"), Answer("aborted"), Forget()]


class Worker(Machine):
    """Commits what it is told to, as often as it is told."""

    __slots__ = ("asker",)

    role = "worker"
    initial = "idle"
    transitions = (
        Transition("idle", "do", "do", ("working",)),
        Transition("working", "work", "reply", ("finished",)),
    )

    def __init__(self, node: str, tx: int) -> None:
        super().__init__(node, tx)
        self.asker = ""

    def do(self, message: Message) -> list[Effect]:
        self.state = "working"
        self.asker = message.sender
        step = message.body
        return [Transact("work", step.operations, steps=(step.index,))]

    def reply(self, done: Done) -> list[Effect]:
        self.state = "finished"
        kind = "done" if done.status == "done" else "refused"
        return [Message(kind, self.tx, self.node, self.asker), Forget()]


@dataclass(frozen=True)
class BestEffort:
    """The best-effort one-phase chain: services commit one by one, and a refusal or a crash leaves a prefix."""

    name: ClassVar[str] = "best-effort"
    promise: ClassVar[str] = "decided"
    uses_broker: ClassVar[bool] = False
    hub: ClassVar[str] = "conductor"

    def entry(self, plan: Plan) -> str:
        return self.hub

    def machine(self, node: str, tx: int) -> Machine:
        return Conductor(node, tx) if node == self.hub else Worker(node, tx)

    def daemons(self, node: str) -> Iterable[Machine]:
        return ()

    def check(self, plan: Plan) -> str | None:
        return "it needs two steps or more" if len(plan.steps) < 2 else None


D, W = 2.0**-10, 2.0**-8


def test_a_strategy_of_ones_own_is_simulated_like_ours() -> None:
    """2n messages, n forced writes, n(2d + w); metrics, log and digest as for the built-in ones."""
    run = simtx.simulate(chain(3, delay=D, write=W), BestEffort(), trace=True)
    assert run.strategy == BestEffort()
    assert set(run.transactions.outcome) == {"committed"}
    assert set(run.transactions.messages) == {6}
    assert set(run.transactions.forced_writes) == {3}
    assert set(run.transactions.latency_ms) == {3 * (2 * D + W) * 1e3}
    assert run.summary.residual_divergence == 0
    assert run.digest == simtx.simulate(chain(3, delay=D, write=W), BestEffort()).digest
    assert {event.node for event in run.trace.of(0)} >= {"conductor", "s0", "s1", "s2"}
    assert "best-effort" in repr(run)


def test_what_it_leaves_behind_is_measured() -> None:
    """A refusal by the third leaves the effects of the first two, which the decision does not call for."""
    run = simtx.simulate(chain(3, refusing={2}, transactions=4), BestEffort())
    assert run.summary.duplicate_effects == 8  # in force, but the transaction was aborted
    assert run.summary.residual_divergence == 8
    assert run.summary.committed_share == 0


def test_a_crash_leaves_a_prefix() -> None:
    """The conductor crashes before it asks the third: the first two are done, nobody knows, nobody works on it."""
    trigger = {"transaction": 1, "effect": "Message:do", "when": "before", "occurrence": 3}
    fault = {"kind": "crash", "node": "hub", "trigger": trigger, "duration": 0.2}
    run = simtx.simulate(chain(3, transactions=3, faults=[fault]), BestEffort())
    assert run.transactions.outcome.tolist() == ["committed", "incomplete", "committed"]
    assert run.transactions.missing_effects.tolist() == [0, 1, 0]
    assert run.summary.incomplete_count == 1


def test_it_meets_the_same_transactions_as_ours() -> None:
    """Common random numbers hold for it, too."""
    scenario = chain(3, workload={"kind": "poisson", "rate": 30.0}, refusals={0: 0.3}, key="k{tx}", transactions=100)
    tables = [simtx.simulate(scenario, s).transactions for s in (*STRATEGIES, BestEffort())]
    for table in tables:
        assert table.arrival_s.tolist() == tables[0].arrival_s.tolist()
        assert ((table.outcome == "committed") == (tables[0].outcome == "committed")).all()


def test_its_own_check_is_asked() -> None:
    """What a strategy cannot play is refused in one line that names both."""
    with pytest.raises(ScenarioError, match=r"^chain, strategy best-effort: it needs two steps or more$"):
        simtx.simulate(chain(1), BestEffort())


def test_a_hub_that_is_called_like_a_service_is_refused() -> None:
    """Nodes have one name each."""

    class Confused(BestEffort):
        hub: ClassVar[str] = "s1"

    with pytest.raises(ScenarioError, match="'s1'"):
        simtx.simulate(chain(3), Confused())


@pytest.mark.parametrize(("seed", "replication"), [(-1, 0), (1.5, 0), (True, 0), (1, -1), ("x", 0)])
def test_wrong_seeds_get_one_clear_line(seed: Any, replication: Any) -> None:
    """Seeds and replications are whole numbers from 0."""
    with pytest.raises(ScenarioError, match="must be a whole number from 0"):
        simtx.simulate(chain(1), "saga", seed=seed, replication=replication)


# --- fire and forget: a publication outlives the machine that asked for it --------------------------------------------------------


class Announcer(Machine):
    """Commits, publishes and is gone: at most once."""

    __slots__ = ("plan",)

    role = "announcer"
    initial = "idle"
    transitions = (
        Transition("idle", "begin", "begin", ("working",)),
        Transition("idle", "tell", "told", ("working",)),
        Transition("working", "work", "worked", ("finished",)),
    )

    def __init__(self, node: str, tx: int) -> None:
        super().__init__(node, tx)
        self.plan: Plan | None = None

    def begin(self, request: Request) -> list[Effect]:
        self.plan = request.plan
        self.state = "working"
        assert self.plan is not None
        return [Transact("work", self.plan.steps[0].operations, steps=(0,)), Answer("accepted")]

    def told(self, delivery: Any) -> list[Effect]:
        self.state = "working"
        return [Transact("work", delivery.message.body.operations, steps=(1,)), Decided("committed")]

    def worked(self, done: Done) -> list[Effect]:
        self.state = "finished"
        if self.plan is None:
            return [Forget()]
        step = self.plan.steps[1]
        return [Publish("told", Message("tell", self.tx, self.node, step.service, step)), Forget()]


@dataclass(frozen=True)
class FireAndForget:
    """Publishes without waiting for the broker, over two steps; never acknowledges."""

    name: ClassVar[str] = "fire-and-forget"
    promise: ClassVar[str] = "accepted"
    uses_broker: ClassVar[bool] = True
    hub: ClassVar[str | None] = None

    def entry(self, plan: Plan) -> str:
        return plan.steps[0].service

    def machine(self, node: str, tx: int) -> Machine:
        return Announcer(node, tx)

    def daemons(self, node: str) -> Iterable[Machine]:
        return ()

    def check(self, plan: Plan) -> str | None:
        return None


@pytest.mark.parametrize("linger", [0.0, 0.01])
def test_a_publication_leaves_although_the_machine_is_forgotten(linger: float) -> None:
    """Handing a message to the broker does not block, and what lingers in the client's buffer is lost by a crash of the node only."""
    scenario = chain(2, transactions=3, broker={"linger": linger, "redelivery": 600.0}, run={"drain": 5.0})
    table = simtx.simulate(scenario, FireAndForget()).transactions
    assert table.decision_ms.notna().all()


# --- SimPy beside the model -------------------------------------------------------------------------------------------------------


def test_a_simpy_process_runs_beside_the_model() -> None:
    """Timeouts, resources and events of SimPy share the clock of the model; the process can act on nodes as faults do."""
    log: list[tuple[float, str]] = []

    def operator(world: World) -> Iterator[simpy.Event]:
        env = world.env
        desk = simpy.Resource(env, capacity=1)
        yield env.timeout(2.5)
        with desk.request() as turn:
            yield turn
            world.nodes["s1"].pause()
            log.append((env.now, "paused"))
            yield env.timeout(1.0)
            world.nodes["s1"].unpause()
            log.append((env.now, "resumed"))

    def colleague(world: World) -> Iterator[simpy.Event]:
        yield world.env.timeout(3.0) | world.env.timeout(99.0)
        log.append((world.env.now, "looked"))

    run = simtx.simulate(chain(2, transactions=4), "saga", processes=[operator, colleague])
    assert log == [(2.5, "paused"), (3.0, "looked"), (3.5, "resumed")]
    latency = run.transactions.latency_ms
    assert latency.iloc[2] == pytest.approx(500, abs=20)  # it came at 3 s, and was held up until 3.5 s
    assert latency.drop(2).max() < 20


def test_a_simpy_process_can_be_a_customer_of_its_own() -> None:
    """An event of the process triggers when the model has come to a state, by polling it."""
    seen: list[float] = []

    def waiter(world: World) -> Iterator[simpy.Event]:
        store = world.nodes["s1"].store
        assert store is not None
        while store.read("k") < 2:
            yield world.env.timeout(0.001)
        seen.append(world.env.now)

    run = simtx.simulate(chain(2, transactions=3), "saga", processes=[waiter])
    second = run.transactions.iloc[1]
    assert seen[0] == pytest.approx(second.arrival_s + second.settle_ms / 1e3, abs=0.0011)


def test_what_a_process_raises_comes_out() -> None:
    """Errors of a user's process are not swallowed."""

    def broken(world: World) -> Iterator[simpy.Event]:
        yield world.env.timeout(1.5)
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        simtx.simulate(chain(2), "saga", processes=[broken])
