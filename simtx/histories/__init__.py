"""Isolation in recorded histories: list-append and read-write registers, in the manner of Adya and of Elle."""

from simtx.histories.check import check_history
from simtx.histories.findings import Finding, Step
from simtx.histories.levels import LEVELS, Level
from simtx.histories.report import HistoryReport
from simtx.histories.runs import RunHistory, from_trace

__all__ = ["LEVELS", "Finding", "HistoryReport", "Level", "RunHistory", "Step", "check_history", "from_trace"]
