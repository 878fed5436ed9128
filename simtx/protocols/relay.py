"""The outbox relay: brings the events that local transactions have committed to the broker, at least once and in order.

Theory of operation. The relay shares its database with the service but is a process of its own. Every `Policies.poll_interval` it reads
rows, publishes them, and marks each row once the broker has acknowledged it. Rows of the same transaction
are one aggregate: the next is published only after the acknowledgement of the one before, and none is ever skipped; different
aggregates go side by side, so one slow publication does not hold up the others.

It is made of small machines. One `Poller` decides when to read and when to back off, and knows no rows. There is one `Courier` for each row on its way,
which belongs to the transaction of its row. `Relay` hands rows to couriers and what happens to the parts. So each part has few states, however many rows
there are; the compiled engine learns them one by one, those of a relay of your own, too.

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
from dataclasses import dataclass
from typing import ClassVar, Final, Literal, Self, TypeAlias

from simtx.protocols import on
from simtx.protocols.built_in import DEFAULT_POLICIES
from simtx.protocols.contract import (
    Alert,
    Done,
    Effect,
    Event,
    Forget,
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
MINIMUM_POLL_INTERVAL: Final = 0.001
"""Seconds; a shorter `Policies.poll_interval` means this one: a relay must not poll without any pause."""
FULL: Final = "full"
"""Value of a poller's ``rows``: as many rows as it asked for, so that there may be more."""
PART: Final = "part"
"""Value of a poller's ``rows``: fewer than it asked for."""
_ROWS: Final = "rows"
_BEFORE_ALL: Final = (-1, -1)


@dataclass(slots=True, unsafe_hash=True)
class Tell:
    """Inside a relay only: from a courier to the poller, or from the poller to all couriers that wait; it arrives as a `Timer` of this kind."""

    kind: str


# Events and effects without anything of their own are made once; nobody changes one. There are several of each for every row.
_GO: Final = Timer("go")
_IDLE: Final = Timer("idle")
_DELIVERED: Final = Tell("delivered")
_HEARD: Final = {kind: Timer(kind) for kind in ("delivered", "held", "again")}
_FORGET: Final = Forget()


class Poller(Machine):
    """Decides when a relay reads its outbox, and when it backs off. It knows no rows.

    What it is told: ``rows`` (a read has ended, with the value `FULL` or `PART`), ``idle`` (no courier is left), and whatever its couriers
    tell it. Its `ReadOutbox` has the tag ``rows`` and asks for `batch` rows. It may set timers, and has no other access to anything.

    Args:
        node: The service whose outbox it is.
        policies: `poll_interval`, `poll_batch`, `backoff` and `alert_after` count here.
        reader: How the relay knows which rows are new.
    """

    __slots__ = ("backing_off", "more", "policies", "reader", "rounds")

    role: ClassVar[str] = "poller"
    initial: ClassVar[str] = "stopped"
    transitions: ClassVar[tuple[Transition, ...]] = (
        on.timer("stopped", "start", "start", ("running",), "read what a crash has left; poll at a random phase"),
        on.timer("running", "poll", "poll", ("running",), "read"),
        on.timer("running", "wake", "wake", ("running",), "read"),
        on.done("running", "rows", "rows", ("running",), "note whether there may be more"),
        on.timer("running", "delivered", "delivered", ("running",), "back-off starts anew"),
        on.timer("running", "held", "hold", ("running",), "back off, once for all"),
        on.timer("running", "idle", "idle", ("running",), "there may be more: read"),
        on.timer("running", "backoff", "again", ("running",), "tell the couriers that wait"),
    )

    def __init__(self, node: str, policies: Policies = DEFAULT_POLICIES, reader: Reader = "marks") -> None:
        super().__init__(node, RELAY_TX)
        self.policies = policies
        self.reader = reader
        self.rounds = 0  # back-offs since the last acknowledgement
        self.backing_off = False
        self.more = False  # the last batch was full: there may be more rows

    @property
    def batch(self) -> int:
        """Number of rows that it asks for."""
        return self.policies.poll_batch

    def start(self, event: Timer) -> list[Effect]:  # noqa: ARG002
        """The node has started: rows may be left from before a crash."""
        self.state = "running"
        return [SetTimer("poll", 0.0, self.interval()), self.read()]

    def poll(self, event: Timer) -> list[Effect]:  # noqa: ARG002
        """A period is over. The next one begins now, not after the work, so that the period is kept."""
        return [SetTimer("poll", self.interval()), self.read()]

    def wake(self, event: Timer) -> list[Effect]:  # noqa: ARG002
        """A local transaction of this node has just committed rows."""
        return [self.read()]

    def rows(self, event: Done) -> list[Effect]:
        """A read has ended; one that failed is made up for by the next poll."""
        self.more = event.value == FULL
        return []

    def delivered(self, event: Timer) -> list[Effect]:  # noqa: ARG002
        """The broker answers."""
        self.rounds = 0
        return []

    def hold(self, event: Timer) -> list[Effect]:  # noqa: ARG002
        """A publication has failed: one back-off for all that fail meanwhile."""
        if self.backing_off:
            return []
        self.backing_off = True
        return [SetTimer("backoff", 0.0, self.policies.backoff.bound(self.rounds))]

    def again(self, event: Timer) -> list[Effect | Tell]:  # noqa: ARG002
        """The back-off is over: publish the held rows again, for ever, with an alert after a while."""
        self.backing_off = False
        self.rounds += 1
        if self.rounds != self.policies.alert_after:
            return [Tell("again")]
        reason = f"relay of {self.node}: the broker has acknowledged nothing in {self.rounds} rounds of publishing"
        return [Tell("again"), Alert(reason)]

    def idle(self, event: Timer) -> list[Effect]:  # noqa: ARG002
        """Read on if there is a backlog, now that nothing is on its way any more, and do not wait for the next poll."""
        if not self.more:
            return []
        self.more = False
        return [self.read()]

    def read(self) -> ReadOutbox:
        """Ask for rows."""
        return ReadOutbox(_ROWS, self.batch, self.reader == "horizon")

    def interval(self) -> float:
        """Seconds from poll to poll."""
        return max(self.policies.poll_interval, MINIMUM_POLL_INTERVAL)


