"""Finds where two event logs part: the first thing that happened in one of them and not in the other, and what led there.

Two logs are compared transaction by transaction: what happened on each node, and how often. Clocks and ids are not compared, nor how long
something took; nor, unless that is asked for, in which order things happened on a node. Two messages that are under way at the same time may
arrive in either order, and both are right. What belongs to no single transaction is compared as far as it is a fault: crashes, restarts, faults.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

import pandas as pd

from simtx.event_log.entries import Applied, BranchEnded
from simtx.event_log.log import EventLog, LogEntry
from simtx.views import view

Compared: TypeAlias = Literal["entries", "outcomes"]

HAPPENED: Final = frozenset(
    (
        "arrive", "request", "receive", "deliver", "timer", "send", "reject", "append", "transact", "execute", "prepare", "commit", "rollback",
        "publish", "confirm", "acknowledge", "answer", "decided", "suspect", "alert", "logonce", "logged", "lost", "refuse", "apply", "drop", "redeliver", "ask", "give-up",
        "crash", "restart", "fault", "healed", "doubt", "unpublished", "unfinished",
    )
)  # fmt: skip
"""Kinds of entries that are compared. The others say how long something took or waited, or say the same once more for a replay."""
_FAULTS: Final = frozenset(("crash", "restart", "fault", "healed"))
_NOWHERE: Final = frozenset(("unfinished",))  # the log does not say where alike in every world
_NOTHING: Final = 1e-9  # a sum of changes that undo each other
_LONGEST: Final = 400  # entries of a chain of causes: a transaction that is retried for ever has a long one

Signature: TypeAlias = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Parting:
    """A parting: a transaction, or the faults, went different ways from here on.

    Attributes:
        tx: The transaction; -1: what belongs to none.
        a: The first entry of the first log that the second has not; None: it has them all.
        b: The first entry of the second log that the first has not; None: it has them all.
        chain_a: What led to `a`, from the client's request or a fault on; the last one is `a`.
        chain_b: What led to `b`.
    """

    tx: int
    a: LogEntry | None
    b: LogEntry | None
    chain_a: tuple[LogEntry, ...] = ()
    chain_b: tuple[LogEntry, ...] = ()

    @property
    def time(self) -> float:
        """Its time, in seconds since the start of the run: the earlier of the two."""
        return min(one.time for one in (self.a, self.b) if one is not None)


@dataclass(slots=True)
class Difference:
    """Differences of two event logs.

    Attributes:
        names: What the two are called.
        first: Where they part first; None: nowhere.
        partings: Where each transaction that differs parts, by time; that of the faults among them.
        alike: How many transactions are the same in both.
        compared: Entries that were compared, in each.
        what: ``entries`` or ``outcomes``.
        order: Whether the order of the entries on a node was compared, too.
        outcomes: Transactions with another outcome: number, and what was decided in each; empty: nothing was.
        notes: What is known to be different of the runs: scenario, strategy, seed, version.
    """

    names: tuple[str, str]
    first: Parting | None
    partings: list[Parting]
    alike: int
    compared: tuple[int, int]
    what: Compared
    order: bool
    outcomes: list[tuple[int, str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def same(self) -> bool:
        """Return whether nothing of what is compared is different."""
        return self.first is None

    def frame(self) -> pd.DataFrame:
        """One row for each transaction that differs: the first entry of each log that the other has not."""
        rows = [(one.tx, one.time, *_short(one.a), *_short(one.b)) for one in self.partings]
        names = ["tx", "time_s", "node_a", "entry_a", "node_b", "entry_b"]
        return pd.DataFrame(rows, columns=names)

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON can write it; of the partings the first only, and the numbers of the transactions."""
        first = None
        if self.first is not None:
            chains = {"chain_a": self.first.chain_a, "chain_b": self.first.chain_b}
            first = {"tx": self.first.tx, **{name: [one._asdict() for one in chain] for name, chain in chains.items()}}
        return {
            "same": self.same,
            "names": list(self.names),
            "what": self.what,
            "order": self.order,
            "alike": self.alike,
            "compared": list(self.compared),
            "first": first,
            "transactions": [one.tx for one in self.partings],
            "outcomes": [{"tx": tx, "a": one, "b": other} for tx, one, other in self.outcomes],
            "notes": list(self.notes),
        }

    def __repr__(self) -> str:
        a, b = self.names
        found = (
            "the same"
            if self.first is None
            else f"{len(self.partings)} of {self.alike + len(self.partings)} transactions differ"
        )
        return f"<Difference of {a} and {b}: {found}>"

    def __str__(self) -> str:
        return str(view("difference-text")(self))

    def _repr_html_(self) -> str:
        return str(view("difference-html")(self))


