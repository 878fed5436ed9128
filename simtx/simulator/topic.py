"""The topic of a consumer group at the partitioned log: the broker's side of its partitions.

The log is that of `simtx.simulator.partitioned_log`, with its mechanisms: an instance gets up to `fetch` events of a partition at once, has them in its memory and handles them one
after the other; a request waits at the broker until there is something; what is older than the `retention` is gone, whoever has not read it; while the broker
is down it stores nothing and gives nothing. But several instances read, and each from where it says: an event stays until it is too old, whoever has done it.

An event is as safe as a publication that is repeated until it is acknowledged: it is stored when the broker is back. Its way and that of a fetch have the latency of the links
between the broker and the service; what a link loses comes later, as over TCP.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from simtx.scenario import BrokerSpec
    from simtx.simulator.surroundings import Surroundings

AGAIN: Final = 0.05
"""Seconds after which somebody tries again who has found the broker down."""


class Event(NamedTuple):
    """A change of a key.

    Attributes:
        key: Which.
        version: Of its value.
        time: When it was committed, in seconds.
        stored: When the broker stored it.
    """

    key: str
    version: int
    time: float
    stored: float


class Request(NamedTuple):
    """A request for what comes next in a partition.

    Attributes:
        instance: Who asks.
        partition: For which.
        epoch: Of the assignment that it takes for its own.
        offset: From where on.
    """

    instance: str
    partition: int
    epoch: int
    offset: int


class Topic:
    """Partitions of the events of a group.

    Args:
        world: What it lives in.
        spec: The scenario's broker.
        partitions: How many there are.
        way: Draws the seconds from an instance to the broker, or back.
        given: Called with a request, and the offsets from and up to which the instance then has the events.

    Attributes:
        logs: All events that were ever stored, by partition.
        first: By partition, the first offset that is still there.
    """

    def __init__(
        self,
        world: Surroundings,
        spec: BrokerSpec,
        partitions: int,
        way: Callable[[], float],
        given: Callable[[tuple[Request, int, int]], object],
    ) -> None:
        self._world = world
        self._env = world.env
        self._spec = spec
        self._way = way
        self._given = given
        self.logs: list[list[Event]] = [[] for _ in range(partitions)]
        self.first = [0] * partitions
        self._parked: list[list[Request]] = [[] for _ in range(partitions)]

    @property
    def up(self) -> bool:
        """Return whether the broker answers. A strategy without a broker leaves this one in peace."""
        broker = self._world.broker
        return broker is None or broker.up

    def store(self, partition: int, event: Event) -> None:
        """Append an event; for a broker that is up."""
        self.logs[partition].append(event)
        parked, self._parked[partition] = self._parked[partition], []
        for request in parked:
            self._answer(request)

    def fetch(self, request: Request) -> None:
        """An instance asks for what comes next."""
        self._env.call_in(self._way(), self._asked, request)

    def _asked(self, request: Request) -> None:
        if self.up:
            self._answer(request)
        else:
            self._env.call_in(AGAIN, self._asked, request)

    def _answer(self, request: Request) -> None:
        """Give an instance up to `fetch` events, or let it wait for the next one."""
        number = request.partition
        self._expire(number)
        begin = max(request.offset, self.first[number])
        end = min(begin + self._spec.fetch, len(self.logs[number]))
        if begin < end or begin > request.offset:
            self._env.call_in(self._way(), self._given, (request, begin, max(end, begin)))
        else:
            self._parked[number].append(request)

    def _expire(self, number: int) -> None:
        """Drop what is older than the retention."""
        retention, log = self._spec.retention, self.logs[number]
        if retention is None:
            return
        while self.first[number] < len(log) and self._env.now - log[self.first[number]].stored > retention:
            self.first[number] += 1
