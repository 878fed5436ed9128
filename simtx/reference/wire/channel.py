"""One connection between two processes, seen from either side: bytes in, frames out, and an end to whatever is not let in."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Final, TypeAlias, cast

from simtx.errors import PeerFault
from simtx.reference.wire.handshake import HANDSHAKE_LIMIT, Plain, Session, WireError, framed

Frame: TypeAlias = dict[str, Any]
Handler: TypeAlias = Callable[[Frame], None]
Place: TypeAlias = tuple[str, int] | str
"""Address at which a server listens: host and port of TCP, or the path of a Unix socket."""

UNREAD: Final = 8 << 20
"""Bytes that may wait for the other side to read them; what is sent beyond that is lost."""

_GOODBYE_SECONDS: Final = 1.0
_LENGTH: Final = struct.Struct(">I")
_CREDENTIALS: Final = struct.Struct("3i")
_encode: Final = json.JSONEncoder(separators=(",", ":")).encode
_decode: Final = json.JSONDecoder().decode


class Channel(asyncio.Protocol):
    """One connection, by TCP or by a Unix socket, seen from either side: cuts the bytes into frames, opens their seals, and hands on what is in them.

    Args:
        limit: Bytes of JSON that a frame may have.
        patience: Seconds that the handshake may take.
    """

    def __init__(self, limit: int, patience: float) -> None:
        self.address = "an unknown address"
        self.over = False
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._limit = limit
        self._allowed = HANDSHAKE_LIMIT
        self._patience = patience
        self._buffer = bytearray()
        self._needed = 0
        self._session: Session | Plain | None = None
        self.handler: Handler = _ignore
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle | None = None

    # --- what the two sides do differently --------------------------------------------------------------------------------------

    @abstractmethod
    def greet(self) -> None:
        """The connection is there."""

    @abstractmethod
    def shake(self, payload: bytes) -> None:
        """A frame of the handshake came."""

    @abstractmethod
    def report(self, reason: str) -> None:
        """The connection ends, for this reason."""

    @abstractmethod
    def ended(self) -> None:
        """The connection is gone."""

    @property
    def is_established(self) -> bool:
        """Return whether the handshake was completed."""
        return self._session is not None

    # --- what both do -----------------------------------------------------------------------------------------------------------

    def begin(self, session: Session | Plain) -> None:
        """The handshake is over; frames may come."""
        self._session = session
        self._allowed = self._limit + session.overhead
        if self._timer is not None:
            self._timer.cancel()

    def send(self, frame: Frame) -> bool:
        """Send a frame; False: the connection is over, or the other side does not read."""
        return not self.over and self.send_payload(encoded(frame, self._limit))

    def send_payload(self, payload: bytes) -> bool:
        """Send what was encoded before."""
        session, transport = self._session, self._transport
        if session is None or self.over or transport.is_closing() or transport.get_write_buffer_size() > UNREAD:
            return False
        transport.write(session.seal(payload))
        return True

    def write(self, payload: bytes) -> None:
        """Send a frame of the handshake."""
        self._transport.write(framed(payload))

    def refuse(self, reason: str) -> None:
        """End the connection, and say why."""
        if self.over:
            return
        self.over = True
        self.report(reason)
        self._transport.abort()

    def reset(self) -> None:
        """End the connection at once, as a broken network does."""
        self.over = True
        self._transport.abort()

    def close(self) -> None:
        """End the connection; what was sent still leaves."""
        self.over = True
        self._transport.close()

    async def closed(self) -> None:
        """Wait until it is gone, but not long."""
        try:
            await asyncio.wait_for(asyncio.shield(self.lost), _GOODBYE_SECONDS)
        except TimeoutError:
            self._transport.abort()
            await self.lost

    # --- what asyncio calls -----------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self._transport = cast("asyncio.Transport", transport)
        own = transport.get_extra_info("socket")
        if own.family == socket.AF_UNIX:
            self.address = _process(own)
        else:
            here, there = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
            if there:
                self.address = f"{there[0]}:{there[1]}"
            if here == there:
                # A connection to a free port can meet itself, and would then keep the port from its owner.
                self.refuse("nobody listens there: it was connected to itself")
                return
            own.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        reason = f"timeout: the handshake was not complete after {self._patience:g} s"
        self._timer = asyncio.get_running_loop().call_later(self._patience, self.refuse, reason)
        self.greet()

    def data_received(self, data: bytes) -> None:
        """Read bytes that came, cut anywhere."""
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._needed:
                return
            data = bytes(self._buffer)
            self._buffer.clear()
        position, end = 0, len(data)
        needed = _LENGTH.size
        try:
            while end - position >= needed and not self.over:
                (size,) = _LENGTH.unpack_from(data, position)
                if size > self._allowed:
                    raise WireError(f"oversized frame: {size} bytes are announced, at most {self._allowed} are allowed")
                start = position + _LENGTH.size
                if start + size > end:
                    needed = _LENGTH.size + size
                    break
                position = start + size
                self._take(data[start:position])
        except (WireError, PeerFault) as error:
            self.refuse(str(error))
        if position < end and not self.over:
            self._buffer += data[position:]
            self._needed = needed

    def _take(self, frame: bytes) -> None:
        session = self._session
        if session is None:
            self.shake(frame)
            return
        try:
            content = _decode(str(session.open(frame), "utf-8"))
        except (ValueError, RecursionError):
            raise WireError("malformed frame: it is no JSON") from None
        if type(content) is not dict:
            raise WireError(f"malformed frame: a {type(content).__name__} where a JSON object is expected")
        self.handler(content)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - why does not matter
        """Disconnected, by either side."""
        if self._timer is not None:
            self._timer.cancel()
        if not self.over:
            self.over = True
            if self._session is None:
                self.report("truncated handshake: it ended the connection")
            elif self._buffer:
                self.report(f"truncated frame: it ended after {len(self._buffer)} of {self._needed} bytes")
        self.ended()
        if not self.lost.done():
            self.lost.set_result(None)


def encoded(frame: Frame, limit: int) -> bytes:
    """A frame as the JSON that travels.

    Raises:
        WireError: It is longer than the limit.
    """
    payload = _encode(frame).encode("ascii")
    if len(payload) > limit:
        raise WireError(f"a frame of type {frame.get('type')!r} has {len(payload)} bytes; the limit is {limit}")
    return payload


def _process(own: socket.socket) -> str:
    """Process at the other end of a Unix socket, where the system says so (Linux)."""
    if not hasattr(socket, "SO_PEERCRED"):
        return "a process of this machine"
    with contextlib.suppress(OSError):  # it is gone
        number, user, _ = _CREDENTIALS.unpack(own.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        return f"process {number} of uid {user}"
    return "a process that is gone"


def _ignore(frame: Frame) -> None:
    """Ignores frames that come before anybody listens."""
