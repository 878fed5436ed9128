"""Ctrl-C at the right moment: between two steps that belong together it waits, and where nothing can be lost it strikes."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Holds back Ctrl-C inside a ``with`` block, but for the parts that are `open`. A second one strikes at once.

    A polite kill (SIGTERM) is held back likewise, if somebody has made an exception of it, as the command line does. Outside of the main
    thread, which alone gets signals, nothing changes.
    """

    def __init__(self) -> None:
        self._open = False
        self._pending = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        """Take over the signals."""
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                handler = signal.getsignal(number)
                if callable(handler):
                    self._before[number] = handler
                    signal.signal(number, self._heard)
        return self

    def __exit__(self, *_: object) -> None:
        """Give the signals back; one that is still held back strikes now."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()
        if self._pending:
            self._pending = False
            raise KeyboardInterrupt

    def _heard(self, _number: int, _frame: FrameType | None) -> None:
        if self._open or self._pending:
            self._pending = False
            raise KeyboardInterrupt
        self._pending = True

    @contextmanager
    def open(self) -> Iterator[None]:
        """A part in which Ctrl-C strikes; one that was held back strikes at its beginning."""
        if self._pending:
            self._pending = False
            raise KeyboardInterrupt
        self._open = True
        try:
            yield
        finally:
            self._open = False


@contextmanager
def blocked() -> Iterator[None]:
    """Processes that are started inside this block never see Ctrl-C: it is for their parent alone."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
