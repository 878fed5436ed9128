"""A worker process of a parallel search; `simtx.checker.explorer.parallel` tells how workers play together."""

import gc
import marshal
import os
import pickle
import signal
import struct
import traceback
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import compress, repeat
from multiprocessing.connection import Connection
from operator import not_
from typing import Any, Generic, NamedTuple

import numpy as np

from simtx.checker.explorer.engine import ROOT, Compiled, Guard, Level, check, expand
from simtx.checker.explorer.exploration import DEADLOCKS_KEPT
from simtx.checker.explorer.model import Model, S
from simtx.checker.explorer.partition import Ints, Partition
from simtx.errors import RunFailed, ScenarioError

SEQUENCE_BITS = 24
"""Bits of a key for the position among the new states of one parent; the bits above are the parent's rank."""

COUNTER = struct.Struct("q")
"""Layout of the shared memory: the interrupt flag, then for each worker the states of the level that it has expanded."""


class Batch(NamedTuple):
    """States on their way to another worker, packed, and their keys (if new) or ranks (if lent)."""

    states: bytes
    keys: Ints


class Hit(NamedTuple):
    """A state that decides a property, and its rank in its level."""

    rank: int
    state: Any


class Findings(NamedTuple):
    """Report of one worker when a level begins.

    Attributes:
        hits: (kind, name) to the first of the new states that decides a property.
        transitions: Of the level before, up to the cut.
        expanded: States of the level before that are done, up to the cut.
        terminal: Those among them without successors.
        terminal_hits: Name to the first terminal state that violates a terminal invariant.
        deadlocks: The first deadlocks.
        deadlock_count: Of all deadlocks.
    """

    hits: dict[tuple[str, str], Hit]
    transitions: int
    expanded: int
    terminal: int
    terminal_hits: dict[str, Hit]
    deadlocks: list[Hit]
    deadlock_count: int


@dataclass(frozen=True)
class _Elsewhere:
    """Stands where a parent would that another worker knows."""

    worker: int


