"""The registry of views, under the name by which results know it: see `simtx.views`."""

from simtx.views import View, register, view

__all__ = ["View", "register", "view"]
