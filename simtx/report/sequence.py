"""Layout of a message diagram: lanes, arrows, log records, crashes and lost effects, placed from top to bottom.

Reading an event log and drawing it are kept apart: this module knows no plotting library. Vertical positions are in rows of text.
They grow with time and are true to scale where that can be read; a long silence is cut short (`Sequence.breaks` says where), and
events that would print over each other are moved apart.
"""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias, assert_never, get_args

from simtx.errors import ScenarioError
from simtx.event_log.entries import Applied, BranchEnded, Dropped, Durability, Process, Seconds, Vote, Worked, kind_of
from simtx.event_log.log import EventLog, LogEntry
from simtx.protocols.names import BROKER, CLIENT, VOTE_STORE
from simtx.protocols.registry import HUBS
from simtx.report.interrupted import completed

# What a diagram makes of each kind of entry. A kind that is on none of these lists is a type error in `shown`.
ArrowKind: TypeAlias = Literal[
    "request", "send", "receive", "drop", "publish", "confirm", "deliver", "logonce", "logged", "answer"
]
"""Messages: arrows between two lanes, and their fates."""
TickKind: TypeAlias = Literal["append", "transact", "execute", "prepare", "commit", "rollback"]
"""Work of logs and stores: ticks on a lane, which say how durable it is."""
MarkKind: TypeAlias = Literal["timer", "decided", "suspect", "alert", "crash", "restart", "lost"]
"""Other marks on one lane."""
WordKind: TypeAlias = Literal["acknowledge", "forget", "reject", "wait"]
"""Lines of the diagram in letters, for which the picture has no room."""
HiddenKind: TypeAlias = Literal[
    "handle", "recover", "apply", "query", "unlock", "serve", "free", "read", "call", "redeliver", "refuse", "stop", "lag", "stored-again",
    "arrive", "ask", "give-up", "suppress", "expire", "reply", "fault", "healed",
    "open", "close", "level", "doubt", "held", "unpublished", "unfinished", "used", "end",
]  # fmt: skip
"""Entries that no diagram shows: they concern the audit of values and locks, clients, queues or the whole run."""
Shown: TypeAlias = ArrowKind | TickKind | MarkKind | WordKind
Written: TypeAlias = Literal["forced", "lazy", "volatile"]
Symbol: TypeAlias = Written | Literal["decided", "timer", "alert", "crash", "restart", "lost"]

_ARROWS: Final[Mapping[str, ArrowKind]] = {kind: kind for kind in get_args(ArrowKind)}
_TICKS: Final[Mapping[str, TickKind]] = {kind: kind for kind in get_args(TickKind)}
_MARKS: Final[Mapping[str, MarkKind]] = {kind: kind for kind in get_args(MarkKind)}
_DRAWN: Final[Mapping[str, Shown]] = {**_ARROWS, **_TICKS, **_MARKS}
_SHOWN: Final[Mapping[str, Shown]] = {**_DRAWN, **{kind: kind for kind in get_args(WordKind)}}

_LEAST_GAP: Final = 0.45  # rows between two different times
_LONGEST_GAP: Final = 3.5  # rows; a longer silence is cut short
_LEAST_FALL: Final = 0.9  # rows that the arrow of a message falls at least
_LABEL_ROW: Final = 1.0  # rows that a label needs for itself
_LINE_ROW: Final = 0.6  # rows that each further line of it needs
_ALERT_LETTERS: Final = 44  # in one line of an alert


@dataclass(slots=True)
class Arrow:
    """One message: where and when it left, where and when it arrived.

    Attributes:
        kind: ``message``, ``publish``, ``delivery``, ``confirmation``, ``request`` or ``answer``.
        label: Kind of the message.
        source: Lane it leaves.
        target: Lane it goes to.
        top: Row at which it leaves.
        bottom: Row at which it arrives, or would have.
        lost: Whether it was lost.
        under_way: Whether it had neither arrived nor been lost when the log ends, or what is shown of it.
        repeated: Whether the same message had arrived before.
        at_target: Whether a lost one was lost because its target was down.
    """

    kind: str
    label: str
    source: str
    target: str
    top: float
    bottom: float
    lost: bool = False
    under_way: bool = False
    repeated: bool = False
    at_target: bool = False


@dataclass(slots=True)
class Mark:
    """Something on one lane.

    Attributes:
        kind: ``forced`` (durable before anything went on), ``lazy`` (durable some time later), ``volatile`` (nothing on disk), ``decided``,
            ``timer``, ``alert``, ``crash``, ``restart`` or ``lost`` (an effect that a crash swallowed).
        label: What to write beside it; an alert may have several lines.
        node: The lane.
        row: Where.
    """

    kind: Symbol
    label: str
    node: str
    row: float


