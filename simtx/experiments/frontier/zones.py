"""Zones of a map: who wins where, by the surfaces of all pairs of strategies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import special

from simtx.experiments.frontier.gp import Floats, GaussianProcess, Shape
from simtx.experiments.frontier.noise import NoiseLaw, noise_law
from simtx.experiments.frontier.responses import Observed, Scale, response, scale_of, shared_noise

Pair: TypeAlias = tuple[int, int]
UNDECIDED = -1
"""Mark in a map of winners: the data does not say who wins here."""
_FEWEST = 3
"""Sites with figures of both that a surface needs."""


@dataclass(frozen=True, slots=True)
class Surface:
    """One pair: how much more of the metric the first has than the second.

    Attributes:
        process: The surface.
        noise: Variance of one paired replication.
    """

    process: GaussianProcess
    noise: NoiseLaw


@dataclass(frozen=True, slots=True)
class Contest:
    """The closest contest at each point: its leader against the one that comes nearest to it.

    Attributes:
        leader: Position of the strategy that leads at each point.
        rival: Position of its closest rival.
        lead: By how much it leads, at least 0.
        error: Standard deviation of the lead.
        degrees: Degrees of freedom of the quantile by which a lead counts as decided: noise and shape of the surface were estimated from so many sites.
    """

    leader: NDArray[np.intp]
    rival: NDArray[np.intp]
    lead: Floats
    error: Floats
    degrees: float

    def doubt(self) -> Floats:
        """Probability at each point that the rival is the better one, between 0 and 1/2."""
        result: Floats = special.ndtr(-self.lead / self.error)
        return result

    def winners(self, confidence: float) -> NDArray[np.intp]:
        """The winner at each point, or `UNDECIDED`."""
        return np.where(self.lead >= self.quantile(confidence) * self.error, self.leader, UNDECIDED)

    def quantile(self, confidence: float) -> float:
        """Number of standard deviations that a lead needs to count as decided."""
        return float(special.stdtrit(self.degrees, 0.5 + confidence / 2))


@dataclass
class Surfaces:
    """The surfaces of all pairs of some strategies, fitted to what is known of some sites.

    Attributes:
        strategies: How many there are.
        better: ``lower`` or ``higher``: which figure of the metric wins.
        scale: How figures are compared.
        pairs: The surface of each pair.
    """

    strategies: int
    better: str
    scale: Scale
    pairs: dict[Pair, Surface] = field(default_factory=dict)

    @staticmethod
    def fit(
        sites: Floats,
        observed: Sequence[Observed],
        *,
        strategies: int,
        better: str = "lower",
        before: Surfaces | None = None,
    ) -> Surfaces:
        """Fit a surface to every pair.

        Args:
            sites: Points of the unit cube, one a row.
            observed: What is known of each.
            strategies: How many there are.
            better: ``lower`` or ``higher``.
            before: The surfaces before the last sites came: the fit begins there.

        Raises:
            ValueError: Too few sites say something about a pair.
        """
        result = Surfaces(strategies, better, scale_of(observed))
        for pair in combinations(range(strategies), 2):
            known = response(observed, pair, result.scale)
            if len(known.used) < _FEWEST:
                raise ValueError(
                    f"{len(known.used)} sites say something about a pair of strategies; {_FEWEST} are needed"
                )
            points = sites[known.used]
            law = noise_law(points, known.variances, known.degrees, floor=known.least)
            variances = law.pooled(points, known.variances, known.degrees)
            if (
                result.scale == "rate-ratio"
            ):  # what counts are sure of is a law of its own, and not less for the company that a site is in
                variances = np.maximum(variances, known.variances)
            start: Shape | None = None
            if before is not None and before.scale == result.scale and pair in before.pairs:
                start = before.pairs[pair].process.shape
            process = GaussianProcess(points, known.means, shared_noise(points, known, variances), start=start)
            result.pairs[pair] = Surface(process, law)
        return result

    def contest(self, points: Floats) -> Contest:
        """The leader at each point, by how much it leads, and how sure that is."""
        shape = (self.strategies, self.strategies, len(points))
        lead, error = np.zeros(shape), np.ones(shape)
        sign = -1.0 if self.better == "lower" else 1.0
        for (a, b), surface in self.pairs.items():
            mean, deviation = surface.process.predict(points)
            lead[a, b], lead[b, a] = sign * mean, -sign * mean
            error[a, b] = error[b, a] = deviation
        leader = np.argmax((lead > 0).sum(axis=1), axis=0)
        here = np.arange(len(points))
        leads, errors = lead[leader, :, here], error[leader, :, here]
        sure = leads / errors
        sure[here, leader] = np.inf
        rival = np.argmin(sure, axis=1)
        degrees = float(min(len(surface.process.sites) for surface in self.pairs.values()) - 1)
        return Contest(leader, rival, np.maximum(leads[here, rival], 0.0), errors[here, rival], degrees)
