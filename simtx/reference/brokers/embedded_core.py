"""The embedded broker without its sockets: what is stored, who gets what and when, and when a publication is acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import json
import os
import time
from collections import defaultdict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Protocol

from simtx.event_log.entries import DEAD_LETTER, RETENTION, Number
from simtx.protocols import Message
from simtx.protocols.codec import decode_as, dumps
from simtx.reference.brokers.base import BrokerFailed
from simtx.reference.brokers.embedded_log import Batch, DiskLog, MemoryLog, MessageLog, Row
from simtx.scenario.broker_kinds import partition_of
from simtx.scenario.infrastructure import AT_ONCE, BrokerSpec

Frame = dict[str, Any]
Reply = Callable[[str | None], None]
"""Told when a publication is stored (None), or why it cannot be."""
_Waiting = tuple[Reply, bytes | None]

_DIGEST: Final = 16  # bytes of an identity
_EXPANSION: Final = 12  # bytes that a character may have in a frame
_LAZY: Final = 0.01  # seconds for which the removal of what was acknowledged may wait for something else to write
_PAUSE: Final = 0.5  # seconds before it is tried again after a failure
_RETRY: Final = 0.05  # seconds until a delivery is tried again for which there was no room on the connection
_SWEEPS: Final = 10  # looks for messages older than the retention, in one retention's time


class Report(Protocol):
    """Writes an entry of the event log."""

    def __call__(
        self, kind: str, tx: int, *, cause: int | None = None, peer: str = "", name: str = "", detail: str = ""
    ) -> object:
        """Note an observation of this kind: ``redeliver``; ``drop``, with the reason as its detail; ``lag``, with the number of events; ``stored-again``."""


class _Parcel:
    """A stored message, until its consumer acknowledges it."""

    __slots__ = ("coded", "deliveries", "kind", "lane", "row", "sent", "timer")

    def __init__(self, row: Row, coded: Frame, lane: int) -> None:
        self.row = row
        self.coded = coded
        self.kind = str(coded.get("kind"))
        self.lane = lane
        self.sent = 0  # deliveries of this incarnation
        self.deliveries = 0  # of all incarnations, where there is a limit
        self.timer: asyncio.TimerHandle | None = None

    def delivery(self) -> Frame:
        """The frame that takes it to its consumer."""
        row, sent = self.row, self.sent
        about = {"id": row.id, "message": self.coded, "origin": row.origin}
        return {"type": "deliver", **about, "again": sent > 0, "sent": sent}

    def stop(self) -> None:
        """Stop it from coming again by itself."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class _Consumer:
    """A topic and whoever consumes it: its lanes, and how to reach it while it is connected."""

    __slots__ = ("begun", "lanes", "send")

    def __init__(self) -> None:
        self.lanes: dict[int, deque[_Parcel]] = {}
        self.send: Callable[[Frame], bool] | None = None
        self.begun: dict[int, int] = {}  # of a partition, the id of the last event that was sent to this connection


