"""A machine that replays what an event log says of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from simtx.conformance.durable import Disk
from simtx.conformance.programs import SILENT, WORK, Clock, Program, Work
from simtx.event_log.log import LogEntry
from simtx.protocols import contract as c
from simtx.protocols.names import DAEMON
from simtx.protocols.naming import UnknownEffect, described


@dataclass(slots=True, eq=False)
class ReplayedMachine:
    """One machine of the log, beside its pure twin.

    Attributes:
        node: Where.
        tx: Its transaction, or -1 for a daemon.
        role: Its role.
        machine: The twin; None once the two have parted, so that one difference is found once.
        disk: What its node's disk holds.
        clock: Its timers.
        program: The effects of its last handler, as the log says.
        time: When the last of them was done that left an entry, in seconds.
        expected: The store operation whose result it has to handle next, and how that ended (None: the log does not say).
        begun: Whether a local transaction is under way.
        execution: Number of its last local transaction on the node's disk.
        requests: Voters by tag that the vote store was asked about.
        publications: Messages by tag whose results are to come.
        arrival: What came in and is to be handled next.
        cause: Id of the entry that its own entries name as their cause.
        dead: Whether it was forgotten.
    """

    node: str
    tx: int
    role: str
    machine: c.Machine | None
    disk: Disk
    clock: Clock
    program: Program = field(default_factory=Program)
    time: float = 0.0
    expected: tuple[Work | c.ReadOutbox, str | None] | None = None
    begun: bool = False
    execution: int = -1
    requests: dict[str, list[str]] = field(default_factory=dict)
    publications: dict[str, list[c.Message]] = field(default_factory=dict)
    arrival: LogEntry | None = None
    cause: int | None = None
    dead: bool = False

    # --- the twin -----------------------------------------------------------------------------------------------------------------

    def replay(self, event: c.Event, state: str, logged: Sequence[c.Effect], strategy: c.Strategy) -> str | None:
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

    def recover(self, records: Sequence[c.Record], logged: Sequence[c.Effect]) -> str | None:
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

    # --- its program ----------------------------------------------------------------------------------------------------------------

    def play(self, effects: Sequence[c.Effect], now: float) -> None:
        """A handler has asked for these effects."""
        self.program = Program(effects, self.cause)
        self.time = now
        self.settle()

    def skippable(self, effect: c.Effect) -> bool:
        """Return whether this effect may be done without an entry: it leaves none, or there is no branch that it could end."""
        if isinstance(effect, c.Commit | c.Rollback):
            branch = self.disk.branches.get(self.tx)
            return branch is None or not branch.certain
        return isinstance(effect, SILENT)

    def advance(self) -> c.Effect | None:
        """Pass what may be done without an entry; the effect that has to be done next, or None."""
        program = self.program
        while (effect := program.next()) is not None and self.skippable(effect):
            program.position += 1
            self._silent(effect)
        return effect

    def settle(self) -> None:
        """Pass what is surely done at once, and begin the local transaction that comes next."""
        program = self.program
        while (effect := program.next()) is not None:
            without = isinstance(effect, c.Commit | c.Rollback) and self.tx not in self.disk.branches
            if not without and not isinstance(effect, SILENT):
                break
            program.position += 1
            self._silent(effect)
        if isinstance(effect, WORK) and not self.begun:
            self.begun = True
            self.execution = self.disk.begun(effect)

    def _silent(self, effect: c.Effect) -> None:
        if isinstance(effect, c.SetTimer):
            self.clock.start(effect, self.time)
        elif isinstance(effect, c.CancelTimer):
            self.clock.cancel(effect.kind, self.time)
        elif isinstance(effect, c.ReadOutbox):
            self.expected = (effect, None)
        elif isinstance(effect, c.MarkOutbox):
            self.disk.mark(effect.ids)
        elif not isinstance(effect, c.Commit | c.Rollback):  # without a branch
            raise UnknownEffect(f"the check does not know what follows from {described(effect)}")

    def worked(self, effect: Work, entry: LogEntry, status: str, retention: float | None) -> str | None:
        """A local transaction has ended, and its result comes next; one line if it cannot have ended so."""
        if not self.begun:
            self.execution = self.disk.begun(effect)
        problem = self.disk.ended(effect, self.execution, status, entry.time, retention)
        if isinstance(effect, c.Prepare) and status == "done":
            self.disk.prepared(self.tx, effect.record, entry.id, certain=True)
        self.begun = False
        self.expected = (effect, status)
        return problem

    def interrupted(self) -> c.Effect | None:
        """A crash has cut the program short: the effect that was perhaps under way, after its traces on the disk were allowed for."""
        disk, tx, program = self.disk, self.tx, self.program
        for effect in program.effects[program.position :]:
            if isinstance(effect, SILENT):
                continue
            if isinstance(effect, c.Commit | c.Rollback):
                if tx not in disk.branches:
                    continue
                disk.doubt(tx)
            elif isinstance(effect, c.Append):
                disk.appended(tx, effect.record, -1, certain=False)
            elif isinstance(effect, c.Prepare) and tx not in disk.branches:
                disk.prepared(tx, effect.record, -1, certain=False)
            elif isinstance(effect, c.Forget):
                disk.forgotten(tx)
            return effect
        return None


def spawn(strategy: c.Strategy, disk: Disk, entry: LogEntry, *, exact_clocks: bool) -> ReplayedMachine | None:
    """A blank machine of the role that this entry names; None if the strategy has none there."""
    node, tx, role = entry.node, entry.tx, entry.actor
    machine: c.Machine | None
    if tx == DAEMON:
        machine = next((one for one in strategy.daemons(node) if one.role == role), None)
    else:
        machine = strategy.machine(node, tx)
    if machine is None or machine.role != role:
        return None
    return ReplayedMachine(node, tx, role, machine, disk, Clock(exact=exact_clocks))


def _react(machine: c.Machine, event: c.Event, state: str, logged: Sequence[c.Effect]) -> str | None:
    if machine.state != state:
        return f"'{event.kind}' was handled in state '{state}', but the machine is in state '{machine.state}'"
    try:
        effects = machine.handle(event)
    except Exception as error:  # noqa: BLE001 - a machine may raise anything on an event that cannot come about
        return f"the machine does not handle '{event.kind}': {error!r}"
    return _difference(f"'{event.kind}'", effects, logged)


def _difference(what: str, effects: Sequence[c.Effect], logged: Sequence[c.Effect]) -> str | None:
    """Difference between what the machine asks for and what the log says, or None."""
    if list(effects) == list(logged):
        return None
    for index, (own, other) in enumerate(zip(effects, logged, strict=False)):
        if own != other:
            name = described(other)
            shown = f"for {name}" if name != described(own) else "for the same with other contents"
            return f"on {what} the machine asks for {described(own)} as effect {index}; the log says {shown}"
    return f"on {what} the machine asks for {len(effects)} effects; the log says for {len(logged)}"
