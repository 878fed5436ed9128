"""What the client of a real run does when no answer comes: as in a simulated one, with the same keys of the scenario."""

from __future__ import annotations

from collections import Counter

import pytest

import simtx
from simtx.metrics.run import Run
from tests.reference.test_execute import lab


def outage(strategy: str, **clients: object) -> Run:
    """Requests at 0.04, 0.08, ... s; the entry node is killed at 0.5 s and is away for 1.2 s."""
    node = "hub" if strategy in ("2pc", "saga") else "s0"
    fault = {"kind": "crash", "node": node, "at": 0.5, "duration": 1.2}
    return simtx.execute(lab(transactions=50, faults=[fault], clients=clients), strategy)


@pytest.mark.parametrize("strategy", ["2pc", "outbox"])
@pytest.mark.sample(2)
def test_requests_that_reach_nobody_are_answered_when_the_entry_node_is_back(strategy: str) -> None:
    """Those of the outage are answered after its rest, and once; the few that were under way at the kill may have met somebody."""
    run = outage(strategy)
    table = run.transactions
    asked = {event.tx for event in run.trace if event.kind == "ask"}
    assert len(asked) >= 20
    again = table[table.tx.isin(asked)]
    rest = 1700 - 1e3 * again.arrival_s
    assert (again.latency_ms > rest - 50).all()
    assert again.outcome.isin(["committed", "aborted"]).all()  # aborted: on a busy machine a vote may come too late
    assert set(Counter(event.tx for event in run.trace if event.kind == "request").values()) == {1}
    assert run.summary.requests_repeated == sum(event.kind == "ask" for event in run.trace)
    assert simtx.check_log(run.trace, run.strategy).ok


def test_a_client_that_asks_once_gives_up_at_its_deadline() -> None:
    run = outage("saga", ask_again="never", deadline=0.6)
    dropped = {event.tx for event in run.trace if event.kind == "drop" and event.node == "client"}
    given_up = {event.tx for event in run.trace if event.kind == "give-up"}
    assert len(dropped) >= 20
    assert given_up <= dropped
    table = run.transactions[run.transactions.tx.isin(dropped)]
    assert (table.outcome == "lost").all()
    assert table.latency_ms.isna().all()
    assert run.summary.requests_repeated == 0
