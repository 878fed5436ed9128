"""The same saga in plain SimPy and in simtx: transactions a second, side by side, and memory a transaction.

    python benchmarks/saga_throughput.py                 # the ratio, over several seeds
    python benchmarks/saga_throughput.py --memory 200000 # resident memory a simulated transaction

The model is that of `simpy_saga.py`. simtx plays it with the real machines of the saga, idempotency rows, timeouts, and all metrics on, the drift of a conserved
quantity included; `completion="lazy"` leaves out the append at the end that the model does not have. Both run in turn, in one process, in CPU time; the ratio is
taken pair by pair, because a machine's speed drifts. Mean latency and the share of compensated sagas have to agree, or the script fails.
"""

from __future__ import annotations

import argparse
import math
import resource
import statistics
import time
from typing import Any

from simpy_saga import (
    APPEND_S,
    ARRIVALS_PER_S,
    MESSAGE_MEDIAN_S,
    MESSAGE_SIGMA,
    REFUSAL,
    SERVICE_MEAN_S,
    STEPS,
    run_idiomatic,
)

import simtx
from simtx.scenario import Scenario, from_dict
from simtx.scenario.distributions import Constant, Exponential, Lognormal


def scenario(
    transactions: int, *, rate: float = ARRIVALS_PER_S, rows: int | None = None, poll: float | None = None
) -> Scenario:
    """The benchmark's model as a scenario.

    Args:
        transactions: How many arrive.
        rate: How many a second.
        rows: How many rows each service has of which a step books one; None: one for all.
        poll: Period of the relays of an outbox, in seconds; None: as usual.
    """
    key = "booked" if rows is None else "booked:{row}"
    names = [f"service-{number}" for number in range(STEPS)]
    service: dict[str, Any] = {
        "zone": "here",
        "workers": 1,
        "service_time": Exponential(SERVICE_MEAN_S),
        "store": {"log": {"forced_write": 0, "flush": "parallel"}},
    }
    steps = [
        {
            "name": f"step-{number}",
            "service": name,
            "after": [f"step-{number - 1}"] if number else [],
            "refusal": REFUSAL,
            "operations": [{"key": key, "amount": 1}],
            "compensation": [{"key": key, "amount": -1}],
        }
        for number, name in enumerate(names)
    ]
    first, last = names[0], names[-1]
    terms = [{"service": first, "prefix": "booked"}, {"service": last, "prefix": "booked", "weight": -1}]
    return from_dict(
        {
            "services": {name: dict(service) for name in names},
            "hub": {"zone": "here", "log": {"forced_write": APPEND_S, "flush": "parallel"}},
            "network": {"zones": ["here"], "latency": Lognormal(MESSAGE_MEDIAN_S, MESSAGE_SIGMA)},
            "broker": {"zone": "here", "linger": 0, "ack_latency": Constant(APPEND_S)},
            "transaction": {"steps": steps, "parameters": {} if rows is None else {"row": {"population": rows}}},
            "workload": {"kind": "poisson", "rate": rate},
            "invariants": [{"name": "booked", "kind": "conserved", "unit": "bookings", "terms": terms}],
            "policies": {"call_timeout": 10, "vote_timeout": 10, **({} if poll is None else {"poll_interval": poll})},
            "run": {"transactions": transactions, "warmup": 0},
        },
        name="benchmark",
    )


def run_simtx(seed: int, transactions: int) -> simtx.Run:
    """One run of the model in simtx."""
    return simtx.simulate(scenario(transactions), simtx.Saga(completion="lazy"), seed=seed)


def compare(seeds: int, transactions: int) -> int:
    """Both in turn; the exit code is 1 if they do not model the same thing."""
    ratios, latencies, shares = [], [], []
    for seed in range(1, seeds + 1):
        start = time.process_time()
        plain = run_idiomatic(seed, transactions)
        middle = time.process_time()
        summary = run_simtx(seed, transactions).summary
        end = time.process_time()
        ratios.append((middle - start) / (end - middle))
        latencies.append((plain["mean_latency_s"] * 1e3, summary["latency_mean_ms"]))
        shares.append((plain["compensated_share"], summary["compensated_share"] + summary["aborted_share"]))
        print(
            f"seed {seed}: SimPy {transactions / (middle - start):8,.0f}/s   simtx {transactions / (end - middle):8,.0f}/s   "
            f"ratio {ratios[-1]:.2f}",
            flush=True,
        )
    print(
        f"ratio simtx : SimPy, CPU time: median {statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}"
    )
    return max(agree("mean latency [ms]", latencies), agree("compensated share", shares))


def agree(what: str, pairs: list[tuple[float, float]]) -> int:
    """Whether the difference of the means is within four standard errors, estimated over the seeds."""
    columns = list(zip(*pairs, strict=True))
    means = [statistics.fmean(column) for column in columns]
    error = math.sqrt(sum(statistics.variance(column) for column in columns) / len(pairs))
    agree = abs(means[0] - means[1]) <= 4 * error
    print(
        f"{what}: SimPy {means[0]:.4g}, simtx {means[1]:.4g}, standard error {error:.2g}: {'agree' if agree else 'DISAGREE'}"
    )
    return 0 if agree else 1


def memory(transactions: int) -> int:
    """Growth of the peak resident memory by a run, for each transaction. A process of its own gives the truth: run it alone."""
    run_simtx(1, 2000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    run = run_simtx(1, transactions)
    rows = len(run.transactions)
    seconds = time.process_time() - start
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    each = (after - before) * 1024 / rows
    print(
        f"{rows:,} transactions in {seconds:.0f} s of CPU: peak {after / 1024:.0f} MB, grown by {each:.0f} bytes a transaction"
    )
    return 0


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--transactions", type=int, default=20_000)
    parser.add_argument("--memory", type=int, metavar="TRANSACTIONS")
    options = parser.parse_args()
    return memory(options.memory) if options.memory else compare(options.seeds, options.transactions)


if __name__ == "__main__":
    raise SystemExit(main())
