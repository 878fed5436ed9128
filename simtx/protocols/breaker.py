"""Circuit breaker: stop calling a node that does not answer, and try it again with a single call.

Law: after `threshold` consecutive failures no call is let through for `cooldown` seconds; then one trial call decides.

Source: Nygard, "Release It!", 2nd edition, 2018, chapter 5, "Circuit Breaker".

Theory of operation. One breaker stands at a caller for each node that it calls. The host asks `allow` before it sends a command. It
reports `failure` when a machine emits `Suspect` for the node, and `success` when a reply of the node arrives. When the breaker
says no, the host just does not send, which for the protocol is a lost message: its timers and retries go on. So safety cannot depend
on a breaker, only load and latency do.

::

    closed --threshold consecutive failures--> open --cooldown, allow--> half-open
    half-open --success--> closed;  half-open --failure--> open

Invariants: closed means fewer than `threshold` consecutive failures; half-open means that exactly one trial was let through within the last cooldown.
Replies and failures of calls sent before it opened change nothing while it is open.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from simtx.protocols.policies import BreakerPolicy

BreakerState: TypeAlias = Literal["closed", "open", "half-open"]

#: (state, event, possible next states); `allow` appears where it changes the state.
TRANSITIONS: Final[tuple[tuple[BreakerState, str, tuple[BreakerState, ...]], ...]] = (
    ("closed", "success", ("closed",)),
    ("closed", "failure", ("closed", "open")),
    ("closed", "allow", ("closed",)),
    ("open", "success", ("open",)),
    ("open", "failure", ("open",)),
    ("open", "allow", ("open", "half-open")),
    ("half-open", "success", ("closed",)),
    ("half-open", "failure", ("open",)),
    ("half-open", "allow", ("half-open",)),
)


class CircuitBreaker:
    """The breaker of one caller towards one node; pure: time comes in as an argument, in seconds.

    Args:
        policy: When it opens and for how long.

    Attributes:
        policy: As given.
        state: ``closed``, ``open`` or ``half-open``.
        failures: Consecutive failures while closed.
        since: When it opened, or when the trial was let through, in seconds.
    """

    __slots__ = ("failures", "policy", "since", "state")

    def __init__(self, policy: BreakerPolicy) -> None:
        self.policy = policy
        self.state: BreakerState = "closed"
        self.failures = 0
        self.since = 0.0

    def allow(self, now: float) -> bool:
        """Return whether a call may be sent now; a yes while not closed is the one trial call.

        If a trial brings neither success nor failure (its caller crashed), another is let through after a further cooldown.
        """
        if self.state == "closed":
            return True
        if now - self.since < self.policy.cooldown:
            return False
        self.state = "half-open"
        self.since = now
        return True

    def success(self) -> None:
        """The node answered."""
        if self.state != "open":
            self.state = "closed"
            self.failures = 0

    def failure(self, now: float) -> None:
        """A call timed out."""
        if self.state == "open":
            return
        self.failures += 1
        if self.state == "half-open" or self.failures >= self.policy.threshold:
            self.state = "open"
            self.failures = 0
            self.since = now

    def __repr__(self) -> str:
        return f"<CircuitBreaker {self.state}, {self.failures} of {self.policy.threshold} failures>"
