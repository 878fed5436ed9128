"""The log device of a node: how long a forced write takes, alone and in company."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heappush
from typing import Any, Final

from simtx.simulator.environment import NORMAL, Environment
from simtx.workload.by_transaction import Draw

Callback = Callable[[Any], object]


class Disk:
    """A log device that makes records durable.

    Args:
        env: The clock.
        draw: Draws the duration of one flush, in seconds, for a transaction: of several that share the flush, the one that came first.
        flush: ``group``: writes that arrive during a flush share the next one (group commit); ``serial``: one flush a write, first come
            first served; ``parallel``: a plain delay, without contention.
        instant: Whether a flush takes no time at all.
    """

    __slots__ = (
        "_busy",
        "_draw",
        "_env",
        "_waiting",
        "busy_time",
        "durable_until",
        "epoch",
        "flush",
        "flushes",
        "instant",
        "stalled",
    )

    def __init__(self, env: Environment, draw: Draw, flush: str, instant: bool) -> None:
        self._env = env
        self._draw = draw
        self._waiting: deque[tuple[Callback, Any, int]] = deque()
        self._busy = False
        self.stalled = False
        self.flush: Final = flush
        self.instant = instant
        self.flushes = 0
        self.busy_time = 0.0  # seconds of flushes that were begun, one after the other
        self.epoch = 0
        self.durable_until = -1.0  # everything written until then has reached the disk

    def force(self, callback: Callback, argument: Any, tx: int) -> None:
        """Call back once everything written so far is durable; `tx` is the transaction that asks, -1 if none does."""
        if self.flush == "parallel" and not self.stalled:
            self.flushes += 1
            env = self._env
            draw, sequence, now = self._draw, env.sequence, env.now
            flush = (self.epoch, now, callback, argument)
            heappush(env.queue, (now + draw(tx), NORMAL, sequence(), self._single, flush))
            return
        if self._busy or self.stalled or self._waiting:
            self._waiting.append((callback, argument, tx))
            if not self._busy and not self.stalled:
                self._start()
        else:
            self._flush([(callback, argument, tx)])

    def note_instant(self) -> None:
        """A forced write that took no time: all lazy records before it are durable, too."""
        self.durable_until = self._env.now
        self.flushes += 1

    def _start(self) -> None:
        waiting = self._waiting
        if self.flush == "serial":
            batch = [waiting.popleft()]
        else:
            batch = list(waiting)
            waiting.clear()
        self._flush(batch)

    def _flush(self, batch: list[tuple[Callback, Any, int]]) -> None:
        self._busy = True
        self.flushes += 1
        duration = self._draw(batch[0][2])
        self.busy_time += duration
        env, now, sequence = self._env, self._env.now, self._env.sequence
        heappush(env.queue, (now + duration, NORMAL, sequence(), self._batch, (self.epoch, now, batch)))

    def _single(self, flush: tuple[int, float, Callback, Any]) -> None:
        epoch, start, callback, argument = flush
        if epoch == self.epoch:
            if start > self.durable_until:
                self.durable_until = start
            callback(argument)

    def _batch(self, flush: tuple[int, float, list[tuple[Callback, Any, int]]]) -> None:
        epoch, start, batch = flush
        if epoch != self.epoch:
            return  # the node crashed meanwhile
        self._busy = False
        self.durable_until = start
        for callback, argument, _ in batch:
            callback(argument)
            if epoch != self.epoch:
                return  # a callback ran into an injected crash
        if self._waiting and not self._busy and not self.stalled:
            self._start()

    def crash(self) -> None:
        """Forget every write that was not durable yet."""
        self.epoch += 1
        self._waiting.clear()
        self._busy = False

    def stall(self) -> None:
        """The device stops taking writes (an outage); a flush under way still completes."""
        self.stalled = True

    def resume(self) -> None:
        """The device works again."""
        self.stalled = False
        if self._waiting and not self._busy:
            if self.flush == "parallel":
                waiting = list(self._waiting)
                self._waiting.clear()
                for callback, argument, tx in waiting:
                    self.force(callback, argument, tx)
            else:
                self._start()
