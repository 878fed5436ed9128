"""The local work of a real node: what its effects ask of its own database, in threads beside the event loop.

Local transactions run on the service's workers, with their service time; the short writes of the protocol (records, second phase, outbox) beside them,
so that a decision never queues behind those who wait for its locks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Protocol, assert_never

from simtx.errors import ProtocolViolation
from simtx.protocols import Append, Commit, Done, Execute, OutboxRow, Prepare, ReadOutbox, Rollback, Transact
from simtx.reference.node.outside import REFUSE
from simtx.reference.node.workers import Workers, perform

if TYPE_CHECKING:
    from simtx.event_log.journal import Journal
    from simtx.reference.node.crash_points import KillSwitch
    from simtx.reference.node.outside import Outside
    from simtx.reference.node.running_machine import RunningMachine
    from simtx.reference.run_folder.event_log import LogFile
    from simtx.reference.stores.base import Result, Store

SIDE_WORKERS: Final = 4
SESSIONS: Final = 64
"""Open local transactions that go on at once; the threads are started when they are needed."""
OPEN: Final = -1.0
"""Service time that says that no worker has served: the local transaction was open already."""
DAMAGE: Final = "heuristic-damage"
CONFIRMED: Final = "heuristic-confirmed"


class Host(Protocol):
    """Node of local work, as far as the work needs it (`simtx.reference.node.node.Node`)."""

    name: str
    log: LogFile
    journal: Journal
    kills: KillSwitch
    heuristics: dict[int, str]
    stopped: bool

    def resume(self, actor: RunningMachine) -> None:
        """Play the effects that are left."""

    def free(self, actor: RunningMachine) -> None:
        """Forget a machine."""

    def end(self, error: BaseException) -> None:
        """The node cannot go on."""

    def record(self, actor: RunningMachine, act: str, **details: Any) -> None:
        """Write down in the audit log what a machine does."""


class _Turn:
    """Facts about a local transaction that are known when its worker begins with it."""

    __slots__ = ("demand", "inside", "late", "rows")

    def __init__(self, demand: float, inside: float) -> None:
        self.demand = demand  # seconds of work; `OPEN`: no worker serves
        self.inside = inside  # of these, those with the row locks in hand
        self.rows: Sequence[int] = ()  # numbers of outbox rows that were drawn before the work
        self.late = False  # it is refused, since the client's deadline is over

    def begin_late(self) -> None:
        """Begin as one that nobody wants any more: it takes no time."""
        self.demand = self.inside = 0.0
        self.late = True


def _no_time(_tx: int, _step: int, _compensation: bool) -> float:
    """No service time."""
    return 0.0


@dataclass(frozen=True, slots=True)
class WorkSpec:
    """Settings of a node's local transactions.

    Attributes:
        workers: How many at once; 0 for a node without operations of its own.
        queue_limit: How many may wait.
        demand: Seconds of work of a step of a transaction: (tx, step, compensation).
        works_inside: Whether that work is done inside of the local transaction, with its row locks in hand.
        outside: Has a provider do what this service would do; None: there is none.
        retriable: Steps that are begun behind a client's deadline, too; None: deadlines do not travel.
    """

    workers: int = 0
    queue_limit: int | None = None
    demand: Callable[[int, int, bool], float] = _no_time
    works_inside: bool = False
    outside: Outside | None = None
    retriable: Collection[int] | None = None


class LocalWork:
    """Plays those effects of a node's machines that concern its database.

    Args:
        node: Whose machines they are.
        store: The database.
        spec: How it is done.
        wake: Called when outbox rows were committed; None: the relay finds them by itself.

    Attributes:
        slowness: Factor of the service times.
        begins: Told which keys a local transaction wants to change, when it begins; None: nobody wants to know.
        committed: Told (old, new) by key and the row of history of what is committed; likewise.
    """

    def __init__(self, node: Host, store: Store, spec: WorkSpec, wake: Callable[[], None] | None) -> None:
        self.slowness = 1.0
        self.begins: Callable[[Sequence[str]], None] | None = None
        self.committed: Callable[[Mapping[str, tuple[float, float]], int], None] | None = None
        self._node = node
        self._store = store
        self._spec = spec
        self._log = node.log
        self._journal = node.journal
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        self._workers = Workers(f"{node.name}-worker", spec.workers, spec.queue_limit) if spec.workers else None
        self._side = Workers(f"{node.name}-side", SIDE_WORKERS)
        self._sessions = ThreadPoolExecutor(SESSIONS, f"{node.name}-session")
        self._open: set[int] = set()  # transactions with an open local transaction

    @property
    def queued(self) -> int:
        """Local transactions that wait for a worker."""
        return 0 if self._workers is None else max(0, self._workers.busy - self._workers.count)

    @property
    def busy(self) -> bool:
        """Return whether anything is under way."""
        return bool(self._side.busy or (self._workers is not None and self._workers.busy))

    def stop(self) -> None:
        """Begin nothing more, and let what is under way in threads end."""
        if self._workers is not None:
            self._workers.stop()
        self._side.stop()
        self._sessions.shutdown(wait=False, cancel_futures=True)

    def _aside(self, job: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Do something that blocks beside the workers, then go on here."""

        def report(result: Any, error: BaseException | None, begun: float, ended: float) -> None:  # noqa: ARG001
            self._loop.call_soon_threadsafe(self._finish_aside, result, error, then)

        self._side.submit(job, report)

    def _finish_aside(self, result: Any, error: BaseException | None, then: Callable[[Any], None]) -> None:
        self._side.busy -= 1
        if error is not None:
            self._node.end(error)
        elif not self._node.stopped:
            then(result)

    def append(self, actor: RunningMachine, effect: Append) -> bool:
        """Write a record; False if the effects behind it have to wait for it."""
        store, tx = self._store, actor.tx
        # The store only notes it, without input or output: the event loop need not hand it to a thread.
        if not effect.forced and store.buffers:
            store.append(tx, effect.record, forced=False)
            self._journal.appended(actor, effect)
            return True

        def then(_: object) -> None:
            self._journal.appended(actor, effect)
            self._node.resume(actor)

        self._aside(lambda: store.append(tx, effect.record, forced=effect.forced), then)
        return False

    def submit(self, actor: RunningMachine, effect: Transact | Execute | Prepare) -> None:
        """Have a worker run a local transaction; its end comes back to the machine as a `Done`."""
        if self._workers is None:
            self._node.end(
                ProtocolViolation(
                    f"{actor.machine!r} runs a local transaction on {self._node.name}, which has no store"
                )
            )
            return
        spec, tx = self._spec, actor.tx
        if spec.outside is not None and not isinstance(effect, Transact):
            what = type(effect).__name__
            self._node.end(
                ProtocolViolation(
                    f"{actor.machine!r} asks {self._node.name} for a {what}, which its provider cannot do"
                )
            )
            return
        compensation = isinstance(effect, Transact) and effect.compensation
        demand = self.slowness * sum(spec.demand(tx, step, compensation) for step in effect.steps)
        already = tx in self._open
        turn = _Turn(demand, demand if spec.works_inside and not already else 0.0)

        def begin() -> float:
            if self._late(actor, effect):
                turn.begin_late()
            elif turn.demand > 0 and isinstance(effect, Transact) and effect.outbox_rows() and spec.outside is None:
                # It inserts its event first and does the rest then, as in the simulator.
                turn.rows = self._store.reserve(effect)
            return turn.demand - turn.inside

        def job() -> Result:
            if self.begins is not None:
                changed = [one.key for one in effect.operations if one.kind in ("add", "set")]
                self._loop.call_soon_threadsafe(self.begins, changed)
            return self._perform(actor, effect, turn)

        def report(result: Any, error: BaseException | None, begun: float, ended: float) -> None:
            self._loop.call_soon_threadsafe(self._worked, actor, effect, result, error, turn, begun, ended)

        if already:  # its session is there already: it must not queue behind those who wait for its locks
            turn.demand = OPEN
            self._sessions.submit(perform, job, report)
            return
        if not self._workers.submit(job, report, begin):
            self._journal.worked(actor, effect, "failed", forced=False)
            # Not at once: the caller is still in the middle of the machine's program.
            self._loop.call_soon(self._told, actor, Done(effect.tag, "failed"))

    def _late(self, actor: RunningMachine, effect: Transact | Execute | Prepare) -> bool:
        """Return whether the client's deadline is over, and the step may still be refused."""
        kept, deadline = self._spec.retriable, actor.deadline
        if kept is None or deadline is None or time.monotonic() <= deadline or not effect.steps:
            return False
        return not (
            isinstance(effect, Transact) and (effect.compensation or any(step in kept for step in effect.steps))
        )

    def _perform(self, actor: RunningMachine, effect: Transact | Execute | Prepare, turn: _Turn) -> Result:
        """Run it, in the thread of its worker or of its session."""
        store, tx = self._store, actor.tx
        if turn.late:
            effect = replace(effect, operations=REFUSE)
        match effect:
            case Transact():
                if self._spec.outside is not None and not turn.late:
                    return self._spec.outside.transact(actor, effect, self.slowness)
                return store.transact(tx, effect, turn.rows, turn.inside)
            case Execute():
                return store.execute(tx, effect, turn.inside)
            case Prepare():
                return store.prepare(tx, effect, turn.inside)
            case _:
                assert_never(effect)

    def _worked(
        self,
        actor: RunningMachine,
        effect: Transact | Execute | Prepare,
        result: Result,
        error: BaseException | None,
        turn: _Turn,
        begun: float,
        ended: float,
    ) -> None:
        """A local transaction has ended in a worker's thread, or in that of its session."""
        # `OPEN` stands for a local transaction whose session was there already: it has taken no worker.
        demand = turn.demand
        served = demand >= 0
        if self._workers is not None and served:
            self._workers.busy -= 1
        if error is not None:
            self._node.end(error)
            return
        if self._node.stopped:
            return
        log, journal, tx = self._log, self._journal, actor.tx
        if isinstance(effect, Execute) and result.status == "done":
            self._open.add(tx)
        elif not isinstance(effect, Transact):
            self._open.discard(tx)
        if served:
            # The thread has noted these times; this callback runs later, by however long the event loop was busy.
            log.when = begun
            if turn.late:
                journal.expired(actor, effect.tag)
            worked = not self._spec.works_inside or result.status not in ("duplicate", "failed")
            journal.serving(tx, "serve", demand if worked else 0.0)
        log.when = ended
        if result.waited:
            journal.waited(tx, result.waited, result.wait_end or "granted")
        journal.worked(actor, effect, result.status, forced=result.forced)
        if isinstance(effect, Transact):
            self._applied(actor, result, effect.steps, compensation=effect.compensation)
        if result.unlocked:
            journal.unlocked(tx, result.unlocked, result.held)
        if served:
            journal.serving(tx, "free")
        log.when = None
        # The audit log is written before the machine goes on, so before any message about it leaves the node.
        if isinstance(effect, Prepare) and result.status == "done":
            self._node.record(actor, "prepare", steps=effect.steps)
        if result.outbox and self._wake is not None:
            self._wake()
        self._told(actor, Done(effect.tag, result.status, result.value))

    def _told(self, actor: RunningMachine, done: Done) -> None:
        actor.done = done
        self._node.resume(actor)

    def _applied(self, actor: RunningMachine, result: Result, steps: Sequence[int], *, compensation: bool) -> None:
        """Writes the changes and reads of a local transaction into the event log and the audit log."""
        if not result.changes and not result.reads:
            return
        self._journal.applied(
            actor,
            steps,
            result.changes,
            compensation=compensation,
            reads=result.reads,
            refused=result.status == "refused",
            history=result.history,
        )
        if result.changes:
            self._node.record(
                actor,
                "compensate" if compensation else "apply",
                steps=steps,
                changes=result.changes,
                history=result.history,
                reason="the transaction is being undone" if compensation else "",
            )
        if result.changes and self.committed is not None:
            self.committed(result.changes, result.history)

    def second_phase(self, actor: RunningMachine, effect: Commit | Rollback) -> None:
        """Commit or roll back a prepared branch; the machine goes on afterwards."""
        store, tx = self._store, actor.tx
        kind = type(effect).__name__.lower()

        def job() -> tuple[Result, float]:
            if isinstance(effect, Rollback):
                return store.rollback(tx, forced=effect.forced), time.monotonic()
            # The time is taken in the thread that commits, since locks end there.
            return store.commit(tx), time.monotonic()

        def then(finished: tuple[Result, float]) -> None:
            result, ended = finished
            if isinstance(effect, Rollback):
                self._open.discard(tx)
            self._log.when = ended
            if result.in_doubt >= 0:
                forced = isinstance(effect, Commit) or effect.forced
                self._journal.second_phase(actor, kind, result.in_doubt, forced=forced)
                self._applied(actor, result, result.steps, compensation=False)
            if result.unlocked:
                self._journal.unlocked(tx, result.unlocked, result.held)
            self._log.when = None
            if result.in_doubt >= 0:
                self._node.record(actor, kind)
            elif tx in self._node.heuristics:
                self._compare(actor, kind, self._node.heuristics.pop(tx))
            elif result.broken:
                self._damaged(actor, f"somebody else has ended the prepared branch by a {result.broken}", kind)
            self._node.resume(actor)

        self._aside(job, then)

    def _compare(self, actor: RunningMachine, kind: str, heuristic: str) -> None:
        """The decision has come for a branch that an operator had ended before."""
        if kind == heuristic:
            self._node.record(actor, kind, name=CONFIRMED, reason="the operator had decided likewise")
            return
        self._damaged(actor, f"the operator had decided {heuristic}", kind)

    def _damaged(self, actor: RunningMachine, what: str, kind: str) -> None:
        """A prepared branch was ended against the coordinator's decision: an alert, and a line of the audit log."""
        reason = f"heuristic damage: {what}, the coordinator says {kind}"
        self._log.log("alert", self._node.name, actor.tx, actor.cause, actor=actor.machine.role, name=reason)
        self._node.record(actor, "alert", name=DAMAGE, reason=reason)

    def forget(self, actor: RunningMachine) -> bool:
        """Free the machine; its successor must not write records before those of this one are gone."""
        if self._store.buffers:
            self._store.forget(actor.tx)
            self._node.free(actor)
            return True

        def then(_: object) -> None:
            self._node.free(actor)
            self._node.resume(actor)

        self._aside(lambda: self._store.forget(actor.tx), then)
        return False

    def read_outbox(self, actor: RunningMachine, effect: ReadOutbox) -> None:
        """Read the outbox; the rows come back to the machine in a `Done`."""

        def then(rows: tuple[OutboxRow, ...]) -> None:
            self._node.kills.read(rows)
            self._told(actor, Done(effect.tag, "done", rows))

        self._aside(lambda: self._store.read_outbox(effect.limit, below_horizon=effect.below_horizon), then)
