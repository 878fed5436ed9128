"""The process of a provider outside: a small server that answers as the scenario says, and keeps what it has done in a file.

It belongs to nobody's transaction, and knows nothing of strategies. What becomes of a request is drawn as the simulator draws it
(`simtx.workload.provider`); half of the latency passes before it acts, and half behind it. A request that it has not carried out when it is killed is lost, and one that it
has carried out is in its books (`simtx.reference.stores.sqlite.provider`).

Frames to it: ``do`` (id, tx, key, operations, steps, compensation, accepted, refused, role, cause, slowness), ``query`` (id, tx, key, slowness), ``recall`` (id, key),
``control`` (id, do: ``state``, or one of the faults below with its `factor`). Frames from it: ``answer`` (id, answer), ``limited`` (id), ``known`` (id, answer, branch), ``state``.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from simtx.errors import PeerFault
from simtx.event_log.entries import Applied
from simtx.protocols import bodies
from simtx.protocols.codec import CodecError, decode
from simtx.reference.processes.program import Program
from simtx.reference.run_folder.event_log import LogFile, entry_id
from simtx.reference.stores.sqlite.provider import BOOKS, PENDING, Order, ProviderBooks, Settled
from simtx.reference.wire.connection import Frame, Handler, Peer
from simtx.workload import Streams, TransactionStreams
from simtx.workload.provider import ANSWERING, SLOW, UNREACHABLE, Behaviour

if TYPE_CHECKING:
    from simtx.scenario.infrastructure import ProviderSpec

_MALFORMED: Final = (CodecError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError)
_SLOWEST: Final = 1e6  # no fault makes a provider slower than so many times


class ProviderServer:
    """Server of a provider: it works off frames.

    Args:
        service: Name of the service whose provider it is.
        spec: The scenario's.
        behaviour: How it answers.
        books: What it has done.
        log: Its event log; changes of values are entries of the service.
        transactions: How many the run may have.
        fail: Told why it cannot go on.

    Attributes:
        unreachable: Whether nobody reaches it, and no answer of it arrives.
    """

    def __init__(
        self,
        service: str,
        spec: ProviderSpec,
        behaviour: Behaviour,
        books: ProviderBooks,
        log: LogFile,
        transactions: int,
        fail: Callable[[BaseException], None],
    ) -> None:
        self._service = service
        self._spec = spec
        self._behaviour = behaviour
        self._books = books
        self._log = log
        self._transactions = transactions
        self._fail = fail
        self._loop = asyncio.get_running_loop()
        self._writer = ThreadPoolExecutor(1, "provider-books")
        self._pending: Counter[str] = Counter()
        self._under_way: Counter[int] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self.unreachable = False

    def accept(self, peer: Peer) -> Handler:
        """Accept a peer that has connected and shown the secret."""

        def reply(frame: Frame) -> None:
            if not self.unreachable:
                peer.send(frame)

        def handle(frame: Frame) -> None:
            try:
                kind = frame.get("type")
                if kind == "control":
                    peer.send(self.control(frame))
                elif not self.unreachable:
                    self._start(self._work(kind, frame, reply))
            except _MALFORMED as error:
                raise PeerFault(f"malformed frame: {error}") from None

        return handle

    def _work(self, kind: object, frame: Frame, reply: Callable[[Frame], None]) -> Coroutine[Any, Any, None]:
        number = frame["id"]
        if kind == "do":
            slowness = _slowness(frame)
            return self._do(number, _order(frame, self._transaction(frame), self._loop.time()), slowness, frame, reply)
        key = frame["key"]
        if not isinstance(key, str):
            raise PeerFault("a question about a request without its key")
        key.encode()
        if kind == "query":
            latency = self._behaviour.latency(self._transaction(frame)) * _slowness(frame)
            return self._tell(number, key, latency, reply)
        if kind == "recall":
            return self._tell(number, key, 0.0, reply)
        raise PeerFault(f"a frame of type {str(kind)[:40]!r}, which no provider knows")

    def _transaction(self, frame: Frame) -> int:
        tx = frame["tx"]
        if type(tx) is not int or not 0 <= tx < self._transactions:
            raise PeerFault("a request about a transaction that this run does not have")
        return tx

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._fail(error)

    async def _do(
        self, number: object, order: Order, slowness: float, frame: Frame, reply: Callable[[Frame], None]
    ) -> None:
        """One request, from when it comes until its answer leaves."""
        if not self._behaviour.admits(order.since):
            reply({"type": "limited", "id": number})
            return
        fate = self._behaviour.fate(order.tx, slowness)
        if not fate.done:
            return
        self._under_way[order.tx] += 1
        if order.key is not None:
            self._pending[order.key] += 1
        try:
            await asyncio.sleep(fate.latency / 2)
            settled = await self._loop.run_in_executor(self._writer, self._books.perform, order)
            self._enter(order, settled, frame)
        finally:
            self._under_way -= Counter([order.tx])  # which keeps what is above zero
            if order.key is not None:
                self._pending -= Counter([order.key])
        if fate.answered:
            await asyncio.sleep(max(0.0, order.since + fate.latency - self._loop.time()))
            reply({"type": "answer", "id": number, "answer": settled.answer})

    def _enter(self, order: Order, settled: Settled, frame: Frame) -> None:
        """Write what it has changed into the event log, before anybody is told."""
        if not settled.changes and not settled.reads:
            return
        refused = settled.answer == "refused"
        phase = "refused" if refused else "compensation" if order.compensation else "action"
        detail = Applied(order.steps, settled.changes, list(settled.reads.items()), settled.history).text()
        kind, cause = "apply" if settled.changes else "query", entry_id(frame.get("cause"))
        self._log.when = settled.time
        self._log.log(
            kind, self._service, order.tx, cause, actor=str(frame.get("role", ""))[:40], name=phase, detail=detail
        )
        self._log.when = None

    async def _tell(self, number: object, key: str, latency: float, reply: Callable[[Frame], None]) -> None:
        """Say how an earlier request has ended."""
        if latency > 0:
            await asyncio.sleep(latency)
        known = await self._loop.run_in_executor(self._writer, self._books.recall, key, self._loop.time())
        answer: str | None = PENDING if key in self._pending else None
        branch = None
        if known is not None:
            answer, branch = known.answer, known.branch
        elif not self._spec.status_query and self._spec.idempotency is None:
            answer = None  # it remembers nothing, not even what it is just doing
        reply({"type": "known", "id": number, "answer": answer, "branch": branch})

    def control(self, frame: Frame) -> Frame:
        """The launcher asks for the state, or has a fault begin or end."""
        what = frame.get("do")
        if what in (UNREACHABLE, SLOW, ANSWERING):
            self.suffer({what: _factor(frame["factor"])})
        return {
            "type": "state",
            "id": frame.get("id"),
            "quiet": not self._under_way,
            "working": sorted(self._under_way),
        }

    def suffer(self, faults: dict[str, Any]) -> None:
        """Take over what faults make of it, by their names."""
        self.unreachable = bool(faults.get(UNREACHABLE, self.unreachable))
        self._behaviour.factor = float(faults.get(SLOW, self._behaviour.factor))
        self._behaviour.answering = float(faults.get(ANSWERING, self._behaviour.answering))

    def close(self) -> None:
        """Begin nothing more."""
        for task in self._tasks:
            task.cancel()
        self._writer.shutdown(wait=True, cancel_futures=True)


def _slowness(frame: Frame) -> float:
    return _factor(frame.get("slowness", 1.0))


def _factor(value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= float(value) <= _SLOWEST:
        raise PeerFault(f"a factor is a number up to {_SLOWEST:g}")
    return float(value)


def _order(frame: Frame, tx: int, now: float) -> Order:
    """The request that a frame is, if it is one."""
    key, accepted, refused = (frame.get(name) for name in ("key", "accepted", "refused"))
    operations, steps = decode(frame["operations"]), tuple(frame["steps"])
    if any(not isinstance(text, str) for text in (key, accepted, refused) if text is not None):
        raise PeerFault("a request whose key, or what is to be written down, is no text")
    if not bodies.operations(operations) or not bodies.indexes(steps):
        raise PeerFault("a request without operations, or without the numbers of its steps")
    for text in (key, accepted, refused, *(one.key for one in operations)):
        if text is not None:
            text.encode()  # half a surrogate pair is no text that a file takes
    return Order(tx, key, tuple(operations), steps, bool(frame.get("compensation")), accepted, refused, now)


async def run(program: Program) -> None:
    """The main coroutine of a provider's process in a run.

    Raises:
        StoreFailed: Its file cannot be used.
    """
    folder, name, service, config = program.folder, program.name, program.node, program.config
    scenario = folder.scenario()
    spec = scenario.services[service].provider
    if spec is None:
        raise ValueError(f"'{service}' has no provider outside")
    create = not folder.has_worked(name)  # asked before this incarnation writes anything
    program.write_restart()
    # A provider that was killed does not know how often a transaction has asked: it goes on with numbers of its own, so that no fate comes twice.
    streams = TransactionStreams(Streams(config["seed"], program.incarnation if program.again else 0))
    books = ProviderBooks.of(folder.node(name) / BOOKS, scenario.services[service], create=create)
    behaviour = Behaviour.of(spec, service, streams)
    provider = ProviderServer(service, spec, behaviour, books, program.log, config["transactions"], program.fail)
    try:
        async with program.listening(provider.accept):
            try:
                # Read anew: a fault may have begun or ended while this process was starting, and nobody could tell it.
                provider.suffer(json.loads(folder.config(name).read_text()))
                await program.wait()
            finally:
                provider.close()
    finally:
        books.close()
        program.log.close()
