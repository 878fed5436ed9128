"""When the machine itself stands still: a process that does next to nothing, and writes down whenever that takes long.

On a shared machine the hypervisor takes the processor away now and then, and other tenants fill the disk's queue. A run that falls into such a
second says nothing about the model. So a watcher sleeps and forces a small write to disk beside each run, in a process of its own.
``python -m simtx.validation.stalls`` is that process: it writes one line for each stall, until its standard input ends.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import tempfile
import time
from types import TracebackType
from typing import Final, NamedTuple, Self

LEAST: Final = 0.005
"""Seconds from which a delay counts as a stall."""
_SLEEP: Final = 0.005
_FORCE_EVERY: Final = 8  # sleeps: some twenty forced writes a second, few beside those of a run


class Stall(NamedTuple):
    """A time within which the machine stood still: its begin on the monotonic clock, and its length, in seconds."""

    begin: float
    seconds: float


class Watcher:
    """A context in which stalls are noticed; `stalls` are there when it is over."""

    def __init__(self) -> None:
        self.stalls: list[Stall] = []
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "simtx.validation.stalls"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the parent; this one ends with its standard input
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is None:
            return
        written, _ = self._process.communicate()
        for line in written.splitlines():
            begin, seconds = line.split()
            self.stalls.append(Stall(float(begin), float(seconds)))

    def after(self, begin: float) -> list[Stall]:
        """The stalls in seconds since a time of the monotonic clock, such as the origin of a run."""
        return [Stall(stall.begin - begin, stall.seconds) for stall in self.stalls]

    def longest(self, begin: float, end: float) -> float:
        """The longest stall, in seconds, that began between two times of the monotonic clock; 0 if there was none."""
        return max((stall.seconds for stall in self.stalls if begin <= stall.begin <= end), default=0.0)


def _watch() -> None:
    with tempfile.TemporaryFile(prefix="simtx-") as file:
        sleeps = 0
        while True:
            begin = time.monotonic()
            over, _, _ = select.select([sys.stdin], [], [], _SLEEP)
            if over:
                return
            _tell(begin, _SLEEP)
            sleeps += 1
            if sleeps % _FORCE_EVERY == 0:
                file.seek(0)
                file.write(bytes(4096))
                file.flush()
                forced = time.monotonic()
                os.fsync(file.fileno())
                _tell(forced, 0.0)


def _tell(begin: float, expected: float) -> None:
    """Write down that something has taken much longer than expected."""
    taken = time.monotonic() - begin
    if taken - expected >= LEAST:
        print(begin, taken, flush=True)


if __name__ == "__main__":
    _watch()
