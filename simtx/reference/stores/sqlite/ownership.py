"""One process at a time owns an embedded database: its row locks are in that process's memory."""

from __future__ import annotations

import os
from pathlib import Path

from simtx.reference.stores.base import StoreFailed


class Ownership:
    """A lock on a file beside the database, which the operating system takes away from a process that ends, however it ends.

    Args:
        path: The database.

    Raises:
        StoreFailed: Another process has it, or the folder cannot be written.
    """

    def __init__(self, path: Path) -> None:
        beside = path.with_name(f"{path.name}.owner")
        try:
            self._file = os.open(beside, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StoreFailed(
                f"{path}: cannot be created; its folder must exist, and this user must be allowed to write there ({error.strerror})"
            ) from None
        try:
            _lock(self._file)
        except OSError:
            os.close(self._file)
            raise StoreFailed(
                f"{path}: is in use by another process; end that process, or use another folder"
            ) from None

    def release(self) -> None:
        """Let others have it."""
        os.close(self._file)


def _lock(file: int) -> None:
    """Take the lock.

    Raises:
        OSError: Another process has it.
    """
    try:
        import fcntl
    except ImportError:  # no such locks on this system: the launcher starts one process a service
        return
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
