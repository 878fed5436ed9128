"""Timers that are mostly cancelled: tokens in lanes of equal delay, so that the event heap holds one entry a lane."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from simtx.simulator.environment import Environment

Fire = Callable[["Token"], None]


class Token:
    """One timer that was set; `owner` is None once it is cancelled."""

    __slots__ = ("due", "fire", "kind", "owner")

    def __init__(self, owner: object, kind: str, fire: Fire) -> None:
        self.owner: object | None = owner
        self.kind = kind
        self.fire = fire
        self.due = 0.0


class _Lane:
    __slots__ = ("armed", "delay", "env", "tokens")

    def __init__(self, env: Environment, delay: float) -> None:
        self.env = env
        self.delay = delay
        self.tokens: deque[Token] = deque()
        self.armed = False

    def add(self, token: Token) -> None:
        token.due = self.env.now + self.delay
        self.tokens.append(token)
        if not self.armed:
            self.armed = True
            self.env.call_at(token.due, self._tick)

    def _tick(self, _: object) -> None:
        tokens = self.tokens
        now = self.env.now
        while tokens:
            token = tokens[0]
            if token.owner is not None:
                if token.due > now:
                    self.env.call_at(token.due, self._tick)
                    return
                tokens.popleft()
                token.fire(token)
            else:
                tokens.popleft()
        self.armed = False


class Timers:
    """All timers of a world. Constant delays share a lane; jittered ones go to the event heap one by one."""

    __slots__ = ("_env", "_lanes")

    def __init__(self, env: Environment) -> None:
        self._env = env
        self._lanes: dict[float, _Lane] = {}

    def start(self, token: Token, delay: float, *, constant: bool) -> None:
        """Let the token fire once after `delay` seconds, unless it is cancelled."""
        if constant:
            lane = self._lanes.get(delay)
            if lane is None:
                lane = self._lanes[delay] = _Lane(self._env, delay)
            lane.add(token)
        else:
            token.due = self._env.now + delay
            self._env.call_at(token.due, _ring, token)


def _ring(token: Token) -> None:
    if token.owner is not None:
        token.fire(token)
