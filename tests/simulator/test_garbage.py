"""Memory: nothing of the model dies in a reference cycle, which is why a run may switch the cyclic collector off."""

from __future__ import annotations

import gc
from collections.abc import Generator
from typing import Any

import pytest

import simtx
from simtx.protocols import strategy
from simtx.simulator import World
from simtx.simulator.run_loop import InterpretedLoop


@pytest.mark.parametrize("name", ["2pc", "saga", "outbox", "dual-write"])
@pytest.mark.parametrize("scenario", ["checkout", "checkout-outages"])
@pytest.mark.sample(5)
def test_what_a_run_drops_is_freed_by_reference_counts_alone(scenario: str, name: str) -> None:
    """A collection right after a run, before its world is dropped, finds nothing that could not be reached."""
    played = simtx.load(scenario).replace(**{"run.transactions": 400, "run.warmup": "0.3s"})
    world = World(played, strategy(name, played.policies), seed=1, replication=0, traced=False)
    loop = InterpretedLoop(world)
    gc.collect()
    gc.disable()
    try:
        loop.play()
        assert gc.collect() == 0
    finally:
        gc.enable()
    assert world.ledger.rows.cells()["tx"]


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_as_it_was_after_a_run(enabled: bool) -> None:
    """A run switches the collector off for itself only, also when it fails."""
    played = simtx.load("transfer").replace(**{"run.transactions": 50, "run.warmup": "0s"})
    (gc.enable if enabled else gc.disable)()
    try:
        simtx.simulate(played, "saga")
        assert gc.isenabled() is enabled
        with pytest.raises(ZeroDivisionError):
            simtx.simulate(played, "saga", processes=[_failing])
        assert gc.isenabled() is enabled
    finally:
        gc.enable()


def _failing(world: World) -> Generator[Any, Any, None]:
    yield world.env.timeout(1 / (len(world.nodes) - len(world.nodes)))
