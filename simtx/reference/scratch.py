"""Folders of runs that nobody keeps, each with the run's secret in it: gone when the run is over, or at the next start if its launcher was killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

PREFIX: Final = "simtx-"
MARK: Final = ".temporary"
"""File whose lock is held as long as somebody needs the folder; a folder without it is never swept away."""

_held: Final[dict[Path, int]] = {}


def make() -> Path:
    """A place for the folder of a run, in a new private folder of the system's; what killed launchers have left is removed first."""
    sweep()
    outer = Path(tempfile.mkdtemp(prefix=PREFIX))  # short: a socket's path has a limit of about 100 bytes
    _held[outer] = mark(outer)
    return outer / "r"


def remove(path: Path) -> None:
    """Remove what `make` has made."""
    outer = path.parent
    shutil.rmtree(outer, ignore_errors=True)
    lock = _held.pop(outer, -1)
    if lock >= 0:
        os.close(lock)


def mark(folder: Path) -> int:
    """Say that a folder is temporary, and is needed until this process ends or closes the file."""
    new = folder / f"{MARK}.new"
    lock = os.open(new, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    new.rename(folder / MARK)  # nobody sees it without its lock
    return lock


def sweep() -> None:
    """Remove temporary folders of this user whose process is gone."""
    for outer in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            lock = os.open(outer / MARK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                if os.fstat(lock).st_uid == os.geteuid():
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(outer, ignore_errors=True)
            finally:
                os.close(lock)
