"""Memory of a simulated transaction of `checkout`, with all metrics on: records, drift, timeline, summary, table of transactions.

Each run is a process of its own, and its peak resident memory is read when the summary, the table and the timeline have been made. What is kept for a
while and then dropped (idempotency rows for ten minutes, records of finished transactions for two) is the same in every long run, so that the
memory of one more transaction is the slope between two lengths, and that of a million is the longer run plus the slope.

    python benchmarks/memory.py                        # 60,000 and 120,000 transactions of each strategy: half an hour of CPU
    python benchmarks/memory.py --short 20000 --long 40000 --strategies saga
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys

STRATEGIES = ("2pc", "saga", "outbox", "dual-write")
LIMIT = 1000  # bytes a transaction


def peak(strategy: str, transactions: int) -> float:
    """Peak resident memory of one run above that of a tiny one, in bytes."""
    import simtx

    scenario = simtx.load("checkout").replace(**{"run.transactions": transactions, "run.warmup": "1s"})
    kilo = 1024 if sys.platform != "darwin" else 1
    simtx.simulate(scenario.replace(**{"run.transactions": 300}), strategy).summary  # noqa: B018 - imports what is needed
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run = simtx.simulate(scenario, strategy)
    assert len(run.transactions) == transactions
    assert len(run.summary)
    assert len(run.timeline)
    return float(kilo * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))


def apart(strategy: str, transactions: int) -> float:
    """The same, in a process of its own."""
    command = [sys.executable, __file__, "--one", strategy, "--long", str(transactions)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - this very file
    return float(done.stdout)


def main() -> int:
    """Print a line for each strategy; 1 if one of them takes more than it may."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", type=int, default=60_000, help="transactions of the shorter run")
    parser.add_argument("--long", type=int, default=120_000, help="transactions of the longer run")
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(peak(options.one, options.long))
        return 0
    worst = 0.0
    for strategy in options.strategies:
        low, high = apart(strategy, options.short), apart(strategy, options.long)
        slope = (high - low) / (options.long - options.short)
        million = (high + slope * (1_000_000 - options.long)) / 1e9
        worst = max(worst, slope)
        print(
            f"{strategy:>10}: {high / options.long:5.0f} bytes a transaction in a run of {options.long:,}, "
            f"{slope:5.0f} for each further one; a million take {million:.2f} GB",
            flush=True,
        )
    print(f"at most {LIMIT} bytes a further transaction: {'met' if worst <= LIMIT else 'MISSED'}")
    return int(worst > LIMIT)


if __name__ == "__main__":
    raise SystemExit(main())
