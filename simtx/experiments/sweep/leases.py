"""Leases of runs: a process that can be told from every other one, and of which others can see whether it still lives.

A lease says who plays a run and until when. Its owner moves that time on while it works. If the owner has died, the lease is void:
at once if it lived on this machine, and else when its time is over. (So the clocks of machines that share a folder may differ by less than a lease.)
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

LEASE: Final = 60.0
"""Seconds for which a run is leased."""
HEARTBEAT: Final = 15.0
"""Seconds after which the owner moves the end of its leases on."""


def machine() -> str:
    """Name of this machine since it was started, and the space of process numbers in it that this process sees."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
        space = os.stat("/proc/self/ns/pid").st_ino  # noqa: PTH116 - a link to something that is no file
    except OSError:  # no Linux
        boot, space = "", 0
    return f"{socket.gethostname()}/{boot}/{space}"


_active: set[str] = set()


def owner() -> str:
    """A new name for an owner of leases in this process; it is alive while it is `active`."""
    return f"{machine()}|{os.getpid()}|{_started(os.getpid())}|{secrets.token_hex(4)}"


@contextmanager
def active(owner: str) -> Iterator[None]:
    """The time in which an owner works on what it has leased."""
    _active.add(owner)
    try:
        yield
    finally:
        _active.discard(owner)


def host(owner: str) -> str:
    """The machine of an owner, for people."""
    return owner.partition("/")[0] or "another process"


def is_dead(owner: str) -> bool:
    """Return whether an owner has died for certain; of one on another machine nobody can say."""
    where, _, rest = owner.partition("|")
    pid, _, rest = rest.partition("|")
    started = rest.partition("|")[0]
    if where != machine() or not pid.isdigit():
        return False
    # This very process, which lives: its lease is void only if the call that took it is over.
    if int(pid) == os.getpid() and _started(os.getpid()) == started:
        return owner not in _active
    # Signal 0 is never sent: the call only says whether there is such a process.
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # it lives, and is another user's
        pass
    return _started(int(pid)) != started


def _started(pid: int) -> str:
    """Time at which a process was started, in ticks since the machine was; numbers of processes come again."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in ("Z", "X") else fields[19]
