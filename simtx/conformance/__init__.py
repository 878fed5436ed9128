"""Conformance: whether a run kept the contract, by its event log, played through the pure machines of its strategy.

`simtx.conformance.check` is what others call; it shares no import with the measures of `simtx.metrics`.
"""
