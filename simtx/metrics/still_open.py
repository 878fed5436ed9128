"""Counts what is still open when a run ends: branches in doubt, row locks, messages that were never published.

All of it counts up to the end of the run, and how much of it there is stands beside the figures: else the worst outage, the one that nobody
lives to see the end of, would count nothing.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class StillOpen(NamedTuple):
    """Counts of what was open when a run ended, in all services.

    Attributes:
        in_doubt: Branches that had promised to commit and were neither committed nor rolled back.
        locks: Row locks that somebody held.
        unpublished: Outbox rows that were not marked as published.
    """

    in_doubt: int = 0
    locks: int = 0
    unpublished: int = 0

    def __str__(self) -> str:
        """``2 branches in doubt, 1 row lock held``; empty if nothing was open."""
        told = (
            (self.in_doubt, "branch in doubt", "branches in doubt"),
            (self.locks, "row lock held", "row locks held"),
            (self.unpublished, "message unpublished", "messages unpublished"),
        )
        return ", ".join(f"{number:,} {one if number == 1 else many}" for number, one, many in told if number)

    def warning(self, of: str = "the run") -> str:
        """One line for a reader of the figures; empty if nothing was open.

        Args:
            of: Whose end it was: ``the run``, ``the runs of 2pc``.
        """
        return f"still open at the end of {of}, and counted up to there: {self}" if any(self) else ""


NOTHING: Final = StillOpen()
