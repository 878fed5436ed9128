"""The old place of the event log, kept for one release."""

from simtx.event_log.trace import Trace, TraceEvent, TraceRecorder

__all__ = ["Trace", "TraceEvent", "TraceRecorder"]