class Worker(Generic[S]):
    """One worker: its share of the visited states and of the current level.

    Args:
        index: Of this worker.
        compiled: The model.
        partition: Who owns which state.
        guard: Of this process.
        parents: What was known before the workers were forked.
        states: The level to go on with, in the order of their ranks.
    """

    def __init__(
        self,
        index: int,
        compiled: Compiled[S],
        partition: Partition,
        guard: Guard,
        parents: dict[S, Any],
        states: list[S],
    ) -> None:
        self.index = index
        self.compiled = compiled
        self.partition = partition
        self.guard = guard
        self.parent_process = os.getppid()
        self.parents = parents
        mine = partition.owners(states) == index
        self.level: Level[S] = Level(list(compress(states, mine)))
        self.ranks: Ints = np.flatnonzero(mine)
        self.next: list[S] = []
        self.own: tuple[list[S], Ints] = ([], self.ranks)

    def load(self) -> int:
        """States of the level that this worker owns."""
        return len(self.level.states)

    def lend(self, counts: list[int]) -> list[Batch | None]:
        """Give states of the level to other workers to expand, as many as told for each; return a batch for each."""
        batches: list[Batch | None] = []
        states = list(self.level.states)
        for count in counts:
            if count:
                batches.append(Batch(pack(self.compiled.model, states[-count:]), self.ranks[-count:]))
                states, self.ranks = states[:-count], self.ranks[:-count]
            else:
                batches.append(None)
        self.level = Level(states)
        return batches

    def _borrow(self, loans: list[tuple[int, Batch]]) -> None:
        """Add states lent by others to the level."""
        catch_up(self.compiled.model)
        states, ranks = list(self.level.states), [self.ranks]
        for owner, batch in loans:
            lent = unpack(batch.states)
            states += lent
            ranks.append(batch.keys)
            # A parent that is there already stays: the owner may refer to it.
            deque(map(self.parents.setdefault, lent, repeat(_Elsewhere(owner))), maxlen=0)
        merged = np.concatenate(ranks)
        order = np.argsort(merged, kind="stable")
        self.level = Level([states[position] for position in order.tolist()])
        self.ranks = merged[order]

    def expand(self, room: int, loans: list[tuple[int, Batch]]) -> tuple[list[Batch | None], str]:
        """Expand this worker's part of the level.

        Args:
            room: New states of its own after which the level will certainly be cut by `max_states`.
            loans: (owner, batch) of states to expand for others.

        Returns:
            A batch for each other worker, and the reason why the level was not finished, if so.
        """
        if loans:
            self._borrow(loans)
        level = self.level
        reason = ""
        self.guard.resume()
        while level.expanded < len(level.states):
            if reason := self.guard.reason():
                break
            expand(self.compiled, level, self.guard.size, self.parents)
            COUNTER.pack_into(self.guard.flag, COUNTER.size * (self.index + 1), level.expanded)
            gc.freeze()
            if os.getppid() != self.parent_process:
                raise SystemExit  # the coordinator is gone
            if len(level.found) > room and int((self.partition.owners(level.found) == self.index).sum()) > room:
                break
        owners = self.partition.owners(level.found)
        keys = self._keys()
        mine = owners == self.index
        self.own = list(compress(level.found, mine)), keys[mine]
        batches: list[Batch | None] = []
        for other in range(self.partition.workers):
            chosen = owners == other
            if other != self.index and chosen.any():
                data = pack(self.compiled.model, list(compress(level.found, chosen)))
                batches.append(Batch(data, keys[chosen]))
            else:
                batches.append(None)
        return batches, reason

    def _keys(self) -> Ints:
        """The keys of the states found in this level, in their order, hence ascending."""
        ends = np.asarray(self.level.ends, np.int64)
        starts = np.concatenate((np.zeros(1, np.int64), ends))[:-1]
        sizes = ends - starts
        if len(sizes) and int(sizes.max()) >> SEQUENCE_BITS:
            raise RunFailed(f"a state has more than {1 << SEQUENCE_BITS:,} new successors; explore with workers=1")
        sequence = np.arange(len(self.level.found), dtype=np.int64) - np.repeat(starts, sizes)
        keys: Ints = np.repeat(self.ranks[: len(ends)] << SEQUENCE_BITS, sizes) + sequence
        return keys

    def merge(self, batches: list[tuple[int, Batch]]) -> Ints:
        """Join the new states of this worker and of others; return the keys of what is new, ascending.

        A state found by several workers gets the least of its keys, and the parent that goes with it.
        """
        catch_up(self.compiled.model)
        states, keys = self.own
        parents = self.parents
        late: dict[S, int] = {}  # not known here before
        for sender, batch in batches:
            elsewhere = _Elsewhere(sender)
            received, received_keys = unpack(batch.states), batch.keys.tolist()
            known = list(map(parents.__contains__, received))
            offered = dict(compress(zip(received, received_keys, strict=True), known))
            if late:
                for state in filter(late.__contains__, offered):
                    if offered[state] < late[state]:
                        parents[state] = elsewhere
                        late[state] = offered[state]
            # A sender sends a state once, so that those of this batch are distinct.
            new = list(map(not_, known))
            late.update(compress(zip(received, received_keys, strict=True), new))
            parents.update(zip(compress(received, new), repeat(elsewhere)))
            # Of those found here in this level, some come earlier by the sender's parent.
            both = np.flatnonzero(np.fromiter(map(offered.__contains__, states), np.bool_, len(states)))
            theirs = np.fromiter((offered[states[position]] for position in both.tolist()), np.int64, len(both))
            earlier = theirs < keys[both]
            keys[both[earlier]] = theirs[earlier]
            parents.update((states[position], elsewhere) for position in both[earlier].tolist())
        merged = np.concatenate((keys, np.fromiter(late.values(), np.int64, len(late))))
        order = np.argsort(merged, kind="stable")
        found = [*states, *late]
        self.next = list(map(found.__getitem__, order.tolist()))
        ascending: Ints = merged[order]
        return ascending

    def settle(self, ranks: Ints, cut: int | None, properties: list[tuple[str, str]], terminal: list[str]) -> Findings:
        """Enter the new level and close the books of the one before.

        Args:
            ranks: Of this worker's states in the new level, ascending; states beyond them are dropped.
            cut: Rank, in the level before, of the first state whose expansion does not count; None when all count.
            properties: (kind, name) of those still open.
            terminal: Names of the terminal invariants still open.
        """
        compiled, before = self.compiled, self.level
        done = before.expanded if cut is None else min(before.expanded, int(np.searchsorted(self.ranks, cut)))
        positions = before.terminal(done)
        ended = [before.states[position] for position in positions]
        ended_ranks = [int(self.ranks[position]) for position in positions]
        terminal_hits = {}
        for name in terminal:
            for state in check(compiled, compiled.terminal_invariants[name], ended, wanted=False):
                terminal_hits[name] = Hit(ended_ranks[ended.index(state)], state)
        deadlocked = compiled.deadlocked or (lambda _: False)
        deadlocks = [Hit(rank, state) for rank, state in zip(ended_ranks, ended, strict=True) if deadlocked(state)]
        self.level = Level(self.next[: len(ranks)])
        self.ranks = ranks
        hits = {}
        for kind, name in properties:
            table = compiled.goals if kind == "goal" else compiled.invariants
            for state in check(compiled, table[name], self.level.states, wanted=kind == "goal"):
                hits[kind, name] = Hit(int(ranks[self.level.states.index(state)]), state)
        return Findings(
            hits=hits,
            transitions=before.transitions[done - 1] if done else 0,
            expanded=done,
            terminal=len(ended),
            terminal_hits=terminal_hits,
            deadlocks=deadlocks[:DEADLOCKS_KEPT],
            deadlock_count=len(deadlocks),
        )

    def trace(self, state: S) -> tuple[list[S], int | None]:
        """Follow parents from a state that this worker owns, or has sent to its owner.

        Returns:
            The states before it, nearest first, as far as this worker knows; and the worker to ask about the last of them (or
            about `state`, when there are none); None at an initial state.
        """
        states: list[S] = []
        parent = self.parents[state]
        while parent is not ROOT and not isinstance(parent, _Elsewhere):
            states.append(parent)
            owner = self.partition.owner(parent)
            if owner != self.index:  # a borrowed state: which of its parents is the first, its owner knows
                return states, owner
            parent = self.parents[parent]
        return states, parent.worker if isinstance(parent, _Elsewhere) else None

    def coverage(self) -> dict[Any, list[int]]:
        """Action label to [transitions, self-loops] of this worker since the fork."""
        return self.compiled.counts


