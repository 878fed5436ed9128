"""Numbers for values: the checker's states are made of them, so that they are small, quick to compare and quick to hash.

A value is numbered when it is first met, and what follows from a number is worked out once. Processes that share a search share the numbers as
well: whoever meets a new value writes it to a `SharedInternLog`, a file that only grows, and everybody reads it in the same order. There are few
values (hundreds to thousands) and many states made of them (millions), so that this costs next to nothing.
"""

from __future__ import annotations

import os
import pickle
import struct
import tempfile
from collections.abc import Callable, Hashable
from functools import cache, partial
from typing import Any, Final, Generic, TypeVar

from simtx.errors import ScenarioError

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_LENGTH: Final = struct.Struct("<q")


class NotShareableError(ScenarioError):
    """A value of a machine cannot be written down for another process."""


class SharedInternLog:
    """A file of new values, shared by forked processes; it vanishes with the last of them.

    Raises:
        ScenarioError: The platform has no locks on files.
    """

    def __init__(self) -> None:
        try:
            import fcntl
        except ImportError as error:
            raise ScenarioError(
                "more than one needs fork, which this platform lacks; use 1", "verify: workers"
            ) from error
        self._lock = fcntl.lockf
        self._held, self._free = fcntl.LOCK_EX, fcntl.LOCK_UN
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the book
        self._read = 0
        self.tables: list[InternTable[Any, Any]] = []

    def catch_up(self) -> None:
        """Learn the values that other processes have met."""
        file = self._file.fileno()
        size = os.fstat(file).st_size
        while self._read + _LENGTH.size <= size:
            (length,) = _LENGTH.unpack(os.pread(file, _LENGTH.size, self._read))
            end = self._read + _LENGTH.size + length
            if end > size:
                return  # somebody is still writing it, or was killed while writing
            index, key, value = pickle.loads(os.pread(file, length, self._read + _LENGTH.size))  # noqa: S301 - our own
            self._read = end
            self.tables[index].add(key, value)

    def enter(self, table: InternTable[K, V], key: K, value: V) -> int:
        """Number a value that is new to this process.

        Raises:
            NotShareableError: It cannot be written to a file.
        """
        file = self._file.fileno()
        self._lock(file, self._held)
        try:
            self.catch_up()
            known = table.numbers.get(key)
            if known is not None:
                return known
            try:
                data = pickle.dumps((self.tables.index(table), key, value), pickle.HIGHEST_PROTOCOL)
            except (pickle.PickleError, TypeError, AttributeError) as error:
                raise NotShareableError(
                    f"what a machine holds must survive pickling, and this does not: {error}; use 1", "verify: workers"
                ) from error
            os.ftruncate(file, self._read)  # what a killed process has left half written
            os.pwrite(file, _LENGTH.pack(len(data)) + data, self._read)
            self._read += _LENGTH.size + len(data)
            return table.add(key, value)
        finally:
            self._lock(file, self._free)


class InternTable(Generic[K, V]):
    """Keys, their numbers from 0, and a value for each.

    Args:
        book: Shared by the processes of a search; None: there is only one.

    Attributes:
        numbers: Key to number.
        values: By number.
    """

    __slots__ = ("book", "numbers", "values")

    def __init__(self, book: SharedInternLog | None = None) -> None:
        self.book = book
        self.numbers: dict[K, int] = {}
        self.values: list[V] = []
        if book is not None:
            book.tables.append(self)

    def number(self, key: K, value: V) -> int:
        """The number of a key; the value goes with it if the key is new."""
        known = self.numbers.get(key)
        if known is not None:
            return known
        return self.add(key, value) if self.book is None else self.book.enter(self, key, value)

    def of(self: InternTable[K, K], key: K) -> int:
        """The number of a value that is its own key."""
        return self.number(key, key)

    def add(self, key: K, value: V) -> int:
        """Give the next number to a key that is not there yet."""
        number = self.numbers[key] = len(self.values)
        self.values.append(value)
        return number


class by_number(Generic[V]):  # noqa: N801 - it is used as a decorator
    """A method that answers about a number, always the same: an object works the answer out once, and keeps it.

    Args:
        method: The method; the number is all that it takes.
    """

    def __init__(self, method: Callable[[Any, int], V]) -> None:
        self._method = method

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Callable[[int], V]:
        answer = cache(partial(self._method, instance))
        if instance is not None:
            instance.__dict__[self._name] = answer  # found there from now on
        return answer
