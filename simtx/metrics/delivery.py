"""What a broker has lost, in one line: a strategy that goes through a broker relies on one that gives nothing up."""

from __future__ import annotations

from collections.abc import Mapping


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
