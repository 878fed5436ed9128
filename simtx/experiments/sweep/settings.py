"""How a sweep is played: what changes no figure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simtx.engine.choices import Engine

if TYPE_CHECKING:
    from simtx.experiments.executors import ExecutorLike
    from simtx.experiments.sweep.plan import Plan
    from simtx.experiments.sweep.study import Row
    from simtx.experiments.work import Outcome


@dataclass(frozen=True)
class Settings:
    """Arguments of `simtx.sweep` that say how it is played."""

    executor: ExecutorLike = None
    workers: int | None = None
    progress: bool | None = None
    accept_stale: bool = False
    retry_failed: bool = False
    stop_after: int = 3
    name: str = ""
    on_result: Callable[[Row, Outcome], None] | None = None
    on_plan: Callable[[Plan], None] | None = None
    engine: Engine | None = None
