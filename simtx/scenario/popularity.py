"""Demand for the most popular key of each service: what makes a lock a bottleneck."""

from __future__ import annotations

import math
import sys
from collections import Counter
from string import Formatter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from simtx.scenario.model import Scenario

_EXACT: Final = 1000  # ranks that are added one by one


def hottest(scenario: Scenario) -> dict[str, tuple[str, float]]:
    """Template of the key that is locked most often, by service, and how often a transaction wants its most popular value.

    Of a key without parameters it is 1; of one with the transaction's number it is 0, and such keys are left out. Steps that name the
    same key on one service are one branch, or come one after the other: each counts.
    """
    shares: dict[tuple[str, str], float] = {}
    for step in scenario.transaction.steps:
        locking = scenario.services[step.service].store.isolation == "serializable"
        keys = {o.key for o in step.operations if o.kind in ("add", "set") or (locking and o.kind == "read")}
        for key in keys:
            share = 1.0
            for _, name, _, _ in Formatter().parse(key):
                if name is not None:
                    share *= 0.0 if name == "tx" else _top(scenario, name)
            if share:
                shares[step.service, key] = shares.get((step.service, key), 0.0) + share
    found: dict[str, tuple[str, float]] = {}
    for (service, key), share in shares.items():
        if share > found.get(service, ("", 0.0))[1]:
            found[service] = key, share
    return found


def _top(scenario: Scenario, name: str) -> float:
    """Probability of the most popular value of a key parameter."""
    column = scenario.workload.trace_parameters.get(name)
    if column:
        return max(Counter(column).values()) / len(column)
    parameter = scenario.transaction.parameters[name]
    if parameter.population is None:
        return 0.0
    if parameter.popularity == "uniform":
        return 1.0 / parameter.population
    return 1.0 / _harmonic(parameter.population, parameter.exponent)


def _harmonic(count: int, exponent: float) -> float:
    """Sum of ``rank ** -exponent`` over the ranks from 1 to `count`.

    A file may state any population, so only the first ranks are added one by one; the rest is the formula of Euler and Maclaurin, whose first term
    left out is below 1e-14 of the sum there.
    """
    exact = min(count, _EXACT)
    total = math.fsum(rank**-exponent for rank in range(1, exact + 1))
    if count == exact:
        return total
    first, last = float(exact), float(min(count, sys.float_info.max))
    steps, power = math.log(last / first), 1 - exponent
    area = first**power * math.expm1(power * steps) / power if power else steps
    ends = (last**-exponent - first**-exponent) / 2
    slopes = exponent * (first ** (-exponent - 1) - last ** (-exponent - 1)) / 12
    return float(total + area + ends + slopes)
