"""`simtx.verify`: every interleaving and every crash point of a protocol in a small scope, on the machines that are simulated."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from time import monotonic
from typing import Any, Final, Literal, Unpack

from simtx.arguments import choice, in_bytes, named, require, with_fields
from simtx.banner import banner, marked
from simtx.checker.explorer.exploration import Exploration, Progress
from simtx.checker.explorer.explore import ASKED, arguments_of, explore
from simtx.checker.protocols.properties import ALWAYS, AT_REST
from simtx.checker.protocols.protocol import ProtocolModel
from simtx.checker.protocols.scope import Scope, ScopeOptions, steps_of
from simtx.checker.protocols.story import Story
from simtx.checker.protocols.walks import walked
from simtx.engine.choices import ENGINES, Engine, wanted
from simtx.errors import ScenarioError
from simtx.protocols import Machine, Strategy
from simtx.protocols import strategy as strategy_of
from simtx.protocols.extras import extras
from simtx.scenario import Scenario, load

MATTERS: Final = 50_000
"""States from which on a search says by itself that it was interpreted."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Result of an exhaustive exploration of a strategy, and how far it reaches.

    Attributes:
        strategy: Name of the strategy.
        scope: What was explored: plans and budgets of faults.
        complete: Whether all of it was explored. Only then is the absence of a violation a proof, for this scope.
        stopped: Why the exploration is not complete; empty if it is.
        states: Distinct states.
        transitions: Steps between them.
        depth: Length of the longest of all shortest paths; an initial state has depth 1.
        seconds: Wall-clock time.
        checked: Names of the properties; those about a broker only where there is one.
        violations: Property to a shortest story that violates it, shortest first.
        goals: Whether each state that must be reachable (a commit, an abort, a recovery) was reached.
        not_covered: Parts of the transition tables that this exploration has not reached: states, rows, states that a row
            may lead to.
        covered: The rows that were taken: (role, state, event, state afterwards).
        messages: Kinds of the messages that were sent.
        recovered: What restarts have found: (role, kind of the last record, state afterwards).
        expected: Properties that the strategy is known not to have, with the reason.
        undeclared: Transitions that happened and that no transition table has, which is untidy and does not count.
        symmetry: Which participants are alike, so that one state of each orbit is counted; that none are;
            or nothing, if it was not asked for.
        engine: ``fast`` if the loop in C has searched, all of it; ``interpreted`` if Python has, or has taken walks.
        engine_reason: Why Python has searched, as the rest of a sentence; empty if it has not, or if these are walks.
    """

    strategy: str
    scope: Scope
    complete: bool
    stopped: str
    states: int
    transitions: int
    depth: int
    seconds: float
    checked: tuple[str, ...]
    violations: dict[str, Story]
    goals: dict[str, bool]
    not_covered: tuple[str, ...]
    covered: frozenset[tuple[str, str, str, str]] = field(repr=False)
    messages: frozenset[str] = field(repr=False)
    recovered: frozenset[tuple[str, str, str]] = field(repr=False)
    expected: dict[str, str] = field(repr=False)
    undeclared: tuple[str, ...] = ()
    symmetry: str = ""
    engine: Literal["fast", "interpreted"] = "interpreted"
    engine_reason: str = ""

    @property
    def ok(self) -> bool:
        """Return whether everything was explored, every property holds, and what must be possible is."""
        return self.complete and not self.violations and all(self.goals.values())

    @property
    def holds(self) -> tuple[str, ...]:
        """Properties that hold in all of the scope; none, as long as not all of it was explored."""
        return tuple(name for name in self.checked if self._proved(name))

    def __bool__(self) -> bool:
        return self.ok

    @property
    def headline(self) -> str:
        """The verdict on one line."""
        if self.violations:
            verdict = f"REFUTED on {', '.join(self.violations)}"
            if not self.complete:
                verdict += f"; INCOMPLETE ({self.stopped}): more may be violated"
        elif not self.complete:
            verdict = f"no violation found, INCOMPLETE ({self.stopped})"
        elif missing := [name for name, reached in self.goals.items() if not reached]:
            verdict = f"nothing violated, but out of reach: {', '.join(missing)}"
        else:
            verdict = "holds"
        return f"{self.strategy}: {verdict}"

    @property
    def warnings(self) -> list[str]:
        """Remarks on the search beside its result, a line each: that it was slower than it need be, where it had much to do."""
        if self.engine == "fast" or self.engine_reason in ("", ASKED) or self.states < MATTERS:
            return []
        return [
            f"searched by the interpreted engine, ten to twenty times slower than the fast one: {self.engine_reason}"
        ]

    @property
    def verdict(self) -> bool | None:
        """True: `ok`. False: something is violated or out of reach. None: not refuted, and not everything was explored."""
        return None if not self.complete and not self.violations else self.ok

    @property
    def bounds(self) -> str:
        """The scope and the size of the exploration, on one line."""
        extent = "all" if self.complete else "only"
        symmetry = f" (symmetry: {self.symmetry})" if self.symmetry else ""
        return (
            f"{self.scope}; {extent} {self.states:,} states{symmetry}, {self.transitions:,} transitions, depth {self.depth}, "
            f"{self.seconds:.1f} s"
        )

    @property
    def text(self) -> str:
        """The whole verdict."""
        out = [self.headline, f"  scope: {self.bounds}"]
        if self.engine_reason:
            out.append(f"  engine: {self.engine}, since {self.engine_reason}")
        for group, properties in self._groups():
            out.append(f"  {group}:")
            out += [f"    {self._mark(name):<11} {name}: {says}" for name, says in properties]
        out += [f"  {line}" for line in self._reach()]
        for name, story in self.violations.items():
            elsewhere = "" if story.scope == self.scope else f" (found beside, in: {story.scope})"
            out += ["", f"{story.title}{self._known(name)}{elsewhere}", story.text]
        return "\n".join(out)

    def _groups(self) -> list[tuple[str, list[tuple[str, str]]]]:
        """Groups of the properties that were checked, by when they are looked at; each property with what it says."""
        groups = (("at any time", ALWAYS), ("at rest", AT_REST))
        return [(group, [(name, says[name]) for name in self.checked if name in says]) for group, says in groups]

    def _reach(self) -> list[str]:
        """Lines about the parts that were reached, and those that were not."""
        missed = "NOT REACHED" if self.complete else "not reached so far"
        goals = (f"{name}{'' if reached else f' {missed}'}" for name, reached in self.goals.items())
        out = [f"possible: {', '.join(goals)}"]
        if self.not_covered:
            where = "in this scope" if self.complete else "so far"
            out.append(f"not covered {where} ({len(self.not_covered)}): {'; '.join(self.not_covered)}")
        if self.undeclared:
            out.append(f"not in the transition tables ({len(self.undeclared)}): {'; '.join(self.undeclared)}")
        return out

    def _proved(self, name: str) -> bool | None:
        """Return whether a property holds; None if that is open: not refuted, and not everything was explored."""
        if name in self.violations:
            return False
        return True if self.complete else None

    def _mark(self, name: str) -> str:
        return {True: "holds", False: "VIOLATED", None: "not refuted"}[self._proved(name)]

    def _known(self, name: str) -> str:
        return f" (known: {self.expected[name]})" if name in self.expected else ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values only, for machines. A property that is not refuted so far, and a goal not reached so far, is None."""
        return {
            "strategy": self.strategy,
            "scope": self.scope.options(),
            "ok": self.ok,
            "complete": self.complete,
            "stopped": self.stopped,
            "states": self.states,
            "transitions": self.transitions,
            "depth": self.depth,
            "seconds": self.seconds,
            "properties": {name: self._proved(name) for name in self.checked},
            "violations": {name: list(story.steps) for name, story in self.violations.items()},
            "expected": dict(self.expected),
            "symmetry": self.symmetry,
            "engine": self.engine,
            "engine_reason": self.engine_reason,
            "warnings": self.warnings,
            "goals": {name: reached or (False if self.complete else None) for name, reached in self.goals.items()},
            "not_covered": list(self.not_covered),
            "undeclared": list(self.undeclared),
        }

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"<Verdict {self.headline}; {self.bounds}>"

    def _repr_html_(self) -> str:
        left = 'style="text-align:left"'  # notebooks put cells to the right
        rows = []
        wrong = [(name, says) for _, group in self._groups() for name, says in group if name in self.violations]
        right = [(when, [one for one in group if one[0] not in self.violations]) for when, group in self._groups()]
        for group, properties in [("violated", wrong), *right] if wrong else right:  # what is wrong is read first
            rows.append(f"<tr><th colspan=3 {left}>{group}</th></tr>")
            for name, says in properties:
                mark = f"<td {left}>{marked(self._proved(name), self._mark(name))}</td>"
                rows.append(f"<tr>{mark}{''.join(f'<td {left}>{escape(cell)}</td>' for cell in (name, says))}</tr>")
        reach = "".join(f"<p>{escape(line)}</p>" for line in self._reach())
        stories = ""
        for name, story in self.violations.items():
            known = f"<p>{escape(self._known(name).strip())}</p>" if name in self.expected else ""
            stories += story._repr_html_() + known
        head = f"{banner(self.verdict, self.headline)}<p>scope: {escape(self.bounds)}</p>"
        head += "".join(f"<p><b>Warning:</b> {escape(note)}</p>" for note in self.warnings)
        return f"{head}<table>{''.join(rows)}</table>{reach}{stories}"


