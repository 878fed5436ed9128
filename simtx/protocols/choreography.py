"""Choreography: the services of a transaction pass events from one to the next, and nobody directs them.

Theory of operation. The steps form a **chain**: they are done one after the other in the order of their indexes (a topological order). This is so
also where the plan would allow some of them in parallel. A service that has done step i reports to the service of step i + 1 (``step-done``).
A service whose step is refused reports to the service of the step before (``step-refused``); that one undoes its step and passes the event
on to the one before it, until step 0 is undone. Only the service of the first step talks to the client, and all it can promise is that
the request is *accepted*: no node knows the end.

Each event carries the whole plan, what caused it, and how many hops the chain has made; an event with more hops than
`Policies.maximum_hops` goes no further, so that no cycle is endless.

The **point of no return** is the pivot; in a plan without one, it is the last step. Steps behind the pivot must not be refused, for
nothing leads back from there.

This module holds what `simtx.protocols.outbox` (the chain done right) and `simtx.protocols.dual_write` (the naive baseline) share.

Known weakness: like every saga it is not isolated, others see and use the intermediate states. A chain costs the sum of its hops; an
orchestrator runs independent steps in parallel.

Sources: Garcia-Molina and Salem, "Sagas", SIGMOD 1987 (compensation, backward and forward recovery); Richardson, "Microservices
Patterns", 2018, chapters 3 and 4 (choreography, pivot, transactional outbox).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, NamedTuple

from simtx.errors import PeerFault
from simtx.protocols import bodies
from simtx.protocols.bodies import Form
from simtx.protocols.built_in import DEFAULT_POLICIES, BuiltIn
from simtx.protocols.contract import (
    Alert,
    Delivery,
    Effect,
    Key,
    Machine,
    Message,
    Plan,
    Promise,
    SetTimer,
    Step,
)
from simtx.protocols.operations import writes
from simtx.protocols.policies import Policies

FROM_CLIENT: Final = -1
"""In place of a delivery's id: the client's request is being worked on, and the client waits for the answer."""
NOBODY: Final = -2
"""In place of a delivery's id: nobody waits, neither the client nor the broker."""

_MOST_HOPS: Final = 2**31


class StepEvent(NamedTuple):
    """Body of every choreographed event.

    Attributes:
        step: The step that the receiver has to do (``step-done``) or to undo (``step-refused``).
        hops: How many events the chain has seen, this one included.
        cause: Identity of the local transaction that led to this event: (transaction, step, ``action`` or ``compensation``).
        plan: The business transaction.
    """

    step: int
    hops: int
    cause: Key
    plan: Plan


def an_event(body: Any) -> bool:
    """Return whether this is the form of such a body."""
    return (
        isinstance(body, StepEvent)
        and bodies.index(body.step)
        and type(body.hops) is int
        and 0 <= body.hops < _MOST_HOPS
        and type(body.cause) is tuple
        and bodies.plan(body.plan)
        and body.step < len(body.plan.steps)
    )


EVENTS: Final[dict[str, Form]] = dict.fromkeys(("step-done", "step-refused", "completed"), an_event)
"""Forms of the bodies of events."""


def accepted_event(delivery: Delivery, node: str) -> StepEvent:
    """The body of a delivered event.

    Raises:
        PeerFault: The event does not belong to this node.
    """
    body = delivery.message.body
    if not isinstance(body, StepEvent):  # what is in it was looked at before (`an_event`)
        raise PeerFault(f"{node}: event '{delivery.kind}' of transaction {delivery.message.tx} carries no step")
    steps = body.plan.steps
    if not 0 <= body.step < len(steps) or steps[body.step].service != node:
        raise PeerFault(
            f"{node}: event '{delivery.kind}' of transaction {delivery.message.tx} is about step {body.step}, which is not a step of this service"
        )
    return body


def requested_plan(plan: Plan | None, node: str) -> Plan:
    """The plan of a client's request.

    Raises:
        PeerFault: There is none, or its first step belongs to another service.
    """
    if plan is None or not plan.steps or plan.steps[0].service != node:
        raise PeerFault(f"{node}: a request must carry a plan whose first step is a step of this service")
    return plan


def is_point_of_no_return(steps: tuple[Step, ...], index: int) -> bool:
    """Return whether the transaction can no longer be undone once this step is done: the pivot, or the last step of a plan without one."""
    kind = steps[index].kind
    return kind == "pivot" or (kind == "compensatable" and index + 1 == len(steps))


