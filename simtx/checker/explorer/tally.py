"""Tally of one exploration: what is open, found and counted, whether one process searches or several."""

from time import monotonic
from typing import Generic

from simtx.checker.explorer.engine import Compiled, Options
from simtx.checker.explorer.exploration import ActionCount, Exploration, Progress, Violation, Witness
from simtx.checker.explorer.model import Predicate, S
from simtx.errors import ScenarioError


class Tally(Generic[S]):
    """Open properties, findings and counts."""

    def __init__(self, compiled: Compiled[S], options: Options) -> None:
        self.compiled = compiled
        self.options = options
        self.started = monotonic()
        self.stopped = ""
        self.levels: list[int] = []
        self.transitions = 0
        self.expanded = 0
        self.terminal = 0
        self.violations: list[Violation] = []
        self.deadlocks: list[Witness] = []
        self.deadlock_count = 0
        self.goals: dict[str, Witness] = {}
        self._reported = self.started

    @property
    def states(self) -> int:
        """Distinct states of all complete levels."""
        return sum(self.levels)

    @property
    def must_stop(self) -> bool:
        """Return whether a violation ends the search."""
        return self.options.stop_at_violation and bool(self.violations or self.deadlock_count)

    def open_properties(self) -> list[tuple[str, str]]:
        """Pairs (kind, name) of the invariants not yet violated and the goals not yet reached, in declared order."""
        violated = {violation.name for violation in self.violations}
        properties = [("invariant", name) for name in self.compiled.invariants if name not in violated]
        return properties + [("goal", name) for name in self.compiled.goals if name not in self.goals]

    def open_terminal(self) -> list[str]:
        """Terminal invariants not yet violated."""
        violated = {violation.name for violation in self.violations}
        return [name for name in self.compiled.terminal_invariants if name not in violated]

    def record(self, kind: str, name: str, states: list[S]) -> None:
        """Note a finding, given the states of a shortest path to it."""
        model = self.compiled.model
        path = model.path(states, symmetry=self.options.symmetry)
        if self.options.symmetry:
            holds = self.predicate(kind, name)
            if bool(holds(path[-1].state)) != bool(holds(states[-1])):
                raise ScenarioError(
                    f"{name!r} tells apart states that canonical maps to one: {model.show(path[-1].state)}",
                    where=f"model {model.name!r}",
                )
        if kind == "goal":
            self.goals[name] = Witness(name, path, model.show)
        elif kind == "deadlock":
            self.deadlocks.append(Witness(name, path, model.show))
        else:
            self.violations.append(Violation(name, path, model.show))

    def predicate(self, kind: str, name: str) -> Predicate[S]:
        """The predicate of a property, by kind and name."""
        compiled = self.compiled
        if kind == "deadlock":
            assert compiled.deadlocked is not None  # noqa: S101  # deadlocks are recorded only where they are asked for
            return compiled.deadlocked
        tables = {
            "goal": compiled.goals,
            "invariant": compiled.invariants,
            "terminal": compiled.terminal_invariants,
        }
        return tables[kind][name]

    def tell(self, depth: int, done: int, frontier: int, states: int) -> None:
        """Report progress, a few times a second at most."""
        now = monotonic()
        if self.options.progress is not None and now - self._reported > 0.2:
            self._reported = now
            self.options.progress(Progress(states, depth, done, frontier, now - self.started))

    def result(self) -> Exploration:
        """The finished account."""
        compiled = self.compiled
        order = {name: index for index, name in enumerate([*compiled.invariants, *compiled.terminal_invariants])}
        self.violations.sort(key=lambda violation: (violation.depth, order[violation.name]))
        coverage = {label: ActionCount(*count) for label, count in compiled.counts.items()}
        return Exploration(
            model=compiled.model.name,
            complete=not self.stopped,
            stopped=self.stopped,
            states=self.states,
            transitions=self.transitions,
            levels=tuple(self.levels),
            unexpanded=self.states - self.expanded,
            terminal=self.terminal,
            violations=self.violations,
            deadlocks=self.deadlocks,
            deadlock_count=self.deadlock_count,
            goals={name: self.goals.get(name) for name in compiled.goals},
            invariants=tuple(order),
            coverage=coverage if self.options.coverage else None,
            seconds=monotonic() - self.started,
            workers=self.options.workers,
            symmetry=self.options.symmetry,
        )
