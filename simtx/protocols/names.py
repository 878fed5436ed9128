"""Names that all worlds use for what is no service: said once, here.

No service may have one of the names of nodes.
"""

from __future__ import annotations

from typing import Final

CLIENT: Final = "client"
"""Name of the party that asks for transactions."""
OPERATOR: Final = "operator"
"""Name of the party that intervenes by hand."""
BROKER: Final = "broker"
"""The node that brings events to services."""
VOTE_STORE: Final = "vote-store"
"""The store that the participants of a transaction share, and that keeps their votes."""
HUB: Final = "hub"
"""Name of the coordinator or orchestrator in a scenario, whatever its strategy calls it."""
COORDINATOR: Final = "coordinator"
"""Name that strategies give to a hub that collects votes."""
ORCHESTRATOR: Final = "orchestrator"
"""Name that strategies give to a hub that gives out the steps of a saga."""
DAEMON: Final = -1
"""In place of a transaction: the number of a long-running machine, such as a relay."""
PRESUMPTION: Final = "presumption"
"""In place of a machine: by whom a transaction is decided that a hub has begun, and has no record of after a crash."""
TOMBSTONE: Final = "tombstone"
"""Value of the idempotency row of an action that never came and was compensated nevertheless."""
