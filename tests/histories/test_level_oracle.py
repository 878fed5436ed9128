"""Every level against a search through all executions, by the state-based definitions of Crooks and others.

*Seeing is Believing: A Client-Centric Specification of Database Isolation* (PODC 2017) defines a level by what a transaction may read
from the states that a serial execution of all transactions passes through: the state right before it (serializable), one state from
which on nobody else wrote what it writes (snapshot isolation), any earlier state for each read (read committed). The search tries every
execution. It knows nothing of dependencies, cycles or version orders, apart from the order that an execution gives to the writes.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simtx.histories import LEVELS, check_history
from tests.amounts import many

Transaction = dict[str, Any]
State = dict[str, Any]

BASES = ("read-committed", "repeatable-read", "snapshot-isolation", "serializable")


# --- the search -----------------------------------------------------------------------------------------------------------------


class Search:
    """Whether some execution of the `ok` transactions, with any of the `info` ones, is of the level and keeps the assumptions."""

    def __init__(self, history: list[Transaction], level: str, assume: Mapping[str, Any]) -> None:
        self.base = level.removeprefix("strong-session-")
        self.strict = self.base == "strict-serializable"
        self.base = "serializable" if self.strict else self.base
        self.session = level != self.base and level.startswith("strong-session-")
        self.assume = assume
        self.members = [t for t in history if t["status"] != "fail"]
        self.keys = {op[1] for t in history for op in t["ops"]}
        self.lists = {op[1] for t in history for op in t["ops"] if op[0] == "append" or isinstance(op[2], list)}
        self.sessions = self.pairs(session_before)
        self.times = self.pairs(ended_before)
        known = set(assume.get("commit_order", ()))
        self.needed = {i for i, t in enumerate(self.members) if t["status"] == "ok" or t["id"] in known}

    def pairs(self, before: Callable[[Transaction, Transaction], bool]) -> dict[int, set[int]]:
        """For each transaction those that come before it."""
        return {
            i: {j for j, earlier in enumerate(self.members) if j != i and before(earlier, later)}
            for i, later in enumerate(self.members)
        }

    def found(self) -> bool:
        return self.extend([], [dict.fromkeys(self.keys)])

    def extend(self, order: list[int], states: list[State]) -> bool:
        if self.needed <= set(order) and self.assumed(order):
            return True
        for i, transaction in enumerate(self.members):
            if i in order or not self.in_order(i, order) or not self.may_read(i, transaction, order, states):
                continue
            if self.extend([*order, i], [*states, written(transaction["ops"], states[-1])]):
                return True
        return False

    def in_order(self, i: int, order: list[int]) -> bool:
        placed = set(order)
        return not ((self.session and self.sessions[i] - placed) or (self.strict and self.times[i] - placed))

    def may_read(self, i: int, transaction: Transaction, order: list[int], states: list[State]) -> bool:
        if self.base == "read-committed":
            return all(self.fits(transaction, at, states[-1], states) for at in self.reads(transaction))
        if self.base != "snapshot-isolation":
            return all(self.fits(transaction, at, states[-1], states[-1:]) for at in self.reads(transaction))
        writes = write_set(transaction)
        earliest = max((order.index(j) + 1 for j in self.sessions[i]), default=0) if self.session else 0
        for number in range(len(order), earliest - 1, -1):
            if all(
                self.value(transaction, at, states[number]) == transaction["ops"][at][2]
                for at in self.reads(transaction)
            ):
                return True
            if number and writes & write_set(self.members[order[number - 1]]):
                return False  # an older snapshot would lose this update
        return False

    def reads(self, transaction: Transaction) -> list[int]:
        """The places of the reads whose result is known."""
        known = [at for at, op in enumerate(transaction["ops"]) if op[0] == "r"]
        return [at for at in known if transaction["status"] == "ok" or transaction["ops"][at][2] is not None]

    def value(self, transaction: Transaction, at: int, state: State, skip: int = 0) -> Any:
        """What a read would return from a state and its own writes before it, but for the last ones of them."""
        _, key, _ = transaction["ops"][at]
        own = [op for op in transaction["ops"][:at] if op[0] != "r" and op[1] == key]
        value = written(own[: len(own) - skip], state)[key]
        return [] if value is None and key in self.lists else value

    def fits(self, transaction: Transaction, at: int, before: State, states: list[State]) -> bool:
        """A read before any own write of the key; or behind one, where these levels do not ask for the transaction's own writes."""
        _, key, got = transaction["ops"][at]
        writes = sum(op[0] != "r" and op[1] == key for op in transaction["ops"][:at])
        own = any(got == self.value(transaction, at, before, skip) for skip in range(writes))
        if self.base == "serializable":
            return any(got == self.value(transaction, at, state) for state in states)
        return own or any(got == self.value(transaction, at, state, writes) for state in states)

    # --- assumptions ---

    def assumed(self, order: list[int]) -> bool:
        """Whether the order of the writes in this execution is as granted."""
        place = {
            (op[1], op[2]): at
            for at, i in enumerate(order)
            for op in self.members[i]["ops"]
            if op[0] in ("w", "append")
        }
        for grant, before in (("sequential_keys", self.sessions), ("linearizable_keys", self.times)):
            if self.assume.get(grant):
                for later, earlier in itertools.product(order, order):
                    if earlier in before[later] and not self.forward(earlier, later, place):
                        return False
        for key, values in self.assume.get("version_order", {}).items():
            if not ascending([place[key, value] for value in values if (key, value) in place]):
                return False
        ids = [self.members[i]["id"] for i in order]
        granted = [ids.index(name) for name in self.assume.get("commit_order", ())]
        for key in self.keys - self.lists:
            writers = [at for at in granted if key in write_set(self.members[order[at]])]
            if not ascending(writers):
                return False
        return True

    def forward(self, earlier: int, later: int, place: Mapping[tuple[str, Any], int]) -> bool:
        """Whether no register went back between two transactions, from what the first left to what the second met."""
        for key in self.keys - self.lists:
            left, met = self.touched(earlier, key), self.touched(later, key)
            if left and met:
                last, first = left[1], met[0]
                if place.get((key, last), -1) > place.get((key, first), -1):
                    return False
        return True

    def touched(self, i: int, key: str) -> tuple[Any, Any] | None:
        """The first and the last version of a key that a transaction met."""
        transaction = self.members[i]
        ops = [
            op
            for at, op in enumerate(transaction["ops"])
            if op[1] == key and (op[0] == "w" or at in self.reads(transaction))
        ]
        if not ops:
            return None
        writes = [op[2] for op in ops if op[0] == "w"]
        first = ops[0][2] if ops[0][0] == "r" else writes[-1]
        return first, writes[-1] if writes else ops[0][2]


