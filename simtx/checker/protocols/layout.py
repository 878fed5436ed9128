"""Layout of a global state of the protocol model.

A state is ``(nodes, net, broker, observed, budget, rest)``: the number of each node's local state; a sorted tuple of the numbers of what
is in flight (a multiset); the broker's queues; the number of what the observer has seen; what is left of the budgets, four bits each;
and bits for the requests to come, the variant of the plan, the end, who has been upgraded, and how often time had to pass.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from simtx.checker.protocols.broker import Broker
from simtx.checker.protocols.scope import BUDGETS

State: TypeAlias = tuple[tuple[int, ...], tuple[int, ...], Broker, int, int, int]

#: One of each budget.
CRASH, LOSS, DUPLICATE, TIMEOUT, FAILURE, INTERVENTION, REPEAT, OVERTAKE, DEAD_LETTER = (
    1 << 4 * position for position in range(len(BUDGETS))
)
#: Times one of a budget: all bits of it.
MASK: Final = 15

REQUESTS: Final = 255
VARIANT_SHIFT: Final = 8
ENDED: Final = 1 << 16
HALTED: Final = 1 << 17  # a machine raised: nothing is explored behind that
OVER: Final = ENDED | HALTED
#: From here on a bit for each node: whether it has been upgraded; in an upgrade of two rounds, or where nodes may go back, more of them (`Steps`).
UPGRADED_SHIFT: Final = 18
WAIT_SHIFT: Final = 28
