"""Counters of a whole run: each is declared here alone, with the entries of an event log that it counts.

The simulator adds to ``ledger.counts``, a replay counts the entries, and results, strata and intervals take the rest from this list. So a counter that
is new needs its line here, the place in the simulator where it happens, a label in `simtx.report.catalogue`, and its definition in docs/metrics.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from simtx.event_log.entries import EntryKind


class Entries(NamedTuple):
    """Entries of the event log that a counter counts.

    Attributes:
        kind: Their kind.
        name: Their name; empty: any.
    """

    kind: EntryKind
    name: str = ""


COUNTERS: Final[Mapping[str, Entries]] = MappingProxyType(
    {
        "alerts": Entries("alert"),
        "deadlocks": Entries("wait", "deadlock"),
        "lock_timeouts": Entries("wait", "timeout"),
        "faults": Entries("fault"),
        "breaker_rejections": Entries("reject"),
        "requests_repeated": Entries("ask"),
    }
)
"""Counters by the name of the metric, in the order of the summary."""


def by_kind() -> dict[str, list[tuple[str, str]]]:
    """The counters as a replay looks them up: by the kind of an entry, its name (empty: any) and the counter."""
    found: dict[str, list[tuple[str, str]]] = {}
    for counter, entries in COUNTERS.items():
        found.setdefault(entries.kind, []).append((entries.name, counter))
    return found
