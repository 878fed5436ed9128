"""The embedded broker as a process: its sockets around `EmbeddedBroker`.

Frames to it: ``publish`` (id, message, origin), ``subscribe`` (node), ``unsubscribe`` (node), ``acknowledge`` (id), ``refuse`` (id), ``control`` (id, do: ``state``).
Frames from it: ``published`` (id) or ``refused`` (id, reason), ``deliver`` (id, message, origin, again, sent; of a partition also after), ``state``. Ids of
publications are the producer's, and mean something on its connection only. Words about a message have its transaction (tx), for whoever stands in between.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from simtx.errors import PeerFault
from simtx.protocols.codec import CodecError
from simtx.protocols.names import BROKER
from simtx.reference.brokers.base import BrokerFailed
from simtx.reference.brokers.embedded_core import EmbeddedBroker
from simtx.reference.processes.program import Program
from simtx.reference.run_folder.event_log import entry_id
from simtx.reference.wire.connection import LIMIT, Frame, Handler, Peer
from simtx.scenario.distributions import Constant
from simtx.scenario.infrastructure import BrokerSpec

_REAL: Final = Constant(0.0)  # what it takes beside the time that it takes here
_LARGEST: Final = LIMIT - 1024  # bytes of a message, so that it can be delivered in a frame


def _accept(broker: EmbeddedBroker, peer: Peer, known: Mapping[str, Any]) -> Handler:
    send = peer.send  # one object, by which the subscription is known

    def publish(frame: Frame) -> None:
        number, origin, coded = frame["id"], entry_id(frame.get("origin")), frame["message"]
        if not isinstance(coded, dict) or type(coded.get("to")) is not str or type(coded.get("tx")) is not int:
            raise PeerFault("a publication without a message")
        if "nodes" in known and not (coded["to"] in known["nodes"] and 0 <= coded["tx"] < known["transactions"]):
            raise PeerFault("a message to nobody, or about a transaction that this run does not have")

        def reply(problem: str | None) -> None:
            if problem is None:
                send({"type": "published", "id": number, "tx": coded["tx"]})
            else:
                send({"type": "refused", "id": number, "tx": coded["tx"], "reason": problem})

        try:
            broker.publish(coded, origin, reply, str(frame.get("producer", "")))
        except BrokerFailed as error:
            reply(str(error))

    def named(frame: Frame) -> str:
        node = frame["node"]
        if not isinstance(node, str):
            raise PeerFault("a subscription without the name of a node")
        return node

    def subscribe(frame: Frame) -> None:
        node = named(frame)
        broker.subscribe(node, send)
        peer.closed(lambda: broker.unsubscribe(node, send))

    def delivery(frame: Frame, what: str) -> int:
        number = entry_id(frame["id"])
        if number is None:
            raise PeerFault(f"{what} without the number of a delivery")
        return number

    def control(frame: Frame) -> None:
        send(
            {
                "type": "state",
                "id": frame.get("id"),
                "quiet": broker.quiet,
                "working": broker.working(),
                "stored": broker.stored,
                "redelivered": broker.redelivered,
                "lost": broker.lost,
                "dead_letters": broker.dead_letters,
            }
        )

    handlers: dict[str, Handler] = {
        "publish": publish,
        "subscribe": subscribe,
        "unsubscribe": lambda frame: broker.unsubscribe(named(frame), send),
        "acknowledge": lambda frame: broker.acknowledge(delivery(frame, "an acknowledgement")),
        "refuse": lambda frame: broker.refuse(delivery(frame, "a refusal")),
        "control": control,
    }

    def handle(frame: Frame) -> None:
        handler = handlers.get(str(frame.get("type")))
        try:
            if handler is None:
                raise PeerFault(f"a frame of type {str(frame.get('type'))[:40]!r}, which no broker knows")
            handler(frame)
        except CodecError as error:
            raise PeerFault(f"malformed frame: {error}") from None
        except KeyError as error:
            raise PeerFault(f"malformed frame: it has no {error}") from None

    return handle


async def run(program: Program) -> None:
    """The main coroutine of the broker's process; what it holds is in its file before the first client is let in, and stays there.

    Raises:
        BrokerFailed: Its file cannot be used.
    """
    program.write_restart()
    config = program.config
    told = {one.name: config[one.name] for one in fields(BrokerSpec) if one.name in config}
    spec = BrokerSpec(**told, ack_latency=_REAL, linger=_REAL)

    def report(kind: str, tx: int, *, cause: int | None = None, **details: str) -> None:
        if kind != "redeliver":  # logged by the consumer, which knows whether it arrived
            program.log.log(kind, program.node, tx, cause, actor=BROKER, **details)

    place = program.folder.node(program.name)
    broker = EmbeddedBroker(place, spec, report, _LARGEST, counted=config["counted"])
    async with program.listening(lambda peer: _accept(broker, peer, config)):
        try:
            with program.metered():
                await program.wait()
        finally:
            await broker.close()
