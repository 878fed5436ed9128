"""Frames arrive whole and in order, from who has the secret; whatever else comes ends one connection with one line, and nothing more."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simtx.errors import PeerFault
from simtx.reference.run_folder import scratch
from simtx.reference.wire import channel, handshake
from simtx.reference.wire import connection as wire
from simtx.reference.wire.connection import Connection, Frame, Handler, Peer, Server, WireError, new_secret
from simtx.reference.wire.handshake import ClientHandshake, ServerHandshake, Session
from tests.amounts import many

SECRET = new_secret()
PATIENCE = 120.0  # seconds after which something that should have happened has not


async def until(condition: Callable[[], Any]) -> None:
    """Wait for something that happens in the event loop or in another process."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        await asyncio.sleep(0.001)


class Listening:
    """A server that notes what happens to it, and sends every frame back."""

    def __init__(self, secret: bytes = SECRET, **options: Any) -> None:
        self.frames: list[Frame] = []
        self.refusals: list[tuple[str, str]] = []
        self.peers: list[Peer] = []
        self.server = Server(secret, "inventory", self.accept, lambda *line: self.refusals.append(line), **options)
        self.port = 0

    def accept(self, peer: Peer) -> Handler:
        self.peers.append(peer)

        def handle(frame: Frame) -> None:
            self.frames.append(frame)
            peer.send(frame)

        return handle

    def connection(self, handler: Handler = lambda frame: None, secret: bytes = SECRET, **options: Any) -> Connection:
        return Connection("orders", secret, lambda: ("127.0.0.1", self.port), handler, **options)

    async def works(self) -> bool:
        """Whether a good client still gets its answer."""
        answers: list[Frame] = []
        connection = self.connection(answers.append)
        connection.send({"is": "anybody there?"})
        await until(lambda: answers)
        await connection.close()
        return answers == [{"is": "anybody there?"}]

    async def refuses(self, *words: str) -> None:
        """Exactly one line was written, it has these words, and a good client is not harmed."""
        await until(lambda: self.refusals)
        assert await self.works()
        [(address, reason)] = self.refusals
        assert address.startswith("127.0.0.1:")
        assert "\n" not in reason
        for word in words:
            assert word in reason


@contextlib.asynccontextmanager
async def listening(**options: Any) -> AsyncIterator[Listening]:
    rig = Listening(**options)
    rig.port = await rig.server.start()
    try:
        yield rig
    finally:
        await rig.server.close()


class Raw:
    """A client that sends whatever bytes it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, port: int) -> Raw:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def frame(self) -> bytes:
        (size,) = struct.unpack(">I", await self.reader.readexactly(4))
        return await self.reader.readexactly(size)

    async def authenticated(self) -> Session:
        shake = ClientHandshake(SECRET, "raw")
        self.writer.write(handshake.framed(shake.claim(await self.frame())))
        return shake.finish(await self.frame())

    async def ended(self) -> bool:
        """Whether the server has ended the connection."""
        with contextlib.suppress(ConnectionError):
            while await asyncio.wait_for(self.reader.read(65536), PATIENCE):
                pass
        return True

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


def play(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 2 * PATIENCE))


# --- what works ---------------------------------------------------------------------------------------------------------------


def test_frames_travel_both_ways_in_order() -> None:
    async def test() -> None:
        answers: list[Frame] = []
        async with listening() as rig:
            connection = rig.connection(answers.append, role="service")
            sent: list[Frame] = [{"n": n, "text": "ü\u2028\ud800" * n, "half": 0.5, "none": None} for n in range(50)]
            assert all(connection.send(frame) for frame in sent)
            await until(lambda: len(answers) == len(sent))
            assert connection.is_open
            assert rig.frames == answers == sent
            [peer] = rig.peers
            assert (peer.name, peer.role, peer.version, peer.is_open) == ("orders", "service", wire.WIRE_VERSION, True)
            await connection.close()
            await until(lambda: not peer.is_open)
            assert not peer.send({})
            assert rig.refusals == []

    play(test)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(sizes=st.lists(st.integers(0, 3000), min_size=1, max_size=8), cuts=st.lists(st.integers(1, 900), min_size=1))
def test_frames_are_the_same_however_tcp_cuts_them(sizes: list[int], cuts: list[int]) -> None:
    """TCP is a stream of bytes: a read may hold a part of a frame or several of them."""
    got: list[Frame] = []
    here, there = (Session(a, b) for a, b in ((b"x" * 32, b"y" * 32), (b"y" * 32, b"x" * 32)))
    frames: list[Frame] = [{"n": n, "fill": "f" * size} for n, size in enumerate(sizes)]
    stream = b"".join(here.seal(channel.encoded(frame, 1 << 20)) for frame in frames)

    async def test() -> None:
        async with listening() as rig:
            end = wire._ServerChannel(rig.server)
            end.begin(there)
            end.handler = got.append
            position = turn = 0
            while position < len(stream):
                step = cuts[turn % len(cuts)]
                end.data_received(stream[position : position + step])
                position, turn = position + step, turn + 1

    play(test)
    assert got == frames


def test_a_frame_that_trickles_in_is_not_looked_at_for_every_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else who sends a long frame byte by byte would cost us the square of its length."""
    looks = 0

    class Counting:
        size = 4

        def unpack_from(self, data: bytes, position: int) -> tuple[int]:
            nonlocal looks
            looks += 1
            return (int.from_bytes(data[position : position + 4], "big"),)

    monkeypatch.setattr(channel, "_LENGTH", Counting())
    got: list[Frame] = []

    async def test() -> None:
        async with listening() as rig:
            end = wire._ServerChannel(rig.server)
            end.begin(Session(b"y" * 32, b"x" * 32))
            end.handler = got.append
            for byte in Session(b"x" * 32, b"y" * 32).seal(b'{"fill":"' + b"x" * 5000 + b'"}'):
                end.data_received(bytes([byte]))

    play(test)
    assert len(got) == 1
    assert looks <= 2


