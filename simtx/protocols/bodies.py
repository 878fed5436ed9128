"""Bodies of messages: forms that real hosts look at before a machine is given what came from outside.

A machine trusts its peers: it takes a body apart without looking. In a simulation and in the checker peers are machines as well. A frame of a real
network may be well-formed and still be one that no correct peer sends; it has to be refused before it can confuse the machine that it is
meant for. `Machine.bodies` names the form of each kind of message, `Machine.admit` looks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, TypeAlias, get_args

from simtx.protocols.contract import Operation, Plan, Step, StepKind

Form: TypeAlias = Callable[[Any], bool]

MOST_STEPS: Final = 10_000
_ROWS: Final = (tuple, list)
_OPERATIONS: Final = frozenset(("add", "set", "read", "refuse"))
_KINDS: Final = frozenset(get_args(StepKind))


def nothing(body: Any) -> bool:
    """Return whether there is no body."""
    return body is None


def text(body: Any) -> bool:
    """A text."""
    return type(body) is str


def index(body: Any) -> bool:
    """The number of a step."""
    return type(body) is int and 0 <= body < MOST_STEPS


def indexes(body: Any) -> bool:
    """Numbers of steps."""
    return type(body) in _ROWS and all(map(index, body))


def some_indexes(body: Any) -> bool:
    """Numbers of steps, at least one."""
    return indexes(body) and len(body) > 0


def operations(body: Any) -> bool:
    """Operations of a local transaction."""
    return type(body) in _ROWS and all(map(_operation, body))


def names(body: Any) -> bool:
    """Names of nodes."""
    return type(body) in _ROWS and all(map(text, body))


def parts(*forms: Form) -> Form:
    """A tuple with a part of each of these forms, in their order."""

    def fits(body: Any) -> bool:
        return (
            type(body) is tuple
            and len(body) == len(forms)
            and all(form(part) for form, part in zip(forms, body, strict=True))
        )

    return fits


indexed_text: Final = parts(index, text)
"""The number of a step, and a text."""
indexed_operations: Final = parts(index, operations)
"""The number of a step, and its operations."""
operations_of_steps: Final = parts(operations, indexes)
"""Operations, and the numbers of the steps that they belong to."""
operations_of_steps_and_names: Final = parts(operations, indexes, names)
"""Operations, the numbers of the steps that they belong to, and names of nodes."""


def step(body: Any) -> bool:
    """A step of a plan."""
    return (
        isinstance(body, Step)
        and index(body.index)
        and text(body.name)
        and text(body.service)
        and body.kind in _KINDS
        and operations(body.operations)
        and operations(body.compensation)
        and indexes(body.after)
    )


def plan(body: Any) -> bool:
    """The steps of a transaction, in order."""
    return (
        isinstance(body, Plan)
        and type(body.steps) in _ROWS
        and 0 < len(body.steps) <= MOST_STEPS
        and all(map(step, body.steps))
        and all(one.index == position for position, one in enumerate(body.steps))
        and all(before < one.index for one in body.steps for before in one.after)
    )


def _operation(one: Any) -> bool:
    return (
        isinstance(one, Operation)
        and text(one.key)
        and one.kind in _OPERATIONS
        and _number(one.amount)
        and (one.low is None or _number(one.low))
        and (one.high is None or _number(one.high))
    )


def _number(value: Any) -> bool:
    """A number that every store can hold."""
    return type(value) in (int, float) and math.isfinite(value) and abs(value) < 2**63