def session_before(earlier: Transaction, later: Transaction) -> bool:
    return bool(
        earlier["status"] == "ok" and earlier["process"] == later["process"] and earlier["start"] < later["start"]
    )


def ended_before(earlier: Transaction, later: Transaction) -> bool:
    return bool(earlier["status"] == "ok" and earlier["end"] < later["start"])


def ascending(places: list[int]) -> bool:
    return all(a <= b for a, b in itertools.pairwise(places))


def write_set(transaction: Transaction) -> set[str]:
    return {op[1] for op in transaction["ops"] if op[0] != "r"}


def written(ops: list[list[Any]], state: State) -> State:
    after = dict(state)
    for kind, key, value in ops:
        if kind == "append":
            after[key] = [*(after[key] or []), value]
        elif kind == "w":
            after[key] = value
    return after


# --- histories --------------------------------------------------------------------------------------------------------------------


def history_of(rng: random.Random, *, keys: str, transactions: int) -> list[Transaction]:
    """Transactions one after the other that often read an older state than the last one, now and then something odd.

    Keys from `x` on are lists, the others registers.
    """
    states: list[State] = [dict.fromkeys(keys)]
    history: list[Transaction] = []
    stale = rng.choice([0.0, 0.2, 0.5])
    free = [0] * rng.randint(1, 3)
    numbers = itertools.count(1)
    for number in range(transactions):
        process = rng.randrange(len(free))
        snapshot = rng.choice(states) if rng.random() < stale else states[-1]
        status = rng.choices(["ok", "fail", "info"], [8, 1, 1])[0]
        ops: list[list[Any]] = []
        for key in rng.choices(keys, k=rng.randint(1, 4)):
            if rng.random() < 0.5:
                ops.append(["append" if key >= "x" else "w", key, next(numbers)])
            else:
                base = rng.choice(states) if rng.random() < stale / 3 else snapshot
                value = written([op for op in ops if op[1] == key and op[0] != "r"], base)[key]
                ops.append(["r", key, list(value or []) if key >= "x" else value])
        if status == "ok" or rng.random() < 0.5:
            states.append(written([op for op in ops if op[0] != "r"], states[-1]))
        start = max(free[process], 4 * number - rng.randint(0, 12))
        free[process] = start + rng.randint(1, 8)
        if status == "info" and rng.random() < 0.5:
            ops = [op if op[0] != "r" else ["r", op[1], None] for op in ops]
        name = f"t{number}"
        entry = {"id": name, "process": process, "status": status, "start": start, "end": free[process] - 1, "ops": ops}
        history.append(entry)
    if rng.random() < 0.25:
        distort(history, rng)
    rng.shuffle(history)
    return history