@named
@with_fields(Scope, but="steps")
def verify(
    strategy: str | Strategy,
    *,
    scenario: Scenario | str | Path | None = None,
    symmetry: bool = False,
    workers: int = 1,
    max_states: int | None = None,
    max_seconds: float | None = None,
    max_memory: int | str | None = None,
    walks: int | None = None,
    seed: int = 1,
    engine: Engine | None = None,
    progress: bool | Callable[[Progress], None] | None = None,
    **options: Unpack[ScopeOptions],
) -> Verdict:
    """Explore everything that a strategy can do in a small scope, and check its properties.

    The machines are the ones that are simulated and executed. A crash may come between any two effects of one handler, lazy records
    may survive it or not, and a recovery may crash as well.

    Args:
        strategy: A name, with options as in ``"2pc:work=before"``, or an object, ours or a user's.
        scenario: A scenario, its name or the path of a TOML file: the plan has the steps of its transaction, on its services, with its order, its
            pivot and its readers, in place of `participants`, `parallel`, `pivot`, `revisit` and `reads`. Keys, amounts and chances are the
            checker's own: every step that may be refused is, in one plan or another.
        symmetry: Explore one of all states that differ only by a permutation of like participants. The verdict names these participants;
            `simtx.checker.protocols.symmetry` says how their likeness is checked. Stories are still real runs.
        workers: Processes that search, where the search is large enough to share; needs fork (Linux, macOS), and machines and
            messages that survive pickling. Counts and verdict are the same with any number; which of several equally short
            stories is told may differ.
        max_states: Stop rather than hold more states.
        max_seconds: Stop after this wall-clock time.
        max_memory: Stop when the search has added this much to the memory of the process: a number of bytes, or a size such as ``4GB``.
        walks: Take so many random walks in place of a search, for scopes that no search exhausts. Each draws its own mix of the faults that the scope allows. The
            verdict is never complete. `termination` is checked for walks that do not come to rest, `validity` is searched without faults. Of the limits, only `max_seconds` holds.
        seed: Of the first walk; the next has the next number, so that ``walks=1`` with the seed of a violation takes that walk again.
        engine: ``fast`` (the search in C; the same states, verdicts and stories), ``interpreted`` (the one in Python), or ``auto``: the fast one wherever it can search.
            None: what the environment variable ``SIMTX_ENGINE`` says, else ``auto``. `Verdict.engine` says which one it was, `Verdict.engine_reason` why.
        progress: None: a bar in a terminal or notebook, if it takes more than two seconds; True: at once; False: none; or a function, called with
            a `Progress`.
        options: See `Scope`.

    Returns:
        The verdict: which properties hold, a shortest story for each that is violated, and how far the exploration reached.

    Raises:
        ScenarioError: An argument is wrong, the strategy cannot play the plans of this scope, symmetry is asked for and a
            machine treats like participants in different ways, or the engine that was asked for cannot search this.
    """
    switches: dict[str, Any] = {**options, "symmetry": symmetry}
    for name in ("lasting", "parallel", "revisit", "contention", "unruly", "symmetry"):
        value = switches.get(name, False)
        if not isinstance(value, bool):
            raise ScenarioError(f"must be True or False, got {value!r}", f"verify: {name}")
    participants = options.get("participants", Scope.participants)
    if scenario is not None and participants != Scope.participants:
        raise ScenarioError(f"participants = {participants!r}; the scenario says which steps there are", "verify")
    if scenario is not None and symmetry:
        raise ScenarioError(
            "is for plans of participants that are alike, and not for those of a scenario", "verify: symmetry"
        )
    scope = Scope(**options, steps=None if scenario is None else steps_of(load(scenario)))
    if scope.upgrade is not None and symmetry:
        raise ScenarioError(
            "tells nodes apart by their names, and an upgrade by their turn: choose one", "verify: symmetry"
        )
    numbers: tuple[tuple[str, Any, int], ...] = (("walks", 1 if walks is None else walks, 1), ("seed", seed, 0))
    for name, given, least in numbers:
        if not isinstance(given, int) or isinstance(given, bool) or given < least:
            raise ScenarioError(f"must be a whole number of at least {least}, got {given!r}", f"verify: {name}")
    require(choice(None, *ENGINES), engine, "engine", "verify")
    chosen, memory = wanted(engine), in_bytes(max_memory, "verify: max_memory")
    if walks is not None:
        if engine == "fast":
            raise ScenarioError("the fast engine takes no walks: they are taken in Python", "verify: engine")
        return _walk(strategy_of(strategy), scope, walks, seed, max_seconds, "auto" if chosen == "fast" else chosen)
    return verify_scope(
        strategy_of(strategy),
        scope,
        symmetry=symmetry,
        workers=workers,
        max_states=max_states,
        max_seconds=max_seconds,
        max_memory=memory,
        progress=progress,
        engine=chosen,
    )


