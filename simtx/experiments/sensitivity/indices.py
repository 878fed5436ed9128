"""All factors at once: elementary effects (Morris), and shares of the variance (Sobol) on a Gaussian process, at no further run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from scipy import stats

from simtx.errors import ScenarioError
from simtx.experiments.frontier.gp import GaussianProcess
from simtx.experiments.frontier.noise import noise_law
from simtx.experiments.sensitivity.question import Answers, Floats

if TYPE_CHECKING:
    from simtx.experiments.frontier.noise import NoiseLaw

LEVELS: Final = 4
_BASE: Final = 512
"""Points of the base sample of the Sobol indices, a power of two."""
_SURFACES: Final = 48
"""Surfaces drawn for the uncertainty of an index."""


# --- Morris -------------------------------------------------------------------------------------------------------------------------


def _salib() -> tuple[Any, Any]:
    try:
        from SALib.analyze import morris as analysis
        from SALib.sample import morris as sample
    except ImportError:
        raise ScenarioError(
            "needs SALib; install it with: pip install 'simtx[sensitivity]'", "method 'morris'"
        ) from None
    return sample, analysis


def _problem(names: Sequence[str]) -> dict[str, Any]:
    return {"num_vars": len(names), "names": list(names), "bounds": [[-1.0, 1.0]] * len(names)}


def morris_positions(names: Sequence[str], trajectories: int, seed: int) -> Floats:
    """Positions of the factors, one row a cell: trajectories that change one factor at a time."""
    sample, _ = _salib()
    result: Floats = sample.sample(_problem(names), trajectories, num_levels=LEVELS, seed=seed)
    return result


def morris(
    names: Sequence[str], places: Floats, found: Answers, confidence: float, seed: int
) -> tuple[pd.DataFrame, float]:
    """Elementary effects of each factor over its whole range, the strongest first, and the noise of one of them.

    Columns: `factor`; `mu_star`: mean size of the effect, with `mu_star_half_width`; `mu`: mean with its sign; `sigma`: how much it depends on the
    other factors and on the place. The noise is the root mean square of the standard errors of single effects, from the replications.
    """
    _, analysis = _salib()
    if not np.isfinite(found.values).all():
        raise ScenarioError("some answers are no numbers", "method 'morris'")
    result = analysis.analyze(
        _problem(names),
        places,
        found.means,
        conf_level=confidence,
        num_levels=LEVELS,
        seed=seed,
        print_to_console=False,
    )
    table = pd.DataFrame(
        {
            "factor": list(names),
            "mu_star": np.asarray(result["mu_star"], dtype=float),
            "mu_star_half_width": np.asarray(result["mu_star_conf"], dtype=float),
            "mu": np.asarray(result["mu"], dtype=float),
            "sigma": np.asarray(result["sigma"], dtype=float),
        }
    )
    moved = np.flatnonzero((np.diff(places, axis=0) != 0).sum(axis=1) == 1)
    steps = np.diff(found.values, axis=0)[moved]
    errors = (
        steps.std(axis=1, ddof=1) / np.sqrt(found.values.shape[1]) if found.values.shape[1] > 1 else np.array([np.nan])
    )
    jump = LEVELS / (2 * (LEVELS - 1))
    table = table.sort_values(["mu_star", "factor"], ascending=[False, True]).reset_index(drop=True)
    return table, float(np.sqrt(np.mean(errors**2))) / jump


# --- Sobol --------------------------------------------------------------------------------------------------------------------------


def sobol(
    names: Sequence[str], places: Floats, found: Answers, confidence: float, seed: int
) -> tuple[pd.DataFrame, float]:
    """Shares of the variance that each factor explains, the largest first, and the share of a single run's variance that is noise.

    A Gaussian process is fitted to the means of the cells. The indices are those of the process (Saltelli's estimator, `scipy.stats.sobol_indices`), with
    the factors uniform over their ranges. Their intervals come from surfaces that are as likely as the data make them.

    Columns: `factor`; `first`: alone, with `first_low` and `first_high`; `total`: with all interactions, with its interval likewise.

    Args:
        names: Of the factors.
        places: Points of the unit cube, one row a cell.
        found: What the runs say.
        confidence: Of the intervals.
        seed: Of all draws.

    Raises:
        ScenarioError: Too few cells, or answers that are no numbers.
    """
    cells, replications = found.values.shape
    if not np.isfinite(found.values).all():
        raise ScenarioError("some answers are no numbers", "method 'sobol'")
    if cells < 4 * len(names):
        raise ScenarioError(
            f"{cells} cells do not do for {len(names)} factors; {4 * len(names)} are needed", "method 'sobol'"
        )
    process, law = _surface(places, found)
    generator = np.random.default_rng(seed)
    uniform = [stats.uniform()] * len(names)
    drawn = process.draws(_SURFACES, generator)
    first, total = _shares(lambda x: process.predict(x.T)[0][None], uniform, seed)
    firsts, totals = _shares(lambda x: drawn(x.T), uniform, seed)
    tail = (1 - confidence) / 2
    data: dict[str, Any] = {"factor": list(names)}
    for title, one, several in (("first", first, firsts), ("total", total, totals)):
        low, high = np.quantile(several, [tail, 1 - tail], axis=0)
        data |= {
            title: one[0],
            f"{title}_low": np.clip(np.minimum(low, one[0]), 0, 1),
            f"{title}_high": np.clip(np.maximum(high, one[0]), 0, 1),
        }
    points = np.random.default_rng(seed).random((2048, len(names)))
    noise = float(law.at(points).mean()) if replications > 1 else float("nan")
    surface = float(process.predict(points)[0].var())
    table = pd.DataFrame(data).sort_values(["total", "factor"], ascending=[False, True]).reset_index(drop=True)
    return table, noise / (noise + surface) if noise + surface > 0 else float("nan")


def _surface(places: Floats, found: Answers) -> tuple[GaussianProcess, NoiseLaw]:
    cells, replications = found.values.shape
    own = found.values.var(axis=1, ddof=1) if replications > 1 else np.zeros(cells)
    floor = max(1e-9 * float(found.means.var() + own.mean()), 1e-15)
    degrees = np.full(cells, float(replications - 1))
    law = noise_law(places, own, degrees, floor=floor)
    return GaussianProcess(places, found.means, np.diag(law.pooled(places, own, degrees) / replications)), law


def _shares(function: Any, uniform: Sequence[Any], seed: int) -> tuple[Floats, Floats]:
    """First and total indices, one surface a row."""
    if len(uniform) == 1:  # one factor has all of the variance; scipy's estimator wants two
        surfaces = len(np.atleast_2d(function(np.array([[0.5]]))))
        return np.ones((surfaces, 1)), np.ones((surfaces, 1))
    result = stats.sobol_indices(func=function, n=_BASE, dists=list(uniform), rng=np.random.default_rng(seed))
    return np.atleast_2d(result.first_order), np.atleast_2d(result.total_order)
