"""Noise of each site: variances of few replications, drawn towards a law that all sites share.

Four replications give a variance that is off by a factor of two or three; the noise of a simulation grows with the load, smoothly. So the
logarithm of the variance follows a plane over the sites. It is a gamma regression with a logarithmic link, whose estimate is right on average
for any distribution of the figures. Each site's own variance is pooled with the plane's, the more so the better the plane describes the sites. A
site of skewed figures that came out low has a variance that came out low as well. So the law never counts for less than eight degrees
of freedom.

Sources: McCullagh and Nelder, *Generalized Linear Models*, 1989, section 8; the pooled variance is that of Smyth (2004, *Statistical Applications in
Genetics and Molecular Biology* 3(1)), with the trend in place of a constant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from simtx.experiments.frontier.gp import Floats

_FEWEST: Final = 6
"""Sites with a variance of their own from which on the plane has a slope."""
_LEAST_DEGREES, _MOST_DEGREES = 8.0, 400.0
_STEEPEST: Final = 8.0
"""Largest slope of the logarithm of the variance over a side of the cube: e^8 is 3,000 times."""


@dataclass(frozen=True, slots=True)
class NoiseLaw:
    """Variance of one replication, over the unit cube.

    Attributes:
        coefficients: Of 1 and of each coordinate (from the middle), for the logarithm of the variance.
        degrees: Degrees of freedom for which the law counts beside each site's own estimate.
        floor: Least variance.
    """

    coefficients: Floats
    degrees: float
    floor: float

    def at(self, points: Floats) -> Floats:
        """Variance of one replication at each point."""
        logarithm = _design(points, len(self.coefficients)) @ self.coefficients
        result: Floats = np.maximum(np.exp(logarithm), self.floor)
        return result

    def pooled(self, sites: Floats, variances: Floats, degrees: Floats) -> Floats:
        """Variance of one replication at each site, from its own estimate and the law."""
        own = np.where(degrees > 0, variances, 0.0)
        pooled = (self.degrees * self.at(sites) + degrees * own) / (self.degrees + degrees)
        result: Floats = np.maximum(pooled, self.floor)
        return result


def noise_law(sites: Floats, variances: Floats, degrees: Floats, *, floor: float) -> NoiseLaw:
    """Fit the law.

    Args:
        sites: Points of the unit cube, one a row.
        variances: Sample variance of one replication at each site.
        degrees: Its degrees of freedom; 0: the site has one replication and no variance.
        floor: Least variance of one replication.
    """
    known = degrees > 0
    if not known.any():
        return NoiseLaw(np.array([np.log(floor)]), _LEAST_DEGREES, floor)
    sample, weight = np.maximum(variances[known], floor), degrees[known] / 2
    width = 1 + sites.shape[1] if known.sum() >= max(_FEWEST, 2 + 2 * sites.shape[1]) else 1
    design = _design(sites[known], width)
    coefficients = np.zeros(width)
    coefficients[0] = np.log(np.average(sample, weights=weight))
    pull = np.diag([0.0] + [0.5] * (width - 1))  # of the slopes towards 0, as half a site
    for _ in range(50):
        ratio = sample / np.exp(design @ coefficients)
        gradient = design.T @ (weight * (ratio - 1)) - pull @ coefficients
        curvature = (design * (weight * ratio.clip(0.2, 5.0))[:, None]).T @ design + pull + 1e-9 * np.eye(width)
        step = np.clip(np.linalg.solve(curvature, gradient), -1.0, 1.0)
        coefficients += step
        coefficients[1:] = np.clip(coefficients[1:], -_STEEPEST, _STEEPEST)
        if np.abs(step).max() < 1e-6:
            break
    ratio = sample / np.exp(design @ coefficients)
    # a ratio of variances scatters by 2 / degrees if the law is right, and by 2 / degrees of the law more if it is not
    excess = float(np.average((ratio - 1) ** 2 - 1 / weight, weights=weight))
    found = 2 / excess if excess > 0 else _MOST_DEGREES
    return NoiseLaw(coefficients, float(np.clip(found, _LEAST_DEGREES, _MOST_DEGREES)), floor)


def _design(points: Floats, width: int) -> Floats:
    points = np.atleast_2d(points)
    result: Floats = np.column_stack([np.ones(len(points)), points - 0.5][: 1 + (width > 1)])
    return result
