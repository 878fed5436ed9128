"""A comparison: the results of several strategies on one scenario, as tables with intervals, differences, ratios and a decision."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import pandas as pd

from simtx.alerts import AlertRule, Alerts, watch
from simtx.arguments import named
from simtx.errors import ScenarioError
from simtx.experiments import said
from simtx.experiments.pairs import much_less
from simtx.experiments.reported import Reported
from simtx.experiments.stopping import Stopping, written
from simtx.metrics.figures import COMMITTED
from simtx.metrics.figures import unknown as unknown_metric
from simtx.metrics.guarantees import GUARANTEE, VIOLATED
from simtx.metrics.intervals import Interval, check_confidence, interval, kind_of, paired, ratio
from simtx.metrics.laws import Finding
from simtx.metrics.still_open import StillOpen
from simtx.protocols import Strategy
from simtx.scenario.advice import unreachable
from simtx.scenario.fingerprints import CodeFingerprint
from simtx.scenario.provenance import Provenance, command, provenance
from simtx.scenario.strata import strata
from simtx.views import View, view

if TYPE_CHECKING:
    from simtx.experiments.decision import Decision
    from simtx.experiments.stopping import Better
    from simtx.experiments.thresholds import Where
    from simtx.metrics.run import Run
    from simtx.protocols import Promise
    from simtx.report.pictures.accessors import ComparisonPlots
    from simtx.scenario import Scenario

_PARTS = ("mean", "low", "high", "half_width", "n")


class Result(NamedTuple):
    """Result of one run.

    Attributes:
        strategy: Label of the strategy in this comparison.
        replication: Number of the replication.
        summary: The run's summary; empty if it failed.
        digest: The run's digest; empty if it failed.
        error: One line; empty if it did not fail.
        executions: How often it was really started: once, or again where a worker had died with it.
        findings: What the laws of operation say about it (`simtx.metrics.laws`).
        struck: How often each fault has struck.
    """

    strategy: str
    replication: int
    summary: dict[str, float]
    digest: str
    error: str
    executions: int = 1
    findings: tuple[Finding, ...] = ()
    struck: Mapping[str, int] = {}


class Shown:
    """Some rows of a comparison's table, which show themselves on a terminal and in a notebook."""

    def __init__(self, comparison: Comparison, metrics: Sequence[str], confidence: float) -> None:
        self._comparison = comparison
        self._options = {"metrics": list(metrics), "confidence": confidence}

    def __str__(self) -> str:
        return str(view("comparison-text")(self._comparison, **self._options))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return str(view("comparison-html")(self._comparison, **self._options))


