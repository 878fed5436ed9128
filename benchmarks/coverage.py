"""How often intervals and decisions of simtx are right, where the right answer is known.

    python benchmarks/coverage.py                      # everything, a few minutes
    python benchmarks/coverage.py intervals mm1        # some of it
    python benchmarks/coverage.py --trials 1000        # quicker, less exact

Everything is computed by the functions that simtx itself uses, at its defaults (95 %, 20 replications). The figures of a row are percent of the
trials. With 10,000 trials a figure of 95 % is known to 0.4 (two standard errors).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from simtx.experiments.pairs import compared
from simtx.experiments.stopping import CAP, Apart, Best, Precision, Rule, looks
from simtx.metrics.controls import controlled
from simtx.metrics.intervals import Kind, at_most, bounds, interval, log_ratios, ratio
from simtx.metrics.sections import TOO_SHORT, pooled_ratio, section_interval

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, ...]], Floats]
Row = tuple[str, ...]

SIZES: Final = (5, 10, 20, 50)


def _beta_binomial(share: float, n: int, correlation: float) -> Draw:
    total = 1 / correlation - 1
    return lambda rng, shape: rng.binomial(n, rng.beta(share * total, (1 - share) * total, shape)) / n


OUTPUTS: Final[dict[str, tuple[Kind, Draw, float]]] = {
    "normal, cv 0.2": ("positive", lambda rng, s: rng.normal(5, 1, s), 5),
    "exponential": ("positive", lambda rng, s: rng.exponential(1, s), 1),
    "exponential, from 2 on": ("positive", lambda rng, s: 2 + rng.exponential(1, s), 3),
    "lognormal, sigma 0.5": ("positive", lambda rng, s: rng.lognormal(0, 0.5, s), math.exp(0.125)),
    "lognormal, sigma 1": ("positive", lambda rng, s: rng.lognormal(0, 1, s), math.exp(0.5)),
    "gamma, shape 0.5": ("positive", lambda rng, s: rng.gamma(0.5, 1, s), 0.5),
    "Weibull, shape 0.7": ("positive", lambda rng, s: rng.weibull(0.7, s), math.gamma(1 + 1 / 0.7)),
    "share: binomial, 2 % of 1,000": ("share", lambda rng, s: rng.binomial(1000, 0.02, s) / 1000, 0.02),
    "share: 5 % of 1,000, varying from run to run": ("share", _beta_binomial(0.05, 1000, 0.1), 0.05),
    "share: 95 % of 1,000, varying from run to run": ("share", _beta_binomial(0.95, 1000, 0.1), 0.95),
    "count: Poisson, mean 1": ("count", lambda rng, s: rng.poisson(1, s).astype(float), 1),
    "count: Poisson, mean 20": ("count", lambda rng, s: rng.poisson(20, s).astype(float), 20),
    "count: about 50 in three of ten runs": (
        "count",
        lambda rng, s: rng.binomial(1, 0.3, s) * rng.poisson(50.0, s),
        15,
    ),
    "difference: normal": ("real", lambda rng, s: rng.normal(0, 1, s), 0),
    "difference of two exponentials": ("real", lambda rng, s: rng.exponential(1, s) - rng.exponential(1, s), 0),
    "difference of two lognormals": ("real", lambda rng, s: rng.lognormal(0, 1, s) - rng.lognormal(0, 1, s), 0),
}


def covered(draw: Draw, truth: float, n: int, kind: Kind, trials: int, seed: int) -> float:
    """Percent of intervals over n replications that contain the truth; where nothing was seen, the exact bound must hold."""
    values = draw(np.random.default_rng([seed, n]), (trials, n))
    _, low, high = bounds(values, 0.95, kind)
    hits = (low <= truth) & (truth <= high)
    same = values.min(axis=1) == values.max(axis=1)
    for row in np.flatnonzero(same):
        one = interval(values[row], kind=kind)
        hits[row] = one.low <= truth <= one.high
    return float(100 * hits.mean())


def intervals(trials: int) -> Iterable[Row]:
    """Means of independent outputs."""
    yield "output of a replication", *(f"n = {n}" for n in SIZES), "Student t, n = 20"
    for number, (name, (kind, draw, truth)) in enumerate(OUTPUTS.items()):
        found = [covered(draw, truth, n, kind, trials, number) for n in SIZES]
        plain = covered(draw, truth, 20, "real", trials, number)
        yield name, *(f"{one:.1f}" for one in found), f"{plain:.1f}"


def never(trials: int) -> Iterable[Row]:
    """What was seen in none of 30 runs: how often the true share of runs that have it is below the bound."""
    yield "share of runs that have any", "never seen in 30 runs", "bound holds"
    rng = np.random.default_rng(3)
    for share in (0.01, 0.05, 0.09, 0.1, 0.12):
        seen = rng.binomial(30, share, trials)
        wrong = (seen == 0) & (share > at_most(30))
        yield f"{100 * share:g} %", f"{100 * np.mean(seen == 0):.1f}", f"{100 * (1 - np.mean(wrong)):.1f}"


# --- queues ---------------------------------------------------------------------------------------------------------------------------


def sojourns(
    rng: np.random.Generator, runs: int, customers: int, load: float, services: Floats | None = None
) -> Floats:
    """Sojourn times of M/M/1 with service rate 1, after a warm-up of a tenth, by Lindley's recursion: shape (runs, customers)."""
    warmup = customers // 10
    gaps = rng.exponential(1 / load, (warmup + customers, runs))
    work = rng.exponential(1.0, (warmup + customers, runs)) if services is None else services
    times = np.empty((customers, runs))
    waiting = np.zeros(runs)
    for number in range(warmup + customers):
        waiting = np.maximum(waiting - gaps[number], 0.0)
        waiting += work[number]
        if number >= warmup:
            times[number - warmup] = waiting
    return times.T


