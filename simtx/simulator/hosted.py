"""A node on a host: whatever comes in takes processor time before it is handled."""

from __future__ import annotations

from collections.abc import Iterator

from simtx.protocols import Delivery, Done, Effect, Message, Request
from simtx.simulator.actor import Actor
from simtx.simulator.host import Process
from simtx.simulator.node import Node
from simtx.simulator.timers import Token
from simtx.simulator.work import Work


class HostedNode(Node):
    """A node whose process shares the cores of a host with others.

    The effects of a machine happen when its event is handled; the time that they take keeps the process busy before its next event. What the end
    of a local transaction causes is in the processor time of the local transaction.

    Attributes:
        process: Its share of the host; set by who makes the node.
    """

    __slots__ = ("process",)

    process: Process

    # --- what comes in ----------------------------------------------------------------------------------------------------------

    def receive(self, message: Message) -> None:
        """A message arrives from the network."""
        if self.up:
            self.process.run(self.process.spec.event, super().receive, message)
        else:
            self._dropped(message)

    def deliver(self, delivery: Delivery) -> None:
        """A delivery arrives from the broker."""
        if self.up:
            self.process.run(self.process.spec.event, super().deliver, delivery)
        else:
            self._dropped(delivery.message)

    def request(self, request: Request) -> bool:
        """The client's request arrives; whether it has met somebody."""
        if self.up:
            self.process.run(self.process.spec.event, super().request, request)
        return self.up

    def confirm(self, confirmation: tuple[Actor, Done]) -> None:
        """The broker's ack of a publication arrives, or its time is over."""
        if confirmation[0].alive:
            self.process.run(self.process.spec.event, super().confirm, confirmation)

    def served(self, work: Work) -> None:
        """The service time of a local transaction is over; its processor time comes on top."""
        if self.pool is not None and work.epoch == self.pool.epoch:
            self.process.run(self.process.spec.transaction, super().served, work)

    def _ring(self, token: Token) -> None:
        actor = token.owner
        if not isinstance(actor, Actor) or not actor.alive or actor.timers is None:
            return
        if actor.timers.get(token.kind) is not token:
            return
        # It is due, and is looked at when the process gets to it. Until then it can be cancelled, or be set anew, which makes another token.
        late = actor.timers[token.kind] = Token(actor, token.kind, self._ring)
        late.seen = float("inf")
        token.owner = None
        self.process.run(self.process.spec.event, super()._ring, late)

    def _wake(self, daemon: Actor) -> None:
        self.process.run(self.process.spec.event, super()._wake, daemon)

    def _resume(self, actor: Actor) -> None:
        if actor.alive:
            self.process.run(self.process.spec.event, super()._resume, actor)

    def _run(self, actor: Actor, effects: list[Effect], rest: Iterator[Effect] | None = None) -> None:
        if rest is None:
            self.process.charge(self.process.spec.effect * len(effects))
        super()._run(actor, effects, rest)

    # --- crash, pause -----------------------------------------------------------------------------------------------------------

    def crash(self) -> None:
        """Lose everything volatile, what the process had to do included."""
        self.process.crash()
        super().crash()

    def pause(self) -> None:
        """Stop handling anything."""
        super().pause()
        if self.up:
            self.process.halt()

    def unpause(self) -> None:
        """Go on after a pause."""
        self.process.go_on()
        super().unpause()
