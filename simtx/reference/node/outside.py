"""The service's side of a provider outside: what a worker does instead of a local transaction on the service's own data.

The rules are those of the simulated provider (`simtx.simulator.provider`), on a real store and a real connection. A worker calls, and waits for the
answer or until the time for one is over. It then writes down in the service's own database what the answer was, with the idempotency row and the
outbox rows that belong to the step. The forced note before a request that can be asked about is an idempotency row, too, under a key of its own. So
a service that was killed finds its notes wherever its database is.
"""

from __future__ import annotations

import asyncio
import itertools
import queue
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from simtx.protocols import Branch, Key, Operation, Transact
from simtx.protocols.codec import dumps, encode, loads
from simtx.reference.stores.base import Result
from simtx.reference.stores.sqlite.provider import PENDING

if TYPE_CHECKING:
    from simtx.reference.node.running_machine import RunningMachine
    from simtx.reference.stores.base import Store

Frame = dict[str, Any]
Ask = Callable[[Frame, float], "Frame | None"]

REFUSE: Final = (Operation("", "refuse"),)
"""The operations of a local transaction that is refused whatever the data."""
_NOTE: Final = "request"  # first part of the key of a note


@dataclass(frozen=True, slots=True)
class Terms:
    """Terms of a service with its provider.

    Attributes:
        process: Name of its process.
        timeout: Seconds for which the service waits for an answer.
        retry_after: Seconds until a request that was over the limit comes again.
        status_query: Whether it can be asked how a request has ended.
        remembers: Whether it knows anything of earlier requests.
    """

    process: str
    timeout: float
    retry_after: float
    status_query: bool
    remembers: bool


class ProviderLink:
    """Questions of workers' threads, over the connection of the event loop.

    Args:
        send: Sends a frame; whether it has left does not matter, since a request that reaches nobody looks like one without an answer.
    """

    def __init__(self, send: Callable[[Frame], object]) -> None:
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._numbers = itertools.count()
        self._waiting: dict[int, queue.SimpleQueue[Frame | None]] = {}
        self._closed = False

    def take(self, frame: Frame) -> None:
        """A frame of the provider; on the event loop."""
        number = frame.get("id")
        waiting = self._waiting.pop(number, None) if isinstance(number, int) else None
        if waiting is not None:
            waiting.put(frame)

    def ask(self, frame: Frame, patience: float) -> Frame | None:
        """Ask, and wait for the answer; None if none has come in time. In a worker's thread."""
        if self._closed:
            return None
        number = next(self._numbers)
        answer: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        self._loop.call_soon_threadsafe(self._ask, number, frame, answer)
        try:
            return answer.get(timeout=patience)
        except queue.Empty:
            self._loop.call_soon_threadsafe(self._waiting.pop, number, None)
            return None

    def _ask(self, number: int, frame: Frame, answer: queue.SimpleQueue[Frame | None]) -> None:
        if self._closed:
            answer.put(None)
            return
        self._waiting[number] = answer
        self._send({**frame, "id": number})

    def close(self) -> None:
        """Let nobody wait any longer."""
        self._closed = True
        for waiting in self._waiting.values():
            waiting.put(None)
        self._waiting.clear()


class Outside:
    """Steps that the provider of this service does.

    Args:
        store: The service's own database.
        terms: What it knows of the provider.
        ask: Sends a frame and waits for the answer, so many seconds at most; it blocks.
        note: Told what becomes of requests, for the event log: of which machine, what, and when.
    """

    def __init__(
        self, store: Store, terms: Terms, ask: Ask, note: Callable[[RunningMachine, str, float], None]
    ) -> None:
        self.store = store
        self.terms = terms
        self._ask = ask
        self._note = note

    def transact(self, actor: RunningMachine, effect: Transact, slowness: float) -> Result:
        """Have the provider do the work of a local transaction, and write down what it has answered; in a worker's thread.

        Args:
            actor: Whose it is.
            effect: What is to be done.
            slowness: What the times of the provider are multiplied by.

        Raises:
            StoreFailed: The service's own database cannot go on.
        """
        return _Call(self, actor, effect, slowness).run()

    # --- for its calls ----------------------------------------------------------------------------------------------------------

    def ask(self, frame: Frame) -> Frame | None:
        """Send a frame, and wait for as long as one waits for a provider."""
        return self._ask(frame, self.terms.timeout)

    def tell(self, actor: RunningMachine, what: str) -> None:
        """Write an observation into the event log."""
        self._note(actor, what, time.monotonic())


class _Busy(Exception):
    """A row of the service's own database was locked for too long: nothing is known, and nothing was done."""


