"""The old place of `simtx.event_log.journal`, kept for one release."""

from simtx.event_log.journal import *  # noqa: F403 - all of it
