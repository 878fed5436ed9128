"""Tools for notebooks: the explorer, which is a scenario with sliders, and transactions as timelines that can be stepped through."""

from simtx.lab.exploring import Explorer, explorer

__all__ = ["Explorer", "explorer"]
