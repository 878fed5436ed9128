"""The embedded broker as a process: its sockets around `EmbeddedBroker`.

Frames to it: ``publish`` (id, message, origin), ``subscribe`` (node), ``acknowledge`` (id), ``refuse`` (id), ``control`` (id, do: ``state``). Frames from it:
``published`` (id) or ``refused`` (id, reason), ``deliver`` (id, message, origin, again), ``state``. Ids of publications are the producer's,
and mean something on its connection only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

from simtx.errors import PeerFault
from simtx.protocols.codec import CodecError
from simtx.protocols.names import BROKER
from simtx.reference.brokers.base import BrokerFailed
from simtx.reference.brokers.embedded_core import EmbeddedBroker, EmbeddedSpec, Report
from simtx.reference.run_folder.event_log import entry_id
from simtx.reference.wire.connection import LIMIT, Frame, Handler, Peer, Place, Server, WireError
from simtx.reference.wire.refusals import Refusals

_LARGEST: Final = LIMIT - 1024  # bytes of a message, so that it can be delivered in a frame


async def serve(
    folder: Path,
    secret: bytes,
    spec: Mapping[str, Any],
    *,
    log: Report,
    announce: Callable[[Place], None],
    ended: Awaitable[object],
    refused: Callable[[str, str], None] = lambda address, reason: None,  # noqa: ARG005
    place: Mapping[str, Any],
) -> None:
    """Be the broker until `ended` is done; what it holds is in its file before the first client is let in, and stays there.

    Args:
        folder: Where its file lies; made if it does not exist.
        secret: Of the run.
        spec: Fields of `EmbeddedSpec`; others are ignored.
        log: Writes an entry of the event log: ``redeliver``, or ``drop`` of what retention or a crash has cost.
        announce: Told where it listens once it does.
        ended: What ends it.
        refused: Told the address and the reason of every connection that is ended because of what came over it.
        place: Where to listen (`Server.start_as`), and ``port``.

    Raises:
        BrokerFailed: Its file cannot be used, or it cannot listen there.
    """
    broker = EmbeddedBroker(folder, spec_of(spec), log, _LARGEST)
    server = Server(secret, BROKER, lambda peer: _accept(broker, peer, place), refused)
    try:
        try:
            announce(await server.start_as(place, place["port"]))
        except WireError as error:
            raise BrokerFailed(str(error)) from None
        await ended
    finally:
        await broker.close()
        await server.close()


def spec_of(fields: Mapping[str, Any]) -> EmbeddedSpec:
    """The specification with these fields; further ones are ignored."""
    return EmbeddedSpec(**{name: fields[name] for name in EmbeddedSpec.__slots__ if name in fields})


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
                send({"type": "published", "id": number})
            else:
                send({"type": "refused", "id": number, "reason": problem})

        try:
            broker.publish(coded, origin, reply, str(frame.get("producer", "")))
        except BrokerFailed as error:
            reply(str(error))

    def subscribe(frame: Frame) -> None:
        node = frame["node"]
        if not isinstance(node, str):
            raise PeerFault("a subscription without the name of a node")
        broker.subscribe(node, send)
        peer.closed(lambda: broker.unsubscribe(node, send))

    def acknowledge(frame: Frame) -> None:
        number = frame["id"]
        if entry_id(number) is None:
            raise PeerFault("an acknowledgement without the number of a delivery")
        broker.acknowledge(number)

    def refuse(frame: Frame) -> None:
        number = frame["id"]
        if entry_id(number) is None:
            raise PeerFault("a refusal without the number of a delivery")
        broker.refuse(number)

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
        "acknowledge": acknowledge,
        "refuse": refuse,
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


async def run_broker(folder: Path, name: str, incarnation: int, config: dict[str, Any]) -> None:
    """The main coroutine of the broker's process in a run.

    Raises:
        BrokerFailed: Its file cannot be used, or it cannot listen.
    """
    from simtx.reference.processes.ending import Ending
    from simtx.reference.run_folder.event_log import LogFile
    from simtx.reference.run_folder.folder import RunFolder

    run = RunFolder(folder)
    log = LogFile(run.node(name) / f"log.{incarnation}.jsonl", incarnation)
    if incarnation > config["processes"]:  # the first incarnations have the lowest numbers
        log.log("restart", name, -1, actor="fault", detail=name)

    def report(kind: str, tx: int, *, cause: int | None = None, **fields: str) -> None:
        if kind != "redeliver":  # logged by the consumer, which knows whether it arrived
            log.log(kind, name, tx, cause, actor=BROKER, **fields)

    @Refusals
    def refused(address: str, reason: str) -> None:
        log.log("refuse", name, -1, actor="network", peer=address, detail=reason)

    try:
        await serve(
            run.node(name),
            run.secret(),
            config,
            log=report,
            announce=lambda place: run.announce(name, place),
            ended=Ending().wait(),
            refused=refused,
            place=config,
        )
    finally:
        refused.close()
