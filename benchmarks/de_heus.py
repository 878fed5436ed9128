"""De Heus et al. (DEBS 2021): sagas against two-phase commit on Flink StateFun, by the number of accounts.

    python benchmarks/de_heus.py

M. de Heus, K. Psarakis, M. Fragkoulis, A. Katsifodimos, "Distributed transactions on serverless stateful functions", DEBS 2021. What is
reproduced are the ratios of their highest throughputs, saga to 2PC, for transfers between two accounts drawn uniformly: 1.5 with 5,000 accounts, 3
with 2,000, 9 with 100. docs/reproductions.md says where each value below comes from, and what the figures mean.

Stated before the first run: a ratio counts as reproduced if the whole 95 % interval of ours lies within a factor of 1.5 of theirs. No value below was
chosen by its result. The time of a call of a function is not published, so that all figures are printed for the whole range that it can have.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np

import simtx
from simtx.scenario import Scenario, from_dict

THEIRS: Final = {5000: 1.5, 2000: 3.0, 100: 9.0}
"""Throughput of sagas over that of 2PC, by the number of accounts."""
TOLERANCE: Final = 1.5

WORKERS: Final = 5
"""Flink task managers, each with one slot: so many threads play all functions' messages and keep all state."""
FIRST_LOAD: Final = 1750
"""Transfers a second at which their search for the limit of sagas began, with five workers and 5,000 accounts."""
SAGA_EVENTS: Final = 8
"""What their coordinator and accounts handle for a saga: the request, the end of its call, two commands, the ends of two calls, two replies."""
EVENT: Final = WORKERS / (SAGA_EVENTS * FIRST_LOAD)
"""Seconds of a thread for each of these, if the first load was the limit: an upper bound."""
PROCESSES: Final = 45 * 5
"""Processes that run the accounts' functions: 45 pods of five each; a pod has two cores."""
LONGEST_CALL: Final = 45 * 2 / (2 * FIRST_LOAD)
"""Seconds of a core that a call can take, as their cores were enough for two calls of each transfer at the first load."""
FLUSH: Final = 0.1
"""Flink's default of `execution.buffer-timeout`, which they have not changed: a message leaves its worker at the next flush, every 100 ms."""
PATIENT: Final = "120s"
"""Timeout of their calls."""
BURSTS: Final = 5
"""Times a second at which their producer sends what has come together."""
HELD: Final = 0.95
"""Share of the load that has to come out, or it was the last one."""
STEPS: Final = {"saga": 250, "2pc": 100}
"""By how many transfers a second the load grows (theirs for 2PC: 200, which is coarse below 200)."""
SECONDS: Final = 20
"""Of each load; theirs: three minutes."""


