"""The event log of a real process: one file an incarnation, one line an entry, with the operating system before anything leaves the process.

A line holds the fields of `simtx.event_log.log.LogEntry` as a JSON array, with the time as this machine's `time.monotonic`, the same for
all its processes. Ids are unique over the files of a run: the number of the incarnation comes first. What a SIGKILL cuts off is at most
the line that was being written.
"""

from __future__ import annotations

import json
import os
import time
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

INCARNATION: Final = 1 << 40
"""Ids of one incarnation's entries start at its number times this."""
_REMEMBERED: Final = 4096  # message objects whose entry is still known when they leave


def entries(files: Iterable[Path]) -> list[list[Any]]:
    """All lines of all files, each a JSON array; a last one that a SIGKILL has cut off is left out."""
    found = []
    for path in files:
        text = path.read_text(encoding="utf-8", errors="replace")
        for line in text.split("\n"):  # and nowhere else
            try:
                found.append(json.loads(line))
            except ValueError:
                continue  # the write that the kill interrupted
    return found


def entry_id(value: object) -> int | None:
    """The id of an entry that came in a frame, or None if it can be none."""
    return value if type(value) is int and 0 <= value < 1 << 63 else None


class LogFile:
    """Writes the event log of one incarnation of one process; a `simtx.event_log.journal.Recorder`.

    Args:
        path: The file; it must not exist.
        incarnation: Number that no other incarnation of the run has, from 1.
    """

    def __init__(self, path: Path, incarnation: int) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._next = incarnation * INCARNATION
        self._origins: OrderedDict[int, tuple[object, int]] = OrderedDict()
        self.when: float | None = None

    def log(
        self,
        kind: str,
        node: str,
        tx: int,
        cause: int | None = None,
        *,
        actor: str = "",
        peer: str = "",
        name: str = "",
        detail: str = "",
    ) -> int:
        """Write one entry, at the current time unless `when` is set; returns its id."""
        number = self._next
        self._next = number + 1
        now = time.monotonic() if self.when is None else self.when
        line = json.dumps([number, now, kind, node, tx, cause, actor, peer, name, detail], ensure_ascii=False)
        os.write(
            self._file, f"{line}\n".encode(errors="replace")
        )  # half a surrogate pair, in a name that came from outside
        return number

    def sent(self, message: object, number: int) -> None:
        """Remember that this message object left, or arrived, with entry `number`."""
        self._origins[id(message)] = (message, number)  # the reference keeps the id from being used again
        if len(self._origins) > _REMEMBERED:
            self._origins.popitem(last=False)

    def origin(self, message: object) -> int | None:
        """Id of the entry that sent this message object."""
        known = self._origins.get(id(message))
        return known[1] if known else None

    def close(self) -> None:
        """Close the file; what comes late is an error, and goes nowhere. Idempotent."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)
