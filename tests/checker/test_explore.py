"""The explorer visits every reachable state once, finds shortest paths, and gives the same answer in any number of processes."""

import enum
import importlib
import os
import pickle
import random
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import networkx as nx
import numpy
import pytest

from simtx.checker import Model, Step, explore
from simtx.checker.explorer.partition import Partition
from simtx.errors import ScenarioError

explorer = importlib.import_module(
    "simtx.checker.explorer.explore"
)  # the package's attribute of that name is the function
parallel = importlib.import_module("simtx.checker.explorer.parallel")

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "explorer_two_phase.py"
TWO_PHASE_STATES = {2: 56, 3: 288, 4: 1568, 5: 8832}  # as TLC counts them


@pytest.fixture
def eager_fork(monkeypatch):
    """Fork workers at once, however small the model is."""
    monkeypatch.setattr(explorer, "FORK_AFTER_S", 0)
    monkeypatch.setattr(explorer, "FORK_STATES", 0)


# --- models ---------------------------------------------------------------------------------------------------------------


def jugs():
    """Die Hard 3: jugs of 3 and 5 litres, measure 4."""

    def fill(state):
        yield 3, state[1]
        yield state[0], 5

    def empty(state):
        yield 0, state[1]
        yield state[0], 0

    def pour(state):
        small, big = state
        to_big, to_small = min(small, 5 - big), min(big, 3 - small)
        yield small - to_big, big + to_big
        yield small + to_small, big - to_small

    return Model(
        name="jugs",
        initial=[(0, 0)],
        actions={"fill": fill, "empty": empty, "pour": pour},
        invariants={"fits": lambda state: state[0] <= 3 and state[1] <= 5},
        goals={"four litres": lambda state: state[1] == 4, "four in the small jug": lambda state: state[0] == 4},
    )


def philosophers(count):
    """Each takes the fork to the left, then the one to the right, then eats and puts both back."""

    def steps(state):
        left_held = {i for i in range(count) if state[i] >= 1}
        right_held = {(i + 1) % count for i in range(count) if state[i] == 2}
        for i in range(count):
            wanted = {0: i, 1: (i + 1) % count}.get(state[i])
            if wanted not in left_held | right_held:
                yield ("next", i), (*state[:i], (state[i] + 1) % 3, *state[i + 1 :])

    return Model(name="philosophers", initial=[(0,) * count], successors=steps, deadlock=True)


def textbook_two_phase(rms, *, sound=True):
    """TwoPhase as it is printed: a function from RMs to states, and sets of RMs and of messages."""
    everyone = frozenset(range(rms))

    def having(rm, r, value):
        return (*rm[:r], value, *rm[r + 1 :])

    def tm_rcv_prepared(state):
        rm, tm, prepared, msgs = state
        for r in everyone:
            if tm == "init" and ("Prepared", r) in msgs:
                yield rm, tm, prepared | {r}, msgs

    def tm_commit(state):
        rm, tm, prepared, msgs = state
        if tm == "init" and (prepared == everyone or not sound):
            yield rm, "committed", prepared, msgs | {"Commit"}

    def tm_abort(state):
        rm, tm, prepared, msgs = state
        if tm == "init":
            yield rm, "aborted", prepared, msgs | {"Abort"}

    def rm_prepare(state):
        rm, tm, prepared, msgs = state
        for r in everyone:
            if rm[r] == "working":
                yield having(rm, r, "prepared"), tm, prepared, msgs | {("Prepared", r)}

    def rm_choose_to_abort(state):
        rm, tm, prepared, msgs = state
        for r in everyone:
            if rm[r] == "working":
                yield having(rm, r, "aborted"), tm, prepared, msgs

    def rm_rcv_commit(state):
        rm, tm, prepared, msgs = state
        for r in everyone:
            if "Commit" in msgs:
                yield having(rm, r, "committed"), tm, prepared, msgs

    def rm_rcv_abort(state):
        rm, tm, prepared, msgs = state
        for r in everyone:
            if "Abort" in msgs:
                yield having(rm, r, "aborted"), tm, prepared, msgs

    def canonical(state):
        rm, tm, prepared, msgs = state
        order = sorted(everyone, key=lambda r: (rm[r], r in prepared, ("Prepared", r) in msgs))
        new = {r: position for position, r in enumerate(order)}
        renamed = {m if isinstance(m, str) else ("Prepared", new[m[1]]) for m in msgs}
        return tuple(rm[r] for r in order), tm, frozenset(new[r] for r in prepared), frozenset(renamed)

    return Model(
        name="TwoPhase",
        initial=[(("working",) * rms, "init", frozenset(), frozenset())],
        actions={
            "TMRcvPrepared": tm_rcv_prepared,
            "TMCommit": tm_commit,
            "TMAbort": tm_abort,
            "RMPrepare": rm_prepare,
            "RMChooseToAbort": rm_choose_to_abort,
            "RMRcvCommitMsg": rm_rcv_commit,
            "RMRcvAbortMsg": rm_rcv_abort,
        },
        invariants={"TCConsistent": lambda state: not {"aborted", "committed"} <= set(state[0])},
        goals={
            "all committed": lambda state: set(state[0]) == {"committed"},
            "abort after prepare": lambda state: state[2] == everyone and "aborted" in state[0],
        },
        canonical=canonical,
    )


