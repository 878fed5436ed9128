"""Fates of deliveries, where a broker is not plain: figures from an event log, and what was given up in one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from simtx.event_log.entries import DEAD_LETTER, POISON, RETENTION
from simtx.event_log.log import LogEntry

if TYPE_CHECKING:
    from simtx.scenario import Scenario

_COUNTED: Final = ("redeliveries", "failed_deliveries", "dead_letters", "events_dropped")
_BY_BROKER: Final = "stored_again"
_UPGRADED: Final = ("lanes_stopped", "dead_letters")

FIGURES: Final = frozenset((*_COUNTED, *_UPGRADED, _BY_BROKER, "messages_unread"))
"""Figures of deliveries that are counted."""

OF_DELIVERIES: Final = frozenset(("refuse", "drop", "stop", "stored-again"))
"""Kinds of entries that say what became of a delivery."""

_COUNTS: Final[Mapping[tuple[str, str], str]] = {
    ("refuse", POISON): "failed_deliveries",
    ("drop", DEAD_LETTER): "dead_letters",
    ("drop", RETENTION): "events_dropped",
    ("stored-again", ""): _BY_BROKER,
}


def counted(event: LogEntry) -> str:
    """The figure that an entry of these kinds counts for; empty: none."""
    if event.kind == "stop":
        return "lanes_stopped"
    return _COUNTS.get((event.kind, event.detail), "")


def figures(counts: Mapping[str, int], scenario: Scenario, lag: int | None = None) -> dict[str, float]:
    """The figures that an event log holds and that not every run has.

    Args:
        counts: What was counted, by `counted`; redeliveries, too.
        scenario: What was played.
        lag: The most events that waited in one partition; None: the log is that of a broker which does not write down what it stores.
    """
    names = (_COUNTED if scenario.broker.special else ()) + (_UPGRADED if scenario.upgrades else ())
    found = {name: float(counts[name]) for name in names}
    if scenario.broker.special and lag is not None:
        found[_BY_BROKER] = float(counts[_BY_BROKER])
        if scenario.broker.partitions:
            found["partition_lag_max"] = float(lag)
    return found


def given_up(figures: Mapping[str, float]) -> str:
    """A warning about events that nobody will ever handle; empty if there are none.

    Args:
        figures: Those of a run that are not counted for every run (`RunData.extra`).
    """
    dead, dropped = int(figures.get("dead_letters", 0)), int(figures.get("events_dropped", 0))
    parts = [
        f"{number:,} {one if number == 1 else several}"
        for number, one, several in (
            (dead, "event is a dead letter", "events are dead letters"),
            (dropped, "event was dropped by the broker", "events were dropped by the broker"),
        )
        if number
    ]
    if not parts:
        return ""
    return f"{' and '.join(parts)}: what should have followed has not happened, which no strategy can mend; an operator has to"
