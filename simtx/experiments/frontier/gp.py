"""A Gaussian process over the unit cube: smooth surfaces from noisy means at few sites, with a standard deviation everywhere.

The surface is a constant, a plane and a Matern 5/2 deviation from it, one length scale a dimension. The plane's coefficients have wide normal
priors and are integrated out, so that far from all sites the surface follows the trend and the standard deviation grows. The noise of
the sites is given, as a matrix: its diagonal is the variance of each site's mean, what is beside it comes from random numbers that sites
share. Length scales and the size of the deviation are not known either: a surface that took the likeliest for the truth would be too sure of itself
with few sites. So the surface is a mixture over the mode of the marginal likelihood (between bounds, with its gradient) and points around it.

A surface with a cliff is not as smooth as all that. Sites beside a cliff are further from what the others predict than their errors allow, and by as much all errors
are made larger.

Sources: Rasmussen and Williams, *Gaussian Processes for Machine Learning*, 2006, sections 2.2, 2.7, 5.4.1 and 5.4.2; the points around the mode are those of the
unscented transform (Julier and Uhlmann, 1997), each weighted by how likely it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, optimize, special

Floats: TypeAlias = NDArray[np.float64]

_ROOT5: Final = np.sqrt(5.0)
LENGTHS: Final = (0.08, 4.0)
"""Bounds of a length scale; a side of the cube is 1."""
VARIANCES: Final = (1e-3, 20.0)
"""Bounds of the variance of the deviation, in units of the variance between sites."""
_TYPICAL, _SPREAD = (
    np.log(0.5),
    1.0,
)  # prior of the logarithm of a length scale: with few sites the likelihood alone may run to a bound
_SIZE, _SIZE_SPREAD = np.log(0.5), 1.5  # prior of the logarithm of the variance
_CONSTANT, _SLOPE = 4.0, 4.0  # prior variances of the plane, in the same units
_WAVES: Final = 512
"""Random waves that a drawn surface is made of."""
_SETTLED: Final = 16
"""Sites from which on the fit begins where the last one ended, and nowhere else."""
_JITTER: Final = 1e-8
"""Least variance of a site, in units of the variance between sites: keeps the matrix well-conditioned where there is no noise."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Parameters of the deviation.

    Attributes:
        lengths: Length scale of each dimension.
        variance: In units of the variance between sites.
    """

    lengths: tuple[float, ...]
    variance: float

    def logarithms(self) -> Floats:
        """Logarithms, as the optimiser sees it."""
        result: Floats = np.log(np.array([*self.lengths, self.variance]))
        return result

    @staticmethod
    def of(logarithms: Floats) -> Shape:
        """The inverse of `logarithms`."""
        values = np.exp(logarithms)
        return Shape(tuple(float(value) for value in values[:-1]), float(values[-1]))


@dataclass(frozen=True, slots=True)
class _Member:
    """One shape of the mixture, with the matrix that it gives factorised."""

    share: float
    shape: Shape
    factor: Floats
    weights: Floats


class GaussianProcess:
    """A fitted surface.

    Attributes:
        sites: As below.
        means: As below.
        noise: As below.
        shape: The likeliest parameters.

    Args:
        sites: Points of the unit cube, one a row.
        means: Mean observed at each.
        noise: Covariance matrix of the errors of the means.
        shape: Parameters that are taken for the truth; None: fitted to the data.
        start: Where the fit begins, such as the shape before the last sites were added.
    """

    def __init__(
        self, sites: Floats, means: Floats, noise: Floats, shape: Shape | None = None, *, start: Shape | None = None
    ) -> None:
        self.sites = np.atleast_2d(np.asarray(sites, dtype=float))
        self.means = np.asarray(means, dtype=float)
        self.noise = np.asarray(noise, dtype=float)
        self._centre = float(np.mean(means))
        spread = float(np.std(means))
        self.scale = spread if spread > 0 else 1.0
        """Standard deviation between sites: inside, everything is in units of it."""
        self._y = (self.means - self._centre) / self.scale
        self._noise = self.noise / self.scale**2 + _JITTER * np.eye(len(self._y))
        self._fixed = _plane(self.sites, self.sites) + self._noise
        self._gaps = (self.sites[:, None, :] - self.sites[None, :, :]) ** 2
        self.shape = shape or self._mode(start)
        around = [(1.0, self.shape)] if shape is not None else self._around(self.shape.logarithms())
        self._members = [self._member(share, one) for share, one in around]
        self.misfit = self._misfit()
        """Factor of the errors: 1 if the surface fits, more if sites are further from what the others say than they should be, as at a cliff."""

    # --- use ------------------------------------------------------------------------------------------------------------------

    def predict(self, points: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the surface itself (without noise) at each point."""
        points = np.atleast_2d(points)
        gaps, plane = _gaps(points, self.sites), _plane(points, self.sites)
        mean, square = np.zeros(len(points)), np.zeros(len(points))
        for member in self._members:
            cross = matern(gaps, member.shape) + plane
            one = cross @ member.weights
            half = linalg.solve_triangular(member.factor, cross.T, lower=True, check_finite=False)
            own = member.shape.variance + _CONSTANT + _SLOPE * np.sum((points - 0.5) ** 2, axis=1)
            mean += member.share * one
            square += member.share * (np.maximum(own - np.einsum("ij,ij->j", half, half), 1e-12) + one**2)
        error = self.misfit * np.sqrt(np.maximum(square - mean**2, 1e-12))
        return self._centre + self.scale * mean, self.scale * error

    def covariance(self, points: Floats, others: Floats, member: int = 0) -> Floats:
        """Covariance of the surface between each point and each other point, given the data, for one member of the mixture (0: the mode)."""
        points, others = np.atleast_2d(points), np.atleast_2d(others)
        one = self._members[member]

        def prior(a: Floats, b: Floats) -> Floats:
            return matern(_gaps(a, b), one.shape) + _plane(a, b)

        half = linalg.solve_triangular(one.factor, prior(points, self.sites).T, lower=True)
        other = linalg.solve_triangular(one.factor, prior(others, self.sites).T, lower=True)
        return self.scale**2 * (prior(points, others) - half.T @ other)

    def draws(self, count: int, rng: np.random.Generator) -> Callable[[Floats], Floats]:
        """Surfaces that are as likely as the data make them, as one function: of points to the values of each surface there, one surface a row.

        A surface of the prior, made of random waves, is corrected by what the data say (Matheron's rule: Wilson et al. 2020, "Efficiently sampling functions from
        Gaussian process posteriors"). The waves of a Matern 5/2 surface have the frequencies of a Student t with five degrees of freedom.
        """
        dimensions = self.sites.shape[1]
        numbers = rng.multinomial(count, [member.share for member in self._members])
        error = linalg.cholesky(self._noise, lower=True)
        parts: list[tuple[_Member, Floats, Floats, Floats, Floats, Floats]] = []
        for member, number in zip(self._members, numbers, strict=True):
            if not number:
                continue
            tails = np.sqrt(5 / rng.chisquare(5, _WAVES))[:, None]
            frequencies = rng.standard_normal((_WAVES, dimensions)) * tails / np.array(member.shape.lengths)
            phases = rng.uniform(0, 2 * np.pi, _WAVES)
            heights = rng.standard_normal((_WAVES, int(number))) * np.sqrt(2 * member.shape.variance / _WAVES)
            flat = rng.standard_normal((1 + dimensions, int(number)))
            flat *= np.sqrt(np.array([_CONSTANT, *[_SLOPE] * dimensions]))[:, None]
            there = _wave(self.sites, frequencies, phases, heights, flat) + error @ rng.standard_normal(
                (len(self._y), int(number))
            )
            weights = linalg.cho_solve((member.factor, True), self._y[:, None] - there)
            parts.append((member, frequencies, phases, heights, flat, weights))

        def surfaces(points: Floats) -> Floats:
            rows = []
            for member, frequencies, phases, heights, flat, weights in parts:
                cross = matern(_gaps(points, self.sites), member.shape) + _plane(points, self.sites)
                rows.append(_wave(points, frequencies, phases, heights, flat) + cross @ weights)
            return self._centre + self.scale * np.hstack(rows).T

        return surfaces

    # --- fit ------------------------------------------------------------------------------------------------------------------

    def _member(self, share: float, shape: Shape) -> _Member:
        factor = linalg.cholesky(matern(self._gaps, shape) + self._fixed, lower=True)
        return _Member(share, shape, factor, linalg.cho_solve((factor, True), self._y))

    def _misfit(self) -> float:
        """Misfit by the distance of each site from what the others predict, in standard deviations: as a whole, and of the one that is furthest off."""
        one = self._members[0]
        inverse = linalg.cho_solve((one.factor, True), np.eye(len(self._y)))
        away = inverse @ self._y / np.sqrt(np.diag(inverse))
        furthest = float(np.abs(away).max() / special.ndtri(1 - 0.025 / len(away)))
        return max(1.0, float(np.sqrt(np.mean(away**2)))) * max(1.0, furthest)

    def _mode(self, start: Shape | None) -> Shape:
        dimensions = self.sites.shape[1]
        starts = [np.log([length] * dimensions + [0.5]) for length in (0.25, 1.0)]
        if start is not None:  # more sites change little, once there are some
            starts = [start.logarithms(), *(starts[:1] if len(self.sites) < _SETTLED else [])]
        found = [
            optimize.minimize(self._objective, first, jac=True, method="L-BFGS-B", bounds=_bounds(dimensions))
            for first in starts
        ]
        return Shape.of(min(found, key=lambda one: float(one.fun)).x)

    def _around(self, mode: Floats) -> list[tuple[float, Shape]]:
        """The mode and the points around it, each with its share."""
        size = len(mode)
        lowest, middle = self._objective(mode)
        step = 0.05
        curvature = np.array([(self._objective(mode + step * unit)[1] - middle) / step for unit in np.eye(size)])
        values, vectors = linalg.eigh((curvature + curvature.T) / 2)
        deviations = 1 / np.sqrt(np.maximum(values, 1.0))  # none is wider than the prior
        low, high = np.array(_bounds(size - 1)).T
        points = [mode]
        shares = [max(1 - size / 3, 0.0) + 1e-3]
        for deviation, direction in zip(deviations, vectors.T, strict=True):
            for side in (1.0, -1.0):
                point = np.clip(mode + side * np.sqrt(3.0) * deviation * direction, low, high)
                worse = self._objective(point)[0] - lowest
                points.append(point)
                shares.append(float(np.exp(min(1.5 - worse, 1.5))) / 6)
        total = sum(shares)
        return [(share / total, Shape.of(point)) for share, point in zip(shares, points, strict=True)]

    def _objective(self, logarithms: Floats) -> tuple[float, Floats]:
        """Negative logarithm of likelihood and prior, and its gradient."""
        lengths, variance = np.exp(logarithms[:-1]), float(np.exp(logarithms[-1]))
        scaled = self._gaps / lengths**2
        distance = _ROOT5 * np.sqrt(scaled.sum(axis=2))
        decay = variance * np.exp(-distance)
        deviation = decay * (1 + distance + distance**2 / 3)
        try:
            factor = linalg.cho_factor(deviation + self._fixed, lower=True, check_finite=False)
        except linalg.LinAlgError:
            return 1e25, np.zeros_like(logarithms)
        weights = linalg.cho_solve(factor, self._y, check_finite=False)
        fit = 0.5 * float(self._y @ weights) + float(np.log(np.diag(factor[0])).sum())
        inner = np.outer(weights, weights) - linalg.cho_solve(factor, np.eye(len(self._y)), check_finite=False)
        slope = (5 / 3) * decay * (1 + distance) * inner
        gradient = [*(-0.5 * np.einsum("ij,ijk->k", slope, scaled)), -0.5 * float(np.sum(inner * deviation))]
        wide = np.append(np.full(len(lengths), _SPREAD), _SIZE_SPREAD)
        away = (logarithms - np.append(np.full(len(lengths), _TYPICAL), _SIZE)) / wide
        return fit + 0.5 * float(away @ away), np.array(gradient) + away / wide


