"""The old place of `simtx.event_log.trace`, kept for one release."""

from simtx.event_log.trace import *  # noqa: F403 - all of it
