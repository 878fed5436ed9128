"""One machine in play on a real node, and what it makes of an operator's request."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from simtx.protocols import Done, Effect, Event, Machine


@dataclass(frozen=True, slots=True)
class Intervention:
    """Reaction of a machine to an operator's request.

    Attributes:
        before: Its state before.
        after: Its state then.
        effects: What it will do.
        problem: Why it refused to handle the request; empty: it did not.
    """

    before: str
    after: str
    effects: Sequence[Effect] = ()
    problem: str = ""


class RunningMachine:
    """One machine in play: its mailbox, its timers, and where its program of effects stands."""

    __slots__ = (
        "alive",
        "busy",
        "cause",
        "deadline",
        "done",
        "effects",
        "event",
        "machine",
        "mail",
        "rest",
        "state",
        "timers",
        "tx",
    )

    def __init__(self, machine: Machine, tx: int) -> None:
        self.machine = machine
        self.tx = tx
        self.mail: deque[tuple[Event, int | None]] = deque()
        self.done: Done | None = None
        self.cause: int | None = None
        self.effects: Sequence[Effect] = ()
        self.rest: Iterator[Effect] = iter(())
        self.event = ""
        self.state = ""
        self.busy = False
        self.alive = True
        self.deadline: float | None = None  # of the client, as far as it is known here, in seconds of `time.monotonic`
        self.timers: dict[str, int] = {}  # by name: number of the call that will ring it
