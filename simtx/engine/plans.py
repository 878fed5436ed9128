"""The plans of a run's transactions in bulk: the same keys, amounts, refusals and demands as `simtx.workload.planner`, drawn from the same streams.

A plan is a shape, shared by all transactions that are refused at the same steps or at none, and *slots*: one for each operation of each step, with the key
and the amount that this transaction has there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from string import Formatter
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from simtx.engine.layout import PAGE, SHAPES
from simtx.engine.opaque import NotCompiled, OpaqueAmount, OpaqueKey
from simtx.protocols import Operation, Plan, Step
from simtx.scenario.distributions import Constant, Distribution
from simtx.workload.planner import MOST_RANKED, cumulated_shares, refused

if TYPE_CHECKING:
    from simtx.scenario import OperationSpec, Parameter, Scenario
    from simtx.workload.streams import Streams

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]
_MOST_KEYS: Final = 20_000_000


class _Keys:
    """A parameter that names keys: numbers behind a prefix."""

    def __init__(self, name: str, parameter: Parameter, streams: Streams) -> None:
        self.prefix = parameter.prefix
        self._rng = streams.generator(f"parameter:{name}", "key")
        self.population = parameter.population or 1
        self._cumulated: Floats | None = None
        if parameter.popularity != "uniform":
            if self.population > MOST_RANKED:
                raise NotCompiled("a parameter has too many values that differ in popularity")
            self._cumulated = cumulated_shares(self.population, parameter.exponent)

    def page(self) -> Numbers:
        """The numbers of the next page of transactions."""
        uniform = self._rng.random(PAGE)
        if self._cumulated is None:
            return (uniform * self.population).astype(np.int64)
        return np.searchsorted(self._cumulated, uniform, side="right")

    def text(self, number: int) -> str:
        """The value with this number."""
        return f"{self.prefix}{number}"


def _blocks(distribution: Distribution, streams: Streams, component: str, purpose: str) -> Iterator[Floats]:
    """Blocks of a stream, as many numbers in each as the stream itself draws at once."""
    if isinstance(distribution, Constant):
        while True:
            yield np.full(PAGE, float(distribution.value))
    rng = streams.generator(component, purpose)
    while True:
        yield np.ascontiguousarray(distribution.sample(rng, PAGE), dtype=np.float64)


class Plans:
    """Makes pages of plans.

    Args:
        scenario: Where the steps, parameters and workload are described.
        streams: Random streams of the run.
        key: Gives the number of a key of a service's store.
        keys: Gives those of many that begin with the same text.
        numbered: Gives the first one of many whose names are a text, a number and another text, and which nothing else names; -1: it cannot.
    """

    def __init__(
        self,
        scenario: Scenario,
        streams: Streams,
        key: Callable[[str, str], int],
        keys: Callable[[str, str, list[str]], list[int]],
        numbered: Callable[[str, str, Numbers, str], int],
    ) -> None:
        specs = scenario.transaction.steps
        self._key, self._new_keys, self._numbered = key, keys, numbered
        self._given = {name: list(column) for name, column in scenario.workload.trace_parameters.items()}
        self._row = 0
        self._names: dict[str, _Keys] = {}
        self._values: dict[str, tuple[Iterator[Floats], bool]] = {}
        for name, parameter in scenario.transaction.parameters.items():
            if name in self._given:
                continue
            if parameter.population is not None:
                self._names[name] = _Keys(name, parameter, streams)
            elif parameter.values is not None:
                self._values[name] = (
                    _blocks(parameter.values, streams, f"parameter:{name}", "value"),
                    parameter.integer,
                )
        self._demands = [
            _blocks(
                spec.service_time or scenario.services[spec.service].service_time,
                streams,
                f"step:{spec.name}",
                "service-time",
            )
            for spec in specs
        ]
        self._refusals = [
            (index, streams.generator(f"step:{spec.name}", "refusal"), spec.refusal)
            for index, spec in enumerate(specs)
            if spec.refusal
        ]
        if len(specs) > 200:
            raise NotCompiled("it has more than 200 steps")
        if 1 << len(self._refusals) > SHAPES:
            raise NotCompiled(f"more than {SHAPES.bit_length() - 1} of its steps may be refused")
        #: (service, operation) of each slot.
        self.slots: list[tuple[str, OperationSpec]] = []
        self.booked: list[int] = []  # slots of actions that add
        self.steps_of: dict[int, int] = {}  # the step of each of these
        self.opaque: dict[int, int] = {}
        self._kept: list[object] = []
        steps = []
        for spec in specs:
            first = len(self.slots)
            actions = tuple(self._slot(spec.service, operation, booked=True) for operation in spec.operations)
            self.steps_of.update(dict.fromkeys(range(first, len(self.slots)), spec.index))
            undoing = tuple(self._slot(spec.service, operation, booked=False) for operation in spec.compensation)
            steps.append(Step(spec.index, spec.name, spec.service, actions, undoing, spec.kind, spec.after))
        self._steps = tuple(steps)
        #: Of each service and key template with one parameter: by the parameter's value one more than the key's number, 0 if no transaction had it.
        self._known: dict[tuple[str, str], npt.NDArray[np.int32]] = {}
        self._uses = [tuple(_fields(operation.key)) for _, operation in self.slots]
        #: Whether all transactions have the same keys and amounts.
        self.shared = not any(
            uses or operation.parameter for uses, (_, operation) in zip(self._uses, self.slots, strict=True)
        )

    def _slot(self, service: str, spec: OperationSpec, *, booked: bool) -> Operation:
        number = len(self.slots)
        self.slots.append((service, spec))
        if booked and spec.kind == "add":
            self.booked.append(number)
        key, amount = OpaqueKey(f"\0key {number}\0"), OpaqueAmount(number + 0.0123)
        self._kept += [key, amount]
        self.opaque[id(key)] = self.opaque[id(amount)] = number
        return Operation(key, spec.kind, amount, spec.low, spec.high)

    def shapes(self, tx: Any) -> list[Plan]:
        """The plan that nobody refuses, and one for each set of steps that may be; the bits of its number say which."""
        plans = [self._steps]
        for index, _, _ in self._refusals:
            plans += [(*steps[:index], refused(steps[index]), *steps[index + 1 :]) for steps in plans]
        return [Plan(tx, steps) for steps in plans]

    def refusing(self, shape: int) -> list[int]:
        """The steps that are refused in plans of this shape."""
        return [index for position, (index, _, _) in enumerate(self._refusals) if shape >> position & 1]

    def page(self, number: int) -> tuple[Floats, Floats, npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
        """The next page: demands, amounts, keys and shapes of `PAGE` transactions."""
        demands: Floats = np.empty((PAGE, len(self._demands)))
        for step, blocks in enumerate(self._demands):
            demands[:, step] = next(blocks)
        shapes = np.zeros(PAGE, dtype=np.uint8)
        for position, (_, rng, chance) in enumerate(self._refusals):
            shapes |= (rng.random(PAGE) < chance).astype(np.uint8) << position
        if self.shared and number:
            return demands, np.zeros(0), np.zeros(0, dtype=np.int32), shapes
        count = 1 if self.shared else PAGE
        amounts = np.zeros((count, len(self.slots)))
        keys = np.zeros((count, len(self.slots)), dtype=np.int32)
        codes, values = self._drawn()
        made: dict[tuple[str, str], npt.NDArray[np.int32]] = {}  # a step and its compensation have the same keys
        for slot, (service, spec) in enumerate(self.slots):
            numbers = made.get((service, spec.key))
            if numbers is None:
                numbers = self._keys(slot, service, spec.key, codes, values, number * PAGE)[:count]
                made[service, spec.key] = numbers
            keys[:, slot] = numbers
            amount: Any = float(spec.amount)
            if spec.parameter is not None:
                amount = amount * values[spec.parameter]() + 0.0
            amounts[:, slot] = amount
        return demands, amounts, keys, shapes

    def _drawn(self) -> tuple[dict[str, Numbers], dict[str, Callable[[], Any]]]:
        """The parameters of a page: numbers of those that name keys, and the values of all."""
        codes = {name: keys.page() for name, keys in self._names.items()}
        values: dict[str, Callable[[], Any]] = {}
        for name, (blocks, integer) in self._values.items():
            block = next(blocks)
            values[name] = _constant(np.rint(block) if integer else block)
        for name, column in self._given.items():
            rows = column[self._row : self._row + PAGE]
            rows += column[-1:] * (PAGE - len(rows))  # of transactions that never come
            values[name] = _given(rows)
        for name, numbers in codes.items():
            values[name] = _texts(self._names[name], numbers)
        self._row += PAGE
        return codes, values

    def _keys(
        self,
        slot: int,
        service: str,
        template: str,
        codes: dict[str, Numbers],
        values: dict[str, Callable[[], Any]],
        first: int,
    ) -> npt.NDArray[np.int32]:
        """Numbers of the keys of one slot."""
        uses = self._uses[slot]
        if not uses:
            return np.full(PAGE, self._key(service, template), dtype=np.int32)
        if len(uses) == 1 and uses[0] in codes and self._names[uses[0]].population <= _MOST_KEYS:
            return self._of_one_parameter(service, template, uses[0], codes[uses[0]])
        columns = {name: values[name]() for name in uses if name != "tx"}
        made = []
        for place in range(PAGE):
            row = {name: _plain(column[place]) for name, column in columns.items()}
            text = template.format_map({**row, "tx": first + place})
            made.append(self._key(service, text))
        return np.array(made, dtype=np.int32)

    def _of_one_parameter(self, service: str, template: str, name: str, codes: Numbers) -> npt.NDArray[np.int32]:
        """Numbers of the keys of one service that differ in one parameter."""
        keys = self._names[name]
        known = self._known.get((service, template))
        if known is None:
            known = self._known[service, template] = np.zeros(keys.population, dtype=np.int32)
        found = known[codes]
        if not found.all():
            fresh = np.sort(codes[found == 0])
            fresh = fresh[np.concatenate([[True], fresh[1:] != fresh[:-1]])]
            known[fresh] = self._made(service, template, name, fresh) + 1
            found = known[codes]
        return found - 1

    def _made(self, service: str, template: str, name: str, codes: Numbers) -> Numbers:
        """Numbers of keys that no transaction had before."""
        before, behind = _around(template, name)
        before += self._names[name].prefix
        if self._alone(service, template, before):
            start = self._numbered(service, before, codes, behind)
            if start >= 0:
                return np.arange(start, start + len(codes))
        texts = [f"{before}{code}{behind}" for code in codes.tolist()]
        return np.array(self._new_keys(service, before, texts))

    def _alone(self, service: str, template: str, before: str) -> bool:
        """Return whether no other template of this service can name a key that begins with this text."""
        others = {spec.key.split("{")[0] for place, spec in self.slots if place == service and spec.key != template}
        return not any(other.startswith(before) or before.startswith(other) for other in others)


def _constant(value: Floats) -> Callable[[], Floats]:
    return lambda: value


def _given(rows: list[Any]) -> Callable[[], Any]:
    def column() -> Any:
        return rows if any(isinstance(value, str) for value in rows) else np.array(rows, dtype=float)

    return column


def _texts(keys: _Keys, numbers: Numbers) -> Callable[[], list[str]]:
    return lambda: [keys.text(number) for number in numbers.tolist()]


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _around(template: str, name: str) -> tuple[str, str]:
    """Texts before and behind the one parameter of a key's template."""
    before, behind = template.split("{" + name + "}", maxsplit=1)
    return before, behind


def _fields(template: str) -> list[str]:
    """Names that a key's template uses."""
    if "{" not in template:
        return []
    return list(dict.fromkeys(name for _, name, _, _ in Formatter().parse(template) if name is not None))


def pointer(array: npt.NDArray[Any]) -> int:
    """Address of an array's memory."""
    address: int = array.ctypes.data
    return address