def verify_scope(
    strategy: Strategy, scope: Scope, *, symmetry: bool = False, workers: int = 1, **limits: Any
) -> Verdict:
    """Verify as `verify` does, with a `Scope`; `limits` are those of `explore`.

    A state does not tell whether a step was refused on the way to it. So `validity` is checked in an exploration of its own, of the same plans
    without faults and refusals, unless the scope itself has none. Neither can rows of an
    outbox change places where there is but one transaction, or no budget for it: so where there are long-running machines, two transactions
    of two steps are explored beside, of which one numbers its rows first and commits last. All of them share the time that there is.
    """
    clock = _Clock(limits)

    def explored(*, fused: bool) -> tuple[ProtocolModel, Exploration]:
        model = ProtocolModel(
            strategy, scope, fused=fused, shared=workers != 1, symmetry=symmetry, deadline=clock.deadline
        )
        with arguments_of("verify"):
            return model, explore(model.model(), symmetry=model.symmetry is not None, workers=workers, **clock.limits())

    model, exploration = explored(fused=not scope.lasting)
    if model.fused and model.direct:  # a node that is down may then lose messages: look at that too
        model, exploration = explored(fused=False)
    alike = ""
    if symmetry:
        alike = f"{model.symmetry.words} are alike" if model.symmetry is not None else "no two participants are alike"
    verdict = _verdict(strategy, model, clock.told(exploration), alike)
    if scope.participants > 1 and not scope.overtakes and _has_daemons(model):
        verdict = _with_overtaking(verdict, strategy, clock)
    return verdict if scope == scope.faultless() else _with_validity(verdict, strategy, clock)


