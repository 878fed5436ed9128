"""Course of a consumer group: owners of partitions, pauses of instances, events that waited. A picture draws it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

Strange: TypeAlias = Literal["refused", "again", "late"]


class Rebalance(NamedTuple):
    """A rebalance.

    Attributes:
        begin: When the coordinator has given partitions to others, in seconds.
        end: When the last of the new owners has begun.
        instance: Because of whom.
        why: Whether it sent no heartbeat (``silent``), or came back (``back``).
    """

    begin: float
    end: float
    instance: str
    why: Literal["silent", "back"]


@dataclass(slots=True)
class GroupRecord:
    """The course of a consumer group. Times in seconds since the start of the run.

    Attributes:
        name: Of the group.
        partitions: How many there are.
        instances: Names of the instances.
        owners: For each change: when, of which partition, and who owns it from then on; empty: nobody, as it is being moved.
        pauses: When an instance stood still: its name, from when, until when.
        rebalances: All of them.
        strange: What zombies did: when, in which partition, and whether it was refused, or done again, or done behind a later event.
        times: When an event was stored or was applied for the first time.
        waiting: How many were stored and not applied, from each of these times on.
    """

    name: str
    partitions: int
    instances: tuple[str, ...]
    owners: list[tuple[float, int, str]] = field(default_factory=list)
    pauses: list[tuple[str, float, float]] = field(default_factory=list)
    rebalances: list[Rebalance] = field(default_factory=list)
    strange: list[tuple[float, int, Strange]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    waiting: list[float] = field(default_factory=list)

    def waits(self, now: float, more: int) -> None:
        """Note that so many events more wait from now on."""
        self.waiting.append((self.waiting[-1] if self.waiting else 0.0) + more)
        self.times.append(now)
