"""Reduction of the figures of paired runs to one number a site: above 0, the first strategy has more of the metric than the second.

Three scales, chosen by the figures themselves:

- ``log-ratio``: mean over the replications of log(a / b). For what is above 0 everywhere, such as latencies.
- ``rate-ratio``: log of the ratio of the means, for what may be exactly 0, such as failures. A mean is read as a count of quanta, the
  smallest figure seen, plus one half on each side; its variance is that of two counts, or that of the replications if it is larger. So
  eight runs without a failure are not certainty, and a region without failures says nothing about the failures elsewhere.
- ``difference``: mean of a - b, for what may be negative.

A censored figure (`math.inf`: it lies beyond the time that was watched) is larger than every finite one. It counts as the time that was watched,
or as the largest figure of its site if that is larger. A log ratio of it is no larger than those of finite figures: less than the
truth, on the right side. Where both are beyond, a pair says
nothing, and does not count.

Source of the rate ratio: Haldane (1956) and Anscombe (1956) on the logarithm of a count with one half added; its variance by the delta method.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from simtx.experiments.frontier.gp import Floats

Scale: TypeAlias = Literal["log-ratio", "rate-ratio", "difference"]
_LEAST: Final = 0.05
"""A censored figure wins by at least this, as a logarithm or as a share of the largest figure of its site."""


_ENOUGH: Final = 0.2
"""Lead, as a logarithm, by which a censored figure may win, whatever was seen of finite ones."""


@dataclass(frozen=True, slots=True)
class Observed:
    """Data of one site.

    Attributes:
        values: The metric, one row a replication (row r is replication r), one column a strategy; NaN: not run, failed, or without a value;
            inf: beyond what was watched.
        watched: The time for which every transaction was watched, in the metric's unit; 0 if nothing is censored or it is not known.
    """

    values: Floats
    watched: float = 0.0


@dataclass(frozen=True, slots=True)
class Response:
    """One number for each site that says something, of one pair of strategies.

    Attributes:
        used: Positions of these sites among all.
        means: The numbers.
        variances: Variance of one replication at each.
        degrees: Degrees of freedom of each variance.
        counts: Pairs of runs behind each.
        residuals: Per site, by replication: distance of the pair from its site's mean; NaN where there is no pair.
        least: Least variance of one replication that makes sense.
    """

    used: NDArray[np.intp]
    means: Floats
    variances: Floats
    degrees: Floats
    counts: Floats
    residuals: list[Floats]
    least: float


def scale_of(observed: Sequence[Observed]) -> Scale:
    """The scale that fits these figures."""
    seen = np.concatenate([one.values[np.isfinite(one.values)] for one in observed]) if observed else np.empty(0)
    if np.any(seen < 0):
        return "difference"
    return "rate-ratio" if np.any(seen == 0) else "log-ratio"


def quantum_of(observed: Sequence[Observed]) -> float:
    """The smallest figure above 0: what one failure adds to a rate."""
    seen = np.concatenate([one.values[np.isfinite(one.values) & (one.values > 0)] for one in observed] or [np.empty(0)])
    return float(seen.min()) if len(seen) else 1.0


def response(observed: Sequence[Observed], pair: tuple[int, int], scale: Scale) -> Response:
    """The numbers of one pair of strategies.

    Args:
        observed: What is known of each site.
        pair: Columns of the two strategies.
        scale: As in the module's docstring.
    """
    quantum = quantum_of(observed)
    sites = [_uncensored(one, pair) for one in observed]
    used = [position for position, one in enumerate(sites) if one.known.any()]
    rates = {p: _rate_ratio(*sites[p].figures, quantum) for p in used} if scale == "rate-ratio" else {}
    parts = {p: rates[p][2] if rates else sites[p].parts(scale) for p in used}
    if scale == "log-ratio":
        _tempered(sites, parts)
    means = np.array([rates[p][0] if rates else parts[p].mean() for p in used])
    counts = np.array([len(parts[p]) for p in used], dtype=float)
    own = [float(parts[p].var(ddof=1)) if len(parts[p]) > 1 else 0.0 for p in used]
    variances = np.array([rates[p][1] if rates else one for p, one in zip(used, own, strict=True)])
    residuals = []
    for position in used:
        padded = np.full(len(sites[position].known), np.nan)
        padded[sites[position].known] = parts[position] - parts[position].mean()
        residuals.append(padded)
    spread = float(np.var(means)) if len(means) > 1 else 0.0
    least = max(1e-6 * (spread + float(np.mean(variances) if len(variances) else 0.0)), 1e-12)
    return Response(np.array(used, dtype=np.intp), means, variances, counts - 1, counts, residuals, least)


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Figures of two strategies at one site, finite ones in place of censored ones."""

    first: Floats
    second: Floats
    known: NDArray[np.bool_]
    censored: NDArray[np.bool_]

    @property
    def figures(self) -> tuple[Floats, Floats]:
        """Figures of the pairs that say something."""
        return self.first[self.known], self.second[self.known]

    def parts(self, scale: Scale) -> Floats:
        """Answer of each of these pairs."""
        first, second = self.figures
        result: Floats = np.log(first / second) if scale == "log-ratio" else first - second
        return result


