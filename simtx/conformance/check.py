"""Conformance: whether a run kept the contract, by its event log, replayed through the pure machines of its strategy.

A full log (``simtx.simulate(..., trace="full")``; every real run writes one) holds each event that a machine has handled. It also holds each list of
effects that it asked for, and each list of records that it was rebuilt from. `check_log` replays all of it, and checks five things:

- **Replay**: every machine, fed with the events of the log in their order, starts in the state and asks for the effects that the log says.
- **Causality**: what was received was sent, what was delivered was published, a result belongs to an effect that asked for it; a timer
  was set and not cancelled, a reply was given.
- **Durability**: after a crash a machine is rebuilt from exactly the records that were forced, and those that may have survived.
- **Content**: what a store has changed is what an effect asks for, and what an effect that acts asks for is the plan's (`simtx.conformance.contents`).
- **Order**: the entries of a handler are its effects, in their order; the next event waits until they are done.

What a log cannot show is not held against it: effects that a crash or the end of the log has cut off. `Conformance.unfinished` names
what was under way where the log ends.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, assert_never, get_args

from simtx.arguments import checked, instance, listed
from simtx.conformance.contents import Contents
from simtx.conformance.durable import Disk
from simtx.conformance.players import ReplayedMachine, spawn
from simtx.conformance.programs import EFFECTS, WORK, Clock, Work, told
from simtx.conformance.traffic import Traffic
from simtx.conformance.votes import Votes
from simtx.errors import ScenarioError
from simtx.event_log.entries import AT_ONCE, Handled, Process, Recovered, Worked
from simtx.event_log.log import LogEntry
from simtx.protocols import contract as c
from simtx.protocols import strategy as strategy_of
from simtx.protocols.codec import CodecError, decode, register
from simtx.protocols.extras import extras
from simtx.protocols.names import DAEMON, PRESUMPTION
from simtx.protocols.naming import UnknownEffect, described

CLOCK_DRIFT: Final = "clock-drift"
DATABASE_CRASH: Final = ("database-crash", "database-recovery")
"""Names of ``fault`` entries: the server of a node's database was killed, and is up again."""
_ARRIVALS: Final = frozenset({"receive", "deliver", "request", "timer"})
_OF_HOST: Final = frozenset({"start", "wake"})  # timers that a daemon gets without having set them
_KINDS: Final[dict[str, tuple[type, ...]]] = {
    "event": get_args(c.Event),
    "state": (str,),
    "role": (str,),
    "effects": get_args(c.Effect),
    "records": (tuple,),
}
_LISTS: Final = frozenset({"effects", "records"})


