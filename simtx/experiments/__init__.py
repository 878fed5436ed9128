"""Experiments: many runs, compared with intervals."""

from simtx.experiments.compare import Comparison, Result, compare
from simtx.experiments.decision import Decision
from simtx.experiments.stopping import Apart, Best, Precision
from simtx.metrics.intervals import Interval, interval, paired, ratio

__all__ = [
    "Apart",
    "Best",
    "Comparison",
    "Decision",
    "Interval",
    "Precision",
    "Result",
    "compare",
    "interval",
    "paired",
    "ratio",
]
