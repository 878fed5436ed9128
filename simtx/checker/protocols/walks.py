"""Random walks through what a strategy can do in a scope, for scopes that no search exhausts.

Each walk draws a mix of faults of its own, up to what the scope allows. Then it goes on with anything that can happen until nothing can any more. A mix
without crashes goes far into what losses do, which a mix of everything hardly reaches (A. Groce and others, "Swarm testing", ISSTA 2012). A walk is its seed:
the same number takes the same way. Nothing is proved by walks; what one of them violates is a story like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random
from time import monotonic
from typing import Any, Final

from simtx.checker.explorer.exploration import Exploration
from simtx.checker.explorer.interning import by_number
from simtx.checker.explorer.model import Step
from simtx.checker.protocols.layout import ENDED, HALTED, State
from simtx.checker.protocols.protocol import ProtocolModel
from simtx.checker.protocols.reactions import Action
from simtx.checker.protocols.scope import BUDGETS
from simtx.checker.protocols.story import Story
from simtx.protocols import Strategy

LONGEST: Final = 1_000
"""Steps of a walk. Of one that has not come to rest by then, and has no fault left, `termination` asks whether it still can."""


class Walks:
    """Random walks through one model.

    Args:
        model: The model; its scope says the most of each fault.

    Attributes:
        steps: Steps that were taken so far.
        longest: Steps of the longest walk.
        stories: Property to the story of the first walk that violates it.
        seeds: Property to the seed of that walk.
        seen: Hashes of the states that were met.
    """

    def __init__(self, model: ProtocolModel) -> None:
        self.model = model
        self.steps = 0
        self.longest = 0
        self.stories: dict[str, Story] = {}
        self.seeds: dict[str, int] = {}
        self.goals: dict[str, bool] = dict.fromkeys(model.model().goals, False)
        self.seen: set[int] = set()
        self._goals = dict(model.model().goals)
        self._events: dict[int, tuple[Any, str]] = {}  # by identity, since events are deep; the values keep them alive
        self._always = model.judge.always()
        self._at_rest = model.judge.at_rest()
        self._ends = model.termination()

    def walk(self, seed: int, strategy: Strategy) -> None:
        """Take one walk, and note what it violates."""
        chance = Random(seed)  # noqa: S311 - nothing secret
        scope = self.model.scope
        # The last budget is younger than seeds that people keep: where there is none of it, the walk of a seed stays what it was.
        budgets = BUDGETS if scope.dead_letters else BUDGETS[:-1]
        drawn = {name: chance.randint(0, getattr(scope, name)) for name in budgets}
        budget = sum(number << 4 * position for position, number in enumerate(drawn.values()))
        self.model.judge.given(budget)
        start = chance.choice(self.model.initial())
        path = [Step(None, (*start[:4], budget, start[5]))]
        for state in self._way(path, chance):
            ended = state[5] & ENDED
            for name, holds in {**self._always, **(self._at_rest if ended else {})}.items():
                if name not in self.stories and not holds(state):
                    story = Story.of(name, self.model, path, strategy)
                    self.stories[name] = replace(story, scope=scope.changed(**drawn))
                    self.seeds[name] = seed
            for name, reached in self._goals.items():
                self.goals[name] = self.goals[name] or bool(reached(state))
        if "termination" not in self.stories and not self._ends(path[-1].state):
            story = Story.of("termination", self.model, path, strategy)
            self.stories["termination"] = replace(story, scope=scope.changed(**drawn))
            self.seeds["termination"] = seed
        self.steps += len(path) - 1
        self.longest = max(self.longest, len(path))
        self.model.judge.given(scope.budget())

    def _way(self, path: list[Step[State]], chance: Random) -> Iterator[State]:
        state = path[0].state
        yield state
        while not state[5] & (ENDED | HALTED) and len(path) < LONGEST:
            step = chance.choice(sorted(self.model.successors(state), key=self._place))
            path.append(Step(*step))
            state = path[-1].state
            self.seen.add(hash(state))
            yield state

    def _place(self, step: tuple[Action, State]) -> tuple[Any, ...]:
        """Key that steps are sorted by, of nothing that depends on the walks before, such as the numbers that stand for what is in flight."""
        action, after = step
        lost = sorted(self._words(number) for number in after[1]) if "lost" in action.note else []
        what = "" if action.event is None else self._event(action.event)
        item = "" if action.item < 0 else self._words(action.item)
        return action.kind, action.node, what, item, action.choice, action.fail, action.note, lost

    @by_number
    def _words(self, number: int) -> str:
        return repr(self.model.items[number])

    def _event(self, event: Any) -> str:
        known = self._events.get(id(event))
        if known is None:
            known = self._events[id(event)] = (event, repr(event))
        return known[1]


def walked(
    model: ProtocolModel, strategy: Strategy, count: int, seed: int, stop: Callable[[], bool]
) -> tuple[Walks, Exploration]:
    """Take so many walks, of the seeds that follow each other, and give the account that a search gives; it is never complete.

    Args:
        model: The model.
        strategy: The strategy as it was given.
        count: Walks.
        seed: Seed of the first.
        stop: Whether to stop before the next one.
    """
    started = monotonic()
    walks = Walks(model)
    taken = 0
    for number in range(seed, seed + count):
        if stop():
            break
        walks.walk(number, strategy)
        taken += 1
    exploration = Exploration(
        model=model.strategy.name,
        complete=False,
        stopped=f"{taken:,} random walks from seed {seed}" + ("" if taken == count else f", of {count:,}"),
        states=len(walks.seen),
        transitions=walks.steps,
        levels=(1,) * walks.longest,
        invariants=tuple(dict.fromkeys((*model.judge.always(), "termination", *model.judge.at_rest()))),
        seconds=monotonic() - started,
    )
    return walks, exploration
