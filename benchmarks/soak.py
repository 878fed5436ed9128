"""The soak of every strategy, as rows of the table in docs/crash-matrix.md: faults survived, violations, recovery.

    python benchmarks/soak.py [--minutes 10] [--store sqlite] [--store postgres] [--seed 20] [2pc saga outbox dual-write]

Each strategy takes the minutes that are given, on each store. A row says what `simtx soak` says of that run; everything that was violated or lost stands below its
row. It ends with 0 when nothing was violated, and with 1 otherwise. Ctrl-C ends every process and shows the rows until then. PostgreSQL has a server for each node,
as a run of `simtx execute` has, and those are killed, too.
"""

from __future__ import annotations

import argparse

import numpy as np

from simtx.validation.soak import Soak, soak

STRATEGIES = ["2pc", "saga", "outbox", "dual-write"]
STORES = {"sqlite": "SQLite", "postgres": "PostgreSQL"}
FAULTS = {
    "kill": "kills",
    "kill database": "kills of a database server",
    "kill broker": "kills of the broker",
    "pause": "pauses",
}


def spread(seconds: list[float]) -> str:
    """Median and maximum."""
    return f"{np.median(seconds):.2f} s, {max(seconds):.2f} s" if seconds else "none"


def row(found: Soak, store: str) -> str:
    """One row of the table."""
    faults = ", ".join(f"{count} {FAULTS.get(kind, kind)}" for kind, count in found.kinds.items())
    cells = [
        f"{found.strategy}, {STORES[store]}",
        str(found.transactions),
        faults or "none",
        str(len(found.violations)),
        spread(found.listening),
        spread(found.settled),
    ]
    return f"| {' | '.join(cells)} |"


def main() -> int:
    """Soak each strategy on each store."""
    options = argparse.ArgumentParser()
    options.add_argument("strategies", nargs="*", default=STRATEGIES)
    options.add_argument("--store", action="append", choices=list(STORES))
    options.add_argument("--minutes", type=float, default=10.0)
    options.add_argument("--seed", type=int, default=20)
    given = options.parse_args()
    print("| strategy, store | transactions | faults | violations | until it listens | until all is settled |")
    print("|---|---|---|---|---|---|", flush=True)
    violated = faults = 0
    for store in given.store or list(STORES):
        for strategy in given.strategies:
            found = soak(strategy, minutes=given.minutes, store=store, seed=given.seed, progress=False)
            print(row(found, store), flush=True)
            for line in [f"lost: {count} {name}" for name, count in found.losses.items() if count]:
                print(f"  {line}", flush=True)
            for line in found.violations:
                print(f"  violation: {line}", flush=True)
            violated += len(found.violations)
            faults += sum(found.kinds.values())
            if found.interrupted:
                print("interrupted")
                return 130
    print(f"{faults} faults, {violated} violations")
    return 1 if violated else 0


if __name__ == "__main__":
    raise SystemExit(main())
