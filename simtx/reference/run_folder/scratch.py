"""Folders of runs that nobody keeps, each with the run's secret in it: gone when the run is over, or at the next start if its launcher was killed."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from simtx.errors import RunFailed
from simtx.temporary import PREFIX, SHORT, mark, sweep

_LONGEST: Final = 60
"""Bytes of the path of a folder for temporary files; behind it come our folder and the name of a socket."""

_held: Final[dict[Path, int]] = {}


def make() -> Path:
    """A place for the folder of a run, in a new private folder of the system's; what killed launchers have left is removed first."""
    sweep()
    outer = Path(tempfile.mkdtemp(prefix=PREFIX))
    _held[outer] = mark(outer)
    return outer / "r"


@contextlib.contextmanager
def sockets() -> Iterator[Path]:
    """A new private folder for Unix sockets, whose paths have at most 104 bytes; gone in the end.

    Raises:
        RunFailed: There is no folder for temporary files with a path that is short enough.
    """
    sweep()
    for base in dict.fromkeys([tempfile.gettempdir(), *SHORT]):
        if len(os.fsencode(base)) <= _LONGEST and os.access(base, os.W_OK):
            break
    else:
        raise RunFailed(
            f"the path of the folder for temporary files has more than {_LONGEST} bytes, too many for a Unix socket: set TMPDIR to another one"
        )
    outer = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
    _held[outer] = mark(outer)
    try:
        yield outer
    finally:
        remove(outer / "s")


def remove(path: Path) -> None:
    """Remove what `make` has made."""
    outer = path.parent
    shutil.rmtree(outer, ignore_errors=True)
    lock = _held.pop(outer, -1)
    if lock >= 0:
        os.close(lock)