class Courier(Machine):
    """Brings one row of an outbox to the broker. It belongs to the transaction of its row, and forgets itself when the row is marked.

    It gets ``go`` when its turn has come: when it is read, or when the courier of the row before it, of the same transaction, has forgotten itself. A courier that sends
    the poller something and goes on waits from then on for what the poller sends to all that wait.

    Args:
        node: The service whose outbox it is.
        row: The row: its number and its message.
    """

    __slots__ = ("message", "number")

    role: ClassVar[str] = "courier"
    initial: ClassVar[str] = "queued"
    transitions: ClassVar[tuple[Transition, ...]] = (
        on.timer("queued", "go", "go", ("publishing",), "publish"),
        on.done(
            "publishing",
            "published",
            "published",
            ("delivered", "held"),
            "acknowledged: mark, tell the poller; failed: tell the poller, wait",
        ),
        on.timer("held", "again", "go", ("publishing",), "publish again"),
    )

    def __init__(self, node: str, row: OutboxRow) -> None:
        self.number, self.message = row[0], row[1]
        self.node, self.tx, self.state = node, self.message.tx, self.initial

    def go(self, event: Timer) -> list[Effect]:  # noqa: ARG002
        """Its turn has come, or the back-off is over."""
        self.state = "publishing"
        return [Publish("published", self.message)]

    def published(self, event: Done) -> list[Effect | Tell]:
        """The broker has acknowledged the row, or has not."""
        if event.status != "done":
            self.state = "held"
            return [Tell("held")]
        self.state = "delivered"
        return [MarkOutbox((self.number,)), _DELIVERED, _FORGET]