class Comparison(Reported):
    """Replications of several strategies on one scenario.

    Attributes:
        scenario: The scenario.
        strategies: Labels of the strategies, in the order in which they were given.
        promises: What the first answer to the client says, by strategy: ``decided`` or ``accepted``.
        seed: Seed of all streams.
        replications: Number of replications that were asked for; with a stopping rule, those of the strategy with most.
        stopped: Why it ended before all of them were finished; empty if it did not.
        stopping: The looks of the stopping rule and their results; None if there was none.
    """

    def __init__(
        self,
        scenario: Scenario,
        strategies: Mapping[str, Strategy],
        results: Sequence[Result],
        *,
        seed: int,
        replications: int,
        stopped: str = "",
        code: CodeFingerprint | None = None,
        notes: Sequence[str] = (),
        stopping: Stopping | None = None,
    ) -> None:
        self.scenario = scenario
        self.strategies = list(strategies)
        self.objects = dict(strategies)
        self.promises: dict[str, Promise] = {name: one.promise for name, one in strategies.items()}
        self.seed = seed
        self.replications = replications
        self.stopped = stopped
        self._code = code
        self._notes = list(notes)
        self._provenance: Provenance | None = None
        self.stopping = stopping
        self._frame: pd.DataFrame | None = None
        self._rows: dict[str, pd.DataFrame] | None = None
        order = {name: position for position, name in enumerate(self.strategies)}
        self._results = sorted(results, key=lambda one: (order[one.strategy], one.replication))

    @property
    def interrupted(self) -> bool:
        """Return whether it ended before all runs were finished; `stopped` says why."""
        return bool(self.stopped)

    @property
    def frame(self) -> pd.DataFrame:
        """Tidy: one row for each finished run, with `strategy`, `replication`, all metrics and the `digest`."""
        return self._whole().copy()

    def _whole(self) -> pd.DataFrame:
        """The frame itself, for those who do not change it."""
        if self._frame is None:
            rows = [
                {"strategy": one.strategy, "replication": one.replication, **one.summary, "digest": one.digest}
                for one in self._results
                if not one.error
            ]
            self._frame = pd.DataFrame(rows) if rows else pd.DataFrame(columns=["strategy", "replication", "digest"])
        return self._frame

    @property
    def executions(self) -> int:
        """Number of runs that were really started; more than there are results if workers died and their runs were started again."""
        return sum(one.executions for one in self._results)

    @property
    def failures(self) -> pd.DataFrame:
        """One row for each failed run: what went wrong, and the command that repeats it."""
        rows = [(one.strategy, one.replication, one.error, self._command(one)) for one in self._results if one.error]
        return pd.DataFrame(rows, columns=["strategy", "replication", "error", "repeat_with"])

    @property
    def violations(self) -> pd.DataFrame:
        """One row for each property that a run has violated although its strategy guarantees it: what, and the command that tells its stories."""
        rows = [
            (one.strategy, one.replication, found.place, found.text, said.stories_with(self._command(one)))
            for one in self._results
            for found in one.findings
            if found.law == GUARANTEE
        ]
        return pd.DataFrame(rows, columns=["strategy", "replication", "property", "text", "see_with"])

    def violated(self) -> dict[str, str]:
        """Strategies whose runs have violated what the strategy guarantees: in how many runs, and what."""
        told = {}
        for name in self.strategies:
            finished = [one for one in self._results if one.strategy == name and not one.error]
            broken = [[one.place for one in run.findings if one.law == GUARANTEE] for run in finished]
            runs = sum(map(bool, broken))
            if runs:
                which = ", ".join(dict.fromkeys(place for places in broken for place in places))
                told[name] = f"{runs} of {len(finished)} runs have violated what it guarantees ({which})"
        return told

    @property
    def provenance(self) -> Provenance:
        """Provenance: scenario, changes, seed, replications, version, fingerprints, and the command that repeats it."""
        if self._provenance is None:
            self._provenance = provenance(
                "compare",
                self.scenario,
                self.objects,
                seed=self.seed,
                replications=self.replications if self.stopping is None else self.stopping.numbers[-1],
                settings={} if self.stopping is None else {"until": written(self.stopping.rule)},
                code=self._code,
            )
        return self._provenance

    def coming_from(self, provenance: Provenance) -> Self:
        """The same comparison, with the provenance that was saved with it."""
        self._provenance = provenance
        return self

    @named
    def alerts(self, rules: Sequence[AlertRule] | None = None, **options: Any) -> dict[str, Alerts]:
        """Evaluate alert rules over the first replication of each strategy: which faults a monitoring system would have noticed.

        Args:
            rules: The rules; None: those of `simtx.alerts.default_rules`.
            options: As for `simtx.watch`.

        Raises:
            ScenarioError: As `simtx.watch`.
        """
        from simtx.simulator import simulate

        return {
            name: watch(simulate(self.scenario, strategy, seed=self.seed, trace=True), rules, **options)
            for name, strategy in self.objects.items()
        }

    @property
    def results(self) -> list[Result]:
        """All runs, failed ones included, by strategy and replication."""
        return list(self._results)

    @property
    def notes(self) -> list[str]:
        """Notes beside those of the scenario and the runs."""
        return list(self._notes)

    @named
    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the comparison into a folder, for `simtx.read`; its runs as a Parquet file that pandas, Polars and DuckDB read, too.

        Args:
            path: A new or empty folder.
            overwrite: Whether a result that is there is replaced.

        Returns:
            The folder.

        Raises:
            ScenarioError: It holds something, or cannot be written to.
        """
        return Path(view("save-comparison")(self, path, overwrite=overwrite))

    def _command(self, one: Result) -> str:
        """The line that repeats one run."""
        options = {"seed": self.seed, "replication": one.replication}
        return command("simulate", self.scenario, [self.objects[one.strategy]], options)

    @property
    def warnings(self) -> list[str]:
        """Warnings, to be read before the numbers are trusted."""
        laws = self._laws()
        violated = [line for line in laws if VIOLATED in line]
        notes = [*violated, *self.scenario.warnings, *unreachable(self.scenario, self.objects)]
        if self.stopped:
            wanted = self.replications * len(self.strategies)
            notes.append(f"{self.stopped}; {len(self.frame)} of {wanted} runs are finished")
        notes += [
            f"{one.strategy}, replication {one.replication} failed: {one.error}" for one in self._results if one.error
        ]
        if self.scenario.run.stratify:
            notes.insert(0, strata(self.scenario).note())
        return [*notes, *self._notes, *self._still_open(), *(line for line in laws if line not in violated)]

    def _laws(self) -> list[str]:
        """Findings of the laws of operation about the runs, and whether there are enough runs."""
        finished = [one for one in self._results if not one.error]
        counts = {name: sum(one.strategy == name for one in finished) for name in self.strategies}
        return [
            *said.lines((one.strategy, one.findings) for one in finished),
            *said.struck((one.strategy, one.struck) for one in finished),
            *said.replications(counts),
        ]

    def _still_open(self) -> list[str]:
        """One line for each strategy under which anything was open when a run ended."""
        columns = ["in_doubt_open", "locks_open", "unpublished_open"]
        frame = self.frame
        if not set(columns) <= set(frame):
            return []
        sums = frame.groupby("strategy", sort=False)[columns].sum()
        lines = [StillOpen(*map(int, row)).warning(f"the runs of {name}") for name, *row in sums.itertuples()]
        return [line for line in lines if line]

    @property
    def metrics(self) -> list[str]:
        """Names of all metrics."""
        return [name for name in self._whole().columns if name not in ("strategy", "replication", "digest")]

    def interval(self, strategy: str, metric: str, confidence: float = 0.95) -> Interval:
        """Return the mean of a metric over the replications with its interval, by the kind of quantity (`simtx.metrics.intervals`).

        Args:
            strategy: Label of the strategy.
            metric: Its name; the unit of the interval is that of the metric.
            confidence: Coverage of the interval, from 0 to 1.

        Raises:
            ScenarioError: No such strategy or metric in this comparison.
        """
        values = self._column(strategy, metric)
        level = self._level(confidence, len(values))
        return interval(values, level, kind=kind_of(metric), cap=most(metric, self.scenario))

    def _level(self, confidence: float, replications: int) -> float:
        """The confidence at which an interval is computed, so that it holds although a rule has looked at the results before."""
        check_confidence(confidence)
        if self.stopping is None:
            return confidence
        return 1 - (1 - confidence) * self.stopping.share(replications)

    def _column(self, strategy: str, metric: str) -> list[float]:
        if strategy not in self.strategies:
            raise ScenarioError(f"'{strategy}' was not compared; there are {', '.join(self.strategies)}", "strategy")
        frame = self._checked([metric])
        if self._rows is None:
            self._rows = {str(name): rows for name, rows in frame.groupby("strategy", sort=False)}
        rows = self._rows.get(strategy)
        return [float(value) for value in rows[metric]] if rows is not None else []

    def _checked(self, metrics: Sequence[str]) -> pd.DataFrame:
        """The frame, if it has all of these metrics, or if it is empty."""
        frame = self._whole()
        unknown = [name for name in metrics if name not in frame]
        if len(frame) and unknown:
            raise unknown_metric(unknown[0], self.metrics)
        return frame

    @named
    def table(self, metrics: Sequence[str] | None = None, confidence: float = 0.95) -> pd.DataFrame:
        """Tabulate metrics, one row for each strategy: mean, ends of the interval, half their distance, and number of replications.

        If an event was never seen, the ends are bounds on the share of the runs that have any; see `simtx.metrics.intervals`.

        Args:
            metrics: Their names, which say the units; None: all.
            confidence: Coverage of the intervals, from 0 to 1.

        Raises:
            ScenarioError: There is no such metric.
        """
        check_confidence(confidence)
        columns: dict[tuple[str, str], list[float]] = {}
        for metric in self.metrics if metrics is None else metrics:
            columns |= _columns(metric, [self.interval(name, metric, confidence) for name in self.strategies])
        frame = pd.DataFrame(columns, index=pd.Index(self.strategies, name="strategy"))
        frame.insert(0, ("promise", ""), [self.promises[name] for name in self.strategies])
        return frame

    @named
    def show(self, *metrics: str, confidence: float = 0.95) -> Shown:
        """The table of some metrics, as the comparison shows all of them: with units, intervals and what an answer promises.

        Args:
            metrics: Names, such as ``latency_p50_ms``, in the order of the rows.
            confidence: Coverage of the intervals.

        Raises:
            ScenarioError: There is no such metric; the nearest is named.
        """
        if not metrics:
            raise ScenarioError(f"name at least one metric, such as {', '.join(self.metrics[:3])}", "metrics")
        self._checked(metrics)
        check_confidence(confidence)
        return Shown(self, metrics, confidence)

    @named
    def differences(
        self, baseline: str, metrics: Sequence[str] | None = None, confidence: float = 0.95
    ) -> pd.DataFrame:
        """Tabulate strategy minus baseline, paired by replication: both got the same transactions, demands and faults.

        Args:
            baseline: Label of the strategy that is subtracted.
            metrics: Their names, which say the units; None: all.
            confidence: Coverage of the intervals, from 0 to 1.

        Raises:
            ScenarioError: The baseline was not compared.
        """
        return self._against(baseline, metrics, confidence, paired, "-")

    @named
    def ratios(self, baseline: str, metrics: Sequence[str] | None = None, confidence: float = 0.95) -> pd.DataFrame:
        """Strategy over baseline, paired by replication: geometric means of positive quantities; 1 means no difference.

        Args:
            baseline: What is divided by.
            metrics: Names of metrics; None: all that cannot be negative.
            confidence: Coverage of the intervals.

        Raises:
            ScenarioError: The baseline was not compared, or a metric can be negative.
        """
        if metrics is None:
            metrics = [name for name in self.metrics if kind_of(name) == "positive"]
        for name in metrics:
            if kind_of(name) == "real" and name in self.metrics:
                raise ScenarioError(f"'{name}' may be negative and has no ratios; use differences", "metric")
        return self._against(baseline, metrics, confidence, ratio, "/")

    def _against(
        self,
        baseline: str,
        metrics: Sequence[str] | None,
        confidence: float,
        estimate: Callable[[Iterable[float], Iterable[float], float], Interval],
        sign: str,
    ) -> pd.DataFrame:
        self._checked(() if metrics is None else metrics)
        check_confidence(confidence)
        if baseline not in self.strategies:
            raise ScenarioError(f"'{baseline}' was not compared; there are {', '.join(self.strategies)}", "baseline")
        columns: dict[tuple[str, str], list[float]] = {}
        others = [name for name in self.strategies if name != baseline]
        for metric in self.metrics if metrics is None else metrics:
            sides = [self.pairs(name, baseline, metric) for name in others]
            columns |= _columns(metric, [estimate(*side, self._level(confidence, len(side[0]))) for side in sides])
        index = pd.Index(
            [f"{name} {sign} {baseline}" for name in others], name="difference" if sign == "-" else "ratio"
        )
        return pd.DataFrame(columns, index=index)

    @named
    def best(
        self,
        metric: str,
        where: Where | None = None,
        *,
        better: Better | None = None,
        confidence: float = 0.95,
    ) -> Decision:
        """Find the best strategy by a metric, among those that keep to some thresholds, and whether the runs support it.

        Args:
            metric: What ranks, such as ``decision_p99_ms``.
            where: Thresholds of the means: ``{"missing_effects": "== 0"}``, ``["latency_committed_p99_ms < 200"]``, or one text.
            better: ``lower`` or ``higher``; None: what is better of this metric.
            confidence: With which all statements of the decision hold together.

        Raises:
            ScenarioError: There is no such metric, or a threshold is none.
        """
        from simtx.experiments.decision import decide

        return decide(self, metric, where, better=better, confidence=confidence)

    def pairs(self, strategy: str, baseline: str, metric: str) -> tuple[list[float], list[float]]:
        """Return the values of two strategies in the replications that both have finished, in their order.

        Args:
            strategy: Label of the first.
            baseline: Label of the second.
            metric: The metric; values have its unit.

        Raises:
            ScenarioError: No such strategy or metric in this comparison.
        """
        ours, theirs = (self._by_replication(name, metric) for name in (strategy, baseline))
        common = [number for number in ours if number in theirs]
        return [ours[number] for number in common], [theirs[number] for number in common]

    def committing_less(self, among: Sequence[str] | None = None, confidence: float = 0.95) -> dict[str, str]:
        """Strategies that surely commit less than another one, by more than 5 points, and the one that commits the most: what is aborted early also ends early.

        Args:
            among: Labels; None: all.
            confidence: Of each comparison of two, from 0 to 1.
        """
        if COMMITTED not in self.metrics:
            return {}
        shares = {name: self._by_replication(name, COMMITTED) for name in (self.strategies if among is None else among)}
        return much_less(
            {name: {i: v for i, v in one.items() if not math.isnan(v)} for name, one in shares.items()},
            check_confidence(confidence),
        )

    def _by_replication(self, strategy: str, metric: str) -> dict[int, float]:
        values = self._column(strategy, metric)
        numbers = [one.replication for one in self._results if one.strategy == strategy and not one.error]
        return dict(zip(numbers, values, strict=True))

    plot: View[ComparisonPlots] = View(
        "comparison",
        "Pictures: `comparison.plot()` draws the overview, `comparison.plot.differences()` and others what completion lists.",
    )

    def __repr__(self) -> str:
        done = f"{len(self.frame)} runs" + (f" ({self.stopped})" if self.stopped else "")
        broken = self.violated()
        marked = f"; VIOLATED: {', '.join(broken)}" if broken else ""
        return f"<Comparison of {', '.join(self.strategies)} on {self.scenario.name}: {done}, seed {self.seed}{marked}>"

    def __str__(self) -> str:
        return str(view("comparison-text")(self))

    def _repr_html_(self) -> str:
        return str(view("comparison-html")(self))


def bounded(metric: str) -> bool:
    """Return whether the mean of a metric may have a bound that follows from the scenario; see `most`."""
    return metric.endswith("_per_million") or metric in ("throughput_per_s", "goodput_per_s")


def most(metric: str, scenario: Scenario) -> float:
    """Upper bound of the mean of a metric: nothing is done that was not asked for."""
    if metric.endswith("_per_million"):
        return 1e6
    workload = scenario.workload
    steady = bounded(metric) and workload.kind in ("poisson", "deterministic")
    return workload.rate if steady else math.inf


def of_run(run: Run) -> Comparison:
    """A single run as a comparison of one strategy with itself alone: what a report of it is made from."""
    name = run.strategy.name
    summary = {str(metric): float(value) for metric, value in run.summary.items()}
    one = Result(name, run.replication, summary, run.digest, "", findings=tuple(run.findings))
    made = Comparison(run.scenario, {name: run.strategy}, [one], seed=run.seed, replications=1)
    return made.coming_from(run.provenance)


def _columns(metric: str, estimates: Sequence[Interval]) -> dict[tuple[str, str], list[float]]:
    """Columns of a table for the intervals of one metric."""
    return {(metric, part): [getattr(one, part) for one in estimates] for part in _PARTS}
