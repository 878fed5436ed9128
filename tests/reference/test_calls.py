"""Questions to other processes: disconnecting while somebody still asks."""

import asyncio
from pathlib import Path
from typing import Any, cast

from simtx.reference.processes.calls import Calls
from simtx.reference.run_folder.folder import RunFolder


class Link:
    """A connection that takes a moment to close, in which something may happen."""

    def __init__(self, meanwhile: Any = lambda: None) -> None:
        self.closed = False
        self._meanwhile = meanwhile

    async def close(self) -> None:
        await asyncio.sleep(0)
        self._meanwhile()
        self.closed = True


def test_a_connection_that_is_opened_while_others_are_closed_is_closed_too(tmp_path: Path) -> None:
    calls = Calls("launcher", RunFolder(tmp_path))
    late = Link()
    links = cast("dict[str, Any]", calls._links)
    first = links["sender"] = Link(lambda: links.update(receiver=late))
    asyncio.run(calls.close())
    assert first.closed
    assert late.closed
