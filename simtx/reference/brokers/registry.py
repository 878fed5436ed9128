"""The brokers that a real run can use, listed once: the client of each, and what it can do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from simtx.scenario.broker_kinds import KINDS

BrokerKind: TypeAlias = Literal["embedded", "nats"]


@dataclass(frozen=True, slots=True)
class BrokerProduct:
    """One kind of broker.

    Attributes:
        process: Whether it is a process of the run, like its nodes; else it is a server.
        after_restart: Values of ``broker.deduplication_after_restart`` that it can play; empty: all.
        addresses: What the address of a server of somebody else begins with.
        kinds: Kinds of brokers (``broker.kind``) that it can play.
    """

    process: bool
    after_restart: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    kinds: tuple[str, ...] = tuple(KINDS)


PRODUCTS: Final[Mapping[BrokerKind, BrokerProduct]] = MappingProxyType(
    {
        "embedded": BrokerProduct(process=True),
        "nats": BrokerProduct(
            process=False,
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
