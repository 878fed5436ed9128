"""How long `simtx.check_history` takes for 100,000 transactions: `python benchmarks/history.py [transactions]`.

The histories are what 20 clients see of a serializable store: each transaction takes effect at one instant between its request and its
answer, one in fifty fails, one in fifty has an unknown outcome. A key is given up after 100 writes. One history has a stale
read in one transaction of a thousand, so that there is something to search and to explain. The last one is a transaction that loads
24,000 registers, and one that reads them.

`--beside FOLDER` checks the same histories with the simtx in that folder too, and prints both times. A level that it does not know has none.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from simtx import check_history

CLIENTS = 20
WRITES_PER_KEY = 100
ACTIVE_KEYS = 10


def generate(transactions: int, *, registers: bool, stale: float = 0.0, seed: int = 1) -> list[dict[str, Any]]:
    """A history of that many transactions with one to four operations each."""
    rng = random.Random(seed)
    state: dict[int, Any] = {}
    old: dict[int, Any] = {}
    writes: dict[int, int] = {}
    active = list(range(ACTIVE_KEYS))
    free_at = [0] * CLIENTS
    history = []
    for number in range(transactions):
        client = min(range(CLIENTS), key=free_at.__getitem__)
        start = free_at[client]
        instant = max(start, 10 * number)
        end = instant + rng.randint(1, 100)
        free_at[client] = end + rng.randint(1, 20)
        status = rng.choices(["ok", "fail", "info"], [48, 1, 1])[0]
        effect = status == "ok" or (status == "info" and rng.random() < 0.5)
        is_stale = rng.random() < stale
        ops: list[list[Any]] = []
        mine: dict[int, Any] = {}
        for _ in range(rng.randint(1, 4)):
            place = rng.randrange(ACTIVE_KEYS)
            key = active[place]
            if rng.random() < 0.5:
                if status == "ok":
                    source = old if is_stale and key not in mine else state
                    value = mine.get(key, source.get(key, None if registers else ()))
                    ops.append(["r", key, value if registers else list(value)])
                else:
                    ops.append(["r", key, None])
            else:
                writes[key] = writes.get(key, 0) + 1
                value = writes[key]
                ops.append(["w" if registers else "append", key, value])
                mine[key] = value if registers else (*mine.get(key, state.get(key, ())), value)
                if value == WRITES_PER_KEY:
                    active[place] = max(active) + 1
        if effect:
            old.update({key: state[key] for key in mine if key in state})
            state.update(mine)
        entry = {"id": number, "process": client, "status": status, "start": start, "end": end, "ops": ops}
        history.append(entry)
    return history


def loading(writes: int) -> list[dict[str, Any]]:
    """One transaction that writes so many registers, and one that reads them."""
    return [
        {"id": "load", "process": 0, "status": "ok", "ops": [["w", key, 1] for key in range(writes)]},
        {"id": "read", "process": 1, "status": "ok", "ops": [["r", key, 1] for key in range(writes)]},
    ]


def rows(transactions: int) -> Iterator[tuple[str, list[dict[str, Any]], str, dict[str, bool]]]:
    """What is checked: a title, the history, the level and what is granted."""
    lists = generate(transactions, registers=False)
    for level in ("serializable", "strict-serializable", "strong-session-serializable", "causal-consistency"):
        yield "lists", lists, level, {}
    registers = generate(transactions, registers=True)
    for level in ("serializable", "snapshot-isolation", "prefix-consistency", "causal-consistency", "read-atomic"):
        yield "registers, nothing granted", registers, level, {}
    granted = {"wfr_keys": True, "linearizable_keys": True}
    yield "registers, wfr + real time", registers, "strict-serializable", granted
    stale = generate(transactions, registers=False, stale=0.001)
    for level in ("serializable", "snapshot-isolation", "strict-serializable"):
        yield "lists, some reads stale", stale, level, {}
    load = loading(24_000)
    for level in ("serializable", "causal-consistency"):
        yield "24,000 writes in one", load, level, {}


def measure(transactions: int) -> Iterator[dict[str, Any]]:
    """One record for each row."""
    for title, history, level, granted in rows(transactions):
        begin, begin_cpu = time.perf_counter(), time.process_time()
        try:
            report = check_history(history, level, assume=granted)
        except ValueError:
            yield {"title": title, "level": level, "seconds": None, "cpu": None, "verdict": "-", "anomalies": ""}
            continue
        yield {
            "title": title,
            "level": level,
            "seconds": time.perf_counter() - begin,
            "cpu": time.process_time() - begin_cpu,
            "verdict": str(report.valid),
            "anomalies": ", ".join(sorted(report.anomalies)),
        }


def main() -> None:
    """Print one line for each kind of history and level."""
    parser = argparse.ArgumentParser()
    parser.add_argument("transactions", nargs="?", type=int, default=100_000)
    parser.add_argument("--beside", help="folder of another simtx")
    parser.add_argument("--records", action="store_true", help="one JSON record a line")
    arguments = parser.parse_args()
    if arguments.records:
        for record in measure(arguments.transactions):
            print(json.dumps(record), flush=True)
        return
    others: Iterator[dict[str, Any]] | None = None
    if arguments.beside:
        command = [sys.executable, __file__, str(arguments.transactions), "--records"]
        environment = {**os.environ, "PYTHONPATH": arguments.beside}
        done = subprocess.run(  # noqa: S603
            command, env=environment, cwd=arguments.beside, capture_output=True, text=True, check=True
        )
        others = map(json.loads, done.stdout.splitlines())
    print(f"{arguments.transactions:,} transactions, one core; CPU seconds")
    print(f"{'history':<28}{'level':<30}{'CPU':>8}{'beside':>9}  {'verdict':<8}{'beside':<8}anomalies")
    for record in measure(arguments.transactions):
        other = next(others) if others is not None else {"cpu": None, "verdict": ""}
        beside = "" if other["cpu"] is None else f"{other['cpu']:.2f}"
        print(
            f"{record['title']:<28}{record['level']:<30}{record['cpu']:>8.2f}{beside:>9}  "
            f"{record['verdict']:<8}{other['verdict']:<8}{record['anomalies']}",
            flush=True,
        )
    print(
        f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB, the histories themselves included"
    )


if __name__ == "__main__":
    main()
