"""How long `simtx.check_history` takes for 100,000 transactions: `python benchmarks/history.py [transactions]`.

The histories are what 20 clients see of a serializable store: each transaction takes effect at one instant between its request and its
answer, one in fifty fails, one in fifty has an unknown outcome. A key is given up after 100 writes. The last history has a stale
read in one transaction of a thousand, so that there is something to search and to explain.
"""

import random
import resource
import sys
import time
from typing import Any

from simtx.histories import check_history

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


def main(transactions: int) -> None:
    """Print one line for each kind of history and level."""
    lists = generate(transactions, registers=False)
    registers = generate(transactions, registers=True)
    stale = generate(transactions, registers=False, stale=0.001)
    print(f"{transactions:,} transactions, {sum(len(t['ops']) for t in lists):,} operations, one core")
    print(f"{'history':<28}{'level':<30}{'seconds':>8}{'CPU':>8}  {'verdict':<8}anomalies")
    for title, history, level, assume in (
        ("lists", lists, "serializable", {}),
        ("lists", lists, "strict-serializable", {}),
        ("lists", lists, "strong-session-serializable", {}),
        ("registers, nothing granted", registers, "serializable", {}),
        ("registers, wfr + real time", registers, "strict-serializable", {"wfr_keys": True, "linearizable_keys": True}),
        ("lists, some reads stale", stale, "serializable", {}),
        ("lists, some reads stale", stale, "snapshot-isolation", {}),
        ("lists, some reads stale", stale, "strict-serializable", {}),
    ):
        begin, begin_cpu = time.perf_counter(), time.process_time()
        report = check_history(history, level, assume=assume)
        seconds, cpu = time.perf_counter() - begin, time.process_time() - begin_cpu
        print(
            f"{title:<28}{level:<30}{seconds:>8.2f}{cpu:>8.2f}  {report.valid!s:<8}{', '.join(sorted(report.anomalies))}"
        )
    print(
        f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB, the histories themselves included"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
