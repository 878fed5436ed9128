"""Distinct states per second of the explorer on the TwoPhase specification.

The specification is by Jim Gray and Leslie Lamport, "Consensus on Transaction Commit", ACM Transactions on Database Systems 31(1),
2006, doi:10.1145/1132863.1132867; its text is `TwoPhase.tla` in the TLA+ examples (github.com/tlaplus/Examples,
specifications/transaction_commit). A transaction manager (TM) and N resource managers (RMs) exchange a set of messages; messages
are never removed, so a message may be received any number of times.

Run it: `python benchmarks/explorer_two_phase.py` (or with `--rms 6 --tries 3`). Each try explores with one process, with two workers, and
twice at once in separate processes, in turn, so that a machine that is busy with other work slows all; the best of each is
compared, as the least disturbed. The last says what speed-up the machine itself allows: cores may share caches or be virtual.
"""

import argparse
import math
import multiprocessing
import os
from collections.abc import Hashable, Iterator

from simtx.checker import Exploration, Model, explore

# rmState, tmState, tmPrepared, msgs. The last two are sets, kept as bits: bit r is RM r in tmPrepared, and
# [type |-> "Prepared", rm |-> r] in msgs; the two bits above it in msgs are the TM's own messages.
State = tuple[tuple[str, ...], str, int, int]
# To be put in the place of one RM's state:
PREPARED, COMMITTED, ABORTED = ("prepared",), ("committed",), ("aborted",)


def two_phase(rms: int) -> Model[State]:
    """The TwoPhase specification with its published actions and the invariant TCConsistent of its TCommit.

    Args:
        rms: The number of resource managers, N.
    """
    everyone = (1 << rms) - 1
    commit, abort = 1 << rms, 2 << rms
    managers = range(rms)
    names = ("TMRcvPrepared", "RMPrepare", "RMChooseToAbort", "RMRcvCommitMsg", "RMRcvAbortMsg")
    rcv_prepared, prepare, choose_to_abort, rcv_commit, rcv_abort = ([(name, r) for r in managers] for name in names)

    def successors(state: State) -> Iterator[tuple[Hashable, State]]:
        rm, tm, prepared, msgs = state
        if tm == "init":
            for r in managers:
                if msgs >> r & 1:
                    yield rcv_prepared[r], (rm, tm, prepared | 1 << r, msgs)
            if prepared == everyone:
                yield "TMCommit", (rm, "committed", prepared, msgs | commit)
            yield "TMAbort", (rm, "aborted", prepared, msgs | abort)
        for r in managers:
            before, after = rm[:r], rm[r + 1 :]
            if rm[r] == "working":
                yield prepare[r], (before + PREPARED + after, tm, prepared, msgs | 1 << r)
                yield choose_to_abort[r], (before + ABORTED + after, tm, prepared, msgs)
            if msgs & commit:
                yield rcv_commit[r], (before + COMMITTED + after, tm, prepared, msgs)
            if msgs & abort:
                yield rcv_abort[r], (before + ABORTED + after, tm, prepared, msgs)

    return Model(
        name=f"TwoPhase N={rms}",
        initial=[(("working",) * rms, "init", 0, 0)],
        successors=successors,
        invariants={"TCConsistent": lambda state: not ("aborted" in state[0] and "committed" in state[0])},
        goals={
            "all committed": lambda state: state[0] == COMMITTED * rms,
            "all aborted": lambda state: state[0] == ABORTED * rms,
        },
    )


def side_by_side(rms: int) -> float:
    """Seconds that two separate searches in one process each take when they run at once: what the machine's cores can give."""
    context = multiprocessing.get_context("fork")
    with context.Pool(2) as pool:
        return max(pool.map(_seconds, [rms, rms], chunksize=1))


def _seconds(rms: int) -> float:
    return explore(two_phase(rms)).seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rms", type=int, default=7, help="resource managers, N (default 7)")
    parser.add_argument("--tries", type=int, default=5, help="repetitions; the best counts (default 5)")
    options = parser.parse_args()
    best: dict[int, Exploration] = {}
    cpu_s = {1: math.inf, 2: math.inf}
    apart_s = math.inf
    for _ in range(options.tries):
        for workers in (1, 2):
            before = os.times()
            result = explore(two_phase(options.rms), workers=workers)
            after = os.times()
            own = after.user + after.system - before.user - before.system
            children = after.children_user + after.children_system - before.children_user - before.children_system
            cpu_s[workers] = min(cpu_s[workers], own + children / 2)  # the two workers run at once
            assert result.passed, str(result)
            if workers not in best or result.seconds < best[workers].seconds:
                best[workers] = result
        apart_s = min(apart_s, side_by_side(options.rms))
    one, two = best[1], best[2]
    assert (one.states, one.transitions, one.levels) == (two.states, two.transitions, two.levels)
    print(one)
    per_cpu_s = one.states / cpu_s[1]
    print(f"one process:  {one.seconds:.2f} s, {one.states_per_second:,.0f} states/s ({per_cpu_s:,.0f} per CPU second)")
    print(f"two workers:  {two.seconds:.2f} s, {two.states_per_second:,.0f} states/s")
    print(f"speed-up:     {one.seconds / two.seconds:.2f} by the clock, {cpu_s[1] / cpu_s[2]:.2f} by CPU time")
    print(
        f"ceiling:      {2 * one.seconds / apart_s:.2f} by the clock: two separate searches at once, not one after the other"
    )


if __name__ == "__main__":
    main()
