"""The schema of one service of one run in PostgreSQL: its name, how it is made and removed, and what its server has to be able to do."""

from __future__ import annotations

import hashlib
import math
import re
import time
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from simtx.reference.stores.base import RESTORE, STORE_VERSION, StoreDamaged, StoreFailed
from simtx.reference.stores.postgres import sql as statements
from simtx.reference.stores.postgres.branches import parse_branch
from simtx.reference.stores.postgres.driver import psycopg, sql
from simtx.reference.stores.postgres.link import Link, Links, line, one

NAME_LIMIT: Final = 63
"""Bytes that PostgreSQL allows for a name."""

OLDEST_SERVER: Final = 130000
_FAST: Final = 0.004
"""Seconds of a round trip that tells the clock of a server on this machine well enough: by half of them it may be wrong."""


def check_server(link: Link) -> None:
    """Refuse a server that cannot do what a store needs.

    Raises:
        StoreFailed: It cannot; the text says what to set.
    """
    version, prepared, fsync = one(link.execute(statements.SERVER).fetchone())
    where = f"PostgreSQL server ({link.info.host or link.info.hostaddr})"
    if version < OLDEST_SERVER:
        raise StoreFailed(f"{where} is of version {version // 10000}; {OLDEST_SERVER // 10000} or newer is needed")
    if prepared == 0:
        raise StoreFailed(
            f"{where} allows no prepared transactions: set max_prepared_transactions = 200 in postgresql.conf and"
            " restart it"
        )
    if not fsync:
        raise StoreFailed(f"{where} does not force its log: set fsync = on in postgresql.conf and reload it")


def check_dsn(dsn: str) -> None:
    """Refuse a DSN that leads nowhere, or to a server that cannot do what a store needs: before a run, in one line.

    Raises:
        StoreFailed: It does; the text says where, and what would help.
    """
    links = Links(dsn, "pg_catalog", title="simtx check", size=1, lock_timeout=1000, patience=5.0)
    try:
        links.give(links.connect(patience=0.0))
        links.ask(check_server)
    finally:
        links.close()


def create_schema(link: Link, run: str, service: str, initial: Mapping[str, float], *, create: bool = True) -> float:
    """Make the schema if it is new; the service and its relay may both try.

    Args:
        link: A connection.
        run: Name of the run.
        service: Name of the service.
        initial: First values by key.
        create: Whether it may be new.

    Returns:
        What to add to the server's clock (seconds since 1970) to get `time.monotonic` of this machine: measured once, so that all
        processes of the run say the same, and whoever reads it later as well.

    Raises:
        StoreDamaged: There is one that is of another version, or somebody else's; or there is none, and there should be.
    """
    schema = schema_name(run, service)
    with link.transaction():
        link.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (schema,))
        if one(link.execute(statements.EXISTS).fetchone())[0]:
            version, *owner, clock = one(link.execute(statements.META).fetchone())
            if version != STORE_VERSION:
                raise StoreDamaged(f"schema {schema} is of version {version}; this simtx reads version {STORE_VERSION}")
            if owner != [run, service]:
                raise StoreDamaged(f"schema {schema} belongs to service '{owner[1]}' of run '{owner[0]}'")
            return float(clock)
        if not create:
            raise StoreDamaged(f"schema {schema} is missing; {RESTORE}")
        make_schema(link, run, service)
        link.execute(statements.CREATE, prepare=False)
        clock = _clock_offset(link)
        link.execute("INSERT INTO meta VALUES (%s, %s, %s, %s)", (STORE_VERSION, run, service, clock))
        with link.cursor() as cursor:
            cursor.executemany(statements.INSERT_VALUE, list(initial.items()))
    return clock


def make_schema(link: Link, run: str, service: str) -> None:
    """Make an empty schema, with the comment that says whose it is; in the transaction that is open."""
    name = sql.Identifier(schema_name(run, service))
    link.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(name))
    link.execute(sql.SQL("COMMENT ON SCHEMA {} IS {}").format(name, schema_comment(run, service)))


def _clock_offset(link: Link) -> float:
    """Offset of the clock of a server, from the fastest of a few round trips; of more, if the machine is so busy that none of them is fast."""
    best, offset = math.inf, 0.0
    for number in range(100):
        if number >= 8 and best < _FAST:
            break
        before = time.monotonic()
        server = one(link.execute(statements.CLOCK).fetchone())[0]
        after = time.monotonic()
        if after - before < best:
            best, offset = after - before, (before + after) / 2 - server
    return offset


def schema_name(run: str, service: str) -> str:
    """Name of the schema of one service of one run: readable, plain, and another one for each pair."""
    plain = "_".join(("simtx", *(re.sub(r"[^a-z0-9]+", "_", part.lower()) for part in (run, service))))
    if plain == f"simtx_{run}_{service}" and "_" not in run and len(plain) <= NAME_LIMIT:
        return plain
    return f"{plain[:52]}_{hashlib.sha256(f'{run}/{service}'.encode()).hexdigest()[:10]}"


def schema_comment(run: str, service: str) -> str:
    """Comment on the schema, for people and for `drop_run`."""
    return f"simtx {quote(run)} {quote(service)}"


def drop_run(dsn: str, run: str) -> list[str]:
    """Remove everything of a run from a database: prepared transactions are rolled back, schemas dropped; names of what went.

    Raises:
        StoreFailed: The server does not do it, for example because a process of the run still works in its schema.
    """
    gone = []
    try:
        with psycopg.connect(dsn, autocommit=True, client_encoding="UTF8") as link:
            link.execute("SET lock_timeout = '5s'")
            for xid in link.tpc_recover():
                name = parse_branch(str(xid))
                if xid.database == link.info.dbname and name is not None and name.run == run:
                    link.tpc_rollback(xid)
                    gone.append(str(xid))
            rows = link.execute(
                "SELECT nspname FROM pg_namespace WHERE starts_with(obj_description(oid, 'pg_namespace'), %s)",
                (schema_comment(run, ""),),
            ).fetchall()
            for (schema,) in rows:
                link.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema)))
                gone.append(schema)
    except psycopg.Error as error:
        raise StoreFailed(f"run '{run}' cannot be removed from PostgreSQL: {line(error)}") from None
    return gone
