"""Kill points: one effect of one handler at which a process kills itself, for real (SIGKILL), once.

The crash is as hard as one from outside: no handler runs, nothing is flushed, and what the kernel has is all that is left.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from simtx.protocols import Effect, Message, OutboxRow, Publish
from simtx.protocols.naming import name
from simtx.protocols.subjects import aims_at


@dataclass(slots=True)
class CrashPoint:
    """One place.

    Attributes:
        id: Unique in the run; names the file that says that it has struck.
        tx: Business transaction, or None: any. A handler of a long-running machine belongs to those that it publishes something for; an
            effect of one, if it is meant by its name, to those whose events it is about.
        event: Kind of the event whose handler it is, ``recover`` for a recovery, or empty: any. What follows a colon is left out: the
            result of a relay's publication is ``published``.
        role: Role of the machine, or empty: any.
        state: State of the machine before the event, or empty: any.
        index: Before the effect with this number, from 0; the number of effects itself means: after the last one. -1: not by number.
        effect: Name of the effect, as in a scenario's trigger: ``Append``, ``Message:prepare``; empty: not by name.
        before: With a name: before this effect, else right after it.
        occurrence: The first such place, the second, ...
        downtime: Seconds until the process is started again.
        program: All effects of the handler, as `program` writes them, or empty: any.
        after: Id of a crash point that must have struck before, or empty: none.
        twin: Id of the same place in the other process of the node (the service, or the relay beside it), or empty: none. The first of the two
            to strike takes the other process with it, and the other one never strikes.
    """

    id: str
    tx: int | None = None
    event: str = ""
    role: str = ""
    state: str = ""
    index: int = -1
    effect: str = ""
    before: bool = True
    occurrence: int = 1
    downtime: float = 0.0
    program: str = ""
    after: str = ""
    twin: str = ""

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> CrashPoint:
        """One that came as plain data.

        Raises:
            TypeError: It is none.
        """
        point = cls(**given)
        for one in fields(cls):
            value, kind = getattr(point, one.name), type(one.default)
            allowed = (str,) if one.name == "id" else (int, type(None)) if one.name == "tx" else (kind,)
            if type(value) not in ((int, float) if kind is float else allowed):
                raise TypeError(f"the field '{one.name}' of a crash point cannot be {value!r:.40}")
        return point

    def to_json(self) -> dict[str, Any]:
        """Plain data, for a node's configuration."""
        return asdict(self)


def program(effects: Sequence[Effect]) -> str:
    """A list of effects as text, without what differs from transaction to transaction: two handlers with the same one do the same."""
    words = []
    for effect in effects:
        word = name(effect)
        if isinstance(effect, Message):
            word = f"{word}>{effect.to}"
        elif isinstance(effect, Publish):
            word = f"{word}>{effect.message.to}"
        words.append(f"{type(effect).__name__}:{word.partition(':')[0]}")
    return " ".join(words)


def subjects(tx: int, event: str, effects: Sequence[Effect]) -> set[int]:
    """The business transactions that a handler is about: of a long-running machine, those of its publications; maybe none."""
    if tx >= 0:
        return {tx}
    about = event.partition(":")[2]
    found = {int(about)} if about.isdecimal() else set()
    return found | {effect.message.tx for effect in effects if isinstance(effect, Publish)}


class KillSwitch:
    """The crash points of one process.

    Args:
        points: All that were aimed at its node.
        folder: Where those that have struck leave a file, for the launcher and for the next incarnation.
    """

    def __init__(self, points: Sequence[CrashPoint], folder: Path) -> None:
        self._folder = folder
        self._rows: dict[int, Message] = {}
        self.points = [point for point in points if not self._struck(point.id) and not self._struck(point.twin)]

    def _struck(self, identity: str) -> bool:
        return bool(identity) and (self._folder / identity).exists()

    def read(self, rows: Iterable[OutboxRow]) -> None:
        """The outbox was read: whose rows these are is known from here on."""
        if self.points:
            self._rows.update((row[0], row[1]) for row in rows)

    def check(
        self, tx: int, role: str, state: str, event: str, effects: Sequence[Effect], position: int
    ) -> CrashPoint | None:
        """The effect with this number comes next: the point at which to die here, if there is one."""
        kind = event.partition(":")[0]
        about = subjects(tx, event, effects)
        for point in self.points:
            if (
                (point.index >= 0 and point.tx is not None and point.tx not in about)
                or (point.event and point.event != kind)
                or (point.role and point.role != role)
                or (point.state and point.state != state)
                or (point.program and point.program != program(effects))
                or (point.after and not self._struck(point.after))
            ):
                continue
            if point.index >= 0:
                hit = point.index == position
            elif point.before:
                hit = position < len(effects) and self._fits(point, effects[position], tx)
            else:
                hit = position > 0 and self._fits(point, effects[position - 1], tx)
            if hit and not self._struck(point.twin):
                point.occurrence -= 1
                if point.occurrence == 0:
                    return point
        return None

    def _fits(self, point: CrashPoint, effect: Effect, tx: int) -> bool:
        return aims_at(point.effect, point.tx, effect, tx, self._rows.get)

    def strike(self, point: CrashPoint) -> None:
        """Die, and leave word of it."""
        mark = os.open(self._folder / point.id, os.O_CREAT | os.O_WRONLY, 0o600)
        os.write(mark, f"{point.downtime!r} {point.twin}".encode())
        os.close(mark)
        os.kill(os.getpid(), signal.SIGKILL)
        while True:  # the signal takes effect before this thread goes on; never past here
            signal.pause()