_WHERE: Final = {
    "receive": "from",
    "deliver": "from",
    "request": "from",
    "confirm": "from",
    "logged": "from",
    "suspect": "of",
    "arrive": "at",
    "drop": "for",
}
_WORDS: Final = 90  # characters of a detail


def words(entry: LogEntry) -> str:
    """An entry in a few words: ``send prepare to sender``."""
    peer = f" {_WHERE.get(entry.kind, 'to')} {entry.peer}" if entry.peer else ""
    detail = _said(entry)
    detail = detail if len(detail) <= _WORDS else f"{detail[: _WORDS - 3]}..."
    return f"{entry.kind} {entry.name}".strip() + peer + (f" ({detail})" if detail else "")


def difference(
    a: EventLog,
    b: EventLog,
    *,
    what: Compared = "entries",
    order: bool = False,
    names: tuple[str, str] = ("A", "B"),
    notes: Iterable[str] = (),
) -> Difference:
    """Compare two event logs.

    Args:
        a: One of them.
        b: The other.
        what: ``entries``: all that happened; ``outcomes``: what was asked for, what was decided, and how values have changed in the end, which can be
            compared between strategies.
        order: Also in which order it happened, on each node in each transaction.
        names: What to call the two.
        notes: What is known to be different of the runs.
    """
    lanes_a, lanes_b = _lanes(a, what), _lanes(b, what)
    partings = []
    transactions = sorted({tx for tx, _ in lanes_a} | {tx for tx, _ in lanes_b})
    causes_a, causes_b = Causes(a), Causes(b)
    of_a, of_b = _by_transaction(lanes_a), _by_transaction(lanes_b)
    for tx in transactions:
        left: list[LogEntry] = []
        right: list[LogEntry] = []
        for node in sorted(of_a[tx] | of_b[tx]):
            ours, theirs = lanes_a.get((tx, node), ()), lanes_b.get((tx, node), ())
            only_a, only_b = (_in_order if order else _unmatched)(ours, theirs)
            left += only_a
            right += only_b
        if left or right:
            first_a, first_b = (min(found, key=lambda one: one.id, default=None) for found in (left, right))
            partings.append(Parting(tx, first_a, first_b, causes_a.of(first_a), causes_b.of(first_b)))
    partings.sort(key=lambda one: (one.time, one.tx))
    number = len([tx for tx in transactions if tx >= 0])
    return Difference(
        names,
        partings[0] if partings else None,
        partings,
        number - len([one for one in partings if one.tx >= 0]),
        (sum(map(len, lanes_a.values())), sum(map(len, lanes_b.values()))),
        what,
        order,
        _outcomes(a, b),
        list(notes),
    )


def chain(trace: EventLog, entry: LogEntry | None) -> tuple[LogEntry, ...]:
    """Chain of causes of an entry, from the client's request, a timer of nobody or a fault on; the last one is the entry itself.

    A relay publishes what a local transaction has written, though no entry is its cause: there the chain goes on with that local transaction. The
    faults in force on the nodes of the chain are not in it: they cause nothing, they prevent.
    """
    return Causes(trace).of(entry)


class Causes:
    """Chains of causes in one event log.

    Args:
        trace: The log.
    """

    def __init__(self, trace: EventLog) -> None:
        self._trace = trace
        whole = not len(trace) or trace[len(trace) - 1].id == len(trace) - 1
        self._entries: EventLog | dict[int, LogEntry] = trace if whole else {one.id: one for one in trace}
        self._written: dict[tuple[int, str], list[int]] | None = None

    def of(self, entry: LogEntry | None) -> tuple[LogEntry, ...]:
        """Entries that led to an entry; see `chain`."""
        if entry is None:
            return ()
        found = [entry]
        while len(found) < _LONGEST:
            last = found[-1]
            before = self._entry(last.cause) if last.cause is not None and last.cause < last.id else self._writer(last)
            if before is None:
                break
            found.append(before)
        return tuple(reversed(found))

    def _writer(self, entry: LogEntry) -> LogEntry | None:
        """The local transaction that wrote what a relay publishes; None for anything else."""
        if entry.kind != "publish" or entry.tx < 0:
            return None
        if self._written is None:
            self._written = defaultdict(list)
            for one in self._trace:
                if one.kind in ("transact", "commit"):
                    self._written[one.tx, one.node].append(one.id)
        ids = self._written.get((entry.tx, entry.node), [])
        place = bisect_left(ids, entry.id)
        return self._entry(ids[place - 1]) if place else None

    def _entry(self, number: int) -> LogEntry | None:
        """The entry of this id; None if it is not in this part of a log."""
        return self._entries.get(number) if isinstance(self._entries, dict) else self._entries[number]


