"""Keeps results about a scenario while it lives: whether both engines agree on it, and what was learned of the machines that play it."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary, ref

from simtx.engine.learn import Learner

if TYPE_CHECKING:
    from simtx.protocols import Strategy
    from simtx.scenario import Scenario

_KEPT: Final = 4  # learners of one strategy, which runs in threads use at the same time
_MOST: Final = 20_000  # pairs: a learner that has more is not worth its memory

Options = tuple[type, bytes]
"""A strategy by its class and what is stored of it."""


@dataclass
class Memory:
    """Memory of one scenario.

    Attributes:
        agreed: In what the two engines differ, by class and options of a strategy; empty if in nothing.
        learners: Those that no run uses at present.
        unknown: A field that the compiled engine does not know, as the rest of a sentence; empty: it knows all; None: nobody has looked.
    """

    agreed: dict[tuple[type, str], str] = field(default_factory=dict)
    learners: dict[Options, list[Learner]] = field(default_factory=dict)
    unknown: str | None = None

    def learner(self, strategy: Strategy) -> Learner | None:
        """A learner that has played this strategy before, or None; it belongs to the caller until it is given back."""
        options = _options(strategy)
        idle = self.learners.get(options) if options is not None else None
        try:
            return idle.pop() if idle else None
        except IndexError:  # another thread was faster
            return None

    def give_back(self, strategy: Strategy, learner: Learner) -> None:
        """Keep a learner for the next run."""
        options = _options(strategy)
        if options is None or learner.size[1] > _MOST:
            return
        idle = self.learners.setdefault(options, [])
        if len(idle) < _KEPT:
            idle.append(learner)


_by_value: WeakKeyDictionary[Scenario, Memory] = WeakKeyDictionary()
_by_identity: dict[int, tuple[ref[Scenario], Memory]] = {}  # the same, without a comparison of whole scenarios


def memory(scenario: Scenario) -> Memory:
    """Results about a scenario, or about one that is equal."""
    place = id(scenario)
    known = _by_identity.get(place)
    if known is not None and known[0]() is scenario:
        return known[1]
    found = _by_value.setdefault(scenario, Memory())
    _by_identity[place] = ref(scenario, lambda _: _by_identity.pop(place, None)), found
    return found


def _options(strategy: Strategy) -> Options | None:
    """None: nobody can say whether another one is the same."""
    try:
        return type(strategy), pickle.dumps(strategy)
    except Exception:  # noqa: BLE001 - a user's class may raise anything
        return None
