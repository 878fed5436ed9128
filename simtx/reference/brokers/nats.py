"""NATS JetStream as the broker: one stream a run, a subject a node and transaction, a durable push consumer a node.

JetStream guarantees at least once, not the order of one transaction's messages, nor that they come one at a time: this adapter does, by
holding back those that are not their transaction's turn.

* The stream is a work queue: a message is gone once it was acknowledged. So what is left is what has to come, and its number in the
  stream, which never changes, is the id of the delivery.
* On each connection the node's consumer is made anew. So everything that is not acknowledged comes at once and in order; the old one would
  send new messages first, and what was in the hands of a consumer that has crashed only after its acknowledgement is overdue.
* What a producer repeats within the deduplication window is not stored again. But of what was consumed already, JetStream remembers that only
  as long as its process lives.
* A connection that is lost is replaced by a new one; nothing is buffered for it, so that no publication leaves after its failure was told.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ipaddress
import itertools
import json
import os
import random
import re
import ssl
import time
from collections import OrderedDict, deque
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from simtx.event_log.entries import DEAD_LETTER, RETENTION
from simtx.protocols import Delivery, Message
from simtx.protocols.codec import CodecError, decode_as, dumps, encode
from simtx.reference.brokers.base import BrokerClient, BrokerFailed, Consume, nobody
from simtx.reference.brokers.nats_server import INSTALL
from simtx.reference.run_folder.event_log import entry_id
from simtx.scenario.infrastructure import AT_ONCE

try:
    import nats.errors
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.js import JetStreamManager, api
    from nats.js.errors import APIError, BadRequestError, NotFoundError, ServiceUnavailableError
except ImportError:
    raise BrokerFailed(f"the broker 'nats' needs the package nats-py, which is not here; {INSTALL} brings it") from None

PATIENCE: Final = 5.0
"""Seconds until a first connection has to stand."""
_SILENCE: Final = 30.0  # seconds for which a server is asked again that is there and does not answer: on a busy machine it takes its time
_PORT: Final = 4222
_GLANCE: Final = 0.1  # seconds between two looks at whether a connection is still there
_PAUSE: Final = 0.05  # seconds between two attempts to connect
_REMEMBERED: Final = 8192  # acknowledged deliveries whose late copies are recognized
_NAME_IN_USE: Final = 10058  # JetStream's error: there is a stream of this name, with another configuration
_ENDLESS: Final = 1_000_000  # deliveries
_LEAST_WINDOW: Final = 0.1  # seconds; JetStream accepts no shorter one


class _Item:
    """A message from the stream that is not acknowledged yet."""

    __slots__ = ("again", "deliveries", "delivery", "lane", "origin", "reply", "stored")

    def __init__(
        self, delivery: Delivery, origin: int | None, lane: int, stored: float, reply: str, *, again: bool
    ) -> None:
        self.delivery = delivery
        self.origin = origin
        self.lane = lane
        self.stored = stored
        self.reply = reply  # where its acknowledgement goes; that of the latest copy
        self.deliveries = 1
        self.again = again  # it has been with a consumer


class NatsClient(BrokerClient):
    """A node's connection to a NATS server.

    Args:
        spec: ``url``; ``run``, the name of the run; and, in seconds, ``redelivery``, ``deduplication_window`` (0: none) and
            ``retention`` (None: no end); ``delivery_limit``, ``backoff``, ``nack`` and ``nack_delay``, as a scenario has them; ``ordered``; ``ack``: a stream of the level ``memory`` lies in memory. Whether a publication is
            forced to the disk before it is acknowledged is a matter of the server (`sync_interval`).
        name: Of the process, for the server's lists.
        secret: Of the run; shown to a server on this machine, unless the URL holds credentials.

    Attributes:
        lost: Messages to this node that were older than the retention before they were acknowledged, and were dropped.
    """

    def __init__(self, spec: Mapping[str, Any], name: str, secret: bytes) -> None:
        self.lost = 0
        self._url = _checked(str(spec["url"]))
        self._name = name
        self._token = secret.hex() if _is_local(self._url) and self._url.username is None else None
        run = re.sub(r"[^A-Za-z0-9_-]", "_", str(spec["run"]))
        self._stream = f"simtx-{run}"
        self._subjects = f"simtx.{run}"
        self._redelivery = float(spec.get("redelivery", 30.0))
        self._window = float(spec.get("deduplication_window") or 0.0)
        self._retention: float | None = spec.get("retention")
        self._ordered = bool(spec.get("ordered", True))
        self._in_memory = spec.get("ack") == "memory"
        self._limit: int | None = spec.get("delivery_limit")
        self._backoff: list[float] = list(spec.get("backoff") or ())
        self._nack_delay: float | None = spec.get("nack_delay", 0.0) if spec.get("nack") else None
        self._client: Client | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._broken = asyncio.Event()
        self._inbox = ""
        self._numbers = itertools.count()
        self._waiting: dict[str, asyncio.Future[Msg]] = {}
        self._node: str | None = None
        self._consume: Consume = nobody
        self._delivered_before = 0  # messages of the stream up to here were with the consumer of an earlier connection
        self._items: dict[int, _Item] = {}
        self._lanes: dict[int, deque[_Item]] = {}
        self._done: OrderedDict[int, None] = OrderedDict()
        self._words: set[asyncio.Future[None]] = set()

    # --- connection -------------------------------------------------------------------------------------------------------------

    async def connect(self) -> None:
        """Connect, for a first time.

        Raises:
            BrokerFailed: There is nothing there, it has no JetStream, or it does not let us in.
        """
        begun = time.monotonic()
        while True:
            try:
                await self._open()
                break
            except (OSError, nats.errors.Error) as error:
                refused = isinstance(error, nats.errors.Error) and "authorization" in str(error).lower()
                patience = max(PATIENCE, _SILENCE) if isinstance(error, TimeoutError) else PATIENCE
                if refused or time.monotonic() > begun + patience:
                    raise BrokerFailed(f"no NATS server to use at {self._where}: {_reason(error)}") from None
            await asyncio.sleep(_PAUSE)
        self._keeper = asyncio.create_task(self._keep())

    @property
    def _where(self) -> str:
        host = self._url.hostname or ""
        return f"{self._url.scheme}://{host}:{self._url.port or _PORT}"  # without credentials

    async def _open(self) -> None:
        client = Client()
        self._broken.clear()
        problems: list[Exception] = []

        async def failed(error: Exception) -> None:
            problems.append(error)
            if not isinstance(error, (OSError, nats.errors.Error)):  # a consumer's own, in a callback
                context = {"message": "a consumer failed", "exception": error}
                asyncio.get_running_loop().call_exception_handler(context)

        async def closed() -> None:
            self._give_up(client)

        try:
            try:
                await client.connect(
                    servers=[self._url.geturl()],
                    name=f"simtx {self._name}",
                    token=self._token,
                    tls=ssl.create_default_context() if self._url.scheme == "tls" else None,
                    allow_reconnect=False,
                    connect_timeout=2,
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    error_cb=failed,
                    closed_cb=closed,
                )
            except nats.errors.NoServersError as error:  # it has given up; the reason is what it met before
                raise (problems[-1] if problems else error) from None
            problems.clear()
            if not client.is_connected:
                raise nats.errors.ConnectionClosedError
            self._client = client
            self._inbox = client.new_inbox()
            await client.subscribe(f"{self._inbox}.*", cb=self._answered)
            await self._make_stream(client)
            if self._node is not None:
                await self._attach(client, self._node)
        except BaseException:
            self._client = None
            with contextlib.suppress(OSError, nats.errors.Error):
                await client.close()
            raise

    async def _keep(self) -> None:
        """Replace the connection whenever it is lost."""
        while True:
            await self._until_broken()
            client, self._client = self._client, None
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(ConnectionError(f"the connection to {self._where} was lost"))
            with contextlib.suppress(OSError, nats.errors.Error):
                if client is not None:
                    await client.close()
            while self._client is None:
                try:
                    await self._open()
                except (OSError, nats.errors.Error):
                    await asyncio.sleep(_PAUSE * (0.5 + random.random()))  # noqa: S311 - so that not all come at once

    async def _until_broken(self) -> None:
        """Wait for the end of this connection, of which nats-py does not tell when it still had something to send."""
        client = self._client
        while client is not None and not client.is_closed:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._broken.wait(), _GLANCE)
                return

    def _give_up(self, client: Client) -> None:
        """Give up this connection, which is of no use any more."""
        if client is self._client:
            self._broken.set()

    async def _make_stream(self, client: Client) -> None:
        config = api.StreamConfig(
            name=self._stream,
            subjects=[f"{self._subjects}.>"],
            retention=api.RetentionPolicy.WORK_QUEUE,
            storage=api.StorageType.MEMORY if self._in_memory else api.StorageType.FILE,
            duplicate_window=max(self._window, _LEAST_WINDOW) if self._window > 0 else 0,
            # numbers that a stream which was lost has not used before: microseconds, within 53 bits
            first_seq=int(time.time() * 1e6) if self._in_memory else None,
        )
        try:
            await client.jsm(timeout=PATIENCE).add_stream(config)
        except BadRequestError as error:
            if error.err_code != _NAME_IN_USE:
                raise
        except ServiceUnavailableError as error:
            if error.err_code is None:  # nobody answers for JetStream
                raise nats.errors.Error("it runs without JetStream (nats-server -js)") from None
            raise

    async def close(self) -> None:
        """Disconnect."""
        keeper = self._keeper
        while keeper is not None and not keeper.done():
            keeper.cancel()  # more than once: nats-py swallows it in the middle of a connect
            await asyncio.wait([keeper], timeout=_GLANCE)
        client, self._client = self._client, None
        if client is not None:
            await asyncio.gather(*self._words)
            with contextlib.suppress(OSError, nats.errors.Error):
                await client.flush(timeout=1)  # acknowledgements on their way
            with contextlib.suppress(OSError, nats.errors.Error):
                await client.close()

    async def delete(self) -> None:
        """Delete the run's stream, with all that is left in it."""
        if self._client is not None:
            with contextlib.suppress(OSError, nats.errors.Error):
                await self._client.jsm(timeout=PATIENCE).delete_stream(self._stream)

    # --- producer ---------------------------------------------------------------------------------------------------------------

    async def publish(self, message: Message, origin: int | None) -> None:
        """Hand over a message; returns on JetStream's acknowledgement.

        Raises:
            BrokerFailed: It was refused.
            ConnectionError: The connection was lost before, or the server is not ready; the message may have been stored or not.
        """
        client = self._client
        if client is None:
            raise ConnectionError(f"not connected to {self._where}")
        headers = {"Nats-Msg-Id": _identity(message)} if self._window > 0 else None
        payload = json.dumps({"message": encode(message), "origin": origin}, separators=(",", ":")).encode()
        number = str(next(self._numbers))
        waiting = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            await client.publish(
                f"{self._subjects}.{message.to}.{message.tx}", payload, f"{self._inbox}.{number}", headers
            )
            answer = await waiting
        except nats.errors.MaxPayloadError:
            raise BrokerFailed(f"a message of {len(payload)} bytes is more than {self._where} takes") from None
        except nats.errors.Error as error:
            self._give_up(client)
            raise ConnectionError(f"{self._where}: {_reason(error)}") from None
        finally:
            del self._waiting[number]
        if not answer.data:  # nobody listens there: the stream is gone, or not there yet
            self._give_up(client)
            raise ConnectionError(f"{self._where} has no stream {self._stream} at the moment")
        problem = json.loads(answer.data).get("error")
        if problem is not None:
            text = f"{self._where}: {problem.get('description', problem)}"
            raise ConnectionError(text) if problem.get("code") == 503 else BrokerFailed(text)

    async def _answered(self, answer: Msg) -> None:
        waiting = self._waiting.get(answer.subject.rpartition(".")[2])
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    # --- consumer ---------------------------------------------------------------------------------------------------------------

    async def subscribe(self, node: str, consume: Consume) -> None:
        """Have the messages to this node delivered.

        Raises:
            BrokerFailed: The server does not let us.
        """
        self._node, self._consume = node, consume
        client = self._client
        if client is not None:
            try:
                await self._attach(client, node)
            except APIError as error:
                raise BrokerFailed(f"{self._where}: {_reason(error)}") from None
            except (OSError, nats.errors.Error):
                self._give_up(client)  # the next connection does it

    async def _attach(self, client: Client, node: str) -> None:
        manager = client.jsm(timeout=PATIENCE)
        name = f"node-{node}"
        await self._detach(manager, name)
        inbox = client.new_inbox()
        await client.subscribe(inbox, cb=self._received, pending_msgs_limit=0, pending_bytes_limit=0)
        config = api.ConsumerConfig(
            durable_name=name,
            deliver_subject=inbox,
            deliver_policy=api.DeliverPolicy.ALL,
            ack_policy=api.AckPolicy.EXPLICIT,
            ack_wait=self._backoff[0] if self._backoff else self._redelivery,
            backoff=self._backoff or None,  # JetStream takes the first of them for the time to acknowledge
            # It needs more deliveries than there are times; what has come too often we end ourselves, so that nothing stays in the stream.
            max_deliver=_ENDLESS if self._backoff else None,
            max_ack_pending=-1,  # a transaction whose turn it is must not wait for others'
            filter_subject=f"{self._subjects}.{node}.>",
        )
        await manager.add_consumer(self._stream, config)

    async def _detach(self, manager: JetStreamManager, name: str) -> None:
        """Delete the consumer of an earlier connection, and learn how far it was."""
        with contextlib.suppress(NotFoundError):
            info = await manager.consumer_info(self._stream, name)
            if info.delivered is not None:
                self._delivered_before = max(self._delivered_before, info.delivered.stream_seq)
            await manager.delete_consumer(self._stream, name)

    async def _received(self, msg: Msg) -> None:
        metadata = msg.metadata
        number = metadata.sequence.stream
        item = self._items.get(number)
        if item is not None:
            item.reply = msg.reply
            item.deliveries += 1
            if self._lanes[item.lane][0] is item:  # else a copy of one that is held back
                self._advance(item.lane)
            return
        if number in self._done:  # its acknowledgement was lost, or late
            self._say(msg.reply, b"+ACK")
            return
        try:
            frame = json.loads(msg.data)
            message = decode_as(Message, frame["message"])
        except (CodecError, ValueError, KeyError, TypeError):
            self._say(msg.reply, b"+TERM")  # nothing of ours
            return
        item = _Item(
            Delivery(message, number),
            entry_id(frame.get("origin")),
            message.tx if self._ordered else number,
            metadata.timestamp.timestamp(),
            msg.reply,
            again=metadata.num_delivered > 1 or number <= self._delivered_before,
        )
        self._items[number] = item
        lane = self._lanes.setdefault(item.lane, deque())
        lane.append(item)
        if lane[0] is item:
            self._advance(item.lane)

    def _advance(self, key: int) -> None:
        """Deliver the first message of a lane, for the first time or again."""
        lane = self._lanes.get(key)
        while lane:
            item = lane[0]
            if self._limit is not None and item.deliveries > self._limit:
                self._end(item, DEAD_LETTER)
                continue
            if self._retention is None or time.time() - item.stored <= self._retention:
                again, item.again = item.again, True
                self._consume(item.delivery, item.origin, again)
                return
            self.lost += 1
            self._end(item, RETENTION)

    def _end(self, item: _Item, why: str) -> None:
        """End a message that nobody needs any more, though nobody has handled it."""
        self._remove(item)
        self._say(item.reply, b"+TERM")
        self.given_up(item.delivery.message, item.origin, why)

    async def refuse(self, delivery: int) -> None:
        """Send JetStream a negative acknowledgement, if the broker is to have them: this consumer cannot handle a delivery."""
        item = self._items.get(delivery)
        if item is None or self._nack_delay is None:
            return
        if self._limit is not None and item.deliveries >= self._limit:
            lane = item.lane
            self._end(item, DEAD_LETTER)
            self._advance(lane)
        else:
            wait = {"delay": int(max(self._nack_delay, AT_ONCE) * 1e9)}
            self._say(item.reply, b"-NAK " + json.dumps(wait).encode())

    def _remove(self, item: _Item) -> None:
        number = item.delivery.id
        del self._items[number]
        lane = self._lanes[item.lane]
        lane.remove(item)
        if not lane:
            del self._lanes[item.lane]
        self._done[number] = None
        if len(self._done) > _REMEMBERED:
            self._done.popitem(last=False)

    async def acknowledge(self, delivery: int) -> None:
        """Say that a delivery needs not come again; an acknowledgement that gets lost is no error."""
        item = self._items.get(delivery)
        if item is None:
            return
        lane = self._lanes[item.lane]
        first = lane[0] is item
        self._remove(item)
        self._say(item.reply, b"+ACK")
        if first and lane:
            self._say(lane[0].reply, b"+WPI")  # its time begins now: it was held back
            self._advance(item.lane)

    def _say(self, reply: str, word: bytes) -> None:
        """Answer a delivery, if we are connected; words leave in the order in which they were said."""
        client = self._client
        if client is not None:
            task = asyncio.ensure_future(_send(client, reply, word))
            self._words.add(task)
            task.add_done_callback(self._words.discard)

    async def pending(self) -> set[int]:
        """Transactions with messages that wait for their consumer.

        Raises:
            ConnectionError: The server does not say.
        """
        client = self._client
        if client is None:
            raise ConnectionError(f"not connected to {self._where}")
        try:
            info = await client.jsm(timeout=PATIENCE).stream_info(self._stream, subjects_filter=f"{self._subjects}.>")
        except (OSError, nats.errors.Error) as error:
            raise ConnectionError(f"{self._where}: {_reason(error)}") from None
        return {int(subject.rpartition(".")[2]) for subject in info.state.subjects or ()}


