"""Contract of a real broker: durable topics, one a consuming node; at least once, in order per transaction."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeAlias

from simtx.errors import SimtxError
from simtx.protocols import Delivery, Message


class BrokerFailed(SimtxError, RuntimeError):
    """The broker cannot be reached or used at all; the text says what would help."""


Consume: TypeAlias = Callable[[Delivery, int | None, bool], None]
"""Called for each delivery: the delivery, the id of the event log's entry that published it (None if unknown), and whether the broker has sent
it before, as far as it knows; a consumer that was dying then may not have seen it."""


def nobody(*what: object) -> None:
    """Do nothing: nobody consumes, or wants to know."""


class BrokerClient(ABC):
    """One node's connection to the broker, on one asyncio event loop; it connects again by itself after an outage, for ever.

    Deliveries of one transaction to one node come in the order in which they were stored, one at a time: the next one only after
    the acknowledgement of the one before. A delivery keeps its id when it comes again, also after a restart of either side.

    Attributes:
        given_up: Called with each message that this side has given up, and with the id of the event log's entry that published it, and why.
    """

    given_up: Callable[[Message, int | None, str], None] = staticmethod(nobody)

    @abstractmethod
    async def connect(self) -> None:
        """Connect, for a first time.

        Raises:
            BrokerFailed: There is nothing there after a few seconds, or it refuses us.
        """

    @abstractmethod
    async def publish(self, message: Message, origin: int | None) -> None:
        """Hand over a message; returns on the broker's acknowledgement, whatever that means at its level.

        Raises:
            BrokerFailed: It was refused.
            ConnectionError: The connection was lost before the acknowledgement; the message may have been stored or not.
        """

    @abstractmethod
    async def subscribe(self, node: str, consume: Consume) -> None:
        """Have the messages to this node delivered. `consume` must return at once; it is called on the event loop."""

    @abstractmethod
    async def acknowledge(self, delivery: int) -> None:
        """Say that a delivery needs not come again; an acknowledgement that gets lost is no error."""

    @abstractmethod
    async def refuse(self, delivery: int) -> None:
        """Say that this consumer cannot handle a delivery. It comes again after a while, unless it has come too often.

        A broker without such a word gets nothing.
        """

    @abstractmethod
    async def close(self) -> None:
        """Disconnect."""
