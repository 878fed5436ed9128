"""The simulated world: one host of the protocols, on a SimPy kernel."""

from simtx.simulator.environment import Environment
from simtx.simulator.simulate import simulate
from simtx.simulator.world import World

__all__ = ["Environment", "World", "simulate"]