def distort(history: list[Transaction], rng: random.Random) -> None:
    """Change one read to something that was written to its key, in any order."""
    reads = [op for t in history for op in t["ops"] if op[0] == "r" and op[2] is not None]
    if reads:
        op = rng.choice(reads)
        values = [other[2] for t in history for other in t["ops"] if other[0] != "r" and other[1] == op[1]]
        if op[1] >= "x":
            op[2] = rng.sample(values, rng.randint(0, len(values)))
        elif values:
            op[2] = rng.choice(values)


# --- read uncommitted ---------------------------------------------------------------------------------------------------------------


def overwrites_in_a_line(history: list[Transaction], orders: Mapping[str, list[Any]], *, session: bool) -> bool:
    """Whether the `ok` transactions can be put in a line in which each overwrites only what earlier ones have written.

    Args:
        history: The transactions; reads of lists that are no beginnings of each other tell only what they have in common.
        orders: The versions of each register in their order.
        session: Whether the line must follow each process.
    """
    members = [t for t in history if t["status"] == "ok"]
    writer = {(op[1], op[2]): t["id"] for t in members for op in t["ops"] if op[0] != "r"}
    pairs = {(a["id"], b["id"]) for a in members for b in members if session and session_before(a, b)}
    for key in {op[1] for t in members for op in t["ops"]}:
        order = orders.get(key, [])
        reads = [op[2] for t in members for op in t["ops"] if op[:2] == ["r", key] and isinstance(op[2], list)]
        if any(len(set(read)) < len(read) for read in reads):
            return False
        if reads:
            order = max(reads, key=len)
            order = order[: min(agreement(a, b, len(order)) for a in reads for b in reads)]
        behind = [value for k, value in writer if k == key and value not in order] if key >= "x" else []
        pairs.update((writer.get((key, a)), writer.get((key, b))) for a, b in itertools.combinations(order, 2))
        pairs.update((writer.get((key, a)), writer[key, b]) for a in order for b in behind)
    pairs = {(a, b) for a, b in pairs if a is not None and b is not None and a != b}
    lines = itertools.permutations(t["id"] for t in members)
    return any(all(line.index(a) < line.index(b) for a, b in pairs) for line in lines)


def agreement(a: list[Any], b: list[Any], otherwise: int) -> int:
    """How many first elements two reads have in common, if neither begins with the other."""
    return next((at for at, (p, q) in enumerate(zip(a, b, strict=False)) if p != q), otherwise)


# --- what must hold -----------------------------------------------------------------------------------------------------------------

#: Those in between that these definitions do not have are in `test_axioms.py`.
ABOVE = [level for level in LEVELS if level.removeprefix("strong-session-") in (*BASES, "strict-serializable")]


