"""Arrival times in bulk are those that come one by one, down to the last bit."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, islice
from typing import Any

import pytest

from simtx.scenario import load
from simtx.workload.planner import arrival_pages, arrivals
from simtx.workload.streams import Streams

_KINDS: dict[str, dict[str, Any]] = {
    "poisson": {"rate": 70.0},
    "deterministic": {"rate": 70.0},
    "bursty": {"rate": 10.0, "burst_rate": 300.0, "burst_on": 2.0, "burst_off": 5.0},
    "profile": {"profile": ((0.0, 5.0), (10.0, 200.0), (60.0, 20.0))},
    "trace": {"trace_times": tuple(0.1 * number for number in range(2500))},
}


@pytest.mark.parametrize("kind", _KINDS)
def test_pages_hold_the_times_of_the_stream(kind: str) -> None:
    workload = replace(load("checkout").workload, kind=kind, **_KINDS[kind])
    one_by_one = list(islice(arrivals(workload, Streams(7, 3)), 2600))
    pages = list(islice(arrival_pages(workload, Streams(7, 3)), 3))
    assert all(len(page) <= 1024 for page in pages)
    assert list(chain.from_iterable(pages))[: len(one_by_one)] == one_by_one


def test_a_closed_workload_has_no_times_of_its_own() -> None:
    workload = replace(load("checkout").workload, kind="closed")
    assert list(arrival_pages(workload, Streams(1))) == []
