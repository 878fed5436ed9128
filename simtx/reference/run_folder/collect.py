"""Collects the `Run` of a real run: the logs of all processes in one order, the histories of the stores, the last values."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from simtx.event_log.entries import Applied, Arrived, Durability, Process
from simtx.event_log.log import EventLog, LogEntry
from simtx.metrics.replay import data_from_trace
from simtx.metrics.run import Run
from simtx.metrics.timeline import not_measured
from simtx.protocols.extras import extras
from simtx.protocols.names import PRESUMPTION
from simtx.scenario.advice import unreachable

if TYPE_CHECKING:
    from simtx.protocols import Strategy
    from simtx.reference.stores.base import Change, Store
    from simtx.scenario import Scenario

_ALL: Final = 2**31 - 1  # rows
_NO_TRACE: Final = frozenset(
    {"arrive", "ask", "drop", "give-up", "suppress", "handle", "serve", "free", "wait", "unlock"}
)
"""Kinds of entries about a transaction of which nothing was sent or written."""


@dataclass(frozen=True, slots=True)
class Left:
    """Open branches and rows of one store when its process had ended.

    Attributes:
        branches: For each prepared branch of this run: its transaction, and when it was prepared, in seconds of `time.monotonic`.
        unpublished: For each outbox row that is not marked: its transaction and the kind of its message.
    """

    branches: tuple[tuple[int, float], ...] = ()
    unpublished: tuple[tuple[int, str], ...] = ()

    @classmethod
    def of(cls, store: Store) -> Left:
        """Open branches and rows of this store."""
        now = time.monotonic()
        branches = ((one.tx, now - one.age) for one in store.branches() if one.record is not None)
        outbox = store.read_outbox(_ALL) if store.pending_outbox() else ()
        return cls(tuple(branches), tuple((row[1].tx, row[1].kind) for row in outbox))


def still_open(rows: Iterable[list[Any]], left: Mapping[str, Left], end: float) -> list[list[Any]]:
    """Entries about what is still open in the stores at the end of the run.

    A prepared branch holds the locks of the rows that it has changed, from the moment at which it was prepared at the latest; which rows
    those are is known from its plan.

    Args:
        rows: The entries so far.
        left: What was found, by service.
        end: The end of the run, on the clock of the entries.
    """
    open_branches = {tx for one in left.values() for tx, _ in one.branches}
    plans = {
        row[4]: Arrived.read(LogEntry._make(row)).steps
        for row in rows
        if row[2] == "arrive" and row[4] in open_branches
    }
    found: list[list[Any]] = []
    for service, one in left.items():
        for tx, since in one.branches:
            doubt = max(0.0, end - since)
            found.append([None, end, "doubt", service, tx, None, "store", "", "", repr(doubt)])
            operations = [each for where, step in plans.get(tx, ()) if where == service for each in step]
            keys = list(dict.fromkeys(key for key, kind, _ in operations if kind in ("add", "set")))
            if keys:
                held = repr(doubt * len(keys))
                found.append([None, end, "held", service, tx, None, "store", "", ",".join(keys), held])
        found += [[None, end, "unpublished", service, tx, None, "store", "", kind, ""] for tx, kind in one.unpublished]
    return found


def histories(rows: list[list[Any]], changes: Mapping[str, Iterable[Change]]) -> list[str]:
    """Bring the entries about changed values into line with the stores' own histories, which are the truth.

    A change that its process did not live to log gets an entry, at the time that the store gives it; one that was logged keeps its entry.

    Args:
        rows: The entries; changed in place.
        changes: History by service.

    Returns:
        One line for each logged change that the store does not have: a commit that was lost.
    """
    logged: dict[tuple[str, int], list[Any]] = {}
    for row in rows:
        if row[2] == "apply":
            number = Applied.read(LogEntry._make(row)).history
            if number >= 0:
                logged[row[3], number] = row
    for service, history in changes.items():
        for change in history:
            if logged.pop((service, change.number), None) is None:
                detail = Applied(change.steps, change.changes, history=change.number).text()
                phase = "compensation" if change.compensation else "action"
                rows.append([None, change.time, "apply", service, change.tx, None, "store", "", phase, detail])
    return [
        f"{service}: change {number} of transaction {row[4]} was acknowledged and is not in the store"
        for (service, number), row in sorted(logged.items())
    ]


def presumed(rows: Iterable[list[Any]], strategy: Strategy, *, asked_again: bool = False) -> list[list[Any]]:
    """Decisions that nobody has made: what a node had begun before it was killed, and that can never commit, is aborted from its restart on.

    At a hub that presumes abort this is all of which it has no record; at any node, what has left no trace, neither sent nor written. Whatever the
    rest of the log says of an outcome, of a forced record or of an effect goes before it: the kill may have cut off lines.

    Args:
        rows: The entries so far.
        strategy: Who was played.
        asked_again: Whether clients ask again for what was lost.
    """
    hub = strategy.hub if extras(strategy).presumption == "abort" else None
    begun: dict[int, tuple[str, float]] = {}
    known: set[int] = set()
    traces: set[int] = set()
    restarts: dict[str, list[float]] = {}
    for row in rows:
        _, moment, kind, node, tx = row[:5]
        if kind == "request" and tx >= 0:
            begun[tx] = node, moment
        elif kind == "restart":
            if not Process.read(LogEntry._make(row)).beside(node):
                restarts.setdefault(node, []).append(moment)
        elif kind in ("decided", "apply") or (
            kind == "append" and node == hub and Durability.read(LogEntry._make(row)).forced
        ):
            known.add(tx)
        elif kind not in _NO_TRACE:
            traces.add(tx)
    found = []
    for tx, (node, since) in begun.items():
        back = min((moment for moment in restarts.get(node, ()) if moment > since), default=None)
        if back is not None and tx not in known and (node == hub or (tx not in traces and not asked_again)):
            found.append([None, back, "decided", node, tx, None, PRESUMPTION, "", "aborted", ""])
    return found


def merged(rows: list[list[Any]], origin: float) -> EventLog:
    """The entries in the order of their times, numbered anew, in seconds from the origin."""
    rows.sort(key=lambda row: row[1])  # stable: entries of one process at the same time keep their order
    numbers = {row[0]: position for position, row in enumerate(rows) if row[0] is not None}
    return EventLog(
        LogEntry(position, row[1] - origin, row[2], row[3], row[4], numbers.get(row[5]), row[6], row[7], row[8], row[9])
        for position, row in enumerate(rows)
    )


def gather(
    scenario: Scenario,
    strategy: Strategy,
    seed: int,
    *,
    rows: list[list[Any]],
    origin: float,
    end: float,
    changes: Mapping[str, Iterable[Change]],
    values: Mapping[str, Mapping[str, float]],
    unfinished: Iterable[int],
    waiting: Collection[int] = (),
    left: Mapping[str, Left] | None = None,
    notes: Iterable[str] = (),
    extra: Mapping[str, float] | None = None,
) -> Run:
    """Make the run.

    Args:
        scenario: What was played.
        strategy: By whom.
        seed: Of the transactions.
        rows: All log entries.
        origin: The run's zero, on the clock of the entries.
        end: Its end, likewise.
        changes: The stores' histories by service.
        values: Last committed values by service and key.
        unfinished: Transactions that were still being worked on.
        waiting: Those of them that no machine works on, of which only messages or outbox rows wait.
        left: What was open in the stores at the end, by service.
        notes: What the user has to know of the run beside its numbers.
        extra: Figures that are not in the log, such as those of derived stores.
    """
    for row in rows:
        if row[2] == "used":  # processes end behind the run, which they belong to
            row[1] = min(row[1], end)
    problems = histories(rows, changes)
    asked_again = scenario.clients.ask_again == "unanswered" and extras(strategy).recognises_requests
    rows.extend(presumed(rows, strategy, asked_again=asked_again))
    rows.extend(still_open(rows, left or {}, end))
    rows.extend(
        [None, end, "unfinished", "", tx, None, "", "", "data" if tx in waiting else "machine", ""] for tx in unfinished
    )
    rows.append([None, end, "end", "", -1, None, "", "", "", str(len(rows))])
    trace = merged(rows, origin)
    data = data_from_trace(trace, scenario, values, broker=strategy.uses_broker)
    data.origin = origin
    data.extra.update(extra or {})
    if unknown := not_measured(data):
        problems.append(
            f"not measured in a real run: {unknown} of the timeline; backlog and recovery are without what waits there"
        )
    digest = hashlib.sha256()
    for name in sorted(data.columns):
        digest.update(f"{name}:{list(data.columns[name])!r}".encode())
    data.digest = digest.hexdigest()
    return Run(
        scenario,
        strategy,
        seed,
        0,
        data,
        trace,
        [*scenario.warnings, *unreachable(scenario, {strategy.name: strategy}), *problems, *notes],
    )
