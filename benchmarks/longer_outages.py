"""The longer an outage, the worse every figure: the property over random scenarios, for all strategies and kinds of faults.

Each scenario is played under every strategy with one fault that lasts for a moment, for a while, and past the end of the run; all else is the same,
random numbers included. From one to the next no figure may get better:

- every quantile of the times to the answer, to the outcome and to the last effect, with what had not ended above all that had;
- the shares of what was not answered, not decided and not settled when the run ended; the share that committed, and goodput, the other way round;
- the longest that a transaction was in doubt, where the shorter fault itself has kept it so: for at least half of its duration;
- the time from the beginning of the fault until everything is as it was before (it is the recovery with the fault itself: from its end alone, a
  longer fault may take less, if a redelivery happens to be due).

A figure may be better by little: less work that is begun leaves shorter queues and fewer lock waits. What is allowed is `SLACK` of the figure, and
`GRAIN` of a millisecond or a share.

Not held to it, for good reason (docs/metrics.md): means of what ended, and latencies of committed transactions, as who fails leaves them; windows
and drift, which an outage that stops all work stops, too; sums over a run, since what never began costs nothing.

    python benchmarks/longer_outages.py                    # 200 scenarios, 2,400 runs
    python benchmarks/longer_outages.py --scenarios 20 --first 100
"""

from __future__ import annotations

import argparse
import math
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import simtx
from simtx.scenario import from_dict

STRATEGIES = ("2pc", "saga", "outbox", "dual-write")
KINDS = (
    "crash",
    "pause",
    "slow",
    "clock-drift",
    "store-outage",
    "partition",
    "loss",
    "duplication",
    "reorder",
    "broker-outage",
)
DURATIONS = (0.5, 4.0, 3600.0)
SLACK = 0.1
GRAIN = {"ms": 5.0, "s": 0.5, "share": 0.02}
LEVELS = ("p50", "p90", "p99")
DOWN = ("committed_share", "goodput_per_s")
UP = (
    *(f"{name}_{level}_ms" for name in ("latency", "decision", "settle") for level in LEVELS),
    "unanswered_share",
    "undecided_share",
    "unsettled_share",
)


def scenario(number: int) -> simtx.Scenario:
    """A random scenario without its fault's duration: services, network, disks, load, keys, refusals, timeouts, and one fault."""
    dice = random.Random(number)
    services = [f"s{index}" for index in range(dice.choice((2, 3, 4)))]
    kind = KINDS[number % len(KINDS)]
    fault: dict[str, Any] = {"kind": kind, "at": round(dice.uniform(0.5, 3.0), 3), "duration": DURATIONS[0]}
    if kind in ("crash", "pause", "clock-drift"):
        fault["node"] = dice.choice([*services, "hub"])
    elif kind in ("slow", "store-outage"):
        fault["node"] = dice.choice(services)
    elif kind in ("partition", "loss", "duplication", "reorder"):
        fault["a"] = [dice.choice(services)]
    if kind in ("slow", "clock-drift"):
        fault["factor"] = dice.choice((3.0, 20.0))
    if kind in ("loss", "duplication", "reorder"):
        fault["probability"] = dice.choice((0.1, 0.5, 0.9))
    key = dice.choice(("k{tx}", "k{tx}", "hot"))
    steps = [
        {
            "name": f"step{index}",
            "service": service,
            "after": [f"step{index - 1}"] if index else [],
            "operations": [{"key": key, "amount": 1}],
            "compensation": [{"key": key, "amount": -1}],
            "refusal": dice.choice((0.0, 0.0, 0.05)),
        }
        for index, service in enumerate(services)
    ]
    table: dict[str, Any] = {
        "services": {
            name: {
                "zone": "here",
                "workers": dice.choice((2, 8)),
                "service_time": dice.choice((0.001, 0.004)),
                "store": {"log": {"forced_write": dice.choice((0.0005, 0.004))}, "lock_timeout": 2.0},
            }
            for name in services
        },
        "hub": {"zone": "here", "log": {"forced_write": 0.002}},
        "network": {"zones": ["here"], "latency": dice.choice((0.0005, 0.005))},
        "broker": {"zone": "here", "redelivery": dice.choice((1.0, 5.0))},
        "transaction": {"steps": steps},
        "workload": {"kind": "poisson", "rate": dice.choice((10.0, 25.0))},
        "policies": {"vote_timeout": dice.choice((0.5, 2.0)), "call_timeout": dice.choice((0.3, 1.0))},
        "run": {"duration": 6.0, "drain": 25.0},
        "faults": [fault],
        "invariants": [
            {
                "name": "balance",
                "kind": "conserved",
                "terms": [
                    {"service": services[0], "prefix": ""},
                    {"service": services[-1], "prefix": "", "weight": -1},
                ],
            }
        ],
    }
    return from_dict(table, name=f"outage-{number}")


