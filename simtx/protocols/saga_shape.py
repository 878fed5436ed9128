"""Order of a plan's steps, as an orchestrator needs it; computed once for each shape of plan.

A million transactions of one kind differ in keys and amounts, never in their dependency graph. So the successors and the pivot are
cached for each distinct pair of dependencies and kinds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from simtx.protocols.contract import Append, Plan, Step, StepKind
from simtx.protocols.operations import writes


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """The dependency graph of a plan; there is one object for each distinct graph, so identity is equality.

    Attributes:
        before: For each step the steps that it comes after.
        kinds: For each step its kind.
        next: For each step the steps that come directly after it.
        roots: Steps that come after none.
        pivot: Index of the pivot, or -1.
        done: For each step the forced record that it is done, ready to be used by every transaction.
    """

    before: tuple[tuple[int, ...], ...]
    kinds: tuple[StepKind, ...]
    next: tuple[tuple[int, ...], ...]
    roots: tuple[int, ...]
    pivot: int
    done: tuple[Append, ...]

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by what determines it, so that a copy in another process is that process's one object."""
        return _shape, (self.before, self.kinds)


def shape_of(steps: tuple[Step, ...]) -> Shape:
    """The shape of these steps, which are listed in a topological order."""
    # A list first: a tuple of a generator takes three times as long.
    return _shape(tuple([step.after for step in steps]), tuple([step.kind for step in steps]))


@cache
def _shape(before: tuple[tuple[int, ...], ...], kinds: tuple[StepKind, ...]) -> Shape:
    following: list[list[int]] = [[] for _ in before]
    for index, predecessors in enumerate(before):
        for predecessor in dict.fromkeys(predecessors):
            following[predecessor].append(index)
    return Shape(
        before=before,
        kinds=kinds,
        next=tuple(tuple(indexes) for indexes in following),
        roots=tuple(index for index, predecessors in enumerate(before) if not predecessors),
        pivot=kinds.index("pivot") if "pivot" in kinds else -1,
        done=tuple(Append(("done", index)) for index in range(len(before))),
    )


def check_plan(plan: Plan, hub: str) -> str | None:
    """One line that says why this plan cannot be played as a saga, or None.

    Args:
        plan: The plan to look at.
        hub: Name of the orchestrator's node, which no service may bear.
    """
    steps = plan.steps
    if not steps:
        return "the transaction has no steps; a saga needs at least one"
    for position, step in enumerate(steps):
        if step.index != position or any(not 0 <= index < position for index in step.after):
            return f"step '{step.name}' is not in a topological order: steps are numbered from 0 and come after the ones in `after`"
        if step.service == hub:
            return f"step '{step.name}' is on a service named '{hub}', which is the name of the saga's own node; name it otherwise"
    pivots = [step for step in steps if step.kind == "pivot"]
    if len(pivots) > 1:
        names = ", ".join(f"'{step.name}'" for step in pivots)
        return f"steps {names} are all pivots; a saga has at most one point of no return"
    return _misplaced(steps, pivots[0] if pivots else None) or _irreversible(steps)


def _misplaced(steps: tuple[Step, ...], pivot: Step | None) -> str | None:
    if pivot is None:
        for step in steps:
            if step.kind == "retriable":
                return f"step '{step.name}' is retriable, but the transaction has no pivot; mark the point of no return with kind = \"pivot\""
        return None
    earlier = _ancestors(steps, pivot.index)
    for step in steps:
        if step.kind == "compensatable" and step.index not in earlier:
            return (
                f"step '{step.name}' is compensatable, but the pivot '{pivot.name}' does not come after it; "
                'a step after the pivot has kind = "retriable"'
            )
        if step.kind == "retriable" and pivot.index not in _ancestors(steps, step.index):
            return f"step '{step.name}' is retriable, but does not come after the pivot '{pivot.name}', so nothing could undo it"
    return None


def _irreversible(steps: tuple[Step, ...]) -> str | None:
    for step in steps:
        if step.kind == "compensatable" and not step.compensation and writes(step.operations):
            return f"step '{step.name}' changes data and has no compensation; give it one, or make it the pivot"
    return None


def _ancestors(steps: tuple[Step, ...], index: int) -> set[int]:
    found: set[int] = set()
    ahead = list(steps[index].after)
    while ahead:
        predecessor = ahead.pop()
        if predecessor not in found:
            found.add(predecessor)
            ahead.extend(steps[predecessor].after)
    return found