def catch_up(model: Model[S]) -> None:
    """Learn what the numbers in states stand for that come from another process."""
    if model.catch_up is not None:
        model.catch_up()


def pack(model: Model[S], states: list[S]) -> bytes:
    """Serialize some states, at least one.

    States of plain builtin values travel by `marshal`: unlike `pickle` it keeps strings interned, so that comparing a state that
    has travelled stays as fast. It is trusted only if the copies are equal; it may alter other types, or refuse them.

    Raises:
        ScenarioError: They do not survive it: the copy of the first is not equal to it, or it has none.
    """
    with suppress(ValueError):
        data = marshal.dumps(states)
        if marshal.loads(data) == states:  # noqa: S302  # our own bytes
            return b"m" + data
    problem = "its copy is not equal to it"
    try:
        copy = pickle.loads(pickle.dumps(states[0]))  # noqa: S301  # our own bytes
        if copy == states[0] and hash(copy) == hash(states[0]):
            return b"p" + pickle.dumps(states, pickle.HIGHEST_PROTOCOL)
    except (pickle.PickleError, TypeError, AttributeError, RecursionError) as error:
        problem = str(error)
    shown = model.show(states[0])
    raise ScenarioError(f"states must survive pickling, and {shown} does not ({problem}); use 1", "explore: workers")


def unpack(data: bytes) -> list[Any]:
    """The states that `pack` has serialized."""
    load = marshal.loads if data[:1] == b"m" else pickle.loads
    states: list[Any] = load(memoryview(data)[1:])
    return states


def serve(
    worker_of: Callable[[int], Worker[Any]],
    index: int,
    pipe: "Connection[Any, Any]",
    others: "Iterable[Connection[Any, Any]]",
) -> None:
    """Be worker `index`: answer the coordinator's calls until it hangs up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the coordinator decides
    for other in others:
        other.close()  # inherited; held open here, it would hide the coordinator's death from the other workers
    try:
        worker = worker_of(index)
        while True:
            name, arguments = pipe.recv()
            pipe.send((True, getattr(worker, name)(*arguments)))
    except (EOFError, ConnectionError):
        return
    except Exception as error:  # noqa: BLE001  # whatever a model raises is raised again by the coordinator
        pipe.send((False, _portable(error)))


def _portable(error: Exception) -> Exception:
    """The exception itself if it can travel, else one that says the same."""
    if not isinstance(error, ScenarioError | RunFailed):
        error.add_note("in a worker of explore:\n" + "".join(traceback.format_exception(error)).rstrip())
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes
    except Exception:  # noqa: BLE001  # any failure to pickle has the same answer
        return RunFailed(f"a worker of explore failed with {type(error).__name__}: {error}")
    return error
