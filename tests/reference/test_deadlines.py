"""Deadlines that travel, for real: in the frames of requests and messages, refused by the service that comes too late to a step."""

from __future__ import annotations

import pytest

import simtx
from simtx.conformance.check import check_log
from simtx.event_log.entries import Worked
from simtx.protocols.event_schema import SchemaError
from simtx.reference.processes.service import _deadline
from simtx.scenario import Scenario
from tests.reference.test_execute import lab

DEADLINE = 0.4


def busy(transactions: int = 40, **clients: object) -> Scenario:
    """Twice as many transactions as the second service can do, for a second; clients wait for 0.4 s."""
    scenario = lab(
        2, transactions=transactions, rate=40.0, clients={"deadline": DEADLINE, "deadline_travels": True, **clients}
    )
    return scenario.replace(
        **{
            "services.s1.workers": 1,
            "services.s1.service_time": "50ms",
            "policies.vote_timeout": "10s",
            "policies.call_timeout": "10s",
        }
    )


@pytest.mark.parametrize("strategy", ["2pc", "saga", "tcc", "2pc:work=before"])
@pytest.mark.sample(4)
def test_no_service_begins_a_step_whose_deadline_is_over(strategy: str) -> None:
    """What it has refused so was refused in the log, behind the deadline; nothing else is different from a refusal of the business."""
    run = simtx.execute(busy(), strategy)
    arrived = run.transactions.set_index("tx").arrival_s
    expired = [entry for entry in run.trace if entry.kind == "expire"]
    assert run.summary.steps_expired == len(expired) > 0
    for entry in expired:
        # The worker's beginning is what is logged, and the deadline is looked at then: on a busy machine a little later.
        assert entry.time > arrived[entry.tx] + DEADLINE - 0.1
        ends = [
            one for one in run.trace if one.id > entry.id and (one.node, one.tx, one.name) == (*entry[3:5], entry.name)
        ]
        worked = next(one for one in ends if one.kind in ("transact", "prepare", "execute"))
        assert Worked.read(worked).status == "refused"
    assert run.summary.violations == run.summary.duplicate_effects == run.summary.missing_effects == 0
    assert run.summary.residual_divergence == 0
    assert check_log(run.trace, run.strategy).ok


@pytest.mark.heavy
@pytest.mark.parametrize("strategy", ["outbox", "dual-write"])
def test_an_event_has_no_deadline(strategy: str) -> None:
    """The second service gets its work as events, and refuses none of them however late they come."""
    run = simtx.execute(busy(), strategy)
    assert not [entry for entry in run.trace if entry.kind == "expire" and entry.node == "s1"]
    assert check_log(run.trace, run.strategy).ok


@pytest.mark.parametrize("wrong", ["soon", True, float("nan"), float("inf"), [1.0]])
def test_a_deadline_is_a_time(wrong: object) -> None:
    assert _deadline({}) is None
    assert _deadline({"deadline": 3}) == 3.0
    with pytest.raises(SchemaError, match="a deadline that is no time"):
        _deadline({"deadline": wrong})
