"""How often a run of a built-in scenario is said to have an initial bias: most of these warnings would be false alarms, as the scenarios state a warm-up.

    python benchmarks/initial_bias.py                 # all built-in scenarios and strategies, seeds 1 to 3: four minutes of the processor
    python benchmarks/initial_bias.py transfer --seeds 10

A warning is counted as false unless all seeds of that scenario and strategy say it: a bias is a property of the system, and comes again. (One warning of one seed is
chance, or a drift that this run happened to have.)
"""

from __future__ import annotations

import argparse
import itertools
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import simtx


def said(job: tuple[str, str, int]) -> str:
    """What a run says about its start; empty if nothing."""
    name, strategy, seed = job
    run = simtx.simulate(name, strategy, seed=seed)
    return next((one.text for one in run.findings if one.law == "start"), "")


def main() -> int:
    """Play all runs and print one line a scenario."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="*", default=list(simtx.scenarios()))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    strategies, seeds = list(simtx.strategies()), range(1, options.seeds + 1)
    total = alarms = false = 0
    print(f"warnings of an initial bias, or of no steady state, in {options.seeds} runs of each strategy")
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        for name in options.scenarios:
            jobs = list(itertools.product([name], strategies, seeds))
            found = dict(zip(jobs, pool.map(said, jobs), strict=True))
            counts = {one: sum(bool(found[name, one, seed]) for seed in seeds) for one in strategies}
            total += len(jobs)
            alarms += sum(counts.values())
            false += sum(count for count in counts.values() if count < options.seeds)
            listed = ", ".join(f"{one} {count}" for one, count in counts.items() if count) or "none"
            print(f"{name:18} {sum(counts.values()):3} of {len(jobs)}: {listed}", flush=True)
            for text in dict.fromkeys(text for text in found.values() if text):
                print(f"    {text}", flush=True)
    print(
        f"{alarms} of {total} runs warn ({alarms / total:.1%}); {false} of them are not said by all seeds ({false / total:.1%} of the runs)"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
