"""A network that can be broken: it loses, copies, holds up and cuts what nodes and the embedded broker say to each other.

It stands between any two nodes of a run, and between a node and the embedded broker.

It is a trusted part of the run: it has the secret, is the server of every sender and a client of every receiver, and sends each frame anew.
So a frame that it has lost, copied or moved is, for the receiver, a message that was lost, copied or moved. The same done to the bytes of a
connection is an attack, and ends it (`simtx.reference.wire.connection`). Faults happen to whole frames.

Between nodes, each direction of a link has a socket of its own. The broker is never the one who connects: what it says comes back on the
connections of its clients, and meets the faults of the other direction there. A connection to the broker and the one that the proxy makes for it
end together. So each side knows when the other one is gone, and a new incarnation gets no answer that was meant for an earlier one.

Every direction has random numbers of its own, by transaction, and they are those of the simulator (`simtx.simulator.network`): the k-th frame of a transaction that
may be lost on a link is lost in both worlds, or in neither. So it depends on seed, link, transaction and k, and on nothing else.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import random
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from simtx.errors import ScenarioError
from simtx.protocols.names import BROKER
from simtx.reference.node.timers import Timers
from simtx.reference.processes.program import Program
from simtx.reference.run_folder.event_log import entry_id
from simtx.reference.wire.connection import Connection, Frame, Handler, Peer, Place, Server, WireError
from simtx.workload import Streams
from simtx.workload.by_transaction import Draw, TransactionStreams

Delay: TypeAlias = float | Sequence[float] | Callable[[], float]
"""Seconds: always the same, or one of these values at random, or what this returns."""
Link: TypeAlias = tuple[str, str]
"""From, to."""

CHANCES: Final = ("loss", "duplication", "reorder")
KINDS: Final = (*CHANCES, "partition", "delay")
IN_FLIGHT: Final = 100_000
"""Frames that may be held up at a time; a further one is lost."""
_TRANSACTIONS: Final = 1 << 40  # beyond that a number is not one of a transaction, whatever a frame says
REORDER_DELAY: Final = 0.005
"""Seconds, where a link does not say how long a frame takes that is held up or is a copy; an assumption."""


def _nothing(*_: object) -> None:
    """Do nothing: nobody wants to know."""


class FaultyLink:
    """Fate of the frames of one direction, as on the simulator's links, without the sockets.

    Args:
        source: Where frames come from.
        destination: Where they go to.
        seed: Of the run.
        component: Name of its random streams in the simulator; None: that of a link between services.
        loss: Probability that a frame is lost.
        duplication: Probability that it arrives twice.
        reorder: Probability that it is held up, so that later ones overtake it.
        latency: How long every frame takes, beside what the machine takes itself.
        reorder_delay: How much longer one takes that is held up; also, how much later a copy comes.
    """

    def __init__(
        self,
        source: str,
        destination: str,
        seed: int,
        *,
        component: str | None = None,
        loss: float = 0.0,
        duplication: float = 0.0,
        reorder: float = 0.0,
        latency: Delay = 0.0,
        reorder_delay: Delay = REORDER_DELAY,
    ) -> None:
        self.source = source
        self.destination = destination
        self.counts = dict.fromkeys(("passed", "lost", "duplicated", "reordered", "down"), 0)
        streams, name = TransactionStreams(Streams(seed)), component or f"link:{source}>{destination}"
        self._draws: dict[str, Draw] = {kind: streams.uniform(name, kind) for kind in CHANCES}
        self._streams = (random.Random(f"{seed}:{source}>{destination}:{n}") for n in itertools.count())  # noqa: S311 - no secret
        self._base = {"loss": loss, "duplication": duplication, "reorder": reorder}
        self._latency = self._sampler(latency)
        self._extra = self._sampler(reorder_delay)
        self._added: dict[str, list[float]] = {kind: [] for kind in CHANCES}
        self._held: list[tuple[Delay | None, Callable[[], float]]] = []
        self._partitions = 0
        for kind, value in self._base.items():
            _probability(kind, value)
        self._sum_up()

    def add(self, kind: str, probability: float | None = None, delay: Delay | None = None) -> None:
        """A fault begins; several of a kind add up, as independent ones do.

        Raises:
            ScenarioError: There is no such fault, or it lacks its size.
        """
        if kind == "partition":
            self._partitions += 1
        elif kind == "delay":
            if delay is None:
                raise ScenarioError("a delay needs 'delay', in seconds")
            self._held.append((delay, self._sampler(delay)))
        else:
            self._added[_known(kind, CHANCES)].append(_probability(kind, probability))
            self._sum_up()

    def remove(self, kind: str, probability: float | None = None, delay: Delay | None = None) -> None:
        """A fault is over: the one of this size, or all of its kind if no size is given (of partitions: one).

        Raises:
            ScenarioError: There is no such kind.
        """
        if kind == "partition":
            self._partitions = max(self._partitions - 1, 0)
        elif kind == "delay":
            self._held = [entry for entry in self._held if delay is not None and entry[0] != delay]
        else:
            values = self._added[_known(kind, CHANCES)]
            if probability is None:
                values.clear()
            elif probability in values:
                values.remove(probability)
            self._sum_up()

    def heal(self) -> None:
        """All faults are over that were added; what the link is like by itself stays."""
        self._partitions = 0
        self._held.clear()
        for values in self._added.values():
            values.clear()
        self._sum_up()

    def fates(self, tx: int = -1) -> tuple[float, ...]:
        """Delays of the next frame of a transaction and of its copy, in seconds; nothing if it is lost.

        Args:
            tx: The transaction; -1: it is of none.
        """
        counts = self.counts
        # As the simulator draws: only what may happen, and of what is cut off, not whether it would have been lost.
        moved, copied = self._hit("reorder", tx), self._hit("duplication", tx)
        lost = bool(self._partitions) or self._hit("loss", tx)
        delay, longer, again, later = self._latency(), self._extra(), self._latency(), self._extra()
        for _, sample in self._held:
            held = sample()
            delay += held
            again += held
        if lost:
            counts["lost"] += 1
            return ()
        counts["passed"] += 1
        if moved:
            counts["reordered"] += 1
            delay += longer
        if not copied:
            return (delay,)
        counts["duplicated"] += 1
        return (delay, again + later)

    def _hit(self, kind: str, tx: int) -> bool:
        spared = self._spared[kind]
        return spared < 1.0 and self._draws[kind](tx) >= spared

    def _sum_up(self) -> None:
        # Zeros are left out, and the rest multiplied one after the other, as in the simulator: to the last bit.
        self._spared = {kind: _spared([self._base[kind], *self._added[kind]]) for kind in CHANCES}

    def _sampler(self, delay: Delay) -> Callable[[], float]:
        """Draws from a stream of its own, so that one delay does not shift the numbers of another."""
        choice = next(self._streams).choice
        if callable(delay):
            return delay
        values = [_seconds(value) for value in (delay if isinstance(delay, Sequence) else (delay,))]
        if not values:
            raise ScenarioError("a delay needs at least one number of seconds")
        if len(values) == 1:
            return lambda: values[0]
        return lambda: choice(values)


class _Passage:
    """One direction of a link. Nobody connects this way: what is said travels back on a connection that the other side has made."""

    def __init__(self, proxy: LinkProxy, link: FaultyLink) -> None:
        self.link = link
        self._proxy = proxy

    async def listen(self, config: Mapping[str, Any]) -> Place | None:  # noqa: ARG002
        """Let its sender connect, if it ever does; returns where.

        Raises:
            WireError: It cannot listen there.
        """
        return None

    def reset(self) -> None:
        """Break its connections; both sides make new ones."""

    async def close(self) -> None:
        """Close its sockets."""


class _Served(_Passage):
    """One direction with a socket of its own."""

    def __init__(self, proxy: LinkProxy, link: FaultyLink) -> None:
        super().__init__(proxy, link)
        self.name = f"{link.source}@{link.destination}"
        self.server = Server(proxy.secret, self.name, self.accept, proxy.refused)

    async def listen(self, config: Mapping[str, Any]) -> Place | None:
        return await self.server.start_as(config)

    def accept(self, peer: Peer) -> Handler:
        """The sender, or a helper of it such as ``orders.relay``, has connected."""
        name, source = peer.name, self.link.source
        if name != source and not name.startswith(f"{source}."):
            raise WireError(f"the link {self.name} is that of '{source}'")
        return self.admit(peer)

    @abstractmethod
    def admit(self, peer: Peer) -> Handler:
        """Admit it to the link; returns what is called with each of its frames."""

    async def close(self) -> None:
        await self.server.close()


class _ToNode(_Served):
    """One direction between two nodes: a server for the sender, and a connection to the receiver."""

    def __init__(self, proxy: LinkProxy, link: FaultyLink) -> None:
        super().__init__(proxy, link)
        self._peers: dict[str, Peer] = {}
        self._connections: dict[str, Connection] = {}

    def admit(self, peer: Peer) -> Handler:
        name = peer.name
        connection = self._connections.get(name)
        if connection is None:  # it outlives the peer: what is under way still arrives when the sender has died
            proxy, destination = self._proxy, self.link.destination
            connection = self._connections[name] = Connection(
                name,
                proxy.secret,
                lambda: proxy.locate(destination),
                lambda frame: self._back(name, frame),
                role=peer.role,
                expect=destination,
            )
        self._peers[name] = peer
        send = connection.send
        return lambda frame: self._take(frame, send)

    def _take(self, frame: Frame, send: Callable[[Frame], bool]) -> None:
        self._proxy.carry(self.link, frame, send)

    def _back(self, name: str, frame: Frame) -> None:
        peer = self._peers.get(name)
        if peer is not None:
            self._proxy.carry(self._proxy.reverse(self.link), frame, peer.send)

    def reset(self) -> None:
        for peer in self._peers.values():
            peer.reset()
        for connection in self._connections.values():
            connection.reset()

    async def close(self) -> None:
        await super().close()
        for connection in list(self._connections.values()):
            await connection.close()


class _ToBroker(_Served):
    """The direction from a node to the broker: a server for the node and its relay, and for each of their connections one to the broker."""

    def __init__(self, proxy: LinkProxy, link: FaultyLink) -> None:
        super().__init__(proxy, link)
        self._pairs: set[_Pair] = set()

    def admit(self, peer: Peer) -> Handler:
        pair = _Pair(self._proxy, self.link, peer, self._pairs.discard)
        self._pairs.add(pair)
        return pair.take

    def reset(self) -> None:
        for pair in list(self._pairs):
            pair.reset()

    async def close(self) -> None:
        await super().close()
        await asyncio.gather(*(pair.close() for pair in list(self._pairs)))


class _Pair:
    """A connection of a node, or of its relay, and the one that was made to the broker for it.

    Args:
        proxy: What they go through.
        link: From the node to the broker.
        peer: The node's side.
        over: Called with this pair when both are closed.
    """

    def __init__(self, proxy: LinkProxy, link: FaultyLink, peer: Peer, over: Callable[[_Pair], object]) -> None:
        self._proxy = proxy
        self._link = link
        self._peer = peer
        self._over = over
        self._subscription: Frame | None = None
        self._under_way = 0
        self._closing: asyncio.Task[None] | None = None
        destination = link.destination
        self._to = Connection(
            peer.name,
            proxy.secret,
            lambda: proxy.locate(destination),
            self._back,
            role=peer.role,
            expect=destination,
            refused=lambda *_: self.reset(),
            changed=self._changed,
        )
        self._to.open()
        peer.closed(self._left)

    def take(self, frame: Frame) -> None:
        """A frame of the node. That it subscribes belongs to its connection, as an opened window does: that is not lost."""
        if frame.get("type") == "subscribe":
            self._subscription = frame
            if self._to.is_open:
                self._to.send(frame)
        else:
            # In two statements: what arrives at once is taken off while it is carried.
            arrivals = self._proxy.carry(self._link, frame, self._arrive)
            self._under_way += arrivals

    def _arrive(self, frame: Frame) -> bool:
        self._under_way -= 1
        try:
            return self._to.send(frame)
        finally:
            self._end_if_idle()

    def _back(self, frame: Frame) -> None:
        self._proxy.carry(self._proxy.reverse(self._link), frame, self._peer.send)

    def _changed(self, there: bool) -> None:
        """The broker is reached, or it is gone."""
        if not there:
            self.reset()
        elif self._subscription is not None:
            self._to.send(self._subscription)

    def reset(self) -> None:
        """End both connections at once; the node makes a new one."""
        self._peer.reset()
        self._end()

    def _left(self) -> None:
        """The node has gone; what it had sent still arrives, and the broker delivers nothing to it any more."""
        # Said at once, and not learned from the end of the connection, which comes later.
        if self._subscription is not None:
            self._to.send({"type": "unsubscribe", "node": self._subscription.get("node")})
        self._subscription = None
        self._end_if_idle()

    def _end_if_idle(self) -> None:
        if not self._under_way and not self._peer.is_open:
            self._end()

    def _end(self) -> None:
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._to.close())
            self._closing.add_done_callback(lambda _: self._over(self))

    async def close(self) -> None:
        """End both connections, and wait until they are."""
        self._end()
        if self._closing is not None:
            await self._closing


class LinkProxy:
    """Stands between nodes; one process has one for all links.

    Args:
        secret: The run's secret.
        links: Directions of links: (from, to), or a `FaultyLink`.
        locate: Where the node of a name listens; None: not known yet.
        seed: Of the random numbers.
        lost: Told of each frame that does not arrive: its link, the frame, and ``down`` if it was the receiver that was not there.
        refused: Told the address and the reason of every connection that was ended because of what came over it.
    """

    def __init__(
        self,
        secret: bytes,
        links: Iterable[Link | FaultyLink],
        locate: Callable[[str], Place | None],
        seed: int = 1,
        *,
        lost: Callable[[FaultyLink, Frame, str], None] = _nothing,
        refused: Callable[[str, str], None] = _nothing,
    ) -> None:
        self.secret = secret
        self.locate = locate
        self.refused = refused
        self._lost = lost
        self._passages: dict[Link, _Passage] = {}
        self._timers: Timers | None = None
        for entry in links:
            link = entry if isinstance(entry, FaultyLink) else FaultyLink(*entry, seed)
            kind = _Passage if link.source == BROKER else _ToBroker if link.destination == BROKER else _ToNode
            self._passages[link.source, link.destination] = kind(self, link)

    async def start_as(self, config: Mapping[str, Any]) -> dict[Link, Place]:
        """Listen where a process of a run does (`Server.start_as`); returns the place of each direction that somebody connects to.

        Raises:
            WireError: It cannot listen there.
        """
        self._timers = Timers()
        places = {link: await passage.listen(config) for link, passage in self._passages.items()}
        return {link: place for link, place in places.items() if place is not None}

    async def close(self) -> None:
        """Stop; what is held up is lost."""
        if self._timers is not None:
            self._timers.close()
            self._timers = None
        await asyncio.gather(*(passage.close() for passage in self._passages.values()))

    @property
    def in_flight(self) -> int:
        """Number of frames that are held up."""
        return 0 if self._timers is None else len(self._timers)

    # --- faults -----------------------------------------------------------------------------------------------------------------

    def set_fault(
        self,
        link: Link,
        kind: str,
        *,
        probability: float | None = None,
        delay: Delay | None = None,
        reset: bool = False,
    ) -> None:
        """A fault begins in one direction of a link.

        Args:
            link: From, to.
            kind: ``loss``, ``duplication``, ``reorder``, ``partition`` (everything is lost) or ``delay``.
            probability: That a frame is hit; of the first three.
            delay: Seconds that each frame is held up; of a delay.
            reset: Whether the connections of the link break, too.

        Raises:
            ScenarioError: There is no such link or fault, or its size is missing or wrong.
        """
        passage = self._passage(link)
        passage.link.add(kind, probability, delay)
        if reset:
            passage.reset()
            if link[0] == BROKER:  # what it says travels on the connections of its clients
                self._passage((link[1], BROKER)).reset()

    def clear(
        self, link: Link, kind: str | None = None, *, probability: float | None = None, delay: Delay | None = None
    ) -> None:
        """A fault is over: the one of this size, all of its kind if no size is given, all of them if no kind is given.

        Raises:
            ScenarioError: There is no such link or fault.
        """
        faulty = self._passage(link).link
        if kind is None:
            faulty.heal()
        else:
            faulty.remove(kind, probability, delay)

    def control(self, frame: Frame) -> Frame:
        """Do what a control frame says, and give the answer to it; a frame that is wrong in any way changes nothing.

        ``{"do": "fault" | "clear" | "state", "kind": ..., "probability": ..., "delay": ..., "reset": ..., "links": [[from, to], ...]}``;
        without ``links``, on all of them. The answer has the ``id`` of the question, the type ``state``, or ``error`` and a ``reason``.
        """
        answer = {"type": "state", "id": frame.get("id")}
        try:
            self._obey(frame)
        except (ScenarioError, TypeError, ValueError, ArithmeticError) as error:
            return {**answer, "type": "error", "reason": str(error)}
        links = [[*pair, passage.link.counts] for pair, passage in self._passages.items()]
        return {**answer, "quiet": self.in_flight == 0, "working": [], "in_flight": self.in_flight, "links": links}

    def _obey(self, frame: Frame) -> None:
        what, pairs = frame.get("do"), frame.get("links")
        kind: Any = frame.get("kind")
        links = list(self._passages) if pairs is None else [(str(a), str(b)) for a, b in pairs]
        size = {"probability": frame.get("probability"), "delay": frame.get("delay")}
        for link in links:
            self._passage(link)
        if what == "fault":
            trial = FaultyLink("", "", 0)  # finds whatever is wrong with it before anything has changed
            trial.add(kind, **size)
            for link in links:
                self.set_fault(link, kind, reset=bool(frame.get("reset")), **size)
        elif what == "clear":
            if kind is not None:
                _known(kind, KINDS)
            for link in links:
                self.clear(link, kind, **size)
        elif what != "state":
            raise ScenarioError(f"{what!r:.40} is nothing that a proxy does: fault, clear or state")

    def _passage(self, link: Link) -> _Passage:
        passage = self._passages.get(link)
        if passage is None:
            raise ScenarioError(f"there is no link from '{link[0]:.40}' to '{link[1]:.40}'")
        return passage

    # --- frames -----------------------------------------------------------------------------------------------------------------

    def reverse(self, link: FaultyLink) -> FaultyLink | None:
        """The other direction, if it is one of the links."""
        passage = self._passages.get((link.destination, link.source))
        return passage.link if passage is not None else None

    def carry(self, link: FaultyLink | None, frame: Frame, send: Callable[[Frame], bool]) -> int:
        """Send a frame on its way, with the faults of that direction; returns how often `send` is called with it, now or later."""
        if link is None:
            send(frame)
            return 1
        delays = link.fates(transaction(frame))
        if not delays:
            self._lost(link, frame, "")
        arrivals = 0
        for delay in delays:
            if delay <= 0:
                self._arrive(link, frame, send)
            elif self._timers is not None and len(self._timers) < IN_FLIGHT:
                self._timers.call_later(delay, self._arrive, link, frame, send)
            else:
                self._lost(link, frame, "full")
                continue
            arrivals += 1
        return arrivals

    def _arrive(self, link: FaultyLink, frame: Frame, send: Callable[[Frame], bool]) -> None:
        try:
            sent = send(frame)
        except WireError:  # written anew, it is longer than the limit: from somebody who does not write as we do
            sent = False
        if not sent:
            link.counts["down"] += 1
            self._lost(link, frame, "down")


def transaction(frame: Frame) -> int:
    """The transaction that a frame is about; -1: it is of none.

    A message between nodes is in an envelope (``event``), one that is published or delivered is not, and a word about either names its transaction.
    """
    about = frame.get("event") or frame.get("message") or frame
    tx = about.get("tx") if isinstance(about, dict) else None
    return tx if type(tx) is int and 0 <= tx < _TRANSACTIONS else -1


# --- the process --------------------------------------------------------------------------------------------------------------


def links_from(config: Mapping[str, Any]) -> list[FaultyLink]:
    """The links of a proxy process: entries ``[from, to]`` or ``[from, to, {options of FaultyLink}]`` of ``links``, and ``seed``.

    Raises:
        ScenarioError: An option has a value that cannot be.
    """
    return [
        FaultyLink(source, destination, config["seed"], **(options[0] if options else {}))
        for source, destination, *options in config["links"]
    ]


async def run(program: Program) -> None:
    """The main coroutine of the proxy's process."""
    folder, config = program.folder, program.config

    def lost(link: FaultyLink, frame: Frame, why: str) -> None:
        event = frame.get("event")
        message = event.get("message") if isinstance(event, dict) else frame.get("message")
        if isinstance(message, dict):
            tx, cause, kind = transaction(frame), entry_id(frame.get("origin")), str(message.get("kind"))
            if frame.get("type") == "deliver" and frame.get("again"):  # its consumer cannot say that it came again
                program.log.log("redeliver", BROKER, tx, cause, peer=link.destination, name=kind)
            about = {"actor": "network", "peer": link.destination, "name": kind, "detail": why}
            program.log.log("drop", link.source, tx, cause, **about)

    def accept(peer: Peer) -> Handler:
        def handle(frame: Frame) -> None:
            peer.send(proxy.control(frame))

        return handle

    proxy = LinkProxy(
        folder.secret(), links_from(config), folder.locate, config["seed"], lost=lost, refused=program.refused
    )
    try:
        for (source, destination), place in (await proxy.start_as(config)).items():
            folder.announce(f"{source}@{destination}", place)
        async with program.listening(accept):
            await program.wait()
    finally:
        await proxy.close()
        program.refused.close()


def _known(kind: object, kinds: Sequence[str]) -> str:
    if not isinstance(kind, str) or kind not in kinds:
        raise ScenarioError(f"{kind!r:.40} is no fault of a link: {', '.join(KINDS)}")
    return kind


def _probability(kind: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ScenarioError(f"the probability of {kind} is a number from 0 to 1, not {value!r:.40}")
    return float(value)


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise ScenarioError(f"a delay is a number of seconds from 0, or a list of such numbers, not {value!r:.40}")
    return float(value)


def _spared(chances: Iterable[float]) -> float:
    """Probability that none of several independent things happens."""
    return math.prod(1.0 - chance for chance in chances if chance)
