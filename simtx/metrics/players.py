"""A machine that replays what an event log says of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from simtx.metrics.journal import DAEMON
from simtx.metrics.programs import Clock, Program, described
from simtx.metrics.trace import TraceEvent
from simtx.protocols import Effect, Event, Machine, Message, Record, Strategy


class Player:
    """One machine of the log, beside its pure twin.

    Attributes:
        node: Where.
        tx: Its transaction, or -1 for a daemon.
        role: Its role.
        machine: The twin; None once the two have parted, so that one difference is found once.
        program: The effects of its last handler, as the log says.
        time: When the last of them was done that left an entry, in seconds.
        clock: Its timers.
        expected: The store operation whose result it has to handle next, and how that ended (None: the log does not say).
        begun: Whether a local transaction is under way.
        execution: Number of its last local transaction on the node's disk.
        publications: Messages by tag whose results are to come.
        arrival: What came in and is to be handled next.
        cause: Id of the entry that its own entries name as their cause.
        dead: Whether it was forgotten.
    """

    __slots__ = (
        "arrival",
        "begun",
        "cause",
        "clock",
        "dead",
        "execution",
        "expected",
        "machine",
        "node",
        "program",
        "publications",
        "role",
        "time",
        "tx",
    )

    def __init__(self, node: str, tx: int, role: str, machine: Machine | None, *, exact_clocks: bool) -> None:
        self.node = node
        self.tx = tx
        self.role = role
        self.machine = machine
        self.program = Program()
        self.time = 0.0
        self.clock = Clock(exact=exact_clocks)
        self.expected: tuple[Any, str | None] | None = None
        self.begun = False
        self.execution = -1
        self.publications: dict[str, list[Message]] = {}
        self.arrival: TraceEvent | None = None
        self.cause: int | None = None
        self.dead = False

    def replay(self, event: Event, state: str, logged: Sequence[Effect], strategy: Strategy) -> str | None:
        """Let the twin handle an event; one line if it starts in another state, or asks for something else, than the log says."""
        machine = self.machine
        if machine is None:
            return None
        if machine.state == machine.initial and self.tx != DAEMON and not self.clock:
            # A machine that holds nothing may have been freed by its host: if it cannot have been this one, it was a blank one.
            blank = strategy.machine(self.node, self.tx)
            if blank.key() != machine.key() and _react(machine.clone(), event, state, logged) is not None:
                self.machine = machine = blank
        problem = _react(machine, event, state, logged)
        if problem is not None:
            self.machine = None
        return problem

    def recover(self, records: Sequence[Record], logged: Sequence[Effect]) -> str | None:
        """Let the blank twin recover; one line if it asks for something else than the log says."""
        machine = self.machine
        if machine is None:
            return None
        try:
            effects = machine.recover(list(records))
        except Exception as error:  # noqa: BLE001 - a machine may raise anything on records that are not its own
            problem: str | None = f"the machine cannot recover from these records: {error!r}"
        else:
            problem = _difference("recovery", effects, logged)
        if problem is not None:
            self.machine = None
        return problem


def spawn(strategy: Strategy, node: str, tx: int, role: str, *, exact_clocks: bool) -> Player | None:
    """A blank machine of this role; None if the strategy has none there."""
    if tx == DAEMON:
        found = [machine for machine in strategy.daemons(node) if machine.role == role]
        machine = found[0] if found else None
    else:
        machine = strategy.machine(node, tx)
    if machine is None or machine.role != role:
        return None
    return Player(node, tx, role, machine, exact_clocks=exact_clocks)


def _react(machine: Machine, event: Event, state: str, logged: Sequence[Effect]) -> str | None:
    if machine.state != state:
        return f"'{event.kind}' was handled in state '{state}', but the machine is in state '{machine.state}'"
    try:
        effects = machine.handle(event)
    except Exception as error:  # noqa: BLE001 - a machine may raise anything on an event that cannot come about
        return f"the machine does not handle '{event.kind}': {error!r}"
    return _difference(f"'{event.kind}'", effects, logged)


def _difference(what: str, effects: Sequence[Effect], logged: Sequence[Effect]) -> str | None:
    """Where what the machine asks for and what the log says differ, or None."""
    if list(effects) == list(logged):
        return None
    for index, (own, other) in enumerate(zip(effects, logged, strict=False)):
        if own != other:
            name = described(other)
            shown = f"for {name}" if name != described(own) else "for the same with other contents"
            return f"on {what} the machine asks for {described(own)} as effect {index}; the log says {shown}"
    return f"on {what} the machine asks for {len(effects)} effects; the log says for {len(logged)}"
