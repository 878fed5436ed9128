"""What is known decides most open orders of writes, and a solver the rest: the verdicts are those of the search and of the definitions."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from simtx.histories import check_history, proof, solver
from tests.amounts import many
from tests.histories.test_anomalies import ALL_COMBINATIONS
from tests.histories.test_level_oracle import Search

needs_solver = pytest.mark.skipif(not solver.available(), reason="python-sat is not installed")
LEVELS = ("snapshot-isolation", "strong-session-snapshot-isolation", "serializable", "strict-serializable")


def blind(seed: int) -> list[dict[str, Any]]:
    """Sessions whose transactions mostly write without reading; what is read was written by others, at will."""
    rng = random.Random(seed)
    count, keys = rng.randint(4, 6), "uvw"[: rng.randint(2, 3)]
    written: dict[str, list[int]] = {key: [] for key in keys}
    history: list[dict[str, Any]] = []
    for number in range(count):
        ops: list[list[Any]] = []
        for key in rng.sample(keys, rng.randint(1, len(keys))):
            if rng.random() < 0.6:
                written[key].append(10 * number + keys.index(key) + 1)
                ops.append(["w", key, written[key][-1]])
            else:
                ops.append(["r", key, None])
        history.append(
            {
                "id": f"t{number}",
                "process": number % 3,
                "status": "ok",
                "start": 2 * number,
                "end": 2 * number + 1,
                "ops": ops,
            }
        )
    for number, transaction in enumerate(history):
        for op in transaction["ops"]:
            if op[0] == "r":
                op[2] = rng.choice([None, *(value for value in written[op[1]] if value // 10 != number)])
    return history


def searched(history: list[dict[str, Any]], level: str) -> bool | None:
    """The verdict of the search alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proof, "solver_available", lambda: False)
        patch.setattr(solver.OrderSolver, "prune", lambda _: (frozenset(),))
        return check_history(history, level).valid


def solved(history: list[dict[str, Any]], level: str) -> Any:
    """What comes of the solver alone: no order but the first is searched."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proof, "BUDGET", -1)
        patch.setattr(proof, "_MANY_PAIRS", 0)
        return check_history(history, level)


@needs_solver
def test_the_solver_says_what_the_search_says() -> None:
    seen: Counter[bool | None] = Counter()
    for seed in range(many(120, 2000)):
        level = LEVELS[seed % len(LEVELS)]
        history = blind(seed)
        report = solved(history, level)
        assert report.valid is searched(history, level), (seed, level, report.explain())
        seen[report.valid] += 1
    assert min(seen[True], seen[False]) > 20
    assert not seen[None]


@needs_solver
@pytest.mark.more
def test_the_solver_agrees_with_every_execution() -> None:
    for seed in range(many(60, 600)):
        level = LEVELS[seed % len(LEVELS)]
        report = solved(blind(seed), level)
        assert report.valid is Search(blind(seed), level, {}).found(), (seed, level, report.explain())


@needs_solver
@pytest.mark.parametrize("level", LEVELS[:1] + LEVELS[2:3])
def test_what_the_solver_refutes_is_shown_by_cycles(level: str) -> None:
    """Each of four readers has seen another combination of two writes to x and two to y: whichever was first, one was never there."""
    report = solved([{**one, "process": place} for place, one in enumerate(ALL_COMBINATIONS)], level)
    (finding,) = report.findings
    assert finding.name == "no-version-order"
    assert len(finding.steps) >= 2
    assert all(step.sentence.startswith("If t") and "there is a G" in step.sentence for step in finding.steps)


@needs_solver
def test_what_is_known_decides_without_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writers of one key in sessions that read each other's later keys: the first order that comes to mind is wrong, and nothing is left open."""
    monkeypatch.setattr(proof, "BUDGET", -1)
    monkeypatch.setattr(proof, "solver_available", lambda: False)
    verdicts = Counter(check_history(blind(seed), "serializable").valid for seed in range(40))
    assert verdicts[True] > verdicts[None]