def pool(runs: int, customers: int, load: float, seed: int = 5) -> Floats:
    """The 99 % quantile of each of many replications of M/M/1."""
    rng = np.random.default_rng(seed)
    parts = [np.quantile(sojourns(rng, 500, customers, load), 0.99, axis=1) for _ in range(runs // 500)]
    return np.concatenate(parts)


def resampled(outputs: Floats, n: int, trials: int, seed: int) -> Floats:
    """Studies of n replications each, drawn from many replications: shape (trials, n)."""
    return outputs[np.random.default_rng(seed).integers(0, len(outputs), (trials, n))]


def mm1(trials: int) -> Iterable[Row]:
    """99 % quantile of the sojourn time of M/M/1: ln(100) / (1 - load)."""
    yield "load, customers a replication", *(f"n = {n}" for n in SIZES)
    for load, customers in ((0.5, 5_000), (0.8, 20_000)):
        truth = math.log(100) / (1 - load)
        outputs = pool(4_000, customers, load)
        found = []
        for n in SIZES:
            _, low, high = bounds(resampled(outputs, n, trials, n), 0.95, "positive")
            found.append(100 * np.mean((low <= truth) & (truth <= high)))
        yield f"{load:g}, {customers:,}", *(f"{one:.1f}" for one in found)


def crn_quantiles(runs: int, customers: int, load: float, seed: int = 6) -> tuple[Floats, Floats]:
    """Two equal strategies: M/M/1 with the same arrivals and services of their own, of which half are the other's: sojourns of both."""
    rng = np.random.default_rng(seed)
    shape = (customers + customers // 10, runs)
    gaps_seed = int(rng.integers(2**62))
    shared = rng.random(shape) < 0.5
    first = rng.exponential(1.0, shape)
    second = np.where(shared, first, rng.exponential(1.0, shape))
    return tuple(sojourns(np.random.default_rng(gaps_seed), runs, customers, load, work) for work in (first, second))  # type: ignore[return-value]


def crn(trials: int) -> Iterable[Row]:
    """Two equal strategies under common random numbers: does the interval of the difference contain 0, that of the ratio 1?"""
    yield "outputs", "difference, n = 10", "n = 20", "ratio, n = 10", "n = 20"
    rng = np.random.default_rng(8)
    for name, (one, other) in {
        "normal": (lambda z: 5 + z, lambda z: 5 + z),
        "exponential": (lambda z: -special.log_ndtr(z), lambda z: -special.log_ndtr(z)),
        "lognormal": (np.exp, np.exp),
        "lognormal, unequal spread": (np.exp, lambda z: np.exp(0.2 * z)),
    }.items():
        shared, ours, theirs = rng.normal(size=(3, trials, 20))
        pair = one((shared + ours) / math.sqrt(2)), other((shared + theirs) / math.sqrt(2))
        yield name, *_both(*pair, unequal="unequal" in name)
    parts = [crn_quantiles(500, 2_000, 0.7, seed) for seed in range(6)]
    first, second = (np.concatenate([np.quantile(part[side], 0.99, axis=1) for part in parts]) for side in (0, 1))
    pick = np.random.default_rng(9).integers(0, len(first), (trials, 20))
    yield "M/M/1 p99, load 0.7", *_both(first[pick], second[pick])


def _both(ours: Floats, theirs: Floats, *, unequal: bool = False) -> list[str]:
    found = []
    for values in (ours - theirs, log_ratios(ours, theirs)):
        for n in (10, 20):
            _, low, high = bounds(values[:, :n], 0.95)
            found.append(f"{100 * np.mean((low <= 0) & (high >= 0)):.1f}")
    return ["(unequal means)", "(unequal means)", *found[2:]] if unequal else found


def sections(trials: int) -> Iterable[Row]:
    """One long run of M/M/1, cut into ten sections: coverage of the mean and of the 99 % quantile, where an interval is given at all."""
    yield "load, customers", "mean", "99 % quantile", "intervals given", "if always given"
    for load, customers, most in (
        (0.5, 20_000, 2_000),
        (0.5, 100_000, 1_000),
        (0.8, 50_000, 1_000),
    ):
        runs = max(100, min(most, trials))
        found = np.zeros(4)
        truth = 1 / (1 - load), math.log(100) / (1 - load)
        for seed in range(runs // 20):
            for row in sojourns(np.random.default_rng([25, seed]), 20, customers, load):
                mean, tail = section_interval(row), section_interval(row, 0.99)
                given = tail.method != TOO_SHORT
                parts = np.quantile(row[: customers // 10 * 10].reshape(10, -1), 0.99, axis=1)
                half = 2.2622 * math.sqrt(float(np.sum((parts - tail.mean) ** 2)) / 90)
                found += [
                    mean.low <= truth[0] <= mean.high,
                    given and tail.low <= truth[1] <= tail.high,
                    given,
                    abs(tail.mean - truth[1]) <= half,
                ]
        share = found / (runs // 20 * 20)
        tail_text = f"{100 * share[1] / share[2]:.1f}" if share[2] > 0.05 else "–"
        yield (
            f"{load:g}, {customers:,}",
            f"{100 * share[0]:.1f}",
            tail_text,
            f"{100 * share[2]:.0f}",
            f"{100 * share[3]:.1f}",
        )


def quantiles(trials: int) -> Iterable[Row]:
    """Ratio of 99 % quantiles of two equal queues under common random numbers, load 0.7, 20 replications: two ways, and how alike they are."""
    yield (
        "customers a replication",
        "ratio by replication",
        "width",
        "ratio of pooled quantiles",
        "width",
        "correlation of the two",
    )
    studies = max(50, min(trials // 10, 500))
    for customers in (200, 1_000, 4_000):
        first, second = crn_quantiles(1_000, customers, 0.7, 26)
        rng = np.random.default_rng(27)
        hits, widths, both = np.zeros(2), np.zeros(2), []
        for _ in range(studies):
            pick = rng.integers(0, 1_000, 20)
            ours, theirs = (np.quantile(side[pick], 0.99, axis=1) for side in (first, second))
            pair = ratio(ours, theirs), pooled_ratio(list(first[pick]), list(second[pick]), 0.99)
            hits += [one.low <= 1 <= one.high for one in pair]
            widths += [math.log(one.high / one.low) for one in pair]
            both.append([math.log(one.mean) for one in pair])
        alike = float(np.corrcoef(np.array(both).T)[0, 1])
        cells = [
            f"{100 * hits[k] / studies:.1f}" if part == 0 else f"{100 * widths[k] / studies:.0f} %"
            for k in (0, 1)
            for part in (0, 1)
        ]
        yield f"{customers:,}", *cells, f"{alike:.2f}"


def controls(trials: int) -> Iterable[Row]:
    """M/M/1, load 0.7, 20 replications of 2,000: control variates are the mean gap between arrivals and the mean service, both known."""
    yield "figure", "coverage, plain", "coverage, controlled", "variance left", "runs saved"
    rng = np.random.default_rng(28)
    runs, customers, load = 2_000, 2_000, 0.7
    shape = (customers, runs)
    gaps, work = rng.exponential(1 / load, shape), rng.exponential(1.0, shape)
    waiting, times = (
        rng.exponential(1 / (1 - load), runs) * (rng.random(runs) < load),
        np.empty(shape),
    )  # it starts in steady state
    for number in range(customers):
        if number:
            waiting = np.maximum(times[number - 1] - gaps[number], 0.0)
        times[number] = waiting + work[number]
    given = [gaps.mean(axis=0), work.mean(axis=0)]
    for name, outputs in (("mean sojourn", times.mean(axis=0)), ("99 % quantile", np.quantile(times, 0.99, axis=0))):
        truth = float(outputs.mean())
        studies, hits, widths = max(200, min(trials, 3_000)), np.zeros(2), np.zeros(2)
        for _ in range(studies):
            pick = rng.integers(0, runs, 20)
            pair = interval(outputs[pick]), controlled(outputs[pick], [one[pick] for one in given], [1 / load, 1.0])
            hits += [one.low <= truth <= one.high for one in pair]
            widths += [one.half_width**2 for one in pair]
        left = widths[1] / widths[0]
        yield name, *(f"{100 * one / studies:.1f}" for one in hits), f"{left:.2f}", f"{100 * (1 - left):.0f} %"


# --- rules of stopping, selection --------------------------------------------------------------------------------------------------------


def ended(rule: Rule, columns: dict[str, Floats], cap: int) -> tuple[bool, int, tuple[str, ...], int]:
    """Whether the rule was met, after how many replications, who remained, and how many runs it took."""
    numbers = looks(rule.minimum, cap)
    running, seen = tuple(columns), dict.fromkeys(columns, 0)
    for k, number in enumerate(numbers):
        seen |= dict.fromkeys(running, number)
        look = rule.look({name: column[: seen[name]] for name, column in columns.items()}, numbers, k)
        if look.done:
            return True, number, look.strategies, sum(seen.values())
        running = look.strategies
    return False, numbers[-1], running, sum(seen.values())


def naive(ours: Floats, theirs: Floats) -> bool:
    """The textbook's loop: 5, 10, 20, 40 ... replications until the paired 95 % interval excludes zero."""
    n = 5
    while n <= len(ours):
        one = interval(ours[:n] - theirs[:n])
        if not one.low <= 0 <= one.high:
            return True
        n *= 2
    return False


def stopping(trials: int) -> Iterable[Row]:
    """Equal strategies that are called different, in percent; at most 200 replications."""
    yield "outputs of two equal strategies", "Apart, ratios", "Apart, differences", "the loop that doubles"
    studies = min(trials, 4_000)
    shapes: dict[str, Callable[[Floats], Floats]] = {
        "normal": lambda z: 5 + z,
        "exponential": lambda z: -special.log_ndtr(z),
        "lognormal": np.exp,
    }
    for name, shape in shapes.items():
        rng = np.random.default_rng(21)
        found = np.zeros(3)
        for _ in range(studies):
            shared, one, other = rng.normal(size=(3, CAP))
            ours, theirs = shape((shared + one) / math.sqrt(2)), shape((shared + other) / math.sqrt(2))
            columns = {"a": ours, "b": theirs}
            found += [ended(Apart(metric), columns, CAP)[0] for metric in ("latency_p99_ms", "difference")] + [
                naive(ours, theirs)
            ]
        yield name, *(f"{100 * one / studies:.1f}" for one in found)


def precision(trials: int) -> Iterable[Row]:
    """Coverage of the interval that a rule of precision stops with, and the replications that it took."""
    yield "output", "within 5 %", "replications", "within 10 %", "replications", "10 %, from 3 runs on, Student t"
    studies = min(trials, 4_000)
    for name in ("normal, cv 0.2", "exponential, from 2 on", "lognormal, from 3.35 on"):
        draw, truth = (
            (lambda rng, s: 5 - math.exp(0.5) + rng.lognormal(0, 1, s), 5.0) if "3.35" in name else OUTPUTS[name][1:]
        )
        row = [name]
        for relative in (0.05, 0.1):
            rng = np.random.default_rng(22)
            hits, used = 0, 0
            for _ in range(studies):
                column = draw(rng, (2_000,))
                _, n, _, _ = ended(Precision("latency_p99_ms", relative), {"a": column}, 2_000)
                one = interval(column[:n], 0.96, kind="positive")
                hits += one.low <= truth <= one.high
                used += n
            row += [f"{100 * hits / studies:.1f}", f"{used / studies:.0f}"]
        rng = np.random.default_rng(22)
        hits = sum(_textbook(draw(rng, (2_000,)), truth) for _ in range(studies))
        yield (*row, f"{100 * hits / studies:.1f}")


def _textbook(column: Floats, truth: float) -> bool:
    n = 3
    while True:
        one = interval(column[:n])
        if one.half_width <= 0.1 * abs(one.mean) or n == len(column):
            return one.low <= truth <= one.high
        n += 1


def selection(trials: int) -> Iterable[Row]:
    """Four strategies under common random numbers: how often the best one is the one that remains; at most 1,000 replications."""
    yield "means, spreads, order", "best one remains", "it alone", "runs", "runs without dropping out"
    studies = min(trials, 1_000)
    near = {"best": 1.0, "second": 1.05, "third": 1.05, "last": 1.05}
    wide = {"best": 1.0, "second": 1.15, "third": 1.15, "last": 1.3}
    for means, spreads in (
        (wide, (0.3, 0.3, 0.3, 0.3)),
        (wide, (0.6, 0.1, 0.5, 0.3)),
        (wide, (0.1, 0.6, 0.3, 0.5)),
        (near, (0.6, 0.1, 0.5, 0.3)),
    ):
        for order in (tuple(means), tuple(reversed(means))):
            rng = np.random.default_rng(23)
            found = np.zeros(4)
            by_name = dict(zip(means, spreads, strict=True))
            for _ in range(studies):
                shared = rng.normal(size=1_000)
                columns = {m: means[m] + by_name[m] * (shared + rng.normal(size=1_000)) / math.sqrt(2) for m in order}
                met, n, rest, runs = ended(Best("difference"), columns, 1_000)
                found += ["best" in rest, met and rest == ("best",), runs, 4 * n]
            found /= studies
            label = (
                f"{'/'.join(f'{m:g}' for m in means.values())}, {'/'.join(f'{s:g}' for s in spreads)}, {order[0]} first"
            )
            yield label, f"{100 * found[0]:.1f}", f"{100 * found[1]:.1f}", f"{found[2]:.0f}", f"{found[3]:.0f}"


def decisions(trials: int) -> Iterable[Row]:
    """All statements of a decision together: how often at least one of all pairs of equal strategies is called different, n = 20."""
    yield "strategies", "outputs", "any pair called different"
    studies = min(trials, 4_000)
    for m in (2, 4, 6):
        for name, spread in (("lognormal, sigma 0.2", 0.2), ("lognormal, sigma 1", 1.0)):
            rng = np.random.default_rng(24)
            wrong = 0
            for _ in range(studies):
                shared = rng.normal(size=20)
                columns = [np.exp(spread * (shared + rng.normal(size=20)) / math.sqrt(2)) for _ in range(m)]
                alpha = 0.05 / (m * (m - 1) / 2)
                wrong += any(
                    compared(columns[i], columns[j], "positive", alpha).lower is not None
                    for i in range(m)
                    for j in range(i)
                )
            yield f"{m}", name, f"{100 * wrong / studies:.1f}"


PARTS: Final[dict[str, Callable[[int], Iterable[Row]]]] = {
    "intervals": intervals,
    "never": never,
    "mm1": mm1,
    "crn": crn,
    "sections": sections,
    "quantiles": quantiles,
    "controls": controls,
    "stopping": stopping,
    "precision": precision,
    "selection": selection,
    "decisions": decisions,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--trials", type=int, default=10_000)
    options = parser.parse_args()
    unknown = [one for one in options.parts if one not in PARTS]
    if unknown:
        parser.error(f"there is no part '{unknown[0]}'; there are {', '.join(PARTS)}")
    for name in options.parts or PARTS:
        print(f"\n### {name}\n\n{(PARTS[name].__doc__ or '').strip()}\n")
        for number, row in enumerate(PARTS[name](options.trials)):
            print("| " + " | ".join(row) + " |", flush=True)
            if number == 0:
                print("|" + "---|" * len(row), flush=True)


if __name__ == "__main__":
    main()
