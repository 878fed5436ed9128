"""Timeouts, retries and back-off as plain data: shared by all protocols, decided by the scenario or by the caller."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Final

from simtx.arguments import Check, instance, number, optional, require, whole

_PERIOD: Final = number(above=0, infinite=True)  # seconds; infinite: never


@dataclass(frozen=True, slots=True)
class Backoff:
    """Capped exponential back-off with full jitter: wait U(0, min(cap, base * factor**attempt)) (Brooker, AWS, 2015). Times are in seconds.

    A machine asks for the upper bound; the host draws, since a machine knows no randomness.

    Attributes:
        base: Bound of the first wait.
        factor: Growth per attempt.
        cap: No wait is longer.
    """

    base: float = 0.05
    factor: float = 2.0
    cap: float = 5.0

    def __post_init__(self) -> None:
        _check(self, base=_PERIOD, factor=number(above=0), cap=_PERIOD)

    def bound(self, attempt: int) -> float:
        """Upper bound of the wait before retry number `attempt` (from 0), in seconds."""
        if attempt > 64:  # the power would overflow long after the cap is reached
            return self.cap
        return min(self.cap, self.base * self.factor**attempt)


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """Policy of a circuit breaker: when it opens, and how long it stays open, in seconds.

    Attributes:
        threshold: Consecutive failed calls that open it.
        cooldown: Time until one trial call is let through.
    """

    threshold: int = 10
    cooldown: float = 1.0

    def __post_init__(self) -> None:
        _check(self, threshold=whole(1), cooldown=_PERIOD)


@dataclass(frozen=True, slots=True)
class Policies:
    """Timeouts and retries of one deployment, in seconds; a strategy without policies of its own takes the scenario's.

    Attributes:
        call_timeout: How long a saga waits for a reply before it sends the command again.
        attempts: How often a command before the pivot is sent before its step is compensated.
        compensation_attempts: How often a compensation is sent before the saga is stuck; None: for ever, with an alert.
        alert_after: Attempts at an operation that is repeated for ever, after which an alert is raised.
        vote_timeout: How long a 2PC coordinator waits for votes.
        acknowledgement_timeout: How long it waits for acknowledgements before it sends the decision again.
        inquiry_timeout: How long a prepared participant waits before it inquires.
        idle_timeout: How long a participant keeps an unprepared branch open.
        backoff: Wait on top of the timeout before every further attempt.
        publish_timeout: How long a producer waits for the broker's ack.
        publish_attempts: How often a dual write tries to publish.
        poll_interval: Period of the polling outbox relay.
        poll_batch: Rows that the relay reads at once.
        maximum_hops: Choreographed events with more hops than this are refused as a cycle.
        dedup_retention: How long stores keep the rows by which they recognise what was done before; safe only if nothing is delivered or undone later than
            that.
        breaker: Circuit breaker of every caller towards every node; None: none.
    """

    call_timeout: float = 1.0
    attempts: int = 5
    compensation_attempts: int | None = None
    alert_after: int = 10
    vote_timeout: float = 2.0
    acknowledgement_timeout: float = 1.0
    inquiry_timeout: float = 1.0
    idle_timeout: float = 5.0
    backoff: Backoff = field(default_factory=Backoff)
    publish_timeout: float = 1.0
    publish_attempts: int = 3
    poll_interval: float = 0.05
    poll_batch: int = 100
    maximum_hops: int = 64
    dedup_retention: float = 300.0
    breaker: BreakerPolicy | None = None

    def __post_init__(self) -> None:
        for one in fields(self):
            if one.name in _COUNTS:
                _check(self, **{one.name: whole(0 if one.name == "maximum_hops" else 1)})
            elif one.name not in ("backoff", "breaker", "compensation_attempts"):
                _check(self, **{one.name: _PERIOD})
        _check(
            self,
            compensation_attempts=optional(whole(1), "None for ever"),
            backoff=instance(Backoff, "a Backoff"),
            breaker=optional(instance(BreakerPolicy, "a BreakerPolicy")),
        )


POLICIES: Final = optional(instance(Policies, "simtx.Policies"), "None for the scenario's")
"""Values that a strategy's policies may have."""
_COUNTS: Final = frozenset({"attempts", "alert_after", "publish_attempts", "poll_batch", "maximum_hops"})


def _check(owner: object, **checks: Check) -> None:
    for name, check in checks.items():
        require(check, getattr(owner, name), name, type(owner).__name__)


class RetryBudget:
    """A limit of all clients together: each first request earns a share of a further one, each further request costs one.

    Args:
        ratio: Further requests that a first request earns: 0.1 lets through one in ten in the long run.
        burst: Further requests that may be saved up, and that are there at the start.
    """

    __slots__ = ("_burst", "_ratio", "_saved")

    def __init__(self, ratio: float, burst: int) -> None:
        self._ratio = ratio
        self._burst = burst
        self._saved = float(burst)

    def earn(self) -> None:
        """Save up a share of a further request: somebody asks for the first time."""
        self._saved = min(float(self._burst), self._saved + self._ratio)

    def spend(self) -> bool:
        """Take a further request from what is saved, as somebody wants to ask again; False: the budget is spent."""
        # The sum of ten tenths is a little less than one.
        if self._saved < 1 - 1e-9:
            return False
        self._saved -= 1
        return True
