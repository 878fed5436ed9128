"""Versions of events in a scenario: which there are, who can read what, and rolling upgrades."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

EventVersion: TypeAlias = Literal["1.0", "2.0", "2.1", "3.0"]
"""Versions of the form of events, oldest first; `simtx.protocols.event_schema` has the forms themselves."""
Unread: TypeAlias = Literal["stop", "dead-letter"]
"""Treatment of an event that its consumer cannot read: it stops the lane until it is upgraded, or sets the event aside and goes on."""

CURRENT: Final[EventVersion] = "2.0"
"""The version that everybody speaks if nothing else is said."""
VERSIONS: Final[tuple[EventVersion, ...]] = get_args(EventVersion)


def readable(event: EventVersion, reader: EventVersion) -> bool:
    """Return whether a process can read an event.

    Older forms are brought up to date, fields of newer minor versions are left out, a newer major version is refused.
    """
    return int(event.partition(".")[0]) <= int(reader.partition(".")[0])


@dataclass(frozen=True, slots=True)
class EventsSpec:
    """Versions of events before any upgrade.

    A message from another node that cannot be read is refused, and is as good as lost.

    Attributes:
        version: What every process reads and writes at the start.
        unread: What a consumer does with an event that it cannot read: ``stop`` its lane (a transaction, or a partition) until it is upgraded, or take it
            for a ``dead-letter`` and go on.
    """

    version: EventVersion = CURRENT
    unread: Unread = "stop"


@dataclass(frozen=True, slots=True)
class Upgrade:
    """One node is stopped in order, and started again with another version. Times are in seconds.

    Attributes:
        node: A service, or ``hub``.
        at: When.
        to: The version that it reads from then on, with all older ones.
        writes: The version that it writes.
        duration: For how long it is away meanwhile, when it is simulated.
    """

    node: str
    at: float
    to: EventVersion
    writes: EventVersion
    duration: float