@dataclass(slots=True)
class Span:
    """A stretch of one lane: ``down`` (from a crash to the restart) or ``in-doubt`` (prepared, the outcome not known)."""

    kind: Literal["down", "in-doubt"]
    node: str
    top: float
    bottom: float


@dataclass(slots=True)
class Sequence:
    """Everything on the diagram of one transaction; see the classes of its parts.

    Attributes:
        tx: The transaction.
        lanes: Nodes from left to right.
        origin: Time of the first event, in seconds since the start of the run.
        outcome: Outcome that was decided, or answered if nothing was decided; empty if neither.
        arrows: Messages.
        marks: Log records, decisions, timers, crashes, lost effects.
        spans: Down times and in-doubt times.
        times: (row, seconds since `origin`) of every event, from top to bottom.
        breaks: (row, seconds) of every silence that was cut short.
        rows: Height of the whole.
    """

    tx: int
    lanes: list[str]
    origin: float
    outcome: str = ""
    arrows: list[Arrow] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    times: list[tuple[float, float]] = field(default_factory=list)
    breaks: list[tuple[float, float]] = field(default_factory=list)
    rows: float = 0.0


def events_of(trace: EventLog, tx: int, start: float | None = None, end: float | None = None) -> list[LogEntry]:
    """The entries of one transaction between two times (seconds since its first entry), oldest first.

    Raises:
        ScenarioError: The trace knows no such transaction, or nothing happened in that time.
        EntryError: An entry is of a kind that no event log has.
    """
    try:
        own = completed(sorted(trace.of(tx), key=lambda event: (event.time, event.id)))
    except KeyError:
        known = trace.transactions
        numbers = f"{known[0]} to {known[-1]}" if known else "none"
        raise ScenarioError(f"no transaction {tx} in this trace; it holds {numbers}") from None
    origin = own[0].time
    low, high = (-math.inf if start is None else start), (math.inf if end is None else end)
    chosen = [event for event in own if low <= event.time - origin <= high]
    if not any(_drawn(event) for event in chosen):
        raise ScenarioError(f"nothing happened in transaction {tx} between start = {low:g} s and end = {high:g} s")
    return chosen


def status_of(event: LogEntry) -> str:
    """Answer of the store about a local transaction: ``done``, ``refused``, ``duplicate`` or ``failed``."""
    return Worked.read(event).status


def changes_of(events: Iterable[LogEntry]) -> dict[int, str]:
    """Changes that the local transactions made, such as ``stock:44 −1``, by the id of the entry that reports their end."""
    applied: dict[tuple[float, str, int | None], str] = {}
    ends: list[LogEntry] = []
    for event in events:
        if event.kind == "apply":
            values = Applied.read(event).values if event.detail else {}
            shown = [f"{key} {_signed(after - before)}" for key, (before, after) in values.items() if after != before]
            more = f", {len(shown) - 1} more" if len(shown) > 1 else ""
            if shown:
                applied[event.time, event.node, event.cause] = shown[0] + more
        elif event.kind in ("transact", "commit"):
            ends.append(event)
    keyed = ((event.id, applied.get((event.time, event.node, event.cause))) for event in ends)
    return {number: text for number, text in keyed if text is not None}


def _signed(change: float) -> str:
    return f"{'−' if change < 0 else '+'}{abs(change):,.10g}"


def shown(event: LogEntry) -> Shown | None:
    """Kind of an entry that a diagram shows, be it in letters; None: no diagram does.

    Raises:
        EntryError: Its kind is none of an event log.
    """
    kind: Shown | HiddenKind = kind_of(event)  # a type error here: a new kind has no place on the lists above
    return _SHOWN.get(kind)


def _drawn(event: LogEntry) -> bool:
    """Return whether a picture has a place for an entry."""
    return shown(event) in _DRAWN