class _Call:
    """One local transaction of which the provider does the work."""

    __slots__ = ("_actor", "_effect", "_outbox", "_outside", "_slowness")

    def __init__(self, outside: Outside, actor: RunningMachine, effect: Transact, slowness: float) -> None:
        self._outside = outside
        self._actor = actor
        self._effect = effect
        self._slowness = slowness
        self._outbox = False  # whether outbox rows were written on the way

    def run(self) -> Result:
        """Do it."""
        try:
            result = self._run()
        except _Busy:
            result = Result("failed")
        result.outbox = result.outbox or self._outbox
        return result

    def _run(self) -> Result:
        effect, key = self._effect, self._effect.key
        if key is not None and self._row(key) is not None:
            return self._write(())  # it says that it is a duplicate
        if not effect.operations:
            return self._settle(key)
        return self._request() if effect.undoes is None else self._settle(effect.undoes)

    def _row(self, key: Key) -> object:
        """Value of an idempotency row; None: there is none. Nothing is written."""
        looked = self._outside.store.transact(self._actor.tx, Transact("look", REFUSE, key=key))
        if looked.status == "failed":
            raise _Busy
        return looked.value if looked.status == "duplicate" else None

    def _write(self, operations: Sequence[Operation]) -> Result:
        """The part of the local transaction that is the service's own."""
        return self._outside.store.transact(self._actor.tx, replace(self._effect, operations=tuple(operations)))

    def _settle(self, about: Key | None) -> Result:
        """An earlier request decides what there is to do: find out how it has ended."""
        effect = self._effect
        if about is not None and self._row(about) is None and self._outside.terms.remembers:
            known = self._outside.ask({"type": "recall", "key": dumps(about)})
            if known is None:
                return self._unknown()
            if known.get("answer") == PENDING:
                return Result("failed")
            if known.get("answer") is not None:
                self._adopt(about, str(known["answer"]), known.get("branch"))
        if effect.operations and effect.undoes is not None and self._row(effect.undoes) == effect.undone_if:
            return self._request()
        return self._write(effect.operations)

    def _adopt(self, about: Key, answer: str, text: object) -> None:
        """Write down the provider's answer about an earlier request, with the events that were to go out with it."""
        branch = loads(text) if isinstance(text, str) else None
        if not isinstance(branch, Branch):
            branch = Branch()
        row = Branch(answer if branch.value is None else branch.value, branch.outbox)
        adopted = self._outside.store.transact(self._actor.tx, Transact("adopt", (), key=about, accepted=row))
        if adopted.status == "failed":
            raise _Busy
        self._outbox = self._outbox or adopted.outbox
        self._outside.tell(self._actor, "adopt")

    def _request(self) -> Result:
        """Force a note before the first request, if the provider can be asked about it; ask it before the second one."""
        outside, key = self._outside, self._effect.key
        if outside.terms.status_query and key is not None:
            noted = outside.store.transact(self._actor.tx, Transact("note", (), key=(_NOTE, key))).status
            if noted == "failed":
                raise _Busy
            if noted != "duplicate":
                outside.tell(self._actor, "intent")
            else:
                outside.tell(self._actor, "query")
                known = outside.ask(
                    {"type": "query", "tx": self._actor.tx, "key": dumps(key), "slowness": self._slowness}
                )
                if known is None:
                    return self._unknown()
                if known.get("answer") == PENDING:
                    return Result("failed")
                if known.get("answer") is not None:
                    return self._conclude(str(known["answer"]))
        return self._call()

    def _call(self) -> Result:
        """Send the request, and again while it is over the limit."""
        outside, since = self._outside, time.monotonic()
        terms = outside.terms
        while True:
            answer = outside.ask(self._frame())
            if answer is None:
                return self._unknown()
            if answer.get("type") != "limited":
                outside.tell(self._actor, "done" if answer.get("answer") == "done" else "refused")
                return self._conclude(str(answer.get("answer")))
            outside.tell(self._actor, "limited")
            if time.monotonic() + terms.retry_after >= since + terms.timeout:
                return Result("failed")
            time.sleep(terms.retry_after)

    def _frame(self) -> Frame:
        effect, actor = self._effect, self._actor
        return {
            "type": "do",
            "tx": actor.tx,
            "key": None if effect.key is None else dumps(effect.key),
            "operations": encode(tuple(effect.operations)),
            "steps": list(effect.steps),
            "compensation": effect.compensation,
            "accepted": None if effect.accepted is None else dumps(effect.accepted),
            "refused": None if effect.refused is None else dumps(effect.refused),
            "role": actor.machine.role,
            "cause": actor.cause,
            "slowness": self._slowness,
        }

    def _unknown(self) -> Result:
        """Note that no answer has come in time: nobody knows whether it was done."""
        self._outside.tell(self._actor, "unknown")
        return Result("failed")

    def _conclude(self, answer: str) -> Result:
        """An answer has come: write it down, with all that the local transaction was to write beside its work."""
        return self._write(() if answer == "done" else REFUSE)
