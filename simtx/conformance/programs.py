"""A machine's program of effects beside what the event log says of it: which entry belongs to which effect, and in which order.

Every effect that others can notice leaves one entry. Timers and marks leave none; neither do `Commit` and `Rollback` of a branch that
is not there. So the entries of one machine, in the order of the log, must be the effects of its handlers, in their order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from simtx.event_log.entries import AT_ONCE, BranchEnded, Durability, EntryError, Worked, at_once
from simtx.event_log.log import LogEntry
from simtx.protocols import contract as c

Work: TypeAlias = c.Transact | c.Execute | c.Prepare
Match: TypeAlias = Callable[[Any, LogEntry], bool]


def _plain(effect: c.Effect, entry: LogEntry) -> bool:  # noqa: ARG001 - as the others
    """The entry says nothing more than its kind does."""
    return entry.name in ("", entry.kind)


def _message(effect: c.Message, entry: LogEntry) -> bool:
    return effect.kind == entry.name and effect.to == entry.peer


def _append(effect: c.Append, entry: LogEntry) -> bool:
    return str(effect.record[0]) == entry.name and entry.detail == Durability(effect.forced).text()


def _work(effect: Work, entry: LogEntry) -> bool:
    worked = Worked.read(entry)
    undoes = isinstance(effect, c.Transact) and effect.compensation
    return effect.tag == entry.name and worked.compensation == undoes and entry.detail == worked.text()


def _rollback(effect: c.Rollback, entry: LogEntry) -> bool:
    try:
        ended = BranchEnded.read(entry)
    except EntryError:
        return False
    return entry.name == entry.kind and ended.forced == effect.forced and ended.in_doubt is not None


def _at_once(effect: c.Effect, entry: LogEntry) -> bool:
    return at_once(effect) == (entry.kind, entry.peer, entry.name, entry.detail)


_ENTRIES: Final[Mapping[str, tuple[type, Match]]] = {
    "send": (c.Message, _message),
    "reject": (c.Message, _message),
    "append": (c.Append, _append),
    "transact": (c.Transact, _work),
    "execute": (c.Execute, _work),
    "prepare": (c.Prepare, _work),
    "commit": (c.Commit, _plain),
    "rollback": (c.Rollback, _rollback),
    "publish": (
        c.Publish,
        lambda effect, entry: effect.message.kind == entry.name and effect.message.tx == entry.tx,
    ),
    **{kind.__name__.lower(): (kind, _at_once) for kind in AT_ONCE},
}

EFFECTS: Final = frozenset(_ENTRIES)
"""Kinds of the entries that effects leave."""
LEAVES: Final = frozenset(kind for kind, _ in _ENTRIES.values())
"""Effects that leave an entry."""
SILENT: Final = (c.SetTimer, c.CancelTimer, c.MarkOutbox, c.ReadOutbox)
"""Effects that leave no entry."""
WORK: Final = (c.Transact, c.Execute, c.Prepare)
"""Effects that are answered by a `Done` when their entry is written."""
SLACK: Final = 1e-6
"""Seconds by which a timer may seem to fire too early: clocks are read twice."""


def is_of(entry: LogEntry, effect: c.Effect) -> bool:
    """Return whether this entry is the one that this effect leaves."""
    kind, match = _ENTRIES[entry.kind]
    return type(effect) is kind and match(effect, entry)


def told(entry: LogEntry) -> str:
    """An entry in a few words, as it is called in findings."""
    words = [entry.kind]
    if entry.name and entry.name != entry.kind:
        words.append(f"'{entry.name}'")
    if entry.kind in ("send", "reject", "suspect") and entry.peer:
        words.append(f"to {entry.peer}")
    return " ".join(words)


class Program:
    """Effects of one handler, and how many of them are known to be done.

    Attributes:
        effects: The effects.
        cause: Id of the entry that the handler's entries name as their cause.
        position: The first effect that is not known to be done.
        early: Effects behind it that were done before their turn.
    """

    __slots__ = ("cause", "early", "effects", "position")

    def __init__(self, effects: Sequence[c.Effect] = (), cause: int | None = None) -> None:
        self.effects = effects
        self.cause = cause
        self.position = 0
        self.early: set[int] = set()

    def next(self) -> c.Effect | None:
        """The effect that is to be done next, or None."""
        while self.position in self.early:
            self.position += 1
        return self.effects[self.position] if self.position < len(self.effects) else None

    def find(self, entry: LogEntry, skippable: Callable[[c.Effect], bool]) -> tuple[int, c.Effect | None]:
        """Find the effect that this entry belongs to, and the effect that would have had to be done before it.

        Args:
            entry: An entry of one of the kinds `EFFECTS`.
            skippable: Whether an effect may have been done without an entry.

        Returns:
            The index, -1 if there is no such effect; and the effect in its way, or None if its turn has come.
        """
        blocking: c.Effect | None = None
        for index in range(self.position, len(self.effects)):
            if index in self.early:
                continue
            effect = self.effects[index]
            if is_of(entry, effect):
                return index, blocking
            if blocking is None and not skippable(effect):
                blocking = effect
        return -1, blocking


class Clock:
    """The named timers of one machine: which of them may fire, and when.

    A timer that was cancelled or set anew may still fire if it was due before: it had fired while the machine was busy, and waited.
    """

    __slots__ = ("_exact", "_late", "_set")

    def __init__(self, *, exact: bool) -> None:
        self._exact = exact
        self._set: dict[str, float] = {}
        self._late: dict[str, int] = {}

    def start(self, effect: c.SetTimer, now: float) -> None:
        """A timer is set at this time."""
        self.cancel(effect.kind, now)
        self._set[effect.kind] = now + effect.delay

    def cancel(self, kind: str, now: float) -> None:
        """A timer is cancelled, if it is set."""
        due = self._set.pop(kind, None)
        if due is not None and self._reached(due, now):
            self._late[kind] = self._late.get(kind, 0) + 1

    def fire(self, kind: str, now: float) -> str | None:
        """A timer has fired; one line if it cannot have."""
        due = self._set.get(kind)
        if due is not None and self._reached(due, now):
            del self._set[kind]
        elif self._late.get(kind):
            self._late[kind] -= 1
        elif due is not None:
            return f"the timer '{kind}' fired {due - now:.6g} s too early"
        else:
            return f"the timer '{kind}' fired, but was not set"
        return None

    def __bool__(self) -> bool:
        """Return whether any timer is set."""
        return bool(self._set)

    def _reached(self, due: float, now: float) -> bool:
        return not self._exact or now >= due - SLACK
