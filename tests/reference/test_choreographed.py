"""Choreographed sagas for real: joins whose processes are killed, and a monitor that is a process of its own."""

from __future__ import annotations

import pytest

import simtx
from simtx.reference.node.crash_points import CrashPoint
from simtx.scenario import Scenario
from tests.reference.test_execute import assert_sound, lab, outcomes


def diamond(**more: object) -> Scenario:
    """Four services: a first step, two branches, of which one may refuse, and a join, which may refuse, too."""
    return lab(4, refusal=0.2, **more).replace(  # type: ignore[arg-type]
        **{
            "transaction.steps.step1.after": ["step0"],
            "transaction.steps.step2.after": ["step0"],
            "transaction.steps.step2.refusal": 0.2,
            "transaction.steps.step3.after": ["step1", "step2"],
        }
    )


@pytest.mark.parametrize(
    ("node", "effect", "before"),
    [
        ("s3", "Transact:count", False),
        pytest.param("s3", "Acknowledge", True, marks=pytest.mark.heavy),
        pytest.param("s1", "Transact:compensation", True, marks=pytest.mark.heavy),
    ],
)
def test_a_join_that_is_killed_goes_on_from_its_rows(node: str, effect: str, before: bool) -> None:
    """SIGKILL between the row of a report and its acknowledgement, before it, and on the way back: outcomes are those of the simulation."""
    point = CrashPoint("place", effect=effect, before=before, downtime=0.2)  # the first time
    run = simtx.execute(diamond(), "choreography:monitor=true", seed=3, kills={node: [point]})
    assert {one.node for one in run.trace if one.kind == "crash"} == {node}
    assert outcomes(run) == outcomes(simtx.simulate(diamond(), "choreography:monitor=true", seed=3))
    assert {"committed", "compensated"} <= set(outcomes(run))
    assert_sound(run)
    assert any(one.kind == "deliver" and one.node == "monitor" for one in run.trace)
