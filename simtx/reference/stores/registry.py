"""The stores that a real run can use, listed once: the module of each, and what it can do.

A new store needs its module, with a class that keeps `simtx.reference.stores.base.Store`, a row here, and, if it is a server, how
`simtx.reference.processes.backends` starts one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from simtx.reference.stores.base import Store

StoreKind: TypeAlias = Literal["sqlite", "postgres"]


@dataclass(frozen=True, slots=True)
class StoreProduct:
    """One kind of store.

    Attributes:
        module: Where its class is; imported when a store is opened.
        cls: Name of that class.
        file: Name of its file in the folder of a node; empty: it is a server.
        addresses: What the address of a server of somebody else begins with.
    """

    module: str
    cls: str
    file: str = ""
    addresses: tuple[str, ...] = ()

    @property
    def server(self) -> bool:
        """Whether it is a process of its own, which can be stopped while its node runs."""
        return not self.file

    def opened_by(self) -> type[Store]:
        """The class whose objects are open stores."""
        found: type[Store] = getattr(import_module(self.module), self.cls)
        return found


PRODUCTS: Final[Mapping[StoreKind, StoreProduct]] = MappingProxyType(
    {
        "sqlite": StoreProduct("simtx.reference.stores.sqlite.store", "SqliteStore", file="store.sqlite"),
        "postgres": StoreProduct(
            "simtx.reference.stores.postgres.store", "PostgresStore", addresses=("postgresql://", "postgres://")
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
