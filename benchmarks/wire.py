"""How long a frame takes from one process to another, and how many of them a second: by Unix sockets and, sealed, by TCP; with and without the proxy.

Usage: python benchmarks/wire.py
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from typing import Any

from simtx.reference.node.timers import Timers
from simtx.reference.processes.proxy import LinkProxy
from simtx.reference.wire.connection import Connection, Place, Server

SECRET = bytes(32)
HOPS = 3000
FRAMES = 30_000
MESSAGE = {  # of the size of a real one
    "type": "message",
    "origin": 123456789,
    "event": {"version": "2.0", "to": "b", "tx": 4711, "message": {"$": "Message", "kind": "vote", "body": "x" * 400}},
}
Frame = dict[str, Any]


async def node(where: dict[str, Any]) -> None:
    """Notes the time of each frame (`time.monotonic` is one clock for all processes), and says when all have come."""
    count = 0

    def handle(frame: Frame) -> None:
        nonlocal count
        count += 1
        if frame.get("hop"):
            peers[-1].send({"hop": frame["hop"], "seen": time.monotonic()})
        elif frame["left"] == 0:
            peers[-1].send({"count": count})

    peers: list[Any] = []

    def accept(peer: Any) -> Any:
        peers.append(peer)
        return handle

    print(json.dumps(await Server(SECRET, "b", accept, print).start_as(where)), flush=True)
    await asyncio.to_thread(sys.stdin.read)


async def proxy(where: dict[str, Any], place: Place) -> None:
    """A proxy without faults."""
    between = LinkProxy(SECRET, [("a", "b"), ("b", "a")], lambda _: place)
    print(json.dumps((await between.start_as(where))["a", "b"]), flush=True)
    await asyncio.to_thread(sys.stdin.read)


async def measure(what: str, place: Place) -> None:
    """One hop at a time, then as many as can be."""
    came = asyncio.Event()
    last: Frame = {}

    def heard(frame: Frame) -> None:
        last.update(frame)
        came.set()

    connection = Connection("a", SECRET, lambda: place, heard)
    hops = []
    for hop in range(1, HOPS):
        began = time.monotonic()
        connection.send({**MESSAGE, "hop": hop})
        await came.wait()
        came.clear()
        hops.append(last["seen"] - began)
    hops = sorted(hops[HOPS // 10 :])
    began = time.monotonic()
    for left in reversed(range(FRAMES)):
        while not connection.send({**MESSAGE, "left": left}):
            await asyncio.sleep(0.001)
        if left % 50 == 0:
            await asyncio.sleep(0)
    await came.wait()
    rate = last["count"] / (time.monotonic() - began)
    print(
        f"{what:28} one way p50 {hops[len(hops) // 2] * 1e6:5.0f} us  p99 {hops[len(hops) * 99 // 100] * 1e6:5.0f} us"
        f"   {rate:7.0f} frames/s"
    )
    await connection.close()


async def lateness() -> None:
    """How late a call comes that was asked for in 1 to 3 ms."""
    loop, clock = asyncio.get_running_loop(), Timers()
    for name, later in (("Timers", clock.call_later), ("the event loop", loop.call_later)):
        late = []
        for turn in range(300):
            done = loop.create_future()
            delay = 0.001 + turn / 150_000
            due = loop.time() + delay
            later(delay, done.set_result, None)
            await done
            late.append(loop.time() - due)
        late.sort()
        print(f"{name:28} late by p50 {late[150] * 1e6:5.0f} us  p99 {late[297] * 1e6:5.0f} us")
    clock.close()


def main() -> None:
    """Measure."""
    with tempfile.TemporaryDirectory() as folder:
        between("Unix sockets", {"host": None, "sockets": folder})
    between("TCP, sealed", {"host": "127.0.0.1"})
    asyncio.run(lateness())


def between(what: str, where: dict[str, Any]) -> None:
    """Measure from here to another process."""
    command = [sys.executable, __file__]
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([*command, "node", json.dumps(where)], **options) as first:  # noqa: S603
        assert first.stdout is not None
        told = first.stdout.readline().decode()
        asyncio.run(measure(what, _place(told)))
        with subprocess.Popen([*command, "proxy", json.dumps(where), told], **options) as second:  # noqa: S603
            assert second.stdout is not None
            asyncio.run(measure(f"{what}, proxy", _place(second.stdout.readline().decode())))
            second.communicate()
        first.communicate()


def _place(text: str) -> Place:
    place = json.loads(text)
    return place if isinstance(place, str) else (place[0], place[1])


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    elif sys.argv[1] == "node":
        asyncio.run(node(json.loads(sys.argv[2])))
    else:
        asyncio.run(proxy(json.loads(sys.argv[2]), _place(sys.argv[3])))
