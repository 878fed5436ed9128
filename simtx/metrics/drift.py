"""Drift at the end of a run: conserved sums, the distance to what the outcomes call for, and broken bounds.

Every host hands over its last values by service and key, and gets the same numbers by the same definitions (docs/metrics.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from simtx.metrics.rundata import ConservedQuantity
from simtx.protocols.operations import FirstValues

if TYPE_CHECKING:
    from simtx.metrics.ledger import TransactionLedger
    from simtx.scenario import Invariant, Scenario

Values: TypeAlias = Mapping[str, Mapping[str, float]]
"""Last committed values by service and key; keys that nobody wrote may be left out."""

_NOTHING: Final = 1e-6


def conserved(scenario: Scenario) -> list[Invariant]:
    """The conserved quantities of a scenario, in its order."""
    return [invariant for invariant in scenario.invariants if invariant.kind == "conserved"]


def weights(scenario: Scenario, service: str) -> list[tuple[str, tuple[float, ...]]]:
    """Weights of the keys of one service in each conserved quantity: (key prefix, one weight a quantity)."""
    quantities = conserved(scenario)
    found: dict[str, list[float]] = {}
    for index, invariant in enumerate(quantities):
        for owner, prefix, weight in invariant.terms:
            if owner == service:
                found.setdefault(prefix, [0.0] * len(quantities))[index] += weight
    return [(prefix, tuple(factors)) for prefix, factors in found.items()]


def shifts(
    changes: Mapping[str, tuple[float, float]], weighted: Sequence[tuple[str, tuple[float, ...]]]
) -> list[float] | None:
    """Amounts by which changes of values (old, new) by key move every conserved quantity, or None if by nothing."""
    moved: list[float] | None = None
    for key, (old, new) in changes.items():
        for prefix, factors in weighted:
            if key.startswith(prefix):
                if moved is None:
                    moved = [0.0] * len(factors)
                for index, factor in enumerate(factors):
                    moved[index] += factor * (new - old)
    return moved


def quantities(scenario: Scenario, ledger: TransactionLedger, window: float) -> list[ConservedQuantity]:
    """Drift of every conserved quantity over the measured window, which is so many seconds long."""
    span = window or math.nan
    return [
        ConservedQuantity(
            invariant.name,
            invariant.unit,
            gauge.net_integral / span,
            gauge.gross_integral / span,
            gauge.peak,
            gauge.violated / span,
            gauge.net,
        )
        for invariant, gauge in zip(conserved(scenario), ledger.gauges, strict=True)
    ]


def residual(scenario: Scenario, values: Values, expected: Values) -> float:
    """Sum over all keys of the distance between the last value and the one that the outcomes call for (metric M7).

    Args:
        scenario: The scenario.
        values: Last values.
        expected: What the transactions whose effects ought to be there have added, by service and key.
    """
    total = 0.0
    for name, service in scenario.services.items():
        present, wanted = values.get(name, {}), expected.get(name, {})
        exact, prefixes = _overwritten(scenario, name)
        initial = FirstValues(service.store.initial)
        distances = {}
        for key, first in initial.each(present.keys() | wanted.keys()):
            distance = abs(present.get(key, first) - first - wanted.get(key, 0))
            if distance > _NOTHING:
                distances[key] = distance
        for key in sorted(distances):
            if key in exact or key.startswith(prefixes):
                continue  # the last writer wins: no sum of changes says what should be there
            total += distances[key]
    return total


def _overwritten(scenario: Scenario, service: str) -> tuple[set[str], tuple[str, ...]]:
    """Keys of a service that some step sets, and prefixes of those that are templates."""
    keys = {
        operation.key
        for step in scenario.transaction.steps
        if step.service == service
        for operation in (*step.operations, *step.compensation)
        if operation.kind == "set"
    }
    return {key for key in keys if "{" not in key}, tuple(key.split("{")[0] for key in keys if "{" in key)


def bounds_violated(scenario: Scenario, values: Values) -> list[str]:
    """One line for every last value that is outside its bounds."""
    broken = []
    for invariant in scenario.invariants:
        if invariant.kind != "bounds":
            continue
        low, high = invariant.low, invariant.high
        outside = [
            (key, value)
            for key, value in values.get(invariant.service, {}).items()
            if ((low is not None and value < low) or (high is not None and value > high))
            and key.startswith(invariant.prefix)
        ]
        broken += [f"{invariant.name}: {invariant.service}.{key} = {value:g}" for key, value in sorted(outside)]
    return broken
