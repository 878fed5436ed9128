"""How many simulated transactions the frontier takes: the search against grids with interpolation, on surfaces that are known.

For each surface, and for each way: the paired replications after which, on average over many searches, 1.5 % of the area is on the wrong side of the
frontier. The grids are even ones of 4, 6, 8, 10 and 12 points a side with as many replications at each point, interpolated linearly. The search has the same settings
on all surfaces, so it is compared with the grid that is best if one has to be taken for all of them; and with the best for each surface, which is known only to somebody
who has seen the map. And of the searches: the share of the area that is called decided and is wrong, wherever the search is looked at.

A replication is a run of each of two strategies, of 1,000 transactions each. Its paired log ratio has a standard deviation that grows with the load, from 0.05 to
0.25; in the built-in checkout, that of the p99 of 1,000 transactions grows from 0.04 to 0.32 (2pc and saga, 30/s and 95/s, six replications). No simulation is
needed for the rest: the figures are drawn.

    python benchmarks/frontier.py             # about 10 minutes of one core
    python benchmarks/frontier.py --quick     # fewer searches, wider uncertainty
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RegularGridInterpolator

from simtx.experiments.frontier import Observed, Plan, State, search
from simtx.experiments.frontier.search import grid_of, winners
from simtx.experiments.frontier.zones import UNDECIDED, Surfaces

Floats = NDArray[np.float64]
Surface = Callable[[Floats], Floats]

TRANSACTIONS = 2 * 1000
TARGET = 0.015
AREA = grid_of(2, 100)
SIDES = (4, 6, 8, 10, 12)
STEPS = np.unique(np.round(np.geomspace(48, 20_000, 55)).astype(int))
"""Paired replications at which the ways are compared."""


def queues(points: Floats) -> Floats:
    """The first strategy holds locks for round trips: its capacity falls with the delay, and its latency grows without bounds; the second waits longer when idle."""
    delay, load = points[:, 0], points[:, 1]
    first = 0.6 + 2.5 * delay + 0.25 / (1.06 - load * (0.7 + 0.3 * delay))
    second = 1.0 + 1.5 * delay + 0.1 / (1.2 - load)
    return np.log(first / second)


def saturation(points: Floats) -> Floats:
    """Both saturate, the first at 95 % of the highest load and the second beyond it; the delay favours the first at low load."""
    delay, load = points[:, 0], points[:, 1]
    first = 1.2 + delay + 0.2 / (1.05 - 0.95 * load)
    second = 1.0 + 2.5 * delay + 0.2 / (1.4 - load)
    return np.log(first / second)


def wave(points: Floats) -> Floats:
    """A frontier that bends twice."""
    return 1.5 * (points[:, 1] - 0.5 - 0.22 * np.sin(2 * np.pi * points[:, 0]))


def island(points: Floats) -> Floats:
    """One strategy wins in the middle only."""
    return 1.2 - 12 * ((points[:, 0] - 0.55) ** 2 + (points[:, 1] - 0.45) ** 2)


def corner(points: Floats) -> Floats:
    """Two limits that have to be passed both: the frontier has a kink."""
    return 1.5 * np.minimum(points[:, 0] - 0.35, 0.8 * (points[:, 1] - 0.3))


def plane(points: Floats) -> Floats:
    """The easiest one for interpolation, which is exact on it."""
    return 0.9 * (points[:, 0] + points[:, 1] - 1)


SURFACES: dict[str, Surface] = {one.__name__: one for one in (queues, saturation, wave, island, corner, plane)}


def noise(points: Floats) -> Floats:
    """Standard deviation of one paired log ratio."""
    return 0.05 * 5 ** points[:, 1]


def world(surface: Surface, seed: int) -> Callable[[Floats, Sequence[int]], list[Observed]]:
    """Figures of pairs of runs at any site."""
    rng = np.random.default_rng([seed, 1])
    known: dict[tuple[float, ...], Floats] = {}

    def observe(sites: Floats, replications: Sequence[int]) -> list[Observed]:
        found = []
        for site, wanted in zip(sites, replications, strict=True):
            key = tuple(np.round(site, 9))
            old = known.get(key, np.empty((0, 2)))
            new = max(wanted - len(old), 0)
            ratio = surface(site[None])[0] + noise(site[None])[0] * rng.standard_normal(new)
            known[key] = np.vstack([old, np.column_stack([100 * np.exp(ratio), np.full(new, 100.0)])])
            found.append(Observed(known[key]))
        return found

    return observe


def of_grid(surface: Surface, side: int, searches: int) -> float:
    """Paired replications that a grid needs; infinite if interpolation alone is wrong by more."""
    truth = surface(AREA) > 0
    axis = np.linspace(0, 1, side)
    sites = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    exact, spread = surface(sites), noise(sites)
    numbers = np.unique(np.maximum(STEPS // side**2, 1))
    wrong = []
    for each in numbers:
        errors = []
        for seed in range(searches):
            rng = np.random.default_rng([seed, side, int(each)])
            means = exact + spread / math.sqrt(each) * rng.standard_normal(len(sites))
            errors.append(
                np.mean((RegularGridInterpolator((axis, axis), means.reshape(side, side))(AREA) > 0) != truth)
            )
        wrong.append(float(np.mean(errors)))
    return _reached(numbers * side**2, np.minimum.accumulate(wrong))


def of_search(surface: Surface, searches: int, most: int) -> tuple[float, list[float], float]:
    """Paired replications that the search needs; the share that is decided and wrong at each look; the undecided share where it is good enough."""
    truth = surface(AREA) > 0
    steps = STEPS[most >= STEPS]
    wrong, undecided = np.full((searches, len(steps)), np.nan), np.full((searches, len(steps)), np.nan)
    decided_wrong: list[float] = []
    for seed in range(searches):

        def look(state: State, surfaces: Surfaces, seed: int = seed) -> None:
            due = (steps <= state.counts.sum()) & np.isnan(wrong[seed])
            if due.any():
                won = winners(state, surfaces, AREA, 0.95)
                wrong[seed, due] = np.mean((surfaces.contest(AREA).leader == 1) != truth)
                undecided[seed, due] = np.mean(won == UNDECIDED)
                decided_wrong.append(float(np.mean((won != UNDECIDED) & ((won == 1) != truth))))

        plan = Plan(budget=int(1.05 * most), undecided=0.0, seed=seed)
        search(world(surface, seed), dimensions=2, strategies=2, plan=plan, on_look=look)
    first = ~np.isnan(wrong).any(axis=0)
    mean = np.minimum.accumulate(wrong[:, first].mean(axis=0))
    number = _reached(steps[first], mean)
    there = (
        float(np.interp(number, steps[first], undecided[:, first].mean(axis=0))) if math.isfinite(number) else math.nan
    )
    return number, decided_wrong, there


def _reached(numbers: NDArray[np.int_], wrong: Floats) -> float:
    """Where the target is reached, between two numbers by a power law; infinite if it is not."""
    good = np.flatnonzero(wrong <= TARGET)
    if not len(good):
        return math.inf
    if good[0] == 0:
        return float(numbers[0])
    a, b = good[0] - 1, good[0]
    share = (math.log(wrong[a]) - math.log(TARGET)) / (math.log(wrong[a]) - math.log(max(wrong[b], 1e-9)))
    return float(numbers[a] * (numbers[b] / numbers[a]) ** share)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="*", default=list(SURFACES))
    chosen = parser.parse_args()
    searches = 4 if chosen.quick else 8
    grids = {name: [of_grid(SURFACES[name], side, 20) for side in SIDES] for name in chosen.only}
    means = [float(np.mean([math.log(grids[name][one]) for name in chosen.only])) for one in range(len(SIDES))]
    common = int(np.argmin(means))
    print(f"transactions for {TARGET:.1%} of the area on the wrong side, mean of {searches} searches, in millions")
    print(
        f"one grid: {SIDES[common]} points a side, the best for all surfaces together; best grid: the best for this one\n"
    )
    heads = "surface", "one grid", "best grid (side)", "search", "fewer than one grid", "than the best grid"
    heads += "decided and wrong: mean, worst", "undecided then"
    print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|", flush=True)
    ratios: list[tuple[float, float]] = []
    everything: list[float] = []
    for name in chosen.only:
        one, best = grids[name][common], min(grids[name])
        most = 240 if chosen.quick else int(min(1200, max(320, best / 5)))
        number, decided_wrong, undecided = of_search(SURFACES[name], searches, most)
        ratios.append((one / number, best / number))
        everything += decided_wrong
        cells = [
            name,
            f"{one * TRANSACTIONS / 1e6:.2f}",
            f"{best * TRANSACTIONS / 1e6:.2f} ({SIDES[grids[name].index(best)]})",
        ]
        cells += [f"{number * TRANSACTIONS / 1e6:.2f}", f"{one / number:.1f}", f"{best / number:.1f}"]
        cells += [f"{np.mean(decided_wrong):.3%}, {np.max(decided_wrong):.2%}", f"{undecided:.1%}"]
        print("| " + " | ".join(cells) + " |", flush=True)
    for what, found in zip(("one grid", "the best grid"), zip(*ratios, strict=True), strict=True):
        middle = float(np.exp(np.mean([math.log(max(one, 1e-9)) for one in found])))
        print(
            f"fewer transactions than {what}: geometric mean {middle:.1f} times, least {min(found):.1f}, most {max(found):.1f}"
        )
    print(
        f"decided and wrong, mean over all looks: {np.mean(everything):.3%} of the area; 99 % of looks below {np.quantile(everything, 0.99):.2%}"
    )


if __name__ == "__main__":
    main()
