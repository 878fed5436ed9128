"""Traffic between the machines of a log: sent, published, confirmed, asked for and answered, so that what comes in can be justified."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from typing import Any

from simtx.conformance.durable import identity
from simtx.event_log.entries import Arrived, EntryError
from simtx.event_log.log import LogEntry
from simtx.protocols import Delivery, Message, Request

Findings = Iterator[tuple[LogEntry, str]]


class Traffic:
    """Everything that has left a node so far.

    Attributes:
        answers: (transaction, outcome) of every answer.
    """

    __slots__ = ("_confirmed", "_delivered", "_origins", "_plans", "_published", "_sent", "_waiting", "answers")

    def __init__(self) -> None:
        self.answers: set[tuple[int, str]] = set()
        self._sent: set[Hashable] = set()
        self._published: set[Hashable] = set()
        self._origins: dict[int, Hashable] = {}  # by entry: the message that it sent or published
        self._waiting: Counter[tuple[str, int, str]] = Counter()  # publications without a result
        self._confirmed: Counter[tuple[str, int, str]] = Counter()
        self._delivered: dict[tuple[str, int], Hashable] = {}
        self._plans: dict[int, Any] = {}

    # --- what goes out ------------------------------------------------------------------------------------------------------------

    def sent(self, message: Message, entry: int | None) -> None:
        """A message was sent by this entry; None: perhaps it was, no entry says so."""
        self._out(self._sent, message, entry)

    def published(self, message: Message, entry: int | None) -> None:
        """A message was handed to the broker, likewise."""
        self._out(self._published, message, entry)

    def waits(self, node: str, message: Message) -> None:
        """A machine waits for the broker's word on a publication."""
        self._waiting[node, message.tx, message.kind] += 1

    def _out(self, known: set[Hashable], message: Message, entry: int | None) -> None:
        text = identity(message)
        known.add(text)
        if entry is not None:
            self._origins[entry] = text

    def arrived(self, entry: LogEntry) -> None:
        """A client asks for a transaction, with this plan."""
        try:
            self._plans[entry.tx] = Arrived.read(entry).steps
        except EntryError:
            self._plans[entry.tx] = None

    def crashed(self, node: str) -> None:
        """Its deliveries come again under numbers of their own, perhaps."""
        self._delivered = {key: text for key, text in self._delivered.items() if key[0] != node}

    # --- what comes in ------------------------------------------------------------------------------------------------------------

    def message(self, entry: LogEntry, arrival: LogEntry | None, message: Message) -> Findings:
        """Findings about a message that is handled."""
        yield from self._genuine(entry, arrival, message, self._sent, "sent")
        if arrival is not None and arrival.peer != message.sender:
            yield arrival, f"'{message.kind}' came from {message.sender}, not from {arrival.peer}"

    def delivery(self, entry: LogEntry, arrival: LogEntry | None, delivery: Delivery) -> Findings:
        """Findings about a delivery that is handled."""
        yield from self._genuine(entry, arrival, delivery.message, self._published, "published")
        text = identity(delivery.message)
        if self._delivered.setdefault((entry.node, delivery.id), text) != text:
            yield entry, f"delivery {delivery.id} held another message before"

    def _genuine(
        self, entry: LogEntry, arrival: LogEntry | None, message: Message, known: set[Hashable], verb: str
    ) -> Findings:
        """Check whether a message that came in is one that went out."""
        text = identity(message)
        if message.to != entry.node or message.tx != entry.tx:
            yield entry, f"'{message.kind}' is for {message.to}, transaction {message.tx}"
        if text not in known:
            yield entry, f"'{message.kind}' from {message.sender} is handled, but was never {verb} like this"
        elif arrival is not None and arrival.cause is not None and self._origins.get(arrival.cause) != text:
            yield arrival, f"its cause is entry {arrival.cause}, which has not {verb} this '{message.kind}'"

    def request(self, entry: LogEntry, request: Request) -> Findings:
        """Findings about a request that is handled."""
        if request.tx != entry.tx:
            yield entry, f"the request to {request.kind} is about transaction {request.tx}"
        if request.kind != "begin":
            return  # an operator's
        plan = Arrived.of(request.plan).steps if request.plan is not None else []
        if entry.tx not in self._plans:
            yield entry, "the request to begin is handled, but no client has asked for this transaction"
        elif self._plans[entry.tx] != plan or request.plan is None or request.plan.tx != entry.tx or request.body:
            yield entry, "the request to begin holds another plan than that of the client"

    def confirmed(self, entry: LogEntry) -> Findings:
        """Findings about a confirmation of the broker."""
        key = (entry.node, entry.tx, entry.name)
        if self._waiting[key] <= self._confirmed[key]:
            yield entry, f"the broker confirms '{entry.name}', but nobody waits for that"
        else:
            self._confirmed[key] += 1

    def result(self, node: str, message: Message, status: str) -> str | None:
        """A machine handles the result of a publication; one line if the broker has not said so."""
        key = (node, message.tx, message.kind)
        self._waiting[key] -= 1
        if status != "done":
            self._confirmed[key] = min(self._confirmed[key], self._waiting[key])
            return None
        if not self._confirmed[key]:
            return f"the publish of '{message.kind}' is said to be done, but the broker has not confirmed it"
        self._confirmed[key] -= 1
        return None

    def is_confirmed(self, node: str, message: Message) -> bool:
        """Return whether the broker has confirmed a publication, and nobody was told yet."""
        return self._confirmed[node, message.tx, message.kind] > 0

    def abandoned(self, node: str, message: Message) -> None:
        """The publisher of this message is gone: nobody waits for its result."""
        key = (node, message.tx, message.kind)
        self._waiting[key] -= 1
        self._confirmed[key] = min(self._confirmed[key], self._waiting[key])
