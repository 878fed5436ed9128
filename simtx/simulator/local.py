"""What a node does with its own disk and its own store: log records, local transactions, the second phase of a branch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from simtx.errors import ProtocolViolation
from simtx.metrics.journal import Journal
from simtx.metrics.ledger import Ledger
from simtx.protocols import Append, Commit, Done, Effect, Message, Record, Rollback, Transact
from simtx.protocols.breaker import CircuitBreaker
from simtx.simulator.actor import BUSY, SUBMITTING, Actor
from simtx.simulator.disk import Disk
from simtx.simulator.network import Link
from simtx.simulator.pool import Pool
from simtx.simulator.store import Store
from simtx.simulator.work import Work
from simtx.workload.by_transaction import Draw

if TYPE_CHECKING:
    from simtx.simulator.faults import Armed
    from simtx.simulator.world import World


class LocalWork:
    """The part of a `Node` that makes things durable; `simtx.simulator.interpreter` has the part that decides what.

    Args:
        world: What the node lives in.
        name: Its name.
        disk: Its log device.
        jitter: Draws a number from 0 to 1 for a timer of a transaction.
    """

    __slots__ = (
        "actors",
        "armed",
        "backlog",
        "breaker_rejections",
        "breakers",
        "daemons",
        "disk",
        "durable",
        "endings",
        "env",
        "jitter",
        "journal",
        "lazy",
        "ledger",
        "name",
        "outage",
        "paused",
        "pool",
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
        "watched",
        "world",
    )

    def __init__(self, world: World, name: str, disk: Disk, jitter: Draw) -> None:
        self.world = world
        self.env = world.env
        self.queue = world.env.queue
        self.sequence = world.env.sequence
        self.timers = world.timers
        self.ledger: Ledger = world.ledger
        self.journal = Journal(world.trace, name) if world.trace is not None else None
        self.name = name
        self.disk = disk
        self.jitter = jitter
        self.pool: Pool | None = None
        self.store: Store | None = None
        self.actors: dict[int, Actor] = {}
        self.daemons: list[Actor] = []
        self.durable: dict[int, list[Record]] = {}
        self.lazy: deque[tuple[float, int, Record]] = deque()
        self.endings: deque[tuple[float, int, list[Record]]] = deque()
        self.breakers: dict[str, CircuitBreaker] = {}
        self.breaker_rejections = 0
        self.up = True
        self.paused = False
        self.unusual = self.journal is not None
        self.watched = self.journal is not None
        self.outage = False
        self.routes: dict[str, tuple[Link, Callable[[Message], None]]] = {}
        self.backlog: list[tuple[Callable[[Any], object], Any]] = []
        self.stalled: list[Work] = []
        self.timer_factor = 1.0
        self.armed: list[Armed] = []
        self.undo_draws: list[Draw] = []

    def _run(self, actor: Actor, effects: list[Effect], rest: Iterator[Effect] | None = None) -> None:
        raise NotImplementedError

    def _resume(self, actor: Actor) -> None:
        raise NotImplementedError

    def _at_once(self) -> bool:
        """Whether a forced write takes no time right now; it is counted then."""
        disk = self.disk
        if disk.instant and not disk.stalled:
            disk.note_instant()
            return True
        return False

    def _append_lazily(self, actor: Actor, effect: Append) -> None:
        if actor.record is not None:
            actor.record.lazy += 1
        actor.lazy = True
        self.durable.setdefault(actor.tx, []).append(effect.record)
        self.lazy.append((self.env.now, actor.tx, effect.record))
        while len(self.lazy) > 256 and not self.buffered(self.lazy[0][0]):
            self.lazy.popleft()
        if self.journal is not None:
            self.journal.appended(actor, effect)

    def _hardened(self, actor: Actor, effect: Append) -> None:
        if actor.record is not None:
            actor.record.forced += 1
        try:
            self.durable[actor.tx].append(effect.record)
        except KeyError:
            self.durable[actor.tx] = [effect.record]
        if actor.lazy and self.lazy:  # it takes the earlier records of its transaction along
            self.lazy = deque(entry for entry in self.lazy if entry[1] != actor.tx)
        if self.journal is not None:
            self.journal.appended(actor, effect)

    def _hardened_later(self, write: tuple[Actor, Append]) -> None:
        actor, effect = write
        self._hardened(actor, effect)
        self._resume(actor)

    def buffered(self, since: float) -> bool:
        """Whether what was written lazily at this time may still be in the memory of a process, whatever others have forced since."""
        return self.env.now - since <= self.world.lazy_flush(self.name)

    def survives(self, since: float) -> bool:
        """Whether a lazy rollback of this time has reached the store's log by now: it is before whatever the store has forced since."""
        return self.disk.durable_until >= since or self.env.now - since > self.world.lazy_flush(self.name)

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
                for step in effect.steps:
                    demand += record.demands[step]
        if not pool.submit(work, demand):
            self._own_store().drop(work, "failed")

    def served(self, work: Work) -> None:
        """The service time of a local transaction is over."""
        if self.pool is None or self.store is None or work.epoch != self.pool.epoch:
            return  # the node crashed meanwhile
        if self.paused:
            self.backlog.append((self.served, work))
            return
        self.store.run(work)

    def finish(self, work: Work, status: Any, value: Any) -> None:
        """A local transaction has ended: free its worker, tell its machine."""
        if self.store is not None:
            self.store.outbox.end(work)
        if work.epoch >= 0 and self.pool is not None:
            self.pool.release(work)
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
        submitting = actor.phase == SUBMITTING
        actor.phase = BUSY
        if not submitting:
            self._run(actor, actor.effects, actor.rest)

    def _tell(self, news: tuple[Actor, Done]) -> None:
        """The pause is over: tell a machine that its local transaction had ended."""
        actor, done = news
        if actor.alive:
            actor.done = done
            actor.phase = BUSY
            self._run(actor, actor.effects, actor.rest)

    def _second_phase(self, actor: Actor, effect: Commit | Rollback) -> bool:
        """Commit or roll back the branch; False if the machine has to wait for the disk."""
        store = self._own_store()
        branch = store.prepared.get(actor.tx)
        record = actor.record
        if branch is None:
            branch = store.open.get(actor.tx)
            if branch is not None and isinstance(effect, Rollback):
                store.roll_back(branch, lazy=False)
            return True
        in_doubt = self.env.now - branch.prepared_since
        branch.actor = actor  # after a recovery it is another one
        if isinstance(effect, Rollback) and not effect.forced:
            if record is not None:
                record.lazy += 1
                record.in_doubt += in_doubt
            if self.journal is not None:
                self.journal.second_phase(actor, "rollback", in_doubt, forced=False)
            store.roll_back(branch, lazy=True)
            return True
        if self._at_once():
            self._finalise(actor, branch, effect, in_doubt)
            return True
        self.disk.force(self._finalise_later, (actor, branch, effect, in_doubt), actor.tx)
        return False

    def _finalise(self, actor: Actor, branch: Work, effect: Commit | Rollback, in_doubt: float) -> None:
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

    def _finalise_later(self, arguments: tuple[Actor, Work, Commit | Rollback, float]) -> None:
        self._finalise(*arguments)
        self._resume(arguments[0])

    def _own_store(self) -> Store:
        if self.store is None:
            raise ProtocolViolation(f"{self.name} has no store")
        return self.store
