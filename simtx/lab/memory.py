"""Memory of an explorer: runs of a results folder, and those that were played here, of a scenario under changed values.

Where everything stands is a cell of a sweep, so that a run has the same key here and there: what a sweep has played is found, and what is played here is found by
the next sweep. Runs that an explorer plays are short, so that the picture follows soon; runs of a results folder that are as long as the scenario says are
preferred where they are there.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from simtx.errors import ScenarioError
from simtx.experiments.sweep.axes import measured
from simtx.experiments.sweep.cells import Cell
from simtx.experiments.sweep.store import Store
from simtx.experiments.sweep.study import Row, Study
from simtx.experiments.work import Parcel
from simtx.lab.controls import RATE, Changes, Control, changes
from simtx.lab.state import State
from simtx.temporary import folder as temporary_folder

if TYPE_CHECKING:
    from simtx.experiments.frontier.gp import Shape
    from simtx.experiments.sweep.ledger import Wanted
    from simtx.experiments.work import Outcome
    from simtx.lab.failures import Failure
    from simtx.protocols import Strategy
    from simtx.scenario import Scenario

    Shapes: TypeAlias = dict[tuple[str, str, tuple[str, ...]], tuple[int, Shape | None]]
    """Fits: points and length scales by strategy, metric and controls."""

_MOST_CELLS: Final = 500
"""Cells of a results folder that are looked at when an explorer is opened."""
_WARMUP: Final = 0.1
"""Most of a shortened run that its warm-up may take."""


@dataclass
class Known:
    """Runs at one position of all controls.

    Attributes:
        values: Of the controls that were moved.
        failure: The failure that is played; empty: none.
        whole: Whether the runs are as long as the scenario says.
        figures: Summaries by strategy and replication.
        errors: What went wrong, by strategy.
    """

    values: dict[str, Any]
    failure: str
    whole: bool = False
    figures: dict[str, dict[int, Mapping[str, float]]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    def column(self, label: str, metric: str) -> list[float]:
        """A metric of one strategy, by replication."""
        return [one[metric] for _, one in sorted(self.figures.get(label, {}).items()) if metric in one]


@dataclass(frozen=True, slots=True)
class Task:
    """A run that is to be played.

    Attributes:
        mark: Of where everything stands.
        label: Of the strategy.
        replication: Its number.
        wanted: As the results folder knows it.
        parcel: What is played.
    """

    mark: str
    label: str
    replication: int
    wanted: Wanted
    parcel: Parcel


class Memory:
    """Runs, by the position of all controls.

    Args:
        scenario: Without changes.
        strategies: By label.
        controls: By name.
        failures: By name.
        seed: Of all streams.
        transactions: How many a run that is played here has at the scenario's own rate; None: the scenario's own length.
        replications: How often each strategy is run.
        folder: A results folder; None: a temporary one.

    Raises:
        ScenarioError: The folder cannot be used.
    """

    def __init__(
        self,
        scenario: Scenario,
        strategies: Mapping[str, Strategy],
        controls: dict[str, Control],
        failures: Mapping[str, Failure],
        *,
        seed: int,
        transactions: int | None,
        replications: int,
        folder: Path | None,
    ) -> None:
        self.scenario = scenario
        self.strategies = dict(strategies)
        self.controls = controls
        self.failures = failures
        self.replications = replications
        self.given = folder is not None
        self._temporary = temporary_folder("explorer") if folder is None else None
        self.store = Store(folder or Path(self._temporary.name if self._temporary is not None else ""))
        self.short = shortened(scenario, transactions)
        self._studies = {
            True: Study(scenario, (), self.strategies, seed),
            False: Study(self.short, (), self.strategies, seed),
        }
        self._seed = seed
        self._lock = threading.Lock()
        self.shapes: Shapes = {}
        self._known: dict[str, Known] = {}
        self._cells: dict[tuple[bool, str, bool], int] = {}
        self._parcels: dict[tuple[str, str], Parcel] = {}

    # --- where everything stands ------------------------------------------------------------------------------------------------

    def mark(self, state: State) -> str:
        """Mark of a state: equal marks, equal runs."""
        moved = {name: one for name, one in state.values.items() if one != self.controls[name].base}
        return json.dumps([dict(sorted(moved.items())), state.failure])

    def changed(self, state: State, *, whole: bool = False) -> tuple[Scenario, Changes]:
        """The scenario without the controls' changes but with those of the failure, and these changes.

        Raises:
            ScenarioError: There is no such failure.
        """
        base = self.scenario if whole else self.short
        if state.failure:
            struck = self.failures[state.failure].faults(base, self.short)
            base = base.replace(faults=[*base.to_dict().get("faults", []), *struck])
        return base, changes(base, self.controls, state.values)

    def scenario_of(self, state: State, *, whole: bool = False) -> Scenario:
        """The scenario as it is played there.

        Raises:
            ScenarioError: A value does not fit.
        """
        study, number = self._cell(state, whole=whole, held=False)
        return study.scenario_of(number)

    def variants(self, state: State) -> dict[str, Strategy]:
        """The strategies as they are played there, by label.

        Raises:
            ScenarioError: A value does not fit.
        """
        study, number = self._cell(state, whole=False, held=False)
        return {label: study.variant(study.cells[number], label)[0] for label in self.strategies}

    def _cell(self, state: State, *, whole: bool, held: bool) -> tuple[Study, int]:
        """The cell of a state; `held`: as a sweep over the load has it, in which transactions arrive for equally long everywhere."""
        study, key = self._studies[whole], (whole, self.mark(state), held)
        with self._lock:
            if key not in self._cells:
                self._cells[key] = self._new_cell(study, state, whole=whole, held=held)
            return study, self._cells[key]

    def _new_cell(self, study: Study, state: State, *, whole: bool, held: bool) -> int:
        base, found = self.changed(state, whole=whole)
        made = dict(found.scenario)
        if state.failure:
            made.setdefault("faults", base.to_dict()["faults"])
        loaded = "workload.rate" in made or "workload.users" in made
        if whole and (held or loaded) and study.scenario.run.transactions is not None:
            made["run.duration"] = float(f"{study.scenario.expected_length():.6g}")
        study.cells.append(Cell(dict(state.values), made, found.options))
        return len(study.cells) - 1

    # --- what is known ----------------------------------------------------------------------------------------------------------

    def look(self, state: State) -> Known:
        """Runs at a position; the results folder is read once.

        Raises:
            ScenarioError: A value does not fit, or the folder cannot be read.
        """
        mark = self.mark(state)
        if mark not in self._known:
            values, failure = json.loads(mark)
            found = Known(values, failure)
            for whole, held in ((True, False), (True, True), (False, False)) if self.given else ():
                found = Known(values, failure, whole, self._stored(state, whole=whole, held=held))
                if all(found.figures.get(label) for label in self.strategies):
                    break
            self._known[mark] = found
        return self._known[mark]

    def _stored(self, state: State, *, whole: bool, held: bool) -> dict[str, dict[int, Mapping[str, float]]]:
        """The runs of a state that the folder has, in the order of their replications."""
        study, number = self._cell(state, whole=whole, held=held)
        study.check([number])
        rows = [Row(number, label, one) for label in self.strategies for one in range(max(self.replications, 10))]
        wanted = study.wanted(rows, self.store.ledger)
        entries, frame = self.store.figures(list(dict.fromkeys(one.key for one in wanted)))
        found: dict[str, dict[int, Mapping[str, float]]] = {}
        for row, one in zip(rows, wanted, strict=True):
            if one.key in frame.index and entries[one.key].has_figures:
                row_of: Any = frame.loc[one.key]
                summary = {str(name): float(value) for name, value in row_of.items()}
                found.setdefault(row.strategy, {})[row.replication] = summary
        return found

    def around(self, state: State, *, whole: bool) -> list[Known]:
        """Runs at positions that differ in numbers alone, in the order in which they came."""
        mine = self.mark(state)
        values, failure = json.loads(mine)
        choices = {name: one for name, one in values.items() if not self.controls[name].numeric}
        return [
            one
            for one in list(self._known.values())
            if one.failure == failure
            and one.figures
            and one.whole == whole
            and {name: value for name, value in one.values.items() if not self.controls[name].numeric} == choices
        ]

    # --- what is to be played ---------------------------------------------------------------------------------------------------

    def tasks(self, state: State, replications: int) -> list[Task]:
        """The runs that are not known yet: the first replication of every strategy, then the second.

        Raises:
            ScenarioError: The scenario cannot be played with these values.
        """
        known = self.look(state)
        if known.whole and known.figures:
            return []
        rows = [
            (label, one)
            for one in range(replications)
            for label in self.strategies
            if one not in known.figures.get(label, {}) and label not in known.errors
        ]
        if not rows:
            return []
        mark = self.mark(state)
        study, number = self._cell(state, whole=False, held=False)
        study.check([number])
        wanted = study.wanted([Row(number, *row) for row in rows], self.store.ledger)
        self.store.ledger.add(wanted)
        return [
            Task(mark, *row, one, self._parcel(study, number, mark, row[0]))
            for row, one in zip(rows, wanted, strict=True)
        ]

    def _parcel(self, study: Study, number: int, mark: str, label: str) -> Parcel:
        if (mark, label) not in self._parcels:
            if len(self._parcels) > 64:
                self._parcels.clear()
            strategy = study.variant(study.cells[number], label)[0]
            self._parcels[mark, label] = Parcel(study.scenario_of(number), strategy)
        return self._parcels[mark, label]

    def has(self, task: Task) -> bool:
        """Return whether a run is known meanwhile."""
        known = self._known[task.mark]
        return task.replication in known.figures.get(task.label, {}) or task.label in known.errors

    def enter(self, task: Task, outcome: Outcome) -> None:
        """Keep the result of a run.

        Raises:
            ScenarioError: The folder cannot be written to.
        """
        known = self._known[task.mark]
        if outcome.stage:
            known.errors[task.label] = outcome.error
        else:
            known.figures.setdefault(task.label, {})[task.replication] = outcome.summary
        self.store.ledger.finish(task.wanted.key, outcome)

    # --- a results folder -------------------------------------------------------------------------------------------------------

    def stored_states(self) -> Iterator[State]:
        """States of the controls in the runs of the folder, as far as controls can say them."""
        if not self.given:
            return
        for text in self.store.ledger.changes(self.scenario.name, self._seed, _MOST_CELLS):
            values = self._values(json.loads(text))
            if values is not None:
                yield State(values)

    def _values(self, changed: Mapping[str, Any]) -> dict[str, Any] | None:
        """Values of controls that make these changes; None if there are none that a control would set so."""
        found: dict[str, Any] = {}
        for path, value in changed.items():
            if path == "run.duration":
                continue
            name = {"workload.rate": RATE, "workload.users": RATE, "network.loss": "loss"}.get(path, path)
            control = self.controls.get(name)
            if control is None:
                return None
            number = measured(value)[0] if control.numeric else value
            if control.numeric and (number is None or number < 0):
                return None
            found[name] = number
        return found

    def close(self) -> None:
        """Let go of the results folder."""
        try:
            if self.given:
                self.store.flush()
        finally:
            self.store.close()
            if self._temporary is not None:
                self._temporary.cleanup()


def shortened(scenario: Scenario, transactions: int | None) -> Scenario:
    """A scenario whose runs have about as many transactions, so that they are over soon; with the faults that come at a time, if there are any.

    Args:
        scenario: The scenario.
        transactions: How many; None: as many as it has.
    """
    if transactions is None or scenario.expected_transactions() <= transactions:
        return scenario
    length = scenario.expected_length() * transactions / scenario.expected_transactions()
    late = max((one.at + one.duration.mean() for one in scenario.faults if one.at is not None), default=0.0)
    if late > length:
        return scenario
    warmup = f"{float(f'{min(scenario.run.warmup, _WARMUP * length):.3g}')!r}s"
    try:
        return scenario.replace(**{"run.warmup": warmup, "run.transactions": transactions})
    except ScenarioError:  # such as a crash at a transaction that would then never arrive
        return scenario
