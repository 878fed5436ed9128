"""How far the building blocks of a run are slow at the same time, taken from its legs."""

from __future__ import annotations

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
_LINKS: Final = ("link.", "publish")
_WRITES: Final = ("local", "second-phase", "forced")


def common_mode(runs: Iterable[Mapping[str, Sequence[Leg]]]) -> CommonMode | None:
    """Estimate the correlation of runs at low load.

    Within a run, every leg is put at its rank among those of its block; so blocks of different length compare. The correlation is that
    of legs of two nodes that begin within 2 ms; how much of it is left for those 50 to 150 ms apart tells its memory.

    Args:
        runs: The legs of each run by block, as `simtx.validation.blocks.legs` returns them.

    Returns:
        The correlations, or None if neither links nor writes have any.
    """
    ranked = [{name: _ranks(legs) for name, legs in run.items() if len(legs) > 1} for run in runs]
    links, links_later = _correlations(ranked, _LINKS)
    writes, writes_later = _correlations(ranked, _WRITES)
    if not links and not writes:
        return None
    now, later = (writes, writes_later) if writes >= links else (links, links_later)
    least, most = _MEMORY
    middle = sum(_APART) / 2
    memory = middle / math.log(now / later) if 0 < later < now else most if later >= now else least
    return CommonMode(links, writes, min(max(memory, least), most))


_Ranked = list[tuple[float, str, float]]


def _ranks(legs: Sequence[Leg]) -> _Ranked:
    """Begin, node and rank from 0 to 1 of each leg."""
    ranks = stats.rankdata([leg.seconds for leg in legs]) / (len(legs) + 1)
    return [(leg.begin, leg.node, float(rank)) for leg, rank in zip(legs, ranks, strict=True)]


def _correlations(runs: Sequence[Mapping[str, _Ranked]], names: Sequence[str]) -> tuple[float, float]:
    """The rank correlation of legs at the same time, and of legs somewhat apart; never below 0."""
    together: list[tuple[float, float]] = []
    apart: list[tuple[float, float]] = []
    for run in runs:
        legs = sorted(leg for name, ranked in run.items() if name.startswith(tuple(names)) for leg in ranked)
        for place, (begin, node, rank) in enumerate(legs):
            for later in legs[place + 1 :]:
                distance = later[0] - begin
                if distance > _APART[1]:
                    break
                if later[1] != node and (distance <= _TOGETHER or distance >= _APART[0]):
                    (together if distance <= _TOGETHER else apart).append((rank, later[2]))
    return _correlation(together), _correlation(apart)


def _correlation(pairs: Sequence[tuple[float, float]]) -> float:
    if len(pairs) < LEAST:
        return 0.0
    found = float(np.corrcoef(np.asarray(pairs).T)[0, 1])
    return max(found, 0.0) if math.isfinite(found) else 0.0
