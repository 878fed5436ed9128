"""Inner loop, properties and limits that the search in one process and the search in several share.

A set of visited states is a dict from each state to the state that it was first reached from (`ROOT` for initial states). So parents cost one
pointer a state, and paths can be rebuilt. Actions are not stored: they are computed again along a path.
"""

import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, compress, filterfalse, islice
from mmap import mmap
from operator import eq
from pathlib import Path
from time import monotonic
from typing import Any, Generic, cast

from simtx.arguments import choice, flag, require
from simtx.checker.explorer.exploration import Progress
from simtx.checker.explorer.model import Model, Predicate, S, Successors
from simtx.engine.choices import ENGINES
from simtx.errors import ScenarioError

ROOT = object()
"""Stands where an initial state's parent would."""

_SLICE_S = 0.05  # limits are looked at about this often
_SLICE_MAX = 8192
_MEMORY_S = 0.2


@dataclass(frozen=True, kw_only=True)
class Options:
    """The arguments of `explore`; see there."""

    workers: int = 1
    max_states: int | None = None
    max_seconds: float | None = None
    max_memory: int | None = None
    symmetry: bool = False
    coverage: bool = False
    stop_at_violation: bool = False
    progress: Callable[[Progress], None] | None = None
    engine: str = "auto"

    def __post_init__(self) -> None:
        """Refuse what makes no sense, by name."""
        for name in ("workers", "max_states", "max_memory"):
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool)
            if (value is not None or name == "workers") and not (whole and value >= 1):
                raise ScenarioError(f"must be a whole number of at least 1, got {value!r}", where=f"explore: {name}")
        for name in ("symmetry", "coverage", "stop_at_violation"):
            require(flag, getattr(self, name), name, "explore")
        seconds: Any = self.max_seconds
        number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
        if seconds is not None and not (number and seconds > 0):
            raise ScenarioError(f"must be a positive number of seconds, got {seconds!r}", where="explore: max_seconds")
        require(choice(*ENGINES), self.engine, "engine", "explore")


class Compiled(Generic[S]):
    """A model prepared for one exploration: symmetry and coverage are woven into its successor function.

    Attributes:
        roots: Distinct initial states, or their representatives.
        successors: Steps, of representatives if symmetry is on, counted if coverage is.
        plain: The same, never counted.
        counts: Action label to [transitions, self-loops]; stays empty without coverage.
    """

    def __init__(self, model: Model[S], options: Options) -> None:
        self.model = model
        self.symmetry = options.symmetry
        self.counts: dict[Hashable, list[int]] = {}
        self.roots: list[S] = list(model.initial)
        steps = model.step_function()
        counted = self._counted(steps) if options.coverage else steps
        # Woven in here once, so that the inner loop asks for neither.
        self.plain, self.successors = steps, counted
        if options.symmetry:
            if model.canonical is None:
                raise ScenarioError("needs a model with a canonical function", where="explore: symmetry")
            canonical = model.canonical
            self.plain = lambda state: [(label, canonical(to)) for label, to in steps(state)]
            self.successors = lambda state: [(label, canonical(to)) for label, to in counted(state)]
            self.roots = list(dict.fromkeys(canonical(root) for root in self.roots))
        self.invariants = dict(model.invariants)
        self.terminal_invariants = dict(model.terminal_invariants)
        self.goals = dict(model.goals)
        self.deadlocked = model.deadlocked()

    def _counted(self, successors: Successors[S]) -> Successors[S]:
        counts = self.counts

        def counted(state: S) -> Iterable[tuple[Hashable, S]]:
            for label, to in successors(state):
                count = counts.get(label)
                if count is None:
                    count = counts[label] = [0, 0]
                count[0] += 1
                if to == state:
                    count[1] += 1
                yield label, to

        return counted


@dataclass
class Level(Generic[S]):
    """The states of one level, and what expanding them has given so far.

    Attributes:
        states: In the order of discovery.
        found: New states, in the order of discovery.
        transitions: For each expanded state, the number of transitions of the level up to and including its own.
        ends: For each expanded state, `len(found)` after it.
    """

    states: Sequence[S]
    found: list[S] = field(default_factory=list)
    transitions: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)

    @property
    def expanded(self) -> int:
        """States that are done, a prefix of `states`."""
        return len(self.ends)

    @property
    def transition_count(self) -> int:
        """Transitions of all expanded states."""
        return self.transitions[-1] if self.transitions else 0

    def cut(self, keep: int) -> list[S]:
        """Take back the expansion that found more than `keep` states, and all after it; return the states dropped."""
        # A state is expanded in full or not at all, so that counts are those of whole states.
        done = next(index for index, end in enumerate(self.ends) if end > keep)
        dropped = self.found[keep:]
        del self.found[keep:], self.transitions[done:], self.ends[done:]
        return dropped

    def terminal(self, upto: int) -> list[int]:
        """Positions of those of the first `upto` states that have no successors."""
        idle = map(eq, self.transitions, chain((0,), self.transitions))
        return list(compress(range(upto), idle))


