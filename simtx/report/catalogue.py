"""Names and units of metrics, wherever they are shown: one wording for tables, plots and reports.

Definitions are in docs/metrics.md.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Final

from simtx.metrics.censored import longer_than
from simtx.metrics.intervals import HIGHER_IS_BETTER, Interval

ANSWER_MEANS: Final = {"decided": "decided", "accepted": "only accepted"}
"""Promise of the first answer to the client, in the words of the tables."""


@dataclass(frozen=True, slots=True)
class Metric:
    """Presentation of a metric.

    Attributes:
        name: Its name in summaries.
        label: A few words.
        unit: Unit after scaling; ``{value}`` stands for the unit of the scenario's first conserved quantity.
        group: Heading it is listed under.
        scale: Factor between the summary and what is shown.
        always: Listed even if it is zero for all strategies.
        absent: Why it may have no value.
        listed: Whether it is in a table that names no metrics.
        endless: What an infinite value means, if not that a duration is longer than the run has watched.
        noun: What it is called in a sentence, behind an article; empty: as `words` makes it of the label.
    """

    name: str
    label: str
    unit: str
    group: str
    scale: float = 1.0
    always: bool = True
    absent: str = "no run gave a value"
    listed: bool = True
    endless: str = ""
    noun: str = ""

    @property
    def words(self) -> str:
        """Name in a sentence, behind an article: ``time from request to answer (99 %)``, ``number of retries``.

        Of a label, what stands behind a comma goes into brackets, and what is counted becomes a number.
        """
        said, comma, part = (self.noun or self.label).partition(", ")
        counted = self.unit in _COUNTED and not self.noun
        return f"{'number of ' if counted else ''}{said}{f' ({part})' if comma else ''}"


_COUNTED = frozenset({"per run", "per tx", "per million", "per command"})
"""Units of what is counted, with labels in the plural."""
_LATENCY = "Latency of a transaction"
_RATE = "Throughput and outcomes"
_DRIFT = "Consistency drift"
_COST = "Cost"
_NO_SUM = "the scenario declares no conserved quantity"
_NO_READERS = "the scenario has no readers"
_NOTHING = "nothing was measured"
_NONE_COMMITTED = "none was committed"
_PLAIN = "a plain broker, or none, has none of it"
_NO_UPGRADE = "nobody was upgraded"
_ENDED = "none had ended when the run ended"


def _durations(
    name: str, label: str, noun: str, ended: str, group: str, *, listed: tuple[str, ...] = ("p50", "p99")
) -> tuple[Metric, ...]:
    """Quantiles of a duration, and the mean of those that ended; `listed` are those that a table shows unasked."""
    quantiles = (("p50", "median"), ("p90", "90 %"), ("p99", "99 %"))
    nothing = _NONE_COMMITTED if name.endswith("_committed") else _NOTHING
    return (
        *(
            Metric(
                f"{name}_{level}_ms",
                f"{label}, {title}",
                "ms",
                group,
                absent=nothing,
                listed=level in listed,
                noun=f"{noun}, {title}",
            )
            for level, title in quantiles
        ),
        Metric(
            f"{name}_mean_ms",
            f"{label}, mean of {ended}",
            "ms",
            group,
            absent=_ENDED,
            listed="mean" in listed,
            noun=f"{noun}, mean of {ended}",
        ),
    )


_ANSWERED = "those answered"
_DECIDED = "those decided"
_SETTLED = "those settled"
_TO_ANSWER = "time from request to answer"
_TO_OUTCOME = "time from request to final outcome"
_OF_COMMITTED = " of committed transactions"

_ALL: Final = (
    *_durations("latency", "request to answer", _TO_ANSWER, _ANSWERED, _LATENCY, listed=("p50", "p90", "p99", "mean")),
    *_durations(
        "latency_committed", "committed: request to answer", f"{_TO_ANSWER}{_OF_COMMITTED}", _ANSWERED, _LATENCY
    ),
    *_durations("decision", "request to final outcome", _TO_OUTCOME, _DECIDED, _LATENCY),
    *_durations(
        "decision_committed", "committed: request to final outcome", f"{_TO_OUTCOME}{_OF_COMMITTED}", _DECIDED, _LATENCY
    ),
    *_durations("settle", "request to last effect", "time from request to last effect", _SETTLED, _LATENCY),
    Metric(
        "unanswered_share",
        "not answered when the run ended",
        "%",
        _LATENCY,
        100,
        always=False,
        absent=_NOTHING,
        noun="share of transactions not answered when the run ended",
    ),
    Metric(
        "undecided_share",
        "not decided when the run ended",
        "%",
        _LATENCY,
        100,
        always=False,
        absent=_NOTHING,
        noun="share of transactions not decided when the run ended",
    ),
    Metric(
        "unsettled_share",
        "not settled when the run ended",
        "%",
        _LATENCY,
        100,
        always=False,
        absent=_NOTHING,
        noun="share of transactions not settled when the run ended",
    ),
    Metric(
        "watched_ms",
        "watched for at least",
        "ms",
        _LATENCY,
        absent=_NOTHING,
        listed=False,
        noun="time for which every transaction was watched",
    ),
    Metric("throughput_per_s", "throughput, all outcomes", "1/s", _RATE, absent=_NOTHING),
    Metric("goodput_per_s", "goodput, committed only", "1/s", _RATE, absent=_NOTHING),
    Metric("committed_share", "committed", "%", _RATE, 100, absent=_NOTHING, noun="share of committed transactions"),
    Metric(
        "aborted_share",
        "aborted, nothing to undo",
        "%",
        _RATE,
        100,
        absent=_NOTHING,
        noun="share of aborted transactions, nothing to undo",
    ),
    Metric(
        "compensated_share", "compensated", "%", _RATE, 100, absent=_NOTHING, noun="share of compensated transactions"
    ),
    Metric(
        "stuck_count",
        "stuck, waiting for an operator",
        "per run",
        _RATE,
        always=False,
        noun="number of transactions that are stuck, waiting for an operator",
    ),
    Metric(
        "in_flight_count",
        "still in flight at the end",
        "per run",
        _RATE,
        always=False,
        noun="number of transactions still in flight at the end",
    ),
    Metric(
        "incomplete_count",
        "ended half done",
        "per run",
        _RATE,
        always=False,
        noun="number of transactions that ended half done",
    ),
    *_durations("window", "inconsistency window", "inconsistency window", _SETTLED, _DRIFT),
    Metric("drift_net_mean", "net drift, time average", "{value}", _DRIFT, absent=_NO_SUM),
    Metric("drift_gross_mean", "gross drift, time average", "{value}", _DRIFT, absent=_NO_SUM),
    Metric("drift_peak", "net drift, peak", "{value}", _DRIFT, absent=_NO_SUM),
    Metric(
        "violation_time_share",
        "time in violation of the sum",
        "%",
        _DRIFT,
        100,
        absent=_NO_SUM,
        noun="share of time in violation of the sum",
    ),
    Metric("fractured_reads_per_million", "fractured reads", "per million", _DRIFT, absent=_NO_READERS),
    Metric("residual_divergence", "divergence at the end", "value", _DRIFT, absent=_NO_SUM),
    Metric("duplicate_effects", "effects doubled at the end", "per run", _DRIFT),
    Metric("missing_effects", "effects missing at the end", "per run", _DRIFT),
    Metric(
        "violations", "violations of what is guaranteed", "per run", _DRIFT, always=False, absent="nobody has looked"
    ),
    Metric("messages_per_transaction", "messages between nodes", "per tx", _COST, absent=_NOTHING),
    Metric("broker_messages_per_transaction", "broker messages", "per tx", _COST, absent=_NOTHING),
    Metric("forced_writes_per_transaction", "forced writes", "per tx", _COST, absent=_NOTHING),
    Metric("retries_per_transaction", "retries", "per tx", _COST, absent=_NOTHING),
    Metric("lock_hold_seconds", "row locks held", "lock-s per run", _COST, noun="time for which row locks are held"),
    Metric("lock_wait_mean_ms", "wait for row locks, mean", "ms", _COST, absent=_NOTHING),
    Metric(
        "in_doubt_mean_ms",
        "in doubt per prepared branch",
        "ms",
        _COST,
        always=False,
        noun="time in doubt of a prepared branch",
    ),
    Metric(
        "in_doubt_seconds",
        "in doubt, all branches",
        "s per run",
        _COST,
        always=False,
        noun="time in doubt of all branches together",
    ),
    Metric("in_doubt_open", "branches in doubt at the end", "per run", _COST, always=False),
    Metric("locks_open", "row locks held at the end", "per run", _COST, always=False),
    Metric("unpublished_open", "messages unpublished at the end", "per run", _COST, always=False),
    Metric("utilisation_max", "utilisation of the busiest service", "%", _COST, 100),
    Metric("lock_timeouts", "lock timeouts", "per run", _COST, always=False),
    Metric("deadlocks", "deadlocks found or prevented", "per run", _COST, always=False),
    Metric("redeliveries", "deliveries of what was delivered before", "per run", _COST, always=False, absent=_PLAIN),
    Metric("failed_deliveries", "deliveries that could not be handled", "per run", _COST, always=False, absent=_PLAIN),
    Metric("dead_letters", "dead letters", "per run", _COST, always=False, absent=_PLAIN),
    Metric("events_dropped", "events that the broker dropped", "per run", _COST, always=False, absent=_PLAIN),
    Metric("stored_again", "repetitions that the broker took for new", "per run", _COST, always=False, absent=_PLAIN),
    Metric(
        "partition_lag_max",
        "longest lag of a partition",
        "events",
        _COST,
        always=False,
        absent=_PLAIN,
        noun="lag of a partition, longest",
    ),
    Metric("provider_requests", "requests to providers", "per run", _COST, always=False),
    Metric("unknown_outcomes", "provider calls of unknown outcome", "per run", _COST, always=False),
    Metric("rate_limited", "provider calls over the limit", "per run", _COST, always=False),
    Metric("lanes_stopped", "lanes stopped by an unread version", "per run", _COST, always=False, absent=_NO_UPGRADE),
    Metric(
        "lanes_stopped_s",
        "lanes stopped, all together",
        "s per run",
        _COST,
        always=False,
        absent=_NO_UPGRADE,
        noun="time for which lanes were stopped, all together",
    ),
    Metric("messages_unread", "messages refused for their version", "per run", _COST, always=False, absent=_NO_UPGRADE),
    Metric("requests_repeated", "requests asked again", "per run", _COST, always=False),
    Metric(
        "request_amplification",
        "requests for each transaction",
        "count",
        _COST,
        always=False,
        noun="number of requests for each transaction",
    ),
    Metric("requests_suppressed", "requests that a budget prevented", "per run", _COST, always=False),
    Metric("steps_expired", "steps refused behind a deadline", "per run", _COST, always=False),
    Metric("breaker_rejections", "calls stopped by a breaker", "per run", _COST, always=False),
    Metric("alerts", "alerts", "per run", _COST, always=False),
    Metric("faults", "faults injected", "per run", _COST, always=False),
    Metric("backlog_peak", "most that waited at once", "count", _COST, noun="number that waited at once, peak"),
    Metric(
        "recovery_s",
        "recovery after the worst fault",
        "s",
        _COST,
        always=False,
        absent="no fault struck",
        endless="not over",
        noun="time of recovery after the worst fault",
    ),
)

OF_DERIVED: Final = {
    "reads": ("reads", "per run", 1.0),
    "miss_share": ("reads that found no copy", "%", 100.0),
    "stale_share": ("stale reads", "%", 100.0),
    "stale_p50_ms": ("age of stale reads, median", "ms", 1.0),
    "stale_p99_ms": ("age of stale reads, 99 %", "ms", 1.0),
    "stale_max_ms": ("oldest stale read", "ms", 1.0),
    "wrong_at_end": ("copies wrong at the end", "per run", 1.0),
    "wrong_for_ever": ("copies that nothing will put right", "per run", 1.0),
    "drift_at_end": ("drift of the copies at the end", "value", 1.0),
    "updates_lost": ("updates lost", "per run", 1.0),
    "refused": ("old values refused", "per run", 1.0),
}
"""Label, unit and scale of the metrics of a derived store."""
_OF_GROUP: Final = {
    "events": ("events", "per run", 1.0),
    "lag_p50_ms": ("from commit to effect, median", "ms", 1.0),
    "lag_p99_ms": ("from commit to effect, 99 %", "ms", 1.0),
    "lag_max_ms": ("from commit to effect, longest", "ms", 1.0),
    "waiting_max": ("events stored and not applied, most at once", "count", 1.0),
    "rebalances": ("rebalances", "per run", 1.0),
    "refused": ("writes of former owners refused", "per run", 1.0),
    "again": ("events applied again", "per run", 1.0),
    "late": ("events applied behind later ones", "per run", 1.0),
    "skipped": ("events never applied", "per run", 1.0),
    "wrong_at_end": ("keys wrong at the end", "per run", 1.0),
}
"""Label, unit and scale of the metrics of a consumer group."""
_OF_AGGREGATE: Final = {
    "commands": ("commands", "per run", 1.0),
    "conflict_share": ("appends that met a conflict", "%", 100.0),
    "attempts_mean": ("attempts", "per command", 1.0),
    "latency_p50_ms": ("from command to end, median", "ms", 1.0),
    "latency_p99_ms": ("from command to end, 99 %", "ms", 1.0),
    "given_up": ("commands given up", "per run", 1.0),
    "refused": ("commands refused", "per run", 1.0),
    "unfinished": ("commands without an end", "per run", 1.0),
    "twice": ("events of a command that was done before", "per run", 1.0),
    "overdrawn": ("aggregates below zero", "per run", 1.0),
    "longest_stream": ("longest stream", "events", 1.0),
}
"""Label, unit and scale of the metrics of a kind of aggregates."""
_BESIDE: Final = (
    ("derived", OF_DERIVED, "Derived stores", "nobody has read an old value"),
    ("group", _OF_GROUP, "Consumer groups", "no event was applied"),
    ("aggregate", _OF_AGGREGATE, "Aggregates", "no command has come"),
)
"""Parts of a scenario beside its transactions: the beginning of the names of its metrics, their labels, their heading, and why one may have no value."""

METRICS: Final[dict[str, Metric]] = {metric.name: metric for metric in _ALL}
"""Metrics of the tables, in the order in which they are listed."""


def metric(name: str) -> Metric:
    """Find how this metric is shown; one that the catalogue does not know keeps its own name."""
    return METRICS.get(name) or of_beside(name) or Metric(name, name.replace("_", " "), "", "Other")


def of_beside(name: str) -> Metric | None:
    """A metric of a derived store, a consumer group or a kind of aggregates, which has that one's name in it."""
    for kind, known, heading, absent in _BESIDE:
        match = re.fullmatch(rf"{kind}_(\w+?)_({'|'.join(known)})", name)
        if match is not None:
            label, unit, scale = known[match[2]]
            noun = _noun_beside(label, unit, match[1])
            return Metric(name, f"{match[1]}: {label}", unit, heading, scale, absent=absent, noun=noun)
    return None


