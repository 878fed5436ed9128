"""The node that plays machines for real: its actors, its local work, its timers, its crash points."""