def expand(compiled: Compiled[S], level: Level[S], size: int, parents: dict[S, Any]) -> None:
    """Expand the next `size` states of the level. This is the inner loop of the explorer."""
    successors = compiled.successors
    found, transitions, ends = level.found, level.transitions, level.ends
    discover, count_transitions, count_found = found.append, transitions.append, ends.append
    total = level.transition_count
    state = level.states[0]
    start = level.expanded
    try:
        for state in level.states[start : start + size]:
            for _, following in successors(state):
                total += 1
                if following not in parents:
                    parents[following] = state
                    discover(following)
            count_transitions(total)
            count_found(len(found))
    except Exception as error:
        blamed = compiled.model.blame(error, state)
        if blamed is error:
            raise
        raise blamed from error


def check(compiled: Compiled[S], holds: Predicate[S], states: Sequence[S], wanted: bool) -> list[S]:
    """The first of the states where the property is `wanted`, in a list; an empty one when there is none."""
    state = None
    try:
        hits = filter(holds, states) if wanted else filterfalse(holds, states)
        return list(islice(hits, 1))
    except Exception as error:
        for state in states:  # find out which one it was
            try:
                holds(state)
            except Exception:  # noqa: BLE001  # raised again below
                break
        error.add_note(
            f"raised by a property of model {compiled.model.name!r} in {compiled.model.show(cast('S', state))}"
        )
        raise


class Guard:
    """Watches the limits of one process, and sets the pace: `size` is the number of states to expand before looking again.

    Args:
        max_seconds: Time left, in seconds.
        max_memory: Bytes that this process may add to what it holds now.
        flag: Its first byte is set when the user interrupts.
    """

    def __init__(self, max_seconds: float | None, max_memory: int | None, flag: mmap | bytearray) -> None:
        # A look at clock and memory costs more than many expansions, so their number is doubled until a slice takes long enough to be worth it.
        self.size = 16
        self.flag = flag
        self._max_seconds = max_seconds
        self._max_memory = max_memory
        self._memory_base = 0 if max_memory is None else resident_bytes()
        self._looked = monotonic()
        self._deadline = math.inf if max_seconds is None else self._looked + max_seconds
        self._memory_due = self._looked

    def for_worker(self, workers: int) -> "Guard":
        """The guard of one of several forked workers: same deadline, an equal share of the memory that is left."""
        memory = self._max_memory
        if memory is not None:
            memory = max(0, memory - (resident_bytes() - self._memory_base)) // workers
        guard = Guard(self._max_seconds, memory, self.flag)
        guard._deadline = self._deadline
        return guard

    def resume(self) -> None:
        """Forget the time since the last look: the process was waiting, not expanding."""
        self._looked = monotonic()

    def reason(self) -> str:
        """Reason why the search must stop now; empty when it may go on."""
        now = monotonic()
        elapsed = now - self._looked
        self._looked = now
        if elapsed < _SLICE_S / 2:
            self.size = min(2 * self.size, _SLICE_MAX)
        elif elapsed > 2 * _SLICE_S:
            self.size = max(self.size // 2, 1)
        if self.flag[0]:
            return "interrupted"
        if now >= self._deadline:
            return f"max_seconds={self._max_seconds:g} reached"
        if self._max_memory is not None and now >= self._memory_due:
            self._memory_due = now + _MEMORY_S if elapsed < _SLICE_S else now
            if resident_bytes() - self._memory_base > self._max_memory:
                return "max_memory reached"
        return ""


def resident_bytes() -> int:
    """Memory of this process that is in RAM; its peak where the system does not tell the present value."""
    try:
        pages = Path("/proc/self/statm").read_text("ascii").split()[1]
    except OSError:
        try:
            import resource
        except ImportError as error:
            raise ScenarioError("this platform does not tell its memory use", where="explore: max_memory") from error
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def interruptible(flag: mmap | bytearray) -> Iterator[None]:
    """Let the first Ctrl-C set the flag, so that the search ends between two states; a second one raises as usual.

    Outside the main thread, or where Ctrl-C is ignored, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) in (
        signal.SIG_IGN,
        None,
    ):
        yield
        return

    def interrupt(_number: int, _frame: object) -> None:
        if flag[0]:
            raise KeyboardInterrupt
        flag[0] = 1

    previous = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def lineage(parents: dict[S, Any], state: S) -> list[S]:
    """The states from an initial one to `state`."""
    states = [state]
    while (parent := parents[states[-1]]) is not ROOT:
        states.append(cast("S", parent))
    return states[::-1]
