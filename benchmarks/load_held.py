"""How much load a real run holds here with nothing lost: the rate is doubled until transactions wait longer and longer.

    python benchmarks/load_held.py [--seconds 8] [--store sqlite] [--store postgres] [2pc saga outbox]

A rate is held if, ten seconds after the last arrival, every transaction that has arrived has its outcome and none is lost, nothing of `simtx.validation.violations` is found, and
no more than one in twenty has waited for its answer for longer than half a second. Service times are not slept, so that what is measured are this machine's
processes, sockets and forced writes and not the scenario's. All processes share this machine with their clients.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import simtx
from simtx.errors import SimtxError
from simtx.validation.violations import findings

STRATEGIES = ["2pc", "saga", "outbox"]
FIRST = 10.0
MOST = 2000.0
PATIENCE = 500.0  # ms that all but one in twenty may wait for their answer
FINISHED = ("committed", "aborted", "compensated")


def held(strategy: str, store: str, rate: float, seconds: float) -> tuple[bool, str]:
    """Whether a rate is held, and what was seen."""
    scenario = simtx.load("transfer-lab").replace(
        **{"workload.rate": rate, "run.transactions": int(rate * seconds), "run.warmup": 0, "run.drain": "10s"}
    )
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "run"
        try:
            run = simtx.execute(scenario, strategy, store=store, folder=place, service_times=False, progress=False)
        except SimtxError as error:
            return False, str(error)[:200]
        wrong = findings(run, place)
    outcomes = run.transactions["outcome"].astype(str)
    open_ = int((~outcomes.isin(FINISHED)).sum())
    last = float(run.transactions["arrival_s"].max())
    behind = float(run.transactions["latency_ms"].quantile(0.95))
    what = f"{len(run.transactions)} transactions, {open_} without an outcome, {len(wrong)} violations, latency p95 {behind:.0f} ms, last arrival {last:.1f} s"
    return not open_ and not wrong and behind < PATIENCE, what


def main() -> int:
    """Search for each strategy and store."""
    options = argparse.ArgumentParser()
    options.add_argument("strategies", nargs="*", default=STRATEGIES)
    options.add_argument("--store", action="append", choices=["sqlite", "postgres"])
    options.add_argument("--seconds", type=float, default=8.0)
    given = options.parse_args()
    for store in given.store or ["sqlite", "postgres"]:
        for strategy in given.strategies:
            rate, best = FIRST, 0.0
            while rate <= MOST:
                good, what = held(strategy, store, rate, given.seconds)
                print(f"  {strategy:8} {store:8} {rate:6.0f}/s {'held' if good else 'not held'}: {what}", flush=True)
                if not good:
                    break
                rate, best = 2 * rate, rate
            print(f"{strategy} on {store}: {best:.0f}/s held with nothing lost, {rate:.0f}/s not", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