def benchmark_two_phase(rms):
    spec = importlib.util.spec_from_file_location("explorer_two_phase", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.two_phase(rms)


def of_graph(graph, **properties):
    return Model(initial=[0], successors=lambda n: [((n, m), m) for m in sorted(graph.successors(n))], **properties)


def counter(**properties):
    """Infinitely many states, one a level."""
    return Model(name="counter", initial=[0], successors=lambda n: [("up", n + 1)], **properties)


def grid(side):
    """A square of side * side states, walked right and down; one terminal state."""

    def steps(state):
        x, y = state
        if x < side - 1:
            yield "right", (x + 1, y)
        if y < side - 1:
            yield "down", (x, y + 1)

    return Model(name="grid", initial=[(0, 0)], successors=steps)


def outcome(result):
    """Everything that must not depend on the number of workers."""
    return {
        name: getattr(result, name)
        for name in [
            "complete",
            "stopped",
            "states",
            "transitions",
            "levels",
            "unexpanded",
            "terminal",
            "violations",
            "deadlocks",
            "deadlock_count",
            "goals",
            "invariants",
            "coverage",
        ]
    }


def assert_is_run(model, path):
    """Every step of a path is one that the model allows, from an initial state on."""
    assert path[0].action is None
    assert path[0].state in model.initial
    for before, step in pairwise(path):
        assert tuple(step) in model.steps(before.state)


# --- counts and paths -----------------------------------------------------------------------------------------------------


def test_die_hard_has_16_states_and_needs_six_moves():
    """TLC reports 97 states generated (ours and the initial one) and 16 distinct ones."""
    result = explore(jugs())
    assert (result.states, result.transitions + 1, result.complete) == (16, 97, True)
    witness = result.goals["four litres"]
    assert witness.depth == 7
    assert_is_run(jugs(), witness.path)
    assert witness.path[0] == Step(None, (0, 0))


def test_unreachable_goal_is_reported_and_fails_the_exploration():
    result = explore(jugs())
    assert result.unreached == ("four in the small jug",)
    assert result.reached == ("four litres",)
    assert not result.violations
    assert not result.passed
    assert "goal four in the small jug: UNREACHABLE" in str(result)


@pytest.mark.parametrize("rms", TWO_PHASE_STATES)
def test_two_phase_has_the_states_that_tlc_counts(rms):
    textbook, packed = explore(textbook_two_phase(rms)), explore(benchmark_two_phase(rms))
    assert textbook.states == packed.states == TWO_PHASE_STATES[rms]
    assert textbook.transitions == packed.transitions
    assert textbook.levels == packed.levels
    assert textbook.depth == 3 * rms + 2
    assert textbook.passed
    assert packed.passed


def test_two_phase_of_three_generates_1146_states_as_tlc_says():
    assert explore(textbook_two_phase(3)).transitions + 1 == 1146


def test_commit_without_all_votes_violates_consistency_on_a_shortest_path():
    model = textbook_two_phase(3, sound=False)
    result = explore(model)
    (violation,) = result.violations
    assert violation.invariant == "TCConsistent"
    assert violation.depth == 4
    assert_is_run(model, violation.path)
    assert sorted(str(step.action) for step in violation.path[1:]) == ["RMChooseToAbort", "RMRcvCommitMsg", "TMCommit"]
    assert not model.invariants["TCConsistent"](violation.state)
    assert "VIOLATED at depth 4" in str(result)


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_philosophers_deadlock_when_each_holds_one_fork(count):
    result = explore(philosophers(count))
    (deadlock,) = result.deadlocks
    assert deadlock.state == (1,) * count
    assert deadlock.depth == count + 1
    assert result.deadlock_count == result.terminal == 1
    assert not result.passed


def test_a_predicate_tells_deadlocks_from_proper_ends():
    proper = replace(grid(3), deadlock=lambda state: state != (2, 2))
    assert explore(proper).passed
    assert explore(replace(proper, deadlock=True)).deadlock_count == 1
    assert explore(replace(proper, deadlock=False)).passed


def test_all_deadlocks_are_counted_and_ten_are_kept():
    leaves = Model(initial=[0], successors=lambda n: [(m, m) for m in range(1, 31)] if n == 0 else [], deadlock=True)
    result = explore(leaves)
    assert result.deadlock_count == 30
    assert [witness.state for witness in result.deadlocks] == list(range(1, 11))


def test_terminal_invariants_are_checked_only_where_nothing_can_happen():
    model = replace(
        grid(4), terminal_invariants={"at the corner": lambda s: s == (3, 3), "nowhere near": lambda s: s != (3, 3)}
    )
    result = explore(model)
    (violation,) = result.violations
    assert (violation.name, violation.depth) == ("nowhere near", 7)
    assert result.terminal == 1
    assert result.invariants == ("at the corner", "nowhere near")


@pytest.mark.parametrize("seed", range(30))
def test_random_graphs_agree_with_networkx(seed, eager_fork):
    """States, levels, transitions, ends and every shortest path, in one, two and three processes."""
    graph = nx.gnp_random_graph(60, random.Random(seed).uniform(0.01, 0.08), seed=seed, directed=True)
    distances = nx.single_source_shortest_path_length(graph, 0)
    goals = {str(n): (lambda state, n=n: state == n) for n in graph}
    model = of_graph(graph, goals=goals, deadlock=True)
    result = explore(model)
    assert result.states == len(distances)
    assert result.depth == max(distances.values()) + 1
    assert result.levels == tuple(list(distances.values()).count(d) for d in range(result.depth))
    assert result.transitions == sum(graph.out_degree(n) for n in distances)
    assert result.terminal == result.deadlock_count == sum(graph.out_degree(n) == 0 for n in distances)
    assert {int(n): witness.depth - 1 for n, witness in result.goals.items() if witness} == distances
    for witness in filter(None, result.goals.values()):
        assert_is_run(model, witness.path)
    if seed < 6:
        assert outcome(explore(model, workers=2 + seed % 2)) == outcome(result)


def test_coverage_counts_each_action_and_its_self_loops():
    result = explore(jugs(), coverage=True)
    assert set(result.coverage) == {"fill", "empty", "pour"}
    assert sum(count.transitions for count in result.coverage.values()) == result.transitions
    loops = sum(to == state for state in all_states(jugs()) for _, to in jugs().steps(state))
    assert result.self_loops == loops
    assert explore(jugs()).self_loops is None


def all_states(model):
    """Reachable states by a plain search, not the explorer's."""
    seen, todo = set(model.initial), list(model.initial)
    while todo:
        new = [to for _, to in model.steps(todo.pop()) if to not in seen]
        seen.update(new)
        todo.extend(new)
    return seen


def test_several_initial_states_are_level_one_and_doubles_count_once():
    result = explore(replace(grid(3), initial=[(1, 1), (0, 2), (1, 1)]))
    assert result.levels == (2, 2, 1)


# --- limits ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 50, 287])
@pytest.mark.parametrize("workers", [1, 2])
def test_max_states_is_never_exceeded_and_says_incomplete(limit, workers, eager_fork):
    result = explore(textbook_two_phase(3), max_states=limit, workers=workers)
    assert result.states == limit
    assert not result.complete
    assert not result.passed
    assert result.stopped == f"max_states={limit} reached"
    assert "incomplete" in str(result)
    assert result.unexpanded > 0
    assert result.unreached == () or "not reached" in str(result)


def test_a_limit_that_just_fits_is_no_limit():
    assert explore(textbook_two_phase(3), max_states=288).complete


def test_max_seconds_keeps_what_was_found():
    for seconds in (0.1, 1.0, 10.0, 100.0):  # more, if the machine is so busy that the time is up before it has begun
        result = explore(counter(goals={"ten": lambda n: n == 10}), max_seconds=seconds)
        assert result.stopped == f"max_seconds={seconds:g} reached"
        assert result.seconds >= seconds
        if result.depth > 10:
            break
    assert result.reached == ("ten",)
    assert result.states == result.depth > 10


@pytest.mark.parametrize("workers", [1, 2])
def test_max_memory_ends_a_search_without_end(workers):
    wide = Model(initial=[(0, 0)], successors=lambda s: [("x", (s[0] + 1, s[1])), ("y", (s[0], s[1] + 1))])
    result = explore(wide, max_memory=30_000_000, max_seconds=600, workers=workers)
    assert result.stopped == "max_memory reached"
    assert result.states > 1000


def test_stop_at_violation_finishes_the_level():
    model = textbook_two_phase(3, sound=False)
    result, full = explore(model, stop_at_violation=True), explore(model)
    assert result.violations == full.violations
    assert result.levels == full.levels[:4]
    assert result.stopped == "stop_at_violation"


# --- symmetry -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sound", [True, False])
@pytest.mark.parametrize("rms", [2, 3, 4])
@pytest.mark.parametrize("workers", [1, 2])
def test_symmetry_gives_the_verdicts_of_the_full_search(sound, rms, workers, eager_fork):
    model = textbook_two_phase(rms, sound=sound)
    full, reduced = explore(model), explore(model, symmetry=True, workers=workers)
    assert reduced.states == len({model.canonical(state) for state in all_states(model)}) < full.states
    assert reduced.depth == full.depth
    assert [(v.name, v.depth) for v in reduced.violations] == [(v.name, v.depth) for v in full.violations]
    assert {n: w and w.depth for n, w in reduced.goals.items()} == {n: w and w.depth for n, w in full.goals.items()}
    for witness in [*reduced.violations, *filter(None, reduced.goals.values())]:
        assert_is_run(model, witness.path)


def test_a_canonical_function_that_is_no_symmetry_is_refused_when_a_path_shows_it():
    """The jugs are of different sizes, so swapping them is not a symmetry."""
    with pytest.raises(ScenarioError, match="canonical is not a symmetry of this model: no step leads from"):
        explore(replace(jugs(), canonical=lambda state: tuple(sorted(state))), symmetry=True)


def test_a_property_that_is_not_symmetric_is_refused():
    model = Model(
        initial=[("b", "a")],
        successors=lambda state: [("swap", state[::-1])],
        canonical=lambda state: tuple(sorted(state)),
        goals={"a first": lambda state: state[0] == "a"},
    )
    with pytest.raises(ScenarioError, match="'a first' tells apart states that canonical maps to one"):
        explore(model, symmetry=True)


# --- several processes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [2, 3])
@pytest.mark.parametrize("limits", [{}, {"max_states": 700}, {"stop_at_violation": True}, {"coverage": True}])
@pytest.mark.parametrize("sound", [True, False])
@pytest.mark.sample(3)
def test_workers_change_nothing_but_the_time(workers, limits, sound, eager_fork):
    model = textbook_two_phase(4, sound=sound)
    one, many = explore(model, **limits), explore(model, workers=workers, **limits)
    assert outcome(many) == outcome(one)


@pytest.mark.parametrize("component", [None, 0, 1, 2, 9])
def test_results_do_not_depend_on_who_owns_a_state(component, eager_fork, monkeypatch):
    """Component 1 gives one worker nearly everything, so that states are lent; component 9 does not exist."""
    monkeypatch.setattr(parallel, "choose", lambda successors, states, workers: Partition(workers, component))
    monkeypatch.setattr(parallel, "_LEND_MIN", 1)
    model = replace(
        textbook_two_phase(4),
        deadlock=True,
        invariants={"not both": lambda s: not (s[1] == "aborted" and len(s[2]) == 3)},
        terminal_invariants={"never ends": lambda s: False},
    )
    assert outcome(explore(model, workers=2)) == outcome(explore(model))


@pytest.mark.parametrize("workers", [2, 3])
@pytest.mark.parametrize("component", [None, 0, 1])
def test_every_state_has_the_same_path_wherever_it_is_expanded(workers, component, eager_fork, monkeypatch):
    """A dense layered graph, where most states have many first parents to choose from, and most are lent."""
    monkeypatch.setattr(parallel, "choose", lambda successors, states, count: Partition(count, component))
    monkeypatch.setattr(parallel, "_LEND_MIN", 1)
    layers, width = 6, 40
    draw = random.Random(workers)
    graph = {
        (layer % 2, layer * width + i): [
            ((layer + 1) % 2, (layer + 1) * width + j) for j in draw.sample(range(width), 5) if layer < layers - 1
        ]
        for layer in range(layers)
        for i in range(width)
    }
    model = Model(
        initial=[(0, 0), (0, 1), (0, 2), (0, 3)],
        successors=lambda state: [(to[1], to) for to in graph[state]],
        goals={str(state): (lambda other, state=state: other == state) for state in graph},
    )
    one = explore(model)
    assert len(one.reached) > 4 * width
    assert outcome(explore(model, workers=workers)) == outcome(one)


@pytest.mark.parametrize("workers", [2, 3])
def test_ends_are_found_wherever_they_are_expanded(workers, eager_fork, monkeypatch):
    """A tree whose leaves are deadlocks at many depths, all owned by one worker and lent to the others."""
    monkeypatch.setattr(parallel, "choose", lambda successors, states, count: Partition(count, 0))
    monkeypatch.setattr(parallel, "_LEND_MIN", 1)

    def steps(state):
        _, n = state
        if n % 7 and n < 4000:
            yield "left", ("same", 2 * n)
            yield "right", ("same", 2 * n + 1)

    model = Model(
        initial=[("same", 1)], successors=steps, deadlock=True, terminal_invariants={"small": lambda s: s[1] < 100}
    )
    one, many = explore(model), explore(model, workers=workers)
    assert outcome(many) == outcome(one)
    assert one.deadlock_count > 10


def test_states_of_mixed_shape_find_their_owners(eager_fork):
    def steps(state):
        if isinstance(state, int):
            return [("wrap", (state, "x")), ("next", state + 1)] if state < 200 else []
        return [("wrap", (*state, state[0] % 5))] if len(state) < 4 else []

    model = Model(initial=[0, 1, 2], successors=steps)
    assert outcome(explore(model, workers=2)) == outcome(explore(model))


def test_states_without_components_find_their_owners(eager_fork):
    """The empty tuple has nothing to go by."""
    model = Model(initial=[()], successors=lambda state: [(n, (*state, n)) for n in range(3)] if len(state) < 5 else [])
    assert outcome(explore(model, workers=2)) == outcome(explore(model))
    assert parallel.choose(model.successors, [()], 2).component is None


class Colour(enum.IntEnum):
    RED = 1
    BLUE = 2


@pytest.mark.parametrize(
    "atom", [Colour.RED, numpy.int64(7), "text", frozenset({"a", "b"}), None, 1.5, Step("go", 1), b"bytes", (True, 1.0)]
)
def test_states_travel_unaltered(atom, eager_fork):
    """Values keep their types between workers, also those that a faster serializer would turn into others."""

    def steps(state):
        kept, n = state
        assert type(kept) is type(atom)
        assert kept == atom
        return [("up", (kept, n + 1)), ("double", (kept, 2 * n))] if n < 500 else []

    model = Model(initial=[(atom, 1), (atom, 2), (atom, 3)], successors=steps)
    assert outcome(explore(model, workers=2)) == outcome(explore(model))


def test_a_large_model_is_explored_alike_without_being_forced():
    model = benchmark_two_phase(6)
    result = explore(model, workers=2)
    assert outcome(result) == outcome(explore(model))
    assert (result.states, result.transitions) == (50816, 402305)


def test_results_do_not_depend_on_the_hash_seed():
    script = textwrap.dedent(
        f"""
        import importlib.util, sys
        from simtx.checker import explore
        explorer = importlib.import_module("simtx.checker.explorer.explore")
        explorer.FORK_AFTER_S = explorer.FORK_STATES = 0
        spec = importlib.util.spec_from_file_location("models", {str(Path(__file__))!r})
        models = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(models)
        for workers in (1, 2):
            result = explore(models.textbook_two_phase(3, sound=False), workers=workers)
            print(result.states, result.transitions, result.levels, result.violations[0].path[1:][0].action)
            print([(step.action, step.state[:2], sorted(map(str, step.state[3]))) for step in result.violations[0].path])
        """
    )
    outputs = set()
    for seed in ("0", "424242"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=300, check=True
        )
        lines = done.stdout.splitlines()
        assert lines[:2] == lines[2:]
        outputs.add(done.stdout)
    assert len(outputs) == 1


def test_a_killed_worker_ends_the_search_and_keeps_what_was_found(eager_fork):
    parent = os.getpid()

    def steps(n):
        if n == 5000 and os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return [("up", n + 1), ("double", 2 * n)]

    result = explore(Model(initial=[1, 2, 3], successors=steps, goals={"late": lambda n: n == 100}), workers=2)
    assert not result.complete
    assert "of 2 died, killed by signal 9" in result.stopped
    assert result.reached == ("late",)
    assert result.states > 100


def running_endless_search(workers):
    """A process that explores without end and prints a line at the first progress, and its result at the end."""
    script = textwrap.dedent(
        f"""
        from simtx.checker import Model, explore
        said = []
        def progress(now):
            if now.depth > 150 and not said:
                said.append(print("running", flush=True))
        model = Model(initial=[(0, 0)], successors=lambda s: [("x", (s[0] + 1, s[1])), ("y", (s[0], s[1] + 1))])
        result = explore(model, workers={workers}, progress=progress, max_seconds=600)
        print(result.stopped, result.states > 100, flush=True)
        """
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout.readline() == "running\n"
    return process


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_ends_the_search_and_keeps_what_was_found(workers):
    with running_endless_search(workers) as process:
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=300)
    assert output == "interrupted True\n"
    assert process.returncode == 0


def test_workers_end_when_the_coordinator_is_killed():
    with running_endless_search(2) as process:
        os.kill(process.pid, signal.SIGKILL)
        # The workers hold the write end of this pipe; it ends when they do.
        assert process.stdout.read() == ""


def test_progress_is_told(eager_fork):
    seen = []
    for seconds in (1, 10, 100):  # more, if the machine is so busy that the time is up before anything is told
        explore(grid(10**6), max_seconds=seconds, progress=seen.append)
        if seen:
            break
    assert seen
    assert [now.states for now in seen] == sorted(now.states for now in seen)
    assert all(now.expanded <= now.frontier for now in seen)


# --- mistakes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"workers": 0}, "explore: workers: must be a whole number of at least 1, got 0"),
        ({"workers": 1.5}, "explore: workers"),
        ({"max_states": True}, "explore: max_states: must be a whole number of at least 1, got True"),
        ({"max_seconds": True}, "explore: max_seconds: must be a positive number of seconds, got True"),
        ({"max_states": 0}, "explore: max_states"),
        ({"max_seconds": -1}, "explore: max_seconds: must be a positive number of seconds, got -1"),
        ({"max_memory": "1"}, "explore: max_memory: '1' is no size"),
        (
            {"max_memory": 0.5},
            "explore: max_memory: must be a whole number of at least 1, or a size such as '4GB', got 0.5",
        ),
        ({"engine": "quick"}, "explore: engine"),
        ({"progress": 3}, "explore: progress"),
        ({"symmetry": True}, "explore: symmetry: needs a model with a canonical function"),
    ],
)
def test_a_wrong_argument_is_named(arguments, message):
    with pytest.raises(ScenarioError) as caught:
        explore(jugs(), **arguments)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_what_is_not_a_model_is_refused():
    with pytest.raises(ScenarioError, match=r"explore: takes a simtx\.checker\.Model, got dict"):
        explore({})


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"initial": []}, "at least one state"),
        ({"initial": [[1]]}, "hashable states"),
        ({"initial": 3}, "hashable states"),
        ({"actions": {}}, "give either actions or successors"),
        ({"successors": lambda s: []}, "give either actions or successors"),
        ({"actions": {"go": 3}}, r"actions\['go'\] must be a function of a state, got int"),
        ({"invariants": ["positive"]}, "invariants must map names to functions, got list"),
        ({"goals": {"g": True}}, r"goals\['g'\] must be a function"),
        ({"canonical": 1}, "canonical must be a function"),
        ({"deadlock": "yes"}, "deadlock must be True, False or a predicate"),
        ({"invariants": {"i": bool}, "terminal_invariants": {"i": bool}}, "'i' names both"),
    ],
)
def test_a_wrong_model_is_refused_in_one_line(parts, message):
    with pytest.raises(ScenarioError, match=message) as caught:
        Model(**{"name": "m", "initial": [0], "actions": {"go": lambda s: [s]}, **parts})
    assert str(caught.value).startswith("model 'm': ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda n: None, r"successors returned None, not an iterable of pairs .* in the state 40"),
        (lambda n: [n + 1], r"successors yielded 41, not a pair"),
        (lambda n: [("up", [n])], r"next state that is not hashable"),
    ],
)
def test_a_wrong_answer_of_successors_is_explained(answer, message, workers, eager_fork):
    model = Model(initial=[0, 1, 2], successors=lambda n: answer(n) if n == 40 else [("up", n + 1), ("more", n + 3)])
    with pytest.raises(ScenarioError, match=message):
        explore(model, workers=workers)


