"""The outbox relay: brings the events that local transactions have committed to the broker, at least once and in order.

Theory of operation. The relay shares its database with the service but is a process of its own. Every `Policies.poll_interval` it reads
rows, publishes them, and marks each row once the broker has acknowledged it. Rows of the same transaction
are one aggregate: the next is published only after the acknowledgement of the one before, and none is ever skipped; different
aggregates go side by side, so one slow publication does not hold up the others.

Which rows are new. Rows are numbered when they are inserted and appear when they are committed, so that a row may appear behind one with a higher
number. A reader that looks only behind the highest number it has seen loses such a row for good. Three readers do not:

- ``marks``: every visible row that is not marked and not on its way. Complete, and in no order between local transactions.
- ``horizon``: rows below the horizon (`ReadOutbox.below_horizon`), behind the last place (local transaction, number) that was read. One order for all rows, in
  which nothing appears later that should have come before; but the oldest local transaction under way, a prepared branch too, holds all events up.
- ``lock``: rows behind the highest number, where writers lock the outbox (`Transact.serial_outbox`), so that numbers are in the order of commits. Events are never
  held up; but local transactions that write events commit one at a time, without group commit.

Invariants: a row is marked only after its acknowledgement, so nothing is lost; within an aggregate the broker sees first copies in
the order in which they were committed. Known weakness: marks are not forced, and a crash between acknowledgement and mark publishes the row again:
consumers must deduplicate; the place is in memory, so a relay that is started again begins with the first row that is not marked. Without `wake`,
an event waits up to one period: uniformly on (0, poll interval) when commits and polls are independent, therefore the first poll after
a start comes at a random phase.

Source: Richardson, "Microservices Patterns", 2018, section 3.3 (polling publisher). The horizon is that of PostgreSQL's
``pg_snapshot_xmin``; numbers that are drawn at insertion are those of its sequences, which no rollback takes back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final, Literal, TypeAlias

from simtx.protocols.choreography import DEFAULT_POLICIES
from simtx.protocols.contract import (
    Alert,
    Done,
    Effect,
    Event,
    Machine,
    MarkOutbox,
    OutboxRow,
    Publish,
    ReadOutbox,
    SetTimer,
    Timer,
    Transition,
)
from simtx.protocols.policies import Policies

Reader: TypeAlias = Literal["marks", "horizon", "lock"]

RELAY_TX: Final = -1
"""Transaction number of every long-running machine."""
_TAG: Final = "published:"
MINIMUM_POLL_INTERVAL: Final = 0.001
"""Seconds; a shorter `Policies.poll_interval` means this one: a relay must not poll without any pause."""
_BEFORE_ALL: Final = (-1, -1)


class Relay(Machine):
    """Polling relay of one service's outbox.

    The tag of a publication is ``published:<transaction>``: at most one row of a transaction is on its way.

    Args:
        node: The service whose outbox it empties.
        policies: `poll_interval`, `poll_batch`, `backoff` and `alert_after` count here.
        reader: How it knows which rows are new.
    """

    __slots__ = ("backing_off", "flying", "held", "known", "more", "place", "policies", "reader", "rounds")

    role: ClassVar[str] = "relay"
    initial: ClassVar[str] = "stopped"
    transitions: ClassVar[tuple[Transition, ...]] = (
        Transition(
            "stopped", "start", "start", ("running",), "read what a crash has left; poll at a random phase", of="timer"
        ),
        Transition("running", "poll", "poll", ("running",), "read unmarked rows", of="timer"),
        Transition("running", "wake", "wake", ("running",), "a local transaction wrote rows: read at once", of="timer"),
        Transition("running", "rows", "publish", ("running",), "publish the first row of each transaction", of="done"),
        Transition(
            "running",
            "published",
            "published",
            ("running",),
            "acknowledged: mark, publish the next; failed: hold",
            of="done",
        ),
        Transition("running", "backoff", "again", ("running",), "publish the held rows again", of="timer"),
    )

    def __init__(self, node: str, policies: Policies = DEFAULT_POLICIES, reader: Reader = "marks") -> None:
        super().__init__(node, RELAY_TX)
        self.policies = policies
        self.reader = reader
        self.place = (
            _BEFORE_ALL  # (local transaction, number) of the last row that was read; the former is 0 if it is not known
        )
        self.flying: dict[int, tuple[OutboxRow, ...]] = {}  # by transaction: the row on its way, and those behind it
        self.known: set[int] = set()  # ids of all rows in `flying`
        self.held: list[int] = []  # transactions whose first row waits for the back-off
        self.rounds = 0  # back-offs since the last acknowledgement
        self.backing_off = False
        self.more = False  # the last batch was full: there may be more rows

    def handle(self, event: Event) -> list[Effect]:
        """React to one event.

        Raises:
            PeerFault: The event is one that no correct host causes in this state.
        """
        if event.kind.startswith(_TAG) and self.state == "running":
            return self.published(event)
        return super().handle(event)

    def start(self, event: Timer) -> list[Effect]:  # noqa: ARG002
        """The node has started: rows may be left from before a crash."""
        self.state = "running"
        return [SetTimer("poll", 0.0, self._interval()), self._read()]

    def poll(self, event: Timer) -> list[Effect]:  # noqa: ARG002
        """A period is over. The next one begins now, not after the work, so that the period is kept."""
        return [SetTimer("poll", self._interval()), self._read()]

    def wake(self, event: Timer) -> list[Effect]:  # noqa: ARG002
        """A local transaction of this node has just committed rows."""
        return [self._read()]

    def publish(self, event: Done) -> list[Effect]:
        """Publish the rows that are not on their way already; a read that failed is made up for by the next poll."""
        rows: Sequence[OutboxRow] = event.value or ()
        self.more = len(rows) >= self.policies.poll_batch
        effects: list[Effect] = []
        known, flying = self.known, self.flying
        ordered = self.reader != "marks"
        for row in rows:
            identity, message = row[0], row[1]
            if ordered:
                place = (row[2] if len(row) > 2 else 0, identity)
                if place <= self.place:
                    continue
                self.place = place
            elif identity in known:
                continue
            known.add(identity)
            tx = message.tx
            before = flying.get(tx)
            if before is None:
                flying[tx] = (row,)
                effects.append(Publish(f"{_TAG}{tx}", message))
            else:
                flying[tx] = (*before, row)
        return effects

    def published(self, event: Event) -> list[Effect]:
        """The broker has acknowledged the first row of a transaction, or has not."""
        number = event.kind[len(_TAG) :]
        tx = int(number) if number.isdigit() else RELAY_TX
        rows = self.flying.get(tx)
        if rows is None or type(event) is not Done:
            return self.unexpected(event)
        if event.status != "done":
            self.held.append(tx)
            if self.backing_off:
                return []
            self.backing_off = True
            return [SetTimer("backoff", 0.0, self.policies.backoff.bound(self.rounds))]
        self.rounds = 0
        identity = rows[0][0]
        self.known.discard(identity)
        effects: list[Effect] = [MarkOutbox((identity,))]
        if len(rows) > 1:
            self.flying[tx] = rows[1:]
            effects.append(Publish(event.kind, rows[1][1]))
            return effects
        del self.flying[tx]
        if self.more and not self.known:  # there is a backlog: do not wait for the next poll
            self.more = False
            effects.append(self._read())
        return effects

    def again(self, event: Timer) -> list[Effect]:  # noqa: ARG002
        """The back-off is over: publish the held rows again, for ever, with an alert after a while."""
        self.backing_off = False
        self.rounds += 1
        effects: list[Effect] = [Publish(f"{_TAG}{tx}", self.flying[tx][0][1]) for tx in self.held]
        self.held = []
        if self.rounds == self.policies.alert_after:
            effects.append(
                Alert(
                    f"relay of {self.node}: the broker has acknowledged nothing in {self.rounds} rounds of publishing"
                )
            )
        return effects

    def _read(self) -> ReadOutbox:
        return ReadOutbox("rows", self.policies.poll_batch, self.reader == "horizon")

    def _interval(self) -> float:
        return max(self.policies.poll_interval, MINIMUM_POLL_INTERVAL)
