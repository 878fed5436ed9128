"""Temporary folders that do not outlive their process by much: gone at its end or, if it was killed, when the next process makes one."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import sys
import tempfile
import weakref
from pathlib import Path
from typing import Final

if sys.platform != "win32":
    import fcntl

PREFIX: Final = "simtx-"
MARK: Final = ".temporary"
"""File whose lock is held as long as somebody needs the folder; a folder without it is never swept away."""
SHORT: Final = ("/tmp",)  # noqa: S108 - folders of our own are made in it, for us alone


def folder(kind: str, base: str | None = None) -> tempfile.TemporaryDirectory[str]:
    """A folder that is there as long as this object and this process; what killed processes have left is removed first.

    Args:
        kind: A part of its name: what it is for.
        base: Folder in which it is made, `tempfile.gettempdir` or one of `SHORT`; None: the former.
    """
    sweep()
    made = tempfile.TemporaryDirectory(prefix=f"{PREFIX}{kind}-", dir=base, ignore_cleanup_errors=True)
    if sys.platform != "win32":  # there nobody sweeps
        weakref.finalize(made, os.close, mark(Path(made.name)))
    return made


def mark(folder: Path) -> int:
    """Say that a folder is temporary, and is needed until this process ends or closes the file."""
    new = folder / f"{MARK}.new"
    lock = os.open(new, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    new.rename(folder / MARK)  # nobody sees it without its lock
    return lock


def sweep() -> None:
    """Remove temporary folders of this user whose process is gone."""
    if sys.platform == "win32":
        return
    bases = dict.fromkeys([tempfile.gettempdir(), *SHORT])
    for outer in itertools.chain.from_iterable(Path(base).glob(f"{PREFIX}*") for base in bases):
        with contextlib.suppress(OSError):
            lock = os.open(outer / MARK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                if os.fstat(lock).st_uid == os.geteuid():
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(outer, ignore_errors=True)
            finally:
                os.close(lock)
