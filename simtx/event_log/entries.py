"""Entries of an event log: one class a kind of detail, written and read here and nowhere else.

`DETAILS` lists every kind of entry with the class of its detail. A host writes ``Worked(...).text()``, a reader asks ``Worked.read(event)``.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Final, Literal, NamedTuple, Self, TypeAlias, get_args

from simtx.errors import SimtxError
from simtx.event_log.log import LogEntry
from simtx.protocols import contract as c
from simtx.protocols.names import BROKER, CLIENT, VOTE_STORE
from simtx.protocols.naming import unknown_effect


class EntryError(SimtxError, ValueError):
    """The detail of an entry does not have the form that its kind has."""


_STATUSES: Final = get_args(c.Status)


class Detail:
    """Particulars of an entry, beside its other fields; a single one is written as it is.

    Attributes:
        form: How it is written, in words.
    """

    __slots__: ClassVar[tuple[str, ...]] = ()
    form: ClassVar[str]

    def text(self) -> str:
        """The detail as it is written."""
        return self._write()

    @classmethod
    def read(cls, event: LogEntry) -> Self:
        """Read the detail of an entry.

        Raises:
            EntryError: It has another form.
        """
        try:
            return cls._parse(event.detail)
        except (ValueError, KeyError):
            where = f"a '{event.kind}' entry of {event.node or 'the run'}"
            raise EntryError(f"the detail of {where} has to be {cls.form}, not {event.detail!r:.200}") from None

    def _write(self) -> str:
        (name,) = self.__slots__
        return str(getattr(self, name))

    @classmethod
    def _parse(cls, text: str) -> Self:
        """The opposite of `_write`; a `ValueError` or a `KeyError` says that the text has another form."""
        return cls(**dict.fromkeys(cls.__slots__, text))


@dataclass(slots=True)
class Text(Detail):
    """Free text for people: the reason of an answer, why a message was refused; mostly empty."""

    said: str = ""
    form: ClassVar[str] = "text"


@dataclass(slots=True)
class Durability(Detail):
    """Detail of a log record: whether what comes after it waits until it is durable."""

    forced: bool
    form: ClassVar[str] = "'forced' or 'lazy'"

    def _write(self) -> str:
        return "forced" if self.forced else "lazy"

    @classmethod
    def _parse(cls, text: str) -> Self:
        return cls(text != "lazy")


@dataclass(slots=True)
class Worked(Detail):
    """Detail of a local transaction or a preparation that has ended.

    Attributes:
        compensation: Whether it undoes steps.
        status: ``done``, ``refused``, ``duplicate`` or ``failed``.
        forced: Whether it was forced to disk.
    """

    compensation: bool
    status: str
    forced: bool
    form: ClassVar[str] = "'action' or 'compensation', the status, and 'forced' if it was forced"

    @property
    def phase(self) -> str:
        """``action`` or ``compensation``."""
        return "compensation" if self.compensation else "action"

    def _write(self) -> str:
        return f"{self.phase} {self.status}{' forced' if self.forced else ''}"

    @classmethod
    def _parse(cls, text: str) -> Self:
        words = text.split()
        status = next((word for word in words if word in _STATUSES), "done")
        return cls("compensation" in words, status, "forced" in words)


@dataclass(slots=True)
class BranchEnded(Detail):
    """Detail of a prepared branch that was committed or rolled back.

    Attributes:
        forced: Whether that was forced to disk.
        in_doubt: Seconds for which it was in doubt; None: nobody has measured them.
    """

    forced: bool
    in_doubt: float | None = None
    form: ClassVar[str] = "'forced' or 'lazy', and in-doubt=SECONDS"

    @property
    def durability(self) -> str:
        """``forced`` or ``lazy``."""
        return "forced" if self.forced else "lazy"

    def _write(self) -> str:
        return self.durability if self.in_doubt is None else f"{self.durability} in-doubt={self.in_doubt!r}"

    @classmethod
    def _parse(cls, text: str) -> Self:
        durability, _, seconds = text.partition(" in-doubt=")
        return cls(durability == "forced", float(seconds) if seconds else None)


@dataclass(slots=True)
class Applied(Detail):
    """Reads and changes of one local transaction; its form is described in `simtx.event_log.log`.

    Attributes:
        steps: Steps of the plan whose work it was.
        values: (old, new) by key.
        reads: [key, value] or [key, value, version], first to last; None: it is not known what was read.
        history: Number of the change in the store's own history; -1 if there is none.
    """

    steps: Sequence[int]
    values: Mapping[str, tuple[float, float]]
    reads: Sequence[Any] | None = None
    history: int = -1
    form: ClassVar[str] = '{"steps": [..], "values": {key: [old, new]}, "reads": [[key, value, version], ..]}'

    def _write(self) -> str:
        detail: dict[str, Any] = {"steps": list(self.steps), "values": self.values}
        if self.reads is not None:
            detail["reads"] = list(self.reads)
        if self.history >= 0:
            detail["history"] = self.history
        return json.dumps(detail)

    @classmethod
    def _parse(cls, text: str) -> Self:
        detail = _object(text)
        return cls(detail["steps"], detail["values"], detail.get("reads"), detail.get("history", -1))


class _Members(Detail):
    """A detail that is written as a JSON object of its fields."""

    __slots__: ClassVar[tuple[str, ...]] = ()

    def _write(self) -> str:
        members = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps(members, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def _parse(cls, text: str) -> Self:
        detail = _object(text)
        return cls(**{name: detail[name] for name in cls.__slots__})


@dataclass(slots=True)
class Handled(_Members):
    """Everything that it takes to replay a machine's reaction to an event, in terms of JSON (`simtx.protocols.codec`).

    Attributes:
        role: Role of the machine.
        state: Its state before.
        event: The event, encoded.
        effects: What it has asked for, each encoded.
    """

    role: str
    state: str
    event: Any
    effects: Sequence[Any]
    form: ClassVar[str] = '{"role": .., "state": .., "event": .., "effects": [..]}'


@dataclass(slots=True)
class Recovered(_Members):
    """Everything that it takes to replay the recovery of a machine, in terms of JSON.

    Attributes:
        role: Role of the machine.
        records: Its log records, each encoded.
        effects: What it has asked for, each encoded.
    """

    role: str
    records: Sequence[Any]
    effects: Sequence[Any]
    form: ClassVar[str] = '{"role": .., "records": [..], "effects": [..]}'


def effects_with_outbox(event: LogEntry) -> Sequence[Any]:
    """The encoded effects of a ``handle`` or ``recover`` entry if one of them writes to an outbox, else none.

    Most write nothing there, and the text shows it: to parse them all would take most of a replay.
    """
    if '"outbox":[{' not in event.detail:
        return ()
    return (Handled if event.kind == "handle" else Recovered).read(event).effects


@dataclass(slots=True)
class Seconds(Detail):
    """A duration; zero may be left out."""

    seconds: float = 0.0
    form: ClassVar[str] = "seconds"

    @classmethod
    def _parse(cls, text: str) -> Self:
        return cls(float(text) if text else 0.0)


@dataclass(slots=True)
class Arrived(Detail):
    """The plan of a transaction, as its effects are measured against it: for each step, the service and [key, kind, amount] of each operation."""

    steps: Sequence[Sequence[Any]]
    form: ClassVar[str] = "[[service, [[key, kind, amount], ..]], ..]"

    @classmethod
    def of(cls, plan: c.Plan) -> Self:
        """Make the detail of a plan."""
        return cls([[step.service, [[o.key, o.kind, o.amount] for o in step.operations]] for step in plan.steps])

    def operations(self) -> list[tuple[str, tuple[c.Operation, ...]]]:
        """List the service and the operations of each step; guards and compensations are not in the log."""
        return [(service, tuple(c.Operation(*one) for one in listed)) for service, listed in self.steps]

    def _write(self) -> str:
        return json.dumps(self.steps)

    @classmethod
    def _parse(cls, text: str) -> Self:
        return cls(json.loads(text))


@dataclass(slots=True)
class Number(Detail):
    """A count or a position: of a fault in the scenario, of an attempt, of events; -1 if there is none."""

    number: int = -1
    form: ClassVar[str] = "a whole number"

    @classmethod
    def _parse(cls, text: str) -> Self:
        return cls(int(text or -1))


@dataclass(slots=True)
class Process(Detail):
    """Process of a node; empty in a simulated run, where a node is one process with its relay."""

    name: str = ""
    form: ClassVar[str] = "name of the process"

    def beside(self, node: str) -> bool:
        """Return whether it was another process than the node's own, such as its relay."""
        return self.name not in ("", node)


