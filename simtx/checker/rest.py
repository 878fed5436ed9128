"""Whether a run can still come to rest: the properties at rest say nothing about one that goes on for ever.

Two machines that answer each other without waiting, or a relay that changes with every poll, keep a state from ever being one in which
nothing more can happen. Such a trap is a part of the graph without a way to an end. While faults are in the budget it is not looked for:
the same trap is there, in a smaller scope, when they are spent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from simtx.checker.layout import ENDED, HALTED, State
from simtx.errors import ScenarioError

_MOST: Final = 50_000
"""States that a search for an end looks at; beyond that the run gets the benefit of the doubt."""


class Termination:
    """The property `termination`, as a predicate of states.

    Mostly the first thing that can happen, and then the first again, leads to an end, in a few steps, or to a state that is known to have
    one. Only where that goes round in a circle every way is looked at. States are known by their hashes, which are a tenth of their size:
    two that share one could at worst hide a trap of a single state.

    Args:
        successors: Everything that can happen in a state.
    """

    def __init__(self, successors: Callable[[State], Iterable[tuple[Any, State]]]) -> None:
        self._successors = successors
        self._ending: set[int] = set()

    def __call__(self, state: State) -> bool:
        """Whether there is a way to an end, or faults are left in the budget."""
        if state[4]:
            return True
        try:
            return self._ends(state)
        except ScenarioError:  # of a state on the way: the search comes there itself, and tells of it
            return True

    def _ends(self, state: State) -> bool:
        ending = self._ending
        way: dict[int, None] = {}
        here = state
        while not here[5] & (ENDED | HALTED) and len(way) < _MOST:
            key = hash(here)
            if key in ending:
                break
            if key in way:
                if not self._has_end(state):
                    return False
                ending.add(hash(state))
                return True
            way[key] = None
            _, here = next(iter(self._successors(here)))
        ending.update(way)
        return True

    def _has_end(self, state: State) -> bool:
        seen = {state}
        ahead = [state]
        while ahead and len(seen) < _MOST:
            for _, after in self._successors(ahead.pop()):
                if after[5] & (ENDED | HALTED):
                    return True
                if after not in seen:
                    seen.add(after)
                    ahead.append(after)
        return bool(ahead)