# --- comparing ----------------------------------------------------------------------------------------------------------------

_Lanes: TypeAlias = dict[tuple[int, str], list[tuple[Signature, LogEntry]]]


def _lanes(trace: EventLog, what: Compared) -> _Lanes:
    """Entries that are compared, by transaction and node, in their order."""
    if what == "outcomes":
        return _net(trace)
    found: _Lanes = defaultdict(list)
    for entry in trace:
        if entry.kind not in HAPPENED or (entry.tx < 0 and entry.kind not in _FAULTS):
            continue
        node = "" if entry.kind in _NOWHERE else entry.node
        actor = (
            "" if entry.kind == "apply" else entry.actor
        )  # of a change that its process did not live to log, the store says
        found[entry.tx, node].append(((entry.kind, actor, entry.peer, entry.name, _said(entry)), entry))
    return dict(found)


def _net(trace: EventLog) -> _Lanes:
    """Requests, first decisions, and what is different in the end of each value: one lane a transaction."""
    found: _Lanes = defaultdict(list)
    decided: set[int] = set()
    changes: dict[tuple[int, str, str], tuple[float, LogEntry]] = {}
    for entry in trace:
        if entry.kind == "arrive":
            found[entry.tx, ""].append((("arrive", entry.detail), entry))
        elif entry.kind == "decided" and entry.tx not in decided:
            decided.add(entry.tx)
            found[entry.tx, ""].append((("decided", entry.name), entry))
        elif entry.kind == "apply":
            for key, (old, new) in Applied.read(entry).values.items():
                place = (entry.tx, entry.node, key)
                changes[place] = (changes[place][0] if place in changes else 0.0) + new - old, entry
    for (tx, node, key), (change, entry) in changes.items():
        if abs(change) > _NOTHING:
            found[tx, ""].append((("changed", node, key, round(change, 6)), entry))
    return dict(found)


def _by_transaction(lanes: _Lanes) -> dict[int, set[str]]:
    found: dict[int, set[str]] = defaultdict(set)
    for tx, node in lanes:
        found[tx].add(node)
    return found


_Side: TypeAlias = Sequence[tuple[Signature, LogEntry]]


def _unmatched(ours: _Side, theirs: _Side) -> tuple[list[LogEntry], list[LogEntry]]:
    """Entries that each has and the other has not: of what happened more often here than there, the later ones."""
    many, few = (Counter(signature for signature, _ in side) for side in (ours, theirs))
    return list(_beyond(ours, few)), list(_beyond(theirs, many))


def _beyond(side: _Side, there: Counter[Signature]) -> Iterator[LogEntry]:
    seen: Counter[Signature] = Counter()
    for signature, entry in side:
        seen[signature] += 1
        if seen[signature] > there[signature]:
            yield entry


def _in_order(ours: _Side, theirs: _Side) -> tuple[list[LogEntry], list[LogEntry]]:
    """The first entries that differ."""
    for (mine, one), (yours, other) in zip(ours, theirs, strict=False):
        if mine != yours:
            return [one], [other]
    shorter = min(len(ours), len(theirs))
    return [entry for _, entry in ours[shorter : shorter + 1]], [entry for _, entry in theirs[shorter : shorter + 1]]


def _said(entry: LogEntry) -> str:
    """The detail of an entry, without what the clock and other transactions have put into it."""
    if entry.kind == "apply":
        values = Applied.read(entry).values
        return ", ".join(f"{key} {new - old:+g}" for key, (old, new) in sorted(values.items()))
    if entry.kind in ("commit", "rollback"):
        return BranchEnded.read(entry).durability
    if entry.kind in ("doubt", "unpublished", "restart", "crash", "ask"):
        return ""
    return entry.detail


def _short(entry: LogEntry | None) -> tuple[str, str]:
    return ("", "") if entry is None else (entry.node, words(entry))


def _outcomes(a: EventLog, b: EventLog) -> list[tuple[int, str, str]]:
    """Transactions whose outcomes differ."""
    ours, theirs = ({one.tx: one.name for one in trace if one.kind == "decided"} for trace in (a, b))
    both = sorted(set(ours) | set(theirs))
    return [(tx, ours.get(tx, ""), theirs.get(tx, "")) for tx in both if ours.get(tx) != theirs.get(tx)]
