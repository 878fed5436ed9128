"""The search on surfaces that are known: few runs, a map that is rarely wrong where it is sure, and an end that says why."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from simtx.experiments.frontier import Axis, Frontier, Observed, Plan, State, search
from simtx.experiments.frontier.crossing import crossings
from simtx.experiments.frontier.search import grid_of, winners
from simtx.experiments.frontier.zones import UNDECIDED, Surfaces
from tests.experiments.surfaces import World, island, wave

GRID = grid_of(2, 60)
X, Y = Axis("rtt", 0.0, 50.0, "ms"), Axis("workload.rate", 0.0, 100.0, "/s")


def _search(world: World, **options: Any) -> tuple[State, Surfaces]:
    plan = {"budget": 400, "undecided": 0.08, **options}
    return search(world, dimensions=2, strategies=2, plan=Plan(**plan))


def _wrong(world: World, state: State, surfaces: Surfaces) -> tuple[float, float]:
    """Share of the area on the wrong side of the likeliest frontier, and share that is called decided and is wrong."""
    truth = (world.surface(GRID) > 0).astype(int)  # more of the metric loses
    won = winners(state, surfaces, GRID, 0.95)
    return float(np.mean(surfaces.contest(GRID).leader != truth)), float(np.mean((won != UNDECIDED) & (won != truth)))


@pytest.mark.parametrize("surface", [wave, island])
@pytest.mark.sample(2)
def test_a_hundred_paired_replications_or_so_find_the_frontier_and_what_is_decided_is_right(surface: Any) -> None:
    results = []
    for seed in (1, 2, 3):
        world = World(surface, seed=seed)
        state, surfaces = _search(world, seed=seed)
        assert state.stopped == "decided"
        assert state.spent == world.played <= 200
        results.append(_wrong(world, state, surfaces))
    wrong, decided_wrong = np.mean(results, axis=0)
    assert wrong < 0.025
    assert decided_wrong < 0.005


@pytest.mark.heavy
def test_random_numbers_that_all_sites_share_do_not_make_the_map_too_sure_of_itself() -> None:
    """With common random numbers across cells all sites err in the same direction: the frontier is shifted as a whole."""
    results = []
    for seed in range(3):
        world = World(wave, shared=0.8, seed=seed)
        results.append(_wrong(world, *_search(world, seed=seed, budget=160)))
    assert np.mean(results, axis=0)[1] < 0.005


def test_a_budget_that_is_too_small_is_kept_and_guarantees_nothing() -> None:
    world = World(wave, noise=lambda points: 0.5 + 0 * points[:, 0])
    state, surfaces = _search(world, budget=80, undecided=0.01)
    assert state.stopped == "budget"
    assert world.played == state.spent <= 80
    found = Frontier((X, Y), ("2pc", "saga"), "latency_p99_ms", state, surfaces, target=0.01)
    assert not found.guaranteed
    assert found.undecided > 0.01
    assert "not guaranteed: the budget is spent" in str(found)


def test_a_budget_that_does_not_do_for_the_first_sites_is_refused() -> None:
    with pytest.raises(ValueError, match="the first 10 sites need 40 paired replications and the budget is 20"):
        _search(World(wave), budget=20)


def test_what_is_known_is_not_played_again_and_a_map_that_is_good_enough_needs_nothing() -> None:
    world = World(wave)
    state, _ = _search(world)
    before = world.played
    again, _ = search(world, dimensions=2, strategies=2, plan=Plan(400, 0.08), known=(state.sites, state.observed))
    assert again.stopped == "decided"
    assert again.spent == 0
    assert world.played == before


def test_runs_that_are_known_save_as_many_new_ones() -> None:
    world = World(wave)
    sites = grid_of(2, 4)
    known = world(sites, [4] * 16)
    before = world.played
    state, _ = search(world, dimensions=2, strategies=2, plan=Plan(400, 0.08), known=(sites, known))
    assert state.stopped == "decided"
    assert world.played - before == state.spent < 120


def test_an_interrupted_search_keeps_what_it_has_and_says_so() -> None:
    world = World(wave)
    calls = []

    def observe(sites: Any, replications: Any) -> list[Observed]:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return world(sites, replications)

    state, surfaces = search(observe, dimensions=2, strategies=2, plan=Plan(400, 0.01))
    assert state.stopped == "interrupted"
    assert int(state.counts.sum()) == world.played
    assert np.isfinite(surfaces.contest(GRID).error).all()


def test_censored_figures_are_ordinal_wins_and_the_frontier_to_them_is_found() -> None:
    """The first strategy's figure rises with the load and is beyond the watched time at 0.6 and above, soon after it has become the worse one."""

    def censored(site: Any, values: Any) -> Observed:
        return Observed(np.where(values > 150, math.inf, values), watched=150.0)

    world = World(lambda points: 2 * (points[:, 1] - 0.4), transform=censored)
    state, surfaces = _search(world, budget=300)
    won = winners(state, surfaces, GRID, 0.95)
    above = GRID[:, 1] > 0.4
    assert (won[GRID[:, 1] > 0.5] == 1).mean() > 0.95
    assert (won[GRID[:, 1] < 0.3] == 0).mean() > 0.95
    assert np.mean((won == 0) & above | (won == 1) & ~above) < 0.005


