"""The simulated world: one host of the protocols, on a SimPy kernel."""

from simtx.simulator.environment import Environment

__all__ = ["Environment"]
