"""Short names for what the tests ask of a store, and threads that a test can wait for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from simtx.protocols import Branch, Message, Operation, Prepare, Transact

SQLITE: dict[str, Any] = {
    "run": "run-1",
    "service": "stock",
    "initial": {"a": 10, "b": 10},
    "serializable": False,
    "lock_timeout": 20.0,
    "dedup_retention": 3600.0,
    "lazy_flush": 3600.0,
}
"""Options of an SQLite store that nothing is written to unless somebody waits for it."""


def add(key: str, amount: float = 1, low: float | None = None, high: float | None = None) -> Operation:
    return Operation(key, "add", amount, low, high)


def put(key: str, amount: float) -> Operation:
    return Operation(key, "set", amount)


def read(key: str, low: float | None = None, high: float | None = None) -> Operation:
    return Operation(key, "read", 0, low, high)


REFUSE = Operation("any", "refuse")


def message(tx: int, text: str = "event") -> Message:
    return Message(text, tx, "stock", "other", ("body", 1))


def action(tx: int, *operations: Operation, **options: Any) -> Transact:
    """The action of step 0, with its idempotency row and an event; a refusal has them, too."""
    accepted = Branch("done", (message(tx, "done"),))
    refused = Branch("refused", (message(tx, "refused"),))
    return Transact("t", operations, (tx, 0, "action"), accepted, refused, steps=(0,), **options)


def compensation(tx: int, *operations: Operation) -> Transact:
    key = (tx, 0, "compensation")
    return Transact("c", operations, key, Branch("undone"), None, (tx, 0, "action"), "done", (0,), True)


def prepare(tx: int, *operations: Operation, steps: tuple[int, ...] = (0,)) -> Prepare:
    return Prepare("p", operations, ("prepared", "hub"), (tx, "branch"), steps)


class Job(threading.Thread):
    """Runs a function; `result` waits for it and returns what it returned, or raises what it raised."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        super().__init__(daemon=True)
        self._function = function
        self._arguments = arguments
        self._value: Any = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._value = self._function(*self._arguments)
        except BaseException as error:  # noqa: BLE001 - raised again in the test's thread
            self._error = error

    def result(self, seconds: float = 120.0) -> Any:
        self.join(seconds)
        assert not self.is_alive(), "it still waits"
        if self._error is not None:
            raise self._error
        return self._value


def until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    """Wait for something that other threads or processes do."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        threading.Event().wait(0.002)
