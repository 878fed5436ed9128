"""Random numbers that belong to a transaction: whatever else happens in a run, they are the same.

`Streams` deals out a sequence in the order of use. That is right for what every strategy uses in the same order, such as gaps between
arrivals. It is wrong for the delays of messages, as strategies send different messages. Behind the first difference every delay would
belong to another message, and two runs that were meant to meet the same conditions would drift apart.

Here the k-th number that transaction tx draws from a stream is a function of seed, replication, component, purpose, tx and k, and of nothing
else. A transaction that sends a message more shifts its own later draws on that link, and those of nobody else. What belongs to no
transaction, such as a timer of an outbox relay, has the number -1 and with it a sequence of its own.

How: Philox is a generator with a counter, which can start at any place (J. K. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
SC 2011). Component and purpose give its key, transaction and k give the place. Numbers are made in blocks: for small k one block holds the
k-th numbers of neighbouring transactions, as all of them will be wanted; for larger k, which is the business of few transactions, it holds
successive numbers of one. A block that was dropped is made again when it is wanted.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from simtx.scenario.distributions import Constant, Exponential, Lognormal, ShiftedLognormal
from simtx.workload.streams import Sampled, Streams

__all__ = ["Draw", "Recipe", "TransactionStreams", "recipe", "uniform_numbers"]

Draw = Callable[[int], float]
"""Gives the next number of a stream for a transaction."""

Numbers = NDArray[np.float64]
K = TypeVar("K")
V = TypeVar("V")

Fill = Callable[[int, int, Numbers, int], None]
"""Writes blocks of a stream's numbers into an array: so many, one behind the other, from a place on."""

_FRONT: Final = 3  # bits of k for which a block holds neighbouring transactions
_NEIGHBOURS: Final = 8  # bits of the transaction's number within such a block
_SUCCESSIVE: Final = 5  # bits of k within a block of one transaction
_KEPT: Final = 128  # blocks of single transactions of a stream, 256 bytes each
_NEIGHBOURHOODS: Final = 64  # kept of a stream, with one to eight blocks of 2 kB each
_WORD: Final = (1 << 64) - 1
_SWEEP: Final = 1024  # transactions between two looks for those that are over
_LATE: Final = 1 << 32  # where a transaction goes on that draws again after it was over and forgotten


class _Uniform:
    """Numbers from 0 (included) to 1 (excluded), as a stream draws them."""

    def sample(self, rng: np.random.Generator, n: int, /) -> NDArray[np.float64]:
        return rng.random(n)


class TransactionStreams:
    """The random numbers of one run that belong to transactions.

    Args:
        streams: Seed and replication.
        active: Transactions that are not over. How often each has drawn is forgotten once it is not among them; None: never.
    """

    __slots__ = ("_active", "_number", "_streams", "_taken")

    def __init__(self, streams: Streams, active: Container[int] | None = None) -> None:
        self._streams = streams
        self._active = active
        self._number = 0
        self._taken: dict[int, list[int]] = {}  # by transaction: how many numbers of each stream

    def uniform(self, component: str, purpose: str) -> Draw:
        """Numbers between 0 (included) and 1 (excluded)."""
        return self.draws(_Uniform(), component, purpose)

    def fill(self, distribution: Sampled, component: str, purpose: str) -> Fill:
        """A function that writes a block of a stream's numbers by its place: for whoever deals them out instead of this class."""
        return _fills(distribution, self.key(component, purpose))

    def key(self, component: str, purpose: str) -> int:
        """The 128 bits that are the generator's key for a stream."""
        return self._streams.key(component, purpose)

    def draws(self, distribution: Sampled, component: str, purpose: str) -> Draw:
        """A function that returns, for a transaction's number, its next variate of a distribution.

        Args:
            distribution: What to draw from. A `Constant` draws nothing.
            component: The name of who asks, such as a service or a link.
            purpose: What for, such as "latency".
        """
        if isinstance(distribution, Constant):
            value = distribution.value
            return lambda _: value
        index, self._number = self._number, self._number + 1
        block = _blocks(lambda: _fills(distribution, self.key(component, purpose)))
        taken, begin = self._taken, self._begin
        front: dict[int, list[array[float]]] = {}  # by neighbourhood: the first numbers, the second ones, and so on
        rest: dict[tuple[int, int], array[float]] = {}
        few = 1 << _FRONT

        def missing(tx: int, k: int) -> float:
            neighbourhood = tx >> _NEIGHBOURS
            made = front.get(neighbourhood)
            if made is None:
                made = []
                _keep(front, neighbourhood, made, _NEIGHBOURHOODS)
            while len(made) <= k:
                made.append(block(neighbourhood, len(made), 1 << _NEIGHBOURS))
            return made[k][tx & (1 << _NEIGHBOURS) - 1]

        def draw(tx: int) -> float:
            # Exceptions for what is rare: this runs several times for each message, and a look-up that fails costs nothing as long as it does not.
            try:
                counts = taken[tx]
                k = counts[index]
            except KeyError:
                counts = begin(tx)
                k = counts[index]
            except IndexError:  # a stream that is younger than the transaction
                k = _LATE if counts[0] >= _LATE else 0
                counts.extend([k] * (index + 1 - len(counts)))
            counts[index] = k + 1
            if k < few:
                try:
                    return front[tx >> 8][k][tx & 255]  # `_NEIGHBOURS`: literals are folded
                except (KeyError, IndexError):
                    return missing(tx, k)
            place = tx, k >> _SUCCESSIVE
            numbers = rest.get(place)
            if numbers is None:
                numbers = block(tx, few + place[1], 1 << _SUCCESSIVE)
                _keep(rest, place, numbers, _KEPT)
            return numbers[k & (1 << _SUCCESSIVE) - 1]

        return draw

    def _begin(self, tx: int) -> list[int]:
        """A transaction draws for the first time, or again after it was forgotten."""
        active, taken = self._active, self._taken
        late = active is not None and tx >= 0 and tx not in active
        counts = taken[tx] = [_LATE if late else 0] * self._number
        if active is not None and tx % _SWEEP == 0:
            for other in [other for other in taken if other >= 0 and other not in active]:
                del taken[other]
        return counts


