"""The process of a service, of the relay beside it, or of the hub: sockets, store and broker around a `Node`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import Callable
from typing import Any, Final

from simtx.errors import ProtocolViolation
from simtx.event_log.entries import DEAD_LETTER, POISON, Levels
from simtx.protocols import Delivery, Message, Plan, Policies, Request, Strategy, bodies
from simtx.protocols.codec import CodecError, decode_as
from simtx.protocols.event_schema import Partition, PartitionGate, Schema, SchemaError, SchemaTooNew
from simtx.protocols.extras import extras
from simtx.protocols.names import BROKER, CLIENT
from simtx.reference.brokers import client as broker_client
from simtx.reference.brokers.base import BrokerClient, BrokerFailed
from simtx.reference.node.crash_points import CrashPoint, KillSwitch
from simtx.reference.node.interventions import Interventions, decided
from simtx.reference.node.local_work import WorkSpec
from simtx.reference.node.node import Node
from simtx.reference.node.outside import Outside, ProviderLink, Terms
from simtx.reference.node.running_machine import RunningMachine
from simtx.reference.node.updates import Updates
from simtx.reference.processes.calls import Links
from simtx.reference.processes.program import Program
from simtx.reference.run_folder import strategies
from simtx.reference.run_folder.audit import AuditLog
from simtx.reference.run_folder.event_log import entry_id
from simtx.reference.run_folder.folder import RunFolder
from simtx.reference.stores import open_store
from simtx.reference.stores.votes import open_votes
from simtx.reference.wire.connection import Connection, Frame, Handler, Peer
from simtx.reference.wire.refusals import Refusals
from simtx.workload.poison import by_key, poisonous
from simtx.workload.streams import Streams

_OF_ORPHANS: Final = ("inquiry", "abort")
"""Kinds of messages about branches that this run has not begun: a participant asks about each one that it finds, and is told to roll it back."""
_LAST: Final = 2**53 - 1
"""The largest number of a transaction."""
MALFORMED: Final = (
    SchemaError,
    SchemaTooNew,
    CodecError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)
"""Errors of a frame that is well-formed and means nothing."""
_FACTORS: Final = (1e-3, 1e6)  # how much faster or slower a fault may make a node
_CALLS: Final = {
    "done": "the provider says that it is done",
    "refused": "the provider has refused",
    "unknown": "no answer has come in time: the provider may have done it, or not",
    "adopt": "the provider knows how an earlier request has ended",
}
"""Calls of a provider that go into the audit log, by their names, with what they mean."""
_PAUSE: Final = 0.1  # seconds between two attempts to reach a broker that is away


class Service:
    """One node process.

    Args:
        program: Its process, which is called like the node, or ``<node>.relay``.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.folder = folder = program.folder
        self.name = program.name
        self.config = config = program.config
        self.node_name = program.node
        self.is_relay: bool = config["role"] == "relay"
        self.schema = Schema(config["speaks"], writes=config.get("writes"))
        self.poisonous = by_key(0.0, 0)
        self.gate = PartitionGate()
        self.log = program.log
        self.audit = None if self.is_relay else AuditLog(folder.audit(self.name), self.node_name)
        self.clients: set[Peer] = set()
        self.links = Links(self.name, folder)
        program.refused = Refusals(self._write_refusal)
        program.fail_with_the_loop()
        self.loop = asyncio.get_running_loop()
        self.strategy: Strategy = strategies.load(folder.path, config["strategy"])
        self.node: Node

    async def run(self) -> None:
        """Recover, listen, work, until asked to stop."""
        config, program = self.config, self.program
        create = not self.folder.has_worked(self.node_name)
        store = open_store({**config["store"], "create": create}, relay=self.is_relay)
        broker = None
        if config["broker"] is not None:
            broker = broker_client(config["broker"], self.name, self.folder)
            broker.given_up = self.given_up
            if not config.get("cured"):
                spec = config["broker"]
                named = spec.get("poison_transactions", ())
                self.poisonous = poisonous(spec.get("poison", 0.0), Streams(config["seed"]), named)
            if not program.again:
                await broker.connect()
        votes = None
        if config["votes"] is not None and not self.is_relay:
            # on a server of somebody else's, that of the stores, whose address may hold a password
            votes = open_votes({"dsn": config["store"].get("dsn"), **config["votes"]})
        policies = _policies(self.strategy, config)
        provider: ProviderLink | None = None
        outside: Outside | None = None
        if config.get("provider") is not None:
            terms = Terms(**config["provider"])
            provider = ProviderLink(lambda frame: self.link(terms.process).send(frame))
            self.links.to(terms.process, provider.take)
            outside = Outside(store, terms, provider.ask, self.called)
        self.node = node = Node(
            self.node_name,
            self.strategy,
            policies,
            log=self.log,
            audit=self.audit,
            store=store,
            broker=broker,
            votes=votes,
            send=self.send,
            answer=self.answer,
            wake=self.wake,
            fail=program.fail,
            wrap=self.schema.wrap,
            kills=KillSwitch([CrashPoint(**point) for point in config["kills"]], self.folder.kills),
            work=WorkSpec(
                config["workers"],
                config["queue_limit"],
                _demands(self.folder, self.node_name),
                config["works_inside"],
                outside,
                config["retriable"],
            ),
            seed=config["seed"],
        )
        node.local.slowness, node.timer_factor = config.get("slow", 1.0), config.get("clock", 1.0)
        if config.get("derived") and not self.is_relay:
            seed = f"{config['seed']}:{self.name}:{program.incarnation}"
            updates = Updates(config["derived"], self.tell_derived, seed)
            node.local.begins, node.local.committed = updates.begins, updates.committed
        program.write_restart()
        if self.audit is not None:
            self.audit.reconcile(store.history())
        self.interventions = Interventions(node, self.gate)
        if not self.is_relay:
            node.heuristics.update(decided(self.folder.audit(self.name)))
            node.recover()
        try:
            async with program.listening(self.accept):
                self.reread()
                if self.is_relay:
                    node.start_daemons()
                reaching = program.beside(self.reach(broker, connected=not program.again))
                sampling = program.beside(self.sample(config["sample_every"]))
                try:
                    with program.metered():
                        if not program.again:
                            await reaching
                        await program.wait()
                finally:
                    reaching.cancel()
                    sampling.cancel()
                    if provider is not None:
                        provider.close()  # its callers are threads, for which the node waits
                    node.stop()
        finally:
            await self.links.close()
            if broker is not None:
                await broker.close()
            store.close()
            if votes is not None:
                votes.close()
            if self.audit is not None:
                self.audit.close()

    def reread(self) -> None:
        """Take over what faults have begun or ended while this process was starting, and nobody could tell it."""
        config = json.loads(self.folder.config(self.name).read_text())
        self.node.local.slowness, self.node.timer_factor = config.get("slow", 1.0), config.get("clock", 1.0)

    async def sample(self, every: float) -> None:
        """Write down how much waits here, for the timeline of the run: local transactions for a worker, and the outbox for its relay."""
        node = self.node
        logged: dict[str, int] = {}
        while not self.is_relay and self.config["workers"]:
            levels = {f"queue_{node.name}": node.local.queued}
            if self.config["broker"] is not None:
                with contextlib.suppress(Exception):  # a database that is away costs a sample, not the process
                    levels[f"relay_{node.name}"] = len(await asyncio.to_thread(node.store.pending_outbox))
            changed = {name: value for name, value in levels.items() if logged.get(name) != value}
            if changed:
                logged.update(changed)
                self.log.log("level", node.name, -1, detail=Levels(changed).text())
            await asyncio.sleep(every)

    async def reach(self, broker: BrokerClient | None, *, connected: bool) -> None:
        """Connect to the broker and take deliveries; at a restart it may be away, and only what needs it waits for it."""
        while broker is not None and not connected:
            try:
                await broker.connect()
                connected = True
            except BrokerFailed:
                await asyncio.sleep(_PAUSE)
        if broker is not None and not self.is_relay:
            await broker.subscribe(self.node_name, self.deliver)

    # --- what goes out ----------------------------------------------------------------------------------------------------------

    def link(self, to: str) -> Connection:
        """The connection to another process; behind the proxy if the run has one."""
        proxied = self.config["proxied"] and to in self.config["nodes"]
        return self.links.to(f"{self.node_name}@{to}" if proxied else to, _ignore)

    def send(self, message: Message, origin: int, deadline: float | None) -> None:
        """Hand a message to the network, which may lose it; the deadline of its transaction goes with it."""
        if message.to == self.node_name:
            asyncio.get_running_loop().call_soon(self.node.receive, message, origin, deadline)
            return
        if message.to not in self.config["nodes"]:
            nodes = ", ".join(self.config["nodes"])
            raise ProtocolViolation(f"{self.node_name} sends to '{message.to}', which is no node; there are {nodes}")
        frame: Frame = {"type": "message", "event": self.schema.pack(message), "origin": origin}
        if deadline is not None:
            frame["deadline"] = deadline
        self.link(message.to).send(frame)

    def answer(self, tx: int, outcome: str, reason: str, origin: int) -> None:
        """Tell the client, if it is there."""
        frame = {"type": "answer", "tx": tx, "outcome": outcome, "reason": reason, "origin": origin}
        for client in self.clients:
            client.send(frame)

    def wake(self) -> None:
        """Tell the relay that there are rows."""
        self.link(f"{self.node_name}.relay").send({"type": "wake"})

    def called(self, actor: RunningMachine, what: str, when: float) -> None:
        """A worker says, in its thread, how a request to the provider has ended."""
        self.loop.call_soon_threadsafe(self._write_call, actor, what, when)

    def _write_call(self, actor: RunningMachine, what: str, when: float) -> None:
        self.log.when = when
        self.node.journal.called(actor, what)
        self.log.when = None
        said = _CALLS.get(what)
        if said is not None:
            self.node.record(actor, "call", name=what, reason=said)

    def tell_derived(self, process: str, frame: Frame) -> None:
        """Tell a derived store beside this service something, if it is there."""
        self.link(process).send(frame)

    # --- what comes in ----------------------------------------------------------------------------------------------------------

    def accept(self, peer: Peer) -> Handler:
        """Accept a peer that has connected and shown the secret."""
        handlers: dict[str, Callable[[Frame], object]] = {
            "message": self.on_message,
            "request": self.on_request,
            "wake": self.on_wake,
            "control": lambda frame: peer.send(self.control(frame)),
            "operator": lambda frame: self.interventions.take(frame, peer.send),
        }
        if peer.name == CLIENT:
            self.clients.add(peer)
            peer.closed(lambda: self.clients.discard(peer))

        def handle(frame: Frame) -> None:
            handler = handlers.get(str(frame.get("type")))
            try:
                if handler is None:
                    raise SchemaError(f"a frame of type {frame.get('type')!r} from {peer.name}")
                handler(frame)
            except MALFORMED as error:
                self.program.refused(peer.name, f"malformed frame: {error}")

        return handle

    def _write_refusal(self, peer: str, reason: str) -> None:
        self.program.write_refusal(peer, reason)
        self.node.tell("refuse", -1, peer, reason=reason)

    def on_wake(self, _frame: Frame) -> None:
        """The service beside has committed outbox rows."""
        self.node.wake_daemons()

    def on_message(self, frame: Frame) -> None:
        """A message from another node."""
        message = self.schema.unpack(frame["event"])
        last = _LAST if message.kind in _OF_ORPHANS else self.config["transactions"] - 1
        if type(message.tx) is not int or not 0 <= message.tx <= last:
            raise SchemaError(f"a message about transaction {message.tx:.6g}, which this run does not have")
        if message.to != self.node_name or message.sender not in self.config["nodes"]:
            raise SchemaError("a message to another node, or of nobody")
        self.node.receive(message, _origin(frame), _deadline(frame))

    def on_request(self, frame: Frame) -> None:
        """A request of a client; those of operators are `Interventions`."""
        tx = frame["tx"]
        if type(tx) is not int or not 0 <= tx < self.config["transactions"]:
            raise SchemaError("a request needs the number 'tx' of a transaction of this run")
        plan = decode_as(Plan, frame["plan"])
        problem = self._unfit(tx, plan)
        if problem:
            raise SchemaError(f"a request with a plan that cannot be played: {problem}")
        self.node.request(Request(tx, plan), _origin(frame), _deadline(frame))

    def _unfit(self, tx: int, plan: Plan) -> str:
        """Reason why a plan is none that a client of this run has; empty: it may be one."""
        if not bodies.plan(plan) or plan.tx != tx:
            return "it has no steps in order"
        if not set(plan.services()) <= set(self.config["nodes"]):
            return "a service of it is not in this run"
        if self.strategy.entry(plan) != self.node_name:
            return "it begins at another node"
        return self.strategy.check(plan) or ""

    def deliver(self, delivery: Delivery, origin: int | None, again: bool) -> None:
        """A delivery of the broker."""
        if again:
            message = delivery.message
            self.log.log("redeliver", BROKER, message.tx, origin, peer=message.to, name=message.kind)
        wrapped = delivery.message
        if self.poisonous(wrapped):
            what = {"peer": BROKER, "name": wrapped.kind, "detail": POISON}
            self.log.log("refuse", self.node_name, wrapped.tx, origin, actor="host", **what)
            self.node.refuse(delivery.id)
            return
        if self.config.get("unread") == "dead-letter" and self._sets_aside(wrapped, delivery.id, origin):
            return
        lane = Partition(self.node_name, wrapped.tx)
        admission = self.gate.admit(lane, lambda: self.schema.unwrap(wrapped))
        if admission.alert:
            self.log.log("stop", self.node_name, wrapped.tx, origin, actor="host", detail=admission.alert)
            self.node.tell("stop", wrapped.tx, wrapped.sender, reason=admission.alert)
        if admission.message is not None:
            self.node.deliver(Delivery(admission.message, delivery.id), origin)

    def _sets_aside(self, wrapped: Message, number: int, origin: int | None) -> bool:
        """Acknowledge an event of a version that cannot be read, and go on: it is a dead letter."""
        try:
            self.schema.unwrap(wrapped)
        except SchemaTooNew as error:
            what = {"peer": BROKER, "name": wrapped.kind, "detail": str(error)}
            self.log.log("refuse", self.node_name, wrapped.tx, origin, actor="host", **what)
            self.given_up(wrapped, origin, DEAD_LETTER)
            self.node.acknowledge(number)
            return True
        except SchemaError:
            pass  # malformed: that stops its lane in any case
        return False

    def given_up(self, message: Message, origin: int | None, why: str) -> None:
        """Write into the event log that this side of the broker has given up an event."""
        self.log.log("drop", BROKER, message.tx, origin, actor=BROKER, peer=message.to, name=message.kind, detail=why)

    def control(self, frame: Frame) -> Frame:
        """The launcher asks for the state, or injects a fault."""
        node, what = self.node, frame.get("do")
        if what == "slow":
            node.local.slowness = _factor(frame)
        elif what == "clock":
            node.timer_factor = _factor(frame)
        elif what == "cure":
            self.poisonous = by_key(0.0, 0)
        elif what == "disarm":
            node.kills.points.clear()
        elif what == "arm":
            node.kills.points.extend([CrashPoint.of(point) for point in frame["kills"]])
        return {
            "type": "state",
            "id": frame.get("id"),
            "quiet": node.quiet,
            "resting": node.resting,
            "working": node.working(),
            "states": [[tx, state] for tx, state in node.states().items()],
            "pending": [] if self.is_relay else sorted(node.store.pending_outbox()),
        }


