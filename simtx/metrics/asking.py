"""Figures of clients who ask again, and of deadlines that travel with their transactions."""

from __future__ import annotations

import math
from typing import Final

from simtx.scenario import ClientsSpec

COUNTED: Final = ("requests_suppressed", "steps_expired")
"""Metrics that count, of scenarios with a budget, and with deadlines that travel."""


def figures(clients: ClientsSpec, asked: int, repeated: int, suppressed: int, expired: int) -> dict[str, float]:
    """The metrics that such clients have.

    Args:
        clients: What they do.
        asked: First requests.
        repeated: Further requests.
        suppressed: Further requests that the budget has prevented.
        expired: Steps that were refused since the client's deadline was over.
    """
    found: dict[str, float] = {}
    if clients.ask_again == "unanswered" or clients.budget is not None:
        found["request_amplification"] = 1 + repeated / asked if asked else math.nan
        found["requests_suppressed"] = suppressed
    if clients.deadline_travels:
        found["steps_expired"] = expired
    return found
