"""No false positives and no false negatives: the checker against every order of up to six transactions.

Histories come from toy stores that run real interleavings (serial, two-phase locking, snapshot isolation, read committed), from the
same histories with one read changed at will, and with transactions that failed or whose outcome is unknown.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from simtx.histories import check_history

LISTS, REGISTERS = ("x", "y"), ("u", "v")
Transaction = dict[str, Any]


# --- the oracle ---------------------------------------------------------------------------------------------------------------


def explained_by_some_order(history: list[Transaction], *, session: bool = False, real_time: bool = False) -> bool:
    """Whether some serial order of the `ok` transactions, with any of the `info` ones, returns what was read."""
    members = [t for t in history if t["status"] != "fail"]
    before: dict[int, set[int]] = {}
    for i, later in enumerate(members):
        before[i] = {
            j
            for j, earlier in enumerate(members)
            if earlier["status"] == "ok"
            and (
                (real_time and earlier["end"] < later["start"])
                or (session and earlier["process"] == later["process"] and earlier["start"] < later["start"])
            )
        }
    needed = {i for i, t in enumerate(members) if t["status"] == "ok"}

    def extend(placed: frozenset[int], state: dict[str, Any]) -> bool:
        if needed <= placed:
            return True
        for i, transaction in enumerate(members):
            if i not in placed and before[i] <= placed:
                after = replay(transaction, state)
                if after is not None and extend(placed | {i}, after):
                    return True
        return False

    return extend(frozenset(), {})


def replay(transaction: Transaction, state: dict[str, Any]) -> dict[str, Any] | None:
    """The state after the transaction, or None if it cannot have read what it read."""
    state = dict(state)
    for op in transaction["ops"]:
        kind, key = op[0], op[1]
        if kind == "append":
            state[key] = [*state.get(key, []), op[2]]
        elif kind == "w":
            state[key] = op[2]
        else:
            known = transaction["status"] == "ok" or op[2] is not None
            if known and state.get(key, [] if key in LISTS else None) != op[2]:
                return None
    return state


# --- toy stores that run interleavings ------------------------------------------------------------------------------------------


@dataclass
class Running:
    """A transaction on its way."""

    name: str
    process: int
    start: int
    plan: list[tuple[str, str]]
    snapshot: dict[str, Any]
    ops: list[list[Any]] = field(default_factory=list)
    own: list[list[Any]] = field(default_factory=list)


class Store:
    """A little store at a given level; one operation at a time, any client next."""

    def __init__(self, level: str, rng: random.Random, keys: tuple[str, ...]) -> None:
        self.level, self.rng, self.keys = level, rng, keys
        self.state: dict[str, Any] = {}
        self.versions: dict[str, int] = {}
        self.locks: dict[str, dict[str, str]] = {}
        self.clock = 0
        self.next_value = 0
        self.history: list[Transaction] = []
        self.commits: list[str] = []

    def run(self, transactions: int, processes: int) -> None:
        """Run that many transactions."""
        active: dict[int, Running] = {}
        begun = 0
        while active or begun < transactions:
            self.clock += 1
            free = [p for p in range(processes) if p not in active]
            may_begin = begun < transactions and free and (self.level != "serial" or not active)
            if may_begin and (not active or self.rng.random() < 0.7):
                process = self.rng.choice(free)
                plan = [(self.rng.choice("rrw"), self.rng.choice(self.keys)) for _ in range(self.rng.randint(1, 3))]
                active[process] = Running(f"t{begun}", process, self.clock, plan, dict(self.state))
                active[process].snapshot["#"] = dict(self.versions)
                begun += 1
                continue
            process = self.rng.choice(list(active))
            running = active[process]
            if running.plan:
                if not self.step(running) and all(self.blocked(t) for t in active.values()):
                    del active[process]
                    self.finish(running, committed=False)
            else:
                del active[process]
                self.finish(running, committed=self.rng.random() < 0.85 and self.may_commit(running))

    def lock_for(self, running: Running) -> tuple[str, str] | None:
        kind, key = running.plan[0]
        if self.level == "read-committed":
            return (key, "w") if kind == "w" else None
        return (key, kind) if self.level == "locking" else None

    def blocked(self, running: Running) -> bool:
        wanted = self.lock_for(running) if running.plan else None
        if wanted is None:
            return False
        others = {name: mode for name, mode in self.locks.get(wanted[0], {}).items() if name != running.name}
        return bool(others) and (wanted[1] == "w" or "w" in others.values())

    def step(self, running: Running) -> bool:
        if self.blocked(running):
            return False
        wanted = self.lock_for(running)
        if wanted is not None:
            held = self.locks.setdefault(wanted[0], {})
            held[running.name] = max(held.get(running.name, "r"), wanted[1])
        kind, key = running.plan.pop(0)
        if kind == "w":
            self.next_value += 1
            op = ["append" if key in LISTS else "w", key, self.next_value]
            running.own.append(op)
        else:
            base = running.snapshot if self.level == "snapshot-isolation" else self.state
            op = ["r", key, self.applied(base.get(key), running.own, key)]
        running.ops.append(op)
        return True

    @staticmethod
    def applied(value: Any, writes: list[list[Any]], key: str) -> Any:
        if key in LISTS:
            value = list(value or [])
        for kind, k, written in writes:
            if k == key:
                value = [*value, written] if kind == "append" else written
        return value

    def may_commit(self, running: Running) -> bool:
        if self.level != "snapshot-isolation":
            return True
        seen = running.snapshot["#"]
        return all(self.versions.get(op[1], 0) == seen.get(op[1], 0) for op in running.own)

    def finish(self, running: Running, *, committed: bool) -> None:
        if committed:
            for key in {op[1] for op in running.own}:
                self.state[key] = self.applied(self.state.get(key), running.own, key)
                self.versions[key] = self.versions.get(key, 0) + 1
            self.commits.append(running.name)
        for held in self.locks.values():
            held.pop(running.name, None)
        status = "ok" if committed else "fail"
        if self.rng.random() < 0.2:
            status = "info"
        ops = running.ops
        if status == "info" and self.rng.random() < 0.5:
            ops = [op if op[0] != "r" else ["r", op[1], None] for op in ops]
        end = None if status == "info" and self.rng.random() < 0.5 else self.clock
        entry = {
            "id": running.name,
            "process": running.process,
            "status": status,
            "start": running.start,
            "end": end,
            "ops": ops,
        }
        self.history.append(entry)


def run_store(level: str, rng: random.Random, keys: tuple[str, ...], processes: int = 3) -> Store:
    store = Store(level, rng, keys)
    store.run(rng.randint(3, 6), processes)
    return store


def corrupt(history: list[Transaction], rng: random.Random) -> list[Transaction]:
    """The history with one read changed to something that was written to the same key, in any order."""
    reads = [op for t in history for op in t["ops"] if op[0] == "r" and op[2] is not None]
    if reads:
        op = rng.choice(reads)
        written = [o[2] for t in history for o in t["ops"] if o[0] != "r" and o[1] == op[1]]
        if op[1] in LISTS:
            op[2] = rng.sample(written, rng.randint(0, len(written)))
            if op[2] and rng.random() < 0.1:
                op[2] = [*op[2], op[2][0]]
        elif written:
            op[2] = rng.choice(written)
    return history


def shuffled(history: list[Transaction], rng: random.Random) -> list[Transaction]:
    """The order of the entries tells nothing; the checker may not lean on it."""
    rng.shuffle(history)
    return history


# --- what must hold for each history ----------------------------------------------------------------------------------------------

ORDERS = {
    "serializable": {},
    "strong-session-serializable": {"session": True},
    "strict-serializable": {"real_time": True},
    "strong-session-strict-serializable": {"session": True, "real_time": True},
}


def lists_agree_with_every_order(seed: int) -> None:
    rng = random.Random(seed)
    level = rng.choice(["serial", "locking", "snapshot-isolation", "read-committed"])
    history = run_store(level, rng, LISTS).history
    if rng.random() < 0.5:
        history = corrupt(history, rng)
    history = shuffled(history, rng)
    for name in ("serializable", rng.choice(list(ORDERS)[1:])):
        report = check_history(history, name)
        expected: bool | None = explained_by_some_order(history, **ORDERS[name])
        if not any(t["status"] == "ok" for t in history):
            expected = None
        assert report.valid is expected, (seed, name, history, report.explain())
        assert (report.valid is False) == bool(report.anomalies)


def registers_agree_with_every_order(seed: int) -> None:
    rng = random.Random(seed)
    level = rng.choice(["serial", "locking", "snapshot-isolation", "read-committed"])
    history = run_store(level, rng, rng.choice([REGISTERS, (*REGISTERS, "x")])).history
    if rng.random() < 0.5:
        history = corrupt(history, rng)
    history = shuffled(history, rng)
    name = rng.choice(list(ORDERS))
    expected: bool | None = explained_by_some_order(history, **ORDERS[name])
    if not any(t["status"] == "ok" for t in history):
        expected = None
    grants: list[list[str]] = [[], ["wfr_keys"]]
    if "session" in name:
        grants.append(["sequential_keys"])
    if "strict" in name:
        grants.append(["linearizable_keys", "wfr_keys"])
    for granted in grants:
        report = check_history(history, name, assume=dict.fromkeys(granted, True))
        assert report.valid is expected, (seed, name, granted, history, report.explain())


def stores_keep_what_they_promise(seed: int) -> None:
    rng = random.Random(seed)
    keys = rng.choice([LISTS, REGISTERS, ("x", "u")])
    level, promised = rng.choice(
        [
            ("serial", "strong-session-strict-serializable"),
            ("locking", "strong-session-strict-serializable"),
            ("snapshot-isolation", "strong-session-snapshot-isolation"),
            ("read-committed", "strong-session-read-committed"),
        ]
    )
    store = run_store(level, rng, keys)
    # Whether an unknown transaction committed is known here, so that the order of the commits is complete.
    for assume in ({}, {"commit_order": store.commits}):
        report = check_history(store.history, promised, assume=assume)
        if any(t["status"] == "ok" for t in store.history):
            assert report.valid is True, (seed, level, assume, store.history, report.explain())


CHECKS: list[Callable[[int], None]] = [
    lists_agree_with_every_order,
    registers_agree_with_every_order,
    stores_keep_what_they_promise,
]


@pytest.mark.parametrize("check", CHECKS)
def test_random_histories_agree_with_the_brute_force(check: Callable[[int], None]) -> None:
    for seed in range(200):
        check(seed)


@pytest.mark.heavy
@pytest.mark.parametrize("check", CHECKS)
def test_ten_thousand_random_histories_agree_with_the_brute_force(check: Callable[[int], None]) -> None:
    for seed in range(10_000, 20_000):
        check(seed)


def test_the_random_histories_show_every_kind_of_verdict() -> None:
    """The agreement above would be worth little if all histories were serializable, or none."""
    seen = {True: 0, False: 0}
    anomalies: set[str] = set()
    for seed in range(800):
        rng = random.Random(seed)
        level = rng.choice(["serial", "locking", "snapshot-isolation", "read-committed"])
        history = run_store(level, rng, LISTS).history
        if rng.random() < 0.5:
            history = corrupt(history, rng)
        seen[explained_by_some_order(history)] += 1
        for name in ("strict-serializable", "strong-session-serializable"):
            anomalies |= check_history(history, name).anomalies
    assert min(seen.values()) > 100
    assert {"G1a", "G1b", "internal", "incompatible-order", "duplicate-elements", "lost-update", "G2-item"} <= anomalies
    assert {"G1c", "G-single-item", "G-single-item-process", "G-single-item-realtime"} <= anomalies