async def run(program: Program) -> None:
    """The main coroutine of a service, a relay or a hub."""
    await Service(program).run()


def _origin(frame: Frame) -> int | None:
    return entry_id(frame.get("origin"))


def _deadline(frame: Frame) -> float | None:
    deadline = frame.get("deadline")
    if deadline is None:
        return None
    if type(deadline) not in (float, int) or not math.isfinite(deadline):
        raise SchemaError("a deadline that is no time")
    return float(deadline)


def _factor(frame: Frame) -> float:
    factor, (least, most) = float(frame["factor"]), _FACTORS
    if not least <= factor <= most:
        raise ValueError(f"a factor is a number from {least:g} to {most:g}")
    return factor


def _policies(strategy: Strategy, config: dict[str, Any]) -> Policies:
    own = extras(strategy).policies
    return own if isinstance(own, Policies) else decode_as(Policies, config["policies"])


def _ignore(_frame: Frame) -> None:
    """Nodes do not answer on the connection of the one who sends."""


def _demands(folder: RunFolder, node: str) -> Callable[[int, int, bool], float]:
    """Seconds of work by transaction and step, as the launcher has drawn them."""
    path = folder.node(node) / "demands.json"
    table: dict[str, list[list[float]]] = json.loads(path.read_text()) if path.exists() else {}

    def demand(tx: int, step: int, compensation: bool) -> float:
        rows = table.get(str(step))
        if rows is None:
            return 0.0
        column = rows[1 if compensation else 0]
        return column[tx % len(column)]

    return demand
