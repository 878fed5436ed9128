"""A derived store of one key as a model for the explorer: writers, readers, updates on their way, and what may go wrong.

A state holds the version of the source, the copy, what writers and readers have done so far, and the updates on their way. Updates by event wait in the order of the commits;
`overtakes` is how often a later one may be delivered first. Those by the writer come in any order, as writers are different processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from simtx.checker.explorer.model import Model
from simtx.protocols.derived.copies import Copy, CopyRule

PROPERTIES: Final = {
    "fresh-at-rest": "when nothing is on its way any more, the copy is that of the last commit, or there is none to be filled",
    "never-back": "the copy never shows a version older than one that it has shown",
    "no-ghost": "the copy shows nothing that was not committed",
}


@dataclass(frozen=True, kw_only=True)
class CopyScope:
    """Bounds of an exploration.

    Attributes:
        writes: Commits of the key.
        reads: Reads of the copy.
        crashes: Writers that may crash between their commit and the update.
        losses: Updates by event that may be lost.
        duplicates: Updates by event that may come again.
        overtakes: Updates by event that may overtake one before them.
        lags: Readers that may read the source from a replica that is one commit behind.
        deleted: Whether the last commit deletes the key.
    """

    writes: int = 2
    reads: int = 2
    crashes: int = 0
    losses: int = 0
    duplicates: int = 1
    overtakes: int = 1
    lags: int = 0
    deleted: bool = False


class Reader(NamedTuple):
    """A reader: it has missed, and may have read the source."""

    lease: int
    version: int | None = None


class CopyState(NamedTuple):
    """A state. `writers` are versions that a writer has committed and not told yet; `shown` is the highest version that the copy has had."""

    source: int
    copy: Copy
    shown: int
    begun: int
    writers: tuple[int, ...]
    events: tuple[int, ...]
    unread: int
    readers: tuple[Reader, ...]
    crashes: int
    losses: int
    duplicates: int
    overtakes: int
    lags: int


def copy_model(rule: CopyRule, scope: CopyScope) -> Model[CopyState]:
    """The model of one key under a rule."""
    game = _Copies(rule, scope)
    # An index begins with what is there; a cache begins empty.
    first = Copy(None if rule.fill else 0)
    start = CopyState(
        source=0,
        copy=first,
        shown=0,
        begun=0,
        writers=(),
        events=(),
        unread=scope.reads,
        readers=(),
        crashes=scope.crashes,
        losses=scope.losses,
        duplicates=scope.duplicates,
        overtakes=scope.overtakes,
        lags=scope.lags,
    )
    goals = {"the copy shows the last commit": lambda state: state.copy.version == scope.writes}
    if scope.deleted or not (rule.update == "copy" or scope.reads):
        goals = {}
    return Model(
        name=_name(rule),
        initial=[start],
        successors=game.steps,
        invariants={
            "never-back": lambda state: state.copy.version is None or state.copy.version >= state.shown,
            "no-ghost": lambda state: state.copy.version is None or state.copy.version <= state.source,
        },
        terminal_invariants={"fresh-at-rest": game.fresh},
        goals=goals,
        show=game.show,
    )


def _name(rule: CopyRule) -> str:
    parts = [f"{rule.update} by {rule.by}" if rule.update != "none" else "no updates"]
    parts += ["filled by readers"] if rule.fill else []
    parts += [f"checks the {rule.check}" if rule.check != "none" else "checks nothing"]
    parts += ["expires"] if rule.expires else []
    parts += [] if rule.tombstones else ["forgets tombstones"]
    return ", ".join(parts)


@dataclass(frozen=True)
class _Copies:
    rule: CopyRule
    scope: CopyScope

    def steps(self, state: CopyState) -> Iterator[tuple[str, CopyState]]:
        """All that can happen next."""
        yield from self._writers(state)
        yield from self._events(state)
        yield from self._readers(state)
        if self.rule.expires and state.copy.version is not None:
            yield "the copy expires", state._replace(copy=self.rule.gone(state.copy))

    def _writers(self, state: CopyState) -> Iterator[tuple[str, CopyState]]:
        rule, before = self.rule, self.rule.by == "writer-before" and self.rule.update != "none"
        if before and state.begun < self.scope.writes:
            told = self._put(state, rule.updated(state.copy, state.begun + 1))
            yield "a writer invalidates, then begins its commit", told._replace(begun=state.begun + 1)
        if state.source < (state.begun if before else self.scope.writes):
            version = state.source + 1
            done = state._replace(source=version)
            if rule.update != "none" and rule.by == "event":
                done = done._replace(events=(*state.events, version))
            elif rule.update != "none" and rule.by == "writer":
                done = done._replace(writers=(*state.writers, version))
            what = "deleted" if self._deleted(version) else "committed"
            yield f"version {version} is {what}", done
        for version in state.writers:
            rest = state._replace(writers=tuple(other for other in state.writers if other != version))
            yield f"the writer of version {version} updates the copy", self._update(rest, version)
            if state.crashes:
                yield f"the writer of version {version} crashes", rest._replace(crashes=state.crashes - 1)

    def _events(self, state: CopyState) -> Iterator[tuple[str, CopyState]]:
        for place, version in enumerate(state.events):
            if place and not state.overtakes:
                break
            rest = state.events[:place] + state.events[place + 1 :]
            taken = state._replace(events=rest, overtakes=state.overtakes - bool(place))
            ahead = " ahead of one before it" if place else ""
            yield f"the event of version {version} arrives{ahead}", self._update(taken, version)
            if state.duplicates:
                again = state._replace(duplicates=state.duplicates - 1, overtakes=state.overtakes - bool(place))
                yield (
                    f"the event of version {version} arrives{ahead}, and will come again",
                    self._update(again, version),
                )
            if state.losses:
                yield f"the event of version {version} is lost", taken._replace(losses=state.losses - 1)

    def _readers(self, state: CopyState) -> Iterator[tuple[str, CopyState]]:
        if not self.rule.fill:
            return
        if state.unread and state.copy.version is None:
            reader = Reader(self.rule.lease(state.copy))
            yield "a reader misses", state._replace(unread=state.unread - 1, readers=_sorted(*state.readers, reader))
        for place, reader in enumerate(state.readers):
            rest = state.readers[:place] + state.readers[place + 1 :]
            if reader.version is not None:
                filled = self.rule.filled(state.copy, reader.version, reader.lease)
                yield (
                    f"a reader fills version {reader.version} in{' and is refused' if filled is None else ''}",
                    self._put(state._replace(readers=rest), filled),
                )
                continue
            read = reader._replace(version=state.source)
            yield f"the reader reads version {state.source}", state._replace(readers=_sorted(*rest, read))
            if state.lags and state.source:
                read = reader._replace(version=state.source - 1)
                yield (
                    f"the reader reads version {state.source - 1} from a replica",
                    state._replace(readers=_sorted(*rest, read), lags=state.lags - 1),
                )

    def _deleted(self, version: int) -> bool:
        return self.scope.deleted and version == self.scope.writes

    def _update(self, state: CopyState, version: int) -> CopyState:
        return self._put(state, self.rule.updated(state.copy, version, deleted=self._deleted(version)))

    @staticmethod
    def _put(state: CopyState, copy: Copy | None) -> CopyState:
        """The state with another copy. What it showed until now is not forgotten."""
        if copy is None:
            return state
        return state._replace(copy=copy, shown=max(state.shown, state.copy.version or 0))

    def fresh(self, state: CopyState) -> bool:
        """Return whether the copy is as it has to be when nothing is on its way."""
        version = state.copy.version
        if self._deleted(state.source):
            return version is None
        return version == state.source or (version is None and self.rule.fill)

    def show(self, state: CopyState) -> str:
        """A state on one line."""
        copy = "no copy" if state.copy.version is None else f"copy of version {state.copy.version}"
        parts = [f"source at {state.source}, {copy}"]
        if state.events or state.writers:
            parts.append("updates on their way: " + ", ".join(map(str, (*state.events, *state.writers))))
        return "; ".join(parts)


def _sorted(*readers: Reader) -> tuple[Reader, ...]:
    """Readers are alike: who is who makes no other state."""
    return tuple(sorted(readers, key=lambda reader: (reader.lease, -1 if reader.version is None else reader.version)))
