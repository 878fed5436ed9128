"""Result of an exploration: counts, counterexamples and witnesses, and whether it saw everything."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from html import escape
from typing import Any, Literal, NamedTuple

from simtx.banner import banner
from simtx.checker.explorer.model import Step

DEADLOCKS_KEPT = 10
"""Number of deadlocks that are kept with their paths; all are counted."""


@dataclass(frozen=True)
class Witness:
    """A named state and a shortest path to it.

    Attributes:
        name: Of the goal or the invariant, or "deadlock".
        path: Steps (action, state) from an initial state, whose action is None.
        show: Renders a state on one line.
    """

    name: str
    path: list[Step[Any]]
    show: Callable[[Any], str] = field(default=repr, repr=False, compare=False)

    @property
    def state(self) -> Any:
        """The last state of the path."""
        return self.path[-1].state

    @property
    def depth(self) -> int:
        """Length of the path in levels; an initial state is level 1."""
        return len(self.path)

    def story(self) -> str:
        """The path as numbered lines: action and the state it leads to."""
        width = max(len(_label(step.action)) for step in self.path)
        digits = len(str(len(self.path)))
        return "\n".join(
            f"{number:>{digits}}. {_label(step.action):<{width}}  {self.show(step.state)}"
            for number, step in enumerate(self.path, start=1)
        )

    def __str__(self) -> str:
        return f"{self.name}\n{self.story()}"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{number}</td><td>{escape(_label(step.action))}</td><td><code>{escape(self.show(step.state))}</code></td></tr>"
            for number, step in enumerate(self.path, start=1)
        )
        return (
            f"<table><caption>{escape(self.name)}</caption>"
            f"<tr><th>step</th><th>action</th><th>state</th></tr>{rows}</table>"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without `show`, which is often a lambda."""
        return type(self), (self.name, self.path)


@dataclass(frozen=True)
class Violation(Witness):
    """An invariant that does not hold, and a shortest path to a state where it fails."""

    @property
    def invariant(self) -> str:
        """Name of the invariant."""
        return self.name


class ActionCount(NamedTuple):
    """Count of an action: all its transitions, and those among them that led from a state to itself."""

    transitions: int
    self_loops: int