def test_listens_on_loopback_and_sends_at_once() -> None:
    async def test() -> None:
        async with listening() as rig:
            assert rig.server._listener is not None
            assert [sock.getsockname()[0] for sock in rig.server._listener.sockets] == ["127.0.0.1"]
            connection = rig.connection()
            await connection.connected(PATIENCE)
            assert connection._channel is not None
            for transport in (connection._channel._transport, rig.peers[0]._channel._transport):
                assert transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            await connection.close()

    play(test)


def test_a_frame_may_have_the_limit_and_no_byte_more() -> None:
    async def test() -> None:
        async with listening(limit=2000) as rig:
            connection = rig.connection(limit=2000)
            fits = {"f": "x" * (2000 - len('{"f":""}'))}
            with pytest.raises(WireError, match=r"a frame of type 'big' has \d+ bytes; the limit is 2000"):
                connection.send({"type": "big", "f": "x" * 2000})
            await connection.connected(PATIENCE)
            with pytest.raises(WireError, match="the limit is 2000"):
                connection.send({"f": fits["f"] + "x"})
            assert connection.send(fits)
            await until(lambda: rig.frames)
            assert rig.frames == [fits]
            assert connection.is_open
            await connection.close()

    play(test)


def test_the_end_of_a_peer_is_told() -> None:
    async def test() -> None:
        async with listening() as rig:
            connection = rig.connection()
            await connection.connected(PATIENCE)
            told: list[str] = []
            [peer] = rig.peers
            peer.closed(lambda: told.append("gone"))
            assert not told
            await connection.close()
            await until(lambda: told)
            peer.closed(lambda: told.append("at once"))
            assert told == ["gone", "at once"]

    play(test)


@contextlib.asynccontextmanager
async def private() -> AsyncIterator[tuple[Listening, str]]:
    """A server on a Unix socket, and its place."""
    rig = Listening()
    with scratch.sockets() as folder:
        place = await rig.server.start_in(folder)
        try:
            yield rig, place
        finally:
            await rig.server.close()


def test_on_a_unix_socket_nothing_is_sealed_and_names_are_looked_at() -> None:
    """The folder keeps everybody else out; who is meant is asked all the same, since processes die and others come."""

    async def test() -> None:
        answers: list[Frame] = []
        problems: list[str] = []
        async with private() as (rig, place):
            folder = Path(place).parent
            assert folder.stat().st_mode & 0o777 == 0o700
            connection = Connection("orders", SECRET, lambda: place, answers.append, role="service", expect="inventory")
            sent: list[Frame] = [{"n": n, "text": "ü" * n} for n in range(50)]
            assert all(connection.send(frame) for frame in sent)
            await until(lambda: len(answers) == len(sent))
            assert rig.frames == answers == sent
            [peer] = rig.peers
            assert (peer.name, peer.role) == ("orders", "service")
            assert peer.address in (f"process {os.getpid()} of uid {os.geteuid()}", "a process of this machine")
            assert connection._channel is not None
            assert connection._channel._session is not None
            assert connection._channel._session.seal(b"{}") == b"\0\0\0\2{}"
            await connection.close()
            other = Connection(
                "orders", SECRET, lambda: place, print, expect="payment", refused=lambda *line: problems.append(line[1])
            )
            other.send({})
            await until(lambda: problems)
            assert problems == ["'inventory' answers where 'payment' is meant to be"]
            await other.close()

    play(test)