def transfers(accounts: int, call: float, locks: str) -> Scenario:
    """Transfers between two accounts, as they were played.

    Args:
        accounts: Half of them pay, half are paid, so that each is wanted as often as one of theirs.
        call: Seconds of a call of a function.
        locks: As in a scenario: ``work`` for 2PC, whose account is locked from the beginning of its call; ``write`` for sagas, whose calls that wait
            for a busy account go to it together, in one batch.
    """
    service: dict[str, Any] = {
        "zone": "cluster",
        "workers": PROCESSES // 2,
        "service_time": call,
        "store": {
            "locks": locks,
            "lock_timeout": PATIENT,
            "initial": {"balance:*": 10_000},
            "log": {"forced_write": 0.0},
        },
    }
    accounts_of = {"population": accounts // 2}
    raw: dict[str, Any] = {
        "services": {"sender": service, "receiver": service},
        "hub": {"zone": "cluster", "log": {"forced_write": 0.0}},
        "network": {"zones": ["cluster"], "latency": {"distribution": "uniform", "low": 0.0, "high": FLUSH}},
        "hosts": {
            "flink": {
                "cores": WORKERS,
                "nodes": ["hub", "sender", "receiver"],
                "parallel": True,
                "event": EVENT,
                "effect": 0.0,
                "transaction": EVENT,
            }
        },
        "transaction": {
            "parameters": {"payer": accounts_of, "payee": accounts_of},
            "steps": [
                {
                    "name": "subtract",
                    "service": "sender",
                    "after": [],
                    "operations": [{"key": "balance:{payer}", "amount": -1, "low": 0}],
                    "compensation": [{"key": "balance:{payer}", "amount": 1}],
                },
                {
                    "name": "add",
                    "service": "receiver",
                    "after": [],
                    "operations": [{"key": "balance:{payee}", "amount": 1}],
                    "compensation": [{"key": "balance:{payee}", "amount": -1}],
                },
            ],
        },
        "workload": {"kind": "poisson", "rate": 100},
        "deadlocks": "detect",
        "policies": dict.fromkeys(
            ("call_timeout", "vote_timeout", "acknowledgement_timeout", "inquiry_timeout"), PATIENT
        ),
        "run": {"transactions": 2000},
    }
    return from_dict(raw, name=f"{accounts} accounts")


def stepped(accounts: int, call: float, locks: str, strategy: str, seed: int) -> float:
    """The highest throughput by their own procedure: loads in bursts, a step higher each time, until less than 95 % of one comes out."""
    step, found, load = STEPS[strategy], 0.0, 0
    scenario = transfers(accounts, call, locks)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "arrivals.csv"
        while True:
            load += step
            times = np.repeat(np.arange(1, BURSTS * SECONDS + 1) / BURSTS, load // BURSTS)
            file.write_text("time\n" + "\n".join(f"{time:.6f}" for time in times) + "\n", encoding="utf-8")
            changes = {
                "workload": {"kind": "trace", "trace": str(file)},
                "run": {"transactions": len(times), "drain": "60s"},
            }
            run = simtx.simulate(scenario.replace(**changes), strategy, seed=seed, progress=False)
            ends = (run.transactions["arrival_s"] + run.transactions["decision_ms"] / 1e3).dropna()
            came = len(ends) / (float(ends.max()) - float(ends.min()))
            found = max(found, came)
            if came < HELD * load:
                return found


Found = tuple[tuple[float, ...], tuple[float, ...], str]
"""The throughput of sagas and of 2PC in each replication, and a remark."""


def bursts(accounts: int, call: float, given: argparse.Namespace) -> Found:
    """By their procedure."""
    saga, two = (
        tuple(stepped(accounts, call, locks, name, seed) for seed in range(1, given.replications + 1))
        for name, locks in (("saga", "write"), ("2pc", "work"))
    )
    return saga, two, ""


def saturated(accounts: int, call: float, given: argparse.Namespace) -> Found:
    """By `simtx.saturation`."""
    found = [
        simtx.saturation(
            transfers(accounts, call, locks),
            [name],
            replications=given.replications,
            most_users=given.users,
            progress=False,
        ).best[name]
        for name, locks in (("saga", "write"), ("2pc", "work"))
    ]
    return found[0].throughput, found[1].throughput, f"; users: saga {found[0].users}, 2pc {found[1].users}"


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--accounts", type=int, nargs="*", default=list(THEIRS))
    parser.add_argument(
        "--calls", type=float, nargs="*", default=[0.001, 0.005, LONGEST_CALL], help="seconds of a call"
    )
    parser.add_argument("--replications", type=int, default=5)
    parser.add_argument("--users", type=int, default=1024, help="at most")
    parser.add_argument(
        "--in-bursts", action="store_true", help="search as they did, and not among users who never think"
    )
    given = parser.parse_args()
    print(
        f"thread time of an event {1e6 * EVENT:.0f} µs; a ratio within a factor of {TOLERANCE:g} of theirs is reproduced"
    )
    print(
        f"{'accounts':>8} {'call ms':>7} {'saga /s':>8} {'2pc /s':>8} {'ours':>6} {'95 % interval':>15} {'theirs':>6} {'off by':>6}"
    )
    for accounts in given.accounts:
        for call in given.calls:
            saga, two, users = (bursts if given.in_bursts else saturated)(accounts, call, given)
            ours = simtx.metrics.intervals.ratio(saga, two, 0.95)
            theirs = THEIRS.get(accounts, float("nan"))
            within = theirs / TOLERANCE <= ours.low and ours.high <= theirs * TOLERANCE
            print(
                f"{accounts:8d} {1e3 * call:7.1f} {sum(saga) / len(saga):8.0f} {sum(two) / len(two):8.0f} {ours.mean:6.2f} "
                f"{f'[{ours.low:.2f}, {ours.high:.2f}]':>15} {theirs:6.1f} {ours.mean / theirs:6.2f}  "
                f"{'reproduced' if within else 'not reproduced'}{users}",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
