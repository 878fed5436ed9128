"""Recovery from each fault: how much piled up, and how long after its end everything was back at the level before it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, assert_never

import numpy as np
import pandas as pd

from simtx.metrics import timeline
from simtx.metrics.rundata import RunData, Struck
from simtx.protocols.names import BROKER, VOTE_STORE
from simtx.scenario.fault_kinds import FAULT_KINDS

if TYPE_CHECKING:
    from simtx.scenario import Fault

_BEFORE: Final = 20  # samples before a fault; the highest of them is the level before it
_TOLERANCE: Final = 1e-9


def target(fault: Fault, *, votes: bool = True) -> str:
    """Target of a fault of a scenario: a node, or links.

    Args:
        fault: The fault.
        votes: Whether there is a vote store. If not, a fault that cuts off the region in which it would be does not name it.
    """
    match FAULT_KINDS[fault.kind].place:
        case "broker":
            return BROKER
        case "vote-store":
            return VOTE_STORE
        case "node" | "service" | "provider":
            return fault.node
        case "links":
            pass
        case place:
            assert_never(place)
    if not fault.a:
        return "all links"
    a, b = (
        [name for name in side if votes or name != VOTE_STORE] or list(side)  # one that is named alone is meant
        for side in (fault.a, fault.b)
    )
    return f"{'+'.join(a)} {'>' if fault.one_way else '-'} {'+'.join(b) or 'all others'}"


def frame(faults: Sequence[Struck], samples: pd.DataFrame, end: float) -> pd.DataFrame:
    """One row for each blow of a fault; times in seconds, as exact as the samples are close.

    Backlog, transactions in flight and gross drift are back when none is higher than its highest value in the 20 samples before the fault.

    Args:
        faults: In the order of their beginnings.
        samples: The timeline.
        end: End of the run, in seconds.
    """
    time = samples["time_s"].to_numpy()
    levels = {
        "backlog": timeline.backlog(samples),
        "in_flight": samples["in_flight"].to_numpy(),
        "drift": samples["drift_gross"].to_numpy(),
    }
    rows = []
    for one in faults:
        first = int(np.searchsorted(time, one.begin, side="left"))
        before = {
            name: float(values[max(0, first - _BEFORE) : first].max(initial=0.0)) for name, values in levels.items()
        }
        behind = time >= one.end
        for name, values in levels.items():
            behind &= values <= before[name] + _TOLERANCE * max(1.0, before[name])
        back = int(np.argmax(behind)) if behind.any() else None
        row: dict[str, object] = {
            "fault": one.fault,
            "kind": one.kind,
            "target": one.target,
            "begin_s": one.begin,
            "end_s": one.end,
            "recovery_s": math.inf if back is None else float(time[back] - one.end),
            "watched_s": max(0.0, end - one.end),
        }
        for name, values in levels.items():
            row[f"{name}_before"] = before[name]
            row[f"{name}_peak"] = float(values[first : None if back is None else back + 1].max(initial=before[name]))
        rows.append(row)
    names = ["fault", "kind", "target", "begin_s", "end_s", "recovery_s", "watched_s"]
    return pd.DataFrame(rows, columns=[*names, *(f"{name}_{what}" for name in levels for what in ("before", "peak"))])


def figures(data: RunData) -> dict[str, float]:
    """``recovery_s``, of the fault that took longest, and ``backlog_peak``, the most that waited after the warm-up."""
    found = frame(data.struck, timeline.frame(data), data.end)["recovery_s"] if data.struck else ()
    rows = timeline.samples(data)
    columns = dict(zip(data.timeline.names, rows.T, strict=True))
    measured = timeline.waiting(len(rows), columns)[columns["time_s"] >= data.warmup]
    return {
        "recovery_s": max(map(float, found), default=math.nan),
        "backlog_peak": float(measured.max()) if len(measured) else math.nan,
    }