def test_where_both_are_beyond_the_watched_time_nothing_is_decided_and_no_run_is_wasted() -> None:
    def saturated(site: Any, values: Any) -> Observed:
        return Observed(np.full_like(values, math.inf) if site[1] > 0.7 else values)

    world = World(lambda points: 1.5 * (points[:, 0] - 0.5), transform=saturated)
    state, surfaces = _search(world, budget=300, undecided=0.05)
    assert state.stopped in ("budget", "stuck")
    won = winners(state, surfaces, GRID, 0.95)
    assert (won[GRID[:, 1] > 0.9] == UNDECIDED).all()
    assert (won[GRID[:, 1] < 0.4] != UNDECIDED).mean() > 0.8
    there = state.sites[:, 1] > 0.8
    assert state.counts[there].sum() <= 40  # no more than the first sites
    found = Frontier((X, Y), ("2pc", "saga"), "latency_p99_ms", state, surfaces)
    assert "no run has a figure to compare" in found.caption


def test_several_sites_side_by_side_are_no_neighbours_and_find_the_same_frontier() -> None:
    world = World(wave)
    calls: list[Any] = []

    def observe(sites: Any, replications: Any) -> list[Observed]:
        calls.append(sites)
        return world(sites, replications)

    state, surfaces = search(observe, dimensions=2, strategies=2, plan=Plan(400, 0.08, sites=4))
    assert all(len(one) == 4 for one in calls[1:-1])
    for one in calls[1:]:
        gaps = np.sqrt(((one[:, None] - one[None]) ** 2).sum(axis=2))[~np.eye(len(one), dtype=bool)]
        assert gaps.min() > 0.1 if len(gaps) else True
    assert _wrong(world, state, surfaces)[1] < 0.005


def test_the_same_seed_gives_the_same_search() -> None:
    first, second = (_search(World(wave), budget=100)[0] for _ in range(2))
    assert np.array_equal(first.sites, second.sites)
    assert first.history == second.history


# --- one axis -----------------------------------------------------------------------------------------------------------------------


def _line(at: float) -> Any:
    return lambda points: points[:, 0] - at


def _searched(world: World, plan: Plan) -> tuple[State, Surfaces]:
    """The search on one axis, as that of a sweep."""
    return search(world, dimensions=1, strategies=2, plan=plan, snap=lambda points: X.snap(points[:, 0])[:, None])


@pytest.mark.parametrize(("trials", "least"), [(4, 3), pytest.param(24, 20, marks=pytest.mark.heavy)])
def test_the_interval_of_a_crossing_covers_it_as_often_as_it_says(trials: int, least: int) -> None:
    """All but so many of them as a share of 0.95 leaves out, and two standard deviations more."""
    covered, widths = 0, []
    for seed in range(trials):
        at = float(np.random.default_rng(seed).uniform(0.15, 0.85))
        world = World(_line(at), noise=lambda points: 0.1 * (1 + 2 * points[:, 0]), seed=seed)
        state, surfaces = _searched(world, Plan(250, 0.1))
        found = crossings(state, surfaces, X, ("2pc", "saga"), 0.95)
        covered += any(one.low <= 50 * at <= one.high for one in found)
        widths += [(one.high - one.low) / 50 for one in found]
    assert covered >= least
    assert np.mean(widths) < 0.12


def test_a_crossing_says_who_wins_below_and_above() -> None:
    state, surfaces = _searched(World(_line(0.4)), Plan(250, 0.06))
    found = Frontier((X,), ("2pc", "saga"), "latency_p99_ms", state, surfaces, target=0.06)
    (one,) = found.crossings
    assert (one.below, one.above) == ("2pc", "saga")
    assert one.low < one.at < one.high
    assert one.at == pytest.approx(20, abs=1.5)
    assert found.caption.startswith("2pc, unless rtt exceeds ")
    assert found.winner(rtt=5.0)[0] == "2pc"
    assert found.winner(rtt=45.0)[0] == "saga"
    assert found.winner(rtt=one.at)[0] == ""


def test_two_crossings_are_two_and_none_is_none() -> None:
    twice = _searched(World(lambda points: 2 * np.sin(2 * np.pi * points[:, 0]) + 0.8), Plan(400, 0.06))
    assert len(crossings(*twice, X, ("2pc", "saga"), 0.95)) == 2
    never = _searched(World(lambda points: 1 + points[:, 0]), Plan(400, 0.06))
    assert crossings(*never, X, ("2pc", "saga"), 0.95) == []
