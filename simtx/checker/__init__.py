"""Exhaustive checking: every reachable state of a model.

`explorer` searches the states of any model; `protocols` makes such a model of a strategy in a scope. The explorer does not know the protocols.
"""

import sys

from simtx.checker.explorer import exploration, model
from simtx.checker.explorer import explore as explore_module
from simtx.checker.explorer.exploration import ActionCount, Exploration, Progress, Violation, Witness
from simtx.checker.explorer.explore import explore
from simtx.checker.explorer.model import Model, Step
from simtx.checker.protocols import protocol, scope, story
from simtx.checker.protocols import verify as verify_module
from simtx.checker.protocols.scope import Scope
from simtx.checker.protocols.story import Story, replay
from simtx.checker.protocols.verify import Verdict, verify

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
    "replay",
    "verify",
]

# The old places of these modules, kept for one release: tests that `Story.to_pytest` wrote and results that were pickled name them.
for _module in (exploration, explore_module, model, protocol, scope, story, verify_module):
    sys.modules[f"{__name__}.{_module.__name__.rpartition('.')[2]}"] = _module
