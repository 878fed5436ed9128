"""Which worker owns a state.

Hashing whole states spreads them evenly, but then most steps lead to a state that another worker owns. Hashing one component of
a state that few actions change keeps most steps local (F. Lerda and R. Sisto, "Distributed-memory model checking with SPIN",
SPIN 1999). Which component that is, is measured on a sample. A bad choice costs time and nothing else.
"""

from collections.abc import Callable, Hashable, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # spreads hashes, since those of integers are the integers themselves
_SAMPLE = 400
_COMPONENTS = 32
_GAIN = 0.7  # a component must promise this much less traffic than whole states, which never disappoint later


class Partition:
    """Maps states to workers by the hash of one component, or of the whole state. Equal states have the same owner.

    Args:
        workers: Number of workers.
        component: Index into states that are tuples; None for the whole state.
    """

    def __init__(self, workers: int, component: int | None = None) -> None:
        self.workers = workers
        self.component = component

    def owners(self, states: Sequence[Any]) -> Ints:
        """The owner of each state, by number."""
        if self.component is None:
            hashes = np.fromiter(map(hash, states), np.int64, len(states))
        else:
            try:
                hashes = np.fromiter(map(hash, map(itemgetter(self.component), states)), np.int64, len(states))
            except (IndexError, TypeError, KeyError):
                hashes = np.fromiter(map(self._hash, states), np.int64, len(states))
        spread = (hashes.view(np.uint64) * _GOLDEN) >> np.uint64(32)
        return (spread % np.uint64(self.workers)).astype(np.int64)

    def owner(self, state: Any) -> int:
        """The owner of one state."""
        return int(self.owners([state])[0])

    def _hash(self, state: Any) -> int:
        """For models that mix states with and without this component."""
        try:
            return hash(state[self.component])
        except (IndexError, TypeError, KeyError):
            return hash(state)


def choose(
    successors: Callable[[Any], Any], states: Sequence[Hashable], workers: int, sample: int = _SAMPLE
) -> Partition:
    """The partition that promises the least traffic, judged by the steps out of a sample of states."""
    sampled = states[:: max(1, len(states) // sample)]
    whole = Partition(workers)
    if not all(isinstance(state, tuple) and type(state).__eq__ is tuple.__eq__ for state in sampled):
        return whole
    steps = [
        (index, following)
        for index, state in enumerate(sampled)
        for _, following in successors(state)
        if following != state
    ]
    if not steps:
        return whole
    sources, targets = zip(*steps, strict=True)
    width = min(_COMPONENTS, *(len(state) for state in sampled if isinstance(state, tuple)))
    candidates = [whole, *(Partition(workers, component) for component in range(width))]

    def traffic(partition: Partition) -> float:
        """Estimate of the states sent per state explored.

        A state is found from about as many others as it leads to, and is sent once by each worker but its owner that finds it.
        A state lent to even out the load is sent itself, and most of what is found from it is sent back.
        """
        homes = partition.owners(sampled)
        crossing = np.mean(homes[list(sources)] != partition.owners(targets)) / (workers - 1)
        sent = (workers - 1) * (1 - (1 - crossing) ** (len(steps) / len(sampled)))
        lent = np.bincount(homes, minlength=workers).max() / len(sampled) - 1 / workers
        return float(sent + 2 * lent)

    best = min(candidates, key=traffic)
    return best if traffic(best) < _GAIN * traffic(whole) else whole
