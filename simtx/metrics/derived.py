"""Figures of derived stores, in simulated runs and in real ones: what readers saw, and which copies are wrong.

The world that plays a derived store enters commits and reads here in the order of their times. docs/metrics.md defines the figures.
"""

from __future__ import annotations

import math
from array import array

import numpy as np

from simtx.metrics.censored import quantiles


class CopyMeasure:
    """Measure of the copies of one derived store.

    Args:
        name: Of the derived store.
        expires: Whether its copies have a time to live.
        warmup: Reads before this time, in seconds, are not counted.

    Attributes:
        commits: By key, when each of its versions was committed, in seconds; the first is version 1.
        lost: Updates that never arrived.
        refused: Old values that the check has refused.
    """

    __slots__ = ("_ages", "_expires", "_hits", "_name", "_reads", "_stale", "_warmup", "commits", "lost", "refused")

    def __init__(self, name: str, *, expires: bool, warmup: float) -> None:
        self._name = name
        self._expires = expires
        self._warmup = warmup
        self.commits: dict[str, array[float]] = {}
        self.lost = self.refused = 0
        self._reads = self._hits = self._stale = 0
        self._ages: array[float] = array("d")

    def committed(self, key: str, time: float) -> int:
        """A commit has changed a key; returns its version."""
        commits = self.commits.setdefault(key, array("d"))
        commits.append(time)
        return len(commits)

    def latest(self, key: str) -> int:
        """The version of the last commit of a key until now."""
        return len(self.commits.get(key, ()))

    def read(self, key: str, version: int | None, time: float) -> None:
        """A reader got this version of a key; None: there was no copy."""
        if time < self._warmup:
            return
        self._reads += 1
        if version is None:
            return
        self._hits += 1
        if version < self.latest(key):
            self._stale += 1
            self._ages.append(time - self.commits[key][version])

    def figures(self, wrong: int, drift: float) -> dict[str, float]:
        """The metrics by name.

        Args:
            wrong: Copies that are not that of the last commit, when the run is over.
            drift: Sum of the distances between their values and those of the store.
        """
        nan = math.nan
        ages = np.array(self._ages) * 1e3
        p50, p99 = quantiles(ages, (0.5, 0.99))
        found = {
            "reads": self._reads,
            "miss_share": 1 - self._hits / self._reads if self._reads else nan,
            "stale_share": self._stale / self._reads if self._reads else nan,
            "stale_p50_ms": p50,
            "stale_p99_ms": p99,
            "stale_max_ms": float(ages.max()) if len(ages) else nan,
            "wrong_at_end": wrong,
            "wrong_for_ever": 0 if self._expires else wrong,
            "drift_at_end": drift,
            "updates_lost": self.lost,
            "refused": self.refused,
        }
        return {f"derived_{self._name}_{name}": float(value) for name, value in found.items()}
