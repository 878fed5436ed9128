"""How a child process of a real run ends: when it is asked to, when its launcher is gone, or when it cannot go on."""

from __future__ import annotations

import asyncio
import os
import signal
import sys


class Ending:
    """How this process ends: asked to by a signal or by the launcher's end, or by a failure."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[BaseException | None] = self._loop.create_future()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self.ask)
        self._loop.add_reader(sys.stdin.fileno(), self._hear)

    def _hear(self) -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            self._loop.remove_reader(sys.stdin.fileno())
            self.ask()

    def ask(self) -> None:
        """Please stop."""
        self._settle(None)

    def fail(self, error: BaseException) -> None:
        """It cannot go on."""
        self._settle(error)

    def _settle(self, how: BaseException | None) -> None:
        if not self._over.done():
            self._over.set_result(how)

    async def wait(self) -> None:
        """Return when asked to stop.

        Raises:
            BaseException: What it failed with.
        """
        error = await self._over
        if error is not None:
            raise error
