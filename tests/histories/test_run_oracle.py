"""Random interleavings of little sagas against a search through all serial orders.

Every change adds an amount of its own, a power of two: a value tells exactly whose changes are in it, so that a serial order explains
what the committed transactions have read, or none does. The search knows nothing of versions, labels and compensations.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

import simtx
from simtx.histories import from_trace
from tests.amounts import many
from tests.histories.logs import Log

KEYS = ("x", "y")


@dataclass
class Saga:
    """One business transaction: additions (key, amount) and reads (key, 0), and how it ends."""

    ops: list[tuple[str, int]]
    end: str
    seen: list[tuple[str, int, float]] = field(default_factory=list)  # (key, amount, value before)
    start: int = 0
    stop: int = 0


def play(rng: random.Random, *, versions: bool) -> tuple[Log, list[Saga]]:
    """Some sagas, step by step in a random order; the aborted ones are undone step by step."""
    amounts = iter(2**n for n in range(32))
    sagas = []
    for _ in range(rng.randint(2, 4)):
        ops = [(rng.choice(KEYS), next(amounts) if rng.random() < 0.6 else 0) for _ in range(rng.randint(1, 3))]
        sagas.append(Saga(ops, rng.choices(["ok", "fail", "info"], [6, 3, 1])[0]))
    log = Log(versions=versions)
    programs = {tx: program(log, tx, saga) for tx, saga in enumerate(sagas)}
    eager = rng.random()  # from one after the other to wild
    while programs:
        tx = min(programs) if rng.random() < eager else rng.choice(list(programs))
        if next(programs[tx], None) is None:
            del programs[tx]
    return log, sagas


def program(log: Log, tx: int, saga: Saga) -> Iterator[bool]:
    saga.start = len(log.events)
    log.arrive(tx)
    yield True
    for key, amount in saga.ops:
        saga.seen.append((key, amount, log.values.get(key, 0)))
        if amount:
            log.add(tx, key, amount)
        else:
            log.look(tx, key, steps=(len(saga.seen),))
        yield True
    for key, amount in reversed(saga.ops if saga.end == "fail" else []):
        if amount:
            log.undo(tx, key, -amount)
            yield True
    if saga.end != "info":
        log.commit(tx) if saga.end == "ok" else log.abort(tx)
        saga.stop = len(log.events) - 1


def explained(sagas: list[Saga], *, real_time: bool) -> bool:
    """Whether the committed transactions, and any of the unknown ones, have a serial order that gives all values that were read."""
    needed = [saga for saga in sagas if saga.end == "ok"]
    unknown = [saga for saga in sagas if saga.end == "info"]
    for count in range(len(unknown) + 1):
        for some in itertools.combinations(unknown, count):
            if any(fits(order, real_time=real_time) for order in itertools.permutations([*needed, *some])):
                return True
    return False


def fits(order: tuple[Saga, ...], *, real_time: bool) -> bool:
    if real_time and any(b.end == "ok" and b.stop < a.start for a, b in itertools.combinations(order, 2)):
        return False
    state = dict.fromkeys(KEYS, 0.0)
    for saga in order:
        for key, amount, before in saga.seen:
            if state[key] != before and not (saga.end == "info" and before == 0):
                return False  # that an unknown transaction read an initial state cannot be written in a history
            state[key] += amount
    return True


@pytest.mark.parametrize("versions", [True, False], ids=["versions", "values"])
@pytest.mark.parametrize("level", ["serializable", "strict-serializable"])
@pytest.mark.more
@pytest.mark.sample(3)
def test_the_verdict_is_that_of_the_search(level: str, versions: bool) -> None:
    """Without the numbers of versions, a value that occurs twice may leave it open; it never leads to a wrong verdict."""
    rng = random.Random(f"{level} {versions}")
    verdicts: Counter[bool | None] = Counter()
    for number in range(many(500, 1500)):
        log, sagas = play(rng, versions=versions)
        if all(saga.end != "ok" for saga in sagas):
            continue
        wanted = explained(sagas, real_time=level.startswith("strict"))
        report = simtx.check_history(log.trace(), level)
        shown = (number, sagas, list(from_trace(log.trace())), report.explain())
        assert report.valid is wanted or (not versions and report.valid is None), shown
        verdicts[report.valid] += 1
    assert min(verdicts[True], verdicts[False]) > many(80, 250)
    assert verdicts[None] < 0.1 * verdicts.total()
