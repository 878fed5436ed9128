"""Random streams: one for each purpose, so that compared strategies meet the same world.

A stream is a function of four things and of nothing else: the seed, the replication, the component's name and the purpose. So

- two strategies, or two processes, that ask for the same stream get the same numbers (common random numbers);
- a component or purpose more, or less, shifts no other stream, and neither does the order of asking;
- distinct streams are independent for all practical purposes.

What belongs to a transaction and is used in another order by every strategy is not dealt out here, but by `simtx.workload.by_transaction`.

The four are hashed with BLAKE2b (never Python's `hash`, which differs between processes) into the entropy of a NumPy `SeedSequence`,
which seeds a PCG64 generator. Variates are drawn in blocks, as a call into NumPy costs about as much for a hundred as for one. The block size
does not change the numbers where a distribution takes its variates one after the other from the generator. One call of a `Generator` method such
as `random`, `exponential` or `lognormal` does so; it does change them where a block makes
several such calls, as a mixture does. NumPy may change a method's algorithm in a new release, so a run's digest is that of a NumPy version.

Sources: M. E. O'Neill, "PCG", HMC-CS-2014-0905; NumPy's documentation of SeedSequence and its compatibility policy (NEP 19);
A. M. Law, Simulation Modeling and Analysis, section 11.2, on common random numbers and their synchronization.
"""

from collections.abc import Callable, Iterator
from functools import partial
from hashlib import blake2b
from itertools import chain, repeat
from operator import index
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from simtx.errors import ScenarioError
from simtx.scenario.distributions import Constant

__all__ = ["BLOCK", "Sampled", "Streams"]

BLOCK = 1024
"""Variates that are drawn at once, unless told otherwise: 8 kB of them, and a share of NumPy's overhead under a nanosecond each."""


class Sampled(Protocol):
    """Members that a stream needs of a distribution; every one in `simtx.scenario.distributions` has it, and so can a user's."""

    def sample(self, rng: np.random.Generator, n: int, /) -> NDArray[np.float64]:
        """Draw `n` independent variates from the given generator."""
        ...


class Streams:
    """The random streams of one run.

    Asking for a stream again starts it again: a component asks once, when it is built.

    Args:
        seed: Any integer from 0 on.
        replication: The number of the replication, from 0 on.

    Raises:
        ScenarioError: One of them is not such an integer.
    """

    __slots__ = ("replication", "seed")

    def __init__(self, seed: int, replication: int = 0) -> None:
        self.seed = _natural("seed", seed)
        self.replication = _natural("replication", replication)

    def generator(self, component: str, purpose: str) -> np.random.Generator:
        """The NumPy generator of a component's purpose, at its start."""
        entropy = int.from_bytes(self._hash(component, purpose, 32), "little")
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))

    def key(self, component: str, purpose: str) -> int:
        """A key of 128 bits for a component's purpose, for generators that take one."""
        return int.from_bytes(self._hash(component, purpose, 16), "little")

    def _hash(self, component: str, purpose: str, size: int) -> bytes:
        """Hash of so many bytes, of the four parts of a stream's name."""
        key = blake2b(digest_size=size, person=b"simtx streams")
        for part in (str(self.seed), str(self.replication), component, purpose):
            text = part.encode()
            key.update(len(text).to_bytes(8, "little"))  # the length keeps ("a", "bc") apart from ("ab", "c")
            key.update(text)
        return key.digest()

    def uniform(self, component: str, purpose: str, block: int = BLOCK) -> Callable[[], float]:
        """A function that returns the next number between 0 (included) and 1 (excluded) at each call."""
        return _one_by_one(np.random.Generator.random, partial(self.generator, component, purpose), block)

    def draws(self, distribution: Sampled, component: str, purpose: str, block: int = BLOCK) -> Callable[[], float]:
        """A function that returns the next variate of a distribution at each call.

        Args:
            distribution: What to draw from. A `Constant` draws nothing.
            component: The name of who asks, such as a service or a link.
            purpose: What for, such as "service time".
            block: How many variates are drawn at once; the first block is drawn at the first call.

        Raises:
            ScenarioError: The block is not a positive integer.
        """
        if isinstance(distribution, Constant):
            return repeat(distribution.value).__next__
        return _one_by_one(distribution.sample, partial(self.generator, component, purpose), block)

    def __repr__(self) -> str:
        return f"Streams(seed={self.seed}, replication={self.replication})"


def _natural(name: str, value: int, least: int = 0) -> int:
    """An integer of any type, at least `least`."""
    try:
        number = index(value)
    except TypeError:
        number = least - 1
    if number < least or isinstance(value, bool):
        raise ScenarioError(f"must be an integer of at least {least}, not {value!r}", name)
    return number


def _one_by_one(
    sample: Callable[[np.random.Generator, int], NDArray[np.float64]],
    generator: Callable[[], np.random.Generator],
    block: int,
) -> Callable[[], float]:
    """A function that deals out blocks of variates one at a time, as Python floats, which are faster to compute with than NumPy's.

    The generator is made at the first call: many streams of a run are never asked.
    """
    block = _natural("block", block, least=1)

    def blocks() -> Iterator[list[float]]:
        rng = generator()
        while True:
            yield sample(rng, block).tolist()

    # Both loops are in C, so that a draw costs about as much as calling an empty function.
    return chain.from_iterable(blocks()).__next__
