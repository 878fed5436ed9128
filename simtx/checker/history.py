"""The old place of `simtx.histories`, kept for one release."""

from simtx.histories import LEVELS, Finding, HistoryReport, Level, RunHistory, Step, check_history, from_trace

__all__ = ["LEVELS", "Finding", "HistoryReport", "Level", "RunHistory", "Step", "check_history", "from_trace"]
