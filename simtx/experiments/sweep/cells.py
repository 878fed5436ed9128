"""The cells of a sweep: each a scenario and the strategies as they are there, checked before the first run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from simtx.errors import ScenarioError
from simtx.experiments.sweep.axes import Parameter, Target, text
from simtx.protocols import Strategy
from simtx.protocols import strategy as resolve
from simtx.protocols.extras import extras
from simtx.protocols.registry import admit, option
from simtx.scenario import schema
from simtx.scenario.changes import replaced
from simtx.scenario.units import hint, shown

if TYPE_CHECKING:
    from simtx.scenario import Scenario

Window: TypeAlias = Literal["duration", "transactions"]


@dataclass(slots=True)
class Cell:
    """One combination of values.

    Attributes:
        values: By parameter, as they were given.
        changes: What they change in the scenario, by path.
        options: What they change in strategies: values by option, by name of the strategy.
    """

    values: Mapping[str, Any]
    changes: dict[str, Any]
    options: dict[str, dict[str, Any]]
    _scenario: Scenario | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """Name by which errors and tables call it."""
        return ", ".join(f"{name}={text(value)}" for name, value in self.values.items()) or "the scenario"

    def scenario(self, base: Scenario) -> Scenario:
        """The scenario of this cell.

        Raises:
            ScenarioError: A value does not fit; the text names the cell.
        """
        if self._scenario is None:
            try:
                self._scenario = replaced(base, self.changes, units_needed=False) if self.changes else base
            except ScenarioError as error:
                raise ScenarioError(str(error), f"cell {self.name}" if self.values else "") from None
        return self._scenario

    def forget(self) -> None:
        """Keep the scenario no longer; it is made again when it is asked for."""
        self._scenario = None

    def strategy(self, label: str, given: Strategy, base: Scenario) -> Strategy:
        """A strategy of the sweep as it is in this cell.

        Raises:
            ScenarioError: There is no such option, or a value does not fit.
        """
        for name in dict.fromkeys((given.name, label)):
            for path, value in self.options.get(name, {}).items():
                given = _with_option(given, path, value, base, f"{name}:{path}")
        return given


def cells(
    base: Scenario, listed: Sequence[Mapping[str, Any]], parameters: Sequence[Parameter], window: Window
) -> tuple[list[Cell], list[str]]:
    """The cells, and what a reader should know about them.

    Args:
        base: The scenario.
        listed: Values by parameter of each.
        parameters: What they stand for.
        window: What stays as it is when a workload changes: how long transactions arrive, or how many.
    """
    if window not in ("duration", "transactions"):
        raise ScenarioError(f"{shown(window)} is neither 'duration' nor 'transactions'", "window")
    made = []
    for values in listed:
        changes: dict[str, Any] = {}
        options: dict[str, dict[str, Any]] = {}
        for one in parameters:
            for target in one.targets:
                value = target.value(values[one.name], one.name)
                if target.strategy:
                    options.setdefault(target.strategy, {})[target.path] = value
                else:
                    changes[target.path] = value
        made.append(Cell(values, changes, options))
    return made, _hold(base, made, [target for one in parameters for target in one.targets], window)


def _hold(base: Scenario, made: Sequence[Cell], targets: Sequence[Target], window: Window) -> list[str]:
    """Let transactions arrive for equally long in all cells, whatever their rate; or say that the window differs."""
    paths = [target.path for target in targets if not target.strategy]
    loaded = any(path.startswith("workload") for path in paths)
    if (
        not loaded
        or base.run.transactions is None
        or base.workload.kind == "trace"
        or any(p.startswith("run") for p in paths)
    ):
        return []
    length, count = base.expected_length(), base.run.transactions
    if window == "transactions":
        return [
            f"every cell has {count:,} transactions, so the measured time shrinks as the load rises; window='duration' holds it"
        ]
    length = float(f"{length:.6g}")
    for cell in made:
        cell.changes["run.duration"] = length
    return [
        f"transactions arrive for {length:g} s in every cell, whatever their rate; window='transactions' keeps their number ({count:,})"
    ]


def check(cell: Cell, base: Scenario, strategies: Mapping[str, Strategy]) -> None:
    """Refuse a cell that cannot be played.

    Raises:
        ScenarioError: It cannot; the text names the cell.
    """
    from simtx.scenario.strata import strata
    from simtx.workload.planner import template

    scenario = cell.scenario(base)
    where = f"cell {cell.name}" if cell.values else scenario.name
    if scenario.run.stratify:
        strata(scenario)
    plan = template(scenario)
    for label, given in strategies.items():
        try:
            chosen = resolve(cell.strategy(label, given, base), scenario.policies)
        except ScenarioError as error:
            raise ScenarioError(str(error), where) from None
        admit(chosen, plan, where, scenario.providers)


def _with_option(strategy: Strategy, path: str, value: Any, base: Scenario, where: str) -> Strategy:
    """A strategy with one option changed: a field of its class, or one of its policies."""
    given: Any = strategy
    kind = type(strategy)
    if not dataclasses.is_dataclass(given) or isinstance(given, type):
        raise ScenarioError(
            f"strategy {strategy.name} has no options that could be set (its class {kind.__name__} is no dataclass)",
            where,
        )
    names = [one.name for one in dataclasses.fields(given) if one.init]
    policies = list(schema.PoliciesFile.model_fields) if "policies" in names else []
    top = path.partition(".")[0]
    if top in names and top != "policies":
        checked = option(kind, path, value, where)
        return resolve(_replaced(given, {path: checked}, where))
    if top in policies:
        own: Any = extras(strategy).policies
        taken = replaced(base, {f"policies.{path}": value}, units_needed=False).policies
        result = taken if own is None else dataclasses.replace(own, **{top: getattr(taken, top)})
        return resolve(_replaced(given, {"policies": result}, where))
    known = [name for name in names if name != "policies"] + policies
    raise ScenarioError(f"strategy {strategy.name} has no option '{path}'; {hint(path, known)}", where)


def _replaced(given: Any, changes: Mapping[str, Any], where: str) -> Any:
    """A copy with other options; a class whose constructor does not take its fields has none."""
    try:
        return dataclasses.replace(given, **changes)
    except TypeError as error:
        raise ScenarioError(
            f"an object of class {type(given).__name__} cannot be made with another '{next(iter(changes))}': {error}",
            where,
        ) from None