@dataclass(slots=True)
class Levels(Detail):
    """Lengths of queues that have changed, by name."""

    levels: Mapping[str, float]
    form: ClassVar[str] = "{name: length}"

    def _write(self) -> str:
        return json.dumps(self.levels)

    @classmethod
    def _parse(cls, text: str) -> Self:
        return cls(_object(text))


@dataclass(slots=True)
class Stuck(Detail):
    """Detail of an alert: whether its transaction waits for an operator."""

    stuck: bool
    form: ClassVar[str] = "'stuck' or nothing"

    def _write(self) -> str:
        return "stuck" if self.stuck else ""

    @classmethod
    def _parse(cls, text: str) -> Self:
        return cls(text == "stuck")


@dataclass(slots=True)
class Staleness(Detail):
    """Detail of a read of a replica: whether it gave an old value."""

    stale: bool
    form: ClassVar[str] = "'stale' or 'fresh'"

    def _write(self) -> str:
        return "stale" if self.stale else "fresh"

    @classmethod
    def _parse(cls, text: str) -> Self:
        return cls(text == "stale")


DEAD_LETTER: Final = "dead letter"
"""Reason why a message was dropped: it was delivered as often as the broker allows."""
RETENTION: Final = "retention"
"""Reason why a message was dropped: it was older than the broker keeps any."""
POISON: Final = "poison"
"""Reason why a consumer has refused a delivery: it can never handle it."""


