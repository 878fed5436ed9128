"""The fault plan: every kind of fault is known to every world, and hits what the scenario says."""

from __future__ import annotations

from typing import Any, get_args

import pytest

import simtx
from simtx.protocols import strategy
from simtx.scenario.distributions import Uniform
from simtx.scenario.fault_kinds import FAULT_KINDS, FaultKind
from simtx.workload.faults import Nesting, fault_plan
from tests.simulator.worlds import chain

PLACES: dict[str, dict[str, Any]] = {
    "provider": {"node": "s1"},
    "node": {"node": "s1"},
    "service": {"node": "s1"},
    "links": {"a": ["s1"]},
    "broker": {},
    "vote-store": {},
}
STRENGTHS: dict[str | None, dict[str, float]] = {
    None: {},
    "factor": {"factor": 7.0},
    "probability": {"probability": 0.9},
}


def fault(kind: FaultKind, **options: Any) -> dict[str, Any]:
    traits = FAULT_KINDS[kind]
    return {"kind": kind, **PLACES[traits.place], **STRENGTHS[traits.strength], "at": 0.2, "duration": 1.5, **options}


def test_every_kind_has_its_traits() -> None:
    assert set(FAULT_KINDS) == set(get_args(FaultKind))


def test_no_kind_plays_as_another_one() -> None:
    """Each of them changes a run, and each in its own way: under two-phase commit those of nodes and links, under the outbox that of the broker, under Cornus that of the vote store, under a saga those of a provider."""
    base: dict[str, Any] = {"delay": Uniform(0.005, 0.02), "service_time": 0.005, "rate": 20.0, "transactions": 30}
    base |= {"workers": 2, "network": {"loss": 0.1}}
    found = {}
    for kind, traits in FAULT_KINDS.items():
        name = {"broker": "outbox", "vote-store": "cornus", "provider": "saga"}.get(traits.place, "2pc")
        here = base | ({"services": {"s1": {"provider": {"latency": 0.02}}}} if traits.place == "provider" else {})
        quiet = simtx.simulate(chain(3, **here), name).digest
        found[kind] = simtx.simulate(chain(3, **here, faults=[fault(kind)]), name).digest
        assert found[kind] != quiet, kind
    assert len(set(found.values())) == len(FAULT_KINDS)


@pytest.mark.parametrize(
    ("a", "b", "one_way", "name", "expected"),
    [
        (["s0"], ["s1"], True, "2pc", {("s0", "s1")}),
        (["s0"], ["hub"], False, "2pc", {("s0", "coordinator"), ("coordinator", "s0")}),
        (["s0"], ["hub"], False, "outbox", set()),
        (["s0"], ["broker"], True, "outbox", {("s0", "broker")}),
        (["s0"], [], True, "outbox", {("s0", "s1"), ("s0", "broker")}),
        (["s0"], [], True, "saga", {("s0", "s1"), ("s0", "orchestrator")}),
    ],
)
def test_links_are_named_by_the_nodes_of_the_strategy(
    a: list[str], b: list[str], one_way: bool, name: str, expected: set[tuple[str, str]]
) -> None:
    scenario = chain(2, faults=[fault("partition", a=a, b=b, one_way=one_way)])
    (planned,) = fault_plan(scenario, strategy(name))
    assert set(planned.links) == expected
    assert planned.hits


def test_a_fault_of_a_hub_or_broker_hits_nothing_under_a_strategy_without_one() -> None:
    scenario = chain(2, faults=[fault("crash", node="hub"), fault("broker-outage")])
    hits = {name: [(one.node, one.hits) for one in fault_plan(scenario, strategy(name))] for name in ("2pc", "outbox")}
    assert hits == {"2pc": [("coordinator", True), (None, False)], "outbox": [(None, False), ("broker", True)]}


def test_streams_are_named_by_what_a_fault_hits_so_that_one_fault_more_shifts_no_other() -> None:
    two = [fault("crash"), fault("crash")]
    few, more = (fault_plan(chain(2, faults=faults), strategy("2pc")) for faults in (two, [fault("loss"), *two]))
    assert [one.stream for one in few] == [one.stream for one in more[1:]]
    assert len({one.stream for one in more}) == 3


def test_overlapping_faults_end_with_the_last_one() -> None:
    nesting, told = Nesting(), list[str]()
    first, second = (nesting.begin("pause", "s0", lambda: told.append("stop"), lambda: told.append("go")) for _ in "ab")
    first()
    assert told == ["stop", "stop"]
    second()
    assert told == ["stop", "stop", "go"]
