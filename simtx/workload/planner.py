"""Plans transactions: arrival times, keys, amounts, refusals and service demands, drawn per transaction.

All of it is drawn when a transaction arrives, from streams that know nothing of the strategy: every strategy meets the same
transactions (common random numbers).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from simtx.errors import ScenarioError
from simtx.protocols import Operation, Plan, Step
from simtx.scenario.checks import MOST_TRANSACTIONS
from simtx.scenario.distributions import Exponential
from simtx.workload.streams import BLOCK

if TYPE_CHECKING:
    from simtx.scenario import OperationSpec, Parameter, Scenario, StepSpec, Workload
    from simtx.workload.by_transaction import TransactionStreams
    from simtx.workload.streams import Streams

REFUSE: Final = Operation("", "refuse")
_CACHE: Final = 1024  # filled steps that are kept for each step: frequent keys come again, most others do not


# --- arrival times ------------------------------------------------------------------------------------------------------------


def arrivals(workload: Workload, streams: Streams) -> Iterator[float]:
    """Arrival times of an open workload, in seconds, ascending; without end, except for a trace file."""
    kind = workload.kind
    if kind == "poisson":
        gap = streams.draws(Exponential(1.0 / workload.rate), "workload", "arrivals")
        now = 0.0
        while True:
            now += gap()
            yield now
    elif kind == "deterministic":
        number = 0
        while True:
            number += 1
            yield number / workload.rate
    elif kind == "bursty":
        yield from _bursty(workload, streams)
    elif kind == "profile":
        yield from _profile(workload, streams)
    elif kind == "trace":
        yield from workload.trace_times
    else:
        raise ValueError(f"a {kind} workload has no arrival times of its own")


def arrival_pages(workload: Workload, streams: Streams) -> Iterator[NDArray[np.float64]]:
    """The times of `arrivals`, up to 1,024 at once; a closed workload has none."""
    if workload.kind == "closed":
        return
    if workload.kind == "poisson":
        gaps, rng, last = Exponential(1.0 / workload.rate), streams.generator("workload", "arrivals"), 0.0
        while True:
            page = gaps.sample(rng, BLOCK)
            page[0] += last
            page = np.cumsum(page)  # adds one after the other
            last = page[-1]
            yield page
    times = arrivals(workload, streams)
    while rest := list(islice(times, BLOCK)):
        yield np.array(rest, dtype=float)


def _bursty(workload: Workload, streams: Streams) -> Iterator[float]:
    """A Markov-modulated Poisson process with two phases, each exponentially long: the base rate and the burst rate."""
    unit = streams.draws(Exponential(1.0), "workload", "arrivals")
    phase = streams.draws(Exponential(1.0), "workload", "phases")
    now, bursting = 0.0, False
    while True:
        end = now + phase() * (workload.burst_on if bursting else workload.burst_off)
        rate = workload.burst_rate if bursting else workload.rate
        while rate > 0:
            following = now + unit() / rate
            if following > end:
                break  # memoryless: the rest of the gap is drawn anew in the next phase
            now = following
            yield now
        now, bursting = end, not bursting


def _profile(workload: Workload, streams: Streams) -> Iterator[float]:
    """A Poisson process whose rate is piecewise constant, by inversion of the cumulated rate; the last rate holds for ever."""
    unit = streams.draws(Exponential(1.0), "workload", "arrivals")
    pieces = list(workload.profile)
    now, left = 0.0, unit()
    for position, (start, rate) in enumerate(pieces):
        end = pieces[position + 1][0] if position + 1 < len(pieces) else math.inf
        now = max(now, start)
        while rate > 0 and now + left / rate <= end:
            now += left / rate
            left = unit()
            yield now
        left -= (end - now) * rate if end < math.inf else 0.0
        now = end


# --- one transaction ----------------------------------------------------------------------------------------------------------


MOST_RANKED: Final = 10_000_000
"""Values of a key parameter with a popularity that is not uniform: each has a place in a table."""


class Planner:
    """Makes the plan and the service demands of each transaction.

    Args:
        scenario: Where the steps, parameters and workload are described.
        streams: Random streams of the run.
        own: Random numbers that belong to a transaction.
    """

    def __init__(self, scenario: Scenario, streams: Streams, own: TransactionStreams) -> None:
        count = scenario.expected_transactions()
        if count > MOST_TRANSACTIONS:
            raise ScenarioError(
                f"about {count:,.0f} transactions would arrive, more than the {MOST_TRANSACTIONS:,} that a run may have",
                "run",
            )
        self._specs = scenario.transaction.steps
        self._parameters = {
            name: parameter_draws(name, p, streams, f"parameter:{name}")
            for name, p in scenario.transaction.parameters.items()
        }
        self._given = dict(scenario.workload.trace_parameters)
        self._row = 0
        self._uses = [_uses(spec, self._parameters) for spec in self._specs]
        self._caches: list[dict[object, Step]] = [{} for _ in self._specs]
        self._refusals = [
            (index, streams.uniform(f"step:{spec.name}", "refusal"), spec.refusal)
            for index, spec in enumerate(self._specs)
            if spec.refusal
        ]
        self._demands = [
            streams.draws(scenario.service_time(spec), f"step:{spec.name}", "service-time") for spec in self._specs
        ]
        self._fixed = all(not uses for uses in self._uses)
        self._plain = tuple(_step(spec, {"tx": 0}) for spec in self._specs) if self._fixed else ()
        self._refused = tuple(refused(step) for step in self._plain)
        self.writing = sum(any(o.writes for o in spec.operations) for spec in self._specs)
        self.undo_draws = [
            own.draws(scenario.compensation_time(spec), f"step:{spec.name}", "compensation-time")
            for spec in self._specs
        ]

    def plan(self, tx: int) -> tuple[Plan, list[float]]:
        """The next transaction: its plan and the service demand of each step, in seconds."""
        demands = [draw() for draw in self._demands]
        refusing = [index for index, uniform, chance in self._refusals if uniform() < chance]
        if self._fixed:
            if not refusing:
                return Plan(tx, self._plain), demands
            steps = list(self._plain)
            for index in refusing:
                steps[index] = self._refused[index]
            return Plan(tx, tuple(steps)), demands
        values: dict[str, str | float] = {name: draw() for name, draw in self._parameters.items()}
        if self._given:
            for name, column in self._given.items():
                values[name] = column[self._row]
            self._row += 1
        values["tx"] = tx
        steps = []
        for index, spec in enumerate(self._specs):
            uses = self._uses[index]
            if "tx" in uses:
                step = _step(spec, values)
                steps.append(refused(step) if index in refusing else step)
                continue
            cache = self._caches[index]
            key = values[uses[0]] if len(uses) == 1 else tuple([values[name] for name in uses])
            known = cache.get(key)
            if known is None:
                known = _step(spec, values)
                if len(cache) < _CACHE:
                    cache[key] = known
            steps.append(refused(known) if index in refusing else known)
        return Plan(tx, tuple(steps)), demands


def template(scenario: Scenario) -> Plan:
    """A plan with placeholders for keys and amounts: enough to see its steps, services and order."""
    names: dict[str, str | float] = {name: f"<{name}>" for name in scenario.transaction.parameters}

    def fill(operation: OperationSpec, values: Mapping[str, str | float]) -> Operation:
        key = operation.key.format_map(values)
        return Operation(key, operation.kind, operation.amount or 1, operation.low, operation.high)

    return Plan(0, tuple(_step(spec, {**names, "tx": 0}, fill) for spec in scenario.transaction.steps))


def refused(step: Step) -> Step:
    """The step, refused by a rule of the business."""
    return Step(
        step.index, step.name, step.service, (REFUSE, *step.operations), step.compensation, step.kind, step.after
    )


def _uses(spec: StepSpec, parameters: dict[str, Callable[[], str | float]]) -> tuple[str, ...]:
    operations = (*spec.operations, *spec.compensation)
    return tuple(name for name in (*parameters, "tx") if any(one.uses(name) for one in operations))


def _filled(operation: OperationSpec, values: Mapping[str, str | float]) -> Operation:
    key, amount = operation.key, operation.amount
    if "{" in key:
        key = key.format_map(values)
    if operation.parameter is not None:
        amount *= float(values[operation.parameter])
        if amount == int(amount):
            amount = int(amount)
    return Operation(key, operation.kind, amount, operation.low, operation.high)


def _step(
    spec: StepSpec,
    values: Mapping[str, str | float],
    fill: Callable[[OperationSpec, Mapping[str, str | float]], Operation] = _filled,
) -> Step:
    """A step with the values of the transaction's parameters, and its number, ``tx``."""
    return Step(
        spec.index,
        spec.name,
        spec.service,
        tuple([fill(operation, values) for operation in spec.operations]),
        tuple([fill(operation, values) for operation in spec.compensation]),
        spec.kind,
        spec.after,
    )


