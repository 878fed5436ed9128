"""A process that works on a store is killed, for real: what it had been told is there, and nothing is half done."""

from __future__ import annotations

import itertools
import json
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from simtx.protocols import Transact
from tests.amounts import many
from tests.reference.doing import action, add

WORKLOAD = Path(__file__).with_name("store_workload.py")


class Killed:
    """A process that works on a store, until it is killed after some lines; then what it had been told is compared with the store."""

    def __init__(self, spec, first, seed):
        command = [sys.executable, str(WORKLOAD), json.dumps(spec), str(first), str(seed)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.told: list[list] = []

    def kill_after(self, lines):
        for line in itertools.islice(self.process.stdout, lines):
            self.told.append(json.loads(line))
        self.process.send_signal(signal.SIGKILL)
        rest = self.process.stdout.read().splitlines()
        self.told += [json.loads(line) for line in rest if line.endswith("]")]
        self.process.stdout.close()
        assert self.process.wait() == -signal.SIGKILL
        assert len(self.told) >= lines


@pytest.mark.slow
@pytest.mark.more
def test_after_kill_9_everything_acknowledged_is_there_and_nothing_half_done(make_store):
    draw = random.Random(7)
    spec = make_store.spec(initial={"k*": 1000}, lock_timeout=5.0)
    branches_found = 0
    for attempt in range(200):
        if attempt >= many(5, 12) and branches_found:
            break  # whether a kill falls between a vote and its decision is chance: one such kill must have been tried
        first = 100_000 * (attempt + 1)
        child = Killed(spec, first, attempt)
        try:
            child.kill_after(draw.randint(1, 150))
        finally:
            child.process.kill()
        store = make_store(initial={"k*": 1000}, lock_timeout=0.05)
        branches_found += len(store.branches())
        _check_acknowledged(store, child.told)
        _check_whole(store, first)
        for branch in store.branches():
            assert store.rollback(branch.tx, forced=True).in_doubt >= 0
        assert store.branches() == []
        store.close()
    assert branches_found > 0


def _check_acknowledged(store, told):
    history = {change.tx: change for change in store.history()}
    events = store.pending_outbox()
    records = store.records()
    branches = {branch.tx for branch in store.branches()}
    begun = {tx for kind, tx, _ in told if kind == "ending"}
    for kind, tx, details in told:
        if kind == "transact" and details == "done":
            assert tx in history
            assert tx in events
            assert store.transact(tx, action(tx, add("k0", 1000))).value == "done"
        elif kind == "transact" and details == "refused":
            assert tx not in history
            assert store.transact(tx, action(tx, add("k0", 1000))).value == "refused"
        elif kind == "prepare":
            assert (tx in branches) or (tx in begun)
        elif kind == "commit":
            assert tx in history
            assert tx not in branches
        elif kind == "rollback":
            assert tx not in history
            assert tx not in branches
        elif kind == "append":
            assert records[tx][: details + 1] == [("record", index) for index in range(details + 1)]


def _check_whole(store, first):
    """What nobody was told of is there in full, or not at all."""
    new = [change for change in store.history() if change.tx >= first]
    transfers = {change.tx for change in new}
    assert len(transfers) == len(new)
    for change in new:
        assert sum(after - before for before, after in change.changes.values()) == 0
        assert len(change.changes) == 2
    values: dict[str, float] = {}
    for change in store.history():
        for key, (before, after) in change.changes.items():
            assert before == values.get(key, 1000)
            values[key] = after
    assert {key: value for key, value in store.values().items() if value != 1000} == {
        key: value for key, value in values.items() if value != 1000
    }
    done = {row.tx for _, row in store.read_outbox(100_000) if row.kind == "done" and row.tx >= first}
    committed = {tx for tx in transfers if tx % 4 < 2}  # those that are no branches
    assert done == committed
    for branch in store.branches():
        assert store.records()[branch.tx] == [("prepared", "hub")]
        for key in (f"k{branch.tx % 7}", f"k{(branch.tx + 1) % 7}"):
            assert store.transact(branch.tx + 50_000, Transact("t", (add(key),))).status == "failed"
    for tx, records in store.records().items():
        if tx % 4 == 3:
            assert records == [("record", index) for index in range(len(records))]
