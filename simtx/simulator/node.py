"""A node: it plays the machines of its role, makes their effects durable, and forgets what is volatile when it crashes.

The class is long and stays whole. A crash forgets, and a restart brings back, whatever the rest of it holds. Its loop runs for every effect of every machine: one more
object in between would cost run time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from heapq import heappush
from operator import length_hint
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from simtx.errors import ProtocolViolation
from simtx.event_log.journal import Journal
from simtx.metrics.ledger import TransactionLedger, TransactionRecord, traceless
from simtx.protocols import (
    Acknowledge,
    Alert,
    Answer,
    Append,
    CancelTimer,
    Commit,
    Decided,
    Delivery,
    Done,
    Effect,
    Event,
    Execute,
    Forget,
    LogOnce,
    MarkOutbox,
    Message,
    Prepare,
    Publish,
    ReadOutbox,
    Request,
    Rollback,
    SetTimer,
    Strategy,
    Suspect,
    Timer,
    Transact,
)
from simtx.protocols.breaker import CircuitBreaker
from simtx.protocols.names import DAEMON
from simtx.protocols.naming import unknown_effect
from simtx.simulator.disk import Disk
from simtx.simulator.environment import NORMAL, Environment
from simtx.simulator.network import Link
from simtx.simulator.node_log import NodeLog
from simtx.simulator.provider import Provider
from simtx.simulator.running_machine import BUSY, IDLE, SUBMITTING, WAITING, RunningMachine
from simtx.simulator.store import Store
from simtx.simulator.timers import Timers, Token
from simtx.simulator.work import REFUSE, Work
from simtx.simulator.workers import Workers
from simtx.workload.by_transaction import Draw

if TYPE_CHECKING:
    from simtx.event_log.log import LogRecorder
    from simtx.protocols.extras import Extras
    from simtx.protocols.subjects import Row
    from simtx.simulator.upgrades import Versions

_FORGET = Forget()
_PLAYED_IN_RUN = (
    Message,
    Append,
    Transact,
    Execute,
    Prepare,
    Commit,
    Rollback,
    SetTimer,
    CancelTimer,
    Forget,
)


class Connection(Protocol):
    """The broker, as far as nodes talk to it."""

    def publish(self, node: Node, actor: RunningMachine, effect: Publish) -> None:
        """Take a message from a producer's hands."""

    def acknowledge(self, node: Node, tx: int, number: int) -> None:
        """A delivery needs not come again."""

    def connected(self, consumer: str) -> None:
        """A consumer is back."""


class SharedVotes(Protocol):
    """The vote store, as far as nodes talk to it."""

    def ask(self, node: Node, actor: RunningMachine, effect: LogOnce) -> None:
        """Write a vote, unless there is one, and answer with the one that is there."""


class AimedCrash(Protocol):
    """A crash aimed at one effect of one transaction."""

    def hits(self, actor: RunningMachine, effect: Effect, row: Row, *, before: bool) -> bool:
        """Return whether this is the place."""

    @property
    def place(self) -> tuple[int, str, bool, int]:
        """Number of the transaction, the effect, whether before it, and the how many-th of them."""

    def strike(self, node: Node) -> None:
        """Crash the node."""


class Surroundings(Protocol):
    """World of a node, as far as the node needs it; `World` describes the attributes."""

    strategy: Strategy
    extras: Extras
    env: Environment
    timers: Timers
    trace: LogRecorder | None
    ledger: TransactionLedger
    full_log: bool
    deadline: float
    wake_on_commit: bool

    @property
    def nodes(self) -> Mapping[str, Node]:
        """The nodes by name."""

    @property
    def broker(self) -> Connection | None:
        """The broker, if the strategy uses one."""

    @property
    def asked_again(self) -> bool:
        """Return whether clients ask again for what a node has received and lost."""

    def broker_or_refuse(self) -> Connection:
        """The broker; it is an error if there is none."""

    def vote_store_or_refuse(self) -> SharedVotes:
        """The vote store; it is an error if there is none."""

    def link(self, source: str, destination: str) -> Link:
        """The link from one node to another."""

    def answered(self, record: TransactionRecord, outcome: str) -> None:
        """A machine answers the client."""