@pytest.mark.more
def test_lists_agree_with_every_execution() -> None:
    seen: Counter[tuple[bool, bool | None]] = Counter()
    for seed in range(many(200, 500)):
        lists_agree(seed, seen)
    assert min(seen[True, True], seen[False, False]) > many(60, 150)


def lists_agree(seed: int, seen: Counter[tuple[bool, bool | None]]) -> None:
    rng = random.Random(seed)
    history = history_of(rng, keys=rng.choice(["x", "xy", "xyz"]), transactions=rng.randint(2, 6))
    if any(t["status"] == "ok" for t in history):
        for level in rng.sample(ABOVE, 3):
            expected = Search(history, level, {}).found()
            report = check_history(history, level)
            assert report.valid is expected, (seed, level, history, report.explain())
            seen[expected, report.valid] += 1


@pytest.mark.more
def test_registers_agree_with_every_execution() -> None:
    seen: Counter[tuple[bool, bool | None]] = Counter()
    for seed in range(many(100, 200)):
        registers_agree(seed, seen)
    assert min(seen[True, True], seen[False, False]) > many(60, 120)


def registers_agree(seed: int, seen: Counter[tuple[bool, bool | None]]) -> None:
    rng = random.Random(seed)
    history = history_of(rng, keys=rng.choice(["u", "uv", "uvw", "uvx"]), transactions=rng.randint(2, 6))
    committed = sorted(t["id"] for t in history if t["status"] == "ok")
    if not committed:
        return
    if rng.random() < 0.3:
        rng.shuffle(committed)
    level = rng.choice(ABOVE)
    for assume in (
        {},
        {"wfr_keys": True},  # of every execution: it changes no verdict
        {"sequential_keys": True},
        {"linearizable_keys": True},
        {"commit_order": committed},
        {"version_order": versions_in_some_order(history, rng)},
    ):
        expected = Search(history, level, assume).found()
        report = check_history(history, level, assume=assume)
        assert report.valid is expected, (seed, level, assume, history, report.explain())
        seen[expected, report.valid] += 1


@st.composite
def blind_writers(draw: st.DrawFn) -> list[Transaction]:
    """Transactions that mostly write without reading, and read anything: the order of the writes is open, and often impossible."""
    keys = "uvw"[: draw(st.integers(2, 3))]
    touches = st.dictionaries(st.sampled_from(keys), st.booleans(), min_size=1)
    plans = draw(st.lists(touches, min_size=3, max_size=6))
    numbers = itertools.count(1)
    history = [
        {
            "id": f"t{number}",
            "process": draw(st.integers(0, 2)),
            "status": draw(st.sampled_from(["ok", "ok", "ok", "ok", "info"])),
            "start": 2 * number,
            "end": 2 * number + draw(st.integers(1, 4)),
            "ops": [["w", key, next(numbers)] if writes else ["r", key, None] for key, writes in plan.items()],
        }
        for number, plan in enumerate(plans)
    ]
    for process in range(3):  # which runs one transaction at a time
        for earlier, later in itertools.pairwise([t for t in history if t["process"] == process]):
            earlier["end"] = min(earlier["end"], later["start"])
    for transaction in history:
        others = [op for t in history if t is not transaction for op in t["ops"] if op[0] == "w"]
        for op in transaction["ops"]:
            if op[0] == "r":
                op[2] = draw(st.sampled_from([None, *(other[2] for other in others if other[1] == op[1])]))
    history[0]["status"] = "ok"
    return draw(st.permutations(history))


@pytest.mark.more
@settings(max_examples=many(80, 250), deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    blind_writers(),
    st.sampled_from(ABOVE),
    st.sampled_from([{}, {"sequential_keys": True}, {"linearizable_keys": True}]),
)
def test_the_search_of_version_orders_agrees_with_every_execution(
    history: list[Transaction], level: str, assume: dict[str, bool]
) -> None:
    report = check_history(history, level, assume=assume)
    assert report.valid is Search(history, level, assume).found(), report.explain()


