"""Engines that can be asked for."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

Engine: TypeAlias = Literal["auto", "interpreted", "fast"]
ENGINES: Final[tuple[Engine, ...]] = ("auto", "interpreted", "fast")
