"""One factor at a time: what the answer is at its low end, as it is, and at its high end, under common random numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from simtx.experiments.sensitivity.question import Answers
from simtx.metrics.intervals import interval

if TYPE_CHECKING:
    from simtx.scenario.uncertain import Uncertainty


def positions(factors: Sequence[str]) -> list[dict[str, float]]:
    """Positions of the factors: as the scenario is, then each factor at its low end and at its high end."""
    return [{}, *({name: place} for name in factors for place in (-1.0, 1.0))]


def tornado(factors: Mapping[str, Uncertainty], found: Answers, confidence: float) -> pd.DataFrame:
    """One row a factor, the one that moves the answer most first.

    Columns: `factor`; `low_value` and `high_value` of it; `low`, `low_from`, `low_to` and `high`, `high_from`, `high_to`: what the answer changes by at
    each end, with its interval, paired by replication; `swing`: the distance of the two.
    """
    rows = []
    for index, (name, one) in enumerate(factors.items()):
        row: dict[str, Any] = {"factor": name, "low_value": one.mean(-1), "high_value": one.mean(1)}
        for end, offset in (("low", 1), ("high", 2)):
            change = interval(found.values[2 * index + offset] - found.values[0], confidence)
            row |= {end: change.mean, f"{end}_from": change.low, f"{end}_to": change.high}
        low, high = float(row["low"]), float(row["high"])
        row["swing"] = max(low, high, 0.0) - min(low, high, 0.0)
        rows.append(row)
    table = pd.DataFrame(rows)
    return table.sort_values(["swing", "factor"], ascending=[False, True]).reset_index(drop=True)


def noise(found: Answers, confidence: float) -> float:
    """Half the width of the interval of the answer itself: what replications leave open."""
    return interval(found.values[0], confidence).half_width if found.values.shape[1] > 1 else float(np.nan)
