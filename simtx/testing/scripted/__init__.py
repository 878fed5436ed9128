"""A world to play machines in by hand."""

from simtx.testing.scripted.parts import Applied, Node, Store, chain
from simtx.testing.scripted.world import ScriptedWorld, Witness

__all__ = ["Applied", "Node", "ScriptedWorld", "Store", "Witness", "chain"]