@dataclass(frozen=True)
class Progress:
    """Progress of a search; passed to the `progress` function.

    Attributes:
        states: Distinct states found in complete levels, at least.
        depth: The level that is being expanded.
        expanded: States of this level that are done.
        frontier: States of this level.
        seconds: Since the start.
    """

    states: int
    depth: int
    expanded: int
    frontier: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Exploration:
    """The result of `explore`.

    Attributes:
        model: Its name.
        complete: Whether every reachable state was visited. Only then is the absence of a violation a proof, and an unreached
            goal unreachable.
        stopped: Why the search ended early; empty when complete.
        states: Distinct states.
        transitions: Steps out of all expanded states, as the model yields them: several steps between the same two states
            and steps from a state to itself count each. (TLC's "states generated" is this plus the initial states.)
        levels: Distinct states by the length of their shortest path; `levels[0]` are the initial states.
        unexpanded: States found whose successors were not computed; 0 when complete.
        terminal: States without successors.
        violations: One for each violated invariant, with a shortest path; shortest first.
        deadlocks: The first ten deadlocks, shortest path first, if the model asks for them.
        deadlock_count: All deadlocks.
        goals: Goal to its witness with a shortest path, or to None when it was not reached.
        invariants: Names of all invariants that were checked, terminal ones last.
        coverage: Action label to its counts, if asked for. Of an incomplete search it may include expansions that a limit
            then discarded.
        seconds: Wall-clock time.
        workers: Processes that expanded states.
        symmetry: Whether states are representatives of symmetry classes.
        engine: ``fast`` if the model's own faster search has searched, ``interpreted`` if the search in Python has, in one process or in several.
        engine_reason: Why a model that has a faster search was searched without it, as the rest of a sentence; empty otherwise.
    """

    model: str
    complete: bool
    stopped: str
    states: int
    transitions: int
    levels: tuple[int, ...]
    unexpanded: int = 0
    terminal: int = 0
    violations: list[Violation] = field(default_factory=list)
    deadlocks: list[Witness] = field(default_factory=list)
    deadlock_count: int = 0
    goals: dict[str, Witness | None] = field(default_factory=dict)
    invariants: tuple[str, ...]
    coverage: dict[Hashable, ActionCount] | None = None
    seconds: float
    workers: int = 1
    symmetry: bool = False
    engine: Literal["fast", "interpreted"] = "interpreted"
    engine_reason: str = ""

    @property
    def depth(self) -> int:
        """The longest of all shortest paths, in levels; an initial state is level 1."""
        return len(self.levels)

    @property
    def reached(self) -> tuple[str, ...]:
        """Goals with a witness."""
        return tuple(name for name, witness in self.goals.items() if witness is not None)

    @property
    def unreached(self) -> tuple[str, ...]:
        """Goals without a witness; unreachable only if the exploration is complete."""
        return tuple(name for name, witness in self.goals.items() if witness is None)

    @property
    def self_loops(self) -> int | None:
        """Transitions from a state to itself; None unless explored with `coverage=True`."""
        return None if self.coverage is None else sum(count.self_loops for count in self.coverage.values())

    @property
    def states_per_second(self) -> float:
        """Distinct states per second of wall-clock time."""
        return self.states / self.seconds if self.seconds else 0.0

    @property
    def passed(self) -> bool:
        """True when the search is complete, every invariant holds, no deadlock exists and every goal was reached."""
        return self.complete and not self.violations and not self.deadlock_count and not self.unreached

    def _findings(self) -> list[tuple[str, str]]:
        """Pairs (verdict, subject): one for each property."""
        violated = {violation.name: violation for violation in self.violations}
        holds = "holds" if self.complete else "no violation found"
        rows = []
        for name in self.invariants:
            found = violated.get(name)
            rows.append((f"VIOLATED at depth {found.depth}" if found else holds, f"invariant {name}"))
        if self.deadlock_count:
            rows.append((f"{self.deadlock_count:,}, the first at depth {self.deadlocks[0].depth}", "DEADLOCK"))
        for name, witness in self.goals.items():
            missing = "UNREACHABLE" if self.complete else "not reached"
            rows.append((f"reached at depth {witness.depth}" if witness else missing, f"goal {name}"))
        return rows

    @property
    def verdict(self) -> bool | None:
        """Good, bad, or open: nothing found so far, and not everything visited."""
        found = self.violations or self.deadlock_count
        return None if not self.complete and not found else self.complete and not found and not self.unreached

    @property
    def summary(self) -> str:
        """The verdict in a few words."""
        if self.violations:
            return f"REFUTED on {', '.join(violation.name for violation in self.violations)}"
        if self.deadlock_count:
            return "DEADLOCK"
        if not self.complete:
            return f"no violation found, INCOMPLETE ({self.stopped})"
        return f"never happens: {', '.join(self.unreached)}" if self.unreached else "holds"

    def as_dict(self) -> dict[str, Any]:
        """Plain values only, for machines. A property that is not refuted so far, and a goal not reached so far, is None."""
        violated = {violation.name for violation in self.violations}
        proved = True if self.complete else None
        return {
            "model": self.model,
            "ok": self.passed,
            "complete": self.complete,
            "stopped": self.stopped,
            "states": self.states,
            "transitions": self.transitions,
            "depth": self.depth,
            "seconds": self.seconds,
            "properties": {name: False if name in violated else proved for name in self.invariants},
            "violations": {
                violation.name: [f"{_label(step.action)}: {violation.show(step.state)}" for step in violation.path]
                for violation in self.violations
            },
            "deadlocks": self.deadlock_count,
            "goals": {
                name: True if witness is not None else False if self.complete else None
                for name, witness in self.goals.items()
            },
        }

    def _headline(self) -> str:
        extent = "complete" if self.complete else f"incomplete ({self.stopped})"
        classes = " up to symmetry" if self.symmetry else ""
        return (
            f"{self.model}: {extent}, {self.states:,} states{classes}, {self.transitions:,} transitions, depth {self.depth}, "
            f"{self.seconds:.2f} s"
        )

    def __str__(self) -> str:
        lines = [self._headline()]
        lines += [f"  {subject}: {verdict}" for verdict, subject in self._findings()]
        for witness in [*self.violations, *self.deadlocks[:1]]:
            lines += ["", str(witness)]
        return "\n".join(lines)

    def __repr__(self) -> str:
        problems = [f"violated: {violation.name}" for violation in self.violations]
        problems += [f"deadlocks: {self.deadlock_count}"] if self.deadlock_count else []
        problems += [f"unreached: {name}" for name in self.unreached]
        return f"<Exploration {self._headline()}{''.join('; ' + problem for problem in problems)}>"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{escape(subject)}</td><td>{escape(verdict)}</td></tr>" for verdict, subject in self._findings()
        )
        stories = "".join(witness._repr_html_() for witness in [*self.violations, *self.deadlocks[:1]])
        return f"{banner(self.verdict, self._headline())}<table>{rows}</table>{stories}"


def _label(action: Hashable | None) -> str:
    """An action's label as text; labels that are tuples read as a call, ("Prepare", 1) as Prepare(1)."""
    if action is None:
        return "initially"
    if isinstance(action, tuple) and action and isinstance(action[0], str):
        return f"{action[0]}({', '.join(map(str, action[1:]))})"
    return str(action)
