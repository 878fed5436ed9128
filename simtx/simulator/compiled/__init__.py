"""The loop in C as an engine of the simulator: `World` builds, this package hands the world over to `simtx.engine`, and reads it back when the run is over.

All that a run offers is made from it by the same code as from an interpreted one. `reasons` says what C can play. `description` tells it the world with the numbers
of `streams` and `keys`, and `parts` stand in for what is C's. `loop` plays, and `results` reads what came out.
"""

from simtx.simulator.compiled.loop import CompiledLoop
from simtx.simulator.compiled.reasons import why_interpreted

__all__ = ["CompiledLoop", "why_interpreted"]