_MEANT: Final = {"from": "time ", "oldest": "age of the ", "longest": "length of the "}
"""Subject of a label that begins with such a word."""


def _noun_beside(label: str, unit: str, owner: str) -> str:
    """Name of a metric of a part of a scenario in a sentence, with the name of that part: ``age of stale reads, catalogue, median``."""
    said, comma, part = label.partition(", ")
    counted = unit in _COUNTED or unit == "count"
    kind = "number of " if counted else "share of " if unit == "%" else _MEANT.get(said.partition(" ")[0], "")
    return f"{kind}{said}, {owner}{comma}{part}"


def unit(shown: Metric, scenario: Any) -> str:
    """Unit of a metric in this scenario: drift is counted in the unit of its first conserved quantity."""
    if shown.unit != "{value}":
        return shown.unit
    sums = [one for one in scenario.invariants if one.kind == "conserved"]
    return sums[0].unit or "value" if sums else "value"


def noted(name: str, note: str) -> str:
    """A metric in a sentence, with a note in brackets: ``time from request to answer (99 %; lower is better)``."""
    words = metric(name).words
    return f"{words[:-1]}; {note})" if words.endswith(")") else f"{words} ({note})"


def beginning(name: str) -> str:
    """Label of a metric, as a sentence begins."""
    label = metric(name).label
    return label[0].upper() + label[1:]


