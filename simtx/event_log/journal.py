"""Writes the entries of a node into the event log of a run, when the log is recorded."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol, assert_never

from simtx.event_log.entries import (
    Applied,
    Arrived,
    BranchEnded,
    Dropped,
    Durability,
    Handled,
    Number,
    Recovered,
    Seconds,
    Staleness,
    Vote,
    Worked,
    at_once,
    keys_text,
)
from simtx.protocols import contract as c
from simtx.protocols.codec import encode
from simtx.protocols.names import BROKER, CLIENT, DAEMON, PRESUMPTION, VOTE_STORE
from simtx.protocols.naming import swallowed


class Recorder(Protocol):
    """Receiver of entries: in memory (`simtx.event_log.log.LogRecorder`), or a file of a real process."""

    def log(
        self,
        kind: str,
        node: str,
        tx: int,
        cause: int | None = None,
        *,
        actor: str = "",
        peer: str = "",
        name: str = "",
        detail: str = "",
    ) -> int:
        """Write one entry at the current time; returns its id."""

    def sent(self, message: object, number: int, /) -> None:
        """Remember that this message object left with entry `number`."""

    def origin(self, message: object, /) -> int | None:
        """Id of the entry that sent this message object."""


class RunningMachine(Protocol):
    """A machine in play, as the log sees it; every host has a class of its own."""

    machine: c.Machine
    tx: int
    cause: int | None


class Journal:
    """One node's pen.

    Args:
        recorder: The log of the run.
        node: Name of the node.
    """

    __slots__ = ("node", "recorder")

    def __init__(self, recorder: Recorder, node: str) -> None:
        self.recorder = recorder
        self.node = node

    def event(self, actor: RunningMachine, event: c.Event) -> None:
        """A machine starts to handle an event; what it then does has this entry as its cause."""
        log, tx = self.recorder.log, actor.tx
        if isinstance(event, c.Message):
            origin = self.recorder.origin(event)
            actor.cause = log("receive", self.node, tx, origin, actor=event.sender, peer=event.sender, name=event.kind)
        elif isinstance(event, c.Delivery):
            message = event.message
            origin = self.recorder.origin(message)
            actor.cause = log("deliver", self.node, tx, origin, actor=message.sender, peer=BROKER, name=message.kind)
        elif isinstance(event, c.Request):
            who = CLIENT if event.kind == "begin" else "operator"
            actor.cause = log("request", self.node, tx, actor=who, peer=who, name=event.kind)
        elif isinstance(event, c.Timer) and tx != DAEMON:
            actor.cause = self._by(actor, "timer", event.kind)
        elif not isinstance(event, c.Timer | c.Done):  # what an operation came to is in the entry of the operation
            assert_never(event)

    def handled(self, actor: RunningMachine, event: c.Event, effects: Sequence[c.Effect], state: str) -> None:
        """A machine has reacted: all that it takes to replay it (`simtx.conformance.check`). To be called before the effects run.

        Args:
            actor: Who.
            event: To what.
            effects: What it asks for.
            state: Its state before the event.

        Raises:
            CodecError: The event or an effect holds an object of a class that was not registered.
        """
        detail = Handled(actor.machine.role, state, encode(event), _encoded(effects))
        self._by(actor, "handle", event.kind, detail.text())

    def recovered(self, actor: RunningMachine, records: Sequence[c.Record], effects: Sequence[c.Effect]) -> None:
        """A machine was rebuilt from its records; what it then does has this entry as its cause. To be called before the effects run."""
        detail = Recovered(actor.machine.role, _encoded(records), _encoded(effects))
        actor.cause = self._by(actor, "recover", "recover", detail.text())

    def _by(self, actor: RunningMachine, kind: str, name: str = "", detail: str = "", *, peer: str = "") -> int:
        """An entry of what a machine does, or has done to it."""
        role = actor.machine.role
        return self.recorder.log(
            kind, self.node, actor.tx, actor.cause, actor=role, peer=peer, name=name, detail=detail
        )

    def effect(self, actor: RunningMachine, effect: c.Effect) -> None:
        """An effect that happens at once."""
        if isinstance(effect, c.Message):
            self.recorder.sent(effect, self._by(actor, "send", effect.kind, peer=effect.to))
        elif isinstance(effect, c.Publish):
            message, role = effect.message, actor.machine.role
            log = self.recorder.log  # a relay publishes in the name of the transaction that the message is about
            number = log("publish", self.node, message.tx, actor.cause, actor=role, peer=BROKER, name=message.kind)
            self.recorder.sent(message, number)
        else:
            entry = at_once(effect)
            if entry is not None:
                self._by(actor, entry.kind, entry.name, entry.detail, peer=entry.peer)

    def appended(self, actor: RunningMachine, effect: c.Append) -> None:
        """A log record is durable (forced), or written for later (lazy)."""
        self._by(actor, "append", str(effect.record[0]), Durability(effect.forced).text())

    def worked(
        self, actor: RunningMachine, effect: c.Transact | c.Execute | c.Prepare, status: str, *, forced: bool
    ) -> None:
        """A local transaction has ended, or a branch is prepared."""
        detail = Worked(isinstance(effect, c.Transact) and effect.compensation, status, forced)
        self._by(actor, type(effect).__name__.lower(), effect.tag, detail.text())

    def second_phase(self, actor: RunningMachine, kind: str, in_doubt: float, *, forced: bool) -> None:
        """A prepared branch was committed or rolled back, after so many seconds of doubt."""
        self._by(actor, kind, kind, BranchEnded(forced, in_doubt).text())

    def applied(
        self,
        actor: RunningMachine,
        steps: Sequence[int],
        changes: Mapping[str, tuple[float, float]],
        *,
        compensation: bool,
        reads: Mapping[str, float] | Iterable[tuple[str, float] | tuple[str, float, int]] = (),
        refused: bool = False,
        history: int = -1,
    ) -> None:
        """A local transaction has taken effect: which steps, what changed from what to what, what it had read. The audit trail of the run.

        Without changes it is a ``query``; the form of the detail is that of `simtx.event_log.log.LogEntry`.

        Args:
            actor: Whose it is.
            steps: Steps whose work it was.
            changes: (old, new) by key, as the store has committed them.
            compensation: Whether it undid the steps.
            reads: What the store has returned, first to last, without what the local transaction itself had changed: value by key, or
                (key, value) or (key, value, version).
            refused: Whether it ended with a refusal, and so changed nothing.
            history: Number of the changes in the store's own history; -1 if there is none.
        """
        phase = "refused" if refused else "compensation" if compensation else "action"
        seen = list(reads.items()) if isinstance(reads, Mapping) else list(reads)
        self._by(actor, "apply" if changes else "query", phase, Applied(steps, changes, seen, history).text())

    def called(self, actor: RunningMachine, what: str) -> None:
        """A request to a provider outside: ``intent`` and ``adopt`` (forced before it, and when it is known how an earlier one has ended), ``done``, ``refused``, ``unknown`` (no answer came), ``limited`` (429) or ``query``."""
        self._by(actor, "call", what, peer="provider")

    def expired(self, actor: RunningMachine, tag: str) -> None:
        """A step is not begun, since the client's deadline is over."""
        self._by(actor, "expire", tag)

    def serving(self, tx: int, kind: str, demand: float = 0.0) -> None:
        """A worker starts to work on a local transaction (``serve``, with its service time if it is known), or is done (``free``)."""
        self.recorder.log(kind, self.node, tx, detail=Seconds(demand).text() if demand else "")

    def waited(self, tx: int, seconds: float, end: str) -> None:
        """A wait for row locks is over: ``granted``, given up (``timeout``), or refused at once (``deadlock``)."""
        self.recorder.log("wait", self.node, tx, name=end, detail=Seconds(seconds).text())

    def unlocked(self, tx: int, keys: Iterable[str], seconds: float) -> None:
        """Row locks were let go; `seconds` is the sum of the times that they were held."""
        self.recorder.log("unlock", self.node, tx, name=keys_text(keys), detail=Seconds(seconds).text())

    def still_in_doubt(self, tx: int, seconds: float) -> None:
        """The run ends, and a branch has been prepared for so many seconds."""
        self.recorder.log("doubt", self.node, tx, detail=Seconds(seconds).text())

    def in_doubt_again(self, tx: int) -> None:
        """A crash has taken back a rollback that was not forced: the branch is prepared once more."""
        self.recorder.log("doubt", self.node, tx, name="again")

    def still_locked(self, tx: int, keys: Iterable[str], seconds: float) -> None:
        """The run ends, and these row locks are held; `seconds` is the sum of the times for which they have been."""
        self.recorder.log("held", self.node, tx, name=keys_text(keys), detail=Seconds(seconds).text())

    def still_unpublished(self, tx: int, message: str) -> None:
        """The run ends, and an outbox row with a message of this kind is not marked as published."""
        self.recorder.log("unpublished", self.node, tx, name=message)

    def read_replica(self, tx: int, key: str, *, stale: bool) -> None:
        """A read replica answered a read."""
        self.recorder.log("read", self.node, tx, name=key, detail=Staleness(stale).text())

    def held_back(self, actor: RunningMachine, message: c.Message) -> None:
        """A circuit breaker did not let a message go."""
        self._by(actor, "reject", message.kind, peer=message.to)

    def dropped(self, message: c.Message) -> None:
        """A message arrived at a node that is down."""
        of_message(
            self.recorder,
            "drop",
            message.sender,
            message,
            actor="network",
            peer=self.node,
            detail=Dropped("down").text(),
        )

    def confirmed(self, message: c.Message) -> None:
        """The broker's ack arrived."""
        of_message(self.recorder, "confirm", self.node, message, actor=BROKER, peer=BROKER)

    def logged(self, actor: RunningMachine, voter: str, vote: str, *, written: bool) -> None:
        """The vote store's answer arrived: the vote that is there, and whether it was written by this request."""
        detail = Vote(vote, written).text()
        self.recorder.log(
            "logged", self.node, actor.tx, actor.cause, actor=VOTE_STORE, peer=VOTE_STORE, name=voter, detail=detail
        )

    def fault(self, kind: str) -> None:
        """The node crashed or came back."""
        self.recorder.log(kind, self.node, -1, actor="fault")

    def presumed(self, tx: int) -> None:
        """The hub is back without a record of a transaction that it had begun: from now on it is aborted."""
        self.recorder.log("decided", self.node, tx, actor=PRESUMPTION, name="aborted")

    def lost(self, actor: RunningMachine, effects: Iterable[c.Effect]) -> None:
        """Effects that a crash swallowed."""
        for effect in effects:
            told = swallowed(effect)
            if told is not None:
                name, peer = told
                self._by(actor, "lost", name, peer=peer)


