"""The contract between a protocol and its hosts: what happens to a machine, and what it may ask for.

A *machine* is one role of one transaction (a coordinator, a participant, an orchestrator, ...) or one long-running role of a node
(an outbox relay). It has plain data fields only and two methods::

    handle(event)    -> list of effects     # something happened
    recover(records) -> list of effects     # the node restarted; this is what its disk says

Every host (the simulator, the real execution, the model checker) keeps these rules:

1. Effects run in order. Nothing after a forced write leaves the node before that write is durable.
2. The node may crash between any two effects; the rest is lost, and so are the machine and its timers. What is lazy (records, rollbacks, marks,
   that a machine forgot itself) may or may not survive; a forced record takes the earlier records of its transaction along, and nothing else
   does for certain. `recover` is the only way back, and it may itself be cut short by a crash.
3. A machine handles one event at a time; the next waits until the effects of the last are done. The `Done` of a store operation is
   handled before any event that waits.
4. The network is a multiset of messages: it may delay, reorder, lose and duplicate. A broker delivers at least once.
5. A service and its outbox relay share one database and are separate steps on it. Outbox rows are numbered when they are inserted, while their
   local transaction is under way, and appear when it commits: a row may appear after one with a higher number. Of two local transactions of
   which the second begins after the first has committed, the second has the higher numbers; rows of one have ascending ones.
6. Machines are mutable, slotted and plain, so that a host can copy, compare and hash them generically (`Machine.key`).

What each host and each real store makes of each effect is written down in ``docs/contract.md``.

This module imports nothing but the standard library, and knows no clock, no randomness and no I/O. Durations are in seconds.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, Self, TypeAlias, runtime_checkable

from simtx.errors import PeerFault

__all__ = [
    "Acknowledge",
    "Alert",
    "Answer",
    "Append",
    "Branch",
    "CancelTimer",
    "Commit",
    "Decided",
    "Delivery",
    "Done",
    "Effect",
    "Event",
    "Execute",
    "Forget",
    "Key",
    "LogOnce",
    "Machine",
    "MarkOutbox",
    "Message",
    "Operation",
    "OutboxRow",
    "Outcome",
    "Plan",
    "Prepare",
    "Promise",
    "Publish",
    "ReadOutbox",
    "Record",
    "Request",
    "Rollback",
    "SetTimer",
    "Status",
    "Step",
    "StepKind",
    "Strategy",
    "Suspect",
    "Timer",
    "Transact",
    "Transition",
]

Key: TypeAlias = tuple[Hashable, ...]
Record: TypeAlias = tuple[Any, ...]
StepKind: TypeAlias = Literal["compensatable", "pivot", "retriable"]
Promise: TypeAlias = Literal["decided", "accepted"]
Outcome: TypeAlias = Literal["committed", "aborted", "accepted"]

# --- the business transaction -------------------------------------------------------------------------------------------------


@dataclass(slots=True, unsafe_hash=True)
class Operation:
    """One operation on one key of one store; a number lives under every key.

    Attributes:
        key: The key inside the store of the step's service.
        kind: ``add`` changes the value by `amount` (commutative), ``set`` overwrites it with `amount`, ``read`` leaves it alone;
            ``refuse`` stands for a business rule that says no, whatever the data.
        amount: The change or the new value.
        low: Guard: the local transaction is refused if the value would then be below; for a ``read``, if it is.
        high: Guard: likewise, above.
    """

    key: str
    kind: Literal["add", "set", "read", "refuse"] = "add"
    amount: float = 0
    low: float | None = None
    high: float | None = None


@dataclass(slots=True, unsafe_hash=True)
class Step:
    """One part of the business transaction, on one service.

    Attributes:
        index: Position in the plan, from 0; steps are listed in a topological order.
        name: Unique name inside the transaction.
        service: The node whose store the operations belong to.
        operations: The local transaction of the action, all or nothing.
        compensation: The local transaction that semantically undoes it.
        kind: ``compensatable`` (before the pivot), ``pivot`` (the point of no return), ``retriable`` (after it, must not be refused).
        after: Indexes of the steps that must have been done before.
    """

    index: int
    name: str
    service: str
    operations: tuple[Operation, ...]
    compensation: tuple[Operation, ...] = ()
    kind: StepKind = "compensatable"
    after: tuple[int, ...] = ()


@dataclass(slots=True, unsafe_hash=True)
class Plan:
    """One instance of the business transaction: its steps, in a topological order, with keys and amounts filled in."""

    tx: int
    steps: tuple[Step, ...]

    def services(self) -> tuple[str, ...]:
        """Names of the services involved, each once, in the order of their first step."""
        return tuple(dict.fromkeys(step.service for step in self.steps))


# --- events: what happens to a machine ----------------------------------------------------------------------------------------


@dataclass(slots=True, unsafe_hash=True)
class Message:
    """A message between two nodes: an effect ("send this") in the list that `handle` returns, an event when it arrives.

    Whoever creates one never changes it afterwards. `to` and `sender` are names of nodes; the host routes by (to, tx).
    """

    kind: str
    tx: int
    sender: str
    to: str
    body: Any = None


@dataclass(slots=True, unsafe_hash=True)
class Request:
    """The client asks the entry node for a transaction (kind ``begin``), or an operator asks for an intervention.

    Operators' kinds are ``retry``, ``skip`` and ``resolve``; `body` then holds the reason.
    """

    tx: int
    plan: Plan | None = None
    kind: str = "begin"
    body: Any = None


@dataclass(slots=True, unsafe_hash=True)
class Delivery:
    """The broker delivers a message; it comes again, with the same `id`, until it is acknowledged."""

    message: Message
    id: int

    @property
    def kind(self) -> str:
        """Kind of the message inside."""
        return self.message.kind


@dataclass(slots=True, unsafe_hash=True)
class Timer:
    """A timer that the machine had set has fired."""

    kind: str


Status: TypeAlias = Literal["done", "refused", "duplicate", "failed"]


@dataclass(slots=True, unsafe_hash=True)
class Done:
    """A store operation, a publication or a request to the vote store has finished; `kind` is the tag that the effect carried.

    Attributes:
        kind: The effect's tag.
        status: ``done``; ``refused`` (a guard or a business rule said no); ``duplicate`` (the idempotency key was there already);
            ``failed`` (transient: lock timeout, deadlock victim, broker unreachable; nothing was applied).
        value: The value stored with the idempotency key if ``duplicate``; the rows of an outbox read, each an `OutboxRow` without its last
            entry, or with it if the read was below the horizon; the voter and the stored vote of a `LogOnce`; else None.
    """

    kind: str
    status: Status
    value: Any = None


Event: TypeAlias = Message | Request | Delivery | Timer | Done
EventSort: TypeAlias = Literal["message", "request", "delivery", "timer", "done"]

_CLASSES: dict[EventSort, type] = {
    "message": Message,
    "request": Request,
    "delivery": Delivery,
    "timer": Timer,
    "done": Done,
}

OutboxRow: TypeAlias = tuple[int, Message] | tuple[int, Message, int]
"""A row of the outbox as it is read: its number, its message, and, below the horizon, the number of the local transaction that wrote it."""

# --- effects: what a machine asks for -----------------------------------------------------------------------------------------


@dataclass(slots=True, unsafe_hash=True)
class Append:
    """Append a record to the node's durable log. Forced: the effects behind it wait until it is durable, and the transaction's earlier records."""

    record: Record
    forced: bool = True


@dataclass(slots=True, unsafe_hash=True)
class Branch:
    """Rows that a local transaction writes beside its operations: the value under its idempotency key, and outbox rows."""

    value: Any = None
    outbox: tuple[Message, ...] = ()


@dataclass(slots=True, unsafe_hash=True)
class Transact:
    """Run one local transaction on the node's own store: atomic, isolated, forced to disk if it writes anything.

    In this order, all inside the one transaction: if `key` is given and its row is there already, nothing is done and the answer is
    ``duplicate`` with the row's value. If `undoes` is given (a compensation), the row of that action decides: its value is
    `undone_if` -> the operations run; another value -> they do not; absent -> a tombstone row (value ``"tombstone"``) is written
    there, so that the late action finds itself a duplicate. Then the operations run. If a guard refuses, none of them applies and
    `refused` is written instead of `accepted`; without a `refused` branch nothing is written at all.

    Attributes:
        tag: Kind of the `Done` that comes back.
        operations: What to do, all or nothing.
        key: Idempotency key (inbox row), or None.
        accepted: Row value and outbox messages that commit with the operations.
        refused: Row value and outbox messages that commit when the operations are refused.
        undoes: Key of the action that this compensation undoes.
        undone_if: The row value that says that the action took effect.
        steps: Indexes of the steps that this is the work of (demand for service time, effects in metrics and audit).
        compensation: Whether it undoes those steps.
        serial_outbox: Lock the outbox before its rows are numbered, and keep it locked until they are visible: numbers are then in the
            order of commits, and local transactions that write outbox rows commit one at a time. Who waits for the lock in vain has ``failed``.
        finishes: Whether it only finishes what an earlier local transaction has begun and has had counted, such as the use of a reservation: then it
            changes data, and has no `steps`.
    """

    tag: str
    operations: tuple[Operation, ...]
    key: Key | None = None
    accepted: Branch | None = None
    refused: Branch | None = None
    undoes: Key | None = None
    undone_if: Any = "done"
    steps: tuple[int, ...] = ()
    compensation: bool = False
    serial_outbox: bool = False
    finishes: bool = False

    def outbox_rows(self) -> int:
        """The most outbox rows that it may write, whether it is refused or not."""
        accepted, refused = self.accepted, self.refused
        if accepted is None or not accepted.outbox:
            return 0 if refused is None else len(refused.outbox)
        return len(accepted.outbox) if refused is None else max(len(accepted.outbox), len(refused.outbox))


@dataclass(slots=True, unsafe_hash=True)
class Execute:
    """Run operations inside an open local transaction of this business transaction and keep the locks; nothing is durable.

    A crash, `Rollback` or a later `Prepare` ends it. Answers with `Done`; ``refused`` and ``failed`` leave nothing open.
    """

    tag: str
    operations: tuple[Operation, ...]
    steps: tuple[int, ...] = ()


@dataclass(slots=True, unsafe_hash=True)
class Prepare:
    """Run operations (beside those of an earlier `Execute`) and prepare the branch: redo, locks and `record` are forced to disk.

    `key` is an idempotency row that commits with the branch: if a committed row is there already, the answer is ``duplicate``.
    Answers with `Done`; ``refused`` and ``failed`` leave nothing behind.
    """

    tag: str
    operations: tuple[Operation, ...]
    record: Record
    key: Key | None = None
    steps: tuple[int, ...] = ()


@dataclass(slots=True, unsafe_hash=True)
class Commit:
    """Commit the prepared branch of this transaction (forced), release its locks. Nothing happens if there is none."""


@dataclass(slots=True, unsafe_hash=True)
class Rollback:
    """Roll back the prepared or open branch of this transaction (lazily unless `forced`), release its locks."""

    forced: bool = False


@dataclass(slots=True, unsafe_hash=True)
class SetTimer:
    """Set the named timer: it fires once, after `delay` plus a uniform draw from (0, `jitter`), unless cancelled or set anew."""

    kind: str
    delay: float
    jitter: float = 0.0


@dataclass(slots=True, unsafe_hash=True)
class CancelTimer:
    """Cancel the named timer if it is set."""

    kind: str


@dataclass(slots=True, unsafe_hash=True)
class Publish:
    """Hand a message to the broker. It does not block; `Done(tag)` says ``done`` on the broker's ack, ``failed`` when none came."""

    tag: str
    message: Message


