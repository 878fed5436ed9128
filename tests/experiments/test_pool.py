"""The pool: what is under way when a worker dies goes back, the guilty are found alone, the innocent are not blamed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future
from typing import Any

import pytest

from simtx import RunFailed
from simtx.experiments.executors import Backend
from simtx.experiments.interrupts import Interrupts
from simtx.experiments.pool import Call, Pool, WorkerDied


class KilledWorker(Exception):
    """What Dask calls it."""


class Cluster(Backend):
    """Executes calls when it is full or nothing more comes; a guilty one takes others with it.

    Args:
        guilty: Calls that kill their worker.
        breaks: ``all``: everything that is under way fails, as in a process pool; ``blames``: the guilty and the next one, as in Dask.
        drops: Calls that are dropped once.
    """

    def __init__(self, guilty: set[int], breaks: str = "all", drops: frozenset[int] = frozenset()) -> None:
        self.guilty, self.breaks, self.drops = guilty, breaks, set(drops)
        self.started: Counter[int] = Counter()
        self.crowds: list[set[int]] = []
        self.rebuilt = 0
        self.broken = False
        self._waiting: list[tuple[int, Future[Any]]] = []

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        if self.broken:
            raise BrokenExecutor("broken")
        future: Future[Any] = Future()
        self.started[arguments[0]] += 1
        self._waiting.append((arguments[0], future))
        return future

    def capacity(self) -> int:
        return 4

    def rebuild(self) -> None:
        self.rebuilt += 1
        self.broken = False

    def run(self) -> None:
        """Execute what waits."""
        waiting, self._waiting = self._waiting, []
        self.crowds.append({number for number, _ in waiting})
        died = [i for i, (number, _) in enumerate(waiting) if number in self.guilty]
        self.broken = bool(died) and self.breaks == "all"
        for i, (number, future) in enumerate(waiting):
            if died and (self.breaks == "all" or i in (died[0], died[0] + 1)):
                future.set_exception(BrokenExecutor("a worker died") if self.breaks == "all" else KilledWorker(number))
            elif number in self.drops:
                self.drops.discard(number)
                future.cancel()
                future.set_running_or_notify_cancel()
            else:
                future.set_result(number * 10)


def results(cluster: Cluster, count: int, monkeypatch: pytest.MonkeyPatch) -> dict[int, Any]:
    """Every result by number; the cluster works whenever the pool waits."""
    import simtx.experiments.pool as module

    original = module.wait

    def wait(futures: Any, **options: Any) -> Any:
        cluster.run()
        return original(futures, **options)

    monkeypatch.setattr(module, "wait", wait)
    numbers = iter(range(count))
    source = lambda: next((Call(number, (number,)) for number in numbers), None)  # noqa: E731
    with Interrupts() as interrupts:
        return {call.key: result for call, result in Pool(cluster, print, source, interrupts).results()}


@pytest.mark.parametrize("breaks", ["all", "blames"])
def test_only_the_guilty_are_quarantined(breaks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of twenty calls kill their worker; all others have their results, once."""
    cluster = Cluster({5, 6}, breaks)
    found = results(cluster, 20, monkeypatch)
    assert {number for number, result in found.items() if isinstance(result, WorkerDied)} == {5, 6}
    assert {number: result for number, result in found.items() if number not in (5, 6)} == {
        number: number * 10 for number in range(20) if number not in (5, 6)
    }
    for guilty in (5, 6):  # once in a crowd, twice alone
        assert [crowd for crowd in cluster.crowds if guilty in crowd][1:] == [{guilty}, {guilty}]


def test_who_is_alone_with_a_dying_worker_once_gets_another_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last call of a pool whose worker is killed from outside."""
    cluster = Cluster({0})
    original = cluster.rebuild

    def rebuild() -> None:
        original()
        cluster.guilty.clear()  # it was not the call's fault

    monkeypatch.setattr(cluster, "rebuild", rebuild)
    assert results(cluster, 1, monkeypatch) == {0: 0}
    assert cluster.started == {0: 2}


def test_a_dropped_call_is_made_again_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(set(), drops=frozenset({2}))
    assert results(cluster, 4, monkeypatch) == {number: number * 10 for number in range(4)}
    assert cluster.started[2] == 2
    stubborn = Cluster(set())
    stubborn.drops = type("All", (set,), {"__contains__": lambda *_: True})()
    with pytest.raises(RunFailed, match="the scheduler has dropped a run 5 times"):
        results(stubborn, 1, monkeypatch)
