"""The scripted world of `simtx.testing`, by the name that the tests of machines use."""

from simtx.testing.scripted import Applied, Node, Store, Witness, chain
from simtx.testing.scripted import ScriptedWorld as World

__all__ = ["Applied", "Node", "Store", "Witness", "World", "chain"]
