"""Small scenarios for the tests of the simulated world, made through the public `simtx.scenario.from_dict`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from simtx.protocols import DualWrite, Outbox, Saga, Strategy, TwoPhaseCommit
from simtx.scenario import Scenario, from_dict
from simtx.scenario.distributions import Distribution

STRATEGIES: tuple[Strategy, ...] = (TwoPhaseCommit(), Saga(), Outbox(), DualWrite())
SAFE: tuple[Strategy, ...] = STRATEGIES[:3]
"""The strategies that promise to lose and double nothing."""

Duration = float | Distribution


def names(count: int) -> list[str]:
    """Names of the services of a chain."""
    return [f"s{index}" for index in range(count)]


def chain(
    count: int = 3,
    *,
    delay: Duration = 0.001,
    write: Duration = 0.002,
    hub_write: Duration | None = None,
    service_time: Duration = 0.0,
    workers: int = 1000,
    flush: str = "group",
    lock_timeout: float = 5.0,
    rate: float = 1.0,
    transactions: int = 3,
    refusals: Mapping[int, float] | None = None,
    refusing: Collection[int] = (),
    key: str = "k",
    parallel: bool = False,
    **tables: Any,
) -> Scenario:
    """A scenario of `count` services in one zone, each of which adds 1 to one of its keys; equal gaps between arrivals.

    Args:
        count: Number of services, and of steps.
        delay: One-way delay between any two nodes, in seconds.
        write: Time of a forced write of a store.
        hub_write: The same at the hub; None: as `write`.
        service_time: Work of a step.
        workers: Workers of a service.
        flush: How logs share flushes.
        lock_timeout: How long a local transaction waits for a row lock, in seconds.
        rate: Transactions a second.
        transactions: How many arrive.
        refusals: Probability of a refusal by step; of several steps that would refuse, the first one does.
        refusing: Steps whose guard refuses, all of them, whatever the others do.
        key: Template of the key that a step changes.
        parallel: Whether steps are independent of each other, instead of one after the other.
        tables: Further tables of the scenario, merged over those made here.
    """
    services = names(count)
    log = {"forced_write": write, "flush": flush}
    raw: dict[str, Any] = {
        "services": {
            name: {
                "zone": "here",
                "workers": workers,
                "service_time": service_time,
                "store": {"log": dict(log), "lock_timeout": lock_timeout},
            }
            for name in services
        },
        "hub": {"zone": "here", "log": {**log, "forced_write": write if hub_write is None else hub_write}},
        "network": {"zones": ["here"], "latency": delay},
        "broker": {"zone": "here", "ack_latency": 0.0, "redelivery": 5.0},
        "transaction": {
            "steps": [
                {
                    "name": f"step{index}",
                    "service": name,
                    "after": [f"step{index - 1}"] if index and not parallel else [],
                    "operations": [{"key": key, "amount": 1, **({"high": 0} if index in refusing else {})}],
                    "compensation": [{"key": key, "amount": -1}],
                    "refusal": (refusals or {}).get(index, 0.0),
                }
                for index, name in enumerate(services)
            ]
        },
        "workload": {"kind": "deterministic", "rate": rate},
        "run": {"transactions": transactions, "drain": 600.0},
        "invariants": []
        if count == 1
        else [
            {
                "name": "balance",
                "kind": "conserved",
                "terms": [
                    {"service": services[0], "prefix": "k"},
                    {"service": services[-1], "prefix": "k", "weight": -1},
                ],
            }
        ],
    }
    return from_dict(_merged(raw, tables), name="chain")


def _merged(base: dict[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for name, value in change.items():
        old = result.get(name)
        both = isinstance(old, dict) and isinstance(value, Mapping)
        again = both and old.get("kind") == value.get("kind", old.get("kind"))
        result[name] = _merged(old, value) if both and again else value
    return result
