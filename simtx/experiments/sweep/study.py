"""Study of a sweep: a scenario, parameters, strategies, a seed; and which runs a list of cells and replications comes to.

The unit is the run: one cell, one strategy, one replication. In a replication every cell and every strategy meets the same random numbers (common random
numbers), as far as they ask for the same. Cells in which a strategy is the same have its runs in common.
"""

from __future__ import annotations

import gc
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pandas as pd

from simtx.experiments.sweep import key as keys
from simtx.experiments.sweep.axes import Parameter, column, measured, text, unit
from simtx.experiments.sweep.cells import Cell, Window, cells, check
from simtx.experiments.sweep.ledger import Wanted
from simtx.protocols.extras import extras
from simtx.scenario.canonical import canonical, digest
from simtx.scenario.changes import replaced
from simtx.scenario.fingerprints import CodeFingerprint, code_fingerprint, scenario_fingerprint
from simtx.scenario.provenance import command

if TYPE_CHECKING:
    from simtx.experiments.sweep.ledger import RunLedger
    from simtx.protocols import Strategy
    from simtx.scenario import Scenario


_MANY = 10_000  # cells whose scenarios are kept; each takes about 25 kB


@contextmanager
def _uncollected() -> Iterator[None]:
    """The scenarios of many cells are made, and stay: Python's collector would look at all of them again and again, and find no circle."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a sweep's frame: a run as one of its cells sees it.

    Attributes:
        cell: Number of the cell.
        strategy: Label of the strategy.
        replication: Number of the replication.
    """

    cell: int
    strategy: str
    replication: int