async def _send(client: Client, reply: str, word: bytes) -> None:
    with contextlib.suppress(OSError, nats.errors.Error):
        await client.publish(reply, word)


def _identity(message: Message) -> str:
    """Identity of a producer's message, for JetStream's deduplication."""
    return hashlib.blake2b(dumps(message).encode(), digest_size=16).hexdigest()


def _checked(url: str) -> SplitResult:
    """The URL in parts.

    Raises:
        BrokerFailed: It is none.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("nats", "tls") and bool(parts.hostname) and (parts.port or _PORT) > 0
    except ValueError:
        usable = False
    if not usable:
        raise BrokerFailed("this is no URL of a NATS server; it would look like nats://host:4222 or tls://host:4222")
    return parts


def _is_local(url: SplitResult) -> bool:
    host = url.hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _reason(error: Exception) -> str:
    if isinstance(error, APIError) and error.description:
        return error.description
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    text = str(error).removeprefix("nats: ").strip("'\"")
    return " ".join(text.split()) or type(error).__name__


async def drop_run(spec: Mapping[str, Any], secret: bytes) -> None:
    """Leave nothing of a run on a server that is not ours; if it is gone, it holds nothing that we could delete."""
    connection = NatsClient(spec, "launcher", secret)
    try:
        await connection.connect()
    except BrokerFailed:
        return
    try:
        await connection.delete()
    finally:
        await connection.close()