class Node:
    """A process with a log device and, if it is a service, workers and a store: it plays machines, effect by effect.

    It is one of three interpreters of effects (the simulator's, the real execution's, the checker's), and keeps the contract of
    `simtx.protocols.contract`.

    Args:
        world: What the node lives in.
        name: Its name.
        disk: Its log device.
        jitter: Draws a number from 0 to 1 for a timer of a transaction.
        lazy_flush: Period of the background flush of its lazy records, in seconds.

    Attributes:
        hosted: Whether its process shares a host, so that what machines ask for is not played as it is.
        plain: Whether machines are given events directly: nothing is written down, and nothing shared. The call in between costs 3 % of a run.
        force: Forces what was written, and calls back when it is durable: that of the disk, but on a host.
    """

    hosted: ClassVar[bool] = False

    __slots__ = (
        "actors",
        "armed",
        "backlog",
        "breakers",
        "daemons",
        "disk",
        "durable",
        "env",
        "expired",
        "force",
        "forgotten",
        "jitter",
        "journal",
        "ledger",
        "log",
        "name",
        "outage",
        "paused",
        "plain",
        "pool",
        "presumes",
        "provider",
        "queue",
        "routes",
        "sequence",
        "stalled",
        "store",
        "timer_factor",
        "timers",
        "undo_draws",
        "unusual",
        "up",
        "versions",
        "watched",
        "world",
    )

    def __init__(self, world: Surroundings, name: str, disk: Disk, jitter: Draw, lazy_flush: float) -> None:
        self.world = world
        self.env = world.env
        self.queue = world.env.queue
        self.sequence = world.env.sequence
        self.timers = world.timers
        self.ledger: TransactionLedger = world.ledger
        self.journal = Journal(world.trace, name) if world.trace is not None else None
        self.name = name
        self.disk = disk
        self.force: Callable[[Callable[[Any], object], Any, int], None] = disk.force
        self.jitter = jitter
        self.pool: Workers | None = None
        self.provider: Provider | None = None
        self.store: Store | None = None
        self.actors: dict[int, RunningMachine] = {}
        self.daemons: list[RunningMachine] = []
        self.log = NodeLog(world.env, lazy_flush)
        self.durable = self.log.durable
        self.breakers: dict[str, CircuitBreaker] = {}
        self.up = True
        self.paused = False
        self.versions: Versions | None = None
        self.unusual = self.journal is not None
        self.watched = self.journal is not None
        self.plain = self.journal is None and not self.hosted
        self.outage = False
        self.expired = 0
        self.presumes = world.extras.presumption == "abort" and name == world.strategy.hub
        self.forgotten: list[TransactionRecord] = []
        self.routes: dict[str, tuple[Link, Callable[[Message], None]]] = {}
        self.backlog: list[tuple[Callable[[Any], object], Any]] = []
        self.stalled: list[Work] = []
        self.timer_factor = 1.0
        self.armed: list[AimedCrash] = []
        self.undo_draws: list[Draw] = []

    # --- what comes in ----------------------------------------------------------------------------------------------------------

    def receive(self, message: Message) -> None:
        """A message arrives from the network."""
        # One flag for all that is rare (down, paused, breakers, a journal), so that a usual message pays for one test.
        if self.unusual and not self._accept(message):
            return
        tx = message.tx
        actor = self.actors.get(tx)
        if actor is None:
            actor = self._spawn(tx)
        elif actor.phase:
            self._post(actor, message)
            return
        actor.phase = BUSY
        self._run(actor, actor.machine.handle(message))

    def _accept(self, message: Message) -> bool:
        """Look at a message when something is unusual: the node is down or paused, has breakers, or keeps a journal."""
        if not self.up:
            self.dropped(message)
            return False
        if self.paused:
            self.backlog.append((self.receive, message))
            return False
        if self.versions is not None and not self.versions.accept(message):
            return False
        breaker = self.breakers.get(message.sender)
        if breaker is not None:
            breaker.success()
        if self.journal is not None:
            self._notify(self.actors.get(message.tx) or self._spawn(message.tx), message)
            return False
        return True

    def deliver(self, delivery: Delivery) -> None:
        """A delivery arrives from the broker."""
        if not self.up:
            self.dropped(delivery.message)
            return
        if self.paused:
            self.backlog.append((self.deliver, delivery))
            return
        tx = delivery.message.tx
        actor = self.actors.get(tx) or self._spawn(tx)
        actor.dated = False
        self._notify(actor, delivery)

    def request(self, request: Request) -> bool:
        """The client's request arrives; whether it has met somebody."""
        if not self.up:
            return False
        if self.paused:
            self.backlog.append((self.request, request))
        else:
            self._notify(self.actors.get(request.tx) or self._spawn(request.tx), request)
        return True

    def confirm(self, confirmation: tuple[RunningMachine, Done]) -> None:
        """The broker's ack of a publication arrives, or its time is over."""
        actor, done = confirmation
        if not actor.alive:
            return
        if self.paused:
            self.backlog.append((self.confirm, confirmation))
            return
        self._notify(actor, done)

    def dropped(self, message: Message) -> None:
        """A message has reached this node while it is down."""
        if self.journal is not None:
            self.journal.dropped(message)

    def _ring(self, token: Token) -> None:
        actor = token.owner
        if not isinstance(actor, RunningMachine) or not actor.alive:
            return
        if self.paused:
            self.backlog.append((self._ring, token))
            return
        if actor.timers is not None and actor.timers.pop(token.kind, None) is token:
            token.owner = None
            self._notify(actor, Timer(token.kind))

    def _spawn(self, tx: int, *, recovered: bool = False) -> RunningMachine:
        record = self.ledger.active.get(tx)
        actor = RunningMachine(self.world.strategy.machine(self.name, tx), tx, record)
        if record is not None and not recovered:
            # A machine that recovery brings back is counted already: see `crash`.
            record.actors += 1
        self.actors[tx] = actor
        return actor

    def _notify(self, actor: RunningMachine, event: Event) -> None:
        if actor.phase:
            self._post(actor, event)
            return
        actor.phase = BUSY
        self._run(actor, actor.machine.handle(event) if self.plain else self._handled(actor, event))

    @staticmethod
    def _post(actor: RunningMachine, event: Event) -> None:
        if actor.mail is None:
            actor.mail = deque()
        actor.mail.append(event)

    def _handled(self, actor: RunningMachine, event: Event) -> list[Effect]:
        """Let a machine handle an event, and write it down."""
        journal, machine = self.journal, actor.machine
        if journal is None:
            return machine.handle(event)
        journal.event(actor, event)
        state = machine.state
        effects = machine.handle(event)
        if self.world.full_log:
            journal.handled(actor, event, effects, state)
        return effects

    def _resume(self, actor: RunningMachine) -> None:
        """A forced write of this machine is durable: on with the effects behind it."""
        if self.paused:
            self.backlog.append((self._resume, actor))
        elif actor.alive:
            self._run(actor, actor.effects, actor.rest)

    def _run(self, actor: RunningMachine, effects: list[Effect], rest: Iterator[Effect] | None = None) -> None:
        """Play effects, or the rest of them, then whatever waits; return when the machine is idle or has to wait for the disk."""
        record = actor.record
        watched = self.watched
        if rest is None:
            rest = iter(effects)
        while True:
            for effect in rest:
                if watched and not self._watch(actor, effect, effects, rest):
                    if actor.alive:
                        continue
                    return
                # Exact classes, the most frequent ones first: these lines run for every effect of every machine.
                kind = type(effect)
                if kind is Message:
                    if record is not None:
                        record.messages += 1
                    to: str = effect.to  # type: ignore[union-attr]
                    link, receive = self.routes.get(to) or self._route(to)
                    # `Link.transmit` without faults, less two calls (the idiom of `environment`).
                    if link.plain:
                        draw, sequence = link.draw, self.sequence
                        heappush(self.queue, (self.env.now + draw(effect.tx), NORMAL, sequence(), receive, effect))  # type: ignore[union-attr, operator]
                    else:
                        link.transmit(receive, effect, effect.tx, effect)  # type: ignore[union-attr]
                elif kind is Append:
                    if not effect.forced:  # type: ignore[union-attr]
                        self._append_lazily(actor, effect)  # type: ignore[arg-type]
                    # No time passes, so nothing can come in between: the program goes on without a detour through the heap.
                    elif self.disk.instant and self._at_once():
                        self._hardened(actor, effect)  # type: ignore[arg-type]
                    else:
                        actor.effects, actor.rest = effects, rest
                        self.force(self._hardened_later, (actor, effect), actor.tx)
                        return
                elif kind is SetTimer:
                    self._set_timer(actor, effect)  # type: ignore[arg-type]
                elif kind is Transact or kind is Prepare or kind is Execute:
                    # The store may end the local transaction inside of `_submit`: no service time, no lock, an instant disk. `finish`
                    # then only leaves the result, since this loop is still running. Otherwise it calls `_run` again, and this call
                    # has to return.
                    actor.effects, actor.rest = effects, rest
                    actor.phase = SUBMITTING
                    self._submit(Work(actor, effect))  # type: ignore[arg-type]
                    if actor.phase == SUBMITTING:
                        actor.phase = WAITING
                        return
                    if not actor.alive:
                        return  # somebody who waited for its locks ran into an aimed crash
                elif kind is Forget:
                    self._forget(actor)
                elif kind is CancelTimer:
                    token = actor.timers.pop(effect.kind, None) if actor.timers else None  # type: ignore[union-attr]
                    if token is not None:
                        token.owner = None
                elif kind is Commit or kind is Rollback:
                    if self._second_phase(actor, effect):  # type: ignore[arg-type]
                        if actor.alive:
                            continue
                        return
                    actor.effects, actor.rest = effects, rest
                    return
                elif not self._rest(actor, effect):
                    actor.effects, actor.rest = effects, rest
                    return
            # A crash that is aimed at the moment behind the last effect.
            if watched and effects and self._injected(actor, effects, rest, 0):
                return
            event: Event
            if actor.done is not None:
                event, actor.done = actor.done, None
            elif actor.mail and actor.alive:
                event = actor.mail.popleft()
            else:
                actor.phase = IDLE
                if actor.alive and not actor.timers:
                    machine = actor.machine
                    if machine.state == machine.initial and actor.tx != DAEMON:
                        self._free(actor)  # a blank machine holds no state: the next event makes another one
                return
            effects = actor.machine.handle(event) if self.plain else self._handled(actor, event)
            rest = iter(effects)

    def _watch(self, actor: RunningMachine, effect: Effect, effects: list[Effect], rest: Iterator[Effect]) -> bool:
        """Look at an effect before it is played; False if it must not be: the node crashed just now, or a breaker is open."""
        if self.armed and self._injected(actor, effects, rest, 1):
            return False
        if type(effect) is Message:
            if self.breakers and not self._allowed(effect.to):
                if self.journal is not None:
                    self.journal.held_back(actor, effect)
                return False
            if self.journal is not None:
                self.journal.effect(actor, effect)
        return True

    def _rest(self, actor: RunningMachine, effect: Effect) -> bool:
        """The effects that happen at once and are not on the hottest path; False if the machine does not go on now."""
        record, now = actor.record, self.env.now
        if self.journal is not None:
            self.journal.effect(actor, effect)
        # The most frequent ones first.
        if isinstance(effect, Acknowledge):
            (self.world.broker or self.world.broker_or_refuse()).acknowledge(self, actor.tx, effect.id)
        elif isinstance(effect, Publish):
            (self.world.broker or self.world.broker_or_refuse()).publish(self, actor, effect)
        elif isinstance(effect, MarkOutbox):
            self._own_store().outbox.mark(effect.ids, now)
        elif isinstance(effect, Answer):
            if record is not None:
                self.world.answered(record, effect.outcome)
        elif isinstance(effect, Decided):
            if record is not None:
                self.ledger.decided(record, effect.outcome == "committed", now)
        elif isinstance(effect, ReadOutbox):
            actor.done = Done(effect.tag, "done", self._own_store().read_outbox(effect))
        elif isinstance(effect, Suspect):
            if record is not None:
                record.retries += 1
            breaker = self.breakers.get(effect.node)
            if breaker is not None:
                breaker.failure(now)
        elif isinstance(effect, Alert):
            self.ledger.counts["alerts"] += 1
            if effect.stuck and record is not None:
                record.stuck = True
        elif isinstance(effect, LogOnce):
            self.world.vote_store_or_refuse().ask(self, actor, effect)
        elif not isinstance(effect, _PLAYED_IN_RUN):
            raise unknown_effect(effect, f"{actor.machine!r} asked for")
        return actor.alive

    def _set_timer(self, actor: RunningMachine, effect: SetTimer) -> None:
        factor = self.timer_factor
        delay = effect.delay * factor
        extra = self.jitter(actor.tx) * effect.jitter * factor if effect.jitter else 0.0
        timers = actor.timers
        if timers is None:
            timers = actor.timers = {}
        else:
            token = timers.get(effect.kind)
            if token is not None:
                due = self.env.now + delay + extra
                if token.seen <= due:
                    token.due = due  # where it waits already, it will be found to be due later
                    return
                token.owner = None
        token = timers[effect.kind] = Token(actor, effect.kind, self._ring)
        self.timers.start(token, delay, extra)

    def _forget(self, actor: RunningMachine) -> None:
        if self.journal is not None:
            self.journal.effect(actor, _FORGET)
        self._free(actor)
        if actor.tx in self.durable:
            self.log.forget(actor.tx)
        if actor.mail:
            # What came before the machine was forgotten goes to a blank one, as it would have done a moment later. Timers are gone with their machine.
            mail, actor.mail = actor.mail, None
            for event in mail:
                if isinstance(event, Timer):
                    continue
                self._notify(self.actors.get(actor.tx) or self._spawn(actor.tx), event)

    def _free(self, actor: RunningMachine) -> None:
        if self.actors.get(actor.tx) is actor:
            del self.actors[actor.tx]
            if actor.record is not None:
                actor.record.actors -= 1
                actor.record.last_activity = self.env.now
        actor.alive = False
        if actor.timers:
            for token in actor.timers.values():
                token.owner = None
            actor.timers = None

    def _route(self, to: str) -> tuple[Link, Callable[[Message], None]]:
        """The link to another node, and who takes the message there."""
        if to not in self.world.nodes:
            raise ProtocolViolation(
                f"{self.name} sends to '{to}', which is no node; there are {', '.join(self.world.nodes)}"
            )
        route = self.routes[to] = self.world.link(self.name, to), self.world.nodes[to].receive
        return route

    def _allowed(self, to: str) -> bool:
        breaker = self.breakers.get(to)
        if breaker is None or breaker.allow(self.env.now):
            return True
        self.ledger.counts["breaker_rejections"] += 1
        return False

    def outbox_written(self) -> None:
        """A local transaction with outbox rows has committed: wake the daemons of a strategy that wants it."""
        if self.world.wake_on_commit:
            for daemon in self.daemons:
                # Not at once: the program that has committed is still being played.
                self.env.call_in(0.0, self._wake, daemon)

    def _wake(self, daemon: RunningMachine) -> None:
        if daemon.alive and not self.paused:
            self._notify(daemon, Timer("wake"))

    def arm(self, armed: AimedCrash) -> None:
        """Aim a crash at one effect of one transaction."""
        self.armed.append(armed)
        self.watched = True

    def _injected(self, actor: RunningMachine, effects: list[Effect], rest: Iterator[Effect], taken: int) -> bool:
        """Crash here if a fault was aimed at the effect that comes next, or at the moment after the one before it.

        Args:
            actor: Whose program it is.
            effects: The program.
            rest: What is left of it.
            taken: 1 if the effect that comes next has been taken from the rest already, else 0.
        """
        if not self.armed:
            return False
        # An iterator says how much it has left, so that programs need no counter for faults that most runs do not have.
        position = len(effects) - length_hint(rest) - taken
        row = self._outbox_row
        for armed in list(self.armed):
            behind = position > 0 and armed.hits(actor, effects[position - 1], row, before=False)
            if behind or (position < len(effects) and armed.hits(actor, effects[position], row, before=True)):
                self.armed.remove(armed)
                # The log says which effects the crash has prevented: those from here on.
                actor.effects, actor.rest, actor.phase = effects, iter(effects[position:]), BUSY
                armed.strike(self)
                return True
        return False

    def _outbox_row(self, number: int) -> Message | None:
        return None if self.store is None else self.store.outbox.row(number)

    # --- its own disk and its own store ---------------------------------------------------------------------------------------------

    def _at_once(self) -> bool:
        """Return whether a forced write to an instant disk takes no time right now; it is counted then."""
        if self.disk.stalled:
            return False
        self.disk.note_instant()
        return True

    def _append_lazily(self, actor: RunningMachine, effect: Append) -> None:
        if actor.record is not None:
            actor.record.lazy += 1
        actor.lazy = True
        self.log.write(actor.tx, effect.record)
        if self.journal is not None:
            self.journal.appended(actor, effect)

    def _hardened(self, actor: RunningMachine, effect: Append) -> None:
        if actor.record is not None:
            actor.record.forced += 1
        self.log.force(actor.tx, effect.record, after_lazy=actor.lazy)
        if self.journal is not None:
            self.journal.appended(actor, effect)

    def _hardened_later(self, write: tuple[RunningMachine, Append]) -> None:
        actor, effect = write
        self._hardened(actor, effect)
        self._resume(actor)

    def buffered(self, since: float) -> bool:
        """Return whether what was written lazily at this time may still be in the memory of a process, whatever others have forced since."""
        return self.log.buffered(since)

    def survives(self, since: float) -> bool:
        """Return whether a lazy rollback of this time has reached the store's log by now: it is before whatever the store has forced since."""
        return self.disk.durable_until >= since or not self.log.buffered(since)

    def _submit(self, work: Work) -> None:
        if self.outage:
            self.stalled.append(work)
            return
        effect, record, pool = work.effect, work.actor.record, self.pool
        if pool is None:
            raise ProtocolViolation(
                f"{work.actor.machine!r} runs a local transaction on {self.name}, which has no store"
            )
        store = self.store
        if store is not None and work.tx in store.open:
            store.outbox.begin(work)
            store.run(
                work
            )  # the session of an open branch is there already: it does not queue behind those who wait for its locks
            return
        demand = 0.0
        if record is not None:
            if type(effect) is Transact and effect.compensation:
                for step in effect.steps:
                    demand += self.undo_draws[step](work.tx)
            else:
                # Drawn when the transaction arrived, so that every strategy meets the same service times.
                for step in effect.steps:
                    demand += record.demands[step]
        if store is not None and store.works_inside:
            work.inside, demand = demand, 0.0
        if not pool.submit(work, demand):
            self._own_store().drop(work, "failed")

    def wanted(self, work: Work) -> bool:
        """Return whether a worker is to begin with this: False if it may still be refused, and the client's deadline is over. It is refused then."""
        actor, effect = work.actor, work.effect
        record = actor.record
        if record is None or record.answer or not actor.dated or not effect.steps:
            return True
        if type(effect) is Transact and effect.compensation:
            return True
        if self.env.now <= record.arrival + self.world.deadline:
            return True
        steps = record.plan.steps
        if type(effect) is Transact and any(steps[index].kind == "retriable" for index in effect.steps):
            return True
        work.operations = REFUSE
        if work.inside > 0:
            work.inside = 0.0
        self.expired += 1
        if self.journal is not None:
            self.journal.expired(work.actor, effect.tag)
        return False

    def served(self, work: Work) -> None:
        """The service time of a local transaction is over."""
        if self.pool is None or self.store is None or work.epoch != self.pool.epoch:
            return  # the node crashed meanwhile
        if self.paused:
            self.backlog.append((self.served, work))
            return
        if self.provider is not None and work.operations is not REFUSE:
            self.provider.begin(work)
        else:
            self.store.run(work)

    def work_inside(self, work: Work) -> None:
        """A local transaction that works with its locks has them: its service time begins."""
        demand, work.inside = work.inside, -1.0
        if self.pool is not None:
            self.pool.spend(work, demand, self.worked)

    def worked(self, work: Work) -> None:
        """The service time of a local transaction that works with its locks is over."""
        if self.pool is None or self.store is None or work.epoch != self.pool.epoch:
            return  # the node crashed meanwhile
        if self.paused:
            self.backlog.append((self.worked, work))
            return
        self.store.worked(work)

    def finish(self, work: Work, status: Any, value: Any) -> None:
        """A local transaction has ended: free its worker, and give its machine the result."""
        store, pool = self.store, self.pool
        if store is not None:
            store.outbox.under_way.pop(work, None)
        if pool is not None and work.epoch == pool.epoch:
            pool.release(work)
        actor = work.actor
        if not actor.alive:
            return
        if status == "refused" and actor.record is not None:
            actor.record.refused = True
        if self.journal is not None and not work.forced:
            self.journal.worked(actor, work.effect, status, forced=False)
        if self.paused:
            self.backlog.append((self._tell, (actor, Done(work.effect.tag, status, value))))
            return
        actor.done = Done(work.effect.tag, status, value)
        # If the loop in `_run` is still waiting for `_submit` to return, it takes the result itself.
        submitting = actor.phase == SUBMITTING
        actor.phase = BUSY
        if not submitting:
            self._run(actor, actor.effects, actor.rest)

    def _tell(self, news: tuple[RunningMachine, Done]) -> None:
        """The pause is over: give a machine the result of its local transaction."""
        actor, done = news
        if actor.alive:
            actor.done = done
            actor.phase = BUSY
            self._run(actor, actor.effects, actor.rest)

    def _second_phase(self, actor: RunningMachine, effect: Commit | Rollback) -> bool:
        """Commit or roll back the branch; False if the machine has to wait for the disk."""
        store = self._own_store()
        branch = store.prepared.get(actor.tx)
        record = actor.record
        if branch is None:
            # A branch that was never prepared is rolled back; one that has ended already leaves nothing to do (a decision comes again after a
            # recovery).
            branch = store.open.get(actor.tx)
            if branch is not None and isinstance(effect, Rollback):
                store.roll_back(branch, lazy=False)
            return True
        in_doubt = self.env.now - branch.prepared_since
        branch.actor = actor  # after a recovery it is another one
        if isinstance(effect, Rollback) and not effect.forced:
            if record is not None:
                # Presumed abort: nothing waits for this write. A crash may bring the branch back, which then asks the coordinator.
                record.lazy += 1
                record.in_doubt += in_doubt
            if self.journal is not None:
                self.journal.second_phase(actor, "rollback", in_doubt, forced=False)
            store.roll_back(branch, lazy=True)
            return True
        if self.disk.instant and self._at_once():
            self._finalise(actor, branch, effect, in_doubt)
            return True
        self.force(self._finalise_later, (actor, branch, effect, in_doubt), actor.tx)
        return False

    def _finalise(self, actor: RunningMachine, branch: Work, effect: Commit | Rollback, in_doubt: float) -> None:
        store = self._own_store()
        if actor.record is not None:
            actor.record.forced += 1
            actor.record.in_doubt += in_doubt
        if self.journal is not None:
            self.journal.second_phase(actor, type(effect).__name__.lower(), in_doubt, forced=True)
        if isinstance(effect, Commit):
            store.commit_prepared(branch)
        else:
            store.roll_back(branch, lazy=False)

    def _finalise_later(self, arguments: tuple[RunningMachine, Work, Commit | Rollback, float]) -> None:
        self._finalise(*arguments)
        self._resume(arguments[0])

    def _own_store(self) -> Store:
        if self.store is None:
            raise ProtocolViolation(f"{self.name} has no store")
        return self.store

    # --- crash, restart, pause ----------------------------------------------------------------------------------------------------

    def crash(self) -> None:
        """Lose everything volatile: machines, timers, open local transactions, and the lazy records not yet on disk."""
        if not self.up:
            return
        self.up = False
        self.paused = False
        self.unusual = True
        if self.journal is not None:
            self.journal.fault("crash")
        self.log.crash()
        if self.store is not None:
            self.store.crash()
        kept_branches = self.store.prepared if self.store is not None else {}
        for actor in (*self.actors.values(), *self.daemons):
            actor.alive = False
            if actor.timers:
                for token in actor.timers.values():
                    token.owner = None
            if self.journal is not None and actor.phase:
                self.journal.lost(
                    actor,
                    # The effect of a local transaction under way has left the iterator, and has not happened.
                    actor.effects[actor.position - 1 :]
                    if actor.phase >= SUBMITTING
                    else actor.effects[actor.position :],
                )
            # Without a record or a branch no recovery makes this machine again: the node does not work on its transaction any more.
            if actor.record is not None and actor.tx not in self.durable and actor.tx not in kept_branches:
                actor.record.actors -= 1
                self.forgotten.append(actor.record)
        known = set(self.actors)
        for tx in (*self.durable, *kept_branches):  # resurrected by a lost lazy record: the machine will be back
            if tx not in known:
                record = self.ledger.active.get(tx)
                if record is not None:
                    record.actors += 1
                known.add(tx)
        # Requests that waited for the end of a pause are lost with the process that had received them.
        for callback, waiting in self.backlog:
            if callback == self.request and (begun := self.ledger.active.get(waiting.tx)) is not None:
                self.forgotten.append(begun)
        self.actors.clear()
        self.daemons.clear()
        self.backlog.clear()
        self.stalled.clear()
        # Breakers are memory as well.
        self.breakers = {name: CircuitBreaker(b.policy) for name, b in self.breakers.items()}
        self.disk.crash()
        if self.pool is not None:
            self.pool.crash()

    def restart(self) -> None:
        """Come back with what is on disk: recover every machine that has records, then start the daemons."""
        if self.up:
            return
        self.up = True
        self.unusual = self.journal is not None or bool(self.breakers) or self.versions is not None
        if self.journal is not None:
            self.journal.fault("restart")
        branches = list(self.store.prepared) if self.store is not None else []
        # By number, so that recovery goes in one order, whatever was written first.
        for tx in sorted({*self.durable, *branches}):
            actor = self._spawn(tx, recovered=True)
            records = list(self.durable.get(tx, ()))
            prepared = self.store.record_of(tx) if self.store is not None else None
            if prepared is not None:
                records.append(prepared)
            actor.phase = BUSY
            effects = actor.machine.recover(records)
            if self.journal is not None and self.world.full_log:
                self.journal.recovered(actor, records, effects)
            self._run(actor, effects)
            # A crash that was aimed at the recovery has struck.
            if not self.up:
                return
        # Machines first: the broker brings deliveries again as soon as the node is connected, and the relay reads what recovery has left.
        self._presume()
        self.start_daemons()
        if self.world.broker is not None:
            self.world.broker.connected(self.name)

    def _presume(self) -> None:
        """Abort what was begun here before a crash and has left no record: where the strategy presumes so, or if it has left no trace anywhere."""
        forgotten, self.forgotten = self.forgotten, []
        again = self.world.asked_again  # then it will be begun once more
        for record in forgotten:
            if not record.decision and (self.presumes or (traceless(record) and not again)):
                self.ledger.decided(record, False, self.env.now)
                if self.journal is not None:
                    self.journal.presumed(record.tx)

    def start_daemons(self) -> None:
        """Start the long-running machines of this node."""
        for machine in self.world.strategy.daemons(self.name):
            daemon = RunningMachine(machine, DAEMON, None)
            self.daemons.append(daemon)
            self._notify(daemon, Timer("start"))

    def pause(self) -> None:
        """Stop handling anything, as a long garbage collection or a stopped process does."""
        if self.up:
            self.paused = self.unusual = True

    def unpause(self) -> None:
        """Go on after a pause: what came in meanwhile is handled in its order."""
        self.paused = False
        self.unusual = not self.up or self.journal is not None or bool(self.breakers) or self.versions is not None
        backlog, self.backlog = self.backlog, []
        for position, (callback, argument) in enumerate(backlog):
            # One of these may crash the node, or pause it again.
            if self.paused or not self.up:
                self.backlog.extend(backlog[position:])
                return
            callback(argument)

    def begin_outage(self) -> None:
        """The store and the log stop answering."""
        self.outage = True
        self.disk.stall()

    def end_outage(self) -> None:
        """The store answers again."""
        self.outage = False
        self.disk.resume()
        stalled, self.stalled = self.stalled, []
        for work in stalled:
            if work.actor.alive:
                self._submit(work)
