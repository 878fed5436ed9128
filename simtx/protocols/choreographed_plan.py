"""The plan of a choreographed saga as a graph, and the events that travel along its edges; computed once for each shape of plan.

The services act on the graph of the plan with two additions, so that the client has one door and somebody knows the end:

- a step that comes after none waits for the first step, whose service the client turns to;
- a compensatable step that nothing comes after is waited for by the pivot, or by the last step of a plan without one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Final, NamedTuple

from simtx.errors import PeerFault
from simtx.protocols import bodies
from simtx.protocols.contract import Delivery, Key, Plan, Step, StepKind
from simtx.protocols.operations import writes

_FORTH: Final = ("step-done", "step-cancelled")
REPORTS: Final = ("saga-done", "saga-refused", "saga-undone")
"""Kinds of the events that the monitor gets."""


class BranchEvent(NamedTuple):
    """Body of every event of a choreographed saga.

    Attributes:
        step: The step that the receiver has to do, to undo, or never to begin; in a report, the step that is reported of.
        source: The step that reports.
        refused: The step whose refusal has led to this event, or -1.
        ran: Whether the step that reports was done, or refused: then everything before it was done. Else it was fenced before it could run.
        cause: Identity of the local transaction that led to this event: (transaction, step, ``action`` or ``compensation``).
        plan: The business transaction.
    """

    step: int
    source: int
    refused: int
    ran: bool
    cause: Key
    plan: Plan


def a_branch_event(body: Any) -> bool:
    """Return whether this is the form of such a body."""
    return (
        isinstance(body, BranchEvent)
        and all(map(bodies.index, (body.step, body.source)))
        and (type(body.refused), type(body.ran), type(body.cause)) == (int, bool, tuple)
        and bodies.plan(body.plan)
        and -1 <= body.refused < len(body.plan.steps)
        and max(body.step, body.source) < len(body.plan.steps)
    )


BRANCH_EVENTS: Final[dict[str, bodies.Form]] = dict.fromkeys((*_FORTH, "step-refused"), a_branch_event)
"""Forms of the bodies of events between services."""
REPORT_EVENTS: Final[dict[str, bodies.Form]] = dict.fromkeys(REPORTS, a_branch_event)
"""Forms of the bodies of events for the monitor."""


def accepted_branch_event(delivery: Delivery, node: str) -> BranchEvent:
    """The body of a delivered event.

    Raises:
        PeerFault: The event does not belong to this node, or does not come from a neighbour of its step.
    """
    body, tx = delivery.message.body, delivery.message.tx
    if not isinstance(body, BranchEvent):  # what is in it was looked at before (`a_branch_event`)
        raise PeerFault(f"{node}: event '{delivery.kind}' of transaction {tx} carries no step of a choreographed saga")
    steps = body.plan.steps
    if not 0 <= body.step < len(steps) or steps[body.step].service != node:
        raise PeerFault(
            f"{node}: event '{delivery.kind}' of transaction {tx} is about step {body.step}, which is not a step of this service"
        )
    graph = graph_of(steps)
    if body.source not in (graph.before if delivery.kind in _FORTH else graph.after)[body.step]:
        raise PeerFault(
            f"{node}: event '{delivery.kind}' of transaction {tx} comes from step {body.source}, which is no neighbour of step {body.step}"
        )
    return body


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """Graph of the steps: which wait for which.

    Attributes:
        before: For each step the steps that it waits for.
        after: For each step the steps that wait for it.
        ancestors: For each step all steps before it, directly or not.
    """

    before: tuple[tuple[int, ...], ...]
    after: tuple[tuple[int, ...], ...]
    ancestors: tuple[frozenset[int], ...]

    @property
    def ends(self) -> tuple[int, ...]:
        """Steps that nothing waits for."""
        return tuple(index for index, behind in enumerate(self.after) if not behind)


def graph_of(steps: tuple[Step, ...]) -> Graph:
    """The graph of these steps, which are listed in a topological order."""
    return _graph(tuple([step.after for step in steps]), tuple([step.kind for step in steps]))


@cache
def _graph(listed: tuple[tuple[int, ...], ...], kinds: tuple[StepKind, ...]) -> Graph:
    before = [tuple(dict.fromkeys(one)) or ((0,) if index else ()) for index, one in enumerate(listed)]
    end = kinds.index("pivot") if "pivot" in kinds else len(kinds) - 1
    awaited = {one for waiting in before for one in waiting}
    before[end] += tuple(index for index in range(end) if kinds[index] == "compensatable" and index not in awaited)
    after: list[list[int]] = [[] for _ in before]
    ancestors: list[frozenset[int]] = []
    for index, waiting in enumerate(before):
        ancestors.append(frozenset(waiting).union(*(ancestors[one] for one in waiting)))
        for one in waiting:
            after[one].append(index)
    return Graph(tuple(before), tuple(map(tuple, after)), tuple(ancestors))


def plan_problem(plan: Plan, monitor: str = "") -> str | None:
    """One line that says why this plan cannot be played as a choreographed saga, or None.

    Args:
        plan: The business transaction.
        monitor: Name of the monitor's node, if there is one; no service may bear it.
    """
    steps = plan.steps
    if not steps:
        return "the transaction has no steps; it needs at least one"
    for position, step in enumerate(steps):
        if step.index != position or any(not 0 <= index < position for index in step.after):
            return f"step '{step.name}' is not in a topological order: steps are numbered from 0 and come after the ones in `after`"
        if monitor and step.service == monitor:
            return f"a service is named '{monitor}', which is the name of the monitor: give the service another name"
    pivots = [step for step in steps if step.kind == "pivot"]
    if len(pivots) > 1:
        names = ", ".join(f"'{step.name}'" for step in pivots)
        return f"steps {names} are all pivots; a saga has at most one point of no return"
    graph = graph_of(steps)
    for step in steps:
        if problem := _misplaced(step, pivots[0] if pivots else None, graph):
            return problem
    return None


def _misplaced(step: Step, pivot: Step | None, graph: Graph) -> str | None:
    if step.kind == "retriable" and (pivot is None or pivot.index not in graph.ancestors[step.index]):
        return f"step '{step.name}' is retriable, but does not come after a pivot, so nothing could undo it"
    if step.kind != "compensatable":
        return None
    if pivot is not None and step.index not in graph.ancestors[pivot.index]:
        return (
            f"step '{step.name}' is compensatable, but the pivot '{pivot.name}' does not come after it; "
            'a step after the pivot has kind = "retriable"'
        )
    if not step.compensation and writes(step.operations):
        return f"step '{step.name}' changes data and has no compensation; give it one, or make it the pivot"
    return None
