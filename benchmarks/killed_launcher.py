"""A launcher that is killed at a random moment: what it leaves of processes, folders and shared memory.

    python benchmarks/killed_launcher.py [--tries 50] [--seed 1] [--signal KILL]

Each time `simtx execute` is started, with a strategy, a store and a broker that are drawn, and killed at a moment that is drawn: one in four while Python still starts, the others from its first
child process on to well into its run. Every try has a folder for temporary files of its own. Looked at are: processes that it had started, or that have come since, ten seconds later at most;
what is in the folder for temporary files then, and after the next start, which clears away what has no owner; segments of shared memory that one of its processes
has made, and files in /dev/shm that are new and that no process uses. Linux only.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WAYS = [
    ("2pc",),
    ("saga",),
    ("outbox",),
    ("2pc", "--store", "postgres"),
    ("outbox", "--store", "postgres", "--broker", "nats"),
    ("dual-write", "--broker", "nats"),
    ("saga", "--network", "scenario"),
]
EARLY = 3.0  # seconds of a start in which kills come that meet no child yet
LONGEST = 8.0  # seconds until the kill, from the first child on
START = 60.0  # seconds until there has to be one
PATIENCE = 10.0  # seconds until everything has to be gone
SWEEP = "from simtx import temporary; temporary.sweep()"


def stat(pid: int) -> tuple[int, str, str] | None:
    """Parent, state and time of start of a process."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return int(words[1]), words[0], words[19]


def processes() -> dict[int, tuple[int, str, str]]:
    """All processes of this machine."""
    found = {int(entry.name): stat(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    return {pid: about for pid, about in found.items() if about is not None}


def family(root: int) -> dict[int, str]:
    """A process and all that it has started, with their times of start."""
    everybody = processes()
    members = {root} if root in everybody else set()
    grown = True
    while grown:
        more = {pid for pid, (parent, _, _) in everybody.items() if parent in members} - members
        members |= more
        grown = bool(more)
    return {pid: everybody[pid][2] for pid in members}


def marked(mark: str) -> set[int]:
    """Processes with this in their environment, zombies left out."""
    found = set()
    for pid, (_, state, _) in processes().items():
        try:
            text = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            continue
        if mark.encode() in text and state != "Z":
            found.add(pid)
    return found


def alive(members: dict[int, str], mark: str) -> set[int]:
    """Who of a family is left, and who bears its mark."""
    now = processes()
    left = {pid for pid, start in members.items() if pid in now and now[pid][1] != "Z" and now[pid][2] == start}
    return left | marked(mark)


def segments(members: dict[int, str]) -> int:
    """Segments of shared memory (System V) that one of these processes has made."""
    lines = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
    return sum(int(line.split()[4]) in members for line in lines)


def unused(before: set[str]) -> list[str]:
    """New files in /dev/shm that no process maps."""
    new = {entry.name for entry in Path("/dev/shm").iterdir()} - before  # noqa: S108 - looked at, not written
    used = b""
    for maps in Path("/proc").glob("[0-9]*/maps"):
        try:
            used += maps.read_bytes()
        except OSError:
            continue
    return sorted(name for name in new if name.encode() not in used)


def attempt(way: tuple[str, ...], after: float, number: signal.Signals, seed: int, *, early: bool) -> dict[str, int]:
    """Start, kill, and count what is left."""
    with tempfile.TemporaryDirectory(prefix="killed-") as place:
        Path(place).chmod(0o755)  # a database that runs as nobody has to reach it
        mark = f"SIMTX_TRY={Path(place).name}"
        environment = {**os.environ, "TMPDIR": place, "SIMTX_TRY": Path(place).name}
        command = [sys.executable, "-m", "simtx", "execute", "transfer-lab", *way, "--seed", str(seed)]
        process = subprocess.Popen(  # noqa: S603 - ourselves
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + START
        while not early and len(family(process.pid)) < 2 and time.monotonic() < end:
            time.sleep(0.05)
        time.sleep(after)
        members = family(process.pid)
        process.send_signal(number)
        process.wait()
        end = time.monotonic() + PATIENCE
        while (left := alive(members, mark)) and time.monotonic() < end:
            time.sleep(0.1)
        folders = len(list(Path(place).iterdir()))
        subprocess.run([sys.executable, "-c", SWEEP], env=environment, check=True)  # noqa: S603
        kept = [entry.name for entry in Path(place).iterdir()]
        if kept or left:
            print(f"  {way} after {after:.2f} s: processes {sorted(left)}, folders {kept}")
        return {
            "started": len(members),
            "processes": len(left),
            "segments": segments(members),
            "folders": folders,
            "folders later": len(kept),
        }


def main() -> int:
    """Try as often as asked; 0 if nothing is left."""
    options = argparse.ArgumentParser()
    options.add_argument("--tries", type=int, default=50)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--signal", default="KILL", help="KILL, TERM, HUP or INT")
    given = options.parse_args()
    draw = random.Random(given.seed)
    shared = {entry.name for entry in Path("/dev/shm").iterdir()}  # noqa: S108
    total: dict[str, int] = {}
    began = time.monotonic()
    for turn in range(given.tries):
        way, early = draw.choice(WAYS), draw.random() < 0.25
        after = draw.uniform(0.0, EARLY if early else LONGEST)
        for name, count in attempt(way, after, signal.Signals[f"SIG{given.signal}"], turn, early=early).items():
            total[name] = total.get(name, 0) + count
    files = unused(shared)
    print(f"{given.tries} launchers killed with SIG{given.signal} in {time.monotonic() - began:.0f} s")
    print(f"processes that they had started by then: {total['started']}, left: {total['processes']}")
    print(f"temporary folders left at once: {total['folders']}, after the next start: {total['folders later']}")
    print(f"shared memory left: {total['segments']} segments, {len(files)} files {files or ''}")
    return 1 if total["processes"] or total["segments"] or total["folders later"] or files else 0


if __name__ == "__main__":
    sys.exit(main())
