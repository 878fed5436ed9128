"""Stores beside what was asked of them: each change of a value is the work of an effect, and each effect that acts is the work of the plan.

Replay shows that a machine asks for what its strategy asks for; it does not show that this is what the client wanted, nor that the store has done it. An ``apply`` entry
holds the values before and after. They must be what the operations of an effect with these steps make of them. They must also be what the plan calls for in these steps or in undoing them; nothing
that the plan refuses may be done. In the log of a simulated run the value before a change is also the value after the one before; a real store numbers its changes itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from simtx.event_log.entries import Applied, Arrived, EntryError
from simtx.event_log.log import LogEntry
from simtx.protocols import Effect, Execute, Operation, Plan, Prepare, Transact

_NEAR: Final = 1e-6


class Contents:
    """Requests to the stores so far, and their contents.

    Args:
        reserves: Whether the strategy's steps reserve what the plan changes (`simtx.protocols.extras.Extras`).
    """

    __slots__ = ("_asked", "_plans", "_reserves", "_undoing", "_values")

    def __init__(self, *, reserves: bool = False) -> None:
        self._reserves = reserves
        self._plans: dict[int, list[tuple[str, tuple[Operation, ...]]]] = {}
        self._undoing: dict[int, list[tuple[Operation, ...]]] = {}
        self._asked: defaultdict[tuple[str, int], dict[tuple[Any, ...], Sequence[Operation]]] = defaultdict(dict)
        self._values: dict[tuple[str, str], float] = {}

    def arrived(self, entry: LogEntry) -> None:
        """A client asks for a transaction, with this plan."""
        try:
            self._plans[entry.tx] = Arrived.read(entry).operations()
        except (
            EntryError,
            TypeError,
            ValueError,
        ):  # the request that follows does not fit it either, which is found there
            self._plans.pop(entry.tx, None)

    def requested(self, plan: Plan) -> None:
        """A machine gets a client's request: its plan says what undoes each step."""
        self._undoing[plan.tx] = [step.compensation for step in plan.steps]

    def asked(self, entry: LogEntry, effects: Iterable[Effect]) -> None:
        """A machine asks for these effects."""
        for one in effects:
            if isinstance(one, Transact | Execute | Prepare):
                undoes = isinstance(one, Transact) and one.compensation
                branch = not isinstance(one, Transact)
                key = (branch, undoes, tuple(one.steps), tuple(one.operations))
                self._asked[entry.node, entry.tx][key] = one.operations

    def applied(self, entry: LogEntry) -> Iterator[str]:
        """Findings about a change of a store."""
        try:
            applied = Applied.read(entry)
            changes = {key: (float(old), float(new)) for key, (old, new) in applied.values.items()}
            steps = [int(step) for step in applied.steps]
        except (EntryError, TypeError, ValueError, AttributeError) as error:
            yield f"the '{entry.kind}' entry cannot be read: {error!r}"
            return
        if applied.history < 0:
            for key, (old, new) in changes.items():
                known = self._values.get((entry.node, key))
                if known is not None and not _equal(known, old):
                    yield f"'{key}' is said to have been {old:g}, and was {known:g} after the change before"
                self._values[entry.node, key] = new
        undoes = entry.name == "compensation"
        asked = self._candidates(entry, steps, undoes=undoes)
        if asked and not any(_fits(changes, operations) for operations in asked):
            yield f"{_told(changes)} is not what any effect of its machine asks for as {_named(steps)}"
        plan = self._plans.get(entry.tx)
        if plan is None or not steps:  # without steps it finishes what an earlier local transaction has begun
            return
        if any(not 0 <= step < len(plan) or plan[step][0] != entry.node for step in steps):
            yield f"{_named(steps)} of its plan is not of {entry.node}"
            return
        undoing = self._undoing.get(entry.tx)
        if undoes and (undoing is None or len(undoing) != len(plan)):
            return
        wanted = [one for step in steps for one in (undoing[step] if undoes and undoing else plan[step][1])]
        if any(one.kind == "refuse" for one in wanted):
            yield f"{_named(steps)} is done, and its plan is to be refused there"
        elif not self._reserves and not _fits(changes, wanted):
            yield f"{_told(changes)} is not what its plan calls for {'to undo' if undoes else 'as'} {_named(steps)}"

    def _candidates(self, entry: LogEntry, steps: Sequence[int], *, undoes: bool) -> list[Sequence[Operation]]:
        """The operations of each effect whose work this may be; those of a branch are joined."""
        found: list[Sequence[Operation]] = []
        branches: list[Sequence[Operation]] = []
        for (branch, compensation, named, _), operations in self._asked.get((entry.node, entry.tx), {}).items():
            if branch and not undoes and set(named) <= set(steps):
                branches.append(operations)
            if compensation == undoes and set(steps) <= set(named):
                found.append(operations)
        if len(branches) > 1:
            found.append([one for operations in branches for one in operations])
        return found


def _fits(changes: Mapping[str, tuple[float, float]], operations: Iterable[Operation]) -> bool:
    """Return whether these operations make these changes."""
    values = {key: old for key, (old, _) in changes.items()}
    for one in operations:
        if one.kind in ("add", "set"):
            if one.key not in values:
                return False
            values[one.key] = one.amount if one.kind == "set" else values[one.key] + one.amount
    return all(_equal(values[key], new) and (key in _written(operations)) for key, (_, new) in changes.items())


def _written(operations: Iterable[Operation]) -> set[str]:
    return {str(one.key) for one in operations if one.kind in ("add", "set")}


def _equal(one: float, other: float) -> bool:
    return abs(one - other) <= _NEAR * max(1.0, abs(one), abs(other))


def _told(changes: Mapping[str, tuple[float, float]]) -> str:
    return "the change of " + ", ".join(f"'{key}' from {old:g} to {new:g}" for key, (old, new) in changes.items())


def _named(steps: Sequence[int]) -> str:
    return f"step{'s' if len(steps) > 1 else ''} {', '.join(map(str, steps))}"