@dataclass
class Study:
    """Subject of a sweep.

    Attributes:
        scenario: The scenario that the cells change.
        parameters: What is varied.
        strategies: By label, as they were given.
        seed: Of all streams.
        window: What stays as it is when the load changes.
        cells: All cells.
        notes: What a reader should know about them.
    """

    scenario: Scenario
    parameters: tuple[Parameter, ...]
    strategies: dict[str, Strategy]
    seed: int
    window: Window = "duration"
    cells: list[Cell] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _known: dict[str, tuple[str, float, list[str]]] = field(default_factory=dict, repr=False)
    _checked: set[int] = field(default_factory=set, repr=False)
    _variants: dict[tuple[str, str], tuple[Strategy, str, CodeFingerprint]] = field(default_factory=dict, repr=False)

    def add(self, values: Iterable[Mapping[str, Any]]) -> list[int]:
        """Add cells that are not there yet; returns the numbers of all of these."""
        numbers = {self._mark(cell.values): number for number, cell in enumerate(self.cells)}
        found: list[int] = []
        new: list[dict[str, Any]] = []
        for one in values:
            mark = self._mark(one)
            if mark not in numbers:
                numbers[mark] = len(self.cells) + len(new)
                new.append(dict(one))
            found.append(numbers[mark])
        made, notes = cells(self.scenario, new, self.parameters, self.window)
        self.cells += made
        self.notes += [note for note in notes if note not in self.notes]
        return found

    def _mark(self, values: Mapping[str, Any]) -> str:
        """Mark that a cell is known by: ``5ms`` and 0.005 are the same."""
        given = [values[one.name] for one in self.parameters]
        numbers = [measured(value)[0] for value in given]
        return canonical(
            [one if number is None else number for one, number in zip(given, numbers, strict=True)], "the cell"
        )

    # --- cells and strategies -----------------------------------------------------------------------------------------------------------

    def variant(self, cell: Cell, label: str) -> tuple[Strategy, str, CodeFingerprint]:
        """A strategy as it is in a cell, with its identity and its code."""
        given = self.strategies[label]
        options = {name: cell.options[name] for name in dict.fromkeys((given.name, label)) if name in cell.options}
        mark = (label, canonical(options) if options else "")
        if mark not in self._variants:
            strategy = cell.strategy(label, given, self.scenario)
            self._variants[mark] = (strategy, keys.strategy_identity(strategy), keys.code(strategy))
        return self._variants[mark]

    def check(self, numbers: Iterable[int]) -> None:
        """Refuse cells that cannot be played, before anything runs.

        Raises:
            ScenarioError: One cannot; the text names it.
        """
        for number in dict.fromkeys(numbers):
            if number not in self._checked:
                check(self.cells[number], self.scenario, self.strategies)
                self._checked.add(number)

    def spare(self, number: int) -> None:
        """Forget a scenario of a large sweep, which does not keep every one: they are soon made again."""
        if len(self.cells) > _MANY:
            self.cells[number].forget()

    @cached_property
    def _base(self) -> str:
        raw = digest(
            canonical(self.scenario.to_dict())
        )  # what a change means may depend on how the scenario is written
        return f"{scenario_fingerprint(self.scenario)} {raw} {code_fingerprint()}"

    @cached_property
    def _reads_files(self) -> bool:
        raw = self.scenario.to_dict()
        return (
            "calibration" in raw
            or "trace" in raw.get("workload", {})
            or any(
                target.path in ("workload", "workload.trace", "calibration", "extends")
                for one in self.parameters
                for target in one.targets
            )
        )

    def known(self, numbers: Sequence[int], ledger: RunLedger) -> dict[int, tuple[str, float, list[str]]]:
        """Find for each of these cells the fingerprint of its scenario, the expected number of transactions, and warnings.

        What the ledger remembers of a cell is not worked out again, unless files take part, whose contents may have changed.

        Raises:
            ScenarioError: A cell is wrong; the text names it.
        """
        memos = {
            number: digest(canonical([self._base, self.cells[number].changes])) for number in dict.fromkeys(numbers)
        }
        missing = [memo for memo in memos.values() if memo not in self._known]
        if missing and not self._reads_files:
            self._known |= ledger.memo(missing)
        new: dict[str, tuple[str, float, list[str]]] = {}
        with _uncollected():
            for number, memo in memos.items():
                if memo not in self._known:
                    self.check([number])
                    scenario = self.cells[number].scenario(self.scenario)
                    size = scenario.expected_length() * (scenario.workload.mean_rate() or 0.0)
                    size = float(scenario.run.transactions or size or scenario.expected_length())
                    new[memo] = self._known[memo] = (scenario_fingerprint(scenario), size, scenario.warnings)
                self.spare(number)
        if new:
            ledger.remember(new, {})
        return {number: self._known[memo] for number, memo in memos.items()}

    # --- runs ---------------------------------------------------------------------------------------------------------------------------

    def wanted(self, rows: Sequence[Row], ledger: RunLedger) -> list[Wanted]:
        """The run of each row; rows that stand for the same run have the same."""
        known = self.known([row.cell for row in rows], ledger)
        groups: dict[tuple[int, str], list[int]] = {}
        for row in rows:
            groups.setdefault((row.cell, row.strategy), []).append(row.replication)
        found: dict[tuple[int, str, int], Wanted] = {}
        codes: dict[str, Mapping[str, str]] = {}
        for (number, label), replications in groups.items():
            cell, (scenario, size, _) = self.cells[number], known[number]
            strategy, identity, code = self.variant(cell, label)
            codes[code.text] = code.modules
            options = {
                f"{name}:{path}": one
                for name, some in cell.options.items()
                if name in (label, strategy.name)
                for path, one in some.items()
            }
            changes = json.dumps({**cell.changes, **options}, default=text)
            for replication, one in zip(
                replications, keys.identities(scenario, identity, self.seed, replications), strict=True
            ):
                run = (
                    keys.key(one, code.text),
                    one,
                    code.text,
                    self.scenario.name,
                    changes,
                    label,
                    self.seed,
                    replication,
                    size,
                )
                found[number, label, replication] = Wanted._make(run)
        ledger.remember({}, codes)
        return [found[row.cell, row.strategy, row.replication] for row in rows]

    def scenario_of(self, number: int) -> Scenario:
        """The scenario of a cell."""
        return self.cells[number].scenario(self.scenario)

    def command(self, row: Row) -> str:
        """The line that repeats a run."""
        cell, given = self.cells[row.cell], self.strategies[row.strategy]
        scenario, strategy = self.scenario_of(row.cell), self.variant(cell, row.strategy)[0]
        if extras(given).policies is None and extras(strategy).policies is not None:
            own = {path: one for name in (given.name, row.strategy) for path, one in cell.options.get(name, {}).items()}
            policies = {path: one for path, one in own.items() if not hasattr(given, path.partition(".")[0])}
            scenario = replaced(
                scenario, {f"policies.{path}": one for path, one in policies.items()}, units_needed=False
            )
        return command("simulate", scenario, [strategy], {"seed": self.seed, "replication": row.replication})

    def call(self, replications: int, numbers: Iterable[int] | None = None) -> str:
        """The Python line that asks for all of it again: the axes of a grid, else the cells of the table.

        Args:
            replications: Of each cell.
            numbers: Of the cells; None: all. A sweep that another one extends shares its cells with it.
        """
        asked = self.cells if numbers is None else [self.cells[number] for number in numbers]
        axes = {
            one.name: list({repr(cell.values[one.name]): cell.values[one.name] for cell in asked}.values())
            for one in self.parameters
        }
        grid = math.prod(len(values) for values in axes.values()) == len(asked)
        named = {
            one.name: {f"{to.strategy}:{to.path}" if to.strategy else to.path: to.factor for to in one.targets}
            for one in self.parameters
        }
        named = {name: targets for name, targets in named.items() if targets != {name: 1.0}}
        settings = {
            "over": axes if grid else [dict(cell.values) for cell in asked],
            "parameters": named,
            "window": self.window if self.window != "duration" else None,
        }
        return command(
            "sweep",
            self.scenario,
            list(self.strategies.values()),
            {"seed": self.seed, "replications": replications},
            {name: value for name, value in settings.items() if value},
        )

    # --- columns ------------------------------------------------------------------------------------------------------------------------

    def columns(self) -> tuple[pd.DataFrame, dict[str, str]]:
        """The values of the parameters, a row a cell, and their units."""
        data, units = {}, {}
        for one in self.parameters:
            values, written = column([cell.values[one.name] for cell in self.cells])
            numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
            data[one.name], units[one.name] = values, written or (unit(one) if numbers else "")
        return pd.DataFrame(data, index=range(len(self.cells))), units
