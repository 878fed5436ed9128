"""Rare faults: the time is divided into strata, whose weights are shares of the time."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import simtx
from simtx.errors import ScenarioError
from simtx.scenario import Scenario
from simtx.scenario.strata import strata

OUTAGE = {"kind": "broker-outage", "every": "7d", "duration": "1h"}
CRASH = {
    "kind": "crash",
    "node": "receiver",
    "every": {"distribution": "exponential", "average": "30d"},
    "duration": "20s",
}


def divided(faults: list[dict[str, Any]], **changes: Any) -> Scenario:
    return simtx.load("transfer").replace(
        **{
            "run.transactions": None,
            "run.duration": "300s",
            "run.warmup": "3s",
            "run.stratify": True,
            "faults": faults,
            **changes,
        }
    )


def test_an_outage_of_an_hour_a_week_has_a_run_of_its_own_and_the_week_its_share():
    quiet, outage = strata(divided([OUTAGE]))
    assert outage.name == "broker-outage"
    assert outage.period == 7 * 86400 + 3600  # from one beginning to the next
    assert outage.length == 60 + 3600 + 3600  # lead, outage, and as long again to recover
    assert outage.weight == outage.length / outage.period
    assert quiet.weight + outage.weight == 1
    assert quiet.scenario.faults == ()
    (fault,) = outage.scenario.faults
    assert (fault.at, fault.every, fault.duration.mean()) == (63.0, None, 3600.0)
    assert outage.scenario.run.duration == 3 + outage.length


def test_faults_at_a_time_are_in_every_stratum():
    scheduled = {"kind": "slow", "node": "sender", "at": "10s", "duration": "5s", "factor": 2}
    for part in strata(divided([scheduled, OUTAGE])):
        assert part.scenario.faults[0].kind == "slow"


def test_each_node_of_a_star_has_a_stratum():
    parts = strata(divided([{**CRASH, "node": "*"}]))
    assert [one.name for one in parts] == ["quiet", "crash of sender", "crash of receiver", "crash of hub"]
    assert {one.scenario.faults[0].node for one in list(parts)[1:]} == {"sender", "receiver", "hub"}
    assert parts["crash of hub"].period == 30 * 86400 + 20


def test_two_faults_of_one_name_are_numbered_and_their_overlap_is_said():
    parts = strata(divided([CRASH, CRASH]))
    assert [one.name for one in parts] == ["quiet", "crash of receiver", "crash of receiver #2"]
    assert parts.overlap == parts["crash of receiver"].weight * parts["crash of receiver #2"].weight


@given(every=st.floats(3600, 1e7), lasts=st.floats(1, 600), recovery=st.floats(1, 900))
def test_the_weights_are_positive_and_one_together(every: float, lasts: float, recovery: float):
    fault = {"kind": "crash", "node": "hub", "every": f"{every}s", "duration": f"{lasts}s"}
    parts = strata(divided([fault], **{"run.recovery": f"{recovery}s"}))
    assert math.isclose(sum(one.weight for one in parts), 1.0)
    assert all(one.weight > 0 for one in parts)


def test_the_parts_are_scenarios_that_can_be_simulated():
    part = strata(divided([CRASH], **{"run.recovery": "10s", "workload.rate": "2/s"}))["crash of receiver"]
    assert simtx.simulate(part.scenario, "saga").summary["faults"] == 1


@pytest.mark.parametrize(
    ("faults", "changes", "line"),
    [
        ([OUTAGE], {"run.duration": None, "run.transactions": 100}, "needs 'duration'"),
        ([{"kind": "crash", "node": "hub", "at": "5s", "duration": "1s"}], {}, "no fault with 'every'"),
        ([OUTAGE], {"run.stratify": None, "run.recovery": "5s"}, "belongs to stratify"),
    ],
)
def test_a_scenario_that_cannot_be_divided_is_refused_when_it_is_loaded(faults, changes, line):
    with pytest.raises(ScenarioError, match=line):
        divided(faults, **changes)


@pytest.mark.parametrize(
    ("faults", "changes", "line"),
    [
        ([{**OUTAGE, "every": "1h"}], {}, "is not rare"),
        ([{**CRASH, "every": "4min"}, {**CRASH, "every": "4min"}], {}, "of the time, which is not rare"),
        ([OUTAGE], {"workload": {"kind": "profile", "profile": [["0s", "5/s"], ["60s", "9/s"]]}}, "same at all times"),
    ],
)
def test_what_is_not_rare_or_not_steady_is_refused(faults, changes, line):
    with pytest.raises(ScenarioError, match=line):
        strata(divided(faults, **changes))


def test_one_run_of_it_is_refused_with_what_to_do_instead():
    with pytest.raises(ScenarioError, match=r"simtx\.strata\(scenario\)"):
        simtx.simulate(divided([OUTAGE]), "saga")
