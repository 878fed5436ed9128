"""A rolling upgrade in the explorer: which versions of the events processes write and read, and what they do with what they cannot read.

What is at the broker has the form in which its producer has written it. A consumer is given what its own schema makes of that (`simtx.protocols.event_schema`), as in a real run: so an upcaster that loses
something, or a version that is compared wrongly, shows in what the machines do.

A process is on one of three levels: before its upgrade; between, where it reads the new version and still writes the old one; and after it. An upgrade in one round leaves the second one out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from simtx.protocols import Message
from simtx.protocols.codec import CodecError
from simtx.protocols.event_schema import Schema, SchemaError, SchemaTooNew

Unreadable: TypeAlias = Literal["stop", "skip", "gated"]
"""Treatment of an event of a version that its consumer cannot read: it stops that lane, or leaves the event out. ``gated``: it would leave it out, and
never meets one, since nobody writes the new version before all read it."""
Level: TypeAlias = int

BEFORE: Final[Level] = 0
BETWEEN: Final[Level] = 1
AFTER: Final[Level] = 2
MOST_BACKS: Final = 15

_OLD, _NEW = "2.0", "3.0"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Rollout:
    """Plan of a rolling upgrade.

    Attributes:
        name: What it is called in a scope.
        unread: What a consumer does with an event that it cannot read: it stops that lane until it can (``stop``), or leaves the event out (``skip``).
        rounds: 1: who is upgraded writes the new version at once. 2: it reads both and writes the old one, and writes the new one later.
        gated: In two rounds, whether nobody writes the new version before everybody reads it.
        backs: How often a process may go back to the old version.
        discards: Whether one that goes back throws away what waits for it and what it cannot read any more, as a consumer does that begins with the newest event.
        schemas: Of a process before, between and after its upgrade.
    """

    name: str
    unread: Literal["stop", "skip"] = "stop"
    rounds: Literal[1, 2] = 1
    gated: bool = True
    backs: int = 0
    discards: bool = False
    schemas: tuple[Schema, Schema, Schema] = (Schema(_OLD), Schema(_NEW, writes=_OLD), Schema(_NEW))

    def __repr__(self) -> str:
        return f"Rollout({self.name})"

    def __str__(self) -> str:
        return self.name

    def next(self, levels: tuple[Level, ...], node: int) -> Level | None:
        """The level that a process changes to when it is upgraded; None: it is not, now.

        Args:
            levels: Of all processes.
            node: Which of them.
        """
        level = levels[node]
        if level == AFTER:
            return None
        if self.rounds == 1:
            return AFTER
        if level == BEFORE:
            return BETWEEN
        return None if self.gated and BEFORE in levels else AFTER

    def read(self, message: Message, *, writer: Level, reader: Level) -> Message | None:
        """Message that a process on one level gets when one on another level has written it; None: it cannot read it."""
        try:
            written = self.schemas[writer].wrap(message)
        except CodecError:  # of a class that does not travel: only its version is looked at
            return message if writer < AFTER or reader > BEFORE else None
        try:
            return self.schemas[reader].unwrap(written)
        except (SchemaTooNew, SchemaError, CodecError):
            return None


ROLLOUTS: Final = {
    "stop": Rollout(name="stop"),
    "skip": Rollout(name="skip", unread="skip"),
    "gated": Rollout(name="gated", unread="skip", rounds=2),
}
"""Rollouts that have a name."""


def rollout_of(upgrade: Rollout | Unreadable) -> Rollout:
    """The rollout that a scope means."""
    return upgrade if isinstance(upgrade, Rollout) else ROLLOUTS[upgrade]
