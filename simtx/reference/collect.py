"""What a real run has left behind, as a `Run`: the logs of all processes in one order, the histories of the stores, the last values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simtx.metrics.replay import data_from_trace
from simtx.metrics.run import Run
from simtx.metrics.trace import Trace, TraceEvent

if TYPE_CHECKING:
    from simtx.protocols import Strategy
    from simtx.reference.stores.base import Change
    from simtx.scenario import Scenario


def entries(files: Iterable[Path]) -> list[list[Any]]:
    """All entries of all log files; a last line that a SIGKILL has cut off is left out."""
    found = []
    for path in files:
        text = path.read_text(encoding="utf-8", errors="replace")
        for line in text.split("\n"):  # and nowhere else
            try:
                found.append(json.loads(line))
            except ValueError:
                continue  # the write that the kill interrupted
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
            number = json.loads(row[9]).get("history", -1)
            if number >= 0:
                logged[row[3], number] = row
    for service, history in changes.items():
        for change in history:
            if logged.pop((service, change.number), None) is None:
                detail = json.dumps({"steps": list(change.steps), "values": change.changes, "history": change.number})
                phase = "compensation" if change.compensation else "action"
                rows.append([None, change.time, "apply", service, change.tx, None, "store", "", phase, detail])
    return [
        f"{service}: change {number} of transaction {row[4]} was acknowledged and is not in the store"
        for (service, number), row in sorted(logged.items())
    ]


def merged(rows: list[list[Any]], origin: float) -> Trace:
    """The entries in the order of their times, numbered anew, in seconds from the origin."""
    rows.sort(key=lambda row: row[1])  # stable: entries of one process at the same time keep their order
    numbers = {row[0]: position for position, row in enumerate(rows) if row[0] is not None}
    return Trace(
        TraceEvent(
            position, row[1] - origin, row[2], row[3], row[4], numbers.get(row[5]), row[6], row[7], row[8], row[9]
        )
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
    """
    problems = histories(rows, changes)
    rows.extend(
        [None, end, "unfinished", "", tx, None, "", "", "data" if tx in waiting else "machine", ""] for tx in unfinished
    )
    rows.append([None, end, "end", "", -1, None, "", "", "", str(len(rows))])
    trace = merged(rows, origin)
    data = data_from_trace(trace, scenario, values)
    data.origin = origin
    digest = hashlib.sha256()
    for name in sorted(data.columns):
        digest.update(f"{name}:{list(data.columns[name])!r}".encode())
    data.digest = digest.hexdigest()
    return Run(scenario, strategy, seed, 0, data, trace, [*scenario.warnings(), *problems])
