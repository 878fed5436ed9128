"""Places in a protocol at which a process can be killed: every effect of every handler that a log shows.

A place is named by what a machine does there, not by when: two handlers with the same role, state, event and effects are the same place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from simtx.event_log.entries import Handled, Recovered
from simtx.protocols.codec import decode
from simtx.protocols.names import DAEMON
from simtx.reference.node.crash_points import CrashPoint, program, subjects

if TYPE_CHECKING:
    from simtx.event_log.log import LogEntry

RECOVER: Final = "recover"
RELAY: Final = ".relay"


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Right before one effect of one handler, or behind the last one.

    Attributes:
        process: Name of the process: a node, or the relay beside it.
        role: Role of the machine.
        state: Its state before the event; empty for a recovery.
        event: Kind of the event, without what follows a colon; ``recover``: of a recovery.
        program: All effects of the handler (`simtx.reference.node.crash_points.program`).
        index: Number of the effect, from 0; as many as there are: behind the last one.
        variant: Which transaction it is met in.
    """

    process: str
    role: str
    state: str
    event: str
    program: str
    index: int
    variant: str = ""

    @property
    def effects(self) -> list[str]:
        """The effects of the handler."""
        return self.program.split()

    @property
    def anywhere(self) -> Place:
        """The same place, whatever the transaction."""
        return Place(self.process, self.role, self.state, self.event, self.program, self.index)

    def __str__(self) -> str:
        effects = self.effects
        if self.index < len(effects):
            where = f"before {effects[self.index].rstrip(':')} ({self.index + 1} of {len(effects)})"
        else:
            where = f"behind the last of {len(effects)} effects" if effects else "in a handler without effects"
        what = "recovery" if self.event == RECOVER else f"'{self.event}' in state {self.state}"
        variant = f", transaction {self.variant}" if self.variant else ""
        return f"{self.process}: {self.role}, {what}, {where}{variant}"


Recipe = tuple[Place, ...]
"""Places at which one transaction's processes are killed, one after the other."""


def described(recipe: Recipe) -> str:
    """A recipe in words."""
    return "; then ".join(map(str, recipe)) if recipe else "no kill"


def crash_points(tx: int, recipe: Recipe) -> Iterable[tuple[str, CrashPoint]]:
    """The crash points of a transaction by process; each waits for the one before."""
    for number, place in enumerate(recipe):
        yield (
            place.process,
            CrashPoint(
                identity(tx, number),
                tx=tx if _has_subject(place) else None,
                event=place.event,
                role=place.role,
                state=place.state,
                index=place.index,
                program=place.program,
                after=identity(tx, number - 1) if number else "",
            ),
        )


def identity(tx: int, number: int) -> str:
    """Id of a transaction's crash point, by its position in the recipe."""
    return f"{tx}-{number}"


def _has_subject(place: Place) -> bool:
    """Return whether the handler belongs to a transaction: all do but those of a relay that publish nothing."""
    return not place.process.endswith(RELAY) or place.event == "published" or "Publish:" in place.program


def found(trace: Iterable[LogEntry], recipes: Mapping[int, Recipe], variants: Mapping[int, str]) -> dict[Place, int]:
    """All places that a run's log shows, each with the transaction in which it was met: of several, one with the fewest kills.

    Handlers of a relay that belong to no transaction (its start, a poll) are places of the transaction under way, if that had a kill.

    Args:
        trace: The log of a run whose transactions were played one after the other.
        recipes: The kills of each transaction that have struck.
        variants: Variant by transaction.
    """
    places: dict[Place, int] = {}
    current = -1
    for entry in trace:
        if entry.kind == "arrive":
            current = entry.tx
        if entry.kind not in ("handle", RECOVER):
            continue
        handled = Handled.read(entry) if entry.kind == "handle" else None
        effects = [decode(one) for one in (handled or Recovered.read(entry)).effects]
        text = program(effects)
        daemon = entry.tx == DAEMON
        about = subjects(entry.tx, entry.name, effects)
        if daemon and not about and recipes.get(current):
            about = {current}
        for tx in sorted(about & variants.keys()):
            process = entry.node + RELAY if daemon else entry.node
            state, event = handled.state if handled else "", entry.name.partition(":")[0]
            for index in range(len(effects) + 1):
                place = Place(process, entry.actor, state, event, text, index, variants[tx])
                known = places.get(place)
                if known is None or len(recipes[known]) > len(recipes[tx]):
                    places[place] = tx
    return places
