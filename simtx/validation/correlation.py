"""Correlation of the building blocks of a run, taken from its legs: how far they are slow at the same time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np
from scipy import stats

from simtx.scenario.infrastructure import CommonMode
from simtx.validation.blocks import Leg

LEAST: Final = 100
"""Pairs below which a correlation is taken for none."""
_TOGETHER: Final = 0.002  # seconds between the begins of two legs that count as drawn at the same time
_APART: Final = (0.05, 0.15)  # seconds between those that tell how long the correlation lasts
_MEMORY: Final = (0.005, 10.0)  # seconds, what the estimate is kept between
_AT_ONCE: Final = (
    0.00015  # seconds between the ends of two forced writes that one flush has made durable: it wakes up two processes
)
_ONE_AFTER_THE_OTHER: Final = 0.001  # seconds between their begins: one has begun while the other was under way
_WITHIN: Final = np.arange(0.0001, _ONE_AFTER_THE_OTHER, 0.00005)  # how long before, at most: what is tried
_LINKS: Final = ("link.", "publish")
_WRITES: Final = ("local", "second-phase", "forced")


def common_mode(runs: Iterable[Mapping[str, Sequence[Leg]]]) -> CommonMode | None:
    """Estimate the correlation of runs at low load.

    Within a run, every leg is put at its rank among those of its block; so blocks of different length compare. The correlation is that
    of legs of two nodes that begin within 2 ms; how much of it is left for those 50 to 150 ms apart tells its memory. Forced writes that begin so
    close to each other that they share a flush do not count for it: they are told by their ends.

    Args:
        runs: The legs of each run by block, as `simtx.validation.blocks.legs` returns them.

    Returns:
        The correlations, or None if neither links nor writes have any.
    """
    runs = list(runs)
    ranked = [{name: _ranks(legs) for name, legs in run.items() if len(legs) > 1} for run in runs]
    shared, within = _shared_flush(runs)
    links, links_later = _correlations(ranked, _LINKS)
    writes, writes_later = _correlations(ranked, _WRITES, beyond=within if shared else -1.0)
    if not links and not writes and not shared:
        return None
    now, later = (writes, writes_later) if writes >= links else (links, links_later)
    least, most = _MEMORY
    middle = sum(_APART) / 2
    memory = middle / math.log(now / later) if 0 < later < now else most if later >= now else least
    return CommonMode(links, writes, min(max(memory, least), most), shared, within)


def _shared_flush(runs: Sequence[Mapping[str, Sequence[Leg]]]) -> tuple[float, float]:
    """Share of forced writes that end together with that of another node which began just before, and how long before, in seconds, at most.

    Two shares of pairs, up to some time between their begins and beyond it, explain the pairs best at one of the times tried (the largest
    likelihood). What ends together beyond it does so by chance, and as often before it.
    """
    gaps: list[float] = []
    ends: list[float] = []
    for run in runs:
        legs = sorted(leg for name, found in run.items() if name in _WRITES for leg in found)
        for one, other in itertools.pairwise(legs):
            if other.node != one.node and other.begin - one.begin <= _ONE_AFTER_THE_OTHER:
                gaps.append(other.begin - one.begin)
                ends.append(other.begin + other.seconds - one.begin - one.seconds)
    gap, together = np.array(gaps), np.abs(ends) <= _AT_ONCE
    best, found = -math.inf, (0.0, float(_WITHIN[0]))
    for within in _WITHIN:
        near = gap <= within
        if min(near.sum(), (~near).sum()) < LEAST // 4:
            continue
        close, chance = float(together[near].mean()), float(together[~near].mean())
        likelihood = -near.sum() * stats.entropy([close, 1 - close]) - (~near).sum() * stats.entropy(
            [chance, 1 - chance]
        )
        if likelihood > best:
            best, found = likelihood, (max(close - chance, 0.0) / (1 - chance) if chance < 1 else 0.0, float(within))
    return found


_Ranked = list[tuple[float, str, float]]


def _ranks(legs: Sequence[Leg]) -> _Ranked:
    """Begin, node and rank from 0 to 1 of each leg."""
    ranks = stats.rankdata([leg.seconds for leg in legs]) / (len(legs) + 1)
    return [(leg.begin, leg.node, float(rank)) for leg, rank in zip(legs, ranks, strict=True)]


def _correlations(
    runs: Sequence[Mapping[str, _Ranked]], names: Sequence[str], *, beyond: float = -1.0
) -> tuple[float, float]:
    """The rank correlation of legs at the same time (`beyond`: that begin further apart than so many seconds), and of legs somewhat apart; never below 0."""
    together: list[tuple[float, float]] = []
    apart: list[tuple[float, float]] = []
    for run in runs:
        legs = sorted(leg for name, ranked in run.items() if name.startswith(tuple(names)) for leg in ranked)
        for place, (begin, node, rank) in enumerate(legs):
            for later in legs[place + 1 :]:
                distance = later[0] - begin
                if distance > _APART[1]:
                    break
                if later[1] != node and (beyond < distance <= _TOGETHER or distance >= _APART[0]):
                    (together if distance <= _TOGETHER else apart).append((rank, later[2]))
    return _correlation(together), _correlation(apart)


def _correlation(pairs: Sequence[tuple[float, float]]) -> float:
    if len(pairs) < LEAST:
        return 0.0
    found = float(np.corrcoef(np.asarray(pairs).T)[0, 1])
    return max(found, 0.0) if math.isfinite(found) else 0.0
