"""The parts of the frontier's search: surfaces, noise, what figures say, words."""

from __future__ import annotations

import math

import numpy as np
import pytest

from simtx.errors import ScenarioError
from simtx.experiments.frontier import Axis, Observed
from simtx.experiments.frontier.crossing import Crossing
from simtx.experiments.frontier.gp import GaussianProcess, Shape
from simtx.experiments.frontier.noise import noise_law
from simtx.experiments.frontier.responses import quantum_of, response, scale_of, shared_noise
from simtx.experiments.frontier.words import caption, flip
from simtx.experiments.frontier.zones import UNDECIDED, Surfaces

RNG = np.random.default_rng


def _pairs(*rows: tuple[float, float], watched: float = 0.0) -> Observed:
    return Observed(np.array(rows, dtype=float), watched)


# --- surfaces -----------------------------------------------------------------------------------------------------------------------


def test_without_noise_a_surface_goes_through_its_sites_and_a_plane_is_found_exactly() -> None:
    sites = RNG(1).random((12, 2))
    plane = 2 + 3 * sites[:, 0] - sites[:, 1]
    process = GaussianProcess(sites, plane, np.zeros((12, 12)))
    mean, error = process.predict(sites)
    assert np.allclose(mean, plane, atol=1e-3)
    assert error.max() < 0.02
    beyond = np.array([[0.0, 0.0], [1.0, 1.0]])
    assert np.allclose(process.predict(beyond)[0], [2.0, 4.0], atol=0.2)


