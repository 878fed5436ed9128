"""Connections to the other processes of a run, and questions to them: how the launcher and an operator talk to nodes."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any, Self

from simtx.reference.wire.connection import Connection, Frame, Handler

if TYPE_CHECKING:
    from simtx.reference.run_folder.folder import RunFolder


class Links:
    """Connections of one process to others of the run, made when they are first used.

    Args:
        name: What this process is called.
        folder: The run's folder, which says where the others listen.
    """

    def __init__(self, name: str, folder: RunFolder) -> None:
        self._name = name
        self._folder = folder
        self._links: dict[str, Connection] = {}

    def to(self, name: str, handler: Handler) -> Connection:
        """The connection to a process.

        Args:
            name: Its name.
            handler: Called with each frame that it sends back; that of the first call counts.
        """
        link = self._links.get(name)
        if link is None:
            link = self._links[name] = Connection(
                self._name, self._folder.secret(), lambda: self._folder.locate(name), handler, expect=name
            )
        return link

    async def close(self) -> None:
        """Disconnect."""
        while self._links:  # who sends while this waits opens another
            _, link = self._links.popitem()
            await link.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class Calls(Links):
    """Questions of one process to others, over connections of its own."""

    def __init__(self, name: str, folder: RunFolder) -> None:
        super().__init__(name, folder)
        self._replies: dict[int, asyncio.Future[Frame]] = {}
        self._questions = itertools.count()

    def _heard(self, frame: Frame) -> None:
        number = frame.get("id")
        waiting = self._replies.pop(number, None) if isinstance(number, int) else None
        if waiting is not None and not waiting.done():
            waiting.set_result(frame)

    async def ask(self, name: str, patience: float = 1.0, **frame: Any) -> Frame | None:
        """Ask a process for something; None if it does not answer in time."""
        number = next(self._questions)
        reply = self._replies[number] = asyncio.get_running_loop().create_future()
        self.to(name, self._heard).send({"type": "control", "id": number, **frame})
        try:
            return await asyncio.wait_for(reply, patience)
        except TimeoutError:
            self._replies.pop(number, None)
            return None

    def tell(self, name: str, **frame: Any) -> None:
        """Send a frame to a process, whatever becomes of it."""
        self.to(name, self._heard).send(frame)
