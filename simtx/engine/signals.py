"""Holds signals back while C calls Python: an exception that a handler raises there would be lost, and with it what C had asked for.

Python plays handlers of signals between two steps of its own. So it may play one at the very beginning of a function that C has called, where nothing catches what it raises.
"""

from __future__ import annotations

import signal
import threading
from collections import deque
from types import FrameType
from typing import Any, Self


class HeldSignals:
    """Inside a ``with`` block handlers wait until `strike`, which is called often. Outside of the main thread, which alone gets signals, nothing changes."""

    def __init__(self) -> None:
        self._before: dict[signal.Signals, Any] = {}
        self._waiting: deque[signal.Signals] = deque()

    def __enter__(self) -> Self:
        """Take over all signals that have a handler in Python."""
        if threading.current_thread() is threading.main_thread():
            for number in signal.Signals:
                handler = signal.getsignal(number)
                if callable(handler):
                    self._before[number] = handler
                    signal.signal(number, self._heard)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Give the signals back; those that wait strike now."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if kind is None:
            self.strike()

    def strike(self) -> None:
        """Play the handlers that wait; what they raise is for the caller."""
        while self._waiting:
            number = self._waiting.popleft()
            self._before[number](number, None)

    def _heard(self, number: int, _: FrameType | None) -> None:
        self._waiting.append(signal.Signals(number))
