"""A node on a host: whatever comes in takes processor time before it is handled."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Final

from simtx.protocols import (
    Acknowledge,
    Answer,
    Delivery,
    Done,
    Effect,
    Event,
    LogOnce,
    MarkOutbox,
    Message,
    Publish,
    Request,
)
from simtx.simulator.host import Process, Start
from simtx.simulator.node import Node, Surroundings
from simtx.simulator.running_machine import RunningMachine
from simtx.simulator.timers import Token
from simtx.simulator.work import Work

if TYPE_CHECKING:
    from simtx.simulator.disk import Disk
    from simtx.workload.by_transaction import Draw

_SENT: Final = frozenset((Message, Publish, LogOnce, Acknowledge, Answer))
"""Effects that leave the process: each takes processor time of its own."""


class _Turn:
    """Stands before an effect that leaves the process, until the process has had the processor time for it."""

    __slots__ = ()


_TURN: Final[Any] = _Turn()


class HostedNode(Node):
    """A node whose process shares the cores of a host with others.

    What a machine sends leaves one after the other, each when the process has had the time for it. The next event comes after the last. So the first of
    five participants gets a decision well before the fifth. What the end of a local transaction causes is in the processor time of the local transaction.

    Attributes:
        process: Its share of the host; set by who makes the node.
    """

    __slots__ = ("_start", "process")

    hosted: ClassVar[bool] = True
    process: Process

    def __init__(self, world: Surroundings, name: str, disk: Disk, jitter: Draw, lazy_flush: float) -> None:
        super().__init__(world, name, disk, jitter, lazy_flush)
        self.force = self._force
        self._start: Start | None = None  # of a node that was down, and will be back

    # --- what comes in ----------------------------------------------------------------------------------------------------------

    def receive(self, message: Message) -> None:
        """A message arrives from the network."""
        if self.up:
            self.process.handle(self._take, message)
        else:
            self.dropped(message)

    def _take(self, message: Message) -> None:
        """The process gets to a message."""
        if not self.unusual or self._accept(message):
            self._notify(self.actors.get(message.tx) or self._spawn(message.tx), message)

    def deliver(self, delivery: Delivery) -> None:
        """A delivery arrives from the broker."""
        if self.up:
            self.process.handle(super().deliver, delivery)
        else:
            self.dropped(delivery.message)

    def request(self, request: Request) -> bool:
        """The client's request arrives; whether it has met somebody, even if that is a node which crashes over it."""
        if not self.up:
            return False
        self.process.handle(super().request, request)
        return True

    def confirm(self, confirmation: tuple[RunningMachine, Done]) -> None:
        """The broker's ack of a publication arrives, or its time is over."""
        if confirmation[0].alive:
            self.process.handle(super().confirm, confirmation)

    def served(self, work: Work) -> None:
        """The service time of a local transaction is over, or comes when it has its locks; its processor time comes on top."""
        if work.inside >= 0:
            super().served(work)
        elif self.pool is not None and work.epoch == self.pool.epoch:
            self.process.transact(super().served, work)

    def worked(self, work: Work) -> None:
        """The service time of a local transaction that works with its locks is over; its processor time comes on top."""
        if self.pool is not None and work.epoch == self.pool.epoch:
            self.process.transact(super().worked, work)

    def _ring(self, token: Token) -> None:
        actor = token.owner
        if not isinstance(actor, RunningMachine) or not actor.alive or actor.timers is None:
            return
        if actor.timers.get(token.kind) is not token:
            return
        # It is due, and is looked at when the process gets to it. Until then it can be cancelled, or be set anew, which makes another token.
        late = actor.timers[token.kind] = Token(actor, token.kind, self._ring)
        late.seen = float("inf")
        token.owner = None
        self.process.handle(super()._ring, late)

    def _wake(self, daemon: RunningMachine) -> None:
        self.process.handle(super()._wake, daemon)

    # --- what goes out ----------------------------------------------------------------------------------------------------------

    def _handled(self, actor: RunningMachine, event: Event) -> list[Effect]:
        effects = super()._handled(actor, event)
        if not self.process.spec.effect:
            return effects
        return [part for one in effects for part in ((_TURN, one) if type(one) in _SENT else (one,))]

    def _rest(self, actor: RunningMachine, effect: Effect) -> bool:
        if effect is not _TURN:
            if type(effect) is MarkOutbox:
                self.process.aside(self.process.spec.mark_aside)
            return super()._rest(actor, effect)
        self.process.go_on_with(self.process.spec.effect, self._sent, actor)
        return False

    def _sent(self, actor: RunningMachine) -> None:
        """The process has had the time for what it sends next."""
        if self.paused:
            self.backlog.append((self._sent, actor))
        elif actor.alive:
            self._run(actor, actor.effects, actor.rest)

    def _force(self, callback: Callable[[Any], object], argument: Any, tx: int) -> None:
        self.process.force(self._write, (callback, argument, tx))

    def _write(self, write: tuple[Callable[[Any], object], Any, int]) -> None:
        self.disk.force(*write)

    # --- crash, restart, pause -----------------------------------------------------------------------------------------------------------

    def crash(self) -> None:
        """Lose everything volatile, what the process had to do included."""
        self.process.crash()
        if self._start is not None:
            self._start.crash()
            self._start = None
        super().crash()

    def restart(self) -> None:
        """Start anew, which takes processor time, and then come back: the process, and that of the relay beside it, which starts at the same time."""
        if self.up or not self.process.spec.restart:
            super().restart()
        else:
            relay = (
                [Process(self.process.host, self.process.spec)] if list(self.world.strategy.daemons(self.name)) else []
            )
            self._start = Start([self.process, *relay], self._started)

    def _started(self) -> None:
        self._start = None
        super().restart()

    def pause(self) -> None:
        """Stop handling anything."""
        super().pause()
        if self.up:
            self.process.halt()

    def unpause(self) -> None:
        """Go on after a pause."""
        self.process.go_on()
        super().unpause()
