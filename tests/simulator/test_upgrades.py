"""Laws of a rolling upgrade: who reads what, what stops, what is refused, and what it costs."""

from __future__ import annotations

from typing import Any

import pytest

import simtx
from simtx.metrics.run import Run
from simtx.protocols.event_schema import REVISIONS, Schema, SchemaTooNew
from simtx.scenario import Scenario
from simtx.scenario.versions import CURRENT, VERSIONS, readable
from tests.simulator.worlds import chain

OLD_CONSUMER = [
    {"node": "s0", "at": 4.5, "to": "2.0", "duration": 0.25},
    {"node": "s1", "at": 12.5, "to": "2.0", "duration": 0.25},
]


def rolled(upgrades: list[dict[str, Any]], **more: Any) -> Scenario:
    """Twenty transactions from the first service to the second, one a second; both speak version 1.0 at first."""
    events = {"version": "1.0", **more.pop("events", {})}
    return chain(2, transactions=20, events=events, upgrades=upgrades, run={"drain": 60.0}, **more)


def stops(run: Run) -> list[int]:
    return [entry.tx for entry in run.trace if entry.kind == "stop"]


def test_versions_are_those_of_real_events() -> None:
    """The same list, the same current one, and the same rule for who can read whom."""
    assert tuple(one.version for one in REVISIONS) == VERSIONS
    assert Schema().version == CURRENT
    message = simtx.protocols.Message("reserve", 1, "a", "b", None)
    for writer in VERSIONS:
        for reader in VERSIONS:
            packed = Schema(writer).pack(message)
            try:
                Schema(reader).unpack(packed)
            except SchemaTooNew:
                assert not readable(writer, reader)
            else:
                assert readable(writer, reader)


@pytest.mark.parametrize("kind", ["plain", "jetstream-workqueue"])
def test_an_old_consumer_stops_the_lane_until_it_is_upgraded(kind: str) -> None:
    """Nothing is lost, nothing is done twice; what came meanwhile waits for the upgrade, and no longer."""
    run = simtx.simulate(rolled(OLD_CONSUMER, broker={"kind": kind}), "outbox", trace=True)
    assert stops(run) == list(range(4, 12))
    assert run.summary.lanes_stopped == 8
    assert run.summary.committed_share == 1
    assert run.summary.duplicate_effects == run.summary.missing_effects == 0
    waited = run.transactions.settle_ms / 1e3
    assert all(waited[tx] == pytest.approx(12.75 - run.transactions.arrival_s[tx], abs=0.1) for tx in stops(run))
    assert waited.drop(range(4, 13)).max() < 1
    assert [(one.kind, one.target, one.begin, one.end) for one in run.data.struck] == [
        ("upgrade", "s0", 4.5, 4.75),
        ("upgrade", "s1", 12.5, 12.75),
    ]


def test_a_partition_stops_as_a_whole() -> None:
    """Up to an offset: one stop, and all that comes behind it waits."""
    broker = {"partitions": 1, "commit_every": 0.0}
    run = simtx.simulate(rolled(OLD_CONSUMER, broker=broker), "outbox", trace=True)
    assert stops(run) == [4]
    assert run.summary.partition_lag_max == 8
    assert run.summary.committed_share == 1


def test_a_limit_of_deliveries_loses_what_waits_for_an_upgrade() -> None:
    """The advice of the documentation: a broker must not limit redeliveries while a lane is stopped."""
    broker = {"redelivery": 1.0, "delivery_limit": 3}
    run = simtx.simulate(rolled(OLD_CONSUMER, broker=broker), "outbox")
    assert 0 < run.summary.dead_letters < 8
    assert run.summary.missing_effects == run.summary.dead_letters
    assert run.summary.incomplete_count == run.summary.dead_letters


def test_what_is_set_aside_is_missing_for_ever() -> None:
    """Going on without what one cannot read keeps nobody waiting, and loses a step of each of these transactions."""
    run = simtx.simulate(rolled(OLD_CONSUMER, events={"unread": "dead-letter"}), "outbox")
    assert run.summary.dead_letters == run.summary.missing_effects == 8
    assert run.summary.lanes_stopped == 0


def test_readers_first_and_writers_later_stops_nothing() -> None:
    """In two steps: everybody learns to read the new version and writes the old one; then they write it."""
    steps = [
        {"node": "*", "at": 2.2, "to": "2.0", "writes": "1.0", "duration": 0.25, "gap": 2.0},
        {"node": "*", "at": 10.2, "to": "2.0", "duration": 0.25, "gap": 2.0},
    ]
    run = simtx.simulate(rolled(steps), "outbox")
    assert (run.summary.lanes_stopped, run.summary.committed_share) == (0, 1)
    at_once = simtx.simulate(rolled(steps[1:]), "outbox")
    assert at_once.summary.lanes_stopped > 0


@pytest.mark.parametrize("strategy", ["2pc", "saga"])
def test_a_message_between_nodes_that_cannot_be_read_is_as_good_as_lost(strategy: str) -> None:
    """The protocols repeat it; a transaction ends one way or the other, and nothing is half done."""
    run = simtx.simulate(rolled([{"node": "*", "at": 4.5, "to": "2.0", "duration": 0.25, "gap": 1.0}]), strategy)
    assert run.summary.messages_unread > 0
    assert run.summary.missing_effects == run.summary.duplicate_effects == 0
    assert run.summary.in_flight_count == run.summary.incomplete_count == 0


def test_the_same_version_is_no_upgrade_but_an_absence() -> None:
    """Nobody refuses anything; and without upgrades a version changes nothing at all."""
    run = simtx.simulate(rolled([{"node": "s1", "at": 4.5, "to": "1.0", "duration": 0.25}]), "outbox")
    assert run.summary.lanes_stopped == 0
    assert (
        simtx.simulate(rolled([]), "outbox").digest
        == simtx.simulate(chain(2, transactions=20, run={"drain": 60.0}), "outbox").digest
    )


@pytest.mark.parametrize(
    ("upgrade", "line"),
    [
        ({"node": "s7", "at": 1.0, "to": "2.0"}, r"upgrades\[0\].node: 's7' is no node that speaks versions"),
        (
            {"node": "s1", "at": 1.0, "to": "4.0"},
            r"upgrades\[0\].to: '4.0' is not allowed; did you mean '3.0'",
        ),
        ({"node": "s1", "at": 1.0, "to": "1.0", "writes": "2.0"}, "a process that reads up to 1.0 cannot write 2.0"),
        ({"node": "s1", "at": 1.0, "to": "2.0", "gap": 1.0}, "is between several nodes; it belongs to node = '\\*'"),
    ],
)
def test_nonsense_is_one_line(upgrade: dict[str, Any], line: str) -> None:
    with pytest.raises(simtx.ScenarioError, match=line):
        rolled([upgrade])
