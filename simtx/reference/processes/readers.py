"""Preparation for the process of a derived store: its description, and the readers, drawn by the streams that the simulator uses."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, Final

from simtx.scenario.distributions import Exponential
from simtx.scenario.infrastructure import pattern_of
from simtx.workload import Streams
from simtx.workload.planner import key_draws

if TYPE_CHECKING:
    from collections.abc import Callable

    from simtx.reference.processes.schedule import Schedule
    from simtx.scenario import DerivedSpec, Scenario

_DELAYS: Final = 1000  # samples of lags and of times to fill, which begin anew when they are used up
_MOST: Final = 200_000  # readers that are drawn; then the first ones come again


def description(spec: DerivedSpec) -> dict[str, Any]:
    """Facts that the process of a derived store, and the services that tell it of their commits, need about it."""
    return {
        "name": spec.name,
        "service": spec.service,
        "pattern": pattern_of(spec.key).pattern,
        "rule": dataclasses.asdict(spec.rule),
        "by": spec.rule.by if spec.rule.update != "none" else "",
        "ttl": spec.ttl,
        "ordered": spec.ordered,
        "loss": spec.loss,
    }


def plan(
    spec: DerivedSpec, scenario: Scenario, schedule: Schedule, seed: int, *, lags: bool, fill_times: bool
) -> dict[str, list[Any]]:
    """Readers of a derived store, and how long things take: gaps and times in seconds.

    Args:
        spec: The derived store.
        scenario: With its parameters.
        schedule: Of the transactions; readers come until the last of them has arrived.
        seed: Of the run.
        lags: Whether the scenario's lags are imitated; else updates are as fast as this machine is.
        fill_times: Whether the scenario's times to fill a copy are.
    """
    streams = Streams(seed)
    component = f"derived:{spec.service}:{spec.key}"
    length = max(schedule.times[-1] if schedule.times else 0.0, scenario.run.duration or 0.0)
    count = min(math.ceil(spec.reads * (1.2 * length + 1.0)), _MOST) if spec.reads else 0
    gap = streams.draws(Exponential(1 / spec.reads), component, "reads") if count else None
    return {
        "gaps": _some(gap, count) if gap is not None else [],
        "keys": _some(key_draws(spec.key, scenario.transaction.parameters, streams, component), count),
        "fill_times": _some(streams.draws(spec.fill_time, component, "fill-time"), _DELAYS) if fill_times else [0.0],
        "lags": _some(streams.draws(spec.lag, component, "lag"), _DELAYS) if lags else [],
    }


def _some(draw: Callable[[], Any], count: int) -> list[Any]:
    return [draw() for _ in range(count)]
