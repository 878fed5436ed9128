"""What a review of the real host has found: each of these was wrong once."""

from __future__ import annotations

import os

import pytest

import simtx
from simtx.metrics.replay import data_from_trace
from simtx.metrics.trace import Trace, TraceEvent
from tests.reference.test_execute import assert_sound, lab


def entry(number: int, time: float, kind: str, node: str = "", *, name: str = "", detail: str = "") -> TraceEvent:
    return TraceEvent(number, time, kind, node, -1, None, "", "", name, detail)


def test_a_relay_that_is_killed_does_not_free_the_workers_of_the_service_beside() -> None:
    trace = Trace(
        [
            entry(0, 0.0, "open"),
            entry(1, 0.25, "serve", "s0"),
            entry(2, 0.375, "crash", "s0", detail="s0.relay"),
            entry(3, 0.5, "free", "s0"),
            entry(4, 1.0, "close"),
            entry(5, 1.0, "end", detail="6"),
        ]
    )
    assert data_from_trace(trace, lab()).utilisation["s0"] == 0.25 / 2  # of two workers


def open_files() -> list[str]:
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            continue
    return found


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors as Linux lists them")
@pytest.mark.parametrize(("strategy", "broker"), [("2pc", "embedded"), ("outbox", "nats")])
def test_a_run_leaves_no_open_files_and_sockets_in_its_caller(strategy: str, broker: str) -> None:
    scenario = lab(transactions=2)
    simtx.execute(scenario, strategy, broker=broker)
    before = open_files()
    simtx.execute(scenario, strategy, broker=broker)
    assert sorted(open_files()) == sorted(before)


def test_users_of_a_closed_workload_begin_at_the_origin_of_the_run() -> None:
    """They think first, and that from the run's zero on; so the first of them is measured, too, as in the simulation."""
    scenario = lab(workload={"kind": "closed", "users": 2, "think_time": 0.01}, transactions=10)
    run = simtx.execute(scenario, "saga")
    assert (run.transactions["arrival_s"] >= 0.01).all()
    assert run.transactions["measured"].all()
    assert_sound(run)