@dataclass(slots=True, unsafe_hash=True)
class LogOnce:
    """Write a vote into the shared vote store, unless there is one of this voter: insert-if-absent.

    It does not block. ``Done(tag)`` carries, as its value, the voter and the vote that is in the store now, whoever wrote it: ``done``. That vote is durable there, and never changes.
    When no answer comes, the vote may be there or not: ask again, which changes nothing. ``failed`` says that the store has not answered; that, too, may come after the vote was written.
    An answer may come to a machine that has not asked, if an earlier one of its transaction on this node has.

    Attributes:
        tag: Kind of the `Done` that comes back.
        voter: Whose vote it is; anybody may write it.
        vote: ``"yes"`` or ``"no"``.
    """

    tag: str
    voter: str
    vote: str


@dataclass(slots=True, unsafe_hash=True)
class Acknowledge:
    """Tell the broker that the delivery with this id needs not come again."""

    id: int


@dataclass(slots=True, unsafe_hash=True)
class ReadOutbox:
    """Read up to `limit` unmarked outbox rows that are visible; `Done(tag)` carries a tuple of them.

    Without a horizon they come in the order of their numbers, as (number, message). **That is not the order of commits**: a row with a
    lower number may appear later (rule 5). So a reader that remembers the highest number that it has seen, and looks only behind it, loses rows.

    Attributes:
        tag: Kind of the `Done` that comes back.
        limit: Rows at most.
        below_horizon: Only rows that none can come before any more, as (number, message, local transaction), in the order of (local transaction,
            number). Local transactions are numbered when they begin to write; the horizon is the oldest that is still under way, a
            prepared branch included. A row appears here once everything that had begun before it has ended.
    """

    tag: str
    limit: int
    below_horizon: bool = False


