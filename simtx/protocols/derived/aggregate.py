"""Event-sourced aggregates: the events are the data, and an append says which version it has seen.

Theory of operation. An **aggregate** (an account, an order) is a stream of events. Its state is the fold of them; its **version** is their number. A command is worked off in three steps. *Load* the events.
*Decide* what the command means in this state: nothing, if a rule of the business refuses it. *Append* the new events with the **expected version**, that of the state that was decided on. The store
takes them if that is still the version: a unique row for (stream, version) is enough. Otherwise there is a **conflict**: somebody else was faster.

- After a conflict the command is decided **again**, on the new state. Who appends the old decision again at the new version (`conflict` = ``append``) has checked
  nothing: two withdrawals that were both allowed empty the account twice. So has who appends without an expected version.
- An append whose answer is lost may have succeeded. Asked again, it is applied twice, unless the aggregate **recognises** the command by its id, in its events.
- A **snapshot** saves the fold of a long stream. It says its version, and the events behind it are folded on top. A snapshot may be labelled with a version it was not
  made of: the state was read first and the version afterwards. Such a one hides an event for good. Snapshots can be thrown away.

Known weaknesses: a rule over two aggregates is not checked by either. A hot aggregate is retried often: with n writers at once, at most one of n attempts succeeds.

Sources: Young, "CQRS Documents", 2010 (expected version, snapshots); Overeem, Spoor, Jansen, Brinkkemper, "An empirical characterization of event sourced systems and
their schema evolution", JSS 2021; documentation of KurrentDB (EventStoreDB), "Appending events: handling concurrency", and of Marten, "Appending events".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from simtx.protocols.derived.choices import refuse_unknown

Append: TypeAlias = Literal["expected", "any"]
Conflict: TypeAlias = Literal["decide", "append", "give-up"]
Snapshots: TypeAlias = Literal["none", "own", "latest"]


class Event(NamedTuple):
    """An event of an account.

    Attributes:
        command: Id of the command that it comes from.
        amount: What the balance changes by.
    """

    command: int
    amount: int


class Snapshot(NamedTuple):
    """A fold that was saved.

    Attributes:
        version: That it says to be of.
        balance: The state.
    """

    version: int
    balance: int


class State(NamedTuple):
    """State on which a command is decided.

    Attributes:
        version: Of the stream.
        balance: The fold of its events.
        known: Commands that are in it.
    """

    version: int
    balance: int
    known: frozenset[int]


@dataclass(frozen=True)
class AggregateRule:
    """Rule by which commands are worked off on an event-sourced aggregate.

    Attributes:
        append: Whether an append says which version it expects.
        conflict: What becomes of a command whose append met another version: it is decided again, its events are appended again, or it is given up.
        recognises: Whether the aggregate knows the commands that it has worked off.
        snapshots: None; with the version of the events that they were made of (``own``); or with the latest version when they are written.

    Raises:
        ScenarioError: A value is none of those.
    """

    append: Append = "expected"
    conflict: Conflict = "decide"
    recognises: bool = True
    snapshots: Snapshots = "none"

    def __post_init__(self) -> None:
        """Refuse what is none of the choices."""
        refuse_unknown(self, "aggregate")

    def load(self, stream: tuple[Event, ...], first: int, snapshot: Snapshot | None) -> State:
        """The state of an aggregate.

        Args:
            stream: All of its events.
            first: Its balance before the first of them.
            snapshot: A snapshot, if there is one: what lies before its version is not folded again.
        """
        begin, balance = (0, first) if snapshot is None else snapshot
        balance += sum(event.amount for event in stream[begin:])
        # The ids of commands are kept for as long as anybody may ask again: in a table of their own, where there are snapshots.
        return State(len(stream), balance, frozenset(event.command for event in stream))

    def decide(self, state: State, command: int, amount: int) -> Event | Literal["refused", "known"]:
        """Result of a command in this state: an event; or it is refused, as the balance must not fall below zero; or it was worked off before."""
        if self.recognises and command in state.known:
            return "known"
        return "refused" if state.balance + amount < 0 else Event(command, amount)

    def takes(self, expected: int, version: int) -> bool:
        """Return whether the store takes an append at the version that it expects, where the stream has this version."""
        return self.append == "any" or expected == version

    def appended(self, stream: tuple[Event, ...], event: Event, expected: int) -> tuple[Event, ...] | None:
        """The stream with an event more; None: a conflict."""
        return (*stream, event) if self.takes(expected, len(stream)) else None

    def snapshot(self, state: State, latest: int) -> Snapshot:
        """A snapshot of a state that was loaded, written when the stream has this latest version."""
        return Snapshot(latest if self.snapshots == "latest" else state.version, state.balance)
