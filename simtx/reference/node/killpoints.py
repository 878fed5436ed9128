"""The old place and the old name of `simtx.reference.node.crash_points`, kept for one release."""

from simtx.reference.node.crash_points import CrashPoint as KillPoint

__all__ = ["KillPoint"]
