"""Data that a host hands over when a run is finished: all that metrics are made of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from simtx.metrics.groups import GroupRecord
from simtx.metrics.guarantees import Broken
from simtx.metrics.stations import Stations
from simtx.metrics.still_open import NOTHING, StillOpen
from simtx.metrics.timeline import Timeline


@dataclass(slots=True)
class Struck:
    """One blow of a fault.

    Attributes:
        fault: Its number in the scenario, from 0; -1: none of the scenario's.
        kind: What happened.
        target: To whom.
        begin: When, in seconds.
        end: When it was over; infinite if it was in force when the run ended.
    """

    fault: int
    kind: str
    target: str
    begin: float
    end: float = math.inf

    @property
    def name(self) -> str:
        """In a few words: ``crash of payments``."""
        return f"{self.kind} of {self.target}" if self.target else self.kind


@dataclass(frozen=True, slots=True)
class ConservedQuantity:
    """Drift of one conserved quantity over the measured window (metrics M2 and M3).

    Attributes:
        name: Name of the invariant.
        unit: Unit of the quantity.
        net_mean: Time average of the absolute residual.
        gross_mean: Time average of the sum of absolute in-flight amounts.
        peak: Largest absolute residual.
        violation_share: Share of the time in which the residual was not zero.
        final: Residual at the end of the run, after everything has drained.
    """

    name: str
    unit: str
    net_mean: float
    gross_mean: float
    peak: float
    violation_share: float
    final: float


@dataclass(slots=True)
class RunData:
    """Raw numbers that a host hands over when a run is finished. Times in seconds.

    Attributes:
        counts: What was counted in the whole run, by the names of `simtx.metrics.counters`.
        origin: The run's zero on the machine's monotonic clock.
        groups: The course of each consumer group, where one was simulated.
    """

    columns: dict[str, Sequence[float] | Sequence[str]]
    quantities: list[ConservedQuantity]
    warmup: float
    horizon: float
    end: float
    partial_share: float
    residual: float
    bounds_violated: list[str]
    events: int
    counts: Mapping[str, int]
    utilisation: dict[str, float]
    timeline: Timeline
    services: list[str]
    digest: str
    extra: dict[str, float] = field(default_factory=dict)
    client_deadline: float = math.inf
    origin: float | None = None
    still_open: StillOpen = NOTHING
    struck: list[Struck] = field(default_factory=list)
    stations: Stations | None = None
    broken: Sequence[Broken] = ()
    broken_counts: Mapping[str, int] = field(default_factory=dict)
    watched: Sequence[str] = ()
    unfinished: int = 0
    groups: Mapping[str, GroupRecord] = field(default_factory=dict)
