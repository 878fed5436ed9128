"""A local transaction under way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from simtx.protocols import Branch, Execute, Key, Operation, Prepare, Status, Transact

if TYPE_CHECKING:
    from simtx.simulator.running_machine import RunningMachine

REFUSE: Final = (Operation("", "refuse"),)
"""The operations of a local transaction that is refused whatever the data."""
_NO_KEYS: Final[list[str]] = []  # never changed: a local transaction that needs locks gets a list of its own


class Work:
    """One local transaction on its way through a store: volatile until it is durable."""

    __slots__ = (
        "actor",
        "changes",
        "effect",
        "epoch",
        "forced",
        "inside",
        "keys",
        "locked_from",
        "number",
        "operations",
        "prepared_since",
        "reads",
        "row",
        "since",
        "status",
        "steps",
        "ticket",
        "tombstone",
        "tx",
        "wait_since",
    )

    def __init__(self, actor: RunningMachine, effect: Transact | Execute | Prepare) -> None:
        self.actor = actor
        self.effect = effect
        self.tx = actor.tx
        self.operations: tuple[Operation, ...] = effect.operations
        self.steps = effect.steps
        self.changes: dict[str, float] = {}
        self.keys = _NO_KEYS
        #: (key, value, version) as the store gave them, if recorded.
        self.reads: list[tuple[str, float, int]] | None = None
        self.row: Branch | None = None
        self.tombstone: Key | None = None
        self.status: Status = "done"
        self.since = 0.0  # when it came to where it is now: the pool's queue, or a worker
        self.epoch = -1  # of the pool whose worker serves it; -1: none does
        self.forced = False
        self.inside = (
            -1.0
        )  # service time that it has to spend with its locks, once it has them; -1: none, or it has begun to
        self.locked_from = 0.0  # sum over the locks it holds of the times at which it got them
        self.wait_since = -1.0
        self.ticket = -1  # number of the local transaction, in the order in which they began
        self.number = -1  # of its first outbox row; -1: it is numbered when it commits
        self.prepared_since = 0.0
