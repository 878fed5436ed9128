"""Timers ring in order and never early, on a timerfd and without one."""

from __future__ import annotations

import asyncio
import sys
import types
from collections.abc import Callable

import pytest

from simtx.reference.node import timers
from simtx.reference.node.timers import Timers


@pytest.fixture(params=["linux", "elsewhere"])
def make(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Timers]:
    if request.param == "elsewhere":
        monkeypatch.setattr(timers, "sys", types.SimpleNamespace(platform="elsewhere"))
    elif sys.platform != "linux":
        pytest.skip("a timerfd is a thing of Linux")
    return Timers


def test_they_ring_in_order_and_never_early(make: Callable[[], Timers], request: pytest.FixtureRequest) -> None:
    delays = [0.012, 0.0, 0.004, 0.0005, 0.004, 0.008]
    rung: list[tuple[int, float]] = []

    async def test() -> None:
        loop = asyncio.get_running_loop()
        clock = make()
        assert clock.precise is ("linux" in request.node.name)
        now = loop.time()
        due = [now + delay for delay in delays]
        for number, when in enumerate(due):
            clock.call_at(when, lambda n=number: rung.append((n, loop.time() - due[n])))
        assert len(clock) == len(delays)
        while len(clock):
            await asyncio.sleep(0.001)
        clock.close()

    asyncio.run(asyncio.wait_for(test(), 120.0))
    assert [number for number, _ in rung] == [1, 3, 2, 4, 5, 0]  # of equal ones, the first first
    assert min(late for _, late in rung) >= 0


def test_one_may_ask_for_another_and_close_forgets_the_rest(make: Callable[[], Timers]) -> None:
    rung: list[str] = []

    async def test() -> None:
        clock = make()
        last = asyncio.get_running_loop().create_future()

        def first() -> None:
            rung.append("first")
            clock.call_later(0.001, second)

        def second() -> None:
            rung.append("second")
            clock.call_later(0.002, rung.append, "never")
            clock.close()
            last.set_result(None)

        clock.call_later(60.0, rung.append, "never")
        clock.call_later(0.001, first)  # it must not wait for the one before
        await last
        assert len(clock) == 0
        await asyncio.sleep(0.004)

    asyncio.run(asyncio.wait_for(test(), 120.0))
    assert rung == ["first", "second"]


def test_what_one_raises_keeps_nobody_else_from_its_turn(make: Callable[[], Timers]) -> None:
    async def test() -> None:
        seen: list[str] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: seen.append(type(context["exception"]).__name__))
        clock = make()
        done = loop.create_future()
        clock.call_later(0.001, lambda: 1 / 0)
        clock.call_later(0.001, done.set_result, None)
        await done
        clock.close()
        assert seen == ["ZeroDivisionError"]

    asyncio.run(asyncio.wait_for(test(), 120.0))
