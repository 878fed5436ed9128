"""The stores that a real run can use, listed once: the module of each, and what it can do.

A new store needs its module, with a class that keeps `simtx.reference.stores.base.Store`, a row here, and, if it is a server, a module with
`ServerTools`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias, cast

from simtx.reference.stores.base import Store, VoteStore

if TYPE_CHECKING:
    from pathlib import Path

StoreKind: TypeAlias = Literal["sqlite", "postgres"]


class OwnServer(Protocol):
    """A database server that belongs to a run. Each method raises `StoreFailed` if it cannot be done."""

    @property
    def alive(self) -> bool:
        """Return whether it runs."""

    def start(self) -> None:
        """Start it, for the first time or again; it recovers by itself."""

    def stop(self) -> None:
        """Shut it down, and put its databases where they are kept."""

    def kill(self) -> None:
        """SIGKILL to all its processes."""

    def pause(self) -> None:
        """Let it stand still: connections stay open, and nothing answers."""

    def resume(self) -> None:
        """Let it go on after `pause`."""

    def used(self) -> tuple[int, float] | None:
        """Its process id, and the processor time in seconds that all its processes have used; None: it is down, or nobody says."""

    def create_database(self, name: str) -> str:
        """Create a database if it is not there, and return its address."""

    def dsn(self, database: str) -> str:
        """The address of a database."""


class ServerTools(Protocol):
    """Tools that a module offers for a kind of store that is a server. Each function raises `StoreFailed` if it cannot be done."""

    def own_server(self, folder: Path | None) -> OwnServer:
        """A server of the run's own, not started, with its data in this folder; None: its data are not kept."""

    def database(self, folder: Path) -> Path | None:
        """The databases that a server has left in this folder; None: they are missing or empty."""

    def check_address(self, address: str) -> None:
        """Refuse an address that leads nowhere, or to a server that cannot do what a store needs."""

    def drop_run(self, address: str, run: str) -> object:
        """Leave nothing of a run on the server of somebody else."""

    def open_votes(self, address: str, run: str) -> VoteStore:
        """Open the vote store of a run; it is made if it is not there."""


@dataclass(frozen=True, slots=True)
class StoreProduct:
    """One kind of store.

    Attributes:
        module: Where its class is; imported when a store is opened.
        cls: Name of that class.
        file: Name of its file in the folder of a node; empty: it is a server.
        tools: A module with `ServerTools`; empty: it is a file.
        addresses: What the address of a server of somebody else begins with.
        followed: Whether other processes can read the history of its commits from its file, as derived stores do.

    Raises:
        ValueError: It is neither a file nor a server, or both.
    """

    module: str
    cls: str
    file: str = ""
    tools: str = ""
    addresses: tuple[str, ...] = ()
    followed: bool = False

    def __post_init__(self) -> None:
        if bool(self.file) == bool(self.tools):
            raise ValueError(f"{self.cls}: a store is in a file or is a server; give one of 'file' and 'tools'")

    @property
    def server(self) -> bool:
        """Return whether it is a process of its own, which can be stopped while its node runs."""
        return bool(self.tools)

    def server_tools(self) -> ServerTools:
        """Tools for a server beside its stores; imported when it is asked for."""
        return cast("ServerTools", import_module(self.tools))

    def opened_by(self) -> type[Store]:
        """The class whose objects are open stores."""
        found: type[Store] = getattr(import_module(self.module), self.cls)
        return found


PRODUCTS: Final[Mapping[StoreKind, StoreProduct]] = MappingProxyType(
    {
        "sqlite": StoreProduct(
            "simtx.reference.stores.sqlite.store", "SqliteStore", file="store.sqlite", followed=True
        ),
        "postgres": StoreProduct(
            "simtx.reference.stores.postgres.store",
            "PostgresStore",
            tools="simtx.reference.stores.postgres.tools",
            addresses=("postgresql://", "postgres://"),
        ),
    }
)
"""All kinds of stores."""


def kind_of(store: str) -> StoreKind | None:
    """The kind that a name or the address of a server means; None: there is no such store."""
    for kind, product in PRODUCTS.items():
        if store == kind or store.startswith(product.addresses or ("\0",)):
            return kind
    return None