def best(name: str) -> str:
    """End of a metric that is the better one, in a word."""
    return "highest" if name in HIGHER_IS_BETTER else "lowest"


def axis_label(name: str, scenario: Any) -> str:
    """Label of an axis, with the unit: ``request to answer, 99 % [ms]``."""
    text, label = unit(metric(name), scenario), beginning(name)
    return f"{label} [{text}]" if text else label


def number(value: float) -> str:
    """A number without an interval: four significant digits, thousands apart."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    digits = max(0, 3 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(digits, 6)}f}"


def estimate(one: Interval, scale: float = 1.0, watched_ms: float = math.nan, endless: str = "") -> tuple[str, str]:
    """A mean and what is known of it, in brackets, rounded to two significant digits of half the interval.

    Args:
        one: The interval.
        scale: Factor between the metric and what is shown.
        watched_ms: For how long every transaction was watched; an infinite quantile is beyond that.
        endless: What to say of an infinite value instead.

    Returns:
        The mean, and the ends; the second is empty if there are none, or if the value is the same in every run.
    """
    if one.infinite:
        return endless or longer_than(watched_ms), f"[in {one.infinite} of {one.n} runs]" if one.n > 1 else ""
    mean, low, high = (scale * value for value in one[:3])
    if one.never:
        any_of = runs_at_most(one)
        return number(
            mean
        ), f"[≤ {any_of} in {one.n} runs]" if not one.mean else f"[≥ {one.n - any_of} in {one.n} runs]"
    half = scale * one.half_width
    if math.isnan(half):
        return number(mean), ""
    if half <= 1e-9 * abs(mean):  # the last digits of a float are no uncertainty
        return number(mean), ""
    digits = min(6, max(0, 1 - math.floor(math.log10(half))))
    return f"{mean:,.{digits}f}", f"[{low:,.{digits}f}, {high:,.{digits}f}]"


def runs_at_most(one: Interval) -> int:
    """Most of as many runs again that can be expected to have what none of these had."""
    return math.ceil(one.n * (one.high if not one.mean else 1 - one.low) - 1e-9)
