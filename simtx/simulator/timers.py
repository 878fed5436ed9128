"""Timers that are mostly cancelled or set anew: tokens in lanes of equal delay, so that the event heap holds one entry a lane."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from simtx.simulator.environment import Environment

Fire = Callable[["Token"], None]


class Token:
    """One timer that was set.

    Attributes:
        owner: Whose it is; None once it is cancelled.
        kind: Its name.
        fire: What to call when it is due.
        due: When, in seconds; moved to later when the timer is set anew while it runs.
    """

    __slots__ = ("due", "fire", "kind", "owner")

    def __init__(self, owner: object, kind: str, fire: Fire) -> None:
        self.owner: object | None = owner
        self.kind = kind
        self.fire = fire
        self.due = 0.0


class _Lane:
    """Timers with the same delay: set in the order in which they fire, unless they are moved."""

    __slots__ = ("armed", "delay", "env", "tokens")

    def __init__(self, env: Environment, delay: float) -> None:
        self.env = env
        self.delay = delay
        self.tokens: deque[tuple[float, Token]] = deque()
        self.armed = False

    def tick(self, _: object) -> None:
        """Fire what is due, drop what is cancelled, and come back for the next."""
        tokens = self.tokens
        env = self.env
        now = env.now
        while tokens:
            first, token = tokens[0]
            if token.owner is not None and first > now:
                env.call_at(first, self.tick)
                return
            tokens.popleft()
            ring(token, env)
        self.armed = False


class Timers:
    """All timers with constant delays of a world."""

    __slots__ = ("_env", "_lanes")

    def __init__(self, env: Environment) -> None:
        self._env = env
        self._lanes: dict[float, _Lane] = {}

    def start(self, token: Token, delay: float) -> None:
        """Let the token fire once after `delay` seconds, unless it is cancelled; moved tokens fire when they are due."""
        lane = self._lanes.get(delay)
        if lane is None:
            lane = self._lanes[delay] = _Lane(self._env, delay)
        due = token.due = self._env.now + delay
        lane.tokens.append((due, token))
        if not lane.armed:
            lane.armed = True
            self._env.call_at(due, lane.tick)


def ring(token: Token, env: Environment | None = None) -> None:
    """Fire the token if it is due; one that was moved waits on, one that was cancelled is dropped."""
    if token.owner is None:
        return
    if env is not None and token.due > env.now:
        env.call_at(token.due, ring_at, (token, env))
    else:
        token.fire(token)


def ring_at(waiting: tuple[Token, Environment]) -> None:
    """As `ring`, for a token with a place of its own in the event heap."""
    ring(*waiting)
