"""Isolation in recorded histories: list-append and read-write registers, in the manner of Adya and of Elle."""

from simtx.checker.history.check import check_history
from simtx.checker.history.findings import Finding, Step
from simtx.checker.history.levels import LEVELS, Level
from simtx.checker.history.report import HistoryReport
from simtx.checker.history.runs import RunHistory, from_trace

__all__ = ["LEVELS", "Finding", "HistoryReport", "Level", "RunHistory", "Step", "check_history", "from_trace"]
