"""What a local transaction takes in a real run beside its service time, at low load and at saturation, by how often the relay polls.

    python benchmarks/beside_the_relay.py [--number 2] [--seed 4711] [--seconds 7]

A relay is a process of its own with the same SQLite file and the same cores. The model lets a service and its relay share the cores, and nothing else. So what
a local transaction takes longer here than in a calibration at low load is missing in the predictions of the outbox near saturation (docs/validation.md). Run it on a machine that does
nothing else. It executes a drawn scenario of `simtx validate --random` for real: at 20 % of the load that its busiest service could carry, and at saturation, under the outbox with two
poll intervals, and under the saga, which has no relay.
"""

from __future__ import annotations

import argparse

import numpy as np

from simtx import execute
from simtx.protocols import strategy
from simtx.validation.blocks import legs
from simtx.validation.calibrate import at_utilisation
from simtx.validation.drawn import drawn
from simtx.validation.validate import saturated


def main() -> None:
    """Execute each of them, and print one line for it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=2, help="of the drawn scenario; an outbox has 2, 5, 8, ...")
    parser.add_argument("--seed", type=int, default=4711)
    parser.add_argument(
        "--seconds", type=float, default=7.0, help="of each run at saturation, a warm-up of 2 s included"
    )
    given = parser.parse_args()
    one = drawn(given.number, given.seed)
    workers = {name: service.workers for name, service in one.scenario.services.items()}
    print(
        f"scenario {given.number} of seed {given.seed}: {one.shape}; local transactions without their service time, in ms"
    )
    print(f"{'strategy':<10}{'polls every':>12}{'load':>12}{'per second':>12}{'median':>9}{'mean':>9}{'p90':>9}")
    for name, poll in (("outbox", "20ms"), ("outbox", "200ms"), ("saga", "20ms")):
        scenario = one.scenario.replace(**{"policies.poll_interval": poll})
        chosen = strategy(name, scenario.policies)
        full = saturated(scenario).replace(**{"run.duration": f"{given.seconds:g}s"})
        for load, played in (("20 %", at_utilisation(scenario, 0.2, 200)), ("saturation", full)):
            run = execute(played, chosen, seed=given.seed)
            found = legs(run.trace, chosen.hub, since=2.0, workers=workers)["local"]
            taken = 1000 * np.array([leg.seconds for leg in found])
            rate = run.summary["throughput_per_s"]
            shown = f"{np.median(taken):>9.2f}{taken.mean():>9.2f}{np.quantile(taken, 0.9):>9.2f}"
            print(f"{name:<10}{poll if name == 'outbox' else '-':>12}{load:>12}{rate:>12.1f}{shown}", flush=True)


if __name__ == "__main__":
    main()