@pytest.mark.parametrize("junk", [b"\0\0\0\5hello", b"\xff\xff\xff\xff" + b"x" * 5000, b"\0\0\0\2{}"])
def test_on_a_unix_socket_what_is_no_frame_ends_its_connection_alone(junk: bytes) -> None:
    async def test() -> None:
        async with private() as (rig, place):
            good = Connection("orders", SECRET, lambda: place, lambda frame: None)
            await good.connected(PATIENCE)
            raw = Raw(*await asyncio.open_unix_connection(place))
            raw.writer.write(junk)
            await until(lambda: rig.refusals)
            assert await raw.ended()
            assert len(rig.refusals) == 1
            await raw.close()
            assert good.send({"n": 1})
            await until(lambda: rig.frames)
            assert rig.frames == [{"n": 1}]
            await good.close()

    play(test)


def test_a_process_behind_a_unix_socket_that_dies_is_found_at_its_next_one() -> None:
    async def test() -> None:
        first, second = Listening(), Listening()
        with scratch.sockets() as folder:
            place = await first.server.start_in(folder)
            connection = Connection("orders", SECRET, lambda: place, lambda frame: None)
            await connection.connected(PATIENCE)
            await first.server.close()
            await until(lambda: not connection.is_open)
            before, place = place, await second.server.start_in(folder)
            assert before != place
            await connection.connected(PATIENCE)
            connection.send({"n": 2})
            await until(lambda: second.frames)
            await connection.close()
            await second.server.close()

    play(test)


def test_a_path_that_is_too_long_for_a_socket_is_one_line(tmp_path: Path) -> None:
    async def test() -> None:
        deep = tmp_path / ("x" * 100)
        deep.mkdir()
        with pytest.raises(WireError, match=r"'inventory' cannot listen on .*: .*(too long|ENAMETOOLONG)"):
            await Listening().server.start_in(deep)

    play(test)


# --- connecting ---------------------------------------------------------------------------------------------------------------


def test_only_the_first_connection_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames are kept while the first connection is being made; afterwards, what is sent into a gap is lost, and `send` says so."""

    async def test() -> None:
        rig = Listening()
        connection = rig.connection(backoff=(0.001, 0.002))
        assert connection.send({"n": 1})
        rig.port = await rig.server.start()
        await until(lambda: rig.frames)
        await rig.server.close()
        await until(lambda: not connection.is_open)
        assert not connection.send({"n": 2})
        rig.port = await rig.server.start()
        await connection.connected(PATIENCE)
        assert connection.send({"n": 3})
        await until(lambda: len(rig.frames) == 2)
        assert rig.frames == [{"n": 1}, {"n": 3}]
        await connection.close()
        assert not connection.send({"n": 4})
        await rig.server.close()

    play(test)


def test_the_queue_before_the_first_connection_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "_QUEUE_SECONDS", 0.02)

    async def test() -> None:
        rig = Listening()
        connection = rig.connection()
        kept = [connection.send({"n": n}) for n in range(wire._QUEUE_FRAMES + 5)]
        assert kept == [True] * wire._QUEUE_FRAMES + [False] * 5
        heavy = rig.connection()
        big = {"f": "x" * (wire.LIMIT - 100)}
        assert [heavy.send(big) for _ in range(6)] == [True] * 4 + [False] * 2
        await until(lambda: connection._queue is None)  # its time is over
        assert not connection.send({"n": "too late"})
        rig.port = await rig.server.start()
        await connection.connected(PATIENCE)
        assert connection.send({"n": "first"})
        await until(lambda: rig.frames)
        assert rig.frames == [{"n": "first"}]
        await connection.close()
        await heavy.close()
        await rig.server.close()

    play(test)


def test_attempts_back_off_and_never_end(monkeypatch: pytest.MonkeyPatch) -> None:
    delays: list[float] = []
    sleep = asyncio.sleep

    async def noted(delay: float) -> None:
        delays.append(delay)
        await sleep(0)

    async def test() -> None:
        problems: list[tuple[str, str]] = []
        monkeypatch.setattr(asyncio, "sleep", noted)
        connection = Connection(
            "orders", SECRET, lambda: None, lambda frame: None, refused=lambda *line: problems.append(line)
        )
        connection.send({})
        while len(delays) < 10:
            await sleep(0)
        monkeypatch.setattr(asyncio, "sleep", sleep)
        await connection.close()
        assert problems == [("an unknown address", "it has not said where it listens")]  # once, not ten times

    play(test)
    assert delays[:10] == pytest.approx([0.005, 0.01, 0.02, 0.04, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05])


def test_a_place_that_cannot_be_read_yet_is_asked_for_again(tmp_path: Path) -> None:
    """The file of a process that is just starting may be missing, or empty."""
    path = tmp_path / "port"
    asked: list[str] = []

    def locate() -> tuple[str, int]:
        asked.append("")
        text = path.read_text()
        asked[-1] = "read"
        return "127.0.0.1", int(text)

    async def test() -> None:
        async with listening() as rig:
            connection = Connection("orders", SECRET, locate, lambda frame: None, backoff=(0.001, 0.002))
            connection.send({"n": 1})
            await until(lambda: len(asked) > 2)
            assert "where it listens" in connection.problem
            path.write_text("")
            await until(lambda: asked.count("read") > 2)
            path.write_text(str(rig.port))
            await until(lambda: rig.frames)
            assert connection.problem == ""
            await connection.close()

    play(test)


SERVER = """
import asyncio, os, sys
from pathlib import Path
from simtx.reference.wire.connection import Server