def label_of(event: LogEntry, kind: Shown, change: str = "") -> str:
    """A few words for one entry of the log, whose kind is shown; `change` says what a local transaction changed."""
    match kind:
        case "transact":
            undoes = Worked.read(event).compensation
            name = event.name or "transact"
            status = status_of(event)
            if change:
                return f"undo {change}" if undoes else change
            if undoes and not name.startswith(("undo", "compensat")):
                name = f"undo {name}"
            return name if status == "done" else f"{name}: {status}"
        case "prepare" | "execute":
            status = status_of(event)
            return kind if status == "done" else f"{kind}: {status}"
        case "append":
            return event.name
        case "commit" | "rollback":
            return f"{kind} {change}".rstrip()
        case "decided":
            return f"decided: {event.name}"
        case "timer":
            return f"timer {event.name}"
        case "suspect":
            return f"no reply from {event.peer}"
        case "alert":
            return f"alert: {event.name}"
        case "lost":
            return f"{event.name} → {event.peer}" if event.peer else event.name
        case "crash" | "restart":
            return f"{kind} of {Process.read(event).name}" if _other_process(event) else kind
        case "reject":
            return f"{event.name} held back by the circuit breaker"
        case "wait":
            return f"waited {1000 * Seconds.read(event).seconds:.3f} ms for row locks: {event.name}"
        case "request" | "answer" | "send" | "receive" | "drop" | "acknowledge" | "forget":
            return event.name or kind
        case "publish" | "confirm" | "deliver" | "logonce" | "logged":
            return event.name or kind
        case _:
            assert_never(kind)


def _other_process(event: LogEntry) -> bool:
    """Return whether a crash or restart is that of another process of the node, such as its relay, and not of the node."""
    return Process.read(event).beside(event.node)


def build(trace: EventLog, tx: int, start: float | None = None, end: float | None = None) -> Sequence:
    """Read one transaction from a trace.

    Args:
        trace: The event log.
        tx: Number of the transaction.
        start: Leave out what happened earlier, in seconds since the first event of the transaction.
        end: Leave out what happened later.

    Raises:
        ScenarioError: There is nothing to show.
    """
    events = events_of(trace, tx, start, end)
    lanes = _lanes(events)
    changes = changes_of(events)
    events = [event for event in events if _drawn(event) and (event.tx >= 0 or event.node in lanes)]
    sequence = Sequence(tx, lanes, trace.of(tx)[0].time)
    rows = _place(events, sequence)
    sequence.rows = max((rows[event.id] + _further_lines(event) for event in events), default=0.0) + _LABEL_ROW
    _connect(events, rows, sequence)
    _mark(events, rows, sequence, changes)
    _stretch(events, rows, sequence)
    finals = [event.name for event in events if event.kind == "decided"] or [
        event.name for event in events if event.kind == "answer"
    ]
    sequence.outcome = finals[0] if finals else ""
    return sequence


def _lanes(events: Iterable[LogEntry]) -> list[str]:
    """Client first, the hub second, services in the order of their first appearance, the broker last."""
    seen: dict[str, None] = {}
    for event in events:
        if event.tx < 0:
            continue
        if event.kind in ("request", "answer"):
            seen.setdefault(CLIENT)
        for name in (event.node, event.peer):
            if name:
                seen.setdefault(name)
        if event.kind in ("publish", "deliver", "confirm"):
            seen.setdefault(BROKER)
    first = [name for name in (CLIENT, *HUBS) if name in seen]
    last = [name for name in (BROKER, VOTE_STORE) if name in seen]
    return [*first, *(name for name in seen if name not in (*first, *last)), *last]


