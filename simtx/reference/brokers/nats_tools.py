"""Tools for NATS beside its clients; `simtx.reference.brokers.registry.ServerTools` says what each function is for."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from simtx.reference.addresses import without_password
from simtx.reference.brokers.base import BrokerFailed
from simtx.reference.brokers.nats_server import NatsServer

if TYPE_CHECKING:
    from pathlib import Path

    from simtx.reference.brokers.nats import NatsClient


def own_server(folder: Path, secret: bytes, *, forced: bool) -> NatsServer:
    """A server that is not started yet, with its data in this folder."""
    return NatsServer(folder, token=secret.hex(), sync_always=forced)


def check_address(address: str) -> None:
    """Refuse a URL that leads nowhere."""
    try:
        parts = urlsplit(address)
        place = (parts.hostname or "", parts.port or 4222)
    except ValueError:
        raise BrokerFailed(
            f"'{without_password(address):.200}' is no URL of a NATS server; it would look like nats://host:4222"
        ) from None
    try:
        with socket.create_connection(place, timeout=5):
            pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BrokerFailed(
            f"no NATS server answers at {place[0]:.200}:{place[1]}: {reason}; start one there, or use 'nats'"
        ) from None


def watcher(spec: Mapping[str, Any], name: str, secret: bytes) -> NatsClient:
    """A connection that asks what waits in the stream."""
    # the driver is imported here and below: to find and start a server needs none
    from simtx.reference.brokers.nats import NatsClient

    return NatsClient(spec, name, secret)


async def drop_run(spec: Mapping[str, Any], secret: bytes) -> None:
    """Leave nothing of a run."""
    from simtx.reference.brokers import nats

    await nats.drop_run(spec, secret)