def _walk(
    strategy: Strategy, scope: Scope, walks: int, seed: int, max_seconds: float | None, engine: Engine
) -> Verdict:
    """Result of random walks."""
    deadline = _Clock({"max_seconds": max_seconds}).deadline
    model = ProtocolModel(strategy, scope)

    def late() -> bool:
        return deadline is not None and monotonic() >= deadline

    found, exploration = walked(model, strategy, walks, seed, late)
    if model.fused and model.direct:  # as in a search
        model = ProtocolModel(strategy, scope, fused=False)
        found, exploration = walked(model, strategy, walks, seed, late)
    stopped = exploration.stopped
    if found.seeds:
        stopped += "; again: " + ", ".join(
            f"--walks 1 --seed {number} ({name})" for name, number in found.seeds.items()
        )
    verdict = replace(
        _verdict(strategy, model, exploration, ""), violations=found.stories, goals=found.goals, stopped=stopped
    )
    beside = {"max_seconds": max_seconds, "max_states": _BESIDE_WALKS, "engine": engine}
    return _with_validity(verdict, strategy, _Clock(beside))


_BESIDE_WALKS: Final = 50_000
"""States of the search beside walks for what has to happen when nothing is in the way."""


class _Clock:
    """The limits of an exploration, and of those that are made beside it in the time that is left.

    Args:
        limits: As for `explore`.

    Attributes:
        deadline: When the time is over, by the monotonic clock; None: never.
    """

    def __init__(self, limits: dict[str, Any]) -> None:
        self._limits = limits
        seconds = self._seconds = limits.get("max_seconds")
        self.deadline: float | None = None
        if isinstance(seconds, int | float) and not isinstance(seconds, bool) and seconds > 0:
            self.deadline = monotonic() + seconds  # else `explore` says what is wrong with it

    def limits(self, **changes: Any) -> dict[str, Any]:
        """The limits now; where no time is left, next to none."""
        left = self._seconds if self.deadline is None else max(self.deadline - monotonic(), _NEXT_TO_NOTHING_S)
        return {**self._limits, "max_seconds": left, **changes}

    def told(self, exploration: Exploration) -> Exploration:
        """An exploration that the time has ended, with the time that was asked for."""
        if not exploration.stopped.startswith("max_seconds="):
            return exploration
        return replace(exploration, stopped=f"max_seconds={self._seconds:g} reached")


