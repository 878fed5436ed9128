"""Answers of a provider outside: one set of rules and draws for simulated and for real runs.

Both worlds ask here what becomes of a request. So under the same seed the k-th request of a transaction has the same latency, and the same fate, in both.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from simtx.workload.by_transaction import Draw, TransactionStreams

if TYPE_CHECKING:
    from simtx.scenario.infrastructure import ProviderSpec

UNREACHABLE: Final = "unreachable"
SLOW: Final = "slow"
ANSWERING: Final = "answering"
"""Name under which faults set the share of requests that get an answer, in the process of a provider."""


class Fate(NamedTuple):
    """Fate of a request that the provider has received.

    Attributes:
        latency: Seconds until its answer; halfway the provider acts.
        answered: Whether an answer is sent.
        done: Whether the provider does what it was asked for.
    """

    latency: float
    answered: bool
    done: bool


class Behaviour:
    """Behaviour of one provider, now.

    Args:
        spec: The scenario's.
        latency: Draws of the time until an answer.
        chance: Uniform draws.

    Attributes:
        factor: What latencies are multiplied by while it is degraded.
        answering: Share of requests that still get an answer while it is degraded, of those that would get one otherwise.
    """

    def __init__(self, spec: ProviderSpec, latency: Draw, chance: Draw) -> None:
        self._spec = spec
        self._latency = latency
        self._chance = chance
        self._tokens = float(spec.burst)
        self._refilled: float | None = None
        self._degraded: list[tuple[float, float]] = []
        self.factor = 1.0
        self.answering = 1.0

    @classmethod
    def of(cls, spec: ProviderSpec, name: str, streams: TransactionStreams) -> Behaviour:
        """Behaviour of the provider of a service, with its random numbers.

        Args:
            spec: The scenario's.
            name: Of the service, by which its streams are known.
            streams: Of the run.
        """
        return cls(spec, streams.draws(spec.latency, name, "provider"), streams.uniform(name, "provider-chance"))

    def latency(self, tx: int) -> float:
        """Seconds until the next answer for this transaction."""
        return self._latency(tx) * self.factor

    def fate(self, tx: int, slowness: float = 1.0) -> Fate:
        """Fate of the next request of a transaction.

        Args:
            tx: The transaction.
            slowness: What latencies are multiplied by since its service is slow, and its way to the provider with it.
        """
        spec, latency, silent = self._spec, self.latency(tx) * slowness, self.silent
        answered = not (silent > 0 and self._chance(tx) < silent)
        return Fate(latency, answered, answered or self._chance(tx) < spec.timeouts_done)

    @property
    def silent(self) -> float:
        """Share of requests that get no answer, now."""
        timeouts = self._spec.timeouts
        return timeouts if self.answering == 1.0 else 1 - (1 - timeouts) * self.answering

    def admits(self, now: float) -> bool:
        """Return whether a request that comes now is within the limit: a bucket of `burst` tokens, which is filled at the rate."""
        rate = self._spec.rate_limit
        if rate is None:
            return True
        if self._refilled is not None:
            self._tokens = min(float(self._spec.burst), self._tokens + (now - self._refilled) * rate)
        self._refilled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def degrade(self, factor: float, probability: float) -> Callable[[], None]:
        """Be slower, and leave more requests without an answer, until the function that it returns is called.

        Args:
            factor: What latencies are multiplied by.
            probability: Share of the answers that are not sent any more.
        """
        changes = (factor, 1 - probability)
        self._degraded.append(changes)
        self._add_up()

        def recover() -> None:
            self._degraded.remove(changes)
            self._add_up()

        return recover

    def _add_up(self) -> None:
        self.factor = math.prod((factor for factor, _ in self._degraded), start=1.0)
        self.answering = math.prod((share for _, share in self._degraded), start=1.0)
