"""Counters of queues: who came, who left, for how long each was there; the figures that laws of operation are about.

A *station* is a place where something waits or is served: the queue in front of a service's workers, the workers, the local transactions that
wait for row locks. It counts in two ways that know nothing of each other: how many are there, over time (from the times of entries and exits), and
how long each has stayed (told by who leaves). Little's law binds the two, so that a difference tells of a mistake, or of a queue that is not in a
steady state.

Source: P. J. Denning, J. P. Buzen, "The operational analysis of queueing network models", ACM Computing Surveys 10(3), 1978.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class Station:
    """Counts at one place, since the start of a run. Times in seconds.

    Attributes:
        arrivals: How many have entered.
        departures: How many have left.
        present: How many are there now.
        stayed: Sum of the times that those who left have been there.
        entries: Sum of the times at which anybody has entered.
        exits: Likewise, of those who left.
    """

    __slots__ = ("arrivals", "departures", "entries", "exits", "present", "stayed")

    def __init__(self) -> None:
        self.arrivals = 0
        self.departures = 0
        self.present = 0
        self.stayed = 0.0
        self.entries = 0.0
        self.exits = 0.0

    def enter(self, now: float) -> None:
        """Note that somebody comes."""
        self.arrivals += 1
        self.present += 1
        self.entries += now

    def leave(self, now: float, since: float) -> None:
        """Note that somebody leaves, who has been here since then."""
        self.departures += 1
        self.present -= 1
        self.exits += now
        self.stayed += now - since

    def clear(self, now: float) -> None:
        """A crash: whoever was here is gone, and has not been served."""
        self.exits += now * self.present
        self.present = 0

    def restore(
        self, arrivals: int, departures: int, present: int, stayed: float, entries: float, exits: float
    ) -> None:
        """Take what somebody else has counted, who played this station."""
        self.arrivals, self.departures, self.present = arrivals, departures, present
        self.stayed, self.entries, self.exits = stayed, entries, exits

    def until(self, now: float) -> Counts:
        """Counts from the start of the run until now."""
        presence = self.exits - self.entries + now * self.present
        return Counts(self.arrivals, self.departures, self.present, presence, self.stayed)


class Counts(NamedTuple):
    """Counts of a station over a time.

    Attributes:
        arrivals: Who has entered.
        departures: Who has left.
        present: Who was there at the end.
        presence: Sum over time of how many were there, in seconds.
        stayed: Sum of the times that those who left had been there, in seconds.
    """

    arrivals: int = 0
    departures: int = 0
    present: int = 0
    presence: float = 0.0
    stayed: float = 0.0

    def since(self, before: Counts) -> Counts:
        """Counts between two times, of which `before` is the first."""
        return Counts(
            self.arrivals - before.arrivals,
            self.departures - before.departures,
            self.present,
            self.presence - before.presence,
            self.stayed - before.stayed,
        )


class Locks(NamedTuple):
    """Row locks of one store, over a time.

    Attributes:
        taken: Locks that were let go.
        held: Sum of the times for which they had been held, in lock-seconds.
    """

    taken: int = 0
    held: float = 0.0

    def since(self, before: Locks) -> Locks:
        """Counts between two times, of which `before` is the first."""
        return Locks(self.taken - before.taken, self.held - before.held)


@dataclass(frozen=True, slots=True)
class Stations:
    """Counts that a host has made of its queues in the measured window, by service.

    Attributes:
        arrivals: Transactions that clients have asked for in the whole run, as the clients count them.
        queues: Local transactions that wait for a worker; a real run's log does not tell.
        workers: Local transactions that a worker is with, from the start of their service until they are durable.
        work: Service time that workers have begun, in worker-seconds; without the waits for locks and disks.
        waits: Local transactions that wait for row locks.
        locks: Row locks.
        logs: Busy share of each log device that makes one flush a record (``serial``), the hub's included; a real disk does not tell.
        processes: Share of the time in which the process of each node on a host has something to do, the time that it waits for a core included.
    """

    arrivals: int
    queues: Mapping[str, Counts] = field(default_factory=dict)
    workers: Mapping[str, Counts] = field(default_factory=dict)
    work: Mapping[str, float] = field(default_factory=dict)
    waits: Mapping[str, Counts] = field(default_factory=dict)
    locks: Mapping[str, Locks] = field(default_factory=dict)
    logs: Mapping[str, float] = field(default_factory=dict)
    processes: Mapping[str, float] = field(default_factory=dict)
