"""The old place of `simtx.scenario.provenance`, kept for one release."""

from simtx.scenario.provenance import *  # noqa: F403 - all of it
