"""Result of a sweep: a table of runs, comparisons of single cells, decisions, the frontier, pictures."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from html import escape
from inspect import signature
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from simtx.arguments import named
from simtx.errors import ScenarioError
from simtx.experiments.comparison import Comparison, Result
from simtx.experiments.decision import OUT
from simtx.experiments.pairs import compared
from simtx.experiments.reported import Reported
from simtx.experiments.stopping import better_of
from simtx.experiments.sweep.runs import Runs
from simtx.metrics.figures import ranking
from simtx.metrics.guarantees import GUARANTEE
from simtx.metrics.intervals import check_confidence, kind_of
from simtx.metrics.laws import Finding
from simtx.scenario.units import hint
from simtx.views import View, view

if TYPE_CHECKING:
    from simtx.experiments.frontier.result import Frontier
    from simtx.experiments.sensitivity.result import Sensitivity
    from simtx.experiments.stopping import Better
    from simtx.experiments.sweep.runner import Settings
    from simtx.experiments.thresholds import Where
    from simtx.report.pictures.accessors import SweepPlots


class Sweep(Runs, Reported):
    """The runs of a sweep, as its store has them.

    Attributes:
        scenario: The scenario that the cells change.
        parameters: Names of the parameters, which are columns of the frame.
        units: Their units: ``s``, ``1/s`` or nothing.
        strategies: Labels of the strategies, in the order in which they were given.
        seed: Seed of all streams.
        stopped: Why it ended before all of its runs were finished; empty if it did not.
        notes: What a reader should know about how it was played.
        plan: What there was to do in the last call.
    """

    # --- cells --------------------------------------------------------------------------------------------------------------------------

    @named
    def compare(self, cell: Mapping[str, Any] | int | None = None) -> Comparison:
        """The comparison of the strategies in one cell.

        Args:
            cell: As for `cell`.

        Raises:
            ScenarioError: There is no such cell.
        """
        number = self.cell(cell)
        self.frame  # noqa: B018 - looks at the store
        scenario = self.study.scenario_of(number)
        figures = self._figures_of([key for row, key in zip(self._rows, self._keys, strict=True) if row.cell == number])
        results, replications = [], 0
        for row, key in zip(self._rows, self._keys, strict=True):
            if row.cell != number:
                continue
            replications = max(replications, row.replication + 1)
            one = self._entries.get(key)
            if one is not None and one.has_figures:
                summary = dict(zip(figures.columns, figures.loc[key].to_numpy(dtype=float).tolist(), strict=True))
                found = tuple(Finding(GUARANTEE, name, said) for name, said in self._broken.get(key, ()))
                results.append(
                    Result(row.strategy, row.replication, summary, one.digest or "", "", one.executions, found)
                )
            elif one is not None and one.stage:
                error = f"{one.type}: {one.message}"
                results.append(Result(row.strategy, row.replication, {}, "", error, one.executions))
        strategies = {label: self.study.variant(self.study.cells[number], label)[0] for label in self.strategies}
        present = {
            label: one
            for label, one in strategies.items()
            if any(row.strategy == label for row in self._rows if row.cell == number)
        }
        given_up = next((why for (one, _), why in self._skipped.items() if one == number), "")
        stopped = (self.stopped or given_up) if len(results) < sum(row.cell == number for row in self._rows) else ""
        return Comparison(scenario, present, results, seed=self.seed, replications=replications, stopped=stopped)

    @named
    def best(
        self,
        metric: str,
        where: Where | None = None,
        *,
        better: Better | None = None,
        confidence: float = 0.95,
        jointly: bool = True,
    ) -> pd.DataFrame:
        """Find the best strategy in each cell, and whether the runs support it; see `Comparison.best`.

        Args:
            metric: What ranks.
            where: Thresholds of the means, such as ``["latency_committed_p99_ms < 200", "missing_effects == 0"]``.
            better: ``lower`` or ``higher``; None: what is better of this metric.
            confidence: With which all statements hold together.
            jointly: Those of all cells; otherwise those of each cell by itself.

        Returns:
            One row a cell: the parameters, `strategy` (None: nobody can be named; `aborting` says who would be, but commits much less than another one), `supported`, `guaranteed` (nothing ended its runs early), `candidates` (who may be the
            best), `more` (replications in addition that would settle it; infinite if what is open may well be equal), `at_stake` (by which share of its
            figure another one is better than `strategy`, at most), `timeouts` (which figures sit on a
            configured timeout, as ``2pc = vote_timeout``, and say nothing about speed), `violated` (whose runs have violated what the strategy guarantees,
            and what: they are not admissible).

        Raises:
            ScenarioError: There is no such metric, or a threshold is none.
        """
        numbers = list(self.cells.index)
        level = 1 - (1 - check_confidence(confidence)) / (len(numbers) if jointly else 1)  # Bonferroni
        found = []
        for number in numbers:
            cell = self.compare(int(number))
            if not len(cell.frame):  # interrupted before it, or all of its runs have failed
                nobody = {"strategy": None, "supported": False, "guaranteed": False, "candidates": self.strategies}
                rest = {"more": math.nan, "at_stake": math.nan, "timeouts": "", "violated": "", "aborting": ""}
                found.append({**self._values(int(number)), **nobody, **rest})
                continue
            one = cell.best(metric, where, better=better, confidence=level)
            row: dict[str, Any] = {"strategy": one.strategy, "supported": one.supported, "guaranteed": one.guaranteed}
            admitted = one.ranking[one.ranking["standing"] != OUT]
            sits = "; ".join(f"{name} {text}" for name, text in admitted["timeout"].items() if text)
            row |= {"candidates": one.candidates, "more": one.more, "at_stake": one.at_stake, "timeouts": sits}
            row["violated"] = "; ".join(f"{name}: {said}" for name, said in one.violated.items())
            row["aborting"] = one.aborting
            found.append({**self._values(int(number)), **row})
        return pd.DataFrame(found, index=numbers)

    def leading(
        self,
        metric: str,
        cells: Sequence[int] | None = None,
        strategies: Sequence[str] | None = None,
        *,
        better: Better | None = None,
        confidence: float = 0.95,
    ) -> pd.Series[Any]:
        """Strategies that may be the best by a metric in each cell: the strategies of which no other is told better, pair by pair over the replications.

        What a title of a picture may say, for the strategies and cells that it shows. It looks at figures alone: thresholds and what an answer promises
        are for `best`, and which figures are a configured timeout is what `timeouts` says. A mean that leaves out what had not ended tells nobody apart. A strategy of which runs have failed or are missing, or have no value, is told from no other.
        By a time of all transactions nobody leads where one that may be the best commits much less than another one (`committing_less`).

        Args:
            metric: What ranks.
            cells: Numbers of cells; None: all.
            strategies: Labels; None: all.
            better: ``lower`` or ``higher``; None: what is better of this metric.
            confidence: With which the statements of all these cells hold together.

        Returns:
            A tuple of labels for each cell; one label: the runs tell it from all others; none: nobody is ranked there.

        Raises:
            ScenarioError: There is no such metric.
        """
        ranking(metric)
        numbers = list(self.cells.index) if cells is None else list(dict.fromkeys(cells))
        names = self.strategies if strategies is None else [one for one in self.strategies if one in strategies]
        lower = (better or better_of(metric)) == "lower"
        pairs = list(combinations(names, 2))
        alpha = (1 - check_confidence(confidence)) / max(1, len(numbers) * len(pairs))  # Bonferroni
        asked = Counter((row.cell, row.strategy) for row in self._rows)
        values = self._by_replication(metric)
        partial = self.leaving_out(metric)
        less = self.committing_less(metric, names, 1 - (1 - confidence) / max(1, len(numbers)))  # as in `best`
        found = []
        for number in numbers:
            whole = {one: values.get((number, one), {}) for one in names}
            whole = {one: seen for one, seen in whole.items() if seen and len(seen) == asked[number, one]}
            behind = set()
            if any((number, one) in partial for one in names):
                whole = {}  # a mean of those that ended ranks nobody
            for one, other in pairs:
                if one in whole and other in whole:
                    both = sorted(whole[one].keys() & whole[other].keys())
                    ours, theirs = ([whole[name][i] for i in both] for name in (one, other))
                    told = compared(ours, theirs, kind_of(metric), alpha).lower
                    if told is not None:
                        behind.add(other if told == lower else one)
            ahead = tuple(one for one in names if one not in behind and asked[number, one])
            found.append(() if any((number, one) in less for one in ahead) else ahead)
        return pd.Series(found, index=numbers, dtype=object)

    # --- more ---------------------------------------------------------------------------------------------------------------------------

    def extend(self, cells: pd.DataFrame | Sequence[Mapping[str, Any]], replications: int, **options: Any) -> Sweep:
        """Play more cells, or more replications of these, and add them to the store.

        Args:
            cells: Values for every parameter, a row a cell, in the units of `units`. A column `strategy` says who plays it; without one, everybody.
            replications: Of each of these afterwards; those that the store has are not played again.
            options: `executor`, `workers`, `progress` and others of `simtx.sweep`, if they shall be other than before.

        Returns:
            The sweep with these rows and all that it had.

        Raises:
            ScenarioError: A cell is wrong.
        """
        more: Sweep = view("sweep-extended")(self, cells, replications, self._settings(options, "extend"))
        return more

    def _settings(self, options: Mapping[str, Any], method: str) -> Settings:
        """Settings with which the sweep was played, with other options, which a method was called with beside its own.

        Raises:
            ScenarioError: There is no such option.
        """
        known = [one.name for one in fields(self.settings)]
        for name in options:
            if name not in known:
                own = [
                    one.name
                    for one in signature(getattr(self, method)).parameters.values()
                    if one.kind is one.KEYWORD_ONLY
                ]
                raise ScenarioError(f"there is no argument '{name}'; {hint(name, [*own, *known])}", method)
        return replace(self.settings, **options)

    def frontier(
        self,
        x: str,
        y: str | None = None,
        metric: str = "latency_p99_ms",
        *,
        between: Sequence[str] | None = None,
        budget: int = 1000,
        undecided_area: float = 0.05,
        at: Mapping[str, Any] | None = None,
        confidence: float = 0.95,
        better: Literal["lower", "higher"] | None = None,
        scales: Mapping[str, Literal["linear", "log"]] | None = None,
        batch: int = 4,
        sites: int = 1,
        seed: int = 1,
        **options: Any,
    ) -> Frontier:
        """Find where the winner changes over one or two parameters: by the runs that are there, and by those that help most, which are added to the store.

        Args:
            x: A parameter with numbers; the map goes from its lowest value to its highest.
            y: Another one; None: a curve over `x`, with an interval for each crossing.
            metric: What is compared.
            between: Two or more strategies; None: all.
            budget: Runs that may be added. A paired replication is a run of each strategy.
            undecided_area: Share of the area (of one axis: its length) in which the winner may stay undecided: then the search stops.
            at: Values of the other parameters, which are held.
            confidence: Of a winner at a point.
            better: ``lower`` or ``higher``: which figure wins; None: as is usual for the metric.
            scales: ``linear`` or ``log`` by axis; absent: ``log`` if its ends differ by a factor of ten.
            batch: Replications that are added to a site at once.
            sites: Sites that are played side by side; more of them keep more processors busy, and each is chosen by less.
            seed: Of the first sites.
            options: `executor`, `workers`, `progress` and others of `simtx.sweep`, if they shall be other than before.

        Raises:
            ScenarioError: An input is wrong, or the budget does not do for the first sites.
        """
        self._settings(options, "frontier")
        found: Frontier = view("sweep-frontier")(
            self,
            x,
            y,
            metric,
            between=between,
            budget=budget,
            undecided_area=undecided_area,
            at=at,
            confidence=confidence,
            better=better,
            scales=scales,
            batch=batch,
            sites=sites,
            seed=seed,
            **options,
        )
        return found

    @named
    def sensitivity(
        self,
        metric: str = "latency_p99_ms",
        between: Sequence[str] | None = None,
        *,
        confidence: float = 0.95,
        seed: int = 1,
    ) -> Sensitivity:
        """Find the parameters that the answer depends on, at no further run: Sobol indices of a Gaussian process through the cells.

        Args:
            metric: The figure.
            between: One strategy, or two that are compared; None: all, if there are no more.
            confidence: Of the intervals.
            seed: Of all draws.

        Raises:
            ScenarioError: Runs have failed or are missing, or there are too few cells.
        """
        among = self.strategies if between is None else between
        found: Sensitivity = view("sweep-sensitivity")(self, metric, among, confidence=confidence, seed=seed)
        return found

    plot: View[SweepPlots] = View(
        "sweep",
        "Pictures: `sweep.plot(metric)` draws a metric over the parameters, `sweep.plot.load()` and others what completion lists.",
    )

    def __repr__(self) -> str:
        done = f"{int((self.frame['error'] == '').sum())} of {len(self._rows)} runs" + (
            f" ({self.stopped})" if self.stopped else ""
        )
        over = f" over {', '.join(self.parameters)}" if self.parameters else ""
        broken = dict.fromkeys(label for _, label in self.violated())
        marked = f"; VIOLATED: {', '.join(broken)}" if broken else ""
        return f"<Sweep of {', '.join(self.strategies)} on {self.scenario.name}{over}: {done}, {len(self.cells)} cells, seed {self.seed}{marked}>"

    def __str__(self) -> str:
        return str(view("sweep-text")(self))

    def _repr_html_(self) -> str:
        notes = "".join(f"<p><b>Note:</b> {escape(text)}</p>" for text in self.warnings)
        return f"<p>{escape(repr(self).strip('<>'))}</p>{notes}{view('sweep-html')(self)}"
