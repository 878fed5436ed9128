"""Base of every child process of a real run: its part of the run's folder, its event log, a server for the others, and an end.

A process ends when it is asked to, by a signal or by the end of its standard input, which its launcher holds; or when something in it has failed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

from simtx.errors import SimtxError
from simtx.event_log.entries import Seconds
from simtx.reference.run_folder.event_log import LogFile
from simtx.reference.run_folder.folder import RunFolder
from simtx.reference.wire.connection import Handler, Peer, Server
from simtx.reference.wire.refusals import Refusals


class Program:
    """One incarnation of a child process; on its event loop.

    Args:
        path: The run's folder.
        name: Name of the process.
        incarnation: Number of this incarnation, unique in the run.
        config: What the launcher has written for it.

    Attributes:
        folder: The run's folder.
        node: The node whose entries it writes into the event log.
        log: Its event log.
        again: Whether there was another incarnation before this one.
        refused: Writes down who was not let in, and why.
    """

    def __init__(self, path: Path, name: str, incarnation: int, config: dict[str, Any]) -> None:
        self.folder = RunFolder(path)
        self.name = name
        self.incarnation = incarnation
        self.config = config
        self.node: str = config.get("node", name)
        self.log = LogFile(self.folder.log(name, incarnation), incarnation)
        self.again = len(list(self.folder.node(name).glob("log.*.jsonl"))) > 1
        self.refused = Refusals(self.write_refusal)
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[BaseException | None] = self._loop.create_future()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._settle, None)
        self._loop.add_reader(sys.stdin.fileno(), self._hear)

    # --- its entries of the event log -------------------------------------------------------------------------------------------

    def write_refusal(self, peer: str, reason: str) -> None:
        """Write down that somebody was not let in."""
        self.log.log("refuse", self.node, -1, actor="network", peer=peer, detail=reason)

    def write_restart(self) -> None:
        """Write down that this process is back, if there was another incarnation before, and how much of a processor's time it took to start."""
        if self.again:
            used = Seconds(time.process_time()).text()
            self.log.log("restart", self.node, -1, actor="fault", detail=self.name)
            self.log.log("used", self.node, -1, actor="fault", name=self.name, detail=used)

    @contextlib.contextmanager
    def metered(self) -> Iterator[None]:
        """Write down in the end how much of a processor's time was used from here on."""
        used = time.process_time()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # of a log that cannot be written any more: that is said elsewhere
                took = Seconds(time.process_time() - used).text()
                self.log.log("used", self.node, -1, actor="host", name=self.name, detail=took)

    # --- the others -------------------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def listening(self, accept: Callable[[Peer], Handler]) -> AsyncIterator[None]:
        """Let the other processes of the run connect.

        Args:
            accept: Called with each of them, as a `Server` does.

        Raises:
            WireError: It cannot listen where it should.
            RunFolderError: It cannot say where it listens.
        """
        server = Server(self.folder.secret(), self.name, accept, self.refused)
        try:
            self.folder.announce(self.name, await server.start_as(self.config, self.config["port"]))
            yield
        finally:
            await server.close()
            self.refused.close()

    # --- the end ----------------------------------------------------------------------------------------------------------------

    def beside(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do something beside everything else; if it fails, the process does."""
        task = self._loop.create_task(work)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.fail(error)

    def fail_with_the_loop(self) -> None:
        """Have the process end when something goes wrong where nobody waits for it, such as a log that cannot be written."""
        self._loop.set_exception_handler(self._broken)

    def _broken(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, OSError | SimtxError):
            self.fail(error)
        else:
            loop.default_exception_handler(context)
            self.fail(RuntimeError(context["message"] if error is None else f"{type(error).__name__}: {error}"))

    def fail(self, error: BaseException) -> None:
        """End it with an error: it cannot go on."""
        self._settle(error)

    def _hear(self) -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            self._loop.remove_reader(sys.stdin.fileno())
            self._settle(None)

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
