"""Real brokers: an embedded durable log, and NATS JetStream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_never

from simtx.protocols.names import BROKER
from simtx.reference.brokers.base import BrokerClient, BrokerFailed, Consume
from simtx.reference.brokers.registry import BrokerKind

if TYPE_CHECKING:
    from simtx.reference.run_folder.folder import RunFolder

__all__ = ["BrokerClient", "BrokerFailed", "Consume", "client"]


def client(spec: dict[str, Any], name: str, folder: RunFolder) -> BrokerClient:
    """A node's connection to the broker, not connected yet.

    Args:
        spec: Its description, as `simtx.reference.processes.backends.Backends.broker` gives it; ``through``: the link of a proxy that stands before it.
        name: Of the process.
        folder: Of the run: it has the run's secret, and says where the embedded broker listens.
    """
    kind: BrokerKind = spec["kind"]
    secret = folder.secret()
    match kind:
        case "embedded":
            from simtx.reference.brokers.embedded import EmbeddedClient

            where = spec.get("through", BROKER)
            return EmbeddedClient(name, secret, lambda: folder.locate(where), spec, expect=where)
        case "nats":
            from simtx.reference.brokers.nats import NatsClient

            return NatsClient(spec, name, secret)
        case _:
            assert_never(kind)
