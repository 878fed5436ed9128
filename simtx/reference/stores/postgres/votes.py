"""Votes in a schema of their own in PostgreSQL."""

from __future__ import annotations

from typing import Final

from simtx.protocols.names import VOTE_STORE
from simtx.reference.stores.postgres.driver import psycopg
from simtx.reference.stores.postgres.link import Link, Links, failed, one
from simtx.reference.stores.postgres.schema import make_schema, schema_name

_INSERT: Final = "INSERT INTO votes VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"
_READ: Final = "SELECT vote FROM votes WHERE tx = %s AND voter = %s"
_SIZE: Final = 4
_PATIENCE: Final = 2.0
"""Seconds for which a server that does not answer is asked again: the machine that waits has a timer of its own."""


class PostgresVotes:
    """The votes on a server; its primary key makes one insert after the other.

    Args:
        dsn: What to connect to.
        run: Name of the run.

    Raises:
        StoreFailed: There is no server, or it does not let us in.
    """

    def __init__(self, dsn: str, run: str) -> None:
        schema = schema_name(run, VOTE_STORE)
        self._links = Links(dsn, schema, title=f"simtx {run} votes", size=_SIZE, lock_timeout=5000, patience=_PATIENCE)

        def create(link: Link) -> None:
            with link.transaction():
                link.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (schema,))
                make_schema(link, run, VOTE_STORE)
                link.execute(
                    "CREATE TABLE IF NOT EXISTS votes (tx bigint, voter text, vote text NOT NULL, PRIMARY KEY (tx, voter))"
                )

        try:
            self._links.ask(create)
        except psycopg.Error as error:
            raise failed(error) from error

    def log_once(self, tx: int, voter: str, vote: str) -> tuple[str, bool]:
        """Write a vote, unless there is one; see `simtx.reference.stores.votes.VoteStore`.

        A lost connection leaves it unknown whether the vote was written; to ask again then changes nothing.

        Raises:
            StoreFailed: The server does not come back, or refuses.
        """

        def question(link: Link) -> tuple[str, bool]:
            # Each statement is a transaction: the second one sees the vote that kept the first from inserting, and that vote is durable.
            written = link.execute(_INSERT, (tx, voter, vote)).rowcount > 0
            return one(link.execute(_READ, (tx, voter)).fetchone())[0], written

        with self._links.place:
            return self._links.ask(question)

    def close(self) -> None:
        """Close all connections."""
        self._links.close()