class _Ever:
    """Identities of all that was ever stored, by which it is seen what is stored again; they outlive a crash of the process.

    Args:
        path: Their file, made if it does not exist.

    Raises:
        BrokerFailed: It cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            known = path.read_bytes()
        except OSError as error:
            raise BrokerFailed(f"the broker's file {path} cannot be used: {error.strerror}") from None
        self._known = {known[start : start + _DIGEST] for start in range(0, len(known), _DIGEST)}

    def again(self, body: str) -> bool:
        """Return whether this was stored before; from now on it was."""
        identity = _identity(body)
        if identity in self._known:
            return True
        self._known.add(identity)
        os.write(self._file, identity)
        return False

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


class EmbeddedBroker:
    """The broker's state; everything runs on one event loop, except for the writing.

    Args:
        folder: Where its file lies; made if it does not exist.
        spec: What it guarantees, as the scenario says it. An acknowledged message of the level ``memory`` is lost by a crash. Of the level ``quorum``
            it is written to the file, so that a crash does not lose it, and a power failure may; ``fsync``: forced to the disk.
        report: Writes the event log.
        largest: Bytes that a message may have in a frame.
        counted: Whether it writes down how many events wait in its partitions at most, and what it stores again.

    Raises:
        BrokerFailed: The file cannot be used.
    """

    def __init__(self, folder: Path, spec: BrokerSpec, report: Report, largest: int, *, counted: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._spec = spec
        self._counted = counted
        self._report = report
        self._largest = largest
        self._loop = asyncio.get_running_loop()
        in_memory = spec.ack == "memory"
        self._log: MessageLog = MemoryLog(folder / "broker.count") if in_memory else DiskLog(folder / "broker.sqlite")
        self._next = self._log.first
        self._parcels: dict[int, _Parcel] = {}
        self._consumers: defaultdict[str, _Consumer] = defaultdict(_Consumer)
        self._batch = Batch()
        self._replies: list[_Waiting] = []
        self._due: asyncio.Handle | None = None  # the next write
        self._lazy = False  # it may wait a little
        self._writing = False  # one is under way in the thread
        self._closed = False
        self._thread = None if in_memory else ThreadPoolExecutor(1, "broker-log")
        rows = self._log.recover()
        self._seen = self._remembered(rows)
        self.stored = 0
        self.redelivered = 0
        self.lost = self._log.lost
        self.dead_letters = 0
        self._lag = 0
        self._ever: _Ever | None = None
        if counted:
            self._ever = _Ever(folder / "broker.ids")
            report("lag", -1, detail=Number(0).text())
        if in_memory and self.lost:
            report("drop", -1, detail=f"{self.lost} messages were in the memory of a broker that crashed")
        delivered = self._log.delivered()
        for row in rows:
            self._add(row, json.loads(row.body)).deliveries = delivered.get(row.id, 0)
            if self._ever is not None:
                self._ever.again(row.body)  # it may have been killed between storing this and writing that down
        self._sweeper: asyncio.TimerHandle | None = None
        self._sweep()

    def _remembered(self, rows: list[Row]) -> dict[bytes, float]:
        """Identities that are still known after a restart, by age."""
        window, which = self._spec.deduplication_window, self._spec.deduplication_after_restart
        known = self._log.seen(time.time() - window) if window > 0 else {}
        if which == "all":
            return known
        held = {_identity(row.body) for row in rows} if which == "stored" else set()
        return {identity: since for identity, since in known.items() if identity in held}

    # --- producers --------------------------------------------------------------------------------------------------------------

    def publish(self, coded: Frame, origin: int | None, reply: Reply, producer: str = "") -> None:
        """Store a message; `reply` is called when it is as safe as the level of acknowledgement promises.

        Args:
            coded: The message.
            origin: The event log's entry that published it.
            reply: Told when it is stored, or why it cannot be.
            producer: The process that publishes it, which no other incarnation is.

        Raises:
            CodecError: It is no message.
            BrokerFailed: It is too long.
        """
        message = decode_as(Message, coded)
        body = dumps(message)
        if len(body) * _EXPANSION > self._largest and len(json.dumps(coded)) > self._largest:
            raise BrokerFailed(f"a message may have {self._largest} bytes; this one of kind '{message.kind}' has more")
        now = time.time()
        whose = producer if self._spec.deduplication_by == "producer" else ""
        identity = _identity(whose + body) if self._spec.deduplication_window > 0 else None
        if identity is None or not self._known(identity, now):
            row = Row(self._next, message.to, message.tx, now, origin, body, identity)
            self._next += 1
            self._batch.rows.append(row)
        self._replies.append((reply, identity))  # a duplicate's, too: with or after the write of what it repeats
        self._schedule()

    def _known(self, identity: bytes, now: float) -> bool:
        seen = self._seen
        while seen:
            first = next(iter(seen))
            if seen[first] >= now - self._spec.deduplication_window:
                break
            del seen[first]
            self._batch.forgotten.append(first)
        if identity in seen:
            return True
        seen[identity] = now
        return False

    # --- writing ----------------------------------------------------------------------------------------------------------------

    def _schedule(self, delay: float = 0.0) -> None:
        """Write soon, or within this time: what arrives until then, or during the write before it, is one write."""
        if self._writing or self._closed or (self._due is not None and (delay or not self._lazy)):
            return
        if self._due is not None:
            self._due.cancel()
        self._lazy = delay > 0
        self._due = self._loop.call_later(delay, self._write) if delay else self._loop.call_soon(self._write)

    def _write(self) -> None:
        self._due = None
        batch, replies = self._batch, self._replies
        self._batch, self._replies = Batch(), []
        if self._thread is None:
            self._written(batch, replies, self._attempt(batch))
        else:
            self._writing = True
            written = self._loop.run_in_executor(self._thread, self._attempt, batch)
            written.add_done_callback(lambda done: self._written(batch, replies, done.result()))

    def _attempt(self, batch: Batch) -> str | None:
        if batch:
            try:
                self._log.write(batch, forced=self._spec.ack == "fsync" and bool(batch.rows))
            except BrokerFailed as error:
                return str(error)
        return None

    def _written(self, batch: Batch, replies: list[_Waiting], problem: str | None) -> None:
        self._writing = False
        if problem is None:
            for row in batch.rows:
                self.stored += 1
                parcel = self._add(row, json.loads(row.body))
                if self._ever is not None and self._ever.again(row.body):
                    self._tell("stored-again", parcel)
                consumer = self._consumers[row.node]
                if self._spec.partitions:
                    self._fill(consumer, parcel.lane)
                elif consumer.lanes[parcel.lane][0] is parcel:
                    self._advance(consumer, parcel.lane)
        else:
            failed = {row.identity for row in batch.rows if row.identity is not None}
            for identity in failed:
                self._seen.pop(identity, None)
            replies = [*replies, *(waiting for waiting in self._replies if waiting[1] in failed)]
            self._replies = [waiting for waiting in self._replies if waiting[1] not in failed]
            self._batch.removed += batch.removed  # with the next write that succeeds
            self._batch.forgotten += batch.forgotten
            self._batch.dropped += batch.dropped
            self._batch.delivered = batch.delivered | self._batch.delivered
        for reply, _ in replies:
            reply(problem)
        if self._batch.rows or self._replies:
            self._schedule()
        elif self._batch:
            self._schedule(_LAZY if problem is None else _PAUSE)

    def _add(self, row: Row, coded: Frame) -> _Parcel:
        partitions = self._spec.partitions
        key = partition_of(row.tx, partitions) if partitions else row.tx if self._spec.ordered else row.id
        parcel = _Parcel(row, coded, key)
        self._parcels[row.id] = parcel
        lane = self._consumers[row.node].lanes.setdefault(parcel.lane, deque())
        lane.append(parcel)
        if partitions and self._counted and len(lane) > self._lag:
            self._lag = len(lane)
            self._report("lag", -1, peer=row.node, name=str(key), detail=Number(self._lag).text())
        return parcel

    def _tell(self, kind: str, parcel: _Parcel, detail: str = "") -> None:
        """Write an entry about a message."""
        row = parcel.row
        self._report(kind, row.tx, cause=row.origin, peer=row.node, name=parcel.kind, detail=detail)

    # --- consumers --------------------------------------------------------------------------------------------------------------

    def subscribe(self, node: str, send: Callable[[Frame], bool]) -> None:
        """The consumer of this topic is connected, instead of any other before; what waits for it is delivered at once."""
        consumer = self._consumers[node]
        consumer.send = send
        for lane in list(consumer.lanes):
            if self._spec.partitions:
                self._rewind(consumer, lane)
            else:
                self._advance(consumer, lane)

    def unsubscribe(self, node: str, send: Callable[[Frame], bool]) -> None:
        """Drop a connection that is gone: nothing is delivered until there is another one."""
        consumer = self._consumers[node]
        if consumer.send is send:
            consumer.send = None
            for lane in consumer.lanes.values():
                lane[0].stop()

    def _advance(self, consumer: _Consumer, key: int) -> None:
        """Deliver the first message of a lane, for the first time or again."""
        lane = consumer.lanes.get(key)
        while lane and self._expired(lane[0]):
            self._drop(lane[0])
        limit = self._spec.delivery_limit
        while lane and limit is not None and lane[0].deliveries >= limit:
            self._give_up(lane[0])
        if lane and consumer.send is not None:
            self._deliver(consumer, lane[0], consumer.send)

    def _rewind(self, consumer: _Consumer, key: int) -> None:
        """Send a partition from its last offset: its consumer is connected anew, or has said nothing for long."""
        for parcel in consumer.lanes.get(key, ()):
            parcel.sent = min(parcel.sent, 1)
            parcel.stop()
        consumer.begun.pop(key, None)
        self._fill(consumer, key)

    def _fill(self, consumer: _Consumer, key: int) -> None:
        """Send what comes next in a partition, as far as its consumer fetches."""
        lane, send = consumer.lanes.get(key), consumer.send
        while lane and self._expired(lane[0]) and lane[0].row.id > consumer.begun.get(key, -1):
            self._drop(lane[0])
        if not lane or send is None:
            return
        sent, before = consumer.begun.get(key, -1), -1
        for parcel in itertools.islice(lane, self._spec.fetch):
            if parcel.row.id > sent:
                if not send({**parcel.delivery(), "after": before}):
                    break
                parcel.sent += 1
                consumer.begun[key] = parcel.row.id
            before = parcel.row.id
        if lane[0].timer is None:
            lane[0].timer = self._loop.call_later(self._spec.redelivery, self._rewind, consumer, key)

    def _deliver(self, consumer: _Consumer, parcel: _Parcel, send: Callable[[Frame], bool]) -> None:
        parcel.stop()
        sent = send(parcel.delivery())
        if sent:
            parcel.sent += 1
            parcel.deliveries += 1
            if self._spec.delivery_limit is not None:
                self._batch.delivered[parcel.row.id] = parcel.deliveries
                self._schedule(_LAZY)
            if parcel.sent > 1:
                self.redelivered += 1
                self._tell("redeliver", parcel)
        delay = self._spec.overdue(parcel.deliveries) if sent else min(_RETRY, self._spec.redelivery)
        parcel.timer = self._loop.call_later(delay, self._advance, consumer, parcel.lane)

    def acknowledge(self, number: int) -> None:
        """Note that a delivery needs not come again; an unknown number is one that was acknowledged before."""
        parcel = self._parcels.get(number)
        if parcel is not None and self._spec.partitions:
            self._commit(parcel)
        elif parcel is not None:
            consumer = self._consumers[parcel.row.node]
            first = consumer.lanes[parcel.lane][0] is parcel
            self._remove(parcel)
            if first:
                self._advance(consumer, parcel.lane)

    def _commit(self, last: _Parcel) -> None:
        """All of a partition up to this one is done."""
        consumer, key = self._consumers[last.row.node], last.lane
        lane = consumer.lanes[key]
        while lane and lane[0].row.id <= last.row.id:
            self._remove(lane[0])
        self._fill(consumer, key)

    def refuse(self, number: int) -> None:
        """A consumer cannot handle this delivery: it comes again, after a while."""
        parcel = self._parcels.get(number)
        if parcel is None or not self._spec.nack or self._spec.partitions:
            return
        consumer = self._consumers[parcel.row.node]
        if consumer.lanes[parcel.lane][0] is parcel and parcel.timer is not None:
            parcel.stop()
            delay = max(self._spec.nack_delay, AT_ONCE)
            parcel.timer = self._loop.call_later(delay, self._advance, consumer, parcel.lane)

    def _give_up(self, parcel: _Parcel) -> None:
        """A message was delivered as often as it may be."""
        self.dead_letters += 1
        self._tell("drop", parcel, DEAD_LETTER)
        self._remove(parcel)

    def _remove(self, parcel: _Parcel) -> None:
        parcel.stop()
        row = parcel.row
        del self._parcels[row.id]
        lanes = self._consumers[row.node].lanes
        lane = lanes[parcel.lane]
        lane.remove(parcel)
        if not lane:
            del lanes[parcel.lane]
        self._batch.removed.append(row.id)
        self._schedule(_LAZY)

    # --- retention --------------------------------------------------------------------------------------------------------------

    def _expired(self, parcel: _Parcel) -> bool:
        retention = self._spec.retention
        return retention is not None and time.time() - parcel.row.stored > retention

    def _drop(self, parcel: _Parcel) -> None:
        self.lost += 1
        self._batch.dropped += 1
        self._tell("drop", parcel, RETENTION)
        self._remove(parcel)

    def _sweep(self) -> None:
        """Drop what is too old and not in a consumer's hands; that one's fate is decided when it would come again."""
        if self._spec.retention is None:
            return
        for parcel in list(self._parcels.values()):  # the oldest first
            if not self._expired(parcel):
                break
            if parcel.timer is None and parcel.row.id in self._parcels:
                self._drop(parcel)
        self._sweeper = self._loop.call_later(self._spec.retention / _SWEEPS, self._sweep)

    # --- state and end ----------------------------------------------------------------------------------------------------------

    @property
    def quiet(self) -> bool:
        """Return whether nothing waits for the disk or for a consumer."""
        return not (self._parcels or self._batch or self._replies or self._writing)

    def working(self) -> list[int]:
        """Transactions with messages that wait for their consumer."""
        return sorted({parcel.row.tx for parcel in self._parcels.values()})

    async def close(self) -> None:
        """Write what is left, and close the file."""
        while self._writing or self._replies:
            await asyncio.sleep(0.001)
        self._closed = True
        if self._due is not None:
            self._due.cancel()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for parcel in self._parcels.values():
            parcel.stop()
        if self._thread is not None:
            self._thread.shutdown()
        with contextlib.suppress(BrokerFailed):
            if self._batch:
                self._log.write(self._batch, forced=False)
        self._log.close()
        if self._ever is not None:
            self._ever.close()


def _identity(body: str) -> bytes:
    """Identity of a producer's message."""
    return hashlib.blake2b(body.encode(), digest_size=_DIGEST).digest()
