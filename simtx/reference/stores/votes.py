"""The shared vote store of a real run: a database of its own that all nodes write to, each vote once.

Nobody's process stands in front of it, so nobody's death keeps a vote from being read: under SQLite it is one file that every node opens, under PostgreSQL a server of its own,
or a schema of its own on the server of somebody else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from simtx.reference.stores.base import VoteStore
from simtx.reference.stores.registry import PRODUCTS


def open_votes(spec: dict[str, Any]) -> VoteStore:
    """Open the vote store of a run; it is made if it is not there.

    Args:
        spec: Its description, as `simtx.reference.processes.backends.Backends.votes` gives it.

    Raises:
        StoreFailed: It cannot be opened.
    """
    product = PRODUCTS[spec["kind"]]
    if product.server:
        return product.server_tools().open_votes(spec["dsn"], spec["run"])
    from simtx.reference.stores.sqlite.votes import SqliteVotes

    return SqliteVotes(Path(spec["path"]))  # beside stores in files, whatever their kind
