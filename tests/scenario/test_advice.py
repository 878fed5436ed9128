"""A scenario that cannot mean what it says is refused, or warned about when it is loaded: faults, triggers, capacities, size."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest

from simtx.errors import ScenarioError
from simtx.protocols import (
    STRATEGIES,
    Saga,
    choreographed_service,
    cornus_coordinator,
    cornus_member,
    cornus_participant,
    dual_write,
    outbox,
    paxos_leader,
    paxos_member,
    paxos_participant,
    relay,
    saga,
    saga_participant,
    tcc,
    tcc_participant,
    two_phase_coordinator,
    two_phase_execution,
    two_phase_last,
    two_phase_participant,
    two_phase_presumed,
    two_phase_termination,
)
from simtx.protocols.extras import extras
from simtx.scenario import Scenario, advice, from_dict
from simtx.scenario.advice import size, unreachable
from simtx.scenario.popularity import hottest


@pytest.fixture
def timed(purchase: dict[str, Any]) -> dict[str, Any]:
    """The purchase, for a minute with a minute to drain."""
    return {**purchase, "run": {"duration": "60s", "drain": "60s"}}


def with_fault(raw: dict[str, Any], **fault: Any) -> Scenario:
    return from_dict({**raw, "faults": [{"kind": "crash", "node": "bank", "duration": "1s", **fault}]})


@pytest.mark.parametrize(
    ("at", "words"),
    [
        ("59s", ""),
        (
            "61s",
            "faults[0]: begins at 61 s, after the last arrival, at 1 min: only what is still open then meets it",
        ),
        ("2min", "faults[0]: begins at 2 min, after the run has ended (the last arrival, at 1 min, and run.drain)"),
    ],
)
def test_a_fault_after_the_end_of_the_run_is_said(timed: dict[str, Any], at: str, words: str) -> None:
    assert with_fault(timed, at=at).warnings == ([words] if words else [])


@pytest.mark.parametrize(
    ("node", "trigger", "words"),
    [
        ("hub", {"transaction": 1, "effect": "Prepare"}, "can never strike: a hub has no store and no outbox"),
        ("hub", {"transaction": 1, "effect": "Append:commit"}, ""),
        ("bank", {"transaction": 1, "effect": "Prepare"}, ""),
        (
            "bank",
            {"transaction": 9000, "effect": "Prepare"},
            "transaction 9000 is not expected to arrive: about 3,600 do in 1 min",
        ),
        ("idle", {"transaction": 1, "effect": "Message"}, "can never strike: no step runs on 'idle'"),
    ],
)
def test_a_trigger_that_can_never_strike_is_said(
    timed: dict[str, Any], node: str, trigger: dict[str, Any], words: str
) -> None:
    timed["services"] = {**timed["services"], **({"idle": {"service_time": 0.001}} if node == "idle" else {})}
    lines = [line for line in with_fault(timed, node=node, trigger=trigger).warnings if "trigger" in line]
    assert len(lines) == bool(words)
    assert all(words in line for line in lines)


def test_a_network_in_which_nothing_arrives_is_refused(timed: dict[str, Any]) -> None:
    with pytest.raises(ScenarioError, match=r"network\.loss: is 1: no message would ever arrive"):
        from_dict({**timed, "network": {"loss": 1.0}})
    assert from_dict({**timed, "network": {"loss": 0.99}}).warnings == []


def test_a_link_on_which_nothing_arrives_is_said(timed: dict[str, Any]) -> None:
    links = [
        {"from": "near", "to": "far", "latency": "1ms", "loss": 1.0},
        {"from": "far", "to": "near", "latency": "1ms"},
    ]
    services = {**timed["services"], "bank": {**timed["services"]["bank"], "zone": "far"}}
    services["shop"] = {**services["shop"], "zone": "near"}
    network = {"zones": ["near", "far"], "latency": "1ms", "links": links}
    lines = from_dict({**timed, "services": services, "network": network}).warnings
    assert [line for line in lines if "is lost" in line] == [
        "network: every message from 'near' to 'far' is lost: nothing between them can ever end; a partition that heals is a fault"
    ]


def test_capacity_is_said_from_ninety_per_cent_on(purchase: dict[str, Any]) -> None:
    scenario = from_dict(purchase)
    assert scenario.replace(**{"workload.rate": 112}).warnings == []
    (line,) = scenario.replace(**{"workload.rate": 113}).warnings
    assert line == (
        "services.bank: nearly saturated, utilisation 0.90 at 113/s with 1 worker by service times alone; it takes 125/s at most"
    )


def test_the_lock_of_a_popular_key_is_a_capacity(purchase: dict[str, Any]) -> None:
    """One account for everybody, whose row is locked for a forced write of 20 ms at least: 60 times a second is too often."""
    purchase["transaction"]["steps"][1]["operations"][0]["key"] = "charged:all"
    purchase["services"]["bank"]["store"] = {"log": {"forced_write": "20ms"}}
    scenario = from_dict(purchase)
    assert hottest(scenario)["bank"] == ("charged:all", 1.0)
    (line,) = (line for line in scenario.warnings if "most popular key" in line)
    assert line.startswith(
        "services.bank: the most popular key 'charged:all' is wanted 60 times a second, and its lock is held for"
    )
    assert line.endswith("a forced write of 20 ms at least: 1.20 of the time")


def test_the_most_popular_key_of_a_zipf_law(purchase: dict[str, Any]) -> None:
    """With exponent 1 and three keys the first one has 1 / (1 + 1/2 + 1/3) of all; a key of one's own is no bottleneck."""
    purchase["transaction"]["parameters"]["account"] = {"population": 3, "popularity": "zipf", "exponent": 1}
    purchase["transaction"]["steps"][1]["operations"][0]["key"] = "charged:{account}"
    found = hottest(from_dict(purchase))
    assert found["bank"] == ("charged:{account}", pytest.approx(6 / 11))