def test_the_gradient_of_the_likelihood_is_its_slope() -> None:
    sites = RNG(2).random((15, 2))
    process = GaussianProcess(sites, np.sin(5 * sites[:, 0]), 0.01 * np.eye(15), Shape((0.3, 0.6), 1.0))
    at = np.log([0.3, 0.6, 1.2])
    _, gradient = process._objective(at)
    step = 1e-5
    for axis in range(3):
        unit = step * np.eye(3)[axis]
        slope = (process._objective(at + unit)[0] - process._objective(at - unit)[0]) / (2 * step)
        assert gradient[axis] == pytest.approx(slope, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(("shift", "factor"), [(100.0, 1.0), (0.0, 1e-6), (-3.0, 1e4)])
def test_a_shift_or_another_unit_of_the_figures_shifts_or_scales_the_surface_and_nothing_else(
    shift: float, factor: float
) -> None:
    sites = RNG(3).random((14, 2))
    means = np.cos(4 * sites[:, 0]) + sites[:, 1] + 0.1 * RNG(4).standard_normal(14)
    noise, points = 0.01 * np.eye(14), RNG(5).random((20, 2))
    mean, error = GaussianProcess(sites, means, noise).predict(points)
    other, wider = GaussianProcess(sites, shift + factor * means, factor**2 * noise).predict(points)
    assert np.allclose(other, shift + factor * mean, rtol=1e-4, atol=1e-4 * factor)
    assert np.allclose(wider, factor * error, rtol=1e-3)


def test_the_matrix_stays_well_conditioned_with_sites_side_by_side_and_no_noise() -> None:
    sites = np.vstack([RNG(6).random((20, 2)), RNG(6).random((20, 2)) + 1e-9])
    process = GaussianProcess(sites, np.sin(3 * sites[:, 0]), np.zeros((40, 40)))
    mean, error = process.predict(sites)
    assert np.isfinite(mean).all()
    assert np.isfinite(error).all()


def test_drawn_surfaces_have_the_mean_and_deviation_of_the_process() -> None:
    sites = RNG(7).random((8, 2))
    process = GaussianProcess(sites, np.sin(6 * sites[:, 0]) + sites[:, 1], 0.04 * np.eye(8))
    points = RNG(20).random((7, 2))
    drawn = process.draws(2000, RNG(8))(points)
    mean, error = process.predict(points)
    assert drawn.shape == (2000, 7)
    assert np.allclose(drawn.mean(axis=0), mean, atol=0.1)
    assert np.allclose(drawn.std(axis=0) * process.misfit, error, rtol=0.15)


# --- noise --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("skewed", [False, True])
def test_the_law_of_the_noise_finds_its_growth_from_four_replications_a_site(skewed: bool) -> None:
    rng = RNG(9)
    sites = rng.random((200, 2))
    deviation = 0.1 * np.exp(1.5 * sites[:, 1])
    draws = rng.exponential(1, (200, 4)) - 1 if skewed else rng.standard_normal((200, 4))
    variances = (deviation[:, None] * draws).var(axis=1, ddof=1)
    law = noise_law(sites, variances, np.full(200, 3.0), floor=1e-9)
    ratio = law.at(sites) / deviation**2
    assert 0.7 < ratio.mean() < 1.4
    assert law.coefficients[2] == pytest.approx(3.0, abs=0.8)
    assert law.coefficients[1] == pytest.approx(0.0, abs=0.8)


def test_a_pooled_variance_lies_between_the_sites_own_and_the_laws() -> None:
    sites = RNG(10).random((30, 2))
    variances = RNG(10).chisquare(3, 30) / 3
    law = noise_law(sites, variances, np.full(30, 3.0), floor=1e-9)
    pooled, expected = law.pooled(sites, variances, np.full(30, 3.0)), law.at(sites)
    low, high = np.minimum(variances, expected), np.maximum(variances, expected)
    assert ((low - 1e-12 <= pooled) & (pooled <= high + 1e-12)).all()


def test_what_sites_share_in_a_replication_is_found_and_counted() -> None:
    rng = RNG(11)
    sites, common = rng.random((25, 2)), rng.standard_normal(12)
    values = [
        _pairs(*((math.exp(0.1 * (0.8 * u + 0.6 * rng.standard_normal())), 1.0) for u in common)) for _ in range(25)
    ]
    found = response(values, (0, 1), "log-ratio")
    matrix = shared_noise(sites, found, np.full(25, 0.01))
    correlation = matrix[0, 1:] / matrix[0, 0]
    assert correlation.mean() == pytest.approx(0.64, abs=0.2)
    assert np.linalg.eigvalsh(matrix).min() > 0
    alone = [_pairs(*((math.exp(0.1 * rng.standard_normal()), 1.0) for _ in range(12))) for _ in range(25)]
    found = response(alone, (0, 1), "log-ratio")
    matrix = shared_noise(sites, found, np.full(25, 0.01))
    assert (matrix[0, 1:] / matrix[0, 0]).mean() < 0.1


# --- what figures say ---------------------------------------------------------------------------------------------------------------


def test_the_scale_is_that_of_the_figures() -> None:
    assert scale_of([_pairs((1, 2), (3, math.inf))]) == "log-ratio"
    assert scale_of([_pairs((1, 2)), _pairs((0, 2))]) == "rate-ratio"
    assert scale_of([_pairs((-1, 2)), _pairs((0, 2))]) == "difference"


@pytest.mark.parametrize("scale", ["log-ratio", "rate-ratio", "difference"])
def test_exchanging_the_strategies_changes_the_sign_and_the_order_of_replications_changes_nothing(scale: str) -> None:
    rng = RNG(12)
    values = rng.lognormal(0, 1, (8, 2)) if scale == "log-ratio" else rng.poisson(2, (8, 2)).astype(float)
    one = response([Observed(values)], (0, 1), scale)  # type: ignore[arg-type]
    swapped = response([Observed(values[:, ::-1])], (0, 1), scale)  # type: ignore[arg-type]
    turned = response([Observed(values[::-1])], (0, 1), scale)  # type: ignore[arg-type]
    assert swapped.means[0] == pytest.approx(-one.means[0])
    assert swapped.variances[0] == pytest.approx(one.variances[0])
    assert turned.means[0] == pytest.approx(one.means[0])
    assert turned.variances[0] == pytest.approx(one.variances[0])


def test_a_censored_figure_loses_by_as_much_as_was_watched_and_never_counts_as_missing() -> None:
    found = response([_pairs((math.inf, 100.0), (200.0, 100.0), watched=30_000)], (0, 1), "log-ratio")
    assert found.counts[0] == 2
    assert found.means[0] == pytest.approx((math.log(300) + math.log(2)) / 2)
    unknown = response([_pairs((math.inf, 100.0), (math.inf, 90.0))], (0, 1), "log-ratio")
    assert unknown.means[0] > 0  # how long was watched is not known: it still loses


def test_two_censored_figures_say_nothing_and_neither_does_a_failed_run() -> None:
    found = response([_pairs((math.inf, math.inf), (math.nan, 5.0), (2.0, 1.0))], (0, 1), "log-ratio")
    assert found.counts[0] == 1
    nothing = response([_pairs((math.inf, math.inf)), _pairs((math.nan, 1.0))], (0, 1), "log-ratio")
    assert len(nothing.used) == 0


def test_a_region_without_failures_does_not_hide_the_failures_elsewhere() -> None:
    """Zeros are counts of nothing in few runs, not certainty: the first strategy fails in the right half, and is found out there."""
    rng = RNG(13)
    sites = np.stack(np.meshgrid(np.linspace(0.05, 0.95, 5), np.linspace(0.05, 0.95, 5)), axis=-1).reshape(-1, 2)
    observed = [
        Observed(np.column_stack([rng.poisson(6 * max(place[0] - 0.4, 0), 8), np.zeros(8)]).astype(float))
        for place in sites
    ]
    surfaces = Surfaces.fit(sites, observed, strategies=2)
    failing = surfaces.contest(np.array([[0.9, 0.5], [0.9, 0.1], [0.8, 0.8]]))
    assert (failing.winners(0.95) == 1).all()
    quiet = surfaces.contest(np.array([[0.05, 0.5], [0.1, 0.9]]))
    assert (quiet.winners(0.95) == UNDECIDED).all()
    mean, _ = surfaces.pairs[0, 1].process.predict(np.array([[0.95, 0.5]]))
    expected = math.log((8 * 6 * 0.55 + 0.5) / 0.5)
    assert mean[0] == pytest.approx(expected, abs=0.8)


def test_nowhere_a_failure_is_no_finding() -> None:
    sites = RNG(14).random((9, 2))
    surfaces = Surfaces.fit(sites, [_pairs(*[(0.0, 0.0)] * 8)] * 9, strategies=2)
    assert (surfaces.contest(RNG(15).random((50, 2))).winners(0.95) == UNDECIDED).all()


def test_the_quantum_of_a_rate_is_its_smallest_figure() -> None:
    assert quantum_of([_pairs((0, 0.002)), _pairs((0.001, math.inf))]) == 0.001
    assert quantum_of([_pairs((0, 0))]) == 1.0


# --- zones --------------------------------------------------------------------------------------------------------------------------


def _fitted(order: tuple[int, ...], better: str = "lower") -> Surfaces:
    """Three strategies: 0 is best on the left, 1 in the middle, 2 on the right."""
    rng = RNG(16)
    sites = rng.random((40, 2))
    centres = np.array([0.1, 0.5, 0.9])
    costs = np.exp(3 * np.abs(sites[:, :1] - centres))[:, None, :] * np.exp(0.02 * rng.standard_normal((40, 6, 3)))
    return Surfaces.fit(sites, [Observed(one[:, list(order)]) for one in costs], strategies=3, better=better)


def test_with_three_strategies_each_wins_around_its_own_place_and_the_seams_are_undecided() -> None:
    contest = _fitted((0, 1, 2)).contest(np.array([[0.1, 0.5], [0.5, 0.5], [0.9, 0.5], [0.3, 0.5], [0.7, 0.5]]))
    assert contest.winners(0.95).tolist() == [0, 1, 2, UNDECIDED, UNDECIDED]


def test_another_order_of_the_strategies_gives_the_same_winners() -> None:
    points = RNG(17).random((200, 2))
    straight = _fitted((0, 1, 2)).contest(points).winners(0.95)
    order = (2, 0, 1)
    turned = _fitted(order).contest(points).winners(0.95)
    back = np.array([order[one] if one != UNDECIDED else UNDECIDED for one in turned])
    assert (back == straight).mean() > 0.99


def test_with_higher_figures_winning_the_two_strategies_change_places() -> None:
    rng = RNG(18)
    sites = rng.random((20, 2))
    observed = [
        Observed(np.column_stack([np.exp(place[0] - 0.5 + 0.05 * rng.standard_normal(6)), np.ones(6)]))
        for place in sites
    ]
    points = rng.random((100, 2))
    lower = Surfaces.fit(sites, observed, strategies=2).contest(points).winners(0.95)
    higher = Surfaces.fit(sites, observed, strategies=2, better="higher").contest(points).winners(0.95)
    assert np.array_equal(np.where(lower == UNDECIDED, lower, 1 - lower), higher)


def test_too_few_sites_are_refused() -> None:
    with pytest.raises(ValueError, match="2 sites say something about a pair of strategies; 3 are needed"):
        Surfaces.fit(np.array([[0.1], [0.9]]), [_pairs((1, 2))] * 2, strategies=2)


# --- axes and words -----------------------------------------------------------------------------------------------------------------

RTT = Axis("rtt", 0.0, 50.0, "ms")
RATE = Axis("workload.rate", 0.0, 100.0, "/s")
GRID = np.stack(np.meshgrid(*[(np.arange(50) + 0.5) / 50] * 2, indexing="ij"), axis=-1).reshape(-1, 2)


def _map(first: object, undecided: object = None) -> np.ndarray:
    won = np.where(np.asarray(first), 0, 1)
    return np.where(np.asarray(undecided), UNDECIDED, won) if undecided is not None else won


def test_the_caption_says_who_wins_above_which_limits_and_how_much_is_undecided() -> None:
    saga = (GRID[:, 0] > 0.4) & (GRID[:, 1] > 0.6)
    text = caption((RTT, RATE), GRID, _map(~saga, GRID[:, 0] < 0.06), ("2pc", "saga"))
    assert text == "saga wins above 20 ms and 60/s, 2pc elsewhere; undecided 6 % of the area"


def test_one_limit_is_one_limit() -> None:
    text = caption((RTT, RATE), GRID, _map(GRID[:, 1] < 0.3), ("2pc", "saga"))
    assert text == "2pc wins below 30/s, saga above 30/s"


def test_a_map_with_one_winner_and_one_without_any_say_so() -> None:
    everywhere = np.zeros(len(GRID), dtype=int)
    assert (
        caption((RTT, RATE), GRID, everywhere, ("2pc", "saga"))
        == "2pc wins everywhere from 0 ms to 50 ms and from 0/s to 100/s"
    )
    assert caption((RTT, RATE), GRID, everywhere - 1, ("2pc", "saga")) == "undecided everywhere between 2pc and saga"


def test_a_shape_that_limits_do_not_describe_is_not_described_by_limits() -> None:
    stripes = (np.floor(GRID[:, 0] * 8) + np.floor(GRID[:, 1] * 8)) % 2 == 0
    text = caption((RTT, RATE), GRID, _map(stripes), ("2pc", "saga"))
    assert text == "2pc wins on 50 % and saga wins on 50 % of the area, in a shape that two limits do not describe"


def test_the_flip_point_has_its_interval_and_no_more_digits_than_it_carries() -> None:
    crossing = Crossing(18.234, 15.12, 22.3, "2pc", "saga")
    won = np.array([0, 0, UNDECIDED, 1])
    assert flip(RTT, [crossing], won, ("2pc", "saga")) == "2pc, unless rtt exceeds 18 [15, 22] ms; above that, saga"
    assert flip(RTT, [], np.zeros(4, dtype=int), ("2pc", "saga")) == "2pc wins everywhere from 0 ms to 50 ms"


def test_places_and_values_of_an_axis_go_both_ways_and_snap_to_round_values() -> None:
    for axis in (RTT, Axis("n", 0.1, 1000, "", "log")):
        places = np.linspace(0, 1, 11)
        assert np.allclose(axis.place(axis.value(places)), places)
        values = axis.value(axis.snap(places))
        assert all(float(f"{value:.3g}") == pytest.approx(value) for value in values)
    workers = Axis("workers", 1, 8, whole=True)
    assert np.allclose(workers.value(workers.snap(np.linspace(0, 1, 30))) % 1, 0)
    assert RTT.text(20.0) == "20 ms"
    assert RATE.text(60.0) == "60/s"


def test_an_axis_without_extent_or_a_logarithm_of_zero_is_refused() -> None:
    with pytest.raises(ScenarioError, match="rtt: it goes from 3 to 3; it needs two different ends"):
        Axis("rtt", 3, 3)
    with pytest.raises(ScenarioError, match="a logarithmic axis begins above 0"):
        Axis("rtt", 0, 3, scale="log")
