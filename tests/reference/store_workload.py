"""A process that works on a store until it is killed: ``store_workload.py SPEC FIRST SEED``.

Four threads; the last two bits of a transaction's number say what it is: 0 and 1 a transfer, 2 a branch, 3 a log. Whatever has returned is written to
standard output, one line of JSON each: [what, transaction, details].
"""

import json
import os
import random
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from simtx.reference.stores import open_store
from tests.reference.doing import action, add, prepare


def tell(*line: object) -> None:
    os.write(1, (json.dumps(line) + "\n").encode())  # in one piece, and not held back


def transfer(tx: int) -> tuple:
    return add(f"k{tx % 7}", -1, low=0 if tx % 5 else 5000), add(f"k{(tx + 1) % 7}", 1)


def work(store, tx: int, draw: random.Random) -> None:
    if tx % 4 < 2:
        tell("transact", tx, store.transact(tx, action(tx, *transfer(tx))).status)
    elif tx % 4 == 2:
        if store.prepare(tx, prepare(tx, add(f"k{tx % 7}", -1), add(f"k{(tx + 1) % 7}", 1))).status != "done":
            return
        tell("prepare", tx, "")
        if draw.random() < 0.6:
            tell("ending", tx, "")
            store.commit(tx)
            tell("commit", tx, "")
        else:
            tell("ending", tx, "")
            store.rollback(tx, forced=True)
            tell("rollback", tx, "")
    else:
        for index in range(4):
            forced = draw.random() < 0.5
            store.append(tx, ("record", index), forced=forced)
            if forced:
                tell("append", tx, index)
        if draw.random() < 0.3:
            store.append(tx, ("record", 4), forced=False)


def main() -> None:
    store = open_store(json.loads(sys.argv[1]))
    first, seed = int(sys.argv[2]), int(sys.argv[3])

    def thread(number: int) -> None:
        draw = random.Random(f"{seed}:{number}")
        for tx in range(first + number * 10_000, first + number * 10_000 + 10_000):
            work(store, tx, draw)

    for number in range(4):
        threading.Thread(target=thread, args=(number,)).start()


main()
