"""Logs refusals: at most one line a second for each reason, with a count, so that a flood of them cannot fill the disk."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

EVERY: Final = 1.0
"""Seconds between two lines of one reason."""
KINDS: Final = 32
"""Reasons that are told apart; a stranger may invent any number of them."""
_OTHERS: Final = "other reasons"


class Refusals:
    """Passes on the first refusal of each reason, then one a second, which says how many were left out before it.

    Args:
        write: Writes a line down: who (an address or a name) and why.
        clock: Seconds.
    """

    def __init__(self, write: Callable[[str, str], object], clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._kinds: dict[str, tuple[float, int, str, str]] = {}  # last line, left out since, and the last of these

    def __call__(self, who: str, reason: str) -> None:
        """Note that somebody was refused."""
        now = self._clock()
        kind = reason.partition(":")[0].partition(" (from ")[0]
        if kind not in self._kinds and len(self._kinds) >= KINDS:
            kind = _OTHERS
        last, left_out, _, _ = self._kinds.get(kind, (-EVERY, 0, "", ""))
        if now - last < EVERY:
            self._kinds[kind] = (last, left_out + 1, who, reason)
            return
        self._kinds[kind] = (now, 0, "", "")
        self._write(who, _counted(reason, left_out))

    def close(self) -> None:
        """Write down how many were left out since the last line of each reason."""
        for kind, (_, left_out, who, reason) in self._kinds.items():
            if left_out:
                self._write(who, _counted(reason, left_out - 1))
                self._kinds[kind] = (self._clock(), 0, "", "")


def _counted(reason: str, left_out: int) -> str:
    return f"{reason} [and {left_out:,} more like it before]" if left_out else reason