def chain_problem(plan: Plan, policies: Policies, *, closing: bool = False) -> str | None:
    """One line that says why this plan cannot be played as a chain of events, or None.

    Args:
        plan: The business transaction.
        policies: Its `maximum_hops` has to suffice for the longest way forth and back.
        closing: Whether the last service sends one more event to the first.
    """
    steps = plan.steps
    if not steps:
        return "the transaction has no steps; it needs at least one"
    pivot: Step | None = None
    for position, step in enumerate(steps):
        if step.index != position or any(not 0 <= index < position for index in step.after):
            return f"step '{step.name}' is not in a topological order: steps are numbered from 0 and come after the ones in `after`"
        if pivot is not None and step.kind != "retriable":
            return f"step '{step.name}' is {step.kind}, but events visit the steps in the order of their indexes, and all steps behind the pivot '{pivot.name}' must be retriable"
        if step.kind == "pivot":
            pivot = step
        elif step.kind == "retriable":
            if pivot is None:
                return f"step '{step.name}' is retriable, but does not come after a pivot, so nothing could undo it"
        elif not step.compensation and writes(step.operations):
            return f"step '{step.name}' changes data and has no compensation; give it one, or make it the pivot"
    last_refusable = pivot.index if pivot is not None else len(steps) - 1
    hops = max(len(steps) - 1 + closing, 2 * last_refusable)
    if hops > policies.maximum_hops:
        return f"its {len(steps)} steps need up to {hops} events in a row, but policies.maximum_hops is {policies.maximum_hops}"
    return None


class ChainService(Machine):
    """One service's part in one choreographed transaction: which step it works on, and for whom.

    Args:
        node: The service.
        tx: The transaction.
        policies: Retries, and the limit of hops.

    Attributes:
        plan: The business transaction, once a request or an event has brought it.
        index: The step that is worked on.
        hops: How many events the chain has seen until then.
        undoing: Whether the step is undone, and not done.
        origin: Id of the delivery that is worked on, `FROM_CLIENT` or `NOBODY`.
        attempt: How often what is tried at present has failed.
    """

    __slots__ = ("attempt", "hops", "index", "origin", "plan", "policies", "undoing")

    role: ClassVar[str] = "service"
    initial: ClassVar[str] = "idle"
    bodies: ClassVar[Mapping[str, Form]] = EVENTS

    def __init__(self, node: str, tx: int, policies: Policies) -> None:
        self.node = node
        self.tx = tx
        self.state = "idle"
        self.policies = policies
        self.plan: Plan | None = None
        self.index = 0
        self.hops = 0
        self.undoing = False
        self.origin = NOBODY
        self.attempt = 0

    def _event(self, kind: str, index: int) -> Message:
        """An event to the service of another step."""
        plan = self.plan
        assert plan is not None  # noqa: S101 - an invariant: a machine that works has a plan
        cause = (self.tx, self.index, "compensation" if self.undoing else "action")
        return Message(
            kind, self.tx, self.node, plan.steps[index].service, StepEvent(index, self.hops + 1, cause, plan)
        )

    def _steps(self) -> tuple[Step, ...]:
        plan = self.plan
        assert plan is not None  # noqa: S101 - as above
        return plan.steps

    def _what(self) -> str:
        """Description of the work of this machine, for alerts."""
        name = self._steps()[self.index].name
        return f"transaction {self.tx} on {self.node}, {'compensation of ' if self.undoing else ''}step '{name}'"

    def _too_many_hops(self) -> str:
        """Reason why the event that has just come goes no further; empty if it does."""
        most = self.policies.maximum_hops
        if self.hops <= most:
            return ""
        return f"{self._what()}: event {self.hops} in a row, but policies.maximum_hops is {most}"

    def _refused_for_good(self) -> str:
        return f"{self._what()}: refused, although the step is retriable; a step behind the pivot must not be refused"

    def _wait(self, task: str = "") -> list[Effect]:
        """Try again after a back-off; an alert says so once, after a while.

        Args:
            task: What has failed, if it is neither the step nor its compensation: nobody can refuse it.
        """
        self.state = "waiting"
        effects: list[Effect] = [SetTimer("backoff", 0.0, self.policies.backoff.bound(self.attempt))]
        self.attempt += 1
        if self.attempt == self.policies.alert_after:
            often = f"failed {self.attempt} times to {task}" if task else f"refused or failed {self.attempt} times"
            effects.append(Alert(f"{self._what()}: {often}, goes on trying"))
        return effects


@dataclass(frozen=True, kw_only=True)
class ChoreographyStrategy(BuiltIn):
    """Common part of the strategies `Outbox` and `DualWrite`: a chain of services, a broker, and no hub.

    Attributes:
        policies: Timeouts and retries; None: those of the scenario.
    """

    policies: Policies | None = None

    promise: ClassVar[Promise] = "accepted"
    uses_broker: ClassVar[bool] = True
    hub: ClassVar[str | None] = None
    timeouts: ClassVar = ("publish_timeout",)

    def check(self, plan: Plan) -> str | None:
        """One line that says why this plan cannot be played as a chain, or None."""
        return chain_problem(plan, self.policies or DEFAULT_POLICIES)
