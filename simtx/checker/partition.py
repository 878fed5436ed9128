"""Which worker owns a state.

Hashing whole states spreads them evenly, but then most steps lead to a state that another worker owns. Hashing one component of
a state that few actions change keeps most steps local (F. Lerda and R. Sisto, "Distributed-memory model checking with SPIN",
SPIN 1999). Which component, and by which of some hash functions, is judged on states met on random walks, since the frontier
alone says little about the levels to come. A bad choice costs time and nothing else.
"""

import random
from collections.abc import Callable, Hashable, Sequence
from operator import itemgetter
from time import process_time
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

_WALKS = 200
_WALK_STEPS = 25
_SAMPLE_S = 0.015  # CPU time for the walks
_COMPONENTS = 32
_GAIN = 0.7  # a component must promise this much less traffic than whole states, which spread evenly for certain
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
        """For models that mix states with and without this component."""
        try:
            return hash(state[self.component])
        except (IndexError, TypeError, KeyError):
            return hash(state)

    def spread(self, hashes: Ints) -> Ints:
        """The owners that go with some hashes; multiplied first, since the hash of a small integer is the integer."""
        product = hashes.view(np.uint64) * np.uint64(self.multiplier)
        return ((product >> np.uint64(32)) % np.uint64(self.workers)).astype(np.int64)


def choose(successors: Callable[[Any], Any], states: Sequence[Hashable], workers: int) -> Partition:
    """The partition that promises the least traffic between workers.

    Args:
        successors: Gives the (label, next state) of a state.
        states: The level from which the workers will go on.
        workers: Number of workers, at least two.
    """
    whole = Partition(workers)
    try:
        sampled, sources, targets = _walk(successors, states)
    except Exception:  # noqa: BLE001  # the model's: the search will meet it too, if it gets there, and say where
        return whole
    if not sources or not all(isinstance(state, tuple) and type(state).__eq__ is tuple.__eq__ for state in sampled):
        return whole
    home = np.asarray(sources)
    branching = len(sources) / len(sampled)

    def traffic(hashes: tuple[Ints, Ints], partition: Partition) -> float:
        """Estimate of the states sent per state explored.

        A state is found from about as many others as it leads to, and is sent once by each worker but its owner that finds it.
        A state lent to even out the load is sent itself, and most of what is found from it is sent back.
        """
        homes, reached = map(partition.spread, hashes)
        crossing = np.mean(homes[home] != reached) / (workers - 1)
        sent = (workers - 1) * (1 - (1 - crossing) ** branching)
        lent = np.bincount(homes, minlength=workers).max() / len(homes) - 1 / workers
        return float(sent + 2 * lent)

    def hashed(partition: Partition) -> tuple[Ints, Ints]:
        return partition.hashes(sampled), partition.hashes(targets)

    ranking: list[tuple[float, Partition]] = []
    width = min(_COMPONENTS, *(len(state) for state in sampled if isinstance(state, tuple)))
    for component in range(width):
        hashes = hashed(Partition(workers, component))
        candidates = [Partition(workers, component, multiplier) for multiplier in _MULTIPLIERS]
        ranking += [(traffic(hashes, candidate), candidate) for candidate in candidates]
    least, best = min(ranking, key=itemgetter(0))
    return best if least < _GAIN * traffic(hashed(whole), whole) else whole


def _walk(
    successors: Callable[[Any], Any], states: Sequence[Hashable]
) -> tuple[list[Hashable], list[int], list[Hashable]]:
    """Walk at random from some of the states; return the states met, and all steps out of them as (position, next state)."""
    choice = random.Random(0).choice  # noqa: S311  # a sample, not a secret
    met: dict[Hashable, int] = {}
    sources: list[int] = []
    targets: list[Hashable] = []
    until = process_time() + _SAMPLE_S
    for _ in range(_WALKS):
        state = choice(states)
        for _ in range(_WALK_STEPS):
            following = [to for _, to in successors(state) if to != state]
            if state not in met:
                sources += [len(met)] * len(following)
                targets += following
                met[state] = len(met)
            if not following or process_time() > until:
                break
            state = choice(following)
    return list(met), sources, targets