def versions_in_some_order(history: list[Transaction], rng: random.Random) -> dict[str, list[Any]]:
    """An order of the writes to each register, most often the one in which they were made."""
    orders: dict[str, list[Any]] = {}
    for key in sorted({op[1] for t in history for op in t["ops"] if op[0] == "w"}):
        writes = [[op[2] for op in t["ops"] if op[:2] == ["w", key]] for t in history]
        writes = sorted(values for values in writes if values)
        if rng.random() < 0.2:
            rng.shuffle(writes)
        orders[key] = [value for values in writes for value in values]
    return orders


@pytest.mark.more
def test_read_uncommitted_agrees_with_every_line_of_overwrites() -> None:
    seen: Counter[bool] = Counter()
    for seed in range(many(600, 1_500)):
        rng = random.Random(seed)
        history = history_of(rng, keys=rng.choice(["xy", "uv", "ux"]), transactions=rng.randint(2, 6))
        if any(t["status"] == "ok" for t in history):
            level = rng.choice(["read-uncommitted", "strong-session-read-uncommitted"])
            orders = versions_in_some_order(history, rng)
            expected = overwrites_in_a_line(history, orders, session=level.startswith("strong"))
            report = check_history(history, level, assume={"version_order": orders})
            assert report.valid is expected or (expected and report.valid is None), (seed, level, orders, history)
            seen[expected] += 1
    assert min(seen.values()) > many(20, 50)


@pytest.mark.slow
@pytest.mark.parametrize("count", [200, pytest.param(10_000, marks=pytest.mark.heavy)])
@pytest.mark.parametrize("first", [10_000, *(pytest.param(n, marks=pytest.mark.heavy) for n in (20_000, 30_000))])
def test_many_histories_agree_with_every_execution(first: int, count: int) -> None:
    seen: Counter[tuple[bool, bool | None]] = Counter()
    for seed in range(first, first + count):
        lists_agree(seed, seen)
        if first == 10_000:
            registers_agree(seed, seen)


# --- what it has found ----------------------------------------------------------------------------------------------------------------


def ok(*ops: list[Any]) -> Transaction:
    return {"status": "ok", "ops": list(ops)}


def numbered(*transactions: Transaction) -> list[Transaction]:
    return [{"id": f"t{number}", **transaction} for number, transaction in enumerate(transactions)]


def test_a_later_append_without_an_earlier_one_of_the_same_transaction_is_in_the_wrong_order() -> None:
    """No edge between two transactions shows it where anti-dependencies do not count."""
    skipped = numbered(ok(["append", "x", 1], ["append", "x", 2]), ok(["r", "x", [2]]))
    report = check_history(skipped, "read-committed")
    assert report.anomalies == {"incompatible-order"}
    assert "t0 appended 1 to x before 2, but t1 read 2 without 1." in report.explain()
    own = numbered(ok(["append", "x", 1], ["append", "x", 2], ["r", "x", [2]]))
    assert check_history(own, "repeatable-read").valid is False


def test_under_snapshot_isolation_one_of_two_that_append_has_seen_the_other() -> None:
    """Both append to z, which nobody has read; but each has missed what the other did to x or y."""
    skew = numbered(
        ok(["r", "x", []], ["append", "y", 1], ["append", "z", 1]),
        ok(["r", "y", []], ["append", "x", 1], ["append", "z", 2]),
    )
    report = check_history(skew, "snapshot-isolation")
    assert report.anomalies == {"no-version-order"}
    assert "If t0 wrote z before t1, there is a G-single-item" in report.explain()
    alone = numbered(*(ok(*t["ops"][:2]) for t in skew))
    assert check_history(alone, "snapshot-isolation").valid is True


def test_the_order_of_unread_appends_follows_what_was_seen_of_other_keys() -> None:
    """The only order that does is against that of the history: t1 has missed what t2 did, and t0 has seen it."""
    history = numbered(
        ok(["r", "y", [1]], ["append", "x", 1]), ok(["r", "y", []], ["append", "x", 2]), ok(["append", "y", 1])
    )
    assert check_history(history, "snapshot-isolation").valid is True
