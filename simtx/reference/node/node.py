"""A real node: the interpreter of effects in a process of its own, with a real database, real sockets and a real broker.

It is the third of the three interpreters (beside the simulator's `Node` and the checker's); the contract it keeps is that of
`simtx.protocols.contract`. Everything below happens on one event loop; only what may block runs in threads: local transactions with their
service time on the service's workers, and the short writes of the protocol (records, second phase, outbox) beside them. So a decision never
queues behind those who wait for its locks.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from operator import length_hint
from typing import TYPE_CHECKING, Any, Final

from simtx.errors import PeerFault, ProtocolViolation
from simtx.event_log.journal import Journal
from simtx.protocols import contract as c
from simtx.protocols.breaker import CircuitBreaker
from simtx.protocols.extras import extras
from simtx.protocols.names import CLIENT, DAEMON
from simtx.protocols.naming import UnknownEffect, unknown_effect
from simtx.protocols.policies import Policies
from simtx.reference.brokers.base import BrokerFailed
from simtx.reference.node.local_work import LocalWork, WorkSpec
from simtx.reference.node.running_machine import Intervention, RunningMachine
from simtx.reference.node.timers import Timers
from simtx.reference.run_folder.audit import AuditError
from simtx.reference.stores.base import StoreFailed

if TYPE_CHECKING:
    from simtx.reference.brokers.base import BrokerClient
    from simtx.reference.node.crash_points import KillSwitch
    from simtx.reference.run_folder.audit import AuditLog
    from simtx.reference.run_folder.event_log import LogFile
    from simtx.reference.stores.base import Store, VoteStore

_PLAYED_IN_BEGIN: Final = (
    c.Message,
    c.Append,
    c.SetTimer,
    c.CancelTimer,
    c.Transact,
    c.Prepare,
    c.Execute,
    c.Commit,
    c.Rollback,
    c.ReadOutbox,
    c.Forget,
)
_NO_WORK: Final = WorkSpec()
RECOVER: Final = "recover"
_VOTERS: Final = 4  # requests to the vote store that one process has under way
LAST_WORDS: Final = 0.02
"""Grace period in seconds for sends before a crash point ends the process: it may have to connect first."""


class Node:
    """The machines of one node.

    Args:
        name: Name of the node.
        strategy: Which machines play here.
        policies: Timeouts and retries, for the circuit breakers and publications.
        log: The event log of this process.
        audit: The audit log of this node, or None (a relay has none of its own).
        store: Its database.
        broker: Its connection to the broker, or None.
        votes: The shared vote store, or None.
        send: Hands a message, its origin and the deadline of its transaction to the network.
        answer: Hands an answer to the client: transaction, outcome, reason, origin.
        wake: Tells the relay beside this node that outbox rows were committed.
        fail: Called once with what ends the process: a store that cannot go on, a machine that broke the contract.
        wrap: Puts a message into the envelope in which it goes through the broker.
        kills: Where this process is to die.
        work: How its local transactions are done.
        seed: Of the back-off's jitter.

    Attributes:
        local: Its work on its own database.
        stuck: Why machines wait for an operator, by transaction.
        heuristics: What an operator has decided for branches in doubt, ``commit`` or ``rollback``, while the coordinator's decision has
            not come.
    """

    def __init__(
        self,
        name: str,
        strategy: c.Strategy,
        policies: Policies,
        *,
        log: LogFile,
        audit: AuditLog | None,
        store: Store,
        broker: BrokerClient | None,
        votes: VoteStore | None = None,
        send: Callable[[c.Message, int, float | None], None],
        answer: Callable[[int, str, str, int], None],
        wake: Callable[[], None],
        fail: Callable[[BaseException], None],
        wrap: Callable[[c.Message], c.Message],
        kills: KillSwitch,
        work: WorkSpec = _NO_WORK,
        seed: int = 0,
    ) -> None:
        self.name = name
        self.strategy = strategy
        self.policies = policies
        self.log = log
        self.journal = Journal(log, name)
        self.audit = audit
        self.store = store
        self.broker = broker
        self.kills = kills
        self.actors: dict[int, RunningMachine] = {}
        self.daemons: list[RunningMachine] = []
        self.breakers: dict[str, CircuitBreaker] = {}
        self.stuck: dict[int, str] = {}
        self.heuristics: dict[int, str] = {}
        self.timer_factor = 1.0
        self.votes = votes
        self.publishing = 0
        self.voting = 0
        self._voters = ThreadPoolExecutor(_VOTERS, "votes") if votes is not None else None
        self._loop = asyncio.get_running_loop()
        self.local = LocalWork(self, store, work, wake if extras(strategy).wake_on_commit else None)
        self._send = send
        self._answer = answer
        self._fail = fail
        self._wrap = wrap
        self._random = random.Random(f"{seed}:{name}")  # noqa: S311 - jitter, not cryptography
        self._tasks: set[asyncio.Task[None]] = set()
        self.stopped = False
        self._timers = Timers()
        self._rings = itertools.count()
        self._operators: dict[int, tuple[c.Request, Callable[[Intervention], None]]] = {}  # the reference keeps the id

    # --- what comes in ----------------------------------------------------------------------------------------------------------

    def receive(self, message: c.Message, origin: int | None, deadline: float | None = None) -> None:
        """A message arrives from the network, with the deadline of its transaction if that travels."""
        if self.policies.breaker is not None:
            self._breaker(message.sender).success()
        self._notify(self._dated(message.tx, deadline), message, origin)

    def refuse(self, number: int) -> None:
        """A delivery cannot be handled, and no machine has seen it."""
        self._task(self._broker().refuse(number))

    def acknowledge(self, number: int) -> None:
        """A delivery is not handed to any machine, and needs not come again."""
        self._task(self._broker().acknowledge(number))

    def deliver(self, delivery: c.Delivery, origin: int | None) -> None:
        """A delivery arrives from the broker; an event has no deadline."""
        actor = self._actor(delivery.message.tx)
        actor.deadline = None
        self._notify(actor, delivery, origin)

    def request(self, request: c.Request, origin: int | None = None, deadline: float | None = None) -> None:
        """A client or an operator asks for something; a client until a deadline, if that travels."""
        self._notify(self._dated(request.tx, deadline), request, origin)

    def intervene(self, request: c.Request, then: Callable[[Intervention], None]) -> None:
        """An operator asks for something; `then` is called with the machine's reaction, before its effects."""
        self._operators[id(request)] = (request, then)
        self._notify(self._actor(request.tx), request, None)

    def hold(self, tx: int) -> bool:
        """Let what comes for a machine wait, until `let_go`; False if it is busy."""
        actor = self.actors[tx]
        if actor.busy:
            return False
        actor.busy = True
        return True

    def let_go(self, tx: int) -> None:
        """Let a machine go on after `hold`, with what came meanwhile."""
        self._next(self.actors[tx])

    def ring(self, tx: int) -> list[str]:
        """Let those timers fire now that only repeat something; returns their names."""
        actor = self.actors[tx]
        state = actor.machine.state
        rows = actor.machine.transitions
        repeating = [
            row.event for row in rows if row.state == state and row.to == (state,) and row.event in actor.timers
        ]
        for kind in repeating:
            self._ring(actor, kind, actor.timers[kind])
        return repeating

    def wake_daemons(self) -> None:
        """A local transaction of the service beside has committed outbox rows."""
        for daemon in self.daemons:
            self._notify(daemon, c.Timer("wake"), None)

    def _dated(self, tx: int, deadline: float | None) -> RunningMachine:
        """The machine of a transaction, told of the client's deadline."""
        actor = self._actor(tx)
        if deadline is not None:
            actor.deadline = deadline
        return actor

    def _actor(self, tx: int) -> RunningMachine:
        actor = self.actors.get(tx)
        if actor is None:
            actor = self.actors[tx] = RunningMachine(self.strategy.machine(self.name, tx), tx)
        return actor

    def _notify(self, actor: RunningMachine, event: c.Event, origin: int | None) -> None:
        if self.stopped:
            return
        if actor.busy:
            actor.mail.append((event, origin))
            return
        try:
            self._play(actor, event, origin)
        except Exception as error:  # noqa: BLE001 - who calls us would take it for a fault of the event
            self.end(error)

    # --- the interpreter --------------------------------------------------------------------------------------------------------

    def _play(self, actor: RunningMachine, event: c.Event, origin: int | None) -> None:
        if self.stopped:
            return
        actor.busy = True
        if self._handle(actor, event, origin):
            self.resume(actor)
        else:
            self._next(actor)

    def _handle(self, actor: RunningMachine, event: c.Event, origin: int | None) -> bool:
        """Let the machine react; False if it refused the event as one that no correct peer causes."""
        problem = _unfit(actor.machine, event)
        if problem:
            self.log.log("refuse", self.name, actor.tx, origin, actor="host", name=event.kind, detail=problem)
            return False
        if isinstance(event, c.Message):
            self.log.sent(event, origin) if origin is not None else None
        elif isinstance(event, c.Delivery) and origin is not None:
            self.log.sent(event.message, origin)
        # The log wants the state before the event, which the handler changes.
        machine = actor.machine
        state = machine.state
        try:
            effects = machine.handle(event)
        # The sender is at fault: the event is refused, and this node goes on. Any other error is one of the machine, after which nothing that it says
        # can be relied on.
        except PeerFault as fault:
            self.journal.event(actor, event)
            self.log.log("refuse", self.name, actor.tx, actor.cause, actor="host", name=event.kind, detail=str(fault))
            self._reply(event, Intervention(state, state, problem=str(fault)))
            return False
        except ProtocolViolation as violation:
            if id(event) in self._operators:  # a machine that has no answer for operators is not broken by a request
                self._reply(event, Intervention(state, state, problem=str(violation)))
            else:
                self.end(violation)
            return False
        except Exception as error:  # noqa: BLE001 - whatever it is, who has sent the event is not to blame
            self.end(ProtocolViolation(f"{machine!r} cannot handle '{event.kind}': {type(error).__name__}: {error}"))
            return False
        self.journal.event(actor, event)
        self.journal.handled(actor, event, effects, state)
        if isinstance(event, c.Request) and event.kind == "begin":  # an operator's was audited when it came
            self.tell("request", actor.tx, CLIENT, name=event.kind, reason=str(event.body or ""))
        self._reply(event, Intervention(state, machine.state, effects))
        if machine.state != state and self.stuck.pop(actor.tx, None) is not None and not isinstance(event, c.Request):
            self.record(actor, "freed", reason=f"'{event.kind}' came after all")
        actor.event, actor.state = event.kind, state
        actor.effects = effects
        actor.rest = iter(effects)
        return True

    def _reply(self, event: c.Event, outcome: Intervention) -> None:
        """Tell the operator, if it was one who asked."""
        if self._operators:
            known = self._operators.pop(id(event), None)
            if known is not None:
                known[1](outcome)

    def resume(self, actor: RunningMachine) -> None:
        """Play the rest of its effects; return when it has to wait, or when nothing is left and the machine is idle."""
        if self.stopped:
            return
        killing = bool(self.kills.points)
        effects, rest = actor.effects, actor.rest
        for effect in rest:
            if killing and self._killed(actor, effects, len(effects) - length_hint(rest) - 1):
                return
            # What is behind it waits, as the contract asks; whoever ends the effect calls this method again.
            if not self._begin(actor, effect):
                return
        if killing and self._killed(actor, effects, len(effects)):
            return
        self._next(actor)

    def free(self, actor: RunningMachine) -> None:
        """A machine has been forgotten."""
        self.journal.effect(actor, c.Forget())
        given_up = self.stuck.pop(actor.tx, None)
        if given_up is not None:  # nothing is left that could be asked for more
            self.record(actor, "given-up", reason=given_up)
        actor.alive = False
        actor.timers.clear()
        if self.actors.get(actor.tx) is actor:
            del self.actors[actor.tx]

    def _killed(self, actor: RunningMachine, effects: Sequence[c.Effect], position: int) -> bool:
        """Return whether this process ends here. What the effects before this one have sent leaves it first, since a crash at this place may be that late."""
        point = self.kills.check(actor.tx, actor.machine.role, actor.state, actor.event, effects, position)
        if point is None:
            return False
        # At the very beginning nothing was sent that could still have to leave.
        if position == 0:
            self.kills.strike(point)
        self.stopped = True
        self._loop.call_later(LAST_WORDS, self.kills.strike, point)
        return True

    def _next(self, actor: RunningMachine) -> None:
        """Go on after its effects are done: with the result of its store operation, then with its mail."""
        if actor.done is not None:
            event, actor.done = actor.done, None
            # By way of the loop, so that a machine that answers itself does not keep others from their turn.
            self._loop.call_soon(self._play, actor, event, None)
        elif actor.alive and actor.mail:
            event_, origin = actor.mail.popleft()
            self._loop.call_soon(self._play, actor, event_, origin)
        else:
            actor.busy = False
            machine = actor.machine
            if not actor.alive:
                self._pass_on(actor)
            elif actor.tx != DAEMON and not actor.timers and machine.state == machine.initial:
                actor.alive = False
                self.actors.pop(actor.tx, None)  # a blank machine holds no state: the next event makes another one

    def _pass_on(self, actor: RunningMachine) -> None:
        """Hand what came for a machine that has just been forgotten to a blank one, but not its own timers that have rung, nor confirmations."""
        while actor.mail:
            event, origin = actor.mail.popleft()
            # Timers and results belong to the machine that asked for them, and it is gone.
            if not isinstance(event, c.Timer | c.Done):
                self._notify(self._actor(actor.tx), event, origin)

    def _begin(self, actor: RunningMachine, effect: c.Effect) -> bool:
        """Do an effect; False if the ones behind it have to wait for it."""
        match effect:
            case c.Message():
                self._transmit(actor, effect)
            case c.Append():
                return self.local.append(actor, effect)
            case c.SetTimer():
                self._set_timer(actor, effect)
            case c.CancelTimer():
                actor.timers.pop(effect.kind, None)
            case c.Transact() | c.Prepare() | c.Execute():
                self.local.submit(actor, effect)
                return False
            case c.Commit() | c.Rollback():
                self.local.second_phase(actor, effect)
                return False
            case c.ReadOutbox():
                self.local.read_outbox(actor, effect)
                return False
            case c.Forget():
                return self.local.forget(actor)
            case _:
                try:
                    self._rest(actor, effect)
                except UnknownEffect as error:
                    self.end(error)
        return True

    def _transmit(self, actor: RunningMachine, message: c.Message) -> None:
        if self.policies.breaker is not None and not self._breaker(message.to).allow(self._loop.time()):
            self.journal.held_back(actor, message)
            return
        self.journal.effect(actor, message)
        origin = self.log.origin(message)
        if origin is not None:
            self._send(message, origin, actor.deadline)

    def _rest(self, actor: RunningMachine, effect: c.Effect) -> None:
        self.journal.effect(actor, effect)
        if isinstance(effect, c.Answer):
            if actor.deadline is not None and self._loop.time() <= actor.deadline:
                actor.deadline = None  # nobody waits any more
            self._answer(actor.tx, effect.outcome, effect.reason, actor.cause or 0)
        elif isinstance(effect, c.Decided):
            self.record(actor, "decide", name=effect.outcome)
        elif isinstance(effect, c.Suspect):
            if self.policies.breaker is not None:
                self._breaker(effect.node).failure(self._loop.time())
        elif isinstance(effect, c.Alert):
            self.record(actor, "stuck" if effect.stuck else "alert", reason=effect.reason)
            if effect.stuck:
                self.stuck[actor.tx] = effect.reason
        elif isinstance(effect, c.Publish):
            self.publishing += 1
            self._task(self._publish(actor, effect, self.log.origin(effect.message)))
        elif isinstance(effect, c.LogOnce):
            self.voting += 1
            self._task(self._log_once(actor, effect))
        elif isinstance(effect, c.Acknowledge):
            self._task(self._broker().acknowledge(effect.id))
        elif isinstance(effect, c.MarkOutbox):
            self.store.mark_outbox(effect.ids)
        elif not isinstance(effect, _PLAYED_IN_BEGIN):
            raise unknown_effect(effect, f"{actor.machine!r} asked for")

    def _breaker(self, node: str) -> CircuitBreaker:
        breaker = self.breakers.get(node)
        if breaker is None:
            if self.policies.breaker is None:
                raise ValueError("no circuit breaker is wanted")
            breaker = self.breakers[node] = CircuitBreaker(self.policies.breaker)
        return breaker

    def _broker(self) -> BrokerClient:
        if self.broker is None:
            raise ProtocolViolation(f"{self.name} uses the broker, but the strategy says uses_broker=False")
        return self.broker

    def _task(self, work: Any) -> None:
        task: asyncio.Task[None] = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- the audit log ----------------------------------------------------------------------------------------------------------

    def record(self, actor: RunningMachine, act: str, **details: Any) -> None:
        """Write down in the audit log what a machine does."""
        self.tell(act, actor.tx, actor.machine.role, **details)

    def tell(self, act: str, tx: int, who: str, **details: Any) -> None:
        """Write a line of the audit log; a node that cannot keep its audit log does not go on."""
        if self.audit is not None:
            try:
                self.audit.append(act, tx=tx, actor=who, **details)
            except AuditError as error:
                self.end(error)

    # --- timers -----------------------------------------------------------------------------------------------------------------

    def _set_timer(self, actor: RunningMachine, effect: c.SetTimer) -> None:
        delay = (effect.delay + self._random.random() * effect.jitter) * self.timer_factor
        # A call of the clock cannot be taken back in time for certain: it is told by its number whether it still counts.
        number = actor.timers[effect.kind] = next(self._rings)
        self._timers.call_later(delay, self._ring, actor, effect.kind, number)

    def _ring(self, actor: RunningMachine, kind: str, number: int) -> None:
        if actor.alive and actor.timers.get(kind) == number:  # otherwise it was cancelled, or set anew
            del actor.timers[kind]
            self._notify(actor, c.Timer(kind), actor.cause)

    # --- the broker -------------------------------------------------------------------------------------------------------------

    async def _publish(self, actor: RunningMachine, effect: c.Publish, origin: int | None) -> None:
        status: c.Status
        try:
            await asyncio.wait_for(
                self._broker().publish(self._wrap(effect.message), origin), self.policies.publish_timeout
            )
        except (TimeoutError, ConnectionError, BrokerFailed):
            status = "failed"
        else:
            status = "done"
        finally:
            self.publishing -= 1
        if not actor.alive:
            return  # it has forgotten what it asked for
        if status == "done":
            self.journal.confirmed(effect.message)
        self._notify(actor, c.Done(effect.tag, status), None)

    # --- the vote store ---------------------------------------------------------------------------------------------------------

    async def _log_once(self, actor: RunningMachine, effect: c.LogOnce) -> None:
        answer: tuple[str, bool] | None = None
        try:
            if self.votes is None or self._voters is None:
                self.end(
                    ProtocolViolation(f"{self.name} votes in a store, but the strategy has no uses_vote_store=True")
                )
                return
            answer = await self._loop.run_in_executor(
                self._voters, self.votes.log_once, actor.tx, effect.voter, effect.vote
            )
        except StoreFailed:
            pass  # whether the vote is there is not known
        finally:
            self.voting -= 1
        if not actor.alive or self.stopped:
            return  # it has forgotten what it asked for
        if answer is None:
            self._notify(actor, c.Done(effect.tag, "failed"), None)
            return
        vote, written = answer
        self.journal.logged(actor, effect.voter, vote, written=written)
        self._notify(actor, c.Done(effect.tag, "done", (effect.voter, vote)), None)

    # --- start, end, state ------------------------------------------------------------------------------------------------------

    def recover(self) -> None:
        """Recover every machine that has records; the node may listen from here on."""
        for tx, records in sorted(self.store.records().items()):
            self.revive(tx, records)

    def revive(self, tx: int, records: Sequence[c.Record]) -> None:
        """Rebuild a machine that is not there from its records."""
        actor = self._actor(tx)
        actor.busy = True
        effects = actor.machine.recover(records)
        self.journal.recovered(actor, records, effects)
        self.record(actor, "recovered")
        actor.event, actor.state = RECOVER, actor.machine.initial
        actor.effects = effects
        actor.rest = iter(effects)
        self._loop.call_soon(self.resume, actor)

    def start_daemons(self) -> None:
        """Start the long-running machines."""
        for machine in self.strategy.daemons(self.name):
            daemon = RunningMachine(machine, DAEMON)
            self.daemons.append(daemon)
            self._play(daemon, c.Timer("start"), None)

    def working(self) -> list[int]:
        """Transactions whose machines are not through with them."""
        return sorted(self.actors)

    def states(self) -> dict[int, str]:
        """State of the machine of every such transaction."""
        return {tx: actor.machine.state for tx, actor in self.actors.items()}

    @property
    def quiet(self) -> bool:
        """Return whether nothing is under way here."""
        return self.resting and not self.actors

    @property
    def resting(self) -> bool:
        """Return whether everything that is under way here waits for an operator."""
        return not (self.local.busy or self.publishing or self.voting or self.actors.keys() - self.stuck.keys())

    def end(self, error: BaseException) -> None:
        """End this process, which cannot go on."""
        if not self.stopped:
            self.stopped = True
            self._fail(error)

    def stop(self) -> None:
        """Handle nothing any more, and let what is under way in threads end."""
        self.stopped = True
        self._timers.close()
        for task in self._tasks:
            task.cancel()
        if self._voters is not None:
            self._voters.shutdown(wait=False, cancel_futures=True)
        self.local.stop()


def _unfit(machine: c.Machine, event: c.Event) -> str:
    """Reason why a message is one that no correct peer sends, whatever the state of the machine; empty: it may be one."""
    if isinstance(event, c.Delivery):
        event = event.message
    if isinstance(event, c.Message):
        try:
            machine.admit(event)
        except PeerFault as fault:
            return str(fault)
    return ""
