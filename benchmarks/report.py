"""What a report costs: that of a sweep of a hundred cells, read from its results folder, and that of a comparison.

    python benchmarks/report.py

The sweep is played first, in runs as small as they can be: a report does not depend on how long they are, but for the one run of each strategy that it plays
again. They are played in this process, so that no other child's time is counted. Then the report is written in a process of its own, as `simtx report` does
it; its time and the size of its page count.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import simtx

STRATEGIES = ("2pc", "saga", "outbox")


def timed(*arguments: str) -> tuple[float, float]:
    """Seconds by the clock and of the processor that a command takes."""
    before, start = os.times(), time.perf_counter()
    command = [sys.executable, "-m", "simtx", *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - start, used


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        scenario = simtx.load("transfer").replace(**{"run.transactions": 12, "run.warmup": "0s"})
        over = {
            "workload.rate": [20 * step for step in range(1, 11)],
            "network.latency": [f"{ms}ms" for ms in range(1, 11)],
        }
        sweep = simtx.sweep(
            scenario, over, STRATEGIES, replications=2, store=place / "results", progress=False, executor="serial"
        )
        assert len(sweep.cells) == 100
        simtx.compare("transfer", STRATEGIES, replications=10, progress=False, workers=1).save(place / "runs")
        for what, source in (("sweep of 100 cells", "results"), ("comparison", "runs")):
            page = place / f"{source}.html"
            clock, used = timed("report", str(place / source), "--out", str(page))
            size = page.stat().st_size / 1e6
            print(f"{what}: {clock:.1f} s by the clock, {used:.1f} s of the processor, page of {size:.2f} MB")


if __name__ == "__main__":
    main()
