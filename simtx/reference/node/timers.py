"""Calls at a given time, met to some 50 µs: the timers of an event loop are up to a millisecond late, since `epoll` counts milliseconds.

On Linux a timerfd wakes the event loop; elsewhere its own timers have to do.
"""

from __future__ import annotations

import asyncio
import ctypes
import heapq
import itertools
import os
import sys
from collections.abc import Callable
from typing import Any, Final

_CLOCK_MONOTONIC: Final = 1  # what `time.monotonic`, and so `loop.time`, reads on Linux
_TFD_TIMER_ABSTIME: Final = 1


class _Time(ctypes.Structure):
    """C's ``struct itimerspec``, of a timer that rings once."""

    _fields_ = [(name, ctypes.c_long) for name in ("every_s", "every_ns", "s", "ns")]


class Timers:
    """Calls things later, on the running event loop; calls of the same time happen in the order in which they were asked for.

    Attributes:
        precise: Whether a timerfd is used.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._heap: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._numbers = itertools.count()
        self._armed = float("inf")
        self._fd = -1
        self._handle: asyncio.TimerHandle | None = None
        if sys.platform == "linux":
            self._libc = ctypes.CDLL(None, use_errno=True)
            self._fd = self._libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        self.precise = self._fd >= 0
        if self.precise:
            self._loop.add_reader(self._fd, self._rings)

    def __len__(self) -> int:
        return len(self._heap)

    def call_later(self, delay: float, callback: Callable[..., object], *arguments: Any) -> None:
        """Call it in so many seconds."""
        self.call_at(self._loop.time() + delay, callback, *arguments)

    def call_at(self, when: float, callback: Callable[..., object], *arguments: Any) -> None:
        """Call it at this time of `time.monotonic`, which is that of the event loop; at once if it has passed."""
        heapq.heappush(self._heap, (when, next(self._numbers), callback, arguments))
        if when < self._armed:
            self._arm(when)

    def close(self) -> None:
        """Forget everything that has not been called yet."""
        self._heap.clear()
        if self._handle is not None:
            self._handle.cancel()
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _arm(self, when: float) -> None:
        self._armed = when
        if self.precise:
            seconds, nanoseconds = divmod(round(when * 1e9), 1_000_000_000)
            at = _Time(0, 0, seconds, nanoseconds)
            self._libc.timerfd_settime(self._fd, _TFD_TIMER_ABSTIME, ctypes.byref(at), None)
            return
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self._loop.call_at(when, self._rings)

    def _rings(self) -> None:
        if self.precise:
            try:
                os.read(self._fd, 8)
            except BlockingIOError:  # it was set anew meanwhile
                return
        heap = self._heap
        self._armed = float("inf")
        try:
            while heap and heap[0][0] <= self._loop.time():
                _, _, callback, arguments = heapq.heappop(heap)
                callback(*arguments)
        finally:  # what one of them raises must not keep the others from their turn
            if heap:
                self._arm(heap[0][0])
