"""The brokers that a real run can use, listed once: the client of each, and what it can do.

A new broker needs its client, in `simtx.reference.brokers.client`, and a row here. The row names the program of its process, or, if it is a server,
a module with `ServerTools`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias, cast

from simtx.scenario.broker_kinds import KINDS
from simtx.scenario.infrastructure import Remembered

if TYPE_CHECKING:
    from pathlib import Path

BrokerKind: TypeAlias = Literal["embedded", "nats"]


class OwnServer(Protocol):
    """A broker server that belongs to a run. Each method raises `BrokerFailed` if it cannot be done."""

    @property
    def alive(self) -> bool:
        """Return whether it runs."""

    @property
    def url(self) -> str:
        """Its address, without secrets; known once it has been started."""

    def start(self) -> None:
        """Start it, and return when it listens."""

    def stop(self) -> None:
        """Ask it to end, and kill it if it does not."""

    def kill(self) -> None:
        """SIGKILL to it."""

    def restart(self) -> None:
        """Start it again, at its address and on its data."""


class ServerWatcher(Protocol):
    """A connection of the launcher to a server, not connected yet."""

    async def connect(self) -> None:
        """Connect. `BrokerFailed`: there is nothing there, or it refuses us."""

    async def pending(self) -> set[int]:
        """Transactions with messages that wait for their consumer. `ConnectionError`: the server does not say."""

    async def close(self) -> None:
        """Disconnect."""


class ServerTools(Protocol):
    """Tools that a module offers for a kind of broker that is a server."""

    def own_server(self, folder: Path, secret: bytes, *, forced: bool) -> OwnServer:
        """A server of the run's own, not started, with its data in this folder, for clients that know the run's secret.

        `forced`: it forces a publication to the disk before it acknowledges it.
        """

    def check_address(self, address: str) -> None:
        """Refuse an address that leads nowhere, with `BrokerFailed`."""

    def watcher(self, spec: Mapping[str, Any], name: str, secret: bytes) -> ServerWatcher:
        """A connection that asks what waits there; `spec` is the description that clients get."""

    async def drop_run(self, spec: Mapping[str, Any], secret: bytes) -> None:
        """Leave nothing of a run on the server of somebody else."""


@dataclass(frozen=True, slots=True)
class BrokerProduct:
    """One kind of broker.

    Attributes:
        title: Its name in sentences.
        program: A module of `simtx.reference.processes` that plays it as a process of the run, like its nodes; empty: it is a server.
        tools: A module with `ServerTools`; empty: it is a process of the run.
        after_restart: Values of ``broker.deduplication_after_restart`` that it can play; empty: all.
        addresses: What the address of a server of somebody else begins with.
        kinds: Kinds of brokers (``broker.kind``) that it can play.
        partitions: Whether it can divide topics into partitions.

    Raises:
        ValueError: It is neither a process of the run nor a server, or both.
    """

    title: str
    program: str = ""
    tools: str = ""
    after_restart: tuple[Remembered, ...] = ()
    addresses: tuple[str, ...] = ()
    kinds: tuple[str, ...] = tuple(KINDS)
    partitions: bool = False

    def __post_init__(self) -> None:
        if bool(self.program) == bool(self.tools):
            raise ValueError(
                f"{self.title}: a broker is a process of the run or a server; give one of 'program' and 'tools'"
            )

    @property
    def server(self) -> bool:
        """Return whether it is a server, and no process of the run."""
        return bool(self.tools)

    def server_tools(self) -> ServerTools:
        """Tools for a server beside its clients; imported when it is asked for."""
        return cast("ServerTools", import_module(self.tools))


PRODUCTS: Final[Mapping[BrokerKind, BrokerProduct]] = MappingProxyType(
    {
        "embedded": BrokerProduct("the embedded broker", program="embedded_broker", partitions=True),
        "nats": BrokerProduct(
            "NATS",
            tools="simtx.reference.brokers.nats_tools",
            after_restart=("stored",),
            addresses=("nats://", "tls://"),
            kinds=("plain", "jetstream-workqueue"),
        ),
    }
)
"""All kinds of brokers."""


def kind_of(broker: str) -> BrokerKind | None:
    """The kind that a name or the address of a server means; None: there is no such broker."""
    for kind, product in PRODUCTS.items():
        if broker == kind or broker.startswith(product.addresses or ("\0",)):
            return kind
    return None
