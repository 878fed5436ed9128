"""Questions to the processes of a run, and their answers: how the launcher and an operator talk to nodes."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

from simtx.reference.wire.connection import Connection

if TYPE_CHECKING:
    from simtx.reference.run_folder.folder import RunFolder

Frame = dict[str, Any]


class Calls:
    """Connections of one process to all others of the run, made when they are first used.

    Args:
        name: What this process is called.
        folder: The run's folder, which says where the others listen.
    """

    def __init__(self, name: str, folder: RunFolder) -> None:
        self._name = name
        self._folder = folder
        self._links: dict[str, Connection] = {}
        self._replies: dict[int, asyncio.Future[Frame]] = {}
        self._questions = itertools.count()

    def _link(self, name: str) -> Connection:
        link = self._links.get(name)
        if link is None:
            link = Connection(
                self._name, self._folder.secret(), lambda: self._folder.locate(name), self._heard, expect=name
            )
            self._links[name] = link
        return link

    def _heard(self, frame: Frame) -> None:
        number = frame.get("id")
        waiting = self._replies.pop(number, None) if isinstance(number, int) else None
        if waiting is not None and not waiting.done():
            waiting.set_result(frame)

    async def ask(self, name: str, patience: float = 1.0, **frame: Any) -> Frame | None:
        """Ask a process for something; None if it does not answer in time."""
        number = next(self._questions)
        reply = self._replies[number] = asyncio.get_running_loop().create_future()
        self._link(name).send({"type": "control", "id": number, **frame})
        try:
            return await asyncio.wait_for(reply, patience)
        except TimeoutError:
            self._replies.pop(number, None)
            return None

    def tell(self, name: str, **frame: Any) -> None:
        """Send a frame to a process, whatever becomes of it."""
        self._link(name).send(frame)

    async def close(self) -> None:
        """Disconnect."""
        while self._links:  # who asks while this waits opens another
            _, link = self._links.popitem()
            await link.close()
