"""The levels between read committed and serializability against a search through all commit orders, by the axioms of Biswas and Enea.

*On the Complexity of Checking Transactional Consistency* (OOPSLA 2019) puts all transactions in one order of commits along reads and sessions. Each
level then says of whom a reader must have seen the writes: whoever wrote a key that it read, and is in front of the reader in a certain way, comes
before the writer of the version that it read. The search tries every order. It knows nothing of cycles, graphs or demands.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from simtx.histories import LEVELS, check_history, sight
from simtx.histories.levels import level_of
from tests.histories.test_level_oracle import Transaction, blind_writers, history_of, session_before, write_set

#: Who is in front of a reader, given (who was read or came before in the session, the order of commits): pairs of transactions.
Pairs = set[tuple[str, str]]
Before = Callable[[Pairs, tuple[str, ...]], Pairs]


def in_one_step(direct: Pairs, order: tuple[str, ...]) -> Pairs:
    return direct


def in_any_steps(direct: Pairs, order: tuple[str, ...]) -> Pairs:
    found = set(direct)
    while more := {(a, d) for a, b in found for c, d in direct if b == c} - found:
        found |= more
    return found


def in_front_of_what_was_seen(direct: Pairs, order: tuple[str, ...]) -> Pairs:
    return {(a, t) for b, t in direct for a in order[: order.index(b) + 1]}


def in_front(direct: Pairs, order: tuple[str, ...]) -> Pairs:
    return set(itertools.combinations(order, 2))


BEFORE: dict[str, Before] = {
    "read-atomic": in_one_step,
    "causal-consistency": in_any_steps,
    "prefix-consistency": in_front_of_what_was_seen,
    "serializable": in_front,
}
AXIOMATIC = [level for level in LEVELS if level.removeprefix("strong-session-") in BEFORE]


class Search:
    """Whether some order of the `ok` transactions, with any of the `info` ones, keeps the axiom of a level."""

    def __init__(self, history: list[Transaction], level: str) -> None:
        self.before = BEFORE[level.removeprefix("strong-session-")]
        self.session = level_of(level).session
        self.lists = {op[1] for t in history for op in t["ops"] if op[0] == "append" or isinstance(op[2], list)}
        self.sure = [t for t in history if t["status"] == "ok"]
        self.unsure = [t for t in history if t["status"] == "info"]

    def found(self) -> bool:
        return any(
            self.possible([*self.sure, *chosen])
            for count in range(len(self.unsure) + 1)
            for chosen in itertools.combinations(self.unsure, count)
        )

    def possible(self, members: list[Transaction]) -> bool:
        if not all(reads_itself(t, self.lists) for t in members):
            return False
        wrote = {(op[1], op[2]): t for t in members for op in t["ops"] if op[0] != "r"}
        self.reads = list(self.versions(members, wrote))
        if any(writers is None for _, _, writers, _ in self.reads):
            return False
        direct = {(w, t["id"]) for t, _, writers, _ in self.reads for w in writers or ()}
        if self.session:
            direct |= {(a["id"], b["id"]) for a in members for b in members if session_before(a, b)}
        self.members = {t["id"]: t for t in members}
        return any(
            self.axiom(self.before(direct, order), order)
            for order in itertools.permutations(self.members)
            if all(order.index(a) < order.index(b) for a, b in direct)
        )

    def versions(
        self, members: list[Transaction], wrote: dict[tuple[Any, Any], Transaction]
    ) -> Iterator[tuple[Transaction, Any, list[str] | None, Any]]:
        """Of each read of others: (reader, key, whose writes it holds, what was read); None if these cannot be read."""
        for t in members:
            mine: set[Any] = set()
            for kind, key, value in t["ops"]:
                if kind != "r":
                    mine.add(key)
                elif value is None and t["status"] != "ok":
                    continue
                elif key in self.lists or key not in mine:
                    elements = (value or []) if key in self.lists else [] if value is None else [value]
                    writers = [wrote.get((key, element)) for element in elements]
                    others = [w for w in writers if w is not t]
                    whole = all(
                        w is not None and (op[2] in elements or (key not in self.lists and op is not last(w, key)))
                        for w in others
                        for op in (w["ops"] if w else [None])
                        if w is None or (op[0] != "r" and op[1] == key)
                    )
                    future = key not in mine and t in writers
                    yield t, key, [w["id"] for w in others if w] if whole and not future else None, value

    def axiom(self, before: Pairs, order: tuple[str, ...]) -> bool:
        for t, key, writers, value in self.reads:
            for other in self.members.values():
                if other is t or key not in write_set(other):
                    continue
                if (other["id"], t["id"]) not in before or other["id"] in (writers or ()):
                    continue
                if key in self.lists or not writers or order.index(other["id"]) > order.index(writers[0]):
                    return False
            if key in self.lists:
                appends = [op[2] for i in order for op in self.members[i]["ops"] if op[:2] == ["append", key]]
                if (value or []) != appends[: len(value or [])]:
                    return False
        return True


def last(t: Transaction, key: Any) -> list[Any]:
    return [op for op in t["ops"] if op[0] != "r" and op[1] == key][-1]


def reads_itself(t: Transaction, lists: set[Any]) -> bool:
    """Whether each read fits what the transaction itself has read and written before it."""
    content: dict[Any, Any] = {}
    appended: dict[Any, list[Any]] = {}
    for kind, key, value in t["ops"]:
        if kind == "w":
            content[key] = value
        elif kind == "append":
            appended.setdefault(key, []).append(value)
            if key in content:
                content[key] = [*content[key], value]
        elif value is not None or t["status"] == "ok":
            read = (value or []) if key in lists else value
            mine = appended.get(key, [])
            if read != content.get(key, read) or (mine and read[max(0, len(read) - len(mine)) :] != mine):
                return False
            content[key] = read
    return True


def agrees(history: list[Transaction], level: str, seen: Counter[bool]) -> None:
    if any(t["status"] == "ok" for t in history):
        expected = Search(history, level).found()
        report = check_history(history, level)
        assert report.valid is expected, (level, history, report.explain())
        seen[expected] += 1


@pytest.mark.parametrize("keys", ["uv", "xy", "uvw", "ux"])
def test_levels_agree_with_every_order_of_commits(keys: str) -> None:
    """Lists (from `x` on) and registers."""
    seen: Counter[bool] = Counter()
    for seed in range(200):
        rng = random.Random(seed)
        agrees(history_of(rng, keys=keys, transactions=rng.randint(2, 5)), rng.choice(AXIOMATIC), seen)
    assert min(seen[True], seen[False]) > 10


def test_a_sweep_of_few_writers_sees_as_much(monkeypatch: pytest.MonkeyPatch) -> None:
    """What came before is computed in blocks of writers, here of two."""
    monkeypatch.setattr(sight, "_WIDTH", 2)
    seen: Counter[bool] = Counter()
    for seed in range(100, 250):
        rng = random.Random(seed)
        history = history_of(rng, keys=rng.choice(["uv", "xy", "ux"]), transactions=rng.randint(3, 5))
        agrees(history, "causal-consistency", seen)
    assert min(seen[True], seen[False]) > 10


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(blind_writers())
def test_blind_writers_agree_with_every_order_of_commits(history: list[Transaction]) -> None:
    """Much is written that nobody read before, so that only what was seen tells the order."""
    for level in AXIOMATIC[:3]:
        agrees(history, level, Counter())


@pytest.mark.heavy
@pytest.mark.parametrize("first", [1_000, 2_000, 3_000, 4_000])
def test_many_histories_agree_with_every_order_of_commits(first: int) -> None:
    seen: Counter[bool] = Counter()
    for seed in range(first, first + 1_000):
        rng = random.Random(seed)
        history = history_of(rng, keys=rng.choice(["uv", "xy", "uvw", "ux", "xyz"]), transactions=rng.randint(2, 6))
        agrees(history, rng.choice(AXIOMATIC), seen)
    assert min(seen[True], seen[False]) > 100
