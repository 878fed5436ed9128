"""Renames participants in a value, and sorts those that are interchangeable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from simtx.checker.protocols.program import Node
from simtx.protocols import Machine, Step


class Index(int):
    """Index of a step, told apart from other numbers so that it can be renamed along with the participant of the step."""

    __slots__ = ()


class Renaming:
    """Participants take each other's places, in names of services and steps and in indexes of steps.

    A value is brought into a normal form on the way: in lists and tuples, the names, indexes and steps of participants that are alike
    are sorted among their places. What depends on their order is thereby lost, deliberately; `simtx.checker.protocols.symmetry` checks that
    nothing does. What a machine keeps by step (`Machine.by_step`) is not sorted: each entry goes where its step goes. Where
    such a field holds the index of one step, that of the first of its class stands for all. Which of them it was is lost, too.

    Args:
        names: For each participant, its name, the name of its step, and the keys that only this step changes.
        places: For each participant, whose place it takes; nobody's (-1) makes it anonymous.
        kinds: For each participant, the number of the class of those that are like it, or -1.
        by_step: Names of the nodes whose machines keep something by step.
    """

    def __init__(
        self,
        names: Sequence[tuple[str, ...]],
        places: Sequence[int],
        kinds: Sequence[int],
        by_step: frozenset[str] = frozenset(),
    ) -> None:
        self._kinds = kinds
        self._by_step = by_step
        self._places = tuple(places)
        self._first = [kinds.index(kind) if kind >= 0 else member for member, kind in enumerate(kinds)]
        self._indexes = tuple(map(Index, places))
        self._names: dict[str, str] = {}
        self._of_name: dict[str, int] = {}
        for participant, known in enumerate(names):
            place = places[participant]
            for position, name in enumerate(known):
                self._names[name] = names[place][position] if place >= 0 else "?" * (position + 1)
            self._of_name[known[0]] = participant
        self.mentioned: set[int] = set()

    def value(self, value: Any) -> Any:
        """The renamed value, in normal form. `mentioned` grows by the participants that it mentions."""
        kind = type(value)
        if kind is str:
            if value in self._of_name:
                self.mentioned.add(self._of_name[value])
            return self._names.get(value, value)
        if kind is Index:
            if value < 0:
                return value
            self.mentioned.add(int(value))
            return self._indexes[value]
        if kind is list or kind is tuple:
            return kind(self._sequence(value))
        if kind is dict:
            return {self.value(key): self.value(one) for key, one in value.items()}
        if kind is set or kind is frozenset:
            return kind(map(self.value, value))
        if isinstance(value, tuple):
            return kind(*map(self.value, value))
        if is_dataclass(value) and kind.__dataclass_params__.eq:
            return self._instance(value)
        return value  # as it is; what equals nothing but itself, such as the shape of a plan, is no value that could be renamed

    def _sequence(self, values: Sequence[Any]) -> list[Any]:
        renamed = [self.value(value) for value in values]
        places: dict[tuple[type, int], list[int]] = {}
        for position, value in enumerate(values):
            participant = self._participant(value)
            if participant >= 0 and self._kinds[participant] >= 0:
                places.setdefault((type(value), self._kinds[participant]), []).append(position)
        for positions in places.values():
            if len(positions) > 1:
                ordered = sorted((renamed[position] for position in positions), key=_rank)
                for position, value in zip(positions, ordered, strict=True):
                    renamed[position] = value
        return renamed

    def _participant(self, value: Any) -> int:
        kind = type(value)
        if kind is str:
            return self._of_name.get(value, -1)
        if kind is Index:
            return int(value)
        return int(value.index) if kind is Step else -1

    def _instance(self, value: Any) -> Any:
        changes = {}
        for one in fields(value):
            old = getattr(value, one.name)
            new = self.value(old)
            if new is not old and new != old:
                changes[one.name] = new
        if not changes:
            return value
        twin = object.__new__(type(value))
        for one in fields(value):
            object.__setattr__(twin, one.name, changes.get(one.name, getattr(value, one.name)))
        return twin

    def machine(self, machine: Machine) -> Machine:
        """A renamed copy of a machine."""
        twin = machine.clone()
        for base in type(machine).__mro__:
            for name in getattr(base, "__slots__", ()):
                value = getattr(machine, name)
                setattr(twin, name, self._of_steps(value) if name in machine.by_step else self.value(value))
        return twin

    def _of_steps(self, value: Any) -> Any:
        """Entries by step, each in the place of its step, those of nobody sorted; or the index of a step, of which its class is left."""
        count = len(self._places)
        if isinstance(value, int):
            return self._first[value] if 0 <= value < count else value
        if not isinstance(value, list | tuple) or len(value) != count:
            return self.value(value)
        entries = [self.value(one) for one in value]
        self.mentioned.update(range(count))
        moved: dict[int, Any] = {}
        nameless: dict[int, list[Any]] = {}
        for member, place in enumerate(self._places):
            if place >= 0:
                moved[place] = entries[member]
            else:
                nameless.setdefault(self._kinds[member], []).append(entries[member])
        for kind, others in nameless.items():
            free = [place for place in range(count) if self._kinds[place] == kind and place not in moved]
            moved.update(zip(free, sorted(others, key=repr), strict=True))
        return type(value)(moved[place] for place in range(count))

    def _record(self, record: Any) -> Any:
        """A record of a machine that keeps things by step."""
        count = len(self._places)
        return tuple(self.value(Index(one) if type(one) is int and one < count else one) for one in record)

    def node(self, node: Node) -> Node:
        """A node, renamed in place."""
        by_step = node.name in self._by_step
        node.name = self.value(node.name)
        for actor in node.actors.values():
            actor.machine = self.machine(actor.machine)
            actor.timers = self.value(actor.timers)
        store = node.store
        for one in fields(store):
            if one.name != "log" or not by_step:
                setattr(store, one.name, self.value(getattr(store, one.name)))
        if by_step:
            store.log = [(tx, self._record(record), durable) for tx, record, durable in store.log]
        return node


def _rank(value: Any) -> Any:
    """Key that names, indexes or steps are sorted by."""
    return (value.index, repr(value)) if type(value) is Step else value
