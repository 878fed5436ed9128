"""A disk that fills up at any place, under saved results and under the folders of real runs.

    python benchmarks/full_disk.py [--saves 50] [--runs 20] [--seed 1]

Each time a small file system in memory is mounted, in a name space of this program's own (Linux, `unshare`), so that no right is needed and nothing of the machine is touched. Its size
is drawn, between nothing and all that is needed. Saves: results are saved one after the other until there is no room. Those before must be read back
equal, and nothing must be left of the one that did not fit. Runs: a scenario is executed for real, in a folder there; it has to end with one line, its
record has to be there and to say how it ended, and the audit logs have to be sound as far as they go.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import simtx
from simtx.errors import SimtxError
from simtx.reference.run_folder.folder import RunFolder

PAGE = 4096
INSIDE = "SIMTX_FULL_DISK_INSIDE"
CHANGES = {"run.transactions": 20, "run.warmup": 0, "run.drain": "1s", "workload.rate": "50/s"}


def main() -> int:
    """Try as often as asked; 0 if nothing was lost."""
    options = argparse.ArgumentParser()
    options.add_argument("--saves", type=int, default=50)
    options.add_argument("--runs", type=int, default=20)
    options.add_argument("--seed", type=int, default=1)
    given = options.parse_args()
    if INSIDE not in os.environ:
        command = ["unshare", "-Urm", sys.executable, *sys.argv]
        return subprocess.run(command, check=False, env={**os.environ, INSIDE: "1"}).returncode  # noqa: S603 - ourselves
    draw = random.Random(given.seed)
    start = time.monotonic()
    problems = saves(draw, given.saves) + runs(draw, given.runs)
    for problem in problems:
        print(f"LOST: {problem}")
    print(
        f"{given.saves} saves and {given.runs} runs on disks that filled up, in {time.monotonic() - start:.0f} s: {len(problems)} problems"
    )
    return 1 if problems else 0


@contextlib.contextmanager
def disk(size: int) -> Iterator[Path]:
    """A file system of so many bytes."""
    with tempfile.TemporaryDirectory(prefix="simtx-disk-") as place:
        _run("mount", "-t", "tmpfs", "-o", f"size={max(size, PAGE)}", "none", place)
        try:
            yield Path(place)
        finally:
            _run("umount", "-l", place)


def _run(*command: str) -> None:
    subprocess.run(command, check=True)  # noqa: S603 - our own words


def saves(draw: random.Random, count: int) -> list[str]:
    """Save results until the disk is full."""
    scenario = simtx.load("transfer").replace(**CHANGES)
    results = [simtx.simulate(scenario, "saga", seed=seed) for seed in range(1, 4)]
    with disk(1 << 26) as place:
        one = sum(file.stat().st_size for file in results[0].save(place / "one").rglob("*") if file.is_file())
    problems = []
    for _ in range(count):
        size = draw.randrange(0, 4 * one, PAGE)
        with disk(size) as place:
            saved = []
            for number, run in enumerate(results):
                folder = place / f"result-{number}"
                try:
                    run.save(folder)
                except SimtxError as error:
                    if "\n" in str(error) or "No space left" not in str(error):
                        problems.append(f"{size} bytes: the error is {str(error)[:200]!r}")
                    break
                saved.append(number)
            left = {path.name for path in place.iterdir()}
            if left != {f"result-{number}" for number in saved}:
                problems.append(f"{size} bytes: {sorted(left)} are left, {saved} were saved")
            problems += [
                f"{size} bytes: result {number} is another one"
                for number in saved
                if simtx.read(place / f"result-{number}").digest != results[number].digest
            ]
    return problems


def runs(draw: random.Random, count: int) -> list[str]:
    """Execute in a folder on a disk that fills up."""
    scenario = simtx.load("transfer").replace(**CHANGES)
    problems = []
    full = 0
    for _ in range(count):
        size = draw.randrange(PAGE, 1_200_000, PAGE)
        with disk(size) as place:
            folder = place / "run"
            try:
                simtx.execute(scenario, draw.choice(("2pc", "saga", "outbox")), folder=folder, progress=False)
                ended = "finished"
            except SimtxError as error:
                full += 1
                ended = "failed"
                if "\n" in str(error) or len(str(error)) > 1000:
                    problems.append(f"{size} bytes: the error is {str(error)[:200]!r}")
            except Exception as error:  # noqa: BLE001 - what should not be
                problems.append(f"{size} bytes: {type(error).__name__}: {str(error)[:200]}")
                continue
            if not (folder / "run.json").exists():
                if folder.exists() and any(folder.iterdir()):
                    problems.append(
                        f"{size} bytes: there is half a folder: {sorted(path.name for path in folder.iterdir())}"
                    )
                continue
            record = RunFolder(folder).read()
            if record.status != ended:
                problems.append(f"{size} bytes: the run's status is '{record.status}', not '{ended}'")
            for node, findings in RunFolder(folder).verify_audits().items():
                grave = [one for one in findings if "never finished" not in one]
                if grave:
                    problems.append(f"{size} bytes: the audit log of '{node}': {grave[0]}")
    print(f"{full} of {count} runs met the full disk")
    return problems


if __name__ == "__main__":
    sys.exit(main())
