"""Events that wait for a consumer over time, by partition of the broker, from an event log: simulated or real."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from simtx.event_log.entries import DEAD_LETTER, RETENTION
from simtx.event_log.log import LogEntry
from simtx.scenario.broker_kinds import partition_of

_GIVEN_UP: Final = (DEAD_LETTER, RETENTION)


class Lane(NamedTuple):
    """Events that wait in one partition, or in a queue.

    Attributes:
        times: When their number changes, in seconds.
        counts: How many there are from then on.
    """

    times: NDArray[np.float64]
    counts: NDArray[np.float64]

    @property
    def most(self) -> float:
        """The most that waited at once."""
        return float(self.counts.max())


def waiting(trace: Iterable[LogEntry], consumer: str, partitions: int) -> dict[int, Lane]:
    """Events that were published for a consumer and that it has not done yet: neither acknowledged nor given up.

    Args:
        trace: The whole log of one run.
        consumer: The service.
        partitions: Of its topic; 0: a queue, which counts as one partition.

    Returns:
        By the number of the partition; those without any event are left out.
    """
    entries = list(trace)
    goes = {(entry.actor, entry.name): entry.node for entry in entries if entry.kind == "deliver"}
    published: set[tuple[int, str, str]] = set()
    open_: Counter[int] = Counter()
    changes: dict[int, list[tuple[float, int]]] = {}
    for entry in entries:
        tx = entry.tx
        if entry.kind == "publish":
            key = (tx, entry.node, entry.name)  # one that is published again is the same event
            if goes.get((entry.node, entry.name)) != consumer or key in published:
                continue
            published.add(key)
            change = 1
        elif (entry.kind == "acknowledge" and entry.node == consumer) or (
            entry.kind == "drop" and entry.peer == consumer and entry.detail in _GIVEN_UP
        ):
            if not open_[tx]:
                continue  # a copy of what was done before
            change = -1
        else:
            continue
        open_[tx] += change
        changes.setdefault(partition_of(tx, partitions) if partitions else 0, []).append((entry.time, change))
    return {number: _lane(found) for number, found in sorted(changes.items())}


def _lane(changes: list[tuple[float, int]]) -> Lane:
    times, steps = zip(*changes, strict=True)
    return Lane(np.array([0.0, *times]), np.cumsum([0.0, *steps]))
