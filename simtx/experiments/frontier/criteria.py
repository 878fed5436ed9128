"""Chooses the next runs of a frontier: first where a point is both close to the frontier and unknown, then what makes the whole map surer.

Sources: the straddle heuristic is that of Bryan, Schneider, Nichol, Miller, Genovese and Wasserman (NIPS 2005, "Active learning for identifying
function threshold boundaries"); contour uncertainty with replication that of Lyu, Binois and Ludkovski (2021, "Evaluating Gaussian process
metamodels and sequential designs for noisy level set estimation", *Statistics and Computing* 31), here integrated over the map.
"""

from __future__ import annotations

import numpy as np
from scipy import special

from simtx.experiments.frontier.gp import Floats
from simtx.experiments.frontier.zones import Contest, Surfaces


def straddle(contest: Contest, quantile: float = 1.96) -> Floats:
    """How far the band around each point reaches beyond the frontier; negative where the winner is known."""
    return quantile * contest.error - contest.lead


def contour_uncertainty(
    surfaces: Surfaces, candidates: Floats, contest: Contest, grid: Floats, over: Contest, replications: int
) -> Floats:
    """By how much so many replications at each candidate are expected to lower the doubt about the winner, on average over the map.

    Args:
        surfaces: What is known.
        candidates: Where runs may be added.
        contest: Who leads at the candidates.
        grid: Points that cover the map.
        over: Who leads there.
        replications: Runs of each strategy that would be added.
    """
    gain = np.zeros(len(candidates))
    doubt = over.doubt()
    for (a, b), surface in surfaces.pairs.items():
        here = ((contest.leader == a) & (contest.rival == b)) | ((contest.leader == b) & (contest.rival == a))
        there = ((over.leader == a) & (over.rival == b)) | ((over.leader == b) & (over.rival == a))
        there &= doubt > 1e-4  # elsewhere nothing is left to gain
        if not here.any() or not there.any():
            continue
        # The variance of the mean of the new runs, and how much of the doubt at each point of the map a figure here explains (Gaussian conditioning).
        # Neither depends on what the runs will show, so that candidates can be compared before any is played.
        noise = surface.noise.at(candidates[here]) / replications
        shared = surface.process.covariance(candidates[here], grid[there])
        learnt = shared**2 / (contest.error[here] ** 2 + noise)[:, None]
        # Rounding may take more than there was; a width of zero would divide by zero below.
        left = np.sqrt(np.maximum(over.error[there] ** 2 - learnt, 1e-300))
        gain[here] = (doubt[there] - special.ndtr(-over.lead[there] / left)).sum(axis=1)
    result: Floats = gain / len(grid)
    return result
