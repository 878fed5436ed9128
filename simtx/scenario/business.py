"""The business transaction of a scenario before keys and amounts are filled in, as plain immutable data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from simtx.protocols.contract import StepKind
from simtx.scenario.distributions import Distribution

Popularity: TypeAlias = Literal["uniform", "zipf"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """Something that is drawn once for each transaction: a key (`population`) or a number (`values`).

    Attributes:
        population: Number of keys.
        popularity: ``uniform``, or ``zipf``: the key of rank r, from 1, is drawn with probability proportional to r^-exponent.
        exponent: Exponent of the Zipf law; 0.99 is that of the YCSB benchmark.
        prefix: Text before the key's rank, counted from 0.
        values: Distribution of a number.
        integer: Whether the number is rounded to a whole one.
    """

    population: int | None = None
    popularity: Popularity = "uniform"
    exponent: float = 0.99
    prefix: str = ""
    values: Distribution | None = None
    integer: bool = False


@dataclass(frozen=True, slots=True)
class OperationSpec:
    """An operation of a step before keys and amounts are filled in.

    Attributes:
        key: Template: ``{name}`` stands for a key parameter, ``{tx}`` for the transaction's number.
        kind: ``add`` to the value, ``set`` it, or ``read`` it.
        amount: The change or the new value; with a `parameter`, what its draw is multiplied with.
        parameter: A number parameter.
        low: Guard: the step is refused if the value would fall below.
        high: Guard: the step is refused if the value would rise above.
    """

    key: str
    kind: Literal["add", "set", "read"] = "add"
    amount: float = 0.0
    parameter: str | None = None
    low: float | None = None
    high: float | None = None

    @property
    def writes(self) -> bool:
        """Return whether it may change the value."""
        return self.kind != "read"

    def uses(self, parameter: str) -> bool:
        """Return whether a parameter, or ``tx``, decides its key or its amount."""
        return self.parameter == parameter or f"{{{parameter}}}" in self.key


@dataclass(frozen=True, slots=True)
class StepSpec:
    """A step of the business transaction before keys and amounts are filled in.

    Attributes:
        index: Position in topological order.
        name: Unique name.
        service: The service that does it.
        kind: ``compensatable``: can be undone; ``pivot``: the point of no return, at most one; ``retriable``: after it, cannot be refused.
        after: Indexes of the steps that come directly before it.
        operations: What it does: one local transaction.
        compensation: What undoes it: one local transaction.
        refusal: Probability that the business says no, whatever the data.
        service_time: Work that it costs; None: the service's `service_time`.
        compensation_time: Work of the compensation; None: the service's, and without that too, that of the action.
    """

    index: int
    name: str
    service: str
    kind: StepKind
    after: tuple[int, ...]
    operations: tuple[OperationSpec, ...]
    compensation: tuple[OperationSpec, ...]
    refusal: float
    service_time: Distribution | None
    compensation_time: Distribution | None


@dataclass(frozen=True, slots=True)
class Transaction:
    """The business transaction: a directed acyclic graph of steps.

    Attributes:
        name: What it is called.
        steps: In a topological order.
        parameters: What is drawn for each transaction, by name.
    """

    name: str
    steps: tuple[StepSpec, ...]
    parameters: Mapping[str, Parameter]
