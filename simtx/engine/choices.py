"""Engines that can be asked for, and which one was."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, Literal, TypeAlias

from simtx.errors import ScenarioError

Engine: TypeAlias = Literal["auto", "interpreted", "fast"]
ENGINES: Final[tuple[Engine, ...]] = ("auto", "interpreted", "fast")

_preferred: ContextVar[Engine | None] = ContextVar("preferred", default=None)


@contextmanager
def preferring(engine: Engine | None) -> Iterator[None]:
    """Prefer this engine inside this block, for whatever says nothing else in this process when it is played or searched; None: the usual one."""
    token = _preferred.set(engine)
    try:
        yield
    finally:
        _preferred.reset(token)


def wanted(engine: Engine | None) -> Engine:
    """The engine that was asked for: by argument, by `preferring`, by the environment variable ``SIMTX_ENGINE``, or ``auto``.

    Raises:
        ScenarioError: The variable says something else.
    """
    engine = engine or _preferred.get()
    if engine is not None:
        return engine
    named = os.environ.get("SIMTX_ENGINE", "auto")
    for known in ENGINES:
        if named == known:
            return known
    raise ScenarioError(f"must be one of {', '.join(ENGINES)}, not '{named}'", "SIMTX_ENGINE")