def _encoded(values: Iterable[object]) -> list[object]:
    return [encode(value) for value in values]


def of_message(
    recorder: Recorder | None,
    kind: str,
    node: str,
    message: c.Message,
    *,
    actor: str = "",
    peer: str = "",
    detail: str = "",
) -> None:
    """Something happens to a message on its way; its cause is the entry with which it was sent. Nothing is written where no log is kept."""
    if recorder is not None:
        cause = recorder.origin(message)
        recorder.log(kind, node, message.tx, cause, actor=actor, peer=peer, name=message.kind, detail=detail)


def arrived(recorder: Recorder, plan: c.Plan, entry: str) -> int:
    """A client asks for a transaction; the plan is what its effects are measured against. Returns the number of the entry."""
    return recorder.log("arrive", CLIENT, plan.tx, actor=CLIENT, peer=entry, detail=Arrived.of(plan).text())


def unreached(recorder: Recorder, tx: int, cause: int | None, entry: str, why: str) -> None:
    """A client's request has reached nobody: the entry node was ``down``, or it was lost on the way."""
    recorder.log("drop", CLIENT, tx, cause, actor="network", peer=entry, name="begin", detail=Dropped(why).text())


def asked_again(recorder: Recorder, tx: int, cause: int | None, entry: str, attempt: int) -> int:
    """A client asks for the same transaction again. Returns the number of the entry."""
    return recorder.log("ask", CLIENT, tx, cause, actor=CLIENT, peer=entry, name="begin", detail=Number(attempt).text())


def suppressed(recorder: Recorder, tx: int, cause: int | None, entry: str) -> None:
    """A client would ask again, and the budget for that is spent."""
    recorder.log("suppress", CLIENT, tx, cause, actor=CLIENT, peer=entry, name="begin")


def gave_up(recorder: Recorder, tx: int, cause: int | None, entry: str) -> None:
    """A client whose request has reached nobody gives up."""
    recorder.log("give-up", CLIENT, tx, cause, actor=CLIENT, peer=entry, name="begin")


class Unfinished(Protocol):
    """A transaction that is open when the run is over.

    Attributes:
        tx: Its number.
        actors: How many machines still work on it.
    """

    tx: int
    actors: int


def ended(recorder: Recorder, events: int, records: Iterable[Unfinished], working: Collection[int]) -> None:
    """The run is over: which transactions have machines that still work on them, and which only messages or rows that wait.

    What is open in the stores was written before (`Journal.still_in_doubt` and so on).
    """
    for record in records:
        if record.actors or record.tx in working:
            recorder.log("unfinished", "", record.tx, name="machine" if record.actors else "data")
    recorder.log("end", "", DAEMON, detail=Number(events).text())
