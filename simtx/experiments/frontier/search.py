"""The search for the frontier: looks at what is known, adds the runs that help most, and stops when the map is sure enough.

It knows nothing of scenarios: it works on points of the unit cube, and a function `observe` gives the figures of paired runs there. So it can be
tested on surfaces that are known.

The next runs are chosen first where a point is both close to the frontier and unknown, then by what makes the whole map surer. Sources: the straddle
heuristic is that of Bryan, Schneider, Nichol, Miller, Genovese and Wasserman (NIPS 2005, "Active learning for identifying function threshold
boundaries"); contour uncertainty with replication that of Lyu, Binois and Ludkovski (2021, "Evaluating Gaussian process metamodels and sequential
designs for noisy level set estimation", *Statistics and Computing* 31), here integrated over the map.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import special
from scipy.stats import qmc
from threadpoolctl import threadpool_limits

from simtx.experiments.frontier.gp import Floats
from simtx.experiments.frontier.responses import Observed
from simtx.experiments.frontier.zones import UNDECIDED, Contest, Surfaces

_MOST_SITES: Final = 400
"""More of them would make each look slow, and replications at known sites say as much."""
_CANDIDATES: Final = 512


class Observe(Protocol):
    """Makes sure that sites have replications, and gives all that is known of them."""

    def __call__(self, sites: Floats, replications: Sequence[int]) -> Sequence[Observed]:
        """Figures of each site, old and new.

        Args:
            sites: Points of the unit cube, one a row.
            replications: How many replications each site should have at the end; those it has already are not run again.
        """
        ...


@dataclass(frozen=True, slots=True)
class Plan:
    """Settings of a search.

    Attributes:
        budget: Paired replications that may be added.
        undecided: Share of the map at which it stops.
        confidence: Of a winner at a point.
        first: Sites that it begins with.
        start: Replications of each of them.
        batch: Replications that are added at once.
        sites: Sites that get a batch in each round, side by side.
        reuse: Distance within which a site gets the replications instead of a new one.
        straddle: Rounds that go by the straddle, which finds the frontier; those after them go by contour uncertainty, which sharpens the map.
        seed: Of the first sites.
    """

    budget: int
    undecided: float = 0.05
    confidence: float = 0.95
    first: int = 10
    start: int = 4
    batch: int = 4
    sites: int = 1
    reuse: float = 0.06
    straddle: int = 4
    seed: int = 1


@dataclass
class State:
    """State of the search.

    Attributes:
        sites: Points of the unit cube, one a row.
        observed: Figures of each.
        spent: Paired replications that were added.
        history: After each look: replications at all sites, and the undecided share.
        stopped: Why it ended: ``decided``, ``budget``, ``interrupted`` or ``stuck``; empty while it goes on.
    """

    sites: Floats
    observed: list[Observed]
    spent: int = 0
    history: list[tuple[int, float]] = field(default_factory=list)
    stopped: str = ""

    @property
    def counts(self) -> NDArray[np.intp]:
        """Replications of each site."""
        return np.array([len(one.values) for one in self.observed], dtype=np.intp)

    def mute_at(self, points: Floats) -> NDArray[np.bool_]:
        """Points whose nearest site says nothing: every strategy is beyond the watched time there, or all runs have failed."""
        mute = np.array([not np.isfinite(one.values).any() for one in self.observed])
        if not mute.any():
            return np.zeros(len(points), dtype=bool)
        result: NDArray[np.bool_] = mute[_distances(points[:, None, :], self.sites[None, :, :]).argmin(axis=1)]
        return result


def winners(state: State, surfaces: Surfaces, points: Floats, confidence: float) -> NDArray[np.intp]:
    """The winner at each point, or `UNDECIDED`."""
    decided = surfaces.contest(points).winners(confidence)
    return np.where(state.mute_at(points), UNDECIDED, decided)


def grid_of(dimensions: int, per_side: int = 41) -> Floats:
    """Points that cover the unit cube evenly, each the centre of a cell of the same size."""
    side = (np.arange(per_side) + 0.5) / per_side
    return np.stack(np.meshgrid(*[side] * dimensions, indexing="ij"), axis=-1).reshape(-1, dimensions)


def search(
    observe: Observe,
    *,
    dimensions: int,
    strategies: int,
    plan: Plan,
    better: str = "lower",
    known: tuple[Floats, Sequence[Observed]] | None = None,
    snap: Callable[[Floats], Floats] = lambda points: points,
    on_look: Callable[[State, Surfaces], None] | None = None,
) -> tuple[State, Surfaces]:
    """Search until the map is sure enough, or the budget is spent.

    One thread does the linear algebra: the matrices are small, and several would mostly wait for each other.

    Args:
        observe: Gives figures.
        dimensions: Of the cube.
        strategies: How many are compared; the figures have a column for each.
        plan: How it goes.
        better: ``lower`` or ``higher``.
        known: Sites that have runs already, and their figures.
        snap: The nearest points that can be simulated, such as round values.
        on_look: Called after each look.

    Raises:
        ValueError: The budget does not even do for the first sites.
    """
    with threadpool_limits(limits=1, user_api="blas"):
        state = State(np.empty((0, dimensions)), []) if known is None else State(known[0], list(known[1]))
        surfaces = _begin(state, observe, plan, strategies=strategies, better=better, snap=snap)
        # Points a side: a map of some 1,700 points (two axes) is looked at after every round, so it must not cost more than the runs.
        grid = grid_of(dimensions, {1: 501, 2: 41}.get(dimensions, 9))
        sobol = qmc.Sobol(dimensions, seed=np.random.default_rng(plan.seed))
        while True:
            share = float(np.mean(winners(state, surfaces, grid, plan.confidence) == UNDECIDED))
            state.history.append((int(state.counts.sum()), share))
            if on_look is not None:
                on_look(state, surfaces)
            if share <= plan.undecided:
                state.stopped = "decided"
            elif state.spent + plan.batch > plan.budget:
                state.stopped = "budget"
            if state.stopped:
                return state, surfaces
            # Known sites are candidates, too: more replications there may be worth more than a new place.
            candidates = np.vstack([state.sites, snap(sobol.random(_CANDIDATES))])
            chosen = _chosen(state, surfaces, candidates, grid, plan)
            if not len(chosen):
                state.stopped = "stuck"
                return state, surfaces
            room = (plan.budget - state.spent) // plan.batch
            try:
                _add(state, observe, chosen[:room], plan.batch)
            except KeyboardInterrupt:
                state.stopped = "interrupted"
                return state, surfaces
            surfaces = Surfaces.fit(state.sites, state.observed, strategies=strategies, better=better, before=surfaces)


def _begin(
    state: State, observe: Observe, plan: Plan, *, strategies: int, better: str, snap: Callable[[Floats], Floats]
) -> Surfaces:
    """Figures at the first sites, unless enough are known; the first surfaces."""
    dimensions = state.sites.shape[1]
    wanted = _first_sites(dimensions, plan)
    missing = [point for point in snap(wanted) if not len(state.sites) or _distances(point, state.sites).min() > 0.15]
    if len(state.sites) >= plan.first and not _gaps(wanted, state.sites):
        missing = []
    thin = [position for position, count in enumerate(state.counts) if count < 2]
    cost = len(missing) * plan.start + 2 * len(thin)
    if missing or thin:
        if cost > plan.budget:
            raise ValueError(
                f"the first {len(missing)} sites need {cost} paired replications and the budget is {plan.budget}"
            )
        sites = np.vstack([state.sites[thin], np.array(missing).reshape(-1, dimensions)])
        _merge(state, sites, observe(sites, [2] * len(thin) + [plan.start] * len(missing)))
    return Surfaces.fit(state.sites, state.observed, strategies=strategies, better=better)


def _first_sites(dimensions: int, plan: Plan) -> Floats:
    """First sites of a map: its corners, a little inside, and points of a Sobol sequence; of one axis: both ends, and points between."""
    if dimensions == 1:
        return np.linspace(0, 1, max(plan.first // 2, 3))[:, None]
    points = qmc.Sobol(dimensions, seed=np.random.default_rng(plan.seed)).random_base2(math.ceil(math.log2(plan.first)))
    if dimensions > 2:
        return np.asarray(points)[: plan.first]
    sides = np.stack(np.meshgrid(*[[0.04, 0.96]] * dimensions, indexing="ij"), axis=-1).reshape(-1, dimensions)
    return np.vstack([sides, 0.1 + 0.8 * np.asarray(points)[: max(plan.first - len(sides), 1)]])


def _gaps(wanted: Floats, sites: Floats) -> bool:
    """Return whether some first site is far from all that are known."""
    return any(_distances(point, sites).min() > 0.35 for point in wanted)


def _chosen(state: State, surfaces: Surfaces, candidates: Floats, grid: Floats, plan: Plan) -> Floats:
    """The next sites: each the best one, and no two side by side."""
    contest = surfaces.contest(candidates)
    # At first the surface is too rough to say what a run would change elsewhere; the straddle needs only the point itself.
    if len(state.history) <= plan.straddle:
        worth = _straddle(contest)
    else:
        worth = _contour_uncertainty(surfaces, candidates, contest, grid, surfaces.contest(grid), plan.batch)
    worth = np.where(state.mute_at(candidates), -np.inf, worth)  # more runs there would not say anything, either
    # The process solves a system of as many equations as there are sites: from here on they only get replications.
    if len(state.sites) >= _MOST_SITES:
        worth[len(state.sites) :] = -np.inf
    chosen: list[Floats] = []
    for position in np.argsort(-worth):
        if not np.isfinite(worth[position]):
            break
        point = candidates[position]
        if position >= len(state.sites):
            near = _distances(point, state.sites)
            # Two sites side by side say nearly the same, and each has to find out its own noise.
            if near.min() < plan.reuse:
                point = state.sites[int(near.argmin())]
        if not chosen or _distances(point, np.array(chosen)).min() > 0.1:
            chosen.append(point)
        if len(chosen) == plan.sites:
            break
    return np.array(chosen).reshape(-1, state.sites.shape[1])


def _straddle(contest: Contest, quantile: float = 1.96) -> Floats:
    """Distance by which the band around each point reaches beyond the frontier; negative where the winner is known."""
    return quantile * contest.error - contest.lead


def _contour_uncertainty(
    surfaces: Surfaces, candidates: Floats, contest: Contest, grid: Floats, over: Contest, replications: int
) -> Floats:
    """Decrease of the doubt about the winner that so many replications at each candidate are expected to bring, on average over the map.

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


def _add(state: State, observe: Observe, chosen: Floats, batch: int) -> None:
    wanted = []
    for point in chosen:
        near = _distances(point, state.sites)
        there = int(near.argmin())
        wanted.append(batch + (len(state.observed[there].values) if near[there] < 1e-9 else 0))
    _merge(state, chosen, observe(chosen, wanted))


def _merge(state: State, sites: Floats, figures: Sequence[Observed]) -> None:
    for point, one in zip(sites, figures, strict=True):
        near = _distances(point, state.sites) if len(state.sites) else np.array([np.inf])
        there = int(near.argmin())
        if near[there] < 1e-9:
            state.spent += len(one.values) - len(state.observed[there].values)
            state.observed[there] = one
        else:
            state.spent += len(one.values)
            state.sites = np.vstack([state.sites, point])
            state.observed.append(one)


def _distances(point: Floats, sites: Floats) -> Floats:
    result: Floats = np.sqrt(((sites - point) ** 2).sum(axis=-1))
    return result
