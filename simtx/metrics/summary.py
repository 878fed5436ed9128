"""From the columns of a run to its table of transactions, and to one number a metric. Definitions: docs/metrics.md."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from simtx.metrics import censored, recovery
from simtx.metrics.figures import Summary
from simtx.metrics.texts import coded

if TYPE_CHECKING:
    from simtx.metrics.rundata import RunData

OUTCOMES: Final = ("committed", "aborted", "compensated", "stuck", "in-flight", "incomplete", "lost")
DECISIONS: Final = ("committed", "aborted")
"""Decisions by the numbers of the ledger, from 1; 0 is undecided."""

_DURATIONS: Final = ("latency_ms", "decision_ms", "settle_ms", "window_ms")
_LEVELS: Final = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))


def transactions_frame(data: RunData) -> pd.DataFrame:
    """The columns of a run as a table, ordered by transaction, durations in milliseconds.

    A duration is not a number if it had not ended with the run. A transaction has settled when three things are true: it is decided, each of its
    effects is in force exactly as often as the decision says, and nobody works on it any more. One that has no effect settles when it is decided,
    and its window is 0.
    """
    order = _order(np.asarray(data.columns["tx"]))

    def cell(name: str) -> npt.NDArray[Any]:
        """A column in the order of the table; made when it is wanted, so that a long run is not there a third time."""
        column = data.columns[name]
        return np.asarray(column).take(order)

    def texts(name: str) -> Any:
        """A column of texts, likewise; as pandas holds texts, made of the few that there are."""
        numbers, names = coded(data.columns[name])
        return pd.Series(names, dtype=None if names else object).array.take(numbers.take(order))

    arrival, decided, outcome = cell("arrival_s"), cell("decided_s"), _codes(data.columns["outcome"]).take(order)
    duplicates, missing = cell("duplicate_effects"), cell("missing_effects")
    first, last = cell("first_effect_s"), cell("last_effect_s")
    untouched = np.isnan(first)
    settled = ~np.isnan(decided) & (duplicates == 0) & (missing == 0)
    settled &= outcome != OUTCOMES.index("in-flight")  # somebody works on it: another effect may come
    window = np.where(settled, np.where(untouched, 0.0, last - first), math.nan)
    del first
    settling = np.where(settled, np.where(untouched, decided, last) - arrival, math.nan)
    del last
    return pd.DataFrame(
        {
            "tx": cell("tx"),
            "arrival_s": arrival,
            "outcome": pd.Categorical.from_codes(outcome, categories=pd.Index(OUTCOMES)),
            "decision": pd.Categorical.from_codes(cell("decision").astype(int) - 1, categories=pd.Index(DECISIONS)),
            "answer": texts("answer"),
            "latency_ms": _milliseconds(cell("answered_s") - arrival),
            "decision_ms": _milliseconds(decided - arrival),
            "settle_ms": _milliseconds(settling),
            "window_ms": _milliseconds(window),
            "messages": cell("messages"),
            "broker_messages": cell("broker_messages"),
            "forced_writes": cell("forced_writes"),
            "lazy_writes": cell("lazy_writes"),
            "retries": cell("retries"),
            "lock_wait_ms": _milliseconds(cell("lock_wait_s")),
            "lock_hold_ms": _milliseconds(cell("lock_hold_s")),
            "in_doubt_ms": _milliseconds(cell("in_doubt_s")),
            "prepared_branches": cell("prepared_branches"),
            "duplicate_effects": duplicates,
            "missing_effects": missing,
            "measured": cell("measured").astype(bool),
        },
        copy=False,
    )


def _order(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.intp]:
    """Place of each transaction, by its number: found without sorting if no number is missing, as usual."""
    count = len(numbers)
    if count and numbers.min() >= 0 and numbers.max() < count:
        places = np.full(count, -1, dtype=np.intp)
        places[numbers] = np.arange(count)
        if places.min() >= 0:
            return places
    return np.argsort(numbers, kind="stable")


def durations(
    measured: pd.DataFrame,
    end: float,
    deadline: float = math.inf,
    weights: npt.NDArray[np.float64] | None = None,
) -> dict[str, float]:
    """Durations of measured transactions, and the number of those that had not ended with the run.

    Those of committed transactions cover everything that was not decided to abort: what was undecided at the end may commit still, and
    counts as not ended. Else a longer outage would give better figures, as fewer of those that wait for its end would be among them.

    Args:
        measured: Rows of `transactions_frame`.
        end: End of the run, in seconds.
        deadline: Time after which clients give up, in seconds: nobody waits for an answer for longer.
        weights: How many transactions each of them stands for; None: itself alone.
    """
    columns = {name: measured[name].to_numpy() for name in ("arrival_s", *_DURATIONS)}
    return _durations(columns, (measured["decision"] != "aborted").to_numpy(), end, deadline, weights)


def _durations(
    columns: Mapping[str, npt.NDArray[Any]],
    kept: npt.NDArray[np.bool_],
    end: float,
    deadline: float,
    weights: npt.NDArray[np.float64] | None = None,
) -> dict[str, float]:
    """Compute what `durations` does, of columns of numbers; `kept`: which transactions were not decided to abort."""
    numbers: dict[str, float] = {}
    for name, rows, column in (
        ("latency", None, "latency_ms"),
        ("latency_committed", kept, "latency_ms"),
        ("decision", None, "decision_ms"),
        ("decision_committed", kept, "decision_ms"),
        ("settle", None, "settle_ms"),
        ("window", None, "window_ms"),
    ):
        values = columns[column] if rows is None else columns[column][rows]
        heavy = weights if weights is None or rows is None else weights[rows]
        numbers[f"{name}_mean_ms"] = censored.mean(values, heavy)
        found = censored.quantiles(values, [share for _, share in _LEVELS], heavy)
        numbers.update({f"{name}_{level}_ms": one for (level, _), one in zip(_LEVELS, found, strict=True)})
    numbers["unanswered_share"] = censored.share(columns["latency_ms"], weights)
    numbers["undecided_share"] = censored.share(columns["decision_ms"], weights)
    numbers["unsettled_share"] = censored.share(columns["settle_ms"], weights)
    watched = end - float(columns["arrival_s"].max()) if len(kept) else math.nan
    numbers["watched_ms"] = min(watched, deadline) * 1e3
    return numbers


def summarise(transactions: pd.DataFrame, data: RunData, violations: float = math.nan) -> Summary:
    """One number a metric; definitions are in docs/metrics.md. What cannot be computed is not a number, what had not ended is infinite.

    Args:
        transactions: Table of the transactions.
        data: All else.
        violations: How often the run has violated what its strategy guarantees; not a number: it is not known which strategy it was.
    """
    inside_window = transactions["measured"].to_numpy()
    chosen = slice(None) if inside_window.all() else inside_window

    def measured(column: str) -> npt.NDArray[Any]:
        values: npt.NDArray[Any] = transactions[column].to_numpy()[chosen]
        return values

    outcomes = transactions["outcome"].cat.codes.to_numpy()
    decisions = transactions["decision"].cat.codes.to_numpy()[chosen]
    count = len(decisions)
    nan = math.nan
    known = outcomes[chosen]
    of_measured = np.bincount(known[known >= 0], minlength=len(OUTCOMES))
    counts = {name: int(of_measured[code]) for code, name in enumerate(OUTCOMES)}
    shares = {name: counts[name] / count if count else nan for name in OUTCOMES}
    window = data.horizon - data.warmup
    decided_at = transactions["arrival_s"].to_numpy() + transactions["decision_ms"].to_numpy() / 1e3
    inside = (decided_at >= data.warmup) & (decided_at <= data.horizon)
    committed_inside = inside & (outcomes == OUTCOMES.index("committed"))
    columns = {name: measured(name) for name in ("arrival_s", *_DURATIONS)}

    def total(column: str) -> float:
        values = measured(column)
        found = float(values.sum())
        return found if found == found else float(np.nansum(values))

    def mean(column: str) -> float:
        values = measured(column)
        found, known = float(values.sum()), len(values)
        if found != found:
            found, known = float(np.nansum(values)), int(np.count_nonzero(~np.isnan(values)))
        return found / known if known else nan

    branches, in_doubt = total("prepared_branches"), total("in_doubt_ms")
    first = data.quantities[0] if data.quantities else None
    numbers: dict[str, float] = {
        "transactions": count,
        "committed_share": shares["committed"],
        "aborted_share": shares["aborted"],
        "compensated_share": shares["compensated"],
        "stuck_count": counts["stuck"],
        "in_flight_count": counts["in-flight"],
        "incomplete_count": counts["incomplete"],
        **_durations(columns, decisions != DECISIONS.index("aborted"), data.end, data.client_deadline),
        "throughput_per_s": float(inside.sum()) / window if window > 0 else nan,
        "goodput_per_s": float(committed_inside.sum()) / window if window > 0 else nan,
        "messages_per_transaction": mean("messages"),
        "broker_messages_per_transaction": mean("broker_messages"),
        "forced_writes_per_transaction": mean("forced_writes"),
        "lazy_writes_per_transaction": mean("lazy_writes"),
        "retries_per_transaction": mean("retries"),
        "lock_wait_mean_ms": mean("lock_wait_ms"),
        "in_doubt_mean_ms": in_doubt / branches if branches else 0.0,
        "drift_net_mean": first.net_mean if first else nan,
        "drift_gross_mean": first.gross_mean if first else nan,
        "drift_peak": first.peak if first else nan,
        "violation_time_share": first.violation_share if first else nan,
        "fractured_reads_per_million": data.partial_share * 1e6,
        "residual_divergence": data.residual,
        "lock_hold_seconds": total("lock_hold_ms") / 1e3,
        "in_doubt_seconds": in_doubt / 1e3,
        "in_doubt_open": data.still_open.in_doubt,
        "locks_open": data.still_open.locks,
        "unpublished_open": data.still_open.unpublished,
        "duplicate_effects": int(total("duplicate_effects")),
        "missing_effects": int(total("missing_effects")),
        **_counted(data),
        "utilisation_max": max(data.utilisation.values(), default=nan),
        "events": data.events,
    }
    numbers.update(data.extra)
    numbers["violations"] = violations
    return Summary(numbers, dtype=float, name="value")


def _counted(data: RunData) -> dict[str, float]:
    """The counters; what faults cost stands behind their number."""
    numbers: dict[str, float] = {}
    for name, count in data.counts.items():
        numbers[name] = count
        if name == "faults":
            numbers.update(recovery.figures(data))
    return numbers


def _codes(outcomes: Sequence[Any]) -> npt.NDArray[np.int8]:
    """The outcomes by their numbers; -1: it is none of them."""
    numbers, names = coded(outcomes)
    known = [OUTCOMES.index(name) if name in OUTCOMES else -1 for name in names]
    return np.array(known, dtype=np.int8).take(numbers) if names else np.zeros(0, dtype=np.int8)


def _milliseconds(seconds: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Seconds that nobody else looks at, in milliseconds."""
    seconds = seconds.astype(float, copy=False)
    seconds *= 1e3
    return seconds
