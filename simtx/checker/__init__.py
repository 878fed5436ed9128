"""Exhaustive checking: every reachable state of a model."""

from simtx.checker.exploration import ActionCount, Exploration, Progress, Violation, Witness
from simtx.checker.explore import explore
from simtx.checker.model import Model, Step
from simtx.checker.scope import Scope
from simtx.checker.story import Story
from simtx.checker.verify import Verdict, verify

__all__ = [
    "ActionCount",
    "Exploration",
    "Model",
    "Progress",
    "Scope",
    "Step",
    "Story",
    "Verdict",
    "Violation",
    "Witness",
    "explore",
    "verify",
]
