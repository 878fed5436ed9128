"""A model for the explorer: initial states, actions and the properties that must hold.

States are any hashable values that compare by content: tuples, strings, integers, frozensets, frozen dataclasses. They are
compared exactly, never by a fingerprint. Every function of a model must be pure: same state, same answer, in the same order.
(Iterate over a set of strings in sorted order; otherwise the choice among equally short paths varies from run to run.)

Example:
    Two jugs of three and five litres; can one measure four? (Die Hard 3, after Lamport's TLA+ course)

    >>> def fill(state):
    ...     small, big = state
    ...     yield 3, big
    ...     yield small, 5
    >>> def empty(state):
    ...     small, big = state
    ...     yield 0, big
    ...     yield small, 0
    >>> def pour(state):
    ...     small, big = state
    ...     moved = min(small, 5 - big)
    ...     yield small - moved, big + moved
    ...     moved = min(big, 3 - small)
    ...     yield small + moved, big - moved
    >>> jugs = Model(
    ...     name="jugs",
    ...     initial=[(0, 0)],
    ...     actions={"fill": fill, "empty": empty, "pour": pour},
    ...     invariants={"never overflows": lambda state: state[0] <= 3 and state[1] <= 5},
    ...     goals={"four litres": lambda state: state[1] == 4},
    ... )
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Generic, NamedTuple, TypeVar, cast

from simtx.errors import ScenarioError

S = TypeVar("S", bound=Hashable)

Predicate = Callable[[S], bool]
"""A property of one state."""

Successors = Callable[[S], Iterable[tuple[Hashable, S]]]
"""All steps out of a state: (action label, next state), in a fixed order."""


class Step(NamedTuple, Generic[S]):
    """One step of a path: the action taken, and the state it led to.

    Attributes:
        action: Label of the action; None for the initial state.
        state: The state after the action.
    """

    action: Hashable | None
    state: S


@dataclass(frozen=True, kw_only=True)
class Model(Generic[S]):
    """A transition system and its properties.

    Give either `actions` or `successors`. The first reads like a specification; the second is one function for all actions,
    which is faster (work common to several actions is done once) and can label each step with its arguments.

    Attributes:
        initial: The initial states, at least one; doubles are dropped.
        actions: Label to action; an action takes a state and returns (or yields) every next state, none when it is disabled.
            Labels are any hashable values, their `str()` is shown.
        successors: Takes a state and returns (or yields) every (label, next state).
        invariants: Name to predicate that must hold in every reachable state.
        terminal_invariants: Name to predicate that must hold in every reachable state without successors (at quiescence).
        goals: Name to predicate that must hold in at least one reachable state.
        deadlock: True when no reachable state may lack successors; or a predicate that tells which states without successors
            are deadlocks and not proper ends; False, the default, when running out of steps is no fault. As in TLC, a step
            from a state to itself is a step: a state that has only such steps is not terminal.
        canonical: Maps a state to the representative of its symmetry class, for `explore(..., symmetry=True)`. It must be
            idempotent, equal for symmetric states, and every property must be the same for symmetric states.
        catch_up: For models that number parts of their states: learn the numbers that other processes of a search have given.
            Called before states that another process has found are looked at.
        search: Searches this model in place of the search in one process, with the same result, for models that have a faster way: takes the `Tally` of the
            search, and says why it did not, as the rest of a sentence; nothing if it did. It is not asked with symmetry, coverage or several workers.
        show: Renders a state on one line, for paths and messages.
        name: Shown in results and messages.

    Raises:
        ScenarioError: A part is missing, of a wrong type, or given twice.
    """

    initial: Iterable[S]
    actions: Mapping[Any, Callable[[S], Iterable[S]]] = field(default_factory=dict)
    successors: Successors[S] | None = None
    invariants: Mapping[str, Predicate[S]] = field(default_factory=dict)
    terminal_invariants: Mapping[str, Predicate[S]] = field(default_factory=dict)
    goals: Mapping[str, Predicate[S]] = field(default_factory=dict)
    deadlock: bool | Predicate[S] = False
    canonical: Callable[[S], S] | None = None
    catch_up: Callable[[], None] | None = None
    search: Callable[[Any], str] | None = None
    show: Callable[[S], str] = repr
    name: str = "model"

    def __post_init__(self) -> None:
        """Check everything that can be checked without running the model."""
        if bool(self.actions) == (self.successors is not None):
            raise self._error("give either actions or successors, one of the two and not both")
        for kind in ("actions", "invariants", "terminal_invariants", "goals"):
            table = getattr(self, kind)
            if not isinstance(table, Mapping):
                raise self._error(f"{kind} must map names to functions, got {type(table).__name__}")
            for name, function in table.items():
                if not callable(function):
                    raise self._error(f"{kind}[{name!r}] must be a function of a state, got {type(function).__name__}")
        for kind in ("successors", "canonical", "catch_up", "search", "show"):
            function = getattr(self, kind)
            if not callable(function) and (kind == "show" or function is not None):
                raise self._error(f"{kind} must be a function of a state, got {type(function).__name__}")
        if not isinstance(self.deadlock, bool) and not callable(self.deadlock):
            raise self._error(f"deadlock must be True, False or a predicate, got {type(self.deadlock).__name__}")
        twice = set(self.invariants) & set(self.terminal_invariants)
        if twice:
            raise self._error(f"{min(twice)!r} names both an invariant and a terminal invariant")
        try:
            states = tuple(dict.fromkeys(self.initial))
        except TypeError as error:
            raise self._error(f"initial must be an iterable of hashable states ({error})") from error
        if not states:
            raise self._error("initial must hold at least one state")
        object.__setattr__(self, "initial", states)

    def _error(self, problem: str) -> ScenarioError:
        return ScenarioError(problem, where=f"model {self.name!r}")

    def steps(self, state: S) -> list[tuple[Hashable, S]]:
        """All steps out of a state, as (label, next state); for tests and for walking a model by hand."""
        return list(self.step_function()(state))

    def step_function(self) -> Successors[S]:
        """The model's `successors`, or one built from its actions."""
        if self.successors is not None:
            return self.successors
        actions = tuple(self.actions.items())

        def successors(state: S) -> Iterator[tuple[Hashable, S]]:
            for label, action in actions:
                for following in action(state):
                    yield label, following

        return successors

    def deadlocked(self) -> Predicate[S] | None:
        """The predicate that makes a terminal state a deadlock; None when the model does not ask."""
        if isinstance(self.deadlock, bool):
            return (lambda _: True) if self.deadlock else None
        return self.deadlock

    def blame(self, error: Exception, state: S) -> Exception:
        """Turn an exception raised while `state` was expanded into one that says which state, and what is wrong if known.

        A mistake in the shape of an answer (no iterable, no pair, not hashable) becomes a ScenarioError of one line. Whatever
        a model's own code raised is returned as it is, with a note.
        """
        try:
            self._check_shape(state)
        except ScenarioError as shape:
            return shape
        except Exception:  # noqa: BLE001, S110  # the model's own exception, again: the caller gets the first one
            pass
        error.add_note(f"raised by model {self.name!r} in the state {self.show(state)}")
        return error

    def _check_shape(self, state: S) -> None:
        """Expand one state, slowly, checking what the search itself takes for granted."""
        at = f"in the state {self.show(state)}"
        functions: dict[Any, Callable[[S], Any]] = {f"action {label}": action for label, action in self.actions.items()}
        wanted = "next states"
        if self.successors is not None:
            functions, wanted = {"successors": self.successors}, "pairs (label, next state)"
        for title, function in functions.items():
            answer = function(state)
            if not isinstance(answer, Iterable):
                raise self._error(f"{title} returned {answer!r}, not an iterable of {wanted}, {at}")
            for item in answer:
                following = item
                if self.successors is not None:
                    if not isinstance(item, tuple) or len(item) != 2:
                        raise self._error(f"{title} yielded {item!r}, not a pair (label, next state), {at}")
                    following = item[1]
                try:
                    hash(following)
                except TypeError as error:
                    raise self._error(f"{title} yielded a next state that is not hashable ({error}), {at}") from error

    def path(self, states: list[S], *, symmetry: bool) -> list[Step[S]]:
        """Name the actions along a chain of states; with `symmetry`, turn a chain of representatives into a real run.

        Args:
            states: From an initial state on (from its representative, with `symmetry`).
            symmetry: Whether the states are representatives.

        Raises:
            ScenarioError: No action leads from a state to the next: `successors` is not a pure function, or `canonical` is
                not a symmetry of the model.
        """
        same: Callable[[S], S] = cast("Callable[[S], S]", self.canonical) if symmetry else lambda state: state
        steps = self.step_function()
        path: list[Step[S]] = [Step(None, next(root for root in self.initial if same(root) == states[0]))]
        for _, target in pairwise(states):
            here = path[-1].state
            step = next((Step(label, to) for label, to in steps(here) if same(to) == target), None)
            if step is None:
                why = "canonical is not a symmetry of this model" if symmetry else "its successors change between calls"
                raise self._error(f"{why}: no step leads from {self.show(here)} to {self.show(target)}")
            path.append(step)
        return path