_NEXT_TO_NOTHING_S: Final = 1e-6


def _has_daemons(model: ProtocolModel) -> bool:
    return any(True for name in model.nodes for _ in model.strategy.daemons(name))


def _with_overtaking(verdict: Verdict, strategy: Strategy, clock: _Clock) -> Verdict:
    """The verdict, completed by two transactions that commit in another order than that of their outbox rows."""
    scope = Scope(participants=2, messages=2, overtakes=1, crashes=0, duplicates=0, timeouts=0, refusals=False)
    return _completed(verdict, strategy, ProtocolModel(strategy, scope, deadline=clock.deadline), clock)


def _with_validity(verdict: Verdict, strategy: Strategy, clock: _Clock) -> Verdict:
    """The verdict, completed by what the same plans come to without faults and refusals."""
    return _completed(verdict, strategy, ProtocolModel(strategy, verdict.scope.faultless()), clock, only="validity")


def _completed(
    verdict: Verdict, strategy: Strategy, model: ProtocolModel, clock: _Clock, *, only: str | None = None
) -> Verdict:
    """The verdict, with what an exploration of another model finds beside; a story of its own scope stays."""
    with arguments_of("verify"):
        exploration = clock.told(explore(model.model(only), **clock.limits(progress=False)))
    stories = {one.name: Story.of(one.name, model, one.path, strategy) for one in exploration.violations}
    violations = {**stories, **verdict.violations}
    return replace(
        verdict,
        engine=verdict.engine if exploration.engine == "fast" else "interpreted",
        engine_reason=verdict.engine_reason or exploration.engine_reason,
        complete=verdict.complete and exploration.complete,
        stopped=verdict.stopped or exploration.stopped,
        violations=dict(sorted(violations.items(), key=lambda item: len(item[1].steps))),
    )