@dataclass(slots=True, unsafe_hash=True)
class MarkOutbox:
    """Mark outbox rows as published, without forcing the log: a crash may lose the mark, never the row, whatever the service forces meanwhile."""

    ids: tuple[int, ...]


@dataclass(slots=True, unsafe_hash=True)
class Answer:
    """Answer the client. Only the first answer of a transaction reaches it."""

    outcome: Outcome
    reason: str = ""


@dataclass(slots=True, unsafe_hash=True)
class Decided:
    """Observability: the outcome of the transaction is final from here on (its record is durable)."""

    outcome: Outcome


@dataclass(slots=True, unsafe_hash=True)
class Suspect:
    """A call to this node timed out: feeds the caller's circuit breaker and counts as an abnormal retry."""

    node: str


@dataclass(slots=True, unsafe_hash=True)
class Alert:
    """Call for somebody to look: the reason is recorded, counted and shown. `stuck` marks a transaction that waits for an operator."""

    reason: str
    stuck: bool = False


@dataclass(slots=True, unsafe_hash=True)
class Forget:
    """The machine is finished: free it, and let its log records be garbage. A crash may bring it back, with all of them."""


Effect: TypeAlias = (
    Message
    | Append
    | Transact
    | Execute
    | Prepare
    | Commit
    | Rollback
    | SetTimer
    | CancelTimer
    | Publish
    | LogOnce
    | Acknowledge
    | ReadOutbox
    | MarkOutbox
    | Answer
    | Decided
    | Suspect
    | Alert
    | Forget
)

