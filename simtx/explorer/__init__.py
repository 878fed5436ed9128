"""The explorer: one scenario with sliders, answered at once by what was played before, and then by playing it."""

from simtx.explorer.explorer import Explorer, explorer

__all__ = ["Explorer", "explorer"]