def _tempered(sites: Sequence[_Pairs], parts: dict[int, Floats]) -> None:
    """Let a censored pair win by no more than what was seen of finite ones: a cliff of the figures' making is none of the surface's."""
    finite = [abs(float(one.mean())) for position, one in parts.items() if not sites[position].censored.any()]
    if not finite:
        return
    most = max(_ENOUGH, *finite)
    for position, one in parts.items():
        beyond = sites[position].censored[sites[position].known]
        parts[position] = np.where(beyond, np.clip(one, -most, most), one)


def _uncensored(one: Observed, pair: tuple[int, int]) -> _Pairs:
    first, second = one.values[:, pair[0]].copy(), one.values[:, pair[1]].copy()
    beyond, other = np.isposinf(first), np.isposinf(second)
    known = ~(np.isnan(first) | np.isnan(second)) & ~(beyond & other)
    finite = one.values[:, list(pair)][np.isfinite(one.values[:, list(pair)])]
    if (beyond | other).any() and len(finite):
        top = max(one.watched, float(finite.max()))
        first[beyond] = np.maximum(top, second[beyond] + _LEAST * np.abs(second[beyond]))
        second[other] = np.maximum(top, first[other] + _LEAST * np.abs(first[other]))
    return _Pairs(first, second, known, beyond ^ other)


def _rate_ratio(first: Floats, second: Floats, quantum: float) -> tuple[float, float, Floats]:
    """Log ratio of two means as counts of quanta, variance of one replication, and what each replication adds to it."""
    n = len(first)
    count, other = first.sum() / quantum + 0.5, second.sum() / quantum + 0.5
    counted = n * (1 / count + 1 / other)
    parts = n * (first / quantum / count - second / quantum / other)  # delta method
    seen = float(parts.var(ddof=1)) if n > 1 else 0.0
    return float(np.log(count / other)), max(counted, seen), parts


def shared_noise(sites: Floats, found: Response, variances: Floats) -> Floats:
    """Covariance matrix of the errors of the means, with what sites share because their replications draw the same random numbers.

    Common random numbers across sites move neighbours the same way; means of few replications then err together, and a surface that took
    them for independent would be too sure of itself. The correlation of two sites is taken as ``r exp(-distance / l)``, with `r` and `l` that fit the
    products of the residuals best.

    Args:
        sites: Points of the unit cube.
        found: What was observed there.
        variances: Pooled variance of one replication at each site.
    """
    matrix: Floats = np.diag(variances / found.counts)
    longest = max((len(one) for one in found.residuals), default=0)
    padded = np.full((len(sites), longest), np.nan)
    for row, residuals in enumerate(found.residuals):
        padded[row, : len(residuals)] = residuals
    there = np.isfinite(padded)
    common = there.astype(float) @ there.T.astype(float)
    several = (common >= 2) & ~np.eye(len(sites), dtype=bool)
    if not several.any():
        return matrix
    scaled = np.where(there, padded, 0.0) / np.sqrt(variances)[:, None]
    products = scaled @ scaled.T
    distance = np.sqrt(((sites[:, None, :] - sites[None, :, :]) ** 2).sum(axis=2))
    weight = np.where(several, common - 1, 0.0)
    best, correlation = np.inf, np.zeros_like(matrix)
    for reach in (0.1, 0.3, 1.0, 10.0):
        decay = np.exp(-distance / reach)
        share = float(np.sum(products * decay * several) / max(np.sum(weight * decay**2), 1e-12))
        share = min(max(share, 0.0), 0.98)
        error = float(np.sum((products - weight * share * decay)[several] ** 2 / weight[several]))
        if error < best:
            best, correlation = error, share * decay
    beside = np.sqrt(np.outer(variances, variances)) * correlation * common / np.outer(found.counts, found.counts)
    np.fill_diagonal(beside, 0.0)
    result: Floats = matrix + beside
    return result
