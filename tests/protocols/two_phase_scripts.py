"""Plans, messages and the verdict that the tests of two-phase commit share."""

from __future__ import annotations

from typing import Any, get_args

from simtx.protocols.contract import (
    Message,
    Operation,
    Plan,
    Step,
)
from simtx.protocols.policies import Policies
from simtx.protocols.two_phase_commit import (
    Work,
)
from tests.protocols.helpers import World

ADD = (Operation("k", "add", 1),)
READ = (Operation("k", "read"),)
REFUSE = (Operation("k", "add", 1), Operation("k", "refuse"))
WORKS = get_args(Work)
POLICIES = Policies()


def plan(*branches: tuple[Operation, ...], tx: int = 1) -> Plan:
    """One service per branch, s0, s1, ..., without an order between them."""
    steps = tuple(Step(index, f"step {index}", f"s{index}", operations) for index, operations in enumerate(branches))
    return Plan(tx, steps)


def updating(count: int, tx: int = 1) -> Plan:
    return plan(*[ADD] * count, tx=tx)


def check(world: World) -> str:
    """All-or-nothing, agreement with the client, nothing left over; the outcome of the first transaction."""
    assert world.left_over() == []
    for tx in world.plans:
        effects = set(world.net(tx).values())
        told = {*world.answers.get(tx, []), *world.decided.get(tx, [])}
        assert len(told) <= 1, f"the client and the world are told different outcomes: {told}"
        assert effects <= {0} or effects <= {1}, f"not all or nothing: {world.net(tx)}"
        if "committed" in told:
            assert effects <= {1}, f"told committed: {world.net(tx)}"
        else:
            assert effects <= {0}, f"not told committed: {world.net(tx)}"
    for name, node in world.nodes.items():
        committed = [tx for tx in world.plans if "committed" in world.decided.get(tx, [])]
        steps = [step for tx in committed for step in world.plans[tx].steps if step.service == name]
        expected = sum(one.amount for step in steps for one in step.operations if one.kind == "add")
        assert node.store.values.get("k", 0) == expected
    return next(iter(world.decided.get(1, ["unknown"])))


def vote(kind: str, sender: str, body: Any = None) -> Message:
    return Message(kind, 1, sender, "coordinator", body)


def command(kind: str, to: str, body: Any = None) -> Message:
    return Message(kind, 1, "coordinator", to, body)
