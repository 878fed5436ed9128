"""Links between nodes: latency, loss, duplication, reordering and partitions, random by transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappush
from typing import TYPE_CHECKING, Any

from simtx.event_log.journal import of_message
from simtx.simulator.environment import NORMAL, Environment
from simtx.workload.by_transaction import Draw, TransactionStreams

if TYPE_CHECKING:
    from simtx.event_log.log import LogRecorder
    from simtx.scenario.infrastructure import LinkSpec

Receive = Callable[[Any], None]


class Link:
    """One direction between two nodes. It delays and, if asked to, loses, duplicates and reorders; it keeps no order by itself.

    The k-th message of a transaction on a link always meets the same latency and the same luck. It does not matter what other transactions do,
    nor whether the messages before it were lost or copied.

    Args:
        env: The clock.
        source: Where messages come from.
        destination: Where they go to.
        latency: Draws a latency in seconds, for a transaction.
        spec: What the scenario says of the path.
        streams: Random numbers by transaction.
        component: Name of this link's streams.
        instant: Whether it takes no time at all.
    """

    __slots__ = (
        "_component",
        "_draws",
        "_env",
        "_spec",
        "_streams",
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
        latency: Draw,
        spec: LinkSpec,
        streams: TransactionStreams,
        component: str,
        *,
        instant: bool,
    ) -> None:
        self._env = env
        self.draw = latency
        self._spec = spec
        self._streams = streams
        self._component = component
        self._draws: dict[str, Draw] = {}  # made when they are first needed: most links are never disturbed
        self.source = source
        self.destination = destination
        self.instant = instant
        self.loss = [spec.loss] if spec.loss else []
        self.duplication = [spec.duplication] if spec.duplication else []
        self.reorder = [spec.reorder] if spec.reorder else []
        self.blocked = 0
        self.trace: LogRecorder | None = None
        self.plain = True
        self.changed()

    def changed(self) -> None:
        """Decide whether the short path is enough; to be called after a fault was added or removed."""
        self.plain = not (self.blocked or self.loss or self.duplication or self.reorder)

    def transmit(self, receive: Receive, payload: Any, tx: int, message: Any = None) -> None:
        """Carry a payload of a transaction; `message` is what it is called in the event log when it is lost."""
        delay = self.draw(tx)
        if self.plain:
            env, sequence = self._env, self._env.sequence
            heappush(env.queue, (env.now + delay, NORMAL, sequence(), receive, payload))  # as in `Node._run`
            return
        if self._hit("reorder", self.reorder, tx):
            delay += self._variate("reorder-delay", tx)
        copied = self._hit("duplication", self.duplication, tx)
        if self.blocked or self._hit("loss", self.loss, tx):
            if message is not None:
                of_message(self.trace, "drop", self.source, message, actor="network", peer=self.destination)
            return
        self._env.call_in(delay, receive, payload)
        if copied:
            delay = self._variate("copy-latency", tx) + self._variate("copy-delay", tx)
            self._env.call_in(delay, receive, payload)

    def carry(self, receive: Receive, payload: Any, tx: int) -> bool:
        """Carry a payload over a connection: it arrives once, or it is lost, which its sender notices.

        Returns:
            False: it is lost.
        """
        delay = self.draw(tx)
        if not self.plain:
            if self._hit("reorder", self.reorder, tx):
                delay += self._variate("reorder-delay", tx)
            if self.blocked or self._hit("loss", self.loss, tx):
                return False
        self._env.call_in(delay, receive, payload)
        return True

    def _hit(self, purpose: str, chances: list[float], tx: int) -> bool:
        """Return whether one of several independent chances comes true; one draw, so that another fault of a kind shifts nothing."""
        if not chances:
            return False
        draw = self._draws.get(purpose)
        if draw is None:
            draw = self._draws[purpose] = self._streams.uniform(self._component, purpose)
        return draw(tx) >= spared(chances)

    def _variate(self, purpose: str, tx: int) -> float:
        """Latency of a copy, or how much longer a copy or a message takes that is held up, in seconds."""
        draw = self._draws.get(purpose)
        if draw is None:
            distribution = self._spec.latency if purpose == "copy-latency" else self._spec.reorder_delay
            draw = self._draws[purpose] = self._streams.draws(distribution, self._component, purpose)
        return draw(tx)


def spared(chances: Sequence[float]) -> float:
    """The probability that none of several independent chances comes true."""
    rest = 1.0
    for chance in chances:
        rest *= 1.0 - chance
    return rest
