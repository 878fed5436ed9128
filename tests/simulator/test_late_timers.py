"""Timers belong to the machine that has set them, and are gone with it."""

from __future__ import annotations

import simtx


def test_a_timer_that_rang_while_its_machine_was_busy_is_gone_when_that_is_forgotten() -> None:
    """Few workers and impatient participants: timers ring while tombstones wait for a worker, and a blank machine must not be told of them."""
    scenario = simtx.load("transfer").replace(
        **{
            "workload.rate": 100,
            "run.transactions": 60,
            "run.warmup": "0s",
            "policies.vote_timeout": "200ms",
            "policies.inquiry_timeout": "100ms",
            "policies.acknowledgement_timeout": "200ms",
            **{f"services.{name}.workers": 1 for name in ("sender", "receiver")},
            **{f"services.{name}.service_time": "20ms" for name in ("sender", "receiver")},
        }
    )
    run = simtx.simulate(scenario, "paxos-commit", seed=2, trace="full")
    assert simtx.check_log(run.trace, run.strategy).ok
    assert any(event.name == "fenced" for event in run.trace)  # tombstones did wait
    assert simtx.simulate(scenario, "paxos-commit", seed=2, engine="fast").digest == run.digest
