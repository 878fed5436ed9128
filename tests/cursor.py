"""A user's outbox whose relay remembers the highest number that it has seen, and looks only behind it: what goes wrong with numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from simtx.protocols import Done, Effect, Outbox, Policies, Relay
from simtx.protocols.built_in import DEFAULT_POLICIES


class CursorRelay(Relay):
    """Loses a row that appears behind one with a higher number."""

    __slots__ = ("cursor",)

    def __init__(self, node: str, policies: Policies = DEFAULT_POLICIES) -> None:
        super().__init__(node, policies)
        self.cursor = -1

    def publish(self, event: Done) -> list[Effect]:
        """Publish what is behind the cursor."""
        rows = tuple(row for row in event.value or () if row[0] > self.cursor)
        self.cursor = max([self.cursor, *(row[0] for row in rows)])
        return super().publish(Done(event.kind, event.status, rows))


@dataclass(frozen=True, kw_only=True)
class CursorOutbox(Outbox):
    """A transactional outbox with such a relay."""

    def daemons(self, node: str) -> Iterable[Relay]:
        """The relay of this service's outbox."""
        return (CursorRelay(node, self.policies or DEFAULT_POLICIES),)
