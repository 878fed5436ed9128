"""The runs of a sweep as tables: what is finished, what has failed, what is missing."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import pandas as pd

from simtx.errors import ScenarioError
from simtx.experiments.comparison import bounded, most
from simtx.experiments.pairs import much_less
from simtx.experiments.said import stories_with
from simtx.experiments.sweep.axes import measured
from simtx.metrics.censored import left_out
from simtx.metrics.figures import COMMITTED, of_all
from simtx.metrics.intervals import Interval, check_confidence, interval, intervals, kind_of
from simtx.metrics.timeouts import is_quantile, marked, timeouts
from simtx.scenario.provenance import Provenance, provenance
from simtx.scenario.units import hint, shown

if TYPE_CHECKING:
    from simtx.experiments.sweep.ledger import Entry
    from simtx.experiments.sweep.plan import Plan
    from simtx.experiments.sweep.runner import Settings
    from simtx.experiments.sweep.store import Store
    from simtx.experiments.sweep.study import Row, Study
    from simtx.scenario import Scenario

STATES = ("done", "stale", "failed", "quarantined")
_KEPT: Final = 8
"""Metrics whose intervals are kept: pictures and tables ask for one cell after the other."""


class Runs:
    """The tables of a `Sweep`, which says what its attributes are."""

    def __init__(
        self,
        study: Study,
        store: Store,
        rows: Sequence[Row],
        keys: Sequence[str],
        settings: Settings,
        plan: Plan,
        *,
        stopped: str = "",
        skipped: Mapping[tuple[int, str], str] | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self.study = study
        self.store = store
        self.scenario: Scenario = study.scenario
        self.parameters = [one.name for one in study.parameters]
        self.strategies = list(study.strategies)
        self.seed = study.seed
        self.stopped = stopped
        self.notes = [*study.notes, *notes]
        self.settings = settings
        self.plan = plan
        self._rows = list(rows)
        self._keys = list(keys)
        self._skipped = dict(skipped or {})
        self._columns, self.units = study.columns()
        self._frame: pd.DataFrame | None = None
        self._present: list[Row] = []
        self._entries: dict[str, Entry] = {}
        self._broken: dict[str, list[tuple[str, str]]] = {}
        self._figures: pd.DataFrame | None = None
        self._finished: dict[tuple[int, str], Any] | None = None
        self._intervals: dict[tuple[str, float], dict[tuple[int, str], Interval]] = {}
        self._seen: pd.DataFrame | None = None
        self._cells: pd.DataFrame | None = None

    # --- tables -------------------------------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def cells(self) -> pd.DataFrame:
        """The values of the parameters, a row a cell; its number is the index."""
        if self._cells is None:
            self._cells = self._columns.loc[sorted({row.cell for row in self._rows})]
        return self._cells.copy()

    @property
    def frame(self) -> pd.DataFrame:
        """Tidy: one row for each run that is finished or has failed.

        Columns are the parameters, `strategy`, `replication`, `state` (``done``; ``stale``: of other code, and accepted; ``failed``;
        ``quarantined``), all metrics (not a number where a run failed), the `digest` and the `error`. Rows are in the order of the
        cells, the strategies and the replications, whichever was finished first.
        """
        if self._frame is None:
            self._entries, figures = self.store.figures(list(dict.fromkeys(self._keys)))
            self._broken = self.store.ledger.violated(self._keys)
            self._figures = figures
            order = np.array(
                [i for i, key in enumerate(self._keys) if key in self._entries and self._state(i) in STATES], dtype=int
            )
            rows, keys = [self._rows[i] for i in order], [self._keys[i] for i in order]
            self._present = rows
            entries = [self._entries[key] for key in keys]
            data: dict[str, Any] = {
                name: self._columns[name].to_numpy()[[row.cell for row in rows]] for name in self.parameters
            }
            data |= {
                "strategy": [row.strategy for row in rows],
                "replication": [row.replication for row in rows],
                "state": [self._state(i) for i in order],
            }
            values = figures.reindex(keys)
            data |= {name: values[name].to_numpy() for name in values.columns}
            data["digest"] = [one.digest or "" for one in entries]
            data["error"] = [f"{one.type}: {one.message}" if one.stage else "" for one in entries]
            self._frame = pd.DataFrame(data)
        return self._frame.copy()

    def _figures_of(self, keys: Sequence[str]) -> pd.DataFrame:
        """The figures of these runs, of those that have any; from memory where all runs have the same metrics, so that no column is of others."""
        kinds = {one.metrics for one in self._entries.values() if one.has_figures}
        if self._figures is None or len(kinds) > 1:
            return self.store.figures(keys)[1]
        known = self._figures.index
        return self._figures.loc[[key for key in dict.fromkeys(keys) if key in known]]

    def _state(self, index: int) -> str:
        entry = self._entries[self._keys[index]]
        if not entry.has_figures:
            return entry.state
        return "stale" if entry.code != self._code(index) else "done"

    def _code(self, index: int) -> str:
        row = self._rows[index]
        return self.study.variant(self.study.cells[row.cell], row.strategy)[2].text

    @property
    def ledger(self) -> pd.DataFrame:
        """State of each run, how often it was really started, the seconds that it took, and what went wrong."""
        names, rows = self.store.ledger.table()
        ours = set(self._keys)
        return pd.DataFrame([row for row in rows if row[0] in ours], columns=names)

    @property
    def metrics(self) -> list[str]:
        """Names of all metrics."""
        known = {*self.parameters, "strategy", "replication", "state", "digest", "error"}
        return [name for name in self.frame.columns if name not in known]

    @property
    def failures(self) -> pd.DataFrame:
        """One row for each run that has failed: where, with what, and the command that repeats it."""
        self.frame  # noqa: B018 - looks at the store
        found = [
            {
                **self._values(row.cell),
                "strategy": row.strategy,
                "replication": row.replication,
                "state": one.state,
                "stage": one.stage,
            }
            | {"type": one.type, "message": one.message, "repeat_with": one.command}
            for row, key in zip(self._rows, self._keys, strict=True)
            if (one := self._entries.get(key)) is not None and one.stage
        ]
        names = [*self.parameters, "strategy", "replication", "state", "stage", "type", "message", "repeat_with"]
        return pd.DataFrame(found, columns=names)

    @property
    def violations(self) -> pd.DataFrame:
        """One row for each property that a run has violated although its strategy guarantees it: where, what, and the command that tells its stories.

        How often, is the metric `violations`; it is not a number in runs of a version that did not look (`unwatched`).
        """
        self.frame  # noqa: B018 - looks at the store
        found = [
            {**self._values(row.cell), "strategy": row.strategy, "replication": row.replication, "property": name}
            | {"text": said, "see_with": stories_with(self.study.command(row))}
            for row, key in zip(self._rows, self._keys, strict=True)
            for name, said in self._broken.get(key, ())
        ]
        return pd.DataFrame(
            found, columns=[*self.parameters, "strategy", "replication", "property", "text", "see_with"]
        )

    def violated(self) -> dict[tuple[int, str], int]:
        """Number of runs that have violated what the strategy guarantees, by number of the cell and strategy; without those of which none has."""
        self.frame  # noqa: B018 - looks at the store
        pairs = zip(self._rows, self._keys, strict=True)
        return dict(Counter((row.cell, row.strategy) for row, key in pairs if self._broken.get(key)))

    @property
    def unwatched(self) -> int:
        """Finished runs of which nobody knows whether they have violated anything: of a version that did not look."""
        frame = self.frame
        finished = frame["error"] == ""
        return int((finished & frame["violations"].isna()).sum() if "violations" in frame else finished.sum())

    def _violations_told(self) -> list[str]:
        """Say what was violated, under which strategies and where, in a line for each property; and what is not known of it."""
        count = Counter(row.strategy for row, key in zip(self._rows, self._keys, strict=True) if key in self._entries)
        by: dict[tuple[str, str], list[tuple[Row, str]]] = {}
        for row, key in zip(self._rows, self._keys, strict=True):
            for name, said in self._broken.get(key, ()):
                by.setdefault((row.strategy, name), []).append((row, said))
        told = []
        for (strategy, _), found in by.items():
            cells = len({row.cell for row, _ in found})
            where = (
                f" in {cells} of {len(self.cells)} cells, the first at {self._at(found[0][0].cell)}"
                if self.parameters
                else ""
            )
            runs = f"{len(found)} of {count[strategy]} runs"
            told.append(
                f"{strategy} ({runs}{where}): {found[0][1]}; sweep.violations lists them, and what tells their stories"
            )
        if unwatched := self.unwatched:
            told.append(
                f"{unwatched} of {len(self._rows)} runs are of a version that did not look for violations: whether they have any is not known"
            )
        return told

    def _at(self, cell: int) -> str:
        return ", ".join(f"{name}={value}" for name, value in self._values(cell).items())

    @property
    def missing(self) -> pd.DataFrame:
        """One row for each run that was not played, and why."""
        self.frame  # noqa: B018 - looks at the store
        found = []
        for row, key in zip(self._rows, self._keys, strict=True):
            one = self._entries.get(key)
            if one is None or not (one.has_figures or one.stage):
                why = self._skipped.get((row.cell, row.strategy), self.stopped or "it is being played elsewhere")
                found.append(
                    {**self._values(row.cell), "strategy": row.strategy, "replication": row.replication, "reason": why}
                )
        return pd.DataFrame(found, columns=[*self.parameters, "strategy", "replication", "reason"])

    def _values(self, cell: int) -> dict[str, Any]:
        return {name: self._columns.at[cell, name] for name in self.parameters}

    def values(self, metric: str, incomplete: Literal["refuse", "drop"] = "refuse") -> pd.DataFrame:
        """One metric, tidy: the parameters, `strategy`, `replication`, `value`.

        Args:
            metric: Its name.
            incomplete: What to do about runs that have failed or are missing: ``refuse`` to answer, or ``drop`` them.

        Raises:
            ScenarioError: There is no such metric, or runs have failed or are missing.
        """
        frame = self._with(metric)
        if incomplete not in ("refuse", "drop"):
            raise ScenarioError(f"{shown(incomplete)} is neither 'refuse' nor 'drop'", "incomplete")
        lacking = self.lacking()
        if lacking and incomplete == "refuse":
            raise ScenarioError(f"{lacking}; incomplete='drop' leaves them out", "values")
        frame = frame[frame["error"] == ""]
        chosen = frame[[*self.parameters, "strategy", "replication", metric]]
        return chosen.rename(columns={metric: "value"}).reset_index(drop=True)

    def interval(
        self, cell: Mapping[str, Any] | int | None, strategy: str, metric: str, confidence: float = 0.95
    ) -> Interval:
        """Mean of a metric over the replications of one cell and strategy that are finished, with its interval.

        Raises:
            ScenarioError: There is no such cell, strategy or metric.
        """
        if strategy not in self.strategies:
            raise ScenarioError(
                f"'{strategy}' is no strategy of this sweep; {hint(strategy, self.strategies)}", "strategy"
            )
        self.intervals(metric, confidence)
        return self._intervals[metric, confidence].get((self.cell(cell), strategy), interval([], confidence))

    def table(self, metrics: Sequence[str] = ("latency_p99_ms",), confidence: float = 0.95) -> pd.DataFrame:
        """One row a cell and strategy; for each metric the mean, the ends of its interval, and the number of replications behind it."""
        keys = list(dict.fromkeys((row.cell, row.strategy) for row in self._rows))
        rows = [{**self._values(cell), "strategy": label} for cell, label in keys]
        names = [(name, "") for name in [*self.parameters, "strategy"]]
        data = {(name, ""): [row[name] for row in rows] for name, _ in names}
        for metric in metrics:
            found = self.intervals(metric, confidence)
            nothing = interval([], confidence)
            for field in ("mean", "low", "high", "n"):
                data[metric, field] = [getattr(found.get(one, nothing), field) for one in keys]
        return pd.DataFrame(data)

    def intervals(self, metric: str, confidence: float = 0.95) -> dict[tuple[int, str], Interval]:
        """Mean of a metric with its interval by number of the cell and strategy; without those of which no run is finished.

        Raises:
            ScenarioError: There is no such metric.
        """
        check_confidence(confidence)
        if self._seen is None or self._seen is not self._frame:  # of another frame: nothing is known
            self._with(metric)
            self._seen, self._finished, self._intervals = self._frame, None, {}
        known = self._intervals.get((metric, confidence))
        if known is None:
            values = self._with(metric)[metric].to_numpy(dtype=float)
            groups = self._places()
            found = intervals([values[places] for places in groups.values()], confidence, kind=kind_of(metric))
            known = dict(zip(groups, found, strict=True))
            if bounded(metric):  # as the comparison of the cell has it
                for (cell, label), one in known.items():
                    top = max(most(metric, self.study.scenario_of(cell)), one.mean)
                    known[cell, label] = one._replace(high=min(one.high, top))
                    self.study.spare(cell)
            self._intervals[metric, confidence] = known
            if len(self._intervals) > _KEPT:
                del self._intervals[next(iter(self._intervals))]
        return dict(known)

    def _places(self) -> dict[tuple[int, str], Any]:
        """Rows of the frame that are finished runs, by cell and strategy."""
        if self._finished is None:
            fine = (self.frame["error"] == "").to_numpy()
            groups: dict[tuple[int, str], list[int]] = {}
            for place, row in enumerate(self._present):
                if fine[place]:
                    groups.setdefault((row.cell, row.strategy), []).append(place)
            self._finished = {key: np.array(places) for key, places in groups.items()}
        return self._finished

    def _with(self, metric: str) -> pd.DataFrame:
        """The frame, which has this metric."""
        if metric not in self.metrics:
            raise ScenarioError(f"{shown(metric)} is no metric; {hint(str(metric), self.metrics)}", "metric")
        return self.frame

    def _by_replication(self, metric: str) -> dict[tuple[int, str], dict[int, float]]:
        """Value of each replication that has one, by cell and strategy."""
        frame = self._with(metric)
        values: dict[tuple[int, str], dict[int, float]] = {}
        for row, value in zip(self._present, frame[metric].to_numpy(dtype=float), strict=True):
            if not np.isnan(value):
                values.setdefault((row.cell, row.strategy), {})[row.replication] = float(value)
        return values

    def leaving_out(self, metric: str) -> set[tuple[int, str]]:
        """Cells and strategies in which a mean leaves out what had not ended, so that it ranks nobody there."""
        share = left_out(metric)
        if share is None or share not in self.metrics:
            return set()
        return {place for place, seen in self._by_replication(share).items() if any(one > 0 for one in seen.values())}

    def committing_less(
        self, metric: str, strategies: Sequence[str] | None = None, confidence: float = 0.95
    ) -> dict[tuple[int, str], str]:
        """Find by cell and strategy who surely commits less than another one, by more than 5 points, and the one that commits the most.

        The result is empty for a metric that is no time of all transactions. Such a time does not rank who commits less: what is aborted early also ends early.

        Args:
            metric: Its name.
            strategies: Labels; None: all.
            confidence: Of each comparison of two, from 0 to 1.
        """
        if not of_all(metric) or COMMITTED not in self.metrics:
            return {}
        shares: dict[int, dict[str, dict[int, float]]] = {}
        for (cell, name), seen in self._by_replication(COMMITTED).items():
            if strategies is None or name in strategies:
                shares.setdefault(cell, {})[name] = seen
        return {
            (cell, name): most
            for cell, of_cell in shares.items()
            for name, most in much_less(of_cell, check_confidence(confidence)).items()
        }

    def timeouts(self, metric: str) -> dict[tuple[int, str], str]:
        """Cells and strategies in which a quantile sits on a configured timeout, with its name, as ``= vote_timeout in 3 of 5 runs``.

        Such a figure shows a setting, and not how fast anything is.
        """
        if not is_quantile(metric) or metric not in self.metrics:
            return {}
        found: dict[tuple[int, str], str] = {}
        known: dict[object, dict[str, float]] = {}
        for (cell, label), seen in self._by_replication(metric).items():
            mark = (cell, label) if self._sets_timeouts else label
            if mark not in known:
                known[mark] = timeouts(
                    self.study.scenario_of(cell), self.study.variant(self.study.cells[cell], label)[0]
                )
            if text := marked(metric, seen.values(), known[mark]):
                found[cell, label] = text
        return found

    @cached_property
    def _sets_timeouts(self) -> bool:
        """Return whether a parameter may change a timeout."""
        calm = ("workload", "network", "transaction", "clients", "run", "faults", "hub")
        targets = [target for one in self.study.parameters for target in one.targets]
        return any(target.strategy or target.path.split(".")[0].split("[")[0] not in calm for target in targets)

    def lacking(self) -> str:
        """Missing runs, in words; empty if there are none."""
        failures, missing = self.failures, self.missing
        parts = []
        if len(failures):
            first = failures.iloc[0]
            parts.append(
                f"{len(failures)} of {len(self._rows)} runs have failed (the first: {self._run(first)}, {first['type']}: {first['message']})"
            )
        if len(missing):
            first = missing.iloc[0]
            parts.append(
                f"{len(missing)} of {len(self._rows)} runs are missing (the first: {self._run(first)}, {first['reason']})"
            )
        return "; ".join(parts)

    def _run(self, row: pd.Series[Any]) -> str:
        return ", ".join(
            [
                *(f"{name}={row[name]}" for name in self.parameters),
                str(row["strategy"]),
                f"replication {row['replication']}",
            ]
        )

    @property
    def provenance(self) -> Provenance:
        """Provenance of the figures: scenario, changes, seed, version, fingerprints, and the Python line that asks for them again."""
        study = self.study
        replications = max((row.replication for row in self._rows), default=-1) + 1
        made = provenance("sweep", study.scenario, study.strategies, seed=self.seed, replications=replications)
        return dataclasses.replace(
            made, command=study.call(replications, dict.fromkeys(row.cell for row in self._rows))
        )

    @property
    def warnings(self) -> list[str]:
        """Warnings, to be read before the numbers are trusted."""
        self.frame  # noqa: B018 - looks at the store
        notes = [*self._violations_told(), *self.notes]
        if self.stopped:
            notes.append(self.stopped)
        if lacking := self.lacking():
            notes.append(lacking)
        stale = sum(self._state(i) == "stale" for i, key in enumerate(self._keys) if key in self._entries)
        if stale:
            notes.append(f"{stale} of {len(self._rows)} runs are of other code, and were accepted as they are")
        return notes

    def asked(self) -> dict[tuple[int, str], list[int]]:
        """Replications that were asked for, played or not, by number of the cell and strategy."""
        found: dict[tuple[int, str], list[int]] = {}
        for row in self._rows:
            found.setdefault((row.cell, row.strategy), []).append(row.replication)
        return found

    # --- cells ------------------------------------------------------------------------------------------------------------------------------

    def cell(self, which: Mapping[str, Any] | int | None = None) -> int:
        """The number of a cell.

        Args:
            which: Values of parameters that only one cell has; or its number; None: the only one.

        Raises:
            ScenarioError: No cell has them, or several have.
        """
        cells = self.cells
        if isinstance(which, int) and not isinstance(which, bool):
            if which not in cells.index:
                raise ScenarioError(f"there is no cell {which}; they are 0 to {cells.index.max()}", "cell")
            return which
        if which is not None and not isinstance(which, Mapping):
            raise ScenarioError(f"{shown(which)} is neither a number of a cell nor values of parameters", "cell")
        chosen = dict(which or {})
        match = np.ones(len(cells), dtype=bool)
        for name, value in chosen.items():
            if name not in self.parameters:
                raise ScenarioError(f"'{name}' is no parameter; {hint(name, self.parameters)}", "cell")
            match &= self._equals(name, value, cells.index)
        found = cells.index[match]
        if len(found) == 1:
            return int(found[0])
        said = ", ".join(f"{name}={value}" for name, value in chosen.items()) or "no values"
        if not len(found):
            raise ScenarioError(f"no cell has {said}", "cell")
        raise ScenarioError(
            f"{len(found)} cells have {said}; give values for {', '.join(n for n in self.parameters if n not in chosen)}",
            "cell",
        )

    def _equals(self, name: str, value: Any, cells: Any) -> Any:
        given = [self.study.cells[cell].values[name] for cell in cells]
        numbers, number = [measured(one)[0] for one in given], measured(value)[0]
        pairs = zip(given, numbers, strict=True)
        return np.array([one == value or (number is not None and other == number) for one, other in pairs], dtype=bool)

    def shown(self, parameter: str, value: Any) -> Any:
        """A value of a parameter as it is in the frame: ``"5ms"`` is 0.005; what no cell has stays as it is."""
        index = self._columns.index[self._equals(parameter, value, self._columns.index)]
        return self._columns.at[index[0], parameter] if len(index) else value