@dataclass(slots=True)
class Dropped(Detail):
    """Detail of a message that was lost: why, if it is known."""

    why: str = ""
    form: ClassVar[str] = "'down', 'dead letter', 'retention', or nothing: lost on the way"

    @property
    def down(self) -> bool:
        """Return whether it has reached a node that was down."""
        return self.why == "down"


@dataclass(slots=True)
class Vote(Detail):
    """Detail of a request to the vote store, or of its answer: the vote that is to be written, or that is there now; the voter is the entry's name.

    Attributes:
        vote: ``yes`` or ``no``.
        written: Of an answer, whether this request has written it, and has cost a forced write: nothing was there before.
    """

    vote: str
    written: bool = False
    form: ClassVar[str] = "'yes' or 'no', of an answer perhaps with 'written' behind it"

    def _write(self) -> str:
        return f"{self.vote} written" if self.written else self.vote

    @classmethod
    def _parse(cls, text: str) -> Self:
        vote, _, rest = text.partition(" ")
        if vote not in ("yes", "no") or rest not in ("", "written"):
            raise ValueError(text)
        return cls(vote, rest == "written")


EntryKind: TypeAlias = Literal[
    "request", "receive", "deliver", "timer", "handle", "recover",
    "send", "reject", "publish", "acknowledge", "answer", "decided", "suspect", "alert", "forget", "logonce", "append", "lost",
    "transact", "execute", "prepare", "commit", "rollback",
    "apply", "query", "wait", "unlock", "serve", "free", "read",
    "call", "drop", "confirm", "logged", "redeliver", "refuse", "stop", "lag", "stored-again",
    "arrive", "ask", "give-up", "suppress", "expire", "reply",
    "crash", "restart", "fault", "healed",
    "open", "close", "level", "doubt", "held", "unpublished", "unfinished", "used", "end",
]  # fmt: skip

