"""Larger scopes of the protocol checker than the tests have time for.

Run it: `python benchmarks/verify_large.py`, all scopes, some minutes and a few gigabytes; `--only saga` those of one strategy; `--list` what there is;
`--workers 2` shares each search between two processes, `--symmetry` explores participants that are alike once. A scope that does not fit into `--max-seconds` or `--max-gigabytes` says "incomplete", and what was explored until then.
"""

import argparse
from time import process_time
from typing import Any

from simtx.checker import verify
from simtx.protocols import Outbox, Policies, Saga, TryConfirmCancel, TwoPhaseCommit

PATIENT = Policies(attempts=2, publish_attempts=2)

SCOPES: list[tuple[Any, dict[str, Any]]] = [
    (TwoPhaseCommit(), {"participants": 3, "failures": 1}),
    (TwoPhaseCommit(), {"participants": 3, "losses": 1}),
    (TwoPhaseCommit(), {"participants": 4, "duplicates": 0}),
    (TwoPhaseCommit(), {"participants": 5, "crashes": 0}),
    (TwoPhaseCommit(), {"participants": 2, "crashes": 2, "losses": 1, "timeouts": 2}),
    (TwoPhaseCommit(), {"messages": 2, "contention": True}),
    (TwoPhaseCommit(work="before"), {"participants": 3}),
    (TwoPhaseCommit(work="before", policies=PATIENT), {"losses": 1, "timeouts": 2}),
    (TryConfirmCancel(), {"participants": 3}),
    (TryConfirmCancel(), {"participants": 3, "failures": 1}),
    (Saga(), {"messages": 2, "contention": True}),
    (Saga(), {"participants": 3, "failures": 1}),
    (Saga(), {"participants": 3, "crashes": 2, "losses": 1, "failures": 1}),
    (Saga(), {"participants": 3, "parallel": True, "losses": 1}),
    (Saga(completion="lazy"), {"participants": 3, "parallel": True, "losses": 1}),
    (Saga(policies=PATIENT), {"participants": 3, "timeouts": 2, "losses": 1}),
    (Saga(), {"participants": 4, "pivot": 2, "failures": 1}),
    (Outbox(), {"participants": 3, "failures": 1}),
    (Outbox(), {"messages": 2, "contention": True}),
    (Outbox(), {"messages": 2, "losses": 1}),
    (Outbox(), {"participants": 3, "losses": 1, "failures": 1}),
    (Outbox(closing=True), {"participants": 3, "crashes": 2}),
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", metavar="STRATEGY", help="2pc, tcc, saga or outbox")
    parser.add_argument("--max-seconds", type=float, default=600.0, help="for each scope")
    parser.add_argument("--max-gigabytes", type=float, default=6.0, help="for each scope")
    parser.add_argument("--workers", type=int, default=1, help="processes that search")
    parser.add_argument("--symmetry", action="store_true", help="explore participants that are alike once")
    parser.add_argument("--list", action="store_true", help="print the scopes and end")
    arguments = parser.parse_args()
    failed = 0
    for strategy, scope in SCOPES:
        if arguments.only not in (None, strategy.name):
            continue
        if arguments.list:
            print(strategy.name, scope)
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
        print(verdict.headline, "|", verdict.bounds, f"| {process_time() - before:.1f} s of processor", flush=True)
        for story in verdict.violations.values():
            print(story)
        failed += bool(verdict.violations)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
