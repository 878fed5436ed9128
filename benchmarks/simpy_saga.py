"""The yardstick: a saga as a good user of SimPy writes it, to compare simtx with.

The model, in both: a business transaction of four steps on four services, run by an orchestrator.

- Requests arrive as a Poisson process of 300/s. The clock of a transaction starts when its request reaches the orchestrator, and stops
  when the orchestrator learns of the last step or of the last compensation: the client's own two messages are not part of it.
- Before every command, of a step or of a compensation, the orchestrator appends to its log: 0.2 ms, with no queue.
- Command and reply are one message each: lognormal, median 0.5 ms, sigma 0.5.
- A service is one server with a FIFO queue and exponential service times of mean 2 ms, for compensations as for steps.
- A step is refused with probability 0.05, after its service. Then the steps before it are compensated one by one, last first,
  through the same servers; a compensation is never refused.

The means: one process a transaction, one `simpy.Resource` a service, a `with` block around each use, and the standard library's
`random.Random`, whose single draws are faster than NumPy's. Nothing is measured but a latency and an outcome per transaction, and
nothing is traced: what simtx does beyond that is at its own cost. Latencies are of all transactions, with no warm-up removed: the
system starts empty and is in steady state within a fraction of a second.

Run it: python benchmarks/simpy_saga.py --transactions 20000 --seed 1
"""

import argparse
import math
import time
from collections.abc import Generator
from random import Random
from typing import Any, TypedDict

import simpy

ARRIVALS_PER_S = 300.0
STEPS = 4
MESSAGE_MEDIAN_S = 0.5e-3
MESSAGE_SIGMA = 0.5
SERVICE_MEAN_S = 2e-3
APPEND_S = 0.2e-3
REFUSAL = 0.05

SimPyProcess = Generator[simpy.Event, Any, None]


class Result(TypedDict):
    """What a run of the model gives."""

    transactions: int
    mean_latency_s: float
    compensated_share: float
    seconds: float
    transactions_per_second: float


def run_idiomatic(seed: int, transactions: int, environment: type[simpy.Environment] = simpy.Environment) -> Result:
    """Simulate the saga in plain SimPy until every transaction has ended.

    Args:
        seed: Of the one random number generator.
        transactions: How many requests arrive.
        environment: The class of environment, to run the same SimPy code on simtx's kernel.

    Returns:
        The number of transactions, their mean latency (s), the share that was refused and compensated, the wall time (s) with
        everything from building the model on, and transactions simulated per second of wall time.
    """
    start = time.perf_counter()
    random = Random(seed)
    env = environment()
    services = [simpy.Resource(env, capacity=1) for _ in range(STEPS)]
    message_mu = math.log(MESSAGE_MEDIAN_S)
    latencies: list[float] = []
    compensated = 0

    def command(service: simpy.Resource) -> SimPyProcess:
        """Log, send, serve, reply."""
        yield env.timeout(APPEND_S)
        yield env.timeout(random.lognormvariate(message_mu, MESSAGE_SIGMA))
        with service.request() as turn:
            yield turn
            yield env.timeout(random.expovariate(1 / SERVICE_MEAN_S))
        yield env.timeout(random.lognormvariate(message_mu, MESSAGE_SIGMA))

    def saga() -> SimPyProcess:
        nonlocal compensated
        arrived = env.now
        for k, service in enumerate(services):
            yield from command(service)
            if random.random() < REFUSAL:
                for done in reversed(services[:k]):
                    yield from command(done)
                compensated += 1
                break
        latencies.append(env.now - arrived)

    def arrivals() -> SimPyProcess:
        for _ in range(transactions):
            yield env.timeout(random.expovariate(ARRIVALS_PER_S))
            env.process(saga())

    env.process(arrivals())
    env.run()

    seconds = time.perf_counter() - start
    assert len(latencies) == transactions
    return {
        "transactions": transactions,
        "mean_latency_s": math.fsum(latencies) / transactions,
        "compensated_share": compensated / transactions,
        "seconds": seconds,
        "transactions_per_second": transactions / seconds,
    }


def main() -> None:
    """Print one run."""
    parser = argparse.ArgumentParser(description="The benchmark saga in plain, idiomatic SimPy.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--transactions", type=int, default=20_000)
    options = parser.parse_args()
    result = run_idiomatic(options.seed, options.transactions)
    print(f"transactions         {result['transactions']:>10,}")
    print(f"mean latency         {result['mean_latency_s'] * 1e3:>10.3f} ms")
    print(f"compensated          {result['compensated_share']:>10.2%}  (expected {1 - (1 - REFUSAL) ** STEPS:.2%})")
    print(f"wall time            {result['seconds']:>10.2f} s")
    print(f"transactions/second  {result['transactions_per_second']:>10,.0f}")


if __name__ == "__main__":
    main()
