"""Versions of the events: what a process writes, what it can read, and what it does about what it cannot.

Every event travels in an **envelope**, whose own form never changes, so that any version of simtx can route it and tell its version::

    {"version": "2.0", "to": "stock", "tx": 7, "message": {"$": "Message", ...}}

The message inside has the form of that version. Minor versions add fields that a reader may ignore; a major version changes the meaning.
A reader brings an older form up to date: the *upcasters* work on the raw JSON, before it becomes an object. It ignores unknown fields of a newer
minor version, and refuses a newer major version (`SchemaTooNew`). It also reads everything within its own major
version and below, whatever it writes itself. So a system is upgraded without a stop: first every process reads the new version, then they
write it; but also in any other order nothing is lost, as follows.

**From the broker**, what cannot be read stops its partition (`PartitionGate`): nothing is handed on, nothing is acknowledged, an alert is
raised once. After the upgrade the broker delivers it again. To skip it would lose its effect, and to let a later event of the same partition
pass would break the order.

The partition that stops is the **lane**: one consumer and one transaction. It is the unit in which a broker keeps the order and acknowledges. No
protocol relies on any order between transactions, so that to go on with the others is safe; and to stop them, too, would make
one early producer halt everything. A broker that can only acknowledge *up to* an event (an offset per topic) needs ``scope="topic"``: there,
the acknowledgement of a later event of another transaction would also be one of the event that was not handled. An event whose lane cannot be
told stops its whole topic in either case. A broker may limit how many deliveries wait for an acknowledgement; if that many lanes have stopped, the
rest waits as well, which is slow and still safe. It must not limit how often it delivers, nor discard by age.

**From the network** a message that cannot be read is refused, which is to the sender as if it had been lost: the protocols repeat it,
and neither order nor delivery is promised there.

Versions:

- ``1.0``: a message has its sender in ``from``; a choreographed event holds the plan's ``steps`` itself, has its step in ``index``, and no ``hops``.
- ``2.0``: as `simtx.protocols.codec` writes the classes of this version of simtx.
- ``2.1`` and ``3.0`` are ahead of their time. No release writes them; they are here to rehearse upgrades with: ``2.1`` adds a field that a
  reader may ignore, ``3.0`` renames one that it cannot do without.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from simtx.errors import SimtxError
from simtx.protocols.codec import TAG, CodecError, decode_as, encode
from simtx.protocols.contract import Message

Raw: TypeAlias = dict[str, Any]
"""A message as JSON has it."""

_VERSION: Final = re.compile(r"(0|[1-9]\d{0,3})\.(0|[1-9]\d{0,3})", re.ASCII)
_WRONG: Final = (KeyError, TypeError, ValueError, AttributeError, IndexError)


class SchemaError(SimtxError, ValueError):
    """This is no event in an envelope, its message is malformed, or there is no such version."""


class SchemaTooNew(SimtxError):
    """An event has a newer major version than this process can read: it has to be upgraded. No `SchemaError`: the event is sound.

    Args:
        version: The event's version.
        reads: The newest version that this process reads.
    """

    def __init__(self, version: str, reads: str = "") -> None:
        self.version = version
        self.reads = reads
        limit = f"; this process reads up to {reads.partition('.')[0]}.x and has to be upgraded" if reads else ""
        super().__init__(f"the event has version {version}{limit}")

    def __reduce__(self) -> tuple[type[SchemaTooNew], tuple[str, str]]:
        """Pickle by the two parts."""
        return type(self), (self.version, self.reads)


# --- versions -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Revision:
    """One version of the format, and the way between it and the version before.

    Attributes:
        version: ``major.minor``.
        upcast: Makes a message of the version before one of this version; must not change what it is given.
        downcast: The way back, for those who write the older version.
    """

    version: str
    upcast: Callable[[Raw], Raw]
    downcast: Callable[[Raw], Raw]


def _line(text: str) -> str:
    """Bring a text into one line that is not too long: parts of it come from a peer."""
    line = " ".join(text.split())
    return line if len(line) <= 300 else f"{line[:300]}…"


def _same(raw: Raw) -> Raw:
    return raw


def _renamed(raw: Raw, old: str, new: str) -> Raw:
    if old not in raw:
        raise SchemaError(f"a message without '{old}'")
    return {new if name == old else name: value for name, value in raw.items()}


def _step_event(raw: Raw) -> Raw | None:
    """The body, if it is a choreographed event."""
    body = raw.get("body")
    return body if isinstance(body, dict) and body.get(TAG) == "StepEvent" else None


def _hops(kind: str, step: int, steps: int) -> int:
    """Number of events that a chain has seen at least, if each step took one: exact unless steps were undone on the way."""
    if kind == "step-refused":
        return step + 2
    return steps if kind == "completed" else step


def _from_1_0(raw: Raw) -> Raw:
    new = _renamed(raw, "from", "sender")
    body = _step_event(new)
    if body is not None:
        new["body"] = {
            TAG: "StepEvent",
            "step": body["index"],
            "hops": body.get("hops", _hops(raw["kind"], body["index"], len(body["steps"]))),
            "cause": body["cause"],
            "plan": {TAG: "Plan", "tx": raw["tx"], "steps": body["steps"]},
        }
    return new


def _to_1_0(raw: Raw) -> Raw:
    new = _renamed(raw, "sender", "from")
    body = _step_event(new)
    if body is not None:
        if body["plan"]["tx"] != raw["tx"]:
            raise SchemaError("in version 1.0 an event's plan is that of its own transaction")
        new["body"] = {TAG: "StepEvent", "index": body["step"], "cause": body["cause"], "steps": body["plan"]["steps"]}
    return new


def _to_2_1(raw: Raw) -> Raw:
    return {**raw, "priority": raw.get("priority", "normal")}


def _from_2_1(raw: Raw) -> Raw:
    return {name: value for name, value in raw.items() if name != "priority"}


REVISIONS: Final = (
    Revision("1.0", _same, _same),
    Revision("2.0", _from_1_0, _to_1_0),
    Revision("2.1", _to_2_1, _from_2_1),
    Revision("3.0", lambda raw: _renamed(raw, "kind", "type"), lambda raw: _renamed(raw, "type", "kind")),
)
"""All versions, oldest first."""

CURRENT: Final = "2.0"
"""The version whose form the classes of the contract have."""


def parse_version(text: object) -> tuple[int, int]:
    """Major and minor number of a version.

    Raises:
        SchemaError: It is none.
    """
    found = _VERSION.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        shown = repr(text) if len(repr(text)) <= 40 else "that"  # it may come from a peer
        raise SchemaError(f"{shown} is no version; expected 'major.minor', such as '{CURRENT}'")
    return int(found[1]), int(found[2])


class Schema:
    """The versions of events that one process writes and reads.

    Args:
        version: The newest version that it knows: it reads every version up to this one, and of this major version also newer ones.
        writes: The version that it writes; None: `version`. An older one is for the time while others cannot read more.
        revisions: All versions, oldest first.
        current: The version whose form the classes have that messages are decoded into.

    Raises:
        SchemaError: There is no such version, or it would write what it does not read.
    """

    def __init__(
        self,
        version: str = CURRENT,
        *,
        writes: str | None = None,
        revisions: Sequence[Revision] = REVISIONS,
        current: str = CURRENT,
    ) -> None:
        self.version = version
        self.writes = version if writes is None else writes
        self._revisions = revisions
        self._numbers = [parse_version(revision.version) for revision in revisions]
        self._current = self._known(current)
        self._newest = self._known(version)
        self._written = self._known(self.writes)
        self._major = self._numbers[self._newest][0]
        if self._written > self._newest:
            raise SchemaError(f"a process that reads up to {version} cannot write version {self.writes}")

    def _known(self, version: str) -> int:
        number = parse_version(version)
        if number not in self._numbers:
            known = ", ".join(revision.version for revision in self._revisions)
            raise SchemaError(f"there is no version '{version}' of the events; known are {known}")
        return self._numbers.index(number)

    # --- envelopes --------------------------------------------------------------------------------------------------------------

    def pack(self, message: Message) -> Raw:
        """The message in its envelope, in the version that this process writes, as JSON has it.

        Raises:
            SchemaError: That version cannot express it.
            CodecError: It holds something that may not travel.
        """
        raw = self._convert(encode(message), self._current, self._written)
        return {"version": self.writes, "to": message.to, "tx": message.tx, "message": raw}

    def unpack(self, envelope: object) -> Message:
        """The message in an envelope, whatever version it has, if this process can read it.

        Raises:
            SchemaTooNew: It has a newer major version.
            SchemaError: It is no envelope, or what is inside is malformed.
        """
        if not isinstance(envelope, dict):
            raise SchemaError("an event without an envelope")
        version, raw = envelope.get("version"), envelope.get("message")
        number = parse_version(version)
        if number[0] > self._major:
            raise SchemaTooNew(str(version), self.version)
        if not isinstance(raw, dict) or raw.get(TAG) != "Message":
            raise SchemaError("an envelope without a message")
        try:
            message = decode_as(Message, self._convert(raw, self._position(number), self._current))
        except CodecError as error:
            raise SchemaError(_line(f"a malformed event of version {version}: {error}")) from None
        if message.to != envelope.get("to") or message.tx != envelope.get("tx"):
            raise SchemaError("the address on the envelope is not that of the message inside")
        return message

    def _position(self, number: tuple[int, int]) -> int:
        """The newest version that this process knows and that is no newer; what is new in between may be ignored."""
        for position in range(self._newest, -1, -1):
            known = self._numbers[position]
            if known <= number:
                if known[0] == number[0]:
                    return position
                break
        raise SchemaError(f"there is no version {number[0]}.{number[1]} of the events")

    def _convert(self, raw: Raw, start: int, end: int) -> Raw:
        """The message in another version.

        Raises:
            SchemaError: It lacks what it needs to have for that.
        """
        try:
            for position in range(start + 1, end + 1):
                raw = self._revisions[position].upcast(raw)
            for position in range(start, end, -1):
                raw = self._revisions[position].downcast(raw)
        except SchemaError:
            raise
        except _WRONG as error:
            version = self._revisions[start].version
            what = f"a malformed event of version {version}: {type(error).__name__}: {error}"
            raise SchemaError(_line(what)) from None
        return raw

    # --- through a broker -------------------------------------------------------------------------------------------------------

    def wrap(self, message: Message) -> Message:
        """A message whose body is the text of the envelope; the rest of it is for routing. What a broker is given.

        Raises:
            SchemaError: As `pack`.
            CodecError: As `pack`.
        """
        text = json.dumps(self.pack(message), separators=(",", ":"))
        return Message(message.kind, message.tx, message.sender, message.to, text)

    def unwrap(self, message: Message) -> Message:
        """The message that was wrapped.

        Raises:
            SchemaTooNew: It has a newer major version.
            SchemaError: It is malformed, or was not wrapped.
        """
        if not isinstance(message.body, str):
            raise SchemaError("an event without an envelope")
        try:
            envelope = json.loads(message.body)
        except (ValueError, RecursionError):
            raise SchemaError("an envelope that is no JSON") from None
        inner = self.unpack(envelope)
        if (inner.to, inner.tx) != (message.to, message.tx):
            raise SchemaError("the address on the envelope is not the one by which it came")
        return inner


# --- partitions ---------------------------------------------------------------------------------------------------------------

Scope: TypeAlias = Literal["transaction", "topic"]


class Partition(NamedTuple):
    """Unit that the broker keeps in order.

    Attributes:
        topic: The consuming node.
        tx: The transaction, or None: the whole topic.
    """

    topic: str
    tx: int | None = None


def partition_of(envelope: object, topic: str) -> Partition:
    """The lane that an envelope belongs to, which can be told for every version; the whole topic if it is no envelope.

    Args:
        envelope: What came.
        topic: Where it came.
    """
    tx = envelope.get("tx") if isinstance(envelope, dict) else None
    return Partition(topic, tx if type(tx) is int else None)


@dataclass(slots=True)
class Stop:
    """Stop of a partition, and its reason.

    Attributes:
        reason: One line.
        version: Version of the event that could not be read, or None if it was malformed.
        held: Deliveries that were not handed on, repetitions included.
    """

    reason: str
    version: str | None
    held: int = 1


class Admission(NamedTuple):
    """Decision about a delivery.

    Attributes:
        message: Hand this on. None: hand nothing on, and acknowledge nothing.
        alert: Record this: the partition has just been stopped. Empty: nothing new.
    """

    message: Message | None
    alert: str = ""


class PartitionGate:
    """Decides for each delivery of the broker whether it is handed on; a partition with an event that cannot be read is stopped.

    It keeps no deliveries: what was not acknowledged comes again. A process that is upgraded and starts anew has a new gate, where
    everything is judged anew.

    Args:
        scope: What is stopped: the lane of the ``transaction``, or the whole ``topic`` (see the module's text).
    """

    def __init__(self, scope: Scope = "transaction") -> None:
        if scope not in ("transaction", "topic"):
            raise SchemaError(f"there is no scope {scope!r}; use 'transaction' or 'topic'")
        self._scope = scope
        self._stopped: dict[Partition, Stop] = {}

    @property
    def stopped(self) -> Mapping[Partition, Stop]:
        """Partitions that are stopped, each with the reason."""
        return self._stopped

    def admit(self, partition: Partition, read: Callable[[], Message]) -> Admission:
        """Judge a delivery.

        Args:
            partition: The lane in which it came; `tx` None if that cannot be told.
            read: Reads the message; not called while the partition is stopped. Usually `Schema.unpack` or `Schema.unwrap`.
        """
        topic = Partition(partition.topic)
        if self._scope == "topic":
            partition = topic
        if self._stopped:
            stop = self._stopped.get(partition) or self._stopped.get(topic)
            if stop is not None:
                stop.held += 1
                return Admission(None)
        try:
            return Admission(read())
        except SchemaTooNew as error:
            stop = Stop(str(error), error.version)
        except (SchemaError, CodecError) as error:
            stop = Stop(str(error), None)
        self._stopped[partition] = stop
        what = "topic" if partition.tx is None else f"transaction {partition.tx} at"
        return Admission(None, f"{what} '{partition.topic}' is stopped, nothing is acknowledged: {stop.reason}")

    def release(self, partition: Partition | None = None) -> list[Partition]:
        """Let partitions go on, after an upgrade: what they hold is judged anew when it is delivered again.

        Args:
            partition: Only this one; None: all.

        Returns:
            Those that were stopped.
        """
        if partition is None:
            released = list(self._stopped)
        else:
            released = [one for one in (partition, Partition(partition.topic)) if one in self._stopped][:1]
        for one in released:
            del self._stopped[one]
        return released