class Relay(Machine):
    """Polling relay of one service's outbox: a poller, and a courier for each row on its way.

    It hands the rows that are read to couriers, and what happens to its parts. Hosts see one machine, whose effects are those of its
    parts. The tag of a publication is the courier's with the transaction behind it, such as ``published:7``: at most one row of a transaction is on its way.

    Attributes:
        poller_type: Decides when to read; a relay of your own may have another one.
        courier_type: Brings a row to the broker; likewise.

    Args:
        node: The service whose outbox it empties.
        policies: `poll_interval`, `poll_batch`, `backoff` and `alert_after` count here.
        reader: How it knows which rows are new.
    """

    __slots__ = ("couriers", "place", "policies", "poller", "reader", "waiting")

    poller_type: ClassVar[type[Poller]] = Poller
    courier_type: ClassVar[type[Courier]] = Courier

    role: ClassVar[str] = "relay"
    initial: ClassVar[str] = "stopped"
    transitions: ClassVar[tuple[Transition, ...]] = (
        on.timer("stopped", "start", "ask", ("running",), "read what a crash has left; poll at a random phase"),
        on.timer("running", "poll", "ask", ("running",), "read unmarked rows"),
        on.timer("running", "wake", "ask", ("running",), "a local transaction wrote rows: read at once"),
        on.done("running", "rows", "publish", ("running",), "publish the first row of each transaction"),
        on.done(
            "running", "published", "published", ("running",), "acknowledged: mark, publish the next; failed: hold"
        ),
        on.timer("running", "backoff", "ask", ("running",), "publish the held rows again"),
    )

    def __init__(self, node: str, policies: Policies = DEFAULT_POLICIES, reader: Reader = "marks") -> None:
        super().__init__(node, RELAY_TX)
        self.policies = policies
        self.reader = reader
        self.poller = self.poller_type(node, policies, reader)
        self.couriers: dict[
            int, tuple[Courier, ...]
        ] = {}  # by transaction: of the row on its way, and of those behind it
        self.waiting: list[int] = []  # transactions whose first courier waits for the poller's word
        self.place = (
            _BEFORE_ALL  # (local transaction, number) of the last row that was read; the former is 0 if it is not known
        )

    def handle(self, event: Event) -> list[Effect]:
        """React to one event.

        Raises:
            PeerFault: The event is one that no correct host causes in this state.
        """
        if type(event) is Done and ":" in event.kind:
            return self.published(event)
        return super().handle(event)

    def ask(self, event: Event) -> list[Effect]:
        """Take what happens to the poller."""
        effects: list[Effect] = []
        self._to_poller(event, effects)
        return effects

    def publish(self, event: Done) -> list[Effect]:
        """Make couriers of the rows that are new, and send those on their way that are the first of their transaction."""
        rows: Sequence[OutboxRow] = event.value or ()
        effects = self.ask(Done(_ROWS, event.status, FULL if len(rows) >= self.poller.batch else PART))
        couriers, ordered = self.couriers, self.reader != "marks"
        known = {one.number for chain in couriers.values() for one in chain} if rows and not ordered else ()
        for row in rows:
            if ordered:
                place = (row[2] if len(row) > 2 else 0, row[0])
                if place <= self.place:
                    continue
                self.place = place
            elif row[0] in known:
                continue
            courier = self.courier_type(self.node, row)
            before = couriers.get(courier.tx, ())
            couriers[courier.tx] = (*before, courier)
            if not before:
                self._to_courier(courier.tx, _GO, effects)
        return effects

    def published(self, event: Event) -> list[Effect]:
        """Hand a courier the result of what it has begun."""
        tag, _, number = event.kind.rpartition(":")
        tx = int(number) if number.isdigit() else RELAY_TX
        if tx not in self.couriers or type(event) is not Done:
            return super().unexpected(event)
        effects: list[Effect] = []
        self._to_courier(tx, Done(tag, event.status, event.value), effects)
        return effects

    # --- its parts --------------------------------------------------------------------------------------------------------------

    def _to_poller(self, event: Event, effects: list[Effect]) -> None:
        poller = self.poller
        for effect in poller.handle(event):
            if isinstance(effect, Tell):
                told, self.waiting = self.waiting, []
                for tx in told:
                    self._to_courier(tx, _HEARD.get(effect.kind) or Timer(effect.kind), effects)
            else:
                effects.append(effect)
        self.state = poller.state

    def _to_courier(self, tx: int, event: Event, effects: list[Effect]) -> None:
        courier = self.couriers[tx][0]
        told = over = False
        for effect in courier.handle(event):
            if type(effect) is Publish:
                effects.append(Publish(f"{effect.tag}:{tx}", effect.message))
            elif isinstance(effect, Tell):
                told = True
                self._to_poller(_HEARD.get(effect.kind) or Timer(effect.kind), effects)
            elif type(effect) is Forget:
                over = True
            else:
                effects.append(effect)
        if not over:
            if told:
                self.waiting.append(tx)
            return
        behind = self.couriers[tx][1:]
        if behind:
            self.couriers[tx] = behind
            self._to_courier(tx, _GO, effects)
            return
        del self.couriers[tx]
        if not self.couriers:
            self._to_poller(_IDLE, effects)

    def clone(self) -> Self:
        """An independent copy, of its parts, too."""
        twin = super().clone()
        twin.poller = self.poller.clone()
        twin.couriers = {tx: tuple(courier.clone() for courier in chain) for tx, chain in self.couriers.items()}
        return twin
