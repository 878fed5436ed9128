"""The result of one run, in whatever world it took place: one number a metric, one row a transaction, the event log, the digest."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from simtx.metrics import views
from simtx.metrics.trace import Trace

if TYPE_CHECKING:
    from simtx.protocols import Promise, Strategy
    from simtx.scenario import Scenario

OUTCOMES = ("committed", "aborted", "compensated", "stuck", "in-flight", "incomplete", "lost")
PROMISES = {
    "decided": "the outcome is final",
    "accepted": "the request was accepted; the outcome comes later",
}


@dataclass(frozen=True, slots=True)
class ConservedQuantity:
    """Drift of one conserved quantity over the measured window (metrics M2 and M3).

    Attributes:
        name: Name of the invariant.
        unit: Unit of the quantity.
        net_mean: Time average of the absolute residual.
        gross_mean: Time average of the sum of absolute in-flight amounts.
        peak: Largest absolute residual.
        violation_share: Share of the time in which the residual was not zero.
        final: Residual at the end of the run, after everything has drained.
    """

    name: str
    unit: str
    net_mean: float
    gross_mean: float
    peak: float
    violation_share: float
    final: float


@dataclass(slots=True)
class RunData:
    """What a host hands over when a run is finished. Times in seconds; `origin` is the run's zero on the machine's monotonic clock."""

    columns: dict[str, Sequence[float] | Sequence[str]]
    quantities: list[ConservedQuantity]
    warmup: float
    horizon: float
    end: float
    partial_share: float
    residual: float
    bounds_violated: list[str]
    events: int
    alerts: int
    deadlocks: int
    lock_timeouts: int
    faults: int
    breaker_rejections: int
    utilisation: dict[str, float]
    timeline: list[tuple[float, ...]]
    services: list[str]
    digest: str
    extra: dict[str, float] = field(default_factory=dict)
    origin: float | None = None


class Run:
    """One run of one strategy on one scenario.

    Attributes:
        scenario: The scenario.
        strategy: The strategy object, with its options.
        seed: Seed of the random streams.
        replication: Number of the replication under that seed.
        data: The raw numbers.
        digest: Hex string over all transactions, final values and times: same seed, same digest.
        warnings: What a reader should know before trusting the numbers.
    """

    def __init__(
        self,
        scenario: Scenario,
        strategy: Strategy,
        seed: int,
        replication: int,
        data: RunData,
        trace: Trace | Callable[[], Trace],
        warnings: Sequence[str] = (),
    ) -> None:
        self.scenario = scenario
        self.strategy = strategy
        self.seed = seed
        self.replication = replication
        self.data = data
        self.digest = data.digest
        self.warnings = [*warnings, *data.bounds_violated]
        self._trace = trace
        self._transactions: pd.DataFrame | None = None
        self._summary: pd.Series[float] | None = None

    @property
    def promise(self) -> Promise:
        """What the first answer to the client says: ``decided`` or ``accepted``."""
        return self.strategy.promise

    @property
    def trace(self) -> Trace:
        """The event log. If it was not recorded, the run is played again with recording on: same seed, same run."""
        if not isinstance(self._trace, Trace):
            self._trace = self._trace()
        return self._trace

    @property
    def transactions(self) -> pd.DataFrame:
        """One row a transaction; durations in milliseconds, `arrival_s` in seconds; not a number where it did not come to that."""
        if self._transactions is None:
            self._transactions = transactions_frame(self.data)
        return self._transactions

    @property
    def summary(self) -> pd.Series[float]:
        """One number a metric, over the transactions that arrived after the warm-up; units are in the names."""
        if self._summary is None:
            self._summary = summarise(self.transactions, self.data)
        return self._summary

    @property
    def timeline(self) -> pd.DataFrame:
        """Samples over the time of the arrivals: drift, open transactions, queue length and busy workers of every service.

        Queue lengths of a run that was executed for real are NaN: its log does not tell.
        """
        names = ["time_s", "drift_net", "drift_gross", "in_flight"]
        for service in self.data.services:
            names += [f"queue_{service}", f"busy_{service}"]
        return pd.DataFrame.from_records(self.data.timeline, columns=names)

    @property
    def quantities(self) -> pd.DataFrame:
        """Drift of every conserved quantity; the summary shows the first one."""
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

    def plot(self, **options: Any) -> Any:
        """Draw the timeline of the run; returns matplotlib Axes."""
        return views.view("timeline")(self, **options)

    def __repr__(self) -> str:
        return f"<Run of {self.strategy.name} on {self.scenario.name}: {len(self.transactions)} transactions, seed {self.seed}/{self.replication}, digest {self.digest[:12]}>"

    def _repr_html_(self) -> str:
        title = f"{escape(self.scenario.title)}: {escape(self.strategy.name)}"
        note = (
            f"an answer to the client means: {PROMISES[self.promise]}; seed {self.seed}, replication {self.replication}"
        )
        table = self.summary.to_frame("value").to_html(float_format=lambda value: f"{value:,.4g}", border=0)
        warnings = "".join(f"<p><b>Warning:</b> {escape(text)}</p>" for text in self.warnings)
        return f"<h4>{title}</h4><p>{note}</p>{warnings}{table}"


def transactions_frame(data: RunData) -> pd.DataFrame:
    """The columns of a run as a table, ordered by transaction, durations in milliseconds."""
    cells = {name: np.asarray(column) for name, column in data.columns.items()}
    order = np.argsort(cells["tx"], kind="stable")
    cells = {name: column[order] for name, column in cells.items()}
    arrival = cells["arrival_s"]
    window = np.where(np.isnan(cells["first_effect_s"]), 0.0, cells["last_effect_s"] - cells["first_effect_s"])
    return pd.DataFrame(
        {
            "tx": cells["tx"],
            "arrival_s": arrival,
            "outcome": pd.Categorical(cells["outcome"].astype(object), categories=OUTCOMES),
            "answer": cells["answer"].astype(object),
            "latency_ms": (cells["answered_s"] - arrival) * 1e3,
            "decision_ms": (cells["decided_s"] - arrival) * 1e3,
            "settle_ms": np.where(np.isnan(cells["decided_s"]), math.nan, cells["last_effect_s"] - arrival) * 1e3,
            "window_ms": window * 1e3,
            "messages": cells["messages"],
            "broker_messages": cells["broker_messages"],
            "forced_writes": cells["forced_writes"],
            "lazy_writes": cells["lazy_writes"],
            "retries": cells["retries"],
            "lock_wait_ms": cells["lock_wait_s"] * 1e3,
            "lock_hold_ms": cells["lock_hold_s"] * 1e3,
            "in_doubt_ms": cells["in_doubt_s"] * 1e3,
            "prepared_branches": cells["prepared_branches"],
            "duplicate_effects": cells["duplicate_effects"],
            "missing_effects": cells["missing_effects"],
            "measured": cells["measured"].astype(bool),
        }
    )


def summarise(transactions: pd.DataFrame, data: RunData) -> pd.Series[float]:
    """One number a metric; definitions are in docs/metrics.md. What cannot be computed is not a number."""
    measured = transactions[transactions["measured"]]
    count = len(measured)
    nan = math.nan
    outcome = measured["outcome"]
    shares = {name: float((outcome == name).mean()) if count else nan for name in OUTCOMES}
    window = data.horizon - data.warmup
    decided_at = transactions["arrival_s"] + transactions["decision_ms"] / 1e3
    inside = (decided_at >= data.warmup) & (decided_at <= data.horizon)
    committed_inside = inside & (transactions["outcome"] == "committed")
    branches = float(measured["prepared_branches"].sum())

    def mean(column: str) -> float:
        return float(measured[column].mean()) if count else nan

    def quantile(column: str, level: float) -> float:
        values = measured[column].dropna()
        return float(values.quantile(level)) if len(values) else nan

    first = data.quantities[0] if data.quantities else ConservedQuantity("", "", nan, nan, nan, nan, nan)
    numbers: dict[str, float] = {
        "transactions": count,
        "committed_share": shares["committed"],
        "aborted_share": shares["aborted"] + shares["lost"],
        "compensated_share": shares["compensated"],
        "stuck_count": int((outcome == "stuck").sum()),
        "in_flight_count": int((outcome == "in-flight").sum()),
        "incomplete_count": int((outcome == "incomplete").sum()),
        "latency_mean_ms": mean("latency_ms"),
        "latency_p50_ms": quantile("latency_ms", 0.5),
        "latency_p90_ms": quantile("latency_ms", 0.9),
        "latency_p99_ms": quantile("latency_ms", 0.99),
        "decision_p50_ms": quantile("decision_ms", 0.5),
        "decision_p99_ms": quantile("decision_ms", 0.99),
        "settle_p50_ms": quantile("settle_ms", 0.5),
        "settle_p99_ms": quantile("settle_ms", 0.99),
        "throughput_per_s": float(inside.sum()) / window if window > 0 else nan,
        "goodput_per_s": float(committed_inside.sum()) / window if window > 0 else nan,
        "messages_per_transaction": mean("messages"),
        "broker_messages_per_transaction": mean("broker_messages"),
        "forced_writes_per_transaction": mean("forced_writes"),
        "lazy_writes_per_transaction": mean("lazy_writes"),
        "retries_per_transaction": mean("retries"),
        "lock_wait_mean_ms": mean("lock_wait_ms"),
        "in_doubt_mean_ms": float(measured["in_doubt_ms"].sum()) / branches if branches else 0.0,
        "window_p50_ms": quantile("window_ms", 0.5),
        "window_p99_ms": quantile("window_ms", 0.99),
        "drift_net_mean": first.net_mean,
        "drift_gross_mean": first.gross_mean,
        "drift_peak": first.peak,
        "violation_time_share": first.violation_share,
        "fractured_reads_per_million": data.partial_share * 1e6,
        "residual_divergence": data.residual,
        "lock_hold_seconds": float(measured["lock_hold_ms"].sum()) / 1e3,
        "in_doubt_seconds": float(measured["in_doubt_ms"].sum()) / 1e3,
        "duplicate_effects": int(measured["duplicate_effects"].sum()),
        "missing_effects": int(measured["missing_effects"].sum()),
        "alerts": data.alerts,
        "deadlocks": data.deadlocks,
        "lock_timeouts": data.lock_timeouts,
        "faults": data.faults,
        "breaker_rejections": data.breaker_rejections,
        "utilisation_max": max(data.utilisation.values(), default=nan),
        "events": data.events,
    }
    numbers.update(data.extra)
    return pd.Series(numbers, dtype=float, name="value")