async def main():
    server = Server(
        bytes.fromhex(sys.argv[1]), "inventory",
        lambda peer: lambda frame: peer.send({**frame, "pid": os.getpid(), "clock": __import__("time").monotonic()}),
        lambda *line: print(*line, flush=True),
    )
    port = await server.start()
    new = Path(sys.argv[2] + ".new")
    new.write_text(str(port))
    new.replace(sys.argv[2])
    await asyncio.sleep(600)

asyncio.run(main())
"""


@contextlib.contextmanager
def server_process(port_file: Path) -> Iterator[subprocess.Popen[bytes]]:
    arguments = [sys.executable, "-c", SERVER, SECRET.hex(), str(port_file)]
    with subprocess.Popen(arguments) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_killed_server_is_found_again_on_its_new_port(tmp_path: Path) -> None:
    path = tmp_path / "port"

    async def test() -> None:
        answers: list[Frame] = []
        connection = Connection(
            "orders", SECRET, lambda: ("127.0.0.1", int(path.read_text())), answers.append, expect="inventory"
        )
        for incarnation in range(2):
            with server_process(path) as process:
                await connection.connected(PATIENCE)
                assert connection.send({"n": incarnation})
                await until(lambda: answers and answers[-1]["pid"] == process.pid)
                assert answers[-1]["n"] == incarnation
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                await until(lambda: not connection.is_open)
                assert not connection.send({"n": "lost"})
        await connection.close()
        assert len(answers) == 2

    play(test)


def test_who_got_the_port_of_another_one_is_not_talked_to() -> None:
    """After a restart, the port in an old file may belong to another process of the same run."""

    async def test() -> None:
        async with listening() as rig:
            connection = rig.connection(expect="payment")
            connection.send({"for": "payment"})
            await until(lambda: connection.problem)
            assert connection.problem == "'inventory' answers where 'payment' is meant to be"
            await connection.close()
            assert rig.frames == []

    play(test)


def test_a_connection_to_itself_is_given_up() -> None:
    """Who connects to a free port may get that port for himself (a simultaneous open); the owner could never listen on it again."""

    async def test() -> None:
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        sock.connect(sock.getsockname())
        sock.setblocking(False)
        rig = Listening()
        connection = rig.connection()
        shake = ClientHandshake(SECRET, "orders")
        _, end = await asyncio.get_running_loop().create_connection(
            lambda: wire._ClientChannel(connection, shake), sock=sock
        )
        await until(end.lost.done)
        assert "connected to itself" in connection.problem

    play(test)


@pytest.mark.parametrize(
    ("host", "port", "words"),
    [
        ("", 0, "'inventory' needs an address to listen on, such as 127.0.0.1"),
        ("127.0.0.1", 70000, "cannot listen on 127.0.0.1, port 70000: a port is a number from 0 to 65535"),
        ("203.0.113.7", 0, "cannot listen on 203.0.113.7, port 0: this machine has no such address"),
    ],
)
def test_where_nobody_can_listen_is_one_line(host: str, port: int, words: str) -> None:
    async def test() -> None:
        with pytest.raises(WireError) as caught:
            await Listening().server.start(host, port)
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)

    play(test)


def test_a_port_in_use_is_one_line() -> None:
    async def test() -> None:
        async with listening() as rig:
            with pytest.raises(
                WireError, match=f"'inventory' cannot listen on 127.0.0.1, port {rig.port}: another program"
            ):
                await Listening().server.start(port=rig.port)
            assert await rig.works()

    play(test)


@pytest.mark.parametrize("make", [lambda: Listening(secret=b"short"), lambda: Server(SECRET, "a\nb", print, print)])  # type: ignore[arg-type]
def test_a_weak_secret_or_an_odd_name_is_refused(make: Callable[[], object]) -> None:
    with pytest.raises(WireError, match=r"secret has 5 bytes|cannot be the name"):
        make()


# --- who is let in ------------------------------------------------------------------------------------------------------------


def test_without_the_secret_nobody_gets_in() -> None:
    async def test() -> None:
        async with listening() as rig:
            connection = rig.connection(secret=new_secret())
            assert connection.send({"n": 1})
            for seconds in (0.05, 0.5, 5.0, 50.0):  # more, if the machine is so busy that it is not refused before
                with pytest.raises(WireError, match="'orders' has not reached the other process in ") as raised:
                    await connection.connected(seconds)
                if "'inventory' refuses: " in str(raised.value):
                    break
            assert ": 'inventory' refuses: una" in str(raised.value)
            await connection.close()
            assert rig.frames == []
            assert rig.peers == []
            assert {reason for _, reason in rig.refusals} == {"unauthenticated: it does not have the run's secret"}
            assert await rig.works()

    play(test)


def test_a_server_without_the_secret_is_told_nothing() -> None:
    """The proof is mutual: who took over the port of a dead server gets no message."""
    received = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        impostor = ServerHandshake(new_secret(), "inventory")
        writer.write(handshake.framed(impostor.hello))
        await reader.read(4096)
        writer.write(handshake.framed(b"p" * 32))
        received.extend(await reader.read(4096))
        writer.close()

    async def test() -> None:
        problems: list[tuple[str, str]] = []
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        connection = Connection(
            "orders",
            SECRET,
            lambda: ("127.0.0.1", port),
            lambda frame: None,
            refused=lambda *line: problems.append(line),
        )
        connection.send({"card": "4711"})
        await until(lambda: problems)
        await connection.close()
        server.close()
        assert problems == [(f"127.0.0.1:{port}", "unauthenticated: it does not have the run's secret")]

    play(test)
    assert received == b""


@pytest.mark.parametrize(
    ("version", "let_in", "line"),
    [
        ("1.0", True, ""),
        ("1.99", True, ""),  # a newer minor version only adds what may be ignored
        ("2.0", False, "wrong version: it speaks wire 2.0, we speak 1.0; use the same simtx on both sides"),
        ("0.9", False, "wrong version: it speaks wire 0.9"),
        ("1", False, "malformed handshake: no wire version"),
        (1.0, False, "malformed handshake: no wire version"),
        (None, False, "malformed handshake: no wire version"),
    ],
)
def test_another_major_version_is_refused_by_either_side(version: object, let_in: bool, line: str) -> None:
    claim_side = ClientHandshake(SECRET, "orders")
    claim_side._claim["wire"] = version  # type: ignore[assignment]
    server = ServerHandshake(SECRET, "inventory")
    claim = claim_side.claim(server.hello)
    hello = json.loads(ServerHandshake(SECRET, "inventory").hello)
    newer = json.dumps({**hello, "wire": version}).encode()
    if let_in:
        server.answer(claim)
        assert server.version == version
        ClientHandshake(SECRET, "orders").claim(newer)
        return
    with pytest.raises(WireError) as at_server:
        server.answer(claim)
    with pytest.raises(WireError) as at_client:
        ClientHandshake(SECRET, "orders").claim(newer)
    assert str(at_server.value) == str(at_client.value)
    assert line in str(at_server.value)


def test_a_newer_version_is_one_line_on_both_sides() -> None:
    async def test() -> None:
        async with listening() as rig:
            raw = await Raw.connect(rig.port)
            shake = ClientHandshake(SECRET, "orders")
            shake._claim["wire"] = "2.3"
            raw.writer.write(handshake.framed(shake.claim(await raw.frame())))
            assert json.loads(await raw.frame())["refused"].startswith("wrong version: it speaks wire 2.3")
            await raw.close()
            await rig.refuses("wrong version: it speaks wire 2.3, we speak 1.0")

    play(test)


async def recorded(rig: Listening) -> tuple[bytes, bytes]:
    """The bytes of a good connection, there and back."""
    there, back = bytearray(), bytearray()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, record: bytearray) -> None:
        while data := await reader.read(65536):
            record.extend(data)
            writer.write(data)
        writer.close()

    async def tap(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner = await Raw.connect(rig.port)
        await asyncio.gather(pump(reader, inner.writer, there), pump(inner.reader, writer, back))

    server = await asyncio.start_server(tap, "127.0.0.1", 0)
    answers: list[Frame] = []
    connection = Connection("orders", SECRET, lambda: ("127.0.0.1", server.sockets[0].getsockname()[1]), answers.append)
    connection.send({"n": "transfer 100"})
    await until(lambda: answers)
    await connection.close()
    await until(lambda: not rig.peers[-1].is_open)
    server.close()
    return bytes(there), bytes(back)


@pytest.mark.parametrize(
    ("direction", "line"), [(0, "unauthenticated: it does not have the run's secret"), (1, "malformed handshake")]
)
def test_a_recorded_connection_cannot_be_replayed(direction: int, line: str) -> None:
    """Neither what the client has sent, nor what the server has sent, reflected to it."""

    async def test() -> None:
        async with listening() as rig:
            bytes_of_old = (await recorded(rig))[direction]
            assert len(rig.frames) == 1
            raw = await Raw.connect(rig.port)
            raw.writer.write(bytes_of_old)
            assert await raw.ended()
            await raw.close()
            await rig.refuses(line)
            assert rig.frames == [{"n": "transfer 100"}, {"is": "anybody there?"}]

    play(test)


# --- hostile bytes ------------------------------------------------------------------------------------------------------------

BEFORE = {
    "nothing": (b"", "truncated handshake"),
    "half a length": (b"\0\0", "truncated handshake"),
    "half a claim": (b"\0\0\0\x50{", "truncated handshake"),
    "an empty claim": (b"\0\0\0\0", "malformed handshake: the claim is no JSON object"),
    "noise": (b"\0\0\0\x40" + bytes(range(64)), "malformed handshake: the claim is no JSON object"),
    "a list": (b"\0\0\0\x22[]" + b"x" * 32, "malformed handshake: the claim is no JSON object"),
    "deep nesting": (b"\0\0\x0f\xff" + b"[" * 4095, "malformed handshake: the claim is no JSON object"),
    "no version": (b"\0\0\0\x22{}" + b"x" * 32, "malformed handshake: no wire version"),
    "no proof": (b"\0\0\0\x2e" + b'{"wire":"1.0"}' + b"x" * 32, "unauthenticated"),
    "too long for a stranger": (b"\0\0\x10\x01", "oversized frame: 4097 bytes are announced, at most 4096 are allowed"),
    "the longest length": (b"\xff\xff\xff\xff", "oversized frame: 4294967295 bytes"),
    "a web browser": (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "oversized frame"),
}


@pytest.mark.parametrize("case", BEFORE)
def test_hostile_bytes_of_a_stranger_are_one_line(case: str) -> None:
    data, line = BEFORE[case]

    async def test() -> None:
        async with listening() as rig:
            raw = await Raw.connect(rig.port)
            await raw.frame()
            raw.writer.write(data)
            raw.writer.write_eof()
            assert await raw.ended()
            await raw.close()
            await rig.refuses(line)

    play(test)


def _sealed(payload: bytes) -> Callable[[Session], bytes]:
    return lambda session: session.seal(payload)


def _twice(session: Session) -> bytes:
    frame = session.seal(b"{}")
    return frame + frame


def _skipped(session: Session) -> bytes:
    session.seal(b"{}")
    return session.seal(b"{}")


def _swapped(session: Session) -> bytes:
    first, second = session.seal(b"{}"), session.seal(b"{}")
    return second + first


AFTER: dict[str, tuple[Callable[[Session], bytes], str]] = {
    "a frame twice": (_twice, "replayed frame: number 0 came where 1 was expected"),
    "a frame left out": (_skipped, "missing frame: number 1 came where 0 was expected"),
    "two frames swapped": (_swapped, "missing frame: number 1 came where 0 was expected"),
    "a frame of the server, sent back": (
        lambda session: Session(session._receiving, b"").seal(b"{}"),
        "unauthenticated frame: forged, or changed on the way",
    ),
    "no seal": (lambda session: b"\0\0\0\2{}", "truncated frame: 2 bytes"),
    "a forged seal": (lambda session: b"\0\0\0\x20" + b"x" * 32, "unauthenticated frame"),
    "half a frame": (lambda session: session.seal(b"{}")[:20], "truncated frame: it ended after 20 of 30 bytes"),
    "too long": (lambda session: struct.pack(">I", wire.LIMIT + 25), "oversized frame: 1048601 bytes"),
    "no JSON": (_sealed(b"nonsense"), "malformed frame: it is no JSON"),
    "no text": (_sealed(b"\xff\xfe"), "malformed frame: it is no JSON"),
    "nothing": (_sealed(b""), "malformed frame: it is no JSON"),
    "two values": (_sealed(b"{}{}"), "malformed frame: it is no JSON"),
    "deep nesting": (_sealed(b'{"a":' + b"[" * 200_000), "malformed frame: it is no JSON"),
    "a number too long": (_sealed(b'{"a":' + b"9" * 5000 + b"}"), "malformed frame: it is no JSON"),
    "a list": (_sealed(b"[1]"), "malformed frame: a list where a JSON object is expected"),
    "a text": (_sealed(b'"x"'), "malformed frame: a str where a JSON object is expected"),
}


@pytest.mark.parametrize("case", AFTER)
def test_hostile_bytes_of_somebody_known_are_one_line(case: str) -> None:
    make, line = AFTER[case]

    async def test() -> None:
        async with listening() as rig:
            raw = await Raw.connect(rig.port)
            session = await raw.authenticated()
            raw.writer.write(make(session))
            raw.writer.write_eof()
            assert await raw.ended()
            await raw.close()
            await rig.refuses(line, "from 'raw'")

    play(test)


@pytest.fixture(scope="module")
def alive() -> Iterator[tuple[asyncio.AbstractEventLoop, Listening]]:
    """One server for all examples: what one of them breaks, the next one notices."""
    loop = asyncio.new_event_loop()
    rig = Listening()
    rig.port = loop.run_until_complete(rig.server.start())
    yield loop, rig
    loop.run_until_complete(rig.server.close())
    loop.close()


FUZZ = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
Alive = tuple[asyncio.AbstractEventLoop, Listening]


@FUZZ
@given(chunks=st.lists(st.binary(min_size=1, max_size=300), max_size=5), length=st.none() | st.integers(0, 5000))
def test_no_bytes_of_a_stranger_do_harm(alive: Alive, chunks: list[bytes], length: int | None) -> None:
    loop, rig = alive

    async def test() -> None:
        rig.refusals.clear()
        rig.frames.clear()
        raw = await Raw.connect(rig.port)
        if length is not None:
            raw.writer.write(struct.pack(">I", length))
        for chunk in chunks:
            raw.writer.write(chunk)
            await asyncio.sleep(0)
        with contextlib.suppress(OSError):
            raw.writer.write_eof()
        assert await raw.ended()
        await raw.close()
        await rig.refuses()
        assert rig.frames == [{"is": "anybody there?"}]

    loop.run_until_complete(asyncio.wait_for(test(), PATIENCE))


@FUZZ
@given(data=st.data())
def test_no_changed_bit_gets_in(alive: Alive, data: st.DataObject) -> None:
    """In the claim, in the seal, in the number, in the payload; in a length it is a truncated or an oversized frame."""
    loop, rig = alive

    async def test() -> None:
        rig.refusals.clear()
        rig.frames.clear()
        raw = await Raw.connect(rig.port)
        in_claim = data.draw(st.booleans())
        shake = ClientHandshake(SECRET, "raw")
        message = bytearray(handshake.framed(shake.claim(await raw.frame())))
        if not in_claim:
            raw.writer.write(message)
            message = bytearray(shake.finish(await raw.frame()).seal(b'{"amount":100}'))
        bit = data.draw(st.integers(0, 8 * len(message) - 1))
        message[bit // 8] ^= 1 << bit % 8
        raw.writer.write(message)
        raw.writer.write_eof()
        assert await raw.ended()
        await raw.close()
        await rig.refuses()
        assert rig.frames == [{"is": "anybody there?"}]

    loop.run_until_complete(asyncio.wait_for(test(), PATIENCE))


@FUZZ
@given(cut=st.floats(0, 1, exclude_max=True), known=st.booleans())
def test_no_cut_does_harm(alive: Alive, cut: float, known: bool) -> None:
    """A client may die anywhere: in its claim, or in a frame."""
    loop, rig = alive

    async def test() -> None:
        rig.refusals.clear()
        raw = await Raw.connect(rig.port)
        shake = ClientHandshake(SECRET, "raw")
        message = handshake.framed(shake.claim(await raw.frame()))
        if known:
            raw.writer.write(message)
            message = shake.finish(await raw.frame()).seal(b'{"amount":100}')
        part = message[: int(cut * len(message))]
        raw.writer.write(part)
        raw.writer.write_eof()
        assert await raw.ended()
        await raw.close()
        if part or not known:
            await rig.refuses("truncated")
        else:
            assert await rig.works()  # a connection that ends between two frames has just ended
            assert rig.refusals == []

    loop.run_until_complete(asyncio.wait_for(test(), PATIENCE))


@settings(max_examples=many(20, 60), deadline=None)
@given(
    hello=st.binary(max_size=200) | st.dictionaries(st.sampled_from(["wire", "name", "nonce"]), st.text() | st.none())
)
@pytest.mark.more
def test_no_greeting_does_harm_to_a_client(hello: bytes | dict[str, str | None]) -> None:
    payload = hello if isinstance(hello, bytes) else json.dumps(hello).encode()
    with pytest.raises(WireError):
        ClientHandshake(SECRET, "orders").claim(payload)
    shake = ClientHandshake(SECRET, "orders")
    shake.claim(ServerHandshake(SECRET, "inventory").hello)
    with pytest.raises(WireError):
        shake.finish(payload)


# --- bounds -------------------------------------------------------------------------------------------------------------------


def test_a_handshake_that_takes_too_long_is_ended() -> None:
    async def test() -> None:
        async with listening(patience=0.02) as rig:
            raw = await Raw.connect(rig.port)
            assert await raw.ended()
            await raw.close()
            await rig.refuses("timeout: the handshake was not complete after 0.02 s")
            for _ in range(1000):  # again, if the machine is so busy that it takes too long
                known = await Raw.connect(rig.port)
                with contextlib.suppress(OSError, EOFError, WireError):
                    await known.authenticated()
                    await until(lambda: rig.peers)
                    break
                await known.close()
            await asyncio.sleep(0.04)  # whoever has shown the secret may be silent
            assert rig.peers[-1].is_open
            await known.close()

    play(test)


def test_silent_strangers_neither_add_up_nor_keep_others_out() -> None:
    async def test() -> None:
        async with listening(crowd=3, patience=60.0) as rig:
            crowd = [await Raw.connect(rig.port) for _ in range(10)]
            await until(lambda: len(rig.refusals) == 7)
            assert len(rig.server._strangers) == 3
            assert await rig.works()
            assert len(rig.refusals) == 8
            assert {reason for _, reason in rig.refusals} == {
                "unauthenticated: the oldest of more than 3 connections without the secret"
            }
            for raw in crowd[:8]:
                assert await raw.ended()  # the oldest ones went
            assert len(rig.server._strangers) == 2
            for raw in crowd:
                await raw.close()

    play(test)


def test_who_does_not_read_costs_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "UNREAD", 1 << 20)

    async def test() -> None:
        async with listening() as rig:
            raw = await Raw.connect(rig.port)
            raw.reader._limit = 1  # type: ignore[attr-defined] # it stops reading
            await raw.authenticated()
            peer = rig.peers[-1]
            frame = {"fill": "x" * 100_000}
            taken = 0
            while peer.send(frame):
                taken += 1
                await asyncio.sleep(0)
                assert taken < 10_000
            assert peer._channel._transport.get_write_buffer_size() <= (1 << 20) + 100_100
            assert peer.is_open  # it may read again some time
            assert await rig.works()
            await raw.close()

    play(test)


def test_a_fault_found_by_the_handler_ends_that_connection() -> None:
    async def test() -> None:
        async with listening() as rig:

            def accept(peer: Peer) -> Handler:
                if peer.name == "unwanted":
                    raise WireError("'unwanted' has no business here")
                return handle

            def handle(frame: Frame) -> None:
                raise PeerFault("a vote for a transaction that nobody has begun")

            real, rig.server._accept = rig.server._accept, accept
            connection = rig.connection(backoff=(10.0, 10.0))
            connection.send({})
            await until(lambda: rig.refusals)
            other = Connection("unwanted", SECRET, lambda: ("127.0.0.1", rig.port), print, backoff=(10.0, 10.0))
            other.send({})
            await until(lambda: len(rig.refusals) == 2)
            rig.server._accept = real
            assert [reason for _, reason in rig.refusals] == [
                "a vote for a transaction that nobody has begun (from 'orders')",
                "'unwanted' has no business here (from 'unwanted')",
            ]
            await connection.close()
            await other.close()
            assert await rig.works()

    play(test)


def test_a_broken_handler_harms_one_connection_and_is_not_hidden() -> None:
    async def test() -> None:
        async with listening() as rig:
            seen: list[BaseException] = []
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _, context: seen.append(context["exception"]))
            other = rig.connection()
            await other.connected(PATIENCE)

            def broken(frame: Frame) -> None:
                raise ZeroDivisionError

            rig.peers[0]._channel.handler = broken
            other.send({})
            await until(lambda: not rig.peers[0].is_open)
            assert [type(error) for error in seen] == [ZeroDivisionError]
            assert await rig.works()
            await other.close()

    play(test)
