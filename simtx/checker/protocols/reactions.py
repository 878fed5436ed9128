"""Reactions of nodes in terms of the global state: interned numbers of local states, of messages in flight and of observations."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from simtx.checker.explorer.interning import InternTable, SharedInternLog, by_number
from simtx.checker.protocols.local import PAUSED, UNDER_WAY, Locals, Reaction
from simtx.checker.protocols.local_store import Output
from simtx.checker.protocols.properties import Observed
from simtx.checker.protocols.scope import Scope
from simtx.errors import ScenarioError
from simtx.protocols import Done, LogOnce, Message, Strategy, Timer
from simtx.protocols.names import DAEMON

MESSAGE: Final = 0
DONE: Final = 1
COPY: Final = 2
PUBLICATION: Final = 3
ORPHAN: Final = 4
LOGGING: Final = 5
STRAY: Final = 6
LOGGED: Final = 7
NEW: Final = "of the new version"
OLD: Final = "of the old version, by who reads both"

Round: TypeAlias = tuple[int, frozenset[tuple[int, int, str]]]


ActionKind: TypeAlias = Literal[
    "deliver",
    "request",
    "timer",
    "continue",
    "restart",
    "crash",
    "lose",
    "store",
    "log",
    "unheard",
    "redeliver",
    "dead-letter",
    "skip",
    "upgrade",
    "downgrade",
    "intervene",
    "rest",
]


class Action(NamedTuple):
    """The label of a step.

    Attributes:
        kind: ``deliver``, ``request``, ``timer``, ``continue``, ``restart``, ``crash``, ``lose``, ``store``, ``log`` (a request reaches the vote store), ``unheard`` (the producer gives
            up waiting for the broker), ``redeliver``, ``dead-letter`` (the broker gives a message up), ``skip`` (a consumer leaves out what it cannot read), ``upgrade``, ``downgrade`` (a node goes back to the old version),
            ``intervene``, ``rest``.
        node: Index of the node, or -1.
        event: What the node is asked to do, as `Locals.outcomes` takes it; None where no node is.
        item: Number of the item in flight, or -1.
        choice: Which of the outcomes.
        fail: The store operation that fails, or -1.
        note: What else happens: ``copy`` (another copy stays in flight), ``ack lost``.
    """

    kind: ActionKind
    node: int
    event: Any = None
    item: int = -1
    choice: int = 0
    fail: int = -1
    note: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """Something in flight.

    Attributes:
        kind: `MESSAGE`, `DONE` (the broker's ack or its absence, on the way to the producer), `COPY` (of a delivery), `PUBLICATION`,
            `ORPHAN` (a publication whose producer no longer listens), `LOGGING` (a request to the vote store), `STRAY` (such a request that nobody
            waits for any more), `LOGGED` (the vote store's answer).
        node: Index of the node that it goes to; of the producer, for publications.
        tx: Transaction of the machine that it goes to, or that published it.
        event: What the node is asked to do.
        message: The message inside.
        consumer: Index of the node that a publication is for.
        tag: Tag of the publication; of a message at the broker, `NEW` or `OLD` if its producer had been upgraded, in the first round of two without writing the new version.
        request: The request to the vote store.
    """

    kind: int
    node: int
    tx: int
    event: Any = None
    message: Message | None = None
    consumer: int = -1
    tag: str = ""
    request: LogOnce | None = None


class GlobalReaction(NamedTuple):
    """An outcome in the terms of the global state.

    Attributes:
        local: Number of the local state afterwards.
        adds: Numbers of what is in flight because of it.
        acks: Ids of the deliveries that it acknowledges.
        seen: What the observer sees.
        crashed: Whether the node has crashed.
        paused: Whether a program has stopped and will get no further.
        begun: Whether a local transaction is under way from here on.
    """

    local: int
    adds: tuple[int, ...]
    acks: tuple[int, ...]
    seen: tuple[Output, ...]
    crashed: bool
    paused: bool
    begun: bool = False


class Reactions:
    """Reactions of the nodes of a scope, and the numbers of all states and messages that they lead to.

    Args:
        strategy: The strategy.
        nodes: Names of the nodes.
        scope: How many transactions there are, and how many idempotency rows a store keeps.
        book: Numbers that are shared with other processes.

    Attributes:
        nodes: Names of the nodes.
        locals: What a node can do.
        items: What is or was in flight.
        observations: What was observed.
        rounds: How often time has passed, and who has had a turn in the present round.
    """

    def __init__(self, strategy: Strategy, nodes: tuple[str, ...], scope: Scope, book: SharedInternLog | None) -> None:
        self.nodes = nodes
        several = scope.messages > 1 or any(True for name in nodes for _ in strategy.daemons(name))
        self.locals = Locals(
            strategy,
            scope.retained,
            book,
            several=several,
            overtakes=scope.overtakes > 0,
            serializable=scope.isolation == "serializable",
            providers=scope.providers(),
        )
        self.items: InternTable[Item, Item] = InternTable(book)
        self.observations: InternTable[Observed, Observed] = InternTable(book)
        self.rounds: InternTable[Round, Round] = InternTable(book)
        self.observations.of(Observed())
        self.rounds.of((0, frozenset()))
        self._position = {name: index for index, name in enumerate(nodes)}
        # By identity, since events and what is observed are deep and slow to hash; the values keep them alive.
        self._after: dict[tuple[int, int, int], tuple[tuple[Output, ...], int]] = {}
        self._digests: dict[tuple[int, int, int, int], tuple[Any, tuple[GlobalReaction, ...]]] = {}
        self._same: dict[tuple[int, Hashable, int, int], tuple[GlobalReaction, ...]] = {}
        self._events: dict[Hashable, Any] = {}

    @property
    def direct(self) -> bool:
        """Return whether any message went from node to node, and not through a broker."""
        return any(item.kind == MESSAGE and item.event is not None for item in self.items.values)

    def where(self, message: Message) -> int:
        """Index of the node that a message goes to.

        Raises:
            ScenarioError: There is none of that name.
        """
        try:
            return self._position[message.to]
        except KeyError:
            raise ScenarioError(
                f"{message.sender} sends '{message.kind}' to '{message.to}', which is no node; there are {', '.join(self.nodes)}",
                "verify",
            ) from None

    def observe(self, before: int, node: int, seen: tuple[Output, ...]) -> int:
        """The number of what was observed once these things have left a node.

        Args:
            before: What was observed before.
            node: Index of the node.
            seen: The things; an object that is kept is looked up faster than one that was made for the occasion.
        """
        key = (before, node, id(seen))
        known = self._after.get(key)
        if known is None:
            known = self._after[key] = (seen, self.observations.of(self.observations.values[before].after(node, seen)))
        return known[1]

    def kept(self, *parts: Hashable, make: Callable[[], Any]) -> Any:
        """Keep what is made of these parts: always the same object."""
        known = self._events.get(parts)
        if known is None:
            known = self._events[parts] = make()
        return known

    @by_number
    def up(self, local: int) -> bool:
        """Return whether a node is up."""
        return self.locals.up(local)

    @by_number
    def running(self, local: int) -> tuple[int, ...]:
        """Transactions whose machine is in the middle of a program."""
        return self.locals.running(local)

    @by_number
    def under_way(self, local: int) -> tuple[int, ...]:
        """Transactions whose local transaction on this node is under way."""
        return self.locals.under_way(local)

    def deaf(self, local: int) -> tuple[int, ...]:
        """Transactions whose machine receives nothing now: it is in the middle of a program, to its end or not."""
        return self.running(local) + self.under_way(local)

    @by_number
    def set_timers(self, local: int) -> tuple[tuple[int, Any, bool], ...]:
        """Timers of a node that would change something: (transaction, event, whether it is a daemon's)."""
        found = []
        for tx, name in self.locals.timers(local):
            event = ("event", tx, Timer(name))
            outcome = self.locals.outcomes(local, event)[0]
            if outcome.local != local or outcome.outputs:
                found.append((tx, event, tx == DAEMON))
        return tuple(found)

    def digests(self, node: int, local: int, event: Any, fail: int = -1) -> tuple[GlobalReaction, ...]:
        """Reactions to an event, in terms of the global state."""
        key = (local, id(event), fail, node)
        known = self._digests.get(key)
        if known is None:
            same = (local, event, fail, node)
            digests = self._same.get(same)
            if digests is None:
                digests = tuple(self.digest(node, outcome) for outcome in self.locals.take(local, event, fail))
                self._same[same] = digests
            known = self._digests[key] = (event, digests)
        return known[1]

    def digest(self, node: int, outcome: Reaction) -> GlobalReaction:
        """An outcome in the terms of the global state."""
        adds: list[int] = []
        acks: list[int] = []
        seen: list[Output] = []
        for output in outcome.outputs:
            kind, value = output
            if kind == "send":
                adds.append(
                    self.items.of(Item(MESSAGE, self.where(value), value.tx, ("event", value.tx, value), value))
                )
            elif kind == "publish":
                tx, tag, message = value
                adds.append(self.items.of(Item(PUBLICATION, node, tx, None, message, self.where(message), tag)))
            elif kind == "log":
                tx, request = value
                adds.append(self.items.of(Item(LOGGING, node, tx, request=request)))
            elif kind == "acknowledge":
                acks.append(value)
            else:
                seen.append(output)
        crashed, paused = outcome.crashed >= 0, outcome.crashed == PAUSED
        begun = outcome.crashed == UNDER_WAY
        return GlobalReaction(outcome.local, tuple(adds), tuple(acks), tuple(seen), crashed, paused, begun)

    def logged(self, item: Item, vote: str) -> int:
        """The number of the vote store's answer to a request; no vote: it has failed."""
        request = item.request
        assert request is not None  # noqa: S101 - an invariant of such items
        done = Done(request.tag, "done", (request.voter, vote)) if vote else Done(request.tag, "failed")
        return self.items.of(Item(LOGGED, item.node, item.tx, ("event", item.tx, done)))

    def ack(self, item: Item) -> int:
        """The number of the broker's ack of a publication."""
        event = ("event", item.tx, Done(item.tag, "done"))
        return self.items.of(Item(DONE, item.node, item.tx, event, item.message, item.consumer, item.tag))
