"""Figures of providers outside: how requests to them have ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

FIGURES: Final = ("provider_requests", "unknown_outcomes", "rate_limited")
"""Names of the metrics, of runs of scenarios with a provider."""


def figures(counts: Mapping[str, int]) -> dict[str, float]:
    """The metrics, from the number of entries of the kind ``call`` by their name.

    Args:
        counts: ``done``, ``refused``, ``unknown``, ``limited``, ``query``; others are no requests.
    """
    asked = sum(counts.get(name, 0) for name in ("done", "refused", "unknown", "limited", "query"))
    return dict(zip(FIGURES, (asked, counts.get("unknown", 0), counts.get("limited", 0)), strict=True))
