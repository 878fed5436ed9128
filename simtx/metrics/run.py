"""The result of one run, in whatever world it took place: one number a metric, one row a transaction, the event log, the digest."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import pandas as pd

from simtx.arguments import checked, named, whole
from simtx.errors import ScenarioError
from simtx.event_log.log import EventLog
from simtx.metrics import recovery, timeline
from simtx.metrics.delivery import given_up
from simtx.metrics.guarantees import GUARANTEE, Broken, broken_line, culprits, guaranteed, violated
from simtx.metrics.intervals import Interval
from simtx.metrics.laws import Finding, findings
from simtx.metrics.rundata import RunData
from simtx.metrics.sections import section_interval
from simtx.metrics.summary import summarise, transactions_frame
from simtx.scenario.provenance import Provenance
from simtx.scenario.provenance import provenance as made
from simtx.views import View, view

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simtx.protocols import Promise, Strategy
    from simtx.report.pictures.accessors import RunPlots
    from simtx.scenario import Scenario


_DURATION: Final = re.compile(r"(latency|decision|settle|window)_(p[1-9][0-9]?|mean)_ms")


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that a run has done although its strategy guarantees never to do it.

    Attributes:
        property: Which property: a name of `simtx.metrics.guarantees.PROPERTIES`, as in `simtx.verify`.
        transaction: The transaction, or -1 if it is about the value of a store, which many transactions have changed.
        text: One line that says what is wrong.
    """

    property: str
    transaction: int
    text: str
    _found: Broken = field(repr=False, compare=False)
    _run: Run = field(repr=False, compare=False)

    def __str__(self) -> str:
        return f"{self.property}: {f'transaction {self.transaction}: ' if self.transaction >= 0 else ''}{self.text}"

    def transactions(self) -> list[int]:
        """The transaction; of a value, those that have changed it by something else than their plans say, from the event log."""
        if self.transaction >= 0:
            return [self.transaction]
        return culprits(self._run.trace, self._found.service, self._found.key)

    def story(self) -> str:
        """Account of how it came to it: the finding, and what the event log says of its transaction, of the first one if there are several.

        If the log was not recorded, the run is played again.
        """
        which = self.transactions()
        if not which:
            return f"{self}\nno single transaction has done it: the log has nothing that its plan does not call for"
        several = f"; {len(which)} transactions have done the like, this is the first" if len(which) > 1 else ""
        return f"{self}{several}\n{self._run.trace.text(which[0])}"

    def diagram(self, *, ax: Axes | None = None) -> Axes:
        """Draw the messages of its transaction, of the first one if there are several.

        Raises:
            ScenarioError: The log shows no transaction that has done it.
        """
        which = self.transactions()
        if not which:
            raise ScenarioError(f"no single transaction has done it: {self}", "diagram")
        return self._run.trace.diagram(which[0], ax=ax)


