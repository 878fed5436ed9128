"""The old place of `simtx.event_log.entries`, kept for one release."""

from simtx.event_log.entries import *  # noqa: F403 - all of it
