"""What a sweep costs beside its runs: two processes against one, store and keys, and reading a sweep that is there already.

    python benchmarks/sweep_store.py            # all three figures
    python benchmarks/sweep_store.py --quick    # a tenth of the work, to see that it works

The speed-up is that of 200 runs of the scenario `transfer`, everything included: starting the processes, too. Both sides are timed in turn, and the
median of the ratios counts. A worker process costs the same however much it has to do: little if it is a copy of this one, about a second if it starts anew (``loky``, as in a notebook).
So there are two lengths of runs: the 3,000 transactions that the scenario has, which the compiled engine plays in some hundredths of a second, and 30,000. Beside the clock, which other work on the machine moves, stand the seconds of the processor: with two processes the sweep cannot end before
the busier worker has, nor before half of what parent and workers need together. The cost of store and keys is what a sweep takes beyond the runs themselves when runs do nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import simtx
from simtx.experiments.executors import Loky
from simtx.experiments.work import Outcome

LENGTHS = (3_000, 30_000)
STRATEGIES = ("2pc", "saga", "outbox", "dual-write")


def speed_up(runs: int, rounds: int, transactions: int, executor: str | None = None) -> None:
    """Wall-clock time of a sweep in one process over that in two."""
    scenario = simtx.load("transfer").replace(**{"run.transactions": transactions})
    rates = [80 + 10 * step for step in range(max(runs // 20, 1))]
    simtx.sweep(scenario, {"workload.rate": [80]}, STRATEGIES, replications=1, store=None, executor="serial")  # modules
    ratios = []
    for number in range(rounds):
        times, used = {}, {}
        for workers in (1, 2):
            busy = Busy()
            with tempfile.TemporaryDirectory() as store:
                Loky(0).close(kill=True)  # no process of before is used again
                start, processor = time.perf_counter(), time.process_time()
                sweep = simtx.sweep(
                    scenario,
                    {"workload.rate": rates},
                    STRATEGIES,
                    replications=5,
                    seed=number,
                    store=store,
                    executor=executor if workers > 1 else None,
                    workers=workers,
                    progress=False,
                    on_result=busy.look if workers > 1 else None,
                )
                times[workers], parent = time.perf_counter() - start, time.process_time() - processor
                used[workers] = max([*busy.seconds, (parent + sum(busy.seconds)) / workers])
                assert len(sweep.frame) == 20 * len(rates)
        ratios.append(times[1] / times[2])
        print(
            f"  {20 * len(rates)} runs of about {transactions:,} transactions: one process {times[1]:.1f} s, two processes {times[2]:.1f} s, ratio {ratios[-1]:.2f}; "
            f"of the processor {used[1]:.1f} s and, at least, {used[2]:.1f} s: ratio {used[1] / used[2]:.2f} "
            f"(parent {parent:.1f} s, workers {', '.join(f'{one:.1f} s' for one in busy.seconds)})",
            flush=True,
        )
    print(
        f"speed-up with two {executor or 'copied'} processes, {transactions:,} transactions: {statistics.median(ratios):.2f} (median of {rounds})"
    )


class Busy:
    """Seconds of the processor that each worker process has used, looked at whenever a run is finished; its last run is missing."""

    def __init__(self) -> None:
        self._used: dict[int, float] = {}

    def look(self, _row: Any, _outcome: Any) -> None:
        """See what they have used by now."""
        ticks = os.sysconf("SC_CLK_TCK")
        for task in Path("/proc/self/task").iterdir():
            for child in (task / "children").read_text().split():
                with contextlib.suppress(OSError):  # it has ended
                    fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
                    self._used[int(child)] = sum(int(ticked) for ticked in fields[11:13]) / ticks

    @property
    def seconds(self) -> list[float]:
        """By process, the busiest first; helpers that use nothing are left out."""
        return sorted((one for one in self._used.values() if one > 0.1), reverse=True)


def overhead(runs: int) -> None:
    """Seconds a run that are not the run's own: keys, leases, ledger, files, table."""
    import simtx.experiments.sweep.runner as runner

    scenario = simtx.load("transfer")
    template = simtx.simulate(scenario.replace(**{"run.transactions": 60, "run.warmup": 0}), "saga")
    summary = {str(name): float(value) for name, value in template.summary.items()}
    played = runner.play

    def nothing(_parcel: Any, seed: int, replication: int, _attempt: int = 0) -> Outcome:
        return Outcome({**summary, "events": float(replication)}, f"{seed}-{replication}", 0.0)

    runner.play = nothing
    try:
        for replications, what in (
            (10, "10 replications of 4 strategies a cell"),
            (1, "1 replication of 1 strategy a cell"),
        ):
            strategies = STRATEGIES if replications > 1 else ("saga",)
            cells = runs // (replications * len(strategies))
            over = {"workload.rate": [50 + 0.01 * step for step in range(cells)]}
            with tempfile.TemporaryDirectory() as store:
                start = time.perf_counter()
                processor = time.process_time()
                simtx.sweep(
                    scenario,
                    over,
                    strategies,
                    replications=replications,
                    store=store,
                    executor="serial",
                    progress=False,
                )
                seconds, used = time.perf_counter() - start, time.process_time() - processor
            count = cells * replications * len(strategies)
            print(
                f"  {count} runs in {cells} cells, {what}: {1e3 * seconds / count:.2f} ms a run ({1e3 * used / count:.2f} ms of the processor)"
            )
    finally:
        runner.play = played


def cached(runs: int) -> None:
    """Seconds that a sweep takes whose runs are all there."""
    import simtx.experiments.sweep.runner as runner

    scenario = simtx.load("transfer")
    template = simtx.simulate(scenario.replace(**{"run.transactions": 60, "run.warmup": 0}), "saga")
    summary = {str(name): float(value) for name, value in template.summary.items()}
    played = runner.play
    runner.play = lambda _parcel, seed, replication, _attempt=0: Outcome(summary, f"{seed}-{replication}", 0.0)
    over = {"workload.rate": [50 + step for step in range(runs // 40)]}
    with tempfile.TemporaryDirectory() as store:
        try:
            simtx.sweep(scenario, over, STRATEGIES, replications=10, store=store, executor="serial", progress=False)
        finally:
            runner.play = played
        size = sum(file.stat().st_size for file in Path(store).rglob("*") if file.is_file())
        times, used = [], []
        for _ in range(3):
            start, processor = time.perf_counter(), time.process_time()
            frame = simtx.sweep(scenario, over, STRATEGIES, replications=10, store=store, progress=False).frame
            times.append(time.perf_counter() - start)
            used.append(time.process_time() - processor)
    print(
        f"cached sweep of {len(frame):,} runs read in {min(times):.2f} s (best of 3; {min(used):.2f} s of the processor; {size / 1e6:.1f} MB on disk)"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work")
    parser.add_argument("--rounds", type=int, default=3, help="of the speed-up")
    parser.add_argument("--only", choices=["store", "cached", "processes"], nargs="*", help="of the three figures")
    given = parser.parse_args()
    part = 10 if given.quick else 1
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} before")
    only = given.only or ["store", "cached", "processes"]
    if "store" in only:
        print("store and keys, with runs that do nothing:")
        overhead(4000 // part)
    if "cached" in only:
        cached(10_000 // part)
    if "processes" in only:
        for transactions in LENGTHS:
            speed_up(200 // part, 1 if given.quick else given.rounds, transactions)
        speed_up(200 // part, 1 if given.quick else given.rounds, LENGTHS[0], "loky")


if __name__ == "__main__":
    main()
