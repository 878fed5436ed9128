"""How long a sealed frame takes from one process to another, and how many of them a second; with and without the link proxy.

Usage: python benchmarks/wire.py
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from typing import Any

from simtx.reference.proxy import LinkProxy
from simtx.reference.timers import Timers
from simtx.reference.wire import Connection, Server

SECRET = bytes(32)
HOPS = 3000
FRAMES = 30_000
MESSAGE = {  # of the size of a real one
    "type": "message",
    "origin": 123456789,
    "event": {"version": "2.0", "to": "b", "tx": 4711, "message": {"$": "Message", "kind": "vote", "body": "x" * 400}},
}
Frame = dict[str, Any]


async def node() -> None:
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

    print(await Server(SECRET, "b", accept, print).start(), flush=True)
    await asyncio.to_thread(sys.stdin.read)


async def proxy(port: int) -> None:
    """A proxy without faults."""
    between = LinkProxy(SECRET, [("a", "b"), ("b", "a")], lambda _: ("127.0.0.1", port))
    print((await between.start())["a", "b"], flush=True)
    await asyncio.to_thread(sys.stdin.read)


async def measure(what: str, port: int) -> None:
    """One hop at a time, then as many as can be."""
    came = asyncio.Event()
    last: Frame = {}

    def heard(frame: Frame) -> None:
        last.update(frame)
        came.set()

    connection = Connection("a", SECRET, lambda: ("127.0.0.1", port), heard)
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
        f"{what:15} one way p50 {hops[len(hops) // 2] * 1e6:5.0f} us  p99 {hops[len(hops) * 99 // 100] * 1e6:5.0f} us"
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
        print(f"{name:15} late by p50 {late[150] * 1e6:5.0f} us  p99 {late[297] * 1e6:5.0f} us")
    clock.close()


def main() -> None:
    """Measure."""
    command = [sys.executable, __file__]
    with subprocess.Popen([*command, "node"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:  # noqa: S603
        assert first.stdout is not None
        port = int(first.stdout.readline())
        asyncio.run(measure("direct", port))
        with subprocess.Popen([*command, "proxy", str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as second:  # noqa: S603
            assert second.stdout is not None
            asyncio.run(measure("through a proxy", int(second.stdout.readline())))
            second.communicate()
        first.communicate()
    asyncio.run(lateness())


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:
        asyncio.run(node() if sys.argv[1] == "node" else proxy(int(sys.argv[2])))
