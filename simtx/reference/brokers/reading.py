"""Reading of partitions by a consumer of the embedded broker: one event after the other, and up to an offset."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from simtx.event_log.entries import DEAD_LETTER
from simtx.protocols import Delivery, Message
from simtx.reference.brokers.base import Consume
from simtx.scenario.broker_kinds import partition_of
from simtx.scenario.infrastructure import AT_ONCE


class _Partition:
    """State of one partition in this process: in memory only.

    Attributes:
        queue: Events that were fetched and are not done; the first one is with the consumer.
        position: Id of the last event that was fetched.
        done: Id of the last event that was done.
        attempts: How often the first one was refused.
        commit: Runs until the next commit.
        early: Events that have overtaken the one before them, by the id of that one.
    """

    __slots__ = ("attempts", "commit", "done", "early", "position", "queue")

    def __init__(self) -> None:
        self.queue: deque[tuple[Delivery, int | None]] = deque()
        self.early: dict[int, tuple[Delivery, int | None]] = {}
        self.position = self.done = -1
        self.attempts = 0
        self.commit: asyncio.TimerHandle | None = None


class PartitionReader:
    """The partitions of one consumer.

    Args:
        spec: ``partitions``, ``commit_every``, ``delivery_limit``, ``backoff``, ``nack`` and ``nack_delay``, as a scenario's `[broker]` has them, in seconds.
        consume: Handles an event.
        commit: Tells the broker that all events of a partition up to this one are done.
        given_up: Told of an event that was tried too often.
    """

    def __init__(
        self,
        spec: Mapping[str, Any],
        consume: Consume,
        commit: Callable[[int], None],
        given_up: Callable[[Message, int | None, str], None],
    ) -> None:
        self._spec = spec
        self._consume = consume
        self._say = commit
        self._given_up = given_up
        self._partitions: dict[int, _Partition] = {}
        self._where: dict[int, _Partition] = {}  # by the id of an event that is not done

    def take(self, delivery: Delivery, origin: int | None, *, again: bool, after: int = -1) -> None:
        """An event comes, or comes once more.

        Args:
            delivery: The event.
            origin: Of which entry of the event log.
            again: Whether it was sent before.
            after: Id of the event before it in its partition, if that one was not committed when this one was sent. If it has not come, it was lost, or overtaken: this one waits for it.
        """
        number = partition_of(delivery.message.tx, self._spec["partitions"])
        partition = self._partitions.setdefault(number, _Partition())
        if after > partition.position:
            partition.early[after] = delivery, origin
        elif delivery.id > partition.position:
            self._fetched(partition, delivery, origin, again=again)
            # One after the other, and not inside of each other: a whole fetch may have overtaken its first event.
            while (following := partition.early.pop(partition.position, None)) is not None:
                self._fetched(partition, *following, again=False)
        elif delivery.id <= partition.done:
            self._say(partition.done)  # it was lost on the way, or has not been said yet
        elif again and partition.queue[0][0].id == delivery.id:
            self._consume(delivery, origin, True)

    def _fetched(self, partition: _Partition, delivery: Delivery, origin: int | None, *, again: bool) -> None:
        """The next event of a partition is there."""
        partition.position = delivery.id
        partition.queue.append((delivery, origin))
        self._where[delivery.id] = partition
        if len(partition.queue) == 1:
            partition.attempts = 0
            self._consume(delivery, origin, again)

    def done(self, number: int) -> None:
        """An event is done: commit it, soon, and go on with the next."""
        partition = self._where.pop(number, None)
        if partition is None or partition.queue[0][0].id != number:
            return
        partition.queue.popleft()
        partition.done = number
        every = self._spec["commit_every"]
        if not every:
            self._say(number)
        elif partition.commit is None:
            partition.commit = asyncio.get_running_loop().call_later(every, self._commit, partition)
        if partition.queue:
            partition.attempts = 0
            # Not inside of each other: a consumer may be done at once.
            asyncio.get_running_loop().call_soon(self._begin, partition, partition.queue[0][0].id)

    def _begin(self, partition: _Partition, number: int) -> None:
        if partition.queue and partition.queue[0][0].id == number:
            self._consume(*partition.queue[0], False)

    def _commit(self, partition: _Partition) -> None:
        partition.commit = None
        self._say(partition.done)

    def refused(self, number: int) -> None:
        """The consumer cannot handle an event: it tries again, up to its limit."""
        partition = self._where.get(number)
        if partition is None or not self._spec["nack"]:
            return
        partition.attempts += 1
        limit, waits = self._spec["delivery_limit"], self._spec["backoff"]
        if limit is not None and partition.attempts >= limit:
            delivery, origin = partition.queue[0]
            self._given_up(delivery.message, origin, DEAD_LETTER)
            self.done(number)
            return
        pause = waits[min(partition.attempts, len(waits)) - 1] if waits else self._spec["nack_delay"]
        asyncio.get_running_loop().call_later(max(pause, AT_ONCE), self._again, partition, number)

    def _again(self, partition: _Partition, number: int) -> None:
        if partition.queue and partition.queue[0][0].id == number:
            self._consume(*partition.queue[0], True)

    def close(self) -> None:
        """Commit what is done."""
        for partition in self._partitions.values():
            if partition.commit is not None:
                partition.commit.cancel()
                self._commit(partition)
