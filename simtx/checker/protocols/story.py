"""A counterexample: a shortest way to a state in which a property fails, told, drawn, replayed, shrunk and exported as a test."""

from __future__ import annotations

import ast
import importlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from html import escape
from pathlib import Path
from typing import Any, Final

from simtx.checker.explorer.explore import explore
from simtx.checker.explorer.model import Step
from simtx.checker.protocols import narrate
from simtx.checker.protocols.layout import State
from simtx.checker.protocols.properties import PROPERTIES
from simtx.checker.protocols.protocol import ProtocolModel
from simtx.checker.protocols.scope import BUDGETS, Scope
from simtx.errors import ScenarioError
from simtx.event_log.log import EventLog
from simtx.protocols import Strategy
from simtx.views import view

_SHRINK_STATES: Final = 200_000
_LONGEST_ROUND: Final = 100


@dataclass(frozen=True)
class Replay:
    """Result of playing the steps of a story once more.

    Attributes:
        complete: Whether every step was possible.
        steps: How many were.
        violated: Names of the properties that fail in the state that was reached.
    """

    complete: bool
    steps: int
    violated: tuple[str, ...]

    def __repr__(self) -> str:
        end = "to the end" if self.complete else f"up to step {self.steps}"
        return f"<Replay {end}; violated: {', '.join(self.violated) or 'nothing'}>"


@dataclass(frozen=True)
class Story:
    """A shortest run that violates a property.

    Attributes:
        name: Name of the property.
        strategy: The strategy that was played.
        scope: The scope in which it was found.
        steps: One line a step; the first says what the plan is.
        trace: The same as an event log, one millisecond a step.
    """

    name: str
    strategy: Strategy
    scope: Scope
    steps: tuple[str, ...]
    trace: EventLog = field(repr=False, compare=False)

    @classmethod
    def of(cls, name: str, model: ProtocolModel, path: Sequence[Step[State]], strategy: Strategy) -> Story:
        """The story of a path of a model; one that never comes to an end goes on until it has gone round once."""
        if name == "termination":
            path = [*path, *_round(model, path[-1].state)]
        return cls(name, strategy, model.scope, tuple(narrate.lines(model, path)), narrate.trace(model, path))

    # --- telling ----------------------------------------------------------------------------------------------------------------

    @property
    def title(self) -> str:
        """Sentence that says which property is violated."""
        return f"'{self.name}' is violated, which says: {PROPERTIES.get(self.name, self.name)}"

    @property
    def text(self) -> str:
        """The numbered steps, one line each."""
        digits = len(str(len(self.steps)))
        return "\n".join(f"{number:>{digits}}. {step}" for number, step in enumerate(self.steps, start=1))

    def __str__(self) -> str:
        return f"{self.title}\n{self.text}"

    def __repr__(self) -> str:
        return f"<Story of {len(self.steps)} steps that violates '{self.name}'>"

    def _repr_html_(self) -> str:
        rows = "".join(f"<li>{escape(step)}</li>" for step in self.steps)
        return f"<p><b>{escape(self.title)}</b></p><ol>{rows}</ol>"

    def diagram(self, tx: int = 0, **options: Any) -> Any:
        """Draw it as a message diagram, its steps numbered; options are those of `simtx.report.diagram.draw`."""
        return self._drawn(self.trace, tx, **options)

    def _drawn(self, trace: EventLog, tx: int, **options: Any) -> Any:
        about = f", transaction {tx}" if self.scope.messages > 1 else ""
        title = f"{self.strategy.name}{about}: '{self.name}' is violated"
        return trace.diagram(tx, **{"steps": True, "title": title, **options})

    def slider(self, tx: int = 0) -> Any:
        """Step through it in a notebook: play, previous, next, zoom; without anywidget, the diagram and the steps as a page.

        Args:
            tx: The transaction that is drawn; the steps are those of all.
        """
        return view("player")(self.trace, tx, told=self.steps, title=self.title)

    # --- doing it again ---------------------------------------------------------------------------------------------------------

    def replay(self) -> Replay:
        """Play the same steps with the strategy's machines; the same comes of it every time."""
        return replay(self.strategy, self.scope, self.steps)

    def shrink(self) -> Story:
        """The shortest story of the same violation in a smallest scope: fewer participants and transactions, smaller budgets."""
        best = self
        changed = True
        while changed:
            changed = False
            for name in ("messages", "participants", *BUDGETS, "reads", "parallel", "contention", "unruly", "revisit"):
                for smaller in _smaller(best.scope, name):
                    story = find(self.strategy, smaller, self.name, _SHRINK_STATES)
                    if story is not None:
                        best, changed = story, True
                        break
        return best

    def to_pytest(self, path: str | Path) -> Path:
        """Write a test that fails as long as the defect is there.

        Raises:
            ScenarioError: The strategy cannot be named in a file: its class is defined in a function, a notebook or a script.
        """
        modules, expression = _constructor(self.strategy)
        options = ", ".join(f"{name}={value!r}" for name, value in self.scope.options().items())
        steps = "".join(f"    {json.dumps(step, ensure_ascii=False)},\n" for step in self.steps)
        test = re.sub(r"\W+", "_", f"{self.strategy.name}_keeps_{self.name}")
        imports = "".join(f"import {module}\n" for module in modules)
        source = (
            f'"""A run of {self.strategy.name} that violated the property \'{self.name}\'; found by simtx.verify."""\n\n'
            f"{imports}from simtx.checker import Scope, replay\n\n"
            f"STEPS = (\n{steps})\n\n\n"
            f"def test_{test}() -> None:\n"
            f'    """{PROPERTIES.get(self.name, self.name).capitalize()}."""\n'
            f"    strategy = {expression}\n"
            f"    again = replay(strategy, Scope({options}), STEPS)\n"
            f'    assert "{self.name}" not in again.violated\n'
        )
        target = Path(path)
        target.write_text(source, encoding="utf-8")
        return target


