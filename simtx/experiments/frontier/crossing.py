"""The flip point on one axis: bisection under noise, with an interval for where the winner changes.

The search of the map, on one axis: it begins with both ends and points between. Each look puts the next replications where the band of the
surface straddles zero, so that the undecided stretch shrinks from both sides. The interval of a crossing is the stretch at which the band at the
stated confidence holds zero: it covers the crossing whenever the band covers the surface at that one place. So it needs no correction for many
places (the inversion of a test, as in Fieller's interval for a ratio).

Bisection that decides each point by a test of its own needs about a hundred times the replications for an interval as narrow: it uses no
curve through neighbouring points; it covers more often than it promises, if replications are normal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from simtx.experiments.frontier.axes import Axis
from simtx.experiments.frontier.search import State, winners
from simtx.experiments.frontier.zones import UNDECIDED, Surfaces

FINE: Final = 2001
"""Places of the axis at which the winner is looked up: an interval is as fine as that."""


@dataclass(frozen=True, slots=True)
class Crossing:
    """A place at which the winner changes.

    Attributes:
        at: The most likely value, in the axis's unit.
        low: Lower end of its interval.
        high: Upper end.
        below: Who wins below the interval.
        above: Who wins above it.
    """

    at: float
    low: float
    high: float
    below: str
    above: str


def crossings(state: State, surfaces: Surfaces, axis: Axis, names: Sequence[str], confidence: float) -> list[Crossing]:
    """All crossings on an axis, from the lowest.

    Args:
        state: What is known.
        surfaces: Of one dimension.
        axis: The axis.
        names: Of the strategies.
        confidence: Of each interval.
    """
    places = np.linspace(0, 1, FINE)
    leaders = surfaces.contest(places[:, None]).leader
    won = winners(state, surfaces, places[:, None], confidence)
    found: list[Crossing] = []
    before = -1  # position of the last decided place
    for position in np.flatnonzero(won != UNDECIDED):
        if before >= 0 and won[position] != won[before]:
            ends = before, int(position)
            at = _turn(leaders[ends[0] : ends[1] + 1], int(won[before])) + ends[0]
            value, low, high = (float(axis.value(places[one])) for one in (at, *ends))
            found.append(Crossing(value, low, high, names[won[before]], names[won[position]]))
        before = int(position)
    return found


def _turn(leaders: NDArray[np.intp], first: int) -> int:
    """The place at which the lead goes over for good."""
    return int(np.flatnonzero(leaders == first)[-1])