def _place(events: list[LogEntry], sequence: Sequence) -> dict[int, float]:
    """Row of every event, by its id."""
    gaps = sorted(b.time - a.time for a, b in itertools.pairwise(events) if b.time > a.time)
    scale = 1.5 / gaps[2 * len(gaps) // 3] if gaps else 1.0
    order = {name: position for position, name in enumerate(sequence.lanes)}
    by_id = {event.id: event for event in events}
    busy: dict[int, float] = {}  # space right of a lane -> lowest row with a label in it
    left_at: dict[int, float] = {}
    asked: dict[tuple[str, str], float] = {}  # node and voter -> row of the last request to the vote store
    rows: dict[int, float] = {}
    stored = {event.cause for event in events if event.kind == "receive" and event.node == BROKER}
    row, before = 0.0, events[0].time
    for event in events:
        gap = event.time - before
        if gap > 0:
            wanted = max(_LEAST_GAP, gap * scale)
            if wanted > _LONGEST_GAP:
                wanted = _LONGEST_GAP
                sequence.breaks.append((row + wanted / 2, gap))
            row += wanted
        before = event.time
        space = _label_space(event, order, by_id)
        if space is not None:
            row = max(row, busy.get(space, -math.inf) + _LABEL_ROW)
        elif _leaves_to_the_right(event, order):  # from below the label of what the node did at the same time
            row = max(row, busy.get(order[event.node], -math.inf) + _LABEL_ROW / 2)
        if event.kind in ("receive", "drop", "deliver", "confirm") and event.cause in left_at:
            row = max(row, left_at[event.cause] + _LEAST_FALL)
        if event.kind == "logged":
            row = max(row, asked.get((event.node, event.name), -math.inf) + 2 * _LEAST_FALL)
        if space is not None:
            busy[space] = row + _further_lines(event)
        if event.kind == "send" or event.id in stored:
            left_at[event.id] = row
        elif event.kind == "receive" and event.node == BROKER and event.cause is not None:
            left_at[event.cause] = row
        elif event.kind == "publish":  # the broker has it one fall later, and sends it on or acks it after that
            left_at[event.id] = row + _LEAST_FALL
            busy[_last_space(order[event.node], order[BROKER])] = row + _LEAST_FALL
        elif event.kind == "logonce":
            asked[event.node, event.name] = row
            busy[_last_space(order[event.node], order[VOTE_STORE])] = row + _LEAST_FALL
        rows[event.id] = row
        sequence.times.append((row, event.time - sequence.origin))
    return rows


def _leaves_to_the_right(event: LogEntry, order: dict[str, int]) -> bool:
    """Return whether the arrow of a message begins beside the labels of its sender."""
    if event.kind not in ("send", "publish", "logonce"):
        return False
    return order.get(event.peer or BROKER, 0) > order.get(event.node, 0)


def _label_space(event: LogEntry, order: dict[str, int], by_id: dict[int, LogEntry]) -> int | None:
    """Index of the lane right of which the label of this event is written; None without a label."""
    node, kind = order.get(event.node, 0), _ARROWS.get(event.kind)
    match kind:
        case None:  # it stands on its lane
            return node
        case "send" | "publish" | "logonce":
            return None
        case "drop":
            sent = by_id.get(event.cause) if event.cause is not None else None
            return _last_space(order.get(sent.node, 0), order.get(sent.peer, 0)) if sent else node
        case "receive" | "deliver" | "confirm" | "logged":
            return _last_space(order.get(event.peer or BROKER, 0), node)
        case "request":
            return _last_space(order[CLIENT], node)
        case "answer":
            return _last_space(node, order[CLIENT])
        case _:
            assert_never(kind)


def _last_space(source: int, target: int) -> int:
    """The space between two lanes that an arrow crosses last."""
    return target - 1 if source < target else target


def _wrapped(label: str) -> list[str]:
    """The lines of a long label."""
    return textwrap.wrap(label, _ALERT_LETTERS, subsequent_indent="  ")


def _further_lines(event: LogEntry) -> float:
    """Rows that the label of an event needs beside those that all need."""
    return _LINE_ROW * (len(_wrapped(label_of(event, "alert"))) - 1) if event.kind == "alert" else 0.0


def _connect(events: list[LogEntry], rows: dict[int, float], sequence: Sequence) -> None:
    """Messages."""
    arrived: set[int] = set()
    by_id = {event.id: event for event in events}
    stored = {event.cause: event for event in events if event.kind == "receive" and event.node == BROKER}
    passed_on = {event.cause for event in events if event.kind in ("confirm", "deliver")}
    fates = {event.cause: event for event in events if event.kind == "drop" and event.cause is not None}
    for event in events:
        row = rows[event.id]
        cause = by_id.get(event.cause) if event.cause is not None else None
        kind = _ARROWS.get(event.kind)
        match kind:
            case "request":
                sequence.arrows.append(Arrow("request", event.name or "request", CLIENT, event.node, row, row))
            case "answer":
                sequence.arrows.append(Arrow("answer", event.name, event.node, CLIENT, row, row))
            case "receive" if event.node != BROKER:
                known = cause is not None and cause.kind == "send"
                top = rows[cause.id] if cause is not None and known else row - _LEAST_FALL
                again = known and event.cause in arrived
                sequence.arrows.append(Arrow("message", event.name, event.peer, event.node, top, row, repeated=again))
                if event.cause is not None:
                    arrived.add(event.cause)
            case "publish":
                end = stored.get(event.id)
                arrow = Arrow(
                    "publish", event.name, event.node, BROKER, row, rows[end.id] if end else row + _LEAST_FALL
                )
                arrow.lost = event.id in fates
                arrow.under_way = not (arrow.lost or end or event.id in passed_on)
                sequence.arrows.append(arrow)
            case "confirm":
                sequence.arrows.append(Arrow("confirmation", "ack", BROKER, event.node, row - _LEAST_FALL, row))
            case "logonce":
                words = f"{event.detail} of {event.name}"
                sequence.arrows.append(Arrow("message", words, event.node, VOTE_STORE, row, row + _LEAST_FALL))
            case "logged":
                words = f"{event.name}: {Vote.read(event).vote}"
                sequence.arrows.append(Arrow("confirmation", words, VOTE_STORE, event.node, row - _LEAST_FALL, row))
            case "deliver":
                again = event.cause is not None and (event.cause, event.node) in _delivered(events, event)
                sequence.arrows.append(
                    Arrow("delivery", event.name, BROKER, event.node, row - _LEAST_FALL, row, repeated=again)
                )
            case "send" | "drop" | "receive":  # below, with its fate; what reaches the broker ends a publication
                pass
            case None:  # it stands on one lane
                pass
            case _:
                assert_never(kind)
    for event in events:
        if event.kind == "send" and event.id not in arrived:
            top, fate = rows[event.id], fates.get(event.id)
            bottom = max(rows[fate.id] if fate else top, top + _LEAST_FALL)
            deaths = _deaths(events, event.peer) if fate is None else []
            refused = Dropped.read(fate).down if fate else any(crash <= event.time < back for crash, back in deaths)
            arrow = Arrow("message", event.name, event.node, event.peer, top, bottom, at_target=refused)
            # what a process had not read when it died is gone
            arrow.lost = fate is not None or any(event.time < back for _, back in deaths)
            arrow.under_way = not arrow.lost
            sequence.arrows.append(arrow)


def _deaths(events: list[LogEntry], node: str) -> list[tuple[float, float]]:
    """Times at which the process of a node died, and at which the next one began: a real network does not say why nothing arrives."""
    found: list[tuple[float, float]] = []
    for event in events:
        if event.kind not in ("crash", "restart") or not event.node == node == Process.read(event).name:
            continue
        if event.kind == "crash":
            found.append((event.time, math.inf))
        elif found:
            found[-1] = (found[-1][0], event.time)
    return found


def _delivered(events: list[LogEntry], until: LogEntry) -> set[tuple[int | None, str]]:
    """(publication, consumer) of the deliveries before one of them."""
    return {(event.cause, event.node) for event in events if event.kind == "deliver" and event.id < until.id}


def _mark(events: list[LogEntry], rows: dict[int, float], sequence: Sequence, changes: dict[int, str]) -> None:
    """Log records and everything else that sits on one lane."""
    for event in events:
        kind = _TICKS.get(event.kind) or _MARKS.get(event.kind)
        if kind is None:  # an arrow
            continue
        label = label_of(event, kind, changes.get(event.id, ""))
        label = "\n".join(_wrapped(label)) if kind == "alert" else label
        sequence.marks.append(Mark(_symbol(event, kind), label, event.node, rows[event.id]))


def _symbol(event: LogEntry, kind: TickKind | MarkKind) -> Symbol:
    """Choose the symbol of something on one lane."""
    match kind:
        case "append" | "transact" | "execute" | "prepare" | "commit" | "rollback":
            return durability(event, kind)
        case "suspect":
            return "alert"
        case "timer" | "decided" | "alert" | "crash" | "restart" | "lost":
            return kind
        case _:
            assert_never(kind)


def durability(event: LogEntry, kind: TickKind) -> Written:
    """Way of a store or log entry to the disk: ``forced``, ``lazy``, or ``volatile`` if nothing was written."""
    match kind:
        case "append":
            return "forced" if Durability.read(event).forced else "lazy"
        case "rollback":
            return "forced" if BranchEnded.read(event).forced else "lazy"
        case "commit":
            return "forced"
        case "transact" | "prepare":
            return "forced" if Worked.read(event).forced else "volatile"
        case "execute":
            return "volatile"
        case _:
            assert_never(kind)


def _stretch(events: list[LogEntry], rows: dict[int, float], sequence: Sequence) -> None:
    """Down times and in-doubt times."""
    down: dict[str, float] = {}
    doubt: dict[str, float] = {}
    for event in events:
        row = rows[event.id]
        if event.kind == "crash" and not _other_process(event):
            down.setdefault(event.node, row)
        elif event.kind == "restart" and not _other_process(
            event
        ):  # a crash that is not here was before the first event
            sequence.spans.append(Span("down", event.node, down.pop(event.node, 0.0), row))
        elif event.kind == "prepare" and status_of(event) == "done":
            doubt.setdefault(event.node, row)
        elif event.kind in ("commit", "rollback") and event.node in doubt:
            sequence.spans.append(Span("in-doubt", event.node, doubt.pop(event.node), row))
    sequence.spans.extend(Span("down", node, top, sequence.rows) for node, top in down.items())
    sequence.spans.extend(Span("in-doubt", node, top, sequence.rows) for node, top in doubt.items())
