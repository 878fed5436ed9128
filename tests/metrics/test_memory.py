"""What a finished transaction keeps: a few numbers, and no plan."""

from __future__ import annotations

import pytest

import simtx
from simtx.metrics.ledger import TransactionLedger
from simtx.protocols.contract import Operation, Plan, Step
from simtx.simulator.run_loop import InterpretedLoop
from simtx.simulator.world import World


@pytest.mark.parametrize("name", ["2pc", "saga", "outbox", "dual-write"])
def test_plans_are_let_go_of_as_soon_as_their_transactions_are_through(name: str) -> None:
    """Long before the records, which wait for late messages; `benchmarks/memory.py` measures bytes."""
    scenario = simtx.load("transfer").replace(**{"run.duration": "40s", "run.warmup": "0s", "workload.rate": 20.0})
    world = World(scenario, simtx.protocols.strategy(name, scenario.policies), seed=1, replication=0, traced=False)
    seen: list[tuple[int, int, int]] = []
    world.env.call_at(39.0, lambda _: seen.append(_kept(world.ledger)))
    InterpretedLoop(world).play()
    ((records, young, plans),) = seen
    assert records > 700
    assert young < 300
    assert plans <= young + 1


def _kept(ledger: TransactionLedger) -> tuple[int, int, int]:
    return len(ledger.active), len(ledger.young), len({id(record.plan) for record in ledger.active.values()})


def test_what_comes_late_counts_without_the_plan() -> None:
    """An action that is done again after the plan has gone is still one too many, on the step that changes data."""
    ledger = TransactionLedger(0, grace=60.0)
    steps = (Step(0, "read", "a", (Operation("k", "read"),)), Step(1, "write", "b", (Operation("k", "add", 2.0),)))
    record = ledger.begin(Plan(0, steps), 0.0, (0.1, 0.2), True, 1)
    ledger.decided(record, True, 1.0)
    ledger.effect(record, [1], False, None, 1.0)
    ledger.begin(Plan(1, steps), 20.0, (0.1, 0.2), True, 1)
    assert record.light
    assert record.plan is not None
    assert list(record.demands) == [0.1, 0.2]
    assert ledger.expected == {"a": {}, "b": {"k": 2.0}}
    ledger.effect(record, [1], False, None, 21.0)
    ledger.finish(set())
    cells = ledger.rows.cells()
    assert list(cells["duplicate_effects"]) == [1, 0]
    assert ledger.expected["b"]["k"] == 2.0
