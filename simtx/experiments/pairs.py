"""Two strategies that met the same replications: is one of them lower, how much, and how many more replications would tell?

Positive quantities, such as latencies, are compared by their ratios (Student's t of the logarithms), all others by their differences. Where a value is
infinite, a mean says nothing about the others: then the replications are counted in which one is lower (the exact sign test). One that is lower in most
replications and infinite in more of them than the other is not told from it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

import numpy as np
from scipy import special

from simtx.metrics.figures import COMMITTED, MUCH_LESS
from simtx.metrics.intervals import Floats, Interval, Kind, bounds, kind_of, log_ratios

HOPELESS: Final = 10_000
"""More replications than this are none that anybody would make."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One strategy against another.

    Attributes:
        effect: Ratio (of a positive quantity) or difference, with its interval; a ratio below 1 or a difference below 0: the first is lower.
        ratio: Whether the effect is a ratio.
        lower: Whether the first is lower; None: the replications do not tell.
        wins: Replications in which the first is lower.
        losses: Replications in which the second is lower.
        more: Replications that it would take in addition to tell, if the effect and the spread are as they are now; 0 if it is told,
            infinite if that is more than `HOPELESS`.
    """

    effect: Interval
    ratio: bool
    lower: bool | None
    wins: int
    losses: int
    more: float

    def within(self, share: float) -> bool:
        """Return whether the ratio is surely nearer to 1 than this share; of a difference that is not known."""
        return self.ratio and 1 / (1 + share) <= self.effect.low and self.effect.high <= 1 + share


def compared(ours: Sequence[float], theirs: Sequence[float], kind: Kind, alpha: float) -> Pair:
    """Compare two strategies over the replications that both have.

    Args:
        ours: One value a replication.
        theirs: The same of the other.
        kind: What kind of number it is.
        alpha: Probability of an error that is allowed, of either sign together.
    """
    first, second = np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)
    known = ~(np.isnan(first) | np.isnan(second))
    first, second = first[known], second[known]
    wins, losses = int((first < second).sum()), int((first > second).sum())
    as_ratio = kind == "positive"
    if as_ratio:
        values = log_ratios(first, second)
    else:
        with np.errstate(invalid="ignore"):
            values = first - second
    if not np.isfinite(values).all():
        return _by_signs(
            values, wins, losses, alpha, as_ratio, int(np.isinf(first).sum()) - int(np.isinf(second).sum())
        )
    effect = _effect(values, alpha)
    lower = None
    if effect.n >= 2 and not effect.low <= 0 <= effect.high:
        lower = effect.mean < 0
    more = 0.0 if lower is not None else replications_to_tell(effect, abs(effect.mean), alpha)
    if as_ratio:
        with np.errstate(over="ignore"):  # an end that is beyond all bounds is infinite
            mean, low, high = (float(np.exp(end)) for end in effect[:3])
        effect = effect._replace(mean=mean, low=low, high=high)
    return Pair(effect, as_ratio, lower, wins, losses, more)


def much_less(shares: Mapping[str, Mapping[int, float]], confidence: float = 0.95) -> dict[str, str]:
    """Strategies that surely commit less than another one, by more than `MUCH_LESS`: times of all transactions do not rank it.

    Refusals by the business are the same under all strategies, so that such a difference comes from timeouts, locks and faults.

    Args:
        shares: The share that is committed by name of the strategy and number of the replication; without replications that have none.
        confidence: Of each comparison of two.

    Returns:
        By the name of each who does, the one that commits the most.
    """
    found = {}
    for name, ours in shares.items():
        more = []
        for other, theirs in shares.items():
            both = sorted(ours.keys() & theirs.keys())
            pair = compared([ours[i] for i in both], [theirs[i] for i in both], kind_of(COMMITTED), 1 - confidence)
            if pair.effect.high < -MUCH_LESS:
                more.append(other)
        if more:
            found[name] = max(more, key=lambda one: fmean(shares[one].values()))
    return found


def _effect(values: Floats, alpha: float) -> Interval:
    n = len(values)
    if n < 2:
        mean = float(values[0]) if n else math.nan
        return Interval(mean, math.nan, math.nan, n)
    mean, low, high = (float(one) for one in bounds(values, 1 - alpha))
    return Interval(mean, low, high, n)


def _by_signs(values: Floats, wins: int, losses: int, alpha: float, as_ratio: bool, excess: int) -> Pair:
    """Compare where a mean is infinite: the lower one is lower in more replications than chance would have it, unless it is infinite more often (`excess`)."""
    at_odds = excess * (wins - losses) > 0
    tell = not at_odds and wins + losses > 0 and _sign_test(wins, wins + losses) <= alpha
    infinite = int((~np.isfinite(values)).sum())
    ends = {float(one) for one in values[np.isinf(values)]}
    mean = ends.pop() if len(ends) == 1 else math.nan
    if as_ratio:
        mean = float(np.exp(mean))
    effect = Interval(mean, math.nan, math.nan, len(values), "sign test", infinite)
    lower = wins > losses if tell else None
    more = 0.0 if tell else math.inf if at_odds else _signs_to_tell(wins, losses, len(values), alpha)
    return Pair(effect, as_ratio, lower, wins, losses, more)


def _sign_test(wins: int, decided: int) -> float:
    """Probability of a split as uneven as this one if both were alike."""
    from scipy.stats import binomtest  # a second or so to import, and rarely needed: worker processes do without

    return float(binomtest(wins, decided).pvalue)


def _signs_to_tell(wins: int, losses: int, n: int, alpha: float) -> float:
    """The normal approximation of the sign test, solved for the number of replications."""
    decided = wins + losses
    if not decided or wins == losses:
        return math.inf
    excess = abs(wins - losses) / decided
    least = math.log2(2 / alpha)  # with all signs equal
    needed = max(least, (float(special.ndtri(1 - alpha / 2)) / excess) ** 2) * n / decided
    return _bounded(needed, n)


def replications_to_tell(one: Interval, distance: float, alpha: float) -> float:
    """Replications in addition to those of an interval until it would end at a distance from its mean; infinite if that is beyond reason."""
    if one.n < 2 or not distance > 0 or math.isnan(one.low):
        return math.inf
    reach = max(one.mean - one.low, one.high - one.mean)
    with_t = reach / float(special.stdtrit(one.n - 1, 1 - alpha / 2))
    needed = float(one.n)
    for _ in range(20):  # Student's t falls with the number that is looked for
        quantile = float(special.stdtrit(max(needed - 1, 1.0), 1 - alpha / 2))
        needed = max(2.0, one.n * (with_t * quantile / distance) ** 2)
        if needed > HOPELESS:
            return math.inf
    return _bounded(needed, one.n)


def _bounded(needed: float, n: int) -> float:
    return math.inf if needed > HOPELESS else float(max(1, math.ceil(needed) - n))