def test_a_run_that_would_not_fit_memory_or_patience_is_said_with_the_estimate(timed: dict[str, Any]) -> None:
    scenario = from_dict(timed)
    assert list(size(scenario, memory=1e9)) == []
    (line,) = size(scenario, memory=1e6)
    assert line.startswith(
        "run: about 3,600 transactions need about 0.0 GB of memory, of 0.0 GB that are free; play several"
    )
    (line,) = size(scenario.replace(**{"run.duration": "30d"}), memory=1e13)
    assert (
        line
        == "run: about 155,520,000 transactions take about 518 min for each strategy and replication in the interpreted engine, a tenth of it in the fast one"
    )


def test_a_trigger_that_can_never_strike_under_a_strategy_is_said_before_the_run(timed: dict[str, Any]) -> None:
    """2pc prepares and a saga does not; an outbox has no hub; only services publish."""
    prepares = with_fault(timed, node="bank", trigger={"transaction": 1, "effect": "Prepare"})
    asked = {name: STRATEGIES[name]() for name in ("2pc", "saga", "outbox")}
    line = "faults[0].trigger: can never strike under saga, outbox, no machine of which asks for 'Prepare'"
    assert unreachable(prepares, asked) == [line]
    assert unreachable(prepares, {"mine": type("Mine", (Saga,), {})()}) == []
    at_hub = with_fault(timed, node="hub", trigger={"transaction": 1, "effect": "Publish"})
    assert "only services ask for 'Publish', no hub does" in at_hub.warnings[0]
    no_hub = with_fault(timed, node="hub", trigger={"transaction": 1, "effect": "Append:commit"})
    assert unreachable(no_hub, asked) == ["faults[0].trigger: can never strike under outbox, which has no hub"]


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_what_the_built_in_strategies_ask_stores_and_brokers_for_is_known(name: str) -> None:
    """By the sources of their modules: an effect that one of them makes and that the table lacks would make the warning wrong."""
    modules = {
        "2pc": (
            two_phase_coordinator,
            two_phase_execution,
            two_phase_last,
            two_phase_participant,
            two_phase_presumed,
            two_phase_termination,
        ),
        "paxos-commit": (paxos_leader, paxos_member, paxos_participant),
        "cornus": (cornus_coordinator, cornus_member, cornus_participant),
        "tcc": (tcc, tcc_participant),
        "saga": (saga, saga_participant),
        "outbox": (outbox, relay),
        "choreography": (choreographed_service, outbox, relay),
        "dual-write": (dual_write,),
    }[name]
    text = "".join(map(inspect.getsource, modules))
    shared = {one.capitalize() for one in re.findall(r"\b(COMMIT|ROLLBACK)\b", text)}  # of `commit_machine`
    made = (set(re.findall(r"\b([A-Z]\w+)\(", text)) | shared) & set(advice._ASKED_BY_SOME)
    assert made == set(extras(STRATEGIES[name]()).asks)
