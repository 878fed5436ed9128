"""Metrics from the event log alone: the same numbers as those that were streamed while the run went on.

An event log is played into a `TransactionLedger` again, entry by entry. It is the way for runs of which only the log is left, and the check that
nothing is counted that did not happen: the two ways share the definitions, not the places where things are counted.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from simtx.event_log.entries import (
    DETAILS,
    Applied,
    Arrived,
    BranchEnded,
    Durability,
    Levels,
    Number,
    Process,
    Seconds,
    Staleness,
    Stuck,
    Vote,
    Worked,
    effects_with_outbox,
    keys_of,
)
from simtx.event_log.log import LogEntry
from simtx.metrics import asking, drift, providers
from simtx.metrics.counters import by_kind
from simtx.metrics.delivery import OF_DELIVERIES, counted, figures
from simtx.metrics.guarantees import PROPERTIES, SPLIT, behind, claimed, violated
from simtx.metrics.ledger import TransactionLedger, TransactionRecord
from simtx.metrics.recovery import target
from simtx.metrics.rundata import RunData, Struck
from simtx.metrics.stations import Counts, Locks, Station, Stations
from simtx.metrics.summary import summarise, transactions_frame
from simtx.metrics.timeline import Clock, Timeline, beside
from simtx.protocols import Plan, Step, Strategy
from simtx.protocols.operations import writes

if TYPE_CHECKING:
    import pandas as pd

    from simtx.scenario import Scenario

_OF_THE_END: Final = frozenset({"doubt", "held", "unpublished", "unfinished", "end"})


def data_from_trace(
    trace: Iterable[LogEntry], scenario: Scenario, values: drift.Values | None = None, *, broker: bool | None = None
) -> RunData:
    """The raw numbers of a run, from its event log.

    The log does not hold the digest, and the timeline has those lengths of queues that the log says.

    Args:
        trace: The whole log of one run, in order.
        scenario: What was played: initial values, invariants, workers, the warm-up.
        values: Last values by service and key, as the stores have them; None: those that the log leads to.
        broker: Whether there was a broker; None: if anything was published.
    """
    events = list(trace)
    if broker is None:
        broker = any(event.kind == "publish" for event in events)
    votes = any(event.kind == "logged" for event in events)
    replay = Replay(scenario, broker=broker, votes=votes).play(events)
    if values is not None:
        replay.values = {name: dict(values.get(name, {})) for name in replay.values}
    return replay.data()


def summary_from_trace(
    trace: Iterable[LogEntry], scenario: Scenario, strategy: Strategy | None = None
) -> pd.Series[float]:
    """The summary of a run, from its event log: as `Run.summary`.

    Args:
        trace: The whole log of one run, in order.
        scenario: What was played.
        strategy: Whose run it was; without it nobody knows what is guaranteed, and `violations` is not a number.
    """
    data = data_from_trace(trace, scenario)
    return summarise(transactions_frame(data), data, math.nan if strategy is None else violated(strategy, data))


Claims: TypeAlias = tuple[tuple[str, int, str], ...]


def _claims(branch: Any) -> Claims:
    """Claims of the outbox rows of a branch about steps, from the text of a log."""
    rows = branch.get("outbox", ()) if isinstance(branch, dict) else ()
    found = (
        claimed(row.get("kind", ""), row["body"].get("cause")) for row in rows if isinstance(row.get("body"), dict)
    )
    return tuple(one for one in found if one is not None)


class _Workers:
    """Busy workers of one service over time."""

    __slots__ = ("after", "before", "busy", "counted", "locks", "serving", "since", "station", "total")

    def __init__(self) -> None:
        self.busy = 0
        self.since = 0.0
        self.total = 0.0
        self.before = 0.0
        self.after = 0.0
        self.station = Station()
        self.serving: dict[int, list[float]] = {}  # when workers have begun, by transaction
        self.counted = Counts()  # at the end of the warm-up, then since
        self.locks = Locks()

    def change(self, now: float, busy: int) -> None:
        self.total += self.busy * (now - self.since)
        self.since = now
        self.busy = busy

    def serve(self, now: float, tx: int) -> None:
        self.change(now, self.busy + 1)
        self.station.enter(now)
        self.serving.setdefault(tx, []).append(now)

    def free(self, now: float, tx: int) -> None:
        self.change(now, self.busy - 1)
        begun = self.serving.get(tx)
        if begun:
            self.station.leave(now, begun.pop(0))
            if not begun:
                del self.serving[tx]

    def crash(self, now: float) -> None:
        self.change(now, 0)
        self.station.clear(now)
        self.serving.clear()


class Replay:
    """Plays an event log into a ledger. Who watches a run while it is played derives from it.

    Args:
        scenario: What was played.
        broker: Whether there was a broker.
        votes: Whether there was a vote store.
    """

    def __init__(self, scenario: Scenario, broker: bool, votes: bool = False) -> None:
        self.scenario = scenario
        self.ledger = TransactionLedger(len(drift.conserved(scenario)), math.inf, behind(scenario.transaction.steps))
        self.weights = {name: drift.weights(scenario, name) for name in scenario.services}
        self.values: dict[str, dict[str, float]] = {
            name: {key: value for key, value in service.store.initial.items() if not key.endswith("*")}
            for name, service in scenario.services.items()
        }
        self.workers = {name: _Workers() for name in scenario.services}
        self.reads: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.broker = broker
        self.votes = votes
        self.delivered: Counter[str] = Counter()
        self.lag: int | None = None
        self.arrivals = 0
        self.working: set[int] = set()
        self.whole = False  # whether the log says what machines have asked for
        self.saying: dict[tuple[str, int, str, str], tuple[Claims, Claims]] = {}
        self.horizon = 0.0
        self.end = 0.0
        self.events = 0
        self.timeline = Timeline(
            list(scenario.services),
            broker=broker,
            partitions=scenario.broker.partitions > 0,
            beside=beside(scenario),
        )
        self.clock = Clock(scenario)
        self.levels: dict[str, float] = {}
        self.in_doubt: set[tuple[str, int]] = set()
        self.struck: list[Struck] = []
        self.closed = self.over = False
        # Each kind of entry that counts has a method of its name.
        self.handlers: dict[str, Callable[[LogEntry], None]] = {
            kind: getattr(self, f"_{kind}") for kind in DETAILS if hasattr(self, f"_{kind}")
        }

    def play(self, trace: Iterable[LogEntry]) -> Replay:
        """Play the whole log."""
        handlers, counters = self.handlers, by_kind()
        clock = self.clock
        for event in trace:
            # A sample comes before all that happens at its time, but for the lengths of queues that were written down for it.
            while (
                clock.due <= event.time
                and not self.over
                and not (clock.due == event.time and (event.kind == "level" or event.kind in _OF_THE_END))
            ):
                self._sample(clock.due)
                clock.tick(draining=self.closed)
            for name, counter in counters.get(event.kind, ()):
                if not name or name == event.name:
                    self.ledger.counts[counter] += 1
            handler = handlers.get(event.kind)
            if handler is not None:
                handler(event)
            elif event.kind in OF_DELIVERIES:
                self.delivered[counted(event)] += 1
        self.ledger.finish(self.working)
        return self

    def data(self) -> RunData:
        """The raw numbers of the run."""
        scenario, ledger = self.scenario, self.ledger
        window = max(self.horizon - scenario.run.warmup, 0.0)
        reads, stale = self.reads.total(), self.reads["stale"]
        watch = ledger.watch.final(scenario, self.values, ledger.in_force())
        replicas = any(service.store.replica_lag is not None for service in scenario.services.values())
        return RunData(
            columns=ledger.rows.cells(),
            quantities=drift.quantities(scenario, ledger, window),
            warmup=scenario.run.warmup,
            horizon=self.horizon,
            end=self.end,
            partial_share=ledger.partial_time / window if window else math.nan,
            residual=drift.residual(scenario, self.values, ledger.expected),
            bounds_violated=drift.bounds_violated(scenario, self.values),
            events=self.events,
            counts=ledger.counts,
            client_deadline=scenario.clients.deadline,
            utilisation={
                name: (one.after - one.before) / (scenario.services[name].workers * window) if window else math.nan
                for name, one in self.workers.items()
            },
            timeline=self.timeline,
            struck=self.struck,
            services=list(scenario.services),
            digest="",
            still_open=ledger.still_open,
            stations=self._stations(),
            broken=watch.found,
            broken_counts=dict(watch.counts),
            unfinished=watch.unfinished,
            watched=[name for name in PROPERTIES if name != "no-ghost" or self.whole],
            extra=({"stale_reads_per_million": 1e6 * stale / reads if reads else math.nan} if replicas else {})
            | (providers.figures(self.calls) if scenario.providers else {})
            | (figures(self.delivered, scenario, self.lag) if self.broker else {})
            | asking.figures(
                scenario.clients,
                self.arrivals,
                ledger.counts["requests_repeated"],
                self.calls["suppress"],
                self.calls["expire"],
            ),
        )

    def _stations(self) -> Stations:
        """Figures of queues, as far as the log tells them: not when somebody has begun to wait."""
        return Stations(
            arrivals=self.arrivals,
            workers={name: one.counted for name, one in self.workers.items()},
            locks={name: one.locks for name, one in self.workers.items()},
        )

    def _sample(self, now: float, *, whole: bool = False) -> None:
        busy = {f"busy_{name}": one.busy for name, one in self.workers.items()}
        self.timeline.add(now, self.ledger, len(self.in_doubt), {**self.levels, **busy}, whole=whole)

    # --- transactions -----------------------------------------------------------------------------------------------------------

    def _arrive(self, event: LogEntry) -> None:
        steps = tuple(
            Step(index, str(index), service, operations)
            for index, (service, operations) in enumerate(Arrived.read(event).operations())
        )
        writing = sum(writes(step.operations) for step in steps)
        self.arrivals += 1
        measured = event.time >= self.scenario.run.warmup
        self.ledger.begin(Plan(event.tx, steps), event.time, (), measured, writing)

    def _request(self, event: LogEntry) -> None:
        if event.name in ("skip", "resolve"):  # an operator answers for it
            self.ledger.answered_for.add(event.tx)

    def _record(self, event: LogEntry) -> TransactionRecord | None:
        return self.ledger.active.get(event.tx)

    def _add(self, event: LogEntry, name: str, amount: float = 1) -> None:
        record = self._record(event)
        if record is not None:
            setattr(record, name, getattr(record, name) + amount)

    def _answer(self, event: LogEntry) -> None:
        record = self._record(event)
        if record is not None and {record.answer, event.name} == {"committed", "aborted"}:
            record.watch |= SPLIT
        elif record is not None and not record.answer:
            if self.scenario.network.client_zone is not None:
                record.answer = event.name
            elif event.time - record.arrival <= self.scenario.clients.deadline:
                record.answer = event.name
                record.answered = event.time

    def _reply(self, event: LogEntry) -> None:
        record = self._record(event)
        if record is not None:
            record.answered = event.time

    def _decided(self, event: LogEntry) -> None:
        record = self._record(event)
        if record is not None:
            self.ledger.decided(record, event.name == "committed", event.time)

    def _alert(self, event: LogEntry) -> None:
        record = self._record(event)
        if record is not None and Stuck.read(event).stuck:
            record.stuck = True

    # --- messages and logs ------------------------------------------------------------------------------------------------------

    def _send(self, event: LogEntry) -> None:
        self._add(event, "messages")

    def _publish(self, event: LogEntry) -> None:
        self._add(event, "broker_messages")

    def _logonce(self, event: LogEntry) -> None:
        self._add(event, "messages", 2)  # it and its answer

    def _logged(self, event: LogEntry) -> None:
        self._add(event, "forced", int(Vote.read(event).written))

    def _suspect(self, event: LogEntry) -> None:
        self._add(event, "retries")

    def _redeliver(self, event: LogEntry) -> None:
        self.delivered["redeliveries"] += 1
        self._add(event, "retries")

    def _lag(self, event: LogEntry) -> None:
        self.lag = max(self.lag or 0, Number.read(event).number)

    def _append(self, event: LogEntry) -> None:
        self._add(event, Durability.read(event).text())

    # --- stores -----------------------------------------------------------------------------------------------------------------

    def _handle(self, event: LogEntry) -> None:
        """Keep what the local transactions that a machine asks for are to write to the outbox, until it is known how they have ended."""
        self.whole = True
        for effect in effects_with_outbox(event):
            if effect.get("$") == "Transact":
                said = tuple(_claims(effect.get(branch)) for branch in ("accepted", "refused"))
                self.saying[event.node, event.tx, event.actor, effect.get("tag", "")] = (said[0], said[1])

    _recover = _handle

    def _transact(self, event: LogEntry) -> None:
        worked = Worked.read(event)
        if worked.forced:
            self._add(event, "forced")
        record = self._record(event)
        if record is not None and worked.status == "refused":
            record.refused = True
        accepted, refused = self.saying.pop((event.node, event.tx, event.actor, event.name), ((), ()))
        if record is not None and worked.status in ("done", "refused"):
            self.ledger.claimed(record, accepted if worked.status == "done" else refused)

    _execute = _transact

    def _prepare(self, event: LogEntry) -> None:
        self._transact(event)
        worked = Worked.read(event)
        if worked.forced and worked.status == "done":
            self._add(event, "prepared")
            self.in_doubt.add((event.node, event.tx))

    def _commit(self, event: LogEntry) -> None:
        ended = BranchEnded.read(event)
        self._add(event, ended.durability)
        self._add(event, "in_doubt", ended.in_doubt or 0.0)
        self.in_doubt.discard((event.node, event.tx))

    _rollback = _commit

    def _apply(self, event: LogEntry) -> None:
        applied = Applied.read(event)
        changes, steps = applied.values, list(applied.steps)
        moved = drift.shifts(changes, self.weights[event.node])
        record = self._record(event)
        if record is None or record.light:
            self.ledger.late(event.node, {key: new - old for key, (old, new) in changes.items()})
        self.values[event.node].update((key, new) for key, (_, new) in changes.items())
        if record is not None:
            if len(steps) > 1:
                steps = [index for index in steps if writes(record.plan.steps[index].operations)]
            self.ledger.effect(record, steps, event.name == "compensation", moved, event.time)

    def _call(self, event: LogEntry) -> None:
        self.calls[event.name] += 1
        if event.name in ("intent", "adopt"):  # what the service forces beside its local transactions
            self._add(event, "forced")

    def _suppress(self, event: LogEntry) -> None:
        self.calls[event.kind] += 1

    _expire = _suppress

    def _wait(self, event: LogEntry) -> None:
        self._add(event, "lock_wait", Seconds.read(event).seconds)

    def _unlock(self, event: LogEntry) -> None:
        self._add(event, "lock_hold", Seconds.read(event).seconds)
        one = self.workers.get(event.node)
        if one is not None and not self.closed:
            one.locks = Locks(one.locks.taken + len(keys_of(event)), one.locks.held + Seconds.read(event).seconds)

    def _read(self, event: LogEntry) -> None:
        self.reads[Staleness.read(event).text()] += 1

    # --- workers ----------------------------------------------------------------------------------------------------------------

    def _serve(self, event: LogEntry) -> None:
        self.workers[event.node].serve(event.time, event.tx)

    def _free(self, event: LogEntry) -> None:
        self.workers[event.node].free(event.time, event.tx)

    def _crash(self, event: LogEntry) -> None:
        one = self.workers.get(event.node)
        if one is not None and not Process.read(event).beside(event.node):
            one.crash(event.time)

    # --- the run ----------------------------------------------------------------------------------------------------------------

    def _fault(self, event: LogEntry) -> None:
        number = Number.read(event).number
        faults = self.scenario.faults
        whom = target(faults[number], votes=self.votes) if 0 <= number < len(faults) else event.node
        self.struck.append(Struck(number, event.name, whom, event.time))

    def _healed(self, event: LogEntry) -> None:
        self._heal(event.time, lambda one: one.fault == Number.read(event).number)

    def _restart(self, event: LogEntry) -> None:
        self._heal(event.time, lambda one: one.fault < 0 and one.target == event.node)

    def _heal(self, now: float, which: Callable[[Struck], bool]) -> None:
        for one in reversed(self.struck):
            if math.isinf(one.end) and which(one):
                one.end = now
                return

    def _level(self, event: LogEntry) -> None:
        self.levels.update(Levels.read(event).levels)

    def _open(self, event: LogEntry) -> None:
        self.ledger.open_window(event.time)
        for one in self.workers.values():
            one.change(event.time, one.busy)
            one.before = one.total
            one.counted = one.station.until(event.time)
            one.locks = Locks()

    def _close(self, event: LogEntry) -> None:
        self.horizon = event.time
        self.closed = True
        self._sample(event.time, whole=True)
        self.ledger.close_window(event.time)
        for one in self.workers.values():
            one.change(event.time, one.busy)
            one.after = one.total
            one.counted = one.station.until(event.time).since(one.counted)

    def _doubt(self, event: LogEntry) -> None:
        if event.name == "again":  # a crash has taken back a rollback that was not forced
            self.in_doubt.add((event.node, event.tx))
            return
        self.ledger.still_in_doubt(event.tx, Seconds.read(event).seconds)

    def _held(self, event: LogEntry) -> None:
        self.ledger.still_locked(event.tx, len(keys_of(event)), Seconds.read(event).seconds)

    def _unpublished(self, event: LogEntry) -> None:  # noqa: ARG002 - as all handlers
        self.ledger.still_unpublished()

    def _unfinished(self, event: LogEntry) -> None:
        self.working.add(event.tx)
        record = self._record(event)
        if record is not None and event.name == "machine":
            record.actors = 1

    def _end(self, event: LogEntry) -> None:
        self.end = event.time  # processes may have written something behind it
        self.over = True
        self._sample(event.time, whole=True)
        self.events = Number.read(event).number
