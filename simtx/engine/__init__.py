"""The compiled engine: automata that are learned from the machines of a strategy, and an event loop in C that plays them.

Nothing here knows a protocol, but for how a relay hands rows to its couriers, and nothing here knows the simulator: `simtx.simulator.compiled` binds the two together.
"""

from simtx.engine.library import Unavailable, load_library
from simtx.engine.opaque import DIFFER, NotCompiled

__all__ = ["DIFFER", "NotCompiled", "Unavailable", "load_library"]
