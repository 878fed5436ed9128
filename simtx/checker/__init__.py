"""Exhaustive checking: every reachable state of a model."""

from simtx.checker.exploration import ActionCount, Exploration, Progress, Violation, Witness
from simtx.checker.explore import explore
from simtx.checker.model import Model, Step

__all__ = [
    "ActionCount",
    "Exploration",
    "Model",
    "Progress",
    "Step",
    "Violation",
    "Witness",
    "explore",
]
