"""Breadth-first exploration of every reachable state of a model.

Levels are explored in order, so every path reported is a shortest one. States are compared exactly. Results do not depend on the
number of workers: states are ranked by (rank of the first parent, position among its steps) in one process and in many. So counts,
counterexamples and the effect of `max_states` are the same.
"""

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from mmap import mmap
from time import process_time
from typing import Any

from simtx.arguments import in_bytes, named
from simtx.checker.explorer.engine import ROOT, Compiled, Guard, Level, Options, check, expand, interruptible, lineage
from simtx.checker.explorer.exploration import DEADLOCKS_KEPT, Exploration, Progress
from simtx.checker.explorer.model import Model, S
from simtx.checker.explorer.tally import Tally
from simtx.engine.choices import Engine
from simtx.errors import ScenarioError
from simtx.progress import progress_bar

ASKED = "it was asked for"
"""Reason why a search was interpreted, where somebody has said that it should be."""

FORK_AFTER_S = 0.015
"""CPU time that a level must be expected to take before workers are forked: less is done sooner than they are."""

FORK_STATES = 2500
"""States that a level must have before workers are forked, so that the choice of owners rests on a fair sample; unless it is
expected to take ten times as long."""


@named
def explore(
    model: Model[S],
    *,
    workers: int = 1,
    max_states: int | None = None,
    max_seconds: float | None = None,
    max_memory: int | str | None = None,
    symmetry: bool = False,
    coverage: bool = False,
    stop_at_violation: bool = False,
    progress: bool | Callable[[Progress], None] | None = None,
    engine: Engine = "auto",
) -> Exploration:
    """Visit every reachable state of a model and check its properties.

    A search that meets a limit, loses a worker or is interrupted with Ctrl-C returns what it found, with `complete` False and
    the reason in `stopped`; a second Ctrl-C raises KeyboardInterrupt.

    Args:
        model: Initial states, actions and properties.
        workers: Processes that expand states, once the search is large enough to share. More than one needs an operating system with fork (Linux, macOS) and states
            that survive pickling.
        max_states: Stop rather than hold more distinct states than this.
        max_seconds: Stop after this wall-clock time.
        max_memory: Stop when the search has added this many bytes to the memory of the process, all workers together; a number, or a size such as ``4GB``.
        symmetry: Explore one representative of each symmetry class, as given by the model's `canonical`. Paths are still real
            runs. The caller vouches that the model is symmetric; only what paths touch is checked.
        coverage: Count transitions and self-loops by action label.
        stop_at_violation: Stop after the level in which the first violation or deadlock was found.
        progress: None: a bar in a terminal or notebook, if it takes more than two seconds; True: at once; False: none; or a function, called with
            a Progress a few times a second.
        engine: ``interpreted`` (in Python), ``fast`` (the faster search that a model may bring, with the same result), or ``auto``: the fast one where it can.
            `Exploration.engine` says which one it was.

    Returns:
        Counts of states and transitions, and for each violated property a shortest path.

    Raises:
        ScenarioError: The model or an argument is wrong, or the fast engine was asked for and cannot search this. What a model's own functions raise passes through, with a note that
            names the state.
    """
    if not isinstance(model, Model):
        raise ScenarioError(f"takes a simtx.checker.Model, got {type(model).__name__}", where="explore")
    with _reporter(model.name, progress) as report:
        options = Options(
            workers=workers,
            max_states=max_states,
            max_seconds=max_seconds,
            max_memory=in_bytes(max_memory, "explore: max_memory"),
            symmetry=symmetry,
            coverage=coverage,
            stop_at_violation=stop_at_violation,
            progress=report,
            engine=engine,
        )
        ledger = Tally(Compiled(model, options), options)
        if workers > 1 and not hasattr(os, "fork"):
            raise ScenarioError(f"{workers} need fork, which this platform lacks; use 1", where="explore: workers")
        with _frozen_heap():
            reason = _set_aside(model, options)
            if model.search is not None and not reason:
                reason = model.search(ledger)
                if not reason:
                    return replace(ledger.result(), engine="fast")
                ledger = Tally(Compiled(model, options), options)
            if engine == "fast":
                why = reason or f"the model '{model.name}' has no faster search"
                raise ScenarioError(
                    f"the fast engine cannot search this: {why}; 'auto' searches it anyway", "explore: engine"
                )
            _search(ledger)
        return replace(ledger.result(), engine_reason=reason)