class _Names(dict[int, str]):
    """The values of a key parameter by number, made when they are first drawn: there may be any number of them."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def __missing__(self, number: int) -> str:
        name = self[number] = f"{self._prefix}{number}"
        return name


def parameter_draws(name: str, parameter: Parameter, streams: Streams, component: str) -> Callable[[], str | float]:
    """A function that returns the next value of a parameter of the transaction at each call.

    Args:
        name: Of the parameter.
        parameter: What the scenario says of it.
        streams: Random streams of the run.
        component: Whose streams these are.

    Raises:
        ScenarioError: It has too many values that differ in popularity.
    """
    if parameter.population is None:
        if parameter.values is None:
            raise ValueError(f"parameter '{name}' has neither a population nor values")
        draw = streams.draws(parameter.values, component, "value")
        return (lambda: round(draw())) if parameter.integer else draw
    uniform = streams.uniform(component, "key")
    population = parameter.population
    names = _Names(parameter.prefix)
    if parameter.popularity == "uniform":
        return lambda: names[int(uniform() * population)]
    if population > MOST_RANKED:
        raise ScenarioError(
            f"{population:,} is more than the {MOST_RANKED:,} values that may differ in popularity; popularity = 'uniform' takes any number",
            f"transaction.parameters.{name}.population",
        )
    cumulated = cumulated_shares(population, parameter.exponent)

    def blocks() -> Iterator[str]:
        while True:
            for rank in np.searchsorted(cumulated, list(islice(iter(uniform, None), 1024)), side="right").tolist():
                yield names[rank]

    return blocks().__next__


def cumulated_shares(population: int, exponent: float) -> NDArray[np.float64]:
    """Shares of the draws that are for each value of a key parameter or for one before it, the most popular one first."""
    weights = np.arange(1, population + 1, dtype=float) ** -exponent
    cumulated: NDArray[np.float64] = np.cumsum(weights / weights.sum())
    cumulated[-1] = 1.0
    return cumulated


def key_draws(
    template: str, parameters: Mapping[str, Parameter], streams: Streams, component: str
) -> Callable[[], str]:
    """A function that returns the key of the next reader at each call, with parameters as a transaction draws them.

    Args:
        template: Of the key, such as ``stock:{product}``.
        parameters: Of the transaction.
        streams: Random streams of the run.
        component: Whose streams these are.
    """
    draws = {
        name: parameter_draws(name, parameter, streams, f"{component}:{name}")
        for name, parameter in parameters.items()
        if "{" + name + "}" in template
    }
    return lambda: template.format_map({name: draw() for name, draw in draws.items()})
