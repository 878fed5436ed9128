"""Workload of a run: random streams, arrival times, and one plan a transaction; the same for the simulated and the real world.

Every host draws its transactions here. So a simulated run and a real one under the same seed meet the same keys, amounts,
refusals and service demands.
"""

from simtx.workload.by_transaction import Draw, TransactionStreams
from simtx.workload.planner import Planner, arrivals, template
from simtx.workload.streams import BLOCK, Sampled, Streams

__all__ = ["BLOCK", "Draw", "Planner", "Sampled", "Streams", "TransactionStreams", "arrivals", "template"]
