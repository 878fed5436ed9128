"""Known surfaces of the paired log ratio of two strategies, with noise that grows with the load: what the search has to find without simulating."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from simtx.experiments.frontier import Observed

Floats = NDArray[np.float64]


def wave(points: Floats) -> Floats:
    return 1.5 * (points[:, 1] - 0.5 - 0.22 * np.sin(2 * np.pi * points[:, 0]))


def island(points: Floats) -> Floats:
    return 1.2 - 12 * ((points[:, 0] - 0.55) ** 2 + (points[:, 1] - 0.45) ** 2)


def load_noise(points: Floats) -> Floats:
    """Four times as much at full load, which is the last coordinate."""
    return 0.05 * 4 ** points[:, -1]


@dataclass
class World:
    """Figures of two strategies whose log ratio is known; counts what it is asked for.

    Attributes:
        surface: Log ratio of the first to the second.
        noise: Standard deviation of one paired replication.
        shared: Share of its variance that all sites have in common in one replication.
        seed: Of the noise.
        transform: Of the figures, such as censoring.
    """

    surface: Callable[[Floats], Floats]
    noise: Callable[[Floats], Floats] = load_noise
    shared: float = 0.0
    seed: int = 1
    transform: Callable[[Floats, Floats], Observed] = lambda _, values: Observed(values)
    known: dict[tuple[float, ...], Floats] = field(default_factory=dict)
    played: int = 0

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.common = self.rng.standard_normal(100_000)

    def __call__(self, sites: Floats, replications: Sequence[int]) -> list[Observed]:
        found = []
        for site, wanted in zip(sites, replications, strict=True):
            key = tuple(np.round(site, 9))
            old = self.known.get(key, np.empty((0, 2)))
            new = max(wanted - len(old), 0)
            own = np.sqrt(1 - self.shared) * self.rng.standard_normal(new)
            error = own + np.sqrt(self.shared) * self.common[len(old) : len(old) + new]
            ratio = self.surface(site[None])[0] + self.noise(site[None])[0] * error
            self.known[key] = np.vstack([old, np.column_stack([100 * np.exp(ratio), np.full(new, 100.0)])])
            self.played += new
            found.append(self.transform(site, self.known[key]))
        return found