class Run:
    """One run of one strategy on one scenario.

    Attributes:
        scenario: The scenario.
        strategy: The strategy object, with its options.
        seed: Seed of the random streams.
        replication: Number of the replication under that seed.
        data: The raw numbers.
        digest: Hex string over all transactions, final values and times: same seed, same digest.
        engine: The engine that has played it: ``fast`` or ``interpreted``; empty if it was not simulated here.
        engine_reason: Why it was interpreted; empty if it was not.
    """

    def __init__(
        self,
        scenario: Scenario,
        strategy: Strategy,
        seed: int,
        replication: int,
        data: RunData,
        trace: EventLog | Callable[[], EventLog],
        warnings: Sequence[str] = (),
        *,
        provenance: Callable[[], Provenance] | Provenance | None = None,
        engine: str = "",
        engine_reason: str = "",
    ) -> None:
        self.engine = engine
        self.engine_reason = engine_reason
        self.scenario = scenario
        self.strategy = strategy
        self.seed = seed
        self.replication = replication
        self.data = data
        self.digest = data.digest
        self._told = [*warnings, *data.bounds_violated]
        self._findings: list[Finding] | None = None
        self._warnings: list[str] | None = None
        self._trace = trace
        self._provenance = provenance
        self._transactions: pd.DataFrame | None = None
        self._summary: pd.Series[float] | None = None
        self._timeline: pd.DataFrame | None = None
        self._quantities: pd.DataFrame | None = None

    @property
    def violations(self) -> tuple[Violation, ...]:
        """Violations of the guarantees of its strategy (`simtx.metrics.guarantees`); of each property at most the first hundred.

        What a strategy is known not to guarantee, such as atomicity under a dual write, is no violation. `watched` lists what was looked at.
        """
        kept = guaranteed(self.strategy, self.data.unfinished)
        return tuple(
            Violation(one.property, one.tx, one.text, one, self) for one in self.data.broken if one.property in kept
        )

    @property
    def watched(self) -> tuple[str, ...]:
        """The properties that this run was checked for; empty if a version without these checks has saved it."""
        kept = guaranteed(self.strategy, self.data.unfinished)
        return tuple(name for name in self.data.watched if name in kept)

    @property
    def findings(self) -> list[Finding]:
        """Violations, and findings of the laws of operation (`simtx.metrics.guarantees`, `simtx.metrics.laws`)."""
        if self._findings is None:
            self._findings = [*self._violated(), *findings(self)]
        return self._findings

    @property
    def warnings(self) -> list[str]:
        """Warnings, to be read before the numbers are trusted: of the scenario, of what is still open, and of the laws of operation."""
        if self._warnings is None:
            still_open = self.data.still_open.warning()
            gone = given_up(self.data.extra)
            first = [one.text for one in self.findings if one.law == GUARANTEE]
            lines = [
                *first,
                *self._told,
                *(one for one in (gone, still_open) if one),
                *(one.text for one in self.findings),
            ]
            self._warnings = list(dict.fromkeys(lines))
        return self._warnings

    def _violated(self) -> list[Finding]:
        """One finding for each property that the run has violated."""
        firsts: dict[str, Violation] = {}
        for one in self.violations:
            firsts.setdefault(one.property, one)
        return [
            Finding(GUARANTEE, name, broken_line(name, self.data.broken_counts.get(name, 1), str(one)))
            for name, one in firsts.items()
        ]

    @property
    def promise(self) -> Promise:
        """Promise of the first answer to the client: ``decided`` or ``accepted``."""
        return self.strategy.promise

    @property
    def provenance(self) -> Provenance:
        """Provenance: scenario, changes, seed, version, fingerprints, and the command that repeats it."""
        if self._provenance is None:
            known = {self.strategy.name: self.strategy}
            self._provenance = made("simulate", self.scenario, known, seed=self.seed, replication=self.replication)
        elif not isinstance(self._provenance, Provenance):
            self._provenance = self._provenance()
        return self._provenance

    def coming_from(self, provenance: Provenance) -> Self:
        """The same run, with a provenance that knows more than scenario, strategy and seed."""
        self._provenance = provenance
        return self

    @property
    def trace(self) -> EventLog:
        """The event log. If it was not recorded, the run is played again with recording on: same seed, same run."""
        if not isinstance(self._trace, EventLog):
            self._trace = self._trace()
        if self._trace.provenance is None:
            self._trace.provenance = self.provenance
        return self._trace

    @property
    def transactions(self) -> pd.DataFrame:
        """One row a transaction; durations in milliseconds, `arrival_s` in seconds; not a number: it had not ended when the run ended."""
        if self._transactions is None:
            self._transactions = transactions_frame(self.data)
        return self._transactions

    @property
    def summary(self) -> pd.Series[float]:
        """One number a metric, over the transactions that arrived after the warm-up; units are in the names; infinite: it had not ended."""
        if self._summary is None:
            self._summary = summarise(self.transactions, self.data, violated(self.strategy, self.data))
        return self._summary

    @property
    def timeline(self) -> pd.DataFrame:
        """Samples from the start until everything is drained: drift, open transactions, queues and backlogs.

        The columns are defined in docs/metrics.md. The last arrival is at ``run.data.horizon``. `run.timeline_every` of the scenario says how close
        the samples are.
        """
        return timeline.frame(self.data) if self._timeline is None else self._timeline.copy()

    @property
    def recovery(self) -> pd.DataFrame:
        """One row for each strike of a fault: begin and end, the peaks of backlog, open transactions and drift, and the seconds until all was as before.

        ``recovery_s`` is infinite if that was not reached in the ``watched_s`` seconds from the fault's end to the end of the run.
        """
        return recovery.frame(self.data.struck, self.timeline, self.data.end)

    @property
    def quantities(self) -> pd.DataFrame:
        """Drift of every conserved quantity; the summary shows the first one."""
        if self._quantities is not None:
            return self._quantities.copy()
        rows = [
            (q.name, q.unit, q.net_mean, q.gross_mean, q.peak, q.violation_share, q.final) for q in self.data.quantities
        ]
        names = [
            "invariant",
            "unit",
            "drift_net_mean",
            "drift_gross_mean",
            "drift_peak",
            "violation_time_share",
            "final_residual",
        ]
        return pd.DataFrame.from_records(rows, columns=names).set_index("invariant")

    @property
    def drift_unit(self) -> str:
        """Unit of the drift numbers in the summary."""
        return self.data.quantities[0].unit if self.data.quantities else ""

    @property
    def recorded(self) -> bool:
        """Return whether the event log is there, or would have to be made by playing the run again."""
        return isinstance(self._trace, EventLog)

    @named
    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the run into a folder, for `simtx.read`; figures as Parquet files that pandas, Polars and DuckDB read, too.

        Args:
            path: A new or empty folder.
            overwrite: Whether a result that is there is replaced.

        Returns:
            The folder.

        Raises:
            ScenarioError: It holds something, or cannot be written to.
        """
        return Path(view("save-run")(self, path, overwrite=overwrite))

    def restore(
        self,
        summary: pd.Series[float],
        transactions: pd.DataFrame,
        timeline: pd.DataFrame,
        quantities: pd.DataFrame,
        *,
        warnings: Sequence[str],
    ) -> None:
        """Take over the figures that were saved, in place of those that this version would make of the raw numbers."""
        self._summary, self._transactions, self._timeline, self._quantities = (
            summary,
            transactions,
            timeline,
            quantities,
        )
        self._warnings = list(warnings)

    @checked(n=whole(1))
    def slowest(self, n: int = 10) -> pd.DataFrame:
        """The transactions that took longest until they were decided, those that were not decided at all first.

        Args:
            n: How many rows.

        Returns:
            Rows of `transactions`, of those that were measured, if any was; ``run.trace.diagram("slowest")`` draws the first one.
        """
        rows = self.transactions
        measured = rows[rows["measured"]]
        chosen = measured if len(measured) else rows
        open_first = chosen["decision_ms"].fillna(math.inf)
        order = pd.DataFrame({"took": -open_first, "arrival": chosen["arrival_s"]}).sort_values(["took", "arrival"])
        return chosen.loc[order.index[:n]].reset_index(drop=True)

    def interval(self, metric: str, confidence: float = 0.95) -> Interval:
        """A duration of this one run with its interval, from ten sections of it, as long as the run is long enough for one.

        Args:
            metric: A quantile or mean of a duration: ``latency_p99_ms``, ``decision_p50_ms``, ``settle_mean_ms``, ``window_p99_ms``.
            confidence: Coverage, between 0 and 1.

        Raises:
            ScenarioError: It is no such metric.
        """
        match = _DURATION.fullmatch(metric)
        if match is None:
            raise ScenarioError(
                f"'{metric}' has no interval within one run; quantiles and means of latency, decision, settle and window have, "
                "such as 'latency_p99_ms'",
                "metric",
            )
        column, figure = match.groups()
        rows = self.transactions
        values = rows.loc[rows["measured"], f"{column}_ms"].to_numpy(dtype=float)
        return section_interval(values, None if figure == "mean" else int(figure[1:]) / 100, confidence)

    plot: View[RunPlots] = View(
        "run",
        "Pictures of the run: `run.plot()` draws its timeline, `run.plot.latency()` and others what completion lists.",
    )

    def plot_start(self, *, ax: Axes | None = None) -> Axes:
        """Draw the start of the run beside the warm-up and the cut of MSER-5; the same as `run.plot.start`."""
        return self.plot.start(ax=ax)

    def __repr__(self) -> str:
        return f"<Run of {self.strategy.name} on {self.scenario.name}: {len(self.transactions)} transactions, seed {self.seed}/{self.replication}, digest {self.digest[:12]}{self._marked()}>"

    def _marked(self) -> str:
        names = dict.fromkeys(one.property for one in self.violations)
        return f"; VIOLATED: {', '.join(names)}" if names else ""

    def _repr_html_(self) -> str:
        return str(view("run-html")(self))
