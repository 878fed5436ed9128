"""The fast engine against the interpreted one and against idiomatic SimPy: CPU time of pairs, in one process, medians.

    python benchmarks/engine.py                        # the saga of saga_throughput.py, then every strategy on checkout
    python benchmarks/engine.py --transactions 50000 --seeds 7

Everything counts: building the world, learning the automata, tables of transactions and summary. Digests have to be equal, or the script fails.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from saga_throughput import scenario as saga_scenario
from simpy_saga import run_idiomatic

import simtx
from simtx.scenario import load


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def _played(scenario: Any, strategy: Any, seed: int, engine: Any) -> simtx.Run:
    run = simtx.simulate(scenario, strategy, seed=seed, engine=engine, progress=False)
    _ = run.transactions, run.summary
    return run


def _told(what: str, ratios: list[float]) -> None:
    print(f"  {what}: median {statistics.median(ratios):.1f}, {min(ratios):.1f} to {max(ratios):.1f}", flush=True)


def saga(seeds: int, transactions: int) -> None:
    """The benchmark's saga on all three."""
    print(f"saga of saga_throughput.py, {transactions:,} transactions, {seeds} seeds")
    scenario, strategy = saga_scenario(transactions), simtx.Saga(completion="lazy")
    _played(saga_scenario(500), strategy, 1, "fast")  # imports, and compiling if need be
    to_simpy, to_interpreted = [], []
    for seed in range(1, seeds + 1):
        plain, _ = _timed(lambda seed=seed: run_idiomatic(seed, transactions))
        fast, one = _timed(lambda seed=seed: _played(scenario, strategy, seed, "fast"))
        slow, other = _timed(lambda seed=seed: _played(scenario, strategy, seed, "interpreted"))
        assert one.digest == other.digest
        print(
            f"  seed {seed}: SimPy {1e6 * plain / transactions:.1f} us, fast {1e6 * fast / transactions:.1f} us, "
            f"interpreted {1e6 * slow / transactions:.1f} us a transaction",
            flush=True,
        )
        to_simpy.append(plain / fast)
        to_interpreted.append(slow / fast)
    _told("fast against SimPy", to_simpy)
    _told("fast against interpreted", to_interpreted)


def checkout(seeds: int, transactions: int) -> None:
    """Every strategy on a built-in scenario."""
    built_in = load("checkout")
    scenario = replace(built_in, run=replace(built_in.run, transactions=transactions))
    print(f"checkout, {transactions:,} transactions, {seeds} seeds: fast against interpreted")
    for strategy in ("saga", "2pc", "outbox", "dual-write"):
        ratios = []
        for seed in range(1, seeds + 1):
            fast, one = _timed(lambda name=strategy, seed=seed: _played(scenario, name, seed, "fast"))
            slow, other = _timed(lambda name=strategy, seed=seed: _played(scenario, name, seed, "interpreted"))
            assert one.digest == other.digest
            ratios.append(slow / fast)
        _told(strategy, ratios)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--transactions", type=int, default=20_000)
    given = parser.parse_args()
    saga(given.seeds, given.transactions)
    checkout(given.seeds, max(given.transactions // 2, 2000))
