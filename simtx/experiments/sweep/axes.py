"""Parameters of a sweep: fields of the scenario and options of strategies, and how their values are written.

A parameter is the path of a field (``workload.rate``), an option of a strategy (``outbox:closing``; also one of its policies, as in
``outbox:poll_interval``), or a name of its own that sets several of these at once, each to a multiple of its value:

    rtt = {"network.links[0].latency": 0.5, "network.links[1].latency": 0.5}
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, get_args

from simtx.errors import ScenarioError
from simtx.scenario import schema
from simtx.scenario.distributions import Distribution
from simtx.scenario.fields import written_as
from simtx.scenario.problems import entries, inner
from simtx.scenario.units import duration, hint, number, probability, rate, shown

Named: TypeAlias = Mapping[str, Sequence[str] | Mapping[str, float] | str]
"""Parameters with names of their own: the targets that each sets, a list or a mapping to factors."""
_TOP: Final = re.compile(r"[^.\[]+")
_NAME: Final = re.compile(r"[A-Za-z][\w -]*")
RESERVED: Final = frozenset({"strategy", "replication", "state", "error", "digest", "value", "cell"})
"""Columns of a sweep's frame that no parameter can be called."""


@dataclass(frozen=True, slots=True)
class Target:
    """One thing that a parameter sets.

    Attributes:
        path: Path of a field of the scenario, or of an option of a strategy.
        strategy: The strategy's name; empty for a field.
        factor: What the parameter's value is multiplied with.
    """

    path: str
    strategy: str = ""
    factor: float = 1.0

    def value(self, given: Any, parameter: str) -> Any:
        """The value that it is set to.

        Raises:
            ScenarioError: A value cannot be multiplied.
        """
        return given if self.factor == 1 else scaled(given, self.factor, parameter)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a sweep.

    Attributes:
        name: What it is called, and its column.
        targets: What it sets.
    """

    name: str
    targets: tuple[Target, ...]

    def __post_init__(self) -> None:
        if not self.targets:  # of a damaged folder
            raise ScenarioError("sets nothing", f"parameters: {self.name}")


def parameters(names: Sequence[str], named: Named, strategies: Sequence[str]) -> tuple[Parameter, ...]:
    """The parameters of these names.

    Args:
        names: As they were given.
        named: Those with names of their own.
        strategies: Names of the strategies of the sweep.

    Raises:
        ScenarioError: A name is neither, or two parameters set the same.
    """
    for name in named:
        if _NAME.fullmatch(name) is None or name in schema.ScenarioFile.model_fields:
            raise ScenarioError(
                f"{shown(name)} is no name for a parameter of your own; use letters, digits and '_'", "parameters"
            )
        if name not in names:
            raise ScenarioError(f"'{name}' gets no values; {hint(name, names)}", "parameters")
    found = tuple(Parameter(name, tuple(_targets(name, named, strategies))) for name in names)
    owners: dict[tuple[str, str], str] = {}
    for one in found:
        if one.name in RESERVED:
            raise ScenarioError(f"a parameter cannot be called '{one.name}': a column of the results is", "over")
        for target in one.targets:
            other = owners.setdefault((target.strategy, target.path), one.name)
            if other != one.name:
                raise ScenarioError(f"'{other}' and '{one.name}' both set {target.path}", "over")
    return found


def _targets(name: str, named: Named, strategies: Sequence[str]) -> list[Target]:
    if name not in named:
        return [_target(name, 1.0, named, strategies)]
    sets = named[name]
    factors = sets if isinstance(sets, Mapping) else dict.fromkeys([sets] if isinstance(sets, str) else sets, 1.0)
    if not factors:
        raise ScenarioError("sets nothing; give a list of paths", f"parameters: {name}")
    targets = []
    for path, factor in factors.items():
        given: Any = factor
        if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given < float("inf"):
            raise ScenarioError(f"the factor of '{path}' is {factor!r}; it is a number above 0", f"parameters: {name}")
        targets.append(_target(path, float(factor), {}, strategies))
    return targets


def _target(path: str, factor: float, named: Named, strategies: Sequence[str]) -> Target:
    strategy, colon, option = path.partition(":")
    if colon:
        if strategy not in strategies:
            raise ScenarioError(
                f"there is no strategy '{strategy}' in this sweep; {hint(strategy, strategies)}", f"over: {path}"
            )
        return Target(option, strategy, factor)
    top = _TOP.match(path)
    known = [*schema.ScenarioFile.model_fields, *schema.MERGED]
    if top is None or top[0] not in known:
        raise ScenarioError(
            f"is neither the path of a field, such as 'workload.rate', nor a parameter with a name of its own; {hint(path, [*named, *known])}",
            f"over: {path}",
        )
    return Target(path, "", factor)


# --- values ---------------------------------------------------------------------------------------------------------------------


def scaled(value: Any, factor: float, parameter: str) -> Any:
    """A value times a factor: a number, a duration, rate or probability as text, or a distribution.

    Raises:
        ScenarioError: It is none of these.
    """
    if isinstance(value, Distribution):
        return value.scaled(factor)
    quantity = measured(value)[0]
    if quantity is None:
        raise ScenarioError(
            f"{shown(value)} cannot be multiplied with {factor:g}; give a number or a duration", f"over: {parameter}"
        )
    return quantity * factor


def measured(value: Any) -> tuple[float | None, str]:
    """A number with its unit: ``5ms`` is (0.005, ``s``), ``300/s`` is (300, ``1/s``), ``2%`` is (0.02, ````); None if it is none."""
    if isinstance(value, bool):
        return None, ""
    if isinstance(value, int | float):
        return (number(value), "") if math.isfinite(value) else (None, "")
    if isinstance(value, str):
        for read, unit in ((duration, "s"), (rate, "1/s"), (probability, "")):
            try:
                return read(value), unit
            except ValueError:
                continue
    return None, ""


def column(values: Sequence[Any]) -> tuple[list[Any], str]:
    """The values of a parameter as a column of a table, and their unit: numbers, if all of them are; else text."""
    pairs = [measured(value) for value in values]
    units = {unit for quantity, unit in pairs if quantity is not None and unit}
    if values and all(quantity is not None for quantity, _ in pairs) and len(units) <= 1:
        if all(isinstance(value, int) for value in values):
            return list(values), ""
        return [float(quantity or 0.0) for quantity, _ in pairs], next(iter(units), "")
    if all(isinstance(value, bool) for value in values):
        return list(values), ""
    return [text(value) for value in values], ""


def unit(parameter: Parameter) -> str:
    """The unit that plain numbers of a parameter have: that of the first field that it sets; empty if it has none."""
    target = parameter.targets[0]
    here: Any = schema.PoliciesFile if target.strategy else schema.ScenarioFile
    for part in re.findall(r"[^.\[\]]+", target.path):
        if get_args(here):  # a list or a mapping, whose members are alike
            here = inner(get_args(here)[-1])
            continue
        fields = entries(here) if isinstance(here, type) and issubclass(here, schema.Table) else {}
        if part not in fields:
            return ""
        if written := written_as(fields[part]):
            return "1/s" if written == "rate" else "s" if "duration" in written and "list" not in written else ""
        here = inner(fields[part].annotation)
    return ""


def text(value: Any) -> str:
    """A value as one line."""
    if isinstance(value, str):
        return value
    if isinstance(value, Distribution):
        return value.describe()
    if dataclasses.is_dataclass(value) or not isinstance(value, bool | int | float | list | tuple | Mapping):
        return repr(value)
    return json.dumps(value, default=str)
