"""Links between nodes: latency, loss, duplication, reordering and partitions, one stream of random numbers a link."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from simtx.simulator.environment import Environment

if TYPE_CHECKING:
    from simtx.metrics.trace import TraceRecorder

Receive = Callable[[Any], None]


class Link:
    """One direction between two nodes. It delays and, if told to, loses, duplicates and reorders; it keeps no order by itself."""

    __slots__ = (
        "_env",
        "_extra",
        "_uniform",
        "blocked",
        "destination",
        "draw",
        "duplication",
        "instant",
        "loss",
        "plain",
        "reorder",
        "source",
        "trace",
    )

    def __init__(
        self,
        env: Environment,
        source: str,
        destination: str,
        draw: Callable[[], float],
        extra: Callable[[], float],
        uniform: Callable[[], float],
        *,
        instant: bool,
        loss: float,
        duplication: float,
        reorder: float,
    ) -> None:
        self._env = env
        self.draw = draw
        self._extra = extra
        self._uniform = uniform
        self.source = source
        self.destination = destination
        self.instant = instant
        self.loss = [loss] if loss else []
        self.duplication = [duplication] if duplication else []
        self.reorder = [reorder] if reorder else []
        self.blocked = 0
        self.trace: TraceRecorder | None = None
        self.plain = True
        self.changed()

    def changed(self) -> None:
        """To be called after a fault was added or removed: decides whether the short path is enough."""
        self.plain = not (self.blocked or self.loss or self.duplication or self.reorder)

    def sample(self) -> float:
        """One latency, in seconds."""
        return self.draw()

    def transmit(self, receive: Receive, payload: Any, message: Any = None) -> None:
        """Carry a payload; `message` is what it is called in the event log when it is lost."""
        if self.plain:
            self._env.call_in(self.draw(), receive, payload)
            return
        if self.blocked or self._hit(self.loss):
            trace = self.trace
            if trace is not None and message is not None:
                trace.log(
                    "drop",
                    self.source,
                    message.tx,
                    trace.origin(message),
                    actor="network",
                    peer=self.destination,
                    name=message.kind,
                )
            return
        delay = self.draw()
        if self._hit(self.reorder):
            delay += self._extra()
        self._env.call_in(delay, receive, payload)
        if self._hit(self.duplication):
            self._env.call_in(self.draw() + self._extra(), receive, payload)

    def _hit(self, chances: list[float]) -> bool:
        for chance in chances:  # noqa: SIM110 - a generator costs more than the draw
            if self._uniform() < chance:
                return True
        return False
