"""The part of SimPy that simtx replaces: its event loop."""
