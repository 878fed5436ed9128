"""A node's connection to the embedded broker."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from simtx.errors import PeerFault
from simtx.protocols import Delivery, Message
from simtx.protocols.codec import CodecError, decode_as, encode
from simtx.protocols.names import BROKER
from simtx.reference.brokers.base import BrokerClient, BrokerFailed, Consume, nobody
from simtx.reference.brokers.reading import PartitionReader
from simtx.reference.run_folder.event_log import entry_id
from simtx.reference.wire.connection import Connection, Frame, Place, WireError

PATIENCE: Final = 30.0
"""Seconds until a first connection has to stand."""
_QUEUE: Final[Mapping[str, Any]] = MappingProxyType({})


class _Held(NamedTuple):
    """A delivery that is not acknowledged.

    Attributes:
        tx: Its transaction.
        connection: Number of the connection on which it came last.
        sent: How often the broker had sent it before.
    """

    tx: int
    connection: int
    sent: object


class EmbeddedClient(BrokerClient):
    """A node's connection to the embedded broker.

    Args:
        name: Of the process.
        secret: Of the run.
        locate: Where the broker listens, asked before every attempt to connect; None: not known yet.
        spec: Of the broker, as far as its consumers have to know it: ``partitions`` and what `PartitionReader` takes; without: a queue.
        expect: Who listens there: the broker, or the link of a proxy to it.
    """

    def __init__(
        self,
        name: str,
        secret: bytes,
        locate: Callable[[], Place | None],
        spec: Mapping[str, Any] = _QUEUE,
        *,
        expect: str = BROKER,
    ) -> None:
        self._link = Connection(
            name, secret, locate, self._handle, expect=expect, role="producer", changed=self._changed
        )
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._node: str | None = None
        self._consume: Consume = nobody
        self._held: dict[int, _Held] = {}
        self._connections = 0
        self._producer = secrets.token_hex(8)  # this process, and no other incarnation of it
        self._reader = (
            PartitionReader(spec, self._hand_on, self._commit, self._gone) if spec.get("partitions") else None
        )

    async def connect(self) -> None:
        """As `BrokerClient.connect`; the broker may take half a minute."""
        try:
            await self._link.connected(PATIENCE)
        except WireError as error:
            raise BrokerFailed(f"the embedded broker cannot be used: {error}") from None

    def _changed(self, there: bool) -> None:
        """The connection is there, or it or an attempt at it is gone."""
        if there:
            self._connections += 1
            self._subscribe()
            return
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(ConnectionError("the connection to the broker was lost"))

    def _subscribe(self) -> None:
        if self._node is not None:
            self._link.send({"type": "subscribe", "node": self._node})

    async def publish(self, message: Message, origin: int | None) -> None:
        """As `BrokerClient.publish`."""
        number = next(self._numbers)
        frame = {
            "type": "publish",
            "id": number,
            "message": encode(message),
            "origin": origin,
            "producer": self._producer,
        }
        try:
            if not (self._link.is_open and self._link.send(frame)):
                raise ConnectionError("not connected to the broker")
        except WireError as error:
            raise BrokerFailed(str(error)) from None
        waiting = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            await waiting
        finally:
            del self._waiting[number]

    async def subscribe(self, node: str, consume: Consume) -> None:
        """Have the messages to this node delivered, now and on every connection to come."""
        self._node, self._consume = node, consume
        if self._link.is_open:
            self._subscribe()

    async def acknowledge(self, delivery: int) -> None:
        """As `BrokerClient.acknowledge`; of a partition it is said up to an offset, every so often."""
        held = self._held.pop(delivery, None)
        if self._reader is not None:
            self._reader.done(delivery)
        else:
            self._say("acknowledge", delivery, held)

    def _commit(self, delivery: int) -> None:
        """Acknowledge all deliveries of a partition up to this one, which belongs to no transaction."""
        self._say("acknowledge", delivery, None)

    def _say(self, word: str, delivery: int, held: _Held | None) -> None:
        if self._link.is_open:
            self._link.send({"type": word, "id": delivery, "tx": -1 if held is None else held.tx})

    async def refuse(self, delivery: int) -> None:
        """Say that this consumer cannot handle a delivery: it comes again after a while, if the broker has negative acknowledgements."""
        if self._reader is not None:
            self._reader.refused(delivery)
        else:
            self._say("refuse", delivery, self._held.get(delivery))

    async def close(self) -> None:
        """Disconnect; acknowledgements on their way still leave."""
        if self._reader is not None:
            self._reader.close()
        await self._link.close()

    # --- what comes back --------------------------------------------------------------------------------------------------------

    def _handle(self, frame: Frame) -> None:
        kind, number = frame.get("type"), frame.get("id")
        if not isinstance(number, int):
            raise PeerFault("a frame of the broker without a number")
        if kind == "deliver":
            self._deliver(number, frame)
            return
        waiting = self._waiting.get(number)
        if waiting is None or waiting.done():
            return
        if kind == "published":
            waiting.set_result(None)
        elif kind == "refused":
            waiting.set_exception(BrokerFailed(str(frame.get("reason"))))

    def _deliver(self, number: int, frame: Frame) -> None:
        try:
            message = decode_as(Message, frame.get("message"))
        except CodecError as error:
            raise PeerFault(f"a delivery that is no message: {error}") from None
        origin = entry_id(frame.get("origin"))
        held = _Held(message.tx, self._connections, frame.get("sent"))
        before = self._held.get(number, held)
        # A broker that crashed does not know; and what the network has copied comes twice, but was sent once.
        again = bool(frame.get("again")) or before != held
        self._held[number] = held
        if self._reader is not None:
            after = entry_id(frame.get("after"))
            after = -1 if after is None else after
            self._reader.take(Delivery(message, number), origin, again=again, after=after)
        else:
            self._consume(Delivery(message, number), origin, again)

    def _gone(self, message: Message, origin: int | None, why: str) -> None:
        self.given_up(message, origin, why)

    def _hand_on(self, delivery: Delivery, origin: int | None, again: bool) -> None:
        self._consume(delivery, origin, again)