# --- machines -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Transition:
    """One row of a machine's transition table.

    Attributes:
        state: The state the machine is in.
        event: Kind of the event.
        action: Name of the method that handles it; it returns the effects and may change ``self.state``.
        to: The states that the machine may be in afterwards.
        note: What happens, in a few words, for the diagram.
        of: The sort of the event: a peer may send a message whose kind is the name of a timer. None: whatever has this kind.
    """

    state: str
    event: str
    action: str
    to: tuple[str, ...]
    note: str = ""
    of: EventSort | None = None


class Machine:
    """Base of all machines: dispatch by a transition table, generic comparison and copying.

    A subclass declares ``__slots__`` and `transitions`. Its fields hold plain values only: numbers, strings, tuples, frozen or never
    changed dataclasses of this module, and lists, sets and dicts of those; a machine that has others as its parts copies them in `clone`. An event kind that the table has no row for in the
    current state goes to `unexpected`.
    """

    __slots__ = ("node", "state", "tx")

    role: ClassVar[str] = ""
    initial: ClassVar[str] = ""
    transitions: ClassVar[tuple[Transition, ...]] = ()
    #: Names of the fields that hold one entry for each step of the plan, by its index, or the index of one. Numbers in the records of such
    #: a machine are indexes of steps as well. Nothing depends on this but how the checker exchanges steps that are alike.
    by_step: ClassVar[tuple[str, ...]] = ()
    #: Which kinds of messages this role receives, and what the body of each has to be (`simtx.protocols.bodies`). Real hosts refuse all others, also
    #: kinds that are those of a timer or of a request. Empty: every message is let in.
    bodies: ClassVar[Mapping[str, Callable[[Any], bool]]] = {}
    _tables: ClassVar[dict[type, dict[str, dict[str, Callable[[Any, Any], list[Effect]]]]]] = {}

    def __init__(self, node: str, tx: int) -> None:
        self.node = node
        self.tx = tx
        self.state = self.initial

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Compile the transition table, with the methods of this very class: an override in a subclass counts."""
        super().__init_subclass__(**arguments)
        tables: dict[type, dict[str, dict[str, Callable[[Any, Any], list[Effect]]]]] = {}
        for row in cls.transitions:
            for sort, kind in _CLASSES.items():
                if row.of is None or row.of == sort:
                    tables.setdefault(kind, {}).setdefault(row.state, {})[row.event] = getattr(cls, row.action)
        cls._tables = tables

    def handle(self, event: Event) -> list[Effect]:
        """React to one event.

        Raises:
            PeerFault: The event is one that no correct peer causes in this state.
        """
        try:
            action = self._tables[event.__class__][self.state][event.kind]
        except KeyError:
            return self.unexpected(event)
        return action(self, event)

    def admit(self, message: Message) -> None:
        """Look at a message that came from outside, before it is handled.

        Raises:
            PeerFault: It is one that no correct peer sends, whatever the state.
        """
        form = self.bodies.get(message.kind)
        if self.bodies and (form is None or not form(message.body)):
            what = "such a message" if form is None else "this body with it"
            raise PeerFault(
                f"{self.role} of transaction {self.tx} on {self.node}: '{message.kind:.40}': no correct peer sends {what}"
            )

    def recover(self, records: Sequence[Record]) -> list[Effect]:  # noqa: ARG002 - the default machine has nothing to recover
        """Rebuild the state from the durable records of this machine, oldest first, after a restart of the node."""
        return []

    def unexpected(self, event: Event) -> list[Effect]:
        """Handle an event without a row in the table.

        Raises:
            PeerFault: Always, unless a subclass decides otherwise.
        """
        raise PeerFault(
            f"{self.role} of transaction {self.tx} on {self.node}: no '{event.kind}' is expected in state '{self.state}'"
        )

    def key(self) -> Key:
        """All fields as one hashable value: two machines with equal keys behave alike for ever."""
        return (type(self).__name__, *(_freeze(getattr(self, name)) for name in slots_of(type(self))))

    def clone(self) -> Self:
        """An independent copy; containers are copied, the values inside are shared."""
        twin = object.__new__(type(self))
        for name in slots_of(type(self)):
            value = getattr(self, name)
            setattr(twin, name, copy.copy(value) if isinstance(value, list | dict | set) else value)
        return twin

    def __repr__(self) -> str:
        fields = ", ".join(
            f"{name}={getattr(self, name)!r}" for name in slots_of(type(self)) if name not in ("node", "tx", "state")
        )
        return f"<{type(self).__name__} tx {self.tx} on {self.node}: {self.state}{'; ' + fields if fields else ''}>"


def slots_of(cls: type) -> tuple[str, ...]:
    """Names of all fields of a class of machines, its bases' first."""
    names = _SLOTS.get(cls)
    if names is None:
        names = tuple(name for base in reversed(cls.__mro__) for name in getattr(base, "__slots__", ()))
        _SLOTS[cls] = names
    return names


