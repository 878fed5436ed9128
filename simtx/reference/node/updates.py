"""Updates from a service to the derived stores beside it: that it begins to change something, and what it has committed.

Nothing of it is written down. A process that is killed between its commit and its word has told nobody, and so has one whose word finds nobody at the
other end: that is what `by = "writer"` means.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Send = Callable[[str, dict[str, Any]], None]


class Updates:
    """Updates by the writer of one process.

    Args:
        stores: Derived stores that this service has to tell, as the launcher describes them.
        send: Hands a frame to a process.
        seed: Of what gets lost.
    """

    def __init__(self, stores: Sequence[Mapping[str, Any]], send: Send, seed: str) -> None:
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._random = random.Random(seed)  # noqa: S311 - chances of a scenario, not cryptography
        self._before = [(one["process"], re.compile(one["pattern"])) for one in stores if one["by"] == "writer-before"]
        self._behind = [
            (
                one["process"],
                re.compile(one["pattern"]),
                one["loss"],
                itertools.cycle(one["lags"]) if one["lags"] else None,
            )
            for one in stores
            if one["by"] == "writer"
        ]

    def begins(self, keys: Iterable[str]) -> None:
        """A local transaction begins that wants to change these keys."""
        for key in keys:
            for process, pattern in self._before:
                if pattern.fullmatch(key):
                    self._send(process, {"type": "update", "key": key, "position": 0, "value": 0.0})

    def committed(self, changes: Mapping[str, tuple[float, float]], history: int) -> None:
        """A local transaction has committed (old, new) by key, as this row of the store's history."""
        for key, (_, new) in changes.items():
            for process, pattern, loss, lags in self._behind:
                if pattern.fullmatch(key) is None or (loss and self._random.random() < loss):
                    continue
                frame = {"type": "update", "key": key, "position": history + 1, "value": new}
                if lags is None:
                    self._send(process, frame)
                else:
                    self._loop.call_later(next(lags), self._send, process, frame)
