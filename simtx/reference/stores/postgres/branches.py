"""Prepared transactions of PostgreSQL: their identifiers, and their end.

An identifier is ``simtx:<run>:<service>:<transaction>:<record in base64>``, so that recovery needs nothing but the list of prepared
transactions, and an orphan tells whose it was.
"""

from __future__ import annotations

import base64
import contextlib
import time
from typing import Final, Literal, NamedTuple
from urllib.parse import quote, unquote

from simtx.protocols import Record, codec
from simtx.reference.stores.base import StoreFailed
from simtx.reference.stores.postgres.driver import psycopg, sql
from simtx.reference.stores.postgres.link import FIRST_PAUSE, Link, Links, failed
from simtx.reference.stores.postgres.sql import PREPARED

GID_LIMIT: Final = 199
"""Bytes that PostgreSQL allows for the identifier of a prepared transaction."""

_UNKNOWN: Final = "42704"
_BUSY: Final = "55000"
_PREPARED: Final = "PREPARE TRANSACTION"  # the command tag of a transaction that was prepared


class BranchName(NamedTuple):
    """Content of an identifier."""

    run: str
    service: str
    tx: int
    record: Record


def branch_name(run: str, service: str, tx: int, record: Record) -> str:
    """Identifier of a prepared transaction.

    Raises:
        StoreFailed: It would be too long.
    """
    coded = base64.b64encode(codec.dumps(record).encode()).decode()
    gid = f"simtx:{quote(run, safe='')}:{quote(service, safe='')}:{tx}:{coded}"
    if len(gid) > GID_LIMIT:
        raise StoreFailed(
            f"the identifier of a prepared transaction would have {len(gid)} bytes, PostgreSQL allows {GID_LIMIT}:"
            f" shorter names of run '{run}', of service '{service}' and of its coordinator would do"
        )
    return gid


def parse_branch(gid: str) -> BranchName | None:
    """Content of an identifier, or None if it is none of ours."""
    parts = gid.split(":")
    if len(parts) != 5 or parts[0] != "simtx":
        return None
    with contextlib.suppress(ValueError):
        record = codec.loads(base64.b64decode(parts[4], validate=True))
        if isinstance(record, tuple):
            return BranchName(unquote(parts[1]), unquote(parts[2]), int(parts[3]), record)
    return None


def is_prepared(link: Link, gid: str) -> bool:
    """Return whether there is a prepared transaction of this name in this database."""
    return link.execute(PREPARED, (gid,)).fetchone() is not None


def prepare_branch(link: Link, gid: str) -> bool:
    """Prepare the transaction that is open on a connection; False if it was rolled back instead.

    PREPARE TRANSACTION in a transaction that has failed raises nothing: it rolls back, and says so in its command tag alone. So a vote is what the
    tag says, and not what does not raise.
    """
    answer = link.execute(sql.SQL("PREPARE TRANSACTION {}").format(gid), prepare=False)
    return answer.statusmessage == _PREPARED


def finish_branch(links: Links, gid: str, *, commit: bool) -> Literal["done", "gone", "absent"]:
    """Bring a prepared transaction to its end, over as many connections as that takes.

    Returns:
        ``done``: the server says so. ``gone``: the connection was lost, and the transaction is not prepared any more. ``absent``: there is none. Of
        the last two only the effects tell how it has ended: somebody else may have ended it, and the other way.

    Raises:
        StoreFailed: The server refuses, or does not come back.
    """
    deadline = time.monotonic() + links.patience
    while True:
        with links.place, links.lent() as link:
            try:
                if commit:
                    link.tpc_commit(gid)
                else:
                    link.tpc_rollback(gid)
            except psycopg.Error as error:
                if link.lost:
                    if not links.settle(link.title, lambda other: is_prepared(other, gid)):
                        return "gone"
                elif error.sqlstate == _UNKNOWN:
                    return "absent"
                elif error.sqlstate != _BUSY or time.monotonic() > deadline:
                    raise failed(error) from error
                else:  # the session that has just prepared it, or ended, is not quite done
                    time.sleep(FIRST_PAUSE)
            else:
                return "done"
