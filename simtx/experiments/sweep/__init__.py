"""Sweeps: strategies over the values of parameters, in a results folder that loses nothing and plays nothing twice."""

from simtx.experiments.sweep.design import Range
from simtx.experiments.sweep.plan import Plan
from simtx.experiments.sweep.result import Sweep
from simtx.experiments.sweep.sweep import sweep

__all__ = ["Plan", "Range", "Sweep", "sweep"]
