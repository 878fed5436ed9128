"""The parts of a scripted world: a little store, a node, and plans to play."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from simtx.protocols.contract import Effect, Event, Key, LogOnce, Machine, Message, Operation, Plan, Record, Step
from simtx.protocols.operations import after


def chain(*services: str, tx: int = 1, operations: dict[str, tuple[Operation, ...]] | None = None) -> Plan:
    """A plan of sequential compensatable steps, one per service, each adding 1 to its key ``k`` unless told otherwise."""
    steps = []
    for index, service in enumerate(services):
        work = (operations or {}).get(service, (Operation("k", "add", 1),))
        undo = tuple(Operation(one.key, "add", -one.amount) for one in work if one.kind == "add")
        after = (index - 1,) if index else ()
        steps.append(Step(index, f"step {index}", service, work, undo, "compensatable", after))
    return Plan(tx, tuple(steps))


@dataclass(slots=True)
class Applied:
    """One local transaction whose operations took effect for good."""

    node: str
    tx: int
    steps: tuple[int, ...]
    compensation: bool


@dataclass(slots=True)
class Workspace:
    """An open or prepared branch: new values, and what commits with them."""

    values: dict[str, float]
    keys: set[str]
    steps: tuple[int, ...]
    key: Key | None = None
    record: Record | None = None


@dataclass(slots=True)
class Row:
    """One outbox row."""

    id: int
    message: Message
    marked: bool = False


@dataclass(slots=True)
class Store:
    """A little store: numbers, idempotency rows, outbox rows, open and prepared branches with exclusive locks."""

    values: dict[str, float]
    rows: dict[Key, Any] = field(default_factory=dict)
    outbox: list[Row] = field(default_factory=list)
    open: dict[int, Workspace] = field(default_factory=dict)
    prepared: dict[int, Workspace] = field(default_factory=dict)

    def locked(self, tx: int, keys: Iterable[str]) -> bool:
        """Return whether another transaction holds one of these keys."""
        held = set(keys)
        branches = (*self.open.items(), *self.prepared.items())
        return any(owner != tx and held & branch.keys for owner, branch in branches)

    def play(self, operations: Iterable[Operation], base: dict[str, float] | None = None) -> dict[str, float] | None:
        """New values after these operations on top of `base`; None if a guard refuses."""
        new = dict(base or {})
        for one in operations:
            value = after(one, new.get(one.key, self.values.get(one.key, 0.0)))
            if value is None:
                return None
            if one.kind != "read":
                new[one.key] = value
        return new


@dataclass(slots=True)
class Node:
    """One node: machines and timers (volatile), log and store (durable), and undo actions of what is not durable yet."""

    name: str
    store: Store
    up: bool = True
    epoch: int = 0
    machines: dict[int, Machine] = field(default_factory=dict)
    programs: dict[int, deque[Effect]] = field(default_factory=dict)
    inbox: dict[int, deque[Event]] = field(default_factory=dict)
    timers: dict[tuple[int, str], float] = field(default_factory=dict)
    log: dict[int, list[Record]] = field(default_factory=dict)
    lazies: list[Callable[[], None]] = field(default_factory=list)

    def idle(self, tx: int) -> bool:
        """Return whether this transaction's machine may handle its next event."""
        return self.up and not self.programs.get(tx) and not self.inbox.get(tx)


@dataclass(slots=True)
class Asked:
    """A request on its way to the vote store."""

    node: str
    epoch: int
    tx: int
    effect: LogOnce


@dataclass(slots=True)
class Publication:
    """A message on its way to the broker."""

    node: str
    epoch: int
    tx: int
    tag: str
    message: Message
