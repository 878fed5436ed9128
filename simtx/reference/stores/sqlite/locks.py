"""Row locks of an embedded database: exclusive, first come first served, with a limit on the wait.

A local transaction takes its locks one by one in the order of their keys. It keeps those that it has while it waits for the next one. So no two
local transactions that lock all at once wait for each other. Transactions that stay open and lock more and more may; their waits end by
the timeout. A lock that is let go is handed to whoever waits longest, before anybody else can take it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable
from typing import Final

from simtx.reference.stores.base import StoreFailed

_NAME: Final = "\0"  # no key of a scenario starts with it


def inbox_lock(text: str) -> str:
    """The lock that stands for an idempotency row, which need not exist; it sorts before those of all data."""
    return _NAME + text


class Holder:
    """Holder of locks.

    Attributes:
        keys: Keys of the locks that it holds, with the times (monotonic seconds) at which it got them.
        waited: Seconds that it has waited in the operation at hand.
        wait_end: How that ended: ``granted`` or ``timeout``; empty if it has not waited.
        unlocked: Keys of the rows whose locks it has let go, without those of idempotency rows.
        held: Sum over those of the seconds for which it had them.
    """

    __slots__ = ("held", "keys", "unlocked", "wait_end", "waited")

    def __init__(self) -> None:
        self.keys: dict[str, float] = {}
        self.waited = 0.0
        self.wait_end = ""
        self.unlocked: tuple[str, ...] = ()
        self.held = 0.0

    def rows(self) -> list[str]:
        """Keys of the rows that it has locked, without those of idempotency rows."""
        return [key for key in self.keys if not key.startswith(_NAME)]


class _Wait:
    """A place in the queue for one lock; the gate opens when the lock is the holder's."""

    __slots__ = ("gate", "holder")

    def __init__(self, holder: Holder) -> None:
        self.holder = holder
        self.gate = threading.Lock()
        self.gate.acquire()


class RowLocks:
    """The table of all row locks of one store.

    Args:
        timeout: Seconds for which an operation waits in all, for any number of locks.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._mutex = threading.Lock()
        self._owners: dict[str, Holder] = {}
        self._queues: dict[str, deque[_Wait]] = {}
        self._failure: StoreFailed | None = None

    def acquire(self, holder: Holder, keys: Iterable[str]) -> bool:
        """Take the locks of these keys, in the order given; False if the time was up, with those that came before still held.

        Raises:
            StoreFailed: `close` was called before they were all granted.
        """
        for key in keys:
            with self._mutex:
                if self._failure is not None:
                    raise self._failure
                owner = self._owners.setdefault(key, holder)
                if owner is holder:
                    holder.keys.setdefault(key, time.monotonic())
                    continue
                wait = _Wait(holder)
                self._queues.setdefault(key, deque()).append(wait)
            if not self._wait(key, wait):
                return False
        return True

    def _wait(self, key: str, wait: _Wait) -> bool:
        holder = wait.holder
        since = time.monotonic()
        try:
            wait.gate.acquire(timeout=min(max(0.0, self._timeout - holder.waited), threading.TIMEOUT_MAX))
        finally:
            with self._mutex:
                granted = self._owners.get(key) is holder
                queue = self._queues.get(key)
                if not granted and queue is not None and wait in queue:
                    queue.remove(wait)
                    if not queue:
                        del self._queues[key]
                failure = self._failure
            holder.waited += time.monotonic() - since
            holder.wait_end = "granted" if granted else "timeout"
        if not granted and failure is not None:
            raise failure
        return granted

    def release(self, holder: Holder, *, names: bool = True) -> None:
        """Let the locks of a holder go.

        Args:
            holder: Whose.
            names: Whether those of idempotency rows go, too.
        """
        if not holder.keys:
            return
        now = time.monotonic()
        free = []
        with self._mutex:
            for key, since in list(holder.keys.items()):
                if not key.startswith(_NAME):
                    free.append(key)
                    holder.held += now - since
                elif not names:
                    continue
                del holder.keys[key]
                self._hand_over(key, now)
        holder.unlocked += tuple(free)

    def _hand_over(self, key: str, now: float) -> None:
        queue = self._queues.get(key)
        if not queue:
            del self._owners[key]
            return
        wait = queue.popleft()
        if not queue:
            del self._queues[key]
        self._owners[key] = wait.holder
        wait.holder.keys[key] = now
        wait.gate.release()

    def close(self, failure: StoreFailed) -> None:
        """Grant no lock any more; who waits gets this error."""
        with self._mutex:
            self._failure = failure
            for queue in self._queues.values():
                for wait in queue:
                    wait.gate.release()
