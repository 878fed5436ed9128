"""One machine in play."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from operator import length_hint

from simtx.metrics.ledger import TransactionRecord
from simtx.protocols import Done, Effect, Event, Machine
from simtx.simulator.timers import Token

IDLE, BUSY, SUBMITTING, WAITING = range(4)  # phases of an actor

_NO_EFFECTS: list[Effect] = []
_NOTHING: Iterator[Effect] = iter(_NO_EFFECTS)  # an iterator that is at its end stays there


class RunningMachine:
    """One machine in play: its mailbox, its timers, and where its program of effects stands.

    Attributes:
        machine: The machine.
        tx: Number of its transaction; -1 for a daemon.
        record: What is counted for the transaction, or None.
        mail: Events that wait until the machine is idle.
        done: The result of its store operation, which is handled before any mail.
        cause: Number of the event log's entry that it reacts to.
        effects: Its program.
        rest: What is left of its program.
        alive: False once it was forgotten or its node crashed.
        phase: What it is doing: `IDLE`, `BUSY` with its program, `SUBMITTING` a store operation, or `WAITING` for that.
        lazy: Whether it ever wrote a lazy record.
        dated: Whether what it works on has the client's deadline: an event of the broker has none.
        timers: Its timers by name.
    """

    __slots__ = (
        "alive",
        "cause",
        "dated",
        "done",
        "effects",
        "lazy",
        "machine",
        "mail",
        "phase",
        "record",
        "rest",
        "timers",
        "tx",
    )

    def __init__(self, machine: Machine, tx: int, record: TransactionRecord | None) -> None:
        self.machine = machine
        self.tx = tx
        self.record = record
        self.mail: deque[Event] | None = None
        self.done: Done | None = None
        self.cause: int | None = None
        self.effects = _NO_EFFECTS
        self.rest: Iterator[Effect] = _NOTHING
        self.phase = IDLE
        self.alive = True
        self.lazy = False
        self.dated = True
        self.timers: dict[str, Token] | None = None

    @property
    def position(self) -> int:
        """Number of effects of its program that are done or begun."""
        return len(self.effects) - length_hint(self.rest)
