"""Assumptions that flip the answer: how far each factor is from the point at which another strategy is the better one, in units of its own uncertainty.

A distance of 0.4 says that the answer flips when the figure is off by 40 % of what it may be off by; a distance above 1, that it does not flip within
what was stated. The curve through the low end, the figure as it is, and the high end is taken as straight between them. It goes on straight beyond
them, up to three times the uncertainty. At each flip that this predicts, runs are added, and the curve goes through them, too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from simtx.experiments.sensitivity.question import Floats
from simtx.metrics.intervals import bounds

if TYPE_CHECKING:
    from simtx.scenario.uncertain import Uncertainty

REACH: Final = 3.0
"""Distances beyond this many uncertainties are not looked for."""
_DRAWS: Final = 1000


def crossings(places: Sequence[float], means: Floats) -> Floats:
    """The position nearest to 0 at which each curve is 0, with its sign; infinite if there is none within reach.

    Args:
        places: Positions, 0 among them.
        means: One curve a row: its values there.
    """
    order = np.argsort(places)
    x, y = np.asarray(places, dtype=float)[order], np.atleast_2d(means)[:, order]
    low, high = x[:-1].copy(), x[1:].copy()
    low[0], high[-1] = -REACH, REACH
    rise = np.diff(y, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        zero = x[:-1] - y[:, :-1] * np.diff(x) / rise
    zero = np.where((rise != 0) & (zero >= low) & (zero <= high), zero, np.inf)
    nearest = np.argmin(np.abs(zero), axis=1)
    result: Floats = zero[np.arange(len(zero)), nearest]
    return result


def flips(
    factors: Mapping[str, Uncertainty],
    places: Mapping[str, Sequence[float]],
    values: Mapping[str, Floats],
    confidence: float,
    seed: int,
) -> pd.DataFrame:
    """One row a factor, the one that is nearest to a flip first.

    Columns: `factor`; `distance`: in units of its uncertainty, negative if it has to be lower than it is, infinite if nothing flips within reach;
    `nearest` and `furthest`: interval of the size of the distance (resampling replications; from 0 on if the strategies are not told apart as the scenario is); `value`: the figure at the flip; `change`: what it has to change by, as a share;
    `simulated`: whether the flip lies between positions that were simulated.

    Args:
        factors: By name.
        places: Positions of each that were simulated, 0 among them.
        values: One row a position, one column a replication: above 0, the first strategy has more of the metric.
        confidence: Of the interval.
        seed: Of the resampling.
    """
    rows = []
    for name, one in factors.items():
        at, figures = places[name], values[name]
        distance = float(crossings(at, figures.mean(axis=1))[0])
        if not one.possible(distance):
            distance = math.inf
        rng = np.random.default_rng(seed)  # the same replications for every factor
        chosen = rng.integers(0, figures.shape[1], (_DRAWS, figures.shape[1]))
        drawn = figures[:, chosen].mean(axis=2)
        sizes = np.sort(np.abs(crossings(at, drawn.T)))
        tail = (1 - confidence) / 2
        nearest = (
            0.0 if _open(figures[list(at).index(0.0)], confidence) else float(sizes[math.floor(tail * (_DRAWS - 1))])
        )
        furthest = float(sizes[math.ceil((1 - tail) * (_DRAWS - 1))])
        flipped = math.isfinite(distance)
        rows.append(
            {
                "factor": name,
                "distance": distance,
                "nearest": nearest,
                "furthest": furthest,
                "value": one.mean(distance) if flipped else math.nan,
                "change": one.factor(distance) - 1 if flipped else math.nan,
                "simulated": flipped and min(at) <= distance <= max(at),
            }
        )
    table = pd.DataFrame(rows)
    order = table["distance"].abs().rename("size").to_frame().assign(factor=table["factor"])
    return table.loc[order.sort_values(["size", "factor"]).index].reset_index(drop=True)


def _open(answer: Floats, confidence: float) -> bool:
    """Return whether the replications leave open who wins as the scenario is: then it may have flipped already."""
    if len(answer) < 2:
        return True
    _, low, high = bounds(answer, confidence)
    return bool(low <= 0 <= high)


def to_check(factors: Mapping[str, Uncertainty], table: pd.DataFrame) -> dict[str, float]:
    """Positions of predicted flips at which runs are worth their time; no factor goes to a tenth of what it is or below."""
    found = {}
    for name, distance in zip(table["factor"].astype(str), table["distance"].astype(float), strict=True):
        if math.isfinite(distance) and factors[name].factor(distance) > 0.1 and abs(distance) > 0.02:
            found[name] = float(f"{distance:.3g}")
    return found
