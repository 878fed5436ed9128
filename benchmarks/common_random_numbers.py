"""What common random numbers are worth: the variance of a paired difference, as a share of that of independent runs.

    python benchmarks/common_random_numbers.py                        # the built-in scenarios
    python benchmarks/common_random_numbers.py checkout --replications 200 --transactions 3000

For each pair of strategies: var(A - B) / (var(A) + var(B)) over replications, where A and B are the same quantile of two strategies in the same
replication. It is 1 for independent runs, 0 if the difference is always the same, and above 1 if pairing does harm. It is printed for
random numbers that are drawn in order of use, as a plain simulation does, and for random numbers that belong to a transaction, as simtx does.
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np

import simtx
import simtx.simulator.world
from simtx.workload import Draw, Sampled, TransactionStreams

STRATEGIES = ("2pc", "saga", "outbox", "dual-write")
METRICS = ("latency_p99_ms", "decision_p99_ms")
WAYS = ("order of use", "by transaction")


class InOrderOfUse(TransactionStreams):
    """Whoever draws next gets the next number of the stream."""

    def uniform(self, component: str, purpose: str) -> Draw:
        draw = self._streams.uniform(component, purpose)
        return lambda _: draw()

    def draws(self, distribution: Sampled, component: str, purpose: str) -> Draw:
        draw = self._streams.draws(distribution, component, purpose)
        return lambda _: draw()


def quantiles(job: tuple[str, str, str, int, int]) -> list[float]:
    """The quantiles of one run."""
    name, strategy, way, replication, transactions = job
    simtx.simulator.world.TransactionStreams = InOrderOfUse if way == WAYS[0] else TransactionStreams  # type: ignore[misc]
    scenario = simtx.load(name)
    warmup = 0.1 * transactions / (scenario.workload.mean_rate() or 1.0)  # as large a part in all scenarios
    scenario = scenario.replace(**{"run.transactions": transactions, "run.warmup": f"{warmup:.6g}s"})
    summary = simtx.simulate(scenario, strategy, seed=1, replication=replication).summary
    return [float(summary[metric]) for metric in METRICS]


def ratio(one: np.ndarray, other: np.ndarray) -> float:
    """Variance of the paired difference, as a share of that of independent runs."""
    independent = one.var(ddof=1) + other.var(ddof=1)
    return float((one - other).var(ddof=1) / independent) if 0 < independent < math.inf else math.nan


def main() -> int:
    """Play all runs and print one line a pair."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="*", default=["checkout", "transfer", "travel"])
    parser.add_argument("--replications", type=int, default=24)
    parser.add_argument("--transactions", type=int, default=500)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    numbers = range(options.replications)
    print(
        f"variance of the paired difference / of independent runs, {options.replications} replications of "
        f"{options.transactions} transactions, seed 1"
    )
    print(f"{'scenario':10} {'quantile':16} {'pair':20} {WAYS[0]:>14} {WAYS[1]:>16}", flush=True)
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        for name in options.scenarios:
            jobs = list(itertools.product([name], STRATEGIES, WAYS, numbers, [options.transactions]))
            results = dict(zip([job[1:4] for job in jobs], pool.map(quantiles, jobs, chunksize=4), strict=True))
            for index, metric in enumerate(METRICS):
                for pair in itertools.combinations(STRATEGIES, 2):
                    row = []
                    for way in WAYS:
                        one, other = (
                            np.array([results[strategy, way, i][index] for i in numbers]) for strategy in pair
                        )
                        row.append(ratio(one, other))
                        found[way].append(row[-1])
                    print(f"{name:10} {metric:16} {' and '.join(pair):20} {row[0]:14.2f} {row[1]:16.2f}", flush=True)
    for way in WAYS:
        known = [value for value in found[way] if not math.isnan(value)]
        print(f"median over {len(known)} pairs, {way}: {statistics.median(known):.2f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
