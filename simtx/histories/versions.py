"""The versions of the keys of a run, in the order in which their stores have committed them, and what each of them shows.

Numbers repeat: a reservation and its compensation leave the value that was there before. A version is therefore a *change*, the n-th of its
key, and a read is traced back to the change that it saw: by the number that the store gave with it, or by its value where only one change
can have shown it.

**Compensation.** Seen as a whole, an aborted business transaction has done nothing. What it did is there between action and compensation, and a reader who
sees it then has a dirty read (`G1a`). The compensation takes it back, and what a reader sees behind it is what others have left: the last
change whose transaction is still in place, the initial value if there is none. So a change by a compensation is no version of its own, if

- it brings the sum of the changes of its transaction to this key back to zero: the inverse of an addition commutes with what others have
  added meanwhile; or
- it overwrites the key with the value from before the first change of its transaction: what others have written meanwhile is lost, and
  who reads the key afterwards sees the state before both.

Any other change by a compensation (a fee, a counter of cancellations) stays: it is a version, written by a transaction of its own that has committed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from simtx.histories.local import LocalTransaction, Read

_NOTHING = 1e-9  # of the largest amount: below this, a sum of changes counts as zero


@dataclass(slots=True)
class Version:
    """One change of one key.

    Attributes:
        number: Its place among the changes of the key, from 1.
        local: Who made it.
        old: The value that it replaced, as the store has it.
        new: The value that it left.
        visible: Number of the version that a reader of this one sees; its own, unless a compensation has taken something back.
        stays: Whether it was made by a compensation and is there for good.
    """

    number: int
    local: LocalTransaction
    old: float
    new: float
    visible: int
    stays: bool = False

    @property
    def label(self) -> str:
        """The value that no other version of the key has."""
        return f"{self.new:.10g} (#{self.number})"


@dataclass(slots=True)
class Key:
    """All changes of one key.

    Attributes:
        versions: In the order of their commits.
        initial: The value before the first one; None as long as nobody has seen the key.
    """

    versions: list[Version] = field(default_factory=list)
    initial: float | None = None
    _places: dict[float, list[int]] = field(default_factory=dict)

    def value(self, number: int) -> float | None:
        """The value after so many changes."""
        return self.initial if number == 0 else self.versions[number - 1].new

    def shown(self, number: int) -> str | None:
        """Label that a reader of this version sees, None for the initial value."""
        visible = 0 if number == 0 else self.versions[number - 1].visible
        return self.versions[visible - 1].label if visible else None

    def find(self, reader: LocalTransaction, read: Read, own: int | None) -> tuple[list[int], int]:
        """The versions that a read can have seen, and the likeliest of them.

        Args:
            reader: Who read.
            read: What.
            own: The first version that the reader itself has made, if it has changed the key.

        Returns:
            Their numbers, none if no version has this value; and the number of the likeliest.
        """
        count = len(self.versions)
        if self.initial is None:
            self.initial = read.value
        number = read.version
        if number is not None and 0 <= number <= count and self.value(number) == read.value:
            return [number], number
        if own is not None and self.value(own - 1) == read.value:
            return [own - 1], own - 1  # it replaced what it had read
        if not self._places:
            for version in self.versions:
                self._places.setdefault(version.new, []).append(version.number)
        fitting = [0] if self.initial == read.value else []
        for place in self._places.get(read.value, ()):
            writer = self.versions[place - 1].local
            if writer is not reader and writer.start <= reader.end:
                fitting.append(place)
        before = [place for place in fitting if place == 0 or self.versions[place - 1].local.place < reader.place]
        return fitting, max(before, default=fitting[0] if fitting else 0)


def versions_of(locals_: Iterable[LocalTransaction], *, compensated: bool) -> dict[str, Key]:
    """The changes of all keys of a run, by ``service/key``.

    Args:
        locals_: The local transactions in the order of the log.
        compensated: Whether compensations take back what their transactions did, instead of being changes like others.
    """
    changes: dict[str, list[tuple[LocalTransaction, float, float]]] = {}
    for local in locals_:
        for key, (old, new) in local.changes.items():
            changes.setdefault(f"{local.node}/{key}", []).append((local, old, new))
    keys: dict[str, Key] = {}
    for name, made in changes.items():
        if all(local.history >= 0 for local, _, _ in made):
            made.sort(key=lambda change: change[0].history)
        versions = [Version(number, local, old, new, number) for number, (local, old, new) in enumerate(made, 1)]
        keys[name] = Key(versions, versions[0].old)
        if compensated:
            _take_back(name.partition("/")[2], versions)
    return keys


class _Effects:
    """Change of one key by one transaction, as far as it is still in place.

    Attributes:
        before: The value before the first of its changes.
        below: How many entries of the stack were below that one.
        net: Sum of its changes.
        size: The largest amount so far, for the comparison with zero.
        entries: Where its versions are in the stack: (position, number).
        left: Its changes by compensations that have not taken everything back.
    """

    __slots__ = ("before", "below", "entries", "left", "net", "size")

    def __init__(self, before: float, below: int) -> None:
        self.before = before
        self.below = below
        self.net = 0.0
        self.size = abs(before)
        self.entries: list[tuple[int, int]] = []
        self.left: list[Version] = []

    def add(self, version: Version) -> None:
        """One more change."""
        self.net += version.new - version.old
        self.size = max(self.size, abs(version.old), abs(version.new), 1.0)

    def taken_back(self, name: str, version: Version, stack: list[int]) -> bool:
        """Return whether this change by a compensation takes all of it back; the stack is brought up to date then."""
        if abs(self.net) <= _NOTHING * self.size:
            for position, number in self.entries:
                if position < len(stack) and stack[position] == number:
                    stack[position] = 0
        elif self.entries and version.new == self.before and version.local.overwrites(name):
            for position in range(self.below, len(stack)):
                stack[position] = 0
        else:
            return False
        for earlier in self.left:
            earlier.stays = False
        return True


def _take_back(name: str, versions: list[Version]) -> None:
    """Find out what is visible behind each change of a key, with a stack of the versions whose effects are in place."""
    stack: list[int] = []  # numbers of versions; 0 for one that was taken back
    effects: dict[int, _Effects] = {}
    for version in versions:
        tx = version.local.tx
        known = effects.get(tx)
        if known is None:
            known = effects[tx] = _Effects(version.old, len(stack))
        known.add(version)
        if version.local.phase == "compensation":
            if known.taken_back(name, version, stack):
                del effects[tx]
                while stack and stack[-1] == 0:
                    stack.pop()
                version.visible = stack[-1] if stack else 0
                continue
            version.stays = True
            known.left.append(version)
        known.entries.append((len(stack), version.number))
        stack.append(version.number)
