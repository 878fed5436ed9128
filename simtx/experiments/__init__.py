"""Experiments: many runs, compared with intervals."""

from simtx.experiments.compare import Comparison, Result, compare
from simtx.metrics.intervals import Interval, interval, paired, ratio

__all__ = ["Comparison", "Interval", "Result", "compare", "interval", "paired", "ratio"]