def _verdict(strategy: Strategy, model: ProtocolModel, exploration: Exploration, symmetry: str) -> Verdict:
    locals_ = model.locals
    covered = frozenset(
        (kind.role, before, _event(event), after) for kind, before, event, after in locals_.covered.numbers
    )
    recovered = frozenset((kind.role, record, state) for kind, record, state in locals_.recovered.numbers)
    expected = extras(strategy).weaknesses
    return Verdict(
        strategy=strategy.name,
        scope=model.scope,
        complete=exploration.complete,
        stopped=exploration.stopped,
        states=exploration.states,
        transitions=exploration.transitions,
        depth=exploration.depth,
        seconds=exploration.seconds,
        checked=exploration.invariants,
        violations={one.name: Story.of(one.name, model, one.path, strategy) for one in exploration.violations},
        goals={name: witness is not None for name, witness in exploration.goals.items()},
        not_covered=tuple(uncovered(machines(model), covered)),
        undeclared=tuple(undeclared(machines(model), covered)),
        covered=covered,
        messages=frozenset(item.message.kind for item in model.items if item.message is not None),
        recovered=recovered,
        expected=dict(expected),
        symmetry=symmetry,
        engine=exploration.engine,
        engine_reason=exploration.engine_reason,
    )


def _event(kind: str) -> str:
    """An event's kind without what makes its tag unique."""
    return kind.partition(":")[0]


def machines(model: ProtocolModel) -> list[type[Machine]]:
    """The classes of machines that a strategy plays with."""
    found: dict[type[Machine], None] = {}
    for name in model.nodes:
        found.setdefault(type(model.strategy.machine(name, 0)))
        for daemon in model.strategy.daemons(name):
            found.setdefault(type(daemon))
    return list(found)


def uncovered(kinds: Iterable[type[Machine]], covered: Iterable[tuple[str, str, str, str]]) -> list[str]:
    """Parts of transition tables that nobody took, in words: states, rows (an event in a state), and states that a row may lead to."""
    taken = set(covered)
    rows = {(role, state, event) for role, state, event, _ in taken}
    reached = {(role, state) for role, state, _, _ in taken} | {(role, state) for role, _, _, state in taken}
    missing: list[str] = []
    for kind in kinds:
        role = kind.role
        states = dict.fromkeys(state for row in kind.transitions for state in (row.state, *row.to))
        unreached = [state for state in states if (role, state) not in reached]
        missing += [f"{role} never '{state}'" for state in unreached]
        for row in kind.transitions:
            if row.state in unreached:
                continue
            if (role, row.state, row.event) not in rows:
                missing.append(f"{role} '{row.state}' on '{row.event}'")
                continue
            missing += [
                f"{role} '{row.state}' on '{row.event}' to '{state}'"
                for state in row.to
                if state not in unreached and (role, row.state, row.event, state) not in taken
            ]
    return missing


def undeclared(kinds: Iterable[type[Machine]], covered: Iterable[tuple[str, str, str, str]]) -> list[str]:
    """Transitions that happened and that no table has, in words; an event without a row that changes no state is none."""
    tables = {kind.role: {(row.state, row.event): row.to for row in kind.transitions} for kind in kinds}
    return [
        f"{role} '{state}' on '{event}' to '{after}'"
        for role, state, event, after in sorted(covered)
        if role in tables and after not in tables[role].get((state, event), (state,))
    ]


def coverage(verdicts: Iterable[Verdict], kinds: Iterable[type[Machine]]) -> list[str]:
    """Parts of transition tables that no exploration of a set has reached, as `Verdict.not_covered`.

    Args:
        verdicts: The explorations.
        kinds: The machines' classes.

    Raises:
        ScenarioError: There is no exploration.
    """
    found = [row for verdict in verdicts for row in verdict.covered]
    if not found:
        raise ScenarioError("takes at least one verdict of an exploration", "coverage")
    return uncovered(kinds, found)