def replay(strategy: Strategy, scope: Scope, steps: Iterable[str]) -> Replay:
    """Play steps, as a story tells them, with the machines of a strategy.

    Args:
        strategy: The strategy.
        scope: The scope of the story.
        steps: Its lines.
    """
    told = list(steps)
    model = ProtocolModel(strategy, scope)
    now = [state for state in model.initial() if narrate.lines(model, [Step(None, state)]) == told[:1]]
    for number, wanted in enumerate(told[1:], start=1):
        following = {
            after: None
            for state in now
            for action, after in model.successors(state)
            if narrate.line(model, state, action, after) == wanted
        }
        if not following:
            return Replay(False, number, _violated(model, now))
        now = list(following)
    return Replay(bool(now), len(told), _violated(model, now))


def _round(model: ProtocolModel, state: State) -> list[Step[State]]:
    """The first thing that can happen, and then the first again, until a state comes that was there before."""
    seen = {state}
    steps: list[Step[State]] = []
    for _ in range(_LONGEST_ROUND):
        steps.append(Step(*next(iter(model.successors(state)))))
        state = steps[-1].state
        if state in seen:
            break
        seen.add(state)
    return steps


def _violated(model: ProtocolModel, states: Iterable[State]) -> tuple[str, ...]:
    predicates = {**model.always(), **model.judge.at_rest()}
    return tuple(name for name, holds in predicates.items() if any(not holds(state) for state in states))


def find(strategy: Strategy, scope: Scope, name: str, max_states: int | None = None) -> Story | None:
    """The shortest story of one violation in a scope, or None if there is none within the limit."""
    try:
        model = ProtocolModel(strategy, scope)
    except ScenarioError:  # the strategy cannot play so small a plan
        return None
    exploration = explore(model.model(only=name), max_states=max_states, stop_at_violation=True)
    for violation in exploration.violations:
        if violation.name == name:
            return Story.of(name, model, violation.path, strategy)
    return None


def _smaller(scope: Scope, name: str) -> list[Scope]:
    """The same scope with less of one thing, the least first."""
    value = getattr(scope, name)
    least = 1 if name in ("participants", "messages") else 0
    values: list[Any] = [False] if value is True else [] if value is False else list(range(least, value))
    found = []
    for less in values:
        changes: dict[str, Any] = {name: less}
        if name == "participants":
            changes["refusals"] = scope.refusals if scope.refusals is True else min(scope.refusals, less)
        if name == "participants" and scope.steps is not None:
            changes = {**changes, "steps": scope.steps[:less]}
        elif name == "participants":
            changes["reads"] = min(scope.reads, less)
            changes["revisit"] = scope.revisit and less > 1
            if scope.pivot is not None and scope.pivot >= less:
                changes["pivot"] = less - 1
        found.append(scope.changed(**changes))
    return found


def _constructor(strategy: Strategy) -> tuple[list[str], str]:
    """The modules to import, and an expression that makes an equal strategy."""
    kind = type(strategy)
    if kind.__module__ == "__main__" or "<locals>" in kind.__qualname__:
        raise ScenarioError(
            f"{kind.__qualname__} is defined in a function, a notebook or a script: put it into a module, so that a test can import it",
            "to_pytest",
        )
    modules = {kind.__module__}
    expression = _expression(strategy, modules)
    try:
        ast.parse(expression, mode="eval")
    except SyntaxError:
        raise ScenarioError(
            f"{expression} does not say how to make an equal strategy: make {kind.__qualname__} a dataclass, or give it a __repr__ that is Python",
            "to_pytest",
        ) from None
    for module in modules:
        importlib.import_module(module)
    return sorted(modules), expression


def _expression(value: Any, modules: set[str]) -> str:
    if not is_dataclass(value) or isinstance(value, type):
        return repr(value)
    kind = type(value)
    modules.add(kind.__module__)
    parts = [
        f"{one.name}={_expression(getattr(value, one.name), modules)}"
        for one in fields(value)
        if one.init and getattr(value, one.name) != one.default
    ]
    return f"{kind.__module__}.{kind.__qualname__}({', '.join(parts)})"
