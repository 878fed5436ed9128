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
        seen: When it is looked at next, in seconds: `due`, or before; a later `due` than this may be written at will.
    """

    __slots__ = ("due", "fire", "kind", "owner", "seen")

    def __init__(self, owner: object, kind: str, fire: Fire) -> None:
        self.owner: object | None = owner
        self.kind = kind
        self.fire = fire
        self.due = 0.0
        self.seen = 0.0


class _Lane:
    """Timers with the same least delay: they are looked at in the order in which they were set."""

    __slots__ = ("armed", "env", "tokens")

    def __init__(self, env: Environment) -> None:
        self.env = env
        self.tokens: deque[Token] = deque()
        self.armed = False

    def tick(self, _: object) -> None:
        """Fire what is due, drop what is cancelled, and come back for the next."""
        tokens = self.tokens
        env = self.env
        while tokens:
            token = tokens[0]
            if token.owner is not None:
                if token.seen > env.now:
                    env.call_at(token.seen, self.tick)
                    return
                tokens.popleft()
                ring((token, env))
            else:
                tokens.popleft()
        self.armed = False


class Timers:
    """All timers of a world."""

    __slots__ = ("_env", "_lanes")

    def __init__(self, env: Environment) -> None:
        self._env = env
        self._lanes: dict[float, _Lane] = {}

    def start(self, token: Token, delay: float, extra: float = 0.0) -> None:
        """Let the token fire once, `delay` + `extra` seconds from now, unless it is cancelled; moved tokens fire when they are due.

        Tokens are kept by their `delay`, which therefore should take few different values; `extra` may be random.
        """
        env = self._env
        seen = env.now + delay
        token.due = seen + extra
        if not delay:
            token.seen = token.due
            env.call_at(token.due, ring, (token, env))
            return
        token.seen = seen
        lane = self._lanes.get(delay)
        if lane is None:
            lane = self._lanes[delay] = _Lane(env)
        lane.tokens.append(token)
        if not lane.armed:
            lane.armed = True
            env.call_at(seen, lane.tick)


def ring(waiting: tuple[Token, Environment]) -> None:
    """Fire a token if it is due; one that was moved waits on in the event heap, one that was cancelled is dropped."""
    token, env = waiting
    if token.owner is None:
        return
    if token.due > env.now:
        token.seen = token.due
        env.call_at(token.due, ring, waiting)
    else:
        token.fire(token)