def matern(gaps: Floats, shape: Shape) -> Floats:
    """Matern 5/2 covariance.

    Args:
        gaps: Squared differences by dimension, the dimensions last.
        shape: Length scales and variance.
    """
    distance = _ROOT5 * np.sqrt(gaps @ (1 / np.square(shape.lengths)))
    result: Floats = shape.variance * (1 + distance + distance**2 / 3) * np.exp(-distance)
    return result


def _bounds(dimensions: int) -> list[tuple[float, float]]:
    length, variance = np.log(LENGTHS), np.log(VARIANCES)
    return [(float(length[0]), float(length[1]))] * dimensions + [(float(variance[0]), float(variance[1]))]


def _gaps(points: Floats, others: Floats) -> Floats:
    result: Floats = (points[:, None, :] - others[None, :, :]) ** 2
    return result


def _wave(points: Floats, frequencies: Floats, phases: Floats, heights: Floats, flat: Floats) -> Floats:
    """A surface of the prior: waves and a plane."""
    plane = np.column_stack([np.ones(len(points)), points - 0.5]) @ flat
    result: Floats = np.cos(points @ frequencies.T + phases) @ heights + plane
    return result


def _plane(points: Floats, others: Floats) -> Floats:
    result: Floats = _CONSTANT + _SLOPE * (points - 0.5) @ (others - 0.5).T
    return result
