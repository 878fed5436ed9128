"""Plans, a terse notation for events, and a lossy world: what the tests of the saga share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from simtx.protocols.contract import Effect, Event, Machine, Message, Operation, Plan, Request, Step, StepKind, Timer
from simtx.protocols.names import ORCHESTRATOR as HUB
from simtx.protocols.policies import Policies
from simtx.protocols.saga import Orchestrator, Saga
from tests.protocols.helpers import Node, Witness, World

FEW = Policies(attempts=2, compensation_attempts=2, alert_after=3)


def plan_of(*kinds: str, after: dict[int, tuple[int, ...]] | None = None, refused: tuple[int, ...] = ()) -> Plan:
    """A plan with a service ``s<index>`` per step, sequential unless `after` says otherwise; the `refused` steps say no."""
    steps = []
    for index, kind in enumerate(kinds):
        before = (after or {}).get(index, (index - 1,) if index else ())
        no = (Operation("k", "refuse"),) if index in refused else ()
        work = (Operation("k", "add", 1), *no)
        undo = (Operation("k", "add", -1),) if kind == "compensatable" else ()
        steps.append(Step(index, f"step {index}", f"s{index}", work, undo, cast("StepKind", kind), before))
    return Plan(1, tuple(steps))


def sequence(count: int, refused: int | None = None) -> Plan:
    """`count` compensatable steps one after the other; the step with index `refused` says no."""
    return plan_of(*["compensatable"] * count, refused=() if refused is None else (refused,))


def wave(count: int, refused: tuple[int, ...] = ()) -> Plan:
    """`count` compensatable steps side by side."""
    return plan_of(*["compensatable"] * count, after=dict.fromkeys(range(count), ()), refused=refused)


#: 0 before 1 and 2, both before 3.
DIAMOND: dict[int, tuple[int, ...]] = {1: (0,), 2: (0,), 3: (1, 2)}
#: A compensatable step, the pivot, and two retriable steps side by side.
PIVOTED = plan_of("compensatable", "pivot", "retriable", "retriable", after={2: (1,), 3: (1,)})


def event(text: str, plan: Plan) -> Event:
    """An event in short: ``begin``, ``done 1``, ``error 0 undo``, ``reply``, ``skip because``, ..."""
    kind, *rest = text.split()
    if kind == "begin":
        return Request(plan.tx, plan)
    if kind in ("retry", "skip", "resolve"):
        return Request(plan.tx, None, kind, " ".join(rest))
    if kind in ("reply", "backoff"):
        return Timer(kind)
    index = int(rest[0])
    body: Any = (index, rest[1]) if kind == "error" else index
    return Message(kind, plan.tx, plan.steps[index].service, HUB, body)


class Script:
    """One orchestrator, event by event."""

    def __init__(self, plan: Plan, saga: Saga | None = None, witness: Witness | None = None) -> None:
        self.plan = plan
        self.saga = saga or Saga(policies=FEW)
        self.machine: Machine = self.saga.machine(HUB, plan.tx)
        self.witness: Witness = set() if witness is None else witness
        self.effects: list[Effect] = []

    @property
    def orchestrator(self) -> Orchestrator:
        """The machine, by its type."""
        assert isinstance(self.machine, Orchestrator)
        return self.machine

    def play(self, *events: str) -> list[Effect]:
        """Effects of the last of these events."""
        for text in events:
            before, happening = self.machine.state, event(text, self.plan)
            self.effects = self.machine.handle(happening)
            self.witness.add((type(self.machine).__name__, before, happening.kind, self.machine.state))
        return self.effects

    def sent(self) -> list[tuple[str, int]]:
        """Commands among the last effects, as (kind, step)."""
        return [(one.kind, one.body.index) for one in self.effects if isinstance(one, Message)]


class Lossy(World):
    """A world in which chosen messages are held back; they are in `held`, for later."""

    def __init__(self, saga: Saga, plan: Plan, lose: Callable[[Message], bool], **options: Any) -> None:
        self.lose = lose
        self.held: list[Message] = []
        super().__init__(saga, plan, **options)

    def _perform(self, node: Node, tx: int, effect: Effect) -> None:
        if isinstance(effect, Message) and self.lose(effect):
            self.held.append(effect)
            return
        super()._perform(node, tx, effect)

    def release(self) -> Lossy:
        """Let everything through, the held messages first, and play on."""
        self.lose = lambda _message: False
        self.network += self.held
        self.held = []
        self.drain()
        return self