@dataclass(slots=True)
class Conformance:
    """Result of the check of a log.

    Attributes:
        problems: One line for each finding, with the entry, the node and the transaction.
        handled: Events that were replayed.
        recovered: Recoveries that were replayed.
        machines: Machines that were played, each incarnation counted.
        interrupted: Programs of effects that a crash cut short.
        unfinished: One line for each machine that was at work where the log ends.
    """

    problems: list[str] = field(default_factory=list)
    handled: int = 0
    recovered: int = 0
    machines: int = 0
    interrupted: int = 0
    unfinished: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Return whether nothing was found."""
        return not self.problems

    def __str__(self) -> str:
        played = f"{self.handled} events and {self.recovered} recoveries of {self.machines} machines replayed"
        cut = f"; {self.interrupted} programs cut short by crashes" if self.interrupted else ""
        tail = f"; {len(self.unfinished)} unfinished where the log ends" if self.unfinished else ""
        found = (
            f"; {len(self.problems)} problems, the first: {self.problems[0]}" if self.problems else ": as it must be"
        )
        return f"{played}{cut}{tail}{found}"


@checked(
    trace=listed(instance(LogEntry, ""), "events of a log, such as run.trace"),
)
def check_log(trace: Iterable[LogEntry], strategy: str | c.Strategy) -> Conformance:
    """Replay a full log through the machines of its strategy.

    Args:
        trace: The whole log of one run, in order; ``run.trace`` of a run with a full log.
        strategy: The strategy of the run, with its options and policies: ``run.strategy``, or its name, for a run whose policies are the default ones.

    Returns:
        The findings, one line each; ``ok`` is true if there is none.

    Raises:
        ScenarioError: There is no such strategy, or the log is not a full one (``trace="full"``).
    """
    strategy = strategy_of(strategy)
    entries = list(trace)
    if not any(entry.kind == "handle" for entry in entries):
        raise ScenarioError(
            "the log has no 'handle' entries, so there is nothing to replay; record it with trace='full'", "check_log"
        )
    register(*extras(strategy).wire_types)
    drift = any(entry.kind == "fault" and entry.name == CLOCK_DRIFT for entry in entries)
    return _Check(strategy, exact_clocks=not drift).play(entries)


class _Check:
    """Plays a log beside the machines.

    Args:
        strategy: Whose machines.
        exact_clocks: Whether timers must not fire before their time.
    """

    def __init__(self, strategy: c.Strategy, *, exact_clocks: bool) -> None:
        self.strategy = strategy
        self.exact_clocks = exact_clocks
        policies = extras(strategy).policies
        self.retention: float | None = None if policies is None else policies.dedup_retention
        self.result = Conformance()
        self.players: dict[tuple[str, int], ReplayedMachine] = {}
        self.daemons: dict[tuple[str, str], ReplayedMachine] = {}
        self.disks: defaultdict[str, Disk] = defaultdict(Disk)
        self.traffic = Traffic()
        self.votes = Votes()
        self.contents = Contents(reserves=extras(strategy).reserves)
        self.down: set[tuple[str, bool]] = set()  # node, and whether it is its daemons
        self.due: dict[str, tuple[int, set[int]]] = {}  # by node: the restart, and what has not recovered since
        self.acted: set[int] = set()  # transactions of which effects were carried out
        self.at_work: set[str] = set()  # nodes that have handled events since their last restart
        self.handlers: dict[str, Callable[[LogEntry], None]] = {
            **dict.fromkeys(EFFECTS, self._effect),
            **dict.fromkeys(_ARRIVALS, self._arrival),
            "handle": self._handle,
            "recover": self._recover,
            "crash": self._crash,
            "restart": self._restart,
            "refuse": self._refuse,
            "arrive": self._arrived,
            "apply": self._applied,
            "confirm": self._confirm,
            "logged": self._logged,
            "reply": self._reply,
            "fault": self._fault,
        }

    def play(self, entries: Sequence[LogEntry]) -> Conformance:
        """Play the whole log."""
        ids: set[int] = set()
        now = -float("inf")
        for entry in entries:
            if entry.id in ids:
                self._found(entry, f"there is another entry with this number: {told(entry)}")
            if entry.time < now:
                self._found(entry, f"{told(entry)} is {now - entry.time:.6g} s before the entry in front of it")
            ids.add(entry.id)
            now = max(now, entry.time)
            handler = self.handlers.get(entry.kind)
            if handler is not None:
                handler(entry)
        self._end()
        return self.result

    def _found(self, entry: LogEntry, *problems: str | None) -> None:
        """Note problems with an entry; None is none."""
        for problem in problems:
            if problem is not None:
                whose = f"transaction {entry.tx}" if entry.tx >= 0 else entry.actor or "no transaction"
                self.result.problems.append(f"entry {entry.id}, {entry.node or 'run'}, {whose}: {problem}")

    # --- what machines do ---------------------------------------------------------------------------------------------------------

    def _read(self, entry: LogEntry, *names: str) -> list[Any] | None:
        """Members of an entry's detail, decoded; None if it cannot be read."""
        try:
            detail = (Handled if entry.kind == "handle" else Recovered).read(entry)
            values = [decode(getattr(detail, name)) for name in names]
            for name, value in zip(names, values, strict=True):
                kinds = _KINDS[name]
                if not all(isinstance(one, kinds) for one in (value if name in _LISTS else [value])):
                    raise TypeError(f"'{name}' is of another kind")
        except (CodecError, ValueError, KeyError, TypeError) as error:
            self._found(entry, f"the '{entry.kind}' entry cannot be read: {error!r}")
            return None
        return values

    def _arrived(self, entry: LogEntry) -> None:
        self.traffic.arrived(entry)
        self.contents.arrived(entry)

    def _applied(self, entry: LogEntry) -> None:
        self._found(entry, *self.contents.applied(entry))

    def _handle(self, entry: LogEntry) -> None:
        read = self._read(entry, "role", "event", "state", "effects")
        if read is None:
            return
        role, event, state, effects = read
        self.contents.asked(entry, effects)
        if isinstance(event, c.Request) and event.plan is not None:
            self.contents.requested(event.plan)
        if role != entry.actor:
            self._found(entry, f"'{event.kind}' is handled by {entry.actor}, or by {role}")
        if entry.name != event.kind:
            self._found(entry, f"it is called '{entry.name}', but is about '{event.kind}'")
        self.result.handled += 1
        player = self._player_for(entry, event)
        if player is None:
            return
        self._finish(player, entry, event)
        self._justify(player, entry, event)
        if entry.cause != player.cause:
            self._found(entry, f"it names entry {entry.cause} as the cause of '{event.kind}', which is {player.cause}")
        self._found(entry, player.replay(event, state, effects, self.strategy))
        player.play(effects, entry.time)

    def _player_for(self, entry: LogEntry, event: c.Event) -> ReplayedMachine | None:
        """The machine that handles this event: the one in play, or a blank one."""
        node, tx = entry.node, entry.tx
        if (node, tx == DAEMON) in self.down:
            self._found(entry, f"'{event.kind}' is handled while the node is down")
        if tx == DAEMON:
            player = self.daemons.get((node, entry.actor))
            if (player is None) != (event.kind == "start"):
                self._found(
                    entry, f"'{event.kind}' is handled, but {entry.actor} was {'not ' * (player is None)}started"
                )
            if player is None:
                player = self._spawned(entry)
                if player is not None:
                    self.daemons[node, entry.actor] = player
            return player
        self.at_work.add(node)
        _, due = self.due.get(node, (0, set()))
        if tx in due:
            due.discard(tx)
            self._found(entry, f"'{event.kind}' is handled by a machine that has not recovered from its records")
        player = self.players.get((node, tx))
        if player is None or player.dead:
            arrival = player.arrival if player is not None else None
            player = self._spawned(entry)
            if player is not None:
                player.arrival = arrival
                self.players[node, tx] = player
        return player

    def _spawned(self, entry: LogEntry) -> ReplayedMachine | None:
        player = spawn(self.strategy, self.disks[entry.node], entry, exact_clocks=self.exact_clocks)
        if player is None:
            self._found(entry, f"the strategy {self.strategy.name} has no '{entry.actor}' there")
        else:
            self.result.machines += 1
        return player

    def _recover(self, entry: LogEntry) -> None:
        read = self._read(entry, "role", "records", "effects")
        if read is None:
            return
        role, records, effects = read
        self.contents.asked(entry, effects)
        if role != entry.actor:
            self._found(entry, f"{entry.actor} recovers, or {role}")
        self.result.recovered += 1
        node, tx = entry.node, entry.tx
        if node not in self.due:
            self._found(entry, "a machine recovers, but the node was not restarted")
        else:
            self.due[node][1].discard(tx)
        if (node, tx) in self.players:
            self._found(entry, "a machine recovers, but is in play already")
        problems = self.disks[node].recovered(tx, records)
        self._found(entry, *(f"it recovers from other records than it has written: {one}" for one in problems))
        player = self._spawned(entry)
        if player is None:
            return
        self.players[node, tx] = player
        player.cause = entry.id
        self._found(entry, player.recover(records, effects))
        player.play(effects, entry.time)

    # --- what leads to it -----------------------------------------------------------------------------------------------------------

    def _arrival(self, entry: LogEntry) -> None:
        key = (entry.node, entry.tx)
        player = self.players.get(key)
        if player is None:
            clock = Clock(exact=self.exact_clocks)
            player = ReplayedMachine(*key, entry.actor, None, self.disks[entry.node], clock, dead=True)
            self.players[key] = player
        if player.arrival is not None:
            self._found(player.arrival, f"{told(player.arrival)} came in, but no machine has handled it")
        effect = None if player.dead else player.advance()
        if effect is not None:
            self._found(entry, f"{told(entry)} is taken up before {described(effect)} is done")
        player.arrival = entry

    def _refuse(self, entry: LogEntry) -> None:
        """A machine refused an event as one that no correct peer causes."""
        player = self.players.get((entry.node, entry.tx))
        if player is not None:
            player.arrival = None

    def _finish(self, player: ReplayedMachine, entry: LogEntry, event: c.Event) -> None:
        """The machine turns to this event: its effects must be done, and the result of its store operation comes first."""
        effect = player.advance()
        if effect is not None:
            given_up = isinstance(event, c.Done) and event.status == "failed"  # a full queue: nothing was done
            if given_up and isinstance(effect, WORK) and effect.tag == event.kind:
                self._worked(player, effect, entry, "failed")
            else:
                self._found(entry, f"'{event.kind}' is handled, but {described(effect)} has not been done")
        expected, player.expected = player.expected, None
        if expected is None:
            if isinstance(event, c.Done):
                self._confirmation(player, entry, event)
            return
        asked, status = expected
        if not isinstance(event, c.Done) or event.kind != asked.tag:
            self._found(entry, f"'{event.kind}' is handled before the result of {described(asked)}")
        elif status is not None and event.status != status:
            self._found(entry, f"the result of {described(asked)} is '{event.status}', but it was {status}")
        elif isinstance(asked, c.ReadOutbox):
            if event.status not in ("done", "failed"):
                self._found(entry, f"the result of {described(asked)} is '{event.status}', which it cannot be")
            self._found(entry, *player.disk.read(event.value or ()))
        elif event.status == "duplicate":
            found = player.disk.duplicate(asked, player.execution, event.value)
            if found is not None:
                self._found(entry, f"the result of {described(asked)}: {found}")
        elif event.value is not None:
            self._found(entry, f"the result of {described(asked)} has the value {event.value!r}, but found no row")

    def _confirmation(self, player: ReplayedMachine, entry: LogEntry, event: c.Done) -> None:
        """The result of a publication, or the answer of the vote store."""
        if event.kind in player.requests:
            self._found(entry, self.votes.answered(player, event))
            return
        waiting = player.publications.get(event.kind)
        if not waiting:
            self._found(entry, f"the result '{event.kind}' ({event.status}) is handled, but nothing has asked for it")
            return
        if event.status not in ("done", "failed") or event.value is not None:
            self._found(entry, f"the result of a publication is '{event.status}' with {event.value!r}")
        self._found(entry, self.traffic.result(player.node, waiting.pop(0), event.status))

    def _justify(self, player: ReplayedMachine, entry: LogEntry, event: c.Event) -> None:
        """Check whether this event could come about."""
        arrival, player.arrival = player.arrival, None
        if isinstance(event, c.Done) or (isinstance(event, c.Timer) and entry.tx == DAEMON):
            if arrival is not None:
                self._found(arrival, f"{told(arrival)} came in, but no machine has handled it")
        else:
            kind = type(event).__name__.lower()
            wanted = {"message": "receive", "delivery": "deliver"}.get(kind, kind)
            if arrival is None or arrival.kind != wanted or arrival.name != event.kind:
                self._found(entry, f"'{event.kind}' is handled, but there is no entry before it that it came in")
                arrival = None
            else:
                player.cause = arrival.id
        if isinstance(event, c.Timer):
            if entry.tx != DAEMON or event.kind not in _OF_HOST:
                self._found(entry, player.clock.fire(event.kind, entry.time))
            return
        traffic = self.traffic
        if isinstance(event, c.Message):
            findings = traffic.message(entry, arrival, event)
        elif isinstance(event, c.Delivery):
            findings = traffic.delivery(entry, arrival, event)
        elif isinstance(event, c.Request):
            findings = traffic.request(entry, event)
        elif isinstance(event, c.Done):
            return
        else:
            assert_never(event)
        for where, problem in findings:
            self._found(where, problem)

    def _confirm(self, entry: LogEntry) -> None:
        for where, problem in self.traffic.confirmed(entry):
            self._found(where, problem)

    def _logged(self, entry: LogEntry) -> None:
        self._found(entry, self.votes.told(entry))

    def _reply(self, entry: LogEntry) -> None:
        if (entry.tx, entry.name) not in self.traffic.answers:
            self._found(entry, f"the client was told '{entry.name}', but no machine has answered so")

    # --- what follows from it -------------------------------------------------------------------------------------------------------

    def _effect(self, entry: LogEntry) -> None:
        if entry.kind == "decided" and entry.actor == PRESUMPTION:
            self._presumed(entry)
            return
        self.acted.add(entry.tx)
        player = self.daemons.get((entry.node, entry.actor)) or self.players.get((entry.node, entry.tx))
        if player is None:
            self._found(entry, f"{told(entry)}: no machine is in play that could have asked for it")
            return
        program = player.program
        index, blocking = program.find(entry, player.skippable)
        if index < 0:
            self._found(entry, f"{told(entry)}: its machine has not asked for it")
            return
        effect = program.effects[index]
        if blocking is not None:
            self._found(entry, f"{told(entry)} is done before {described(blocking)}, which comes first")
            program.early.add(index)
        else:
            while program.position < index:
                player.advance()
            program.position = index + 1
        if entry.cause != program.cause:
            self._found(entry, f"{told(entry)} names entry {entry.cause} as its cause, which is {program.cause}")
        player.time = entry.time
        self._done(player, effect, entry)
        player.settle()

    def _presumed(self, entry: LogEntry) -> None:
        """A node is back, and a transaction that it had begun counts as aborted: it has no record of it, and says so, or there is no trace of it."""
        hub = self.strategy.hub if extras(self.strategy).presumption == "abort" else None
        if entry.name != "aborted":
            self._found(entry, f"{told(entry)} is presumed, but only an abort can be")
        elif entry.node not in self.due:
            self._found(entry, f"{told(entry)} is presumed, but the node was not restarted")
        elif entry.node != hub and entry.tx in self.acted:
            self._found(entry, f"{told(entry)} is presumed, but it has left a trace")
        elif entry.tx in self.due[entry.node][1]:
            self._found(entry, f"{told(entry)} is presumed, but the node has a record of it")

    def _done(self, player: ReplayedMachine, effect: c.Effect, entry: LogEntry) -> None:
        """An effect was carried out: what follows from that."""
        disk, tx = player.disk, player.tx
        if isinstance(effect, c.Message):
            if entry.kind == "send":
                self.traffic.sent(effect, entry.id)
        elif isinstance(effect, c.Publish):
            self.traffic.published(effect.message, entry.id)
            self.traffic.waits(player.node, effect.message)
            player.publications.setdefault(effect.tag, []).append(effect.message)
        elif isinstance(effect, c.LogOnce):
            self.votes.asked(tx, effect)
            player.requests.setdefault(effect.tag, []).append(effect.voter)
        elif isinstance(effect, c.Append):
            disk.appended(tx, effect.record, entry.id, certain=effect.forced)
        elif isinstance(effect, WORK):
            self._worked(player, effect, entry, Worked.read(entry).status)
        elif isinstance(effect, c.Commit | c.Rollback):
            if not disk.finished(tx, forced=isinstance(effect, c.Commit) or effect.forced):
                self._found(entry, f"{told(entry)}: no branch is prepared")
        elif isinstance(effect, c.Answer):
            self.traffic.answers.add((tx, effect.outcome))
        elif isinstance(effect, c.Forget):
            disk.forgotten(tx)
            player.dead = True
        elif type(effect) not in AT_ONCE:
            raise UnknownEffect(f"the check does not know what follows from {described(effect)}")

    def _worked(self, player: ReplayedMachine, effect: Work, entry: LogEntry, status: str) -> None:
        problem = player.worked(effect, entry, status, self.retention)
        if problem is not None:
            self._found(entry, f"{told(entry)}: {problem}")

    # --- crashes, and the end -------------------------------------------------------------------------------------------------------

    def _crash(self, entry: LogEntry) -> None:
        for daemons in _processes(entry):
            self._lose(entry.node, daemons=daemons)
            self.down.add((entry.node, daemons))

    def _restart(self, entry: LogEntry) -> None:
        node = entry.node
        for daemons in _processes(entry):
            if (node, daemons) not in self.down:
                self._lose(node, daemons=daemons)  # it ended without a crash that anybody saw
            self.down.discard((node, daemons))
            if not daemons:
                self.due[node] = (entry.id, self.disks[node].due())
                self.at_work.discard(node)

    def _fault(self, entry: LogEntry) -> None:
        """A database that crashes may lose marks that it had confirmed, since they are not forced."""
        if entry.name in DATABASE_CRASH:
            self.disks[entry.node].unmark()

    def _lose(self, node: str, *, daemons: bool) -> None:
        """All that is volatile in a process is gone."""
        if daemons:
            gone = [player for (where, _), player in self.daemons.items() if where == node]
            self.daemons = {key: player for key, player in self.daemons.items() if key[0] != node}
            self.disks[node].unmark()
        else:
            gone = [player for (where, _), player in self.players.items() if where == node]
            self.players = {key: player for key, player in self.players.items() if key[0] != node}
            self.disks[node].crashed()
            self.due.pop(node, None)
            self.traffic.crashed(node)
        for player in gone:
            for waiting in player.publications.values():
                for message in waiting:
                    self.traffic.abandoned(node, message)
            self._interrupt(player)

    def _interrupt(self, player: ReplayedMachine) -> None:
        """A crash has cut a program short: what was under way may or may not have happened."""
        if player.program.next() is None:
            return
        self.result.interrupted += 1
        effect = player.interrupted()
        if isinstance(effect, c.Message):
            self.traffic.sent(effect, None)
        elif isinstance(effect, c.Publish):
            self.traffic.published(effect.message, None)
        elif isinstance(effect, c.LogOnce):
            self.votes.asked(player.tx, effect)

    def _end(self) -> None:
        unfinished = self.result.unfinished
        for player in (*self.players.values(), *self.daemons.values()):
            where = f"{player.node}, {f'transaction {player.tx}' if player.tx >= 0 else player.role}"
            effect = player.advance()
            if effect is not None:
                unfinished.append(f"{where}: {described(effect)} is not done")
            unfinished += [
                f"{where}: the confirmation of '{message.kind}' is not handled"
                for waiting in player.publications.values()
                for message in waiting
                if self.traffic.is_confirmed(player.node, message)
            ]
            if player.arrival is not None:
                unfinished.append(f"{where}: {told(player.arrival)} is not handled")
        for node, (restart, due) in self.due.items():
            for tx in sorted(due):
                if node in self.at_work:
                    self.result.problems.append(
                        f"entry {restart}, {node}, transaction {tx}: after the restart it was not recovered, although it has records"
                    )
                else:  # the log ends in the middle of the recovery
                    unfinished.append(f"{node}, transaction {tx}: recovery after the restart is not done")


def _processes(entry: LogEntry) -> tuple[bool, ...]:
    """Processes of a node that have crashed or restarted: that of its daemons (True), the other (False), or both in one."""
    process = Process.read(entry)
    return (process.beside(entry.node),) if process.name else (False, True)
