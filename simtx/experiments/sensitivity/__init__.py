"""Sensitivity: what an answer depends on, which assumption flips it, and what calibrated inputs leave open."""

from simtx.experiments.sensitivity.inputs import InputUncertainty
from simtx.experiments.sensitivity.result import Sensitivity
from simtx.experiments.sensitivity.study import sensitivity

__all__ = ["InputUncertainty", "Sensitivity", "sensitivity"]
