"""Machines of a real run look at what comes: what no correct peer sends is refused, and nothing else is."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

import simtx
from simtx.errors import PeerFault
from simtx.protocols import Delivery, Message, Operation, Plan, Request, Step, bodies
from simtx.protocols import strategy as resolve
from simtx.protocols.choreographed_plan import BranchEvent
from simtx.protocols.choreography import StepEvent
from simtx.protocols.contract import Machine
from simtx.protocols.extras import own_nodes

STRATEGIES = [
    "2pc",
    "2pc:work=before",
    "2pc:termination=cooperative",
    "2pc:one_phase=true",
    "2pc:presumption=commit",
    "paxos-commit",
    "paxos-commit:leader=participant",
    "paxos-commit:acceptors=nodes",
    "cornus",
    "saga",
    "tcc",
    "outbox",
    "choreography:monitor=true",
    "dual-write",
]
ADD = Operation("k", "add", 1)
STEP = Step(0, "s", "sender", (ADD,))
PLAN = Plan(1, (STEP, Step(1, "t", "receiver", (ADD,), after=(0,))))
ODD: list[Any] = [
    True,
    -1,
    0.5,
    10**30,
    float("nan"),
    [],
    {},
    (1, 2, 3),
    (None,),
    Plan(1, ()),
    Step(0, "s", "sender", (Operation("k", "explode"),)),  # type: ignore[arg-type]
    Step(0, "s", "sender", (Operation("k", amount=float("inf")),)),
    Step(-1, "s", "sender", ()),
    ((ADD, "x"), (0,)),
    ((ADD,), (-1,)),
    (0, (Operation("k", amount=10**30),)),
    StepEvent(5, 0, (1, 0, "action"), PLAN),
    StepEvent(0, -1, (1, 0, "action"), PLAN),
    StepEvent(0, 0, (1, 0, "action"), Plan(1, (STEP, STEP))),
    BranchEvent(5, 0, -1, True, (1, 0, "action"), PLAN),
    BranchEvent(0, 1, 7, True, (1, 1, "action"), PLAN),
    BranchEvent(0, 1, -1, 1, (1, 1, "action"), PLAN),  # type: ignore[arg-type]
]


def machines(name: str) -> list[Machine]:
    strategy = resolve(name, simtx.load("transfer").policies)
    return [strategy.machine(node, 1) for node in ("sender", *own_nodes(strategy))]


@pytest.mark.parametrize("name", STRATEGIES)
def test_odd_bodies_and_kinds_are_refused_whatever_the_kind(name: str) -> None:
    for machine in machines(name):
        assert machine.bodies
        tables = {row.event for row in machine.transitions}
        own = [kind for kind in tables if kind not in machine.bodies]  # timers, results of the store, requests
        for kind in (*own, "dance", ""):
            with pytest.raises(PeerFault, match="no correct peer sends such a message"):
                machine.admit(Message(kind, 1, "a", "b"))
        for kind in machine.bodies:
            for body in ODD:
                if kind == "prepare" and body == (1, 2, 3):  # numbers of steps: what it asks for before the vote
                    continue
                with pytest.raises(PeerFault, match="no correct peer sends this body"):
                    machine.admit(Message(kind, 1, "a", "b", body))


def test_a_reply_about_a_step_that_is_not_there_is_refused() -> None:
    [orchestrator] = [one for one in machines("saga") if one.role == "orchestrator"]
    orchestrator.handle(Request(1, PLAN))
    orchestrator.admit(Message("done", 1, "sender", "orchestrator", 1))
    for kind, body in (("done", 2), ("error", (7, "do"))):
        with pytest.raises(PeerFault, match="which has none"):
            orchestrator.admit(Message(kind, 1, "sender", "orchestrator", body))


def test_a_plan_has_its_steps_in_order() -> None:
    assert bodies.plan(PLAN)
    assert not bodies.plan(Plan(1, (PLAN.steps[1], STEP)))
    assert not bodies.plan(Plan(1, (Step(0, "s", "a", (), after=(0,)),)))


@pytest.mark.parametrize("name", STRATEGIES)
def test_all_that_correct_peers_send_is_let_in(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also under loss, duplication and crashes, with refusals and compensations."""
    seen: Counter[str] = Counter()
    handle = Machine.handle

    def looking(self: Machine, event: Any) -> Any:
        message = event.message if isinstance(event, Delivery) else event
        if isinstance(message, Message):
            self.admit(message)
            seen[message.kind] += 1
        return handle(self, event)

    monkeypatch.setattr(Machine, "handle", looking)
    scenario = simtx.load("checkout").replace(
        **{"run.transactions": 200, "run.warmup": 0, "network.loss": 0.02, "network.duplication": 0.02}
    )
    simtx.simulate(scenario, name)
    assert sum(seen.values()) > 200, seen
