"""Partition of the states among workers.

Hashing whole states spreads them evenly, but then most steps lead to a state that another worker owns. Hashing one component of
a state that few actions change keeps most steps local (F. Lerda and R. Sisto, "Distributed-memory model checking with SPIN",
SPIN 1999). Which component, and by which of some hash functions, is judged on a sample of the levels to come, since the frontier
alone says little about them. A bad choice costs time and nothing else.
"""

import random
from collections.abc import Callable, Hashable, Sequence
from operator import itemgetter
from time import process_time
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

_WIDTH = 200  # states of a level that the sample goes on with
_SAMPLE_S = 0.04  # CPU time for the sample, at most
_COMPONENTS = 32
_FINALISTS = 2  # components for which all hash functions are tried
_SENT = 0.5  # what a state that is sent costs both workers together, as a share of what exploring it costs
_GAIN = 0.8  # a component must promise this much less than whole states, which spread evenly for certain
_MULTIPLIERS = tuple(random.Random(seed).getrandbits(64) | 1 for seed in range(12))  # noqa: S311  # any odd numbers do


class Partition:
    """Maps states to workers by a hash of one component, or of the whole state. Equal states have the same owner.

    Args:
        workers: Number of workers.
        component: Index into states that are tuples; None for the whole state.
        multiplier: Of the hash; odd.
    """

    def __init__(self, workers: int, component: int | None = None, multiplier: int = _MULTIPLIERS[0]) -> None:
        self.workers = workers
        self.component = component
        self.multiplier = multiplier

    def owners(self, states: Sequence[Any]) -> Ints:
        """The owner of each state, by number."""
        return self.spread(self.hashes(states))

    def owner(self, state: Any) -> int:
        """The owner of one state."""
        return int(self.owners([state])[0])

    def hashes(self, states: Sequence[Any]) -> Ints:
        """Python's hash of the component of each state."""
        if self.component is None:
            return np.fromiter(map(hash, states), np.int64, len(states))
        try:
            return np.fromiter(map(hash, map(itemgetter(self.component), states)), np.int64, len(states))
        except (IndexError, TypeError, KeyError):
            return np.fromiter(map(self._hash, states), np.int64, len(states))

    def _hash(self, state: Any) -> int:
        """Hash a state, also in models that mix states with and without this component."""
        try:
            return hash(state[self.component])
        except (IndexError, TypeError, KeyError):
            return hash(state)

    def spread(self, hashes: Ints) -> Ints:
        """The owners that go with some hashes; multiplied first, since the hash of a small integer is the integer."""
        product = hashes.view(np.uint64) * np.uint64(self.multiplier)
        return ((product >> np.uint64(32)) % np.uint64(self.workers)).astype(np.int64)


def choose(successors: Callable[[Any], Any], states: Sequence[Hashable], workers: int) -> Partition:
    """The partition that promises the least time.

    Args:
        successors: Gives the (label, next state) of a state.
        states: The level from which the workers will go on.
        workers: Number of workers, at least two.
    """
    whole = Partition(workers)
    try:
        sampled, layers, sources, targets = _sample(successors, states)
    except Exception:  # noqa: BLE001  # the model's: the search will meet it too, if it gets there, and say where
        return whole
    if not sources or not all(isinstance(state, tuple) and type(state).__eq__ is tuple.__eq__ for state in sampled):
        return whole
    home = np.asarray(sources)
    branching = len(sources) / len(sampled)
    layer_of = np.searchsorted(layers, np.arange(len(sampled)), side="right") * workers

    def overhead(hashes: tuple[Ints, Ints], partition: Partition) -> float:
        """Estimate of the time that the partition adds, as a share of what workers need that never wait nor talk.

        A state is found from about as many others as it leads to, and is sent once by each worker but its owner that finds it.
        A level takes as long as the worker that owns most of it.
        """
        homes, reached = map(partition.spread, hashes)
        crossing = np.mean(homes[home] != reached) / (workers - 1)
        sent = (workers - 1) * (1 - (1 - crossing) ** branching)
        loads = np.bincount(layer_of + homes, minlength=workers * (len(layers) + 1)).reshape(-1, workers)
        return float(_SENT * sent + loads.max(axis=1).sum() * workers / len(homes) - 1)

    def hashed(partition: Partition) -> tuple[Ints, Ints]:
        return partition.hashes(sampled), partition.hashes(targets)

    best, least = whole, _GAIN * overhead(hashed(whole), whole)
    width = min(_COMPONENTS, *(len(state) for state in sampled if isinstance(state, tuple)))
    entries = ((component, hashed(Partition(workers, component))) for component in range(width))
    first = sorted((overhead(hashes, whole), component, hashes) for component, hashes in entries)
    for _, component, hashes in first[:_FINALISTS]:
        for candidate in (Partition(workers, component, multiplier) for multiplier in _MULTIPLIERS):
            promised = overhead(hashes, candidate)
            if promised < least:
                best, least = candidate, promised
    return best


def _sample(
    successors: Callable[[Any], Any], states: Sequence[Hashable]
) -> tuple[list[Hashable], list[int], list[int], list[Hashable]]:
    """Explore a sample: of each level's new states, only some are gone on with.

    Returns:
        The states of the sample, level by level; where in them a new level begins; and all steps out of them, as the positions
        of the states that they leave and the states that they reach.
    """
    choose_some = random.Random(0).sample  # noqa: S311  # a sample, not a secret
    met: dict[Hashable, int] = {}
    layers: list[int] = []
    sources: list[int] = []
    targets: list[Hashable] = []
    until = process_time() + _SAMPLE_S
    level = list(states)
    while level and process_time() < until:
        if met:
            layers.append(len(met))
        found: dict[Hashable, None] = {}
        for state in level if len(level) <= _WIDTH else choose_some(level, _WIDTH):
            following = [to for _, to in successors(state) if to != state]
            sources += [len(met)] * len(following)
            targets += following
            met[state] = len(met)
            found.update(dict.fromkeys(following))
            if process_time() > until:
                break
        level = [state for state in found if state not in met]
    return list(met), layers, sources, targets
