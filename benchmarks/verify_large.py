"""Larger scopes of the protocol checker than the tests have time for.

Run it: `python benchmarks/verify_large.py`, all scopes, half an hour and some gigabytes; `--only saga` those of one strategy; `--list` what there is, with numbers, and `--scope 7` the one
with this number. `--workers 2` shares each search between two processes, `--symmetry` explores participants that are alike once; both search in Python. A scope that does not fit into `--max-seconds` or
`--max-gigabytes` says "incomplete", and what was explored until then. The memory is that of the whole process at its highest.
"""

import argparse
import resource
from time import process_time
from typing import Any

from simtx.checker import verify
from simtx.protocols import Cornus, DualWrite, Outbox, PaxosCommit, Policies, Saga, TryConfirmCancel, TwoPhaseCommit

PATIENT = Policies(attempts=2, publish_attempts=2)

SCOPES: list[tuple[Any, dict[str, Any]]] = [
    (TwoPhaseCommit(), {"participants": 3, "failures": 1}),
    (TwoPhaseCommit(), {"participants": 3, "losses": 1}),
    (TwoPhaseCommit(), {"participants": 3, "crashes": 2}),
    (TwoPhaseCommit(), {"participants": 4}),
    (TwoPhaseCommit(), {"participants": 5, "crashes": 0}),
    (TwoPhaseCommit(), {"participants": 2, "crashes": 2, "losses": 1, "timeouts": 2}),
    (TwoPhaseCommit(), {"messages": 2, "contention": True}),
    (TwoPhaseCommit(work="before"), {"participants": 3}),
    (TwoPhaseCommit(work="before", policies=PATIENT), {"losses": 1, "timeouts": 2}),
    (PaxosCommit(), {"timeouts": 0}),
    (PaxosCommit(), {"duplicates": 0}),
    (PaxosCommit(), {}),
    (Cornus(), {}),
    (TryConfirmCancel(), {"participants": 3}),
    (TryConfirmCancel(), {"participants": 3, "failures": 1}),
    (TryConfirmCancel(), {"messages": 2, "contention": True}),
    (Saga(), {"messages": 2, "contention": True}),
    (Saga(), {"participants": 3, "failures": 1}),
    (Saga(), {"participants": 4, "failures": 1}),
    (Saga(), {"participants": 3, "crashes": 2, "losses": 1, "failures": 1}),
    (Saga(), {"participants": 3, "parallel": True, "losses": 1}),
    (Saga(completion="lazy"), {"participants": 3, "parallel": True, "losses": 1}),
    (Saga(policies=PATIENT), {"participants": 3, "timeouts": 2, "losses": 1}),
    (Saga(), {"participants": 4, "pivot": 2, "failures": 1}),
    (Outbox(), {"participants": 3, "failures": 1}),
    (Outbox(), {"messages": 2, "contention": True}),
    (Outbox(), {"messages": 2, "losses": 1}),
    (Outbox(), {"participants": 3, "losses": 1, "failures": 1}),
    (Outbox(), {"participants": 3, "upgrade": "stop"}),
    (Outbox(closing=True), {"participants": 3, "crashes": 2}),
    (DualWrite(), {"participants": 3, "failures": 1}),
    (DualWrite(), {"messages": 2, "contention": True}),
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", metavar="STRATEGY", help="2pc, paxos-commit, cornus, tcc, saga, outbox or dual-write")
    parser.add_argument("--scope", type=int, action="append", help="the number of a scope; may come several times")
    parser.add_argument("--max-seconds", type=float, default=600.0, help="for each scope")
    parser.add_argument("--max-gigabytes", type=float, default=6.0, help="for each scope")
    parser.add_argument("--workers", type=int, default=1, help="processes that search")
    parser.add_argument("--symmetry", action="store_true", help="explore participants that are alike once")
    parser.add_argument("--list", action="store_true", help="print the scopes and end")
    arguments = parser.parse_args()
    failed = 0
    for number, (strategy, scope) in enumerate(SCOPES):
        if arguments.only not in (None, strategy.name) or number not in (arguments.scope or (number,)):
            continue
        if arguments.list:
            print(number, strategy, scope)
            continue
        before = process_time()
        verdict = verify(
            strategy,
            **scope,
            symmetry=arguments.symmetry,
            workers=arguments.workers,
            max_seconds=arguments.max_seconds,
            max_memory=int(arguments.max_gigabytes * 1e9),
            progress=True,
        )
        gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(
            f"{number} {verdict.headline} | {verdict.bounds} | {verdict.engine} {verdict.engine_reason} | {process_time() - before:.1f} s of processor, {gigabytes:.2f} GB at most",
            flush=True,
        )
        for story in verdict.violations.values():
            print(story)
        failed += bool(verdict.violations.keys() - verdict.expected.keys())
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