def _set_aside(model: Model[S], options: Options) -> str:
    """Reason why the faster search of a model is not even asked; empty if it is, or if there is none."""
    if model.search is None:
        return ""
    reasons = {
        ASKED: options.engine == "interpreted",
        "it explores participants that are alike once": options.symmetry,
        "it counts transitions by their label": options.coverage,
        f"{options.workers} processes share it": options.workers > 1,
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def _search(ledger: Tally[S]) -> None:
    """Explore in this process, until a level takes so long that the workers asked for are worth forking."""
    compiled, options = ledger.compiled, ledger.options
    # The interrupt flag and the workers' counters; anonymous memory, which a fork shares.
    flag = mmap(-1, 8 * (options.workers + 1))
    with interruptible(flag):
        guard = Guard(options.max_seconds, options.max_memory, flag)
        roots = compiled.roots[: options.max_states]
        if len(roots) < len(compiled.roots):
            ledger.stopped = f"max_states={options.max_states} reached"
        parents: dict[S, Any] = dict.fromkeys(roots, ROOT)
        level = Level(roots)
        state_s = 0.0
        while level.states:
            ledger.levels.append(len(level.states))
            _settle(ledger, level.states, parents)
            if ledger.must_stop and not ledger.stopped:
                ledger.stopped = "stop_at_violation"
            if ledger.stopped:
                break
            expected_s = state_s * len(level.states)
            large = len(level.states) > max(FORK_STATES if expected_s < 10 * FORK_AFTER_S else 0, options.workers)
            if options.workers > 1 and large and expected_s >= FORK_AFTER_S:
                from simtx.checker.explorer.parallel import search

                search(ledger, parents, list(level.states), guard)
                break
            started = process_time()
            ledger.stopped = _expand_level(ledger, level, parents, guard)
            ledger.expanded += level.expanded
            ledger.transitions += level.transition_count
            _settle_terminal(ledger, level, parents)
            state_s = (process_time() - started) / len(level.states)
            level = Level(level.found)


def _expand_level(ledger: Tally[S], level: Level[S], parents: dict[S, Any], guard: Guard) -> str:
    """Expand a level, slice by slice; return why it was not finished, or nothing."""
    limit = ledger.options.max_states
    while level.expanded < len(level.states):
        if reason := guard.reason():
            return reason
        expand(ledger.compiled, level, guard.size, parents)
        if limit is not None and len(parents) > limit:
            for state in level.cut(keep=limit - (len(parents) - len(level.found))):
                del parents[state]
            return f"max_states={limit} reached"
        gc.freeze()
        ledger.tell(len(ledger.levels), level.expanded, len(level.states), len(parents))
    return ""


def _settle(ledger: Tally[S], states: Any, parents: dict[S, Any]) -> None:
    """Check the open invariants and goals on the states of a new level."""
    for kind, name in ledger.open_properties():
        for state in check(ledger.compiled, ledger.predicate(kind, name), states, wanted=kind == "goal"):
            ledger.record(kind, name, lineage(parents, state))


def _settle_terminal(ledger: Tally[S], level: Level[S], parents: dict[S, Any]) -> None:
    """Check what must hold where the expanded states of a level have no successors."""
    terminal = [level.states[position] for position in level.terminal(level.expanded)]
    ledger.terminal += len(terminal)
    for name in ledger.open_terminal():
        for state in check(ledger.compiled, ledger.predicate("terminal", name), terminal, wanted=False):
            ledger.record("terminal", name, lineage(parents, state))
    if ledger.compiled.deadlocked is not None:
        deadlocks = list(filter(ledger.compiled.deadlocked, terminal))
        ledger.deadlock_count += len(deadlocks)
        for state in deadlocks[: DEADLOCKS_KEPT - len(ledger.deadlocks)]:
            ledger.record("deadlock", "deadlock", lineage(parents, state))


@contextmanager
def arguments_of(function: str) -> Iterator[None]:
    """Report what `explore` says against one of its arguments as said of the argument that a function has handed on."""
    try:
        yield
    except ScenarioError as error:
        caller, _, argument = error.where.partition(": ")
        if caller != "explore":
            raise
        raise ScenarioError(error.problem, f"{function}: {argument}") from error.__cause__


@contextmanager
def _frozen_heap() -> Iterator[None]:
    """Give the collector its objects back at the end; states are frozen as they come, since walking them again is futile."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextmanager
def _reporter(
    name: str, progress: bool | Callable[[Progress], None] | None
) -> Iterator[Callable[[Progress], None] | None]:
    """The function to call with progress, or None."""
    if progress is not None and not isinstance(progress, bool):
        if not callable(progress):
            raise ScenarioError(f"must be True, False or a function, got {progress!r}", where="explore: progress")
        yield progress
    else:
        with progress_bar(None, "states", what=name, wanted=progress) as bar:

            def show(now: Progress) -> None:
                bar.say(note=f"level {now.depth}, {now.expanded:,} of {now.frontier:,} expanded")
                bar.to(now.states)

            yield show
