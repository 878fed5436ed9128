"""The frontier where the winner changes: searched for under noise, with an undecided zone."""

from simtx.experiments.frontier.axes import Axis
from simtx.experiments.frontier.crossing import Crossing
from simtx.experiments.frontier.responses import Observed
from simtx.experiments.frontier.result import Frontier
from simtx.experiments.frontier.search import Plan, State, search

__all__ = ["Axis", "Crossing", "Frontier", "Observed", "Plan", "State", "search"]
