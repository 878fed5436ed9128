"""Requests to the vote store in sequence diagrams: a lane of its own, an arrow there and one back, in this order."""

from __future__ import annotations

import simtx
from simtx.protocols.names import VOTE_STORE
from simtx.report import diagram, sequence


def test_a_request_goes_to_the_lane_of_the_vote_store_and_its_answer_comes_back_below() -> None:
    trigger = {"transaction": 3, "effect": "Answer", "when": "before"}
    scenario = simtx.load("transfer").replace(
        **{"run.transactions": 6, "run.warmup": "0s", "policies.inquiry_timeout": "100ms"},
        faults=[{"kind": "crash", "node": "hub", "duration": "1s", "trigger": trigger}],
    )
    run = simtx.simulate(scenario, "cornus", trace=True)
    drawn = sequence.build(run.trace, 3)
    assert drawn.lanes[-1] == VOTE_STORE
    there = [one for one in drawn.arrows if one.target == VOTE_STORE]
    back = [one for one in drawn.arrows if one.source == VOTE_STORE]
    assert len(there) == len(back) == 4  # two votes, and two questions once the coordinator is gone
    for asked, answer in zip(
        sorted(there, key=lambda one: one.label), sorted(back, key=lambda one: one.label), strict=True
    ):
        assert asked.bottom > asked.top
        assert answer.bottom > answer.top
    last = max(there, key=lambda one: one.top)
    assert min(one.bottom for one in back if one.target == last.source and one.top >= last.top) >= last.bottom
    told = diagram.render(run.trace, 3)
    assert "==> vote-store    log once yes of sender" in told
    assert "<== vote-store    sender: yes" in told
