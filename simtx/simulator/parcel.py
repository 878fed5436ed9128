"""A message that a simulated broker holds for one consumer."""

from __future__ import annotations

from simtx.protocols import Delivery, Message
from simtx.scenario.versions import CURRENT, EventVersion
from simtx.simulator.timers import Token


class Parcel:
    """A stored message of one consumer, until that consumer acknowledges it."""

    __slots__ = ("deliveries", "delivery", "lane", "message", "sent", "stored", "timer", "version")

    def __init__(self, number: int, message: Message, stored: float, lane: tuple[str, int]) -> None:
        self.message = message
        self.delivery = Delivery(message, number)
        self.stored = stored
        self.lane = lane
        self.sent = False
        self.deliveries = 0
        self.version: EventVersion = CURRENT  # of its form
        self.timer: Token | None = None