def lasting(given: simtx.Scenario, seconds: float) -> simtx.Scenario:
    """The same, with a fault of this duration."""
    return given.replace(**{"faults[0].duration": f"{seconds}s"})


def figures(run: simtx.Run) -> dict[str, float]:
    """What may not get better, and higher is worse."""
    summary = run.summary
    values = {name: float(summary[name]) for name in UP}
    values |= {name: -float(summary[name]) for name in DOWN}
    values |= {
        f"{row.kind}_until_recovered_s": row.end_s - row.begin_s + row.recovery_s for row in run.recovery.itertuples()
    }
    values["longest_in_doubt_ms"] = float(run.transactions["in_doubt_ms"].max())
    return values


def better(short: dict[str, float], long: dict[str, float], seconds: float) -> Iterator[tuple[str, float, float]]:
    """The figures that a longer fault has improved: (name, with the shorter one, with the longer one); the shorter one lasted for so long."""
    for name, before in short.items():
        if name == "longest_in_doubt_ms" and before < 500 * seconds:
            continue
        after = long.get(name, math.nan)
        unit = "ms" if name.endswith("_ms") else "share" if name.endswith("_share") else "s"
        allowed = SLACK * abs(before) + GRAIN[unit] if math.isfinite(before) else 0.0
        if after < before - allowed:
            yield name, before, after


def violations(
    number: int, strategies: tuple[str, ...] = STRATEGIES, durations: tuple[float, ...] = DURATIONS
) -> list[str]:
    """One line for each figure of this scenario that a longer fault has improved."""
    given = scenario(number)
    found = []
    for strategy in strategies:
        seen = [figures(simtx.simulate(lasting(given, seconds), strategy, seed=number)) for seconds in durations]
        for index in range(len(durations) - 1):
            for name, before, after in better(seen[index], seen[index + 1], durations[index]):
                found.append(
                    f"scenario {number}, {given.faults[0].kind} under {strategy}: {name} was {before:.6g} after "
                    f"{durations[index]:g} s and {after:.6g} after {durations[index + 1]:g} s"
                )
    return found


def main() -> int:
    """Print what was violated, and how much was compared; 1 if anything was."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenarios", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="number of the first scenario")
    options = parser.parse_args()
    kinds: Counter[str] = Counter()
    wrong = 0
    for number in range(options.first, options.first + options.scenarios):
        kinds[KINDS[number % len(KINDS)]] += 1
        for line in violations(number):
            wrong += 1
            print(line, flush=True)
    compared = options.scenarios * len(STRATEGIES) * (len(DURATIONS) - 1) * (len(UP) + len(DOWN) + 2)
    print(
        f"{options.scenarios} scenarios ({', '.join(f'{kind} {n}' for kind, n in kinds.items())}), {len(STRATEGIES)} strategies:"
    )
    print(f"{wrong} of {compared:,} figures got better with a longer fault")
    return int(wrong > 0)


if __name__ == "__main__":
    raise SystemExit(main())