_SLOTS: dict[type, tuple[str, ...]] = {}


def _freeze(value: Any) -> Hashable:
    if isinstance(value, list | tuple):
        return tuple(_freeze(item) for item in value)
    if isinstance(value, dict):
        return tuple((key, _freeze(item)) for key, item in sorted(value.items(), key=repr))
    if isinstance(value, set | frozenset):
        return tuple(sorted(value, key=repr))
    if isinstance(value, Machine):
        return value.key()
    result: Hashable = value
    return result


# --- strategies ---------------------------------------------------------------------------------------------------------------


@runtime_checkable
class Strategy(Protocol):
    """A way of keeping the data of several services consistent: which machines play on which nodes.

    A user's own class with these members is simulated, executed and verified like ours; nothing has to be registered. A strategy is
    immutable, picklable, and has a `repr` that shows its options. What it may say beside these
    members, and what holds if it does not, is in `simtx.protocols.extras.Extras`.
    """

    @property
    def name(self) -> str:
        """Short name, as in tables and on the command line."""

    @property
    def promise(self) -> Promise:
        """Promise of the first answer to the client: the outcome is ``decided``, or the request is only ``accepted``."""

    @property
    def uses_broker(self) -> bool:
        """Return whether the machines publish events."""

    @property
    def hub(self) -> str | None:
        """Name of the one node beside the services (a coordinator, an orchestrator), or None."""

    def entry(self, plan: Plan) -> str:
        """Name of the node that the client's request goes to."""

    def machine(self, node: str, tx: int) -> Machine:
        """A blank machine for the role that this node plays in this transaction (also for a transaction that it has forgotten)."""

    def daemons(self, node: str) -> Iterable[Machine]:
        """Blank long-running machines of this node, a relay for example; they get a `Timer` of kind ``start`` when the node starts."""

    def check(self, plan: Plan) -> str | None:
        """One line that says why this plan cannot be played under this strategy, or None."""
