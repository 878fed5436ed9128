"""Permutations of participants, applied to interned states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from simtx.checker.explorer.interning import by_number
from simtx.checker.protocols.layout import REQUESTS, VARIANT_SHIFT, WAIT_SHIFT
from simtx.checker.protocols.renaming import Index, Renaming
from simtx.protocols import Plan

if TYPE_CHECKING:
    from simtx.checker.protocols.steps import Steps

Places: TypeAlias = tuple[int, ...]
Parts: TypeAlias = tuple[tuple[int, ...], tuple[int, ...], int, int]


def marked(plans: Sequence[Plan]) -> tuple[Plan, ...]:
    """The plans with indexes that can be told from other numbers."""
    return tuple(
        replace(
            plan,
            steps=tuple(
                replace(step, index=Index(step.index), after=tuple(map(Index, step.after))) for step in plan.steps
            ),
        )
        for plan in plans
    )


def nodes_by_step(model: Steps) -> frozenset[str]:
    """Names of the nodes whose machines keep something by step."""
    return frozenset(name for name in model.nodes if model.strategy.machine(name, 0).by_step)


class Exchange:
    """One renaming, applied to the numbers that states are made of.

    Args:
        model: The model.
        names: For each participant, its name, the name of its step, and the keys that only this step changes.
        kinds: For each participant, the number of its class, or -1.
        places: For each participant, whose place it takes.

    Attributes:
        renaming: The renaming of values.
        nodes: Whose place each node takes.
    """

    def __init__(self, model: Steps, names: Sequence[tuple[str, ...]], kinds: Sequence[int], places: Places) -> None:
        self.renaming = Renaming(names, places, kinds, nodes_by_step(model))
        self.nodes = (*places, *range(len(places), len(model.nodes)))
        self._model = model

    def event(self, event: Any) -> Any:
        """An event; the client's request asks for the plan in which another step is refused."""
        requests = self._model.requests
        for variant, known in enumerate(requests):
            for tx, request in enumerate(known):
                if event == request:
                    return requests[self.variant(variant)][tx]
        return self.renaming.value(event)

    def variant(self, variant: int) -> int:
        """A variant of the plan."""
        variants = self._model.variants
        wanted = [parts_of(self.renaming.value(plan)) for plan in variants[variant][1]]
        for number, (_, plans) in enumerate(variants):
            if [parts_of(plan) for plan in plans] == wanted:
                return number
        return -1

    @by_number
    def local(self, number: int) -> int:
        """The number of a local state, renamed."""
        known = self._model.locals
        return known.freeze(self.renaming.node(known.thaw(number)))

    @by_number
    def item(self, number: int) -> int:
        """The number of what is in flight."""
        item = self._model.items[number]
        node = self.nodes[item.node]
        event, message = self.renaming.value(item.event), self.renaming.value(item.message)
        return self._model.reactions.items.of(replace(item, node=node, event=event, message=message))

    @by_number
    def seen(self, number: int) -> int:
        """The number of what was observed."""
        seen = self._model.observations[number]
        stuck = frozenset((self.nodes[node], tx) for node, tx in seen.stuck)
        return self._model.reactions.observations.of(seen._replace(stuck=stuck))

    @by_number
    def rest(self, rest: int) -> int:
        """The last part of a state."""
        model = self._model
        if rest & REQUESTS:
            variant = self.variant(rest >> VARIANT_SHIFT & REQUESTS)
            rest = rest & ~(REQUESTS << VARIANT_SHIFT) | variant << VARIANT_SHIFT
        count, fired = model.reactions.rounds.values[rest >> WAIT_SHIFT]
        turns = (count, frozenset((self.nodes[node], tx, self.renaming.value(name)) for node, tx, name in fired))
        return rest & (1 << WAIT_SHIFT) - 1 | model.reactions.rounds.of(turns) << WAIT_SHIFT

    def parts(self, nodes: Places, net: Places, seen: int, rest: int) -> Parts:
        """The parts of a state in which nothing is at a broker."""
        moved = [0] * len(nodes)
        for node, local in zip(self.nodes, nodes, strict=True):
            moved[node] = self.local(local)
        return tuple(moved), tuple(sorted(map(self.item, net))), self.seen(seen), self.rest(rest)


def parts_of(plan: Plan) -> frozenset[Any]:
    """The steps of a plan, without their order."""
    return frozenset((step.index, step.service, step.operations, step.compensation, step.kind) for step in plan.steps)


def swap(count: int, one: int, other: int) -> Places:
    """Two participants change places."""
    places = list(range(count))
    places[one], places[other] = other, one
    return tuple(places)