def test_a_wrong_answer_of_an_action_is_explained():
    with pytest.raises(ScenarioError, match="action go returned None, not an iterable of next states, in the state 0"):
        explore(Model(initial=[0], actions={"go": lambda n: None}))


@pytest.mark.parametrize("workers", [1, 2])
def test_an_exception_of_the_model_passes_with_a_note_of_the_state(workers, eager_fork):
    def steps(n):
        return [("divide", 1 // (40 - n)), ("up", n + 1), ("more", n + 3)]

    with pytest.raises(ZeroDivisionError) as caught:
        explore(Model(name="fraction", initial=[1, 2, 3], successors=steps), workers=workers)
    assert "raised by model 'fraction' in the state 40" in caught.value.__notes__


@pytest.mark.parametrize("workers", [1, 2])
def test_an_exception_of_a_property_passes_with_a_note_of_the_state(workers, eager_fork):
    model = replace(grid(30), invariants={"far": lambda s: 1 // (20 - s[0]) < 2})
    with pytest.raises(ZeroDivisionError) as caught:
        explore(model, workers=workers)
    assert caught.value.__notes__[0].startswith("raised by a property of model 'grid' in (20, ")


@pytest.mark.parametrize("state", [object(), lambda: 0])
def test_states_that_cannot_travel_between_processes_are_refused(state, eager_fork):
    model = Model(initial=[(state, 0), (state, 1), (state, 2)], successors=lambda s: [("up", (s[0], s[1] + 1))])
    with pytest.raises(ScenarioError, match="explore: workers: states must survive pickling"):
        explore(model, workers=2)
    assert explore(model, max_states=50).states == 50


def test_a_model_that_changes_its_mind_is_found_out():
    calls = []

    def steps(n):
        calls.append(n)
        return [("up", n + 1)] if len(calls) < 5 else []

    with pytest.raises(ScenarioError, match="successors change between calls"):
        explore(Model(initial=[0], successors=steps, goals={"four": lambda n: n == 4}))


# --- presentation ---------------------------------------------------------------------------------------------------------


def test_a_path_reads_as_numbered_steps():
    model = Model(
        name="lift",
        initial=[0],
        successors=lambda n: [(("Up", n), n + 1)] if n < 2 else [],
        invariants={"low": lambda n: n < 2},
        show=lambda n: f"floor {n}",
    )
    result = explore(model)
    assert result.violations[0].story() == "1. initially  floor 0\n2. Up(0)      floor 1\n3. Up(1)      floor 2"
    assert str(result).startswith("lift: complete, 3 states, 2 transitions, depth 3, ")
    assert "violated: low" in repr(result)
    assert "<td>Up(1)</td><td><code>floor 2</code></td>" in result._repr_html_()


def test_html_escapes_what_models_say():
    result = explore(Model(name="<b>", initial=["<i>"], successors=lambda s: [], invariants={"<u>": lambda s: False}))
    assert not {"<b>", "<i>", "<u>"} & set(result._repr_html_().replace(">", "> ").split())


def test_a_result_survives_pickling():
    result = explore(textbook_two_phase(2, sound=False))
    assert pickle.loads(pickle.dumps(result)) == result  # noqa: S301
