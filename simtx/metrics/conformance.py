"""The old place of `simtx.conformance.check`, kept for one release."""

from simtx.conformance.check import *  # noqa: F403 - all of it