DETAILS: Final[Mapping[EntryKind, type[Detail]]] = MappingProxyType(
    {
        # what comes to a machine, and what it does
        "request": Text,
        "receive": Text,
        "deliver": Text,
        "timer": Text,
        "handle": Handled,
        "recover": Recovered,
        "send": Text,
        "reject": Text,
        "publish": Text,
        "acknowledge": Text,
        "answer": Text,
        "decided": Text,
        "suspect": Text,
        "alert": Stuck,
        "forget": Text,
        "logonce": Vote,
        "append": Durability,
        "lost": Text,
        # its store
        "transact": Worked,
        "execute": Worked,
        "prepare": Worked,
        "commit": BranchEnded,
        "rollback": BranchEnded,
        "apply": Applied,
        "query": Applied,
        "wait": Seconds,
        "unlock": Seconds,
        "serve": Seconds,
        "free": Text,
        "read": Staleness,
        # a provider outside
        "call": Text,
        # the network, the broker and the vote store
        "drop": Dropped,
        "confirm": Text,
        "logged": Vote,
        "redeliver": Text,
        "refuse": Text,
        "stop": Text,
        "lag": Number,
        "stored-again": Text,
        # clients
        "arrive": Arrived,
        "ask": Number,
        "give-up": Text,
        "suppress": Text,
        "expire": Text,
        "reply": Text,
        # faults
        "crash": Process,
        "restart": Process,
        "fault": Number,
        "healed": Number,
        # the run
        "open": Text,
        "close": Text,
        "level": Levels,
        "doubt": Seconds,
        "held": Seconds,
        "unpublished": Text,
        "unfinished": Text,
        "used": Seconds,
        "end": Number,
    }
)
"""Every kind of entry, with the class of its detail."""

_KINDS: Final[Mapping[str, EntryKind]] = MappingProxyType({kind: kind for kind in DETAILS})


def kind_of(event: LogEntry) -> EntryKind:
    """The kind of an entry.

    Raises:
        EntryError: It is none of `DETAILS`.
    """
    kind = _KINDS.get(event.kind)
    if kind is None:
        near = difflib.get_close_matches(event.kind, _KINDS, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        where = f"entry {event.id}, of {event.node or 'the run'},"
        raise EntryError(f"{where} has a kind that no event log has: {event.kind!r:.200}{hint}")
    return kind


def keys_of(event: LogEntry) -> tuple[str, ...]:
    """The keys of row locks that an ``unlock`` or ``held`` names."""
    return tuple(event.name.split(","))


def keys_text(keys: Iterable[str]) -> str:
    """Keys of row locks as the name of an entry."""
    return ",".join(keys)


def _object(text: str) -> dict[str, Any]:
    detail = json.loads(text)
    if not isinstance(detail, dict):
        raise ValueError(text)
    return detail


class AtOnce(NamedTuple):
    """The entry of an effect that happens at once: all of it but when, where and by whom."""

    kind: EntryKind
    peer: str = ""
    name: str = ""
    detail: str = ""


AT_ONCE: Final[tuple[type[c.Effect], ...]] = (
    c.Acknowledge,
    c.Alert,
    c.Answer,
    c.Decided,
    c.Forget,
    c.LogOnce,
    c.Suspect,
)
"""Effects with such an entry, whose kind is called as the effect."""


def at_once(effect: c.Effect) -> AtOnce | None:
    """The entry that an effect leaves which happens at once; None: it leaves none, or is written down when it has ended or left the node.

    Raises:
        UnknownEffect: It is no effect.
    """
    match effect:
        case c.Acknowledge():
            return AtOnce("acknowledge", BROKER)
        case c.Alert():
            return AtOnce("alert", name=effect.reason, detail=Stuck(effect.stuck).text())
        case c.Answer():
            return AtOnce("answer", CLIENT, effect.outcome, effect.reason)
        case c.Decided():
            return AtOnce("decided", name=effect.outcome)
        case c.Forget():
            return AtOnce("forget")
        case c.LogOnce():
            return AtOnce("logonce", VOTE_STORE, effect.voter, Vote(effect.vote).text())
        case c.Suspect():
            return AtOnce("suspect", effect.node)
        case c.Message() | c.Publish():
            return None
        case c.Append() | c.Transact() | c.Execute() | c.Prepare() | c.Commit() | c.Rollback():
            return None
        case c.SetTimer() | c.CancelTimer() | c.ReadOutbox() | c.MarkOutbox():
            return None
        case _:
            raise unknown_effect(effect, "a machine asked for")
