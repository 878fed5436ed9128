"""Watcher for a machine that stands still, or whose disk is slow: a process that does next to nothing, and writes down how long that takes.

On a shared machine the hypervisor takes the processor away now and then, and other tenants fill the disk's queue. A run that falls into such a
time says nothing about the model. So a watcher sleeps and forces a small write to disk beside each run, in a process of its own.
``python -m simtx.validation.stalls`` is that process: it watches until its standard input ends, and then writes one line for each stall and each forced write.
"""

from __future__ import annotations

import math
import os
import select
import subprocess
import sys
import tempfile
import time
from types import TracebackType
from typing import IO, Final, NamedTuple, Self

LEAST: Final = 0.005
"""Seconds from which a delay counts as a stall."""
_SLEEP: Final = 0.005
_FORCE_EVERY: Final = 8  # sleeps: some twenty forced writes a second, few beside those of a run
_TRIMMED: Final = 0.1  # share of the shortest and of the longest forced writes that a mean leaves out: single stalls are told apart by themselves
_STALL: Final = "stall"
_WRITE: Final = "write"
_IDLE: Final = 60  # forced writes of an idle machine that are timed


class Stall(NamedTuple):
    """A time that something took: its begin on the monotonic clock, and its length, in seconds."""

    begin: float
    seconds: float


class Watcher:
    """A context in which stalls and forced writes are timed; both are there when it is over.

    Attributes:
        stalls: Times within which the machine stood still.
        writes: Every forced write of the watcher itself.
    """

    def __init__(self) -> None:
        self.stalls: list[Stall] = []
        self.writes: list[Stall] = []
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
            what, begin, seconds = line.split()
            found = self.stalls if what == _STALL else self.writes
            found.append(Stall(float(begin), float(seconds)))

    def after(self, begin: float) -> list[Stall]:
        """The stalls in seconds since a time of the monotonic clock, such as the origin of a run."""
        return [Stall(stall.begin - begin, stall.seconds) for stall in self.stalls]

    def longest(self, begin: float, end: float) -> float:
        """The longest stall, in seconds, that began between two times of the monotonic clock; 0 if there was none."""
        return max((stall.seconds for stall in self.stalls if begin <= stall.begin <= end), default=0.0)

    def forced_write(self, begin: float, end: float) -> float:
        """Average time of a forced write of the watcher between two times of the monotonic clock, in seconds; NaN if there was none."""
        return _typical([write.seconds for write in self.writes if begin <= write.begin <= end])


def idle_forced_write() -> float:
    """Average time of a forced write now, in seconds: some sixty, one after the other, in a third of a second or less on a disk at rest."""
    with tempfile.TemporaryFile(prefix="simtx-") as file:
        return _typical([_force(file).seconds for _ in range(_IDLE)])


def _typical(seconds: list[float]) -> float:
    if not seconds:
        return math.nan
    from scipy.stats import trim_mean

    return float(trim_mean(seconds, _TRIMMED))


def _force(file: IO[bytes]) -> Stall:
    file.seek(0)
    file.write(bytes(4096))
    file.flush()
    begin = time.monotonic()
    os.fsync(file.fileno())
    return Stall(begin, time.monotonic() - begin)


def _watch() -> None:
    found: list[tuple[str, Stall]] = []  # written at the end: a pipe that nobody reads meanwhile would fill up

    def tell(taken: Stall, expected: float) -> None:
        if taken.seconds - expected >= LEAST:
            found.append((_STALL, taken))

    with tempfile.TemporaryFile(prefix="simtx-") as file:
        sleeps = 0
        while True:
            begin = time.monotonic()
            over, _, _ = select.select([sys.stdin], [], [], _SLEEP)
            if over:
                break
            tell(Stall(begin, time.monotonic() - begin), _SLEEP)
            sleeps += 1
            if sleeps % _FORCE_EVERY == 0:
                write = _force(file)
                found.append((_WRITE, write))
                tell(write, 0.0)
    for kind, taken in found:
        print(kind, *taken)


if __name__ == "__main__":
    _watch()
