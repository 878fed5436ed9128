"""A scenario with rare faults, played stratum by stratum, and its figures weighted to those of average time.

`simtx.scenario.strata` divides the time and says the weights; here each part is simulated, and the figures are put together:

- what is a **time average** (drift, utilisation, throughput) is weighted by the share of the time;
- what is about **transactions** (latencies, outcomes, costs) is taken over the transactions of all parts together, each of which stands for as
  many as arrive in average time: its stratum's share of the time over the length of its run;
- what is **counted in a run** is counted for a stretch of average time as long as the quiet run;
- a **peak** is the largest of any part.

Within a replication all parts use the same streams, and replications are independent of each other as ever. So intervals over
replications hold for weighted figures, too.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from simtx.errors import ScenarioError
from simtx.metrics import asking
from simtx.metrics.counters import COUNTERS
from simtx.metrics.providers import FIGURES
from simtx.metrics.summary import durations
from simtx.scenario.strata import Strata, Stratum, strata

if TYPE_CHECKING:
    from simtx.engine.choices import Engine
    from simtx.metrics.run import Run
    from simtx.protocols import Strategy
    from simtx.scenario import Scenario

Floats = np.ndarray[Any, np.dtype[np.float64]]

TIME: Final = frozenset(
    (
        "throughput_per_s",
        "goodput_per_s",
        "drift_net_mean",
        "drift_gross_mean",
        "violation_time_share",
        "fractured_reads_per_million",
        "stale_reads_per_million",
        "request_amplification",
        "utilisation_max",
        "process_utilisation_max",
    )
)
"""Weighted by the share of the time."""

COUNTED: Final = frozenset(
    (
        "stuck_count",
        "in_flight_count",
        "incomplete_count",
        "residual_divergence",
        "lock_hold_seconds",
        "in_doubt_seconds",
        "in_doubt_open",
        "locks_open",
        "unpublished_open",
        "duplicate_effects",
        "missing_effects",
        "redeliveries",
        "failed_deliveries",
        "dead_letters",
        "events_dropped",
        "stored_again",
        "lanes_stopped",
        "lanes_stopped_s",
        "messages_unread",
        *COUNTERS,
        *FIGURES,
        *asking.COUNTED,
    )
)
"""Counted for a stretch of average time as long as the quiet run."""

ADDED: Final = frozenset(("transactions", "events", "violations"))
"""Effort, sample size, and what must never be: what was simulated, not what it stands for."""

LARGEST: Final = frozenset(("drift_peak", "recovery_s", "backlog_peak", "partition_lag_max"))

MEANS: Final[Mapping[str, str]] = {
    "messages_per_transaction": "messages",
    "broker_messages_per_transaction": "broker_messages",
    "forced_writes_per_transaction": "forced_writes",
    "lazy_writes_per_transaction": "lazy_writes",
    "retries_per_transaction": "retries",
    "lock_wait_mean_ms": "lock_wait_ms",
}
"""Averages over transactions, with the column that they are taken over."""

OUTCOMES: Final[Mapping[str, tuple[str, ...]]] = {
    "committed_share": ("committed",),
    "aborted_share": ("aborted", "lost"),
    "compensated_share": ("compensated",),
}


@dataclass(frozen=True, slots=True)
class Stratified:
    """The weighted figures of one replication.

    Attributes:
        strata: The parts and their weights.
        runs: The run of each part, in the order of the parts.
        summary: One number a metric, for average time.
        digest: Over the digests of all parts.
    """

    strata: Strata
    runs: tuple[Run, ...]
    summary: pd.Series[float]
    digest: str

    @property
    def table(self) -> pd.DataFrame:
        """The summary of each part beside the weighted one; a row a metric, and the weights in the first row."""
        columns = {part.name: run.summary for part, run in zip(self.strata, self.runs, strict=True)}
        table = pd.DataFrame({**columns, "weighted": self.summary})
        weights = pd.DataFrame(
            {**{part.name: [part.weight] for part in self.strata}, "weighted": [1.0]}, index=["weight"]
        )
        return pd.concat([weights, table])


def simulate_strata(
    scenario: Scenario | str,
    strategy: Strategy | str,
    *,
    seed: int = 1,
    replication: int = 0,
    engine: Engine | None = None,
) -> Stratified:
    """Simulate every stratum of a scenario with ``run.stratify``, once, and weight their figures.

    Args:
        scenario: The scenario, or the name or path of one.
        strategy: A name, or an object.
        seed: Seed of all streams.
        replication: Number of the replication.
        engine: As for `simtx.simulate`.

    Raises:
        ScenarioError: The input is wrong, or the scenario cannot be divided.
    """
    from simtx.simulator import simulate

    if isinstance(scenario, str):
        from simtx.scenario import load

        scenario = load(scenario)
    if not scenario.run.stratify:
        raise ScenarioError(
            "is not set: the scenario is one run, which simtx.simulate plays", f"{scenario.name}: run.stratify"
        )
    parts = strata(scenario)
    runs = tuple(simulate(part.scenario, strategy, seed=seed, replication=replication, engine=engine) for part in parts)
    digest = hashlib.sha256(" ".join(run.digest for run in runs).encode()).hexdigest()
    return Stratified(parts, runs, weighted(tuple(parts), runs), digest)


def weighted(parts: Sequence[Stratum], runs: Sequence[Run]) -> pd.Series[float]:
    """The figures of average time.

    Raises:
        ScenarioError: A metric is not known here, so that nobody can say how it is weighted.
    """
    shares = np.array([part.weight for part in parts])
    lengths = np.array([part.length for part in parts])
    summaries = pd.DataFrame([run.summary for run in runs])
    pool, weights = _pool(parts, runs)
    times = {
        **durations(pool, math.nan, weights=weights),
        "watched_ms": float(summaries["watched_ms"].min()),
        "in_doubt_mean_ms": _ratio(pool["in_doubt_ms"], pool["prepared_branches"], weights),
    }
    rules: tuple[tuple[Any, Callable[[str], float]], ...] = (
        (times, lambda name: times[name]),
        (MEANS, lambda name: _mean(pool[MEANS[name]].to_numpy(dtype=float), weights)),
        (OUTCOMES, lambda name: _mean(pool["outcome"].isin(OUTCOMES[name]).to_numpy().astype(float), weights)),
        (TIME, lambda name: float(shares @ summaries[name])),
        (COUNTED, lambda name: float((shares / lengths) @ summaries[name]) * parts[0].length),
        (ADDED, lambda name: float(summaries[name].sum())),
        (LARGEST, lambda name: float(summaries[name].max())),
    )
    numbers: dict[str, float] = {}
    for name in summaries.columns:
        rule = next((rule for names, rule in rules if name in names), None)
        if rule is None:
            raise ScenarioError(f"'{name}' is a metric that nobody has said how to weight", "run.stratify")
        numbers[name] = rule(name)
    return pd.Series(numbers, dtype=float, name="value")


def _pool(parts: Sequence[Stratum], runs: Sequence[Run]) -> tuple[pd.DataFrame, Floats]:
    """The measured transactions of all parts, and how many of average time each of them stands for, per second."""
    tables = [run.transactions[run.transactions["measured"]] for run in runs]
    weights = [np.full(len(table), part.weight / part.length) for part, table in zip(parts, tables, strict=True)]
    return pd.concat(tables, ignore_index=True), np.concatenate(weights)


def _mean(values: Floats, weights: Floats) -> float:
    return float(weights @ values / weights.sum()) if len(values) else math.nan


def _ratio(above: pd.Series[float], below: pd.Series[float], weights: Floats) -> float:
    total = float(weights @ below.to_numpy(dtype=float))
    return float(weights @ above.to_numpy(dtype=float)) / total if total else 0.0
