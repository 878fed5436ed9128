"""Folders of runs that nobody keeps, each with the run's secret in it: gone when the run is over, or at the next start if its launcher was killed."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from simtx import temporary
from simtx.errors import RunFailed

_LONGEST: Final = 60
"""Bytes of the path of a folder for temporary files; behind it come our folder and the name of a socket."""


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A place for the folder of a run, in a new private folder of the system's; gone in the end."""
    with temporary.folder("run") as outer:
        yield Path(outer) / "r"


@contextlib.contextmanager
def sockets() -> Iterator[Path]:
    """A new private folder for Unix sockets, whose paths have at most 104 bytes; gone in the end.

    Raises:
        RunFailed: There is no folder for temporary files with a path that is short enough.
    """
    for base in dict.fromkeys([tempfile.gettempdir(), *temporary.SHORT]):
        if len(os.fsencode(base)) <= _LONGEST and os.access(base, os.W_OK):
            break
    else:
        raise RunFailed(
            f"the path of the folder for temporary files has more than {_LONGEST} bytes, too many for a Unix socket: set TMPDIR to another one"
        )
    with temporary.folder("s", base) as outer:
        yield Path(outer)
