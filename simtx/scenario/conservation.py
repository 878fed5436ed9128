"""Conserved sums, checked without a run: what a transaction does to them, as a sum of constants and parameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from simtx.scenario import schema
from simtx.scenario.problems import Problem

Change: TypeAlias = dict[str | None, float]
"""Coefficient by number parameter; None for the constant part."""

_NOTHING = 1e-9


def conservation(file: schema.ScenarioFile) -> Iterator[Problem]:
    """Sums that a complete transaction changes, or that a compensation does not restore.

    A sum with a `set`, or with a prefix that fits some values of a key template and not others, cannot be judged here; the run does.
    """
    for position, invariant in enumerate(file.invariants):
        if invariant.kind != "conserved":
            continue
        whole: Change = {}
        known = True
        for step_position, step in enumerate(file.transaction.steps):
            action = _change(invariant, step.service, step.operations)
            undone = _change(invariant, step.service, step.compensation)
            if action is None or undone is None:
                known = False
                break
            _add(whole, action)
            if step.kind == "compensatable":
                rest: Change = {}
                _add(rest, action)
                _add(rest, undone)
                if text := _text(rest):
                    yield (
                        ("transaction", "steps", step_position, "compensation"),
                        f"does not restore the invariant '{invariant.name}': '{step.name}' and its compensation together change it by {text}",
                    )
        if known and (text := _text(whole)):
            yield (
                ("invariants", position),
                f"a complete transaction changes '{invariant.name}' by {text}; the sum must stay what it was",
            )


def _add(total: Change, change: Change) -> None:
    for parameter, amount in change.items():
        total[parameter] = total.get(parameter, 0.0) + amount


def _change(invariant: schema.InvariantFile, service: str, operations: Sequence[schema.OperationFile]) -> Change | None:
    """Amount by which the operations change the sum; None if that depends on more than constants and parameters."""
    change: Change = {}
    for operation in operations:
        if operation.kind == "read":
            continue
        for term in invariant.terms:
            if term.service != service:
                continue
            fixed, _, variable = operation.key.partition("{")
            if fixed.startswith(term.prefix):
                if operation.kind == "set":
                    return None
                amount = operation.amount if operation.amount is not None else 1.0
                _add(change, {operation.parameter: term.weight * amount})
            elif variable and term.prefix.startswith(fixed):
                return None
    return change


def _text(change: Change) -> str:
    """``-1 * price``, ``5``; empty if nothing changes."""
    parts = [
        f"{amount:+g}" + (f" * {parameter}" if parameter is not None else "")
        for parameter, amount in change.items()
        if abs(amount) > _NOTHING
    ]
    return " ".join(parts)
