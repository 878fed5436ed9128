"""Transactions simulated until two strategies are told apart whose 99 % quantiles differ by 5 %.

    python benchmarks/tell_apart.py                    # some minutes
    python benchmarks/tell_apart.py --runs 40 --transactions 500

The noise is that of real simulations: many replications of each strategy are made under common random numbers. The difference is then set to
5 % exactly (the logarithms are shifted), so that every pair of strategies answers the same question. Studies are drawn from these replications:

- independent replications of fixed length, as many as find the difference with a probability of 95 % (each strategy with seeds of its own,
  Student's t at 95 %);
- ``until="apart METRIC"`` with its defaults: the same replications for both, looked at after 10, 15, 23, ... 200 of them, with the permitted error spent
  over the looks. Counted are the replications that it made on average, and how often it found the difference.

Both pay for the warm-up of each replication.
"""

from __future__ import annotations

import argparse
import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats

import simtx
from simtx.experiments.stopping import CAP, Apart, looks

Floats = NDArray[np.float64]
PAIRS = (
    ("2pc", "2pc:work=before", "decision_p99_ms"),
    ("saga", "saga:completion=lazy", "latency_p99_ms"),
    ("saga", "dual-write", "decision_p99_ms"),
    ("saga", "2pc", "decision_p99_ms"),
)
DIFFERENCE = math.log(1.05)
STUDIES = 1_000


def fixed(ours: Floats, theirs: Floats, rng: np.random.Generator) -> int:
    """Replications of each strategy, with seeds of its own, that find the difference in 95 of 100 studies."""
    spread = math.sqrt(float(ours.var(ddof=1) + theirs.var(ddof=1)))
    n = max(2, math.floor(((1.96 + 1.645) * spread / DIFFERENCE) ** 2 * 0.8))
    while True:
        first, second = (side[rng.integers(0, len(side), (STUDIES, n))] for side in (ours, theirs))
        found = stats.ttest_ind(first, second, axis=1, equal_var=False)
        if np.mean((found.pvalue <= 0.05) & (found.statistic > 0)) >= 0.95:
            return n
        n = math.ceil(n * 1.02)


def sequential(ours: Floats, theirs: Floats, rng: np.random.Generator) -> tuple[float, float]:
    """Replications on average, and the share of studies that found the difference."""
    rule, numbers = Apart("latency_p99_ms"), looks(10, CAP)
    used, right = 0, 0
    for _ in range(STUDIES):
        pick = rng.integers(0, len(ours), CAP)
        first, second = np.exp(ours[pick]), np.exp(theirs[pick])
        for k, n in enumerate(numbers):
            look = rule.look({"a": first[:n], "b": second[:n]}, numbers, k)
            if look.done:
                break
        used += n
        right += look.done and float(np.log(first[:n] / second[:n]).mean()) > 0
    return used / STUDIES, right / STUDIES


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=100, help="replications that studies are drawn from")
    parser.add_argument("--transactions", type=int, default=1_000, help="measured in each replication")
    options = parser.parse_args()
    scenario = simtx.load("transfer").replace(**{"run.transactions": options.transactions, "run.warmup": "1s"})
    names = list(dict.fromkeys(name for one, other, _ in PAIRS for name in (one, other)))
    comparison = simtx.compare(scenario, names, replications=options.runs, progress=False)
    labels = dict(zip(names, comparison.strategies, strict=True))
    whole = float(comparison.frame["transactions"].mean()) + scenario.workload.rate  # with the warm-up of a second
    print(
        f"transfer, {options.transactions:,} transactions and a warm-up of 1 s a replication; {options.runs} replications of each\n"
    )
    heads = (
        "pair, metric",
        "variance, paired / independent",
        "fixed, independent",
        "until apart",
        "finds it",
        "times fewer",
    )
    print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
    for one, other, metric in PAIRS:
        ours, theirs = (np.log(side) for side in comparison.pairs(labels[one], labels[other], metric))
        ours = ours - ours.mean() + theirs.mean() + DIFFERENCE
        shared = float((ours - theirs).var(ddof=1) / (ours.var(ddof=1) + theirs.var(ddof=1)))
        plan = fixed(ours, theirs, np.random.default_rng(1))
        mean, found = sequential(ours, theirs, np.random.default_rng(2))
        row = (
            f"{one} and {other}, {metric}",
            f"{shared:.2f}",
            f"{2 * plan * whole:,.0f}",
            f"{2 * mean * whole:,.0f}",
            f"{100 * found:.1f} %",
            f"{plan / mean:.1f}",
        )
        print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
