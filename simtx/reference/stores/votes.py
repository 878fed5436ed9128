"""The shared vote store of a real run: a database of its own that all nodes write to, each vote once.

Nobody's process stands in front of it, so nobody's death keeps a vote from being read: under SQLite it is one file that every node opens, under PostgreSQL a server of its own,
or a schema of its own on the server of somebody else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from simtx.reference.stores.registry import PRODUCTS


class VoteStore(Protocol):
    """Votes of all transactions of a run; its methods may be called from several threads."""

    def log_once(self, tx: int, voter: str, vote: str) -> tuple[str, bool]:
        """Write a vote, unless there is one.

        Args:
            tx: Number of the transaction.
            voter: Whose vote it is.
            vote: The vote.

        Returns:
            The vote that is there now, durably, and whether it was written just now.

        Raises:
            StoreFailed: The store could not tell; the vote may be there or not.
        """

    def close(self) -> None:
        """Close it."""


def open_votes(spec: dict[str, Any]) -> VoteStore:
    """Open the vote store of a run; it is made if it is not there.

    Args:
        spec: Its description, as `simtx.reference.processes.backends.Backends.votes` gives it.

    Raises:
        StoreFailed: It cannot be opened.
    """
    if PRODUCTS[spec["kind"]].server:
        from simtx.reference.stores.postgres.votes import PostgresVotes

        return PostgresVotes(spec["dsn"], spec["run"])
    from simtx.reference.stores.sqlite.votes import SqliteVotes

    return SqliteVotes(Path(spec["path"]))
