"""Ctrl-C before any work has begun: the program ends at once, with one line.

An interrupt in the middle of an import ends as a traceback of some package, or is swallowed by it. Nothing is lost then, so nothing has to be
unwound. Nothing heavy is imported here.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

INTERRUPTED = 130


@contextmanager
def quietly() -> Iterator[None]:
    """Within this block Ctrl-C ends the process: for imports, before anything is there to be kept or cleaned up."""
    try:
        before = signal.signal(signal.SIGINT, _end)
    except ValueError:  # not the main thread, which is the only one that is interrupted
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def begin(*modules: str) -> None:
    """Import what a command needs, before it begins to work."""
    with quietly():
        for module in modules:
            import_module(module)


def _end(_number: int, _frame: object) -> None:
    os.write(2, b"simtx: error: interrupted\n")
    os._exit(INTERRUPTED)