def uniform_numbers() -> Sampled:
    """Generator that `TransactionStreams.uniform` draws from."""
    return _Uniform()


def _keep(blocks: dict[K, V], key: K, made: V, most: int) -> None:
    """Keep what was made, and drop the oldest of too many."""
    if len(blocks) >= most:
        del blocks[next(iter(blocks))]
    blocks[key] = made


def _blocks(made: Callable[[], Fill]) -> Callable[[int, int, int], array[float]]:
    """A function that makes the block of numbers at a place, with so many of them. Many streams of a run are never asked, so that what fills blocks is made for the first one."""
    targets: dict[int, NDArray[np.float64]] = {}
    fill: Fill | None = None

    def block(major: int, minor: int, size: int) -> array[float]:
        nonlocal fill
        if fill is None:
            fill = made()
        target = targets.get(size)
        if target is None:
            target = targets[size] = np.empty(size)
        fill(major, minor, target, 1)
        return array("d", target.tobytes())

    return block


def _fills(distribution: Sampled, key: int) -> Fill:
    """A function that writes the block of numbers at a place of the generator's counter."""
    bits = np.random.Philox(key=key)
    rng = np.random.Generator(bits)
    state: Any = bits.state
    counter = state["state"]["counter"]
    counter[:] = 0
    state["buffer_pos"], state["has_uint32"] = 4, 0  # nothing is left over from another place
    draw, finish = _drawing(distribution)

    def fill(major: int, minor: int, target: Numbers, blocks: int) -> None:
        # A block takes far less than 2**128 steps of the counter, so that none runs into the next.
        counter[3] = minor & _WORD
        if blocks == 1:
            counter[2] = major & _WORD
            bits.state = state
            draw(rng, target)
        else:
            size = len(target) // blocks
            for block in range(blocks):
                counter[2] = major + block & _WORD
                bits.state = state
                draw(rng, target[block * size : (block + 1) * size])
        if finish is not None:
            finish(target)

    return fill


@dataclass(frozen=True, slots=True)
class Recipe:
    """Recipe by which the variates of a frequent distribution are made of what a generator of NumPy writes, in place and one by one, as `sample` makes them.

    Attributes:
        raw: What the generator writes: ``uniform``, ``exponential`` or ``normal``, each in its standard form.
        factor: What each number is multiplied by first; not that of a uniform one.
        median: Then the exponential function of a normal number is multiplied by this.
        shift: What is added at last; None: nothing.
    """

    raw: Literal["uniform", "exponential", "normal"]
    factor: float = 1.0
    median: float = 1.0
    shift: float | None = None


def recipe(distribution: Sampled) -> Recipe | None:
    """The recipe of a frequent distribution; None: it has to be asked itself."""
    kind = type(distribution)
    if isinstance(distribution, ShiftedLognormal) and kind is ShiftedLognormal:
        return Recipe("normal", distribution.sigma, distribution.median, distribution.shift)
    if isinstance(distribution, Lognormal) and kind is Lognormal:
        return Recipe("normal", distribution.sigma, distribution.median)
    if isinstance(distribution, Exponential) and kind is Exponential:
        return Recipe("exponential", distribution.average)
    return Recipe("uniform") if kind is _Uniform else None


def _drawing(
    distribution: Sampled,
) -> tuple[Callable[[np.random.Generator, Numbers], object], Callable[[Numbers], object] | None]:
    """A function that fills an array with variates, and one that makes of them, in place and one by one, those of `sample`.

    The frequent distributions get along without arrays in between.
    """
    known = recipe(distribution)
    if known is None:
        sample = distribution.sample

        def copied(rng: np.random.Generator, target: Numbers) -> None:
            target[:] = sample(rng, len(target))

        return copied, None
    match known.raw:
        case "normal":
            return _normal, _lognormal(known.median, known.factor, known.shift)
        case "exponential":
            return _exponential, lambda target: np.multiply(target, known.factor, out=target)
        case "uniform":
            return _uniform, None


def _normal(rng: np.random.Generator, target: Numbers) -> None:
    rng.standard_normal(out=target)


def _exponential(rng: np.random.Generator, target: Numbers) -> None:
    rng.standard_exponential(out=target)


def _uniform(rng: np.random.Generator, target: Numbers) -> None:
    rng.random(out=target)


def _lognormal(median: float, sigma: float, shift: float | None) -> Callable[[Numbers], None]:
    def lognormal(target: Numbers) -> None:
        target *= sigma
        np.exp(target, out=target)
        target *= median
        if shift is not None:
            target += shift

    return lognormal
