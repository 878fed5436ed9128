"""Signals of a run for a monitoring system: a few counters and gauges, read from the event log at equal intervals.

Each signal is something that services can export about themselves, or that a reconciliation job can find in their stores. A gauge is a value of the moment;
a counter only grows, and what rules look at is how fast. Ages are those of the oldest thing of a kind: a queue that is long because it is
busy moves, one whose oldest entry gets older does not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from simtx.event_log.entries import Stuck
from simtx.metrics.replay import Replay
from simtx.metrics.timeline import Clock
from simtx.protocols.saga_monitor import STUCK, SagaMonitor

if TYPE_CHECKING:
    from simtx.event_log.log import LogEntry
    from simtx.metrics.rundata import Struck
    from simtx.scenario import Scenario

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Signal:
    """One thing that is watched.

    Attributes:
        name: As rules call it.
        kind: ``gauge`` or ``counter``.
        unit: ``s``, or what is counted.
        metric: Name of the Prometheus metric that has to be exported.
        meaning: What it is.
    """

    name: str
    kind: Literal["gauge", "counter"]
    unit: str
    metric: str
    meaning: str


# name, unit, metric of Prometheus, meaning
_COUNTERS: Final = (
    ("requests", "requests", "simtx_requests_total", "Requests of clients, each transaction once."),
    ("slow", "requests", "simtx_slow_requests_total", "Requests that had no answer within the objective."),
    ("decisions", "transactions", "simtx_decisions_total", "Transactions whose outcome became final."),
    ("aborts", "transactions", "simtx_aborts_total", "Those of them that were aborted or rolled back."),
    ("compensations", "local transactions", "simtx_compensations_total", "Local transactions that undid a step."),
    ("retries", "retries", "simtx_retries_total", "Calls that timed out, and messages that a broker delivered again."),
    ("rejections", "messages", "simtx_rejections_total", "Messages that an open circuit breaker held back."),
    (
        "stuck",
        "transactions",
        "simtx_stuck_total",
        "Transactions that wait for an operator, as a service has said in its log.",
    ),
    ("stood_still", "sagas", "simtx_stood_still_total", "Choreographed sagas that their monitor has called stuck."),
)
_GAUGES: Final = (
    ("unanswered_age", "s", "simtx_oldest_unanswered_seconds", "Age of the oldest request without an answer."),
    ("undecided_age", "s", "simtx_oldest_undecided_seconds", "Age of the oldest transaction without an outcome."),
    (
        "in_doubt_age",
        "s",
        "simtx_oldest_in_doubt_seconds",
        "How long the oldest prepared branch has waited for the decision.",
    ),
    (
        "event_lag",
        "s",
        "simtx_event_lag_seconds",
        "How long the oldest request that was accepted has had no outcome: the lag of relays and consumers together.",
    ),
    (
        "half_done_age",
        "s",
        "simtx_oldest_half_done_seconds",
        "How long the oldest transaction has been in force in some stores and not in others.",
    ),
    (
        "drift",
        "units of the invariants",
        "simtx_drift",
        "By how much conserved sums are wrong, transaction by transaction, as a reconciliation finds it.",
    ),
)
SIGNALS: Final[Mapping[str, Signal]] = {
    **{name: Signal(name, "counter", unit, metric, meaning) for name, unit, metric, meaning in _COUNTERS},
    **{name: Signal(name, "gauge", unit, metric, meaning) for name, unit, metric, meaning in _GAUGES},
}
"""All signals, by name."""


@dataclass(frozen=True)
class Signals:
    """Scrapes of one run.

    Attributes:
        every: Seconds between two scrapes.
        times: When, in seconds of the run.
        values: By signal, one value a scrape.
        ended: When the run ended, in seconds; later scrapes see what it has left behind, which gets older.
        struck: The faults of the run, in the order in which they struck.
    """

    every: float
    times: Floats
    values: Mapping[str, Floats]
    ended: float
    struck: tuple[Struck, ...]

    def increase(self, name: str, window: float) -> Floats:
        """Growth of a counter within the window before each scrape; what was before the run is zero."""
        counted = self.values[name]
        back = max(round(window / self.every), 1)
        before = np.concatenate([np.zeros(min(back, len(counted))), counted[:-back]])[: len(counted)]
        grown: Floats = counted - before
        return grown


def signals(
    trace: Iterable[LogEntry], scenario: Scenario, *, every: float = 1.0, objective: float = 1.0, after: float = 30.0
) -> Signals:
    """Scrape a run.

    Args:
        trace: Its event log, simulated or real.
        scenario: What was played.
        every: Seconds between two scrapes.
        objective: Seconds within which a request should have its answer.
        after: Seconds for which scrapes go on when the run is over: what it has left behind gets older, and somebody may notice.
    """
    entries = list(trace)
    scraper = _Scraper(scenario, every, objective, votes=any(entry.kind == "logged" for entry in entries))
    scraper.play(entries)
    end = scraper.end
    if not scraper.times:
        scraper.scrape(0.0)
    while scraper.times[-1] + every <= end + after:
        scraper.scrape(scraper.times[-1] + every)
    values = {name: np.array(seen, dtype=float) for name, seen in scraper.scraped.items()}
    return Signals(every, np.array(scraper.times), values, end, tuple(scraper.struck))


class _Scraper(Replay):
    """Replays a log, and reads the signals off at every scrape."""

    def __init__(self, scenario: Scenario, every: float, objective: float, *, votes: bool) -> None:
        super().__init__(scenario, broker=False, votes=votes)
        self.clock = Clock(scenario, every)
        self.handlers["reject"] = self._rejected
        self.objective = objective
        self.times: list[float] = []
        self.scraped: dict[str, list[float]] = {name: [] for name in SIGNALS}
        self.count = dict.fromkeys((one.name for one in SIGNALS.values() if one.kind == "counter"), 0)
        # Each by transaction (and node), with the time since when; the oldest is the first.
        self.unanswered: dict[int, float] = {}
        self.overdue: dict[int, float] = {}  # as those without an answer, but for those that have been counted as slow
        self.undecided: dict[int, float] = {}
        self.accepted: dict[int, float] = {}
        self.half_done: dict[int, float] = {}
        self.doubts: dict[tuple[str, int], float] = {}

    def _sample(self, now: float, *, whole: bool = False) -> None:
        if not whole:
            self.scrape(now)

    def scrape(self, now: float) -> None:
        """Read the signals at this time."""
        while self.overdue:
            tx, arrival = next(iter(self.overdue.items()))
            if now - arrival <= self.objective:
                break
            del self.overdue[tx]
            self.count["slow"] += 1
        self.times.append(now)
        gross = sum(gauge.gross for gauge in self.ledger.gauges)
        seen = {
            **self.count,
            "unanswered_age": _age(self.unanswered, now),
            "undecided_age": _age(self.undecided, now),
            "in_doubt_age": _age(self.doubts, now),
            "event_lag": _age(self.accepted, now),
            "half_done_age": _age(self.half_done, now),
            "drift": gross if math.isfinite(gross) else math.nan,
        }
        for name, value in seen.items():
            self.scraped[name].append(float(value))

    # --- entries ------------------------------------------------------------------------------------------------------------------

    def _arrive(self, event: LogEntry) -> None:
        super()._arrive(event)
        self.count["requests"] += 1
        self.unanswered[event.tx] = self.overdue[event.tx] = self.undecided[event.tx] = event.time

    def _answer(self, event: LogEntry) -> None:
        super()._answer(event)
        if event.name == "accepted" and event.tx in self.undecided:
            self.accepted.setdefault(event.tx, event.time)
        if self.scenario.network.client_zone is None:
            self._answered(event)

    def _reply(self, event: LogEntry) -> None:
        super()._reply(event)
        self._answered(event)

    def _answered(self, event: LogEntry) -> None:
        arrival = self.unanswered.pop(event.tx, None)
        if (
            arrival is not None
            and self.overdue.pop(event.tx, None) is not None
            and event.time - arrival > self.objective
        ):
            self.count["slow"] += 1

    def _decided(self, event: LogEntry) -> None:
        super()._decided(event)
        self.accepted.pop(event.tx, None)
        if self.undecided.pop(event.tx, None) is not None:
            self.count["decisions"] += 1
            self.count["aborts"] += event.name != "committed"

    def _apply(self, event: LogEntry) -> None:
        super()._apply(event)
        self.count["compensations"] += event.name == "compensation"
        record = self.ledger.active.get(event.tx)
        if record is not None and record.partial:
            self.half_done.setdefault(event.tx, event.time)
        else:
            self.half_done.pop(event.tx, None)

    def _prepare(self, event: LogEntry) -> None:
        super()._prepare(event)
        self._look_at_doubt(event)

    def _commit(self, event: LogEntry) -> None:
        super()._commit(event)
        self._look_at_doubt(event)

    _rollback = _commit

    def _doubt(self, event: LogEntry) -> None:
        super()._doubt(event)
        self._look_at_doubt(event)

    def _look_at_doubt(self, event: LogEntry) -> None:
        where = (event.node, event.tx)
        if where in self.in_doubt:
            self.doubts.setdefault(where, event.time)
        else:
            self.doubts.pop(where, None)

    def _suspect(self, event: LogEntry) -> None:
        super()._suspect(event)
        self.count["retries"] += 1

    def _redeliver(self, event: LogEntry) -> None:
        super()._redeliver(event)
        self.count["retries"] += 1

    def _rejected(self, event: LogEntry) -> None:  # noqa: ARG002 - as all handlers
        self.count["rejections"] += 1

    def _alert(self, event: LogEntry) -> None:
        super()._alert(event)
        self.count["stuck"] += Stuck.read(event).stuck
        self.count["stood_still"] += event.actor == SagaMonitor.role and STUCK in event.name


def _age(since: Mapping[Any, float], now: float) -> float:
    return now - next(iter(since.values())) if since else 0.0
