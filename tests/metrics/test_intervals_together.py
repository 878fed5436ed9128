"""Intervals of many groups at once are those of each group by itself."""

from __future__ import annotations

import math

import numpy as np
import pytest

from simtx.metrics.intervals import KINDS, interval, intervals

GROUPS: list[list[float]] = [
    [],
    [3.0],
    [2.0, 2.0, 2.0],
    [0.0] * 5,
    [1.0] * 4,
    [math.nan, 1.0, 2.0],
    [math.inf, 1.0, 2.0],
    [0.1, 0.2],
    *np.random.default_rng(1).exponential(0.2, (6, 7)).tolist(),
    *np.random.default_rng(2).random((3, 12)).tolist(),
]


@pytest.mark.parametrize("kind", KINDS)
def test_many_are_as_one(kind: str) -> None:
    together = intervals(GROUPS, 0.9, kind=kind)  # type: ignore[arg-type]
    alone = [interval(group, 0.9, kind=kind) for group in GROUPS]  # type: ignore[arg-type]
    for one, other in zip(together, alone, strict=True):
        assert one[3:] == other[3:]
        assert np.allclose(one[:3], other[:3], rtol=1e-12, atol=0, equal_nan=True)
