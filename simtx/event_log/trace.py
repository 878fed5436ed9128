"""The old place and the old names of `simtx.event_log.log`, kept for one release."""

from simtx.event_log.log import EventLog as Trace
from simtx.event_log.log import LogEntry as TraceEvent
from simtx.event_log.log import LogRecorder as TraceRecorder

__all__ = ["Trace", "TraceEvent", "TraceRecorder"]
