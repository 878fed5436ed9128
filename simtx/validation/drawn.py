"""Scenarios that nobody has chosen: what `simtx validate --random` predicts and executes.

A model that is tuned on one scenario fits that scenario. These are drawn from a wide family by a seed: two to five services in a chain or a diamond; hot and
cold keys, refusals, a pivot; work of 5 to 30 ms, loads from 20 to 90 % of saturation, and a failure of each kind. The number of a scenario decides what
should be spread evenly (strategy, load, failure); the seed decides the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from simtx.protocols import Strategy
from simtx.protocols import strategy as resolve
from simtx.reference.processes.backends import can_stop
from simtx.scenario.advice import unreachable
from simtx.scenario.fault_kinds import FAULT_KINDS, FaultKind
from simtx.workload.by_transaction import TransactionStreams
from simtx.workload.planner import Planner
from simtx.workload.streams import Streams

if TYPE_CHECKING:
    from simtx.scenario import Scenario

STRATEGIES: Final = ("2pc", "saga", "outbox")
FAILURES: Final[tuple[FaultKind, ...]] = (
    "crash",
    "partition",
    "slow",
    "pause",
    "loss",
    "store-outage",
    "duplication",
    "reorder",
    "broker-outage",
    "clock-drift",
)
"""Kinds of the failures, of which every other scenario has one: all but those of parts that these scenarios do not have (providers, a vote store)."""
_STRENGTHS: Final[Mapping[FaultKind, float]] = {
    "slow": 3.0,
    "loss": 0.2,
    "duplication": 0.2,
    "reorder": 0.2,
    "clock-drift": 1.5,
}
_ATTEMPTS: Final = 100
_WORKERS: Final = (1, 2, 4)


@dataclass(frozen=True, slots=True)
class Drawn:
    """One scenario that was drawn.

    Attributes:
        number: Which one, from 0.
        scenario: What is played, at a rate of its own that the caller replaces.
        strategy: By whom.
        load: Share of the throughput at saturation.
        failure: Kind of its failure, or None.
        shape: What it is, in a few words.
    """

    number: int
    scenario: Scenario
    strategy: Strategy
    load: float
    failure: FaultKind | None
    shape: str


def drawn(number: int, seed: int, store: str = "sqlite") -> Drawn:
    """The scenario of this number and seed; the same whenever it is asked for.

    Args:
        number: Which one, from 0.
        seed: Seed of all of them.
        store: As in `simtx.execute`; a file cannot have an outage of its own, so that another failure takes its place.
    """
    rng = np.random.default_rng([seed, number])
    name = STRATEGIES[number % len(STRATEGIES)]
    for _ in range(_ATTEMPTS):
        tables, shape = _tables(rng)
        scenario = _scenario(tables, f"drawn-{seed}-{number}")
        strategy = resolve(name, scenario.policies)
        if _plays(scenario, strategy):
            break
    else:
        raise RuntimeError(f"no scenario that '{name}' plays in {_ATTEMPTS} draws")
    # Loads are spread evenly over the numbers (a golden-section sequence), so that few scenarios have some of each.
    load = 0.2 + 0.7 * ((number * 0.6180339887498949 + rng.random() * 0.1) % 1.0)
    failure = FAILURES[number // 2 % len(FAILURES)] if number % 2 else None
    if (failure == "broker-outage" and not strategy.uses_broker) or (failure == "store-outage" and not can_stop(store)):
        failure = "crash"  # nothing would notice the other one
    return Drawn(number, scenario, strategy, round(load, 2), failure, shape)


def fault(kind: FaultKind, scenario: Scenario, at: float, seed: int) -> dict[str, Any]:
    """A failure of this kind, as it stands in a file: of a service of the scenario, of all links, or of the broker."""
    services = list(scenario.services)
    one = services[seed % len(services)]
    traits = FAULT_KINDS[kind]
    entry: dict[str, Any] = {"kind": kind, "at": f"{at:.6g}s", "duration": "1s" if traits.delays else "2s"}
    if traits.strength is not None:
        entry[traits.strength] = _STRENGTHS[kind]
    if traits.place in ("node", "service"):
        entry["node"] = one
    elif kind == "partition":
        entry["a"] = [one]
    return entry


def _plays(scenario: Scenario, strategy: Strategy) -> bool:
    if unreachable(scenario, {strategy.name: strategy}):
        return False
    streams = Streams(1, 0)
    plan, _ = Planner(scenario, streams, TransactionStreams(streams)).plan(0)
    return strategy.check(plan) is None


def _scenario(tables: dict[str, Any], name: str) -> Scenario:
    from simtx.scenario import from_dict

    return from_dict(tables, name=name)


def _tables(rng: np.random.Generator) -> tuple[dict[str, Any], str]:
    count = int(rng.integers(2, 6))
    diamond = count >= 4 and bool(rng.random() < 0.5)
    hot = bool(rng.random() < 0.5)
    keys = int(rng.choice([8, 20, 50])) if hot else 20_000
    last = count - 1
    pivot = (last if diamond else int(rng.integers(1, count))) if rng.random() < 0.5 else None
    names = [f"s{index}" for index in range(count)]
    parallel = set(range(1, count - 1)) if diamond else set()
    services = {
        name: {
            "workers": int(rng.choice(_WORKERS)),
            "service_time": {
                "distribution": "lognormal",
                "average": f"{float(rng.uniform(5, 30)):.4g}ms",
                "sigma": round(float(rng.uniform(0.2, 0.9)), 2),
            },
        }
        for name in names
    }
    steps = []
    refusing = 0
    for index, name in enumerate(names):
        kind = "compensatable" if pivot is None or index < pivot else "pivot" if index == pivot else "retriable"
        step: dict[str, Any] = {
            "name": f"step{index}",
            "service": name,
            "kind": kind,
            "operations": [{"key": "row:{key}", "amount": 1 if index % 2 else -1}],
        }
        if kind == "compensatable":
            step["compensation"] = [{"key": "row:{key}", "amount": -1 if index % 2 else 1}]
        if kind != "retriable" and index and rng.random() < 0.5:
            step["refusal"] = round(float(rng.uniform(0.005, 0.06)), 3)
            refusing += 1
        if diamond:
            step["after"] = (
                [] if index == 0 else ["step0"] if index in parallel else [f"step{i}" for i in sorted(parallel)]
            )
        steps.append(step)
    tables: dict[str, Any] = {
        "title": "A scenario that was drawn",
        "services": services,
        "defaults": {"store": {"initial": {"row:*": 1000}}},
        "transaction": {
            "name": "work",
            "parameters": {"key": {"population": keys, "popularity": "zipf" if hot else "uniform"}},
            "steps": steps,
        },
        "workload": {"kind": "poisson", "rate": 10.0},
        "run": {"transactions": 100, "drain": 60.0},
        "policies": {"poll_interval": 0.02},
        "invariants": [  # what the first step takes the second one gives
            {"name": "sum", "kind": "conserved", "terms": [{"service": name, "prefix": "row:"} for name in names[:2]]}
        ],
    }
    if hot:
        tables["transaction"]["parameters"]["key"]["exponent"] = round(float(rng.uniform(0.5, 1.1)), 2)
    shape = f"{count} services in a {'diamond' if diamond else 'chain'}, {keys} {'hot ' if hot else ''}keys"
    shape += f", {refusing} refusing" if refusing else ""
    return tables, shape + (", a pivot" if any(step["kind"] == "pivot" for step in steps) else "")
