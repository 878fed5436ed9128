"""Reads an event log: its local transactions, and the outcome of its business transactions.

The form of the entries is that of `simtx.event_log.log`; it is the same for simulated and for real runs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from simtx.errors import ScenarioError
from simtx.event_log.entries import Applied
from simtx.histories.parsing import FAIL, INFO, OK

if TYPE_CHECKING:
    from simtx.event_log.log import EventLog, LogEntry

_STATUS = {"committed": OK, "aborted": FAIL}


@dataclass(frozen=True, slots=True)
class Read:
    """Value that a store has returned for a key; `version` is None where the log does not give it."""

    key: str
    value: float
    version: int | None


@dataclass(slots=True)
class LocalTransaction:
    """One local transaction that has taken effect, or has only read.

    Attributes:
        tx: Its business transaction.
        node: Whose store.
        place: Position of its entry in the log.
        start: When it was asked for at the latest, in seconds.
        end: When it had ended.
        phase: ``action``, ``compensation`` or ``refused``.
        steps: The steps whose work it was.
        changes: (old, new) by key, as committed.
        reads: What it read, first to last, without what it had changed itself; None where the log does not say.
        history: Number of its changes in the store's own history, or -1.
    """

    tx: int
    node: str
    place: int
    start: float
    end: float
    phase: str
    steps: tuple[int, ...]
    changes: dict[str, tuple[float, float]]
    reads: list[Read] | None
    history: int = -1

    def overwrites(self, key: str) -> bool:
        """Return whether it is known to have changed this key without having read it."""
        return key in self.changes and self.reads is not None and all(read.key != key for read in self.reads)


@dataclass(slots=True)
class BusinessTransaction:
    """Facts of the log about one business transaction as a whole.

    Attributes:
        tx: Its number.
        start: When the client asked for it.
        decided: When its outcome was final; not a number if it never was.
        status: ``ok`` committed, ``fail`` aborted, ``info`` neither as far as the log goes.
        answer: The first answer to the client, or empty.
        answered: When that was given.
        heard: When the client had it, if the way there takes time.
        locals: Its local transactions, in the order of the log.
    """

    tx: int
    start: float
    decided: float = math.nan
    status: str = INFO
    answer: str = ""
    answered: float = math.nan
    heard: float = math.nan
    locals: list[LocalTransaction] = field(default_factory=list)


@dataclass(slots=True)
class RunLog:
    """All of it, in the order of the log.

    Attributes:
        locals: The local transactions.
        business: The business transactions by number.
        far: Whether answers take time to reach their clients.
        end: Time of the last entry.
    """

    locals: list[LocalTransaction] = field(default_factory=list)
    business: dict[int, BusinessTransaction] = field(default_factory=dict)
    far: bool = False
    end: float = 0.0

    def known_at(self, one: BusinessTransaction) -> float:
        """Time at which the client got the answer that this transaction had committed; without such an answer, the end of the run.

        An answer ``accepted`` promises nothing about the effects, so that the moment of the decision counts then.
        """
        if one.answer and one.answer != "committed":
            return max(one.answered, one.decided)
        heard = one.heard if self.far else one.answered
        return self.end if math.isnan(heard) else heard


def read_log(trace: EventLog) -> RunLog:
    """Collect what a check of isolation needs from an event log.

    Raises:
        ScenarioError: The detail of an ``apply`` or ``query`` is not in the documented form.
    """
    log = RunLog()
    times: dict[int, float] = {}
    opened: dict[tuple[int, str], float] = {}
    for place, event in enumerate(trace):
        times[event.id] = event.time
        log.end = max(log.end, event.time)
        if event.tx < 0:
            continue
        one = log.business.get(event.tx)
        if one is None:
            one = log.business[event.tx] = BusinessTransaction(event.tx, event.time)
        kind = event.kind
        if kind == "apply" or kind == "query":
            start = event.time if event.cause is None else times.get(event.cause, event.time)
            start = min(start, opened.pop((event.tx, event.node), start), event.time)
            if event.cause is None:  # found in the store by itself: nobody lived to say when it was begun
                start = one.start
            local = _local(event, place, start)
            log.locals.append(local)
            one.locals.append(local)
        elif kind == "execute" or kind == "prepare":
            begun = event.time if event.cause is None else times.get(event.cause, event.time)
            opened.setdefault((event.tx, event.node), begun)
        elif kind == "decided":
            if math.isnan(one.decided):
                one.decided = event.time
                one.status = _STATUS.get(event.name, INFO)
        elif kind == "answer":
            if not one.answer:
                one.answer, one.answered = event.name, event.time
        elif kind == "reply":
            log.far = True
            if math.isnan(one.heard):
                one.heard = event.time
    for one in log.business.values():
        if math.isnan(one.decided) and one.answer in _STATUS:  # a strategy that says it to the client only
            one.status, one.decided = _STATUS[one.answer], one.answered
    return log


def _local(event: LogEntry, place: int, start: float) -> LocalTransaction:
    where = f"event log, entry {event.id} ('{event.kind}' of transaction {event.tx} on {event.node})"
    try:
        said = Applied.read(event)
        steps = tuple(int(step) for step in said.steps)
        changes = {str(key): (_number(old), _number(new)) for key, (old, new) in said.values.items()}
        reads = None if said.reads is None else [_read(*entry) for entry in said.reads]
        history = int(said.history)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ScenarioError(f"expected as detail {Applied.form}, got {event.detail!r}", where) from None
    return LocalTransaction(
        event.tx, event.node, place, start, event.time, event.name, steps, changes, reads, history=history
    )


def _read(key: Any, value: Any, version: Any = None) -> Read:
    return Read(str(key), _number(value), None if version is None else int(version))


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
        raise TypeError(value)
    return value
