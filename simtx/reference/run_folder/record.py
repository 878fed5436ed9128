"""Metadata of a real run, without credentials; atomic replacement of files."""

from __future__ import annotations

import contextlib
import os
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

LAYOUT: Final = 1
"""Version of the layout of a run's folder; a folder of another version is refused."""


@dataclass(slots=True)
class RunRecord:
    """Content of ``run.json``.

    Attributes:
        layout: Version of the folder's layout.
        run: Name of the run, unique everywhere: lower-case hexadecimal digits.
        versions: By component: ``simtx``, ``events``, ``store``, ``python``.
        platform: Operating system and machine.
        scenario: As `simtx.scenario.Scenario.to_dict` gives it; an object in it, which no file can hold, as its `repr`.
        scenario_name: Its name.
        scenario_folder: Folder of the file that it was read from, absolute; empty if it was not.
        scenario_fingerprint: Digest of all that a run depends on.
        strategy: Name of the strategy.
        strategy_options: Its `repr`, with all options.
        strategy_made: One of ours with all options, to be made again; empty for a strategy of a user's own.
        seed: Seed of the transactions.
        store: Product, or the address of a server without its password.
        broker: Likewise.
        created: UTC, ISO 8601.
        started: Likewise; empty if it never was.
        ended: Likewise; empty if it has not.
        status: ``created``, ``running``, ``finished``, ``failed`` or ``interrupted``.
        reason: Why it failed.
        nodes: Names of the nodes, each of which has an audit log.
        audit: Seals of the nodes' audit logs when the run or an operator's act ended: number and checksum of the last line.
        acting: Who is acting in the folder after the run; if the lock is free, that process was killed, and lines behind the seals may come from it.
    """

    layout: int = LAYOUT
    run: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    platform: str = ""
    scenario: dict[str, Any] = field(default_factory=dict)
    scenario_name: str = ""
    scenario_folder: str = ""
    scenario_fingerprint: str = ""
    strategy: str = ""
    strategy_options: str = ""
    strategy_made: dict[str, Any] = field(default_factory=dict)
    seed: int = 1
    store: str = ""
    broker: str = ""
    created: str = ""
    started: str = ""
    ended: str = ""
    status: str = "created"
    reason: str = ""
    nodes: list[str] = field(default_factory=list)
    audit: dict[str, list[Any]] = field(default_factory=dict)
    acting: str = ""


def replace_file(path: Path, content: bytes, *, durable: bool) -> None:
    """Give a file a new content at once: a reader sees the old one or the new one, whatever happens in between.

    Args:
        path: The file; readable by its owner alone.
        content: All of it.
        durable: Whether it has to outlive the machine.

    Raises:
        OSError: It cannot be written; the old content is still there.
    """
    new = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(file, "wb") as opened:
            opened.write(content)
            opened.flush()
            if durable:
                os.fsync(file)
        new.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            new.unlink()
        raise
    if durable:
        folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def now() -> str:
    """The time: UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def versions() -> dict[str, str]:
    """Versions of what takes part in a run, by component."""
    import platform

    from simtx.protocols.event_schema import CURRENT
    from simtx.reference.stores.base import STORE_VERSION
    from simtx.scenario.provenance import version

    return {"simtx": version(), "events": CURRENT, "store": str(STORE_VERSION), "python": platform.python_version()}
