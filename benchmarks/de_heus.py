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
from typing import Any, Final

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


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--accounts", type=int, nargs="*", default=list(THEIRS))
    parser.add_argument("--calls", type=float, nargs="*", default=[0.001, 0.005, LONGEST_CALL], help="seconds of a call")
    parser.add_argument("--replications", type=int, default=5)
    parser.add_argument("--users", type=int, default=1024, help="at most")
    given = parser.parse_args()
    print(f"thread time of an event {1e6 * EVENT:.0f} µs; a ratio within a factor of {TOLERANCE:g} of theirs is reproduced")
    print(f"{'accounts':>8} {'call ms':>7} {'saga /s':>8} {'2pc /s':>8} {'ours':>6} {'95 % interval':>15} {'theirs':>6} {'off by':>6}")
    for accounts in given.accounts:
        for call in given.calls:
            found = {
                name: simtx.saturation(
                    transfers(accounts, call, locks),
                    [name],
                    replications=given.replications,
                    most_users=given.users,
                    progress=False,
                )
                for name, locks in (("saga", "write"), ("2pc", "work"))
            }
            saga, two = (found[name].best[name].throughput for name in ("saga", "2pc"))
            ours = simtx.metrics.intervals.ratio(saga, two, 0.95)
            theirs = THEIRS.get(accounts, float("nan"))
            within = theirs / TOLERANCE <= ours.low and ours.high <= theirs * TOLERANCE
            print(
                f"{accounts:8d} {1e3 * call:7.1f} {sum(saga) / len(saga):8.0f} {sum(two) / len(two):8.0f} {ours.mean:6.2f} "
                f"{f'[{ours.low:.2f}, {ours.high:.2f}]':>15} {theirs:6.1f} {ours.mean / theirs:6.2f}  "
                f"{'reproduced' if within else 'not reproduced'}; users: saga {found['saga'].best['saga'].users}, "
                f"2pc {found['2pc'].best['2pc'].users}",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
