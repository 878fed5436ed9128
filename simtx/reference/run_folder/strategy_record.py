"""A strategy of simtx as plain data in the record of a real run, and back: no program of somebody else's runs when a folder is read."""

from __future__ import annotations

from typing import Any

from simtx.protocols import Strategy
from simtx.protocols.codec import CodecError, decode_as, encode, register
from simtx.protocols.registry import STRATEGIES

register(*STRATEGIES.values())


def described(strategy: Strategy) -> dict[str, Any]:
    """One of ours as plain data; empty for any other one."""
    if type(strategy) not in STRATEGIES.values():
        return {}
    try:
        return dict(encode(strategy))
    except CodecError:  # an option that no file can hold
        return {}


def made(raw: dict[str, Any]) -> Strategy:
    """The strategy that `described` has described.

    Raises:
        CodecError: It is no description of one of ours.
    """
    try:
        return _ours(raw)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise CodecError(f"no strategy of simtx: {error}") from None


def _ours(raw: dict[str, Any]) -> Strategy:
    for kind in STRATEGIES.values():
        if raw.get("$") == kind.__name__:
            return decode_as(kind, raw)
    raise CodecError(f"{raw.get('$')!r:.60} is not one of them")
