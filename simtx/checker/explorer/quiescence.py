"""Quiescence: whether every run can still come to rest. The properties at rest say nothing about one that goes on for ever.

A run may never come to a state in which nothing more can happen: two machines answer each other without waiting, or a relay changes with
every poll. Such a trap is a part of the graph without a way to an end. It is liveness, without a notion of fairness: an end must
stay possible.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random
from time import monotonic
from typing import Any, Final, Generic

from simtx.checker.explorer.model import Predicate, S
from simtx.errors import ScenarioError

_LONG: Final = 1_000
"""Steps of a way on which no end has come; the longest that the protocols of simtx take is a tenth of it."""
_WIDE: Final = 5_000
"""States that a search of every way looks at."""
_WALKS: Final = 3
"""Random walks where there are more."""


class Termination(Generic[S]):
    """The property `termination`, as a predicate of states.

    Mostly the first thing that can happen, and then the first again, leads in a few steps to an end, or to a state that is known to have
    one. Only where that goes round in a circle every way is looked at. States are known by their hashes, which are a tenth of their size:
    two that share one could at worst hide a trap of a single state.

    A machine that counts how often it has answered itself goes round in no circle: each state is another one. So a way that is longer than any
    that leads to an end is left for random ones, which favour nobody: whatever can end it gets its turn. If none of them comes to an end
    either, there is none, as far as anybody could wait for it.

    Args:
        successors: Everything that can happen in a state.
        ended: Whether a state is an end.
        excused: Whether a state is not asked for a way to an end.
        deadline: When to give up looking, by the monotonic clock: the search that asks is over then, too, and is not complete.
    """

    def __init__(
        self,
        successors: Callable[[S], Iterable[tuple[Any, S]]],
        ended: Predicate[S],
        excused: Predicate[S] | None = None,
        deadline: float | None = None,
    ) -> None:
        self._successors = successors
        self._ended = ended
        self._excused = excused
        self._deadline = deadline
        self._ending: set[int] = set()

    def __call__(self, state: S) -> bool:
        """Return whether there is a way to an end, or the state is excused."""
        if self._excused is not None and self._excused(state):
            return True
        try:
            return self._ends(state)
        except ScenarioError:  # of a state on the way: the search comes there itself, and tells of it
            return True

    def late(self) -> bool:
        """Return whether the time to look is over."""
        return self._deadline is not None and monotonic() >= self._deadline

    def _ends(self, state: S) -> bool:
        ending = self._ending
        way: dict[int, None] = {}
        here = state
        while not self._ended(here):
            key = hash(here)
            if key in ending:
                break
            # A circle: the first choice never ends. Or it grows without end, which no circle shows. Only then is more than one way looked at.
            if key in way or len(way) >= _LONG:
                if not (self._has_end(state) if key in way else self._comes_to_an_end(state)):
                    return False
                ending.add(hash(state))
                return True
            # Without time to look, nothing is claimed: the exploration is incomplete by then, and says so.
            if self.late():
                return True
            way[key] = None
            _, here = next(iter(self._successors(here)))
        ending.update(way)
        return True

    def _has_end(self, state: S) -> bool:
        """Return whether any way leads to an end, by a search of all; if they are too many, by some of them."""
        seen = {state}
        ahead = [state]
        while ahead and len(seen) < _WIDE:
            if self.late():
                return True
            for _, after in self._successors(ahead.pop()):
                if self._ended(after):
                    return True
                if after not in seen:
                    seen.add(after)
                    ahead.append(after)
        return bool(ahead) and self._comes_to_an_end(state)

    def _comes_to_an_end(self, state: S) -> bool:
        """Return whether one of some random ways leads to an end; always the same ones."""
        # The same ways in every search and process, so that a verdict can be repeated.
        chance = Random(0)  # noqa: S311 - nothing secret
        for _ in range(_WALKS):
            here = state
            for _ in range(_LONG):
                if self._ended(here) or hash(here) in self._ending or self.late():
                    return True
                here = chance.choice([after for _, after in self._successors(here)])
        return False
