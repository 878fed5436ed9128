"""Where a process is to kill itself: at one effect of one handler, for real (SIGKILL), once.

The crash is as hard as one from outside: no handler runs, nothing is flushed, and what the kernel has is all that is left.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from simtx.protocols import Append, Effect, Message, Prepare, Publish


@dataclass(slots=True)
class KillPoint:
    """One place.

    Attributes:
        id: Unique in the run; names the file that says that it has struck.
        tx: Business transaction, or None: any. A handler of a long-running machine belongs to those that it publishes something for.
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
        after: Id of a kill point that must have struck before, or empty: none.
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

    def to_json(self) -> dict[str, Any]:
        """As plain data, for a node's configuration."""
        return asdict(self)


def effect_name(effect: Effect) -> str:
    """What an effect is about: the kind of a message or timer, the first word of a record, a tag, an outcome."""
    if isinstance(effect, Message):
        return effect.kind
    if isinstance(effect, Publish):
        return effect.message.kind
    if isinstance(effect, Append | Prepare):
        return str(effect.record[0])
    return str(getattr(effect, "tag", getattr(effect, "kind", getattr(effect, "outcome", ""))))


def program(effects: Sequence[Effect]) -> str:
    """A list of effects as text, without what differs from transaction to transaction: two handlers with the same one do the same."""
    words = []
    for effect in effects:
        name = effect_name(effect)
        if isinstance(effect, Message):
            name = f"{name}>{effect.to}"
        elif isinstance(effect, Publish):
            name = f"{name}>{effect.message.to}"
        words.append(f"{type(effect).__name__}:{name.partition(':')[0]}")
    return " ".join(words)


def subjects(tx: int, event: str, effects: Sequence[Effect]) -> set[int]:
    """The business transactions that a handler is about: of a long-running machine, those of its publications; maybe none."""
    if tx >= 0:
        return {tx}
    about = event.partition(":")[2]
    found = {int(about)} if about.isdecimal() else set()
    return found | {effect.message.tx for effect in effects if isinstance(effect, Publish)}


class KillSwitch:
    """The kill points of one process.

    Args:
        points: All that were aimed at its node.
        folder: Where those that have struck leave a file, for the launcher and for the next incarnation.
    """

    def __init__(self, points: Sequence[KillPoint], folder: Path) -> None:
        self._folder = folder
        self.points = [point for point in points if not (folder / point.id).exists()]

    def check(
        self, tx: int, role: str, state: str, event: str, effects: Sequence[Effect], position: int
    ) -> KillPoint | None:
        """The effect with this number comes next: the point at which to die here, if there is one."""
        kind = event.partition(":")[0]
        about = subjects(tx, event, effects)
        for point in self.points:
            if (
                (point.tx is not None and point.tx not in about)
                or (point.event and point.event != kind)
                or (point.role and point.role != role)
                or (point.state and point.state != state)
                or (point.program and point.program != program(effects))
                or (point.after and not (self._folder / point.after).exists())
            ):
                continue
            if point.index >= 0:
                hit = point.index == position
            elif point.before:
                hit = position < len(effects) and _fits(point.effect, effects[position])
            else:
                hit = position > 0 and _fits(point.effect, effects[position - 1])
            if hit:
                point.occurrence -= 1
                if point.occurrence == 0:
                    return point
        return None

    def strike(self, point: KillPoint) -> None:
        """Die, and leave word of it."""
        mark = os.open(self._folder / point.id, os.O_CREAT | os.O_WRONLY, 0o600)
        os.write(mark, repr(point.downtime).encode())
        os.close(mark)
        os.kill(os.getpid(), signal.SIGKILL)
        while True:  # the signal takes effect before this thread goes on; never past here
            signal.pause()


def _fits(pattern: str, effect: Effect) -> bool:
    kind, _, name = pattern.partition(":")
    return type(effect).__name__ == kind and (not name or effect_name(effect) == name)
