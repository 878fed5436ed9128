"""Counts while a run goes on: one record a transaction, and the drift of the conserved quantities, streamed.

The ledger knows no host: the simulator calls it at simulated times, a real execution replays its event log into it.
Times are seconds since the start of the run. Definitions of the drift metrics: docs/metrics.md.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final

from simtx.metrics.counters import COUNTERS
from simtx.metrics.guarantees import DOUBLED, EARLY, REFUSING, SPLIT, Seen, Watch, claim, examined
from simtx.metrics.still_open import NOTHING
from simtx.protocols.contract import Message, Operation, Plan, Step
from simtx.protocols.operations import writes

NAN: Final = math.nan
_TOLERANCE: Final = 1e-9  # below this a conserved sum counts as restored: float sums of decimal amounts

UNDECIDED, COMMITTED, ABORTED = 0, 1, 2
_CHUNK: Final = 1024
_SOON: Final = 5.0  # seconds without news after which a transaction that is through gives up its plan
_CHANGE: Final = (Operation("", "add", 0.0),)


class TransactionRecord:
    """All that is counted for one transaction. Hosts write the counters directly: this is the hot path."""

    __slots__ = (
        "actions",
        "actors",
        "answer",
        "answered",
        "arrival",
        "broker_messages",
        "claims",
        "decided",
        "decision",
        "demands",
        "done",
        "duplicates",
        "first_effect",
        "forced",
        "in_doubt",
        "last_activity",
        "last_effect",
        "lazy",
        "light",
        "lock_hold",
        "lock_wait",
        "measured",
        "messages",
        "missing",
        "open",
        "outcome",
        "outside",
        "partial",
        "plan",
        "prepared",
        "refused",
        "residuals",
        "retries",
        "stuck",
        "tx",
        "undone",
        "watch",
        "writing",
    )
    outcome: str  # this and the two that follow are known when it is closed
    duplicates: int
    missing: int

    def __init__(
        self, plan: Plan, arrival: float, demands: Sequence[float], measured: bool, invariants: int, writing: int
    ) -> None:
        steps = len(plan.steps)
        self.tx = plan.tx
        self.plan = plan
        self.arrival = self.last_activity = arrival
        self.demands = demands
        self.measured = measured
        self.writing = writing
        self.actions = [0] * steps
        self.undone = [0] * steps
        self.residuals = [0.0] * invariants
        self.answer = ""
        self.decision = UNDECIDED
        self.answered = self.decided = self.first_effect = self.last_effect = NAN
        self.messages = self.broker_messages = self.forced = self.lazy = self.retries = 0
        self.prepared = self.done = self.actors = 0
        self.outside = 0  # requests that a provider outside has not worked off
        self.lock_wait = self.lock_hold = self.in_doubt = 0.0
        self.partial = self.refused = self.stuck = False
        self.watch = 0
        self.claims: tuple[tuple[str, int, str], ...] = ()
        self.open = True
        self.light = False


class DriftGauge:
    """One conserved quantity: the signed residual I(t), its in-flight absolute sum, and their time integrals (metrics M2 and M3)."""

    __slots__ = ("gross", "gross_integral", "last", "net", "net_integral", "peak", "violated")

    def __init__(self) -> None:
        self.net = 0.0
        self.gross = 0.0
        self.reset(0.0)

    def reset(self, now: float) -> None:
        """Start the integrals anew, at the end of the warm-up."""
        self.last = now
        self.net_integral = 0.0
        self.gross_integral = 0.0
        self.violated = 0.0
        self.peak = 0.0

    def advance(self, now: float) -> None:
        """Add the time since the last change to the integrals."""
        span = now - self.last
        if span > 0:
            self.last = now
            net = abs(self.net)
            if net > _TOLERANCE:
                self.net_integral += net * span
                self.violated += span
                if net > self.peak:
                    self.peak = net  # here, so that only what lasts counts: not the instant between two effects at the same time
            self.gross_integral += self.gross * span


class TransactionLedger:
    """Streams transactions and drift into columns.

    Attributes:
        active: Records of transactions that are not in the columns yet, by number.
        young: Those of them that may still be worked on.
        counts: What was counted in the whole run, by the names of `simtx.metrics.counters`.
        watch: What the run has violated of the checker's properties (`simtx.metrics.guarantees`).

    Args:
        invariants: Number of conserved quantities.
        grace: A finished transaction is written to its columns once nothing has happened to it for so many seconds.
        behind: For each step those that come after it; empty: the order of compensations is not watched.
    """

    def __init__(self, invariants: int, grace: float = 60.0, behind: Sequence[Sequence[int]] = ()) -> None:
        self.gauges = [DriftGauge() for _ in range(invariants)]
        self.active: dict[int, TransactionRecord] = {}
        self.young: dict[int, TransactionRecord] = {}
        self.rows = Columns()
        self.expected: dict[str, dict[str, float]] = {}
        self.watch = Watch()
        self.answered_for: set[int] = set()
        self._beside: dict[str, dict[str, float]] = {}
        self._behind = behind
        self.undecided = 0
        self.unsettled = 0
        self.partial = 0
        self.partial_time = 0.0
        self.measuring = True
        self.counts: dict[str, int] = dict.fromkeys(COUNTERS, 0)
        self.still_open = NOTHING
        self.partial_since = 0.0
        self._grace = grace
        self._next_sweep = grace
        self._next_lighten = min(grace, _SOON)
        self._shapes: dict[tuple[tuple[str, bool], ...], Plan] = {}

    # --- life of a transaction --------------------------------------------------------------------------------------------------

    def begin(
        self, plan: Plan, now: float, demands: Sequence[float], measured: bool, writing: int
    ) -> TransactionRecord:
        """Open the record of a transaction that a client asks for; `writing` of its steps change data."""
        record = TransactionRecord(plan, now, demands, measured, len(self.gauges), writing)
        self.active[plan.tx] = self.young[plan.tx] = record
        self.undecided += 1
        self.unsettled += 1
        if now >= self._next_lighten:
            self._lighten(now)
            if now >= self._next_sweep:
                self._sweep(now)
        return record

    def times(self) -> tuple[float, float, float, float]:
        """Times of its sweeps: after so many seconds without news, next at; likewise, when it lets plans go."""
        return self._grace, self._next_sweep, _SOON, self._next_lighten

    def decided(self, record: TransactionRecord, committed: bool, now: float) -> None:
        """The outcome is final. Said again after a recovery, the first time counts."""
        if record.decision == UNDECIDED:
            self.undecided -= 1
            record.decision = COMMITTED if committed else ABORTED
            record.decided = now
            self._weigh(record)
        elif committed is not (record.decision == COMMITTED):
            record.watch |= SPLIT

    def told(self, record: TransactionRecord, messages: Iterable[Message]) -> None:
        """Note these events, which were committed to an outbox; what they say of a step is looked at when all is over."""
        known = record.claims
        for message in messages:
            said = claim(message)
            if said is not None and said not in known:
                record.claims += (said,)

    def claimed(self, record: TransactionRecord, claims: tuple[tuple[str, int, str], ...]) -> None:
        """Events that were committed to an outbox say so much."""
        if claims:
            record.claims += tuple(one for one in claims if one not in record.claims)

    def late(self, service: str, changes: Mapping[str, float]) -> None:
        """Add what a transaction of which the plan is gone has changed yet."""
        sums = self._beside.setdefault(service, {})
        for key, change in changes.items():
            sums[key] = sums.get(key, 0.0) + change

    def in_force(self) -> dict[str, dict[str, float]]:
        """Amounts that the steps in force have added, by service and key, after `finish`."""
        found = {service: dict(sums) for service, sums in self.expected.items()}
        for service, sums in self._beside.items():
            into = found.setdefault(service, {})
            for key, change in sums.items():
                into[key] = into.get(key, 0.0) + change
        return found

    def _weigh(self, record: TransactionRecord) -> None:
        """Note whether each step of a decided transaction is in force exactly as the decision says."""
        if (record.done != (record.writing if record.decision == COMMITTED else 0)) is not record.open:
            record.open = not record.open
            self.unsettled += 1 if record.open else -1

    def effect(
        self,
        record: TransactionRecord,
        steps: Iterable[int],
        compensation: bool,
        shifts: Sequence[float] | None,
        now: float,
    ) -> None:
        """A local transaction with these steps has become durable and visible.

        Args:
            record: The transaction.
            steps: Indexes of its writing steps that took effect.
            compensation: Whether they were undone rather than done.
            shifts: Change of every conserved quantity, or None if it touches none.
            now: Time of the commit, in seconds.
        """
        if record.first_effect != record.first_effect:  # NaN: the first one
            record.first_effect = now
        record.last_effect = record.last_activity = now
        actions, undone = record.actions, record.undone
        done = record.done
        for index in steps:
            if compensation:
                undone[index] += 1
                if actions[index] == undone[index]:
                    done -= 1
                elif actions[index] < undone[index]:
                    record.watch |= DOUBLED
            else:
                actions[index] += 1
                if actions[index] == undone[index] + 1:
                    done += 1
                elif actions[index] > undone[index]:
                    record.watch |= DOUBLED
        record.done = done
        if compensation and done and self._behind:
            self._look_behind(record, steps)
        if record.decision:
            self._weigh(record)
        if (0 < done < record.writing) is not record.partial:
            record.partial = not record.partial
            self._count_partial(1 if record.partial else -1, now)
        if shifts is not None:
            self._shift(record, shifts, now)

    def _look_behind(self, record: TransactionRecord, steps: Iterable[int]) -> None:
        """Note whether anything that came after these steps is in force, although they were undone."""
        for index in steps:
            if any(record.actions[later] > record.undone[later] for later in self._behind[index]):
                record.watch |= EARLY

    def _shift(self, record: TransactionRecord, shifts: Sequence[float], now: float) -> None:
        residuals = record.residuals
        measuring = self.measuring
        for index, change in enumerate(shifts):
            if change:
                gauge = self.gauges[index]
                if measuring and now > gauge.last:
                    gauge.advance(now)
                before = residuals[index]
                after = before + change
                if -_TOLERANCE < after < _TOLERANCE:
                    after = 0.0
                residuals[index] = after
                gauge.net += change
                gauge.gross += abs(after) - abs(before)

    def _count_partial(self, change: int, now: float) -> None:
        if self.partial == 0:
            self.partial_since = now
        elif self.partial + change == 0 and self.measuring:
            self.partial_time += now - self.partial_since
        self.partial += change

    # --- what is open when the run ends -----------------------------------------------------------------------------------------

    def still_in_doubt(self, tx: int, seconds: float) -> None:
        """A branch is prepared, and has been for so many seconds."""
        self.still_open = self.still_open._replace(in_doubt=self.still_open.in_doubt + 1)
        if (record := self.active.get(tx)) is not None:
            record.in_doubt += seconds

    def still_locked(self, tx: int, locks: int, seconds: float) -> None:
        """Note that somebody holds so many row locks, and has for so many seconds, summed over them."""
        self.still_open = self.still_open._replace(locks=self.still_open.locks + locks)
        if (record := self.active.get(tx)) is not None:
            record.lock_hold += seconds

    def still_unpublished(self) -> None:
        """An outbox row is not marked as published."""
        self.still_open = self.still_open._replace(unpublished=self.still_open.unpublished + 1)

    # --- the measured window ----------------------------------------------------------------------------------------------------

    def open_window(self, now: float) -> None:
        """The warm-up is over: integrals start here."""
        for gauge in self.gauges:
            gauge.reset(now)
        self.partial_time = 0.0
        self.partial_since = now

    def close_window(self, now: float) -> None:
        """The last arrival: integrals end here; what drains afterwards is not part of the averages."""
        for gauge in self.gauges:
            gauge.advance(now)
        if self.partial:
            self.partial_time += now - self.partial_since
        self.measuring = False

    # --- into the columns -------------------------------------------------------------------------------------------------------

    def _lighten(self, now: float) -> None:
        """Let go of the plans of transactions that are through: these are three quarters of what a transaction takes.

        Whatever comes late still counts. It needs no more of a plan than which steps change data; what the plan calls for is booked here.
        """
        self._next_lighten = now + _SOON
        limit = now - _SOON
        through = []
        for record in self.young.values():
            if record.arrival >= limit:
                break
            if record.decision and not record.actors and record.last_activity < limit and settled(record):
                through.append(record)
        for record in through:
            self._book(record, record.decision == COMMITTED)
            record.plan = self._shape(record.plan)
            record.demands = array("d", record.demands)
            record.light = True
            del self.young[record.tx]

    def _shape(self, plan: Plan) -> Plan:
        """Steps of a plan: which, where, and whether they change data. One object for all plans of a shape."""
        key = tuple([(step.service, writes(step.operations)) for step in plan.steps])
        shape = self._shapes.get(key)
        if shape is None:
            steps = (Step(i, str(i), service, _CHANGE if changes else ()) for i, (service, changes) in enumerate(key))
            shape = self._shapes[key] = Plan(-1, tuple(steps))
        return shape

    def _book(self, record: TransactionRecord, committed: bool) -> None:
        """Add to what the stores ought to hold in the end."""
        if not committed:
            return
        for step in record.plan.steps:
            expected = self.expected.get(step.service)
            if expected is None:
                expected = self.expected[step.service] = {}
            for operation in step.operations:
                if operation.kind == "add":
                    key = operation.key
                    expected[key] = expected.get(key, 0) + operation.amount
                elif operation.kind == "refuse":
                    record.watch |= 1 << (REFUSING + step.index)

    def _sweep(self, now: float) -> None:
        self._next_sweep = now + self._grace / 4
        limit = now - self._grace
        finished = []
        for record in self.active.values():
            if record.arrival >= limit:
                break  # and so did all that follow, as nothing happens to a transaction before it arrives
            through = record.decision and not record.actors and record.last_activity < limit and settled(record)
            if through and not record.outside:
                finished.append(record)
        for record in finished:
            self._close(record, "")

    def finish(self, working: set[int]) -> None:
        """The run is over: close every record; `working` are the transactions that some machine still works on."""
        for record in list(self.active.values()):
            if not record.decision and record.tx not in working and 0 < record.done == record.writing:
                self.decided(record, True, record.last_effect)  # a crash swallowed the word, but the data say it
            if record.stuck:
                outcome = "stuck"
            elif record.decision and not record.actors:
                outcome = ""
            elif record.tx in working or record.actors:
                outcome = "in-flight"
            elif any(a > u for a, u in zip(record.actions, record.undone, strict=True)):
                outcome = "incomplete"
            else:
                outcome = "lost"
            self._close(record, outcome, resting=record.tx not in working and not record.actors)

    def _close(self, record: TransactionRecord, outcome: str, *, resting: bool = True) -> None:
        if not outcome:
            if record.decision == COMMITTED:
                outcome = "committed"
            else:
                outcome = "compensated" if any(record.undone) else "aborted"
        del self.active[record.tx]
        self.young.pop(record.tx, None)
        committed = intends_commit(record, outcome)
        if not record.light:
            self._book(record, committed)
        wanted = 1 if committed else 0
        duplicates = missing = 0
        actions, undone = record.actions, record.undone
        for step in record.plan.steps:
            net = actions[step.index] - undone[step.index]
            if net != wanted and writes(step.operations):
                duplicates += max(0, net - wanted)
                missing += max(0, wanted - net)
                if not record.light:
                    for operation in step.operations:
                        if operation.kind == "add":  # a step may change one value several times
                            self.late(step.service, {operation.key: (net - wanted) * operation.amount})
        if not resting or outcome in ("stuck", "in-flight"):
            self.watch.unfinished += 1
        if (
            duplicates
            or missing
            or examined(record.answer, outcome, committed=committed, watch=record.watch, claims=record.claims)
        ) and record.tx not in self.answered_for:
            self._judge(record, outcome, committed=committed, resting=resting)
        record.outcome, record.duplicates, record.missing = outcome, duplicates, missing
        self.rows.add(record)

    def _judge(self, record: TransactionRecord, outcome: str, *, committed: bool, resting: bool) -> None:
        self.watch.judge(
            Seen(
                record.tx,
                outcome,
                record.answer,
                committed,
                record.decision != UNDECIDED,
                record.actions,
                record.undone,
                [step.service if writes(step.operations) else None for step in record.plan.steps],
                record.watch,
                resting and outcome not in ("stuck", "in-flight"),
                record.claims,
            )
        )


def settled(record: TransactionRecord) -> bool:
    """Return whether every effect is there exactly as often as the decision says."""
    wanted = 1 if record.decision == COMMITTED else 0
    for step, done, undone in zip(record.plan.steps, record.actions, record.undone, strict=True):
        if done - undone != wanted and writes(step.operations):
            return False
    return True


def traceless(record: TransactionRecord) -> bool:
    """Return whether nobody works on it, and nothing of it was ever sent or made durable: only who has received its request knew of it."""
    written = record.forced or record.lazy or record.first_effect == record.first_effect
    return not (record.actors or record.messages or record.broker_messages or written)


def intends_commit(record: TransactionRecord, outcome: str) -> bool:
    """Return whether the effects of this transaction ought to be there in the end.

    Decided ones: as decided. Undecided ones: a transaction of which something was applied and that nobody refused was meant to go on.
    """
    if outcome == "lost":
        return False
    if record.decision != UNDECIDED:
        return record.decision == COMMITTED
    return not record.refused and any(record.actions)


COLUMNS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "tx": "tx",
        "arrival_s": "arrival",
        "outcome": "outcome",
        "answer": "answer",
        "answered_s": "answered",
        "decided_s": "decided",
        "first_effect_s": "first_effect",
        "last_effect_s": "last_effect",
        "messages": "messages",
        "broker_messages": "broker_messages",
        "forced_writes": "forced",
        "lazy_writes": "lazy",
        "retries": "retries",
        "lock_wait_s": "lock_wait",
        "lock_hold_s": "lock_hold",
        "in_doubt_s": "in_doubt",
        "prepared_branches": "prepared",
        "duplicate_effects": "duplicates",
        "missing_effects": "missing",
        "measured": "measured",
        "decision": "decision",
    }
)
"""The columns of finished transactions, each with the field of `TransactionRecord` that it holds; the records of the loop in C have fields of the same names."""
_FIELDS: Final[Callable[[TransactionRecord], tuple[Any, ...]]] = attrgetter(*COLUMNS.values())


class Columns:
    """Finished transactions, a list of numbers a column."""

    __slots__ = ("_cells", "_rows")

    def __init__(self) -> None:
        self._rows: list[tuple[Any, ...]] = []
        codes = {"tx": "q", "measured": "b", "decision": "b"}
        self._cells: list[array[Any] | list[str]] = [
            [] if name in ("outcome", "answer") else array(codes.get(name, "d" if name.endswith("_s") else "i"))
            for name in COLUMNS
        ]

    def add(self, record: TransactionRecord) -> None:
        """Write one finished transaction."""
        self._rows.append(_FIELDS(record))
        if len(self._rows) >= _CHUNK:
            self._pack()

    def _pack(self) -> None:
        """Turn rows into columns, which take a fraction of the memory."""
        for cell, values in zip(self._cells, zip(*self._rows, strict=True), strict=False):
            cell.extend(values)
        self._rows.clear()

    def room(self, count: int, texts: Mapping[str, list[str]]) -> dict[str, array[Any]]:
        """Columns of numbers for so many transactions, in order of completion, for whoever writes them by himself, beside those of texts.

        Args:
            count: How many there are.
            texts: The columns of texts.

        Returns:
            The columns of numbers, by name.
        """
        made = {}
        for position, name in enumerate(COLUMNS):
            cell = self._cells[position]
            if isinstance(cell, list):
                self._cells[position] = texts[name]
            else:
                made[name] = self._cells[position] = array(cell.typecode, [0]) * count
        return made

    def cells(self) -> dict[str, Sequence[float] | Sequence[str]]:
        """The columns by name, in order of completion."""
        self._pack()
        return dict(zip(COLUMNS, self._cells, strict=True))
